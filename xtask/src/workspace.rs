//! Where things are, and how commands are run.

use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The project's root: the folder above this package, as cargo says when it runs the task (two checkouts may share a target
/// folder, and with it this program).
pub fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_path_buf).context("xtask lies in no workspace")
}

/// Makes the project's root the current folder, where the bundler looks for `bundler.toml`.
pub fn enter() -> Result<()> {
    env::set_current_dir(root()?).context("cannot enter the workspace")
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Cargo's target folder, wherever the environment or the configuration put it.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().context("cannot read `cargo metadata`")?;
    Ok(metadata.target_directory.into())
}

/// Runs a command to its end and insists on success.
pub fn run(command: &mut Command) -> Result<()> {
    let words = words(command);
    let status = command.status().with_context(|| format!("cannot run `{words}`"))?;
    if status.success() { Ok(()) } else { bail!("`{words}` failed ({status})") }
}

/// A command as one would type it.
pub fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    std::iter::once(program).chain(command.get_args()).map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether a command can be started at all.
pub fn exists(program: &str, arg: &str) -> bool {
    Command::new(program).arg(arg).output().is_ok_and(|output| output.status.success())
}
