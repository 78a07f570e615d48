//! What only a band does: a song's track to play around (`--accompany`), and parts written anew (`--reroll`).

use crate::{
    args::{GenerateArgs, Reroll},
    error::CliError,
    input,
};
use barline::{
    generate::{
        GenerateError, Given, Manifest, Retake,
        manifest::{Encoding, Track},
        pattern::MAX_PATTERN_BARS,
    },
    music::{
        chord::Progression,
        harmony,
        smf::{Song, SongTrack},
        time::{TICKS_PER_STEP, Tempo, Ticks, TimeSignature},
    },
};
use std::{ops::Range, path::Path};

/// What a file is called in messages.
const SONG: &str = "song";

/// A song's track, ready to be played around.
#[derive(Debug, Default)]
pub struct Accompanied {
    pub given: Given,
    /// Bars that the piece has, unless somebody says otherwise.
    pub bars: u32,
    /// The song's own tempo.
    pub tempo: Tempo,
    /// What the song's pitched tracks sound like; `None` where it has none.
    pub chords: Option<Progression>,
    /// The lane that the track became.
    pub lane: String,
    /// What was not taken as it was.
    pub notes: Vec<String>,
}

/// Reads the song that `--accompany` names.
///
/// # Errors
/// [`CliError::Read`] when there is no song in it, [`CliError::Use`] when it or the track has nothing to take, [`CliError::Usage`] for
/// a track or lane that does not exist, [`CliError::Generate`] for a model that cannot.
pub fn accompanied(args: &GenerateArgs, path: &Path, manifest: &Manifest) -> Result<Accompanied, CliError> {
    let name = path.display().to_string();
    let song = input::song(SONG, path)?;
    if !manifest.has(Encoding::Given) {
        let reason = "it takes no given track".into();
        return Err(CliError::Generate(GenerateError::Given { model: manifest.id.clone(), reason }));
    }
    let (number, track) = choose(args.track, &song, &name)?;
    let (lane_idx, lane) = lane(args.lane.as_deref(), track, manifest)?;
    let mut notes = Vec::new();
    if song.meters.iter().any(|(_, meter)| *meter != TimeSignature::default()) {
        let meters: Vec<String> = song.meters.iter().map(|(_, meter)| meter.to_string()).collect();
        notes.push(format!("the song is in {}; it is read in bars of sixteen sixteenths", meters.join(", ")));
    }
    let n_bars = whole_phrases(track, manifest);
    let bars = n_bars.min(MAX_PATTERN_BARS);
    if args.bars.is_none() && n_bars > bars {
        notes.push(format!("the track has {n_bars} bars; the first {bars} are taken (--bars takes more)"));
    }
    let taken = args.bars.map_or(bars, |_| n_bars);
    let (given, placed) = Given::from_notes(&manifest.layout(), &[(lane_idx, &track.notes)], taken);
    let count = track.notes.len();
    if placed.n_notes == 0 {
        let reason = format!("none of the {count} notes of track {number} can be played by {} in bars 1 to {taken}", lane.name);
        return Err(CliError::Use { what: SONG, path: name, reason });
    }
    if lane.drums && !track.is_drums() {
        notes.push(format!("track {number} is not on the drum channel; its pitches are read as General MIDI drums"));
    }
    if placed.n_moved > 0 {
        let how = if lane.drums { "to a drum of their kind" } else { "by octaves" };
        notes.push(format!("{} of {count} notes were moved {how} into the range of {}", placed.n_moved, lane.name));
    }
    if placed.n_dropped > 0 {
        notes.push(format!("{} of {count} notes have no place in {} or lie beyond its bars", placed.n_dropped, lane.name));
    }
    let pitched: Vec<_> = song.tracks.iter().filter(|t| !t.is_drums()).flat_map(|t| &t.notes).copied().collect();
    let chords = (!pitched.is_empty()).then(|| harmony::estimate(&pitched, taken));
    Ok(Accompanied { given, bars, tempo: song.tempo(), chords, lane: lane.name.clone(), notes })
}

/// Bars of the manifest's steps up to the track's last note, in whole phrases.
fn whole_phrases(track: &SongTrack, manifest: &Manifest) -> u32 {
    let bars = track.n_bars(Ticks(TICKS_PER_STEP * i64::from(manifest.n_steps))).min(crate::args::MAX_BARS);
    bars.next_multiple_of(manifest.n_bars.max(1)).min(crate::args::MAX_BARS)
}

/// The track of that number, from 1, of those that hold notes; the only one if no number is given.
fn choose<'a>(number: Option<u32>, song: &'a Song, path: &str) -> Result<(usize, &'a SongTrack), CliError> {
    let tracks: Vec<&SongTrack> = song.tracks.iter().filter(|t| !t.notes.is_empty()).collect();
    if tracks.is_empty() {
        return Err(CliError::Use { what: SONG, path: path.into(), reason: "it has no notes".into() });
    }
    let list = || {
        let lines = tracks.iter().enumerate().map(|(idx, t)| format!("\n  {}: {}", idx + 1, describe(t)));
        format!("; its tracks with notes are{}", lines.collect::<String>())
    };
    let number = match number {
        None if tracks.len() == 1 => 1,
        None => return Err(CliError::Usage(format!("say with --track N which track of {path} is given{}", list()))),
        Some(number) => usize::try_from(number).unwrap_or(usize::MAX),
    };
    let track = number.checked_sub(1).and_then(|idx| tracks.get(idx).copied());
    track.map(|track| (number, track)).ok_or_else(|| CliError::Usage(format!("{path} has no track {number}{}", list())))
}

fn describe(track: &SongTrack) -> String {
    let name = if track.name.is_empty() { "without a name" } else { &track.name };
    let sound = if track.is_drums() { "drums".into() } else { format!("program {}", track.program.unwrap_or(0)) };
    format!("{name} ({sound}, channel {}, {} notes)", track.channel.index() + 1, track.notes.len())
}

/// The lane that plays what a track plays, or the one that is named.
fn lane<'a>(named: Option<&str>, track: &SongTrack, manifest: &'a Manifest) -> Result<(usize, &'a Track), CliError> {
    if let Some(name) = named {
        let idx = track_named(name, "--as", manifest)?;
        return manifest.tracks.get(idx).map(|lane| (idx, lane)).ok_or_else(|| unknown(name, "--as", manifest));
    }
    let wanted = Family::of(track.is_drums(), track.program.unwrap_or(0));
    manifest.tracks.iter().enumerate().find(|(_, lane)| Family::of(lane.drums, lane.program) == wanted).ok_or_else(|| {
        CliError::Usage(format!(
            "no track of model `{}` plays what `{}` does; choose one with --as: {}",
            manifest.id,
            describe(track),
            names(manifest)
        ))
    })
}

/// What plays a General MIDI program, as the training data were sorted.
#[derive(Debug, PartialEq, Eq)]
enum Family {
    Drums,
    Bass,
    Piano,
    Guitar,
    Strings,
}

impl Family {
    fn of(drums: bool, program: u8) -> Self {
        match program {
            _ if drums => Self::Drums,
            0..24 => Self::Piano,
            24..32 => Self::Guitar,
            32..40 => Self::Bass,
            _ => Self::Strings,
        }
    }
}

fn names(manifest: &Manifest) -> String {
    manifest.tracks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str, option: &str, manifest: &Manifest) -> CliError {
    CliError::Usage(format!("{option}: model `{}` has no track `{name}`; it has {}", manifest.id, names(manifest)))
}

fn track_named(name: &str, option: &str, manifest: &Manifest) -> Result<usize, CliError> {
    let found = manifest.tracks.iter().position(|t| t.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| unknown(name, option, manifest))
}

/// The retakes that `--reroll` asks for, in their order, of a piece of `n_bars`.
///
/// # Errors
/// [`CliError::Usage`] for a track that the model does not have or bars that the piece does not have.
pub fn retakes(args: &GenerateArgs, manifest: &Manifest, n_bars: u32) -> Result<Vec<Retake>, CliError> {
    args.reroll.iter().map(|reroll| retake(reroll, args.take, manifest, n_bars)).collect()
}

fn retake(reroll: &Reroll, take: u32, manifest: &Manifest, n_bars: u32) -> Result<Retake, CliError> {
    let tracks = if reroll.track.eq_ignore_ascii_case("all") {
        Retake::ALL_TRACKS
    } else {
        1 << track_named(&reroll.track, "--reroll", manifest)?
    };
    let bars = match reroll.bars.clone() {
        None => Retake::ALL_BARS,
        Some(Range { start, end }) if end <= n_bars && end <= MAX_PATTERN_BARS => {
            (start..end).fold(0, |mask, bar| mask | 1_u32 << bar)
        }
        Some(Range { start, end }) => {
            let most = n_bars.min(MAX_PATTERN_BARS);
            let asked = if start + 1 == end { format!("bar {end}") } else { format!("bars {} to {end}", start + 1) };
            return Err(CliError::Usage(format!("--reroll: {asked} cannot be written anew, only bars 1 to {most}")));
        }
    };
    Ok(Retake { tracks, bars, take: reroll.take.unwrap_or(take.wrapping_add(1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_fall_into_families() {
        assert_eq!(
            [0, 23, 24, 31, 32, 39, 40, 127].map(|p| Family::of(false, p)),
            [
                Family::Piano,
                Family::Piano,
                Family::Guitar,
                Family::Guitar,
                Family::Bass,
                Family::Bass,
                Family::Strings,
                Family::Strings,
            ]
        );
        assert_eq!(Family::of(true, 33), Family::Drums);
    }
}
