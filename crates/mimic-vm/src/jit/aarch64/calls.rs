//! Calls of helpers and of maps, and what stands in for them.

use super::asm::{Arith, Cc, LR, Mem, Move, Reg};
use super::emit::{AArch64, ADDR, BUDGET, FRAME, MAP, SCRATCH, SCRATCH_2, STATE, jit_field, saved};
use crate::jit::backend::{Backend, HelperCall, Lookup};
use crate::jit::label::Label;
use crate::jit::runtime;
use crate::map::ArrayLayout;
use crate::process::State;
use core::mem::offset_of;

impl AArch64 {
    pub(super) fn helper_call(&mut self, call: HelperCall, trapped: Label) {
        self.asm.constant(SCRATCH, call.op.into());
        self.store_field(offset_of!(State, pc), SCRATCH);
        if call.looks {
            for number in [0, 6, 7, 8, 9] {
                self.store_field(saved(number), MAP[number]);
            }
        }
        self.asm.constant(SCRATCH, call.helper as u64);
        self.store_field(jit_field!(helper), SCRATCH);
        let function = if call.looks { runtime::helper as *const () } else { runtime::plain as *const () };
        self.call_rust(function, trapped);
        self.load_args(call.keep);
    }

    /// Calls a function of Rust's that answers a pair: r0, and whether to leave. Registers that it does not keep are in the state already, or dead.
    fn call_rust(&mut self, function: *const (), trapped: Label) {
        self.store_field(jit_field!(budget), BUDGET);
        self.asm.push(LR);
        self.asm.mov(true, Reg(0), STATE);
        self.asm.constant(SCRATCH, function as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.pop(LR);
        self.load_field(BUDGET, jit_field!(budget));
        self.asm.jump_if_zero(false, false, Reg(1), trapped);
        self.forget();
    }

    fn load_args(&mut self, keep: u16) {
        for number in (1..=5).filter(|number| keep & 1 << number != 0) {
            self.load_field(MAP[number], saved(number));
        }
    }

    /// The number of the process's CPU.
    pub(super) fn load_cpu(&mut self, rt: Reg) {
        self.asm.mem(Move::Load, 2, rt, Mem::Off(STATE, offset_of!(State, cpu) as i32));
    }

    /// Where the key of a lookup is, once the map was found to be there: a register, and bytes from there.
    fn key(&mut self, lookup: Lookup) -> (Reg, i32) {
        // The long way does not keep them.
        self.forget();
        self.asm.constant(SCRATCH, lookup.removed as u64);
        self.asm.mem(Move::Load, 0, SCRATCH, Mem::Off(SCRATCH, 0));
        self.asm.jump_if_zero(false, false, SCRATCH, lookup.slow);
        if lookup.key >= -256 {
            return (FRAME, lookup.key);
        }
        self.asm.add_imm(true, ADDR, FRAME, lookup.key.into(), SCRATCH);
        (ADDR, 0)
    }

    pub(super) fn lookup_in_array(&mut self, lookup: Lookup, layout: ArrayLayout, none: Label) {
        let r0 = MAP[0];
        let (base, off) = self.key(lookup);
        self.asm.mem(Move::Load, 2, r0, Mem::Off(base, off));
        self.asm.cmp_imm(false, r0, layout.entries.into(), SCRATCH);
        self.asm.jump_if(Cc::Hs, none);
        match u64::from(layout.stride) {
            stride if stride.is_power_of_two() => {
                self.asm.lsl_imm(true, r0, r0, stride.trailing_zeros() as u8);
            }
            stride => {
                self.asm.constant(SCRATCH, stride);
                self.asm.mul(true, r0, r0, SCRATCH);
            }
        }
        if layout.cpu_stride != 0 {
            self.load_cpu(SCRATCH);
            self.asm.constant(SCRATCH_2, layout.cpu_stride.into());
            self.asm.mul(true, SCRATCH, SCRATCH, SCRATCH_2);
            self.asm.arith(true, Arith::Add, r0, r0, SCRATCH);
        }
        self.asm.add_imm(true, r0, r0, layout.base as i64, SCRATCH);
    }

    pub(super) fn lookup_by_call(
        &mut self,
        lookup: Lookup,
        map: usize,
        key_size: u32,
        keep: u16,
        trapped: Label,
    ) {
        let (base, off) = self.key(lookup);
        for number in (1..=5).filter(|number| keep & 1 << number != 0) {
            self.store_field(saved(number), MAP[number]);
        }
        let (function, map_in): (*const (), Reg) = match key_size {
            4 => (runtime::lookup_4 as *const (), Reg(2)),
            8 => (runtime::lookup_8 as *const (), Reg(2)),
            _ => (runtime::lookup_16 as *const (), Reg(3)),
        };
        self.asm.mem(Move::Load, key_size.min(8).trailing_zeros(), Reg(1), Mem::Off(base, off));
        if key_size == 16 {
            self.asm.mem(Move::Load, 3, Reg(2), Mem::Off(base, off + 8));
        }
        self.asm.constant(map_in, map as u64);
        self.call_rust(function, trapped);
        self.load_args(keep);
    }
}
