//! What is played at the MIDI input on its way into a loop: events from the audio thread, bars for whoever keeps the loop. The events
//! go through [`Port::captured`](super::Port); the [`Recorder`] runs on the worker thread.

use crate::music::{
    note::{Channel, Note, Pitch, Velocity},
    time::{TICKS_PER_STEP, Ticks, TimeSignature},
};

/// Something at the input, at its place in the song.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Where the song was.
    pub at: Ticks,
    /// The meter there.
    pub meter: TimeSignature,
    /// What happened.
    pub kind: CapturedKind,
}

/// What happens while input is captured. Every capture begins with [`Begin`](Self::Begin) and, unless the queue was full, ends with
/// [`End`](Self::End); a jump of the song is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapturedKind {
    /// The capture begins.
    Begin,
    /// A bar begins.
    Bar,
    /// A key goes down.
    On(Pitch),
    /// A key goes up.
    Off(Pitch),
    /// The capture ends.
    End,
}

/// A bar that was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedBar {
    /// The bar of the song.
    pub bar: i64,
    /// Notes, from the bar's start; one that was held into it begins before, one that is held on ends after it.
    pub notes: Vec<Note>,
}

/// Collects events into bars. What is played up to half a step before a bar belongs to it.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Start of the bar in the making, and where in it the capture began; `None` while nothing is captured.
    bar: Option<(i64, i64)>,
    /// Onset, end, pitch.
    notes: Vec<(i64, Option<i64>, Pitch)>,
}

impl Recorder {
    /// Takes an event; the bar that it completes, unless the capture began amid it and nothing was played.
    pub fn take(&mut self, event: Captured) -> Option<CapturedBar> {
        let (at, length) = (event.at.0, event.meter.bar().0);
        match event.kind {
            CapturedKind::Begin => {
                let start = at.div_euclid(length) * length;
                self.bar = Some((start, at));
                // Played just before a jump to a bar line, it is the first note there.
                self.notes.iter_mut().for_each(|(onset, ..)| *onset = at);
                None
            }
            CapturedKind::On(pitch) => {
                self.end_note(pitch, at);
                if self.bar.is_some() {
                    self.notes.push((at, None, pitch));
                }
                None
            }
            CapturedKind::Off(pitch) => {
                self.end_note(pitch, at);
                None
            }
            CapturedKind::Bar => {
                let done = self.bar.and_then(|(start, since)| self.finish(start, since, at));
                self.keep(|onset, end| is_at(onset, at) || end.is_none());
                self.bar = Some((at, at));
                done
            }
            CapturedKind::End => {
                let done = self.bar.take().and_then(|(start, since)| {
                    let next = start + length;
                    self.notes.iter_mut().filter(|(onset, end, _)| end.is_none() && !is_at(*onset, next)).for_each(
                        |(_, end, _)| {
                            *end = Some(at);
                        },
                    );
                    let is_whole = at + TICKS_PER_STEP / 2 >= next;
                    self.finish(start, if is_whole { since } else { next }, next)
                });
                self.keep(|onset, _| is_at(onset, at));
                done
            }
        }
    }

    fn keep(&mut self, is_kept: impl Fn(i64, Option<i64>) -> bool) {
        self.notes.retain(|(onset, end, _)| is_kept(*onset, *end));
    }

    fn end_note(&mut self, pitch: Pitch, at: i64) {
        let open = self.notes.iter_mut().filter(|(_, end, open)| end.is_none() && *open == pitch);
        open.for_each(|(_, end, _)| *end = Some(at));
    }

    fn finish(&self, start: i64, since: i64, next: i64) -> Option<CapturedBar> {
        let inside = |onset: i64| !is_at(onset, next) && (onset >= start || is_at(onset, start));
        let was_played = self.notes.iter().any(|(onset, ..)| inside(*onset));
        let is_whole = since - start < TICKS_PER_STEP / 2;
        let bar = start.div_euclid((next - start).max(1));
        (bar >= 0 && (was_played || is_whole)).then(|| {
            let notes = self.notes.iter().filter(|(onset, ..)| !is_at(*onset, next));
            let note = |(onset, end, pitch): &(i64, Option<i64>, Pitch)| Note {
                onset: Ticks(onset - start),
                // Still held: it goes on in the next bar.
                duration: Ticks(end.unwrap_or(next + TICKS_PER_STEP) - onset),
                channel: Channel::default(),
                pitch: *pitch,
                velocity: Velocity::clamped(96),
            };
            CapturedBar { bar, notes: notes.map(note).collect() }
        })
    }
}

/// Whether an onset belongs to a bar line (or comes after it).
fn is_at(onset: i64, line: i64) -> bool {
    onset + TICKS_PER_STEP / 2 >= line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> TimeSignature {
        TimeSignature::default()
    }

    fn pitch(number: i32) -> Pitch {
        Pitch::new(number).unwrap()
    }

    /// A bar, and onset, duration and pitch of its notes.
    type Played = (i64, Vec<(i64, i64, u8)>);

    /// The bars that a script of (tick, event) completes.
    fn bars(script: &[(i64, CapturedKind)]) -> Vec<Played> {
        let mut recorder = Recorder::default();
        let done = script.iter().filter_map(|(at, kind)| recorder.take(Captured { at: Ticks(*at), meter: four(), kind: *kind }));
        let note = |n: &Note| (n.onset.0, n.duration.0, n.pitch.number());
        done.map(|bar| (bar.bar, bar.notes.iter().map(note).collect())).collect()
    }

    use CapturedKind::{Bar, Begin, End, Off, On};

    #[test]
    fn bars_are_whole_and_hold_what_was_played_in_them() {
        let script = [
            (3840, Begin),
            (3950, On(pitch(61))),
            (4300, Off(pitch(61))),
            (5000, On(pitch(48))),
            (5760, Bar),
            (6000, Off(pitch(48))),
            // A little early for the next bar.
            (7650, On(pitch(70))),
            (7680, Bar),
            (7800, Off(pitch(70))),
            (9600, Bar),
            (11_520, Bar),
            (11_600, End),
        ];
        let want = [
            (2, vec![(110, 350, 61), (1160, 880, 48)]),
            (3, vec![(-760, 1000, 48)]),
            (4, vec![(-30, 150, 70)]),
            // Nothing was played in a whole bar: that is silence. The last was hardly begun.
            (5, vec![]),
        ];
        assert_eq!(bars(&script), want);
    }

    #[test]
    fn parts_of_bars_count_where_something_was_played() {
        let amid = [(1000, Begin), (1920, Bar), (3840, Bar), (4000, End)];
        assert_eq!(bars(&amid), [(1, vec![])]);
        let played =
            [(1000, Begin), (1300, On(pitch(50))), (1500, Off(pitch(50))), (1920, Bar), (2500, On(pitch(52))), (2600, End)];
        assert_eq!(bars(&played), [(0, vec![(1300, 200, 50)]), (1, vec![(580, 100, 52)])]);
    }

    #[test]
    fn a_loop_ends_its_notes_and_begins_with_what_came_early() {
        let script = [
            (0, Begin),
            (600, On(pitch(40))),
            (1890, On(pitch(45))),
            (1920, End),
            // The song jumps back; both keys are still down.
            (0, Begin),
            (300, Off(pitch(40))),
            (350, Off(pitch(45))),
            (1920, Bar),
        ];
        assert_eq!(bars(&script), [(0, vec![(600, 1320, 40)]), (0, vec![(0, 350, 45)])]);
        // What is captured before the song begins has no bar.
        assert_eq!(bars(&[(-1920, Begin), (-900, On(pitch(40))), (0, Bar), (10, End)]), []);
    }
}
