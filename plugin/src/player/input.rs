//! Notes from the host: the chord they form, and those that are passed through. Audio thread.

use super::sink::EventKind;
use crate::music::{
    chord::Chord,
    note::{Channel, Pitch},
};

/// Input notes of one block that can be passed through, at most.
pub const MAX_THRU: usize = 512;
/// Time after which released keys of a chord count, in seconds: a hand that leaves the keys is faster, and its last fingers must not
/// name another chord.
const SETTLE_SECONDS: f32 = 0.1;

/// A note from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoteInput {
    /// Sample within the next block to be processed.
    pub offset_samples: u32,
    /// Channel.
    pub channel: Channel,
    /// Pitch.
    pub pitch: Pitch,
    /// Begin or end.
    pub kind: EventKind,
}

/// The keys held at the input, and the chord they form.
#[derive(Debug, Default)]
pub struct Keys {
    held: [u128; 16],
    /// Samples since a key was released, while that may still change the chord.
    settling: Option<u32>,
    /// The last key pressed formed no known chord.
    unresolved: bool,
}

impl Keys {
    /// Takes note of a key; the chord that is heard now, if it can have changed.
    pub fn input(&mut self, input: NoteInput) -> Option<Chord> {
        let set = self.held.get_mut(usize::from(input.channel.index()))?;
        let bit = 1_u128 << input.pitch.number();
        match input.kind {
            EventKind::On(_) => {
                *set |= bit;
                self.settling = None;
                let chord = self.chord();
                self.unresolved = chord.is_none();
                chord
            }
            EventKind::Off => {
                *set &= !bit;
                self.settling = Some(0);
                // Keys of the chord before were still down when this one was played.
                let chord = self.chord().filter(|_| self.unresolved);
                self.unresolved &= chord.is_none();
                chord
            }
        }
    }

    /// Lets time pass; the chord that is heard when released keys have been up for long enough and three or more are still down.
    pub fn advance(&mut self, n_samples: u32, sample_rate: f32) -> Option<Chord> {
        let since = self.settling?.saturating_add(n_samples);
        self.settling = Some(since);
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^24 samples")]
        if (since as f32) < SETTLE_SECONDS * sample_rate {
            return None;
        }
        self.settling = None;
        if self.held.iter().map(|set| set.count_ones()).sum::<u32>() >= 3 { self.chord() } else { None }
    }

    /// Forgets all keys: the host may not send their ends after a reset.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn chord(&self) -> Option<Chord> {
        Chord::recognise(self.held.iter().fold(0, |all, set| all | set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::note::Velocity;

    fn key(keys: &mut Keys, number: i32, down: bool) -> Option<String> {
        let kind = if down { EventKind::On(Velocity::clamped(90)) } else { EventKind::Off };
        let pitch = Pitch::new(number).unwrap();
        keys.input(NoteInput { offset_samples: 0, channel: Channel::default(), pitch, kind }).map(|c| c.to_string())
    }

    #[test]
    fn a_chord_stays_when_the_hand_leaves_the_keys_one_by_one() {
        let mut keys = Keys::default();
        let pressed: Vec<_> = [60, 64, 67, 71].into_iter().map(|n| key(&mut keys, n, true)).collect();
        assert_eq!(pressed.last().unwrap().as_deref(), Some("Cmaj7"));
        for number in [60, 67, 64, 71] {
            assert_eq!(key(&mut keys, number, false), None);
            assert_eq!(keys.advance(500, 48_000.0), None);
        }
        assert_eq!(keys.advance(48_000, 48_000.0), None);
    }

    #[test]
    fn a_key_released_for_good_changes_the_chord() {
        let mut keys = Keys::default();
        for number in [57, 60, 64, 67] {
            key(&mut keys, number, true);
        }
        assert_eq!(key(&mut keys, 67, false), None);
        assert_eq!(keys.advance(2_400, 48_000.0), None);
        assert_eq!(keys.advance(2_400, 48_000.0).unwrap().to_string(), "Am");
        assert_eq!(keys.advance(48_000, 48_000.0), None);
    }

    #[test]
    fn a_chord_played_into_the_one_before_is_heard_when_that_is_released() {
        let mut keys = Keys::default();
        let script =
            [(60, true), (64, true), (67, true), (61, true), (66, true), (69, true), (60, false), (67, false), (64, false)];
        let mut heard = None;
        for (number, down) in script {
            heard = key(&mut keys, number, down).or(heard);
        }
        heard = keys.advance(48_000, 48_000.0).map(|c| c.to_string()).or(heard);
        // C's last keys go up while F# minor's are down.
        assert_eq!(heard.as_deref(), Some("F#m/C#"));
    }
}
