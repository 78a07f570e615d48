//! The VST3 host, over vst3-host.

use crate::{
    host::{Block, Host, Input, MAX_BLOCK, Parameter},
    notes::{Kind, NoteEvent},
};
use std::path::Path;
use vst3_host::{AudioBuffers, MidiChannel, MidiEvent, Plugin, ProcessMode, TransportPosition, midi::PluginEventData};

/// Bytes that vst3-host puts before the plugin's own state: magic, version, two lengths.
const SNAPSHOT_HEADER: usize = 28;

/// A VST3 host with one instance.
pub struct Vst3Host {
    plugin: Plugin,
    parameters: Vec<Parameter>,
    sample_rate: f64,
    elapsed: u64,
    // One set of buffers per block length met: vst3-host takes a block's length from its buffers.
    buffers: Vec<AudioBuffers>,
}

impl Vst3Host {
    /// Loads the bundle and makes one instance, processing.
    ///
    /// # Panics
    /// It does not load.
    pub fn open(path: &Path, sample_rate: f64) -> Self {
        let mut host = vst3_host::Vst3Host::builder()
            .sample_rate(sample_rate)
            .block_size(MAX_BLOCK as usize)
            .tempo(120.0)
            .with_process_isolation(false)
            .build()
            .expect("a VST3 host");
        let mut plugin = host.load_plugin(path).unwrap_or_else(|e| panic!("{} does not load: {e}", path.display()));
        let parameters = plugin
            .get_parameters()
            .expect("parameters")
            .into_iter()
            .map(|p| Parameter { id: p.id, name: p.name, n_gaps: p.step_count.max(0) as u32, automatable: p.can_automate })
            .collect();
        plugin.set_playing(false).expect("the transport stops");
        plugin.start_processing().expect("the plugin starts processing");
        Self { plugin, parameters, sample_rate, elapsed: 0, buffers: Vec::new() }
    }
}

fn channel(index: u8) -> MidiChannel {
    MidiChannel::from_index(index).expect("a channel within 0 to 15")
}

impl Host for Vst3Host {
    fn format(&self) -> &'static str {
        "VST3"
    }

    fn sample_rate(&self) -> f64 {
        self.sample_rate
    }

    fn elapsed(&self) -> u64 {
        self.elapsed
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn normalised(&mut self, name: &str) -> f64 {
        let id = self.parameter(name).id;
        self.plugin.get_parameter(id).expect("a value")
    }

    fn process(&mut self, block: &Block) -> Result<Vec<NoteEvent>, String> {
        let transport = block.transport.unwrap_or_default();
        let plugin = &mut self.plugin;
        let say = |e: vst3_host::Error| e.to_string();
        plugin.service_host_requests().map_err(say)?;
        plugin.set_playing(transport.playing).map_err(say)?;
        // vst3-host itself refuses absurd tempos and meters; the CLAP host sends those.
        if let Some(tempo) = transport.tempo.filter(|t| t.is_finite() && *t > 0.0) {
            plugin.set_tempo(tempo).map_err(say)?;
        }
        if let Some((numerator, denominator)) = transport.meter.filter(|(n, d)| *n > 0 && matches!(d, 1 | 2 | 4 | 8 | 16)) {
            plugin.set_time_signature(i32::from(numerator), i32::from(denominator)).map_err(say)?;
        }
        if let Some(quarter_notes) = transport.pos_beats.filter(|b| b.is_finite()) {
            plugin.set_transport_position(TransportPosition { samples: transport.pos_samples, quarter_notes }).map_err(say)?;
        }
        for input in &block.inputs {
            let offset = input.offset() as i32;
            match input {
                Input::NoteOn { channel: c, pitch, velocity, .. } => {
                    let event = MidiEvent::NoteOn { channel: channel(*c), note: *pitch, velocity: *velocity };
                    plugin.send_midi_event_at(event, offset).map_err(say)?;
                }
                Input::NoteOff { channel: c, pitch, .. } => {
                    let event = MidiEvent::NoteOff { channel: channel(*c), note: *pitch, velocity: 0 };
                    plugin.send_midi_event_at(event, offset).map_err(say)?;
                }
                Input::Parameter { name, normalised, .. } => {
                    let id = self.parameters.iter().find(|p| p.name == *name).map(|p| p.id).expect("a known parameter");
                    plugin.set_parameter_at(id, normalised.clamp(0.0, 1.0), offset).map_err(say)?;
                }
            }
        }
        let n = block.n_samples as usize;
        let idx = self.buffers.iter().position(|b| b.block_size == n).unwrap_or_else(|| {
            self.buffers.push(AudioBuffers::new(0, 2, n, self.sample_rate));
            self.buffers.len() - 1
        });
        plugin.process_audio(&mut self.buffers[idx]).map_err(say)?;

        let mut events = Vec::new();
        for event in plugin.take_output_events() {
            let (channel, pitch, kind) = match event.data {
                PluginEventData::NoteOn { channel, pitch, velocity, .. } => {
                    (channel, pitch, Kind::On((velocity * 127.0).round() as u8))
                }
                PluginEventData::NoteOff { channel, pitch, .. } => (channel, pitch, Kind::Off),
                _ => continue,
            };
            let offset = u32::try_from(event.sample_offset)
                .ok()
                .filter(|o| *o < block.n_samples)
                .ok_or_else(|| format!("an event at {} in a block of {n}", event.sample_offset))?;
            events.push(NoteEvent { at: self.elapsed + u64::from(offset), channel: channel as u8, pitch: pitch as u8, kind });
        }
        self.elapsed += u64::from(block.n_samples);
        Ok(events)
    }

    fn save(&mut self) -> Vec<u8> {
        let snapshot = self.plugin.save_state().expect("the plugin saves its state");
        let length = u32::from_le_bytes(snapshot[20..24].try_into().expect("four bytes")) as usize;
        snapshot[SNAPSHOT_HEADER..SNAPSHOT_HEADER + length].to_vec()
    }

    fn load(&mut self, json: &[u8]) -> Result<(), String> {
        // Bytes without vst3-host's own header go to the plugin as they are.
        self.plugin.load_state(json).map_err(|e| e.to_string())
    }

    fn set_offline(&mut self, offline: bool) {
        self.plugin.stop_processing().expect("the plugin stops processing");
        let mode = if offline { ProcessMode::Offline } else { ProcessMode::Realtime };
        self.plugin.set_process_mode(mode).expect("the plugin takes the process mode");
        self.plugin.start_processing().expect("the plugin starts processing");
    }

    fn restart(&mut self) {
        self.plugin.stop_processing().expect("the plugin stops processing");
        self.plugin.start_processing().expect("the plugin starts processing");
    }

    #[cfg(target_os = "linux")]
    fn open_editor(&mut self, window: u32) {
        self.plugin.open_editor(vst3_host::WindowHandle::from_x11(window)).expect("the editor opens");
    }

    #[cfg(target_os = "linux")]
    fn close_editor(&mut self) {
        self.plugin.service_run_loop();
        self.plugin.close_editor().expect("the editor closes");
    }
}

impl Drop for Vst3Host {
    fn drop(&mut self) {
        // A host stops a plugin before it unloads it.
        let _stopped = self.plugin.stop_processing();
    }
}
