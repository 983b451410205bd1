//! `Fault`: why a process stopped before it returned.

use crate::memory::AccessError;
use core::fmt;
use std::sync::Arc;

/// Why a process stopped, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// The slot in the linked program.
    pub pc: u32,
    /// The program that was running (after a tail call, not the one that was started).
    pub program: Arc<str>,
    /// The function around `pc`, if the object names it.
    pub func: Option<Arc<str>>,
    /// The source line, if the object says: file, line, column.
    pub line: Option<SourceLine>,
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file's name as the compiler was given it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if unknown.
    pub column: u32,
    /// The line's text; may be empty.
    pub text: Arc<str>,
}

/// Why a process stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A load or store outside every object, or against its rights.
    Access(AccessError),
    /// The same, by a helper on the program's behalf.
    HelperAccess {
        /// The helper.
        helper: Arc<str>,
        /// What it tried.
        error: AccessError,
    },
    /// An atomic access to an address that is not a multiple of its size.
    Misaligned {
        /// The address.
        addr: u64,
        /// The size in bytes.
        len: u32,
    },
    /// An argument that the kernel's verifier would not have let through.
    Argument {
        /// The helper.
        helper: Arc<str>,
        /// What is wrong with which argument.
        what: String,
    },
    /// A helper, kfunc or ability that is not there. Says what would make it work.
    Unsupported(String),
    /// The instruction budget is spent.
    Budget {
        /// The budget, in instructions.
        insns_max: u64,
    },
    /// More frames than the kernel allows.
    CallDepth {
        /// The most frames.
        frames_max: u32,
    },
    /// r10 is written.
    FramePointer,
    /// Execution ran past the last instruction.
    FellOff,
    /// A call through a register that holds no function.
    NotAFunction {
        /// What it holds.
        value: u64,
    },
    /// A named limit was reached.
    Limit {
        /// Which: the field of `Limits`.
        name: &'static str,
        /// Its value.
        max: u64,
    },
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Access(error) => error.fmt(f),
            FaultKind::HelperAccess { helper, error } => write!(f, "{helper}: {error}"),
            FaultKind::Misaligned { addr, len } => {
                write!(f, "atomic access of {len} bytes at {addr:#x}, which is not a multiple of {len}")
            }
            FaultKind::Argument { helper, what } => write!(f, "{helper}: {what}"),
            FaultKind::Unsupported(what) => f.write_str(what),
            FaultKind::Budget { insns_max } => {
                write!(f, "the instruction budget of {insns_max} is spent (Limits::insns_max, --budget)")
            }
            FaultKind::CallDepth { frames_max } => write!(f, "more than {frames_max} frames of calls"),
            FaultKind::FramePointer => f.write_str("r10 is the frame pointer and cannot be written"),
            FaultKind::FellOff => f.write_str("execution ran past the program's last instruction"),
            FaultKind::NotAFunction { value } => {
                write!(f, "call of {value:#x}, which is no function of the program")
            }
            FaultKind::Limit { name, max } => write!(f, "the limit {name} of {max} is reached"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pc {} of {}", self.kind, self.pc, self.program)?;
        if let Some(func) = self.func.as_ref().filter(|func| ***func != *self.program) {
            write!(f, ", in {func}")?;
        }
        if let Some(line) = &self.line {
            write!(f, ", {}:{}", line.file, line.line)?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Fault {}
