//! Standard MIDI Files, through midly: a [`Song`] to bytes and back. Pure (bytes in, bytes out) but for
//! [`Song::read`]; any thread but the audio thread.
//!
//! Written files are type 1 with 480 ticks per quarter: a conductor track (tempo, meter, key, texts, markers), then one track
//! per instrument. Read files may be of type 0 or 1, with any resolution, SMPTE timing, running status, overlapping or hanging
//! notes; they come out in Barline's own ticks.

use super::{
    note::{Channel, Note, Pitch, PitchClass, Velocity},
    scale::{Key, Scale},
    time::{TICKS_PER_BEAT, TICKS_PER_STEP, Tempo, Ticks, TimeSignature},
};
use midly::{
    Format, Fps, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind,
    num::{u4, u7, u15, u24, u28},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
};

/// Largest file that is read, in bytes. Real songs stay below one megabyte; the bound keeps positions within 64 bits.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// The drum channel of General MIDI (channel 10 to people).
pub const DRUM_CHANNEL: u8 = 9;
/// Slowest tempo a file can hold: 2^24 − 1 microseconds per quarter note.
pub const MIN_FILE_TEMPO_BPM: f64 = 60e6 / 16_777_215.0;

/// What a Standard MIDI File holds, in Barline's units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Song {
    /// Name of the conductor track.
    pub name: String,
    /// Tempo changes, ascending; none means 120 bpm.
    pub tempos: Vec<(Ticks, Tempo)>,
    /// Time signatures, ascending; none means 4/4.
    pub meters: Vec<(Ticks, TimeSignature)>,
    /// The first key signature. Files know major and minor only.
    pub key: Option<Key>,
    /// Text events, wherever they stand.
    pub texts: Vec<String>,
    /// Markers, ascending.
    pub markers: Vec<(Ticks, String)>,
    /// The instruments.
    pub tracks: Vec<SongTrack>,
    /// Where the last track ends.
    pub length: Ticks,
}

/// An instrument of a [`Song`].
#[derive(Clone, Debug, PartialEq)]
pub struct SongTrack {
    /// Name for people.
    pub name: String,
    /// Its channel; [`DRUM_CHANNEL`] plays drums.
    pub channel: Channel,
    /// General MIDI program, 0 to 127, if the file names one.
    pub program: Option<u8>,
    /// Notes by onset, then pitch. No two of one pitch overlap after reading.
    pub notes: Vec<Note>,
}

/// A file that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmfError {
    /// More than [`MAX_FILE_BYTES`].
    #[error("the file has {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge {
        /// Size.
        bytes: usize,
    },
    /// Not a Standard MIDI File.
    #[error("not a Standard MIDI File: {0}")]
    Format(String),
    /// Ends before its chunks do.
    #[error("the file is cut short: track {track} lacks {missing} of its bytes")]
    CutShort {
        /// Track, from 1.
        track: usize,
        /// Bytes that are not there.
        missing: usize,
    },
    /// A track does not run to its end-of-track event.
    #[error("track {track} cannot be read to its end")]
    Track {
        /// Track, from 1.
        track: usize,
    },
    /// Type 2: unrelated sequences, which have no common time.
    #[error("the file is of type 2 (independent sequences); types 0 and 1 are read")]
    Type2,
    /// Not there, or no file to be read.
    #[error("{0}")]
    File(String),
    /// Cannot be held by a file.
    #[error("a MIDI file cannot hold {0}")]
    Range(String),
}

impl SongTrack {
    /// It lies on the drum channel.
    #[must_use]
    pub fn is_drums(&self) -> bool {
        self.channel.index() == DRUM_CHANNEL
    }

    /// Bars of that length up to the end of the last note, at least one. Half a sixteenth of an end that was played late makes no bar.
    #[must_use]
    pub fn n_bars(&self, bar: Ticks) -> u32 {
        let end = |n: &Note| (n.onset.0 + n.duration.0 - TICKS_PER_STEP / 2).max(n.onset.0 + 1);
        let end = self.notes.iter().map(end).max().unwrap_or(0);
        u32::try_from((end + bar.0 - 1) / bar.0.max(1)).unwrap_or(u32::MAX).max(1)
    }
}

impl Song {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SmfError`], with [`SmfError::File`] for what is no file.
    pub fn read(path: &Path) -> Result<Self, SmfError> {
        let refuse = |error: std::io::Error| SmfError::File(error.to_string());
        let found = fs::metadata(path).map_err(refuse)?;
        // A device would never end, and a large file is refused before it fills the memory.
        if !found.is_file() {
            return Err(SmfError::File("it is no regular file".into()));
        }
        let bytes = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if bytes > MAX_FILE_BYTES {
            return Err(SmfError::TooLarge { bytes });
        }
        Self::from_bytes(&fs::read(path).map_err(refuse)?)
    }

    /// The tempo at the start.
    #[must_use]
    pub fn tempo(&self) -> Tempo {
        self.tempos.first().map(|t| t.1).unwrap_or_default()
    }

    /// The time signature in force at a position, and where it began.
    #[must_use]
    pub fn meter_at(&self, at: Ticks) -> (Ticks, TimeSignature) {
        self.meters.iter().rev().find(|m| m.0 <= at).copied().unwrap_or_default()
    }

    /// All notes of all tracks by onset, channel and pitch.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> = self.tracks.iter().flat_map(|t| t.notes.iter().copied()).collect();
        notes.sort_unstable_by_key(|n| (n.onset, n.channel, n.pitch, n.duration));
        notes
    }

    /// The notes of the last bar in which a melody sounds, counted from that bar's start; empty if there is none.
    ///
    /// The melody is the track with that word in its name, else all tracks but the drums. A note that began before the bar
    /// counts from the bar's start.
    #[must_use]
    pub fn last_melody_bar(&self) -> Vec<Note> {
        let pitched = || self.tracks.iter().filter(|t| t.channel.index() != DRUM_CHANNEL && !t.notes.is_empty());
        let named: Vec<&SongTrack> = pitched().filter(|t| t.name.to_lowercase().contains("melody")).collect();
        let tracks = if named.is_empty() { pitched().collect() } else { named };
        let notes = || tracks.iter().flat_map(|t| t.notes.iter());
        let Some(last) = notes().map(|n| n.onset.0 + n.duration.0 - 1).max() else { return Vec::new() };
        let (since, meter) = self.meter_at(Ticks(last));
        let bar = meter.bar().0;
        let start = since.0 + (last - since.0).div_euclid(bar) * bar;
        notes()
            .filter(|n| n.onset.0 + n.duration.0 > start)
            .map(|n| {
                let onset = (n.onset.0 - start).max(0);
                Note { onset: Ticks(onset), duration: Ticks(n.onset.0 + n.duration.0 - start - onset), ..*n }
            })
            .collect()
    }

    /// The bytes of a type 1 file with 480 ticks per quarter.
    ///
    /// # Errors
    /// [`SmfError::Range`] when something does not fit the format: a negative position, a tempo below
    /// [`MIN_FILE_TEMPO_BPM`], a gap of more than 2^28 ticks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SmfError> {
        let names: Vec<Vec<u8>> = self.markers.iter().map(|m| m.1.clone().into_bytes()).collect();
        let mut conductor = vec![(Ticks(0), 0, meta(MetaMessage::TrackName(self.name.as_bytes())))];
        for text in &self.texts {
            conductor.push((Ticks(0), 0, meta(MetaMessage::Text(text.as_bytes()))));
        }
        for (at, tempo) in &self.tempos {
            conductor.push((*at, 0, meta(MetaMessage::Tempo(micros_from_tempo(*tempo)?))));
        }
        for (at, meter) in &self.meters {
            let clocks = (96 / meter.denominator()).max(1);
            let power = u8::try_from(meter.denominator().trailing_zeros()).unwrap_or(2);
            conductor.push((*at, 0, meta(MetaMessage::TimeSignature(meter.numerator(), power, clocks, 8))));
        }
        if let Some(key) = self.key {
            let (sharps, minor) = signature_from_key(key);
            conductor.push((Ticks(0), 0, meta(MetaMessage::KeySignature(sharps, minor))));
        }
        for ((at, _), name) in self.markers.iter().zip(&names) {
            conductor.push((*at, 0, meta(MetaMessage::Marker(name))));
        }
        let mut tracks = vec![delta_track(conductor, self.length)?];
        for track in &self.tracks {
            tracks.push(delta_track(track_events(track), self.length)?);
        }
        let smf = Smf { header: Header::new(Format::Parallel, Timing::Metrical(u15::new(480))), tracks };
        let mut bytes = Vec::new();
        smf.write_std(&mut bytes).map_err(|e| SmfError::Range(e.to_string()))?;
        Ok(bytes)
    }

    /// Reads a file of type 0 or 1.
    ///
    /// Positions are converted to 480 ticks per quarter and rounded; a note keeps at least one tick. A note-off ends the oldest
    /// sounding note of its channel and pitch; overlapping equal notes are then cut at the next onset; hanging notes end with
    /// their track. With SMPTE timing a beat is half a second, as the tempo events then mean nothing.
    ///
    /// # Errors
    /// [`SmfError`] when it is too large, not a MIDI file, of type 2, or cut short.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SmfError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(SmfError::TooLarge { bytes: bytes.len() });
        }
        let bytes = without_riff(bytes);
        check_chunks(bytes)?;
        let (header, chunks) = midly::parse(bytes).map_err(|e| SmfError::Format(e.to_string()))?;
        if header.format == Format::Sequential {
            return Err(SmfError::Type2);
        }
        let scale = TickScale::new(header.timing)?;
        let mut song = Self::default();
        for (idx, events) in chunks.enumerate() {
            let events = events.map_err(|e| SmfError::Format(e.to_string()))?;
            song.read_track(idx, events, scale)?;
        }
        if scale.has_beats {
            song.tempos.sort_by_key(|t| t.0);
        } else {
            song.tempos.clear();
        }
        song.meters.sort_by_key(|m| m.0);
        song.markers.sort_by_key(|m| m.0);
        Ok(song)
    }

    /// Adds one track chunk; every channel in it becomes a track of its own.
    fn read_track(&mut self, idx: usize, events: midly::EventIter<'_>, scale: TickScale) -> Result<(), SmfError> {
        let mut parts: BTreeMap<u8, Part> = BTreeMap::new();
        let mut name = None;
        let (mut raw, mut ended) = (0_u64, false);
        for event in events {
            let event = event.map_err(|_| SmfError::Track { track: idx + 1 })?;
            raw += u64::from(event.delta.as_int());
            let at = scale.ticks(raw)?;
            match event.kind {
                TrackEventKind::Midi { channel, message } => {
                    let part = parts.entry(channel.as_int());
                    match message {
                        MidiMessage::NoteOn { key, vel } if vel.as_int() > 0 => {
                            part.or_default().on(at, key.as_int(), vel.as_int());
                        }
                        MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => {
                            part.or_default().off(at, key.as_int());
                        }
                        MidiMessage::ProgramChange { program } => {
                            part.or_default().program.get_or_insert(program.as_int());
                        }
                        _ => {}
                    }
                }
                TrackEventKind::Meta(message) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    match message {
                        MetaMessage::TrackName(bytes) => name = name.or_else(|| Some(text(bytes))),
                        MetaMessage::Text(bytes) => self.texts.push(text(bytes)),
                        MetaMessage::Marker(bytes) => self.markers.push((at, text(bytes))),
                        MetaMessage::Tempo(micros) => {
                            self.tempos.extend(Tempo::new(60e6 / f64::from(micros.as_int())).map(|t| (at, t)));
                        }
                        MetaMessage::TimeSignature(numerator, power, _, _) if power <= 6 => {
                            let meter = TimeSignature::new(i32::from(numerator), 1 << power);
                            self.meters.extend(meter.map(|m| (at, m)));
                        }
                        MetaMessage::KeySignature(sharps, minor) => self.key = self.key.or(key_from_signature(sharps, minor)),
                        MetaMessage::EndOfTrack => {
                            ended = true;
                            break;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if !ended {
            return Err(SmfError::Track { track: idx + 1 });
        }
        let end = scale.ticks(raw)?;
        self.length = self.length.max(end);
        if idx == 0 {
            self.name = name.clone().unwrap_or_default();
        }
        for (channel, part) in parts {
            let Some(channel) = Channel::new(channel) else { continue };
            let program = part.program;
            let notes = part.finish(channel, end);
            // One that begins where the track ends lasts a tick longer.
            self.length = notes.iter().map(|n| Ticks(n.onset.0 + n.duration.0)).fold(self.length, Ticks::max);
            if program.is_some() || !notes.is_empty() {
                self.tracks.push(SongTrack { name: name.clone().unwrap_or_default(), channel, program, notes });
            }
        }
        Ok(())
    }
}

/// A note that still sounds while reading.
struct Sounding {
    onset: Ticks,
    velocity: u8,
}

/// One channel of one track chunk while reading.
#[derive(Default)]
struct Part {
    program: Option<u8>,
    sounding: BTreeMap<u8, VecDeque<Sounding>>,
    /// Onset, pitch, end, velocity.
    done: Vec<(Ticks, u8, Ticks, u8)>,
}

impl Part {
    fn on(&mut self, at: Ticks, pitch: u8, velocity: u8) {
        self.sounding.entry(pitch).or_default().push_back(Sounding { onset: at, velocity });
    }

    fn off(&mut self, at: Ticks, pitch: u8) {
        if let Some(note) = self.sounding.get_mut(&pitch).and_then(VecDeque::pop_front) {
            self.done.push((note.onset, pitch, at, note.velocity));
        }
    }

    fn finish(mut self, channel: Channel, end: Ticks) -> Vec<Note> {
        for (pitch, notes) in std::mem::take(&mut self.sounding) {
            self.done.extend(notes.into_iter().map(|n| (n.onset, pitch, end, n.velocity)));
        }
        // By pitch first, so that the next onset of the same pitch is the neighbour.
        self.done.sort_unstable_by_key(|n| (n.1, n.0, n.2));
        let next_onsets: Vec<Option<Ticks>> = self
            .done
            .iter()
            .zip(self.done.iter().skip(1).map(Some).chain([None]))
            .map(|(note, next)| next.filter(|n| n.1 == note.1).map(|n| n.0))
            .collect();
        let mut notes: Vec<Note> = self
            .done
            .iter()
            .zip(next_onsets)
            // Two onsets of one pitch at one tick are one note: the last (longest) stays.
            .filter(|((onset, ..), next)| *next != Some(*onset))
            .filter_map(|(&(onset, pitch, end, velocity), next)| {
                let end = next.map_or(end, |next| end.min(next));
                Some(Note {
                    onset,
                    duration: Ticks((end.0 - onset.0).max(1)),
                    channel,
                    pitch: Pitch::new(i32::from(pitch))?,
                    velocity: Velocity::clamped(i32::from(velocity)),
                })
            })
            .collect();
        notes.sort_unstable_by_key(|n| (n.onset, n.pitch));
        notes
    }
}

/// From a file's ticks to Barline's: `ticks · numerator / denominator`.
#[derive(Clone, Copy)]
struct TickScale {
    numerator: u64,
    denominator: u64,
    has_beats: bool,
}

impl TickScale {
    fn new(timing: Timing) -> Result<Self, SmfError> {
        let scale = match timing {
            Timing::Metrical(per_quarter) => {
                Self { numerator: TICKS_PER_BEAT.unsigned_abs(), denominator: u64::from(per_quarter.as_int()), has_beats: true }
            }
            // Ticks per second: frames · subframes; 29 means 30000/1001. At 120 bpm a second is two beats.
            Timing::Timecode(fps, subframes) => {
                let (frames, seconds) = match fps {
                    Fps::Fps24 => (24, 1),
                    Fps::Fps25 => (25, 1),
                    Fps::Fps29 => (30_000, 1001),
                    Fps::Fps30 => (30, 1),
                };
                let numerator = 2 * TICKS_PER_BEAT.unsigned_abs() * seconds;
                Self { numerator, denominator: frames * u64::from(subframes), has_beats: false }
            }
        };
        if scale.denominator == 0 {
            return Err(SmfError::Format("it has no ticks per quarter note".into()));
        }
        Ok(scale)
    }

    fn ticks(self, raw: u64) -> Result<Ticks, SmfError> {
        let scaled = (2 * u128::from(raw) * u128::from(self.numerator) + u128::from(self.denominator))
            / (2 * u128::from(self.denominator));
        i64::try_from(scaled).map(Ticks).map_err(|_| SmfError::Format("positions beyond all bounds".into()))
    }
}

/// The file inside a RIFF wrapper (`.rmi`).
fn without_riff(bytes: &[u8]) -> &[u8] {
    match (bytes.get(..4), bytes.get(8..16), bytes.get(16..20), bytes.get(20..)) {
        (Some(b"RIFF"), Some(b"RMIDdata"), Some([a, b, c, d]), Some(inside)) => {
            let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            inside.get(..length).unwrap_or(inside)
        }
        _ => bytes,
    }
}

/// midly reads on when a file ends inside a chunk; a song that silently lost its end is worse than an error.
fn check_chunks(bytes: &[u8]) -> Result<(), SmfError> {
    if !bytes.starts_with(b"MThd") {
        return Err(SmfError::Format("it does not begin with MThd".into()));
    }
    let (mut rest, mut track) = (bytes, 0);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let (id, length) = head.split_at(4);
        let length = length.iter().fold(0_usize, |n, b| (n << 8) | usize::from(*b));
        track += usize::from(id == b"MTrk");
        // -128 frames per second: midly 0.5.3 negates it, which overflows, in any header of the file.
        if id == b"MThd" && body.get(4) == Some(&0x80) {
            return Err(SmfError::Format("it has no such frame rate".into()));
        }
        rest = body.get(length..).ok_or_else(|| SmfError::CutShort { track, missing: length.saturating_sub(body.len()) })?;
    }
    let declared = bytes.get(10..12).map_or(0, |n| n.iter().fold(0_usize, |n, b| (n << 8) | usize::from(*b)));
    if track == 0 || track < declared {
        return Err(SmfError::Format(format!("it announces {declared} tracks and holds {track}")));
    }
    Ok(())
}

fn meta(message: MetaMessage<'_>) -> TrackEventKind<'_> {
    TrackEventKind::Meta(message)
}

/// The track's events with their rank at equal ticks: names and programs, then offs, then ons.
fn track_events(track: &SongTrack) -> Vec<(Ticks, u8, TrackEventKind<'_>)> {
    let midi = |channel: Channel, message| TrackEventKind::Midi { channel: u4::from_int_lossy(channel.index()), message };
    let mut events = vec![(Ticks(0), 0, meta(MetaMessage::TrackName(track.name.as_bytes())))];
    if let Some(program) = track.program {
        events.push((Ticks(0), 0, midi(track.channel, MidiMessage::ProgramChange { program: u7::from_int_lossy(program) })));
    }
    for note in &track.notes {
        let key = u7::from_int_lossy(note.pitch.number());
        let (on, off) = (u7::from_int_lossy(note.velocity.number()), u7::from_int_lossy(64));
        let end = Ticks(note.onset.0 + note.duration.0.max(1));
        events.push((note.onset, 2, midi(note.channel, MidiMessage::NoteOn { key, vel: on })));
        events.push((end, 1, midi(note.channel, MidiMessage::NoteOff { key, vel: off })));
    }
    events
}

/// Sorts, turns positions into deltas, and closes the track at `length` or after its last event.
fn delta_track(mut events: Vec<(Ticks, u8, TrackEventKind<'_>)>, length: Ticks) -> Result<Vec<TrackEvent<'_>>, SmfError> {
    events.sort_by_key(|(at, rank, _)| (*at, *rank));
    let end = events.last().map_or(length, |e| e.0.max(length));
    events.push((end, 3, meta(MetaMessage::EndOfTrack)));
    let mut last = Ticks(0);
    let mut track = Vec::with_capacity(events.len());
    for (at, _, kind) in events {
        let delta = u32::try_from(at.0 - last.0)
            .ok()
            .and_then(u28::try_from)
            .ok_or_else(|| SmfError::Range(format!("an event {} ticks after the one before", at.0 - last.0)))?;
        track.push(TrackEvent { delta, kind });
        last = at;
    }
    Ok(track)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "60,000 to 60,000,000: a tempo is 1 to 1000 bpm")]
fn micros_from_tempo(tempo: Tempo) -> Result<u24, SmfError> {
    u24::try_from((60e6 / tempo.bpm()).round() as u32)
        .ok_or_else(|| SmfError::Range(format!("a tempo of {} bpm (the slowest is {MIN_FILE_TEMPO_BPM:.2})", tempo.bpm())))
}

/// Sharps (flats negative) of the major keys by tonic, in the spelling with fewer accidentals.
const SHARPS: [i8; 12] = [0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5];

/// A file knows major and minor only: other scales keep their tonic and take the mode of their third.
fn signature_from_key(key: Key) -> (i8, bool) {
    let minor = key.scale.classes() & (1 << 3) != 0;
    let relative = (key.tonic.number() + if minor { 3 } else { 0 }) % 12;
    (SHARPS.get(usize::from(relative)).copied().unwrap_or(0), minor)
}

fn key_from_signature(sharps: i8, minor: bool) -> Option<Key> {
    if !(-7..=7).contains(&sharps) {
        return None;
    }
    // Each sharp moves the tonic up a fifth.
    let major = 7 * i32::from(sharps);
    Some(if minor {
        Key { tonic: PitchClass::of(major - 3), scale: Scale::Minor }
    } else {
        Key { tonic: PitchClass::of(major), scale: Scale::Major }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(onset: i64, duration: i64, channel: u8, pitch: i32, velocity: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::new(channel).unwrap(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(velocity),
        }
    }

    fn song() -> Song {
        Song {
            name: "A song".into(),
            tempos: vec![(Ticks(0), Tempo::new(60e6 / 461_538.0).unwrap()), (Ticks(1920), Tempo::new(60.0).unwrap())],
            meters: vec![(Ticks(0), TimeSignature::new(4, 4).unwrap()), (Ticks(3840), TimeSignature::new(7, 8).unwrap())],
            key: Some("F# minor".parse().unwrap()),
            texts: vec!["barline {\"seed\":7}".into()],
            markers: vec![(Ticks(0), "C".into()), (Ticks(960), "Am7/G".into())],
            tracks: vec![
                SongTrack {
                    name: "Melody".into(),
                    channel: Channel::new(0).unwrap(),
                    program: Some(80),
                    notes: vec![note(0, 120, 0, 67, 93), note(120, 361, 0, 67, 1), note(7000, 1, 0, 59, 127)],
                },
                SongTrack {
                    name: "Drums".into(),
                    channel: Channel::new(DRUM_CHANNEL).unwrap(),
                    program: Some(0),
                    notes: vec![note(0, 60, 9, 36, 100), note(0, 60, 9, 42, 70)],
                },
            ],
            length: Ticks(7680),
        }
    }

    /// A file by hand: `format`, ticks per quarter, and the bytes of its tracks.
    fn file(format: u8, division: [u8; 2], tracks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"MThd\0\0\0\x06\0".to_vec();
        bytes.extend([format, 0, u8::try_from(tracks.len()).unwrap(), division[0], division[1]]);
        for track in tracks {
            bytes.extend(b"MTrk");
            bytes.extend(u32::try_from(track.len()).unwrap().to_be_bytes());
            bytes.extend(*track);
        }
        bytes
    }

    const END: [u8; 4] = [0, 0xFF, 0x2F, 0];

    fn shape(song: &Song) -> Vec<(i64, i64, u8)> {
        song.notes().iter().map(|n| (n.onset.0, n.duration.0, n.pitch.number())).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let song = song();
        let bytes = song.to_bytes().unwrap();
        assert_eq!(bytes.get(8..14), Some(&[0, 1, 0, 3, 1, 0xE0][..]), "type 1, three tracks, 480 per quarter");
        assert_eq!(Song::from_bytes(&bytes).unwrap(), song);
    }

    #[test]
    fn every_key_survives_but_for_its_mode() {
        for tonic in 0..12 {
            for scale in Scale::ALL {
                let key = Key { tonic: PitchClass::of(tonic), scale };
                let (sharps, minor) = signature_from_key(key);
                let read = key_from_signature(sharps, minor).unwrap();
                assert_eq!(read.tonic, key.tonic, "{key}");
                assert_eq!(read.scale == Scale::Minor, scale.classes() & 8 != 0, "{key}");
            }
        }
        assert_eq!(signature_from_key("A minor".parse().unwrap()), (0, true));
        assert_eq!(signature_from_key("Eb major".parse().unwrap()), (-3, false));
        assert_eq!(key_from_signature(8, false), None);
    }

    #[test]
    fn type_0_with_running_status_and_another_resolution() {
        // 96 per quarter; channel 3; note-on with velocity 0 as off; running status throughout; two channels in one track.
        let track = [&[0, 0x92, 60, 100, 48, 60, 0, 0, 64, 90, 0x81, 0x40, 64, 0, 0, 0x99, 36, 80, 24, 36, 0][..], &END].concat();
        let song = Song::from_bytes(&file(0, [0, 96], &[&track])).unwrap();
        assert_eq!(shape(&song), [(0, 240, 60), (240, 960, 64), (1200, 120, 36)]);
        let channels: Vec<u8> = song.tracks.iter().map(|t| t.channel.index()).collect();
        assert_eq!(channels, [2, 9]);
    }

    #[test]
    fn overlapping_and_hanging_notes_come_apart() {
        // On 0, on 10, off 20, off 50 of one pitch; another hangs until the end at 90.
        let track =
            [&[0, 0x90, 60, 100, 10, 60, 80, 10, 0x80, 60, 0, 20, 0x90, 72, 70, 10, 0x80, 60, 0, 40, 0xFF, 0x2F, 0][..]].concat();
        let song = Song::from_bytes(&file(1, [1, 0xE0], &[&track])).unwrap();
        assert_eq!(shape(&song), [(0, 10, 60), (10, 40, 60), (40, 50, 72)]);
        // The same onset twice is one note; no length is one tick; an off without an on is nothing.
        let track = [&[0, 0x80, 50, 0, 0, 0x90, 60, 100, 0, 60, 80, 5, 60, 0, 5, 60, 0, 0, 62, 9, 0, 62, 0][..], &END].concat();
        let song = Song::from_bytes(&file(1, [1, 0xE0], &[&track])).unwrap();
        assert_eq!(shape(&song), [(0, 10, 60), (10, 1, 62)]);
    }

    #[test]
    fn a_note_that_begins_where_the_track_ends_lies_within_the_song() {
        let track = [&[0, 0x90, 60, 100, 30, 60, 0, 9, 64, 80][..], &END].concat();
        let song = Song::from_bytes(&file(1, [1, 0xE0], &[&track])).unwrap();
        assert_eq!((shape(&song), song.length), (vec![(0, 30, 60), (39, 1, 64)], Ticks(40)));
    }

    #[test]
    fn an_impossible_frame_rate_is_refused_in_every_header() {
        let track = [&[0, 0x90, 60, 100, 30, 60, 0][..], &END].concat();
        let (good, bad) = (file(1, [1, 0xE0], &[&track]), file(1, [0x80, 4], &[&track]));
        assert!(matches!(Song::from_bytes(&bad), Err(SmfError::Format(_))));
        assert!(matches!(Song::from_bytes(&[good, bad].concat()), Err(SmfError::Format(_))));
    }

    #[test]
    fn smpte_time_is_two_beats_a_second() {
        // 25 frames of 40 subframes: one tick per millisecond.
        let track = [&[0x83, 0x74, 0x90, 60, 100, 0x83, 0x74, 60, 0][..], &END].concat();
        let song = Song::from_bytes(&file(0, [0xE7, 40], &[&track])).unwrap();
        assert_eq!(shape(&song), [(480, 480, 60)]);
    }

    #[test]
    fn the_last_bar_of_melody_counts_from_its_start() {
        let bar = |song: &Song| -> Vec<(i64, i64, u8)> {
            song.last_melody_bar().iter().map(|n| (n.onset.0, n.duration.0, n.pitch.number())).collect()
        };
        let mut song = song();
        // The meter changes at 3840 to bars of 1680: the note at 7000 lies in the bar from 5520.
        assert_eq!(bar(&song), [(1480, 1, 59)]);
        // A note that is held into the last bar, and a higher one elsewhere that ends on its bar line.
        song.tracks[0].notes = vec![note(1000, 1000, 0, 50, 80), note(1900, 20, 0, 90, 80)];
        assert_eq!(bar(&song), [(0, 80, 50)]);
        // Named tracks win over others, drums never count.
        let piano = SongTrack {
            name: "Piano".into(),
            channel: Channel::new(3).unwrap(),
            program: None,
            notes: vec![note(9000, 9, 3, 40, 80)],
        };
        song.tracks.push(piano);
        assert_eq!(bar(&song), [(0, 80, 50)]);
        song.tracks[0].name = "Lead".into();
        assert_eq!(bar(&song), [(120, 9, 40)]);
        song.tracks.retain(|t| t.channel.index() == DRUM_CHANNEL);
        assert_eq!(bar(&song), []);
    }

    #[test]
    fn a_file_in_a_riff_wrapper_is_read() {
        let whole = song().to_bytes().unwrap();
        let length = u32::try_from(whole.len()).unwrap();
        let wrapped =
            [b"RIFF", &(length + 12).to_le_bytes()[..], b"RMIDdata", &length.to_le_bytes()[..], &whole, b"LIST"].concat();
        assert_eq!(Song::from_bytes(&wrapped).unwrap(), song());
    }

    #[test]
    fn what_is_no_midi_file_is_refused() {
        let error = |bytes: &[u8]| Song::from_bytes(bytes).unwrap_err();
        assert!(matches!(error(b""), SmfError::Format(_)));
        assert!(matches!(error(b"RIFF"), SmfError::Format(_)));
        assert!(matches!(error(b"not a midi file at all"), SmfError::Format(_)));
        assert!(matches!(error(b"MThd\0\0\0\x06\0\x01\0\x01\x01\xE0"), SmfError::Format(_)), "no track");
        assert!(matches!(error(&file(0, [0, 0], &[&END])), SmfError::Format(_)), "no resolution");
        assert_eq!(error(&file(2, [1, 0xE0], &[&END])), SmfError::Type2);
        assert_eq!(error(&file(1, [1, 0xE0], &[&END, &[0, 0x90, 60, 100]])), SmfError::Track { track: 2 });
        assert_eq!(error(&vec![0; MAX_FILE_BYTES + 1]), SmfError::TooLarge { bytes: MAX_FILE_BYTES + 1 });
        let whole = song().to_bytes().unwrap();
        for length in 0..whole.len() {
            assert!(Song::from_bytes(&whole[..length]).is_err(), "cut at {length} of {}", whole.len());
        }
    }

    #[test]
    fn damaged_files_do_not_crash() {
        let whole = song().to_bytes().unwrap();
        for position in 0..whole.len() {
            for value in [0, 1, 0x2F, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[position] = value;
                if let Ok(song) = Song::from_bytes(&bytes) {
                    assert!(song.notes().iter().all(|n| n.duration.0 >= 1 && n.onset.0 >= 0));
                    // Whatever could be read can be written or is refused, too.
                    let _ = song.to_bytes();
                }
            }
        }
    }

    #[test]
    fn what_a_file_cannot_hold_is_refused() {
        let with = |change: fn(&mut Song)| {
            let mut song = song();
            change(&mut song);
            song.to_bytes()
        };
        assert!(matches!(with(|s| s.tempos = vec![(Ticks(0), Tempo::new(3.5).unwrap())]), Err(SmfError::Range(_))));
        assert!(matches!(with(|s| s.length = Ticks(1 << 40)), Err(SmfError::Range(_))));
        assert!(matches!(with(|s| s.markers = vec![(Ticks(-5), "C".into())]), Err(SmfError::Range(_))));
    }
}
