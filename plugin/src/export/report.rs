//! Songs as JSON, for scripts: what made them and every note.

use crate::music::{
    note::{Channel, Pitch, Velocity},
    smf::{DRUM_CHANNEL, Song},
    time::{TICKS_PER_BEAT, Tempo, Ticks, TimeSignature},
};
use serde::Serialize;

/// What a `.json` output holds. Channels count from 1 here, as people count them; ticks are 1/480 beat.
#[derive(Serialize)]
struct Report<'a, P> {
    provenance: &'a P,
    ticks_per_beat: i64,
    tempo_bpm: f64,
    time_signature: String,
    key: Option<String>,
    length_ticks: i64,
    chords: Vec<Chord<'a>>,
    tracks: Vec<Track<'a>>,
}

#[derive(Serialize)]
struct Chord<'a> {
    onset_ticks: i64,
    name: &'a str,
}

#[derive(Serialize)]
struct Track<'a> {
    name: &'a str,
    channel: u8,
    program: Option<u8>,
    is_drum: bool,
    notes: Vec<Note>,
}

#[derive(Serialize)]
struct Note {
    onset_ticks: i64,
    duration_ticks: i64,
    pitch: Pitch,
    velocity: Velocity,
}

/// The bytes of the report: `provenance` as it is, then the song.
///
/// # Errors
/// The serialiser's, if `provenance` cannot be JSON.
pub fn to_bytes<P: Serialize>(song: &Song, provenance: &P) -> Result<Vec<u8>, serde_json::Error> {
    let tempo: Tempo = song.tempo();
    let (_, meter): (_, TimeSignature) = song.meter_at(Ticks(0));
    let number = |channel: Channel| channel.index() + 1;
    let report = Report {
        provenance,
        ticks_per_beat: TICKS_PER_BEAT,
        tempo_bpm: tempo.bpm(),
        time_signature: meter.to_string(),
        key: song.key.map(|k| k.to_string()),
        length_ticks: song.length.0,
        chords: song.markers.iter().map(|(at, name)| Chord { onset_ticks: at.0, name }).collect(),
        tracks: song
            .tracks
            .iter()
            .map(|track| Track {
                name: &track.name,
                channel: number(track.channel),
                program: track.program,
                is_drum: track.channel.index() == DRUM_CHANNEL,
                notes: track
                    .notes
                    .iter()
                    .map(|n| Note { onset_ticks: n.onset.0, duration_ticks: n.duration.0, pitch: n.pitch, velocity: n.velocity })
                    .collect(),
            })
            .collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&report)?;
    bytes.push(b'\n');
    Ok(bytes)
}
