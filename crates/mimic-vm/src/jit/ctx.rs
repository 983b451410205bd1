//! Which registers may point at the context, so that code without checks still treats a context's fields as the kernel does.
//!
//! A forward analysis. What is stored anywhere may be loaded again anywhere, except from the context itself.

use super::flow::{Flow, Next, next};
use crate::op::{Code, Kind, Op};
use crate::program::LoadedProgram;
use mimic_abi::{AluOp, Insn, Width};

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// It does not point at the context.
    No,
    /// It points this many bytes past the context's beginning.
    At(i32),
    /// It may.
    Maybe,
}

type Facts = [Fact; 16];

/// For each op, what is known of the register that it uses as an address.
pub(super) fn bases(program: &LoadedProgram, flow: &Flow) -> Box<[Fact]> {
    let mut analysis = Analysis { program, flow, stored: false, at: Vec::new(), bases: Vec::new() };
    while !analysis.pass() {}
    analysis.bases.into()
}

struct Analysis<'a> {
    program: &'a LoadedProgram,
    flow: &'a Flow,
    /// A context's address was stored.
    stored: bool,
    /// Facts where straight runs begin, once control is known to come there.
    at: Vec<Option<Facts>>,
    bases: Vec<Fact>,
}

impl Analysis<'_> {
    /// One walk over the program; true if it found nothing new.
    fn pass(&mut self) -> bool {
        let ops = &self.program.ops.ops;
        if self.at.is_empty() {
            self.at = vec![None; ops.len()];
            self.bases = vec![Fact::No; ops.len()];
            self.begin();
        }
        let mut settled = true;
        let mut facts = [Fact::No; 16];
        let mut reached = false;
        for (at, op) in ops.iter().enumerate() {
            if self.flow.leads[at] {
                if reached {
                    self.join(at, &facts);
                }
                reached = self.at[at].is_some();
                facts = self.at[at].unwrap_or([Fact::No; 16]);
            }
            if !reached {
                continue;
            }
            self.bases[at] = address_register(op, &self.program.ops.rare).map_or(Fact::No, |reg| facts[reg]);
            let stored = self.stored;
            self.step(op, at, &mut facts);
            settled &= stored == self.stored;
            match next(op) {
                Next::On => {}
                Next::Jump(target) => {
                    settled &= !self.join(target, &facts) || target > at;
                    reached = false;
                }
                Next::Branch(target) => settled &= !self.join(target, &facts) || target > at,
                Next::Call(target) => {
                    settled &= !self.join(target, &facts) || target > at;
                    facts[..6].fill(Fact::Maybe);
                }
                Next::Leave => reached = false,
            }
        }
        settled
    }

    /// The main function gets the context in r1; functions that are called by address may get it anywhere.
    fn begin(&mut self) {
        for at in 0..self.at.len() {
            if self.flow.targets[at] && at > 0 && self.flow.entries.contains(&at) {
                self.at[at] = Some([Fact::Maybe; 16]);
            }
        }
        let mut first = [Fact::No; 16];
        first[1] = Fact::At(0);
        self.at[0] = Some(first);
    }

    /// Adds what is known on one way to a place; true if that changed it.
    fn join(&mut self, at: usize, facts: &Facts) -> bool {
        let Some(known) = &mut self.at[at] else {
            self.at[at] = Some(*facts);
            return true;
        };
        let before = *known;
        for (known, fact) in known.iter_mut().zip(facts) {
            if known != fact {
                *known = Fact::Maybe;
            }
        }
        before != *known
    }

    fn step(&mut self, op: &Op, at: usize, facts: &mut Facts) {
        let (dst, src) = (usize::from(op.dst & 15), usize::from(op.src & 15));
        let loaded = |stored| if stored { Fact::Maybe } else { Fact::No };
        match op.code.kind() {
            Kind::Alu(AluOp::Mov, _, true) => facts[dst] = Fact::No,
            Kind::Alu(AluOp::Mov, Width::W64, false) => facts[dst] = facts[src],
            Kind::Alu(AluOp::Add, Width::W64, true) => facts[dst] = moved(facts[dst], op.imm as i64),
            Kind::Alu(AluOp::Sub, Width::W64, true) => {
                facts[dst] = moved(facts[dst], (op.imm as i64).wrapping_neg());
            }
            Kind::Alu(_, _, imm) => {
                if facts[dst] != Fact::No || !imm && facts[src] != Fact::No {
                    facts[dst] = Fact::Maybe;
                }
            }
            Kind::Branch(..) => {}
            Kind::Other(code) => match code {
                Code::MovSx64 | Code::MovSx32 => {
                    facts[dst] = if facts[src] == Fact::No { Fact::No } else { Fact::Maybe };
                }
                Code::Neg64 | Code::Neg32 | Code::Bswap | Code::Trunc if facts[dst] != Fact::No => {
                    facts[dst] = Fact::Maybe;
                }
                Code::LdImm64 => facts[dst] = Fact::No,
                Code::FpLoadW | Code::FpLoadDw => facts[dst] = loaded(self.stored),
                Code::LoadW | Code::LoadDw | Code::LoadSxW => {
                    let plain = matches!(self.bases[at], Fact::At(_));
                    facts[dst] = loaded(self.stored && !plain);
                }
                Code::LoadB | Code::LoadH | Code::LoadSxB | Code::LoadSxH => facts[dst] = Fact::No,
                Code::FpLoadB | Code::FpLoadH => facts[dst] = Fact::No,
                Code::StoreW | Code::StoreDw | Code::FpStoreW | Code::FpStoreDw => {
                    self.stored |= facts[src] != Fact::No;
                }
                Code::CallHelper => facts[0] = Fact::No,
                Code::CallX => facts[..6].fill(Fact::Maybe),
                Code::Rare => self.rare(&self.program.ops.rare[op.imm as usize], facts),
                _ => {}
            },
        }
    }

    fn rare(&mut self, insn: &Insn, facts: &mut Facts) {
        match *insn {
            Insn::Atomic { src, .. } => {
                self.stored |= facts[src.index()] != Fact::No;
                facts[src.index()] = Fact::Maybe;
                facts[0] = Fact::Maybe;
            }
            Insn::LoadAcquire { dst, .. } => facts[dst.index()] = Fact::Maybe,
            Insn::StoreRelease { src, .. } => self.stored |= facts[src.index()] != Fact::No,
            _ => facts[0] = Fact::No,
        }
    }
}

fn moved(fact: Fact, by: i64) -> Fact {
    match fact {
        Fact::At(off) => i32::try_from(i64::from(off) + by).map_or(Fact::Maybe, Fact::At),
        other => other,
    }
}

fn address_register(op: &Op, rare: &[Insn]) -> Option<usize> {
    match op.code {
        Code::LoadB | Code::LoadH | Code::LoadW | Code::LoadDw => Some(op.src),
        Code::LoadSxB | Code::LoadSxH | Code::LoadSxW => Some(op.src),
        Code::StoreB | Code::StoreH | Code::StoreW | Code::StoreDw => Some(op.dst),
        Code::StoreImmB | Code::StoreImmH | Code::StoreImmW | Code::StoreImmDw => Some(op.dst),
        Code::Rare => {
            return match rare[op.imm as usize] {
                Insn::Atomic { base, .. }
                | Insn::LoadAcquire { base, .. }
                | Insn::StoreRelease { base, .. } => Some(base.index()),
                _ => None,
            };
        }
        _ => None,
    }
    .map(usize::from)
}
