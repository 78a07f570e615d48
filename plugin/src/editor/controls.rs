//! The parameters: sliders, choices and switches in three columns.

use super::{FAINT, fresh_seed};
use crate::params::{BarlineParams, MAX_TAKE};
use egui::{Align, Layout, RichText, Ui};
use nice_plug::prelude::{BoolParam, Enum, EnumParam, IntParam, Param, ParamSetter};
use nice_plug_egui::widgets::ParamSlider;

const LABEL_WIDTH: f32 = 64.0;
const COLUMN_LABEL_WIDTH: f32 = 110.0;
const SLIDER_WIDTH: f32 = 68.0;
const CHOICE_WIDTH: f32 = 116.0;
const ROW_HEIGHT: f32 = 20.0;

/// A label that keeps the rows of the page in line.
pub fn label(ui: &mut Ui, text: &str) {
    wide_label(ui, text, LABEL_WIDTH);
}

fn wide_label(ui: &mut Ui, text: &str, width: f32) {
    ui.allocate_ui_with_layout(egui::vec2(width, ROW_HEIGHT), Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_width(width);
        ui.label(RichText::new(text).color(FAINT));
    });
}

/// All parameters.
pub fn show(ui: &mut Ui, params: &BarlineParams, setter: &ParamSetter) {
    ui.columns(3, |columns| {
        let [pattern, notes, playing] = columns else { return };
        heading(pattern, "Pattern");
        row(pattern, &params.seed, setter, |ui| {
            let new = ui.small_button("New").on_hover_text("Another seed");
            if new.clicked() {
                set(&params.seed, fresh_seed(params), setter);
            }
        });
        row(pattern, &params.take, setter, |ui| {
            let next = ui.small_button("Next").on_hover_text("Another try with this seed");
            if next.clicked() {
                set(&params.take, (params.take.value() + 1) % (MAX_TAKE + 1), setter);
            }
        });
        choice_row(pattern, &params.length, setter);
        slider_row(pattern, &params.variation, setter);
        slider_row(pattern, &params.temperature, setter);
        slider_row(pattern, &params.threshold, setter);

        heading(notes, "Notes");
        choice_row(notes, &params.key_root, setter);
        choice_row(notes, &params.scale, setter);
        slider_row(notes, &params.octave, setter);
        slider_row(notes, &params.channel, setter);
        slider_row(notes, &params.velocity, setter);
        slider_row(notes, &params.humanize_velocity, setter);

        heading(playing, "Playing");
        slider_row(playing, &params.swing, setter);
        slider_row(playing, &params.humanize, setter);
        slider_row(playing, &params.note_length, setter);
        playing.horizontal(|ui| {
            toggle(ui, &params.chords_on, setter);
            toggle(ui, &params.thru, setter);
        });
        slider_row(playing, &params.chords_channel, setter);
        slider_row(playing, &params.chords_velocity, setter);
    });
}

fn heading(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).strong());
}

fn slider_row<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter) {
    row(ui, param, setter, |_| {});
}

fn row<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter, after: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        // The slider stacks its parts with the spacing of the page's rows between them.
        ui.spacing_mut().item_spacing.y = 0.0;
        wide_label(ui, param.name(), COLUMN_LABEL_WIDTH);
        ui.add(ParamSlider::for_param(param, setter).with_width(SLIDER_WIDTH));
        after(ui);
    });
}

fn choice_row<T: Enum + PartialEq + 'static>(ui: &mut Ui, param: &EnumParam<T>, setter: &ParamSetter) {
    ui.horizontal(|ui| {
        wide_label(ui, param.name(), COLUMN_LABEL_WIDTH);
        choice(ui, param, setter, CHOICE_WIDTH);
    });
}

/// A list to choose from.
pub fn choice<T: Enum + PartialEq + 'static>(ui: &mut Ui, param: &EnumParam<T>, setter: &ParamSetter, width: f32) {
    let current = param.unmodulated_plain_value().to_index();
    let names = T::variants();
    let mut chosen = None;
    egui::ComboBox::from_id_salt(param.name())
        .selected_text(names.get(current).copied().unwrap_or_default())
        .width(width)
        .height(320.0)
        .show_ui(ui, |ui| {
            for (index, name) in names.iter().enumerate() {
                if ui.selectable_label(index == current, *name).clicked() {
                    chosen = Some(index);
                }
            }
        });
    if let Some(index) = chosen.filter(|index| *index != current) {
        setter.begin_set_parameter(param);
        setter.set_parameter(param, T::from_index(index));
        setter.end_set_parameter(param);
    }
}

/// A switch with its name.
pub fn toggle(ui: &mut Ui, param: &BoolParam, setter: &ParamSetter) {
    let mut on = param.value();
    if ui.checkbox(&mut on, param.name()).changed() {
        setter.begin_set_parameter(param);
        setter.set_parameter(param, on);
        setter.end_set_parameter(param);
    }
}

fn set(param: &IntParam, value: i32, setter: &ParamSetter) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}
