//! A target of drags for X11. The windowing library answers for its window itself and egui's part of it drops what arrives, so a window of
//! this module stands in as the editor's proxy, which the protocol provides for.
//!
//! # Source
//! <https://www.freedesktop.org/wiki/Specifications/XDND/>

use super::{
    super::Inbox,
    source::{Atoms, VERSIONS, X11Error, known},
    uri,
};
use std::{sync::atomic::Ordering, time::Duration};
use x11rb::{
    NONE,
    connection::Connection,
    protocol::{
        Event,
        xproto::{
            Atom, AtomEnum, ClientMessageEvent, ConnectionExt, CreateWindowAux, EventMask, PropMode, SelectionNotifyEvent,
            Window, WindowClass,
        },
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

/// Time between two looks at what has arrived.
const POLL: Duration = Duration::from_millis(15);
/// Longest list of files that is read, in units of four bytes.
const MAX_LIST: u32 = 16 * 1024;
/// Most kinds of data that a source is asked about.
const MAX_KINDS: u32 = 256;

/// What is over the window.
struct Guest {
    source: Window,
    version: u32,
    has_files: bool,
}

struct Proxy<'a> {
    conn: RustConnection,
    own: Window,
    editor: Window,
    atoms: Atoms,
    guest: Option<Guest>,
    inbox: &'a Inbox,
}

/// Takes files for a window until the page no longer wants any.
pub fn run(editor: u32, inbox: &Inbox) -> Result<(), X11Error> {
    let mut proxy = Proxy::new(editor, inbox)?;
    while !inbox.closed.load(Ordering::Relaxed) {
        while let Some(event) = proxy.conn.poll_for_event()? {
            match event {
                Event::ClientMessage(message) if message.format == 32 => proxy.message(&message)?,
                Event::SelectionNotify(notice) => proxy.data(&notice)?,
                _ => {}
            }
        }
        std::thread::sleep(POLL);
    }
    // The window may have gone already.
    proxy.conn.delete_property(editor, proxy.atoms.proxy)?.ignore_error();
    Ok(proxy.conn.sync()?)
}

impl<'a> Proxy<'a> {
    fn new(editor: Window, inbox: &'a Inbox) -> Result<Self, X11Error> {
        let (conn, screen) = x11rb::connect(None)?;
        let root = conn.setup().roots.get(screen).ok_or(X11Error::Screen)?.root;
        let atoms = Atoms::new(&conn)?.reply()?;
        let own = conn.generate_id()?;
        let aux = CreateWindowAux::new().override_redirect(1);
        conn.create_window(0, own, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?.check()?;
        conn.change_property32(PropMode::REPLACE, own, atoms.aware, AtomEnum::ATOM, &[VERSIONS.0])?.check()?;
        for window in [own, editor] {
            conn.change_property32(PropMode::REPLACE, window, atoms.proxy, AtomEnum::WINDOW, &[own])?.check()?;
        }
        Ok(Self { conn, own, editor, atoms, guest: None, inbox })
    }

    fn message(&mut self, message: &ClientMessageEvent) -> Result<(), X11Error> {
        let [source, second, third, ..] = message.data.as_data32();
        let kind = message.type_;
        if kind == self.atoms.enter {
            let kinds = self.kinds(&message.data.as_data32())?;
            self.guest = Some(Guest { source, version: second >> 24, has_files: kinds.contains(&self.atoms.uri_list) });
            return Ok(());
        }
        let Some(guest) = self.guest.as_ref().filter(|guest| guest.source == source) else { return Ok(()) };
        let has_files = guest.has_files;
        if kind == self.atoms.position {
            let action = if has_files { self.atoms.copy } else { NONE };
            self.inbox.hover(has_files);
            self.send(source, self.atoms.status, [u32::from(has_files), 0, 0, action])?;
        } else if kind == self.atoms.leave {
            self.inbox.hover(false);
            self.guest = None;
        } else if kind == self.atoms.drop {
            self.inbox.hover(false);
            if has_files {
                let (selection, list) = (self.atoms.selection, self.atoms.uri_list);
                self.conn.convert_selection(self.own, selection, list, selection, third)?.ignore_error();
                self.conn.flush()?;
            } else {
                self.finish(false)?;
            }
        }
        Ok(())
    }

    /// The kinds of data that a source has: three in the message, or all in a list of its window's.
    fn kinds(&self, data: &[u32; 5]) -> Result<Vec<Atom>, X11Error> {
        let [source, flags, inline @ ..] = data;
        if flags & 1 == 0 {
            return Ok(inline.to_vec());
        }
        let property = self.conn.get_property(false, *source, self.atoms.type_list, AtomEnum::ATOM, 0, MAX_KINDS)?;
        let reply = known(property.reply())?;
        Ok(reply.and_then(|reply| Some(reply.value32()?.collect())).unwrap_or_default())
    }

    /// Takes the list of files that a source has given.
    fn data(&mut self, notice: &SelectionNotifyEvent) -> Result<(), X11Error> {
        if notice.property == NONE || notice.requestor != self.own {
            return self.finish(false);
        }
        let reply = known(self.conn.get_property(true, self.own, notice.property, AtomEnum::ANY, 0, MAX_LIST)?.reply())?;
        let paths = reply.map(|reply| uri::paths(&reply.value)).unwrap_or_default();
        let is_taken = !paths.is_empty();
        self.inbox.put(paths);
        self.finish(is_taken)
    }

    fn finish(&mut self, is_taken: bool) -> Result<(), X11Error> {
        let Some(guest) = self.guest.take() else { return Ok(()) };
        let action = if is_taken { self.atoms.copy } else { NONE };
        // Before version 2 nobody waits for it.
        if guest.version < 2 { Ok(()) } else { self.send(guest.source, self.atoms.finished, [u32::from(is_taken), action, 0, 0]) }
    }

    /// Answers in the name of the editor's window.
    fn send(&self, to: Window, kind: Atom, [a, b, c, d]: [u32; 4]) -> Result<(), X11Error> {
        let message = ClientMessageEvent::new(32, to, kind, [self.editor, a, b, c, d]);
        self.conn.send_event(false, to, EventMask::NO_EVENT, message)?.ignore_error();
        Ok(self.conn.flush()?)
    }
}
