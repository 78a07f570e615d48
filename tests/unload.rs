//! Unloading right after automation, 400 times in each format. nice-plug's shared background thread can panic at unload and abort
//! the host if a task is still on its way; the plugin gives it time to drain. And right after the editor's window has closed, whose
//! thread must not outlive it.

use barline_tests::{
    bundle::bundle,
    child::{in_child, in_child_with},
    clap::ClapFile,
    host::{Block, Host, Input},
    screen::{Screen, Window},
    song::Song,
    vst3::Vst3Host,
};
use fastrand::Rng;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const RATE: f64 = 48_000.0;
const N_UNLOADS: u64 = 400;
/// A picture of software GL takes a third of a second.
const N_WINDOWS: u64 = 40;

/// A few playing blocks with every parameter automated, the last one right before the instance goes.
fn automate(host: &mut dyn Host, rng: &mut Rng) {
    let names: Vec<String> = host.parameters().iter().map(|p| p.name.clone()).collect();
    for block in 0..3 {
        let inputs = names.iter().map(|name| Input::Parameter { offset: 0, name: name.clone(), normalised: rng.f64() }).collect();
        let transport = Some(Song::default().transport(block * 256, RATE, true));
        host.process(&Block { n_samples: 256, transport, inputs }).expect("process");
    }
}

#[test]
fn unloads_after_automation_do_not_abort_a_clap_host() {
    let text = in_child("unloads_after_automation_do_not_abort_a_clap_host", || {
        let mut rng = Rng::with_seed(5);
        for _ in 0..N_UNLOADS {
            let file = ClapFile::load(&bundle().clap);
            automate(&mut file.instance(RATE), &mut rng);
        }
        println!("{N_UNLOADS} CLAP unloads");
    });
    assert!(text.is_empty() || text.contains("400 CLAP unloads"));
}

#[test]
fn unloads_after_automation_do_not_abort_a_vst3_host() {
    let text = in_child("unloads_after_automation_do_not_abort_a_vst3_host", || {
        let mut rng = Rng::with_seed(6);
        for _ in 0..N_UNLOADS {
            automate(&mut Vst3Host::open(&bundle().vst3, RATE), &mut rng);
        }
        println!("{N_UNLOADS} VST3 unloads");
    });
    assert!(text.is_empty() || text.contains("400 VST3 unloads"));
}

/// The names of the threads that run, by number.
fn threads() -> BTreeMap<PathBuf, String> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").map(|task| task.expect("a thread").path());
    tasks.filter_map(|task| Some((task.clone(), fs::read_to_string(task.join("comm")).ok()?))).collect()
}

/// The editor, seen and closed.
fn show(host: &mut dyn Host) {
    let window = Window::new(1000, 800);
    let before = threads();
    host.open_editor(window.id());
    window.wait_for_picture();
    host.close_editor();
    let mut after = threads();
    after.retain(|task, _| !before.contains_key(task));
    assert!(after.is_empty(), "{}: left behind by the window: {after:?}", host.format());
}

#[test]
fn unloads_after_a_window_do_not_crash_the_host() {
    let Some(screen) = Screen::start() else { return };
    in_child_with("unloads_after_a_window_do_not_crash_the_host", &[("DISPLAY", Path::new(&screen.display))], || {
        for _ in 0..N_WINDOWS {
            show(&mut ClapFile::load(&bundle().clap).instance(RATE));
            show(&mut Vst3Host::open(&bundle().vst3, RATE));
        }
    });
}
