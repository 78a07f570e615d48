//! What a model file says about itself, read from the protobuf: manifest, inputs, output. Runs no network.

use super::{
    limits,
    proto::{FLOAT, GraphProto, ModelProto, ValueProto, survey},
};
use crate::generate::{
    ModelError,
    manifest::{METADATA_KEY, Manifest},
};
use prost::Message;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Largest model file that is read, in bytes.
pub const MAX_MODEL_BYTES: u64 = 64 << 20;
/// Metadata key of the SHA-256 of the serialised graph, lower-case hex; where a model has it, a damaged file is told by it.
pub const GRAPH_HASH_KEY: &str = "barline.graph_sha256";

/// A model file that was read and checked, but not run.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    /// What it says it is; agrees with the graph.
    pub manifest: Manifest,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
}

impl OnnxFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ModelError`] when it is too large, no ONNX, damaged, no Barline model, asks for too much, or contradicts its manifest.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        let n_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if n_bytes > MAX_MODEL_BYTES {
            return Err(ModelError::TooLarge { bytes: n_bytes, limit: MAX_MODEL_BYTES });
        }
        let damaged = |e: prost::DecodeError| ModelError::NotOnnx { reason: e.to_string() };
        survey(bytes)?;
        let model = ModelProto::decode(bytes).map_err(damaged)?;
        if model.graph.is_empty() {
            return Err(ModelError::NotOnnx { reason: "it holds no graph".into() });
        }
        let metadata = |key: &str| model.metadata_props.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let json = metadata(METADATA_KEY).ok_or(ModelError::NoManifest)?;
        if let Some(wanted) = metadata(GRAPH_HASH_KEY)
            && wanted != hex_sha256(&model.graph)
        {
            return Err(ModelError::NotOnnx { reason: "the graph does not have the checksum that the file names".into() });
        }
        let manifest = Manifest::from_json(json)?;
        let graph = GraphProto::decode(model.graph.as_slice()).map_err(damaged)?;
        limits::check(&model, &graph)?;
        check_graph(&graph, &manifest)?;
        Ok(Self { manifest, sha256: hex_sha256(bytes) })
    }
}

fn check_graph(graph: &GraphProto, manifest: &Manifest) -> Result<(), ModelError> {
    let wanted = manifest
        .latents
        .iter()
        .map(|l| (&l.name, &l.shape))
        .chain(manifest.conditions.iter().map(|c| (&c.name, &c.shape)))
        .collect::<Vec<_>>();
    for (name, shape) in &wanted {
        check_value("input", &graph.input, name, shape)?;
    }
    // Old exporters list the weights among the inputs.
    let free = graph.input.iter().filter(|i| !graph.initializer.iter().any(|w| w.name == i.name));
    for input in free {
        if !wanted.iter().any(|(name, _)| **name == input.name) {
            return Err(mismatch(format!("the graph has an input `{}` that the manifest does not name", input.name)));
        }
    }
    check_value("output", &graph.output, &manifest.output.name, &manifest.output.shape)
}

fn check_value(role: &str, values: &[ValueProto], name: &str, shape: &[usize]) -> Result<(), ModelError> {
    let value = values.iter().find(|v| v.name == name);
    let value = value.ok_or_else(|| mismatch(format!("the graph has no {role} `{name}`")))?;
    let tensor = value.r#type.as_ref().and_then(|t| t.tensor.as_ref());
    let tensor = tensor.ok_or_else(|| mismatch(format!("the {role} `{name}` is no tensor")))?;
    if tensor.elem_type != FLOAT {
        return Err(mismatch(format!("the {role} `{name}` does not hold 32-bit floats")));
    }
    let dims = tensor.shape.iter().flat_map(|s| &s.dim);
    // A dimension with a name instead of a number becomes 0, which no manifest says.
    let got: Vec<usize> = dims.map(|d| d.dim_value.and_then(|v| usize::try_from(v).ok()).unwrap_or(0)).collect();
    if got != shape {
        return Err(mismatch(format!("the {role} `{name}` has the shape {got:?} in the graph and {shape:?} in the manifest")));
    }
    Ok(())
}

fn mismatch(reason: String) -> ModelError {
    ModelError::Mismatch { reason }
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TINY: &[u8] = include_bytes!("../../../tests/fixtures/tiny.onnx");

    /// The fixture with something added to its graph. What is not declared in `proto` is lost, the weights for one.
    pub(crate) fn with_graph(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> Vec<u8> {
        let mut model = ModelProto::decode(TINY).unwrap();
        let mut graph = GraphProto::decode(model.graph.as_slice()).unwrap();
        model.metadata_props.retain(|e| e.key != GRAPH_HASH_KEY);
        change(&mut model, &mut graph);
        model.graph = graph.encode_to_vec();
        model.encode_to_vec()
    }

    /// The fixture with its manifest changed.
    pub(crate) fn with_manifest(change: impl Fn(&str) -> String) -> Vec<u8> {
        let mut model = ModelProto::decode(TINY).unwrap();
        for entry in &mut model.metadata_props {
            if entry.key == METADATA_KEY {
                let changed = change(&entry.value);
                assert_ne!(changed, entry.value);
                entry.value = changed;
            }
        }
        model.encode_to_vec()
    }

    fn refused(bytes: &[u8]) -> ModelError {
        OnnxFile::read(bytes).unwrap_err()
    }

    #[test]
    fn the_fixture_is_read() {
        let file = OnnxFile::read(TINY).unwrap();
        assert_eq!(file.manifest, crate::generate::manifest::tests::tiny());
        assert_eq!(file.sha256.len(), 64);
    }

    #[test]
    fn what_is_no_barline_model_is_refused_with_the_reason() {
        assert!(matches!(refused(b""), ModelError::NotOnnx { .. }));
        assert!(matches!(refused(b"MThd\0\0\0\x06"), ModelError::NotOnnx { .. }));
        assert!(matches!(refused(&TINY[..TINY.len() / 2]), ModelError::NotOnnx { .. }));
        assert!(matches!(refused(&TINY[..TINY.len() - 1]), ModelError::NotOnnx { .. }));
        let oversized = vec![0_u8; usize::try_from(MAX_MODEL_BYTES).unwrap() + 1];
        assert!(matches!(refused(&oversized), ModelError::TooLarge { .. }));
        let mut foreign = ModelProto::decode(TINY).unwrap();
        foreign.metadata_props.clear();
        assert!(matches!(refused(&foreign.encode_to_vec()), ModelError::NoManifest));
        assert!(matches!(refused(&with_manifest(|_| "{".into())), ModelError::Manifest(_)));
    }

    #[test]
    fn a_flipped_byte_in_the_graph_is_told() {
        let model = ModelProto::decode(TINY).unwrap();
        let at = TINY.windows(64).position(|w| w == &model.graph[..64]).unwrap();
        for offset in [0, 100, 1234, model.graph.len() - 1] {
            let mut damaged = TINY.to_vec();
            damaged[at + offset] ^= 0x20;
            assert!(matches!(refused(&damaged), ModelError::NotOnnx { .. }), "{offset}");
        }
    }

    #[test]
    fn a_graph_that_is_not_what_the_manifest_says_is_refused() {
        for (from, to) in [
            ("\"name\": \"noise\"", "\"name\": \"z\""),
            ("[1, 7]", "[1, 8]"),
            ("\"name\": \"logits\"", "\"name\": \"result\""),
            (r#"{"name": "noise", "shape": [1, 7], "distribution": "normal", "scope": "bar"}"#, ""),
        ] {
            let changed = with_manifest(|json| json.replace(from, to));
            assert!(matches!(refused(&changed), ModelError::Mismatch { .. }), "{from}");
        }
    }
}
