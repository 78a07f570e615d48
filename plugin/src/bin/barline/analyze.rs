//! `barline analyze`: the figures of a MIDI file.

use crate::{
    args::{AnalyzeArgs, MAX_BARS},
    error::CliError,
    input,
    models::print,
};
use barline::{
    export::{
        ExportError,
        files::{self, Outputs},
        page,
    },
    music::{
        metrics::{self, BAR_STEPS, Figures, LEGACY_FACTOR, LegacyFigures, LegacyVersion, StepNote, StepTrack},
        note::PitchClass,
        smf::Song,
        time::{TICKS_PER_BEAT, TICKS_PER_STEP, Ticks},
    },
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Most tracks that are measured; every pair of them has a distance.
const MAX_TRACKS: usize = 32;
/// A note farther than this from a sixteenth, in sixteenths, lies off the grid.
const OFF_GRID: f64 = 0.25;
/// Tracks beside each other in the printed table, and the width of their columns.
const N_COLUMNS: usize = 8;
const WIDTH: usize = 11;

/// What `--json` writes. Tracks count from 1, and so do channels.
#[derive(Debug, PartialEq, Serialize)]
struct Report {
    bars: usize,
    tempo_bpm: f64,
    time_signatures: Vec<String>,
    /// How far onsets lie from the sixteenths, in sixteenths, and the share farther than a quarter of one.
    mean_off_grid_steps: f64,
    off_grid_share: f64,
    best_scale: Option<BestScale>,
    tracks: Vec<Track>,
    pairs: Vec<Pair>,
    notes: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
struct BestScale {
    name: String,
    share: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Track {
    number: usize,
    name: String,
    channel: u8,
    program: Option<u8>,
    is_drum: bool,
    n_notes: usize,
    figures: Figures,
    legacy: LegacyFigures,
}

#[derive(Debug, PartialEq, Serialize)]
struct Pair {
    tracks: [usize; 2],
    tonal_distance: Option<f64>,
    legacy_v1: Option<f64>,
    legacy_v2: Option<f64>,
}

/// Does what `barline analyze` is asked for.
pub fn run(args: &AnalyzeArgs) -> Result<(), CliError> {
    let outputs: Vec<&Path> = args.html.iter().chain(&args.json).map(PathBuf::as_path).collect();
    files::check(&outputs, &[&args.song])?;
    let path = args.song.display().to_string();
    let unusable = |reason| CliError::Use { what: "song", path: path.clone(), reason };
    let measured = Measured::of(input::song("song", &args.song)?).map_err(unusable)?;
    let report = report(&measured);
    let mut outputs = Outputs::default();
    if let Some(path) = &args.html {
        let title = args.song.file_stem().unwrap_or_default().to_string_lossy();
        let program = concat!("Barline ", env!("CARGO_PKG_VERSION"), ", barline analyze");
        let n_bars = u32::try_from(measured.bars).unwrap_or(MAX_BARS);
        outputs.add(path, &page::to_bytes(&measured.song, &title, program, n_bars, &measured.notes)?)?;
    }
    if let Some(path) = &args.json {
        let json = |e: serde_json::Error| ExportError::write(path, e);
        let mut bytes = serde_json::to_vec_pretty(&report).map_err(json)?;
        bytes.push(b'\n');
        outputs.add(path, &bytes)?;
    }
    outputs.commit()?;
    print(&text(&path, &report, args.legacy))
}

/// What of a song is measured.
struct Measured {
    /// With tracks that hold notes only.
    song: Song,
    /// Each on the grid.
    on_grid: Vec<Vec<StepNote>>,
    bars: usize,
    /// What its user should know.
    notes: Vec<String>,
}

impl Measured {
    /// The error says why there is nothing to measure.
    fn of(mut song: Song) -> Result<Self, String> {
        let mut notes = Vec::new();
        if song.meters.iter().any(|(_, meter)| meter.bar() != Ticks(4 * TICKS_PER_BEAT)) {
            let signatures = time_signatures(&song).join(", ");
            notes.push(format!("it is in {signatures}; bars are taken as 4/4 from its start, 16 sixteenths each"));
        }
        song.tracks.retain(|track| !track.notes.is_empty());
        if song.tracks.len() > MAX_TRACKS {
            notes.push(format!("it has {} tracks with notes; the first {MAX_TRACKS} are measured", song.tracks.len()));
            song.tracks.truncate(MAX_TRACKS);
        }
        let on_grid: Vec<Vec<StepNote>> =
            song.tracks.iter().map(|track| track.notes.iter().filter_map(StepNote::nearest).collect()).collect();
        // A note's end that lies off the grid may round into a bar of its own: bars are those in which notes begin or go on.
        let ends = on_grid.iter().flatten().map(|n| n.onset_steps.saturating_add(n.duration_steps));
        let mut bars = ends.max().ok_or("it holds no notes")?.div_ceil(BAR_STEPS);
        let most = usize::try_from(MAX_BARS).unwrap_or(usize::MAX);
        if bars > most {
            notes.push(format!("it has {bars} bars; the first {most} are measured"));
            bars = most;
        }
        Ok(Self { song, on_grid, bars, notes })
    }
}

fn report(Measured { song, on_grid, bars, notes }: &Measured) -> Report {
    let tracks = &song.tracks;
    let off_grid: Vec<f64> = tracks.iter().flat_map(|track| &track.notes).map(|note| off_grid(note.onset)).collect();
    let n = f64::from(u32::try_from(off_grid.len()).unwrap_or(u32::MAX));
    let far = off_grid.iter().filter(|steps| **steps > OFF_GRID).count();
    let measured: Vec<StepTrack> =
        tracks.iter().zip(on_grid).map(|(track, notes)| StepTrack::new(notes.iter().copied(), *bars, track.is_drums())).collect();
    let pitched = || (1..).zip(tracks.iter().zip(&measured)).filter(|(_, (track, _))| !track.is_drums());
    let pairs = pitched().flat_map(|(b, (_, second))| {
        pitched().take_while(move |(a, _)| *a < b).map(move |(a, (_, first))| Pair {
            tracks: [a, b],
            tonal_distance: first.tonal_distance(second),
            legacy_v1: first.legacy_tonal_distance(second, LegacyVersion::V1),
            legacy_v2: first.legacy_tonal_distance(second, LegacyVersion::V2),
        })
    });
    let scale = metrics::best_scale(pitched().map(|(_, (_, track))| track));
    Report {
        bars: *bars,
        tempo_bpm: song.tempo().bpm(),
        time_signatures: time_signatures(song),
        mean_off_grid_steps: off_grid.iter().sum::<f64>() / n,
        off_grid_share: f64::from(u32::try_from(far).unwrap_or(u32::MAX)) / n,
        best_scale: scale.map(|(tonic, share)| BestScale { name: scale_name(tonic), share }),
        pairs: pairs.collect(),
        tracks: (1..)
            .zip(tracks.iter().zip(&measured))
            .map(|(number, (track, measured))| Track {
                number,
                name: track.name.clone(),
                channel: track.channel.index() + 1,
                program: track.program,
                is_drum: track.is_drums(),
                n_notes: track.notes.len(),
                figures: measured.figures(),
                legacy: measured.legacy_figures(LEGACY_FACTOR),
            })
            .collect(),
        notes: notes.clone(),
    }
}

/// The distinct ones, in their order of appearance; 4/4 if the file names none.
fn time_signatures(song: &Song) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut names: Vec<String> = song.meters.iter().map(|(_, meter)| meter.to_string()).collect();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() { vec!["4/4".into()] } else { names }
}

/// How far from the nearest sixteenth, in sixteenths.
fn off_grid(at: Ticks) -> f64 {
    let beyond = at.0.rem_euclid(TICKS_PER_STEP);
    let ticks = beyond.min(TICKS_PER_STEP - beyond);
    f64::from(i32::try_from(ticks).unwrap_or(0)) / f64::from(i32::try_from(TICKS_PER_STEP).unwrap_or(1))
}

/// A major scale and its relative minor are the same pitches.
fn scale_name(tonic: PitchClass) -> String {
    let minor = PitchClass::of(i32::from(tonic.number()) + 9);
    format!("{} major or {} minor", tonic.name(), minor.name())
}

/// The report for people.
fn text(path: &str, report: &Report, with_legacy: bool) -> String {
    let n_notes: usize = report.tracks.iter().map(|track| track.n_notes).sum();
    let signatures = report.time_signatures.join(", ");
    let mut text = format!("{path}: {} bars, {signatures}, {} bpm, {n_notes} notes\n", report.bars, rounded(report.tempo_bpm));
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text += &format!(
        "grid: onsets lie {:.2} of a sixteenth off on average, {:.0} % of them more than {OFF_GRID}\n",
        report.mean_off_grid_steps,
        100.0 * report.off_grid_share
    );
    if let Some(BestScale { name, share }) = &report.best_scale {
        text += &format!("scale: {name}, {:.0} % of the sounding time\n", 100.0 * share);
    }
    for tracks in report.tracks.chunks(N_COLUMNS) {
        text.push('\n');
        text += &row("", tracks, title);
        text += &row("notes", tracks, |track| track.n_notes.to_string());
        for (idx, (name, _)) in Figures::default().named().into_iter().enumerate() {
            text += &row(name, tracks, |track| cell(track.figures.named().get(idx).and_then(|(_, figure)| *figure)));
        }
        if with_legacy {
            for (name, figure) in LEGACY {
                text += &row(name, tracks, |track| cell(figure(&track.legacy)));
            }
        }
    }
    text += &distances("tonal distance", report, |pair| pair.tonal_distance);
    if with_legacy {
        text += &distances("legacy TD, v1", report, |pair| pair.legacy_v1);
        text += &distances("legacy TD, v2", report, |pair| pair.legacy_v2);
    }
    text
}

type Named = (&'static str, fn(&LegacyFigures) -> Option<f64>);

const LEGACY: [Named; 7] = [
    ("legacy EB", |f| f.eb),
    ("legacy UPC, v1", |f| f.upc_v1),
    ("legacy UPC, v2", |f| f.upc_v2),
    ("legacy QN", |f| f.qn),
    ("legacy PP", |f| f.pp),
    ("legacy DP, v1", |f| f.dp_v1),
    ("legacy DP, v2", |f| f.dp_v2),
];

fn row(name: &str, tracks: &[Track], cell: impl Fn(&Track) -> String) -> String {
    let cells: String = tracks.iter().map(|track| format!(" {:>WIDTH$}", cell(track))).collect();
    format!("{name:<28}{cells}\n")
}

fn cell(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

/// Number and name, no wider than a column.
fn title(track: &Track) -> String {
    let name = if track.is_drum && track.name.is_empty() { "Drums" } else { &track.name };
    let full = format!("{} {name}", track.number);
    full.chars().filter(|c| !c.is_control()).take(WIDTH).collect::<String>().trim_end().to_owned()
}

/// A tempo of a file is a whole number of microseconds: 95 bpm comes back as 95.0000079.
fn rounded(bpm: f64) -> f64 {
    (1000.0 * bpm).round() / 1000.0
}

/// The lower triangle of a matrix of tracks; nothing where there is no pair.
fn distances(name: &str, report: &Report, of: impl Fn(&Pair) -> Option<f64>) -> String {
    let pitched: Vec<&Track> = report.tracks.iter().filter(|track| !track.is_drum).collect();
    let mut text = String::new();
    for columns in pitched.chunks(N_COLUMNS) {
        let first = columns.first().map_or(0, |track| track.number);
        let rows = || pitched.iter().filter(|track| track.number > first);
        if rows().next().is_none() {
            continue;
        }
        let titles: String = columns.iter().map(|track| format!(" {:>WIDTH$}", title(track))).collect();
        text += &format!("\n{name:<28}{titles}\n");
        for second in rows() {
            let cells = columns.iter().take_while(|first| first.number < second.number).map(|first| {
                let pair = report.pairs.iter().find(|pair| pair.tracks == [first.number, second.number]);
                format!(" {:>WIDTH$}", cell(pair.and_then(&of)))
            });
            text += &format!("{:<28}{}\n", title(second), cells.collect::<String>());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use barline::music::{
        note::{Channel, Note, Pitch, Velocity},
        smf::SongTrack,
        time::TimeSignature,
    };

    fn track(name: &str, channel: u8, notes: &[(i64, i64, i32)]) -> SongTrack {
        let channel = Channel::new(channel).unwrap();
        let note = |&(onset, duration, pitch): &(i64, i64, i32)| Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel,
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(77),
        };
        SongTrack { name: name.into(), channel, program: None, notes: notes.iter().map(note).collect() }
    }

    fn song() -> Song {
        let tracks = vec![
            track("Beat", 9, &[(0, 30, 36), (365, 30, 38), (2040, 30, 36)]),
            track("", 3, &[]),
            track("Bass", 1, &[(0, 360, 40), (480, 3000, 43)]),
            track("Very long names are cut", 2, &[(0, 960, 60), (0, 960, 64), (45, 900, 67)]),
        ];
        Song { tracks, ..Song::default() }
    }

    fn measured(song: Song) -> Result<Report, String> {
        Measured::of(song).map(|measured| report(&measured))
    }

    #[test]
    fn tracks_count_as_those_that_hold_notes() {
        let report = measured(song()).unwrap();
        let names: Vec<_> = report.tracks.iter().map(|t| (t.number, t.name.as_str(), t.channel, t.is_drum)).collect();
        assert_eq!(names, [(1, "Beat", 10, true), (2, "Bass", 2, false), (3, "Very long names are cut", 3, false)]);
        assert_eq!(report.bars, 2);
        assert_eq!(report.pairs.iter().map(|p| p.tracks).collect::<Vec<_>>(), [[2, 3]]);
        assert_eq!(report.tracks[0].figures.drum_pattern, Some((1.1 / 2.0 + 0.1) / 2.0));
        // 5 and 45 ticks of 120 are off, the others on the grid.
        assert!((report.mean_off_grid_steps - 50.0 / 120.0 / 8.0).abs() < 1e-12);
        assert!((report.off_grid_share - 1.0 / 8.0).abs() < 1e-12);
        assert_eq!(report.best_scale.as_ref().unwrap().name, "C major or A minor");
    }

    #[test]
    fn the_text_has_a_column_per_track_and_a_triangle_of_distances() {
        let text = text("s.mid", &measured(song()).unwrap(), true);
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(line("s.mid:"), ["s.mid:", "2", "bars,", "4/4,", "120", "bpm,", "8", "notes"]);
        assert_eq!(line("empty bars"), ["empty", "bars", "0.00", "0.00", "0.50"]);
        assert_eq!(line("pitch classes"), ["pitch", "classes", "per", "bar", "-", "1.50", "3.00"]);
        assert_eq!(line("3 Very lon").len(), 4);
        assert!(text.lines().any(|line| line.starts_with("legacy TD, v2")));
        assert!(text.lines().all(|line| line.len() < 120));
    }

    #[test]
    fn other_meters_long_songs_and_silence_are_told() {
        let meter = |n, d| TimeSignature::new(n, d).unwrap();
        let meters = vec![(Ticks(0), meter(7, 8)), (Ticks(1680), meter(4, 4)), (Ticks(3600), meter(7, 8))];
        let notes = measured(Song { meters, ..song() }).unwrap().notes;
        assert_eq!(notes, ["it is in 7/8, 4/4; bars are taken as 4/4 from its start, 16 sixteenths each"]);
        let mut long = song();
        long.tracks.push(track("Late", 4, &[(1 << 50, 1 << 50, 60)]));
        let long = measured(long).unwrap();
        assert_eq!(long.bars, 4096);
        assert!(long.notes[0].contains("the first 4096 are measured"), "{:?}", long.notes);
        assert_eq!(measured(Song::default()).unwrap_err(), "it holds no notes");
        let many = Song { tracks: vec![track("x", 0, &[(0, 1, 1)]); 70], ..Song::default() };
        assert_eq!(measured(many).unwrap().tracks.len(), MAX_TRACKS);
    }
}
