//! Where bars become notes: the one place, for the plugin's player, the command line and the editor. Pure, in whole ticks; runs on
//! the audio thread, and wherever notes are wanted.
//!
//! What sounds at a place of the song is a function of the pattern, the knobs and the place. So a held note is not taken up in its
//! middle after a jump, and the repeat of a finite pattern is a border that no note crosses: every pass is the same.

use super::{
    accent::{accent, drum_accent},
    knobs::{Knobs, Lane, MAX_LANES},
};
use crate::{
    generate::{Pattern, Span},
    music::{
        chord::Chord,
        decode::{self, DecodeParams, StepState},
        noise::{Address, Purpose},
        note::{Channel, Pitch, Velocity},
        roll::{TrackKind, TrackLayout},
        time::{TICKS_PER_STEP, Ticks, TimeSignature},
    },
};

/// Notes that sound at once, at most.
pub const MAX_VOICES: usize = 256;
/// Onsets that wait within one step, at most.
pub const MAX_PENDING: usize = 256;
/// Steps decoded in one call of [`Sequencer::run`], at most: 16 bars of 4/4. The rest of an absurdly long call is silent.
pub const MAX_STEPS_PER_RUN: u32 = 256;
/// Steps looked ahead for the end of a note, at most.
const MAX_LOOKAHEAD_STEPS: u32 = 64;
/// Latest onset by time humanisation, in ticks (31 ms at 120 bpm). With the swing's half step it stays within a step, so that
/// order never changes.
const MAX_HUMANIZE_TICKS: f32 = 30.0;
/// Largest change of a velocity by humanisation, either way.
const MAX_HUMANIZE_VELOCITY: f64 = 20.0;
/// The chords' track number in addresses.
const CHORD_TRACK: u16 = 0x4000;

/// What happens to a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It begins.
    On(Velocity),
    /// It ends.
    Off,
}

/// What plays a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A track of the pattern, by index.
    Track(u8),
    /// The chords played along.
    Chords,
}

/// A note begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// When.
    pub at: Ticks,
    /// Whose note.
    pub part: Part,
    /// Channel.
    pub channel: Channel,
    /// Pitch.
    pub pitch: Pitch,
    /// Begin or end.
    pub kind: EventKind,
}

/// What went missing since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps whose bar was not there.
    pub late: u64,
    /// Notes and steps for which a table or the budget of a call was too small.
    pub dropped: u64,
}

/// A sixteenth of the song.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GridStep {
    bar: i64,
    step: i64,
    tick: i64,
}

impl GridStep {
    /// The first step that begins at or after `tick`.
    pub(super) fn at_or_after(tick: Ticks, meter: TimeSignature) -> Self {
        let bar_ticks = meter.bar().0;
        let (bar, step) = (tick.0.div_euclid(bar_ticks), (tick.0.rem_euclid(bar_ticks) + TICKS_PER_STEP - 1) / TICKS_PER_STEP);
        if step < meter.steps_per_bar() { Self::new(bar, step, meter) } else { Self::new(bar + 1, 0, meter) }
    }

    fn new(bar: i64, step: i64, meter: TimeSignature) -> Self {
        Self { bar, step, tick: bar * meter.bar().0 + step * TICKS_PER_STEP }
    }

    fn next(self, meter: TimeSignature) -> Self {
        if self.step + 1 < meter.steps_per_bar() {
            Self::new(self.bar, self.step + 1, meter)
        } else {
            Self::new(self.bar + 1, 0, meter)
        }
    }

    fn previous(self, meter: TimeSignature) -> Self {
        if self.step > 0 {
            Self::new(self.bar, self.step - 1, meter)
        } else {
            Self::new(self.bar - 1, meter.steps_per_bar() - 1, meter)
        }
    }

    /// Where it begins.
    pub(super) fn tick(self) -> Ticks {
        Ticks(self.tick)
    }
}

/// Where a bar of the song lies in a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Bar index in the roll.
    roll_bar: usize,
    /// Bar index that names its noise: in the pattern if finite, in the song if endless.
    address_bar: u32,
}

impl Place {
    fn of(pattern: &Pattern, bar: i64) -> Option<Self> {
        let bar = u64::try_from(bar).ok()?;
        let n_bars = u64::try_from(pattern.roll.n_bars()).ok()?;
        let (roll_bar, address_bar) = match pattern.spec.span {
            Span::Bars(_) => {
                let bar = bar.checked_rem(n_bars)?;
                (bar, bar)
            }
            Span::Endless => (bar.checked_sub(u64::from(pattern.first_bar))?, bar),
        };
        if roll_bar >= n_bars {
            return None;
        }
        Some(Self { roll_bar: usize::try_from(roll_bar).ok()?, address_bar: u32::try_from(address_bar).ok()? })
    }
}

/// Whether the pattern holds that bar of the song.
#[must_use]
pub fn covers(pattern: &Pattern, bar: i64) -> bool {
    Place::of(pattern, bar).is_some()
}

/// A note that sounds. No two have the same channel and pitch.
#[derive(Clone, Copy, Debug)]
struct Voice {
    part: Part,
    /// The model's pitch, before octave and key.
    raw: Pitch,
    channel: Channel,
    pitch: Pitch,
    on_at: i64,
    off_at: Option<i64>,
}

impl Voice {
    fn event(&self, at: Ticks, kind: EventKind) -> Event {
        Event { at, part: self.part, channel: self.channel, pitch: self.pitch, kind }
    }
}

/// A note that begins later in the current step.
#[derive(Clone, Copy, Debug)]
struct Pending {
    voice: Voice,
    velocity: Velocity,
}

/// What all tracks of a step share.
#[derive(Clone, Copy)]
struct Frame<'a> {
    pattern: &'a Pattern,
    knobs: &'a Knobs,
    /// Tracks that play, as [`Knobs::audible`].
    audible: u32,
    meter: TimeSignature,
    grid: GridStep,
}

/// One track of a step.
#[derive(Clone, Copy)]
struct TrackFrame<'a> {
    frame: Frame<'a>,
    layout: &'a TrackLayout,
    track_idx: usize,
    lane: Lane,
    params: DecodeParams,
}

/// Pitches that begin and go on, bit `n` is MIDI pitch `n`.
type Sets = decode::StepSets;

/// Turns a pattern into note events.
///
/// # Realtime safety
/// Audio thread: yes, but for [`new`](Self::new), which allocates its tables.
#[derive(Debug)]
pub struct Sequencer {
    voices: Vec<Voice>,
    pending: Vec<Pending>,
    /// Per track the model's pitches whose note goes on, whether they still sound or were cut short.
    active: [u128; MAX_LANES],
    /// The steps before are not known: just begun, or jumped.
    fresh: bool,
    chord: Option<(Chord, Channel)>,
    /// The chord is looked up at the next step, wherever it lies.
    chord_due: bool,
    counts: Counts,
}

impl Default for Sequencer {
    fn default() -> Self {
        Self::new()
    }
}

impl Sequencer {
    /// A silent sequencer with all memory it will ever use.
    #[must_use]
    pub fn new() -> Self {
        Self {
            voices: Vec::with_capacity(MAX_VOICES),
            pending: Vec::with_capacity(MAX_PENDING),
            active: [0; MAX_LANES],
            fresh: true,
            chord: None,
            chord_due: false,
            counts: Counts::default(),
        }
    }

    /// Prepares to go on from another place. Sends nothing: [`release`](Self::release) first; what would still sound is ended by
    /// the next [`run`](Self::run).
    pub fn locate(&mut self, at: Ticks) {
        self.forget();
        for voice in &mut self.voices {
            voice.off_at = Some(at.0);
        }
    }

    /// Another pattern goes on where the old one was, without a release: held notes stay as long as its states say, and the chord
    /// is looked up at the next step.
    pub fn adopt(&mut self) {
        self.chord_due = true;
    }

    /// Ends every sounding note.
    pub fn release(&mut self, at: Ticks, emit: &mut dyn FnMut(Event)) {
        self.forget();
        for voice in self.voices.drain(..) {
            emit(voice.event(at, EventKind::Off));
        }
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.active = [0; MAX_LANES];
        self.fresh = true;
        self.chord = None;
        self.chord_due = false;
    }

    /// Whether nothing sounds.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.voices.is_empty()
    }

    /// What went missing since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Emits the events of `[from, to)` in order of time, at equal times the ends first. Calls must join: `from` is the last `to`,
    /// or [`locate`](Self::locate) came between.
    ///
    /// # Realtime safety
    /// Audio thread: yes; at most [`MAX_STEPS_PER_RUN`] steps are decoded.
    pub fn run(
        &mut self,
        pattern: Option<&Pattern>,
        knobs: &Knobs,
        meter: TimeSignature,
        from: Ticks,
        to: Ticks,
        emit: &mut dyn FnMut(Event),
    ) {
        let n_tracks = pattern.map_or(0, |pattern| pattern.roll.layout().tracks.len());
        let audible = knobs.audible(n_tracks);
        self.silence_lanes(audible, from);
        let mut grid = GridStep::at_or_after(from, meter);
        let mut budget = MAX_STEPS_PER_RUN;
        loop {
            let off = self.voices.iter().filter_map(|v| v.off_at).min().unwrap_or(i64::MAX);
            let on = self.pending.iter().map(|p| p.voice.on_at).min().unwrap_or(i64::MAX);
            let tick = grid.tick.min(off).min(on);
            if tick >= to.0 {
                return;
            }
            if tick == grid.tick {
                if budget == 0 {
                    self.counts.dropped += 1;
                    grid = GridStep::at_or_after(to, meter);
                    continue;
                }
                budget -= 1;
                self.step(pattern, knobs, audible, meter, grid);
                grid = grid.next(meter);
            } else if tick == off {
                self.send_offs(tick, from, emit);
            } else {
                self.send_ons(tick, from, emit);
            }
        }
    }

    fn send_offs(&mut self, tick: i64, from: Ticks, emit: &mut dyn FnMut(Event)) {
        self.voices.retain(|voice| {
            let ends = voice.off_at == Some(tick);
            if ends {
                emit(voice.event(Ticks(tick).max(from), EventKind::Off));
            }
            !ends
        });
    }

    /// Sends the onsets of one tick, or, if some of their pitches still sound, has those end first and sends nothing.
    fn send_ons(&mut self, tick: i64, from: Ticks, emit: &mut dyn FnMut(Event)) {
        let mut retriggers = false;
        for pending in self.pending.iter().filter(|p| p.voice.on_at == tick) {
            for voice in &mut self.voices {
                if voice.on_at < tick && voice.channel == pending.voice.channel && voice.pitch == pending.voice.pitch {
                    voice.off_at = Some(tick);
                    retriggers = true;
                }
            }
        }
        if retriggers {
            return;
        }
        let Self { voices, pending, counts, .. } = self;
        pending.retain(|p| {
            let new = p.voice;
            if new.on_at != tick {
                return true;
            }
            // Two sources may begin the same note at once (a melody note that is a chord tone): it sounds once.
            if voices.iter().any(|v| v.channel == new.channel && v.pitch == new.pitch) {
                return false;
            }
            if voices.len() >= MAX_VOICES {
                counts.dropped += 1;
                return false;
            }
            voices.push(new);
            emit(new.event(Ticks(tick).max(from), EventKind::On(p.velocity)));
            false
        });
    }

    /// Has the voices of a part end at `at` at the latest, those with a raw pitch in `raws`.
    fn end(&mut self, part: Part, raws: u128, at: i64) {
        for voice in self.voices.iter_mut().filter(|v| v.part == part && raws & bit(v.raw) != 0) {
            voice.off_at = Some(voice.off_at.map_or(at, |off| off.min(at)));
        }
    }

    /// Ends the tracks that do not play. They are followed all the same, so that what plays after a mute is what would have played.
    fn silence_lanes(&mut self, audible: u32, at: Ticks) {
        let is_silent = |part: Part| matches!(part, Part::Track(idx) if audible & 1_u32.unbounded_shl(u32::from(idx)) == 0);
        self.pending.retain(|pending| !is_silent(pending.voice.part));
        for voice in self.voices.iter_mut().filter(|v| is_silent(v.part)) {
            voice.off_at = Some(voice.off_at.map_or(at.0, |off| off.min(at.0)));
        }
    }

    fn begin(&mut self, voice: Voice, velocity: Velocity) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push(Pending { voice, velocity });
        } else {
            self.counts.dropped += 1;
        }
    }

    fn step(&mut self, pattern: Option<&Pattern>, knobs: &Knobs, audible: u32, meter: TimeSignature, grid: GridStep) {
        // All onsets of the step before have come, unless the meter changed within it.
        self.pending.clear();
        let place = pattern.and_then(|pattern| Some((pattern, Place::of(pattern, grid.bar)?)));
        let Some((pattern, place)) = place.filter(|(pattern, _)| pattern.roll.layout().n_steps > 0) else {
            if grid.bar >= 0 {
                self.counts.late += 1;
            }
            self.locate(grid.tick());
            return;
        };
        if starts_pass(place, grid) {
            self.locate(grid.tick());
        }
        let params = DecodeParams::new(knobs.temperature * pattern.temperature_factor, knobs.threshold);
        let frame = Frame { pattern, knobs, audible, meter, grid };
        for (track_idx, layout) in pattern.roll.layout().tracks.iter().enumerate().take(MAX_LANES) {
            let lane = knobs.lane(track_idx);
            self.step_track(TrackFrame { frame, layout, track_idx, lane, params: params.denser(lane.density) });
        }
        self.step_chords(frame, place);
        self.fresh = false;
    }

    fn step_track(&mut self, track: TrackFrame<'_>) {
        let Some(active) = self.active.get_mut(track.track_idx) else { return };
        if self.fresh && track.layout.merge_repeats {
            *active = track.active_before();
        }
        let Some(sets) = track.sets(track.frame.grid, *active) else { return };
        let merged = if track.layout.merge_repeats { *active & sets.onsets } else { 0 };
        let new = sets.onsets & !merged;
        let going_on = *active & !new & (sets.sustains | merged);
        let ended = *active & !going_on;
        *active = new | going_on;

        let part = track.part();
        self.end(part, ended & !new, track.end_tick(new));
        if !track.is_audible() {
            return;
        }
        for raw in pitches(new) {
            let on_at = track.onset_tick(raw);
            self.end(part, bit(raw), on_at);
            let voice = Voice {
                part,
                raw,
                channel: track.channel(),
                pitch: track.pitch(raw),
                on_at,
                off_at: track.early_off(raw, on_at),
            };
            self.begin(voice, track.velocity(raw));
        }
    }

    fn step_chords(&mut self, frame: Frame<'_>, place: Place) {
        let Some(channel) = frame.knobs.chords else {
            if self.chord.take().is_some() {
                self.end(Part::Chords, u128::MAX, frame.grid.tick);
            }
            return;
        };
        let n_steps = i64::from(frame.pattern.roll.layout().n_steps.max(1));
        let model_step = frame.grid.step % n_steps;
        let is_slot = model_step == 0 || model_step == n_steps / 2;
        if !is_slot && !self.chord_due {
            return;
        }
        self.chord_due = false;
        let [first, second] = frame.pattern.spec.progression.at(place.address_bar);
        let half = if model_step == 0 || model_step < n_steps / 2 { first } else { second };
        let wanted = half.map(|chord| (chord, channel));
        if wanted == self.chord && frame.grid.step != 0 {
            return;
        }
        self.end(Part::Chords, u128::MAX, frame.grid.tick);
        self.chord = wanted;
        let Some((chord, channel)) = wanted else { return };
        for pitch in chord.voicing().into_iter().flatten() {
            let change = frame.velocity_change(CHORD_TRACK, pitch);
            let voice = Voice { part: Part::Chords, raw: pitch, channel, pitch, on_at: frame.grid.tick, off_at: None };
            self.begin(voice, Velocity::clamped(i32::from(frame.knobs.chord_velocity) + change));
        }
    }
}

/// The first step of a finite pattern, or of an endless song.
fn starts_pass(place: Place, grid: GridStep) -> bool {
    place.address_bar == 0 && grid.step == 0
}

fn bit(pitch: Pitch) -> u128 {
    1 << pitch.number()
}

/// The pitches of a set, upward.
fn pitches(mut set: u128) -> impl Iterator<Item = Pitch> {
    std::iter::from_fn(move || {
        let number = i32::try_from(set.trailing_zeros()).ok()?;
        let pitch = Pitch::new(number)?;
        set &= set - 1;
        Some(pitch)
    })
}

/// The nearest whole number of a value that is within ±1000; 0 for what is not a number.
#[expect(clippy::cast_possible_truncation, reason = "clamped to ±1000 first")]
fn whole(value: f64) -> i64 {
    value.round().clamp(-1000.0, 1000.0) as i64
}

impl Frame<'_> {
    /// Swing's delay of a step.
    fn swing_ticks(&self, grid: GridStep) -> i64 {
        if grid.step % 2 == 0 { 0 } else { whole(f64::from(self.knobs.swing.clamp(0.0, 1.0)) * TICKS_PER_STEP as f64 / 2.0) }
    }

    /// A tick within a step: `delay` after its start, before its end (a bar line may cut a step short).
    fn delayed(&self, grid: GridStep, delay: i64) -> i64 {
        let length = grid.next(self.meter).tick - grid.tick;
        grid.tick + delay.min(length - 1)
    }

    fn address(&self, track: u16, grid: GridStep, address_bar: u32, pitch: Option<Pitch>) -> Address {
        Address {
            seed: self.pattern.spec.seed,
            take: self.pattern.spec.take,
            track,
            bar: address_bar,
            step: u16::try_from(grid.step).unwrap_or(u16::MAX),
            index: pitch.map_or(0, |p| u32::from(p.number())),
        }
    }

    /// Noise of a note at this step.
    fn uniform(&self, track: u16, pitch: Pitch, purpose: Purpose) -> f64 {
        let address_bar = Place::of(self.pattern, self.grid.bar).map_or(0, |place| place.address_bar);
        self.address(track, self.grid, address_bar, Some(pitch)).uniform(purpose)
    }

    fn velocity_change(&self, track: u16, pitch: Pitch) -> i32 {
        let amount = f64::from(self.knobs.humanize_velocity.clamp(0.0, 1.0)) * MAX_HUMANIZE_VELOCITY;
        if amount == 0.0 {
            return 0;
        }
        i32::try_from(whole((2.0 * self.uniform(track, pitch, Purpose::HumanizeVelocity) - 1.0) * amount)).unwrap_or(0)
    }
}

impl TrackFrame<'_> {
    fn number(&self) -> u16 {
        u16::try_from(self.track_idx).unwrap_or(u16::MAX)
    }

    fn part(&self) -> Part {
        Part::Track(u8::try_from(self.track_idx).unwrap_or(u8::MAX))
    }

    fn is_audible(&self) -> bool {
        self.frame.audible & 1_u32.unbounded_shl(u32::from(self.number())) != 0
    }

    fn is_drums(&self) -> bool {
        self.layout.kind == TrackKind::Onsets
    }

    /// The track's cells at a step of the song, how they are decoded, and the place of their noise.
    fn cells(&self, grid: GridStep) -> Option<(&[i8], DecodeParams, Address)> {
        let place = Place::of(self.frame.pattern, grid.bar)?;
        let roll = &self.frame.pattern.roll;
        let step_idx = usize::try_from(grid.step).ok()?.checked_rem(usize::from(roll.layout().n_steps))?;
        let cells = roll.step(place.roll_bar, step_idx).get(roll.layout().cells_of(self.track_idx))?;
        // What is given sounds as it is: it is nobody's guess.
        let is_given = self.frame.pattern.spec.is_given(self.track_idx, self.layout.kind, place.address_bar);
        let params = if is_given { DecodeParams::greedy() } else { self.params };
        Some((cells, params, self.frame.address(self.number(), grid, place.address_bar, None)))
    }

    fn state(&self, grid: GridStep) -> Option<StepState> {
        let (cells, params, at) = self.cells(grid)?;
        Some(decode::one_of_n(self.layout, cells, params, at))
    }

    /// What begins at a step, and what goes on of `active`.
    fn sets(&self, grid: GridStep, active: u128) -> Option<Sets> {
        match self.layout.kind {
            TrackKind::OneOfN => Some(match self.state(grid)? {
                StepState::Onset(pitch) => Sets { onsets: bit(pitch), sustains: 0 },
                StepState::Hold => Sets { onsets: 0, sustains: u128::MAX },
                StepState::Rest => Sets::default(),
            }),
            TrackKind::OnsetSustain => {
                let (cells, params, at) = self.cells(grid)?;
                Some(decode::onset_sustain(self.layout, cells, params, at, active))
            }
            TrackKind::Onsets => {
                let (cells, params, at) = self.cells(grid)?;
                Some(Sets { onsets: decode::onsets(self.layout, cells, params, at), sustains: 0 })
            }
        }
    }

    /// What goes on from the step before, by the roll alone: so that a merged note is not taken up in its middle after a jump.
    fn active_before(&self) -> u128 {
        let mut grid = self.frame.grid;
        for _ in 0..MAX_LOOKAHEAD_STEPS {
            if Place::of(self.frame.pattern, grid.bar).is_none_or(|place| starts_pass(place, grid)) {
                return 0;
            }
            grid = grid.previous(self.frame.meter);
            match self.layout.kind {
                TrackKind::OnsetSustain | TrackKind::Onsets => return self.sets(grid, 0).map_or(0, |sets| sets.onsets),
                TrackKind::OneOfN => match self.state(grid) {
                    Some(StepState::Onset(pitch)) => return bit(pitch),
                    Some(StepState::Hold) => {}
                    Some(StepState::Rest) | None => return 0,
                },
            }
        }
        0
    }

    /// When notes end that do not go on: on the swung grid, or, in a monophonic track, when the next one begins.
    fn end_tick(&self, new: u128) -> i64 {
        let next = pitches(new).next().filter(|_| self.layout.kind == TrackKind::OneOfN);
        next.map_or_else(
            || self.frame.delayed(self.frame.grid, self.frame.swing_ticks(self.frame.grid)),
            |pitch| self.onset_tick(pitch),
        )
    }

    fn onset_tick(&self, raw: Pitch) -> i64 {
        let amount = f64::from(self.frame.knobs.humanize_time.clamp(0.0, 1.0) * MAX_HUMANIZE_TICKS);
        let late = if amount > 0.0 { whole(amount * self.frame.uniform(self.number(), raw, Purpose::HumanizeTime)) } else { 0 };
        self.frame.delayed(self.frame.grid, self.frame.swing_ticks(self.frame.grid) + late)
    }

    /// When a shortened note ends; `None` for full length, which ends when a step says so.
    fn early_off(&self, raw: Pitch, on_at: i64) -> Option<i64> {
        let length = self.frame.knobs.note_length;
        if length.is_nan() || length >= 1.0 {
            return None;
        }
        let full = self.end_of(raw) - on_at;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "at most 64 steps of 120 ticks")]
        let short = (full as f64 * f64::from(length.max(0.0))).round() as i64;
        Some(on_at + short.max(1))
    }

    /// Where a note that begins now ends by the roll, with the knobs as they are.
    fn end_of(&self, raw: Pitch) -> i64 {
        let mut grid = self.frame.grid;
        for _ in 0..MAX_LOOKAHEAD_STEPS {
            grid = grid.next(self.frame.meter);
            let Some(place) = Place::of(self.frame.pattern, grid.bar) else { return grid.tick };
            if starts_pass(place, grid) {
                return grid.tick;
            }
            let (begins, goes_on) = match self.layout.kind {
                TrackKind::OneOfN => match self.state(grid) {
                    Some(StepState::Onset(pitch)) => (pitch == raw, false),
                    Some(StepState::Hold) => (false, true),
                    Some(StepState::Rest) | None => (false, false),
                },
                TrackKind::OnsetSustain => self
                    .cells(grid)
                    .map_or((false, false), |(cells, params, at)| decode::onset_sustain_of(self.layout, cells, raw, params, at)),
                TrackKind::Onsets => (false, false),
            };
            let goes_on = if begins { self.layout.merge_repeats } else { goes_on };
            if !goes_on {
                return self.frame.delayed(grid, self.frame.swing_ticks(grid));
            }
        }
        grid.tick
    }

    fn channel(&self) -> Channel {
        self.frame.knobs.channel_of(self.track_idx, self.frame.pattern.roll.layout().tracks.len())
    }

    fn pitch(&self, raw: Pitch) -> Pitch {
        self.frame.knobs.sounding(self.track_idx, self.layout.kind, raw)
    }

    fn velocity(&self, raw: Pitch) -> Velocity {
        let Frame { knobs, meter, grid, .. } = &self.frame;
        let full = if self.is_drums() { drum_accent(*meter, grid.step, raw) } else { accent(*meter, grid.step) };
        let accent = i32::try_from(whole(f64::from(full) * f64::from(knobs.accent.clamp(0.0, 1.0)))).unwrap_or(0);
        let change = self.frame.velocity_change(self.number(), raw);
        Velocity::clamped(i32::from(knobs.velocity) + i32::from(self.lane.velocity) + accent + change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::{
        render, render_parts,
        testing::{band, check_ledger, doubtful, drums, mono, pattern, poly, random_knobs, written},
    };
    use crate::{
        generate::Given,
        music::{
            roll::{LogitRoll, RollLayout},
            scale::Key,
        },
    };
    use fastrand::Rng;

    const FOUR: fn() -> TimeSignature = TimeSignature::default;

    /// `(onset, duration, pitch)` in ticks.
    fn notes(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, n_bars: u32) -> Vec<(i64, i64, u8)> {
        render(pattern, knobs, meter, n_bars).iter().map(|n| (n.onset.0, n.duration.0, n.pitch.number())).collect()
    }

    fn run_all(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, cuts: &[i64]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut sequencer = Sequencer::new();
        for ends in cuts.windows(2) {
            sequencer.run(Some(pattern), knobs, meter, Ticks(ends[0]), Ticks(ends[1]), &mut |e| events.push(e));
        }
        sequencer.release(Ticks(*cuts.last().unwrap()), &mut |e| events.push(e));
        events
    }

    #[test]
    fn states_become_notes() {
        let pattern = written("0--.2-3. 4------- .------- ...5----", false);
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let two_four = TimeSignature::new(2, 4).unwrap();
        assert_eq!(
            notes(&pattern, &knobs, two_four, 4),
            [(0, 360, 60), (480, 240, 62), (720, 120, 63), (960, 960, 64), (3240, 600, 65)]
        );
    }

    #[test]
    fn a_repeated_note_is_not_a_held_one() {
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let two_four = TimeSignature::new(2, 4).unwrap();
        assert_eq!(notes(&written("00-0....", false), &knobs, two_four, 1), [(0, 120, 60), (120, 240, 60), (360, 120, 60)]);
        // In a model without hold it is.
        assert_eq!(notes(&written("000.1122", true), &knobs, two_four, 1), [(0, 360, 60), (480, 240, 61), (720, 240, 62)]);
    }

    #[test]
    fn a_drum_lasts_one_step_and_begins_anew_on_the_next() {
        // Pitches 36 to 38 over 4 steps.
        let layout = RollLayout { n_steps: 4, tracks: vec![drums(36, 3)] };
        let cells = [[99, -99, -99], [99, -99, 99], [-99; 3], [-99, -99, 99]].concat();
        let pattern = pattern(3, Span::Bars(1), "N.C.", LogitRoll::from_cells(layout, 1, cells.into()).unwrap());
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let quarter = TimeSignature::new(1, 4).unwrap();
        let want = [(0, 120, 36), (120, 120, 36), (120, 120, 38), (360, 120, 38)];
        assert_eq!(notes(&pattern, &knobs, quarter, 1), want);
        let short = Knobs { note_length: 0.5, ..knobs };
        assert_eq!(notes(&pattern, &short, quarter, 1), want.map(|(onset, _, pitch)| (onset, 60, pitch)));
    }

    #[test]
    fn no_note_crosses_the_repeat_of_a_pattern() {
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let two_four = TimeSignature::new(2, 4).unwrap();
        let held = written("--.....5", false);
        assert_eq!(notes(&held, &knobs, two_four, 2), [(840, 120, 65), (1800, 120, 65)]);
        let merged = written("55.....5", true);
        assert_eq!(notes(&merged, &knobs, two_four, 2), [(0, 240, 65), (840, 120, 65), (960, 240, 65), (1800, 120, 65)]);
    }

    #[test]
    fn after_a_jump_no_note_is_taken_up_in_its_middle() {
        let two_four = TimeSignature::new(2, 4).unwrap();
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        for (bars, merge) in [("1---2... 1---2---", false), ("1111222. 1111222.", true), ("5555-555 55-52222", true)] {
            let pattern = written(bars, merge);
            let all = run_all(&pattern, &knobs, two_four, &[0, 1920]);
            for start in 0..16 {
                let from = start * 120;
                let mut events = Vec::new();
                let mut sequencer = Sequencer::new();
                sequencer.locate(Ticks(from));
                sequencer.run(Some(&pattern), &knobs, two_four, Ticks(from), Ticks(1920), &mut |e| events.push(e));
                sequencer.release(Ticks(1920), &mut |e| events.push(e));
                let begins = |events: &[Event]| -> Vec<_> {
                    events.iter().filter(|e| e.kind != EventKind::Off && e.at.0 >= from).copied().collect()
                };
                assert_eq!(begins(&events), begins(&all), "{bars} from step {start}");
            }
        }
    }

    #[test]
    fn swing_delays_the_odd_sixteenths_and_note_length_shortens() {
        let two_four = TimeSignature::new(2, 4).unwrap();
        let pattern = written("01.2----", false);
        let knobs = Knobs { temperature: 0.0, swing: 0.5, ..Knobs::default() };
        assert_eq!(notes(&pattern, &knobs, two_four, 1), [(0, 150, 60), (150, 90, 61), (390, 570, 62)]);
        let knobs = Knobs { note_length: 0.5, swing: 0.0, ..knobs };
        assert_eq!(notes(&pattern, &knobs, two_four, 1), [(0, 60, 60), (120, 60, 61), (360, 300, 62)]);
        // A merged note that was cut short does not begin again while its pitch goes on.
        assert_eq!(notes(&written("333333..", true), &knobs, two_four, 1), [(0, 360, 63)]);
    }

    #[test]
    fn bars_of_other_meters_play_the_first_steps_and_wrap() {
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        let pattern = written("0.1.2... 3.4.5...", false);
        let onsets = |n, d, bars| -> Vec<(i64, u8)> {
            notes(&pattern, &knobs, TimeSignature::new(n, d).unwrap(), bars).iter().map(|n| (n.0, n.2)).collect()
        };
        assert_eq!(onsets(3, 8, 2), [(0, 60), (240, 61), (480, 62), (720, 63), (960, 64), (1200, 65)]);
        assert_eq!(onsets(3, 4, 1), [(0, 60), (240, 61), (480, 62), (960, 60), (1200, 61)]);
        // A 5/32 bar cuts its third step at 300 ticks.
        assert_eq!(
            notes(&written("0-1 2--", false), &knobs, TimeSignature::new(5, 32).unwrap(), 2),
            [(0, 240, 60), (240, 60, 61), (300, 300, 62)]
        );
    }

    #[test]
    fn a_melody_note_that_is_a_chord_tone_sounds_once() {
        // C major's voicing is 36, 52, 55, 60. The melody begins with its 60, or cuts its 52.
        let mut pattern = written("0...4---", false);
        pattern.spec.progression = "C".parse().unwrap();
        for (octave, pitch, n_begins) in [(0, 60, 2), (-1, 52, 4)] {
            let knobs = Knobs { temperature: 0.0, octave, chords: Channel::new(0), ..Knobs::default() };
            let events = run_all(&pattern, &knobs, TimeSignature::new(2, 4).unwrap(), &[0, 1920]);
            check_ledger(&events);
            let begins = events.iter().filter(|e| e.pitch.number() == pitch && e.kind != EventKind::Off);
            assert_eq!(begins.count(), n_begins, "pitch {pitch}");
        }
    }

    #[test]
    fn chords_change_at_half_bars_and_repeat_at_bar_lines() {
        let mut pattern = written("................ ................", false);
        pattern.spec.progression = "C | Am F".parse().unwrap();
        let knobs = Knobs { chords: Channel::new(4), ..Knobs::default() };
        let bass: Vec<_> = notes(&pattern, &knobs, FOUR(), 3).into_iter().filter(|n| n.2 < 50).collect();
        assert_eq!(bass, [(0, 1920, 36), (1920, 960, 45), (2880, 960, 41), (3840, 1920, 36)]);
        assert_eq!(notes(&pattern, &Knobs::default(), FOUR(), 3), []);
    }

    #[test]
    fn chords_that_are_switched_off_end_at_the_next_step() {
        let mut pattern = written("................", false);
        pattern.spec.progression = "C".parse().unwrap();
        let mut sequencer = Sequencer::new();
        let mut events = Vec::new();
        for (chords, from, to) in [(Channel::new(4), 0, 700), (None, 700, 1900)] {
            let knobs = Knobs { chords, ..Knobs::default() };
            sequencer.run(Some(&pattern), &knobs, FOUR(), Ticks(from), Ticks(to), &mut |e| {
                events.push((e.at.0, e.kind == EventKind::Off))
            });
        }
        assert_eq!(events, [[(0, false); 4], [(720, true); 4]].concat());
    }

    #[test]
    fn bars_that_are_not_there_are_silent_and_counted() {
        let mut pattern = written("0--- 1---", false);
        pattern.spec.span = Span::Endless;
        pattern.first_bar = 1;
        let quarter = TimeSignature::new(1, 4).unwrap();
        let mut events = Vec::new();
        let mut sequencer = Sequencer::new();
        let knobs = Knobs { temperature: 0.0, ..Knobs::default() };
        sequencer.run(Some(&pattern), &knobs, quarter, Ticks(-960), Ticks(2400), &mut |e| {
            events.push((e.at.0, e.kind == EventKind::Off))
        });
        assert_eq!(events, [(480, false), (960, true), (960, false), (1440, true)]);
        assert_eq!(sequencer.take_counts(), Counts { late: 4 + 8, dropped: 0 });
        sequencer.run(None, &knobs, quarter, Ticks(2400), Ticks(2880), &mut |_| panic!("nothing can sound"));
        assert_eq!(sequencer.take_counts(), Counts { late: 4, dropped: 0 });
    }

    #[test]
    fn an_absurdly_long_call_is_bounded() {
        let pattern = written("0-1.", false);
        let mut sequencer = Sequencer::new();
        let mut n = 0_u32;
        sequencer.run(Some(&pattern), &Knobs::default(), FOUR(), Ticks(0), Ticks(1 << 45), &mut |_| n += 1);
        assert!(n <= 2 * MAX_STEPS_PER_RUN);
        assert!(sequencer.take_counts().dropped > 0);
    }

    fn random_pattern(rng: &mut Rng) -> Pattern {
        let tracks = match rng.u64(..5) {
            0 => vec![mono(48, 30, false)],
            1 => vec![mono(60, 24, true)],
            2 => vec![poly(40, 50, rng.u8(..100) < 50), mono(36, 12, false)],
            3 => band(),
            _ => vec![mono(55, 20, false), poly(0, 128, false), mono(120, 20, true), poly(30, 60, true)],
        };
        let n_bars = 1 + rng.u32(..5);
        let progression = rng.choice(["N.C.", "C | Am | F G | N.C.", "Dm7/G | C13"]).unwrap();
        doubtful(rng.u64(..), tracks, n_bars, progression)
    }

    fn random_meter(rng: &mut Rng) -> TimeSignature {
        let (n, d) = rng.choice([(4, 4), (4, 4), (3, 4), (7, 8), (5, 32), (1, 64), (9, 4), (64, 64)]).unwrap();
        TimeSignature::new(n, d).unwrap()
    }

    #[test]
    fn every_begin_has_one_end_whatever_the_knobs_do() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let mut pattern = random_pattern(&mut rng);
            let mut meter = random_meter(&mut rng);
            let mut knobs = random_knobs(&mut rng);
            let mut sequencer = Sequencer::new();
            let mut events = Vec::new();
            let mut now = rng.choice([-500, 0, 0, 12_345]).unwrap();
            // Time as the listener sees it: jumps of the song do not turn it back.
            let mut shift = 0;
            for _ in 0..60 {
                if rng.u8(..100) < 20 {
                    knobs = random_knobs(&mut rng);
                }
                if rng.u8(..100) < 4 {
                    meter = random_meter(&mut rng);
                }
                if rng.u8(..100) < 5 {
                    pattern = random_pattern(&mut rng);
                    sequencer.release(Ticks(now), &mut |e| events.push(Event { at: Ticks(e.at.0 + shift), ..e }));
                }
                if rng.u8(..100) < 5 {
                    sequencer.release(Ticks(now), &mut |e| events.push(Event { at: Ticks(e.at.0 + shift), ..e }));
                    let to = rng.i64(0..20_000);
                    sequencer.locate(Ticks(to));
                    shift += now - to;
                    now = to;
                }
                let to = now + rng.choice([1, 17, 120, 121, 1920]).unwrap();
                let pattern = (rng.u8(..100) >= 3).then_some(&pattern);
                sequencer.run(pattern, &knobs, meter, Ticks(now), Ticks(to), &mut |e| {
                    assert!((now..to).contains(&e.at.0), "seed {seed}: {e:?} outside {now}..{to}");
                    events.push(Event { at: Ticks(e.at.0 + shift), ..e });
                });
                now = to;
            }
            sequencer.release(Ticks(now), &mut |e| events.push(Event { at: Ticks(e.at.0 + shift), ..e }));
            check_ledger(&events);
        }
    }

    /// Knobs of the band whose lanes are changed.
    fn lanes(change: impl FnOnce(&mut [Lane; MAX_LANES])) -> Knobs {
        let mut knobs = Knobs { chords: Channel::new(14), ..Knobs::default() };
        change(&mut knobs.lanes);
        knobs
    }

    /// Plays a bar and a half of the band with one set of knobs, the rest with another: events of each part.
    fn change_midway(first: &Knobs, then: &Knobs) -> Vec<Event> {
        let pattern = doubtful(8, band(), 4, "C | Am");
        let mut sequencer = Sequencer::new();
        let mut events = Vec::new();
        // Not on the grid, where decoding could help.
        for (knobs, from, to) in [(first, 0, 2897), (then, 2897, 4 * 1920)] {
            sequencer.run(Some(&pattern), knobs, FOUR(), Ticks(from), Ticks(to), &mut |e| events.push(e));
        }
        sequencer.release(Ticks(4 * 1920), &mut |e| events.push(e));
        check_ledger(&events);
        events
    }

    #[test]
    fn what_is_given_sounds_as_it_is() {
        let mut pattern = doubtful(3, band(), 4, "N.C.");
        let greedy = lanes(|_| {});
        let wild = Knobs { temperature: 2.0, threshold: 0.35, ..lanes(|l| l.iter_mut().for_each(|lane| lane.density = 2.0)) };
        let of = |pattern: &Pattern, knobs: &Knobs, idx| {
            let parts = render_parts(pattern, knobs, FOUR(), 0..4);
            parts.into_iter().filter(|(part, _)| *part == Part::Track(idx)).map(|(_, note)| note).collect::<Vec<_>>()
        };
        let greedy = Knobs { temperature: 0.0, ..greedy };
        for idx in 0..5 {
            let want = of(&pattern, &greedy, idx);
            assert_ne!(of(&pattern, &wild, idx), want);
            pattern.spec.given = Given::from_notes(pattern.roll.layout(), &[(usize::from(idx), &[])], 2).0;
            assert_eq!(of(&pattern, &wild, idx), want);
            pattern.spec.given = Given::default();
        }
    }

    #[test]
    fn a_muted_lane_ends_at_once_and_the_others_play_on() {
        let plain = lanes(|_| {});
        for part_idx in 0..5_u8 {
            let lane_idx = usize::from(part_idx);
            let is = |e: &&Event| e.part == Part::Track(part_idx);
            let others = |events: &[Event]| events.iter().filter(|e| !is(e)).copied().collect::<Vec<_>>();
            let all = change_midway(&plain, &plain);
            for silent in [
                lanes(|l| l[lane_idx].muted = true),
                lanes(|l| l[lane_idx].on = false),
                lanes(|l| {
                    (0..5).filter(|idx| *idx != lane_idx).for_each(|idx| l[idx].solo = true);
                }),
            ] {
                let muted = change_midway(&plain, &silent);
                assert_eq!(others(&muted), others(&all));
                assert!(muted.iter().filter(is).all(|e| e.at <= Ticks(2897)));
                // Unmuted, what begins is what would have begun.
                let unmuted = change_midway(&silent, &plain);
                let begins = |events: &[Event]| -> Vec<_> {
                    events.iter().filter(is).filter(|e| e.at.0 > 2897 && e.kind != EventKind::Off).copied().collect()
                };
                assert!(begins(&all).len() > 2, "lane {lane_idx}");
                assert_eq!(begins(&unmuted), begins(&all));
            }
        }
    }

    #[test]
    fn one_lane_alone_is_that_lane_of_the_whole() {
        let plain = lanes(|_| {});
        let all = change_midway(&plain, &plain);
        for idx in 0..5_u8 {
            let knobs = Knobs { only_lane: Some(idx), ..plain };
            let want: Vec<_> = all.iter().filter(|e| matches!(e.part, Part::Chords) || e.part == Part::Track(idx)).collect();
            assert_eq!(change_midway(&knobs, &knobs).iter().collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn a_lane_changes_its_own_channel_octave_and_velocity_from_the_next_note_on() {
        let plain = lanes(|_| {});
        let changed = lanes(|l| l[3] = Lane { channel: Channel::new(11).unwrap(), octave: 1, velocity: -30, ..Lane::default() });
        let (all, other) = (change_midway(&plain, &plain), change_midway(&plain, &changed));
        let begins = |events: &[Event]| -> Vec<Event> { events.iter().filter(|e| e.kind != EventKind::Off).copied().collect() };
        assert_eq!(begins(&all).len(), begins(&other).len());
        for (was, is) in begins(&all).iter().zip(begins(&other)) {
            let moved = was.part == Part::Track(3) && was.at.0 >= 2897;
            let by = if moved { 12 } else { 0 };
            assert_eq!((is.part, is.at, is.pitch), (was.part, was.at, was.pitch.transposed(by)));
            assert_eq!(is.channel.index(), if moved { 11 } else { was.channel.index() });
            let (EventKind::On(was), EventKind::On(is)) = (was.kind, is.kind) else { panic!("no begin") };
            assert_eq!(is, Velocity::clamped(i32::from(was.number()) - if moved { 30 } else { 0 }));
        }
    }

    #[test]
    fn drums_keep_their_pitches() {
        let pattern = doubtful(4, vec![drums(36, 35), poly(24, 72, false)], 2, "N.C.");
        let key: Key = "Gb major".parse().unwrap();
        let moved = Knobs { octave: -2, key: Some(key), ..lanes(|l| l[0].octave = 3) };
        let drums = |knobs: &Knobs| -> Vec<_> {
            let notes = render_parts(&pattern, knobs, FOUR(), 0..2).into_iter();
            notes.filter(|(part, _)| *part == Part::Track(0)).map(|(_, note)| (note.onset, note.pitch)).collect()
        };
        assert!(drums(&moved).len() > 10);
        assert_eq!(drums(&moved), drums(&lanes(|_| {})));
    }

    #[test]
    fn density_plays_more_or_less_of_its_lane_alone() {
        let pattern = doubtful(4, band(), 4, "N.C.");
        let counts = |knobs: &Knobs| {
            let mut counts = [0; 5];
            for (part, _) in render_parts(&pattern, knobs, FOUR(), 0..4) {
                if let Part::Track(idx) = part {
                    counts[usize::from(idx)] += 1;
                }
            }
            counts
        };
        let plain = counts(&lanes(|_| {}));
        for idx in 0..5 {
            let (fewer, more) = (counts(&lanes(|l| l[idx].density = -1.5)), counts(&lanes(|l| l[idx].density = 1.5)));
            assert!(fewer[idx] < plain[idx] && plain[idx] < more[idx], "lane {idx}: {fewer:?} {plain:?} {more:?}");
            for other in (0..5).filter(|other| *other != idx) {
                assert_eq!((fewer[other], more[other]), (plain[other], plain[other]));
            }
        }
    }

    #[test]
    fn velocities_follow_the_bar_and_waver_by_their_place() {
        let pattern = written("0000000000000000", false);
        let velocities = |accent, humanize_velocity| -> Vec<u8> {
            let knobs = Knobs { temperature: 0.0, accent, humanize_velocity, ..Knobs::default() };
            render(&pattern, &knobs, FOUR(), 1).iter().map(|n| n.velocity.number()).collect()
        };
        assert_eq!(velocities(0.0, 0.0), [96; 16]);
        let half = velocities(0.5, 0.0);
        assert_eq!(half, [104, 90, 96, 90, 100, 90, 96, 90, 102, 90, 96, 90, 100, 90, 96, 90]);
        let human = velocities(0.5, 0.3);
        assert_ne!(human, half);
        assert!(human.iter().zip(&half).all(|(a, b)| a.abs_diff(*b) <= 6), "{human:?}");
        assert_eq!(velocities(0.5, 0.3), human);
    }

    #[test]
    fn a_monophonic_track_never_sounds_two_notes() {
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let pattern = doubtful(seed, vec![mono(48, 6, seed % 2 == 0)], 3, "N.C.");
            let mut sequencer = Sequencer::new();
            let mut sounding = 0;
            for step in 0..200 {
                let knobs = Knobs { chords: None, threshold: 0.3, ..random_knobs(&mut rng) };
                sequencer.run(Some(&pattern), &knobs, FOUR(), Ticks(step * 120), Ticks(step * 120 + 120), &mut |event| {
                    sounding += if event.kind == EventKind::Off { -1 } else { 1 };
                    assert!((0..=1).contains(&sounding), "seed {seed}: {event:?} with {sounding} sounding");
                });
            }
        }
    }

    #[test]
    fn cutting_a_run_anywhere_changes_nothing() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let pattern = random_pattern(&mut rng);
            let (knobs, meter) = (random_knobs(&mut rng), random_meter(&mut rng));
            let whole = run_all(&pattern, &knobs, meter, &[0, 4000]);
            let mut cuts = vec![0];
            while *cuts.last().unwrap() < 4000 {
                cuts.push((cuts.last().unwrap() + rng.choice([1, 2, 59, 120, 700]).unwrap()).min(4000));
            }
            assert_eq!(run_all(&pattern, &knobs, meter, &cuts), whole, "seed {seed}");
        }
    }

    #[test]
    fn every_pass_of_a_finite_pattern_is_the_same() {
        for seed in 0..100 {
            let mut rng = Rng::with_seed(seed);
            let pattern = random_pattern(&mut rng);
            let knobs = Knobs { chords: None, ..random_knobs(&mut rng) };
            let n_bars = u32::try_from(pattern.roll.n_bars()).unwrap();
            let pass = i64::from(n_bars) * 1920;
            let once = notes(&pattern, &knobs, FOUR(), n_bars);
            let thrice: Vec<_> = notes(&pattern, &knobs, FOUR(), 3 * n_bars);
            for n in 0..3 {
                let of_pass: Vec<_> = thrice
                    .iter()
                    .filter(|note| note.0.div_euclid(pass) == n)
                    .map(|(onset, duration, pitch)| (onset - n * pass, *duration, *pitch))
                    .collect();
                assert_eq!(of_pass, once, "seed {seed}, pass {n}");
            }
        }
    }

    #[test]
    fn humanising_moves_onsets_but_never_reorders() {
        let pattern = doubtful(5, vec![mono(48, 30, false)], 4, "N.C.");
        let straight = Knobs { humanize_time: 0.0, note_length: 1.0, ..Knobs::default() };
        // In a 3/32 bar the line cuts the second step to 60 ticks, swing's delay.
        for (swing, meter) in [(0.0, (4, 4)), (1.0, (4, 4)), (1.0, (3, 32))] {
            let meter = TimeSignature::new(meter.0, meter.1).unwrap();
            let loose = Knobs { humanize_time: 1.0, swing, ..straight };
            let (a, b) = (notes(&pattern, &straight, meter, 99), notes(&pattern, &loose, meter, 99));
            assert_eq!(a.len(), b.len());
            assert!(a.len() > 5 && a != b);
            for (a, b) in a.iter().zip(&b) {
                assert_eq!(a.2, b.2);
                assert!((a.0..a.0 + 120).contains(&b.0), "{a:?} became {b:?}");
            }
        }
    }
}
