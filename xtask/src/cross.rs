//! `cross`: the platforms that a Linux machine can say something of. The plugin is checked for macOS on Apple silicon and for Linux on
//! ARM; for Windows it is built, and its host tests run under Wine. What is not installed says so and is skipped.

use crate::{
    sanitize,
    test::{FEATURES, Outcome, runner, some},
    workspace,
};
use anyhow::{Context, Result, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A platform, what compiles C and assembly for it here (tract's inner loops), and the package of that.
struct Platform {
    triple: &'static str,
    compiler: &'static str,
    debian: &'static str,
}

const MACOS: Platform = Platform { triple: "aarch64-apple-darwin", compiler: "clang", debian: "clang" };
const LINUX_ARM: Platform = Platform {
    triple: "aarch64-unknown-linux-gnu",
    compiler: "aarch64-linux-gnu-gcc",
    debian: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
};
const WINDOWS: Platform =
    Platform { triple: "x86_64-pc-windows-gnu", compiler: "x86_64-w64-mingw32-gcc", debian: "gcc-mingw-w64-x86-64" };

/// What runs under Wine: the tests of the plugin in CLAP and VST3 hosts, and of the command line. Not `unload`, which loads the library
/// four hundred times: Rust's thread-local storage for this target, unlike that for MSVC's, takes slots that no unload gives back.
const TESTS: [&str; 11] =
    ["bounce", "capture", "cli", "edits", "follows_chords", "identity", "instances", "ledger", "offline", "preview", "state"];

/// Wine up to 8 lacks the library that Rust's random numbers come from.
const RANDOM: &str = "#include <windows.h>\n\
    BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);\n\
    __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T n) { return SystemFunction036(to, (ULONG)n); }\n";

/// Runs all steps.
pub fn run() -> Result<()> {
    some(&[
        ("check for macOS on Apple silicon", &|_| check(&MACOS)),
        ("check for Linux on ARM", &|_| check(&LINUX_ARM)),
        ("build for Windows", &|_| windows()),
        ("Windows' command line under Wine", &|_| command_line()),
        ("files dragged and dropped under Wine", &|closing| {
            under_wine_tests(&["test", "--package", "barline-drag", "--tests"], closing)
        }),
        ("Windows' host tests under Wine", &host_tests),
    ])
}

/// A folder of its own: the host's builds stay as they are.
fn target_dir() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("cross"))
}

/// Names the cargo of a toolchain that has the standard library's source, rustc beside it: where there is no nightly one that has.
const CARGO: &str = "BARLINE_CROSS_CARGO";

/// Cargo for another platform: this toolchain where it has the platform's standard library (`rustup target add`), else one that compiles
/// it.
fn cargo(task: &[&str], platform: &Platform) -> Result<Command, String> {
    let Platform { triple, compiler, debian } = platform;
    if !workspace::exists(compiler, "--version") {
        return Err(format!("there is no {compiler} (on Debian: apt-get install {debian})"));
    }
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output();
    let has_std = output.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir());
    let named = env::var_os(CARGO).map(PathBuf::from);
    let mut command = match &named {
        _ if has_std => workspace::cargo(),
        Some(cargo) => {
            let mut command = Command::new(cargo);
            // The variables by which rustup passes a toolchain on must not reach it.
            command.env("CARGO", cargo).env("RUSTC", cargo.with_file_name("rustc")).env_remove("RUSTUP_TOOLCHAIN");
            command.env("RUSTC_BOOTSTRAP", "1");
            command
        }
        None => {
            sanitize::with_source()?;
            sanitize::nightly()
        }
    };
    command.args(task).args(["--target", triple]);
    if !has_std {
        command.arg("-Zbuild-std=std,panic_unwind,proc_macro,test");
    }
    command.env("CARGO_TARGET_DIR", target_dir().map_err(|e| e.to_string())?);
    let variable = triple.replace('-', "_");
    command.env(format!("CC_{variable}"), compiler);
    command.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), compiler);
    Ok(command)
}

fn check(platform: &Platform) -> Result<Outcome> {
    let mut command = match cargo(&["check", "--package", "barline", "--features", FEATURES, "--lib", "--bins"], platform) {
        Ok(command) => command,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    // Nothing is linked: ALSA and JACK may be this machine's, and Apple's libraries are not asked for.
    command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("SDKROOT", "/");
    workspace::run(&mut command)?;
    Ok(Outcome::Passed)
}

fn windows() -> Result<Outcome> {
    let mut command = match cargo(&["build", "--package", "barline", "--features", FEATURES, "--lib", "--bins"], &WINDOWS) {
        Ok(command) => command,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    workspace::run(&mut command)?;
    let vst3 = bundled()?.join("Barline.vst3/Contents/x86_64-win");
    fs::create_dir_all(&vst3)?;
    let library = built("barline.dll")?;
    for file in [vst3.join("Barline.vst3"), bundled()?.join("Barline.clap")] {
        fs::copy(&library, &file).with_context(|| format!("cannot copy {} to {}", library.display(), file.display()))?;
    }
    Ok(Outcome::Passed)
}

fn bundled() -> Result<PathBuf> {
    Ok(target_dir()?.join("bundled"))
}

/// A file of the build for Windows.
fn built(name: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join(WINDOWS.triple).join("debug").join(name))
}

/// Lets a command run under Wine, in a Windows of its own. It needs a screen: the framework's VST3 wrapper opens a window for its messages.
fn under_wine(windows: &str, command: &mut Command) -> Result<Result<(), String>> {
    if !workspace::exists("wine", "--version") || !workspace::exists("xvfb-run", "--help") {
        return Ok(Err("Wine and xvfb-run are not installed (on Debian: apt-get install wine wine64 xvfb)".into()));
    }
    if !built("barline.dll")?.is_file() {
        return Ok(Err("nothing is built for Windows".into()));
    }
    let folder = target_dir()?.join("wine");
    fs::create_dir_all(&folder)?;
    let (source, library) = (folder.join("random.c"), folder.join("bcryptprimitives.dll"));
    if !library.is_file() {
        fs::write(&source, RANDOM)?;
        workspace::run(Command::new(WINDOWS.compiler).args(["-shared", "-o"]).arg(&library).arg(&source).arg("-ladvapi32"))?;
    }
    command.env("WINEPREFIX", folder.join(windows)).env("WINEPATH", &folder).env("WINEDEBUG", "-all");
    Ok(Ok(()))
}

/// The same notes, to the byte, as from this machine's program.
fn command_line() -> Result<Outcome> {
    let mut there = Command::new("wine");
    if let Err(why) = under_wine("command-line", &mut there)? {
        return Ok(Outcome::Skipped(why));
    }
    workspace::run(workspace::cargo().args(["build", "--package", "barline", "--bin", "barline", "--features", FEATURES]))?;
    let mut here = Command::new(workspace::target_dir()?.join("debug").join("barline"));
    let files = ["here.mid", "there.mid"].map(|name| target_dir().map(|folder| folder.join(name)));
    let [of_here, of_there] = files;
    let (of_here, of_there) = (of_here?, of_there?);
    there.arg(built("barline.exe")?);
    for (command, file) in [(&mut here, &of_here), (&mut there, &of_there)] {
        command.args(["generate", "--model", "band", "--bars", "16", "--seed", "7", "-o"]).arg(file);
        workspace::run(command.env("BARLINE_RUNTIME", "tract"))?;
    }
    ensure!(fs::read(&of_here)? == fs::read(&of_there)?, "{} and {} differ", of_here.display(), of_there.display());
    Ok(Outcome::Passed)
}

fn host_tests(closing: &mut Vec<String>) -> Result<Outcome> {
    let tests = TESTS.iter().flat_map(|test| ["--test", test]);
    let task: Vec<&str> = ["test", "--package", "barline-tests", "--no-fail-fast"].into_iter().chain(tests).collect();
    under_wine_tests(&task, closing)
}

/// Runs tests of a Windows build.
fn under_wine_tests(task: &[&str], closing: &mut Vec<String>) -> Result<Outcome> {
    let cargo = match cargo(task, &WINDOWS) {
        Ok(command) => command,
        Err(why) => return Ok(Outcome::Skipped(why)),
    };
    // One screen for all of them: Wine's desktop outlives a test, and hangs when its screen goes.
    let mut command = Command::new("xvfb-run");
    command.arg("-a").arg(cargo.get_program()).args(cargo.get_args());
    for (key, value) in cargo.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    if let Err(why) = under_wine("hosts", &mut command)? {
        return Ok(Outcome::Skipped(why));
    }
    command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine");
    command.env("BARLINE_BUNDLE_DIR", bundled()?).env("BARLINE_CLI", built("barline.exe")?);
    runner(&mut command, closing)
}
