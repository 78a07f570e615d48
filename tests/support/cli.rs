//! The command line, and the notes of the files it writes.

use crate::{
    bundle::{cargo, target_dir, workspace},
    notes::{Kind, Ledger, Note, NoteEvent},
};
use midly::{MetaMessage, MidiMessage, Smf, Timing, TrackEventKind};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Where the built command line is passed.
pub const CLI: &str = "BARLINE_CLI";

/// The command line's program, just built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = env::var_os(CLI) {
            return path.into();
        }
        cargo(&["build", "--package", "barline", "--bin", "barline"]);
        target_dir().join("debug").join(format!("barline{}", env::consts::EXE_SUFFIX))
    })
}

/// Runs it.
pub fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(workspace()).output().expect("the command line runs")
}

/// The notes that `barline generate` writes with these arguments, in ticks of 1/480 beat.
///
/// # Panics
/// It refuses.
pub fn generate(args: &[&str]) -> Vec<Note> {
    let dir = tempfile::tempdir().expect("a scratch folder");
    let path = dir.path().join("out.mid");
    let mut all = vec!["generate", "--output", path.to_str().expect("a path in UTF-8")];
    all.extend_from_slice(args);
    let output = run(&all);
    assert!(output.status.success(), "`barline {}`: {}", all.join(" "), String::from_utf8_lossy(&output.stderr));
    read_midi(&path)
}

/// The notes of a MIDI file of 480 ticks per beat, by onset.
///
/// # Panics
/// It cannot be read, or its notes do not balance.
pub fn read_midi(path: &Path) -> Vec<Note> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let smf = Smf::parse(&bytes).expect("a Standard MIDI File");
    assert_eq!(smf.header.timing, Timing::Metrical(480.into()), "480 ticks per beat");
    let mut notes = Vec::new();
    for track in &smf.tracks {
        let mut at = 0;
        let mut events = Vec::new();
        for event in track {
            at += u64::from(event.delta.as_int());
            let TrackEventKind::Midi { channel, message } = event.kind else {
                assert!(!matches!(event.kind, TrackEventKind::Meta(MetaMessage::Tempo(t)) if at > 0 && t != 0), "one tempo");
                continue;
            };
            let (pitch, kind) = match message {
                MidiMessage::NoteOn { key, vel } if vel.as_int() > 0 => (key, Kind::On(vel.as_int())),
                MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => (key, Kind::Off),
                _ => continue,
            };
            events.push(NoteEvent { at, channel: channel.as_int(), pitch: pitch.as_int(), kind });
        }
        let mut ledger = Ledger::default();
        ledger.enter(&events).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(ledger.n_sounding(), 0, "{}: notes without an end", path.display());
        notes.extend(ledger.notes);
    }
    notes.sort_unstable();
    notes
}
