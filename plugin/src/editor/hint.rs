//! What a newcomer is told: three steps.

use super::{theme::Palette, widgets::NOTE_SIZE};
use egui::{Frame, RichText, Ui};

const STEPS: [&str; 3] = [
    "1.  Barline plays notes and makes no sound: route its MIDI output to an instrument.",
    "2.  Press play in the host. Type chords above, choose a model; New takes another seed.",
    "3.  Turn Threshold and Temperature while it plays: the roll shows at once what will sound. Save .mid or a drag takes it away.",
];

/// Shows the steps; whether they were read.
pub fn show(ui: &mut Ui) -> bool {
    let palette = Palette::of(ui);
    Frame::new()
        .fill(palette.well)
        .inner_margin(8.0)
        .corner_radius(3.0)
        .show(ui, |ui| {
            ui.set_min_width(ui.available_width());
            for step in STEPS {
                ui.label(RichText::new(step).size(NOTE_SIZE + 1.0));
            }
            ui.button("Got it").clicked()
        })
        .inner
}
