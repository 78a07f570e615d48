//! X11: the XDND protocol, on connections and threads of its own.

mod source;
mod target;
mod uri;

use super::{Ending, Inbox, Progress, Shared, Window};
use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

/// Why a drag does not begin: the system gives no thread.
pub type Refused = io::Error;

/// A thread that ends with what it is held by.
#[derive(Debug)]
pub struct Held(Option<JoinHandle<()>>);

/// The same, where none may have been given.
pub type Caught = Option<Held>;

impl Drop for Held {
    fn drop(&mut self) {
        // Why it failed is of no use to anybody now.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// Drags on a thread.
pub fn begin(window: Window, paths: &[PathBuf], shared: Arc<Shared>) -> Result<Held, Refused> {
    let list = uri::list(paths);
    let thread = Builder::new().name("barline-drag".into()).spawn(move || {
        let ending = source::run(id(window), list, &shared).unwrap_or_else(|error| Ending::Failed(error.to_string()));
        shared.set(Progress::Ended(ending));
    })?;
    Ok(Held(Some(thread)))
}

/// Takes files on a thread.
pub fn catch(window: Window, inbox: &Arc<Inbox>) -> Caught {
    let of_thread = Arc::clone(inbox);
    let thread = Builder::new().name("barline-drop".into()).spawn(move || {
        if let Err(error) = target::run(id(window), &of_thread) {
            of_thread.fail(&error);
        }
    });
    thread.inspect_err(|error| inbox.fail(error)).ok().map(|thread| Held(Some(thread)))
}

/// X11 knows its windows by 29 bits; 0 is none.
fn id(window: Window) -> u32 {
    u32::try_from(window.0).unwrap_or(x11rb::NONE)
}
