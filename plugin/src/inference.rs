//! ONNX generators: finding a runtime, choosing a provider, checking and loading model files. Runs on the worker thread and in
//! the command line.
//!
//! Nothing here is silent: what was tried and why it was not used is in [`Backend::notes`](crate::generate::Backend::notes).

pub mod library;
mod onnx_file;
mod providers;
pub mod runtime;
mod session;

pub use library::{Library, ModelInfo, Origin};
pub use onnx_file::MAX_MODEL_BYTES;
pub use session::{OnnxGenerator, Trust};
