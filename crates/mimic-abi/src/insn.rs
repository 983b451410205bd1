//! Instructions as a sum type, and their decoding from and encoding to slots.
//!
//! The rules live in [`crate::isa`]; this file applies them. Decoding refuses what RFC 9669 reserves and what Linux
//! refuses for its fields alone. Whether a program makes sense (jump targets, r10 as destination, division by a
//! constant zero, oversized shifts) is the verifier's question.

use core::fmt;

use crate::isa::{self, AluOp, AtomicOp, Cond, Fields, Form, Imm64Kind, Rule, Source};
use crate::operand::{Callee, Imm64, Operand, Reg, Size, Swap, Width};
use crate::raw::RawInsn;

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst = dst op src`.
    Alu {
        /// Operation.
        op: AluOp,
        /// 32-bit results are zero-extended.
        width: Width,
        /// First operand and result.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst =` the low `bits` of `src`, sign-extended to `width`.
    MovSx {
        /// Width of the result; 32-bit results are zero-extended from there.
        width: Width,
        /// 8, 16, or (64-bit results only) 32.
        bits: u8,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// `dst = -dst`.
    Neg {
        /// 32-bit results are zero-extended.
        width: Width,
        /// Operand and result.
        dst: Reg,
    },
    /// The low `bits` of `dst`, swapped and zero-extended.
    Swap {
        /// Which order to convert to.
        op: Swap,
        /// 16, 32 or 64.
        bits: u8,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = value`. The only wide instruction: two slots.
    LdImm64 {
        /// Result.
        dst: Reg,
        /// A constant or something to resolve at load.
        value: Imm64,
    },
    /// `dst = src`, converted between address spaces: 0 is the kernel's, 1 an arena's user addresses.
    AddrSpaceCast {
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
        /// Address space of the result.
        to: u16,
        /// Address space of the operand.
        from: u16,
    },
    /// `dst = *(size *)(base + off)`.
    Load {
        /// Size of the access.
        size: Size,
        /// Sign-extend instead of zero-extend; never with [`Size::Dw`].
        sext: bool,
        /// Result.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Bytes from `base`.
        off: i16,
    },
    /// `*(size *)(base + off) = src`.
    Store {
        /// Size of the access.
        size: Size,
        /// Address.
        base: Reg,
        /// Bytes from `base`.
        off: i16,
        /// Value; an immediate is sign-extended to 64 bits, then cut to `size`.
        src: Operand,
    },
    /// Atomic read-modify-write of `*(size *)(base + off)`.
    Atomic {
        /// Operation. The old legacy `XADD` is `Add` without `fetch`.
        op: AtomicOp,
        /// The old value goes to `src` (to r0 for `Cmpxchg`), zero-extended. Always set for `Xchg` and `Cmpxchg`.
        fetch: bool,
        /// [`Size::W`] or [`Size::Dw`].
        size: Size,
        /// Address.
        base: Reg,
        /// Bytes from `base`.
        off: i16,
        /// Operand.
        src: Reg,
    },
    /// `dst = *(size *)(base + off)` with acquire ordering, zero-extended.
    LoadAcquire {
        /// Size of the access.
        size: Size,
        /// Result.
        dst: Reg,
        /// Address.
        base: Reg,
        /// Bytes from `base`.
        off: i16,
    },
    /// `*(size *)(base + off) = src` with release ordering.
    StoreRelease {
        /// Size of the access.
        size: Size,
        /// Address.
        base: Reg,
        /// Bytes from `base`.
        off: i16,
        /// Value.
        src: Reg,
    },
    /// `r0 =` big-endian packet data at `imm`, or at `index + imm`. The context is in r6; r1 to r5 are clobbered.
    Packet {
        /// [`Size::B`], [`Size::H`] or [`Size::W`].
        size: Size,
        /// Register of the indirect form.
        index: Option<Reg>,
        /// Offset in the packet, in bytes; large negative values select the link or network header.
        imm: i32,
    },
    /// `if dst cond src goto pc+off`.
    Branch {
        /// Condition.
        cond: Cond,
        /// Width of the comparison.
        width: Width,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
        /// Slots from the next slot.
        off: i16,
    },
    /// `goto pc+off`, or `gotol` when `long`.
    Goto {
        /// Slots from the next slot; fits in 16 bits unless `long`.
        off: i32,
        /// The form with a 32-bit offset.
        long: bool,
    },
    /// Goes on, or jumps once the kernel's loop budget is spent.
    MayGoto {
        /// Slots from the next slot.
        off: i16,
    },
    /// Calls a helper, a subprogram or a kernel function.
    Call(Callee),
    /// Calls the function whose address is in `reg`.
    ///
    /// gcc, and clang since 19, put the register in the destination field, and so does encoding; older clangs put it
    /// in the immediate, which decoding accepts too. Linux refuses both.
    CallX {
        /// Holds the address.
        reg: Reg,
    },
    /// Returns r0 from the program or subprogram.
    Exit,
}

/// Why slots are no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There is no slot to decode.
    Empty,
    /// No instruction has this opcode.
    UnknownOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A field holds a value that is reserved for this opcode.
    ReservedField {
        /// The opcode.
        opcode: u8,
        /// The field.
        field: Field,
        /// What it holds.
        value: i32,
        /// What the closest form of the instruction wants there.
        expected: i32,
    },
    /// A register field names a register that does not exist.
    BadRegister {
        /// The opcode.
        opcode: u8,
        /// The field.
        field: Field,
        /// What it holds, above 10.
        value: u8,
    },
    /// A wide instruction without its second slot.
    MissingSecondSlot {
        /// The opcode.
        opcode: u8,
    },
}

/// A field of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Destination register.
    Dst,
    /// Source register.
    Src,
    /// Offset.
    Off,
    /// Immediate.
    Imm,
    /// Opcode of the second slot.
    NextOpcode,
    /// Destination register of the second slot.
    NextDst,
    /// Source register of the second slot.
    NextSrc,
    /// Offset of the second slot.
    NextOff,
    /// Immediate of the second slot.
    NextImm,
}

impl Insn {
    /// Decodes the instruction that starts at `slots[0]`; later slots than it needs are ignored.
    ///
    /// # Errors
    /// The opcode is unknown or a field is not as the instruction wants it.
    pub fn decode(slots: &[RawInsn]) -> Result<Insn, DecodeError> {
        let [raw, rest @ ..] = slots else { return Err(DecodeError::Empty) };
        let raw = &with_callx_register_in_dst(*raw);
        let opcode = raw.opcode;
        for (field, value) in [(Field::Dst, raw.dst), (Field::Src, raw.src)] {
            if value > 0xf {
                return Err(DecodeError::BadRegister { opcode, field, value });
            }
        }
        let slot = raw.to_u64();
        for pattern in isa::patterns_of(opcode) {
            let next = match (pattern.next_zero, rest) {
                (None, _) => None,
                (Some(_), [next, ..]) => Some(next),
                (Some(_), []) => return Err(DecodeError::MissingSecondSlot { opcode }),
            };
            let next_fits = next.is_none_or(|next| next.to_u64() & pattern.next_zero.unwrap_or(0) == 0);
            if slot & pattern.mask == pattern.value && next_fits {
                return build(pattern.form, raw, next);
            }
        }
        Err(misfit(raw, rest.first()))
    }

    /// The slots of this instruction; the second is for wide instructions only.
    ///
    /// Values that no slot can hold (a `Goto` that is not `long` with an offset beyond 16 bits, `bits` or sizes that the
    /// form does not have) are cut to their fields, and decoding refuses or changes them.
    pub fn encode(&self) -> (RawInsn, Option<RawInsn>) {
        let form = self.form();
        let fields = form.fields();
        let mut raw = RawInsn { opcode: form.opcode(), ..RawInsn::default() };
        let mut next = None;
        if let Rule::Is(src) = fields.src {
            raw.src = src as u8;
        }
        if let Rule::Is(off) = fields.off {
            raw.off = off as i16;
        }
        if let Rule::Is(imm) = fields.imm {
            raw.imm = imm;
        }
        match *self {
            Insn::Alu { dst, src, .. } => {
                raw.dst = dst.field();
                set_operand(&mut raw, src);
            }
            Insn::MovSx { dst, src, .. } | Insn::AddrSpaceCast { dst, src, .. } => {
                (raw.dst, raw.src) = (dst.field(), src.field());
            }
            Insn::Neg { dst, .. } | Insn::Swap { dst, .. } => raw.dst = dst.field(),
            Insn::LdImm64 { dst, value } => {
                raw.dst = dst.field();
                let (imm, next_imm) = value.halves();
                raw.imm = imm;
                next = Some(RawInsn { imm: next_imm, ..RawInsn::default() });
            }
            Insn::Load { dst, base, off, .. } | Insn::LoadAcquire { dst, base, off, .. } => {
                (raw.dst, raw.src, raw.off) = (dst.field(), base.field(), off);
            }
            Insn::Store { base, off, src, .. } => {
                (raw.dst, raw.off) = (base.field(), off);
                set_operand(&mut raw, src);
            }
            Insn::Atomic { base, off, src, .. } | Insn::StoreRelease { base, off, src, .. } => {
                (raw.dst, raw.src, raw.off) = (base.field(), src.field(), off);
            }
            Insn::Packet { index, imm, .. } => {
                raw.imm = imm;
                raw.src = index.map_or(0, Reg::field);
            }
            Insn::Branch { dst, src, off, .. } => {
                (raw.dst, raw.off) = (dst.field(), off);
                set_operand(&mut raw, src);
            }
            Insn::Goto { off, long: false } => raw.off = off as i16,
            Insn::Goto { off, long: true } => raw.imm = off,
            Insn::MayGoto { off } => raw.off = off,
            Insn::Call(Callee::Helper(id)) => raw.imm = id as i32,
            Insn::Call(Callee::Subprog(off)) => raw.imm = off,
            Insn::Call(Callee::Kfunc { btf_id, fd_idx }) => (raw.imm, raw.off) = (btf_id, fd_idx),
            Insn::CallX { reg } => raw.dst = reg.field(),
            Insn::Exit => {}
        }
        (raw, next)
    }

    /// How many slots it takes: 2 for `ld_imm64`, else 1.
    pub const fn slots(&self) -> usize {
        1 + matches!(self, Insn::LdImm64 { .. }) as usize
    }

    /// How far it may jump within its function, in slots from the next slot.
    pub const fn jump(&self) -> Option<i32> {
        match *self {
            Insn::Branch { off, .. } | Insn::MayGoto { off } => Some(off as i32),
            Insn::Goto { off, .. } => Some(off),
            _ => None,
        }
    }

    /// Whether the next instruction may run after it (after the callee's return, for calls).
    pub const fn falls_through(&self) -> bool {
        !matches!(self, Insn::Goto { .. } | Insn::Exit)
    }

    /// The instruction without its operands, which is its row in the table.
    pub const fn form(&self) -> Form {
        match *self {
            Insn::Alu { op, width, src, .. } => Form::Alu(op, width, src.source()),
            Insn::MovSx { width, bits, .. } => Form::MovSx(width, bits),
            Insn::Neg { width, .. } => Form::Neg(width),
            Insn::Swap { op, bits, .. } => Form::Swap(op, bits),
            Insn::LdImm64 { value, .. } => Form::LdImm64(value.kind()),
            Insn::AddrSpaceCast { to, from, .. } => Form::AddrSpaceCast(to, from),
            Insn::Load { size, sext, .. } => Form::Load(size, sext),
            Insn::Store { size, src, .. } => Form::Store(size, src.source()),
            Insn::Atomic { op, fetch, size, .. } => Form::Atomic(op, fetch, size),
            Insn::LoadAcquire { size, .. } => Form::LoadAcquire(size),
            Insn::StoreRelease { size, .. } => Form::StoreRelease(size),
            Insn::Packet { size, index: None, .. } => Form::Packet(size, Source::Imm),
            Insn::Packet { size, index: Some(_), .. } => Form::Packet(size, Source::Reg),
            Insn::Branch { cond, width, src, .. } => Form::Branch(cond, width, src.source()),
            Insn::Goto { long: false, .. } => Form::Goto,
            Insn::Goto { long: true, .. } => Form::GotoLong,
            Insn::MayGoto { .. } => Form::MayGoto,
            Insn::Call(Callee::Helper(_)) => Form::CallHelper,
            Insn::Call(Callee::Subprog(_)) => Form::CallSubprog,
            Insn::Call(Callee::Kfunc { .. }) => Form::CallKfunc,
            Insn::CallX { .. } => Form::CallX,
            Insn::Exit => Form::Exit,
        }
    }
}

impl Operand {
    /// Which kind of operand it is.
    pub const fn source(self) -> Source {
        match self {
            Operand::Reg(_) => Source::Reg,
            Operand::Imm(_) => Source::Imm,
        }
    }
}

impl Imm64 {
    /// Which kind of value it is.
    pub const fn kind(self) -> Imm64Kind {
        match self {
            Imm64::Const(_) => Imm64Kind::Const,
            Imm64::MapFd(_) => Imm64Kind::MapFd,
            Imm64::MapFdValue { .. } => Imm64Kind::MapFdValue,
            Imm64::BtfId { .. } => Imm64Kind::BtfId,
            Imm64::Func(_) => Imm64Kind::Func,
            Imm64::MapIdx(_) => Imm64Kind::MapIdx,
            Imm64::MapIdxValue { .. } => Imm64Kind::MapIdxValue,
        }
    }

    /// The immediates of the first and the second slot.
    pub const fn halves(self) -> (i32, i32) {
        match self {
            Imm64::Const(value) => (value as i32, (value >> 32) as i32),
            Imm64::MapFd(imm) | Imm64::Func(imm) | Imm64::MapIdx(imm) => (imm, 0),
            Imm64::MapFdValue { fd: imm, off } | Imm64::MapIdxValue { idx: imm, off } => (imm, off as i32),
            Imm64::BtfId { id, btf_fd } => (id, btf_fd),
        }
    }

    /// The value of this kind with these immediates.
    pub const fn from_halves(kind: Imm64Kind, imm: i32, next_imm: i32) -> Imm64 {
        let off = next_imm as u32;
        match kind {
            Imm64Kind::Const => Imm64::Const((off as u64) << 32 | imm as u32 as u64),
            Imm64Kind::MapFd => Imm64::MapFd(imm),
            Imm64Kind::MapFdValue => Imm64::MapFdValue { fd: imm, off },
            Imm64Kind::BtfId => Imm64::BtfId { id: imm, btf_fd: next_imm },
            Imm64Kind::Func => Imm64::Func(imm),
            Imm64Kind::MapIdx => Imm64::MapIdx(imm),
            Imm64Kind::MapIdxValue => Imm64::MapIdxValue { idx: imm, off },
        }
    }
}

/// Why a slot is none of the forms of its opcode: the first misfit of the form that it misses by the fewest fields.
#[cold]
fn misfit(raw: &RawInsn, next: Option<&RawInsn>) -> DecodeError {
    let opcode = raw.opcode;
    let misfits = isa::rows_of(opcode).iter().map(|row| misfits(&row.form.fields(), raw, next));
    match misfits.min_by_key(Vec::len).as_deref() {
        Some([(field, value, expected), ..]) => {
            DecodeError::ReservedField { opcode, field: *field, value: *value, expected: *expected }
        }
        Some([]) | None => DecodeError::UnknownOpcode { opcode },
    }
}

/// The fields that break the rules of a form: field, what it holds, what it should hold.
fn misfits(fields: &Fields, raw: &RawInsn, next: Option<&RawInsn>) -> Vec<(Field, i32, i32)> {
    const ZERO: Rule = Rule::Is(0);
    let mut misfits = Vec::new();
    let mut check = |rule: Rule, field: Field, value: i32| match rule {
        Rule::Is(expected) if value != expected => misfits.push((field, value, expected)),
        Rule::Is(_) | Rule::Reg | Rule::Any => {}
    };
    check(fields.dst, Field::Dst, raw.dst.into());
    check(fields.src, Field::Src, raw.src.into());
    check(fields.off, Field::Off, raw.off.into());
    check(fields.imm, Field::Imm, raw.imm);
    if let (Some(rule), Some(next)) = (fields.next_imm, next) {
        check(ZERO, Field::NextOpcode, next.opcode.into());
        check(ZERO, Field::NextDst, next.dst.into());
        check(ZERO, Field::NextSrc, next.src.into());
        check(ZERO, Field::NextOff, next.off.into());
        check(rule, Field::NextImm, next.imm);
    }
    misfits
}

/// Makes the instruction of a form whose fixed fields have been checked.
fn build(form: Form, raw: &RawInsn, next: Option<&RawInsn>) -> Result<Insn, DecodeError> {
    let opcode = raw.opcode;
    let reg = |field, value| Reg::new(value).ok_or(DecodeError::BadRegister { opcode, field, value });
    let (dst, src) = (|| reg(Field::Dst, raw.dst), || reg(Field::Src, raw.src));
    let (off, imm) = (raw.off, raw.imm);
    let operand = |source| match source {
        Source::Imm => Ok(Operand::Imm(imm)),
        Source::Reg => src().map(Operand::Reg),
    };
    Ok(match form {
        Form::Alu(op, width, source) => Insn::Alu { op, width, dst: dst()?, src: operand(source)? },
        Form::MovSx(width, bits) => Insn::MovSx { width, bits, dst: dst()?, src: src()? },
        Form::AddrSpaceCast(to, from) => Insn::AddrSpaceCast { dst: dst()?, src: src()?, to, from },
        Form::Neg(width) => Insn::Neg { width, dst: dst()? },
        Form::Swap(op, bits) => Insn::Swap { op, bits, dst: dst()? },
        Form::LdImm64(kind) => {
            let next_imm = next.map_or(0, |next| next.imm);
            Insn::LdImm64 { dst: dst()?, value: Imm64::from_halves(kind, imm, next_imm) }
        }
        Form::Load(size, sext) => Insn::Load { size, sext, dst: dst()?, base: src()?, off },
        Form::Store(size, source) => Insn::Store { size, base: dst()?, off, src: operand(source)? },
        Form::Atomic(op, fetch, size) => Insn::Atomic { op, fetch, size, base: dst()?, off, src: src()? },
        Form::LoadAcquire(size) => Insn::LoadAcquire { size, dst: dst()?, base: src()?, off },
        Form::StoreRelease(size) => Insn::StoreRelease { size, base: dst()?, off, src: src()? },
        Form::Packet(size, Source::Imm) => Insn::Packet { size, index: None, imm },
        Form::Packet(size, Source::Reg) => Insn::Packet { size, index: Some(src()?), imm },
        Form::Branch(cond, width, source) => {
            Insn::Branch { cond, width, dst: dst()?, src: operand(source)?, off }
        }
        Form::Goto => Insn::Goto { off: off.into(), long: false },
        Form::GotoLong => Insn::Goto { off: imm, long: true },
        Form::MayGoto => Insn::MayGoto { off },
        Form::CallHelper => Insn::Call(Callee::Helper(imm as u32)),
        Form::CallSubprog => Insn::Call(Callee::Subprog(imm)),
        Form::CallKfunc => Insn::Call(Callee::Kfunc { btf_id: imm, fd_idx: off }),
        Form::CallX => Insn::CallX { reg: dst()? },
        Form::Exit => Insn::Exit,
    })
}

/// Moves the register of an old clang's `callx` from the immediate to the destination field.
fn with_callx_register_in_dst(raw: RawInsn) -> RawInsn {
    match u8::try_from(raw.imm) {
        Ok(reg) if raw.opcode == Form::CallX.opcode() && raw.dst == 0 && Reg::new(reg).is_some() => {
            RawInsn { dst: reg, imm: 0, ..raw }
        }
        Ok(_) | Err(_) => raw,
    }
}

fn set_operand(raw: &mut RawInsn, operand: Operand) {
    match operand {
        Operand::Reg(reg) => raw.src = reg.field(),
        Operand::Imm(imm) => raw.imm = imm,
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DecodeError::Empty => f.write_str("no instruction slot to decode"),
            DecodeError::UnknownOpcode { opcode } => write!(f, "unknown opcode {opcode:#04x}"),
            DecodeError::ReservedField { opcode, field, value, expected } => {
                let name = name_of(opcode);
                write!(f, "opcode {opcode:#04x} ({name}): {field} is {value}, expected ")?;
                let accepted = accepted(opcode, field).unwrap_or_else(|| vec![expected]);
                for (index, value) in accepted.iter().enumerate() {
                    let comma = match index {
                        0 => "",
                        _ if index + 1 == accepted.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{comma}{value}")?;
                }
                Ok(())
            }
            DecodeError::BadRegister { opcode, field, value } => {
                let name = name_of(opcode);
                write!(f, "opcode {opcode:#04x} ({name}): {field} is {value}, registers are 0 to 10")
            }
            DecodeError::MissingSecondSlot { opcode } => {
                let name = name_of(opcode);
                write!(f, "opcode {opcode:#04x} ({name}): the program ends before its second slot")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Dst => "destination register",
            Field::Src => "source register",
            Field::Off => "offset",
            Field::Imm => "immediate",
            Field::NextOpcode => "opcode of the second slot",
            Field::NextDst => "destination register of the second slot",
            Field::NextSrc => "source register of the second slot",
            Field::NextOff => "offset of the second slot",
            Field::NextImm => "immediate of the second slot",
        })
    }
}

/// The values that the forms of an opcode want in a field, if each wants a certain one.
fn accepted(opcode: u8, field: Field) -> Option<Vec<i32>> {
    let rule = |fields: &Fields| match field {
        Field::Dst => Some(fields.dst),
        Field::Src => Some(fields.src),
        Field::Off => Some(fields.off),
        Field::Imm => Some(fields.imm),
        Field::NextImm => fields.next_imm,
        Field::NextOpcode | Field::NextDst | Field::NextSrc | Field::NextOff => Some(Rule::Is(0)),
    };
    let value = |fields: &Fields| match rule(fields) {
        Some(Rule::Is(value)) => Some(value),
        Some(Rule::Any | Rule::Reg) | None => None,
    };
    let mut values: Vec<i32> =
        isa::rows_of(opcode).iter().map(|row| value(&row.form.fields())).collect::<Option<_>>()?;
    values.sort_unstable();
    values.dedup();
    Some(values)
}

fn name_of(opcode: u8) -> &'static str {
    isa::rows_of(opcode).first().map_or("unknown", |row| row.name)
}
