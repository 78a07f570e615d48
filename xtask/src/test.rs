//! `test`: everything that CI runs, in the order of the cheapest answer first. All steps run; the task fails if one did.

use crate::{
    bundle, fuzz,
    packages::{self, Need},
    sanitize, workspace,
};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// What a step came to.
pub enum Outcome {
    /// All of it ran.
    Passed,
    /// It could not run, and why.
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
        let start = Instant::now();
        let outcome = step(&mut self.closing);
        let seconds = start.elapsed().as_secs();
        let line = match outcome {
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
        self.lines.push(format!("{seconds:5} s  {line}"));
    }

    fn end(&self) -> Result<()> {
        println!("\n=== Summary");
        for line in self.closing.iter().chain(&self.lines) {
            println!("{line}");
        }
        if self.failed.is_empty() { Ok(()) } else { bail!("failed: {}", self.failed.join(", ")) }
    }
}

/// The features of every build here but the pure one. One set for all: dependencies are compiled once, tract above all.
pub const FEATURES: &str = "cli,standalone";

/// Time of each fuzz target. `cargo xtask fuzz` takes as long as one likes.
const FUZZ_SECONDS: u32 = 8;

/// Runs all steps.
pub fn run() -> Result<()> {
    let mut report = Report::default();
    packages::require(packages::EVERYTHING)?;
    // A machine that is there for the tests gets the real hosts too; on anyone's own they are a choice.
    if std::env::var_os("CI").is_some() {
        report.step("real hosts", |_| {
            Ok(packages::require(&[Need::Hosts]).map_or_else(|why| Outcome::Skipped(format!("{why:#}")), |()| Outcome::Passed))
        });
    }

    report.step("formatting", |_| {
        if !workspace::exists("cargo-fmt", "--version") {
            return Ok(Outcome::Skipped("rustfmt is not installed (rustup component add rustfmt)".into()));
        }
        workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
        Ok(Outcome::Passed)
    });
    report.step("clippy", |_| {
        if !workspace::exists("cargo-clippy", "--version") {
            return Ok(Outcome::Skipped("clippy is not installed (rustup component add clippy)".into()));
        }
        let features = FEATURES.split(',').map(|f| format!("barline/{f}")).collect::<Vec<_>>().join(",");
        let mut command = workspace::cargo();
        command.args(["clippy", "--workspace", "--all-targets", "--features", &features, "--", "-D", "warnings"]);
        workspace::run(&mut command)?;
        Ok(Outcome::Passed)
    });
    // The library must build without its edges. Its tests run in a package without the edges' development dependencies, a whole
    // GUI among them, which would be compiled twice.
    report.step("the pure part alone", |closing| {
        workspace::run(workspace::cargo().args(["check", "--package", "barline", "--lib", "--no-default-features"]))?;
        runner(workspace::cargo().args(sanitize::CORE).env("CARGO_TARGET_DIR", workspace::target_dir()?.join("core")), closing)
    });
    report.step("unit tests", |closing| {
        runner(workspace::cargo().args(["test", "--package", "barline", "--features", FEATURES]), closing)?;
        runner(workspace::cargo().args(["test", "--package", "barline-drag", "--package", "xtask"]), closing)
    });
    report.step("the player under RealtimeSanitizer", sanitize::real_time);
    report.step("the core under Miri", sanitize::miri);
    report.step("fuzz targets", |closing| fuzz::run(FUZZ_SECONDS, closing));
    let mut bundled = None;
    report.step("debug bundle with the allocation guard", |_| {
        bundled = Some(bundle::run(vec!["--features".into(), format!("alloc-guard,{FEATURES}")])?);
        Ok(Outcome::Passed)
    });
    let mut program = None;
    report.step("command line", |_| {
        workspace::run(workspace::cargo().args(["build", "--package", "barline", "--bin", "barline", "--features", FEATURES]))?;
        let name = format!("barline{}", std::env::consts::EXE_SUFFIX);
        program = Some(workspace::target_dir()?.join("debug").join(name));
        Ok(Outcome::Passed)
    });
    report.step("the plugin under RealtimeSanitizer", |closing| {
        sanitize::real_time_plugin(bundled.as_ref().context("there is no bundle to test")?, closing)
    });
    let python = python();
    report.step("host tests", |closing| {
        let bundled = bundled.as_ref().context("there is no bundle to test")?;
        let mut command = workspace::cargo();
        let program = program.as_ref().context("there is no command line to test")?;
        command.args(["test", "--package", "barline-tests", "--no-fail-fast"]);
        command.env("BARLINE_BUNDLE_DIR", bundled).env("BARLINE_CLI", program);
        if let Ok(python) = &python {
            command.env("BARLINE_PYTHON", python);
        }
        runner(&mut command, closing)
    });
    report.step("models", |closing| match &python {
        Ok(python) => runner(Command::new(python).args(["-m", "pytest", "-rs", "models"]), closing),
        Err(why) => Ok(Outcome::Skipped(format!("{why:#}"))),
    });
    report.end()
}

/// A step: what it adds to the closing lines, and what it came to.
type Step<'a> = &'a dyn Fn(&mut Vec<String>) -> Result<Outcome>;

/// Runs some steps by themselves.
pub fn some(steps: &[(&str, Step<'_>)]) -> Result<()> {
    let mut report = Report::default();
    for (name, step) in steps {
        report.step(name, step);
    }
    report.end()
}

/// Runs a test program, passes its output on as it comes, and keeps its closing lines.
pub fn runner(command: &mut Command, closing: &mut Vec<String>) -> Result<Outcome> {
    runner_with(command, closing, is_closing)
}

/// [`runner`], which keeps the lines that are wanted.
pub fn runner_with(command: &mut Command, kept: &mut Vec<String>, is_kept: fn(&str) -> bool) -> Result<Outcome> {
    let words = workspace::words(command);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run `{words}`"))?;
    let stderr = child.stderr.take().context("the errors are no pipe")?;
    let errors = std::thread::spawn(move || pass_on(stderr, &mut std::io::stderr(), is_closing));
    let stdout = child.stdout.take().context("the output is no pipe")?;
    kept.extend(pass_on(stdout, &mut std::io::stdout(), is_kept)?);
    kept.extend(errors.join().map_err(|_| anyhow!("the thread that reads the errors ended early"))??);
    let status = child.wait().with_context(|| format!("cannot wait for `{words}`"))?;
    if status.success() { Ok(Outcome::Passed) } else { bail!("`{words}` failed ({status})") }
}

/// Copies lines, and yields those that are wanted.
fn pass_on(from: impl Read, to: &mut impl Write, is_kept: fn(&str) -> bool) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for line in BufReader::new(from).split(b'\n') {
        let line = line.context("cannot read the output")?;
        to.write_all(&line)?;
        to.write_all(b"\n")?;
        let text = String::from_utf8_lossy(&line);
        if is_kept(&text) {
            kept.push(text.trim_end().to_owned());
        }
    }
    Ok(kept)
}

/// The closing lines of Rust's and pytest's runners and of libFuzzer, and lines that say what was skipped.
fn is_closing(line: &str) -> bool {
    let pytest = line.starts_with('=') && line.trim_end().ends_with('=') && line.contains(" in ");
    line.starts_with("test result:")
        || line.starts_with("SKIPPED")
        || line.starts_with("stat::number_of_executed_units")
        || pytest
}

/// The machine that this runs on, as rustc names it.
pub fn host_triple() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("`rustc -vV` names no host")
}

/// Packages that the Python checks need; PyTorch is not among them, and what needs it says that it is skipped.
const LIGHT: [&str; 6] = ["numpy", "onnx", "onnxruntime", "pretty_midi", "pytest", "tqdm"];
/// Opens the written piano rolls; nothing in `models/` needs it.
const PIANOROLL: &str = "pypianoroll==1.0.4";

/// A Python with the light packages: the one that `BARLINE_PYTHON` names, else a virtual environment under the target folder.
fn python() -> Result<PathBuf> {
    if let Some(python) = std::env::var_os("BARLINE_PYTHON") {
        return Ok(python.into());
    }
    let requirements = fs::read_to_string(Path::new("models").join("requirements.txt")).context("models/requirements.txt")?;
    let mut packages: Vec<&str> = requirements.lines().filter(|line| LIGHT.iter().any(|p| is_pin_of(line, p))).collect();
    packages.push(PIANOROLL);
    if !workspace::exists("python3", "--version") {
        bail!("there is no python3");
    }
    let venv = workspace::target_dir()?.join("python");
    let python = if cfg!(windows) { venv.join("Scripts").join("python.exe") } else { venv.join("bin").join("python") };
    let has_pip = |python: &Path| {
        Command::new(python).args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success())
    };
    if !has_pip(&python) {
        workspace::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
            .context("python3 makes no virtual environment (on Debian: apt-get install python3-venv)")?;
    }
    workspace::run(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&packages),
    )
    .context("pip could not bring the packages")?;
    Ok(python)
}

fn is_pin_of(line: &str, package: &str) -> bool {
    line.split_once("==").is_some_and(|(name, _)| name.trim() == package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runners_closing_lines_are_known() {
        for line in [
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "============= 28 passed, 3 skipped in 4.20s =============",
            "SKIPPED: pypianoroll: not there",
        ] {
            assert!(is_closing(line), "{line}");
        }
        for line in ["test x ... ok", "============= test session starts =============", "running 3 tests"] {
            assert!(!is_closing(line), "{line}");
        }
    }

    #[test]
    fn only_light_packages_are_pinned() {
        assert!(is_pin_of("numpy==2.4.6", "numpy"));
        assert!(!is_pin_of("onnxruntime==1.32.0", "onnx"));
        assert!(!is_pin_of("# pytest for the tests", "pytest"));
    }
}
