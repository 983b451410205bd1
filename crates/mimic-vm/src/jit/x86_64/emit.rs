//! eBPF's operations in x86-64.

use super::asm::{
    Arith, Asm, Cc, Gpr, Mem, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, Shift,
    at,
};
use crate::jit::backend::{Access, Backend, Check, Finished, HelperCall, Lookup, Src, TooLong};
use crate::jit::label::Label;
use crate::jit::state::Reason;
use crate::map::ArrayLayout;
use crate::memory::{Window, size_index};
use crate::process::{FRAME_STRIDE, MAY_GOTO_MAX, State};
use core::mem::{offset_of, size_of};
use mimic_abi::{AluOp, AtomicOp, Cond, Size, Width};

/// The machine's registers for r0 to r10.
pub(super) const MAP: [Gpr; 11] = [RAX, RSI, RDX, RCX, R8, R9, RBX, R13, R14, R15, RBP];
pub(super) const STATE: Gpr = RDI;
pub(super) const CAGE: Gpr = R12;
pub(super) const BUDGET: Gpr = R10;
pub(super) const SCRATCH: Gpr = R11;

/// A field of the process's state.
pub(super) fn state(off: usize) -> Mem {
    at(STATE, off as i32)
}

/// A field of what the driver shares.
macro_rules! jit_field {
    ($field:ident) => {
        core::mem::offset_of!(crate::process::State, jit)
            + core::mem::offset_of!(crate::jit::state::JitState, $field)
    };
}
pub(super) use jit_field;

/// Where a register is kept in the state.
pub(super) fn saved(reg: usize) -> Mem {
    state(offset_of!(State, regs) + 8 * reg)
}

/// See the module.
pub(in crate::jit) struct X86_64 {
    pub(super) asm: Asm,
    bmi2: bool,
    /// See [`Backend::uses`].
    pub(super) used: u16,
    pub(super) memory: bool,
    /// The register whose low half the scratch register holds.
    pub(super) held: Option<u8>,
    /// Ways out, by reason.
    pub(super) exits: [Label; 8],
    /// The way to Rust and back.
    pub(super) rust: Label,
}

impl X86_64 {
    /// `bmi2`: with the instructions of that extension.
    pub(in crate::jit) fn new(bmi2: bool) -> X86_64 {
        let mut asm = Asm::default();
        let exits = [(); 8].map(|()| asm.label());
        let rust = asm.label();
        X86_64 { asm, bmi2, used: u16::MAX, memory: true, held: None, exits, rust }
    }

    /// The scratch register is about to be used.
    pub(super) fn take_scratch(&mut self) -> Gpr {
        self.held = None;
        SCRATCH
    }

    /// A register is written.
    pub(super) fn written(&mut self, dst: u8) {
        if self.held == Some(dst) {
            self.held = None;
        }
    }

    fn shift(&mut self, wide: bool, op: Shift, dst: Gpr, src: Gpr) {
        if self.bmi2 {
            return self.asm.shift_x(wide, op, dst, dst, src);
        }
        let scratch = self.take_scratch();
        if !wide {
            // A shift by 0 may leave the upper half alone.
            self.asm.mov(false, dst, dst);
        }
        if src == RCX {
            if dst == RCX {
                self.asm.mov(true, scratch, dst);
                self.asm.shift_cl(wide, op, scratch);
                return self.asm.mov(true, dst, scratch);
            }
            return self.asm.shift_cl(wide, op, dst);
        }
        if dst == RCX {
            self.asm.mov(true, scratch, dst);
            self.asm.mov(true, RCX, src);
            self.asm.shift_cl(wide, op, scratch);
            return self.asm.mov(true, dst, scratch);
        }
        self.asm.mov(true, scratch, RCX);
        self.asm.mov(true, RCX, src);
        self.asm.shift_cl(wide, op, dst);
        self.asm.mov(true, RCX, scratch);
    }

    fn shift_imm(&mut self, wide: bool, op: Shift, dst: Gpr, count: u64) {
        match count as u8 & if wide { 63 } else { 31 } {
            0 if wide => {}
            0 => self.asm.mov(false, dst, dst),
            count => self.asm.shift_imm(wide, op, dst, count),
        }
    }

    /// Division and remainder. By 0 they give 0 and the dividend; the smallest number by -1 wraps.
    fn divide(&mut self, op: AluOp, width: Width, dst: Gpr, src: Src) {
        let wide = width == Width::W64;
        let signed = matches!(op, AluOp::Sdiv | AluOp::Smod);
        let remainder = matches!(op, AluOp::Mod | AluOp::Smod);
        let imm = match src {
            Src::Imm(imm) if wide => Some(imm),
            Src::Imm(imm) => Some(u64::from(imm as u32)),
            Src::Reg(_) => None,
        };
        match imm {
            Some(0) => return self.divided_by_zero(wide, remainder, dst),
            Some(imm) if !signed && imm.is_power_of_two() => {
                return self.divide_by_power(wide, remainder, dst, imm);
            }
            _ => {}
        }
        let scratch = self.take_scratch();
        match (src, imm) {
            (Src::Reg(src), _) => self.asm.mov(wide, scratch, MAP[usize::from(src)]),
            (_, imm) => self.asm.mov_imm(scratch, imm.unwrap_or(0)),
        }
        let (zero, minus, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        if imm.is_none() {
            self.asm.test(wide, scratch, scratch);
            self.asm.jcc(Cc::E, zero);
        }
        if signed {
            self.asm.arith_imm(wide, Arith::Cmp, scratch, -1);
            self.asm.jcc(Cc::E, minus);
        }
        self.divide_plainly(wide, signed, remainder, dst);
        if imm.is_none() || signed {
            self.asm.jmp(done);
        }
        self.asm.bind(zero);
        if imm.is_none() {
            self.divided_by_zero(wide, remainder, dst);
            if signed {
                self.asm.jmp(done);
            }
        }
        self.asm.bind(minus);
        if signed {
            match remainder {
                true => self.asm.mov_imm(dst, 0),
                false => self.asm.neg(wide, dst),
            }
        }
        self.asm.bind(done);
    }

    fn divided_by_zero(&mut self, wide: bool, remainder: bool, dst: Gpr) {
        match (remainder, wide) {
            (true, true) => {}
            (true, false) => self.asm.mov(false, dst, dst),
            (false, _) => self.asm.mov_imm(dst, 0),
        }
    }

    fn divide_by_power(&mut self, wide: bool, remainder: bool, dst: Gpr, imm: u64) {
        if !remainder {
            return self.shift_imm(wide, Shift::Shr, dst, imm.trailing_zeros().into());
        }
        match i32::try_from(imm - 1) {
            Ok(mask) => self.asm.arith_imm(wide, Arith::And, dst, mask),
            Err(_) => {
                let scratch = self.take_scratch();
                self.asm.mov_imm(scratch, imm - 1);
                self.asm.arith(wide, Arith::And, dst, scratch);
            }
        }
    }

    /// Divides `dst` by the scratch register.
    fn divide_plainly(&mut self, wide: bool, signed: bool, remainder: bool, dst: Gpr) {
        let others = [RAX, RDX].into_iter().filter(|reg| *reg != dst);
        others.clone().for_each(|reg| self.asm.push(reg));
        if dst != RAX {
            self.asm.mov(wide, RAX, dst);
        }
        match signed {
            true => self.asm.cqo(wide),
            false => self.asm.mov_imm(RDX, 0),
        }
        self.asm.div(wide, signed, SCRATCH);
        let result = if remainder { RDX } else { RAX };
        if result != dst {
            self.asm.mov(wide, dst, result);
        }
        others.rev().for_each(|reg| self.asm.pop(reg));
    }

    /// The memory operand of an access, checked.
    fn operand(&mut self, access: Access, write: bool) -> Mem {
        let base = MAP[usize::from(access.base)];
        match access.check {
            Check::Known => Mem { base: CAGE, index: Some(base), disp: access.off },
            Check::Window(slow) => {
                self.in_window(access, write, slow);
                Mem { base: CAGE, index: Some(base), disp: access.off }
            }
            Check::Cage => {
                if self.held != Some(access.base) {
                    self.asm.mov(false, SCRATCH, base);
                    self.held = Some(access.base);
                }
                Mem { base: CAGE, index: Some(SCRATCH), disp: access.off }
            }
        }
    }

    /// Goes to the label if an access is not aligned.
    fn aligned(&mut self, access: Access, misaligned: Label) {
        let scratch = self.take_scratch();
        if access.size == Size::B {
            return;
        }
        self.asm.lea(true, scratch, at(MAP[usize::from(access.base)], access.off));
        self.asm.test_imm(false, scratch, access.size.bytes() as i32 - 1);
        self.asm.jcc(Cc::Ne, misaligned);
    }

    fn in_window(&mut self, access: Access, write: bool, slow: Label) {
        let scratch = self.take_scratch();
        let base = MAP[usize::from(access.base)];
        match access.off {
            0 => self.asm.mov(true, scratch, base),
            off => self.asm.lea(true, scratch, at(base, off)),
        }
        let window = offset_of!(State, windows) + usize::from(access.base) * size_of::<Window>();
        let limits = if write { offset_of!(Window, writes) } else { offset_of!(Window, reads) };
        self.asm.arith(true, Arith::Sub, scratch, state(window + offset_of!(Window, start)));
        self.asm.arith(true, Arith::Cmp, scratch, state(window + limits + 8 * size_index(access.size)));
        self.asm.jcc(Cc::Ae, slow);
    }

    fn reg_or_imm(&mut self, wide: bool, op: Arith, dst: Gpr, src: Src) {
        match src {
            Src::Reg(src) => self.asm.arith(wide, op, dst, MAP[usize::from(src)]),
            Src::Imm(imm) => self.asm.arith_imm(wide, op, dst, imm as i32),
        }
    }
}

impl Backend for X86_64 {
    fn uses(&mut self, regs: u16, memory: bool) {
        (self.used, self.memory) = (regs, memory);
    }

    fn label(&mut self) -> Label {
        self.asm.label()
    }

    fn bind(&mut self, label: Label) {
        self.asm.bind(label);
    }

    fn offset(&self) -> u32 {
        self.asm.at()
    }

    fn align_loop(&mut self) {
        self.asm.align(32, 16);
    }

    fn forget(&mut self) {
        self.held = None;
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: u8, src: Src) {
        self.written(dst);
        let (wide, reg) = (width == Width::W64, MAP[usize::from(dst)]);
        match op {
            AluOp::Add => self.reg_or_imm(wide, Arith::Add, reg, src),
            AluOp::Sub => self.reg_or_imm(wide, Arith::Sub, reg, src),
            AluOp::Or => self.reg_or_imm(wide, Arith::Or, reg, src),
            AluOp::And => self.reg_or_imm(wide, Arith::And, reg, src),
            AluOp::Xor => self.reg_or_imm(wide, Arith::Xor, reg, src),
            AluOp::Mul => match src {
                Src::Reg(src) => self.asm.imul(wide, reg, MAP[usize::from(src)]),
                Src::Imm(imm) => self.asm.imul_imm(wide, reg, reg, imm as i32),
            },
            AluOp::Mov => match src {
                Src::Reg(src) if src == dst && wide => {}
                Src::Reg(src) => self.asm.mov(wide, reg, MAP[usize::from(src)]),
                Src::Imm(imm) => self.asm.mov_imm(reg, if wide { imm } else { u64::from(imm as u32) }),
            },
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                let op = match op {
                    AluOp::Lsh => Shift::Shl,
                    AluOp::Rsh => Shift::Shr,
                    _ => Shift::Sar,
                };
                match src {
                    Src::Reg(src) => self.shift(wide, op, reg, MAP[usize::from(src)]),
                    Src::Imm(imm) => self.shift_imm(wide, op, reg, imm),
                }
            }
            AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => self.divide(op, width, reg, src),
        }
    }

    fn neg(&mut self, width: Width, dst: u8) {
        self.written(dst);
        self.asm.neg(width == Width::W64, MAP[usize::from(dst)]);
    }

    fn mov_sx(&mut self, width: Width, bits: u8, dst: u8, src: u8) {
        self.written(dst);
        let (dst, src) = (MAP[usize::from(dst)], MAP[usize::from(src)]);
        self.asm.load_sx(width == Width::W64, usize::from(bits / 8), dst, src);
    }

    fn swap(&mut self, bits: u8, dst: u8) {
        self.written(dst);
        let reg = MAP[usize::from(dst)];
        match bits {
            16 => {
                self.asm.swap16(reg);
                self.asm.load(2, reg, reg);
            }
            bits => self.asm.bswap(bits == 64, reg),
        }
    }

    fn zero_extend(&mut self, bits: u8, dst: u8, src: u8) {
        self.written(dst);
        let (dst, src) = (MAP[usize::from(dst)], MAP[usize::from(src)]);
        self.asm.load(usize::from(bits / 8), dst, src);
    }

    fn constant(&mut self, dst: u8, value: u64) {
        self.written(dst);
        self.asm.mov_imm(MAP[usize::from(dst)], value);
    }

    fn rotate(&mut self, width: Width, dst: u8, src: u8, count: u8) {
        self.written(dst);
        let wide = width == Width::W64;
        let (dst, src) = (MAP[usize::from(dst)], MAP[usize::from(src)]);
        if dst != src && self.bmi2 {
            return self.asm.rorx(wide, dst, src, if wide { 64 } else { 32 } - count);
        }
        if dst != src {
            self.asm.mov(wide, dst, src);
        }
        self.asm.shift_imm(wide, Shift::Rol, dst, count);
    }

    fn add3(&mut self, dst: u8, a: u8, b: Src) {
        self.written(dst);
        let (dst, a) = (MAP[usize::from(dst)], MAP[usize::from(a)]);
        let sum = match b {
            // These as a base need a displacement, others do not.
            Src::Reg(b) if a == RBP || a == R13 => Mem { base: MAP[usize::from(b)], index: Some(a), disp: 0 },
            Src::Reg(b) => Mem { base: a, index: Some(MAP[usize::from(b)]), disp: 0 },
            Src::Imm(imm) => at(a, imm as i32),
        };
        self.asm.lea(true, dst, sum);
    }

    fn load(&mut self, access: Access, sext: bool, dst: u8) {
        let mem = self.operand(access, false);
        self.written(dst);
        let dst = MAP[usize::from(dst)];
        match sext {
            true => self.asm.load_sx(true, access.size.bytes(), dst, mem),
            false => self.asm.load(access.size.bytes(), dst, mem),
        }
    }

    fn store(&mut self, access: Access, src: Src) {
        let mem = self.operand(access, true);
        match src {
            Src::Reg(src) => self.asm.store(access.size.bytes(), mem, MAP[usize::from(src)]),
            Src::Imm(imm) => self.asm.store_imm(access.size.bytes(), mem, imm as i32),
        }
    }

    fn atomic(&mut self, op: AtomicOp, fetch: bool, access: Access, src: u8, misaligned: Label) -> bool {
        if fetch && matches!(op, AtomicOp::And | AtomicOp::Or | AtomicOp::Xor) {
            return false;
        }
        let (wide, reg) = (access.size == Size::Dw, MAP[usize::from(src)]);
        self.aligned(access, misaligned);
        let mem = self.operand(access, true);
        match (op, fetch) {
            (AtomicOp::Cmpxchg, _) => {
                self.asm.lock_cmpxchg(wide, mem, reg);
                if !wide {
                    self.asm.mov(false, RAX, RAX);
                }
            }
            (AtomicOp::Xchg, _) => self.asm.xchg(wide, mem, reg),
            (AtomicOp::Add, true) => self.asm.lock_xadd(wide, mem, reg),
            (AtomicOp::Add, false) => self.asm.lock_arith(wide, Arith::Add, mem, reg),
            (AtomicOp::And, _) => self.asm.lock_arith(wide, Arith::And, mem, reg),
            (AtomicOp::Or, _) => self.asm.lock_arith(wide, Arith::Or, mem, reg),
            (AtomicOp::Xor, _) => self.asm.lock_arith(wide, Arith::Xor, mem, reg),
        }
        self.held = None;
        true
    }

    fn load_acquire(&mut self, access: Access, dst: u8, misaligned: Label) {
        // Each load acquires here, and each store releases.
        self.aligned(access, misaligned);
        self.load(access, false, dst);
        self.held = None;
    }

    fn store_release(&mut self, access: Access, src: u8, misaligned: Label) {
        self.aligned(access, misaligned);
        self.store(access, Src::Reg(src));
        self.held = None;
    }

    fn branch(&mut self, cond: Cond, width: Width, dst: u8, src: Src, to: Label) {
        let (wide, reg) = (width == Width::W64, MAP[usize::from(dst)]);
        match (cond, src) {
            (Cond::Set, Src::Reg(src)) => self.asm.test(wide, reg, MAP[usize::from(src)]),
            (Cond::Set, Src::Imm(imm)) => self.asm.test_imm(wide, reg, imm as i32),
            (_, Src::Imm(imm)) if imm as i32 == 0 => self.asm.test(wide, reg, reg),
            (_, src) => self.reg_or_imm(wide, Arith::Cmp, reg, src),
        }
        let cc = match cond {
            Cond::Eq => Cc::E,
            Cond::Ne | Cond::Set => Cc::Ne,
            Cond::Gt => Cc::A,
            Cond::Ge => Cc::Ae,
            Cond::Lt => Cc::B,
            Cond::Le => Cc::Be,
            Cond::Sgt => Cc::G,
            Cond::Sge => Cc::Ge,
            Cond::Slt => Cc::L,
            Cond::Sle => Cc::Le,
        };
        self.asm.jcc(cc, to);
    }

    fn jump(&mut self, to: Label) {
        self.asm.jmp(to);
    }

    fn may_goto(&mut self, to: Label) {
        let left = state(offset_of!(State, may_goto));
        self.asm.arith_imm(false, Arith::Cmp, left, 0);
        self.asm.jcc(Cc::E, to);
        self.asm.arith_imm(false, Arith::Sub, left, 1);
    }

    fn spend(&mut self, insns: i32) {
        self.asm.arith_imm(true, Arith::Sub, BUDGET, insns);
    }

    fn spend_or(&mut self, insns: u32, overdrawn: Label) {
        self.spend(insns as i32);
        self.asm.jcc(Cc::L, overdrawn);
    }

    fn need_frame(&mut self, none: Label) {
        self.asm.arith(true, Arith::Cmp, RBP, state(jit_field!(last_frame)));
        self.asm.jcc(Cc::Ae, none);
    }

    fn call(&mut self, to: Label, may_goto: bool) -> u32 {
        // `runtime::HostFrame` is what this leaves on the stack.
        for reg in [RBX, R13, R14, R15] {
            self.asm.push(reg);
        }
        let left = state(offset_of!(State, may_goto));
        self.asm.push_mem(left);
        self.asm.arith_imm(true, Arith::Add, RBP, FRAME_STRIDE as i32);
        if may_goto {
            self.asm.store_imm(4, left, MAY_GOTO_MAX as i32);
        }
        self.asm.call(to);
        let back = self.asm.at();
        self.asm.pop(SCRATCH);
        if may_goto {
            self.asm.store(4, left, SCRATCH);
        }
        for reg in [R15, R14, R13, RBX] {
            self.asm.pop(reg);
        }
        self.asm.arith_imm(true, Arith::Sub, RBP, FRAME_STRIDE as i32);
        self.held = None;
        back
    }

    fn helper(&mut self, call: HelperCall, trapped: Label) {
        self.helper_call(call, trapped);
    }

    fn cpu(&mut self) -> bool {
        self.written(0);
        self.asm.load(4, RAX, state(offset_of!(State, cpu)));
        true
    }

    fn array_lookup(&mut self, lookup: Lookup, layout: ArrayLayout, none: Label) -> bool {
        self.lookup_in_array(lookup, layout, none)
    }

    fn map_lookup(&mut self, lookup: Lookup, map: usize, key_size: u32, keep: u16, trapped: Label) -> bool {
        self.lookup_by_call(lookup, map, key_size, keep, trapped);
        true
    }

    fn ret(&mut self) {
        self.asm.ret();
    }

    fn op_in_rust(&mut self, op: u32) {
        self.asm.mov_imm32(SCRATCH, op);
        self.asm.call(self.rust);
        self.held = None;
    }

    fn leave(&mut self, reason: Reason, op: u32) {
        self.asm.mov_imm32(SCRATCH, op);
        self.asm.jmp(self.exits[reason as usize]);
    }

    fn finish(self, main: Label) -> Result<Finished, TooLong> {
        Ok(self.stubs(main))
    }
}
