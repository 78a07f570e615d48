//! The parameters of the whole pattern, in three columns.

use super::{
    fresh_seed,
    widgets::{self, ROW_HEIGHT, heading, set, wide_label},
};
use crate::params::{BarlineParams, MAX_TAKE};
use egui::Ui;
use nice_plug::prelude::{Enum, EnumParam, Param, ParamSetter};

const LABEL_WIDTH: f32 = 112.0;
const SLIDER_WIDTH: f32 = 120.0;
const BUTTON_WIDTH: f32 = 44.0;

/// All parameters that are no lane's.
pub fn show(ui: &mut Ui, params: &BarlineParams, setter: &ParamSetter) {
    ui.columns(3, |columns| {
        let [pattern, notes, playing] = columns else { return };
        heading(pattern, "Pattern");
        row(pattern, &params.seed, setter, "The number of the idea.", |ui| {
            if button(ui, "New", "Another seed; what is locked stays") {
                params.remember_seed();
                set(&params.seed, fresh_seed(params), setter);
            }
        });
        row(pattern, &params.take, setter, "Another try with the same seed.", |ui| {
            if button(ui, "Next", "Another try with this seed; what is locked stays") {
                params.remember_seed();
                set(&params.take, (params.take.unmodulated_plain_value() + 1) % (MAX_TAKE + 1), setter);
            }
        });
        slider_row(pattern, &params.seed_b, setter, "The other seed, to which Morph leads.");
        slider_row(pattern, &params.morph, setter, "0 %: Seed; 100 %: Seed B; between them the ideas go over into each other.");
        choice_row(pattern, &params.length, setter);
        slider_row(
            pattern,
            &params.candidates,
            setter,
            "Tries at every phrase, of which the best is kept; takes that many times as long.",
        );
        slider_row(pattern, &params.variation, setter, "How far ideas lie apart; 0 is always the likeliest idea.");
        slider_row(pattern, &params.temperature, setter, "0: the likeliest notes; 1: as the model was tuned; more: surprises.");
        slider_row(pattern, &params.threshold, setter, "The probability a note must exceed: lower plays more, higher less.");

        heading(notes, "Notes");
        choice_row(notes, &params.key_root, setter);
        choice_row(notes, &params.scale, setter);
        slider_row(notes, &params.octave, setter, "Octaves up or down, of everything but drums.");
        slider_row(notes, &params.velocity, setter, "MIDI velocity before accents, 1 to 127.");
        slider_row(notes, &params.accent, setter, "How much louder the beats are.");
        slider_row(notes, &params.humanize_velocity, setter, "Random change of velocities.");

        heading(playing, "Playing");
        slider_row(playing, &params.swing, setter, "Delay of every other sixteenth, up to half of one.");
        slider_row(playing, &params.humanize, setter, "Random delay of onsets, up to a sixteenth of a beat.");
        slider_row(playing, &params.note_length, setter, "The part of its length that a note sounds.");
        slider_row(playing, &params.channel, setter, "MIDI channel of a melody, or of all lanes on one channel.");
        playing.horizontal(|ui| {
            widgets::switch(ui, &params.chords_on, "Play Chords", setter, "Plays the chords too, in a simple voicing.");
            widgets::switch(ui, &params.thru, "MIDI Thru", setter, "Passes the notes at the MIDI input through.");
        });
        slider_row(playing, &params.chords_channel, setter, "MIDI channel of the played chords.");
        slider_row(playing, &params.chords_velocity, setter, "MIDI velocity of the played chords.");
        choice_row(playing, &params.preview, setter);
        slider_row(playing, &params.preview_volume, setter, "How loud Barline's own sounds are at its audio output.");
    });
}

fn button(ui: &mut Ui, text: &str, meaning: &str) -> bool {
    let button = egui::Button::new(text).min_size(egui::vec2(BUTTON_WIDTH, ROW_HEIGHT - 2.0));
    ui.add(button).on_hover_text(meaning).clicked()
}

fn slider_row<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter, meaning: &str) {
    row(ui, param, setter, meaning, |_| {});
}

fn row<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter, meaning: &str, after: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        wide_label(ui, param.name(), LABEL_WIDTH);
        widgets::slider(ui, param, setter, SLIDER_WIDTH, meaning);
        after(ui);
    });
}

fn choice_row<T: Enum + PartialEq + 'static>(ui: &mut Ui, param: &EnumParam<T>, setter: &ParamSetter) {
    ui.horizontal(|ui| {
        wide_label(ui, param.name(), LABEL_WIDTH);
        widgets::choice(ui, param, setter, SLIDER_WIDTH);
    });
}
