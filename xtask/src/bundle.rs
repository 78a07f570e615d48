//! `bundle`: the framework's bundler with the features that a plugin build needs.

use crate::{packages, workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

const PACKAGE: &str = "barline";
const NAME: &str = "Barline";

/// What to build, taken apart from the command line.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    features: Vec<String>,
    /// Everything else, handed to cargo.
    cargo_args: Vec<String>,
}

impl Plan {
    /// Takes the arguments apart: `[barline] [-p barline] [--features a,b] [--no-default-features] <cargo's>`.
    fn parse(args: Vec<String>) -> Result<Self> {
        let mut features: Vec<String> = Vec::new();
        let mut cargo_args = Vec::new();
        let mut with_editor = true;
        let mut args = args.into_iter();
        let mut add = |list: &str| {
            features
                .extend(list.split([',', ' ']).filter(|f| !f.is_empty()).map(|f| f.trim_start_matches("barline/").to_owned()));
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                PACKAGE => {}
                "-p" | "--package" => match args.next() {
                    Some(package) if package == PACKAGE => {}
                    other => bail!("the only package to bundle is `{PACKAGE}`, not `{}`", other.unwrap_or_default()),
                },
                "--features" | "-F" => add(&args.next().context("`--features` needs a list")?),
                "--no-default-features" => with_editor = false,
                _ => match arg.strip_prefix("--features=") {
                    Some(list) => add(list),
                    None => cargo_args.push(arg),
                },
            }
        }
        features.push(if with_editor { "editor" } else { "plugin" }.into());
        features.sort();
        features.dedup();
        Ok(Self { features, cargo_args })
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|f| f == feature)
    }

    /// What follows a name among cargo's arguments, in either form.
    fn value_of(&self, name: &str) -> Option<&str> {
        let mut args = self.cargo_args.iter();
        while let Some(arg) = args.next() {
            match arg.strip_prefix(name) {
                Some("") => return args.next().map(String::as_str),
                Some(rest) if rest.starts_with('=') => return rest.get(1..),
                _ => {}
            }
        }
        None
    }

    /// The folder of the build inside the target folder.
    fn profile_dir(&self) -> PathBuf {
        let profile = match self.value_of("--profile") {
            Some("dev") => "debug",
            Some(profile) => profile,
            None if self.cargo_args.iter().any(|a| a == "--release" || a == "-r") => "release",
            None => "debug",
        };
        self.value_of("--target").map_or_else(|| profile.into(), |target| Path::new(target).join(profile))
    }

    /// A program's file name on the platform that is built for.
    fn program(&self, name: &str) -> String {
        let for_windows = self.value_of("--target").map_or(cfg!(windows), |target| target.contains("windows"));
        if for_windows { format!("{name}.exe") } else { name.into() }
    }
}

/// Builds and bundles; yields the folder of the bundles.
pub fn run(args: Vec<String>) -> Result<PathBuf> {
    let plan = Plan::parse(args)?;
    let mut needs = vec![packages::Need::Compiler];
    if plan.has("standalone") {
        needs.push(packages::Need::Standalone);
    }
    packages::require(&needs)?;

    let target_dir = workspace::target_dir()?;
    let mut args: Vec<String> = ["--no-default-features", "--lib", "--features"].map(Into::into).into();
    args.push(plan.features.join(","));
    if plan.has("standalone") {
        args.extend(["--bin", "barline-standalone"].map(Into::into));
    }
    args.extend(plan.cargo_args.iter().cloned());
    // The bundler takes a program with the package's name for the standalone; ours with that name is the command line.
    let build_dir = target_dir.join(plan.profile_dir());
    let aside = Aside::put(&build_dir.join(plan.program(PACKAGE)))?;
    nice_plug_xtask::build(&[PACKAGE.into()], &args)?;
    nice_plug_xtask::bundle(&target_dir, PACKAGE, &args, false)?;
    drop(aside);

    let bundled = target_dir.join("bundled");
    if plan.has("standalone") {
        let standalone = bundled.join(plan.program(&format!("{NAME}-standalone")));
        fs::copy(build_dir.join(plan.program("barline-standalone")), &standalone)
            .with_context(|| format!("cannot copy the standalone program to {}", standalone.display()))?;
        println!("Created the standalone program at '{}'", standalone.display());
    }
    Ok(bundled)
}

/// A file moved out of the way for a while.
struct Aside {
    place: PathBuf,
    aside: Option<PathBuf>,
}

impl Aside {
    fn put(place: &Path) -> Result<Self> {
        let aside = place.with_extension("aside");
        let moved = place.is_file();
        if moved {
            fs::rename(place, &aside).with_context(|| format!("cannot move {} out of the way", place.display()))?;
        }
        Ok(Self { place: place.into(), aside: moved.then_some(aside) })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside
            && let Err(error) = fs::rename(aside, &self.place)
        {
            eprintln!("could not move {} back: {error}", aside.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &str) -> Plan {
        Plan::parse(args.split_whitespace().map(Into::into).collect()).unwrap()
    }

    #[test]
    fn the_editor_is_built_unless_refused() {
        assert_eq!(plan("barline --release"), Plan { features: vec!["editor".into()], cargo_args: vec!["--release".into()] });
        assert_eq!(plan("--no-default-features").features, ["plugin"]);
        assert_eq!(plan("-p barline --features alloc-guard,editor").features, ["alloc-guard", "editor"]);
        assert_eq!(plan("--features=standalone --locked").features, ["editor", "standalone"]);
    }

    #[test]
    fn the_build_folder_follows_profile_and_target() {
        assert_eq!(plan("barline").profile_dir(), Path::new("debug"));
        assert_eq!(plan("barline -r").profile_dir(), Path::new("release"));
        assert_eq!(plan("--profile bench-lto").profile_dir(), Path::new("bench-lto"));
        assert_eq!(
            plan("--release --target=aarch64-unknown-linux-gnu").profile_dir(),
            Path::new("aarch64-unknown-linux-gnu").join("release")
        );
    }

    #[test]
    fn programs_are_named_as_their_platform_names_them() {
        assert_eq!(plan("--target x86_64-pc-windows-gnu").program("barline"), "barline.exe");
        assert_eq!(plan("--target=aarch64-unknown-linux-gnu -r").program("barline"), "barline");
        assert_eq!(plan("barline").program("barline"), format!("barline{}", std::env::consts::EXE_SUFFIX));
    }

    #[test]
    fn another_package_is_refused() {
        assert!(Plan::parse(vec!["-p".into(), "xtask".into()]).is_err());
    }
}
