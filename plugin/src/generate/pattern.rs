//! Patterns: the logits of all bars that will sound, and what they were made from.

use crate::music::{chord::Progression, roll::LogitRoll};
use serde::{Deserialize, Serialize};

/// Longest finite pattern, in bars.
pub const MAX_PATTERN_BARS: u32 = 32;

/// Which model made a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelId {
    /// The manifest's id.
    pub id: String,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
}

/// How far a pattern reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Span {
    /// 1 to [`MAX_PATTERN_BARS`] bars, repeated.
    Bars(u32),
    /// Without end, never repeated.
    Endless,
}

/// Everything that shapes a pattern before decoding. Equal specifications give equal patterns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternSpec {
    /// The user's seed.
    pub seed: u32,
    /// The take.
    pub take: u32,
    /// Spread of the latent: 1 as trained, 0 always the likeliest.
    pub variation: f32,
    /// How far it reaches.
    pub span: Span,
    /// Chords over the bars, repeated.
    pub progression: Progression,
    /// States of the bar that every chain starts from, `(n_steps,)` class indices of the model's first track; empty for none.
    pub primer: Vec<u16>,
}

/// Logits of the bars `first_bar ..`, ready to be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// Names the specification and model this was made from; the player asks for a pattern by it.
    pub key: u64,
    /// What it was made from.
    pub spec: PatternSpec,
    /// The model.
    pub model: ModelId,
    /// Bar of the song (endless) or of the pattern (finite: 0) that the roll starts with.
    pub first_bar: u32,
    /// The logits.
    pub roll: LogitRoll,
    /// The manifest's factor from the temperature knob to the model's temperature.
    pub temperature_factor: f32,
}
