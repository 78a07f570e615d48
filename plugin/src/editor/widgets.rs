//! Controls of the page over the host's parameters. Every change is a gesture that the host sees begin and end.

use super::theme::Palette;
use egui::{Align, Align2, FontId, Id, Key, Layout, Rect, Response, RichText, Role, Sense, StrokeKind, TextEdit, Ui, WidgetInfo};
use nice_plug::prelude::{BoolParam, Enum, EnumParam, Param, ParamSetter};

pub use crate::params::presets::set;

/// Height of a row of controls.
pub const ROW_HEIGHT: f32 = 20.0;
/// Size of hints and messages.
pub const NOTE_SIZE: f32 = 11.5;
/// Width of a label in front of a row of the page.
const LABEL_WIDTH: f32 = 64.0;
/// Part of the way that a fine drag moves.
const FINE: f32 = 0.1;
const SLIDER_KEYS: &str = "Drag; with Shift finely. Double-click for the default, Ctrl+click to type, copy or paste a value, arrow keys for single steps.";

/// A label that keeps the rows of the page in line.
pub fn label(ui: &mut Ui, text: &str) {
    wide_label(ui, text, LABEL_WIDTH);
}

/// A label of a certain width.
pub fn wide_label(ui: &mut Ui, text: &str, width: f32) {
    ui.allocate_ui_with_layout(egui::vec2(width, ROW_HEIGHT), Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_width(width);
        ui.label(RichText::new(text).color(Palette::of(ui).faint));
    });
}

/// A heading over controls.
pub fn heading(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text).strong());
}

/// What a slider remembers while it is dragged, in the value's own resolution.
#[derive(Clone, Copy)]
struct Drag(f32);

/// A slider with its value in it. `meaning` is its tooltip.
pub fn slider<P: Param>(ui: &mut Ui, param: &P, setter: &ParamSetter, width: f32, meaning: &str) -> Response {
    let (rect, mut response) = ui.allocate_exact_size(egui::vec2(width, ROW_HEIGHT - 2.0), Sense::click_and_drag());
    let id = response.id;
    if let Some(text) = ui.data(|data| data.get_temp::<String>(id)) {
        type_value(ui, rect, id, param, setter, text);
        return response;
    }
    let value = param.unmodulated_normalized_value();
    let under = |x: f32| ((x - rect.left()) / rect.width()).clamp(0.0, 1.0);
    let (is_fine, is_typing) = ui.input(|i| (i.modifiers.shift, i.modifiers.command));
    // Of two clicks the second resets; the first has moved the value, as it looks to the user.
    if response.double_clicked() {
        set(param, param.default_plain_value(), setter);
        response.mark_changed();
    } else if response.clicked() && is_typing {
        ui.data_mut(|data| data.insert_temp(id, param.to_string()));
        ui.memory_mut(|memory| memory.request_focus(id.with("text")));
    } else if response.clicked()
        && !is_fine
        && let Some(pointer) = response.interact_pointer_pos()
    {
        set(param, param.preview_plain(under(pointer.x)), setter);
        response.mark_changed();
    }
    if response.drag_started() {
        setter.begin_set_parameter(param);
        ui.data_mut(|data| data.insert_temp(id, Drag(value)));
    }
    if response.dragged()
        && let Some(pointer) = response.interact_pointer_pos()
    {
        let Drag(from) = ui.data(|data| data.get_temp(id)).unwrap_or(Drag(value));
        let moved = from + response.drag_delta().x / rect.width() * FINE;
        let to = if is_fine { moved.clamp(0.0, 1.0) } else { under(pointer.x) };
        ui.data_mut(|data| data.insert_temp(id, Drag(to)));
        let plain = param.preview_plain(to);
        if plain != param.unmodulated_plain_value() {
            setter.set_parameter(param, plain);
            response.mark_changed();
        }
    }
    if response.drag_stopped() {
        setter.end_set_parameter(param);
    }
    let steps = arrow_steps(ui, &response);
    if steps != 0 {
        let next =
            |at| if steps > 0 { param.next_normalized_step(at, is_fine) } else { param.previous_normalized_step(at, is_fine) };
        let to = (0..steps.unsigned_abs()).fold(value, |at, _| next(at));
        set(param, param.preview_plain(to), setter);
        response.mark_changed();
    }
    let text = param.to_string();
    response.widget_info(|| WidgetInfo::slider(true, param.unmodulated_normalized_value().into(), param.name()));
    paint_slider(ui, &response, param.unmodulated_normalized_value(), param.modulated_normalized_value(), &text);
    response.on_hover_text(format!("{}: {text}\n{meaning}\n{SLIDER_KEYS}", param.name()).replace("\n\n", "\n"))
}

/// How many steps the arrow keys or an assistive program ask for.
fn arrow_steps(ui: &Ui, response: &Response) -> i32 {
    let pressed = |key| i32::try_from(ui.input(|i| i.num_presses(key))).unwrap_or(0);
    let asked = |action| i32::try_from(ui.input(|i| i.num_accesskit_action_requests(response.id, action))).unwrap_or(0);
    let mut steps = asked(egui::accesskit::Action::Increment) - asked(egui::accesskit::Action::Decrement);
    if response.has_focus() {
        let filter = egui::EventFilter { horizontal_arrows: true, ..egui::EventFilter::default() };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        steps += pressed(Key::ArrowRight) - pressed(Key::ArrowLeft);
    }
    steps
}

fn paint_slider(ui: &Ui, response: &Response, value: f32, modulated: f32, text: &str) {
    let (palette, rect, painter) = (Palette::of(ui), response.rect, ui.painter());
    let at = |value: f32| rect.left() + rect.width() * value;
    let bright = response.hovered() || response.dragged();
    painter.rect_filled(rect, 2.0, palette.well);
    let filled = Rect::from_min_max(rect.min, egui::pos2(at(value), rect.bottom()));
    painter.rect_filled(filled, 2.0, palette.accent.gamma_multiply(if bright { 0.75 } else { 0.55 }));
    // What the host's modulation makes of it.
    if (modulated - value).abs() > 1e-4 {
        painter.vline(at(modulated), rect.y_range(), (2.0, palette.busy));
    }
    if response.has_focus() {
        painter.rect_stroke(rect, 2.0, (1.0, palette.accent), StrokeKind::Outside);
    }
    painter.text(rect.center(), Align2::CENTER_CENTER, text, FontId::proportional(12.0), palette.text);
}

fn type_value<P: Param>(ui: &mut Ui, rect: Rect, id: Id, param: &P, setter: &ParamSetter, mut text: String) {
    let edit = TextEdit::singleline(&mut text).id(id.with("text")).margin(egui::vec2(4.0, 1.0)).desired_width(rect.width());
    let response = ui.put(rect, edit);
    response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, param.name()));
    if !response.lost_focus() {
        ui.data_mut(|data| data.insert_temp(id, text));
        return;
    }
    ui.data_mut(|data| data.remove_temp::<String>(id));
    let is_given_up = ui.input(|i| i.key_pressed(Key::Escape));
    if let Some(value) = param.string_to_normalized_value(&text).filter(|_| !is_given_up) {
        set(param, param.preview_plain(value), setter);
    }
}

/// A list to choose from. `name` is what it is called aloud.
pub fn choice<T: Enum + PartialEq + 'static>(ui: &mut Ui, param: &EnumParam<T>, setter: &ParamSetter, width: f32) {
    let current = param.unmodulated_plain_value().to_index();
    let names = T::variants();
    let name = |idx: usize| names.get(idx).copied().unwrap_or_default();
    let mut chosen = None;
    let list = egui::ComboBox::from_id_salt(param.name()).selected_text(name(current)).width(width).height(320.0);
    let shown = list.show_ui(ui, |ui| {
        for index in 0..names.len() {
            if ui.selectable_label(index == current, name(index)).clicked() {
                chosen = Some(index);
            }
        }
    });
    shown.response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ComboBox, true, param.name());
        info.current_text_value = Some(name(current).into());
        info
    });
    if let Some(index) = chosen.filter(|index| *index != current) {
        set(param, T::from_index(index), setter);
    }
}

/// A switch with a text; what the host calls it is its tooltip and its name aloud.
pub fn switch(ui: &mut Ui, param: &BoolParam, text: &str, setter: &ParamSetter, meaning: &str) -> Response {
    let mut on = param.unmodulated_plain_value();
    let response = ui.checkbox(&mut on, text);
    if response.changed() {
        set(param, on, setter);
    }
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, param.unmodulated_plain_value(), param.name()));
    response.on_hover_text(format!("{}\n{meaning}", param.name()).trim_end())
}

/// A small button that is on or off, as on a mixer.
pub fn lamp(ui: &mut Ui, param: &BoolParam, letter: &str, lit: egui::Color32, setter: &ParamSetter, meaning: &str) -> Response {
    let on = param.unmodulated_plain_value();
    let palette = Palette::of(ui);
    let (ground, ink) = if on { (lit, egui::Color32::BLACK) } else { (palette.well, palette.faint) };
    let text = RichText::new(letter).size(12.0).strong().color(ink);
    let response = ui.add(egui::Button::new(text).fill(ground).min_size(egui::vec2(ROW_HEIGHT, ROW_HEIGHT - 2.0)));
    if response.clicked() {
        set(param, !on, setter);
    }
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, param.unmodulated_plain_value(), param.name()));
    response.on_hover_text(format!("{}: {}\n{meaning}", param.name(), if on { "on" } else { "off" }).trim_end())
}
