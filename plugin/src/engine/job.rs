//! One instance's pattern in the making: which bars it needs next, which it has, what to hand to the player. Worker thread.

use super::{
    port::{Playhead, Takeover},
    source::{Readiness, Wanted},
};
use crate::{
    generate::{Builder, GenerateError, Generator, ModelId, Pattern, PatternSpec, Span, relocked},
    music::roll::{LogitRoll, RollLayout},
};
use std::collections::BTreeMap;

/// Chains kept of an endless pattern: a song loop as long as this is played from what is there after its first pass.
const MAX_UNITS: usize = 64;
/// Chains of an endless pattern that are made ready after the one that plays.
const N_AHEAD: u32 = 2;

/// A pattern in the making. It is made and kept in units of one chain, the bars that cannot be made apart.
#[derive(Debug)]
pub(super) struct Job {
    pub wanted: Wanted,
    /// The specification as the model can take it: without a primer that fits another model.
    spec: PatternSpec,
    model: ModelId,
    layout: RollLayout,
    temperature_factor: f32,
    unit_bars: u32,
    units: BTreeMap<u32, Box<[i8]>>,
    builder: Option<(u32, Builder)>,
    /// Candidates that others were kept before, in the units that were made.
    n_rejected: u32,
    /// Units of the last delivery, `start..end`.
    delivered: std::ops::Range<u32>,
    /// The unit of which a beginning was delivered, and its bars.
    begun: Option<(u32, u32)>,
    /// A first delivery with the rest of the pattern before went out (live chords).
    patched: bool,
}

impl Job {
    pub fn new(wanted: Wanted, spec: PatternSpec, generator: &dyn Generator) -> Self {
        let manifest = generator.manifest();
        let mut job = Self {
            spec,
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
        let n_bar_cells = usize::from(self.layout.n_steps) * self.layout.n_cells();
        let unit_cells = n_bar_cells * usize::try_from(self.unit_bars).unwrap_or(1);
        let skipped = saved.first_bar.next_multiple_of(self.unit_bars) - saved.first_bar;
        let aligned = saved.roll.cells().get(n_bar_cells * usize::try_from(skipped).unwrap_or(0)..).unwrap_or(&[]);
        let first_unit = (saved.first_bar + skipped) / self.unit_bars;
        for (unit, cells) in (first_unit..).zip(aligned.chunks_exact(unit_cells.max(1))).take(MAX_UNITS) {
            self.units.insert(unit, cells.into());
        }
    }

    /// What was just locked or edited by hand is there without the network, if all else is as in `before`, a whole pattern.
    pub fn relocking(mut self, before: &Pattern) -> Self {
        // Where something wished for was left out, what is wished for is not what is made.
        if before.model != self.model || self.spec != self.wanted.spec || self.n_bars().is_none() {
            return self;
        }
        let n_bar_cells = usize::from(self.layout.n_steps) * self.layout.n_cells();
        let n_unit_cells = n_bar_cells * usize::try_from(self.unit_bars).unwrap_or(1);
        if let Some(pattern) = relocked(before, &self.spec) {
            self.units = (0..).zip(pattern.roll.cells().chunks(n_unit_cells.max(1)).map(Into::into)).collect();
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

    /// The next unit to make and the bars until it sounds; `None` when nothing is missing.
    pub fn next(&self, playhead: Playhead) -> Option<(u32, u32)> {
        let (idx, unit) = (0_u32..).zip(self.needed(playhead)).find(|(_, unit)| !self.units.contains_key(unit))?;
        // A new pattern is wanted at the coming bar line whichever bar that is: all of a finite one is missing.
        let distance = if self.n_bars().is_some() && self.delivered.is_empty() { 0 } else { idx * self.unit_bars };
        Some((unit, distance))
    }

    /// One inference towards a unit.
    pub fn step(&mut self, unit: u32, generator: &mut dyn Generator) -> Result<(), GenerateError> {
        let mut builder = match self.builder.take() {
            Some((of, builder)) if of == unit => builder,
            _ => {
                let first = unit.saturating_mul(self.unit_bars);
                let n = self.n_bars().map_or(self.unit_bars, |n| self.unit_bars.min(n.saturating_sub(first)));
                Builder::new(generator, &self.spec, first, n)?
            }
        };
        builder.step(generator)?;
        if builder.is_done() {
            self.n_rejected += builder.n_rejected();
            self.units.insert(unit, builder.finish()?.roll.cells().into());
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
                self.delivered = 0..n_units;
                return self.pattern(0, n_bars, self.units.values().flat_map(|cells| cells.iter().copied()).collect());
            }
            return self.patch(n_bars, before);
        }
        self.forget(current);
        let Some(window) = self.window(current) else { return self.beginning(current, playhead) };
        if window == self.delivered {
            return None;
        }
        self.delivered = window.clone();
        let cells = self.units.range(window.clone()).flat_map(|(_, cells)| cells.iter().copied()).collect();
        self.pattern(window.start * self.unit_bars, (window.end - window.start) * self.unit_bars, cells)
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
        let n_bar_cells = usize::from(self.layout.n_steps) * self.layout.n_cells();
        let mut all: Box<[i8]> = before.roll.cells().into();
        for (unit, cells) in &self.units {
            let start = usize::try_from(unit * self.unit_bars).unwrap_or(0) * n_bar_cells;
            if let Some(place) = all.get_mut(start..start + cells.len()) {
                place.copy_from_slice(cells);
            }
        }
        self.patched = true;
        self.pattern(0, n_bars, all)
    }

    /// The unbroken run of units around one; `None` if that one is missing.
    fn window(&self, unit: u32) -> Option<std::ops::Range<u32>> {
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

    /// Drops the units farthest from the one that plays.
    fn forget(&mut self, current: u32) {
        while self.units.len() > MAX_UNITS {
            let farthest = self.units.keys().copied().max_by_key(|unit| unit.abs_diff(current));
            farthest.and_then(|unit| self.units.remove(&unit));
        }
    }

    fn pattern(&self, first_bar: u32, n_bars: u32, cells: Box<[i8]>) -> Option<Pattern> {
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
