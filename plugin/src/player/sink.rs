//! Where note events go, and the table of what sounds there. Audio thread.

use crate::music::note::{Channel, Pitch, Velocity};

pub use super::sequencer::EventKind;

/// A note begins or ends, for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoteEvent {
    /// Channel.
    pub channel: Channel,
    /// Pitch.
    pub pitch: Pitch,
    /// Begin or end.
    pub kind: EventKind,
}

/// Takes note events in order of time.
pub trait EventSink {
    /// Sends an event at a sample of the current block; `false` if the host refuses it.
    fn send(&mut self, offset_samples: u32, event: NoteEvent) -> bool;
}

/// Whose note it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The sequencer's.
    Generated,
    /// Passed through from the input.
    Thru,
}

/// A set of notes: per channel a bit per pitch.
type Notes = [u128; 16];

/// Everything that sounds at the host, and the ends that it still has to get.
///
/// Begins go out only through here, so every begin gets exactly one end, whoever asks for it first, and equal notes of two owners
/// never overlap: the older one ends.
///
/// # Realtime safety
/// Audio thread: yes; [`release`](Self::release) is bounded by 2,048 notes, everything else by one.
#[derive(Debug, Default)]
pub struct Held {
    generated: Notes,
    thru: Notes,
    owed: Notes,
    dropped: u64,
}

impl Held {
    fn notes(&mut self, owner: Owner) -> &mut Notes {
        match owner {
            Owner::Generated => &mut self.generated,
            Owner::Thru => &mut self.thru,
        }
    }

    /// Whether nothing sounds and nothing is owed.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        [&self.generated, &self.thru, &self.owed].iter().all(|notes| notes.iter().all(|set| *set == 0))
    }

    /// Events that the host did not take, since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Begins a note, after the end of an equal one. What the host refuses does not sound.
    pub fn on(
        &mut self,
        owner: Owner,
        offset: u32,
        (channel, pitch): (Channel, Pitch),
        velocity: Velocity,
        sink: &mut dyn EventSink,
    ) {
        self.off(Owner::Generated, offset, (channel, pitch), sink);
        self.off(Owner::Thru, offset, (channel, pitch), sink);
        if contains(&self.owed, channel, pitch) && !self.settle(offset, channel, pitch, sink) {
            self.dropped += 1;
            return;
        }
        if sink.send(offset, NoteEvent { channel, pitch, kind: EventKind::On(velocity) }) {
            insert(self.notes(owner), channel, pitch);
        } else {
            self.dropped += 1;
        }
    }

    /// Ends a note if it is the owner's and sounds. An end that the host refuses is owed.
    pub fn off(&mut self, owner: Owner, offset: u32, (channel, pitch): (Channel, Pitch), sink: &mut dyn EventSink) {
        if remove(self.notes(owner), channel, pitch) {
            insert(&mut self.owed, channel, pitch);
            self.settle(offset, channel, pitch, sink);
        }
    }

    /// Ends all notes of an owner.
    pub fn release(&mut self, owner: Owner, offset: u32, sink: &mut dyn EventSink) {
        let notes = *self.notes(owner);
        for note in each(&notes) {
            self.off(owner, offset, note, sink);
        }
    }

    /// Offers the ends that the host refused, first thing in every block until it has taken them. Stops at the first that it refuses
    /// again.
    pub fn offer_owed(&mut self, sink: &mut dyn EventSink) {
        let owed = self.owed;
        for (channel, pitch) in each(&owed) {
            if !self.settle(0, channel, pitch, sink) {
                return;
            }
        }
    }

    fn settle(&mut self, offset: u32, channel: Channel, pitch: Pitch, sink: &mut dyn EventSink) -> bool {
        let sent = sink.send(offset, NoteEvent { channel, pitch, kind: EventKind::Off });
        if sent {
            remove(&mut self.owed, channel, pitch);
        }
        sent
    }
}

fn bit(pitch: Pitch) -> u128 {
    1 << pitch.number()
}

fn contains(notes: &Notes, channel: Channel, pitch: Pitch) -> bool {
    notes.get(usize::from(channel.index())).is_some_and(|set| set & bit(pitch) != 0)
}

fn insert(notes: &mut Notes, channel: Channel, pitch: Pitch) {
    if let Some(set) = notes.get_mut(usize::from(channel.index())) {
        *set |= bit(pitch);
    }
}

/// Whether it was there.
fn remove(notes: &mut Notes, channel: Channel, pitch: Pitch) -> bool {
    let was_there = contains(notes, channel, pitch);
    if let Some(set) = notes.get_mut(usize::from(channel.index())) {
        *set &= !bit(pitch);
    }
    was_there
}

/// The notes of a set, by channel and pitch.
fn each(notes: &Notes) -> impl Iterator<Item = (Channel, Pitch)> {
    (0_u8..).zip(notes).flat_map(|(index, set)| {
        let mut set = *set;
        std::iter::from_fn(move || {
            let pitch = Pitch::new(i32::try_from(set.trailing_zeros()).ok()?)?;
            set &= set - 1;
            Some((Channel::new(index)?, pitch))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with room for so many events.
    struct Host {
        room: usize,
        got: Vec<(u32, u8, bool)>,
    }

    impl EventSink for Host {
        fn send(&mut self, offset_samples: u32, event: NoteEvent) -> bool {
            let taken = self.room > 0;
            if taken {
                self.room -= 1;
                self.got.push((offset_samples, event.pitch.number(), event.kind != EventKind::Off));
            }
            taken
        }
    }

    fn note(number: i32) -> (Channel, Pitch) {
        (Channel::new(5).unwrap(), Pitch::new(number).unwrap())
    }

    #[test]
    fn a_refused_end_is_offered_first_thing_in_the_next_block() {
        let (mut held, velocity) = (Held::default(), Velocity::clamped(77));
        let mut host = Host { room: 2, got: vec![] };
        held.on(Owner::Generated, 3, note(61), velocity, &mut host);
        held.on(Owner::Generated, 4, note(68), velocity, &mut host);
        held.on(Owner::Generated, 5, note(70), velocity, &mut host);
        held.off(Owner::Generated, 9, note(61), &mut host);
        held.off(Owner::Generated, 9, note(70), &mut host);
        assert_eq!(held.take_dropped(), 1, "the begin of 70");
        host.room = 9;
        held.offer_owed(&mut host);
        held.release(Owner::Generated, 2, &mut host);
        assert_eq!(host.got, [(3, 61, true), (4, 68, true), (0, 61, false), (2, 68, false)]);
        assert!(held.is_silent());
    }

    #[test]
    fn no_begin_overtakes_an_owed_end() {
        let (mut held, velocity) = (Held::default(), Velocity::clamped(77));
        let mut host = Host { room: 1, got: vec![] };
        held.on(Owner::Generated, 0, note(61), velocity, &mut host);
        held.off(Owner::Generated, 1, note(61), &mut host);
        host.room = 9;
        held.on(Owner::Generated, 2, note(61), velocity, &mut host);
        assert_eq!(host.got, [(0, 61, true), (2, 61, false), (2, 61, true)]);
    }

    #[test]
    fn however_late_a_host_takes_an_end_it_gets_it() {
        let mut held = Held::default();
        let mut host = Host { room: 2, got: vec![] };
        held.on(Owner::Thru, 0, note(61), Velocity::clamped(1), &mut host);
        held.on(Owner::Generated, 0, note(68), Velocity::clamped(1), &mut host);
        held.release(Owner::Thru, 0, &mut host);
        held.release(Owner::Generated, 0, &mut host);
        // With a loop of a few samples a host that cuts its blocks there asks this often within a second.
        for _ in 0..100_000 {
            held.offer_owed(&mut host);
        }
        for room in [1, 0, 1] {
            host.room = room;
            held.offer_owed(&mut host);
        }
        assert_eq!(host.got[2..], [(0, 61, false), (0, 68, false)]);
        assert!(held.is_silent());
    }

    #[test]
    fn equal_notes_of_two_owners_never_overlap() {
        let (mut held, velocity) = (Held::default(), Velocity::clamped(77));
        let mut host = Host { room: 99, got: vec![] };
        held.on(Owner::Thru, 0, note(61), velocity, &mut host);
        held.on(Owner::Generated, 4, note(61), velocity, &mut host);
        held.off(Owner::Thru, 6, note(61), &mut host);
        held.off(Owner::Generated, 8, note(61), &mut host);
        held.off(Owner::Generated, 8, note(61), &mut host);
        assert_eq!(host.got, [(0, 61, true), (4, 61, false), (4, 61, true), (8, 61, false)]);
    }
}
