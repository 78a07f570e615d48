//! What a user sets once for all windows, in a file of the user's data folder. Read when a window opens, written on its thread.

use crate::export::files::Outputs;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

const FILE: &str = "editor.json";

/// The preferences. What a file lacks has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Light, else dark.
    pub light: bool,
    /// Size of the window in logical points.
    pub size: (f32, f32),
    /// The first hint was read.
    pub hint_read: bool,
    /// The panel that explains a bar is open.
    pub explains: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { light: false, size: (super::SIZE.width, super::SIZE.height), hint_read: false, explains: false }
    }
}

impl Preferences {
    /// The theme that is preferred.
    #[must_use]
    pub fn theme(&self) -> egui::Theme {
        if self.light { egui::Theme::Light } else { egui::Theme::Dark }
    }

    /// The preferences in a folder; the defaults where there are none or they cannot be read.
    #[must_use]
    pub fn load(folder: Option<&Path>) -> Self {
        let text = folder.and_then(|folder| fs::read_to_string(folder.join(FILE)).ok());
        let read: Self = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let fits = |size: f32, least: f32| if size.is_finite() { size.clamp(least, 8192.0) } else { least };
        let size = (fits(read.size.0, super::MIN_SIZE.width), fits(read.size.1, super::MIN_SIZE.height));
        Self { size, ..read }
    }

    /// Writes them. What cannot be written is asked again next time: no reason to bother anybody.
    pub fn save(&self, folder: Option<&Path>) {
        let (Some(folder), Ok(json)) = (folder, serde_json::to_vec_pretty(self)) else { return };
        let mut outputs = Outputs::default();
        if fs::create_dir_all(folder).is_ok() && outputs.add(&folder.join(FILE), &json).is_ok() {
            let _ = outputs.commit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_come_back_and_garbage_is_no_harm() {
        let place = tempfile::tempdir().unwrap();
        let folder = Some(place.path());
        assert_eq!(Preferences::load(folder), Preferences::default());
        let changed = Preferences { light: true, size: (1333.0, 777.0), hint_read: true, explains: true };
        changed.save(folder);
        assert_eq!(Preferences::load(folder), changed);
        fs::write(place.path().join(FILE), r#"{"light":true,"size":[3.0,1e9],"new":1}"#).unwrap();
        let read = Preferences::load(folder);
        assert_eq!((read.light, read.size, read.hint_read), (true, (super::super::MIN_SIZE.width, 8192.0), false));
        fs::write(place.path().join(FILE), "garbage").unwrap();
        assert_eq!(Preferences::load(folder), Preferences::default());
        assert_eq!(Preferences::load(None), Preferences::default());
    }
}
