//! Many instances in one host: one engine serves them all, and none hears another.

use barline_tests::{
    bundle::bundle,
    clap::{ClapFile, ClapHost},
    host::{Block, Host},
    notes::{NoteEvent, notes},
    song::{Song, roll},
    state::{Setup, State, settle},
    vst3::Vst3Host,
};
use std::time::{Duration, Instant};

const RATE: f64 = 48_000.0;
const BAR: u64 = 96_000;

#[test]
fn sixteen_instances_play_as_each_would_alone() {
    let file = ClapFile::load(&bundle().clap);
    let setup = |seed| Setup { seed, length: "2", chords: "Dm | G", ..Setup::default() };
    let alone: Vec<Vec<NoteEvent>> = (0..4)
        .map(|seed| {
            let mut host = file.instance(RATE);
            setup(seed).load(&mut host);
            roll(&mut host, &Song::default(), 0, 2 * BAR, &[480])
        })
        .collect();

    let mut hosts: Vec<ClapHost> = (0..16).map(|_| file.instance(RATE)).collect();
    // All states first, then the waiting: the engine has sixteen wishes at once.
    for (idx, host) in hosts.iter_mut().enumerate() {
        let state = setup(idx as u32 % 4).applied_to(State::parse(&host.save()));
        host.load(&state.to_bytes()).expect("the state loads");
    }
    for host in &mut hosts {
        settle(host);
    }
    let origins: Vec<u64> = hosts.iter().map(Host::elapsed).collect();
    let mut events = vec![Vec::new(); hosts.len()];
    let song = Song::default();
    for block in 0..=400_u64 {
        let (n_samples, playing) = if block < 400 { (480, true) } else { (64, false) };
        let transport = Some(song.transport((block * 480) as i64, RATE, playing));
        let block_of_all = Block { n_samples, transport, inputs: Vec::new() };
        for (host, events) in hosts.iter_mut().zip(&mut events) {
            events.extend(host.process(&block_of_all).expect("process"));
        }
        if block == 100 {
            // The last four leave in the middle; the others must not notice.
            hosts.truncate(12);
        }
    }
    for (idx, events) in events.iter_mut().take(12).enumerate() {
        events.iter_mut().for_each(|e| e.at -= origins[idx]);
        assert!(!notes(events).is_empty());
        assert_eq!(*events, alone[idx % 4], "instance {idx}");
    }
}

#[test]
fn both_formats_live_in_one_process() {
    let setup = Setup { seed: 17, length: "2", ..Setup::default() };
    let mut clap = ClapHost::open(&bundle().clap, RATE);
    let mut vst3 = Vst3Host::open(&bundle().vst3, RATE);
    setup.load(&mut clap);
    setup.load(&mut vst3);
    let song = Song::default();
    let from_clap = roll(&mut clap, &song, 0, 2 * BAR, &[512]);
    drop(clap);
    assert_eq!(roll(&mut vst3, &song, 0, 2 * BAR, &[512]), from_clap);
}

#[test]
fn a_new_instance_has_its_pattern_soon() {
    let file = ClapFile::load(&bundle().clap);
    let start = Instant::now();
    let mut host = file.instance(RATE);
    let instantiated = start.elapsed();
    settle(&mut host);
    let ready = start.elapsed();
    println!("debug build: instance after {instantiated:.1?}, pattern ready after {ready:.1?}");
    // The release build is held to 100 ms and 500 ms by `barline bench`; a debug build on a busy machine only to sanity.
    assert!(ready < Duration::from_secs(20), "the pattern took {ready:?}");
}
