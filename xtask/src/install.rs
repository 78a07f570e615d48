//! `install`: the release bundles into the user's plug-in folders, where hosts look by default.

use crate::bundle;
use anyhow::{Context, Result};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Bundles in release and installs for this user.
pub fn run() -> Result<()> {
    let bundled = bundle::run(vec!["--release".into()])?;
    let [clap_dir, vst3_dir] = plugin_folders()?;
    for (name, dir) in [("Barline.clap", clap_dir), ("Barline.vst3", vst3_dir)] {
        let place = dir.join(name);
        replace(&bundled.join(name), &place).with_context(|| format!("cannot install {}", place.display()))?;
        println!("Installed {}", place.display());
    }
    Ok(())
}

/// The user's folders for CLAP and VST3.
///
/// # Source
/// CLAP: `clap/entry.h`; VST3: Steinberg's "VST 3 Locations".
fn plugin_folders() -> Result<[PathBuf; 2]> {
    if cfg!(target_os = "windows") {
        let common =
            PathBuf::from(env::var_os("LOCALAPPDATA").context("LOCALAPPDATA is not set")?).join("Programs").join("Common");
        return Ok([common.join("CLAP"), common.join("VST3")]);
    }
    let home = env::home_dir().context("the home folder is unknown")?;
    if cfg!(target_os = "macos") {
        let plug_ins = home.join("Library").join("Audio").join("Plug-Ins");
        return Ok([plug_ins.join("CLAP"), plug_ins.join("VST3")]);
    }
    Ok([home.join(".clap"), home.join(".vst3")])
}

/// Copies beside the place and swaps, so that a host never sees half a plugin. What was put into an installed bundle's
/// `Resources` since (a runtime) stays.
fn replace(from: &Path, place: &Path) -> io::Result<()> {
    let dir = place.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir)?;
    let beside = |what: &str| dir.join(format!(".barline-{what}-{}", std::process::id()));
    let (new, old) = (beside("new"), beside("old"));
    remove(&new)?;
    remove(&old)?;
    copy(from, &new)?;
    let resources = Path::new("Contents").join("Resources");
    if place.join(&resources).is_dir() && !new.join(&resources).exists() {
        copy(&place.join(&resources), &new.join(&resources))?;
    }
    let replaced = place.symlink_metadata().is_ok();
    if replaced {
        fs::rename(place, &old)?;
    }
    if let Err(error) = fs::rename(&new, place) {
        if replaced {
            fs::rename(&old, place)?;
        }
        return Err(error);
    }
    remove(&old)
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_replaces_another_and_keeps_its_resources() {
        let dir = env::temp_dir().join(format!("barline-install-{}", std::process::id()));
        let (from, place) = (dir.join("from.vst3"), dir.join("to").join("Barline.vst3"));
        fs::create_dir_all(from.join("Contents").join("x86_64-linux")).unwrap();
        fs::write(from.join("Contents").join("x86_64-linux").join("Barline.so"), "new").unwrap();
        fs::create_dir_all(place.join("Contents").join("Resources")).unwrap();
        fs::write(place.join("Contents").join("stale"), "old").unwrap();
        fs::write(place.join("Contents").join("Resources").join("libonnxruntime.so"), "runtime").unwrap();
        replace(&from, &place).unwrap();
        let read = |path: &[&str]| fs::read_to_string(path.iter().fold(place.clone(), |p, part| p.join(part))).ok();
        assert_eq!(read(&["Contents", "x86_64-linux", "Barline.so"]).as_deref(), Some("new"));
        assert_eq!(read(&["Contents", "Resources", "libonnxruntime.so"]).as_deref(), Some("runtime"));
        assert_eq!(read(&["Contents", "stale"]), None);
        assert_eq!(fs::read_dir(dir.join("to")).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
