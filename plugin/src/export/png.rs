//! Piano-roll pictures.
//!
//! Time runs to the right in rows of eight bars, pitch upward. Bar lines are dark, beat lines light; chord names (the song's
//! markers) stand above, bar numbers below, pitch names to the left. Each track has its colour, louder notes a stronger one.

use super::{
    ExportError,
    draw::{self, INK, SOFT, TRACKS, estimate_width, fill, line, picture, register, text},
    n_bars,
};
use crate::music::{
    note::{Note, Pitch},
    smf::Song,
    time::Ticks,
};
use plotters::{coord::Shift, prelude::*};

/// Bars per row.
const ROW_BARS: i64 = 8;
/// Bars drawn at most; the title says so when there are more.
pub const MAX_BARS: i64 = 128;

const WIDTH: i32 = 1600;
const LEFT: i32 = 56;
const RIGHT: i32 = 24;
const HEADER: i32 = 76;
/// Above the notes of a row: chord names.
const ABOVE: i32 = 30;
/// Below them: bar numbers and air.
const BELOW: i32 = 38;
/// Of a semitone.
const PITCH_HEIGHT: i32 = 11;
/// Pitches shown at least.
const MIN_PITCHES: i32 = 18;

const BAR_LINE: RGBColor = RGBColor(120, 124, 138);
const BEAT_LINE: RGBColor = RGBColor(216, 219, 226);
const BLACK_KEY: RGBColor = RGBColor(242, 243, 247);
type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// The bytes of a picture of the song.
///
/// # Errors
/// [`ExportError::Picture`] when drawing fails.
pub fn to_bytes(song: &Song, title: &str) -> Result<Vec<u8>, ExportError> {
    let sheet = Sheet::of(song);
    let height = sheet.height();
    let size = (dimension(WIDTH)?, dimension(height)?);
    let n_bytes = usize::try_from(size.0 * size.1 * 3).map_err(picture)?;
    let mut pixels = vec![0_u8; n_bytes];
    {
        register()?;
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        area.fill(&WHITE).map_err(picture)?;
        sheet.draw(&area, song, title)?;
        area.present().map_err(picture)?;
    }
    encode(&pixels, size)
}

fn dimension(pixels: i32) -> Result<u32, ExportError> {
    u32::try_from(pixels).map_err(picture)
}

fn encode(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, ExportError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(picture)?;
    writer.write_image_data(pixels).map_err(picture)?;
    writer.finish().map_err(picture)?;
    Ok(bytes)
}

/// Where everything lies.
struct Sheet {
    bar: i64,
    beat: i64,
    n_bars: i64,
    n_all_bars: i64,
    bars_per_row: i64,
    lowest: i32,
    n_pitches: i32,
}

impl Sheet {
    fn of(song: &Song) -> Self {
        let (_, meter) = song.meter_at(Ticks(0));
        let n_all_bars = n_bars(song);
        let n_bars = n_all_bars.min(MAX_BARS);
        let pitches = song.tracks.iter().flat_map(|t| &t.notes).map(|n| i32::from(n.pitch.number()));
        let (low, high) = pitches.fold((127, 0), |(low, high), p| (p.min(low), p.max(high)));
        let (low, high) = if low > high { (60, 60) } else { (low, high) };
        let missing = (MIN_PITCHES - (high - low + 3)).max(0);
        let lowest = (low - 1 - missing / 2).max(0);
        let highest = (high + 1 + (missing + 1) / 2).min(127);
        Self {
            bar: meter.bar().0,
            beat: meter.bar().0 / i64::from(meter.numerator()),
            n_bars,
            n_all_bars,
            bars_per_row: n_bars.min(ROW_BARS),
            lowest,
            n_pitches: highest - lowest + 1,
        }
    }

    fn n_rows(&self) -> i64 {
        (self.n_bars + self.bars_per_row - 1) / self.bars_per_row
    }

    fn row_height(&self) -> i32 {
        ABOVE + self.n_pitches * PITCH_HEIGHT + BELOW
    }

    fn height(&self) -> i32 {
        HEADER + self.row_height() * i32::try_from(self.n_rows()).unwrap_or(1)
    }

    /// Pixels from the left edge, for a position within a row.
    fn x(&self, ticks: i64) -> i32 {
        let width = i64::from(WIDTH - LEFT - RIGHT);
        let row = self.bar * self.bars_per_row;
        LEFT + i32::try_from((ticks.clamp(0, row) * width + row / 2) / row).unwrap_or(0)
    }

    /// Upper edge of a pitch, within a row.
    fn y(&self, pitch: i32) -> i32 {
        ABOVE + (self.lowest + self.n_pitches - 1 - pitch) * PITCH_HEIGHT
    }

    fn draw(&self, area: &Area<'_>, song: &Song, title: &str) -> Result<(), ExportError> {
        self.draw_header(area, song, title)?;
        for row in 0..self.n_rows() {
            let top = HEADER + self.row_height() * i32::try_from(row).unwrap_or(0);
            let first = row * self.bars_per_row;
            let bars = first..(first + self.bars_per_row).min(self.n_bars);
            self.draw_grid(area, top, &bars)?;
            self.draw_chords(area, top, &bars, song)?;
            // The first track, which is the melody, on top.
            let coloured: Vec<_> = song.tracks.iter().zip(TRACKS.iter().cycle()).collect();
            for (track, colour) in coloured.into_iter().rev() {
                for note in &track.notes {
                    self.draw_note(area, top, &bars, note, *colour)?;
                }
            }
        }
        Ok(())
    }

    fn draw_header(&self, area: &Area<'_>, song: &Song, title: &str) -> Result<(), ExportError> {
        let cut = if self.n_bars < self.n_all_bars {
            format!("  (the first {} of {} bars)", self.n_bars, self.n_all_bars)
        } else {
            String::new()
        };
        text(area, &format!("{title}{cut}"), (LEFT, 14), 22, &INK)?;
        let mut x = LEFT;
        for (track, colour) in song.tracks.iter().zip(TRACKS.iter().cycle()) {
            let label = format!("{} (channel {}, {} notes)", track.name, track.channel.index() + 1, track.notes.len());
            fill(area, (x, 48), (x + 12, 60), colour)?;
            text(area, &label, (x + 18, 46), 15, &INK)?;
            x += 44 + estimate_width(area, &label, 15)?;
        }
        Ok(())
    }

    fn draw_grid(&self, area: &Area<'_>, top: i32, bars: &std::ops::Range<i64>) -> Result<(), ExportError> {
        let right = self.x((bars.end - bars.start) * self.bar);
        let bottom = top + ABOVE + self.n_pitches * PITCH_HEIGHT;
        for pitch in self.lowest..self.lowest + self.n_pitches {
            let y = top + self.y(pitch);
            let class = Pitch::new(pitch).map(|p| p.class());
            let name = class.map_or("", |c| c.name());
            if name.len() > 1 {
                fill(area, (LEFT, y), (right, y + PITCH_HEIGHT), &BLACK_KEY)?;
            }
            // An octave line below each C; a few names are enough to find the others.
            if name == "C" {
                line(area, (LEFT, y + PITCH_HEIGHT), (right, y + PITCH_HEIGHT), &BEAT_LINE)?;
            }
            if matches!(name, "C" | "E" | "G" | "A") {
                let label = format!("{name}{}", pitch / 12 - 1);
                text(area, &label, (LEFT - 34, y - 1), 13, if name == "C" { &INK } else { &SOFT })?;
            }
        }
        for bar in bars.clone() {
            let start = (bar - bars.start) * self.bar;
            let mut beat = start + self.beat;
            while beat < start + self.bar {
                line(area, (self.x(beat), top + ABOVE), (self.x(beat), bottom), &BEAT_LINE)?;
                beat += self.beat;
            }
            line(area, (self.x(start), top + ABOVE - 22), (self.x(start), bottom + 6), &BAR_LINE)?;
            text(area, &(bar + 1).to_string(), (self.x(start) + 5, bottom + 4), 14, &SOFT)?;
        }
        line(area, (right, top + ABOVE - 22), (right, bottom + 6), &BAR_LINE)?;
        line(area, (LEFT, bottom), (right, bottom), &BAR_LINE)?;
        line(area, (LEFT, top + ABOVE), (right, top + ABOVE), &BAR_LINE)
    }

    fn draw_chords(&self, area: &Area<'_>, top: i32, bars: &std::ops::Range<i64>, song: &Song) -> Result<(), ExportError> {
        let (start, end) = (bars.start * self.bar, bars.end * self.bar);
        for (at, name) in song.markers.iter().filter(|m| (start..end).contains(&m.0.0)) {
            text(area, name, (self.x(at.0 - start) + 5, top + ABOVE - 22), 18, &INK)?;
        }
        Ok(())
    }

    fn draw_note(
        &self,
        area: &Area<'_>,
        top: i32,
        bars: &std::ops::Range<i64>,
        note: &Note,
        colour: RGBColor,
    ) -> Result<(), ExportError> {
        let (start, end) = (bars.start * self.bar, bars.end * self.bar);
        let (onset, off) = (note.onset.0, note.onset.0 + note.duration.0);
        if off <= start || onset >= end {
            return Ok(());
        }
        // A pixel of air at the end keeps repeated notes apart.
        let (x0, x1) = (self.x(onset - start), self.x(off.min(end) - start) - 1);
        let y = top + self.y(i32::from(note.pitch.number()));
        let (from, to) = ((x0, y + 1), (x1.max(x0 + 2), y + PITCH_HEIGHT - 1));
        fill(area, from, to, &shade(colour, note.velocity.number()))?;
        area.draw(&Rectangle::new([from, to], colour.stroke_width(1))).map_err(picture)
    }
}

/// Nearly white at velocity 0, the full colour at 127.
fn shade(colour: RGBColor, velocity: u8) -> RGBColor {
    draw::shade(colour, 0.15 + 0.85 * f64::from(velocity) / 127.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::music::{
        note::{Channel, Velocity},
        smf::SongTrack,
    };

    fn note(onset: i64, duration: i64, pitch: i32, velocity: i32) -> Note {
        Note {
            onset: Ticks(onset),
            duration: Ticks(duration),
            channel: Channel::default(),
            pitch: Pitch::new(pitch).unwrap(),
            velocity: Velocity::clamped(velocity),
        }
    }

    fn pixels(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.width, info.height, pixels)
    }

    #[test]
    fn notes_lie_where_they_sound() {
        let track = SongTrack {
            name: "Melody".into(),
            channel: Channel::default(),
            program: None,
            notes: vec![note(480, 480, 67, 127), note(8 * 1920 + 960, 120, 55, 40)],
        };
        let song = Song { tracks: vec![track], length: Ticks(9 * 1920), ..Song::default() };
        let sheet = Sheet::of(&song);
        let (width, height, pixels) = pixels(&to_bytes(&song, "test").unwrap());
        assert_eq!((width, height), (1600, u32::try_from(sheet.height()).unwrap()));
        let at = |x: i32, y: i32| {
            let i = usize::try_from((y * WIDTH + x) * 3).unwrap();
            RGBColor(pixels[i], pixels[i + 1], pixels[i + 2])
        };
        let middle = |pitch: i32| sheet.y(pitch) + PITCH_HEIGHT / 2;
        assert_eq!(at(sheet.x(700), HEADER + middle(67)), TRACKS[0], "full colour at velocity 127");
        assert_eq!(at(sheet.x(400), HEADER + middle(67)), WHITE);
        assert_eq!(at(sheet.x(1000), HEADER + middle(67)), WHITE);
        let second_row = HEADER + sheet.row_height();
        assert_eq!(at(sheet.x(1020), second_row + middle(55)), shade(TRACKS[0], 40));
    }

    #[test]
    fn odd_songs_can_be_drawn() {
        let empty = Song::default();
        assert_eq!(pixels(&to_bytes(&empty, "").unwrap()).0, 1600);
        let track = |notes| SongTrack { name: "ø∂漢".into(), channel: Channel::default(), program: None, notes };
        let wide = Song { tracks: vec![track(vec![note(0, 1, 0, 1), note(1, 1 << 20, 127, 127)]); 9], ..Song::default() };
        to_bytes(&wide, "wide").unwrap();
        let long = Song { length: Ticks(1920 * 1000), ..Song::default() };
        assert_eq!(Sheet::of(&long).n_bars, MAX_BARS);
        let odd = Song {
            meters: vec![(Ticks(0), crate::music::time::TimeSignature::new(1, 64).unwrap())],
            tracks: vec![track(vec![note(0, 300, 60, 64)])],
            ..Song::default()
        };
        to_bytes(&odd, "odd").unwrap();
    }
}
