//! Manifests: one that is taken is taken again, as the same, and says a layout of some size.
#![no_main]

use barline::generate::Manifest;

libfuzzer_sys::fuzz_target!(|json: &str| {
    if let Ok(manifest) = Manifest::from_json(json) {
        let written = serde_json::to_string(&manifest).expect("it was read from JSON");
        assert_eq!(Manifest::from_json(&written).as_ref(), Ok(&manifest));
        assert!((1..=16 * 256).contains(&manifest.layout().n_cells()));
    }
});
