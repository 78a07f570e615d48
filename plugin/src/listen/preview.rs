//! What leaves the player, as sound: the worker makes a synthesiser when one is wanted, the audio thread plays it, and the worker takes
//! it back. Nothing is held while the preview is off.

use super::{Font, ListenError, Synth};
use crate::music::note::{Channel, Pitch, Velocity};
use crossbeam::queue::ArrayQueue;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

/// Tracks whose General MIDI programs are passed on.
const MAX_TRACKS: usize = 7;

/// Between audio thread and worker. Lock-free.
#[derive(Debug)]
pub struct Handover {
    /// What is wanted: how often that has changed, then the sample rate in the low 32 bits; 0 Hz is none.
    wanted: AtomicU64,
    made: ArrayQueue<Box<Synth>>,
    retired: ArrayQueue<Box<Synth>>,
    /// The number of tracks in the lowest byte, then a byte each.
    programs: AtomicU64,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            wanted: AtomicU64::new(0),
            made: ArrayQueue::new(1),
            // The one that plays, and one that came too late.
            retired: ArrayQueue::new(2),
            programs: AtomicU64::new(0),
        }
    }
}

impl Handover {
    /// The General MIDI programs of the tracks of the model that plays. Worker thread.
    pub fn set_programs(&self, programs: &[u8]) {
        let mut bytes = [0; 8];
        let n = programs.len().min(MAX_TRACKS);
        for (byte, program) in bytes.iter_mut().zip(std::iter::once(&u8::try_from(n).unwrap_or(0)).chain(programs)) {
            *byte = *program;
        }
        self.programs.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }

    /// Gives a synthesiser back. Audio thread. The queue has room: between two looks of the worker, which empties it and then makes one
    /// at most, there are two.
    fn retire(&self, synth: Box<Synth>) {
        if let Err(synth) = self.retired.push(synth) {
            // Lost rather than freed on the audio thread.
            std::mem::forget(synth);
        }
    }

    /// The programs, and how many of them count.
    fn programs(&self) -> ([u8; MAX_TRACKS], usize) {
        let [n, programs @ ..] = self.programs.load(Ordering::Relaxed).to_le_bytes();
        (programs, usize::from(n))
    }
}

/// The worker's side.
#[derive(Debug, Default)]
pub struct Maker {
    /// What was wanted when one was last made.
    served: u64,
}

impl Maker {
    /// Takes back what is not needed any more, and makes what is wanted, with the SoundFont of `folder` where there is one. `None` where
    /// nothing has changed; else what is wrong with that SoundFont, or with the sample rate, if anything is.
    pub fn serve(&mut self, handover: &Handover, folder: impl FnOnce() -> Option<PathBuf>) -> Option<Option<ListenError>> {
        while handover.retired.pop().is_some() {}
        let wanted = handover.wanted.load(Ordering::Acquire);
        if wanted == self.served {
            return None;
        }
        self.served = wanted;
        // What was made for another sample rate and never taken.
        handover.made.pop();
        let sample_rate = u32::try_from(wanted & u64::from(u32::MAX)).unwrap_or(0);
        if sample_rate == 0 {
            return Some(None);
        }
        let (font, refused) = Font::shared(folder().as_deref());
        let made = font.and_then(|font| Synth::new(&font, sample_rate));
        Some(match made {
            Ok(synth) => {
                // Empty: it was emptied above, and nobody else fills it.
                let _ = handover.made.push(Box::new(synth));
                refused
            }
            Err(e) => Some(e),
        })
    }
}

/// The audio thread's side.
#[derive(Debug, Default)]
pub struct Preview {
    synth: Option<Box<Synth>>,
    /// What was last asked for: changes, and Hz.
    wanted: (u32, u32),
    /// Samples of this block that are rendered.
    n_rendered: usize,
    gain: f32,
}

impl Preview {
    /// Begins a block. `sample_rate` is in Hz, 0 while the preview is off; `channel_of` tells on which channel a track of so many plays.
    ///
    /// # Realtime safety
    /// Audio thread: yes. This and everything else here neither allocates nor waits.
    pub fn begin(&mut self, handover: &Handover, sample_rate: u32, channel_of: impl Fn(usize, usize) -> Channel) {
        self.n_rendered = 0;
        if self.wanted.1 != sample_rate {
            self.synth.take().into_iter().for_each(|synth| handover.retire(synth));
            self.wanted = (self.wanted.0.wrapping_add(1), sample_rate);
            handover.wanted.store(u64::from(self.wanted.0) << 32 | u64::from(sample_rate), Ordering::Release);
        }
        if self.synth.is_none()
            && sample_rate != 0
            && let Some(synth) = handover.made.pop()
        {
            // The worker may have been at one for the sample rate before.
            if synth.sample_rate() == sample_rate { self.synth = Some(synth) } else { handover.retire(synth) }
        }
        let Some(synth) = &mut self.synth else { return };
        let (programs, n_tracks) = handover.programs();
        let mut of_channels = [None; 16];
        for (track_idx, program) in programs.into_iter().enumerate().take(n_tracks) {
            if let Some(of_channel) = of_channels.get_mut(usize::from(channel_of(track_idx, n_tracks).index())) {
                of_channel.get_or_insert(program);
            }
        }
        for (channel, program) in (0..).map_while(Channel::new).zip(of_channels) {
            if let Some(program) = program {
                synth.set_program(channel, program);
            }
        }
    }

    /// A note begins or ends at this sample of the block; events come in the order of time.
    pub fn note(
        &mut self,
        offset: usize,
        channel: Channel,
        pitch: Pitch,
        velocity: Option<Velocity>,
        outputs: &mut [&mut [f32]],
    ) {
        self.render(offset, outputs);
        let Some(synth) = &mut self.synth else { return };
        match velocity {
            Some(velocity) => synth.on(channel, pitch, velocity),
            None => synth.off(channel, pitch),
        }
    }

    /// Renders what is left of the block, from the volume before (of 1) to this one.
    pub fn end(&mut self, gain: f32, outputs: &mut [&mut [f32]]) {
        self.render(usize::MAX, outputs);
        if self.synth.is_some() {
            for output in outputs.iter_mut() {
                #[expect(clippy::cast_precision_loss, reason = "samples of a block")]
                let step = (gain - self.gain) / output.len().max(1) as f32;
                let mut now = self.gain;
                for sample in output.iter_mut() {
                    now += step;
                    *sample *= now;
                }
            }
        }
        self.gain = gain;
    }

    /// Ends what sounds at once.
    pub fn silence(&mut self) {
        if let Some(synth) = &mut self.synth {
            synth.silence();
        }
    }

    fn render(&mut self, until: usize, outputs: &mut [&mut [f32]]) {
        let (Some(synth), [left, right, ..]) = (&mut self.synth, outputs) else { return };
        let until = until.min(left.len()).min(right.len());
        let range = self.n_rendered.min(until)..until;
        if let (Some(left), Some(right)) = (left.get_mut(range.clone()), right.get_mut(range)) {
            synth.render(left, right);
        }
        self.n_rendered = self.n_rendered.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_no_alloc::assert_no_alloc;

    struct Host {
        handover: Handover,
        maker: Maker,
        preview: Preview,
        left: Vec<f32>,
        right: Vec<f32>,
    }

    impl Host {
        fn new() -> Self {
            let outputs = (vec![0.0; 512], vec![0.0; 512]);
            Self {
                handover: Handover::default(),
                maker: Maker::default(),
                preview: Preview::default(),
                left: outputs.0,
                right: outputs.1,
            }
        }

        fn serve(&mut self) -> Option<Option<ListenError>> {
            self.maker.serve(&self.handover, || None)
        }

        /// A block in which a note of track 1 begins at some sample, and its outputs' loudest samples before that and from there on.
        fn block(&mut self, sample_rate: u32, note: Option<usize>) -> (f32, f32) {
            let Self { handover, preview, left, right, .. } = self;
            left.fill(0.0);
            right.fill(0.0);
            assert_no_alloc(|| {
                preview.begin(handover, sample_rate, |track_idx, _| Channel::new(u8::try_from(track_idx).unwrap() + 1).unwrap());
                let outputs: &mut [&mut [f32]] = &mut [left, right];
                if let Some(at) = note {
                    let (channel, pitch) = (Channel::new(2).unwrap(), Pitch::new(60).unwrap());
                    preview.note(at, channel, pitch, Some(Velocity::clamped(100)), outputs);
                }
                preview.end(1.0, outputs);
            });
            let loudest = |samples: &[f32]| samples.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
            let (before, after) = self.left.split_at(note.unwrap_or(512));
            (loudest(before), loudest(after))
        }
    }

    #[test]
    fn a_synthesiser_comes_when_it_is_wanted_and_goes_when_it_is_not() {
        let mut host = Host::new();
        assert!(host.serve().is_none() && host.block(0, Some(0)) == (0.0, 0.0));
        // Wanted, and not there yet.
        assert_eq!(host.block(48_000, Some(100)), (0.0, 0.0));
        assert!(matches!(host.serve(), Some(None)) && host.serve().is_none());
        host.handover.set_programs(&[0, 33]);
        // It begins with the note, at the full volume from the next block on.
        let (before, after) = host.block(48_000, Some(100));
        assert!(before < 1e-6 && after > 1e-4, "{before} {after}");
        assert!(host.block(48_000, None).0 > after);
        // Off, on again, and at another rate, faster than the worker looks: what it makes in the end is what was wanted last.
        for sample_rate in [0, 48_000, 0, 44_100, 96_000] {
            assert_eq!(host.block(sample_rate, Some(3)), (0.0, 0.0));
        }
        assert!(matches!(host.serve(), Some(None)));
        assert!(host.block(96_000, Some(3)).1 > 1e-4);
        assert_eq!(host.preview.synth.as_ref().unwrap().sample_rate(), 96_000);
        assert_eq!(host.block(0, Some(3)), (0.0, 0.0));
        assert_eq!(host.handover.retired.len(), 1);
        assert!(matches!(host.serve(), Some(None)) && host.handover.retired.is_empty());
    }

    #[test]
    fn one_that_comes_too_late_goes_back() {
        let mut host = Host::new();
        host.block(48_000, None);
        host.serve();
        host.block(0, None);
        host.block(44_100, None);
        // The one for 48 kHz was still there.
        assert!(host.preview.synth.is_none() && host.handover.retired.len() == 1);
        host.serve();
        assert!(host.block(44_100, Some(0)).1 > 1e-4);
    }

    #[test]
    fn what_cannot_be_had_is_told_once() {
        let mut host = Host::new();
        host.block(8000, None);
        assert!(matches!(host.serve(), Some(Some(ListenError::SampleRate(8000)))) && host.serve().is_none());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(super::super::FONT_FILE), "no font").unwrap();
        host.block(48_000, None);
        assert!(matches!(host.maker.serve(&host.handover, || Some(folder.path().into())), Some(Some(ListenError::Font(_)))));
        // The built-in one plays instead.
        assert!(host.block(48_000, Some(0)).1 > 1e-4);
    }
}
