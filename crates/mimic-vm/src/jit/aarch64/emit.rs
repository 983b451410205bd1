//! eBPF's operations in AArch64.

use super::asm::{Arith, Asm, Cc, LR, Logic, Mem, Move, Pair, Reg, Two, ZR};
use crate::jit::backend::{Access, Backend, Check, Finished, HelperCall, Lookup, Reach, Src, TooLong};
use crate::jit::label::Label;
use crate::jit::state::Reason;
use crate::map::ArrayLayout;
use crate::memory::{Window, size_index};
use crate::process::{FRAME_STRIDE, MAY_GOTO_MAX, State};
use core::mem::{offset_of, size_of};
use mimic_abi::{AluOp, AtomicOp, Cond, Size, Width};

/// The machine's registers for r0 to r10.
pub(super) const MAP: [Reg; 11] =
    [Reg(0), Reg(1), Reg(2), Reg(3), Reg(4), Reg(5), Reg(19), Reg(20), Reg(21), Reg(22), Reg(23)];
/// Where r10 points, in the host's memory.
pub(super) const FRAME: Reg = Reg(24);
pub(super) const CAGE: Reg = Reg(25);
pub(super) const BUDGET: Reg = Reg(26);
pub(super) const STATE: Reg = Reg(27);
/// Constants, and ops on the way out.
pub(super) const SCRATCH: Reg = Reg(17);
/// The address of an access.
pub(super) const ADDR: Reg = Reg(16);
pub(super) const SCRATCH_2: Reg = Reg(15);
pub(super) const SCRATCH_3: Reg = Reg(14);
/// The addresses that were last used, in the host's memory.
const HELD: [Reg; 4] = [Reg(9), Reg(10), Reg(11), Reg(12)];

/// See the module.
pub(in crate::jit) struct AArch64 {
    pub(super) asm: Asm,
    /// With the atomic instructions of that extension.
    pub(super) lse: bool,
    /// The register that each of [`HELD`] is the address of.
    held: [Option<u8>; 4],
    /// Which of them is given up next.
    oldest: usize,
    /// Ways out, by reason.
    pub(super) exits: [Label; 8],
    /// The way to Rust and back.
    pub(super) rust: Label,
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
pub(super) fn saved(reg: usize) -> usize {
    offset_of!(State, regs) + 8 * reg
}

fn log2(size: Size) -> u32 {
    size.bytes().trailing_zeros()
}

fn reg(number: u8) -> Reg {
    MAP[usize::from(number)]
}

impl AArch64 {
    /// `lse`: with the instructions of that extension.
    pub(in crate::jit) fn new(lse: bool, reach: Reach) -> AArch64 {
        let mut asm = Asm::new(reach == Reach::Far);
        let exits = [(); 8].map(|()| asm.label());
        let rust = asm.label();
        AArch64 { asm, lse, held: [None; 4], oldest: 0, exits, rust }
    }

    /// Loads a field of the process's state.
    pub(super) fn load_field(&mut self, rt: Reg, off: usize) {
        self.asm.mem(Move::Load, 3, rt, Mem::Off(STATE, off as i32));
    }

    pub(super) fn store_field(&mut self, off: usize, rt: Reg) {
        self.asm.mem(Move::Store, 3, rt, Mem::Off(STATE, off as i32));
    }

    /// A register is written.
    pub(super) fn written(&mut self, dst: u8) {
        for held in self.held.iter_mut().filter(|held| **held == Some(dst)) {
            *held = None;
        }
    }

    /// The address in the host's memory of what a register points at, its upper half cut off.
    fn hold(&mut self, base: u8) -> Reg {
        if let Some(at) = self.held.iter().position(|held| *held == Some(base)) {
            return HELD[at];
        }
        let at = self.oldest;
        self.oldest = (at + 1) % HELD.len();
        self.held[at] = Some(base);
        self.asm.add_low(HELD[at], CAGE, reg(base));
        HELD[at]
    }

    /// The memory operand of an access, checked.
    fn operand(&mut self, access: Access, write: bool) -> Mem {
        let Access { base, off, size, check } = access;
        if let Check::Window(slow) = check {
            return Mem::Index(CAGE, self.in_window(access, write, slow));
        }
        let held = match base {
            10 => FRAME,
            _ if off == 0 && !self.held.contains(&Some(base)) => return Mem::Index32(CAGE, reg(base)),
            _ => self.hold(base),
        };
        if Mem::reaches(off, log2(size)) {
            return Mem::Off(held, off);
        }
        self.asm.add_imm(true, ADDR, held, off.into(), SCRATCH);
        Mem::Off(ADDR, 0)
    }

    /// Holds an access against the base register's window; answers the register with its guest address.
    pub(super) fn in_window(&mut self, access: Access, write: bool, slow: Label) -> Reg {
        // The way over Rust does not keep them.
        self.forget();
        let addr = match access.off {
            0 => reg(access.base),
            off => {
                self.asm.add_imm(true, ADDR, reg(access.base), off.into(), SCRATCH);
                ADDR
            }
        };
        let window = offset_of!(State, windows) + usize::from(access.base) * size_of::<Window>();
        let limits = if write { offset_of!(Window, writes) } else { offset_of!(Window, reads) };
        self.load_field(SCRATCH, window + offset_of!(Window, start));
        self.load_field(SCRATCH_2, window + limits + 8 * size_index(access.size));
        self.asm.arith(true, Arith::Sub, SCRATCH, addr, SCRATCH);
        self.asm.arith(true, Arith::Subs, ZR, SCRATCH, SCRATCH_2);
        self.asm.jump_if(Cc::Hs, slow);
        addr
    }

    /// The register of an operand: immediates are put into the scratch register.
    fn src(&mut self, wide: bool, src: Src) -> Reg {
        match src {
            Src::Reg(src) => reg(src),
            Src::Imm(imm) => {
                self.asm.constant(SCRATCH, if wide { imm } else { u64::from(imm as u32) });
                SCRATCH
            }
        }
    }

    fn add(&mut self, wide: bool, op: Arith, rd: Reg, src: Src) {
        match (op, src) {
            (_, Src::Reg(src)) => self.asm.arith(wide, op, rd, rd, reg(src)),
            (Arith::Add, Src::Imm(imm)) => self.asm.add_imm(wide, rd, rd, signed(wide, imm), SCRATCH),
            (_, Src::Imm(imm)) => {
                self.asm.add_imm(wide, rd, rd, signed(wide, imm).wrapping_neg(), SCRATCH);
            }
        }
    }

    fn logic(&mut self, wide: bool, op: Logic, rd: Reg, rn: Reg, src: Src) {
        match src {
            Src::Reg(src) => self.asm.logic(wide, op, rd, rn, reg(src)),
            Src::Imm(imm) => self.asm.logic_imm(wide, op, rd, rn, imm, SCRATCH),
        }
    }

    fn shift(&mut self, wide: bool, op: AluOp, rd: Reg, src: Src) {
        match (op, src) {
            (AluOp::Lsh, Src::Reg(src)) => self.asm.two(wide, Two::Lsl, rd, rd, reg(src)),
            (AluOp::Rsh, Src::Reg(src)) => self.asm.two(wide, Two::Lsr, rd, rd, reg(src)),
            (_, Src::Reg(src)) => self.asm.two(wide, Two::Asr, rd, rd, reg(src)),
            (op, Src::Imm(imm)) => {
                let count = imm as u8 & if wide { 63 } else { 31 };
                match op {
                    AluOp::Lsh => self.asm.lsl_imm(wide, rd, rd, count),
                    op => self.asm.shr_imm(wide, op == AluOp::Arsh, rd, rd, count),
                }
            }
        }
    }

    /// Division and remainder. What eBPF has by 0 and of the smallest number by -1 is what the machine has.
    fn divide(&mut self, wide: bool, op: AluOp, rd: Reg, src: Src) {
        let by = self.src(wide, src);
        let divide = if matches!(op, AluOp::Sdiv | AluOp::Smod) { Two::Sdiv } else { Two::Udiv };
        match op {
            AluOp::Div | AluOp::Sdiv => self.asm.two(wide, divide, rd, rd, by),
            _ => {
                self.asm.two(wide, divide, ADDR, rd, by);
                self.asm.msub(wide, rd, ADDR, by, rd);
            }
        }
    }

    /// Division by a power of two, of numbers without sign.
    fn divide_by_power(&mut self, wide: bool, remainder: bool, rd: Reg, power: u64) {
        match (remainder, power) {
            (true, 1) => self.asm.constant(rd, 0),
            (true, _) => self.asm.logic_imm(wide, Logic::And, rd, rd, power - 1, SCRATCH),
            (false, _) => self.asm.shr_imm(wide, false, rd, rd, power.trailing_zeros() as u8),
        }
    }
}

/// An immediate that is added or compared with.
fn signed(wide: bool, imm: u64) -> i64 {
    if wide { imm as i64 } else { i64::from(imm as i32) }
}

/// An immediate as a number without sign, of the width.
fn unsigned(wide: bool, imm: u64) -> u64 {
    if wide { imm } else { u64::from(imm as u32) }
}

impl Backend for AArch64 {
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
        self.asm.align(4);
    }

    fn forget(&mut self) {
        self.held = [None; 4];
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: u8, src: Src) {
        self.written(dst);
        let (wide, rd) = (width == Width::W64, reg(dst));
        match (op, src) {
            (AluOp::Add, _) => self.add(wide, Arith::Add, rd, src),
            (AluOp::Sub, _) => self.add(wide, Arith::Sub, rd, src),
            (AluOp::Or, _) => self.logic(wide, Logic::Orr, rd, rd, src),
            (AluOp::And, _) => self.logic(wide, Logic::And, rd, rd, src),
            (AluOp::Xor, _) => self.logic(wide, Logic::Eor, rd, rd, src),
            (AluOp::Mul, Src::Imm(imm)) if unsigned(wide, imm).is_power_of_two() => {
                self.asm.lsl_imm(wide, rd, rd, imm.trailing_zeros() as u8);
            }
            (AluOp::Mul, _) => {
                let by = self.src(wide, src);
                self.asm.mul(wide, rd, rd, by);
            }
            (AluOp::Mov, Src::Reg(src)) if src == dst && wide => {}
            (AluOp::Mov, Src::Reg(src)) => self.asm.mov(wide, rd, reg(src)),
            (AluOp::Mov, Src::Imm(imm)) => self.asm.constant(rd, unsigned(wide, imm)),
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, _) => self.shift(wide, op, rd, src),
            (AluOp::Div | AluOp::Mod, Src::Imm(imm)) if unsigned(wide, imm).is_power_of_two() => {
                self.divide_by_power(wide, op == AluOp::Mod, rd, unsigned(wide, imm));
            }
            (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, _) => self.divide(wide, op, rd, src),
        }
    }

    fn neg(&mut self, width: Width, dst: u8) {
        self.written(dst);
        self.asm.arith(width == Width::W64, Arith::Sub, reg(dst), ZR, reg(dst));
    }

    fn mov_sx(&mut self, width: Width, bits: u8, dst: u8, src: u8) {
        self.written(dst);
        match (width, bits) {
            (Width::W32, 32) => self.asm.mov(false, reg(dst), reg(src)),
            _ => self.asm.sign_extend(width == Width::W64, reg(dst), reg(src), bits),
        }
    }

    fn swap(&mut self, bits: u8, dst: u8) {
        self.written(dst);
        let rd = reg(dst);
        self.asm.rev(bits == 64, rd, rd);
        if bits == 16 {
            self.asm.shr_imm(false, false, rd, rd, 16);
        }
    }

    fn zero_extend(&mut self, bits: u8, dst: u8, src: u8) {
        self.written(dst);
        match bits {
            32 => self.asm.mov(false, reg(dst), reg(src)),
            bits => self.asm.zero_extend(reg(dst), reg(src), bits),
        }
    }

    fn constant(&mut self, dst: u8, value: u64) {
        self.written(dst);
        self.asm.constant(reg(dst), value);
    }

    fn rotate(&mut self, width: Width, dst: u8, src: u8, count: u8) {
        self.written(dst);
        let (wide, bits) = if width == Width::W64 { (true, 64) } else { (false, 32) };
        self.asm.ror_imm(wide, reg(dst), reg(src), bits - count);
    }

    fn add3(&mut self, dst: u8, a: u8, b: Src) {
        self.written(dst);
        match b {
            Src::Reg(b) => self.asm.arith(true, Arith::Add, reg(dst), reg(a), reg(b)),
            Src::Imm(imm) => self.asm.add_imm(true, reg(dst), reg(a), imm as i64, SCRATCH),
        }
    }

    fn load(&mut self, access: Access, sext: bool, dst: u8) {
        let mem = self.operand(access, false);
        self.written(dst);
        let what = if sext { Move::LoadSigned } else { Move::Load };
        self.asm.mem(what, log2(access.size), reg(dst), mem);
    }

    fn store(&mut self, access: Access, src: Src) {
        let mem = self.operand(access, true);
        let rt = match src {
            Src::Imm(0) => ZR,
            src => self.src(access.size == Size::Dw, src),
        };
        self.asm.mem(Move::Store, log2(access.size), rt, mem);
    }

    fn atomic(&mut self, op: AtomicOp, fetch: bool, access: Access, src: u8, misaligned: Label) -> bool {
        let addr = self.atomic_addr(access, true, misaligned);
        self.read_modify_write(op, fetch, access.size == Size::Dw, reg(src), addr);
        true
    }

    fn load_acquire(&mut self, access: Access, dst: u8, misaligned: Label) {
        let addr = self.atomic_addr(access, false, misaligned);
        self.asm.load_acquire(log2(access.size), reg(dst), addr);
    }

    fn store_release(&mut self, access: Access, src: u8, misaligned: Label) {
        let addr = self.atomic_addr(access, true, misaligned);
        self.asm.store_release(log2(access.size), reg(src), addr);
    }

    fn branch(&mut self, cond: Cond, width: Width, dst: u8, src: Src, to: Label) {
        let (wide, rn) = (width == Width::W64, reg(dst));
        match (cond, src) {
            (Cond::Eq | Cond::Ne, Src::Imm(imm)) if unsigned(wide, imm) == 0 => {
                return self.asm.jump_if_zero(wide, cond == Cond::Eq, rn, to);
            }
            (Cond::Set, src) => self.logic(wide, Logic::Ands, ZR, rn, src),
            (_, Src::Imm(imm)) => self.asm.cmp_imm(wide, rn, signed(wide, imm), SCRATCH),
            (_, Src::Reg(src)) => self.asm.arith(wide, Arith::Subs, ZR, rn, reg(src)),
        }
        let cc = match cond {
            Cond::Eq => Cc::Eq,
            Cond::Ne | Cond::Set => Cc::Ne,
            Cond::Gt => Cc::Hi,
            Cond::Ge => Cc::Hs,
            Cond::Lt => Cc::Lo,
            Cond::Le => Cc::Ls,
            Cond::Sgt => Cc::Gt,
            Cond::Sge => Cc::Ge,
            Cond::Slt => Cc::Lt,
            Cond::Sle => Cc::Le,
        };
        self.asm.jump_if(cc, to);
    }

    fn jump(&mut self, to: Label) {
        self.asm.jump(to);
    }

    fn may_goto(&mut self, to: Label) {
        let left = offset_of!(State, may_goto);
        self.load_field(SCRATCH, left);
        self.asm.jump_if_zero(true, true, SCRATCH, to);
        self.asm.add_imm(true, SCRATCH, SCRATCH, -1, SCRATCH_2);
        self.store_field(left, SCRATCH);
    }

    fn spend(&mut self, insns: i32) {
        self.asm.add_imm(true, BUDGET, BUDGET, -i64::from(insns), SCRATCH);
    }

    fn spend_or(&mut self, insns: u32, overdrawn: Label) {
        self.asm.subs_imm(BUDGET, insns, SCRATCH);
        self.asm.jump_if(Cc::Lt, overdrawn);
    }

    fn need_frame(&mut self, none: Label) {
        self.load_field(SCRATCH, jit_field!(last_frame));
        self.asm.arith(true, Arith::Subs, ZR, reg(10), SCRATCH);
        self.asm.jump_if(Cc::Hs, none);
    }

    fn call(&mut self, to: Label, may_goto: bool) -> u32 {
        // `runtime::HostFrame` is what this leaves on the stack, each with where its caller returns to behind it.
        let left = offset_of!(State, may_goto);
        self.load_field(SCRATCH, left);
        self.asm.pair(false, SCRATCH, reg(9), Pair::Before(-48));
        self.asm.pair(false, reg(8), reg(7), Pair::Off(16));
        self.asm.pair(false, reg(6), LR, Pair::Off(32));
        for frame in [reg(10), FRAME] {
            self.asm.add_imm(true, frame, frame, FRAME_STRIDE.into(), SCRATCH);
        }
        if may_goto {
            self.asm.constant(SCRATCH, MAY_GOTO_MAX);
            self.store_field(left, SCRATCH);
        }
        self.asm.call(to);
        let back = self.asm.at();
        self.asm.pair(true, reg(6), LR, Pair::Off(32));
        self.asm.pair(true, reg(8), reg(7), Pair::Off(16));
        self.asm.pair(true, SCRATCH, reg(9), Pair::After(48));
        if may_goto {
            self.store_field(left, SCRATCH);
        }
        for frame in [reg(10), FRAME] {
            self.asm.add_imm(true, frame, frame, -i64::from(FRAME_STRIDE), SCRATCH);
        }
        self.forget();
        back
    }

    fn helper(&mut self, call: HelperCall, trapped: Label) {
        self.helper_call(call, trapped);
    }

    fn cpu(&mut self) -> bool {
        self.written(0);
        self.load_cpu(reg(0));
        true
    }

    fn array_lookup(&mut self, lookup: Lookup, layout: ArrayLayout, none: Label) -> bool {
        self.lookup_in_array(lookup, layout, none);
        true
    }

    fn map_lookup(&mut self, lookup: Lookup, map: usize, key_size: u32, keep: u16, trapped: Label) -> bool {
        self.lookup_by_call(lookup, map, key_size, keep, trapped);
        true
    }

    fn ret(&mut self) {
        self.asm.ret();
    }

    fn op_in_rust(&mut self, op: u32) {
        self.asm.push(LR);
        self.asm.constant(SCRATCH, op.into());
        self.asm.call(self.rust);
        self.asm.pop(LR);
        self.forget();
    }

    fn leave(&mut self, reason: Reason, op: u32) {
        self.asm.constant(SCRATCH, op.into());
        self.asm.jump(self.exits[reason as usize]);
    }

    fn finish(self, main: Label) -> Result<Finished, TooLong> {
        self.stubs(main)
    }
}
