//! The only place where the audio thread may wait: an offline render whose pattern is not there yet. And the judgement whether it
//! is one: CLAP says so, VST3's word lags one call in the framework used, so there the pace tells.

use std::time::{Duration, Instant};

/// Longest wait for one pattern.
pub const MAX_WAIT: Duration = Duration::from_secs(10);
/// Music judged at once.
const WINDOW_SECONDS: f64 = 0.5;
/// Music against time from which it is a render.
const FAST: f64 = 4.0;
/// Between two looks at the queue.
const POLL: Duration = Duration::from_millis(1);

/// A clock that tests can replace.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// Time since some fixed moment.
    pub now: fn() -> Duration,
    /// Passes time.
    pub sleep: fn(Duration),
}

impl Default for WallClock {
    fn default() -> Self {
        Self {
            now: || {
                static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
                START.get_or_init(Instant::now).elapsed()
            },
            sleep: std::thread::sleep,
        }
    }
}

/// Judges the pace and waits.
#[derive(Debug, Default)]
pub struct Patience {
    clock: WallClock,
    /// Where the window began, and the music since.
    window: Option<(Duration, f64)>,
    fast: bool,
    /// The last wait was in vain.
    given_up: bool,
}

impl Patience {
    /// With another clock.
    #[must_use]
    pub fn with_clock(clock: WallClock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Takes note of a block and tells whether the host renders offline.
    ///
    /// # Realtime safety
    /// Audio thread: yes; reads the monotonic clock, which is no system call on the systems supported.
    pub fn observe(&mut self, rolling: bool, music_seconds: f64, says_offline: bool) -> bool {
        if !rolling {
            self.window = None;
            self.fast = false;
            self.given_up = false;
            return says_offline;
        }
        let now = (self.clock.now)();
        let (since, music) = self.window.unwrap_or((now, 0.0));
        if music >= WINDOW_SECONDS {
            self.fast = music > FAST * now.saturating_sub(since).as_secs_f64();
            self.window = Some((now, music_seconds));
        } else {
            self.window = Some((since, music + music_seconds));
        }
        says_offline || self.fast
    }

    /// Takes note that a block's pattern is there.
    ///
    /// # Realtime safety
    /// Audio thread: yes.
    pub fn found(&mut self) {
        self.given_up = false;
    }

    /// Waits until the pattern `arrived`, at most [`MAX_WAIT`], and no longer than it is wanted: a state loaded meanwhile has the
    /// worker make another one. After a wait in vain nothing is waited for, whatever is wanted, until one is
    /// [`found`](Self::found) or the transport stops: where no model works, automated seeds would each take [`MAX_WAIT`].
    ///
    /// # Realtime safety
    /// Audio thread: offline renders only.
    pub fn wait_for_pattern(&mut self, is_wanted: &dyn Fn() -> bool, arrived: &mut dyn FnMut() -> bool) {
        if self.given_up {
            return;
        }
        let start = (self.clock.now)();
        while is_wanted() && !self.given_up {
            (self.clock.sleep)(POLL);
            if arrived() {
                break;
            }
            self.given_up = (self.clock.now)().saturating_sub(start) >= MAX_WAIT;
        }
        // The time waited says nothing about the host's pace.
        self.window = None;
    }
}
