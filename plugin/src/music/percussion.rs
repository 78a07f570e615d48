//! Names of the drums. Pure; any thread.

use super::note::Pitch;

/// Pitch of the first name.
const LOWEST: u8 = 35;
const NAMES: [&str; 47] = [
    "acoustic bass drum",
    "bass drum",
    "side stick",
    "acoustic snare",
    "hand clap",
    "electric snare",
    "low floor tom",
    "closed hi-hat",
    "high floor tom",
    "pedal hi-hat",
    "low tom",
    "open hi-hat",
    "low-mid tom",
    "hi-mid tom",
    "crash cymbal 1",
    "high tom",
    "ride cymbal 1",
    "Chinese cymbal",
    "ride bell",
    "tambourine",
    "splash cymbal",
    "cowbell",
    "crash cymbal 2",
    "vibraslap",
    "ride cymbal 2",
    "hi bongo",
    "low bongo",
    "mute hi conga",
    "open hi conga",
    "low conga",
    "high timbale",
    "low timbale",
    "high agogo",
    "low agogo",
    "cabasa",
    "maracas",
    "short whistle",
    "long whistle",
    "short guiro",
    "long guiro",
    "claves",
    "hi wood block",
    "low wood block",
    "mute cuica",
    "open cuica",
    "mute triangle",
    "open triangle",
];

/// What a pitch plays on the drum channel.
///
/// # Source
/// General MIDI System Level 1, percussion key map.
#[must_use]
pub fn name(pitch: Pitch) -> Option<&'static str> {
    NAMES.get(usize::from(pitch.number().checked_sub(LOWEST)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_stand_at_their_pitches() {
        let named = |number| name(Pitch::new(number).unwrap());
        assert_eq!(named(38), Some("acoustic snare"));
        assert_eq!(named(49), Some("crash cymbal 1"));
        assert_eq!(named(81), Some("open triangle"));
        assert_eq!((named(34), named(82)), (None, None));
    }
}
