//! From the bytes of an eBPF object file to linked programs and map specs; deterministic and host-independent.
#![forbid(unsafe_code)]

mod map;
mod program;

pub use map::{Contents, Init, MapSpec, Slot};
pub use program::{Func, Line, Program, Ref, RefTarget};
