//! The roll as plain data: the notes of some bars as they sound with the knobs of now, what almost played beside them, and what is
//! under the mouse. Knows nothing of egui.

use crate::{
    generate::{Pattern, Span},
    music::{
        chord::BarChords,
        note::{Note, Pitch},
        percussion,
        roll::{LOGIT_SCALE, TrackKind, TrackLayout},
        scale::Key,
        time::{TICKS_PER_STEP, Ticks, TimeSignature},
    },
    player::{Knobs, Part, render_parts},
};
use std::collections::HashSet;

/// Bars shown of an endless pattern.
pub const ENDLESS_BARS: u32 = 8;
/// What is less likely did not almost play.
const LEAST_PROBABILITY: f32 = 0.05;
/// Most cells that almost played.
const MAX_ALMOST: usize = 20_000;

/// A cell that begins no note.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Almost {
    /// Its track.
    pub track_idx: u8,
    /// Where its step begins; it lasts a step.
    pub at: Ticks,
    /// What would have sounded.
    pub pitch: Pitch,
    /// How likely the model finds it.
    pub probability: f32,
}

/// The notes of some bars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollView {
    /// First bar shown, of the pattern (finite) or the song (endless).
    pub first_bar: u32,
    /// Bars shown.
    pub n_bars: u32,
    /// Meter.
    pub meter: TimeSignature,
    /// Notes by their places in the song, and what plays them.
    pub notes: Vec<(Part, Note)>,
    /// What almost played, if it is wanted.
    pub almost: Vec<Almost>,
    /// Lowest and highest pitch shown.
    pub pitches: (u8, u8),
    /// The chords of each bar shown.
    pub harmony: Vec<BarChords>,
    /// The key that notes are moved into.
    pub key: Option<Key>,
}

impl RollView {
    /// The roll of a pattern: a finite one whole, of an endless one [`ENDLESS_BARS`] bars.
    #[must_use]
    pub fn new(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, first_bar: u32, with_almost: bool) -> Self {
        // Nothing of an endless pattern before its window is left to be drawn.
        let (n_bars, from) = match pattern.spec.span {
            Span::Bars(n) => (n, first_bar),
            Span::Endless => (ENDLESS_BARS, first_bar.max(pattern.first_bar)),
        };
        let end = first_bar.saturating_add(n_bars);
        let notes = render_parts(pattern, knobs, meter, from..end);
        let almost = if with_almost { almost(pattern, knobs, meter, from..end, &notes) } else { Vec::new() };
        let heights = || {
            let played = notes.iter().map(|(_, note)| note.pitch.number());
            played.chain(almost.iter().map(|cell| cell.pitch.number()))
        };
        let (lowest, highest) = (heights().min().unwrap_or(57), heights().max().unwrap_or(72));
        let pitches = (lowest.saturating_sub(2), (highest + 2).min(127));
        let harmony = (first_bar..end).map(|bar_idx| pattern.spec.progression.at(bar_idx)).collect();
        Self { first_bar, n_bars, meter, notes, almost, pitches, harmony, key: knobs.key }
    }

    /// Where the roll begins and ends.
    #[must_use]
    pub fn span(&self) -> (Ticks, Ticks) {
        let bar = self.meter.bar().0;
        (Ticks(i64::from(self.first_bar) * bar), Ticks(i64::from(self.first_bar + self.n_bars) * bar))
    }

    /// The bar shown that a place lies in, counted as the song or the pattern counts it.
    #[must_use]
    pub fn bar_at(&self, at: Ticks) -> Option<u32> {
        let (start, end) = self.span();
        let bar = at.0.checked_div(self.meter.bar().0)?;
        if (start.0..end.0).contains(&at.0) { u32::try_from(bar).ok() } else { None }
    }

    /// The note that sounds at a place, the one drawn last.
    #[must_use]
    pub fn note_at(&self, at: Ticks, pitch: u8) -> Option<&(Part, Note)> {
        let is_there = |note: &Note| note.pitch.number() == pitch && (0..note.duration.0).contains(&(at.0 - note.onset.0));
        self.notes.iter().rev().find(|(_, note)| is_there(note))
    }

    /// The cell that almost played at a place.
    #[must_use]
    pub fn almost_at(&self, at: Ticks, pitch: u8) -> Option<&Almost> {
        self.almost.iter().find(|cell| cell.pitch.number() == pitch && (0..TICKS_PER_STEP).contains(&(at.0 - cell.at.0)))
    }

    /// A place as people count: bar, beat and sixteenth, from 1.
    #[must_use]
    pub fn place_name(&self, at: Ticks) -> String {
        let bar = self.meter.bar().0.max(1);
        let beat = (bar / i64::from(self.meter.numerator())).max(1);
        let inside = at.0.rem_euclid(bar);
        format!("{}.{}.{}", at.0.div_euclid(bar) + 1, inside / beat + 1, inside % beat / TICKS_PER_STEP + 1)
    }
}

/// Name and number of a pitch: of a drum, what it is.
#[must_use]
pub fn pitch_name(pitch: Pitch, is_drums: bool) -> String {
    match percussion::name(pitch).filter(|_| is_drums) {
        Some(name) => format!("{name} ({})", pitch.number()),
        None => format!("{}{} ({})", pitch.class().name(), i32::from(pitch.number()) / 12 - 1, pitch.number()),
    }
}

/// How likely the model finds that this note begins where it does. `None` where the pattern has no such place.
#[must_use]
pub fn probability(pattern: &Pattern, knobs: &Knobs, meter: TimeSignature, track_idx: usize, note: &Note) -> Option<f32> {
    let track = pattern.roll.layout().tracks.get(track_idx)?;
    let bar = meter.bar().0;
    let place = (note.onset.0.div_euclid(bar), note.onset.0.rem_euclid(bar) / TICKS_PER_STEP);
    let cells = cells(pattern, track_idx, place)?;
    // Swing and humanising delay by less than a step; octave and key may have brought several pitches to this one.
    let sounding = |idx: usize| raw_pitch(track, idx).map(|raw| knobs.sounding(track_idx, track.kind, raw));
    let likely = onset_probabilities(track, cells).into_iter().enumerate();
    likely.filter(|(idx, _)| sounding(*idx) == Some(note.pitch)).map(|(_, p)| p).reduce(f32::max)
}

/// What begins nowhere although it is likely enough.
fn almost(
    pattern: &Pattern,
    knobs: &Knobs,
    meter: TimeSignature,
    bars: std::ops::Range<u32>,
    notes: &[(Part, Note)],
) -> Vec<Almost> {
    let step_of = |onset: Ticks| onset.0.rem_euclid(meter.bar().0) / TICKS_PER_STEP;
    let bar_of = |onset: Ticks| onset.0.div_euclid(meter.bar().0);
    let begun: HashSet<_> =
        notes.iter().map(|(part, note)| (*part, bar_of(note.onset), step_of(note.onset), note.pitch)).collect();
    let tracks = &pattern.roll.layout().tracks;
    let audible = knobs.audible(tracks.len());
    let mut found = Vec::new();
    for bar in bars.map(i64::from) {
        for step in 0..meter.steps_per_bar() {
            for (number, track) in (0_u8..).zip(tracks) {
                let track_idx = usize::from(number);
                let is_given = u32::try_from(bar).is_ok_and(|bar| pattern.spec.is_given(track_idx, track.kind, bar));
                if audible.checked_shr(number.into()).unwrap_or(0) & 1 == 0 || is_given {
                    continue;
                }
                let Some(cells) = cells(pattern, track_idx, (bar, step)) else { continue };
                for (idx, probability) in onset_probabilities(track, cells).into_iter().enumerate() {
                    if probability < LEAST_PROBABILITY || found.len() >= MAX_ALMOST {
                        continue;
                    }
                    let Some(raw) = raw_pitch(track, idx) else { continue };
                    let pitch = knobs.sounding(track_idx, track.kind, raw);
                    if !begun.contains(&(Part::Track(number), bar, step, pitch)) {
                        let at = Ticks(bar * meter.bar().0 + step * TICKS_PER_STEP);
                        found.push(Almost { track_idx: number, at, pitch, probability });
                    }
                }
            }
        }
    }
    found
}

fn raw_pitch(track: &TrackLayout, idx: usize) -> Option<Pitch> {
    Pitch::new(i32::from(track.lowest_pitch.number()) + i32::try_from(idx).ok()?)
}

/// A track's cells at a bar and step of the song.
fn cells(pattern: &Pattern, track_idx: usize, (bar, step): (i64, i64)) -> Option<&[i8]> {
    let layout = pattern.roll.layout();
    let n_bars = i64::try_from(pattern.roll.n_bars()).ok()?;
    let bar = match pattern.spec.span {
        Span::Bars(_) => bar.checked_rem_euclid(n_bars)?,
        Span::Endless => bar - i64::from(pattern.first_bar),
    };
    let bar_idx = usize::try_from(bar).ok().filter(|bar| *bar < pattern.roll.n_bars())?;
    let step_idx = usize::try_from(step).ok()?.checked_rem(usize::from(layout.n_steps))?;
    pattern.roll.step(bar_idx, step_idx).get(layout.cells_of(track_idx))
}

/// How likely a note begins at each pitch of a track.
fn onset_probabilities(track: &TrackLayout, cells: &[i8]) -> Vec<f32> {
    let n_pitches = usize::from(track.n_pitches);
    let logit = |cell: &i8| f32::from(*cell) * LOGIT_SCALE;
    match track.kind {
        TrackKind::OneOfN => {
            // At most 8: no exponential overflows.
            let weights: Vec<f32> = cells.iter().map(|cell| logit(cell).exp()).collect();
            let all: f32 = weights.iter().sum();
            weights.into_iter().take(n_pitches).map(|weight| weight / all).collect()
        }
        TrackKind::OnsetSustain | TrackKind::Onsets => {
            cells.iter().take(n_pitches).map(|cell| 1.0 / (1.0 + (-logit(cell)).exp())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::PatternSpec,
        music::{
            note::PitchClass,
            roll::{LogitRoll, RollLayout},
            scale::Scale,
        },
        player::testing::{band, doubtful, drums, mono, pattern},
    };

    fn four() -> TimeSignature {
        TimeSignature::default()
    }

    /// One bar of a track with three pitches and of drums with two; the cells of its steps repeat.
    fn small(steps: &[[i8; 7]]) -> Pattern {
        let layout = RollLayout { n_steps: 16, tracks: vec![mono(60, 3, false), drums(37, 2)] };
        let cells: Vec<i8> = steps.iter().cycle().take(16).flatten().copied().collect();
        pattern(1, Span::Bars(1), "C", LogitRoll::from_cells(layout, 1, cells.into()).unwrap())
    }

    fn greedy() -> Knobs {
        Knobs { temperature: 0.0, ..Knobs::default() }
    }

    #[test]
    fn what_is_below_the_threshold_almost_played_and_nothing_is_shown_twice() {
        let pattern = small(&[[60, 44, -128, -128, -128, 0, 48], [-128, -128, -128, 60, 20, -16, -128]]);
        let knobs = Knobs { threshold: 0.9, ..greedy() };
        let view = RollView::new(&pattern, &knobs, four(), 0, true);
        let first = |track| view.almost.iter().filter(move |a| a.track_idx == track && a.at.0 == 0).collect::<Vec<_>>();
        assert_eq!(first(0).iter().map(|a| a.pitch.number()).collect::<Vec<_>>(), [61], "60 plays, 62 is unlikely");
        assert!((first(0)[0].probability - 1.0 / (1.0 + 1.0_f32.exp())).abs() < 1e-3);
        assert_eq!(first(1).iter().map(|a| a.pitch.number()).collect::<Vec<_>>(), [37], "38 has 0.95");
        let begun: HashSet<_> = view.notes.iter().map(|(part, note)| (*part, note.onset, note.pitch)).collect();
        assert!(view.almost.iter().all(|a| !begun.contains(&(Part::Track(a.track_idx), a.at, a.pitch))));
        assert!(RollView::new(&pattern, &knobs, four(), 0, false).almost.is_empty());
        let mut muted = knobs;
        muted.lanes[0].muted = true;
        assert!(RollView::new(&pattern, &muted, four(), 0, true).almost.iter().all(|a| a.track_idx == 1));
    }

    #[test]
    fn a_note_finds_its_probability_through_octave_key_swing_and_meter() {
        let pattern = small(&[[32, -128, -128, 32, -128, 33, -60], [-128, 40, -128, 0, -128, -60, 9]]);
        let key = Some(Key { tonic: PitchClass::of(0), scale: Scale::Major });
        for (meter, knobs) in [
            (four(), greedy()),
            (four(), Knobs { octave: -1, key, swing: 1.0, humanize_time: 1.0, ..greedy() }),
            (TimeSignature::new(5, 8).unwrap(), greedy()),
        ] {
            let view = RollView::new(&pattern, &knobs, meter, 0, false);
            let of = |wanted: Part| view.notes.iter().filter(move |(part, _)| *part == wanted);
            assert!(of(Part::Track(0)).count() > 3 && of(Part::Track(1)).count() > 3);
            for (track_idx, wanted) in [(0, [0.5, 0.924]), (1, [0.887, 0.637])] {
                for (_, note) in of(Part::Track(u8::try_from(track_idx).unwrap())) {
                    let p = probability(&pattern, &knobs, meter, track_idx, note).unwrap();
                    assert!(wanted.iter().any(|w| (p - w).abs() < 2e-3), "track {track_idx}: {p}");
                }
            }
        }
        assert_eq!(
            probability(&pattern, &greedy(), four(), 9, &RollView::new(&pattern, &greedy(), four(), 0, false).notes[0].1),
            None
        );
    }

    #[test]
    fn an_endless_pattern_is_drawn_from_its_window_on() {
        let mut pattern = doubtful(5, band(), 12, "C | F");
        pattern.spec = PatternSpec { span: Span::Endless, ..pattern.spec };
        pattern.first_bar = 1_000_003;
        let view = RollView::new(&pattern, &greedy(), four(), 1_000_000, false);
        assert_eq!((view.first_bar, view.n_bars), (1_000_000, ENDLESS_BARS));
        let bars: HashSet<u32> = view.notes.iter().map(|(_, note)| view.bar_at(note.onset).unwrap()).collect();
        assert_eq!(bars.iter().min(), Some(&1_000_003));
        assert_eq!(bars.iter().max(), Some(&1_000_007));
        let whole = RollView::new(&pattern, &greedy(), four(), 1_000_003, false);
        let of_bar = |view: &RollView| -> Vec<_> {
            view.notes.iter().filter(|(_, n)| view.bar_at(n.onset) == Some(1_000_005)).copied().collect()
        };
        assert_eq!(of_bar(&view).len(), of_bar(&whole).len());
    }

    #[test]
    fn places_and_notes_are_found() {
        let pattern = small(&[[60, -60, -60, -60, -60, 0, 48], [-128, -128, -128, -60, 60, -16, -128]]);
        let view = RollView::new(&pattern, &greedy(), four(), 0, false);
        let (part, note) = view.note_at(Ticks(2 * TICKS_PER_STEP + 7), 60).unwrap();
        assert_eq!((*part, note.onset.0, note.duration.0), (Part::Track(0), 240, 240));
        assert_eq!(view.note_at(Ticks(7), 61), None);
        assert_eq!((view.bar_at(Ticks(1919)), view.bar_at(Ticks(1920)), view.bar_at(Ticks(-1))), (Some(0), None, None));
        assert_eq!(view.place_name(Ticks(1920 * 2 + 480 + 2 * 120 + 30)), "3.2.3");
        let waltz = RollView { meter: TimeSignature::new(6, 8).unwrap(), ..view };
        assert_eq!(waltz.place_name(Ticks(1440 + 240 * 4 + 120)), "2.5.2");
    }

    #[test]
    fn pitches_have_names() {
        let pitch = |number| Pitch::new(number).unwrap();
        assert_eq!(pitch_name(pitch(60), false), "C4 (60)");
        assert_eq!(pitch_name(pitch(38), true), "acoustic snare (38)");
        assert_eq!(pitch_name(pitch(3), true), "Eb-1 (3)");
    }
}
