//! Small plots of a piece, as SVG for a page.

use super::{
    ExportError,
    draw::{INK, SOFT, TRACKS, estimate_width, fill, line, picture, register, shade, text},
};
use crate::music::explain::Comparison;
use plotters::{coord::Shift, prelude::*};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Size of most letters.
const TEXT: i32 = 13;
const BAND: RGBColor = RGBColor(206, 220, 240);
const EMPTY: RGBColor = RGBColor(244, 245, 248);

fn svg(width: i32, height: i32, draw: impl FnOnce(&Area<'_>) -> Result<(), ExportError>) -> Result<String, ExportError> {
    register()?;
    let mut svg = String::new();
    {
        let size = (u32::try_from(width).map_err(picture)?, u32::try_from(height).map_err(picture)?);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(picture)?;
    }
    Ok(svg)
}

/// A share of a length in pixels.
#[expect(clippy::cast_possible_truncation, reason = "within a picture")]
fn along(length: i32, share: f64) -> i32 {
    (f64::from(length) * share.clamp(0.0, 1.0)).round() as i32
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The colour of a track by its place.
pub fn colour(track_idx: usize) -> RGBColor {
    TRACKS.get(track_idx % TRACKS.len()).copied().unwrap_or(INK)
}

/// Figures beside the training data: per row the range of most songs as a band, its middle as a line, the figure as a dot.
pub fn beside(figures: &[Comparison], colour: RGBColor) -> Result<String, ExportError> {
    const ROW: i32 = 26;
    const LEFT: i32 = 190;
    const WIDTH: i32 = 300;
    svg(LEFT + WIDTH + 60, ROW * count(figures.len()), |area| {
        for (row, figure) in (0..).zip(figures) {
            let (top, middle) = (row * ROW, row * ROW + ROW / 2);
            let [low, median, high] = figure.range;
            let most = if figure.is_share { 1.0 } else { 1.15 * high.max(figure.value) };
            let x = |value: f64| LEFT + along(WIDTH, value / most);
            text(area, figure.what, (0, top + 6), TEXT, &INK)?;
            line(area, (LEFT, middle), (LEFT + WIDTH, middle), &shade(SOFT, 0.4))?;
            fill(area, (x(low), top + 6), (x(high).max(x(low) + 1), top + ROW - 6), &BAND)?;
            line(area, (x(median), top + 6), (x(median), top + ROW - 6), &SOFT)?;
            area.draw(&Circle::new((x(figure.value), middle), 5, colour.filled())).map_err(picture)?;
            text(area, &figure.show(figure.value), (LEFT + WIDTH + 10, top + 6), TEXT, &INK)?;
        }
        Ok(())
    })
}

/// A column of a histogram.
pub struct Column {
    /// Under it.
    pub label: String,
    /// Its height, as a share of all.
    pub share: f64,
    /// Drawn in the full colour.
    pub is_strong: bool,
}

/// Columns side by side, the highest as high as the plot.
pub fn columns(columns: &[Column], colour: RGBColor) -> Result<String, ExportError> {
    const WIDTH: i32 = 28;
    const HEIGHT: i32 = 80;
    const ABOVE: i32 = 18;
    let most = columns.iter().map(|column| column.share).fold(0.0, f64::max);
    svg(WIDTH * count(columns.len()), ABOVE + HEIGHT + 20, |area| {
        for (idx, column) in (0..).zip(columns) {
            let (left, floor) = (idx * WIDTH, ABOVE + HEIGHT);
            let top = floor - along(HEIGHT, if most > 0.0 { column.share / most } else { 0.0 });
            fill(area, (left + 3, top), (left + WIDTH - 3, floor), &shade(colour, if column.is_strong { 1.0 } else { 0.35 }))?;
            let percent = format!("{:.0}", 100.0 * column.share);
            if percent != "0" {
                centred(area, &percent, (left + WIDTH / 2, top - 14), &SOFT)?;
            }
            centred(area, &column.label, (left + WIDTH / 2, floor + 4), &INK)?;
        }
        line(area, (0, ABOVE + HEIGHT), (WIDTH * count(columns.len()), ABOVE + HEIGHT), &SOFT)
    })
}

fn centred(area: &Area<'_>, label: &str, (x, y): (i32, i32), colour: &RGBColor) -> Result<(), ExportError> {
    let width = estimate_width(area, label, TEXT - 1)?;
    text(area, label, (x - width / 2, y), TEXT - 1, colour)
}

/// Who plays when: a row per track, a cell per bar, darker for more notes.
pub fn arrangement(tracks: &[(String, Vec<f64>)]) -> Result<String, ExportError> {
    const ROW: i32 = 22;
    const LEFT: i32 = 150;
    const WIDTH: i32 = 900;
    let n_bars = tracks.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0).max(1);
    let x = |bar: usize| LEFT + count(bar).saturating_mul(WIDTH) / count(n_bars);
    let every = n_bars.div_ceil(16).next_power_of_two();
    svg(LEFT + WIDTH + 20, ROW * count(tracks.len()) + 20, |area| {
        for (idx, (name, bars)) in tracks.iter().enumerate() {
            let top = ROW * count(idx);
            text(area, &short(name, 20), (0, top + 4), TEXT, &INK)?;
            let most = bars.iter().copied().fold(1.0, f64::max);
            for (bar, n) in bars.iter().enumerate() {
                let strength = if *n > 0.0 { Some(0.25 + 0.75 * n / most) } else { None };
                let cell = strength.map_or(EMPTY, |strength| shade(colour(idx), strength));
                let air = i32::from(n_bars <= 200);
                fill(area, (x(bar), top + 1), ((x(bar + 1) - air).max(x(bar) + 1), top + ROW - 1), &cell)?;
            }
        }
        for bar in (0..n_bars).step_by(every) {
            text(area, &(bar + 1).to_string(), (x(bar), ROW * count(tracks.len()) + 4), TEXT - 1, &SOFT)?;
        }
        Ok(())
    })
}

/// How alike every two bars are, with the letter of each: darker for more in common. **Shape** of `likeness`: `(n_bars, n_bars)`.
pub fn form(likeness: &[Vec<f64>], letters: &[String]) -> Result<String, ExportError> {
    const EDGE: i32 = 30;
    let n_bars = count(likeness.len().max(1));
    let cell = (640 / n_bars).clamp(8, 28);
    let size = EDGE + cell * n_bars + 2;
    let every = usize::try_from((26 / cell).max(1)).unwrap_or(1);
    svg(size, size, |area| {
        fill(area, (EDGE, EDGE), (size - 2, size - 2), &EMPTY)?;
        for (row, likeness) in (0..).zip(likeness) {
            for (column, like) in (0..).zip(likeness).filter(|(_, like)| **like > 0.02) {
                let (x, y) = (EDGE + column * cell, EDGE + row * cell);
                fill(area, (x, y), (x + cell - 1, y + cell - 1), &shade(colour(0), *like))?;
            }
        }
        for (idx, letter) in letters.iter().enumerate().filter(|(idx, _)| cell >= 14 || idx % every == 0) {
            let at = EDGE + count(idx) * cell;
            let label = if cell >= 14 { letter.clone() } else { (idx + 1).to_string() };
            text(area, &label, (at, EDGE - 16), TEXT - 2, &INK)?;
            text(area, &label, (2, at + (cell - 12) / 2), TEXT - 2, &INK)?;
        }
        Ok(())
    })
}

/// No more than so many letters.
fn short(name: &str, n: usize) -> String {
    let cut: String = name.chars().take(n).collect();
    if cut == name { cut } else { format!("{}…", cut.chars().take(n - 1).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_lies_where_its_figure_is() {
        let figure = |value| Comparison { what: "on a beat", value, range: [0.2, 0.3, 0.6], is_share: true };
        let drawn = beside(&[figure(0.25), figure(0.9)], colour(1)).unwrap();
        let at: Vec<&str> = drawn.split("<circle cx=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(at, ["265", "460"], "{drawn}");
        assert!(drawn.contains("25 %") && drawn.contains("90 %"));
    }

    #[test]
    fn odd_pieces_can_be_drawn_and_names_are_text() {
        let names = [("<script>".to_owned(), vec![0.0, 3.0, 1.0]), ("x".repeat(200), Vec::new())];
        let drawn = arrangement(&names).unwrap();
        assert!(drawn.contains("&lt;script&gt;") && !drawn.contains("<script"), "{drawn}");
        assert!(drawn.contains("xxx…"));
        arrangement(&[]).unwrap();
        arrangement(&[("long".into(), vec![1.0; 4096])]).unwrap();
        form(&[], &[]).unwrap();
        form(&vec![vec![1.0; 64]; 64], &vec!["A".into(); 64]).unwrap();
        columns(&[Column { label: "C".into(), share: 0.0, is_strong: true }], colour(9)).unwrap();
        beside(&[], colour(0)).unwrap();
    }
}
