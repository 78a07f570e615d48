//! The engine with networks that hash their inputs, and instances that are played by hand.

use super::*;
use crate::{
    generate::{
        Generator, Given, Lock, Manifest, ModelError, ModelId, Pattern, PatternSpec, Retake, Span, build as build_pattern,
        build::tests::{Fake, spec},
        generator::{Backend, GenerateError, PhraseInput},
        manifest::tests::{small_band, tiny},
    },
    music::{note::tests::note, time::Ticks},
};
use std::{sync::atomic::AtomicUsize, time::Instant};

/// Models: `tiny`, the default; `other`, of another id; `broken` fails at its third bar; `panics` panics there. `lost` fails after
/// twenty bars, `flaky` panics there, but not when they are loaded anew. `band` writes several tracks around what is given.
#[derive(Default)]
struct Provider {
    n_loads: Arc<AtomicUsize>,
    n_runs: Arc<AtomicUsize>,
}

struct Model {
    fake: Fake,
    panics_at: Option<usize>,
    n_runs: Arc<AtomicUsize>,
}

impl Generator for Model {
    fn manifest(&self) -> &Manifest {
        self.fake.manifest()
    }
    fn sha256(&self) -> &str {
        self.fake.sha256()
    }
    fn backend(&self) -> &Backend {
        self.fake.backend()
    }
    fn generate(&mut self, input: &PhraseInput) -> Result<Vec<f32>, GenerateError> {
        self.n_runs.fetch_add(1, Ordering::SeqCst);
        assert!(self.panics_at.is_none_or(|n| self.fake.n_calls < n), "as told");
        self.fake.generate(input)
    }
}

impl ModelProvider for Provider {
    fn default_model(&self) -> &str {
        "tiny"
    }

    fn load(&mut self, model: &str) -> Result<Box<dyn Generator>, ModelError> {
        let is_first = self.n_loads.fetch_add(1, Ordering::SeqCst) == 0;
        let mut manifest = if model == "band" { small_band() } else { tiny() };
        manifest.id = model.into();
        let mut model = Model { fake: Fake::new(manifest), panics_at: None, n_runs: Arc::clone(&self.n_runs) };
        match model.fake.manifest.id.as_str() {
            "tiny" | "other" | "band" => (),
            "broken" => model.fake.fails_at = Some(2),
            "panics" => model.panics_at = Some(2),
            "lost" => model.fake.fails_at = is_first.then_some(20),
            "flaky" => model.panics_at = is_first.then_some(20),
            _ => return Err(ModelError::NoManifest),
        }
        Ok(Box::new(model))
    }
}

/// An instance whose wishes the test changes; its key is a count of the changes.
#[derive(Clone)]
struct Hand(Arc<Mutex<Wanted>>, Arc<Mutex<(u64, Option<PatternSpec>)>>);

impl Hand {
    fn new(spec: PatternSpec) -> Self {
        let wanted = Wanted { key: 71, spec, model: String::new(), takeover: Takeover::BarLine, saved: None };
        Self(Arc::new(Mutex::new(wanted)), Arc::default())
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) -> u64 {
        let mut wanted = lock(&self.0);
        change(&mut wanted);
        wanted.key += 1;
        wanted.key
    }

    fn aim_at(&self, next: PatternSpec) {
        let mut aim = lock(&self.1);
        *aim = (aim.0 + 1, Some(next));
    }
}

impl PatternSource for Hand {
    fn wanted(&mut self) -> Wanted {
        lock(&self.0).clone()
    }

    fn aim(&mut self) -> u64 {
        lock(&self.1).0
    }

    fn next(&mut self) -> Option<PatternSpec> {
        lock(&self.1).1.clone()
    }
}

fn await_delivery(port: &Port) -> Delivery {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(delivery) = port.incoming.pop() {
            return *delivery;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nothing was delivered");
}

fn await_status(registration: &Registration, wanted: impl Fn(&Status) -> bool) -> Status {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        let status = registration.status();
        if wanted(&status) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the status stayed {:?}", registration.status());
}

/// What the engine tells from now on.
fn told(registration: &Registration) -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel();
    registration.listen(Some(Box::new(move || {
        // Nobody listens any more at the end of a test.
        let _ = tell.send(());
    })));
    told
}

fn play(port: &Port, bar: i64, key: u64) {
    port.set_playhead(Playhead { position: Ticks(bar * 1920), bar, playing: true, key, offline: false });
}

fn expected(model: &str, spec: &PatternSpec, first: u32, n: u32) -> Pattern {
    let mut manifest = tiny();
    manifest.id = model.into();
    build_pattern(&mut Fake::new(manifest), spec, first, n, |_| ()).unwrap()
}

fn n_bars(pattern: &Pattern) -> u32 {
    u32::try_from(pattern.roll.n_bars()).unwrap()
}

fn cells_of(pattern: &Pattern, first: u32, n: u32) -> &[i8] {
    let n_bar_cells = pattern.roll.cells().len() / pattern.roll.n_bars();
    let start = (first - pattern.first_bar) as usize;
    &pattern.roll.cells()[start * n_bar_cells..(start + n as usize) * n_bar_cells]
}

#[test]
fn a_finite_pattern_arrives_whole_and_once() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    let delivery = await_delivery(&port);
    assert_eq!(delivery.pattern, Pattern { key: 71, ..expected("tiny", &spec(), 0, 8) });
    play(&port, 3, 71);
    let status = await_status(&registration, |s| s.readiness == Readiness::Ready);
    assert_eq!((status.model.as_str(), status.error), ("tiny", None));
    assert_eq!(*status.pattern.unwrap(), delivery.pattern);
    // The seed changes while it plays: another pattern, under the new key.
    let key = hand.change(|w| w.spec.seed = 77);
    let next = await_delivery(&port);
    assert_eq!(next.pattern, Pattern { key, ..expected("tiny", &PatternSpec { seed: 77, ..spec() }, 0, 8) });
    play(&port, 4, key);
    std::thread::sleep(Duration::from_millis(60));
    assert!(port.incoming.is_empty());
}

#[test]
fn whoever_listens_hears_of_each_pattern_once_it_is_there() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    await_status(&registration, |s| s.readiness == Readiness::Ready);
    let told = told(&registration);
    for seed in [5, 6] {
        let key = hand.change(|w| w.spec.seed = seed);
        registration.nudge();
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        let status = registration.status();
        assert_eq!((status.readiness, status.pattern.unwrap().key), (Readiness::Ready, key));
    }
    assert!(told.try_recv().is_err());
}

#[test]
fn the_re_roll_that_is_aimed_at_is_made_ahead_while_somebody_watches() {
    let provider = Provider::default();
    let n_runs = Arc::clone(&provider.n_runs);
    let engine = Engine::start(Box::new(provider));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let rerolled = |take| {
        let takes = vec![Retake { tracks: Retake::ALL_TRACKS, bars: Retake::ALL_BARS, take }];
        PatternSpec { takes, ..spec() }
    };
    hand.aim_at(rerolled(1_001));
    let key = lock(&hand.0).key;
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    await_delivery(&port);
    play(&port, 3, key);
    // Nobody watches.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(n_runs.load(Ordering::SeqCst), 8);
    let told = told(&registration);
    let await_ahead = || {
        let start = Instant::now();
        while n_runs.load(Ordering::SeqCst) < 16 && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(n_runs.swap(8, Ordering::SeqCst), 16, "made ahead");
    };
    // The mouse was elsewhere before it came here.
    await_ahead();
    hand.aim_at(rerolled(1_000));
    await_ahead();
    hand.aim_at(rerolled(1_001));
    for take in 1_001..1_004 {
        await_ahead();
        assert!(port.incoming.is_empty() && told.try_recv().is_err(), "nobody has asked for it yet");
        let key = hand.change(|w| w.spec = rerolled(take));
        hand.aim_at(rerolled(take + 1));
        registration.nudge();
        assert_eq!(await_delivery(&port).pattern, Pattern { key, ..expected("tiny", &rerolled(take), 0, 8) });
        play(&port, 3, key);
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    // Something else is wanted: what was made ahead is of no use.
    let key = hand.change(|w| w.spec.seed = 32);
    let other = PatternSpec { seed: 32, ..rerolled(1_003) };
    assert_eq!(await_delivery(&port).pattern, Pattern { key, ..expected("tiny", &other, 0, 8) });
}

#[test]
fn what_is_locked_or_edited_is_there_without_an_inference() {
    let provider = Provider::default();
    let n_runs = Arc::clone(&provider.n_runs);
    let engine = Engine::start(Box::new(provider));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let _registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    await_delivery(&port);
    let before = n_runs.load(Ordering::SeqCst);
    let music = Given::from_notes(&tiny().layout(), &[(0, &[note(240, 360, 62), note(4100, 700, 65)])], 8).0;
    let lock = |bars| Lock { after: 0, music: music.clone().kept(1, bars) };
    for locks in [vec![lock(0b10)], vec![lock(0b10), lock(0b110)]] {
        let key = hand.change(|w| w.spec.locks.clone_from(&locks));
        let next = await_delivery(&port).pattern;
        assert_eq!(next, Pattern { key, ..expected("tiny", &PatternSpec { locks, ..spec() }, 0, 8) });
    }
    // What is given back is as in the pattern before the lock.
    let key = hand.change(|w| w.spec.locks = vec![lock(0b100)]);
    let next = await_delivery(&port).pattern;
    assert_eq!(next, Pattern { key, ..expected("tiny", &PatternSpec { locks: vec![lock(0b100)], ..spec() }, 0, 8) });
    assert_eq!(n_runs.load(Ordering::SeqCst), before);
    // Where that is not known any more, it is written again.
    let saved = PatternSpec { locks: vec![lock(0b10)], seed: 32, ..spec() };
    let saved = Arc::new(Pattern { key: 0, ..expected("tiny", &saved, 0, 8) });
    hand.change(|w| (w.spec, w.saved) = (saved.spec.clone(), Some(Arc::clone(&saved))));
    await_delivery(&port);
    let spec = PatternSpec { seed: 32, ..spec() };
    let key = hand.change(|w| w.spec = spec.clone());
    assert_eq!(await_delivery(&port).pattern, Pattern { key, ..expected("tiny", &spec, 0, 8) });
    assert_eq!(n_runs.load(Ordering::SeqCst), before + 8);
}

#[test]
fn the_last_patterns_come_back_without_an_inference() {
    let provider = Provider::default();
    let n_runs = Arc::clone(&provider.n_runs);
    let engine = Engine::start(Box::new(provider));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let _registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    await_delivery(&port);
    let mut ask = |seed| {
        let before = n_runs.load(Ordering::SeqCst);
        let key = hand.change(|w| w.spec.seed = seed);
        let pattern = await_delivery(&port).pattern;
        assert_eq!(pattern, Pattern { key, ..expected("tiny", &PatternSpec { seed, ..spec() }, 0, 8) });
        n_runs.load(Ordering::SeqCst) - before
    };
    assert_eq!((100..107).map(&mut ask).sum::<usize>(), 7 * 8);
    assert_eq!(ask(31) + ask(106) + ask(100), 0);
    // Eight are kept: the one that was there longest ago is not.
    assert_eq!((ask(107), ask(101), ask(31)), (8, 8, 0));
    // Another model's are others.
    hand.change(|w| w.model = "other".into());
    assert_ne!(await_delivery(&port).pattern.model.id, "tiny");
}

#[test]
fn a_retake_is_written_over_what_is_there() {
    let provider = Provider::default();
    let n_runs = Arc::clone(&provider.n_runs);
    let engine = Engine::start(Box::new(provider));
    let band = Manifest { id: "band".into(), ..small_band() };
    // One chain, or, without end, those that are ready and more.
    for (span, n_phrases) in [(Span::Bars(6), 3), (Span::Endless, 9)] {
        let mut wanted = PatternSpec { primer: vec![], span, ..spec() };
        let (port, hand) = (Arc::new(Port::new()), Hand::new(wanted.clone()));
        hand.change(|w| (w.model, w.spec) = ("band".into(), wanted.clone()));
        let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
        for take in 1..5 {
            await_status(&registration, |s| {
                s.readiness == Readiness::Ready && s.pattern.as_ref().is_some_and(|p| n_bars(p) >= 2 * n_phrases)
            });
            while port.incoming.pop().is_some() {}
            let before = n_runs.load(Ordering::SeqCst);
            wanted.takes.push(Retake { tracks: 0b10, bars: Retake::ALL_BARS, take });
            let key = hand.change(|w| w.spec.takes.clone_from(&wanted.takes));
            let mut delivered = await_delivery(&port).pattern;
            while n_bars(&delivered) < 2 * n_phrases {
                delivered = await_delivery(&port).pattern;
            }
            let whole = build_pattern(&mut Fake::new(band.clone()), &wanted, 0, 2 * n_phrases, |_| ()).unwrap();
            assert_eq!((delivered.key, &delivered.roll), (key, &whole.roll), "{span:?}, take {take}");
            assert_eq!(n_runs.load(Ordering::SeqCst) - before, n_phrases as usize, "{span:?}, take {take}");
        }
    }
}

#[test]
fn an_endless_pattern_stays_ahead_of_the_playhead() {
    let engine = Engine::start(Box::new(Provider::default()));
    let endless = PatternSpec { span: Span::Endless, ..spec() };
    let (port, hand) = (Arc::new(Port::new()), Hand::new(endless.clone()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand));
    let whole = expected("tiny", &endless, 0, 60);
    let mut current = await_delivery(&port).pattern;
    for bar in 0..40_u32 {
        play(&port, i64::from(bar), 71);
        // Two chains of three bars are there beyond the one that plays.
        let until = (bar / 3 + 3) * 3;
        while current.first_bar + n_bars(&current) < until {
            current = await_delivery(&port).pattern;
        }
        let (first, n) = (current.first_bar, n_bars(&current));
        assert!(first <= bar, "what was played is kept for loops");
        assert_eq!(current.roll.cells(), cells_of(&whole, first, n), "bar {bar}");
    }
    // A jump far away, then back: what was there is delivered again.
    play(&port, 901, 71);
    while current.first_bar < 300 {
        current = await_delivery(&port).pattern;
    }
    assert_eq!(cells_of(&current, 900, 3), expected("tiny", &endless, 900, 3).roll.cells());
    let status = await_status(&registration, |s| s.readiness == Readiness::Ready);
    assert_eq!(status.error, None);
    play(&port, 5, 71);
    while current.first_bar > 5 {
        current = await_delivery(&port).pattern;
    }
    assert_eq!(cells_of(&current, 0, 6), cells_of(&whole, 0, 6));
}

#[test]
fn after_a_jump_the_music_is_there_before_its_chain_is_whole() {
    let endless = PatternSpec { span: Span::Endless, ..spec() };
    let mut manifest = tiny();
    manifest.chain_bars = 8;
    let mut fake = Fake::new(manifest);
    let whole = build_pattern(&mut fake, &endless, 96, 8, |_| ()).unwrap();
    let wanted = Wanted { key: 71, spec: endless.clone(), model: String::new(), takeover: Takeover::BarLine, saved: None };
    let mut job = job::Job::new(wanted, endless, &fake);
    // The third bar of the chain that begins with bar 96 plays.
    let playhead = Playhead { bar: 98, playing: true, ..Playhead::default() };
    let mut sizes = Vec::new();
    for _ in 0..8 {
        let (unit, need) = job.next(playhead, true).unwrap();
        assert_eq!((unit, need), (12, job::Need::In(0)));
        job.step(unit, &mut fake).unwrap();
        if let Some(pattern) = job.delivery(playhead, None) {
            assert_eq!((pattern.key, pattern.first_bar), (71, 96));
            assert_eq!(pattern.roll.cells(), cells_of(&whole, 96, n_bars(&pattern)));
            sizes.push(n_bars(&pattern));
        }
        assert_eq!(job.delivery(playhead, None).map(|p| p.first_bar), None, "nothing is delivered twice");
    }
    assert_eq!(sizes, [4, 5, 6, 7, 8]);
    assert_eq!(job.readiness(playhead), Readiness::Ready);
}

#[test]
fn the_beginning_of_an_endless_song_is_made_in_reserve() {
    let endless = PatternSpec { span: Span::Endless, ..spec() };
    let mut fake = Fake::new(tiny());
    let wanted = Wanted { key: 71, spec: endless.clone(), model: String::new(), takeover: Takeover::BarLine, saved: None };
    let mut job = job::Job::new(wanted, endless.clone(), &fake);
    let mut delivered = Vec::new();
    let mut made = Vec::new();
    let mut run = |job: &mut job::Job, bar, settled| {
        let playhead = Playhead { bar, playing: true, ..Playhead::default() };
        while let Some((unit, need)) = job.next(playhead, settled) {
            job.step(unit, &mut fake).unwrap();
            made.push((unit, need));
            delivered.extend(job.delivery(playhead, None));
        }
        delivered.extend(job.delivery(playhead, None));
        (std::mem::take(&mut made), std::mem::take(&mut delivered))
    };
    // New settings: what is needed and no more.
    let (made, delivered) = run(&mut job, 30, false);
    assert!(made.iter().all(|(unit, need)| (10..13).contains(unit) && *need != job::Need::Reserve), "{made:?}");
    assert_eq!(n_bars(delivered.last().unwrap()), 9);
    // Then the first 256 bars, in chains of three, what is near first, handed over as a whole.
    let (made, delivered) = run(&mut job, 30, true);
    let mut units: Vec<u32> = made.iter().filter(|(_, need)| *need == job::Need::Reserve).map(|(unit, _)| *unit).collect();
    assert_eq!(units.len(), made.len());
    assert!([9, 13].contains(&units[0]) && units.last() == Some(&85), "{units:?}");
    units.dedup();
    units.sort_unstable();
    assert!(units.iter().copied().eq((0..10).chain(13..86)), "{units:?}");
    let [whole] = &delivered[..] else { panic!("{} deliveries", delivered.len()) };
    assert_eq!((whole.first_bar, n_bars(whole)), (0, 258));
    for first in [0, 128] {
        assert_eq!(cells_of(whole, first, 128), expected("tiny", &endless, first, 128).roll.cells());
    }
    assert_eq!(Arc::strong_count(whole.roll.shared_cells()), 1 + 86, "what is kept of it lies in it");
    // Far away nothing of it is forgotten, and it is not made again.
    for bar in (3_000..3_300).step_by(3) {
        let (made, _) = run(&mut job, bar, true);
        assert!(made.iter().all(|(unit, _)| *unit >= 1_000), "{made:?}");
    }
    let (made, delivered) = run(&mut job, 200, true);
    assert!(made.is_empty());
    assert_eq!((delivered[0].first_bar, delivered[0].roll.clone()), (0, whole.roll.clone()));
}

#[test]
fn a_refused_model_is_reported_and_the_default_plays() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    hand.change(|w| w.model = "missing".into());
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    assert_eq!(await_delivery(&port).pattern.model.id, "tiny");
    let status = await_status(&registration, |s| s.readiness == Readiness::Ready);
    assert!(status.error.unwrap().contains("`tiny` plays instead"));
    // Another model that exists clears it.
    hand.change(|w| w.model = "other".into());
    assert_eq!(await_delivery(&port).pattern.model.id, "other");
    assert_eq!(await_status(&registration, |s| s.readiness == Readiness::Ready).error, None);
}

#[test]
fn a_model_that_fails_while_running_is_replaced_by_the_default() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    hand.change(|w| w.model = "broken".into());
    let registration = engine.register(Arc::clone(&port), Box::new(hand));
    assert_eq!(await_delivery(&port).pattern.model.id, "tiny");
    let status = await_status(&registration, |s| s.readiness == Readiness::Ready);
    assert!(status.error.unwrap().contains("as told"));
}

#[test]
fn a_panic_in_a_network_is_contained_and_others_go_on() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (bad_port, bad) = (Arc::new(Port::new()), Hand::new(spec()));
    bad.change(|w| w.model = "panics".into());
    let broken = engine.register(Arc::clone(&bad_port), Box::new(bad.clone()));
    let status = await_status(&broken, |s| s.readiness == Readiness::Failed);
    assert!(status.error.unwrap().contains("panicked"));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let _good = engine.register(Arc::clone(&port), Box::new(hand));
    assert_eq!(await_delivery(&port).pattern.model.id, "tiny");
    // And the one that panicked plays again as soon as it wants something else.
    bad.change(|w| w.model = String::new());
    assert_eq!(await_delivery(&bad_port).pattern.model.id, "tiny");
}

/// Plays to a bar; yields the pattern that plays there and checks it.
fn play_through(port: &Port, model: &str, until: u32) {
    let endless = PatternSpec { span: Span::Endless, ..spec() };
    let whole = expected(model, &endless, 0, until + 12);
    let mut current = await_delivery(port).pattern;
    for bar in 0..until {
        play(port, i64::from(bar), current.key);
        while current.first_bar + n_bars(&current) < (bar / 3 + 3) * 3 {
            current = await_delivery(port).pattern;
        }
        assert_eq!(current.roll.cells(), cells_of(&whole, current.first_bar, n_bars(&current)), "bar {bar}");
    }
}

#[test]
fn a_provider_lost_while_playing_is_replaced_by_loading_the_model_anew() {
    for model in ["lost", "flaky"] {
        let provider = Provider::default();
        let n_loads = Arc::clone(&provider.n_loads);
        let engine = Engine::start(Box::new(provider));
        let (port, hand) = (Arc::new(Port::new()), Hand::new(PatternSpec { span: Span::Endless, ..spec() }));
        hand.change(|w| w.model = model.into());
        let registration = engine.register(Arc::clone(&port), Box::new(hand));
        play_through(&port, model, 40);
        assert_eq!(n_loads.load(Ordering::SeqCst), 2, "{model}");
        if model == "lost" {
            let status = registration.status();
            assert_eq!(status.model, "lost");
            assert!(status.error.unwrap().contains("loaded anew"));
        }
    }
}

#[test]
fn instances_that_share_a_model_all_outlive_its_failure() {
    for model in ["lost", "flaky"] {
        let engine = Engine::start(Box::new(Provider::default()));
        let ports: Vec<Arc<Port>> = (0..4).map(|_| Arc::new(Port::new())).collect();
        let registrations: Vec<Registration> = ports
            .iter()
            .map(|port| {
                let hand = Hand::new(PatternSpec { span: Span::Endless, ..spec() });
                hand.change(|w| w.model = model.into());
                engine.register(Arc::clone(port), Box::new(hand))
            })
            .collect();
        std::thread::scope(|scope| {
            for port in &ports {
                scope.spawn(|| play_through(port, model, 30));
            }
        });
        assert!(registrations.iter().all(|r| r.status().model == model));
    }
}

#[test]
fn a_default_model_that_fails_for_good_is_tried_again_but_not_all_the_time() {
    struct Hopeless(Provider);
    impl ModelProvider for Hopeless {
        fn default_model(&self) -> &str {
            "broken"
        }
        fn load(&mut self, model: &str) -> Result<Box<dyn Generator>, ModelError> {
            self.0.load(model)
        }
    }
    let provider = Provider::default();
    let n_loads = Arc::clone(&provider.n_loads);
    let engine = Engine::start(Box::new(Hopeless(provider)));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    let status = await_status(&registration, |s| s.readiness == Readiness::Failed);
    assert!(status.error.unwrap().contains("as told"));
    // Loaded twice at once; then it waits a second between two attempts.
    let start = Instant::now();
    while n_loads.load(Ordering::SeqCst) < 3 {
        assert!(start.elapsed() < Duration::from_secs(20), "it was given up");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(n_loads.load(Ordering::SeqCst) <= 4);
    told(&registration).recv_timeout(Duration::from_secs(20)).expect("the next failure is told");
    hand.change(|w| w.model = "other".into());
    assert_eq!(await_delivery(&port).pattern.model.id, "other");
}

#[test]
fn a_hundred_instances_come_and_go_across_threads_while_others_play() {
    const N_THREADS: u64 = 4;
    let (n_instances, n_bars) = if cfg!(miri) { (4, 3) } else { (100, 60) };
    let engine = Engine::start(Box::new(Provider::default()));
    let shared = Arc::downgrade(&engine.shared);
    let (playing_port, hand) = (Arc::new(Port::new()), Hand::new(PatternSpec { span: Span::Endless, ..spec() }));
    let playing = engine.register(Arc::clone(&playing_port), Box::new(hand));
    std::thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let engine = Arc::clone(&engine);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                let mut alive: Vec<(Arc<Port>, u32, Registration)> = Vec::new();
                for n in 0..n_instances / N_THREADS {
                    let seed = u32::try_from(thread * 1000 + n).unwrap();
                    let port = Arc::new(Port::new());
                    let hand = Hand::new(PatternSpec { seed, ..spec() });
                    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
                    if rng.u8(..100) < 30 {
                        hand.change(|w| w.model = "panics".into());
                        hand.change(|w| w.model = String::new());
                    }
                    alive.push((port, seed, registration));
                    while !alive.is_empty() && (alive.len() > 5 || rng.u8(..100) < 30) {
                        // Some go before they were ever served.
                        let at = rng.usize(..alive.len());
                        let (port, seed, _registration) = alive.swap_remove(at);
                        if rng.u8(..100) < 50 {
                            assert_eq!(await_delivery(&port).pattern.spec.seed, seed);
                        }
                    }
                }
            });
        }
        scope.spawn(|| play_through(&playing_port, "tiny", n_bars));
    });
    assert_eq!(playing.status().error, None);
    drop(engine);
    drop(playing);
    assert!(shared.upgrade().is_none(), "the worker has ended");
    assert_eq!(Arc::strong_count(&playing_port), 1);
}

#[test]
fn what_the_project_saved_plays_as_it_was_without_an_inference() {
    let provider = Provider::default();
    let n_runs = Arc::clone(&provider.n_runs);
    let engine = Engine::start(Box::new(provider));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    // Of another version of the model: other cells than this one would yield.
    let mut saved = expected("tiny", &PatternSpec { seed: 1, ..spec() }, 0, 8);
    saved.spec = spec();
    saved.model = ModelId { id: "tiny".into(), sha256: "older".into() };
    let key = hand.change(|w| w.saved = Some(Arc::new(saved.clone())));
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    assert_eq!(await_delivery(&port).pattern, Pattern { key, ..saved.clone() });
    play(&port, 0, key);
    let status = await_status(&registration, |s| !s.model.is_empty());
    assert!(status.from_project && status.readiness == Readiness::Ready);
    assert_eq!(n_runs.load(Ordering::SeqCst), 0);
    // What does not fit is made anew.
    let key = hand.change(|w| w.spec.take = 9);
    let delivery = await_delivery(&port);
    assert_eq!(delivery.pattern, Pattern { key, ..expected("tiny", &PatternSpec { take: 9, ..spec() }, 0, 8) });
    assert!(!registration.status().from_project);
    hand.change(|w| w.model = "other".into());
    assert_eq!(await_delivery(&port).pattern.model.id, "other");
}

#[test]
fn a_live_chord_is_heard_before_the_whole_pattern_is_there() {
    let long = PatternSpec { span: Span::Bars(31), progression: "C".parse().unwrap(), ..spec() };
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(long.clone()));
    let _registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    let before = await_delivery(&port).pattern;
    play(&port, 31 + 13, 71);
    let minor = PatternSpec { progression: "Am".parse().unwrap(), ..long.clone() };
    let key = hand.change(|w| {
        w.spec = minor.clone();
        w.takeover = Takeover::NextStep;
    });
    let patched = await_delivery(&port);
    let whole = expected("tiny", &minor, 0, 31);
    assert_eq!((patched.pattern.key, patched.takeover), (key, Takeover::NextStep));
    // The chain of bar 13 is new, the others are as before.
    assert_eq!(cells_of(&patched.pattern, 12, 3), cells_of(&whole, 12, 3));
    assert_eq!(cells_of(&patched.pattern, 0, 12), cells_of(&before, 0, 12));
    assert_eq!(cells_of(&patched.pattern, 15, 16), cells_of(&before, 15, 16));
    assert_eq!(await_delivery(&port).pattern, Pattern { key, ..whole });
}

#[test]
fn what_another_model_takes_is_left_out_and_reported() {
    let engine = Engine::start(Box::new(Provider::default()));
    let given = Given::from_notes(&tiny().layout(), &[(0, &[])], 2).0;
    let bar = Retake { tracks: 1, bars: 4, take: 3 };
    let foreign = PatternSpec { primer: vec![36; 16], given, takes: vec![bar], ..spec() };
    let (port, hand) = (Arc::new(Port::new()), Hand::new(foreign.clone()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand));
    let pattern = await_delivery(&port).pattern;
    let without = expected("tiny", &PatternSpec { primer: vec![], ..spec() }, 0, 8);
    assert_eq!(pattern.roll, without.roll);
    assert_eq!(pattern.spec, foreign);
    let status = await_status(&registration, |s| s.readiness == Readiness::Ready);
    assert!(status.error.unwrap().contains("primer"));
}

#[test]
fn a_player_made_anew_is_given_its_pattern_again() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let _registration = engine.register(Arc::clone(&port), Box::new(hand));
    let first = await_delivery(&port).pattern;
    play(&port, 0, first.key);
    std::thread::sleep(Duration::from_millis(100));
    assert!(port.incoming.is_empty());
    play(&port, 0, 0);
    assert_eq!(await_delivery(&port).pattern, first);
}

#[test]
fn a_player_that_does_not_run_finds_the_newest_pattern_in_the_end() {
    let engine = Engine::start(Box::new(Provider::default()));
    let (port, hand) = (Arc::new(Port::new()), Hand::new(spec()));
    let registration = engine.register(Arc::clone(&port), Box::new(hand.clone()));
    let mut key = 71;
    for seed in 0..20 {
        await_status(&registration, |s| s.pattern.as_ref().is_some_and(|p| p.key == key));
        key = hand.change(|w| w.spec.seed = seed);
    }
    await_status(&registration, |s| s.pattern.as_ref().is_some_and(|p| p.key == key));
    while await_delivery(&port).pattern.key != key {}
}

#[test]
fn instances_share_a_model_and_the_last_one_ends_the_worker() {
    let provider = Provider::default();
    let n_loads = Arc::clone(&provider.n_loads);
    let engine = Engine::start(Box::new(provider));
    let shared = Arc::downgrade(&engine.shared);
    let ports: Vec<Arc<Port>> = (0..5).map(|_| Arc::new(Port::new())).collect();
    let registrations: Vec<Registration> = ports
        .iter()
        .zip(40..)
        .map(|(port, seed)| engine.register(Arc::clone(port), Box::new(Hand::new(PatternSpec { seed, ..spec() }))))
        .collect();
    drop(engine);
    for (port, seed) in ports.iter().zip(40..) {
        assert_eq!(await_delivery(port).pattern.spec.seed, seed);
    }
    assert_eq!(n_loads.load(Ordering::SeqCst), 1);
    for registration in registrations {
        assert!(shared.upgrade().is_some());
        drop(registration);
    }
    assert!(shared.upgrade().is_none());
    assert!(ports.iter().all(|port| Arc::strong_count(port) == 1));
}

#[test]
fn an_offline_render_then_what_plays_comes_first() {
    let engine = Engine::start(Box::new(Provider::default()));
    let idle: Vec<Arc<Port>> = (0..3).map(|_| Arc::new(Port::new())).collect();
    let long = PatternSpec { span: Span::Bars(32), ..spec() };
    let _idle: Vec<Registration> =
        idle.iter().map(|p| engine.register(Arc::clone(p), Box::new(Hand::new(long.clone())))).collect();
    let port = Arc::new(Port::new());
    port.set_playhead(Playhead { playing: true, offline: true, ..Playhead::default() });
    let _urgent = engine.register(Arc::clone(&port), Box::new(Hand::new(spec())));
    assert_eq!(await_delivery(&port).pattern.roll.n_bars(), 8);
    for port in idle {
        assert_eq!(await_delivery(&port).pattern.roll.n_bars(), 32);
    }
}

#[test]
fn one_engine_serves_the_process() {
    let first = Engine::global(|| Box::new(Provider::default()));
    let second = Engine::global(|| panic!("there is one already"));
    assert!(Arc::ptr_eq(&first, &second));
}
