//! Files that appear whole or not at all: written beside their place under a temporary name, then renamed.

use super::ExportError;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A set of outputs that appear together.
#[derive(Debug, Default)]
pub struct Outputs {
    files: Vec<(PathBuf, NamedTempFile)>,
}

impl Outputs {
    /// Adds a file; it stays invisible until [`Outputs::commit`].
    ///
    /// # Errors
    /// [`ExportError::Write`] when its place cannot be written to, [`ExportError::Twice`] when the set has it already.
    pub fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
        self.add_with(path, |file| file.write_all(bytes).and_then(|()| file.flush()).map_err(|e| ExportError::write(path, e)))
    }

    /// Adds a file that `write` fills, for what does not fit into memory; it stays invisible until [`Outputs::commit`].
    ///
    /// # Errors
    /// As [`Outputs::add`], and what `write` says.
    pub fn add_with(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut fs::File) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let place = place_of(path)?;
        if self.files.iter().any(|(other, _)| *other == place) {
            return Err(ExportError::Twice { path: path.display().to_string() });
        }
        let mut file = temporary_beside(&place)?;
        write(file.as_file_mut())?;
        self.files.push((place, file));
        Ok(())
    }

    /// Gives all files their names, replacing older ones.
    ///
    /// # Errors
    /// [`ExportError::Write`] when one cannot be renamed; those that were new are taken away again.
    pub fn commit(self) -> Result<(), ExportError> {
        let mut new: Vec<PathBuf> = Vec::new();
        for (place, file) in self.files {
            let is_new = !place.exists();
            match file.persist(&place) {
                Ok(_) if is_new => new.push(place),
                Ok(_) => {}
                Err(e) => {
                    for path in &new {
                        // The error that matters is the first one.
                        let _ = fs::remove_file(path);
                    }
                    return Err(ExportError::write(&place, e.error));
                }
            }
        }
        Ok(())
    }
}

/// Whether all of `paths` could be written, before any work is done for them; leaves nothing behind. `inputs` are files that are read.
///
/// # Errors
/// As [`Outputs::add`], and [`ExportError::Input`].
pub fn check(paths: &[&Path], inputs: &[&Path]) -> Result<(), ExportError> {
    let inputs: Vec<PathBuf> = inputs.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let mut outputs = Outputs::default();
    for path in paths {
        if inputs.contains(&place_of(path)?) {
            return Err(ExportError::Input { path: path.display().to_string() });
        }
        outputs.add(path, &[])?;
    }
    Ok(())
}

/// Where a file will really lie: links are followed, so that a link is not replaced by a file. Devices, pipes and folders are
/// refused: renaming a file over `/dev/null` would break the machine.
fn place_of(path: &Path) -> Result<PathBuf, ExportError> {
    let name = path.file_name().ok_or_else(|| ExportError::write(path, "it names no file"))?;
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ExportError::write(path, "it is a folder")),
        Ok(found) if !found.is_file() => Err(ExportError::write(path, "it is no regular file")),
        Ok(found) if found.permissions().readonly() => Err(ExportError::write(path, "it is write-protected")),
        Ok(_) => fs::canonicalize(path).map_err(|e| ExportError::write(path, e)),
        Err(_) => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let folder = fs::canonicalize(folder).map_err(|e| ExportError::write(path, format!("its folder: {e}")))?;
            if folder.is_dir() { Ok(folder.join(name)) } else { Err(ExportError::write(path, "its folder is no folder")) }
        }
    }
}

fn temporary_beside(place: &Path) -> Result<NamedTempFile, ExportError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".barline-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any program would make it, less the umask; a temporary file alone is the user's only.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(place.parent().unwrap_or_else(|| Path::new("."))).map_err(|e| ExportError::write(place, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&b, "old").unwrap();
        let mut outputs = Outputs::default();
        outputs.add(&a, b"new a").unwrap();
        outputs.add(&b, b"new b").unwrap();
        assert!(!a.exists());
        assert_eq!(fs::read(&b).unwrap(), b"old");
        outputs.commit().unwrap();
        assert_eq!((fs::read(&a).unwrap(), fs::read(&b).unwrap()), (b"new a".to_vec(), b"new b".to_vec()));
        assert_eq!(names(folder.path()), ["a", "b"]);
        // The place of the second is taken by a folder in between.
        let (c, d) = (folder.path().join("c"), folder.path().join("d"));
        let mut outputs = Outputs::default();
        outputs.add(&c, b"c").unwrap();
        outputs.add(&d, b"d").unwrap();
        fs::create_dir(&d).unwrap();
        assert!(outputs.commit().is_err());
        assert_eq!(names(folder.path()), ["a", "b", "d"]);
    }

    #[test]
    fn impossible_places_are_refused_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").unwrap();
        for path in [at("missing/a"), at("file/a"), at(""), folder.path().join("..")] {
            assert!(matches!(check(&[&path], &[]), Err(ExportError::Write { .. })), "{}", path.display());
        }
        assert!(matches!(check(&[&at("a"), &at("./a")], &[]), Err(ExportError::Twice { .. })));
        assert!(matches!(check(&[&at("./file")], &[&at("gone"), &at("file")]), Err(ExportError::Input { .. })));
        #[cfg(unix)]
        assert!(matches!(check(&[Path::new("/dev/null")], &[]), Err(ExportError::Write { .. })));
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut outputs = Outputs::default();
        outputs.add(&link, b"new").unwrap();
        outputs.commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }
}
