//! Chord text, as typed and as saved: what is read and written is read again as the same.
#![no_main]

use barline::music::chord::{Chord, Progression};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(chord) = text.parse::<Chord>() {
        assert_eq!(chord.to_string().parse(), Ok(chord));
        assert_eq!(Chord::from_code(chord.code()), Some(chord));
    }
    if let Ok(progression) = text.parse::<Progression>() {
        assert_eq!(progression.to_string().parse(), Ok(progression));
    }
});
