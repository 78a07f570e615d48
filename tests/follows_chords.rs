//! The main job: a host rolls over a chord progression, and the melody follows the chords.

use barline::music::chord::{Chord, Progression};
use barline_tests::{
    bundle::bundle,
    clap::{ClapFile, ClapHost},
    host::{Block, Host, Input},
    notes::{Kind, Note, NoteEvent, notes},
    song::{Song, roll},
    state::{Setup, settle},
    vst3::Vst3Host,
};
use fastrand::Rng;

const RATE: f64 = 48_000.0;
const BAR: u64 = 96_000;
const STEP: u64 = BAR / 16;

/// Notes whose pitch class is in the chord that this progression has at their onset, over all notes.
fn chord_tone_rate(notes: &[Note], bars: &[[Option<Chord>; 2]]) -> f64 {
    let n_inside = notes
        .iter()
        .filter(|note| {
            let half_bar = (note.onset / (BAR / 2)) as usize;
            bars[half_bar / 2 % bars.len()][half_bar % 2].is_some_and(|c| c.classes() & (1 << (note.pitch % 12)) != 0)
        })
        .count();
    n_inside as f64 / notes.len() as f64
}

#[test]
fn the_melody_follows_the_chords() {
    // Two of the progressions leave C major, so that "all white keys" is no answer.
    let progressions = ["C | Am | F | G", "Ebm | Cb | Gb | Db", "Dm7 | G7 | Cmaj7 | A7", "F#m D | A E | Bm | C#"];
    let file = ClapFile::load(&bundle().clap);
    let mut rng = Rng::with_seed(1);
    let (mut with_own, mut with_shuffled, mut n_notes) = (0.0, 0.0, 0);
    for (idx, chords) in progressions.iter().enumerate() {
        let mut host = file.instance(RATE);
        Setup { seed: 100 + idx as u32, length: "32", chords, ..Setup::default() }.load(&mut host);
        let notes = notes(&roll(&mut host, &Song::default(), 0, 32 * BAR, &[512]));
        let bars: Vec<_> = chords.parse::<Progression>().expect("chords").bars().to_vec();
        let own = chord_tone_rate(&notes, &bars);
        // The same melody, over the chords of this and the other progressions in random order.
        let all: Vec<_> = progressions.iter().flat_map(|p| p.parse::<Progression>().expect("chords").bars().to_vec()).collect();
        let shuffled = (0..50)
            .map(|_| {
                let order: Vec<_> = (0..32).map(|_| *rng.choice(&all).expect("a bar")).collect();
                chord_tone_rate(&notes, &order)
            })
            .sum::<f64>()
            / 50.0;
        println!("{chords}: chord-tone rate {own:.3}, with shuffled chords {shuffled:.3}, {} notes", notes.len());
        n_notes += notes.len();
        with_own += own * notes.len() as f64;
        with_shuffled += shuffled * notes.len() as f64;
    }
    let (own, shuffled) = (with_own / n_notes as f64, with_shuffled / n_notes as f64);
    println!("all: chord-tone rate {own:.3}, with shuffled chords {shuffled:.3}, {n_notes} notes");
    // Real melodies: 0.647 over their own chords. Three of twelve classes by chance: 0.25 to 0.3.
    assert!(own > 0.55, "chord-tone rate {own:.3}");
    assert!(own > shuffled + 0.15, "chord-tone rate {own:.3}, with shuffled chords {shuffled:.3}");
}

/// Holds the first chord down from before the start, rolls two bars in blocks of 480, changes the chord at a sample of the song if
/// asked, and stops with all keys up.
fn roll_with_keys(host: &mut dyn Host, first: &[u8], change: Option<(u64, &[u8])>) -> Vec<NoteEvent> {
    let song = Song::default();
    let press = |keys: &[u8], offset| {
        keys.iter().map(move |&pitch| Input::NoteOn { offset, channel: 0, pitch, velocity: 90 }).collect::<Vec<_>>()
    };
    let run = |host: &mut dyn Host, pos: u64, playing: bool, inputs: Vec<Input>| {
        let transport = Some(song.transport(pos as i64, RATE, playing));
        host.process(&Block { n_samples: 480, transport, inputs }).expect("process")
    };
    assert_eq!(run(host, 0, false, press(first, 3)), [], "thru is off: what is played in must not come out");
    settle(host);
    let origin = host.elapsed();
    let mut held = first.to_vec();
    let mut events = Vec::new();
    for block in 0..2 * BAR / 480 {
        let mut inputs = Vec::new();
        if let Some((at, keys)) = change
            && at / 480 == block
        {
            let offset = (at % 480) as u32;
            inputs.extend(held.drain(..).map(|pitch| Input::NoteOff { offset, channel: 0, pitch }));
            inputs.extend(press(keys, offset));
            held.extend_from_slice(keys);
        }
        events.extend(run(host, block * 480, true, inputs));
    }
    let inputs = held.into_iter().map(|pitch| Input::NoteOff { offset: 0, channel: 0, pitch }).collect();
    events.extend(run(host, 2 * BAR, false, inputs));
    for event in &mut events {
        event.at -= origin;
    }
    events
}

fn onsets(events: &[NoteEvent]) -> Vec<(u64, u8)> {
    events.iter().filter(|e| matches!(e.kind, Kind::On(_))).map(|e| (e.at, e.pitch)).collect()
}

/// What sounds while one chord is held throughout.
fn over(file: &ClapFile, setup: &Setup, keys: &[u8]) -> Vec<(u64, u8)> {
    let mut host = file.instance(RATE);
    setup.load(&mut host);
    host.set_offline(true);
    onsets(&roll_with_keys(&mut host, keys, None))
}

#[test]
fn a_chord_played_in_is_the_condition_from_the_next_sixteenth() {
    const C: &[u8] = &[48, 52, 55];
    const F_SHARP_MINOR: &[u8] = &[54, 57, 61];
    let file = ClapFile::load(&bundle().clap);
    let setup = Setup { seed: 21, length: "2", parameters: vec![("chord_source", "midi".into())], ..Setup::default() };
    let over_c = over(&file, &setup, C);
    let over_f_sharp = over(&file, &setup, F_SHARP_MINOR);
    assert_ne!(over_c, over_f_sharp, "the chord makes no difference");

    // Offline the audio thread waits for the new pattern, so the test does not depend on the machine's speed. The keys change
    // in the middle of the seventh sixteenth.
    let change = 6 * STEP + 3001;
    let mut host = file.instance(RATE);
    setup.load(&mut host);
    host.set_offline(true);
    let events = roll_with_keys(&mut host, C, Some((change, F_SHARP_MINOR)));
    assert!(notes(&events).iter().all(|n| n.end <= 2 * BAR), "thru is off: what is played in must not come out");
    let got = onsets(&events);
    let border = 7 * STEP;
    let expected: Vec<_> = over_c
        .iter()
        .filter(|(at, _)| *at < border)
        .chain(over_f_sharp.iter().filter(|(at, _)| *at >= border))
        .copied()
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn a_chord_played_in_live_arrives() {
    // Real time, as in a host that does not render offline: the pattern follows as soon as the worker has it.
    let file = ClapFile::load(&bundle().clap);
    let setup = Setup { seed: 21, length: "2", parameters: vec![("chord_source", "midi".into())], ..Setup::default() };
    let expected = over(&file, &setup, &[54, 57, 61]);
    let mut hosts: Vec<Box<dyn Host>> =
        vec![Box::new(ClapHost::open(&bundle().clap, RATE)), Box::new(Vst3Host::open(&bundle().vst3, RATE))];
    for host in &mut hosts {
        setup.load(host.as_mut());
        let inputs = [54, 57, 61].map(|pitch| Input::NoteOn { offset: 3, channel: 0, pitch, velocity: 80 }).to_vec();
        let transport = Some(Song::default().transport(0, RATE, false));
        host.process(&Block { n_samples: 480, transport, inputs }).expect("process");
        settle(host.as_mut());
        // The wait for the live chord's pattern has no sign a host could see; ten seconds are ample.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let got = onsets(&roll(host.as_mut(), &Song::default(), 0, 2 * BAR, &[480]));
            if got == expected {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{}: the held chord never arrived", host.format());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
