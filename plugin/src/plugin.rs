//! The wiring: parameters, engine, player and editor as one plugin, and its exports as CLAP and VST3.

use crate::{
    engine::{Engine, PatternSource, Port, Readiness, Recorder, Registration, Status, Takeover, Wanted},
    generate::{ModelProvider, Morph, Pattern, PatternSpec, Span, StructureKnobs},
    inference::{Library, runtime::data_dir},
    listen::{Handover, Maker, Preview},
    music::{
        chord::Progression,
        note::{Channel, Pitch, Velocity},
        time::{Tempo, Ticks, TimeSignature},
    },
    params::{BarlineParams, PreviewSound, Snapshot, filter_state},
    player::{EventKind, EventSink, HostTransport, NoteEvent, NoteInput, Player},
    state::{MadeWith, SavedPattern, Settings},
};
use atomic_float::AtomicF64;
use nice_plug::{
    midi::{Channel as HostChannel, Key as HostKey, VoiceID},
    prelude::*,
};
use parking_lot::Mutex;
use std::{
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest wait for the pattern to save, on the main thread: the worker makes 32 bars in less.
const MAX_SAVE_WAIT: Duration = Duration::from_secs(2);
/// Environment variable that has times saved with the pattern, for `cargo xtask demo`.
const TIMINGS: &str = "BARLINE_TIMINGS";
/// Longest wait for nice-plug's shared background thread to finish its tasks, on the main thread.
const MAX_DRAIN: Duration = Duration::from_millis(500);
/// Time for that thread to let go of the instance after its last task, or to finish its tasks where no fence can be sent.
const DRAIN: Duration = Duration::from_millis(3);

/// The plugin.
pub struct Barline {
    shared: Arc<Shared>,
    player: Player,
    sample_rate: f32,
    offline: bool,
    panics_seen: u32,
    morph_clock: MorphClock,
    preview: Preview,
    #[cfg_attr(not(feature = "editor"), expect(dead_code, reason = "the instance is served as long as this lives"))]
    registration: Arc<Registration>,
    /// Sends a fence through nice-plug's background thread.
    send_fence: Option<Box<dyn Fn() + Send>>,
}

/// What the instance's threads share besides the port.
struct Shared {
    /// Parameters and what is saved.
    params: Arc<BarlineParams>,
    /// Between audio thread and worker.
    port: Arc<Port>,
    /// The same for the preview.
    preview: Handover,
    /// What is wrong with the preview. Worker and editor.
    preview_error: Mutex<Option<String>>,
    /// Counts the presses of the panic button.
    panics: AtomicU32,
    /// Counts the fences that nice-plug's background thread has come past.
    fences: AtomicU32,
    /// Numerator and denominator of the host's meter, 8 bits each.
    meter: AtomicU32,
    /// The host's tempo; 0 before it has told one.
    tempo: AtomicF64,
    /// Counts the notes that have left.
    n_sent: AtomicU64,
}

/// Half bars, by which an automated morph is looked at: in the middle of each bar, so that the pattern is there at the next bar line, at
/// home and in a render alike. Looked at in every block, it would have the worker begin anew before it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MorphClock {
    /// Half bars since the song's start, while the transport rolls.
    half: Option<i64>,
    /// [`Generations::progression`](crate::params::Generations), which tells of a loaded state.
    generation: u32,
}

impl MorphClock {
    /// Whether the morph is to be looked at in a block that begins at `position`. Audio thread.
    fn is_due(&mut self, rolling: bool, position: Ticks, meter: TimeSignature, generation: u32) -> bool {
        let half = position.0.div_euclid((meter.bar().0 / 2).max(1));
        let before = std::mem::replace(self, Self { half: rolling.then_some(half), generation });
        let goes_on = rolling && before.generation == generation;
        match before.half {
            Some(before) if goes_on && half == before => false,
            Some(before) if goes_on && half == before + 1 => half.rem_euclid(2) == 1,
            _ => true,
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            params: Arc::new(BarlineParams::default()),
            port: Arc::new(Port::new()),
            preview: Handover::default(),
            preview_error: Mutex::new(None),
            panics: AtomicU32::new(0),
            fences: AtomicU32::new(0),
            meter: AtomicU32::new(0),
            tempo: AtomicF64::new(0.0),
            n_sent: AtomicU64::new(0),
        }
    }

    fn set_meter(&self, meter: Option<(i32, i32)>, tempo: Option<f64>) {
        if let Some(tempo) = tempo {
            self.tempo.store(tempo, Ordering::Relaxed);
        }
        if let Some(meter) = meter.and_then(|(n, d)| TimeSignature::new(n, d)) {
            self.meter.store(u32::from(meter.numerator()) << 8 | u32::from(meter.denominator()), Ordering::Relaxed);
        }
    }

    /// The host's meter and tempo.
    fn meter(&self) -> (TimeSignature, Tempo) {
        let [denominator, numerator, ..] = self.meter.load(Ordering::Relaxed).to_le_bytes();
        let meter = TimeSignature::new(numerator.into(), denominator.into()).unwrap_or_default();
        (meter, Tempo::new(self.tempo.load(Ordering::Relaxed)).unwrap_or_default())
    }

    /// What shapes the pattern, now.
    ///
    /// # Realtime safety
    /// Audio thread: yes, atomic loads.
    fn structure(&self) -> StructureKnobs {
        self.params.structure(self.port.heard(), self.port.morph())
    }
}

/// The instance as the worker sees it.
struct Source {
    shared: Arc<Shared>,
    /// The loaded pattern, unpacked, and the count of the load that it came with.
    unpacked: Option<(u64, Option<Arc<Pattern>>)>,
    recorder: Recorder,
    maker: Maker,
    /// The model whose programs the preview knows.
    programs_of: String,
}

impl Source {
    fn spec(&self, knobs: StructureKnobs, settings: &Settings) -> PatternSpec {
        let progression = if knobs.live_chords {
            Progression::constant(self.shared.port.heard())
        } else {
            settings.progression().unwrap_or_else(|_| Progression::none())
        };
        let mut spec = PatternSpec {
            seed: knobs.seed,
            take: knobs.take,
            morph: Morph::from_steps(knobs.seed_b, knobs.morph_steps),
            variation: f32::from_bits(knobs.variation_bits),
            span: self.shared.params.length.value().span(),
            candidates: knobs.candidates,
            progression,
            primer: settings.primer.clone(),
            ..PatternSpec::default()
        };
        settings.complete(&mut spec);
        spec
    }

    fn saved(&mut self, snapshot: &Snapshot) -> Option<Arc<Pattern>> {
        if self.unpacked.as_ref().is_none_or(|(loads, _)| *loads != snapshot.loads) {
            let unpacked = snapshot.pattern.as_ref().map(|saved| saved.unpack(0));
            let saved = &self.shared.params.saved;
            saved.set_logits_error(unpacked.as_ref().and_then(|u| u.as_ref().err()).map(ToString::to_string));
            self.unpacked = Some((snapshot.loads, unpacked.and_then(Result::ok).map(Arc::new)));
        }
        self.unpacked.as_ref().and_then(|(_, pattern)| pattern.clone())
    }
}

impl Source {
    /// Tells the preview what the tracks of this model are to sound like.
    fn tell_programs(&mut self, model: &str) {
        if self.programs_of != model {
            model.clone_into(&mut self.programs_of);
            let tracks = Library::new().inspect(model).map(|model| model.manifest.tracks).unwrap_or_default();
            self.shared.preview.set_programs(&tracks.iter().map(|track| track.program).collect::<Vec<_>>());
        }
    }

    /// Makes the preview's synthesiser where one is wanted.
    fn serve_preview(&mut self) {
        if let Some(error) = self.maker.serve(&self.shared.preview, data_dir) {
            *self.shared.preview_error.lock() = error.map(|e| format!("preview: {e}"));
        }
    }
}

impl PatternSource for Source {
    fn key(&mut self) -> u64 {
        self.serve_preview();
        while let Some(event) = self.shared.port.captured.pop() {
            if let Some(bar) = self.recorder.take(event) {
                self.shared.params.capture_bar(bar.bar, &bar.notes);
            }
        }
        self.shared.structure().key()
    }

    fn wanted(&mut self) -> Wanted {
        // The key before what it stands for: what changes in between is seen as another key at the next look.
        let knobs = self.shared.structure();
        let snapshot = self.shared.params.saved.snapshot();
        self.tell_programs(&snapshot.settings.model);
        Wanted {
            key: knobs.key(),
            spec: self.spec(knobs, &snapshot.settings),
            model: snapshot.settings.model.clone(),
            takeover: if knobs.live_chords { Takeover::NextStep } else { Takeover::BarLine },
            saved: self.saved(&snapshot),
        }
    }

    fn aim(&mut self) -> u64 {
        self.shared.params.aim()
    }

    /// After the re-roll that the mouse is at. Of a pattern without end there is always more to make than that.
    fn next(&mut self) -> Option<PatternSpec> {
        let knobs = self.shared.structure();
        let is_finite = self.shared.params.length.value().span() != Span::Endless;
        let settings = (is_finite && !knobs.live_chords).then(|| self.shared.params.rerolled())??;
        Some(self.spec(knobs, &settings))
    }
}

/// The pattern to save: the one wanted now, waited for if it is being made, so that what is saved does not depend on how far the
/// worker was. `None` for an endless one, or where none can be made.
fn pattern_to_save(shared: &Shared, registration: &Registration) -> Option<SavedPattern> {
    if shared.params.length.value().span() == Span::Endless {
        return None;
    }
    let deadline = Instant::now() + MAX_SAVE_WAIT;
    loop {
        let status = registration.status();
        let key = shared.structure().key();
        let is_ready = status.readiness == Readiness::Ready;
        if let Some(pattern) = status.pattern.as_ref().filter(|pattern| is_ready && pattern.key == key) {
            let made_with = if status.from_project {
                shared.params.saved.snapshot().pattern.and_then(|loaded| loaded.made_with.clone())
            } else {
                Some(made_with(&status))
            };
            return SavedPattern::pack(pattern).map(|saved| SavedPattern { made_with, ..saved });
        }
        if status.readiness == Readiness::Failed || Instant::now() > deadline {
            return None;
        }
        registration.nudge();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What made the pattern that plays.
fn made_with(status: &Status) -> MadeWith {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded to a day first")]
    let inference_us = (status.inference_ms * 1e3).round().clamp(0.0, 86_400e6) as u64;
    let is_asked = std::env::var_os(TIMINGS).is_some();
    MadeWith {
        runtime: status.backend.runtime.clone(),
        provider: status.backend.provider.clone(),
        inference_us: is_asked.then_some(inference_us),
    }
}

/// Models to choose from; files that are refused are left out here and named by `barline models`.
#[cfg(feature = "editor")]
fn models() -> Vec<crate::editor::ModelChoice> {
    let (models, _) = Library::new().list();
    let choice = |m: crate::inference::ModelInfo| crate::editor::ModelChoice {
        takes_primer: m.manifest.has(crate::generate::manifest::Encoding::States),
        id: m.manifest.id,
        name: m.manifest.name,
        about: m.manifest.description,
        tracks: m.manifest.tracks.into_iter().map(|track| (track.name, track.program)).collect(),
    };
    models.into_iter().map(choice).collect()
}

/// Where the user's music goes: `Barline` in the folder for music, else for documents, else in the home folder.
#[cfg(feature = "editor")]
fn music_dir() -> Option<std::path::PathBuf> {
    let dirs = directories::UserDirs::new()?;
    Some(dirs.audio_dir().or(dirs.document_dir()).unwrap_or(dirs.home_dir()).join("Barline"))
}

impl Default for Barline {
    fn default() -> Self {
        let shared = Arc::new(Shared::new());
        let engine = Engine::global(|| Box::new(Library::new()) as Box<dyn ModelProvider>);
        let source = Source {
            shared: Arc::clone(&shared),
            unpacked: None,
            recorder: Recorder::default(),
            maker: Maker::default(),
            programs_of: String::new(),
        };
        let registration = Arc::new(engine.register(Arc::clone(&shared.port), Box::new(source)));
        let to_save = (Arc::downgrade(&shared), Arc::downgrade(&registration));
        shared.params.saved.set_pattern_to_save(Box::new(move || {
            let (shared, registration) = &to_save;
            pattern_to_save(&*shared.upgrade()?, &*registration.upgrade()?)
        }));
        Self {
            shared,
            player: Player::new(),
            sample_rate: 48_000.0,
            offline: false,
            panics_seen: 0,
            morph_clock: MorphClock::default(),
            preview: Preview::default(),
            registration,
            send_fence: None,
        }
    }
}

/// Takes the player's events to the host.
struct HostSink<'a, 'b, C> {
    context: &'a mut C,
    n_sent: &'a AtomicU64,
    preview: &'a mut Preview,
    outputs: &'a mut [&'b mut [f32]],
}

impl<C: ProcessContext<Barline>> EventSink for HostSink<'_, '_, C> {
    fn send(&mut self, offset_samples: u32, event: NoteEvent) -> bool {
        let (timing, voice_id) = (offset_samples, VoiceID::Wildcard);
        let channel = HostChannel::Number(event.channel.index());
        let key = HostKey::Number(event.pitch.number());
        let for_host = match event.kind {
            EventKind::On(velocity) => {
                let velocity = f32::from(velocity.number()) / 127.0;
                nice_plug::midi::NoteEvent::NoteOn { timing, voice_id, channel, key, velocity }
            }
            EventKind::Off => nice_plug::midi::NoteEvent::NoteOff { timing, voice_id, channel, key, velocity: 0.0 },
        };
        let is_sent = self.context.try_send_event(for_host).is_ok();
        if is_sent {
            self.n_sent.fetch_add(1, Ordering::Relaxed);
            let velocity = match event.kind {
                EventKind::On(velocity) => Some(velocity),
                EventKind::Off => None,
            };
            self.preview.note(offset_samples as usize, event.channel, event.pitch, velocity, self.outputs);
        }
        is_sent
    }
}

/// A note from the host; `None` for what is none.
fn note_input(event: nice_plug::midi::NoteEvent<()>) -> Option<NoteInput> {
    use nice_plug::midi::NoteEvent as Host;
    let (timing, channel, key, kind) = match event {
        Host::NoteOn { timing, channel, key, velocity, .. } => {
            // Bounded before the cast: hosts do send NaN.
            #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..=127 first")]
            let velocity = Velocity::clamped((velocity.clamp(0.0, 1.0) * 127.0).round() as i32);
            (timing, channel, key, EventKind::On(velocity))
        }
        Host::NoteOff { timing, channel, key, .. } | Host::Choke { timing, channel, key, .. } => {
            (timing, channel, key, EventKind::Off)
        }
        _ => return None,
    };
    Some(NoteInput {
        offset_samples: timing,
        channel: channel.number().and_then(Channel::new).unwrap_or_default(),
        pitch: Pitch::new(key.number()?.into())?,
        kind,
    })
}

fn host_transport(transport: &Transport, offline: bool) -> HostTransport {
    HostTransport {
        playing: transport.playing,
        tempo: transport.tempo,
        pos_beats: transport.pos_beats(),
        pos_samples: transport.pos_samples(),
        meter: transport.time_sig_numerator.zip(transport.time_sig_denominator),
        loop_beats: transport.loop_range_beats(),
        offline,
    }
}

/// The only task that Barline gives to nice-plug's background thread: everything before it is done.
pub struct Fence;

impl Plugin for Barline {
    const NAME: &'static str = "Barline";
    const VENDOR: &'static str = "Barline contributors";
    const URL: &'static str = "";
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    // Silent but for the preview. Ableton Live and pedalboard refuse a plugin without audio.
    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] =
        &[AudioIOLayout { main_output_channels: NonZeroU32::new(2), ..AudioIOLayout::const_default() }];
    const MIDI_INPUT: MidiConfig = MidiConfig::Basic;
    const MIDI_OUTPUT: MidiConfig = MidiConfig::Basic;
    // nice-plug 0.4.2 shifts transport events inside a block twice when it splits blocks.
    const SAMPLE_ACCURATE_AUTOMATION: bool = false;

    #[cfg(feature = "editor")]
    type Editor = crate::editor::PageEditor;
    #[cfg(not(feature = "editor"))]
    type Editor = ();
    type SysExMessage = ();
    type BackgroundTask = Fence;

    fn task_executor(&mut self) -> TaskExecutor<Self> {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move |Fence| {
            if let Some(shared) = Weak::upgrade(&shared) {
                shared.fences.fetch_add(1, Ordering::Release);
            }
        })
    }

    fn params(&self) -> Arc<dyn Params> {
        Arc::clone(&self.shared.params) as Arc<dyn Params>
    }

    #[cfg(feature = "editor")]
    fn editor(&mut self, executor: AsyncExecutor<Self>) -> Option<Self::Editor> {
        self.send_fence = Some(Box::new(move || executor.execute_background(Fence)));
        let (with_meter, with_panic, with_sent) = (Arc::clone(&self.shared), Arc::clone(&self.shared), Arc::clone(&self.shared));
        let with_error = Arc::clone(&self.shared);
        // The plugin may be gone before its editor is.
        let (with_status, with_nudge) = (Arc::downgrade(&self.registration), Arc::downgrade(&self.registration));
        let with_listen = Arc::downgrade(&self.registration);
        crate::editor::create(crate::editor::Instance {
            params: Arc::clone(&self.shared.params),
            port: Arc::clone(&self.shared.port),
            status: Box::new(move || {
                let mut status = with_status.upgrade().map(|registration| registration.status()).unwrap_or_default();
                if status.error.is_none() {
                    status.error = with_error.preview_error.lock().clone();
                }
                status
            }),
            nudge: Box::new(move || {
                if let Some(registration) = with_nudge.upgrade() {
                    registration.nudge();
                }
            }),
            listen: Box::new(move |listener| {
                if let Some(registration) = with_listen.upgrade() {
                    registration.listen(listener);
                }
            }),
            meter: Box::new(move || with_meter.meter()),
            panic: Box::new(move || {
                with_panic.panics.fetch_add(1, Ordering::Relaxed);
            }),
            n_sent: Box::new(move || with_sent.n_sent.load(Ordering::Relaxed)),
            models,
            install: |path| Library::new().install(path).map(|model| model.manifest.id).map_err(|error| error.to_string()),
            preferences: data_dir(),
            music: music_dir(),
        })
    }

    fn filter_state(state: &mut PluginState) {
        filter_state(state);
    }

    fn activate(&mut self, _layout: &AudioIOLayout, config: &BufferConfig, _context: &mut impl ActivateContext<Self>) -> bool {
        self.sample_rate = config.sample_rate;
        self.offline = config.process_mode == ProcessMode::Offline;
        true
    }

    fn reset(&mut self) {
        self.player.reset();
        self.preview.silence();
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        for channel in buffer.as_slice() {
            channel.fill(0.0);
        }
        // VST3's mode lags one call behind in nice-plug 0.4.2, so there the player judges by the pace.
        let offline = self.offline && context.plugin_api() != PluginApi::Vst3;
        let transport = host_transport(context.transport(), offline);
        self.shared.set_meter(transport.meter, transport.tempo);
        let (playhead, generation) = (self.shared.port.playhead(), self.shared.params.saved.generations().progression);
        if self.morph_clock.is_due(transport.playing, playhead.position, self.shared.meter().0, generation) {
            self.shared.port.set_morph(self.shared.params.morph_steps());
        }
        let panics = self.shared.panics.load(Ordering::Relaxed);
        if panics != self.panics_seen {
            self.panics_seen = panics;
            self.player.reset();
            self.preview.silence();
        }
        while let Some(event) = context.next_event() {
            if let Some(input) = note_input(event) {
                self.player.input(input, &self.shared.port);
            }
        }
        let n_samples = u32::try_from(buffer.samples()).unwrap_or(u32::MAX);
        let params = &self.shared.params;
        let knobs = params.knobs();
        let is_heard = match params.preview.value() {
            PreviewSound::Standalone => context.plugin_api() == PluginApi::Standalone,
            PreviewSound::On => true,
            PreviewSound::Off => false,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hosts' sample rates are whole and positive")]
        let preview_rate = if is_heard { self.sample_rate as u32 } else { 0 };
        self.preview.begin(&self.shared.preview, preview_rate, |track_idx, n_tracks| knobs.channel_of(track_idx, n_tracks));
        let wanted_now = || self.shared.structure().key();
        let (preview, outputs) = (&mut self.preview, buffer.as_slice());
        let mut sink = HostSink { context, n_sent: &self.shared.n_sent, preview, outputs };
        self.player.process(&transport, n_samples, self.sample_rate, &knobs, &wanted_now, &self.shared.port, &mut sink);
        self.preview.end(params.preview_volume.value(), buffer.as_slice());
        ProcessStatus::KeepAlive
    }

    fn deactivate(&mut self) {
        // nice-plug's background thread ends when it meets a task of a dropped instance, and then the host's process aborts. Its
        // queue keeps order, so once a fence has come through nothing of this instance is left in it.
        if let Some(send_fence) = &self.send_fence {
            let fences = self.shared.fences.load(Ordering::Acquire);
            let deadline = Instant::now() + MAX_DRAIN;
            send_fence();
            while self.shared.fences.load(Ordering::Acquire) == fences && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        std::thread::sleep(DRAIN);
    }
}

impl ClapPlugin for Barline {
    const CLAP_ID: &'static str = "org.barline.barline";
    const CLAP_DESCRIPTION: Option<&'static str> = Some("A neural network writes melodies over your chords, as live MIDI");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] = &[ClapFeature::Instrument, ClapFeature::NoteEffect, ClapFeature::Stereo];
}

impl Vst3Plugin for Barline {
    const VST3_CLASS_ID: [u8; 16] = *b"BarlineMelodyGen";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] = &[Vst3SubCategory::Instrument, Vst3SubCategory::Generator];
}

nice_export_clap!(Barline);
nice_export_vst3!(Barline);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automated_morph_is_looked_at_once_a_bar_in_its_middle() {
        let mut clock = MorphClock::default();
        let mut due =
            |rolling, position, generation| clock.is_due(rolling, Ticks(position), TimeSignature::default(), generation);
        // Stopped: always. Rolling: at the start, then in the middles, whatever the blocks.
        assert!(due(false, 700, 0) && due(false, 700, 0) && due(true, 700, 0));
        let looked: Vec<i64> = (0..50).map(|i| 800 + i * 230).filter(|position| due(true, *position, 0)).collect();
        assert_eq!(looked, [1030, 3100, 4940, 6780, 8850, 10_690]);
        // At a jump, and when a state is loaded.
        assert!(due(true, 90_000, 0) && !due(true, 90_100, 0) && due(true, 90_200, 1) && !due(true, 90_300, 1));
        assert!(due(false, 90_300, 1) && due(true, 90_300, 1));
    }
}
