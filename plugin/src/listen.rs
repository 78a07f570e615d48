//! A listen without routing: notes to sound through a SoundFont, for `barline render` and the preview. [`Font`] is read on any
//! thread but the audio thread; [`Synth`] plays on the audio thread too. For a first impression, not for a mix.

mod playback;
mod preview;

pub use playback::{MAX_SECONDS, Playback};
pub use preview::{Handover, Maker, Preview};

use crate::music::note::{Channel, Pitch, Velocity};
use rustysynth::{SoundFont, Synthesizer, SynthesizerSettings};
use std::{
    fs::{self, File},
    io::{BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Cut out of Fluid R3 by `models/soundfont.py`; `assets/LICENSE-barline-sf2.txt` is its licence.
static EMBEDDED: &[u8] = include_bytes!("../assets/barline.sf2");
/// The user's own SoundFont for the preview, in Barline's data folder.
pub const FONT_FILE: &str = "soundfont.sf2";
/// Largest file that is read, in bytes: it is held in memory.
pub const MAX_FONT_BYTES: u64 = 2 << 30;
/// Sample rates that the synthesiser takes, in Hz.
pub const MIN_SAMPLE_RATE: u32 = 16_000;
/// See [`MIN_SAMPLE_RATE`].
pub const MAX_SAMPLE_RATE: u32 = 192_000;
/// Notes that sound at once; each is a voice or two. The quietest gives way to one more.
const N_VOICES: usize = 96;
/// Up to here samples pass as they are; above they bend towards 1.
const KNEE: f32 = 0.7;

/// A listen that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The file cannot be opened or read.
    #[error("{0}")]
    File(String),
    /// No SoundFont 2, or a damaged one.
    #[error("it is no SoundFont 2 file that can be played: {0}")]
    Font(String),
    /// Outside [`MIN_SAMPLE_RATE`] to [`MAX_SAMPLE_RATE`].
    #[error("a sample rate of {0} Hz is not within {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")]
    SampleRate(u32),
    /// The song lasts longer than [`MAX_SECONDS`].
    #[error("it lasts {0:.0} seconds; at most {MAX_SECONDS} are rendered")]
    TooLong(f64),
    /// Nothing to play.
    #[error("it holds no notes")]
    Empty,
}

/// The sounds, shared by all that play them.
#[derive(Clone, Debug)]
pub struct Font(Arc<SoundFont>);

impl Font {
    /// The built-in one.
    ///
    /// # Errors
    /// [`ListenError::Font`], should the build have damaged it.
    pub fn embedded() -> Result<Self, ListenError> {
        Self::from_reader(EMBEDDED)
    }

    /// One for all that play at the same time: [`FONT_FILE`] in `folder` where that can be read, else the built-in one, and what is
    /// wrong with the file.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded).
    pub fn shared(folder: Option<&Path>) -> (Result<Self, ListenError>, Option<ListenError>) {
        static SHARED: Mutex<(Option<PathBuf>, Weak<SoundFont>)> = Mutex::new((None, Weak::new()));
        let path = folder.map(|folder| folder.join(FONT_FILE)).filter(|path| path.exists());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some(font)) = (shared.0 == path, shared.1.upgrade()) {
            return (Ok(Self(font)), None);
        }
        let (font, refused) = match path.as_deref().map(Self::read) {
            Some(Ok(font)) => (Ok(font), None),
            Some(Err(e)) => (Self::embedded(), Some(e)),
            None => (Self::embedded(), None),
        };
        if let Ok(Self(font)) = &font {
            *shared = (path, Arc::downgrade(font));
        }
        (font, refused)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ListenError::File`] and [`ListenError::Font`]. SoundFont 3 (compressed) is not read.
    pub fn read(path: &Path) -> Result<Self, ListenError> {
        let refuse = |e: std::io::Error| ListenError::File(e.to_string());
        let found = fs::metadata(path).map_err(refuse)?;
        if !found.is_file() {
            return Err(ListenError::File("it is no regular file".into()));
        }
        if found.len() > MAX_FONT_BYTES {
            return Err(ListenError::File(format!("it has {} bytes; at most {MAX_FONT_BYTES} are read", found.len())));
        }
        Self::from_reader(BufReader::new(File::open(path).map_err(refuse)?))
    }

    fn from_reader(mut reader: impl Read + std::panic::UnwindSafe) -> Result<Self, ListenError> {
        // The reader trusts the sizes that a file states, and asks for more memory than there can be.
        match catch_unwind(move || SoundFont::new(&mut reader)) {
            Ok(Ok(font)) if font.get_presets().is_empty() => Err(ListenError::Font("it has no presets".into())),
            Ok(Ok(font)) if !is_within(&font) => Err(ListenError::Font("a sample lies outside of its data".into())),
            Ok(Ok(font)) => Ok(Self(Arc::new(font))),
            Ok(Err(e)) => Err(ListenError::Font(e.to_string())),
            Err(_) => Err(ListenError::Font("its sizes contradict each other".into())),
        }
    }
}

/// Every sample lies inside the data, and its loop too. The reader does not look.
fn is_within(font: &SoundFont) -> bool {
    let n_samples = i64::try_from(font.get_wave_data().len()).unwrap_or(0);
    font.get_instruments().iter().flat_map(|instrument| instrument.get_regions()).all(|region| {
        let [start, end] = [region.get_sample_start(), region.get_sample_end()].map(i64::from);
        let [start_loop, end_loop] = [region.get_sample_start_loop(), region.get_sample_end_loop()].map(i64::from);
        // The sample after the last one is read too.
        let is_sample = 0 <= start && start <= end && end < n_samples;
        let is_loop = start_loop >= end_loop || (0 <= start_loop && end_loop < n_samples);
        is_sample && is_loop
    })
}

/// Plays notes of 16 channels through a [`Font`], in stereo. Begins of notes fall on the synthesiser's own blocks of 64 samples: up
/// to 1.5 ms late at 44.1 kHz.
///
/// # Realtime safety
/// [`new`](Self::new) no, everything else: audio thread yes, neither allocates nor locks; bounded by 96 voices per sample.
#[derive(Debug)]
pub struct Synth {
    synth: Synthesizer,
    programs: [Option<u8>; 16],
    /// The font made the synthesiser panic; silence from then on.
    is_broken: bool,
}

impl Synth {
    /// A silent synthesiser.
    ///
    /// # Errors
    /// [`ListenError::SampleRate`].
    pub fn new(font: &Font, sample_rate: u32) -> Result<Self, ListenError> {
        let refused = || ListenError::SampleRate(sample_rate);
        let mut settings = SynthesizerSettings::new(i32::try_from(sample_rate).map_err(|_| refused())?);
        settings.maximum_polyphony = N_VOICES;
        let synth = Synthesizer::new(&font.0, &settings).map_err(|_| refused())?;
        Ok(Self { synth, programs: [None; 16], is_broken: false })
    }

    /// Samples per second.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.synth.get_sample_rate().unsigned_abs()
    }

    /// Whether it has fallen silent for good, because the font contradicts itself in a way that shows in playing only.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// A loop that is shorter than a step of a high note leads the synthesiser out of its data. A panic must not reach the host.
    fn guarded(&mut self, play: impl FnOnce(&mut Synthesizer)) {
        let Self { synth, is_broken, .. } = self;
        *is_broken = *is_broken || catch_unwind(AssertUnwindSafe(|| play(synth))).is_err();
    }

    /// Chooses a channel's General MIDI program. The drum channel plays drums whatever it is.
    pub fn set_program(&mut self, channel: Channel, program: u8) {
        let Some(before) = self.programs.get_mut(usize::from(channel.index())) else { return };
        if before.replace(program) != Some(program) {
            self.guarded(|synth| synth.process_midi_message(channel.index().into(), 0xC0, program.into(), 0));
        }
    }

    /// Begins a note.
    pub fn on(&mut self, channel: Channel, pitch: Pitch, velocity: Velocity) {
        self.guarded(|synth| synth.note_on(channel.index().into(), pitch.number().into(), velocity.number().into()));
    }

    /// Ends a note; it fades.
    pub fn off(&mut self, channel: Channel, pitch: Pitch) {
        self.guarded(|synth| synth.note_off(channel.index().into(), pitch.number().into()));
    }

    /// Ends everything at once, echoes too.
    pub fn silence(&mut self) {
        self.guarded(Synthesizer::reset);
        self.programs = [None; 16];
    }

    /// The next samples, within −1 to 1; as many as the shorter slice holds.
    pub fn render(&mut self, left: &mut [f32], right: &mut [f32]) {
        let n = left.len().min(right.len());
        let (Some(left), Some(right)) = (left.get_mut(..n), right.get_mut(..n)) else { return };
        self.guarded(|synth| synth.render(left, right));
        if self.is_broken {
            left.fill(0.0);
            right.fill(0.0);
        }
        left.iter_mut().chain(right).for_each(|sample| *sample = bent(*sample));
    }
}

/// A sample that stays within −1 to 1 without a corner: five instruments at full velocity do not.
fn bent(sample: f32) -> f32 {
    let size = sample.abs();
    if size <= KNEE { sample } else { (KNEE + (1.0 - KNEE) * ((size - KNEE) / (1.0 - KNEE)).tanh()).copysign(sample) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_no_alloc::assert_no_alloc;

    fn loudest(samples: &[f32]) -> f32 {
        samples.iter().fold(0.0, |most, s| s.abs().max(most))
    }

    #[test]
    fn every_program_and_drum_sounds_and_ends_without_an_allocation() {
        let mut synth = Synth::new(&Font::embedded().unwrap(), 44_100).unwrap();
        let (mut left, mut right) = (vec![0.0; 8192], vec![0.0; 8192]);
        let channel = Channel::new(3).unwrap();
        let drums = Channel::new(9).unwrap();
        let cases = (0..128).map(|p| (channel, Some(p), 57)).chain((35..60).map(|key| (drums, None, key)));
        for (channel, program, key) in cases.filter(|(_, _, key)| ![52, 58].contains(key)) {
            let pitch = Pitch::new(key).unwrap();
            assert_no_alloc(|| {
                synth.silence();
                synth.render(&mut left, &mut right);
                assert!(loudest(&left) < 1e-6, "silence after {program:?} {key}");
                if let Some(program) = program {
                    synth.set_program(channel, program);
                }
                synth.on(channel, pitch, Velocity::clamped(90));
                synth.render(&mut left, &mut right);
                synth.off(channel, pitch);
            });
            assert!(loudest(&left) > 2e-3 && loudest(&right) > 2e-3, "{program:?} {key}: {}", loudest(&left));
            assert!(loudest(&left) < 1.0);
        }
    }

    #[test]
    fn what_is_no_soundfont_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let cut = EMBEDDED.len() / 3;
        let mut vast = EMBEDDED[..4096].to_vec();
        vast[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        for path in [at("text", b"no font"), at("empty", b""), at("cut", &EMBEDDED[..cut]), at("vast", &vast)] {
            assert!(matches!(Font::read(&path), Err(ListenError::Font(_))), "{}", path.display());
        }
        assert!(matches!(Font::read(folder.path()), Err(ListenError::File(_))));
        assert!(matches!(Font::read(&folder.path().join("none")), Err(ListenError::File(_))));
        assert!(Font::read(&at("whole", EMBEDDED)).is_ok());
        let font = Font::embedded().unwrap();
        assert!(matches!(Synth::new(&font, 8000), Err(ListenError::SampleRate(8000))));
    }

    #[test]
    fn damaged_fonts_are_refused_or_played_and_nothing_escapes() {
        let headers = EMBEDDED.windows(4).rposition(|bytes| bytes == b"pdta").unwrap();
        let (mut n_refused, mut n_played) = (0, 0);
        for seed in 0..120 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = EMBEDDED.to_vec();
            for _ in 0..rng.usize(1..20) {
                bytes[rng.usize(headers..EMBEDDED.len())] =
                    if rng.bool() { rng.u8(..) } else { rng.choice([0, 127, 128, 255]).unwrap() };
            }
            let Ok(font) = Font::from_reader(&bytes[..]) else {
                n_refused += 1;
                continue;
            };
            n_played += 1;
            let mut synth = Synth::new(&font, 44_100).unwrap();
            let (mut left, mut right) = ([0.0; 512], [0.0; 512]);
            for channel in (0..16).map(|index| Channel::new(index).unwrap()) {
                synth.set_program(channel, rng.u8(..128));
                synth.on(channel, Pitch::new(rng.i32(0..128)).unwrap(), Velocity::clamped(rng.i32(1..128)));
                synth.render(&mut left, &mut right);
                assert!(left.iter().chain(&right).all(|sample| sample.abs() <= 1.0), "{seed}");
            }
        }
        assert!(n_refused > 30 && n_played > 15, "{n_refused} refused, {n_played} played");
    }

    #[test]
    fn what_is_too_loud_is_bent_within_one_and_keeps_its_order() {
        let mut before = -1.0;
        for step in -400..400_i16 {
            let bent = bent(f32::from(step) / 100.0);
            assert!(bent >= before && bent.abs() <= 1.0, "{step}");
            before = bent;
        }
        assert_eq!((bent(0.5), bent(-0.7)), (0.5, -0.7));
    }
}
