//! The bars of every lane under the roll: a click writes a bar of a lane anew, a right click keeps it as it is.

use super::{
    camera::View,
    roll::KEYS_WIDTH,
    theme::Palette,
    view_model::{ViewModel, bar_set, lane_set},
};
use crate::player::Part;
use egui::{Align2, FontId, Rect, Response, Role, Sense, StrokeKind, Ui, WidgetInfo};

/// Height of a lane's strip with the space below it.
const STRIP_HEIGHT: f32 = 13.0;
/// Bars narrower than this cannot be hit.
const MIN_WIDTH: f32 = 3.0;

/// What is to become of bars of lanes; in both sets bit `n` is number `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Written anew.
    Reroll { lanes: u16, bars: u32 },
    /// Kept as they sound.
    Lock { lanes: u16, bars: u32 },
    /// Given back to the network.
    Unlock { lanes: u16, bars: u32 },
}

impl Change {
    /// Lanes and bars that it writes anew.
    pub const fn rerolls(self) -> Option<(u16, u32)> {
        match self {
            Self::Reroll { lanes, bars } => Some((lanes, bars)),
            Self::Lock { .. } | Self::Unlock { .. } => None,
        }
    }
}

/// What a click at the place of the mouse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it changes.
    pub change: Change,
    /// Whether it was clicked.
    pub is_taken: bool,
}

impl Offer {
    /// What is under the mouse or was clicked, by whatever means.
    pub fn of(response: &Response, change: Change) -> Option<Self> {
        let is_taken = response.clicked();
        (is_taken || response.hovered()).then_some(Self { change, is_taken })
    }
}

/// Height of the strips of these lanes: none where a pattern has no bars of its own.
#[must_use]
pub fn height(view: &ViewModel) -> f32 {
    let rows = if view.is_finite { view.lanes.len() } else { 0 };
    (0..rows).fold(0.0, |height, _| height + STRIP_HEIGHT)
}

/// The strips, on the time scale of the roll. Yields what a click does, and the bar under the mouse.
pub fn show(ui: &mut Ui, view: &ViewModel, time: View) -> (Option<Offer>, Option<u32>) {
    let (mut offer, mut pointed) = (None, None);
    let height = height(view);
    if height == 0.0 || view.roll.n_bars == 0 {
        return (offer, pointed);
    }
    let palette = Palette::of(ui);
    let (rect, _) = ui.allocate_exact_size(egui::vec2(ui.available_width(), height), Sense::hover());
    let area = rect.with_min_x(rect.left() + KEYS_WIDTH);
    let clip = ui.painter_at(area);
    let n_bars = f32::from(u16::try_from(view.roll.n_bars).unwrap_or(u16::MAX));
    let mut top = rect.top();
    for (lane_idx, lane) in view.lanes.iter().enumerate() {
        let row = Rect::from_min_max(egui::pos2(area.left(), top), egui::pos2(area.right(), top + STRIP_HEIGHT - 1.0));
        top += STRIP_HEIGHT;
        let short: String = lane.name.chars().take(7).collect();
        let place = egui::pos2(area.left() - 4.0, row.center().y);
        ui.painter().text(place, Align2::RIGHT_CENTER, short, FontId::proportional(9.0), palette.faint);
        let colour = palette.lane(lane_idx, view.lanes.len());
        for bar in 0..view.roll.n_bars {
            let at = |bar: u32| {
                let whole = f32::from(u16::try_from(bar).unwrap_or(u16::MAX)) / n_bars;
                area.left() + area.width() * time.project(whole)
            };
            let cell = Rect::from_x_y_ranges(at(bar)..=at(bar + 1) - 1.0, row.y_range()).intersect(area);
            if cell.width() < MIN_WIDTH {
                continue;
            }
            let (lanes, bars) = (lane_set(lane_idx), bar_set(bar));
            let is_locked = view.is_locked(lane_idx, bar);
            let response = ui.interact(cell, ui.scope_id().with(("strip", lane_idx, bar)), Sense::click());
            let name = format!("{} bar {}", lane.name, bar + 1);
            response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_locked, &name));
            let shade = match (is_locked, view.has_notes(lane_idx, bar)) {
                (true, _) => 0.75,
                (false, true) => 0.3,
                (false, false) => 0.1,
            };
            clip.rect_filled(cell, 1.0, colour.gamma_multiply(shade));
            if is_locked {
                clip.rect_stroke(cell, 1.0, (1.0, palette.text), StrokeKind::Inside);
            }
            if response.hovered() {
                pointed = Some(bar);
                clip.rect_stroke(cell, 1.0, (1.0, palette.playhead), StrokeKind::Inside);
            }
            let lock = if is_locked { Change::Unlock { lanes, bars } } else { Change::Lock { lanes, bars } };
            if response.secondary_clicked() {
                offer = Some(Offer { change: lock, is_taken: true });
            } else if ui.input(|i| i.modifiers.shift) {
                offer = Offer::of(&response, lock).or(offer);
            } else if !is_locked {
                offer = Offer::of(&response, Change::Reroll { lanes, bars }).or(offer);
            }
            if response.clicked() {
                // Undo works on the keyboard from here on.
                response.request_focus();
            }
            let hint = if is_locked {
                "locked: it stays as it is\nRight click or Shift+click: give it back"
            } else {
                "Click: write it anew, to go with the rest\nRight click or Shift+click: lock it as it sounds"
            };
            response.on_hover_text(format!("{name}\n{hint}"));
        }
    }
    (offer, pointed)
}

/// The bars in which each lane begins a note; bit `n` is bar `n`.
#[must_use]
pub fn bars_with_notes(view: &super::roll_model::RollView, n_lanes: usize) -> Vec<u32> {
    let mut sets = vec![0; n_lanes];
    for (part, note) in &view.notes {
        if let Part::Track(idx) = part
            && let Some(set) = sets.get_mut(usize::from(*idx))
            && let Some(bar) = view.bar_at(note.onset)
        {
            *set |= bar_set(bar.saturating_sub(view.first_bar));
        }
    }
    sets
}
