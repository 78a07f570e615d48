//! The CLAP host, over clack-host.

use crate::{
    host::{Block, Host, Input, MAX_BLOCK, Parameter, Transport},
    notes::{Kind, NoteEvent},
};
use clack_host::{
    events::{
        EventFlags, Match,
        event_types::{NoteOffEvent, NoteOnEvent, ParamValueEvent, TransportEvent, TransportFlags},
        spaces::CoreEventSpace,
    },
    extensions::prelude::*,
    prelude::*,
    stream::{InputStream, OutputStream},
    utils::{BeatTime, SecondsTime},
};
#[cfg(target_os = "linux")]
use clap_sys::ext::gui::{CLAP_WINDOW_API_X11, clap_window, clap_window_handle};
use clap_sys::{
    ext::{
        gui::{CLAP_EXT_GUI, clap_host_gui, clap_plugin_gui},
        latency::{CLAP_EXT_LATENCY, clap_plugin_latency},
        params::{CLAP_EXT_PARAMS, CLAP_PARAM_IS_AUTOMATABLE, CLAP_PARAM_IS_STEPPED, clap_param_info, clap_plugin_params},
        render::{CLAP_EXT_RENDER, CLAP_RENDER_OFFLINE, CLAP_RENDER_REALTIME, clap_plugin_render},
        state::{CLAP_EXT_STATE, clap_plugin_state},
    },
    host::clap_host,
    plugin::clap_plugin,
};
use std::{
    ffi::CStr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// What the plugin asked of the host.
#[derive(Default)]
struct Requests {
    callback: AtomicBool,
    restart: AtomicBool,
}

impl SharedHandler<'_> for Requests {
    fn request_restart(&self) {
        self.restart.store(true, Ordering::SeqCst);
    }
    fn request_process(&self) {}
    fn request_callback(&self) {
        self.callback.store(true, Ordering::SeqCst);
    }
}

struct Handlers;

impl HostHandlers for Handlers {
    type Shared<'a> = Requests;
    type MainThread<'a> = ();
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Requests) {
        builder.register::<HostGui>();
    }
}

/// What an editor may ask of the host's window: nothing here. nice-plug opens no editor in a host that lacks it.
#[derive(Clone, Copy)]
struct HostGui;

// SAFETY: this is the structure that CLAP fixes for the id.
unsafe impl Extension for HostGui {
    const IDENTIFIERS: &'static [&'static CStr] = &[CLAP_EXT_GUI];
    type ExtensionSide = HostExtensionSide;

    unsafe fn from_raw(_raw: RawExtension<HostExtensionSide>) -> Self {
        Self
    }
}

// SAFETY: as above; it lives for ever.
unsafe impl ExtensionImplementation<Handlers> for HostGui {
    const IMPLEMENTATION: RawExtensionImplementation = RawExtensionImplementation::new(&NO_GUI);
}

const NO_GUI: clap_host_gui = {
    unsafe extern "C" fn nothing(_host: *const clap_host) {}
    unsafe extern "C" fn closed(_host: *const clap_host, _was_destroyed: bool) {}
    unsafe extern "C" fn no(_host: *const clap_host) -> bool {
        false
    }
    unsafe extern "C" fn no_size(_host: *const clap_host, _width: u32, _height: u32) -> bool {
        false
    }
    clap_host_gui {
        resize_hints_changed: Some(nothing),
        request_resize: Some(no_size),
        request_show: Some(no),
        request_hide: Some(no),
        closed: Some(closed),
    }
};

/// A loaded CLAP file, from which instances are made.
pub struct ClapFile {
    entry: PluginEntry,
    id: std::ffi::CString,
}

impl ClapFile {
    /// Loads the file; its first plugin is meant.
    ///
    /// # Panics
    /// It is no CLAP file, or holds no plugin.
    pub fn load(path: &Path) -> Self {
        // SAFETY: the library is the plugin under test; running its initialisers is the point.
        let entry = unsafe { PluginEntry::load(path) }.unwrap_or_else(|e| panic!("{} does not load: {e}", path.display()));
        let factory = entry.get_plugin_factory().expect("a plugin factory");
        let descriptor = factory.plugin_descriptors().next().expect("a plugin in the file");
        let id = descriptor.id().expect("an id").to_owned();
        Self { entry, id }
    }

    /// A new instance, active and processing.
    pub fn instance(&self, sample_rate: f64) -> ClapHost {
        ClapHost::new(self, sample_rate)
    }
}

/// A CLAP host with one instance.
pub struct ClapHost {
    instance: PluginInstance<Handlers>,
    processor: Option<StartedPluginAudioProcessor<Handlers>>,
    parameters: Vec<(Parameter, clap_param_info)>,
    public_parameters: Vec<Parameter>,
    sample_rate: f64,
    elapsed: u64,
    outputs: [Vec<f32>; 2],
    input_events: EventBuffer,
    output_events: EventBuffer,
    /// How long the plugin's process call took in the latest block, the host's own work excluded.
    pub process_time: Duration,
    /// The plugin's output was silent in every block so far.
    pub silent: bool,
    /// The largest sample of the latest block.
    pub loudest: f32,
    /// When the first sample came that is not 0, in samples since the start of processing.
    pub first_sound: Option<u64>,
}

impl ClapHost {
    /// Loads the file and makes one instance.
    pub fn open(path: &Path, sample_rate: f64) -> Self {
        ClapFile::load(path).instance(sample_rate)
    }

    fn new(file: &ClapFile, sample_rate: f64) -> Self {
        let info = HostInfo::new("Barline tests", "Barline", "https://example.com", "1.0").expect("no NUL in the names");
        let instance =
            PluginInstance::<Handlers>::new(|()| Requests::default(), |_| (), &file.entry, &file.id, &info).expect("an instance");
        let mut host = Self {
            instance,
            processor: None,
            parameters: Vec::new(),
            public_parameters: Vec::new(),
            sample_rate,
            elapsed: 0,
            outputs: [vec![0.0; MAX_BLOCK as usize], vec![0.0; MAX_BLOCK as usize]],
            input_events: EventBuffer::with_capacity(64),
            output_events: EventBuffer::with_capacity(1024),
            process_time: Duration::ZERO,
            silent: true,
            loudest: 0.0,
            first_sound: None,
        };
        host.parameters = host.read_parameters();
        host.public_parameters = host.parameters.iter().map(|(p, _)| p.clone()).collect();
        host.start();
        host
    }

    fn plugin(&self) -> *const clap_plugin {
        self.instance.raw_instance()
    }

    /// The plugin's side of an extension.
    fn extension<T>(&self, id: &CStr) -> Option<&T> {
        let plugin = self.instance.raw_instance();
        let get = plugin.get_extension?;
        // SAFETY: `plugin` is alive, and CLAP fixes the type behind each extension id, which the callers name.
        unsafe { get(plugin, id.as_ptr()).cast::<T>().as_ref() }
    }

    fn read_parameters(&self) -> Vec<(Parameter, clap_param_info)> {
        let Some(params) = self.extension::<clap_plugin_params>(CLAP_EXT_PARAMS) else { return Vec::new() };
        let plugin = self.plugin();
        // SAFETY: on the main thread, with a live plugin and a zeroed info struct of the right type.
        let infos = unsafe {
            let n = params.count.map_or(0, |count| count(plugin));
            (0..n).filter_map(|idx| {
                let mut info: clap_param_info = std::mem::zeroed();
                params.get_info?(plugin, idx, &mut info).then_some(info)
            })
        };
        infos
            .map(|info| {
                // SAFETY: the plugin fills the name with a NUL-terminated string.
                let name = unsafe { CStr::from_ptr(info.name.as_ptr()) }.to_string_lossy().into_owned();
                let stepped = info.flags & CLAP_PARAM_IS_STEPPED != 0;
                let n_gaps = if stepped { (info.max_value - info.min_value).round() as u32 } else { 0 };
                let automatable = info.flags & CLAP_PARAM_IS_AUTOMATABLE != 0;
                (Parameter { id: info.id, name, n_gaps, automatable }, info)
            })
            .collect()
    }

    fn start(&mut self) {
        let configuration =
            PluginAudioConfiguration { sample_rate: self.sample_rate, min_frames_count: 1, max_frames_count: MAX_BLOCK };
        let stopped = self.instance.activate(|_, _| (), configuration).expect("the plugin activates");
        self.processor = Some(stopped.start_processing().expect("the plugin starts processing"));
    }

    fn stop(&mut self) {
        if let Some(processor) = self.processor.take() {
            self.instance.deactivate(processor.stop_processing());
        }
    }

    /// Latency in samples.
    pub fn latency(&self) -> u32 {
        let Some(get) = self.extension::<clap_plugin_latency>(CLAP_EXT_LATENCY).and_then(|l| l.get) else { return 0 };
        // SAFETY: on the main thread, with a live plugin.
        unsafe { get(self.plugin()) }
    }

    fn info(&self, name: &str) -> &clap_param_info {
        self.parameters
            .iter()
            .find(|(p, _)| p.name == name)
            .map_or_else(|| panic!("no parameter `{name}` among {:?}", self.public_parameters), |(_, info)| info)
    }

    /// Runs what the plugin wants done on the main thread.
    fn main_thread(&mut self) {
        if self.instance.access_shared_handler(|requests| requests.callback.swap(false, Ordering::SeqCst)) {
            self.instance.call_on_main_thread_callback();
        }
        // nice-plug asks for one when the render mode changes, and says the new mode to the plugin only then.
        if self.instance.access_shared_handler(|requests| requests.restart.swap(false, Ordering::SeqCst)) {
            self.stop();
            self.start();
        }
    }

    /// Has the plugin save its state as if that were part of `process`: RealtimeSanitizer ends the process inside the plugin's library,
    /// or does not see into it.
    pub fn save_in_real_time(&mut self) {
        let save = self.extension::<clap_plugin_state>(CLAP_EXT_STATE).and_then(|s| s.save).expect("the state extension");
        let mut nowhere = std::io::sink();
        let mut stream = OutputStream::from_writer(&mut nowhere);
        // SAFETY: on the main thread, with a live plugin and a live stream.
        in_real_time(|| unsafe { save(self.plugin(), stream.as_raw_mut()) });
    }

    /// Gives the open editor another size; whether it takes it.
    pub fn resize_editor(&mut self, width: u32, height: u32) -> bool {
        let gui: &clap_plugin_gui = self.extension(CLAP_EXT_GUI).expect("the gui extension");
        // SAFETY: on the main thread, with a live plugin whose editor is open.
        unsafe { gui.set_size.expect("set_size")(self.plugin(), width, height) }
    }

    /// Hands the plugin a state stream as it is, without the length that nice-plug writes before its JSON.
    ///
    /// # Errors
    /// The plugin refused it.
    pub fn load_raw(&mut self, bytes: &[u8]) -> Result<(), String> {
        let load = self.extension::<clap_plugin_state>(CLAP_EXT_STATE).and_then(|s| s.load).ok_or("no state extension")?;
        let mut reader = bytes;
        let mut stream = InputStream::from_reader(&mut reader);
        // SAFETY: on the main thread, with a live plugin and a live stream.
        let ok = unsafe { load(self.plugin(), stream.as_raw_mut()) };
        self.main_thread();
        if ok { Ok(()) } else { Err("the plugin refused the state".into()) }
    }
}

/// Where RealtimeSanitizer is linked, any allocation, lock that waits or system call in here ends the process; else it does nothing.
#[rtsan_standalone::nonblocking]
fn in_real_time<T>(work: impl FnOnce() -> T) -> T {
    work()
}

fn transport_event(transport: &Transport) -> TransportEvent {
    let mut flags = TransportFlags::empty();
    flags.set(TransportFlags::IS_PLAYING, transport.playing);
    flags.set(TransportFlags::HAS_TEMPO, transport.tempo.is_some());
    flags.set(TransportFlags::HAS_BEATS_TIMELINE, transport.pos_beats.is_some());
    flags.set(TransportFlags::HAS_TIME_SIGNATURE, transport.meter.is_some());
    flags.set(TransportFlags::IS_LOOP_ACTIVE, transport.loop_beats.is_some());
    let (numerator, denominator) = transport.meter.unwrap_or((0, 0));
    let (loop_start, loop_end) = transport.loop_beats.unwrap_or((0.0, 0.0));
    let pos_beats = transport.pos_beats.unwrap_or(0.0);
    let bar_beats = if numerator > 0 && denominator > 0 { 4.0 * f64::from(numerator) / f64::from(denominator) } else { 4.0 };
    let bar = (pos_beats / bar_beats).floor();
    TransportEvent {
        header: EventHeader::new_core(0, EventFlags::empty()),
        flags,
        song_pos_beats: BeatTime::from_float(pos_beats),
        song_pos_seconds: SecondsTime::from_float(0.0),
        tempo: transport.tempo.unwrap_or(0.0),
        tempo_inc: 0.0,
        loop_start_beats: BeatTime::from_float(loop_start),
        loop_end_beats: BeatTime::from_float(loop_end),
        loop_start_seconds: SecondsTime::from_float(0.0),
        loop_end_seconds: SecondsTime::from_float(0.0),
        bar_start: BeatTime::from_float(bar * bar_beats),
        bar_number: bar as i32,
        time_signature_numerator: numerator,
        time_signature_denominator: denominator,
    }
}

impl Host for ClapHost {
    fn format(&self) -> &'static str {
        "CLAP"
    }

    fn sample_rate(&self) -> f64 {
        self.sample_rate
    }

    fn elapsed(&self) -> u64 {
        self.elapsed
    }

    fn parameters(&self) -> &[Parameter] {
        &self.public_parameters
    }

    fn normalised(&mut self, name: &str) -> f64 {
        let info = *self.info(name);
        let params: &clap_plugin_params = self.extension(CLAP_EXT_PARAMS).expect("the parameter extension");
        let mut value = 0.0;
        // SAFETY: on the main thread, with a live plugin.
        let ok = unsafe { params.get_value.expect("get_value")(self.plugin(), info.id, &mut value) };
        assert!(ok, "`{name}` has no value");
        (value - info.min_value) / (info.max_value - info.min_value)
    }

    fn process(&mut self, block: &Block) -> Result<Vec<NoteEvent>, String> {
        self.main_thread();
        self.input_events.clear();
        self.output_events.clear();
        for input in &block.inputs {
            match input {
                Input::NoteOn { offset, channel, pitch, velocity } => {
                    let pckn = Pckn::new(0_u16, u16::from(*channel), u16::from(*pitch), Match::All);
                    self.input_events.push(&NoteOnEvent::new(*offset, pckn, f64::from(*velocity) / 127.0));
                }
                Input::NoteOff { offset, channel, pitch } => {
                    let pckn = Pckn::new(0_u16, u16::from(*channel), u16::from(*pitch), Match::All);
                    self.input_events.push(&NoteOffEvent::new(*offset, pckn, 0.0));
                }
                Input::Parameter { offset, name, normalised } => {
                    let info = self.info(name);
                    let value = info.min_value + normalised * (info.max_value - info.min_value);
                    let id = ClapId::new(info.id);
                    self.input_events.push(&ParamValueEvent::new(*offset, id, Pckn::match_all(), value));
                }
            }
        }
        let transport = block.transport.as_ref().map(transport_event);
        let n = block.n_samples as usize;
        // Not silence: an output that the plugin does not write is whatever the host had in it.
        self.outputs.iter_mut().for_each(|channel| channel[..n].fill(f32::NAN));
        let [left, right] = &mut self.outputs;
        let mut ports = AudioPorts::with_capacity(2, 1);
        let mut audio_outputs = ports.with_output_buffers([AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_output_only([&mut left[..n], &mut right[..n]].into_iter()),
        }]);
        let processor = self.processor.as_mut().ok_or("not processing")?;
        let start = Instant::now();
        let status = in_real_time(|| {
            processor.process(
                &InputAudioBuffers::empty(),
                &mut audio_outputs,
                &self.input_events.as_input(),
                &mut self.output_events.as_output(),
                Some(self.elapsed),
                transport.as_ref(),
            )
        });
        self.process_time = start.elapsed();
        status.map_err(|e| format!("process failed: {e}"))?;
        let outputs = self.outputs.each_ref().map(|channel| &channel[..n]);
        if outputs.iter().any(|channel| channel.iter().any(|sample| !sample.is_finite())) {
            return Err("the output is not written, or no number".into());
        }
        self.loudest = outputs.iter().flat_map(|channel| channel.iter()).fold(0.0, |most, sample| sample.abs().max(most));
        self.silent &= self.loudest == 0.0;
        let first = outputs.iter().filter_map(|channel| channel.iter().position(|sample| *sample != 0.0)).min();
        self.first_sound = self.first_sound.or(first.map(|at| self.elapsed + at as u64));

        let mut events = Vec::new();
        for event in self.output_events.iter() {
            let (offset, channel, pitch, kind) = match event.as_core_event() {
                Some(CoreEventSpace::NoteOn(e)) => {
                    let velocity = (e.velocity() * 127.0).round() as u8;
                    (e.header().time(), e.channel(), e.key(), Kind::On(velocity))
                }
                Some(CoreEventSpace::NoteOff(e)) => (e.header().time(), e.channel(), e.key(), Kind::Off),
                _ => continue,
            };
            if offset >= block.n_samples {
                return Err(format!("an event at {offset} in a block of {}", block.n_samples));
            }
            let (Match::Specific(channel), Match::Specific(pitch)) = (channel, pitch) else {
                return Err("a note event for all channels or pitches".into());
            };
            events.push(NoteEvent { at: self.elapsed + u64::from(offset), channel: channel as u8, pitch: pitch as u8, kind });
        }
        self.elapsed += u64::from(block.n_samples);
        Ok(events)
    }

    fn save(&mut self) -> Vec<u8> {
        let save = self.extension::<clap_plugin_state>(CLAP_EXT_STATE).and_then(|s| s.save).expect("the state extension");
        let mut bytes: Vec<u8> = Vec::new();
        let mut stream = OutputStream::from_writer(&mut bytes);
        // SAFETY: on the main thread, with a live plugin and a live stream.
        let ok = unsafe { save(self.plugin(), stream.as_raw_mut()) };
        assert!(ok, "the plugin saves its state");
        // nice-plug writes the length of the JSON before it, since a CLAP stream does not say its own.
        bytes.split_off(8)
    }

    fn load(&mut self, json: &[u8]) -> Result<(), String> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json);
        self.load_raw(&bytes)
    }

    fn set_offline(&mut self, offline: bool) {
        let set = self.extension::<clap_plugin_render>(CLAP_EXT_RENDER).and_then(|r| r.set).expect("the render extension");
        let mode = if offline { CLAP_RENDER_OFFLINE } else { CLAP_RENDER_REALTIME };
        // SAFETY: on the main thread, with a live plugin.
        assert!(unsafe { set(self.plugin(), mode) }, "the plugin takes the render mode");
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    #[cfg(target_os = "linux")]
    fn open_editor(&mut self, window: u32) {
        let gui: &clap_plugin_gui = self.extension(CLAP_EXT_GUI).expect("the gui extension");
        let (plugin, api) = (self.plugin(), CLAP_WINDOW_API_X11.as_ptr());
        let parent = clap_window { api, specific: clap_window_handle { x11: window.into() } };
        // SAFETY: on the main thread, with a live plugin and a live window, in CLAP's order.
        unsafe {
            assert!(gui.create.expect("create")(plugin, api, false), "the editor is made");
            assert!(gui.set_parent.expect("set_parent")(plugin, &raw const parent), "the editor takes its parent");
            // nice-plug's editors show themselves, and say no here.
            gui.show.expect("show")(plugin);
        }
    }

    #[cfg(target_os = "linux")]
    fn close_editor(&mut self) {
        let gui: &clap_plugin_gui = self.extension(CLAP_EXT_GUI).expect("the gui extension");
        // SAFETY: on the main thread, with a live plugin whose editor is open.
        unsafe { gui.destroy.expect("destroy")(self.plugin()) };
    }
}

impl Drop for ClapHost {
    fn drop(&mut self) {
        self.stop();
    }
}
