//! The operands of instructions: registers, widths, sizes, 64-bit immediates, callees.
//!
//! Plain values; how they sit in a slot is [`crate::insn`]'s business. Mirrors RFC 9669 sections 3 to 5.

use core::fmt;

/// A register that an instruction may name: r0 to r10.
///
/// The kernel's internal r11 (`AX`) cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(u8);

/// How much of a register an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// The low half; results are zero-extended to 64 bits.
    W32,
    /// The whole register.
    W64,
}

/// Size of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// One byte.
    B,
    /// Half word, two bytes.
    H,
    /// Word, four bytes.
    W,
    /// Double word, eight bytes.
    Dw,
}

/// The source operand of arithmetic, branches and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A constant, sign-extended to 64 bits where the operation is 64 bits wide.
    Imm(i32),
}

/// A byte swap of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Swap {
    /// Between guest byte order and little-endian.
    ToLe,
    /// Between guest byte order and big-endian.
    ToBe,
    /// Always swap.
    Bswap,
}

/// What `ld_imm64` loads: a constant, or something that the loader resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm64 {
    /// A 64-bit constant.
    Const(u64),
    /// Address of a map, given by file descriptor.
    MapFd(i32),
    /// Address within the first value of a map, given by file descriptor.
    MapFdValue {
        /// The map.
        fd: i32,
        /// Bytes from the start of the value.
        off: u32,
    },
    /// Address of a kernel variable, given by BTF id.
    BtfId {
        /// The variable's type id.
        id: i32,
        /// Descriptor of the module BTF that holds the id; 0 is vmlinux.
        btf_fd: i32,
    },
    /// Address of a subprogram: slots from the slot after the instruction's *first* slot, so 1 is
    /// the instruction that follows the load.
    Func(i32),
    /// Address of a map, given by index in the load's `fd_array`.
    MapIdx(i32),
    /// Address within the first value of a map, given by index in the load's `fd_array`.
    MapIdxValue {
        /// The index.
        idx: i32,
        /// Bytes from the start of the value.
        off: u32,
    },
}

/// What a `call` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callee {
    /// A helper by number. Numbers above `i32::MAX` are negative immediates on the wire.
    Helper(u32),
    /// A subprogram of the same program: slots from the next slot.
    Subprog(i32),
    /// A kernel function by BTF id.
    Kfunc {
        /// The function's type id.
        btf_id: i32,
        /// Index of its module's BTF in the load's `fd_array`; 0 is vmlinux.
        fd_idx: i16,
    },
}

impl Reg {
    /// Return value and scratch.
    pub const R0: Reg = Reg(0);
    /// First argument; the context on entry.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument.
    pub const R5: Reg = Reg(5);
    /// Kept across calls.
    pub const R6: Reg = Reg(6);
    /// Kept across calls.
    pub const R7: Reg = Reg(7);
    /// Kept across calls.
    pub const R8: Reg = Reg(8);
    /// Kept across calls.
    pub const R9: Reg = Reg(9);
    /// Frame pointer, read only.
    pub const R10: Reg = Reg(10);

    /// How many registers there are.
    pub const COUNT: usize = 11;

    /// The register with this number, if there is one.
    pub const fn new(index: u8) -> Option<Reg> {
        if (index as usize) < Reg::COUNT { Some(Reg(index)) } else { None }
    }

    /// Its number, below [`Reg::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its number as it stands in a slot.
    pub const fn field(self) -> u8 {
        self.0
    }

    /// r0 to r10 in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Reg> + Clone {
        (0..Reg::COUNT as u8).map(Reg)
    }
}

impl Width {
    /// 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Width::W32 => 32,
            Width::W64 => 64,
        }
    }

    /// The letter that registers have at this width: `w` or `r`.
    pub const fn letter(self) -> char {
        match self {
            Width::W32 => 'w',
            Width::W64 => 'r',
        }
    }
}

impl Size {
    /// All four, smallest first.
    pub const ALL: [Size; 4] = [Size::B, Size::H, Size::W, Size::Dw];

    /// 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::Dw => 8,
        }
    }

    /// The size bits of an opcode.
    pub const fn code(self) -> u8 {
        match self {
            Size::W => 0x00,
            Size::H => 0x08,
            Size::B => 0x10,
            Size::Dw => 0x18,
        }
    }

    /// `u8`, `u16`, `u32` or `u64`.
    pub const fn unsigned_name(self) -> &'static str {
        match self {
            Size::B => "u8",
            Size::H => "u16",
            Size::W => "u32",
            Size::Dw => "u64",
        }
    }

    /// `s8`, `s16`, `s32` or `s64`.
    pub const fn signed_name(self) -> &'static str {
        match self {
            Size::B => "s8",
            Size::H => "s16",
            Size::W => "s32",
            Size::Dw => "s64",
        }
    }
}

impl Swap {
    /// `le`, `be` or `bswap`.
    pub const fn name(self) -> &'static str {
        match self {
            Swap::ToLe => "le",
            Swap::ToBe => "be",
            Swap::Bswap => "bswap",
        }
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Debug for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
