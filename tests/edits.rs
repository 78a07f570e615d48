//! A note drawn by hand plays where it was drawn, however the host cuts its blocks and in every pass of the pattern; nothing else
//! changes. It survives a re-roll of another bar and is there after saving and loading.

use barline::{
    generate::{Given, GivenPart, GridNote, ModelId, PatternSpec, structure_key},
    music::{
        note::{Channel, Note, Pitch, Velocity},
        roll::TrackKind,
        time::{TICKS_PER_STEP, Ticks},
    },
};
use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::{ClapFile, ClapHost},
    host::Host,
    notes::Ledger,
    song::{Song, roll},
    state::{DOCUMENT, Setup, State, settle},
};
use serde_json::json;

const RATE: f64 = 48_000.0;
/// At this tempo a sixteenth is 3,000 samples.
const SONG: Song = Song { tempo: 240.0, meter: (4, 4) };
const STEP: u64 = 3_000;
const BAR: u64 = 16 * STEP;
const MODEL: &str = "tiny-band";
/// The guitar: its track, and its channel from 0.
const GUITAR: (usize, u8) = (3, 3);
/// Bar, step of the bar, steps, pitch.
const DRAWN: (u64, u64, u64, u8) = (1, 5, 7, 57);
/// Longest state that a host should have to keep.
const MAX_STATE: usize = 64 << 10;

/// What plays in two passes of four bars, as channel, step, steps, pitch.
fn heard(host: &mut ClapHost, blocks: &[u32]) -> Vec<(u8, u64, u64, u8)> {
    let mut ledger = Ledger::default();
    ledger.enter(&roll(host, &SONG, 0, 8 * BAR, blocks)).expect("every note-on has its note-off");
    let notes = ledger.notes.iter().map(|n| (n.channel, n.onset / STEP, (n.end - n.onset) / STEP, n.pitch));
    let mut notes: Vec<_> = notes.collect();
    notes.sort_unstable();
    notes
}

fn is_guitar_in(bar: u64) -> impl Fn(&(u8, u64, u64, u8)) -> bool {
    move |(channel, step, ..)| *channel == GUITAR.1 && step / 16 % 4 == bar
}

#[test]
fn a_drawn_note_plays_where_it_was_drawn_and_stays() {
    in_child_with_fixtures("a_drawn_note_plays_where_it_was_drawn_and_stays", || {
        let file = ClapFile::load(&bundle().clap);
        let mut host = file.instance(RATE);
        let setup = Setup { seed: 19, length: "4", model: MODEL, chords: "C | Em | F G | Am", ..Setup::default() };
        setup.load(&mut host);
        let free = heard(&mut host, &[512]);

        // What the pencil does: the bar is locked as it sounds, with the note in it.
        let document = State::parse(&host.save()).field(DOCUMENT);
        let spec: PatternSpec = serde_json::from_value(document["pattern"]["spec"].clone()).expect("a specification");
        let base = structure_key(&spec, &ModelId { id: MODEL.into(), sha256: String::new() });
        let grid = |steps: u64| Ticks(steps as i64 * TICKS_PER_STEP);
        let of_guitar = free.iter().filter(|(channel, step, ..)| *channel == GUITAR.1 && *step < 64);
        let notes: Vec<Note> = of_guitar
            .map(|(_, step, n_steps, pitch)| Note {
                onset: grid(*step),
                duration: grid(*n_steps),
                channel: Channel::default(),
                pitch: Pitch::new((*pitch).into()).expect("a pitch"),
                velocity: Velocity::clamped(90),
            })
            .collect();
        let mut music = Given::from_parts(&[GivenPart { track_idx: GUITAR.0, drums: false, notes: &notes }], 16, 4).0;
        let (bar, step, n_steps, number) = DRAWN;
        let onset = (bar * 16 + step) as usize;
        let pitch = Pitch::new(number.into()).expect("a pitch");
        let note = GridNote { onset, end: onset + n_steps as usize, pitch, tied: false };
        music.edit(GUITAR.0, TrackKind::OnsetSustain, 16, &[], Some(note));
        let locks = json!([{ "base": base, "after": 0, "music": music.kept(1 << GUITAR.0, 1 << bar) }]);
        let drawn = Setup { settings: vec![("locks", locks.clone())], ..setup.clone() };
        drawn.load(&mut host);

        let edited = heard(&mut host, &[512]);
        for blocks in [&[1_u32, 64, 333][..], &[8192]] {
            assert_eq!(heard(&mut host, blocks), edited, "blocks of {blocks:?}");
        }
        for pass in 0..2 {
            let wanted = (GUITAR.1, pass * 64 + bar * 16 + step, n_steps, number);
            assert!(edited.contains(&wanted), "pass {pass}: {edited:?}");
        }
        let rest = |notes: &[(u8, u64, u64, u8)], bars: &[u64]| -> Vec<_> {
            notes.iter().filter(|note| !bars.iter().any(|bar| is_guitar_in(*bar)(note))).copied().collect()
        };
        assert_ne!(edited, free);
        assert_eq!(rest(&edited, &[bar]), rest(&free, &[bar]), "nothing else changes");

        // Another bar of the guitar is written anew.
        let takes = json!([{ "tracks": 1 << GUITAR.0, "bars": 0b1000, "take": 1001 }]);
        Setup { settings: vec![("locks", locks), ("takes", takes)], ..setup }.load(&mut host);
        let rerolled = heard(&mut host, &[512]);
        // How long a note is held on into that bar is the bar's own.
        let until_the_bar = |notes: &[(u8, u64, u64, u8)]| -> Vec<_> {
            let cut = |(channel, step, n_steps, pitch): (u8, u64, u64, u8)| {
                let n_left = if channel == GUITAR.1 { 48 - step % 64 } else { u64::MAX };
                (channel, step, n_steps.min(n_left), pitch)
            };
            let mut notes: Vec<_> = rest(notes, &[3]).into_iter().map(cut).collect();
            notes.sort_unstable();
            notes
        };
        assert_eq!(until_the_bar(&rerolled), until_the_bar(&edited));
        assert_ne!(rerolled, edited, "the other bar was written anew");

        let state = host.save();
        assert!(state.len() < MAX_STATE, "{} bytes", state.len());
        let mut again = file.instance(RATE);
        again.load(&state).expect("the state is taken");
        settle(&mut again);
        assert_eq!(heard(&mut again, &[480]), rerolled);
    });
}
