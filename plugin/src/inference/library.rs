//! The models there are: those inside the program, and the files in the user's folder. A user installs one by dropping one file.

use super::{
    onnx_file::{MAX_MODEL_BYTES, OnnxFile},
    runtime::data_dir,
    session::{OnnxGenerator, Trust},
};
use crate::generate::{Generator, Manifest, ModelError, ModelProvider};
use std::{
    borrow::Cow,
    io::Read,
    path::{Path, PathBuf},
};

/// The models inside the program; the first is the default.
const EMBEDDED: [(&str, &[u8]); 3] = [
    ("melody", include_bytes!("../../../models/released/melody.onnx")),
    ("midinet", include_bytes!("../../../models/released/midinet.onnx")),
    ("band", include_bytes!("../../../models/released/band.onnx")),
];
/// The model that plays where none is named.
pub const DEFAULT_MODEL: &str = "melody";

/// Where a model lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Inside the program.
    Embedded,
    /// In a file.
    File(PathBuf),
}

/// A model that was read and checked, but not run.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// What it is.
    pub manifest: Manifest,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Size of the file.
    pub n_bytes: usize,
    /// Where it lies.
    pub origin: Origin,
}

/// Why a model is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Models inside the program cannot be replaced.
    #[error("its id `{id}` is that of a model inside Barline, which is found first: it would never be used")]
    BuiltIn {
        /// The id.
        id: String,
    },
    /// There is nowhere to put it.
    #[error("there is no folder for the user's models")]
    NoFolder,
    /// It cannot be copied.
    #[error("{path} cannot be written: {reason}")]
    Write {
        /// Where it should have gone.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// Finds models by id or path.
#[derive(Clone, Debug)]
pub struct Library {
    folder: Option<PathBuf>,
}

impl Default for Library {
    fn default() -> Self {
        Self::new()
    }
}

impl Library {
    /// The models inside the program and those in `models` in Barline's [data folder](super::runtime::data_dir).
    #[must_use]
    pub fn new() -> Self {
        Self { folder: data_dir().map(|d| d.join("models")) }
    }

    /// The models inside the program and those in another folder.
    #[must_use]
    pub fn with_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// Where the user's models lie.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// All models in the order in which a name is looked up, and the files that are refused, with the reasons. A file whose id
    /// another model has already is reached by its path only.
    #[must_use]
    pub fn list(&self) -> (Vec<ModelInfo>, Vec<(PathBuf, ModelError)>) {
        let (mut models, mut refused) = (Vec::new(), Vec::new());
        for (id, bytes) in EMBEDDED {
            match info(bytes, Origin::Embedded) {
                Ok(model) => models.push(model),
                Err(error) => refused.push((PathBuf::from(id), error)),
            }
        }
        for path in self.files() {
            match read(&path).and_then(|bytes| info(&bytes, Origin::File(path.clone()))) {
                Ok(model) => models.push(model),
                Err(error) => refused.push((path, error)),
            }
        }
        (models, refused)
    }

    /// Reads and checks one model without running it; an empty name is the default.
    ///
    /// # Errors
    /// [`ModelError`] says why it is refused.
    pub fn inspect(&self, model: &str) -> Result<ModelInfo, ModelError> {
        let (bytes, origin) = self.find(model)?;
        info(&bytes, origin)
    }

    /// Reads, checks, loads and runs one model; an empty name is the default.
    ///
    /// # Errors
    /// [`ModelError`] says why it is refused.
    pub fn open(&self, model: &str) -> Result<OnnxGenerator, ModelError> {
        let (bytes, origin) = self.find(model)?;
        OnnxGenerator::load(&bytes, if origin == Origin::Embedded { Trust::Embedded } else { Trust::File })
    }

    /// Loads a model file and runs it once, as the plugin would, and copies it into the user's folder, in the place of one with the same id.
    ///
    /// # Errors
    /// [`InstallError`]; the folder is then as it was.
    pub fn install(&self, path: &Path) -> Result<ModelInfo, InstallError> {
        let folder = self.folder.as_deref().ok_or(InstallError::NoFolder)?;
        let bytes = read(path)?;
        let found = info(&bytes, Origin::File(path.into()))?;
        let id = &found.manifest.id;
        if EMBEDDED.iter().any(|(embedded, _)| embedded == id) {
            return Err(InstallError::BuiltIn { id: id.clone() });
        }
        OnnxGenerator::load(&bytes, Trust::File)?;
        let older = match self.inspect(id) {
            Ok(ModelInfo { origin: Origin::File(place), .. }) => Some(place),
            _ => None,
        };
        let place = older.unwrap_or_else(|| folder.join(format!("{id}.onnx")));
        let write = || {
            std::fs::create_dir_all(folder)?;
            // It appears whole or not at all.
            let part = place.with_extension("part");
            std::fs::write(&part, &bytes).and_then(|()| std::fs::rename(&part, &place)).inspect_err(|_| {
                let _ = std::fs::remove_file(&part);
            })
        };
        write().map_err(|e: std::io::Error| InstallError::Write { path: place.display().to_string(), reason: e.to_string() })?;
        Ok(ModelInfo { origin: Origin::File(place), ..found })
    }

    /// A model's file as it is, not checked; an empty name is the default.
    ///
    /// # Errors
    /// [`ModelError`] when there is none of this name or it cannot be read.
    pub fn bytes(&self, model: &str) -> Result<Cow<'static, [u8]>, ModelError> {
        self.find(model).map(|(bytes, _)| bytes)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let mut files: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) && path.is_file());
        files.sort();
        files
    }

    fn find(&self, model: &str) -> Result<(Cow<'static, [u8]>, Origin), ModelError> {
        let model = if model.is_empty() { DEFAULT_MODEL } else { model };
        if let Some((_, bytes)) = EMBEDDED.iter().find(|(id, _)| *id == model) {
            return Ok((Cow::Borrowed(*bytes), Origin::Embedded));
        }
        if is_path(model) {
            let path = PathBuf::from(model);
            return Ok((Cow::Owned(read(&path)?), Origin::File(path)));
        }
        // A damaged file named as the model is the likely culprit; its reason says more than "unknown".
        let mut culprit = None;
        for path in self.files() {
            match read(&path).and_then(|bytes| Ok((OnnxFile::read(&bytes)?, bytes))) {
                Ok((file, bytes)) if file.manifest.id == model => return Ok((Cow::Owned(bytes), Origin::File(path))),
                Err(error) if path.file_stem().is_some_and(|stem| stem == model) => culprit = Some(error),
                _ => (),
            }
        }
        let known = self.list().0.iter().map(|m| m.manifest.id.clone()).collect::<Vec<_>>().join(", ");
        Err(culprit.unwrap_or(ModelError::Unknown { name: model.into(), known }))
    }
}

impl ModelProvider for Library {
    fn default_model(&self) -> &str {
        DEFAULT_MODEL
    }

    /// By id only: the name may come from somebody else's project, which must not choose what files are opened.
    fn load(&mut self, model: &str) -> Result<Box<dyn Generator>, ModelError> {
        if is_path(model) {
            return Err(ModelError::PathInProject { path: model.into() });
        }
        Ok(Box::new(self.open(model)?))
    }
}

fn info(bytes: &[u8], origin: Origin) -> Result<ModelInfo, ModelError> {
    let OnnxFile { manifest, sha256 } = OnnxFile::read(bytes)?;
    Ok(ModelInfo { manifest, sha256, n_bytes: bytes.len(), origin })
}

/// A path, unlike an id, has a separator or ends in `.onnx`.
fn is_path(model: &str) -> bool {
    model.contains(['/', '\\']) || model.to_ascii_lowercase().ends_with(".onnx")
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |e: std::io::Error| ModelError::Read { path: path.display().to_string(), reason: e.to_string() };
    // Opening a pipe would wait for somebody to write into it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a file")));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells an oversized file without reading all of it, whatever it says its size is.
    let n_bytes = file.take(MAX_MODEL_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let n_bytes = u64::try_from(n_bytes).unwrap_or(u64::MAX);
    if n_bytes > MAX_MODEL_BYTES {
        let n_bytes = std::fs::metadata(path).map_or(n_bytes, |m| m.len());
        return Err(ModelError::TooLarge { bytes: n_bytes, limit: MAX_MODEL_BYTES });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        generate::{PatternSpec, Span, build},
        inference::onnx_file::tests::TINY,
    };

    #[test]
    fn the_embedded_models_fit_their_manifests_and_run() {
        let library = Library { folder: None };
        let (models, refused) = library.list();
        assert!(refused.is_empty(), "{refused:?}");
        let ids: Vec<&str> = models.iter().map(|m| m.manifest.id.as_str()).collect();
        assert_eq!(ids, ["melody", "midinet", "band"]);
        for id in ids {
            let mut generator = library.open(id).unwrap();
            let spec = PatternSpec {
                seed: 7,
                take: 0,
                variation: 1.0,
                span: Span::Bars(3),
                progression: "Dm7 | G7 | C".parse().unwrap(),
                primer: vec![],
                ..PatternSpec::default()
            };
            let pattern = build(&mut generator, &spec, 0, 3, |_| ()).unwrap();
            assert!(!generator.backend().notes.iter().any(|n| n.contains("optimise")), "{:?}", generator.backend());
            assert_eq!(pattern.roll.n_bars(), 3);
            let cells = pattern.roll.cells();
            assert!(cells.iter().max() > cells.iter().min());
        }
    }

    #[test]
    fn a_file_dropped_into_the_folder_is_found_by_its_id_and_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::with_folder(folder.path().into());
        assert!(matches!(library.open("tiny"), Err(ModelError::Unknown { .. })));
        let path = folder.path().join("some name.onnx");
        std::fs::write(&path, TINY).unwrap();
        assert_eq!(library.inspect("tiny").unwrap().origin, Origin::File(path.clone()));
        assert_eq!(library.open(path.to_str().unwrap()).unwrap().manifest().id, "tiny");
        assert_eq!(library.inspect("").unwrap().origin, Origin::Embedded);
    }

    #[test]
    fn a_model_is_installed_once_it_has_run_and_takes_the_place_of_its_older_self() {
        let (place, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let library = Library::with_folder(place.path().join("new").join("models"));
        let file = |name: &str, bytes: &[u8]| {
            let path = source.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let names = || {
            let entries = std::fs::read_dir(library.folder().unwrap()).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        assert!(matches!(library.install(&file("a.onnx", &TINY[..3000])), Err(InstallError::Model(ModelError::NotOnnx { .. }))));
        let band = EMBEDDED[2].1;
        assert!(matches!(library.install(&file("b.onnx", band)), Err(InstallError::BuiltIn { id }) if id == "band"));
        assert_eq!(names(), Vec::<String>::new());
        let model = file("downloaded (1).onnx", TINY);
        assert_eq!(library.install(&model).unwrap().manifest.id, "tiny");
        assert_eq!((names(), library.open("tiny").unwrap().manifest().id.as_str()), (vec!["tiny.onnx".into()], "tiny"));
        let own = library.folder().unwrap().join("my own name.onnx");
        std::fs::rename(library.folder().unwrap().join("tiny.onnx"), &own).unwrap();
        assert_eq!(library.install(&model).unwrap().origin, Origin::File(own));
        assert_eq!(names(), ["my own name.onnx"]);
        let nowhere = Library::with_folder(model.join("models"));
        assert!(matches!(nowhere.install(&model), Err(InstallError::Write { .. })));
        assert!(matches!(Library { folder: None }.install(&model), Err(InstallError::NoFolder)));
    }

    #[test]
    fn a_refused_file_is_listed_with_its_reason_and_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::with_folder(folder.path().into());
        std::fs::write(folder.path().join("a.onnx"), &TINY[..3000]).unwrap();
        std::fs::write(folder.path().join("b.onnx"), TINY).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no model").unwrap();
        let (models, refused) = library.list();
        assert_eq!((models.len(), refused.len()), (EMBEDDED.len() + 1, 1));
        assert!(matches!(refused[0].1, ModelError::NotOnnx { .. }));
        assert_eq!(library.open("tiny").unwrap().manifest().id, "tiny");
        assert!(matches!(library.open("a").unwrap_err(), ModelError::NotOnnx { .. }));
        assert!(matches!(library.open("missing/x.onnx").unwrap_err(), ModelError::Read { .. }));
    }

    #[test]
    fn a_project_names_models_by_id_and_opens_no_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.onnx");
        std::fs::write(&path, TINY).unwrap();
        let mut library = Library::with_folder(folder.path().into());
        assert_eq!(library.load("tiny").unwrap().manifest().id, "tiny");
        for name in [path.to_str().unwrap(), "\\\\host\\share\\b.onnx", "../b", "b.ONNX"] {
            assert!(matches!(library.load(name), Err(ModelError::PathInProject { .. })), "{name}");
        }
        // On the command line a path is the user's own; a folder or a pipe is none the less no model.
        assert!(matches!(library.open("/dev/"), Err(ModelError::Read { .. })));
        #[cfg(unix)]
        assert!(matches!(library.open("/dev/zero"), Err(ModelError::Read { .. })));
    }

    #[test]
    fn an_oversized_file_is_refused_unread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.onnx");
        std::fs::File::create(&path).unwrap().set_len(MAX_MODEL_BYTES + 77).unwrap();
        match read(&path).unwrap_err() {
            ModelError::TooLarge { bytes, .. } => assert_eq!(bytes, MAX_MODEL_BYTES + 77),
            other => panic!("{other}"),
        }
    }
}
