//! Execution providers of ONNX Runtime: which exist here, in which order they are tried, which one the user asked for.

use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use std::path::Path;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// NVIDIA.
    Cuda,
    /// Windows, any GPU.
    DirectMl,
    /// Apple.
    CoreMl,
    /// Everywhere.
    Cpu,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The fastest on the model.
    Auto,
    /// This one.
    Only(Provider),
}

impl Provider {
    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::DirectMl => "DirectML",
            Self::CoreMl => "CoreML",
            Self::Cpu => "CPU",
        }
    }

    /// Whether the runtime was built with it. Must not be asked of tract, which knows no providers.
    pub fn is_available(self) -> bool {
        match self {
            Self::Cuda => ep::CUDA::is_available().unwrap_or(false),
            Self::DirectMl => ep::DirectML::is_available().unwrap_or(false),
            Self::CoreMl => ep::CoreML::is_available().unwrap_or(false),
            Self::Cpu => true,
        }
    }

    /// The registration; `None` for the CPU, which is always there. An error instead of a silent fallback.
    pub fn registration(self) -> Option<ExecutionProviderDispatch> {
        match self {
            Self::Cuda => Some(ep::CUDA::default().build().error_on_failure()),
            Self::DirectMl => Some(ep::DirectML::default().build().error_on_failure()),
            Self::CoreMl => Some(ep::CoreML::default().build().error_on_failure()),
            Self::Cpu => None,
        }
    }
}

/// Loads the CUDA and cuDNN libraries that lie beside an ONNX Runtime (`cargo xtask runtime --gpu` puts them there): its CUDA
/// provider names them without a path, and on Linux without a run path. Where none lie there, the system's are found, or not.
pub fn preload_cuda(library: &Path) {
    let Some(folder) = library.parent() else { return };
    for name in ep::cuda::CUDA_DYLIBS.iter().chain(ep::cuda::CUDNN_DYLIBS) {
        let path = folder.join(name);
        if path.is_file() {
            // What cannot be loaded is missed by the provider in a moment, whose words are reported.
            let _ = ort::util::preload_dylib(&path);
        }
    }
}

/// The providers worth trying on this system, in order; the CPU is the last.
pub fn order() -> &'static [Provider] {
    if cfg!(windows) {
        &[Provider::Cuda, Provider::DirectMl, Provider::Cpu]
    } else if cfg!(target_os = "macos") {
        &[Provider::CoreMl, Provider::Cpu]
    } else {
        &[Provider::Cuda, Provider::Cpu]
    }
}

/// Reads `BARLINE_PROVIDER`: `auto` (also when unset), `cpu`, `cuda`, `directml`, `coreml`.
///
/// # Errors
/// A text for people when it is something else.
pub fn parse_choice(text: &str) -> Result<Choice, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "auto" => Ok(Choice::Auto),
        "cpu" => Ok(Choice::Only(Provider::Cpu)),
        "cuda" => Ok(Choice::Only(Provider::Cuda)),
        "directml" | "dml" => Ok(Choice::Only(Provider::DirectMl)),
        "coreml" => Ok(Choice::Only(Provider::CoreMl)),
        other => Err(format!("BARLINE_PROVIDER={other} is not known (auto, cpu, cuda, directml, coreml); using auto")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        assert_eq!(parse_choice(""), Ok(Choice::Auto));
        assert_eq!(parse_choice(" CUDA "), Ok(Choice::Only(Provider::Cuda)));
        assert_eq!(parse_choice("dml"), Ok(Choice::Only(Provider::DirectMl)));
        assert!(parse_choice("tpu").unwrap_err().contains("tpu"));
    }

    #[test]
    fn the_cpu_is_the_last_resort_everywhere() {
        assert_eq!(order().last(), Some(&Provider::Cpu));
    }
}
