//! Saving and loading, in every order, and what is refused: garbage, a newer version, chords that cannot be read. What is refused
//! leaves everything as it was.

use barline::{
    generate::{Given, GivenPart},
    music::{
        note::{Channel, Note, Pitch, Velocity},
        time::Ticks,
    },
};
use barline_tests::{
    bundle::bundle,
    clap::{ClapFile, ClapHost},
    host::{Block, Host},
    notes::NoteEvent,
    song::{Song, roll},
    state::{DOCUMENT, Setup, State, settle},
    vst3::Vst3Host,
};
use fastrand::Rng;

const RATE: f64 = 48_000.0;
const BAR: u64 = 96_000;

fn hosts() -> Vec<Box<dyn Host>> {
    vec![Box::new(ClapHost::open(&bundle().clap, RATE)), Box::new(Vst3Host::open(&bundle().vst3, RATE))]
}

fn fresh() -> ClapHost {
    ClapFile::load(&bundle().clap).instance(RATE)
}

fn play(host: &mut dyn Host) -> Vec<NoteEvent> {
    roll(host, &Song::default(), 0, 8 * BAR, &[512])
}

const SETUP: Setup = Setup {
    seed: 4711,
    length: "8",
    chords: "Am | F | C G/B | Em7",
    model: "melody",
    parameters: Vec::new(),
    settings: Vec::new(),
};

/// Everything written anew, and two bars locked in silence.
fn takes_and_locks() -> Vec<(&'static str, serde_json::Value)> {
    let kept = Given::from_parts(&[GivenPart { track_idx: 0, drums: false, notes: &[] }], 16, 8).0.kept(1, 0b1001_0000);
    let takes = serde_json::json!([{"tracks": u16::MAX, "bars": u32::MAX, "take": 1001}]);
    vec![("takes", takes), ("locks", serde_json::json!([{"base": u64::MAX - 8, "after": 1, "music": kept}]))]
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    for mut host in hosts() {
        let setup = Setup {
            parameters: vec![
                ("temperature", 0.35.into()),
                ("octave", (-1).into()),
                ("swing", 0.5.into()),
                ("key_root", "eb".into()),
                ("scale", "dorian".into()),
                ("chords_on", true.into()),
                ("morph", 0.25.into()),
                ("seed_b", 40_000.into()),
                ("capture", true.into()),
                ("capture_bars", "16".into()),
                ("given_lane", "lane5".into()),
            ],
            settings: takes_and_locks(),
            ..SETUP
        };
        setup.load(host.as_mut());
        let first = State::parse(&host.save());
        assert!(first.holds_its_pattern());
        let document = first.field(DOCUMENT);
        for (key, value) in takes_and_locks() {
            assert_eq!(document["settings"][key], value);
        }
        assert_eq!(
            (&document["pattern"]["spec"]["morph"]["seed"], &document["pattern"]["spec"]["morph"]["amount"]),
            (&40_000.into(), &0.25.into())
        );
        host.load(&first.to_bytes()).expect("it loads");
        settle(host.as_mut());
        assert_eq!(State::parse(&host.save()), first, "{}", host.format());
    }
}

/// The parameters of the first versions, which had one track.
const OF_MELODY: [&str; 21] = [
    "temperature",
    "threshold",
    "variation",
    "seed",
    "take",
    "length",
    "chord_source",
    "key_root",
    "scale",
    "octave",
    "channel",
    "velocity",
    "humanize_velocity",
    "swing",
    "humanize",
    "note_length",
    "chords_on",
    "chords_channel",
    "chords_velocity",
    "thru",
    "bypass",
];

#[test]
fn a_project_from_before_lanes_and_takes_plays_the_same_whatever_they_were() {
    for mut host in hosts() {
        let setup = Setup { parameters: vec![("octave", (-1).into()), ("velocity", 70.into()), ("channel", 7.into())], ..SETUP };
        setup.load(host.as_mut());
        let expected = play(host.as_mut());
        assert!(expected.iter().all(|e| e.channel == 6));
        let old = State::parse(&host.save()).with_parameters_only(|id| OF_MELODY.contains(&id));
        let lanes = vec![("lane1_mute", true.into()), ("lane1_density", 2.0.into()), ("accent", 0.0.into())];
        Setup { parameters: lanes, ..SETUP }.load(host.as_mut());
        assert_eq!(play(host.as_mut()), [], "{}", host.format());
        let morphed = Setup { parameters: vec![("morph", 1.0.into())], settings: takes_and_locks(), ..SETUP };
        morphed.load(host.as_mut());
        assert_ne!(play(host.as_mut()), expected, "{}", host.format());
        host.load(&old.to_bytes()).expect("it loads");
        settle(host.as_mut());
        assert_eq!(play(host.as_mut()), expected, "{}", host.format());
    }
}

#[test]
fn a_locked_and_accompanied_band_of_32_bars_is_saved_within_64_kib() {
    let notes = |n_per_bar: i64| -> Vec<Note> {
        let note = |i: i64| Note {
            onset: Ticks(i * 1920 / n_per_bar),
            duration: Ticks(120 + i * 37 % 400),
            channel: Channel::default(),
            pitch: Pitch::new(36 + i32::try_from(i * 29 % 35).expect("small")).expect("a pitch"),
            velocity: Velocity::clamped(80),
        };
        (0..32 * n_per_bar).map(note).collect()
    };
    let tracks: Vec<_> = [9, 4, 10, 8, 3].map(notes).into_iter().collect();
    let parts: Vec<_> =
        tracks.iter().enumerate().map(|(track_idx, notes)| GivenPart { track_idx, drums: track_idx == 0, notes }).collect();
    let given = Given::from_parts(&parts[2..3], 16, 32).0;
    // Every other bar is locked in all tracks.
    let locked = Given::from_parts(&parts, 16, 32).0.kept(0b11111, 0x5555_5555);
    let settings = vec![
        ("takes", serde_json::json!([{"tracks": 2, "bars": 255, "take": 1001}])),
        ("locks", serde_json::json!([{"base": 1, "after": 0, "music": locked}])),
        ("given", serde_json::json!({"lane": 2, "source": "captured", "music": given})),
    ];
    let mut host = fresh();
    Setup { length: "32", model: "band", settings, ..SETUP }.load(&mut host);
    let saved = host.save();
    let logits = State::parse(&saved).field(DOCUMENT)["pattern"]["logits"].as_str().map_or(0, str::len);
    println!("{} bytes, {logits} of them logits", saved.len());
    assert!(logits > 1_000 && saved.len() < 64 * 1024, "{} bytes, {logits} of them logits", saved.len());
}

#[test]
fn a_state_loads_at_any_moment() {
    let mut host = fresh();
    SETUP.load(&mut host);
    let expected = play(&mut host);
    let saved = host.save();
    assert!(!expected.is_empty());

    // Before the first block.
    let mut host = fresh();
    host.load(&saved).expect("it loads");
    settle(&mut host);
    assert_eq!(play(&mut host), expected, "loaded before the first block");

    // Over another piece.
    let mut host = fresh();
    Setup { seed: 1, length: "2", chords: "B", ..Setup::default() }.load(&mut host);
    let other = play(&mut host);
    host.load(&saved).expect("it loads");
    settle(&mut host);
    assert_eq!(play(&mut host), expected, "loaded after another piece");
    assert_ne!(other, expected);

    // While it plays: what sounded is released, and after a stop the loaded piece is there.
    let mut host = fresh();
    Setup { seed: 1, length: "2", chords: "B", ..Setup::default() }.load(&mut host);
    let song = Song::default();
    let mut events = Vec::new();
    for block in 0..300_i64 {
        if block == 100 {
            host.load(&saved).expect("it loads");
        }
        let transport = Some(song.transport(block * 512, RATE, true));
        events.extend(host.process(&Block { n_samples: 512, transport, inputs: Vec::new() }).expect("process"));
    }
    let transport = Some(song.transport(300 * 512, RATE, false));
    events.extend(host.process(&Block { n_samples: 512, transport, inputs: Vec::new() }).expect("process"));
    barline_tests::notes::notes(&events);
    settle(&mut host);
    assert_eq!(play(&mut host), expected, "loaded while playing");

    // Twice, and across a restart.
    let mut host = fresh();
    host.load(&saved).expect("it loads");
    host.load(&saved).expect("it loads");
    host.restart();
    settle(&mut host);
    assert_eq!(play(&mut host), expected, "loaded twice, then restarted");

    // The other format.
    let mut host = Vst3Host::open(&bundle().vst3, RATE);
    host.load(&saved).expect("it loads");
    settle(&mut host);
    assert_eq!(play(&mut host), expected, "loaded in VST3");
}

#[test]
fn saving_while_playing_changes_nothing() {
    let mut host = fresh();
    SETUP.load(&mut host);
    let expected = play(&mut host);
    let song = Song::default();
    let origin = host.elapsed();
    let mut events = Vec::new();
    for block in 0..1500_i64 {
        if block % 50 == 7 {
            host.save();
        }
        let transport = Some(song.transport(block * 512, RATE, true));
        events.extend(host.process(&Block { n_samples: 512, transport, inputs: Vec::new() }).expect("process"));
    }
    let transport = Some(song.transport(1500 * 512, RATE, false));
    events.extend(host.process(&Block { n_samples: 64, transport, inputs: Vec::new() }).expect("process"));
    for event in &mut events {
        event.at -= origin;
    }
    assert_eq!(events, expected);
}

/// Loads bytes that must not be taken, and insists that nothing changed.
fn assert_refused(host: &mut dyn Host, bytes: &[u8], expected: &[NoteEvent], what: &str) {
    let before = State::parse(&host.save());
    // nice-plug says "loaded" to a state that the plugin's filter emptied; what counts is that nothing changed.
    let _said = host.load(bytes);
    settle(host);
    assert_eq!(State::parse(&host.save()), before, "{}: {what} changed the state", host.format());
    assert_eq!(play(host), expected, "{}: {what} changed what plays", host.format());
}

#[test]
fn what_cannot_be_read_is_refused_and_everything_stays() {
    for mut host in hosts() {
        let host = host.as_mut();
        SETUP.load(host);
        let expected = play(host);
        let saved = State::parse(&host.save());
        let json = saved.to_bytes();
        let document = saved.field(DOCUMENT);

        let mut rng = Rng::with_seed(9);
        assert_refused(host, b"", &expected, "nothing");
        assert_refused(host, &json[..json.len() / 2], &expected, "half a state");
        let noise: Vec<u8> = (0..5000).map(|_| rng.u8(..)).collect();
        assert_refused(host, &noise, &expected, "noise");
        assert_refused(host, br#"{"version":"9","params":{},"fields":{}}"#, &expected, "an empty state");
        assert_refused(host, br#"{"some":"other plugin"}"#, &expected, "another plugin's state");

        let mut newer = document.clone();
        newer["version"] = 999.into();
        newer["settings"]["progression"] = "B".into();
        let state = saved.clone().with_parameter("seed", 1).with_field(DOCUMENT, newer);
        assert_refused(host, &state.to_bytes(), &expected, "a state from a newer version");

        let mut nonsense = document.clone();
        nonsense["settings"]["progression"] = "H | zwölf".into();
        let state = saved.clone().with_parameter("seed", 1).with_field(DOCUMENT, nonsense);
        assert_refused(host, &state.to_bytes(), &expected, "chords that cannot be read");

        let state = saved.clone().with_parameter("seed", 70_000_000).with_parameter("temperature", -5.0);
        assert_refused(host, &state.to_bytes(), &expected, "parameters outside their ranges");

        let state = saved.clone().with_parameter("seed", "seven");
        assert_refused(host, &state.to_bytes(), &expected, "a parameter of the wrong type");
    }
}

#[test]
fn a_clap_stream_that_lies_about_its_length_is_refused() {
    let mut host = fresh();
    SETUP.load(&mut host);
    let expected = play(&mut host);
    let before = State::parse(&host.save());
    for length in [0_u64, 3, 1 << 20, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{\"version\"");
        assert!(host.load_raw(&bytes).is_err(), "a stream that claims {length} bytes is taken");
    }
    assert!(host.load_raw(b"123").is_err());
    assert_eq!(State::parse(&host.save()), before);
    assert_eq!(play(&mut host), expected);
}

#[test]
fn a_song_sounds_the_same_where_its_model_is_missing() {
    let mut host = fresh();
    SETUP.load(&mut host);
    let expected = play(&mut host);
    let saved = State::parse(&host.save());
    let mut document = saved.field(DOCUMENT);
    document["settings"]["model"] = "a-model-nobody-has".into();
    document["pattern"]["model"] = serde_json::json!({"id": "a-model-nobody-has", "sha256": "0".repeat(64)});
    for mut host in hosts() {
        host.load(&saved.clone().with_field(DOCUMENT, document.clone()).to_bytes()).expect("it loads");
        settle(host.as_mut());
        assert_eq!(play(host.as_mut()), expected, "{}", host.format());
        assert_eq!(State::parse(&host.save()).field(DOCUMENT)["settings"]["model"], "a-model-nobody-has", "the wish is kept");
    }
}

#[test]
fn damaged_logits_are_made_anew() {
    let mut host = fresh();
    SETUP.load(&mut host);
    let expected = play(&mut host);
    let saved = State::parse(&host.save());
    for damage in ["", "AAAA", "not base64 at all!"] {
        let mut document = saved.field(DOCUMENT);
        document["pattern"]["logits"] = damage.into();
        let mut host = fresh();
        host.load(&saved.clone().with_field(DOCUMENT, document).to_bytes()).expect("it loads");
        settle(&mut host);
        assert_eq!(play(&mut host), expected, "logits `{damage}`");
    }
}
