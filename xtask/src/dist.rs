//! `dist`: what a user downloads, one archive per platform, the same bytes from the same commit in any
//! folder: paths of this machine are taken out of the programs, entries are sorted, and every time in it
//! is the commit's.

use crate::{bundle, test, workspace};
use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::Command,
};
use zip::{DateTime, ZipWriter, write::SimpleFileOptions};

/// The features of every program in it; one set, so that the library is compiled once.
const FEATURES: &str = "cli,editor,standalone";
/// What a reader finds beside the programs.
const TEXTS: [&str; 9] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "plugin/assets/LICENSE-barline-sf2.txt",
    "plugin/docs/command-line.md",
    "plugin/docs/hosts.md",
    "plugin/docs/plugin.md",
];
/// Beginnings of the names of files that hold a licence.
const LICENCE_NAMES: [&str; 7] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "AUTHORS"];

/// The files of an archive: where they lie in it, whether they can be run, and their bytes.
type Entries = BTreeMap<String, (bool, Vec<u8>)>;

/// Builds and packs.
pub fn run() -> Result<()> {
    ensure!(git(&["status", "--porcelain"])?.is_empty(), "something is not committed; a release is made of a commit");
    let commit = git(&["rev-parse", "HEAD"])?;
    let target_dir = workspace::target_dir()?;
    let wrapper = std::env::current_exe()?;
    let settings = [
        format!("build.rustc-wrapper={:?}", wrapper.display().to_string()),
        format!("env.{REMAP}={:?}", remapped(&target_dir)?.join("\n")),
    ];
    let with = |words: &str| -> Vec<String> {
        let words = words.split(' ').map(Into::into);
        words.chain(settings.iter().flat_map(|setting| ["--config".into(), setting.clone()])).collect()
    };
    let bundled = bundle::run(with("--release --locked --features cli,standalone"))?;
    let mut command = workspace::cargo();
    command.args(with("build --release --locked --package barline --bin barline --no-default-features"));
    workspace::run(command.args(["--features", FEATURES]).env("BARLINE_COMMIT", &commit))?;

    let metadata = metadata()?;
    let version = &metadata.packages.iter().find(|p| p.name == "barline").context("no package `barline`")?.version;
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let name = format!("barline-{version}-{os}-{arch}");
    let mut entries = Entries::new();
    let suffix = std::env::consts::EXE_SUFFIX;
    let program = target_dir.join("release").join(format!("barline{suffix}"));
    for format in ["Barline.clap", "Barline.vst3"] {
        add(&mut entries, &bundled.join(format), format)?;
    }
    let standalone = format!("Barline-standalone{suffix}");
    add(&mut entries, &bundled.join(&standalone), &standalone)?;
    add(&mut entries, &program, &format!("barline{suffix}"))?;
    for text in TEXTS {
        add(&mut entries, Path::new(text), text)?;
    }
    entries.insert("LICENCES.txt".into(), (false, licences(&metadata)?.into_bytes()));
    entries.insert("MODELS.txt".into(), (false, models(&program)?.into_bytes()));
    entries.insert("COMMIT".into(), (false, format!("{commit}\n").into_bytes()));
    let bytes = pack(entries, &name, commit_time()?)?;

    let dist = target_dir.join("dist");
    fs::create_dir_all(&dist)?;
    let archive = dist.join(format!("{name}.zip"));
    fs::write(&archive, &bytes).with_context(|| format!("cannot write {}", archive.display()))?;
    let sum = hex(&bytes);
    fs::write(dist.join(format!("{name}.zip.sha256")), format!("{sum}  {name}.zip\n"))?;
    println!("{} ({:.1} MB)\nSHA-256 {sum}\ncommit {commit}", archive.display(), bytes.len() as f64 / 1e6);
    Ok(())
}

/// What git says.
pub fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).env("TZ", "UTC").output().context("cannot run git")?;
    ensure!(output.status.success(), "`git {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// When the commit was made, in UTC, as a ZIP file counts: even seconds.
fn commit_time() -> Result<DateTime> {
    let text = git(&["log", "-1", "--format=%cd", "--date=format-local:%Y %m %d %H %M %S"])?;
    let parts = text.split(' ').map(str::parse).collect::<Result<Vec<u16>, _>>().with_context(|| format!("a time: {text}"))?;
    let [year, rest @ ..] = parts.as_slice() else { bail!("no time: {text}") };
    let rest = rest.iter().map(|part| u8::try_from(*part)).collect::<Result<Vec<u8>, _>>()?;
    let [month, day, hour, minute, second] = rest.as_slice() else { bail!("no time: {text}") };
    DateTime::from_date_and_time(*year, *month, *day, *hour, *minute, *second & !1).context("a time before 1980")
}

/// Passes the compiler's further flags to [`compile`].
const REMAP: &str = "BARLINE_REMAP";

/// Stands between cargo and the compiler in a release, and adds flags that cargo must not know: it would hash the folders in them into every
/// symbol's name. Cargo calls it with the compiler and its arguments; `None` where it is no such call.
pub fn compile() -> Option<Result<()>> {
    let flags = std::env::var(REMAP).ok()?;
    let mut args = std::env::args_os().skip(1);
    let compiler = args.next().filter(|program| Path::new(program).file_stem().is_some_and(|name| name == "rustc"))?;
    Some(workspace::run(Command::new(compiler).args(args).args(flags.lines())))
}

/// The compiler's flags that take this machine's folders out of what it makes.
fn remapped(target_dir: &Path) -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".cargo")));
    let here = std::env::current_dir()?;
    // Of several that fit the last one counts: the target folder may lie in the project's.
    let folders = [(here, "barline"), (home.context("this user has no home folder")?, "cargo"), (target_dir.into(), "target")];
    Ok(folders.map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display())).into())
}

/// A file, or a folder with all in it.
fn add(entries: &mut Entries, path: &Path, name: &str) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            add(entries, &entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()))?;
        }
        return Ok(());
    }
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    // By what it is and not by what the file system says, which differs between checkouts: ELF, Mach-O, and Windows' MZ.
    let magics: [&[u8]; 4] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ"];
    let can_run = magics.iter().any(|magic| bytes.starts_with(magic));
    entries.insert(name.into(), (can_run, bytes));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The archive, with the checksums of all files in it.
fn pack(mut entries: Entries, folder: &str, time: DateTime) -> Result<Vec<u8>> {
    let sums = entries.iter().map(|(name, (_, bytes))| format!("{}  {name}\n", hex(bytes))).collect::<String>();
    entries.insert("SHA256SUMS".into(), (false, sums.into_bytes()));
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, (can_run, bytes)) in &entries {
        let options =
            SimpleFileOptions::default().last_modified_time(time).unix_permissions(if *can_run { 0o755 } else { 0o644 });
        archive.start_file(format!("{folder}/{name}"), options)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn metadata() -> Result<Metadata> {
    let features = FEATURES.split(',').map(|f| format!("barline/{f}")).collect();
    let mut command = MetadataCommand::new();
    command.features(cargo_metadata::CargoOpt::SomeFeatures(features));
    command.other_options(["--locked".into(), "--filter-platform".into(), test::host_triple()?]);
    command.exec().context("cannot read `cargo metadata`")
}

/// All packages that are part of the programs, by name and version.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let nodes = &metadata.resolve.as_ref().context("cargo resolved nothing")?.nodes;
    let root = metadata.packages.iter().find(|p| p.name == "barline").context("no package `barline`")?;
    let mut found: BTreeSet<&PackageId> = BTreeSet::new();
    let mut left = vec![&root.id];
    while let Some(id) = left.pop() {
        if !found.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node.id == *id).with_context(|| format!("cargo knows nothing of {id}"))?;
        let is_linked = |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
        left.extend(node.deps.iter().filter(is_linked).map(|dep| &dep.pkg));
    }
    let mut packages: Vec<&Package> = metadata.packages.iter().filter(|p| p.id != root.id && found.contains(&p.id)).collect();
    packages.sort_by_key(|p| (p.name.to_string(), p.version.clone()));
    Ok(packages)
}

/// What every package's licence asks to be passed on: a list, then each text once with those that carry it.
fn licences(metadata: &Metadata) -> Result<String> {
    let packages = linked(metadata)?;
    let mut list = String::from("Barline is MIT OR Apache-2.0. It holds these packages:\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("its own, below");
        writeln!(list, "{name}: {licence}; {}", package.repository.as_deref().unwrap_or("crates.io"))?;
        let folder = package.manifest_path.parent().context("a manifest without a folder")?.as_std_path();
        let mut own = texts_in(folder, package.license_file.as_ref().map(|f| folder.join(f)))?;
        if own.is_empty() {
            own = standard(package.license.as_deref()).with_context(|| format!("{name} has no licence"))?;
        }
        own.into_iter().for_each(|text| texts.entry(text).or_default().push(name.clone()));
    }
    let rule = "=".repeat(80);
    for (text, names) in texts {
        write!(list, "\n{rule}\n{}\n{rule}\n\n{}\n", names.join(", "), text.trim_end())?;
    }
    Ok(list)
}

/// The licence texts that a package carries: at its root, in `LICENSES`, and beside fonts.
fn texts_in(folder: &Path, named: Option<PathBuf>) -> Result<Vec<String>> {
    let mut paths: BTreeSet<PathBuf> = named.into_iter().collect();
    for (folder, any_text) in [(folder.to_path_buf(), false), (folder.join("LICENSES"), true), (folder.join("fonts"), true)] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
            let is_text = LICENCE_NAMES.iter().any(|start| name.starts_with(start)) || any_text && name.ends_with(".TXT");
            if path.is_file() && is_text && !name.ends_with(".RS") {
                paths.insert(path);
            }
        }
    }
    let text = |path: &PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
    paths.iter().map(|path| text(path).with_context(|| format!("cannot read {}", path.display()))).collect()
}

/// The standard texts of a licence expression.
fn standard(expression: Option<&str>) -> Result<Vec<String>> {
    let parsed = spdx::Expression::parse_mode(expression.context("it names none")?, spdx::ParseMode::LAX)?;
    let ids = parsed.requirements().filter_map(|r| r.req.license.id());
    let texts: Vec<String> = ids.map(|id| format!("{}\n\n{}", id.full_name, id.text())).collect();
    ensure!(!texts.is_empty(), "`{parsed}` is no standard licence");
    Ok(texts)
}

/// What the program says of the networks in it: data, licence, attribution.
fn models(program: &Path) -> Result<String> {
    let ask = |args: &[&str]| -> Result<String> {
        // What the user of this machine has installed is no part of it.
        let nothing = tempfile::tempdir()?;
        let output = Command::new(program).arg("models").args(args).env("BARLINE_DATA", nothing.path()).output()?;
        ensure!(output.status.success(), "`barline models` failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let list = ask(&["list"])?;
    let ids: Vec<&str> = list.lines().filter(|l| l.contains("built in")).filter_map(|l| l.split_whitespace().next()).collect();
    ensure!(!ids.is_empty(), "the program holds no model:\n{list}");
    ids.iter().map(|id| ask(&["inspect", id])).collect::<Result<Vec<_>>>().map(|all| all.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let archive = |names: [&str; 3]| {
            let folder = tempfile::tempdir().unwrap();
            let mut entries = Entries::new();
            for name in names {
                let path = folder.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, if name == "in/b" { "\x7fELF" } else { name }).unwrap();
            }
            add(&mut entries, folder.path(), "all").unwrap();
            pack(entries, "x-1", DateTime::from_date_and_time(2026, 11, 23, 6, 30, 8).unwrap()).unwrap()
        };
        let bytes = archive(["z", "in/b", "in/a"]);
        assert_eq!(bytes, archive(["in/a", "in/b", "z"]));
        let mut read = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let names: Vec<String> = read.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["x-1/SHA256SUMS", "x-1/all/in/a", "x-1/all/in/b", "x-1/all/z"]);
        assert_eq!(read.by_name("x-1/all/in/b").unwrap().unix_mode().unwrap() & 0o777, 0o755);
        assert_eq!(read.by_name("x-1/all/z").unwrap().unix_mode().unwrap() & 0o777, 0o644);
    }

    #[test]
    fn every_package_in_the_programs_has_its_licence() {
        let metadata = metadata().unwrap();
        let names: Vec<String> = linked(&metadata).unwrap().iter().map(|p| p.name.to_string()).collect();
        for inside in ["tract-onnx", "nice-plug", "egui", "midly", "clap"] {
            assert!(names.iter().any(|n| n == inside), "{inside} is missing");
        }
        // Used to build and test only.
        for outside in ["criterion", "nice-plug-xtask", "clack-host", "barline"] {
            assert!(!names.iter().any(|n| n == outside), "{outside} is not in the programs");
        }
        let text = licences(&metadata).unwrap();
        assert!(text.contains("SIL OPEN FONT LICENSE") && text.contains("Apache License"), "texts are missing");
        assert!(standard(Some("MIT/Apache-2.0")).unwrap().len() == 2 && standard(None).is_err());
    }
}
