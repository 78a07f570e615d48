//! The page of `barline bench --report`: every runtime and provider of this machine beside each other, and the same models in Python. A
//! process has one runtime, so each is measured by this program once more.

use crate::{
    args::BenchArgs,
    bench::{Figures, Row, build_kind, machine},
    error::CliError,
    models::print,
};
use barline::{export::files::Outputs, inference::Library};
use serde::Deserialize;
use std::{fs, path::Path, process::Command, time::Duration};

/// Times the models in Python.
const SCRIPT: &str = include_str!("../../../../models/bench.py");
const COLUMNS: [&str; 6] = ["n", "mean", "p50", "p99", "p99.9", "max"];

/// What is asked for: a name, the variable that asks, and what the answer must begin with.
type Asked = (&'static str, (&'static str, &'static str), &'static str);

/// Every runtime and provider that could be on such a system.
fn asked() -> Vec<Asked> {
    let ort = |name, variable| (name, ("BARLINE_PROVIDER", variable), name);
    let mut all = vec![("embedded", ("BARLINE_RUNTIME", "tract"), "CPU"), ort("CPU", "cpu")];
    if cfg!(target_os = "macos") {
        all.push(ort("CoreML", "coreml"));
    } else {
        all.push(ort("CUDA", "cuda"));
    }
    if cfg!(windows) {
        all.push(ort("DirectML", "directml"));
    }
    all
}

/// A table of the page.
#[derive(Default)]
struct Table {
    title: &'static str,
    about: &'static str,
    rows: Vec<(String, [String; 6])>,
    /// What could not be measured, and why.
    skipped: Vec<String>,
}

impl Table {
    fn push(&mut self, what: String, row: &Row) {
        let [mean, p50, p99, p999, max] = row.shown();
        self.rows.push((what, [row.n.to_string(), mean, p50, p99, p999, max]));
    }
}

/// Measures, and writes the page.
pub fn write(args: &BenchArgs, library: &Library, names: &[String], path: &Path) -> Result<(), CliError> {
    let mut inference = Table {
        title: "Inference",
        about: "One thread. A phrase is what one run of the network yields; a pattern is made whole before it plays.",
        ..Table::default()
    };
    let mut playing =
        Table { title: "The audio thread", about: "`process`, 48 kHz, 120 bpm, swing and humanising on.", ..Table::default() };
    for (name, variable, provider) in asked() {
        print(&format!("measuring: {name}\n"))?;
        match measured(args, names, variable) {
            Ok(all) => {
                for figures in all {
                    let Figures { model, runtime, .. } = &figures;
                    let is_wanted = figures.provider == provider && (variable.1 == "tract") == runtime.starts_with("tract");
                    if !is_wanted {
                        let why = if figures.notes.is_empty() { "not found".into() } else { figures.notes.join("; ") };
                        let runtime = if runtime.starts_with("tract") { "ONNX Runtime" } else { runtime };
                        inference.skipped.push(format!("{model}, {runtime}, {provider}: {why}"));
                        continue;
                    }
                    let unit = Duration::from_secs_f64(figures.loading_ms / 1e3);
                    for row in &figures.inference {
                        inference.push(format!("{model}, {runtime}, {}, {}", figures.provider, row.what), row);
                    }
                    inference
                        .push(format!("{model}, {runtime}, {}, loading", figures.provider), &Row::new("loading", &mut [unit]));
                    if variable.1 == "tract" {
                        figures.playing.iter().for_each(|row| playing.push(format!("{model}, {}", row.what), row));
                    }
                }
            }
            Err(why) => inference.skipped.push(format!("{name}: {why}")),
        }
    }
    let mut tables = vec![inference, in_python(args, library, names)?, playing];
    tables.retain(|table| !table.rows.is_empty() || !table.skipped.is_empty());
    let hosted = match &args.hosted {
        Some(path) => {
            let reason = |e: std::io::Error| CliError::Read {
                what: "measurements",
                path: path.display().to_string(),
                reason: e.to_string(),
            };
            Some(fs::read_to_string(path).map_err(reason)?)
        }
        None => None,
    };
    let is_html = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html"));
    let page = if is_html { html(&tables, hosted.as_deref()) } else { markdown(&tables, hosted.as_deref()) };
    let mut outputs = Outputs::default();
    outputs.add(path, page.as_bytes())?;
    outputs.commit()?;
    print(&format!("{}\n", path.display()))
}

/// Runs this program once more with a variable set.
fn measured(args: &BenchArgs, names: &[String], variable: (&str, &str)) -> Result<Vec<Figures>, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    command.args(["bench", "--json", "--runs", &args.runs.to_string(), "--blocks", &args.blocks.to_string()]);
    command.args(names.iter().flat_map(|name| ["--model", name])).env(variable.0, variable.1);
    let output = command.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect()
}

/// A line of the script.
#[derive(Deserialize)]
struct InPython {
    model: String,
    runtime: String,
    #[serde(default)]
    seconds: Vec<f64>,
    skipped: Option<String>,
}

fn in_python(args: &BenchArgs, library: &Library, names: &[String]) -> Result<Table, CliError> {
    let mut table = Table {
        title: "The same networks in Python",
        about: "One phrase, one thread: the network's run alone, without what Barline does around it.",
        ..Table::default()
    };
    let Some(python) = &args.python else { return Ok(table) };
    let print_error = |e: std::io::Error| CliError::Print(e.to_string());
    let folder = tempfile::tempdir().map_err(print_error)?;
    let script = folder.path().join("bench.py");
    fs::write(&script, SCRIPT).map_err(print_error)?;
    let mut command = Command::new(python);
    command.arg(&script).args(["--runs", &args.runs.to_string()]);
    for name in names {
        let bytes = library.bytes(name).map_err(|source| CliError::Model { model: name.clone(), source })?;
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = folder.path().join(format!("{stem}.onnx"));
        fs::write(&path, bytes).map_err(print_error)?;
        command.arg(path);
    }
    let output = match command.output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            table.skipped.push(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            return Ok(table);
        }
        Err(error) => {
            table.skipped.push(format!("{}: {error}", python.display()));
            return Ok(table);
        }
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(InPython { model, runtime, seconds, skipped }) = serde_json::from_str(line) else { continue };
        let what = format!("{model}, {runtime}");
        match skipped {
            Some(why) => table.skipped.push(format!("{what}: {why}")),
            None => {
                let times = seconds.iter().filter_map(|s| Duration::try_from_secs_f64(*s).ok());
                table.push(what, &Row::new("", &mut times.collect::<Vec<_>>()));
            }
        }
    }
    Ok(table)
}

/// Program, machine and commit.
fn head() -> String {
    let commit = option_env!("BARLINE_COMMIT").unwrap_or("of an unknown commit");
    format!("barline {} {commit}, {}. {}.", env!("CARGO_PKG_VERSION"), build_kind(), machine())
}

fn markdown(tables: &[Table], hosted: Option<&str>) -> String {
    let mut page = format!("# What Barline costs\n\n{}\n", head());
    for table in tables {
        page += &format!("\n## {}\n\n{}\n\n", table.title, table.about);
        if !table.rows.is_empty() {
            page += &format!("| | {} |\n|---|{}\n", COLUMNS.join(" | "), "---:|".repeat(COLUMNS.len()));
        }
        for (what, cells) in &table.rows {
            page += &format!("| {} | {} |\n", what.replace('|', "\\|"), cells.join(" | "));
        }
        for skipped in &table.skipped {
            page += &format!("\nSkipped: {skipped}\n");
        }
    }
    if let Some(hosted) = hosted {
        page += &format!("\n## In a host\n\n```text\n{}\n```\n", hosted.trim_end());
    }
    page
}

fn html(tables: &[Table], hosted: Option<&str>) -> String {
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>What Barline costs</title>\n\
         <style>body{{font:15px sans-serif;margin:2em}}td,th{{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}}\
         td:first-child{{text-align:left}}</style>\n<h1>What Barline costs</h1>\n<p>{}</p>\n",
        safe(&head())
    );
    for table in tables {
        page += &format!("<h2>{}</h2>\n<p>{}</p>\n", table.title, safe(table.about));
        if !table.rows.is_empty() {
            page += &format!("<table>\n<tr><th></th><th>{}</th></tr>\n", COLUMNS.join("</th><th>"));
            for (what, cells) in &table.rows {
                page += &format!("<tr><td>{}</td><td>{}</td></tr>\n", safe(what), cells.join("</td><td>"));
            }
            page += "</table>\n";
        }
        for skipped in &table.skipped {
            page += &format!("<p>Skipped: {}</p>\n", safe(skipped));
        }
    }
    if let Some(hosted) = hosted {
        page += &format!("<h2>In a host</h2>\n<pre>{}</pre>\n", safe(hosted.trim_end()));
    }
    page
}
