//! The pencil in the roll: with it, a press draws, moves, lengthens or erases a note of one lane instead of scrolling.

use super::{
    pencil_model::{self, Stroke},
    roll::Scale,
    theme::Palette,
    view_model::ViewModel,
    widgets::NOTE_SIZE,
};
use crate::{music::time::Ticks, params::Edit};
use egui::{ComboBox, CursorIcon, Key, PointerButton, Pos2, Rect, Response, RichText, Role, StrokeKind, Ui, WidgetInfo};

/// Nearer than this to the end of a note, it is the end that is taken hold of.
const END_WIDTH: f32 = 6.0;
const CHOICE_WIDTH: f32 = 84.0;

/// What the pencil keeps between two frames.
#[derive(Default)]
pub struct Pencil {
    is_on: bool,
    lane_idx: usize,
    stroke: Option<Stroke>,
    /// What was drawn, until the roll that has it is there.
    drawn: Option<(u64, Stroke)>,
    /// Why the last press drew nothing.
    refused: Option<String>,
}

impl Pencil {
    /// The lane that is drawn into, while the pencil is out.
    #[must_use]
    pub fn lane(&self) -> Option<usize> {
        self.is_on.then_some(self.lane_idx)
    }

    /// The switch, the lane, and why it does not draw where it does not.
    pub fn controls(&mut self, ui: &mut Ui, view: &ViewModel) {
        let hint = "Click in the roll: a note, dragged longer. Drag a note: moved; its right end: longer or shorter. \
                    Right click or Ctrl+click: erased. The bars that are drawn into are locked.";
        if ui.checkbox(&mut self.is_on, "Pencil").on_hover_text(hint).changed() {
            (self.stroke, self.refused) = (None, None);
        }
        if !self.is_on {
            return;
        }
        self.lane_idx = self.lane_idx.min(view.lanes.len().saturating_sub(1));
        let name = |idx: usize| view.lanes.get(idx).map_or("", |lane| lane.name.as_str());
        if view.lanes.len() > 1 {
            let text = name(self.lane_idx);
            let choice = ComboBox::from_id_salt("pencil").width(CHOICE_WIDTH).selected_text(text).show_ui(ui, |ui| {
                for idx in 0..view.lanes.len() {
                    if ui.selectable_label(idx == self.lane_idx, format!("Draw {}", name(idx))).clicked() {
                        (self.lane_idx, self.refused) = (idx, None);
                    }
                }
            });
            choice.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Pencil lane"));
        }
        if let Some(reason) = pencil_model::refusal(view, self.lane_idx).or_else(|| self.refused.clone()) {
            let said = RichText::new(&reason).size(NOTE_SIZE).color(Palette::of(ui).bad);
            ui.add(egui::Label::new(said).truncate()).on_hover_text(reason);
        }
    }

    /// Draws in the roll. Yields the lane and the edit that came of a press.
    pub fn draw(&mut self, ui: &Ui, response: &Response, scale: &Scale<'_>, view: &ViewModel) -> Option<(usize, Edit)> {
        let lane_idx = self.lane()?;
        let palette = Palette::of(ui);
        self.drawn.take_if(|(version, _)| *version != view.roll_version);
        let shown = self.stroke.as_ref().or(self.drawn.as_ref().map(|(_, stroke)| stroke));
        if let Some(stroke) = shown {
            let (start, end, pitch) = stroke.shape();
            let top = scale.y(pitch.number());
            let rect = Rect::from_min_max(Pos2::new(scale.x(start), top), Pos2::new(scale.x(end), top + scale.row_height()));
            let painter = ui.painter_at(scale.area);
            painter.rect_filled(rect, 1.0, palette.lane(stroke.lane_idx, view.lanes.len()));
            painter.rect_stroke(rect, 1.0, (1.0, palette.text), StrokeKind::Inside);
        }
        let (pressed, released, erases, escapes, at) = ui.input(|i| {
            let erases = i.pointer.button_pressed(PointerButton::Secondary) || i.pointer.primary_pressed() && i.modifiers.command;
            (
                i.pointer.primary_pressed(),
                i.pointer.primary_released(),
                erases,
                i.key_pressed(Key::Escape),
                i.pointer.interact_pos(),
            )
        });
        let at = at?;
        if self.stroke.is_none() {
            let edit = self.press(ui, response, scale, view, (pressed, erases));
            if edit.is_some() {
                return edit;
            }
        }
        // A click may be over before the next frame.
        let stroke = self.stroke.as_mut()?;
        if let Some((ticks, pitch)) = scale.at(at.clamp(scale.area.min, scale.area.max)) {
            stroke.drag(ticks, pitch);
        }
        if escapes {
            self.stroke = None;
        } else if released {
            let stroke = self.stroke.take()?;
            let edit = stroke.edit()?;
            self.drawn = Some((view.roll_version, stroke));
            return Some((lane_idx, edit));
        }
        None
    }

    /// The pointer without a stroke: takes hold of what is under it, or erases it.
    fn press(
        &mut self,
        ui: &Ui,
        response: &Response,
        scale: &Scale<'_>,
        view: &ViewModel,
        (pressed, erases): (bool, bool),
    ) -> Option<(usize, Edit)> {
        let (lane_idx, at) = (self.lane()?, ui.input(|i| i.pointer.interact_pos())?);
        let (ticks, pitch) = response.contains_pointer().then(|| scale.at(at))??;
        let note = pencil_model::note_at(view, lane_idx, ticks, pitch);
        let is_near_end = note.is_some_and(|note| {
            let (start, end) = (scale.x(note.onset), scale.x(Ticks(note.onset.0 + note.duration.0)));
            end - at.x < END_WIDTH.min((end - start) / 3.0)
        });
        let is_drums = view.lanes.get(lane_idx).is_some_and(|lane| lane.is_drums);
        ui.ctx().set_cursor_icon(match note {
            Some(_) if is_near_end && !is_drums => CursorIcon::ResizeHorizontal,
            Some(_) => CursorIcon::Grab,
            None => CursorIcon::Crosshair,
        });
        if erases {
            response.request_focus();
            let edit = pencil_model::erase(view, lane_idx, ticks, pitch);
            return pencil_model::refusal(view, lane_idx).is_none().then_some((lane_idx, edit?));
        }
        if pressed {
            // Undo works on the keyboard from here on.
            response.request_focus();
            match Stroke::begin(view, lane_idx, ticks, pitch, is_near_end) {
                Ok(stroke) => (self.stroke, self.refused) = (Some(stroke), None),
                Err(reason) => self.refused = Some(reason),
            }
        }
        None
    }
}
