//! Files dragged out of a plugin's window, into the host or a file manager, and files dropped into it. The windowing library has no source
//! of drags, and egui's part of it drops what arrives. One module for each windowing system, all with the same three names.
//!
//! Its own package, for Windows and macOS cannot be asked without `unsafe`, which the plugin's forbids.
#![cfg_attr(target_os = "macos", expect(dead_code, reason = "nothing is caught there"))]

#[cfg(target_os = "macos")]
mod cocoa;
#[cfg(windows)]
mod ole;
#[cfg(target_os = "linux")]
mod x11;

#[cfg(target_os = "macos")]
use cocoa as system;
#[cfg(windows)]
use ole as system;
#[cfg(target_os = "linux")]
use x11 as system;

use raw_window_handle::{HasWindowHandle, RawWindowHandle};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether files can be dropped into a window on this platform. They can be dragged out on all.
pub const CAN_CATCH: bool = !cfg!(target_os = "macos");

/// Whether the system keeps for itself that the mouse button was let go after a drag: the page must be told.
pub const KEEPS_RELEASE: bool = !cfg!(target_os = "linux");

/// A window, as its system knows it: an X11 id, a `HWND`, the address of an `NSView`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(isize);

impl Window {
    /// The window behind a handle; `None` where nothing can be dragged out of it.
    #[must_use]
    pub fn of(window: &impl HasWindowHandle) -> Option<Self> {
        match window.window_handle().ok()?.as_raw() {
            RawWindowHandle::Xlib(handle) => isize::try_from(handle.window).ok().map(Self),
            RawWindowHandle::Xcb(handle) => isize::try_from(handle.window.get()).ok().map(Self),
            RawWindowHandle::Win32(handle) => Some(Self(handle.hwnd.get())),
            RawWindowHandle::AppKit(handle) => Some(Self(handle.ns_view.as_ptr().addr().cast_signed())),
            _ => None,
        }
    }
}

/// Why a drag does not begin.
#[derive(Debug, thiserror::Error)]
pub enum DragError {
    /// The page is in no window.
    #[error("files cannot be dragged out of this window: use Save .mid")]
    NoWindow,
    /// The windowing system refuses.
    #[error("the drag cannot begin: {0}")]
    System(#[from] system::Refused),
}

/// How a drag stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The mouse button is held.
    Held {
        /// What is under the mouse takes the files.
        welcome: bool,
    },
    /// Let go over something that takes the files and is reading them.
    Dropped,
    /// It is over.
    Ended(Ending),
}

/// How a drag ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The files were taken.
    Taken,
    /// Let go where nothing takes files, or given up with Escape.
    Nowhere,
    /// What it was let go over takes no such files.
    Refused,
    /// What it was let go over does not answer.
    NoAnswer,
    /// The windowing system failed, and how.
    Failed(String),
}

/// What the page and the drag share.
#[derive(Debug)]
struct Shared {
    progress: Mutex<Progress>,
    /// The page no longer waits for it.
    abandoned: AtomicBool,
}

impl Shared {
    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// A drag that has begun. One that is let go of ends, and what ran for it.
#[derive(Debug)]
pub struct Drag {
    shared: Arc<Shared>,
    /// Dropped after the drag is known to be abandoned.
    _held: system::Held,
}

impl Drag {
    /// How it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Drag {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
    }
}

/// Drags files of one folder out of a window, while the mouse button is held in it. Yields at once. To be called, and the drag let go of,
/// on the window's thread.
///
/// # Errors
/// [`DragError`] where no drag can begin.
pub fn drag_out(window: Option<Window>, paths: &[PathBuf]) -> Result<Drag, DragError> {
    let window = window.ok_or(DragError::NoWindow)?;
    let shared = Arc::new(Shared { progress: Mutex::new(Progress::Held { welcome: false }), abandoned: AtomicBool::new(false) });
    let held = system::begin(window, paths, Arc::clone(&shared))?;
    Ok(Drag { shared, _held: held })
}

/// Where files that were dropped wait for the page.
struct Inbox {
    paths: Mutex<Vec<PathBuf>>,
    hovered: AtomicBool,
    closed: AtomicBool,
    /// Why nothing can be dropped.
    failed: Mutex<Option<String>>,
    /// Has the page look.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Inbox {
    fn put(&self, paths: Vec<PathBuf>) {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).extend(paths);
        (self.wake)();
    }

    fn hover(&self, hovered: bool) {
        if self.hovered.swap(hovered, Ordering::Relaxed) != hovered {
            (self.wake)();
        }
    }

    fn fail(&self, error: &dyn std::error::Error) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// Takes files that are dropped into a window, while it lives.
pub struct Catcher {
    inbox: Arc<Inbox>,
    /// Dropped after the inbox is closed.
    _caught: system::Caught,
}

impl Catcher {
    /// Begins to take files; `wake` is called when there are some. To be called, and let go of, on the window's thread.
    pub fn new(window: Window, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (paths, hovered, closed) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        let inbox = Arc::new(Inbox { paths, hovered, closed, failed: Mutex::default(), wake: Box::new(wake) });
        let caught = system::catch(window, &inbox);
        Self { inbox, _caught: caught }
    }

    /// The files dropped since.
    #[must_use]
    pub fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.inbox.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why nothing can be dropped, if it cannot.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inbox.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Files are over the window.
    #[must_use]
    pub fn is_hovered(&self) -> bool {
        self.inbox.hovered.load(Ordering::Relaxed)
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.inbox.closed.store(true, Ordering::Relaxed);
    }
}
