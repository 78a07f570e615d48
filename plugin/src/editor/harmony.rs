//! The progression: a field to type it in and presets to start from.

use super::progressions::PRESETS;
use crate::params::Saved;
use egui::{Key, Role, TextEdit, TextStyle, Ui, WidgetInfo};

/// The field and the presets. Yields the progression that the user wants now; `draft` holds what is typed.
pub fn progression(ui: &mut Ui, saved: &Saved, draft: &mut Option<String>) -> Option<String> {
    let mut wanted = None;
    ui.menu_button("Presets", |ui| {
        for (name, progression) in PRESETS {
            if ui.button(name).on_hover_text(progression).clicked() {
                *draft = None;
                wanted = Some(progression.to_owned());
            }
        }
    });
    let current = saved.snapshot().settings.progression;
    let mut text = draft.clone().unwrap_or_else(|| current.clone());
    let edit =
        TextEdit::singleline(&mut text).desired_width(f32::INFINITY).font(TextStyle::Monospace).hint_text("C | Am | F | G");
    let response = ui.add(edit);
    response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Progression"));
    let response = response
        .on_hover_text("One or two chords per bar, bars divided by \u{201c}|\u{201d}; N.C. is no chord, % repeats a bar.");
    if response.changed() {
        *draft = Some(text.clone());
        wanted = Some(text);
    } else if response.lost_focus() && ui.input(|i| i.key_pressed(Key::Escape)) {
        *draft = None;
    } else if !response.has_focus() && draft.as_ref() == Some(&current) {
        // It was taken: from now on the field shows what is saved.
        *draft = None;
    }
    wanted
}
