//! Standard MIDI Files, through midly. Pure; any thread but the audio thread.
