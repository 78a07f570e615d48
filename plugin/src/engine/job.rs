//! One instance's pattern in the making: which bars it needs next, which it has, what to hand to the player. Worker thread.

use super::{
    port::{Playhead, Takeover},
    source::{Readiness, Wanted},
};
use crate::{
    generate::{Builder, GenerateError, Generator, ModelId, Pattern, PatternSpec, Span, relocked},
    music::roll::{LogitRoll, RollLayout},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bars of an endless pattern that are made when nothing else is to be done, from the beginning of the song: play from anywhere in
/// them sounds at once. At 120 bpm over eight minutes.
const RESERVE_BARS: u32 = 256;
/// Settings that have stayed for so long are worth a reserve; automated ones change with every bar.
const SETTLED: Duration = Duration::from_secs(5);
/// Chains kept of an endless pattern beyond its reserve: a song loop as long as this is played from what is there after its first pass.
const MAX_UNITS: usize = 16;
/// Chains of an endless pattern that are made ready after the one that plays.
const N_AHEAD: u32 = 2;

/// When a unit is needed. What comes first is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// In so many bars.
    In(u32),
    /// Perhaps some day.
    Reserve,
}

/// One chain's cells within others'.
#[derive(Clone, Debug)]
struct Unit {
    of: Arc<[i8]>,
    place: Range<usize>,
}

impl Unit {
    fn new(cells: Arc<[i8]>) -> Self {
        Self { place: 0..cells.len(), of: cells }
    }

    /// The chains of which a roll consists, counted from `first`.
    fn all(cells: &Arc<[i8]>, n_unit_cells: usize, first: u32) -> impl Iterator<Item = (u32, Self)> {
        let starts = (0..cells.len()).step_by(n_unit_cells.max(1));
        (first..)
            .zip(starts.map(move |start| Self { of: Arc::clone(cells), place: start..cells.len().min(start + n_unit_cells) }))
    }

    fn cells(&self) -> &[i8] {
        self.of.get(self.place.clone()).unwrap_or(&[])
    }
}

/// A pattern in the making. It is made and kept in units of one chain, the bars that cannot be made apart.
#[derive(Debug)]
pub(super) struct Job {
    pub wanted: Wanted,
    /// The specification as the model can take it: without a primer that fits another model.
    spec: PatternSpec,
    /// The pattern that was there before.
    before: Option<Arc<Pattern>>,
    model: ModelId,
    layout: RollLayout,
    temperature_factor: f32,
    unit_bars: u32,
    units: BTreeMap<u32, Unit>,
    builder: Option<(u32, Builder)>,
    /// Candidates that others were kept before, in the units that were made.
    n_rejected: u32,
    /// Units of the last delivery, `start..end`.
    delivered: Range<u32>,
    /// The unit of which a beginning was delivered, and its bars.
    begun: Option<(u32, u32)>,
    /// A first delivery with the rest of the pattern before went out (live chords).
    patched: bool,
    began: Instant,
}

impl Job {
    pub fn new(wanted: Wanted, spec: PatternSpec, generator: &dyn Generator) -> Self {
        let manifest = generator.manifest();
        let mut job = Self {
            spec,
            before: None,
            model: ModelId { id: manifest.id.clone(), sha256: generator.sha256().into() },
            layout: manifest.layout(),
            temperature_factor: manifest.calibration.temperature,
            unit_bars: manifest.chain_bars.max(1),
            units: BTreeMap::new(),
            builder: None,
            n_rejected: 0,
            delivered: 0..0,
            begun: None,
            patched: false,
            began: Instant::now(),
            wanted,
        };
        job.take_over_saved();
        job
    }

    /// The bars of a saved window of an endless pattern, so that they are not made again.
    fn take_over_saved(&mut self) {
        let Some(saved) = self.wanted.saved.clone().filter(|s| fits_saved(s, &self.wanted)) else { return };
        if *saved.roll.layout() != self.layout || self.wanted.spec.span != Span::Endless {
            return;
        }
        let skipped = saved.first_bar.next_multiple_of(self.unit_bars) - saved.first_bar;
        let n_skipped = self.n_bar_cells() * usize::try_from(skipped).unwrap_or(0);
        let aligned: Arc<[i8]> = saved.roll.cells().get(n_skipped..).unwrap_or(&[]).into();
        let whole = Unit::all(&aligned, self.n_unit_cells(), (saved.first_bar + skipped) / self.unit_bars);
        self.units = whole.filter(|(_, unit)| unit.place.len() == self.n_unit_cells()).take(MAX_UNITS).collect();
    }

    fn n_bar_cells(&self) -> usize {
        usize::from(self.layout.n_steps) * self.layout.n_cells()
    }

    fn n_unit_cells(&self) -> usize {
        self.n_bar_cells() * usize::try_from(self.unit_bars).unwrap_or(1)
    }

    /// What earlier patterns, the latest first, hold of what is wanted is not made again: all of it where one is the same but for what was
    /// locked or edited by hand last, and whatever a new retake goes on from.
    pub fn going_on(mut self, earlier: &VecDeque<Arc<Pattern>>) -> Self {
        // Where something wished for was left out, what is wished for is not what is made.
        if self.spec != self.wanted.spec {
            return self;
        }
        let of_model = || earlier.iter().filter(|pattern| pattern.model == self.model);
        let same = of_model().filter(|_| self.n_bars().is_some()).find_map(|pattern| relocked(pattern, &self.spec));
        let fewer = of_model().filter(|pattern| self.spec.adds_takes_to(&pattern.spec));
        self.before = fewer.max_by_key(|pattern| pattern.spec.takes.len()).cloned();
        if let Some(pattern) = same {
            self.units = Unit::all(pattern.roll.shared_cells(), self.n_unit_cells(), 0).collect();
        }
        self
    }

    fn n_bars(&self) -> Option<u32> {
        match self.wanted.spec.span {
            Span::Bars(n) => Some(n.max(1)),
            Span::Endless => None,
        }
    }

    fn bar(&self, playhead: Playhead) -> u32 {
        let bar = match self.n_bars() {
            Some(n) => playhead.bar.rem_euclid(i64::from(n)),
            None => playhead.bar.max(0),
        };
        u32::try_from(bar).unwrap_or(0)
    }

    /// Units that must be there, soonest first.
    fn needed(&self, playhead: Playhead) -> impl Iterator<Item = u32> + use<> {
        let current = self.bar(playhead) / self.unit_bars;
        let (n, wrap) = match self.n_bars() {
            Some(n_bars) => (n_bars.div_ceil(self.unit_bars), n_bars.div_ceil(self.unit_bars)),
            None => (1 + N_AHEAD, u32::MAX),
        };
        (0..n).map(move |i| current.saturating_add(i) % wrap)
    }

    /// Units beyond those needed that make any place of a song sound at once.
    fn reserve(&self) -> Range<u32> {
        if self.n_bars().is_some() { 0..0 } else { 0..RESERVE_BARS.div_ceil(self.unit_bars) }
    }

    /// The next unit to make, and when it is needed; `None` when nothing is missing, or what is can wait for `settled` settings.
    pub fn next(&self, playhead: Playhead, settled: bool) -> Option<(u32, Need)> {
        let is_missing = |unit: &u32| !self.units.contains_key(unit);
        if let Some((idx, unit)) = (0_u32..).zip(self.needed(playhead)).find(|(_, unit)| is_missing(unit)) {
            // A new pattern is wanted at the coming bar line whichever bar that is: all of a finite one is missing.
            let is_new = self.n_bars().is_some() && self.delivered.is_empty();
            return Some((unit, Need::In(if is_new { 0 } else { idx * self.unit_bars })));
        }
        let current = self.bar(playhead) / self.unit_bars;
        let nearest = self.reserve().filter(is_missing).min_by_key(|unit| unit.abs_diff(current));
        nearest.filter(|_| settled).map(|unit| (unit, Need::Reserve))
    }

    /// Whether the settings have stayed for long enough.
    pub fn is_settled(&self) -> bool {
        self.began.elapsed() >= SETTLED
    }

    /// Whether it makes what another one does.
    pub fn makes_as(&self, other: &Self) -> bool {
        self.spec == other.spec && self.model == other.model
    }

    /// All that it has made, for the wish of another job that makes the same.
    pub fn for_wish_of(self, other: Self) -> Self {
        Self { wanted: other.wanted, began: other.began, ..self }
    }

    /// One inference towards a unit.
    pub fn step(&mut self, unit: u32, generator: &mut dyn Generator) -> Result<(), GenerateError> {
        let mut builder = match self.builder.take() {
            Some((of, builder)) if of == unit => builder,
            _ => {
                let first = unit.saturating_mul(self.unit_bars);
                let n = self.n_bars().map_or(self.unit_bars, |n| self.unit_bars.min(n.saturating_sub(first)));
                let builder = Builder::new(generator, &self.spec, first, n)?;
                match &self.before {
                    Some(before) => builder.going_on(generator.manifest(), before),
                    None => builder,
                }
            }
        };
        builder.step(generator)?;
        if builder.is_done() {
            self.n_rejected += builder.n_rejected();
            self.units.insert(unit, Unit::new(Arc::clone(builder.finish()?.roll.shared_cells())));
        } else {
            self.builder = Some((unit, builder));
        }
        Ok(())
    }

    pub fn n_rejected(&self) -> u32 {
        self.n_rejected
    }

    pub fn readiness(&self, playhead: Playhead) -> Readiness {
        if self.is_ready(playhead) {
            return Readiness::Ready;
        }
        let n_ready_units = self.needed(playhead).filter(|unit| self.units.contains_key(unit)).count();
        let n_building = self.builder.as_ref().map_or(0, |(_, b)| b.n_ready());
        let n_bars = self.n_bars().unwrap_or(self.unit_bars);
        let n_ready = u32::try_from(n_ready_units).unwrap_or(0) * self.unit_bars + n_building;
        Readiness::Generating { n_ready: n_ready.min(n_bars), n_bars }
    }

    fn is_ready(&self, playhead: Playhead) -> bool {
        match self.n_bars() {
            Some(_) => !self.delivered.is_empty(),
            None => self.delivered.contains(&(self.bar(playhead) / self.unit_bars)),
        }
    }

    /// What to hand to the player now, if anything; `before` is the pattern that plays.
    pub fn delivery(&mut self, playhead: Playhead, before: Option<&Pattern>) -> Option<Pattern> {
        let current = self.bar(playhead) / self.unit_bars;
        if let Some(n_bars) = self.n_bars() {
            let n_units = n_bars.div_ceil(self.unit_bars);
            if !self.delivered.is_empty() {
                return None;
            }
            if self.needed(playhead).all(|unit| self.units.contains_key(&unit)) {
                return self.deliver(0..n_units);
            }
            return self.patch(n_bars, before);
        }
        self.forget(current);
        let Some(window) = self.window(current) else { return self.beginning(current, playhead) };
        // What will be needed goes out as it comes; a reserve as a whole.
        let soon = |units: &Range<u32>| units.end.min(current.saturating_add(1 + N_AHEAD));
        let is_due = !self.delivered.contains(&current) || soon(&window) != soon(&self.delivered);
        if is_due || (window != self.delivered && self.reserve().all(|unit| self.units.contains_key(&unit))) {
            return self.deliver(window);
        }
        None
    }

    /// The pattern of some units, all there; from now on they lie in it.
    fn deliver(&mut self, units: Range<u32>) -> Option<Pattern> {
        let cells: Arc<[i8]> = self.units.range(units.clone()).flat_map(|(_, unit)| unit.cells().iter().copied()).collect();
        // Whatever else lies in the last delivery would keep all of it in memory.
        for (_, unit) in self.units.iter_mut().filter(|(idx, unit)| !units.contains(*idx) && unit.cells().len() < unit.of.len()) {
            *unit = Unit::new(unit.cells().into());
        }
        self.units.extend(Unit::all(&cells, self.n_unit_cells(), units.start));
        let first_bar = units.start * self.unit_bars;
        let n_bars = self.n_bars().unwrap_or((units.end - units.start) * self.unit_bars);
        self.delivered = units;
        if self.reserve().all(|unit| self.units.contains_key(&unit)) {
            self.before = None;
        }
        self.pattern(first_bar, n_bars, cells)
    }

    /// After a jump to a place without music: the bars of its unit that are ready, as soon as the one that plays is, and one more, into
    /// which a note may reach.
    fn beginning(&mut self, unit: u32, playhead: Playhead) -> Option<Pattern> {
        let (of, builder) = self.builder.as_ref()?;
        let first_bar = unit * self.unit_bars;
        let n_bars = builder.n_ready();
        if *of != unit || n_bars < self.bar(playhead) - first_bar + 2 || self.begun == Some((unit, n_bars)) {
            return None;
        }
        let cells = builder.ready_cells().into();
        self.begun = Some((unit, n_bars));
        self.delivered = 0..0;
        self.pattern(first_bar, n_bars, cells)
    }

    /// A chord played live is wanted at the next sixteenth: as soon as the chain that plays is there, it goes out amid the bars
    /// of the pattern before; the whole follows.
    fn patch(&mut self, n_bars: u32, before: Option<&Pattern>) -> Option<Pattern> {
        let before = before.filter(|b| {
            !self.patched
                && self.wanted.takeover == Takeover::NextStep
                && *b.roll.layout() == self.layout
                && b.first_bar == 0
                && u32::try_from(b.roll.n_bars()) == Ok(n_bars)
        })?;
        if self.units.is_empty() {
            return None;
        }
        let mut all = before.roll.cells().to_vec();
        for (idx, unit) in &self.units {
            let start = usize::try_from(*idx).unwrap_or(0) * self.n_unit_cells();
            if let Some(place) = all.get_mut(start..start + unit.cells().len()) {
                place.copy_from_slice(unit.cells());
            }
        }
        self.patched = true;
        self.pattern(0, n_bars, all.into())
    }

    /// The unbroken run of units around one; `None` if that one is missing.
    fn window(&self, unit: u32) -> Option<Range<u32>> {
        self.units.get(&unit)?;
        let (mut start, mut end) = (unit, unit + 1);
        while start > 0 && self.units.contains_key(&(start - 1)) {
            start -= 1;
        }
        while self.units.contains_key(&end) {
            end += 1;
        }
        Some(start..end)
    }

    /// Drops the units farthest from the one that plays, but no reserve.
    fn forget(&mut self, current: u32) {
        let reserve = self.reserve();
        let farthest = |units: &BTreeMap<u32, Unit>| {
            let others = || units.keys().copied().filter(|unit| !reserve.contains(unit));
            others().max_by_key(|unit| unit.abs_diff(current)).filter(|_| others().count() > MAX_UNITS)
        };
        while let Some(unit) = farthest(&self.units) {
            self.units.remove(&unit);
        }
    }

    fn pattern(&self, first_bar: u32, n_bars: u32, cells: Arc<[i8]>) -> Option<Pattern> {
        let roll = LogitRoll::from_cells(self.layout.clone(), usize::try_from(n_bars).ok()?, cells).ok()?;
        Some(Pattern {
            key: self.wanted.key,
            spec: self.wanted.spec.clone(),
            model: self.model.clone(),
            first_bar,
            roll,
            temperature_factor: self.temperature_factor,
        })
    }
}

/// Whether a saved pattern is what is wanted: made from the same specification, by the model of that id, and whole.
pub(super) fn fits_saved(saved: &Pattern, wanted: &Wanted) -> bool {
    let is_whole = match wanted.spec.span {
        Span::Bars(n) => saved.first_bar == 0 && u32::try_from(saved.roll.n_bars()) == Ok(n.max(1)),
        Span::Endless => saved.roll.n_bars() > 0,
    };
    // A path says nothing about the id inside the file; who saved the pattern knows what it belongs to.
    let is_path = wanted.model.contains(['/', '\\', '.']);
    let same_model = is_path || wanted.model.is_empty() || saved.model.id == wanted.model;
    is_whole && same_model && saved.spec == wanted.spec
}
