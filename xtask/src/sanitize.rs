//! Steps that run the pure core under a watchful runtime: RealtimeSanitizer, Miri and ThreadSanitizer. All come with a nightly
//! toolchain; where there is none, or it lacks a component, the step says so and is skipped.

use crate::{
    test::{Outcome, host_triple, runner},
    workspace,
};
use anyhow::{Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Tests of the core with its own dependencies only.
pub const CORE: [&str; 5] = ["test", "--manifest-path", "tests/core/Cargo.toml", "--lib", "--quiet"];

/// What Miri runs, at some thousandth of the speed: the port between the threads, and what converts. A player's block takes minutes.
const UNDER_MIRI: [&str; 2] = ["engine::port::", "music::note::"];

/// The player's tests in a real-time context: an allocation, a lock that waits or a system call inside `process` ends them. Then
/// violations that are planted, each of which must be caught.
pub fn real_time(closing: &mut Vec<String>) -> Result<Outcome> {
    let core = |command: &mut Command| {
        command.args(CORE).arg("--");
    };
    in_real_time(&core, &["player::tests::"], &["planted_allocation", "planted_lock", "planted_file"], closing)
}

/// The same for the built plugin in a CLAP host, the framework's part of `process` included: random scripts at the pace of playing.
pub fn real_time_plugin(bundled: &Path, closing: &mut Vec<String>) -> Result<Outcome> {
    let host = |command: &mut Command| {
        command.args(["test", "--package", "barline-tests", "--test", "ledger", "--"]).env("BARLINE_BUNDLE_DIR", bundled);
    };
    in_real_time(&host, &["process_keeps_to_real_time", "--include-ignored"], &["planted_save"], closing)
}

/// Runs `tests` of `package` with RealtimeSanitizer linked; then those that break its rules, each of which it must end.
fn in_real_time(package: &dyn Fn(&mut Command), tests: &[&str], planted: &[&str], closing: &mut Vec<String>) -> Result<Outcome> {
    let library = match rtsan_library() {
        Ok(library) => library,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let target_dir = workspace::target_dir()?.join("rtsan");
    let with = |args: &[&str]| {
        let mut command = workspace::cargo();
        package(&mut command);
        command.args(args);
        command.env("CARGO_TARGET_DIR", &target_dir).env("RTSAN_ENABLE", "1").env("RTSAN_LIB_PATH", &library);
        command
    };
    runner(&mut with(tests), closing)?;
    for planted in planted {
        let output = with(&["--ignored", planted]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains("ERROR: RealtimeSanitizer") {
            bail!("RealtimeSanitizer did not catch the {planted}:\n{}{said}", String::from_utf8_lossy(&output.stdout));
        }
        println!("caught: {planted}");
    }
    Ok(Outcome::Passed)
}

/// The core's small tests under Miri: no undefined behaviour in the libraries' unsafe code below them, nothing uninitialised, no leak.
pub fn miri(closing: &mut Vec<String>) -> Result<Outcome> {
    if let Err(why) = sysroot() {
        return Ok(Outcome::Skipped(why));
    }
    if !nightly().args(["miri", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Skipped("Miri is not installed (rustup component add --toolchain nightly miri rust-src)".into()));
    }
    let mut command = nightly();
    command.arg("miri").args(CORE).arg("--").args(UNDER_MIRI);
    command.env("CARGO_TARGET_DIR", workspace::target_dir()?.join("miri"));
    // Tests read the time and the number of cores.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    runner(&mut command, closing)
}

/// The queues and the worker under ThreadSanitizer: no two threads touch the same memory without an order between them. The standard
/// library is compiled anew for it, as one that does not tell of its locks would make every one of them a report.
pub fn threads(closing: &mut Vec<String>) -> Result<Outcome> {
    let (root, triple) = match sysroot() {
        Ok(root) => (root, host_triple()?),
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    let library = root.join("lib/rustlib").join(&triple).join("lib/librustc-nightly_rt.tsan.a");
    if !library.is_file() {
        return Ok(Outcome::Skipped(format!("the nightly toolchain has no {}", library.display())));
    }
    if let Err(why) = with_source() {
        return Ok(Outcome::Skipped(why));
    }
    let mut command = nightly();
    command.args(CORE).args(["-Zbuild-std", "--target", &triple, "--", "engine::"]);
    command.env("CARGO_TARGET_DIR", workspace::target_dir()?.join("tsan")).env("RUSTFLAGS", "-Zsanitizer=thread");
    runner(&mut command, closing)
}

/// The nightly toolchain's cargo. The variables by which rustup passes a toolchain on must not reach it.
pub fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Whether the nightly toolchain can compile the standard library.
///
/// # Errors
/// Why it cannot.
pub fn with_source() -> Result<(), String> {
    if sysroot()?.join("lib/rustlib/src/rust").is_dir() {
        return Ok(());
    }
    Err("the standard library's source is not installed (rustup component add --toolchain nightly rust-src)".into())
}

/// Where the nightly toolchain lies.
fn sysroot() -> Result<PathBuf, String> {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN").output();
    match output {
        Ok(output) if output.status.success() => Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())),
        _ => Err("there is no nightly toolchain (rustup toolchain install nightly)".into()),
    }
}

/// RealtimeSanitizer's library, which comes with nightly toolchains for x86_64 Linux; `RTSAN_LIB_PATH` names another.
fn rtsan_library() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("RTSAN_LIB_PATH") {
        return Ok(named.into());
    }
    let lib = Path::new("lib/rustlib").join(host_triple().map_err(|e| e.to_string())?).join("lib");
    let path = sysroot()?.join(lib).join("librustc-nightly_rt.rtsan.a");
    if path.is_file() { Ok(path) } else { Err(format!("the nightly toolchain has no {}", path.display())) }
}
