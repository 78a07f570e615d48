//! Between the audio thread and the worker: one [`Port`] per instance of the plugin.

pub mod port;

pub use port::{Delivery, Port, Takeover};
