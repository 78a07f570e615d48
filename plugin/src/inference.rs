//! ONNX generators: finding a runtime, choosing a provider, checking and loading model files. Runs on the worker thread and in
//! the command line.
//!
//! Nothing here is silent: what was tried and why it was not used is in [`Backend::notes`](crate::generate::Backend::notes).

#[cfg(feature = "inference")]
pub mod library;
mod limits;
mod onnx_file;
mod proto;
#[cfg(feature = "inference")]
mod providers;
#[cfg(feature = "inference")]
pub mod runtime;
#[cfg(feature = "inference")]
mod session;

#[cfg(feature = "inference")]
pub use library::{Library, ModelInfo, Origin};
pub use onnx_file::{MAX_MODEL_BYTES, OnnxFile};
#[cfg(feature = "inference")]
pub use session::{OnnxGenerator, Trust};
