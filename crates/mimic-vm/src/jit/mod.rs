//! The JIT: programs as machine code of the host's.
//!
//! `translate` walks over a program's ops and emits code through a `Backend`; `run` enters and leaves it. Whatever compiled code does
//! not do itself, it leaves to the interpreter's functions, so that there is one meaning of everything: it leaves with all of the process
//! in its state, and is entered again where it is to go on.
//!
//! A machine is a folder with a `Backend`, and a `host` with what only that machine itself can do. All back ends are part of the tests, on
//! any machine.
#![allow(unsafe_code, reason = "emits, enters and leaves machine code")]

#[cfg(any(test, target_arch = "aarch64"))]
mod aarch64;
mod backend;
mod code;
mod ctx;
mod flow;
mod label;
mod run;
mod runtime;
mod signal;
#[cfg(test)]
mod snapshot;
mod state;
mod translate;
mod values;
#[cfg(any(test, target_arch = "x86_64"))]
mod x86_64;

pub(crate) use run::{Choice, Ready};
pub(crate) use state::JitState;

use crate::engine::Checks;
use crate::program::LoadedProgram;
#[cfg(target_arch = "aarch64")]
use aarch64::host;
use backend::{Reach, TooLong};
use code::CodeMemory;
use mimic_abi::CtxLayout;
use std::sync::{Arc, Mutex, PoisonError};
use translate::{NO_ENTRY, translate};
#[cfg(target_arch = "x86_64")]
use x86_64::host;

/// Whether there is a JIT.
pub(crate) const HERE: bool = true;

/// What code is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mode {
    pub(crate) checks: Checks,
    /// The layout of the context, if it has one and code does not check anyway.
    pub(crate) ctx: Option<CtxLayout>,
    /// Somebody looks at helper calls.
    pub(crate) watched: bool,
    /// Frames are to be cleared: the driver makes them.
    pub(crate) frames_outside: bool,
}

/// A program's code.
pub(crate) struct Compiled {
    mode: Mode,
    memory: CodeMemory,
    enter: u32,
    resume: u32,
    starts: Box<[u32]>,
    entries: Box<[u32]>,
    returns: Box<[(u32, u32)]>,
    pending: Box<[u32]>,
    /// Functions that may be entered by their address, sorted; all that can be entered if nothing is known of any register.
    functions: Option<Box<[usize]>>,
}

impl Compiled {
    fn new(program: &LoadedProgram, mode: &Mode) -> Result<Compiled, String> {
        let made = translate(program, mode, host::native(Reach::Near))
            .or_else(|TooLong| translate(program, mode, host::native(Reach::Far)))
            .map_err(|TooLong| "the program's machine code is too long")?;
        let mut memory = CodeMemory::new(&made.finished.code)?;
        if mode.checks == Checks::Cage {
            memory.catch_faults(made.finished.faulted)?;
        }
        Ok(Compiled {
            mode: *mode,
            memory,
            enter: made.finished.enter,
            resume: made.finished.resume,
            starts: made.starts,
            entries: made.entries,
            returns: made.returns,
            pending: made.pending,
            functions: mode.ctx.map(|_| made.functions),
        })
    }

    /// Where the code of an op can be entered.
    fn entry(&self, op: usize) -> Option<usize> {
        self.entries.get(op).filter(|off| **off != NO_ENTRY).map(|off| self.memory.addr(*off))
    }

    /// The same for a function that is entered by its address: with anything in its registers.
    fn function(&self, op: usize) -> Option<usize> {
        let may = self.functions.as_ref().is_none_or(|functions| op != 0 && functions.contains(&op));
        self.entry(op).filter(|_| may)
    }

    /// The op that an address returns to.
    fn returns_to(&self, addr: usize) -> u32 {
        let off = self.memory.offset_of(addr).unwrap_or(0);
        let at = self.returns.partition_point(|(back, _)| *back < off);
        self.returns.get(at).map_or(0, |(_, op)| *op)
    }

    /// The op whose code an address is in.
    fn op_at(&self, addr: usize) -> usize {
        let off = self.memory.offset_of(addr).unwrap_or(0);
        self.starts.partition_point(|start| *start <= off).saturating_sub(1)
    }

    /// Ops that ran before this one and are not counted yet.
    fn run_before(&self, op: usize) -> u64 {
        self.pending.get(op).map_or(0, |pending| u64::from(*pending))
    }
}

/// What was made of a program so far: a handful of kinds at most.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Vec<Arc<Compiled>>>);

impl Cache {
    /// The code of a program, made when it is first asked for.
    pub(crate) fn code(&self, program: &LoadedProgram, mode: &Mode) -> Result<Arc<Compiled>, String> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = made.iter().find(|code| code.mode == *mode) {
            return Ok(code.clone());
        }
        let code = Arc::new(Compiled::new(program, mode)?);
        made.push(code.clone());
        Ok(code)
    }
}
