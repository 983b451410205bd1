//! Reads one statement: a label, a directive, or an instruction in the kernel's or LLVM's spelling.

use super::Fault;
use super::cursor::{Cursor, register};
use super::mnemonic;
use super::token::{Kind, shortened};
use crate::insn::Insn;
use crate::isa::{AluOp, AtomicOp, Cond, Form, Imm64Kind};
use crate::names::Names;
use crate::operand::{Callee, Imm64, Operand, Reg, Size, Swap, Width};
use crate::raw::RawInsn;

pub(super) enum Statement<'a> {
    Label(&'a str),
    /// A slot given as a number.
    Raw(RawInsn),
    Insn(Insn, Target<'a>),
}

/// Where an instruction jumps.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// It does not jump, or the offset is in the instruction.
    Known,
    /// To a label whose place is not known yet.
    Label { at: usize, name: &'a str },
}

type Parsed<'a> = Result<(Insn, Target<'a>), Fault>;

const MEMORY_TYPES: &str = "a type (u8, u16, u32, u64, s8, s16 or s32)";

/// Reads the next statement. `opcode` is what a listing says the instruction's opcode is.
pub(super) fn statement<'a>(
    cursor: &mut Cursor<'_, 'a>,
    names: &dyn Names,
    opcode: Option<u8>,
) -> Result<Statement<'a>, Fault> {
    if let Some(Kind::Word(name) | Kind::Number(_, name)) = cursor.peek()
        && cursor.peek_at(1) == Some(Kind::Symbol(":"))
    {
        cursor.advance();
        cursor.advance();
        return Ok(Statement::Label(name));
    }
    if cursor.take(".8byte") || cursor.take(".quad") {
        let slot = cursor.number()?.imm64()?;
        cursor.want_end()?;
        return Ok(Statement::Raw(RawInsn::from_u64(slot)));
    }
    let (insn, target) = instruction(cursor, names, opcode)?;
    cursor.want_end()?;
    Ok(Statement::Insn(insn, target))
}

fn instruction<'a>(cursor: &mut Cursor<'_, 'a>, names: &dyn Names, opcode: Option<u8>) -> Parsed<'a> {
    let known = |insn| (insn, Target::Known);
    match (cursor.peek(), cursor.peek_at(1)) {
        (Some(Kind::Symbol("*")), _) => store(cursor).map(known),
        (Some(Kind::Word("lock")), Some(Kind::Symbol("*"))) => lock(cursor).map(known),
        (Some(Kind::Word("store_release")), _) => store_release(cursor).map(known),
        (Some(Kind::Word("ld_pseudo")), _) => ld_pseudo(cursor).map(known),
        (Some(Kind::Word("if")), _) => branch(cursor),
        (Some(Kind::Word("goto")), _) => {
            goto(cursor, |off| Ok(Insn::Goto { off: short(off)?.into(), long: false }))
        }
        (Some(Kind::Word("gotol")), _) => goto(cursor, |off| Ok(Insn::Goto { off, long: true })),
        (Some(Kind::Word("may_goto")), _) => goto(cursor, |off| Ok(Insn::MayGoto { off: short(off)? })),
        (Some(Kind::Word("call")), _) => call(cursor, names),
        (Some(Kind::Word("callx")), _) => {
            cursor.advance();
            Ok(known(Insn::CallX { reg: cursor.reg(Width::W64)? }))
        }
        (Some(Kind::Word("exit")), _) => {
            cursor.advance();
            Ok(known(Insn::Exit))
        }
        (Some(Kind::Word(word)), _) if register(word).is_some() => assignment(cursor, opcode),
        (Some(Kind::Word(_)), _) => mnemonic::instruction(cursor),
        (Some(Kind::Symbol(_) | Kind::Number(..)) | None, _) => {
            Err(cursor.expected("an instruction or a label"))
        }
    }
}

/// `REG op= …`, `REG = …`.
fn assignment<'a>(cursor: &mut Cursor<'_, 'a>, opcode: Option<u8>) -> Parsed<'a> {
    let (width, dst) = cursor.any_reg()?;
    let operator = cursor.expected("an assignment (=, +=, s>>= …)");
    let op = cursor.take_symbol().and_then(|symbol| AluOp::ALL.iter().find(|op| op.symbol() == symbol));
    match op.copied() {
        None => Err(operator),
        Some(AluOp::Mov) => value(cursor, width, dst, opcode),
        Some(op) => {
            let src = cursor.operand(width)?;
            Ok((Insn::Alu { op, width, dst, src }, Target::Known))
        }
    }
}

/// What stands right of `REG =`.
fn value<'a>(cursor: &mut Cursor<'_, 'a>, width: Width, dst: Reg, opcode: Option<u8>) -> Parsed<'a> {
    let insn = match (cursor.peek(), cursor.peek_at(1)) {
        (Some(Kind::Symbol("-")), Some(Kind::Word(_))) => {
            cursor.advance();
            same_reg(cursor, width, dst)?;
            Insn::Neg { width, dst }
        }
        (Some(Kind::Symbol("(")), _) => movsx(cursor, width, dst)?,
        (Some(Kind::Symbol("*")), _) => load(cursor, width, dst)?,
        (Some(Kind::Word(word)), following) if register(word).is_none() => {
            return match (word, following) {
                (label, Some(Kind::Word("ll"))) if width == Width::W64 => {
                    let at = cursor.offset();
                    cursor.advance();
                    cursor.advance();
                    let insn = Insn::LdImm64 { dst, value: Imm64::Func(0) };
                    Ok((insn, Target::Label { at, name: label }))
                }
                ("map" | "btf_id" | "subprog", Some(Kind::Symbol("["))) if width == Width::W64 => {
                    object(cursor, dst)
                }
                _ => function(cursor, word, width, dst).map(|insn| (insn, Target::Known)),
            };
        }
        _ => constant(cursor, width, dst, opcode)?,
    };
    Ok((insn, Target::Known))
}

/// A register or number: a move, or a 64-bit load when `ll` follows or the listing says so.
fn constant(cursor: &mut Cursor<'_, '_>, width: Width, dst: Reg, opcode: Option<u8>) -> Result<Insn, Fault> {
    if let Some(number) = cursor.take_number() {
        let wide = opcode == Some(Form::LdImm64(Imm64Kind::Const).opcode());
        if width == Width::W64 && (cursor.take("ll") || wide) {
            return Ok(Insn::LdImm64 { dst, value: Imm64::Const(number.imm64()?) });
        }
        let src = Operand::Imm(number.imm32()?);
        return Ok(Insn::Alu { op: AluOp::Mov, width, dst, src });
    }
    let src = cursor.operand(width).map_err(|fault| Fault {
        message: fault
            .message
            .replace("a register or a number", "a value (register, number, *(TYPE *)(REG + OFF), …)"),
        ..fault
    })?;
    Ok(Insn::Alu { op: AluOp::Mov, width, dst, src })
}

/// `(s8)REG`.
fn movsx(cursor: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Result<Insn, Fault> {
    cursor.want("(")?;
    let what = match width {
        Width::W32 => "s8 or s16",
        Width::W64 => "s8, s16 or s32",
    };
    let fault = cursor.expected(what);
    let bits = match cursor.take_word() {
        Some("s8") => 8,
        Some("s16") => 16,
        Some("s32") if width == Width::W64 => 32,
        Some(_) | None => return Err(fault),
    };
    cursor.want(")")?;
    Ok(Insn::MovSx { width, bits, dst, src: cursor.reg(width)? })
}

/// `*(TYPE *)(REG + OFF)`, `*(TYPE *)skb[…]`.
fn load(cursor: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Result<Insn, Fault> {
    cursor.want("*")?;
    let at = cursor.offset();
    let (size, sext) = pointer_type(cursor)?;
    if cursor.take("skb") {
        return match (size, sext, dst) {
            (Size::B | Size::H | Size::W, false, Reg::R0) => packet(cursor, size),
            _ => Err(Fault { at, message: "packet loads go to r0 and have type u8, u16 or u32".into() }),
        };
    }
    if width == Width::W32 && (sext || size == Size::Dw) {
        let message = "a load of this type fills a 64-bit register (r0 to r10)".into();
        return Err(Fault { at, message });
    }
    let (base, off) = place(cursor)?;
    Ok(Insn::Load { size, sext, dst, base, off })
}

/// `[IMM]`, `[REG]`, `[REG + IMM]`.
fn packet(cursor: &mut Cursor<'_, '_>, size: Size) -> Result<Insn, Fault> {
    cursor.want("[")?;
    let index = cursor.take_reg().map(|(_, reg)| reg);
    let imm = match index {
        None => cursor.number()?.imm32()?,
        // The kernel writes `+ -4`.
        Some(_)
            if cursor.peek() == Some(Kind::Symbol("+"))
                && !matches!(cursor.peek_at(1), Some(Kind::Number(..))) =>
        {
            cursor.advance();
            cursor.number()?.imm32()?
        }
        Some(_) => match cursor.take_number() {
            Some(number) => number.imm32()?,
            None => 0,
        },
    };
    cursor.want("]")?;
    Ok(Insn::Packet { size, index, imm })
}

/// `*(TYPE *)(REG + OFF) = …`.
fn store(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    cursor.want("*")?;
    let size = unsigned_pointer_type(cursor)?;
    let (base, off) = place(cursor)?;
    cursor.want("=")?;
    let src = match cursor.take_number() {
        Some(number) => Operand::Imm(number.imm32()?),
        None => Operand::Reg(cursor.value_reg(size)?),
    };
    Ok(Insn::Store { size, base, off, src })
}

/// `lock *(TYPE *)(REG + OFF) op= REG`.
fn lock(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    cursor.want("lock")?;
    cursor.want("*")?;
    let size = atomic_pointer_type(cursor)?;
    let (base, off) = place(cursor)?;
    let fault = cursor.expected("an atomic operation (+=, |=, &=, ^=)");
    let op = match cursor.take_symbol() {
        Some("+=") => AtomicOp::Add,
        Some("|=") => AtomicOp::Or,
        Some("&=") => AtomicOp::And,
        Some("^=") => AtomicOp::Xor,
        Some(_) | None => return Err(fault),
    };
    Ok(Insn::Atomic { op, fetch: false, size, base, off, src: cursor.value_reg(size)? })
}

/// `store_release((TYPE *)(REG + OFF), REG)`.
fn store_release(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    cursor.want("store_release")?;
    cursor.want("(")?;
    let size = unsigned_pointer_type(cursor)?;
    let (base, off) = place(cursor)?;
    cursor.want(",")?;
    let src = cursor.value_reg(size)?;
    cursor.want(")")?;
    Ok(Insn::StoreRelease { size, base, off, src })
}

/// What is written like a function right of `REG =`.
fn function(cursor: &mut Cursor<'_, '_>, word: &str, width: Width, dst: Reg) -> Result<Insn, Fault> {
    let unknown = cursor.expected("a value (register, number, *(TYPE *)(REG + OFF), …)");
    if let Some((op, bits)) = swap(word) {
        cursor.advance();
        same_reg(cursor, width, dst)?;
        return Ok(Insn::Swap { op, bits, dst });
    }
    match word {
        "load_acquire" => {
            cursor.advance();
            cursor.want("(")?;
            let size = unsigned_pointer_type(cursor)?;
            let (base, off) = place(cursor)?;
            cursor.want(")")?;
            Ok(Insn::LoadAcquire { size, dst, base, off })
        }
        "addr_space_cast" if width == Width::W64 => {
            let at = cursor.offset();
            cursor.advance();
            cursor.want("(")?;
            let src = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            let to = cursor.number()?.unsigned()?;
            cursor.want(",")?;
            let from = cursor.number()?.unsigned()?;
            cursor.want(")")?;
            match (to, from) {
                (0, 1) | (1, 0) => Ok(Insn::AddrSpaceCast { dst, src, to, from }),
                _ => Err(Fault { at, message: "the address spaces must be 0, 1 or 1, 0".into() }),
            }
        }
        _ => {
            let Some(op) = fetch_op(word) else { return Err(unknown) };
            cursor.advance();
            fetch(cursor, word, op, dst)
        }
    }
}

/// `(PLACE, REG)` of an atomic operation that returns the old value, `(PLACE, r0, REG)` of a compare and exchange.
fn fetch(cursor: &mut Cursor<'_, '_>, word: &str, op: AtomicOp, dst: Reg) -> Result<Insn, Fault> {
    let at = cursor.offset();
    cursor.want("(")?;
    // LLVM's `xchg_64(r1 + 8, r2)` has the size in the name, all others have it in the pointer's type.
    let (size, base, off) = match word {
        "xchg_64" | "cmpxchg_64" => with_size(Size::Dw, bare_place(cursor)?),
        "xchg32_32" | "cmpxchg32_32" => with_size(Size::W, bare_place(cursor)?),
        _ => with_size(atomic_pointer_type(cursor)?, place(cursor)?),
    };
    if word.starts_with("atomic64_") && size != Size::Dw {
        return Err(Fault { at, message: format!("`{word}` works on u64") });
    }
    cursor.want(",")?;
    let compared = cursor.expected("r0");
    if op == AtomicOp::Cmpxchg {
        if cursor.value_reg(size)? != Reg::R0 {
            return Err(compared);
        }
        cursor.want(",")?;
    }
    let again = cursor.expected(&format!("{dst}, which takes the old value"));
    let src = cursor.value_reg(size)?;
    cursor.want(")")?;
    match op {
        AtomicOp::Cmpxchg if dst != Reg::R0 => {
            Err(Fault { at, message: "a compare and exchange returns the old value in r0".into() })
        }
        AtomicOp::Cmpxchg => Ok(Insn::Atomic { op, fetch: true, size, base, off, src }),
        _ if src != dst => Err(again),
        _ => Ok(Insn::Atomic { op, fetch: true, size, base, off, src }),
    }
}

fn with_size(size: Size, (base, off): (Reg, i16)) -> (Size, Reg, i16) {
    (size, base, off)
}

/// The operation of a name like `atomic64_fetch_add`, `atomic_xchg`, `xchg32_32`.
fn fetch_op(word: &str) -> Option<AtomicOp> {
    match word {
        "xchg_64" | "xchg32_32" => return Some(AtomicOp::Xchg),
        "cmpxchg_64" | "cmpxchg32_32" => return Some(AtomicOp::Cmpxchg),
        _ => {}
    }
    let name = word.strip_prefix("atomic64_").or_else(|| word.strip_prefix("atomic_"))?;
    let (name, fetches) = match name.strip_prefix("fetch_") {
        Some(name) => (name, true),
        None => (name, false),
    };
    AtomicOp::ALL.iter().copied().find(|op| op.name() == name && op.always_fetches() != fetches)
}

/// Byte swaps: `be16`, `le64`, `bswap32`, and the conformance suite's `swap32`.
pub(super) fn swap(word: &str) -> Option<(Swap, u8)> {
    let digits = word.find(|c: char| c.is_ascii_digit())?;
    let (name, bits) = word.split_at_checked(digits)?;
    let op = match name {
        "le" => Swap::ToLe,
        "be" => Swap::ToBe,
        "bswap" | "swap" => Swap::Bswap,
        _ => return None,
    };
    match bits {
        "16" => Some((op, 16)),
        "32" => Some((op, 32)),
        "64" => Some((op, 64)),
        _ => None,
    }
}

/// `map[fd:5]`, `map[idx:0][0]+8`, `btf_id[7]`, `subprog[+3]`: what the loader resolves.
fn object<'a>(cursor: &mut Cursor<'_, 'a>, dst: Reg) -> Parsed<'a> {
    let fault = cursor.expected("map, btf_id or subprog");
    let word = cursor.take_word();
    cursor.want("[")?;
    let mut target = Target::Known;
    let value = match word {
        Some("map") => map(cursor)?,
        Some("btf_id") => {
            let id = cursor.number()?.imm32()?;
            cursor.want("]")?;
            let btf_fd = if cursor.take("[") {
                cursor.want("fd")?;
                cursor.want(":")?;
                let fd = cursor.number()?.imm32()?;
                cursor.want("]")?;
                fd
            } else {
                0
            };
            Imm64::BtfId { id, btf_fd }
        }
        Some("subprog") => {
            let off = match cursor.take_number() {
                Some(number) => number.imm32()?,
                None => {
                    target = label(cursor, "an offset or a label")?;
                    0
                }
            };
            cursor.want("]")?;
            Imm64::Func(off)
        }
        Some(_) | None => return Err(fault),
    };
    Ok((Insn::LdImm64 { dst, value }, target))
}

/// `fd:5]`, `idx:0][0]+8`.
fn map(cursor: &mut Cursor<'_, '_>) -> Result<Imm64, Fault> {
    let by_fd = cursor.take("fd");
    if !by_fd && !cursor.take("idx") {
        return Err(cursor.expected("fd or idx"));
    }
    cursor.want(":")?;
    let imm = cursor.number()?.imm32()?;
    cursor.want("]")?;
    if !cursor.take("[") {
        return Ok(if by_fd { Imm64::MapFd(imm) } else { Imm64::MapIdx(imm) });
    }
    let index = cursor.expected("0, the first value");
    if cursor.number()?.value != 0 {
        return Err(index);
    }
    cursor.want("]")?;
    cursor.want("+")?;
    let off = cursor.number()?.unsigned()?;
    Ok(if by_fd { Imm64::MapFdValue { fd: imm, off } } else { Imm64::MapIdxValue { idx: imm, off } })
}

/// `ld_pseudo REG, KIND, IMM` and, beyond LLVM, the second immediate.
fn ld_pseudo(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    cursor.want("ld_pseudo")?;
    let dst = cursor.reg(Width::W64)?;
    cursor.want(",")?;
    let at = cursor.offset();
    let code: u8 = cursor.number()?.unsigned()?;
    let kinds = [
        Imm64Kind::Const,
        Imm64Kind::MapFd,
        Imm64Kind::MapFdValue,
        Imm64Kind::BtfId,
        Imm64Kind::Func,
        Imm64Kind::MapIdx,
        Imm64Kind::MapIdxValue,
    ];
    let kind = kinds.into_iter().find(|kind| kind.code() == code);
    let kind =
        kind.ok_or_else(|| Fault { at, message: format!("{code} is no kind of load: they go from 0 to 6") })?;
    cursor.want(",")?;
    let imm = cursor.number()?.imm32()?;
    let next_at = cursor.offset();
    let next_imm = if cursor.take(",") { cursor.number()?.imm32()? } else { 0 };
    let value = Imm64::from_halves(kind, imm, next_imm);
    if value.halves() != (imm, next_imm) {
        return Err(Fault { at: next_at, message: "this kind of load has no second immediate".into() });
    }
    Ok(Insn::LdImm64 { dst, value })
}

/// `if REG cond X goto TARGET`.
fn branch<'a>(cursor: &mut Cursor<'_, 'a>) -> Parsed<'a> {
    cursor.want("if")?;
    let (width, dst) = cursor.any_reg()?;
    let fault = cursor.expected("a comparison (==, !=, >, s>= …)");
    let cond = cursor.take_symbol().and_then(|symbol| Cond::ALL.iter().find(|cond| cond.symbol() == symbol));
    let cond = *cond.ok_or(fault)?;
    let src = cursor.operand(width)?;
    goto(cursor, |off| Ok(Insn::Branch { cond, width, dst, src, off: short(off)? }))
}

/// `goto TARGET`, whatever the word is; `make` builds the instruction from the offset.
fn goto<'a>(cursor: &mut Cursor<'_, 'a>, make: impl FnOnce(i32) -> Result<Insn, String>) -> Parsed<'a> {
    match cursor.peek() {
        Some(Kind::Word("goto" | "gotol" | "may_goto")) => cursor.advance(),
        Some(_) | None => return Err(cursor.expected("`goto`")),
    }
    jump(cursor, make)
}

/// `pc+3`, `+3`, `LABEL`.
pub(super) fn jump<'a>(
    cursor: &mut Cursor<'_, 'a>,
    make: impl FnOnce(i32) -> Result<Insn, String>,
) -> Parsed<'a> {
    let at = cursor.offset();
    let (off, target) = match offset(cursor)? {
        Some(off) => (off, Target::Known),
        None => (0, label(cursor, "a jump target (pc+N, +N, -N or a label)")?),
    };
    let insn = make(off).map_err(|message| Fault { at, message })?;
    Ok((insn, target))
}

/// A relative jump offset, if one is next: `pc+3`, `+3`.
fn offset(cursor: &mut Cursor<'_, '_>) -> Result<Option<i32>, Fault> {
    let signed = |kind| matches!(kind, Some(Kind::Symbol("+" | "-")));
    if cursor.peek() == Some(Kind::Word("pc")) && signed(cursor.peek_at(1)) {
        cursor.advance();
    } else if !signed(cursor.peek()) {
        return Ok(None);
    }
    let number = cursor.number()?;
    i32::try_from(number.value)
        .map(Some)
        .map_err(|_| Fault { at: number.at, message: "the jump offset does not fit in 32 bits".into() })
}

pub(super) fn label<'a>(cursor: &mut Cursor<'_, 'a>, what: &str) -> Result<Target<'a>, Fault> {
    let at = cursor.offset();
    let fault = cursor.expected(what);
    let name = cursor.take_word().ok_or(fault)?;
    Ok(Target::Label { at, name })
}

pub(super) fn short(off: i32) -> Result<i16, String> {
    i16::try_from(off)
        .map_err(|_| format!("{off} is no jump offset: they go from -32768 to 32767; use gotol"))
}

/// `call NAME`, `call NAME#N`, `call N`, `call pc+N`, `call LABEL`, and the conformance suite's `call local LABEL`,
/// `call helper N`, `call runtime N`, `call REG`.
fn call<'a>(cursor: &mut Cursor<'_, 'a>, names: &dyn Names) -> Parsed<'a> {
    cursor.want("call")?;
    let known = |callee| Ok((Insn::Call(callee), Target::Known));
    let kind = match (cursor.peek(), cursor.peek_at(1)) {
        (Some(Kind::Word(kind @ ("local" | "helper" | "runtime"))), Some(_)) => {
            cursor.advance();
            Some(kind)
        }
        _ => None,
    };
    if kind == Some("local") {
        return jump(cursor, |off| Ok(Insn::Call(Callee::Subprog(off))));
    }
    if let Some(reg) = cursor.take_reg() {
        return Ok((Insn::CallX { reg: reg.1 }, Target::Known));
    }
    if cursor.peek() == Some(Kind::Word("pc"))
        && let Some(off) = offset(cursor)?
    {
        return known(Callee::Subprog(off));
    }
    if let Some(number) = cursor.take_number() {
        let imm = number.imm32()?;
        return known(match kind {
            Some("runtime") => Callee::Kfunc { btf_id: imm, fd_idx: 0 },
            Some(_) | None => Callee::Helper(imm as u32),
        });
    }
    named_call(cursor, names)
}

/// `NAME`, `NAME#N`, `kernel-function#N[fd_idx:M]`.
fn named_call<'a>(cursor: &mut Cursor<'_, 'a>, names: &dyn Names) -> Parsed<'a> {
    let at = cursor.offset();
    let fault = cursor.expected("what to call (a helper's name or number, pc+N, a label)");
    let name = cursor.take_word().ok_or(fault)?;
    let anonymous_kfunc = name == "kernel" && cursor.take("-");
    if anonymous_kfunc {
        cursor.want("function")?;
    }
    let number = if cursor.take("#") { Some(cursor.number()?.imm32()?) } else { None };
    let fd_idx = fd_idx(cursor)?;
    let callee = match (number, fd_idx) {
        (Some(btf_id), _) if anonymous_kfunc => Callee::Kfunc { btf_id, fd_idx: fd_idx.unwrap_or(0) },
        (Some(id), None) if name == "unknown" || names.helper(id as u32) == Some(name) => {
            Callee::Helper(id as u32)
        }
        (Some(btf_id), _) if names.kfunc(btf_id, fd_idx.unwrap_or(0)) == Some(name) => {
            Callee::Kfunc { btf_id, fd_idx: fd_idx.unwrap_or(0) }
        }
        (Some(number), _) => {
            return Err(Fault {
                at,
                message: format!(
                    "no helper or kernel function with number {number} is called `{}`",
                    shortened(name)
                ),
            });
        }
        (None, _) => match (names.helper_id(name), names.kfunc_id(name)) {
            (Some(id), _) => Callee::Helper(id),
            (None, Some((btf_id, fd_idx))) => Callee::Kfunc { btf_id, fd_idx },
            // Whether there is such a label is found out at the end.
            (None, None) => return Ok((Insn::Call(Callee::Subprog(0)), Target::Label { at, name })),
        },
    };
    Ok((Insn::Call(callee), Target::Known))
}

/// `[fd_idx:3]`, which the kernel does not print.
fn fd_idx(cursor: &mut Cursor<'_, '_>) -> Result<Option<i16>, Fault> {
    if !cursor.take("[") {
        return Ok(None);
    }
    cursor.want("fd_idx")?;
    cursor.want(":")?;
    let idx = cursor.number()?.off()?;
    cursor.want("]")?;
    Ok(Some(idx))
}

/// `(TYPE *)`.
fn pointer_type(cursor: &mut Cursor<'_, '_>) -> Result<(Size, bool), Fault> {
    cursor.want("(")?;
    let fault = cursor.expected(MEMORY_TYPES);
    let kind = match cursor.take_word() {
        Some(word) => Size::ALL.into_iter().find_map(|size| match word {
            _ if word == size.unsigned_name() => Some((size, false)),
            _ if word == size.signed_name() && size != Size::Dw => Some((size, true)),
            _ => None,
        }),
        None => None,
    };
    let kind = kind.ok_or(fault)?;
    cursor.want("*")?;
    cursor.want(")")?;
    Ok(kind)
}

fn unsigned_pointer_type(cursor: &mut Cursor<'_, '_>) -> Result<Size, Fault> {
    let at = cursor.offset();
    match pointer_type(cursor)? {
        (size, false) => Ok(size),
        (_, true) => Err(Fault { at, message: "the type must be u8, u16, u32 or u64".into() }),
    }
}

fn atomic_pointer_type(cursor: &mut Cursor<'_, '_>) -> Result<Size, Fault> {
    let at = cursor.offset();
    match unsigned_pointer_type(cursor)? {
        size @ (Size::W | Size::Dw) => Ok(size),
        Size::B | Size::H => Err(Fault { at, message: "atomic operations work on u32 and u64".into() }),
    }
}

/// `(REG + OFF)`.
fn place(cursor: &mut Cursor<'_, '_>) -> Result<(Reg, i16), Fault> {
    cursor.want("(")?;
    let place = bare_place(cursor)?;
    cursor.want(")")?;
    Ok(place)
}

/// `REG + OFF`.
pub(super) fn bare_place(cursor: &mut Cursor<'_, '_>) -> Result<(Reg, i16), Fault> {
    let base = cursor.reg(Width::W64)?;
    match cursor.peek() {
        Some(Kind::Symbol("+" | "-")) => Ok((base, cursor.number()?.off()?)),
        Some(_) | None => Ok((base, 0)),
    }
}

/// The register that is already left of the `=`.
fn same_reg(cursor: &mut Cursor<'_, '_>, width: Width, dst: Reg) -> Result<(), Fault> {
    let fault = cursor.expected(&format!("{}{}, the register on the left", width.letter(), dst.index()));
    match cursor.take_reg() {
        Some(reg) if reg == (width, dst) => Ok(()),
        Some(_) | None => Err(fault),
    }
}
