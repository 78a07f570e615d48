//! `cargo xtask measure`: what the release bundle costs in a headless CLAP host: start-up, memory per instance, the processor time of an
//! idle process, notes at places that were never visited, and many instances that play endless patterns at once in real time.
//!
//! Notes are compared with those that each instance gives when the host renders offline, where nothing may be missing.

use anyhow::{Context, Result, anyhow, ensure};
#[cfg(target_os = "linux")]
use barline_tests::screen::{Screen, Window};
use barline_tests::{
    bundle::{BUNDLE_DIR, Bundle},
    clap::{ClapFile, ClapHost},
    host::{Block, Host},
    notes::{Kind, NoteEvent},
    song::{Song, roll},
    state::{Setup, settle},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::HashSet,
    env, fs,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const RATE: f64 = 48_000.0;
const BLOCK: u32 = 512;
/// Samples of a bar at 120 bpm.
const BAR: u64 = 96_000;
/// Bars in which an endless pattern may still be on its way.
const GRACE_BARS: u64 = 2;
const PLAYED_BARS: u64 = 24;
const IDLE: Duration = Duration::from_secs(10);
/// The editor's size where its frames are measured.
#[cfg(target_os = "linux")]
const WINDOW: (u16, u16) = (1600, 1000);
/// Bars to jump to, in this order, none in the window of another: in an endless pattern's reserve and beyond it.
const COLD_BARS: [[u64; 6]; 2] = [[100, 250, 33, 181, 64, 217], [400, 905, 777, 1501, 610, 1999]];
/// An endless pattern's reserve is made by then, with every other instance idle.
const RESERVE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "band".into());
    let n_instances: u32 = arguments.next().map_or(Ok(50), |n| n.parse()).context("the number of instances")?;
    ensure!(n_instances > 0, "no instances");
    let dir = env::var_os(BUNDLE_DIR).with_context(|| format!("{BUNDLE_DIR} names no bundle: `cargo xtask measure` does"))?;
    #[cfg(target_os = "linux")]
    let screen = Screen::start();
    #[cfg(target_os = "linux")]
    if let Some(screen) = &screen {
        // SAFETY: this is the only thread so far.
        unsafe { env::set_var("DISPLAY", &screen.display) };
    }
    let before = Memory::now();
    let start = Instant::now();
    let file = ClapFile::load(&Bundle::in_dir(dir.as_ref()).clap);
    let mut hosts = vec![file.instance(RATE)];
    let instantiated = start.elapsed();
    let setup = |seed| Setup { seed, model: &model, ..Setup::default() };
    setup(1000).load(&mut hosts[0]);
    println!("model      {model}, 8 bars; {BLOCK} samples at {RATE} Hz, 120 bpm");
    println!("start-up   instance after {instantiated:.1?}, its first pattern after {:.1?}", start.elapsed());

    let first = Memory::now();
    for n in [10, n_instances] {
        while hosts.len() < n as usize {
            let mut host = file.instance(RATE);
            setup(1000 + hosts.len() as u32).load(&mut host);
            hosts.push(host);
        }
        if let (Some(before), Some(first), Some(now)) = (&before, &first, Memory::now()) {
            let n_further = (hosts.len() - 1).max(1) as f64;
            println!(
                "memory     {} instances: the first {:.1} MB of its own and {:.1} MB of its files' pages, each further one {:.2} MB",
                hosts.len(),
                first.own - before.own,
                first.of_files - before.of_files,
                (now.own + now.of_files - first.own - first.of_files) / n_further
            );
        }
    }

    let (used, idle) = (processor_time(), Instant::now());
    thread::sleep(IDLE);
    if let (Some(before), Some(after)) = (used, processor_time()) {
        let share = 100.0 * (after - before).as_secs_f64() / idle.elapsed().as_secs_f64();
        println!("idle       {} instances, stopped: {share:.2} % of a core", hosts.len());
    }

    #[cfg(target_os = "linux")]
    if screen.is_some() {
        drawn(&file, &model)?;
    }
    for (length, idle, shown) in [("32", Duration::ZERO, 0), ("endless", RESERVE, 0), ("endless", RESERVE, 300)] {
        cold(&mut hosts[0], &setup(1), length, idle, Duration::from_millis(shown))?;
    }
    together(&mut hosts, &model)
}

/// What the editor costs, without a graphics card: its frames, and blocks with it closed and open in turn.
#[cfg(target_os = "linux")]
fn drawn(file: &ClapFile, model: &str) -> Result<()> {
    let mut host = file.instance(RATE);
    Setup { model, length: "32", ..Setup::default() }.load(&mut host);
    settle(&mut host);
    let mut blocks = [Vec::new(), Vec::new()];
    let (mut used, mut n_frames, mut start) = ([Duration::ZERO; 2], 0.0, 0);
    for is_open in [false, true].repeat(3) {
        let window = Window::new(WINDOW.0, WINDOW.1);
        if is_open {
            host.open_editor(window.id());
            ensure!(host.resize_editor(WINDOW.0.into(), WINDOW.1.into()), "the editor does not take its size");
            window.wait_for_picture();
            window.watch();
        }
        let before = processor_time().context("no processor time")?;
        let times = &mut blocks[usize::from(is_open)];
        in_real_time(std::slice::from_mut(&mut host), start, 4 * BAR, |_, hosts| times.push(hosts[0].process_time))?;
        used[usize::from(is_open)] += processor_time().context("no processor time")? - before;
        start += 4 * BAR as i64;
        if is_open {
            n_frames += window.n_frames();
            host.close_editor();
        }
    }
    let seconds = 12.0 * BAR as f64 / RATE;
    let of_frames = used[1].saturating_sub(used[0]).as_secs_f64() * 1e3;
    println!(
        "editor     {} x {}, 32 bars, drawn by the processor: {:.0} frames a second, {:.1} ms of processor time each",
        WINDOW.0,
        WINDOW.1,
        n_frames / seconds,
        of_frames / n_frames,
    );
    for (times, state) in blocks.iter_mut().zip(["closed", "open"]) {
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "           process with it {state}: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    Ok(())
}

/// What each jump costs: from play at a bar where the instance never was to its first note, beyond where that note is written.
/// The instance is left alone for as long as `idle` before the first; `shown` is for how long the host stands at a place before it plays.
fn cold(host: &mut ClapHost, setup: &Setup, length: &str, idle: Duration, shown: Duration) -> Result<()> {
    Setup { length, ..setup.clone() }.load(host);
    stop_at(host, 0, idle)?;
    for (bars, of) in COLD_BARS.iter().zip(["within the first 256 bars", "beyond them"]) {
        let mut waits = Vec::new();
        for bar in bars {
            let start = (bar * BAR) as i64;
            stop_at(host, start, shown)?;
            let played = in_real_time(std::slice::from_mut(host), start, 2 * BAR, |_, _| ())?.remove(0);
            host.set_offline(true);
            let written = roll(host, &Song::default(), start, 2 * BAR, &[BLOCK]);
            host.set_offline(false);
            let first = |events: &[NoteEvent]| events.iter().find(|e| e.kind != Kind::Off).map(|e| e.at);
            let wanted = first(&written).with_context(|| format!("nothing is written in bar {bar}"))?;
            let heard = first(&played).with_context(|| format!("nothing was heard from bar {bar}"))?;
            waits.push(Duration::from_secs_f64((heard as f64 - wanted as f64).max(0.0) / RATE));
        }
        waits.sort_unstable();
        let n_on_time = waits.iter().filter(|wait| wait.is_zero()).count();
        println!(
            "cold       {length} bars, {of}, {shown:?} after the host shows the place: the first note is heard {n_on_time} of {} times; else late by {:.0?} (median) to {:.0?}",
            waits.len(),
            waits.get((n_on_time + waits.len()) / 2).copied().unwrap_or_default(),
            waits.last().copied().unwrap_or_default(),
        );
    }
    Ok(())
}

/// All at once, endless, in real time, against what each writes.
fn together(hosts: &mut [ClapHost], model: &str) -> Result<()> {
    let (n, memory) = (hosts.len(), Memory::now());
    for (seed, host) in (1..).zip(hosts.iter_mut()) {
        Setup { seed, model, length: "endless", ..Setup::default() }.load(host);
    }
    let style = ProgressStyle::with_template("playing    {bar:40} {percent}%, {elapsed} of 48s")?;
    let bar = ProgressBar::new(PLAYED_BARS * BAR).with_style(style);
    let started = processor_time();
    let played = in_real_time(hosts, 0, PLAYED_BARS * BAR, |done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    let load =
        started.zip(processor_time()).map(|(before, after)| (after - before).as_secs_f64() / (PLAYED_BARS * BAR) as f64 * RATE);
    let (mut n_written, mut n_missing, mut n_other) = (0, 0, 0);
    for (host, played) in hosts.iter_mut().zip(played) {
        host.set_offline(true);
        let written = ons(&roll(host, &Song::default(), 0, PLAYED_BARS * BAR, &[BLOCK]));
        let played = ons(&played);
        n_written += written.len();
        n_missing += written.difference(&played).count();
        n_other += played.difference(&written).count();
    }
    if let (Some(before), Some(now)) = (memory, Memory::now()) {
        println!(
            "memory     {n} instances that played endless patterns: {:.2} MB each more than before",
            (now.own - before.own) / n as f64
        );
    }
    let load = load.map_or_else(String::new, |load| format!("; {:.1} % of a core", 100.0 * load));
    println!(
        "together   {n} instances, endless, {PLAYED_BARS} bars in real time: after {GRACE_BARS} bars {n_missing} of {n_written} notes missing, {n_other} others{load}",
    );
    Ok(())
}

/// The notes that begin after the grace.
fn ons(events: &[NoteEvent]) -> HashSet<(u64, u8, u8)> {
    events.iter().filter(|e| e.kind != Kind::Off && e.at >= GRACE_BARS * BAR).map(|e| (e.at, e.channel, e.pitch)).collect()
}

/// Plays all hosts in turn, block by block, as a sound card would ask for them, and reports after each; events at samples from the start.
fn in_real_time(
    hosts: &mut [ClapHost],
    start: i64,
    n_samples: u64,
    mut each: impl FnMut(u64, &[ClapHost]),
) -> Result<Vec<Vec<NoteEvent>>> {
    let song = Song::default();
    let origins: Vec<u64> = hosts.iter().map(Host::elapsed).collect();
    let mut events = vec![Vec::new(); hosts.len()];
    let (clock, mut done) = (Instant::now(), 0);
    while done < n_samples {
        let length = u64::from(BLOCK).min(n_samples - done);
        let block = Block {
            n_samples: length as u32,
            transport: Some(song.transport(start + done as i64, RATE, true)),
            inputs: Vec::new(),
        };
        for (host, events) in hosts.iter_mut().zip(&mut events) {
            events.extend(host.process(&block).map_err(|e| anyhow!(e))?);
        }
        done += length;
        each(done, hosts);
        thread::sleep(Duration::from_secs_f64(done as f64 / RATE).saturating_sub(clock.elapsed()));
    }
    let stopped = Block { n_samples: 64, transport: Some(song.transport(start + done as i64, RATE, false)), inputs: Vec::new() };
    for ((host, events), origin) in hosts.iter_mut().zip(&mut events).zip(origins) {
        events.extend(host.process(&stopped).map_err(|e| anyhow!(e))?);
        events.iter_mut().for_each(|event| event.at -= origin);
    }
    Ok(events)
}

/// Stands at a sample of the song for a while, as a host does after a click into its ruler.
fn stop_at(host: &mut ClapHost, sample: i64, while_: Duration) -> Result<()> {
    let clock = Instant::now();
    while clock.elapsed() < while_ {
        let transport = Some(Song::default().transport(sample, RATE, false));
        host.process(&Block { n_samples: BLOCK, transport, inputs: Vec::new() }).map_err(|e| anyhow!(e))?;
        thread::sleep(Duration::from_secs_f64(f64::from(BLOCK) / RATE));
    }
    Ok(())
}

/// Memory of this process that is in RAM, in megabytes of a million bytes.
struct Memory {
    /// What belongs to it alone.
    own: f64,
    /// Pages of programs and libraries, which lie in their files as well.
    of_files: f64,
}

impl Memory {
    /// Linux only.
    fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let megabytes = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
            kib.parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
        };
        Some(Self { own: megabytes("RssAnon:")?, of_files: megabytes("RssFile:")? })
    }
}

/// Processor time of this process so far, threads that have ended included; Linux only.
fn processor_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: it writes the time to where it is told.
        let ok = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } == 0;
        ok.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    #[cfg(not(target_os = "linux"))]
    None
}
