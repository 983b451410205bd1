//! The eBPF virtual machine: guest memory, processes, an interpreter and a JIT, and the `Emulator` trait that a platform fills.
//!
//! **This crate knows instructions, registers, memory and processes; it does not know Linux, files or terminals.** Unsafe code is in
//! `memory/` only.
#![deny(unsafe_code)]
#![cfg_attr(
    not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
    allow(dead_code, unused_imports, reason = "much is there for compiled code alone")
)]

mod arena;
mod call;
mod context;
mod emulator;
mod engine;
mod entry;
mod fault;
mod hook;
mod interp;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod jit;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "jit/absent.rs"]
mod jit;
mod limits;
mod load;
mod map;
pub mod memory;
mod op;
mod probe;
mod process;
mod program;
mod prototype;
pub mod sched;
mod threaded;
mod vm;

pub use arena::{ARENA_GUARD_LEN, ArenaSpace};
pub use call::{Call, Callback, CallbackRequest, HelperResult, Next, Trap};
pub use context::{Context, ContextError, RawContext, Setup};
pub use emulator::{Emulator, Helper, HelperClosure, HelperFn, HelperImpl, Known};
pub use engine::{Checks, Engine};
pub use entry::Entry;
pub use fault::{Fault, FaultKind, SourceLine};
pub use hook::{Before, Hook};
pub use limits::Limits;
pub use load::LoadError;
pub use map::{ArrayLayout, Batch, Elem, ElemKey, MAPS_MAX, Map, MapEnv, MapError, MapRef, answer, bytes_16};
pub use memory::{Hygiene, Memory, MemoryError, MemoryOptions, Region, View};
pub use op::{SLOTS_MAX, TranslateError};
pub use probe::{At, Flow, NoProbe, Probe};
pub use process::{FRAME_LEN, FRAMES_MAX, Outcome, Process, RunError, Step, TAIL_CALLS_MAX};
pub use program::{FuncRef, LoadedProgram};
pub use prototype::{Prototype, PrototypeError};
pub use vm::{CPUS_MAX, Vm, VmBuilder};
