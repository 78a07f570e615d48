//! The contract of a model file: a JSON manifest in the ONNX metadata under [`METADATA_KEY`].

use crate::music::{
    roll::{RollLayout, TrackKind, TrackLayout},
    time::STEPS_PER_BEAT,
};
use serde::{Deserialize, Serialize};

/// ONNX metadata key that holds the manifest.
pub const METADATA_KEY: &str = "barline.manifest";
/// The manifest format this version reads.
pub const FORMAT: u32 = 1;

/// Longest id, in bytes.
const MAX_ID_LEN: usize = 64;
/// Most tracks: each plays on a MIDI channel of its own.
const MAX_TRACKS: usize = 16;
/// Most bars of one inference.
const MAX_PHRASE_BARS: u32 = 32;
/// Longest chain, in bars: the worker generates and keeps whole chains.
const MAX_CHAIN_BARS: u32 = 32;
/// Most bars before the phrase that a network sees.
const MAX_CONTEXT_BARS: u32 = 32;
/// Most phrases before a chain that nobody hears: each costs an inference.
const MAX_LEAD_IN: u32 = 4;
/// Most steps per bar.
const MAX_STEPS: u8 = 64;
/// Most numbers of one latent.
const MAX_LATENT_VALUES: usize = 1 << 20;

/// What a model is, takes and yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Short name used on the command line and in saved projects: `[a-z0-9-]+`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// One or two sentences.
    pub description: String,
    /// Tracks, in the order of their cells.
    pub tracks: Vec<Track>,
    /// Bars that one inference yields.
    pub n_bars: u32,
    /// Bars until the chain starts again from the primer; a multiple of `n_bars`.
    pub chain_bars: u32,
    /// Bars before the phrase that the network sees, beside the phrase's own.
    #[serde(default)]
    pub context_bars: u32,
    /// Phrases that are written before a chain's first, over the same bars, and not kept: a network that knows songs from their middle
    /// begins poorly where nothing was before.
    #[serde(default)]
    pub lead_in: u32,
    /// Steps per bar.
    pub n_steps: u8,
    /// Steps per beat.
    pub steps_per_beat: u8,
    /// Noise inputs.
    pub latents: Vec<Latent>,
    /// Other inputs.
    pub conditions: Vec<Condition>,
    /// The output.
    pub output: Tensor,
    /// How the knobs map.
    pub calibration: Calibration,
    /// Provenance, free form: config, commit, data, seed, steps, figures.
    #[serde(default)]
    pub training: serde_json::Value,
    /// Licence of the weights.
    pub licence: String,
    /// Attribution that the data's licence asks for.
    #[serde(default)]
    pub attribution: String,
}

/// A track of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Name for people.
    pub name: String,
    /// General MIDI program, 0 to 127.
    pub program: u8,
    /// Plays on the drum channel.
    #[serde(default)]
    pub drums: bool,
    /// How its cells are read.
    pub kind: TrackKind,
    /// Pitch of the first cell.
    pub lowest_pitch: u8,
    /// Pitches covered.
    pub n_pitches: u8,
    /// Equal pitches on neighbouring steps are one note.
    #[serde(default)]
    pub merge_repeats: bool,
}

/// A noise input. Every number in it has an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latent {
    /// Input name in the graph.
    pub name: String,
    /// Static shape, batch of 1 first.
    pub shape: Vec<usize>,
    /// How it is drawn.
    pub distribution: Distribution,
    /// What shares it.
    pub scope: Scope,
}

/// How a latent is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Standard normal, times the *variation* parameter.
    Normal,
    /// Even over −1 to 1, times the *variation* parameter; morphed so that it stays even.
    Uniform,
}

/// What shares a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Drawn anew for every phrase, by the address of its first bar and the take of the whole: a retake of a part keeps it.
    Bar,
    /// As [`Bar`](Self::Bar), but by the take of what is written: any retake draws it anew.
    Phrase,
    /// `(1, n_tracks, n)`: drawn for each track of a phrase, by the take of what is written of that track.
    Track,
    /// `(1, n_tracks, n_bars, n_steps, n)`: drawn for each track and bar by their own address and take, so that they keep their
    /// values whatever else is written anew.
    TrackBar,
}

/// A conditional input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Input name in the graph.
    pub name: String,
    /// Static shape, batch of 1 first.
    pub shape: Vec<usize>,
    /// What it holds.
    pub encoding: Encoding,
}

/// What a conditional input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `(1, 2 · (context_bars + n_bars), 24)`: one-hot triads of the half bars; root for major, 12 + root for minor (the minor
    /// chord's own root), zeros for no chord and for bars before the chain.
    Triads,
    /// `(1, n_steps, n_cells)`: one-hot states of the previous bar's first track, as in the output; zeros for no previous bar.
    States,
    /// `(1, context_bars + n_bars, n_steps, n_cells)`: the cells that are known, 1 where greedy decoding switches one on; zeros where
    /// nothing is known.
    Given,
    /// `(1, n_tracks, context_bars + n_bars)`: 1 where the track's bar is known, else 0. What is known comes back as sure as a logit
    /// can be; the rest is written to go with it.
    Known,
}

/// A tensor's name and shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Name in the graph.
    pub name: String,
    /// Static shape `(1, n_bars, n_steps, n_cells)`.
    pub shape: Vec<usize>,
}

/// How the knobs map to this model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Factor that maps the temperature knob's 1.0 to the model's best temperature.
    pub temperature: f32,
    /// Bias per track that is already inside the graph, in logits; for the record.
    #[serde(default)]
    pub bias: Vec<f32>,
}

/// A manifest that does not hold together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Not JSON of this form.
    #[error("the manifest cannot be read: {0}")]
    Json(String),
    /// Written for another version.
    #[error("the manifest has format {got}; this version of Barline reads format {FORMAT}")]
    Format {
        /// Format found.
        got: u32,
    },
    /// A field is out of range or contradicts another.
    #[error("the manifest's `{field}` is wrong: {reason}")]
    Field {
        /// Field name.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

fn require(holds: bool, field: &'static str, reason: impl FnOnce() -> String) -> Result<(), ManifestError> {
    if holds { Ok(()) } else { Err(ManifestError::Field { field, reason: reason() }) }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] when it is not JSON of this form, of another format, or contradicts itself.
    pub fn from_json(json: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_str(json).map_err(|e| ManifestError::Json(e.to_string()))?;
        if head.format != FORMAT {
            return Err(ManifestError::Format { got: head.format });
        }
        let manifest: Self = serde_json::from_str(json).map_err(|e| ManifestError::Json(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that the fields are in range and agree with each other.
    ///
    /// # Errors
    /// [`ManifestError::Format`] or [`ManifestError::Field`] naming the first field that is wrong.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(ManifestError::Format { got: self.format });
        }
        let id_fits = (1..=MAX_ID_LEN).contains(&self.id.len())
            && self.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        require(id_fits, "id", || format!("`{}` must be 1 to {MAX_ID_LEN} of a-z, 0-9 and -", self.id))?;
        self.check_tracks()?;
        require((1..=MAX_PHRASE_BARS).contains(&self.n_bars), "n_bars", || {
            format!("{} is outside 1 to {MAX_PHRASE_BARS}", self.n_bars)
        })?;
        let chain_fits = (self.n_bars..=MAX_CHAIN_BARS).contains(&self.chain_bars) && self.chain_bars.is_multiple_of(self.n_bars);
        require(chain_fits, "chain_bars", || {
            format!("{} is not a multiple of n_bars ({}) up to {MAX_CHAIN_BARS}", self.chain_bars, self.n_bars)
        })?;
        require(i64::from(self.steps_per_beat) == STEPS_PER_BEAT, "steps_per_beat", || {
            format!("{} is not {STEPS_PER_BEAT}, the only grid that this version plays", self.steps_per_beat)
        })?;
        require(self.context_bars <= MAX_CONTEXT_BARS, "context_bars", || {
            format!("{} is more than {MAX_CONTEXT_BARS}", self.context_bars)
        })?;
        require(self.lead_in <= MAX_LEAD_IN, "lead_in", || format!("{} is more than {MAX_LEAD_IN}", self.lead_in))?;
        require(self.lead_in == 0 || (1..=self.n_bars).contains(&self.context_bars), "lead_in", || {
            format!("what goes on from it sees {} bars before, not 1 to {}", self.context_bars, self.n_bars)
        })?;
        require((1..=MAX_STEPS).contains(&self.n_steps), "n_steps", || format!("{} is outside 1 to {MAX_STEPS}", self.n_steps))?;
        self.check_tensors()?;
        let factor = self.calibration.temperature;
        require((0.01..=100.0).contains(&factor), "calibration.temperature", || format!("{factor} is outside 0.01 to 100"))?;
        require(!self.licence.trim().is_empty(), "licence", || "it is empty".into())
    }

    fn check_tracks(&self) -> Result<(), ManifestError> {
        require((1..=MAX_TRACKS).contains(&self.tracks.len()), "tracks", || {
            format!("{} tracks; 1 to {MAX_TRACKS} are possible", self.tracks.len())
        })?;
        for track in &self.tracks {
            require(track.program < 128, "tracks.program", || format!("{} is outside 0 to 127", track.program))?;
            let top = u32::from(track.lowest_pitch) + u32::from(track.n_pitches);
            require(track.n_pitches > 0 && top <= 128, "tracks.n_pitches", || {
                format!("{} pitches from {} upward do not lie within 0 to 127", track.n_pitches, track.lowest_pitch)
            })?;
        }
        Ok(())
    }

    fn check_tensors(&self) -> Result<(), ManifestError> {
        let n_steps = usize::from(self.n_steps);
        let n_bars = usize::try_from(self.n_bars).unwrap_or(usize::MAX);
        let mut names: Vec<&str> = vec![&self.output.name];
        names.extend(self.latents.iter().map(|l| l.name.as_str()));
        names.extend(self.conditions.iter().map(|c| c.name.as_str()));
        require(names.iter().all(|n| !n.is_empty()), "latents", || "a tensor has no name".into())?;
        names.sort_unstable();
        let n_names = names.len();
        names.dedup();
        require(names.len() == n_names, "latents", || "two tensors have the same name".into())?;
        let (n_tracks, n_cells) = (self.tracks.len(), self.layout().n_cells());
        let n_window = usize::try_from(self.window_bars()).unwrap_or(usize::MAX);
        for latent in &self.latents {
            let n_values = latent.shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
            require(latent.shape.first() == Some(&1) && (1..=MAX_LATENT_VALUES).contains(&n_values), "latents.shape", || {
                format!("{:?} must begin with 1 and hold 1 to {MAX_LATENT_VALUES} values", latent.shape)
            })?;
            let (fits, wanted) = match latent.scope {
                Scope::Bar | Scope::Phrase => (true, String::new()),
                Scope::Track => (
                    matches!(&*latent.shape, [1, t, _] if *t == n_tracks),
                    format!("[1, {n_tracks}, n]: tracks, for the scope `track`"),
                ),
                Scope::TrackBar => (
                    matches!(&*latent.shape, [1, t, b, s, _] if [*t, *b, *s] == [n_tracks, n_bars, n_steps]),
                    format!("[1, {n_tracks}, {n_bars}, {n_steps}, n]: tracks, bars, steps, for the scope `track_bar`"),
                ),
            };
            require(fits, "latents.shape", || format!("{:?} must be {wanted}", latent.shape))?;
        }
        for condition in &self.conditions {
            let wanted = match condition.encoding {
                Encoding::Triads => vec![1, 2 * n_window, 24],
                Encoding::States => {
                    let first = self.tracks.first().filter(|t| t.kind == TrackKind::OneOfN);
                    let first = first.ok_or_else(|| ManifestError::Field {
                        field: "conditions.encoding",
                        reason: "`states` needs a first track of kind `one_of_n`".into(),
                    })?;
                    vec![1, n_steps, usize::from(first.n_pitches) + 2]
                }
                Encoding::Given => vec![1, n_window, n_steps, n_cells],
                Encoding::Known => vec![1, n_tracks, n_window],
            };
            require(condition.shape == wanted, "conditions.shape", || {
                format!("`{}` is {:?} but its encoding says {wanted:?}", condition.name, condition.shape)
            })?;
        }
        let (given, known) = (self.has(Encoding::Given), self.has(Encoding::Known));
        require(given == known, "conditions.encoding", || "`given` and `known` go together: neither says anything alone".into())?;
        require(given || self.context_bars == 0, "context_bars", || {
            format!("{} bars before the phrase cannot be seen without a condition `given`", self.context_bars)
        })?;
        let wanted = vec![1, n_bars, n_steps, self.layout().n_cells()];
        require(self.output.shape == wanted, "output.shape", || {
            format!("it is {:?} but bars, steps and tracks say {wanted:?}", self.output.shape)
        })
    }

    /// Whether it has a condition of this encoding.
    #[must_use]
    pub fn has(&self, encoding: Encoding) -> bool {
        self.conditions.iter().any(|c| c.encoding == encoding)
    }

    /// Whether a latent has values for every step, which then decide what is drawn there, rather than what the whole is like.
    #[must_use]
    pub fn draws_by_step(&self) -> bool {
        let n_steps = usize::from(self.n_steps);
        self.latents.iter().any(|latent| latent.shape.len() > 2 && latent.shape.contains(&n_steps))
    }

    /// Bars that the network sees at once: those before the phrase and the phrase.
    #[must_use]
    pub fn window_bars(&self) -> u32 {
        self.context_bars + self.n_bars
    }

    /// Where the cells of the output lie.
    #[must_use]
    pub fn layout(&self) -> RollLayout {
        RollLayout {
            n_steps: self.n_steps,
            tracks: self
                .tracks
                .iter()
                .map(|t| TrackLayout {
                    kind: t.kind,
                    lowest_pitch: crate::music::note::Pitch::new(i32::from(t.lowest_pitch.min(127))).unwrap_or_default(),
                    n_pitches: t.n_pitches,
                    merge_repeats: t.merge_repeats,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A lopsided manifest: 5 steps, 3 pitches from 59, one bar per inference, chains of 3.
    pub(crate) fn tiny() -> Manifest {
        Manifest::from_json(TINY).unwrap()
    }

    pub(crate) const TINY: &str = r#"{"format": 1, "id": "tiny", "name": "Tiny", "version": "0.3", "description": "A model for tests; it means nothing.",
        "tracks": [{"name": "Lead", "program": 73, "kind": "one_of_n", "lowest_pitch": 59, "n_pitches": 3}],
        "n_bars": 1, "chain_bars": 3, "n_steps": 5, "steps_per_beat": 4,
        "latents": [{"name": "noise", "shape": [1, 7], "distribution": "normal", "scope": "bar"}],
        "conditions": [{"name": "chords", "shape": [1, 2, 24], "encoding": "triads"},
                       {"name": "previous_bar", "shape": [1, 5, 5], "encoding": "states"}],
        "output": {"name": "logits", "shape": [1, 1, 5, 5]},
        "calibration": {"temperature": 0.75}, "licence": "CC0-1.0"}"#;

    /// Three tracks of three kinds over 4 steps, phrases of 2 bars that see 1 bar before, chains of 6.
    pub(crate) fn small_band() -> Manifest {
        Manifest::from_json(SMALL_BAND).unwrap()
    }

    pub(crate) const SMALL_BAND: &str = r#"{"format": 1, "id": "small-band", "name": "Small band", "version": "1", "description": "For tests.",
        "tracks": [{"name": "Kit", "program": 0, "drums": true, "kind": "onsets", "lowest_pitch": 36, "n_pitches": 3},
                   {"name": "Bass", "program": 33, "kind": "one_of_n", "lowest_pitch": 30, "n_pitches": 5},
                   {"name": "Keys", "program": 4, "kind": "onset_sustain", "lowest_pitch": 59, "n_pitches": 2}],
        "n_bars": 2, "chain_bars": 6, "context_bars": 1, "n_steps": 4, "steps_per_beat": 4,
        "latents": [{"name": "noise", "shape": [1, 3, 2, 4, 2], "distribution": "normal", "scope": "track_bar"}],
        "conditions": [{"name": "chords", "shape": [1, 6, 24], "encoding": "triads"},
                       {"name": "given", "shape": [1, 3, 4, 14], "encoding": "given"},
                       {"name": "known", "shape": [1, 3, 3], "encoding": "known"}],
        "output": {"name": "logits", "shape": [1, 2, 4, 14]},
        "calibration": {"temperature": 1.5}, "licence": "CC0-1.0"}"#;

    fn refused(from: &str, to: &str) -> ManifestError {
        refused_in(TINY, from, to)
    }

    fn refused_in(json: &str, from: &str, to: &str) -> ManifestError {
        assert!(json.contains(from), "{from}");
        Manifest::from_json(&json.replace(from, to)).unwrap_err()
    }

    #[test]
    fn a_manifest_survives_a_round_trip() {
        let manifest = tiny();
        assert_eq!(Manifest::from_json(&serde_json::to_string(&manifest).unwrap()).unwrap(), manifest);
        assert_eq!(manifest.layout().n_cells(), 5);
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_field() {
        for (from, to, field) in [
            ("\"tiny\"", "\"Tiny model\"", "id"),
            ("\"n_pitches\": 3", "\"n_pitches\": 99", "tracks.n_pitches"),
            ("\"program\": 73", "\"program\": 128", "tracks.program"),
            ("\"n_bars\": 1", "\"n_bars\": 0", "n_bars"),
            ("\"chain_bars\": 3", "\"chain_bars\": 33", "chain_bars"),
            ("\"steps_per_beat\": 4", "\"steps_per_beat\": 3", "steps_per_beat"),
            ("\"n_steps\": 5", "\"n_steps\": 0", "n_steps"),
            ("[1, 7]", "[2, 7]", "latents.shape"),
            ("[1, 7]", "[1, 9999999999999, 9999999999999]", "latents.shape"),
            ("[1, 2, 24]", "[1, 24]", "conditions.shape"),
            ("[1, 5, 5], \"encoding\"", "[1, 5, 6], \"encoding\"", "conditions.shape"),
            ("one_of_n", "onset_sustain", "conditions.encoding"),
            ("[1, 1, 5, 5]", "[1, 1, 5, 8]", "output.shape"),
            ("0.75", "0", "calibration.temperature"),
            ("CC0-1.0", " ", "licence"),
            ("\"noise\"", "\"chords\"", "latents"),
        ] {
            match refused(from, to) {
                ManifestError::Field { field: got, .. } => assert_eq!(got, field, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other}"),
            }
        }
        assert_eq!(refused("\"format\": 1", "\"format\": 2"), ManifestError::Format { got: 2 });
        assert!(matches!(refused("\"tracks\"", "\"track\""), ManifestError::Json(_)));
        assert!(matches!(Manifest::from_json("[]"), Err(ManifestError::Json(_))));
    }

    #[test]
    fn a_model_that_completes_what_is_given_says_what_it_sees() {
        let band = small_band();
        assert_eq!((band.window_bars(), band.layout().n_cells()), (3, 14));
        assert_eq!(tiny().context_bars, 0);
        for (from, to, field) in [
            ("\"context_bars\": 1", "\"context_bars\": 33", "context_bars"),
            ("\"context_bars\": 1", "\"context_bars\": 2", "conditions.shape"),
            ("\"context_bars\": 1", "\"context_bars\": 1, \"lead_in\": 5", "lead_in"),
            ("\"context_bars\": 1", "\"context_bars\": 3, \"lead_in\": 1", "lead_in"),
            ("\"context_bars\": 1", "\"lead_in\": 1", "lead_in"),
            ("[1, 3, 2, 4, 2]", "[1, 3, 4, 2, 2]", "latents.shape"),
            ("[1, 3, 2, 4, 2]", "[1, 48]", "latents.shape"),
            ("\"track_bar\"", "\"track\"", "latents.shape"),
            ("[1, 6, 24]", "[1, 4, 24]", "conditions.shape"),
            ("[1, 3, 4, 14], \"encoding\": \"given\"", "[1, 2, 4, 14], \"encoding\": \"given\"", "conditions.shape"),
            ("[1, 3, 3]", "[1, 3, 2]", "conditions.shape"),
            ("\"kind\": \"onsets\"", "\"kind\": \"onset_sustain\"", "conditions.shape"),
            (
                ",\n                       {\"name\": \"known\", \"shape\": [1, 3, 3], \"encoding\": \"known\"}",
                "",
                "conditions.encoding",
            ),
        ] {
            match refused_in(SMALL_BAND, from, to) {
                ManifestError::Field { field: got, .. } => assert_eq!(got, field, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other}"),
            }
        }
        let mut blind = band;
        blind.conditions.truncate(1);
        assert!(matches!(blind.check(), Err(ManifestError::Field { field: "context_bars", .. })));
    }
}
