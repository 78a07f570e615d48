//! What is played at the input on its way to the worker. Audio thread.

use super::{
    input::NoteInput,
    sink::EventKind,
    transport::{Clock, Segment},
};
use crate::{
    engine::{
        capture::{Captured, CapturedKind},
        port::Port,
    },
    music::time::Ticks,
};

/// Sends input notes with their places in the song, and the bar lines between them.
///
/// # Realtime safety
/// Audio thread: yes. Bounded by the notes and the bar lines of a block; what finds the queue full is counted as dropped.
#[derive(Debug, Default)]
pub struct Tap {
    /// Where the last piece ended; `None` while nothing is captured.
    end: Option<Ticks>,
}

impl Tap {
    /// Captures the notes of one piece of a block, those before `until_offset`, which are taken from `inputs`. Yields what was dropped.
    pub fn take(
        &mut self,
        segment: &Segment,
        clock: &Clock,
        inputs: &mut std::slice::Iter<'_, NoteInput>,
        until_offset: u32,
        port: &Port,
    ) -> u64 {
        let mut dropped = 0;
        if segment.jumped_at.is_some() {
            dropped += self.close(clock, port);
        }
        let meter = clock.meter();
        let mut push = |at, kind| dropped += u64::from(port.captured.push(Captured { at, meter, kind }).is_err());
        let mut bar = Ticks(-(-segment.from.0).div_euclid(meter.bar().0) * meter.bar().0);
        if self.end.is_none() {
            push(segment.from, CapturedKind::Begin);
            // It begins with the bar.
            bar = if bar == segment.from { Ticks(bar.0 + meter.bar().0) } else { bar };
        }
        let mut to_bars = |until: Ticks, push: &mut dyn FnMut(Ticks, CapturedKind)| {
            while bar < until {
                push(bar, CapturedKind::Bar);
                bar = Ticks(bar.0 + meter.bar().0);
            }
        };
        // Not every host sorts its notes.
        let mut at = segment.from;
        while let Some(input) = inputs.as_slice().first().filter(|input| input.offset_samples < until_offset) {
            inputs.next();
            at = clock.tick_at(input.offset_samples).clamp(at, segment.to.max(at));
            to_bars(Ticks(at.0 + 1).min(segment.to), &mut push);
            push(
                at,
                match input.kind {
                    EventKind::On(_) => CapturedKind::On(input.pitch),
                    EventKind::Off => CapturedKind::Off(input.pitch),
                },
            );
        }
        to_bars(segment.to, &mut push);
        self.end = Some(segment.to);
        dropped
    }

    /// Ends the capture, if there is one. Yields what was dropped.
    pub fn close(&mut self, clock: &Clock, port: &Port) -> u64 {
        let ended = self.end.take().map(|at| port.captured.push(Captured { at, meter: clock.meter(), kind: CapturedKind::End }));
        u64::from(ended.is_some_and(|pushed| pushed.is_err()))
    }
}
