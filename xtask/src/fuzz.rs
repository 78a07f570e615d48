//! `fuzz`: the fuzz targets of `tests/fuzz`, each for some seconds from its kept corpus. Coverage comes from plain code generation
//! flags, so any stable toolchain does; AddressSanitizer, which is nightly, would find nothing in a crate that forbids `unsafe`.

use crate::{
    test::{Outcome, host_triple, runner},
    workspace,
};
use anyhow::{Context, Result};
use std::{fs, path::Path};

const TARGETS: [&str; 5] = ["chords", "manifest", "midi", "model", "state"];
/// Where they lie.
const FOLDER: &str = "tests/fuzz";
/// The flags of cargo-fuzz, without its sanitizer.
const INSTRUMENTATION: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Longest input, in bytes; the largest of the corpus has 1.3 kB.
const MAX_LEN: u32 = 4096;
/// A reader that needs more than that, or longer for one input, has a hole.
const MAX_MEGABYTES: u32 = 1024;
const MAX_SECONDS: u32 = 5;

/// Builds the targets and runs each for so many seconds.
pub fn run(seconds: u32, closing: &mut Vec<String>) -> Result<Outcome> {
    if !cfg!(unix) {
        return Ok(Outcome::Skipped("libFuzzer's driver is built on Linux and macOS only".into()));
    }
    if !workspace::exists("c++", "--version") {
        return Ok(Outcome::Skipped("there is no C++ compiler for libFuzzer (apt-get install g++)".into()));
    }
    let target_dir = workspace::target_dir()?.join("fuzz");
    let triple = host_triple()?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--target", &triple, "--manifest-path"]).arg(Path::new(FOLDER).join("Cargo.toml"));
    workspace::run(build.env("CARGO_TARGET_DIR", &target_dir).env("RUSTFLAGS", INSTRUMENTATION))?;
    let artifacts = target_dir.join("artifacts");
    fs::create_dir_all(&artifacts)?;
    for target in TARGETS {
        // What is new goes into a folder of its own, which later runs start from too; the kept corpus stays as it is.
        let found = target_dir.join("corpus").join(target);
        fs::create_dir_all(&found)?;
        let program = target_dir.join(&triple).join("release").join(target);
        let mut command = std::process::Command::new(program);
        command.arg(&found).arg(Path::new(FOLDER).join("corpus").join(target));
        command.arg(format!("-artifact_prefix={}/{target}-", artifacts.display()));
        command.args([format!("-max_total_time={seconds}"), format!("-max_len={MAX_LEN}"), format!("-timeout={MAX_SECONDS}")]);
        command.args([format!("-rss_limit_mb={MAX_MEGABYTES}"), "-verbosity=0".into(), "-print_final_stats=1".into()]);
        let mut lines = Vec::new();
        runner(&mut command, &mut lines).with_context(|| {
            format!("the fuzz target `{target}` found something: {}; make it a test, then a fix", artifacts.display())
        })?;
        closing.extend(lines.into_iter().map(|line| format!("{line} ({target})")));
    }
    Ok(Outcome::Passed)
}
