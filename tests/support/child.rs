//! Tests whose failure is the death of their process: an allocation on the audio thread aborts, and so does a fault at unload.

use crate::bundle::{BUNDLE_DIR, bundle, workspace};
use std::{
    env, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const CHILD: &str = "BARLINE_TEST_CHILD";
/// Names Barline's folder of the user's data.
pub const DATA: &str = "BARLINE_DATA";
/// Passes on the path of the file whose appearance ends the child.
const SIGN: &str = "BARLINE_TEST_SIGN";

/// Runs `body` in a process of its own: this test program once more, with only the test called `test`, which must be the
/// caller. Returns what that process printed; empty in the child itself.
///
/// # Panics
/// The child failed or died.
pub fn in_child(test: &str, body: impl FnOnce()) -> String {
    run(test, &[], body)
}

/// [`in_child`] with the models of `tests/fixtures` in the user's folder, for the plugin and for the command line that it is compared
/// with.
///
/// # Panics
/// The child failed or died.
pub fn in_child_with_fixtures(test: &str, body: impl FnOnce()) -> String {
    let data = tempfile::tempdir().expect("a scratch folder");
    let models = data.path().join("models");
    fs::create_dir(&models).expect("a folder for the models");
    for entry in fs::read_dir(workspace().join("tests").join("fixtures")).expect("the fixtures") {
        let path = entry.expect("a fixture").path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            fs::copy(&path, models.join(path.file_name().expect("a name"))).expect("a copy of the fixture");
        }
    }
    run(test, &[(DATA, data.path())], body)
}

/// [`in_child`] with these variables in its environment.
///
/// # Panics
/// The child failed or died.
pub fn in_child_with(test: &str, variables: &[(&str, &Path)], body: impl FnOnce()) -> String {
    run(test, variables, body)
}

/// Runs `body` in a process of its own as [`in_child`] does, and ends it the hard way (SIGKILL) as soon as the file that `body` is given
/// exists; `body` must not return before.
///
/// # Panics
/// The child ended by itself, or the file did not appear within a minute.
pub fn kill_child(test: &str, sign: &Path, body: impl FnOnce(&Path)) {
    if env::var(CHILD).is_ok_and(|name| name == test) {
        body(Path::new(&env::var_os(SIGN).expect("the file that says when")));
        panic!("the child was to be killed");
    }
    let mut child = command(test, &[(SIGN, sign)]).spawn().expect("the child runs");
    let start = Instant::now();
    while !sign.exists() {
        assert!(child.try_wait().expect("a process").is_none(), "the child ended by itself");
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().expect("the child ends");
            panic!("the child did not get there within a minute");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("the child is killed");
    assert!(!child.wait().expect("the child ends").success());
}

fn command(test: &str, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(env::current_exe().expect("the test program's path"));
    command
        .args([test, "--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env(BUNDLE_DIR, &bundle().dir)
        .envs(variables.iter().copied());
    command
}

fn run(test: &str, variables: &[(&str, &Path)], body: impl FnOnce()) -> String {
    if env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return String::new();
    }
    let output = command(test, variables).output().expect("the child runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the child ended with {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "the child ran no test called `{test}`:\n{text}");
    print!("{text}");
    text
}
