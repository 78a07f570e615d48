//! The track that the others accompany: from a MIDI file, or captured from the input.

use super::{
    chooser::{Chooser, MIDI},
    theme::Palette,
    widgets::{NOTE_SIZE, choice, switch},
};
use crate::{params::BarlineParams, state::GivenTrack};
use egui::{RichText, Ui};
use nice_plug::prelude::ParamSetter;
use std::path::Path;

const CHOICE_WIDTH: f32 = 84.0;

/// What the row keeps between two frames.
pub struct Given {
    chooser: Chooser,
    error: Option<String>,
}

impl Default for Given {
    fn default() -> Self {
        Self { chooser: Chooser::new(MIDI), error: None }
    }
}

impl Given {
    /// Takes a file's track as the given one; whether it could be.
    pub fn open(&mut self, path: &Path, params: &BarlineParams) -> bool {
        let read = GivenTrack::from_file(path, params.given_lane.value().lane_idx());
        let result = read.map(|given| params.give(given));
        self.error = result.err().map(|error| error.to_string());
        self.error.is_none()
    }

    /// The row. Whether the given track changed.
    pub fn show(&mut self, ui: &mut Ui, params: &BarlineParams, setter: &ParamSetter, home: Option<&Path>) -> bool {
        let palette = Palette::of(ui);
        choice(ui, &params.given_lane, setter, CHOICE_WIDTH);
        let button =
            ui.button("Open .mid").on_hover_text("The first track of a MIDI file that fits this lane; the others go with it");
        let chosen = self.chooser.show(&button, home);
        switch(
            ui,
            &params.capture,
            "Capture",
            setter,
            "While the transport rolls, what is played at the MIDI input becomes this lane's loop.",
        );
        choice(ui, &params.capture_bars, setter, CHOICE_WIDTH);
        let mut changed = false;
        if let Some(path) = chosen {
            changed = self.open(&path, params);
        }
        if let Some(given) = params.saved.given() {
            if ui.button("Clear").on_hover_text("Takes the given track away").clicked() {
                params.clear_given();
                changed = true;
            }
            let text = format!("{}: {} notes in {} bars", given.source, given.n_notes(), given.n_bars());
            ui.add(egui::Label::new(RichText::new(text).size(NOTE_SIZE)).truncate());
        }
        if let Some(error) = &self.error {
            ui.label(RichText::new(error).size(NOTE_SIZE).color(palette.bad));
        }
        changed
    }
}
