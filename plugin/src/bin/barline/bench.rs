//! `barline bench`: what inference and playing cost on this machine.

use crate::{
    args::{BenchArgs, DEFAULT_CHORDS},
    error::CliError,
    models::print,
};
use barline::{
    engine::{Delivery, Port, Takeover},
    generate::{Generator, Pattern, PatternSpec, Span, build},
    inference::{Library, ModelInfo, Origin},
    music::chord::Progression,
    player::{EventSink, HostTransport, Knobs, NoteEvent, Player},
};
use std::time::{Duration, Instant};

/// Samples per block and per second, and the tempo, of the playing part.
const BLOCK: u32 = 512;
const SAMPLE_RATE: f32 = 48_000.0;
const BPM: f64 = 120.0;

/// Does what `barline bench` is asked for.
pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let library = Library::new();
    let names = if args.model.is_empty() { built_in(&library) } else { args.model.clone() };
    let build_kind = if cfg!(debug_assertions) { "DEBUG BUILD: these figures mean nothing" } else { "release build" };
    print(&format!("barline {}, {build_kind}\n{}\n", env!("CARGO_PKG_VERSION"), machine()))?;
    for name in &names {
        bench_model(args, &library, name)?;
    }
    Ok(())
}

fn built_in(library: &Library) -> Vec<String> {
    let embedded = |m: &ModelInfo| m.origin == Origin::Embedded;
    library.list().0.into_iter().filter(embedded).map(|m| m.manifest.id).collect()
}

fn bench_model(args: &BenchArgs, library: &Library, name: &str) -> Result<(), CliError> {
    let refused = |source| CliError::Model { model: name.into(), source };
    let started = Instant::now();
    let mut generator = library.open(name).map_err(refused)?;
    let loading = started.elapsed();
    let (manifest, backend) = (generator.manifest(), generator.backend());
    print(&format!(
        "\n{} {}: {}, {}, one thread; loaded in {:.1} ms\n{:<28} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        manifest.id,
        manifest.version,
        backend.runtime,
        backend.provider,
        1e3 * loading.as_secs_f64(),
        "",
        "n",
        "mean",
        "p50",
        "p99",
        "p99.9",
        "max"
    ))?;
    let spec = |seed| PatternSpec {
        seed,
        take: 0,
        variation: 1.0,
        span: Span::Bars(8),
        progression: DEFAULT_CHORDS.parse().unwrap_or_else(|_| Progression::none()),
        primer: Vec::new(),
        ..PatternSpec::default()
    };
    let phrase_bars = generator.manifest().n_bars.max(1);
    let mut times = Vec::new();
    for seed in 0..args.runs {
        times.push(timed(|| build(&mut generator, &spec(seed), 0, phrase_bars, |_| ()))?);
    }
    let unit = if phrase_bars == 1 { "one bar".to_owned() } else { format!("{phrase_bars} bars") };
    print(&row(&unit, &mut times))?;
    times.clear();
    for seed in 0..args.runs.div_ceil(8) {
        times.push(timed(|| build(&mut generator, &spec(seed), 0, 8, |_| ()))?);
    }
    print(&row("pattern of 8 bars", &mut times))?;
    let pattern = build(&mut generator, &spec(0), 0, 8, |_| ())?;
    print(&row(&format!("playing, {BLOCK} samples"), &mut play(args, &pattern, true)))?;
    print(&row(&format!("stopped, {BLOCK} samples"), &mut play(args, &pattern, false)))
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let started = Instant::now();
    let done = work()?;
    let elapsed = started.elapsed();
    drop(done);
    Ok(elapsed)
}

/// Counts what a host would get.
struct Sink(u64);

impl EventSink for Sink {
    fn send(&mut self, _offset_samples: u32, _event: NoteEvent) -> bool {
        self.0 += 1;
        true
    }
}

/// What the audio thread does per block, at 48 kHz and 120 bpm, with swing and humanisation.
fn play(args: &BenchArgs, pattern: &Pattern, playing: bool) -> Vec<Duration> {
    let knobs = Knobs { swing: 0.3, humanize_time: 0.5, ..Knobs::default() };
    let (port, mut player, mut sink) = (Port::new(), Player::new(), Sink(0));
    let delivery = Delivery { pattern: pattern.clone(), takeover: Takeover::BarLine };
    // An empty queue has room.
    let _ = port.incoming.push(Box::new(delivery));
    let beats_per_sample = BPM / 60.0 / f64::from(SAMPLE_RATE);
    let mut times = Vec::with_capacity(usize::try_from(args.blocks).unwrap_or(0));
    for block in 0..args.blocks {
        let samples = if playing { i64::from(block) * i64::from(BLOCK) } else { 0 };
        let transport = HostTransport {
            playing,
            tempo: Some(BPM),
            pos_beats: Some(if playing { f64::from(block) * f64::from(BLOCK) * beats_per_sample } else { 0.0 }),
            pos_samples: Some(samples),
            meter: Some((4, 4)),
            loop_beats: None,
            offline: false,
        };
        let started = Instant::now();
        player.process(&transport, BLOCK, SAMPLE_RATE, &knobs, &|| pattern.key, &port, &mut sink);
        times.push(started.elapsed());
    }
    std::hint::black_box(sink.0);
    times
}

fn row(what: &str, times: &mut [Duration]) -> String {
    times.sort_unstable();
    // Nearest rank: with few measurements a high percentile is the maximum, never less than what it claims.
    let rank = |per_mille: usize| (times.len() * per_mille).div_ceil(1000).saturating_sub(1);
    let at = |per_mille: usize| times.get(rank(per_mille)).copied().unwrap_or_default();
    let n = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let mean = times.iter().sum::<Duration>() / n.max(1);
    let max = times.last().copied().unwrap_or_default();
    let [mean, p50, p99, p999, max] = [mean, at(500), at(990), at(999), max].map(shown);
    format!("  {what:<26} {n:>7} {mean:>10} {p50:>10} {p99:>10} {p999:>10} {max:>10}\n")
}

fn shown(time: Duration) -> String {
    let micros = 1e6 * time.as_secs_f64();
    if micros < 1000.0 { format!("{micros:.2} µs") } else { format!("{:.2} ms", micros / 1e3) }
}

/// What it was measured on.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores, {} {}", cpu.as_deref().unwrap_or("CPU"), std::env::consts::OS, std::env::consts::ARCH)
}
