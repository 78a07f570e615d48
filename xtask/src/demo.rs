//! `demo` and `measure`: the release bundle in a headless host.

use crate::{bundle, workspace};
use anyhow::Result;

/// Bundles in release, then runs a program of the tests package, `demo` or `measure`, on the bundle.
pub fn run(program: &str, args: &[String]) -> Result<()> {
    let bundled = bundle::run(vec!["--release".into()])?;
    workspace::run(
        workspace::cargo()
            .args(["run", "--quiet", "--release", "--package", "barline-tests", "--bin", program, "--"])
            .args(args)
            .env("BARLINE_BUNDLE_DIR", &bundled)
            // The plugin then saves its inference time, which is how the demo hears of it.
            .env("BARLINE_TIMINGS", "1"),
    )
}
