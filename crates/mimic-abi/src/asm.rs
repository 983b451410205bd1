//! The assembler: text to slots.
//!
//! Reads what the disassembler writes in both styles, and what people write: labels, comments, several statements on a
//! line. It also reads the mnemonics of the public conformance suite (`ldxw %r1, [%r2+4]`). One instruction at a
//! time, no macros, no sections, no expressions.
//!
//! ```
//! let program = mimic_abi::asm::assemble("
//!         r0 = 0                  // or: mov %r0, 0
//!     again:
//!         r0 += 2
//!         if r0 < 10 goto again   # or: goto pc-2, goto -2
//!         exit
//! ", &())?;
//! assert_eq!(program.slots.len(), 4);
//! # Ok::<(), mimic_abi::asm::AsmErrors>(())
//! ```
//!
//! Statements end at the end of the line or at `;`. Comments start with `//` or `#`, and lines that start with `;` are
//! comments (source lines of listings). Lines of the verifier's log, of `bpftool prog dump xlated` and of
//! `llvm-objdump -d` may be given with their prefixes (`12: (b7) r0 = 0 ; R0_w=0`); the prefix is checked, and it tells
//! the kernel's `r1 = 0x5` (`(18)`, a 64-bit load) from LLVM's (a move).

use core::fmt;
use std::collections::HashMap;

use crate::insn::Insn;
use crate::isa::Form;
use crate::names::Names;
use crate::operand::{Callee, Imm64};
use crate::raw::RawInsn;

mod cursor;
mod mnemonic;
mod statement;
mod token;

use cursor::Cursor;
use statement::{Statement, Target};

/// An assembled program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembly {
    /// The program.
    pub slots: Vec<RawInsn>,
    /// For each slot the line it came from, counting from 1.
    pub lines: Vec<usize>,
    /// Labels with the slots they stand for, in the order of the text. Numeric labels may occur more than once.
    pub labels: Vec<(String, usize)>,
}

/// Something in the text that is no instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsmError {
    /// Line, counting from 1.
    pub line: usize,
    /// Column in characters, counting from 1.
    pub column: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// What is wrong with a text: at least one error, at most [`MAX_ERRORS`], in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsmErrors(pub Vec<AsmError>);

/// How many errors are collected before the assembler gives up.
pub const MAX_ERRORS: usize = 100;

/// Assembles a program. `names` knows the helpers and kernel functions that `call` may name.
///
/// # Errors
/// Every statement that is not understood, up to [`MAX_ERRORS`].
pub fn assemble(text: &str, names: &dyn Names) -> Result<Assembly, AsmErrors> {
    let mut assembler = Assembler {
        names,
        out: Assembly::default(),
        fixups: Vec::new(),
        labels: HashMap::new(),
        errors: Vec::new(),
    };
    for (index, text) in text.lines().enumerate() {
        assembler.line(Line { number: index + 1, text });
    }
    assembler.resolve();
    let Assembler { out, mut errors, .. } = assembler;
    errors.sort_by_key(|error| (error.line, error.column));
    if errors.is_empty() { Ok(out) } else { Err(AsmErrors(errors)) }
}

/// A line of the text.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

/// A fault at a byte of a line.
struct Fault {
    at: usize,
    message: String,
}

/// A jump to a label, to be filled in when all labels are known.
struct Fixup<'a> {
    line: Line<'a>,
    at: usize,
    pc: usize,
    insn: Insn,
    label: &'a str,
}

struct Assembler<'a> {
    names: &'a dyn Names,
    out: Assembly,
    fixups: Vec<Fixup<'a>>,
    /// The slots of each label; labels that are no numbers have one.
    labels: HashMap<&'a str, Vec<usize>>,
    errors: Vec<AsmError>,
}

impl<'a> Assembler<'a> {
    fn line(&mut self, line: Line<'a>) {
        if let Err(fault) = self.try_line(line) {
            self.error(line, fault);
        }
    }

    fn try_line(&mut self, line: Line<'a>) -> Result<(), Fault> {
        let (prefix, tokens) = token::tokens(line.text)?;
        if let Some((at, pc)) = prefix.pc.filter(|(_, pc)| *pc != self.out.slots.len() as u64) {
            let message =
                format!("the line says slot {pc}, but it is slot {} of the text", self.out.slots.len());
            return Err(Fault { at, message });
        }
        let mut cursor = Cursor::new(&tokens, line.text.len());
        while !cursor.at_end() {
            if cursor.take(";") {
                continue;
            }
            let at = cursor.offset();
            match statement::statement(&mut cursor, self.names, prefix.opcode)? {
                Statement::Label(name) => self.label(at, name)?,
                Statement::Raw(raw) => self.push(line, at, prefix.opcode, raw)?,
                Statement::Insn(insn, target) => {
                    if let Target::Label { at, name } = target {
                        let pc = self.out.slots.len();
                        self.fixups.push(Fixup { line, at, pc, insn, label: name });
                    }
                    let (first, second) = insn.encode();
                    self.push(line, at, prefix.opcode, first)?;
                    if let Some(second) = second {
                        self.push(line, at, None, second)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn label(&mut self, at: usize, name: &'a str) -> Result<(), Fault> {
        let places = self.labels.entry(name).or_default();
        if !places.is_empty() && !is_numeric(name) {
            return Err(Fault {
                at,
                message: format!("label `{}` is defined twice", token::shortened(name)),
            });
        }
        places.push(self.out.slots.len());
        self.out.labels.push((name.into(), self.out.slots.len()));
        Ok(())
    }

    fn push(&mut self, line: Line<'a>, at: usize, opcode: Option<u8>, raw: RawInsn) -> Result<(), Fault> {
        self.out.slots.push(raw);
        self.out.lines.push(line.number);
        match opcode {
            Some(opcode) if opcode != raw.opcode => {
                let message = format!("the line says opcode {opcode:02x}, but this is {:02x}", raw.opcode);
                Err(Fault { at, message })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn resolve(&mut self) {
        // The conformance suite jumps to `exit` without defining it: the first exit is meant.
        if let Some(exit) = self.out.slots.iter().position(|slot| slot.opcode == Form::Exit.opcode()) {
            self.labels.entry("exit").or_insert_with(|| vec![exit]);
        }
        for Fixup { line, at, pc, insn, label } in core::mem::take(&mut self.fixups) {
            let result = match self.find(label, pc) {
                Some(target) => {
                    // Everything that jumps counts from the slot after its first.
                    let distance = target as i64 - pc as i64 - 1;
                    retarget(insn, distance).map_err(|message| Fault { at, message })
                }
                None => {
                    let what = if matches!(insn, Insn::Call(_)) { "label or function" } else { "label" };
                    Err(Fault { at, message: format!("there is no {what} `{}`", token::shortened(label)) })
                }
            };
            match result {
                Ok(insn) => {
                    if let Some(slot) = self.out.slots.get_mut(pc) {
                        *slot = insn.encode().0;
                    }
                }
                Err(fault) => self.error(line, fault),
            }
        }
    }

    /// The slot of a label. `2b` and `2f` are the nearest label `2` before and after `pc`.
    fn find(&self, label: &str, pc: usize) -> Option<usize> {
        let numeric = |suffix| {
            let digits = label.strip_suffix(suffix).filter(|name| is_numeric(name))?;
            let places = self.labels.get(digits)?;
            Some((places, places.partition_point(|place| *place <= pc)))
        };
        if let Some((places, later)) = numeric('b') {
            return places.get(later.checked_sub(1)?).copied();
        }
        if let Some((places, later)) = numeric('f') {
            return places.get(later).copied();
        }
        self.labels.get(label)?.first().copied()
    }

    fn error(&mut self, line: Line<'a>, fault: Fault) {
        if self.errors.len() < MAX_ERRORS {
            let column = line.text.char_indices().take_while(|(at, _)| *at < fault.at).count() + 1;
            self.errors.push(AsmError { line: line.number, column, message: fault.message });
        }
    }
}

fn is_numeric(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
}

/// The instruction with its jump going `distance` slots from the next slot.
fn retarget(insn: Insn, distance: i64) -> Result<Insn, String> {
    let short = || {
        i16::try_from(distance).map_err(|_| {
            format!("the label is {distance} slots away, this jump reaches -32768 to 32767; use gotol")
        })
    };
    let long = || i32::try_from(distance).map_err(|_| format!("the label is {distance} slots away"));
    Ok(match insn {
        Insn::Branch { cond, width, dst, src, .. } => Insn::Branch { cond, width, dst, src, off: short()? },
        Insn::Goto { long: false, .. } => Insn::Goto { off: short()?.into(), long: false },
        Insn::Goto { long: true, .. } => Insn::Goto { off: long()?, long: true },
        Insn::MayGoto { .. } => Insn::MayGoto { off: short()? },
        Insn::Call(Callee::Subprog(_)) => Insn::Call(Callee::Subprog(long()?)),
        Insn::LdImm64 { dst, value: Imm64::Func(_) } => Insn::LdImm64 { dst, value: Imm64::Func(long()?) },
        other => other,
    })
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl fmt::Display for AsmErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        Ok(())
    }
}

impl core::error::Error for AsmError {}
impl core::error::Error for AsmErrors {}
