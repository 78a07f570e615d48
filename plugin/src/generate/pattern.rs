//! Patterns: the logits of all bars that will sound, and what they were made from.

use super::given::Given;
use crate::music::{
    chord::Progression,
    noise::{Address, Purpose, quarter_circle},
    roll::{LogitRoll, TrackKind},
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Longest finite pattern, in bars.
pub const MAX_PATTERN_BARS: u32 = 32;
/// Most retakes of one pattern.
pub const MAX_TAKES: usize = 64;

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
    /// What is given: the rest is written around it.
    #[serde(default, skip_serializing_if = "Given::is_empty")]
    pub given: Given,
    /// What was written anew, in that order. The address of a note is the seed, the take, and the retakes up to its last one; taking
    /// the last away brings back what was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<Retake>,
    /// What was locked on the way: it stays as it sounded then, and whatever is written later goes on from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<Lock>,
    /// Another seed on the way to which the noise is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub morph: Option<Morph>,
    /// Tries at every phrase, of which the best is kept, at most [`MAX_CANDIDATES`](super::candidates::MAX_CANDIDATES); 1 (or 0) for
    /// the first.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub candidates: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_one(n: &u32) -> bool {
    *n <= 1
}

impl Default for PatternSpec {
    /// Seed 0 over eight bars without chords, and nothing else.
    fn default() -> Self {
        Self {
            seed: 0,
            take: 0,
            variation: 1.0,
            span: Span::Bars(8),
            progression: Progression::none(),
            primer: Vec::new(),
            given: Given::default(),
            takes: Vec::new(),
            locks: Vec::new(),
            morph: None,
            candidates: 1,
        }
    }
}

impl PatternSpec {
    /// Whether a track of that kind is given or locked in a bar.
    ///
    /// # Realtime safety
    /// Audio thread: yes, bounded by the locks, of which there are no more than retakes and one.
    #[must_use]
    pub fn is_given(&self, track_idx: usize, kind: TrackKind, bar: u32) -> bool {
        self.given.has(track_idx, kind, bar) || self.locks.iter().any(|lock| lock.music.has(track_idx, kind, bar))
    }

    /// Whether all it has beyond `before` are retakes that were made since.
    #[must_use]
    pub fn adds_takes_to(&self, before: &Self) -> bool {
        self.takes.len() > before.takes.len()
            && self.takes.starts_with(&before.takes)
            && self.locks.iter().all(|lock| lock.after <= before.takes.len())
            && Self { takes: before.takes.clone(), ..self.clone() } == *before
    }
}

/// Bars of tracks that stay as they sounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Retakes made before. They, and what was written first, know nothing of it; so locking changes nothing that sounds.
    pub after: usize,
    /// What sounded.
    pub music: Given,
}

/// Some tracks of some bars written anew, to go with everything else as it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retake {
    /// The tracks; bit `n` is track `n`.
    pub tracks: u16,
    /// The bars; bit `n` is bar `n`, and all bits are all bars, those beyond the 32nd too.
    pub bars: u32,
    /// The take of their noise.
    pub take: u32,
}

impl Retake {
    /// Every track.
    pub const ALL_TRACKS: u16 = u16::MAX;
    /// Every bar.
    pub const ALL_BARS: u32 = u32::MAX;

    /// The tracks that it writes in a bar; bit `n` is track `n`.
    #[must_use]
    pub fn tracks_in(&self, bar: u32) -> u16 {
        let has_bar = self.bars == Self::ALL_BARS || self.bars.checked_shr(bar).unwrap_or(0) & 1 == 1;
        if has_bar { self.tracks } else { 0 }
    }
}

/// The noise of two seeds at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Morph {
    /// The other seed.
    pub seed: u32,
    /// 0 for the pattern's own seed to 1 for the other.
    pub amount: f32,
}

impl Morph {
    /// Steps in which the plugin goes from one seed to the other.
    pub const STEPS: u8 = 64;

    /// That many steps on the way to `seed`; `None` where it begins.
    #[must_use]
    pub fn from_steps(seed: u32, steps: u32) -> Option<Self> {
        let steps = u8::try_from(steps).unwrap_or(u8::MAX).min(Self::STEPS);
        (steps > 0).then(|| Self { seed, amount: f32::from(steps) / f32::from(Self::STEPS) })
    }

    /// Weights of the own and of the other seed's values.
    #[must_use]
    pub fn weights(self) -> (f32, f32) {
        quarter_circle(self.amount)
    }

    /// The tracks of the phrase from `bar` that have gone over to the other seed, where that goes track by track; bit `n` is track `n`.
    /// They go in an order of the phrase's own, evenly over the way, and none goes back.
    #[must_use]
    pub(super) fn crossed(self, seed: u32, bar: u32, n_tracks: usize) -> u16 {
        let place = |track: u16| Address { seed, take: self.seed, bar, track, ..Address::default() };
        let mut order: Vec<u16> = (0..16).take(n_tracks).collect();
        order.sort_by_key(|track| place(*track).draw(Purpose::Morph));
        let (start, n) = (place(u16::MAX).uniform(Purpose::Morph), f64::from(u16::try_from(n_tracks).unwrap_or(16)));
        let has_gone = |rank: &(f64, u16)| (rank.0 + start) / n < f64::from(self.amount);
        let ranks = std::iter::successors(Some(0.0), |rank| Some(rank + 1.0));
        ranks.zip(order).filter(has_gone).fold(0, |tracks, (_, track)| tracks | 1 << track)
    }
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
/// XXH3-64 over the fields in the order of [`PatternSpec`] up to the progression, the model, then the primer: numbers little-endian,
/// texts after their lengths. What is given, retaken and morphed follows where there is any, then the candidates where there are
/// several, then the locks where there are some, so that the others keep their names.
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
    let has_several = spec.candidates > 1;
    if !spec.given.is_empty() || !spec.takes.is_empty() || spec.morph.is_some() || has_several || !spec.locks.is_empty() {
        // No state of a primer has this number.
        bytes.extend_from_slice(&u16::MAX.to_le_bytes());
        spec.given.write_key(&mut bytes);
        bytes.extend_from_slice(&u64::try_from(spec.takes.len()).unwrap_or(u64::MAX).to_le_bytes());
        for retake in &spec.takes {
            bytes.extend_from_slice(&retake.tracks.to_le_bytes());
            bytes.extend_from_slice(&retake.bars.to_le_bytes());
            bytes.extend_from_slice(&retake.take.to_le_bytes());
        }
        if let Some(morph) = spec.morph {
            bytes.extend_from_slice(&morph.seed.to_le_bytes());
            bytes.extend_from_slice(&morph.amount.to_bits().to_le_bytes());
        }
        if has_several {
            bytes.extend_from_slice(b"candidates");
            bytes.extend_from_slice(&spec.candidates.to_le_bytes());
        }
        for lock in &spec.locks {
            bytes.extend_from_slice(b"lock");
            bytes.extend_from_slice(&u64::try_from(lock.after).unwrap_or(u64::MAX).to_le_bytes());
            lock.music.write_key(&mut bytes);
        }
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
    /// The seed on the way to which the noise is; 0 where it is not.
    pub seed_b: u32,
    /// How far, in steps of 1 / [`Morph::STEPS`].
    pub morph_steps: u32,
    /// The take.
    pub take: u32,
    /// Bits of the variation.
    pub variation_bits: u32,
    /// [`Span::code`].
    pub span: u32,
    /// Tries at every phrase.
    pub candidates: u32,
    /// Changes of the model.
    pub model_generation: u32,
    /// Changes of the progression.
    pub progression_generation: u32,
    /// Changes of the primer.
    pub primer_generation: u32,
    /// Changes of what is re-rolled, locked and given.
    pub takes_generation: u32,
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
            self.seed_b,
            self.morph_steps,
            self.take,
            self.variation_bits,
            self.span,
            self.candidates,
            self.model_generation,
            self.progression_generation,
            self.primer_generation,
            self.takes_generation,
            u32::from(self.live_chords),
            self.heard,
        ];
        let mut bytes = [0_u8; 52];
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
            ..PatternSpec::default()
        };
        let layout = crate::generate::manifest::tests::small_band().layout();
        let given = |n_bars| Given::from_notes(&layout, &[(1, &[])], n_bars).0;
        let (retake, morph) = (Retake { tracks: 2, bars: 9, take: 4 }, Morph { seed: 9, amount: 0.25 });
        let mut keys = vec![
            structure_key(&spec, &model),
            structure_key(&PatternSpec { seed: 4, ..spec.clone() }, &model),
            structure_key(&PatternSpec { take: 9, ..spec.clone() }, &model),
            structure_key(&PatternSpec { variation: 1.0, ..spec.clone() }, &model),
            structure_key(&PatternSpec { span: Span::Endless, ..spec.clone() }, &model),
            structure_key(&PatternSpec { progression: "C | A".parse().unwrap(), ..spec.clone() }, &model),
            structure_key(&PatternSpec { primer: vec![], ..spec.clone() }, &model),
            structure_key(&PatternSpec { given: given(1), ..spec.clone() }, &model),
            structure_key(&PatternSpec { given: given(2), ..spec.clone() }, &model),
            structure_key(&PatternSpec { takes: vec![retake], ..spec.clone() }, &model),
            structure_key(&PatternSpec { takes: vec![retake; 2], ..spec.clone() }, &model),
            structure_key(&PatternSpec { takes: vec![Retake { take: 5, ..retake }], ..spec.clone() }, &model),
            structure_key(&PatternSpec { morph: Some(morph), ..spec.clone() }, &model),
            structure_key(&PatternSpec { morph: Some(Morph { amount: 0.5, ..morph }), ..spec.clone() }, &model),
            structure_key(&PatternSpec { candidates: 2, ..spec.clone() }, &model),
            structure_key(&PatternSpec { candidates: 3, ..spec.clone() }, &model),
            structure_key(&PatternSpec { locks: vec![Lock { after: 0, music: given(2) }], ..spec.clone() }, &model),
            structure_key(&PatternSpec { locks: vec![Lock { after: 1, music: given(2) }], ..spec.clone() }, &model),
            structure_key(&spec, &ModelId { id: "tinya".into(), sha256: "b".into() }),
        ];
        assert_eq!(keys[0], structure_key(&spec.clone(), &model.clone()));
        // A golden value, from the version before there were retakes: patterns without them keep their names.
        assert_eq!(keys[0], GOLDEN);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 19);
    }

    const GOLDEN: u64 = 9_170_264_675_068_691_604;

    #[test]
    fn a_spec_without_retakes_is_saved_as_ever() {
        let json = r#"{"seed":9,"take":4,"variation":1.25,"span":{"Bars":6},"progression":"C","primer":[3]}"#;
        let spec: PatternSpec = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), json);
    }

    #[test]
    fn a_retake_names_bars_beyond_the_32nd_only_with_all() {
        let some = Retake { tracks: 0b101, bars: 1 << 31 | 1 << 2, take: 0 };
        let heard: Vec<u32> = (0..99).filter(|bar| some.tracks_in(*bar) == 0b101).collect();
        assert_eq!(heard, [2, 31]);
        let all = Retake { bars: Retake::ALL_BARS, ..some };
        assert!([0, 31, 32, u32::MAX].iter().all(|bar| all.tracks_in(*bar) == 0b101));
    }

    #[test]
    fn every_field_changes_the_knobs_key() {
        let knobs = StructureKnobs { seed: 1, ..Default::default() };
        let mut keys = [
            StructureKnobs::default(),
            knobs,
            StructureKnobs { seed_b: 1, ..Default::default() },
            StructureKnobs { morph_steps: 1, ..Default::default() },
            StructureKnobs { take: 1, ..Default::default() },
            StructureKnobs { variation_bits: 1, ..Default::default() },
            StructureKnobs { span: 1, ..Default::default() },
            StructureKnobs { candidates: 1, ..Default::default() },
            StructureKnobs { model_generation: 1, ..Default::default() },
            StructureKnobs { progression_generation: 1, ..Default::default() },
            StructureKnobs { primer_generation: 1, ..Default::default() },
            StructureKnobs { takes_generation: 1, ..Default::default() },
            StructureKnobs { live_chords: true, ..Default::default() },
            StructureKnobs { heard: 1, ..Default::default() },
        ]
        .iter()
        .map(StructureKnobs::key)
        .collect::<Vec<_>>();
        let n_keys = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), n_keys);
        assert_eq!(knobs.key(), StructureKnobs { seed: 1, ..Default::default() }.key());
    }
}
