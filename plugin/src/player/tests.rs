//! The player against small models of hosts.

use super::{
    testing::{band, doubtful, mono, poly, random_knobs, random_lanes, written},
    wait::WallClock,
    *,
};
use crate::{
    generate::{Pattern, Span},
    music::note::{Channel, Pitch, Velocity},
};
use assert_no_alloc::assert_no_alloc;
use fastrand::Rng;
use std::{cell::Cell, collections::HashSet, time::Duration};

// The framework brings its own guard with that feature, and a program has only one allocator.
#[cfg(not(feature = "alloc-guard"))]
#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

const RATE: f32 = 48_000.0;

/// A host's side of the notes: what it got, when, and whether it adds up.
#[derive(Default)]
struct Listener {
    /// Samples since the start.
    now: u64,
    n_samples: u32,
    last_offset: u32,
    sounding: HashSet<(Channel, Pitch)>,
    got: Vec<(u64, NoteEvent)>,
    /// Of a hundred events, so many are refused.
    refuses: u64,
    rng: Option<Rng>,
    refused: u64,
}

impl EventSink for Listener {
    fn send(&mut self, offset_samples: u32, event: NoteEvent) -> bool {
        assert!(offset_samples < self.n_samples, "offset {offset_samples} outside a block of {}", self.n_samples);
        assert!(offset_samples >= self.last_offset, "time goes back from {} to {offset_samples}", self.last_offset);
        if self.rng.as_mut().is_some_and(|rng| rng.u64(..100) < self.refuses) {
            self.refused += 1;
            return false;
        }
        self.last_offset = offset_samples;
        let note = (event.channel, event.pitch);
        match event.kind {
            EventKind::On(_) => assert!(self.sounding.insert(note), "{note:?} begins while it sounds"),
            EventKind::Off => assert!(self.sounding.remove(&note), "{note:?} ends but does not sound"),
        }
        assert!(self.got.len() < self.got.capacity(), "the test's own table is too small");
        self.got.push((self.now + u64::from(offset_samples), event));
        true
    }
}

/// How a host tells its position.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Telling {
    Exact,
    /// CLAP's fixed point.
    FixedPoint,
    /// Ardour: rounded to 1/1920 beat.
    Rounded,
    /// Carla without a timebase master: beats stand still, samples go on.
    FrozenBeats,
    SamplesOnly,
    /// Neither goes on.
    Stuck,
    Nothing,
}

struct Host {
    rate: f32,
    listener: Listener,
    player: Player,
    port: Port,
    telling: Telling,
    tempo: f64,
    says_tempo: Option<f64>,
    meter: (i32, i32),
    beats: f64,
    samples: i64,
    playing: bool,
    looping: Option<(f64, f64)>,
    /// The host cuts blocks at the loop's end.
    splits: bool,
    offline: bool,
    knobs: Knobs,
    wanted: u64,
    stuck_at: (f64, i64),
}

impl Host {
    fn new() -> Self {
        Self::with_player(Player::new())
    }

    fn with_player(player: Player) -> Self {
        Self {
            rate: RATE,
            listener: Listener {
                got: Vec::with_capacity(1 << 18),
                sounding: HashSet::with_capacity(4096),
                ..Listener::default()
            },
            player,
            port: Port::new(),
            telling: Telling::Exact,
            tempo: 120.0,
            says_tempo: Some(120.0),
            meter: (4, 4),
            beats: 0.0,
            samples: 0,
            playing: true,
            looping: None,
            splits: false,
            offline: false,
            knobs: Knobs::default(),
            wanted: 0,
            stuck_at: (0.0, 0),
        }
    }

    fn playing(pattern: Pattern) -> Self {
        let mut host = Self::new();
        host.deliver(pattern, Takeover::BarLine);
        host
    }

    fn deliver(&mut self, pattern: Pattern, takeover: Takeover) {
        self.wanted = pattern.key;
        while self.port.retired.pop().is_some() {}
        let _ = self.port.incoming.push(Box::new(Delivery { pattern, takeover }));
    }

    fn tempo(&mut self, bpm: f64) {
        (self.tempo, self.says_tempo) = (bpm, Some(bpm));
    }

    fn seek(&mut self, beats: f64) {
        self.beats = beats;
        self.samples = samples_at(beats, self.tempo, self.rate);
    }

    fn transport(&self) -> HostTransport {
        let (pos_beats, pos_samples) = match self.telling {
            Telling::Exact => (Some(self.beats), None),
            Telling::FixedPoint => (Some((self.beats * f64::from(1_u32 << 31)).round() / f64::from(1_u32 << 31)), None),
            Telling::Rounded => (Some((self.beats * 1920.0).round() / 1920.0), Some(self.samples)),
            Telling::FrozenBeats => (Some(0.0), Some(self.samples)),
            Telling::SamplesOnly => (None, Some(self.samples)),
            Telling::Stuck => (Some(self.stuck_at.0), Some(self.stuck_at.1)),
            Telling::Nothing => (None, None),
        };
        HostTransport {
            playing: self.playing,
            tempo: self.says_tempo,
            pos_beats,
            pos_samples,
            meter: Some(self.meter),
            loop_beats: self.looping,
            offline: self.offline,
        }
    }

    /// Processes one block, or several if the host cuts it at the loop's end.
    fn block(&mut self, n_samples: u32) {
        let (rate, per_sample) = (self.rate, self.tempo / 60.0 / f64::from(self.rate));
        let mut left = n_samples;
        while left > 0 {
            let mut n = left;
            let to_end = self.looping.filter(|_| self.playing).map(|(_, end)| (end - self.beats) / per_sample);
            if let Some(to_end) = to_end.filter(|s| self.splits && *s > 0.5 && *s < f64::from(left)) {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the block's length")]
                let first = to_end.round() as u32;
                n = first.clamp(1, left);
            }
            left -= n;
            (self.listener.n_samples, self.listener.last_offset) = (n, 0);
            let transport = self.transport();
            let Self { player, listener, port, knobs, wanted, .. } = self;
            assert_no_alloc(|| in_real_time(|| player.process(&transport, n, rate, knobs, &|| *wanted, port, listener)));
            self.listener.now += u64::from(n);
            if self.playing {
                self.beats += f64::from(n) * per_sample;
                self.samples += i64::from(n);
                if let Some((start, end)) = self.looping
                    && self.beats > end - 1e-9
                    && to_end.is_some_and(|s| s > 0.0)
                {
                    self.beats = if self.splits { start } else { start + (self.beats - end) % (end - start) };
                    self.samples = samples_at(self.beats, self.tempo, rate);
                }
            }
        }
    }

    fn blocks(&mut self, n_samples: u32, total: u32) {
        let mut left = total;
        while left > 0 {
            self.block(n_samples.min(left));
            left -= n_samples.min(left);
        }
    }

    fn stop(&mut self) {
        self.playing = false;
        self.block(64);
    }

    /// `(sample, pitch, begins)` of everything got so far.
    fn heard(&self) -> Vec<(u64, u8, bool)> {
        self.listener.got.iter().map(|(at, e)| (*at, e.pitch.number(), e.kind != EventKind::Off)).collect()
    }
}

fn transport_samples(beats: f64, tempo: f64) -> i64 {
    samples_at(beats, tempo, RATE)
}

#[expect(clippy::cast_possible_truncation, reason = "small in tests")]
fn samples_at(beats: f64, tempo: f64, rate: f32) -> i64 {
    (beats * 60.0 / tempo * f64::from(rate)).round() as i64
}

/// Where RealtimeSanitizer is linked (`cargo xtask test` does so where it can), any allocation, lock or system call in here ends the
/// process; else it does nothing.
#[rtsan_standalone::nonblocking]
fn in_real_time(work: impl FnOnce()) {
    work();
}

/// The gate's own test: run by `cargo xtask test` with RealtimeSanitizer linked, where each must end its process.
#[test]
#[ignore = "`cargo xtask test` runs it where RealtimeSanitizer is linked, which must end its process"]
fn planted_allocation() {
    in_real_time(|| drop(std::hint::black_box(vec![1_u8; 4096])));
}

#[test]
#[ignore = "`cargo xtask test` runs it where RealtimeSanitizer is linked, which must end its process"]
fn planted_lock() {
    // An uncontended lock is an atomic and no violation; one that somebody holds is a system call.
    let lock = std::sync::Arc::new(std::sync::Mutex::new(()));
    let theirs = std::sync::Arc::clone(&lock);
    let (held, is_held) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        let _guard = theirs.lock();
        held.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
    });
    is_held.recv().unwrap();
    in_real_time(|| drop(lock.lock()));
    holder.join().unwrap();
}

#[test]
#[ignore = "`cargo xtask test` runs it where RealtimeSanitizer is linked, which must end its process"]
fn planted_file() {
    in_real_time(|| drop(std::fs::File::open("/")));
}

/// The allocation guard's own test. The guard aborts, so the test is run once more, in a process of its own.
#[test]
#[cfg(not(any(feature = "alloc-guard", miri)))]
fn the_guard_catches_a_planted_allocation() {
    const CHILD: &str = "BARLINE_PLANTED";
    if std::env::var_os(CHILD).is_some() {
        assert_no_alloc(|| drop(std::hint::black_box(vec![1_u8; 4096])));
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let name = "player::tests::the_guard_catches_a_planted_allocation";
    let output = again.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("memory allocation of 4096 bytes failed"), "{said}");
}

fn music(key: u64) -> Pattern {
    doubtful(key, vec![mono(48, 30, false)], 4, "C | Am | F G | Dm7")
}

#[test]
fn notes_fall_on_the_samples_of_the_rendered_notes() {
    for tempo in [120.0, 97.3, 180.0, 44.0] {
        let mut host = Host::playing(music(41));
        host.knobs = Knobs { chords: Channel::new(2), swing: 0.3, humanize_time: 0.6, note_length: 0.8, ..Knobs::default() };
        host.tempo(tempo);
        let per_tick = 60.0 / tempo * f64::from(RATE) / 480.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small, positive"
        )]
        let sample = |ticks: Ticks| (ticks.0 as f64 * per_tick).round() as u64;
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let total = sample(Ticks(8 * 1920)) as u32;
        host.blocks(512, total);
        let mut want = Vec::new();
        for note in render(&music(41), &host.knobs, TimeSignature::default(), 8) {
            want.push((sample(note.onset), true, note.channel, note.pitch));
            want.push((sample(Ticks(note.onset.0 + note.duration.0)), false, note.channel, note.pitch));
        }
        want.retain(|(at, ..)| *at < u64::from(total));
        want.sort_unstable();
        let mut got: Vec<_> =
            host.listener.got.iter().map(|(at, e)| (*at, e.kind != EventKind::Off, e.channel, e.pitch)).collect();
        got.sort_unstable();
        assert_eq!(got, want, "{tempo} bpm");
    }
}

#[test]
fn block_sizes_change_nothing() {
    let tellings = [Telling::Exact, Telling::FixedPoint, Telling::Rounded, Telling::FrozenBeats];
    for (seed, telling) in (1..).zip(tellings) {
        let play = |n_samples| {
            let tracks = if seed == 2 { band() } else { vec![mono(48, 30, false)] };
            let mut host = Host::playing(doubtful(seed, tracks, 4, "C | Am | F G | Dm7"));
            host.knobs = Knobs { swing: 0.5, humanize_time: 1.0, note_length: 0.7, chords: Channel::new(0), ..Knobs::default() };
            host.telling = telling;
            // At 120 bpm and 44.1 kHz ticks fall between two samples; so they do at this tempo and 48 kHz.
            host.tempo(127.999_999_999_999_99);
            host.blocks(n_samples, 400_000);
            host.heard()
        };
        let want = play(512);
        assert!(want.len() > 100);
        for n_samples in [1, 64, 333, 8192] {
            assert_eq!(play(n_samples), want, "blocks of {n_samples}, {telling:?}");
        }
    }
}

#[test]
fn every_pass_of_a_loop_is_the_same() {
    for splits in [true, false] {
        for (start, end) in [(0.0, 8.0), (5.0, 11.0), (4.25, 6.5)] {
            for n_samples in [64, 512, 8192] {
                let mut host = Host::playing(music(9));
                (host.splits, host.looping) = (splits, Some((start, end)));
                host.knobs.chords = Channel::new(3);
                host.seek(start);
                let pass = transport_samples(end - start, 120.0);
                host.blocks(n_samples, u32::try_from(3 * pass).unwrap());
                host.stop();
                let heard = host.heard();
                let pass = u64::try_from(pass).unwrap();
                let of_pass = |n: u64| -> Vec<_> {
                    heard.iter().filter(|(at, ..)| at / pass == n).map(|(at, pitch, on)| (at % pass, *pitch, *on)).collect()
                };
                // Ends at the loop's end fall on the next pass's first sample: compare what begins.
                let begins = |n| -> Vec<_> { of_pass(n).into_iter().filter(|e| e.2).collect() };
                assert!(begins(0).len() > 4);
                assert_eq!(begins(1), begins(0), "{start} to {end}, blocks of {n_samples}, splits {splits}");
                assert_eq!(of_pass(2), of_pass(1), "{start} to {end}, blocks of {n_samples}, splits {splits}");
                assert!(host.listener.sounding.is_empty());
            }
        }
    }
}

#[test]
fn a_host_that_rounds_its_loop_to_samples_doubles_no_note() {
    // 24,000 samples per beat; the loop's end falls on sample 99.4 of the first block, for the host on 100.
    let sample = 1.0 / 24_000.0;
    let end = 4.0 - 0.6 * sample;
    let mut host = Host::playing(written("0-1-2-3-5-5-5-5-", false));
    host.looping = Some((0.0, end));
    let at = |host: &mut Host, beats: f64| {
        host.beats = beats;
        host.block(100);
    };
    at(&mut host, end - 99.4 * sample);
    at(&mut host, end + 0.6 * sample);
    at(&mut host, 100.6 * sample);
    assert_eq!(host.heard(), [(99, 60, true)]);
    // A host that does not loop after all is followed.
    at(&mut host, 4.5 - 100.0 * sample);
    assert_eq!(host.port.playhead().position, Ticks(1920 + 240));
}

#[test]
fn a_tempo_ramp_neither_loses_nor_doubles_notes() {
    for telling in [Telling::Exact, Telling::Rounded] {
        let mut host = Host::playing(music(12));
        host.telling = telling;
        let knobs = host.knobs;
        while host.beats < 32.0 {
            // The tempo told is that of the block's start; the position moves by the mean of the block.
            let bpm = 60.0 + 8.0 * host.beats;
            host.tempo(bpm * 1.000_5);
            host.says_tempo = Some(bpm);
            host.block(512);
        }
        host.stop();
        let want = render(&music(12), &knobs, TimeSignature::default(), 8);
        let begins: Vec<u8> = host.heard().into_iter().filter(|e| e.2).map(|e| e.1).collect();
        let want: Vec<u8> = want.iter().filter(|n| n.onset.0 < 8 * 1920).map(|n| n.pitch.number()).collect();
        assert_eq!(begins.get(..want.len()), Some(want.as_slice()), "{telling:?}");
    }
}

#[test]
fn nothing_plays_before_the_song_and_nothing_in_a_stuck_one() {
    let mut host = Host::playing(written("0.1.", false));
    host.meter = (1, 4);
    host.seek(-752.0 / 24_000.0);
    host.block(752);
    assert_eq!(host.heard(), []);
    host.block(64);
    assert_eq!(host.heard(), [(752, 60, true)]);

    let mut host = Host::playing(written("0.1.", false));
    host.meter = (1, 4);
    host.telling = Telling::Stuck;
    host.blocks(512, 48_000);
    assert!(host.heard().len() <= 2, "{:?}", host.heard());
    assert!(host.listener.sounding.is_empty());
    host.telling = Telling::Nothing;
    host.blocks(512, 48_000);
    assert!(host.heard().len() <= 2);
}

#[test]
fn absurd_transports_are_survived() {
    let absurd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 1e300, 1e9, 1e12, -1e12, 999.0];
    let mut host = Host::playing(music(1));
    for tempo in absurd {
        for beats in absurd {
            for n_samples in [1, 512, 1 << 20] {
                let transport = HostTransport {
                    playing: true,
                    tempo: Some(tempo),
                    pos_beats: Some(beats),
                    pos_samples: Some(i64::MIN),
                    meter: Some((i32::MIN, 0)),
                    loop_beats: Some((beats, tempo)),
                    offline: false,
                };
                for rate in [RATE, 0.0, f32::NAN, 1.0, f32::MAX] {
                    (host.listener.n_samples, host.listener.last_offset) = (n_samples, 0);
                    host.listener.got.clear();
                    host.player.process(&transport, n_samples, rate, &host.knobs, &|| 1, &host.port, &mut host.listener);
                    let overflow = HostTransport { pos_samples: Some(i64::MAX), pos_beats: None, ..transport };
                    host.listener.last_offset = 0;
                    host.player.process(&overflow, n_samples, rate, &host.knobs, &|| 1, &host.port, &mut host.listener);
                }
            }
        }
    }
    host.stop();
    assert!(host.listener.sounding.is_empty());
}

#[test]
fn another_pattern_comes_in_at_the_bar_line() {
    let mut host = Host::playing(written("0------- 1-------", false));
    host.meter = (2, 4);
    host.blocks(512, 60_000);
    let mut other = written("77777777 77777777", false);
    other.key = 99;
    host.deliver(other, Takeover::BarLine);
    host.blocks(512, 48_000);
    host.stop();
    let heard = host.heard();
    assert_eq!(
        heard[..6],
        [(0, 60, true), (48_000, 60, false), (48_000, 61, true), (96_000, 61, false), (96_000, 67, true), (102_000, 67, false)]
    );
    assert_eq!(host.port.playhead().key, 99);
    assert!(host.port.retired.pop().is_some());
}

#[test]
fn a_live_chord_comes_in_at_the_next_step() {
    let mut host = Host::playing(written("0-------", false));
    host.meter = (2, 4);
    host.knobs.chords = Channel::new(1);
    host.blocks(512, 7_000);
    let mut other = written("0-2-----", false);
    (other.key, other.spec.progression) = (99, "C".parse().unwrap());
    host.deliver(other, Takeover::NextStep);
    host.blocks(500, 10_000);
    assert_eq!(host.heard()[..3], [(0, 60, true), (12_000, 60, false), (12_000, 62, true)]);
    assert_eq!(host.heard()[3..].iter().map(|e| e.1).collect::<Vec<_>>(), [36, 52, 55, 60], "the chord comes with it");
}

#[test]
fn a_held_note_ends_at_a_takeover_but_not_at_a_live_chord() {
    for (takeover, ends_at) in [(Takeover::BarLine, 48_000), (Takeover::NextStep, 48_000 + 12_000)] {
        let mut host = Host::playing(written("0------- --------", false));
        host.meter = (2, 4);
        host.blocks(512, 47_000);
        let mut other = written("5------- --..----", false);
        other.key = 99;
        host.deliver(other, takeover);
        host.blocks(512, 40_000);
        assert_eq!(host.heard(), [(0, 60, true), (ends_at, 60, false)], "{takeover:?}");
    }
}

#[test]
fn a_knob_turned_back_keeps_the_pattern() {
    let mut host = Host::playing(written("0-------", false));
    host.meter = (2, 4);
    host.blocks(512, 7_000);
    let mut other = written("5-------", false);
    other.key = 99;
    host.deliver(other, Takeover::BarLine);
    host.wanted = 7;
    host.blocks(512, 90_000);
    assert_eq!(host.port.playhead().key, 7);
    assert!(host.heard().iter().all(|e| e.1 == 60));
    // Nor does the other come in when a third is asked for, but when it is asked for itself.
    host.wanted = 5;
    host.blocks(512, 48_000);
    assert_eq!(host.port.playhead().key, 7);
    host.wanted = 99;
    host.blocks(512, 48_000);
    assert_eq!(host.port.playhead().key, 99);
}

#[test]
fn a_pattern_overtaken_by_the_parameters_still_comes_in() {
    let mut host = Host::playing(written("0-------", false));
    host.meter = (2, 4);
    host.block(512);
    let mut other = written("5-------", false);
    other.key = 99;
    host.deliver(other, Takeover::BarLine);
    host.wanted = 100;
    host.blocks(512, 48_000);
    assert_eq!(host.port.playhead().key, 99);
}

#[test]
fn a_full_retire_queue_loses_nothing() {
    let mut host = Host::playing(written("0-------", false));
    host.block(64);
    while host.port.retired.push(Box::new(Delivery { pattern: music(1), takeover: Takeover::BarLine })).is_ok() {}
    let mut other = written("5-------", false);
    other.key = 99;
    let _ = host.port.incoming.push(Box::new(Delivery { pattern: other, takeover: Takeover::BarLine }));
    host.wanted = 99;
    host.blocks(512, 100_000);
    assert_eq!(host.port.playhead().key, 7);
    assert_eq!(host.port.incoming.len(), 1);
    host.port.retired.pop();
    host.blocks(512, 100_000);
    assert_eq!(host.port.playhead().key, 99);
}

#[test]
fn an_endless_pattern_goes_on_from_window_to_window() {
    let window = |first_bar| {
        let mut pattern = written("0-1- 2-3-", false);
        (pattern.first_bar, pattern.spec.span) = (first_bar, Span::Endless);
        pattern
    };
    let mut host = Host::playing(window(0));
    host.meter = (1, 4);
    host.blocks(512, 30_000);
    host.deliver(window(1), Takeover::BarLine);
    host.blocks(512, 24_000 * 4 - 30_000);
    assert_eq!(
        host.heard().into_iter().filter(|e| e.2).map(|e| (e.0 / 12_000, e.1)).collect::<Vec<_>>(),
        [(0, 60), (1, 61), (2, 62), (3, 61), (4, 62), (5, 63)],
        "the second bar's notes are the second window's from the moment it is there"
    );
    assert_eq!(host.port.late(), 4);
}

thread_local! {
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SLEPT: Cell<u32> = const { Cell::new(0) };
}

fn test_clock() -> WallClock {
    TIME.set(Duration::ZERO);
    SLEPT.set(0);
    WallClock {
        now: || TIME.get(),
        sleep: |time| {
            TIME.set(TIME.get() + time);
            SLEPT.set(SLEPT.get() + 1);
        },
    }
}

#[test]
fn an_offline_render_waits_once_and_not_for_ever() {
    let mut host = Host::with_player(Player::with_clock(test_clock()));
    (host.offline, host.wanted) = (true, 7);
    host.block(512);
    assert_eq!(TIME.get(), wait::MAX_WAIT);
    host.blocks(512, 96_000);
    assert_eq!(TIME.get(), wait::MAX_WAIT);
    // With the pattern there, or stopped, or in real time, nothing waits.
    host.deliver(written("0-1-", false), Takeover::BarLine);
    host.blocks(512, 96_000);
    host.wanted = 8;
    (host.playing, host.offline) = (false, true);
    host.blocks(512, 96_000);
    (host.playing, host.offline) = (true, false);
    host.block(512);
    assert_eq!(TIME.get(), wait::MAX_WAIT);
    host.offline = true;
    host.block(512);
    assert_eq!(TIME.get(), 2 * wait::MAX_WAIT);
}

#[test]
fn a_state_loaded_while_a_render_waits_ends_the_wait() {
    let changed_at = Duration::from_millis(35);
    let mut host = Host::with_player(Player::with_clock(test_clock()));
    host.offline = true;
    host.listener.n_samples = 512;
    // What comes after the loop's end, in the same block, is not waited for either.
    host.looping = Some((0.0, 1.0 / 64.0));
    let wanted_now = || if TIME.get() < changed_at { 8 } else { 9 };
    let transport = host.transport();
    host.player.process(&transport, 512, RATE, &host.knobs, &wanted_now, &host.port, &mut host.listener);
    assert_eq!(TIME.get(), changed_at);
    // The next block waits for what is wanted now.
    (host.wanted, host.looping) = (9, None);
    host.block(512);
    assert_eq!(TIME.get(), changed_at + wait::MAX_WAIT);
}

#[test]
fn waits_in_vain_do_not_add_up_where_the_seed_is_automated() {
    let mut host = Host::with_player(Player::with_clock(test_clock()));
    host.offline = true;
    for seed in [31, 7, 19, 4] {
        host.wanted = seed;
        host.blocks(512, 4_800);
    }
    assert_eq!(TIME.get(), wait::MAX_WAIT);
    // A pattern that comes shows that waiting has a point again.
    host.deliver(written("0-1-", false), Takeover::BarLine);
    host.blocks(512, 96_000);
    host.wanted = 19;
    host.block(512);
    assert_eq!(TIME.get(), 2 * wait::MAX_WAIT);
}

#[test]
fn a_bar_that_no_pattern_can_hold_is_not_waited_for() {
    let mut host = Host::with_player(Player::with_clock(test_clock()));
    let mut endless = music(7);
    endless.spec.span = Span::Endless;
    host.deliver(endless, Takeover::BarLine);
    host.offline = true;
    host.block(512);
    assert_eq!(SLEPT.get(), 0);
    host.seek(9e11);
    host.block(512);
    assert_eq!(SLEPT.get(), 0);
}

#[test]
fn a_chord_that_settles_is_told_after_the_wait_of_its_block() {
    thread_local! {
        static HEARD_IN_WAIT: Cell<Option<bool>> = const { Cell::new(None) };
        static PORT: std::cell::RefCell<Option<std::sync::Arc<Port>>> = const { std::cell::RefCell::new(None) };
    }
    let port = std::sync::Arc::new(Port::new());
    PORT.set(Some(std::sync::Arc::clone(&port)));
    let mut player = Player::with_clock(WallClock {
        now: || TIME.get(),
        sleep: |time| {
            TIME.set(TIME.get() + time);
            let chord = PORT.with_borrow(|port| port.as_ref().and_then(|port| port.heard()));
            HEARD_IN_WAIT.set(Some(chord.is_some_and(|chord| chord.to_string() == "Am")));
        },
    });
    let mut listener = Listener { n_samples: 9_600, ..Listener::default() };
    let mut key = |number: i32, on: bool| {
        let kind = if on { EventKind::On(Velocity::clamped(50)) } else { EventKind::Off };
        let pitch = Pitch::new(number).unwrap();
        player.input(NoteInput { offset_samples: 0, channel: Channel::default(), pitch, kind }, &port);
    };
    [57, 60, 64, 67].into_iter().for_each(|number| key(number, true));
    key(67, false);
    let transport =
        HostTransport { playing: true, tempo: Some(120.0), pos_beats: Some(0.0), offline: true, ..HostTransport::default() };
    // The key released settles within this block, and its pattern is waited for in vain.
    player.process(&transport, 9_600, RATE, &Knobs::default(), &|| 1, &port, &mut listener);
    assert_eq!(HEARD_IN_WAIT.get(), Some(false));
    assert_eq!(port.heard().unwrap().to_string(), "Am");
}

#[test]
fn a_fast_pace_is_a_render_and_a_slow_one_is_not() {
    for (pace, waits) in [(1, false), (3, false), (5, true), (50, true)] {
        let mut host = Host::with_player(Player::with_clock(test_clock()));
        host.deliver(music(5), Takeover::BarLine);
        let block = Duration::from_secs_f32(480.0 / RATE) / pace;
        for _ in 0..120 {
            host.block(480);
            TIME.set(TIME.get() + block);
        }
        assert_eq!(host.port.playhead().offline, waits, "{pace} times the clock");
        host.wanted = 1;
        host.block(480);
        assert_eq!(SLEPT.get() > 0, waits, "{pace} times the clock");
    }
}

#[test]
fn notes_pass_through_in_order_and_only_if_asked() {
    let input = |offset_samples, number, on| NoteInput {
        offset_samples,
        channel: Channel::default(),
        pitch: Pitch::new(number).unwrap(),
        kind: if on { EventKind::On(Velocity::clamped(50)) } else { EventKind::Off },
    };
    let mut host = Host::playing(written("0.1.", false));
    host.meter = (1, 4);
    for (thru, n_heard) in [(false, 4), (true, 7)] {
        host.knobs.thru = thru;
        host.listener.got.clear();
        for note in [input(100, 60, true), input(7_000, 33, true), input(7_001, 60, false)] {
            host.player.input(note, &host.port);
        }
        host.block(24_000);
        assert_eq!(host.heard().len(), n_heard, "{:?}", host.heard());
        if thru {
            let offsets: Vec<_> = host.listener.got.iter().map(|(at, _)| at % 24_000).collect();
            assert_eq!(offsets, [0, 100, 100, 7_000, 7_001, 12_000, 18_000]);
        }
        host.player.input(input(0, 33, false), &host.port);
    }
    for note in [input(0, 44, true), input(9_999, 44, false)] {
        host.player.input(note, &host.port);
        host.block(64);
    }
    assert!(!host.listener.sounding.iter().any(|(_, pitch)| pitch.number() == 44));
    host.stop();
    assert!(host.listener.sounding.is_empty());
}

#[test]
fn captured_input_has_its_place_in_the_song_whatever_the_blocks() {
    // Two passes of a loop of two bars, 96,000 samples each; keys at samples from the start, some at the bar lines.
    let keys = [(0, 60, true), (23_999, 60, false), (95_990, 61, true), (96_000, 62, true), (100_777, 61, false)];
    let later = [(150_001, 62, false), (191_999, 63, true), (192_000, 64, true), (300_000, 63, false)];
    let play = |n_samples: u32, splits: bool| {
        // At the clock's own pace: a render captures nothing.
        let mut host = Host::with_player(Player::with_clock(test_clock()));
        host.deliver(music(4), Takeover::BarLine);
        (host.knobs.capture, host.splits, host.looping) = (true, splits, Some((0.0, 8.0)));
        let mut keys = keys.iter().chain(&later).peekable();
        let mut got = Vec::new();
        let mut now = 0;
        while now < 384_000 {
            let pass = 192_000 - now % 192_000;
            let n = n_samples.min(384_000 - now).min(if splits { pass } else { n_samples });
            while let Some((at, number, on)) = keys.next_if(|(at, ..)| *at < now + n) {
                let kind = if *on { EventKind::On(Velocity::clamped(50)) } else { EventKind::Off };
                let pitch = Pitch::new(*number).unwrap();
                let input = NoteInput { offset_samples: at - now, channel: Channel::default(), pitch, kind };
                host.player.input(input, &host.port);
            }
            host.block(n);
            now += n;
            TIME.set(TIME.get() + Duration::from_secs_f64(f64::from(n) / f64::from(RATE)));
            while let Some(event) = host.port.captured.pop() {
                got.push((event.at.0, event.kind));
            }
        }
        host.stop();
        got.extend(std::iter::from_fn(|| host.port.captured.pop()).map(|event| (event.at.0, event.kind)));
        got
    };
    use crate::engine::CapturedKind::{Bar, Begin, End, Off, On};
    let pitch = |number| Pitch::new(number).unwrap();
    let want = [
        (0, Begin),
        (0, On(pitch(60))),
        (479, Off(pitch(60))),
        (1919, On(pitch(61))),
        (1920, Bar),
        (1920, On(pitch(62))),
        (2015, Off(pitch(61))),
        (3000, Off(pitch(62))),
        (3839, On(pitch(63))),
        (3840, End),
        (0, Begin),
        (0, On(pitch(64))),
        (1920, Bar),
        (2160, Off(pitch(63))),
        (3840, End),
    ];
    for (n_samples, splits) in [(512, true), (512, false), (64, false), (8192, false), (8192, true), (1, true)] {
        // A block shorter than a tick has no tick of its own: what falls into it has the next one.
        let got = play(n_samples, splits);
        let is_near = |(a, b): (&(i64, _), &(i64, _))| a.1 == b.1 && (a.0 == b.0 || n_samples < 50 && a.0 == b.0 + 1);
        assert!(got.len() == want.len() && got.iter().zip(&want).all(is_near), "blocks of {n_samples}, splits {splits}: {got:?}");
    }
}

#[test]
fn held_keys_are_heard_as_a_chord() {
    let mut host = Host::new();
    for number in [57, 60, 64] {
        let pitch = Pitch::new(number).unwrap();
        let kind = EventKind::On(Velocity::clamped(50));
        host.player.input(NoteInput { offset_samples: 0, channel: Channel::new(3).unwrap(), pitch, kind }, &host.port);
    }
    assert_eq!(host.port.heard().unwrap().to_string(), "Am");
}

#[test]
fn bypass_reset_and_stop_end_everything_at_once() {
    for what in 0..4 {
        let mut host = Host::playing(doubtful(3, vec![mono(48, 30, false), poly(40, 60, false)], 4, "C"));
        host.knobs.chords = Channel::new(0);
        host.blocks(512, 50_000);
        assert!(host.listener.sounding.len() > 3);
        match what {
            0 => host.knobs.muted = true,
            1 => host.player.reset(),
            2 => host.playing = false,
            _ => host.seek(77.7),
        }
        let before = host.listener.got.len();
        let sounded = host.listener.sounding.len();
        host.block(1);
        let sent = &host.listener.got[before..];
        assert_eq!(sent.iter().filter(|(_, e)| e.kind == EventKind::Off).count(), sounded, "case {what}");
    }
}

/// Scripts of [`random_scripts_balance`]: what fits into every run. `cargo xtask soak` runs 100,000.
const N_SCRIPTS: u64 = 2_500;

#[test]
fn random_scripts_balance() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    // Miri is some thousand times slower.
    let n_scripts = number("BARLINE_SCRIPTS").unwrap_or(if cfg!(miri) { 2 } else { N_SCRIPTS });
    let first = number("BARLINE_FIRST_SCRIPT").unwrap_or(0);
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let notes: usize = std::thread::scope(|scope| {
        let share = |start| move || (start..first + n_scripts).step_by(n_threads).map(random_script).sum::<usize>();
        let threads: Vec<_> = (first..).take(n_threads).map(|start| scope.spawn(share(start))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a script failed: see above")).sum()
    });
    println!("{n_scripts} scripts from {first}, {notes} events, all balanced");
}

fn random_tracks(rng: &mut Rng) -> Vec<crate::music::roll::TrackLayout> {
    match rng.u64(..4) {
        0 => vec![mono(48, 30, false)],
        1 => vec![mono(60, 24, true)],
        2 => band(),
        _ => vec![poly(40, 40, rng.u8(..100) < 50), mono(36, 12, false)],
    }
}

fn random_pattern(rng: &mut Rng) -> Pattern {
    let tracks = random_tracks(rng);
    let n_bars = 1 + rng.u32(..3);
    let mut pattern = doubtful(rng.u64(..5), tracks, n_bars, "C | Am | F G | N.C.");
    if rng.u8(..100) < 30 {
        (pattern.spec.span, pattern.first_bar) = (Span::Endless, rng.u32(..3));
    }
    pattern
}

/// One random life of an instance. Yields how many events it sent. Panics, naming the seed, when the notes do not add up.
fn random_script(seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let mut host = Host::with_player(Player::with_clock(test_clock()));
    let mut n_events = 0;
    // A panic inside names what is wrong; this names the script.
    let named = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if rng.u8(..100) < 30 {
            host.listener.refuses = rng.choice([1, 10, 90]).unwrap();
            host.listener.rng = Some(Rng::with_seed(seed));
        }
        host.rate = rng.choice([22_050.0, 44_100.0, RATE, RATE, 88_200.0, 96_000.0, 192_000.0]).unwrap();
        let start = rng.choice([0.0, 0.0, -0.37, 3.3]).unwrap();
        host.seek(start);
        host.splits = rng.u8(..100) < 50;
        let has_input = rng.u8(..100) < 30;
        let mut captured = Vec::new();
        for _ in 0..40 {
            match rng.u64(..28) {
                0 => host.playing = !host.playing,
                1 => host.seek(f64::from(rng.f32()) * 40.0 - 2.0),
                2 => {
                    let start = f64::from(rng.f32()) * 8.0;
                    let length = rng.choice([0.001, 0.02, 0.5, 2.0, 8.0]).unwrap();
                    host.looping = (rng.u8(..100) < 70).then_some((start, start + length));
                    host.seek(start);
                }
                3 => host.tempo(rng.choice([20.0, 60.0, 97.3, 120.0, 240.0, 1000.0]).unwrap()),
                4 => host.says_tempo = rng.choice([None, Some(f64::NAN), Some(0.0), Some(1e9), Some(-5.0), Some(120.0)]).unwrap(),
                5 => host.meter = rng.choice([(4, 4), (3, 4), (7, 8), (5, 32), (1, 64), (0, 0), (-3, 5)]).unwrap(),
                6 | 7 => {
                    let (muted, thru, capture) = (rng.u8(..100) < 10, rng.u8(..100) < 50, rng.u8(..100) < 50);
                    host.knobs = Knobs { muted, thru, capture, ..random_knobs(&mut rng) };
                }
                8..=10 => {
                    let pattern = random_pattern(&mut rng);
                    let takeover = rng.choice([Takeover::BarLine, Takeover::NextStep]).unwrap();
                    host.deliver(pattern, takeover);
                }
                11 => host.wanted = rng.u64(..5),
                12 => host.player.reset(),
                13 => {
                    host.telling = rng
                        .choice([
                            Telling::Exact,
                            Telling::FixedPoint,
                            Telling::Rounded,
                            Telling::FrozenBeats,
                            Telling::SamplesOnly,
                            Telling::Stuck,
                            Telling::Nothing,
                        ])
                        .unwrap();
                    host.stuck_at = (host.beats, host.samples);
                }
                14 => host.offline = rng.u8(..100) < 20,
                15 | 16 if has_input => {
                    let mut offset = 0;
                    // A storm is more than the player takes.
                    let (n_inputs, apart) = if rng.u8(..100) < 10 { (input::MAX_THRU as u64 + 50, 3) } else { (6, 200) };
                    for _ in 0..rng.u64(..n_inputs) {
                        offset += rng.u32(..apart);
                        let kind = if rng.u8(..100) < 60 { EventKind::On(Velocity::clamped(9)) } else { EventKind::Off };
                        let pitch = Pitch::new(50 + rng.i32(0..20)).unwrap();
                        let channel = Channel::default();
                        host.player.input(NoteInput { offset_samples: offset, channel, pitch, kind }, &host.port);
                    }
                }
                17 => {
                    let was_playing = host.playing;
                    host.playing = false;
                    host.block(1 + rng.u32(..700));
                    if host.listener.refuses == 0 && !has_input {
                        assert!(host.listener.sounding.is_empty(), "after a stop: {:?}", host.listener.sounding);
                    }
                    host.playing = was_playing;
                }
                18 => {
                    // A full event queue for a while.
                    let before = host.listener.refuses;
                    (host.listener.refuses, host.listener.rng) = (100, Some(Rng::with_seed(seed)));
                    for _ in 0..rng.u64(..5) {
                        host.block(1 + rng.u32(..2_000));
                    }
                    host.listener.refuses = before;
                }
                19 => {
                    // A ramp, told at each block's start; a host that rounds the tempo tells another one than it plays.
                    let factor = f64::from(rng.f32()) * 0.4 + 0.8;
                    let error = rng.choice([1.0, 1.000_01]).unwrap();
                    for _ in 0..rng.u64(..12) {
                        let bpm = (host.tempo * factor).clamp(20.0, 1000.0);
                        host.tempo(bpm * error);
                        host.says_tempo = Some(bpm);
                        host.block(rng.choice([64, 512, 1024]).unwrap());
                    }
                }
                _ => {
                    let is_automated = rng.u8(..100) < 20;
                    for _ in 0..rng.u64(..12) {
                        if is_automated {
                            host.knobs.lanes = random_lanes(&mut rng);
                        }
                        let any = 1 + rng.u32(..8192);
                        host.block(rng.choice([1, 64, 333, 512, 2048, 8192, any, any]).unwrap());
                    }
                }
            }
            TIME.set(TIME.get() + Duration::from_millis(rng.u64(..30)));
            captured.extend(std::iter::from_fn(|| host.port.captured.pop()));
            // The table holds what one of these makes, not a whole life.
            n_events += host.listener.got.len();
            host.listener.got.clear();
        }
        check_captured(&captured);
        host.listener.refuses = 0;
        // What is passed through while stopped sounds until its own end, or a reset.
        host.player.reset();
        host.stop();
        assert!(host.listener.sounding.is_empty(), "at the end: {:?}", host.listener.sounding);
        assert!(host.player.held.is_silent() && host.player.sequencer.is_silent());
    }));
    assert!(named.is_ok(), "script {seed} failed: see above");
    n_events
}

/// Every capture begins before anything in it and ends, and time goes on within it.
fn check_captured(events: &[crate::engine::Captured]) {
    use crate::engine::CapturedKind::{Begin, End};
    let mut since = None;
    for event in events {
        match (event.kind, since) {
            (Begin, None) => (),
            (Begin, Some(_)) | (_, None) => panic!("{event:?} in {events:?}"),
            (_, Some(at)) => assert!(event.at >= at, "{event:?} after {at:?}"),
        }
        since = (event.kind != End).then_some(event.at);
    }
}

#[test]
fn random_scripts_do_sound() {
    // The scripts would balance in silence too.
    let mut host = Host::playing(music(2));
    host.blocks(333, 500_000);
    assert!(host.heard().len() > 60);
}
