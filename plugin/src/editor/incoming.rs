//! Files that come in: dropped into the window, or a model chosen by button. A model is loaded and run on a thread of its own before it is
//! kept, because that can take seconds.

use super::{
    chooser::{Chooser, MODEL},
    theme::Palette,
    view_model::{Line, Tone},
    widgets::NOTE_SIZE,
};
use barline_drag::{CAN_CATCH, Catcher, Window};
use egui::{Context, RichText, Ui};
use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
};

/// Tries and keeps a model; yields its id, or why it is refused.
pub type Install = fn(&Path) -> Result<String, String>;

/// What has come in.
pub struct Incoming {
    catcher: Option<Catcher>,
    chooser: Chooser,
    /// A model that is being tried, by its file's name.
    tried: Option<(String, JoinHandle<Result<String, String>>)>,
    note: Option<Line>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { catcher: None, chooser: Chooser::new(MODEL), tried: None, note: None }
    }
}

impl Incoming {
    /// Takes files that are dropped into a window.
    pub fn open(&mut self, window: Option<Window>, egui: &Context) {
        let egui = egui.clone();
        self.catcher = window.filter(|_| CAN_CATCH).map(|window| Catcher::new(window, move || egui.request_repaint()));
    }

    /// The window closes.
    pub fn close(&mut self) {
        self.catcher = None;
    }

    /// The files dropped since the last frame.
    pub fn take(&self, ui: &Ui) -> Vec<PathBuf> {
        let mut paths = self.catcher.as_ref().map(Catcher::take).unwrap_or_default();
        // Nothing arrives this way yet: egui's part of the windowing library drops it.
        ui.input(|input| paths.extend(input.raw.dropped_files.iter().map(|file| file.path().to_path_buf())));
        paths
    }

    /// The button that installs a model; the file that was chosen by it.
    pub fn button(&mut self, ui: &mut Ui, home: Option<&Path>) -> Option<PathBuf> {
        let button = ui.button("Install model").on_hover_text(
            "Loads an .onnx file, and copies it into your models' folder if it plays. It can be dropped into the window, too, where \
             windows take files",
        );
        self.chooser.show(&button, home)
    }

    /// Says what became of a file.
    pub fn say(&mut self, text: String, tone: Tone) {
        self.note = Some(Line { text, tone });
    }

    /// Begins to try a model.
    pub fn install(&mut self, path: PathBuf, install: Install, egui: &Context) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if self.tried.is_some() {
            self.say(format!("{name}: wait until the model before it is tried."), Tone::Busy);
            return;
        }
        let egui = egui.clone();
        let thread = std::thread::Builder::new().name("barline-install".into()).spawn(move || {
            let result = install(&path);
            egui.request_repaint();
            result
        });
        match thread {
            Ok(thread) => {
                self.say(format!("Trying {name} …"), Tone::Busy);
                self.tried = Some((name, thread));
            }
            Err(error) => self.say(format!("{name} is not tried: {error}"), Tone::Bad),
        }
    }

    /// The id of a model that has just been installed.
    pub fn installed(&mut self) -> Option<String> {
        let (name, thread) = self.tried.take_if(|(_, thread)| thread.is_finished())?;
        let result = thread.join().unwrap_or_else(|_| Err("trying it failed".into()));
        let (line, id) = match result {
            Ok(id) => (Line { text: format!("Model {id} is installed, and chosen here."), tone: Tone::Good }, Some(id)),
            Err(why) => (Line { text: format!("{name} is not installed: {why}"), tone: Tone::Bad }, None),
        };
        self.note = Some(line);
        id
    }

    /// What became of the last file, or what would become of one that is over the window.
    pub fn show(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        if self.catcher.as_ref().is_some_and(Catcher::is_hovered) {
            let text = "Let go: a MIDI file becomes the track to accompany, a model (.onnx) is installed.";
            ui.label(RichText::new(text).size(NOTE_SIZE).color(palette.accent));
        } else if let Some(failure) = self.catcher.as_ref().and_then(Catcher::failure) {
            let text = format!("Files cannot be dropped into this window: {failure}");
            ui.label(RichText::new(text).size(NOTE_SIZE).color(palette.faint));
        } else if let Some(note) = &self.note {
            ui.label(RichText::new(&note.text).size(NOTE_SIZE).color(palette.tone(note.tone)));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The plugin may be unloaded next, and the thread's code with it.
        let _ = self.tried.take().map(|(_, thread)| thread.join());
    }
}
