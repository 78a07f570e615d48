//! One engine per process serves every instance of the plugin: a worker thread, one session per model, and one [`Port`] per
//! instance between the worker and the audio thread.

pub mod capture;
mod job;
pub mod port;
mod source;
#[cfg(test)]
mod tests;
mod worker;

pub use capture::{Captured, CapturedBar, CapturedKind, Recorder};
pub use port::{Delivery, Playhead, Port, Takeover};
pub use source::{PatternSource, Readiness, Status, Wanted};

use crate::generate::ModelProvider;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};
use worker::{Instance, Shared, Worker};

/// Longest wait for the worker's end: a model that is just being loaded onto a GPU.
const MAX_JOIN: Duration = Duration::from_secs(20);

/// The worker thread and what it serves. Ends with the last [`Registration`].
pub struct Engine {
    shared: Arc<Shared>,
    /// Why the thread could not be started, else the thread.
    worker: Result<WorkerThread, String>,
}

struct WorkerThread {
    thread: Thread,
    handle: Mutex<Option<JoinHandle<()>>>,
    ended: Mutex<mpsc::Receiver<()>>,
}

/// An instance's place in the engine. Dropping it (main thread) takes the instance out; the last one ends the worker and waits
/// for it, so that no code runs when the host unloads the library.
pub struct Registration {
    engine: Arc<Engine>,
    common: Arc<Common>,
}

/// What an instance and its registration share.
#[derive(Default)]
struct Common {
    status: Mutex<Status>,
    gone: AtomicBool,
    listener: Mutex<Option<Listener>>,
}

/// Hears of a new pattern and of failures, on the worker thread: it must neither wait nor take long.
pub type Listener = Box<dyn Fn() + Send>;

static GLOBAL: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

impl Engine {
    /// The engine of this process, started if there is none. Main thread.
    pub fn global(provider: impl FnOnce() -> Box<dyn ModelProvider>) -> Arc<Self> {
        let mut global = lock(&GLOBAL);
        if let Some(engine) = global.upgrade() {
            return engine;
        }
        let engine = Self::start(provider());
        *global = Arc::downgrade(&engine);
        engine
    }

    /// An engine of one's own: for tests, and for programs that embed Barline.
    #[must_use]
    pub fn start(provider: Box<dyn ModelProvider>) -> Arc<Self> {
        let shared = Arc::new(Shared { joining: Mutex::new(Vec::new()), stop: AtomicBool::new(false) });
        let (ends, ended) = mpsc::sync_channel(1);
        let mut worker = Worker::new(Arc::clone(&shared), provider);
        let spawned = std::thread::Builder::new().name("barline-worker".into()).spawn(move || {
            worker.run();
            // All that the instances and sessions hold goes before anybody hears of the end.
            drop(worker);
            // Nobody listens any more where the engine gave up waiting.
            let _ = ends.send(());
        });
        let worker = match spawned {
            Ok(handle) => {
                Ok(WorkerThread { thread: handle.thread().clone(), handle: Mutex::new(Some(handle)), ended: Mutex::new(ended) })
            }
            Err(error) => Err(format!("the worker thread cannot be started: {error}")),
        };
        Arc::new(Self { shared, worker })
    }

    /// Takes an instance in. Main thread; never blocks on the worker.
    #[must_use = "the instance is served as long as its registration lives"]
    pub fn register(self: &Arc<Self>, port: Arc<Port>, source: Box<dyn PatternSource>) -> Registration {
        let common = Arc::new(Common::default());
        if let Err(reason) = &self.worker {
            let mut status = lock(&common.status);
            status.readiness = Readiness::Failed;
            status.error = Some(reason.clone());
        }
        lock(&self.shared.joining).push(Instance::new(source, port, Arc::clone(&common)));
        let registration = Registration { engine: Arc::clone(self), common };
        registration.nudge();
        registration
    }
}

impl Registration {
    /// What the editor and the command line show. Not for the audio thread.
    #[must_use]
    pub fn status(&self) -> Status {
        lock(&self.common.status).clone()
    }

    /// Has a new pattern and failures told, in place of whom they were told before; `None` tells nobody. Not for the audio thread.
    pub fn listen(&self, listener: Option<Listener>) {
        *lock(&self.common.listener) = listener;
    }

    /// Has the worker look at once instead of at its next poll. Not for the audio thread: it may be a system call.
    pub fn nudge(&self) {
        if let Ok(worker) = &self.engine.worker {
            worker.thread.unpark();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.common.gone.store(true, Ordering::Release);
        self.nudge();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let Ok(worker) = &self.worker else { return };
        worker.thread.unpark();
        // A source that holds the engine could end it on the worker itself.
        if worker.thread.id() == std::thread::current().id() {
            return;
        }
        let has_ended = !matches!(lock(&worker.ended).recv_timeout(MAX_JOIN), Err(mpsc::RecvTimeoutError::Timeout));
        if has_ended && let Some(handle) = lock(&worker.handle).take() {
            // It contains its own panics.
            let _ = handle.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
