//! `barline generate`.

use crate::{
    args::{DEFAULT_BARS, DEFAULT_CHORDS, GenerateArgs, MAX_BARS, Shard},
    band::{self, Accompanied},
    error::CliError,
    input,
    lanes::LaneArgs,
};
use barline::{
    export::{self, ExportError, files::Outputs},
    generate::{
        Builder, Generator, Manifest, ModelProvider, Morph, Pattern, PatternSpec, Retake, Span, manifest::Encoding,
        pattern::MAX_PATTERN_BARS, primer_states,
    },
    inference::Library,
    music::{
        chord::Progression,
        note::Note,
        roll::LogitRoll,
        smf::{Song, SongTrack},
        time::{TICKS_PER_STEP, Tempo, Ticks, TimeSignature},
    },
    player::{self, Knobs},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// Bars built in one call: what a pattern's builder takes.
const BUILD_BARS: u32 = 4 * MAX_PATTERN_BARS;
/// The model that plays around a track, where none is named.
const BAND: &str = "band";

/// What one piece or many are to be, but for the seed.
struct Plan {
    bars: u32,
    tempo: Tempo,
    chords: Progression,
    primer: Vec<u16>,
    accompanied: Option<Accompanied>,
    takes: Vec<Retake>,
}

impl Plan {
    fn new(args: &GenerateArgs, manifest: &Manifest) -> Result<Self, CliError> {
        let primer = args.primer.as_deref().map(|path| primer(path, manifest)).transpose()?.unwrap_or_default();
        let mut accompanied = args.accompany.as_deref().map(|path| band::accompanied(args, path, manifest)).transpose()?;
        let bars = args.bars.or_else(|| accompanied.as_ref().map(|song| song.bars)).unwrap_or(DEFAULT_BARS);
        let of_song = accompanied.as_mut().and_then(|song| song.chords.take());
        Ok(Self {
            bars,
            tempo: args.tempo.or_else(|| accompanied.as_ref().map(|song| song.tempo)).unwrap_or_default(),
            chords: args
                .chords
                .clone()
                .or(of_song)
                .map_or_else(|| DEFAULT_CHORDS.parse(), Ok)
                .unwrap_or_else(|_| Progression::none()),
            primer,
            takes: band::retakes(args, manifest, bars)?,
            accompanied,
        })
    }

    fn spec(&self, args: &GenerateArgs, seed: u32) -> PatternSpec {
        PatternSpec {
            seed,
            take: args.take,
            variation: args.variation,
            // Finite as in the plugin as far as patterns go there, endless beyond.
            span: if self.bars <= MAX_PATTERN_BARS { Span::Bars(self.bars) } else { Span::Endless },
            progression: self.chords.clone(),
            primer: self.primer.clone(),
            given: self.accompanied.as_ref().map(|song| song.given.clone()).unwrap_or_default(),
            locks: Vec::new(),
            takes: self.takes.clone(),
            morph: args.morph,
            candidates: args.candidates,
        }
    }
}

/// What made a piece: the text event of its MIDI file and the head of its JSON. Nothing that differs between machines.
#[derive(Serialize)]
struct Provenance<'a> {
    program: &'static str,
    model: &'a str,
    model_version: &'a str,
    model_sha256: &'a str,
    model_licence: &'a str,
    seed: u32,
    take: u32,
    bars: u32,
    lead_in_bars: u32,
    chords: &'a Progression,
    primer_states: &'a [u16],
    #[serde(skip_serializing_if = "Option::is_none")]
    accompanied: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Retake]>::is_empty")]
    rerolls: &'a [Retake],
    #[serde(skip_serializing_if = "Option::is_none")]
    morph: Option<Morph>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<u32>,
    parameters: Parameters<'a>,
}

#[derive(Serialize)]
struct Parameters<'a> {
    temperature: f32,
    threshold: f32,
    variation: f32,
    key: Option<String>,
    octave: i8,
    swing: f32,
    humanize: f32,
    velocity: u8,
    accent: f32,
    humanize_velocity: f32,
    note_length: f32,
    channel: u8,
    chords_channel: Option<u8>,
    #[serde(flatten)]
    lanes: &'a LaneArgs,
}

/// The outputs of one piece.
struct Paths {
    mid: PathBuf,
    npz: Option<PathBuf>,
    png: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Paths {
    fn new(args: &GenerateArgs, seed: Option<u32>) -> Self {
        let named = |path: &PathBuf| seed.map_or_else(|| path.clone(), |seed| with_seed(path, seed));
        Self {
            mid: named(&args.output),
            npz: args.npz.as_ref().map(named),
            png: args.png.as_ref().map(named),
            json: args.json.as_ref().map(named),
        }
    }

    fn all(&self) -> Vec<&Path> {
        [Some(&self.mid), self.npz.as_ref(), self.png.as_ref(), self.json.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect()
    }
}

/// `out.mid` becomes `out-0000000007.mid`: all digits, so that names sort and do not depend on how many there are.
fn with_seed(path: &Path, seed: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{seed:010}{extension}"))
}

/// Does what `barline generate` is asked for.
pub fn run(args: &GenerateArgs) -> Result<(), CliError> {
    let seeds = Seeds::new(args)?;
    // Before any work: a place that cannot be written to is found after hours otherwise.
    let in_many = args.count.is_some();
    let paths_of = |seed: u32| Paths::new(args, in_many.then_some(seed));
    if let Some(seed) = seeds.iter().next() {
        let inputs: Vec<&Path> = args.primer.iter().chain(&args.accompany).map(PathBuf::as_path).collect();
        export::files::check(&paths_of(seed).all(), &inputs)?;
    }
    let library = Library::new();
    let name = args.model.clone().unwrap_or_else(|| default_model(args, &library));
    let opened = library.open(&name).map_err(|source| CliError::Model { model: name.clone(), source })?;
    let mut generator: Box<dyn Generator> = Box::new(opened);
    let plan = Plan::new(args, generator.manifest())?;
    if !args.quiet {
        let of_song = plan.accompanied.iter().flat_map(|song| &song.notes);
        for note in generator.backend().notes.iter().chain(of_song) {
            eprintln!("note: {note}");
        }
    }
    let bar = progress_bar(args, &seeds, plan.bars);
    let started = Instant::now();
    let (mut n_notes, mut n_rejected) = (0, 0);
    for (n_done, seed) in (0_u32..).zip(seeds.iter()) {
        let spec = plan.spec(args, seed);
        let on_bars = |n| {
            if !in_many {
                bar.set_position(u64::from(n))
            }
        };
        let (pattern, rejected) = build_long(generator.as_mut(), &spec, plan.bars, on_bars)?;
        n_rejected += u64::from(rejected);
        let song = song(args, &plan, generator.as_ref(), &pattern);
        n_notes += song.tracks.iter().map(|t| t.notes.len()).sum::<usize>();
        write(args, &plan, generator.as_ref(), &spec, &song, &paths_of(seed)).map_err(|source| match (in_many, source) {
            (true, source) => CliError::ExportAfter { source, n_done, n: seeds.len() },
            (false, source) => CliError::Export(source),
        })?;
        if in_many {
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if !args.quiet {
        let what = if in_many { format!("{} pieces", seeds.len()) } else { list(&paths_of(args.seed).all()) };
        let (manifest, backend) = (generator.manifest(), generator.backend());
        let rejected = if n_rejected > 0 { format!("; {n_rejected} candidates rejected") } else { String::new() };
        println!(
            "{what}: {n_notes} notes in {} bars by {} {} ({}, {}) in {:.2} s{rejected}",
            u64::from(plan.bars) * u64::from(seeds.len()),
            manifest.id,
            manifest.version,
            backend.runtime,
            backend.provider,
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn list(paths: &[&Path]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The seeds of this run's share. Piece k belongs to part `k mod N + 1`, whatever the part that runs.
struct Seeds {
    first: u32,
    count: u32,
    shard: Shard,
}

impl Seeds {
    fn new(args: &GenerateArgs) -> Result<Self, CliError> {
        let (first, count) = (args.seed, args.count.unwrap_or(1));
        if first.checked_add(count - 1).is_none() {
            let last = u32::MAX;
            return Err(CliError::Usage(format!("{count} pieces from seed {first} go beyond the last seed, {last}")));
        }
        Ok(Self { first, count, shard: args.shard.unwrap_or(Shard { index: 1, n: 1 }) })
    }

    fn len(&self) -> u32 {
        // Pieces before part `index` begins are not its own.
        self.count.saturating_sub(self.shard.index - 1).div_ceil(self.shard.n)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        let (first, index, n) = (self.first, self.shard.index, self.shard.n);
        (0..self.len()).map(move |k| first + (k * n + (index - 1)))
    }
}

fn progress_bar(args: &GenerateArgs, seeds: &Seeds, n_bars: u32) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    let (length, unit) = if args.count.is_some() { (seeds.len(), "pieces") } else { (n_bars, "bars") };
    let bar = ProgressBar::new(u64::from(length));
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// The primer's last bar of melody, as the model's states.
fn primer(path: &Path, manifest: &Manifest) -> Result<Vec<u16>, CliError> {
    let refuse = |reason| Err(CliError::Use { what: "primer", path: path.display().to_string(), reason });
    let notes = input::song("primer", path)?.last_melody_bar();
    if notes.is_empty() {
        return refuse("it has no notes but drums".into());
    }
    if !manifest.has(Encoding::States) {
        return refuse(format!("model `{}` does not look at the bar before", manifest.id));
    }
    let states = primer_states(&manifest.layout(), &notes);
    if states.is_empty() { refuse(format!("model `{}` takes no melody", manifest.id)) } else { Ok(states) }
}

/// The model where none is named: one that can do what is asked for.
fn default_model(args: &GenerateArgs, library: &Library) -> String {
    let needs_band = args.accompany.is_some() || !args.reroll.is_empty();
    if needs_band { BAND.into() } else { library.default_model().to_owned() }
}

/// A pattern of any length, built in pieces: bars do not depend on which are asked for together. With it, how many candidates were
/// rejected.
fn build_long(
    generator: &mut dyn Generator,
    spec: &PatternSpec,
    n_bars: u32,
    mut on_bars: impl FnMut(u32),
) -> Result<(Pattern, u32), CliError> {
    let mut whole: Option<(Pattern, Vec<i8>)> = None;
    let (mut first, mut n_rejected) = (0, 0);
    while first < n_bars.min(MAX_BARS) {
        let n = (n_bars - first).min(BUILD_BARS);
        let mut builder = Builder::new(generator, spec, first, n)?;
        while !builder.is_done() {
            builder.step(generator)?;
            on_bars(first + builder.n_ready());
        }
        n_rejected += builder.n_rejected();
        let part = builder.finish()?;
        match &mut whole {
            Some((_, cells)) => cells.extend_from_slice(part.roll.cells()),
            None if n == n_bars => return Ok((part, n_rejected)),
            None => {
                let cells = part.roll.cells().to_vec();
                whole = Some((part, cells));
            }
        }
        first += n;
    }
    let too_short = || barline::generate::GenerateError::Length { n_bars, max: MAX_BARS };
    let (pattern, cells) = whole.ok_or_else(too_short)?;
    let n = usize::try_from(n_bars).unwrap_or(usize::MAX);
    let roll = LogitRoll::from_cells(pattern.roll.layout().clone(), n, cells.into())
        .map_err(|source| barline::generate::GenerateError::Roll { model: pattern.model.id.clone(), source })?;
    Ok((Pattern { roll, ..pattern }, n_rejected))
}

fn song(args: &GenerateArgs, plan: &Plan, generator: &dyn Generator, pattern: &Pattern) -> Song {
    let manifest = generator.manifest();
    let knobs = args.knobs();
    let lead_in = i64::from(args.lead_in_bars) * args.meter.bar().0;
    let mut notes = player::render(pattern, &knobs, args.meter, plan.bars);
    for note in &mut notes {
        note.onset.0 += lead_in;
    }
    Song {
        name: manifest.name.clone(),
        tempos: vec![(Ticks(0), plan.tempo)],
        meters: vec![(Ticks(0), args.meter)],
        key: args.key,
        texts: Vec::new(),
        markers: chord_markers(&plan.chords, args.meter, plan.bars, lead_in),
        tracks: tracks(manifest, &knobs, &notes),
        length: Ticks(lead_in + i64::from(plan.bars) * args.meter.bar().0),
    }
}

/// The model's tracks and the chords, each with the notes of its channel.
fn tracks(manifest: &Manifest, knobs: &Knobs, notes: &[Note]) -> Vec<SongTrack> {
    let mut tracks: Vec<SongTrack> = Vec::new();
    let n_tracks = manifest.tracks.len();
    let of_model = (0..).zip(&manifest.tracks).map(|(idx, t)| (t.name.clone(), t.program, knobs.channel_of(idx, n_tracks)));
    let of_chords = knobs.chords.map(|channel| ("Chords".to_owned(), 0, channel));
    for (name, program, channel) in of_model.chain(of_chords) {
        // On one channel nobody can tell them apart any more.
        if let Some(same) = tracks.iter_mut().find(|t| t.channel == channel) {
            same.name = format!("{} and {}", same.name, name.to_lowercase());
            continue;
        }
        let notes = notes.iter().filter(|n| n.channel == channel).copied().collect();
        tracks.push(SongTrack { name, channel, program: Some(program), notes });
    }
    tracks
}

/// Chord names at every bar line, and at the half bar where the chord changes.
fn chord_markers(chords: &Progression, meter: TimeSignature, n_bars: u32, lead_in: i64) -> Vec<(Ticks, String)> {
    let mut markers = Vec::new();
    for bar in 0..n_bars {
        let start = lead_in + i64::from(bar) * meter.bar().0;
        let mut last = None;
        // A half bar of the model has eight steps; longer bars wrap.
        for (half, at) in (0..meter.bar().0).step_by(usize::try_from(8 * TICKS_PER_STEP).unwrap_or(960)).enumerate() {
            let chord = if half % 2 == 0 { chords.at(bar)[0] } else { chords.at(bar)[1] };
            if last != Some(chord) {
                markers.push((Ticks(start + at), chord.map_or_else(|| "N.C.".to_owned(), |c| c.to_string())));
                last = Some(chord);
            }
        }
    }
    markers
}

fn write(
    args: &GenerateArgs,
    plan: &Plan,
    generator: &dyn Generator,
    spec: &PatternSpec,
    song: &Song,
    paths: &Paths,
) -> Result<(), ExportError> {
    let manifest = generator.manifest();
    let provenance = Provenance {
        program: concat!("barline ", env!("CARGO_PKG_VERSION")),
        model: &manifest.id,
        model_version: &manifest.version,
        model_sha256: generator.sha256(),
        model_licence: &manifest.licence,
        seed: spec.seed,
        take: spec.take,
        bars: plan.bars,
        lead_in_bars: args.lead_in_bars,
        chords: &plan.chords,
        primer_states: &spec.primer,
        accompanied: plan.accompanied.as_ref().map(|song| song.lane.as_str()),
        rerolls: &spec.takes,
        morph: spec.morph,
        candidates: (spec.candidates > 1).then_some(spec.candidates),
        parameters: Parameters {
            temperature: args.temperature,
            threshold: args.threshold,
            variation: args.variation,
            key: args.key.map(|k| k.to_string()),
            octave: args.octave,
            swing: args.swing,
            humanize: args.humanize,
            velocity: args.velocity,
            accent: args.accent,
            humanize_velocity: args.humanize_velocity,
            note_length: args.note_length,
            channel: args.channel.index() + 1,
            chords_channel: args.chords_channel.map(|c| c.index() + 1),
            lanes: &args.lanes,
        },
    };
    let json_error = |e: serde_json::Error| ExportError::write(&paths.mid, e);
    let text = serde_json::to_string(&provenance).map_err(json_error)?;
    let with_text = Song { texts: vec![format!("barline {text}")], ..song.clone() };
    let mut outputs = Outputs::default();
    outputs.add(&paths.mid, &with_text.to_bytes()?)?;
    if let Some(path) = &paths.npz {
        outputs.add(path, &export::npz::to_bytes(song, args.beat_resolution)?)?;
    }
    if let Some(path) = &paths.png {
        outputs.add(path, &export::png::to_bytes(song, &title(args, plan, manifest, spec))?)?;
    }
    if let Some(path) = &paths.json {
        outputs.add(path, &export::report::to_bytes(song, &provenance).map_err(json_error)?)?;
    }
    outputs.commit()
}

fn title(args: &GenerateArgs, plan: &Plan, manifest: &Manifest, spec: &PatternSpec) -> String {
    let key = args.key.map(|k| format!(", {k}")).unwrap_or_default();
    let (bpm, meter) = (plan.tempo.bpm(), args.meter);
    format!("{}, seed {}, take {}, {bpm} bpm, {meter}{key}", manifest.name, spec.seed, spec.take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_all_pieces() {
        for (first, count) in [(7, 1), (0, 10), (u32::MAX - 99, 100), (3, 64)] {
            for n in [1, 2, 3, 7, 64, 1000] {
                let mut all: Vec<u32> = (1..=n)
                    .flat_map(|index| {
                        let seeds = Seeds { first, count, shard: Shard { index, n } };
                        assert_eq!(usize::try_from(seeds.len()).unwrap(), seeds.iter().count());
                        seeds.iter()
                    })
                    .collect();
                all.sort_unstable();
                assert_eq!(all, (first..=first + (count - 1)).collect::<Vec<_>>(), "{count} in {n} parts");
            }
        }
        let huge = Seeds { first: 0, count: u32::MAX, shard: Shard { index: u32::MAX, n: u32::MAX } };
        assert_eq!(huge.iter().collect::<Vec<_>>(), [u32::MAX - 1]);
    }

    #[test]
    fn names_carry_the_seed() {
        assert_eq!(with_seed(Path::new("a/out.mid"), 7), Path::new("a/out-0000000007.mid"));
        assert_eq!(with_seed(Path::new("out"), u32::MAX), Path::new("out-4294967295"));
        assert_eq!(with_seed(Path::new("a.b.png"), 0), Path::new("a.b-0000000000.png"));
    }

    #[test]
    fn chords_are_marked_where_they_begin() {
        let chords: Progression = "C | Am F | C".parse().unwrap();
        let markers = |meter: &str, n| -> Vec<(i64, String)> {
            chord_markers(&chords, meter.parse().unwrap(), n, 10).into_iter().map(|(at, name)| (at.0, name)).collect()
        };
        let named = |list: &[(i64, &str)]| list.iter().map(|(at, name)| (*at, (*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(markers("4/4", 3), named(&[(10, "C"), (1930, "Am"), (2890, "F"), (3850, "C")]));
        assert_eq!(markers("2/4", 2), named(&[(10, "C"), (970, "Am")]));
        assert_eq!(markers("6/4", 2), named(&[(10, "C"), (2890, "Am"), (3850, "F"), (4810, "Am")]));
    }
}
