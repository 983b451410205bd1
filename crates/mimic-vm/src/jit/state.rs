//! `JitState`: what compiled code and its driver hand each other, next to a process's registers.

use crate::call::Trap;
use crate::fault::FaultKind;
use core::any::Any;

/// Why compiled code was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Reason {
    /// The function that was entered returned.
    Returned = 0,
    /// A helper asks for something: `JitState::trap`.
    Trapped = 1,
    /// An op cannot be done: `JitState::fault`.
    Faulted = 2,
    /// The budget is overdrawn.
    Budget = 3,
    /// All frames are in use.
    CallDepth = 4,
    /// The op is one that the interpreter does.
    Op = 5,
    /// The host's memory protection stopped an access: `JitState::fault_ip`.
    Protection = 6,
    /// A helper panicked: `JitState::panic`.
    Panicked = 7,
}

impl Reason {
    pub(crate) fn from_number(number: u64) -> Reason {
        match number {
            0 => Reason::Returned,
            1 => Reason::Trapped,
            2 => Reason::Faulted,
            3 => Reason::Budget,
            4 => Reason::CallDepth,
            6 => Reason::Protection,
            7 => Reason::Panicked,
            _ => Reason::Op,
        }
    }
}

/// See the module. Addresses of the host are numbers here, so that a process can move between threads.
#[derive(Default)]
pub(crate) struct JitState {
    /// Where guest address 0 is.
    pub(crate) cage: usize,
    /// Instructions that are left, less those of the straight run that is being executed once it has ended. Overdrawn below 0.
    pub(crate) budget: i64,
    /// The host's stack pointer when compiled code was entered.
    pub(crate) entry_sp: usize,
    /// r10 of the last frame that there may be.
    pub(crate) last_frame: u64,
    /// The machine that runs: valid while compiled code does.
    pub(crate) machine: usize,
    /// The compiled code that runs.
    pub(crate) code: usize,
    /// The helper that is called.
    pub(crate) helper: usize,
    pub(crate) reason: u64,
    pub(crate) fault_ip: usize,
    pub(crate) trap: Option<Trap>,
    pub(crate) fault: Option<Box<FaultKind>>,
    pub(crate) panic: Option<Box<dyn Any + Send>>,
}
