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

fn track(kind: TrackKind, lowest: i32, n_pitches: u8) -> TrackLayout {
    let lowest_pitch = Pitch::new(lowest).unwrap_or_default();
    TrackLayout { kind, lowest_pitch, n_pitches, merge_repeats: false }
}

/// A melody over as many pitches as the released models have: 36 (melody), 128 (midinet).
fn melody(n_pitches: u8) -> Vec<TrackLayout> {
    vec![track(TrackKind::OneOfN, if n_pitches < 80 { 48 } else { 0 }, n_pitches)]
}

/// Drums, bass, piano, guitar, strings.
fn band() -> Vec<TrackLayout> {
    let poly = track(TrackKind::OnsetSustain, 24, 72);
    vec![track(TrackKind::Onsets, 36, 35), track(TrackKind::OneOfN, 24, 72), poly, poly, poly]
}

/// Eight bars with doubtful logits.
fn pattern(tracks: &[TrackLayout]) -> Pattern {
    let mut cells: Vec<i8> = Vec::new();
    for bar_step in 0..8 * 16 {
        let mut index = 0;
        for track in tracks {
            for cell in 0..track.n_cells() {
                let u = Address { bar: bar_step, index, ..Address::default() }.uniform(Purpose::Latent);
                index += 1;
                // Pitches between -8 and -2, rest, hold and sustain between -4 and 2; onsets of binary cells between -8 and -3.
                let span = match (track.kind, cell < usize::from(track.n_pitches)) {
                    (TrackKind::OneOfN, true) => (-128.0, 96.0),
                    (_, true) => (-127.0, 80.0),
                    (_, false) => (-64.0, 96.0),
                };
                #[expect(clippy::cast_possible_truncation, reason = "within -128 to 32")]
                cells.push((span.0 + u * span.1) as i8);
            }
        }
    }
    let roll = LogitRoll::from_cells(RollLayout { n_steps: 16, tracks: tracks.to_vec() }, 8, cells.into());
    let spec = PatternSpec {
        seed: 7,
        take: 0,
        variation: 1.0,
        span: Span::Bars(8),
        progression: "Dm7 | G7 | C Am | F".parse().unwrap_or_else(|_| std::process::exit(2)),
        primer: Vec::new(),
        ..PatternSpec::default()
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
        let _ = port.incoming.push(Box::new(Delivery { pattern: pattern(&case.tracks), takeover: Takeover::BarLine }));
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
        self.player.process(&transport, BLOCK, RATE, &self.knobs, &|| KEY, &self.port, &mut self.sink);
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
    tracks: Vec<TrackLayout>,
    knobs: Knobs,
}

fn cases() -> [Case; 6] {
    let case = |name, playing, tracks, knobs| Case { name, playing, tracks, knobs };
    [
        case("playing", true, melody(36), Knobs::default()),
        case("playing, everything on", true, melody(36), busy()),
        case("playing, everything on, 128 pitches", true, melody(128), busy()),
        case("playing, five tracks", true, band(), Knobs::default()),
        case("playing, five tracks, everything on", true, band(), busy()),
        case("idle", false, melody(36), Knobs::default()),
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
