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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris_whatever_is_in_their_names() {
        let paths = ["/tmp/a-b_1.mid", "/home/ü x/50%#?.mid"].map(PathBuf::from);
        let text = "file:///tmp/a-b_1.mid\r\nfile:///home/%C3%BC%20x/50%25%23%3F.mid\r\n";
        assert_eq!(String::from_utf8(list(&paths)).unwrap(), text);
    }
}
