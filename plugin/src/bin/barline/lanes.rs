//! The arguments that set lanes.

use barline::player::knobs::{LANE_NAMES, Lane, MAX_LANES};
use clap::Args;
use serde::Serialize;
use std::str::FromStr;

#[derive(Debug, Args, Serialize)]
pub struct LaneArgs {
    /// Lanes that are silent: drums, bass, piano, guitar, strings, or numbers, such as drums,2
    #[arg(long, value_name = "LANES", value_delimiter = ',')]
    mute: Vec<LaneIdx>,
    /// Lanes that play alone
    #[arg(long, value_name = "LANES", value_delimiter = ',')]
    solo: Vec<LaneIdx>,
    /// More notes or fewer in a lane, -4 to 4, such as bass=1,strings=-0.5
    #[arg(long, value_name = "LANE=LOGITS", value_delimiter = ',')]
    density: Vec<Density>,
}

/// Counts from 0; people and files count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "usize")]
struct LaneIdx(usize);

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Density(LaneIdx, f32);

impl From<LaneIdx> for usize {
    fn from(lane: LaneIdx) -> Self {
        lane.0 + 1
    }
}

impl FromStr for LaneIdx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = LANE_NAMES.iter().position(|name| name.eq_ignore_ascii_case(text));
        let numbered = || text.parse().ok().filter(|number| (1..=MAX_LANES).contains(number)).map(|number| number - 1);
        named
            .or_else(numbered)
            .map(Self)
            .ok_or_else(|| format!("a lane is {} or a number from 1 to {MAX_LANES}", LANE_NAMES.join(", ").to_lowercase()))
    }
}

impl FromStr for Density {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || "write a density as LANE=LOGITS with logits from -4 to 4, such as bass=1".to_owned();
        let (lane, logits) = text.split_once('=').ok_or_else(error)?;
        let logits = logits.parse().ok().filter(|logits| (-4.0..=4.0).contains(logits)).ok_or_else(error)?;
        Ok(Self(lane.parse()?, logits))
    }
}

impl LaneArgs {
    /// The lanes with what these arguments set.
    pub fn applied_to(&self, mut lanes: [Lane; MAX_LANES]) -> [Lane; MAX_LANES] {
        for (idx, lane) in lanes.iter_mut().enumerate() {
            lane.muted |= self.mute.contains(&LaneIdx(idx));
            lane.solo |= self.solo.contains(&LaneIdx(idx));
            for Density(_, logits) in self.density.iter().filter(|density| density.0 == LaneIdx(idx)) {
                lane.density = *logits;
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_go_by_name_or_number() {
        assert_eq!("Guitar".parse(), Ok(LaneIdx(3)));
        assert_eq!("16".parse(), Ok(LaneIdx(15)));
        for text in ["", "0", "17", "harp", "drums=1"] {
            assert!(text.parse::<LaneIdx>().is_err(), "{text}");
        }
        assert_eq!("bass=-1.5".parse(), Ok(Density(LaneIdx(1), -1.5)));
        for text in ["bass", "bass=", "bass=4.1", "bass=nan", "harp=1"] {
            assert!(text.parse::<Density>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_set_is_set_in_its_lane_alone() {
        let args =
            LaneArgs { mute: vec![LaneIdx(0), LaneIdx(2)], solo: vec![LaneIdx(4)], density: vec![Density(LaneIdx(1), 0.5)] };
        let lanes = args.applied_to([Lane::default(); MAX_LANES]);
        let set = |lane: &Lane| (lane.muted, lane.solo, lane.density);
        let want = [(true, false, 0.0), (false, false, 0.5), (true, false, 0.0), (false, false, 0.0), (false, true, 0.0)];
        assert_eq!(lanes[..5].iter().map(set).collect::<Vec<_>>(), want);
    }
}
