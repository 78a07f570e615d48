//! In-process hosts for the built plugin, and what the tests share.
//!
//! A test says what the host tells the plugin block by block ([`host::Block`]) and gets back the notes with their sample
//! positions ([`notes::NoteEvent`]); it does not see whether CLAP ([`clap::ClapHost`]) or VST3 ([`vst3::Vst3Host`]) carried
//! them. Everything runs on the test's own thread, which plays main thread and audio thread in turn.

pub mod bundle;
pub mod child;
pub mod clap;
pub mod cli;
pub mod host;
pub mod notes;
pub mod onsets;
#[cfg(target_os = "linux")]
pub mod screen;
pub mod song;
pub mod state;
pub mod vst3;
