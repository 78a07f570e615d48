//! Random scripts over the real plugin: every note-on has exactly one note-off, nothing sounds one block after a stop, output is
//! sorted by time, and `process` does not allocate (the debug bundle aborts if it does, so this runs in a child process).
//!
//! The player's own unit tests run thousands of scripts; here as many as fit into the time, over CLAP and VST3.

use barline::generate::{Given, GivenPart};
use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::ClapFile,
    host::{Block, Host, Input, Transport},
    notes::{Kind, Ledger},
    song::{Song, roll},
    state::Setup,
    vst3::Vst3Host,
};
use fastrand::Rng;
use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

const RATE: f64 = 48_000.0;

/// Scripts per format. A count, not a time: a loaded machine would run too few to say anything. `cargo xtask soak` runs more.
const N_SCRIPTS: u64 = 200;
/// Scripts under RealtimeSanitizer, which take a third of their music's time.
const N_PLAYED: u64 = 30;

fn uniform(rng: &mut Rng, range: Range<f64>) -> f64 {
    range.start + (range.end - range.start) * rng.f64()
}

fn n_scripts(default: u64) -> u64 {
    std::env::var("BARLINE_HOST_SCRIPTS").map_or(default, |text| text.parse().expect("BARLINE_HOST_SCRIPTS is a number"))
}

/// Where a script is.
struct Script {
    rng: Rng,
    playing: bool,
    tempo: f64,
    meter: (u16, u16),
    /// Samples.
    pos: i64,
    /// The position in beats drifts from the samples by this when the tempo changes.
    beats: f64,
    loop_beats: Option<(f64, f64)>,
    /// Keys down at the plugin's input.
    held: Vec<(u8, u8)>,
}

impl Script {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let tempo = uniform(&mut rng, 40.0..300.0);
        Self { rng, playing: false, tempo, meter: (4, 4), pos: 0, beats: 0.0, loop_beats: None, held: Vec::new() }
    }

    fn seek(&mut self, beats: f64) {
        self.beats = beats;
        self.pos = (beats * 60.0 / self.tempo * RATE) as i64;
    }

    /// The next block: something may happen to the transport, then time passes.
    fn next(&mut self, parameters: &[String]) -> Block {
        let r = &mut self.rng;
        match r.u32(..40) {
            0..=2 => self.playing = true,
            3 => self.playing = false,
            4 => {
                let beats = uniform(r, 0.0..200.0);
                self.seek(beats);
            }
            5 => {
                let beats = uniform(r, -8.0..0.0);
                self.seek(beats);
            }
            6 => self.tempo = uniform(r, 20.0..400.0),
            7 => self.meter = r.choice([(4, 4), (3, 4), (7, 8), (5, 4), (6, 8), (5, 16), (2, 2), (13, 8)]).unwrap(),
            8 => {
                let start = f64::from(r.u8(..16));
                let length = r.choice([0.25, 1.0, 3.0, 4.0, 7.5]).unwrap();
                self.loop_beats = Some((start, start + length));
            }
            9 => self.loop_beats = None,
            _ => {}
        }
        let r = &mut self.rng;
        let n_samples = match r.u32(..8) {
            0 => 1,
            1 => 1 + r.u32(..40),
            2 => 4096 + r.u32(..4097),
            _ => r.choice([64, 128, 333, 480, 512, 1024]).unwrap(),
        };
        let mut transport = Transport {
            playing: self.playing,
            tempo: Some(self.tempo),
            pos_beats: Some(self.beats),
            pos_samples: self.pos,
            meter: Some(self.meter),
            loop_beats: self.loop_beats,
        };
        let mut missing = false;
        match r.u32(..60) {
            0 => transport.tempo = None,
            1 => transport.tempo = Some(r.choice([0.0, -120.0, 1e9, 1e-9, f64::NAN, f64::INFINITY]).unwrap()),
            2 => transport.meter = r.choice([None, Some((0, 0)), Some((4, 3)), Some((65_535, 1)), Some((1, 64))]).unwrap(),
            3 => transport.pos_beats = None,
            4 => transport.pos_beats = Some(r.choice([1e12, -1e12, 1e300]).unwrap()),
            5 => missing = true,
            6 => {
                transport.loop_beats =
                    r.choice([Some((8.0, 8.0)), Some((9.0, 2.0)), Some((f64::MAX, 0.0)), Some((-4.0, 1e-6))]).unwrap()
            }
            _ => {}
        }
        let mut inputs = Vec::new();
        if r.f64() < 0.15 {
            let name = r.choice(parameters).expect("a parameter").clone();
            let normalised = if r.f64() < 0.2 { f64::from(r.u8(..2)) } else { r.f64() };
            inputs.push(Input::Parameter { offset: r.u32(..n_samples), name, normalised });
        }
        if r.f64() < 0.08 && self.held.len() < 6 {
            let key = (r.u8(..3), 36 + r.u8(..48));
            if !self.held.contains(&key) {
                self.held.push(key);
                let offset = r.u32(..n_samples);
                inputs.push(Input::NoteOn { offset, channel: key.0, pitch: key.1, velocity: 1 + r.u8(..127) });
            }
        } else if r.f64() < 0.1 && !self.held.is_empty() {
            let (channel, pitch) = self.held.remove(r.usize(..self.held.len()));
            inputs.push(Input::NoteOff { offset: r.u32(..n_samples), channel, pitch });
        }
        inputs.sort_by_key(Input::offset);
        if self.playing {
            self.pos += i64::from(n_samples);
            self.beats += f64::from(n_samples) / RATE * self.tempo / 60.0;
            if let Some((start, end)) = self.loop_beats
                && self.beats >= end
            {
                let beats = start + (self.beats - start).rem_euclid(end - start);
                self.seek(beats);
            }
        }
        Block { n_samples, transport: (!missing).then_some(transport), inputs }
    }

    /// The transport stops and all keys go up.
    fn end(&mut self, n_samples: u32) -> Block {
        self.playing = false;
        let inputs = self.held.drain(..).map(|(channel, pitch)| Input::NoteOff { offset: 0, channel, pitch }).collect();
        Block { n_samples, transport: Some(Song::default().transport(self.pos, RATE, false)), inputs }
    }
}

/// How fast a host asks for blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once, as in a render: the plugin waits for its patterns.
    Render,
    /// Three times as fast as the music, which the plugin takes for a host that plays.
    Play,
}

struct Tally {
    scripts: u64,
    blocks: u64,
    notes: usize,
}

/// One script over an instance that is used again by the next one.
fn run_script(host: &mut dyn Host, seed: u64, pace: Pace, tally: &mut Tally) {
    let parameters: Vec<String> = host.parameters().iter().map(|p| p.name.clone()).collect();
    let mut script = Script::new(seed);
    let mut ledger = Ledger::default();
    let n_blocks = 40 + script.rng.u32(..160);
    let what = |reason: &str, format: &str| format!("{format}, script {seed}: {reason}");
    for _ in 0..n_blocks {
        let block = script.next(&parameters);
        let stopped = block.transport.is_none_or(|t| !t.playing);
        let start = Instant::now();
        let events = host.process(&block).unwrap_or_else(|e| panic!("{}", what(&e, host.format())));
        // Longer than any pattern takes: the plugin waited for something that never comes.
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{}",
            what(&format!("{:?} for {block:?}", start.elapsed()), host.format())
        );
        ledger.enter(&events).unwrap_or_else(|e| panic!("{}", what(&e, host.format())));
        tally.blocks += 1;
        if pace == Pace::Play {
            thread::sleep(Duration::from_secs_f64(f64::from(block.n_samples) / RATE / 3.0));
        }
        if stopped && script.held.is_empty() {
            assert_eq!(ledger.n_sounding(), 0, "{}", what("notes sound in a stopped host", host.format()));
        }
        if script.rng.f64() < 0.01 {
            host.restart();
        }
    }
    let events = host.process(&script.end(64)).unwrap_or_else(|e| panic!("{}", what(&e, host.format())));
    assert!(events.iter().all(|e| e.kind == Kind::Off), "{}", what("a note starts in a stopped host", host.format()));
    ledger.enter(&events).unwrap_or_else(|e| panic!("{}", what(&e, host.format())));
    assert_eq!(ledger.n_sounding(), 0, "{}", what("notes sound one block after the stop", host.format()));
    tally.scripts += 1;
    tally.notes += ledger.notes.len();
}

fn run(host: &mut dyn Host, first_seed: u64, n_scripts: u64, pace: Pace) {
    let setups = [("8", "C | Am | F | G"), ("endless", "Dm7 | G7"), ("1", "E"), ("32", "Fm Bb | Eb")];
    let mut tally = Tally { scripts: 0, blocks: 0, notes: 0 };
    let mut seed = first_seed;
    while tally.scripts < n_scripts {
        let (length, chords) = setups[(seed % 4) as usize];
        if tally.scripts.is_multiple_of(50) {
            // Small models: a host that goes this fast is kept waiting for every new pattern.
            let model = ["tiny-band", "midinet"][(tally.scripts / 50 % 2) as usize];
            // Five lanes that a script has switched off would stay silent for the rest.
            let sounding = (1..=5).flat_map(|lane| [(format!("lane{lane}_on"), true), (format!("lane{lane}_mute"), false)]);
            let sounding: Vec<_> = sounding.collect();
            let parameters = sounding.iter().map(|(id, on)| (id.as_str(), (*on).into())).collect();
            // Morph and capture are among the parameters that the scripts turn, with keys to be captured.
            let takes =
                serde_json::json!([{"tracks": 9, "bars": 0b110, "take": 1001}, {"tracks": 2, "bars": u32::MAX, "take": 1002}]);
            let kept = Given::from_parts(&[GivenPart { track_idx: 4, drums: false, notes: &[] }], 16, 4).0.kept(1 << 4, 0b101);
            let locks = serde_json::json!([{"base": 1, "after": 0, "music": kept}]);
            let settings = vec![("takes", takes), ("locks", locks)];
            Setup { seed: (seed % 65_536) as u32, length, chords, model, parameters, settings }.load(host);
        }
        run_script(host, seed, pace, &mut tally);
        seed += 1;
    }
    println!("{}: {} scripts, {} blocks, {} notes, all balanced", host.format(), tally.scripts, tally.blocks, tally.notes);
    assert!(tally.notes as u64 > 5 * tally.scripts, "{} scripts made only {} notes", tally.scripts, tally.notes);
}

#[test]
fn every_note_on_has_its_note_off_in_clap() {
    in_child_with_fixtures("every_note_on_has_its_note_off_in_clap", || {
        run(&mut ClapFile::load(&bundle().clap).instance(RATE), 1, n_scripts(N_SCRIPTS), Pace::Render);
    });
}

#[test]
fn every_note_on_has_its_note_off_in_vst3() {
    in_child_with_fixtures("every_note_on_has_its_note_off_in_vst3", || {
        run(&mut Vst3Host::open(&bundle().vst3, RATE), 1_000_001, n_scripts(N_SCRIPTS), Pace::Render);
    });
}

/// The plugin's `process`, the framework's part of it included, allocates nothing, waits for nothing and asks nothing of the system.
#[test]
#[ignore = "`cargo xtask test` runs it where RealtimeSanitizer is linked; without, it would show nothing"]
fn process_keeps_to_real_time() {
    in_child_with_fixtures("process_keeps_to_real_time", || {
        run(&mut ClapFile::load(&bundle().clap).instance(RATE), 2_000_001, n_scripts(N_PLAYED), Pace::Play);
    });
}

/// The sanitizer sees into the plugin's own library: what is forbidden there ends the process.
#[test]
#[ignore = "`cargo xtask test` runs it where RealtimeSanitizer is linked, which must end its process"]
fn planted_save() {
    ClapFile::load(&bundle().clap).instance(RATE).save_in_real_time();
}

#[test]
fn bypass_releases_what_sounds_and_stays_silent() {
    let mut host = ClapFile::load(&bundle().clap).instance(RATE);
    Setup::default().load(&mut host);
    let song = Song::default();
    let mut ledger = Ledger::default();
    let mut pos = 0;
    let mut play = |host: &mut dyn Host, ledger: &mut Ledger, inputs: Vec<Input>| {
        let block = Block { n_samples: 512, transport: Some(song.transport(pos, RATE, true)), inputs };
        pos += 512;
        ledger.enter(&host.process(&block).expect("process")).expect("balanced");
    };
    while ledger.n_sounding() == 0 {
        play(&mut host, &mut ledger, Vec::new());
    }
    let bypass = |on: f64| vec![Input::Parameter { offset: 0, name: "Bypass".into(), normalised: on }];
    play(&mut host, &mut ledger, bypass(1.0));
    assert_eq!(ledger.n_sounding(), 0, "notes sound after the bypass");
    let n_before = ledger.notes.len();
    for _ in 0..400 {
        play(&mut host, &mut ledger, Vec::new());
    }
    assert_eq!((ledger.notes.len(), ledger.n_sounding()), (n_before, 0), "a bypassed plugin plays");
    play(&mut host, &mut ledger, bypass(0.0));
    for _ in 0..400 {
        play(&mut host, &mut ledger, Vec::new());
    }
    assert!(ledger.notes.len() > n_before, "it does not play again after the bypass");
}

#[test]
fn a_note_that_sounds_at_a_restart_is_ended_after_it() {
    // A restart between note-on and note-off: nothing can be sent while the plugin is inactive, so the offs come afterwards.
    let mut host = ClapFile::load(&bundle().clap).instance(RATE);
    Setup::default().load(&mut host);
    let song = Song::default();
    let mut ledger = Ledger::default();
    let mut pos = 0;
    while ledger.n_sounding() == 0 {
        let block = Block { n_samples: 512, transport: Some(song.transport(pos, RATE, true)), inputs: Vec::new() };
        pos += 512;
        ledger.enter(&host.process(&block).expect("process")).expect("balanced");
    }
    host.restart();
    let block = Block { n_samples: 512, transport: Some(song.transport(pos, RATE, false)), inputs: Vec::new() };
    ledger.enter(&host.process(&block).expect("process")).expect("balanced");
    assert_eq!(ledger.n_sounding(), 0, "notes hang after a restart");
    assert!(!roll(&mut host, &song, 0, 96_000, &[512]).is_empty());
}
