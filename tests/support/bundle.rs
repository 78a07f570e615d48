//! The bundle under test. Nothing tests a bundle that was not just built: `cargo xtask test` builds it and says where it is,
//! and without that the first test to ask builds it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where the folder of the bundles is passed.
pub const BUNDLE_DIR: &str = "BARLINE_BUNDLE_DIR";

/// The bundles of both formats.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Their folder.
    pub dir: PathBuf,
    /// The CLAP file (a folder on macOS).
    pub clap: PathBuf,
    /// The VST3 folder.
    pub vst3: PathBuf,
}

impl Bundle {
    /// The bundles in a folder.
    ///
    /// # Panics
    /// One of them is missing.
    pub fn in_dir(dir: &Path) -> Self {
        let bundle = Self { dir: dir.into(), clap: dir.join("Barline.clap"), vst3: dir.join("Barline.vst3") };
        for path in [&bundle.clap, &bundle.vst3] {
            assert!(path.exists(), "no bundle at {}: `cargo xtask bundle barline` makes it", path.display());
        }
        bundle
    }
}

/// The project's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the workspace")
}

/// Cargo's target folder, from where this test program lies: `<target>/<profile>/deps/<program>`.
pub fn target_dir() -> PathBuf {
    let program = env::current_exe().expect("the test program's path");
    program.ancestors().nth(3).expect("<target>/<profile>/deps above the test program").into()
}

/// Runs cargo in the workspace and insists that it succeeds.
pub fn cargo(args: &[&str]) {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(args)
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", target_dir())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "`cargo {}` failed:\n{}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The bundles under test: debug builds with the allocation guard.
pub fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        if let Some(dir) = env::var_os(BUNDLE_DIR) {
            return Bundle::in_dir(Path::new(&dir));
        }
        cargo(&["xtask", "bundle", "barline", "--features", "alloc-guard"]);
        Bundle::in_dir(&target_dir().join("bundled"))
    })
}
