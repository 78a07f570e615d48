//! Colours, dark and light. The lanes' are Okabe and Ito's, which stay apart for colour-blind eyes.

use super::view_model::Tone;
use egui::{Color32, Rgba, Theme, Ui};

/// The colours of a theme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Filled sliders, a melody's notes.
    pub accent: Color32,
    /// Text.
    pub text: Color32,
    /// Secondary text.
    pub faint: Color32,
    /// Behind everything, the notes too: what the window is cleared with costs nothing to paint.
    pub panel: Color32,
    /// An empty slider, a lane's strip.
    pub well: Color32,
    /// Rows of black keys.
    pub black_key: Color32,
    /// Rows of the key's scale.
    pub in_scale: Color32,
    /// Rows of its tonic.
    pub tonic: Color32,
    /// Bar lines.
    pub bar: Color32,
    /// Beat lines.
    pub beat: Color32,
    /// The playhead.
    pub playhead: Color32,
    /// As it should be.
    pub good: Color32,
    /// In the making.
    pub busy: Color32,
    /// Needs attention.
    pub bad: Color32,
    lanes: [Color32; 5],
}

const DARK: Palette = Palette {
    accent: Color32::from_rgb(0x4f, 0x9d, 0xd9),
    text: Color32::from_rgb(0xd8, 0xda, 0xdf),
    faint: Color32::from_rgb(0x8a, 0x8f, 0x99),
    panel: Color32::from_rgb(0x17, 0x19, 0x1d),
    well: Color32::from_rgb(0x2c, 0x30, 0x38),
    black_key: Color32::from_rgb(0x11, 0x12, 0x15),
    in_scale: Color32::from_rgb(0x1e, 0x29, 0x34),
    tonic: Color32::from_rgb(0x28, 0x3b, 0x4c),
    bar: Color32::from_rgb(0x4a, 0x4e, 0x58),
    beat: Color32::from_rgb(0x28, 0x2b, 0x32),
    playhead: Color32::from_rgb(0xf2, 0xf2, 0xf2),
    good: Color32::from_rgb(0x63, 0xc7, 0x7c),
    busy: Color32::from_rgb(0xe0, 0xb0, 0x4a),
    bad: Color32::from_rgb(0xe8, 0x6a, 0x5c),
    lanes: [
        Color32::from_rgb(0xe0, 0x6a, 0x1b),
        Color32::from_rgb(0xd0, 0x83, 0xad),
        Color32::from_rgb(0x56, 0xb4, 0xe9),
        Color32::from_rgb(0x1f, 0xb0, 0x88),
        Color32::from_rgb(0xf0, 0xe4, 0x42),
    ],
};

const LIGHT: Palette = Palette {
    accent: Color32::from_rgb(0x2b, 0x7b, 0xb9),
    text: Color32::from_rgb(0x20, 0x23, 0x28),
    faint: Color32::from_rgb(0x62, 0x68, 0x72),
    panel: Color32::from_rgb(0xf4, 0xf5, 0xf6),
    well: Color32::from_rgb(0xd6, 0xd9, 0xde),
    black_key: Color32::from_rgb(0xe9, 0xea, 0xed),
    in_scale: Color32::from_rgb(0xe6, 0xef, 0xf7),
    tonic: Color32::from_rgb(0xcf, 0xe1, 0xf1),
    bar: Color32::from_rgb(0x9a, 0x9f, 0xa8),
    beat: Color32::from_rgb(0xe0, 0xe2, 0xe6),
    playhead: Color32::from_rgb(0x20, 0x20, 0x20),
    good: Color32::from_rgb(0x1e, 0x7d, 0x3a),
    busy: Color32::from_rgb(0x94, 0x62, 0x00),
    bad: Color32::from_rgb(0xb3, 0x2d, 0x1e),
    lanes: [
        Color32::from_rgb(0xd5, 0x5e, 0x00),
        Color32::from_rgb(0xb0, 0x55, 0x88),
        Color32::from_rgb(0x00, 0x72, 0xb2),
        Color32::from_rgb(0x00, 0x8a, 0x66),
        Color32::from_rgb(0x8a, 0x75, 0x00),
    ],
};

impl Palette {
    /// The palette that is in use.
    #[must_use]
    pub fn of(ui: &Ui) -> &'static Self {
        if ui.visuals().dark_mode { &DARK } else { &LIGHT }
    }

    /// What the window is cleared with: the panels' colour in the framebuffer's own values.
    #[must_use]
    pub fn ground(&self) -> Rgba {
        let [r, g, b, _] = self.panel.to_array().map(|byte| f32::from(byte) / 255.0);
        Rgba::from_rgb(r, g, b)
    }

    /// The colour of a lane among `n_lanes`; a melody has the accent.
    #[must_use]
    pub fn lane(&self, lane_idx: usize, n_lanes: usize) -> Color32 {
        if n_lanes <= 1 { self.accent } else { self.lanes.get(lane_idx).copied().unwrap_or(self.faint) }
    }

    /// The colour of a tone.
    #[must_use]
    pub fn tone(&self, tone: Tone) -> Color32 {
        match tone {
            Tone::Good => self.good,
            Tone::Busy => self.busy,
            Tone::Bad => self.bad,
            Tone::Plain => self.faint,
        }
    }
}

/// Sets the page's style up, for both themes.
pub fn set_up(egui: &egui::Context, theme: Theme) {
    for (theme, palette) in [(Theme::Dark, &DARK), (Theme::Light, &LIGHT)] {
        egui.style_mut_of(theme, |style| {
            style.spacing.item_spacing = egui::vec2(8.0, 5.0);
            style.visuals.panel_fill = palette.panel;
            style.visuals.override_text_color = Some(palette.text);
            style.visuals.selection.bg_fill = palette.accent.gamma_multiply(0.7);
        });
    }
    egui.set_theme(theme);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in RGB; what matters is that no two lanes are nearly the same, and that all stand out from the ground.
    fn distance(a: Color32, b: Color32) -> u32 {
        a.to_array().iter().zip(b.to_array()).map(|(a, b)| u32::from(a.abs_diff(b))).sum()
    }

    #[test]
    fn lanes_differ_from_each_other_and_from_the_ground() {
        for palette in [&DARK, &LIGHT] {
            for (idx, lane) in palette.lanes.iter().enumerate() {
                for other in palette.lanes.iter().skip(idx + 1).chain([&palette.panel, &palette.in_scale]) {
                    assert!(distance(*lane, *other) > 90, "{lane:?} {other:?}");
                }
            }
            assert_eq!(palette.lane(0, 1), palette.accent);
            assert_eq!(palette.lane(7, 9), palette.faint);
        }
    }
}
