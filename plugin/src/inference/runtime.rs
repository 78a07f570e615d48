//! Which runtime runs the networks: ONNX Runtime where one is found, else tract. One choice per process, made at the first use
//! and never changed, for `ort` holds one table of functions per process.

use ort::environment::Environment;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The chosen runtime.
#[derive(Debug)]
pub struct Runtime {
    pub(super) environment: Environment,
    pub(super) is_tract: bool,
    /// Name and version, for people.
    pub name: String,
    /// Where the library was found; `None` for tract, which is built in.
    pub library: Option<PathBuf>,
    /// What was found and could not be used, with the reasons.
    pub notes: Vec<String>,
}

/// The runtime of this process. The first call looks for it.
///
/// An ONNX Runtime is looked for in this order, always by absolute path, never among what the host has loaded:
/// 1. `BARLINE_ORT`, then `ORT_DYLIB_PATH`: the library or its folder;
/// 2. beside the plugin or the program, and in the bundle's `Resources` and `Frameworks`;
/// 3. `runtime` in Barline's [data folder](data_dir), where `cargo xtask runtime` puts it;
/// 4. the system's library folders.
///
/// `BARLINE_RUNTIME=tract` skips all of them.
///
/// # Errors
/// Why neither could be started.
pub fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME.get_or_init(choose).as_ref().map_err(Clone::clone)
}

/// Barline's own folder among the user's data: `models` and `runtime` lie in it. `BARLINE_DATA` names another.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    let named = std::env::var_os("BARLINE_DATA").filter(|p| !p.is_empty()).map(PathBuf::from);
    named.or_else(|| directories::ProjectDirs::from("", "", "Barline").map(|dirs| dirs.data_local_dir().to_path_buf()))
}

fn choose() -> Result<Runtime, String> {
    let mut notes = Vec::new();
    if std::env::var_os("BARLINE_RUNTIME").is_some_and(|v| v == "tract") {
        notes.push("BARLINE_RUNTIME=tract: no ONNX Runtime was looked for".into());
    } else {
        for library in candidates() {
            match start_onnx_runtime(&library) {
                Ok((environment, name)) => {
                    return Ok(Runtime { environment, is_tract: false, name, library: Some(library), notes });
                }
                Err(reason) => notes.push(format!("{} was not used: {reason}", library.display())),
            }
        }
    }
    start_tract(notes)
}

fn start_onnx_runtime(library: &Path) -> Result<(Environment, String), String> {
    // `ort` panics where a library hands out no table of functions.
    let started = catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(library).map_err(|e| e.to_string())?;
        let environment = builder.with_name("barline").with_telemetry(false).commit_or_message()?;
        Ok((environment, onnx_runtime_name(library)))
    }));
    started.unwrap_or_else(|_| Err("it is no ONNX Runtime that this version can talk to".into()))
}

trait CommitOrMessage {
    fn commit_or_message(self) -> Result<Environment, String>;
}

impl CommitOrMessage for ort::environment::EnvironmentBuilder {
    fn commit_or_message(self) -> Result<Environment, String> {
        self.build().map_err(|e| e.to_string())
    }
}

fn start_tract(notes: Vec<String>) -> Result<Runtime, String> {
    let started = catch_unwind(AssertUnwindSafe(|| {
        // False when an ONNX Runtime took the place and then failed: its own reason is in the notes.
        if !ort::set_api(ort_tract::api()) {
            return Err(notes.join("; "));
        }
        ort::init().with_name("barline").commit_or_message()
    }));
    let environment = started.unwrap_or_else(|_| Err("tract did not start".into()))?;
    Ok(Runtime { environment, is_tract: true, name: "tract 0.23".into(), library: None, notes })
}

/// `ONNX Runtime 1.32.0` by the file's name, else `ONNX Runtime 1.32` by what the library says of itself. The build information
/// names a branch, which is `HEAD` in the packages of PyPI.
fn onnx_runtime_name(library: &Path) -> String {
    let name = library.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let mut parts = name.split(|c: char| !c.is_ascii_digit() && c != '.').map(|part| part.trim_matches('.'));
    if let Some(version) = parts.rfind(|v| v.starts_with("1.") && v.matches('.').count() == 2) {
        return format!("ONNX Runtime {version}");
    }
    ort::util::probe(library).map_or_else(|| "ONNX Runtime".into(), |minor| format!("ONNX Runtime 1.{minor}"))
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for name in ["BARLINE_ORT", "ORT_DYLIB_PATH"] {
        if let Some(path) = std::env::var_os(name).filter(|p| !p.is_empty()).map(PathBuf::from) {
            found.push(if path.is_dir() { library_in(&path).unwrap_or(path) } else { path });
        }
    }
    found.extend(folders().iter().filter_map(|folder| library_in(folder)));
    let mut unique = Vec::with_capacity(found.len());
    for path in found {
        // Absolute, so that no search path of the system's loader has a say.
        let path = path.canonicalize().unwrap_or(path);
        if path.is_absolute() && !unique.contains(&path) {
            unique.push(path);
        }
    }
    unique
}

fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let own = process_path::get_dylib_path().and_then(|p| p.canonicalize().ok());
    for file in own.into_iter().chain(std::env::current_exe().ok()) {
        if let Some(folder) = file.parent() {
            folders.push(folder.to_path_buf());
            if let Some(contents) = folder.parent() {
                folders.push(contents.join("Resources"));
                folders.push(contents.join("Frameworks"));
            }
        }
    }
    folders.extend(data_dir().map(|d| d.join("runtime")));
    let system: &[&str] = if cfg!(target_os = "linux") {
        &["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
    } else if cfg!(target_os = "macos") {
        &["/opt/homebrew/lib", "/usr/local/lib"]
    } else {
        // Windows ships an ONNX Runtime of its own in System32, years old.
        &[]
    };
    folders.extend(system.iter().map(PathBuf::from));
    folders
}

/// The library in a folder: the plain name, else the highest version in the name.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let plain = format!("{prefix}onnxruntime{suffix}");
    let stem = format!("{prefix}onnxruntime.");
    let is_library = |name: &str| {
        let rest = name.strip_prefix(&stem).unwrap_or("");
        let version = rest.strip_prefix(suffix.trim_start_matches('.')).or_else(|| rest.strip_suffix(suffix)).unwrap_or("x");
        version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    let version = |name: &str| -> Vec<u64> { name.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect() };
    let names = std::fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let best = names.filter(|n| is_library(n)).max_by_key(|n| (*n == plain, version(n)))?;
    Some(folder.join(best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runtime_is_found() {
        let runtime = runtime().unwrap();
        assert!(!runtime.name.is_empty());
        assert_eq!(runtime.is_tract, runtime.library.is_none());
    }

    #[test]
    fn the_version_is_read_from_the_name_of_the_file() {
        assert_eq!(onnx_runtime_name(Path::new("/x/libonnxruntime.so.1.31.2")), "ONNX Runtime 1.31.2");
        assert_eq!(onnx_runtime_name(Path::new("/x/libonnxruntime.1.9.0.dylib")), "ONNX Runtime 1.9.0");
        assert_eq!(onnx_runtime_name(Path::new("/x/libonnxruntime.so")), "ONNX Runtime");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_plain_name_then_the_highest_version_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        assert_eq!(library_in(folder.path()), None);
        make("libonnxruntime_providers_shared.so");
        make("libonnxruntime.so.txt");
        assert_eq!(library_in(folder.path()), None);
        make("libonnxruntime.so.1.9.2");
        make("libonnxruntime.so.1.32.0");
        assert_eq!(library_in(folder.path()).unwrap(), folder.path().join("libonnxruntime.so.1.32.0"));
        make("libonnxruntime.so");
        assert_eq!(library_in(folder.path()).unwrap(), folder.path().join("libonnxruntime.so"));
    }

    #[test]
    fn what_is_no_runtime_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let fake = folder.path().join("libonnxruntime.so");
        std::fs::write(&fake, "no library").unwrap();
        assert!(start_onnx_runtime(&fake).is_err());
        assert!(start_onnx_runtime(&folder.path().join("missing.so")).is_err());
    }
}
