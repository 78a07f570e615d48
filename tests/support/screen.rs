//! A screen of a test's own, and windows on it into which plugins open theirs. Linux with Xvfb.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use x11rb::{
    COPY_DEPTH_FROM_PARENT, COPY_FROM_PARENT,
    connection::Connection as _,
    protocol::{
        Event,
        damage::{ConnectionExt as _, ReportLevel},
        xproto::{ConnectionExt as _, CreateWindowAux, ImageFormat, WindowClass},
    },
    rust_connection::RustConnection,
};

/// An X server that ends with it.
pub struct Screen {
    server: Child,
    /// What `DISPLAY` must be.
    pub display: String,
}

impl Screen {
    /// Starts a server; `None`, and says why, where Xvfb is not installed.
    ///
    /// # Panics
    /// It starts, and does not say its number.
    pub fn start() -> Option<Self> {
        let mut command = Command::new("Xvfb");
        // Without a reset the server does not begin anew whenever its last window goes.
        command.args(["-displayfd", "1", "-screen", "0", "1920x1200x24", "-nolisten", "tcp", "-noreset"]);
        let Ok(mut server) = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            println!("SKIPPED what needs a screen: Xvfb is not there (on Debian: apt-get install xvfb)");
            return None;
        };
        let mut number = String::new();
        BufReader::new(server.stdout.take().expect("its output")).read_line(&mut number).expect("its number");
        assert!(!number.trim().is_empty(), "Xvfb does not start");
        Some(Self { server, display: format!(":{}", number.trim()) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A host's window.
pub struct Window {
    connection: RustConnection,
    id: u32,
    size: (u16, u16),
}

impl Window {
    /// A window on the screen that `DISPLAY` names.
    ///
    /// # Panics
    /// There is none.
    pub fn new(width: u16, height: u16) -> Self {
        let (connection, screen) = x11rb::connect(None).expect("an X server");
        let root = connection.setup().roots[screen].root;
        let id = connection.generate_id().expect("an id");
        let (class, visual) = (WindowClass::INPUT_OUTPUT, COPY_FROM_PARENT);
        let aux = CreateWindowAux::default();
        let made = connection.create_window(COPY_DEPTH_FROM_PARENT, id, root, 0, 0, width, height, 0, class, visual, &aux);
        made.expect("a window").check().expect("a window");
        connection.map_window(id).expect("the window is shown").check().expect("the window is shown");
        Self { connection, id, size: (width, height) }
    }

    /// The number by which a plugin finds it.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// How many colours are in its picture.
    ///
    /// # Panics
    /// It has none.
    pub fn n_colours(&self) -> usize {
        let (width, height) = self.size;
        let image = self.connection.get_image(ImageFormat::Z_PIXMAP, self.id, 0, 0, width, height, u32::MAX);
        let image = image.expect("a picture").reply().expect("a picture");
        let mut colours: Vec<&[u8]> = image.data.chunks_exact(4).collect();
        colours.sort_unstable();
        colours.dedup();
        colours.len()
    }

    /// Waits until a plugin has drawn into it, as much as is more than an empty page.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_for_picture(&self) {
        let start = Instant::now();
        while self.n_colours() < 20 {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing is drawn");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Begins to report what is drawn into it and into its child windows.
    ///
    /// # Panics
    /// The server does not report.
    pub fn watch(&self) {
        self.connection.damage_query_version(1, 1).expect("the server's version").reply().expect("the server's version");
        let id = self.connection.generate_id().expect("an id");
        let created = self.connection.damage_create(id, self.id, ReportLevel::RAW_RECTANGLES);
        created.expect("a report").check().expect("a report");
    }

    /// How often all of it was drawn anew since the last call, by the area drawn.
    ///
    /// # Panics
    /// The server is gone.
    pub fn n_frames(&self) -> f64 {
        let mut area = 0.0;
        while let Some(event) = self.connection.poll_for_event().expect("the server") {
            if let Event::DamageNotify(damage) = event {
                area += f64::from(damage.area.width) * f64::from(damage.area.height);
            }
        }
        area / (f64::from(self.size.0) * f64::from(self.size.1))
    }
}
