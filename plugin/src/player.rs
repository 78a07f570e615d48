//! The audio-thread half: from a pattern and the host's transport to note events.

pub mod render;
pub mod sequencer;
#[cfg(test)]
mod testing;

pub use render::render;
pub use sequencer::{Event, EventKind, Knobs, Sequencer};
