//! What can go wrong, and the exit codes: they are part of the interface (`docs/command-line.md`) and do not change.

use barline::{
    export::ExportError,
    generate::{GenerateError, ModelError},
    music::smf::SmfError,
};
use std::process::ExitCode;

/// A run that ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Arguments that contradict each other; clap has already refused those that are wrong by themselves.
    #[error("{0}")]
    Usage(String),
    /// The primer is no file that can be read.
    #[error("cannot read the primer {path}: {reason}")]
    PrimerFile { path: String, reason: String },
    /// The primer is no song.
    #[error("cannot read the primer {path}: {source}")]
    PrimerSong { path: String, source: SmfError },
    /// The primer is of no use.
    #[error("the primer {path} cannot be used: {reason}")]
    PrimerUse { path: String, reason: String },
    /// The model cannot be loaded.
    #[error("cannot use model `{model}`: {source}")]
    Model { model: String, source: ModelError },
    /// The model cannot be run.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// An output cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The same, after some of many pieces.
    #[error("{source} (after {n_done} of {n} pieces, which are complete)")]
    ExportAfter { source: ExportError, n_done: u32, n: u32 },
    /// What was measured or listed cannot be printed.
    #[error("cannot print: {0}")]
    Print(String),
}

impl CliError {
    /// 2 usage, 3 primer, 4 model, 5 output; 0 is success, and 101 a fault of this program.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::PrimerFile { .. } | Self::PrimerSong { .. } | Self::PrimerUse { .. } => 3,
            Self::Model { .. } | Self::Generate(_) => 4,
            Self::Export(_) | Self::ExportAfter { .. } | Self::Print(_) => 5,
        })
    }
}
