//! Logit rolls: what inference yields and playing decodes. Pure; any thread.

use super::note::Pitch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Logit per unit of a stored cell: one step of the int8 is 1/16 logit, so that ±8 fits.
pub const LOGIT_SCALE: f32 = 1.0 / 16.0;

/// How the cells of one track and step are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// One of n: `n_pitches` pitches upward from the lowest, then rest, then hold. Monophonic.
    OneOfN,
    /// Binary cells: `n_pitches` onset cells, then `n_pitches` sustain cells. Polyphonic.
    OnsetSustain,
    /// Binary cells: `n_pitches` onset cells; every note lasts one step. Drums.
    Onsets,
}

/// The cells of one track within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrackLayout {
    /// How the cells are read.
    pub kind: TrackKind,
    /// Pitch of the first cell.
    pub lowest_pitch: Pitch,
    /// Pitches covered, upward in semitones.
    pub n_pitches: u8,
    /// Equal pitches on neighbouring steps are one note (MidiNet, which has no hold of its own).
    pub merge_repeats: bool,
}

impl TrackLayout {
    /// Cells per step.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        match self.kind {
            TrackKind::OneOfN => usize::from(self.n_pitches) + 2,
            TrackKind::OnsetSustain => usize::from(self.n_pitches) * 2,
            TrackKind::Onsets => usize::from(self.n_pitches),
        }
    }
}

/// The cells of one step: the tracks one after another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RollLayout {
    /// Steps per bar.
    pub n_steps: u8,
    /// Tracks, in the order of their cells.
    pub tracks: Vec<TrackLayout>,
}

impl RollLayout {
    /// Cells per step, all tracks.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.tracks.iter().map(TrackLayout::n_cells).sum()
    }

    /// The range of a track's cells within a step; empty for a track that does not exist.
    #[must_use]
    pub fn cells_of(&self, track_idx: usize) -> std::ops::Range<usize> {
        let start = self.tracks.iter().take(track_idx).map(TrackLayout::n_cells).sum();
        start..start + self.tracks.get(track_idx).map_or(0, TrackLayout::n_cells)
    }
}

/// Logits of consecutive bars.
///
/// **Shape** `(n_bars, n_steps, n_cells)`, i8, row-major; cells as [`RollLayout`] says, track after track. The design's
/// `(n_tracks, n_bars, n_steps, n_pitches, n_states)` would give every track the widest track's cells; this keeps all that one
/// step needs together, and tracks of different kinds beside each other.
/// **Units** 1/16 logit.
///
/// Clones share the cells: a pattern that plays, is shown and is kept lies in memory once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogitRoll {
    layout: RollLayout,
    n_bars: usize,
    cells: Arc<[i8]>,
}

/// A logit roll that could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RollError {
    /// The number of values is not bars × steps × cells.
    #[error("{got} logits do not fill {n_bars} bars of {n_steps} steps with {n_cells} cells each")]
    Shape {
        /// Values given.
        got: usize,
        /// Bars asked for.
        n_bars: usize,
        /// Steps per bar.
        n_steps: usize,
        /// Cells per step.
        n_cells: usize,
    },
    /// A value is NaN or infinite.
    #[error("logit {index} is not finite")]
    NotFinite {
        /// Index of the first such value.
        index: usize,
    },
}

impl LogitRoll {
    /// A roll from real logits, rounded to 1/16 and clamped to ±8 (127/16 above).
    ///
    /// # Errors
    /// [`RollError`] when the length does not fit or a value is not finite.
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i8 first")]
    pub fn from_logits(layout: RollLayout, n_bars: usize, logits: &[f32]) -> Result<Self, RollError> {
        if let Some(index) = logits.iter().position(|l| !l.is_finite()) {
            return Err(RollError::NotFinite { index });
        }
        let cells = logits.iter().map(|l| (l / LOGIT_SCALE).round().clamp(-128.0, 127.0) as i8).collect();
        Self::from_cells(layout, n_bars, cells)
    }

    /// A roll from stored cells.
    ///
    /// # Errors
    /// [`RollError::Shape`] when the length does not fit.
    pub fn from_cells(layout: RollLayout, n_bars: usize, cells: Arc<[i8]>) -> Result<Self, RollError> {
        let (n_steps, n_cells) = (usize::from(layout.n_steps), layout.n_cells());
        if cells.len() != n_bars * n_steps * n_cells {
            return Err(RollError::Shape { got: cells.len(), n_bars, n_steps, n_cells });
        }
        Ok(Self { layout, n_bars, cells })
    }

    /// Where the cells lie.
    #[must_use]
    pub fn layout(&self) -> &RollLayout {
        &self.layout
    }

    /// Bars.
    #[must_use]
    pub fn n_bars(&self) -> usize {
        self.n_bars
    }

    /// All cells, row-major `(n_bars, n_steps, n_cells)`.
    #[must_use]
    pub fn cells(&self) -> &[i8] {
        &self.cells
    }

    /// The same, to keep a part of it without a copy.
    #[must_use]
    pub fn shared_cells(&self) -> &Arc<[i8]> {
        &self.cells
    }

    /// The cells of one step, all tracks; empty outside the roll.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn step(&self, bar_idx: usize, step_idx: usize) -> &[i8] {
        let (n_steps, n_cells) = (usize::from(self.layout.n_steps), self.layout.n_cells());
        if step_idx >= n_steps {
            return &[];
        }
        let start = (bar_idx * n_steps + step_idx) * n_cells;
        self.cells.get(start..start + n_cells).unwrap_or(&[])
    }
}
