//! How much of its context a program touches: the kernel's verifier finds it out, and test-run wants contexts that long.
//!
//! A forward walk that follows copies of the context's address through registers and subprogram arguments. It does not follow addresses
//! that are spilled to the stack, nor offsets that are not constants.

use mimic_abi::{AluOp, Callee, Insn, Operand, RawInsn, Reg, Width};

/// For each register, the offset from the context that it holds.
type Regs = [Option<i64>; 16];

/// Bytes of the context that the program may touch, from its beginning on.
pub(super) fn of(code: &[RawInsn]) -> u64 {
    let mut walk = Walk { code, seen: vec![None; code.len()], work: Vec::new(), reach: 0 };
    let mut start: Regs = [None; 16];
    start[Reg::R1.index()] = Some(0);
    walk.join(0, start);
    while let Some(pc) = walk.work.pop() {
        walk.step(pc);
    }
    walk.reach
}

struct Walk<'a> {
    code: &'a [RawInsn],
    /// What is known on the way into each slot that was reached.
    seen: Vec<Option<Regs>>,
    work: Vec<usize>,
    reach: u64,
}

impl Walk<'_> {
    /// Comes to a slot with these registers: what differs between two ways is not known. Each slot changes at most once a register.
    fn join(&mut self, pc: i64, regs: Regs) {
        let Some((pc, seen)) = usize::try_from(pc).ok().and_then(|pc| Some((pc, self.seen.get_mut(pc)?)))
        else {
            return;
        };
        let joined = match seen {
            None => regs,
            Some(old) => core::array::from_fn(|reg| old[reg].filter(|_| old[reg] == regs[reg])),
        };
        if *seen != Some(joined) {
            *seen = Some(joined);
            self.work.push(pc);
        }
    }

    fn touch(&mut self, regs: &Regs, base: Reg, off: i16, len: usize) {
        let end = regs[base.index()].map(|at| at.saturating_add(i64::from(off)).saturating_add(len as i64));
        self.reach = self.reach.max(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0));
    }

    fn step(&mut self, pc: usize) {
        let Some(Some(mut regs)) = self.seen.get(pc).copied() else { return };
        let Ok(insn) = Insn::decode(&self.code[pc..]) else { return };
        let next = pc as i64 + insn.slots() as i64;
        let mut jump = None;
        match insn {
            Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Reg(src) } => {
                regs[dst.index()] = regs[src.index()];
            }
            Insn::Alu { op: AluOp::Add, width: Width::W64, dst, src: Operand::Imm(imm) } => {
                regs[dst.index()] = regs[dst.index()].and_then(|at| at.checked_add(i64::from(imm)));
            }
            Insn::Alu { dst, .. }
            | Insn::MovSx { dst, .. }
            | Insn::Neg { dst, .. }
            | Insn::Swap { dst, .. }
            | Insn::LdImm64 { dst, .. }
            | Insn::AddrSpaceCast { dst, .. } => regs[dst.index()] = None,
            Insn::Load { size, dst, base, off, .. } | Insn::LoadAcquire { size, dst, base, off } => {
                self.touch(&regs, base, off, size.bytes());
                regs[dst.index()] = None;
            }
            Insn::Store { size, base, off, .. }
            | Insn::StoreRelease { size, base, off, .. }
            | Insn::Atomic { size, base, off, .. } => {
                self.touch(&regs, base, off, size.bytes());
                if let Insn::Atomic { fetch: true, src, .. } = insn {
                    (regs[src.index()], regs[0]) = (None, None);
                }
            }
            Insn::Branch { off, .. } | Insn::MayGoto { off } => jump = Some(next + i64::from(off)),
            Insn::Goto { off, .. } => return self.join(next + i64::from(off), regs),
            Insn::Call(callee) => {
                if let Callee::Subprog(off) = callee {
                    let mut args: Regs = [None; 16];
                    args[1..6].copy_from_slice(&regs[1..6]);
                    self.join(next + i64::from(off), args);
                }
                regs[..6].fill(None);
            }
            Insn::Packet { .. } | Insn::CallX { .. } => regs[..6].fill(None),
            Insn::Exit => return,
        }
        if let Some(target) = jump {
            self.join(target, regs);
        }
        self.join(next, regs);
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use mimic_abi::asm::assemble;

    #[test]
    fn follows_copies() {
        for (text, reach) in [
            ("r0 = 0; exit", 0),
            ("r0 = *(u64 *)(r1 + 8); exit", 16),
            ("r6 = r1; r6 += 4; r0 = *(u8 *)(r6 + 1); exit", 6),
            ("r2 = *(u64 *)(r1 + 0); r0 = *(u64 *)(r2 + 80); exit", 8),
            ("if r1 == 0 goto out; *(u32 *)(r1 + 20) = 1; out: r0 = 0; exit", 24),
            ("r2 = r1; r1 = 0; call part; exit; part: r0 = *(u32 *)(r2 + 12); exit", 16),
            ("again: r1 += 8; r0 = *(u8 *)(r1 + 0); if r0 != 0 goto again; exit", 9),
        ] {
            let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
            assert_eq!(of(&code), reach, "{text}");
        }
    }
}
