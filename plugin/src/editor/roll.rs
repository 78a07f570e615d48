//! The piano roll: bars, beats, chord names, notes, playhead.

use super::{FAINT, controls::LANE_HEIGHT, lane_colour, view_model::ViewModel};
use crate::{
    music::{note::Note, time::Ticks},
    params::LANE_NAMES,
    player::Part,
};
use egui::{Align2, Color32, CornerRadius, FontId, Pos2, Rect, Sense, Stroke, Ui};

const HEIGHT: f32 = 170.0;
const CHORDS_HEIGHT: f32 = 18.0;
const KEYS_WIDTH: f32 = 28.0;
const BACKGROUND: Color32 = Color32::from_rgb(0x12, 0x13, 0x17);
const BLACK_KEY: Color32 = Color32::from_rgb(0x18, 0x1a, 0x1f);
const BAR: Color32 = Color32::from_rgb(0x4a, 0x4e, 0x58);
const BEAT: Color32 = Color32::from_rgb(0x28, 0x2b, 0x32);
const PLAYHEAD: Color32 = Color32::from_rgb(0xf2, 0xd0, 0x6b);

/// Draws the view model's roll. It takes the room that lanes do not need.
pub fn show(ui: &mut Ui, view: &ViewModel) {
    let n_free = LANE_NAMES.len().saturating_sub(view.lanes.len());
    let height = (0..n_free).fold(HEIGHT, |height, _| height + LANE_HEIGHT);
    let (rect, _) = ui.allocate_exact_size(egui::vec2(ui.available_width(), height), Sense::hover());
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, CornerRadius::same(3), BACKGROUND);
    let roll = &view.roll;
    if roll.n_bars == 0 {
        painter.text(rect.center(), Align2::CENTER_CENTER, "No pattern yet", FontId::proportional(13.0), FAINT);
        return;
    }
    let area = Rect::from_min_max(rect.min + egui::vec2(KEYS_WIDTH, CHORDS_HEIGHT), rect.max);
    let (lowest, highest) = roll.pitches;
    let row = area.height() / (f32::from(highest - lowest) + 1.0);
    let x = |at: Ticks| area.left() + area.width() * part(at, roll.span());
    let y = |pitch: u8| area.bottom() - row * (f32::from(pitch - lowest) + 1.0);

    for pitch in lowest..=highest {
        if matches!(pitch % 12, 1 | 3 | 6 | 8 | 10) {
            let lane = Rect::from_min_size(Pos2::new(area.left(), y(pitch)), egui::vec2(area.width(), row));
            painter.rect_filled(lane, CornerRadius::ZERO, BLACK_KEY);
        }
        if pitch % 12 == 0 {
            let name = format!("C{}", i32::from(pitch) / 12 - 1);
            let place = Pos2::new(area.left() - 4.0, y(pitch) + row / 2.0);
            painter.text(place, Align2::RIGHT_CENTER, name, FontId::proportional(10.0), FAINT);
        }
    }
    let beat = roll.meter.bar().0 / i64::from(roll.meter.numerator());
    let (start, end) = roll.span();
    let mut at = start;
    while at < end {
        let is_bar = at.0 % roll.meter.bar().0 == 0;
        if is_bar || roll.n_bars <= 16 {
            painter.vline(x(at), area.y_range(), Stroke::new(1.0, if is_bar { BAR } else { BEAT }));
        }
        at = Ticks(at.0 + beat.max(1));
    }
    // Names that would overlap are left out.
    let mut free_from = area.left();
    for (at, name) in &roll.chords {
        if x(*at) >= free_from {
            let place = Pos2::new(x(*at) + 3.0, rect.top() + CHORDS_HEIGHT / 2.0);
            let drawn = painter.text(place, Align2::LEFT_CENTER, name, FontId::proportional(12.0), Color32::LIGHT_GRAY);
            free_from = drawn.right() + 4.0;
        }
    }
    for (part, note) in &roll.notes {
        let min = Pos2::new(x(note.onset) + 0.5, y(note.pitch.number()) + 0.5);
        let max = Pos2::new(x(Ticks(note.onset.0 + note.duration.0)) - 0.5, min.y + row - 1.0);
        painter.rect_filled(Rect::from_min_max(min, max), CornerRadius::same(1), note_colour(*part, view.lanes.len(), note));
    }
    if let Some(at) = view.playhead {
        painter.vline(x(at), rect.y_range(), Stroke::new(1.5, PLAYHEAD));
    }
}

/// Brighter is louder.
fn note_colour(part: Part, n_lanes: usize, note: &Note) -> Color32 {
    let colour = match part {
        Part::Track(idx) => lane_colour(idx.into(), n_lanes),
        Part::Chords => FAINT,
    };
    colour.gamma_multiply(0.45 + 0.55 * f32::from(note.velocity.number()) / 127.0)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a place on the screen")]
fn part(at: Ticks, (start, end): (Ticks, Ticks)) -> f32 {
    ((at.0 - start.0) as f64 / (end.0 - start.0).max(1) as f64) as f32
}
