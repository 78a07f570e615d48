//! Piano rolls as `.npz` files that `pypianoroll.load` opens.
//!
//! # Source
//! pypianoroll 1.0.4, `outputs.save` and `inputs.load`: the columns of each roll as a compressed sparse matrix, `tempo`,
//! `downbeat`, and `info.json`.

use super::{ExportError, n_bars};
use crate::music::{
    smf::{DRUM_CHANNEL, Song, SongTrack},
    time::{TICKS_PER_BEAT, Ticks},
};
use npyz::WriterBuilder;
use std::io::{Cursor, Write};
use zip::{CompressionMethod, DateTime, ZipWriter, write::SimpleFileOptions};

/// Grid cells per beat where nothing else is asked for: pypianoroll's default.
pub const DEFAULT_RESOLUTION: i64 = 24;

/// Grid cells per beat.
#[derive(Clone, Copy)]
struct Grid(i64);

/// A sparse matrix by columns (pitches); rows are grid cells.
struct Sparse {
    data: Vec<u8>,
    indices: Vec<i32>,
    indptr: Vec<i32>,
}

/// The bytes of the archive.
///
/// **Shape** of each roll: `(n_cells, 128)`, u8 velocities, `resolution` cells per beat (at least one). A note fills the cells from
/// its rounded onset to its rounded end, at least one. A piano roll cannot tell a repeated note from a held one, so a note that
/// touches the next one of its pitch ends one cell earlier where it has more than one, as pypianoroll itself does when it reads MIDI.
///
/// # Errors
/// [`ExportError::Arrays`] when the song is too long for 32-bit indices.
pub fn to_bytes(song: &Song, resolution: i64) -> Result<Vec<u8>, ExportError> {
    let grid = Grid(resolution.max(1));
    let (_, meter) = song.meter_at(Ticks(0));
    let bar_cells = grid.cell(meter.bar());
    // Bars of 5/32 and the like are no whole number of cells: the roll then ends with the last bar's last whole cell.
    let n_cells = grid.cell(Ticks(n_bars(song) * meter.bar().0)).max(bar_cells);
    let n_rows = usize::try_from(n_cells).map_err(arrays)?;
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut info = serde_json::Map::new();
    info.insert("resolution".into(), grid.0.into());
    info.insert("name".into(), song.name.clone().into());
    let tempos: Vec<f64> = (0..n_cells).map(|c| tempo_at(song, grid.ticks(c))).collect();
    array(&mut archive, "tempo", &[n_rows], &tempos)?;
    let downbeats: Vec<bool> = (0..n_cells).map(|c| grid.downbeat_at(song, c)).collect();
    array(&mut archive, "downbeat", &[n_rows], &downbeats)?;
    for (idx, track) in song.tracks.iter().enumerate() {
        let sparse = grid.sparse(track, n_cells)?;
        let name = |part: &str| format!("pianoroll_{idx}_csc_{part}");
        array(&mut archive, &name("data"), &[sparse.data.len()], &sparse.data)?;
        array(&mut archive, &name("indices"), &[sparse.indices.len()], &sparse.indices)?;
        array(&mut archive, &name("indptr"), &[sparse.indptr.len()], &sparse.indptr)?;
        array(&mut archive, &name("shape"), &[2], &[n_cells, 128])?;
        info.insert(
            idx.to_string(),
            serde_json::json!({
                "program": track.program.unwrap_or(0),
                "is_drum": track.channel.index() == DRUM_CHANNEL,
                "name": track.name,
            }),
        );
    }
    archive.start_file("info.json", options()).map_err(arrays)?;
    archive.write_all(serde_json::Value::Object(info).to_string().as_bytes()).map_err(arrays)?;
    Ok(archive.finish().map_err(arrays)?.into_inner())
}

fn arrays(error: impl ToString) -> ExportError {
    ExportError::Arrays(error.to_string())
}

/// No time stamp: equal songs give equal files.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).last_modified_time(DateTime::default())
}

fn array<T: npyz::AutoSerialize + Copy>(
    archive: &mut ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    shape: &[usize],
    values: &[T],
) -> Result<(), ExportError> {
    let shape: Vec<u64> = shape.iter().map(|n| u64::try_from(*n).unwrap_or(0)).collect();
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd().map_err(arrays)?;
    writer.extend(values.iter().copied()).map_err(arrays)?;
    writer.finish().map_err(arrays)?;
    archive.start_file(format!("{name}.npy"), options()).map_err(arrays)?;
    archive.write_all(&bytes).map_err(arrays)
}

fn tempo_at(song: &Song, at: Ticks) -> f64 {
    song.tempos.iter().rev().find(|t| t.0 <= at).map_or_else(|| song.tempo().bpm(), |t| t.1.bpm())
}

impl Grid {
    /// The nearest cell, halves upward.
    fn cell(self, at: Ticks) -> i64 {
        (2 * at.0 * self.0 + TICKS_PER_BEAT).div_euclid(2 * TICKS_PER_BEAT)
    }

    fn ticks(self, cell: i64) -> Ticks {
        Ticks(cell * TICKS_PER_BEAT / self.0)
    }

    fn downbeat_at(self, song: &Song, idx: i64) -> bool {
        let (since, meter) = song.meter_at(self.ticks(idx));
        let bar = meter.bar().0;
        let bar_idx = (self.ticks(idx).0 - since.0 + bar / 2).div_euclid(bar);
        self.cell(Ticks(since.0 + bar_idx * bar)) == idx
    }

    fn sparse(self, track: &SongTrack, n_cells: i64) -> Result<Sparse, ExportError> {
        let mut columns: Vec<Vec<(i64, i64, u8)>> = vec![Vec::new(); 128];
        for note in &track.notes {
            let start = self.cell(note.onset).clamp(0, n_cells - 1);
            let end = self.cell(Ticks(note.onset.0 + note.duration.0)).clamp(start + 1, n_cells);
            if let Some(column) = columns.get_mut(usize::from(note.pitch.number())) {
                column.push((start, end, note.velocity.number()));
            }
        }
        let mut sparse = Sparse { data: Vec::new(), indices: Vec::new(), indptr: vec![0] };
        for column in &mut columns {
            column.sort_unstable();
            let starts: Vec<i64> = column.iter().map(|n| n.0).skip(1).chain([i64::MAX]).collect();
            for ((start, end, velocity), next) in column.iter().zip(starts) {
                let end = if *end >= next { (next - 1).max(start + 1) } else { *end };
                // Two notes within one cell: the later one sounds there.
                for row in (*start..end).filter(|row| *row < next) {
                    sparse.data.push(*velocity);
                    sparse.indices.push(i32::try_from(row).map_err(arrays)?);
                }
            }
            sparse.indptr.push(i32::try_from(sparse.data.len()).map_err(arrays)?);
        }
        Ok(sparse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::note::{Channel, Note, Pitch, Velocity};

    fn note(onset: i64, duration: i64, pitch: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(90),
        }
    }

    #[test]
    fn repeated_notes_stay_apart_and_short_ones_stay() {
        // Two touching notes, one shorter than a cell, one beyond the end.
        let notes = vec![note(0, 120, 60), note(120, 240, 60), note(481, 3, 62), note(1900, 900, 64)];
        let track = SongTrack { name: "t".into(), channel: Channel::default(), program: None, notes };
        let sparse = Grid(24).sparse(&track, 96).unwrap();
        let column = |pitch: usize| {
            let range = usize::try_from(sparse.indptr[pitch]).unwrap()..usize::try_from(sparse.indptr[pitch + 1]).unwrap();
            sparse.indices[range].to_vec()
        };
        assert_eq!(column(60), (0..5).chain(6..18).collect::<Vec<_>>());
        assert_eq!(column(62), [24]);
        assert_eq!(column(64), [95]);
        assert_eq!(sparse.indptr.len(), 129);
    }

    #[test]
    fn coarse_grids_hold_one_cell_per_note() {
        // At four cells per beat a sixteenth has no room for air: the repeated note looks held, as in every piano roll of that grid.
        let notes = vec![note(0, 120, 60), note(120, 120, 60), note(485, 90, 62)];
        let track = SongTrack { name: "t".into(), channel: Channel::default(), program: None, notes };
        let sparse = Grid(4).sparse(&track, 16).unwrap();
        assert_eq!(sparse.indices, [0, 1, 4]);
    }

    #[test]
    fn downbeats_follow_the_meter() {
        let meter = |n, d| crate::music::time::TimeSignature::new(n, d).unwrap();
        let song = Song { meters: vec![(Ticks(0), meter(3, 4)), (Ticks(1440), meter(7, 8))], ..Song::default() };
        let found: Vec<i64> = (0..240).filter(|c| Grid(24).downbeat_at(&song, *c)).collect();
        assert_eq!(found, [0, 72, 156]);
    }

    #[test]
    fn equal_songs_give_equal_files() {
        let track = SongTrack { name: "t".into(), channel: Channel::default(), program: None, notes: vec![note(0, 9, 60)] };
        let song = Song { tracks: vec![track], ..Song::default() };
        assert_eq!(to_bytes(&song, 24).unwrap(), to_bytes(&song, 24).unwrap());
    }
}
