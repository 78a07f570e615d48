//! The strip of takes: a small roll of each, to go back to, to keep, and to morph between; and the seed as text. The shapes are made once
//! and kept until a picture or the place changes.

use super::{
    takes_model::{Entry, Run, SIZE, Takes, name, read, text},
    theme::Palette,
    view_model::ViewModel,
    widgets::NOTE_SIZE,
};
use crate::{params::Saved, state::TakeAddress};
use egui::{
    Align2, Button, FontId, Key, Mesh, Pos2, Rect, RichText, Role, ScrollArea, Sense, Shape, StrokeKind, TextEdit, Ui,
    WidgetInfo, emath::GuiRounding, vec2,
};
use std::sync::Arc;

/// Height of the strip.
pub const HEIGHT: f32 = 46.0;
const CAPTION: f32 = 14.0;
const WIDTH: f32 = 92.0;
const TEXT_WIDTH: f32 = 74.0;

/// What is wanted of a take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is to sound.
    GoTo(TakeAddress),
    /// It is to be where the morph leads.
    MorphTo(TakeAddress),
    /// It is to be kept, or no longer.
    Keep(TakeAddress),
}

/// What shapes were made from.
#[derive(Clone, PartialEq)]
struct Source {
    picture: Arc<[Run]>,
    area: Rect,
    is_dark: bool,
    points: f32,
    n_lanes: usize,
}

type Kept = Vec<(Source, Arc<Mesh>)>;

/// What the strip keeps between two frames.
#[derive(Default)]
pub struct TakeStrip {
    takes: Takes,
    kept: Kept,
    /// What is typed.
    draft: Option<String>,
    refused: Option<String>,
}

impl TakeStrip {
    /// Draws the strip. Yields what is wanted.
    pub fn show(&mut self, ui: &mut Ui, view: &ViewModel, saved: &Saved) -> Option<Wish> {
        let shown = view.shown().map(|(pattern, _)| TakeAddress::of(&pattern.spec));
        self.takes.update(shown.as_ref(), &view.roll, view.roll_version, &saved.favourites());
        let mut wish = None;
        ui.allocate_ui(vec2(ui.available_width(), HEIGHT), |ui| {
            ui.horizontal_top(|ui| {
                wish = self.seed(ui);
                let mut drawn = Vec::new();
                ScrollArea::horizontal().id_salt("takes").show(ui, |ui| {
                    ui.horizontal_top(|ui| {
                        ui.spacing_mut().item_spacing.x = 4.0;
                        for entry in &self.takes.entries {
                            let is_current = self.takes.current.as_ref() == Some(&entry.address);
                            let wanted = take(ui, view, entry, is_current, &self.kept, &mut drawn);
                            wish = wanted.or(wish.take());
                        }
                    });
                });
                self.kept = drawn;
            });
        });
        wish
    }

    /// The seed as text: to be read, copied, typed and pasted.
    fn seed(&mut self, ui: &mut Ui) -> Option<Wish> {
        let current = self.takes.current.clone()?;
        let mut wish = None;
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let palette = Palette::of(ui);
            let mut typed = self.draft.clone().unwrap_or_else(|| text(&current));
            let colour = if self.refused.is_some() { palette.bad } else { palette.text };
            let response = ui.add(TextEdit::singleline(&mut typed).desired_width(TEXT_WIDTH).char_limit(24).text_color(colour));
            response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Seed and take"));
            let hint = "Seed and take, to be copied and pasted: with the same chords, model and knobs, the same music. Enter takes it. \
                        Re-rolls are not in it.";
            let response = response.on_hover_text(self.refused.as_deref().unwrap_or(hint));
            if response.changed() {
                (self.draft, self.refused) = (Some(typed.clone()), None);
            }
            if response.lost_focus() {
                let is_entered = ui.input(|i| i.key_pressed(Key::Enter));
                match read(&typed) {
                    Ok(address) if is_entered => (wish, self.draft) = (Some(Wish::GoTo(address)), None),
                    Err(reason) if is_entered => self.refused = Some(reason),
                    _ => (self.draft, self.refused) = (None, None),
                }
            }
            let copy = Button::new(RichText::new("Copy seed").size(NOTE_SIZE)).min_size(vec2(TEXT_WIDTH, 0.0));
            if ui.add(copy).on_hover_text("Puts seed and take on the clipboard").clicked() {
                ui.ctx().copy_text(text(&current));
            }
        });
        wish
    }
}

/// A take: its name, the dot that keeps it and its small roll.
fn take(ui: &mut Ui, view: &ViewModel, entry: &Entry, is_current: bool, kept: &Kept, drawn: &mut Kept) -> Option<Wish> {
    let (palette, name, address) = (Palette::of(ui), name(&entry.address), || entry.address.clone());
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, HEIGHT), Sense::click());
    let rect = rect.round_to_pixels(ui.pixels_per_point());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_current, format!("Take {name}")));
    let dot =
        Rect::from_min_max(Pos2::new(rect.right() - CAPTION - 2.0, rect.top()), Pos2::new(rect.right(), rect.top() + CAPTION));
    let favour = ui.interact(dot, response.id.with("keep"), Sense::click());
    favour.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, entry.is_favourite, format!("Keep {name}")));
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, 2.0, palette.well);
    let font = FontId::proportional(10.0);
    let colour = if is_current { palette.text } else { palette.faint };
    let within = rect.with_max_x(dot.left());
    ui.painter_at(within).text(rect.min + vec2(3.0, 1.0), Align2::LEFT_TOP, &name, font.clone(), colour);
    let colour = if favour.hovered() { palette.text } else { palette.busy };
    if entry.is_favourite {
        painter.circle_filled(dot.center(), 3.5, colour);
    } else {
        painter.circle_stroke(dot.center(), 3.5, (1.0, if favour.hovered() { palette.text } else { palette.faint }));
    }
    let area = Rect::from_min_max(Pos2::new(rect.left() + 2.0, rect.top() + CAPTION), rect.max - vec2(2.0, 2.0));
    if let Some(picture) = &entry.picture {
        let source = Source {
            picture: Arc::clone(picture),
            area,
            is_dark: ui.visuals().dark_mode,
            points: ui.pixels_per_point(),
            n_lanes: view.lanes.len(),
        };
        let known = kept.iter().find(|(of, _)| Arc::ptr_eq(&of.picture, picture) && *of == source);
        let mesh = known.map_or_else(|| Arc::new(shapes(&source, palette)), |(_, mesh)| Arc::clone(mesh));
        painter.add(Shape::mesh(Arc::clone(&mesh)));
        drawn.push((source, mesh));
    } else {
        painter.text(area.center(), Align2::CENTER_CENTER, "not heard yet", font, palette.faint);
    }
    if is_current || response.hovered() {
        let colour = if is_current { palette.accent } else { palette.playhead };
        painter.rect_stroke(rect, 2.0, (1.0, colour), StrokeKind::Inside);
    }
    let mut wish = response.clicked().then(|| Wish::GoTo(address()));
    if favour.clicked() {
        wish = Some(Wish::Keep(address()));
    }
    favour.on_hover_text("Keeps this take with the project");
    response.context_menu(|ui| {
        if ui.button("A: morph from it").on_hover_text("Sets seed, take and re-rolls, as a click does").clicked() {
            wish = Some(Wish::GoTo(address()));
        }
        let of_seed = "Sets Seed B to its seed; take and re-rolls are A's on the whole way. Then turn Morph";
        if ui.button("B: morph to its seed").on_hover_text(of_seed).clicked() {
            wish = Some(Wish::MorphTo(address()));
        }
        if ui.button("Copy its seed").clicked() {
            ui.ctx().copy_text(text(&entry.address));
        }
    });
    response.on_hover_text(format!(
        "Seed {}, take {}, {} re-rolls\nClick: back to it\nRight click: A and B of the morph",
        entry.address.seed,
        entry.address.take,
        entry.address.retakes.len()
    ));
    wish
}

fn shapes(source: &Source, palette: &Palette) -> Mesh {
    let Source { picture, area, points, n_lanes, .. } = source;
    let mut mesh = Mesh::default();
    let cell = vec2(area.width() / f32::from(SIZE.0), area.height() / f32::from(SIZE.1));
    let at = |column: u8, row: u8| area.min + vec2(f32::from(column), f32::from(row)) * cell;
    for run in picture.iter() {
        let rect = Rect::from_min_max(at(run.start, run.row), at(run.end, run.row + 1)).round_to_pixels(*points);
        let rect = rect.with_max_y(rect.bottom().max(rect.top() + 1.0 / points));
        mesh.add_colored_rect(rect, palette.lane(run.lane_idx.into(), *n_lanes));
    }
    mesh
}
