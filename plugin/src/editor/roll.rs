//! The piano roll: bars, beats, notes, playhead; zoom, scroll, what is under the mouse. Its shapes are made once and
//! kept until the notes, the view or the place change.

use super::{
    camera::View,
    pencil::Pencil,
    roll_model::{RollView, pitch_name},
    theme::Palette,
    view_model::ViewModel,
};
use crate::{
    music::{
        note::Pitch,
        time::{TICKS_PER_BEAT, TICKS_PER_STEP, Tempo, Ticks},
    },
    params::Edit,
    player::Part,
};
use egui::{Align2, Color32, FontId, Mesh, Pos2, Rect, Response, Role, Sense, Shape, Ui, WidgetInfo, emath::GuiRounding};
use std::{sync::Arc, time::Duration};

/// Height of the bar numbers.
const HEAD_HEIGHT: f32 = 16.0;
/// Width of the pitch names.
pub const KEYS_WIDTH: f32 = 40.0;
const MIN_HEIGHT: f32 = 110.0;
/// Narrower steps or lower rows get no lines or names of their own.
const MIN_BEAT: f32 = 6.0;
const MIN_STEP: f32 = 12.0;
const MIN_NAMED_ROW: f32 = 11.0;
const SMALL: f32 = 10.0;
/// How bright the other lanes are while the pencil draws into one.
const OTHER_SHADE: f32 = 0.35;

/// What the roll keeps between two frames.
#[derive(Default)]
pub struct Roll {
    /// The part of the bars that is seen.
    pub time: View,
    pitch: View,
    /// Keeps the playhead in sight.
    pub follows: bool,
    /// Width of the notes' part in pixels of the screen.
    n_pixels: f32,
    kept: Option<(Source, Arc<Mesh>)>,
}

/// What the shapes were made from.
#[derive(Clone, Copy, PartialEq)]
struct Source {
    version: u64,
    area: Rect,
    time: View,
    pitch: View,
    is_dark: bool,
    points: f32,
    n_lanes: usize,
    drawn_lane: Option<usize>,
}

/// Where things are on the screen.
#[derive(Clone, Copy)]
pub struct Scale<'a> {
    /// The notes' part of the roll.
    pub area: Rect,
    time: View,
    pitch: View,
    roll: &'a RollView,
}

impl Scale<'_> {
    /// Where a place in time is.
    pub fn x(&self, at: Ticks) -> f32 {
        self.area.left() + self.area.width() * self.time.project(part(at, self.roll.span()))
    }

    /// The upper edge of a pitch's row.
    pub fn y(&self, pitch: u8) -> f32 {
        let (lowest, _) = self.roll.pitches;
        let rows = f32::from(pitch) - f32::from(lowest) + 1.0;
        self.area.bottom() - self.area.height() * self.pitch.project(rows / self.n_rows())
    }

    fn n_rows(&self) -> f32 {
        let (lowest, highest) = self.roll.pitches;
        f32::from(highest.saturating_sub(lowest)) + 1.0
    }

    /// Height of a pitch's row.
    pub fn row_height(&self) -> f32 {
        self.area.height() / self.n_rows() / self.pitch.part()
    }

    fn width_of(&self, ticks: i64) -> f32 {
        self.x(Ticks(self.roll.span().0.0 + ticks)) - self.x(self.roll.span().0)
    }

    /// What lies at a place of the screen.
    pub fn at(&self, place: Pos2) -> Option<(Ticks, u8)> {
        if !self.area.contains(place) {
            return None;
        }
        let (start, end) = self.roll.span();
        let whole = self.time.place((place.x - self.area.left()) / self.area.width());
        let up = self.pitch.place((self.area.bottom() - place.y) / self.area.height());
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a place on the screen")]
        let at = Ticks(start.0 + (f64::from(whole) * (end.0 - start.0) as f64) as i64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the rows shown")]
        let row = (up * self.n_rows()).floor().clamp(0.0, self.n_rows() - 1.0) as u8;
        Some((at, self.roll.pitches.0.saturating_add(row)))
    }
}

impl Roll {
    /// Draws the view model's roll over the room that is left but for `below`, and takes wheel and mouse. Yields the bar under the
    /// mouse, and what was drawn into a lane by hand.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        view: &ViewModel,
        pencil: &mut Pencil,
        below: f32,
    ) -> (Option<u32>, Option<(usize, Edit)>) {
        let palette = Palette::of(ui);
        let size = egui::vec2(ui.available_width(), (ui.available_height() - below).max(MIN_HEIGHT));
        let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let rect = rect.round_to_pixels(ui.pixels_per_point());
        let area = Rect::from_min_max(rect.min + egui::vec2(KEYS_WIDTH, HEAD_HEIGHT), rect.max);
        self.n_pixels = area.width() * ui.pixels_per_point();
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Piano roll: {} notes", view.roll.notes.len())));
        if view.roll.n_bars == 0 {
            ui.painter_at(rect).text(
                rect.center(),
                Align2::CENTER_CENTER,
                "No pattern yet",
                FontId::proportional(13.0),
                palette.faint,
            );
            return (None, None);
        }
        self.take_input(ui, &response, area, pencil.lane().is_some());
        if let Some(at) = view.playhead.filter(|_| self.follows) {
            self.time.follow(part(at, view.roll.span()));
        }
        let scale = Scale { area, time: self.time, pitch: self.pitch, roll: &view.roll };
        let (lowest, highest) = view.roll.pitches;
        let notes = ui.interact(area, response.id.with("notes"), Sense::hover());
        notes.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, format!("Notes from {lowest} to {highest}")));
        let inside = ui.painter_at(area);
        inside.add(Shape::mesh(self.shapes(ui, view, &scale, pencil.lane())));
        let edit = pencil.draw(ui, &response, &scale, view);
        names(ui, &scale, rect, palette);
        if let Some(at) = view.playhead {
            ui.painter_at(rect.with_min_x(area.left())).vline(scale.x(at), rect.y_range(), (1.5, palette.playhead));
        }
        let Some((at, pitch)) = response.hover_pos().and_then(|place| scale.at(place)) else { return (None, edit) };
        if let Some(text) = under_mouse(view, at, pitch) {
            response.on_hover_text_at_pointer(text);
        }
        (view.roll.bar_at(at), edit)
    }

    /// How long the playhead takes from one pixel of the screen to the next; zero where there is no roll.
    pub fn pixel_time(&self, roll: &RollView, tempo: Tempo) -> Duration {
        let (from, to) = roll.span();
        let ticks = (to.0 - from.0) as f64 * f64::from(self.time.part()) / f64::from(self.n_pixels);
        Duration::try_from_secs_f64(ticks / TICKS_PER_BEAT as f64 * 60.0 / tempo.bpm()).unwrap_or_default()
    }

    fn take_input(&mut self, ui: &Ui, response: &Response, area: Rect, is_drawn_in: bool) {
        if let Some(mouse) = response.hover_pos() {
            let (wheel, zoom, is_shift) = ui.input(|i| (i.smooth_scroll_delta(), i.zoom_delta(), i.modifiers.shift));
            let (x, y) = ((mouse.x - area.left()) / area.width(), (area.bottom() - mouse.y) / area.height());
            if is_shift {
                self.pitch.zoom(zoom, y.clamp(0.0, 1.0));
            } else {
                self.time.zoom(zoom, x.clamp(0.0, 1.0));
            }
            self.time.scroll(-wheel.x / area.width());
            // Where all pitches are seen there is nothing to scroll but time.
            if self.pitch.part() < 1.0 {
                self.pitch.scroll(wheel.y / area.height());
            } else {
                self.time.scroll(-wheel.y / area.width());
            }
        }
        if is_drawn_in {
            return;
        }
        if response.dragged() {
            let by = response.drag_delta();
            self.time.scroll(-by.x / area.width());
            self.pitch.scroll(by.y / area.height());
        }
        if response.double_clicked() {
            (self.time, self.pitch) = (View::default(), View::default());
        }
    }

    fn shapes(&mut self, ui: &Ui, view: &ViewModel, scale: &Scale<'_>, drawn_lane: Option<usize>) -> Arc<Mesh> {
        let source = Source {
            version: view.roll_version,
            area: scale.area,
            time: self.time,
            pitch: self.pitch,
            is_dark: ui.visuals().dark_mode,
            points: ui.pixels_per_point(),
            n_lanes: view.lanes.len(),
            drawn_lane,
        };
        match &self.kept {
            Some((of, mesh)) if *of == source => Arc::clone(mesh),
            _ => {
                let mesh = Arc::new(shapes(scale, &source, Palette::of(ui)));
                self.kept = Some((source, Arc::clone(&mesh)));
                mesh
            }
        }
    }
}

/// Rows, lines and notes. Where software draws, every covered pixel costs: what has the window's own colour is left out.
fn shapes(scale: &Scale<'_>, source: &Source, palette: &Palette) -> Mesh {
    let (roll, area) = (scale.roll, scale.area);
    let Source { points, n_lanes, drawn_lane, .. } = *source;
    let mut mesh = Mesh::default();
    let mut rect = |min: Pos2, max: Pos2, colour: Color32| {
        let shown = Rect::from_min_max(min, max).intersect(area).round_to_pixels(points);
        if shown.is_positive() {
            mesh.add_colored_rect(shown, colour);
        }
    };
    let row_height = scale.row_height();
    for pitch in roll.pitches.0..=roll.pitches.1 {
        let colour = match (roll.key, Pitch::new(pitch.into())) {
            (Some(key), Some(of)) if of.class() == key.tonic => palette.tonic,
            (Some(key), Some(of)) if key.contains(of) => palette.in_scale,
            (None, _) if is_black_key(pitch) => palette.black_key,
            _ => continue,
        };
        let y = scale.y(pitch);
        rect(Pos2::new(area.left(), y), Pos2::new(area.right(), y + row_height), colour);
    }
    let (start, end) = roll.span();
    let bar = roll.meter.bar().0;
    let beat = (bar / i64::from(roll.meter.numerator())).max(1);
    let mut line = |every: i64, width: f32, colour: Color32| {
        let mut at = start.0;
        while at < end.0 {
            let x = scale.x(Ticks(at));
            rect(Pos2::new(x, area.top()), Pos2::new(x + width / points, area.bottom()), colour);
            at += every;
        }
    };
    if scale.width_of(TICKS_PER_STEP) >= MIN_STEP && beat % TICKS_PER_STEP == 0 {
        line(TICKS_PER_STEP, 1.0, palette.beat.gamma_multiply(0.5));
    }
    if scale.width_of(beat) >= MIN_BEAT {
        line(beat, 1.0, palette.beat);
    }
    line(bar, 1.0, palette.bar);
    let gap = 0.5_f32.min(row_height * 0.1);
    for cell in &roll.almost {
        let (x, y) = (scale.x(cell.at), scale.y(cell.pitch.number()));
        let colour = palette.lane(cell.track_idx.into(), n_lanes).gamma_multiply((cell.probability * 0.8).clamp(0.06, 0.6));
        let max = Pos2::new(x + scale.width_of(TICKS_PER_STEP), y + row_height * 0.75);
        rect(Pos2::new(x, y + row_height * 0.25), max, colour);
    }
    for (part, note) in &roll.notes {
        let min = Pos2::new(scale.x(note.onset), scale.y(note.pitch.number()) + gap);
        let end = scale.x(Ticks(note.onset.0 + note.duration.0)) - 1.0 / points;
        let max = Pos2::new(end.max(min.x + 1.0 / points), min.y + row_height - 2.0 * gap);
        let colour = match part {
            Part::Track(idx) => palette.lane((*idx).into(), n_lanes),
            Part::Chords => palette.faint,
        };
        let is_other = drawn_lane.is_some_and(|lane| !matches!(part, Part::Track(idx) if usize::from(*idx) == lane));
        // Brighter is louder; what the pencil does not draw into steps back.
        let shade = 0.35 + 0.65 * f32::from(note.velocity.number()) / 127.0;
        rect(min, max, colour.gamma_multiply(if is_other { shade * OTHER_SHADE } else { shade }));
    }
    mesh
}

/// Pitches and bar numbers. Names that would overlap are left out.
fn names(ui: &Ui, scale: &Scale<'_>, rect: Rect, palette: &Palette) {
    let (roll, area) = (scale.roll, scale.area);
    let font = FontId::proportional(SMALL);
    let row_height = scale.row_height();
    let keys = ui.painter_at(rect.with_max_x(area.left()).with_min_y(area.top()));
    for pitch in roll.pitches.0..=roll.pitches.1 {
        if pitch % 12 == 0 || row_height >= MIN_NAMED_ROW {
            let Some(name) = Pitch::new(pitch.into()).map(|p| pitch_name(p, false)) else { continue };
            let place = Pos2::new(area.left() - 4.0, scale.y(pitch) + row_height / 2.0);
            let name = name.split(' ').next().unwrap_or_default();
            keys.text(place, Align2::RIGHT_CENTER, name, font.clone(), palette.faint);
        }
    }
    let head = ui.painter_at(rect.with_min_x(area.left()).with_max_y(area.top()));
    let mut free_from = f32::NEG_INFINITY;
    for bar in roll.first_bar..roll.first_bar + roll.n_bars {
        let x = scale.x(Ticks(i64::from(bar) * roll.meter.bar().0));
        if x >= free_from {
            let place = Pos2::new(x + 3.0, rect.top() + HEAD_HEIGHT * 0.5);
            let drawn = head.text(place, Align2::LEFT_CENTER, bar + 1, font.clone(), palette.faint);
            free_from = drawn.right() + 4.0;
        }
    }
}

/// What the mouse points at, in words.
fn under_mouse(view: &ViewModel, at: Ticks, pitch: u8) -> Option<String> {
    let lane = |idx: u8| view.lanes.get(usize::from(idx));
    let name = |idx: u8| lane(idx).map_or("", |lane| lane.name.as_str());
    let is_drums = |idx: u8| lane(idx).is_some_and(|lane| lane.is_drums);
    if let Some((part, note)) = view.roll.note_at(at, pitch) {
        let (of, drums) = match part {
            Part::Track(idx) => (name(*idx), is_drums(*idx)),
            Part::Chords => ("Chords", false),
        };
        let mut text = format!(
            "{of}: {}\nat {}, {} sixteenths long\nvelocity {}, channel {}",
            pitch_name(note.pitch, drums),
            view.roll.place_name(note.onset),
            sixteenths(note.duration),
            note.velocity.number(),
            note.channel.index() + 1
        );
        if let Some(probability) = view.probability(*part, note) {
            text += &format!("\nprobability {:.0} %", probability * 100.0);
        }
        return Some(text);
    }
    let cell = view.roll.almost_at(at, pitch)?;
    let (of, drums) = (name(cell.track_idx), is_drums(cell.track_idx));
    let (what, place) = (pitch_name(cell.pitch, drums), view.roll.place_name(cell.at));
    Some(format!("{of}: {what}\nalmost at {place}\nprobability {:.0} %", cell.probability * 100.0))
}

/// A duration in sixteenths, with a decimal where it is not whole.
fn sixteenths(duration: Ticks) -> String {
    if duration.0 % TICKS_PER_STEP == 0 {
        (duration.0 / TICKS_PER_STEP).to_string()
    } else {
        format!("{:.1}", duration.beats().0 * 4.0)
    }
}

fn is_black_key(pitch: u8) -> bool {
    matches!(pitch % 12, 1 | 3 | 6 | 8 | 10)
}

/// Where a place lies in a span: 0 at its start, 1 at its end.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a place on the screen")]
pub fn part(at: Ticks, (start, end): (Ticks, Ticks)) -> f32 {
    ((at.0 - start.0) as f64 / (end.0 - start.0).max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playhead_needs_a_frame_for_each_pixel() {
        let view = RollView { n_bars: 32, ..RollView::default() };
        let mut roll = Roll { n_pixels: 1600.0, ..Roll::default() };
        let tempo = Tempo::new(120.0).unwrap();
        assert_eq!(roll.pixel_time(&view, tempo), Duration::from_millis(40));
        roll.time.zoom(4.0, 0.5);
        assert_eq!(roll.pixel_time(&view, tempo), Duration::from_millis(10));
        for empty in [Roll::default(), Roll { n_pixels: f32::NAN, ..Roll::default() }] {
            assert_eq!(empty.pixel_time(&view, tempo), Duration::ZERO);
        }
    }
}
