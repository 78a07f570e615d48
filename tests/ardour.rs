//! A real DAW: Ardour 7 (Debian's `ardour`), headless by its Lua interpreter, loads the VST3 bundle and records what it plays.
//! The notes are those of the command line. Skipped, and says why, where Ardour or Xvfb is not installed.
//!
//! Ardour runs in a home folder of its own: nothing of the user's is read or written.

use barline_tests::{bundle::bundle, cli};
use midly::{MidiMessage, Smf, TrackEventKind};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const DATA: &str = "/usr/share/ardour7";
const LIBRARIES: &str = "/usr/lib/ardour7";
/// The transport rolls this long: eight bars at Ardour's 120 bpm take 16 s.
const SECONDS: u64 = 18;
/// Ardour gives positions in 1/1920 beat, 12.5 samples at this tempo, and records at that grain.
const TOLERANCE_BEATS: f64 = 2.0 / 1920.0;

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

/// A command in Ardour's environment, killed after a minute.
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

/// Records once; the notes as (onset in beats, pitch), or what went wrong.
fn record(home: &Path, session: &Path) -> Result<Vec<(f64, u8)>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ardour").join("record.lua");
    let output = ardour(home, &["xvfb-run", "-a", "stdbuf", "-oL", "ardour7-lua"])
        .arg(script)
        .env("BARLINE_SESSION", session)
        .env("BARLINE_PLUGIN", "Barline")
        .env("BARLINE_SECONDS", SECONDS.to_string())
        .output()
        .map_err(|e| e.to_string())?;
    let text = said(&output);
    if !text.contains("recorded") {
        return Err(format!("Ardour recorded nothing: {text}"));
    }
    // Ardour leaves empty files beside the take.
    let takes = files(&session.join("interchange"), "mid");
    let notes = takes.iter().map(|path| onsets(path)).max_by_key(Vec::len).unwrap_or_default();
    if notes.is_empty() { Err(format!("no notes in {takes:?}: {text}")) } else { Ok(notes) }
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

fn onsets(path: &Path) -> Vec<(f64, u8)> {
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
                notes.push((f64::from(at) / f64::from(per_beat.as_int()), key.as_int()));
            }
        }
    }
    notes
}

#[test]
fn ardour_records_the_notes_of_the_command_line() {
    if let Some(why) = missing() {
        println!("SKIPPED ardour_records_the_notes_of_the_command_line: {why}");
        return;
    }
    // The settings of a fresh instance; the pattern once more for what is recorded after its eight bars.
    let arguments = ["--seed", "0", "--bars", "8", "--tempo", "120", "--chords", "C | Am | F | G"];
    let file: Vec<(f64, u8)> = cli::generate(&arguments).iter().map(|n| (n.onset as f64 / 480.0, n.pitch)).collect();

    let home = tempfile::tempdir().expect("a scratch folder");
    let plugins = home.path().join(".vst3");
    fs::create_dir(&plugins).expect("a folder for plugins");
    let installed = plugins.join("Barline.vst3");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&bundle().vst3, &installed).expect("a link to the bundle");
    let scanner = Path::new(LIBRARIES).join("ardour-vst3-scanner");
    let scan = ardour(home.path(), &[scanner.to_str().expect("UTF-8"), "-f"])
        .arg(&installed)
        .env("LD_LIBRARY_PATH", LIBRARIES)
        .output()
        .expect("the scanner runs");
    assert!(said(&scan).contains("Found Plugin: Barline"), "Ardour's scanner does not find the plugin: {}", said(&scan));

    // One retry: Ardour 7.3 itself deadlocked in some runs while a session is made.
    let take = |idx: u32| record(home.path(), &home.path().join(format!("session{idx}")));
    let recorded = take(1).or_else(|first| {
        println!("once more, after: {first}");
        take(2)
    });
    let recorded = recorded.unwrap_or_else(|e| panic!("{e}"));

    // Ardour aligns the capture by a constant offset and can miss what sounds on the very first beat, so the comparison is of
    // pitches and the distances between onsets.
    let n_missed = (0..=2.min(file.len()))
        .find(|skip| recorded.first().map(|n| n.1) == file.get(*skip).map(|n| n.1) && matches(&recorded, &file[*skip..]))
        .unwrap_or_else(|| panic!("Ardour recorded\n{recorded:.3?}\nand the command line writes\n{file:.3?}"));
    println!(
        "Ardour recorded {} notes; {} of the file's {} are the same, {n_missed} missed at the start",
        recorded.len(),
        file.len() - n_missed,
        file.len()
    );
}

/// The recording begins with these notes, in pitch and distance.
fn matches(recorded: &[(f64, u8)], file: &[(f64, u8)]) -> bool {
    let (Some(first_recorded), Some(first)) = (recorded.first(), file.first()) else { return false };
    recorded.len() >= file.len()
        && recorded.iter().zip(file).all(|(got, wanted)| {
            got.1 == wanted.1 && ((got.0 - first_recorded.0) - (wanted.0 - first.0)).abs() <= TOLERANCE_BEATS
        })
}
