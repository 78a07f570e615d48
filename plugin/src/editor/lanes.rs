//! The lanes of the pattern: a row each.

use super::{
    strips::{Change, Offer},
    takeaway::handle,
    theme::Palette,
    view_model::{ViewModel, lane_set},
    widgets::{ROW_HEIGHT, choice, lamp, slider, switch, wide_label},
};
use crate::{generate::Retake, params::BarlineParams};
use egui::{Grid, Label, Response, Role, Sense, Ui, WidgetInfo};
use nice_plug::prelude::ParamSetter;

const NAME_WIDTH: f32 = 110.0;
const SWITCH_WIDTH: f32 = 24.0;
const TAKES_WIDTH: f32 = 104.0;
const SLIDER_WIDTH: f32 = 96.0;
const CHOICE_WIDTH: f32 = 116.0;

/// The rows of the lanes. Yields what a click does; `handles` takes what their notes can be dragged out by.
pub fn show(
    ui: &mut Ui,
    params: &BarlineParams,
    view: &ViewModel,
    setter: &ParamSetter,
    handles: &mut Vec<(usize, Response)>,
) -> Option<Offer> {
    let mut offer = None;
    if view.lanes.is_empty() {
        return offer;
    }
    let has_several = view.lanes.len() > 1;
    ui.horizontal_top(|ui| {
        offer = rows(ui, params, view, setter, handles);
        if has_several {
            ui.vertical(|ui| {
                wide_label(ui, "For hosts that merge channels", CHOICE_WIDTH);
                choice(ui, &params.only_lane, setter, CHOICE_WIDTH);
                switch(ui, &params.one_channel, "All on One Channel", setter, "Every lane plays on the channel of the melody.");
            });
        }
    });
    offer
}

fn rows(
    ui: &mut Ui,
    params: &BarlineParams,
    view: &ViewModel,
    setter: &ParamSetter,
    handles: &mut Vec<(usize, Response)>,
) -> Option<Offer> {
    let lanes = &view.lanes;
    let (has_several, palette) = (lanes.len() > 1, Palette::of(ui));
    let mut offer = None;
    Grid::new("lanes").num_columns(9).min_row_height(ROW_HEIGHT).spacing([8.0, 3.0]).show(ui, |ui| {
        ui.horizontal(|ui| super::widgets::heading(ui, if has_several { "Lanes" } else { "Lane" }));
        for _ in 0..3 {
            wide_label(ui, "", SWITCH_WIDTH);
        }
        wide_label(ui, "", TAKES_WIDTH);
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
                if has_several {
                    let name = Label::new(&lane.name).selectable(false).sense(Sense::click_and_drag());
                    handles.push((idx, handle(ui.add(name), &format!("Drag {}", lane.name))));
                } else {
                    ui.label(&lane.name);
                }
            });
            switch(ui, &of_lane.on, "", setter, "Off: the lane does not play.");
            lamp(ui, &of_lane.mute, "M", palette.busy, setter, "Mute: silent for now.");
            lamp(ui, &of_lane.solo, "S", palette.good, setter, "Solo: only solo lanes play.");
            offer = takes(ui, view, idx, &lane.name).or(offer);
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
    offer
}

/// Re-roll and lock of a whole lane.
fn takes(ui: &mut Ui, view: &ViewModel, lane_idx: usize, name: &str) -> Option<Offer> {
    let (lanes, mut offer) = (lane_set(lane_idx), None);
    ui.horizontal(|ui| {
        ui.set_min_width(TAKES_WIDTH);
        ui.spacing_mut().item_spacing.x = 4.0;
        let reroll = ui.button("Re-roll");
        reroll.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Re-roll {name}")));
        let reroll = reroll.on_hover_text("Writes this lane anew, to go with the others; what is locked stays");
        offer = Offer::of(&reroll, Change::Reroll { lanes, bars: Retake::ALL_BARS });
        let (is_locked, bars) = (view.is_lane_locked(lane_idx), view.all_bars());
        let lock = ui.add_enabled(bars != 0, egui::Button::new(if is_locked { "Locked" } else { "Lock" }).selected(is_locked));
        lock.widget_info(|| WidgetInfo::selected(Role::CheckBox, bars != 0, is_locked, format!("Lock {name}")));
        let lock = lock.on_hover_text("Keeps this lane exactly as it sounds now, whatever else changes");
        let change = if is_locked { Change::Unlock { lanes, bars } } else { Change::Lock { lanes, bars } };
        offer = Offer::of(&lock, change).or(offer);
    });
    offer
}
