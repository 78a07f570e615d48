//! The bar before the music, from a MIDI file, for models of one track that look at it.

use super::{
    chooser::{Chooser, MIDI},
    theme::Palette,
    widgets::NOTE_SIZE,
};
use crate::{
    generate::primer_states,
    music::{
        roll::RollLayout,
        smf::{SmfError, Song},
    },
    params::Saved,
};
use egui::{RichText, Ui};
use std::path::Path;

/// Why a file is no primer.
#[derive(Debug, thiserror::Error)]
pub enum PrimerError {
    /// It cannot be read.
    #[error("`{file}` is not taken: {source}")]
    Read {
        /// The file's name.
        file: String,
        /// What is wrong.
        source: SmfError,
    },
    /// It has no melody.
    #[error("`{0}` has no notes but drums")]
    NoNotes(String),
    /// The model plays no melody.
    #[error("this model takes no melody before its own")]
    NoMelody,
}

/// What the row keeps between two frames.
pub struct Primer {
    chooser: Chooser,
    /// The file that was taken last.
    source: String,
    error: Option<PrimerError>,
}

impl Default for Primer {
    fn default() -> Self {
        Self { chooser: Chooser::new(MIDI), source: String::new(), error: None }
    }
}

impl Primer {
    /// Takes a file's last bar of melody as the bar before the music; whether it could be.
    pub fn open(&mut self, path: &Path, layout: &RollLayout, saved: &Saved) -> bool {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match states(path, &file, layout) {
            Ok(states) => {
                // A primer cannot make the progression wrong.
                let _ = saved.change(|settings| settings.primer = states);
                (self.source, self.error) = (file, None);
            }
            Err(error) => self.error = Some(error),
        }
        self.error.is_none()
    }

    /// The row. Whether the primer changed.
    pub fn show(&mut self, ui: &mut Ui, layout: &RollLayout, saved: &Saved, home: Option<&Path>) -> bool {
        let palette = Palette::of(ui);
        let button = ui.button("Open .mid").on_hover_text(
            "The last bar of melody in a MIDI file: what the model writes begins as if it had been played just before",
        );
        let chosen = self.chooser.show(&button, home);
        let mut is_changed = chosen.is_some_and(|path| self.open(&path, layout, saved));
        if saved.snapshot().settings.primer.is_empty() {
            ui.label(RichText::new("none: the music begins by itself").size(NOTE_SIZE).color(palette.faint));
        } else {
            if ui.button("Clear").on_hover_text("The music begins by itself").clicked() {
                let _ = saved.change(|settings| settings.primer = Vec::new());
                self.source.clear();
                is_changed = true;
            }
            let source = if self.source.is_empty() { "as saved in the project" } else { &self.source };
            ui.label(RichText::new(format!("begins after a bar of melody, {source}")).size(NOTE_SIZE));
        }
        if let Some(error) = &self.error {
            ui.label(RichText::new(error.to_string()).size(NOTE_SIZE).color(palette.bad));
        }
        is_changed
    }
}

fn states(path: &Path, file: &str, layout: &RollLayout) -> Result<Vec<u16>, PrimerError> {
    let song = Song::read(path).map_err(|source| PrimerError::Read { file: file.into(), source })?;
    let notes = song.last_melody_bar();
    if notes.is_empty() {
        return Err(PrimerError::NoNotes(file.into()));
    }
    Some(primer_states(layout, &notes)).filter(|states| !states.is_empty()).ok_or(PrimerError::NoMelody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        music::{
            note::{Channel, Note, Pitch, Velocity},
            smf::SongTrack,
            time::Ticks,
        },
        params::BarlineParams,
        player::testing::{drums, mono},
    };

    #[test]
    fn the_last_bar_of_a_files_melody_becomes_the_bar_before() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, channel, notes: Vec<Note>| {
            let channel = Channel::new(channel).unwrap();
            let notes = notes.into_iter().map(|note| Note { channel, ..note }).collect();
            let track = SongTrack { name: String::new(), channel, program: None, notes };
            let song = Song { tracks: vec![track], length: Ticks(2 * 1920), ..Song::default() };
            std::fs::write(place.path().join(name), song.to_bytes().unwrap()).unwrap();
            place.path().join(name)
        };
        let note = |step: i64, number| Note {
            onset: Ticks(step * 120),
            duration: Ticks(240),
            channel: Channel::default(),
            pitch: Pitch::new(number).unwrap(),
            velocity: Velocity::clamped(90),
        };
        let params = BarlineParams::default();
        let states = || params.saved.snapshot().settings.primer;
        let (mut primer, melody) = (Primer::default(), RollLayout { n_steps: 16, tracks: vec![mono(48, 30, false)] });
        let tune = write("tune.mid", 3, vec![note(2, 50), note(17, 61), note(30, 55)]);
        assert!(primer.open(&tune, &melody, &params.saved));
        // State 30 is a rest, 31 a hold.
        let bar = states();
        assert_eq!((bar.len(), bar.get(1), bar.get(14)), (16, Some(&13), Some(&7)));
        let beats = write("beats.mid", 9, vec![note(2, 36)]);
        for (path, layout, word) in [
            (&beats, &melody, "no notes but drums"),
            (&place.path().join("nowhere.mid"), &melody, "`nowhere.mid`"),
            (&tune, &RollLayout { n_steps: 16, tracks: vec![drums(36, 9)] }, "no melody"),
        ] {
            assert!(!primer.open(path, layout, &params.saved));
            assert!(primer.error.as_ref().unwrap().to_string().contains(word), "{word}: {:?}", primer.error);
            assert_eq!(states(), bar, "what is refused changes nothing");
        }
    }
}
