//! What an instance tells the engine, and what it hears from it.

use super::port::Takeover;
use crate::generate::{Backend, Pattern, PatternSpec};
use std::sync::Arc;

/// What an instance wants to play now.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Under which key the player asks for it: [`StructureKnobs::key`](crate::generate::StructureKnobs::key).
    pub key: u64,
    /// What to make.
    pub spec: PatternSpec,
    /// Model by id or path; empty for the default.
    pub model: String,
    /// When it replaces what plays.
    pub takeover: Takeover,
    /// A pattern from the project file. Where it was made from the same specification by the same model, it plays as it is, so
    /// that a song sounds the same where the model or its provider differs or is missing.
    pub saved: Option<Arc<Pattern>>,
}

/// An instance as the worker sees it. Called on the worker thread, every 2 ms while something plays and every 20 ms while not.
pub trait PatternSource: Send {
    /// Key of what is wanted now. Called at every poll: must be cheap.
    fn key(&mut self) -> u64 {
        self.wanted().key
    }

    /// What is wanted now. Called when the key has changed; must yield the same whenever it is called with the same key.
    fn wanted(&mut self) -> Wanted;

    /// Names what will perhaps be wanted next. Called at every poll: must be cheap.
    fn aim(&mut self) -> u64 {
        0
    }

    /// What will perhaps be wanted next, in place of what is wanted now. It is made ahead while somebody listens
    /// ([`Registration::listen`](super::Registration::listen)) and nothing else is to be done.
    fn next(&mut self) -> Option<PatternSpec> {
        None
    }
}

/// How far an instance's pattern is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// The worker has not looked at it yet.
    #[default]
    Waiting,
    /// In the making.
    Generating {
        /// Bars ready.
        n_ready: u32,
        /// Bars wanted.
        n_bars: u32,
    },
    /// All that is needed now was handed to the player.
    Ready,
    /// Nothing can be made; the error says why.
    Failed,
}

/// What the editor and the command line show of an instance. Never touched by the audio thread.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// How far its pattern is.
    pub readiness: Readiness,
    /// Id of the model that plays; may be another than the one asked for (then `error` says why).
    pub model: String,
    /// Its name for people and its version.
    pub model_name: String,
    /// Licence of its weights.
    pub licence: String,
    /// Attribution that its data asks for.
    pub attribution: String,
    /// What runs it.
    pub backend: Backend,
    /// Mean time of one inference so far, in milliseconds; 0 before the first.
    pub inference_ms: f64,
    /// Candidates that others were kept before, for the pattern that plays.
    pub n_rejected: u32,
    /// The pattern comes from the project file.
    pub from_project: bool,
    /// What went wrong last and still matters: a refused model, a failed inference.
    pub error: Option<String>,
    /// The pattern last handed to the player, to be drawn and saved.
    pub pattern: Option<Arc<Pattern>>,
}
