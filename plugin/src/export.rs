//! Files for people and other programs: `.mid`, `.npz`, `.png`, `.json`, `.html`, each from a [`Song`], and `.wav`. Does I/O: the command line, the
//! demo program and the editor's own threads, never the audio thread.
//!
//! What a song holds is decided elsewhere (`player::render`, a host's recording); nothing here adds, moves or drops a note.

mod draw;
pub mod files;
pub mod npz;
pub mod page;
mod plots;
pub mod png;
pub mod report;
pub mod wav;

use crate::music::smf::Song;
use std::path::Path;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The place cannot be written to.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Two outputs have the same name.
    #[error("{path} is named as an output twice")]
    Twice {
        /// The file.
        path: String,
    },
    /// It would replace what it is made from.
    #[error("{path} is what is read; name another file to write")]
    Input {
        /// The file.
        path: String,
    },
    /// The song does not fit the format.
    #[error(transparent)]
    Smf(#[from] crate::music::smf::SmfError),
    /// The picture cannot be drawn.
    #[error("the picture cannot be drawn: {0}")]
    Picture(String),
    /// The arrays cannot be packed.
    #[error("the arrays cannot be packed: {0}")]
    Arrays(String),
}

impl ExportError {
    /// [`ExportError::Write`] for a path and a reason.
    #[must_use]
    pub fn write(path: &Path, reason: impl ToString) -> Self {
        Self::Write { path: path.display().to_string(), reason: reason.to_string() }
    }
}

/// The end of a song in whole bars, at least one: where the last bar that anything sounds in, or that the song reaches, ends.
pub(crate) fn n_bars(song: &Song) -> i64 {
    let (_, meter) = song.meter_at(crate::music::time::Ticks(0));
    let end = song.notes().iter().map(|n| n.onset.0 + n.duration.0).max().unwrap_or(0).max(song.length.0);
    let bar = meter.bar().0;
    ((end + bar - 1) / bar).max(1)
}
