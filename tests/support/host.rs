//! What a host tells a plugin for one block, whatever the format.

use crate::notes::NoteEvent;

/// The longest block the hosts announce to the plugin, in samples.
pub const MAX_BLOCK: u32 = 8192;

/// The transport at the start of a block. `None` is "the host does not say".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transport {
    /// Rolling.
    pub playing: bool,
    /// Beats per minute, any value.
    pub tempo: Option<f64>,
    /// Song position in beats.
    pub pos_beats: Option<f64>,
    /// Song position in samples. VST3 always carries one; CLAP never.
    pub pos_samples: i64,
    /// Time signature.
    pub meter: Option<(u16, u16)>,
    /// Active loop in beats. CLAP only: vst3-host sends no cycle.
    pub loop_beats: Option<(f64, f64)>,
}

/// Something the host sends inside a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A key goes down.
    NoteOn {
        /// Samples from the block's start.
        offset: u32,
        /// 0 to 15.
        channel: u8,
        /// 0 to 127.
        pitch: u8,
        /// 1 to 127.
        velocity: u8,
    },
    /// A key goes up.
    NoteOff {
        /// Samples from the block's start.
        offset: u32,
        /// 0 to 15.
        channel: u8,
        /// 0 to 127.
        pitch: u8,
    },
    /// Automation of the parameter with this name.
    Parameter {
        /// Samples from the block's start.
        offset: u32,
        /// The name a host shows.
        name: String,
        /// 0 to 1 over the parameter's range.
        normalised: f64,
    },
}

impl Input {
    /// Samples from the block's start.
    pub fn offset(&self) -> u32 {
        match self {
            Self::NoteOn { offset, .. } | Self::NoteOff { offset, .. } | Self::Parameter { offset, .. } => *offset,
        }
    }
}

/// One call of `process`.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Length in samples, 1 to [`MAX_BLOCK`].
    pub n_samples: u32,
    /// The transport; `None` gives the plugin no transport at all (CLAP; VST3 says "stopped").
    pub transport: Option<Transport>,
    /// Events, sorted by offset.
    pub inputs: Vec<Input>,
}

/// A parameter as the host sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The format's number.
    pub id: u32,
    /// The name shown.
    pub name: String,
    /// 0 for continuous, else the number of values less one.
    pub n_gaps: u32,
    /// May be automated.
    pub automatable: bool,
}

/// A host with one instance of the plugin, processing.
pub trait Host {
    /// `CLAP` or `VST3`.
    fn format(&self) -> &'static str;

    /// Hz.
    fn sample_rate(&self) -> f64;

    /// Samples processed so far.
    fn elapsed(&self) -> u64;

    /// All parameters.
    fn parameters(&self) -> &[Parameter];

    /// A parameter's value, 0 to 1 over its range, as the plugin reports it.
    fn normalised(&mut self, name: &str) -> f64;

    /// One block; the notes that the plugin sent in it, in the order sent, at absolute sample positions (samples processed
    /// before the block, plus the offset).
    ///
    /// # Errors
    /// The plugin's process call failed.
    fn process(&mut self, block: &Block) -> Result<Vec<NoteEvent>, String>;

    /// The plugin's state: nice-plug's JSON, without what the format puts around it.
    fn save(&mut self) -> Vec<u8>;

    /// Hands the plugin a state; any bytes. `Err` when the plugin refuses it.
    ///
    /// # Errors
    /// The plugin said no.
    fn load(&mut self, json: &[u8]) -> Result<(), String>;

    /// Tells the plugin that it renders offline, or no longer.
    fn set_offline(&mut self, offline: bool);

    /// Stops processing, deactivates, activates, starts again.
    fn restart(&mut self);

    /// Opens the editor inside a window of the host.
    #[cfg(target_os = "linux")]
    fn open_editor(&mut self, window: u32);

    /// Closes the editor.
    #[cfg(target_os = "linux")]
    fn close_editor(&mut self);

    /// The parameter with this name.
    ///
    /// # Panics
    /// There is none.
    fn parameter(&self, name: &str) -> &Parameter {
        self.parameters().iter().find(|p| p.name == name).unwrap_or_else(|| {
            panic!("no parameter `{name}` among {:?}", self.parameters().iter().map(|p| &p.name).collect::<Vec<_>>())
        })
    }
}
