//! The end of a drag that the system led: on Windows and macOS it keeps for itself that the mouse button was let go, and the page would
//! believe that it is held.

use egui::{Context, Event, Modifiers, Plugin, PointerButton, RawInput};

/// Tells the page with its next frame.
pub fn release(egui: &Context) {
    egui.plugin_or_default::<Release>().lock().is_due = true;
    egui.request_repaint();
}

#[derive(Default)]
struct Release {
    is_due: bool,
}

impl Plugin for Release {
    fn debug_name(&self) -> &'static str {
        "release"
    }

    fn input_hook(&mut self, egui: &Context, input: &mut RawInput) {
        if std::mem::take(&mut self.is_due)
            && let Some(pos) = egui.pointer_latest_pos()
        {
            let (button, modifiers) = (PointerButton::Primary, Modifiers::NONE);
            input.events.push(Event::PointerButton { pos, button, pressed: false, modifiers });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::{Button, Sense, pos2};

    #[test]
    fn the_button_is_let_go_and_nothing_is_clicked() {
        let egui = Context::default();
        let frame = |events: Vec<Event>| {
            let mut seen = None;
            let mut output = egui.run_ui(RawInput { events, ..RawInput::default() }, |ui| {
                let handle = ui.add(Button::new("a handle to drag by").sense(Sense::click_and_drag()));
                seen =
                    Some((handle.rect.center(), handle.dragged(), handle.clicked(), ui.input(|input| input.pointer.any_down())));
            });
            output.textures_delta.clear();
            seen.unwrap()
        };
        let (pos, ..) = frame(vec![]);
        let (button, modifiers) = (PointerButton::Primary, Modifiers::NONE);
        frame(vec![Event::PointerMoved(pos), Event::PointerButton { pos, button, pressed: true, modifiers }]);
        let (_, is_dragged, _, is_down) = frame(vec![Event::PointerMoved(pos2(pos.x + 30.0, pos.y))]);
        assert!(is_dragged && is_down);
        let (_, _, _, is_down) = frame(vec![]);
        assert!(is_down, "it is still held");
        release(&egui);
        let (_, is_dragged, is_clicked, is_down) = frame(vec![]);
        assert_eq!((is_dragged, is_clicked, is_down), (false, false, false));
    }
}
