//! Chords: names, pitch classes, triads, progressions, recognition, voicing. Pure; any thread.

use super::note::{Pitch, PitchClass};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A chord: a root, the intervals above it, a bass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    root: PitchClass,
    quality: Quality,
    bass: PitchClass,
}

/// A major or minor triad: what the networks know of a chord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Triad {
    /// Root.
    pub root: PitchClass,
    /// Minor, else major. A minor triad is named by its own root (A minor has root A).
    pub minor: bool,
}

impl Triad {
    /// 0 to 11 for major by root, 12 to 23 for minor by root: the index in a one-hot condition.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.root.number()) + if self.minor { 12 } else { 0 }
    }
}

/// A kind of chord: an entry of [`QUALITIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quality(u8);

struct QualityInfo {
    /// Accepted spellings; the first is the one written.
    names: &'static [&'static str],
    /// Semitones above the root, ascending, root first.
    intervals: &'static [u8],
    minor: bool,
}

const fn quality(names: &'static [&'static str], intervals: &'static [u8], minor: bool) -> QualityInfo {
    QualityInfo { names, intervals, minor }
}

/// Every chord kind: spellings, intervals, and whether its triad reduces to minor. Suspended and power chords count as major,
/// as in the training data's reduction; diminished as minor, augmented as major, by their thirds. At most six tones, so that a
/// voicing with a foreign bass fits eight notes. Saved text names chords by their first spelling: entries may be added, and
/// spellings too, but none removed.
const QUALITIES: &[QualityInfo] = &[
    quality(&["", "maj", "M", "major"], &[0, 4, 7], false),
    quality(&["m", "min", "mi", "-", "minor"], &[0, 3, 7], true),
    quality(&["7", "dom7"], &[0, 4, 7, 10], false),
    quality(&["maj7", "M7", "ma7", "Δ", "Δ7", "major7"], &[0, 4, 7, 11], false),
    quality(&["m7", "min7", "mi7", "-7", "minor7"], &[0, 3, 7, 10], true),
    quality(&["mM7", "mmaj7", "minmaj7", "m/maj7", "-maj7", "mΔ"], &[0, 3, 7, 11], true),
    quality(&["dim", "°", "o"], &[0, 3, 6], true),
    quality(&["dim7", "°7", "o7"], &[0, 3, 6, 9], true),
    quality(&["m7b5", "min7b5", "-7b5", "ø", "ø7", "hdim7", "hdim"], &[0, 3, 6, 10], true),
    quality(&["aug", "+"], &[0, 4, 8], false),
    quality(&["7#5", "aug7", "+7"], &[0, 4, 8, 10], false),
    quality(&["sus4", "sus"], &[0, 5, 7], false),
    quality(&["sus2"], &[0, 2, 7], false),
    quality(&["7sus4", "7sus", "sus7"], &[0, 5, 7, 10], false),
    quality(&["6", "maj6", "M6"], &[0, 4, 7, 9], false),
    quality(&["m6", "min6", "-6"], &[0, 3, 7, 9], true),
    quality(&["9"], &[0, 2, 4, 7, 10], false),
    quality(&["maj9", "M9", "Δ9"], &[0, 2, 4, 7, 11], false),
    quality(&["m9", "min9", "-9"], &[0, 2, 3, 7, 10], true),
    quality(&["add9", "add2"], &[0, 2, 4, 7], false),
    quality(&["madd9", "madd2", "minadd9"], &[0, 2, 3, 7], true),
    quality(&["11"], &[0, 2, 4, 5, 7, 10], false),
    quality(&["m11", "min11", "-11"], &[0, 2, 3, 5, 7, 10], true),
    quality(&["13"], &[0, 2, 4, 7, 9, 10], false),
    quality(&["5"], &[0, 7], false),
    quality(&["6/9", "69"], &[0, 2, 4, 7, 9], false),
    quality(&["7b9"], &[0, 1, 4, 7, 10], false),
    quality(&["7#9"], &[0, 3, 4, 7, 10], false),
    quality(&["7b5"], &[0, 4, 6, 10], false),
    quality(&["7#11"], &[0, 4, 6, 7, 10], false),
    quality(&["maj7#11", "M7#11"], &[0, 4, 6, 7, 11], false),
    quality(&["maj7#5", "M7#5"], &[0, 4, 8, 11], false),
    quality(&["9sus4", "9sus"], &[0, 2, 5, 7, 10], false),
    quality(&["maj13", "M13"], &[0, 2, 4, 7, 9, 11], false),
    quality(&["m13", "min13", "-13"], &[0, 2, 3, 7, 9, 10], true),
];

/// Names written for pitch classes.
const CLASS_NAMES: [&str; 12] = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];

impl PitchClass {
    /// The usual name: C, C#, D, Eb, E, F, F#, G, Ab, A, Bb, B.
    #[must_use]
    pub fn name(self) -> &'static str {
        CLASS_NAMES.get(usize::from(self.number())).copied().unwrap_or("C")
    }

    /// Reads a leading note name (`C`, `F#`, `Bb`, `E♭`); yields the class and the rest of the text.
    #[must_use]
    pub fn parse_prefix(text: &str) -> Option<(Self, &str)> {
        let mut chars = text.chars();
        let mut class = match chars.next()?.to_ascii_uppercase() {
            'C' => 0,
            'D' => 2,
            'E' => 4,
            'F' => 5,
            'G' => 7,
            'A' => 9,
            'B' => 11,
            _ => return None,
        };
        let mut rest = chars.as_str();
        // No note name has more than a double accidental.
        for _ in 0..2 {
            let alteration = match chars.next() {
                Some('#' | '♯') => 1,
                Some('b' | '♭') => -1,
                _ => break,
            };
            class += alteration;
            rest = chars.as_str();
        }
        Some((Self::of(class), rest))
    }
}

/// A chord name that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChordError {
    /// Does not begin with a note name.
    #[error("`{0}` is not a chord: it must begin with a note name, such as C, F# or Bb")]
    Root(String),
    /// The part after the root is unknown.
    #[error(
        "`{name}` is not a chord: the kind `{kind}` is unknown (known: m, 7, maj7, m7, dim, dim7, m7b5, aug, sus2, sus4, 6, m6, 9, …)"
    )]
    Kind {
        /// The whole name.
        name: String,
        /// The unknown part.
        kind: String,
    },
    /// The part after the slash is no note name.
    #[error("`{name}` is not a chord: the bass `{bass}` after the slash is no note name")]
    Bass {
        /// The whole name.
        name: String,
        /// The unknown part.
        bass: String,
    },
}

impl Quality {
    /// The kind with this spelling. Brackets are ignored; capitals matter for a lone `M` only (`CMaj7`, `DMIN`, `Gsus4`).
    fn parse(spelling: &str) -> Option<Self> {
        let find = |name: &str| QUALITIES.iter().position(|q| q.names.contains(&name));
        let plain: String = spelling.chars().filter(|c| !matches!(c, '(' | ')')).collect();
        let plain = plain.replace('♭', "b").replace('♯', "#");
        let lower = plain.to_lowercase();
        let spelled_out = ["maj", "min", "dim", "aug", "sus", "add"].iter().any(|word| lower.starts_with(word));
        let index = find(&plain).or_else(|| if spelled_out { find(&lower) } else { None })?;
        u8::try_from(index).ok().map(Self)
    }
}

impl FromStr for Chord {
    type Err = ChordError;

    fn from_str(name: &str) -> Result<Self, ChordError> {
        let name = name.trim();
        let (root, rest) = PitchClass::parse_prefix(name).ok_or_else(|| ChordError::Root(name.into()))?;
        // `C6/9` and `Cm/maj7` have a slash of their own.
        if let Some(quality) = Quality::parse(rest) {
            return Ok(Self { root, quality, bass: root });
        }
        let unknown = |kind: &str| ChordError::Kind { name: name.into(), kind: kind.into() };
        let (kind, bass) = rest.rsplit_once('/').ok_or_else(|| unknown(rest))?;
        let bass = match PitchClass::parse_prefix(bass) {
            Some((class, "")) => class,
            _ => return Err(ChordError::Bass { name: name.into(), bass: bass.into() }),
        };
        let quality = Quality::parse(kind).ok_or_else(|| unknown(kind))?;
        Ok(Self { root, quality, bass })
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.root.name(), self.info().names.first().copied().unwrap_or(""))?;
        if self.bass == self.root { Ok(()) } else { write!(f, "/{}", self.bass.name()) }
    }
}

impl Chord {
    fn info(&self) -> &'static QualityInfo {
        static MAJOR: QualityInfo = quality(&[""], &[0, 4, 7], false);
        QUALITIES.get(usize::from(self.quality.0)).unwrap_or(&MAJOR)
    }

    /// A plain triad.
    #[must_use]
    pub fn from_triad(triad: Triad) -> Self {
        Self { root: triad.root, quality: Quality(u8::from(triad.minor)), bass: triad.root }
    }

    /// A number that stands for this chord within one version of the program, never 0: how it crosses threads in an atomic and
    /// enters a hash.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn code(&self) -> u32 {
        1 << 16 | u32::from(self.quality.0) << 8 | u32::from(self.root.number()) << 4 | u32::from(self.bass.number())
    }

    /// The chord of a [`code`](Self::code); `None` for any other number.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        let [bass_and_root, quality, mark, rest] = code.to_le_bytes();
        let (root, bass) = (bass_and_root >> 4, bass_and_root & 15);
        let known = mark == 1 && rest == 0 && usize::from(quality) < QUALITIES.len() && root < 12 && bass < 12;
        known.then(|| Self { root: PitchClass::of(root.into()), quality: Quality(quality), bass: PitchClass::of(bass.into()) })
    }

    /// Root.
    #[must_use]
    pub fn root(&self) -> PitchClass {
        self.root
    }

    /// Bass: the root unless a slash names another.
    #[must_use]
    pub fn bass(&self) -> PitchClass {
        self.bass
    }

    /// The major or minor triad that stands for it.
    #[must_use]
    pub fn triad(&self) -> Triad {
        Triad { root: self.root, minor: self.info().minor }
    }

    /// Its pitch classes as a bit set, bit 0 = C, with the bass.
    #[must_use]
    pub fn classes(&self) -> u16 {
        let mut set = 1 << self.bass.number();
        for interval in self.info().intervals {
            set |= 1 << ((self.root.number() + interval) % 12);
        }
        set
    }

    /// A simple close voicing: the bass in MIDI 36–47, the other classes once each in MIDI 52–63. At most 8 pitches, ascending;
    /// the rest of the array is `None`.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn voicing(&self) -> [Option<Pitch>; 8] {
        let mut pitches = [None; 8];
        let mut slots = pitches.iter_mut();
        if let Some(slot) = slots.next() {
            *slot = Pitch::new(36 + i32::from(self.bass.number()));
        }
        let classes = self.classes();
        for number in 52..64 {
            if classes & (1 << (number % 12)) != 0
                && let Some(slot) = slots.next()
            {
                *slot = Pitch::new(number);
            }
        }
        pitches
    }

    /// The chord that held notes form, or `None` for fewer than three classes that no known chord contains. The lowest note is
    /// the bass and the preferred root; a chord that explains all notes with the fewest missing tones wins.
    ///
    /// # Realtime safety
    /// Audio thread: yes; 12 roots × the chord kinds.
    #[must_use]
    pub fn recognise(held: u128) -> Option<Self> {
        if held == 0 {
            return None;
        }
        let mut classes = 0_u16;
        for pitch in 0..128_u32 {
            if held & (1 << pitch) != 0 {
                classes |= 1 << (pitch % 12);
            }
        }
        let bass = PitchClass::of(i32::try_from(held.trailing_zeros()).unwrap_or(0));
        let n_held = classes.count_ones();
        if n_held < 2 {
            return None;
        }
        let mut best: Option<(u32, Self)> = None;
        for offset in 0..12 {
            let root = PitchClass::of(i32::from(bass.number()) + offset);
            for (index, info) in QUALITIES.iter().enumerate() {
                let tones = info.intervals.iter().fold(0_u16, |set, i| set | 1 << ((root.number() + i) % 12));
                let missing = (tones & !classes).count_ones();
                let extra = (classes & !tones).count_ones();
                // Two notes name a power chord, or a triad by its third; more may leave one tone out. One foreign tone is
                // allowed if it is the bass (a slash chord).
                let foreign_bass = extra == 1 && tones & (1 << bass.number()) == 0 && n_held > 3;
                if missing > 1 || (extra > 0 && !foreign_bass) || tones & classes & (1 << root.number()) == 0 {
                    continue;
                }
                let cost = 8 * missing + 6 * extra + 2 * u32::from(offset != 0) + tones.count_ones();
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, Self { root, quality: Quality(u8::try_from(index).unwrap_or(0)), bass }));
                }
            }
        }
        best.map(|(_, chord)| chord)
    }
}

/// Chords of one bar: the first and the second half. `None` is no chord.
pub type BarChords = [Option<Chord>; 2];

/// A chord progression over bars, repeated as long as the music lasts: `C | Am | F G | N.C.`.
///
/// Bars are separated by `|`; a bar holds one chord, or two separated by a space; `N.C.` is no chord, `%` repeats the bar before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progression(Vec<BarChords>);

/// A progression that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgressionError {
    /// A chord name is wrong.
    #[error("bar {bar}: {source}")]
    Chord {
        /// Bar, from 1.
        bar: usize,
        /// What is wrong.
        source: ChordError,
    },
    /// A bar holds more than two chords.
    #[error("bar {bar} has {n} chords; a bar holds one or two (beats 1 and 3)")]
    TooMany {
        /// Bar, from 1.
        bar: usize,
        /// Chords found.
        n: usize,
    },
    /// Longer than allowed.
    #[error("{n} bars of chords are too many; at most {MAX_PROGRESSION_BARS}")]
    TooLong {
        /// Bars found.
        n: usize,
    },
    /// A bar is empty.
    #[error("bar {bar} is empty; write N.C. for no chord")]
    Empty {
        /// Bar, from 1.
        bar: usize,
    },
    /// `%` without a bar before it.
    #[error("bar 1 repeats the bar before it (`%`), and there is none")]
    NothingToRepeat,
}

/// Longest progression, in bars.
pub const MAX_PROGRESSION_BARS: usize = 64;

impl Progression {
    /// No chord at all.
    #[must_use]
    pub fn none() -> Self {
        Self(vec![[None, None]])
    }

    /// One chord throughout.
    #[must_use]
    pub fn constant(chord: Option<Chord>) -> Self {
        Self(vec![[chord, chord]])
    }

    /// These bars; none at all is no chord.
    #[must_use]
    pub fn of_bars(bars: impl IntoIterator<Item = BarChords>) -> Self {
        let bars: Vec<BarChords> = bars.into_iter().collect();
        if bars.is_empty() { Self::none() } else { Self(bars) }
    }

    /// The bars, at least one.
    #[must_use]
    pub fn bars(&self) -> &[BarChords] {
        &self.0
    }

    /// The chords of a bar; the progression repeats.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn at(&self, bar_idx: u32) -> BarChords {
        let idx = usize::try_from(bar_idx).unwrap_or(0) % self.0.len().max(1);
        self.0.get(idx).copied().unwrap_or([None, None])
    }
}

impl FromStr for Progression {
    type Err = ProgressionError;

    fn from_str(text: &str) -> Result<Self, ProgressionError> {
        if text.trim().is_empty() {
            return Ok(Self::none());
        }
        // Lead sheets begin and end with a bar line, perhaps a double one, and so may each of their lines.
        let unframed = |line: &str| -> String {
            let line = line.trim();
            let line = line.strip_prefix("||").or_else(|| line.strip_prefix('|')).unwrap_or(line);
            line.strip_suffix("||").or_else(|| line.strip_suffix('|')).unwrap_or(line).into()
        };
        let lines: Vec<String> = text.lines().filter(|l| !l.trim().is_empty()).map(unframed).collect();
        let text = lines.join("|");
        let mut bars: Vec<BarChords> = Vec::new();
        for (idx, bar_text) in text.split('|').enumerate() {
            let bar = idx + 1;
            let parse = |name: &str| match name {
                "N.C." | "NC" | "n.c." | "-" => Ok(None),
                _ => name.parse().map(Some).map_err(|source| ProgressionError::Chord { bar, source }),
            };
            let names: Vec<&str> = bar_text.split_whitespace().collect();
            bars.push(match names.as_slice() {
                [] => return Err(ProgressionError::Empty { bar }),
                ["%"] => *bars.last().ok_or(ProgressionError::NothingToRepeat)?,
                [one] => {
                    let chord = parse(one)?;
                    [chord, chord]
                }
                [first, second] => [parse(first)?, parse(second)?],
                more => return Err(ProgressionError::TooMany { bar, n: more.len() }),
            });
        }
        if bars.len() > MAX_PROGRESSION_BARS {
            return Err(ProgressionError::TooLong { n: bars.len() });
        }
        Ok(Self(bars))
    }
}

impl fmt::Display for Progression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |chord: &Option<Chord>| chord.map_or_else(|| "N.C.".into(), |c| c.to_string());
        for (idx, [first, second]) in self.0.iter().enumerate() {
            if idx > 0 {
                f.write_str(" | ")?;
            }
            f.write_str(&name(first))?;
            if second != first {
                write!(f, " {}", name(second))?;
            }
        }
        Ok(())
    }
}

impl Serialize for Progression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Progression {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chord(name: &str) -> Chord {
        name.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    fn classes(chord: &Chord) -> Vec<u32> {
        (0..12).filter(|n| chord.classes() & (1 << n) != 0).collect()
    }

    fn held(pitches: &[u32]) -> u128 {
        pitches.iter().fold(0, |set, p| set | 1 << p)
    }

    #[test]
    fn kinds_are_well_formed_and_spelled_once() {
        let mut seen = std::collections::HashSet::new();
        for kind in QUALITIES {
            assert!(kind.intervals.is_sorted() && kind.intervals.first() == Some(&0) && kind.intervals.len() <= 6);
            assert!(kind.intervals.iter().all(|i| *i < 12));
            let third = |n| kind.intervals.contains(&n);
            assert_eq!(kind.minor, third(3) && !third(4), "{:?}", kind.names);
            for name in kind.names {
                assert!(seen.insert(name), "`{name}` stands twice");
            }
        }
    }

    #[test]
    fn every_name_written_is_read_back() {
        for root in 0..12 {
            for index in 0..QUALITIES.len() {
                for bass in 0..12 {
                    let quality = Quality(u8::try_from(index).unwrap());
                    let one = Chord { root: PitchClass::of(root), quality, bass: PitchClass::of(bass) };
                    assert_eq!(one.to_string().parse(), Ok(one), "{one}");
                }
            }
        }
    }

    #[test]
    fn names_mean_their_notes() {
        assert_eq!(classes(&chord("Am7/G")), [0, 4, 7, 9]);
        assert_eq!(chord("Am7/G").bass().name(), "G");
        assert_eq!(classes(&chord("F#m7b5")), [0, 4, 6, 9]);
        assert_eq!(classes(&chord("Bbsus4")), [3, 5, 10]);
        assert_eq!(classes(&chord("E♭maj7")), [2, 3, 7, 10]);
        assert_eq!(classes(&chord("Bbb")), [1, 4, 9], "B double flat is A");
        assert_eq!(chord("C6/9").to_string(), "C6/9");
        assert_eq!(chord("C6/9/E").to_string(), "C6/9/E");
        assert_eq!(chord("D7(b9)").to_string(), "D7b9");
        assert_eq!(chord("Gm(maj7)").to_string(), "GmM7");
        for name in ["CMaj7", "CMAJ7", "CM7", "CΔ"] {
            assert_eq!(chord(name).to_string(), "Cmaj7");
        }
        assert_eq!(chord("CM").to_string(), "C");
        assert_eq!(chord("CMIN7").to_string(), "Cm7");
        assert_eq!(chord("C6").triad(), Triad { root: PitchClass::of(0), minor: false });
        assert_eq!(chord("CM6").to_string(), "C6", "a capital M is major");
        assert_eq!(chord("c#m").to_string(), "C#m");
    }

    #[test]
    fn triads_are_named_by_their_own_root() {
        let index = |name: &str| chord(name).triad().index();
        assert_eq!(index("A"), 9);
        assert_eq!(index("Am7/G"), 21);
        assert_eq!(index("Bdim"), 23);
        assert_eq!(index("Eaug"), 4);
        assert_eq!(index("Gsus4"), 7);
        for index in 0..24 {
            let triad = Triad { root: PitchClass::of(index), minor: index >= 12 };
            assert_eq!(Chord::from_triad(triad).triad(), triad);
            assert_eq!(i32::try_from(triad.index()).unwrap(), index);
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_part_that_is_wrong() {
        let error = |name: &str| name.parse::<Chord>().unwrap_err();
        assert_eq!(error(""), ChordError::Root(String::new()));
        assert_eq!(error("H7"), ChordError::Root("H7".into()));
        assert_eq!(error("Cfoo"), ChordError::Kind { name: "Cfoo".into(), kind: "foo".into() });
        assert_eq!(error("Cfoo/E"), ChordError::Kind { name: "Cfoo/E".into(), kind: "foo".into() });
        assert_eq!(error("C/"), ChordError::Bass { name: "C/".into(), bass: String::new() });
        assert_eq!(error("Am7/X"), ChordError::Bass { name: "Am7/X".into(), bass: "X".into() });
        assert_eq!(error("C/Em"), ChordError::Bass { name: "C/Em".into(), bass: "Em".into() });
        assert_eq!(error("C###"), ChordError::Kind { name: "C###".into(), kind: "#".into() });
        assert_eq!(error("CM7sus13add"), ChordError::Kind { name: "CM7sus13add".into(), kind: "M7sus13add".into() });
    }

    #[test]
    fn voicings_hold_every_class_and_the_bass_below() {
        for root in 0..12 {
            for index in 0..QUALITIES.len() {
                for bass in 0..12 {
                    let quality = Quality(u8::try_from(index).unwrap());
                    let one = Chord { root: PitchClass::of(root), quality, bass: PitchClass::of(bass) };
                    let pitches: Vec<Pitch> = one.voicing().into_iter().flatten().collect();
                    assert!(pitches.is_sorted_by(|a, b| a < b));
                    assert_eq!(pitches.first().map(|p| p.class()), Some(one.bass()));
                    let set = pitches.iter().skip(1).fold(0, |set, p| set | 1 << p.class().number());
                    assert_eq!(set, one.classes(), "{one}");
                }
            }
        }
    }

    #[test]
    fn held_notes_are_recognised() {
        let name = |pitches: &[u32]| Chord::recognise(held(pitches)).map(|c| c.to_string());
        assert_eq!(name(&[]), None);
        assert_eq!(name(&[61]), None);
        assert_eq!(name(&[61, 73]), None, "an octave is one class");
        assert_eq!(name(&[60, 64, 67]).as_deref(), Some("C"));
        assert_eq!(name(&[64, 67, 72]).as_deref(), Some("C/E"));
        assert_eq!(name(&[43, 57, 60, 64]).as_deref(), Some("Am7/G"));
        assert_eq!(name(&[57, 60, 64, 67]).as_deref(), Some("Am7"));
        assert_eq!(name(&[60, 64, 67, 69]).as_deref(), Some("C6"));
        assert_eq!(name(&[41, 60, 64, 67]).as_deref(), Some("C/F"), "a foreign bass");
        assert_eq!(name(&[50, 53, 57, 60]).as_deref(), Some("Dm7"));
        assert_eq!(name(&[55, 59, 65]).as_deref(), Some("G7"), "without its fifth");
        assert_eq!(name(&[60, 67]).as_deref(), Some("C5"));
        assert_eq!(name(&[62, 65]).as_deref(), Some("Dm"));
        assert_eq!(name(&(60..72).collect::<Vec<_>>()), None, "a cluster is no chord");
        assert_eq!(Chord::recognise(u128::MAX), None);
    }

    #[test]
    fn every_chord_is_recognised_in_root_position_with_its_notes() {
        for root in 0..12_u32 {
            for kind in QUALITIES {
                let pitches: Vec<u32> = kind.intervals.iter().map(|i| 48 + root + u32::from(*i)).collect();
                let found = Chord::recognise(held(&pitches)).unwrap();
                let tones = pitches.iter().fold(0_u16, |set, p| set | 1 << (p % 12));
                assert_eq!(found.classes(), tones, "{} is not {:?}", found, kind.names);
            }
        }
    }

    #[test]
    fn progressions_are_read_as_lead_sheets_write_them() {
        let text = |text: &str| text.parse::<Progression>().map(|p| p.to_string());
        assert_eq!(text("C | Am | F G | N.C.").as_deref(), Ok("C | Am | F G | N.C."));
        assert_eq!(text("| C | % |\n| F |  G ||").as_deref(), Ok("C | C | F | G"));
        assert_eq!(text("C\r\nAm\r\n\r\n").as_deref(), Ok("C | Am"));
        assert_eq!(text("Dm7 N.C.|- C").as_deref(), Ok("Dm7 N.C. | N.C. C"));
        assert_eq!(text("").as_deref(), Ok("N.C."));
        let progression: Progression = "C | Am | F G".parse().unwrap();
        assert_eq!(progression.at(5), progression.at(2));
        assert_eq!(progression.at(u32::MAX), progression.at(u32::MAX % 3));
        assert_eq!(serde_json::from_str::<Progression>(&serde_json::to_string(&progression).unwrap()).unwrap(), progression);
    }

    #[test]
    fn progressions_say_which_bar_is_wrong() {
        let error = |text: &str| text.parse::<Progression>().unwrap_err();
        assert_eq!(error("C | | G"), ProgressionError::Empty { bar: 2 });
        assert_eq!(error("|"), ProgressionError::Empty { bar: 1 });
        assert_eq!(error("% | C"), ProgressionError::NothingToRepeat);
        assert_eq!(error("C | C Am F"), ProgressionError::TooMany { bar: 2, n: 3 });
        assert!(matches!(error("C | lorem"), ProgressionError::Chord { bar: 2, .. }));
        assert_eq!(error(&"C|".repeat(65)), ProgressionError::TooLong { n: 65 });
    }
}
