//! `cargo xtask runtime [--gpu]`: brings ONNX Runtime by the ordinary pip or npm client into the user's data folder, where Barline
//! looks for it. Optional: without it the same models run in tract.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Oldest ONNX Runtime that this version of Barline can talk to: `ort-tract` fixes the version of the C interface.
const OLDEST: &str = "1.24";

/// Runs the task. `args` are the words after `runtime`.
///
/// # Errors
/// When neither pip nor npm brings it, or the folder cannot be written; what was there before then stays.
pub fn run(args: impl IntoIterator<Item = String>) -> Result<()> {
    let mut gpu = false;
    for arg in args {
        match arg.as_str() {
            "--gpu" => gpu = true,
            other => bail!("unknown argument `{other}`; usage: cargo xtask runtime [--gpu]"),
        }
    }
    if gpu && cfg!(target_os = "macos") {
        println!("on macOS the ordinary package has CoreML already; --gpu makes no difference");
        gpu = false;
    }
    let data = data_dir()?;
    fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
    // Beside the target, so that the files move instead of being copied: the CUDA libraries have gigabytes.
    let work = tempfile::Builder::new().prefix("runtime-").tempdir_in(&data).context("creating a folder to work in")?;
    let fresh = work.path().join("fresh");
    fs::create_dir(&fresh)?;
    let found = bring(gpu, work.path())?;
    for file in &found {
        let name = file.file_name().context("a file without a name")?;
        fs::rename(file, fresh.join(name)).with_context(|| format!("moving {}", file.display()))?;
    }
    ensure!(has_library(&fresh)?, "the package holds no ONNX Runtime library for this system");
    let target = data.join("runtime");
    let old = work.path().join("old");
    if target.exists() {
        fs::rename(&target, &old).with_context(|| format!("moving {} away", target.display()))?;
    }
    if let Err(error) = fs::rename(&fresh, &target) {
        if old.exists() {
            // What was there is worth more than the reason why it must come back.
            let _ = fs::rename(&old, &target);
        }
        return Err(error).with_context(|| format!("moving the files to {}", target.display()));
    }
    println!("ONNX Runtime is in {} ({} files); Barline looks there.", target.display(), found.len());
    println!("`barline models` says what it uses; BARLINE_RUNTIME=tract runs without it.");
    Ok(())
}

/// As in `plugin/src/inference/runtime.rs`.
fn data_dir() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("BARLINE_DATA").filter(|p| !p.is_empty()) {
        return Ok(named.into());
    }
    let dirs = directories::ProjectDirs::from("", "", "Barline").context("this user has no home folder")?;
    Ok(dirs.data_local_dir().to_path_buf())
}

/// Installs the package into `work`; yields the libraries in it.
fn bring(gpu: bool, work: &Path) -> Result<Vec<PathBuf>> {
    // npm's package has DirectML on Windows; pip's has CUDA.
    let npm_first = cfg!(windows) && !gpu;
    let mut failures = Vec::new();
    for use_npm in [npm_first, !npm_first] {
        if use_npm && gpu {
            continue;
        }
        match if use_npm { by_npm(work) } else { by_pip(gpu, work) } {
            Ok(found) => return Ok(found),
            Err(error) => failures.push(format!("{}: {error:#}", if use_npm { "npm" } else { "pip" })),
        }
    }
    bail!(
        "ONNX Runtime could not be brought. Install Python with pip, or Node.js with npm, and try again.\n{}",
        failures.join("\n")
    )
}

fn by_pip(gpu: bool, work: &Path) -> Result<Vec<PathBuf>> {
    let python = ["python3", "python", "py"]
        .into_iter()
        .find(|python| Command::new(python).args(["-m", "pip", "--version"]).output().is_ok_and(|o| o.status.success()))
        .context("no Python with pip was found")?;
    let site = work.join("site");
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--target"]).arg(&site);
    if gpu {
        // With the CUDA and cuDNN libraries it needs; the rest of its dependencies are Python's and left behind.
        pip.arg(format!("onnxruntime-gpu[cuda,cudnn]>={OLDEST}"));
    } else {
        pip.arg("--no-deps").arg(format!("onnxruntime>={OLDEST}"));
    }
    execute(&mut pip)?;
    let mut found = libraries_in(&site.join("onnxruntime").join("capi"))?;
    if gpu {
        found.extend(libraries_in(&site.join("nvidia"))?);
    }
    Ok(found)
}

fn by_npm(work: &Path) -> Result<Vec<PathBuf>> {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let home = work.join("node");
    fs::create_dir_all(&home)?;
    // Its install script would fetch CUDA from elsewhere.
    let mut install = Command::new(npm);
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&home);
    execute(install.arg(format!("onnxruntime-node@>={OLDEST}")))?;
    let platform = match std::env::consts::OS {
        "windows" => "win32",
        "macos" => "darwin",
        other => other,
    };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let found = libraries_in(&home.join("node_modules").join("onnxruntime-node").join("bin"))?;
    // One package for all systems: bin/napi-v<n>/<platform>/<arch>/.
    let ours = Path::new(platform).join(arch);
    Ok(found.into_iter().filter(|file| file.parent().is_some_and(|folder| folder.ends_with(&ours))).collect())
}

fn execute(command: &mut Command) -> Result<()> {
    println!("{command:?}");
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed ({status})", command.get_program());
    Ok(())
}

/// Shared libraries in a folder and the folders in it; none if it does not exist. Python's own extension modules are left out.
fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(libraries_in(&path)?);
        } else if path.file_name().and_then(|n| n.to_str()).is_some_and(is_library) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_library(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_shared = name.ends_with(".dll") || name.ends_with(".dylib") || name.ends_with(".so") || name.contains(".so.");
    is_shared && !name.contains("pybind") && !name.contains("cpython")
}

fn has_library(folder: &Path) -> Result<bool> {
    let is_runtime = |name: &str| {
        let rest = name.strip_prefix("lib").unwrap_or(name).strip_prefix("onnxruntime");
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    Ok(libraries_in(folder)?.iter().filter_map(|p| p.file_name()?.to_str()).any(is_runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_what_lies_beside_them() {
        for name in ["libonnxruntime.so.1.32.0", "onnxruntime.dll", "DirectML.dll", "libcudart.so.13", "libonnxruntime.1.9.dylib"]
        {
            assert!(is_library(name), "{name}");
        }
        for name in ["onnxruntime_pybind11_state.so", "x.cpython-311-x86_64-linux-gnu.so", "notes.sort", "ort.py"] {
            assert!(!is_library(name), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libonnxruntime_providers_shared.so"), "").unwrap();
        assert!(!has_library(folder.path()).unwrap());
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/libonnxruntime.so.1"), "").unwrap();
        assert!(has_library(folder.path()).unwrap());
    }

    #[test]
    fn an_unknown_argument_is_refused_before_anything_happens() {
        assert!(run(["--cpu".to_owned()]).unwrap_err().to_string().contains("--cpu"));
    }
}
