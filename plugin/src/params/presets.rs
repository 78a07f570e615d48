//! Presets: an idea by itself (model, chords, seed, knobs), to be taken into any project. A preset is a project's own JSON without what
//! belongs to the project: re-rolls, locks, the user's own music, the pattern, and how notes are routed. Host's main thread and editor,
//! never the audio thread.

use super::{AnyParam, BarlineParams, DOCUMENT_KEY, check_state};
use crate::state::{Document, Settings, StateError};
use nice_plug::{
    plugin::ParamValue,
    prelude::{Param, ParamSetter, PluginState},
};
use std::collections::BTreeMap;

/// Values of parameters, by id.
pub type Values = BTreeMap<String, ParamValue>;

/// Parameters that are the project's and not an idea's: where notes go, what is captured, what is switched off.
const OF_THE_PROJECT: [&str; 11] = [
    "bypass",
    "thru",
    "capture",
    "capture_bars",
    "given_lane",
    "one_channel",
    "only_lane",
    "channel",
    "chords_channel",
    "preview",
    "preview_volume",
];

/// A preset as the factory writes it: name, model, progression, and the parameters that are not at their defaults.
type Factory = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const FACTORY: [Factory; 10] = [
    ("Pop tune", "melody", "C | G | Am | F", &[("seed", "12"), ("humanize_velocity", "0.4")]),
    (
        "Slow evening",
        "melody",
        "Cmaj7 | Am7 | Dm7 | G7",
        &[("seed", "301"), ("temperature", "0.6"), ("threshold", "0.62"), ("chords_on", "true"), ("velocity", "76")],
    ),
    (
        "Restless",
        "melody",
        "Am | F | C | E7",
        &[("seed", "4077"), ("temperature", "1.35"), ("threshold", "0.36"), ("octave", "1"), ("note_length", "0.7")],
    ),
    (
        "Swung blues, endless",
        "melody",
        "C7 | F7 | C7 | C7 | F7 | F7 | C7 | C7 | G7 | F7 | C7 | G7",
        &[("seed", "58"), ("length", "endless"), ("swing", "0.6"), ("accent", "0.7"), ("chords_on", "true")],
    ),
    ("As in the paper", "midinet", "C | Am | F | G", &[("seed", "7"), ("temperature", "0"), ("humanize_velocity", "0")]),
    ("Band: four chords", "band", "C | G | Am | F", &[("seed", "21")]),
    (
        "Band: ballad in A minor",
        "band",
        "Am | F | C | E7",
        &[("seed", "640"), ("lane1_density", "-0.6"), ("lane1_velocity", "-16"), ("threshold", "0.56"), ("velocity", "78")],
    ),
    ("Band: without drums", "band", "Dm7 | G7 | Cmaj7 | A7", &[("seed", "905"), ("lane1_on", "false"), ("swing", "0.35")]),
    (
        "Band: bass and drums",
        "band",
        "Em | C | G | D",
        &[("seed", "77"), ("lane3_on", "false"), ("lane4_on", "false"), ("lane5_on", "false"), ("accent", "0.8")],
    ),
    (
        "Band: slowly to another seed",
        "band",
        "F | G | Em | Am",
        &[("seed", "1500"), ("seed_b", "2600"), ("morph", "0.25"), ("length", "16")],
    ),
];

/// A file that is no preset, or one of a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the preset was not loaded: {0}")]
pub struct PresetError(#[from] StateError);

/// An idea.
#[derive(Clone, Debug)]
pub struct Preset {
    /// Every parameter that a preset holds.
    pub values: Values,
    /// Id of the model.
    pub model: String,
    /// The progression.
    pub progression: String,
    /// States of the bar before the first.
    pub primer: Vec<u16>,
}

fn is_of_an_idea(id: &str) -> bool {
    !(OF_THE_PROJECT.contains(&id) || id.starts_with("lane") && id.ends_with("_channel"))
}

impl Preset {
    /// What a preset file, or a whole project, holds of an idea. Parameters that it lacks have their defaults.
    ///
    /// # Errors
    /// [`PresetError`], as a project with it would be refused.
    pub fn from_json(json: &str) -> Result<Self, PresetError> {
        let mut state: PluginState = serde_json::from_str(json).map_err(|e| StateError::Json(e.to_string()))?;
        check_state(&state)?;
        let document =
            state.fields.get(DOCUMENT_KEY).map_or_else(|| Ok(Document::default()), |json| Document::from_json(json))?;
        let Settings { progression, model, primer, .. } = document.settings;
        let defaults = BarlineParams::default();
        let ideas = defaults.each().into_iter().filter(|(id, _)| is_of_an_idea(id));
        let values = ideas.map(|(id, param)| (id.clone(), state.params.remove(&id).unwrap_or_else(|| param.default_value())));
        Ok(Self { values: values.collect(), model, progression, primer })
    }

    /// The file's content.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { values, model, progression, primer } = self.clone();
        let document =
            Document { settings: Settings { progression, model, primer, ..Settings::default() }, ..Document::default() };
        let field = serde_json::to_string(&document).unwrap_or_default();
        let fields = [(DOCUMENT_KEY.to_owned(), field)].into();
        let state = PluginState { version: env!("CARGO_PKG_VERSION").into(), params: values, fields };
        serde_json::to_string_pretty(&state).unwrap_or_default()
    }

    /// The presets that come with the program, by name.
    #[must_use]
    pub fn factory() -> Vec<(&'static str, Self)> {
        let defaults = BarlineParams::default();
        let made = FACTORY.iter().map(|(name, model, progression, changed)| {
            let value_of = |id: &str, param: &AnyParam<'_>| {
                let text = changed.iter().find(|(other, _)| *other == id).map(|(_, text)| *text);
                text.and_then(|text| param.parsed(text)).unwrap_or_else(|| param.default_value())
            };
            let ideas = defaults.each().into_iter().filter(|(id, _)| is_of_an_idea(id));
            let values = ideas.map(|(id, param)| (id.clone(), value_of(&id, &param))).collect();
            (*name, Self { values, model: (*model).into(), progression: (*progression).into(), primer: Vec::new() })
        });
        made.collect()
    }
}

impl BarlineParams {
    /// The idea of now, as a preset.
    #[must_use]
    pub fn preset(&self) -> Preset {
        let Settings { progression, model, primer, .. } = self.saved.snapshot().settings;
        Preset { values: self.values(), model, progression, primer }
    }

    pub(super) fn values(&self) -> Values {
        self.each().into_iter().filter(|(id, _)| is_of_an_idea(id)).map(|(id, param)| (id, param.value())).collect()
    }

    /// Sets parameters through the host, so that it hears of it.
    pub fn set_values(&self, values: &Values, setter: &ParamSetter) {
        for (id, param) in self.each() {
            if let Some(value) = values.get(&id).filter(|value| format!("{value:?}") != format!("{:?}", param.value())) {
                param.set(value, setter);
            }
        }
    }
}

/// Sets a parameter in one gesture.
pub fn set<P: Param>(param: &P, value: P::Plain, setter: &ParamSetter) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Retake;

    #[test]
    fn the_factory_presets_are_what_they_say() {
        let factory = Preset::factory();
        for ((name, preset), (_, _, _, changed)) in factory.iter().zip(FACTORY) {
            let read = Preset::from_json(&preset.to_json()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(format!("{read:?}"), format!("{preset:?}"));
            let defaults = BarlineParams::default().values();
            let differs = |id: &&String| format!("{:?}", defaults[*id]) != format!("{:?}", preset.values[*id]);
            let mut other: Vec<&str> = preset.values.keys().filter(differs).map(String::as_str).collect();
            let mut wanted: Vec<&str> = changed.iter().map(|(id, _)| *id).collect();
            other.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(other, wanted, "{name}: a value is not understood, or is the default");
        }
        let mut names: Vec<_> = factory.iter().map(|(name, _)| name).collect();
        names.dedup();
        assert_eq!(names.len(), FACTORY.len());
    }

    #[test]
    fn a_preset_holds_the_idea_and_nothing_of_the_project() {
        let params = BarlineParams::default();
        params.saved.change(|settings| settings.progression = "Em | C".into()).unwrap();
        params.reroll(Retake::ALL_TRACKS, Retake::ALL_BARS).unwrap();
        let json = params.preset().to_json();
        for absent in OF_THE_PROJECT.iter().copied().chain(["lane2_channel", "takes", "locks"]) {
            assert!(!json.contains(&format!("\"{absent}\"")) && !json.contains(&format!("\\\"{absent}\\\"")), "{absent}: {json}");
        }
        assert!(json.contains("Em | C") && json.contains("\"lane2_octave\""));
    }

    #[test]
    fn loading_takes_the_rerolls_and_undo_brings_all_back() {
        let params = BarlineParams::default();
        params.reroll(1, 2).unwrap();
        let before = params.saved.snapshot().settings;
        let preset = Preset { model: "band".into(), progression: "Dm".into(), ..params.preset() };
        let generations = params.saved.generations();
        params.take_preset(&preset);
        let now = params.saved.snapshot().settings;
        assert_eq!((now.model.as_str(), now.progression.as_str(), now.takes.len()), ("band", "Dm", 0));
        let after = params.saved.generations();
        assert!(after.model != generations.model && after.progression != generations.progression);
        let undone = params.undo();
        assert_eq!(params.saved.snapshot().settings, before);
        assert_eq!(format!("{:?}", undone.values), format!("{:?}", params.values()));
        params.redo();
        assert_eq!(params.saved.snapshot().settings, now);
        // The step before is still there.
        params.undo();
        params.undo();
        assert!(params.saved.snapshot().settings.takes.is_empty() && !params.saved.can_undo());
    }

    #[test]
    fn what_is_no_preset_is_refused_with_the_reason() {
        let good = BarlineParams::default().preset().to_json();
        assert!(Preset::from_json(&good).is_ok());
        for (bad, reason) in [
            ("{".to_owned(), "cannot be read"),
            ("{}".into(), "cannot be read"),
            (good.replace("\\\"version\\\":1", "\\\"version\\\":9"), "newer version"),
            (good.replace("C | Am | F | G", "H | ???"), "chords"),
            (good.replacen("\"swing\": {\n      \"f32\": 0.0", "\"swing\": {\n      \"f32\": 7.5", 1), "`swing`"),
        ] {
            let said = Preset::from_json(&bad).unwrap_err().to_string();
            assert!(said.contains(reason), "{reason}: {said}");
        }
    }
}
