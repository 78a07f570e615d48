//! The worker: one thread per process, which polls every instance, runs the networks, and hands out patterns. It serves the
//! instance whose bar sounds soonest, one inference at a time.

use super::{
    Common,
    job::{Job, Need, fits_saved},
    lock,
    port::{Delivery, Playhead, Port},
    source::{PatternSource, Readiness, Status, Wanted},
};
use crate::generate::{GenerateError, Generator, Given, ModelProvider, Pattern, Span};
use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Pause between two looks while something plays.
const POLL_PLAYING: Duration = Duration::from_millis(2);
/// Pause between two looks while nothing does.
const POLL_IDLE: Duration = Duration::from_millis(20);
/// Patterns kept, so that undo and the last takes need no inference; of the band's longest each takes 0.3 MB.
const KEPT: usize = 8;
/// What is to be wanted perhaps is made once nothing has changed for so long: a hand on a knob, or a mouse on its way, goes on sooner.
const REST: Duration = Duration::from_millis(100);
/// Pause after a failure, so that one that lasts does not keep a core busy.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A player that has taken all it was given and does not play it was made anew: after this long it is given it again.
const RESEND: Duration = Duration::from_millis(500);

/// What the engine's handle and the worker share.
pub(super) struct Shared {
    /// Instances that the worker has not taken in yet.
    pub joining: Mutex<Vec<Instance>>,
    pub stop: AtomicBool,
}

/// What an instance will perhaps want next.
#[derive(Default)]
struct Ahead {
    /// Its source's name for it.
    aim: u64,
    /// Since when that is so; none before the first look.
    since: Option<Instant>,
    /// Where it has begun: the job, or none where there is nothing to make.
    job: Option<Option<Job>>,
}

impl Ahead {
    fn new(aim: u64) -> Self {
        Self { aim, since: Some(Instant::now()), job: None }
    }

    /// Whether an inference towards it is to be made, or it is to begin.
    fn is_missing(&self, playhead: Playhead) -> bool {
        let is_at_rest = self.since.is_some_and(|since| since.elapsed() >= REST);
        is_at_rest && self.job.as_ref().is_none_or(|job| job.as_ref().is_some_and(|job| job.next(playhead, false).is_some()))
    }
}

/// An instance, as the worker keeps it.
pub(super) struct Instance {
    source: Box<dyn PatternSource>,
    port: Arc<Port>,
    common: Arc<Common>,
    key: Option<u64>,
    /// What is wanted and has no job yet.
    fresh: Option<Wanted>,
    job: Option<Job>,
    ahead: Ahead,
    /// Name under which the job's model is loaded.
    model: String,
    pending: Option<Box<Delivery>>,
    last: Option<(Arc<Pattern>, Instant)>,
    /// The last patterns that were there as a whole, the latest first.
    whole: VecDeque<Arc<Pattern>>,
    /// After a failure: not before then again.
    rest_until: Option<Instant>,
    /// Why another model than the one asked for plays, or why it was loaded anew.
    fallback: Option<String>,
    /// The model was loaded anew for the current wish after an error.
    has_reloaded: bool,
    served: u64,
}

impl Instance {
    pub fn new(source: Box<dyn PatternSource>, port: Arc<Port>, common: Arc<Common>) -> Self {
        Self {
            source,
            port,
            common,
            key: None,
            fresh: None,
            job: None,
            ahead: Ahead::default(),
            model: String::new(),
            pending: None,
            last: None,
            whole: VecDeque::new(),
            rest_until: None,
            fallback: None,
            has_reloaded: false,
            served: 0,
        }
    }

    fn tell(&self, change: impl FnOnce(&mut Status)) {
        change(&mut lock(&self.common.status));
    }

    /// Has whoever listens look at the status.
    fn call(&self) {
        if let Some(listener) = &*lock(&self.common.listener) {
            listener();
        }
    }

    /// Looks for a change, and takes back what the player is done with.
    fn poll(&mut self) {
        while self.port.retired.pop().is_some() {}
        // Without a key it has just failed: then only time makes it look again.
        let is_resting = self.key.is_none() && self.rest_until.is_some_and(|until| Instant::now() < until);
        if is_resting {
            return;
        }
        let aim = self.source.aim();
        if self.key == Some(self.source.key()) {
            if self.ahead.aim != aim {
                self.ahead = Ahead::new(aim);
            }
            return;
        }
        let wanted = self.source.wanted();
        self.key = Some(wanted.key);
        self.job = None;
        self.rest_until = None;
        self.fallback = None;
        self.has_reloaded = false;
        self.pending = None;
        self.tell(|status| {
            status.readiness = Readiness::Waiting;
            status.from_project = false;
            status.n_rejected = 0;
        });
        if let Some(saved) = wanted.saved.as_ref().filter(|saved| fits_saved(saved, &wanted)) {
            let pattern = Pattern { key: wanted.key, ..Pattern::clone(saved) };
            self.deliver(pattern, &wanted);
            self.keep();
            self.tell(|status| {
                status.readiness = Readiness::Ready;
                status.from_project = true;
            });
            self.call();
        }
        self.fresh = Some(wanted);
    }

    fn deliver(&mut self, pattern: Pattern, wanted: &Wanted) {
        let shown = Arc::new(pattern.clone());
        self.tell(|status| status.pattern = Some(Arc::clone(&shown)));
        self.last = Some((shown, Instant::now()));
        self.pending = Some(Box::new(Delivery { pattern, takeover: wanted.takeover }));
        self.flush();
    }

    /// Keeps what was handed out last, a whole pattern. Of endless ones, which may be large, only the latest stays.
    fn keep(&mut self) {
        if let Some((pattern, _)) = &self.last {
            self.whole.retain(|other| other.spec.span != Span::Endless && other.spec != pattern.spec);
            self.whole.push_front(Arc::clone(pattern));
            self.whole.truncate(KEPT);
        }
    }

    /// Whether something with this key was handed out last.
    fn plays(&self, key: u64) -> bool {
        self.last.as_ref().is_some_and(|(pattern, _)| pattern.key == key)
    }

    /// Hands over what waits. A full queue keeps it: the player does not run.
    fn flush(&mut self) {
        if let Some(delivery) = self.pending.take() {
            self.pending = self.port.incoming.push(delivery).err();
        }
    }

    fn resend(&mut self, playhead: Playhead, takeover: super::port::Takeover) {
        let is_idle = self.pending.is_none() && self.port.incoming.is_empty();
        if let Some((pattern, at)) = &mut self.last
            && is_idle
            && playhead.key != pattern.key
            && self.key == Some(pattern.key)
            && at.elapsed() > RESEND
        {
            *at = Instant::now();
            self.pending = Some(Box::new(Delivery { pattern: Pattern::clone(pattern), takeover }));
            self.flush();
        }
    }

    /// How urgent its next inference is; smaller is sooner. `None` when nothing is missing.
    fn urgency(&self, playhead: Playhead, now: Instant) -> Option<(u8, Need, u64)> {
        if self.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        let need = match &self.fresh {
            // Only the model is to be loaded: the project's pattern plays.
            Some(wanted) if self.plays(wanted.key) => Need::In(u32::MAX),
            Some(_) => Need::In(0),
            None => match self.job.as_ref().and_then(|job| job.next(playhead, job.is_settled())) {
                Some((_, need)) => need,
                None if self.ahead.is_missing(playhead) && lock(&self.common.listener).is_some() => Need::Reserve,
                None => return None,
            },
        };
        let class = match need {
            Need::Reserve => 3,
            // An offline render may be waiting inside `process`.
            Need::In(_) if playhead.offline => 0,
            Need::In(_) => u8::from(!playhead.playing) + 1,
        };
        Some((class, need, self.served))
    }
}

/// A network in memory, shared by all instances.
struct Loaded {
    generator: Box<dyn Generator>,
    n_runs: u32,
    total: Duration,
}

/// The worker's own state.
pub(super) struct Worker {
    shared: Arc<Shared>,
    provider: Box<dyn ModelProvider>,
    instances: Vec<Instance>,
    models: HashMap<String, Loaded>,
    n_served: u64,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, provider: Box<dyn ModelProvider>) -> Self {
        Self { shared, provider, instances: Vec::new(), models: HashMap::new(), n_served: 0 }
    }

    /// Runs until the engine stops it.
    pub fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.turn() {
                Some(pause) => std::thread::park_timeout(pause),
                // Work remains: whoever waits for this core comes first all the same.
                None => std::thread::yield_now(),
            }
        }
    }

    /// Polls everybody and serves one. Yields the pause until the next turn, or `None` when work remains.
    fn turn(&mut self) -> Option<Duration> {
        let mut joining = lock(&self.shared.joining);
        self.instances.append(&mut joining);
        drop(joining);
        self.instances.retain(|instance| !instance.common.gone.load(Ordering::Acquire));
        let now = Instant::now();
        let mut best = None;
        let mut is_playing = false;
        for (idx, instance) in self.instances.iter_mut().enumerate() {
            let playhead = instance.port.playhead();
            is_playing |= playhead.playing || playhead.offline;
            let looked = catch_unwind(AssertUnwindSafe(|| {
                instance.poll();
                instance.flush();
                let urgency = instance.urgency(playhead, now);
                hand_out(instance, playhead);
                urgency
            }));
            match looked {
                Ok(Some(urgency)) if best.is_none_or(|(least, _)| urgency < least) => best = Some((urgency, idx)),
                Ok(_) => (),
                Err(_) => fail(instance, "the worker panicked while looking at this instance".into()),
            }
        }
        let Some((_, idx)) = best else {
            return Some(if is_playing { POLL_PLAYING } else { POLL_IDLE });
        };
        self.serve(idx);
        None
    }

    /// One step for one instance: loading its model, or one inference.
    fn serve(&mut self, idx: usize) {
        self.n_served += 1;
        let Some(instance) = self.instances.get_mut(idx) else { return };
        instance.served = self.n_served;
        let (models, provider) = (&mut self.models, &mut self.provider);
        let served = catch_unwind(AssertUnwindSafe(|| match instance.fresh.take() {
            Some(wanted) => start(instance, wanted, models, provider.as_mut()),
            None => advance(instance, models, provider.as_ref()),
        }));
        match served {
            Ok(Ok(())) => (),
            Ok(Err(reason)) => fail(instance, reason),
            Err(_) => {
                // Whatever the network left behind is not to be trusted.
                self.models.remove(&instance.model);
                instance.key = None;
                fail(instance, format!("the worker panicked while running model `{}`; it was loaded anew", instance.model));
            }
        }
        let used: Vec<&str> = self.instances.iter().map(|i| i.model.as_str()).collect();
        self.models.retain(|name, _| used.contains(&name.as_str()));
    }
}

/// Begins what is wanted: with the model asked for, or, where that is refused, with the default one.
fn start(
    instance: &mut Instance,
    wanted: Wanted,
    models: &mut HashMap<String, Loaded>,
    provider: &mut dyn ModelProvider,
) -> Result<(), String> {
    let default = provider.default_model().to_owned();
    let asked = if wanted.model.is_empty() { default.clone() } else { wanted.model.clone() };
    let refused = match load(&asked, models, provider) {
        Ok(()) => {
            instance.model = asked;
            None
        }
        Err(reason) if asked == default => return Err(reason),
        Err(reason) => {
            load(&default, models, provider).map_err(|second| format!("{reason}; and {second}"))?;
            instance.model.clone_from(&default);
            Some(if instance.plays(wanted.key) {
                format!("{reason}; the pattern saved with the project plays, `{default}` makes what comes next")
            } else {
                format!("{reason}; `{default}` plays instead")
            })
        }
    };
    let Some(loaded) = models.get(&instance.model) else { return Err("the model is gone".into()) };
    let error = refused.or_else(|| instance.fallback.take());
    begin(instance, wanted, loaded, error);
    Ok(())
}

fn load(name: &str, models: &mut HashMap<String, Loaded>, provider: &mut dyn ModelProvider) -> Result<(), String> {
    if !models.contains_key(name) {
        let generator = provider.load(name).map_err(|e| e.to_string())?;
        models.insert(name.to_owned(), Loaded { generator, n_runs: 0, total: Duration::ZERO });
    }
    Ok(())
}

fn begin(instance: &mut Instance, wanted: Wanted, loaded: &Loaded, mut error: Option<String>) {
    let generator = loaded.generator.as_ref();
    let manifest = generator.manifest();
    let mut spec = wanted.spec.clone();
    while let Err(refused) = crate::generate::Builder::new(generator, &spec, 0, 1) {
        // The music goes on without it; the reason is shown.
        match refused {
            GenerateError::Primer { .. } => spec.primer.clear(),
            GenerateError::Given { .. } => {
                // What is locked plays under any model.
                let locked = spec.given.clone().only_kept();
                if locked == spec.given {
                    (spec.given, spec.locks) = (Given::default(), Vec::new());
                } else {
                    spec.given = locked;
                }
            }
            GenerateError::Takes { .. } => spec.takes.clear(),
            _ => break,
        }
        error.get_or_insert_with(|| format!("{refused}; it is left out"));
    }
    instance.tell(|status| {
        status.model.clone_from(&manifest.id);
        status.model_name = format!("{} {}", manifest.name, manifest.version);
        status.licence.clone_from(&manifest.licence);
        status.attribution.clone_from(&manifest.attribution);
        status.backend.clone_from(generator.backend());
        status.inference_ms = loaded.mean_ms();
        status.error = error;
    });
    // A finite pattern from the project is whole: only the model had to be there for what comes next.
    let is_endless = wanted.spec.span == Span::Endless;
    let is_wanted = is_endless || !instance.plays(wanted.key);
    let made = std::mem::replace(&mut instance.ahead, Ahead::new(instance.source.aim())).job.flatten();
    instance.job = is_wanted.then(|| {
        let job = Job::new(wanted, spec, generator);
        match made.filter(|made| made.makes_as(&job)) {
            Some(made) => made.for_wish_of(job),
            None => job.going_on(&instance.whole),
        }
    });
}

/// One inference for an instance's job.
fn advance(instance: &mut Instance, models: &mut HashMap<String, Loaded>, provider: &dyn ModelProvider) -> Result<(), String> {
    let playhead = instance.port.playhead();
    let Some(loaded) = models.get_mut(&instance.model) else {
        // Another instance met an error in it; what is there of the job is as good as new.
        instance.fresh = instance.job.take().map(|job| job.wanted);
        return Ok(());
    };
    let missing = instance.job.as_mut().and_then(|job| job.next(playhead, job.is_settled()).map(|(unit, _)| (job, unit)));
    let Some((job, unit)) = missing else {
        go_ahead(instance, loaded, playhead);
        return Ok(());
    };
    let start = Instant::now();
    let stepped = job.step(unit, loaded.generator.as_mut());
    match stepped {
        Ok(()) => {
            loaded.n_runs += 1;
            loaded.total += start.elapsed();
            let (mean_ms, readiness, n_rejected) = (loaded.mean_ms(), job.readiness(playhead), job.n_rejected());
            instance.tell(|status| {
                status.inference_ms = mean_ms;
                status.n_rejected = n_rejected;
                status.readiness = readiness;
            });
            hand_out(instance, playhead);
            Ok(())
        }
        Err(error) => {
            // A provider can go (a GPU unplugged, its driver started anew); loading finds one that is there. Whoever shares the model
            // loads it anew too.
            let failed = std::mem::take(&mut instance.model);
            models.remove(&failed);
            let default = provider.default_model();
            let mut wanted = job.wanted.clone();
            if !std::mem::replace(&mut instance.has_reloaded, true) {
                instance.fallback = Some(format!("{error}; the model was loaded anew"));
            } else if failed == default {
                return Err(error.to_string());
            } else {
                // Another model than asked for is better than silence.
                instance.fallback = Some(format!("{error}; `{default}` plays instead"));
                wanted.model = default.to_owned();
            }
            instance.fresh = Some(wanted);
            instance.job = None;
            Ok(())
        }
    }
}

/// One inference towards what an instance will perhaps want next.
fn go_ahead(instance: &mut Instance, loaded: &mut Loaded, playhead: Playhead) {
    let generator = loaded.generator.as_mut();
    let begun = instance.ahead.job.take().unwrap_or_else(|| {
        let mut wanted = instance.source.wanted();
        let next = instance.source.next().filter(|_| instance.key == Some(wanted.key))?;
        (wanted.spec, wanted.saved) = (next.clone(), None);
        Some(Job::new(wanted, next, generator).going_on(&instance.whole))
    });
    // A network that fails at it will do so again when it is wanted, and then that is told.
    instance.ahead.job = Some(begun.and_then(|mut job| match job.next(playhead, false) {
        Some((unit, _)) => job.step(unit, generator).is_ok().then_some(job),
        None => Some(job),
    }));
}

impl Loaded {
    fn mean_ms(&self) -> f64 {
        if self.n_runs == 0 { 0.0 } else { self.total.as_secs_f64() * 1e3 / f64::from(self.n_runs) }
    }
}

/// Hands the player what its job has ready.
fn hand_out(instance: &mut Instance, playhead: Playhead) {
    let Some(mut job) = instance.job.take() else {
        instance.resend(playhead, super::port::Takeover::default());
        return;
    };
    let before = instance.last.as_ref().map(|(pattern, _)| Arc::clone(pattern));
    if let Some(pattern) = job.delivery(playhead, before.as_deref()) {
        instance.deliver(pattern, &job.wanted);
        let readiness = job.readiness(playhead);
        if readiness == Readiness::Ready {
            instance.keep();
        }
        instance.tell(|status| {
            status.readiness = readiness;
            status.from_project = false;
        });
        instance.call();
    } else {
        instance.resend(playhead, job.wanted.takeover);
    }
    instance.job = Some(job);
}

fn fail(instance: &mut Instance, reason: String) {
    instance.rest_until = Some(Instant::now() + BACK_OFF);
    // What was wanted is tried again after a while; what plays goes on.
    if let Some(job) = instance.job.take() {
        instance.fresh = Some(job.wanted);
    } else if instance.fresh.is_none() {
        instance.key = None;
    }
    instance.tell(|status| {
        status.readiness = Readiness::Failed;
        status.error = Some(reason);
    });
    instance.call();
}
