//! Notes drawn by hand: an edit locks the bars that it touches, with the note changed. Host's main thread and editor, never the audio
//! thread.

use super::{BarlineParams, takes::TakesError};
use crate::{
    generate::{Given, GridNote, Pattern, PatternSpec, Span},
    music::{note::Pitch, roll::TrackLayout, time::TimeSignature},
    player::Knobs,
    state::Settings,
};

/// A change of one note of a track. Places are sixteenths from the pattern's start, in the host's meter; pitches are those that sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new note.
    Add {
        /// First sixteenth.
        onset: usize,
        /// The sixteenth after its last.
        end: usize,
        /// What sounds.
        pitch: Pitch,
    },
    /// The note that begins there, elsewhere, as long as it was.
    Move {
        /// Where it begins, and what sounds.
        from: (usize, Pitch),
        /// Where it shall.
        to: (usize, Pitch),
    },
    /// The note that begins there with another end.
    Resize {
        /// Where it begins, and what sounds.
        from: (usize, Pitch),
        /// The sixteenth after its last.
        end: usize,
    },
    /// The note that begins there is taken out.
    Erase {
        /// Where it begins, and what sounds.
        from: (usize, Pitch),
    },
}

/// Sixteenths as a host's bars count them and as a model's do.
#[derive(Clone, Copy, Debug)]
struct Bars {
    /// Of the host's bar.
    n_shown: usize,
    /// Of the model's.
    n_steps: usize,
    n_bars: usize,
}

impl Bars {
    /// A bar longer than the model's repeats its beginning: what is drawn there would be drawn twice.
    fn new(meter: TimeSignature, n_steps: u8, n_bars: u32) -> Option<Self> {
        let n_shown = usize::try_from(meter.steps_per_bar()).ok()?;
        let bars = Self { n_shown, n_steps: n_steps.into(), n_bars: usize::try_from(n_bars).ok()? };
        (1..=bars.n_steps).contains(&n_shown).then_some(bars)
    }

    fn step(self, shown: usize) -> usize {
        shown / self.n_shown * self.n_steps + shown % self.n_shown
    }

    /// The end of what lasts until a shown step: in a bar that ends sooner than the model's, what goes on goes on to the end of both.
    fn end(self, shown: usize) -> usize {
        self.step(shown.clamp(1, self.n_bars * self.n_shown) - 1) + 1
    }

    fn shown_end(self, end: usize) -> usize {
        let last = end.saturating_sub(1);
        last / self.n_steps * self.n_shown + (last % self.n_steps).min(self.n_shown - 1) + 1
    }
}

/// Whether notes can be drawn into a pattern.
///
/// # Errors
/// [`TakesError::Endless`], [`TakesError::Meter`].
pub fn check_drawing(pattern: &Pattern, meter: TimeSignature) -> Result<(), TakesError> {
    bars(pattern, meter).map(|_| ())
}

fn bars(pattern: &Pattern, meter: TimeSignature) -> Result<Bars, TakesError> {
    let Span::Bars(n_bars) = pattern.spec.span else { return Err(TakesError::Endless) };
    Bars::new(meter, pattern.roll.layout().n_steps, n_bars).ok_or(TakesError::Meter)
}

impl BarlineParams {
    /// Changes a note of a track by hand. The bars that it touches are locked as they sound, with that change; everything else stays
    /// as it is until it is written anew. Undo takes it back, [`unlock`](Self::unlock) gives the bars back to the network.
    ///
    /// # Errors
    /// [`TakesError::Endless`], [`TakesError::Meter`], [`TakesError::NoNote`], [`TakesError::Pitch`].
    pub fn edit(&self, track_idx: usize, edit: Edit, pattern: &Pattern, meter: TimeSignature) -> Result<(), TakesError> {
        let bars = bars(pattern, meter)?;
        let (n_bars, layout, knobs) = (pattern.spec.span.code(), pattern.roll.layout(), self.knobs());
        let track = layout.tracks.get(track_idx).ok_or(TakesError::NoNote)?;
        let mut music = self.as_heard(pattern, n_bars);
        lay_newer_locks(&mut music, &self.saved.snapshot().settings, pattern, n_bars);
        let before = music.clone();
        let (out, put) = change(&music.notes_of(track_idx, layout.n_steps), track_idx, track, edit, bars, &knobs)?;
        music.edit(track_idx, track.kind, layout.n_steps, &out, put);
        let changed = music.bars_changed(track_idx, &before);
        let tracks = u32::try_from(track_idx).ok().and_then(|idx| 1_u16.checked_shl(idx)).unwrap_or(0);
        if changed != 0 {
            self.lock_over(music.kept(tracks, changed), pattern);
        }
        Ok(())
    }
}

/// What was locked since the pattern was made: it may still be in the making.
fn lay_newer_locks(music: &mut Given, settings: &Settings, pattern: &Pattern, n_bars: u32) {
    let mut now = PatternSpec { given: Given::default(), takes: Vec::new(), locks: Vec::new(), ..pattern.spec.clone() };
    settings.complete(&mut now);
    if (&now.given, &now.locks) != (&pattern.spec.given, &pattern.spec.locks) {
        settings.locks.iter().for_each(|lock| music.lay_over(&lock.music.clone().resized(n_bars)));
    }
}

type Change = (Vec<(usize, Pitch)>, Option<GridNote>);

/// What an edit takes out of the notes, and what it puts in.
fn change(
    notes: &[GridNote],
    track_idx: usize,
    track: &TrackLayout,
    edit: Edit,
    bars: Bars,
    knobs: &Knobs,
) -> Result<Change, TakesError> {
    // A key may bring several notes to one that sounds.
    let at = |(onset, pitch): (usize, Pitch)| -> Vec<GridNote> {
        let is_it = |note: &&GridNote| {
            !note.tied && note.onset == bars.step(onset) && knobs.sounding(track_idx, track.kind, note.pitch) == pitch
        };
        notes.iter().filter(is_it).copied().collect()
    };
    let raw = |pitch| knobs.raw(track_idx, track, pitch).ok_or(TakesError::Pitch);
    let put = |onset: usize, end: usize, pitch| {
        let onset = onset.min(bars.n_bars * bars.n_shown - 1);
        GridNote { onset: bars.step(onset), end: bars.end(end.max(onset + 1)), pitch, tied: false }
    };
    let out = |found: &[GridNote]| found.iter().map(|note| (note.onset, note.pitch)).collect();
    match edit {
        Edit::Add { onset, end, pitch } => Ok((Vec::new(), Some(put(onset, end, raw(pitch)?)))),
        Edit::Move { from, to } => {
            let found = at(from);
            let longest = found.iter().max_by_key(|note| note.end).ok_or(TakesError::NoNote)?;
            let n_shown = bars.shown_end(longest.end).saturating_sub(from.0);
            let pitch = if from.1 == to.1 { longest.pitch } else { raw(to.1)? };
            Ok((out(&found), Some(put(to.0, to.0 + n_shown, pitch))))
        }
        Edit::Resize { from, end } => {
            let found = at(from);
            let longest = found.iter().max_by_key(|note| note.end).ok_or(TakesError::NoNote)?;
            Ok((out(&found), Some(put(from.0, end, longest.pitch))))
        }
        Edit::Erase { from } => match at(from) {
            found if found.is_empty() => Err(TakesError::NoNote),
            found => Ok((out(&found), None)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::{Retake, relocked},
        music::{
            note::Note,
            roll::TrackKind,
            time::{TICKS_PER_STEP, Ticks},
        },
        player::{
            Part, render_parts,
            testing::{doubtful, drums, mono, poly},
        },
    };

    fn pitch(number: i32) -> Pitch {
        Pitch::new(number).unwrap()
    }

    /// Four bars of drums, bass and piano, and the instance that made them.
    fn made() -> (BarlineParams, Pattern) {
        let (params, mut pattern) = (
            BarlineParams::default(),
            doubtful(5, vec![drums(36, 9), mono(30, 20, false), poly(50, 25, false)], 4, "C | Am | F | G"),
        );
        params.saved.change(|settings| settings.progression = "C | Am | F | G".into()).unwrap();
        pattern.spec = PatternSpec { seed: 0, span: Span::Bars(4), ..pattern.spec };
        (params, pattern)
    }

    /// The pattern with what is locked in it.
    fn remade(params: &BarlineParams, before: &Pattern) -> Pattern {
        let mut spec = PatternSpec { given: Given::default(), takes: vec![], locks: vec![], ..before.spec.clone() };
        params.saved.snapshot().settings.complete(&mut spec);
        relocked(before, &spec).unwrap()
    }

    /// Sixteenth, sixteenths, pitch of what a track plays, in this meter.
    fn heard(params: &BarlineParams, pattern: &Pattern, track_idx: u8, meter: TimeSignature) -> Vec<(i64, i64, u8)> {
        let knobs = Knobs { swing: 0.0, humanize_time: 0.0, note_length: 1.0, ..params.knobs() };
        let notes = render_parts(pattern, &knobs, meter, 0..4);
        let own = notes.iter().filter(|(part, _)| *part == Part::Track(track_idx));
        let grid = |ticks: Ticks| ticks.0 / TICKS_PER_STEP;
        let mut own: Vec<_> =
            own.map(|(_, Note { onset, duration, pitch, .. })| (grid(*onset), grid(*duration), pitch.number())).collect();
        own.sort_unstable();
        own
    }

    #[test]
    fn notes_are_added_moved_lengthened_and_erased_and_nothing_else_changes() {
        let four = TimeSignature::default();
        let (params, mut pattern) = made();
        let others = |params: &BarlineParams, pattern: &Pattern| [0, 2].map(|track| heard(params, pattern, track, four));
        let (free, rest) = (heard(&params, &pattern, 1, four), others(&params, &pattern));
        let edits = [
            (Edit::Add { onset: 19, end: 22, pitch: pitch(44) }, (19, 3, 44)),
            (Edit::Resize { from: (19, pitch(44)), end: 35 }, (19, 16, 44)),
            (Edit::Move { from: (19, pitch(44)), to: (25, pitch(31)) }, (25, 16, 31)),
            (Edit::Resize { from: (25, pitch(31)), end: 26 }, (25, 1, 31)),
        ];
        for (edit, wanted) in edits {
            params.edit(1, edit, &pattern, four).unwrap();
            pattern = remade(&params, &pattern);
            let now = heard(&params, &pattern, 1, four);
            assert!(now.contains(&wanted), "{edit:?}: {now:?}");
            let alone = |note: &&(i64, i64, u8)| note.0 < wanted.0 + wanted.1 && note.0 + note.1 > wanted.0;
            assert_eq!(now.iter().filter(alone).count(), 1, "{edit:?}: one voice");
            assert_eq!(others(&params, &pattern), rest, "{edit:?}");
        }
        let is_far = |note: &&(i64, i64, u8)| !(16..48).contains(&note.0);
        assert_eq!(
            heard(&params, &pattern, 1, four).iter().filter(is_far).map(|n| (n.0, n.2)).collect::<Vec<_>>(),
            free.iter().filter(is_far).map(|n| (n.0, n.2)).collect::<Vec<_>>()
        );
        assert_eq!(params.edit(1, Edit::Erase { from: (25, pitch(32)) }, &pattern, four), Err(TakesError::NoNote));
        params.edit(1, Edit::Erase { from: (25, pitch(31)) }, &pattern, four).unwrap();
        pattern = remade(&params, &pattern);
        assert!(heard(&params, &pattern, 1, four).iter().all(|note| note.0 != 25));
        assert_eq!(params.saved.locked()[..3], [0, 0b0110, 0]);
        // Each is a step back, and the last of them brings back what was.
        (0..5).for_each(|_| assert_eq!(params.undo().seed, None));
        assert_eq!((params.saved.locked(), params.saved.can_undo()), ([0; 16], false));
    }

    #[test]
    fn every_kind_of_track_takes_the_pencil() {
        let four = TimeSignature::default();
        let (params, mut pattern) = made();
        let before = heard(&params, &pattern, 2, four);
        for (track, onset, number) in [(0, 21, 40), (2, 37, 55), (2, 37, 60)] {
            params.edit(track, Edit::Add { onset, end: onset + 3, pitch: pitch(number) }, &pattern, four).unwrap();
            pattern = remade(&params, &pattern);
        }
        assert!(heard(&params, &pattern, 0, four).iter().any(|note| (note.0, note.2) == (21, 40)));
        let now = heard(&params, &pattern, 2, four);
        assert!([55, 60].iter().all(|number| now.contains(&(37, 3, *number))), "{now:?}");
        let is_same = |note: &&(i64, i64, u8)| ![55, 60].contains(&note.2) || !(32..48).contains(&note.0);
        assert!(before.iter().filter(is_same).all(|note| now.contains(note)), "a chord keeps its other notes");
        assert_eq!(params.edit(0, Edit::Add { onset: 3, end: 4, pitch: pitch(60) }, &pattern, four), Err(TakesError::Pitch));
        assert_eq!(params.edit(9, Edit::Erase { from: (3, pitch(60)) }, &pattern, four), Err(TakesError::NoNote));
    }

    #[test]
    fn what_is_drawn_sounds_there_whatever_octave_key_and_meter() {
        let (params, pattern) = made();
        for (meter, onset, end) in [(TimeSignature::new(3, 4).unwrap(), 22, 27), (TimeSignature::new(7, 8).unwrap(), 25, 31)] {
            params.edit(2, Edit::Add { onset, end, pitch: pitch(57) }, &pattern, meter).unwrap();
            let now = remade(&params, &pattern);
            let notes = heard(&params, &now, 2, meter);
            let wanted = (i64::try_from(onset).unwrap(), i64::try_from(end - onset).unwrap(), 57);
            assert!(notes.contains(&wanted), "{meter}: {notes:?}");
            let to = (onset + 3, pitch(58));
            params.edit(2, Edit::Move { from: (onset, pitch(57)), to }, &now, meter).unwrap();
            let notes = heard(&params, &remade(&params, &now), 2, meter);
            assert!(notes.contains(&(wanted.0 + 3, wanted.1, 58)), "{meter}: {notes:?}");
            (0..2).for_each(|_| assert_eq!(params.undo().seed, None));
        }
        let long = TimeSignature::new(5, 4).unwrap();
        assert_eq!(params.edit(2, Edit::Erase { from: (1, pitch(57)) }, &pattern, long), Err(TakesError::Meter));
    }

    #[test]
    fn an_edit_is_heard_by_what_is_written_later_only() {
        let four = TimeSignature::default();
        let (params, pattern) = made();
        let add =
            |onset, number| params.edit(1, Edit::Add { onset, end: onset + 1, pitch: pitch(number) }, &pattern, four).unwrap();
        // Twice before the worker was there; then again after a re-roll.
        add(3, 40);
        add(5, 41);
        params.reroll(1, Retake::ALL_BARS).unwrap();
        add(7, 42);
        let locks = params.saved.snapshot().settings.locks;
        let drawn = |idx: usize| -> Vec<u8> {
            let notes = locks[idx].music.notes_of(1, 16);
            [3, 5, 7]
                .iter()
                .filter_map(|step| notes.iter().find(|n| n.onset == *step && n.end == step + 1))
                .map(|n| n.pitch.number())
                .collect()
        };
        assert_eq!(locks.iter().map(|lock| lock.after).collect::<Vec<_>>(), [0, 1]);
        assert!(drawn(0).starts_with(&[40, 41]) && drawn(1) == [40, 41, 42], "{:?} {:?}", drawn(0), drawn(1));
        // Under another seed both stand from the start, the newer over the older; and back here it stays the newer.
        let mut other = PatternSpec { seed: 9, given: Given::default(), takes: vec![], locks: vec![], ..pattern.spec.clone() };
        params.saved.snapshot().settings.complete(&mut other);
        assert_eq!(other.given.notes_of(1, 16).iter().find(|note| note.onset == 7).unwrap().pitch, pitch(42));
        let elsewhere = Pattern { spec: PatternSpec { seed: 9, ..pattern.spec.clone() }, ..pattern.clone() };
        params.edit(1, Edit::Move { from: (7, pitch(42)), to: (7, pitch(43)) }, &elsewhere, four).unwrap();
        let mut here = PatternSpec { given: Given::default(), takes: vec![], locks: vec![], ..pattern.spec.clone() };
        params.saved.snapshot().settings.complete(&mut here);
        assert_eq!(
            (here.locks.len(), here.given.notes_of(1, 16).iter().find(|note| note.onset == 7).unwrap().pitch),
            (0, pitch(43))
        );
    }

    #[test]
    fn tracks_beyond_drums_have_pitches_that_the_key_moves() {
        let (params, pattern) = made();
        let knobs = Knobs { octave: 1, key: Some("C major".parse().unwrap()), ..params.knobs() };
        let track = &pattern.roll.layout().tracks[1];
        let raw = |number| knobs.raw(1, track, pitch(number)).map(Pitch::number);
        assert_eq!((raw(45), raw(46), raw(30), raw(71)), (Some(33), None, None, None));
        assert_eq!(track.kind, TrackKind::OneOfN);
    }
}
