//! A source of drags for X11: the XDND protocol, version 5, over `text/uri-list`.
//!
//! Another connection than the window's holds the pointer for as long as the button is down (the server's implicit grab), so this one
//! cannot grab it. It asks where the pointer is instead, some hundred times a second, and tells what lies there.
//!
//! # Source
//! <https://www.freedesktop.org/wiki/Specifications/XDND/>

use super::super::{Ending, Progress, Shared};
use std::time::{Duration, Instant};
use x11rb::{
    CURRENT_TIME, NONE,
    connection::Connection,
    errors::{ConnectError, ConnectionError, ReplyError, ReplyOrIdError},
    protocol::{
        Event,
        xproto::{
            Atom, AtomEnum, ClientMessageEvent, ConnectionExt, CreateWindowAux, EventMask, KeyButMask, PropMode,
            SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window, WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

/// The newest version of the protocol, and the oldest that is spoken.
pub const VERSIONS: (u32, u32) = (5, 3);
/// Time between two looks at the pointer.
const POLL: Duration = Duration::from_millis(8);
/// Time for an answer to the last place of the pointer.
const ANSWER: Duration = Duration::from_secs(2);
/// Time for taking the files: a host may ask its user what to do with them.
const TAKING: Duration = Duration::from_secs(120);
/// Longest drag.
const HELD: Duration = Duration::from_secs(600);
/// Deepest window that is looked at.
const MAX_DEPTH: usize = 64;
const ESCAPE: u32 = 0xff1b;

/// What went wrong between this and the X server.
#[derive(Debug, thiserror::Error)]
pub enum X11Error {
    #[error("no X server: {0}")]
    Connect(#[from] ConnectError),
    #[error("the X server has gone: {0}")]
    Connection(#[from] ConnectionError),
    #[error("the X server refuses: {0}")]
    Reply(#[from] ReplyError),
    #[error("the X server refuses: {0}")]
    Id(#[from] ReplyOrIdError),
    #[error("the X server has no such screen")]
    Screen,
    #[error("another program has taken the drag over")]
    Owner,
}

x11rb::atom_manager! {
    pub Atoms: AtomsCookie {
        // A name as it is comes first: the macro makes one array of all, of the first one's type.
        TARGETS,
        aware: b"XdndAware",
        proxy: b"XdndProxy",
        selection: b"XdndSelection",
        enter: b"XdndEnter",
        position: b"XdndPosition",
        status: b"XdndStatus",
        leave: b"XdndLeave",
        drop: b"XdndDrop",
        finished: b"XdndFinished",
        copy: b"XdndActionCopy",
        uri_list: b"text/uri-list",
        type_list: b"XdndTypeList",
    }
}

/// The window that the pointer is over.
struct Target {
    window: Window,
    /// Where messages go: the window, or its proxy.
    to: Window,
    version: u32,
    /// The place that it was told last.
    told: Option<(i16, i16)>,
    /// It has not answered yet.
    owes_answer: bool,
    accepts: bool,
}

struct Source {
    conn: RustConnection,
    root: Window,
    /// Owns the selection and hears the answers.
    own: Window,
    /// The window that the files are dragged out of.
    editor: Window,
    atoms: Atoms,
    list: Vec<u8>,
    escape: Option<u8>,
    /// The server's clock when the drag began.
    clock: (u32, Instant),
    target: Option<Target>,
    /// Another owns the selection.
    is_lost: bool,
    is_delivered: bool,
    /// Whether the files were taken, once that is said.
    finished: Option<bool>,
}

/// Drags until the files are taken or the drag is over.
pub fn run(editor: u32, list: Vec<u8>, shared: &Shared) -> Result<Ending, X11Error> {
    let mut source = Source::new(editor, list)?;
    let is_abandoned = || shared.is_abandoned();
    let begun = Instant::now();
    let place = loop {
        source.hear()?;
        let pointer = source.conn.query_pointer(source.root)?.reply()?;
        let place = (pointer.root_x, pointer.root_y);
        let is_given_up = is_abandoned() || source.is_escape_down()? || begun.elapsed() > HELD;
        if is_given_up || source.is_lost {
            source.leave()?;
            return Ok(Ending::Nowhere);
        }
        source.point_at(place)?;
        shared.set(Progress::Held { welcome: source.target.as_ref().is_some_and(|target| target.accepts) });
        if !pointer.mask.contains(KeyButMask::BUTTON1) {
            break place;
        }
        std::thread::sleep(POLL);
    };
    // What is under the pointer may still owe its answer to the last place.
    let released = Instant::now();
    while !is_abandoned() && source.target.as_ref().is_some_and(|target| target.owes_answer) && released.elapsed() < ANSWER {
        std::thread::sleep(POLL);
        source.hear()?;
        source.tell(place)?;
    }
    let ending = match &source.target {
        None => Some(Ending::Nowhere),
        Some(target) if target.owes_answer => Some(Ending::NoAnswer),
        Some(target) if !target.accepts => Some(Ending::Refused),
        Some(_) => None,
    };
    if let Some(ending) = ending {
        source.leave()?;
        return Ok(ending);
    }
    source.drop()?;
    shared.set(Progress::Dropped);
    let dropped = Instant::now();
    while dropped.elapsed() < TAKING && !source.is_lost && !is_abandoned() {
        source.hear()?;
        if let Some(is_taken) = source.finished {
            return Ok(if is_taken { Ending::Taken } else { Ending::Refused });
        }
        std::thread::sleep(POLL);
    }
    Ok(if source.is_delivered { Ending::Taken } else { Ending::NoAnswer })
}

impl Source {
    fn new(editor: Window, list: Vec<u8>) -> Result<Self, X11Error> {
        let (conn, screen) = x11rb::connect(None)?;
        let root = conn.setup().roots.get(screen).ok_or(X11Error::Screen)?.root;
        let atoms = Atoms::new(&conn)?.reply()?;
        let own = conn.generate_id()?;
        let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE).override_redirect(1);
        conn.create_window(0, own, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?.check()?;
        // The protocol wants real times, and an event has the server's.
        conn.change_property32(PropMode::APPEND, own, atoms.selection, AtomEnum::ATOM, &[])?.check()?;
        let time = loop {
            if let Event::PropertyNotify(event) = conn.wait_for_event()? {
                break event.time;
            }
        };
        conn.set_selection_owner(own, atoms.selection, time)?.check()?;
        if conn.get_selection_owner(atoms.selection)?.reply()?.owner != own {
            return Err(X11Error::Owner);
        }
        let escape = keycode_of(&conn, ESCAPE)?;
        let clock = (time, Instant::now());
        Ok(Self {
            conn,
            root,
            own,
            editor,
            atoms,
            list,
            escape,
            clock,
            target: None,
            is_lost: false,
            is_delivered: false,
            finished: None,
        })
    }

    /// The server's time.
    fn time(&self) -> u32 {
        let (start, at) = self.clock;
        let passed = u32::try_from(at.elapsed().as_millis()).unwrap_or(0);
        match start.wrapping_add(passed) {
            CURRENT_TIME => 1,
            time => time,
        }
    }

    fn is_escape_down(&self) -> Result<bool, X11Error> {
        let Some(code) = self.escape else { return Ok(false) };
        let keys = self.conn.query_keymap()?.reply()?.keys;
        Ok(keys.get(usize::from(code / 8)).is_some_and(|byte| byte >> (code % 8) & 1 == 1))
    }

    /// Tells the window under a place, and the one left, where the pointer is.
    fn point_at(&mut self, place: (i16, i16)) -> Result<(), X11Error> {
        let found = self.find(place)?;
        let is_same = found.as_ref().map(|t| t.window) == self.target.as_ref().map(|t| t.window);
        if !is_same {
            self.leave()?;
            self.target = found;
            if let Some(target) = &self.target {
                self.send(target, self.atoms.enter, [target.version << 24, self.atoms.uri_list, NONE, NONE])?;
            }
        }
        self.tell(place)
    }

    /// Tells the target a new place, unless it still owes an answer to the last.
    fn tell(&mut self, place: (i16, i16)) -> Result<(), X11Error> {
        let time = self.time();
        let Some(mut target) = self.target.take() else { return Ok(()) };
        if !target.owes_answer && target.told != Some(place) {
            let (x, y) = (u32::from(place.0.cast_unsigned()), u32::from(place.1.cast_unsigned()));
            self.send(&target, self.atoms.position, [0, x << 16 | y, time, self.atoms.copy])?;
            (target.told, target.owes_answer) = (Some(place), true);
        }
        self.target = Some(target);
        Ok(())
    }

    /// Leaves the target, if there is one.
    fn leave(&mut self) -> Result<(), X11Error> {
        match self.target.take() {
            Some(target) => self.send(&target, self.atoms.leave, [0; 4])?,
            None => return Ok(()),
        }
        // Often the last that is said: a server does not read what a connection that is closed had still to say.
        Ok(self.conn.sync()?)
    }

    fn drop(&self) -> Result<(), X11Error> {
        match &self.target {
            Some(target) => self.send(target, self.atoms.drop, [0, self.time(), 0, 0]),
            None => Ok(()),
        }
    }

    fn send(&self, target: &Target, kind: Atom, [a, b, c, d]: [u32; 4]) -> Result<(), X11Error> {
        let message = ClientMessageEvent::new(32, target.window, kind, [self.own, a, b, c, d]);
        self.conn.send_event(false, target.to, EventMask::NO_EVENT, message)?.ignore_error();
        Ok(self.conn.flush()?)
    }

    /// The outermost window at a place that takes drags; none over the window that is dragged out of.
    fn find(&self, (x, y): (i16, i16)) -> Result<Option<Target>, X11Error> {
        let (mut at, mut found) = (self.root, None);
        for _ in 0..MAX_DEPTH {
            let reply = known(self.conn.translate_coordinates(self.root, at, x, y)?.reply())?;
            let Some(child) = reply.map(|reply| reply.child).filter(|child| *child != NONE) else { break };
            if child == self.editor {
                return Ok(None);
            }
            if found.is_none() {
                found = self.aware(child)?;
            }
            at = child;
        }
        // A desktop takes drags through the root window.
        if found.is_none() { self.aware(self.root) } else { Ok(found) }
    }

    /// The target that a window is, if it takes drags.
    fn aware(&self, window: Window) -> Result<Option<Target>, X11Error> {
        // A proxy names itself, so that one of a program that has gone is not taken for one.
        let proxy = match self.number(window, self.atoms.proxy, AtomEnum::WINDOW)? {
            Some(proxy) if self.number(proxy, self.atoms.proxy, AtomEnum::WINDOW)? == Some(proxy) => Some(proxy),
            _ => None,
        };
        let to = proxy.unwrap_or(window);
        let version = self.number(to, self.atoms.aware, AtomEnum::ATOM)?.filter(|version| *version >= VERSIONS.1);
        let target = |version: u32| Target {
            window,
            to,
            version: version.min(VERSIONS.0),
            told: None,
            owes_answer: false,
            accepts: false,
        };
        Ok(version.map(target))
    }

    fn number(&self, window: Window, property: Atom, kind: AtomEnum) -> Result<Option<u32>, X11Error> {
        let reply = known(self.conn.get_property(false, window, property, kind, 0, 1)?.reply())?;
        Ok(reply.and_then(|reply| reply.value32()?.next()))
    }

    /// Takes in what has arrived.
    fn hear(&mut self) -> Result<(), X11Error> {
        while let Some(event) = self.conn.poll_for_event()? {
            match event {
                Event::ClientMessage(message) if message.format == 32 => {
                    let [from, flags, ..] = message.data.as_data32();
                    let Some(target) = self.target.as_mut().filter(|t| from == t.window || from == t.to) else { continue };
                    if message.type_ == self.atoms.status {
                        (target.owes_answer, target.accepts) = (false, flags & 1 == 1);
                    } else if message.type_ == self.atoms.finished {
                        // Before version 5 nothing says whether.
                        self.finished = Some(target.version < 5 || flags & 1 == 1);
                    }
                }
                Event::SelectionRequest(request) => self.answer(&request)?,
                Event::SelectionClear(cleared) if cleared.selection == self.atoms.selection => self.is_lost = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the files to whom asks for them.
    fn answer(&mut self, request: &SelectionRequestEvent) -> Result<(), X11Error> {
        // Old programs name no property.
        let property = if request.property == NONE { request.target } else { request.property };
        let (to, replace) = (request.requestor, PropMode::REPLACE);
        let given = if request.selection != self.atoms.selection {
            None
        } else if request.target == self.atoms.uri_list {
            self.is_delivered = true;
            Some(self.conn.change_property8(replace, to, property, self.atoms.uri_list, &self.list)?)
        } else if request.target == self.atoms.TARGETS {
            let kinds = [self.atoms.TARGETS, self.atoms.uri_list];
            Some(self.conn.change_property32(replace, to, property, AtomEnum::ATOM, &kinds)?)
        } else {
            None
        };
        let property = if given.is_some() { property } else { NONE };
        if let Some(given) = given {
            given.ignore_error();
        }
        let notice = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: to,
            selection: request.selection,
            target: request.target,
            property,
        };
        self.conn.send_event(false, to, EventMask::NO_EVENT, notice)?.ignore_error();
        Ok(self.conn.flush()?)
    }
}

/// A reply, or nothing where the window that was asked about has gone.
pub fn known<T>(reply: Result<T, ReplyError>) -> Result<Option<T>, ConnectionError> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(_)) => Ok(None),
        Err(ReplyError::ConnectionError(error)) => Err(error),
    }
}

/// The key that has this meaning without modifiers.
fn keycode_of(conn: &RustConnection, meaning: u32) -> Result<Option<u8>, X11Error> {
    let (first, last) = (conn.setup().min_keycode, conn.setup().max_keycode);
    let keys = conn.get_keyboard_mapping(first, last.saturating_sub(first).saturating_add(1))?.reply()?;
    let per_key = usize::from(keys.keysyms_per_keycode).max(1);
    let found = (first..=last).zip(keys.keysyms.chunks(per_key)).find(|(_, meanings)| meanings.first() == Some(&meaning));
    Ok(found.map(|(code, _)| code))
}
