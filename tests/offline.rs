//! Rendering offline: nothing is late, however fast the host goes, and switching between the modes changes no note.

use barline_tests::{
    bundle::bundle,
    clap::ClapFile,
    host::{Block, Host},
    notes::{Kind, Note, NoteEvent, notes},
    song::{Song, roll},
    state::{Setup, State, settle},
};

const RATE: f64 = 48_000.0;
const BAR: u64 = 96_000;

fn setups() -> [Setup<'static>; 2] {
    [Setup { seed: 91, ..Setup::default() }, Setup { seed: 5, length: "endless", chords: "Em | C | G D", ..Setup::default() }]
}

/// A slow, patient playback: the reference.
fn reference(setup: &Setup, n_bars: u64) -> Vec<Note> {
    let mut host = ClapFile::load(&bundle().clap).instance(RATE);
    setup.load(&mut host);
    let song = Song::default();
    // Two bars at a time, with a pause for the worker before each: an endless pattern is made as the playhead moves.
    let mut events = Vec::new();
    for pair in 0..n_bars.div_ceil(2) {
        let at = pair * 2 * BAR;
        let start = host.elapsed();
        events.extend(roll(&mut host, &song, at as i64, 2 * BAR, &[512]).into_iter().map(|mut e| {
            e.at += at;
            e
        }));
        assert!(host.elapsed() > start);
        settle(&mut host);
    }
    notes(&events)
}

#[test]
fn an_offline_render_waits_for_what_is_not_there_yet() {
    for setup in setups() {
        let mut host = ClapFile::load(&bundle().clap).instance(RATE);
        let state = setup.applied_to(State::parse(&host.save()));
        host.set_offline(true);
        host.load(&state.to_bytes()).expect("the state loads");
        // No pause between loading and rolling.
        let rendered = notes(&roll(&mut host, &Song::default(), 0, 8 * BAR, &[4096]));
        let mut again = ClapFile::load(&bundle().clap).instance(RATE);
        setup.load(&mut again);
        again.set_offline(true);
        let repeated = notes(&roll(&mut again, &Song::default(), 0, 8 * BAR, &[512]));
        assert!(rendered.len() > 8, "only {} notes", rendered.len());
        assert_eq!(rendered, repeated, "{setup:?}");
        // The reference stops every two bars, which cuts notes there: compare where they start.
        let beginnings = |notes: &[Note]| notes.iter().map(|n| (n.onset, n.pitch, n.velocity)).collect::<Vec<_>>();
        let reference = beginnings(&reference(&setup, 8));
        let missing = reference.iter().filter(|n| !beginnings(&rendered).contains(n)).count();
        assert_eq!(missing, 0, "{missing} of {} notes of a patient playback are missing offline: {setup:?}", reference.len());
    }
}

/// Where notes begin.
fn onsets(events: &[NoteEvent]) -> Vec<NoteEvent> {
    events.iter().filter(|e| e.kind != Kind::Off).copied().collect()
}

#[test]
fn alternating_render_modes_change_no_note() {
    let setup = Setup { seed: 91, ..Setup::default() };
    let mut host = ClapFile::load(&bundle().clap).instance(RATE);
    setup.load(&mut host);
    let song = Song::default();
    let expected = roll(&mut host, &song, 0, 8 * BAR, &[512]);
    let origin = host.elapsed();
    let mut events = Vec::new();
    let mut done = 0;
    let mut block = 0_u32;
    while done < 8 * BAR {
        host.set_offline(block % 64 > 40);
        block += 1;
        let n_samples = 512.min(8 * BAR - done) as u32;
        let transport = Some(song.transport(done as i64, RATE, true));
        events.extend(host.process(&Block { n_samples, transport, inputs: Vec::new() }).expect("process"));
        done += u64::from(n_samples);
    }
    let transport = Some(song.transport(done as i64, RATE, false));
    events.extend(host.process(&Block { n_samples: 64, transport, inputs: Vec::new() }).expect("process"));
    for event in &mut events {
        event.at -= origin;
    }
    // Each change of the mode restarts the plugin, which ends what sounds; the beginnings are the same.
    notes(&events);
    assert_eq!(onsets(&events), onsets(&expected));
}
