//! `cargo xtask demo`: the release bundle in a headless CLAP host, eight bars at 120 bpm in real time, with the chords played too.
//! Leaves `barline-demo.mid` and `barline-demo.png` in the current folder and prints what made them and how long it took.
//!
//! Notes, times and names all come from the loaded bundle: the notes as the host received them, the model and runtime as the
//! plugin saves them with its pattern.

use anyhow::{Context, Result, anyhow, ensure};
use barline::{
    export::{files::Outputs, png},
    music::{
        chord::Progression,
        note::{Channel, Note, Pitch, Velocity},
        smf::{Song as File, SongTrack},
        time::{Tempo, Ticks, TimeSignature},
    },
};
use barline_tests::{
    bundle::{BUNDLE_DIR, Bundle},
    clap::ClapFile,
    host::{Block, Host},
    notes::{Ledger, NoteEvent},
    song::Song,
    state::{DOCUMENT, Setup, State, settle},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

const RATE: f64 = 48_000.0;
const BLOCK: u32 = 512;
const N_BARS: u64 = 8;
const TEMPO: f64 = 120.0;
const CHORDS: &str = "C | Am | F | G | C | Em | F G | C";
const SEED: u32 = 7;
/// Samples per tick of 1/480 beat: a whole number at this rate and tempo, so that the file holds exactly what was received.
const SAMPLES_PER_TICK: u64 = 50;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the bundles: the first argument, else the environment's.
fn bundle_dir() -> Result<PathBuf> {
    env::args_os().nth(1).or_else(|| env::var_os(BUNDLE_DIR)).map(PathBuf::from).with_context(|| {
        format!("no bundle: `cargo xtask demo` builds one and passes its folder (as the first argument or in {BUNDLE_DIR})")
    })
}

fn run() -> Result<()> {
    let bundle = Bundle::in_dir(&bundle_dir()?);
    println!("loading    {}", bundle.clap.display());
    let start = Instant::now();
    let mut host = ClapFile::load(&bundle.clap).instance(RATE);
    let instantiated = start.elapsed();
    settle(&mut host);
    let ready = start.elapsed();

    Setup { seed: SEED, chords: CHORDS, parameters: vec![("chords_on", true.into())], ..Setup::default() }.load(&mut host);
    let state = State::parse(&host.save());
    let pattern = state.field(DOCUMENT)["pattern"].clone();

    let (events, mut times) = roll(&mut host)?;
    ensure!(host.silent, "the plugin's audio output is not silent");
    let mut ledger = Ledger::default();
    ledger.enter(&events).map_err(|e| anyhow!(e)).context("the notes do not balance")?;
    ensure!(ledger.n_sounding() == 0, "{} notes hang after the stop", ledger.n_sounding());
    let file = file_of(&ledger, &pattern)?;
    let paths = [Path::new("barline-demo.mid"), Path::new("barline-demo.png")];
    let title = format!("Barline demo: {} at {TEMPO} bpm, seed {SEED}", text(&pattern["model"]["id"]));
    let mut outputs = Outputs::default();
    outputs.add(paths[0], &file.to_bytes()?)?;
    outputs.add(paths[1], &png::to_bytes(&file, &title)?)?;
    outputs.commit()?;

    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let made_with = &pattern["made_with"];
    println!("model      {} (sha256 {})", text(&pattern["model"]["id"]), text(&pattern["model"]["sha256"]));
    println!("runtime    {}", text(&made_with["runtime"]));
    println!("provider   {}", text(&made_with["provider"]));
    let inference_us = made_with["inference_us"].as_f64().context("the plugin does not say its inference time")?;
    println!("inference  {:.2} ms each, on the worker thread", inference_us / 1e3);
    println!("instance   after {instantiated:.1?}, its first pattern after {ready:.1?}");
    println!("chords     {CHORDS}");
    for track in &file.tracks {
        println!("notes      {}: {} on channel {}", track.name, track.notes.len(), track.channel.index() + 1);
    }
    println!(
        "process    {} blocks of {BLOCK} samples at {RATE} Hz in real time: mean {mean:.1?}, p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}, max {:.1?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    for path in paths {
        println!("wrote      {}", path.display());
    }
    Ok(())
}

/// A JSON string, or that there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("not said by the plugin")
}

/// Plays the bars as a sound card would ask for them; the events at samples from the start, and each block's process time.
fn roll(host: &mut barline_tests::clap::ClapHost) -> Result<(Vec<NoteEvent>, Vec<Duration>)> {
    let song = Song { tempo: TEMPO, meter: (4, 4) };
    let n_samples = N_BARS * 4 * 480 * SAMPLES_PER_TICK;
    let bar = ProgressBar::new(n_samples / u64::from(BLOCK))
        .with_style(ProgressStyle::with_template("playing    {bar:40} {percent}% of 8 bars, {elapsed} of 16s")?);
    let origin = host.elapsed();
    let start = Instant::now();
    let (mut events, mut times) = (Vec::new(), Vec::new());
    let mut done = 0;
    while done < n_samples {
        let length = u64::from(BLOCK).min(n_samples - done);
        let transport = Some(song.transport(done as i64, RATE, true));
        let block = Block { n_samples: length as u32, transport, inputs: Vec::new() };
        events.extend(host.process(&block).map_err(|e| anyhow!(e))?);
        times.push(host.process_time);
        done += length;
        bar.inc(1);
        let due = Duration::from_secs_f64(done as f64 / RATE);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let stopped = Block { n_samples: 64, transport: Some(song.transport(done as i64, RATE, false)), inputs: Vec::new() };
    events.extend(host.process(&stopped).map_err(|e| anyhow!(e))?);
    bar.finish();
    for event in &mut events {
        event.at -= origin;
    }
    Ok((events, times))
}

/// The received notes as a file, a track per channel.
fn file_of(ledger: &Ledger, pattern: &Value) -> Result<File> {
    let ticks = |samples: u64| i64::try_from((samples + SAMPLES_PER_TICK / 2) / SAMPLES_PER_TICK).map(Ticks);
    let mut tracks: Vec<SongTrack> = Vec::new();
    let mut notes = ledger.notes.clone();
    notes.sort_unstable_by_key(|n| (n.channel, n.onset, n.pitch));
    for note in notes {
        let channel = Channel::new(note.channel).context("a channel above 16")?;
        let onset = ticks(note.onset)?;
        let note = Note {
            onset,
            duration: Ticks((ticks(note.end)?.0 - onset.0).max(1)),
            channel,
            pitch: Pitch::new(i32::from(note.pitch)).context("a pitch above 127")?,
            velocity: Velocity::clamped(i32::from(note.velocity)),
        };
        match tracks.iter_mut().find(|t| t.channel == channel) {
            Some(track) => track.notes.push(note),
            None => {
                let name = if tracks.is_empty() { "Melody" } else { "Chords" };
                tracks.push(SongTrack { name: name.into(), channel, program: None, notes: vec![note] });
            }
        }
    }
    ensure!(tracks.len() == 2, "notes on {} channels instead of two, melody and chords", tracks.len());
    let bar = TimeSignature::default().bar().0;
    let progression: Progression = CHORDS.parse()?;
    let markers = progression.bars().iter().zip(0_i64..).flat_map(|([first, second], idx)| {
        let name = |chord: &Option<barline::music::chord::Chord>| chord.map_or_else(|| "N.C.".into(), |c| c.to_string());
        let mut names = vec![(Ticks(idx * bar), name(first))];
        if second != first {
            names.push((Ticks(idx * bar + bar / 2), name(second)));
        }
        names
    });
    Ok(File {
        name: "Barline demo".into(),
        tempos: vec![(Ticks(0), Tempo::new(TEMPO).context("a tempo out of range")?)],
        meters: vec![(Ticks(0), TimeSignature::default())],
        texts: vec![
            serde_json::json!({"model": pattern["model"], "made_with": pattern["made_with"], "spec": pattern["spec"]})
                .to_string(),
        ],
        markers: markers.collect(),
        tracks,
        length: Ticks(i64::try_from(N_BARS)? * bar),
        ..File::default()
    })
}
