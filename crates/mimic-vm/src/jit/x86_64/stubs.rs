//! The ways in and out of compiled code, which are part of each program's.

use super::asm::{Arith, Gpr, RAX, RBP, RDX, RSI, RSP};
use super::emit::{BUDGET, CAGE, MAP, SCRATCH, STATE, X86_64, jit_field, saved, state};
use crate::jit::backend::Finished;
use crate::jit::label::Label;
use crate::jit::runtime;
use crate::jit::state::Reason;
use crate::process::State;
use core::mem::offset_of;

/// The registers of r6 to r10, which the host's calling convention has functions keep.
const KEPT: [usize; 5] = [6, 7, 8, 9, 10];

impl X86_64 {
    pub(super) fn stubs(mut self, main: Label) -> Finished {
        let out = self.asm.label();
        let enter = self.enter(main, out);
        let resume = self.resume(out);
        let spilled = self.exits(out);
        self.rust(spilled);
        let faulted = self.faulted();
        self.asm.resolve();
        Finished { code: self.asm.code, enter, resume, faulted }
    }

    /// `extern "C" fn(state, r1, r2, r3, r4, r5) -> (r0, reason)`: a fresh run of the main function.
    fn enter(&mut self, main: Label, out: Label) -> u32 {
        self.asm.align(16, 15);
        let here = self.asm.at();
        self.come_in();
        for reg in [0, 6, 7, 8, 9] {
            if self.has(reg) {
                self.asm.mov_imm(MAP[reg], 0);
            }
        }
        if self.has(10) {
            self.asm.load(8, RBP, saved(10));
        }
        self.asm.call(main);
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.mov_imm(RDX, Reason::Returned as u64);
        self.asm.bind(out);
        let kept = self.kept();
        if kept.len().is_multiple_of(2) {
            self.asm.arith_imm(true, Arith::Add, RSP, 8);
        }
        for reg in kept.into_iter().rev() {
            self.asm.pop(reg);
        }
        self.asm.ret();
        here
    }

    /// `extern "C" fn(state, code) -> (r0, reason)`: goes on at `code`, with the registers of the state.
    fn resume(&mut self, out: Label) -> u32 {
        self.asm.align(16, 15);
        let here = self.asm.at();
        self.come_in();
        self.asm.mov(true, SCRATCH, RSI);
        self.fill();
        self.asm.call_reg(SCRATCH);
        self.spill(0);
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.mov_imm(RDX, Reason::Returned as u64);
        self.asm.jmp(out);
        here
    }

    /// Whether the program has anything in a register. Those of arguments and results always count.
    pub(super) fn has(&self, reg: usize) -> bool {
        reg < 6 || self.used & 1 << reg != 0
    }

    /// The host's registers that are the program's and have to be given back.
    fn kept(&self) -> Vec<Gpr> {
        let kept = KEPT.into_iter().filter(|reg| self.has(*reg)).map(|reg| MAP[reg]);
        self.memory.then_some(CAGE).into_iter().chain(kept).collect()
    }

    /// The stack is aligned for calls afterwards.
    fn come_in(&mut self) {
        let kept = self.kept();
        for reg in &kept {
            self.asm.push(*reg);
        }
        if kept.len().is_multiple_of(2) {
            self.asm.arith_imm(true, Arith::Sub, RSP, 8);
        }
        self.asm.store(8, state(jit_field!(entry_sp)), RSP);
        if self.memory {
            self.asm.load(8, CAGE, state(jit_field!(cage)));
        }
        self.asm.load(8, BUDGET, state(jit_field!(budget)));
    }

    fn fill(&mut self) {
        for (reg, host) in MAP.into_iter().enumerate() {
            if self.has(reg) {
                self.asm.load(8, host, saved(reg));
            }
        }
    }

    fn spill(&mut self, first: usize) {
        for (reg, host) in MAP.into_iter().enumerate().skip(first) {
            if self.has(reg) {
                self.asm.store(8, saved(reg), host);
            }
        }
    }

    /// Where code goes to leave, with the op in the scratch register. Answers where to go with all registers in the state.
    fn exits(&mut self, out: Label) -> Label {
        let (common, spilled) = (self.asm.label(), self.asm.label());
        for (number, exit) in self.exits.into_iter().enumerate() {
            self.asm.bind(exit);
            self.asm.store_imm(8, state(jit_field!(reason)), number as i32);
            self.asm.store(8, state(offset_of!(State, pc)), SCRATCH);
            if number == Reason::Trapped as usize {
                // r0 to r5 went with the call; the state has them.
                self.spill(6);
                self.asm.jmp(spilled);
            } else {
                self.asm.jmp(common);
            }
        }
        self.asm.bind(common);
        self.spill(0);
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.bind(spilled);
        self.asm.mov(true, RSI, RSP);
        self.asm.arith_imm(true, Arith::And, RSP, -16);
        self.asm.push(STATE);
        self.asm.push(STATE);
        self.asm.mov_imm(SCRATCH, runtime::unwind as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.pop(STATE);
        self.asm.load(8, RSP, state(jit_field!(entry_sp)));
        self.asm.load(8, RDX, state(jit_field!(reason)));
        self.asm.jmp(out);
        spilled
    }

    /// Has Rust do the op whose number is in the scratch register.
    fn rust(&mut self, spilled: Label) {
        let fault = self.asm.label();
        self.asm.bind(self.rust);
        self.spill(0);
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.store(8, state(offset_of!(State, pc)), SCRATCH);
        // With what called this there is an odd number of words since the stack was aligned.
        self.asm.push(STATE);
        self.asm.push(STATE);
        self.asm.mov_imm(SCRATCH, runtime::op as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.pop(STATE);
        self.asm.pop(STATE);
        self.asm.test(false, RAX, RAX);
        self.asm.jcc(super::asm::Cc::Ne, fault);
        self.fill();
        self.asm.load(8, BUDGET, state(jit_field!(budget)));
        self.asm.ret();
        self.asm.bind(fault);
        self.asm.store(8, state(jit_field!(reason)), RAX);
        // What called this is not gone back to.
        self.asm.arith_imm(true, Arith::Add, RSP, 8);
        self.asm.jmp(spilled);
    }

    /// Where the signal handler leads, with the address of the instruction in the scratch register.
    fn faulted(&mut self) -> u32 {
        let here = self.asm.at();
        self.asm.store(8, state(jit_field!(fault_ip)), SCRATCH);
        self.asm.jmp(self.exits[Reason::Protection as usize]);
        here
    }
}
