//! What eBPF programs are written against: instructions, BTF, the row types of helpers, maps and program types.
//!
//! Data only: **this crate executes nothing, does no I/O and depends on nothing.**
#![forbid(unsafe_code)]

mod ctx;
mod errno;
mod helper;
mod version;

pub use ctx::{CtxAccess, CtxField, CtxLayout};
pub use errno::Errno;
pub use helper::{
    Arg, ArgType, DynptrKind, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Support, arg, arg_or_null,
};
pub use version::KernelVersion;
