//! Building patterns: phrase after phrase, chain after chain. Pure; worker thread and command line.

use super::{
    generator::{GenerateError, Generator},
    input::phrase_input,
    manifest::{Encoding, Manifest},
    pattern::{MAX_PATTERN_BARS, ModelId, Pattern, PatternSpec, structure_key},
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
/// sees the greedy decoding of the bar before it. So any bar is reached by at most one chain's inferences, and what it holds
/// does not depend on which bars are asked for.
#[derive(Debug)]
pub struct Builder {
    spec: PatternSpec,
    model: ModelId,
    temperature_factor: f32,
    chained: bool,
    first_bar: u32,
    n_bars: u32,
    phrase_bars: u32,
    chain_bars: u32,
    /// First bar of the next phrase.
    next_bar: u32,
    layout: RollLayout,
    cells: Vec<i8>,
    previous: Vec<u16>,
}

impl Builder {
    /// Starts a pattern of the bars `first_bar .. first_bar + n_bars`.
    ///
    /// # Errors
    /// [`GenerateError::Length`] for no bars or too many, [`GenerateError::Primer`] for a primer of another model.
    pub fn new(generator: &dyn Generator, spec: &PatternSpec, first_bar: u32, n_bars: u32) -> Result<Self, GenerateError> {
        let manifest = generator.manifest();
        if !(1..=MAX_BUILD_BARS).contains(&n_bars) || first_bar.checked_add(n_bars).is_none() {
            return Err(GenerateError::Length { n_bars, max: MAX_BUILD_BARS });
        }
        check_primer(manifest, &spec.primer)?;
        let chain_bars = manifest.chain_bars.max(1);
        let chained = manifest.conditions.iter().any(|c| c.encoding == Encoding::States);
        // Without a look at the bar before, a phrase needs nothing of its chain.
        let unit = if chained { chain_bars } else { manifest.n_bars.max(1) };
        Ok(Self {
            spec: spec.clone(),
            model: ModelId { id: manifest.id.clone(), sha256: generator.sha256().into() },
            temperature_factor: manifest.calibration.temperature,
            chained,
            first_bar,
            n_bars,
            phrase_bars: manifest.n_bars.max(1),
            chain_bars,
            next_bar: first_bar - first_bar % unit,
            layout: manifest.layout(),
            cells: Vec::new(),
            previous: Vec::new(),
        })
    }

    /// Bars ready, of those asked for.
    #[must_use]
    pub fn n_ready(&self) -> u32 {
        self.next_bar.saturating_sub(self.first_bar).min(self.n_bars)
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
        if self.chained && self.next_bar.is_multiple_of(self.chain_bars) {
            self.previous.clone_from(&self.spec.primer);
        }
        let input = phrase_input(generator.manifest(), &self.spec, self.next_bar, &self.previous);
        let logits = generator.generate(&input)?;
        let n_bars = usize::try_from(self.phrase_bars).unwrap_or(1);
        let roll = LogitRoll::from_logits(self.layout.clone(), n_bars, &logits)
            .map_err(|source| GenerateError::Roll { model: self.model.id.clone(), source })?;
        let n_bar_cells = roll.cells().len() / n_bars;
        if self.chained {
            // What the network itself meant, never the live decoding: automation cannot change what follows.
            self.previous = greedy(&self.layout, roll.cells().get((n_bars - 1) * n_bar_cells..).unwrap_or(&[]));
        }
        let wanted = self.first_bar..self.first_bar + self.n_bars;
        for (bar, cells) in (self.next_bar..).zip(roll.cells().chunks_exact(n_bar_cells.max(1))) {
            if wanted.contains(&bar) {
                self.cells.extend_from_slice(cells);
            }
        }
        self.next_bar += self.phrase_bars;
        Ok(())
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
        generator::{Backend, PhraseInput},
        manifest::tests::tiny,
        pattern::Span,
    };

    /// A network for tests: its logits are a hash of all its inputs, so that any difference in them shows.
    pub(crate) struct Fake {
        pub manifest: Manifest,
        pub backend: Backend,
        pub n_calls: usize,
        /// Fails from this call on.
        pub fails_at: Option<usize>,
    }

    impl Fake {
        pub(crate) fn new(manifest: Manifest) -> Self {
            Self { manifest, backend: Backend::default(), n_calls: 0, fails_at: None }
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
}
