//! What the editor shows, as plain data: texts, tones, notes, a playhead. Made anew from the engine's status, the port and the
//! parameters before every frame; knows nothing of egui.

use super::{
    Instance,
    roll_model::{self, ENDLESS_BARS, RollView},
    strips::bars_with_notes,
};
use crate::{
    engine::{Playhead, Readiness, Status},
    generate::{Pattern, Span},
    music::{
        note::Note,
        roll::{TrackKind, TrackLayout},
        time::{Ticks, TimeSignature},
    },
    params::LANE_NAMES,
    player::{Knobs, Part, knobs::MAX_LANES},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Time for which a count that went up stays on the page.
const COUNT_SHOWN: Duration = Duration::from_secs(10);

/// Silence that is worth a word.
const SILENCE_SHOWN: Duration = Duration::from_secs(6);

/// How something is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// In the making.
    Busy,
    /// Needs attention.
    Bad,
    /// By the way.
    #[default]
    Plain,
}

/// A line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The words.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

/// A model that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelChoice {
    /// Its id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Description.
    pub about: String,
    /// Names of its tracks, and their General MIDI programs.
    pub tracks: Vec<(String, u8)>,
    /// It looks at the bar before its own.
    pub takes_primer: bool,
}

/// A lane of the pattern that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// What the model calls it.
    pub name: String,
    /// Drums have no octave.
    pub is_drums: bool,
    /// General MIDI program, where the model is known.
    pub program: Option<u8>,
}

/// What the roll was drawn from; equal means that it need not be drawn anew.
#[derive(Clone, PartialEq)]
struct RollSource {
    pattern: Option<Arc<Pattern>>,
    knobs: Knobs,
    meter: TimeSignature,
    first_bar: u32,
    with_almost: bool,
}

/// A count that is shown for a while after it went up.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    seen: u64,
    /// What it was before it began to go up, and when it last did.
    rise: Option<(u64, Instant)>,
}

impl Count {
    /// Takes in the count; by how much it went up lately.
    fn update(&mut self, count: u64, now: Instant) -> u64 {
        if self.rise.is_some_and(|(_, at)| now.duration_since(at) > COUNT_SHOWN) {
            self.rise = None;
        }
        if count > self.seen {
            self.rise = Some((self.rise.map_or(self.seen, |(from, _)| from), now));
            self.seen = count;
        }
        self.rise.map_or(0, |(from, _)| self.seen - from)
    }
}

/// A bar as a set.
#[must_use]
pub fn bar_set(bar: u32) -> u32 {
    1_u32.checked_shl(bar).unwrap_or(0)
}

/// A lane as a set.
#[must_use]
pub fn lane_set(lane_idx: usize) -> u16 {
    u32::try_from(lane_idx).ok().and_then(|idx| 1_u16.checked_shl(idx)).unwrap_or(0)
}

/// How long no note has left while the transport rolls.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    n_sent: u64,
    since: Option<Instant>,
}

impl Silence {
    /// Takes in how many notes have left; for how long none has, once it is worth a word.
    fn update(&mut self, n_sent: u64, playing: bool, now: Instant) -> Option<Duration> {
        if !playing {
            self.since = None;
        } else if n_sent != self.n_sent || self.since.is_none() {
            self.since = Some(now);
        }
        self.n_sent = n_sent;
        let silent = now.duration_since(self.since?);
        (silent >= SILENCE_SHOWN).then_some(silent)
    }
}

/// Everything that the page shows.
#[derive(Default)]
pub struct ViewModel {
    /// Ready, busy, failed.
    pub readiness: Line,
    /// Model, runtime and provider in use.
    pub engine: String,
    /// Licence, attribution, what was tried and not used.
    pub engine_details: String,
    /// Models to choose from.
    pub models: Vec<ModelChoice>,
    /// The chord heard at the MIDI input.
    pub heard: Option<String>,
    /// Why the progression as typed is not taken.
    pub progression_error: Option<String>,
    /// Lanes of the pattern, in order.
    pub lanes: Vec<LaneView>,
    /// The roll.
    pub roll: RollView,
    /// The pattern has bars of its own.
    pub is_finite: bool,
    /// There is something to undo, to redo.
    pub can_undo: (bool, bool),
    /// Goes up with every change of the roll.
    pub roll_version: u64,
    /// What almost played is wanted too.
    pub shows_almost: bool,
    /// Where the playhead is in the roll, if it is in it.
    pub playhead: Option<Ticks>,
    /// Errors and notices, worst first.
    pub messages: Vec<Line>,
    /// The playhead moves.
    pub is_playing: bool,
    /// Something else moves.
    pub is_busy: bool,
    late: Count,
    dropped: Count,
    silence: Silence,
    with_notes: Vec<u32>,
    locked: [u32; MAX_LANES],
    source: Option<RollSource>,
}

#[cfg(test)]
impl ViewModel {
    /// What a pattern looks like, its lanes numbered.
    pub(super) fn of(pattern: Pattern, knobs: Knobs, meter: TimeSignature) -> Self {
        let roll = RollView::new(&pattern, &knobs, meter, 0, false);
        let named = |(idx, lane): (usize, LaneView)| LaneView { name: format!("lane {}", idx + 1), ..lane };
        let lanes = lanes(&pattern, &[]).into_iter().enumerate().map(named).collect();
        let source = RollSource { pattern: Some(Arc::new(pattern)), knobs, meter, first_bar: 0, with_almost: false };
        Self { roll, lanes, source: Some(source), ..Self::default() }
    }
}

impl ViewModel {
    /// Takes in how things are now.
    pub fn update(&mut self, instance: &Instance, status: &Status) {
        let playhead = instance.port.playhead();
        let is_current = status
            .pattern
            .as_ref()
            .is_some_and(|p| p.key == instance.params.structure(instance.port.heard(), instance.port.morph()).key());
        self.readiness = readiness(status, &playhead, is_current, instance.params.bypass.value());
        (self.is_playing, self.is_busy) = (playhead.playing, self.readiness.tone == Tone::Busy);
        self.engine = engine(status);
        self.engine_details = engine_details(status);
        self.heard = instance.port.heard().map(|chord| chord.to_string());
        let now = Instant::now();
        let late = self.late.update(instance.port.late(), now);
        let dropped = self.dropped.update(instance.port.dropped(), now);
        self.messages = messages(status, instance.params.saved.notice(), late, dropped);
        self.lanes = status.pattern.as_ref().map_or_else(Vec::new, |pattern| lanes(pattern, &self.models));
        let silent = self.silence.update((instance.n_sent)(), playhead.playing, now);
        if let Some(silent) = silent.filter(|_| is_current && !instance.params.bypass.value()) {
            self.messages.push(silence(silent, &instance.params.knobs(), self.lanes.len()));
        }
        self.messages.extend(lanes_notice(&self.lanes));
        let saved = &instance.params.saved;
        self.locked = saved.locked();
        self.can_undo = (saved.can_undo(), saved.can_redo());
        self.update_roll(instance, status, &playhead);
    }

    fn update_roll(&mut self, instance: &Instance, status: &Status, playhead: &Playhead) {
        let (meter, _) = (instance.meter)();
        let pattern = status.pattern.clone();
        let first_bar = match pattern.as_ref().map(|p| p.spec.span) {
            Some(Span::Endless) => u32::try_from(playhead.bar.max(0)).unwrap_or(0) / ENDLESS_BARS * ENDLESS_BARS,
            _ => 0,
        };
        // Bypass silences the player, not the picture.
        let knobs = Knobs { muted: false, ..instance.params.knobs() };
        let source = RollSource { pattern, knobs, meter, first_bar, with_almost: self.shows_almost };
        let is_same = self.source.as_ref().is_some_and(|before| {
            let same_pattern = match (&before.pattern, &source.pattern) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            let rest = |of: &RollSource| (of.knobs, of.meter, of.first_bar, of.with_almost);
            same_pattern && rest(before) == rest(&source)
        });
        if !is_same {
            let view = |p: &Arc<Pattern>| RollView::new(p, &knobs, meter, first_bar, source.with_almost);
            self.roll = source.pattern.as_ref().map_or_else(RollView::default, view);
            self.with_notes = bars_with_notes(&self.roll, self.lanes.len());
            self.is_finite = source.pattern.as_ref().is_some_and(|p| matches!(p.spec.span, Span::Bars(_)));
            self.roll_version += 1;
            self.source = Some(source);
        }
        self.playhead = playhead.playing.then(|| self.place(playhead.position)).flatten();
    }

    /// How likely the model finds a note that is shown.
    #[must_use]
    pub fn probability(&self, part: Part, note: &Note) -> Option<f32> {
        let RollSource { pattern, knobs, meter, .. } = self.source.as_ref()?;
        let Part::Track(idx) = part else { return None };
        roll_model::probability(pattern.as_ref()?, knobs, *meter, idx.into(), note)
    }

    /// Whether a bar of a lane is locked.
    #[must_use]
    pub fn is_locked(&self, lane_idx: usize, bar: u32) -> bool {
        self.locked.get(lane_idx).is_some_and(|bars| bars & bar_set(bar) != 0)
    }

    /// Whether all bars of a lane are locked.
    #[must_use]
    pub fn is_lane_locked(&self, lane_idx: usize) -> bool {
        let all = self.all_bars();
        all != 0 && self.locked.get(lane_idx).is_some_and(|bars| bars & all == all)
    }

    /// The bars of a finite pattern; bit `n` is bar `n`.
    #[must_use]
    pub fn all_bars(&self) -> u32 {
        (0..if self.is_finite { self.roll.n_bars } else { 0 }).fold(0, |set, bar| set | bar_set(bar))
    }

    /// Whether a note of a lane begins in a bar that is shown.
    #[must_use]
    pub fn has_notes(&self, lane_idx: usize, bar: u32) -> bool {
        self.with_notes.get(lane_idx).is_some_and(|bars| bars & bar_set(bar) != 0)
    }

    /// The pattern that the roll shows, with the knobs of now.
    #[must_use]
    pub fn shown(&self) -> Option<(&Pattern, Knobs)> {
        let source = self.source.as_ref()?;
        Some((source.pattern.as_deref()?, source.knobs))
    }

    /// Whether the model of the pattern shown looks at the bar before its own.
    #[must_use]
    pub fn takes_primer(&self) -> bool {
        let id = self.shown().map(|(pattern, _)| &pattern.model.id);
        self.models.iter().any(|model| Some(&model.id) == id && model.takes_primer)
    }

    /// The bar that the playhead is in, or the first.
    #[must_use]
    pub fn current_bar(&self) -> u32 {
        self.playhead.and_then(|at| self.roll.bar_at(at)).unwrap_or(self.roll.first_bar)
    }

    /// A song position in the roll: the pattern repeats, an endless one does not.
    fn place(&self, position: Ticks) -> Option<Ticks> {
        let (start, end) = self.roll.span();
        if position.0 < 0 || end <= start {
            return None;
        }
        let is_endless = self.source.as_ref().and_then(|s| s.pattern.as_ref()).is_some_and(|p| p.spec.span == Span::Endless);
        let place = if is_endless { position.0 } else { position.0.rem_euclid(end.0) };
        (start.0..end.0).contains(&place).then_some(Ticks(place))
    }
}

fn readiness(status: &Status, playhead: &Playhead, is_current: bool, is_bypassed: bool) -> Line {
    let line = |text: &str, tone| Line { text: text.into(), tone };
    match status.readiness {
        _ if is_bypassed => line("Bypassed", Tone::Plain),
        Readiness::Waiting => line("Waiting for the engine", Tone::Busy),
        Readiness::Generating { n_ready, n_bars } => {
            Line { text: format!("Generating: {n_ready} of {n_bars} bars"), tone: Tone::Busy }
        }
        Readiness::Ready if !is_current => line("Waiting for the engine", Tone::Busy),
        Readiness::Ready => match (playhead.playing, status.from_project) {
            (true, _) => line("Playing", Tone::Good),
            (false, true) => line("Ready, as saved in the project", Tone::Good),
            (false, false) => line("Ready", Tone::Good),
        },
        Readiness::Failed => line("No pattern", Tone::Bad),
    }
}

fn engine(status: &Status) -> String {
    if status.model.is_empty() {
        return "loading".into();
    }
    let mut text = format!("{} on {}, {}", status.model_name, status.backend.runtime, status.backend.provider);
    if status.inference_ms > 0.0 {
        text += &format!(", {:.1} ms per inference", status.inference_ms);
    }
    text
}

fn engine_details(status: &Status) -> String {
    let mut lines = Vec::new();
    if !status.licence.is_empty() {
        lines.push(format!("Licence of the weights: {}", status.licence));
    }
    if !status.attribution.is_empty() {
        lines.push(status.attribution.clone());
    }
    if status.n_rejected > 0 {
        lines.push(format!("{} candidates were rejected for better ones", status.n_rejected));
    }
    lines.extend(status.backend.notes.iter().cloned());
    lines.join("\n")
}

fn messages(status: &Status, notice: Option<String>, late: u64, dropped: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut push = |text: String, tone| lines.push(Line { text, tone });
    if let Some(error) = &status.error {
        push(error.clone(), Tone::Bad);
    }
    if let Some(notice) = notice {
        push(notice, Tone::Bad);
    }
    if dropped > 0 {
        push(
            format!("{dropped} note events were refused by the host or found no room; Help tells how to route notes"),
            Tone::Bad,
        );
    }
    if late > 0 {
        push(format!("{late} steps were silent because their bar was not ready in time"), Tone::Busy);
    }
    lines
}

/// Why nothing is heard although the transport rolls.
fn silence(silent: Duration, knobs: &Knobs, n_lanes: usize) -> Line {
    let why = if knobs.audible(n_lanes) == 0 {
        "every lane is off or muted"
    } else {
        "nothing in these bars is likelier than the threshold; lower Threshold, raise a lane's Density, or take another seed"
    };
    Line { text: format!("Playing, but no note has left for {} s: {why}.", silent.as_secs()), tone: Tone::Busy }
}

/// The lanes of a pattern, named by its model where that is known.
fn lanes(pattern: &Pattern, models: &[ModelChoice]) -> Vec<LaneView> {
    let tracks = &pattern.roll.layout().tracks;
    let model = models.iter().find(|model| model.id == pattern.model.id && model.tracks.len() == tracks.len());
    let of_model = |idx: usize| model.and_then(|model| model.tracks.get(idx));
    let name = |idx: usize| match of_model(idx) {
        Some((name, _)) => name.clone(),
        None if tracks.len() == 1 => "Melody".into(),
        None if tracks.len() == LANE_NAMES.len() => LANE_NAMES.get(idx).copied().unwrap_or_default().into(),
        None => format!("Track {}", idx + 1),
    };
    let lane = |(idx, track): (usize, &TrackLayout)| LaneView {
        name: name(idx),
        is_drums: track.kind == TrackKind::Onsets,
        program: of_model(idx).map(|(_, program)| *program),
    };
    tracks.iter().enumerate().map(lane).collect()
}

/// Says so where a model of several tracks does not have the band's.
fn lanes_notice(lanes: &[LaneView]) -> Option<Line> {
    let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
    if names.len() <= 1 || names == LANE_NAMES {
        return None;
    }
    let mut text =
        format!("The host's lane parameters ({}) control this model's tracks in the order shown", LANE_NAMES.join(", "));
    if names.len() > LANE_NAMES.len() {
        text += &format!("; tracks after the {}th play as the model has them", LANE_NAMES.len());
    }
    Some(Line { text: text + ".", tone: Tone::Plain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::player::testing::{band, doubtful, mono, poly};

    #[test]
    fn nothing_that_went_wrong_is_silent() {
        let status = Status { error: Some("model `x` is refused".into()), ..Status::default() };
        let lines = messages(&status, Some("The saved state was not loaded".into()), 3, 2);
        let texts: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(texts.len(), 4);
        for word in ["refused", "not loaded", "3 steps", "2 note events"] {
            assert!(texts.iter().any(|t| t.contains(word)), "{word}");
        }
        assert_eq!(messages(&Status::default(), None, 0, 0), []);
    }

    #[test]
    fn lanes_are_named_by_their_model_and_others_than_the_bands_are_said() {
        let model = |tracks: &[&str]| ModelChoice {
            id: "test".into(),
            name: String::new(),
            about: String::new(),
            tracks: tracks.iter().map(|name| (name.to_string(), 7)).collect(),
            takes_primer: false,
        };
        let named = |tracks: Vec<TrackLayout>, models: &[ModelChoice]| {
            let lanes = lanes(&doubtful(1, tracks, 1, "N.C."), models);
            (lanes.iter().map(|lane| lane.name.clone()).collect::<Vec<_>>(), lanes_notice(&lanes))
        };
        assert_eq!(named(band(), &[]), (LANE_NAMES.map(String::from).to_vec(), None));
        assert_eq!(named(vec![mono(48, 30, false)], &[]), (vec!["Melody".into()], None));
        let (names, notice) = named(vec![mono(48, 30, false), poly(30, 40, false)], &[model(&["Lead", "Pad"])]);
        assert_eq!(names, ["Lead", "Pad"]);
        assert!(notice.unwrap().text.contains("Drums, Bass"));
        assert_eq!(named(vec![mono(48, 30, false), poly(30, 40, false)], &[model(&["Lead"])]).0, ["Track 1", "Track 2"]);
        let (_, notice) = named(vec![mono(48, 30, false); 6], &[]);
        assert!(notice.unwrap().text.contains("after the 5th"));
    }

    #[test]
    fn a_count_is_shown_for_a_while() {
        let (start, mut count) = (Instant::now(), Count::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(count.update(0, at(0)), 0);
        assert_eq!(count.update(3, at(1)), 3);
        assert_eq!(count.update(5, at(9)), 5);
        assert_eq!(count.update(5, at(18)), 5);
        assert_eq!(count.update(5, at(20)), 0);
        assert_eq!(count.update(6, at(21)), 1);
    }

    #[test]
    fn silence_is_told_after_a_while_and_why() {
        let (start, mut silence_of) = (Instant::now(), Silence::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(silence_of.update(5, true, at(0)), None);
        assert_eq!(silence_of.update(5, true, at(5)), None);
        assert_eq!(silence_of.update(5, true, at(7)), Some(Duration::from_secs(7)));
        assert_eq!(silence_of.update(6, true, at(8)), None);
        assert_eq!(silence_of.update(6, false, at(20)), None);
        assert_eq!(silence_of.update(6, true, at(21)), None);
        let mut knobs = Knobs::default();
        assert!(silence(Duration::from_secs(9), &knobs, 1).text.contains("Threshold"));
        knobs.lanes[0].muted = true;
        assert!(silence(Duration::from_secs(9), &knobs, 1).text.contains("for 9 s: every lane"));
    }

    #[test]
    fn readiness_tells_a_pattern_in_the_making_from_one_that_plays() {
        let status = |readiness| Status { readiness, ..Status::default() };
        let playing = Playhead { playing: true, ..Playhead::default() };
        let generating = readiness(&status(Readiness::Generating { n_ready: 3, n_bars: 8 }), &playing, false, false);
        assert_eq!((generating.text.as_str(), generating.tone), ("Generating: 3 of 8 bars", Tone::Busy));
        assert_eq!(readiness(&status(Readiness::Ready), &playing, true, false).text, "Playing");
        assert_eq!(readiness(&status(Readiness::Ready), &playing, false, false).tone, Tone::Busy);
        assert_eq!(readiness(&status(Readiness::Failed), &playing, true, false).tone, Tone::Bad);
        assert_eq!(readiness(&status(Readiness::Ready), &playing, true, true).text, "Bypassed");
    }

    #[test]
    fn the_playhead_wraps_in_a_finite_pattern() {
        let mut view = ViewModel { roll: RollView { n_bars: 2, ..RollView::default() }, ..ViewModel::default() };
        assert_eq!(view.place(Ticks(2 * 1920 + 7)), Some(Ticks(7)));
        assert_eq!(view.place(Ticks(-5)), None);
        view.roll.n_bars = 0;
        assert_eq!(view.place(Ticks(7)), None);
    }
}
