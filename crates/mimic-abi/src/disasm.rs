//! Instructions as text: the kernel's spelling (verifier log, bpftool) and LLVM's (llvm-objdump).
//!
//! One instruction or a listing; jump arrows, source lines and colours are the caller's. What the kernel's spelling
//! cannot express (it prints addresses where a program has map descriptors) is written in bpftool's manner, and
//! [`crate::asm`] reads everything back.

use core::fmt::{self, Display, Formatter};

use crate::insn::{DecodeError, Insn};
use crate::isa::{AluOp, AtomicOp};
use crate::names::Names;
use crate::operand::{Callee, Imm64, Operand, Reg, Size, Swap, Width};
use crate::raw::RawInsn;

/// Whose spelling to use where they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// The kernel's verifier log and `bpftool prog dump xlated`: `r1 = *(u32 *)(r2 +4)`, `goto pc+3`, decimal immediates.
    #[default]
    Kernel,
    /// `llvm-objdump -d --mcpu=v4`: `w1 = *(u32 *)(r2 + 0x4)`, `goto +0x3`, hexadecimal immediates.
    Llvm,
}

/// One line of a listing: an instruction, or a slot that is none.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Index of the first slot.
    pub pc: usize,
    /// The first slot.
    pub raw: RawInsn,
    /// The instruction, or why there is none.
    pub insn: Result<Insn, DecodeError>,
}

/// An instruction about to be printed; made by [`Insn::display`].
#[derive(Clone, Copy)]
pub struct InsnText<'a> {
    insn: Insn,
    style: Style,
    names: &'a dyn Names,
}

/// A line about to be printed; made by [`Line::display`].
#[derive(Clone, Copy)]
pub struct LineText<'a> {
    line: Line,
    style: Style,
    names: &'a dyn Names,
}

/// The lines of a program. A slot that is no instruction gets a line of its own and does not end the listing.
pub fn disassemble(slots: &[RawInsn]) -> impl Iterator<Item = Line> + '_ {
    let mut pc = 0;
    core::iter::from_fn(move || {
        let rest = slots.get(pc..)?;
        let raw = *rest.first()?;
        let line = Line { pc, raw, insn: Insn::decode(rest) };
        pc += line.insn.map_or(1, |insn| insn.slots());
        Some(line)
    })
}

impl Insn {
    /// The instruction as text, without its opcode.
    pub fn display<'a>(&self, style: Style, names: &'a dyn Names) -> InsnText<'a> {
        InsnText { insn: *self, style, names }
    }
}

/// The kernel's spelling, without names.
impl Display for Insn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.display(Style::Kernel, &()).fmt(f)
    }
}

impl Line {
    /// The line as text: `12: (b7) r0 = 1`. A slot that is no instruction becomes a `.8byte` directive with the reason.
    pub fn display<'a>(&self, style: Style, names: &'a dyn Names) -> LineText<'a> {
        LineText { line: *self, style, names }
    }
}

impl Display for LineText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Line { pc, raw, insn } = self.line;
        write!(f, "{pc}: ({:02x}) ", raw.opcode)?;
        match insn {
            Ok(insn) => insn.display(self.style, self.names).fmt(f),
            Err(error) => write!(f, ".8byte {:#018x} ; {error}", raw.to_u64()),
        }
    }
}

impl Display for InsnText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.style {
            Style::Kernel => self.kernel(f),
            Style::Llvm => self.llvm(f),
        }
    }
}

impl InsnText<'_> {
    fn kernel(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.insn {
            Insn::Alu { op, width, dst, src } => {
                let (dst, src) = (width.reg(dst), Kernel::decimal(width, src));
                write!(f, "{dst} {} {src}", op.symbol())
            }
            Insn::LdImm64 { dst, value } => {
                write!(f, "{dst} = ")?;
                imm64(f, value)
            }
            Insn::Load { size, sext, dst, base, off } => {
                write!(f, "{dst} = *({} *)({base} {off:+})", type_name(size, sext))
            }
            Insn::Store { size, base, off, src } => {
                let src = Kernel::decimal(Width::W64, src);
                write!(f, "*({} *)({base} {off:+}) = {src}", size.unsigned_name())
            }
            Insn::Atomic { op, fetch, size, base, off, src } => {
                let place = format_args!("({} *)({base} {off:+})", size.unsigned_name());
                let wide = if size == Size::Dw { "64" } else { "" };
                match (op, fetch) {
                    (AtomicOp::Cmpxchg, _) => write!(f, "r0 = atomic{wide}_cmpxchg({place}, r0, {src})"),
                    (AtomicOp::Xchg, _) => write!(f, "{src} = atomic{wide}_xchg({place}, {src})"),
                    (_, true) => write!(f, "{src} = atomic{wide}_fetch_{}({place}, {src})", op.name()),
                    (_, false) => write!(f, "lock *{place} {} {src}", assignment(op)),
                }
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                write!(f, "{dst} = load_acquire(({} *)({base} {off:+}))", size.unsigned_name())
            }
            Insn::StoreRelease { size, base, off, src } => {
                write!(f, "store_release(({} *)({base} {off:+}), {src})", size.unsigned_name())
            }
            Insn::Packet { size, index: None, imm } => {
                write!(f, "r0 = *({} *)skb[{imm}]", size.unsigned_name())
            }
            Insn::Packet { size, index: Some(index), imm } => {
                write!(f, "r0 = *({} *)skb[{index} + {imm}]", size.unsigned_name())
            }
            Insn::Branch { cond, width, dst, src, off } => {
                let (dst, src) = (width.reg(dst), Kernel::hexadecimal(width, src));
                write!(f, "if {dst} {} {src} goto pc{off:+}", cond.symbol())
            }
            Insn::Goto { off, long: false } => write!(f, "goto pc{off:+}"),
            Insn::Goto { off, long: true } => write!(f, "gotol pc{off:+}"),
            Insn::MayGoto { off } => write!(f, "may_goto pc{off:+}"),
            Insn::Call(Callee::Subprog(off)) => write!(f, "call pc{off:+}"),
            Insn::Call(Callee::Helper(id)) => {
                let name = self.names.helper(id).unwrap_or("unknown");
                write!(f, "call {name}#{}", id as i32)
            }
            Insn::Call(Callee::Kfunc { btf_id, fd_idx }) => self.kfunc(f, btf_id, fd_idx),
            Insn::AddrSpaceCast { dst, src, to, from } => {
                write!(f, "{dst} = addr_space_cast({src}, {to}, {from})")
            }
            Insn::MovSx { width, bits, dst, src } => mov_sx(f, width, bits, dst, src),
            Insn::Neg { width, dst } => write!(f, "{0} = -{0}", width.reg(dst)),
            Insn::Swap { op, bits, dst } => swap(f, op, bits, dst),
            Insn::CallX { reg } => write!(f, "callx {reg}"),
            Insn::Exit => f.write_str("exit"),
        }
    }

    fn llvm(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.insn {
            Insn::Alu { op, width, dst, src } => {
                let (dst, src) = (width.reg(dst), Llvm::operand(width, src));
                write!(f, "{dst} {} {src}", op.symbol())
            }
            Insn::LdImm64 { dst, value: Imm64::Const(value) } => {
                write!(f, "{dst} = {} ll", Llvm(value as i64))
            }
            Insn::LdImm64 { dst, value } => {
                let (imm, next_imm) = value.halves();
                write!(f, "ld_pseudo {dst}, {:#x}, {imm:#x}", value.kind().code())?;
                // LLVM has no word for the second immediate.
                if next_imm != 0 { write!(f, ", {next_imm:#x}") } else { Ok(()) }
            }
            Insn::Load { size, sext, dst, base, off } => {
                let dst = if sext { Width::W64 } else { value_width(size) }.reg(dst);
                write!(f, "{dst} = *({} *)({base} {})", type_name(size, sext), LlvmOff(off))
            }
            Insn::Store { size, base, off, src } => {
                let src = Llvm::operand(value_width(size), src);
                write!(f, "*({} *)({base} {}) = {src}", size.unsigned_name(), LlvmOff(off))
            }
            Insn::Atomic { op, fetch, size, base, off, src } => {
                self.llvm_atomic(f, op, fetch, size, base, off, src)
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let dst = value_width(size).reg(dst);
                write!(f, "{dst} = load_acquire(({} *)({base} {}))", size.unsigned_name(), LlvmOff(off))
            }
            Insn::StoreRelease { size, base, off, src } => {
                let src = value_width(size).reg(src);
                write!(f, "store_release(({} *)({base} {}), {src})", size.unsigned_name(), LlvmOff(off))
            }
            Insn::Packet { size, index: None, imm } => {
                write!(f, "r0 = *({} *)skb[{}]", size.unsigned_name(), Llvm(imm.into()))
            }
            Insn::Packet { size, index: Some(index), imm: 0 } => {
                write!(f, "r0 = *({} *)skb[{index}]", size.unsigned_name())
            }
            Insn::Packet { size, index: Some(index), imm } => {
                write!(f, "r0 = *({} *)skb[{index} + {}]", size.unsigned_name(), Llvm(imm.into()))
            }
            Insn::Branch { cond, width, dst, src, off } => {
                let (dst, src) = (width.reg(dst), Llvm::operand(width, src));
                write!(f, "if {dst} {} {src} goto {}", cond.symbol(), LlvmTarget(off.into()))
            }
            Insn::Goto { off, long: false } => write!(f, "goto {}", LlvmTarget(off.into())),
            Insn::Goto { off, long: true } => write!(f, "gotol {}", LlvmTarget(off.into())),
            Insn::MayGoto { off } => write!(f, "may_goto {}", LlvmTarget(off.into())),
            Insn::Call(Callee::Subprog(off)) => write!(f, "call pc{}", LlvmTarget(off.into())),
            Insn::Call(Callee::Helper(id)) => write!(f, "call {}", Llvm((id as i32).into())),
            Insn::Call(Callee::Kfunc { btf_id, fd_idx }) => self.kfunc(f, btf_id, fd_idx),
            Insn::AddrSpaceCast { dst, src, to, from } => {
                write!(f, "{dst} = addr_space_cast({src}, {to:#x}, {from:#x})")
            }
            Insn::MovSx { width, bits, dst, src } => mov_sx(f, width, bits, dst, src),
            Insn::Neg { width, dst } => write!(f, "{0} = -{0}", width.reg(dst)),
            Insn::Swap { op, bits, dst } => swap(f, op, bits, dst),
            Insn::CallX { reg } => write!(f, "callx {reg}"),
            Insn::Exit => f.write_str("exit"),
        }
    }

    fn kfunc(&self, f: &mut Formatter<'_>, btf_id: i32, fd_idx: i16) -> fmt::Result {
        let name = self.names.kfunc(btf_id, fd_idx).unwrap_or("kernel-function");
        write!(f, "call {name}#{btf_id}")?;
        // The kernel keeps silent about the index, but without it the text would be another instruction.
        if fd_idx != 0 { write!(f, "[fd_idx:{fd_idx}]") } else { Ok(()) }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one variant")]
    fn llvm_atomic(
        &self,
        f: &mut Formatter<'_>,
        op: AtomicOp,
        fetch: bool,
        size: Size,
        base: Reg,
        off: i16,
        src: Reg,
    ) -> fmt::Result {
        let width = value_width(size);
        let (src, r0, off, bits) = (width.reg(src), width.reg(Reg::R0), LlvmOff(off), width.bits());
        // LLVM's 32-bit forms are `xchg32_32` and `cmpxchg32_32`.
        let narrow = if width == Width::W32 { "32" } else { "" };
        let place = format_args!("({} *)({base} {off})", size.unsigned_name());
        match (op, fetch) {
            (AtomicOp::Cmpxchg, _) => write!(f, "{r0} = cmpxchg{narrow}_{bits}({base} {off}, {r0}, {src})"),
            (AtomicOp::Xchg, _) => write!(f, "{src} = xchg{narrow}_{bits}({base} {off}, {src})"),
            (_, true) => write!(f, "{src} = atomic_fetch_{}({place}, {src})", op.name()),
            (_, false) => write!(f, "lock *{place} {} {src}", assignment(op)),
        }
    }
}

/// A register with the letter of a width.
struct WidthReg(Width, Reg);

/// An operand of the kernel's spelling.
enum Kernel {
    Reg(WidthReg),
    Decimal(i32),
    Hexadecimal(i32),
}

/// A number of LLVM's spelling: hexadecimal with a sign.
struct Llvm(i64);

/// An operand of LLVM's spelling.
enum LlvmOperand {
    Reg(WidthReg),
    Imm(Llvm),
}

/// A memory offset of LLVM's spelling: `+ 0x4`.
struct LlvmOff(i16);

/// A jump offset of LLVM's spelling: `+0x4`.
struct LlvmTarget(i64);

impl Width {
    fn reg(self, reg: Reg) -> WidthReg {
        WidthReg(self, reg)
    }
}

impl Kernel {
    fn decimal(width: Width, operand: Operand) -> Kernel {
        match operand {
            Operand::Reg(reg) => Kernel::Reg(width.reg(reg)),
            Operand::Imm(imm) => Kernel::Decimal(imm),
        }
    }

    fn hexadecimal(width: Width, operand: Operand) -> Kernel {
        match operand {
            Operand::Reg(reg) => Kernel::Reg(width.reg(reg)),
            Operand::Imm(imm) => Kernel::Hexadecimal(imm),
        }
    }
}

impl Llvm {
    fn operand(width: Width, operand: Operand) -> LlvmOperand {
        match operand {
            Operand::Reg(reg) => LlvmOperand::Reg(width.reg(reg)),
            Operand::Imm(imm) => LlvmOperand::Imm(Llvm(imm.into())),
        }
    }
}

impl Display for WidthReg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.letter(), self.1.index())
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Kernel::Reg(reg) => reg.fmt(f),
            Kernel::Decimal(imm) => imm.fmt(f),
            Kernel::Hexadecimal(imm) => write!(f, "{imm:#x}"),
        }
    }
}

impl Display for LlvmOperand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LlvmOperand::Reg(reg) => reg.fmt(f),
            LlvmOperand::Imm(imm) => imm.fmt(f),
        }
    }
}

impl Display for Llvm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

impl Display for LlvmOff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign} {:#x}", self.0.unsigned_abs())
    }
}

impl Display for LlvmTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

fn mov_sx(f: &mut Formatter<'_>, width: Width, bits: u8, dst: Reg, src: Reg) -> fmt::Result {
    write!(f, "{} = (s{bits}){}", width.reg(dst), width.reg(src))
}

fn swap(f: &mut Formatter<'_>, op: Swap, bits: u8, dst: Reg) -> fmt::Result {
    write!(f, "{dst} = {}{bits} {dst}", op.name())
}

/// The kernel prints an address for most of these; bpftool's spelling tells what the program says.
fn imm64(f: &mut Formatter<'_>, value: Imm64) -> fmt::Result {
    match value {
        Imm64::Const(value) => write!(f, "{value:#x}"),
        Imm64::MapFd(fd) => write!(f, "map[fd:{fd}]"),
        Imm64::MapFdValue { fd, off } => write!(f, "map[fd:{fd}][0]+{off}"),
        Imm64::BtfId { id, btf_fd: 0 } => write!(f, "btf_id[{id}]"),
        Imm64::BtfId { id, btf_fd } => write!(f, "btf_id[{id}][fd:{btf_fd}]"),
        Imm64::Func(off) => write!(f, "subprog[{off:+}]"),
        Imm64::MapIdx(idx) => write!(f, "map[idx:{idx}]"),
        Imm64::MapIdxValue { idx, off } => write!(f, "map[idx:{idx}][0]+{off}"),
    }
}

fn type_name(size: Size, sext: bool) -> &'static str {
    if sext { size.signed_name() } else { size.unsigned_name() }
}

/// The register width that LLVM shows for a value of this size in memory.
fn value_width(size: Size) -> Width {
    match size {
        Size::B | Size::H | Size::W => Width::W32,
        Size::Dw => Width::W64,
    }
}

/// The operator of an atomic operation that returns nothing.
fn assignment(op: AtomicOp) -> &'static str {
    match op {
        AtomicOp::Add => AluOp::Add.symbol(),
        AtomicOp::Or => AluOp::Or.symbol(),
        AtomicOp::And => AluOp::And.symbol(),
        AtomicOp::Xor => AluOp::Xor.symbol(),
        AtomicOp::Xchg | AtomicOp::Cmpxchg => "=",
    }
}
