//! The encodings of x86-64 that compiled code is made of, as the "Intel 64 and IA-32 Architectures Software Developer's Manual",
//! volume 2, has them. Knows bytes and labels; nothing of eBPF.

use crate::jit::label::{Label, Labels};

/// A register by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gpr(pub(super) u8);

pub(super) const RAX: Gpr = Gpr(0);
pub(super) const RCX: Gpr = Gpr(1);
pub(super) const RDX: Gpr = Gpr(2);
pub(super) const RBX: Gpr = Gpr(3);
pub(super) const RSP: Gpr = Gpr(4);
pub(super) const RBP: Gpr = Gpr(5);
pub(super) const RSI: Gpr = Gpr(6);
pub(super) const RDI: Gpr = Gpr(7);
pub(super) const R8: Gpr = Gpr(8);
pub(super) const R9: Gpr = Gpr(9);
pub(super) const R10: Gpr = Gpr(10);
pub(super) const R11: Gpr = Gpr(11);
pub(super) const R12: Gpr = Gpr(12);
pub(super) const R13: Gpr = Gpr(13);
pub(super) const R14: Gpr = Gpr(14);
pub(super) const R15: Gpr = Gpr(15);

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mem {
    pub(super) base: Gpr,
    /// Added to the base as it is. Not rsp.
    pub(super) index: Option<Gpr>,
    pub(super) disp: i32,
}

/// What the second operand of an instruction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rm {
    Reg(Gpr),
    Mem(Mem),
}

impl From<Gpr> for Rm {
    fn from(reg: Gpr) -> Rm {
        Rm::Reg(reg)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Rm {
        Rm::Mem(mem)
    }
}

/// `[base + disp]`.
pub(super) const fn at(base: Gpr, disp: i32) -> Mem {
    Mem { base, index: None, disp }
}

/// The two-operand arithmetic that shares one encoding scheme; the number is its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotates by their place in the encoding scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Rol = 0,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Conditions of jumps, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cc {
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

/// Code that grows, with labels.
#[derive(Default)]
pub(super) struct Asm {
    pub(super) code: Vec<u8>,
    labels: Labels,
    /// 32-bit displacements that wait for a label.
    fixups: Vec<(u32, Label)>,
}

impl Asm {
    pub(super) fn at(&self) -> u32 {
        self.code.len() as u32
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.label()
    }

    pub(super) fn bind(&mut self, label: Label) {
        self.labels.bind(label, self.at());
    }

    /// Fills in the displacements. All labels that are used are bound.
    pub(super) fn resolve(&mut self) {
        for (at, label) in core::mem::take(&mut self.fixups) {
            let target = self.labels.offset(label);
            debug_assert!(target.is_some(), "a label was not bound");
            let rel = target.unwrap_or(at).wrapping_sub(at + 4);
            self.code[at as usize..at as usize + 4].copy_from_slice(&rel.to_le_bytes());
        }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.code.push(byte);
    }

    fn imm32(&mut self, imm: i32) {
        self.code.extend_from_slice(&imm.to_le_bytes());
    }

    /// Prefixes, opcode, ModRM. `wide` is REX.W; `byte_reg` forces a REX prefix, so that 4 to 7 are spl to dil.
    fn op(&mut self, prefix: Option<u8>, wide: bool, opcode: &[u8], reg: u8, rm: Rm, byte_reg: bool) {
        if let Some(prefix) = prefix {
            self.byte(prefix);
        }
        let (base, index) = match rm {
            Rm::Reg(reg) => (reg.0, 0),
            Rm::Mem(mem) => (mem.base.0, mem.index.map_or(0, |index| index.0)),
        };
        let rex = 0x40 | u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 || byte_reg {
            self.byte(rex);
        }
        self.code.extend_from_slice(opcode);
        self.modrm(reg, rm);
    }

    fn modrm(&mut self, reg: u8, rm: Rm) {
        let reg = (reg & 7) << 3;
        let mem = match rm {
            Rm::Reg(rm) => return self.byte(0xc0 | reg | rm.0 & 7),
            Rm::Mem(mem) => mem,
        };
        let base = mem.base.0 & 7;
        let mode = match mem.disp {
            0 if base != 5 => 0,
            -128..=127 => 0x40,
            _ => 0x80,
        };
        match mem.index {
            Some(index) => {
                self.byte(mode | reg | 4);
                self.byte((index.0 & 7) << 3 | base);
            }
            None if base == 4 => {
                self.byte(mode | reg | 4);
                self.byte(0x24);
            }
            None => self.byte(mode | reg | base),
        }
        match mode {
            0x40 => self.byte(mem.disp as u8),
            0x80 => self.imm32(mem.disp),
            _ => {}
        }
    }

    /// `dst op= src`.
    pub(super) fn arith(&mut self, wide: bool, op: Arith, dst: Gpr, src: impl Into<Rm>) {
        self.op(None, wide, &[(op as u8) << 3 | 3], dst.0, src.into(), false);
    }

    /// `dst op= imm`.
    pub(super) fn arith_imm(&mut self, wide: bool, op: Arith, dst: impl Into<Rm>, imm: i32) {
        let dst = dst.into();
        if let Ok(imm) = i8::try_from(imm) {
            self.op(None, wide, &[0x83], op as u8, dst, false);
            self.byte(imm as u8);
        } else {
            self.op(None, wide, &[0x81], op as u8, dst, false);
            self.imm32(imm);
        }
    }

    /// Compares a byte in memory.
    pub(super) fn cmp_byte(&mut self, mem: Mem, imm: u8) {
        self.op(None, false, &[0x80], Arith::Cmp as u8, mem.into(), false);
        self.byte(imm);
    }

    pub(super) fn test(&mut self, wide: bool, a: Gpr, b: Gpr) {
        self.op(None, wide, &[0x85], b.0, a.into(), false);
    }

    pub(super) fn test_imm(&mut self, wide: bool, reg: Gpr, imm: i32) {
        self.op(None, wide, &[0xf7], 0, reg.into(), false);
        self.imm32(imm);
    }

    pub(super) fn mov(&mut self, wide: bool, dst: Gpr, src: Gpr) {
        self.op(None, wide, &[0x8b], dst.0, src.into(), false);
    }

    /// The shortest load of a constant. May change the flags.
    pub(super) fn mov_imm(&mut self, dst: Gpr, imm: u64) {
        if imm == 0 {
            self.arith(false, Arith::Xor, dst, dst);
        } else if let Ok(imm) = u32::try_from(imm) {
            self.mov_imm32(dst, imm);
        } else if let Ok(imm) = i32::try_from(imm as i64) {
            self.op(None, true, &[0xc7], 0, dst.into(), false);
            self.imm32(imm);
        } else {
            self.byte(0x48 | dst.0 >> 3);
            self.byte(0xb8 | dst.0 & 7);
            self.code.extend_from_slice(&imm.to_le_bytes());
        }
    }

    /// `dst = imm`, zero-extended; leaves the flags.
    pub(super) fn mov_imm32(&mut self, dst: Gpr, imm: u32) {
        if dst.0 >= 8 {
            self.byte(0x41);
        }
        self.byte(0xb8 | dst.0 & 7);
        self.imm32(imm as i32);
    }

    /// A zero-extending load of 1, 2, 4 or 8 bytes, or the same of a register.
    pub(super) fn load(&mut self, len: usize, dst: Gpr, src: impl Into<Rm>) {
        let src = src.into();
        match len {
            1 => self.op(None, false, &[0x0f, 0xb6], dst.0, src, matches!(src, Rm::Reg(reg) if reg.0 >= 4)),
            2 => self.op(None, false, &[0x0f, 0xb7], dst.0, src, false),
            4 => self.op(None, false, &[0x8b], dst.0, src, false),
            _ => self.op(None, true, &[0x8b], dst.0, src, false),
        }
    }

    /// A load of 1, 2 or 4 bytes, or the same of a register, sign-extended to 32 or 64 bits.
    pub(super) fn load_sx(&mut self, wide: bool, len: usize, dst: Gpr, src: impl Into<Rm>) {
        let src = src.into();
        match len {
            1 => self.op(None, wide, &[0x0f, 0xbe], dst.0, src, matches!(src, Rm::Reg(reg) if reg.0 >= 4)),
            2 => self.op(None, wide, &[0x0f, 0xbf], dst.0, src, false),
            _ if wide => self.op(None, true, &[0x63], dst.0, src, false),
            _ => self.op(None, false, &[0x8b], dst.0, src, false),
        }
    }

    /// A store of the low 1, 2, 4 or 8 bytes.
    pub(super) fn store(&mut self, len: usize, dst: Mem, src: Gpr) {
        match len {
            1 => self.op(None, false, &[0x88], src.0, dst.into(), src.0 >= 4),
            2 => self.op(Some(0x66), false, &[0x89], src.0, dst.into(), false),
            4 => self.op(None, false, &[0x89], src.0, dst.into(), false),
            _ => self.op(None, true, &[0x89], src.0, dst.into(), false),
        }
    }

    /// A store of a constant, sign-extended for 8 bytes.
    pub(super) fn store_imm(&mut self, len: usize, dst: Mem, imm: i32) {
        match len {
            1 => {
                self.op(None, false, &[0xc6], 0, dst.into(), false);
                self.byte(imm as u8);
            }
            2 => {
                self.op(Some(0x66), false, &[0xc7], 0, dst.into(), false);
                self.code.extend_from_slice(&(imm as i16).to_le_bytes());
            }
            _ => {
                self.op(None, len == 8, &[0xc7], 0, dst.into(), false);
                self.imm32(imm);
            }
        }
    }

    pub(super) fn lea(&mut self, wide: bool, dst: Gpr, src: Mem) {
        self.op(None, wide, &[0x8d], dst.0, src.into(), false);
    }

    pub(super) fn imul(&mut self, wide: bool, dst: Gpr, src: impl Into<Rm>) {
        self.op(None, wide, &[0x0f, 0xaf], dst.0, src.into(), false);
    }

    pub(super) fn imul_imm(&mut self, wide: bool, dst: Gpr, src: Gpr, imm: i32) {
        if let Ok(imm) = i8::try_from(imm) {
            self.op(None, wide, &[0x6b], dst.0, src.into(), false);
            self.byte(imm as u8);
        } else {
            self.op(None, wide, &[0x69], dst.0, src.into(), false);
            self.imm32(imm);
        }
    }

    /// rax, rdx = rdx:rax divided by `src`.
    pub(super) fn div(&mut self, wide: bool, signed: bool, src: Gpr) {
        self.op(None, wide, &[0xf7], if signed { 7 } else { 6 }, src.into(), false);
    }

    /// rdx = the sign of rax.
    pub(super) fn cqo(&mut self, wide: bool) {
        if wide {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    pub(super) fn neg(&mut self, wide: bool, dst: Gpr) {
        self.op(None, wide, &[0xf7], 3, dst.into(), false);
    }

    pub(super) fn shift_imm(&mut self, wide: bool, op: Shift, dst: Gpr, count: u8) {
        self.op(None, wide, &[0xc1], op as u8, dst.into(), false);
        self.byte(count);
    }

    /// Shifts by cl.
    pub(super) fn shift_cl(&mut self, wide: bool, op: Shift, dst: Gpr) {
        self.op(None, wide, &[0xd3], op as u8, dst.into(), false);
    }

    /// `dst = src op count` (BMI2). Not for rotates.
    pub(super) fn shift_x(&mut self, wide: bool, op: Shift, dst: Gpr, src: Gpr, count: Gpr) {
        let prefix = match op {
            Shift::Shl => 1,
            Shift::Sar => 2,
            Shift::Shr | Shift::Rol => 3,
        };
        self.vex((2, prefix, 0xf7), wide, dst, src, count.0);
    }

    /// `dst = src` rotated right by `count` (BMI2).
    pub(super) fn rorx(&mut self, wide: bool, dst: Gpr, src: Gpr, count: u8) {
        self.vex((3, 3, 0xf0), wide, dst, src, 0);
        self.byte(count);
    }

    /// Map, prefix and opcode, as VEX has them, and operands.
    fn vex(&mut self, (map, prefix, opcode): (u8, u8, u8), wide: bool, reg: Gpr, rm: Gpr, third: u8) {
        self.byte(0xc4);
        self.byte((!reg.0 >> 3 & 1) << 7 | 1 << 6 | (!rm.0 >> 3 & 1) << 5 | map);
        self.byte(u8::from(wide) << 7 | (!third & 15) << 3 | prefix);
        self.byte(opcode);
        self.modrm(reg.0, rm.into());
    }

    /// Rotates the low 16 bits by 8.
    pub(super) fn swap16(&mut self, dst: Gpr) {
        self.op(Some(0x66), false, &[0xc1], Shift::Rol as u8, dst.into(), false);
        self.byte(8);
    }

    pub(super) fn bswap(&mut self, wide: bool, dst: Gpr) {
        let rex = 0x40 | u8::from(wide) << 3 | dst.0 >> 3;
        if rex != 0x40 {
            self.byte(rex);
        }
        self.byte(0x0f);
        self.byte(0xc8 | dst.0 & 7);
    }

    pub(super) fn push(&mut self, reg: Gpr) {
        if reg.0 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x50 | reg.0 & 7);
    }

    pub(super) fn pop(&mut self, reg: Gpr) {
        if reg.0 >= 8 {
            self.byte(0x41);
        }
        self.byte(0x58 | reg.0 & 7);
    }

    pub(super) fn push_mem(&mut self, mem: Mem) {
        self.op(None, false, &[0xff], 6, mem.into(), false);
    }

    /// `[mem] += src` in one step; `src` = what was there.
    pub(super) fn lock_xadd(&mut self, wide: bool, mem: Mem, src: Gpr) {
        self.byte(0xf0);
        self.op(None, wide, &[0x0f, 0xc1], src.0, mem.into(), false);
    }

    /// `[mem] op= src` in one step.
    pub(super) fn lock_arith(&mut self, wide: bool, op: Arith, mem: Mem, src: Gpr) {
        self.byte(0xf0);
        self.op(None, wide, &[(op as u8) << 3 | 1], src.0, mem.into(), false);
    }

    /// Exchanges, in one step.
    pub(super) fn xchg(&mut self, wide: bool, mem: Mem, src: Gpr) {
        self.op(None, wide, &[0x87], src.0, mem.into(), false);
    }

    /// `[mem] = src` if it equals rax, in one step; rax = what was there.
    pub(super) fn lock_cmpxchg(&mut self, wide: bool, mem: Mem, src: Gpr) {
        self.byte(0xf0);
        self.op(None, wide, &[0x0f, 0xb1], src.0, mem.into(), false);
    }

    pub(super) fn call(&mut self, label: Label) {
        self.byte(0xe8);
        self.rel32(label);
    }

    pub(super) fn call_reg(&mut self, reg: Gpr) {
        self.op(None, false, &[0xff], 2, reg.into(), false);
    }

    pub(super) fn ret(&mut self) {
        self.byte(0xc3);
    }

    pub(super) fn jmp(&mut self, label: Label) {
        if let Some(rel) = self.short(label) {
            self.byte(0xeb);
            return self.byte(rel);
        }
        self.byte(0xe9);
        self.rel32(label);
    }

    pub(super) fn jcc(&mut self, cc: Cc, label: Label) {
        if let Some(rel) = self.short(label) {
            self.byte(0x70 | cc as u8);
            return self.byte(rel);
        }
        self.byte(0x0f);
        self.byte(0x80 | cc as u8);
        self.rel32(label);
    }

    /// The 8-bit displacement of a jump of two bytes to a label that is bound and near.
    fn short(&self, label: Label) -> Option<u8> {
        let rel = i64::from(self.labels.offset(label)?) - i64::from(self.at()) - 2;
        i8::try_from(rel).ok().map(|rel| rel as u8)
    }

    fn rel32(&mut self, label: Label) {
        self.fixups.push((self.at(), label));
        self.imm32(0);
    }

    /// Fills with no-ops up to a multiple of `to` bytes, if that takes no more than `max`.
    pub(super) fn align(&mut self, to: usize, max: usize) {
        const NOPS: [&[u8]; 9] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        let mut room = self.code.len().next_multiple_of(to) - self.code.len();
        if room > max {
            return;
        }
        while room > 0 {
            let nop = NOPS[room.min(NOPS.len()) - 1];
            self.code.extend_from_slice(nop);
            room -= nop.len();
        }
    }
}
