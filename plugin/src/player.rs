//! The audio-thread half.
