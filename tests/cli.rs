//! The command line as a user meets it: exit codes, messages, files left or not left, and files that other programs read.

use barline::music::{
    note::{Channel, Note, Pitch, Velocity},
    smf::{Song, SongTrack},
    time::{Tempo, Ticks},
};
use barline_tests::{bundle::workspace, cli::program};
use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// Exit codes, as `plugin/docs/command-line.md` lists them.
const OK: i32 = 0;
const USAGE: i32 = 2;
const PRIMER: i32 = 3;
const MODEL: i32 = 4;
const OUTPUT: i32 = 5;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a scratch folder")
}

/// Runs `barline` in a folder, with a data folder of its own.
fn barline(folder: &Path, args: &[&str]) -> Output {
    let no_models = folder.join("no data");
    Command::new(program())
        .args(args)
        .current_dir(folder)
        .env("BARLINE_DATA", no_models)
        .stdin(Stdio::null())
        .output()
        .expect("the command line runs")
}

fn generate(folder: &Path, args: &[&str]) -> Output {
    barline(folder, &[&["generate"], args].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(OK), "{}", text(&output.stderr));
}

/// Every file below a folder, hidden ones too.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|f| format!("{name}/{f}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Runs `barline generate`, and insists on the exit code, on words in the message, and that no file appears or changes.
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let contents =
        |names: &[String]| -> Vec<Vec<u8>> { names.iter().map(|n| fs::read(folder.join(n)).expect("a file")).collect() };
    let before = files(folder);
    let bytes = contents(&before);
    let output = generate(folder, args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: no `{word}` in: {message}");
    }
    assert!(message.starts_with("error: "), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    assert_eq!(files(folder), before, "{args:?} leaves files");
    assert_eq!(contents(&before), bytes, "{args:?} changes files");
}

fn all_outputs() -> [&'static str; 8] {
    ["--output", "out.mid", "--npz", "out.npz", "--png", "out.png", "--json", "out.json"]
}

#[test]
fn writes_what_is_asked_for_and_nothing_else() {
    let folder = scratch();
    let output = generate(folder.path(), &[]);
    succeeds(&output);
    assert_eq!(files(folder.path()), ["generated.mid"]);
    assert!(text(&output.stdout).contains("generated.mid"));
    succeeds(&generate(folder.path(), &all_outputs()));
    assert_eq!(files(folder.path()), ["generated.mid", "out.json", "out.mid", "out.npz", "out.png"]);
    let quiet = generate(folder.path(), &["--quiet"]);
    succeeds(&quiet);
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), (String::new(), String::new()));
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let (a, b) = (scratch(), scratch());
    let args =
        [&["--seed", "7", "--take", "3", "--bars", "12", "--swing", "0.4", "--humanize", "0.7"], &all_outputs()[..]].concat();
    succeeds(&generate(a.path(), &args));
    succeeds(&generate(b.path(), &args));
    for name in ["out.mid", "out.npz", "out.png", "out.json"] {
        assert_eq!(fs::read(a.path().join(name)).unwrap(), fs::read(b.path().join(name)).unwrap(), "{name}");
    }
    let other = [&args[..], &["--seed", "8", "--output", "other.mid"]].concat();
    // An argument cannot be given twice.
    assert_eq!(generate(a.path(), &other).status.code(), Some(USAGE));
    succeeds(&generate(a.path(), &["--seed", "8", "--bars", "12", "--output", "other.mid"]));
    assert_ne!(notes(&a.path().join("out.mid")), notes(&a.path().join("other.mid")));
}

fn song(path: &Path) -> Song {
    Song::from_bytes(&fs::read(path).expect("a file")).expect("a Standard MIDI File")
}

fn notes(path: &Path) -> Vec<(i64, i64, u8, u8)> {
    song(path).notes().iter().map(|n| (n.onset.0, n.duration.0, n.pitch.number(), n.velocity.number())).collect()
}

#[test]
fn a_longer_piece_begins_with_the_shorter_one() {
    let folder = scratch();
    // 5 and 32 bars are finite patterns, 140 an endless one, built in two parts.
    for bars in ["5", "32", "140"] {
        succeeds(&generate(folder.path(), &["--seed", "11", "--bars", bars, "--output", &format!("{bars}.mid")]));
    }
    let onsets = |bars: &str, limit: i64| -> Vec<(i64, u8)> {
        let all = notes(&folder.path().join(format!("{bars}.mid")));
        all.iter().filter(|n| n.0 < limit).map(|n| (n.0, n.2)).collect()
    };
    let bar = 1920;
    assert!(!onsets("5", 5 * bar).is_empty());
    assert_eq!(onsets("5", 5 * bar), onsets("32", 5 * bar));
    assert_eq!(onsets("32", 32 * bar), onsets("140", 32 * bar));
    assert!(onsets("140", i64::MAX).iter().any(|n| n.0 > 130 * bar), "the second part sounds");
}

#[test]
fn the_lead_in_moves_everything_and_changes_nothing() {
    let folder = scratch();
    succeeds(&generate(folder.path(), &["--seed", "3", "--meter", "3/4", "--output", "a.mid"]));
    succeeds(&generate(folder.path(), &["--seed", "3", "--meter", "3/4", "--lead-in-bars", "2", "--output", "b.mid"]));
    let moved: Vec<_> = notes(&folder.path().join("a.mid")).into_iter().map(|(at, d, p, v)| (at + 2 * 1440, d, p, v)).collect();
    assert_eq!(notes(&folder.path().join("b.mid")), moved);
    assert_eq!(song(&folder.path().join("b.mid")).length.0, 10 * 1440);
}

#[test]
fn a_primer_is_heard() {
    let folder = scratch();
    succeeds(&generate(folder.path(), &["--seed", "5", "--bars", "4", "--output", "primer.mid"]));
    succeeds(&generate(folder.path(), &["--seed", "6", "--output", "plain.mid"]));
    succeeds(&generate(folder.path(), &["--seed", "6", "--primer", "primer.mid", "--output", "primed.mid"]));
    assert_ne!(notes(&folder.path().join("plain.mid")), notes(&folder.path().join("primed.mid")));
}

#[test]
fn chords_are_played_on_their_channel() {
    let folder = scratch();
    succeeds(&generate(folder.path(), &["--chords", "Dm7 | G7", "--bars", "2", "--channel", "3", "--chords-channel", "5"]));
    let song = song(&folder.path().join("generated.mid"));
    let channels: Vec<u8> = song.tracks.iter().map(|t| t.channel.index()).collect();
    assert_eq!(channels, [2, 4]);
    let chord: Vec<u8> = song.tracks[1].notes.iter().filter(|n| n.onset.0 < 960).map(|n| n.pitch.number() % 12).collect();
    assert!([2, 5, 9, 0].iter().all(|class| chord.contains(class)), "Dm7 is not {chord:?}");
    let markers: Vec<&str> = song.markers.iter().map(|m| m.1.as_str()).collect();
    assert_eq!(markers, ["Dm7", "G7"]);
}

#[test]
fn a_midi_file_is_measured_track_by_track() {
    let folder = scratch();
    succeeds(&generate(folder.path(), &["--bars", "6", "--meter", "7/8", "--chords-channel", "5"]));
    let output = barline(folder.path(), &["analyze", "generated.mid", "--json", "figures.json"]);
    succeeds(&output);
    let said = text(&output.stdout);
    assert!(said.contains("it is in 7/8; bars are taken as 4/4"), "{said}");
    assert!(said.contains("tonal distance") && !said.contains("legacy"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("figures.json")).unwrap()).unwrap();
    let n_notes: u64 = report["tracks"].as_array().unwrap().iter().map(|t| t["n_notes"].as_u64().unwrap()).sum();
    assert_eq!(usize::try_from(n_notes).unwrap(), notes(&folder.path().join("generated.mid")).len());
    assert_eq!((&report["bars"], &report["mean_off_grid_steps"]), (&6.into(), &0.0.into()), "42 eighths are 5.25 bars of 4/4");
    let written = fs::read(folder.path().join("generated.mid")).unwrap();
    for (args, words) in [
        (["analyze", "generated.mid", "--json", "./generated.mid"], "is what is read"),
        (["analyze", "generated.mid", "--html", "generated.mid"], "is what is read"),
        (["render", "generated.mid", "generated.mid", "--quiet"], "is what is read"),
        (["generate", "--primer", "generated.mid", "--output=generated.mid"], "is what is read"),
    ] {
        let output = barline(folder.path(), &args);
        assert!(text(&output.stderr).contains(words) && output.status.code() == Some(5), "{}", text(&output.stderr));
        assert_eq!(fs::read(folder.path().join("generated.mid")).unwrap(), written);
    }

    fs::write(folder.path().join("text.mid"), "MThd is how they begin").unwrap();
    let silent = b"MThd\0\0\0\x06\0\0\0\x01\x01\xE0MTrk\0\0\0\x04\0\xFF\x2F\0";
    fs::write(folder.path().join("silent.mid"), silent).unwrap();
    let before = files(folder.path());
    for (name, words) in [
        ("text.mid", "cannot read the song text.mid"),
        ("silent.mid", "the song silent.mid cannot be used: it holds no notes"),
        ("nowhere.mid", "cannot read the song nowhere.mid"),
        (".", "no regular file"),
    ] {
        let output = barline(folder.path(), &["analyze", name, "--json", "other.json"]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(PRIMER), "{message}");
        assert!(message.starts_with("error: ") && message.contains(words), "{message}");
        assert_eq!(files(folder.path()), before);
    }
}

#[test]
fn a_page_explains_a_song_and_names_in_it_are_text() {
    let folder = scratch();
    succeeds(&generate(folder.path(), &["--bars", "4", "--chords", "C | Am | F G | C", "--chords-channel", "5"]));
    let mut song = song(&folder.path().join("generated.mid"));
    song.tracks[0].name = "<img src=x onerror=alert(1)>\"'&".into();
    fs::write(folder.path().join("a&lt;b.mid"), song.to_bytes().unwrap()).unwrap();
    succeeds(&barline(folder.path(), &["analyze", "a&lt;b.mid", "--html", "page.html"]));
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("<title>a&amp;lt;b</title>") && !page.contains("<img src=x") && !page.contains("<script"));
    assert!(page.matches("&lt;img src=x onerror").count() >= 4, "in the plots, the tracks, the figures and the bars");
    assert_eq!(page.matches("<details").count(), 4);
    for words in
        ["Am is A C E, degree vi of C major.", "notes a bar: ", "data:image/png;base64,", "<b>F G</b>", "default-src 'none'"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(
        !page.contains("http")
            || page.matches("http").count()
                == page.matches("http-equiv").count() + page.matches("http://www.w3.org/2000/svg").count(),
        "it needs nothing else"
    );

    succeeds(&generate(folder.path(), &["--bars", "3", "--meter", "7/8", "--output", "seven.mid"]));
    succeeds(&barline(folder.path(), &["analyze", "seven.mid", "--html", "seven.html"]));
    let page = fs::read_to_string(folder.path().join("seven.html")).unwrap();
    assert!(page.contains("taken as 4/4") && page.contains("All figures") && !page.contains("<details"));
}

/// The loudest sample of each tenth of a second, of 1.
fn loudness(path: &Path) -> Vec<f32> {
    let mut wav = hound::WavReader::open(path).expect("a sound file");
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.bits_per_sample), (2, 16));
    let samples: Vec<f32> = wav.samples::<i16>().map(|s| f32::from(s.expect("a sample")).abs() / 32_768.0).collect();
    let tenth = usize::try_from(spec.sample_rate).unwrap() / 10 * 2;
    samples.chunks(tenth).map(|part| part.iter().fold(0.0, |most, s| s.max(most))).collect()
}

#[test]
fn a_midi_file_is_heard_where_its_notes_are() {
    let folder = scratch();
    let dir = folder.path();
    let bass: &[(i64, i64, i32)] = &[(1920, 480, 40)];
    let drums: &[(i64, i64, i32)] = &[(3840, 60, 38)];
    write_song(&dir.join("song.mid"), "4/4", &[("Bass", 2, Some(33), bass), ("Drums", 10, None, drums)]);
    let before = files(dir);
    let output = barline(dir, &["render", "song.mid", "song.wav", "--sample-rate", "22050"]);
    succeeds(&output);
    assert!(text(&output.stdout).contains("22050 Hz"), "{}", text(&output.stdout));
    // At 93 bpm the bars begin at 2.58 and 5.16 s; the bass ends at 3.23 s.
    let loud = loudness(&dir.join("song.wav"));
    assert!(loud[..25].iter().all(|peak| *peak == 0.0), "{loud:?}");
    assert!(loud[25] > 0.05 && loud[31] > 0.02 && loud[51] > 0.05, "{loud:?}");
    assert!(loud[40] < 0.1 * loud[26] && loud[41..51].iter().all(|peak| *peak < 0.01), "{loud:?}");
    assert!(loud.len() < 5 * 10 + 70 && loud[loud.len() - 1] < 0.001, "it ends when it has faded");
    // The same arguments give the same bytes, and another font is really played.
    let bytes = fs::read(dir.join("song.wav")).unwrap();
    succeeds(&barline(dir, &["render", "song.mid", "again.wav", "--sample-rate", "22050", "--quiet"]));
    assert_eq!(bytes, fs::read(dir.join("again.wav")).unwrap());
    let own = workspace().join("plugin/assets/barline.sf2");
    let own = own.to_str().unwrap();
    succeeds(&barline(dir, &["render", "song.mid", "again.wav", "--sample-rate", "22050", "--soundfont", own]));
    assert_eq!(bytes, fs::read(dir.join("again.wav")).unwrap());
    assert_eq!(files(dir).len(), before.len() + 2);

    fs::write(dir.join("silent.mid"), b"MThd\0\0\0\x06\0\0\0\x01\x01\xE0MTrk\0\0\0\x04\0\xFF\x2F\0").unwrap();
    let before = files(dir);
    for (args, code, words) in [
        (["nowhere.mid", "x.wav", "--sample-rate", "48000"], PRIMER, "cannot read the song nowhere.mid"),
        (["silent.mid", "x.wav", "--sample-rate", "48000"], PRIMER, "it holds no notes"),
        (["song.mid", "x.wav", "--soundfont", "song.mid"], PRIMER, "cannot read the soundfont song.mid: it is no SoundFont 2"),
        (["song.mid", "x.wav", "--soundfont", "nowhere.sf2"], PRIMER, "cannot read the soundfont nowhere.sf2"),
        (["song.mid", "nowhere/x.wav", "--sample-rate", "48000"], OUTPUT, "cannot write nowhere/x.wav"),
        (["song.mid", "x.wav", "--sample-rate", "8000"], USAGE, "--sample-rate"),
    ] {
        let output = barline(dir, &[&["render"], &args[..]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.starts_with("error: ") && message.contains(words), "{message}");
        assert_eq!(files(dir), before);
    }
}

#[test]
fn any_sharding_gives_the_same_files() {
    let whole = scratch();
    let args = ["--seed", "40", "--count", "7", "--bars", "2", "--output", "out.mid", "--json", "j.json"];
    succeeds(&generate(whole.path(), &args));
    let names = files(whole.path());
    assert_eq!(names.len(), 14);
    assert!(names.contains(&"out-0000000046.mid".to_owned()));
    for n in [2, 3, 9] {
        let parts = scratch();
        let mut n_before = 0;
        for part in 1..=n {
            succeeds(&generate(parts.path(), &[&args[..], &["--shard", &format!("{part}/{n}")]].concat()));
            let n_now = files(parts.path()).len();
            assert_eq!(n_now - n_before, 2 * ((7 + n - part) / n), "part {part} of {n}");
            n_before = n_now;
        }
        assert_eq!(files(parts.path()), names, "{n} parts");
        for name in &names {
            assert_eq!(fs::read(parts.path().join(name)).unwrap(), fs::read(whole.path().join(name)).unwrap(), "{name}");
        }
    }
    // One of many is the one alone.
    succeeds(&generate(whole.path(), &["--seed", "46", "--bars", "2", "--output", "alone.mid"]));
    assert_eq!(fs::read(whole.path().join("alone.mid")).unwrap(), fs::read(whole.path().join("out-0000000046.mid")).unwrap());
}

#[test]
fn nonsense_arguments_are_refused() {
    let folder = scratch();
    let dir = folder.path();
    refused(dir, &["--bars", "0"], USAGE, &["--bars", "0"]);
    refused(dir, &["--bars", "many"], USAGE, &["--bars"]);
    refused(dir, &["--chords", "C | lorem ipsum"], USAGE, &["bar 2", "lorem"]);
    refused(dir, &["--chords", "C | Xm7"], USAGE, &["bar 2", "Xm7", "note name"]);
    refused(dir, &["--chords", "C | Dfoo"], USAGE, &["bar 2", "foo"]);
    refused(dir, &["--chords", "C | | G"], USAGE, &["bar 2", "N.C."]);
    refused(dir, &["--chords", "C D E"], USAGE, &["bar 1", "3 chords"]);
    refused(dir, &["--key", "H minor"], USAGE, &["H minor", "A minor"]);
    refused(dir, &["--tempo", "0"], USAGE, &["--tempo"]);
    refused(dir, &["--meter", "4/5"], USAGE, &["--meter"]);
    refused(dir, &["--temperature", "nan"], USAGE, &["--temperature"]);
    refused(dir, &["--threshold", "1.5"], USAGE, &["--threshold"]);
    refused(dir, &["--count", "3", "--shard", "4/3"], USAGE, &["--shard"]);
    refused(dir, &["--shard", "1/3"], USAGE, &["--count"]);
    refused(dir, &["--seed", "4294967295", "--count", "2"], USAGE, &["seed"]);
    refused(dir, &["--nonsense"], USAGE, &["--nonsense"]);
    refused(dir, &["surplus"], USAGE, &["surplus"]);
}

#[test]
fn unwritable_outputs_are_refused_and_nothing_is_left() {
    let folder = scratch();
    let dir = folder.path();
    fs::write(dir.join("file"), "precious").unwrap();
    fs::create_dir(dir.join("folder")).unwrap();
    refused(dir, &["--output", "missing/out.mid"], OUTPUT, &["missing/out.mid"]);
    refused(dir, &["--output", "file/out.mid"], OUTPUT, &["file/out.mid"]);
    refused(dir, &["--output", "folder"], OUTPUT, &["folder"]);
    refused(dir, &["--output", ""], USAGE, &["--output"]);
    refused(dir, &["--output", ".."], OUTPUT, &[".."]);
    for option in ["--npz", "--png", "--json"] {
        // The .mid alone would be possible.
        refused(dir, &["--output", "out.mid", option, "missing/x"], OUTPUT, &["missing/x"]);
        refused(dir, &["--output", "out.mid", option, "out.mid"], OUTPUT, &["out.mid", "twice"]);
    }
    refused(dir, &["--count", "3", "--output", "missing/out.mid"], OUTPUT, &["missing"]);
    let mut protected = fs::metadata(dir.join("file")).unwrap().permissions();
    protected.set_readonly(true);
    fs::set_permissions(dir.join("file"), protected).unwrap();
    refused(dir, &["--output", "file"], OUTPUT, &["file", "write-protected"]);
    #[cfg(unix)]
    refused(dir, &["--output", "/dev/null"], OUTPUT, &["/dev/null", "no regular file"]);
}

#[test]
fn unreadable_primers_are_refused() {
    let folder = scratch();
    let dir = folder.path();
    succeeds(&generate(dir, &["--output", "good.mid"]));
    let good = fs::read(dir.join("good.mid")).unwrap();
    fs::write(dir.join("cut.mid"), &good[..good.len() - 9]).unwrap();
    fs::write(dir.join("text.mid"), "not a midi file").unwrap();
    fs::write(dir.join("empty.mid"), "").unwrap();
    fs::write(dir.join("silent.mid"), Song::default().to_bytes().unwrap()).unwrap();
    fs::File::create(dir.join("huge.mid")).unwrap().set_len(1 << 30).unwrap();
    fs::create_dir(dir.join("folder.mid")).unwrap();
    // The huge file is sparse, but reading it back to compare it is not.
    let compare = scratch();
    let primer = |name: &str| dir.join(name).to_str().expect("a path in UTF-8").to_owned();
    for (name, words) in [
        ("missing.mid", "missing.mid"),
        ("cut.mid", "cut short"),
        ("text.mid", "not a Standard MIDI File"),
        ("empty.mid", "not a Standard MIDI File"),
        ("silent.mid", "no notes"),
        ("huge.mid", "bytes"),
        ("folder.mid", "no regular file"),
    ] {
        refused(compare.path(), &["--primer", &primer(name)], PRIMER, &[name, words]);
    }
}

#[test]
fn wrong_models_are_refused() {
    let folder = scratch();
    let dir = folder.path();
    let model = fs::read(workspace().join("models/released/melody.onnx")).expect("the released model");
    let half = model.len() / 2;
    fs::write(dir.join("cut.onnx"), &model[..half]).unwrap();
    fs::write(dir.join("text.onnx"), "not a model").unwrap();
    fs::write(dir.join("empty.onnx"), "").unwrap();
    let mut damaged = model.clone();
    for byte in damaged.iter_mut().skip(200).take(4000) {
        *byte ^= 0x5A;
    }
    fs::write(dir.join("damaged.onnx"), damaged).unwrap();
    for file in ["cut.onnx", "text.onnx", "empty.onnx", "damaged.onnx", "missing.onnx"] {
        refused(dir, &["--model", file], MODEL, &[file]);
        for action in ["verify", "inspect"] {
            let output = barline(dir, &["models", action, file]);
            assert_eq!(output.status.code(), Some(MODEL), "{action} {file}: {}", text(&output.stderr));
            assert!(text(&output.stderr).starts_with("error: "), "{action} {file}");
        }
    }
    refused(dir, &["--model", "nonesuch"], MODEL, &["nonesuch", "melody"]);
    let huge = scratch();
    fs::File::create(huge.path().join("huge.onnx")).unwrap().set_len(1 << 30).unwrap();
    let path = huge.path().join("huge.onnx");
    refused(dir, &["--model", path.to_str().expect("a path in UTF-8")], MODEL, &["bytes"]);
}

#[test]
fn models_are_listed_inspected_and_verified() {
    let folder = scratch();
    let dir = folder.path();
    let shown = |args: &[&str]| {
        let output = barline(dir, args);
        succeeds(&output);
        text(&output.stdout)
    };
    for id in ["melody", "midinet"] {
        assert!(shown(&["models"]).contains(id));
        assert!(shown(&["models", "list"]).contains(id));
        assert!(shown(&["models", "inspect", id]).contains(&format!("\"id\": \"{id}\"")));
        assert!(shown(&["models", "verify", id]).starts_with(&format!("ok: {id}")));
        succeeds(&generate(dir, &["--model", id, "--output", &format!("{id}.mid")]));
        assert!(!notes(&dir.join(format!("{id}.mid"))).is_empty(), "{id} plays");
    }
    let file = workspace().join("models/released/midinet.onnx");
    assert!(shown(&["models", "verify", file.to_str().expect("a path in UTF-8")]).starts_with("ok: midinet"));
}

/// A model of five tracks, for tests: `fixtures/make_tiny.py` makes it.
fn tiny_band() -> String {
    workspace().join("tests/fixtures/tiny-band.onnx").to_str().expect("a path in UTF-8").to_owned()
}

/// Onset, duration, pitch of each track.
fn tracks(path: &Path) -> Vec<Vec<(i64, i64, u8)>> {
    let of_track = |t: &SongTrack| t.notes.iter().map(|n| (n.onset.0, n.duration.0, n.pitch.number())).collect();
    song(path).tracks.iter().map(of_track).collect()
}

#[test]
fn candidates_are_counted_and_the_first_of_them_is_the_piece_without() {
    let folder = scratch();
    let dir = folder.path();
    let band = tiny_band();
    let piece = |name: &str, candidates: &str| {
        let output = generate(dir, &["--model", &band, "--bars", "8", "--candidates", candidates, "--output", name]);
        succeeds(&output);
        (tracks(&dir.join(name)), text(&output.stdout))
    };
    let (plain, said) = piece("one.mid", "1");
    assert!(!said.contains("rejected"), "{said}");
    let (_, said) = piece("six.mid", "6");
    // Four phrases of two bars.
    assert!(said.contains("20 candidates rejected"), "{said}");
    succeeds(&generate(dir, &["--model", &band, "--bars", "8", "--output", "default.mid"]));
    assert_eq!(tracks(&dir.join("default.mid")), plain);
    for wrong in ["0", "17", "many"] {
        refused(dir, &["--candidates", wrong], USAGE, &["--candidates"]);
    }
}

/// A track to write: name, channel from 1, program, and onset, duration, pitch of its notes.
type Written<'a> = (&'a str, u8, Option<u8>, &'a [(i64, i64, i32)]);

fn write_song(path: &Path, meter: &str, tracks: &[Written<'_>]) {
    let tracks = tracks.iter().map(|(name, channel, program, notes)| {
        let channel = Channel::new(channel - 1).expect("a channel");
        let note = |(onset, duration, pitch): &(i64, i64, i32)| Note {
            onset: Ticks(*onset),
            duration: Ticks(*duration),
            channel,
            pitch: Pitch::new(*pitch).expect("a pitch"),
            velocity: Velocity::clamped(77),
        };
        SongTrack { name: (*name).into(), channel, program: *program, notes: notes.iter().map(note).collect() }
    });
    let tempo = Tempo::new(93.0).expect("a tempo");
    let meters = vec![(Ticks(0), meter.parse().expect("a meter"))];
    let song = Song { tempos: vec![(Ticks(0), tempo)], meters, tracks: tracks.collect(), ..Song::default() };
    fs::write(path, song.to_bytes().expect("a song")).expect("a file");
}

#[test]
fn a_band_is_written_with_every_track() {
    let folder = scratch();
    let dir = folder.path();
    succeeds(&generate(dir, &[&["--model", &tiny_band(), "--bars", "5"], &all_outputs()[..]].concat()));
    let song = song(&dir.join("out.mid"));
    let heads: Vec<(&str, u8, Option<u8>)> =
        song.tracks.iter().map(|t| (t.name.as_str(), t.channel.index() + 1, t.program)).collect();
    let want = [("Drums", 10, 0), ("Bass", 2, 33), ("Piano", 3, 0), ("Guitar", 4, 25), ("Strings", 5, 48)];
    assert_eq!(heads, want.map(|(name, channel, program)| (name, channel, Some(program))));
    assert!(song.tracks.iter().all(|t| !t.notes.is_empty()));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("out.json")).unwrap()).unwrap();
    assert_eq!(report["tracks"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["tracks"][0]["is_drum"], true);
}

#[test]
fn a_reroll_changes_its_part_and_nothing_else() {
    let folder = scratch();
    let dir = folder.path();
    let band = tiny_band();
    let piece = |name: &str, more: &[&str]| {
        succeeds(&generate(dir, &[&["--model", &band, "--bars", "9", "--output", name][..], more].concat()));
        tracks(&dir.join(name))
    };
    let plain = piece("plain.mid", &[]);
    let differ = |other: &[Vec<(i64, i64, u8)>]| -> Vec<usize> { (0..5).filter(|i| other[*i] != plain[*i]).collect() };
    let bass = piece("bass.mid", &["--reroll", "Bass"]);
    assert_eq!(differ(&bass), [1]);
    assert_eq!(piece("again.mid", &["--reroll", "bass=1"]), bass, "the next take is the default");
    assert_ne!(piece("other.mid", &["--reroll", "bass=2"]), bass);
    let twice = piece("twice.mid", &["--reroll", "bass", "--reroll", "strings:2-3"]);
    assert_eq!((twice[..4] == bass[..4], differ(&twice)), (true, vec![1, 4]));
    // Bars 2 and 3 only, but for a note that was held into the fourth.
    let outside = |notes: &[(i64, i64, u8)]| -> Vec<(i64, u8)> {
        notes.iter().filter(|n| !(1920..3 * 1920).contains(&n.0)).map(|n| (n.0, n.2)).collect()
    };
    assert_eq!(outside(&twice[4]), outside(&plain[4]));
    assert_eq!(differ(&piece("all.mid", &["--reroll", "all:9=5"])), [0, 1, 2, 3, 4]);
    // A melody can be written anew as a whole.
    succeeds(&generate(dir, &["--model", "melody", "--reroll", "all=4", "--temperature", "0", "--output", "m.mid"]));
    succeeds(&generate(dir, &["--model", "melody", "--take", "4", "--temperature", "0", "--output", "n.mid"]));
    assert_eq!(tracks(&dir.join("m.mid")), tracks(&dir.join("n.mid")));
}

#[test]
fn a_morph_goes_from_seed_to_seed() {
    let folder = scratch();
    let piece = |name: &str, more: &[&str]| {
        let args = [&["--model", "melody", "--temperature", "0", "--output", name], more].concat();
        succeeds(&generate(folder.path(), &args));
        tracks(&folder.path().join(name))
    };
    let (a, b) = (piece("a.mid", &["--seed", "3"]), piece("b.mid", &["--seed", "8"]));
    assert_eq!(piece("0.mid", &["--seed", "3", "--morph", "8:0"]), a);
    assert_eq!(piece("1.mid", &["--seed", "3", "--morph", "8:1"]), b);
    let half = piece("half.mid", &["--seed", "3", "--morph", "8:0.5"]);
    assert!(half != a && half != b);
}

const BASS_LINE: &[(i64, i64, i32)] = &[(3, 470, 40), (480, 230, 43), (953, 490, 45), (1920, 1440, 38), (4 * 1920, 100, 47)];

#[test]
fn a_track_is_accompanied_and_stays_as_it_is() {
    let folder = scratch();
    let dir = folder.path();
    let band = tiny_band();
    let silent: &[(i64, i64, i32)] = &[];
    let drums: &[(i64, i64, i32)] = &[(0, 60, 36), (960, 60, 40), (1200, 60, 81)];
    let song_tracks = [("Nothing", 1, Some(0), silent), ("Low", 3, Some(35), BASS_LINE), ("Kit", 10, None, drums)];
    write_song(&dir.join("song.mid"), "4/4", &song_tracks);
    let piece = |name: &str, more: &[&str]| {
        let args = [&["--model", &band, "--accompany", "song.mid", "--output", name, "--temperature", "1.5"], more].concat();
        let output = generate(dir, &args);
        succeeds(&output);
        (tracks(&dir.join(name)), text(&output.stderr))
    };
    let (around, notes) = piece("a.mid", &["--track", "1"]);
    // The bass has the range from 36; what is too long or short goes to the grid, and the fifth bar fills up the phrase of two.
    assert_eq!(around[1], [(0, 480, 40), (480, 240, 43), (960, 480, 45), (1920, 1440, 38), (7680, 120, 47)]);
    assert_eq!((song(&dir.join("a.mid")).length.0, notes.as_str()), (6 * 1920, ""));
    assert_eq!(song(&dir.join("a.mid")).tempo().bpm().round(), 93.0);
    assert!([0, 2, 3, 4].iter().all(|i| !around[*i].is_empty()));
    // Others play otherwise around something else.
    let moved: Vec<(i64, i64, i32)> = BASS_LINE.iter().map(|(at, length, pitch)| (*at, *length, pitch - 1)).collect();
    write_song(&dir.join("song.mid"), "4/4", &[("Low", 3, Some(35), &moved)]);
    let (other, _) = piece("b.mid", &["--chords", "N.C."]);
    assert_ne!(other[2], around[2]);
    // Anything can be given to any lane, and re-rolled around.
    write_song(&dir.join("song.mid"), "4/4", &song_tracks);
    let (kit, notes) = piece("c.mid", &["--track", "2", "--bars", "4"]);
    assert_eq!(kit[0][..2], [(0, 120, 36), (960, 120, 38)]);
    // Two bars of drums, repeated.
    assert_eq!(kit[0].len(), 4);
    assert!(notes.contains("1 of 3 notes were moved") && notes.contains("1 of 3 notes have no place"), "{notes}");
    let (as_piano, notes) = piece("d.mid", &["--track", "1", "--as", "piano", "--reroll", "drums"]);
    assert_eq!(as_piano[2].iter().map(|n| n.2).collect::<Vec<_>>(), [64, 55, 57, 62, 59]);
    assert!(notes.contains("5 of 5 notes were moved by octaves"), "{notes}");
    let (same, _) = piece("e.mid", &["--track", "1", "--as", "piano"]);
    assert_eq!((same[0] != as_piano[0], same[1..] == as_piano[1..]), (true, true));
}

#[test]
fn what_cannot_be_accompanied_is_refused_with_the_reason() {
    let folder = scratch();
    let dir = folder.path();
    let band = tiny_band();
    let silent: &[(i64, i64, i32)] = &[];
    write_song(&dir.join("two.mid"), "4/4", &[("Low", 3, Some(35), BASS_LINE), ("High", 4, None, BASS_LINE)]);
    write_song(&dir.join("silent.mid"), "4/4", &[("Low", 3, Some(35), silent)]);
    write_song(&dir.join("late.mid"), "4/4", &[("Low", 3, Some(35), &[(40 * 1920, 100, 40)])]);
    write_song(&dir.join("whistle.mid"), "4/4", &[("Kit", 10, None, &[(0, 100, 71)])]);
    write_song(&dir.join("seven.mid"), "7/8", &[("Low", 3, Some(35), BASS_LINE)]);
    fs::write(dir.join("text.mid"), "not a song").unwrap();
    fs::write(dir.join("empty.mid"), "").unwrap();
    let no = |file: &str, more: &[&str], code: i32, words: &[&str]| {
        refused(dir, &[&["--model", &band, "--accompany", file], more].concat(), code, words);
    };
    no("two.mid", &[], USAGE, &["--track N", "1: Low (program 35, channel 3, 5 notes)", "2: High"]);
    no("two.mid", &["--track", "3"], USAGE, &["no track 3", "1: Low", "2: High"]);
    no("two.mid", &["--track", "1", "--as", "flute"], USAGE, &["flute", "Drums, Bass, Piano, Guitar, Strings"]);
    no("silent.mid", &[], PRIMER, &["silent.mid", "no notes"]);
    no("late.mid", &[], PRIMER, &["bars 1 to 32"]);
    no("whistle.mid", &[], PRIMER, &["none of the 1 notes", "Drums"]);
    no("text.mid", &[], PRIMER, &["text.mid", "not a Standard MIDI File"]);
    no("empty.mid", &[], PRIMER, &["empty.mid"]);
    no("missing.mid", &[], PRIMER, &["missing.mid"]);
    refused(dir, &["--model", "melody", "--accompany", "two.mid", "--track", "1"], MODEL, &["melody", "no given track"]);
    refused(dir, &["--model", "midinet", "--reroll", "all:2"], MODEL, &["midinet", "all tracks and bars at once"]);
    refused(dir, &["--model", &band, "--reroll", "kazoo"], USAGE, &["kazoo", "Strings"]);
    refused(dir, &["--model", &band, "--reroll", "bass:8-9"], USAGE, &["bars 8 to 9", "bars 1 to 8"]);
    // What can be used is used.
    let output = generate(dir, &["--model", &band, "--accompany", "seven.mid"]);
    succeeds(&output);
    assert!(text(&output.stderr).contains("7/8"), "{}", text(&output.stderr));
    let output = generate(dir, &["--model", &band, "--accompany", "late.mid", "--bars", "42"]);
    succeeds(&output);
    assert_eq!(tracks(&dir.join("generated.mid"))[1], [(40 * 1920, 120, 40)]);
}

/// A Python with the packages that the checks need; says SKIPPED and why where there is none.
fn outside(args: &[&OsStr]) -> Option<String> {
    let script = workspace().join("tests/check_midi.py");
    let mut reason = String::new();
    let candidates = env::var_os("BARLINE_PYTHON").map_or_else(|| vec!["python3".into(), "python".into()], |p| vec![p]);
    for python in candidates {
        match Command::new(&python).arg(&script).args(args).output() {
            Err(e) => reason = format!("{}: {e}", Path::new(&python).display()),
            Ok(output) if output.status.code() == Some(77) => reason = text(&output.stdout).trim().to_owned(),
            Ok(output) => {
                assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
                return Some(text(&output.stdout));
            }
        }
    }
    // Not by eprintln, which the test harness keeps to itself.
    let line = format!("SKIPPED: pretty_midi and pypianoroll: {reason} (BARLINE_PYTHON may name a Python that has them)\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr");
    None
}

#[test]
fn a_report_has_what_was_measured_and_why_the_rest_was_not() {
    let folder = scratch();
    let dir = folder.path();
    fs::write(dir.join("hosted.txt"), "idle <1 %\n").unwrap();
    let words =
        ["bench", "--runs", "2", "--blocks", "50", "--model", "midinet", "--hosted", "hosted.txt", "--python", "no-python"];
    for (page, heading, hosted) in [("page.md", "## Inference", "idle <1 %"), ("page.html", "<h2>Inference</h2>", "idle &lt;1 %")]
    {
        let output = barline(dir, &[&words[..], &["--report", page]].concat());
        succeeds(&output);
        let page = fs::read_to_string(dir.join(page)).unwrap();
        for part in
            [heading, hosted, "tract 0.23, CPU, one bar", "playing, 512 samples", "p99.9", "Skipped: no-python:", " cores, "]
        {
            assert!(page.contains(part), "`{part}` is missing:\n{page}");
        }
        // What is asked for and not there is told, and never another's figures under its name.
        let n_cuda = page.lines().filter(|line| line.contains("CUDA")).count();
        assert!(n_cuda > 0 || cfg!(target_os = "macos"), "{page}");
    }
    assert_eq!(barline(dir, &["bench", "--hosted", "hosted.txt"]).status.code(), Some(USAGE));
}

#[test]
fn others_read_what_is_written_note_for_note() {
    let band = tiny_band();
    let pieces: [&[&str]; 7] = [
        &["--seed", "7", "--bars", "32", "--chords", "Dm7 | G7 | C | A7", "--key", "A minor"],
        &["--seed", "1", "--tempo", "97.3", "--chords-channel", "2", "--chords", "C Am | F G"],
        &["--seed", "2", "--meter", "3/4", "--swing", "1", "--lead-in-bars", "1", "--note-length", "0.05"],
        &["--seed", "3", "--meter", "7/8", "--humanize", "1", "--humanize-velocity", "1", "--key", "Eb dorian"],
        &["--seed", "4", "--model", "midinet", "--temperature", "2", "--threshold", "0.1", "--chords-channel", "1"],
        &["--seed", "5", "--channel", "10", "--velocity", "127", "--octave", "-2"],
        &["--seed", "6", "--model", &band, "--bars", "7", "--swing", "0.5", "--reroll", "piano:2", "--chords-channel", "7"],
    ];
    for args in pieces {
        let folder = scratch();
        succeeds(&generate(folder.path(), &[args, &all_outputs()].concat()));
        let path = |name: &str| folder.path().join(name).into_os_string();
        let (mid, npz, json) = (path("out.mid"), path("out.npz"), path("out.json"));
        let Some(said) = outside(&["read".as_ref(), &mid, &npz, &json]) else { return };
        assert!(said.contains("agree"), "{said}");
    }
}

/// At four cells per beat, as in MuseGAN's script.
#[test]
fn pypianoroll_writes_the_same_notes_from_the_piano_rolls() {
    let classic = ["--temperature", "0", "--tempo", "95", "--beat-resolution", "4", "--lead-in-bars", "2"];
    let pieces: [&[&str]; 2] =
        [&["--seed", "5", "--threshold", "0.4", "--chords-channel", "3"], &["--seed", "6", "--model", "band", "--bars", "12"]];
    for args in pieces {
        let folder = scratch();
        succeeds(&generate(folder.path(), &[args, &classic, &all_outputs()].concat()));
        let path = |name: &str| folder.path().join(name).into_os_string();
        let (mid, npz) = (path("out.mid"), path("out.npz"));
        let Some(said) = outside(&["rewrite".as_ref(), &mid, &npz]) else { return };
        assert!(said.contains("agree"), "{said}");
        assert!(notes(&folder.path().join("out.mid")).iter().all(|n| n.0 >= 2 * 1920), "two bars of nothing first");
    }
}

#[test]
fn what_others_write_is_read_note_for_note() {
    let folder = scratch();
    if outside(&["write".as_ref(), folder.path().as_os_str()]).is_none() {
        return;
    }
    for name in ["pretty-220", "pretty-960", "mido-0"] {
        let wanted: Vec<(i64, i64, u8, u8)> =
            serde_json::from_slice(&fs::read(folder.path().join(format!("{name}.json"))).unwrap()).unwrap();
        let mut got = notes(&folder.path().join(format!("{name}.mid")));
        got.sort_unstable();
        assert!(wanted.len() >= 200 && got == wanted, "{name}: {} notes of {}", got.len(), wanted.len());
    }
}
