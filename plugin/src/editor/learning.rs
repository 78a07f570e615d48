//! The panel that explains a bar.

use super::{
    theme::Palette,
    view_model::ViewModel,
    widgets::{NOTE_SIZE, heading},
};
use crate::{
    music::explain::{Line, Piece, Section},
    player::Part,
};
use egui::{RichText, ScrollArea, Ui};

/// Width of the panel before it is changed.
pub const WIDTH: f32 = 290.0;
/// Narrower, its sentences are hard to read.
pub const MIN_WIDTH: f32 = 230.0;

/// What the panel keeps between two frames.
#[derive(Default)]
pub struct Learning {
    /// The bar last pointed at.
    bar: Option<u32>,
    /// What was said of which roll and bar.
    kept: Option<((u64, u32), Vec<Section>)>,
}

impl Learning {
    /// Explains this bar from now on, if it is one.
    pub fn point_at(&mut self, bar: Option<u32>) {
        self.bar = bar.or(self.bar);
    }

    /// The panel: the bar last pointed at, else the one that plays.
    pub fn show(&mut self, ui: &mut Ui, view: &ViewModel) {
        let shown = view.roll.first_bar..view.roll.first_bar + view.roll.n_bars;
        if shown.is_empty() {
            ui.label("No pattern yet");
            return;
        }
        let bar = self.bar.filter(|bar| shown.contains(bar)).unwrap_or_else(|| view.current_bar());
        let of = (view.roll_version, bar);
        let sections = match self.kept.take() {
            Some((before, sections)) if before == of => sections,
            _ => explained(view, bar),
        };
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            for section in &sections {
                heading(ui, &section.heading);
                for line in &section.lines {
                    let text = RichText::new(line.to_string()).size(NOTE_SIZE);
                    ui.label(if matches!(line, Line::Rhythm(_)) { text.monospace() } else { text });
                }
                ui.add_space(6.0);
            }
            ui.label(RichText::new("Point at a bar of the roll to read about it.").size(NOTE_SIZE).color(Palette::of(ui).faint));
        });
        self.kept = Some((of, sections));
    }
}

/// A bar of the roll in words, with each lane's figures over the whole of it.
fn explained(view: &ViewModel, bar: u32) -> Vec<Section> {
    let roll = &view.roll;
    let of = |idx: usize| {
        let own = move |part: &Part| matches!(part, Part::Track(number) if usize::from(*number) == idx);
        roll.notes.iter().filter(move |(part, _)| own(part)).map(|(_, note)| *note).collect()
    };
    let tracks = (0..).zip(&view.lanes).map(|(idx, lane)| (lane.name.clone(), lane.is_drums, lane.program, of(idx)));
    let piece = Piece::new(roll.meter, roll.first_bar, roll.harmony.clone(), roll.key, tracks);
    let mut sections = piece.explain(bar);
    for (section, track) in sections.iter_mut().skip(1).zip(piece.tracks()) {
        section.lines.extend(track.overall().map(Line::Words));
    }
    sections
}
