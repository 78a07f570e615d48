//! The border to a network: latents and conditions in, logits out.

use super::manifest::Manifest;

/// Inputs of one inference, in the order of the manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PhraseInput {
    /// One flat row-major tensor per entry of [`Manifest::latents`].
    pub latents: Vec<Vec<f32>>,
    /// One flat row-major tensor per entry of [`Manifest::conditions`].
    pub conditions: Vec<Vec<f32>>,
}

/// A network that yields `n_bars` bars of logits per call. Runs on the worker thread.
pub trait Generator: Send {
    /// What it is, takes and yields.
    fn manifest(&self) -> &Manifest;

    /// SHA-256 of the model file, lower-case hex.
    fn sha256(&self) -> &str;

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
}
