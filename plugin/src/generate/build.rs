//! Building patterns: phrase after phrase, chain after chain. Pure; worker thread and command line.

use super::{
    candidates::{Faults, MAX_TRIES, is_heard, take_of},
    generator::{GenerateError, Generator, PhraseInput},
    given::{Given, GivenCells},
    input::{View, one_hot_states, phrase_input},
    manifest::{Encoding, Manifest},
    pattern::{Lock, MAX_PATTERN_BARS, MAX_TAKES, ModelId, Pattern, PatternSpec, Retake, structure_key},
};
use crate::music::{
    decode::greedy,
    roll::{LogitRoll, RollLayout},
};

/// Most bars that one call yields: a pattern, with the chain around it that an endless one may need.
pub const MAX_BUILD_BARS: u32 = 4 * MAX_PATTERN_BARS;

/// A pattern in the making, one inference per step, so that a worker can serve somebody more urgent between two of them.
///
/// Bars come in chains of [`Manifest::chain_bars`], counted from bar 0: each starts from the primer, and within it every phrase
/// sees the greedy decoding of the bars before it. So any bar is reached by at most one chain's inferences, and what it holds
/// does not depend on which bars are asked for. Where the model wants a lead-in, the first phrase of a chain follows others that were
/// written over the same bars (the same chords, the same that is given), with noise of their own, and are not kept. No retake touches
/// them.
///
/// A phrase is written in passes: first whatever is not given, then, retake after retake, the cells that it names, to go with all
/// others as they stand. In each pass a phrase sees the bars before as that pass left them. So the passes can run phrase by phrase,
/// as they do here, or one after another over the whole pattern, with the same result. What is locked after some of the retakes comes
/// in there, as if a pass had written it.
///
/// Where a specification asks for several candidates, each pass writes a phrase that many times and keeps the try with the fewest
/// [`Faults`]: what follows, in later passes and bars, goes on from that one. A retake that names some of the tracks wants to hear them: it
/// is tried again while one of them is silent in the bars that it names, [`MAX_TRIES`] times at most.
///
/// On the way between two seeds, a network whose noise draws step by step has no path in its noise: one draw that turns out otherwise
/// moves all that follow. There both seeds' phrases are written, each in its own chain, and track after track goes over to the other.
#[derive(Debug)]
pub struct Builder {
    spec: PatternSpec,
    /// What the noise of each writing from nothing is drawn for: the pattern's seed, or both; retakes go with the nearer.
    sides: Vec<PatternSpec>,
    model: ModelId,
    temperature_factor: f32,
    /// Everything with the first take, once for each side, then the retakes.
    passes: Vec<Retake>,
    /// What is given or locked, and the first pass that knows of it; beyond the last, none does.
    layers: Vec<(usize, GivenCells)>,
    /// The first passes' work, if it is there, and how many they are.
    stands: Option<(Pattern, usize)>,
    /// Bars before a phrase that have a say in it.
    n_history: u32,
    /// Phrases before the first of a chain that are not kept.
    n_lead_in: u32,
    /// Those of the current chain that are still to come, with the one in the making.
    lead_in_left: u32,
    first_bar: u32,
    n_bars: u32,
    phrase_bars: u32,
    chain_bars: u32,
    layout: RollLayout,
    /// The bars that are ready.
    cells: Vec<i8>,
    /// First bar of the phrase in the making.
    next_bar: u32,
    /// Its next pass, which needs an inference.
    next_pass: usize,
    /// Its next try at that pass.
    next_candidate: u32,
    /// The best try so far, and what it costs: tracks that are missed, then faults.
    best: Option<((usize, f64), Phrase)>,
    n_rejected: u32,
    phrase: Phrase,
    /// The phrase as the first of two sides wrote it.
    first_side: Phrase,
    /// Per pass the greedy cells of the bars before the phrase, [`n_history`](Self::n_history) at most, of the same chain.
    histories: Vec<Vec<u8>>,
}

/// A phrase in the making.
#[derive(Clone, Debug, Default)]
struct Phrase {
    /// `(n_bars, n_steps, n_cells)`.
    logits: Vec<i8>,
    /// What greedy decoding makes of them.
    on: Vec<u8>,
    /// Take of what all of it shares.
    shared_take: u32,
}

impl Builder {
    /// Starts a pattern of the bars `first_bar .. first_bar + n_bars`.
    ///
    /// # Errors
    /// [`GenerateError::Length`] for no bars or too many, [`GenerateError::Primer`], [`GenerateError::Given`] and
    /// [`GenerateError::Takes`] for those of another model.
    pub fn new(generator: &dyn Generator, spec: &PatternSpec, first_bar: u32, n_bars: u32) -> Result<Self, GenerateError> {
        let manifest = generator.manifest();
        if !(1..=MAX_BUILD_BARS).contains(&n_bars) || first_bar.checked_add(n_bars).is_none() {
            return Err(GenerateError::Length { n_bars, max: MAX_BUILD_BARS });
        }
        check_primer(manifest, &spec.primer)?;
        let sides = sides(manifest, spec);
        let (passes, n_done) = passes(manifest, spec, sides.len())?;
        let layers = layers(manifest, spec, passes.len(), sides.len(), n_done)?;
        let chain_bars = manifest.chain_bars.max(1);
        let n_history = manifest.context_bars.max(u32::from(manifest.has(Encoding::States)));
        // Without a look at the bars before, a phrase needs nothing of its chain.
        let unit = if n_history > 0 { chain_bars } else { manifest.n_bars.max(1) };
        let mut builder = Self {
            spec: spec.clone(),
            sides,
            model: ModelId { id: manifest.id.clone(), sha256: generator.sha256().into() },
            temperature_factor: manifest.calibration.temperature,
            histories: vec![Vec::new(); passes.len()],
            passes,
            layers,
            stands: None,
            n_history,
            n_lead_in: manifest.lead_in,
            lead_in_left: 0,
            first_bar,
            n_bars,
            phrase_bars: manifest.n_bars.max(1),
            chain_bars,
            layout: manifest.layout(),
            cells: Vec::new(),
            next_bar: first_bar - first_bar % unit,
            next_pass: 0,
            next_candidate: 0,
            best: None,
            n_rejected: 0,
            phrase: Phrase::default(),
            first_side: Phrase::default(),
        };
        builder.begin_chain();
        builder.pass_on();
        Ok(builder)
    }

    /// Goes on from `before` where it is what the first passes of a new builder would make: only the retakes that were added since are
    /// written, with the lead-in that they hear. What comes out is the same.
    #[must_use]
    pub fn going_on(mut self, manifest: &Manifest, before: &Pattern) -> Self {
        let n_bars = u32::try_from(before.roll.n_bars()).unwrap_or(0);
        let end = self.first_bar.saturating_add(self.n_bars).next_multiple_of(self.phrase_bars);
        let has_bars = before.first_bar <= self.next_bar && end <= before.first_bar.saturating_add(n_bars);
        // The tries that were kept are not known, nor what each of two seeds wrote.
        let is_plain = self.spec.candidates <= 1 && self.sides.len() == 1;
        if before.model != self.model
            || *before.roll.layout() != self.layout
            || !(has_bars && is_plain && self.spec.adds_takes_to(&before.spec))
        {
            return self;
        }
        // A retake of everything since then leaves nothing of it.
        if let Ok((passes, _)) = passes(manifest, &before.spec, 1)
            && self.passes.starts_with(&passes)
            && self.passes.len() > passes.len()
        {
            self.stands = Some((before.clone(), passes.len()));
            self.begin_chain();
            self.pass_on();
        }
        self
    }

    /// Bars ready, of those asked for.
    #[must_use]
    pub fn n_ready(&self) -> u32 {
        self.next_bar.saturating_sub(self.first_bar).min(self.n_bars)
    }

    /// The cells of these bars, `(n_ready, n_steps, n_cells)`.
    #[must_use]
    pub fn ready_cells(&self) -> &[i8] {
        &self.cells
    }

    /// Whether all bars are there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.n_ready() == self.n_bars
    }

    /// Runs the network once, unless all is done.
    ///
    /// # Errors
    /// [`GenerateError::Inference`] or [`GenerateError::Roll`] when the network fails or yields something else than it should;
    /// the same step can be tried again.
    pub fn step(&mut self, generator: &mut dyn Generator) -> Result<(), GenerateError> {
        if self.is_done() {
            return Ok(());
        }
        let written = self.written();
        let logits = generator.generate(&self.input(generator.manifest(), &written))?;
        let roll = LogitRoll::from_logits(self.layout.clone(), written.len(), &logits)
            .map_err(|source| GenerateError::Roll { model: self.model.id.clone(), source })?;
        let phrase = self.with(&written, roll.cells());
        let faults = if self.spec.candidates > 1 { self.faults(&phrase).cost() } else { 0.0 };
        let cost = (self.n_missed(&written, &phrase), faults);
        // Where no noise of its own reaches what is written, or none has any spread, another try is the same again.
        let is_same = self.best.as_ref().is_some_and(|(_, best)| best.logits == phrase.logits);
        if self.best.as_ref().is_none_or(|(least, _)| cost < *least) {
            self.best = Some((cost, phrase));
        }
        self.next_candidate += 1;
        let is_missed = self.best.as_ref().is_some_and(|((n_missed, _), _)| *n_missed > 0);
        let n_tries = if is_missed && !is_same { self.spec.candidates.max(MAX_TRIES) } else { self.spec.candidates };
        if self.next_candidate >= n_tries || self.lead_in_left > 0 {
            self.n_rejected += self.next_candidate - 1;
            self.next_candidate = 0;
            self.phrase = self.best.take().map(|(_, phrase)| phrase).unwrap_or_default();
            self.end_pass();
            self.pass_on();
        }
        Ok(())
    }

    /// Tries that others were kept before.
    #[must_use]
    pub fn n_rejected(&self) -> u32 {
        self.n_rejected
    }

    /// What counts against a try at the phrase.
    fn faults(&self, phrase: &Phrase) -> Faults {
        let history = self.histories.get(self.next_pass).map_or(&[][..], Vec::as_slice);
        let chords: Vec<_> = self.bars().map(|bar| self.spec.progression.at(bar)).collect();
        Faults::of(&self.layout, &[history, &phrase.on].concat(), &chords)
    }

    /// How many of the tracks that a retake names are silent wherever it writes them.
    fn n_missed(&self, written: &[u16], phrase: &Phrase) -> usize {
        let whole = all_tracks(&self.layout);
        let is_retake = self.next_pass >= self.sides.len();
        if !is_retake || self.passes.get(self.next_pass).is_none_or(|pass| pass.tracks & whole == whole) {
            return 0;
        }
        let n_steps = usize::from(self.layout.n_steps);
        let is_missed = |track_idx: &usize| {
            let bars: Vec<usize> = (0..).zip(written).filter(|(_, t)| **t >> track_idx & 1 == 1).map(|(bar, _)| bar).collect();
            let is_heard = |bar| is_heard(&self.layout, *track_idx, &phrase.on, bar * n_steps..(bar + 1) * n_steps);
            !bars.is_empty() && !bars.into_iter().any(is_heard)
        };
        (0..self.layout.tracks.len()).filter(is_missed).count()
    }

    /// The take of what the next try writes.
    fn next_take(&self) -> u32 {
        take_of(self.passes.get(self.next_pass).map_or(self.spec.take, |pass| pass.take), self.next_candidate)
    }

    /// The tracks that the next pass writes in each bar of the phrase.
    fn written(&self) -> Vec<u16> {
        let is_retake = self.next_pass >= self.sides.len();
        if is_retake && self.lead_in_left > 0 { Vec::new() } else { self.written_by(self.next_pass) }
    }

    /// The tracks that a pass writes in each bar of the phrase.
    fn written_by(&self, pass: usize) -> Vec<u16> {
        let Some(retake) = self.passes.get(pass) else { return Vec::new() };
        self.bars().map(|bar| retake.tracks_in(bar) & all_tracks(&self.layout) & !self.given_tracks(pass, bar)).collect()
    }

    /// The tracks of a bar that a pass finds given or locked.
    fn given_tracks(&self, pass: usize, bar: u32) -> u16 {
        let layers = self.layers.iter().filter(|(first_pass, _)| *first_pass <= pass);
        layers.fold(0, |tracks, (_, cells)| tracks | cells.tracks(bar))
    }

    /// The bars of the phrase.
    fn bars(&self) -> std::ops::Range<u32> {
        self.next_bar..self.next_bar.saturating_add(self.phrase_bars)
    }

    fn input(&self, manifest: &Manifest, written: &[u16]) -> PhraseInput {
        let history = self.histories.get(self.next_pass).map_or(&[][..], Vec::as_slice);
        let n_bar_cells = self.n_bar_cells();
        let bars_back = |n: usize| history.get(history.len().saturating_sub(n * n_bar_cells)..).unwrap_or(&[]);
        let before = bars_back(usize::try_from(manifest.context_bars).unwrap_or(0));
        let cells = [before, &self.phrase.on].concat();
        let first_track = self.layout.cells_of(0);
        let previous: Vec<u8> = if history.is_empty() {
            one_hot_states(&self.spec.primer, first_track.len())
        } else {
            let steps = bars_back(1).chunks_exact(self.layout.n_cells().max(1));
            steps.flat_map(|step| step.get(first_track.clone()).unwrap_or(&[])).copied().collect()
        };
        let from_nothing = self.next_pass < self.sides.len();
        let known: Vec<u16> = if from_nothing {
            self.bars().map(|bar| self.given_tracks(self.next_pass, bar)).collect()
        } else {
            written.iter().map(|tracks| !tracks).collect()
        };
        let next_take = self.next_take();
        // What is known needs no noise, and gets none of its own: what comes out is nobody's history.
        let mut takes = vec![self.phrase.shared_take; written.len() * self.layout.tracks.len()];
        let n_before = u32::try_from(before.len() / n_bar_cells).unwrap_or(0);
        // After a lead-in, which lies over the first phrase's own bars, the bars before are that phrase's.
        let is_first = self.next_bar.is_multiple_of(self.chain_bars);
        let end_of_before = if is_first { self.next_bar + self.phrase_bars } else { self.next_bar };
        self.each_written(written, |idx, _, _| takes.get_mut(idx).into_iter().for_each(|take| *take = next_take));
        let view = View {
            bar: self.next_bar,
            before: end_of_before.wrapping_sub(n_before),
            lead_in: self.lead_in_left,
            take: if from_nothing { next_take } else { self.phrase.shared_take },
            takes: &takes,
            previous: &previous,
            n_before,
            cells: &cells,
            known: &known,
        };
        phrase_input(manifest, self.side(), &view)
    }

    /// What the next pass draws its noise for.
    fn side(&self) -> &PatternSpec {
        let nearer = usize::from(self.spec.morph.is_some_and(|morph| morph.amount < 0.5));
        let idx = if self.next_pass < self.sides.len() { self.next_pass } else { nearer };
        self.sides.get(idx).or(self.sides.first()).unwrap_or(&self.spec)
    }

    /// Calls `each` with the index among `(n_bars, n_tracks)`, the bar and the track of whatever is written.
    fn each_written(&self, written: &[u16], mut each: impl FnMut(usize, usize, usize)) {
        let n_tracks = self.layout.tracks.len();
        for (bar_idx, tracks) in written.iter().enumerate() {
            for track_idx in (0..n_tracks).filter(|idx| tracks >> idx & 1 == 1) {
                each(bar_idx * n_tracks + track_idx, bar_idx, track_idx);
            }
        }
    }

    fn n_bar_cells(&self) -> usize {
        (usize::from(self.layout.n_steps) * self.layout.n_cells()).max(1)
    }

    /// The phrase with the new logits of what is written; all others are as they were, to the last bit.
    fn with(&self, written: &[u16], logits: &[i8]) -> Phrase {
        let (n_steps, n_cells) = (usize::from(self.layout.n_steps), self.layout.n_cells());
        let take = self.next_take();
        let on = greedy(&self.layout, logits);
        let mut phrase = self.phrase.clone();
        if self.next_pass < self.sides.len() {
            phrase.shared_take = take;
        }
        self.each_written(written, |_, bar_idx, track_idx| {
            for step in 0..n_steps {
                let first = (bar_idx * n_steps + step) * n_cells;
                let cells = self.layout.cells_of(track_idx);
                let range = first + cells.start..first + cells.end;
                copy(&mut phrase.logits, logits, range.clone());
                copy(&mut phrase.on, &on, range);
            }
        });
        phrase
    }

    /// The first phrase of a chain, or of its lead-in: without a history.
    fn begin_chain(&mut self) {
        self.histories.iter_mut().for_each(Vec::clear);
        // Where nothing of the first phrase is written, nothing follows a lead-in.
        let n_standing = self.stands.as_ref().map_or(0, |(_, n_passes)| *n_passes);
        let is_heard = (n_standing..self.passes.len()).any(|pass| self.written_by(pass).iter().any(|tracks| *tracks != 0));
        self.lead_in_left = if is_heard { self.n_lead_in } else { 0 };
        self.begin_phrase();
    }

    /// A phrase as it stands, or with nothing in it but what is given.
    fn begin_phrase(&mut self) {
        self.next_pass = 0;
        self.write_from_nothing();
        let Some((before, n_passes)) = self.stands.take_if(|_| self.lead_in_left == 0) else { return };
        let first = usize::try_from(self.next_bar.saturating_sub(before.first_bar)).unwrap_or(0) * self.n_bar_cells();
        if let Some(logits) = before.roll.cells().get(first..first + self.phrase.logits.len()) {
            self.phrase.logits = logits.to_vec();
            self.phrase.on = greedy(&self.layout, logits);
        }
        self.next_pass = n_passes;
        self.stands = Some((before, n_passes));
    }

    /// A phrase with nothing in it but what is given.
    fn write_from_nothing(&mut self) {
        let n_bar_cells = self.n_bar_cells();
        let n_bars = usize::try_from(self.phrase_bars).unwrap_or(1);
        let n_phrase_cells = n_bars * n_bar_cells;
        let take = self.passes.first().map_or(self.spec.take, |first| first.take);
        self.phrase = Phrase { logits: vec![i8::MIN; n_phrase_cells], on: vec![0; n_phrase_cells], shared_take: take };
        self.lay_layers(0);
    }

    /// Puts the layers that begin with a pass into the phrase, as sure as a logit can be.
    fn lay_layers(&mut self, pass: usize) {
        let layers = std::mem::take(&mut self.layers);
        let n_bar_cells = self.n_bar_cells();
        for (_, given) in layers.iter().filter(|(first_pass, _)| *first_pass == pass) {
            for ((bar, logits), on) in
                self.bars().zip(self.phrase.logits.chunks_mut(n_bar_cells)).zip(self.phrase.on.chunks_mut(n_bar_cells))
            {
                given.lay(&self.layout, bar, logits, i8::MIN, i8::MAX);
                given.lay(&self.layout, bar, on, 0, 1);
            }
        }
        self.layers = layers;
    }

    fn end_pass(&mut self) {
        let keep = usize::try_from(self.n_history).unwrap_or(0) * self.n_bar_cells();
        if let Some(history) = self.histories.get_mut(self.next_pass) {
            history.extend_from_slice(&self.phrase.on);
            history.drain(..history.len().saturating_sub(keep));
        }
        self.next_pass += 1;
        if self.next_pass < self.sides.len() {
            self.first_side = std::mem::take(&mut self.phrase);
            self.write_from_nothing();
            return;
        }
        if self.next_pass == self.sides.len() && self.sides.len() > 1 {
            self.mix();
        }
        self.lay_layers(self.next_pass);
    }

    /// Takes the tracks that have gone over to the other seed from its side, which was written first.
    fn mix(&mut self) {
        let other = std::mem::take(&mut self.first_side);
        let crossed = self.spec.morph.map_or(0, |morph| morph.crossed(self.spec.seed, self.next_bar, self.layout.tracks.len()));
        let n_bars = usize::try_from(self.phrase_bars).unwrap_or(1);
        let (n_steps, n_cells, n_tracks) = (usize::from(self.layout.n_steps), self.layout.n_cells(), self.layout.tracks.len());
        for track_idx in (0..n_tracks).filter(|idx| crossed >> idx & 1 == 1) {
            let cells = self.layout.cells_of(track_idx);
            for first in (0..n_bars * n_steps).map(|step| step * n_cells) {
                let range = first + cells.start..first + cells.end;
                copy(&mut self.phrase.logits, &other.logits, range.clone());
                copy(&mut self.phrase.on, &other.on, range);
            }
        }
    }

    /// Goes on to the next pass that writes something, over the ends of phrases, which become ready.
    fn pass_on(&mut self) {
        while !self.is_done() {
            if self.next_pass == self.passes.len() && self.lead_in_left > 0 {
                self.lead_in_left -= 1;
                self.begin_phrase();
            } else if self.next_pass == self.passes.len() {
                let wanted = self.first_bar..self.first_bar + self.n_bars;
                for (bar, cells) in self.bars().zip(self.phrase.logits.chunks_exact(self.n_bar_cells())) {
                    if wanted.contains(&bar) {
                        self.cells.extend_from_slice(cells);
                    }
                }
                self.next_bar = self.bars().end;
                if self.next_bar.is_multiple_of(self.chain_bars) {
                    self.begin_chain();
                } else {
                    self.begin_phrase();
                }
            } else if self.written().iter().any(|tracks| *tracks != 0) {
                return;
            } else {
                self.end_pass();
            }
        }
    }

    /// The bars that are ready, as a pattern.
    ///
    /// # Errors
    /// [`GenerateError::Length`] when none is.
    pub fn finish(self) -> Result<Pattern, GenerateError> {
        let n_ready = self.n_ready();
        if n_ready == 0 {
            return Err(GenerateError::Length { n_bars: 0, max: MAX_BUILD_BARS });
        }
        let roll = LogitRoll::from_cells(self.layout, usize::try_from(n_ready).unwrap_or(0), self.cells.into())
            .map_err(|source| GenerateError::Roll { model: self.model.id.clone(), source })?;
        Ok(Pattern {
            key: structure_key(&self.spec, &self.model),
            spec: self.spec,
            model: self.model,
            first_bar: self.first_bar,
            roll,
            temperature_factor: self.temperature_factor,
        })
    }
}

fn copy<T: Copy>(to: &mut [T], from: &[T], range: std::ops::Range<usize>) {
    if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
        to.copy_from_slice(from);
    }
}

fn all_tracks(layout: &RollLayout) -> u16 {
    u16::MAX.checked_shr(u32::try_from(16 - layout.tracks.len().min(16)).unwrap_or(0)).unwrap_or(0)
}

/// What the noise is drawn for where a pattern is written from nothing: one specification, or, amid a morph of a network that draws
/// step by step, the other seed's and then the own.
fn sides(manifest: &Manifest, spec: &PatternSpec) -> Vec<PatternSpec> {
    let with_seed = |seed| PatternSpec { seed, morph: None, ..spec.clone() };
    match spec.morph {
        Some(morph) if manifest.draws_by_step() => {
            let own = (morph.amount < 1.0).then(|| with_seed(spec.seed));
            let other = (morph.amount > 0.0).then(|| with_seed(morph.seed));
            other.into_iter().chain(own).collect()
        }
        _ => vec![spec.clone()],
    }
}

/// Everything, once for each side, then what is written anew; and how many retakes the first of them already stands for. A retake of
/// everything is a new beginning: what was written before it leaves no trace.
fn passes(manifest: &Manifest, spec: &PatternSpec, n_sides: usize) -> Result<(Vec<Retake>, usize), GenerateError> {
    let refuse = |reason| Err(GenerateError::Takes { model: manifest.id.clone(), reason });
    if spec.takes.len() > MAX_TAKES {
        return refuse(format!("there are {} retakes, at most {MAX_TAKES} are kept", spec.takes.len()));
    }
    let whole = all_tracks(&manifest.layout());
    let is_whole = |retake: &Retake| retake.bars == Retake::ALL_BARS && retake.tracks & whole == whole;
    let mut passes = vec![Retake { tracks: whole, bars: Retake::ALL_BARS, take: spec.take }; n_sides];
    let mut n_done = 0;
    for (idx, retake) in spec.takes.iter().enumerate() {
        if is_whole(retake) {
            passes = vec![*retake; n_sides];
            n_done = idx + 1;
        } else {
            passes.push(*retake);
        }
    }
    if passes.len() > n_sides && !manifest.has(Encoding::Given) {
        return refuse("it writes all tracks and bars at once".into());
    }
    Ok((passes, n_done))
}

/// What is given and locked in the model's cells, each with the first of the passes that knows of it.
fn layers(
    manifest: &Manifest,
    spec: &PatternSpec,
    n_passes: usize,
    n_sides: usize,
    n_done: usize,
) -> Result<Vec<(usize, GivenCells)>, GenerateError> {
    let layout = manifest.layout();
    let layer = |first_pass: usize, given: &Given| match given.check(&layout, manifest.has(Encoding::Given)) {
        Ok(()) => Ok((first_pass.min(n_passes), given.cells(&layout).0)),
        Err(reason) => Err(GenerateError::Given { model: manifest.id.clone(), reason }),
    };
    // The pass of the retake that came next: the first pass of a side is the retake before those that are left, or none.
    let pass_after = |n_takes: usize| match n_takes.saturating_add(1).saturating_sub(n_done) {
        0 => 0,
        n => n.saturating_add(n_sides - 1),
    };
    let of_lock = |lock: &Lock| layer(pass_after(lock.after), &lock.music);
    std::iter::once(layer(0, &spec.given)).chain(spec.locks.iter().map(of_lock)).collect()
}

/// The pattern of `spec` from that of a specification with other locks, where that takes no network: where all that was locked or edited
/// since the last retake differs, and no bar of it was given back.
#[must_use]
pub fn relocked(before: &Pattern, spec: &PatternSpec) -> Option<Pattern> {
    let n_takes = spec.takes.len();
    let is_last = |lock: &&Lock| lock.after >= n_takes;
    let alike = PatternSpec { locks: before.spec.locks.clone(), ..spec.clone() } == before.spec;
    let earlier = spec.locks.iter().filter(|lock| !is_last(lock));
    if !alike || !before.spec.locks.iter().filter(|lock| !is_last(lock)).eq(earlier) {
        return None;
    }
    let layout = before.roll.layout();
    let last: Vec<GivenCells> = spec.locks.iter().filter(is_last).map(|lock| lock.music.cells(layout).0).collect();
    let mut cells = before.roll.cells().to_vec();
    let n_bar_cells = (usize::from(layout.n_steps) * layout.n_cells()).max(1);
    for (bar, cells) in (before.first_bar..).zip(cells.chunks_mut(n_bar_cells)) {
        let were = before.spec.locks.iter().filter(is_last).map(|lock| lock.music.cells(layout).0.tracks(bar));
        let is_given_back =
            were.fold(0, |all, tracks| all | tracks) & !last.iter().fold(0, |all, lock| all | lock.tracks(bar)) != 0;
        if is_given_back {
            return None;
        }
        last.iter().for_each(|lock| lock.lay(layout, bar, cells, i8::MIN, i8::MAX));
    }
    let roll = LogitRoll::from_cells(layout.clone(), before.roll.n_bars(), cells.into()).ok()?;
    Some(Pattern { key: structure_key(spec, &before.model), spec: spec.clone(), roll, ..before.clone() })
}

/// The bars `first_bar .. first_bar + n_bars` of a pattern at once; `on_progress` hears the bars that are ready.
///
/// # Errors
/// As [`Builder::new`] and [`Builder::step`].
pub fn build(
    generator: &mut dyn Generator,
    spec: &PatternSpec,
    first_bar: u32,
    n_bars: u32,
    mut on_progress: impl FnMut(u32),
) -> Result<Pattern, GenerateError> {
    let mut builder = Builder::new(generator, spec, first_bar, n_bars)?;
    while !builder.is_done() {
        builder.step(generator)?;
        on_progress(builder.n_ready());
    }
    builder.finish()
}

fn check_primer(manifest: &Manifest, primer: &[u16]) -> Result<(), GenerateError> {
    let n_cells = manifest.layout().cells_of(0).len();
    let refuse = |reason| Err(GenerateError::Primer { model: manifest.id.clone(), reason });
    if !primer.is_empty() && primer.len() != usize::from(manifest.n_steps) {
        return refuse(format!("it has {} steps, the model's bars have {}", primer.len(), manifest.n_steps));
    }
    if let Some(state) = primer.iter().find(|s| usize::from(**s) >= n_cells) {
        return refuse(format!("it has a state {state}, the model has {n_cells}"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::generate::{
        GivenPart,
        generator::Backend,
        manifest::tests::{small_band, tiny},
        pattern::{Morph, Span},
    };
    use crate::music::{
        noise::{Address, Purpose},
        note::{Note, tests::note},
    };

    /// A network for tests: its logits are a hash of all its inputs, so that any difference in them shows.
    pub(crate) struct Fake {
        pub manifest: Manifest,
        pub backend: Backend,
        pub n_calls: usize,
        /// Fails from this call on.
        pub fails_at: Option<usize>,
        /// Yields silence of [`small_band`] but for one noise in this many; 0 for always.
        pub shy: Option<u64>,
    }

    impl Fake {
        pub(crate) fn new(manifest: Manifest) -> Self {
            Self { manifest, backend: Backend::default(), n_calls: 0, fails_at: None, shy: None }
        }
    }

    impl Generator for Fake {
        fn manifest(&self) -> &Manifest {
            &self.manifest
        }

        fn sha256(&self) -> &str {
            "5ad0"
        }

        fn backend(&self) -> &Backend {
            &self.backend
        }

        fn generate(&mut self, input: &PhraseInput) -> Result<Vec<f32>, GenerateError> {
            if self.fails_at.is_some_and(|n| self.n_calls >= n) {
                return Err(GenerateError::Inference { model: self.manifest.id.clone(), reason: "as told".into() });
            }
            self.n_calls += 1;
            let noise: Vec<u8> = input.latents.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
            let is_silent = |one_in| xxhash_rust::xxh3::xxh3_64(&noise).checked_rem(one_in).is_none_or(|rest| rest != 0);
            if self.shy.is_some_and(is_silent) {
                let (n_cells, rest_of_bass) = (self.manifest.layout().n_cells(), self.manifest.layout().cells_of(1).end - 2);
                let logit = |i: usize| match xxhash_rust::xxh3::xxh3_64_with_seed(&noise, i as u64) % 80 {
                    _ if i % n_cells == rest_of_bass => 6.0,
                    less => -1.0 - less as f32 / 16.0,
                };
                return Ok((0..self.manifest.output.shape.iter().product()).map(logit).collect());
            }
            let bytes: Vec<u8> = input.latents.iter().chain(&input.conditions).flatten().flat_map(|v| v.to_le_bytes()).collect();
            let n: usize = self.manifest.output.shape.iter().product();
            Ok((0..n as u64).map(|i| (xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, i) % 200) as f32 / 16.0 - 6.0).collect())
        }
    }

    pub(crate) fn spec() -> PatternSpec {
        PatternSpec {
            seed: 31,
            take: 2,
            variation: 1.0,
            span: Span::Bars(8),
            progression: "C | Dm Bb7 | E".parse().unwrap(),
            primer: vec![3, 3, 0, 4, 1],
            ..PatternSpec::default()
        }
    }

    fn bars(pattern: &Pattern) -> Vec<Vec<i8>> {
        pattern.roll.cells().chunks(pattern.roll.cells().len() / pattern.roll.n_bars()).map(<[i8]>::to_vec).collect()
    }

    #[test]
    fn a_bar_is_the_same_whichever_bars_are_asked_for() {
        let mut fake = Fake::new(tiny());
        let whole = build(&mut fake, &spec(), 0, 11, |_| ()).unwrap();
        assert_eq!((fake.n_calls, whole.roll.n_bars(), whole.temperature_factor), (11, 11, 0.75));
        for (first, n, calls) in [(0, 1, 1), (2, 1, 3), (3, 2, 2), (5, 6, 8), (10, 1, 2)] {
            fake.n_calls = 0;
            let part = build(&mut fake, &spec(), first, n, |_| ()).unwrap();
            assert_eq!(part.first_bar, first);
            let range = first as usize..(first + n) as usize;
            assert_eq!(bars(&part), bars(&whole)[range], "{first}+{n}");
            assert_eq!(fake.n_calls, calls, "{first}+{n}");
        }
    }

    #[test]
    fn a_chain_follows_the_primer_and_nothing_else() {
        let mut fake = Fake::new(tiny());
        let constant = PatternSpec { progression: "C".parse().unwrap(), variation: 0.0, ..spec() };
        let chains = bars(&build(&mut fake, &constant, 0, 9, |_| ()).unwrap());
        // Without noise and with one chord, only the bar before can tell bars apart: chains of three are equal.
        assert_eq!(chains[..3], chains[3..6]);
        assert_ne!(chains[0], chains[1]);
        let other = PatternSpec { primer: vec![], ..constant };
        assert_ne!(bars(&build(&mut fake, &other, 0, 1, |_| ()).unwrap())[0], chains[0]);
    }

    #[test]
    fn phrases_of_several_bars_fill_a_pattern_that_is_no_multiple() {
        let mut manifest = tiny();
        manifest.n_bars = 2;
        manifest.chain_bars = 6;
        manifest.output.shape = vec![1, 2, 5, 5];
        manifest.conditions[0].shape = vec![1, 4, 24];
        manifest.check().unwrap();
        let mut fake = Fake::new(manifest);
        let mut heard = vec![];
        let whole = build(&mut fake, &spec(), 0, 7, |n| heard.push(n)).unwrap();
        assert_eq!((whole.roll.n_bars(), heard), (7, vec![2, 4, 6, 7]));
        let part = build(&mut fake, &spec(), 3, 2, |_| ()).unwrap();
        assert_eq!(bars(&part), bars(&whole)[3..5]);
    }

    #[test]
    fn a_model_without_chains_needs_no_bars_before() {
        let mut manifest = tiny();
        manifest.conditions.truncate(1);
        let mut fake = Fake::new(manifest);
        build(&mut fake, &PatternSpec { primer: vec![], ..spec() }, 1000, 2, |_| ()).unwrap();
        assert_eq!(fake.n_calls, 2);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let mut fake = Fake::new(tiny());
        assert!(matches!(build(&mut fake, &spec(), 0, 0, |_| ()), Err(GenerateError::Length { .. })));
        assert!(matches!(build(&mut fake, &spec(), 0, 5000, |_| ()), Err(GenerateError::Length { .. })));
        assert!(matches!(build(&mut fake, &spec(), u32::MAX, 2, |_| ()), Err(GenerateError::Length { .. })));
        let short = PatternSpec { primer: vec![1, 2], ..spec() };
        assert!(matches!(build(&mut fake, &short, 0, 1, |_| ()), Err(GenerateError::Primer { .. })));
        let foreign = PatternSpec { primer: vec![1, 2, 3, 4, 5], ..spec() };
        assert!(matches!(build(&mut fake, &foreign, 0, 1, |_| ()), Err(GenerateError::Primer { .. })));
        fake.fails_at = Some(2);
        assert!(matches!(build(&mut fake, &spec(), 0, 4, |_| ()), Err(GenerateError::Inference { .. })));
    }

    /// Dice for test scripts: their numbers are named by how many came before.
    struct Dice(u32);

    impl Dice {
        /// 0 to n - 1.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to n - 1")]
        fn below(&mut self, n: u32) -> u32 {
            self.0 += 1;
            (Address { index: self.0, ..Address::default() }.uniform(Purpose::Cell) * f64::from(n)) as u32
        }
    }

    fn ask() -> PatternSpec {
        PatternSpec { primer: vec![], ..spec() }
    }

    fn track(tracks: u16, bars: u32, take: u32) -> Retake {
        Retake { tracks, bars, take }
    }

    /// The cells of each track and bar: `[track][bar]`.
    fn parts(pattern: &Pattern) -> Vec<Vec<Vec<i8>>> {
        let layout = pattern.roll.layout();
        let of_bar = |track: usize, bar: &[i8]| -> Vec<i8> {
            bar.chunks(layout.n_cells()).flat_map(|step| &step[layout.cells_of(track)]).copied().collect()
        };
        (0..layout.tracks.len()).map(|track| bars(pattern).iter().map(|bar| of_bar(track, bar)).collect()).collect()
    }

    fn built(spec: &PatternSpec, n_bars: u32) -> Vec<Vec<Vec<i8>>> {
        parts(&build(&mut Fake::new(small_band()), spec, 0, n_bars, |_| ()).unwrap())
    }

    /// A band that plays each chain's first phrase twice before it is heard.
    fn led_band() -> Fake {
        Fake::new(Manifest { lead_in: 2, ..small_band() })
    }

    #[test]
    fn a_chain_goes_on_from_a_lead_in_that_nobody_hears() {
        let (mut fake, spec) = (led_band(), ask());
        let manifest = fake.manifest.clone();
        let whole = build(&mut fake, &spec, 0, 13, |_| ()).unwrap();
        assert_eq!(fake.n_calls, (2 + 3) + (2 + 3) + (2 + 1));
        let part = build(&mut fake, &spec, 7, 4, |_| ()).unwrap();
        assert_eq!(bars(&part), bars(&whole)[7..11]);
        // By hand: the phrase from bar 6 twice, each time with noise of its own and after the one before, then to be heard.
        let n_bar = 4 * 14;
        let mut before = Vec::new();
        for lead_in in [2, 1, 0] {
            let view = View {
                bar: 6,
                before: 7,
                lead_in,
                take: spec.take,
                n_before: u32::from(!before.is_empty()),
                cells: &[&before[..], &vec![0; 2 * n_bar]].concat(),
                known: &[0, 0],
                ..View::default()
            };
            let logits = fake.generate(&phrase_input(&manifest, &spec, &view)).unwrap();
            let roll = LogitRoll::from_logits(manifest.layout(), 2, &logits).unwrap();
            if lead_in == 0 {
                assert_eq!(roll.cells()[..], whole.roll.cells()[6 * n_bar..8 * n_bar]);
            }
            before = greedy(&manifest.layout(), &roll.cells()[n_bar..]);
        }
    }

    #[test]
    fn what_is_given_leads_in_and_no_retake_does() {
        // Where everything is given there is nothing to write.
        let notes: Vec<Note> = (0..6).map(|bar| note(bar * 480, 240, 31)).collect();
        let given = |tracks: &[(usize, &[Note])]| Given::from_notes(&small_band().layout(), tracks, 6).0;
        let mut fake = led_band();
        let all = PatternSpec { given: given(&[(0, &[]), (1, &notes), (2, &[])]), ..ask() };
        build(&mut fake, &all, 0, 6, |_| ()).unwrap();
        assert_eq!(fake.n_calls, 0);
        // The first phrase hears of another given one in the lead-in too, and stays itself.
        let spec = PatternSpec { given: given(&[(1, &notes)]), ..ask() };
        let whole = build(&mut fake, &spec, 0, 6, |_| ()).unwrap();
        assert_eq!(fake.n_calls, 2 + 3);
        let again = PatternSpec { takes: vec![track(0b1, Retake::ALL_BARS, 9)], ..spec };
        let retaken = build(&mut fake, &again, 0, 6, |_| ()).unwrap();
        assert_eq!(fake.n_calls, 5 + 2 + 3 + 3, "the lead-in is not written anew");
        assert_ne!(parts(&retaken)[0], parts(&whole)[0]);
        assert_eq!(parts(&retaken)[1..], parts(&whole)[1..]);
    }

    #[test]
    fn a_retake_goes_on_from_the_pattern_before_it() {
        let mut dice = Dice(700);
        for round in 0..40 {
            let manifest = if round % 2 == 0 { small_band() } else { Manifest { lead_in: 2, ..small_band() } };
            let mut fake = Fake::new(manifest.clone());
            let mut spec = PatternSpec { span: Span::Bars(12), ..ask() };
            let mut before: Option<Pattern> = None;
            for take in 3..9 {
                let mut some = || (u16::try_from(1 + dice.below(6)).unwrap(), dice.below(1 << 12));
                let (tracks, bars) = some();
                if take % 3 == 0 {
                    // What is locked between two retakes is in the pattern before the second.
                    let (tracks, bars) = some();
                    spec.locks.push(lock(spec.takes.len(), tracks, bars));
                    before = before.map(|before| relocked(&before, &spec).unwrap());
                }
                spec.takes.push(track(tracks, if take == 5 { Retake::ALL_BARS } else { bars }, take));
                let whole = build(&mut fake, &spec, 0, 12, |_| ()).unwrap();
                if let Some(before) = &before {
                    fake.n_calls = 0;
                    let mut builder = Builder::new(&fake, &spec, 0, 12).unwrap().going_on(&manifest, before);
                    while !builder.is_done() {
                        builder.step(&mut fake).unwrap();
                    }
                    assert_eq!(builder.finish().unwrap(), whole, "round {round}, take {take}");
                    // Six phrases in two chains, once.
                    let most = 6 + 2 * manifest.lead_in as usize;
                    assert!(fake.n_calls <= most, "round {round}, take {take}: {} inferences", fake.n_calls);
                }
                before = Some(whole);
            }
        }
    }

    #[test]
    fn what_a_pattern_before_does_not_tell_is_written_again() {
        let manifest = small_band();
        let mut fake = Fake::new(manifest.clone());
        let spec = PatternSpec { span: Span::Bars(6), takes: vec![track(0b1, Retake::ALL_BARS, 9)], ..ask() };
        let before = build(&mut fake, &spec, 0, 6, |_| ()).unwrap();
        let with = |takes: &[Retake]| PatternSpec { takes: [&spec.takes, takes].concat(), ..spec.clone() };
        let next = with(&[track(0b10, 0b11, 10)]);
        for (asked, n_calls) in [
            (next.clone(), 1),
            // Nothing is new; a retake less; another seed, other chords.
            (spec.clone(), 6),
            (PatternSpec { takes: vec![], ..spec.clone() }, 3),
            (PatternSpec { seed: 32, ..next.clone() }, 7),
            (PatternSpec { progression: "C".parse().unwrap(), ..next.clone() }, 7),
            // Tries that were not kept; everything anew.
            (PatternSpec { candidates: 2, ..next.clone() }, 14),
            (with(&[track(Retake::ALL_TRACKS, Retake::ALL_BARS, 10)]), 3),
            // Bars that were locked before a retake that was made.
            (PatternSpec { locks: vec![lock(0, 0b100, 0b1)], ..next.clone() }, 7),
        ] {
            let whole = build(&mut fake, &asked, 0, 6, |_| ()).unwrap();
            fake.n_calls = 0;
            let mut builder = Builder::new(&fake, &asked, 0, 6).unwrap().going_on(&manifest, &before);
            while !builder.is_done() {
                builder.step(&mut fake).unwrap();
            }
            assert_eq!((builder.finish().unwrap(), fake.n_calls), (whole, n_calls), "{asked:?}");
        }
        // Of half a phrase the rest is not known.
        let part = build(&mut fake, &spec, 0, 5, |_| ()).unwrap();
        fake.n_calls = 0;
        let mut builder = Builder::new(&fake, &next, 0, 5).unwrap().going_on(&manifest, &part);
        builder.step(&mut fake).unwrap();
        assert_eq!(builder.n_ready(), 0, "the first pass of three");
    }

    #[test]
    fn phrases_see_the_bars_before_within_their_chain() {
        let constant = PatternSpec { progression: "C".parse().unwrap(), variation: 0.0, ..ask() };
        let bars = built(&constant, 13);
        // Chains of six bars in phrases of two: without noise and with one chord a chain is like the other.
        assert_eq!(bars[0][..6], bars[0][6..12]);
        assert_ne!(bars[0][..2], bars[0][2..4]);
        assert_eq!(bars[2].len(), 13);
    }

    #[test]
    fn a_retake_changes_what_it_names_and_nothing_else() {
        let mut dice = Dice(0);
        for round in 0..60 {
            let n_bars = 1 + dice.below(14);
            let mut spec = PatternSpec { span: Span::Bars(n_bars), ..ask() };
            let mut before = built(&spec, n_bars);
            // Another take each time: the same one over the same cells would change nothing.
            for n_takes in 0..1 + dice.below(4) {
                let some = dice.below(1 << n_bars);
                let bars_named = if dice.below(100) < 30 { Retake::ALL_BARS } else { some };
                let retake = track(u16::try_from(1 + dice.below(6)).unwrap(), bars_named, 10 + n_takes);
                spec.takes.push(retake);
                let after = built(&spec, n_bars);
                for (track, bar) in (0..3).flat_map(|t| (0..n_bars).map(move |b| (t, b))) {
                    let named = retake.tracks_in(bar) >> track & 1 == 1;
                    let (old, new) = (&before[track][bar as usize], &after[track][bar as usize]);
                    assert_eq!(old != new, named, "round {round}: {:?}, track {track}, bar {bar} of {n_bars}", spec.takes);
                }
                before = after;
            }
            // Undo brings back what was, step by step, and bars are the same whichever are asked for.
            let whole = build(&mut Fake::new(small_band()), &spec, 0, n_bars, |_| ()).unwrap();
            let first = dice.below(n_bars);
            let part = build(&mut Fake::new(small_band()), &spec, first, n_bars - first, |_| ()).unwrap();
            assert_eq!(bars(&part), bars(&whole)[first as usize..], "round {round}: from bar {first}");
        }
    }

    #[test]
    fn a_track_that_is_asked_for_by_name_is_heard() {
        let is_silent = |bar: &[i8], track: usize| match track {
            1 => bar.chunks(7).all(|step| step[5] == 96),
            _ => bar.iter().all(|cell| *cell < 0),
        };
        let mut shy = Fake { shy: Some(2), ..Fake::new(small_band()) };
        let (mut n_calls, mut n_plain) = (0, 0);
        for take in 0..40 {
            let lane = take as usize % 3;
            let bars = [Retake::ALL_BARS, 0b0100, 0b1011][take as usize / 3 % 3];
            let before = PatternSpec { span: Span::Bars(4), seed: take, ..ask() };
            let spec = PatternSpec { takes: vec![track(1 << lane, bars, take)], ..before.clone() };
            let stands = build(&mut shy, &before, 0, 4, |_| ()).unwrap();
            shy.n_calls = 0;
            let mut builder = Builder::new(&shy, &spec, 0, 4).unwrap().going_on(&small_band(), &stands);
            let mut tries = 0;
            while !builder.is_done() {
                builder.step(&mut shy).unwrap();
                tries += 1;
            }
            assert_eq!(builder.n_rejected() as usize, tries - if bars == 0b0100 { 1 } else { 2 });
            let after = builder.finish().unwrap();
            assert_eq!(after, build(&mut shy, &spec, 0, 4, |_| ()).unwrap(), "take {take}");
            let parts = [&stands, &after].map(parts);
            for phrase in 0..2 {
                let named: Vec<usize> = (2 * phrase..2 * phrase + 2).filter(|bar| bars >> bar & 1 == 1).collect();
                let is_heard = named.iter().any(|bar| !is_silent(&parts[1][lane][*bar], lane));
                assert_eq!(is_heard, !named.is_empty(), "take {take}, phrase {phrase}");
                n_plain += usize::from(is_heard);
            }
            for other in (0..3).filter(|other| *other != lane) {
                assert_eq!(parts[0][other], parts[1][other], "take {take}: the other tracks stay");
            }
            n_calls += tries;
        }
        assert!((3 * n_plain / 2..5 * n_plain / 2).contains(&n_calls), "{n_calls} tries at {n_plain} phrases");
        // A network that has nothing to say is asked no longer, nor one that says the same again; and all tracks is no wish to hear one.
        shy.shy = Some(0);
        for (tracks, variation, n_tries) in [(0b010, 1.0, 8), (0b010, 0.0, 2), (Retake::ALL_TRACKS, 1.0, 1)] {
            let spec = PatternSpec { span: Span::Bars(4), variation, takes: vec![track(tracks, 0b1111, 5)], ..ask() };
            shy.n_calls = 0;
            build(&mut shy, &spec, 0, 4, |_| ()).unwrap();
            assert_eq!(shy.n_calls, 2 + 2 * n_tries);
        }
    }

    #[test]
    fn passes_phrase_by_phrase_are_passes_one_after_another() {
        // The plain way: each pass over the whole pattern, with the one before as what stands.
        let spec =
            PatternSpec { span: Span::Bars(11), takes: vec![track(2, !0b1_0000, 7), track(5, 0b111_1001_0110, 3)], ..ask() };
        let mut fake = Fake::new(small_band());
        let manifest = small_band();
        let layout = manifest.layout();
        let n_bar = 4 * 14;
        let mut stands =
            build(&mut fake, &PatternSpec { takes: vec![], ..spec.clone() }, 0, 12, |_| ()).unwrap().roll.cells().to_vec();
        let tracks_in = |pass: &Retake, bar: usize| pass.tracks_in(u32::try_from(bar).unwrap());
        for pass in &spec.takes {
            for phrase in 0..6_u32 {
                let (from, to) = (phrase as usize * 2, phrase as usize * 2 + 2);
                let n_before = u32::from(phrase % 3 != 0);
                let written = |(bar, track): (usize, usize)| tracks_in(pass, bar) >> track & 1 == 1;
                let places = (from..to).flat_map(|bar| (0..3).map(move |track| (bar, track)));
                let takes: Vec<u32> = places.map(|place| if written(place) { pass.take } else { spec.take }).collect();
                let known: Vec<u16> = (from..to).map(|bar| !tracks_in(pass, bar)).collect();
                let cells = greedy(&layout, &stands[(from - n_before as usize) * n_bar..to * n_bar]);
                let view = View {
                    bar: phrase * 2,
                    before: phrase * 2 - n_before,
                    lead_in: 0,
                    take: spec.take,
                    takes: &takes,
                    n_before,
                    cells: &cells,
                    known: &known,
                    ..View::default()
                };
                let logits = fake.generate(&phrase_input(&manifest, &spec, &view)).unwrap();
                let roll = LogitRoll::from_logits(layout.clone(), 2, &logits).unwrap();
                for (idx, logit) in roll.cells().iter().enumerate() {
                    let (bar, cell) = (from + idx / n_bar, idx % 14);
                    let track = (0..3).find(|t| layout.cells_of(*t).contains(&cell)).unwrap();
                    if tracks_in(pass, bar) >> track & 1 == 1 {
                        stands[from * n_bar + idx] = *logit;
                    }
                }
            }
        }
        let whole = build(&mut fake, &spec, 0, 11, |_| ()).unwrap();
        assert_eq!(whole.roll.cells(), &stands[..11 * n_bar]);
    }

    #[test]
    fn only_the_last_of_equal_retakes_and_nothing_before_one_of_everything_counts() {
        let with = |takes: Vec<Retake>| built(&PatternSpec { takes, ..ask() }, 8);
        let bass = |take| track(2, Retake::ALL_BARS, take);
        assert_eq!(with(vec![bass(5), bass(1), bass(8)]), with(vec![bass(8)]));
        let all = track(Retake::ALL_TRACKS, Retake::ALL_BARS, 9);
        let whole = PatternSpec { take: 9, ..ask() };
        assert_eq!(with(vec![bass(5), all]), built(&whole, 8));
        assert_eq!(with(vec![bass(5), all, bass(3)]), built(&PatternSpec { takes: vec![bass(3)], ..whole }, 8));
        // So a model that knows nothing of parts can do that one.
        let mut fake = Fake::new(tiny());
        let chain = build(&mut fake, &PatternSpec { takes: vec![all], ..spec() }, 0, 4, |_| ()).unwrap();
        assert_eq!(bars(&chain), bars(&build(&mut fake, &PatternSpec { take: 9, ..spec() }, 0, 4, |_| ()).unwrap()));
        let refused = build(&mut fake, &PatternSpec { takes: vec![bass(5)], ..spec() }, 0, 4, |_| ());
        assert!(matches!(refused, Err(GenerateError::Takes { .. })));
    }

    #[test]
    fn of_several_candidates_the_one_with_the_fewest_faults_is_kept() {
        // One phrase of two bars: each candidate alone is what its take writes.
        let alone = |take| {
            let pattern = build(&mut Fake::new(small_band()), &PatternSpec { take, ..ask() }, 0, 2, |_| ()).unwrap();
            let layout = pattern.roll.layout();
            let chords = [ask().progression.at(0), ask().progression.at(1)];
            (Faults::of(layout, &greedy(layout, pattern.roll.cells()), &chords).cost(), bars(&pattern))
        };
        let mut n_others = 0;
        for take in 0..20 {
            let tries: Vec<_> = (0..5).map(|candidate| alone(take_of(take, candidate))).collect();
            let least = tries.iter().map(|(cost, _)| *cost).fold(f64::INFINITY, f64::min);
            let first = tries.iter().position(|(cost, _)| *cost == least).unwrap();
            let mut fake = Fake::new(small_band());
            let kept = build(&mut fake, &PatternSpec { take, candidates: 5, ..ask() }, 0, 2, |_| ()).unwrap();
            assert_eq!((bars(&kept), fake.n_calls), (tries[first].1.clone(), 5), "take {take}: candidate {first}");
            n_others += usize::from(first != 0);
        }
        assert!(n_others > 5, "{n_others}");
    }

    #[test]
    fn candidates_leave_alone_what_is_not_written_and_bars_keep_their_address() {
        let spec = PatternSpec { candidates: 3, ..ask() };
        let before = built(&spec, 9);
        assert_ne!(before, built(&ask(), 9));
        let after = built(&PatternSpec { takes: vec![track(2, 0b1_0100, 7)], ..spec.clone() }, 9);
        for (part, bar) in (0..3).flat_map(|part| (0..9).map(move |bar| (part, bar))) {
            assert_eq!(before[part][bar] != after[part][bar], part == 1 && [2, 4].contains(&bar), "track {part}, bar {bar}");
        }
        let retaken = PatternSpec { takes: vec![track(2, 0b1_0100, 7)], ..spec };
        let mut fake = Fake::new(small_band());
        let whole = build(&mut fake, &retaken, 0, 9, |_| ()).unwrap();
        let part = build(&mut fake, &retaken, 4, 4, |_| ()).unwrap();
        assert_eq!(bars(&part), bars(&whole)[4..8]);
        // Two passes over two phrases, one over the others; two of three tries are rejected.
        let mut builder = Builder::new(&fake, &retaken, 0, 9).unwrap();
        while !builder.is_done() {
            builder.step(&mut fake).unwrap();
        }
        assert_eq!(builder.n_rejected(), 2 * (5 + 2));
    }

    #[test]
    fn a_morph_takes_track_after_track_to_the_other_seed() {
        let of = |seed, morph: Option<f32>| PatternSpec { seed, morph: morph.map(|amount| Morph { seed: 77, amount }), ..ask() };
        let (own, other) = (built(&of(31, None), 13), built(&of(77, None), 13));
        assert_eq!(built(&of(31, Some(0.0)), 13), own);
        assert_eq!(built(&of(31, Some(1.0)), 13), other);
        // Phrases of two bars: which of the seeds each track of each plays.
        let mut before = vec![[false; 3]; 7];
        for step in 1..=32_u8 {
            let mixed = built(&of(31, Some(f32::from(step) / 32.0)), 13);
            let mut n_changed = 0;
            for (phrase, part) in (0..7).flat_map(|phrase| (0..3).map(move |part| (phrase, part))) {
                let bars = phrase * 2..(phrase * 2 + 2).min(13);
                let is_other = mixed[part][bars.clone()] == other[part][bars.clone()];
                assert!(is_other || mixed[part][bars.clone()] == own[part][bars], "step {step}, phrase {phrase}, track {part}");
                assert!(is_other || !before[phrase][part], "step {step}: phrase {phrase}, track {part} has gone back");
                n_changed += usize::from(is_other != before[phrase][part]);
                before[phrase][part] = is_other;
            }
            assert!(n_changed <= 4, "step {step}: {n_changed} of 21 at once");
            // What is retaken alone changes, on the way too.
            let retaken = PatternSpec { takes: vec![track(2, 0b100, 9)], ..of(31, Some(f32::from(step) / 32.0)) };
            let after = built(&retaken, 13);
            for (part, bar) in (0..3).flat_map(|part| (0..13).map(move |bar| (part, bar))) {
                assert_eq!(after[part][bar] != mixed[part][bar], (part, bar) == (1, 2), "step {step}, track {part}, bar {bar}");
            }
        }
        assert_eq!(before, [[true; 3]; 7]);
    }

    #[test]
    fn amid_a_morph_bars_keep_their_address_and_what_is_locked_stays() {
        let layout = small_band().layout();
        let held = note(0, 240, 31);
        let music = Given::from_parts(&[GivenPart { track_idx: 1, drums: false, notes: &[held] }], layout.n_steps, 2).0;
        let spec = PatternSpec {
            morph: Some(Morph { seed: 77, amount: 0.45 }),
            takes: vec![track(4, 0b11, 3), track(1, 0b1100, 4)],
            locks: vec![Lock { after: 1, music: music.clone() }],
            span: Span::Bars(11),
            ..ask()
        };
        let mut fake = Fake::new(small_band());
        let whole = build(&mut fake, &spec, 0, 11, |_| ()).unwrap();
        for (first, n) in [(0, 3), (3, 5), (8, 3)] {
            let part = build(&mut fake, &spec, first, n, |_| ()).unwrap();
            assert_eq!(bars(&part), bars(&whole)[first as usize..(first + n) as usize]);
        }
        let locked = parts(&build(&mut fake, &PatternSpec { given: music, locks: vec![], ..spec }, 0, 2, |_| ()).unwrap());
        assert_eq!(parts(&whole)[1][..2], locked[1]);
    }

    #[test]
    fn nothing_is_inferred_where_nothing_is_written() {
        let mut fake = Fake::new(small_band());
        // Bars 4 and 5 lie in the third phrase of the first chain.
        let spec = PatternSpec { takes: vec![track(1, 0b11_0000, 1), track(6, 0b01_0000, 1)], ..ask() };
        let mut heard = vec![];
        build(&mut fake, &spec, 0, 8, |n| heard.push(n)).unwrap();
        assert_eq!((fake.n_calls, heard), (4 + 2, vec![2, 4, 4, 4, 6, 8]));
        let all_given = Given::from_notes(&small_band().layout(), &[(0, &[]), (1, &[]), (2, &[])], 2).0;
        fake.n_calls = 0;
        let pattern = build(&mut fake, &PatternSpec { given: all_given, ..spec }, 0, 8, |_| ()).unwrap();
        assert_eq!((fake.n_calls, pattern.roll.n_bars()), (0, 8));
    }

    #[test]
    fn what_is_given_stays_and_the_rest_is_written_around_it() {
        let layout = small_band().layout();
        let notes = [(0, 240, 31), (360, 600, 46), (1500, 120, 33)].map(|(onset, duration, pitch)| note(onset, duration, pitch));
        // Three bars of four steps, which repeat.
        let (given, placed) = Given::from_notes(&layout, &[(1, &notes)], 3);
        assert_eq!((placed.n_notes, placed.n_moved, placed.n_dropped), (2, 1, 1));
        let all = track(Retake::ALL_TRACKS, 0b1011, 4);
        let spec = PatternSpec { given: given.clone(), takes: vec![all], span: Span::Endless, ..ask() };
        let (around, alone) = (built(&spec, 9), built(&PatternSpec { given: Given::default(), ..spec.clone() }, 9));
        let greedy_bass: Vec<usize> = around[1]
            .iter()
            .flatten()
            .copied()
            .collect::<Vec<i8>>()
            .chunks(7)
            .map(|step| {
                assert_eq!(step.iter().filter(|cell| **cell == i8::MIN).count(), 6);
                step.iter().position(|cell| *cell == i8::MAX).unwrap()
            })
            .collect();
        // Pitches from 30; 5 is rest, 6 hold. The second note, 46, becomes 34.
        assert_eq!(greedy_bass[..12], [1, 6, 5, 4, 6, 6, 6, 6, 5, 5, 5, 5]);
        assert_eq!(greedy_bass[12..24], greedy_bass[..12]);
        assert!((0..9).all(|bar| around[0][bar] != alone[0][bar]), "the drums hear the bass");
        let other = PatternSpec { given: Given::from_notes(&layout, &[(1, &notes[1..])], 3).0, ..spec };
        assert_ne!(built(&other, 9)[2], around[2]);
    }

    /// A lock of those tracks and bars, of music of its own.
    fn lock(after: usize, tracks: u16, bars: u32) -> Lock {
        let notes: Vec<Note> =
            (0..40).map(|i| note(i * 220, 200 + i % 3 * 100, i32::try_from(30 + i * 7 % 40).unwrap())).collect();
        let (music, _) = Given::from_notes(&small_band().layout(), &[(0, &notes), (1, &notes), (2, &notes[3..])], 14);
        Lock { after, music: music.kept(tracks, bars) }
    }

    #[test]
    fn a_lock_changes_nothing_else_and_what_is_written_later_goes_on_from_it() {
        let (mut dice, mut n_heard) = (Dice(500), 0);
        for round in 0..40 {
            let n_bars = 1 + dice.below(14);
            let some = |dice: &mut Dice| (u16::try_from(1 + dice.below(7)).unwrap(), dice.below(1 << n_bars));
            let takes: Vec<_> = (0..dice.below(3)).map(|take| (some(&mut dice), take)).collect();
            let takes: Vec<Retake> = takes.into_iter().map(|((tracks, bars), take)| track(tracks, bars, take + 9)).collect();
            let mut spec = PatternSpec { span: Span::Bars(n_bars), takes, ..ask() };
            let free = built(&spec, n_bars);
            let (tracks, locked_bars) = some(&mut dice);
            spec.locks.push(lock(spec.takes.len(), tracks, locked_bars));
            let locked = built(&spec, n_bars);
            let is_locked = |part: usize, bar: u32| tracks >> part & 1 == 1 && locked_bars >> bar & 1 == 1;
            for (part, bar) in (0..3).flat_map(|part| (0..n_bars).map(move |bar| (part, bar))) {
                let (old, new) = (&free[part][bar as usize], &locked[part][bar as usize]);
                assert_eq!(
                    old != new,
                    is_locked(part, bar),
                    "round {round}: {tracks:b} {locked_bars:b}, track {part}, bar {bar}"
                );
                assert!(!is_locked(part, bar) || new.iter().all(|cell| [i8::MIN, i8::MAX].contains(cell)));
            }
            spec.takes.push(track(Retake::ALL_TRACKS, !0b10, 99));
            let after = built(&spec, n_bars);
            let without = built(&PatternSpec { locks: vec![], ..spec.clone() }, n_bars);
            for (part, bar) in (0..3).flat_map(|part| (0..n_bars).map(move |bar| (part, bar))) {
                let is_written = !is_locked(part, bar) && bar != 1;
                assert_eq!(locked[part][bar as usize] != after[part][bar as usize], is_written, "round {round}");
            }
            let is_heard = |part: usize| {
                (0..n_bars).any(|bar| !is_locked(part, bar) && after[part][bar as usize] != without[part][bar as usize])
            };
            n_heard += usize::from((0..3).any(is_heard));
            let whole = build(&mut Fake::new(small_band()), &spec, 0, n_bars, |_| ()).unwrap();
            let from = dice.below(n_bars);
            let part = build(&mut Fake::new(small_band()), &spec, from, n_bars - from, |_| ()).unwrap();
            assert_eq!(bars(&part), bars(&whole)[from as usize..], "round {round}: from bar {from}");
        }
        assert!(n_heard > 20, "{n_heard}");
    }

    #[test]
    fn what_was_locked_last_needs_no_network() {
        let base = PatternSpec { takes: vec![track(0b010, 0b0011, 1001)], ..ask() };
        let build = |spec: &PatternSpec| build(&mut Fake::new(small_band()), spec, 0, 8, |_| ()).unwrap();
        let with = |locks: &[Lock]| PatternSpec { locks: locks.to_vec(), ..base.clone() };
        let (early, late, more) = (lock(0, 0b100, 0b0001), lock(1, 0b010, 0b0110), lock(1, 0b111, 0b0101));
        let plain = build(&with(std::slice::from_ref(&early)));
        for locks in [vec![], vec![late.clone()], vec![late.clone(), more.clone()]] {
            let spec = with(&[vec![early.clone()], locks].concat());
            assert_eq!(relocked(&plain, &spec), Some(build(&spec)));
        }
        // What was locked since the last retake comes off with a network only; and so does everything else.
        let locked = build(&with(&[early.clone(), late.clone()]));
        assert_eq!(
            relocked(&locked, &with(&[early.clone(), late.clone(), more])),
            Some(build(&with(&[early.clone(), late.clone(), lock(1, 0b111, 0b0101)])))
        );
        for other in [
            with(std::slice::from_ref(&early)),
            with(std::slice::from_ref(&late)),
            PatternSpec { take: 8, ..with(&[early.clone(), late.clone()]) },
        ] {
            assert_eq!(relocked(&locked, &other), None);
        }
    }

    #[test]
    fn what_is_locked_before_everything_is_written_anew_is_given() {
        let whole = track(Retake::ALL_TRACKS, Retake::ALL_BARS, 6);
        let (bass, drums) = (track(2, 0b1010, 3), track(1, 0b0110, 4));
        let music = lock(0, 0b110, 0b1001).music;
        let given = PatternSpec { take: 6, given: music.clone(), takes: vec![drums], ..ask() };
        for after in 0..=1 {
            let locks = vec![Lock { after, music: music.clone() }];
            let locked = PatternSpec { takes: vec![bass, whole, drums], locks, ..ask() };
            assert_eq!(built(&locked, 9), built(&given, 9), "locked after {after}");
        }
        let later = PatternSpec { takes: vec![bass, whole, drums], locks: vec![Lock { after: 2, music }], ..ask() };
        assert_ne!(built(&later, 9), built(&given, 9));
        // A lock from beyond the last retake is the last thing that happens.
        let end = |after| built(&PatternSpec { takes: vec![drums], locks: vec![lock(after, 4, 0b11)], ..ask() }, 5);
        assert_eq!((end(1), end(1) == end(0)), (end(usize::MAX), false));
    }

    #[test]
    fn a_model_that_listens_to_nobody_plays_what_is_locked() {
        let layout = tiny().layout();
        let (music, _) = Given::from_notes(&layout, &[(0, &[note(120, 200, 61)])], 4);
        let free = bars(&build(&mut Fake::new(tiny()), &spec(), 0, 4, |_| ()).unwrap());
        let locked = PatternSpec { locks: vec![Lock { after: 0, music: music.clone().kept(1, 0b0001) }], ..spec() };
        let pattern = bars(&build(&mut Fake::new(tiny()), &locked, 0, 4, |_| ()).unwrap());
        assert_eq!((pattern[0] == free[0], &pattern[1..]), (false, &free[1..]));
        // From the start, the next bar goes on from it.
        let given = PatternSpec { given: music.kept(1, 0b0001), ..spec() };
        let after = bars(&build(&mut Fake::new(tiny()), &given, 0, 4, |_| ()).unwrap());
        assert_eq!((&after[0], after[1] == free[1]), (&pattern[0], false));
    }

    #[test]
    fn what_does_not_fit_the_model_is_refused() {
        let (melody, band) = (Fake::new(tiny()), Fake::new(small_band()));
        let layout = small_band().layout();
        let refused = |fake: &Fake, given: Given| match Builder::new(fake, &PatternSpec { given, ..ask() }, 0, 1) {
            Err(GenerateError::Given { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused(&melody, Given::from_notes(&layout, &[(1, &[])], 2).0).contains("no given track"));
        let json = |json: &str| serde_json::from_str::<Given>(json).unwrap();
        assert!(refused(&band, json(r#"[{"tracks": 8}]"#)).contains("no track 4"));
        assert!(refused(&band, json(r#"[{}, {"tracks": 1}]"#)).contains("no track 1 that plays pitches"));
        assert!(refused(&band, json(r#"[{"tracks": 2, "drums": 2}]"#)).contains("no track 2 that plays drums"));
        let many = PatternSpec { takes: vec![track(1, 1, 1); 65], ..ask() };
        assert!(matches!(Builder::new(&band, &many, 0, 1), Err(GenerateError::Takes { .. })));
    }

    #[test]
    fn a_step_that_fails_can_be_tried_again() {
        let spec = PatternSpec { takes: vec![track(2, 0b110, 1)], ..ask() };
        let whole = built(&spec, 5);
        let mut fake = Fake::new(small_band());
        let mut builder = Builder::new(&fake, &spec, 0, 5).unwrap();
        while !builder.is_done() {
            fake.fails_at = Some(fake.n_calls);
            assert!(builder.step(&mut fake).is_err());
            fake.fails_at = None;
            builder.step(&mut fake).unwrap();
        }
        assert_eq!(parts(&builder.finish().unwrap()), whole);
    }
}
