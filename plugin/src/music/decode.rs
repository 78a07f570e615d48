//! Decoding of logit rolls, one step at a time: what a cell's logit, the knobs and the noise of its place make of it. Pure; runs
//! on the audio thread when the playhead reaches a step, and wherever else notes are wanted.
//!
//! Noise is drawn only where it can decide: a cell whose logit loses even with the best noise of its draw needs no logarithm.
//! That is exact, not an approximation (a test compares it with the plain formula).

use super::{
    noise::{Address, Purpose},
    note::Pitch,
    roll::{LOGIT_SCALE, RollLayout, TrackKind, TrackLayout},
};

/// Largest distance of the threshold's logit from 0: beyond any stored logit (±8), so that thresholds of 0 and 1 mean always and
/// (without noise) never.
const MAX_THRESHOLD_LOGIT: f32 = 16.0;

/// How logits become notes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeParams {
    temperature: f32,
    /// What pitches and onsets must exceed.
    onset_logit: f32,
    /// What sustains must exceed.
    sustain_logit: f32,
}

impl DecodeParams {
    /// Parameters from a temperature (0 and up; the knob times the model's factor) and a threshold (a probability). What is not a
    /// number counts as 0 and 0.5.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of an f64 within (0, inf) is within ±750")]
    pub fn new(temperature: f32, threshold: f32) -> Self {
        let temperature = if temperature.is_finite() { temperature.max(0.0) } else { 0.0 };
        let p = if threshold.is_nan() { 0.5 } else { f64::from(threshold.clamp(0.0, 1.0)) };
        let threshold_logit = (libm::log(p / (1.0 - p)) as f32).clamp(-MAX_THRESHOLD_LOGIT, MAX_THRESHOLD_LOGIT);
        Self { temperature, onset_logit: threshold_logit, sustain_logit: threshold_logit }
    }

    /// The same with `density` added to the logits of pitches and onsets: what begins becomes likelier or less likely, what holds
    /// stays. What is not a number counts as 0.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn denser(self, density: f32) -> Self {
        let density = if density.is_nan() { 0.0 } else { density };
        Self { onset_logit: self.onset_logit - density, ..self }
    }

    /// No noise, the model's own threshold: the piece the network meant.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, onset_logit: 0.0, sustain_logit: 0.0 }
    }
}

/// What a monophonic track does at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// A note begins.
    Onset(Pitch),
    /// What sounds goes on.
    Hold,
    /// Nothing sounds.
    Rest,
}

/// What a polyphonic track does at a step: sets of pitches, bit `n` is MIDI pitch `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSets {
    /// Notes that begin.
    pub onsets: u128,
    /// Notes that go on if they sound.
    pub sustains: u128,
}

/// Decodes one step of a one-of-n track: the largest `logit + temperature · gumbel`, every pitch lowered by the threshold's logit;
/// the first of equals. `cells` are the track's own; `at` names the place, its `index` is replaced by the cell's. Too few cells are
/// a rest.
///
/// # Realtime safety
/// Audio thread: yes, one hash per cell at most.
///
/// # Source
/// Gumbel-max sampling: Gumbel, "Statistical theory of extreme values" (1954).
#[must_use]
pub fn one_of_n(track: &TrackLayout, cells: &[i8], params: DecodeParams, at: Address) -> StepState {
    let n_pitches = usize::from(track.n_pitches);
    let Some(cells) = cells.get(..n_pitches + 2) else { return StepState::Rest };
    let class = if params.temperature == 0.0 {
        largest(cells, n_pitches, params.onset_logit)
    } else {
        largest_with_noise(cells, n_pitches, params, at)
    };
    if class < n_pitches {
        pitch_of(track, class).map_or(StepState::Rest, StepState::Onset)
    } else if class == n_pitches {
        StepState::Rest
    } else {
        StepState::Hold
    }
}

fn pitch_of(track: &TrackLayout, idx: usize) -> Option<Pitch> {
    Pitch::new(i32::from(track.lowest_pitch.number()) + i32::try_from(idx).ok()?)
}

/// The logit of a class, pitches lowered.
fn lowered(cell: i8, is_pitch: bool, threshold_logit: f32) -> f32 {
    f32::from(cell) * LOGIT_SCALE - if is_pitch { threshold_logit } else { 0.0 }
}

fn largest(cells: &[i8], n_pitches: usize, threshold_logit: f32) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (idx, cell) in cells.iter().enumerate() {
        let value = lowered(*cell, idx < n_pitches, threshold_logit);
        if value > best.1 {
            best = (idx, value);
        }
    }
    best.0
}

fn largest_with_noise(cells: &[i8], n_pitches: usize, params: DecodeParams, at: Address) -> usize {
    // The likeliest class first: with its value as the mark nearly all others lose by their bound.
    let likeliest = largest(cells, n_pitches, params.onset_logit);
    let place = |idx: usize| Address { index: u32::try_from(idx).unwrap_or(u32::MAX), ..at };
    let mut best = (likeliest, f32::NEG_INFINITY);
    if let Some(cell) = cells.get(likeliest) {
        best.1 = lowered(*cell, likeliest < n_pitches, params.onset_logit)
            + params.temperature * place(likeliest).gumbel(Purpose::Cell);
    }
    for (idx, cell) in cells.iter().enumerate() {
        if idx == likeliest {
            continue;
        }
        let logit = lowered(*cell, idx < n_pitches, params.onset_logit);
        let draw = place(idx).draw(Purpose::Cell);
        if logit + params.temperature * draw.upper_bound() < best.1 {
            continue;
        }
        let value = logit + params.temperature * draw.gumbel();
        if value > best.1 || (value == best.1 && idx < best.0) {
            best = (idx, value);
        }
    }
    best.0
}

/// Decodes one step of an onset and sustain track: a cell is on when `logit + temperature · logistic > logit(threshold)`. A cell at
/// either end of the range was clamped there and is taken at its word, without noise: with hundreds of cells per step, eight
/// logits of certainty would let a stray note through every few bars. `cells` are the track's own; `at` names the place, its
/// `index` is replaced by the cell's; sustains are looked at for the pitches of `active` only. Too few cells are silence.
///
/// # Realtime safety
/// Audio thread: yes, one hash per cell at most.
#[must_use]
pub fn onset_sustain(track: &TrackLayout, cells: &[i8], params: DecodeParams, at: Address, active: u128) -> StepSets {
    let mut sets = StepSets { onsets: onsets(track, cells, params, at), sustains: 0 };
    let lowest = track.lowest_pitch.number();
    let mut left = active.unbounded_shr(u32::from(lowest));
    while let Ok(pitch_idx) = u8::try_from(left.trailing_zeros())
        && pitch_idx < track.n_pitches
    {
        left &= left - 1;
        if is_on_at(cells, usize::from(track.n_pitches) + usize::from(pitch_idx), params.sustain_logit, params, at) {
            sets.sustains |= 1_u128.unbounded_shl(u32::from(lowest) + u32::from(pitch_idx));
        }
    }
    sets
}

/// Decodes one step of a track of onsets alone, each cell as in [`onset_sustain`]. `cells` are the track's own; `at` names the
/// place, its `index` is replaced by the cell's. Too few cells are silence.
///
/// # Realtime safety
/// Audio thread: yes, one hash per cell.
#[must_use]
pub fn onsets(track: &TrackLayout, cells: &[i8], params: DecodeParams, at: Address) -> u128 {
    let mut set = 0;
    for (idx, cell) in cells.iter().enumerate().take(usize::from(track.n_pitches)) {
        if let Some(pitch) = pitch_of(track, idx)
            && is_on(*cell, params.onset_logit, params, Address { index: u32::try_from(idx).unwrap_or(u32::MAX), ..at })
        {
            set |= 1 << pitch.number();
        }
    }
    set
}

/// [`onset_sustain`] for a single pitch: whether it begins, whether it goes on.
///
/// # Realtime safety
/// Audio thread: yes, two hashes.
#[must_use]
pub fn onset_sustain_of(track: &TrackLayout, cells: &[i8], pitch: Pitch, params: DecodeParams, at: Address) -> (bool, bool) {
    let Some(pitch_idx) = pitch.number().checked_sub(track.lowest_pitch.number()).filter(|idx| *idx < track.n_pitches) else {
        return (false, false);
    };
    let sustain_idx = usize::from(track.n_pitches) + usize::from(pitch_idx);
    let onset = is_on_at(cells, pitch_idx.into(), params.onset_logit, params, at);
    (onset, is_on_at(cells, sustain_idx, params.sustain_logit, params, at))
}

fn is_on_at(cells: &[i8], idx: usize, threshold_logit: f32, params: DecodeParams, at: Address) -> bool {
    let place = Address { index: u32::try_from(idx).unwrap_or(u32::MAX), ..at };
    cells.get(idx).is_some_and(|cell| is_on(*cell, threshold_logit, params, place))
}

fn is_on(cell: i8, threshold_logit: f32, params: DecodeParams, place: Address) -> bool {
    let logit = f32::from(cell) * LOGIT_SCALE;
    if params.temperature == 0.0 || cell == i8::MIN || cell == i8::MAX {
        return logit > threshold_logit;
    }
    let draw = place.draw(Purpose::Cell);
    if logit + params.temperature * draw.upper_bound() <= threshold_logit {
        return false;
    }
    if logit + params.temperature * draw.logistic_lower_bound() > threshold_logit {
        return true;
    }
    logit + params.temperature * draw.logistic() > threshold_logit
}

/// The cells that greedy decoding switches on, 1 where it does and else 0: what the later phrases of a chain see of the earlier
/// ones. A one-of-n track has one such cell per step (a pitch, rest or hold); nothing is merged.
///
/// **Shape** of `cells` and of the result: `(n, n_cells)` for any number of steps, row-major, as they lie in a
/// [`super::roll::LogitRoll`].
#[must_use]
pub fn greedy(layout: &RollLayout, cells: &[i8]) -> Vec<u8> {
    let mut on = Vec::with_capacity(cells.len());
    for step in cells.chunks_exact(layout.n_cells().max(1)) {
        for (track_idx, track) in layout.tracks.iter().enumerate() {
            let cells = step.get(layout.cells_of(track_idx)).unwrap_or(&[]);
            match track.kind {
                TrackKind::OneOfN => {
                    let class = largest(cells, usize::from(track.n_pitches), 0.0);
                    on.extend((0..cells.len()).map(|idx| u8::from(idx == class)));
                }
                TrackKind::OnsetSustain | TrackKind::Onsets => on.extend(cells.iter().map(|cell| u8::from(*cell > 0))),
            }
        }
    }
    on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(kind: TrackKind, lowest: i32, n_pitches: u8) -> TrackLayout {
        TrackLayout { kind, lowest_pitch: Pitch::new(lowest).unwrap(), n_pitches, merge_repeats: false }
    }

    fn place(seed: u32) -> Address {
        Address { seed, take: 1, track: 2, bar: 7, step: 11, index: 0 }
    }

    /// Cells that look like a network's: mostly unlikely, some close to each other, ties included.
    fn cells(seed: u32, n: usize) -> Vec<i8> {
        (0..n)
            .map(|i| {
                let u = Address { seed: seed ^ 0xABCD, index: u32::try_from(i).unwrap(), ..Address::default() }
                    .uniform(Purpose::Latent);
                #[expect(clippy::cast_possible_truncation, reason = "within -128 to 127")]
                let cell = (u * u * 256.0 - 128.0) as i8;
                cell
            })
            .collect()
    }

    #[test]
    fn pruning_never_changes_the_one_of_n_result() {
        let track = track(TrackKind::OneOfN, 41, 37);
        for seed in 0..4_000 {
            let cells = cells(seed, 39);
            for (temperature, threshold) in [(0.0, 0.5), (0.3, 0.5), (1.0, 0.35), (2.0, 0.9), (40.0, 0.5)] {
                let params = DecodeParams::new(temperature, threshold);
                let values: Vec<f32> = (0_u32..)
                    .zip(&cells)
                    .map(|(index, cell)| {
                        let logit = f32::from(*cell) / 16.0 - if index < 37 { params.onset_logit } else { 0.0 };
                        logit + params.temperature * Address { index, ..place(seed) }.gumbel(Purpose::Cell)
                    })
                    .collect();
                let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let first = values.iter().position(|v| *v == top).unwrap();
                let want = match first {
                    37 => StepState::Rest,
                    38 => StepState::Hold,
                    idx => StepState::Onset(Pitch::new(41 + i32::try_from(idx).unwrap()).unwrap()),
                };
                assert_eq!(one_of_n(&track, &cells, params, place(seed)), want, "seed {seed}, temperature {temperature}");
            }
        }
    }

    #[test]
    fn pruning_never_changes_the_binary_result() {
        let track = track(TrackKind::OnsetSustain, 30, 40);
        for seed in 0..2_000 {
            let cells = cells(seed, 80);
            for (temperature, threshold) in [(0.0, 0.5), (1.0, 0.5), (0.4, 0.2), (3.0, 0.97)] {
                let params = DecodeParams::new(temperature, threshold).denser(0.7);
                let mut want = StepSets::default();
                for (idx, cell) in (0_u32..).zip(&cells) {
                    let is_clamped = *cell == i8::MIN || *cell == i8::MAX;
                    let noise = Address { index: idx, ..place(seed) }.logistic(Purpose::Cell);
                    let value = f32::from(*cell) / 16.0 + if is_clamped { 0.0 } else { params.temperature * noise };
                    let (set, threshold_logit) = match idx {
                        0..40 => (&mut want.onsets, params.onset_logit),
                        _ => (&mut want.sustains, params.sustain_logit),
                    };
                    if value > threshold_logit {
                        *set |= 1 << (30 + idx % 40);
                    }
                }
                let got = onset_sustain(&track, &cells, params, place(seed), u128::MAX);
                assert_eq!(got, want, "seed {seed}, temperature {temperature}");
                let some = onset_sustain(&track, &cells, params, place(seed), 0b1011 << 37 | 1 << 3 | 1 << 90);
                assert_eq!(some, StepSets { sustains: want.sustains & 0b1011 << 37, ..want });
                assert_eq!(onsets(&track, &cells, params, place(seed)), want.onsets);
                for number in [29, 30, 33, 69, 70] {
                    let pitch = Pitch::new(number).unwrap();
                    let single = onset_sustain_of(&track, &cells, pitch, params, place(seed));
                    assert_eq!(single, (want.onsets >> number & 1 == 1, want.sustains >> number & 1 == 1), "pitch {number}");
                }
            }
        }
    }

    #[test]
    fn thresholds_of_zero_and_one_mean_always_and_never() {
        let mono = track(TrackKind::OneOfN, 60, 3);
        let cells = [-128, -128, -127, 127, 127];
        let decode = |threshold| one_of_n(&mono, &cells, DecodeParams::new(0.0, threshold), place(0));
        assert_eq!(decode(0.0), StepState::Onset(Pitch::new(62).unwrap()));
        assert_eq!(decode(1.0), StepState::Rest);
        assert_eq!(decode(f32::NAN), StepState::Rest);
        let poly = track(TrackKind::OnsetSustain, 60, 2);
        let decode =
            |threshold| onset_sustain(&poly, &[-128, 127, 127, -128], DecodeParams::new(0.0, threshold), place(0), u128::MAX);
        assert_eq!(decode(0.0), StepSets { onsets: 0b11 << 60, sustains: 0b11 << 60 });
        assert_eq!(decode(1.0), StepSets::default());
    }

    #[test]
    fn the_first_of_equal_cells_wins_and_missing_cells_are_silent() {
        let mono = track(TrackKind::OneOfN, 60, 3);
        let params = DecodeParams::greedy();
        assert_eq!(one_of_n(&mono, &[4, 9, 9, 9, 9], params, place(0)), StepState::Onset(Pitch::new(61).unwrap()));
        assert_eq!(one_of_n(&mono, &[4, 4, 4, 4, 9], params, place(0)), StepState::Hold);
        assert_eq!(one_of_n(&mono, &[9, 9], params, place(0)), StepState::Rest);
        // A pitch above 127 cannot sound.
        let high = track(TrackKind::OneOfN, 126, 4);
        assert_eq!(one_of_n(&high, &[0, 0, 0, 9, 0, 0], params, place(0)), StepState::Rest);
    }

    #[test]
    fn a_higher_temperature_changes_the_doubtful_first() {
        let mono = track(TrackKind::OneOfN, 60, 4);
        let changed = |cells: [i8; 6], temperature| {
            let greedy = one_of_n(&mono, &cells, DecodeParams::greedy(), place(0));
            let params = DecodeParams::new(temperature, 0.5);
            (0..2_000).filter(|seed| one_of_n(&mono, &cells, params, place(*seed)) != greedy).count()
        };
        let (sure, doubtful) = ([-80, 96, -80, -80, -80, -80], [-80, 16, 0, -80, -80, -80]);
        assert_eq!(changed(sure, 0.3), 0);
        assert!(changed(doubtful, 0.3) > 20);
        assert!(changed(doubtful, 1.0) > changed(doubtful, 0.3));
        // At temperature 1 the sampling is the model's own distribution: 1 / (1 + e^1) of two cells one logit apart.
        let share = changed(doubtful, 1.0);
        assert!((480..600).contains(&share), "{share} of 2000, 538 expected");
    }

    #[test]
    fn greedy_cells_are_what_the_greedy_knobs_play() {
        let layout = RollLayout {
            n_steps: 3,
            tracks: vec![track(TrackKind::OneOfN, 60, 2), track(TrackKind::OnsetSustain, 40, 1), track(TrackKind::Onsets, 36, 3)],
        };
        let cells = [[0, 5, 1, 1, 99, -1, 0, 1, 9], [0, 0, 7, 1, 0, 3, -128, 127, 0], [-3, -3, -9, 2, 1, 1, -5, -5, -5]];
        let want = [[0, 1, 0, 0, 1, 0, 0, 1, 1], [0, 0, 1, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 1, 0, 0, 0]];
        assert_eq!(greedy(&layout, &cells.concat()), want.concat());
        for (step, on) in cells.iter().zip(want) {
            let sets = onset_sustain(&layout.tracks[1], &step[4..6], DecodeParams::greedy(), place(3), u128::MAX);
            assert_eq!(sets, StepSets { onsets: u128::from(on[4]) << 40, sustains: u128::from(on[5]) << 40 });
        }
    }
}
