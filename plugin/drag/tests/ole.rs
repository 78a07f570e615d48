//! Files dragged from one window of this program to another, by a mouse that the system moves. Needs Windows, or Wine and a screen.
#![cfg(windows)]
#![expect(unsafe_code, reason = "windows, messages and the mouse")]

use barline_drag::{Catcher, Drag, Ending, Progress, Window, drag_out};
use raw_window_handle::{HandleError, HasWindowHandle, RawWindowHandle, Win32WindowHandle, WindowHandle};
use std::{
    env, fs,
    num::NonZeroIsize,
    path::PathBuf,
    process,
    thread::{scope, sleep},
    time::{Duration, Instant},
};
use windows::{
    Win32::{
        Foundation::{HWND, LPARAM, LRESULT, WPARAM},
        System::Ole::{OleInitialize, OleUninitialize},
        UI::{
            Input::KeyboardAndMouse::{
                INPUT, INPUT_0, INPUT_KEYBOARD, INPUT_MOUSE, KEYBD_EVENT_FLAGS, KEYBDINPUT, KEYEVENTF_KEYUP, MOUSE_EVENT_FLAGS,
                MOUSEEVENTF_LEFTDOWN, MOUSEEVENTF_LEFTUP, MOUSEEVENTF_MOVE, MOUSEINPUT, SendInput, VK_ESCAPE,
            },
            WindowsAndMessaging::{
                CreateWindowExW, DefWindowProcW, DestroyWindow, DispatchMessageW, MSG, PM_REMOVE, PeekMessageW, RegisterClassW,
                SetCursorPos, SetForegroundWindow, WNDCLASSW, WS_EX_TOPMOST, WS_POPUP, WS_VISIBLE,
            },
        },
    },
    core::w,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// A few messages.
const PAUSE: Duration = Duration::from_millis(150);
/// Middles of the two windows.
const SOURCE: (i32, i32) = (100, 100);
const TARGET: (i32, i32) = (500, 100);
/// A place beside them.
const BESIDE: (i32, i32) = (700, 500);

unsafe extern "system" fn procedure(window: HWND, message: u32, w: WPARAM, l: LPARAM) -> LRESULT {
    // SAFETY: passed on as it came.
    unsafe { DefWindowProcW(window, message, w, l) }
}

/// A window of 200 by 200.
struct Pane(HWND);

impl Pane {
    fn around((x, y): (i32, i32)) -> Self {
        let (style, name) = (WS_POPUP | WS_VISIBLE, w!("barline-pane"));
        let class = WNDCLASSW { lpfnWndProc: Some(procedure), lpszClassName: name, ..WNDCLASSW::default() };
        // SAFETY: a class of this program's own, whose procedure is the system's. The second time it is there already.
        let window = unsafe {
            RegisterClassW(&raw const class);
            CreateWindowExW(WS_EX_TOPMOST, name, name, style, x - 100, y - 100, 200, 200, None, None, None, None)
        };
        Self(window.unwrap())
    }

    fn window(&self) -> Window {
        Window::of(self).unwrap()
    }
}

impl HasWindowHandle for Pane {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        let handle = Win32WindowHandle::new(NonZeroIsize::new(self.0.0.addr().cast_signed()).unwrap());
        // SAFETY: the window lives as long as this.
        Ok(unsafe { WindowHandle::borrow_raw(RawWindowHandle::Win32(handle)) })
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        // SAFETY: a window of this thread.
        unsafe { DestroyWindow(self.0) }.unwrap();
    }
}

fn send(input: INPUT) {
    // SAFETY: one input of its own size.
    assert_eq!(unsafe { SendInput(&[input], size_of::<INPUT>() as i32) }, 1);
}

fn mouse(flags: MOUSE_EVENT_FLAGS) {
    let mi = MOUSEINPUT { dx: 0, dy: 0, mouseData: 0, dwFlags: flags, time: 0, dwExtraInfo: 0 };
    send(INPUT { r#type: INPUT_MOUSE, Anonymous: INPUT_0 { mi } });
}

fn escape(flags: KEYBD_EVENT_FLAGS) {
    let ki = KEYBDINPUT { wVk: VK_ESCAPE, dwFlags: flags, ..KEYBDINPUT::default() };
    send(INPUT { r#type: INPUT_KEYBOARD, Anonymous: INPUT_0 { ki } });
}

fn point_at((x, y): (i32, i32)) {
    // SAFETY: two numbers.
    unsafe { SetCursorPos(x, y) }.unwrap();
    mouse(MOUSEEVENTF_MOVE);
    sleep(PAUSE);
}

/// Lets the thread's messages through until it is so.
fn pump(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "nothing happened");
        let mut message = MSG::default();
        // SAFETY: a message of this thread's.
        while unsafe { PeekMessageW(&raw mut message, None, 0, 0, PM_REMOVE) }.as_bool() {
            unsafe { DispatchMessageW(&raw const message) };
        }
        sleep(Duration::from_millis(2));
    }
}

fn pause() {
    let until = Instant::now() + PAUSE;
    pump(|| Instant::now() > until);
}

/// Lets the button go, also where an expectation fails: the drag would wait for it, and the test with it.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        mouse(MOUSEEVENTF_LEFTUP);
    }
}

/// Presses the button over the source and drags the file as the script says, at whose end it is let go; how it ended.
fn drags(source: &Pane, path: &PathBuf, script: impl FnOnce(&Drag) + Send) -> Ending {
    point_at(SOURCE);
    mouse(MOUSEEVENTF_LEFTDOWN);
    pause();
    let drag = drag_out(Some(source.window()), std::slice::from_ref(path)).unwrap();
    assert_eq!(drag.progress(), Progress::Held { welcome: false });
    let mut ending = None;
    scope(|threads| {
        threads.spawn(|| {
            let _held = Held;
            script(&drag);
        });
        pump(|| match drag.progress() {
            Progress::Ended(as_it_did) => ending.replace(as_it_did).is_none(),
            _ => false,
        });
    });
    pause();
    ending.unwrap()
}

fn is_welcome(drag: &Drag) -> bool {
    drag.progress() == Progress::Held { welcome: true }
}

fn wait_for(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it did not happen");
        sleep(Duration::from_millis(5));
    }
}

/// One test: there is one mouse.
#[test]
fn a_file_is_dragged_to_where_it_is_taken_and_nowhere_else() {
    // SAFETY: ended below.
    unsafe { OleInitialize(None) }.unwrap();
    let path = env::temp_dir().join(format!("ü 50% ({}).mid", process::id()));
    fs::write(&path, b"MThd").unwrap();
    let (source, target) = (Pane::around(SOURCE), Pane::around(TARGET));
    // SAFETY: a window of this thread.
    let _ = unsafe { SetForegroundWindow(source.0) };
    let catchers = [&source, &target].map(|pane| Catcher::new(pane.window(), || ()));
    assert_eq!(catchers.each_ref().map(Catcher::failure), [None, None]);
    let taken = || catchers.each_ref().map(Catcher::take);
    let nothing = || [Vec::new(), Vec::new()];
    pause();

    let ending = drags(&source, &path, |drag| {
        sleep(PAUSE);
        point_at(TARGET);
        wait_for(|| is_welcome(drag) && catchers[1].is_hovered());
    });
    assert_eq!((ending, taken()), (Ending::Taken, [Vec::new(), vec![path.clone()]]));
    assert!(!catchers[1].is_hovered());

    let ending = drags(&source, &path, |drag| {
        sleep(PAUSE);
        point_at(TARGET);
        wait_for(|| is_welcome(drag));
        point_at(BESIDE);
        wait_for(|| !is_welcome(drag));
    });
    assert_eq!((ending, taken()), (Ending::Nowhere, nothing()), "beside");

    let ending = drags(&source, &path, |drag| {
        sleep(PAUSE);
        point_at((SOURCE.0 + 20, SOURCE.1));
        assert!(!is_welcome(drag), "its own window takes it");
    });
    assert_eq!((ending, taken()), (Ending::Nowhere, nothing()), "over the window that it comes from");

    let ending = drags(&source, &path, |drag| {
        sleep(PAUSE);
        point_at(TARGET);
        wait_for(|| is_welcome(drag));
        escape(KEYBD_EVENT_FLAGS(0));
        sleep(PAUSE);
        escape(KEYEVENTF_KEYUP);
    });
    assert_eq!((ending, taken()), (Ending::Nowhere, nothing()), "given up");

    // Let go of before it has begun: the mouse is nobody's.
    point_at(SOURCE);
    mouse(MOUSEEVENTF_LEFTDOWN);
    drop(drag_out(Some(source.window()), std::slice::from_ref(&path)).unwrap());
    pause();
    point_at(TARGET);
    pause();
    mouse(MOUSEEVENTF_LEFTUP);
    pause();
    assert_eq!(taken(), nothing(), "abandoned");

    // What is not there cannot be dragged.
    let ending = drags(&source, &path.with_file_name("no such file.mid"), |_| sleep(PAUSE));
    assert!(matches!(ending, Ending::Failed(_)), "{ending:?}");

    drop((catchers, source, target));
    fs::remove_file(&path).unwrap();
    // SAFETY: begun above.
    unsafe { OleUninitialize() };
}
