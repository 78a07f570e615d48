//! `barline bench`: what inference and playing cost on this machine.

use crate::{
    args::{BenchArgs, DEFAULT_CHORDS},
    bench_report,
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
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Samples per block and per second, and the tempo, of the playing part.
const BLOCK: u32 = 512;
const SAMPLE_RATE: f32 = 48_000.0;
const BPM: f64 = 120.0;

/// What a model costs in one runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub model: String,
    pub runtime: String,
    pub provider: String,
    pub notes: Vec<String>,
    pub loading_ms: f64,
    pub inference: Vec<Row>,
    /// Whatever the runtime.
    pub playing: Vec<Row>,
}

/// Times of one kind of work, in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub n: usize,
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Does what `barline bench` is asked for.
pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let library = Library::new();
    let names = if args.model.is_empty() { built_in(&library) } else { args.model.clone() };
    if let Some(path) = &args.report {
        return bench_report::write(args, &library, &names, path);
    }
    if !args.json {
        print(&format!("barline {}, {}\n{}\n", env!("CARGO_PKG_VERSION"), build_kind(), machine()))?;
    }
    for name in &names {
        let figures = bench_model(args, &library, name)?;
        if args.json {
            print(&(serde_json::to_string(&figures).map_err(|e| CliError::Print(e.to_string()))? + "\n"))?;
        } else {
            print(&text_of(&figures))?;
        }
    }
    Ok(())
}

/// How the program was built.
pub const fn build_kind() -> &'static str {
    if cfg!(debug_assertions) { "DEBUG BUILD: these figures mean nothing" } else { "release build" }
}

fn built_in(library: &Library) -> Vec<String> {
    let embedded = |m: &ModelInfo| m.origin == Origin::Embedded;
    library.list().0.into_iter().filter(embedded).map(|m| m.manifest.id).collect()
}

fn bench_model(args: &BenchArgs, library: &Library, name: &str) -> Result<Figures, CliError> {
    let refused = |source| CliError::Model { model: name.into(), source };
    let started = Instant::now();
    let mut generator = library.open(name).map_err(refused)?;
    let loading = started.elapsed();
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
    let mut inference = vec![Row::new(&unit, &mut times)];
    times.clear();
    for seed in 0..args.runs.div_ceil(8) {
        times.push(timed(|| build(&mut generator, &spec(seed), 0, 8, |_| ()))?);
    }
    inference.push(Row::new("pattern of 8 bars", &mut times));
    let pattern = build(&mut generator, &spec(0), 0, 8, |_| ())?;
    let playing = [("playing", true), ("stopped", false)]
        .map(|(what, playing)| Row::new(&format!("{what}, {BLOCK} samples"), &mut play(args, &pattern, playing)));
    let (manifest, backend) = (generator.manifest(), generator.backend().clone());
    Ok(Figures {
        model: format!("{} {}", manifest.id, manifest.version),
        runtime: backend.runtime,
        provider: backend.provider,
        notes: backend.notes,
        loading_ms: 1e3 * loading.as_secs_f64(),
        inference,
        playing: playing.into(),
    })
}

fn text_of(figures: &Figures) -> String {
    let Figures { model, runtime, provider, loading_ms, .. } = figures;
    let mut text = format!(
        "\n{model}: {runtime}, {provider}, one thread; loaded in {loading_ms:.1} ms\n{:<28} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        "", "n", "mean", "p50", "p99", "p99.9", "max"
    );
    for row in figures.inference.iter().chain(&figures.playing) {
        let [mean, p50, p99, p999, max] = row.shown();
        text += &format!("  {:<26} {:>7} {mean:>10} {p50:>10} {p99:>10} {p999:>10} {max:>10}\n", row.what, row.n);
    }
    text
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

impl Row {
    /// The figures of some times, of which there is one at least.
    pub fn new(what: &str, times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let micros = |time: Duration| 1e6 * time.as_secs_f64();
        // Nearest rank: with few measurements a high percentile is the maximum, never less than what it claims.
        let rank = |per_mille: usize| (times.len() * per_mille).div_ceil(1000).saturating_sub(1);
        let at = |per_mille: usize| micros(times.get(rank(per_mille)).copied().unwrap_or_default());
        let n = u32::try_from(times.len()).unwrap_or(u32::MAX);
        let mean = micros(times.iter().sum::<Duration>() / n.max(1));
        let max = micros(times.last().copied().unwrap_or_default());
        Self { what: what.into(), n: times.len(), mean, p50: at(500), p99: at(990), p999: at(999), max }
    }

    /// Mean, p50, p99, p99.9 and maximum, for people.
    pub fn shown(&self) -> [String; 5] {
        [self.mean, self.p50, self.p99, self.p999, self.max]
            .map(|micros| if micros < 1000.0 { format!("{micros:.2} µs") } else { format!("{:.2} ms", micros / 1e3) })
    }
}

/// What it was measured on.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores, {} {}", cpu.as_deref().unwrap_or("CPU"), std::env::consts::OS, std::env::consts::ARCH)
}
