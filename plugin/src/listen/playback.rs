//! A song as sound, from its first tick until its last note has faded. Any thread but the audio thread.

use super::{Font, ListenError, Synth};
use crate::music::{
    note::{Channel, Pitch, Velocity},
    smf::Song,
    time::{Tempo, Ticks},
};

/// Longest song, in seconds.
pub const MAX_SECONDS: u32 = 3600;
/// Time for the last notes to fade, in seconds.
const MAX_TAIL_SECONDS: u32 = 6;
/// What is quieter than this, of 1, has faded: half a step of 16 bits.
const SILENCE: f32 = 1.5e-5;

/// A song that is being rendered.
#[derive(Debug)]
pub struct Playback {
    synth: Synth,
    /// By sample, ends before begins.
    events: Vec<Event>,
    next: usize,
    /// Samples so far, until the last note's end, and until the last echo at most.
    at: u64,
    end: u64,
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: u64,
    /// An end sorts first.
    velocity: Option<Velocity>,
    channel: Channel,
    pitch: Pitch,
}

impl Playback {
    /// The song at its beginning. A channel keeps the program of the first of its tracks that names one.
    ///
    /// # Errors
    /// [`ListenError`] for a song without notes or of more than [`MAX_SECONDS`], or for the sample rate.
    pub fn new(song: &Song, font: &Font, sample_rate: u32) -> Result<Self, ListenError> {
        let mut synth = Synth::new(font, sample_rate)?;
        for track in song.tracks.iter().rev() {
            if let Some(program) = track.program {
                synth.set_program(track.channel, program);
            }
        }
        let seconds = Seconds::of(song);
        let mut events = Vec::new();
        for (track, note) in song.tracks.iter().flat_map(|track| track.notes.iter().map(move |note| (track, note))) {
            let end = seconds.at(Ticks(note.onset.0.saturating_add(note.duration.0)));
            if end > f64::from(MAX_SECONDS) {
                return Err(ListenError::TooLong(end));
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 3600 s of at most 192 kHz")]
            let sample = |seconds: f64| (seconds.max(0.0) * f64::from(sample_rate)).round() as u64;
            let event = |at, velocity| Event { at, velocity, channel: track.channel, pitch: note.pitch };
            let onset = sample(seconds.at(note.onset));
            events.push(event(onset, Some(note.velocity)));
            events.push(event(sample(end).max(onset + 1), None));
        }
        events.sort_unstable();
        let end = events.last().ok_or(ListenError::Empty)?.at;
        let last = end + u64::from(MAX_TAIL_SECONDS * sample_rate);
        Ok(Self { synth, events, next: 0, at: 0, end, last })
    }

    /// Samples until the last note ends; its echo follows.
    #[must_use]
    pub fn n_samples(&self) -> u64 {
        self.end
    }

    /// The next samples of both sides; how many were written, 0 at the end.
    pub fn render(&mut self, left: &mut [f32], right: &mut [f32]) -> usize {
        let room = left.len().min(right.len());
        let mut done = 0;
        while done < room && self.at < self.last {
            while let Some(event) = self.events.get(self.next).filter(|event| event.at <= self.at) {
                match event.velocity {
                    Some(velocity) => self.synth.on(event.channel, event.pitch, velocity),
                    None => self.synth.off(event.channel, event.pitch),
                }
                self.next += 1;
            }
            let until = self.events.get(self.next).map_or(self.last, |event| event.at);
            let n = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(room - done);
            let (Some(l), Some(r)) = (left.get_mut(done..done + n), right.get_mut(done..done + n)) else { break };
            self.synth.render(l, r);
            self.at += n as u64;
            done += n;
        }
        let faded = |side: &[f32]| side.iter().take(done).all(|sample| sample.abs() < SILENCE);
        if self.at > self.end && faded(left) && faded(right) {
            self.last = self.at;
        }
        done
    }
}

/// Where the tempo changes, and at which second.
struct Seconds(Vec<(Ticks, f64, Tempo)>);

impl Seconds {
    fn of(song: &Song) -> Self {
        let mut seconds = Self(vec![(Ticks(0), 0.0, Tempo::default())]);
        for (at, tempo) in &song.tempos {
            let second = seconds.at(*at);
            seconds.0.push((*at, second, *tempo));
        }
        seconds
    }

    fn at(&self, at: Ticks) -> f64 {
        let (since, second, tempo) = self.0.iter().rev().find(|(since, ..)| *since <= at).copied().unwrap_or_default();
        second + Ticks(at.0 - since.0).beats().0 * tempo.samples_per_beat(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::{note::Note, smf::SongTrack};

    fn song(notes: &[(i64, i64)], tempos: &[(i64, f64)]) -> Song {
        let note = |&(onset, duration): &(i64, i64)| Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(64).unwrap(),
            velocity: Velocity::clamped(96),
        };
        let track = SongTrack {
            name: String::new(),
            channel: Channel::default(),
            program: Some(73),
            notes: notes.iter().map(note).collect(),
        };
        let tempos = tempos.iter().map(|(at, bpm)| (Ticks(*at), Tempo::new(*bpm).unwrap())).collect();
        Song { tracks: vec![track], tempos, ..Song::default() }
    }

    /// Both sides, in buffers of a length.
    fn rendered(song: &Song, buffer: usize) -> Vec<f32> {
        let mut playback = Playback::new(song, &Font::embedded().unwrap(), 22_050).unwrap();
        let (mut left, mut right, mut all) = (vec![0.0; buffer], vec![0.0; buffer], Vec::new());
        loop {
            let n = playback.render(&mut left, &mut right);
            if n == 0 {
                return all;
            }
            all.extend(left[..n].iter().zip(&right[..n]).map(|(l, r)| l.abs().max(r.abs())));
        }
    }

    #[test]
    fn notes_sound_where_they_stand_at_every_tempo() {
        // 1 s of silence at 120, then half a second per beat at 240: the second note begins at 2.25 s.
        let song = song(&[(960, 240), (960 + 5 * 480, 480)], &[(0, 120.0), (960, 240.0)]);
        let all = rendered(&song, 777);
        let sample = |ms: usize| ms * 22_050 / 1000;
        let peak = |from: usize, to: usize| all[sample(from)..sample(to)].iter().fold(0.0_f32, |a, b| a.max(*b));
        assert_eq!(peak(0, 999), 0.0);
        assert!(peak(1000, 1100) > 0.05 && peak(2260, 2500) > 0.05);
        assert!(peak(1900, 2200) < 0.3 * peak(2260, 2500), "{} {}", peak(1900, 2200), peak(2260, 2500));
        // It ends when it has faded, not at the limit.
        assert!(all.len() < sample(8500) && all[all.len() - 100..].iter().all(|s| *s < 1e-4));
    }

    #[test]
    fn songs_without_an_end_or_a_beginning_are_refused() {
        let new = |song: &Song| Playback::new(song, &Font::embedded().unwrap(), 22_050).map(|_| ());
        assert!(matches!(new(&song(&[], &[])), Err(ListenError::Empty)));
        assert!(matches!(new(&song(&[(1 << 40, 5)], &[])), Err(ListenError::TooLong(_))));
        assert!(new(&song(&[(3599 * 960, 960)], &[])).is_ok());
    }
}
