//! Standard MIDI Files that are read.

use crate::error::CliError;
use barline::music::smf::{MAX_FILE_BYTES, Song};
use std::{fs, path::Path};

/// Reads a song; `what` is the file's part in messages.
///
/// # Errors
/// [`CliError::Read`] when it is no song that can be read.
pub fn song(what: &'static str, path: &Path) -> Result<Song, CliError> {
    let refuse = |reason: String| CliError::Read { what, path: path.display().to_string(), reason };
    let found = fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
    // A device would never end, and a large file is refused before it fills the memory.
    if !found.is_file() {
        return Err(refuse("it is no regular file".into()));
    }
    let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
    if size > MAX_FILE_BYTES {
        return Err(refuse(format!("it has {size} bytes; at most {MAX_FILE_BYTES} are read")));
    }
    let bytes = fs::read(path).map_err(|e| refuse(e.to_string()))?;
    Song::from_bytes(&bytes).map_err(|e| refuse(e.to_string()))
}
