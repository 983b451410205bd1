//! The row type of helpers and kfuncs: what one is called, takes, returns, since when, and how well it is supported.
//!
//! A row is data. The function that does the work is paired with it by whoever runs programs (`mimic_vm::Helper`). The
//! argument and return types follow the kernel's `enum bpf_arg_type` and `enum bpf_return_type` (documented at
//! <https://docs.kernel.org/bpf/helpers.html>); the verifier's prototypes, traces, listings and capture/replay all read them.

use crate::KernelVersion;

/// One helper (by id) or kfunc (id 0, by name).
#[derive(Clone, Copy, Debug)]
pub struct HelperSpec {
    /// The number in the call instruction's immediate (`enum bpf_func_id`); 0 for a kfunc.
    pub id: u32,
    /// The name without `bpf_` for helpers, the BTF name for kfuncs.
    pub name: &'static str,
    /// Arguments in r1, r2, …; at most five.
    pub args: &'static [Arg],
    /// What r0 holds afterwards.
    pub ret: RetType,
    /// Properties that the verifier, listings and engines look at.
    pub flags: HelperFlags,
    /// The release that brought it.
    pub since: KernelVersion,
    /// How much of it mimic does.
    pub support: Support,
}

impl HelperSpec {
    /// A fully supported row without arguments that returns an integer, there since 3.18 (when helpers began); refine with the
    /// methods below.
    pub const fn new(id: u32, name: &'static str) -> HelperSpec {
        HelperSpec {
            id,
            name,
            args: &[],
            ret: RetType::Integer,
            flags: HelperFlags::NONE,
            since: KernelVersion::new(3, 18),
            support: Support::Full,
        }
    }

    /// Sets the arguments.
    pub const fn args(mut self, args: &'static [Arg]) -> HelperSpec {
        self.args = args;
        self
    }

    /// Sets the return type.
    pub const fn returns(mut self, ret: RetType) -> HelperSpec {
        self.ret = ret;
        self
    }

    /// Adds flags.
    pub const fn flags(mut self, flags: HelperFlags) -> HelperSpec {
        self.flags = self.flags.and(flags);
        self
    }

    /// Sets the release that brought it.
    pub const fn since(mut self, major: u16, minor: u16) -> HelperSpec {
        self.since = KernelVersion::new(major, minor);
        self
    }

    /// Sets the support level.
    pub const fn support(mut self, support: Support) -> HelperSpec {
        self.support = support;
        self
    }
}

/// A named, typed argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The name in the kernel's documentation.
    pub name: &'static str,
    /// What may be passed.
    pub ty: ArgType,
    /// NULL is accepted too.
    pub or_null: bool,
}

/// A named argument of type `ty`.
pub const fn arg(name: &'static str, ty: ArgType) -> Arg {
    Arg { name, ty, or_null: false }
}

/// A named argument of type `ty` that may also be NULL.
pub const fn arg_or_null(name: &'static str, ty: ArgType) -> Arg {
    Arg { name, ty, or_null: true }
}

/// Which way a helper uses memory that an argument points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemAccess {
    /// Reads it; must be initialised.
    Read,
    /// Writes it; need not be initialised. An output, for capture and replay.
    Write,
    /// Reads and writes it.
    ReadWrite,
}

/// How long the memory is that an argument points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemLen {
    /// This many bytes, always.
    Fixed(u32),
    /// As many bytes as the following argument says.
    NextArg,
}

/// What kind of dynptr an argument takes or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynptrKind {
    /// Any initialised one.
    Any,
    /// Over local memory (a map value).
    Local,
    /// A ring buffer reservation.
    Ringbuf,
    /// A socket buffer.
    Skb,
    /// An XDP buffer.
    Xdp,
}

/// What an argument may be. The kernel's `ARG_*` in brackets where the name differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// Any initialised value.
    Anything,
    /// A map (`CONST_MAP_PTR`).
    ConstMapPtr,
    /// Memory of the map's key size.
    MapKey,
    /// Memory of the map's value size, read (`PTR_TO_MAP_VALUE`).
    MapValue,
    /// Memory of the map's value size, written (`PTR_TO_UNINIT_MAP_VALUE`).
    UninitMapValue,
    /// Memory (`PTR_TO_MEM`, `PTR_TO_UNINIT_MEM`, `FIXED_SIZE_MEM`).
    Mem(MemAccess, MemLen),
    /// The length of the memory before it, in bytes, more than zero (`CONST_SIZE`).
    Size,
    /// The same, zero allowed (`CONST_SIZE_OR_ZERO`).
    SizeOrZero,
    /// A constant number of bytes to allocate (`CONST_ALLOC_SIZE_OR_ZERO`).
    AllocSize,
    /// The program's context.
    Ctx,
    /// Memory that a ring buffer reservation returned (`PTR_TO_RINGBUF_MEM`); released.
    RingbufMem,
    /// A `struct bpf_spin_lock` in a map value or allocated object.
    SpinLock,
    /// A `struct bpf_timer` in a map value.
    Timer,
    /// A kptr field in a map value (`PTR_TO_KPTR`).
    Kptr,
    /// An initialised dynptr.
    Dynptr(DynptrKind),
    /// A stack slot that becomes a dynptr.
    UninitDynptr(DynptrKind),
    /// A subprogram (`PTR_TO_FUNC`).
    Func,
    /// Stack memory, passed on to a callback (`PTR_TO_STACK`).
    Stack,
    /// A NUL-terminated string in read-only map memory (`PTR_TO_CONST_STR`).
    ConstStr,
    /// A `struct sock_common` or anything that begins with one.
    SockCommon,
    /// A full socket, `struct bpf_sock` (`PTR_TO_SOCKET`).
    Socket,
    /// A socket, as its BTF type or as `sock_common` (`PTR_TO_BTF_ID_SOCK_COMMON`).
    BtfIdSockCommon,
    /// A kernel object of this BTF type name (`PTR_TO_BTF_ID`).
    BtfId(&'static str),
    /// A per-CPU kernel variable (`PTR_TO_PERCPU_BTF_ID`).
    PercpuBtfId,
}

/// What r0 is after the call. The kernel's `RET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetType {
    /// Nothing: r0 is not readable.
    Void,
    /// A number, most often 0 or a negative errno.
    Integer,
    /// A map value.
    MapValue,
    /// A map value, or NULL.
    MapValueOrNull,
    /// A `struct bpf_sock`, or NULL; to be released where the row acquires.
    SocketOrNull,
    /// A `struct bpf_tcp_sock`, or NULL.
    TcpSockOrNull,
    /// A `struct sock_common`, or NULL.
    SockCommonOrNull,
    /// A ring buffer reservation of the size asked for, or NULL.
    RingbufMemOrNull,
    /// A slice of a dynptr's memory, or NULL.
    DynptrMemOrNull,
    /// Memory of the size of a per-CPU variable, or a pointer to its type.
    MemOrBtfId,
    /// The same, or NULL.
    MemOrBtfIdOrNull,
    /// A kernel object of this BTF type name.
    BtfId(&'static str),
    /// The same, or NULL.
    BtfIdOrNull(&'static str),
}

/// Properties of a helper, a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HelperFlags(pub u32);

impl HelperFlags {
    /// The empty set.
    pub const NONE: HelperFlags = HelperFlags(0);
    /// Only for programs whose licence is GPL compatible.
    pub const GPL_ONLY: HelperFlags = HelperFlags(1);
    /// Memory arguments may point into the packet.
    pub const PKT_ACCESS: HelperFlags = HelperFlags(1 << 1);
    /// May sleep: only for sleepable programs.
    pub const MIGHT_SLEEP: HelperFlags = HelperFlags(1 << 2);
    /// May move or resize the packet: packet pointers are stale afterwards.
    pub const CHANGES_PACKET: HelperFlags = HelperFlags(1 << 3);
    /// Returns a reference that must be released.
    pub const ACQUIRES: HelperFlags = HelperFlags(1 << 4);
    /// Releases the reference in its (only) releasable argument.
    pub const RELEASES: HelperFlags = HelperFlags(1 << 5);
    /// Calls a subprogram of the program back.
    pub const CALLS_BACK: HelperFlags = HelperFlags(1 << 6);
    /// Does not clobber r1-r5 (`bpf_fastcall`).
    pub const FASTCALL: HelperFlags = HelperFlags(1 << 7);
    /// May not be called while a spin lock is held even where others may.
    pub const ITERATES: HelperFlags = HelperFlags(1 << 8);

    /// Union.
    pub const fn and(self, other: HelperFlags) -> HelperFlags {
        HelperFlags(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: HelperFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How much of a row mimic does. Nothing unsupported answers silently: it is a fault that names the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does it.
    Full,
    /// With a difference that the note tells.
    Partial(&'static str),
    /// Only from a captured context; the note says why.
    ReplayOnly(&'static str),
    /// Not at all; the note says why and what would make it work.
    Refused(&'static str),
}

impl Support {
    /// One word for tables: `full`, `partial`, `replay-only` or `refused`.
    pub const fn word(self) -> &'static str {
        match self {
            Support::Full => "full",
            Support::Partial(_) => "partial",
            Support::ReplayOnly(_) => "replay-only",
            Support::Refused(_) => "refused",
        }
    }

    /// The note, empty for full support.
    pub const fn note(self) -> &'static str {
        match self {
            Support::Full => "",
            Support::Partial(note) | Support::ReplayOnly(note) | Support::Refused(note) => note,
        }
    }
}
