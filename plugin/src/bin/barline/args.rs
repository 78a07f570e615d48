//! The arguments. Ranges are those of the plugin's parameters, defaults too.

use crate::lanes::LaneArgs;
use barline::{
    export::npz::DEFAULT_RESOLUTION,
    generate::{Morph, candidates::MAX_CANDIDATES},
    listen::{MAX_SAMPLE_RATE, MIN_SAMPLE_RATE},
    music::{
        chord::Progression,
        note::Channel,
        scale::Key,
        smf::MIN_FILE_TEMPO_BPM,
        time::{Tempo, TimeSignature},
    },
    player::Knobs,
};
use clap::{Args, Parser, Subcommand, value_parser};
use std::{ops::Range, path::PathBuf, str::FromStr};

/// Most bars of one piece.
pub const MAX_BARS: u32 = 4096;
/// Bars where nothing says how many.
pub const DEFAULT_BARS: u32 = 8;
/// What plays where no chords are given.
pub const DEFAULT_CHORDS: &str = "C | Am | F | G";

/// Neural MIDI generator.
#[derive(Debug, Parser)]
#[command(name = "barline", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write music as MIDI, and if asked as piano roll, picture and JSON
    Generate(Box<GenerateArgs>),
    /// Measure a MIDI file, track by track
    Analyze(AnalyzeArgs),
    /// Play a MIDI file through a SoundFont into a .wav file
    Render(RenderArgs),
    /// List, inspect and verify models
    Models(ModelsArgs),
    /// Measure inference and playing on this machine
    Bench(BenchArgs),
}

/// One piece, or one per seed. The same arguments always give the same notes, and the plugin plays the same ones.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Model: an id that `barline models list` shows, or an .onnx file
    #[arg(long, short, value_name = "ID|FILE")]
    pub model: Option<String>,
    /// Seed of everything random
    #[arg(long, short, default_value_t = 0)]
    pub seed: u32,
    /// Take: another try with the same seed
    #[arg(long, default_value_t = 0)]
    pub take: u32,
    /// Bars of music [default: 8, or the length of --accompany's track up to 32]
    #[arg(long, short, value_parser = value_parser!(u32).range(1..=i64::from(MAX_BARS)))]
    pub bars: Option<u32>,
    /// Beats (quarter notes) per minute, 3.6 to 1000 [default: 120, or --accompany's]
    #[arg(long, short, value_parser = tempo)]
    pub tempo: Option<Tempo>,
    /// Time signature
    #[arg(long, default_value = "4/4")]
    pub meter: TimeSignature,
    /// Chords, bar by bar, repeated; two chords in a bar separated by a space, N.C. for none [default: C | Am | F | G, or what
    /// --accompany's song sounds like]
    #[arg(long, short)]
    pub chords: Option<Progression>,
    /// Sampling noise: 0 the likeliest notes, 1 as the model was trained, up to 2
    #[arg(long, default_value_t = Knobs::default().temperature, value_parser = between::<0, 2>)]
    pub temperature: f32,
    /// Probability that a note must exceed: 0.5 the model's own rhythm, lower plays more, higher less
    #[arg(long, default_value_t = Knobs::default().threshold, value_parser = between::<0, 1>)]
    pub threshold: f32,
    /// Spread of the latent: 1 as trained, 0 always the likeliest idea, up to 2
    #[arg(long, default_value_t = 1.0, value_parser = between::<0, 2>)]
    pub variation: f32,
    /// Move all notes into this key, such as "A minor"; also the key signature
    #[arg(long)]
    pub key: Option<Key>,
    /// Octaves up or down, -3 to 3
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = value_parser!(i8).range(-3..=3))]
    pub octave: i8,
    /// Delay of the odd sixteenths: 0 straight, 1 half a sixteenth
    #[arg(long, default_value_t = Knobs::default().swing, value_parser = between::<0, 1>)]
    pub swing: f32,
    /// Random delay of onsets, 0 to 1
    #[arg(long, default_value_t = Knobs::default().humanize_time, value_parser = between::<0, 1>)]
    pub humanize: f32,
    /// Velocity before accents, 1 to 127
    #[arg(long, default_value_t = Knobs::default().velocity, value_parser = value_parser!(u8).range(1..=127))]
    pub velocity: u8,
    /// Weight of the beats in velocities, 0 to 1
    #[arg(long, default_value_t = Knobs::default().accent, value_parser = between::<0, 1>)]
    pub accent: f32,
    /// Random change of velocities, 0 to 1
    #[arg(long, default_value_t = Knobs::default().humanize_velocity, value_parser = between::<0, 1>)]
    pub humanize_velocity: f32,
    /// Part of its length that a note sounds, 0.05 to 1
    #[arg(long, default_value_t = Knobs::default().note_length, value_parser = note_length)]
    pub note_length: f32,
    /// Channel of the melody, 1 to 16; a band has channels of its own
    #[arg(long, default_value = "1", value_parser = channel)]
    pub channel: Channel,
    /// Play the chords too, on this channel, 1 to 16
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    pub chords_channel: Option<Channel>,
    #[command(flatten)]
    pub lanes: LaneArgs,
    /// Empty bars before the music
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=1024))]
    pub lead_in_bars: u32,
    /// Standard MIDI File whose last bar of melody is taken as the bar before the music
    #[arg(long, value_name = "FILE")]
    pub primer: Option<PathBuf>,
    /// Standard MIDI File, one of whose tracks the others are written around
    #[arg(long, value_name = "FILE")]
    pub accompany: Option<PathBuf>,
    /// Which track of it, from 1, of those that hold notes
    #[arg(long, value_name = "N", requires = "accompany", value_parser = value_parser!(u32).range(1..))]
    pub track: Option<u32>,
    /// Track of the model that plays it, such as bass; chosen by its instrument if not given
    #[arg(long = "as", value_name = "TRACK", requires = "accompany")]
    pub lane: Option<String>,
    /// Write a track anew, to go with all others as they stand: bass, drums:3-4 for bars, all:2 for a bar of all tracks, bass=7 for
    /// a take other than the next. May be given several times, and is done in that order
    #[arg(long, value_name = "TRACK[:BARS][=TAKE]")]
    pub reroll: Vec<Reroll>,
    /// Go from the seed towards another: its number, then how far, from 0 to 1, such as 7:0.5
    #[arg(long, value_name = "SEED:AMOUNT", value_parser = morph)]
    pub morph: Option<Morph>,
    /// Tries at every phrase, of which the one with the fewest faults is kept: silence, notes out of range or key, bars repeated
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(MAX_CANDIDATES)))]
    pub candidates: u32,
    /// Standard MIDI File to write
    #[arg(long, short, default_value = "generated.mid", value_name = "FILE")]
    pub output: PathBuf,
    /// Piano roll to write, for pypianoroll
    #[arg(long, value_name = "FILE")]
    pub npz: Option<PathBuf>,
    /// Grid cells per beat of --npz; 4 are sixteenths
    #[arg(long, default_value_t = DEFAULT_RESOLUTION, value_name = "N", value_parser = value_parser!(i64).range(1..=480))]
    pub beat_resolution: i64,
    /// Picture to write
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
    /// Notes and provenance to write, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write this many pieces, with the seeds from --seed upward; each file's name gets its seed
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Of these pieces, write only part I of N, such as 3/64; all parts together are all pieces
    #[arg(long, value_name = "I/N", requires = "count")]
    pub shard: Option<Shard>,
    /// Print errors only
    #[arg(long, short)]
    pub quiet: bool,
}

/// How a piece is made, on the grid of sixteenths, in bars of 4/4.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Standard MIDI File
    pub song: PathBuf,
    /// Print the legacy figures too, which alone compare with MuseGAN's published tables
    #[arg(long)]
    pub legacy: bool,
    /// Page to write that explains the song in words and plots, HTML
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// All figures to write, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// For a listen without a DAW: the file's notes with its instruments, tempo and channels; controllers are not played.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Standard MIDI File
    pub song: PathBuf,
    /// Sound file to write, stereo, 16 bits
    pub output: PathBuf,
    /// SoundFont 2 file to play with, in place of the built-in one
    #[arg(long, value_name = "FILE")]
    pub soundfont: Option<PathBuf>,
    /// Samples per second, 16000 to 192000
    #[arg(long, value_name = "HZ", default_value_t = 48_000, value_parser = value_parser!(u32).range(i64::from(MIN_SAMPLE_RATE)..=i64::from(MAX_SAMPLE_RATE)))]
    pub sample_rate: u32,
    /// Print errors only
    #[arg(long, short)]
    pub quiet: bool,
}

/// Models are single .onnx files; those in the user's model folder are found by their id.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    pub action: Option<ModelsAction>,
}

#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// List the models that are built in or installed (the default)
    List,
    /// Print what a model is, takes and yields
    Inspect {
        /// An id, or an .onnx file
        model: String,
    },
    /// Check a model as the plugin would, and run it once
    Verify {
        /// An id, or an .onnx file
        model: String,
    },
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Models to measure; all built-in ones if none is named
    #[arg(long, short, value_name = "ID|FILE")]
    pub model: Vec<String>,
    /// Inferences to measure per model
    #[arg(long, default_value_t = 300, value_parser = value_parser!(u32).range(1..=100_000))]
    pub runs: u32,
    /// Blocks to measure
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub blocks: u32,
    /// Write a page with every runtime and provider there is, one beside the other; .html or Markdown
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Measure the same models in this Python beside, with its onnxruntime and PyTorch
    #[arg(long, value_name = "PROGRAM", requires = "report")]
    pub python: Option<PathBuf>,
    /// What `cargo xtask measure` printed, for the page
    #[arg(long, value_name = "FILE", requires = "report")]
    pub hosted: Option<PathBuf>,
    /// Print JSON, as the page is made of
    #[arg(long, hide = true)]
    pub json: bool,
}

/// Part `index` (from 1) of `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub n: u32,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "write a part as I/N with I from 1 to N, such as 3/64";
        let (index, n) = text.split_once('/').ok_or(error)?;
        let (index, n) = (index.parse().map_err(|_| error)?, n.parse().map_err(|_| error)?);
        if (1..=n).contains(&index) { Ok(Self { index, n }) } else { Err(error) }
    }
}

impl GenerateArgs {
    /// The knobs these arguments set.
    pub fn knobs(&self) -> Knobs {
        Knobs {
            temperature: self.temperature,
            threshold: self.threshold,
            octave: self.octave,
            velocity: self.velocity,
            accent: self.accent,
            humanize_velocity: self.humanize_velocity,
            humanize_time: self.humanize,
            swing: self.swing,
            note_length: self.note_length,
            key: self.key,
            channel: self.channel,
            chords: self.chords_channel,
            lanes: self.lanes.applied_to(Knobs::default().lanes),
            ..Knobs::default()
        }
    }
}

/// `TRACK[:BARS][=TAKE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reroll {
    pub track: String,
    /// Bar indices, from 0.
    pub bars: Option<Range<u32>>,
    pub take: Option<u32>,
}

impl FromStr for Reroll {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = "write a track, and if wanted its bars from 1 and a take, such as bass, drums:3-4 or bass:2=7";
        let number = |text: &str| text.parse::<u32>().map_err(|_| error);
        let (text, take) = text.split_once('=').map_or((text, None), |(text, take)| (text, Some(take)));
        let (track, bars) = text.split_once(':').map_or((text, None), |(track, bars)| (track, Some(bars)));
        let bars = bars.map(|bars| {
            let (first, last) = bars.split_once('-').unwrap_or((bars, bars));
            let (first, last) = (number(first)?, number(last)?);
            if (1..=last).contains(&first) { Ok(first - 1..last) } else { Err(error) }
        });
        if track.is_empty() {
            return Err(error);
        }
        Ok(Self { track: track.into(), bars: bars.transpose()?, take: take.map(number).transpose()? })
    }
}

fn morph(text: &str) -> Result<Morph, String> {
    let error = || "write the other seed and how far to go, from 0 to 1, such as 7:0.5".to_owned();
    let (seed, amount) = text.split_once(':').ok_or_else(error)?;
    let amount = between::<0, 1>(amount).map_err(|_| error())?;
    Ok(Morph { seed: seed.parse().map_err(|_| error())?, amount })
}

fn number(text: &str, least: f32, most: f32) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("it must be a number from {least} to {most}"))
}

fn between<const LEAST: u8, const MOST: u8>(text: &str) -> Result<f32, String> {
    number(text, f32::from(LEAST), f32::from(MOST))
}

fn note_length(text: &str) -> Result<f32, String> {
    number(text, 0.05, 1.0)
}

fn tempo(text: &str) -> Result<Tempo, String> {
    text.parse()
        .ok()
        .filter(|bpm| *bpm >= MIN_FILE_TEMPO_BPM)
        .and_then(Tempo::new)
        .ok_or_else(|| format!("it must be a number from {MIN_FILE_TEMPO_BPM:.2} to 1000"))
}

fn channel(text: &str) -> Result<Channel, String> {
    let error = || "it must be a whole number from 1 to 16".to_owned();
    let number: u8 = text.parse().map_err(|_| error())?;
    number.checked_sub(1).and_then(Channel::new).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_players() {
        let Command::Generate(args) = Cli::parse_from(["barline", "generate"]).command else { panic!("no generate") };
        assert_eq!(args.knobs(), Knobs::default());
        assert_eq!(args.output, PathBuf::from("generated.mid"));
    }

    #[test]
    fn rerolls_are_read() {
        let read = |text: &str| text.parse::<Reroll>().unwrap();
        let bass = Reroll { track: "bass".into(), bars: None, take: None };
        assert_eq!(read("bass"), bass);
        assert_eq!(read("bass:3"), Reroll { bars: Some(2..3), ..bass.clone() });
        assert_eq!(read("bass:3-4=12"), Reroll { bars: Some(2..4), take: Some(12), ..bass.clone() });
        assert_eq!(read("bass=0"), Reroll { take: Some(0), ..bass });
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |args: &[&str]| {
            let error = Cli::try_parse_from([&["barline", "generate"], args].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        };
        for args in [
            ["--bars", "0"],
            ["--bars", "-1"],
            ["--bars", "4097"],
            ["--seed", "-1"],
            ["--seed", "4294967296"],
            ["--tempo", "0"],
            ["--tempo", "3.5"],
            ["--tempo", "nan"],
            ["--tempo", "1e9"],
            ["--meter", "4/3"],
            ["--chords", "C | lorem ipsum"],
            ["--chords", "C | | G"],
            ["--temperature", "2.1"],
            ["--temperature", "-0.5"],
            ["--threshold", "inf"],
            ["--note-length", "0"],
            ["--key", "H minor"],
            ["--octave", "4"],
            ["--velocity", "0"],
            ["--accent", "1.5"],
            ["--mute", "harp"],
            ["--density", "bass=9"],
            ["--channel", "0"],
            ["--channel", "17"],
            ["--count", "0"],
            ["--shard", "1/2"],
            ["--beat-resolution", "0"],
            ["--beat-resolution", "481"],
        ] {
            refused(&args);
        }
        for reroll in ["", ":2", "bass:", "bass:0", "bass:3-2", "bass:2-", "bass=", "bass=-1", "bass:1-2-3"] {
            refused(&["--reroll", reroll]);
        }
        for morph in ["7", "7:", ":0.5", "7:1.5", "7:nan", "-7:0.5"] {
            refused(&["--morph", morph]);
        }
        refused(&["--track", "1"]);
        refused(&["--as", "bass"]);
        refused(&["--accompany", "song.mid", "--track", "0"]);
        for shard in ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3"] {
            refused(&["--count", "9", "--shard", shard]);
        }
    }
}
