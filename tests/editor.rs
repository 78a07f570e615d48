//! The editor without a window: its controls are found by their names, used with mouse and keyboard, and change what a host's would.
#![expect(unsafe_code, reason = "a host sets parameters through raw pointers")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use barline::{
    editor::{Instance, Page},
    engine::{Playhead, Port, Readiness, Status},
    generate::{ModelId, Pattern, PatternSpec, Retake, Span, relocked},
    music::{
        noise::{Address, Purpose},
        note::{Channel, Note, Pitch, Velocity},
        roll::{LogitRoll, RollLayout, TrackKind, TrackLayout},
        smf::{Song, SongTrack},
        time::{Tempo, Ticks, TimeSignature},
    },
    params::{BarlineParams, Length},
    player::{Part, render_parts},
};
use egui::{Key, Modifiers, PointerButton, Pos2, Role, Vec2};
use egui_kittest::{
    Harness, Node,
    kittest::{NodeT, Queryable},
};
use nice_plug::{
    context::gui::GuiContextInner,
    prelude::{ParamPtr, ParamSetter, PluginApi, PluginState},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// A host that does at once what the editor asks for, and watches the gestures.
#[derive(Default)]
struct Host {
    open: Mutex<HashMap<ParamPtr, u32>>,
    n_gestures: AtomicU32,
}

impl GuiContextInner for Host {
    fn plugin_api(&self) -> PluginApi {
        PluginApi::Clap
    }

    unsafe fn raw_begin_set_parameter(&self, param: ParamPtr) {
        let before = self.open.lock().unwrap().insert(param, 0);
        assert_eq!(before, None, "a gesture begins in a gesture");
    }

    unsafe fn raw_set_parameter_normalized(&self, param: ParamPtr, normalized: f32) {
        *self.open.lock().unwrap().get_mut(&param).expect("a change without a gesture") += 1;
        // SAFETY: the parameters live as long as the page.
        unsafe { param._internal_set_normalized_value(normalized) };
    }

    unsafe fn raw_end_set_parameter(&self, param: ParamPtr) {
        self.open.lock().unwrap().remove(&param).expect("an end without a gesture");
        self.n_gestures.fetch_add(1, Ordering::Relaxed);
    }

    fn get_state(&self) -> PluginState {
        unreachable!("the editor does not ask for it")
    }

    fn set_state(&self, _state: PluginState) {
        unreachable!("the editor does not set it")
    }

    fn request_restart(&self) {}
}

/// The band's tracks with doubtful logits: equal seeds, takes and bars give equal ones.
fn pattern(params: &BarlineParams, key: u64) -> Pattern {
    let track = |kind, lowest, n_pitches| TrackLayout {
        kind,
        lowest_pitch: Pitch::new(lowest).unwrap(),
        n_pitches,
        merge_repeats: false,
    };
    let tracks = vec![
        track(TrackKind::Onsets, 36, 35),
        track(TrackKind::OneOfN, 28, 30),
        track(TrackKind::OnsetSustain, 40, 44),
        track(TrackKind::OnsetSustain, 40, 44),
        track(TrackKind::OnsetSustain, 48, 40),
    ];
    let layout = RollLayout { n_steps: 16, tracks };
    let Span::Bars(n_bars) = params.length.value().span() else { unreachable!("only finite patterns are asked for") };
    let (seed, take) = (params.seed.value().unsigned_abs(), params.take.value().unsigned_abs());
    let retakes = params.saved.snapshot().settings.takes;
    let mut cells = Vec::new();
    for step in 0..u16::try_from(n_bars).unwrap() * 16 {
        for (number, track) in (0_u16..).zip(&layout.tracks) {
            let bar = u32::from(step / 16);
            let is_retaken = |retake: &&Retake| retake.tracks_in(bar) >> number & 1 == 1;
            let take = retakes.iter().rev().find(is_retaken).map_or(take, |retake| retake.take);
            for index in 0..u32::try_from(track.n_cells()).unwrap() {
                let draw = Address { seed, take, track: number, bar, step: step % 16, index }.uniform(Purpose::Latent);
                let is_onset = index < u32::from(track.n_pitches);
                let range = match (track.kind, is_onset) {
                    (TrackKind::OneOfN, true) => (-60.0, 0.0),
                    (TrackKind::OneOfN, false) => (-10.0, 40.0),
                    (_, true) => (-100.0, -20.0),
                    (_, false) => (-20.0, 60.0),
                };
                #[expect(clippy::cast_possible_truncation, reason = "within the range")]
                cells.push((range.0 + draw * (range.1 - range.0)) as i8);
            }
        }
    }
    let roll = LogitRoll::from_cells(layout, usize::try_from(n_bars).unwrap(), cells.into()).unwrap();
    let spec =
        PatternSpec { seed, take, span: Span::Bars(n_bars), progression: "C | Am F".parse().unwrap(), ..PatternSpec::default() };
    let model = ModelId { id: "test".into(), sha256: String::new() };
    let bare = Pattern { key, spec, model, first_bar: 0, roll, temperature_factor: 1.0 };
    // What is locked and drawn lies over it.
    let settings = params.saved.snapshot().settings;
    let mut spec = bare.spec.clone();
    settings.complete(&mut spec);
    let takes = std::mem::take(&mut spec.takes);
    spec.locks.iter_mut().for_each(|lock| lock.after = 0);
    Pattern { key, spec: PatternSpec { takes, ..spec.clone() }, ..relocked(&bare, &spec).unwrap_or(bare) }
}

/// The page with a host and an engine that is always ready.
struct Stage {
    page: Page,
    host: Arc<Host>,
    params: Arc<BarlineParams>,
    port: Arc<Port>,
    panics: Arc<AtomicU32>,
}

#[cfg(target_os = "linux")]
#[path = "editor/drag.rs"]
mod drag;

/// An instance with an engine that is always ready, its parameters and port, and how often it was silenced.
fn instance(folder: &Path) -> (Instance, Arc<BarlineParams>, Arc<Port>, Arc<AtomicU32>) {
    let (params, port) = (Arc::new(BarlineParams::default()), Arc::new(Port::new()));
    let panics = Arc::new(AtomicU32::new(0));
    let (of_status, port_of_status) = (Arc::clone(&params), Arc::clone(&port));
    let made: Mutex<Option<Arc<Pattern>>> = Mutex::new(None);
    let status = move || {
        let key = of_status.structure(port_of_status.heard(), port_of_status.morph()).key();
        let mut made = made.lock().unwrap();
        let is_made = made.as_ref().is_some_and(|pattern| pattern.key == key);
        if !is_made {
            *made = Some(Arc::new(pattern(&of_status, key)));
        }
        Status { readiness: Readiness::Ready, model: "test".into(), pattern: made.clone(), ..Status::default() }
    };
    let of_panic = Arc::clone(&panics);
    let instance = Instance {
        params: Arc::clone(&params),
        port: Arc::clone(&port),
        status: Box::new(status),
        nudge: Box::new(|| {}),
        listen: Box::new(|_| {}),
        meter: Box::new(|| (TimeSignature::default(), Tempo::new(97.0).unwrap())),
        n_sent: Box::new(|| 0),
        panic: Box::new(move || {
            of_panic.fetch_add(1, Ordering::Relaxed);
        }),
        models: Vec::new,
        install: |path| match std::fs::read_to_string(path) {
            Ok(text) if text == "model" => Ok("new-model".into()),
            _ => Err("it is no model".into()),
        },
        preferences: Some(folder.join("preferences")),
        music: Some(folder.join("music")),
    };
    (instance, params, port, panics)
}

impl Stage {
    fn new(folder: &Path) -> Self {
        let (instance, params, port, panics) = instance(folder);
        let page = Page::new(instance);
        Self { page, host: Arc::default(), params, port, panics }
    }

    fn show(&mut self, ui: &mut egui::Ui) {
        self.page.show(ui, &ParamSetter::new(&*self.host));
    }
}

fn open() -> Harness<'static, Stage> {
    open_in(tempfile::tempdir().unwrap().path())
}

/// The page with its preferences and music in a folder; the first hint is read.
fn open_in(folder: &Path) -> Harness<'static, Stage> {
    let mut harness = open_first(folder);
    if harness.query_by_label("Got it").is_some() {
        click(&mut harness, "Got it");
    }
    harness
}

fn open_first(folder: &Path) -> Harness<'static, Stage> {
    let stage = Stage::new(folder);
    let mut is_open = false;
    let app = move |ui: &mut egui::Ui, stage: &mut Stage| {
        if !is_open {
            stage.page.open(ui.ctx());
            is_open = true;
        }
        stage.show(ui);
    };
    let mut harness = Harness::builder().with_size(Vec2::new(1200.0, 860.0)).with_step_dt(0.02).build_ui_state(app, stage);
    harness.run_steps(3);
    harness
}

/// Number of notes that the roll says it shows.
fn n_notes(harness: &Harness<'_, Stage>) -> u32 {
    let roll = harness.get_by_role(Role::Image);
    let label = roll.accesskit_node().label().unwrap();
    label.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

fn press(harness: &Harness<'_, Stage>, at: Pos2, pressed: bool, modifiers: Modifiers) {
    harness.event(egui::Event::PointerButton { pos: at, button: PointerButton::Primary, pressed, modifiers });
}

/// Drags from place to place, a frame per move.
fn drag(harness: &mut Harness<'_, Stage>, from: Pos2, to: Pos2, modifiers: Modifiers) {
    harness.event(egui::Event::ModifiersChanged(modifiers));
    harness.event(egui::Event::PointerMoved(from));
    press(harness, from, true, modifiers);
    harness.run_steps(1);
    for part in [0.3, 0.7, 1.0] {
        harness.event(egui::Event::PointerMoved(from + (to - from) * part));
        harness.run_steps(1);
    }
    press(harness, to, false, modifiers);
    harness.event(egui::Event::ModifiersChanged(Modifiers::NONE));
    harness.run_steps(2);
}

fn click(harness: &mut Harness<'_, Stage>, label: &str) {
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

fn slider<'a>(harness: &'a Harness<'_, Stage>, name: &'a str) -> Node<'a> {
    harness.get_by_role_and_label(Role::Slider, name)
}

/// Every gesture that began has ended; yields how many there were.
fn gestures(harness: &Harness<'_, Stage>) -> u32 {
    let host = &harness.state().host;
    assert!(host.open.lock().unwrap().is_empty(), "a gesture has no end");
    host.n_gestures.load(Ordering::Relaxed)
}

#[test]
fn a_muted_lane_leaves_the_roll_and_comes_back() {
    let mut harness = open();
    let all = n_notes(&harness);
    click(&mut harness, "Drums Mute");
    assert!(harness.state().params.lane1.mute.value());
    let rest = n_notes(&harness);
    assert!(rest < all && rest > 50, "{rest} of {all}");
    click(&mut harness, "Bass Solo");
    assert!(n_notes(&harness) < rest);
    click(&mut harness, "Bass Solo");
    click(&mut harness, "Drums Mute");
    assert_eq!((n_notes(&harness), gestures(&harness)), (all, 4));
}

#[test]
fn a_slider_is_dragged_fine_tuned_reset_and_typed() {
    let mut harness = open();
    let threshold = |harness: &Harness<'_, Stage>| harness.state().params.threshold.value();
    let all = n_notes(&harness);
    let rect = slider(&harness, "Threshold").rect();
    let at = |part: f32| Pos2::new(rect.left() + rect.width() * part, rect.center().y);

    drag(&mut harness, at(0.5), at(0.25), Modifiers::NONE);
    assert!((threshold(&harness) - 0.25).abs() < 0.011, "{}", threshold(&harness));
    assert!(n_notes(&harness) > all, "a lower threshold plays more");
    assert_eq!(gestures(&harness), 1);

    let before = threshold(&harness);
    drag(&mut harness, at(0.25), at(0.75), Modifiers::SHIFT);
    let moved = threshold(&harness) - before;
    assert!((0.02..0.08).contains(&moved), "{moved}: fine is a tenth");

    slider(&harness, "Threshold").click();
    harness.run_steps(1);
    slider(&harness, "Threshold").click();
    harness.run_steps(3);
    assert_eq!(threshold(&harness).to_bits(), 0.5_f32.to_bits());
    assert_eq!(n_notes(&harness), all);

    for (text, end, wanted) in [("0.8", Key::Enter, 0.8), ("0.3", Key::Escape, 0.8), ("nonsense", Key::Enter, 0.8)] {
        // Long enough after the last click to be no double click.
        harness.run_steps(60);
        slider(&harness, "Threshold").click_modifiers(Modifiers::COMMAND);
        harness.run_steps(3);
        harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
        harness.event(egui::Event::Text(text.into()));
        harness.run_steps(2);
        harness.key_press(end);
        harness.run_steps(3);
        assert!((threshold(&harness) - wanted).abs() < 1e-6, "{text}: {}", threshold(&harness));
    }

    slider(&harness, "Threshold").focus();
    harness.run_steps(2);
    harness.key_press(Key::ArrowLeft);
    harness.run_steps(2);
    assert!((threshold(&harness) - 0.78).abs() < 1e-6, "{}", threshold(&harness));
    gestures(&harness);
}

#[test]
fn seed_take_key_and_chords_are_changed() {
    let mut harness = open();
    let (seed, all) = (harness.state().params.seed.value(), n_notes(&harness));
    click(&mut harness, "New");
    assert_ne!(harness.state().params.seed.value(), seed);
    assert_ne!(n_notes(&harness), all);
    click(&mut harness, "Next");
    assert_eq!(harness.state().params.take.value(), 1);
    harness.get_by_role_and_label(Role::ComboBox, "Key").click();
    harness.run_steps(3);
    click(&mut harness, "F#");
    assert_eq!(harness.state().params.key_root.to_string(), "F#");
    let field = harness.get_by_role_and_label(Role::TextInput, "Progression");
    field.focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.event(egui::Event::Text("Dm | Gq".into()));
    harness.run_steps(3);
    assert!(harness.query_by_label_contains("Gq").is_some(), "the error names the chord");
    let progression = |harness: &Harness<'_, Stage>| harness.state().params.saved.snapshot().settings.progression;
    assert!(!progression(&harness).contains("Dm"));
    harness.key_press(Key::Backspace);
    harness.run_steps(3);
    assert_eq!(progression(&harness), "Dm | G");
    gestures(&harness);
}

#[test]
fn chords_are_typed_and_picked_in_their_lane() {
    let mut harness = open();
    let progression = |harness: &Harness<'_, Stage>| harness.state().params.saved.snapshot().settings.progression;
    let write = |harness: &mut Harness<'_, Stage>, text: &str| {
        harness.get_by_role_and_label(Role::TextInput, "Chord");
        harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
        harness.event(egui::Event::Text(text.into()));
        harness.run_steps(3);
    };
    harness.state().params.saved.change(|settings| settings.progression = "C | Am F | G".into()).unwrap();
    harness.run_steps(3);
    assert!(harness.query_by_label("Chord of bar 5, half 2: F").is_some(), "the progression repeats under its eight bars");

    click(&mut harness, "Chord of bar 2, half 2: F");
    write(&mut harness, "Hm");
    assert!(harness.query_by_label_contains("`Hm` is not a chord").is_some(), "the error names the chord");
    assert_eq!(progression(&harness), "C | Am F | G");
    write(&mut harness, "Dm7");
    assert_eq!(progression(&harness), "C | Am Dm7 | G", "what can be read is heard at once");
    write(&mut harness, "E7 Bb");
    assert_eq!(progression(&harness), "C | Am Dm7 | G".to_owned());
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(progression(&harness), "C | E7 Bb | G");
    assert!(harness.query_by_role_and_label(Role::TextInput, "Chord").is_none(), "Enter closes it");

    // With a key its chords are offered.
    harness.get_by_role_and_label(Role::ComboBox, "Key").click();
    harness.run_steps(3);
    click(&mut harness, "D");
    click(&mut harness, "Chord of bar 4: C");
    click(&mut harness, "F#m7");
    assert_eq!(progression(&harness), "F#m7 | E7 Bb | G", "bar 4 repeats bar 1");
    click(&mut harness, "Chord of bar 3: G");
    click(&mut harness, "Bar twice");
    assert_eq!(progression(&harness), "F#m7 | E7 Bb | G | G");
    click(&mut harness, "Chord of bar 2, half 1: E7");
    click(&mut harness, "Remove bar");
    assert_eq!(progression(&harness), "F#m7 | G | G");
    click(&mut harness, "Chord of bar 1: F#m7");
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(harness.query_by_label("Remove bar").is_none(), "Escape closes it");

    // What the input says cannot be typed.
    harness.get_by_role_and_label(Role::ComboBox, "Chord Source").click();
    harness.run_steps(3);
    click(&mut harness, "MIDI input");
    click(&mut harness, "Chord of bar 1: C");
    assert!(harness.query_by_label("Remove bar").is_none());
    gestures(&harness);
}

#[test]
fn the_roll_tells_what_is_under_the_mouse() {
    let mut harness = open();
    let find = |harness: &mut Harness<'_, Stage>, text: &str| {
        let rect = harness.get_by_role(Role::Image).rect();
        let places = (0_u8..30).flat_map(|x| (0_u8..30).map(move |y| (f32::from(x) / 30.0, f32::from(y) / 30.0)));
        for (x, y) in places.skip(61).step_by(7) {
            let place = rect.min + Vec2::new(rect.width() * x, rect.height() * y);
            harness.hover_at(place);
            harness.run_steps(2);
            // A tooltip waits for the mouse to rest.
            harness.run_steps(40);
            if harness.query_by_label_contains(text).is_some() {
                return true;
            }
        }
        false
    };
    assert!(find(&mut harness, "velocity"), "a note tells its velocity");
    assert!(!find(&mut harness, "almost at"));
    click(&mut harness, "What almost played");
    assert!(find(&mut harness, "almost at"), "a cell that almost played tells so");
}

#[test]
fn every_switch_switches_and_every_button_does_something() {
    let mut harness = open();
    let boxes = |harness: &Harness<'_, Stage>| -> Vec<String> {
        let label = |node: Node<'_>| node.accesskit_node().label();
        harness.get_all_by_role(Role::CheckBox).filter_map(label).collect()
    };
    let names = boxes(&harness);
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let is_on = |harness: &Harness<'_, Stage>| harness.get_by_label(&name).accesskit_node().toggled();
        let before = is_on(&harness);
        click(&mut harness, &name);
        assert_ne!(is_on(&harness), before, "{name}");
        click(&mut harness, &name);
        assert_eq!(is_on(&harness), before, "{name}");
    }
    click(&mut harness, "Panic");
    assert_eq!(harness.state().panics.load(Ordering::Relaxed), 1);
    click(&mut harness, "Light");
    assert!(!harness.ctx.style_of(harness.ctx.theme()).visuals.dark_mode);
    click(&mut harness, "Dark");
    gestures(&harness);
}

#[test]
fn the_first_steps_are_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open_first(folder.path());
    assert!(harness.query_by_label_contains("route its MIDI output").is_some());
    click(&mut harness, "Got it");
    assert!(harness.query_by_label_contains("route its MIDI output").is_none());
    let mut again = open_first(folder.path());
    assert!(again.query_by_label("Got it").is_none());
    click(&mut again, "Help");
    assert!(again.query_by_label("Got it").is_some());
    assert!(again.query_by_label_contains("note input").is_none(), "this host is not known");
    again.get_by_role_and_label(Role::ComboBox, "Host").click();
    again.run_steps(3);
    click(&mut again, "Bitwig Studio (CLAP or VST3; not tested)");
    assert!(again.query_by_label_contains("choose Barline's track as the note input").is_some());
    click(&mut again, "Light");
    assert!(open_first(folder.path()).query_by_label("Dark").is_some(), "the theme is remembered");
}

#[test]
fn what_sounds_is_saved_and_its_path_copied() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open_in(folder.path());
    let n_shown = n_notes(&harness);
    click(&mut harness, "Save .mid");
    click(&mut harness, "Whole pattern");
    click(&mut harness, "Save .mid");
    click(&mut harness, "Bass only");
    harness.get_by_label("Copy path").click();
    harness.run_steps(1);
    let copied = |command: &egui::OutputCommand| match command {
        egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    };
    let copied = harness.output().platform_output.commands.iter().find_map(copied);
    let read = |name: &str| Song::from_bytes(&std::fs::read(folder.path().join("music").join(name)).unwrap()).unwrap();
    let (whole, bass) = (read("test-seed-0-take-0.mid"), read("test-seed-0-take-0-bass.mid"));
    assert!((whole.tempo().bpm() - 97.0).abs() < 0.01);
    assert_eq!(u32::try_from(whole.notes().len()).unwrap(), n_shown);
    assert_eq!(bass.tracks.iter().map(|track| track.name.as_str()).collect::<Vec<_>>(), ["Bass"]);
    assert_eq!(bass.tracks[0].notes, whole.tracks.iter().find(|track| track.name == "Bass").unwrap().notes);
    assert_eq!(copied, Some(folder.path().join("music").join("test-seed-0-take-0-bass.mid").display().to_string()));
}

#[test]
fn a_preset_is_taken_and_a_bar_explained() {
    let mut harness = open();
    click(&mut harness, "Presets");
    click(&mut harness, "Andalusian cadence");
    assert_eq!(harness.state().params.saved.snapshot().settings.progression, "Am | G | F | E");
    click(&mut harness, "Explain");
    let rect = harness.get_by_role(Role::Image).rect();
    for (x, bar) in [(rect.left() + 60.0, "Bar 1"), (rect.right() - 4.0, "Bar 8")] {
        harness.hover_at(Pos2::new(x, rect.center().y));
        harness.run_steps(3);
        assert!(harness.query_by_label(bar).is_some(), "{bar} is under the mouse");
    }
    assert_eq!(harness.query_all_by_label_contains("Over the pattern").count(), 5);
}

#[test]
fn bars_and_lanes_are_written_anew_locked_and_undone() {
    let mut harness = open();
    let settings = |harness: &Harness<'_, Stage>| harness.state().params.saved.snapshot().settings;
    let locked = |harness: &Harness<'_, Stage>| harness.state().params.saved.locked();
    let retaken = |harness: &Harness<'_, Stage>| -> Vec<(u16, u32)> {
        settings(harness).takes.iter().map(|retake| (retake.tracks, retake.bars)).collect()
    };
    let all = n_notes(&harness);
    click(&mut harness, "Drums bar 3");
    assert_eq!(retaken(&harness), [(0b1, 0b100)]);
    assert_ne!(n_notes(&harness), all);
    harness.key_press(Key::Space);
    harness.run_steps(2);
    assert_eq!(settings(&harness).takes.len(), 1, "the space bar is the host's");
    let take = settings(&harness).takes[0].take;
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert_eq!((retaken(&harness).len(), n_notes(&harness)), (0, all));
    click(&mut harness, "Redo");
    assert_eq!((settings(&harness).takes[0].take, retaken(&harness).len()), (take, 1));

    harness.get_by_label("Bass bar 2").click_secondary();
    harness.run_steps(3);
    assert_eq!(locked(&harness)[1], 0b10);
    click(&mut harness, "Bass bar 2");
    assert_eq!(retaken(&harness).len(), 1, "what is locked is not written anew");
    harness.get_by_label("Bass bar 2").click_modifiers(Modifiers::SHIFT);
    harness.run_steps(3);
    assert_eq!(locked(&harness)[1], 0);

    click(&mut harness, "Lock Piano");
    assert_eq!(locked(&harness)[2], 0xff);
    click(&mut harness, "Re-roll Guitar");
    assert_eq!(retaken(&harness).last(), Some(&(0b1000, Retake::ALL_BARS)));
    let seed = harness.state().params.seed.value();
    click(&mut harness, "New");
    assert_ne!(harness.state().params.seed.value(), seed);
    assert_eq!((retaken(&harness).len(), locked(&harness)[2]), (0, 0xff));
    click(&mut harness, "Undo");
    assert_eq!((harness.state().params.seed.value(), retaken(&harness).len()), (seed, 2));
    click(&mut harness, "Re-roll all");
    assert_eq!(retaken(&harness), [(Retake::ALL_TRACKS, Retake::ALL_BARS)]);
    gestures(&harness);
}

#[test]
fn what_a_click_would_write_anew_is_what_is_made_ahead() {
    let mut harness = open();
    let all = (Retake::ALL_TRACKS, Retake::ALL_BARS);
    let aim = |harness: &Harness<'_, Stage>| {
        let ahead = harness.state().params.rerolled().unwrap();
        ahead.takes.last().map(|retake| (retake.tracks, retake.bars)).unwrap()
    };
    assert_eq!(aim(&harness), all);
    for (label, expected) in [
        ("Drums bar 3", (0b1, 0b100)),
        ("Re-roll Guitar", (0b1000, Retake::ALL_BARS)),
        ("Lock Guitar", all),
        ("Bass bar 2", (0b10, 0b10)),
        ("Re-roll all", all),
    ] {
        harness.get_by_label(label).hover();
        harness.run_steps(3);
        assert_eq!(aim(&harness), expected, "{label}");
    }
    harness.get_by_label("Bass bar 2").click_secondary();
    harness.run_steps(3);
    assert_eq!(aim(&harness), all, "what is locked is not written anew");
}

#[test]
fn one_goes_back_to_a_take_keeps_it_and_morphs_to_it() {
    let mut harness = open();
    let address = |harness: &Harness<'_, Stage>| {
        let params = &harness.state().params;
        (params.seed.value(), params.take.value(), params.saved.snapshot().settings.takes.len())
    };
    let (seed, notes) = (harness.state().params.seed.value(), n_notes(&harness));
    click(&mut harness, "Re-roll Guitar");
    let rerolled = n_notes(&harness);
    click(&mut harness, "New");
    let other = harness.state().params.seed.value();
    assert!(other != seed && notes != rerolled);

    click(&mut harness, &format!("Take {seed}/0 re-roll 1"));
    assert_eq!((address(&harness), n_notes(&harness)), ((seed, 0, 1), rerolled));
    click(&mut harness, &format!("Take {seed}/0"));
    assert_eq!((address(&harness), n_notes(&harness)), ((seed, 0, 0), notes));
    click(&mut harness, "Undo");
    assert_eq!((address(&harness), n_notes(&harness)), ((seed, 0, 1), rerolled));

    let kept = |harness: &Harness<'_, Stage>| harness.state().params.saved.favourites();
    click(&mut harness, &format!("Keep {other}/0"));
    assert_eq!(kept(&harness).iter().map(|take| (take.seed, take.take)).collect::<Vec<_>>(), [(other.unsigned_abs(), 0)]);
    click(&mut harness, &format!("Keep {other}/0"));
    assert_eq!(kept(&harness), []);

    harness.get_by_label(&format!("Take {other}/0")).click_secondary();
    harness.run_steps(3);
    click(&mut harness, "B: morph to its seed");
    assert_eq!((harness.state().params.seed_b.value(), address(&harness)), (other, (seed, 0, 1)));

    let field = harness.get_by_role_and_label(Role::TextInput, "Seed and take");
    field.focus();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness.event(egui::Event::Text("4711/12".into()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert_eq!(address(&harness), (4711, 12, 0));
    gestures(&harness);
}

/// Where the notes are, and the lowest and highest pitch of their rows.
fn notes_area(harness: &Harness<'_, Stage>) -> (egui::Rect, u8, u8) {
    let area = harness.get_by_label_contains("Notes from ");
    let label = area.accesskit_node().label().unwrap();
    let mut pitches = label.split(' ').filter_map(|word| word.parse().ok());
    (area.rect(), pitches.next().unwrap(), pitches.next().unwrap())
}

/// A place among the notes, in sixteenths of the eight bars and by pitch.
fn place_of(harness: &Harness<'_, Stage>, step: f32, pitch: u8) -> Pos2 {
    let (area, lowest, highest) = notes_area(harness);
    let row_height = area.height() / f32::from(highest - lowest + 1);
    Pos2::new(area.left() + area.width() * step / 128.0, area.bottom() - row_height * (f32::from(pitch - lowest) + 0.5))
}

#[test]
fn notes_are_drawn_moved_lengthened_and_erased_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open_in(folder.path());
    let all = n_notes(&harness);
    click(&mut harness, "Pencil");
    harness.get_by_role_and_label(Role::ComboBox, "Pencil lane").click();
    harness.run_steps(3);
    click(&mut harness, "Draw Strings");
    // The notes of the lane in bar 5: sixteenths of the bar, length, pitch.
    let drawn = |harness: &Harness<'_, Stage>| -> Vec<(usize, usize, u8)> {
        let locks = harness.state().params.saved.snapshot().settings.locks;
        let notes = locks.last().map(|lock| lock.music.notes_of(4, 16)).unwrap_or_default();
        notes.iter().filter(|note| note.onset >= 64).map(|n| (n.onset - 64, n.end - n.onset, n.pitch.number())).collect()
    };
    let locked = |harness: &Harness<'_, Stage>| harness.state().params.saved.locked();
    let at = |harness: &Harness<'_, Stage>, step: f32, pitch: u8| place_of(harness, 64.0 + step, pitch);
    let stroke = |harness: &mut Harness<'_, Stage>, from: (f32, u8), to: (f32, u8), modifiers| {
        let (from, to) = (at(harness, from.0, from.1), at(harness, to.0, to.1));
        drag(harness, from, to, modifiers);
    };
    // A pitch, and the one two above, that the lane does not play in that bar.
    let params = Arc::clone(&harness.state().params);
    let notes = render_parts(&pattern(&params, 0), &params.knobs(), TimeSignature::default(), 4..5);
    let is_free = |pitch: &u8| notes.iter().all(|(part, note)| *part != Part::Track(4) || note.pitch.number() != *pitch);
    let free = (50..80).find(|pitch| is_free(pitch) && is_free(&(pitch + 2))).unwrap();
    stroke(&mut harness, (5.5, free), (5.5, free), Modifiers::NONE);
    assert!(drawn(&harness).contains(&(5, 1, free)), "a click draws a sixteenth: {:?}", drawn(&harness));
    assert_eq!((locked(&harness)[4], locked(&harness)[..4].to_vec(), n_notes(&harness)), (0b1_0000, vec![0; 4], all + 1));
    stroke(&mut harness, (5.9, free), (8.5, free), Modifiers::NONE);
    assert!(drawn(&harness).contains(&(5, 4, free)), "its end makes it longer: {:?}", drawn(&harness));
    stroke(&mut harness, (6.5, free), (3.5, free + 2), Modifiers::NONE);
    assert!(drawn(&harness).contains(&(2, 4, free + 2)), "its middle moves it: {:?}", drawn(&harness));
    assert_eq!(n_notes(&harness), all + 1);
    // What is drawn is in the file.
    click(&mut harness, "Save .mid");
    click(&mut harness, "Strings only");
    let file = folder.path().join("music").join("test-seed-0-take-0-strings.mid");
    let song = Song::from_bytes(&std::fs::read(file).unwrap()).unwrap();
    let is_it = |note: &Note| note.onset.0.abs_diff(66 * 120) < 60 && note.pitch.number() == free + 2;
    assert!(song.tracks.iter().flat_map(|track| &track.notes).any(is_it));
    // Ctrl+click and right click erase; the host is not told of gestures it cannot undo, but Undo goes back step by step.
    let place = at(&harness, 3.5, free + 2);
    drag(&mut harness, place, place, Modifiers::COMMAND);
    assert_eq!((drawn(&harness).iter().any(|note| note.2 == free + 2), n_notes(&harness)), (false, all));
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert!(drawn(&harness).contains(&(2, 4, free + 2)));
    harness.event(egui::Event::PointerMoved(place));
    for pressed in [true, false] {
        harness.event(egui::Event::PointerButton {
            pos: place,
            button: PointerButton::Secondary,
            pressed,
            modifiers: Modifiers::NONE,
        });
        harness.run_steps(1);
    }
    harness.run_steps(2);
    assert_eq!(n_notes(&harness), all);
    for _ in 0..4 {
        click(&mut harness, "Undo");
    }
    assert_eq!((locked(&harness), n_notes(&harness)), ([0; 16], all));
    // Put away, the same drag scrolls.
    click(&mut harness, "Pencil");
    stroke(&mut harness, (5.5, free), (9.5, free), Modifiers::NONE);
    assert_eq!(locked(&harness), [0; 16]);
    // A lane that is silent says so instead of drawing what nobody sees.
    click(&mut harness, "Pencil");
    click(&mut harness, "Strings Mute");
    assert!(harness.query_by_label_contains("Strings does not play").is_some());
    stroke(&mut harness, (5.5, free), (5.5, free), Modifiers::NONE);
    assert_eq!(locked(&harness), [0; 16]);
    gestures(&harness);
}

#[test]
fn a_midi_file_is_opened_and_taken_away_again() {
    let folder = tempfile::tempdir().unwrap();
    let music = folder.path().join("music");
    std::fs::create_dir(&music).unwrap();
    let note = |step: i64, number| Note {
        onset: Ticks(step * 120),
        duration: Ticks(240),
        channel: Channel::default(),
        pitch: Pitch::new(number).unwrap(),
        velocity: Velocity::clamped(90),
    };
    let notes = vec![note(0, 60), note(5, 64), note(70, 67)];
    let track = SongTrack { name: "Tune".into(), channel: Channel::default(), program: None, notes };
    let song = Song { tracks: vec![track], length: Ticks(8 * 1920), ..Song::default() };
    std::fs::write(music.join("tune.mid"), song.to_bytes().unwrap()).unwrap();
    std::fs::write(music.join("broken.mid"), "no music").unwrap();
    let mut harness = open_in(folder.path());
    let given = |harness: &Harness<'_, Stage>| harness.state().params.saved.given();
    click(&mut harness, "Open .mid");
    click(&mut harness, "broken.mid");
    assert!(given(&harness).is_none());
    assert!(harness.query_by_label_contains("`broken.mid`").is_some(), "the error names the file");
    click(&mut harness, "Open .mid");
    click(&mut harness, "tune.mid");
    assert_eq!(given(&harness).map(|given| given.n_notes()), Some(3));
    assert!(harness.query_by_label_contains("tune.mid, Tune: 3 notes").is_some());
    click(&mut harness, "Clear");
    assert!(given(&harness).is_none());
    click(&mut harness, "Undo");
    assert!(given(&harness).is_some());
    click(&mut harness, "Clear");
    bring(&mut harness, &music.join("tune.mid"));
    assert_eq!(given(&harness).map(|given| given.n_notes()), Some(3), "what is dropped is opened");
    gestures(&harness);
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        unreachable!("the editor reads files by their paths")
    }
}

/// Drops a file into the window, as a windowing library would that hands drops on.
fn bring(harness: &mut Harness<'_, Stage>, path: &Path) {
    harness.input_mut().dropped_files.push(Arc::new(Dropped(path.into())));
    harness.run_steps(3);
}

#[test]
fn a_model_is_installed_by_button_or_dropped_and_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let music = folder.path().join("music");
    std::fs::create_dir(&music).unwrap();
    for (name, text) in [("good.onnx", "model"), ("bad.onnx", "other"), ("song.wav", "")] {
        std::fs::write(music.join(name), text).unwrap();
    }
    let mut harness = open_in(folder.path());
    let model = |harness: &Harness<'_, Stage>| harness.state().params.saved.snapshot().settings.model;
    let before = model(&harness);
    // A thread tries it.
    let wait = |harness: &mut Harness<'_, Stage>, text: &str| {
        let until = Instant::now() + Duration::from_secs(20);
        while harness.query_by_label_contains(text).is_none() {
            assert!(Instant::now() < until, "nothing says: {text}");
            harness.run_steps(1);
        }
    };
    bring(&mut harness, &music.join("song.wav"));
    wait(&mut harness, "song.wav is neither");
    bring(&mut harness, &music.join("bad.onnx"));
    wait(&mut harness, "bad.onnx is not installed: it is no model");
    assert_eq!(model(&harness), before);
    click(&mut harness, "Install model");
    assert!(harness.query_by_label("song.wav").is_none(), "the chooser shows models");
    click(&mut harness, "good.onnx");
    wait(&mut harness, "Model new-model is installed");
    assert_eq!(model(&harness), "new-model");
    gestures(&harness);
}

#[test]
fn a_whole_preset_is_loaded_saved_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("preferences").join("presets");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("broken.json"), "{").unwrap();
    let mut harness = open_in(folder.path());
    let of = |harness: &Harness<'_, Stage>| {
        let params = &harness.state().params;
        let settings = params.saved.snapshot().settings;
        (
            settings.model,
            settings.progression,
            params.seed.value(),
            params.morph.value(),
            params.length.value(),
            settings.takes.len(),
        )
    };
    click(&mut harness, "Re-roll all");
    let before = of(&harness);
    click(&mut harness, "Load / Save");
    click(&mut harness, "Band: slowly to another seed");
    let loaded = of(&harness);
    assert_eq!((loaded.0.as_str(), loaded.2, loaded.3, loaded.4, loaded.5), ("band", 1500, 0.25, Length::Bars16, 0));
    assert!(loaded.1.starts_with("F | G"));
    click(&mut harness, "Undo");
    assert_eq!(of(&harness), before);
    click(&mut harness, "Redo");
    assert_eq!(of(&harness), loaded);

    click(&mut harness, "Load / Save");
    click(&mut harness, "Save preset");
    assert!(harness.query_by_label_contains("needs a name").is_some());
    harness.get_by_label("Name of the preset").focus();
    harness.run();
    harness.get_by_label("Name of the preset").type_text("Mine");
    harness.run();
    click(&mut harness, "Save preset");
    assert!(harness.query_by_label_contains("Mine saved").is_some());
    click(&mut harness, "broken");
    assert!(harness.query_by_label_contains("broken: the preset was not loaded").is_some());
    assert_eq!(of(&harness), loaded);
    click(&mut harness, "Load / Save");
    click(&mut harness, "Band: bass and drums");
    assert_ne!(of(&harness), loaded);
    assert!(!harness.state().params.lane3.lane.on.value());
    click(&mut harness, "Load / Save");
    click(&mut harness, "Mine");
    assert_eq!(of(&harness), loaded);
    assert!(harness.state().params.lane3.lane.on.value());
    gestures(&harness);
}

/// The mean time of a frame: page and tessellation, without the drawing itself.
/// `cargo test -p barline --features cli,standalone --test editor -- --ignored --nocapture frame_time`
#[test]
#[ignore = "a measurement: it prints a time, which is right or wrong on no machine, and is run by hand as above"]
fn frame_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path());
    let host = Host::default();
    let setter = ParamSetter::new(&host);
    setter.begin_set_parameter(&stage.params.length);
    setter.set_parameter(&stage.params.length, Length::Bars32);
    setter.end_set_parameter(&stage.params.length);
    let egui = egui::Context::default();
    stage.page.open(&egui);
    for (what, is_turning) in [("playing", false), ("while the threshold is turned", true)] {
        let mut times: Vec<Duration> = (0_u16..300)
            .map(|frame| {
                stage.port.set_playhead(Playhead {
                    position: Ticks(i64::from(frame) * 16),
                    playing: true,
                    ..Playhead::default()
                });
                if is_turning {
                    setter.begin_set_parameter(&stage.params.threshold);
                    setter.set_parameter_normalized(&stage.params.threshold, 0.4 + f32::from(frame) / 3000.0);
                    setter.end_set_parameter(&stage.params.threshold);
                }
                let screen = egui::Rect::from_min_size(Pos2::ZERO, Vec2::new(1600.0, 1000.0));
                let input = egui::RawInput { screen_rect: Some(screen), ..egui::RawInput::default() };
                let start = Instant::now();
                let mut output = egui.run_ui(input, |ui| stage.show(ui));
                let meshes = egui.tessellate(output.shapes, output.pixels_per_point);
                let time = start.elapsed();
                assert!(!meshes.is_empty());
                output.textures_delta.clear();
                time
            })
            .skip(20)
            .collect();
        times.sort_unstable();
        let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
        println!("{what}: mean {mean:.2?}, p99 {:.2?}, max {:.2?}", times[times.len() * 99 / 100], times[times.len() - 1]);
    }
}
