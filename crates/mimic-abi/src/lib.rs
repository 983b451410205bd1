//! What eBPF programs are written against: instructions, BTF, the row types of helpers, maps and program types.
//!
//! Data only: **this crate executes nothing, does no I/O and depends on nothing.**
#![forbid(unsafe_code)]

pub mod asm;
pub mod btf;
pub mod disasm;
pub mod isa;
pub mod uapi;

mod ctx;
mod errno;
mod eval;
mod helper;
mod insn;
mod map;
mod names;
mod operand;
mod prog;
mod raw;
mod version;

pub use ctx::{CtxAccess, CtxField, CtxLayout};
pub use errno::Errno;
pub use eval::sign_extend;
pub use helper::{
    Arg, ArgType, DynptrKind, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Support, arg, arg_or_null,
};
pub use insn::{DecodeError, Field, Insn};
pub use isa::{AluOp, AtomicOp, Cond};
pub use map::{EntriesRule, MapOps, MapTypeSpec, SizeRule};
pub use names::Names;
pub use operand::{Callee, Imm64, Operand, Reg, Size, Swap, Width};
pub use prog::{Packet, ProgTypeSpec, RetRange, Returns};
pub use raw::{ByteOrder, ParseError, RawInsn, SLOT_LEN};
pub use uapi::{AttachType, MapType, ProgType};
pub use version::KernelVersion;
