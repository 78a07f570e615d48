//! The audio-thread half: from patterns and the host's transport to note events.
//!
//! [`Player::process`] never allocates, frees, locks or loops without bound, and waits in one place only, for offline renders
//! ([`wait`]). Every begin it sends goes through the table of [`sink::Held`], so that every way in which sound ends (stop, seek,
//! loop, bypass, mute, reset, another pattern) gives each sounding note its own end.

pub mod accent;
pub mod capture;
pub mod input;
pub mod knobs;
pub mod render;
pub mod sequencer;
pub mod sink;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod wait;

pub use input::NoteInput;
pub use knobs::Knobs;
pub use render::{render, render_parts};
pub use sequencer::{Event, EventKind, Part, Sequencer};
pub use sink::{EventSink, NoteEvent};
pub use transport::HostTransport;

use crate::{
    engine::port::{Delivery, Playhead, Port, Takeover},
    music::time::{Ticks, TimeSignature},
};
use capture::Tap;
use input::{Keys, MAX_THRU};
use sequencer::{GridStep, covers};
use sink::{Held, Owner};
use transport::{Clock, Motion, Segment};
use wait::{Patience, WallClock};

/// Where a block's events go: the host, through the table of what sounds, merged with the notes passed through.
struct Output<'a> {
    sink: &'a mut dyn EventSink,
    held: &'a mut Held,
    /// Not yet passed through, in order of time.
    thru: std::slice::Iter<'a, NoteInput>,
    may_pass: bool,
    /// Time never goes back.
    offset: u32,
    last_offset: u32,
}

impl Output<'_> {
    /// Goes on to a sample of the block, passing through what comes before.
    fn advance(&mut self, offset: u32) -> u32 {
        let offset = offset.min(self.last_offset);
        // A host may give an offset outside the block; its note's end must not be lost.
        while let Some(input) = self.thru.as_slice().first().filter(|i| i.offset_samples.min(self.last_offset) <= offset) {
            self.thru.next();
            self.offset = self.offset.max(input.offset_samples.min(self.last_offset));
            let note = (input.channel, input.pitch);
            match input.kind {
                EventKind::On(velocity) if self.may_pass => self.held.on(Owner::Thru, self.offset, note, velocity, self.sink),
                EventKind::On(_) => {}
                EventKind::Off => self.held.off(Owner::Thru, self.offset, note, self.sink),
            }
        }
        self.offset = self.offset.max(offset);
        self.offset
    }

    fn send(&mut self, offset: u32, event: Event) {
        let offset = self.advance(offset);
        let note = (event.channel, event.pitch);
        match event.kind {
            EventKind::On(velocity) => self.held.on(Owner::Generated, offset, note, velocity, self.sink),
            EventKind::Off => self.held.off(Owner::Generated, offset, note, self.sink),
        }
    }

    fn release(&mut self, owner: Owner, offset: u32) {
        let offset = self.advance(offset);
        self.held.release(owner, offset, self.sink);
    }
}

/// What the sequencer plays from.
#[derive(Debug, Default)]
struct Deck {
    current: Option<Box<Delivery>>,
    /// Waits for its bar line or step.
    next: Option<Box<Delivery>>,
    /// The current pattern was wanted while the next one waited (a knob was turned and turned back): the next one comes in only if
    /// it is asked for again.
    declined: bool,
}

/// What a pattern does to what sounds when it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Everything ends.
    Release,
    /// Held notes go on if the new pattern says so.
    Adopt,
}

impl Deck {
    /// Gives a pattern back to the worker. `false` if there is no room, and the pattern stays.
    fn retire(slot: &mut Option<Box<Delivery>>, port: &Port) -> bool {
        match slot.take().map(|old| port.retired.push(old)) {
            Some(Err(back)) => {
                *slot = Some(back);
                false
            }
            _ => true,
        }
    }

    /// Takes what has arrived: a further window of the current pattern at once, another pattern as the next one.
    fn take_in(&mut self, port: &Port) {
        for _ in 0..crate::engine::port::MAX_INCOMING {
            // The worker takes from that queue and never adds: room now is room later.
            if port.retired.is_full() {
                return;
            }
            let Some(new) = port.incoming.pop() else { return };
            let is_window = self.current.as_ref().is_some_and(|current| current.pattern.key == new.pattern.key);
            let slot = if is_window { &mut self.current } else { &mut self.next };
            if Self::retire(slot, port) {
                *slot = Some(new);
                self.declined &= is_window;
            }
        }
    }

    /// Takes note of what the parameters ask for.
    fn want(&mut self, wanted: u64) {
        self.declined |= self.current.as_ref().is_some_and(|current| current.pattern.key == wanted);
    }

    /// The next pattern, if it may come in. One that was overtaken by the parameters may: with a seed that is automated at every bar
    /// line, each pattern would be too late for ever.
    fn candidate(&self, wanted: u64) -> Option<&Delivery> {
        self.next.as_deref().filter(|next| !self.declined || next.pattern.key == wanted)
    }

    /// Makes the next pattern the current one, if there is one and the old one can be given back.
    fn take_over(&mut self, wanted: u64, port: &Port) -> Option<Change> {
        let new = self.candidate(wanted)?;
        let change = match &self.current {
            Some(old) if new.takeover == Takeover::NextStep && old.pattern.roll.layout() == new.pattern.roll.layout() => {
                Change::Adopt
            }
            _ => Change::Release,
        };
        if !Self::retire(&mut self.current, port) {
            return None;
        }
        self.current = self.next.take();
        self.declined = false;
        Some(change)
    }

    /// The first place at or after `from` where the next pattern may come in.
    fn takeover_at(&self, wanted: u64, from: Ticks, meter: TimeSignature) -> Option<Ticks> {
        let next = self.candidate(wanted)?;
        if self.current.is_none() {
            return Some(from);
        }
        Some(match next.takeover {
            Takeover::NextStep => GridStep::at_or_after(from, meter).tick(),
            Takeover::BarLine => Ticks(-(-from.0).div_euclid(meter.bar().0) * meter.bar().0),
        })
    }

    /// Whether a pattern of that key holds the bars of `[from, to)`.
    fn is_ready(&self, wanted: u64, from: Ticks, to: Ticks, meter: TimeSignature) -> bool {
        let bar = |tick: i64| tick.div_euclid(meter.bar().0).max(0);
        let (first, last) = (bar(from.0), bar(to.0 - 1));
        // A bar beyond all patterns is silent; there is nothing to wait for.
        if u32::try_from(last).is_err() {
            return true;
        }
        [&self.current, &self.next]
            .into_iter()
            .flatten()
            .any(|delivery| delivery.pattern.key == wanted && covers(&delivery.pattern, first) && covers(&delivery.pattern, last))
    }
}

/// One block's surroundings.
struct Block<'a> {
    knobs: &'a Knobs,
    wanted: u64,
    /// What the parameters ask for by now.
    wanted_now: &'a dyn Fn() -> u64,
    port: &'a Port,
    meter: TimeSignature,
    may_wait: bool,
}

/// Plays patterns in time with a host.
#[derive(Debug)]
pub struct Player {
    clock: Clock,
    sequencer: Sequencer,
    held: Held,
    deck: Deck,
    keys: Keys,
    thru: Vec<NoteInput>,
    tap: Tap,
    patience: Patience,
    was_rolling: bool,
    reset: bool,
    dropped: u64,
}

impl Default for Player {
    fn default() -> Self {
        Self::new()
    }
}

impl Player {
    /// A player without a pattern, with all memory it will ever use.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(WallClock::default())
    }

    /// A player that judges pace and waits by another clock.
    #[must_use]
    pub fn with_clock(clock: WallClock) -> Self {
        // The first look at a clock may set it up.
        let _ = (clock.now)();
        Self {
            clock: Clock::new(),
            sequencer: Sequencer::new(),
            held: Held::default(),
            deck: Deck::default(),
            keys: Keys::default(),
            thru: Vec::with_capacity(MAX_THRU),
            tap: Tap::default(),
            patience: Patience::with_clock(clock),
            was_rolling: false,
            reset: false,
            dropped: 0,
        }
    }

    /// Ends everything at the start of the next block (nothing can be sent from a host's reset) and forgets where the transport was.
    ///
    /// # Realtime safety
    /// Audio thread: yes, constant time.
    pub fn reset(&mut self) {
        self.reset = true;
        self.keys.reset();
        self.thru.clear();
    }

    /// Takes a note that the host sends for the next block. Publishes the chord that the held keys form.
    ///
    /// # Realtime safety
    /// Audio thread: yes; a note that names a chord costs some microseconds.
    pub fn input(&mut self, input: NoteInput, port: &Port) {
        if let Some(chord) = self.keys.input(input) {
            port.set_heard(Some(chord));
        }
        if self.thru.len() < MAX_THRU {
            self.thru.push(input);
        } else {
            self.dropped += 1;
            // An end must not be lost. Ending all that is passed through is the bounded way.
            self.reset |= input.kind == EventKind::Off;
        }
    }

    /// Plays one block: sends every event that falls into it, in order of time.
    ///
    /// `wanted_now` yields the key of the pattern that the parameters ask for: read once, and again while an offline render waits, for
    /// the host may load a state meanwhile. It must neither lock nor wait. Patterns come through `port.incoming` and go through
    /// `port.retired`. A block of no samples does nothing.
    ///
    /// # Realtime safety
    /// Audio thread: yes. Bounded by the events of [`sequencer::MAX_STEPS_PER_RUN`] steps; waits only in offline renders.
    #[expect(clippy::too_many_arguments, reason = "one call per block, from one place")]
    pub fn process(
        &mut self,
        transport: &HostTransport,
        n_samples: u32,
        sample_rate: f32,
        knobs: &Knobs,
        wanted_now: &dyn Fn() -> u64,
        port: &Port,
        sink: &mut dyn EventSink,
    ) {
        let Some(last_offset) = n_samples.checked_sub(1) else { return };
        let wanted = wanted_now();
        self.held.offer_owed(sink);
        if std::mem::take(&mut self.reset) {
            self.clock.reset();
            self.sequencer.release(Ticks(0), &mut |_| {});
            self.held.release(Owner::Generated, 0, sink);
            self.held.release(Owner::Thru, 0, sink);
        }
        let settled = self.keys.advance(n_samples, sample_rate);

        let motion = self.clock.begin(transport, n_samples, sample_rate);
        let rolling = motion == Motion::Rolling;
        let music_seconds = f64::from(n_samples) / f64::from(sample_rate.max(1.0));
        let offline = self.patience.observe(rolling, music_seconds, transport.offline);
        let block =
            Block { knobs, wanted, wanted_now, port, meter: self.clock.meter(), may_wait: offline && rolling && !knobs.muted };
        let thru = std::mem::take(&mut self.thru);
        // The table is lent to the output while the sequencer writes into it.
        let mut held = std::mem::take(&mut self.held);
        let mut output =
            Output { sink, held: &mut held, thru: thru.iter(), may_pass: knobs.thru && !knobs.muted, offset: 0, last_offset };
        self.deck.take_in(port);
        self.deck.want(wanted);
        // A render goes too fast for anybody to play to it.
        let captures = knobs.capture && rolling && !offline && !knobs.muted;
        if !captures {
            self.dropped += self.tap.close(&self.clock, port);
        }
        let mut inputs = thru.iter();
        match motion {
            Motion::Rolling => {
                while let Some(segment) = self.clock.segment() {
                    if captures {
                        let until = if self.clock.is_last_segment() { u32::MAX } else { self.clock.offset(segment.to) };
                        self.dropped += self.tap.take(&segment, &self.clock, &mut inputs, until, port);
                    }
                    self.play(segment, &block, &mut output);
                }
                self.clock.end();
            }
            Motion::Stopped => {
                self.silence(0, &mut output);
                if self.was_rolling {
                    output.release(Owner::Thru, 0);
                }
                self.deck.take_over(wanted, port);
            }
        }
        if knobs.muted {
            output.release(Owner::Thru, 0);
        }
        output.advance(last_offset);
        self.held = held;
        self.thru = thru;
        self.thru.clear();
        self.was_rolling = rolling;
        self.publish(self.clock.position(), rolling, offline, port);
        // Not before: `wanted` does not know of it, and a render would wait for a pattern that the worker has been talked out of.
        if let Some(chord) = settled {
            port.set_heard(Some(chord));
        }
    }

    /// Plays one piece of a block.
    fn play(&mut self, segment: Segment, block: &Block<'_>, output: &mut Output<'_>) {
        let Segment { mut from, to, jumped_at } = segment;
        if block.may_wait {
            self.wait(from, to, block);
        }
        if let Some(offset) = jumped_at {
            self.silence(offset, output);
            self.deck.take_over(block.wanted, block.port);
        }
        if block.knobs.muted {
            self.silence(self.clock.offset(from), output);
            self.deck.take_over(block.wanted, block.port);
            return;
        }
        if let Some(at) = self.deck.takeover_at(block.wanted, from, block.meter).filter(|at| *at < to) {
            self.run(from, at, block, output);
            match self.deck.take_over(block.wanted, block.port) {
                Some(Change::Release) => self.silence(self.clock.offset(at), output),
                Some(Change::Adopt) => self.sequencer.adopt(),
                None => {}
            }
            from = at;
        }
        self.run(from, to, block, output);
    }

    fn run(&mut self, from: Ticks, to: Ticks, block: &Block<'_>, output: &mut Output<'_>) {
        let Self { clock, sequencer, deck, .. } = self;
        let pattern = deck.current.as_ref().map(|delivery| &delivery.pattern);
        sequencer.run(pattern, block.knobs, block.meter, from, to, &mut |event| {
            output.send(clock.offset(event.at), event);
        });
    }

    /// Ends all generated notes; the sequencer begins anew wherever it goes on.
    fn silence(&mut self, offset: u32, output: &mut Output<'_>) {
        self.sequencer.release(Ticks(0), &mut |event| output.send(offset, event));
        output.release(Owner::Generated, offset);
    }

    fn wait(&mut self, from: Ticks, to: Ticks, block: &Block<'_>) {
        if to <= from {
            return;
        }
        if self.deck.is_ready(block.wanted, from, to, block.meter) {
            self.patience.found();
            return;
        }
        // The worker serves the bar at the playhead first.
        self.publish(from, true, true, block.port);
        let Self { patience, deck, .. } = self;
        let is_wanted = || (block.wanted_now)() == block.wanted;
        patience.wait_for_pattern(&is_wanted, &mut || {
            deck.take_in(block.port);
            deck.is_ready(block.wanted, from, to, block.meter)
        });
    }

    fn publish(&mut self, position: Ticks, playing: bool, offline: bool, port: &Port) {
        let counts = self.sequencer.take_counts();
        port.count(counts.late, counts.dropped + self.held.take_dropped() + std::mem::take(&mut self.dropped));
        port.set_playhead(Playhead {
            position,
            bar: position.0.div_euclid(self.clock.meter().bar().0),
            playing,
            key: self.deck.current.as_ref().map_or(0, |delivery| delivery.pattern.key),
            offline,
        });
    }
}
