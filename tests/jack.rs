//! The standalone program under a real JACK server (Debian's `jackd2`), whose transport it follows: what `jack_midi_dump` receives are the
//! command line's notes, to the sample, from the start and after a jump. Skipped, and says why, where JACK or Xvfb is not installed.
//!
//! The server has a name and the program a home folder of their own: nothing of the user's is heard, read or written.

use barline_tests::{
    bundle::bundle,
    cli,
    notes::{Kind, Ledger, NoteEvent},
    onsets::{Onsets, SAMPLES_PER_BEAT, begins_with, song},
};
use std::{
    fs::{self, File},
    io::Write,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What the standalone program begins with, for the command line.
const ARGUMENTS: [&str; 6] = ["--seed", "0", "--bars", "8", "--tempo", "120"];
const PATTERN_BEATS: f64 = 32.0;
/// Where the transport is put for the second roll, in beats: between two sixteenths.
const JUMP_BEATS: f64 = 10.125;
/// How long it rolls each time; a machine that is busy may start late.
const ROLLS: Duration = Duration::from_secs(4);
/// Beats of it that must be there.
const WANTED_BEATS: f64 = 6.0;
/// Samples of a period. A busy machine that misses one shifts what comes after, for every client; the longer they are, the fewer it misses.
const PERIOD: &str = "4096";
/// Rolls at most, until one without a missed period.
const TRIES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

/// Up to Debian 12 they come with the server.
const TOOLS: &str = "jackd2 or jack-example-tools";

/// Why it cannot run here.
fn missing() -> Option<String> {
    let programs =
        [("jackd", "jackd2"), ("jack_midi_dump", TOOLS), ("jack_transport", TOOLS), ("jack_connect", TOOLS), ("Xvfb", "xvfb")];
    let is_missing = |program: &str| Command::new("which").arg(program).output().map_or(true, |o| !o.status.success());
    let found = programs.into_iter().find(|(program, _)| is_missing(program));
    let standalone = bundle().dir.join("Barline-standalone");
    found.map(|(program, package)| format!("{program} is not there (on Debian: apt-get install {package})")).or_else(|| {
        (!standalone.exists()).then(|| "the bundle is without the standalone program (`--features standalone`)".into())
    })
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: a server that is killed leaves its entry in JACK's list of servers, which holds eight.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        let start = Instant::now();
        while asked.as_ref().is_ok_and(|status| status.success()) && start.elapsed() < Duration::from_secs(5) {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A JACK server of the test's own.
struct Jack {
    name: String,
    home: tempfile::TempDir,
    running: Vec<Running>,
}

impl Drop for Jack {
    fn drop(&mut self) {
        // The clients before their server.
        while self.running.pop().is_some() {}
    }
}

impl Jack {
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a scratch folder");
        let mut jack = Self { name: format!("barline-{}", std::process::id()), home, running: Vec::new() };
        let name = jack.name.clone();
        jack.spawn(
            "log",
            Command::new("jackd").args(["--no-realtime", "--name", &name, "-d", "dummy", "-r", "48000", "-p", PERIOD]),
        );
        jack.wait_for("system:playback_1");
        jack
    }

    /// A command that finds this server, and no other home.
    fn command<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("JACK_DEFAULT_SERVER", &self.name).env("JACK_NO_START_SERVER", "1").env("HOME", self.home.path())
    }

    /// Its output goes into the file of that name in the home folder, its errors into the log.
    fn spawn(&mut self, output: &str, command: &mut Command) {
        let file = |name| File::options().create(true).append(true).open(self.home.path().join(name)).expect("a scratch file");
        self.command(command).stdin(Stdio::null()).stdout(file(output)).stderr(file("log"));
        self.running.push(Running(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))));
    }

    fn output(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    fn says(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(Command::new(program).args(args)).output().unwrap_or_else(|e| panic!("{program}: {e}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_for(&self, port: &str) {
        let start = Instant::now();
        while !self.says("jack_lsp", &[]).lines().any(|line| line == port) {
            assert!(start.elapsed() < PATIENCE, "there is no port {port}: {}", self.output("log"));
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Periods missed so far, as the server says.
    fn n_missed(&self) -> usize {
        self.output("log").to_lowercase().matches("xrun").count()
    }

    /// Plays for a while from where the transport is; the other commands come before.
    fn roll(&self, before: &str) {
        let mut command = Command::new("jack_transport");
        let mut transport = self.command(&mut command).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
        let mut input = transport.stdin.take().expect("its input");
        writeln!(input, "{before}\nplay").expect("it listens");
        input.flush().expect("it listens");
        thread::sleep(ROLLS);
        writeln!(input, "stop").expect("it listens");
        input.flush().expect("it listens");
        thread::sleep(Duration::from_millis(500));
        writeln!(input, "exit").expect("it listens");
        drop(input);
        assert!(transport.wait().expect("it ends").success());
    }
}

/// The line `52224: 90 40 6d note on …` of `jack_midi_dump -a`; what is no note is left out.
fn event(line: &str) -> Option<NoteEvent> {
    let (at, rest) = line.split_once(':')?;
    let bytes: Vec<u8> = rest.split_whitespace().map_while(|word| u8::from_str_radix(word, 16).ok()).take(3).collect();
    let [status, pitch, velocity] = bytes.try_into().ok()?;
    let kind = match (status & 0xf0, velocity) {
        (0x90, 1..) => Kind::On(velocity),
        (0x80 | 0x90, _) => Kind::Off,
        _ => return None,
    };
    Some(NoteEvent { at: at.trim().parse().ok()?, channel: status & 0x0f, pitch, kind })
}

/// All notes, and that none sounds any more.
fn onsets(events: &[NoteEvent]) -> Onsets {
    let mut ledger = Ledger::default();
    ledger.enter(events).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ledger.n_sounding(), 0, "the transport has stopped");
    let mut notes = ledger.notes;
    notes.sort_by_key(|note| (note.onset, note.pitch));
    notes.iter().map(|note| (note.onset as f64, note.pitch)).collect()
}

#[test]
fn the_standalone_follows_jacks_transport_to_the_sample() {
    if let Some(why) = missing() {
        println!("SKIPPED jack: {why}");
        return;
    }
    let pattern = cli::generate(&ARGUMENTS);
    let mut jack = Jack::start();
    jack.spawn("display", Command::new("Xvfb").args(["-displayfd", "1", "-screen", "0", "1200x900x24", "-nolisten", "tcp"]));
    let start = Instant::now();
    while !jack.output("display").ends_with('\n') {
        assert!(start.elapsed() < PATIENCE, "no X server: {}", jack.output("log"));
        thread::sleep(Duration::from_millis(50));
    }
    let display = format!(":{}", jack.output("display").trim());
    let standalone = bundle().dir.join("Barline-standalone");
    let data = jack.home.path().join("data");
    jack.spawn("log", Command::new(standalone).args(["--backend", "jack"]).env("DISPLAY", display).env("BARLINE_DATA", data));
    jack.wait_for("barline:midi_output");
    jack.spawn("dump", Command::new("stdbuf").args(["-oL", "jack_midi_dump", "-a", "dump"]));
    jack.wait_for("dump:input");
    jack.says("jack_connect", &["barline:midi_output", "dump:input"]);
    let dumped = || jack.output("dump").lines().filter_map(event).collect::<Vec<_>>();
    // The first pattern is made meanwhile.
    let start = Instant::now();
    while dumped().is_empty() {
        assert!(start.elapsed() < PATIENCE, "JACK receives no note: {}", jack.output("log"));
        jack.roll("locate 0");
    }

    for from in [0.0, JUMP_BEATS] {
        let wanted = song(&pattern, PATTERN_BEATS, from, from + WANTED_BEATS);
        assert!(wanted.len() > 5, "{wanted:?}");
        let mut tries = 0..TRIES;
        let played = loop {
            let n_before = (dumped().len(), jack.n_missed());
            jack.roll(&format!("locate {}", from * SAMPLES_PER_BEAT));
            let played = onsets(&dumped()[n_before.0..]);
            if jack.n_missed() == n_before.1 || tries.next().is_none() {
                break played;
            }
            println!("once more: JACK missed a period");
        };
        assert!(begins_with(&played, &wanted, 0.5), "from beat {from} JACK receives\n{played:?}\nand right is\n{wanted:?}");
        println!("from beat {from}: {} notes as in the file, to the sample", wanted.len());
    }
}
