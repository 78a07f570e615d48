//! Inputs of one inference: latents by address, conditions by encoding, and the primer. Pure; worker thread and command line.

use super::{
    generator::PhraseInput,
    manifest::{Distribution, Encoding, Manifest, Scope},
    pattern::PatternSpec,
};
use crate::music::{
    noise::{Address, Purpose},
    note::Note,
    roll::{RollLayout, TrackKind},
    time::TICKS_PER_STEP,
};

/// One-hot classes per half bar in [`Encoding::Triads`]: 12 major, 12 minor.
const N_TRIADS: usize = 24;

/// Inputs of the inference that yields the bars from `bar` on, after a bar with the states `previous` (empty for none).
#[must_use]
pub fn phrase_input(manifest: &Manifest, spec: &PatternSpec, bar: u32, previous: &[u16]) -> PhraseInput {
    PhraseInput { latents: latents(manifest, spec, bar), conditions: conditions(manifest, spec, bar, previous) }
}

fn latents(manifest: &Manifest, spec: &PatternSpec, bar: u32) -> Vec<Vec<f32>> {
    let numbered = (0_u16..).zip(&manifest.latents);
    numbered
        .map(|(track, latent)| {
            let n_values = u32::try_from(latent.shape.iter().product::<usize>()).unwrap_or(0);
            (0..n_values)
                .map(|index| match (latent.scope, latent.distribution) {
                    (Scope::Bar, Distribution::Normal) => {
                        let address = Address { seed: spec.seed, take: spec.take, track, bar, step: 0, index };
                        // Plus zero: without it no variation would leave zeros of both signs.
                        spec.variation * address.normal(Purpose::Latent) + 0.0
                    }
                })
                .collect()
        })
        .collect()
}

fn conditions(manifest: &Manifest, spec: &PatternSpec, bar: u32, previous: &[u16]) -> Vec<Vec<f32>> {
    let encode = |encoding: Encoding| match encoding {
        Encoding::Triads => (0..manifest.n_bars)
            .flat_map(|offset| spec.progression.at(bar.wrapping_add(offset)))
            .flat_map(|chord| one_hot(chord.map(|c| c.triad().index()), N_TRIADS))
            .collect(),
        Encoding::States => {
            let n_cells = manifest.layout().cells_of(0).len();
            let states = previous.iter().map(|s| Some(usize::from(*s))).chain(std::iter::repeat(None));
            states.take(usize::from(manifest.n_steps)).flat_map(|state| one_hot(state, n_cells)).collect::<Vec<f32>>()
        }
    };
    manifest.conditions.iter().map(|c| encode(c.encoding)).collect()
}

fn one_hot(class: Option<usize>, n: usize) -> impl Iterator<Item = f32> {
    (0..n).map(move |i| if Some(i) == class { 1.0 } else { 0.0 })
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
    let lowest = i32::from(track.lowest_pitch.number());
    let highest = lowest + i32::from(track.n_pitches) - 1;
    // Pitches that no octave brings into a range of less than twelve are left out.
    let class_of = |note: &Note| {
        let mut number = i32::from(note.pitch.number());
        while number < lowest {
            number += 12;
        }
        while number > highest {
            number -= 12;
        }
        u16::try_from(number - lowest).ok()
    };
    let step_of = |ticks: i64| (ticks + TICKS_PER_STEP / 2).div_euclid(TICKS_PER_STEP);
    // Which note each step belongs to: later ones, being higher, win.
    let mut owners: Vec<Option<(i64, u16)>> = vec![None; usize::from(layout.n_steps)];
    let mut by_height: Vec<&Note> = notes.iter().collect();
    by_height.sort_by_key(|n| (n.pitch, n.onset));
    for note in by_height {
        let Some(class) = class_of(note) else { continue };
        let onset = step_of(note.onset.0);
        let end = step_of(note.onset.0 + note.duration.0).max(onset + 1);
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
        generate::{manifest::tests::tiny, pattern::Span},
        music::{
            note::{Channel, Pitch, Velocity},
            roll::TrackLayout,
            time::Ticks,
        },
    };

    fn spec() -> PatternSpec {
        PatternSpec {
            seed: 11,
            take: 2,
            variation: 1.0,
            span: Span::Bars(4),
            progression: "C | Dm Bb7 | N.C. E".parse().unwrap(),
            primer: vec![],
        }
    }

    #[test]
    fn latents_depend_on_the_address_alone() {
        let manifest = tiny();
        let noise = |spec: &PatternSpec, bar| latents(&manifest, spec, bar).remove(0);
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
    fn chords_become_triads_of_the_half_bars() {
        let hot = |bar| {
            let input = conditions(&tiny(), &spec(), bar, &[]);
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
        let states = |previous: &[u16]| conditions(&tiny(), &spec(), 0, previous).remove(1);
        assert!(states(&[]).iter().all(|v| *v == 0.0));
        let input = states(&[4, 0, 3, 3, 1]);
        let ones: Vec<usize> = input.iter().enumerate().filter(|(_, v)| **v == 1.0).map(|(i, _)| i).collect();
        assert_eq!(ones, [4, 5, 13, 18, 21]);
    }

    fn note(onset: i64, duration: i64, pitch: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(80),
        }
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
