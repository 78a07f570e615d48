//! The editor: one egui page over a plain view model. Runs on the window's thread; reads the parameters, the engine's status and
//! the port, changes parameters through the host and settings through [`Saved`](crate::params::Saved).

mod camera;
mod chooser;
mod chord_lane;
mod chord_model;
mod controls;
mod given;
mod harmony;
mod hint;
mod incoming;
mod lanes;
mod learning;
mod pencil;
mod pencil_model;
mod preferences;
mod presets;
mod primer;
mod progressions;
mod release;
mod roll;
mod roll_model;
mod routing;
mod save;
mod strips;
mod takeaway;
mod takes;
mod takes_model;
mod theme;
pub mod view_model;
mod widgets;
mod window;

use crate::{
    engine::{Listener, Port, Status},
    generate::Retake,
    music::time::{Tempo, TimeSignature},
    params::{BarlineParams, ChordSource, Edit, MAX_SEED, Stepped},
};
use barline_drag::Window;
use chooser::{MIDI, MODEL, ends};
use chord_lane::ChordLane;
use egui::{Align, Button, CentralPanel, Color32, Event, Key, Layout, Modifiers, Panel, RichText, Role, Ui, WidgetInfo};
use given::Given;
use hint::Hint;
use incoming::Incoming;
pub use incoming::Install;
use learning::Learning;
use nice_plug::{
    context::gui::GuiContext,
    editor::dpi::LogicalSize,
    prelude::{Param, ParamSetter, ResizeHint},
};
use nice_plug_egui::{
    EguiEditorState, EguiNiceSettings, Frame, GlConfig, GraphicsConfig, KeyCapture, RepaintNotifier, baseview::WindowSize,
    create_egui_editor,
};
use pencil::Pencil;
use preferences::Preferences;
use presets::Presets;
use primer::Primer;
use roll::Roll;
use save::Which;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use strips::{Change, Offer};
use takeaway::TakeAway;
use takes::{TakeStrip, Wish};
use theme::Palette;
pub use view_model::ModelChoice;
use view_model::{Tone, ViewModel};
use widgets::NOTE_SIZE;
pub use window::PageEditor;

/// Size of the page before it is changed, and the least one, in logical points.
const SIZE: LogicalSize<f32> = LogicalSize { width: 1060.0, height: 850.0 };
const MIN_SIZE: LogicalSize<f32> = LogicalSize { width: 960.0, height: 700.0 };
/// Time without a change of the window's size after which it is remembered.
const SETTLED: Duration = Duration::from_secs(1);
/// Time between two frames while something moves.
const MOVING: Duration = Duration::from_millis(16);
/// Most of it while the playhead moves, which needs no frame before it reaches another pixel.
const PLAYING: Duration = Duration::from_millis(50);
/// Time between two frames while the engine makes a pattern, of which it tells when it is there: where software draws, frames take the
/// cores that the network runs on.
const BUSY: Duration = Duration::from_millis(50);
/// Time between two frames while nothing does.
const STILL: Duration = Duration::from_millis(250);

/// What the editor shows and changes of an instance.
pub struct Instance {
    /// Parameters and what is saved.
    pub params: Arc<BarlineParams>,
    /// Where the player is.
    pub port: Arc<Port>,
    /// The engine's view.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// Has the engine look at what changed.
    pub nudge: Box<dyn Fn() + Send + Sync>,
    /// Has the engine tell of each new pattern, or nobody.
    pub listen: Box<dyn Fn(Option<Listener>) + Send + Sync>,
    /// The host's meter and tempo.
    pub meter: Box<dyn Fn() -> (TimeSignature, Tempo) + Send + Sync>,
    /// Notes that have left so far.
    pub n_sent: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Ends every note that sounds.
    pub panic: Box<dyn Fn() + Send + Sync>,
    /// Lists the models to choose from.
    pub models: fn() -> Vec<ModelChoice>,
    /// Installs a model.
    pub install: Install,
    /// Where preferences are kept.
    pub preferences: Option<PathBuf>,
    /// Where music is saved.
    pub music: Option<PathBuf>,
}

/// The editor of an instance.
pub fn create(instance: Instance) -> Option<PageEditor> {
    let resizing = ResizeHint::resizable().with_min_logical_size(MIN_SIZE);
    let gl_config = GlConfig { depth_bits: 0, stencil_bits: 0, ..GlConfig::default() };
    // There are no gradients to dither, and where software draws it doubles the cost of a pixel.
    let graphics = GraphicsConfig { gl_config, dithering: false, ..GraphicsConfig::default() };
    let settings = EguiNiceSettings::new().with_tile("Barline").with_resize_hint(resizing).with_graphics_config(graphics);
    let repaint = RepaintNotifier::new();
    let page = Page::new(instance);
    let (width, height) = page.preferences.size;
    let state = EguiEditorState::from_size(LogicalSize { width, height }, 1.0);
    PageEditor::new(page, repaint.clone(), |shown| create_egui_editor(state, repaint, settings, shown))
}

/// The page: views and what they need between two frames.
pub struct Page {
    instance: Instance,
    gui: Option<GuiContext>,
    view: ViewModel,
    roll: Roll,
    pencil: Pencil,
    preferences: Preferences,
    /// The preferences changed then and are not written yet.
    changed: Option<Instant>,
    take_away: TakeAway,
    /// The window that it is in.
    window: Option<Window>,
    learning: Learning,
    hint: Hint,
    takes: TakeStrip,
    given: Given,
    primer: Primer,
    incoming: Incoming,
    presets: Presets,
    chord_lane: ChordLane,
    /// The progression while it is typed and cannot be read, or has the focus.
    draft: Option<String>,
    /// Why the last re-roll or lock was not done.
    refused: Option<String>,
    /// When the last frame began, and the pause that was to follow it.
    last_frame: Option<(Instant, Duration)>,
}

impl Page {
    /// The page of an instance.
    #[must_use]
    pub fn new(instance: Instance) -> Self {
        let (view, roll) = (ViewModel::default(), Roll::default());
        let preferences = Preferences::load(instance.preferences.as_deref());
        let (take_away, learning) = (TakeAway::default(), Learning::default());
        Self {
            instance,
            gui: None,
            view,
            roll,
            pencil: Pencil::default(),
            preferences,
            changed: None,
            take_away,
            window: None,
            learning,
            hint: Hint::default(),
            takes: TakeStrip::default(),
            given: Given::default(),
            primer: Primer::default(),
            incoming: Incoming::default(),
            presets: Presets::default(),
            chord_lane: ChordLane::default(),
            draft: None,
            refused: None,
            last_frame: None,
        }
    }

    /// A window has opened on it.
    fn opened(&mut self, egui: &egui::Context, gui: GuiContext, frame: &Frame, repaint: RepaintNotifier) {
        self.open(egui);
        (self.instance.listen)(Some(Box::new(move || repaint.request_repaint())));
        self.window = Window::of(frame.baseview_window());
        self.incoming.open(self.window, egui);
        self.gui = Some(gui);
    }

    /// A frame of the window.
    fn frame(&mut self, ui: &mut Ui, frame: &mut Frame) {
        let Some(gui) = self.gui.clone() else { return };
        frame.set_clear_color(Palette::of(ui).ground());
        let space = nice_plug_egui::Key::Character(" ".into());
        frame.set_key_capture(if ui.ctx().text_edit_focused() {
            KeyCapture::CaptureAll
        } else {
            KeyCapture::IgnoreKeys(vec![space])
        });
        self.show(ui, &gui.param_setter());
    }

    fn resized(&mut self, size: WindowSize) {
        #[expect(clippy::cast_possible_truncation, reason = "the size of a screen")]
        let size = (size.logical.width as f32, size.logical.height as f32);
        if self.preferences.size != size {
            self.preferences.size = size;
            self.changed = Some(Instant::now());
        }
    }

    /// The window has closed: its threads end.
    fn closed(&mut self) {
        (self.instance.listen)(None);
        (self.gui, self.window) = (None, None);
        self.take_away.let_go();
        self.incoming.close();
    }

    /// Prepares for a window.
    pub fn open(&mut self, egui: &egui::Context) {
        theme::set_up(egui, self.preferences.theme());
        self.view.models = (self.instance.models)();
    }

    /// A frame of the page.
    pub fn show(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let began = Instant::now();
        self.view.update(&self.instance, &(self.instance.status)());
        self.keyboard(ui, setter);
        for path in self.incoming.take(ui) {
            self.bring_in(path, ui, setter);
        }
        if let Some(id) = self.incoming.installed() {
            self.view.models = (self.instance.models)();
            self.choose_model(id, setter);
        }
        let mut offers = Vec::new();
        // The window is cleared in the panels' colour; painting it again would cost as much as everything else where software draws.
        let bare = egui::Frame::side_top_panel(ui.style()).fill(Color32::TRANSPARENT);
        Panel::top("source").frame(bare).show(ui, |ui| {
            self.header(ui, setter);
            self.source_rows(ui, setter);
            if !self.preferences.hint_read && self.hint.show(ui) {
                self.preferences.hint_read = true;
                self.preferences.save(self.instance.preferences.as_deref());
            }
        });
        Panel::bottom("controls").frame(bare).show(ui, |ui| {
            ui.add_space(2.0);
            let mut handles = Vec::new();
            offers.extend(lanes::show(ui, &self.instance.params, &self.view, setter, &mut handles));
            for (lane_idx, handle) in handles {
                self.take_away.dragged(&handle, Which::Lane(lane_idx), &self.instance, &self.view, self.window);
            }
            controls::show(ui, &self.instance.params, setter);
            self.incoming.show(ui);
            self.messages(ui);
        });
        if self.preferences.explains {
            Panel::right("learning")
                .frame(bare)
                .default_size(learning::WIDTH)
                .min_size(learning::MIN_WIDTH)
                .show(ui, |ui| self.learning.show(ui, &self.view));
        }
        CentralPanel::default().frame(bare).show(ui, |ui| {
            self.roll_bar(ui, setter);
            if let Some(progression) = self.chord_lane.show(ui, &self.instance.params, &self.view, self.roll.time) {
                self.draft = None;
                self.set_progression(progression.to_string(), setter);
            }
            let spacing = ui.spacing().item_spacing.y;
            let below = strips::height(&self.view) + takes::HEIGHT + 2.0 * spacing;
            let (bar, edit) = self.roll.show(ui, &self.view, &mut self.pencil, below);
            if let Some((lane_idx, edit)) = edit {
                self.edit(lane_idx, edit, setter);
            }
            let (offer, bar_of_strip) = strips::show(ui, &self.view, self.roll.time);
            offers.extend(offer);
            if let Some(wish) = self.takes.show(ui, &self.view, &self.instance.params.saved) {
                self.fulfil(&wish, setter);
            }
            self.learning.point_at(bar.or(bar_of_strip));
        });
        self.aim(&offers);
        for offer in offers.iter().filter(|offer| offer.is_taken) {
            self.change(offer.change, setter);
        }
        if self.changed.is_some_and(|at| at.elapsed() > SETTLED) {
            self.changed = None;
            self.preferences.save(self.instance.preferences.as_deref());
        }
        let playing = || {
            let pixel_time = self.roll.pixel_time(&self.view.roll, (self.instance.meter)().1).min(PLAYING);
            // The pause begins when this is drawn, which takes about as long as the last time.
            let drawn_in = self.last_frame.map_or(Duration::ZERO, |(at, pause)| (began - at).saturating_sub(pause));
            pixel_time.saturating_sub(drawn_in).max(MOVING)
        };
        let pause = if self.take_away.follow(ui) {
            MOVING
        } else if self.view.is_busy {
            BUSY
        } else if self.view.is_playing {
            playing()
        } else {
            STILL
        };
        self.last_frame = Some((began, pause));
        ui.ctx().request_repaint_after(pause);
    }

    /// Undo and redo by keyboard. The space bar is the host's but for typing.
    fn keyboard(&mut self, ui: &Ui, setter: &ParamSetter) {
        if ui.ctx().text_edit_focused() {
            return;
        }
        let is_space = |event: &Event| matches!(event, Event::Key { key: Key::Space, .. });
        let (undo, redo) = ui.input_mut(|input| {
            input.events.retain(|event| !is_space(event));
            // With Shift first: a shortcut without it is met by one with it, too.
            let redo =
                input.consume_key(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z) || input.consume_key(Modifiers::COMMAND, Key::Y);
            (input.consume_key(Modifiers::COMMAND, Key::Z), redo)
        });
        if undo {
            self.step_back(setter);
        } else if redo {
            self.step_forth(setter);
        }
    }

    fn step_back(&mut self, setter: &ParamSetter) {
        if self.view.can_undo.0 {
            let step = self.instance.params.undo();
            self.stepped(&step, setter);
        }
    }

    fn step_forth(&mut self, setter: &ParamSetter) {
        if self.view.can_undo.1 {
            let step = self.instance.params.redo();
            self.stepped(&step, setter);
        }
    }

    /// Sets what a step brought of parameters.
    fn stepped(&mut self, step: &Stepped, setter: &ParamSetter) {
        self.instance.params.set_values(&step.values, setter);
        if let Some((seed, take)) = step.seed {
            widgets::set(&self.instance.params.seed, seed, setter);
            widgets::set(&self.instance.params.take, take, setter);
        }
        self.refused = None;
        self.settings_changed(setter);
    }

    /// Tells the engine what a click would re-roll, so that it can make it ahead; where the mouse is elsewhere, everything.
    fn aim(&self, offers: &[Offer]) {
        let (lanes, bars) =
            offers.iter().find_map(|offer| offer.change.rerolls()).unwrap_or((Retake::ALL_TRACKS, Retake::ALL_BARS));
        self.instance.params.aim_at(lanes, bars);
    }

    /// Re-rolls, locks or unlocks.
    fn change(&mut self, change: Change, setter: &ParamSetter) {
        let params = &self.instance.params;
        let result = match change {
            Change::Reroll { lanes, bars } => params.reroll(lanes, bars),
            Change::Lock { lanes, bars } => match self.view.shown() {
                Some((pattern, _)) => params.lock(lanes, bars, pattern),
                None => return,
            },
            Change::Unlock { lanes, bars } => {
                params.unlock(lanes, bars);
                Ok(())
            }
        };
        self.refused = result.err().map(|error| error.to_string());
        self.settings_changed(setter);
    }

    /// Goes to a take, keeps it or morphs to it.
    fn fulfil(&mut self, wish: &Wish, setter: &ParamSetter) {
        let params = &self.instance.params;
        match wish {
            Wish::GoTo(address) => {
                let step = params.go_to(address);
                self.stepped(&step, setter);
            }
            Wish::MorphTo(address) => {
                widgets::set(&params.seed_b, i32::try_from(address.seed).unwrap_or(MAX_SEED), setter);
                (self.instance.nudge)();
            }
            Wish::Keep(address) => {
                self.refused = params.keep_or_give_up(address).err().map(|error| error.to_string());
                self.settings_changed(setter);
            }
        }
    }

    /// Changes a note by hand.
    fn edit(&mut self, lane_idx: usize, edit: Edit, setter: &ParamSetter) {
        let Some((pattern, _)) = self.view.shown() else { return };
        let result = self.instance.params.edit(lane_idx, edit, pattern, self.view.roll.meter);
        self.refused = result.err().map(|error| error.to_string());
        self.settings_changed(setter);
    }

    fn roll_bar(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        ui.horizontal(|ui| {
            let (can_undo, can_redo) = self.view.can_undo;
            if ui
                .add_enabled(can_undo, Button::new("Undo"))
                .on_hover_text("Ctrl+Z: takes the last re-roll, lock, drawn note or new seed back")
                .clicked()
            {
                self.step_back(setter);
            }
            if ui.add_enabled(can_redo, Button::new("Redo")).on_hover_text("Ctrl+Shift+Z: does it again").clicked() {
                self.step_forth(setter);
            }
            if ui.button("Re-roll all").on_hover_text("Writes everything anew with this seed; what is locked stays").clicked() {
                self.change(Change::Reroll { lanes: Retake::ALL_TRACKS, bars: Retake::ALL_BARS }, setter);
            }
            self.pencil.controls(ui, &self.view);
            ui.checkbox(&mut self.view.shows_almost, "What almost played").on_hover_text(
                "Shows the notes below the threshold, by their probability: for learning, and to find the threshold",
            );
            ui.checkbox(&mut self.roll.follows, "Follow").on_hover_text("Keeps the playhead in sight");
            if ui
                .checkbox(&mut self.preferences.explains, "Explain")
                .on_hover_text("What happens in the bar under the mouse")
                .changed()
            {
                self.preferences.save(self.instance.preferences.as_deref());
            }
            self.take_away.show(ui, &self.instance, &self.view, self.window, setter);
        });
    }

    fn header(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let palette = Palette::of(ui);
        ui.horizontal(|ui| {
            ui.label(RichText::new("Barline").size(20.0).strong());
            ui.label(RichText::new(env!("CARGO_PKG_VERSION")).color(palette.faint));
            ui.add_space(12.0);
            let readiness = &self.view.readiness;
            let (dot, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), egui::Sense::hover());
            ui.painter().circle_filled(dot.center(), 4.5, palette.tone(readiness.tone));
            ui.label(RichText::new(&readiness.text));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let panic = ui.button("Panic").on_hover_text("End every note that sounds now");
                if panic.clicked() {
                    (self.instance.panic)();
                }
                widgets::switch(ui, &self.instance.params.bypass, "Bypass", setter, "Silence; what sounds is ended.");
                let name = if self.preferences.light { "Dark" } else { "Light" };
                if ui.button(name).on_hover_text("Dark text on light ground, or light on dark").clicked() {
                    self.preferences.light = !self.preferences.light;
                    ui.ctx().set_theme(self.preferences.theme());
                    self.preferences.save(self.instance.preferences.as_deref());
                }
                if ui.button("Help").on_hover_text("The first three steps, and how to route notes in your host").clicked() {
                    self.preferences.hint_read = !self.preferences.hint_read;
                }
            });
        });
    }

    fn source_rows(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let palette = Palette::of(ui);
        ui.horizontal(|ui| {
            widgets::label(ui, "Model");
            self.model_choice(ui, setter);
            if let Some(path) = self.incoming.button(ui, self.instance.music.as_deref()) {
                self.bring_in(path, ui, setter);
            }
            if self.presets.show(ui, &self.instance.params, setter, self.instance.preferences.as_deref()) {
                self.draft = None;
                self.settings_changed(setter);
            }
            ui.label(RichText::new(&self.view.engine).color(palette.faint)).on_hover_text(&self.view.engine_details);
        });
        ui.horizontal(|ui| {
            widgets::label(ui, "Chords");
            widgets::choice(ui, &self.instance.params.chord_source, setter, 150.0);
            if self.instance.params.chord_source.value() == ChordSource::Midi {
                let heard = self.view.heard.as_deref().unwrap_or("none yet: hold a chord at the MIDI input");
                ui.label(format!("Chord heard: {heard}"));
            } else {
                self.progression(ui, setter);
            }
        });
        if let Some(error) = &self.view.progression_error {
            ui.horizontal(|ui| {
                widgets::label(ui, "");
                ui.label(RichText::new(error).size(NOTE_SIZE).color(palette.bad));
            });
        }
        // A model of one track has nothing that could accompany.
        if self.view.lanes.len() > 1 {
            let is_changed = ui.horizontal(|ui| {
                widgets::label(ui, "Accompany");
                self.given.show(ui, &self.instance.params, setter, self.instance.music.as_deref())
            });
            if is_changed.inner {
                self.settings_changed(setter);
            }
        } else if let Some((pattern, _)) = self.view.shown().filter(|_| self.view.takes_primer()) {
            let (layout, saved, home) = (pattern.roll.layout(), &self.instance.params.saved, self.instance.music.as_deref());
            let is_changed = ui.horizontal(|ui| {
                widgets::label(ui, "Primer");
                self.primer.show(ui, layout, saved, home)
            });
            if is_changed.inner {
                self.settings_changed(setter);
            }
        }
    }

    fn model_choice(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        let saved = &self.instance.params.saved;
        let current = saved.snapshot().settings.model;
        let name = self.view.models.iter().find(|m| m.id == current).map_or(current.as_str(), |m| m.name.as_str());
        let mut chosen = None;
        let list = egui::ComboBox::from_id_salt("model").selected_text(name).width(150.0);
        let shown = list.show_ui(ui, |ui| {
            for model in &self.view.models {
                if ui.selectable_label(model.id == current, &model.name).on_hover_text(&model.about).clicked() {
                    chosen = Some(model.id.clone());
                }
            }
        });
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Model"));
        if let Some(id) = chosen.filter(|id| *id != current) {
            self.choose_model(id, setter);
        }
    }

    fn choose_model(&self, id: String, setter: &ParamSetter) {
        // A model name cannot make the progression wrong.
        let _ = self.instance.params.saved.change(|settings| settings.model = id);
        self.settings_changed(setter);
    }

    /// Takes a file in: a MIDI file as the track to accompany, a model to be installed.
    fn bring_in(&mut self, path: PathBuf, ui: &Ui, setter: &ParamSetter) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ends(&path, MODEL) {
            self.incoming.install(path, self.instance.install, ui.ctx());
        } else if !ends(&path, MIDI) {
            self.incoming.say(format!("{name} is neither a MIDI file (.mid) nor a model (.onnx)."), Tone::Bad);
        } else if self.view.lanes.len() > 1 {
            if self.given.open(&path, &self.instance.params) {
                self.settings_changed(setter);
            }
        } else if let Some((pattern, _)) = self.view.shown().filter(|_| self.view.takes_primer()) {
            if self.primer.open(&path, pattern.roll.layout(), &self.instance.params.saved) {
                self.settings_changed(setter);
            }
        } else {
            self.incoming
                .say(format!("{name}: this model accompanies nothing and looks at no bar before; choose Band."), Tone::Bad);
        }
    }

    fn progression(&mut self, ui: &mut Ui, setter: &ParamSetter) {
        if let Some(key) = self.instance.params.knobs().key {
            ui.label(format!("in {key}"));
        }
        if let Some(text) = harmony::progression(ui, &self.instance.params.saved, &mut self.draft) {
            self.set_progression(text, setter);
        }
        if self.draft.is_none() {
            self.view.progression_error = None;
        }
    }

    fn set_progression(&mut self, text: String, setter: &ParamSetter) {
        let result = self.instance.params.saved.change(|settings| settings.progression = text);
        self.view.progression_error = result.as_ref().err().map(ToString::to_string);
        if result.is_ok() {
            self.settings_changed(setter);
        }
    }

    /// Tells the host that the project has changed: nice-plug 0.4.2 does so for parameters only.
    fn settings_changed(&self, setter: &ParamSetter) {
        let take = &self.instance.params.take;
        widgets::set(take, take.unmodulated_plain_value(), setter);
        (self.instance.nudge)();
    }

    fn messages(&self, ui: &mut Ui) {
        let palette = Palette::of(ui);
        if let Some(refused) = &self.refused {
            ui.label(RichText::new(refused).size(NOTE_SIZE).color(palette.bad));
        }
        for message in &self.view.messages {
            ui.label(RichText::new(&message.text).size(NOTE_SIZE).color(palette.tone(message.tone)));
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
