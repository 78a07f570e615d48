//! What can go wrong, and the exit codes: they are part of the interface (`docs/command-line.md`) and do not change.

use barline::{
    export::ExportError,
    generate::{GenerateError, ModelError},
};
use std::process::ExitCode;

/// A run that ends without having done what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Arguments that contradict each other; clap has already refused those that are wrong by themselves.
    #[error("{0}")]
    Usage(String),
    /// A file that is to be read is no song.
    #[error("cannot read the {what} {path}: {reason}")]
    Read { what: &'static str, path: String, reason: String },
    /// It is of no use.
    #[error("the {what} {path} cannot be used: {reason}")]
    Use { what: &'static str, path: String, reason: String },
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
    /// 2 usage, 3 primer, song or soundfont, 4 model, 5 output; 0 is success, and 101 a fault of this program.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Read { .. } | Self::Use { .. } => 3,
            Self::Model { .. } | Self::Generate(_) => 4,
            Self::Export(_) | Self::ExportAfter { .. } | Self::Print(_) => 5,
        })
    }
}
