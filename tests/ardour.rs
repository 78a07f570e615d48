//! A real DAW: Ardour 7 (Debian's `ardour`), headless by its Lua interpreter, loads the VST3 bundle, plays it, records it, saves the
//! session, opens it again, jumps, loops, and exports. The notes are those of the command line each time. Skipped, and says why,
//! where Ardour or Xvfb is not installed.
//!
//! An instrument of the tests' own, written in Ardour's Lua (`needle.lua`), turns each note into one sample, so that an export, which is
//! of sound, shows every onset and pitch.
//!
//! Ardour runs in a home folder of its own: nothing of the user's is read or written.
#![cfg(unix)]

use barline_tests::{
    bundle::bundle,
    cli,
    notes::Note,
    onsets::{Onsets, SAMPLES_PER_BEAT, begins_with, song as onsets_of},
};
use midly::{MidiMessage, Smf, TrackEventKind};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const DATA: &str = "/usr/share/ardour7";
const LIBRARIES: &str = "/usr/lib/ardour7";
const RATE: f64 = 48_000.0;
/// None of them is the default: a session that opens without the plugin's state plays something else.
const SETTINGS: &str = "Seed=7,Pattern Length=2,Octave=1";
/// The same for the command line.
const ARGUMENTS: [&str; 8] = ["--seed", "7", "--bars", "4", "--octave", "1", "--tempo", "120"];
const PATTERN_BEATS: f64 = 16.0;
/// The transport rolls this long for the recording: four bars take 8 s.
const SECONDS: u64 = 9;
/// Where it jumps to, in beats: inside a note, which must not be taken up.
const JUMP_BEATS: f64 = 10.125;
/// The loop, in beats: neither end is a bar line, and a note lies on each.
const LOOP_BEATS: (f64, f64) = (9.5, 13.0);
/// A second in the units of Ardour's session files.
const SUPERCLOCK: f64 = 282_240_000.0;
/// Ardour gives positions in 1/1920 beat, 12.5 samples at this tempo.
const ROUNDED: f64 = SAMPLES_PER_BEAT / 1920.0 + 0.5;

/// Why it cannot run here.
fn missing() -> Option<String> {
    let scanner = Path::new(LIBRARIES).join("ardour-vst3-scanner");
    if !scanner.exists() {
        return Some(format!("{} is not there (on Debian 12: apt-get install ardour)", scanner.display()));
    }
    let programs = [("ardour7-lua", "ardour"), ("xvfb-run", "xvfb"), ("timeout", "coreutils"), ("nice", "coreutils")];
    programs
        .into_iter()
        .find(|(program, _)| Command::new("which").arg(program).output().map_or(true, |o| !o.status.success()))
        .map(|(program, package)| format!("{program} is not there (on Debian: apt-get install {package})"))
}

/// A command in Ardour's environment, killed after a minute and a half.
fn ardour(home: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("nice");
    command
        .args(["-n", "3", "timeout", "--kill-after", "5", "90"])
        .args(program)
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env("ARDOUR_DATA_PATH", DATA)
        .env("ARDOUR_CONFIG_PATH", "/etc/ardour7")
        .env("ARDOUR_DLL_PATH", LIBRARIES);
    command
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a phase of `session.lua`; what it printed, or what went wrong.
fn phase(home: &Path, session: &Path, name: &str) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ardour").join("session.lua");
    let output = ardour(home, &["xvfb-run", "-a", "stdbuf", "-oL", "ardour7-lua"])
        .arg(script)
        .env("BARLINE_PHASE", name)
        .env("BARLINE_SESSION", session)
        .env("BARLINE_PLUGIN", "Barline")
        .env("BARLINE_SETTINGS", SETTINGS)
        .env("BARLINE_SECONDS", SECONDS.to_string())
        .env("BARLINE_JUMP", (JUMP_BEATS * SAMPLES_PER_BEAT).to_string())
        .output()
        .map_err(|e| e.to_string())?;
    let text = said(&output);
    if text.lines().any(|line| line == "done") { Ok(text) } else { Err(format!("Ardour did not {name}: {text}")) }
}

/// What the needle heard in a part of a phase.
fn heard(text: &str, part: &str) -> Onsets {
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let numbers = words.filter_map(|words| match words.as_slice() {
        ["onset", of, at, pitch] if *of == part => Some((number(at), number(pitch))),
        _ => None,
    });
    numbers.map(|(at, pitch)| (at, pitch as u8)).collect()
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("a number: {text}"))
}

/// One retry: Ardour 7.3 itself deadlocked in some runs.
fn twice<T>(mut run: impl FnMut() -> Result<T, String>) -> T {
    let first = run();
    let second = first.or_else(|first| {
        println!("once more, after: {first}");
        run()
    });
    second.unwrap_or_else(|e| panic!("{e}"))
}

/// The notes of the take that lies in a session.
fn take(session: &Path) -> Onsets {
    // Ardour leaves empty files beside the take.
    let takes = files(&session.join("interchange"), "mid");
    takes.iter().map(|path| onsets(path)).max_by_key(Vec::len).unwrap_or_default()
}

/// Writes a loop range into a saved session: Ardour's Lua has no way to make one.
fn add_loop(session: &Path) {
    let path = session.join("barline.ardour");
    let text = fs::read_to_string(&path).expect("the session file");
    let [start, end] = [LOOP_BEATS.0, LOOP_BEATS.1].map(|beats| (beats * SAMPLES_PER_BEAT / RATE * SUPERCLOCK).round());
    let range = format!(
        r#"<Location id="999999" name="Loop" start="a{start}" end="a{end}" flags="IsAutoLoop" locked="0" timestamp="0" cue="0"/>"#
    );
    assert_eq!(text.matches("</Locations>").count(), 1, "one list of locations");
    fs::write(&path, text.replace("</Locations>", &format!("{range}</Locations>"))).expect("the session file is written");
}

/// Exports a session to a file of sound: the onsets are exact, from its first sample.
fn export(home: &Path, session: &Path) -> Result<Onsets, String> {
    let path = session.join("export.wav");
    let output = ardour(home, &["xvfb-run", "-a", "ardour7-export", "-b", "float", "-o"])
        .arg(&path)
        .arg(session)
        .arg("barline")
        .output()
        .map_err(|e| e.to_string())?;
    let mut file = hound::WavReader::open(&path).map_err(|e| format!("{e}: {}", said(&output)))?;
    assert_eq!((file.spec().channels, file.spec().sample_rate), (2, 48_000), "the export's format");
    let samples: Vec<f32> = file.samples().step_by(2).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    // The master bus takes 3 dB away from what is in the middle.
    let pitch = |height: f32| (height * 128.0 * std::f32::consts::SQRT_2).round() as u8;
    Ok(samples.iter().enumerate().filter(|(_, s)| **s != 0.0).map(|(at, s)| (at as f64, pitch(*s))).collect())
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path, extension)
            } else if path.extension().is_some_and(|e| e == extension) {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

fn onsets(path: &Path) -> Onsets {
    let bytes = fs::read(path).expect("a readable take");
    let smf = Smf::parse(&bytes).expect("a Standard MIDI File");
    let midly::Timing::Metrical(per_beat) = smf.header.timing else { panic!("the take counts in seconds") };
    let mut notes = Vec::new();
    for track in &smf.tracks {
        let mut at = 0_u32;
        for event in track {
            at += event.delta.as_int();
            if let TrackEventKind::Midi { message: MidiMessage::NoteOn { key, vel }, .. } = event.kind
                && vel.as_int() > 0
            {
                notes.push((f64::from(at) / f64::from(per_beat.as_int()) * SAMPLES_PER_BEAT, key.as_int()));
            }
        }
    }
    notes
}

/// The notes of the song from one beat to another, in samples from its beginning. Ardour's tempo is 120 bpm.
fn song(pattern: &[Note], from: f64, to: f64) -> Onsets {
    onsets_of(pattern, PATTERN_BEATS, from, to)
}

#[test]
fn ardour_plays_records_reopens_jumps_loops_and_exports_the_notes_of_the_command_line() {
    if let Some(why) = missing() {
        println!("SKIPPED ardour: {why}");
        return;
    }
    let pattern = cli::generate(&ARGUMENTS);
    let home = tempfile::tempdir().expect("a scratch folder");
    install(home.path());

    let mut n_tries = 0;
    let (session, text) = twice(|| {
        n_tries += 1;
        let session = home.path().join(format!("session{n_tries}"));
        phase(home.path(), &session, "record").map(|text| (session, text))
    });
    let file = song(&pattern, 0.0, PATTERN_BEATS);
    let played = heard(&text, "record");
    assert!(begins_with(&played, &file, ROUNDED), "Ardour plays\n{played:?}\nand the command line writes\n{file:?}");

    // Ardour aligns the capture by a constant offset, records at its own grain, and can miss what sounds on the very first beat.
    let recorded = take(&session);
    let n_missed = (0..=2)
        .find(|skip| begins_with(&recorded, &file[*skip..], 2.0 * ROUNDED))
        .unwrap_or_else(|| panic!("Ardour recorded\n{recorded:?}\nand the command line writes\n{file:?}"));
    println!("recorded: {} notes as in the file, {n_missed} missed at the start", file.len() - n_missed);

    add_loop(&session);
    let text = twice(|| phase(home.path(), &session, "reopen"));
    // It plays for three seconds each time, six beats; the machine may be late.
    let once = song(&pattern, LOOP_BEATS.0, LOOP_BEATS.1);
    let length = (LOOP_BEATS.1 - LOOP_BEATS.0) * SAMPLES_PER_BEAT;
    let looped: Onsets = (0..2).flat_map(|pass| once.iter().map(move |n| (n.0 + f64::from(pass) * length, n.1))).collect();
    let parts = [("start", song(&pattern, 0.0, 5.0)), ("jump", song(&pattern, JUMP_BEATS, JUMP_BEATS + 5.0)), ("loop", looped)];
    for (part, wanted) in parts {
        let played = heard(&text, part);
        assert!(begins_with(&played, &wanted, ROUNDED), "{part}: Ardour plays\n{played:?}\nand right is\n{wanted:?}");
        println!("{part}: {} notes as in the file", wanted.len());
    }
    let first_pass_ends = heard(&text, "loop")[once.len()].0 - heard(&text, "loop")[0].0;
    assert!((first_pass_ends - length).abs() <= 1.0, "the loop is {length} samples long and came back after {first_pass_ends}");

    let exported = twice(|| export(home.path(), &session));
    // All of it a constant offset early or late, by the rounding of the range's start; a first note that lies before it is lost.
    let offset_without = |n_lost: usize| exported.first().map_or(f64::NAN, |first| first.0 - file[n_lost].0);
    let n_lost = (0..=1).find(|n_lost| offset_without(*n_lost).abs() <= ROUNDED).unwrap_or(0);
    let offset = offset_without(n_lost);
    assert!(
        offset.abs() <= ROUNDED
            && begins_with(&exported, &file[n_lost..], 1.0)
            && file[..n_lost].iter().all(|(at, _)| at + offset < 0.0),
        "Ardour exports\n{exported:?}\nand the command line writes\n{file:?}"
    );
    println!("exported: {} notes as in the file, {offset} samples off, {n_lost} lost before the start", file.len() - n_lost);
}

/// Puts the bundle and the needle where Ardour looks for them, and has it scanned.
fn install(home: &Path) {
    let plugins = home.join(".vst3");
    let scripts = home.join(".config").join("ardour7").join("scripts");
    fs::create_dir(&plugins).expect("a folder for plugins");
    fs::create_dir_all(&scripts).expect("a folder for scripts");
    let needle = Path::new(env!("CARGO_MANIFEST_DIR")).join("ardour").join("needle.lua");
    fs::copy(needle, scripts.join("needle.lua")).expect("a copy of the needle");
    let installed = plugins.join("Barline.vst3");
    std::os::unix::fs::symlink(&bundle().vst3, &installed).expect("a link to the bundle");
    let scanner = Path::new(LIBRARIES).join("ardour-vst3-scanner");
    let scan = ardour(home, &[scanner.to_str().expect("UTF-8"), "-f"])
        .arg(&installed)
        .env("LD_LIBRARY_PATH", LIBRARIES)
        .output()
        .expect("the scanner runs");
    assert!(said(&scan).contains("Found Plugin: Barline"), "Ardour's scanner does not find the plugin: {}", said(&scan));
}
