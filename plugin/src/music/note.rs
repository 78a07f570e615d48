//! Notes and what names them. Pure; any thread.

use super::time::Ticks;
use serde::{Deserialize, Serialize};

/// A MIDI note number, 0 to 127; 60 is middle C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Pitch(u8);

impl Default for Pitch {
    /// Middle C.
    fn default() -> Self {
        Self(60)
    }
}

impl Pitch {
    /// The pitch, or `None` outside 0 to 127.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| *n < 128).map(Self)
    }

    /// The MIDI note number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its pitch class.
    #[must_use]
    pub fn class(self) -> PitchClass {
        PitchClass(self.0 % 12)
    }

    /// This pitch moved by `semitones`, by octaves back into 0 to 127 if it left it.
    #[must_use]
    pub fn transposed(self, semitones: i32) -> Self {
        let mut number = i32::from(self.0) + semitones.clamp(-127, 127);
        while number < 0 {
            number += 12;
        }
        while number > 127 {
            number -= 12;
        }
        Self::new(number).unwrap_or(self)
    }
}

/// A pitch class, 0 (C) to 11 (B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct PitchClass(u8);

impl PitchClass {
    /// The class of any integer, modulo 12.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "0 to 11 after rem_euclid")]
    pub fn of(number: i32) -> Self {
        Self(number.rem_euclid(12) as u8)
    }

    /// 0 (C) to 11 (B).
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// A MIDI channel, 0 to 15 inside the program; people see 1 to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Channel(u8);

impl Channel {
    /// The channel with index 0 to 15, or `None`.
    #[must_use]
    pub fn new(index: u8) -> Option<Self> {
        (index < 16).then_some(Self(index))
    }

    /// 0 to 15.
    #[must_use]
    pub fn index(self) -> u8 {
        self.0
    }
}

/// A MIDI velocity of a note-on, 1 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Velocity(u8);

impl Velocity {
    /// The nearest velocity within 1 to 127.
    #[must_use]
    #[expect(clippy::cast_sign_loss, reason = "clamped to 1..=127 first")]
    pub fn clamped(value: i32) -> Self {
        Self(value.clamp(1, 127) as u8)
    }

    /// 1 to 127.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What is read from JSON passes the same checks as everything else: a pitch of 200 would overflow the tables of held notes.
macro_rules! checked_from_u8 {
    ($($name:ident: $check:expr, $message:literal;)*) => {$(
        impl TryFrom<u8> for $name {
            type Error = &'static str;

            fn try_from(number: u8) -> Result<Self, Self::Error> {
                let check: fn(u8) -> bool = $check;
                if check(number) { Ok(Self(number)) } else { Err($message) }
            }
        }
    )*};
}

checked_from_u8! {
    Pitch: |n| n < 128, "a pitch is 0 to 127";
    PitchClass: |n| n < 12, "a pitch class is 0 to 11";
    Channel: |n| n < 16, "a channel is 0 to 15";
    Velocity: |n| (1..=127).contains(&n), "a velocity is 1 to 127";
}

/// A note at its place in the song: what the command line writes and the editor draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Note {
    /// Start.
    pub onset: Ticks,
    /// Length, at least one tick.
    pub duration: Ticks,
    /// Channel.
    pub channel: Channel,
    /// Pitch.
    pub pitch: Pitch,
    /// Velocity.
    pub velocity: Velocity,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A note on the first channel, of middling velocity; onset and duration in ticks.
    pub(crate) fn note(onset: i64, duration: i64, pitch: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(80),
        }
    }

    #[test]
    fn pitches_stay_in_midi_range() {
        assert_eq!(Pitch::new(-1), None);
        assert_eq!(Pitch::new(128), None);
        assert_eq!(Pitch::new(127).unwrap().class().number(), 7);
        for number in 0..128 {
            for semitones in [-200, -37, -12, -1, 0, 5, 36, 127, i32::MAX] {
                let pitch = Pitch::new(number).unwrap();
                let moved = pitch.transposed(semitones);
                let asked = number + semitones.clamp(-127, 127);
                assert_eq!(i32::from(moved.class().number()), asked.rem_euclid(12), "{number} {semitones}");
                if (0..128).contains(&asked) {
                    assert_eq!(i32::from(moved.number()), asked);
                }
            }
        }
    }

    #[test]
    fn classes_wrap_and_velocities_clamp() {
        assert_eq!(PitchClass::of(-1).number(), 11);
        assert_eq!(PitchClass::of(29).number(), 5);
        assert_eq!(Velocity::clamped(0).number(), 1);
        assert_eq!(Velocity::clamped(300).number(), 127);
        assert_eq!(Channel::new(16), None);
        assert_eq!(Channel::new(9).unwrap().index(), 9);
    }

    #[test]
    fn numbers_out_of_range_are_refused_in_json() {
        assert!(serde_json::from_str::<Pitch>("128").is_err());
        assert!(serde_json::from_str::<PitchClass>("12").is_err());
        assert!(serde_json::from_str::<Channel>("16").is_err());
        assert!(serde_json::from_str::<Velocity>("0").is_err());
        let pitch = Pitch::new(61).unwrap();
        assert_eq!(serde_json::from_str::<Pitch>(&serde_json::to_string(&pitch).unwrap()).unwrap(), pitch);
    }
}
