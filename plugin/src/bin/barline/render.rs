//! `barline render`: a MIDI file as sound.

use crate::{args::RenderArgs, error::CliError, input, models::print};
use barline::{
    export::{
        ExportError,
        files::{self, Outputs},
        wav::Writer,
    },
    listen::{Font, ListenError, Playback},
};
use indicatif::{ProgressBar, ProgressStyle};

/// Samples between two looks at the progress bar.
const BUFFER: usize = 4096;

/// Does what `barline render` is asked for.
pub fn run(args: &RenderArgs) -> Result<(), CliError> {
    files::check(&[&args.output], &[&args.song])?;
    let song = input::song("song", &args.song)?;
    let font = match &args.soundfont {
        None => Font::embedded(),
        Some(path) => Font::read(path),
    };
    let font = font.map_err(|error| {
        let path = args.soundfont.as_ref().map_or("built in".into(), |path| path.display().to_string());
        CliError::Read { what: "soundfont", path, reason: error.to_string() }
    })?;
    let unusable = |e: ListenError| CliError::Use { what: "song", path: args.song.display().to_string(), reason: e.to_string() };
    let mut playback = Playback::new(&song, &font, args.sample_rate).map_err(unusable)?;
    let bar = progress_bar(args, playback.n_samples());
    let failed = |e| ExportError::write(&args.output, e);
    let (mut left, mut right) = ([0.0; BUFFER], [0.0; BUFFER]);
    let (mut n_samples, mut peak) = (0, 0.0_f32);
    let mut outputs = Outputs::default();
    outputs.add_with(&args.output, |file| {
        let mut wav = Writer::new(file, args.sample_rate).map_err(failed)?;
        loop {
            let n = playback.render(&mut left, &mut right);
            let (Some(left), Some(right)) = (left.get(..n), right.get(..n)) else { break };
            if n == 0 {
                break;
            }
            wav.write(left, right).map_err(failed)?;
            peak = left.iter().chain(right).fold(peak, |peak, sample| peak.max(sample.abs()));
            n_samples += n as u64;
            bar.set_position(n_samples.min(playback.n_samples()));
        }
        wav.finish().map_err(failed)
    })?;
    outputs.commit()?;
    bar.finish_and_clear();
    if args.quiet {
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "an hour at most")]
    let seconds = n_samples as f64 / f64::from(args.sample_rate);
    let peak_db = 20.0 * f64::from(peak.max(1e-5)).log10();
    print(&format!("{}: {seconds:.1} s at {} Hz, peak {peak_db:.1} dB\n", args.output.display(), args.sample_rate))
}

fn progress_bar(args: &RenderArgs, n_samples: u64) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(n_samples);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar
}
