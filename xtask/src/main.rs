//! Build, bundle and check tasks: `cargo xtask <task>`. Needs no system library itself.

mod bundle;
mod cross;
mod demo;
mod dist;
mod fuzz;
mod install;
mod packages;
mod runtime;
mod sanitize;
mod soak;
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
                      all N playing at once; with `--report FILE` one page (.html, .md) of that and of
                      `barline bench`, with `--python PROGRAM` of the same networks in Python too
  dist                one archive for this platform, target/dist/: both plugin formats, the programs, their
                      documentation, the licences of everything in them, checksums
  test                everything that CI runs
  sanitize            the core under RealtimeSanitizer, Miri and ThreadSanitizer
  cross               other platforms: checked for macOS and Linux on ARM; built for Windows, and its host tests
                      run under Wine
  fuzz [SECONDS]      the fuzz targets for so long each (60)
  bounce              notes heard live against notes bounced, in CLAP, VST3, Ardour and the command line
  soak [N]            N random host scripts over the player (100,000), and N / 100 over each plugin format;
                      a thousand instances, saves and loads without a leak
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
    if let Some(compiled) = dist::compile() {
        return compiled;
    }
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_else(|| "help".into());
    let rest: Vec<String> = args.collect();
    workspace::enter()?;
    match task.as_str() {
        "bundle" => bundle::run(rest).map(drop),
        "install" => no_arguments(&task, &rest).and_then(|()| install::run()),
        "demo" | "measure" => demo::run(&task, &rest),
        "test" => no_arguments(&task, &rest).and_then(|()| test::run()),
        "sanitize" => no_arguments(&task, &rest).and_then(|()| {
            test::some(&[
                ("the player under RealtimeSanitizer", &sanitize::real_time),
                ("the core under Miri", &sanitize::miri),
                ("queues and worker under ThreadSanitizer", &sanitize::threads),
            ])
        }),
        "fuzz" => {
            let seconds = number(&task, &rest, 60)?;
            test::some(&[("fuzz targets", &|closing| fuzz::run(seconds, closing))])
        }
        "bounce" => no_arguments(&task, &rest).and_then(|()| soak::bounce()),
        "cross" => no_arguments(&task, &rest).and_then(|()| cross::run()),
        "dist" => no_arguments(&task, &rest).and_then(|()| dist::run()),
        "soak" => soak::run(number(&task, &rest, 100_000)?),
        "runtime" => runtime::run(rest),
        "packages" => no_arguments(&task, &rest).and_then(|()| packages::require(packages::EVERYTHING)),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no task `{task}`\n\n{USAGE}"),
    }
}

/// The only argument, a number, or what stands for it.
fn number(task: &str, rest: &[String], default: u32) -> Result<u32> {
    match rest {
        [] => Ok(default),
        [one] => one.parse().map_err(|e| anyhow::anyhow!("`cargo xtask {task}` takes a number, got `{one}`: {e}")),
        _ => bail!("`cargo xtask {task}` takes one number, got `{}`", rest.join(" ")),
    }
}

fn no_arguments(task: &str, rest: &[String]) -> Result<()> {
    if rest.is_empty() { Ok(()) } else { bail!("`cargo xtask {task}` takes no arguments, got `{}`", rest.join(" ")) }
}
