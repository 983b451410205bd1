//! The wire form of instructions: eight-byte slots and their two byte orders.
//!
//! Splits bytes into fields and back, nothing more: whether a slot means anything is [`crate::insn`]'s question.
//! Mirrors RFC 9669 section 3 ("Instruction encoding").

use core::fmt;

/// The byte order a guest program was compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first (`bpfel`).
    Little,
    /// Most significant byte first (`bpfeb`).
    Big,
}

/// Length of one slot in bytes.
pub const SLOT_LEN: usize = 8;

/// One slot of a program: a basic instruction, or half of a wide one.
///
/// The register fields hold the raw nibbles, 0 to 15; they are checked when the slot is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RawInsn {
    /// Operation and class.
    pub opcode: u8,
    /// Destination register field, 0 to 15.
    pub dst: u8,
    /// Source register field, 0 to 15; some instructions keep a subtype here.
    pub src: u8,
    /// Signed offset: bytes for memory accesses, slots for jumps.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

/// A byte string that is no sequence of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Length of the byte string.
    pub len: usize,
}

impl ByteOrder {
    /// The byte order of the machine that this code runs on.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };
}

impl RawInsn {
    /// Reads one slot. Big-endian programs also have the register nibbles the other way round.
    pub const fn from_bytes(bytes: [u8; SLOT_LEN], order: ByteOrder) -> RawInsn {
        let [opcode, regs, o0, o1, i0, i1, i2, i3] = bytes;
        let (low, high) = (regs & 0xf, regs >> 4);
        match order {
            ByteOrder::Little => RawInsn {
                opcode,
                dst: low,
                src: high,
                off: i16::from_le_bytes([o0, o1]),
                imm: i32::from_le_bytes([i0, i1, i2, i3]),
            },
            ByteOrder::Big => RawInsn {
                opcode,
                dst: high,
                src: low,
                off: i16::from_be_bytes([o0, o1]),
                imm: i32::from_be_bytes([i0, i1, i2, i3]),
            },
        }
    }

    /// Writes one slot. Register fields above 15 do not fit and are cut to their low four bits.
    pub const fn to_bytes(&self, order: ByteOrder) -> [u8; SLOT_LEN] {
        let (dst, src) = (self.dst & 0xf, self.src & 0xf);
        let (regs, [o0, o1], [i0, i1, i2, i3]) = match order {
            ByteOrder::Little => (src << 4 | dst, self.off.to_le_bytes(), self.imm.to_le_bytes()),
            ByteOrder::Big => (dst << 4 | src, self.off.to_be_bytes(), self.imm.to_be_bytes()),
        };
        [self.opcode, regs, o0, o1, i0, i1, i2, i3]
    }

    /// The slot as one number, opcode in the lowest byte: how dumps and `.8byte` directives write it.
    pub const fn to_u64(&self) -> u64 {
        u64::from_le_bytes(self.to_bytes(ByteOrder::Little))
    }

    /// The slot that [`RawInsn::to_u64`] gave this number for.
    pub const fn from_u64(value: u64) -> RawInsn {
        RawInsn::from_bytes(value.to_le_bytes(), ByteOrder::Little)
    }

    /// Reads a whole program.
    ///
    /// # Errors
    /// The length is not a multiple of eight.
    pub fn parse_all(bytes: &[u8], order: ByteOrder) -> Result<Vec<RawInsn>, ParseError> {
        let (slots, rest) = bytes.as_chunks::<SLOT_LEN>();
        if !rest.is_empty() {
            return Err(ParseError { len: bytes.len() });
        }
        Ok(slots.iter().map(|slot| RawInsn::from_bytes(*slot, order)).collect())
    }

    /// Writes a whole program.
    pub fn write_all(slots: &[RawInsn], order: ByteOrder) -> Vec<u8> {
        slots.iter().flat_map(|slot| slot.to_bytes(order)).collect()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program of {} bytes: the length must be a multiple of {SLOT_LEN}", self.len)
    }
}

impl core::error::Error for ParseError {}
