//! Standard MIDI Files: what is read can be written, and holds the same notes when it is read again.
#![no_main]

use barline::music::smf::Song;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(song) = Song::from_bytes(bytes) else { return };
    for note in song.notes() {
        assert!(note.duration.0 > 0 && note.onset.0 >= 0 && note.onset.0 + note.duration.0 <= song.length.0, "{note:?}");
    }
    // A file cannot hold every song: positions have 28 bits between events, tempos 24.
    if let Ok(written) = song.to_bytes() {
        assert_eq!(Song::from_bytes(&written).expect("it was written here").notes(), song.notes());
    }
});
