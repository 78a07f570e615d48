//! What one block costs on the audio thread: `cargo bench -p barline --no-default-features --bench process`.
//!
//! Criterion gives the means. Percentiles over many blocks come first, as plain text: criterion averages over batches, and the
//! audio thread's deadline is about single blocks.

use barline::{
    engine::{Delivery, Port, Takeover},
    generate::{ModelId, Pattern, PatternSpec, Span},
    music::{
        noise::{Address, Purpose},
        note::{Channel, Pitch},
        roll::{LogitRoll, RollLayout, TrackKind, TrackLayout},
    },
    player::{EventSink, HostTransport, Knobs, NoteEvent, Player},
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Instant};

const RATE: f32 = 48_000.0;
const BLOCK: u32 = 512;
const KEY: u64 = 17;

struct Sink(u64);

impl EventSink for Sink {
    fn send(&mut self, offset_samples: u32, event: NoteEvent) -> bool {
        self.0 += u64::from(black_box(offset_samples)) + u64::from(black_box(event.pitch.number()));
        true
    }
}

/// Eight bars of a melody with doubtful logits.
fn pattern(n_pitches: u8) -> Pattern {
    let track = TrackLayout {
        kind: TrackKind::OneOfN,
        lowest_pitch: Pitch::new(if n_pitches < 80 { 48 } else { 0 }).unwrap_or_default(),
        n_pitches,
        merge_repeats: false,
    };
    let mut cells = Vec::new();
    for bar_step in 0..8 * 16 {
        for cell in 0..u32::from(n_pitches) + 2 {
            let u = Address { bar: bar_step, index: cell, ..Address::default() }.uniform(Purpose::Latent);
            // Pitches between -8 and -2, rest and hold between -4 and 2.
            #[expect(clippy::cast_possible_truncation, reason = "within -128 to 32")]
            cells.push((u * 96.0 - if cell < u32::from(n_pitches) { 128.0 } else { 64.0 }) as i8);
        }
    }
    let roll = LogitRoll::from_cells(RollLayout { n_steps: 16, tracks: vec![track] }, 8, cells.into());
    let spec = PatternSpec {
        seed: 7,
        take: 0,
        variation: 1.0,
        span: Span::Bars(8),
        progression: "Dm7 | G7 | C Am | F".parse().unwrap_or_else(|_| std::process::exit(2)),
        primer: Vec::new(),
    };
    Pattern {
        key: KEY,
        spec,
        model: ModelId { id: "bench".into(), sha256: String::new() },
        first_bar: 0,
        roll: roll.unwrap_or_else(|_| std::process::exit(2)),
        temperature_factor: 1.0,
    }
}

struct Bench {
    player: Player,
    port: Port,
    sink: Sink,
    knobs: Knobs,
    samples: i64,
    playing: bool,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let port = Port::new();
        let _ = port.incoming.push(Box::new(Delivery { pattern: pattern(case.n_pitches), takeover: Takeover::BarLine }));
        Self { player: Player::new(), port, sink: Sink(0), knobs: case.knobs, samples: 0, playing: case.playing }
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 samples")]
    fn block(&mut self) {
        let transport = HostTransport {
            playing: self.playing,
            tempo: Some(120.0),
            pos_beats: Some(self.samples as f64 / 24_000.0),
            pos_samples: Some(self.samples),
            meter: Some((4, 4)),
            loop_beats: None,
            offline: false,
        };
        self.player.process(&transport, BLOCK, RATE, &self.knobs, KEY, &self.port, &mut self.sink);
        if self.playing {
            self.samples += i64::from(BLOCK);
        }
    }
}

/// Everything on: chords, swing, humanisation, shortened notes (which look ahead), temperature 1.
fn busy() -> Knobs {
    Knobs {
        chords: Channel::new(1),
        swing: 0.4,
        humanize_time: 0.5,
        humanize_velocity: 0.5,
        note_length: 0.9,
        key: "C major".parse().ok(),
        ..Knobs::default()
    }
}

struct Case {
    name: &'static str,
    playing: bool,
    /// As the released models have them: 36 (melody), 128 (midinet).
    n_pitches: u8,
    knobs: Knobs,
}

fn cases() -> [Case; 4] {
    [
        Case { name: "playing", playing: true, n_pitches: 36, knobs: Knobs::default() },
        Case { name: "playing, everything on", playing: true, n_pitches: 36, knobs: busy() },
        Case { name: "playing, everything on, 128 pitches", playing: true, n_pitches: 128, knobs: busy() },
        Case { name: "idle", playing: false, n_pitches: 36, knobs: Knobs::default() },
    ]
}

fn percentiles() {
    const N: usize = 200_000;
    println!("single blocks of {BLOCK} samples, {N} each, with the cost of reading the clock, in microseconds:");
    for case in cases() {
        let mut bench = Bench::new(&case);
        let mut nanos: Vec<u128> = Vec::with_capacity(N);
        for _ in 0..N {
            let start = Instant::now();
            bench.block();
            nanos.push(start.elapsed().as_nanos());
        }
        nanos.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a block")]
        let micros = |per_mille: usize| nanos.get((N - 1) * per_mille / 1000).map_or(0.0, |n| *n as f64 / 1000.0);
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a block")]
        let mean = nanos.iter().sum::<u128>() as f64 / 1000.0 / N as f64;
        println!(
            "  {:36} mean {mean:.3}  p50 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}",
            case.name,
            micros(500),
            micros(990),
            micros(999),
            micros(1000)
        );
    }
}

fn process(c: &mut Criterion) {
    percentiles();
    for case in cases() {
        let mut bench = Bench::new(&case);
        c.bench_function(&format!("process/{}", case.name), |b| b.iter(|| bench.block()));
    }
}

criterion_group!(benches, process);
criterion_main!(benches);
