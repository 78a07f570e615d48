//! A chooser of files in the page itself: a plugin has no dialogue of the system's that works in every host.

use super::widgets::NOTE_SIZE;
use egui::{Popup, PopupCloseBehavior, Response, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Endings of MIDI files.
pub const MIDI: &[&str] = &["mid", "midi"];
/// Endings of models.
pub const MODEL: &[&str] = &["onnx"];
/// Entries shown of a folder.
const MAX_ENTRIES: usize = 500;
const WIDTH: f32 = 360.0;

/// Whether a file's name has one of these endings.
#[must_use]
pub fn ends(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| endings.contains(&ending.as_str()))
}

/// Folders and files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listing {
    folder: PathBuf,
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Listing {
    /// Reads a folder, hidden entries left out; empty where it cannot be read.
    fn of(folder: &Path, endings: &[&str]) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_hidden = |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect();
        all.sort();
        let is_one = |path: &&PathBuf| ends(path, endings) && path.is_file();
        let folders = all.iter().filter(|path| path.is_dir()).take(MAX_ENTRIES).cloned().collect();
        let files = all.iter().filter(is_one).take(MAX_ENTRIES).cloned().collect();
        Self { folder: folder.into(), folders, files }
    }
}

/// What the chooser keeps between two frames.
pub struct Chooser {
    endings: &'static [&'static str],
    listing: Option<Listing>,
    path: String,
}

impl Chooser {
    /// A chooser of files with these endings.
    #[must_use]
    pub fn new(endings: &'static [&'static str]) -> Self {
        Self { endings, listing: None, path: String::new() }
    }

    /// Opens under a button that is clicked, in the folder last seen or at home. Yields the file that is chosen.
    pub fn show(&mut self, button: &Response, home: Option<&Path>) -> Option<PathBuf> {
        if button.clicked() {
            let folder = self.listing.as_ref().map(|listing| listing.folder.clone());
            let folder = folder.or_else(|| home.filter(|home| home.is_dir()).map(Path::to_path_buf));
            self.go(&folder.unwrap_or_else(|| PathBuf::from("/")));
        }
        let popup = Popup::menu(button).close_behavior(PopupCloseBehavior::CloseOnClickOutside);
        let shown = popup.show(|ui| {
            let chosen = self.choose(ui);
            if chosen.is_some() {
                ui.close();
            }
            chosen
        });
        shown?.inner
    }

    fn go(&mut self, folder: &Path) {
        self.path = folder.display().to_string();
        self.listing = Some(Listing::of(folder, self.endings));
    }

    /// A path to type or paste, and the folder to walk through.
    fn choose(&mut self, ui: &mut Ui) -> Option<PathBuf> {
        let listing = self.listing.clone()?;
        let (mut chosen, mut wanted) = (None, None);
        ui.set_min_width(WIDTH);
        let edit = ui.add(TextEdit::singleline(&mut self.path).desired_width(WIDTH));
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
                let endings = self.endings.join(" or .");
                ui.label(RichText::new(format!("There is no .{endings} file in this folder.")).size(NOTE_SIZE));
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
        let listing = Listing::of(place.path(), MIDI);
        let names = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(
            (names(&listing.files), names(&listing.folders)),
            (vec!["A.MIDI".into(), "b.mid".into()], vec!["folder.mid".into()])
        );
        assert_eq!(Listing::of(&place.path().join("nowhere"), MIDI).files, Vec::<PathBuf>::new());
    }
}
