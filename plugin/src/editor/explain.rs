//! A bar in plain words: chords and degrees, scale, intervals, rhythm, figures. Plain data; knows nothing of egui.

use super::{roll_model::RollView, view_model::LaneView};
use crate::{
    music::{
        chord::Chord,
        metrics::{Figures, StepNote, StepTrack, best_scale},
        note::{Note, PitchClass},
        ranges::{Range, Ranges},
        scale::{Key, Scale},
        time::{TICKS_PER_STEP, Ticks, TimeSignature},
    },
    player::Part,
};

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

/// A heading and what is said under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub heading: String,
    /// A sentence each; `true` for a rhythm, to be set in equal widths.
    pub lines: Vec<(String, bool)>,
}

/// The key that is played in, and how much of the time the notes keep to it.
fn key_of(roll: &RollView, lanes: &[LaneView]) -> Option<(Key, Option<f64>)> {
    if let Some(key) = roll.key {
        return Some((key, None));
    }
    let tracks: Vec<StepTrack> = (0..lanes.len()).filter_map(|idx| pitched(roll, lanes, idx)).collect();
    let (tonic, share) = best_scale(&tracks)?;
    Some((Key { tonic, scale: Scale::Major }, Some(share)))
}

fn steps_of(roll: &RollView, idx: usize) -> impl Iterator<Item = StepNote> {
    let (start, _) = roll.span();
    notes_of(roll, idx).filter_map(move |note| StepNote::nearest(&Note { onset: Ticks(note.onset.0 - start.0), ..*note }))
}

fn notes_of(roll: &RollView, idx: usize) -> impl Iterator<Item = &Note> {
    let own = move |part: &Part| matches!(part, Part::Track(number) if usize::from(*number) == idx);
    roll.notes.iter().filter(move |(part, _)| own(part)).map(|(_, note)| note)
}

fn track(roll: &RollView, lanes: &[LaneView], idx: usize) -> StepTrack {
    let n_bars = usize::try_from(roll.n_bars).unwrap_or(0);
    StepTrack::new(steps_of(roll, idx), n_bars, lanes.get(idx).is_some_and(|lane| lane.is_drums))
}

fn pitched(roll: &RollView, lanes: &[LaneView], idx: usize) -> Option<StepTrack> {
    lanes.get(idx).filter(|lane| !lane.is_drums).map(|_| track(roll, lanes, idx))
}

/// A bar of the roll in words.
#[must_use]
pub fn explain(roll: &RollView, lanes: &[LaneView], bar: u32) -> Vec<Section> {
    let key = key_of(roll, lanes);
    let tonic = key.map(|(key, _)| key);
    let mut sections = vec![harmony(roll, bar, key)];
    let bar_ticks = roll.meter.bar().0;
    let (start, end) = (i64::from(bar) * bar_ticks, i64::from(bar + 1) * bar_ticks);
    for (idx, lane) in lanes.iter().enumerate() {
        let mut inside: Vec<&Note> = notes_of(roll, idx).filter(|note| (start..end).contains(&note.onset.0)).collect();
        inside.sort_by_key(|note| (note.onset, std::cmp::Reverse(note.pitch)));
        let mut lines = Vec::new();
        if inside.is_empty() {
            lines.push(("Nothing begins in this bar.".into(), false));
        } else {
            lines.push((rhythm(&inside, start, roll.meter.steps_per_bar()), true));
            lines.push((placement(&inside, start), false));
            if !lane.is_drums {
                lines.extend(chord_tones(roll, &inside, bar).map(|text| (text, false)));
                lines.extend(outside(&inside, tonic).map(|text| (text, false)));
                lines.extend(motion(&inside).map(|text| (text, false)));
            }
        }
        if let Some(ranges) = Ranges::of_track(&lane.name, lane.is_drums, lane.program) {
            lines.extend(beside(&inside, roll, start, ranges).into_iter().map(|text| (text, false)));
        }
        if let Some(text) = figures(&track(roll, lanes, idx).figures(), lane.is_drums) {
            lines.push((text, false));
        }
        sections.push(Section { heading: lane.name.clone(), lines });
    }
    sections
}

fn harmony(roll: &RollView, bar: u32, key: Option<(Key, Option<f64>)>) -> Section {
    let chords = roll.harmony.get(usize::try_from(bar.saturating_sub(roll.first_bar)).unwrap_or(usize::MAX));
    let [first, second] = chords.copied().unwrap_or([None, None]);
    let halves = if first == second { vec![("", first)] } else { vec![("First half: ", first), ("Second half: ", second)] };
    let mut lines = Vec::new();
    for (when, chord) in halves {
        let text = chord.map_or_else(|| "no chord.".to_owned(), |chord| describe(&chord, key.map(|(key, _)| key)));
        lines.push((format!("{when}{text}"), false));
    }
    match key {
        Some((key, None)) => lines.push((format!("Key: {key}; every pitched note is moved into it."), false)),
        Some((key, Some(share))) => {
            let text = format!("The whole pattern fits {key} best: {:.0} % of its time lies in that scale.", share * 100.0);
            lines.push((text, false));
        }
        None => {}
    }
    Section { heading: format!("Bar {}", bar + 1), lines }
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

/// How many notes belong to the chord of their moment.
fn chord_tones(roll: &RollView, notes: &[&Note], bar: u32) -> Option<String> {
    let chords = roll.harmony.get(usize::try_from(bar.checked_sub(roll.first_bar)?).ok()?)?;
    let half = roll.meter.bar().0 / 2;
    let of = |note: &Note| {
        let is_second = note.onset.0.rem_euclid(roll.meter.bar().0) >= half;
        if is_second { chords[1] } else { chords[0] }
    };
    let known: Vec<(&Note, Chord)> = notes.iter().filter_map(|note| Some((*note, of(note)?))).collect();
    let n = known.iter().filter(|(note, chord)| chord.classes() & (1 << note.pitch.class().number()) != 0).count();
    (!known.is_empty()).then(|| format!("{n} of {} notes are tones of the chord.", known.len()))
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

/// What begins in a bar beside the songs of the training data: nothing of an empty bar or another meter, which they have not.
fn beside(inside: &[&Note], roll: &RollView, start: i64, ranges: &Ranges) -> Vec<String> {
    if inside.is_empty() || roll.meter.bar() != TimeSignature::default().bar() {
        return Vec::new();
    }
    let moved = |note: &&Note| StepNote::nearest(&Note { onset: Ticks(note.onset.0 - start), ..**note });
    let figures = StepTrack::new(inside.iter().filter_map(moved), 1, ranges.drum_pattern.is_some()).figures();
    let number = |value: f64| format!("{:.1}", value).trim_end_matches(".0").to_owned();
    let percent = |value: f64| format!("{:.0} %", 100.0 * value);
    let mut lines = Vec::new();
    let mut say = |value: Option<f64>, range: Option<Range>, show: &dyn Fn(f64) -> String, what: &str| {
        let Some((value, [low, _, high])) = value.zip(range) else { return };
        let verdict = match value {
            value if value < low => "less than most",
            value if value > high => "more than most",
            _ => "as usual",
        };
        lines.push(format!(
            "{} {what}: {verdict}; songs of the training data have {} to {}.",
            show(value),
            show(low),
            show(high)
        ));
    };
    say(figures.notes_per_active_bar, Some(ranges.notes_per_active_bar), &number, "notes a bar");
    say(figures.onsets_on_quarters, Some(ranges.onsets_on_quarters), &percent, "on a beat");
    say(figures.pitch_classes_per_bar, ranges.pitch_classes_per_bar, &number, "different tones a bar");
    say(figures.polyphony.filter(|n| *n > 1.05), ranges.polyphony, &number, "notes at a time");
    say(figures.qualified_notes, ranges.qualified_notes, &percent, "last an eighth or longer");
    say(figures.drum_pattern, ranges.drum_pattern, &percent, "as even as eighths");
    lines
}

/// The figures of a lane over the whole pattern.
fn figures(figures: &Figures, is_drums: bool) -> Option<String> {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
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
    use crate::player::{
        Knobs,
        testing::{band, doubtful, written},
    };

    fn melody(bars: &str, chords: &str) -> Vec<Section> {
        let mut pattern = written(bars, false);
        pattern.spec.progression = chords.parse().unwrap();
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let roll = RollView::new(&pattern, &knobs, TimeSignature::default(), 0, false);
        let lanes = [LaneView { name: "Melody".into(), is_drums: false, program: None }];
        explain(&roll, &lanes, 0)
    }

    fn says(section: &Section, text: &str) -> bool {
        section.lines.iter().any(|(line, _)| line.contains(text))
    }

    #[test]
    fn a_melody_is_told_in_words() {
        // C at 1, D on the second eighth, G up a fourth, the octave's F down.
        let sections = melody("0-2---7...5..... 4---7---9---0---", "C Am | G");
        assert_eq!(sections[0].heading, "Bar 1");
        assert!(says(&sections[0], "First half: C is C E G, degree I of C major."), "{sections:?}");
        assert!(says(&sections[0], "Second half: Am is A C E, degree vi of C major."));
        let melody = &sections[1];
        assert_eq!(melody.lines[0], ("x.x. ..x. ..x. ....".into(), true));
        assert!(says(melody, "4 attacks, 1 on the beat and 3 between."));
        assert!(says(melody, "2 of 4 notes are tones of the chord."), "{melody:?}");
        assert!(says(melody, "repeats 0, steps 2 and leaps 1 times; the widest leap is a fourth up."), "{melody:?}");
        assert!(says(melody, "4.0 notes in a bar"));
        assert!(says(melody, "4 notes a bar: as usual; songs of the training data have 3.8 to 7.8."), "{melody:?}");
        assert!(says(melody, "25 % on a beat: less than most"));
    }

    #[test]
    fn what_leaves_the_scale_is_named() {
        let sections = melody("0-2-4-5-7-9-6---", "N.C.");
        assert!(says(&sections[0], "no chord"));
        assert!(says(&sections[1], "Outside the scale") != says(&sections[0], "100 %"), "{sections:?}");
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

    #[test]
    fn a_band_has_a_section_per_lane_and_silence_is_said() {
        let pattern = doubtful(3, band(), 4, "C");
        let lane = |name: &str| LaneView { name: name.into(), is_drums: name == "Drums", program: None };
        let lanes: Vec<LaneView> = ["Drums", "Bass", "Piano", "Guitar", "Strings"].map(lane).into();
        let mut knobs = Knobs::default();
        knobs.lanes[2].muted = true;
        let roll = RollView::new(&pattern, &knobs, TimeSignature::default(), 0, false);
        let sections = explain(&roll, &lanes, 2);
        assert_eq!(sections.len(), 6);
        assert!(says(&sections[1], "as even as eighths") && !says(&sections[1], "scale"));
        assert!(says(&sections[1], "songs of the training data") && says(&sections[1], "as even as eighths: "));
        assert_eq!(sections[3].lines, [("Nothing begins in this bar.".into(), false)]);
    }
}
