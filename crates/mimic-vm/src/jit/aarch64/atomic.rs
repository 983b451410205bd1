//! Accesses to guest memory that are ordered. Read-modify-write is one instruction where the processor has the extension LSE, else a
//! loop, and ordered with what comes before and after.

use super::asm::{Arith, Cc, Logic, Reg, Rmw, ZR};
use super::emit::{AArch64, ADDR, CAGE, FRAME, MAP, SCRATCH, SCRATCH_2, SCRATCH_3};
use crate::jit::backend::{Access, Backend, Check};
use crate::jit::label::Label;
use mimic_abi::{AtomicOp, Size};

impl AArch64 {
    /// The address of an access in the host's memory, checked and aligned.
    pub(super) fn atomic_addr(&mut self, access: Access, write: bool, misaligned: Label) -> Reg {
        // The way over Rust does not keep addresses.
        self.forget();
        let Access { base, off, size, check } = access;
        let register = MAP[usize::from(base)];
        let addr = if off == 0 { register } else { SCRATCH };
        self.asm.add_imm(true, addr, register, off.into(), SCRATCH);
        if size != Size::B {
            let low = size.bytes() as u64 - 1;
            self.asm.logic_imm(true, Logic::Ands, ZR, addr, low, SCRATCH_2);
            self.asm.jump_if(Cc::Ne, misaligned);
        }
        match check {
            Check::Window(slow) => {
                let addr = self.in_window(access, write, slow);
                self.asm.arith(true, Arith::Add, ADDR, CAGE, addr);
            }
            Check::Known | Check::Cage if base == 10 => {
                self.asm.add_imm(true, ADDR, FRAME, off.into(), SCRATCH);
            }
            Check::Known | Check::Cage => {
                self.asm.add_low(ADDR, CAGE, register);
                self.asm.add_imm(true, ADDR, ADDR, off.into(), SCRATCH);
            }
        }
        ADDR
    }

    pub(super) fn read_modify_write(&mut self, op: AtomicOp, fetch: bool, wide: bool, src: Reg, addr: Reg) {
        match (op, self.lse) {
            (AtomicOp::Cmpxchg, true) => {
                // The register that is compared is written, and may be the one that is stored.
                self.asm.mov(true, SCRATCH, src);
                self.asm.cas(wide, MAP[0], SCRATCH, addr);
            }
            (AtomicOp::Cmpxchg, false) => self.exchange_in_loop(wide, src, addr),
            (op, lse) => {
                let old = if fetch || op == AtomicOp::Xchg { src } else { ZR };
                match lse {
                    true => self.at_once(op, wide, src, old, addr),
                    false => self.in_loop(op, wide, src, old, addr),
                }
            }
        }
    }

    /// `old` gets what was there.
    fn at_once(&mut self, op: AtomicOp, wide: bool, src: Reg, old: Reg, addr: Reg) {
        let rmw = match op {
            AtomicOp::Add => Rmw::Add,
            AtomicOp::Or => Rmw::Set,
            AtomicOp::Xor => Rmw::Eor,
            AtomicOp::And => {
                self.asm.not(wide, SCRATCH, src);
                return self.asm.rmw(wide, Rmw::Clear, SCRATCH, old, addr);
            }
            AtomicOp::Xchg | AtomicOp::Cmpxchg => Rmw::Swap,
        };
        self.asm.rmw(wide, rmw, src, old, addr);
    }

    fn in_loop(&mut self, op: AtomicOp, wide: bool, src: Reg, old: Reg, addr: Reg) {
        let again = self.asm.label();
        self.asm.bind(again);
        self.asm.load_exclusive(wide, SCRATCH_2, addr);
        let new = match op {
            AtomicOp::Xchg | AtomicOp::Cmpxchg => src,
            _ => SCRATCH,
        };
        match op {
            AtomicOp::Add => self.asm.arith(wide, Arith::Add, new, SCRATCH_2, src),
            AtomicOp::And => self.asm.logic(wide, Logic::And, new, SCRATCH_2, src),
            AtomicOp::Or => self.asm.logic(wide, Logic::Orr, new, SCRATCH_2, src),
            AtomicOp::Xor => self.asm.logic(wide, Logic::Eor, new, SCRATCH_2, src),
            AtomicOp::Xchg | AtomicOp::Cmpxchg => {}
        }
        self.asm.store_exclusive(wide, SCRATCH_3, new, addr);
        self.asm.jump_if_zero(false, false, SCRATCH_3, again);
        if old != ZR {
            self.asm.mov(true, old, SCRATCH_2);
        }
    }

    fn exchange_in_loop(&mut self, wide: bool, src: Reg, addr: Reg) {
        let (again, done) = (self.asm.label(), self.asm.label());
        self.asm.bind(again);
        self.asm.load_exclusive(wide, SCRATCH_2, addr);
        self.asm.arith(wide, Arith::Subs, ZR, SCRATCH_2, MAP[0]);
        self.asm.jump_if(Cc::Ne, done);
        self.asm.store_exclusive(wide, SCRATCH_3, src, addr);
        self.asm.jump_if_zero(false, false, SCRATCH_3, again);
        self.asm.bind(done);
        self.asm.mov(true, MAP[0], SCRATCH_2);
    }
}
