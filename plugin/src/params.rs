//! The parameters a host sees and automates, and the saved document beside them. The host and the editor write, the audio thread
//! reads every value once per block, the worker whenever it polls; all values are atomics.
//!
//! Ids, enum ids and the key of the document never change meaning; names may.

mod edits;
pub mod presets;
mod takes;

pub use crate::player::knobs::LANE_NAMES;
pub use edits::{Edit, check_drawing};
pub use takes::{Stepped, TakesError};

use crate::{
    generate::{Morph, Span, StructureKnobs, candidates::MAX_CANDIDATES},
    music::{
        chord::{Chord, ProgressionError},
        note::{Channel, PitchClass},
        scale::{Key, Scale},
    },
    player::{
        Knobs,
        knobs::{Lane, MAX_LANES, default_channel},
    },
    state::{Document, SavedPattern, Settings, StateError},
};
use nice_plug::{
    formatters,
    params::persist::PersistentField,
    plugin::ParamValue,
    prelude::{BoolParam, Enum, EnumParam, FloatParam, FloatRange, IntParam, IntRange, Param, ParamSetter, Params, PluginState},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// Key of the document among the host's saved fields.
pub const DOCUMENT_KEY: &str = "barline";
/// Highest seed: every seed is exact as the `f32` between 0 and 1 that hosts store.
pub const MAX_SEED: i32 = 65_535;
/// Highest take.
pub const MAX_TAKE: i32 = 999;

/// How long the pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Length {
    #[id = "1"]
    #[name = "1 bar"]
    Bars1,
    #[id = "2"]
    #[name = "2 bars"]
    Bars2,
    #[id = "4"]
    #[name = "4 bars"]
    Bars4,
    #[id = "8"]
    #[name = "8 bars"]
    Bars8,
    #[id = "16"]
    #[name = "16 bars"]
    Bars16,
    #[id = "32"]
    #[name = "32 bars"]
    Bars32,
    #[id = "endless"]
    #[name = "Endless"]
    Endless,
}

impl Length {
    /// How far the pattern reaches.
    #[must_use]
    pub fn span(self) -> Span {
        match self {
            Self::Bars1 => Span::Bars(1),
            Self::Bars2 => Span::Bars(2),
            Self::Bars4 => Span::Bars(4),
            Self::Bars8 => Span::Bars(8),
            Self::Bars16 => Span::Bars(16),
            Self::Bars32 => Span::Bars(32),
            Self::Endless => Span::Endless,
        }
    }
}

/// Tonic that notes are snapped to, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KeyRoot {
    #[id = "off"]
    #[name = "Off"]
    Off,
    #[id = "c"]
    #[name = "C"]
    C,
    #[id = "c#"]
    #[name = "C#"]
    CSharp,
    #[id = "d"]
    #[name = "D"]
    D,
    #[id = "eb"]
    #[name = "Eb"]
    EFlat,
    #[id = "e"]
    #[name = "E"]
    E,
    #[id = "f"]
    #[name = "F"]
    F,
    #[id = "f#"]
    #[name = "F#"]
    FSharp,
    #[id = "g"]
    #[name = "G"]
    G,
    #[id = "ab"]
    #[name = "Ab"]
    AFlat,
    #[id = "a"]
    #[name = "A"]
    A,
    #[id = "bb"]
    #[name = "Bb"]
    BFlat,
    #[id = "b"]
    #[name = "B"]
    B,
}

impl KeyRoot {
    /// The tonic; `None` when off.
    #[must_use]
    pub fn tonic(self) -> Option<PitchClass> {
        let above_c = match self {
            Self::Off => return None,
            Self::C => 0,
            Self::CSharp => 1,
            Self::D => 2,
            Self::EFlat => 3,
            Self::E => 4,
            Self::F => 5,
            Self::FSharp => 6,
            Self::G => 7,
            Self::AFlat => 8,
            Self::A => 9,
            Self::BFlat => 10,
            Self::B => 11,
        };
        Some(PitchClass::of(above_c))
    }
}

/// [`Scale`] as a host shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ScaleChoice {
    #[id = "major"]
    #[name = "Major"]
    Major,
    #[id = "minor"]
    #[name = "Minor"]
    Minor,
    #[id = "harmonic-minor"]
    #[name = "Harmonic minor"]
    HarmonicMinor,
    #[id = "melodic-minor"]
    #[name = "Melodic minor"]
    MelodicMinor,
    #[id = "dorian"]
    #[name = "Dorian"]
    Dorian,
    #[id = "phrygian"]
    #[name = "Phrygian"]
    Phrygian,
    #[id = "lydian"]
    #[name = "Lydian"]
    Lydian,
    #[id = "mixolydian"]
    #[name = "Mixolydian"]
    Mixolydian,
    #[id = "locrian"]
    #[name = "Locrian"]
    Locrian,
    #[id = "major-pentatonic"]
    #[name = "Major pentatonic"]
    MajorPentatonic,
    #[id = "minor-pentatonic"]
    #[name = "Minor pentatonic"]
    MinorPentatonic,
    #[id = "blues"]
    #[name = "Blues"]
    Blues,
}

impl ScaleChoice {
    /// The scale.
    #[must_use]
    pub fn scale(self) -> Scale {
        match self {
            Self::Major => Scale::Major,
            Self::Minor => Scale::Minor,
            Self::HarmonicMinor => Scale::HarmonicMinor,
            Self::MelodicMinor => Scale::MelodicMinor,
            Self::Dorian => Scale::Dorian,
            Self::Phrygian => Scale::Phrygian,
            Self::Lydian => Scale::Lydian,
            Self::Mixolydian => Scale::Mixolydian,
            Self::Locrian => Scale::Locrian,
            Self::MajorPentatonic => Scale::MajorPentatonic,
            Self::MinorPentatonic => Scale::MinorPentatonic,
            Self::Blues => Scale::Blues,
        }
    }
}

/// Where the chords come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ChordSource {
    /// The progression as written.
    #[id = "progression"]
    #[name = "Progression"]
    Progression,
    /// The chord held at the MIDI input.
    #[id = "midi"]
    #[name = "MIDI input"]
    Midi,
}

/// A lane that plays alone, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OnlyLane {
    #[id = "all"]
    #[name = "All Lanes"]
    All,
    #[id = "lane1"]
    #[name = "Drums"]
    Lane1,
    #[id = "lane2"]
    #[name = "Bass"]
    Lane2,
    #[id = "lane3"]
    #[name = "Piano"]
    Lane3,
    #[id = "lane4"]
    #[name = "Guitar"]
    Lane4,
    #[id = "lane5"]
    #[name = "Strings"]
    Lane5,
}

impl OnlyLane {
    /// The lane's index; `None` for all.
    #[must_use]
    pub fn lane_idx(self) -> Option<u8> {
        match self {
            Self::All => None,
            Self::Lane1 => Some(0),
            Self::Lane2 => Some(1),
            Self::Lane3 => Some(2),
            Self::Lane4 => Some(3),
            Self::Lane5 => Some(4),
        }
    }
}

/// The track that captured input stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum GivenLane {
    #[id = "lane1"]
    #[name = "Drums"]
    Lane1,
    #[id = "lane2"]
    #[name = "Bass"]
    Lane2,
    #[id = "lane3"]
    #[name = "Piano"]
    Lane3,
    #[id = "lane4"]
    #[name = "Guitar"]
    Lane4,
    #[id = "lane5"]
    #[name = "Strings"]
    Lane5,
}

impl GivenLane {
    /// The lane's index.
    #[must_use]
    pub fn lane_idx(self) -> u8 {
        match self {
            Self::Lane1 => 0,
            Self::Lane2 => 1,
            Self::Lane3 => 2,
            Self::Lane4 => 3,
            Self::Lane5 => 4,
        }
    }
}

/// Where what Barline plays is heard through its own SoundFont.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PreviewSound {
    #[id = "standalone"]
    #[name = "Standalone"]
    Standalone,
    #[id = "on"]
    #[name = "On"]
    On,
    #[id = "off"]
    #[name = "Off"]
    Off,
}

/// How long the loop is that input is captured into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CaptureLength {
    #[id = "4"]
    #[name = "4 bars"]
    Bars4,
    #[id = "8"]
    #[name = "8 bars"]
    Bars8,
    #[id = "16"]
    #[name = "16 bars"]
    Bars16,
    #[id = "32"]
    #[name = "32 bars"]
    Bars32,
}

impl CaptureLength {
    /// Bars.
    #[must_use]
    pub fn n_bars(self) -> u32 {
        match self {
            Self::Bars4 => 4,
            Self::Bars8 => 8,
            Self::Bars16 => 16,
            Self::Bars32 => 32,
        }
    }
}

/// What every lane has. The ids get the lane's prefix, `lane1_` to `lane5_`.
#[derive(Params)]
pub struct LaneParams {
    /// It plays at all.
    #[id = "on"]
    pub on: BoolParam,
    /// It is silent for now.
    #[id = "mute"]
    pub mute: BoolParam,
    /// It plays, and what is not solo does not.
    #[id = "solo"]
    pub solo: BoolParam,
    /// Added to the logits of its notes.
    #[id = "density"]
    pub density: FloatParam,
    /// Added to the velocity.
    #[id = "velocity"]
    pub velocity: IntParam,
    /// Its channel, 1 to 16, among several lanes.
    #[id = "channel"]
    pub channel: IntParam,
}

/// A lane that can be moved by octaves: any but the drums.
#[derive(Params)]
pub struct PitchedLaneParams {
    /// What every lane has.
    #[nested]
    pub lane: LaneParams,
    /// Octaves up or down, besides the octave of all.
    #[id = "octave"]
    pub octave: IntParam,
}

impl LaneParams {
    fn new(lane_idx: usize) -> Self {
        let named = |what: &str| format!("{} {what}", LANE_NAMES.get(lane_idx).copied().unwrap_or_default());
        Self {
            on: switch(&named("On"), true),
            mute: switch(&named("Mute"), false),
            solo: switch(&named("Solo"), false),
            density: FloatParam::new(named("Density"), 0.0, FloatRange::Linear { min: -4.0, max: 4.0 })
                .with_step_size(0.05)
                .with_value_to_string(Arc::new(|logits| if logits == 0.0 { "0.00".into() } else { format!("{logits:+.2}") })),
            velocity: IntParam::new(named("Velocity"), 0, IntRange::Linear { min: -64, max: 64 }).with_value_to_string(signed()),
            channel: channel(&named("Channel"), i32::from(default_channel(lane_idx).index()) + 1),
        }
    }
}

impl PitchedLaneParams {
    fn new(lane_idx: usize) -> Self {
        let name = format!("{} Octave", LANE_NAMES.get(lane_idx).copied().unwrap_or_default());
        Self { lane: LaneParams::new(lane_idx), octave: octave(&name) }
    }
}

/// All parameters, and the saved document.
#[derive(Params)]
pub struct BarlineParams {
    /// Spread of the decoding's noise.
    #[id = "temperature"]
    pub temperature: FloatParam,
    /// Probability that an onset must exceed.
    #[id = "threshold"]
    pub threshold: FloatParam,
    /// Spread of the network's noise.
    #[id = "variation"]
    pub variation: FloatParam,
    /// Seed.
    #[id = "seed"]
    pub seed: IntParam,
    /// Take: another try with the same seed.
    #[id = "take"]
    pub take: IntParam,
    /// Pattern length.
    #[id = "length"]
    pub length: EnumParam<Length>,
    /// Where the chords come from.
    #[id = "chord_source"]
    pub chord_source: EnumParam<ChordSource>,
    /// Tonic to snap to.
    #[id = "key_root"]
    pub key_root: EnumParam<KeyRoot>,
    /// Scale to snap to.
    #[id = "scale"]
    pub scale: EnumParam<ScaleChoice>,
    /// Octaves up or down, of all lanes but drums.
    #[id = "octave"]
    pub octave: IntParam,
    /// Channel of a model with one track, or of all lanes on one channel, 1 to 16.
    #[id = "channel"]
    pub channel: IntParam,
    /// Velocity before accents, of all lanes.
    #[id = "velocity"]
    pub velocity: IntParam,
    /// Weight of the metrical accents.
    #[id = "accent"]
    pub accent: FloatParam,
    /// Spread of the velocities.
    #[id = "humanize_velocity"]
    pub humanize_velocity: FloatParam,
    /// Delay of every other sixteenth.
    #[id = "swing"]
    pub swing: FloatParam,
    /// Spread of the onsets.
    #[id = "humanize"]
    pub humanize: FloatParam,
    /// Part of its duration that a note sounds.
    #[id = "note_length"]
    pub note_length: FloatParam,
    /// Play the chords too.
    #[id = "chords_on"]
    pub chords_on: BoolParam,
    /// Channel of the chords, 1 to 16.
    #[id = "chords_channel"]
    pub chords_channel: IntParam,
    /// Velocity of the chords.
    #[id = "chords_velocity"]
    pub chords_velocity: IntParam,
    /// Pass the MIDI input through.
    #[id = "thru"]
    pub thru: BoolParam,
    /// Bypass.
    #[id = "bypass"]
    pub bypass: BoolParam,
    /// All lanes on the channel of the melody.
    #[id = "one_channel"]
    pub one_channel: BoolParam,
    /// The lane that plays alone.
    #[id = "only_lane"]
    pub only_lane: EnumParam<OnlyLane>,
    /// A listen without an instrument.
    #[id = "preview"]
    pub preview: EnumParam<PreviewSound>,
    /// How loud that is.
    #[id = "preview_volume"]
    pub preview_volume: FloatParam,
    /// How far the noise is on its way from the seed to the other one.
    #[id = "morph"]
    pub morph: FloatParam,
    /// The other seed.
    #[id = "seed_b"]
    pub seed_b: IntParam,
    /// Tries at every phrase, of which the best is kept.
    #[id = "candidates"]
    pub candidates: IntParam,
    /// Capture the MIDI input.
    #[id = "capture"]
    pub capture: BoolParam,
    /// Length of the captured loop.
    #[id = "capture_bars"]
    pub capture_bars: EnumParam<CaptureLength>,
    /// The track that the captured loop stands for.
    #[id = "given_lane"]
    pub given_lane: EnumParam<GivenLane>,
    /// The melody of a model with one track; drums in a band.
    #[nested(id_prefix = "lane1", group = "Drums")]
    pub lane1: LaneParams,
    /// Bass.
    #[nested(id_prefix = "lane2", group = "Bass")]
    pub lane2: PitchedLaneParams,
    /// Piano.
    #[nested(id_prefix = "lane3", group = "Piano")]
    pub lane3: PitchedLaneParams,
    /// Guitar.
    #[nested(id_prefix = "lane4", group = "Guitar")]
    pub lane4: PitchedLaneParams,
    /// Strings.
    #[nested(id_prefix = "lane5", group = "Strings")]
    pub lane5: PitchedLaneParams,
    /// What is saved besides.
    #[persist = "barline"]
    pub saved: Saved,
}

impl Default for BarlineParams {
    fn default() -> Self {
        Self {
            temperature: hundredths("Temperature", 1.0, 2.0),
            threshold: hundredths("Threshold", 0.5, 1.0),
            variation: hundredths("Variation", 1.0, 2.0),
            seed: IntParam::new("Seed", 0, IntRange::Linear { min: 0, max: MAX_SEED }),
            take: IntParam::new("Take", 0, IntRange::Linear { min: 0, max: MAX_TAKE }),
            length: EnumParam::new("Pattern Length", Length::Bars8),
            chord_source: EnumParam::new("Chord Source", ChordSource::Progression),
            key_root: EnumParam::new("Key", KeyRoot::Off),
            scale: EnumParam::new("Scale", ScaleChoice::Major),
            octave: octave("Octave"),
            channel: channel("Channel", 1),
            velocity: velocity("Velocity", Knobs::default().velocity),
            accent: percent("Accent", Knobs::default().accent, 0.0),
            humanize_velocity: percent("Humanize Velocity", Knobs::default().humanize_velocity, 0.0),
            swing: percent("Swing", 0.0, 0.0),
            humanize: percent("Humanize", 0.0, 0.0),
            note_length: percent("Note Length", 1.0, 0.05),
            chords_on: switch("Play Chords", false),
            // Past the lanes' own.
            chords_channel: channel("Chords Channel", 6),
            chords_velocity: velocity("Chords Velocity", Knobs::default().chord_velocity),
            thru: switch("MIDI Thru", false),
            bypass: switch("Bypass", false).make_bypass(),
            one_channel: switch("All on One Channel", false),
            only_lane: EnumParam::new("Only Lane", OnlyLane::All),
            preview: EnumParam::new("Preview", PreviewSound::Standalone).non_automatable(),
            preview_volume: percent("Preview Volume", 0.8, 0.0).non_automatable(),
            morph: percent("Morph", 0.0, 0.0),
            seed_b: IntParam::new("Seed B", 1, IntRange::Linear { min: 0, max: MAX_SEED }),
            candidates: IntParam::new("Candidates", 1, IntRange::Linear { min: 1, max: MAX_CANDIDATES.cast_signed() }),
            capture: switch("Capture Input", false),
            capture_bars: EnumParam::new("Capture Length", CaptureLength::Bars4),
            given_lane: EnumParam::new("Capture Lane", GivenLane::Lane3),
            lane1: LaneParams::new(0),
            lane2: PitchedLaneParams::new(1),
            lane3: PitchedLaneParams::new(2),
            lane4: PitchedLaneParams::new(3),
            lane5: PitchedLaneParams::new(4),
            saved: Saved::default(),
        }
    }
}

/// 0 to `max` in hundredths, shown with two decimals.
fn hundredths(name: &str, default: f32, max: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max })
        .with_step_size(0.01)
        .with_value_to_string(formatters::v2s_f32_rounded(2))
}

/// `min` to 1, shown as 0 to 100 %.
fn percent(name: &str, default: f32, min: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min, max: 1.0 })
        .with_step_size(0.01)
        .with_unit(" %")
        .with_value_to_string(formatters::v2s_f32_percentage(0))
        .with_string_to_value(formatters::s2v_f32_percentage())
}

fn channel(name: &str, default: i32) -> IntParam {
    IntParam::new(name, default, IntRange::Linear { min: 1, max: 16 })
}

fn velocity(name: &str, default: u8) -> IntParam {
    IntParam::new(name, i32::from(default), IntRange::Linear { min: 1, max: 127 })
}

fn octave(name: &str) -> IntParam {
    IntParam::new(name, 0, IntRange::Linear { min: -3, max: 3 }).with_value_to_string(signed())
}

/// A number with its sign.
fn signed() -> Arc<dyn Fn(i32) -> String + Send + Sync> {
    Arc::new(|number| if number == 0 { "0".into() } else { format!("{number:+}") })
}

/// A switch, shown as On and Off.
fn switch(name: &str, default: bool) -> BoolParam {
    BoolParam::new(name, default)
        .with_value_to_string(Arc::new(|on| if on { "On".into() } else { "Off".into() }))
        .with_string_to_value(Arc::new(|text| match text.to_lowercase().as_str() {
            "on" | "1" | "yes" | "true" => Some(true),
            "off" | "0" | "no" | "false" => Some(false),
            _ => None,
        }))
}

/// What a host's project holds under [`DOCUMENT_KEY`], or, put there by [`filter_state`], why it was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    /// A document that was checked.
    Document(Box<Document>),
    /// A refusal on its way to the status line.
    Refused {
        /// The reason.
        refused: String,
    },
}

/// Yields the pattern to save, waiting a moment for one that is being made.
type PatternToSave = Box<dyn Fn() -> Option<SavedPattern> + Send + Sync>;

/// The saved document while the plugin runs. Locked by the host's main thread, the editor and the worker, never by the audio
/// thread, which reads the generation only.
#[derive(Default)]
pub struct Saved {
    inner: Mutex<Inner>,
    progression: AtomicU32,
    model: AtomicU32,
    primer: AtomicU32,
    takes: AtomicU32,
    aim: takes::Aim,
    pattern_to_save: OnceLock<PatternToSave>,
}

#[derive(Default)]
struct Inner {
    settings: Settings,
    /// As loaded; unpacked on the worker.
    pattern: Option<Arc<SavedPattern>>,
    /// Counts the documents loaded.
    loads: u64,
    history: takes::History,
    refused: Option<String>,
    logits_error: Option<String>,
}

/// How often what is saved has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The progression, or everything at once by loading a document.
    pub progression: u32,
    /// The model.
    pub model: u32,
    /// The primer.
    pub primer: u32,
    /// Re-rolls, locks and the given track.
    pub takes: u32,
}

/// A consistent copy of what is saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counts the documents loaded.
    pub loads: u64,
    /// What the user set.
    pub settings: Settings,
    /// The pattern loaded with it.
    pub pattern: Option<Arc<SavedPattern>>,
}

impl Saved {
    /// Counts of the changes.
    ///
    /// # Realtime safety
    /// Audio thread: yes, atomic loads.
    #[must_use]
    pub fn generations(&self) -> Generations {
        Generations {
            progression: self.progression.load(Ordering::Acquire),
            model: self.model.load(Ordering::Acquire),
            primer: self.primer.load(Ordering::Acquire),
            takes: self.takes.load(Ordering::Acquire),
        }
    }

    /// A copy.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock();
        Snapshot { loads: inner.loads, settings: inner.settings.clone(), pattern: inner.pattern.clone() }
    }

    /// Changes the settings (editor thread).
    ///
    /// # Errors
    /// The progression's error; then nothing changes.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), ProgressionError> {
        let mut inner = self.inner.lock();
        let mut settings = inner.settings.clone();
        change(&mut settings);
        settings.progression()?;
        let before = std::mem::replace(&mut inner.settings, settings);
        let count = |changed: bool, counter: &AtomicU32| {
            if changed {
                counter.fetch_add(1, Ordering::Release);
            }
        };
        count(before.progression != inner.settings.progression, &self.progression);
        count(before.model != inner.settings.model, &self.model);
        count(before.primer != inner.settings.primer, &self.primer);
        let music = |settings: &Settings| (settings.takes.clone(), settings.locks.clone(), settings.given.clone());
        count(music(&before) != music(&inner.settings), &self.takes);
        Ok(())
    }

    /// What was wrong with the state last loaded.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let inner = self.inner.lock();
        inner.refused.clone().or_else(|| inner.logits_error.clone())
    }

    /// Notes what was wrong with the loaded pattern's logits (worker thread).
    pub fn set_logits_error(&self, error: Option<String>) {
        self.inner.lock().logits_error = error;
    }

    /// Says where the pattern to save comes from. Once, when the plugin is made.
    pub fn set_pattern_to_save(&self, pattern: PatternToSave) {
        // A second call would be a second plugin on the same parameters, which the framework does not make.
        let _ = self.pattern_to_save.set(pattern);
    }
}

impl PersistentField<'_, Stored> for Saved {
    fn set(&self, stored: Stored) {
        let mut inner = self.inner.lock();
        match stored {
            Stored::Document(document) => {
                *inner = Inner {
                    settings: document.settings,
                    pattern: document.pattern.map(Arc::new),
                    loads: inner.loads + 1,
                    ..Inner::default()
                };
                // Equal settings with another pattern are another document.
                self.progression.fetch_add(1, Ordering::Release);
            }
            Stored::Refused { refused } => inner.refused = Some(refused),
        }
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&Stored) -> R,
    {
        // Not under the lock: the worker needs it to make the pattern that is waited for.
        let pattern = self.pattern_to_save.get().and_then(|pattern| pattern());
        let settings = self.inner.lock().settings.clone();
        f(&Stored::Document(Box::new(Document { settings, pattern, ..Document::default() })))
    }
}

/// Checks a state before the framework loads it. One that is refused is emptied, so that nothing changes, but for the reason that
/// goes to the status line. The framework itself would set what it can read and skip the rest; so parameters that the version which
/// saved the state did not have get their defaults here, or they would stay as they were before.
pub fn filter_state(state: &mut PluginState) {
    match check_state(state) {
        Ok(()) => {
            for (id, param) in BarlineParams::default().each() {
                state.params.entry(id).or_insert_with(|| param.default_value());
            }
        }
        Err(error) => {
            let refused = Stored::Refused { refused: format!("The saved state was not loaded: {error}.") };
            state.params.clear();
            state.fields.clear();
            if let Ok(json) = serde_json::to_string(&refused) {
                state.fields.insert(DOCUMENT_KEY.into(), json);
            }
        }
    }
}

fn check_state(state: &PluginState) -> Result<(), StateError> {
    match state.fields.get(DOCUMENT_KEY) {
        Some(json) => drop(Document::from_json(json)?),
        None => return Err(StateError::Json(format!("`{DOCUMENT_KEY}` is missing"))),
    }
    let known = BarlineParams::default();
    for (id, param) in known.each() {
        // A parameter that this version does not know is left to the framework, which skips it with a warning.
        if let Some(value) = state.params.get(&id).filter(|value| !param.accepts(value)) {
            return Err(StateError::Parameter { id, value: format!("{value:?}") });
        }
    }
    Ok(())
}

impl BarlineParams {
    /// Where the morph stands, in steps of 1 / [`Morph::STEPS`]: an automated one must not be another pattern in every block.
    ///
    /// # Realtime safety
    /// Audio thread: yes, an atomic load.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=STEPS first")]
    pub fn morph_steps(&self) -> u32 {
        let steps = f32::from(Morph::STEPS);
        (self.morph.value() * steps).round().clamp(0.0, steps) as u32
    }

    /// What shapes the pattern, now, with the chord last heard at the MIDI input and, where the
    /// parameter does not count as it stands, the morph in steps.
    ///
    /// # Realtime safety
    /// Audio thread: yes, atomic loads.
    #[must_use]
    pub fn structure(&self, heard: Option<Chord>, morph: Option<u32>) -> StructureKnobs {
        let saved = self.saved.generations();
        let (seed, seed_b) = (self.seed.value().unsigned_abs(), self.seed_b.value().unsigned_abs());
        // To where it is there is no way.
        let morph_steps = if seed == seed_b { 0 } else { morph.unwrap_or_else(|| self.morph_steps()) };
        let live_chords = self.chord_source.value() == ChordSource::Midi;
        StructureKnobs {
            seed,
            seed_b: if morph_steps > 0 { seed_b } else { 0 },
            morph_steps,
            take: self.take.value().unsigned_abs(),
            variation_bits: self.variation.value().to_bits(),
            span: self.length.value().span().code(),
            candidates: self.candidates.value().unsigned_abs(),
            model_generation: saved.model,
            progression_generation: saved.progression,
            primer_generation: saved.primer,
            takes_generation: saved.takes,
            live_chords,
            heard: if live_chords { heard.map_or(0, |chord| chord.code()) } else { 0 },
        }
    }

    /// What the player's parameters say, now.
    ///
    /// # Realtime safety
    /// Audio thread: yes, atomic loads.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        let channel = |param: &IntParam| u8::try_from(param.value() - 1).ok().and_then(Channel::new).unwrap_or_default();
        let byte = |param: &IntParam| u8::try_from(param.value()).unwrap_or(1);
        let small = |param: &IntParam| i8::try_from(param.value()).unwrap_or(0);
        let mut lanes: [Lane; MAX_LANES] = Knobs::default().lanes;
        for (lane, (params, octave)) in lanes.iter_mut().zip(self.lanes()) {
            *lane = Lane {
                on: params.on.value(),
                muted: params.mute.value(),
                solo: params.solo.value(),
                channel: channel(&params.channel),
                octave: octave.map_or(0, small),
                velocity: small(&params.velocity),
                density: params.density.value(),
            };
        }
        Knobs {
            temperature: self.temperature.value(),
            threshold: self.threshold.value(),
            octave: small(&self.octave),
            velocity: byte(&self.velocity),
            accent: self.accent.value(),
            humanize_velocity: self.humanize_velocity.value(),
            humanize_time: self.humanize.value(),
            swing: self.swing.value(),
            note_length: self.note_length.value(),
            key: self.key_root.value().tonic().map(|tonic| Key { tonic, scale: self.scale.value().scale() }),
            channel: channel(&self.channel),
            one_channel: self.one_channel.value(),
            only_lane: self.only_lane.value().lane_idx(),
            lanes,
            chords: self.chords_on.value().then(|| channel(&self.chords_channel)),
            chord_velocity: byte(&self.chords_velocity),
            muted: self.bypass.value(),
            thru: self.thru.value(),
            capture: self.capture.value(),
        }
    }

    /// The lanes, each with its octave where it has one.
    ///
    /// # Realtime safety
    /// Audio thread: yes.
    #[must_use]
    pub fn lanes(&self) -> [(&LaneParams, Option<&IntParam>); LANE_NAMES.len()] {
        let Self { lane1, lane2, lane3, lane4, lane5, .. } = self;
        [
            (lane1, None),
            (&lane2.lane, Some(&lane2.octave)),
            (&lane3.lane, Some(&lane3.octave)),
            (&lane4.lane, Some(&lane4.octave)),
            (&lane5.lane, Some(&lane5.octave)),
        ]
    }

    /// All parameters by id, for what the framework offers through raw pointers only.
    fn each(&self) -> Vec<(String, AnyParam<'_>)> {
        use AnyParam::{Bool, Choice, Float, Int};
        let mut all = vec![
            ("temperature".to_owned(), Float(&self.temperature)),
            ("threshold".into(), Float(&self.threshold)),
            ("variation".into(), Float(&self.variation)),
            ("seed".into(), Int(&self.seed)),
            ("take".into(), Int(&self.take)),
            ("length".into(), Choice(&self.length)),
            ("chord_source".into(), Choice(&self.chord_source)),
            ("key_root".into(), Choice(&self.key_root)),
            ("scale".into(), Choice(&self.scale)),
            ("octave".into(), Int(&self.octave)),
            ("channel".into(), Int(&self.channel)),
            ("velocity".into(), Int(&self.velocity)),
            ("accent".into(), Float(&self.accent)),
            ("humanize_velocity".into(), Float(&self.humanize_velocity)),
            ("swing".into(), Float(&self.swing)),
            ("humanize".into(), Float(&self.humanize)),
            ("note_length".into(), Float(&self.note_length)),
            ("chords_on".into(), Bool(&self.chords_on)),
            ("chords_channel".into(), Int(&self.chords_channel)),
            ("chords_velocity".into(), Int(&self.chords_velocity)),
            ("thru".into(), Bool(&self.thru)),
            ("bypass".into(), Bool(&self.bypass)),
            ("one_channel".into(), Bool(&self.one_channel)),
            ("only_lane".into(), Choice(&self.only_lane)),
            ("preview".into(), Choice(&self.preview)),
            ("preview_volume".into(), Float(&self.preview_volume)),
            ("morph".into(), Float(&self.morph)),
            ("seed_b".into(), Int(&self.seed_b)),
            ("candidates".into(), Int(&self.candidates)),
            ("capture".into(), Bool(&self.capture)),
            ("capture_bars".into(), Choice(&self.capture_bars)),
            ("given_lane".into(), Choice(&self.given_lane)),
        ];
        for (number, (lane, octave)) in (1..).zip(self.lanes()) {
            let id = |what: &str| format!("lane{number}_{what}");
            all.extend([(id("on"), Bool(&lane.on)), (id("mute"), Bool(&lane.mute)), (id("solo"), Bool(&lane.solo))]);
            all.extend([(id("density"), Float(&lane.density)), (id("velocity"), Int(&lane.velocity))]);
            all.push((id("channel"), Int(&lane.channel)));
            all.extend(octave.map(|octave| (id("octave"), Int(octave))));
        }
        all
    }
}

fn id_of(param: &dyn Choice, idx: usize) -> ParamValue {
    ParamValue::String(param.ids().get(idx).copied().unwrap_or_default().into())
}

/// A parameter of any type.
enum AnyParam<'a> {
    Float(&'a FloatParam),
    Int(&'a IntParam),
    Bool(&'a BoolParam),
    Choice(&'a dyn Choice),
}

/// A parameter that is one of some ids.
trait Choice {
    fn ids(&self) -> &'static [&'static str];
    fn default_idx(&self) -> usize;
    fn idx(&self) -> usize;
    fn set_idx(&self, idx: usize, setter: &ParamSetter);
}

impl<T: Enum + PartialEq + 'static> Choice for EnumParam<T> {
    fn ids(&self) -> &'static [&'static str] {
        T::ids().unwrap_or_default()
    }

    fn default_idx(&self) -> usize {
        self.default_plain_value().to_index()
    }

    fn idx(&self) -> usize {
        self.unmodulated_plain_value().to_index()
    }

    fn set_idx(&self, idx: usize, setter: &ParamSetter) {
        presets::set(self, T::from_index(idx), setter);
    }
}

impl AnyParam<'_> {
    /// The value of now as a state holds it.
    fn value(&self) -> ParamValue {
        match self {
            Self::Float(param) => ParamValue::F32(param.unmodulated_plain_value()),
            Self::Int(param) => ParamValue::I32(param.unmodulated_plain_value()),
            Self::Bool(param) => ParamValue::Bool(param.unmodulated_plain_value()),
            Self::Choice(param) => id_of(*param, param.idx()),
        }
    }

    /// A value as one would type it in a state.
    fn parsed(&self, text: &str) -> Option<ParamValue> {
        match self {
            Self::Float(_) => text.parse().ok().map(ParamValue::F32),
            Self::Int(_) => text.parse().ok().map(ParamValue::I32),
            Self::Bool(_) => text.parse().ok().map(ParamValue::Bool),
            Self::Choice(_) => Some(ParamValue::String(text.into())),
        }
        .filter(|value| self.accepts(value))
    }

    /// Sets a value that fits; another is left out.
    fn set(&self, value: &ParamValue, setter: &ParamSetter) {
        match (self, value) {
            (Self::Float(param), ParamValue::F32(value)) => presets::set(*param, *value, setter),
            (Self::Int(param), ParamValue::I32(value)) => presets::set(*param, *value, setter),
            (Self::Bool(param), ParamValue::Bool(value)) => presets::set(*param, *value, setter),
            (Self::Choice(param), ParamValue::String(id)) => {
                if let Some(idx) = param.ids().iter().position(|other| other == id) {
                    param.set_idx(idx, setter);
                }
            }
            _ => {}
        }
    }

    /// Whether a saved value fits.
    fn accepts(&self, value: &ParamValue) -> bool {
        match (self, value) {
            (Self::Float(param), ParamValue::F32(value)) => {
                let range = param.range();
                (range.unnormalize(0.0)..=range.unnormalize(1.0)).contains(value)
            }
            (Self::Int(param), ParamValue::I32(value)) => {
                matches!(param.range(), IntRange::Linear { min, max } if (min..=max).contains(value))
            }
            (Self::Bool(_), ParamValue::Bool(_)) => true,
            (Self::Choice(param), ParamValue::String(id)) => param.ids().contains(&id.as_str()),
            _ => false,
        }
    }

    /// What a state holds that was saved with the default.
    fn default_value(&self) -> ParamValue {
        match self {
            Self::Float(param) => ParamValue::F32(param.default_plain_value()),
            Self::Int(param) => ParamValue::I32(param.default_plain_value()),
            Self::Bool(param) => ParamValue::Bool(param.default_plain_value()),
            Self::Choice(param) => id_of(*param, param.default_idx()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    fn state(fields: &[(&str, &str)], params: &[(&str, ParamValue)]) -> PluginState {
        PluginState {
            version: "0.1.0".into(),
            params: params.iter().map(|(id, value)| ((*id).into(), value.clone())).collect(),
            fields: fields.iter().map(|(key, json)| ((*key).into(), (*json).into())).collect(),
        }
    }

    /// A parameter of a state; the framework's values cannot be compared.
    fn shown(state: &PluginState, id: &str) -> String {
        format!("{:?}", state.params[id])
    }

    const GOOD: &str = r#"{"version":1,"settings":{"progression":"Dm7 | G7","model":"midinet","primer":[3]},"pattern":null}"#;

    #[test]
    fn a_new_instance_plays_as_the_command_line_does() {
        assert_eq!(BarlineParams::default().knobs(), Knobs::default());
    }

    #[test]
    fn every_seed_survives_the_hosts_f32() {
        let params = BarlineParams::default();
        for seed in 0..=MAX_SEED {
            assert_eq!(params.seed.preview_plain(params.seed.preview_normalized(seed)), seed);
        }
        for take in 0..=MAX_TAKE {
            assert_eq!(params.take.preview_plain(params.take.preview_normalized(take)), take);
        }
    }

    #[test]
    fn every_text_that_a_parameter_shows_can_be_typed() {
        let params = BarlineParams::default();
        let check = |text: String, back: Option<f32>, again: &dyn Fn(f32) -> String| {
            let back = back.unwrap_or_else(|| panic!("`{text}` cannot be read"));
            assert_eq!(again(back), text);
        };
        for step in 0_u8..=100 {
            let at = f32::from(step) / 100.0;
            let [(lane, _), ..] = params.lanes();
            for param in
                [&params.temperature, &params.threshold, &params.variation, &params.swing, &params.note_length, &lane.density]
            {
                for unit in [false, true] {
                    let text = param.normalized_value_to_string(at, unit);
                    let again = |v| param.normalized_value_to_string(v, unit);
                    check(text.clone(), param.string_to_normalized_value(&text), &again);
                }
            }
            let text = params.octave.normalized_value_to_string(at, true);
            check(text.clone(), params.octave.string_to_normalized_value(&text), &|v| {
                params.octave.normalized_value_to_string(v, true)
            });
            let text = params.key_root.normalized_value_to_string(at, true);
            check(text.clone(), params.key_root.string_to_normalized_value(&text), &|v| {
                params.key_root.normalized_value_to_string(v, true)
            });
        }
        assert_eq!(params.temperature.to_string(), "1.00");
        assert_eq!(params.key_root.to_string(), "Off");
        assert_eq!(params.swing.normalized_value_to_string(0.5, true), "50 %");
    }

    #[test]
    fn ids_and_names_are_unique_and_every_parameter_is_checked_on_loading() {
        let params = BarlineParams::default();
        let map = params.param_map();
        let ids: HashSet<&String> = map.iter().map(|(id, ..)| id).collect();
        assert_eq!(ids.len(), map.len());
        let each: BTreeMap<_, _> = params.each().into_iter().collect();
        for (id, ..) in &map {
            assert!(each.get(id).is_some_and(|param| !param.accepts(&ParamValue::F32(f32::NAN))), "{id}");
            assert!(each.get(id).is_some_and(|param| param.accepts(&param.default_value())), "{id}");
        }
        assert_eq!(each.len(), map.len());
        let names: HashSet<String> =
            LANE_NAMES.iter().flat_map(|name| [format!("{name} Mute"), format!("{name} Density")]).collect();
        let of_lanes = params.lanes().map(|(lane, _)| [lane.mute.name().to_owned(), lane.density.name().to_owned()]);
        assert_eq!(of_lanes.into_iter().flatten().collect::<HashSet<_>>(), names);
    }

    #[test]
    fn what_an_older_version_did_not_save_gets_its_default() {
        let mut old = state(&[(DOCUMENT_KEY, GOOD)], &[("octave", ParamValue::I32(-1))]);
        filter_state(&mut old);
        assert_eq!(shown(&old, "octave"), "I32(-1)");
        assert_eq!(shown(&old, "lane1_mute"), "Bool(false)");
        assert_eq!(shown(&old, "lane3_on"), "Bool(true)");
        assert_eq!(shown(&old, "only_lane"), "String(\"all\")");
        assert_eq!(shown(&old, "lane5_channel"), "I32(5)");
        let mut wrong = state(&[(DOCUMENT_KEY, GOOD)], &[("lane2_density", ParamValue::F32(4.5))]);
        filter_state(&mut wrong);
        assert!(wrong.params.is_empty());
    }

    #[test]
    fn a_good_state_passes_untouched() {
        let mut good = state(
            &[(DOCUMENT_KEY, GOOD)],
            &[
                ("seed", ParamValue::I32(65_535)),
                ("length", ParamValue::String("endless".into())),
                ("future", ParamValue::F32(9.0)),
            ],
        );
        filter_state(&mut good);
        assert_eq!(shown(&good, "seed"), "I32(65535)");
        assert_eq!(shown(&good, "length"), "String(\"endless\")");
        assert_eq!(shown(&good, "future"), "F32(9.0)");
        assert_eq!(good.fields, BTreeMap::from([(DOCUMENT_KEY.to_owned(), GOOD.to_owned())]));
    }

    #[test]
    fn a_refused_state_changes_nothing_and_says_why() {
        let newer = r#"{"version":7,"settings":{}}"#;
        let refused: [(PluginState, &str); 6] = [
            (state(&[(DOCUMENT_KEY, newer)], &[("seed", ParamValue::I32(3))]), "newer version"),
            (state(&[(DOCUMENT_KEY, "%%%")], &[("seed", ParamValue::I32(3))]), "cannot be read"),
            (state(&[], &[("seed", ParamValue::I32(3))]), "missing"),
            (state(&[(DOCUMENT_KEY, GOOD)], &[("seed", ParamValue::I32(-3))]), "`seed`"),
            (state(&[(DOCUMENT_KEY, GOOD)], &[("length", ParamValue::String("3".into()))]), "`length`"),
            (state(&[(DOCUMENT_KEY, r#"{"refused":"x"}"#)], &[]), "cannot be read"),
        ];
        for (mut state, reason) in refused {
            filter_state(&mut state);
            assert!(state.params.is_empty());
            let params = BarlineParams::default();
            params.saved.change(|settings| settings.progression = "Fm".into()).unwrap();
            let before = (params.saved.snapshot(), params.saved.generations());
            params.deserialize_fields(&state.fields);
            assert_eq!((params.saved.snapshot(), params.saved.generations()), before);
            let notice = params.saved.notice().unwrap();
            assert!(notice.contains(reason), "{notice}");
        }
    }

    #[test]
    fn the_document_goes_through_the_framework() {
        let params = BarlineParams::default();
        params.deserialize_fields(&BTreeMap::from([(DOCUMENT_KEY.to_owned(), GOOD.to_owned())]));
        let snapshot = params.saved.snapshot();
        assert_eq!(snapshot.settings.model, "midinet");
        assert_eq!(snapshot.loads, 1);
        assert_eq!(params.saved.notice(), None);
        assert_eq!(params.serialize_fields(), BTreeMap::from([(DOCUMENT_KEY.to_owned(), GOOD.to_owned())]));
    }

    #[test]
    fn only_what_changed_counts() {
        let saved = Saved::default();
        let before = saved.generations();
        saved.change(|s| s.model = "midinet".into()).unwrap();
        assert_eq!(saved.generations(), Generations { model: before.model + 1, ..before });
        let before = saved.generations();
        assert!(saved.change(|s| s.progression = "C | Xyz".into()).is_err());
        assert_eq!(saved.generations(), before);
        assert_eq!(saved.snapshot().settings.progression, crate::state::DEFAULT_PROGRESSION);
    }
}
