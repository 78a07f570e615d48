//! How Barline's notes reach an instrument, host by host: the sections of `plugin/docs/hosts.md`. Plain data; knows nothing of egui.

use std::path::Path;

/// The page that users read in the documentation, too.
const PAGE: &str = include_str!("../../docs/hosts.md");

/// How a host's program is called, in small letters, and how the page's section about it begins.
const HOSTS: [(&str, &str); 12] = [
    ("reaper", "REAPER"),
    ("bitwig", "Bitwig Studio"),
    ("ableton", "Ableton Live"),
    ("live", "Ableton Live"),
    ("cubase", "Cubase"),
    ("fl64", "FL Studio"),
    ("fl studio", "FL Studio"),
    ("studio one", "Studio One"),
    ("ardour", "Ardour"),
    ("logic", "Logic Pro"),
    ("osxfl", "FL Studio"),
    ("barline-standalone", "Standalone"),
];

/// What the page says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The host's name, and what of it was tested.
    pub heading: String,
    /// Steps and remarks, a paragraph each.
    pub paragraphs: Vec<String>,
}

/// All hosts of the page, in its order.
#[must_use]
pub fn hosts() -> Vec<Routing> {
    let is_host = |heading: &str| HOSTS.iter().any(|(_, name)| heading.starts_with(name));
    let sections = PAGE.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    let of_hosts = sections.filter(|(heading, _)| is_host(heading));
    of_hosts.map(|(heading, text)| Routing { heading: heading.into(), paragraphs: paragraphs(text) }).collect()
}

/// The host whose program this is, by its place among `hosts`.
#[must_use]
pub fn host_of(program: &Path, hosts: &[Routing]) -> Option<usize> {
    let program = program.file_stem()?.to_string_lossy().to_lowercase();
    let (_, name) = HOSTS.iter().find(|(start, _)| program.starts_with(start))?;
    hosts.iter().position(|host| host.heading.starts_with(name))
}

/// Paragraphs and list items, each on one line, without Markdown's marks.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        let words = line.trim();
        let is_item = words.starts_with("- ") || words.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        match paragraphs.last_mut().filter(|_| is_open && !is_item) {
            _ if words.is_empty() => is_open = false,
            Some(open) => *open = format!("{open} {words}"),
            None => {
                paragraphs.push(words.into());
                is_open = true;
            }
        }
    }
    // The editor's font has no arrow.
    paragraphs.iter().map(|paragraph| paragraph.replace(['*', '`'], "").replace('→', ">")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_section() {
        let hosts = hosts();
        for (program, name) in HOSTS {
            let found = host_of(Path::new(&format!("/opt/x/{}-7.3.exe", program.to_uppercase())), &hosts);
            let host = &hosts[found.unwrap_or_else(|| panic!("no section of {name}"))];
            assert!(host.heading.starts_with(name) && !host.paragraphs.is_empty(), "{host:?}");
        }
        let has_glyph = |c: char| c.is_ascii() || "–…".contains(c);
        assert!(hosts.iter().flat_map(|host| &host.paragraphs).all(|paragraph| paragraph.chars().all(has_glyph)));
        assert_eq!(host_of(Path::new("/usr/bin/other"), &hosts), None);
        assert_eq!(host_of(Path::new("/"), &hosts), None);
        assert_eq!(hosts.len(), 9, "each once, and nothing else of the page");
    }

    #[test]
    fn paragraphs_are_lines_without_marks() {
        let text = "\n1. Insert *one*\n   here.\n2. Then `x`.\n\nA remark\nof two lines.\n- An item.\n";
        assert_eq!(paragraphs(text), ["1. Insert one here.", "2. Then x.", "A remark of two lines.", "- An item."]);
    }
}
