//! The preview: what Barline plays is heard at its own audio output, if it is switched on, and nothing else changes by it.

use barline_tests::{
    bundle::bundle,
    child::in_child_with_fixtures,
    clap::{ClapFile, ClapHost},
    host::{Block, Host},
    notes::{Kind, notes},
    song::{Song, roll},
    state::Setup,
};
use std::{thread, time::Duration};

const RATE: f64 = 48_000.0;
const BAR: u64 = 96_000;
const BLOCK: u32 = 480;

fn host(preview: &str) -> ClapHost {
    let mut host = ClapFile::load(&bundle().clap).instance(RATE);
    let parameters = vec![("preview", preview.into())];
    Setup { seed: 5, model: "tiny-band", length: "4", parameters, ..Setup::default() }.load(&mut host);
    // The worker makes the synthesiser when a block has asked for it.
    for _ in 0..100 {
        idle(&mut host, 1);
        thread::sleep(Duration::from_millis(5));
    }
    host
}

/// Stopped blocks; the loudest sample of the last one.
fn idle(host: &mut ClapHost, n_blocks: u32) -> f32 {
    for _ in 0..n_blocks {
        let transport = Some(Song::default().transport(0, RATE, false));
        host.process(&Block { n_samples: BLOCK, transport, inputs: Vec::new() }).expect("process");
    }
    host.loudest
}

#[test]
fn what_plays_is_heard_and_ends_with_the_transport() {
    in_child_with_fixtures("what_plays_is_heard_and_ends_with_the_transport", || {
        let mut silent = host("standalone");
        let expected = roll(&mut silent, &Song::default(), 0, 4 * BAR, &[BLOCK]);
        assert!(silent.silent && expected.len() > 50, "a host has instruments of its own");
        let mut heard = host("on");
        let before = heard.elapsed();
        assert!(heard.loudest < 1e-6, "it sounds before anything plays: {}", heard.loudest);
        heard.first_sound = None;
        let events = roll(&mut heard, &Song::default(), 0, 4 * BAR, &[BLOCK]);
        assert_eq!(notes(&events), notes(&expected), "the notes change with the preview");
        let onset = events.iter().find(|event| matches!(event.kind, Kind::On(_))).expect("a note").at;
        let first = heard.first_sound.expect("a sound") - before;
        // A synthesiser's block is 64 samples; drums begin within the next.
        assert!((onset..onset + 128).contains(&first), "the first note is at {onset}, the first sound at {first}");
        assert!(heard.loudest > 1e-3, "the last block of the music has {}", heard.loudest);
        // Echoes fade; 6 s is what `barline render` gives them.
        assert!(idle(&mut heard, 600) < 1e-4, "it sounds on after the stop: {}", heard.loudest);
    });
}

#[test]
fn the_volume_is_the_preview_s_and_off_is_silence() {
    in_child_with_fixtures("the_volume_is_the_preview_s_and_off_is_silence", || {
        let loudest = |preview: &str, volume: f32| {
            let mut host = ClapFile::load(&bundle().clap).instance(RATE);
            let parameters = vec![("preview", preview.into()), ("preview_volume", volume.into())];
            Setup { seed: 5, model: "tiny-band", length: "4", parameters, ..Setup::default() }.load(&mut host);
            for _ in 0..100 {
                idle(&mut host, 1);
                thread::sleep(Duration::from_millis(5));
            }
            let mut loudest = 0.0_f32;
            for block in 0..400 {
                let transport = Some(Song::default().transport(block * i64::from(BLOCK), RATE, true));
                host.process(&Block { n_samples: BLOCK, transport, inputs: Vec::new() }).expect("process");
                loudest = loudest.max(host.loudest);
            }
            loudest
        };
        let [full, half] = [1.0, 0.5].map(|volume| loudest("on", volume));
        assert!(full > 0.05 && full <= 1.0 && (full / half - 2.0).abs() < 0.01, "{full} at full volume, {half} at half");
        assert_eq!([loudest("on", 0.0), loudest("off", 1.0)], [0.0, 0.0]);
    });
}
