//! The ways in and out of compiled code, which are part of each program's.

use super::asm::{LR, Pair, Reg, SP};
use super::emit::{AArch64, BUDGET, CAGE, FRAME, MAP, SCRATCH, STATE, jit_field, saved};
use crate::jit::backend::{Finished, TooLong};
use crate::jit::label::Label;
use crate::jit::runtime;
use crate::jit::state::Reason;
use crate::process::State;
use core::mem::offset_of;

/// What the host's calling convention has functions keep, and where a function is returned to, in pairs.
const KEPT: [(Reg, Reg); 6] = [
    (Reg(29), LR),
    (Reg(19), Reg(20)),
    (Reg(21), Reg(22)),
    (Reg(23), Reg(24)),
    (Reg(25), Reg(26)),
    (Reg(27), Reg(28)),
];
const KEPT_LEN: i32 = 16 * KEPT.len() as i32;

impl AArch64 {
    pub(super) fn stubs(mut self, main: Label) -> Result<Finished, TooLong> {
        let out = self.asm.label();
        let enter = self.enter(main, out);
        let resume = self.resume(out);
        let spilled = self.exits(out);
        self.rust(spilled);
        let faulted = self.faulted();
        let code = self.asm.resolve().ok_or(TooLong)?;
        Ok(Finished { code, enter, resume, faulted })
    }

    /// `extern "C" fn(state, r1, r2, r3, r4, r5) -> (r0, reason)`: a fresh run of the main function.
    fn enter(&mut self, main: Label, out: Label) -> u32 {
        self.asm.align(4);
        let here = self.asm.at();
        self.come_in();
        for reg in [0, 6, 7, 8, 9] {
            self.asm.constant(MAP[reg], 0);
        }
        self.load_field(MAP[10], saved(10));
        self.asm.add_low(FRAME, CAGE, MAP[10]);
        self.asm.call(main);
        self.store_field(jit_field!(budget), BUDGET);
        self.asm.constant(Reg(1), Reason::Returned as u64);
        self.asm.bind(out);
        for (at, (one, other)) in KEPT.into_iter().enumerate().skip(1) {
            self.asm.pair(true, one, other, Pair::Off(16 * at as i32));
        }
        self.asm.pair(true, KEPT[0].0, KEPT[0].1, Pair::After(KEPT_LEN));
        self.asm.ret();
        here
    }

    /// `extern "C" fn(state, code) -> (r0, reason)`: goes on at `code`, with the registers of the state.
    fn resume(&mut self, out: Label) -> u32 {
        self.asm.align(4);
        let here = self.asm.at();
        self.come_in();
        self.asm.mov(true, SCRATCH, Reg(1));
        self.fill();
        self.asm.call_reg(SCRATCH);
        self.spill(0);
        self.store_field(jit_field!(budget), BUDGET);
        self.asm.constant(Reg(1), Reason::Returned as u64);
        self.asm.jump(out);
        here
    }

    fn come_in(&mut self) {
        self.asm.pair(false, KEPT[0].0, KEPT[0].1, Pair::Before(-KEPT_LEN));
        for (at, (one, other)) in KEPT.into_iter().enumerate().skip(1) {
            self.asm.pair(false, one, other, Pair::Off(16 * at as i32));
        }
        // A frame as debuggers and profilers look for.
        self.asm.mov_sp(Reg(29), SP);
        self.asm.mov(true, STATE, Reg(0));
        self.store_field(jit_field!(entry_sp), Reg(29));
        self.load_field(CAGE, jit_field!(cage));
        self.load_field(BUDGET, jit_field!(budget));
    }

    fn fill(&mut self) {
        for (reg, host) in MAP.into_iter().enumerate() {
            self.load_field(host, saved(reg));
        }
        self.asm.add_low(FRAME, CAGE, MAP[10]);
    }

    fn spill(&mut self, first: usize) {
        for (reg, host) in MAP.into_iter().enumerate().skip(first) {
            self.store_field(saved(reg), host);
        }
    }

    /// Where code goes to leave, with the op in the scratch register. Answers where to go with all registers in the state.
    fn exits(&mut self, out: Label) -> Label {
        let (common, spilled) = (self.asm.label(), self.asm.label());
        for (number, exit) in self.exits.into_iter().enumerate() {
            self.asm.bind(exit);
            self.store_field(offset_of!(State, pc), SCRATCH);
            self.asm.constant(SCRATCH, number as u64);
            self.store_field(jit_field!(reason), SCRATCH);
            if number == Reason::Trapped as usize {
                // r0 to r5 went with the call; the state has them.
                self.spill(6);
                self.asm.jump(spilled);
            } else {
                self.asm.jump(common);
            }
        }
        self.asm.bind(common);
        self.spill(0);
        self.store_field(jit_field!(budget), BUDGET);
        self.asm.bind(spilled);
        // Frames follow where their callers return to; the last one's is still in its register.
        self.asm.pair(false, LR, LR, Pair::Before(-16));
        self.asm.mov(true, Reg(0), STATE);
        self.asm.add_imm(true, Reg(1), SP, 8, SCRATCH);
        self.asm.constant(SCRATCH, runtime::unwind as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.load_field(SCRATCH, jit_field!(entry_sp));
        self.asm.mov_sp(SP, SCRATCH);
        self.load_field(Reg(1), jit_field!(reason));
        self.asm.jump(out);
        spilled
    }

    /// Has Rust do the op whose number is in the scratch register. Its caller keeps where it returns to itself on the stack.
    fn rust(&mut self, spilled: Label) {
        let fault = self.asm.label();
        self.asm.bind(self.rust);
        self.spill(0);
        self.store_field(jit_field!(budget), BUDGET);
        self.store_field(offset_of!(State, pc), SCRATCH);
        // A register that whoever is called keeps, and the state has.
        self.asm.mov(true, MAP[6], LR);
        self.asm.mov(true, Reg(0), STATE);
        self.asm.constant(SCRATCH, runtime::op as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.mov(true, LR, MAP[6]);
        self.asm.jump_if_zero(true, false, Reg(0), fault);
        self.fill();
        self.load_field(BUDGET, jit_field!(budget));
        self.asm.ret();
        self.asm.bind(fault);
        self.store_field(jit_field!(reason), Reg(0));
        // What called this is not gone back to.
        self.asm.pop(LR);
        self.asm.jump(spilled);
    }

    /// Where the signal handler leads, with the address of the instruction in the scratch register.
    fn faulted(&mut self) -> u32 {
        let here = self.asm.at();
        self.store_field(jit_field!(fault_ip), SCRATCH);
        self.asm.jump(self.exits[Reason::Protection as usize]);
        here
    }
}
