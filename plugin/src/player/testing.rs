//! Patterns and checks shared by the player's tests.

use super::{
    knobs::{Knobs, Lane, MAX_LANES},
    sequencer::{Event, EventKind},
};
use crate::{
    generate::{ModelId, Pattern, PatternSpec, Span},
    music::{
        note::{Channel, Pitch},
        roll::{LogitRoll, RollLayout, TrackKind, TrackLayout},
        scale::{Key, Scale},
        time::Ticks,
    },
};
use fastrand::Rng;
use std::collections::HashMap;

pub fn mono(lowest: i32, n_pitches: u8, merge_repeats: bool) -> TrackLayout {
    TrackLayout { kind: TrackKind::OneOfN, lowest_pitch: Pitch::new(lowest).unwrap(), n_pitches, merge_repeats }
}

pub fn poly(lowest: i32, n_pitches: u8, merge_repeats: bool) -> TrackLayout {
    TrackLayout { kind: TrackKind::OnsetSustain, ..mono(lowest, n_pitches, merge_repeats) }
}

pub fn drums(lowest: i32, n_pitches: u8) -> TrackLayout {
    TrackLayout { kind: TrackKind::Onsets, ..mono(lowest, n_pitches, false) }
}

/// The five tracks of the band: drums, bass, piano, guitar, strings.
pub fn band() -> Vec<TrackLayout> {
    vec![drums(36, 35), mono(24, 72, false), poly(24, 72, false), poly(24, 72, false), poly(24, 72, false)]
}

pub fn pattern(key: u64, span: Span, progression: &str, roll: LogitRoll) -> Pattern {
    Pattern {
        key,
        spec: PatternSpec {
            seed: u32::try_from(key % 1000).unwrap(),
            take: 3,
            variation: 1.0,
            span,
            progression: progression.parse().unwrap(),
            primer: Vec::new(),
            ..PatternSpec::default()
        },
        model: ModelId { id: "test".into(), sha256: String::new() },
        first_bar: 0,
        roll,
        temperature_factor: 1.0,
    }
}

/// A pattern of one monophonic track from letters, one per step: a digit begins pitch 60 + digit, `-` holds, `.` rests. Bars are
/// separated by spaces. The logits are sure: no temperature up to 2 changes them much below one in a million.
pub fn written(bars: &str, merge_repeats: bool) -> Pattern {
    let bars: Vec<&str> = bars.split_whitespace().collect();
    let layout = RollLayout { n_steps: u8::try_from(bars[0].len()).unwrap(), tracks: vec![mono(60, 10, merge_repeats)] };
    let mut cells = Vec::new();
    for letter in bars.concat().chars() {
        let class = letter.to_digit(10).map_or(if letter == '-' { 11 } else { 10 }, |d| d as usize);
        cells.extend((0..12).map(|i| if i == class { 127 } else { -128 }));
    }
    let roll = LogitRoll::from_cells(layout, bars.len(), cells.into()).unwrap();
    pattern(7, Span::Bars(u32::try_from(bars.len()).unwrap()), "N.C.", roll)
}

/// A pattern whose logits are doubtful everywhere, with the tracks given.
pub fn doubtful(key: u64, tracks: Vec<TrackLayout>, n_bars: u32, progression: &str) -> Pattern {
    let layout = RollLayout { n_steps: 16, tracks };
    let mut rng = Rng::with_seed(key);
    let mut cells = Vec::new();
    for _ in 0..n_bars * 16 {
        for track in &layout.tracks {
            for idx in 0..track.n_cells() {
                // Pitches rare, rest and hold likely; in polyphonic tracks onsets rare, sustains about even.
                let spread = |rng: &mut Rng, n: u64| i8::try_from(rng.u64(..n)).unwrap();
                let n_pitches = usize::from(track.n_pitches);
                cells.push(match (track.kind, idx < n_pitches) {
                    (TrackKind::OneOfN, true) => spread(&mut rng, 60) - 60,
                    (TrackKind::OneOfN, false) => spread(&mut rng, 60) - 20,
                    (TrackKind::OnsetSustain | TrackKind::Onsets, true) => spread(&mut rng, 30) - 70,
                    (TrackKind::OnsetSustain | TrackKind::Onsets, false) => spread(&mut rng, 80) - 30,
                });
            }
        }
    }
    let roll = LogitRoll::from_cells(layout, n_bars as usize, cells.into()).unwrap();
    pattern(key, Span::Bars(n_bars), progression, roll)
}

/// Some as they were, some changed in everything; several may share a channel.
pub fn random_lanes(rng: &mut Rng) -> [Lane; MAX_LANES] {
    let mut lanes = Knobs::default().lanes;
    for lane in &mut lanes {
        if rng.u8(..100) < 60 {
            continue;
        }
        *lane = Lane {
            on: rng.u8(..100) < 80,
            muted: rng.u8(..100) < 20,
            solo: rng.u8(..100) < 10,
            channel: Channel::new(rng.choice([0, 1, 2, 9, 9, 15]).unwrap()).unwrap(),
            octave: rng.choice([-3, -1, 0, 2]).unwrap(),
            velocity: rng.choice([-64, -5, 0, 64]).unwrap(),
            density: rng.choice([-4.0, -0.5, 0.0, 1.5, 4.0]).unwrap(),
        };
    }
    lanes
}

pub fn random_knobs(rng: &mut Rng) -> Knobs {
    Knobs {
        temperature: rng.choice([0.0, 0.5, 1.0, 1.0, 2.0]).unwrap(),
        threshold: rng.choice([0.0, 0.3, 0.5, 0.5, 0.8, 1.0]).unwrap(),
        octave: rng.choice([-3, -1, 0, 0, 1, 3]).unwrap(),
        velocity: (1 + rng.u8(..127)),
        accent: rng.choice([0.0, 0.5, 1.0]).unwrap(),
        humanize_velocity: rng.f32(),
        humanize_time: rng.choice([0.0, 0.4, 1.0]).unwrap(),
        swing: rng.choice([0.0, 0.5, 1.0]).unwrap(),
        note_length: rng.choice([0.05, 0.5, 0.97, 1.0, 1.0]).unwrap(),
        key: rng
            .choice([
                None,
                None,
                Some(Key { tonic: crate::music::note::PitchClass::of(9), scale: Scale::MinorPentatonic }),
                Some(Key { tonic: crate::music::note::PitchClass::of(2), scale: Scale::Dorian }),
            ])
            .unwrap(),
        channel: Channel::new(rng.choice([0, 0, 3, 15]).unwrap()).unwrap(),
        one_channel: rng.u8(..100) < 15,
        only_lane: (rng.u8(..100) < 10).then(|| rng.u8(..6)),
        lanes: random_lanes(rng),
        chords: rng.choice([None, Channel::new(0), Channel::new(1)]).unwrap(),
        chord_velocity: 61,
        muted: false,
        thru: false,
        capture: false,
    }
}

/// Checks that every begin has exactly one end, that equal notes never overlap, that time never goes back, that at equal ticks ends
/// come first, and that nothing is left at the end.
pub fn check_ledger(events: &[Event]) {
    let mut sounding: HashMap<(Channel, Pitch), Ticks> = HashMap::new();
    let mut last = (Ticks(i64::MIN), false);
    for (idx, event) in events.iter().enumerate() {
        let begins = matches!(event.kind, EventKind::On(_));
        assert!(event.at >= last.0, "event {idx} goes back in time: {event:?} after {last:?}");
        assert!(event.at > last.0 || begins || !last.1, "event {idx} ends after a begin of the same tick: {event:?}");
        last = (event.at, begins);
        let note = (event.channel, event.pitch);
        if begins {
            assert!(sounding.insert(note, event.at).is_none(), "event {idx} begins a note that sounds: {event:?}");
        } else {
            let began = sounding.remove(&note);
            assert!(began.is_some(), "event {idx} ends a note that does not sound: {event:?}");
            assert!(began.unwrap() < event.at, "event {idx} ends a note of no length: {event:?}");
        }
    }
    assert!(sounding.is_empty(), "still sounding: {sounding:?}");
}
