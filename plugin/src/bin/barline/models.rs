//! `barline models`.

use crate::{
    args::{ModelsAction, ModelsArgs},
    error::CliError,
};
use barline::{
    generate::{Generator, ModelError, PatternSpec, Span, build},
    inference::{Library, ModelInfo, Origin},
    music::chord::Progression,
};
use std::io::{self, Write};

/// Does what `barline models` is asked for.
pub fn run(args: &ModelsArgs) -> Result<(), CliError> {
    let library = Library::new();
    let text = match &args.action {
        None | Some(ModelsAction::List) => list(&library),
        Some(ModelsAction::Inspect { model }) => inspect(&library, model)?,
        Some(ModelsAction::Verify { model }) => verify(&library, model)?,
    };
    print(&text)
}

/// Prints; a reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Print(e.to_string())),
        _ => Ok(()),
    }
}

fn refused(model: &str) -> impl FnOnce(ModelError) -> CliError + '_ {
    move |source| CliError::Model { model: model.into(), source }
}

fn origin(info: &ModelInfo) -> String {
    match &info.origin {
        Origin::Embedded => "built in".into(),
        Origin::File(path) => path.display().to_string(),
    }
}

fn list(library: &Library) -> String {
    let (models, refused) = library.list();
    let mut text = format!("{:<16} {:<9} {:<14} {:<18} {}\n", "ID", "VERSION", "SHA-256", "LICENCE", "FROM");
    for model in &models {
        let manifest = &model.manifest;
        let hash = model.sha256.get(..12).unwrap_or(&model.sha256);
        let (id, version, licence) = (&manifest.id, &manifest.version, &manifest.licence);
        text += &format!("{id:<16} {version:<9} {hash:<14} {licence:<18} {}\n", origin(model));
    }
    for (path, reason) in &refused {
        text += &format!("refused: {}: {reason}\n", path.display());
    }
    if let Some(folder) = library.folder() {
        text += &format!("\nOther models are found in {}\n", folder.display());
    }
    text
}

fn inspect(library: &Library, model: &str) -> Result<String, CliError> {
    let info = library.inspect(model).map_err(refused(model))?;
    let manifest = serde_json::to_string_pretty(&info.manifest).map_err(|e| CliError::Print(e.to_string()))?;
    Ok(format!("from:    {}\nsize:    {} bytes\nsha-256: {}\n{manifest}\n", origin(&info), info.n_bytes, info.sha256))
}

/// Loads the model as the plugin would and makes one phrase with it.
fn verify(library: &Library, model: &str) -> Result<String, CliError> {
    let mut generator = library.open(model).map_err(refused(model))?;
    let spec = PatternSpec {
        seed: 0,
        take: 0,
        variation: 1.0,
        span: Span::Endless,
        progression: Progression::none(),
        primer: Vec::new(),
        ..PatternSpec::default()
    };
    let n_bars = generator.manifest().n_bars;
    let pattern = build(&mut generator, &spec, 0, n_bars, |_| ())?;
    let (manifest, backend) = (generator.manifest(), generator.backend());
    let mut text = format!(
        "ok: {} {} ({}), {} bars of {} steps, run by {} ({})\n",
        manifest.id,
        manifest.version,
        manifest.licence,
        pattern.roll.n_bars(),
        manifest.n_steps,
        backend.runtime,
        backend.provider
    );
    for note in &backend.notes {
        text += &format!("note: {note}\n");
    }
    Ok(text)
}
