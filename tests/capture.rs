//! A loop played into the plugin becomes a track of the band: it is kept in the project, it plays as it was played, the others play
//! around it, and they follow a change from the bar line after the next one.

use barline::generate::Given;
use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::{ClapFile, ClapHost},
    host::{Block, Host, Input},
    notes::{Kind, Ledger, Note, NoteEvent},
    song::{Song, roll},
    state::{DOCUMENT, Setup, State, settle},
};
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

const RATE: f64 = 48_000.0;
/// At this tempo a sixteenth is 3,000 samples.
const SONG: Song = Song { tempo: 240.0, meter: (4, 4) };
const STEP: u64 = 3_000;
const BAR: u64 = 16 * STEP;
const BLOCK: u32 = 480;
const GUITAR: u8 = 3;

/// A key that is played: bar, step of the bar, steps, pitch. Guitar pitches of the model.
type Played = (u64, u64, u64, u8);

/// Lopsided, and two notes at once only in the last bar.
const LOOP: [Played; 6] = [(0, 0, 3, 55), (0, 5, 1, 50), (1, 14, 6, 59), (2, 3, 2, 52), (3, 8, 4, 55), (3, 9, 2, 50)];
/// Played instead in the first bar, later.
const CHANGE: [Played; 3] = [(4, 2, 2, 59), (4, 6, 7, 52), (4, 13, 1, 57)];

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items
}

fn notes_of(events: &[NoteEvent]) -> Vec<Note> {
    let mut ledger = Ledger::default();
    ledger.enter(events).expect("every note-on has its note-off");
    ledger.notes
}

/// Step of the song, steps, pitch of what a channel plays in these bars.
fn part(notes: &[Note], channel: u8, bars: std::ops::Range<u64>) -> Vec<(u64, u64, u8)> {
    let own = notes.iter().filter(|n| n.channel == channel && bars.contains(&(n.onset / BAR)));
    let mut part: Vec<_> = own.map(|n| (n.onset / STEP, (n.end - n.onset) / STEP, n.pitch)).collect();
    part.sort_unstable();
    part
}

/// What the keys are at the plugin's output: step of the song, steps, pitch.
fn as_part(played: &[Played], first_bar: u64) -> Vec<(u64, u64, u8)> {
    played.iter().map(|(bar, step, n_steps, pitch)| ((first_bar + bar) * 16 + step, *n_steps, *pitch)).collect()
}

/// Plays keys while the song rolls over these bars, with `at_bar` before each of them. In real time: a render captures nothing.
fn play(host: &mut ClapHost, bars: std::ops::Range<u64>, keys: &[Played], mut at_bar: impl FnMut(u64)) -> Vec<NoteEvent> {
    let mut inputs: Vec<(u64, Input)> = Vec::new();
    for (bar, step, n_steps, pitch) in keys {
        let (on, off) = (bar * BAR + step * STEP, bar * BAR + (step + n_steps) * STEP);
        inputs.push((on, Input::NoteOn { offset: (on % u64::from(BLOCK)) as u32, channel: 0, pitch: *pitch, velocity: 90 }));
        inputs.push((off, Input::NoteOff { offset: (off % u64::from(BLOCK)) as u32, channel: 0, pitch: *pitch }));
    }
    inputs.sort_by_key(|(at, _)| *at);
    let mut events = Vec::new();
    for pos in (bars.start * BAR..bars.end * BAR).step_by(BLOCK as usize) {
        if pos % BAR == 0 {
            at_bar(pos / BAR);
        }
        let of_block = inputs.iter().filter(|(at, _)| (pos..pos + u64::from(BLOCK)).contains(at));
        let inputs = of_block.map(|(_, input)| input.clone()).collect();
        let transport = Some(SONG.transport(pos as i64, RATE, true));
        events.extend(host.process(&Block { n_samples: BLOCK, transport, inputs }).expect("process"));
        thread::sleep(Duration::from_secs_f64(f64::from(BLOCK) / RATE));
    }
    events
}

/// Runs a stopped block with a parameter set.
fn set(host: &mut ClapHost, name: &str, normalised: f64) {
    let transport = Some(SONG.transport(0, RATE, false));
    let inputs = vec![Input::Parameter { offset: 0, name: name.into(), normalised }];
    host.process(&Block { n_samples: 64, transport, inputs }).expect("process");
}

fn given(host: &mut ClapHost) -> Value {
    State::parse(&host.save()).field(DOCUMENT)["settings"]["given"].clone()
}

/// The bars, a bit each, that were played on the guitar's track.
fn bars_in(given: &Value) -> u32 {
    serde_json::from_value::<Given>(given["music"].clone()).expect("given music").bars_of(GUITAR.into())
}

fn await_given(host: &mut ClapHost, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let given = given(host);
        if is_there(&given) {
            return given;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: {given}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_band_plays_around_what_was_captured_and_follows_a_change() {
    in_child_with_fixtures("the_band_plays_around_what_was_captured_and_follows_a_change", || {
        let file = ClapFile::load(&bundle().clap);
        let mut host = file.instance(RATE);
        let parameters = vec![("given_lane", "lane4".into()), ("capture_bars", "4".into()), ("humanize_velocity", 0.0.into())];
        let setup = Setup { seed: 19, model: "tiny-band", chords: "C | Em | F G | Am", parameters, ..Setup::default() };
        setup.load(&mut host);
        let alone = notes_of(&roll(&mut host, &SONG, 0, 8 * BAR, &[512]));

        set(&mut host, "Capture Input", 1.0);
        play(&mut host, 0..4, &LOOP, |_| ());
        set(&mut host, "Capture Input", 0.0);
        // Bars arrive one by one.
        await_given(&mut host, "the loop", |given| given["source"] == "captured" && bars_in(given) == 0b1111);
        settle(&mut host);
        let around = notes_of(&roll(&mut host, &SONG, 0, 8 * BAR, &[512]));
        for pass in [0, 4] {
            assert_eq!(part(&around, GUITAR, pass..pass + 4), as_part(&LOOP, pass), "the captured loop from bar {pass}");
        }
        let others = [1, 2, 4, 9];
        assert!(others.iter().all(|channel| !part(&around, *channel, 0..8).is_empty()), "all others play");
        assert!(others.iter().any(|channel| part(&around, *channel, 0..8) != part(&alone, *channel, 0..8)), "they heard it");

        // The second pass, with another first bar. However loaded the machine is, the worker gets its time.
        let before = given(&mut host);
        set(&mut host, "Capture Input", 1.0);
        let again: Vec<Played> =
            CHANGE.into_iter().chain(LOOP[2..].iter().map(|(bar, step, n, pitch)| (bar + 4, *step, *n, *pitch))).collect();
        let again: Vec<Played> = again.into_iter().chain(CHANGE.map(|(_, step, n, pitch)| (8, step, n, pitch))).collect();
        let origin = host.elapsed();
        let live = play(&mut host, 4..9, &again, |_| thread::sleep(Duration::from_secs(1)));
        set(&mut host, "Capture Input", 0.0);
        let after = await_given(&mut host, "the change", |given| *given != before);
        settle(&mut host);
        assert_eq!(given(&mut host), after);
        let changed = notes_of(&roll(&mut host, &SONG, 0, 8 * BAR, &[512]));
        let first_bar: Vec<Played> = CHANGE.iter().map(|(_, step, n, pitch)| (0, *step, *n, *pitch)).collect();
        assert_eq!(part(&changed, GUITAR, 0..1), as_part(&first_bar, 0));
        assert_eq!(part(&changed, GUITAR, 4..5), as_part(&first_bar, 4));
        assert_eq!(part(&changed, GUITAR, 1..4), part(&around, GUITAR, 1..4), "the other bars of the loop");
        // Whole at the bar line after the fifth bar, in the player's hands by the next: what sounds from there on is the new music.
        for channel in others {
            let heard: Vec<_> = live
                .iter()
                .filter(|e| e.channel == channel && matches!(e.kind, Kind::On(_)))
                .map(|e| ((e.at - origin) / STEP + 4 * 16, e.pitch))
                .filter(|(step, _)| *step >= 6 * 16)
                .collect();
            let onsets = |bars| part(&changed, channel, bars).into_iter().map(|(step, _, pitch)| (step, pitch));
            let expected: Vec<_> = onsets(6..8).chain(onsets(0..1).map(|(step, pitch)| (step + 8 * 16, pitch))).collect();
            assert_eq!(sorted(heard), sorted(expected), "channel {channel}");
        }
        assert!(
            others.iter().any(|channel| part(&changed, *channel, 0..1) != part(&around, *channel, 0..1)),
            "they heard the change"
        );
    });
}
