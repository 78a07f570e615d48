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
/// as in the training data's reduction; diminished as minor, augmented as major, by their thirds.
const QUALITIES: &[QualityInfo] = &[
    quality(&["", "maj", "M", "major"], &[0, 4, 7], false),
    quality(&["m", "min", "-", "minor"], &[0, 3, 7], true),
    quality(&["7", "dom7"], &[0, 4, 7, 10], false),
    quality(&["maj7", "M7", "Δ", "Δ7", "ma7"], &[0, 4, 7, 11], false),
    quality(&["m7", "min7", "-7"], &[0, 3, 7, 10], true),
    quality(&["mM7", "mmaj7", "minmaj7", "m(maj7)"], &[0, 3, 7, 11], true),
    quality(&["dim", "°", "o"], &[0, 3, 6], true),
    quality(&["dim7", "°7", "o7"], &[0, 3, 6, 9], true),
    quality(&["m7b5", "ø", "ø7", "hdim7", "min7b5"], &[0, 3, 6, 10], true),
    quality(&["aug", "+"], &[0, 4, 8], false),
    quality(&["7#5", "aug7", "+7"], &[0, 4, 8, 10], false),
    quality(&["sus4", "sus"], &[0, 5, 7], false),
    quality(&["sus2"], &[0, 2, 7], false),
    quality(&["7sus4", "7sus"], &[0, 5, 7, 10], false),
    quality(&["6", "maj6"], &[0, 4, 7, 9], false),
    quality(&["m6", "min6"], &[0, 3, 7, 9], true),
    quality(&["9"], &[0, 2, 4, 7, 10], false),
    quality(&["maj9", "M9"], &[0, 2, 4, 7, 11], false),
    quality(&["m9", "min9"], &[0, 2, 3, 7, 10], true),
    quality(&["add9", "add2"], &[0, 2, 4, 7], false),
    quality(&["madd9", "madd2"], &[0, 2, 3, 7], true),
    quality(&["11"], &[0, 2, 4, 5, 7, 10], false),
    quality(&["m11", "min11"], &[0, 2, 3, 5, 7, 10], true),
    quality(&["13"], &[0, 2, 4, 7, 9, 10], false),
    quality(&["5"], &[0, 7], false),
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
        while let Some(accidental) = rest.chars().next() {
            class += match accidental {
                '#' | '♯' => 1,
                'b' | '♭' => -1,
                _ => break,
            };
            rest = rest.get(accidental.len_utf8()..).unwrap_or("");
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

impl FromStr for Chord {
    type Err = ChordError;

    fn from_str(name: &str) -> Result<Self, ChordError> {
        let name = name.trim();
        let (root, rest) = PitchClass::parse_prefix(name).ok_or_else(|| ChordError::Root(name.into()))?;
        let (kind, bass) = match rest.split_once('/') {
            Some((kind, bass)) => match PitchClass::parse_prefix(bass) {
                Some((class, "")) => (kind, class),
                _ => return Err(ChordError::Bass { name: name.into(), bass: bass.into() }),
            },
            None => (rest, root),
        };
        let index = QUALITIES
            .iter()
            .position(|q| q.names.contains(&kind))
            .and_then(|i| u8::try_from(i).ok())
            .ok_or_else(|| ChordError::Kind { name: name.into(), kind: kind.into() })?;
        Ok(Self { root, quality: Quality(index), bass })
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
        let text = text.trim();
        // A leading or trailing bar line is how lead sheets are written.
        let text = text.strip_prefix('|').unwrap_or(text);
        let text = text.strip_suffix('|').unwrap_or(text);
        let mut bars: Vec<BarChords> = Vec::new();
        for (idx, bar_text) in text.split(['|', '\n']).enumerate() {
            let bar = idx + 1;
            let parse = |name: &str| match name {
                "N.C." | "NC" | "n.c." | "-" => Ok(None),
                _ => name.parse().map(Some).map_err(|source| ProgressionError::Chord { bar, source }),
            };
            let names: Vec<&str> = bar_text.split_whitespace().collect();
            bars.push(match names.as_slice() {
                [] => return Err(ProgressionError::Empty { bar }),
                ["%"] => *bars.last().ok_or(ProgressionError::Empty { bar })?,
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
