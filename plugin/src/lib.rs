//! Barline: a neural MIDI generator.
//!
//! The pure part (`music`, `generate`, `player`, `engine`) builds alone with `--no-default-features` and can be embedded in a
//! game; the rest are edges: `inference` (ONNX), `export` (files), `listen` (sound), `plugin` (CLAP, VST3), `editor`, and the programs in `bin`.
//! `ARCHITECTURE.md` at the project's root says how the parts fit.
#![forbid(unsafe_code)]

#[cfg(feature = "editor")]
pub mod editor;
pub mod engine;
#[cfg(feature = "export")]
pub mod export;
pub mod generate;
#[cfg(feature = "model-file")]
pub mod inference;
#[cfg(feature = "listen")]
pub mod listen;
pub mod music;
#[cfg(feature = "plugin")]
pub mod params;
pub mod player;
#[cfg(feature = "plugin")]
pub mod plugin;
#[cfg(feature = "state")]
pub mod state;
