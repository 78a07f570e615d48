//! `demo`: eight bars out of the release bundle, in a headless host.

use crate::{bundle, workspace};
use anyhow::Result;

/// Bundles in release, then runs the tests package's demo program on the bundle.
pub fn run(args: &[String]) -> Result<()> {
    let bundled = bundle::run(vec!["--release".into()])?;
    workspace::run(
        workspace::cargo()
            .args(["run", "--quiet", "--release", "--package", "barline-tests", "--bin", "demo", "--"])
            .args(args)
            .env("BARLINE_BUNDLE_DIR", &bundled)
            // The plugin then saves its inference time, which is how the demo hears of it.
            .env("BARLINE_TIMINGS", "1"),
    )
}
