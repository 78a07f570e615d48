//! Onsets that a real host shows from some place on, beside those of the song.

use super::notes::Note;

/// At the tempo of the tests with real hosts: 120 bpm at 48 kHz.
pub const SAMPLES_PER_BEAT: f64 = 24_000.0;

/// Onsets in samples, from wherever, with the pitches.
pub type Onsets = Vec<(f64, u8)>;

/// The onsets of a pattern of so many beats, repeated, from one beat of the song to another, in samples from its beginning. The notes are in
/// ticks.
pub fn song(pattern: &[Note], pattern_beats: f64, from: f64, to: f64) -> Onsets {
    let samples = |n: &Note, times: f64| (n.onset as f64 / 480.0 + times * pattern_beats) * SAMPLES_PER_BEAT;
    let all = (0..8).flat_map(|times| pattern.iter().map(move |n| (samples(n, f64::from(times)), n.pitch)));
    all.filter(|(at, _)| (from * SAMPLES_PER_BEAT..to * SAMPLES_PER_BEAT).contains(at)).collect()
}

/// What was played begins with these notes, in pitch and in the distances between onsets.
pub fn begins_with(played: &[(f64, u8)], wanted: &[(f64, u8)], tolerance: f64) -> bool {
    let (Some(first), Some(first_wanted)) = (played.first(), wanted.first()) else { return false };
    let same = |(got, want): (&(f64, u8), &(f64, u8))| {
        got.1 == want.1 && ((got.0 - first.0) - (want.0 - first_wanted.0)).abs() <= tolerance
    };
    played.len() >= wanted.len() && played.iter().zip(wanted).all(same)
}
