//! What the graph of a model file may ask of the machine. `SECURITY.md` says against whom.

use super::proto::{EXTERNAL, GraphProto, ModelProto};
use crate::generate::ModelError;

/// Most nodes of a graph, those of graphs inside it included. The band has 1,643.
pub const MAX_NODES: u64 = 20_000;
/// Most numbers of one tensor, and of all tensors that a file holds: 64 MB of 32-bit floats.
pub const MAX_VALUES: u64 = 1 << 24;

/// Operators that no Barline model may hold, and why not.
const REFUSED: [(&str, &str); 8] = [
    ("Loop", "how often it runs is not known before (`Scan` has a fixed length)"),
    ("Bernoulli", RANDOM),
    ("Multinomial", RANDOM),
    ("RandomNormal", RANDOM),
    ("RandomNormalLike", RANDOM),
    ("RandomUniform", RANDOM),
    ("RandomUniformLike", RANDOM),
    ("SequenceMap", "sequences are not tensors"),
];
const RANDOM: &str = "noise comes in as a latent, so that the same address gives the same notes";

/// Checks a graph, and those inside it, against the limits.
///
/// # Errors
/// [`ModelError`] naming the first thing that is refused.
pub fn check(model: &ModelProto, graph: &GraphProto) -> Result<(), ModelError> {
    for opset in &model.opset_import {
        check_domain(&opset.domain, "")?;
    }
    let (mut n_nodes, mut n_values) = (0, 0);
    check_graph(graph, &mut n_nodes, &mut n_values)
}

fn check_graph(graph: &GraphProto, n_nodes: &mut u64, n_values: &mut u64) -> Result<(), ModelError> {
    for node in &graph.node {
        *n_nodes += 1;
        within("nodes", *n_nodes, MAX_NODES)?;
        check_domain(&node.domain, &node.op_type)?;
        if let Some((name, why)) = REFUSED.iter().find(|(name, _)| *name == node.op_type) {
            return Err(ModelError::Unsupported { what: format!("the operator `{name}`: {why}") });
        }
    }
    let attributes = || graph.node.iter().flat_map(|n| &n.attribute);
    for tensor in graph.initializer.iter().chain(attributes().flat_map(|a| a.t.iter().chain(&a.tensors))) {
        if tensor.data_location == EXTERNAL {
            return Err(ModelError::ExternalData);
        }
        let dims = tensor.dims.iter().map(|d| u64::try_from(*d).unwrap_or(u64::MAX));
        *n_values = n_values.saturating_add(dims.fold(1, u64::saturating_mul));
        within("numbers in its tensors", *n_values, MAX_VALUES)?;
    }
    attributes().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs)).try_for_each(|g| check_graph(g, n_nodes, n_values))
}

fn check_domain(domain: &str, operator: &str) -> Result<(), ModelError> {
    if matches!(domain, "" | "ai.onnx") {
        return Ok(());
    }
    let what = if operator.is_empty() { "operators".into() } else { format!("the operator `{operator}`") };
    Err(ModelError::Unsupported { what: format!("{what} of the domain `{domain}`; only standard ONNX operators are run") })
}

/// # Errors
/// [`ModelError::Limit`] when there is more than allowed.
pub fn within(what: &'static str, got: u64, limit: u64) -> Result<(), ModelError> {
    if got > limit { Err(ModelError::Limit { what, got, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{
        onnx_file::{
            OnnxFile,
            tests::{TINY, with_graph},
        },
        proto::{AttributeProto, MAX_DEPTH, MAX_RECORDS, NodeProto, OpsetProto, TensorProto, survey},
    };
    use prost::Message;

    fn refused(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> String {
        OnnxFile::read(&with_graph(change)).unwrap_err().to_string()
    }

    fn node(op_type: &str) -> NodeProto {
        NodeProto { op_type: op_type.into(), ..NodeProto::default() }
    }

    /// A node with a graph inside it.
    fn around(body: GraphProto) -> NodeProto {
        NodeProto { attribute: vec![AttributeProto { g: Some(Box::new(body)), ..AttributeProto::default() }], ..node("Scan") }
    }

    fn graph_of(node: NodeProto) -> GraphProto {
        GraphProto { node: vec![node], ..GraphProto::default() }
    }

    #[test]
    fn the_fixture_changed_in_nothing_is_read() {
        assert!(OnnxFile::read(&with_graph(|_, _| ())).is_ok());
        assert!(OnnxFile::read(&with_graph(|_, g| g.node.push(around(graph_of(node("Add")))))).is_ok());
    }

    #[test]
    fn operators_of_other_domains_and_unbounded_or_random_ones_are_refused_wherever_they_are() {
        let custom = NodeProto { domain: "com.example".into(), ..node("Shell") };
        for (node, what) in [
            (custom, "the operator `Shell` of the domain `com.example`"),
            (node("Loop"), "the operator `Loop`: how often"),
            (node("RandomNormalLike"), "the operator `RandomNormalLike`: noise"),
        ] {
            let inner = graph_of(node.clone());
            assert!(refused(|_, g| g.node.push(node)).contains(what), "{what}");
            assert!(refused(|_, g| g.node.push(around(inner))).contains(what), "{what} in a body");
        }
        let imported = |m: &mut ModelProto, _: &mut GraphProto| m.opset_import.push(OpsetProto { domain: "ai.onnx.ml".into() });
        assert!(refused(imported).contains("the domain `ai.onnx.ml`"));
    }

    #[test]
    fn weights_in_other_files_are_refused_wherever_they_are() {
        let weight = || TensorProto { data_location: EXTERNAL, ..TensorProto::default() };
        let body = GraphProto { initializer: vec![weight()], ..GraphProto::default() };
        let attribute = AttributeProto { t: Some(weight()), ..AttributeProto::default() };
        let constant = NodeProto { attribute: vec![attribute], ..node("Constant") };
        for error in [
            refused(|_, g| g.initializer.push(weight())),
            refused(|_, g| g.node.push(around(body))),
            refused(|_, g| g.node.push(constant)),
        ] {
            assert!(error.contains("outside the file"), "{error}");
        }
    }

    #[test]
    fn too_much_of_anything_is_refused_with_the_count() {
        let many = |n: usize| refused(move |_, g| g.node.resize(n, node("Add")));
        assert_eq!(many(20_001), "the model has 20001 nodes; at most 20000 are allowed");
        assert!(many(200_000).contains("records"), "{}", many(200_000));
        for dims in [vec![3, 1 << 23], vec![i64::MAX, i64::MAX], vec![-2, 7]] {
            let tensor = TensorProto { dims, ..TensorProto::default() };
            assert!(refused(|_, g| g.initializer.push(tensor)).contains("numbers in its tensors; at most 16777216"));
        }
        let nested = |n: u64| (1..n).fold(graph_of(node("Add")), |inner, _| graph_of(around(inner)));
        // The model's own graph is the first.
        assert!(refused(|_, g| g.node.push(around(nested(MAX_DEPTH)))).contains("graphs within graphs"));
        assert!(OnnxFile::read(&with_graph(|_, g| g.node.push(around(nested(MAX_DEPTH - 1))))).is_ok());
    }

    #[test]
    fn a_file_of_empty_messages_is_refused_before_it_is_read() {
        let mut bomb = TINY.to_vec();
        // Field 14 of the model, an entry without a key or a value: two bytes each.
        bomb.extend([14 << 3 | 2, 0].repeat(1 << 20));
        assert!(matches!(OnnxFile::read(&bomb), Err(ModelError::Limit { what: "records", limit: MAX_RECORDS, .. })));
    }

    #[test]
    fn what_no_model_of_ours_has_is_refused_by_name() {
        for (field, what) in [(20_u32, "training information"), (25, "functions of its own")] {
            let mut file = TINY.to_vec();
            prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut file);
            file.push(0);
            assert_eq!(OnnxFile::read(&file).unwrap_err().to_string(), format!("the model has {what}"));
        }
        let mut graph = ModelProto::decode(TINY).unwrap();
        graph.metadata_props.retain(|e| e.key == crate::generate::manifest::METADATA_KEY);
        graph.graph.extend([15 << 3 | 2, 0]);
        assert!(OnnxFile::read(&graph.encode_to_vec()).unwrap_err().to_string().contains("sparse"));
    }

    #[test]
    fn the_largest_model_that_ships_is_far_below_the_limits() {
        let n_records = survey(include_bytes!("../../../models/released/band.onnx")).unwrap();
        assert!((1_000..MAX_RECORDS / 4).contains(&n_records), "{n_records}");
    }
}
