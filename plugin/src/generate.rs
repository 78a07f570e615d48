//! From a specification to a pattern: manifests, latents, conditions, the [`Generator`] trait, patterns. Pure; runs on the
//! worker thread and in the command line, never on the audio thread.

pub mod generator;
pub mod manifest;
pub mod pattern;

pub use generator::{GenerateError, Generator, PhraseInput};
pub use manifest::Manifest;
pub use pattern::{ModelId, Pattern, PatternSpec, Span};
