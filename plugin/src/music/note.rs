//! Notes and what names them. Pure; any thread.

use super::time::Ticks;
use serde::{Deserialize, Serialize};

/// A MIDI note number, 0 to 127; 60 is middle C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
pub struct PitchClass(u8);

impl PitchClass {
    /// The class of any integer, modulo 12.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 11 after rem_euclid")]
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
pub struct Velocity(u8);

impl Velocity {
    /// The nearest velocity within 1 to 127.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=127 first")]
    pub fn clamped(value: i32) -> Self {
        Self(value.clamp(1, 127) as u8)
    }

    /// 1 to 127.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
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
