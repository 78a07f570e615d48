//! The window as the host holds it: when the host has let go of it, nothing runs for it any more.
//!
//! On Linux a window draws on a thread of its own. baseview 0.4.2 asks that thread to end, but waits for it only if it still answers
//! (`WindowThreadHandle::run_until_closed`), and nice-plug-egui 0.6.0 never tells the page that its window has closed. A thread that ends
//! after the host has unloaded the plugin, or another window OpenGL, finds its last destructors gone and takes the host with it.

use super::Page;
use nice_plug::{
    context::gui::GuiContext,
    editor::{Editor, EditorHandle, HostMethods, Modifiers, ParentWindowHandle, SpawnedEditor, VirtualKeyCode, dpi::NativeSize},
    prelude::{ResizeHint, TrackInfo},
};
use nice_plug_egui::{
    EguiEditor, EguiEditorHandle, Frame, NiceEguiApp, RepaintNotifier,
    baseview::{HandlerError, WindowSize},
};
use parking_lot::Mutex;
use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

/// Longest wait for a window's thread. OpenGL's drivers have been seen to hang.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks for it.
const POLL: Duration = Duration::from_millis(1);

/// A page, and the thread of the window that shows it.
pub(super) struct Shown {
    page: Arc<Mutex<Page>>,
    repaint: RepaintNotifier,
    thread: Arc<Mutex<Option<PathBuf>>>,
}

impl NiceEguiApp for Shown {
    fn build(&mut self, egui: egui::Context, gui: GuiContext, frame: &mut Frame) -> Result<(), HandlerError> {
        // Elsewhere than on Linux there is no such file, and the window is on the host's own thread.
        *self.thread.lock() = fs::canonicalize("/proc/thread-self").ok();
        self.page.lock().opened(&egui, gui, frame, self.repaint.clone());
        Ok(())
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut Frame) {
        self.page.lock().frame(ui, frame);
    }

    fn resized(&mut self, size: WindowSize) {
        self.page.lock().resized(size);
    }
}

/// Opens windows on a page.
pub struct PageEditor {
    inner: EguiEditor<Shown>,
    page: Arc<Mutex<Page>>,
    thread: Arc<Mutex<Option<PathBuf>>>,
}

impl PageEditor {
    /// `open` makes the framework's editor of what is shown.
    pub(super) fn new(
        page: Page,
        repaint: RepaintNotifier,
        open: impl FnOnce(Shown) -> Option<EguiEditor<Shown>>,
    ) -> Option<Self> {
        let (page, thread) = (Arc::new(Mutex::new(page)), Arc::default());
        let inner = open(Shown { page: Arc::clone(&page), repaint, thread: Arc::clone(&thread) })?;
        Some(Self { inner, page, thread })
    }
}

impl Editor for PageEditor {
    type Handle = PageHandle;

    fn spawn(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        gui_context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<Self::Handle>, Box<dyn Error>> {
        let closing = Closing { page: Arc::clone(&self.page), thread: Arc::clone(&self.thread) };
        let SpawnedEditor { handle, window } =
            self.inner.spawn(parent, wait_for_parent, fallback_scale_factor, gui_context, host)?;
        Ok(SpawnedEditor { handle: PageHandle(handle), window: PageWindow { inner: window, closing } })
    }

    fn size(&self) -> NativeSize<u32> {
        self.inner.size()
    }

    fn resize_hint(&self) -> ResizeHint {
        self.inner.resize_hint()
    }

    fn track_info_updated(&self, info: TrackInfo) {
        self.inner.track_info_updated(info);
    }
}

/// A window on a page. Its fields are dropped in their order.
pub struct PageWindow {
    inner: <EguiEditorHandle as EditorHandle>::Window,
    closing: Closing,
}

/// Waits until what ran for a window has ended.
struct Closing {
    page: Arc<Mutex<Page>>,
    thread: Arc<Mutex<Option<PathBuf>>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.lock().take() {
            let until = Instant::now() + PATIENCE;
            while thread.exists() && Instant::now() < until {
                sleep(POLL);
            }
        }
        // A thread that hangs may hold it.
        if let Some(mut page) = self.page.try_lock_for(PATIENCE) {
            page.closed();
        }
    }
}

/// The framework's handle, for the framework's window inside.
pub struct PageHandle(EguiEditorHandle);

impl EditorHandle for PageHandle {
    type Window = PageWindow;
    type Error = <EguiEditorHandle as EditorHandle>::Error;

    fn run_until_closed(window: PageWindow) -> Result<(), Self::Error> {
        let PageWindow { inner, closing: _closing } = window;
        EguiEditorHandle::run_until_closed(inner)
    }

    fn set_parent(&self, parent: ParentWindowHandle, window: &PageWindow) -> Result<(), Self::Error> {
        self.0.set_parent(parent, &window.inner)
    }

    fn show(&self, window: &PageWindow) -> Result<(), Self::Error> {
        self.0.show(&window.inner)
    }

    fn hide(&self, window: &PageWindow) -> Result<(), Self::Error> {
        self.0.hide(&window.inner)
    }

    fn set_size(&self, size: NativeSize<u32>, window: &PageWindow) -> Result<(), Self::Error> {
        self.0.set_size(size, &window.inner)
    }

    fn host_main_thread_callback(&self, window: &PageWindow) {
        self.0.host_main_thread_callback(&window.inner);
    }

    fn adjust_size(&self, size: NativeSize<u32>, window: &PageWindow) -> Option<NativeSize<u32>> {
        self.0.adjust_size(size, &window.inner)
    }

    fn set_fallback_scale_factor(&self, scale_factor: f64, window: &PageWindow) -> Result<(), Self::Error> {
        self.0.set_fallback_scale_factor(scale_factor, &window.inner)
    }

    fn on_virtual_key_from_host(&self, key_code: VirtualKeyCode, is_down: bool, modifiers: Modifiers) -> bool {
        self.0.on_virtual_key_from_host(key_code, is_down, modifiers)
    }

    fn state_changed(&self) {
        self.0.state_changed();
    }

    fn param_value_changed(&self, id: &str, normalized_value: f32) {
        self.0.param_value_changed(id, normalized_value);
    }

    fn param_modulation_changed(&self, id: &str, modulation_offset: f32) {
        self.0.param_modulation_changed(id, modulation_offset);
    }
}
