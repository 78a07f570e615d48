//! The parameters: sliders, choices and switches in three columns.

use super::{FAINT, fresh_seed, lane_colour, view_model::LaneView};
use crate::params::{BarlineParams, MAX_TAKE};
use egui::{Align, Layout, RichText, Ui};
use nice_plug::prelude::{BoolParam, Enum, EnumParam, IntParam, Param, ParamSetter};
use nice_plug_egui::widgets::ParamSlider;

const LABEL_WIDTH: f32 = 64.0;
const COLUMN_LABEL_WIDTH: f32 = 110.0;
const SLIDER_WIDTH: f32 = 68.0;
const CHOICE_WIDTH: f32 = 116.0;
const ROW_HEIGHT: f32 = 20.0;
const NAME_WIDTH: f32 = 110.0;
const SWITCH_WIDTH: f32 = 40.0;
const LANE_SLIDER_WIDTH: f32 = 122.0;
/// Height of a lane's row with the space below it.
pub const LANE_HEIGHT: f32 = 26.0;

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

/// The lanes of the pattern: a row each.
pub fn lanes(ui: &mut Ui, params: &BarlineParams, lanes: &[LaneView], setter: &ParamSetter) {
    if lanes.is_empty() {
        return;
    }
    let has_several = lanes.len() > 1;
    egui::Grid::new("lanes").num_columns(8).min_row_height(ROW_HEIGHT).spacing([8.0, LANE_HEIGHT - ROW_HEIGHT]).show(ui, |ui| {
        let head = |ui: &mut Ui, text: &str, width: f32| wide_label(ui, text, width);
        ui.horizontal(|ui| heading(ui, if has_several { "Lanes" } else { "Lane" }));
        for switch in ["On", "Mute", "Solo"] {
            head(ui, switch, SWITCH_WIDTH);
        }
        for slider in ["Octave", "Density", "Velocity", "Channel"] {
            let is_shown = has_several || !matches!(slider, "Octave" | "Channel");
            head(ui, if is_shown { slider } else { "" }, LANE_SLIDER_WIDTH);
        }
        ui.end_row();
        for (idx, (lane, (of_lane, octave))) in lanes.iter().zip(params.lanes()).enumerate() {
            ui.horizontal(|ui| {
                ui.set_min_width(NAME_WIDTH);
                let (dot, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), egui::Sense::hover());
                ui.painter().rect_filled(dot, 2.0, lane_colour(idx, lanes.len()));
                ui.label(&lane.name);
            });
            for switch in [&of_lane.on, &of_lane.mute, &of_lane.solo] {
                bare_toggle(ui, switch, setter);
            }
            match octave.filter(|_| has_several && !lane.is_drums) {
                Some(octave) => lane_slider(ui, octave, setter),
                None => drop(ui.label("")),
            }
            lane_slider(ui, &of_lane.density, setter);
            lane_slider(ui, &of_lane.velocity, setter);
            if has_several {
                lane_slider(ui, &of_lane.channel, setter);
            }
            ui.end_row();
        }
    });
    if has_several {
        ui.horizontal(|ui| {
            choice(ui, &params.only_lane, setter, CHOICE_WIDTH);
            toggle(ui, &params.one_channel, setter);
        });
    }
    ui.add_space(4.0);
}

fn lane_slider<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.add(ParamSlider::for_param(param, setter).with_width(LANE_SLIDER_WIDTH - 44.0)).on_hover_text(hint(param));
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
        slider_row(notes, &params.accent, setter);
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
    checkbox(ui, param, param.name(), setter);
}

/// A switch under a heading.
fn bare_toggle(ui: &mut Ui, param: &BoolParam, setter: &ParamSetter) {
    checkbox(ui, param, "", setter).on_hover_text(hint(param));
}

/// What the host calls it: lanes are named by the model here.
fn hint(param: &impl Param) -> String {
    format!("In the host: {}", param.name())
}

fn checkbox(ui: &mut Ui, param: &BoolParam, text: &str, setter: &ParamSetter) -> egui::Response {
    let mut on = param.value();
    let response = ui.checkbox(&mut on, text);
    if response.changed() {
        setter.begin_set_parameter(param);
        setter.set_parameter(param, on);
        setter.end_set_parameter(param);
    }
    response
}

fn set(param: &IntParam, value: i32, setter: &ParamSetter) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}
