//! Keys and scales, and the snap that keeps melodies in them. Pure; any thread.

use super::note::{Pitch, PitchClass};
use std::{fmt, str::FromStr};

/// A scale, by its pitch classes above the tonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Scale {
    Major,
    Minor,
    HarmonicMinor,
    MelodicMinor,
    Dorian,
    Phrygian,
    Lydian,
    Mixolydian,
    Locrian,
    MajorPentatonic,
    MinorPentatonic,
    Blues,
}

impl Scale {
    /// All of them, in the order hosts show.
    pub const ALL: [Self; 12] = [
        Self::Major,
        Self::Minor,
        Self::HarmonicMinor,
        Self::MelodicMinor,
        Self::Dorian,
        Self::Phrygian,
        Self::Lydian,
        Self::Mixolydian,
        Self::Locrian,
        Self::MajorPentatonic,
        Self::MinorPentatonic,
        Self::Blues,
    ];

    /// Name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::HarmonicMinor => "harmonic minor",
            Self::MelodicMinor => "melodic minor",
            Self::Dorian => "dorian",
            Self::Phrygian => "phrygian",
            Self::Lydian => "lydian",
            Self::Mixolydian => "mixolydian",
            Self::Locrian => "locrian",
            Self::MajorPentatonic => "major pentatonic",
            Self::MinorPentatonic => "minor pentatonic",
            Self::Blues => "blues",
        }
    }

    /// Pitch classes above the tonic as a bit set.
    #[must_use]
    pub fn classes(self) -> u16 {
        let steps: &[u8] = match self {
            Self::Major => &[0, 2, 4, 5, 7, 9, 11],
            Self::Minor => &[0, 2, 3, 5, 7, 8, 10],
            Self::HarmonicMinor => &[0, 2, 3, 5, 7, 8, 11],
            Self::MelodicMinor => &[0, 2, 3, 5, 7, 9, 11],
            Self::Dorian => &[0, 2, 3, 5, 7, 9, 10],
            Self::Phrygian => &[0, 1, 3, 5, 7, 8, 10],
            Self::Lydian => &[0, 2, 4, 6, 7, 9, 11],
            Self::Mixolydian => &[0, 2, 4, 5, 7, 9, 10],
            Self::Locrian => &[0, 1, 3, 5, 6, 8, 10],
            Self::MajorPentatonic => &[0, 2, 4, 7, 9],
            Self::MinorPentatonic => &[0, 3, 5, 7, 10],
            Self::Blues => &[0, 3, 5, 6, 7, 10],
        };
        steps.iter().fold(0, |set, s| set | 1 << s)
    }
}

/// A tonic with a scale, such as `A minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Tonic.
    pub tonic: PitchClass,
    /// Scale.
    pub scale: Scale,
}

impl Key {
    /// Whether a pitch belongs to the key.
    #[must_use]
    pub fn contains(self, pitch: Pitch) -> bool {
        let above = (12 + pitch.number() % 12 - self.tonic.number()) % 12;
        self.scale.classes() & (1 << above) != 0
    }

    /// The highest pitch of the key that is not above `pitch` (the lowest of the key where there is none).
    ///
    /// Rounding always downward is monotone: of two pitches the left one never ends up above the right one. Rounding to the nearest
    /// would be monotone too, but splits ties differently for different scales and moves leading notes up.
    ///
    /// # Realtime safety
    /// Audio thread: yes, at most 12 steps.
    #[must_use]
    pub fn snap(self, pitch: Pitch) -> Pitch {
        let number = i32::from(pitch.number());
        (0..12)
            .filter_map(|down| Pitch::new(number - down))
            .find(|p| self.contains(*p))
            .or_else(|| (0..12).filter_map(Pitch::new).find(|p| self.contains(*p)))
            .unwrap_or(pitch)
    }
}

/// A key name that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key; write a note name and a scale, such as `A minor`, `Bb major` or `D dorian`")]
pub struct KeyError(String);

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = || KeyError(text.into());
        let (tonic, rest) = PitchClass::parse_prefix(text.trim()).ok_or_else(error)?;
        let name = rest.trim();
        // `CM` is major, `Cm` minor; in words capitals do not matter.
        if name == "M" {
            return Ok(Self { tonic, scale: Scale::Major });
        }
        let name = name.to_lowercase().replace(['-', '_'], " ");
        let scale = match name.as_str() {
            "" | "maj" | "ionian" => Scale::Major,
            "m" | "min" | "aeolian" | "natural minor" => Scale::Minor,
            name => *Scale::ALL.iter().find(|s| s.name() == name).ok_or_else(error)?,
        };
        Ok(Self { tonic, scale })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.tonic.name(), self.scale.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = Key> {
        (0..12).flat_map(|n| Scale::ALL.map(|scale| Key { tonic: PitchClass::of(n), scale }))
    }

    #[test]
    fn snapping_keeps_order_and_stays_in_the_key() {
        for key in keys() {
            let snapped: Vec<Pitch> = (0..128).map(|n| key.snap(Pitch::new(n).unwrap())).collect();
            assert!(snapped.is_sorted(), "{key}");
            for (number, pitch) in snapped.iter().enumerate() {
                assert!(key.contains(*pitch), "{key}: {number} became {}", pitch.number());
                assert_eq!(key.snap(*pitch), *pitch, "{key}: snapping twice is snapping once");
                // The widest step of any scale here is three semitones; only the lowest pitches can be moved up.
                let moved = i32::from(pitch.number()) - i32::try_from(number).unwrap();
                assert!((-3..=0).contains(&moved) || number < 3, "{key}: {number} moved by {moved}");
            }
        }
    }

    #[test]
    fn a_pitch_of_the_key_is_left_alone() {
        let key: Key = "Eb dorian".parse().unwrap();
        let classes: Vec<u8> =
            (60..72).filter(|n| key.contains(Pitch::new(*n).unwrap())).map(|n| u8::try_from(n % 12).unwrap()).collect();
        assert_eq!(classes, [0, 1, 3, 5, 6, 8, 10], "Eb F Gb Ab Bb C Db");
        assert_eq!(key.snap(Pitch::new(64).unwrap()).number(), 63, "E becomes Eb");
    }

    #[test]
    fn key_names_are_read_and_written() {
        for key in keys() {
            assert_eq!(key.to_string().parse::<Key>(), Ok(key));
        }
        let key = |text: &str| text.parse::<Key>().unwrap().to_string();
        assert_eq!(key("am"), "A minor");
        assert_eq!(key("bb"), "Bb major");
        assert_eq!(key(" F# Harmonic-Minor "), "F# harmonic minor");
        assert_eq!(key("CM"), "C major", "a capital M is not minor");
        assert_eq!(key("Cm"), "C minor");
        assert_eq!(key("Db aeolian"), "C# minor");
        for text in ["", "H major", "A minorish", "minor", "A minor minor", "C####### major", "7"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
