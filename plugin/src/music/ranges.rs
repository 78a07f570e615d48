//! What the figures of a track are in the songs that the networks learned from. Pure; any thread but the audio thread.

use serde::Deserialize;
use std::{collections::BTreeMap, sync::OnceLock};

/// Measured by `models/ranges.py`.
static MEASURED: &str = include_str!("../../../models/released/ranges.json");

/// The 10th, 50th and 90th percentile over songs.
pub type Range = [f64; 3];

/// The ranges of one kind of track; `None` where the figure means nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Songs measured.
    pub n_songs: u32,
    /// See [`Figures`](super::metrics::Figures) for this and the following.
    pub notes_per_active_bar: Range,
    /// Share of onsets on quarters.
    pub onsets_on_quarters: Range,
    /// Likeness of neighbouring bars.
    pub bar_to_bar_onset_iou: Range,
    /// Drums only.
    pub drum_pattern: Option<Range>,
    /// Not of drums.
    pub pitch_classes_per_bar: Option<Range>,
    /// Not of drums.
    pub polyphony: Option<Range>,
    /// Not of drums.
    pub qualified_notes: Option<Range>,
}

#[derive(Deserialize)]
struct Table {
    kinds: BTreeMap<String, Ranges>,
}

impl Ranges {
    /// The ranges for a track of that name, else for drums or its General MIDI program's family; `None` of what no network learned.
    #[must_use]
    pub fn of_track(name: &str, is_drums: bool, program: Option<u8>) -> Option<&'static Self> {
        static TABLE: OnceLock<BTreeMap<String, Ranges>> = OnceLock::new();
        let table = TABLE.get_or_init(|| serde_json::from_str(MEASURED).map(|table: Table| table.kinds).unwrap_or_default());
        // The families of `models/phrases.py`.
        let family = || match (is_drums, program) {
            (true, _) => Some("drums"),
            (_, Some(0..24)) => Some("piano"),
            (_, Some(24..32)) => Some("guitar"),
            (_, Some(32..40)) => Some("bass"),
            (_, Some(40..96)) => Some("strings"),
            _ => None,
        };
        table
            .get(&name.to_lowercase())
            .filter(|ranges| ranges.drum_pattern.is_some() == is_drums)
            .or_else(|| table.get(family()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_measured_and_its_percentiles_rise() {
        for (name, is_drums) in
            [("Drums", true), ("Bass", false), ("Piano", false), ("Guitar", false), ("Strings", false), ("Melody", false)]
        {
            let ranges = Ranges::of_track(name, is_drums, None).unwrap();
            assert!(ranges.n_songs > 100, "{name}");
            let all = [Some(ranges.notes_per_active_bar), Some(ranges.onsets_on_quarters), ranges.polyphony, ranges.drum_pattern];
            assert!(all.into_iter().flatten().all(|[low, middle, high]| low <= middle && middle <= high), "{name}");
        }
    }

    #[test]
    fn a_track_of_another_name_is_of_its_programs_family() {
        assert_eq!(Ranges::of_track("Low end", false, Some(38)), Ranges::of_track("bass", false, None));
        assert_ne!(Ranges::of_track("Low end", false, Some(30)), Ranges::of_track("bass", false, None));
        assert_eq!(Ranges::of_track("Kit", true, None), Ranges::of_track("Drums", true, None));
        assert_eq!(Ranges::of_track("Drums", false, None), None, "a pitched track is no drum kit, whatever it is called");
        assert_eq!(Ranges::of_track("Rain", false, Some(96)), None);
    }
}
