//! What a project file holds besides the parameters: the progression, the model, the primer, what was re-rolled, locked and given, and
//! the logits of the pattern that plays, so that a song opens and sounds the same where the model is another one or missing. Pure; loaded and saved on the
//! host's main thread, the logits unpacked on the worker, nothing here on the audio thread.
//!
//! The document is one JSON value with a version of its own: it is taken as a whole or refused as a whole, and a refused one
//! leaves everything as it was.

use crate::{
    generate::{
        Given, GivenPart, Lock, ModelId, Pattern, PatternSpec, Retake, Span,
        pattern::{MAX_PATTERN_BARS, MAX_TAKES},
        structure_key,
    },
    music::{
        chord::{Progression, ProgressionError},
        note::Note,
        roll::{LogitRoll, RollError, RollLayout},
        smf::{SmfError, Song},
        time::{Ticks, TimeSignature},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the document that this program writes, and the newest that it reads.
pub const STATE_VERSION: u32 = 1;
/// The progression of a new instance.
pub const DEFAULT_PROGRESSION: &str = "C | Am | F | G";
/// The model of a new instance.
pub const DEFAULT_MODEL: &str = "melody";

/// Where a captured track is from.
pub const CAPTURED: &str = "captured";
/// The lane that plays drums.
const DRUM_LANE: u8 = 0;
/// Sixteenths of a bar as the networks know it.
const STEPS_PER_BAR: u8 = 16;
/// Longest progression text, in bytes.
const MAX_TEXT: usize = 4096;
/// Longest model id, in bytes.
const MAX_MODEL_ID: usize = 64;
/// Most steps of a primer or of a bar.
const MAX_STEPS: usize = 64;
/// Most layers of locks.
const MAX_LOCKS: usize = MAX_TAKES + 1;
/// Longest name of where a given track is from, in bytes.
const MAX_SOURCE: usize = 256;
/// Most takes that are kept, and most re-rolls in all of them together: a project stays small.
pub const MAX_FAVOURITES: usize = 12;
/// See [`MAX_FAVOURITES`].
pub const MAX_FAVOURITE_RETAKES: usize = 4 * MAX_TAKES;
/// Most tracks of a roll.
const MAX_TRACKS: usize = 16;
/// Most bytes of unpacked logits: 32 bars of 16 steps with 16 wide tracks.
const MAX_LOGITS: usize = 4 << 20;

/// What the user sets besides the parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The progression as typed; always one that can be read.
    pub progression: String,
    /// Id of the model.
    pub model: String,
    /// States of the bar before the first, as in [`PatternSpec::primer`].
    #[serde(default)]
    pub primer: Vec<u16>,
    /// What was written anew, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<Retake>,
    /// What stays as it sounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<TakenLock>,
    /// The track that the others accompany.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<GivenTrack>,
    /// Takes to come back to, as they were chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub favourites: Vec<TakeAddress>,
}

/// Where a take is: with the same model, chords and knobs, the same music. What is locked and given is not part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeAddress {
    /// The seed.
    pub seed: u32,
    /// The take.
    pub take: u32,
    /// What was written anew since, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retakes: Vec<Retake>,
}

impl TakeAddress {
    /// Of a pattern.
    #[must_use]
    pub fn of(spec: &PatternSpec) -> Self {
        Self { seed: spec.seed, take: spec.take, retakes: spec.takes.clone() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            progression: DEFAULT_PROGRESSION.into(),
            model: DEFAULT_MODEL.into(),
            primer: Vec::new(),
            takes: Vec::new(),
            locks: Vec::new(),
            given: None,
            favourites: Vec::new(),
        }
    }
}

/// Music that was locked while a pattern played. In that pattern it is a step on the way, so that locking changes nothing else; in
/// every other one (another seed, other chords, another model) it stands from the start, and all is written around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenLock {
    /// [`Settings::base`] of that pattern.
    pub base: u64,
    /// Re-rolls made before.
    pub after: usize,
    /// What sounded.
    pub music: Given,
}

/// The user's own music, which the other tracks accompany.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenTrack {
    /// The track that plays it.
    pub lane: u8,
    /// Where it is from, for people to read.
    pub source: String,
    /// Its bars, a loop.
    pub music: Given,
}

/// A MIDI file that cannot be the given track.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenFileError {
    /// It cannot be read.
    #[error("`{file}` cannot be read: {source}")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        source: SmfError,
    },
    /// It has no notes for the lane.
    #[error("`{file}` has no {what}")]
    NoNotes {
        /// Its name.
        file: String,
        /// What was looked for.
        what: &'static str,
    },
    /// It is not in 4/4, which is all that the networks know.
    #[error("`{file}` is in {meter}; the band plays in 4/4")]
    Meter {
        /// Its name.
        file: String,
        /// The first other meter.
        meter: TimeSignature,
    },
}

impl GivenTrack {
    /// The first track with notes of a MIDI file (of those on the drum channel for the first lane, of the others for the others), as a
    /// loop of one, two, or four times as many bars, 32 at most. Notes go to the nearest sixteenth.
    ///
    /// # Errors
    /// [`GivenFileError`].
    pub fn from_file(path: &Path, lane: u8) -> Result<Self, GivenFileError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Song::read(path) {
            Ok(song) => Self::from_song(&song, file, lane),
            Err(source) => Err(GivenFileError::Read { file, source }),
        }
    }

    fn from_song(song: &Song, file: String, lane: u8) -> Result<Self, GivenFileError> {
        let common = TimeSignature::default();
        if let Some((_, meter)) = song.meters.iter().find(|(_, meter)| meter.bar() != common.bar()) {
            return Err(GivenFileError::Meter { file, meter: *meter });
        }
        let drums = lane == DRUM_LANE;
        let track = song.tracks.iter().find(|track| !track.notes.is_empty() && track.is_drums() == drums);
        let Some(track) = track else {
            let what = if drums { "drums (notes on channel 10)" } else { "notes but drums" };
            return Err(GivenFileError::NoNotes { file, what });
        };
        let n_all = track.n_bars(common.bar());
        let n_bars = if n_all <= 2 { n_all } else { n_all.next_multiple_of(4) }.min(MAX_PATTERN_BARS);
        let part = GivenPart { track_idx: lane.into(), drums, notes: &track.notes };
        let name = if track.name.is_empty() { String::new() } else { format!(", {}", track.name) };
        let cut = if n_all > n_bars { format!(", bars 1 to {n_bars} of {n_all}") } else { String::new() };
        let mut source = format!("{file}{name}{cut}");
        source.truncate(source.floor_char_boundary(MAX_SOURCE));
        Ok(Self { lane, source, music: Given::from_parts(&[part], STEPS_PER_BAR, n_bars).0 })
    }

    /// A captured loop of `n_bars` with what was played in a bar of the song, `notes` from its start, in its place: `before` with that
    /// bar, if it is the same loop, else a new one. A bar without notes is silence where nothing was captured yet, but no beginning of a
    /// loop; and it leaves what was captured: a hand that rests, or a song that is played again, would wipe out the loop.
    #[must_use]
    pub fn captured(before: Option<&Self>, lane: u8, n_bars: u32, song_bar: i64, notes: &[Note]) -> Option<Self> {
        let is_same_loop =
            |given: &&Self| given.source == CAPTURED && given.lane == lane && u32::try_from(given.music.n_bars()) == Ok(n_bars);
        let music = before.filter(is_same_loop).map(|given| given.music.clone());
        let mut music = music.or_else(|| (!notes.is_empty()).then(|| Given::default().resized(n_bars)))?;
        let bar = song_bar.rem_euclid(i64::from(n_bars.max(1)));
        let is_there = music.bars_of(lane.into()).checked_shr(u32::try_from(bar).ok()?).unwrap_or(0) & 1 == 1;
        if notes.is_empty() && is_there {
            return before.cloned();
        }
        let first = bar * TimeSignature::default().bar().0;
        let notes: Vec<Note> = notes.iter().map(|note| Note { onset: Ticks(note.onset.0 + first), ..*note }).collect();
        let part = GivenPart { track_idx: lane.into(), drums: lane == DRUM_LANE, notes: &notes };
        music.replace_bar(usize::try_from(bar).ok()?, &Given::from_parts(&[part], STEPS_PER_BAR, n_bars).0);
        Some(Self { lane, source: CAPTURED.into(), music })
    }

    /// Bars until it repeats.
    #[must_use]
    pub fn n_bars(&self) -> usize {
        self.music.n_bars()
    }

    /// Its notes.
    #[must_use]
    pub fn n_notes(&self) -> usize {
        self.music.n_notes()
    }
}

/// A saved document that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by a newer version.
    #[error("it was saved by a newer version of Barline (format {got}; this version reads up to {STATE_VERSION})")]
    Newer {
        /// Version found.
        got: u32,
    },
    /// Not JSON of this form.
    #[error("it cannot be read: {0}")]
    Json(String),
    /// A field is too long.
    #[error("its {field} is too long ({got}; at most {max})")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Length found.
        got: usize,
        /// Longest allowed.
        max: usize,
    },
    /// A parameter has a value outside its range.
    #[error("its parameter `{id}` is wrong: {value}")]
    Parameter {
        /// Parameter id.
        id: String,
        /// Value found.
        value: String,
    },
    /// The progression cannot be read.
    #[error("its chords cannot be read: {0}")]
    Progression(#[from] ProgressionError),
}

/// Saved logits that cannot be unpacked. Barline then generates the pattern anew.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogitsError {
    /// Not base64.
    #[error("the saved pattern is not base64: {0}")]
    Base64(String),
    /// Not deflate, or longer than said.
    #[error("the saved pattern cannot be unpacked: {0}")]
    Deflate(String),
    /// A size or number is out of range.
    #[error("the saved pattern's {field} is out of range")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// The logits do not fill the roll.
    #[error("the saved pattern does not hold together: {0}")]
    Roll(#[from] RollError),
}

/// A pattern in the form it is saved in: numbers as JSON, logits deflated and in base64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPattern {
    /// What it was made from.
    pub spec: PatternSpec,
    /// The model that made it.
    pub model: ModelId,
    /// The manifest's factor from the temperature knob to the model's temperature.
    pub temperature_factor: f32,
    /// Where the cells lie.
    pub layout: RollLayout,
    /// Bars.
    pub n_bars: u32,
    /// The cells `(n_bars, n_steps, n_cells)`, i8, deflated, in base64.
    pub logits: String,
    /// What ran the model when it was made, for people (and `cargo xtask demo`) to see; nothing depends on it.
    #[serde(default)]
    pub made_with: Option<MadeWith>,
}

/// What ran the model that made a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeWith {
    /// Runtime and version.
    pub runtime: String,
    /// Execution provider.
    pub provider: String,
    /// Mean time of one inference, in microseconds. Only where it was asked for: two instances with the same settings must save
    /// the same bytes, and validators compare them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_us: Option<u64>,
}

impl SavedPattern {
    /// Packs a pattern. `None` for an endless one: what is delivered of it depends on where the song last played, so that saving
    /// the same project twice would give two files.
    #[must_use]
    pub fn pack(pattern: &Pattern) -> Option<Self> {
        if !matches!(pattern.spec.span, Span::Bars(_)) || pattern.first_bar != 0 {
            return None;
        }
        let bytes: Vec<u8> = pattern.roll.cells().iter().map(|cell| cell.cast_unsigned()).collect();
        Some(Self {
            spec: pattern.spec.clone(),
            model: pattern.model.clone(),
            temperature_factor: pattern.temperature_factor,
            layout: pattern.roll.layout().clone(),
            n_bars: u32::try_from(pattern.roll.n_bars()).ok()?,
            logits: BASE64.encode(miniz_oxide::deflate::compress_to_vec(&bytes, 6)),
            made_with: None,
        })
    }

    /// Unpacks the pattern under a key. For the worker: 25 KB of logits take some 0.1 ms.
    ///
    /// # Errors
    /// [`LogitsError`] when it is damaged; nothing is allocated beyond what its own sizes allow.
    pub fn unpack(&self, key: u64) -> Result<Pattern, LogitsError> {
        let range = |field| LogitsError::Range { field };
        if !(1..=MAX_PATTERN_BARS).contains(&self.n_bars) || self.spec.span != Span::Bars(self.n_bars) {
            return Err(range("length"));
        }
        if self.layout.n_steps == 0 || usize::from(self.layout.n_steps) > MAX_STEPS {
            return Err(range("number of steps"));
        }
        let tracks = &self.layout.tracks;
        let reaches = |t: &crate::music::roll::TrackLayout| u32::from(t.lowest_pitch.number()) + u32::from(t.n_pitches);
        if tracks.is_empty() || tracks.len() > MAX_TRACKS || tracks.iter().any(|t| t.n_pitches == 0 || reaches(t) > 128) {
            return Err(range("track layout"));
        }
        if !(self.temperature_factor > 0.0 && self.temperature_factor <= 100.0) {
            return Err(range("temperature factor"));
        }
        // What is not finite would be saved as null, and the next project refused.
        let morphs = self.spec.morph.is_none_or(|m| (0.0..=1.0).contains(&m.amount));
        if !morphs || !(0.0..=100.0).contains(&self.spec.variation) || self.spec.primer.len() > MAX_STEPS {
            return Err(range("specification"));
        }
        let n_bars = usize::try_from(self.n_bars).map_err(|_| range("length"))?;
        let n_cells = n_bars * usize::from(self.layout.n_steps) * self.layout.n_cells();
        if n_cells > MAX_LOGITS {
            return Err(range("size"));
        }
        let packed = BASE64.decode(&self.logits).map_err(|e| LogitsError::Base64(e.to_string()))?;
        let bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(&packed, n_cells)
            .map_err(|e| LogitsError::Deflate(e.to_string()))?;
        let cells = bytes.into_iter().map(u8::cast_signed).collect();
        Ok(Pattern {
            key,
            spec: self.spec.clone(),
            model: self.model.clone(),
            first_bar: 0,
            roll: LogitRoll::from_cells(self.layout.clone(), n_bars, cells)?,
            temperature_factor: self.temperature_factor,
        })
    }
}

/// What is written into the host's project under one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`STATE_VERSION`] of the program that wrote it.
    pub version: u32,
    /// What the user set.
    pub settings: Settings,
    /// The pattern that played, if there was one.
    #[serde(default)]
    pub pattern: Option<SavedPattern>,
}

impl Default for Document {
    fn default() -> Self {
        Self { version: STATE_VERSION, settings: Settings::default(), pattern: None }
    }
}

impl Document {
    /// Reads and checks a document. The logits stay packed.
    ///
    /// # Errors
    /// [`StateError`] when it is from a newer version, not of this form, or holds something that cannot be used.
    pub fn from_json(json: &str) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(json).map_err(|e| StateError::Json(e.to_string()))?;
        if head.version > STATE_VERSION {
            return Err(StateError::Newer { got: head.version });
        }
        let document: Self = serde_json::from_str(json).map_err(|e| StateError::Json(e.to_string()))?;
        document.settings.check()?;
        Ok(document)
    }
}

/// Re-rolls of some takes together.
#[must_use]
pub fn n_retakes(takes: &[TakeAddress]) -> usize {
    takes.iter().map(|take| take.retakes.len()).sum()
}

impl Settings {
    fn check(&self) -> Result<(), StateError> {
        let limit = |field, got, max| if got > max { Err(StateError::TooLong { field, got, max }) } else { Ok(()) };
        limit("progression", self.progression.len(), MAX_TEXT)?;
        limit("model id", self.model.len(), MAX_MODEL_ID)?;
        limit("primer", self.primer.len(), MAX_STEPS)?;
        limit("list of re-rolls", self.takes.len(), MAX_TAKES)?;
        limit("list of locks", self.locks.len(), MAX_LOCKS)?;
        let max_bars = usize::try_from(MAX_PATTERN_BARS).unwrap_or(usize::MAX);
        self.locks.iter().try_for_each(|lock| limit("lock", lock.music.n_bars(), max_bars))?;
        if let Some(given) = &self.given {
            limit("given track", given.music.n_bars(), max_bars)?;
            limit("given track's source", given.source.len(), MAX_SOURCE)?;
        }
        limit("list of favourites", self.favourites.len(), MAX_FAVOURITES)?;
        limit("list of the favourites' re-rolls", n_retakes(&self.favourites), MAX_FAVOURITE_RETAKES)?;
        self.favourites.iter().try_for_each(|kept| limit("list of a favourite's re-rolls", kept.retakes.len(), MAX_TAKES))?;
        self.progression()?;
        Ok(())
    }

    /// Adds what was re-rolled, locked and given to a specification of everything else.
    pub fn complete(&self, spec: &mut PatternSpec) {
        let base = self.base(spec);
        spec.given = self.given_in(spec.span);
        spec.takes.clone_from(&self.takes);
        let Span::Bars(n_bars) = spec.span else {
            spec.takes.retain(|retake| retake.bars == Retake::ALL_BARS);
            return;
        };
        for lock in &self.locks {
            let music = lock.music.clone().resized(n_bars);
            if lock.base == base {
                spec.locks.push(Lock { after: lock.after, music });
            } else {
                // An edit under other chords or another seed comes after what was locked here before it.
                for track in 0..MAX_TRACKS {
                    let (tracks, bars) = (1_u16 << track, music.bars_of(track));
                    let of_before = spec.locks.iter_mut().filter(|_| bars != 0);
                    of_before.for_each(|before| before.music = std::mem::take(&mut before.music).without(tracks, bars));
                }
                spec.locks.retain(|before| !before.music.is_empty());
                spec.given.lay_over(&music);
            }
        }
    }

    /// Names a pattern by what it is made from, re-rolls and locks apart. `spec` says the rest.
    #[must_use]
    pub fn base(&self, spec: &PatternSpec) -> u64 {
        let given = self.given_in(spec.span);
        let bare = PatternSpec { given, takes: Vec::new(), locks: Vec::new(), ..spec.clone() };
        // By the wish, which stays where the model is missing.
        structure_key(&bare, &ModelId { id: self.model.clone(), sha256: String::new() })
    }

    fn given_in(&self, span: Span) -> Given {
        match (&self.given, span) {
            (None, _) => Given::default(),
            (Some(given), Span::Bars(n_bars)) => given.music.repeated(n_bars),
            (Some(given), Span::Endless) => given.music.clone(),
        }
    }

    /// The progression, read.
    ///
    /// # Errors
    /// [`ProgressionError`] when the text cannot be read, which [`Document::from_json`] and the editor do not let through.
    pub fn progression(&self) -> Result<Progression, ProgressionError> {
        self.progression.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::{Morph, Retake},
        music::{
            note::{Channel, Pitch, tests::note},
            roll::{TrackKind, TrackLayout},
            smf::SongTrack,
        },
    };

    fn pattern() -> Pattern {
        let layout = RollLayout {
            n_steps: 16,
            tracks: vec![TrackLayout {
                kind: TrackKind::OneOfN,
                lowest_pitch: Pitch::new(48).unwrap(),
                n_pitches: 37,
                merge_repeats: false,
            }],
        };
        let cells = (0..2 * 16 * 39).map(|i| i8::try_from((i * i * 7) % 255 - 128).unwrap()).collect();
        Pattern {
            key: 11,
            spec: PatternSpec {
                seed: 65_521,
                take: 3,
                variation: 0.7,
                span: Span::Bars(2),
                progression: "Dm7 | G7/B".parse().unwrap(),
                primer: vec![5, 38, 37],
                takes: vec![Retake { tracks: 1, bars: 2, take: 6 }],
                morph: Some(Morph { seed: 9, amount: 0.375 }),
                ..PatternSpec::default()
            },
            model: ModelId { id: "melody".into(), sha256: "ab12".into() },
            first_bar: 0,
            roll: LogitRoll::from_cells(layout, 2, cells).unwrap(),
            temperature_factor: 0.85,
        }
    }

    fn document() -> Document {
        Document {
            settings: Settings {
                progression: "Dm7 | G7/B".into(),
                model: "midinet".into(),
                primer: vec![1, 0, 9],
                ..Settings::default()
            },
            pattern: SavedPattern::pack(&pattern()),
            ..Document::default()
        }
    }

    #[test]
    fn a_document_survives_json_and_the_pattern_is_the_same() {
        let json = serde_json::to_string(&document()).unwrap();
        let read = Document::from_json(&json).unwrap();
        assert_eq!(read, document());
        assert_eq!(read.pattern.unwrap().unpack(11).unwrap(), pattern());
    }

    #[test]
    fn what_was_rerolled_locked_and_given_survives_json() {
        let given = GivenTrack::captured(None, 3, 8, 13, &[note(0, 300, 60), note(1700, 300, 67)]).unwrap();
        assert_eq!((given.n_bars(), given.n_notes(), given.music.bars_of(3)), (8, 2, 0b10_0000));
        let locks = vec![TakenLock { base: u64::MAX - 3, after: 1, music: given.music.clone().kept(0b1000, 0b10_0000) }];
        let takes = vec![Retake { tracks: 3, bars: 9, take: 1001 }];
        let favourites = vec![TakeAddress { seed: 41, take: 2, retakes: takes.clone() }, TakeAddress::of(&pattern().spec)];
        let settings = Settings { takes, locks, given: Some(given), favourites, ..document().settings };
        let saved = Document { settings: settings.clone(), ..document() };
        let json = serde_json::to_string(&saved).unwrap();
        assert_eq!(Document::from_json(&json).unwrap(), saved);
        // Where nothing of it is, a document is as it ever was.
        let json = r#"{"progression":"C","model":"melody","primer":[]}"#;
        let plain: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), json);
        // Lists that no editor makes are refused.
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings.clone();
            change(&mut settings);
            let json = serde_json::to_string(&Document { settings, ..document() }).unwrap();
            assert!(matches!(Document::from_json(&json), Err(StateError::TooLong { .. })), "{json}");
        };
        refused(&|s| s.takes = vec![s.takes[0]; 65]);
        refused(&|s| s.locks = vec![s.locks[0].clone(); 66]);
        refused(&|s| s.favourites = vec![s.favourites[0].clone(); 13]);
        refused(&|s| s.favourites[1].retakes = vec![s.takes[0]; 65]);
        refused(&|s| s.favourites = vec![TakeAddress { retakes: vec![s.takes[0]; 52], ..TakeAddress::default() }; 5]);
        refused(&|s| s.locks[0].music = std::mem::take(&mut s.locks[0].music).resized(33));
        refused(&|s| s.given.iter_mut().for_each(|given| given.music = given.music.repeated(40)));
        refused(&|s| s.given.iter_mut().for_each(|given| given.source = "x".repeat(300)));
    }

    #[test]
    fn a_song_becomes_the_given_track_or_says_why_not() {
        let track = |channel, name: &str, bars: i64| SongTrack {
            name: name.into(),
            channel: Channel::new(channel).unwrap(),
            program: None,
            notes: (0..bars).map(|bar| note(bar * 1920 + 250, 100, 45)).collect(),
        };
        let song = |tracks| Song { tracks, ..Song::default() };
        let of = |song: &Song, lane| GivenTrack::from_song(song, "tune.mid".into(), lane);
        let both = song(vec![track(9, "Kit", 2), track(2, "", 0), track(3, "Low", 41)]);
        let drums = of(&both, 0).unwrap();
        assert_eq!((drums.source.as_str(), drums.n_bars(), drums.n_notes()), ("tune.mid, Kit", 2, 2));
        assert!(drums.music.has(0, TrackKind::Onsets, 1));
        let bass = of(&both, 1).unwrap();
        assert_eq!((bass.source.as_str(), bass.n_bars(), bass.n_notes()), ("tune.mid, Low, bars 1 to 32 of 41", 32, 32));
        assert_eq!(of(&song(vec![track(0, "", 5)]), 4).unwrap().n_bars(), 8);
        let error = |song: &Song, lane| of(song, lane).unwrap_err().to_string();
        assert_eq!(error(&song(vec![track(9, "Kit", 2)]), 1), "`tune.mid` has no notes but drums");
        assert_eq!(error(&song(vec![track(1, "", 0)]), 0), "`tune.mid` has no drums (notes on channel 10)");
        let waltz = Song { meters: vec![(Ticks(0), TimeSignature::new(7, 8).unwrap())], ..both };
        assert_eq!(error(&waltz, 1), "`tune.mid` is in 7/8; the band plays in 4/4");
        let missing = GivenTrack::from_file(Path::new("no/such/tune.mid"), 1).unwrap_err();
        assert!(matches!(missing, GivenFileError::Read { source: SmfError::File(_), .. }), "{missing}");
    }

    #[test]
    fn every_variation_survives_json() {
        for hundredth in 0_u8..=200 {
            let mut saved = SavedPattern::pack(&pattern()).unwrap();
            saved.spec.variation = f32::from(hundredth) * 0.01;
            let json = serde_json::to_string(&saved).unwrap();
            assert_eq!(serde_json::from_str::<SavedPattern>(&json).unwrap(), saved);
        }
    }

    #[test]
    fn a_newer_document_is_refused_by_its_version() {
        let json = r#"{"version":2,"settings":{"progression":"C","model":"melody","something":"new"},"more":[1]}"#;
        assert_eq!(Document::from_json(json), Err(StateError::Newer { got: 2 }));
    }

    #[test]
    fn garbage_is_refused() {
        let with = |from: &str, to: &str| serde_json::to_string(&document()).unwrap().replace(from, to);
        for json in ["", "null", "[]", "{}", "{\"version\":-1}", "{\"version\":1}", &with("\"settings\"", "\"setings\"")] {
            assert!(matches!(Document::from_json(json), Err(StateError::Json(_))), "{json}");
        }
        assert!(Document::from_json(&with("\"progression\":\"Dm7 |", "\"progression\":\"Hm7 |")).is_err());
        assert!(matches!(
            Document::from_json(&with("\"model\":\"midinet\"", &format!("\"model\":\"{}\"", "m".repeat(65)))),
            Err(StateError::TooLong { field: "model id", got: 65, max: 64 })
        ));
    }

    #[test]
    fn unreadable_chords_name_the_bar() {
        let json = r#"{"version":1,"settings":{"progression":"C | Xm","model":"melody"}}"#;
        let error = Document::from_json(json).unwrap_err();
        assert!(matches!(error, StateError::Progression(ProgressionError::Chord { bar: 2, .. })), "{error}");
    }

    #[test]
    fn damaged_logits_are_refused_and_the_settings_stay() {
        let good = SavedPattern::pack(&pattern()).unwrap();
        let damage = |change: &dyn Fn(&mut SavedPattern)| {
            let mut saved = good.clone();
            change(&mut saved);
            // The document itself is still taken: only the logits are lost.
            let json = serde_json::to_string(&Document { pattern: Some(saved.clone()), ..document() }).unwrap();
            assert!(Document::from_json(&json).is_ok());
            saved.unpack(1).unwrap_err()
        };
        assert!(matches!(damage(&|s| s.logits.push('!')), LogitsError::Base64(_)));
        assert!(matches!(damage(&|s| s.logits = BASE64.encode([0xff; 9])), LogitsError::Deflate(_)));
        let longer = |s: &mut SavedPattern| s.logits = BASE64.encode(miniz_oxide::deflate::compress_to_vec(&[0; 9999], 6));
        assert!(matches!(damage(&longer), LogitsError::Deflate(_)));
        let shorter = |s: &mut SavedPattern| s.logits = BASE64.encode(miniz_oxide::deflate::compress_to_vec(&[0; 9], 6));
        assert!(matches!(damage(&shorter), LogitsError::Roll(_)));
        assert!(matches!(damage(&|s| s.n_bars = 3), LogitsError::Range { field: "length" }));
        let morph = |s: &mut SavedPattern| s.spec.morph = Some(Morph { seed: 9, amount: 44.0 });
        assert!(matches!(damage(&morph), LogitsError::Range { field: "specification" }));
        assert!(matches!(damage(&|s| s.layout.n_steps = 0), LogitsError::Range { .. }));
        assert!(matches!(damage(&|s| s.layout.tracks.clear()), LogitsError::Range { field: "track layout" }));
        assert!(matches!(
            damage(&|s| s.layout.tracks.iter_mut().for_each(|t| t.n_pitches = 120)),
            LogitsError::Range { field: "track layout" }
        ));
        assert!(matches!(damage(&|s| s.temperature_factor = 0.0), LogitsError::Range { field: "temperature factor" }));
    }

    #[test]
    fn an_endless_pattern_is_not_saved() {
        let mut endless = pattern();
        endless.spec.span = Span::Endless;
        assert_eq!(SavedPattern::pack(&endless), None);
    }
}
