//! Presets: those that come with the program, and the user's own, files of the user's data folder. Read and written on the window's
//! thread, a few kilobytes each, when the menu is opened or a button pressed.

use super::{theme::Palette, widgets::NOTE_SIZE};
use crate::{
    export::files::Outputs,
    params::{BarlineParams, presets::Preset},
};
use egui::{Popup, PopupCloseBehavior, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo};
use nice_plug::prelude::ParamSetter;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folder of the user's own within the data folder.
const FOLDER: &str = "presets";
const ENDING: &str = "json";
/// Longest name, in characters, and largest file, in bytes: a preset has some 4 KB, a whole project up to 64.
const MAX_NAME: usize = 60;
const MAX_FILE: u64 = 1 << 20;
const NAME_WIDTH: f32 = 150.0;

/// What the menu keeps between two frames.
#[derive(Default)]
pub struct Presets {
    own: Vec<PathBuf>,
    name: String,
    /// What was loaded or saved, or why not.
    said: Option<Result<String, String>>,
}

impl Presets {
    /// The button with its menu, and what came of the last choice. Whether something changed.
    pub fn show(&mut self, ui: &mut Ui, params: &BarlineParams, setter: &ParamSetter, data: Option<&Path>) -> bool {
        let folder = data.map(|data| data.join(FOLDER));
        let button = ui
            .button("Load / Save")
            .on_hover_text("Presets: model, chords, seed and knobs under a name. Undo brings back what was there");
        if button.clicked() {
            self.own = folder.as_deref().map(files).unwrap_or_default();
        }
        let mut chosen = None;
        Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            chosen = self.menu(ui, params, folder.as_deref());
            if chosen.is_some() {
                ui.close();
            }
        });
        let is_loaded = match chosen {
            Some(Ok((name, preset))) => {
                params.take_preset(&preset);
                params.set_values(&preset.values, setter);
                self.said = Some(Ok(format!("{name} loaded")));
                true
            }
            Some(Err(error)) => {
                self.said = Some(Err(error));
                false
            }
            None => false,
        };
        let palette = Palette::of(ui);
        if let Some(said) = &self.said {
            let (text, colour) = match said {
                Ok(text) => (text, palette.faint),
                Err(text) => (text, palette.bad),
            };
            ui.add(egui::Label::new(RichText::new(text).size(NOTE_SIZE).color(colour)).truncate());
        }
        is_loaded
    }

    /// The lists, and the row that saves. Yields what is to be loaded.
    fn menu(&mut self, ui: &mut Ui, params: &BarlineParams, folder: Option<&Path>) -> Option<Result<(String, Preset), String>> {
        let mut chosen = None;
        ScrollArea::vertical().max_height(360.0).show(ui, |ui| {
            for (name, preset) in Preset::factory() {
                if ui.button(name).on_hover_text(&preset.progression).clicked() {
                    chosen = Some(Ok((name.to_owned(), preset)));
                }
            }
            if !self.own.is_empty() {
                ui.separator();
            }
            for path in &self.own {
                let name = name_of(path);
                if ui.button(&name).on_hover_text(path.display().to_string()).clicked() {
                    chosen = Some(read(path).map(|preset| (name, preset)));
                }
            }
        });
        ui.separator();
        ui.horizontal(|ui| {
            let typed =
                ui.add(TextEdit::singleline(&mut self.name).desired_width(NAME_WIDTH).char_limit(MAX_NAME).hint_text("name"));
            typed.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Name of the preset"));
            if ui.button("Save preset").on_hover_text("Keeps the idea of now for other projects").clicked() {
                let saved = save(folder, self.name.trim(), &params.preset());
                if saved.is_ok() {
                    self.own = folder.map(files).unwrap_or_default();
                    self.name.clear();
                }
                self.said = Some(saved);
            }
        });
        chosen
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The presets in a folder, by name; none where it cannot be read.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == ENDING)).collect();
    files.sort();
    files
}

fn read(path: &Path) -> Result<Preset, String> {
    let name = name_of(path);
    let told = |reason: String| format!("{name}: {reason}");
    // Opening a pipe would wait for somebody to write into it.
    let is_small_file = |found: &fs::Metadata| found.is_file() && found.len() <= MAX_FILE;
    let found = fs::metadata(path).map_err(|e| told(e.to_string()))?;
    if !is_small_file(&found) {
        return Err(told("it is no file of a preset's size".into()));
    }
    let json = fs::read_to_string(path).map_err(|e| told(e.to_string()))?;
    Preset::from_json(&json).map_err(|e| told(e.to_string()))
}

/// Writes a preset under a name that no file has yet. Yields what to say.
fn save(folder: Option<&Path>, name: &str, preset: &Preset) -> Result<String, String> {
    let folder = folder.ok_or("this user has no folder for data")?;
    if name.is_empty() || name.starts_with('.') || name.contains(|c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c)) {
        return Err("a preset needs a name that a file can have".into());
    }
    let path = folder.join(format!("{name}.{ENDING}"));
    if path.exists() {
        return Err(format!("there is a preset {name} already; choose another name, or delete {}", path.display()));
    }
    fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    let mut outputs = Outputs::default();
    outputs.add(&path, preset.to_json().as_bytes()).and_then(|()| outputs.commit()).map_err(|e| e.to_string())?;
    Ok(format!("{name} saved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_kept_and_no_other_lost() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("deep").join(FOLDER);
        let params = BarlineParams::default();
        assert!(files(&folder).is_empty());
        save(Some(&folder), "Mine, 2", &params.preset()).unwrap();
        let bytes = fs::read(folder.join("Mine, 2.json")).unwrap();
        assert_eq!(format!("{:?}", read(&files(&folder)[0]).unwrap()), format!("{:?}", params.preset()));
        params.saved.change(|settings| settings.progression = "Em".into()).unwrap();
        for (name, reason) in [("Mine, 2", "already"), ("", "needs a name"), ("../x", "needs a name"), (".x", "needs a name")] {
            let error = save(Some(&folder), name, &params.preset()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(fs::read(folder.join("Mine, 2.json")).unwrap(), bytes);
        assert_eq!(files(&folder).len(), 1);
        assert!(save(None, "x", &params.preset()).is_err());
        fs::write(folder.join("bad.json"), "{").unwrap();
        fs::create_dir(folder.join("folder.json")).unwrap();
        assert!(read(&folder.join("bad.json")).unwrap_err().starts_with("bad: the preset was not loaded"));
        assert!(read(&folder.join("folder.json")).is_err() && read(&folder.join("missing.json")).is_err());
    }
}
