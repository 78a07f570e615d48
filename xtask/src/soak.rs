//! `soak` and `bounce`: some of the host tests by themselves; the random host scripts and the search for leaks at a nightly length.
//! `cargo xtask test` runs what fits into every run.

use crate::{bundle, test::FEATURES, workspace};
use anyhow::Result;

/// How many scripts over the player stand for one over a loaded plugin, which is that much slower.
const PER_HOST_SCRIPT: u32 = 100;

/// How often instances are made, and projects saved and loaded; a quarter of it where that is slow.
const N_CYCLES: u32 = 1_000;

/// Runs so many scripts over the player, then a hundredth of it over each format.
pub fn run(n_scripts: u32) -> Result<()> {
    let mut player = workspace::cargo();
    player.args(["test", "--package", "barline", "--lib", "--no-default-features", "player::tests::random_scripts_balance"]);
    workspace::run(player.args(["--", "--nocapture"]).env("BARLINE_SCRIPTS", n_scripts.to_string()))?;
    let bundled = bundle::run(vec!["--features".into(), format!("alloc-guard,{FEATURES}")])?;
    let mut hosts = workspace::cargo();
    hosts.args(["test", "--package", "barline-tests", "--test", "ledger", "every_note_on", "--", "--nocapture"]);
    let n_host_scripts = (n_scripts / PER_HOST_SCRIPT).max(1);
    workspace::run(hosts.env("BARLINE_BUNDLE_DIR", &bundled).env("BARLINE_HOST_SCRIPTS", n_host_scripts.to_string()))?;
    let mut leaks = workspace::cargo();
    leaks.args(["test", "--package", "barline-tests", "--test", "faults", "nothing_behind", "--", "--nocapture"]);
    workspace::run(leaks.env("BARLINE_BUNDLE_DIR", &bundled).env("BARLINE_CYCLES", N_CYCLES.to_string()))
}

/// Prints what bounces write against what was heard, and what a real DAW records, where one is installed.
pub fn bounce() -> Result<()> {
    let bundled = bundle::run(vec!["--features".into(), format!("alloc-guard,{FEATURES}")])?;
    let mut hosts = workspace::cargo();
    hosts.args(["test", "--package", "barline-tests", "--test", "bounce", "--test", "ardour", "--", "--nocapture"]);
    workspace::run(hosts.env("BARLINE_BUNDLE_DIR", bundled))
}
