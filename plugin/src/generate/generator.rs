//! The border to a network: latents and conditions in, logits out.

use super::{manifest::Manifest, model::ModelError};

/// Inputs of one inference, in the order of the manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhraseInput {
    /// One flat row-major tensor per entry of [`Manifest::latents`].
    pub latents: Vec<Vec<f32>>,
    /// One flat row-major tensor per entry of [`Manifest::conditions`].
    pub conditions: Vec<Vec<f32>>,
}

/// What runs a network: the choices that were made, for people to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Runtime and version, such as `ONNX Runtime 1.32.0` or `tract 0.23`.
    pub runtime: String,
    /// Execution provider, such as `CPU` or `CUDA`.
    pub provider: String,
    /// What was tried and not used, with the reasons; warnings.
    pub notes: Vec<String>,
}

/// Finds and loads models by id or path. Runs on the worker thread, or in the command line.
pub trait ModelProvider: Send {
    /// The model that plays where none is named and where the named one fails. It ships inside the program.
    fn default_model(&self) -> &str;

    /// Loads a model; an empty name is the default.
    ///
    /// # Errors
    /// [`ModelError`] says why the model is refused.
    fn load(&mut self, model: &str) -> Result<Box<dyn Generator>, ModelError>;
}

/// A network that yields `n_bars` bars of logits per call. Runs on the worker thread.
pub trait Generator: Send {
    /// What it is, takes and yields.
    fn manifest(&self) -> &Manifest;

    /// SHA-256 of the model file, lower-case hex.
    fn sha256(&self) -> &str;

    /// What runs it.
    fn backend(&self) -> &Backend;

    /// Runs the network once.
    ///
    /// **Shape** of the result: `(n_bars, n_steps, n_cells)`, f32 logits, row-major.
    ///
    /// # Errors
    /// [`GenerateError::Inference`] when the runtime fails or yields a wrong shape.
    fn generate(&mut self, input: &PhraseInput) -> Result<Vec<f32>, GenerateError>;
}

/// A pattern that could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The runtime failed.
    #[error("inference with model `{model}` failed: {reason}")]
    Inference {
        /// Model id.
        model: String,
        /// The runtime's words.
        reason: String,
    },
    /// The logits do not fit the manifest.
    #[error("model `{model}` yields something else than its manifest says: {source}")]
    Roll {
        /// Model id.
        model: String,
        /// What does not fit.
        source: crate::music::roll::RollError,
    },
    /// The primer does not fit the model.
    #[error("the primer does not fit model `{model}`: {reason}")]
    Primer {
        /// Model id.
        model: String,
        /// What does not fit.
        reason: String,
    },
    /// What is given does not fit the model.
    #[error("model `{model}` cannot write around what is given: {reason}")]
    Given {
        /// Model id.
        model: String,
        /// What does not fit.
        reason: String,
    },
    /// The model cannot do the retakes.
    #[error("model `{model}` cannot write a part anew: {reason}")]
    Takes {
        /// Model id.
        model: String,
        /// Why not.
        reason: String,
    },
    /// No bars, or too many.
    #[error("a pattern of {n_bars} bars is not possible; 1 to {max}")]
    Length {
        /// Bars asked for.
        n_bars: u32,
        /// Most bars.
        max: u32,
    },
}
