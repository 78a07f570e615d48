//! What a project holds: its pattern unpacks or is refused, and what is taken is written and taken again as the same.
#![no_main]

use barline::state::{Document, SavedPattern};

libfuzzer_sys::fuzz_target!(|json: &str| {
    let Ok(document) = Document::from_json(json) else { return };
    if let Some(saved) = &document.pattern {
        // What does not unpack is not written again.
        let Ok(pattern) = saved.unpack(7) else { return };
        let packed = SavedPattern::pack(&pattern).expect("a pattern that was saved");
        assert_eq!(packed.unpack(7), Ok(pattern));
    }
    let written = serde_json::to_string(&document).expect("it was read from JSON");
    assert_eq!(Document::from_json(&written).as_ref(), Ok(&document));
});
