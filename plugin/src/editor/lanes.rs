//! The lanes of the pattern: a row each.

use super::{
    theme::Palette,
    view_model::LaneView,
    widgets::{ROW_HEIGHT, choice, lamp, slider, switch, wide_label},
};
use crate::params::BarlineParams;
use egui::{Grid, Sense, Ui};
use nice_plug::prelude::ParamSetter;

const NAME_WIDTH: f32 = 110.0;
const SWITCH_WIDTH: f32 = 24.0;
const SLIDER_WIDTH: f32 = 96.0;
const CHOICE_WIDTH: f32 = 116.0;

/// The rows of the lanes.
pub fn show(ui: &mut Ui, params: &BarlineParams, lanes: &[LaneView], setter: &ParamSetter) {
    if lanes.is_empty() {
        return;
    }
    let has_several = lanes.len() > 1;
    ui.horizontal_top(|ui| {
        rows(ui, params, lanes, setter);
        if has_several {
            ui.vertical(|ui| {
                wide_label(ui, "For hosts that merge channels", CHOICE_WIDTH);
                choice(ui, &params.only_lane, setter, CHOICE_WIDTH);
                switch(ui, &params.one_channel, "All on One Channel", setter, "Every lane plays on the channel of the melody.");
            });
        }
    });
}

fn rows(ui: &mut Ui, params: &BarlineParams, lanes: &[LaneView], setter: &ParamSetter) {
    let (has_several, palette) = (lanes.len() > 1, Palette::of(ui));
    Grid::new("lanes").num_columns(8).min_row_height(ROW_HEIGHT).spacing([8.0, 3.0]).show(ui, |ui| {
        ui.horizontal(|ui| super::widgets::heading(ui, if has_several { "Lanes" } else { "Lane" }));
        for _ in 0..3 {
            wide_label(ui, "", SWITCH_WIDTH);
        }
        wide_label(ui, "Density", SLIDER_WIDTH);
        wide_label(ui, "Velocity", SLIDER_WIDTH);
        if has_several {
            wide_label(ui, "Octave", SLIDER_WIDTH);
            wide_label(ui, "Channel", SLIDER_WIDTH);
        }
        ui.end_row();
        for (idx, (lane, (of_lane, octave))) in lanes.iter().zip(params.lanes()).enumerate() {
            ui.horizontal(|ui| {
                ui.set_min_width(NAME_WIDTH);
                let (dot, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), Sense::hover());
                ui.painter().rect_filled(dot, 2.0, palette.lane(idx, lanes.len()));
                ui.label(&lane.name);
            });
            switch(ui, &of_lane.on, "", setter, "Off: the lane does not play.");
            lamp(ui, &of_lane.mute, "M", palette.busy, setter, "Mute: silent for now.");
            lamp(ui, &of_lane.solo, "S", palette.good, setter, "Solo: only solo lanes play.");
            slider(ui, &of_lane.density, setter, SLIDER_WIDTH, "More notes or fewer in this lane.");
            slider(ui, &of_lane.velocity, setter, SLIDER_WIDTH, "Added to the velocity of all.");
            if has_several {
                match octave.filter(|_| !lane.is_drums) {
                    Some(octave) => drop(slider(ui, octave, setter, SLIDER_WIDTH, "Octaves, besides the octave of all.")),
                    None => drop(ui.label("")),
                }
                slider(ui, &of_lane.channel, setter, SLIDER_WIDTH, "MIDI channel of this lane.");
            }
            ui.end_row();
        }
    });
}
