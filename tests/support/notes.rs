//! Notes as a host receives them, and the ledger that every note-on must balance in.

use std::collections::BTreeMap;

/// Starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Note-off.
    Off,
    /// Note-on, velocity 1 to 127.
    On(u8),
}

/// A note event that left the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteEvent {
    /// Samples from the host's first block.
    pub at: u64,
    /// 0 to 15.
    pub channel: u8,
    /// 0 to 127.
    pub pitch: u8,
    /// Start or end.
    pub kind: Kind,
}

/// A whole note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note {
    /// Onset, in the unit of whoever made it.
    pub onset: u64,
    /// End, same unit.
    pub end: u64,
    /// 0 to 15.
    pub channel: u8,
    /// 0 to 127.
    pub pitch: u8,
    /// 1 to 127.
    pub velocity: u8,
}

/// Follows note events and notices every imbalance.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sounding: BTreeMap<(u8, u8), (u64, u8)>,
    latest: u64,
    /// Whole notes so far, by end.
    pub notes: Vec<Note>,
}

impl Ledger {
    /// Enters the events of a block.
    ///
    /// # Errors
    /// An event earlier than the one before; a note-on for a pitch that sounds already on that channel; a note-off for one that
    /// does not.
    pub fn enter(&mut self, events: &[NoteEvent]) -> Result<(), String> {
        for event in events {
            let key = (event.channel, event.pitch);
            if event.at < self.latest {
                return Err(format!("not sorted by time: {event:?} after sample {}", self.latest));
            }
            self.latest = event.at;
            match event.kind {
                Kind::On(velocity) => {
                    if let Some((since, _)) = self.sounding.insert(key, (event.at, velocity)) {
                        return Err(format!("{event:?} while the same pitch sounds since sample {since}"));
                    }
                }
                Kind::Off => {
                    let Some((onset, velocity)) = self.sounding.remove(&key) else {
                        return Err(format!("{event:?} ends a note that does not sound"));
                    };
                    self.notes.push(Note { onset, end: event.at, channel: event.channel, pitch: event.pitch, velocity });
                }
            }
        }
        Ok(())
    }

    /// How many notes sound.
    pub fn n_sounding(&self) -> usize {
        self.sounding.len()
    }
}

/// The whole notes of these events, by onset.
///
/// # Panics
/// The events do not balance, or a note has no end.
pub fn notes(events: &[NoteEvent]) -> Vec<Note> {
    let mut ledger = Ledger::default();
    ledger.enter(events).unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(ledger.n_sounding(), 0, "notes left sounding");
    let mut notes = ledger.notes;
    notes.sort_unstable();
    notes
}
