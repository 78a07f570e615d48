//! What the audio thread and the worker share: three bounded queues and a handful of atomics. Nothing here locks, waits or frees.
//!
//! One [`Port`] belongs to one instance of the plugin, in an `Arc` that the instance, its player and the engine hold.

use super::capture::Captured;
use crate::{
    generate::Pattern,
    music::{chord::Chord, time::Ticks},
};
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Patterns on their way to the audio thread, at most.
pub const MAX_INCOMING: usize = 8;
/// Patterns on their way back, at most.
pub const MAX_RETIRED: usize = 16;
/// Captured events on their way to the worker, at most: some seconds of a storm.
pub const MAX_CAPTURED: usize = 1024;

/// When a pattern with another key replaces the one that plays. While stopped every pattern is taken over at once, and so is one
/// with the key that plays already (the next window of an endless pattern).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takeover {
    /// At the next bar line: seeds, takes, progressions, models.
    #[default]
    BarLine,
    /// At the next sixteenth: a chord played live.
    NextStep,
}

/// A pattern for the player.
#[derive(Debug)]
pub struct Delivery {
    /// The pattern.
    pub pattern: Pattern,
    /// When it replaces the one that plays.
    pub takeover: Takeover,
}

/// Where the player is, as of its last block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Playhead {
    /// Song position at the end of the block.
    pub position: Ticks,
    /// Bar of the song that the position lies in, by the current meter; negative before the start.
    pub bar: i64,
    /// The transport rolls.
    pub playing: bool,
    /// Key of the pattern in use; 0 before the first.
    pub key: u64,
    /// The host renders faster than real time, or says so.
    pub offline: bool,
}

/// Queues and atomics between one player (audio thread) and the worker.
///
/// # Realtime safety
/// Audio thread: every method is lock-free, bounded, and neither allocates nor frees.
#[derive(Debug)]
pub struct Port {
    /// Worker to player. A full queue means that the player does not run: the worker keeps its pattern and tries again.
    pub incoming: ArrayQueue<Box<Delivery>>,
    /// Player to worker, to be dropped there.
    pub retired: ArrayQueue<Box<Delivery>>,
    /// Player to worker: what is played at the input.
    pub captured: ArrayQueue<Captured>,
    position: AtomicI64,
    bar: AtomicI64,
    playing: AtomicBool,
    key: AtomicU64,
    offline: AtomicBool,
    heard: AtomicU32,
    morph: AtomicU32,
    late: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

impl Port {
    /// An empty port.
    #[must_use]
    pub fn new() -> Self {
        Self {
            incoming: ArrayQueue::new(MAX_INCOMING),
            retired: ArrayQueue::new(MAX_RETIRED),
            captured: ArrayQueue::new(MAX_CAPTURED),
            position: AtomicI64::new(0),
            bar: AtomicI64::new(0),
            playing: AtomicBool::new(false),
            key: AtomicU64::new(0),
            offline: AtomicBool::new(false),
            heard: AtomicU32::new(0),
            morph: AtomicU32::new(0),
            late: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Where the player is. The fields are read one by one: at a jump they may belong to two neighbouring blocks.
    #[must_use]
    pub fn playhead(&self) -> Playhead {
        Playhead {
            position: Ticks(self.position.load(Ordering::Relaxed)),
            bar: self.bar.load(Ordering::Relaxed),
            playing: self.playing.load(Ordering::Relaxed),
            key: self.key.load(Ordering::Relaxed),
            offline: self.offline.load(Ordering::Relaxed),
        }
    }

    /// Publishes where the player is. Called by the player, once per block.
    pub fn set_playhead(&self, playhead: Playhead) {
        self.position.store(playhead.position.0, Ordering::Relaxed);
        self.bar.store(playhead.bar, Ordering::Relaxed);
        self.playing.store(playhead.playing, Ordering::Relaxed);
        self.key.store(playhead.key, Ordering::Relaxed);
        self.offline.store(playhead.offline, Ordering::Relaxed);
    }

    /// The chord last heard at the MIDI input; it stays after its keys are released. `None` before the first.
    #[must_use]
    pub fn heard(&self) -> Option<Chord> {
        Chord::from_code(self.heard.load(Ordering::Relaxed))
    }

    /// Publishes the chord heard.
    pub fn set_heard(&self, chord: Option<Chord>) {
        self.heard.store(chord.map_or(0, |c| c.code()), Ordering::Relaxed);
    }

    /// The morph that counts while the transport rolls, in steps; `None` while it stands and the parameter counts as it is.
    #[must_use]
    pub fn morph(&self) -> Option<u32> {
        self.playing.load(Ordering::Relaxed).then(|| self.morph.load(Ordering::Relaxed))
    }

    /// Publishes the morph that counts.
    pub fn set_morph(&self, steps: u32) {
        self.morph.store(steps, Ordering::Relaxed);
    }

    /// Steps that sounded nothing because their bar was not there in time, since the port was made.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Note events that the host refused or that found a table full, since the port was made.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds to the counts of [`late`](Self::late) and [`dropped`](Self::dropped).
    pub fn count(&self, late: u64, dropped: u64) {
        if late > 0 {
            self.late.fetch_add(late, Ordering::Relaxed);
        }
        if dropped > 0 {
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heard_chord_survives_the_atomic() {
        let port = Port::new();
        assert_eq!(port.heard(), None);
        for name in ["C", "F#m7b5", "Am7/G", "B13/Bb", "Dbadd9"] {
            let chord: Chord = name.parse().unwrap();
            port.set_heard(Some(chord));
            assert_eq!(port.heard(), Some(chord), "{name}");
        }
        port.set_heard(None);
        assert_eq!(port.heard(), None);
    }
}
