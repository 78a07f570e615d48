//! Taking music away: what is heard as a Standard MIDI File in the user's music folder. The song is plain data; the file is written on
//! the window's thread, a few kilobytes under a temporary name, and appears whole or not at all.

use super::view_model::LaneView;
use crate::{
    export::{ExportError, files::Outputs},
    generate::{Pattern, Span},
    music::{
        note::{Channel, Note},
        smf::{Song, SongTrack},
        time::{Tempo, Ticks, TimeSignature},
    },
    player::{Knobs, Part, render_parts},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Most files of one name.
const MAX_NUMBER: u32 = 9999;
/// How the folders of dragged files begin.
const SCRATCH: &str = "barline-drag-";
/// Age of such a folder from which on nothing is expected to read it any more.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that sounds.
    Pattern,
    /// One lane, whatever is muted or solo.
    Lane(usize),
}

/// What a song is made of besides the pattern.
pub struct Occasion<'a> {
    /// The knobs of now.
    pub knobs: Knobs,
    /// The host's meter.
    pub meter: TimeSignature,
    /// The host's tempo.
    pub tempo: Tempo,
    /// The first bar shown: where the part of an endless pattern begins.
    pub first_bar: u32,
    /// Bars of an endless pattern.
    pub n_endless_bars: u32,
    /// The lanes.
    pub lanes: &'a [LaneView],
}

/// The notes of a pattern as they sound, from its first bar on, as a song with a track per lane.
#[must_use]
pub fn song(pattern: &Pattern, which: Which, occasion: &Occasion<'_>) -> Song {
    let Occasion { meter, first_bar, lanes, .. } = *occasion;
    let mut knobs = occasion.knobs;
    if let Which::Lane(idx) = which {
        knobs.chords = None;
        knobs.only_lane = u8::try_from(idx).ok();
        if let Some(lane) = knobs.lanes.get_mut(idx) {
            (lane.on, lane.muted) = (true, false);
        }
    }
    let (first, n_bars) = match pattern.spec.span {
        Span::Bars(n) => (0, n),
        Span::Endless => (first_bar, occasion.n_endless_bars),
    };
    let bar = meter.bar().0;
    let start = i64::from(first) * bar;
    let parts = render_parts(pattern, &knobs, meter, first..first.saturating_add(n_bars));
    let notes_of = |wanted: Part| -> Vec<Note> {
        let own = parts.iter().filter(|(part, _)| *part == wanted);
        own.map(|(_, note)| Note { onset: Ticks(note.onset.0 - start), ..*note }).collect()
    };
    let mut tracks = Vec::new();
    for (number, lane) in (0_u8..).zip(lanes) {
        let idx = usize::from(number);
        let notes = notes_of(Part::Track(number));
        if !notes.is_empty() {
            let channel = knobs.channel_of(idx, lanes.len());
            tracks.push(SongTrack { name: lane.name.clone(), channel, program: lane.program.filter(|_| !lane.is_drums), notes });
        }
    }
    let chords = notes_of(Part::Chords);
    if !chords.is_empty() {
        let channel: Channel = knobs.chords.unwrap_or_default();
        tracks.push(SongTrack { name: "Chords".into(), channel, program: None, notes: chords });
    }
    let mut markers: Vec<(Ticks, String)> = Vec::new();
    for bar_idx in 0..n_bars {
        for (half, chord) in (0_i64..).zip(pattern.spec.progression.at(first + bar_idx)) {
            let name = chord.map_or_else(|| "N.C.".into(), |chord| chord.to_string());
            if markers.last().is_none_or(|(_, before)| *before != name) {
                markers.push((Ticks(i64::from(bar_idx) * bar + half * bar / 2), name));
            }
        }
    }
    let spec = &pattern.spec;
    Song {
        name: "Barline".into(),
        tempos: vec![(Ticks(0), occasion.tempo)],
        meters: vec![(Ticks(0), meter)],
        key: knobs.key,
        texts: vec![format!(
            "Barline {}, model {} {}, seed {}, take {}",
            env!("CARGO_PKG_VERSION"),
            pattern.model.id,
            pattern.model.sha256,
            spec.seed,
            spec.take
        )],
        markers,
        tracks,
        length: Ticks(i64::from(n_bars) * bar),
    }
}

/// Name of the file without its ending: model, seed, take, lane.
#[must_use]
pub fn stem(pattern: &Pattern, which: Which, lanes: &[LaneView]) -> String {
    let lane = match which {
        Which::Pattern => "",
        Which::Lane(idx) => lanes.get(idx).map_or("lane", |lane| lane.name.as_str()),
    };
    let spec = &pattern.spec;
    let name = format!("{} seed {} take {} {lane}", pattern.model.id, spec.seed, spec.take).trim().to_lowercase();
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect()
}

/// Writes a song into a folder, which is made if it is not there, under the first name that is free. Yields the file. The same song is
/// not written twice in a row.
///
/// # Errors
/// [`ExportError`] when the folder or the file cannot be written.
pub fn write(folder: &Path, stem: &str, song: &Song) -> Result<PathBuf, ExportError> {
    let bytes = song.to_bytes()?;
    fs::create_dir_all(folder).map_err(|error| ExportError::write(folder, error))?;
    let mut place = folder.join(format!("{stem}.mid"));
    for number in 2..MAX_NUMBER {
        if !place.exists() || fs::read(&place).is_ok_and(|there| there == bytes) {
            break;
        }
        place = folder.join(format!("{stem}-{number}.mid"));
    }
    let mut outputs = Outputs::default();
    outputs.add(&place, &bytes)?;
    outputs.commit()?;
    Ok(place)
}

/// This process's folder for files that are dragged out, made when it is first wanted. It stays when the process ends, because a host may
/// read a file late; what is older than a day is removed when a later process makes its own.
///
/// # Errors
/// [`ExportError`] when it cannot be made.
pub fn scratch() -> Result<PathBuf, ExportError> {
    static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut folder = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    match &*folder {
        Some(folder) if folder.is_dir() => Ok(folder.clone()),
        _ => Ok(folder.insert(new_scratch(&std::env::temp_dir(), OLD)?).clone()),
    }
}

/// Makes a folder of one's own in a folder, and removes those that are old.
fn new_scratch(place: &Path, old: Duration) -> Result<PathBuf, ExportError> {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_one =
            entry.file_name().to_string_lossy().starts_with(SCRATCH) && entry.file_type().is_ok_and(|kind| kind.is_dir());
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        if is_one && age.is_some_and(|age| age > old) {
            // It may be another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let made = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(place);
    made.map(tempfile::TempDir::keep).map_err(|error| ExportError::write(place, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::testing::{band, doubtful};

    fn lanes() -> Vec<LaneView> {
        let lane = |name: &str, program| LaneView { name: name.into(), is_drums: program == Some(0), program };
        vec![
            lane("Drums", Some(0)),
            lane("Bass", Some(33)),
            lane("Piano", Some(1)),
            lane("Guitar", Some(25)),
            lane("Strings", Some(48)),
        ]
    }

    fn occasion(lanes: &[LaneView]) -> Occasion<'_> {
        let knobs = Knobs { swing: 0.4, chords: Channel::new(5), ..Knobs::default() };
        let (meter, tempo) = (TimeSignature::new(3, 4).unwrap(), Tempo::new(97.0).unwrap());
        Occasion { knobs, meter, tempo, first_bar: 5, n_endless_bars: 4, lanes }
    }

    #[test]
    fn a_file_holds_what_sounds_note_for_note() {
        let (pattern, lanes) = (doubtful(11, band(), 3, "C | Am F"), lanes());
        let occasion = occasion(&lanes);
        let song = song(&pattern, Which::Pattern, &occasion);
        let read = Song::from_bytes(&song.to_bytes().unwrap()).unwrap();
        let mut heard: Vec<Note> =
            render_parts(&pattern, &occasion.knobs, occasion.meter, 0..3).into_iter().map(|(_, n)| n).collect();
        heard.sort_by_key(|n| (n.onset, n.channel, n.pitch, n.duration));
        assert_eq!(read.notes(), heard);
        assert_eq!(
            read.tracks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["Drums", "Bass", "Piano", "Guitar", "Strings", "Chords"]
        );
        assert_eq!((read.tempo().bpm().round(), read.meter_at(Ticks(0)).1), (97.0, occasion.meter));
        assert_eq!(
            read.markers.iter().map(|(at, name)| (at.0, name.as_str())).collect::<Vec<_>>(),
            [(0, "C"), (1440, "Am"), (2160, "F"), (2880, "C")]
        );
    }

    #[test]
    fn a_lane_is_taken_alone_even_if_it_is_muted() {
        let (pattern, lanes) = (doubtful(11, band(), 2, "C"), lanes());
        let mut occasion = occasion(&lanes);
        let whole = song(&pattern, Which::Pattern, &occasion);
        occasion.knobs.lanes[3].muted = true;
        occasion.knobs.lanes[1].solo = true;
        let one = song(&pattern, Which::Lane(3), &occasion);
        assert_eq!(one.tracks, [whole.tracks[3].clone()]);
        assert_eq!(stem(&pattern, Which::Lane(3), &lanes), "test-seed-11-take-3-guitar");
    }

    #[test]
    fn an_endless_pattern_gives_the_bars_that_are_shown() {
        let lanes = lanes();
        let mut pattern = doubtful(11, band(), 8, "C");
        (pattern.spec.span, pattern.first_bar) = (Span::Endless, 4);
        let song = song(&pattern, Which::Pattern, &occasion(&lanes));
        assert_eq!(song.length, Ticks(4 * 1440));
        let onsets: Vec<i64> = song.notes().iter().map(|n| n.onset.0).collect();
        assert!(onsets.iter().all(|at| (0..4 * 1440).contains(at)) && onsets.iter().any(|at| *at < 1440), "{onsets:?}");
    }

    #[test]
    fn old_folders_of_dragged_files_are_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("barline-drag-file"), "").unwrap();
        fs::create_dir(place.path().join("other")).unwrap();
        let first = new_scratch(place.path(), OLD).unwrap();
        fs::write(first.join("a.mid"), "").unwrap();
        let second = new_scratch(place.path(), OLD).unwrap();
        assert!(first.join("a.mid").exists() && first != second);
        std::thread::sleep(Duration::from_millis(2));
        let third = new_scratch(place.path(), Duration::from_millis(1)).unwrap();
        assert!(!first.exists() && !second.exists() && third.is_dir());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
        assert_eq!(scratch().unwrap(), scratch().unwrap());
    }

    #[test]
    fn no_file_is_lost_to_another_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new").join("folder");
        let song = |bars: i64| Song { length: Ticks(bars * 1920), ..Song::default() };
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name(write(&place, "a", &song(1)).unwrap()), "a.mid");
        assert_eq!(name(write(&place, "a", &song(1)).unwrap()), "a.mid");
        assert_eq!(name(write(&place, "a", &song(2)).unwrap()), "a-2.mid");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        assert!(write(&blocked, "a", &song(1)).unwrap_err().to_string().contains("file"));
    }
}
