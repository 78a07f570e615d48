//! Metrical accents: how much louder or softer a note is by its place in the bar, and, in drums, by what is struck. Pure; runs on
//! the audio thread.

use crate::music::{note::Pitch, time::TimeSignature};

/// What strikes at a place of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// The first beat.
    First,
    /// The beat in the middle of a bar that has one.
    Middle,
    /// Another beat.
    Beat,
    /// Between two beats.
    OffBeat,
    /// The sixteenths beside.
    Sixteenth,
}

impl Weight {
    fn of(meter: TimeSignature, step: i64) -> Self {
        let has_middle = meter.numerator().is_multiple_of(2);
        match step {
            0 => Self::First,
            step if has_middle && 2 * step == meter.steps_per_bar() => Self::Middle,
            step if step % 4 == 0 => Self::Beat,
            step if step % 2 == 0 => Self::OffBeat,
            _ => Self::Sixteenth,
        }
    }
}

/// Change of velocity by full accents, pitched tracks.
#[must_use]
pub fn accent(meter: TimeSignature, step: i64) -> i32 {
    match Weight::of(meter, step) {
        Weight::First => 16,
        Weight::Middle => 12,
        Weight::Beat => 8,
        Weight::OffBeat => 0,
        Weight::Sixteenth => -12,
    }
}

/// Change of velocity by full accents, drums by their General MIDI numbers: kick and snare carry the beat, what keeps time alternates,
/// the rest goes as pitched tracks do.
///
/// # Source
/// General MIDI System Level 1, percussion key map.
#[must_use]
pub fn drum_accent(meter: TimeSignature, step: i64, drum: Pitch) -> i32 {
    let by_weight = |first, middle, beat, off_beat, sixteenth| match Weight::of(meter, step) {
        Weight::First => first,
        Weight::Middle => middle,
        Weight::Beat => beat,
        Weight::OffBeat => off_beat,
        Weight::Sixteenth => sixteenth,
    };
    match drum.number() {
        // Kicks.
        35 | 36 => by_weight(20, 16, 12, 4, -8),
        // Side stick, snares, clap: off the grid of eighths they are ghost notes.
        37..=40 => by_weight(16, 16, 18, 2, -24),
        // Hats, rides, tambourine, cabasa, maracas, shaker.
        42 | 44 | 46 | 51 | 53 | 54 | 59 | 69 | 70 | 82 => by_weight(6, 4, 2, -12, -22),
        _ => accent(meter, step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(meter: &str, accent: impl Fn(TimeSignature, i64) -> i32) -> Vec<i32> {
        let meter: TimeSignature = meter.parse().unwrap();
        (0..meter.steps_per_bar()).map(|step| accent(meter, step)).collect()
    }

    #[test]
    fn beats_weigh_as_musicians_count_them() {
        assert_eq!(bar("4/4", accent), [16, -12, 0, -12, 8, -12, 0, -12, 12, -12, 0, -12, 8, -12, 0, -12]);
        assert_eq!(bar("3/4", accent), [16, -12, 0, -12, 8, -12, 0, -12, 8, -12, 0, -12]);
        assert_eq!(bar("6/8", accent)[6], 12);
        assert_eq!(bar("7/8", accent).iter().filter(|a| **a == 12).count(), 0);
        assert_eq!(bar("2/4", accent)[4], 12);
    }

    #[test]
    fn drums_weigh_by_what_is_struck() {
        let at = |drum, step| drum_accent(TimeSignature::default(), step, Pitch::new(drum).unwrap());
        // The backbeat is the snare's, and both are louder than the hat that keeps time.
        assert!(at(38, 4) >= at(38, 0) && at(38, 4) > at(42, 4) && at(36, 0) > at(42, 0));
        assert!(at(42, 4) > at(42, 6) && at(42, 6) > at(42, 7));
        assert!(at(38, 7) < at(38, 6));
        assert_eq!(at(45, 8), accent(TimeSignature::default(), 8));
    }
}
