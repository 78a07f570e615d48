//! Lists of files as they are dragged: `text/uri-list`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::path::PathBuf;

/// All that is no letter, digit or mark that a path may hold as it is (RFC 3986, unreserved and `/`).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The files as a list of URIs, a line each (RFC 2483).
#[must_use]
pub fn list(paths: &[PathBuf]) -> Vec<u8> {
    let uri = |path: &PathBuf| format!("file://{}\r\n", percent_encode(path.as_os_str().as_encoded_bytes(), ENCODED));
    paths.iter().map(uri).collect::<String>().into_bytes()
}

/// The files of a list: what is no file of a local disk is left out.
#[must_use]
pub fn paths(list: &[u8]) -> Vec<PathBuf> {
    use percent_encoding::percent_decode;
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let path = |line: &[u8]| {
        // `file:///path` and `file://this-machine/path`; some programs write `file:/path`.
        let rest = line.trim_ascii().strip_prefix(b"file:")?;
        let after_host =
            rest.strip_prefix(b"//").map_or(Some(0), |rest| rest.iter().position(|byte| *byte == b'/').map(|at| at + 2))?;
        let path = rest.get(after_host..).filter(|path| path.starts_with(b"/"))?;
        Some(PathBuf::from(OsString::from_vec(percent_decode(path).collect())))
    };
    list.split(|byte| *byte == b'\n').filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris_whatever_is_in_their_names() {
        let paths = ["/a-b_1.mid", "/ü x/50%#?.mid"].map(PathBuf::from);
        let text = "file:///a-b_1.mid\r\nfile:///%C3%BC%20x/50%25%23%3F.mid\r\n";
        assert_eq!(String::from_utf8(list(&paths)).unwrap(), text);
    }

    #[test]
    fn uris_become_paths_and_what_is_no_file_is_left_out() {
        let text = b"# comment\r\nfile:///a%20b.mid\r\nhttp://x/y.mid\nfile://host/c.onnx\nfile:/d\nfile:e\nfile://\n\n";
        assert_eq!(paths(text), ["/a b.mid", "/c.onnx", "/d"].map(PathBuf::from));
        let files = ["/\u{fc} x/50%#?.mid", "/t"].map(PathBuf::from);
        assert_eq!(paths(&list(&files)), files);
    }
}
