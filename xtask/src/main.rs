//! Build, bundle and check tasks: `cargo xtask <task>`. Needs no system library itself.

mod bundle;
mod demo;
mod install;
mod packages;
mod runtime;
mod test;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "Usage: cargo xtask <task>

  bundle [barline] [--release] [--features …] [--target …]
                      build the plugin and put it into target/bundled as CLAP and VST3;
                      with `--features standalone` the standalone program too,
                      with `--no-default-features` without the editor
  install             bundle in release and copy into the user's plug-in folders
  demo                bundle in release, play eight bars of the bundle in a headless host:
                      barline-demo.mid, barline-demo.png, and a summary
  measure [MODEL] [N] bundle in release, and measure in a headless host: start-up, memory and idle
                      time of N instances (50) of a model (band), notes at places never visited,
                      all N playing at once
  test                everything that CI runs
  runtime [--gpu]     bring ONNX Runtime by pip or npm to where Barline looks for it (optional)
  packages            check the system packages, and install them on Debian or Ubuntu as root";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_else(|| "help".into());
    let rest: Vec<String> = args.collect();
    workspace::enter()?;
    match task.as_str() {
        "bundle" => bundle::run(rest).map(drop),
        "install" => no_arguments(&task, &rest).and_then(|()| install::run()),
        "demo" | "measure" => demo::run(&task, &rest),
        "test" => no_arguments(&task, &rest).and_then(|()| test::run()),
        "runtime" => runtime::run(rest),
        "packages" => no_arguments(&task, &rest).and_then(|()| packages::require(packages::EVERYTHING)),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no task `{task}`\n\n{USAGE}"),
    }
}

fn no_arguments(task: &str, rest: &[String]) -> Result<()> {
    if rest.is_empty() { Ok(()) } else { bail!("`cargo xtask {task}` takes no arguments, got `{}`", rest.join(" ")) }
}
