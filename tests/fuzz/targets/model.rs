//! Model files, read and checked but not run.
#![no_main]

use barline::inference::OnnxFile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = OnnxFile::read(bytes) {
        assert!(file.manifest.check().is_ok());
    }
});
