//! Inputs of one inference: latents by address, conditions by encoding, and the primer. Pure; worker thread and command line.

use super::{
    generator::PhraseInput,
    manifest::{Distribution, Encoding, Latent, Manifest, Scope},
    pattern::PatternSpec,
};
use crate::music::{
    noise::{Address, Purpose, evenly_spread},
    note::{Note, Pitch},
    roll::{RollLayout, TrackKind, TrackLayout},
    time::TICKS_PER_STEP,
};

/// One-hot classes per half bar in [`Encoding::Triads`]: 12 major, 12 minor.
const N_TRIADS: usize = 24;

/// What one inference is about: a phrase, what is known of it, and what comes before.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// First bar of the phrase.
    pub bar: u32,
    /// First of the bars before it: where that is not the place before, as after a lead-in.
    pub before: u32,
    /// The lead-in that it belongs to, from 1; 0 for what is heard.
    pub lead_in: u32,
    /// Take of what the whole phrase shares.
    pub take: u32,
    /// Take of each track in each bar, `(n_bars, n_tracks)`; what is missing has the take of the whole.
    pub takes: &'a [u32],
    /// States of the first track in the bar before, `(n_steps, n_cells)`, 1 or 0; empty for none.
    pub previous: &'a [u8],
    /// Bars before the phrase that are there, of [`Manifest::context_bars`].
    pub n_before: u32,
    /// Cells of these bars, then of the phrase, `(n_before + n_bars, n_steps, n_cells)`, 1 or 0.
    pub cells: &'a [u8],
    /// Tracks known in the phrase's bars, `(n_bars,)`, bit `n` for track `n`. Before the phrase all are.
    pub known: &'a [u16],
}

/// Inputs of the inference that yields a phrase.
#[must_use]
pub fn phrase_input(manifest: &Manifest, spec: &PatternSpec, view: &View<'_>) -> PhraseInput {
    PhraseInput { latents: latents(manifest, spec, view), conditions: conditions(manifest, spec, view) }
}

fn latents(manifest: &Manifest, spec: &PatternSpec, view: &View<'_>) -> Vec<Vec<f32>> {
    (0_u16..)
        .zip(&manifest.latents)
        .map(|(idx, latent)| match latent.scope {
            Scope::Bar | Scope::Phrase => {
                let n_values = u32::try_from(latent.shape.iter().product::<usize>()).unwrap_or(0);
                let take = if latent.scope == Scope::Bar { view.take } else { written_take(manifest, view, None) };
                let place = |index| Address { take, track: idx, bar: view.bar, index, ..Address::default() };
                (0..n_values).map(|index| value(latent.distribution, spec, view, place(index))).collect()
            }
            Scope::Track => of_tracks(manifest, spec, view, idx, latent),
            Scope::TrackBar => of_tracks_and_bars(manifest, spec, view, idx, latent),
        })
        .collect()
}

/// The take of what is written of a track, or of any: that of the first bar that is not known.
fn written_take(manifest: &Manifest, view: &View<'_>, track_idx: Option<usize>) -> u32 {
    let n_tracks = manifest.tracks.len();
    let mut places = (0_usize..).zip(view.known).flat_map(|(bar_idx, known)| {
        (0_u32..).zip(0..n_tracks).filter(move |(track, _)| bit_of(*known, *track) == 0).map(move |(_, idx)| (bar_idx, idx))
    });
    let written = places.find(|(_, idx)| track_idx.is_none_or(|wanted| wanted == *idx));
    written.and_then(|(bar_idx, idx)| view.takes.get(bar_idx * n_tracks + idx)).copied().unwrap_or(view.take)
}

fn of_tracks(manifest: &Manifest, spec: &PatternSpec, view: &View<'_>, idx: u16, latent: &Latent) -> Vec<f32> {
    let n_values = u32::try_from(latent.shape.last().copied().unwrap_or(0)).unwrap_or(0);
    let of_track = |(track, track_idx)| {
        let take = written_take(manifest, view, Some(track_idx));
        let at = Address { take, track, bar: view.bar, ..Address::default() };
        let first = u32::from(idx) << 20;
        (first..first + n_values).map(move |index| value(latent.distribution, spec, view, Address { index, ..at }))
    };
    (0_u16..).zip(0..manifest.tracks.len()).flat_map(of_track).collect()
}

fn of_tracks_and_bars(manifest: &Manifest, spec: &PatternSpec, view: &View<'_>, idx: u16, latent: &Latent) -> Vec<f32> {
    let n_values = u32::try_from(latent.shape.last().copied().unwrap_or(0)).unwrap_or(0);
    let n_tracks = manifest.tracks.len();
    let mut values = Vec::with_capacity(latent.shape.iter().product());
    for (track, track_idx) in (0_u16..).zip(0..n_tracks) {
        for (offset, bar_idx) in (0..manifest.n_bars).zip(0_usize..) {
            let take = view.takes.get(bar_idx * n_tracks + track_idx).copied().unwrap_or(view.take);
            for step in 0..u16::from(manifest.n_steps) {
                let at = Address { take, track, bar: view.bar.wrapping_add(offset), step, ..Address::default() };
                // Above the indices of other latents: none has that many values.
                let first = u32::from(idx) << 20;
                values.extend(
                    (first..first + n_values).map(|index| value(latent.distribution, spec, view, Address { index, ..at })),
                );
            }
        }
    }
    values
}

/// The value of a place, whose seed is the pattern's.
fn value(distribution: Distribution, spec: &PatternSpec, view: &View<'_>, at: Address) -> f32 {
    let of_seed = |seed| match view.lead_in {
        0 => Address { seed, ..at }.normal(Purpose::Latent),
        // No latent has so many values.
        nth => Address { seed, index: at.index | nth << 28, ..at }.normal(Purpose::LeadIn),
    };
    let own = of_seed(spec.seed);
    let normal = spec.morph.map_or(own, |morph| {
        let (of_own, of_other) = morph.weights();
        of_own * own + of_other * of_seed(morph.seed)
    });
    let drawn = match distribution {
        Distribution::Normal => normal,
        // Its own quantile: so what is morphed is spread as evenly as its ends.
        Distribution::Uniform => evenly_spread(normal),
    };
    // Plus zero: without it no variation would leave zeros of both signs.
    spec.variation * drawn + 0.0
}

fn conditions(manifest: &Manifest, spec: &PatternSpec, view: &View<'_>) -> Vec<Vec<f32>> {
    let n_missing = manifest.context_bars.saturating_sub(view.n_before);
    let encode = |encoding: Encoding| match encoding {
        Encoding::Triads => (0..manifest.window_bars())
            .flat_map(|idx| match (idx.checked_sub(n_missing), idx.checked_sub(manifest.context_bars)) {
                (None, _) => [None, None],
                (Some(idx), None) => spec.progression.at(view.before.wrapping_add(idx)),
                (_, Some(idx)) => spec.progression.at(view.bar.wrapping_add(idx)),
            })
            .flat_map(|chord| one_hot(chord.map(|c| c.triad().index()), N_TRIADS))
            .collect(),
        Encoding::States => {
            let n_values = usize::from(manifest.n_steps) * manifest.layout().cells_of(0).len();
            let states = view.previous.iter().map(|on| f32::from(*on)).chain(std::iter::repeat(0.0));
            states.take(n_values).collect()
        }
        Encoding::Given => given(manifest, view, n_missing),
        Encoding::Known => known(manifest, view, n_missing),
    };
    manifest.conditions.iter().map(|c| encode(c.encoding)).collect()
}

/// The known cells of the window.
fn given(manifest: &Manifest, view: &View<'_>, n_missing: u32) -> Vec<f32> {
    let layout = manifest.layout();
    let (n_cells, n_steps) = (layout.n_cells().max(1), usize::from(layout.n_steps));
    let n_bar_cells = n_cells * n_steps;
    let n_missing = usize::try_from(n_missing).unwrap_or(0);
    let n_before = usize::try_from(view.n_before).unwrap_or(0);
    let tracks_of_cells: Vec<u32> =
        (0_u32..).zip(0..layout.tracks.len()).flat_map(|(track, idx)| layout.cells_of(idx).map(move |_| track)).collect();
    let mut values = vec![0.0; n_missing * n_bar_cells];
    for (bar_idx, bar) in view.cells.chunks_exact(n_bar_cells).enumerate() {
        let known = bar_idx.checked_sub(n_before).map_or(u16::MAX, |idx| view.known.get(idx).copied().unwrap_or(0));
        for step in bar.chunks_exact(n_cells) {
            values.extend(step.iter().zip(&tracks_of_cells).map(|(on, track)| f32::from(on * bit_of(known, *track))));
        }
    }
    values
}

/// Which tracks are known in the bars of the window, `(n_tracks, context_bars + n_bars)`.
fn known(manifest: &Manifest, view: &View<'_>, n_missing: u32) -> Vec<f32> {
    let times = |n: u32, tracks: u16| std::iter::repeat_n(tracks, usize::try_from(n).unwrap_or(0));
    let bars: Vec<u16> = times(n_missing, 0).chain(times(view.n_before, u16::MAX)).chain(view.known.iter().copied()).collect();
    (0_u32..)
        .take(manifest.tracks.len())
        .flat_map(|track| bars.iter().map(move |known| f32::from(bit_of(*known, track))))
        .collect()
}

fn bit_of(tracks: u16, track: u32) -> u8 {
    u8::from(tracks.checked_shr(track).unwrap_or(0) & 1 == 1)
}

/// Class indices as one-hot cells, `(n, n_cells)`.
#[must_use]
pub(super) fn one_hot_states(states: &[u16], n_cells: usize) -> Vec<u8> {
    states.iter().flat_map(|state| (0..n_cells).map(|idx| u8::from(idx == usize::from(*state)))).collect()
}

fn one_hot(class: Option<usize>, n: usize) -> impl Iterator<Item = f32> {
    (0..n).map(move |i| if Some(i) == class { 1.0 } else { 0.0 })
}

/// The step that begins nearest to a position.
pub(super) fn nearest_step(ticks: i64) -> i64 {
    (ticks + TICKS_PER_STEP / 2).div_euclid(TICKS_PER_STEP)
}

/// A pitch as its place in a track's range, moved by octaves where it lies outside. Pitches that no octave brings into a range of less
/// than twelve have none.
pub(super) fn fold(track: &TrackLayout, pitch: Pitch) -> Option<u8> {
    let above = i32::from(pitch.number()) - i32::from(track.lowest_pitch.number());
    let n_pitches = i32::from(track.n_pitches);
    // Into the nearest octave of the range.
    let above = if above < 0 { above.rem_euclid(12) } else { above - (above - n_pitches + 12).div_euclid(12).max(0) * 12 };
    u8::try_from(above).ok().filter(|idx| *idx < track.n_pitches)
}

/// A bar of notes as the states of a model's first track, to serve as a primer: the highest note where several sound, moved by
/// octaves into the model's range. Onsets are rounded to steps; what lies outside the bar's steps is left out.
///
/// **Shape** `(n_steps,)`, class indices; empty if the first track is not one-of-n. `notes` count from the start of the bar.
#[must_use]
pub fn primer_states(layout: &RollLayout, notes: &[Note]) -> Vec<u16> {
    let Some(track) = layout.tracks.first().filter(|t| t.kind == TrackKind::OneOfN && t.n_pitches > 0) else {
        return Vec::new();
    };
    let (rest, hold) = (u16::from(track.n_pitches), u16::from(track.n_pitches) + 1);
    let class_of = |note: &Note| fold(track, note.pitch).map(u16::from);
    // Which note each step belongs to: later ones, being higher, win.
    let mut owners: Vec<Option<(i64, u16)>> = vec![None; usize::from(layout.n_steps)];
    let mut by_height: Vec<&Note> = notes.iter().collect();
    by_height.sort_by_key(|n| (n.pitch, n.onset));
    for note in by_height {
        let Some(class) = class_of(note) else { continue };
        let onset = nearest_step(note.onset.0);
        let end = nearest_step(note.onset.0 + note.duration.0).max(onset + 1);
        for (step, owner) in (0_i64..).zip(owners.iter_mut()) {
            if onset >= 0 && (onset..end).contains(&step) {
                *owner = Some((onset, class));
            }
        }
    }
    let mut before = None;
    (0_i64..)
        .zip(owners)
        .map(|(step, owner)| {
            let state = match owner {
                Some((onset, class)) if onset == step => class,
                // A model that merges repeats has no hold of its own: a held note is its pitch again.
                Some((_, class)) if before == owner => {
                    if track.merge_repeats {
                        class
                    } else {
                        hold
                    }
                }
                // What a higher note cut in two does not begin again.
                _ => rest,
            };
            before = if state == rest { None } else { owner };
            state
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::{
            manifest::tests::{small_band, tiny},
            pattern::{Morph, Span},
        },
        music::note::tests::note,
    };

    fn spec() -> PatternSpec {
        PatternSpec {
            seed: 11,
            take: 2,
            variation: 1.0,
            span: Span::Bars(4),
            progression: "C | Dm Bb7 | N.C. E".parse().unwrap(),
            primer: vec![],
            ..PatternSpec::default()
        }
    }

    #[test]
    fn uniform_latents_are_even_and_stay_so_when_morphed() {
        let mut manifest = tiny();
        manifest.latents[0].distribution = Distribution::Uniform;
        for morph in [None, Some(Morph { seed: 40, amount: 0.3 })] {
            let spec = PatternSpec { morph, ..spec() };
            let draw = |bar| latents(&manifest, &spec, &View { bar, take: spec.take, ..View::default() }).remove(0);
            let values: Vec<f32> = (0..600).flat_map(draw).collect();
            assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)));
            // 4,200 values: a quarter is 1,050 with a deviation of 28.
            for quarter in [-1.0, -0.5, 0.0, 0.5] {
                let n = values.iter().filter(|v| (quarter..quarter + 0.5).contains(*v)).count();
                assert!((900..1200).contains(&n), "{n} from {quarter}, morph {morph:?}");
            }
        }
    }

    #[test]
    fn latents_depend_on_the_address_alone() {
        let manifest = tiny();
        let noise =
            |spec: &PatternSpec, bar| latents(&manifest, spec, &View { bar, take: spec.take, ..View::default() }).remove(0);
        assert_eq!(noise(&spec(), 3), noise(&spec(), 3));
        assert_eq!(noise(&spec(), 3).len(), 7);
        assert_ne!(noise(&spec(), 3), noise(&spec(), 2));
        assert_ne!(noise(&spec(), 3), noise(&PatternSpec { seed: 12, ..spec() }, 3));
        assert_ne!(noise(&spec(), 3), noise(&PatternSpec { take: 3, ..spec() }, 3));
        assert!(noise(&PatternSpec { variation: 0.0, ..spec() }, 3).iter().all(|v| *v == 0.0));
        let half = noise(&PatternSpec { variation: 0.5, ..spec() }, 3);
        assert!(half.iter().zip(noise(&spec(), 3)).all(|(h, one)| (h * 2.0 - one).abs() < 1e-6));
    }

    #[test]
    fn a_track_and_bar_keeps_its_noise_whatever_else_is_retaken() {
        let manifest = small_band();
        let noise = |spec: &PatternSpec, bar, takes: &[u32]| {
            latents(&manifest, spec, &View { bar, take: 2, takes, ..View::default() }).remove(0)
        };
        let base = noise(&spec(), 4, &[]);
        assert_eq!(base, noise(&spec(), 4, &[2; 6]));
        // (n_bars, n_tracks): the second track of the second bar is at another take.
        let other = noise(&spec(), 4, &[2, 2, 2, 2, 9, 2]);
        let differ: Vec<usize> = (0..48).filter(|i| base[*i] != other[*i]).collect();
        // (n_tracks, n_bars, n_steps, 2): track 1 begins at 16, its bar 1 at 24.
        assert_eq!(differ, (24..32).collect::<Vec<_>>());
        // By their own bar, not by the phrase's: the next phrase but one bar later holds the second bar as its first.
        assert_eq!(noise(&spec(), 5, &[])[0..8], base[8..16]);
        assert_ne!(base[0..8], base[8..16]);
    }

    #[test]
    fn a_retake_draws_what_is_written_anew_and_keeps_what_all_share() {
        let mut manifest = small_band();
        let noise = |name: &str, shape: &[usize], scope| Latent {
            name: name.into(),
            shape: shape.to_vec(),
            distribution: Distribution::Normal,
            scope,
        };
        manifest.latents = vec![
            noise("shared", &[1, 5], Scope::Bar),
            noise("whole", &[1, 5], Scope::Phrase),
            noise("own", &[1, 3, 2], Scope::Track),
        ];
        manifest.check().unwrap();
        let draw = |takes: &[u32], known: &[u16]| {
            latents(&manifest, &spec(), &View { bar: 4, take: 2, takes, known, ..View::default() })
        };
        let base = draw(&[2; 6], &[0, 0]);
        // (n_bars, n_tracks): the second bar of track 1 alone is written, with take 9; its first had been with take 7.
        let other = draw(&[2, 7, 2, 2, 9, 2], &[0b111, 0b101]);
        assert_eq!(base[0], other[0]);
        assert!(base[1].iter().zip(&other[1]).all(|(a, b)| a != b));
        let differ: Vec<usize> = (0..6).filter(|i| base[2][*i] != other[2][*i]).collect();
        assert_eq!(differ, [2, 3]);
        assert_eq!(other, draw(&[2, 9, 2, 2, 9, 2], &[0b111, 0b101]));
        // Another track of the same take has other noise.
        assert_ne!(base[2][0..2], base[2][2..4]);
    }

    #[test]
    fn a_morph_mixes_two_seeds_without_losing_spread() {
        let manifest = tiny();
        let noise = |seed, morph| latents(&manifest, &PatternSpec { seed, morph, ..spec() }, &View::default()).remove(0);
        let morph = |amount| Some(Morph { seed: 77, amount });
        let (own, other) = (noise(11, None), noise(77, None));
        assert_eq!(noise(11, morph(0.0)), own);
        assert_eq!(noise(11, morph(1.0)), other);
        let half = noise(11, morph(0.5));
        for ((h, a), b) in half.iter().zip(own).zip(other) {
            assert!((h - (a + b) * std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
        }
    }

    #[test]
    fn a_window_shows_what_is_known_and_nothing_else() {
        let manifest = small_band();
        // One bar before and two of the phrase, 4 steps of 14 cells each; every cell on, so that only the masks make zeros.
        let cells = [1; 3 * 4 * 14];
        let view = View { bar: 5, before: 4, n_before: 1, cells: &cells, known: &[0b101, 0b010], ..View::default() };
        let input = conditions(&manifest, &spec(), &view);
        let chords: Vec<usize> = (0..6 * 24).filter(|i| input[0][*i] == 1.0).collect();
        // Bars 4, 5, 6 of a progression of three bars: Dm Bb7, N.C. E, C.
        assert_eq!(chords, [14, 24 + 10, 3 * 24 + 4, 4 * 24, 5 * 24]);
        let on = |bar: usize, cell: usize| (0..4).map(|step| input[1][(bar * 4 + step) * 14 + cell]).sum::<f32>();
        // Tracks begin at cells 0, 3, 10.
        let shown: Vec<[f32; 3]> = (0..3).map(|bar| [on(bar, 2), on(bar, 9), on(bar, 13)]).collect();
        assert_eq!(shown, [[4.0; 3], [4.0, 0.0, 4.0], [0.0, 4.0, 0.0]]);
        assert_eq!(input[2], [1.0, 1.0, 0.0, /**/ 1.0, 0.0, 1.0, /**/ 1.0, 1.0, 0.0]);
        // At the start of a chain there is nothing before.
        let first = View { n_before: 0, cells: &cells[56..], ..view };
        let input = conditions(&manifest, &spec(), &first);
        assert!(input[0][..48].iter().chain(&input[1][..56]).all(|v| *v == 0.0));
        assert_eq!(input[0][48..].iter().sum::<f32>(), 3.0);
        assert_eq!(input[2], [0.0, 1.0, 0.0, /**/ 0.0, 0.0, 1.0, /**/ 0.0, 1.0, 0.0]);
    }

    #[test]
    fn chords_become_triads_of_the_half_bars() {
        let hot = |bar| {
            let input = conditions(&tiny(), &spec(), &View { bar, ..View::default() });
            let ones: Vec<usize> = input[0].iter().enumerate().filter(|(_, v)| **v == 1.0).map(|(i, _)| i).collect();
            assert_eq!(input[0].len(), 48);
            ones
        };
        assert_eq!(hot(0), [0, 24]);
        assert_eq!(hot(1), [14, 34]);
        assert_eq!(hot(2), [28]);
        assert_eq!(hot(3), [0, 24]);
    }

    #[test]
    fn the_previous_bar_is_one_hot_or_nothing() {
        let states = |states: &[u16]| {
            let previous = one_hot_states(states, 5);
            conditions(&tiny(), &spec(), &View { previous: &previous, ..View::default() }).remove(1)
        };
        assert!(states(&[]).iter().all(|v| *v == 0.0));
        let input = states(&[4, 0, 3, 3, 1]);
        let ones: Vec<usize> = input.iter().enumerate().filter(|(_, v)| **v == 1.0).map(|(i, _)| i).collect();
        assert_eq!(ones, [4, 5, 13, 18, 21]);
    }

    #[test]
    fn a_primer_takes_the_highest_note_and_moves_it_into_range() {
        let track =
            TrackLayout { kind: TrackKind::OneOfN, lowest_pitch: Pitch::new(48).unwrap(), n_pitches: 36, merge_repeats: false };
        let layout = RollLayout { n_steps: 7, tracks: vec![track] };
        // A low note over steps 0 to 4, a higher one over 2 and 3; one an octave and more below the range at step 6.
        let notes = [note(5, 590, 50), note(238, 241, 64), note(720, 30, 31)];
        assert_eq!(primer_states(&layout, &notes), [2, 37, 16, 37, 36, 36, 7]);
        let merged = RollLayout { tracks: vec![TrackLayout { merge_repeats: true, ..track }], ..layout };
        assert_eq!(primer_states(&merged, &notes), [2, 2, 16, 16, 36, 36, 7]);
        assert_eq!(primer_states(&merged, &[]), [36; 7]);
    }
}
