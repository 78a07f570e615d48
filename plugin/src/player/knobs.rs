//! What the player's parameters say, as plain values: of everything that plays, and of each lane. Read once per block; any thread.

use crate::music::{
    note::{Channel, Pitch},
    roll::{TrackKind, TrackLayout},
    scale::Key,
};

/// Lanes, at most: one per track of a pattern.
pub const MAX_LANES: usize = 16;
/// What the host calls the lanes: the tracks of the band. Another model's tracks take them in its own order, a melody the first.
pub const LANE_NAMES: [&str; 5] = ["Drums", "Bass", "Piano", "Guitar", "Strings"];

/// What the player's parameters say. Read once per block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knobs {
    /// Sampling noise, 0 to 2; 1 is the model's own best.
    pub temperature: f32,
    /// Probability that a cell must exceed, 0 to 1.
    pub threshold: f32,
    /// Octaves up or down, -3 to 3, of every lane but drums.
    pub octave: i8,
    /// Velocity before accents, 1 to 127, of every lane.
    pub velocity: u8,
    /// Weight of the metrical accents, 0 to 1.
    pub accent: f32,
    /// Random change of velocities, 0 to 1.
    pub humanize_velocity: f32,
    /// Random delay of onsets, 0 to 1.
    pub humanize_time: f32,
    /// Delay of the odd sixteenths: 0 straight, 1 half a step.
    pub swing: f32,
    /// Part of its length that a note sounds, 0.05 to 1.
    pub note_length: f32,
    /// Key that pitches are moved into, if any; drums stay.
    pub key: Option<Key>,
    /// Channel of a pattern with a single track, or of all lanes if they share one.
    pub channel: Channel,
    /// All lanes play on [`channel`](Self::channel): for hosts that merge channels.
    pub one_channel: bool,
    /// Lane that plays alone, by index, if the pattern has it: for hosts that merge channels, with an instance per lane.
    pub only_lane: Option<u8>,
    /// Lanes, by track.
    pub lanes: [Lane; MAX_LANES],
    /// Channel on which the chords are played, if they are.
    pub chords: Option<Channel>,
    /// Velocity of the chords, 1 to 127.
    pub chord_velocity: u8,
    /// Nothing sounds.
    pub muted: bool,
    /// Incoming notes are passed on.
    pub thru: bool,
    /// Incoming notes are captured while the transport rolls.
    pub capture: bool,
}

/// What the parameters of one lane say. All that is relative adds to the same knob of all lanes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lane {
    /// It plays at all.
    pub on: bool,
    /// It does not play now.
    pub muted: bool,
    /// It plays, and lanes that are not solo do not.
    pub solo: bool,
    /// Channel in a pattern of several tracks.
    pub channel: Channel,
    /// Octaves up or down, -3 to 3; drums have none.
    pub octave: i8,
    /// Added to the velocity, -64 to 64.
    pub velocity: i8,
    /// Added to the logits of its pitches and onsets, -4 to 4: more notes or fewer.
    pub density: f32,
}

impl Default for Lane {
    fn default() -> Self {
        Self { on: true, muted: false, solo: false, channel: Channel::default(), octave: 0, velocity: 0, density: 0.0 }
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            threshold: 0.5,
            octave: 0,
            velocity: 96,
            accent: 0.5,
            humanize_velocity: 0.3,
            humanize_time: 0.0,
            swing: 0.0,
            note_length: 1.0,
            key: None,
            channel: Channel::default(),
            one_channel: false,
            only_lane: None,
            lanes: std::array::from_fn(|idx| Lane { channel: default_channel(idx), ..Lane::default() }),
            chords: None,
            chord_velocity: 72,
            muted: false,
            thru: false,
            capture: false,
        }
    }
}

/// Channel of a lane where none is chosen: 10 for the first, drums in General MIDI; then upward from 2, past 10.
#[must_use]
pub fn default_channel(lane_idx: usize) -> Channel {
    let index = match lane_idx {
        0 => 9,
        1..9 => lane_idx,
        9..15 => lane_idx + 1,
        _ => 0,
    };
    u8::try_from(index).ok().and_then(Channel::new).unwrap_or_default()
}

impl Knobs {
    /// The lane of a track; a silent one beyond [`MAX_LANES`].
    #[must_use]
    pub fn lane(&self, track_idx: usize) -> Lane {
        self.lanes.get(track_idx).copied().unwrap_or(Lane { on: false, ..Lane::default() })
    }

    /// The channel on which a track of a pattern of `n_tracks` plays.
    #[must_use]
    pub fn channel_of(&self, track_idx: usize, n_tracks: usize) -> Channel {
        if self.one_channel || n_tracks <= 1 { self.channel } else { self.lane(track_idx).channel }
    }

    /// The pitch that sounds where a track has `raw`. Drums keep their pitches, whatever octave and key say.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    #[must_use]
    pub fn sounding(&self, track_idx: usize, kind: TrackKind, raw: Pitch) -> Pitch {
        if kind == TrackKind::Onsets {
            return raw;
        }
        let moved = raw.transposed(12 * (i32::from(self.octave) + i32::from(self.lane(track_idx).octave)));
        self.key.map_or(moved, |key| key.snap(moved))
    }

    /// The pitch of a track that sounds as this one; of several, which a key brings together, the lowest: that of the key.
    #[must_use]
    pub fn raw(&self, track_idx: usize, track: &TrackLayout, sounding: Pitch) -> Option<Pitch> {
        let lowest = track.lowest_pitch.number();
        let mut own = (lowest..lowest.saturating_add(track.n_pitches)).filter_map(|number| Pitch::new(number.into()));
        own.find(|raw| self.sounding(track_idx, track.kind, *raw) == sounding)
    }

    /// The tracks that play, of a pattern of `n_tracks`: bit `n` is track `n`. A solo or the only lane counts if the pattern has
    /// that track; the only lane goes before solo.
    #[must_use]
    pub fn audible(&self, n_tracks: usize) -> u32 {
        let tracks = |is: &dyn Fn(usize, &Lane) -> bool| {
            let lanes = self.lanes.iter().enumerate().take(n_tracks);
            lanes.filter(|(idx, lane)| is(*idx, lane)).fold(0, |set, (idx, _)| set | 1_u32 << idx)
        };
        let playing = tracks(&|_, lane| lane.on && !lane.muted);
        let only = tracks(&|idx, _| self.only_lane.map(usize::from) == Some(idx));
        let solo = tracks(&|_, lane| lane.solo);
        match (only, solo) {
            (0, 0) => playing,
            (0, solo) => playing & solo,
            (only, _) => playing & only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Knobs)) -> Knobs {
        let mut knobs = Knobs::default();
        change(&mut knobs);
        knobs
    }

    #[test]
    fn default_channels_differ() {
        let mut channels: Vec<u8> = (0..MAX_LANES).map(|idx| default_channel(idx).index() + 1).collect();
        assert_eq!(channels[..5], [10, 2, 3, 4, 5]);
        channels.sort_unstable();
        assert_eq!(channels, (1..=16).collect::<Vec<_>>());
    }

    #[test]
    fn a_single_track_keeps_the_melodys_channel() {
        let knobs = with(|k| k.channel = Channel::new(6).unwrap());
        assert_eq!(knobs.channel_of(0, 1).index(), 6);
        assert_eq!([0, 1, 4].map(|idx| knobs.channel_of(idx, 5).index()), [9, 1, 4]);
        let one = Knobs { one_channel: true, ..knobs };
        assert_eq!([0, 1, 4].map(|idx| one.channel_of(idx, 5).index()), [6; 3]);
    }

    #[test]
    fn solo_and_the_only_lane_count_where_the_pattern_has_them() {
        assert_eq!(Knobs::default().audible(5), 0b11111);
        assert_eq!(with(|k| (k.lanes[0].muted, k.lanes[3].on) = (true, false)).audible(5), 0b10110);
        let soloed = with(|k| (k.lanes[1].solo, k.lanes[2].solo, k.lanes[2].muted) = (true, true, true));
        assert_eq!((soloed.audible(5), soloed.audible(1)), (0b10, 0b1));
        assert_eq!((with(|k| k.only_lane = Some(4)).audible(5), with(|k| k.only_lane = Some(4)).audible(1)), (0b10000, 0b1));
        assert_eq!(Knobs { only_lane: Some(3), ..soloed }.audible(5), 0b1000);
    }
}
