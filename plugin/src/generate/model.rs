//! Why a model is refused. Pure; made on the worker thread or in the command line, shown by the editor and the command line.

use super::manifest::{METADATA_KEY, ManifestError};

/// A model that is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No model has this name.
    #[error("there is no model `{name}`; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The ids that exist.
        known: String,
    },
    /// A project names a file.
    #[error(
        "the project names the model file {path}; a project may name models by their id only: put the file into the models folder"
    )]
    PathInProject {
        /// What it names.
        path: String,
    },
    /// The file cannot be read.
    #[error("the model file {path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The file is too large.
    #[error("the model file has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not an ONNX file, or a damaged one.
    #[error("this is no ONNX model, or a damaged one: {reason}")]
    NotOnnx {
        /// What is wrong.
        reason: String,
    },
    /// The weights lie in another file.
    #[error("the model keeps its weights outside the file; a Barline model is one file")]
    ExternalData,
    /// More of something than a model may have.
    #[error("the model has {got} {what}; at most {limit} are allowed")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// Something that ONNX has and a Barline model must not.
    #[error("the model has {what}")]
    Unsupported {
        /// What it is, and why not.
        what: String,
    },
    /// An inference takes longer than what it yields.
    #[error(
        "an inference takes {seconds:.2} s, longer than the {limit:.2} s that it may take (its phrase at 120 bpm, at most 10 s)"
    )]
    TooSlow {
        /// The least time measured.
        seconds: f64,
        /// The limit.
        limit: f64,
    },
    /// An ONNX model of something else.
    #[error("the ONNX model has no `{METADATA_KEY}` in its metadata: it is not a Barline model")]
    NoManifest,
    /// The manifest does not hold together.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The graph is not what the manifest says.
    #[error("the graph does not fit the manifest: {reason}")]
    Mismatch {
        /// What differs.
        reason: String,
    },
    /// No runtime can run it.
    #[error("the model cannot be run: {reason}")]
    Runtime {
        /// The runtime's words.
        reason: String,
    },
}
