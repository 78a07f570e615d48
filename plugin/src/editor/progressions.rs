//! Progressions to start from.

/// Names and progressions, in C major or A minor.
pub const PRESETS: [(&str, &str); 12] = [
    ("Fifties", "C | Am | F | G"),
    ("Four chords", "C | G | Am | F"),
    ("Four chords, from the minor", "Am | F | C | G"),
    ("Two-five-one", "Dm7 | G7 | Cmaj7 | %"),
    ("Two-five-one in minor", "Bm7b5 | E7 | Am7 | %"),
    ("Circle of fifths", "Am7 Dm7 | G7 Cmaj7 | Fmaj7 Bm7b5 | E7 Am7"),
    ("Canon", "C G | Am Em | F C | F G"),
    ("Andalusian cadence", "Am | G | F | E"),
    ("Royal road", "Fmaj7 | G7 | Em7 | Am7"),
    ("Dorian vamp", "Am7 | D7"),
    ("Twelve-bar blues", "C7 | F7 | C7 | C7 | F7 | F7 | C7 | C7 | G7 | F7 | C7 | G7"),
    ("No chords", "N.C."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::chord::Progression;

    #[test]
    fn every_preset_can_be_read_and_is_another() {
        let read: Vec<Progression> = PRESETS.iter().map(|(_, text)| text.parse().unwrap()).collect();
        for (idx, progression) in read.iter().enumerate() {
            assert!(!read[..idx].contains(progression), "{}", PRESETS[idx].0);
        }
        assert_eq!(read[10].bars().len(), 12);
    }
}
