//! Files dragged out of the window, into the host or a file manager, and files dropped into it. The windowing library has no source of
//! drags, and egui's part of it drops what arrives; both exist here for X11, on connections and threads of their own. Elsewhere there are
//! none yet: the page shows no handle to drag, and files are opened by buttons.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has a source of drags so far"))]

mod uri;
#[cfg(target_os = "linux")]
mod x11;
#[cfg(target_os = "linux")]
mod x11_target;

use raw_window_handle::{HasWindowHandle, RawWindowHandle};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// Whether files can be dragged out on this platform.
pub const IS_POSSIBLE: bool = cfg!(target_os = "linux");

/// The window of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u32);

impl Window {
    /// The window behind a handle; `None` where nothing can be dragged out of it.
    #[must_use]
    pub fn of(window: &impl HasWindowHandle) -> Option<Self> {
        match window.window_handle().ok()?.as_raw() {
            RawWindowHandle::Xlib(handle) => u32::try_from(handle.window).ok().map(Self),
            RawWindowHandle::Xcb(handle) => Some(Self(handle.window.get())),
            _ => None,
        }
    }
}

/// Why a drag does not begin.
#[derive(Debug, thiserror::Error)]
pub enum DragError {
    /// There is no source of drags for this platform.
    #[error("files cannot be dragged out on this platform yet: use Save .mid")]
    Platform,
    /// The page is in no window.
    #[error("files cannot be dragged out of this window: use Save .mid")]
    NoWindow,
    /// The system gives no thread.
    #[error("the drag cannot begin: {0}")]
    Thread(#[from] std::io::Error),
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

/// What the page and the drag's thread share.
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
}

/// A drag that has begun. One that is let go of ends, and its thread with it.
#[derive(Debug)]
pub struct Drag(Arc<Shared>, Option<JoinHandle<()>>);

impl Drag {
    /// How it stands.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Drag {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
        // Why a drag failed is of no use to anybody now.
        let _ = self.1.take().map(JoinHandle::join);
    }
}

/// Drags files out of a window, while the mouse button is held in it. Yields at once; a thread goes on.
///
/// # Errors
/// [`DragError`] where no drag can begin.
pub fn drag_out(window: Option<Window>, paths: &[PathBuf]) -> Result<Drag, DragError> {
    if !IS_POSSIBLE {
        return Err(DragError::Platform);
    }
    let window = window.ok_or(DragError::NoWindow)?;
    let shared = Arc::new(Shared { progress: Mutex::new(Progress::Held { welcome: false }), abandoned: AtomicBool::new(false) });
    let (of_thread, list) = (Arc::clone(&shared), uri::list(paths));
    let thread = std::thread::Builder::new().name("barline-drag".into()).spawn(move || {
        let ending = run(window, list, &of_thread);
        of_thread.set(Progress::Ended(ending));
    })?;
    Ok(Drag(shared, Some(thread)))
}

#[cfg(target_os = "linux")]
fn run(window: Window, list: Vec<u8>, shared: &Shared) -> Ending {
    x11::run(window.0, list, shared).unwrap_or_else(|error| Ending::Failed(error.to_string()))
}

#[cfg(not(target_os = "linux"))]
fn run(_window: Window, _list: Vec<u8>, _shared: &Shared) -> Ending {
    Ending::Failed(DragError::Platform.to_string())
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
}

/// Takes files that are dropped into a window, while it lives.
pub struct Catcher(Arc<Inbox>, Option<JoinHandle<()>>);

impl Catcher {
    /// Begins to take files; `wake` is called when there are some. `None` where that cannot be: files are then opened by buttons.
    pub fn new(window: Window, wake: impl Fn() + Send + Sync + 'static) -> Option<Self> {
        let (paths, hovered, closed) = (Mutex::default(), AtomicBool::new(false), AtomicBool::new(false));
        let inbox = Arc::new(Inbox { paths, hovered, closed, failed: Mutex::default(), wake: Box::new(wake) });
        let of_thread = Arc::clone(&inbox);
        let thread = std::thread::Builder::new().name("barline-drop".into());
        let thread = IS_POSSIBLE.then(|| thread.spawn(move || catch(window, &of_thread)).ok())??;
        Some(Self(inbox, Some(thread)))
    }

    /// The files dropped since.
    #[must_use]
    pub fn take(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.0.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why nothing can be dropped, if it cannot.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Files are over the window.
    #[must_use]
    pub fn is_hovered(&self) -> bool {
        self.0.hovered.load(Ordering::Relaxed)
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

#[cfg(target_os = "linux")]
fn catch(window: Window, inbox: &Inbox) {
    if let Err(error) = x11_target::run(window.0, inbox) {
        *inbox.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

#[cfg(not(target_os = "linux"))]
fn catch(_window: Window, _inbox: &Inbox) {}
