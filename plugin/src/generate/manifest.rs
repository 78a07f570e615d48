//! The contract of a model file: a JSON manifest in the ONNX metadata under [`METADATA_KEY`].

use crate::music::roll::{RollLayout, TrackKind, TrackLayout};
use serde::{Deserialize, Serialize};

/// ONNX metadata key that holds the manifest.
pub const METADATA_KEY: &str = "barline.manifest";
/// The manifest format this version reads.
pub const FORMAT: u32 = 1;

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
}

/// What shares a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Drawn anew for every inference, by the address of its first bar.
    Bar,
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
    /// `(1, 2 · n_bars, 24)`: one-hot triads of the half bars; root for major, 12 + root for minor (the minor chord's own root),
    /// zeros for no chord.
    Triads,
    /// `(1, n_steps, n_cells)`: one-hot states of the previous bar's first track, as in the output; zeros for no previous bar.
    States,
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
        Ok(manifest)
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
