//! Standard MIDI Files that are read.

use crate::error::CliError;
use barline::music::smf::Song;
use std::path::Path;

/// Reads a song; `what` is the file's part in messages.
///
/// # Errors
/// [`CliError::Read`] when it is no song that can be read.
pub fn song(what: &'static str, path: &Path) -> Result<Song, CliError> {
    Song::read(path).map_err(|e| CliError::Read { what, path: path.display().to_string(), reason: e.to_string() })
}
