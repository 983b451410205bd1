//! Calls of helpers and of maps, and what stands in for them.

use super::asm::{Arith, Cc, Gpr, Mem, RAX, RBP, RCX, RDX, RSI, Shift, at};
use super::emit::{BUDGET, CAGE, MAP, SCRATCH, STATE, X86_64, jit_field, saved, state};
use crate::jit::backend::{HelperCall, Lookup};
use crate::jit::label::Label;
use crate::jit::runtime;
use crate::map::ArrayLayout;
use crate::process::State;
use core::mem::offset_of;

impl X86_64 {
    pub(super) fn helper_call(&mut self, call: HelperCall, trapped: Label) {
        self.asm.store_imm(8, state(offset_of!(State, pc)), call.op as i32);
        if call.looks {
            for reg in [0, 6, 7, 8, 9] {
                if self.has(reg) {
                    self.asm.store(8, saved(reg), MAP[reg]);
                }
            }
        }
        self.asm.mov_imm(SCRATCH, call.helper as u64);
        self.asm.store(8, state(jit_field!(helper)), SCRATCH);
        let function = if call.looks { runtime::helper as *const () } else { runtime::plain as *const () };
        self.call_rust(function, trapped);
        self.load_args(call.keep);
    }

    /// Calls a function of Rust's that answers a pair: r0, and whether to leave. Registers that it does not keep are in the state already, or dead.
    fn call_rust(&mut self, function: *const (), trapped: Label) {
        self.asm.store(8, state(jit_field!(budget)), BUDGET);
        self.asm.push(STATE);
        self.asm.mov_imm(SCRATCH, function as u64);
        self.asm.call_reg(SCRATCH);
        self.asm.pop(STATE);
        self.asm.load(8, BUDGET, state(jit_field!(budget)));
        self.asm.test(false, RDX, RDX);
        self.asm.jcc(Cc::Ne, trapped);
        self.held = None;
    }

    fn load_args(&mut self, keep: u16) {
        for reg in (1..=5).filter(|reg| keep & 1 << reg != 0) {
            self.asm.load(8, MAP[reg], saved(reg));
        }
    }

    /// The key of a lookup, once the map was found to be there.
    fn key(&mut self, lookup: Lookup) -> Mem {
        let scratch = self.take_scratch();
        self.asm.mov_imm(scratch, lookup.removed as u64);
        self.asm.cmp_byte(at(scratch, 0), 0);
        self.asm.jcc(Cc::Ne, lookup.slow);
        Mem { base: CAGE, index: Some(RBP), disp: lookup.key }
    }

    pub(super) fn lookup_in_array(&mut self, lookup: Lookup, layout: ArrayLayout, none: Label) -> bool {
        let (Ok(stride), Ok(cpu_stride)) = (i32::try_from(layout.stride), i32::try_from(layout.cpu_stride))
        else {
            return false;
        };
        self.written(0);
        let key = self.key(lookup);
        self.asm.load(4, RAX, key);
        self.asm.arith_imm(false, Arith::Cmp, RAX, layout.entries as i32);
        self.asm.jcc(Cc::Ae, none);
        match layout.stride {
            1 => {}
            stride if stride.is_power_of_two() => {
                self.asm.shift_imm(true, Shift::Shl, RAX, stride.trailing_zeros() as u8);
            }
            _ => self.asm.imul_imm(true, RAX, RAX, stride),
        }
        if cpu_stride != 0 {
            self.asm.load(4, SCRATCH, state(offset_of!(State, cpu)));
            self.asm.imul_imm(true, SCRATCH, SCRATCH, cpu_stride);
            self.asm.arith(true, Arith::Add, RAX, SCRATCH);
        }
        match i32::try_from(layout.base) {
            Ok(base) => self.asm.arith_imm(true, Arith::Add, RAX, base),
            Err(_) => {
                self.asm.mov_imm(SCRATCH, layout.base);
                self.asm.arith(true, Arith::Add, RAX, SCRATCH);
            }
        }
        true
    }

    pub(super) fn lookup_by_call(
        &mut self,
        lookup: Lookup,
        map: usize,
        key_size: u32,
        keep: u16,
        trapped: Label,
    ) {
        let key = self.key(lookup);
        for reg in (1..=5).filter(|reg| keep & 1 << reg != 0) {
            self.asm.store(8, saved(reg), MAP[reg]);
        }
        let high = Mem { disp: key.disp + 8, ..key };
        let (function, map_in): (*const (), Gpr) = match key_size {
            4 => (runtime::lookup_4 as *const (), RDX),
            8 => (runtime::lookup_8 as *const (), RDX),
            _ => (runtime::lookup_16 as *const (), RCX),
        };
        self.asm.load(key_size.min(8) as usize, RSI, key);
        if key_size == 16 {
            self.asm.load(8, RDX, high);
        }
        self.asm.mov_imm(map_in, map as u64);
        self.call_rust(function, trapped);
        self.load_args(keep);
    }
}
