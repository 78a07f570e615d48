//! The same seed gives the same notes: in the command line's file, in CLAP at every block length, in VST3, in every pass of a
//! loop, and in a new instance that loads what the first one saved.

use barline::{
    generate::{Given, GivenPart},
    music::{
        note::{self as music, Channel, Pitch, Velocity},
        time::{TICKS_PER_STEP, Ticks},
    },
};
use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::ClapFile,
    cli,
    host::Host,
    notes::{Note, notes},
    song::{Song, play_loop, roll},
    state::{Setup, settle},
    vst3::Vst3Host,
};
use serde_json::json;

/// A piece: what the plugin is set to, how the command line says the same, and where it is played.
struct Piece {
    setup: Setup<'static>,
    arguments: &'static [&'static str],
    song: Song,
    sample_rate: f64,
}

/// Five seeds, unlike in everything else too.
fn pieces() -> Vec<Piece> {
    let four_four = |tempo| Song { tempo, meter: (4, 4) };
    vec![
        Piece {
            setup: Setup { seed: 7, length: "8", ..Setup::default() },
            arguments: &["--seed", "7", "--bars", "8", "--tempo", "120", "--chords", "C | Am | F | G"],
            song: four_four(120.0),
            sample_rate: 48_000.0,
        },
        Piece {
            setup: Setup {
                seed: 1234,
                length: "4",
                chords: "Dm7 | G7 | C | A7",
                parameters: vec![("temperature", 0.6.into()), ("take", 3.into())],
                ..Setup::default()
            },
            arguments: &[
                "--seed",
                "1234",
                "--take",
                "3",
                "--bars",
                "4",
                "--tempo",
                "150",
                "--chords",
                "Dm7 | G7 | C | A7",
                "--temperature",
                "0.6",
            ],
            song: four_four(150.0),
            sample_rate: 48_000.0,
        },
        // At 44.1 kHz and 120 bpm every other sixteenth lies exactly between two samples.
        Piece {
            setup: Setup {
                seed: 40_001,
                length: "8",
                chords: "F G | Em Am | N.C. | Bdim E7",
                parameters: vec![("temperature", 1.4.into()), ("threshold", 0.4.into()), ("swing", 0.3.into())],
                ..Setup::default()
            },
            arguments: &[
                "--seed",
                "40001",
                "--bars",
                "8",
                "--tempo",
                "120",
                "--chords",
                "F G | Em Am | N.C. | Bdim E7",
                "--temperature",
                "1.4",
                "--threshold",
                "0.4",
                "--swing",
                "0.3",
            ],
            song: four_four(120.0),
            sample_rate: 44_100.0,
        },
        Piece {
            setup: Setup {
                seed: 65_535,
                length: "4",
                chords: "Am | Dm/F | E7 | Am",
                parameters: vec![
                    ("key_root", "a".into()),
                    ("scale", "minor".into()),
                    ("temperature", 2.0.into()),
                    ("octave", 1.into()),
                    ("note_length", 0.7.into()),
                ],
                ..Setup::default()
            },
            arguments: &[
                "--seed",
                "65535",
                "--bars",
                "4",
                "--tempo",
                "187.5",
                "--chords",
                "Am | Dm/F | E7 | Am",
                "--temperature",
                "2",
                "--key",
                "A minor",
                "--octave",
                "1",
                "--note-length",
                "0.7",
            ],
            song: four_four(187.5),
            sample_rate: 96_000.0,
        },
        Piece {
            setup: Setup {
                seed: 3,
                length: "2",
                chords: "Bb | Gm7",
                model: "midinet",
                parameters: vec![
                    ("temperature", 0.0.into()),
                    ("chords_on", true.into()),
                    ("chords_channel", 3.into()),
                    ("humanize", 0.6.into()),
                    ("humanize_velocity", 0.4.into()),
                ],
                settings: Vec::new(),
            },
            arguments: &[
                "--model",
                "midinet",
                "--seed",
                "3",
                "--bars",
                "2",
                "--tempo",
                "60",
                "--chords",
                "Bb | Gm7",
                "--temperature",
                "0",
                "--chords-channel",
                "3",
                "--humanize",
                "0.6",
                "--humanize-velocity",
                "0.4",
            ],
            song: four_four(60.0),
            sample_rate: 48_000.0,
        },
    ]
}

/// Pieces of five tracks.
fn band_pieces() -> Vec<Piece> {
    vec![
        Piece {
            setup: Setup { seed: 11, length: "4", model: "tiny-band", ..Setup::default() },
            arguments: &["--model", "tiny-band", "--seed", "11", "--bars", "4", "--tempo", "120", "--chords", "C | Am | F | G"],
            song: Song { tempo: 120.0, meter: (4, 4) },
            sample_rate: 44_100.0,
        },
        Piece {
            setup: Setup {
                seed: 902,
                length: "8",
                chords: "Dm | Bb C",
                model: "tiny-band",
                parameters: vec![
                    ("accent", 1.0.into()),
                    ("humanize", 0.5.into()),
                    ("key_root", "d".into()),
                    ("scale", "dorian".into()),
                    ("lane1_density", 1.5.into()),
                    ("lane2_density", (-0.5).into()),
                    ("lane3_mute", true.into()),
                ],
                settings: Vec::new(),
            },
            arguments: &[
                "--model",
                "tiny-band",
                "--seed",
                "902",
                "--bars",
                "8",
                "--tempo",
                "96",
                "--chords",
                "Dm | Bb C",
                "--accent",
                "1",
                "--humanize",
                "0.5",
                "--key",
                "D dorian",
                "--density",
                "drums=1.5,bass=-0.5",
                "--mute",
                "piano",
            ],
            song: Song { tempo: 96.0, meter: (4, 4) },
            sample_rate: 48_000.0,
        },
        // On the way to another seed, the best of three tries, with two parts written anew.
        Piece {
            setup: Setup {
                seed: 5,
                length: "8",
                chords: "Am | F",
                model: "tiny-band",
                parameters: vec![("morph", 0.375.into()), ("seed_b", 61_000.into()), ("candidates", 3.into())],
                settings: vec![(
                    "takes",
                    json!([{"tracks": 2, "bars": 0b10_0100, "take": 1001}, {"tracks": 16, "bars": u32::MAX, "take": 1002}]),
                )],
            },
            arguments: &[
                "--model",
                "tiny-band",
                "--seed",
                "5",
                "--morph",
                "61000:0.375",
                "--candidates",
                "3",
                "--reroll",
                "bass:3=1001",
                "--reroll",
                "bass:6=1001",
                "--reroll",
                "strings=1002",
                "--bars",
                "8",
                "--tempo",
                "100",
                "--chords",
                "Am | F",
            ],
            song: Song { tempo: 100.0, meter: (4, 4) },
            sample_rate: 48_000.0,
        },
    ]
}

/// What the user played on the guitar's lane over two bars, and a bass line of one bar, which is locked in the sixth.
fn own_music() -> (Given, Given) {
    let note = |step: i64, n_steps: i64, pitch: i32| music::Note {
        onset: Ticks(step * TICKS_PER_STEP),
        duration: Ticks(n_steps * TICKS_PER_STEP),
        channel: Channel::default(),
        pitch: Pitch::new(pitch).expect("a pitch"),
        velocity: Velocity::clamped(80),
    };
    let part = |track_idx, notes| GivenPart { track_idx, drums: false, notes };
    let guitar = [note(0, 3, 55), note(5, 1, 50), note(14, 6, 59), note(26, 2, 52)];
    let bass: Vec<_> = (0..8).map(|bar| note(bar * 16 + 3, 7, 47)).chain([note(80 + 11, 2, 40)]).collect();
    let given = Given::from_parts(&[part(3, &guitar)], 16, 2).0;
    let locked = Given::from_parts(&[part(1, &bass)], 16, 8).0.kept(0b10, 0b10_0000);
    (given, locked)
}

#[test]
fn own_music_and_locks_sound_the_same_everywhere() {
    in_child_with_fixtures("own_music_and_locks_sound_the_same_everywhere", || {
        let (given, locked) = own_music();
        let takes = json!([{"tracks": 4, "bars": 0b1000, "take": 1001}]);
        let locks = json!([{"base": 77, "after": 0, "music": locked}]);
        let setup = Setup {
            seed: 19,
            length: "8",
            chords: "C | Em | F G | Am",
            model: "tiny-band",
            parameters: vec![("temperature", 1.6.into()), ("humanize_velocity", 0.0.into())],
            settings: vec![
                ("takes", takes),
                ("locks", locks),
                ("given", json!({"lane": 3, "source": "captured", "music": given})),
            ],
        };
        let piece = Piece { setup, arguments: &[], song: Song { tempo: 90.0, meter: (4, 4) }, sample_rate: 48_000.0 };
        let clap = ClapFile::load(&bundle().clap);
        let mut host = clap.instance(piece.sample_rate);
        piece.setup.load(&mut host);
        let expected = notes(&roll(&mut host, &piece.song, 0, piece.n_samples(), &[512]));
        // Samples of a sixteenth: 8,000.
        let of = |channel: u8, bars: std::ops::Range<u64>| -> Vec<(u64, u64, u8)> {
            let own = expected.iter().filter(|n| n.channel + 1 == channel && bars.contains(&(n.onset / 128_000)));
            own.map(|n| (n.onset / 8_000 % 32, (n.end - n.onset) / 8_000, n.pitch)).collect()
        };
        for pass in 0..4 {
            assert_eq!(of(4, pass * 2..pass * 2 + 2), [(0, 3, 55), (5, 1, 50), (14, 6, 59), (26, 2, 52)], "guitar, pass {pass}");
        }
        assert_eq!(of(2, 5..6), [(16 + 3, 7, 47), (16 + 11, 2, 40)], "the locked bar of the bass");
        assert_ne!(of(2, 1..2), of(2, 5..6));
        assert!([2, 3, 5, 10].iter().all(|channel| !of(*channel, 0..8).is_empty()), "the others play around it");
        assert_plays_everywhere(&clap, &piece, &expected);
    });
}

impl Piece {
    fn n_bars(&self) -> f64 {
        self.setup.length.parse().expect("a finite length")
    }

    /// Samples of the whole pattern.
    fn n_samples(&self) -> u64 {
        self.song.sample_at(self.n_bars() * self.song.bar_beats(), self.sample_rate) as u64
    }

    /// The command line's notes, ticks turned into samples.
    fn expected(&self) -> Vec<Note> {
        let sample = |tick: u64| self.song.sample_at(tick as f64 / 480.0, self.sample_rate) as u64;
        let mut notes: Vec<Note> =
            cli::generate(self.arguments).into_iter().map(|n| Note { onset: sample(n.onset), end: sample(n.end), ..n }).collect();
        notes.sort_unstable();
        notes
    }

    fn assert_rolls(&self, host: &mut dyn Host, expected: &[Note], block_lengths: &[u32]) {
        let events = roll(host, &self.song, 0, self.n_samples(), block_lengths);
        assert_same(&notes(&events), expected, &format!("{}, seed {}, blocks {block_lengths:?}", host.format(), self.setup.seed));
    }
}

fn assert_same(got: &[Note], expected: &[Note], what: &str) {
    let differing = got.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(got.len().min(expected.len()));
    assert!(
        got == expected,
        "{what}: {} notes, the command line has {}; the first that differs is number {differing}:\n got {:?}\nfile {:?}",
        got.len(),
        expected.len(),
        got.get(differing),
        expected.get(differing)
    );
}

#[test]
fn a_seed_gives_the_same_notes_everywhere() {
    assert_same_everywhere(&pieces());
}

#[test]
fn a_band_plays_the_same_everywhere_and_each_track_on_its_channel() {
    in_child_with_fixtures("a_band_plays_the_same_everywhere_and_each_track_on_its_channel", || {
        let pieces = band_pieces();
        let channels = |piece: &Piece| -> Vec<u8> {
            let mut channels: Vec<u8> = piece.expected().iter().map(|note| note.channel + 1).collect();
            channels.sort_unstable();
            channels.dedup();
            channels
        };
        assert_eq!(
            pieces.iter().map(channels).collect::<Vec<_>>(),
            [vec![2, 3, 4, 5, 10], vec![2, 4, 5, 10], vec![2, 3, 4, 5, 10]]
        );
        assert_same_everywhere(&pieces);
    });
}

fn assert_same_everywhere(pieces: &[Piece]) {
    let clap = ClapFile::load(&bundle().clap);
    for piece in pieces {
        let expected = piece.expected();
        // A melody of less than a note per bar would make the comparison worthless.
        assert!(expected.len() as f64 > piece.n_bars(), "only {} notes from {:?}", expected.len(), piece.setup);
        assert_plays_everywhere(&clap, piece, &expected);
    }
}

/// In both formats, at every block length, in every pass of a loop, and loaded from what was saved.
fn assert_plays_everywhere(clap: &ClapFile, piece: &Piece, expected: &[Note]) {
    let mut first = clap.instance(piece.sample_rate);
    piece.setup.load(&mut first);
    for length in [512, 1, 64, 333, 8192] {
        piece.assert_rolls(&mut first, expected, &[length]);
    }
    piece.assert_rolls(&mut first, expected, &[752, 1024, 17, 1, 480]);

    let loop_beats = piece.n_bars() * piece.song.bar_beats();
    for announced in [true, false] {
        for (idx, pass) in play_loop(&mut first, &piece.song, loop_beats, 3, 500, announced).iter().enumerate() {
            assert_same(&notes(pass), expected, &format!("CLAP, seed {}, pass {idx} of a loop", piece.setup.seed));
        }
    }

    let saved = first.save();
    drop(first);
    let mut second = clap.instance(piece.sample_rate);
    second.load(&saved).expect("what was saved loads");
    settle(&mut second);
    piece.assert_rolls(&mut second, expected, &[512]);
    assert!(second.silent, "the audio output is silent");
    assert_eq!(second.latency(), 0);

    let mut vst3 = Vst3Host::open(&bundle().vst3, piece.sample_rate);
    piece.setup.load(&mut vst3);
    for lengths in [&[512][..], &[64], &[333, 1, 2000]] {
        piece.assert_rolls(&mut vst3, expected, lengths);
    }
    for (idx, pass) in play_loop(&mut vst3, &piece.song, loop_beats, 3, 500, false).iter().enumerate() {
        assert_same(&notes(pass), expected, &format!("VST3, seed {}, pass {idx} of a loop", piece.setup.seed));
    }
    drop(vst3);
    let mut other_format = Vst3Host::open(&bundle().vst3, piece.sample_rate);
    other_format.load(&saved).expect("a state crosses the formats");
    settle(&mut other_format);
    piece.assert_rolls(&mut other_format, expected, &[512]);
}

#[test]
fn another_seed_gives_another_melody() {
    let clap = ClapFile::load(&bundle().clap);
    let song = Song::default();
    let melodies: Vec<Vec<Note>> = (0..4)
        .map(|seed| {
            let mut host = clap.instance(48_000.0);
            Setup { seed, length: "4", ..Setup::default() }.load(&mut host);
            notes(&roll(&mut host, &song, 0, 4 * 96_000, &[512]))
        })
        .collect();
    for (idx, melody) in melodies.iter().enumerate() {
        assert!(!melodies.iter().skip(idx + 1).any(|other| other == melody), "two seeds give the same melody");
    }
}
