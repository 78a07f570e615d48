//! Patterns: the logits of all bars that will sound, and what they were made from.

use crate::music::{chord::Progression, roll::LogitRoll};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

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

/// Names a pattern: a hash of everything that shapes it, equal on every platform.
///
/// XXH3-64 over the fields in the order of [`PatternSpec`], then the model: numbers little-endian, texts after their lengths, the
/// primer last.
#[must_use]
pub fn structure_key(spec: &PatternSpec, model: &ModelId) -> u64 {
    let mut bytes = Vec::with_capacity(256);
    let text = |t: &str, bytes: &mut Vec<u8>| {
        bytes.extend_from_slice(&u64::try_from(t.len()).unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend_from_slice(t.as_bytes());
    };
    bytes.extend_from_slice(&spec.seed.to_le_bytes());
    bytes.extend_from_slice(&spec.take.to_le_bytes());
    bytes.extend_from_slice(&spec.variation.to_bits().to_le_bytes());
    bytes.extend_from_slice(&spec.span.code().to_le_bytes());
    text(&spec.progression.to_string(), &mut bytes);
    text(&model.id, &mut bytes);
    text(&model.sha256, &mut bytes);
    for state in &spec.primer {
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    xxh3_64(&bytes)
}

impl Span {
    /// 0 for endless, else the bars.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Bars(n) => n,
            Self::Endless => 0,
        }
    }
}

/// Everything of an instance of the plugin that shapes its pattern, in a form that the audio thread can compare: what does not
/// fit into a number (texts, files) stands there as a counter that goes up with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StructureKnobs {
    /// The user's seed.
    pub seed: u32,
    /// The take.
    pub take: u32,
    /// Bits of the variation.
    pub variation_bits: u32,
    /// [`Span::code`].
    pub span: u32,
    /// Changes of the model.
    pub model_generation: u32,
    /// Changes of the progression.
    pub progression_generation: u32,
    /// Changes of the primer.
    pub primer_generation: u32,
    /// Chords come from MIDI input.
    pub live_chords: bool,
    /// The chord heard there, in whatever coding does not repeat itself; 0 without live chords.
    pub heard: u32,
}

impl StructureKnobs {
    /// The key by which the player asks for a pattern. Holds within the process only.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time, no allocation.
    #[must_use]
    pub fn key(&self) -> u64 {
        let fields = [
            self.seed,
            self.take,
            self.variation_bits,
            self.span,
            self.model_generation,
            self.progression_generation,
            self.primer_generation,
            u32::from(self.live_chords),
            self.heard,
        ];
        let mut bytes = [0_u8; 36];
        for (chunk, field) in bytes.chunks_exact_mut(4).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        xxh3_64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_structure_key() {
        let model = ModelId { id: "tiny".into(), sha256: "ab".into() };
        let spec = PatternSpec {
            seed: 9,
            take: 4,
            variation: 1.25,
            span: Span::Bars(6),
            progression: "C | Am".parse().unwrap(),
            primer: vec![3],
        };
        let mut keys = vec![
            structure_key(&spec, &model),
            structure_key(&PatternSpec { seed: 4, ..spec.clone() }, &model),
            structure_key(&PatternSpec { take: 9, ..spec.clone() }, &model),
            structure_key(&PatternSpec { variation: 1.0, ..spec.clone() }, &model),
            structure_key(&PatternSpec { span: Span::Endless, ..spec.clone() }, &model),
            structure_key(&PatternSpec { progression: "C | A".parse().unwrap(), ..spec.clone() }, &model),
            structure_key(&PatternSpec { primer: vec![], ..spec.clone() }, &model),
            structure_key(&spec, &ModelId { id: "tinya".into(), sha256: "b".into() }),
        ];
        assert_eq!(keys[0], structure_key(&spec.clone(), &model.clone()));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn every_field_changes_the_knobs_key() {
        let knobs = StructureKnobs { seed: 1, ..Default::default() };
        let mut keys = [
            StructureKnobs::default(),
            knobs,
            StructureKnobs { take: 1, ..Default::default() },
            StructureKnobs { variation_bits: 1, ..Default::default() },
            StructureKnobs { span: 1, ..Default::default() },
            StructureKnobs { model_generation: 1, ..Default::default() },
            StructureKnobs { progression_generation: 1, ..Default::default() },
            StructureKnobs { primer_generation: 1, ..Default::default() },
            StructureKnobs { live_chords: true, ..Default::default() },
            StructureKnobs { heard: 1, ..Default::default() },
        ]
        .iter()
        .map(StructureKnobs::key)
        .collect::<Vec<_>>();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10);
        assert_eq!(knobs.key(), StructureKnobs { seed: 1, ..Default::default() }.key());
    }
}
