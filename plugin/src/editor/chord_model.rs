//! The progression as plain data for the chord lane: what lies where over the bars, what becomes of it when a chord is typed, and what
//! goes with a key. Knows nothing of egui.

use crate::music::{
    chord::{BarChords, Chord, MAX_PROGRESSION_BARS, Progression, ProgressionError, Triad},
    explain::degree,
    note::PitchClass,
    scale::{Key, Scale},
    time::{Ticks, TimeSignature},
};

/// A chord of the lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Bar, as the pattern or the song counts it.
    pub bar: u32,
    /// The half of the bar; `None` is all of it.
    pub half: Option<usize>,
    /// Where it begins and ends.
    pub span: (Ticks, Ticks),
    /// The chord.
    pub chord: Option<Chord>,
    /// The progression has begun anew before it.
    pub repeats: bool,
}

impl Cell {
    /// What is written in it.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.chord)
    }
}

/// Name of a chord or of none.
#[must_use]
pub fn name(chord: Option<Chord>) -> String {
    chord.map_or_else(|| "N.C.".into(), |chord| chord.to_string())
}

/// The chords over some bars: one per bar, or one per half where they differ.
#[must_use]
pub fn cells(progression: &Progression, first_bar: u32, n_bars: u32, meter: TimeSignature) -> Vec<Cell> {
    let bar_ticks = meter.bar().0;
    let n_own = u32::try_from(progression.bars().len()).unwrap_or(u32::MAX);
    let of_bar = |bar: u32| {
        let start = i64::from(bar) * bar_ticks;
        let cell = move |half, from: i64, to: i64, chord| {
            let span = (Ticks(start + from), Ticks(start + to));
            Cell { bar, half, span, chord, repeats: bar >= n_own }
        };
        let [first, second] = progression.at(bar);
        if first == second {
            vec![cell(None, 0, bar_ticks, first)]
        } else {
            vec![cell(Some(0), 0, bar_ticks / 2, first), cell(Some(1), bar_ticks / 2, bar_ticks, second)]
        }
    };
    (first_bar..first_bar.saturating_add(n_bars)).flat_map(of_bar).collect()
}

/// The bars of a progression, and the one of them that a bar of the song has its chords from.
fn parts(progression: &Progression, bar: u32) -> (Vec<BarChords>, usize) {
    let bars = progression.bars().to_vec();
    let idx = usize::try_from(bar).unwrap_or(0) % bars.len().max(1);
    (bars, idx)
}

fn checked(bars: Vec<BarChords>) -> Result<Progression, ProgressionError> {
    if bars.len() > MAX_PROGRESSION_BARS {
        return Err(ProgressionError::TooLong { n: bars.len() });
    }
    Ok(Progression::of_bars(bars))
}

/// The progression with something else in a bar, or in a half of it. One chord is for the half, if there is one; two are for the whole
/// bar; bars divided by `|` take its place.
///
/// # Errors
/// [`ProgressionError`] says what cannot be read, and in which bar of the progression.
pub fn with_chord(progression: &Progression, bar: u32, half: Option<usize>, text: &str) -> Result<Progression, ProgressionError> {
    let (mut bars, idx) = parts(progression, bar);
    if text.trim().is_empty() {
        return Err(ProgressionError::Empty { bar: idx + 1 });
    }
    let typed: Progression = text.parse().map_err(|error| match error {
        ProgressionError::Chord { bar, source } => ProgressionError::Chord { bar: bar + idx, source },
        ProgressionError::TooMany { bar, n } => ProgressionError::TooMany { bar: bar + idx, n },
        ProgressionError::Empty { bar } => ProgressionError::Empty { bar: bar + idx },
        other => other,
    })?;
    match (typed.bars(), half.and_then(|half| bars.get_mut(idx)?.get_mut(half))) {
        ([[first, second]], Some(chord)) if first == second => *chord = *first,
        (typed, _) => drop(bars.splice(idx..=idx, typed.iter().copied())),
    }
    checked(bars)
}

/// The progression with a bar twice.
///
/// # Errors
/// [`ProgressionError::TooLong`].
pub fn with_bar_after(progression: &Progression, bar: u32) -> Result<Progression, ProgressionError> {
    let (mut bars, idx) = parts(progression, bar);
    let chords = bars.get(idx).copied().unwrap_or([None, None]);
    bars.insert(idx, chords);
    checked(bars)
}

/// The progression without a bar; of one bar, no chord is left.
#[must_use]
pub fn without_bar(progression: &Progression, bar: u32) -> Progression {
    let (mut bars, idx) = parts(progression, bar);
    bars.remove(idx);
    Progression::of_bars(bars)
}

/// The key that is set, else the one that most tones of the chords lie in; `None` where there is no chord. Of two that fit as well, the one
/// whose tonic the first or the last chord stands on.
#[must_use]
pub fn key_of(progression: &Progression, set: Option<Key>) -> Option<Key> {
    let chords: Vec<Chord> = progression.bars().iter().flatten().flatten().copied().collect();
    let ends = [chords.first()?.triad(), chords.last()?.triad()];
    let score = |key: &Key| {
        let fits = |chord: &Chord| (0..12).filter(|class| chord.classes() >> class & 1 == 1 && has_class(*key, *class)).count();
        let home = Triad { root: key.tonic, minor: key.scale == Scale::Minor };
        3 * chords.iter().map(fits).sum::<usize>() + ends.iter().filter(|end| **end == home).count()
    };
    let tonics = (0..12).map(PitchClass::of);
    let keys = tonics.flat_map(|tonic| [Scale::Major, Scale::Minor].map(|scale| Key { tonic, scale }));
    // The first of the best: `max_by_key` would take the last.
    set.or_else(|| keys.reduce(|best, key| if score(&key) > score(&best) { key } else { best }))
}

fn has_class(key: Key, class: u8) -> bool {
    key.scale.classes() >> ((12 + class - key.tonic.number()) % 12) & 1 == 1
}

/// The chords on the degrees of a key, as triads and with sevenths, each with its degree.
#[must_use]
pub fn diatonic(key: Key) -> [Vec<(String, Chord)>; 2] {
    // Scales of five or six tones have too few for thirds: the full one that they belong to has.
    let scale = match key.scale {
        Scale::MajorPentatonic => Scale::Major,
        Scale::MinorPentatonic | Scale::Blues => Scale::Minor,
        full => full,
    };
    let steps: Vec<u8> = (0..12).filter(|step| scale.classes() >> step & 1 == 1).collect();
    [3, 4].map(|n_tones| {
        let chord_on = |idx: usize| {
            let tone = |third: usize| Some(steps.get((idx + 2 * third) % steps.len())? + key.tonic.number());
            let held = (0..n_tones).map(tone).collect::<Option<Vec<u8>>>()?;
            let (root, rest) = held.split_first()?;
            // The root below the others, so that it is the bass.
            let pitches = rest.iter().fold(1_u128 << (36 + root % 12), |set, class| set | 1 << (60 + class % 12));
            let chord = Chord::recognise(pitches).filter(|chord| chord.root() == PitchClass::of(i32::from(*root)))?;
            Some((degree(&chord, key), chord))
        };
        (0..steps.len()).filter_map(chord_on).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progression(text: &str) -> Progression {
        text.parse().unwrap()
    }

    #[test]
    fn cells_lie_over_their_bars_whole_or_half_and_say_where_they_repeat() {
        let waltz = TimeSignature::new(3, 4).unwrap();
        let cells = cells(&progression("C | Am F | N.C."), 1, 4, waltz);
        let seen: Vec<_> = cells.iter().map(|c| (c.bar, c.half, c.span.0.0, c.span.1.0, c.name(), c.repeats)).collect();
        let cell = |bar, half, from, to, name: &str, repeats| (bar, half, from, to, name.to_owned(), repeats);
        assert_eq!(
            seen,
            [
                cell(1, Some(0), 1440, 2160, "Am", false),
                cell(1, Some(1), 2160, 2880, "F", false),
                cell(2, None, 2880, 4320, "N.C.", false),
                cell(3, None, 4320, 5760, "C", true),
                cell(4, Some(0), 5760, 6480, "Am", true),
                cell(4, Some(1), 6480, 7200, "F", true),
            ]
        );
    }

    #[test]
    fn a_chord_is_typed_into_a_bar_a_half_or_several_bars() {
        let from = progression("C | Am F | G");
        let typed = |bar, half, text| with_chord(&from, bar, half, text).map(|p| p.to_string());
        assert_eq!(typed(0, None, "Dm7").unwrap(), "Dm7 | Am F | G");
        assert_eq!(typed(1, Some(1), "n.c.").unwrap(), "C | Am N.C. | G");
        assert_eq!(typed(1, Some(1), "Am").unwrap(), "C | Am | G");
        assert_eq!(typed(1, Some(0), "E A7").unwrap(), "C | E A7 | G");
        assert_eq!(typed(2, None, "Bb | %").unwrap(), "C | Am F | Bb | Bb");
        assert_eq!(typed(7, Some(0), "D").unwrap(), "C | D F | G", "bar 8 repeats bar 2");
        assert_eq!(typed(2, None, " ").unwrap_err(), ProgressionError::Empty { bar: 3 });
        assert!(typed(1, None, "C | Hx").unwrap_err().to_string().starts_with("bar 3: `Hx`"));
        let long = ["C"; MAX_PROGRESSION_BARS].join(" | ");
        assert!(matches!(typed(1, None, &long), Err(ProgressionError::TooLong { n: 66 })));
    }

    #[test]
    fn bars_are_added_and_removed() {
        let from = progression("C | Am F | G");
        assert_eq!(with_bar_after(&from, 4).unwrap().to_string(), "C | Am F | Am F | G");
        assert_eq!(without_bar(&from, 1).to_string(), "C | G");
        assert_eq!(without_bar(&progression("C"), 5), Progression::none());
        assert!(with_bar_after(&progression(&["C"; MAX_PROGRESSION_BARS].join("|")), 0).is_err());
    }

    #[test]
    fn the_key_is_the_one_set_or_the_one_that_the_chords_are_in() {
        let key = |text: &str| key_of(&progression(text), None).map(|key| key.to_string());
        assert_eq!(key("C | Am | F | G").unwrap(), "C major");
        assert_eq!(key("Am | F | C | G").unwrap(), "A minor");
        assert_eq!(key("Gm7 | C7 | Fmaj7").unwrap(), "F major");
        assert_eq!(key("N.C."), None);
        let set = Some("D dorian".parse().unwrap());
        assert_eq!(key_of(&progression("C"), set), set);
    }

    #[test]
    fn the_chords_of_a_key_stand_on_its_degrees() {
        let names = |key: &str| {
            diatonic(key.parse().unwrap()).map(|chords| chords.iter().map(|(_, chord)| chord.to_string()).collect::<Vec<_>>())
        };
        let [triads, sevenths] = names("G major");
        assert_eq!(triads, ["G", "Am", "Bm", "C", "D", "Em", "F#dim"]);
        assert_eq!(sevenths, ["Gmaj7", "Am7", "Bm7", "Cmaj7", "D7", "Em7", "F#m7b5"]);
        let [triads, sevenths] = names("A harmonic minor");
        assert_eq!(triads, ["Am", "Bdim", "Caug", "Dm", "E", "F", "Abdim"]);
        assert_eq!(sevenths, ["AmM7", "Bm7b5", "Cmaj7#5", "Dm7", "E7", "Fmaj7", "Abdim7"]);
        assert_eq!(names("E blues")[0], names("E minor")[0]);
        let of_c = diatonic("C major".parse().unwrap());
        assert_eq!(
            of_c[0].iter().map(|(degree, _)| degree.as_str()).collect::<Vec<_>>(),
            ["I", "ii", "iii", "IV", "V", "vi", "vii"]
        );
    }
}
