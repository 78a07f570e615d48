//! The pure domain: time, notes, chords, harmony, scales, rolls, decoding, metrics, explanations, Standard MIDI Files. Any thread; nothing here
//! waits or does I/O.

pub mod chord;
pub mod decode;
pub mod explain;
pub mod harmony;
pub mod metrics;
pub mod noise;
pub mod note;
pub mod percussion;
pub mod ranges;
pub mod roll;
pub mod scale;
pub mod smf;
pub mod time;
