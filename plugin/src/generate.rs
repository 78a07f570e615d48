//! From a specification to a pattern: manifests, latents, conditions, the [`Generator`] trait, patterns. Pure; runs on the
//! worker thread and in the command line, never on the audio thread (but for what says so).

pub mod build;
pub mod candidates;
pub mod generator;
pub mod given;
pub mod input;
pub mod manifest;
pub mod model;
pub mod pattern;

pub use build::{Builder, build, relocked};
pub use generator::{Backend, GenerateError, Generator, ModelProvider, PhraseInput};
pub use given::{Given, GivenPart, GridNote, Placed};
pub use input::primer_states;
pub use manifest::Manifest;
pub use model::ModelError;
pub use pattern::{Lock, ModelId, Morph, Pattern, PatternSpec, Retake, Span, StructureKnobs, structure_key};
