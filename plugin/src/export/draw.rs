//! What pictures and plots share: a font, colours, and three strokes.

use super::ExportError;
use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};
use std::sync::OnceLock;

/// Where a program that draws the text itself finds letters, it takes its own; else the one registered under this name.
const FONT: &str = "sans-serif";

pub const INK: RGBColor = RGBColor(38, 40, 48);
pub const SOFT: RGBColor = RGBColor(128, 132, 144);
/// Of tracks, in their order, and from the front again.
pub const TRACKS: [RGBColor; 6] = [
    RGBColor(24, 90, 189),
    RGBColor(214, 112, 12),
    RGBColor(22, 128, 88),
    RGBColor(156, 52, 140),
    RGBColor(188, 46, 52),
    RGBColor(92, 96, 108),
];

pub fn picture(error: impl ToString) -> ExportError {
    ExportError::Picture(error.to_string())
}

/// To be called before anything is written.
pub fn register() -> Result<(), ExportError> {
    static DONE: OnceLock<bool> = OnceLock::new();
    // A font of our own: a bare machine has none.
    if *DONE.get_or_init(|| register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()) {
        Ok(())
    } else {
        Err(ExportError::Picture("its font is damaged".into()))
    }
}

pub fn fill<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    from: (i32, i32),
    to: (i32, i32),
    colour: &RGBColor,
) -> Result<(), ExportError> {
    area.draw(&Rectangle::new([from, to], colour.filled())).map_err(picture)
}

pub fn line<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    from: (i32, i32),
    to: (i32, i32),
    colour: &RGBColor,
) -> Result<(), ExportError> {
    area.draw(&PathElement::new([from, to], colour)).map_err(picture)
}

/// From its upper left corner on.
pub fn text<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    text: &str,
    at: (i32, i32),
    size: i32,
    colour: &RGBColor,
) -> Result<(), ExportError> {
    area.draw(&Text::new(text.to_owned(), at, (FONT, size).into_font().color(colour))).map_err(picture)
}

/// In pixels.
pub fn estimate_width<B: DrawingBackend>(area: &DrawingArea<B, Shift>, text: &str, size: i32) -> Result<i32, ExportError> {
    let (width, _) = area.estimate_text_size(text, &(FONT, size).into_text_style(area)).map_err(picture)?;
    i32::try_from(width).map_err(picture)
}

/// White at 0, the full colour at 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of two u8")]
pub fn shade(colour: RGBColor, strength: f64) -> RGBColor {
    let strength = strength.clamp(0.0, 1.0);
    let mix = |c: u8| (f64::from(c) * strength + 255.0 * (1.0 - strength)) as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}
