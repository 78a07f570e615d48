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
    /// The pattern that was waited for in vain.
    given_up: Option<u64>,
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
            self.given_up = None;
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

    /// Waits until the pattern of that key `arrived`, at most [`MAX_WAIT`]. After a wait in vain it is not waited for again, unless it
    /// does come or the transport stops.
    ///
    /// # Realtime safety
    /// Audio thread: offline renders only.
    pub fn wait_for_pattern(&mut self, key: u64, arrived: &mut dyn FnMut() -> bool) {
        if arrived() {
            self.given_up = None;
            return;
        }
        if self.given_up == Some(key) {
            return;
        }
        let start = (self.clock.now)();
        let mut in_time = false;
        while !in_time && (self.clock.now)().saturating_sub(start) < MAX_WAIT {
            (self.clock.sleep)(POLL);
            in_time = arrived();
        }
        self.given_up = (!in_time).then_some(key);
        // The time waited says nothing about the host's pace.
        self.window = None;
    }
}
