//! macOS: a dragging session of AppKit's, which runs in the window's own event loop. Checked by the compiler only: nobody of us has a Mac.
//!
//! Nothing is dropped in: the windowing library's view takes drops for itself, and a view over it would take its mouse.
#![expect(unsafe_code, reason = "AppKit's calls, each with its reason")]

use super::{Ending, Inbox, Progress, Shared, Window};
use objc2::{
    AnyThread, ClassType, MainThreadMarker, msg_send,
    rc::Retained,
    runtime::{AnyClass, AnyObject, AnyProtocol, ClassBuilder, NSObject, ProtocolObject, Sel},
    sel,
};
use objc2_app_kit::{
    NSDragOperation, NSDraggingItem, NSDraggingSession, NSEvent, NSEventModifierFlags, NSEventType, NSView, NSWorkspace,
};
use objc2_foundation::{NSArray, NSInteger, NSPoint, NSRect, NSString, NSURL};
use std::{
    ffi::{CStr, CString, c_void},
    path::PathBuf,
    ptr,
    sync::{Arc, OnceLock},
};

/// Why a drag does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the window has gone")]
    Gone,
    #[error("it was not begun on the main thread")]
    Thread,
    #[error("macOS has no class or event for it")]
    Cocoa,
}

/// Nothing has to be held: AppKit holds the session.
pub type Held = ();
/// Nothing is caught.
pub type Caught = ();

/// Begins a session, and goes on at once.
pub fn begin(window: Window, paths: &[PathBuf], shared: Arc<Shared>) -> Result<Held, Refused> {
    MainThreadMarker::new().ok_or(Refused::Thread)?;
    let view = ptr::with_exposed_provenance::<NSView>(window.0.cast_unsigned());
    // SAFETY: the page, which calls this within a frame, lives in this view.
    let view = unsafe { view.as_ref() }.ok_or(Refused::Gone)?;
    let window = view.window().ok_or(Refused::Gone)?;
    let class = source().ok_or(Refused::Cocoa)?;

    let place = window.mouseLocationOutsideOfEventStream();
    // The view is not asked from within a mouse event, so it makes the one that a session wants to begin by.
    let event = NSEvent::mouseEventWithType_location_modifierFlags_timestamp_windowNumber_context_eventNumber_clickCount_pressure(
        NSEventType::LeftMouseDragged,
        place,
        NSEventModifierFlags::empty(),
        0.0,
        window.windowNumber(),
        None,
        0,
        1,
        1.0,
    );
    let event = event.ok_or(Refused::Cocoa)?;
    let at = view.convertPoint_fromView(place, None);
    let items: Vec<_> = paths.iter().map(|path| item(path, at)).collect();
    let items = NSArray::from_retained_slice(&items);
    // SAFETY: the class has the ivar, which is read and freed when the session ends, and answers the protocol's questions; AppKit keeps the
    // source for as long as the session lasts.
    unsafe {
        let source: Retained<AnyObject> = msg_send![class, new];
        let ivar = class.instance_variable(SHARED).ok_or(Refused::Cocoa)?;
        ivar.load_ptr::<*mut c_void>(&source).write(Arc::into_raw(shared).cast_mut().cast());
        let _: *mut NSDraggingSession = msg_send![view, beginDraggingSessionWithItems: &*items, event: &*event, source: &*source];
    }
    Ok(())
}

/// A file under the mouse, seen by its own icon.
fn item(path: &std::path::Path, at: NSPoint) -> Retained<NSDraggingItem> {
    let path = NSString::from_str(&path.display().to_string());
    let icon = NSWorkspace::sharedWorkspace().iconForFile(&path);
    let url = NSURL::fileURLWithPath_isDirectory(&path, false);
    let item = NSDraggingItem::initWithPasteboardWriter(NSDraggingItem::alloc(), &ProtocolObject::from_retained(url));
    let size = icon.size();
    let corner = NSPoint::new(at.x - size.width / 2.0, at.y - size.height / 2.0);
    // SAFETY: an image is what may be seen under the mouse.
    unsafe { item.setDraggingFrame_contents(NSRect::new(corner, size), Some(&icon)) };
    item
}

/// Where a source keeps what it shares with the page.
const SHARED: &CStr = c"shared";

/// The class of sources. Both formats may be loaded in one host, each with a class of its own: the name says where it lies.
fn source() -> Option<&'static AnyClass> {
    static CLASS: OnceLock<Option<&'static AnyClass>> = OnceLock::new();
    *CLASS.get_or_init(|| {
        let name = CString::new(format!("BarlineDragSource{:x}", ptr::from_ref(&CLASS).addr())).ok()?;
        let mut class = ClassBuilder::new(&name, NSObject::class())?;
        class.add_ivar::<*mut c_void>(SHARED);
        class.add_protocol(AnyProtocol::get(c"NSDraggingSource")?);
        // SAFETY: the types are those that the protocol's methods have.
        unsafe {
            class.add_method(
                sel!(draggingSession:sourceOperationMaskForDraggingContext:),
                allowed as extern "C-unwind" fn(_, _, _, _) -> _,
            );
            class.add_method(sel!(draggingSession:endedAtPoint:operation:), ended as extern "C-unwind" fn(_, _, _, _, _));
        }
        Some(class.register())
    })
}

/// Files are copied, in this program and in others.
extern "C-unwind" fn allowed(_: &AnyObject, _: Sel, _: *mut NSDraggingSession, _context: NSInteger) -> NSDragOperation {
    NSDragOperation::Copy
}

/// Let go of: over what takes files, or elsewhere.
extern "C-unwind" fn ended(source: &AnyObject, _: Sel, _: *mut NSDraggingSession, _: NSPoint, operation: NSDragOperation) {
    let Some(ivar) = source.class().instance_variable(SHARED) else { return };
    // SAFETY: `begin` has put it there, and it is taken once.
    let shared = unsafe {
        let kept = ivar.load_ptr::<*mut c_void>(source).replace(ptr::null_mut());
        if kept.is_null() {
            return;
        }
        Arc::from_raw(kept.cast::<Shared>())
    };
    shared.set(Progress::Ended(if operation == NSDragOperation::None { Ending::Nowhere } else { Ending::Taken }));
}

/// Takes nothing.
pub fn catch(_window: Window, _inbox: &Arc<Inbox>) -> Caught {}
