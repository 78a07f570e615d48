//! The takes that were heard lately and those that are kept, as plain data: which they are, and what each looked like. Knows nothing of
//! egui.

use super::roll_model::RollView;
use crate::{
    params::{MAX_SEED, MAX_TAKE},
    player::Part,
    state::{MAX_FAVOURITES, TakeAddress},
};
use std::sync::Arc;

/// Takes that are remembered besides the favourites.
const MAX_RECENT: usize = 12;
/// Columns and rows of a small roll.
pub const SIZE: (u8, u8) = (88, 26);

/// A lane's notes in a row of a small roll, from a column to the one after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From above.
    pub row: u8,
    /// First column.
    pub start: u8,
    /// The column after the last.
    pub end: u8,
    /// Whose.
    pub lane_idx: u8,
}

/// A take.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub address: TakeAddress,
    /// What it looked like when it was last shown, if it was.
    pub picture: Option<Arc<[Run]>>,
    /// Kept with the project.
    pub is_favourite: bool,
}

/// Favourites of which nothing was shown yet, then the others as they were first shown.
#[derive(Debug, Default)]
pub struct Takes {
    /// The takes.
    pub entries: Vec<Entry>,
    /// The one that is shown.
    pub current: Option<TakeAddress>,
    seen: u64,
}

impl Takes {
    /// Takes in the roll that is shown, where its version is new, and what is kept.
    pub fn update(&mut self, shown: Option<&TakeAddress>, roll: &RollView, version: u64, favourites: &[TakeAddress]) {
        for entry in &mut self.entries {
            entry.is_favourite = favourites.contains(&entry.address);
        }
        for address in favourites {
            if !self.entries.iter().any(|entry| entry.address == *address) {
                self.entries.insert(0, Entry { address: address.clone(), picture: None, is_favourite: true });
            }
        }
        if let Some(address) = shown.filter(|_| version != self.seen) {
            self.seen = version;
            self.current = Some(address.clone());
            let picture = Some(runs(roll).into());
            match self.entries.iter_mut().find(|entry| entry.address == *address) {
                Some(entry) => entry.picture = picture,
                None => self.entries.push(Entry { address: address.clone(), picture, is_favourite: false }),
            }
        }
        let n_recent = self.entries.iter().filter(|entry| !entry.is_favourite).count();
        let mut n_over = n_recent.saturating_sub(MAX_RECENT);
        let current = self.current.clone();
        self.entries.retain(|entry| {
            let goes = n_over > 0 && !entry.is_favourite && Some(&entry.address) != current.as_ref();
            n_over -= usize::from(goes);
            !goes
        });
        debug_assert!(self.entries.len() <= MAX_RECENT + MAX_FAVOURITES);
    }
}

/// A roll in few pieces: notes that meet in a cell are one, and of several lanes the last.
fn runs(roll: &RollView) -> Vec<Run> {
    let (n_columns, n_rows) = (usize::from(SIZE.0), usize::from(SIZE.1));
    let (start, end) = roll.span();
    let Ok(span) = usize::try_from(end.0 - start.0) else { return Vec::new() };
    let (lowest, highest) = roll.pitches;
    let n_pitches = usize::from(highest.saturating_sub(lowest)) + 1;
    let mut cells: Vec<Option<u8>> = vec![None; n_columns * n_rows];
    for (part, note) in &roll.notes {
        let Part::Track(lane_idx) = part else { continue };
        let column = |ticks: i64| usize::try_from(ticks - start.0).unwrap_or(0).saturating_mul(n_columns) / span.max(1);
        let from = column(note.onset.0).min(n_columns - 1);
        let to = column(note.onset.0 + note.duration.0).clamp(from + 1, n_columns);
        let below = usize::from(note.pitch.number().saturating_sub(lowest)).min(n_pitches - 1);
        let row = n_rows - 1 - below * n_rows / n_pitches;
        if let Some(row) = cells.get_mut(row * n_columns + from..row * n_columns + to) {
            row.fill(Some(*lane_idx));
        }
    }
    let mut runs: Vec<Run> = Vec::new();
    for (row, cells) in (0..).zip(cells.chunks(n_columns)) {
        for (column, cell) in (0..).zip(cells) {
            let Some(lane_idx) = *cell else { continue };
            match runs.last_mut() {
                Some(run) if (run.row, run.end, run.lane_idx) == (row, column, lane_idx) => run.end = column + 1,
                _ => runs.push(Run { row, start: column, end: column + 1, lane_idx }),
            }
        }
    }
    runs
}

/// A take as people write it: `seed/take`, and its last re-roll.
#[must_use]
pub fn name(address: &TakeAddress) -> String {
    let number = text(address);
    match address.retakes.last() {
        Some(last) => format!("{number} re-roll {}", last.take.saturating_sub(MAX_TAKE.unsigned_abs())),
        None => number,
    }
}

/// Seed and take, to be copied.
#[must_use]
pub fn text(address: &TakeAddress) -> String {
    format!("{}/{}", address.seed, address.take)
}

/// What [`text`] wrote; the take may be left out.
///
/// # Errors
/// What to say.
pub fn read(text: &str) -> Result<TakeAddress, String> {
    let (seed, take) = text.trim().split_once('/').unwrap_or((text.trim(), "0"));
    let number = |text: &str, max: i32| text.trim().parse().ok().filter(|number: &u32| *number <= max.unsigned_abs());
    match (number(seed, MAX_SEED), number(take, MAX_TAKE)) {
        (Some(seed), Some(take)) => Ok(TakeAddress { seed, take, retakes: Vec::new() }),
        _ => Err(format!("a seed is a number up to {MAX_SEED}, and after a slash the take up to {MAX_TAKE}: 1234/5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::Retake,
        music::{note::tests::note, time::TICKS_PER_STEP},
    };

    fn address(seed: u32, take: u32) -> TakeAddress {
        TakeAddress { seed, take, retakes: Vec::new() }
    }

    fn roll() -> RollView {
        let step = |step: i64, n_steps: i64, pitch| note(step * TICKS_PER_STEP, n_steps * TICKS_PER_STEP, pitch);
        let notes = vec![
            (Part::Track(1), step(0, 4, 40)),
            (Part::Track(0), step(4, 4, 40)),
            (Part::Track(0), step(24, 40, 65)),
            (Part::Chords, step(0, 32, 60)),
        ];
        RollView { n_bars: 2, notes, pitches: (40, 65), ..RollView::default() }
    }

    #[test]
    fn a_small_roll_has_the_notes_in_their_places() {
        let run = |row, start, end, lane_idx| Run { row, start, end, lane_idx };
        // 32 sixteenths on 88 columns, 26 pitches on as many rows; chords are no take's.
        assert_eq!(runs(&roll()), [run(0, 66, 88, 0), run(25, 0, 11, 1), run(25, 11, 22, 0)]);
        assert_eq!(runs(&RollView::default()), []);
    }

    #[test]
    fn the_last_takes_and_all_favourites_stay() {
        let (mut takes, roll) = (Takes::default(), roll());
        let kept = [address(3, 0), address(77, 5)];
        for seed in 0..20_u32 {
            takes.update(Some(&address(seed, 0)), &roll, u64::from(seed) + 1, &kept);
        }
        let seeds = |takes: &Takes| takes.entries.iter().map(|entry| entry.address.seed).collect::<Vec<_>>();
        let mut wanted = vec![77, 3];
        wanted.extend(8..20);
        assert_eq!((seeds(&takes), takes.current.clone()), (wanted.clone(), Some(address(19, 0))));
        assert!(takes.entries[0].picture.is_none() && takes.entries[1].picture.is_some());
        // Gone back to, it stays in its place; without a favour it goes like the others.
        takes.update(Some(&address(9, 0)), &roll, 50, &kept);
        assert_eq!((seeds(&takes), takes.current.clone()), (wanted, Some(address(9, 0))));
        takes.update(Some(&address(9, 0)), &roll, 50, &[]);
        assert_eq!(seeds(&takes), (8..20).collect::<Vec<_>>());
        // The same version is not looked at again, whatever it is said to be.
        takes.update(Some(&address(500, 0)), &roll, 50, &[]);
        assert_eq!(takes.current, Some(address(9, 0)));
    }

    #[test]
    fn a_take_is_written_and_read() {
        let retakes = vec![Retake { tracks: 1, bars: 2, take: 1_004 }];
        assert_eq!(name(&TakeAddress { retakes, ..address(12, 3) }), "12/3 re-roll 5");
        assert_eq!(read(&text(&address(65_535, 999))), Ok(address(65_535, 999)));
        assert_eq!((read(" 41 "), read("7 / 2")), (Ok(address(41, 0)), Ok(address(7, 2))));
        for wrong in ["", "/", "65536", "3/1000", "-1", "4/", "x", "1/2/3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
