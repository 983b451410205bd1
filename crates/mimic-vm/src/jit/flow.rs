//! What a translation needs to know of a program before it begins: where straight runs begin, which registers are still read, and
//! which may point at the context.
//!
//! Facts only: nothing here depends on the machine that code is made for.

use crate::op::{Code, Kind, Op};
use crate::program::LoadedProgram;
use mimic_abi::{AluOp, Insn};
use mimic_object::RefTarget;

/// A set of r0 to r10.
pub(super) type RegSet = u16;

/// r1 to r5.
pub(super) const ARGS: RegSet = 0b11_1110;
const ALL: RegSet = 0x7ff;

/// Where control goes after an op, inside the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the next op.
    On,
    /// There, always.
    Jump(usize),
    /// There, or to the next op.
    Branch(usize),
    /// Into a function there, and then to the next op.
    Call(usize),
    /// Nowhere in the program.
    Leave,
}

/// See the module.
pub(super) struct Flow {
    /// A straight run begins here.
    pub(super) leads: Box<[bool]>,
    /// Control comes here from elsewhere than the op before.
    pub(super) targets: Box<[bool]>,
    /// Jumped to from further down.
    pub(super) loops: Box<[bool]>,
    /// What is read after an op before it is written.
    pub(super) live_after: Box<[RegSet]>,
    /// Whether there is a `may_goto`.
    pub(super) may_goto: bool,
    /// Functions that something in the program has the address of.
    pub(super) entries: Box<[usize]>,
    /// Registers that any op reads or writes.
    pub(super) used: RegSet,
    /// Whether any op may touch guest memory.
    pub(super) memory: bool,
}

pub(super) fn next(op: &Op) -> Next {
    let target = op.off as u32 as usize;
    match op.code.kind() {
        Kind::Branch(..) | Kind::Other(Code::MayGoto) => Next::Branch(target),
        Kind::Other(Code::Goto) => Next::Jump(target),
        Kind::Other(Code::CallSubprog) => Next::Call(target),
        Kind::Other(Code::Exit | Code::End | Code::WriteR10) => Next::Leave,
        Kind::Alu(..) | Kind::Other(_) => Next::On,
    }
}

impl Flow {
    pub(super) fn new(program: &LoadedProgram) -> Flow {
        let ops = &program.ops.ops;
        let mut flow = Flow {
            leads: vec![false; ops.len()].into(),
            targets: vec![false; ops.len()].into(),
            loops: vec![false; ops.len()].into(),
            live_after: Box::default(),
            may_goto: false,
            entries: function_starts(program).into(),
            used: 0,
            memory: false,
        };
        for at in flow.entries.iter().copied().chain([0]) {
            flow.targets[at] = true;
        }
        for (at, op) in ops.iter().enumerate() {
            flow.may_goto |= op.code == Code::MayGoto;
            let next = next(op);
            if let Next::Jump(target) | Next::Branch(target) | Next::Call(target) = next {
                flow.targets[target] = true;
                // Where a function returns to.
                flow.targets[(at + 1).min(ops.len() - 1)] |= matches!(next, Next::Call(_));
                flow.loops[target] |= target <= at && !matches!(next, Next::Call(_));
            }
            if next != Next::On && at + 1 < ops.len() {
                flow.leads[at + 1] = true;
            }
        }
        for (leads, target) in flow.leads.iter_mut().zip(&flow.targets) {
            *leads |= target;
        }
        let calls = ops.iter().any(|op| matches!(op.code, Code::CallSubprog | Code::CallX));
        let alone = flow.entries.is_empty() && !calls;
        flow.live_after = flow.liveness(program, alone);
        flow.used = ops.iter().map(|op| used(program, op, alone)).fold(0, core::ops::BitOr::bitor);
        flow.memory = ops.iter().any(|op| {
            op.code.access().is_some() || matches!(op.code, Code::Rare | Code::CallHelper | Code::CallSubprog)
        });
        flow
    }

    /// What is live after each op. `alone`: there is nothing but the main function.
    fn liveness(&self, program: &LoadedProgram, alone: bool) -> Box<[RegSet]> {
        let ops = &program.ops.ops;
        let mut live_after = vec![0; ops.len()];
        // Live at the beginning of each run; the rest is not kept.
        let mut live_at = vec![0; ops.len()];
        let mut changed = true;
        while changed {
            changed = false;
            let mut live = 0;
            for (at, op) in ops.iter().enumerate().rev() {
                let on = if self.leads.get(at + 1).copied().unwrap_or(true) {
                    live_at.get(at + 1).copied().unwrap_or(0)
                } else {
                    live
                };
                live = match next(op) {
                    Next::On => on,
                    Next::Jump(target) => live_at[target],
                    Next::Branch(target) => on | live_at[target],
                    Next::Call(_) => ALL,
                    Next::Leave => 0,
                };
                live_after[at] = live;
                let (uses, defs) = operands(program, op, alone);
                live = live & !defs | uses;
                if self.leads[at] && live_at[at] != live {
                    live_at[at] = live;
                    changed |= self.loops[at];
                }
            }
        }
        live_after.into()
    }
}

/// Ops at which functions begin, as far as anything in the program says so; not those that are called directly.
fn function_starts(program: &LoadedProgram) -> Vec<usize> {
    let refs = program.linked.refs.iter().filter_map(|reference| match reference.target {
        RefTarget::Func(pc) => Some(pc),
        _ => None,
    });
    refs.chain(program.exception_callback).filter_map(|pc| program.ops.op_at(pc)).collect()
}

/// What an op has to do with, r10 included.
fn used(program: &LoadedProgram, op: &Op, alone: bool) -> RegSet {
    let (uses, defs) = match op.code {
        Code::End | Code::WriteR10 => (0, 0),
        _ => operands(program, op, alone),
    };
    let frame = matches!(op.code, Code::FpLoadB | Code::FpLoadH | Code::FpLoadW | Code::FpLoadDw)
        || matches!(op.code, Code::FpStoreB | Code::FpStoreH | Code::FpStoreW | Code::FpStoreDw);
    uses | defs | RegSet::from(frame) << 10
}

/// What an op reads and writes.
fn operands(program: &LoadedProgram, op: &Op, alone: bool) -> (RegSet, RegSet) {
    let (dst, src): (RegSet, RegSet) = (1 << (op.dst & 15), 1 << (op.src & 15));
    match op.code.kind() {
        Kind::Alu(AluOp::Mov, _, true) => (0, dst),
        Kind::Alu(AluOp::Mov, _, false) => (src, dst),
        Kind::Alu(_, _, true) => (dst, dst),
        Kind::Alu(_, _, false) => (dst | src, dst),
        Kind::Branch(_, _, true) => (dst, 0),
        Kind::Branch(_, _, false) => (dst | src, 0),
        Kind::Other(code) => match code {
            Code::Neg64 | Code::Neg32 | Code::Bswap | Code::Trunc => (dst, dst),
            Code::MovSx64 | Code::MovSx32 => (src, dst),
            Code::LdImm64 => (0, dst),
            Code::LoadB | Code::LoadH | Code::LoadW | Code::LoadDw => (src, dst),
            Code::LoadSxB | Code::LoadSxH | Code::LoadSxW => (src, dst),
            Code::StoreB | Code::StoreH | Code::StoreW | Code::StoreDw => (dst | src, 0),
            Code::StoreImmB | Code::StoreImmH | Code::StoreImmW | Code::StoreImmDw => (dst, 0),
            Code::FpLoadB | Code::FpLoadH | Code::FpLoadW | Code::FpLoadDw => (0, dst),
            Code::FpStoreB | Code::FpStoreH | Code::FpStoreW | Code::FpStoreDw => (src, 0),
            Code::Rare => rare_operands(&program.ops.rare[op.imm as usize]),
            Code::CallHelper => (ARGS, 1),
            Code::Exit if alone => (1, 0),
            Code::Goto | Code::MayGoto => (0, 0),
            _ => (ALL, 0),
        },
    }
}

fn rare_operands(insn: &Insn) -> (RegSet, RegSet) {
    match *insn {
        Insn::Atomic { base, src, .. } => (1 << base.index() | 1 << src.index() | 1, 0),
        Insn::LoadAcquire { dst, base, .. } => (1 << base.index(), 1 << dst.index()),
        Insn::StoreRelease { base, src, .. } => (1 << base.index() | 1 << src.index(), 0),
        _ => (ALL, 0),
    }
}
