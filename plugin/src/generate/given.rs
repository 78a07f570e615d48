//! Music that stands before anything is written: a track to accompany, bars that are locked. Notes on the step grid, by track and bar,
//! so that they outlive an exchange of the model; each model's cells are made from them. Pure; worker thread and command line, but for
//! [`Given::has`], which the player asks too.

use super::input::{fold, nearest_step};
use crate::music::{
    note::{Note, Pitch},
    roll::{RollLayout, TrackKind, TrackLayout},
};
use serde::{Deserialize, Serialize};

/// Most bars that are given.
pub const MAX_GIVEN_BARS: u32 = 4096;

/// Bars of music, which tracks they fill, and the notes in them; where none sounds, silence is given. The bars repeat over the pattern,
/// as a loop does; nothing given is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Given {
    bars: Vec<GivenBar>,
}

/// One bar of [`Given`]. In each set of tracks bit `n` is track `n`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenBar {
    /// Tracks given.
    #[serde(default, skip_serializing_if = "is_zero")]
    tracks: u16,
    /// Of these, those that play drums: another model's track of that number may be none, and then they are not for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    drums: u16,
    /// Of these, those that a pattern played before: a model that cannot listen to others plays them all the same, and drums stay
    /// where they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    kept: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<GivenNote>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(set: &u16) -> bool {
    *set == 0
}

/// A note, or the part of one that lies in a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct GivenNote {
    track: u8,
    step: u8,
    n_steps: u8,
    pitch: Pitch,
    /// It goes on from the bar before.
    tied: bool,
}

impl From<GivenNote> for u32 {
    /// One number per note: states hold thousands of them.
    fn from(note: GivenNote) -> Self {
        let [track, step, n_steps] = [note.track, note.step, note.n_steps].map(Self::from);
        track << 22 | Self::from(note.tied) << 21 | step << 14 | n_steps << 7 | Self::from(note.pitch.number())
    }
}

impl TryFrom<u32> for GivenNote {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        let field = |shift: u32, n_bits: u32| u8::try_from(number >> shift & ((1 << n_bits) - 1)).unwrap_or(0);
        let note = Self {
            track: field(22, 4),
            step: field(14, 7),
            n_steps: field(7, 7),
            pitch: Pitch::try_from(field(0, 7))?,
            tied: field(21, 1) == 1,
        };
        // Bits that no field has would be lost.
        if note.n_steps > 0 && u32::from(note) == number { Ok(note) } else { Err("this is no given note") }
    }
}

/// A note on the grid of steps, the bars laid end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridNote {
    /// First step.
    pub onset: usize,
    /// The step after its last.
    pub end: usize,
    /// Pitch, as the network wrote it.
    pub pitch: Pitch,
    /// It goes on from before: nothing begins at its onset.
    pub tied: bool,
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

/// Notes of one track.
#[derive(Clone, Copy, Debug)]
pub struct GivenPart<'a> {
    /// The track.
    pub track_idx: usize,
    /// It plays drums.
    pub drums: bool,
    /// Its notes, from the first bar's start.
    pub notes: &'a [Note],
}

impl Given {
    /// Whole tracks over the bars `0 .. n_bars` of `n_steps` each, whatever meter the notes were written in; and how many notes begin
    /// outside. Onsets and ends go to the nearest step, and a note keeps at least one.
    #[must_use]
    pub fn from_parts(parts: &[GivenPart<'_>], n_steps: u8, n_bars: u32) -> (Self, usize) {
        let mut given = Self { bars: vec![GivenBar::default(); usize::try_from(n_bars.min(MAX_GIVEN_BARS)).unwrap_or(0)] };
        let (n_bar_steps, n_bars) = (usize::from(n_steps.max(1)), given.bars.len());
        let mut n_outside = 0;
        for part in parts {
            let (Some(track_bit), Ok(track)) = (bit_of(part.track_idx), u8::try_from(part.track_idx)) else {
                n_outside += part.notes.len();
                continue;
            };
            for bar in &mut given.bars {
                bar.tracks |= track_bit;
                bar.drums |= if part.drums { track_bit } else { 0 };
            }
            for note in part.notes {
                let onset = usize::try_from(nearest_step(note.onset.0)).ok().filter(|onset| *onset < n_bars * n_bar_steps);
                let Some(onset) = onset else {
                    n_outside += 1;
                    continue;
                };
                let end = usize::try_from(nearest_step(note.onset.0 + note.duration.0)).unwrap_or(0);
                let end = end.clamp(onset + 1, n_bars * n_bar_steps);
                given.push(track, GridNote { onset, end, pitch: note.pitch, tied: false }, n_bar_steps);
            }
        }
        given.bars.iter_mut().for_each(GivenBar::tidy);
        (given, n_outside)
    }

    /// Puts a note's parts into its bars.
    fn push(&mut self, track: u8, note: GridNote, n_bar_steps: usize) {
        let (first_bar, end_bar) = (note.onset / n_bar_steps, note.end.div_ceil(n_bar_steps));
        for (bar_idx, bar) in self.bars.iter_mut().enumerate().take(end_bar).skip(first_bar) {
            let first = bar_idx * n_bar_steps;
            let (from, to) = (note.onset.max(first) - first, note.end.min(first + n_bar_steps) - first);
            let (Ok(step), Ok(n_steps)) = (u8::try_from(from), u8::try_from(to - from)) else { continue };
            bar.notes.push(GivenNote { track, step, n_steps, pitch: note.pitch, tied: note.tied || first > note.onset });
        }
    }

    /// The notes of a track in bars of `n_steps`, parts of one note joined.
    #[must_use]
    pub fn notes_of(&self, track_idx: usize, n_steps: u8) -> Vec<GridNote> {
        let spans = self.spans(track_idx, n_steps.into()).into_iter();
        spans.map(|Span { onset, end, pitch, tied, .. }| GridNote { onset, end, pitch, tied }).collect()
    }

    /// Takes notes out of a track, by onset and pitch, and puts one in, in bars of `n_steps`; only where the track is given.
    ///
    /// What is put in sounds as it is: in a track of one voice it takes the place of whatever begins under it and cuts what reaches into
    /// it, in one of several voices of its own pitch only. A drum lasts a step.
    pub fn edit(&mut self, track_idx: usize, kind: TrackKind, n_steps: u8, out: &[(usize, Pitch)], put: Option<GridNote>) {
        let (n_bar_steps, Ok(track)) = (usize::from(n_steps.max(1)), u8::try_from(track_idx)) else { return };
        let mut notes = self.notes_of(track_idx, n_steps);
        notes.retain(|note| note.tied || !out.contains(&(note.onset, note.pitch)));
        if let Some(mut new) = put {
            if kind == TrackKind::Onsets {
                new.end = new.onset + 1;
            }
            let is_in_the_way = |note: &GridNote| kind == TrackKind::OneOfN || note.pitch == new.pitch;
            notes.retain(|note| !(is_in_the_way(note) && (new.onset..new.end).contains(&note.onset)));
            for note in notes.iter_mut().filter(|note| is_in_the_way(note) && note.onset < new.onset) {
                note.end = note.end.min(new.onset);
            }
            notes.push(new);
        }
        let given = self.bars_of(track_idx);
        for bar in &mut self.bars {
            bar.notes.retain(|note| note.track != track);
        }
        notes.iter().for_each(|note| self.push(track, *note, n_bar_steps));
        for (bar, idx) in self.bars.iter_mut().zip(0_u32..) {
            bar.notes.retain(|note| note.track != track || given.checked_shr(idx).unwrap_or(0) & 1 == 1);
            bar.tidy();
        }
    }

    /// The bars in which a track is not as it is in `other`; bit `n` is bar `n` of the first 32.
    #[must_use]
    pub fn bars_changed(&self, track_idx: usize, other: &Self) -> u32 {
        let of = |given: &Self, idx: usize| -> Vec<GivenNote> {
            let notes = given.bars.get(idx).map_or(&[][..], |bar| &bar.notes);
            notes.iter().filter(|note| usize::from(note.track) == track_idx).copied().collect()
        };
        let changed = (0..self.bars.len().min(32)).filter(|idx| of(self, *idx) != of(other, *idx));
        changed.filter_map(|idx| u32::try_from(idx).ok()).fold(0, |set, idx| set | 1 << idx)
    }

    /// [`from_parts`](Self::from_parts) of `parts`, each a track and its notes, for a model, and what becomes of them in its cells.
    ///
    /// Pitches move by octaves into the track's range; drums outside it to a neighbour in sound. In a monophonic track the note that
    /// begins last sounds, of several the lowest.
    #[must_use]
    pub fn from_notes(layout: &RollLayout, parts: &[(usize, &[Note])], n_bars: u32) -> (Self, Placed) {
        let is_drums = |idx: usize| layout.tracks.get(idx).is_some_and(|track| track.kind == TrackKind::Onsets);
        let parts: Vec<_> = parts
            .iter()
            .map(|(track_idx, notes)| GivenPart { track_idx: *track_idx, drums: is_drums(*track_idx), notes })
            .collect();
        let (given, n_outside) = Self::from_parts(&parts, layout.n_steps, n_bars);
        let placed = given.cells(layout).1;
        (given, Placed { n_dropped: placed.n_dropped + n_outside, ..placed })
    }

    /// Whether nothing is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bars.iter().all(|bar| bar.tracks == 0)
    }

    /// Bars until it repeats.
    #[must_use]
    pub fn n_bars(&self) -> usize {
        self.bars.len()
    }

    /// Tracks given in a bar of the pattern; bit `n` is track `n`.
    #[must_use]
    pub fn tracks(&self, bar: u32) -> u16 {
        self.bar(bar).map_or(0, |bar| bar.tracks)
    }

    /// Whether a track of that kind is given in a bar of the pattern: drums are given to drums only, and nothing else is.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn has(&self, track_idx: usize, kind: TrackKind, bar: u32) -> bool {
        self.bar(bar).is_some_and(|bar| bar.has(track_idx, kind))
    }

    fn bar(&self, bar: u32) -> Option<&GivenBar> {
        self.bars.get(usize::try_from(bar).ok()?.checked_rem(self.bars.len())?)
    }

    /// The same over another number of bars: repeated, or cut off.
    #[must_use]
    pub fn repeated(&self, n_bars: u32) -> Self {
        Self { bars: (0..n_bars.min(MAX_GIVEN_BARS)).map_while(|bar| self.bar(bar).cloned()).collect() }
    }

    /// The same, cut off or followed by bars in which nothing is given.
    #[must_use]
    pub fn resized(mut self, n_bars: u32) -> Self {
        self.bars.resize_with(usize::try_from(n_bars.min(MAX_GIVEN_BARS)).unwrap_or(0), GivenBar::default);
        self
    }

    /// These tracks in these bars alone (bit `n` is bar `n`), as something that is kept.
    #[must_use]
    pub fn kept(mut self, tracks: u16, bars: u32) -> Self {
        for (bar, idx) in self.bars.iter_mut().zip(0_u32..) {
            bar.retain(if bars.checked_shr(idx).unwrap_or(0) & 1 == 1 { tracks } else { 0 });
            bar.kept = bar.tracks;
        }
        self
    }

    /// The same without these tracks in these bars (bit `n` is bar `n`).
    #[must_use]
    pub fn without(mut self, tracks: u16, bars: u32) -> Self {
        for (bar, idx) in self.bars.iter_mut().zip(0_u32..) {
            bar.retain(if bars.checked_shr(idx).unwrap_or(0) & 1 == 1 { !tracks } else { u16::MAX });
        }
        self
    }

    /// What of it is kept.
    #[must_use]
    pub fn only_kept(mut self) -> Self {
        for bar in &mut self.bars {
            bar.retain(bar.kept);
        }
        self
    }

    /// Lays other bars over these: where both give a track, the others do. What reaches further makes this longer.
    pub fn lay_over(&mut self, others: &Self) {
        if self.bars.len() < others.bars.len() {
            self.bars.resize_with(others.bars.len(), GivenBar::default);
        }
        for (bar, other) in self.bars.iter_mut().zip(&others.bars) {
            bar.retain(!other.tracks);
            bar.tracks |= other.tracks;
            bar.drums |= other.drums;
            bar.kept |= other.kept;
            bar.notes.extend_from_slice(&other.notes);
            bar.tidy();
        }
    }

    /// Replaces one bar by the same bar of other music.
    pub fn replace_bar(&mut self, bar_idx: usize, with: &Self) {
        if let (Some(bar), Some(new)) = (self.bars.get_mut(bar_idx), with.bars.get(bar_idx)) {
            bar.clone_from(new);
        }
    }

    /// Notes that begin in it.
    #[must_use]
    pub fn n_notes(&self) -> usize {
        self.bars.iter().flat_map(|bar| &bar.notes).filter(|note| !note.tied).count()
    }

    /// The bars in which each track is given, `(n_tracks,)`, bit `n` for bar `n` of the first 32.
    #[must_use]
    pub fn bars_of(&self, track_idx: usize) -> u32 {
        let has = |bar: &GivenBar| bit_of(track_idx).is_some_and(|bit| bar.tracks & bit != 0);
        (0_u32..32).zip(&self.bars).filter(|(_, bar)| has(bar)).fold(0, |set, (idx, _)| set | 1 << idx)
    }

    /// Adds everything that makes it what it is to the bytes of a key.
    pub(super) fn write_key(&self, bytes: &mut Vec<u8>) {
        let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes();
        bytes.extend_from_slice(&length(self.bars.len()));
        for bar in &self.bars {
            [bar.tracks, bar.drums, bar.kept].iter().for_each(|set| bytes.extend_from_slice(&set.to_le_bytes()));
            bytes.extend_from_slice(&length(bar.notes.len()));
            bar.notes.iter().for_each(|note| bytes.extend_from_slice(&u32::from(*note).to_le_bytes()));
        }
    }

    /// The cells of a model, and what became of the notes that it has a track for.
    pub(super) fn cells(&self, layout: &RollLayout) -> (GivenCells, Placed) {
        let (n_cells, n_bar_steps) = (layout.n_cells(), usize::from(layout.n_steps));
        let mut cells = GivenCells { known: vec![0; self.bars.len()], on: Vec::new() };
        let mut all_placed = Placed::default();
        for (track_idx, track) in layout.tracks.iter().enumerate() {
            let has: Vec<bool> = self.bars.iter().map(|bar| bar.has(track_idx, track.kind)).collect();
            if !has.contains(&true) {
                continue;
            }
            let (on, placed) = track_cells(track, &self.spans(track_idx, n_bar_steps), self.bars.len() * n_bar_steps);
            let (range, n_track_cells) = (layout.cells_of(track_idx), track.n_cells());
            for (bar_idx, known) in cells.known.iter_mut().enumerate().filter(|(bar_idx, _)| has.get(*bar_idx) == Some(&true)) {
                *known |= bit_of(track_idx).unwrap_or(0);
                let steps = bar_idx * n_bar_steps..(bar_idx + 1) * n_bar_steps;
                for step in steps {
                    let own = on.get(step * n_track_cells..(step + 1) * n_track_cells).unwrap_or(&[]);
                    let set = own.iter().enumerate().filter(|(_, on)| **on);
                    cells.on.extend(set.filter_map(|(cell, _)| u32::try_from(step * n_cells + range.start + cell).ok()));
                }
            }
            all_placed.n_notes += placed.n_notes;
            all_placed.n_moved += placed.n_moved;
            all_placed.n_dropped += placed.n_dropped;
        }
        cells.on.sort_unstable();
        (cells, all_placed)
    }

    /// The notes of a track, in steps from the first bar's start, parts of one note joined.
    fn spans(&self, track_idx: usize, n_bar_steps: usize) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        // Where a note reached the end of the bar before.
        let mut open: Vec<usize> = Vec::new();
        for (bar_idx, bar) in self.bars.iter().enumerate() {
            let before = std::mem::take(&mut open);
            let is_kept = bit_of(track_idx).is_some_and(|bit| bar.kept & bit != 0);
            for note in bar.notes.iter().filter(|note| usize::from(note.track) == track_idx) {
                let from = usize::from(note.step);
                let to = (from + usize::from(note.n_steps)).min(n_bar_steps);
                if from >= to {
                    continue;
                }
                let joined =
                    before.iter().copied().find(|idx| note.tied && spans.get(*idx).is_some_and(|s| s.pitch == note.pitch));
                let idx = joined.unwrap_or(spans.len());
                let end = bar_idx * n_bar_steps + to;
                match spans.get_mut(idx) {
                    Some(span) => span.end = end,
                    None => {
                        let onset = bar_idx * n_bar_steps + from;
                        spans.push(Span { onset, end, pitch: note.pitch, tied: note.tied, is_kept });
                    }
                }
                if to == n_bar_steps {
                    open.push(idx);
                }
            }
        }
        spans
    }

    /// Whether a model can write around it.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self, layout: &RollLayout, listens: bool) -> Result<(), String> {
        if self.bars.len() > usize::try_from(MAX_GIVEN_BARS).unwrap_or(usize::MAX) {
            return Err(format!("it has {} bars, at most {MAX_GIVEN_BARS} are taken", self.bars.len()));
        }
        for (bar, track_idx) in self.bars.iter().flat_map(|bar| (0..16).map(move |track_idx| (bar, track_idx))) {
            let is_heard = bit_of(track_idx).is_some_and(|bit| bar.tracks & !bar.kept & bit != 0);
            if is_heard && !listens {
                return Err("it takes no given track".into());
            }
            let has_place = layout.tracks.get(track_idx).is_some_and(|track| bar.has(track_idx, track.kind));
            if is_heard && !has_place {
                let what = if bar.drums & bit_of(track_idx).unwrap_or(0) != 0 { "drums" } else { "pitches" };
                return Err(format!("it has no track {} that plays {what}", track_idx + 1));
            }
        }
        Ok(())
    }
}

impl GivenBar {
    fn has(&self, track_idx: usize, kind: TrackKind) -> bool {
        let bit = bit_of(track_idx).unwrap_or(0);
        self.tracks & bit != 0 && (self.drums & bit != 0) == (kind == TrackKind::Onsets)
    }

    fn retain(&mut self, tracks: u16) {
        self.tracks &= tracks;
        self.drums &= tracks;
        self.kept &= tracks;
        self.notes.retain(|note| bit_of(note.track.into()).is_some_and(|bit| bit & tracks != 0));
    }

    /// Equal music is equal bytes.
    fn tidy(&mut self) {
        self.notes.sort_unstable();
        self.notes.dedup();
    }
}

fn bit_of(track_idx: usize) -> Option<u16> {
    1_u16.checked_shl(u32::try_from(track_idx).ok()?)
}

/// [`Given`] in a model's cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GivenCells {
    /// Tracks given in each bar; bit `n` is track `n`.
    known: Vec<u16>,
    /// Indices of the cells that are on, ascending, in a roll `(n_bars, n_steps, n_cells)` of the model's layout.
    on: Vec<u32>,
}

impl GivenCells {
    /// Tracks given in a bar of the pattern; bit `n` is track `n`.
    pub fn tracks(&self, bar: u32) -> u16 {
        self.place(bar).and_then(|bar| self.known.get(bar)).copied().unwrap_or(0)
    }

    fn place(&self, bar: u32) -> Option<usize> {
        usize::try_from(bar).ok()?.checked_rem(self.known.len())
    }

    /// Positions of the cells that are on in a bar of the pattern, within that bar, all tracks.
    pub fn on_in_bar(&self, layout: &RollLayout, bar: u32) -> impl Iterator<Item = usize> {
        let n_bar_cells = usize::from(layout.n_steps) * layout.n_cells();
        let start = self.place(bar).unwrap_or(0) * n_bar_cells;
        let index_of = |on: &u32| usize::try_from(*on).unwrap_or(usize::MAX);
        let from = self.on.partition_point(|on| index_of(on) < start);
        self.on.iter().skip(from).map(move |on| index_of(on) - start).take_while(move |on| *on < n_bar_cells)
    }
}

impl GivenCells {
    /// Lays what is given in a bar of the pattern over the bar's cells `(n_steps, n_cells)`.
    pub fn lay<T: Copy>(&self, layout: &RollLayout, bar: u32, cells: &mut [T], off: T, on: T) {
        let tracks = self.tracks(bar);
        for step in cells.chunks_mut(layout.n_cells().max(1)) {
            for track_idx in (0..layout.tracks.len()).filter(|idx| tracks >> idx & 1 == 1) {
                step.get_mut(layout.cells_of(track_idx)).into_iter().for_each(|cells| cells.fill(off));
            }
        }
        self.on_in_bar(layout, bar).for_each(|idx| cells.get_mut(idx).into_iter().for_each(|cell| *cell = on));
    }
}

/// A note in steps from the first bar's start.
#[derive(Clone, Copy, Debug)]
struct Span {
    onset: usize,
    end: usize,
    pitch: Pitch,
    /// It began before.
    tied: bool,
    is_kept: bool,
}

/// A track's cells, `(n_steps, n_track_cells)`.
fn track_cells(track: &TrackLayout, notes: &[Span], n_steps: usize) -> (Vec<bool>, Placed) {
    let (n_track_cells, n_pitches) = (track.n_cells(), usize::from(track.n_pitches));
    let (rest, hold) = (n_pitches, n_pitches + 1);
    let mut placed = Placed::default();
    // With the pitch within the range.
    let mut spans: Vec<(usize, Span)> = Vec::with_capacity(notes.len());
    for note in notes {
        let number = match track.kind {
            TrackKind::Onsets if note.is_kept => within(track, note.pitch.number()),
            TrackKind::Onsets => drum_of(track, note.pitch.number()),
            _ => fold(track, note.pitch),
        };
        let Some(idx) = number else {
            placed.n_dropped += 1;
            continue;
        };
        placed.n_notes += 1;
        placed.n_moved += usize::from(idx + track.lowest_pitch.number() != note.pitch.number());
        spans.push((idx.into(), *note));
    }
    // The highest of those that begin together first: in a monophonic track the lowest then replaces them.
    spans.sort_unstable_by_key(|(idx, span)| (span.onset, !span.tied, std::cmp::Reverse(*idx), span.end));
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
        for (idx, Span { onset, end, tied, .. }) in spans {
            // What sounded before ends, and does not come back.
            for (step, state) in states.iter_mut().enumerate().take(end.max(last_end)).skip(onset) {
                *state = if step == onset && !tied {
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
    for (idx, Span { onset, end, tied, .. }) in spans {
        set(onset, idx, !tied);
        let Some(last_end) = last_ends.get_mut(idx).filter(|_| track.kind == TrackKind::OnsetSustain) else { continue };
        // A note of the same pitch that went on ends here.
        let held = onset + usize::from(!tied)..end;
        (onset..end.max(*last_end)).for_each(|step| set(step, n_pitches + idx, held.contains(&step)));
        *last_end = end;
    }
    (cells, placed)
}

/// The place of a pitch in a track's range.
fn within(track: &TrackLayout, number: u8) -> Option<u8> {
    number.checked_sub(track.lowest_pitch.number()).filter(|idx| *idx < track.n_pitches)
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
    within(track, class).or_else(|| within(track, number))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        generate::manifest::tests::small_band,
        music::{
            decode::{DecodeParams, StepState, one_of_n, onset_sustain, onsets},
            note::{Pitch, tests::note},
            time::TICKS_PER_STEP,
        },
    };

    fn layout(kind: TrackKind, lowest: i32, n_pitches: u8) -> RollLayout {
        let lowest_pitch = Pitch::new(lowest).unwrap();
        let other = TrackLayout { kind: TrackKind::Onsets, lowest_pitch, n_pitches: 3, merge_repeats: false };
        RollLayout { n_steps: 6, tracks: vec![other, TrackLayout { kind, n_pitches, ..other }] }
    }

    /// The second track's cells over the bars, step by step.
    fn steps(layout: &RollLayout, notes: &[Note], n_bars: u32) -> (Vec<Vec<i8>>, Placed) {
        let (given, placed) = Given::from_notes(layout, &[(1, notes)], n_bars);
        given.check(layout, true).unwrap();
        let kind = |idx: usize| layout.tracks[idx].kind;
        assert_eq!((given.n_bars(), given.has(1, kind(1), 0), given.has(0, kind(0), 0)), (n_bars as usize, true, false));
        let cells = rolled(&given, layout, n_bars);
        (cells.chunks(layout.n_cells()).map(|step| step[layout.cells_of(1)].to_vec()).collect(), placed)
    }

    /// A roll of what is given and nothing else, `(n_bars, n_steps, n_cells)`.
    pub(crate) fn rolled(given: &Given, layout: &RollLayout, n_bars: u32) -> Vec<i8> {
        let n_bar_cells = usize::from(layout.n_steps) * layout.n_cells();
        let mut cells = vec![i8::MIN; n_bars as usize * n_bar_cells];
        let given = given.cells(layout).0;
        for (bar, cells) in (0..n_bars).zip(cells.chunks_mut(n_bar_cells)) {
            given.on_in_bar(layout, bar).for_each(|on| cells[on] = i8::MAX);
        }
        cells
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
        let cells = given.cells(&layout).0;
        let on = |bar| cells.on_in_bar(&layout, bar).collect::<Vec<_>>();
        // Four steps of 14 cells a bar: drum 37, pitch 31, then rests; the second bar's second step is pitch 34.
        assert_eq!((on(0), on(1)), (vec![1, 4, 22, 36, 50], vec![8, 21, 36, 50]));
        assert_eq!((on(0), on(1)), (on(4), on(5)));
        let json = serde_json::to_string(&given).unwrap();
        assert_eq!(serde_json::from_str::<Given>(&json).unwrap(), given);
        for wrong in
            ["[{}, 3]", r#"[{"tracks": 70000}]"#, r#"[{"tracks": 1, "notes": [60]}]"#, r#"[{"tracks": 1, "notes": [67109052]}]"#]
        {
            assert!(serde_json::from_str::<Given>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bars_are_kept_laid_over_and_taken_out_apart() {
        let layout = small_band().layout();
        // Bars of four steps. The bass holds from bar 0 into bar 2, the drums play one note in each bar.
        let (bass, drums) = ([note(240, 840, 33), note(1320, 120, 31)], [note(120, 9, 37), note(600, 9, 36), note(1200, 9, 38)]);
        let (given, _) = Given::from_notes(&layout, &[(1, &bass), (0, &drums)], 3);
        assert_eq!((given.n_notes(), given.bars_of(0), given.bars_of(1), given.bars_of(2)), (5, 0b111, 0b111, 0));
        let bass_of = |given: &Given, bar| {
            let cells = given.cells(&layout).0;
            let on: Vec<usize> = cells.on_in_bar(&layout, bar).filter(|on| layout.cells_of(1).contains(&(on % 14))).collect();
            on.into_iter().map(|on| on % 14 - 3).collect::<Vec<_>>()
        };
        // Five pitches from 30, then rest (5) and hold (6). A lock of the middle alone goes on holding.
        assert_eq!([bass_of(&given, 0), bass_of(&given, 1), bass_of(&given, 2)], [[5, 5, 3, 6], [6; 4], [6, 5, 5, 1]]);
        let middle = given.clone().kept(0b10, 0b010);
        assert_eq!((middle.bars_of(0), middle.bars_of(1), bass_of(&middle, 1)), (0, 0b010, vec![6; 4]));
        assert_eq!((middle.clone().only_kept(), given.clone().only_kept().is_empty()), (middle.clone(), true));
        assert!(middle.clone().without(0b10, 0b010).is_empty());
        // Over others it replaces what it gives and leaves the rest.
        let (mut other, _) = Given::from_notes(&layout, &[(1, &[note(0, 480, 30)]), (2, &[note(5, 90, 60)])], 1);
        other = other.repeated(4);
        other.lay_over(&middle);
        assert_eq!([bass_of(&other, 0), bass_of(&other, 1), bass_of(&other, 3)], [[0, 6, 6, 6], [6; 4], [0, 6, 6, 6]]);
        assert_eq!((other.bars_of(2), other.n_bars(), other.resized(2).bars_of(1)), (0b1111, 4, 0b11));
        // Drums are for drums only.
        assert!(given.has(0, TrackKind::Onsets, 4) && !given.has(0, TrackKind::OneOfN, 4));
        assert!(given.has(1, TrackKind::OneOfN, 4) && !given.has(1, TrackKind::Onsets, 4));
    }

    #[test]
    fn an_edit_sounds_as_it_was_drawn_and_leaves_the_rest() {
        let layout = layout(TrackKind::OneOfN, 30, 24);
        let kind = TrackKind::OneOfN;
        // Bars of six steps: F from 1 over the bar line to 8, then A at 9; drums beside them.
        let parts: [(usize, &[Note]); 2] = [(1, &[note(120, 840, 41), note(1080, 240, 45)]), (0, &[note(240, 9, 31)])];
        let (given, _) = Given::from_notes(&layout, &parts, 2);
        let edited = |out: &[(usize, i32)], put: Option<(usize, usize, i32)>, kind| {
            let pitch = |number| Pitch::new(number).unwrap();
            let out: Vec<_> = out.iter().map(|(onset, number)| (*onset, pitch(*number))).collect();
            let put = put.map(|(onset, end, number)| GridNote { onset, end, pitch: pitch(number), tied: false });
            let mut edited = given.clone();
            edited.edit(1, kind, 6, &out, put);
            assert_eq!(edited.notes_of(0, 6), given.notes_of(0, 6));
            let mut notes: Vec<_> =
                edited.notes_of(1, 6).iter().map(|note| (note.onset, note.end, note.pitch.number())).collect();
            notes.sort_unstable();
            (notes, edited.bars_changed(1, &given))
        };
        assert_eq!(edited(&[], None, kind), (vec![(1, 8, 41), (9, 11, 45)], 0));
        assert_eq!(edited(&[(2, 41), (1, 42)], None, kind), (vec![(1, 8, 41), (9, 11, 45)], 0), "there is no such note");
        assert_eq!(edited(&[(1, 41)], None, kind), (vec![(9, 11, 45)], 0b11));
        assert_eq!(edited(&[(9, 45)], Some((9, 10, 47)), kind), (vec![(1, 8, 41), (9, 10, 47)], 0b10));
        // One voice: what is under it gives way, what reaches into it ends.
        assert_eq!(edited(&[], Some((6, 10, 47)), kind), (vec![(1, 6, 41), (6, 10, 47)], 0b10));
        assert_eq!(edited(&[], Some((0, 2, 47)), kind), (vec![(0, 2, 47), (9, 11, 45)], 0b11));
        // Several: of its own pitch only.
        let poly = TrackKind::OnsetSustain;
        assert_eq!(edited(&[], Some((6, 10, 47)), poly).0, [(1, 8, 41), (6, 10, 47), (9, 11, 45)]);
        assert_eq!(edited(&[], Some((6, 10, 41)), poly).0, [(1, 6, 41), (6, 10, 41), (9, 11, 45)]);
        assert_eq!(edited(&[], Some((6, 10, 50)), TrackKind::Onsets).0[1], (6, 7, 50));
        // A bar that is not given stays so; the rest of a note in another goes on from nowhere.
        let mut second = given.without(0b10, 0b01);
        second.edit(1, kind, 6, &[], Some(GridNote { onset: 3, end: 7, pitch: Pitch::new(50).unwrap(), tied: false }));
        assert_eq!((second.bars_of(1), second.notes_of(1, 6)[0].tied), (0b10, true));
    }

    #[test]
    fn drums_that_a_pattern_played_stay_where_they_were() {
        let layout = layout(TrackKind::Onsets, 36, 35);
        let on = |given: &Given| given.cells(&layout).0.on_in_bar(&layout, 0).map(|on| on - 3).collect::<Vec<_>>();
        let (given, _) = Given::from_notes(&layout, &[(1, &[note(0, 9, 43)])], 1);
        assert_eq!((on(&given), on(&given.kept(2, 1))), (vec![41 - 36], vec![43 - 36]));
    }
}
