//! Rolling a transport: the ordinary ways in which a host plays a stretch of a song.

use crate::{
    host::{Block, Host, Transport},
    notes::{Kind, NoteEvent},
};

/// A song of one tempo and one meter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Song {
    /// Beats per minute.
    pub tempo: f64,
    /// Time signature.
    pub meter: (u16, u16),
}

impl Default for Song {
    fn default() -> Self {
        Self { tempo: 120.0, meter: (4, 4) }
    }
}

impl Song {
    /// Samples per beat.
    pub fn samples_per_beat(&self, sample_rate: f64) -> f64 {
        60.0 / self.tempo * sample_rate
    }

    /// Beats per bar.
    pub fn bar_beats(&self) -> f64 {
        4.0 * f64::from(self.meter.0) / f64::from(self.meter.1)
    }

    /// The sample nearest to a position in beats; a tie goes to the later one.
    pub fn sample_at(&self, beats: f64, sample_rate: f64) -> i64 {
        // Exact ties happen (at 44.1 kHz a sixteenth at 120 bpm is 5512.5 samples); the epsilon, a millionth of a sample, keeps
        // rounding errors from deciding them.
        (beats * self.samples_per_beat(sample_rate) + 0.5 + 1e-6).floor() as i64
    }

    /// What the host says of a position.
    pub fn transport(&self, pos_samples: i64, sample_rate: f64, playing: bool) -> Transport {
        Transport {
            playing,
            tempo: Some(self.tempo),
            pos_beats: Some(pos_samples as f64 / self.samples_per_beat(sample_rate)),
            pos_samples,
            meter: Some(self.meter),
            loop_beats: None,
        }
    }
}

/// Rolls `n_samples` from `start` (samples from the song's beginning; may be negative) with these block lengths in turn, then
/// stops for one block. Events are at samples after `start`.
///
/// # Panics
/// The plugin's process call fails.
pub fn roll(host: &mut dyn Host, song: &Song, start: i64, n_samples: u64, block_lengths: &[u32]) -> Vec<NoteEvent> {
    let origin = host.elapsed();
    let rate = host.sample_rate();
    let mut events = Vec::new();
    let mut done = 0;
    let mut lengths = block_lengths.iter().cycle();
    while done < n_samples {
        let length = u64::from(*lengths.next().expect("a block length")).min(n_samples - done);
        let transport = song.transport(start + done as i64, rate, true);
        let block = Block { n_samples: length as u32, transport: Some(transport), inputs: Vec::new() };
        events.extend(host.process(&block).unwrap_or_else(|e| panic!("{}: {e}", host.format())));
        done += length;
    }
    let stopped = song.transport(start + done as i64, rate, false);
    events.extend(
        host.process(&Block { n_samples: 64, transport: Some(stopped), inputs: Vec::new() })
            .unwrap_or_else(|e| panic!("{}: {e}", host.format())),
    );
    for event in &mut events {
        event.at -= origin;
    }
    events
}

/// Plays a loop from 0 to `loop_beats` this many times, as a host does that tells the loop and lets blocks run across its end;
/// then stops. Each pass's events, at samples from the pass's start.
///
/// `announced`: the host tells the loop's ends, and its blocks run across them; else it cuts its blocks there, silently.
///
/// # Panics
/// The plugin's process call fails, or the loop is no whole number of samples.
pub fn play_loop(
    host: &mut dyn Host,
    song: &Song,
    loop_beats: f64,
    n_passes: u64,
    block_length: u32,
    announced: bool,
) -> Vec<Vec<NoteEvent>> {
    let rate = host.sample_rate();
    let exact = loop_beats * song.samples_per_beat(rate);
    assert!((exact - exact.round()).abs() < 1e-9, "the test needs a loop of whole samples");
    let pass = exact.round() as u64;
    let origin = host.elapsed();
    let mut events = Vec::new();
    let mut done = 0;
    while done < pass * n_passes {
        let pos = done % pass;
        let to_end = if announced { pass * n_passes - done } else { pass - pos };
        let length = u64::from(block_length).min(to_end);
        let mut transport = song.transport(pos as i64, rate, true);
        transport.loop_beats = announced.then_some((0.0, loop_beats));
        let block = Block { n_samples: length as u32, transport: Some(transport), inputs: Vec::new() };
        events.extend(host.process(&block).unwrap_or_else(|e| panic!("{}: {e}", host.format())));
        done += length;
    }
    let stopped = Block { n_samples: 64, transport: Some(song.transport(0, rate, false)), inputs: Vec::new() };
    events.extend(host.process(&stopped).unwrap_or_else(|e| panic!("{}: {e}", host.format())));
    let mut passes = vec![Vec::new(); n_passes as usize];
    for mut event in events {
        event.at -= origin;
        // What ends exactly at the loop's end belongs to the pass that it ends.
        let idx = match event.kind {
            Kind::Off => (event.at.max(1) - 1) / pass,
            Kind::On(_) => event.at / pass,
        };
        event.at -= idx * pass;
        passes[idx as usize].push(event);
    }
    passes
}
