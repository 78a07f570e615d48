//! The editor: one egui page over a plain view model. Runs on the window's thread; reads the parameters, the engine's status and
//! the port, changes parameters through the host and settings through [`Saved`](crate::params::Saved).

mod controls;
mod roll;
pub mod view_model;

use crate::{
    engine::{Port, Registration},
    music::time::TimeSignature,
    params::{BarlineParams, ChordSource},
};
use egui::{Align, Color32, Layout, RichText, Ui};
use nice_plug::{
    context::gui::GuiContext,
    editor::dpi::LogicalSize,
    prelude::{Param, ParamSetter},
};
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, Frame, NiceEguiApp, RepaintNotifier, baseview::HandlerError,
    create_egui_editor,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
pub use view_model::ModelChoice;
use view_model::{Tone, ViewModel};

/// Size of the page, in logical points.
const SIZE: LogicalSize<f32> = LogicalSize { width: 880.0, height: 740.0 };
/// Time between two frames while something moves.
const MOVING: Duration = Duration::from_millis(33);
/// Time between two frames while nothing does.
const STILL: Duration = Duration::from_millis(250);

/// What the editor shows and changes of an instance.
pub struct Instance {
    /// Parameters and what is saved.
    pub params: Arc<BarlineParams>,
    /// Where the player is.
    pub port: Arc<Port>,
    /// The engine's view; gone when the plugin is.
    pub registration: Weak<Registration>,
    /// The host's meter.
    pub meter: Box<dyn Fn() -> TimeSignature + Send + Sync>,
    /// Ends every note that sounds.
    pub panic: Box<dyn Fn() + Send + Sync>,
    /// Lists the models to choose from.
    pub models: fn() -> Vec<ModelChoice>,
}

/// The editor of an instance.
pub fn create(instance: Instance) -> Option<EguiEditor<Page>> {
    let settings = EguiNiceSettings::new().with_tile("Barline");
    let page = Page { instance, gui: None, view: ViewModel::default(), draft: None };
    create_egui_editor(EguiEditorState::from_size(SIZE, 1.0), RepaintNotifier::new(), settings, page)
}

/// The page: views and what they need between two frames.
pub struct Page {
    instance: Instance,
    gui: Option<GuiContext>,
    view: ViewModel,
    /// The progression while it is typed and cannot be read, or has the focus.
    draft: Option<String>,
}

impl NiceEguiApp for Page {
    fn build(&mut self, egui: egui::Context, gui: GuiContext, _frame: &mut Frame) -> Result<(), HandlerError> {
        style(&egui);
        self.gui = Some(gui);
        self.view.models = (self.instance.models)();
        Ok(())
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut Frame) {
        let Some(gui) = self.gui.clone() else { return };
        let status = self.instance.registration.upgrade().map(|registration| registration.status()).unwrap_or_default();
        self.view.update(&self.instance, &status);
        let setter = gui.param_setter();
        egui::CentralPanel::default().show(ui, |ui| self.page(ui, &setter));
        ui.ctx().request_repaint_after(if self.view.is_moving { MOVING } else { STILL });
    }

    fn editor_closed(&mut self) {
        self.gui = None;
    }
}

fn style(egui: &egui::Context) {
    egui.set_theme(egui::Theme::Dark);
    egui.all_styles_mut(|style| {
        style.spacing.item_spacing = egui::vec2(8.0, 6.0);
        style.visuals.panel_fill = Color32::from_rgb(0x1b, 0x1d, 0x22);
        style.visuals.override_text_color = Some(Color32::from_rgb(0xd8, 0xda, 0xdf));
        style.visuals.selection.bg_fill = ACCENT.gamma_multiply(0.7);
    });
}

/// The page's accent: notes, filled sliders.
const ACCENT: Color32 = Color32::from_rgb(0x4f, 0x9d, 0xd9);
/// The lanes' own colours.
const LANES: [Color32; 5] = [
    Color32::from_rgb(0xe0, 0x7a, 0x5f),
    Color32::from_rgb(0xb5, 0x8b, 0xe0),
    ACCENT,
    Color32::from_rgb(0x6f, 0xc2, 0x8b),
    Color32::from_rgb(0xe3, 0xc2, 0x5c),
];

/// The colour of a lane among `n_lanes`; a melody has the accent.
fn lane_colour(lane_idx: usize, n_lanes: usize) -> Color32 {
    if n_lanes <= 1 { ACCENT } else { LANES.get(lane_idx).copied().unwrap_or(FAINT) }
}

/// Size of hints and messages.
const NOTE_SIZE: f32 = 11.5;
/// Secondary text.
const FAINT: Color32 = Color32::from_rgb(0x8a, 0x8f, 0x99);

fn colour(tone: Tone) -> Color32 {
    match tone {
        Tone::Good => Color32::from_rgb(0x63, 0xc7, 0x7c),
        Tone::Busy => Color32::from_rgb(0xe0, 0xb0, 0x4a),
        Tone::Bad => Color32::from_rgb(0xe8, 0x6a, 0x5c),
        Tone::Plain => FAINT,
    }
}

impl Page {
    fn page(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        self.header(ui, setter);
        ui.separator();
        self.source_rows(ui, setter);
        roll::show(ui, &self.view);
        ui.add_space(2.0);
        controls::lanes(ui, &self.instance.params, &self.view.lanes, setter);
        controls::show(ui, &self.instance.params, setter);
        ui.with_layout(Layout::bottom_up(Align::Min), |ui| self.messages(ui));
    }

    fn header(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        ui.horizontal(|ui| {
            ui.label(RichText::new("Barline").size(20.0).strong());
            ui.label(RichText::new(env!("CARGO_PKG_VERSION")).color(FAINT));
            ui.add_space(12.0);
            let readiness = &self.view.readiness;
            let (dot, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), egui::Sense::hover());
            ui.painter().circle_filled(dot.center(), 4.5, colour(readiness.tone));
            ui.label(RichText::new(&readiness.text));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let panic = ui.button("Panic").on_hover_text("End every note that sounds now");
                if panic.clicked() {
                    (self.instance.panic)();
                }
                controls::toggle(ui, &self.instance.params.bypass, setter);
            });
        });
    }

    fn source_rows(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        ui.horizontal(|ui| {
            controls::label(ui, "Model");
            self.model_choice(ui, setter);
            ui.label(RichText::new(&self.view.engine).color(FAINT)).on_hover_text(&self.view.engine_details);
        });
        ui.horizontal(|ui| {
            controls::label(ui, "Chords");
            controls::choice(ui, &self.instance.params.chord_source, setter, 150.0);
            if self.instance.params.chord_source.value() == ChordSource::Midi {
                let heard = self.view.heard.as_deref().unwrap_or("none yet: hold a chord at the MIDI input");
                ui.label(format!("Chord heard: {heard}"));
            } else {
                self.progression(ui, setter);
            }
        });
        let (text, tone) = match &self.view.progression_error {
            Some(error) => (error.as_str(), Tone::Bad),
            None => {
                ("One or two chords per bar, bars divided by \u{201c}|\u{201d}; N.C. is no chord, % repeats a bar.", Tone::Plain)
            }
        };
        ui.horizontal(|ui| {
            controls::label(ui, "");
            ui.label(RichText::new(text).size(NOTE_SIZE).color(colour(tone)));
        });
    }

    fn model_choice(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let saved = &self.instance.params.saved;
        let current = saved.snapshot().settings.model;
        let name = self.view.models.iter().find(|m| m.id == current).map_or(current.as_str(), |m| m.name.as_str());
        let mut chosen = None;
        egui::ComboBox::from_id_salt("model").selected_text(name).width(150.0).show_ui(ui, |ui| {
            for model in &self.view.models {
                if ui.selectable_label(model.id == current, &model.name).on_hover_text(&model.about).clicked() {
                    chosen = Some(model.id.clone());
                }
            }
        });
        if let Some(id) = chosen.filter(|id| *id != current) {
            // A model name cannot make the progression wrong.
            let _ = saved.change(|settings| settings.model = id);
            self.settings_changed(setter);
        }
    }

    fn progression(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let saved = &self.instance.params.saved;
        let mut text = self.draft.clone().unwrap_or_else(|| saved.snapshot().settings.progression);
        let edit = egui::TextEdit::singleline(&mut text)
            .desired_width(f32::INFINITY)
            .font(egui::TextStyle::Monospace)
            .hint_text("C | Am | F | G");
        let response = ui.add(edit);
        if response.changed() {
            let result = saved.change(|settings| settings.progression.clone_from(&text));
            self.view.progression_error = result.as_ref().err().map(ToString::to_string);
            self.draft = Some(text);
            if result.is_ok() {
                self.settings_changed(setter);
            }
        } else if !response.has_focus() && self.view.progression_error.is_none() {
            self.draft = None;
        }
        if response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Escape)) {
            self.draft = None;
            self.view.progression_error = None;
        }
    }

    /// Tells the host that the project has changed: nice-plug 0.4.2 does so for parameters only.
    fn settings_changed(&self, setter: &ParamSetter) {
        let take = &self.instance.params.take;
        setter.begin_set_parameter(take);
        setter.set_parameter(take, take.unmodulated_plain_value());
        setter.end_set_parameter(take);
        if let Some(registration) = self.instance.registration.upgrade() {
            registration.nudge();
        }
    }

    fn messages(&self, ui: &mut Ui) {
        for message in self.view.messages.iter().rev() {
            ui.label(RichText::new(&message.text).size(NOTE_SIZE).color(colour(message.tone)));
        }
    }
}

/// A seed that differs from one press to the next.
fn fresh_seed(params: &BarlineParams) -> i32 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let mixed = nanos.wrapping_mul(0x9e37_79b1) >> 16;
    let seed = i32::try_from(mixed).unwrap_or(0);
    if seed == params.seed.value() { (seed + 1) % (crate::params::MAX_SEED + 1) } else { seed }
}
