//! Reads an instruction in the spelling of the public conformance suite: a mnemonic, then operands with commas.
//!
//! The mnemonics are the names in the instruction table.

use super::Fault;
use super::cursor::Cursor;
use super::statement::{Target, bare_place, jump, short, swap};
use super::token::Kind;
use crate::insn::Insn;
use crate::isa::{self, AtomicOp, Form, Source};
use crate::operand::{Imm64, Operand, Reg, Size, Width};

type Parsed<'a> = Result<(Insn, Target<'a>), Fault>;

pub(super) fn instruction<'a>(cursor: &mut Cursor<'_, 'a>) -> Parsed<'a> {
    let unknown = cursor.expected("an instruction");
    let known = |insn| (insn, Target::Known);
    let Some(word) = cursor.take_word() else { return Err(unknown) };
    if word == "lock" {
        return lock(cursor).map(known);
    }
    if let Some((op, bits)) = swap(word) {
        return Ok(known(Insn::Swap { op, bits, dst: cursor.reg(Width::W64)? }));
    }
    let name = word.strip_suffix("64").filter(|name| form(name).is_some()).unwrap_or(word);
    match form(name).ok_or(unknown)? {
        Form::Alu(op, width, _) => {
            let dst = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            let src = cursor.operand(Width::W64)?;
            Ok(known(Insn::Alu { op, width, dst, src }))
        }
        Form::MovSx(width, bits) => {
            let dst = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            Ok(known(Insn::MovSx { width, bits, dst, src: cursor.reg(Width::W64)? }))
        }
        Form::Neg(width) => Ok(known(Insn::Neg { width, dst: cursor.reg(Width::W64)? })),
        Form::LdImm64(_) => {
            let dst = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            Ok(known(Insn::LdImm64 { dst, value: Imm64::Const(cursor.number()?.imm64()?) }))
        }
        Form::Load(size, sext) => {
            let dst = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            let (base, off) = place(cursor)?;
            Ok(known(Insn::Load { size, sext, dst, base, off }))
        }
        Form::Store(size, source) => store(cursor, size, source).map(known),
        Form::Packet(size, source) => packet(cursor, size, source).map(known),
        Form::Branch(cond, width, _) => {
            let dst = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            let src = cursor.operand(Width::W64)?;
            cursor.want(",")?;
            jump(cursor, |off| Ok(Insn::Branch { cond, width, dst, src, off: short(off)? }))
        }
        Form::Goto => jump(cursor, |off| Ok(Insn::Goto { off: short(off)?.into(), long: false })),
        Form::GotoLong => jump(cursor, |off| Ok(Insn::Goto { off, long: true })),
        // These have one spelling only, which has been tried already.
        Form::AddrSpaceCast(..)
        | Form::Swap(..)
        | Form::Atomic(..)
        | Form::LoadAcquire(_)
        | Form::StoreRelease(_)
        | Form::MayGoto
        | Form::CallHelper
        | Form::CallSubprog
        | Form::CallKfunc
        | Form::CallX
        | Form::Exit => Err(cursor.expected("an instruction")),
    }
}

/// The first form with this mnemonic; forms that share one differ only in their operands.
fn form(name: &str) -> Option<Form> {
    let named = |form: Form| !matches!(form, Form::Atomic(..));
    isa::rows().find(|row| row.name == name && named(row.form)).map(|row| row.form)
}

/// `[REG+OFF], REG`, `[REG+OFF], IMM`.
fn store(cursor: &mut Cursor<'_, '_>, size: Size, source: Source) -> Result<Insn, Fault> {
    let (base, off) = place(cursor)?;
    cursor.want(",")?;
    let src = match source {
        Source::Imm => Operand::Imm(cursor.number()?.imm32()?),
        Source::Reg => Operand::Reg(cursor.reg(Width::W64)?),
    };
    Ok(Insn::Store { size, base, off, src })
}

/// `IMM`, `REG, IMM`.
fn packet(cursor: &mut Cursor<'_, '_>, size: Size, source: Source) -> Result<Insn, Fault> {
    let index: Option<Reg> = match source {
        Source::Imm => None,
        Source::Reg => {
            let index = cursor.reg(Width::W64)?;
            cursor.want(",")?;
            Some(index)
        }
    };
    Ok(Insn::Packet { size, index, imm: cursor.number()?.imm32()? })
}

/// `[fetch] OP[32] [REG+OFF], REG`.
fn lock(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    let fetch = cursor.take("fetch");
    let unknown =
        cursor.expected("an atomic operation (add, or, and, xor, xchg, cmpxchg, with 32 for 32 bits)");
    let Some(Kind::Word(word)) = cursor.peek() else { return Err(unknown) };
    let (name, size) = match word.strip_suffix("32") {
        Some(name) => (name, Size::W),
        None => (word.strip_suffix("64").unwrap_or(word), Size::Dw),
    };
    let op = AtomicOp::ALL.iter().copied().find(|op| op.name() == name).ok_or(unknown)?;
    cursor.advance();
    let (base, off) = place(cursor)?;
    cursor.want(",")?;
    let src = cursor.reg(Width::W64)?;
    Ok(Insn::Atomic { op, fetch: fetch || op.always_fetches(), size, base, off, src })
}

/// `[REG+OFF]`.
fn place(cursor: &mut Cursor<'_, '_>) -> Result<(Reg, i16), Fault> {
    cursor.want("[")?;
    let place = bare_place(cursor)?;
    cursor.want("]")?;
    Ok(place)
}
