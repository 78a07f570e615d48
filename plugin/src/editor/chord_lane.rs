//! The chords over the bars of the roll, on its time scale: a click on one opens it to be typed or picked.

use super::{
    camera::View,
    chord_model::{Cell, cells, diatonic, key_of, name, with_bar_after, with_chord, without_bar},
    roll::{KEYS_WIDTH, part},
    theme::Palette,
    view_model::ViewModel,
    widgets::NOTE_SIZE,
};
use crate::{
    music::{
        chord::{Progression, ProgressionError},
        time::Ticks,
    },
    params::{BarlineParams, ChordSource},
};
use egui::{
    Align2, FontId, Key, Popup, PopupCloseBehavior, Rect, Response, RichText, Role, Sense, StrokeKind, TextEdit, Ui, WidgetInfo,
};

/// Height of the lane.
const HEIGHT: f32 = 22.0;
/// Narrower cells have no room for a name, and still narrower ones cannot be hit.
const MIN_NAMED: f32 = 18.0;
const MIN_WIDTH: f32 = 4.0;
const POPUP_WIDTH: f32 = 300.0;

/// What the lane keeps between two frames.
#[derive(Default)]
pub struct ChordLane {
    open: Option<Open>,
}

/// The chord that is being changed.
struct Open {
    bar: u32,
    half: Option<usize>,
    text: String,
    error: Option<ProgressionError>,
    is_new: bool,
}

impl ChordLane {
    /// The lane, on the time scale of the roll. Yields the progression that the user wants now.
    pub fn show(&mut self, ui: &mut Ui, params: &BarlineParams, view: &ViewModel, time: View) -> Option<Progression> {
        if view.roll.n_bars == 0 {
            return None;
        }
        let (rect, _) = ui.allocate_exact_size(egui::vec2(ui.available_width(), HEIGHT), Sense::hover());
        let area = rect.with_min_x(rect.left() + KEYS_WIDTH);
        let palette = Palette::of(ui);
        let gutter = egui::pos2(area.left() - 4.0, rect.center().y);
        ui.painter().text(gutter, Align2::RIGHT_CENTER, "Chords", FontId::proportional(9.0), palette.faint);
        let follows_input = params.chord_source.value() == ChordSource::Midi;
        let progression = if follows_input {
            self.open = None;
            view.shown().map(|(pattern, _)| pattern.spec.progression.clone())
        } else {
            params.saved.snapshot().settings.progression().ok()
        }?;
        let mut wanted = None;
        for cell in cells(&progression, view.roll.first_bar, view.roll.n_bars, view.roll.meter) {
            let x = |at: Ticks| area.left() + area.width() * time.project(part(at, view.roll.span()));
            let place = Rect::from_x_y_ranges(x(cell.span.0)..=x(cell.span.1) - 1.0, rect.y_range()).intersect(area);
            if place.width() < MIN_WIDTH {
                continue;
            }
            let response = self.cell(ui, &cell, place, follows_input);
            if follows_input {
                continue;
            }
            if response.clicked() {
                let is_open = self.open.as_ref().is_some_and(|open| (open.bar, open.half) == (cell.bar, cell.half));
                let open = || Open { bar: cell.bar, half: cell.half, text: cell.name(), error: None, is_new: true };
                self.open = (!is_open).then(open);
            }
            if let Some(open) = self.open.as_mut().filter(|open| (open.bar, open.half) == (cell.bar, cell.half)) {
                let mut stays = true;
                let popup = Popup::from_response(&response).open_bool(&mut stays).width(POPUP_WIDTH);
                let key = key_of(&progression, view.roll.key);
                let shown = popup
                    .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
                    .show(|ui| editor(ui, open, &progression, key.map(|key| (key, view.roll.key.is_some()))));
                let done = match shown.map(|shown| shown.inner) {
                    Some(Done::Goes(progression)) => {
                        wanted = Some(progression);
                        true
                    }
                    Some(Done::Types(progression)) => {
                        wanted = Some(progression);
                        false
                    }
                    Some(Done::Leaves) => true,
                    Some(Done::No) | None => false,
                };
                // The click that opened it is outside of it.
                if done || !stays && !response.clicked() {
                    self.open = None;
                }
            }
        }
        wanted
    }

    fn cell(&self, ui: &Ui, cell: &Cell, place: Rect, follows_input: bool) -> Response {
        let palette = Palette::of(ui);
        let sense = if follows_input { Sense::hover() } else { Sense::click() };
        let response = ui.interact(place, ui.scope_id().with(("chord", cell.bar, cell.half)), sense);
        let of = match cell.half {
            None => format!("bar {}", cell.bar + 1),
            Some(half) => format!("bar {}, half {}", cell.bar + 1, half + 1),
        };
        let role = if follows_input { Role::Label } else { Role::Button };
        response.widget_info(|| WidgetInfo::labeled(role, true, format!("Chord of {of}: {}", cell.name())));
        let painter = ui.painter_at(place);
        let is_open = self.open.as_ref().is_some_and(|open| (open.bar, open.half) == (cell.bar, cell.half));
        painter.rect_filled(place, 2.0, palette.well.gamma_multiply(if cell.repeats { 0.5 } else { 1.0 }));
        if response.hovered() && !follows_input || is_open {
            painter.rect_stroke(place, 2.0, (1.0, palette.accent), StrokeKind::Inside);
        }
        if place.width() >= MIN_NAMED {
            let ink = if cell.repeats { palette.faint } else { palette.text };
            let start = egui::pos2(place.left() + 4.0, place.center().y);
            painter.text(start, Align2::LEFT_CENTER, cell.name(), FontId::proportional(12.0), ink);
        }
        let hint = match (follows_input, cell.repeats) {
            (true, _) => "Follows the chords at the MIDI input",
            (false, true) => "The progression repeats here. Click: type or pick a chord, add or remove bars",
            (false, false) => "Click: type or pick a chord, add or remove bars",
        };
        response.on_hover_text(format!("{}, {of}\n{hint}", cell.name()))
    }
}

/// What became of a chord that is open.
enum Done {
    /// Nothing yet.
    No,
    /// Typed so far; it stays open.
    Types(Progression),
    /// Chosen.
    Goes(Progression),
    /// Closed as it is.
    Leaves,
}

/// The popup: a field, the chords of the key, bars more and less.
fn editor(ui: &mut Ui, open: &mut Open, progression: &Progression, key: Option<(crate::music::scale::Key, bool)>) -> Done {
    let palette = Palette::of(ui);
    ui.set_min_width(POPUP_WIDTH);
    let mut done = Done::No;
    let edit = ui.add(TextEdit::singleline(&mut open.text).desired_width(POPUP_WIDTH).hint_text("Am7, C/E, F G, N.C."));
    edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Chord"));
    if std::mem::take(&mut open.is_new) {
        edit.request_focus();
        let all = egui::text::CCursorRange::two(egui::text::CCursor::new(0), egui::text::CCursor::new(open.text.chars().count()));
        let mut state = egui::text_edit::TextEditState::load(ui.ctx(), edit.id).unwrap_or_default();
        state.cursor.set_char_range(Some(all));
        state.store(ui.ctx(), edit.id);
    }
    if edit.changed() {
        match with_chord(progression, open.bar, open.half, &open.text) {
            // What makes two chords or bars of one, or one of two, would close the field under the hand: it is taken with Enter.
            Ok(new) if !open.text.trim().contains([' ', '|']) && !is_split(progression, &new, open) => {
                open.error = None;
                done = Done::Types(new);
            }
            result => open.error = result.err(),
        }
    }
    let (enter, escape) = ui.input(|i| (i.key_pressed(Key::Enter), i.key_pressed(Key::Escape)));
    if escape {
        return Done::Leaves;
    }
    if edit.lost_focus() && enter {
        match with_chord(progression, open.bar, open.half, &open.text) {
            Ok(new) => return Done::Goes(new),
            Err(error) => open.error = Some(error),
        }
    }
    if let Some(error) = &open.error {
        ui.label(RichText::new(error.to_string()).size(NOTE_SIZE).color(palette.bad));
    }
    if let Some((key, is_set)) = key {
        let source = if is_set { "Chords of" } else { "These chords are mostly in" };
        ui.label(RichText::new(format!("{source} {key}")).size(NOTE_SIZE).color(palette.faint));
        for chords in diatonic(key) {
            ui.horizontal_wrapped(|ui| {
                for (degree, chord) in chords {
                    let text = name(Some(chord));
                    if ui.button(&text).on_hover_text(format!("Degree {degree} of {key}")).clicked()
                        && let Ok(new) = with_chord(progression, open.bar, open.half, &text)
                    {
                        done = Done::Goes(new);
                    }
                }
            });
        }
    }
    ui.separator();
    ui.horizontal_wrapped(|ui| {
        if ui.button("No chord").clicked()
            && let Ok(new) = with_chord(progression, open.bar, open.half, "N.C.")
        {
            done = Done::Goes(new);
        }
        if ui.button("Bar twice").on_hover_text("Inserts the same bar once more").clicked() {
            match with_bar_after(progression, open.bar) {
                Ok(new) => done = Done::Goes(new),
                Err(error) => open.error = Some(error),
            }
        }
        if ui.button("Remove bar").on_hover_text("The bars after it move up").clicked() {
            done = Done::Goes(without_bar(progression, open.bar));
        }
    });
    ui.label(RichText::new("Two chords share a bar: F G. Enter takes what is typed.").size(NOTE_SIZE).color(palette.faint));
    done
}

/// Whether the bar that is open would be divided otherwise than it is.
fn is_split(before: &Progression, after: &Progression, open: &Open) -> bool {
    let is_divided = |progression: &Progression| {
        let [first, second] = progression.at(open.bar);
        first != second
    };
    is_divided(before) != is_divided(after)
}
