//! `test`: everything that CI runs, in the order of the cheapest answer first. All steps run; the task fails if one did.

use crate::{bundle, packages, workspace};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

/// What a step came to.
enum Outcome {
    Passed,
    Skipped(String),
}

/// Steps so far, and the closing lines of the test runners.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    failed: Vec<String>,
    closing: Vec<String>,
}

impl Report {
    fn step(&mut self, name: &str, step: impl FnOnce(&mut Vec<String>) -> Result<Outcome>) {
        println!("\n=== {name}");
        let line = match step(&mut self.closing) {
            Ok(Outcome::Passed) => format!("ok       {name}"),
            Ok(Outcome::Skipped(why)) => {
                println!("SKIPPED {name}: {why}");
                format!("SKIPPED  {name}: {why}")
            }
            Err(error) => {
                println!("FAILED {name}: {error:#}");
                self.failed.push(name.into());
                format!("FAILED   {name}: {error:#}")
            }
        };
        self.lines.push(line);
    }
}

/// Runs all steps.
pub fn run() -> Result<()> {
    let mut report = Report::default();
    packages::require(packages::EVERYTHING)?;

    report.step("formatting", |_| {
        if !workspace::exists("cargo", "fmt") && !workspace::exists("cargo-fmt", "--version") {
            return Ok(Outcome::Skipped("rustfmt is not installed (rustup component add rustfmt)".into()));
        }
        workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
        Ok(Outcome::Passed)
    });
    report.step("clippy", |_| {
        if !workspace::exists("cargo-clippy", "--version") {
            return Ok(Outcome::Skipped("clippy is not installed (rustup component add clippy)".into()));
        }
        let clippy = |features: &str| {
            let mut command = workspace::cargo();
            command.args(["clippy", "--workspace", "--all-targets", "--features", features, "--", "-D", "warnings"]);
            workspace::run(&mut command)
        };
        clippy("barline/cli,barline/standalone")?;
        Ok(Outcome::Passed)
    });
    report.step("the pure part alone", |closing| {
        runner(workspace::cargo().args(["test", "--package", "barline", "--lib", "--no-default-features"]), closing)
    });
    report.step("unit tests", |closing| {
        runner(workspace::cargo().args(["test", "--package", "barline", "--features", "cli,standalone"]), closing)?;
        runner(workspace::cargo().args(["test", "--package", "xtask"]), closing)
    });
    let mut bundled = None;
    report.step("debug bundle with the allocation guard", |_| {
        bundled = Some(bundle::run(["--features", "alloc-guard"].map(Into::into).into())?);
        Ok(Outcome::Passed)
    });
    report.step("host tests", |closing| {
        let bundled = bundled.as_ref().context("there is no bundle to test")?;
        let mut command = workspace::cargo();
        command.args(["test", "--package", "barline-tests"]).env("BARLINE_BUNDLE_DIR", bundled);
        runner(&mut command, closing)
    });
    report.step("models", python);

    println!("\n=== Summary");
    for line in report.closing.iter().chain(&report.lines) {
        println!("{line}");
    }
    if report.failed.is_empty() { Ok(()) } else { bail!("failed: {}", report.failed.join(", ")) }
}

/// Runs a test program, passes its output on as it comes, and keeps its closing lines.
fn runner(command: &mut Command, closing: &mut Vec<String>) -> Result<Outcome> {
    let words = workspace::words(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{words}`"))?;
    let output = child.stdout.take().context("the output is not a pipe")?;
    let mut stdout = std::io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the output")?;
        stdout.write_all(&line)?;
        stdout.write_all(b"\n")?;
        let text = String::from_utf8_lossy(&line);
        let is_closing = text.starts_with("test result:") || (text.starts_with("==") && text.contains(" in "));
        if is_closing || text.starts_with("SKIPPED") {
            closing.push(text.into_owned());
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{words}`"))?;
    if status.success() { Ok(Outcome::Passed) } else { bail!("`{words}` failed ({status})") }
}

/// The Python tests of `models/`, in a virtual environment of their own under the target folder.
fn python(closing: &mut Vec<String>) -> Result<Outcome> {
    let skipped = |why: &str| Ok(Outcome::Skipped(why.into()));
    let requirements = Path::new("models").join("requirements-test.txt");
    if !requirements.exists() {
        return skipped("models/requirements-test.txt is not there");
    }
    if !workspace::exists("python3", "--version") {
        return skipped("there is no python3");
    }
    let venv = workspace::target_dir()?.join("models-venv");
    let python = venv.join("bin").join("python");
    if !python.exists() && !Command::new("python3").args(["-m", "venv"]).arg(&venv).status().is_ok_and(|s| s.success()) {
        return skipped("python3 cannot make a virtual environment (on Debian: apt-get install python3-venv)");
    }
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements)
        .status();
    if !pip.is_ok_and(|s| s.success()) {
        return skipped("pip could not install models/requirements-test.txt");
    }
    runner(Command::new(&python).args(["-m", "pytest", "models"]), closing)
}
