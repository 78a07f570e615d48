//! Taking music away: Save .mid, dragging it out of the window, and what became of it.

use super::{
    Instance,
    release::release,
    roll_model::ENDLESS_BARS,
    save::{self, Occasion, Which},
    theme::Palette,
    view_model::{LaneView, Tone, ViewModel},
    widgets::{NOTE_SIZE, set},
};
use barline_drag::{Drag, Ending, KEEPS_RELEASE, Progress, Window, drag_out};
use egui::{Button, CursorIcon, Label, OpenUrl, Response, RichText, Role, Sense, Ui, WidgetInfo};
use nice_plug::prelude::ParamSetter;
use std::path::{Path, PathBuf};

const HOW_TO_DRAG: &str =
    "Hold the mouse button and drag: onto a track of the host, into a file manager, or wherever files can be dropped";

/// What became of the last file.
#[derive(Default)]
pub struct TakeAway {
    last: Option<Result<PathBuf, String>>,
    drag: Option<(Drag, Which)>,
    /// What was dropped somewhere and sounds twice unless it is muted here.
    dropped: Option<Which>,
    /// How the last drag ended, if not well.
    note: Option<String>,
}

impl TakeAway {
    /// The menu, and the path of the last file with what can be done with it.
    pub fn show(&mut self, ui: &mut Ui, instance: &Instance, view: &ViewModel, window: Option<Window>, setter: &ParamSetter) {
        if view.shown().is_none() {
            return;
        }
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
            self.last = Some(write(instance.music.as_deref(), which, instance, view));
        }
        let handle = handle(ui.add(Button::new("Drag .mid").sense(Sense::click_and_drag())), "Drag the whole pattern");
        self.dragged(&handle, Which::Pattern, instance, view, window);
        self.offer(ui, instance, &view.lanes, setter);
        match &self.last {
            Some(Ok(path)) => {
                if ui.button("Copy path").on_hover_text("Puts the file's path on the clipboard").clicked() {
                    ui.ctx().copy_text(path.display().to_string());
                }
                // The offer after a drop needs the room.
                if self.dropped.is_some() {
                    return;
                }
                let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
                if ui.button("Open folder").on_hover_text(&folder).clicked() {
                    ui.ctx().open_url(OpenUrl::same_tab(folder));
                }
                let text = RichText::new(path.display().to_string()).size(NOTE_SIZE).color(Palette::of(ui).faint);
                ui.add(Label::new(text).truncate());
            }
            Some(Err(error)) => {
                ui.label(RichText::new(error).size(NOTE_SIZE).color(Palette::of(ui).tone(Tone::Bad)));
            }
            None => {}
        }
    }

    /// Begins to drag what a handle stands for, when it is dragged.
    pub fn dragged(&mut self, handle: &Response, which: Which, instance: &Instance, view: &ViewModel, window: Option<Window>) {
        if handle.clicked() {
            self.note = Some(format!("{HOW_TO_DRAG}."));
        }
        if !handle.drag_started() {
            return;
        }
        (self.dropped, self.note) = (None, None);
        let begun = save::scratch().map_err(|error| error.to_string()).and_then(|folder| {
            let path = write(Some(&folder), which, instance, view)?;
            self.last = Some(Ok(path.clone()));
            drag_out(window, &[path]).map_err(|error| error.to_string())
        });
        match begun {
            Ok(drag) => self.drag = Some((drag, which)),
            Err(error) => self.note = Some(error),
        }
    }

    /// Follows the drag that has begun; whether there is one.
    pub fn follow(&mut self, ui: &Ui) -> bool {
        let Some((drag, which)) = &self.drag else { return false };
        let ending = match drag.progress() {
            Progress::Held { welcome } => {
                ui.ctx().set_cursor_icon(if welcome { CursorIcon::Copy } else { CursorIcon::Grabbing });
                return true;
            }
            Progress::Dropped => return true,
            Progress::Ended(ending) => ending,
        };
        if KEEPS_RELEASE {
            release(ui.ctx());
        }
        match ending {
            Ending::Taken => self.dropped = Some(*which),
            Ending::Nowhere => {}
            Ending::Refused => self.note = Some("No MIDI file is taken there.".into()),
            Ending::NoAnswer => self.note = Some("The program that the file was dragged to does not answer.".into()),
            Ending::Failed(reason) => self.note = Some(format!("The drag failed: {reason}")),
        }
        self.drag = None;
        false
    }

    /// Lets go of what is dragged: the window closes.
    pub fn let_go(&mut self) {
        self.drag = None;
    }

    /// Offers to mute here what was dropped elsewhere, and says how a drag failed. In the row itself: a row that comes and goes would move
    /// what is under the mouse.
    fn offer(&mut self, ui: &mut Ui, instance: &Instance, lanes: &[LaneView], setter: &ParamSetter) {
        if let Some(note) = &self.note {
            ui.label(RichText::new(note).size(NOTE_SIZE).color(Palette::of(ui).tone(Tone::Busy)));
        }
        let Some(which) = self.dropped else { return };
        let (name, mute) = match which {
            Which::Lane(idx) if lanes.len() > 1 => {
                (lanes.get(idx).map_or("this lane", |lane| lane.name.as_str()), instance.params.lanes().into_iter().nth(idx))
            }
            _ => ("Barline", None),
        };
        let why =
            format!("It was dropped, and {name} goes on playing the same notes: mute it here, so that nothing sounds twice");
        if ui.button(format!("Mute {name}")).on_hover_text(why).clicked() {
            match mute {
                Some((lane, _)) => set(&lane.mute, true, setter),
                None => set(&instance.params.bypass, true, setter),
            }
            self.dropped = None;
        }
        if ui.button("Keep both").on_hover_text("Barline goes on playing what was dropped").clicked() {
            self.dropped = None;
        }
    }
}

/// Gives something to drag its cursor, its tooltip and its name aloud.
pub fn handle(response: Response, name: &str) -> Response {
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    response.on_hover_cursor(CursorIcon::Grab).on_hover_text(format!("{name} out of the window as .mid\n{HOW_TO_DRAG}"))
}

/// Writes what sounds now into a folder.
fn write(folder: Option<&Path>, which: Which, instance: &Instance, view: &ViewModel) -> Result<PathBuf, String> {
    let folder = folder.ok_or("there is no folder for the user's music")?;
    let (pattern, knobs) = view.shown().ok_or("there is no pattern yet")?;
    let (meter, tempo) = (instance.meter)();
    let (first_bar, lanes) = (view.roll.first_bar, view.lanes.as_slice());
    let song = save::song(pattern, which, &Occasion { knobs, meter, tempo, first_bar, n_endless_bars: ENDLESS_BARS, lanes });
    save::write(folder, &save::stem(pattern, which, lanes), &song).map_err(|error| error.to_string())
}
