//! `cargo xtask measure`: what the release bundle costs in a headless CLAP host: start-up, memory per instance, the processor time of an
//! idle process, notes at places that were never visited, and many instances that play endless patterns at once in real time.
//!
//! Notes are compared with those that each instance gives when the host renders offline, where nothing may be missing.

use anyhow::{Context, Result, anyhow, ensure};
use barline_tests::{
    bundle::{BUNDLE_DIR, Bundle},
    clap::{ClapFile, ClapHost},
    host::{Block, Host},
    notes::{Kind, NoteEvent},
    song::{Song, roll},
    state::Setup,
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
/// Bars to jump to, in this order: none is in the window of another.
const COLD_BARS: [u64; 12] = [400, 100, 905, 250, 777, 33, 1501, 610, 1203, 181, 850, 1999];

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

    for (length, shown) in [("32", 0), ("endless", 300), ("endless", 0)] {
        cold(&mut hosts[0], &setup(1), length, Duration::from_millis(shown))?;
    }
    together(&mut hosts, &model)
}

/// What each jump costs: from play at a bar where the instance never was to its first note, beyond where that note is written.
/// `shown` is for how long the host stands there before it plays.
fn cold(host: &mut ClapHost, setup: &Setup, length: &str, shown: Duration) -> Result<()> {
    Setup { length, ..setup.clone() }.load(host);
    let mut waits = Vec::new();
    for bar in COLD_BARS {
        let start = (bar * BAR) as i64;
        stop_at(host, start, shown)?;
        let played = in_real_time(std::slice::from_mut(host), start, 2 * BAR, None)?.remove(0);
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
        "cold       {length} bars, {shown:?} after the host shows the place: the first note is heard {n_on_time} of {} times; else late by {:.0?} (median) to {:.0?}",
        waits.len(),
        waits.get((n_on_time + waits.len()) / 2).copied().unwrap_or_default(),
        waits.last().copied().unwrap_or_default(),
    );
    Ok(())
}

/// All at once, endless, in real time, against what each writes.
fn together(hosts: &mut [ClapHost], model: &str) -> Result<()> {
    let n = hosts.len();
    for (seed, host) in (1..).zip(hosts.iter_mut()) {
        Setup { seed, model, length: "endless", ..Setup::default() }.load(host);
    }
    let style = ProgressStyle::with_template("playing    {bar:40} {percent}%, {elapsed} of 48s")?;
    let bar = ProgressBar::new(PLAYED_BARS * BAR).with_style(style);
    let started = processor_time();
    let played = in_real_time(hosts, 0, PLAYED_BARS * BAR, Some(&bar))?;
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

/// Plays all hosts in turn, block by block, as a sound card would ask for them; events at samples from the start.
fn in_real_time(hosts: &mut [ClapHost], start: i64, n_samples: u64, bar: Option<&ProgressBar>) -> Result<Vec<Vec<NoteEvent>>> {
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
        if let Some(bar) = bar {
            bar.set_position(done);
        }
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

/// Processor time of this process's threads so far; Linux only.
fn processor_time() -> Option<Duration> {
    let nanos = fs::read_dir("/proc/self/task").ok()?.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}
