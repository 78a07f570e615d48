//! Windows: OLE, on the window's thread.
//!
//! `DoDragDrop` returns when the drag is over and lets the thread's messages through meanwhile, the window's among them. So it may not be
//! called within a frame, which the window would begin a second time: a timer calls it, from the host's own message loop.
#![expect(unsafe_code, reason = "calls of the system, each with its reason")]

use super::{Ending, Inbox, Progress, Shared, Window};
use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    os::windows::ffi::{OsStrExt, OsStringExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    ptr,
    sync::{Arc, atomic::Ordering},
};
use windows::{
    Win32::{
        Foundation::{DRAGDROP_S_CANCEL, DRAGDROP_S_DROP, DRAGDROP_S_USEDEFAULTCURSORS, E_POINTER, HMODULE, HWND, POINTL, S_OK},
        System::{
            Com::{DVASPECT_CONTENT, FORMATETC, IDataObject, STGMEDIUM, TYMED_HGLOBAL},
            LibraryLoader::{GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW},
            Ole::{
                CF_HDROP, DROPEFFECT, DROPEFFECT_COPY, DROPEFFECT_NONE, DoDragDrop, IDropSource, IDropSource_Impl, IDropTarget,
                IDropTarget_Impl, OleInitialize, OleUninitialize, RegisterDragDrop, ReleaseStgMedium, RevokeDragDrop,
            },
            SystemServices::{MK_LBUTTON, MODIFIERKEYS_FLAGS},
        },
        UI::{
            Shell::{
                Common::ITEMIDLIST, DragQueryFileW, HDROP, ILCreateFromPathW, ILFindLastID, ILFree, IShellFolder, SHBindToParent,
            },
            WindowsAndMessaging::{KillTimer, SetTimer, USER_TIMER_MINIMUM},
        },
    },
    core::{BOOL, Error, HRESULT, PCWSTR, Ref, implement},
};

/// Most files that are taken at once.
const MAX_FILES: u32 = 1024;

/// Why a drag does not begin.
pub type Refused = Error;

thread_local! {
    /// The drag that the timer is to begin.
    static NEXT: RefCell<Option<Job>> = const { RefCell::new(None) };
    /// The window that is dragged out of, which takes nothing of its own.
    static SOURCE: Cell<Option<Window>> = const { Cell::new(None) };
}

struct Job {
    window: Window,
    paths: Vec<PathBuf>,
    shared: Arc<Shared>,
}

/// Nothing has to be held: a timer begins the drag, unless it was let go of before that.
pub type Held = ();

/// Has a timer begin the drag.
pub fn begin(window: Window, paths: &[PathBuf], shared: Arc<Shared>) -> Result<Held, Refused> {
    stay_loaded()?;
    // SAFETY: `due` stays where it is, see above.
    let timer = unsafe { SetTimer(None, 0, USER_TIMER_MINIMUM, Some(due)) };
    if timer == 0 {
        return Err(Error::from_thread());
    }
    NEXT.set(Some(Job { window, paths: paths.to_vec(), shared }));
    Ok(())
}

/// Keeps this library in memory: a host that unloads it in the middle of a drag would be returned to by nobody.
fn stay_loaded() -> Result<(), Refused> {
    let (flags, mut module) = (GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, HMODULE::default());
    let here = PCWSTR(due as *const u16);
    // SAFETY: with this flag the name is an address within the library.
    unsafe { GetModuleHandleExW(flags, here, &raw mut module) }
}

/// Called by the message loop.
unsafe extern "system" fn due(_: HWND, _: u32, timer: usize, _: u32) {
    // SAFETY: the timer that has called.
    let _ = unsafe { KillTimer(None, timer) };
    let Some(Job { window, paths, shared }) = NEXT.take().filter(|job| !job.shared.is_abandoned()) else { return };
    SOURCE.set(Some(window));
    // A panic must not reach the system.
    let result = catch_unwind(AssertUnwindSafe(|| drag(&paths, &shared)));
    SOURCE.set(None);
    let ending = match result {
        Ok(Ok(ending)) => ending,
        Ok(Err(error)) => Ending::Failed(error.message()),
        Err(_) => Ending::Failed("it panicked".into()),
    };
    shared.set(Progress::Ended(ending));
}

/// Drags until the button is let go.
fn drag(paths: &[PathBuf], shared: &Arc<Shared>) -> Result<Ending, Error> {
    // SAFETY: matched below; where the thread uses OLE already, it counts.
    unsafe { OleInitialize(None) }?;
    let result = files(paths).map(|files| {
        let source: IDropSource = Source(Arc::clone(shared)).into();
        let mut effect = DROPEFFECT_NONE;
        // SAFETY: both objects and the effect outlive the call.
        let result = unsafe { DoDragDrop(&files, &source, DROPEFFECT_COPY, &raw mut effect) };
        match result {
            DRAGDROP_S_DROP if effect != DROPEFFECT_NONE => Ending::Taken,
            DRAGDROP_S_DROP | DRAGDROP_S_CANCEL => Ending::Nowhere,
            failed => Ending::Failed(failed.message()),
        }
    });
    // SAFETY: as above; nothing of OLE's is left.
    unsafe { OleUninitialize() };
    result
}

/// Files of one folder, as the shell itself hands them out.
fn files(paths: &[PathBuf]) -> Result<IDataObject, Error> {
    let items = paths.iter().map(|path| Item::of(path)).collect::<Result<Vec<_>, _>>()?;
    let first = items.first().ok_or_else(|| Error::from(E_POINTER))?;
    // SAFETY: the lists are the shell's own and live as long as `items`.
    unsafe {
        let folder: IShellFolder = SHBindToParent(first.0, None)?;
        let names: Vec<_> = items.iter().map(|item| ILFindLastID(item.0).cast_const()).collect();
        folder.GetUIObjectOf(HWND::default(), &names, None)
    }
}

/// A file, as the shell knows it.
struct Item(*mut ITEMIDLIST);

impl Item {
    fn of(path: &Path) -> Result<Self, Error> {
        let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        // SAFETY: a text that ends with 0.
        let list = unsafe { ILCreateFromPathW(PCWSTR(name.as_ptr())) };
        if list.is_null() { Err(Error::from_thread()) } else { Ok(Self(list)) }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        // SAFETY: the shell's own list, freed once.
        unsafe { ILFree(Some(self.0)) };
    }
}

/// Says when the drag is over.
#[implement(IDropSource)]
struct Source(Arc<Shared>);

impl IDropSource_Impl for Source_Impl {
    fn QueryContinueDrag(&self, is_escape_down: BOOL, keys: MODIFIERKEYS_FLAGS) -> HRESULT {
        if is_escape_down.as_bool() || self.0.is_abandoned() {
            DRAGDROP_S_CANCEL
        } else if keys & MK_LBUTTON == MODIFIERKEYS_FLAGS(0) {
            DRAGDROP_S_DROP
        } else {
            S_OK
        }
    }

    fn GiveFeedback(&self, effect: DROPEFFECT) -> HRESULT {
        self.0.set(Progress::Held { welcome: effect != DROPEFFECT_NONE });
        DRAGDROP_S_USEDEFAULTCURSORS
    }
}

/// A window that files are dropped into, until it is let go of.
pub struct Caught(Option<Window>);

impl Drop for Caught {
    fn drop(&mut self) {
        if let Some(window) = self.0 {
            // SAFETY: takes any number for a window. One that has gone was revoked by its own library.
            let _ = unsafe { RevokeDragDrop(handle(window)) };
        }
    }
}

/// Takes drops in place of the windowing library, which takes them for itself and loses them.
pub fn catch(window: Window, inbox: &Arc<Inbox>) -> Caught {
    let target: IDropTarget = Target { window, inbox: Arc::clone(inbox), has_files: Cell::new(false) }.into();
    // SAFETY: the window is this thread's, on which its library has begun OLE; OLE keeps the target.
    let result = unsafe {
        let _ = RevokeDragDrop(handle(window));
        RegisterDragDrop(handle(window), &target)
    };
    Caught(result.inspect_err(|error| inbox.fail(error)).ok().map(|()| window))
}

fn handle(window: Window) -> HWND {
    HWND(ptr::without_provenance_mut(window.0.cast_unsigned()))
}

/// How files come.
const FILES: FORMATETC = FORMATETC {
    cfFormat: CF_HDROP.0,
    ptd: ptr::null_mut(),
    dwAspect: DVASPECT_CONTENT.0,
    lindex: -1,
    tymed: TYMED_HGLOBAL.0.cast_unsigned(),
};

#[implement(IDropTarget)]
struct Target {
    window: Window,
    inbox: Arc<Inbox>,
    has_files: Cell<bool>,
}

impl Target {
    /// Answers what would become of what is over the window.
    ///
    /// # Safety
    /// `effect` is a number of the caller's, who allows what it says.
    unsafe fn answer(&self, effect: *mut DROPEFFECT) -> bool {
        let Some(effect) = (unsafe { effect.as_mut() }) else { return false };
        let is_open = !self.inbox.closed.load(Ordering::Relaxed) && SOURCE.get() != Some(self.window);
        let takes = is_open && self.has_files.get() && effect.contains(DROPEFFECT_COPY);
        *effect = if takes { DROPEFFECT_COPY } else { DROPEFFECT_NONE };
        takes
    }
}

impl IDropTarget_Impl for Target_Impl {
    fn DragEnter(
        &self,
        data: Ref<'_, IDataObject>,
        _: MODIFIERKEYS_FLAGS,
        _: &POINTL,
        effect: *mut DROPEFFECT,
    ) -> windows::core::Result<()> {
        // SAFETY: a question about a format that lives as long as the program.
        self.has_files.set(data.as_ref().is_some_and(|data| unsafe { data.QueryGetData(&FILES) } == S_OK));
        // SAFETY: OLE's number.
        self.inbox.hover(unsafe { self.answer(effect) });
        Ok(())
    }

    fn DragOver(&self, _: MODIFIERKEYS_FLAGS, _: &POINTL, effect: *mut DROPEFFECT) -> windows::core::Result<()> {
        // SAFETY: OLE's number.
        self.inbox.hover(unsafe { self.answer(effect) });
        Ok(())
    }

    fn DragLeave(&self) -> windows::core::Result<()> {
        self.inbox.hover(false);
        Ok(())
    }

    fn Drop(
        &self,
        data: Ref<'_, IDataObject>,
        _: MODIFIERKEYS_FLAGS,
        _: &POINTL,
        effect: *mut DROPEFFECT,
    ) -> windows::core::Result<()> {
        self.inbox.hover(false);
        // SAFETY: OLE's number.
        if unsafe { self.answer(effect) }
            && let Some(data) = data.as_ref()
        {
            self.inbox.put(dropped(data)?);
        }
        Ok(())
    }
}

/// The files of what was dropped.
fn dropped(data: &IDataObject) -> Result<Vec<PathBuf>, Error> {
    // SAFETY: the data is given away by whom it is asked of, and released once; texts are as long as they say.
    unsafe {
        let mut medium: STGMEDIUM = data.GetData(&FILES)?;
        let list = HDROP(medium.u.hGlobal.0);
        let paths = (0..DragQueryFileW(list, u32::MAX, None).min(MAX_FILES)).map(|file| {
            let mut name = vec![0; DragQueryFileW(list, file, None) as usize + 1];
            let length = DragQueryFileW(list, file, Some(&mut name)) as usize;
            PathBuf::from(OsString::from_wide(name.get(..length).unwrap_or_default()))
        });
        let paths = paths.collect();
        ReleaseStgMedium(&raw mut medium);
        Ok(paths)
    }
}
