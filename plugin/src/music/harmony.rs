//! What chords a song is in: one triad per half bar, estimated from its notes. Pure; any thread but the audio thread.

use super::{
    chord::{Chord, Progression, Triad},
    note::{Note, PitchClass},
    time::TICKS_PER_STEP,
};

/// Steps of a half bar, for which a chord holds.
const SLOT_STEPS: usize = 8;
/// Longest part of a note that counts, in steps.
const MAX_NOTE_STEPS: usize = 64;
/// What a root that lies lowest adds, what a third that never sounds takes away, and what a change of chord costs on a bar line
/// (twice that within a bar), where a half bar with no other notes than a chord's scores 1 for that chord.
const LOWEST_ROOT: f64 = 0.15;
const NO_THIRD: f64 = 0.1;
const CHANGE: f64 = 0.08;

/// What sounds in a half bar, by pitch class, in steps.
#[derive(Clone, Copy, Default)]
struct Slot {
    sounding: [f64; 12],
    lowest: [f64; 12],
}

/// The chords of the bars `0 .. n_bars`, of sixteen steps each: one of the 24 triads per half bar, none where nothing sounds. Drums
/// are the caller's to leave out.
///
/// # Source
/// `estimate_chords` in `models/phrases.py`, by which the training data of the networks got their chords: triads are scored by the
/// share of a half bar's notes on their tones, and the best path over all half bars pays for every change, so that passing notes
/// make no chords.
#[must_use]
pub fn estimate(notes: &[Note], n_bars: u32) -> Progression {
    let slots = slots(notes, 2 * usize::try_from(n_bars).unwrap_or(0));
    let triads: Vec<Triad> = [false, true]
        .into_iter()
        .flat_map(|minor| (0..12).map(move |root| Triad { root: PitchClass::of(root), minor }))
        .collect();
    // Best score of a path that ends on each triad, and per half bar where it came from.
    let mut best = vec![0.0_f64; triads.len()];
    let mut came_from: Vec<Vec<usize>> = Vec::with_capacity(slots.len());
    for (idx, slot) in slots.iter().enumerate() {
        let (top, top_score) = largest(&best);
        let moved = top_score - if idx % 2 == 0 { CHANGE } else { 2.0 * CHANGE };
        came_from.push((0..).zip(&best).map(|(own, score)| if *score >= moved { own } else { top }).collect());
        for (score, triad) in best.iter_mut().zip(&triads) {
            *score = score.max(moved) + slot.score(*triad);
        }
    }
    let (mut at, _) = largest(&best);
    let mut path = Vec::with_capacity(slots.len());
    for (slot, came_from) in slots.iter().zip(&came_from).rev() {
        path.push(triads.get(at).filter(|_| slot.total() > 0.0).map(|triad| Chord::from_triad(*triad)));
        at = came_from.get(at).copied().unwrap_or(0);
    }
    path.reverse();
    Progression::of_bars(path.chunks_exact(2).map(|halves| [halves.first().copied().flatten(), halves.last().copied().flatten()]))
}

/// The first of the largest.
fn largest(values: &[f64]) -> (usize, f64) {
    (0..).zip(values).fold((0, f64::NEG_INFINITY), |best, (idx, value)| if *value > best.1 { (idx, *value) } else { best })
}

fn slots(notes: &[Note], n_slots: usize) -> Vec<Slot> {
    let step_of = |ticks: i64| usize::try_from((ticks + TICKS_PER_STEP / 2).div_euclid(TICKS_PER_STEP)).unwrap_or(0);
    let mut slots = vec![Slot::default(); n_slots];
    let mut lowest = vec![None; n_slots * SLOT_STEPS];
    for note in notes {
        let onset = step_of(note.onset.0);
        let end = step_of(note.onset.0.saturating_add(note.duration.0)).clamp(onset + 1, onset + MAX_NOTE_STEPS);
        for (step, lowest) in lowest.iter_mut().enumerate().take(end).skip(onset) {
            slots.get_mut(step / SLOT_STEPS).into_iter().for_each(|slot| count(&mut slot.sounding, note.pitch.class()));
            *lowest = Some(lowest.map_or(note.pitch, |pitch| note.pitch.min(pitch)));
        }
    }
    for (step, pitch) in lowest.into_iter().enumerate() {
        if let (Some(pitch), Some(slot)) = (pitch, slots.get_mut(step / SLOT_STEPS)) {
            count(&mut slot.lowest, pitch.class());
        }
    }
    slots
}

fn count(classes: &mut [f64; 12], class: PitchClass) {
    classes.get_mut(usize::from(class.number())).into_iter().for_each(|n| *n += 1.0);
}

fn of(classes: &[f64; 12], class: PitchClass) -> f64 {
    classes.get(usize::from(class.number())).copied().unwrap_or(0.0)
}

impl Slot {
    fn total(&self) -> f64 {
        self.sounding.iter().chain(&self.lowest).sum()
    }

    fn score(&self, triad: Triad) -> f64 {
        let root = i32::from(triad.root.number());
        // The lowest note counts twice: it tends to be the root.
        let share = |above: i32| {
            let class = PitchClass::of(root + above);
            (of(&self.sounding, class) + of(&self.lowest, class)) / self.total().max(1e-9)
        };
        let third = share(if triad.minor { 3 } else { 4 });
        let lowest_root = of(&self.lowest, triad.root) / self.lowest.iter().sum::<f64>().max(1e-9);
        share(0) + third + share(7) + LOWEST_ROOT * lowest_root - if third < 0.02 { NO_THIRD } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::{
        note::{Channel, Pitch, Velocity},
        time::Ticks,
    };

    fn notes(written: &[(i64, i64, &[i32])]) -> Vec<Note> {
        let note = |onset: i64, steps: i64, pitch: i32| Note {
            onset: Ticks(onset * TICKS_PER_STEP + 17),
            duration: Ticks(steps * TICKS_PER_STEP - 40),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(70),
        };
        written.iter().flat_map(|(onset, steps, pitches)| pitches.iter().map(move |p| note(*onset, *steps, *p))).collect()
    }

    #[test]
    fn chords_are_heard_where_they_sound() {
        let song = notes(&[
            (0, 16, &[45, 60, 64, 69]),
            (16, 8, &[41, 57, 60]),
            (24, 8, &[43, 59, 62]),
            // A silent bar; then an arpeggio with passing notes, over a held root.
            (48, 16, &[50]),
            (48, 2, &[62]),
            (50, 2, &[65]),
            (52, 1, &[67]),
            (53, 3, &[69]),
            (56, 4, &[65]),
            (60, 1, &[64]),
            (61, 3, &[62]),
        ]);
        assert_eq!(estimate(&song, 5).to_string(), "Am | F G | N.C. | Dm | N.C.");
        assert_eq!(estimate(&[], 2), "N.C. | N.C.".parse().unwrap());
        assert_eq!(estimate(&song, 0), Progression::none());
    }

    #[test]
    fn the_order_of_notes_says_nothing_and_transposing_transposes() {
        let mut song = notes(&[(0, 6, &[48, 52, 55]), (8, 8, &[53, 57]), (16, 9, &[43, 50, 59, 65]), (25, 7, &[48, 64])]);
        let first = estimate(&song, 2);
        song.reverse();
        assert_eq!(estimate(&song, 2), first);
        song.iter_mut().for_each(|note| note.pitch = note.pitch.transposed(5));
        let moved = estimate(&song, 2);
        for bar in 0..2 {
            for (a, b) in first.at(bar).into_iter().zip(moved.at(bar)) {
                let (a, b) = (a.unwrap().triad(), b.unwrap().triad());
                assert_eq!((b.root, b.minor), (PitchClass::of(i32::from(a.root.number()) + 5), a.minor));
            }
        }
    }
}
