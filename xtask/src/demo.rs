//! `demo` and `measure`: the release bundle in a headless host.

use crate::{bundle, dist, test, workspace};
use anyhow::{Context, Result};
use std::fs;

/// Bundles in release, then runs a program of the tests package, `demo` or `measure`, on the bundle.
pub fn run(program: &str, args: &[String]) -> Result<()> {
    let (page, args) = page_of(args);
    let bundled = bundle::run(vec!["--release".into()])?;
    let mut command = workspace::cargo();
    command
        .args(["run", "--quiet", "--release", "--package", "barline-tests", "--bin", program, "--"])
        .args(args)
        .env("BARLINE_BUNDLE_DIR", &bundled)
        // The plugin then saves its inference time, which is how the demo hears of it.
        .env("BARLINE_TIMINGS", "1");
    if page.is_empty() {
        return workspace::run(&mut command);
    }
    // One page with what the command line measures.
    let mut lines = Vec::new();
    test::runner_with(&mut command, &mut lines, |_| true)?;
    let hosted = tempfile::NamedTempFile::new()?;
    fs::write(hosted.path(), lines.join("\n"))?;
    let commit = dist::git(&["rev-parse", "--short", "HEAD"])?;
    let path = hosted.path().to_str().context("a path in UTF-8")?;
    let mut bench = workspace::cargo();
    bench.args(["run", "--release", "--package", "barline", "--bin", "barline", "--", "bench", "--hosted", path]);
    workspace::run(bench.args(page).env("BARLINE_COMMIT", commit))
}

/// `--report FILE` and `--python PROGRAM`, and the other arguments.
fn page_of(args: &[String]) -> (Vec<String>, Vec<String>) {
    let is_page = |idx: usize| matches!(args.get(idx).map(String::as_str), Some("--report" | "--python"));
    let (page, rest): (Vec<_>, Vec<_>) =
        args.iter().enumerate().partition(|(idx, _)| is_page(*idx) || idx.checked_sub(1).is_some_and(is_page));
    let words = |list: Vec<(usize, &String)>| list.into_iter().map(|(_, word)| word.clone()).collect();
    (words(page), words(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_arguments_are_told_from_the_programs() {
        let args = ["band", "--report", "a.html", "10", "--python", "python3"].map(String::from);
        let (page, rest) = page_of(&args);
        assert_eq!(page, ["--report", "a.html", "--python", "python3"]);
        assert_eq!(rest, ["band", "10"]);
    }
}
