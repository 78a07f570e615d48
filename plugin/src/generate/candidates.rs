//! Several tries at a phrase, the best kept: what counts against one. Pure; worker thread and command line.
//!
//! A score can tell a broken phrase from a sound one, not a good one from a better one: so the faults are plain ones, which a
//! listener would name, and of equal tries the first is kept.

use crate::music::{
    chord::BarChords,
    metrics::{StepTrack, best_scale, time_in_scale},
    roll::{RollLayout, TrackKind},
};
use std::ops::Range;

/// Most tries at a phrase.
pub const MAX_CANDIDATES: u32 = 16;
/// Most tries at a phrase until the tracks that a retake names are heard.
pub(super) const MAX_TRIES: u32 = 8;
/// Noise of the further tries lies at takes this far apart. Takes of users stay below.
const TAKES_APART: u32 = 1 << 24;
/// Farther than this from its track's median pitch a note is out of range, in semitones: a line's, and that of a track of chords, which
/// two hands may play.
const RANGE_OF_LINE: u32 = 12;
const RANGE_OF_CHORDS: u32 = 24;
/// Repeating a bar is what music does: among the faults it decides where others do not.
const REPEAT_WEIGHT: f64 = 0.25;

/// The take of a try at what has `take`; the first try's is the take itself.
#[must_use]
pub(super) fn take_of(take: u32, candidate: u32) -> u32 {
    take.wrapping_add(candidate.wrapping_mul(TAKES_APART))
}

/// What counts against a phrase: each from 0, none, to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Faults {
    /// Share of bars in which no pitched track sounds.
    pub silence: f64,
    /// Share of pitched notes far from the median of their track: an octave in a line, two in chords.
    pub range: f64,
    /// Share of sounding time outside the major scale that holds most of it and of the chords'.
    pub key: f64,
    /// Share of bars that are the bar before them again, in all tracks: no novelty.
    pub repeats: f64,
}

impl Faults {
    /// The faults of the last bars of `on`, cells `(n_before + n_bars, n_steps, n_cells)`, 1 or 0; those before are there to be
    /// repeated. `chords` are those of the last bars, `(n_bars,)`.
    pub fn of(layout: &RollLayout, on: &[u8], chords: &[BarChords]) -> Self {
        let n_steps = usize::from(layout.n_steps).max(1);
        let n_bar_cells = (n_steps * layout.n_cells()).max(1);
        let n_own = chords.len() * n_bar_cells;
        let own = on.get(on.len().saturating_sub(n_own)..).unwrap_or(&[]);
        let pitched = (0..).zip(&layout.tracks).filter(|(_, t)| t.kind != TrackKind::Onsets);
        let (mut n_far, mut n_notes, mut tracks) = (0, 0, Vec::new());
        let mut sounds = vec![false; chords.len()];
        for (track_idx, track) in pitched {
            let (onsets, sounding) = sets(layout, track_idx, own);
            for (sounds, bar) in sounds.iter_mut().zip(sounding.chunks_exact(n_steps)) {
                *sounds |= bar.iter().any(|set| *set != 0);
            }
            let mut pitches: Vec<u32> =
                onsets.iter().flat_map(|set| (0..128).filter(move |pitch| set >> pitch & 1 == 1)).collect();
            pitches.sort_unstable();
            let median = pitches.get(pitches.len() / 2).copied().unwrap_or(0);
            let range = if track.kind == TrackKind::OneOfN { RANGE_OF_LINE } else { RANGE_OF_CHORDS };
            n_far += pitches.iter().filter(|pitch| pitch.abs_diff(median) > range).count();
            n_notes += pitches.len();
            tracks.push(StepTrack::of_sets(onsets, sounding));
        }
        let n_silent = if tracks.is_empty() { 0 } else { sounds.iter().filter(|sounds| !**sounds).count() };
        // The chords have a say in which key it is, and are nobody's fault.
        let of_chords = chord_track(chords, n_steps);
        let key = best_scale(tracks.iter().chain([&of_chords])).and_then(|(tonic, _)| time_in_scale(&tracks, tonic));
        let bars: Vec<&[u8]> = on.chunks_exact(n_bar_cells).collect();
        let n_repeats =
            bars.windows(2).rev().take(chords.len()).filter(|pair| matches!(pair, [a, b] if a == b && b.contains(&1))).count();
        Self {
            silence: share(n_silent, chords.len()),
            range: share(n_far, n_notes),
            key: key.map_or(0.0, |inside| 1.0 - inside),
            repeats: share(n_repeats, chords.len()),
        }
    }

    /// All of it as one number; of two tries the one with less is kept.
    pub fn cost(self) -> f64 {
        self.silence + self.range + self.key + REPEAT_WEIGHT * self.repeats
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of bars and notes")]
fn share(n: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { n as f64 / of as f64 }
}

/// Whether a track sounds in the steps `steps` of a phrase, of which `on` has the cells `(n, n_cells)`, 1 or 0.
pub(super) fn is_heard(layout: &RollLayout, track_idx: usize, on: &[u8], steps: Range<usize>) -> bool {
    let (onsets, sounding) = sets(layout, track_idx, on);
    let any = |sets: &[u128]| sets.get(steps.clone()).is_some_and(|sets| sets.iter().any(|set| *set != 0));
    any(&onsets) || any(&sounding)
}

/// What begins and what sounds in a track at each step, from cells `(n, n_cells)`.
fn sets(layout: &RollLayout, track_idx: usize, on: &[u8]) -> (Vec<u128>, Vec<u128>) {
    let Some(track) = layout.tracks.get(track_idx) else { return (Vec::new(), Vec::new()) };
    let (range, n_pitches) = (layout.cells_of(track_idx), usize::from(track.n_pitches));
    let set_of = |cells: &[u8]| -> u128 {
        let set =
            cells.iter().take(n_pitches).zip(0_u32..).filter(|(on, _)| **on != 0).fold(0, |set, (_, idx)| set | 1_u128 << idx);
        set.unbounded_shl(track.lowest_pitch.number().into())
    };
    let (mut held, mut before) = (0, 0);
    on.chunks_exact(layout.n_cells().max(1))
        .map(|step| {
            let cells = step.get(range.clone()).unwrap_or(&[]);
            let first = set_of(cells);
            let goes_on = match track.kind {
                TrackKind::OneOfN => {
                    if cells.last() == Some(&1) {
                        held
                    } else {
                        0
                    }
                }
                TrackKind::OnsetSustain => held & set_of(cells.get(n_pitches..).unwrap_or(&[])),
                TrackKind::Onsets => 0,
            };
            // A model that merges repeats holds a note by its pitch again.
            let onsets = if track.merge_repeats { first & !before } else { first };
            (held, before) = (first | goes_on, first);
            (onsets, held)
        })
        .unzip()
}

/// The chords as if they were held.
fn chord_track(chords: &[BarChords], n_steps: usize) -> StepTrack {
    let halves = chords.iter().flatten();
    let sounding = halves.flat_map(|chord| {
        let classes = chord.map_or(0, |c| c.classes());
        std::iter::repeat_n(u128::from(classes), n_steps / 2)
    });
    let sounding: Vec<u128> = sounding.collect();
    StepTrack::of_sets(vec![0; sounding.len()], sounding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{generate::manifest::tests::small_band, music::chord::Progression};

    /// The bass alone, two bars of four steps: five pitches from 30, then rest and hold.
    fn cells(layout: &RollLayout, bass: [usize; 8]) -> Vec<u8> {
        let mut on = vec![0; 8 * layout.n_cells()];
        for (step, class) in bass.into_iter().enumerate() {
            on[step * layout.n_cells() + layout.cells_of(1).start + class] = 1;
        }
        on
    }

    fn faults(bass: [usize; 8], chords: &str) -> Faults {
        let layout = small_band().layout();
        let chords: Progression = chords.parse().unwrap();
        Faults::of(&layout, &cells(&layout, bass), &[chords.at(0), chords.at(1)])
    }

    #[test]
    fn silence_counts_by_bars_and_nothing_else_is_wrong_with_it() {
        assert_eq!(faults([5; 8], "C"), Faults { silence: 1.0, repeats: 0.5, ..Faults::default() });
        assert_eq!(faults([5, 5, 5, 5, 5, 5, 5, 2], "N.C."), Faults { silence: 0.5, ..Faults::default() });
        // Held over the bar line it sounds in both bars.
        assert_eq!(faults([5, 5, 5, 2, 6, 5, 5, 5], "N.C.").silence, 0.0);
    }

    #[test]
    fn notes_out_of_key_count_by_their_time_and_the_chords_say_which_key() {
        // Pitches 30 to 34 are F sharp to B flat: no major scale has F sharp, G and A flat.
        assert_eq!(faults([0, 6, 6, 6, 1, 2, 6, 6], "N.C.").key, 0.125);
        assert_eq!(faults([0, 6, 6, 6, 2, 6, 6, 6], "N.C.").key, 0.0);
        assert_eq!(faults([0, 6, 6, 6, 2, 6, 6, 6], "C").key, 0.5);
        assert_eq!(faults([3, 6, 6, 6, 1, 6, 6, 6], "C").key, 0.0);
        // The fewer wrong notes, the better.
        assert!(faults([3, 6, 2, 6, 3, 6, 1, 6], "C").cost() < faults([0, 6, 2, 6, 0, 6, 2, 6], "C").cost());
    }

    #[test]
    fn a_bar_that_comes_again_is_no_novelty() {
        assert_eq!(faults([1, 6, 5, 3, 1, 6, 5, 3], "C").repeats, 0.5);
        assert_eq!(faults([1, 6, 5, 3, 1, 6, 5, 1], "C").repeats, 0.0);
        let layout = small_band().layout();
        let bars = [cells(&layout, [1, 6, 5, 3, 1, 6, 5, 3]), cells(&layout, [1, 6, 5, 3, 1, 1, 5, 3])].concat();
        // Counted over the last two, the first of which repeats the one before them.
        assert_eq!(Faults::of(&layout, &bars, &[[None; 2]; 2]).repeats, 0.5);
    }

    #[test]
    fn a_note_two_octaves_away_is_out_of_range() {
        let mut layout = small_band().layout();
        layout.tracks[1].n_pitches = 40;
        assert_eq!(Faults::of(&layout, &cells(&layout, [1, 41, 3, 41, 2, 30, 3, 1]), &[[None; 2]; 2]).range, 1.0 / 6.0);
    }

    #[test]
    fn the_first_try_is_the_take_itself_and_others_are_nobodys_takes() {
        assert_eq!(take_of(7, 0), 7);
        let takes: std::collections::HashSet<u32> =
            (0..MAX_CANDIDATES).flat_map(|c| (0..1000).map(move |take| take_of(take, c))).collect();
        assert_eq!(takes.len(), 16_000);
    }
}
