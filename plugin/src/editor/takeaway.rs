//! Taking music away: Save .mid, and what became of it.

use super::{
    Instance,
    roll_model::ENDLESS_BARS,
    save::{self, Occasion, Which},
    theme::Palette,
    view_model::{Tone, ViewModel},
    widgets::NOTE_SIZE,
};
use egui::{OpenUrl, RichText, Ui};
use std::path::PathBuf;

/// What became of the last file.
#[derive(Default)]
pub struct TakeAway {
    last: Option<Result<PathBuf, String>>,
}

impl TakeAway {
    /// The menu, and the path of the last file with what can be done with it.
    pub fn show(&mut self, ui: &mut Ui, instance: &Instance, view: &ViewModel) {
        let Some((pattern, knobs)) = view.shown() else { return };
        let mut chosen = None;
        ui.menu_button("Save .mid", |ui| {
            if ui.button("Whole pattern").clicked() {
                chosen = Some(Which::Pattern);
            }
            for (idx, lane) in view.lanes.iter().enumerate().filter(|_| view.lanes.len() > 1) {
                if ui.button(format!("{} only", lane.name)).clicked() {
                    chosen = Some(Which::Lane(idx));
                }
            }
        })
        .response
        .on_hover_text("Writes what sounds now into your music folder");
        if let Some(which) = chosen {
            let (meter, tempo) = (instance.meter)();
            let (first_bar, lanes) = (view.roll.first_bar, view.lanes.as_slice());
            let song =
                save::song(pattern, which, &Occasion { knobs, meter, tempo, first_bar, n_endless_bars: ENDLESS_BARS, lanes });
            self.last = Some(match &instance.music {
                Some(folder) => save::write(folder, &save::stem(pattern, which, lanes), &song).map_err(|error| error.to_string()),
                None => Err("there is no folder for the user's music".into()),
            });
        }
        match &self.last {
            Some(Ok(path)) => {
                if ui.button("Copy path").on_hover_text("Puts the file's path on the clipboard").clicked() {
                    ui.ctx().copy_text(path.display().to_string());
                }
                let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
                if ui.button("Open folder").on_hover_text(&folder).clicked() {
                    ui.ctx().open_url(OpenUrl::same_tab(folder));
                }
                let text = RichText::new(path.display().to_string()).size(NOTE_SIZE).color(Palette::of(ui).faint);
                ui.add(egui::Label::new(text).truncate());
            }
            Some(Err(error)) => {
                ui.label(RichText::new(error).size(NOTE_SIZE).color(Palette::of(ui).tone(Tone::Bad)));
            }
            None => {}
        }
    }
}
