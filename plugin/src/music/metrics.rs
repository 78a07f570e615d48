//! Figures of a piece, per track and between tracks: the correct ones, and the *legacy* ones as the code computed them that made
//! MuseGAN's and BinaryMuseGAN's published numbers. Pure; any thread but the audio thread.
//!
//! Everything counts on the grid of sixteenths, in bars of 16. `models/band_metrics.py` computes the same over sets of phrases;
//! `tests/fixtures/metrics.json` holds one to the other.

use super::{
    note::{Note, Pitch, PitchClass},
    scale::Scale,
    time::TICKS_PER_STEP,
};
use serde::Serialize;
use std::{array, f64::consts::PI, iter};

/// Steps of a bar.
pub const BAR_STEPS: usize = 16;
const BEAT_STEPS: usize = 4;
/// A note of an eighth is long enough for [`Figures::qualified_notes`].
const QUALIFIED_STEPS: usize = 2;
/// What an onset between two eighths counts in the drum pattern.
const DP_TOLERANCE: f64 = 0.1;
/// Pitch classes of C major, by which all diatonic scales are found.
const SCALE: Scale = Scale::Major;
/// Cells per sixteenth of the published rolls: 96 per bar.
pub const LEGACY_FACTOR: usize = 6;
/// Legacy rolls hold MIDI pitches 24 to 107.
const LEGACY_LOWEST: u32 = 24;
const LEGACY_PITCHES: u32 = 84;

/// A set of pitches, bit `n` for pitch `n`.
type Pitches = u128;

/// A note on the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepNote {
    /// Sixteenths from the start.
    pub onset_steps: usize,
    /// Sixteenths, at least one.
    pub duration_steps: usize,
    /// Pitch.
    pub pitch: Pitch,
}

impl StepNote {
    /// The nearest steps of a note, halves later; at least one step long. `None` before the start.
    #[must_use]
    pub fn nearest(note: &Note) -> Option<Self> {
        let step = |ticks: i64| usize::try_from((ticks + TICKS_PER_STEP / 2).div_euclid(TICKS_PER_STEP)).ok();
        let onset_steps = step(note.onset.0)?;
        let end = step(note.onset.0 + note.duration.0)?;
        Some(Self { onset_steps, duration_steps: end.saturating_sub(onset_steps).max(1), pitch: note.pitch })
    }
}

/// One track on the grid of sixteenths: what begins and what sounds at each step. **Shape** of both: `(n_bars * 16)` sets of pitches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTrack {
    onsets: Vec<Pitches>,
    sounding: Vec<Pitches>,
    is_drums: bool,
}

/// The figures of one track; `None` where there is nothing to measure. Bars in which nothing sounds count in `empty_bars` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Share of bars in which nothing sounds.
    pub empty_bars: Option<f64>,
    /// Onsets per bar.
    pub notes_per_active_bar: Option<f64>,
    /// Pitches per bar.
    pub pitches_per_bar: Option<f64>,
    /// Pitch classes per bar (UPC by true chroma); none for drums.
    pub pitch_classes_per_bar: Option<f64>,
    /// Share of notes that last an eighth or longer (QN as a musical length); none for drums.
    pub qualified_notes: Option<f64>,
    /// Pitches per step in which any sounds.
    pub polyphony: Option<f64>,
    /// Share of steps in which two pitches or more sound (PP).
    pub polyphonic_rate: Option<f64>,
    /// DP: an onset on an eighth counts 1, between eighths 0.1; per bar over its onsets, mean over bars. Drums only.
    pub drum_pattern: Option<f64>,
    /// Share of onsets on eighths.
    pub onsets_on_eighths: Option<f64>,
    /// Share of onsets on quarters.
    pub onsets_on_quarters: Option<f64>,
    /// Share of sounding time in the best of the twelve major scales; none for drums.
    pub time_in_best_scale: Option<f64>,
    /// Common onsets of neighbouring bars over all of theirs, where both have some.
    pub bar_to_bar_onset_iou: Option<f64>,
}

impl Figures {
    /// All of them by their names for people, in the order of the fields.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<f64>); 12] {
        [
            ("empty bars", self.empty_bars),
            ("notes per bar that plays", self.notes_per_active_bar),
            ("pitches per bar", self.pitches_per_bar),
            ("pitch classes per bar", self.pitch_classes_per_bar),
            ("notes of an eighth or longer", self.qualified_notes),
            ("polyphony", self.polyphony),
            ("polyphonic rate", self.polyphonic_rate),
            ("drum pattern", self.drum_pattern),
            ("onsets on eighths", self.onsets_on_eighths),
            ("onsets on quarters", self.onsets_on_quarters),
            ("time in best scale", self.time_in_best_scale),
            ("like the bar before", self.bar_to_bar_onset_iou),
        ]
    }
}

/// Whose code a legacy figure follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyVersion {
    /// MuseGAN: "pitch classes" are groups of 7 neighbouring pitches.
    V1,
    /// BinaryMuseGAN: groups of 8.
    V2,
}

/// The legacy figures of one track.
///
/// # Source
/// `v1/musegan/eval/metrics.py` of `salu133445/musegan`; `musegan/utils/metrics.py` of `salu133445/bmusegan`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LegacyFigures {
    /// EB.
    pub eb: Option<f64>,
    /// UPC by groups of 7 neighbours; none for drums.
    pub upc_v1: Option<f64>,
    /// UPC by groups of 8 neighbours; none for drums.
    pub upc_v2: Option<f64>,
    /// QN: runs of two cells or more, cut at bar lines; none for drums.
    pub qn: Option<f64>,
    /// PP: share of cells with two pitches or more; none for drums.
    pub pp: Option<f64>,
    /// DP with 0.3 for what lies beside; drums only.
    pub dp_v1: Option<f64>,
    /// DP with 0.1; drums only.
    pub dp_v2: Option<f64>,
}

/// A piano roll as the published code knew them. **Shape**: `(n_bars * n_bar_cells)` sets of 84 pitches.
#[derive(Clone, Debug)]
pub struct LegacyRoll {
    cells: Vec<Pitches>,
    n_bar_cells: usize,
}

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    (n > 0.0).then(|| sum / n)
}

fn share(these: impl IntoIterator<Item = bool>) -> Option<f64> {
    mean(these.into_iter().map(|is| f64::from(u8::from(is))))
}

fn count(set: Pitches) -> f64 {
    f64::from(set.count_ones())
}

fn union(sets: &[Pitches]) -> Pitches {
    sets.iter().fold(0, |all, set| all | set)
}

fn bits(set: Pitches) -> impl Iterator<Item = u32> {
    iter::successors(Some(set), |left| Some(left & left.wrapping_sub(1)))
        .take_while(|left| *left != 0)
        .map(Pitches::trailing_zeros)
}

/// How many cells of each pitch class: octaves fold.
fn chroma(sets: &[Pitches]) -> [f64; 12] {
    array::from_fn(|class| {
        let octaves = (class..128).step_by(12).fold(0, |mask: Pitches, pitch| mask | 1 << pitch);
        sets.iter().map(|set| count(set & octaves)).sum()
    })
}

/// Where weights of the pitch classes lie in the space of fifths, minor and major thirds; `None` of silence.
///
/// # Source
/// Harte, Sandler, Gasser 2006, with radii 1, 1, 0.5.
fn tonal_centroid(chroma: &[f64; 12]) -> Option<[f64; 6]> {
    let total: f64 = chroma.iter().sum();
    if total == 0.0 {
        return None;
    }
    let circles = [(7.0 / 6.0, 1.0), (3.0 / 2.0, 1.0), (2.0 / 3.0, 0.5)];
    let mut centroid = [0.0; 6];
    for (at, (turn, radius)) in centroid.chunks_exact_mut(2).zip(circles) {
        let (mut x, mut y, mut class) = (0.0, 0.0, 0.0);
        for weight in chroma {
            let (sin, cos) = (class * turn * PI).sin_cos();
            x += radius * sin * weight / total;
            y += radius * cos * weight / total;
            class += 1.0;
        }
        at.copy_from_slice(&[x, y]);
    }
    Some(centroid)
}

fn distance(a: &[f64; 6], b: &[f64; 6]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

impl StepTrack {
    /// The track of these notes. What lies beyond `n_bars` is cut; of equal onsets of a pitch the longest counts; a note ends where
    /// its pitch begins again; drums sound at their onsets only.
    #[must_use]
    pub fn new(notes: impl IntoIterator<Item = StepNote>, n_bars: usize, is_drums: bool) -> Self {
        let n_steps = n_bars * BAR_STEPS;
        let mut track = Self { onsets: vec![0; n_steps], sounding: vec![0; n_steps], is_drums };
        for note in notes {
            let pitch: Pitches = 1 << note.pitch.number();
            let length = if is_drums { 1 } else { note.duration_steps.max(1) };
            track.onsets.iter_mut().skip(note.onset_steps).take(1).for_each(|set| *set |= pitch);
            track.sounding.iter_mut().skip(note.onset_steps).take(length).for_each(|set| *set |= pitch);
        }
        track
    }

    /// The pitched track of which these pitches begin and sound at each step. **Shape** of both: `(n_steps,)`, bit `n` for pitch `n`.
    #[must_use]
    pub fn of_sets(onsets: Vec<u128>, sounding: Vec<u128>) -> Self {
        Self { onsets, sounding, is_drums: false }
    }

    fn bars(&self) -> impl Iterator<Item = (&[Pitches], &[Pitches])> {
        self.onsets.chunks_exact(BAR_STEPS).zip(self.sounding.chunks_exact(BAR_STEPS))
    }

    fn active_bars(&self) -> impl Iterator<Item = (&[Pitches], &[Pitches])> {
        self.bars().filter(|(_, sounding)| union(sounding) != 0)
    }

    /// The notes, by onset and pitch.
    #[must_use]
    pub fn notes(&self) -> Vec<StepNote> {
        let mut notes = Vec::new();
        for (onset_steps, set) in self.onsets.iter().enumerate() {
            for bit in bits(*set) {
                let rest = self.onsets.iter().zip(&self.sounding).skip(onset_steps + 1);
                let held = rest.take_while(|(onset, sounding)| *sounding & !*onset & (1 << bit) != 0).count();
                let pitch = i32::try_from(bit).ok().and_then(Pitch::new).unwrap_or_default();
                notes.push(StepNote { onset_steps, duration_steps: 1 + held, pitch });
            }
        }
        notes
    }

    /// Onsets by their sixteenth of the bar.
    #[must_use]
    pub fn attacks(&self) -> [f64; BAR_STEPS] {
        array::from_fn(|step| self.onsets.iter().skip(step).step_by(BAR_STEPS).map(|set| count(*set)).sum())
    }

    /// Onsets by bar. **Shape**: `(n_bars,)`.
    #[must_use]
    pub fn notes_per_bar(&self) -> Vec<f64> {
        self.bars().map(|(onsets, _)| onsets.iter().map(|set| count(*set)).sum()).collect()
    }

    /// Sounding time by pitch class, in sixteenths.
    #[must_use]
    pub fn tones(&self) -> [f64; 12] {
        chroma(&self.sounding)
    }

    /// The figures of this track.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let pitched = |figure: Option<f64>| figure.filter(|_| !self.is_drums);
        let on = |every: usize| {
            let all: f64 = self.onsets.iter().map(|set| count(*set)).sum();
            let there: f64 = self.onsets.iter().step_by(every).map(|set| count(*set)).sum();
            (all > 0.0).then(|| there / all)
        };
        let neighbours = self.onsets.chunks_exact(BAR_STEPS).zip(self.onsets.chunks_exact(BAR_STEPS).skip(1));
        Figures {
            empty_bars: share(self.bars().map(|(_, sounding)| union(sounding) == 0)),
            notes_per_active_bar: mean(self.active_bars().map(|(onsets, _)| onsets.iter().map(|set| count(*set)).sum())),
            pitches_per_bar: mean(self.active_bars().map(|(_, sounding)| count(union(sounding)))),
            pitch_classes_per_bar: pitched(mean(
                self.active_bars().map(|(_, sounding)| classes_used(&chroma(&[union(sounding)]))),
            )),
            qualified_notes: pitched(share(self.notes().iter().map(|n| n.duration_steps >= QUALIFIED_STEPS))),
            polyphony: mean(self.sounding.iter().filter(|set| **set != 0).map(|set| count(*set))),
            polyphonic_rate: share(self.active_bars().flat_map(|(_, sounding)| sounding.iter().map(|set| set.count_ones() >= 2))),
            drum_pattern: mean(self.bars().filter(|(onsets, _)| union(onsets) != 0).map(|(onsets, _)| drum_pattern(onsets)))
                .filter(|_| self.is_drums),
            onsets_on_eighths: on(2),
            onsets_on_quarters: on(4),
            time_in_best_scale: pitched(best_scale([self]).map(|(_, share)| share)),
            bar_to_bar_onset_iou: mean(neighbours.filter(|(a, b)| union(a) != 0 && union(b) != 0).map(|(a, b)| iou(a, b))),
        }
    }

    /// The legacy figures of this track, with `factor` cells per sixteenth ([`LEGACY_FACTOR`] as published).
    #[must_use]
    pub fn legacy_figures(&self, factor: usize) -> LegacyFigures {
        let roll = self.legacy_roll(factor);
        let pitched = |figure: Option<f64>| figure.filter(|_| !self.is_drums);
        let drums = |figure: Option<f64>| figure.filter(|_| self.is_drums);
        LegacyFigures {
            eb: roll.empty_bars(),
            upc_v1: pitched(roll.pitch_classes_used(LegacyVersion::V1)),
            upc_v2: pitched(roll.pitch_classes_used(LegacyVersion::V2)),
            qn: pitched(roll.qualified_notes()),
            pp: pitched(roll.polyphonic_rate()),
            dp_v1: drums(roll.drum_pattern(LegacyVersion::V1)),
            dp_v2: drums(roll.drum_pattern(LegacyVersion::V2)),
        }
    }

    /// Tonal distance to another track (TD): per beat, mean over the beats in which both sound.
    #[must_use]
    pub fn tonal_distance(&self, other: &Self) -> Option<f64> {
        let beats = |track: &Self| -> Vec<Option<[f64; 6]>> {
            track.sounding.chunks_exact(BEAT_STEPS).map(|beat| tonal_centroid(&chroma(beat))).collect()
        };
        mean(beats(self).iter().zip(&beats(other)).filter_map(|(a, b)| Some(distance(a.as_ref()?, b.as_ref()?))))
    }

    /// The legacy tonal distance at 96 cells per bar.
    #[must_use]
    pub fn legacy_tonal_distance(&self, other: &Self, version: LegacyVersion) -> Option<f64> {
        self.legacy_roll(LEGACY_FACTOR).tonal_distance(&other.legacy_roll(LEGACY_FACTOR), version)
    }

    /// This track with `factor` cells per sixteenth. Drums last one cell; a note that its pitch follows ends a cell earlier, as in the
    /// published data, if the factor leaves room.
    #[must_use]
    pub fn legacy_roll(&self, factor: usize) -> LegacyRoll {
        let factor = factor.max(1);
        let inside = |set: Pitches| (set >> LEGACY_LOWEST) & ((1 << LEGACY_PITCHES) - 1);
        let next = self.onsets.iter().skip(1).copied().chain([0]);
        let cells = self.onsets.iter().zip(&self.sounding).zip(next).flat_map(|((onset, sounding), next)| {
            (0..factor).map(move |cell| match (self.is_drums, cell) {
                (true, 0) => inside(*onset),
                (true, _) => 0,
                (false, cell) if factor > 1 && cell == factor - 1 => inside(sounding & !next),
                (false, _) => inside(*sounding),
            })
        });
        LegacyRoll { cells: cells.collect(), n_bar_cells: BAR_STEPS * factor }
    }
}

/// How alike every two bars are: the onsets (track, pitch and sixteenth) in common over all of theirs, 1 for the same and 0 for nothing
/// in common or nothing at all. **Shape**: `(n_bars, n_bars)`.
#[must_use]
pub fn bar_likeness(tracks: &[&StepTrack]) -> Vec<Vec<f64>> {
    let n_bars = tracks.iter().map(|track| track.onsets.len() / BAR_STEPS).max().unwrap_or(0);
    let bar = |track: &StepTrack, idx: usize| -> Vec<Pitches> {
        track.onsets.iter().skip(idx * BAR_STEPS).take(BAR_STEPS).copied().collect()
    };
    let bars: Vec<Vec<Pitches>> = (0..n_bars).map(|idx| tracks.iter().flat_map(|track| bar(track, idx)).collect()).collect();
    let like = |a: &Vec<Pitches>, b: &Vec<Pitches>| Some(iou(a, b)).filter(|share| share.is_finite()).unwrap_or(0.0);
    bars.iter().map(|a| bars.iter().map(|b| like(a, b)).collect()).collect()
}

/// The major scale that holds most of the sounding time of these tracks, by its tonic, and how much it holds. `None` of silence.
#[must_use]
pub fn best_scale<'a>(tracks: impl IntoIterator<Item = &'a StepTrack>) -> Option<(PitchClass, f64)> {
    let sum = chroma_of_all(tracks);
    // Of equal ones the lowest tonic.
    (0..12).map(PitchClass::of).rev().filter_map(|tonic| Some((tonic, inside(tonic, &sum)?))).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// How much of the sounding time of these tracks lies in the major scale on a tonic. `None` of silence.
#[must_use]
pub fn time_in_scale<'a>(tracks: impl IntoIterator<Item = &'a StepTrack>, tonic: PitchClass) -> Option<f64> {
    inside(tonic, &chroma_of_all(tracks))
}

fn chroma_of_all<'a>(tracks: impl IntoIterator<Item = &'a StepTrack>) -> [f64; 12] {
    let mut sum = [0.0; 12];
    for track in tracks {
        for (sum, of_track) in sum.iter_mut().zip(chroma(&track.sounding)) {
            *sum += of_track;
        }
    }
    sum
}

/// Share of the weights that lie in the major scale on a tonic.
fn inside(tonic: PitchClass, chroma: &[f64; 12]) -> Option<f64> {
    let tonic = i32::from(tonic.number());
    let is_in = |class: i32| SCALE.classes() & (1 << (class - tonic).rem_euclid(12)) != 0;
    let total: f64 = chroma.iter().sum();
    let within: f64 = (0..12).zip(chroma).filter(|(class, _)| is_in(*class)).map(|(_, weight)| weight).sum();
    (total > 0.0).then(|| within / total)
}

fn classes_used(chroma: &[f64; 12]) -> f64 {
    chroma.iter().map(|n| f64::from(u8::from(*n > 0.0))).sum()
}

fn drum_pattern(onsets: &[Pitches]) -> f64 {
    let weights = iter::repeat([1.0, DP_TOLERANCE]).flatten();
    let scored: f64 = onsets.iter().zip(weights).map(|(set, weight)| count(*set) * weight).sum();
    scored / onsets.iter().map(|set| count(*set)).sum::<f64>()
}

fn iou(a: &[Pitches], b: &[Pitches]) -> f64 {
    let cells = |of: fn(Pitches, Pitches) -> Pitches| a.iter().zip(b).map(|(a, b)| count(of(*a, *b))).sum::<f64>();
    cells(|a, b| a & b) / cells(|a, b| a | b)
}

impl LegacyVersion {
    /// Pitches in one "pitch class".
    fn group(self) -> u32 {
        match self {
            Self::V1 => 7,
            Self::V2 => 8,
        }
    }

    /// What a drum onset one cell beside a sixteenth counts.
    fn tolerance(self) -> f64 {
        match self {
            Self::V1 => 0.3,
            Self::V2 => 0.1,
        }
    }

    fn chroma(self, sets: &[Pitches]) -> [f64; 12] {
        let group: Pitches = (1 << self.group()) - 1;
        let mut shift = 0;
        array::from_fn(|_| {
            let mask = group << shift;
            shift += self.group();
            sets.iter().map(|set| count(set & mask)).sum()
        })
    }
}

impl LegacyRoll {
    fn bars(&self) -> impl Iterator<Item = &[Pitches]> {
        self.cells.chunks_exact(self.n_bar_cells)
    }

    fn active_bars(&self) -> impl Iterator<Item = &[Pitches]> {
        self.bars().filter(|bar| union(bar) != 0)
    }

    /// EB.
    #[must_use]
    pub fn empty_bars(&self) -> Option<f64> {
        share(self.bars().map(|bar| union(bar) == 0))
    }

    /// UPC.
    #[must_use]
    pub fn pitch_classes_used(&self, version: LegacyVersion) -> Option<f64> {
        mean(self.active_bars().map(|bar| classes_used(&version.chroma(&[union(bar)]))))
    }

    /// QN: the papers say three cells, the code says two.
    #[must_use]
    pub fn qualified_notes(&self) -> Option<f64> {
        mean(self.active_bars().map(|bar| {
            let before = |idx: usize| idx.checked_sub(1).and_then(|idx| bar.get(idx)).copied().unwrap_or(0);
            let after = |idx: usize| bar.get(idx + 1).copied().unwrap_or(0);
            let starts = |idx: usize, set: Pitches| set & !before(idx);
            let all: f64 = bar.iter().enumerate().map(|(idx, set)| count(starts(idx, *set))).sum();
            let long: f64 = bar.iter().enumerate().map(|(idx, set)| count(starts(idx, *set) & after(idx))).sum();
            long / all
        }))
    }

    /// PP: the paper says more than two pitches, the code says two.
    #[must_use]
    pub fn polyphonic_rate(&self) -> Option<f64> {
        mean(self.active_bars().filter_map(|bar| share(bar.iter().map(|set| set.count_ones() >= 2))))
    }

    /// DP: 1 on each sixteenth, the version's tolerance one cell beside (1 on eighths and the tolerance between at one cell per
    /// sixteenth), with the best rotation of the pattern.
    #[must_use]
    pub fn drum_pattern(&self, version: LegacyVersion) -> Option<f64> {
        let tolerance = version.tolerance();
        let fine = [1.0, tolerance, 0.0, 0.0, 0.0, tolerance];
        let mask = if self.n_bar_cells == BAR_STEPS { &[1.0, tolerance][..] } else { &fine };
        mean(self.active_bars().map(|bar| {
            let before = iter::once(&0).chain(bar);
            let onsets: Vec<f64> = bar.iter().zip(before).map(|(set, before)| count(set & !before)).collect();
            let score = |shift: usize| -> f64 {
                let weights = mask.iter().cycle().skip(mask.len() - shift);
                onsets.iter().zip(weights).map(|(n, weight)| n * weight).sum()
            };
            (0..mask.len()).map(score).fold(0.0, f64::max) / onsets.iter().sum::<f64>()
        }))
    }

    /// TD: per beat, mean over a bar; bars in which a track is silent for a beat are left out.
    #[must_use]
    pub fn tonal_distance(&self, other: &Self, version: LegacyVersion) -> Option<f64> {
        let n_beat_cells = self.n_bar_cells * BEAT_STEPS / BAR_STEPS;
        let beats = |bar: &[Pitches]| -> Option<Vec<[f64; 6]>> {
            bar.chunks_exact(n_beat_cells).map(|beat| tonal_centroid(&version.chroma(beat))).collect()
        };
        let bar = |(a, b)| mean(beats(a)?.iter().zip(&beats(b)?).map(|(a, b)| distance(a, b)));
        mean(self.bars().zip(other.bars()).filter_map(bar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Figures of lopsided pieces, made by `tests/fixtures/make_metrics.py` with the Python side's code.
    const FIXTURE: &str = include_str!("../../../tests/fixtures/metrics.json");

    fn note(onset_steps: usize, duration_steps: usize, pitch: i32) -> StepNote {
        StepNote { onset_steps, duration_steps, pitch: Pitch::new(pitch).unwrap() }
    }

    fn track(of: &Value, n_bars: usize) -> StepTrack {
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let notes = of["notes"].as_array().unwrap().iter();
        let notes = notes.map(|n| note(number(&n[0]), number(&n[1]), i32::try_from(n[2].as_i64().unwrap()).unwrap()));
        StepTrack::new(notes, n_bars, of["is_drums"].as_bool().unwrap())
    }

    /// Sums run in another order than in numpy.
    fn assert_near(what: &str, ours: &Value, wanted: &Value) {
        match (ours.as_f64(), wanted.as_f64()) {
            (Some(ours), Some(wanted)) => assert!((ours - wanted).abs() < 1e-9, "{what}: {ours} is not {wanted}"),
            _ => assert!(ours.is_null() && wanted.is_null(), "{what}: {ours} is not {wanted}"),
        }
    }

    fn assert_all(what: &str, ours: impl Serialize, wanted: &Value) {
        let (ours, wanted) = (serde_json::to_value(ours).unwrap(), wanted.as_object().unwrap());
        assert_eq!(ours.as_object().unwrap().len(), wanted.len(), "{what}");
        for (name, value) in wanted {
            assert_near(&format!("{what} {name}"), &ours[name], value);
        }
    }

    #[test]
    fn figures_are_those_of_the_python_side() {
        let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
        for (idx, piece) in fixture["pieces"].as_array().unwrap().iter().enumerate() {
            let n_bars = usize::try_from(piece["n_bars"].as_u64().unwrap()).unwrap();
            let wanted = piece["tracks"].as_array().unwrap();
            let tracks: Vec<StepTrack> = wanted.iter().map(|of| track(of, n_bars)).collect();
            for (at, (track, wanted)) in tracks.iter().zip(wanted).enumerate() {
                let what = format!("piece {idx}, track {at}");
                assert_all(&what, track.figures(), &wanted["figures"]);
                assert_all(&format!("{what}, legacy"), track.legacy_figures(LEGACY_FACTOR), &wanted["legacy"]);
                assert_all(&format!("{what}, legacy at 16"), track.legacy_figures(1), &wanted["legacy_at_16"]);
            }
            for pair in piece["pairs"].as_array().unwrap() {
                let of = |idx: usize| &tracks[usize::try_from(pair["tracks"][idx].as_u64().unwrap()).unwrap()];
                let (a, b) = (of(0), of(1));
                assert_near("TD", &a.tonal_distance(b).into(), &pair["tonal_distance"]);
                for (version, name) in [(LegacyVersion::V1, "legacy_v1"), (LegacyVersion::V2, "legacy_v2")] {
                    assert_near(name, &a.legacy_tonal_distance(b, version).into(), &pair[name]);
                }
            }
            let scale = best_scale(tracks.iter().filter(|t| !t.is_drums)).map(|(_, share)| share);
            assert_near("time in best scale", &scale.into(), &piece["time_in_best_scale"]);
        }
    }

    #[test]
    fn notes_come_back() {
        let notes = [note(0, 3, 40), note(3, 1, 40), note(6, 12, 43), note(20, 2, 127), note(22, 30, 0)];
        let track = StepTrack::new(notes, 2, false);
        let cut = note(22, 10, 0);
        assert_eq!(track.notes(), [notes[0], notes[1], notes[2], notes[3], cut]);
        let beyond = StepTrack::new([note(31, 1, 60), note(32, 1, 61), note(usize::MAX, usize::MAX, 62)], 2, true);
        assert_eq!(beyond.notes(), [note(31, 1, 60)]);
    }

    #[test]
    fn nothing_measures_nothing() {
        let silent = StepTrack::new([], 3, false);
        assert_eq!(silent.figures(), Figures { empty_bars: Some(1.0), polyphonic_rate: None, ..Figures::default() });
        assert_eq!(StepTrack::new([], 0, true).figures(), Figures::default());
        assert_eq!(best_scale([&silent]), None);
        assert_eq!(silent.tonal_distance(&silent), None);
    }

    #[test]
    fn ticks_go_to_the_nearest_step() {
        use crate::music::{
            note::{Channel, Velocity},
            time::Ticks,
        };
        let at = |onset, duration| {
            let (channel, velocity) = (Channel::default(), Velocity::clamped(1));
            let pitch = Pitch::default();
            StepNote::nearest(&Note { onset: Ticks(onset), duration: Ticks(duration), channel, pitch, velocity })
                .map(|n| (n.onset_steps, n.duration_steps))
        };
        assert_eq!(at(59, 1), Some((0, 1)));
        assert_eq!(at(60, 120), Some((1, 1)));
        assert_eq!(at(110, 250), Some((1, 2)));
        assert_eq!(at(-61, 500), None);
    }

    #[test]
    fn the_best_scale_has_a_name() {
        let track = StepTrack::new([note(0, 3, 61), note(3, 2, 66), note(5, 4, 70), note(9, 1, 60)], 1, false);
        let (tonic, share) = best_scale([&track]).unwrap();
        assert_eq!(
            (tonic.number(), share),
            (1, 1.0),
            "D flat is the lowest tonic whose scale holds C, D flat, G flat and B flat"
        );
    }
}
