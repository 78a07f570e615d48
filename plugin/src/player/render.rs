//! A pattern as a list of notes: what the command line writes and the editor draws. The player's own sequencer, so the same notes.
//! Any thread but the audio thread.

use super::{
    knobs::Knobs,
    sequencer::{Event, EventKind, Part, Sequencer},
};
use crate::{
    generate::Pattern,
    music::{
        note::{Channel, Note, Pitch, Velocity},
        time::{Ticks, TimeSignature},
    },
};
use std::{collections::HashMap, ops::Range};

/// The notes of the first `n_bars` bars of the song, by onset, channel and pitch. What still sounds at the end is closed there.
#[must_use]
pub fn render(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, n_bars: u32) -> Vec<Note> {
    render_parts(pattern, knobs, meter, 0..n_bars).into_iter().map(|(_, note)| note).collect()
}

/// [`render`] of some bars of the song, with what plays each note. As after a jump, no note is taken up in its middle.
#[must_use]
pub fn render_parts(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, bars: Range<u32>) -> Vec<(Part, Note)> {
    let mut notes = Vec::new();
    let mut sounding: HashMap<(Channel, Pitch), (Ticks, Velocity)> = HashMap::new();
    let mut take = |event: Event| match event.kind {
        EventKind::On(velocity) => {
            sounding.insert((event.channel, event.pitch), (event.at, velocity));
        }
        EventKind::Off => {
            if let Some((onset, velocity)) = sounding.remove(&(event.channel, event.pitch)) {
                let duration = Ticks((event.at.0 - onset.0).max(1));
                notes.push((event.part, Note { onset, duration, channel: event.channel, pitch: event.pitch, velocity }));
            }
        }
    };
    let mut sequencer = Sequencer::new();
    let bar_ticks = meter.bar().0;
    for bar in i64::from(bars.start)..i64::from(bars.end) {
        sequencer.run(Some(pattern), knobs, meter, Ticks(bar * bar_ticks), Ticks((bar + 1) * bar_ticks), &mut take);
    }
    sequencer.release(Ticks(i64::from(bars.end) * bar_ticks), &mut take);
    notes.sort_by_key(|(_, note)| (note.onset, note.channel, note.pitch));
    notes
}
