//! The track that the others accompany: from a MIDI file, or captured from the input. Files are chosen in the page itself: a plugin
//! has no dialogue of the system's that works in every host.

use super::{
    theme::Palette,
    widgets::{NOTE_SIZE, choice, switch},
};
use crate::{params::BarlineParams, state::GivenTrack};
use egui::{Popup, PopupCloseBehavior, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo};
use nice_plug::prelude::ParamSetter;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Entries shown of a folder.
const MAX_ENTRIES: usize = 500;
const CHOICE_WIDTH: f32 = 84.0;

/// Folders and MIDI files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listing {
    folder: PathBuf,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Listing {
    /// Reads a folder, hidden entries left out; empty where it cannot be read.
    fn of(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_hidden = |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect();
        all.sort();
        let is_midi = |path: &PathBuf| {
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            matches!(ending.as_deref(), Some("mid" | "midi")) && path.is_file()
        };
        let folders = all.iter().filter(|path| path.is_dir()).take(MAX_ENTRIES).cloned().collect();
        let files = all.iter().filter(|path| is_midi(path)).take(MAX_ENTRIES).cloned().collect();
        Self { folder: folder.into(), folders, files }
    }
}

/// What the chooser keeps between two frames.
#[derive(Default)]
pub struct Given {
    listing: Option<Listing>,
    path: String,
    error: Option<String>,
}

impl Given {
    /// The row. Whether the given track changed.
    pub fn show(&mut self, ui: &mut Ui, params: &BarlineParams, setter: &ParamSetter, home: Option<&Path>) -> bool {
        let palette = Palette::of(ui);
        choice(ui, &params.given_lane, setter, CHOICE_WIDTH);
        let mut chosen = None;
        let button =
            ui.button("Open .mid").on_hover_text("The first track of a MIDI file that fits this lane; the others go with it");
        if button.clicked() {
            let folder = self.listing.as_ref().map(|listing| listing.folder.clone());
            let folder = folder.or_else(|| home.filter(|home| home.is_dir()).map(Path::to_path_buf));
            self.go(&folder.unwrap_or_else(|| PathBuf::from("/")));
        }
        Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            chosen = self.choose(ui);
            if chosen.is_some() {
                ui.close();
            }
        });
        switch(
            ui,
            &params.capture,
            "Capture",
            setter,
            "While the transport rolls, what is played at the MIDI input becomes this lane's loop.",
        );
        choice(ui, &params.capture_bars, setter, CHOICE_WIDTH);
        let mut changed = false;
        if let Some(path) = chosen {
            match GivenTrack::from_file(&path, params.given_lane.value().lane_idx()) {
                Ok(given) => {
                    params.give(given);
                    (changed, self.error) = (true, None);
                }
                Err(error) => self.error = Some(error.to_string()),
            }
        }
        if let Some(given) = params.saved.given() {
            if ui.button("Clear").on_hover_text("Takes the given track away").clicked() {
                params.clear_given();
                changed = true;
            }
            let text = format!("{}: {} notes in {} bars", given.source, given.n_notes(), given.n_bars());
            ui.add(egui::Label::new(RichText::new(text).size(NOTE_SIZE)).truncate());
        }
        if let Some(error) = &self.error {
            ui.label(RichText::new(error).size(NOTE_SIZE).color(palette.bad));
        }
        changed
    }

    fn go(&mut self, folder: &Path) {
        self.path = folder.display().to_string();
        self.listing = Some(Listing::of(folder));
    }

    /// The chooser: a path to type or paste, and the folder to walk through.
    fn choose(&mut self, ui: &mut Ui) -> Option<PathBuf> {
        let listing = self.listing.clone()?;
        let (mut chosen, mut wanted) = (None, None);
        ui.set_min_width(360.0);
        let edit = ui.add(TextEdit::singleline(&mut self.path).desired_width(360.0));
        edit.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "File or folder"));
        if edit.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter)) {
            let path = PathBuf::from(self.path.trim());
            if path.is_dir() { wanted = Some(path) } else { chosen = Some(path) }
        }
        ScrollArea::vertical().max_height(260.0).show(ui, |ui| {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(parent) = listing.folder.parent()
                && ui.selectable_label(false, "..").clicked()
            {
                wanted = Some(parent.to_path_buf());
            }
            for folder in &listing.folders {
                if ui.selectable_label(false, format!("{}/", name(folder))).clicked() {
                    wanted = Some(folder.clone());
                }
            }
            for file in &listing.files {
                if ui.selectable_label(false, name(file)).clicked() {
                    chosen = Some(file.clone());
                }
            }
            if listing.files.is_empty() {
                ui.label(RichText::new("There is no MIDI file in this folder.").size(NOTE_SIZE));
            }
        });
        if let Some(folder) = wanted {
            self.go(&folder);
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lists_what_can_be_opened() {
        let place = tempfile::tempdir().unwrap();
        for name in ["b.mid", "A.MIDI", "c.txt", ".hidden.mid"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        fs::create_dir(place.path().join("folder.mid")).unwrap();
        let listing = Listing::of(place.path());
        let names = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(
            (names(&listing.files), names(&listing.folders)),
            (vec!["A.MIDI".into(), "b.mid".into()], vec!["folder.mid".into()])
        );
        assert_eq!(Listing::of(&place.path().join("nowhere")).files, Vec::<PathBuf>::new());
    }
}
