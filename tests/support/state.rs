//! The saved state as nice-plug writes it: `{"version", "params": {id: {type: value}}, "fields": {key: JSON in a string}}`.

use crate::{
    host::{Block, Host},
    notes::Kind,
    song::Song,
};
use barline::music::chord::Progression;
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

/// A state that can be edited and handed back.
#[derive(Clone, Debug, PartialEq)]
pub struct State(Value);

impl State {
    /// Reads a state.
    ///
    /// # Panics
    /// It is no JSON object.
    pub fn parse(json: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(json).expect("the state is JSON");
        assert!(value.is_object(), "the state is a JSON object");
        Self(value)
    }

    /// The bytes to load.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The whole state.
    pub fn value(&mut self) -> &mut Value {
        &mut self.0
    }

    /// A parameter's saved value, without its type (`{"i32": 7}` is 7).
    pub fn parameter(&self, id: &str) -> &Value {
        let typed = self.0.get("params").and_then(|p| p.get(id)).and_then(Value::as_object);
        typed.and_then(|t| t.values().next()).unwrap_or(&Value::Null)
    }

    /// A saved field, decoded.
    pub fn field(&self, key: &str) -> Value {
        let text = self.0.get("fields").and_then(|f| f.get(key)).and_then(Value::as_str);
        text.map_or(Value::Null, |t| serde_json::from_str(t).unwrap_or(Value::Null))
    }

    /// Names of the saved fields.
    pub fn field_names(&self) -> Vec<String> {
        self.0.get("fields").and_then(Value::as_object).map(|f| f.keys().cloned().collect()).unwrap_or_default()
    }

    /// Changes a saved parameter; its type stays.
    ///
    /// # Panics
    /// The state has none with this id.
    #[must_use]
    pub fn with_parameter(mut self, id: &str, value: impl Into<Value>) -> Self {
        let typed = self.0["params"][id].as_object_mut().unwrap_or_else(|| panic!("no parameter `{id}` in the state"));
        if let Some(inner) = typed.values_mut().next() {
            *inner = value.into();
        }
        self
    }

    /// Keeps the saved parameters that `is_kept` says yes to.
    #[must_use]
    pub fn with_parameters_only(mut self, is_kept: impl Fn(&str) -> bool) -> Self {
        if let Some(parameters) = self.0.get_mut("params").and_then(Value::as_object_mut) {
            parameters.retain(|id, _| is_kept(id));
        }
        self
    }

    /// Changes a saved field.
    #[must_use]
    pub fn with_field(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0["fields"][key] = Value::String(value.into().to_string());
        self
    }

    /// Takes a field out.
    #[must_use]
    pub fn without_field(mut self, key: &str) -> Self {
        if let Some(fields) = self.0.get_mut("fields").and_then(Value::as_object_mut) {
            fields.remove(key);
        }
        self
    }
}

/// Key of Barline's own document among the fields.
pub const DOCUMENT: &str = "barline";

/// What an instance is set to; everything else at its default.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// Seed.
    pub seed: u32,
    /// `1`, `2`, `4`, `8`, `16`, `32` or `endless`.
    pub length: &'a str,
    /// The progression.
    pub chords: &'a str,
    /// Id of the model.
    pub model: &'a str,
    /// Other parameters by id, in the state's own values.
    pub parameters: Vec<(&'a str, Value)>,
    /// Other settings of the document: re-rolls, locks, a given track.
    pub settings: Vec<(&'a str, Value)>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { seed: 7, length: "8", chords: "C | Am | F | G", model: "melody", parameters: Vec::new(), settings: Vec::new() }
    }
}

impl Setup<'_> {
    /// The state of a fresh instance, changed to this, without a pattern.
    pub fn applied_to(&self, fresh: State) -> State {
        let mut document = fresh.field(DOCUMENT);
        assert!(document.is_object(), "the state holds the field `{DOCUMENT}`: {fresh:?}");
        document["settings"]["progression"] = self.chords.into();
        document["settings"]["model"] = self.model.into();
        for (key, value) in &self.settings {
            document["settings"][key] = value.clone();
        }
        document["pattern"] = Value::Null;
        let state = fresh.with_parameter("seed", self.seed).with_parameter("length", self.length).with_field(DOCUMENT, document);
        self.parameters.iter().fold(state, |state, (id, value)| state.with_parameter(id, value.clone()))
    }

    /// Sets the instance to this and waits for its pattern.
    ///
    /// # Panics
    /// The state is refused, or no pattern comes within 30 s.
    pub fn load(&self, host: &mut dyn Host) {
        let state = self.applied_to(State::parse(&host.save()));
        host.load(&state.to_bytes()).unwrap_or_else(|e| panic!("{}: {e}", host.format()));
        settle(host);
    }
}

/// Runs stopped blocks until the instance holds the pattern that its settings ask for.
///
/// The sign is the pattern in the saved state. Endless patterns are never saved, and of chords played in the state does not say
/// whether the latest is in: for them the wait is two seconds.
///
/// # Panics
/// It does not come within 30 s.
pub fn settle(host: &mut dyn Host) {
    let rate = host.sample_rate();
    let block = |host: &mut dyn Host| {
        let transport = Some(Song::default().transport(0, rate, false));
        let events = host
            .process(&Block { n_samples: 64, transport, inputs: Vec::new() })
            .unwrap_or_else(|e| panic!("{}: {e}", host.format()));
        assert!(events.iter().all(|e| e.kind == Kind::Off), "a note started while stopped: {events:?}");
    };
    let start = Instant::now();
    loop {
        block(host);
        let state = State::parse(&host.save());
        let is_telling = state.parameter("length") != "endless" && state.parameter("chord_source") != "midi";
        if if is_telling { state.holds_its_pattern() } else { start.elapsed() > Duration::from_secs(2) } {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{}: no pattern after 30 s: {state:?}", host.format());
        thread::sleep(Duration::from_millis(5));
    }
    // The worker has it; the player takes it out of its queue in the next blocks.
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(5));
        block(host);
    }
}

impl State {
    /// The pattern saved with it is made from what else it holds (the model aside, which may be missing).
    pub fn holds_its_pattern(&self) -> bool {
        let document = self.field(DOCUMENT);
        let spec = &document["pattern"]["spec"];
        // Given music and locks change on their way into the specification; re-rolls do not.
        let rerolls = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let chords = |value: &Value| value.as_str().and_then(|text| text.parse::<Progression>().ok());
        let wanted_bars = self.parameter("length").as_str().and_then(|l| l.parse::<u64>().ok());
        spec.is_object()
            && spec["seed"] == *self.parameter("seed")
            && spec["take"] == *self.parameter("take")
            && document["pattern"]["n_bars"].as_u64() == wanted_bars
            && rerolls(&spec["takes"]) == rerolls(&document["settings"]["takes"])
            && (self.parameter("chord_source") == "midi"
                || chords(&spec["progression"]) == chords(&document["settings"]["progression"]))
    }
}
