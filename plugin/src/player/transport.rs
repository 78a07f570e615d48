//! The host's transport, and the clock that follows it: which ticks fall into a block, and on which samples. Audio thread.
//!
//! Hosts round their positions, freeze them, leave them out, jump, loop, and ramp their tempo. The clock trusts its own count of
//! samples while the host agrees, so that a note's sample does not depend on how the music is cut into blocks.

use crate::music::time::{TICKS_PER_BEAT, Tempo, Ticks, TimeSignature};

/// What a host says about its transport in one block. Any value may be absent or absurd.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostTransport {
    /// It rolls.
    pub playing: bool,
    /// Beats per minute.
    pub tempo: Option<f64>,
    /// Position of the block's first sample, in beats.
    pub pos_beats: Option<f64>,
    /// Position of the block's first sample, in samples.
    pub pos_samples: Option<i64>,
    /// Time signature.
    pub meter: Option<(i32, i32)>,
    /// Start and end of the loop, in beats, if it loops.
    pub loop_beats: Option<(f64, f64)>,
    /// It renders to a file and may be kept waiting.
    pub offline: bool,
}

/// Up to this difference (in beats) the host agrees with the clock.
const AGREES: f64 = 1.0 / 480.0;
/// Up to this difference it is not even corrected: Ardour rounds its positions to 1/1920 beat.
const ROUNDED: f64 = 1.0 / 1920.0 + 1e-9;
/// Part of a larger difference that is corrected per block.
const NUDGE: f64 = 1.0 / 16.0;
/// Up to this difference the clock goes over to the host's position without a jump: what tempo ramps look like.
const DRIFTED: f64 = 1.0 / 16.0;
/// Added to every rounding to whole samples (in samples): ticks do fall exactly between two samples at 44.1 kHz, and must fall on
/// the same side however the sum was computed.
const TIE: f64 = 1e-6;
/// Largest position believed, in beats: 2,000 years at 1000 bpm, and exact in an f64 by far.
const MAX_BEATS: f64 = 1e12;
/// Shortest loop that is followed inside a block, in beats.
const MIN_LOOP_BEATS: f64 = 1.0 / 64.0;
/// Returns to the loop start inside one block, at most.
const MAX_WRAPS: u32 = 64;

/// What the transport does in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Nothing plays.
    Stopped,
    /// Take the [`Clock::segment`]s.
    Rolling,
}

/// Consecutive ticks of the song within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First tick.
    pub from: Ticks,
    /// One past the last tick.
    pub to: Ticks,
    /// It does not go on from the last segment; the sample offset at which it begins.
    pub jumped_at: Option<u32>,
}

/// The line from ticks to samples while the transport rolls.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// This position …
    anchor_beats: f64,
    /// … falls on this sample, counted from some block's start.
    anchor_sample: f64,
    samples_per_beat: f64,
    /// The current block's first sample, in the same count.
    elapsed: i64,
    /// The next tick to be played. Never goes back but by a jump.
    cursor: Ticks,
}

/// What the host said last.
#[derive(Clone, Copy, Debug)]
struct Said {
    beats: Option<f64>,
    samples: Option<i64>,
    n_samples: u32,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    n_samples: u32,
    loop_beats: Option<(f64, f64)>,
    jumped: bool,
    wraps: u32,
    /// The loop ended; the next segment begins at its start.
    wrap: Option<(f64, f64)>,
    done: bool,
}

/// Follows the host's transport.
///
/// # Realtime safety
/// Audio thread: yes, every method; constant time.
#[derive(Debug)]
pub struct Clock {
    tempo: Tempo,
    meter: TimeSignature,
    line: Option<Line>,
    said: Option<Said>,
    position: Ticks,
    block: Block,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 samples or ticks")]
fn real(whole: i64) -> f64 {
    whole as f64
}

/// The whole number that is not below (above) a value; saturating.
#[expect(clippy::cast_possible_truncation, reason = "a cast from float saturates, and positions are within 5e14 ticks")]
fn ceil(value: f64) -> i64 {
    value.ceil() as i64
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from float saturates, and positions are within 5e14 ticks")]
fn floor(value: f64) -> i64 {
    value.floor() as i64
}

fn ticks_of(beats: f64) -> f64 {
    beats * real(TICKS_PER_BEAT)
}

impl Line {
    fn at(beats: f64, samples_per_beat: f64) -> Self {
        let mut line = Self { anchor_beats: beats, anchor_sample: 0.0, samples_per_beat, elapsed: 0, cursor: Ticks(0) };
        line.cursor = line.first_tick_from(0);
        line
    }

    fn sample_of_beats(&self, beats: f64) -> f64 {
        self.anchor_sample + (beats - self.anchor_beats) * self.samples_per_beat
    }

    /// The whole sample nearest to a tick.
    fn sample_of(&self, tick: Ticks) -> i64 {
        nearest(self.sample_of_beats(tick.beats().0))
    }

    /// The first tick that falls on `sample` or later.
    fn first_tick_from(&self, sample: i64) -> Ticks {
        let beats = self.anchor_beats + (real(sample) - 0.5 - TIE - self.anchor_sample) / self.samples_per_beat;
        let mut tick = Ticks(ceil(ticks_of(beats)));
        // The estimate rounds differently from `sample_of`, which decides.
        if self.sample_of(Ticks(tick.0 - 1)) >= sample {
            tick.0 -= 1;
        } else if self.sample_of(tick) < sample {
            tick.0 += 1;
        }
        tick
    }

    fn beats_at(&self, sample: i64) -> f64 {
        self.anchor_beats + (real(sample) - self.anchor_sample) / self.samples_per_beat
    }

    /// Position at the current block's start.
    fn position_beats(&self) -> f64 {
        self.beats_at(self.elapsed)
    }

    /// Goes over to another position or speed at the current block's start; the cursor stays.
    fn re_anchor(&mut self, beats: f64, samples_per_beat: f64) {
        *self = Self { anchor_beats: beats, anchor_sample: 0.0, samples_per_beat, elapsed: 0, cursor: self.cursor };
    }
}

/// The whole sample nearest to a real one, ties upward.
fn nearest(sample: f64) -> i64 {
    floor(sample + 0.5 + TIE)
}

impl Clock {
    /// A stopped clock at 120 bpm in 4/4.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tempo: Tempo::default(),
            meter: TimeSignature::default(),
            line: None,
            said: None,
            position: Ticks(0),
            block: Block { n_samples: 0, loop_beats: None, jumped: false, wraps: 0, wrap: None, done: true },
        }
    }

    /// Forgets where it was; the next block begins with a jump.
    pub fn reset(&mut self) {
        self.line = None;
        self.said = None;
    }

    /// The meter last heard.
    #[must_use]
    pub fn meter(&self) -> TimeSignature {
        self.meter
    }

    /// Position at the end of the last block, or where the transport stands.
    #[must_use]
    pub fn position(&self) -> Ticks {
        self.position
    }

    /// Takes note of a block's transport. [`Motion::Rolling`] is followed by [`segment`](Self::segment)s until there are none.
    pub fn begin(&mut self, transport: &HostTransport, n_samples: u32, sample_rate: f32) -> Motion {
        self.tempo = transport.tempo.and_then(Tempo::new).unwrap_or(self.tempo);
        self.meter = transport.meter.and_then(|(n, d)| TimeSignature::new(n, d)).unwrap_or(self.meter);
        let sample_rate = if (1.0..=1e7).contains(&sample_rate) { f64::from(sample_rate) } else { 44_100.0 };
        let samples_per_beat = self.tempo.samples_per_beat(sample_rate);
        let believed = |beats: &f64| beats.abs() <= MAX_BEATS;
        let beats = transport.pos_beats.filter(believed);
        let from_samples = transport.pos_samples.map(|s| real(s) / samples_per_beat).filter(believed);
        let said = Said { beats, samples: transport.pos_samples.filter(|_| from_samples.is_some()), n_samples };
        let before = self.said.replace(said);

        let loop_beats =
            transport.loop_beats.filter(|(start, end)| believed(start) && believed(end) && end - start >= MIN_LOOP_BEATS);

        let mut jumped = false;
        self.line = match (transport.playing, self.line) {
            (false, _) => {
                self.said = None;
                None
            }
            (true, None) => {
                // Stalled hosts say the same again and again.
                let stands = before.is_some_and(|b| b.beats == said.beats && b.samples == said.samples);
                jumped = true;
                beats.or(from_samples).filter(|_| !stands).map(|beats| Line::at(beats, samples_per_beat))
            }
            (true, Some(mut line)) => {
                if (line.samples_per_beat - samples_per_beat).abs() > 0.0 {
                    line.re_anchor(line.position_beats(), samples_per_beat);
                }
                match follow(line, before, said, loop_beats) {
                    Followed::On(line) => Some(line),
                    Followed::Jump(beats) => {
                        jumped = true;
                        Some(Line::at(beats, samples_per_beat))
                    }
                    Followed::Stalled => None,
                }
            }
        };
        self.block = Block { n_samples, loop_beats, jumped, wraps: 0, wrap: None, done: self.line.is_none() };
        if self.line.is_some() {
            Motion::Rolling
        } else {
            if let Some(beats) = beats.or(from_samples) {
                self.position = Ticks(floor(ticks_of(beats)));
            }
            Motion::Stopped
        }
    }

    /// The next piece of the block, `None` after the last. [`offset`](Self::offset) belongs to the last piece given.
    pub fn segment(&mut self) -> Option<Segment> {
        let block = &mut self.block;
        let line = self.line.as_mut().filter(|_| !block.done)?;
        let mut jumped_at = std::mem::take(&mut block.jumped).then_some(0);
        let mut start_beats = line.position_beats();
        if let Some((loop_start, sample)) = block.wrap.take() {
            line.anchor_beats = loop_start;
            line.anchor_sample = sample;
            line.cursor = Ticks(ceil(ticks_of(loop_start) - TIE));
            start_beats = loop_start;
            jumped_at = Some(clamped_offset(nearest(sample) - line.elapsed, block.n_samples));
        }
        let from = line.cursor;
        let block_end = line.elapsed + i64::from(block.n_samples);
        let to = match block.loop_beats {
            Some((loop_start, loop_end))
                if start_beats < loop_end - TIE
                    && block.wraps < MAX_WRAPS
                    && nearest(line.sample_of_beats(loop_end)) < block_end =>
            {
                block.wraps += 1;
                block.wrap = Some((loop_start, line.sample_of_beats(loop_end)));
                Ticks(ceil(ticks_of(loop_end) - TIE))
            }
            _ => {
                block.done = true;
                line.first_tick_from(block_end)
            }
        };
        line.cursor = from.max(to);
        if block.done {
            self.position = Ticks(floor(ticks_of(line.beats_at(block_end)) + TIE));
        }
        Some(Segment { from, to: line.cursor, jumped_at })
    }

    /// The sample offset of a tick of the last segment.
    #[must_use]
    pub fn offset(&self, tick: Ticks) -> u32 {
        let Some(line) = &self.line else { return 0 };
        clamped_offset(line.sample_of(tick) - line.elapsed, self.block.n_samples)
    }

    /// Whether the last segment given was the block's last.
    #[must_use]
    pub fn is_last_segment(&self) -> bool {
        self.block.done
    }

    /// The song position at a sample offset, by the last segment.
    #[must_use]
    pub fn tick_at(&self, offset_samples: u32) -> Ticks {
        let beats = self.line.as_ref().map(|line| line.beats_at(line.elapsed.saturating_add(offset_samples.into())));
        beats.map_or(self.position, |beats| Ticks(floor(ticks_of(beats) + TIE)))
    }

    /// Ends the block.
    pub fn end(&mut self) {
        if let Some(line) = &mut self.line {
            line.elapsed += i64::from(self.block.n_samples);
        }
    }
}

fn clamped_offset(offset: i64, n_samples: u32) -> u32 {
    u32::try_from(offset.clamp(0, i64::from(n_samples.saturating_sub(1)))).unwrap_or(0)
}

enum Followed {
    On(Line),
    Jump(f64),
    Stalled,
}

fn follow(mut line: Line, before: Option<Said>, said: Said, loop_beats: Option<(f64, f64)>) -> Followed {
    let predicted = line.position_beats();
    // How many samples the host went on by, beyond what the last block had.
    let surplus = before.and_then(|b| Some((said.samples?.saturating_sub(b.samples?), i64::from(b.n_samples))));
    let by_samples = |line: Line| match surplus {
        Some((0, n_samples)) if n_samples > 0 => Followed::Stalled,
        Some((went, n_samples)) => {
            let beats = real(went.saturating_sub(n_samples)) / line.samples_per_beat;
            if beats.abs() <= DRIFTED { Followed::On(line) } else { Followed::Jump(predicted + beats) }
        }
        None => Followed::Stalled,
    };
    let Some(beats) = said.beats else {
        // Beats that vanish leave the samples; if both are new, one block is taken on trust.
        return if said.samples.is_some() && surplus.is_none() { Followed::On(line) } else { by_samples(line) };
    };
    let difference = beats - predicted;
    let frozen = before.is_some_and(|b| b.beats == said.beats);
    if frozen {
        // A rounded position stands still for a few small blocks, a frozen one for good.
        if difference.abs() <= DRIFTED { Followed::On(line) } else { by_samples(line) }
    } else if difference.abs() <= ROUNDED {
        Followed::On(line)
    } else if difference.abs() <= AGREES {
        line.anchor_beats += difference * NUDGE;
        Followed::On(line)
    } else if difference.abs() <= DRIFTED {
        line.re_anchor(beats, line.samples_per_beat);
        Followed::On(line)
    } else if loop_beats.is_some_and(|(start, end)| (difference - (end - start)).abs() <= AGREES && (beats - end).abs() <= AGREES)
    {
        // The host rounds the loop's end to a whole sample, the clock does not: it is round already, the host not yet.
        Followed::On(line)
    } else {
        Followed::Jump(beats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(beats: f64, tempo: f64) -> HostTransport {
        HostTransport { playing: true, tempo: Some(tempo), pos_beats: Some(beats), ..HostTransport::default() }
    }

    #[test]
    fn ticks_between_two_samples_go_to_the_later_one_wherever_the_music_begins() {
        // 44.1 kHz at 120 bpm: 45.9375 samples per tick, so every 16th tick from the eighth on lies exactly between two samples.
        // Whole numbers say what is right; 3,000 beginnings give sums that err to either side.
        for begin in 0..3_000_i64 {
            let mut clock = Clock::new();
            let nearest_sample = |tick: i64| ((tick - begin) * 22_050 * 2 + 480).div_euclid(960);
            let mut tick = begin;
            let mut elapsed = 0;
            for n_samples in [1_u32, 367, 368, 512, 1, 1, 1103] {
                let transport = at((real(begin) + real(elapsed) / 45.9375) / 480.0, 120.0);
                assert_eq!(clock.begin(&transport, n_samples, 44_100.0), Motion::Rolling);
                let segment = clock.segment().unwrap();
                assert_eq!(segment.from, Ticks(tick), "from {begin}");
                for inside in segment.from.0..segment.to.0 {
                    assert_eq!(
                        i64::from(clock.offset(Ticks(inside))),
                        nearest_sample(inside) - elapsed,
                        "tick {inside} from {begin}"
                    );
                }
                elapsed += i64::from(n_samples);
                tick = segment.to.0;
                assert!(nearest_sample(tick) >= elapsed && nearest_sample(tick - 1) < elapsed, "from {begin}");
                assert_eq!(clock.segment(), None);
                clock.end();
            }
        }
    }

    #[test]
    fn a_loop_inside_a_block_is_followed_and_bounded() {
        let mut clock = Clock::new();
        let transport = HostTransport { loop_beats: Some((1.0, 2.5)), ..at(2.0, 120.0) };
        // 24,000 samples per beat: the loop ends after half a beat, and again one and a half beats later.
        assert_eq!(clock.begin(&transport, 60_000, 48_000.0), Motion::Rolling);
        let segments: Vec<_> = std::iter::from_fn(|| clock.segment()).map(|s| (s.from.0, s.to.0, s.jumped_at)).collect();
        assert_eq!(segments, [(960, 1200, Some(0)), (480, 1200, Some(12_000)), (480, 720, Some(48_000))]);
        clock.end();
        assert_eq!(clock.position(), Ticks(720));
        let transport = HostTransport { loop_beats: Some((1.0, 1.02)), ..at(1.0, 1000.0) };
        clock.begin(&transport, u32::MAX, 48_000.0);
        assert_eq!(std::iter::from_fn(|| clock.segment()).count(), usize::try_from(MAX_WRAPS).unwrap() + 1);
    }

    #[test]
    fn a_missing_tempo_is_the_last_good_one() {
        let mut clock = Clock::new();
        let mut length = |tempo| {
            clock.reset();
            clock.begin(&HostTransport { tempo, ..at(0.0, 1.0) }, 24_000, 48_000.0);
            clock.segment().unwrap().to.0
        };
        assert_eq!(length(None), 480);
        assert_eq!(length(Some(60.0)), 240);
        for absurd in [None, Some(0.0), Some(f64::NAN), Some(1e9), Some(-60.0)] {
            assert_eq!(length(absurd), 240, "{absurd:?}");
        }
    }

    #[test]
    fn small_differences_are_ignored_larger_ones_corrected_and_large_ones_are_jumps() {
        let follows = |difference: f64| {
            let mut clock = Clock::new();
            clock.begin(&at(3.0, 120.0), 24_000, 48_000.0);
            while clock.segment().is_some() {}
            clock.end();
            clock.begin(&at(4.0 + difference, 120.0), 2_400, 48_000.0);
            let segment = clock.segment().unwrap();
            (segment.from.0, segment.to.0, segment.jumped_at)
        };
        assert_eq!(follows(1.0 / 1920.0), (1920, 1968, None));
        assert_eq!(follows(-1.0 / 500.0), (1920, 1968, None));
        assert_eq!(follows(1.0 / 32.0), (1920, 1983, None));
        assert_eq!(follows(-1.0 / 32.0), (1920, 1953, None));
        assert_eq!(follows(1.0), (2400, 2448, Some(0)));
        assert_eq!(follows(-1.5), (1200, 1248, Some(0)));
    }
}
