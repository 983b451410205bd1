//! What compiled code calls: helpers, ops that are done in Rust, and the way out over the host's stack.

use super::Compiled;
use super::state::Reason;
use crate::call::Trap;
use crate::fault::FaultKind;
use crate::interp::Machine;
use crate::map::MapRef;
use crate::process::{Frame, State};
use crate::program::HelperRef;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

/// Two registers.
#[repr(C)]
pub(super) struct Pair {
    pub(super) value: u64,
    /// A [`Reason`], or for [`helper`] whether it asks for something else than a plain return.
    pub(super) status: u64,
}

/// The machine that runs the code that called.
///
/// # Safety
/// `state` is what compiled code has in its register for it, and nothing else of the machine is borrowed.
unsafe fn machine<'a>(state: *mut State) -> &'a mut Machine<'a> {
    // SAFETY: the driver sets it before it enters code, and does not touch the machine until the code has been left.
    unsafe { &mut *((*state).jit.machine as *mut Machine<'a>) }
}

/// Calls the helper that the state names.
///
/// # Safety
/// Called by compiled code.
pub(super) unsafe extern "C" fn helper(
    state: *mut State,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> Pair {
    // SAFETY: compiled code calls with its state, and borrows nothing.
    let machine = unsafe { machine(state) };
    let state = &mut machine.process.state;
    state.regs[1..6].copy_from_slice(&[r1, r2, r3, r4, r5]);
    // SAFETY: the address of a helper of the program, which lives as long as its code.
    let helper = unsafe { &*(state.jit.helper as *const HelperRef) };
    match catch_unwind(AssertUnwindSafe(|| machine.call_helper(helper))) {
        Ok(Ok(value)) => return Pair { value, status: 0 },
        Ok(Err(trap)) => machine.process.state.jit.trap = Some(trap),
        Err(panic) => machine.process.state.jit.panic = Some(panic),
    }
    Pair { value: 0, status: 1 }
}

/// Calls the helper that the state names, which is a function, and which nobody watches.
///
/// # Safety
/// Called by compiled code.
pub(super) unsafe extern "C" fn plain(
    state: *mut State,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> Pair {
    // SAFETY: compiled code calls with its state, and borrows nothing.
    let machine = unsafe { machine(state) };
    // SAFETY: the address of a helper of the program, which lives as long as its code.
    let helper = unsafe { &*(machine.process.state.jit.helper as *const HelperRef) };
    let regs = &mut machine.process.state.regs;
    (regs[1], regs[2], regs[3], regs[4], regs[5]) = (r1, r2, r3, r4, r5);
    let call = || match machine.call_plain(helper, [r1, r2, r3, r4, r5]) {
        Ok(value) => Pair { value, status: 0 },
        Err(Trap::Errno(errno)) => Pair { value: errno.to_r0(), status: 0 },
        Err(trap) => {
            machine.process.state.jit.trap = Some(trap);
            Pair { value: 0, status: 1 }
        }
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(pair) => pair,
        Err(panic) => {
            machine.process.state.jit.panic = Some(panic);
            Pair { value: 0, status: 1 }
        }
    }
}

/// What `bpf_map_lookup_elem` answers for a key of 4 bytes.
///
/// # Safety
/// Called by compiled code, with a map of the program's.
pub(super) unsafe extern "C" fn lookup_4(state: *mut State, key: u64, map: *const MapRef) -> Pair {
    // SAFETY: compiled code calls with its state, and with a map that lives as long as the code.
    let (state, map) = unsafe { (&mut *state, &*map) };
    looked_up(state, |cpu| map.lookup_4(cpu, key as u32))
}

/// The same for a key of 8 bytes.
///
/// # Safety
/// As above.
pub(super) unsafe extern "C" fn lookup_8(state: *mut State, key: u64, map: *const MapRef) -> Pair {
    // SAFETY: as above.
    let (state, map) = unsafe { (&mut *state, &*map) };
    looked_up(state, |cpu| map.lookup_8(cpu, key))
}

/// The same for a key of 16 bytes.
///
/// # Safety
/// As above.
pub(super) unsafe extern "C" fn lookup_16(
    state: *mut State,
    low: u64,
    high: u64,
    map: *const MapRef,
) -> Pair {
    // SAFETY: as above.
    let (state, map) = unsafe { (&mut *state, &*map) };
    looked_up(state, |cpu| map.lookup_16(cpu, [low, high]))
}

#[inline(always)]
fn looked_up(state: &mut State, look: impl FnOnce(u32) -> u64) -> Pair {
    match catch_unwind(AssertUnwindSafe(|| look(state.cpu))) {
        Ok(value) => Pair { value, status: 0 },
        Err(panic) => {
            state.jit.panic = Some(panic);
            Pair { value: 0, status: 1 }
        }
    }
}

/// Does the op at the state's pc. Answers 0, or the reason to leave.
///
/// # Safety
/// Called by compiled code.
pub(super) unsafe extern "C" fn op(state: *mut State) -> u64 {
    // SAFETY: compiled code calls with its state, and borrows nothing.
    let machine = unsafe { machine(state) };
    let state = &mut machine.process.state;
    match catch_unwind(AssertUnwindSafe(|| state.op_alone())) {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) => {
            machine.process.state.jit.fault = Some(fault);
            Reason::Faulted as u64
        }
        Err(panic) => {
            machine.process.state.jit.panic = Some(panic);
            Reason::Panicked as u64
        }
    }
}

/// What a call between functions of a program leaves on the host's stack. The same for all machines.
#[repr(C)]
struct HostFrame {
    return_to: usize,
    may_goto: u64,
    /// r9 to r6.
    saved: [u64; 4],
}

/// Takes the frames off the host's stack and puts them where the interpreter has them.
///
/// # Safety
/// Called by compiled code that is about to be left, with its stack pointer.
pub(super) unsafe extern "C" fn unwind(state: *mut State, sp: *const u8) {
    // SAFETY: compiled code calls with its state, and borrows nothing.
    let state = unsafe { &mut *state };
    // SAFETY: the code that is running.
    let code = unsafe { &*(state.jit.code as *const Compiled) };
    // The function that was entered has a return address and no frame.
    let count = (state.jit.entry_sp - 8 - sp.addr()) / size_of::<HostFrame>();
    // SAFETY: between the two stack pointers lie only these.
    let frames = unsafe { core::slice::from_raw_parts(sp.cast::<HostFrame>(), count) };
    for frame in frames.iter().rev() {
        let [r9, r8, r7, r6] = frame.saved;
        state.frames.push(Frame {
            program: state.program.clone(),
            return_to: code.returns_to(frame.return_to),
            saved: [r6, r7, r8, r9],
            may_goto: frame.may_goto,
            pending: None,
        });
    }
}

/// Not a fault: a helper wants the frames of its caller changed.
pub(super) fn missing_trap() -> Trap {
    Trap::Fault(Box::new(FaultKind::Unsupported("compiled code was left without a reason".into())))
}
