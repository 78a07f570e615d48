//! ONNX generators.
