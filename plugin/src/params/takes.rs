//! Re-rolls, locks, the user's own track, and their undo: what the editor's buttons do. Host's main thread and editor, never the audio
//! thread, which hears of a change by the generation.

use super::{
    BarlineParams, MAX_SEED, MAX_TAKE, Saved,
    presets::{Preset, Values},
};
use crate::{
    generate::{Given, GivenPart, Pattern, Retake, Span, pattern::MAX_TAKES},
    music::{
        note::{Channel, Note},
        roll::TrackKind,
        time::TimeSignature,
    },
    player::{
        Knobs, Part,
        knobs::{Lane, MAX_LANES},
        render_parts,
    },
    state::{GivenTrack, MAX_FAVOURITE_RETAKES, MAX_FAVOURITES, Settings, TakeAddress, TakenLock, n_retakes},
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps that can be undone.
const MAX_UNDO: usize = 64;
/// Layers of locks that are kept apart; beyond, the oldest two become one.
const MAX_LOCKS: usize = MAX_TAKES + 1;

/// A re-roll or a lock that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakesError {
    /// An endless pattern has no bars of its own.
    #[error("an endless pattern can be re-rolled as a whole or by tracks, not by bars; nothing in it can be locked")]
    Endless,
    /// There are too many re-rolls.
    #[error("{MAX_TAKES} re-rolls are kept at most; undo some, or re-roll everything")]
    TooMany,
    /// The pattern has no such track or bar, or it is locked already.
    #[error("there is nothing to lock here")]
    Nothing,
    /// There are too many favourites.
    #[error("{MAX_FAVOURITES} takes with {MAX_FAVOURITE_RETAKES} re-rolls in all can be kept; give one up first")]
    TooManyFavourites,
    /// The track has no such note.
    #[error("there is no such note any more")]
    NoNote,
    /// The track has no such pitch, or none that sounds so in this key.
    #[error("this lane cannot play that pitch")]
    Pitch,
    /// Bars are longer than the model's, which repeats its own in them.
    #[error("notes cannot be drawn into bars of more than 16 sixteenths, in which this model repeats itself")]
    Meter,
}

/// What undo brings back.
#[derive(Clone, Debug)]
struct Step {
    takes: Vec<Retake>,
    locks: Vec<TakenLock>,
    /// The given track, where the step is about it: it may change by itself while it is captured.
    given: Option<Option<GivenTrack>>,
    /// Seed and take, where the step is about them: the host may change them too.
    seed: Option<(i32, i32)>,
    /// Everything that a preset holds, where the step loaded one.
    idea: Option<Box<Preset>>,
}

/// Values of parameters that a step brings, to be set by the caller through the host.
#[derive(Clone, Debug, Default)]
pub struct Stepped {
    /// Seed and take, where the step was about them.
    pub seed: Option<(i32, i32)>,
    /// All of a preset, where it loaded one.
    pub values: Values,
}

impl Step {
    fn new(settings: &Settings) -> Self {
        Self { takes: settings.takes.clone(), locks: settings.locks.clone(), given: None, seed: None, idea: None }
    }
}

/// What can be undone and redone, and the number of the last re-roll. Not saved.
#[derive(Debug, Default)]
pub(super) struct History {
    undo: Vec<Step>,
    redo: Vec<Step>,
    last_take: u32,
}

impl History {
    fn remember(&mut self, step: Step) {
        self.redo.clear();
        if self.undo.len() >= MAX_UNDO {
            self.undo.remove(0);
        }
        self.undo.push(step);
    }

    /// A take that nothing had before: not what was undone, nor a favourite, nor anything that the parameter can say.
    fn next_take(&self, settings: &Settings) -> u32 {
        let favourites = settings.favourites.iter().flat_map(|kept| &kept.retakes);
        let before = settings.takes.iter().chain(favourites).map(|retake| retake.take).max().unwrap_or(0);
        self.last_take.max(before).max(MAX_TAKE.unsigned_abs()) + 1
    }
}

/// The tracks and bars that will perhaps be re-rolled next.
pub(super) struct Aim(AtomicU64);

impl Default for Aim {
    fn default() -> Self {
        Self(AtomicU64::new(Self::code(Retake::ALL_TRACKS, Retake::ALL_BARS)))
    }
}

impl Aim {
    fn code(tracks: u16, bars: u32) -> u64 {
        u64::from(tracks) << 32 | u64::from(bars)
    }

    fn get(&self) -> (u16, u32) {
        let [_, _, a, b, c, d, e, f] = self.0.load(Ordering::Relaxed).to_be_bytes();
        (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
    }
}

/// Adds a re-roll.
fn add_retake(settings: &mut Settings, retake: Retake) -> Result<(), TakesError> {
    let Retake { tracks, bars, take } = retake;
    let n_takes = settings.takes.len();
    let is_unlocked = settings.locks.iter().all(|lock| lock.after != n_takes);
    match settings.takes.last_mut() {
        // Only the last of equal ones counts, unless something was locked in between.
        Some(last) if is_unlocked && (last.tracks, last.bars) == (tracks, bars) => last.take = take,
        _ if (tracks, bars) == (Retake::ALL_TRACKS, Retake::ALL_BARS) => {
            // Nothing written before leaves a trace.
            settings.takes = vec![retake];
            settings.locks.iter_mut().for_each(|lock| lock.after = 0);
        }
        _ if n_takes >= MAX_TAKES => return Err(TakesError::TooMany),
        _ => settings.takes.push(retake),
    }
    Ok(())
}

impl BarlineParams {
    /// Writes tracks anew in bars (bit `n` is track or bar `n`; [`Retake::ALL_TRACKS`] and [`Retake::ALL_BARS`] are everything), to go
    /// with all that stays. What is locked or given stays too.
    ///
    /// # Errors
    /// [`TakesError::Endless`] for bars of an endless pattern, [`TakesError::TooMany`].
    pub fn reroll(&self, tracks: u16, bars: u32) -> Result<(), TakesError> {
        if self.length.value().span() == Span::Endless && bars != Retake::ALL_BARS {
            return Err(TakesError::Endless);
        }
        let mut inner = self.saved.inner.lock();
        let super::Inner { settings, history, .. } = &mut *inner;
        let step = Step::new(settings);
        let take = history.next_take(settings);
        add_retake(settings, Retake { tracks, bars, take })?;
        history.last_take = take;
        history.remember(step);
        self.saved.count_takes();
        Ok(())
    }

    /// Tells which tracks and bars the user is about to re-roll, so that it can be made ahead.
    pub fn aim_at(&self, tracks: u16, bars: u32) {
        self.saved.aim.0.store(Aim::code(tracks, bars), Ordering::Relaxed);
    }

    /// Names what the user is about to re-roll; at first everything.
    #[must_use]
    pub fn aim(&self) -> u64 {
        self.saved.aim.0.load(Ordering::Relaxed)
    }

    /// The settings after that re-roll; `None` where it would be refused.
    #[must_use]
    pub fn rerolled(&self) -> Option<Settings> {
        let inner = self.saved.inner.lock();
        let mut settings = inner.settings.clone();
        let ((tracks, bars), take) = (self.saved.aim.get(), inner.history.next_take(&settings));
        add_retake(&mut settings, Retake { tracks, bars, take }).ok().map(|()| settings)
    }

    /// Keeps tracks in bars as they sound in `pattern` now: the notes that the knobs of the moment decode, before swing, humanising,
    /// octave and key, which go on acting on them. Nothing else changes, and no re-roll, seed, chord, knob or model changes them, until
    /// [`unlock`](Self::unlock). A note that is held into a bar belongs to the bar where it begins.
    ///
    /// # Errors
    /// [`TakesError::Endless`], [`TakesError::Nothing`].
    pub fn lock(&self, tracks: u16, bars: u32, pattern: &Pattern) -> Result<(), TakesError> {
        let Span::Bars(n_bars) = pattern.spec.span else { return Err(TakesError::Endless) };
        let mut music = self.as_heard(pattern, n_bars).kept(tracks, bars);
        let mut inner = self.saved.inner.lock();
        let step = Step::new(&inner.settings);
        for (track, locked) in (0_u32..).zip(locked(&inner.settings)) {
            music = music.without(1_u16.unbounded_shl(track), locked);
        }
        if music.is_empty() {
            return Err(TakesError::Nothing);
        }
        add_lock(&mut inner.settings, music, pattern);
        inner.history.remember(step);
        self.saved.count_takes();
        Ok(())
    }

    /// Locks music over whatever was locked there.
    pub(super) fn lock_over(&self, music: Given, pattern: &Pattern) {
        let mut inner = self.saved.inner.lock();
        let step = Step::new(&inner.settings);
        add_lock(&mut inner.settings, music, pattern);
        inner.history.remember(step);
        self.saved.count_takes();
    }

    /// What a pattern's tracks play on the plain grid, with the knobs of the moment.
    pub(super) fn as_heard(&self, pattern: &Pattern, n_bars: u32) -> Given {
        let knobs = self.knobs();
        let lane = |idx: usize| Lane {
            density: knobs.lane(idx).density,
            channel: u8::try_from(idx).ok().and_then(Channel::new).unwrap_or_default(),
            ..Lane::default()
        };
        let plain = Knobs {
            temperature: knobs.temperature,
            threshold: knobs.threshold,
            humanize_velocity: 0.0,
            lanes: std::array::from_fn(lane),
            ..Knobs::default()
        };
        let parts = render_parts(pattern, &plain, TimeSignature::default(), 0..n_bars);
        let layout = pattern.roll.layout();
        let notes_of = |track_idx: usize| -> Vec<Note> {
            let own = parts.iter().filter(|(part, _)| matches!(part, Part::Track(idx) if usize::from(*idx) == track_idx));
            own.map(|(_, note)| *note).collect()
        };
        let tracks: Vec<_> = layout.tracks.iter().enumerate().map(|(idx, track)| (idx, track.kind, notes_of(idx))).collect();
        let parts: Vec<_> = tracks
            .iter()
            .map(|(track_idx, kind, notes)| GivenPart { track_idx: *track_idx, drums: *kind == TrackKind::Onsets, notes })
            .collect();
        Given::from_parts(&parts, layout.n_steps, n_bars).0
    }

    /// Gives tracks in bars back to the network: what it had written there, or, if seed, chords or model have changed since, what it
    /// writes there now.
    pub fn unlock(&self, tracks: u16, bars: u32) {
        let mut inner = self.saved.inner.lock();
        let step = Step::new(&inner.settings);
        for lock in &mut inner.settings.locks {
            lock.music = std::mem::take(&mut lock.music).without(tracks, bars);
        }
        inner.settings.locks.retain(|lock| !lock.music.is_empty());
        if inner.settings.locks != step.locks {
            inner.history.remember(step);
            self.saved.count_takes();
        }
    }

    /// Makes this the track that the others accompany.
    pub fn give(&self, given: GivenTrack) {
        self.set_given(Some(given));
    }

    /// Puts what was played in a bar of the song into its place of the captured loop, which thereby becomes the given track (worker
    /// thread), as [`GivenTrack::captured`] says.
    pub fn capture_bar(&self, song_bar: i64, notes: &[Note]) {
        let (lane, n_bars) = (self.given_lane.value().lane_idx(), self.capture_bars.value().n_bars());
        let mut inner = self.saved.inner.lock();
        let before = inner.settings.given.clone();
        let given = GivenTrack::captured(before.as_ref(), lane, n_bars, song_bar, notes);
        if given.is_none() || before == given {
            return;
        }
        // A loop is one step for undo, however often it goes round.
        let loop_of = |given: &Option<GivenTrack>| given.as_ref().map(|g| (g.source.clone(), g.lane, g.n_bars()));
        if loop_of(&before) != loop_of(&given) {
            let step = Step { given: Some(before.clone()), ..Step::new(&inner.settings) };
            inner.history.remember(step);
        }
        inner.settings.given = given;
        self.saved.count_takes();
    }

    /// Takes the given track away.
    pub fn clear_given(&self) {
        self.set_given(None);
    }

    fn set_given(&self, given: Option<GivenTrack>) {
        let mut inner = self.saved.inner.lock();
        if inner.settings.given != given {
            let before = std::mem::replace(&mut inner.settings.given, given);
            let step = Step { given: Some(before), ..Step::new(&inner.settings) };
            inner.history.remember(step);
            self.saved.count_takes();
        }
    }

    /// To be called before a button changes seed or take: undo will bring them back. The re-rolls made so far go, for they were of
    /// another idea; locks stay.
    pub fn remember_seed(&self) {
        let seed = Some((self.seed.value(), self.take.value()));
        let mut inner = self.saved.inner.lock();
        let step = Step { seed, ..Step::new(&inner.settings) };
        inner.settings.takes.clear();
        inner.history.remember(step);
        self.saved.count_takes();
    }

    /// Goes to another take. Its re-rolls count at once; yields its seed and take, to be set by the caller. What is locked and given stays.
    /// Undo goes back.
    pub fn go_to(&self, address: &TakeAddress) -> Stepped {
        let seed = Some((self.seed.value(), self.take.value()));
        let mut inner = self.saved.inner.lock();
        let step = Step { seed, ..Step::new(&inner.settings) };
        inner.settings.takes.clone_from(&address.retakes);
        for lock in &mut inner.settings.locks {
            lock.after = lock.after.min(address.retakes.len());
        }
        inner.history.remember(step);
        self.saved.count_takes();
        let number = |number: u32, max: i32| i32::try_from(number).unwrap_or(max).min(max);
        Stepped { seed: Some((number(address.seed, MAX_SEED), number(address.take, MAX_TAKE))), values: Values::default() }
    }

    /// Keeps a take with the project, or gives it up where it was kept. Nothing that sounds changes, so undo leaves it.
    ///
    /// # Errors
    /// [`TakesError::TooManyFavourites`].
    pub fn keep_or_give_up(&self, address: &TakeAddress) -> Result<(), TakesError> {
        let mut inner = self.saved.inner.lock();
        let kept = &mut inner.settings.favourites;
        let n_before = kept.len();
        kept.retain(|other| other != address);
        if kept.len() == n_before {
            let n_all = n_retakes(kept) + address.retakes.len();
            if n_before >= MAX_FAVOURITES || n_all > MAX_FAVOURITE_RETAKES {
                return Err(TakesError::TooManyFavourites);
            }
            kept.push(address.clone());
        }
        Ok(())
    }

    /// Takes a preset's model, chords and primer; its `values` are to be set by the caller. The re-rolls made so far go, for they were of
    /// another idea; locks and the given track stay. Undo brings all of it back.
    pub fn take_preset(&self, preset: &Preset) {
        let before = self.preset();
        let mut inner = self.saved.inner.lock();
        let step = Step { idea: Some(Box::new(before)), ..Step::new(&inner.settings) };
        inner.settings.takes.clear();
        inner.settings.set_idea(preset);
        inner.history.remember(step);
        self.saved.count_idea();
    }

    /// Takes the last step back. What it brings of parameters is to be set by the caller.
    pub fn undo(&self) -> Stepped {
        self.step(|history| (&mut history.undo, &mut history.redo))
    }

    /// Does again what was undone last; the values as in [`undo`](Self::undo).
    pub fn redo(&self) -> Stepped {
        self.step(|history| (&mut history.redo, &mut history.undo))
    }

    fn step(&self, direction: impl FnOnce(&mut History) -> (&mut Vec<Step>, &mut Vec<Step>)) -> Stepped {
        let (now, idea_now) = ((self.seed.value(), self.take.value()), self.preset());
        let mut inner = self.saved.inner.lock();
        let super::Inner { settings, history, .. } = &mut *inner;
        let (from, to) = direction(history);
        let Some(step) = from.pop() else { return Stepped::default() };
        let back = Step {
            given: step.given.as_ref().map(|_| settings.given.clone()),
            seed: step.seed.map(|_| now),
            idea: step.idea.as_ref().map(|_| Box::new(idea_now)),
            ..Step::new(settings)
        };
        to.push(back);
        (settings.takes, settings.locks) = (step.takes, step.locks);
        if let Some(given) = step.given {
            settings.given = given;
        }
        self.saved.count_takes();
        let values = step.idea.map(|idea| {
            settings.set_idea(&idea);
            self.saved.count_idea();
            idea.values
        });
        Stepped { seed: step.seed, values: values.unwrap_or_default() }
    }
}

impl Settings {
    fn set_idea(&mut self, preset: &Preset) {
        self.model.clone_from(&preset.model);
        self.progression.clone_from(&preset.progression);
        self.primer.clone_from(&preset.primer);
    }
}

impl Saved {
    fn count_takes(&self) {
        self.takes.fetch_add(1, Ordering::Release);
    }

    fn count_idea(&self) {
        for counter in [&self.takes, &self.model, &self.progression, &self.primer] {
            counter.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether there is something to undo.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        !self.inner.lock().history.undo.is_empty()
    }

    /// Whether there is something to redo.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        !self.inner.lock().history.redo.is_empty()
    }

    /// The bars that are locked in each track; bit `n` is bar `n`.
    #[must_use]
    pub fn locked(&self) -> [u32; MAX_LANES] {
        locked(&self.inner.lock().settings)
    }

    /// The takes that are kept.
    #[must_use]
    pub fn favourites(&self) -> Vec<TakeAddress> {
        self.inner.lock().settings.favourites.clone()
    }

    /// The track that the others accompany.
    #[must_use]
    pub fn given(&self) -> Option<GivenTrack> {
        self.inner.lock().settings.given.clone()
    }
}

/// The newest layer of locks, over all that were there: re-rolls made before it go on hearing those.
fn add_lock(settings: &mut Settings, music: Given, pattern: &Pattern) {
    let (base, after) = (settings.base(&pattern.spec), settings.takes.len());
    match settings.locks.last_mut().filter(|lock| (lock.base, lock.after) == (base, after)) {
        Some(lock) => lock.music.lay_over(&music),
        None => settings.locks.push(TakenLock { base, after, music }),
    }
    if settings.locks.len() > MAX_LOCKS {
        let mut oldest = settings.locks.remove(0);
        if let Some(second) = settings.locks.first_mut() {
            oldest.music.lay_over(&second.music);
            second.music = oldest.music;
        }
    }
}

fn locked(settings: &Settings) -> [u32; MAX_LANES] {
    std::array::from_fn(|track_idx| settings.locks.iter().fold(0, |bars, lock| bars | lock.music.bars_of(track_idx)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::{ModelId, PatternSpec, Span},
        music::{
            note::{Pitch, tests::note},
            roll::{LogitRoll, RollLayout, TrackLayout},
        },
        player::render,
    };

    /// Four bars of three tracks, doubtful everywhere.
    fn doubtful(spec: PatternSpec) -> Pattern {
        let track = |kind, lowest, n_pitches| TrackLayout {
            kind,
            lowest_pitch: Pitch::new(lowest).unwrap(),
            n_pitches,
            merge_repeats: false,
        };
        let tracks =
            vec![track(TrackKind::Onsets, 36, 9), track(TrackKind::OneOfN, 30, 12), track(TrackKind::OnsetSustain, 55, 20)];
        let layout = RollLayout { n_steps: 16, tracks };
        let n = 4 * 16 * layout.n_cells();
        let sustains = layout.cells_of(2).start + 20;
        let cell = |idx: usize| {
            let noise = i8::try_from((idx * idx + idx * 31) % 61).unwrap() - 45;
            if idx % layout.n_cells() >= sustains { noise + 50 } else { noise }
        };
        let roll = LogitRoll::from_cells(layout.clone(), 4, (0..n).map(cell).collect()).unwrap();
        let model = ModelId { id: "doubtful".into(), sha256: String::new() };
        Pattern { key: 3, spec, model, first_bar: 0, roll, temperature_factor: 1.0 }
    }

    fn spec(params: &BarlineParams) -> PatternSpec {
        let mut spec = PatternSpec {
            seed: params.seed.value().unsigned_abs(),
            take: params.take.value().unsigned_abs(),
            span: params.length.value().span(),
            ..PatternSpec::default()
        };
        params.saved.snapshot().settings.complete(&mut spec);
        spec
    }

    fn take_numbers(params: &BarlineParams) -> Vec<u32> {
        params.saved.snapshot().settings.takes.iter().map(|retake| retake.take).collect()
    }

    const ALL: (u16, u32) = (Retake::ALL_TRACKS, Retake::ALL_BARS);

    #[test]
    fn rerolls_add_up_and_each_has_a_take_of_its_own() {
        let params = BarlineParams::default();
        let before = params.saved.generations();
        params.reroll(0b10, 0b11).unwrap();
        params.reroll(0b10, 0b11).unwrap();
        params.reroll(0b100, Retake::ALL_BARS).unwrap();
        assert_eq!(take_numbers(&params), [1001, 1002]);
        assert_eq!(params.saved.generations(), super::super::Generations { takes: before.takes + 3, ..before });
        // What was undone does not come again.
        assert_eq!(params.undo().seed, None);
        params.reroll(0b100, Retake::ALL_BARS).unwrap();
        assert_eq!(take_numbers(&params), [1001, 1003]);
        for (tracks, bars, takes) in [(ALL.0, ALL.1, &[1004][..]), (ALL.0, ALL.1, &[1005]), (0b1000, 1 << 31, &[1005, 1006])] {
            params.aim_at(tracks, bars);
            let next = params.rerolled();
            params.reroll(tracks, bars).unwrap();
            assert_eq!((&take_numbers(&params)[..], next), (takes, Some(params.saved.snapshot().settings)));
        }
        params.reroll(ALL.0, ALL.1).unwrap();
        for bar in 0..63_u32 {
            params.reroll(1, 1 << (bar % 32)).unwrap();
        }
        assert_eq!(params.reroll(2, 4), Err(TakesError::TooMany));
        assert_eq!((take_numbers(&params).len(), params.reroll(ALL.0, ALL.1)), (64, Ok(())));
        assert_eq!(spec(&params).takes.len(), 1);
    }

    #[test]
    fn undo_and_redo_go_back_and_forth() {
        let params = BarlineParams::default();
        let pattern = doubtful(PatternSpec { span: Span::Bars(4), ..spec(&params) });
        let given = || GivenTrack { lane: 2, source: "captured".into(), music: Given::from_parts(&[], 16, 2).0 };
        let mut states = vec![params.saved.snapshot().settings];
        let steps: [&dyn Fn(); 6] = [
            &|| params.reroll(1, 2).unwrap(),
            &|| params.lock(0b10, 0b101, &pattern).unwrap(),
            &|| params.give(given()),
            &|| params.unlock(0b10, 0b001),
            &|| params.remember_seed(),
            &|| params.reroll(4, 8).unwrap(),
        ];
        for step in steps {
            assert!(!params.saved.can_redo());
            step();
            states.push(params.saved.snapshot().settings);
        }
        let seeds: Vec<_> = states
            .iter()
            .rev()
            .skip(1)
            .map(|state| {
                let seed = params.undo().seed;
                assert_eq!(params.saved.snapshot().settings, *state);
                seed
            })
            .collect();
        // Only the step that was about the seed brings it back.
        assert_eq!(seeds, [None, Some((0, 0)), None, None, None, None]);
        assert!(!params.saved.can_undo() && params.undo().seed.is_none());
        for state in &states[1..] {
            assert!(params.saved.can_redo());
            params.redo();
            assert_eq!(params.saved.snapshot().settings, *state);
        }
        params.undo();
        params.clear_given();
        assert!(params.saved.can_undo() && !params.saved.can_redo());
    }

    #[test]
    fn a_lock_holds_what_sounds_and_moves_with_the_rerolls() {
        let params = BarlineParams::default();
        let pattern = doubtful(PatternSpec { span: Span::Bars(8), ..spec(&params) });
        params.reroll(1, 1).unwrap();
        params.lock(0b011, 0b0110, &pattern).unwrap();
        params.reroll(0b111, Retake::ALL_BARS).unwrap();
        let locked = spec(&params);
        assert_eq!((locked.given.is_empty(), locked.locks.len(), locked.locks[0].after), (true, 1, 1));
        assert_eq!((locked.takes.len(), locked.locks[0].music.n_bars()), (2, 8));
        assert_eq!(params.saved.locked()[..4], [0b0110, 0b0110, 0, 0]);
        // What is locked stays locked as it was; the rest comes after the second re-roll.
        params.lock(0b010, 0b1110, &pattern).unwrap();
        assert_eq!(params.lock(0b010, 0b1110, &pattern), Err(TakesError::Nothing));
        assert_eq!(params.saved.locked()[..4], [0b0110, 0b1110, 0, 0]);
        let layers: Vec<_> = spec(&params).locks.iter().map(|lock| (lock.after, lock.music.bars_of(1))).collect();
        assert_eq!(layers, [(1, 0b0110), (2, 0b1000)]);
        params.unlock(0b001, Retake::ALL_BARS);
        assert_eq!(params.saved.locked()[..4], [0, 0b1110, 0, 0]);
        // A new beginning knows of all of them.
        params.reroll(ALL.0, ALL.1).unwrap();
        assert!(spec(&params).locks.iter().all(|lock| lock.after == 0));
        // Other chords are another pattern, which is written around what is locked.
        let other =
            PatternSpec { progression: "E | A".parse().unwrap(), given: Given::default(), locks: vec![], ..spec(&params) };
        let mut completed = other.clone();
        params.saved.snapshot().settings.complete(&mut completed);
        assert_eq!((completed.locks.len(), completed.given.bars_of(1), completed.given.bars_of(0)), (0, 0b1110, 0));
        // And so is another model.
        params.saved.change(|settings| settings.model = "other".into()).unwrap();
        assert_eq!((spec(&params).locks.len(), spec(&params).given.bars_of(1)), (0, 0b1110));
    }

    #[test]
    fn what_is_locked_sounds_the_same_whatever_the_knobs_say_then() {
        let params = BarlineParams::default();
        let mut pattern = doubtful(PatternSpec { span: Span::Bars(4), ..spec(&params) });
        let loud = |knobs: Knobs| Knobs { humanize_velocity: 0.0, accent: 0.0, ..knobs };
        let before = render(&pattern, &loud(params.knobs()), TimeSignature::default(), 4);
        let wild = Knobs { temperature: 2.0, threshold: 0.8, ..loud(params.knobs()) };
        assert_ne!(render(&pattern, &wild, TimeSignature::default(), 4), before);
        params.lock(0b111, Retake::ALL_BARS, &pattern).unwrap();
        let music = params.saved.snapshot().settings.locks[0].music.clone();
        pattern.spec.locks = vec![crate::generate::Lock { after: 0, music: music.clone() }];
        // Laid over any other pattern of this layout the notes are the same, wherever they were.
        let layout = pattern.roll.layout().clone();
        let cells = crate::generate::given::tests::rolled(&music, &layout, 4);
        pattern.roll = LogitRoll::from_cells(layout, 4, cells.into()).unwrap();
        assert_eq!(render(&pattern, &wild, TimeSignature::default(), 4), before);
    }

    #[test]
    fn captured_bars_fill_a_loop_that_goes_round() {
        let params = BarlineParams::default();
        let counts = || params.saved.generations().takes;
        params.capture_bar(4, &[]);
        assert_eq!((params.saved.given(), counts()), (None, 0));
        params.capture_bar(6, &[note(130, 200, 50), note(1800, 500, 52)]);
        params.capture_bar(7, &[note(-120, 500, 52)]);
        let given = params.saved.given().unwrap();
        // Four bars, of which two were heard; a note goes on over the bar line.
        assert_eq!((given.lane, given.n_bars(), given.music.bars_of(2), given.n_notes()), (2, 4, 0b1100, 2));
        assert_eq!(counts(), 2);
        // Played alike nothing changes; played otherwise the bar is another.
        params.capture_bar(10, &[note(130, 200, 50), note(1800, 500, 52)]);
        assert_eq!(counts(), 2);
        params.capture_bar(14, &[note(130, 200, 51)]);
        // A rest is silence where nothing was, and leaves what was.
        params.capture_bar(15, &[]);
        params.capture_bar(17, &[]);
        let given = params.saved.given().unwrap();
        assert_eq!((given.music.bars_of(2), given.n_notes(), counts()), (0b1110, 1, 4));
        // The whole loop is one step.
        params.undo();
        assert_eq!((params.saved.given(), params.saved.can_undo()), (None, false));
    }

    #[test]
    fn an_endless_pattern_takes_no_locks_and_whole_rerolls_only() {
        let params = BarlineParams::default();
        let endless = doubtful(PatternSpec { span: Span::Endless, ..spec(&params) });
        assert_eq!(params.lock(1, 1, &endless), Err(TakesError::Endless));
        // What was made before the pattern became endless rests.
        params.reroll(1, 2).unwrap();
        params.reroll(2, Retake::ALL_BARS).unwrap();
        params.lock(4, 1, &doubtful(PatternSpec { span: Span::Bars(8), ..spec(&params) })).unwrap();
        let mut spec = PatternSpec { span: Span::Endless, ..PatternSpec::default() };
        params.saved.snapshot().settings.complete(&mut spec);
        assert_eq!((spec.takes.len(), spec.locks.len(), spec.given.is_empty()), (1, 0, true));
    }

    #[test]
    fn one_goes_to_another_take_and_back() {
        let params = BarlineParams::default();
        params.reroll(0b10, 0b01).unwrap();
        let first = TakeAddress { seed: 7, take: 3, retakes: params.saved.snapshot().settings.takes };
        params.reroll(0b01, 0b01).unwrap();
        let pattern = doubtful(spec(&params));
        params.lock(0b100, 0b10, &pattern).unwrap();
        let (before, last_take) = (params.saved.snapshot().settings, first.retakes[0].take + 1);
        assert_eq!((before.takes.len(), before.locks[0].after), (2, 2));
        let counted = params.saved.generations().takes;
        assert_eq!(params.go_to(&first).seed, Some((7, 3)));
        let there = params.saved.snapshot().settings;
        assert_eq!((&there.takes, there.locks[0].after, &there.locks[0].music), (&first.retakes, 1, &before.locks[0].music));
        assert_ne!(params.saved.generations().takes, counted, "the engine hears of it");
        // What is written anew from there is new, and undo goes the whole way back.
        params.reroll(0b01, 0b01).unwrap();
        assert_eq!(params.saved.snapshot().settings.takes[1].take, last_take + 1);
        assert_eq!((params.undo().seed, params.undo().seed), (None, Some((0, 0))));
        assert_eq!(params.saved.snapshot().settings, before);
        // What no parameter can be is brought to what it can.
        assert_eq!(params.go_to(&TakeAddress { seed: u32::MAX, take: 1_000, retakes: Vec::new() }).seed, Some((65_535, 999)));
    }

    #[test]
    fn favourites_are_kept_bounded_and_apart_from_undo() {
        let params = BarlineParams::default();
        let retake = Retake { tracks: 1, bars: 1, take: 5_000 };
        let take = |seed: u32, n_retakes: usize| TakeAddress { seed, take: 1, retakes: vec![retake; n_retakes] };
        params.keep_or_give_up(&take(1, 2)).unwrap();
        params.keep_or_give_up(&take(2, 0)).unwrap();
        params.keep_or_give_up(&take(1, 0)).unwrap();
        assert!(!params.saved.can_undo());
        params.reroll(1, 1).unwrap();
        assert_eq!(params.saved.snapshot().settings.takes[0].take, 5_001, "no re-roll is a favourite's");
        params.undo();
        params.keep_or_give_up(&take(2, 0)).unwrap();
        assert_eq!(params.saved.favourites(), [take(1, 2), take(1, 0)]);
        for seed in 10..13 {
            params.keep_or_give_up(&take(seed, 64)).unwrap();
        }
        assert_eq!(params.keep_or_give_up(&take(13, 63)), Err(TakesError::TooManyFavourites));
        for seed in 20..27 {
            params.keep_or_give_up(&take(seed, 0)).unwrap();
        }
        assert_eq!(params.saved.favourites().len(), MAX_FAVOURITES);
        assert_eq!(params.keep_or_give_up(&take(30, 0)), Err(TakesError::TooManyFavourites));
        params.keep_or_give_up(&take(11, 64)).unwrap();
        params.keep_or_give_up(&take(30, 0)).unwrap();
        // The most that can be kept leaves a project small.
        let most = Settings { favourites: vec![take(65_535, 21); MAX_FAVOURITES], ..Settings::default() };
        assert!(serde_json::to_string(&most).unwrap().len() < 16 << 10);
    }
}
