//! Who may import whom in `plugin/src`: the table of `ARCHITECTURE.md`, enforced by reading the sources.
//!
//! Looked at are paths that begin with `crate`, `super` or the name of a restricted crate, in `use` declarations and in the code;
//! comments, literals and `#[cfg(test)]` modules are not.

use barline_tests::bundle::workspace;
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

/// A room of the plugin crate: what it may import of the others, and which restricted crates it may name.
struct Room {
    name: &'static str,
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
}

const ALL: &[&str] = &["*"];

/// The table. A module of `plugin/src` that is not in it fails the test, so that a new one is decided on here.
const TABLE: &[Room] = &[
    Room { name: "music", rooms: &[], crates: &["libm", "midly", "xxhash_rust"] },
    Room { name: "generate", rooms: &["music"], crates: &["xxhash_rust"] },
    Room {
        name: "inference",
        rooms: &["generate", "music"],
        crates: &["directories", "ndarray", "ort", "ort_tract", "prost", "sha2"],
    },
    Room { name: "engine", rooms: &["generate", "music"], crates: &["crossbeam", "atomic_float"] },
    Room { name: "player", rooms: &["music", "generate", "engine"], crates: &["crossbeam"] },
    Room { name: "state", rooms: &["music", "generate"], crates: &["base64", "miniz_oxide"] },
    Room { name: "params", rooms: &["music", "generate", "player", "state"], crates: &["nice_plug", "parking_lot"] },
    Room {
        name: "editor",
        rooms: &["music", "generate", "engine", "params", "state", "player", "export"],
        crates: &["barline_drag", "egui", "nice_plug", "nice_plug_egui", "parking_lot", "tempfile"],
    },
    Room { name: "listen", rooms: &["music"], crates: &["crossbeam", "rustysynth"] },
    Room {
        name: "export",
        rooms: &["music"],
        crates: &["base64", "epaint_default_fonts", "hound", "maud", "npyz", "plotters", "png", "tempfile", "zip"],
    },
    Room { name: "plugin", rooms: ALL, crates: ALL },
    Room { name: "bin", rooms: ALL, crates: ALL },
    Room { name: "lib", rooms: ALL, crates: ALL },
];

/// Crates that are not for everyone. The others (std, serde, thiserror and the like) are free.
const RESTRICTED: &[&str] = &[
    "anyhow",
    "atomic_float",
    "barline_drag",
    "base64",
    "clap",
    "crossbeam",
    "directories",
    "egui",
    "epaint_default_fonts",
    "hound",
    "indicatif",
    "libm",
    "maud",
    "midly",
    "miniz_oxide",
    "ndarray",
    "nice_plug",
    "nice_plug_egui",
    "npyz",
    "ort",
    "ort_tract",
    "parking_lot",
    "plotters",
    "png",
    "prost",
    "rand",
    "rustysynth",
    "sha2",
    "tempfile",
    "xxhash_rust",
    "zip",
];

/// Something imported: a room of the plugin crate, or a restricted crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Import {
    Room(String),
    Crate(String),
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(name) => write!(f, "crate::{name}"),
            Self::Crate(name) => f.write_str(name),
        }
    }
}

/// The source without comments, literals and test modules.
fn code_of(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = raw_string(rest) {
            // A raw identifier or a word that ends in r is no raw string.
            let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') && bytes[at - 1] != b'b';
            if word_before { 0 } else { end }
        } else if rest.starts_with('"') {
            string(rest)
        } else if rest.starts_with('\'') {
            character(rest)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            at += skipped;
        } else {
            let character = rest.chars().next().expect("not at the end");
            code.push(character);
            at += character.len_utf8();
        }
    }
    without_tests(&code)
}

/// Length of a string literal at the start of `text`.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a raw string literal at the start of `text`.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&close)? + close.len())
}

/// Length of a character literal at the start of `text`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3),
        Some(_) => characters.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// The code without `#[cfg(test)]` items.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0;
        let mut end = rest.len();
        for (idx, character) in rest.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        end = idx + 1;
                        break;
                    }
                }
                ';' if depth == 0 => {
                    end = idx + 1;
                    break;
                }
                _ => {}
            }
        }
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept
}

/// The tokens of the code: words, `::` and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        if !rest[..length].trim().is_empty() {
            tokens.push(&rest[..length]);
        }
        at += length;
    }
    tokens
}

/// First segments of a path that goes on at `at`, after its `::`: one word, or those of a `{…}` group.
fn first_segments<'a>(tokens: &[&'a str], at: usize) -> Vec<&'a str> {
    match tokens.get(at) {
        Some(&"{") => {
            let mut names = Vec::new();
            let mut depth = 1;
            let mut expects_name = true;
            for token in &tokens[at + 1..] {
                match *token {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => expects_name = true,
                    name if depth == 1 && expects_name => {
                        names.push(name);
                        expects_name = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            names
        }
        Some(name) => vec![name],
        None => Vec::new(),
    }
}

/// What a source file imports. `module` is its path below the crate's root: `music/chord.rs` is `["music", "chord"]`.
fn imports(source: &str, module: &[&str]) -> BTreeSet<Import> {
    let code = code_of(source);
    let tokens = tokens(&code);
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_word = |token: &str| token.chars().all(|c| c.is_alphanumeric() || c == '_') && token != "use";
        // A path may begin with `::`.
        let begins_path = at == 0 || tokens[at - 1] != "::" || at == 1 || !(is_word(tokens[at - 2]) || tokens[at - 2] == ">");
        match tokens[at] {
            "crate" if tokens.get(at + 1) == Some(&"::") => {
                found.extend(first_segments(&tokens, at + 2).into_iter().map(|name| Import::Room(name.into())));
            }
            "super" if begins_path => {
                // Each `super` goes one module up; what follows is a name in that module.
                let mut above = module.len();
                let mut next = at;
                while tokens.get(next) == Some(&"super") && tokens.get(next + 1) == Some(&"::") {
                    above = above.saturating_sub(1);
                    next += 2;
                }
                if above == 0 {
                    found.extend(first_segments(&tokens, next).into_iter().map(|name| Import::Room(name.into())));
                }
            }
            name if begins_path
                && RESTRICTED.contains(&name)
                && (tokens.get(at + 1) == Some(&"::") || begins_use(&tokens, at)) =>
            {
                found.insert(Import::Crate(name.into()));
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// `use name …`
fn begins_use(tokens: &[&str], at: usize) -> bool {
    at > 0 && tokens[at - 1] == "use"
}

/// What is wrong with a file's imports.
fn violations(room: &str, imports: &BTreeSet<Import>, file: &str) -> Vec<String> {
    let Some(rule) = TABLE.iter().find(|r| r.name == room) else {
        return vec![format!("{file}: the module `{room}` is not in the table of tests/architecture.rs")];
    };
    let is_allowed = |import: &Import| match import {
        // Within a room everything is open; what lib.rs itself defines (macros, re-exports) belongs to nobody.
        Import::Room(name) => {
            *name == room || rule.rooms == ALL || rule.rooms.contains(&name.as_str()) || !TABLE.iter().any(|r| r.name == name)
        }
        Import::Crate(name) => rule.crates == ALL || rule.crates.contains(&name.as_str()),
    };
    imports.iter().filter(|i| !is_allowed(i)).map(|i| format!("{file}: `{room}` may not import `{i}`")).collect()
}

/// All Rust files below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn modules_import_only_what_they_may() {
    let root = workspace().join("plugin").join("src");
    let files = sources(&root);
    assert!(files.len() > 10, "only {} files found", files.len());
    let mut wrong = Vec::new();
    for path in &files {
        let relative = path.strip_prefix(&root).expect("below the root").with_extension("");
        let module: Vec<&str> = relative.iter().map(|part| part.to_str().expect("UTF-8")).filter(|part| *part != "mod").collect();
        let source = std::fs::read_to_string(path).expect("a readable source");
        wrong.extend(violations(module[0], &imports(&source, &module), &relative.display().to_string()));
    }
    assert!(wrong.is_empty(), "forbidden imports:\n{}", wrong.join("\n"));
}

#[test]
fn the_pure_part_is_pure() {
    for room in ["music", "generate", "engine", "player"] {
        let rule = TABLE.iter().find(|r| r.name == room).expect("in the table");
        for edge in ["inference", "plugin", "editor", "params", "state", "export", "bin"] {
            assert!(!rule.rooms.contains(&edge), "{room} may not reach {edge}");
        }
        for edge in ["nice_plug", "nice_plug_egui", "egui", "ort", "ort_tract", "anyhow", "rand"] {
            assert!(!rule.crates.contains(&edge), "{room} may not reach {edge}");
        }
    }
}

/// The imports in this source that `module` may not have.
fn forbidden(module: &[&str], source: &str) -> Vec<String> {
    violations(module[0], &imports(source, module), "file")
}

#[test]
fn a_forbidden_import_is_found_in_every_spelling() {
    for source in [
        "use crate::engine::Port;",
        "use crate::{music::time::Ticks, engine::{Port, Takeover}};",
        "use crate::{\n    music::{chord::Chord, time},\n    engine,\n};",
        "pub(crate) use super::engine::Port;",
        "use super::{engine as e};",
        "fn f() -> crate::engine::Port { todo() }",
        "fn f() { let port = super::engine::Port::new(); }",
        "type P = Vec<crate :: engine :: Port>;",
    ] {
        assert_eq!(forbidden(&["generate"], source), ["file: `generate` may not import `crate::engine`"], "{source}");
    }
    for source in ["use super::super::engine::Port;", "fn f(_: super::super::engine::Port) {}"] {
        assert_eq!(forbidden(&["generate", "pattern"], source), ["file: `generate` may not import `crate::engine`"], "{source}");
    }
    for source in
        ["use nice_plug::prelude::*;", "use nice_plug;", "fn f() { nice_plug::debug::nice_log!() }", "use ::nice_plug::x;"]
    {
        assert_eq!(forbidden(&["music", "note"], source), ["file: `music` may not import `nice_plug`"], "{source}");
    }
    assert_eq!(forbidden(&["sorcery"], "").len(), 1, "an unknown module is refused");
    assert_eq!(forbidden(&["player"], "use crate::inference::OnnxGenerator;").len(), 1);
    assert_eq!(forbidden(&["editor", "view_model"], "use crate::inference::runtime;").len(), 1);
    assert_eq!(forbidden(&["music"], "use crate::generate::Pattern;").len(), 1);
}

#[test]
fn what_is_no_import_is_left_alone() {
    for source in [
        "// use crate::engine::Port;",
        "/* crate::engine */",
        "/// See [`crate::engine::Port`].",
        "const A: &str = \"crate::engine::Port\";",
        "const A: &str = r#\"use crate::engine::\"Port\"\"#;",
        "const A: char = '\"'; const B: char = '\\''; // crate::engine",
        "#[cfg(test)]\nmod tests {\n    use crate::engine::Port;\n    fn f() {}\n}",
        "#[cfg(test)]\nmod engine_tests;",
        "use super::note::Pitch;",
        "use crate::music::chord::Chord;",
        "use self::engine::Local;",
        "fn f<'a>(ort: &'a str) -> &'a str { ort }",
    ] {
        assert_eq!(forbidden(&["generate", "pattern"], source), Vec::<String>::new(), "{source}");
    }
    assert_eq!(forbidden(&["player"], "use crate::engine::Port;"), Vec::<String>::new());
    // Code after a test module is read again.
    let source = "#[cfg(test)]\nmod tests { use crate::engine::Port; }\nuse crate::engine::Port;";
    assert_eq!(forbidden(&["generate"], source).len(), 1);
}
