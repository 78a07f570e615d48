//! A piece in plain words: chords and degrees, scale, intervals, rhythm, figures beside the training data's. Pure; any thread but the
//! audio thread.

use super::{
    chord::{BarChords, Chord},
    harmony,
    metrics::{Figures, StepNote, StepTrack, bar_likeness, best_scale},
    note::{Note, PitchClass},
    ranges::{Range, Ranges},
    scale::{Key, Scale},
    smf::{Song, SongTrack},
    time::{TICKS_PER_STEP, Ticks, TimeSignature},
};
use std::fmt;

const NUMERALS: [&str; 12] = ["I", "bII", "II", "bIII", "III", "IV", "#IV", "V", "bVI", "VI", "bVII", "VII"];
const INTERVALS: [&str; 12] = [
    "unison",
    "minor second",
    "major second",
    "minor third",
    "major third",
    "fourth",
    "tritone",
    "fifth",
    "minor sixth",
    "major sixth",
    "minor seventh",
    "major seventh",
];
/// What a monophonic line moves by at most and still steps, in semitones.
const STEP: u8 = 2;
/// Bars with so large a share of their onsets in common have the same letter.
const SAME_BAR: f64 = 0.7;

/// A heading and what is said under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What it is about.
    pub heading: String,
    /// What is said.
    pub lines: Vec<Line>,
}

/// Something said. Its text is by `Display`.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A sentence.
    Words(String),
    /// Where notes begin on the grid of sixteenths, to be set in equal widths.
    Rhythm(String),
    /// A figure beside the training data.
    Beside(Comparison),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(text) | Self::Rhythm(text) => f.write_str(text),
            Self::Beside(comparison) => comparison.fmt(f),
        }
    }
}

/// A figure beside the range that it has in the songs of the training data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What the number counts, as it follows the number in a sentence.
    pub what: &'static str,
    /// The figure.
    pub value: f64,
    /// Percentiles over songs.
    pub range: Range,
    /// It is a share, told in percent.
    pub is_share: bool,
}

impl Comparison {
    /// A value of this figure as it is told.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        if self.is_share { percent(value) } else { format!("{value:.1}").trim_end_matches(".0").to_owned() }
    }

    /// Where the value lies.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.value, self.range) {
            (value, [low, _, _]) if value < low => "less than most",
            (value, [_, _, high]) if value > high => "more than most",
            _ => "as usual",
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, _, high] = self.range.map(|value| self.show(value));
        let (value, what, verdict) = (self.show(self.value), self.what, self.verdict());
        write!(f, "{value} {what}: {verdict}; songs of the training data have {low} to {high}.")
    }
}

/// The notes of some bars by track, over their chords, and what is known of them as a whole.
#[derive(Clone, Debug)]
pub struct Piece {
    meter: TimeSignature,
    first_bar: u32,
    harmony: Vec<BarChords>,
    key: Option<(Key, Option<f64>)>,
    tracks: Vec<Track>,
}

/// A track of a piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// What it is called.
    pub name: String,
    /// Drums have no pitches.
    pub is_drums: bool,
    /// General MIDI program, where it is known.
    pub program: Option<u8>,
    /// Its notes by their places in the song.
    pub notes: Vec<Note>,
    /// Its figures over all bars of the piece.
    pub figures: Figures,
    /// The same on the grid of sixteenths.
    pub on_grid: StepTrack,
}

impl Track {
    /// The track over `n_bars` bars of 16 sixteenths from `start`.
    fn new(name: String, (is_drums, program): (bool, Option<u8>), notes: Vec<Note>, start: Ticks, n_bars: u32) -> Self {
        let moved = |note: &Note| StepNote::nearest(&Note { onset: Ticks(note.onset.0 - start.0), ..*note });
        let on_grid = StepTrack::new(notes.iter().filter_map(moved), usize::try_from(n_bars).unwrap_or(0), is_drums);
        Self { name, is_drums, program, figures: on_grid.figures(), notes, on_grid }
    }

    /// Its figures over the piece beside the training data's; nothing of what no network learned.
    #[must_use]
    pub fn beside(&self) -> Vec<Comparison> {
        Ranges::of_track(&self.name, self.is_drums, self.program).map(|ranges| compare(&self.figures, ranges)).unwrap_or_default()
    }

    /// Its figures over the piece in a sentence; `None` of silence.
    #[must_use]
    pub fn overall(&self) -> Option<String> {
        overall(&self.figures, self.is_drums)
    }
}

impl Piece {
    /// The bars from `first_bar`, one for each of `harmony`. `key` is what notes are moved into; without one the best is found. A track is
    /// name, whether it is drums, General MIDI program and notes.
    #[must_use]
    pub fn new(
        meter: TimeSignature,
        first_bar: u32,
        harmony: Vec<BarChords>,
        key: Option<Key>,
        tracks: impl IntoIterator<Item = (String, bool, Option<u8>, Vec<Note>)>,
    ) -> Self {
        let start = Ticks(i64::from(first_bar) * meter.bar().0);
        let n_bars = u32::try_from(harmony.len()).unwrap_or(u32::MAX);
        let tracks: Vec<Track> = tracks
            .into_iter()
            .map(|(name, is_drums, program, notes)| Track::new(name, (is_drums, program), notes, start, n_bars))
            .collect();
        let found = || {
            let (tonic, share) = best_scale(tracks.iter().filter(|track| !track.is_drums).map(|track| &track.on_grid))?;
            Some((Key { tonic, scale: Scale::Major }, Some(share)))
        };
        let key = key.map(|key| (key, None)).or_else(found);
        Self { meter, first_bar, harmony, key, tracks }
    }

    /// The first `n_bars` bars of a song, taken as 4/4, over the chords that its markers name, else those that its notes sound like.
    #[must_use]
    pub fn of_song(song: &Song, n_bars: u32) -> Self {
        let estimated = || {
            let pitched = song.tracks.iter().filter(|track| !track.is_drums());
            let notes: Vec<Note> = pitched.flat_map(|track| &track.notes).copied().collect();
            let chords = harmony::estimate(&notes, n_bars);
            (0..n_bars).map(|bar| chords.at(bar)).collect()
        };
        let harmony = named_chords(song, n_bars).unwrap_or_else(estimated);
        let name = |number: usize, track: &SongTrack| match (track.name.is_empty(), track.is_drums()) {
            (false, _) => track.name.clone(),
            (true, true) => "Drums".into(),
            (true, false) => format!("Track {number}"),
        };
        let tracks = (1..)
            .zip(&song.tracks)
            .map(|(number, track)| (name(number, track), track.is_drums(), track.program, track.notes.clone()));
        Self::new(TimeSignature::default(), 0, harmony, None, tracks)
    }

    /// The tracks.
    #[must_use]
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The chords of each bar.
    #[must_use]
    pub fn harmony(&self) -> &[BarChords] {
        &self.harmony
    }

    /// The key: what notes are moved into, else the scale that holds most of the sounding time, by its major tonic. `None` of drums alone.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        self.key.map(|(key, _)| key)
    }

    /// What it is that decides the key, in a sentence.
    #[must_use]
    pub fn about_key(&self) -> Option<String> {
        Some(match self.key? {
            (key, None) => format!("Key: {key}; every pitched note is moved into it."),
            (key, Some(share)) => {
                format!("The whole fits {key} best: {:.0} % of its time lies in that scale.", share * 100.0)
            }
        })
    }

    /// A bar in words: its harmony, then each track.
    #[must_use]
    pub fn explain(&self, bar: u32) -> Vec<Section> {
        let mut sections = vec![self.explain_harmony(bar)];
        let bar_ticks = self.meter.bar().0;
        let (start, end) = (i64::from(bar) * bar_ticks, i64::from(bar + 1) * bar_ticks);
        for track in &self.tracks {
            let mut inside: Vec<&Note> = track.notes.iter().filter(|note| (start..end).contains(&note.onset.0)).collect();
            inside.sort_by_key(|note| (note.onset, std::cmp::Reverse(note.pitch)));
            let mut lines = Vec::new();
            if inside.is_empty() {
                lines.push(Line::Words("Nothing begins in this bar.".into()));
            } else {
                lines.push(Line::Rhythm(rhythm(&inside, start, self.meter.steps_per_bar())));
                lines.push(Line::Words(placement(&inside, start)));
                if !track.is_drums {
                    lines.extend(self.chord_tones(&inside, bar).map(Line::Words));
                    lines.extend(outside(&inside, self.key()).map(Line::Words));
                    lines.extend(motion(&inside).map(Line::Words));
                }
                lines.extend(self.bar_beside(track, &inside, start).into_iter().map(Line::Beside));
            }
            sections.push(Section { heading: track.name.clone(), lines });
        }
        sections
    }

    /// How alike every two bars are. **Shape**: `(n_bars, n_bars)`; see [`bar_likeness`].
    #[must_use]
    pub fn likeness(&self) -> Vec<Vec<f64>> {
        let tracks: Vec<&StepTrack> = self.tracks.iter().map(|track| &track.on_grid).collect();
        bar_likeness(&tracks)
    }

    /// A letter for each bar: bars that are alike have the same one, a bar in which nothing begins has a dash.
    #[must_use]
    pub fn form(&self) -> Vec<String> {
        let likeness = self.likeness();
        let mut firsts: Vec<usize> = Vec::new();
        let letters = likeness.iter().enumerate().map(|(bar, like)| {
            if like.get(bar).is_none_or(|own| *own == 0.0) {
                return "-".into();
            }
            let known = firsts.iter().position(|first| like.get(*first).is_some_and(|like| *like >= SAME_BAR));
            letter(known.unwrap_or_else(|| {
                firsts.push(bar);
                firsts.len() - 1
            }))
        });
        letters.collect()
    }

    fn chords_of(&self, bar: u32) -> Option<&BarChords> {
        self.harmony.get(usize::try_from(bar.checked_sub(self.first_bar)?).ok()?)
    }

    fn explain_harmony(&self, bar: u32) -> Section {
        let [first, second] = self.chords_of(bar).copied().unwrap_or([None, None]);
        let halves = if first == second { vec![("", first)] } else { vec![("First half: ", first), ("Second half: ", second)] };
        let mut lines = Vec::new();
        for (when, chord) in halves {
            let text = chord.map_or_else(|| "no chord.".to_owned(), |chord| describe(&chord, self.key()));
            lines.push(Line::Words(format!("{when}{text}")));
        }
        lines.extend(self.about_key().map(Line::Words));
        Section { heading: format!("Bar {}", bar + 1), lines }
    }

    /// How many notes belong to the chord of their moment.
    fn chord_tones(&self, notes: &[&Note], bar: u32) -> Option<String> {
        let chords = self.chords_of(bar)?;
        let half = self.meter.bar().0 / 2;
        let of = |note: &Note| {
            let is_second = note.onset.0.rem_euclid(self.meter.bar().0) >= half;
            if is_second { chords[1] } else { chords[0] }
        };
        let known: Vec<(&Note, Chord)> = notes.iter().filter_map(|note| Some((*note, of(note)?))).collect();
        let n = known.iter().filter(|(note, chord)| chord.classes() & (1 << note.pitch.class().number()) != 0).count();
        (!known.is_empty()).then(|| format!("{n} of {} notes are tones of the chord.", known.len()))
    }

    /// What begins in a bar beside the songs of the training data: nothing of another meter, which they have not.
    fn bar_beside(&self, track: &Track, inside: &[&Note], start: i64) -> Vec<Comparison> {
        let Some(ranges) = Ranges::of_track(&track.name, track.is_drums, track.program) else { return Vec::new() };
        if self.meter.bar() != TimeSignature::default().bar() {
            return Vec::new();
        }
        let moved = |note: &&Note| StepNote::nearest(&Note { onset: Ticks(note.onset.0 - start), ..**note });
        compare(&StepTrack::new(inside.iter().filter_map(moved), 1, track.is_drums).figures(), ranges)
    }
}

/// The chords of each half bar by the song's markers; `None` unless there are some and all of them name chords, as Barline's own do.
#[must_use]
pub fn named_chords(song: &Song, n_bars: u32) -> Option<Vec<BarChords>> {
    let chord = |name: &str| if name == "N.C." { Some(None) } else { name.parse().ok().map(Some) };
    let named: Vec<(Ticks, Option<Chord>)> =
        song.markers.iter().map(|(at, name)| Some((*at, chord(name)?))).collect::<Option<_>>()?;
    let half = TimeSignature::default().bar().0 / 2;
    let at = |ticks: i64| named.iter().rev().find(|(at, _)| at.0 <= ticks).and_then(|(_, chord)| *chord);
    let bars = (0..n_bars).map(|bar| [0, 1].map(|second| at((2 * i64::from(bar) + second) * half)));
    (!named.is_empty()).then(|| bars.collect())
}

/// A to Z, then A1 to Z1 and on.
fn letter(idx: usize) -> String {
    let letter = u8::try_from(idx % 26).map_or('?', |n| char::from(b'A' + n));
    if idx < 26 { letter.to_string() } else { format!("{letter}{}", idx / 26) }
}

fn describe(chord: &Chord, key: Option<Key>) -> String {
    let tones: Vec<&str> = (0..12)
        .map(|above| PitchClass::of(i32::from(chord.root().number()) + above))
        .filter(|class| chord.classes() & (1 << class.number()) != 0)
        .map(PitchClass::name)
        .collect();
    let degree = key.map_or_else(String::new, |key| format!(", degree {} of {key}", degree(chord, key)));
    format!("{chord} is {}{degree}.", tones.join(" "))
}

/// The Roman numeral of a chord: capital for a major triad, small for a minor one, raised or lowered against the major scale.
#[must_use]
pub fn degree(chord: &Chord, key: Key) -> String {
    let above = (12 + chord.root().number() - key.tonic.number()) % 12;
    let numeral = NUMERALS.get(usize::from(above)).copied().unwrap_or_default();
    if chord.triad().minor { numeral.replace('I', "i").replace('V', "v") } else { numeral.into() }
}

/// The onsets on the grid of sixteenths, beats set off.
fn rhythm(notes: &[&Note], start: i64, n_steps: i64) -> String {
    let begins = |step: i64| notes.iter().any(|note| (note.onset.0 - start) / TICKS_PER_STEP == step);
    let mut text = String::new();
    for step in 0..n_steps {
        if step > 0 && step % 4 == 0 {
            text.push(' ');
        }
        text.push(if begins(step) { 'x' } else { '.' });
    }
    text
}

fn placement(notes: &[&Note], start: i64) -> String {
    let mut steps: Vec<i64> = notes.iter().map(|note| (note.onset.0 - start) / TICKS_PER_STEP).collect();
    steps.dedup();
    let n_on = steps.iter().filter(|step| **step % 4 == 0).count();
    let n_off = steps.len() - n_on;
    let on = |n: usize| if n == 1 { "1 attack".to_owned() } else { format!("{n} attacks") };
    match (n_on, n_off) {
        (n, 0) => format!("{}, all on the beat.", on(n)),
        (0, n) => format!("{}, none on a beat: syncopated.", on(n)),
        (n_on, n_off) => format!("{}, {n_on} on the beat and {n_off} between.", on(n_on + n_off)),
    }
}

fn outside(notes: &[&Note], key: Option<Key>) -> Option<String> {
    let key = key?;
    let mut names: Vec<&str> = notes.iter().filter(|n| !key.contains(n.pitch)).map(|n| n.pitch.class().name()).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("Outside the scale: {}.", names.join(", ")))
}

/// How the highest notes move.
fn motion(notes: &[&Note]) -> Option<String> {
    // They are sorted by onset, at each the highest first.
    let mut top: Vec<&Note> = Vec::new();
    for note in notes {
        if top.last().is_none_or(|before| before.onset != note.onset) {
            top.push(note);
        }
    }
    let moves: Vec<(u8, bool)> = top
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] => Some((a.pitch.number().abs_diff(b.pitch.number()), b.pitch > a.pitch)),
            _ => None,
        })
        .collect();
    let count = |is: fn(u8) -> bool| moves.iter().filter(|(size, _)| is(*size)).count();
    let (repeats, steps, leaps) = (count(|s| s == 0), count(|s| (1..=STEP).contains(&s)), count(|s| s > STEP));
    let (largest, rises) = moves.iter().max_by_key(|(size, _)| *size).copied()?;
    let mut text = format!("The top line repeats {repeats}, steps {steps} and leaps {leaps} times");
    if largest > STEP {
        text += &format!("; the widest leap is {} {}", interval(largest), if rises { "up" } else { "down" });
    }
    Some(text + ".")
}

fn interval(semitones: u8) -> String {
    let name = INTERVALS.get(usize::from(semitones % 12)).copied().unwrap_or_default();
    match (semitones / 12, semitones % 12) {
        (0, _) => format!("a {name}"),
        (1, 0) => "an octave".into(),
        (1, _) => format!("an octave and a {name}"),
        (n, 0) => format!("{n} octaves"),
        (n, _) => format!("{n} octaves and a {name}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Figures beside the ranges of their kind of track, where they mean something for it.
fn compare(figures: &Figures, ranges: &Ranges) -> Vec<Comparison> {
    let number = |what, value: Option<f64>, range: Option<Range>| {
        value.zip(range).map(|(value, range)| Comparison { what, value, range, is_share: false })
    };
    let share = |what, value, range| number(what, value, range).map(|comparison| Comparison { is_share: true, ..comparison });
    [
        number("notes a bar", figures.notes_per_active_bar, Some(ranges.notes_per_active_bar)),
        share("on a beat", figures.onsets_on_quarters, Some(ranges.onsets_on_quarters)),
        number("different tones a bar", figures.pitch_classes_per_bar, ranges.pitch_classes_per_bar),
        number("notes at a time", figures.polyphony.filter(|n| *n > 1.05), ranges.polyphony),
        share("last an eighth or longer", figures.qualified_notes, ranges.qualified_notes),
        share("as even as eighths", figures.drum_pattern, ranges.drum_pattern),
        share("shared with the bar before", figures.bar_to_bar_onset_iou, Some(ranges.bar_to_bar_onset_iou)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn overall(figures: &Figures, is_drums: bool) -> Option<String> {
    let mut parts = vec![format!("{:.1} notes in a bar that plays", figures.notes_per_active_bar?)];
    parts.extend(figures.empty_bars.filter(|share| *share > 0.0).map(|share| format!("{} of the bars empty", percent(share))));
    if is_drums {
        parts.extend(figures.drum_pattern.map(|share| format!("{} as even as eighths", percent(share))));
    } else {
        parts.extend(figures.pitch_classes_per_bar.map(|n| format!("{n:.1} different tones in it")));
        parts.extend(figures.polyphony.filter(|n| *n > 1.05).map(|n| format!("{n:.1} notes at a time")));
        parts.extend(figures.qualified_notes.map(|share| format!("{} last an eighth or longer", percent(share))));
    }
    parts.extend(figures.onsets_on_quarters.map(|share| format!("{} begin on a beat", percent(share))));
    parts.extend(figures.bar_to_bar_onset_iou.map(|share| format!("{} shared with the bar before", percent(share))));
    Some(format!("Over the pattern: {}.", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::{
        chord::Progression,
        note::{Channel, Pitch, Velocity},
        smf::DRUM_CHANNEL,
    };

    /// Onset and length in sixteenths, and pitch.
    fn notes(written: &[(i64, i64, i32)]) -> Vec<Note> {
        let note = |&(onset, steps, pitch): &(i64, i64, i32)| Note {
            onset: Ticks(onset * TICKS_PER_STEP),
            duration: Ticks(steps * TICKS_PER_STEP),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(70),
        };
        written.iter().map(note).collect()
    }

    /// Two bars of one track over chords, its first explained.
    fn melody(written: &[(i64, i64, i32)], chords: &str) -> (Vec<Section>, Piece) {
        let chords: Progression = chords.parse().unwrap();
        let harmony = (0..2).map(|bar| chords.at(bar)).collect();
        let piece = Piece::new(TimeSignature::default(), 0, harmony, None, [("Melody".into(), false, None, notes(written))]);
        (piece.explain(0), piece)
    }

    fn says(section: &Section, text: &str) -> bool {
        section.lines.iter().any(|line| line.to_string().contains(text))
    }

    /// C, D on the second eighth, G a fourth up, F.
    const TUNE: [(i64, i64, i32); 8] =
        [(0, 2, 60), (2, 4, 62), (6, 1, 67), (10, 1, 65), (16, 4, 64), (20, 4, 67), (24, 4, 69), (28, 4, 60)];

    #[test]
    fn a_melody_is_told_in_words() {
        let (sections, piece) = melody(&TUNE, "C Am | G");
        assert_eq!(sections[0].heading, "Bar 1");
        assert!(says(&sections[0], "First half: C is C E G, degree I of C major."), "{sections:?}");
        assert!(says(&sections[0], "Second half: Am is A C E, degree vi of C major."));
        let melody = &sections[1];
        assert_eq!(melody.lines[0], Line::Rhythm("x.x. ..x. ..x. ....".into()));
        assert!(says(melody, "4 attacks, 1 on the beat and 3 between."));
        assert!(says(melody, "2 of 4 notes are tones of the chord."), "{melody:?}");
        assert!(says(melody, "repeats 0, steps 2 and leaps 1 times; the widest leap is a fourth up."), "{melody:?}");
        assert!(says(melody, "4 notes a bar: as usual; songs of the training data have 3.8 to 7.8."), "{melody:?}");
        assert!(says(melody, "25 % on a beat: less than most"));
        assert!(piece.tracks()[0].overall().unwrap().contains("4.0 notes in a bar"));
    }

    #[test]
    fn what_leaves_the_scale_is_named() {
        let (sections, _) =
            melody(&[(0, 2, 60), (2, 2, 62), (4, 2, 64), (6, 2, 65), (8, 2, 67), (10, 2, 69), (12, 2, 66)], "N.C.");
        assert!(says(&sections[0], "no chord"));
        assert!(says(&sections[1], "Outside the scale") != says(&sections[0], "100 %"), "{sections:?}");
    }

    #[test]
    fn a_song_is_told_over_the_chords_it_sounds_like() {
        let track = |name: &str, channel, program, written: &[(i64, i64, i32)]| SongTrack {
            name: name.into(),
            channel: Channel::new(channel).unwrap(),
            program,
            notes: notes(written),
        };
        let chords =
            [(0, 16, 48), (0, 16, 52), (0, 16, 55), (16, 16, 45), (16, 16, 52), (16, 16, 60), (32, 16, 48), (32, 16, 52)];
        let song = Song {
            tracks: vec![
                track("Kit", DRUM_CHANNEL, None, &[(0, 1, 36), (4, 1, 38), (16, 1, 36), (20, 1, 38), (33, 1, 36)]),
                track("Keys", 2, Some(4), &chords),
                track("Rain", 3, Some(96), &[(16, 1, 69)]),
            ],
            ..Song::default()
        };
        let piece = Piece::of_song(&song, 3);
        let names: Vec<String> = piece.harmony().iter().map(|chords| chords[1].unwrap().to_string()).collect();
        assert_eq!(names, ["C", "Am", "C"]);
        assert_eq!(piece.key().unwrap().to_string(), "C major");
        let sections = piece.explain(2);
        assert_eq!(sections.len(), 4);
        assert!(says(&sections[1], "as even as eighths: less than most"), "{sections:?}");
        assert!(says(&sections[2], "2 of 2 notes are tones of the chord."));
        assert_eq!(sections[3].lines, [Line::Words("Nothing begins in this bar.".into())]);
        let markers = |names: &[(i64, &str)]| names.iter().map(|(at, name)| (Ticks(*at), (*name).to_owned())).collect();
        let named = Song { markers: markers(&[(960, "Dm7"), (1920, "N.C."), (3840, "G/B")]), ..song.clone() };
        let names = |[first, second]: &BarChords| [first, second].map(|c| c.map_or("-".to_owned(), |c| c.to_string()));
        let harmony = Piece::of_song(&named, 3).harmony().iter().map(names).collect::<Vec<_>>();
        assert_eq!(harmony, [["-", "Dm7"], ["-", "-"], ["G/B", "G/B"]]);
        assert_eq!(named_chords(&Song { markers: markers(&[(0, "C"), (960, "Verse")]), ..song.clone() }, 3), None);
        let [kit, keys, rain] = piece.tracks() else { panic!("{:?}", piece.tracks()) };
        assert!(kit.beside().iter().any(|figure| figure.what == "shared with the bar before" && figure.value == 0.5));
        assert!(keys.beside().iter().any(|figure| figure.show(figure.value) == "2.7" && figure.what == "notes a bar"));
        assert!(rain.beside().is_empty(), "no network learned from such a track");
    }

    #[test]
    fn bars_that_come_back_have_their_letter() {
        let (_, piece) = melody(&TUNE, "C");
        let [first, second] = piece.likeness().try_into().unwrap();
        assert_eq!((first, second), (vec![1.0, 0.0], vec![0.0, 1.0]));
        let again: Vec<Note> = TUNE.iter().flat_map(|&(at, n, p)| notes(&[(at, n, p), (at + 48, n, p)])).collect();
        let harmony = Progression::none().at(0);
        let piece = Piece::new(TimeSignature::default(), 0, vec![harmony; 6], None, [("Melody".into(), false, None, again)]);
        assert_eq!(piece.form(), "A B - A B -".split(' ').map(str::to_owned).collect::<Vec<_>>());
    }

    #[test]
    fn degrees_are_named_against_the_major_scale() {
        let key: Key = "D major".parse().unwrap();
        for (chord, wanted) in [("D", "I"), ("Em7", "ii"), ("Bb", "bVI"), ("C#dim", "vii"), ("G#", "#IV"), ("Fm", "biii")] {
            assert_eq!(degree(&chord.parse().unwrap(), key), wanted, "{chord}");
        }
        assert_eq!(
            (interval(7), interval(12), interval(16), interval(24)),
            ("a fifth".into(), "an octave".into(), "an octave and a major third".into(), "2 octaves".into())
        );
    }
}
