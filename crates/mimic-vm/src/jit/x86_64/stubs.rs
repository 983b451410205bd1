//! The ways in and out of compiled code, which are part of each program's.

use super::asm::{Arith, Gpr, R12, R13, R14, R15, RAX, RBP, RBX, RDI, RDX, RSI, RSP};
use super::emit::{BUDGET, CAGE, MAP, SCRATCH, STATE, X86_64, jit_field, saved, state};
use crate::jit::backend::Finished;
use crate::jit::label::Label;
use crate::jit::runtime;
use crate::jit::state::Reason;
use crate::process::State;
use core::mem::offset_of;

/// What the host's calling convention has functions keep.
const KEPT: [Gpr; 6] = [RBX, RBP, R12, R13, R14, R15];

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
            self.asm.mov_imm(MAP[reg], 0);
        }
        self.asm.load(8, RBP, saved(10));
        self.asm.call(main);
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.mov_imm(RDX, Reason::Returned as u64);
        self.asm.bind(out);
        self.asm.arith_imm(true, Arith::Add, RSP, 8);
        for reg in KEPT.into_iter().rev() {
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

    fn come_in(&mut self) {
        for reg in KEPT {
            self.asm.push(reg);
        }
        self.asm.arith_imm(true, Arith::Sub, RSP, 8);
        self.asm.store(8, state(jit_field!(entry_sp)), RSP);
        self.asm.load(8, CAGE, state(jit_field!(cage)));
        self.asm.load(8, BUDGET, state(jit_field!(budget)));
    }

    fn fill(&mut self) {
        for (reg, host) in MAP.into_iter().enumerate() {
            self.asm.load(8, host, saved(reg));
        }
    }

    fn spill(&mut self, first: usize) {
        for (reg, host) in MAP.into_iter().enumerate().skip(first) {
            self.asm.store(8, saved(reg), host);
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
        self.asm.mov(true, RBX, STATE);
        self.asm.mov(true, RSI, RSP);
        self.asm.arith_imm(true, Arith::And, RSP, -16);
        self.asm.mov_imm(SCRATCH, runtime::unwind as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.mov(true, RDI, RBX);
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
        self.asm.mov(true, RBX, STATE);
        self.asm.mov_imm(SCRATCH, runtime::op as *const () as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.mov(true, STATE, RBX);
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
