//! Musical time as newtypes, so that two of them cannot be swapped. Pure; any thread.
//!
//! The song position is counted in [`Ticks`] of 1/480 beat, the unit of the files Barline writes: what a host plays and what a
//! file holds are then the same integers, and no rounding can tell them apart.

use serde::{Deserialize, Serialize};

/// Ticks per beat (quarter note), of the sequencer and of every file written.
pub const TICKS_PER_BEAT: i64 = 480;
/// Steps (sixteenths) per beat.
pub const STEPS_PER_BEAT: i64 = 4;
/// Ticks per step.
pub const TICKS_PER_STEP: i64 = TICKS_PER_BEAT / STEPS_PER_BEAT;

/// A song position or a duration, in 1/480 beat. 0 is the start of the song; a position may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticks(pub i64);

/// A song position or a duration in beats (quarter notes), as host transports count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Beats(pub f64);

impl Ticks {
    /// This position in beats.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ticks, some 600 million years of music")]
    pub fn beats(self) -> Beats {
        Beats(self.0 as f64 / TICKS_PER_BEAT as f64)
    }
}

/// A tempo in beats per minute, finite and within 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Tempo(f64);

impl Tempo {
    /// The tempo, or `None` outside 1 to 1000 bpm (hosts do send 0, NaN and 1e9).
    #[must_use]
    pub fn new(bpm: f64) -> Option<Self> {
        (1.0..=1000.0).contains(&bpm).then_some(Self(bpm))
    }

    /// Beats per minute.
    #[must_use]
    pub fn bpm(self) -> f64 {
        self.0
    }

    /// Samples per beat at `sample_rate` (Hz).
    #[must_use]
    pub fn samples_per_beat(self, sample_rate: f64) -> f64 {
        60.0 / self.0 * sample_rate
    }
}

impl TryFrom<f64> for Tempo {
    type Error = &'static str;

    fn try_from(bpm: f64) -> Result<Self, Self::Error> {
        Self::new(bpm).ok_or("a tempo is 1 to 1000 bpm")
    }
}

impl Default for Tempo {
    fn default() -> Self {
        Self(120.0)
    }
}

/// A time signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(i32, i32)", into = "(i32, i32)")]
pub struct TimeSignature {
    numerator: u8,
    denominator: u8,
}

impl TimeSignature {
    /// The signature, or `None` unless the numerator is within 1 to 64 and the denominator a power of two up to 64.
    #[must_use]
    pub fn new(numerator: i32, denominator: i32) -> Option<Self> {
        let numerator = u8::try_from(numerator).ok().filter(|n| (1..=64).contains(n))?;
        let denominator = u8::try_from(denominator).ok().filter(|d| d.is_power_of_two() && *d <= 64)?;
        Some(Self { numerator, denominator })
    }

    /// Beats counted per bar, of `1 / denominator` each.
    #[must_use]
    pub fn numerator(self) -> u8 {
        self.numerator
    }

    /// The note value that is counted.
    #[must_use]
    pub fn denominator(self) -> u8 {
        self.denominator
    }

    /// Length of a bar. Exact: 4 · 480 divides by every allowed denominator.
    #[must_use]
    pub fn bar(self) -> Ticks {
        Ticks(4 * TICKS_PER_BEAT * i64::from(self.numerator) / i64::from(self.denominator))
    }

    /// Steps that begin within a bar (a 5/32 bar holds 2.5 sixteenths: three begin in it).
    #[must_use]
    pub fn steps_per_bar(self) -> i64 {
        (self.bar().0 + TICKS_PER_STEP - 1) / TICKS_PER_STEP
    }
}

impl TryFrom<(i32, i32)> for TimeSignature {
    type Error = &'static str;

    fn try_from((numerator, denominator): (i32, i32)) -> Result<Self, Self::Error> {
        Self::new(numerator, denominator).ok_or("a time signature is 1 to 64 over a power of two up to 64")
    }
}

impl From<TimeSignature> for (i32, i32) {
    fn from(meter: TimeSignature) -> Self {
        (i32::from(meter.numerator), i32::from(meter.denominator))
    }
}

impl std::str::FromStr for TimeSignature {
    type Err = &'static str;

    /// Reads `3/4`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "write a time signature as `3/4`: 1 to 64 over a power of two up to 64";
        let (numerator, denominator) = text.split_once('/').ok_or(error)?;
        let number = |text: &str| text.trim().parse().map_err(|_| error);
        Self::new(number(numerator)?, number(denominator)?).ok_or(error)
    }
}

impl std::fmt::Display for TimeSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

impl Default for TimeSignature {
    fn default() -> Self {
        Self { numerator: 4, denominator: 4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_tempos_are_no_tempos() {
        for bpm in [0.0, 0.99, -120.0, 1000.1, 1e9, f64::NAN, f64::INFINITY] {
            assert_eq!(Tempo::new(bpm), None, "{bpm}");
        }
        assert_eq!(Tempo::new(1000.0).unwrap().bpm(), 1000.0);
        assert_eq!(Tempo::new(90.0).unwrap().samples_per_beat(48_000.0), 32_000.0);
        assert!(serde_json::from_str::<Tempo>("0.5").is_err());
    }

    #[test]
    fn absurd_meters_are_no_meters() {
        for (numerator, denominator) in [(0, 4), (65, 4), (4, 0), (4, 3), (4, 128), (-3, 4), (3, -4), (i32::MAX, 4)] {
            assert_eq!(TimeSignature::new(numerator, denominator), None, "{numerator}/{denominator}");
        }
        assert!(serde_json::from_str::<TimeSignature>("[4, 3]").is_err());
        for text in ["", "3", "3/", "/4", "3/4/4", "three/four", "0/4"] {
            assert!(text.parse::<TimeSignature>().is_err(), "{text}");
        }
        assert_eq!("7/8".parse::<TimeSignature>().unwrap().to_string(), "7/8");
    }

    #[test]
    fn every_bar_is_a_whole_number_of_ticks() {
        for power in 0..=6_u32 {
            for numerator in 1..=64 {
                let meter = TimeSignature::new(numerator, 1 << power).unwrap();
                assert_eq!(meter.bar().0 * (1 << power), 4 * TICKS_PER_BEAT * i64::from(numerator), "{meter}");
            }
        }
        let bar = |n, d| TimeSignature::new(n, d).unwrap();
        assert_eq!((bar(7, 8).bar().0, bar(7, 8).steps_per_bar()), (1680, 14));
        assert_eq!((bar(5, 32).bar().0, bar(5, 32).steps_per_bar()), (300, 3));
        assert_eq!(TimeSignature::default().steps_per_bar(), 16);
    }

    #[test]
    fn ticks_are_beats() {
        assert_eq!(Ticks(-720).beats(), Beats(-1.5));
    }
}
