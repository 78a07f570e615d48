//! What a bounce writes against what was heard: the table of `plugin/docs/hosts.md`, which this prints (`cargo xtask bounce`).
//!
//! Live means at the pace of the clock, as a sound card asks for blocks: what the worker does not bring in time would be missing.
//! A bounce goes as fast as it can, from a state that has just been loaded.

use barline::generate::{Given, GivenPart};
use barline::music::{
    note::{self as music, Channel, Pitch, Velocity},
    time::{TICKS_PER_STEP, Ticks},
};
use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::ClapFile,
    cli,
    host::{Block, Host, Input},
    notes::{Note, NoteEvent, notes},
    song::Song,
    state::{Setup, State},
    vst3::Vst3Host,
};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

const RATE: f64 = 48_000.0;
/// Samples of a bar, and of a tick, at 120 bpm.
const BAR: u64 = 96_000;
const TICK: u64 = 50;
const N_BARS: u64 = 8;
/// A parameter is read once per block, so automation is the same in blocks of the same length.
const BLOCK: u32 = 512;

/// A row of the table.
struct Row {
    name: &'static str,
    setup: Setup<'static>,
    /// What the command line is asked for, if it can be.
    arguments: Option<&'static [&'static str]>,
    /// A parameter that goes up and down three times.
    automated: Option<&'static str>,
}

fn rows() -> Vec<Row> {
    let note = |step: i64, n_steps: i64, pitch: i32| music::Note {
        onset: Ticks(step * TICKS_PER_STEP),
        duration: Ticks(n_steps * TICKS_PER_STEP),
        channel: Channel::default(),
        pitch: Pitch::new(pitch).expect("a pitch"),
        velocity: Velocity::clamped(80),
    };
    let bass: Vec<_> = (0..8).map(|bar| note(bar * 16 + 3, 7, 47)).chain([note(80 + 11, 2, 40)]).collect();
    let locked = Given::from_parts(&[GivenPart { track_idx: 1, drums: false, notes: &bass }], 16, 8).0.kept(0b10, 0b10_0000);
    let band = Setup {
        seed: 19,
        chords: "C | Em | F G | Am",
        model: "tiny-band",
        settings: vec![
            ("takes", json!([{"tracks": 4, "bars": 0b1000, "take": 1001}])),
            ("locks", json!([{"base": 77, "after": 0, "music": locked}])),
        ],
        ..Setup::default()
    };
    let melody = |seed, length| Setup { seed, length, ..Setup::default() };
    vec![
        Row { name: "finite, 4 bars played twice", setup: melody(91, "4"), arguments: None, automated: None },
        Row {
            name: "finite, 8 bars",
            setup: melody(91, "8"),
            arguments: Some(&["--seed", "91", "--bars", "8", "--tempo", "120", "--chords", "C | Am | F | G"]),
            automated: None,
        },
        Row { name: "endless", setup: melody(5, "endless"), arguments: None, automated: None },
        Row {
            name: "endless band",
            setup: Setup { model: "tiny-band", ..melody(6, "endless") },
            arguments: None,
            automated: None,
        },
        Row { name: "temperature automated", setup: melody(33, "8"), arguments: None, automated: Some("Temperature") },
        Row { name: "threshold automated, endless", setup: melody(34, "endless"), arguments: None, automated: Some("Threshold") },
        Row { name: "band with a re-roll and a lock", setup: band, arguments: None, automated: None },
        Row {
            name: "band, 8 bars",
            setup: Setup { model: "tiny-band", ..melody(11, "8") },
            arguments: Some(&[
                "--model",
                "tiny-band",
                "--seed",
                "11",
                "--bars",
                "8",
                "--tempo",
                "120",
                "--chords",
                "C | Am | F | G",
            ]),
            automated: None,
        },
    ]
}

/// One block of the song at this sample, or the stop behind it.
fn block(host: &mut dyn Host, row: &Row, at: u64) -> Vec<NoteEvent> {
    let n_samples = u64::from(BLOCK).min((N_BARS * BAR).saturating_sub(at));
    let transport = Some(Song::default().transport(at as i64, RATE, n_samples > 0));
    let along = at as f64 / (N_BARS * BAR) as f64;
    let normalised = 0.5 + 0.4 * (along * 3.0 * std::f64::consts::TAU).sin();
    let inputs = row.automated.map(|name| Input::Parameter { offset: 0, name: name.into(), normalised }).into_iter().collect();
    let block = Block { n_samples: if n_samples > 0 { n_samples as u32 } else { 64 }, transport, inputs };
    host.process(&block).unwrap_or_else(|e| panic!("{}: {e}", host.format()))
}

/// Plays all from the first bar to the last, each beside the others, at the pace of the clock or as fast as it goes.
fn play(hosts: &mut [(Box<dyn Host>, &Row)], live: bool) -> Vec<Vec<Note>> {
    let origins: Vec<u64> = hosts.iter().map(|(host, _)| host.elapsed()).collect();
    let mut events = vec![Vec::new(); hosts.len()];
    let clock = Instant::now();
    for at in (0..=N_BARS * BAR).step_by(BLOCK as usize) {
        for ((host, row), events) in hosts.iter_mut().zip(&mut events) {
            events.extend(block(host.as_mut(), row, at));
        }
        if live {
            thread::sleep(Duration::from_secs_f64(at as f64 / RATE).saturating_sub(clock.elapsed()));
        }
    }
    for (events, origin) in events.iter_mut().zip(origins) {
        events.iter_mut().for_each(|event| event.at -= origin);
    }
    events.iter().map(|events| notes(events)).collect()
}

/// How many notes of either are not in the other.
fn n_differences(one: &[Note], other: &[Note]) -> usize {
    let missing = |a: &[Note], b: &[Note]| a.iter().filter(|note| !b.contains(note)).count();
    missing(one, other) + missing(other, one)
}

#[test]
fn a_bounce_writes_what_was_heard() {
    in_child_with_fixtures("a_bounce_writes_what_was_heard", || {
        let rows = rows();
        let file = ClapFile::load(&bundle().clap);
        let open = |vst3: bool| -> Box<dyn Host> {
            if vst3 { Box::new(Vst3Host::open(&bundle().vst3, RATE)) } else { Box::new(file.instance(RATE)) }
        };
        let mut live: Vec<(Box<dyn Host>, &Row)> = Vec::new();
        for vst3 in [false, true] {
            live.extend(rows.iter().map(|row| (open(vst3), row)));
        }
        for (host, row) in &mut live {
            row.setup.load(host.as_mut());
        }
        let heard = play(&mut live, true);
        drop(live);
        let (heard_clap, heard_vst3) = heard.split_at(rows.len());

        println!("| pattern | CLAP live | CLAP bounce | VST3 live | VST3 bounce | command line |\n|---|---|---|---|---|---|");
        let mut n_wrong = 0;
        for ((row, clap), vst3) in rows.iter().zip(heard_clap).zip(heard_vst3) {
            let bounced = [false, true].map(|vst3| {
                let mut host = open(vst3);
                if vst3 {
                    // Told of the mode one call late by the framework, the plugin goes by the pace; what it was to play is there.
                    row.setup.load(host.as_mut());
                    host.set_offline(true);
                } else {
                    // Nothing is there when the render begins.
                    let state = row.setup.applied_to(State::parse(&host.save()));
                    host.set_offline(true);
                    host.load(&state.to_bytes()).expect("the state loads");
                }
                play(&mut [(host, row)], false).remove(0)
            });
            let written = row.arguments.map(|arguments| {
                let at_sample = |n: Note| Note { onset: n.onset * TICK, end: n.end * TICK, ..n };
                cli::generate(arguments).into_iter().map(at_sample).collect::<Vec<_>>()
            });
            let cells = [Some(&bounced[0]), Some(vst3), Some(&bounced[1]), written.as_ref()].map(|other| {
                other.map_or_else(
                    || "–".into(),
                    |other| {
                        let n_different = n_differences(clap, other);
                        n_wrong += n_different;
                        format!("{}, {n_different} differ", other.len())
                    },
                )
            });
            println!("| {} | {} notes | {} |", row.name, clap.len(), cells.join(" | "));
            assert!(clap.len() > 8, "{}: only {} notes", row.name, clap.len());
        }
        assert_eq!(n_wrong, 0, "a bounce differs from what was heard");
    });
}
