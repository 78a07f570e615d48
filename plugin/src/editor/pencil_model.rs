//! The pencil as plain data: what it takes hold of, where that is dragged, and which edit comes of it. Knows nothing of egui.

use super::view_model::ViewModel;
use crate::{
    music::{
        note::{Note, Pitch},
        time::{TICKS_PER_STEP, Ticks, TimeSignature},
    },
    params::{Edit, check_drawing},
    player::Part,
};

/// A key lowers what is drawn to its own next pitch; no scale has a wider step.
const WIDEST_STEP: u8 = 3;

/// What the pencil holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grip {
    /// A new note, by its end.
    New,
    /// A note, by its middle.
    Middle,
    /// A note, by its end.
    End,
}

/// A note on the sixteenths of the roll, counted from its first bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    onset: usize,
    end: usize,
    pitch: Pitch,
}

/// A gesture of the pencil, from press to release.
#[derive(Clone, Debug, PartialEq)]
pub struct Stroke {
    /// The lane that is drawn into.
    pub lane_idx: usize,
    grip: Grip,
    is_drum: bool,
    meter: TimeSignature,
    n_steps: usize,
    /// What the lane can sound.
    pitches: Vec<Pitch>,
    /// The sixteenth at which it was taken hold of.
    held_at: usize,
    before: Drawn,
    now: Drawn,
}

/// Why nothing can be drawn into a lane.
#[must_use]
pub fn refusal(view: &ViewModel, lane_idx: usize) -> Option<String> {
    let Some((pattern, knobs)) = view.shown() else { return Some("there is no pattern yet".into()) };
    let name = view.lanes.get(lane_idx).map_or("this lane", |lane| lane.name.as_str());
    if let Err(error) = check_drawing(pattern, view.roll.meter) {
        return Some(error.to_string());
    }
    let is_audible = u32::try_from(lane_idx).ok().and_then(|idx| knobs.audible(view.lanes.len()).checked_shr(idx));
    (is_audible.unwrap_or(0) & 1 == 0).then(|| format!("{name} does not play: what is drawn there would not be seen"))
}

/// The note of a lane that sounds at a place, the one drawn last.
#[must_use]
pub fn note_at(view: &ViewModel, lane_idx: usize, at: Ticks, pitch: u8) -> Option<&Note> {
    let is_there = |note: &Note| note.pitch.number() == pitch && (0..note.duration.0).contains(&(at.0 - note.onset.0));
    let own = |part: &Part| matches!(part, Part::Track(idx) if usize::from(*idx) == lane_idx);
    view.roll.notes.iter().rev().find(|(part, note)| own(part) && is_there(note)).map(|(_, note)| note)
}

/// The edit that takes the note at a place out.
#[must_use]
pub fn erase(view: &ViewModel, lane_idx: usize, at: Ticks, pitch: u8) -> Option<Edit> {
    let note = note_at(view, lane_idx, at, pitch)?;
    Some(Edit::Erase { from: (step_at(note.onset, view.roll.meter), note.pitch) })
}

impl Stroke {
    /// Takes hold of the note of a lane at a place, by its end if that is near, or begins a new one.
    ///
    /// # Errors
    /// Why nothing can be drawn there.
    pub fn begin(view: &ViewModel, lane_idx: usize, at: Ticks, pitch: u8, is_near_end: bool) -> Result<Self, String> {
        if let Some(reason) = refusal(view, lane_idx) {
            return Err(reason);
        }
        let (pattern, knobs) = view.shown().ok_or("there is no pattern yet")?;
        let track = pattern.roll.layout().tracks.get(lane_idx).ok_or("there is no such lane")?;
        let meter = view.roll.meter;
        let own = (0..track.n_pitches).filter_map(|idx| Pitch::new(i32::from(track.lowest_pitch.number()) + i32::from(idx)));
        let mut pitches: Vec<Pitch> = own.map(|raw| knobs.sounding(lane_idx, track.kind, raw)).collect();
        pitches.sort_unstable();
        pitches.dedup();
        let lane = view.lanes.get(lane_idx).ok_or("there is no such lane")?;
        let held_at = step_at(at, meter);
        let (grip, before) = match note_at(view, lane_idx, at, pitch) {
            Some(note) => {
                let onset = step_at(note.onset, meter);
                let length = note.onset.0 + note.duration.0 - place(onset, meter).0;
                // Swing and Note Length move ends by less than a sixteenth, or cut them.
                let n_steps = usize::try_from((length + TICKS_PER_STEP / 2) / TICKS_PER_STEP).unwrap_or(1).max(1);
                let grip = if is_near_end && !lane.is_drums { Grip::End } else { Grip::Middle };
                (grip, Drawn { onset, end: onset + n_steps, pitch: note.pitch })
            }
            None => {
                let below = pitches.iter().rev().find(|own| own.number() <= pitch);
                let reach = if view.roll.key.is_some() && !lane.is_drums { WIDEST_STEP } else { 0 };
                let pitch = below
                    .filter(|own| pitch - own.number() <= reach)
                    .ok_or_else(|| range(&lane.name, &pitches, lane.is_drums))?;
                (Grip::New, Drawn { onset: held_at, end: held_at + 1, pitch: *pitch })
            }
        };
        let n_steps = steps_per_bar(meter) * usize::try_from(view.roll.n_bars).unwrap_or(0);
        Ok(Self { lane_idx, grip, is_drum: lane.is_drums, meter, n_steps, pitches, held_at, before, now: before })
    }

    /// The pointer is at another place.
    pub fn drag(&mut self, at: Ticks, pitch: u8) {
        let to = step_at(at, self.meter).min(self.n_steps.saturating_sub(1));
        match self.grip {
            Grip::New if self.is_drum => self.now = Drawn { onset: to, end: to + 1, ..self.now },
            Grip::New | Grip::End => self.now.end = (to + 1).max(self.now.onset + 1),
            Grip::Middle => {
                let n_steps = self.before.end - self.before.onset;
                let onset = (self.before.onset + to).saturating_sub(self.held_at).min(self.n_steps.saturating_sub(1));
                let near = self.pitches.iter().min_by_key(|own| own.number().abs_diff(pitch));
                self.now =
                    Drawn { onset, end: (onset + n_steps).min(self.n_steps), pitch: near.copied().unwrap_or(self.now.pitch) };
            }
        }
    }

    /// What would be drawn now: beginning, end, pitch.
    #[must_use]
    pub fn shape(&self) -> (Ticks, Ticks, Pitch) {
        let end = Ticks(place(self.now.end - 1, self.meter).0 + TICKS_PER_STEP);
        (place(self.now.onset, self.meter), end, self.now.pitch)
    }

    /// What becomes of it where it is released; nothing where nothing changes.
    #[must_use]
    pub fn edit(&self) -> Option<Edit> {
        let Drawn { onset, end, pitch } = self.now;
        let from = (self.before.onset, self.before.pitch);
        match self.grip {
            Grip::New => Some(Edit::Add { onset, end, pitch }),
            Grip::Middle => (from != (onset, pitch)).then_some(Edit::Move { from, to: (onset, pitch) }),
            Grip::End => (end != self.before.end).then_some(Edit::Resize { from, end }),
        }
    }
}

fn range(name: &str, pitches: &[Pitch], is_drums: bool) -> String {
    let of = |pitch: Option<&Pitch>| pitch.map_or_else(String::new, |pitch| super::roll_model::pitch_name(*pitch, is_drums));
    format!("{name} plays from {} to {}", of(pitches.first()), of(pitches.last()))
}

fn steps_per_bar(meter: TimeSignature) -> usize {
    usize::try_from(meter.steps_per_bar()).unwrap_or(1).max(1)
}

/// The sixteenth that a place lies in.
fn step_at(at: Ticks, meter: TimeSignature) -> usize {
    let bar = meter.bar().0.max(1);
    let (bar_idx, inside) = (at.0.max(0) / bar, at.0.max(0) % bar / TICKS_PER_STEP);
    usize::try_from(bar_idx).unwrap_or(0) * steps_per_bar(meter) + usize::try_from(inside).unwrap_or(0)
}

/// Where a sixteenth begins.
fn place(step: usize, meter: TimeSignature) -> Ticks {
    let of = |n: usize| i64::try_from(n).unwrap_or(0);
    let n = steps_per_bar(meter);
    Ticks(of(step / n) * meter.bar().0 + of(step % n) * TICKS_PER_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::Span,
        music::scale::Key,
        player::{
            Knobs,
            testing::{doubtful, drums, mono, poly},
        },
    };

    /// Two bars of drums, bass and piano, as the knobs of the moment show them.
    fn view(knobs: Knobs, meter: TimeSignature) -> ViewModel {
        let pattern = doubtful(5, vec![drums(36, 9), mono(30, 20, false), poly(50, 25, false)], 2, "C | F");
        ViewModel::of(pattern, knobs, meter)
    }

    fn four() -> TimeSignature {
        TimeSignature::default()
    }

    fn ticks(step: i64, part: i64) -> Ticks {
        Ticks(step * TICKS_PER_STEP + part)
    }

    fn pitch(number: i32) -> Pitch {
        Pitch::new(number).unwrap()
    }

    fn first_note(view: &ViewModel, lane_idx: u8) -> Note {
        view.roll.notes.iter().find(|(part, note)| *part == Part::Track(lane_idx) && note.onset.0 > 600).unwrap().1
    }

    #[test]
    fn an_empty_place_is_drawn_on_and_dragged_longer() {
        let view = view(Knobs { temperature: 0.0, threshold: 0.99, ..Knobs::default() }, four());
        assert_eq!(note_at(&view, 2, ticks(5, 70), 61), None);
        let mut stroke = Stroke::begin(&view, 2, ticks(5, 70), 61, true).unwrap();
        assert_eq!(stroke.edit(), Some(Edit::Add { onset: 5, end: 6, pitch: pitch(61) }));
        stroke.drag(ticks(9, 1), 66);
        assert_eq!(stroke.edit(), Some(Edit::Add { onset: 5, end: 10, pitch: pitch(61) }));
        assert_eq!(stroke.shape(), (ticks(5, 0), ticks(10, 0), pitch(61)));
        stroke.drag(ticks(2, 1), 66);
        assert_eq!(stroke.edit(), Some(Edit::Add { onset: 5, end: 6, pitch: pitch(61) }));
        stroke.drag(ticks(99, 1), 66);
        assert_eq!(stroke.edit(), Some(Edit::Add { onset: 5, end: 32, pitch: pitch(61) }), "no note goes on past the pattern");
        // A drum is as short as it is, and goes where the pointer goes.
        let mut drum = Stroke::begin(&view, 0, ticks(5, 70), 40, true).unwrap();
        drum.drag(ticks(7, 3), 40);
        assert_eq!(drum.edit(), Some(Edit::Add { onset: 7, end: 8, pitch: pitch(40) }));
    }

    #[test]
    fn a_note_is_moved_by_its_middle_and_lengthened_by_its_end() {
        let view = view(Knobs::default(), four());
        let note = first_note(&view, 1);
        let (onset, n) = (step_at(note.onset, four()), usize::try_from(note.duration.0 / TICKS_PER_STEP).unwrap());
        let inside = Ticks(note.onset.0 + 7);
        let mut stroke = Stroke::begin(&view, 1, inside, note.pitch.number(), false).unwrap();
        assert_eq!(stroke.edit(), None, "nothing has moved");
        stroke.drag(Ticks(inside.0 + 3 * TICKS_PER_STEP), note.pitch.number() + 2);
        let to = (onset + 3, note.pitch.transposed(2));
        assert_eq!(stroke.edit(), Some(Edit::Move { from: (onset, note.pitch), to }));
        stroke.drag(inside, 127);
        assert_eq!(stroke.edit(), Some(Edit::Move { from: (onset, note.pitch), to: (onset, pitch(49)) }), "its highest");
        let mut end = Stroke::begin(&view, 1, inside, note.pitch.number(), true).unwrap();
        end.drag(Ticks(note.onset.0 + (i64::try_from(n).unwrap() + 2) * TICKS_PER_STEP), 99);
        assert_eq!(end.edit(), Some(Edit::Resize { from: (onset, note.pitch), end: onset + n + 3 }));
        assert_eq!(erase(&view, 1, inside, note.pitch.number()), Some(Edit::Erase { from: (onset, note.pitch) }));
        assert_eq!(erase(&view, 2, inside, 127), None);
        let drum = first_note(&view, 0);
        let mut stroke = Stroke::begin(&view, 0, drum.onset, drum.pitch.number(), true).unwrap();
        stroke.drag(Ticks(drum.onset.0 + TICKS_PER_STEP), drum.pitch.number());
        assert!(matches!(stroke.edit(), Some(Edit::Move { .. })), "a drum has no end to drag");
    }

    #[test]
    fn steps_are_those_of_the_meter_and_of_swung_notes() {
        let waltz = TimeSignature::new(3, 4).unwrap();
        assert_eq!([0, 119, 1439, 1440, 1440 + 250].map(|at| step_at(Ticks(at), waltz)), [0, 0, 11, 12, 14]);
        assert_eq!([0, 11, 12, 14].map(|step| place(step, waltz).0), [0, 1320, 1440, 1680]);
        let knobs = Knobs { swing: 1.0, humanize_time: 1.0, ..Knobs::default() };
        let (swung, straight) = (view(knobs, four()), view(Knobs::default(), four()));
        let steps = |view: &ViewModel| -> Vec<_> {
            view.roll.notes.iter().map(|(part, note)| (*part, step_at(note.onset, four()), note.pitch)).collect()
        };
        let sorted = |mut steps: Vec<(Part, usize, Pitch)>| {
            steps.sort_unstable_by_key(|(part, step, pitch)| (format!("{part:?}"), *step, *pitch));
            steps
        };
        assert_eq!(sorted(steps(&swung)), sorted(steps(&straight)));
    }

    #[test]
    fn what_cannot_be_drawn_says_why() {
        let of = |view: &ViewModel, lane, number| Stroke::begin(view, lane, ticks(3, 5), number, false).unwrap_err();
        let plain = view(Knobs { threshold: 0.99, temperature: 0.0, ..Knobs::default() }, four());
        assert_eq!(of(&plain, 1, 90), "lane 2 plays from F#1 (30) to C#3 (49)");
        assert!(of(&plain, 0, 35).contains("plays from bass drum"), "{}", of(&plain, 0, 35));
        let mut muted = Knobs::default();
        muted.lanes[1].muted = true;
        assert!(of(&view(muted, four()), 1, 40).contains("lane 2 does not play"));
        assert!(of(&view(Knobs::default(), TimeSignature::new(5, 4).unwrap()), 1, 40).contains("16 sixteenths"));
        assert_eq!(of(&ViewModel::default(), 0, 40), "there is no pattern yet");
        let mut endless = doubtful(5, vec![mono(30, 20, false)], 2, "C");
        endless.spec.span = Span::Endless;
        assert!(of(&ViewModel::of(endless, Knobs::default(), four()), 0, 40).contains("endless"));
        // A key lowers what is drawn, as it lowers what the network writes.
        let key: Option<Key> = Some("C major".parse().unwrap());
        let in_key = view(Knobs { threshold: 0.99, temperature: 0.0, key, ..Knobs::default() }, four());
        let stroke = Stroke::begin(&in_key, 1, ticks(3, 5), 46, false).unwrap();
        assert_eq!(stroke.edit(), Some(Edit::Add { onset: 3, end: 4, pitch: pitch(45) }));
    }
}
