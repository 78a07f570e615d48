//! System packages: checked before a build, installed on Debian and Ubuntu as root, else named in one command.
//!
//! The editor links no system library: X11 and OpenGL are opened at run time. Only the standalone program links ALSA and JACK.

use crate::workspace;
use anyhow::{Result, bail};
use std::{env, path::Path, process::Command};

/// What a build may need of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A C compiler and linker, for every build.
    Compiler,
    /// ALSA and JACK.
    Standalone,
    /// Real hosts, for the tests that play in them. No build needs them; without them those tests are skipped.
    Hosts,
}

/// Everything that some build of the project needs.
pub const EVERYTHING: &[Need] = &[Need::Compiler, Need::Standalone];

/// A Debian package, and how its presence shows on any Linux.
struct Package {
    need: Need,
    debian: &'static str,
    probe: Probe,
}

enum Probe {
    Program(&'static str),
    /// A program that would open a window, or wait, if it were run.
    InPath(&'static str),
    PkgConfig(&'static str),
}

const PACKAGES: &[Package] = &[
    Package { need: Need::Compiler, debian: "build-essential", probe: Probe::Program("cc") },
    Package { need: Need::Standalone, debian: "pkg-config", probe: Probe::Program("pkg-config") },
    Package { need: Need::Standalone, debian: "libasound2-dev", probe: Probe::PkgConfig("alsa") },
    Package { need: Need::Standalone, debian: "libjack-jackd2-dev", probe: Probe::PkgConfig("jack") },
    Package { need: Need::Hosts, debian: "ardour", probe: Probe::InPath("ardour") },
    Package { need: Need::Hosts, debian: "jackd2", probe: Probe::InPath("jackd") },
    Package { need: Need::Hosts, debian: "xvfb", probe: Probe::InPath("Xvfb") },
];

impl Package {
    fn is_there(&self) -> bool {
        match self.probe {
            Probe::Program(program) => workspace::exists(program, "--version"),
            Probe::InPath(program) => {
                let path = env::var_os("PATH").unwrap_or_default();
                env::split_paths(&path).any(|folder| folder.join(program).is_file())
            }
            Probe::PkgConfig(module) => Command::new("pkg-config").args(["--exists", module]).status().is_ok_and(|s| s.success()),
        }
    }
}

/// Makes sure that the packages for these needs are there. Linux only; elsewhere everything comes with the compiler.
///
/// # Errors
/// When some are missing and cannot be installed here; the error holds the command to run.
pub fn require(needs: &[Need]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let missing: Vec<&str> = PACKAGES.iter().filter(|p| needs.contains(&p.need) && !p.is_there()).map(|p| p.debian).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "these system packages are missing: {packages} (Debian's names). Install what your system calls them, then run this again."
        );
    }
    if !is_root() {
        bail!(
            "these system packages are missing. Run this, then run this task again:\n\n  sudo apt-get install --yes {packages}\n"
        );
    }
    println!("installing the missing system packages: {packages}");
    let apt = |args: &[&str]| {
        workspace::run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--yes"]).args(args))
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], missing.as_slice()].concat())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
