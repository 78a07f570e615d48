//! The command line: `barline generate`, `barline analyze`, `barline render`, `barline models`, `barline bench`. One thread does the work, another draws the progress bar.
#![forbid(unsafe_code)]

mod analyze;
mod args;
mod band;
mod bench;
mod bench_report;
mod error;
mod generate;
mod input;
mod lanes;
mod models;
mod render;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // clap itself answers `--help` and everything it does not understand (exit code 2).
    let done = match args::Cli::parse().command {
        args::Command::Generate(args) => generate::run(&args),
        args::Command::Analyze(args) => analyze::run(&args),
        args::Command::Render(args) => render::run(&args),
        args::Command::Models(args) => models::run(&args),
        args::Command::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}
