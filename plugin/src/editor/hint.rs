//! What a newcomer is told: three steps, and how to route notes in their host.

use super::{
    routing::{self, Routing},
    theme::Palette,
    widgets::NOTE_SIZE,
};
use egui::{ComboBox, Frame, RichText, Role, ScrollArea, Ui, WidgetInfo};

const STEPS: [&str; 3] = [
    "1.  Barline plays notes: route its MIDI output to an instrument. Preview makes them heard until then.",
    "2.  Press play in the host. Type chords above, choose a model; New takes another seed.",
    "3.  Turn Threshold and Temperature while it plays: the roll shows at once what will sound. Save .mid or a drag takes it away.",
];
/// The steps of a host take no more room than this.
const MAX_HEIGHT: f32 = 130.0;

/// The steps, with the hosts to choose from.
pub struct Hint {
    hosts: Vec<Routing>,
    /// The host that is told about.
    chosen: Option<usize>,
}

impl Default for Hint {
    fn default() -> Self {
        let hosts = routing::hosts();
        let chosen = std::env::current_exe().ok().and_then(|program| routing::host_of(&program, &hosts));
        Self { hosts, chosen }
    }
}

impl Hint {
    /// Shows the steps; whether they were read.
    pub fn show(&mut self, ui: &mut Ui) -> bool {
        let palette = Palette::of(ui);
        Frame::new()
            .fill(palette.well)
            .inner_margin(8.0)
            .corner_radius(3.0)
            .show(ui, |ui| {
                ui.set_min_width(ui.available_width());
                for step in STEPS {
                    ui.label(RichText::new(step).size(NOTE_SIZE + 1.0));
                }
                self.routing(ui);
                ui.button("Got it").clicked()
            })
            .inner
    }

    fn routing(&mut self, ui: &mut Ui) {
        let name = |idx: usize| self.hosts.get(idx).map_or("", |host| host.heading.as_str());
        ui.horizontal(|ui| {
            ui.label(RichText::new("How to route in").size(NOTE_SIZE + 1.0));
            let shown = self.chosen.map_or("your host", name);
            let list = ComboBox::from_id_salt("host").width(260.0).selected_text(shown);
            let mut chosen = self.chosen;
            let list = list.show_ui(ui, |ui| {
                for idx in 0..self.hosts.len() {
                    ui.selectable_value(&mut chosen, Some(idx), name(idx));
                }
            });
            list.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Host"));
            self.chosen = chosen;
        });
        if let Some(host) = self.chosen.and_then(|idx| self.hosts.get(idx)) {
            ScrollArea::vertical().max_height(MAX_HEIGHT).auto_shrink([false, true]).show(ui, |ui| {
                for paragraph in &host.paragraphs {
                    ui.label(RichText::new(paragraph).size(NOTE_SIZE));
                }
            });
        }
    }
}
