//! Music that a pattern is written around: a track to accompany, from notes, as the cells that a network sees. Pure; worker thread
//! and command line, but for [`Given::is_known`], which the player asks too.

use super::input::{fold, nearest_step};
use crate::music::{
    note::Note,
    roll::{RollLayout, TrackKind, TrackLayout},
};
use serde::{Deserialize, Serialize};

/// Most bars that are given.
pub const MAX_GIVEN_BARS: u32 = 4096;

/// Cells that stand before anything is written, and which tracks of which bars they fill. The bars repeat over the pattern, as a
/// loop does; nothing given is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Tracks given in each bar; bit `n` is track `n`.
    known: Vec<u16>,
    /// Indices of the cells that are on, ascending, in a roll `(n_bars, n_steps, n_cells)` of the model's layout.
    on: Vec<u32>,
}

/// What became of notes on their way to cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Notes that were placed.
    pub n_notes: usize,
    /// Of these, those that were moved by octaves, or to a neighbouring drum.
    pub n_moved: usize,
    /// Notes that were left out: outside the bars, or without a place in the track.
    pub n_dropped: usize,
}

impl Given {
    /// Notes as whole tracks over the bars `0 .. n_bars`: in each of `parts` the track and its notes; where none sounds, silence is
    /// given. Notes count from the first bar's start; bars have the layout's steps, whatever meter the notes were written in.
    ///
    /// Onsets and ends go to the nearest step, and a note keeps at least one. Pitches move by octaves into the track's range; drums
    /// outside it to a neighbour in sound. In a monophonic track the note that begins last sounds, of several the lowest.
    #[must_use]
    pub fn from_notes(layout: &RollLayout, parts: &[(usize, &[Note])], n_bars: u32) -> (Self, Placed) {
        let n_bars = usize::try_from(n_bars.min(MAX_GIVEN_BARS)).unwrap_or(0);
        let n_cells = layout.n_cells();
        let (mut known, mut on, mut all_placed) = (0, Vec::new(), Placed::default());
        for (track_idx, notes) in parts {
            known |= 1_u16.checked_shl(u32::try_from(*track_idx).unwrap_or(u32::MAX)).unwrap_or(0);
            let (cells, placed) = track_cells(layout, *track_idx, notes, n_bars * usize::from(layout.n_steps));
            let range = layout.cells_of(*track_idx);
            on.extend(cells.iter().enumerate().filter(|(_, on)| **on).filter_map(|(idx, _)| {
                let (step, cell) = (idx / range.len(), idx % range.len());
                u32::try_from(step * n_cells + range.start + cell).ok()
            }));
            all_placed.n_notes += placed.n_notes;
            all_placed.n_moved += placed.n_moved;
            all_placed.n_dropped += placed.n_dropped;
        }
        on.sort_unstable();
        on.dedup();
        (Self { known: vec![known; n_bars], on }, all_placed)
    }

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.iter().all(|tracks| *tracks == 0)
    }

    /// Bars until it repeats.
    #[must_use]
    pub fn n_bars(&self) -> usize {
        self.known.len()
    }

    /// Tracks given in a bar of the pattern; bit `n` is track `n`.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn tracks(&self, bar: u32) -> u16 {
        self.place(bar).and_then(|bar| self.known.get(bar)).copied().unwrap_or(0)
    }

    /// Whether a track is given in a bar of the pattern.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn is_known(&self, track_idx: usize, bar: u32) -> bool {
        u32::try_from(track_idx).is_ok_and(|idx| self.tracks(bar).checked_shr(idx).unwrap_or(0) & 1 == 1)
    }

    fn place(&self, bar: u32) -> Option<usize> {
        usize::try_from(bar).ok()?.checked_rem(self.known.len())
    }

    /// Positions of the cells that are on in a bar of the pattern, within that bar, all tracks.
    pub(super) fn on_in_bar(&self, layout: &RollLayout, bar: u32) -> impl Iterator<Item = usize> {
        let n_bar_cells = usize::from(layout.n_steps) * layout.n_cells();
        let start = self.place(bar).unwrap_or(0) * n_bar_cells;
        let index_of = |on: &u32| usize::try_from(*on).unwrap_or(usize::MAX);
        let from = self.on.partition_point(|on| index_of(on) < start);
        self.on.iter().skip(from).map(move |on| index_of(on) - start).take_while(move |on| *on < n_bar_cells)
    }

    /// Adds everything that makes it what it is to the bytes of a key.
    pub(super) fn write_key(&self, bytes: &mut Vec<u8>) {
        for length in [self.known.len(), self.on.len()] {
            bytes.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
        }
        self.known.iter().for_each(|tracks| bytes.extend_from_slice(&tracks.to_le_bytes()));
        self.on.iter().for_each(|on| bytes.extend_from_slice(&on.to_le_bytes()));
    }

    /// Whether it can be what it says in a model's layout.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self, layout: &RollLayout) -> Result<(), String> {
        let n_cells = layout.n_cells();
        if self.known.len() > usize::try_from(MAX_GIVEN_BARS).unwrap_or(usize::MAX) {
            return Err(format!("it has {} bars, at most {MAX_GIVEN_BARS} are taken", self.known.len()));
        }
        let n_tracks = layout.tracks.len();
        if self.known.iter().any(|tracks| u32::from(*tracks).checked_shr(u32::try_from(n_tracks).unwrap_or(0)) != Some(0)) {
            return Err(format!("it has more tracks than the model's {n_tracks}"));
        }
        let n_all = self.known.len() * usize::from(layout.n_steps) * n_cells;
        let is_ascending = self.on.is_sorted_by(|a, b| a < b);
        if !is_ascending || self.on.last().is_some_and(|on| usize::try_from(*on).is_ok_and(|on| on >= n_all)) {
            return Err("its cells do not lie in its bars".into());
        }
        // A step of a one-of-n track says one thing.
        for (track_idx, _) in layout.tracks.iter().enumerate().filter(|(_, t)| t.kind == TrackKind::OneOfN) {
            let cells = layout.cells_of(track_idx);
            for bar in (0_u32..).take(self.known.len()).filter(|bar| self.is_known(track_idx, *bar)) {
                let steps = self.on_in_bar(layout, bar).filter(|on| cells.contains(&(on % n_cells))).map(|on| on / n_cells);
                if !steps.eq(0..usize::from(layout.n_steps)) {
                    return Err(format!("track {} does not have one state at each step of bar {}", track_idx + 1, bar + 1));
                }
            }
        }
        Ok(())
    }
}

/// A track's cells, `(n_steps, n_track_cells)`.
fn track_cells(layout: &RollLayout, track_idx: usize, notes: &[Note], n_steps: usize) -> (Vec<bool>, Placed) {
    let Some(track) = layout.tracks.get(track_idx) else { return (Vec::new(), Placed::default()) };
    let (n_track_cells, n_pitches) = (track.n_cells(), usize::from(track.n_pitches));
    let (rest, hold) = (n_pitches, n_pitches + 1);
    let mut placed = Placed::default();
    // Onset, pitch within the range, end.
    let mut spans: Vec<(usize, usize, usize)> = Vec::with_capacity(notes.len());
    for note in notes {
        let onset = usize::try_from(nearest_step(note.onset.0)).ok().filter(|onset| *onset < n_steps);
        let number = if track.kind == TrackKind::Onsets { drum_of(track, note.pitch.number()) } else { fold(track, note.pitch) };
        let (Some(onset), Some(idx)) = (onset, number) else {
            placed.n_dropped += 1;
            continue;
        };
        placed.n_notes += 1;
        placed.n_moved += usize::from(idx + track.lowest_pitch.number() != note.pitch.number());
        let end = usize::try_from(nearest_step(note.onset.0 + note.duration.0)).unwrap_or(0);
        spans.push((onset, usize::from(idx), end.clamp(onset + 1, n_steps)));
    }
    // The highest of those that begin together first: in a monophonic track the lowest then replaces them.
    spans.sort_unstable_by_key(|(onset, idx, end)| (*onset, std::cmp::Reverse(*idx), *end));
    let mut cells = vec![false; n_steps * n_track_cells];
    let mut set = |step: usize, cell: usize, on: bool| {
        if let Some(place) = cells.get_mut(step * n_track_cells + cell) {
            *place = on;
        }
    };
    if track.kind == TrackKind::OneOfN {
        // A model that merges repeats has no hold of its own: a held note is its pitch again.
        let going_on = |idx| if track.merge_repeats { idx } else { hold };
        let mut states = vec![rest; n_steps];
        let mut last_end = 0;
        for (onset, idx, end) in spans {
            // What sounded before ends, and does not come back.
            for (step, state) in states.iter_mut().enumerate().take(end.max(last_end)).skip(onset) {
                *state = if step == onset {
                    idx
                } else if step < end {
                    going_on(idx)
                } else {
                    rest
                };
            }
            last_end = end;
        }
        states.into_iter().enumerate().for_each(|(step, state)| set(step, state, true));
        return (cells, placed);
    }
    let mut last_ends = vec![0; n_pitches];
    for (onset, idx, end) in spans {
        set(onset, idx, true);
        let Some(last_end) = last_ends.get_mut(idx).filter(|_| track.kind == TrackKind::OnsetSustain) else { continue };
        // A note of the same pitch that went on ends here.
        (onset..end.max(*last_end)).for_each(|step| set(step, n_pitches + idx, (onset + 1..end).contains(&step)));
        *last_end = end;
    }
    (cells, placed)
}

/// The place of a drum in a track of onsets: that of its class, the one note that stands for all drums of its kind, or else its own.
///
/// # Source
/// General MIDI 1 percussion key map (35 to 81); General MIDI 2 and Roland's kits for those around it (22 to 34, 82 to 87). The classes
/// are those by which `models/phrases.py` prepares drums, with a place for some that its data do not have.
fn drum_of(track: &TrackLayout, number: u8) -> Option<u8> {
    let class = match number {
        35 | 36 => 36,
        37 | 31 | 85 => 37,
        38 | 40 => 38,
        39 | 28 => 39,
        41 | 43 | 86 | 87 => 41,
        22 | 42 => 42,
        44 => 44,
        45 | 47 | 61 | 63 | 64 | 66 => 45,
        26 | 46 => 46,
        48 | 50 | 60 | 62 | 65 => 48,
        49 | 52 | 55 | 57 => 49,
        51 | 59 => 51,
        53 | 80 | 81 => 53,
        54 | 83 => 54,
        56 | 67 | 68 | 75..=77 => 56,
        69 | 70 | 82 | 73 | 74 => 70,
        _ => number,
    };
    let place = |number: u8| number.checked_sub(track.lowest_pitch.number()).filter(|idx| *idx < track.n_pitches);
    place(class).or_else(|| place(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::manifest::tests::small_band,
        music::{
            decode::{DecodeParams, StepState, one_of_n, onset_sustain, onsets},
            note::{Channel, Pitch, Velocity},
            time::{TICKS_PER_STEP, Ticks},
        },
    };

    fn note(onset: i64, duration: i64, pitch: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(80),
        }
    }

    fn layout(kind: TrackKind, lowest: i32, n_pitches: u8) -> RollLayout {
        let lowest_pitch = Pitch::new(lowest).unwrap();
        let other = TrackLayout { kind: TrackKind::Onsets, lowest_pitch, n_pitches: 3, merge_repeats: false };
        RollLayout { n_steps: 6, tracks: vec![other, TrackLayout { kind, n_pitches, ..other }] }
    }

    /// The second track's cells over the bars, step by step.
    fn steps(layout: &RollLayout, notes: &[Note], n_bars: u32) -> (Vec<Vec<i8>>, Placed) {
        let (given, placed) = Given::from_notes(layout, &[(1, notes)], n_bars);
        given.check(layout).unwrap();
        assert_eq!((given.n_bars(), given.is_known(1, 0), given.is_known(0, 0)), (n_bars as usize, true, false));
        let mut cells = vec![i8::MIN; n_bars as usize * 6 * layout.n_cells()];
        for bar in 0..n_bars {
            let start = bar as usize * 6 * layout.n_cells();
            given.on_in_bar(layout, bar).for_each(|on| cells[start + on] = i8::MAX);
        }
        (cells.chunks(layout.n_cells()).map(|step| step[layout.cells_of(1)].to_vec()).collect(), placed)
    }

    const GREEDY: fn() -> DecodeParams = DecodeParams::greedy;

    #[test]
    fn a_monophonic_track_follows_the_last_begun() {
        let layout = layout(TrackKind::OneOfN, 40, 15);
        // A legato that overlaps; a chord of which the lowest stays; a long low note under a short high one.
        let notes = [
            note(0, 400, 45),
            note(355, 130, 47),
            note(600, 120, 54),
            note(590, 240, 50),
            note(960, 900, 26),
            note(1090, 100, 53),
        ];
        let (cells, placed) = steps(&layout, &notes, 3);
        let states: Vec<char> = cells
            .iter()
            .map(|cells| match one_of_n(&layout.tracks[1], cells, GREEDY(), Default::default()) {
                StepState::Onset(pitch) => char::from(b'A' + pitch.number() - 40),
                StepState::Hold => '-',
                StepState::Rest => '.',
            })
            .collect();
        assert_eq!(states.into_iter().collect::<String>(), "F--H.K-.KN........");
        assert_eq!(placed, Placed { n_notes: 6, n_moved: 1, n_dropped: 0 });
    }

    #[test]
    fn a_polyphonic_track_keeps_every_note_apart() {
        let layout = layout(TrackKind::OnsetSustain, 60, 13);
        // Equal pitches after moving; a repeated note; one that ends beyond the bars; one that begins there.
        let notes =
            [note(0, 480, 60), note(250, 100, 48), note(370, 110, 60), note(130, 3, 84), note(600, 900, 71), note(719, 50, 65)];
        let (cells, placed) = steps(&layout, &notes, 1);
        let sets: Vec<_> =
            cells.iter().map(|cells| onset_sustain(&layout.tracks[1], cells, GREEDY(), Default::default(), u128::MAX)).collect();
        let onsets: Vec<u128> = sets.iter().map(|sets| sets.onsets >> 60).collect();
        let sustains: Vec<u128> = sets.iter().map(|sets| sets.sustains >> 60).collect();
        assert_eq!(onsets, [1, 1 << 12, 1, 1, 0, 1 << 11]);
        assert_eq!(sustains, [0, 1, 0, 0, 0, 0]);
        assert_eq!(placed, Placed { n_notes: 5, n_moved: 2, n_dropped: 1 });
    }

    #[test]
    fn drums_go_to_their_like_or_are_counted() {
        let number = |drum: u8, n_pitches: u8| {
            let layout = layout(TrackKind::Onsets, 36, n_pitches);
            let (cells, placed) = steps(&layout, &[note(240, 700, i32::from(drum))], 1);
            let sets: Vec<u128> =
                cells.iter().map(|cells| onsets(&layout.tracks[1], cells, GREEDY(), Default::default())).collect();
            assert_eq!(placed.n_notes + placed.n_dropped, 1);
            assert!(sets.iter().enumerate().all(|(step, set)| *set == 0 || step == 2), "a drum lasts a step");
            (placed.n_notes == 1).then(|| sets[2].trailing_zeros())
        };
        let classes = [36, 37, 38, 39, 41, 42, 44, 45, 46, 48, 49, 51, 53, 54, 56, 70];
        assert!(classes.iter().all(|drum| number(*drum, 35) == Some(u32::from(*drum))));
        let moved = [35, 40, 22, 26, 57, 59, 83, 81, 64, 76].map(|drum| number(drum, 35));
        assert_eq!(moved, [36, 38, 42, 46, 49, 51, 54, 53, 45, 56].map(Some));
        // A vibraslap has no class; what has no place either is left out.
        assert_eq!([58, 0, 34, 71, 90, 127].map(|drum| number(drum, 35)), [Some(58), None, None, None, None, None]);
        assert_eq!([41, 43, 50, 64].map(|drum| number(drum, 6)), [Some(41), Some(41), None, None]);
    }

    #[test]
    fn sung_notes_are_played_as_they_were() {
        // What lies on the grid and in range comes back note for note, by the rules of playing.
        let layout = layout(TrackKind::OnsetSustain, 30, 20);
        let notes: Vec<Note> = (0..40_i64)
            .map(|i| note(i * 3 % 53 * TICKS_PER_STEP, (1 + i % 4) * TICKS_PER_STEP, i32::try_from(30 + i * 7 % 20).unwrap()))
            .collect();
        let (cells, placed) = steps(&layout, &notes, 10);
        assert_eq!((placed.n_notes, placed.n_moved), (40, 0));
        let sets: Vec<_> =
            cells.iter().map(|cells| onset_sustain(&layout.tracks[1], cells, GREEDY(), Default::default(), u128::MAX)).collect();
        for note in &notes {
            let at = usize::try_from(note.onset.0 / TICKS_PER_STEP).unwrap();
            let bit = 1_u128 << note.pitch.number();
            assert!(sets[at].onsets & bit != 0, "{note:?}");
            let length = 1 + sets[at + 1..].iter().take_while(|sets| sets.sustains & bit != 0 && sets.onsets & bit == 0).count();
            let next =
                notes.iter().filter(|n| n.pitch == note.pitch && n.onset > note.onset).map(|n| n.onset.0 - note.onset.0).min();
            let want = note.duration.0.min(next.unwrap_or(i64::MAX)) / TICKS_PER_STEP;
            assert_eq!(i64::try_from(length).unwrap(), want, "{note:?}");
        }
    }

    #[test]
    fn it_repeats_and_is_saved_whole() {
        let layout = small_band().layout();
        let notes = [note(0, 120, 31), note(600, 120, 34)];
        let (given, _) = Given::from_notes(&layout, &[(1, &notes), (0, &[note(0, 9, 37)])], 2);
        assert_eq!((given.tracks(0), given.tracks(7), Given::default().tracks(3)), (0b011, 0b011, 0));
        let on = |bar| given.on_in_bar(&layout, bar).collect::<Vec<_>>();
        // Four steps of 14 cells a bar: drum 37, pitch 31, then rests; the second bar's second step is pitch 34.
        assert_eq!((on(0), on(1)), (vec![1, 4, 22, 36, 50], vec![8, 21, 36, 50]));
        assert_eq!((on(0), on(1)), (on(4), on(5)));
        let json = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<Given>(&json).unwrap(), given);
    }
}
