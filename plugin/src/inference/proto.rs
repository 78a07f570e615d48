//! The parts of ONNX files that Barline looks at, and a count of everything in them that needs memory of its own once read.
//!
//! # Source
//! ONNX 1.x, `onnx.proto`; the fields keep their numbers. Those that are not declared are skipped by the reader but counted.

use crate::generate::ModelError;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// `TensorProto.DataType.FLOAT`.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataLocation.EXTERNAL`.
pub const EXTERNAL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// A `GraphProto`, kept serialised to be hashed.
    #[prost(bytes = "vec", tag = "7")]
    pub graph: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OpsetProto>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<EntryProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OpsetProto {
    #[prost(string, tag = "1")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct EntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// The body of a `Scan` or `If`.
    #[prost(message, optional, boxed, tag = "6")]
    pub g: Option<Box<GraphProto>>,
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
}

/// Most messages, texts and numbers in a file, besides the packed numbers of its tensors: 64 MB of empty messages would become
/// gigabytes once read. The band, the largest that ships, has less than a quarter of it.
pub const MAX_RECORDS: u64 = 1 << 18;
/// Deepest nesting of graphs: a `Scan` within an `If` has three.
pub const MAX_DEPTH: u64 = 4;

/// A message of the format: what its fields hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    /// Holds texts and numbers only.
    Entry,
}

impl Kind {
    /// What lies in a field that is a message; `None` for texts and packed numbers.
    ///
    /// # Errors
    /// The name of what no Barline model has.
    fn field(self, tag: u32) -> Result<Option<Self>, &'static str> {
        Ok(match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 8 | 14) | (Self::Graph | Self::Tensor, 16) | (Self::Tensor, 13) | (Self::Node, 9) => Some(Self::Entry),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Graph, 11..=13) => Some(Self::Value),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Value, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            (Self::Shape, 1) | (Self::Value, 4) => Some(Self::Entry),
            (Self::Model, 20) => return Err("training information"),
            (Self::Model, 25) => return Err("functions of its own"),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) | (Self::Type, 8) => return Err("sparse tensors"),
            (Self::Graph, 14) => return Err("quantization annotations"),
            (Self::Attribute, 14 | 15) | (Self::Type, 4 | 5 | 7 | 9) => return Err("types other than tensors"),
            _ => None,
        })
    }
}

/// Counts the records of a file and checks how deep its graphs lie in each other, without allocating.
///
/// # Errors
/// [`ModelError::NotOnnx`] when it is no protobuf, [`ModelError::Limit`] and [`ModelError::Unsupported`] when it holds too much or
/// what no Barline model has.
pub fn survey(file: &[u8]) -> Result<u64, ModelError> {
    let mut n_records = 0;
    count(file, Kind::Model, 0, &mut n_records)?;
    Ok(n_records)
}

fn count(mut bytes: &[u8], kind: Kind, depth: u64, n_records: &mut u64) -> Result<(), ModelError> {
    let damaged = |e: DecodeError| ModelError::NotOnnx { reason: e.to_string() };
    let depth = depth + u64::from(kind == Kind::Graph);
    if depth > MAX_DEPTH {
        return Err(ModelError::Limit { what: "graphs within graphs", got: depth, limit: MAX_DEPTH });
    }
    while !bytes.is_empty() {
        *n_records += 1;
        if *n_records > MAX_RECORDS {
            return Err(ModelError::Limit { what: "records", got: *n_records, limit: MAX_RECORDS });
        }
        let (tag, wire) = decode_key(&mut bytes).map_err(damaged)?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut bytes, DecodeContext::default()).map_err(damaged)?;
            continue;
        }
        let n_bytes = decode_varint(&mut bytes).map_err(damaged)?;
        let body = usize::try_from(n_bytes).ok().and_then(|n| bytes.split_at_checked(n));
        let (body, rest) = body.ok_or_else(|| ModelError::NotOnnx { reason: "it ends too early".into() })?;
        bytes = rest;
        let inner = kind.field(tag).map_err(|what| ModelError::Unsupported { what: what.into() })?;
        if let Some(inner) = inner {
            count(body, inner, depth, n_records)?;
        }
    }
    Ok(())
}
