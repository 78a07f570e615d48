//! A page that explains a song: its picture, form, chords, tracks and bars, in words and plots. One HTML file that needs nothing else.

use super::{
    ExportError,
    plots::{self, Column},
    png,
};
use crate::music::{
    chord::BarChords,
    explain::{Line, Piece, Section, Track, degree, named_chords},
    metrics::BAR_STEPS,
    note::{Pitch, PitchClass},
    scale::Key,
    smf::Song,
    time::{TICKS_PER_BEAT, Ticks, TimeSignature},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Bars told one by one, and compared with each other.
const MAX_TOLD_BARS: u32 = 64;
/// Chords per row of their table.
const ROW_BARS: usize = 8;

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #26282f; background: #fff; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; font-size: 1.25rem; border-bottom: 1px solid #d8dbe2; } h3 { margin: 1.5rem 0 .4rem; }
p { margin: .4rem 0; } .soft, figcaption { color: #6a6e7a; font-size: .9rem; }
.wide { overflow-x: auto; } .wide img { min-width: 60rem; max-width: 100%; } figure { margin: .8rem 0; }
svg { max-width: 100%; height: auto; } .wide svg { max-width: none; }
.side { display: flex; flex-wrap: wrap; gap: 0 3rem; } code { white-space: pre; font-size: .95rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .7rem .15rem 0; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; font-weight: normal; } thead th { border-bottom: 1px solid #d8dbe2; }
.chords td { border: 1px solid #d8dbe2; padding: .25rem .6rem; text-align: left; vertical-align: top; min-width: 5rem; }
details { border-top: 1px solid #e6e8ee; padding: .3rem 0; } summary { cursor: pointer; } summary b { margin-right: .8rem; }
details > div { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 0 2rem; padding-left: 1rem; }
";

/// The bytes of the page: of the first `n_bars` bars, with `notes` said at the beginning. `program` is what wrote it.
///
/// Chords, form, bars and the training data's ranges are those of pieces in 4/4; of another meter the page has the rest.
///
/// # Errors
/// [`ExportError::Picture`] when a plot cannot be drawn.
pub fn to_bytes(song: &Song, title: &str, program: &str, n_bars: u32, notes: &[String]) -> Result<Vec<u8>, ExportError> {
    let piece = Piece::of_song(song, n_bars);
    let has_bars = song.meters.iter().all(|(_, meter)| meter.bar() == TimeSignature::default().bar());
    let tempo = (song.tempo().bpm() * 1000.0).round() / 1000.0;
    let n_notes: usize = piece.tracks().iter().map(|track| track.notes.len()).sum();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // A file's names are text; should one ever not be, it may do nothing.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p { (n_bars) " bars, " (song.meter_at(Ticks(0)).1) ", " (tempo) " bpm, " (n_notes) " notes in " (piece.tracks().len()) " tracks." }
                @if let Some(about) = piece.about_key() { p { (about) } }
                @for note in notes { p { strong { "Note: " } (note) "." } }
                (roll(song, &piece, title, has_bars)?)
                @if has_bars { (structure(song, &piece)?) }
                h2 { "Tones" }
                (tones(&piece)?)
                h2 { "Tracks" }
                @for (idx, track) in piece.tracks().iter().enumerate() { (told_track(track, idx, has_bars)?) }
                h3 { "All figures" }
                (figures(piece.tracks()))
                @if has_bars { (bars(&piece)) }
                p.soft { "Written by " (program) "." }
            }
        }
    };
    Ok(page.into_string().into_bytes())
}

fn plot(svg: String, caption: &str) -> Markup {
    html! { figure { div.wide { (PreEscaped(svg)) } figcaption { (caption) } } }
}

/// The picture, with the chords above where the song names none.
fn roll(song: &Song, piece: &Piece, title: &str, has_bars: bool) -> Result<Markup, ExportError> {
    let mut song = song.clone();
    if has_bars && song.markers.is_empty() {
        song.markers = changes(piece.harmony()).map(|(at, name)| (Ticks(at), name)).collect();
    }
    let picture = BASE64_STANDARD.encode(png::to_bytes(&song, title)?);
    Ok(html! {
        h2 { "Notes" }
        figure.wide { img alt="Piano roll" src={ "data:image/png;base64," (picture) }; }
    })
}

/// Where chords change, in ticks, and their names.
fn changes(harmony: &[BarChords]) -> impl Iterator<Item = (i64, String)> {
    let mut before = None;
    (0..).zip(harmony.iter().flatten()).filter_map(move |(half, chord)| {
        let is_new = *chord != before;
        before = *chord;
        is_new.then(|| (half * 2 * TICKS_PER_BEAT, chord.map_or_else(|| "N.C.".to_owned(), |chord| chord.to_string())))
    })
}

fn names(chords: &BarChords) -> String {
    let name = |chord: &Option<_>| chord.map_or_else(|| "–".to_owned(), |chord: crate::music::chord::Chord| chord.to_string());
    match chords {
        [first, second] if first == second => name(first),
        [first, second] => format!("{} {}", name(first), name(second)),
    }
}

fn degrees(chords: &BarChords, key: Option<Key>) -> String {
    let Some(key) = key else { return String::new() };
    let mut degrees: Vec<String> = chords.iter().flatten().map(|chord| degree(chord, key)).collect();
    degrees.dedup();
    degrees.join(" ")
}

/// What comes back, who plays when, and the chords.
fn structure(song: &Song, piece: &Piece) -> Result<Markup, ExportError> {
    let told = usize::try_from(MAX_TOLD_BARS).unwrap_or(usize::MAX);
    let mut letters = piece.form();
    let mut likeness = piece.likeness();
    let is_cut = letters.len() > told;
    letters.truncate(told);
    likeness.truncate(told);
    likeness.iter_mut().for_each(|row| row.truncate(told));
    let playing: Vec<(String, Vec<f64>)> =
        piece.tracks().iter().map(|track| (track.name.clone(), track.on_grid.notes_per_bar())).collect();
    let is_named = named_chords(song, 1).is_some();
    let source = if is_named { "As the file's markers name them" } else { "Estimated from the notes, a triad per half bar" };
    let rows = (0..).step_by(ROW_BARS).zip(piece.harmony().chunks(ROW_BARS).take(told / ROW_BARS));
    Ok(html! {
        h2 { "Form" }
        p { "Bar by bar, bars that are alike with the same letter: " code { (spaced(&letters)) } @if is_cut { " …" } }
        (plot(plots::form(&likeness, &letters)?, "How much every two bars have in common: a dark line beside the diagonal is a passage that \
            comes back so many bars later."))
        (plot(plots::arrangement(&playing)?, "Who plays when: a cell per bar, darker for more notes."))
        h2 { "Chords" }
        p.soft { (source) @if is_cut { ", of the first " (MAX_TOLD_BARS) " bars" } "." }
        div.wide { table.chords {
            @for (first, row) in rows {
                tr { @for (bar, chords) in (first..).zip(row) {
                    td { span.soft { (bar + 1) } " " b { (names(chords)) } br; span.soft { (degrees(chords, piece.key())) } }
                } }
            }
        } }
    })
}

/// In fours, eight fours a line.
fn spaced(letters: &[String]) -> String {
    let fours: Vec<String> = letters.chunks(4).map(|four| four.join(" ")).collect();
    fours.chunks(4).map(|line| line.join("   ")).collect::<Vec<_>>().join("\n")
}

fn tones(piece: &Piece) -> Result<Markup, ExportError> {
    let pitched = piece.tracks().iter().filter(|track| !track.is_drums);
    let sums = pitched.fold([0.0; 12], |mut sums: [f64; 12], track| {
        sums.iter_mut().zip(track.on_grid.tones()).for_each(|(sum, tone)| *sum += tone);
        sums
    });
    let total: f64 = sums.iter().sum();
    if total == 0.0 {
        return Ok(html! { p { "Nothing has a pitch." } });
    }
    let is_inside = |class: i32| piece.key().is_none_or(|key| Pitch::new(class).is_some_and(|pitch| key.contains(pitch)));
    let columns: Vec<Column> = (0..)
        .zip(sums)
        .map(|(class, sum)| Column {
            label: PitchClass::of(class).name().into(),
            share: sum / total,
            is_strong: is_inside(class),
        })
        .collect();
    Ok(plot(
        plots::columns(&columns, plots::colour(0))?,
        "Share of the sounding time in percent, octaves folded; pale: outside the scale.",
    ))
}

fn told_track(track: &Track, idx: usize, has_bars: bool) -> Result<Markup, ExportError> {
    let beside = if has_bars { track.beside() } else { Vec::new() };
    let attacks = track.on_grid.attacks();
    let total: f64 = attacks.iter().sum();
    let label = |step: usize| if step.is_multiple_of(4) { (step / 4 + 1).to_string() } else { "·".into() };
    let columns: Vec<Column> = attacks
        .iter()
        .enumerate()
        .take(BAR_STEPS)
        .map(|(step, n)| Column { label: label(step), share: n / total.max(1.0), is_strong: step.is_multiple_of(4) })
        .collect();
    Ok(html! {
        h3 { (idx + 1) " · " (track.name) }
        div.side {
            @if has_bars { (plot(plots::columns(&columns, plots::colour(idx))?, "Where notes begin in the bar, in percent.")) }
            @if !beside.is_empty() {
                (plot(plots::beside(&beside, plots::colour(idx))?, "Dot: this track. Band: 80 % of the songs of the training data."))
            }
        }
        @for figure in &beside { p { (figure) } }
        @if has_bars && beside.is_empty() { p.soft { "The networks learned from no such tracks." } }
    })
}

fn figures(tracks: &[Track]) -> Markup {
    let rows = tracks.first().map(|track| track.figures.named()).into_iter().flatten().enumerate();
    let cell = |track: &Track, row: usize| {
        let (_, value) = track.figures.named().into_iter().nth(row)?;
        value.map(|value| format!("{value:.2}"))
    };
    html! {
        div.wide { table {
            thead { tr { th {} @for (idx, track) in tracks.iter().enumerate() { th { (idx + 1) " " (track.name) } } } }
            @for (row, (name, _)) in rows {
                tr { th { (name) } @for track in tracks { td { (cell(track, row).unwrap_or_else(|| "–".into())) } } }
            }
        } }
    }
}

fn bars(piece: &Piece) -> Markup {
    let n_bars = u32::try_from(piece.harmony().len()).unwrap_or(u32::MAX);
    let form = piece.form();
    let bars = (0..n_bars.min(MAX_TOLD_BARS)).zip(piece.harmony().iter().zip(&form));
    html! {
        h2 { "Bar by bar" }
        @if n_bars > MAX_TOLD_BARS { p.soft { "The first " (MAX_TOLD_BARS) " of " (n_bars) " bars." } }
        @for (bar, (chords, letter)) in bars {
            details open[bar == 0] {
                summary { b { "Bar " (bar + 1) } (letter) " · " (names(chords)) }
                div { @for (idx, section) in piece.explain(bar).iter().enumerate() { (told(section, idx == 0)) } }
            }
        }
    }
}

fn told(section: &Section, is_harmony: bool) -> Markup {
    html! {
        section {
            h3 { @if is_harmony { "Harmony" } @else { (section.heading) } }
            @for line in &section.lines {
                p { @if let Line::Rhythm(rhythm) = line { code { (rhythm) } } @else { (line) } }
            }
        }
    }
}
