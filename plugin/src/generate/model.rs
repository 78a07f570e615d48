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
