//! The signal handler that turns a stopped access by compiled code into a fault of the guest's.
//!
//! It is installed when the first code is made that relies on it. Signals that are none of its business go to whoever had them before.
//! It runs inside a signal: it takes no locks, allocates nothing, and reads atomics only.

use super::host;
use super::state::JitState;
use crate::process::State;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// How far outside of the cage an instruction's displacement can lead, in bytes.
const GUARD_LEN: usize = 1 << 20;
const CAGE_LEN: usize = 1 << 32;

/// A range of code, known to the handler as long as this lives.
pub(super) struct Range(&'static Slot);

/// A place for a range. Slots are never given back, but used again.
struct Slot {
    /// 0 if nobody has the slot.
    start: AtomicUsize,
    end: AtomicUsize,
    faulted: AtomicUsize,
    next: *const Slot,
}

// SAFETY: `next` is set before a slot is seen by others and does not change, and slots live forever.
unsafe impl Sync for Slot {}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// While a slot's fields are being set, and taken.
const CLAIMED: usize = usize::MAX;

impl Range {
    /// Adds a range, in which a stopped access leads to the address `faulted`.
    pub(super) fn add(start: usize, end: usize, faulted: usize) -> Result<Range, String> {
        install()?;
        let slot = slots().find(|slot| {
            slot.start.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        });
        let slot = slot.unwrap_or_else(new_slot);
        slot.end.store(end, Ordering::Relaxed);
        slot.faulted.store(faulted, Ordering::Relaxed);
        slot.start.store(start, Ordering::Release);
        Ok(Range(slot))
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: slots live forever.
    let first = unsafe { SLOTS.load(Ordering::Acquire).as_ref() };
    // SAFETY: as above.
    core::iter::successors(first, |slot| unsafe { slot.next.as_ref() })
}

fn new_slot() -> &'static Slot {
    let mut first = SLOTS.load(Ordering::Acquire);
    let slot = Box::leak(Box::new(Slot {
        start: AtomicUsize::new(CLAIMED),
        end: AtomicUsize::new(0),
        faulted: AtomicUsize::new(0),
        next: first,
    }));
    let new = ptr::from_mut(slot);
    loop {
        // SAFETY: nobody else has seen the slot yet.
        unsafe { (*new).next = first };
        match SLOTS.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it was leaked, and from now on only its atomics change.
            Ok(_) => return unsafe { &*new },
            Err(now) => first = now,
        }
    }
}

/// What was to be done about SIGSEGV and SIGBUS before.
struct Before([libc::sigaction; 2]);

// SAFETY: the kernel's description of a handler; plain data.
unsafe impl Send for Before {}
// SAFETY: as above.
unsafe impl Sync for Before {}

static BEFORE: OnceLock<Result<Before, String>> = OnceLock::new();
/// The same, for the handler: it must not wait for anybody.
static BEFORE_PTR: AtomicPtr<Before> = AtomicPtr::new(ptr::null_mut());

const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

fn install() -> Result<(), String> {
    let installed = BEFORE.get_or_init(|| {
        let before = SIGNALS.map(|signal| {
            // SAFETY: sigaction only writes to `before`, which is made of numbers and pointers.
            unsafe {
                let mut before = MaybeUninit::<libc::sigaction>::zeroed();
                libc::sigaction(signal, ptr::null(), before.as_mut_ptr());
                before.assume_init()
            }
        });
        BEFORE_PTR.store(Box::into_raw(Box::new(Before(before))), Ordering::Release);
        for signal in SIGNALS {
            // SAFETY: the handler does only what may be done in a signal; on the alternative stack, where there is one, for those before it.
            let done = unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(signal, &action, ptr::null_mut())
            };
            if done != 0 {
                return Err(format!("installing a signal handler: {}", std::io::Error::last_os_error()));
            }
        }
        Ok(Before(before))
    });
    installed.as_ref().map(|_| ()).map_err(Clone::clone)
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO these two, valid while it runs.
    let ours = unsafe { guest_fault(&*info, &mut *context.cast::<libc::ucontext_t>()) };
    if !ours {
        // SAFETY: as above.
        unsafe { pass_on(signal, info, context) }
    }
}

/// Whether compiled code was stopped at an access to guest memory; if so, it goes on where its program's way out is.
///
/// # Safety
/// Called by the handler, with what the kernel gave it.
unsafe fn guest_fault(info: &libc::siginfo_t, context: &mut libc::ucontext_t) -> bool {
    // One that somebody sent says nothing about an access.
    if !stopped_access(info) {
        return false;
    }
    let (ip, state) = host::stopped_at(context);
    let inside = |slot: &&Slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && start != CLAIMED && (start..slot.end.load(Ordering::Relaxed)).contains(&ip)
    };
    let Some(slot) = slots().find(inside) else { return false };
    let state = state as *const u8;
    // SAFETY: compiled code holds a pointer to its process's state there, all the time.
    let cage = unsafe {
        state.add(offset_of!(State, jit) + offset_of!(JitState, cage)).cast::<usize>().read_volatile()
    };
    // SAFETY: the kernel filled in the address for these two signals.
    let addr = unsafe { info.si_addr() }.addr();
    if !(cage - GUARD_LEN..cage + CAGE_LEN + GUARD_LEN).contains(&addr) {
        return false;
    }
    host::go_on_at(context, slot.faulted.load(Ordering::Relaxed));
    true
}

/// Whether the processor stopped an access: nobody sent the signal.
fn stopped_access(info: &libc::siginfo_t) -> bool {
    info.si_code > 0
}

/// Does what was to be done before.
///
/// # Safety
/// Called by the handler, with what the kernel gave it.
unsafe fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = usize::from(signal != SIGNALS[0]);
    // SAFETY: it is set before the handler is installed, and stays.
    let before = unsafe { &(*BEFORE_PTR.load(Ordering::Acquire)).0[index] };
    match before.sa_sigaction {
        // SAFETY: as above.
        libc::SIG_IGN if !stopped_access(unsafe { &*info }) => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // An access is tried again and does what it would have done; what was sent is sent again.
            // SAFETY: sets the default back; sigaction may be called in a signal.
            unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &action, ptr::null_mut());
                if !stopped_access(&*info) {
                    libc::raise(signal);
                }
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that it is such a function.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { core::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag it is such a function.
            let handler: extern "C" fn(i32) = unsafe { core::mem::transmute(handler) };
            handler(signal);
        }
    }
}
