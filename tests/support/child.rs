//! Tests whose failure is the death of their process: an allocation on the audio thread aborts, and so does a fault at unload.

use crate::bundle::{BUNDLE_DIR, bundle};
use std::{env, process::Command};

const CHILD: &str = "BARLINE_TEST_CHILD";

/// Runs `body` in a process of its own: this test program once more, with only the test called `test`, which must be the
/// caller. Returns what that process printed; empty in the child itself.
///
/// # Panics
/// The child failed or died.
pub fn in_child(test: &str, body: impl FnOnce()) -> String {
    if env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return String::new();
    }
    let output = Command::new(env::current_exe().expect("the test program's path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env(BUNDLE_DIR, &bundle().dir)
        .output()
        .expect("the child runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the child ended with {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "the child ran no test called `{test}`:\n{text}");
    print!("{text}");
    text
}
