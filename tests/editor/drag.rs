//! Notes dragged out of the real window: an X server in memory, a program on it that takes files (or does not), and a mouse that the
//! server moves.

use super::{Harness, Queryable, Stage, Vec2, instance, pattern};
use barline::{
    editor,
    music::{note::Note, smf::Song, time::TimeSignature},
    player::{Part, render_parts},
};
use nice_plug::{
    context::gui::GuiContext,
    editor::{Editor, EditorHandle, SpawnedEditor},
};
use percent_encoding::percent_decode_str;
use std::{
    env,
    io::{BufRead, BufReader, Write, stdout},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};
use x11rb::{
    NONE,
    connection::{Connection, RequestConnection},
    protocol::{
        Event,
        xproto::{
            AtomEnum, ClientMessageEvent, ConfigureWindowAux, ConnectionExt, CreateWindowAux, EventMask, PropMode, Window,
            WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

const CHILD: &str = "BARLINE_TEST_ON_DISPLAY";
/// Longer than the source waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A few frames.
const FRAMES: Duration = Duration::from_millis(120);
/// Size of the page before anybody changes it.
const SIZE: Vec2 = Vec2::new(1060.0, 850.0);

/// An X server in memory.
struct Server(Child, String);

impl Server {
    fn start() -> Option<Self> {
        let arguments = ["-displayfd", "1", "-screen", "0", "1600x1000x24", "-nolisten", "tcp"];
        let server = Command::new("Xvfb").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut server = server.ok()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take()?).read_line(&mut line).ok()?;
        Some(Self(server, format!(":{}", line.trim())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn n_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Runs `body` in a process of its own on an X server of its own: this test program once more, with only the test called `test`.
fn on_display(test: &str, body: impl FnOnce()) {
    if env::var(CHILD).is_ok_and(|name| name == test) {
        let before = n_threads();
        body();
        // The host may unload the plugin next.
        assert_eq!(n_threads(), before, "a closed window has left threads behind");
        return;
    }
    let Some(server) = Server::start() else {
        // The test runner shows the output of a test that passes to nobody.
        let _ = writeln!(stdout(), "SKIPPED: {test}: Xvfb is not installed (on Debian: apt-get install xvfb)");
        return;
    };
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env("DISPLAY", &server.1)
        .env_remove("WAYLAND_DISPLAY")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{}:\n{text}", output.status);
}

x11rb::atom_manager! {
    Atoms: AtomsCookie {
        BARLINE_TEST_DATA,
        aware: b"XdndAware",
        selection: b"XdndSelection",
        enter: b"XdndEnter",
        position: b"XdndPosition",
        status: b"XdndStatus",
        leave: b"XdndLeave",
        drop: b"XdndDrop",
        finished: b"XdndFinished",
        copy: b"XdndActionCopy",
        uri_list: b"text/uri-list",
    }
}

/// What a program does with files that are dragged over it.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Takes,
    Refuses,
    Silent,
}

/// A program on the server that files can be dropped on, and the mouse.
struct Desk {
    conn: RustConnection,
    root: Window,
    window: Window,
    atoms: Atoms,
    xtest: u8,
    manner: Manner,
    /// Messages of the protocol as they came, by name.
    heard: Vec<&'static str>,
    /// The list of the files that were dropped.
    list: Option<String>,
}

impl Desk {
    fn new() -> Self {
        let (conn, screen) = x11rb::connect(None).unwrap();
        let root = conn.setup().roots.get(screen).unwrap().root;
        let atoms = Atoms::new(&conn).unwrap().reply().unwrap();
        let window = conn.generate_id().unwrap();
        let aux = CreateWindowAux::new().override_redirect(1);
        conn.create_window(0, window, root, 1150, 100, 300, 300, 0, WindowClass::INPUT_OUTPUT, 0, &aux).unwrap();
        conn.change_property32(PropMode::REPLACE, window, atoms.aware, AtomEnum::ATOM, &[5]).unwrap();
        conn.map_window(window).unwrap().check().unwrap();
        let xtest = conn.query_extension(b"XTEST").unwrap().reply().unwrap();
        assert!(xtest.present);
        let (xtest, manner, heard) = (xtest.major_opcode, Manner::Takes, Vec::new());
        Self { conn, root, window, atoms, xtest, manner, heard, list: None }
    }

    /// XTEST's `FakeInput`.
    fn fake(&self, kind: u8, detail: u8, (x, y): (i16, i16)) {
        let mut request = [0_u8; 36];
        request[..6].copy_from_slice(&[self.xtest, 2, 9, 0, kind, detail]);
        request[12..16].copy_from_slice(&self.root.to_ne_bytes());
        request[24..26].copy_from_slice(&x.to_ne_bytes());
        request[26..28].copy_from_slice(&y.to_ne_bytes());
        let slices = [std::io::IoSlice::new(&request)];
        self.conn.send_request_without_reply(&slices, Vec::new()).unwrap().check().unwrap();
    }

    fn move_to(&mut self, place: (i16, i16)) {
        self.fake(6, 0, place);
        self.rest(FRAMES);
    }

    fn button(&mut self, is_down: bool) {
        self.fake(if is_down { 4 } else { 5 }, 1, (0, 0));
        self.rest(FRAMES);
    }

    fn escape(&mut self) {
        let (first, last) = (self.conn.setup().min_keycode, self.conn.setup().max_keycode);
        let keys = self.conn.get_keyboard_mapping(first, last - first + 1).unwrap().reply().unwrap();
        let mut codes = (first..=last).zip(keys.keysyms.chunks(keys.keysyms_per_keycode.into()));
        let (code, _) = codes.find(|(_, meanings)| meanings.first() == Some(&0xff1b)).unwrap();
        self.fake(2, code, (0, 0));
        self.rest(FRAMES);
        self.fake(3, code, (0, 0));
    }

    /// Presses on a handle and drags it over the program's window.
    fn drag_over(&mut self, handle: (i16, i16)) {
        self.heard.clear();
        self.list = None;
        self.move_to(handle);
        self.button(true);
        for x in [handle.0 + 4, handle.0 + 30, 1140, 1200, 1260] {
            self.move_to((x, 220));
        }
    }

    fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.answer();
            sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a message has come.
    fn wait_for(&mut self, name: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.heard.contains(&name) {
            assert!(Instant::now() < until, "no {name}: {:?}", self.heard);
            self.answer();
            sleep(Duration::from_millis(2));
        }
    }

    fn send(&self, to: Window, kind: u32, data: [u32; 5]) {
        self.conn.send_event(false, to, EventMask::NO_EVENT, ClientMessageEvent::new(32, to, kind, data)).unwrap();
        self.conn.flush().unwrap();
    }

    fn answer(&mut self) {
        while let Some(event) = self.conn.poll_for_event().unwrap() {
            match event {
                Event::ClientMessage(message) => self.message(&message),
                Event::SelectionNotify(notice) => {
                    assert_ne!(notice.property, NONE, "the files are not given");
                    let kind = AtomEnum::ANY;
                    let reply =
                        self.conn.get_property(true, self.window, notice.property, kind, 0, 9999).unwrap().reply().unwrap();
                    self.list = Some(String::from_utf8(reply.value).unwrap());
                    self.heard.push("data");
                    let source = self.conn.get_selection_owner(self.atoms.selection).unwrap().reply().unwrap().owner;
                    self.send(source, self.atoms.finished, [self.window, 1, self.atoms.copy, 0, 0]);
                }
                _ => {}
            }
        }
    }

    fn message(&mut self, message: &ClientMessageEvent) {
        let [source, _, time, ..] = message.data.as_data32();
        let kind = message.type_;
        if kind == self.atoms.enter {
            assert_eq!(message.data.as_data32()[1] >> 24, 5);
            self.heard.push("enter");
        } else if kind == self.atoms.position {
            self.heard.push("position");
            if self.manner != Manner::Silent {
                let takes = u32::from(self.manner == Manner::Takes);
                self.send(source, self.atoms.status, [self.window, takes, 0, 0, if takes == 1 { self.atoms.copy } else { NONE }]);
            }
        } else if kind == self.atoms.leave {
            self.heard.push("leave");
        } else if kind == self.atoms.drop {
            self.heard.push("drop");
            let (selection, list, data) = (self.atoms.selection, self.atoms.uri_list, self.atoms.BARLINE_TEST_DATA);
            self.conn.convert_selection(self.window, selection, list, data, time).unwrap();
            self.conn.flush().unwrap();
        }
    }

    /// The notes of the file that was dropped.
    fn notes(&self) -> Vec<Note> {
        let list = self.list.as_ref().unwrap();
        let uris: Vec<&str> = list.lines().collect();
        assert_eq!(uris.len(), 1, "{list}");
        let uri = uris.first().unwrap();
        let path = percent_decode_str(uri.strip_prefix("file://").unwrap()).decode_utf8().unwrap().into_owned();
        assert!(path.ends_with(".mid"), "{path}");
        Song::from_bytes(&std::fs::read(path).unwrap()).unwrap().notes()
    }
}

/// Where the middle of something lies in the page, from the same page without a window.
fn place_of(label: &str) -> (i16, i16) {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path());
    let mut is_open = false;
    let app = move |ui: &mut egui::Ui, _: &mut ()| {
        if !is_open {
            stage.page.open(ui.ctx());
            is_open = true;
        }
        stage.show(ui);
    };
    let mut harness = Harness::builder().with_size(SIZE).build_ui_state(app, ());
    harness.run_steps(4);
    let centre = harness.get_by_label(label).rect().center();
    #[expect(clippy::cast_possible_truncation, reason = "on the screen")]
    (centre.x as i16, centre.y as i16)
}

#[test]
fn what_is_dragged_out_of_the_window_arrives_note_for_note() {
    on_display("drag::what_is_dragged_out_of_the_window_arrives_note_for_note", || {
        let folder = tempfile::tempdir().unwrap();
        let (mut instance, params, ..) = instance(folder.path());
        let is_told = Arc::new(AtomicBool::new(false));
        let is_told_now = Arc::clone(&is_told);
        instance.listen = Box::new(move |listener| is_told_now.store(listener.is_some(), Ordering::Relaxed));
        let expected = |lane: Option<u8>| {
            let pattern = pattern(&params, 0);
            let parts = render_parts(&pattern, &params.knobs(), TimeSignature::default(), 0..8);
            let own = parts.into_iter().filter(|(part, _)| lane.is_none_or(|lane| *part == Part::Track(lane)));
            let mut notes: Vec<Note> = own.map(|(_, note)| note).collect();
            notes.sort_by_key(|note| (note.onset, note.channel, note.pitch, note.duration));
            notes
        };
        let editor = editor::create(instance).unwrap();
        let context = GuiContext::new(Arc::new(super::Host::default()));
        let SpawnedEditor { handle, window } = editor.spawn(None, false, None, context, None).unwrap();
        handle.show(&window).unwrap();
        let mut desk = Desk::new();
        desk.rest(FRAMES * 10);
        assert!(is_told.load(Ordering::Relaxed), "the engine is not to tell the window");

        let (whole, guitar) = (place_of("Drag the whole pattern"), place_of("Drag Guitar"));
        for (place, lane) in [(whole, None), (guitar, Some(3)), (whole, None)] {
            desk.drag_over(place);
            desk.wait_for("position");
            assert!(!desk.heard.contains(&"drop"), "{:?}", desk.heard);
            desk.button(false);
            desk.wait_for("data");
            let notes = desk.notes();
            assert!(notes.len() > 20, "{} notes", notes.len());
            assert!(notes == expected(lane), "other notes than lane {lane:?} plays");
        }

        // What refuses, or says nothing, is left, and the page goes on.
        for manner in [Manner::Refuses, Manner::Silent] {
            desk.manner = manner;
            desk.drag_over(guitar);
            desk.wait_for("position");
            desk.button(false);
            desk.wait_for("leave");
            assert!(!desk.heard.contains(&"drop"), "{:?}", desk.heard);
        }
        // Escape gives it up while the button is held.
        desk.manner = Manner::Takes;
        desk.drag_over(guitar);
        desk.wait_for("position");
        desk.escape();
        desk.wait_for("leave");
        desk.button(false);
        // Where nothing is, nothing happens.
        desk.drag_over(guitar);
        desk.move_to((1550, 950));
        desk.wait_for("leave");
        desk.button(false);
        // A window that closes meanwhile is no harm.
        let (old, other) = (desk.window, Desk::new());
        desk.drag_over(guitar);
        desk.conn.destroy_window(old).unwrap().check().unwrap();
        desk.heard.clear();
        desk = Desk { heard: Vec::new(), ..other };
        desk.move_to((1261, 221));
        desk.wait_for("position");
        desk.button(false);
        desk.wait_for("data");
        assert!(desk.notes() == expected(Some(3)));
        // What was dropped sounds twice; the offer to mute it stands beside the handle.
        assert!(!params.lane4.lane.mute.value());
        for x in (whole.0 + 50..whole.0 + 150).step_by(12).take_while(|_| !params.lane4.lane.mute.value()) {
            desk.move_to((x, whole.1));
            desk.button(true);
            desk.button(false);
        }
        assert!(params.lane4.lane.mute.value(), "nothing mutes what was dropped");
        drop((handle, window));
        assert!(!is_told.load(Ordering::Relaxed), "the engine tells a window that is closed");
    });
}

#[test]
fn what_is_dropped_on_another_window_becomes_its_given_track() {
    on_display("drag::what_is_dropped_on_another_window_becomes_its_given_track", || {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let (instance, params, ..) = instance(folder.path());
            let editor = editor::create(instance).unwrap();
            let SpawnedEditor { handle, window } =
                editor.spawn(None, false, None, GuiContext::new(Arc::new(super::Host::default())), None).unwrap();
            handle.show(&window).unwrap();
            (params, handle, window, editor)
        };
        let (from, to) = (open(), open());
        let mut desk = Desk::new();
        desk.conn.unmap_window(desk.window).unwrap();
        desk.rest(FRAMES * 10);
        // Side by side: the newer one is on top, and last in the tree.
        let tree = desk.conn.query_tree(desk.root).unwrap().reply().unwrap().children;
        let is_page = |window: &Window| {
            let of = desk.conn.get_geometry(*window).unwrap().reply().unwrap();
            (f32::from(of.width), f32::from(of.height)) == (SIZE.x, SIZE.y)
        };
        let pages: Vec<Window> = tree.into_iter().filter(is_page).collect();
        assert_eq!(pages.len(), 2);
        let aside = ConfigureWindowAux::new().x(1100);
        desk.conn.configure_window(*pages.last().unwrap(), &aside).unwrap().check().unwrap();
        desk.rest(FRAMES * 3);

        let (params, guitar) = (Arc::clone(&to.0), place_of("Drag Guitar"));
        let given = || params.saved.given();
        // Dropped on its own window it goes nowhere.
        desk.move_to(guitar);
        desk.button(true);
        for y in [20, 60, 200] {
            desk.move_to((guitar.0, guitar.1 - y));
        }
        desk.button(false);
        desk.rest(FRAMES * 4);
        assert!(from.0.saved.given().is_none() && given().is_none());

        desk.drag_over(guitar);
        desk.button(false);
        let until = Instant::now() + PATIENCE;
        while given().is_none() {
            assert!(Instant::now() < until, "nothing was taken");
            desk.rest(FRAMES);
        }
        let parts = render_parts(&pattern(&from.0, 0), &from.0.knobs(), TimeSignature::default(), 0..8);
        let n_notes = parts.iter().filter(|(part, _)| *part == Part::Track(3)).count();
        assert_eq!(given().map(|given| given.n_notes()), Some(n_notes));
        assert!(from.0.saved.given().is_none());
        drop((from, to));
    });
}
