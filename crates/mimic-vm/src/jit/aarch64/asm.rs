//! The encodings of AArch64 that compiled code is made of, as the "Arm Architecture Reference Manual for A-profile architecture", part C,
//! has them. Knows words and labels; nothing of eBPF.

use super::imm::{self, Bitmask};
use crate::jit::label::{Label, Labels};

/// A register by its number in encodings. 31 is zero or the stack pointer, as the instruction has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const ZR: Reg = Reg(31);
pub(super) const SP: Reg = Reg(31);
/// Where the last call returns to.
pub(super) const LR: Reg = Reg(30);

/// Arithmetic that takes registers and 12-bit constants; `S` sets the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Add = 0,
    Adds = 1,
    Sub = 2,
    Subs = 3,
}

/// Logic that takes registers and bit patterns; `S` sets the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logic {
    And = 0,
    Orr = 1,
    Eor = 2,
    Ands = 3,
}

/// What takes two registers and nothing else: by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Two {
    Udiv = 2,
    Sdiv = 3,
    Lsl = 8,
    Lsr = 9,
    Asr = 10,
}

/// Conditions, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cc {
    Eq = 0,
    Ne = 1,
    Hs = 2,
    Lo = 3,
    Hi = 8,
    Ls = 9,
    Ge = 10,
    Lt = 11,
    Gt = 12,
    Le = 13,
}

/// What a load or store does, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Store = 0,
    /// Zero-extends.
    Load = 1,
    /// Extends the sign to 64 bits.
    LoadSigned = 2,
}

/// Where a load or store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mem {
    /// `[base + off]`; see [`Mem::reaches`].
    Off(Reg, i32),
    /// `[base + index]`.
    Index(Reg, Reg),
    /// `[base + the low 32 bits of index]`.
    Index32(Reg, Reg),
}

impl Mem {
    /// Whether an offset can be encoded, for a size of `1 << log2` bytes.
    pub(super) fn reaches(off: i32, log2: u32) -> bool {
        (-256..=255).contains(&off) || off >= 0 && off & ((1 << log2) - 1) == 0 && off >> log2 < 4096
    }
}

/// Where a pair of registers goes: before and after are those of the stack pointer's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    Off(i32),
    Before(i32),
    After(i32),
}

/// Atomic read-modify-write, by its number; bit 3 is another group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rmw {
    Add = 0,
    /// And with the complement.
    Clear = 1,
    Eor = 2,
    Set = 3,
    Swap = 8,
}

/// How a jump holds its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// 19 bits of words: 1 MiB.
    Near,
    /// 26 bits of words: 128 MiB.
    Wide,
}

/// Code that grows, with labels.
pub(super) struct Asm {
    code: Vec<u32>,
    labels: Labels,
    /// Jumps that wait for a label, by the word that they are.
    fixups: Vec<(u32, Label, Field)>,
    far: bool,
}

impl Asm {
    /// `far`: conditional jumps are made to reach as far as others.
    pub(super) fn new(far: bool) -> Asm {
        Asm { code: Vec::new(), labels: Labels::default(), fixups: Vec::new(), far }
    }

    /// Bytes so far.
    pub(super) fn at(&self) -> u32 {
        self.code.len() as u32 * 4
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.label()
    }

    pub(super) fn bind(&mut self, label: Label) {
        self.labels.bind(label, self.at());
    }

    /// The code with all distances filled in; none if one is too long for its field. All labels that are used are bound.
    pub(super) fn resolve(mut self) -> Option<Vec<u8>> {
        for (word, label, field) in core::mem::take(&mut self.fixups) {
            let target = self.labels.offset(label);
            debug_assert!(target.is_some(), "a label was not bound");
            let words = (i64::from(target.unwrap_or(0)) / 4 - i64::from(word)) as i32;
            let (bits, shift) = match field {
                Field::Near => (19, 5),
                Field::Wide => (26, 0),
            };
            if words >> (bits - 1) != words >> 31 {
                return None;
            }
            self.code[word as usize] |= (words as u32 & ((1 << bits) - 1)) << shift;
        }
        Some(self.code.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    fn word(&mut self, word: u32) {
        self.code.push(word);
    }

    /// A word whose width is told by its highest bit, with registers where most have them.
    fn dnm(&mut self, wide: bool, word: u32, rd: Reg, rn: Reg, rm: Reg) {
        self.word(word | u32::from(wide) << 31 | n(rm) << 16 | n(rn) << 5 | n(rd));
    }

    /// `rd = rn op rm`.
    pub(super) fn arith(&mut self, wide: bool, op: Arith, rd: Reg, rn: Reg, rm: Reg) {
        self.dnm(wide, 0x0b00_0000 | (op as u32) << 29, rd, rn, rm);
    }

    /// `rd = rn + the low 32 bits of rm`.
    pub(super) fn add_low(&mut self, rd: Reg, rn: Reg, rm: Reg) {
        self.dnm(true, 0x0b20_4000, rd, rn, rm);
    }

    /// `rd = rn op imm`, `imm` below 4096 or a multiple of it below 1 << 24. 31 is the stack pointer, where no flags are set.
    fn arith_imm12(&mut self, wide: bool, op: Arith, rd: Reg, rn: Reg, imm: u32) {
        let (shift, imm) = if imm < 1 << 12 { (0, imm) } else { (1, imm >> 12) };
        debug_assert!(imm < 1 << 12, "constants of arithmetic have 12 bits");
        let word = 0x1100_0000 | (op as u32) << 29 | shift << 22 | imm << 10;
        self.word(word | u32::from(wide) << 31 | n(rn) << 5 | n(rd));
    }

    /// `rd = rn + imm`, with the help of `scratch` if it takes any.
    pub(super) fn add_imm(&mut self, wide: bool, rd: Reg, rn: Reg, imm: i64, scratch: Reg) {
        let op = if imm < 0 { Arith::Sub } else { Arith::Add };
        match imm.unsigned_abs() {
            0 if rd == rn && wide => {}
            small if imm::is_arith(small) => self.arith_imm12(wide, op, rd, rn, small as u32),
            middle if middle < 1 << 24 => {
                self.arith_imm12(wide, op, rd, rn, middle as u32 & 0xff_f000);
                self.arith_imm12(wide, op, rd, rd, middle as u32 & 0xfff);
            }
            _ => {
                self.constant(scratch, if wide { imm as u64 } else { u64::from(imm as u32) });
                self.arith(wide, Arith::Add, rd, rn, scratch);
            }
        }
    }

    /// Compares with a constant.
    pub(super) fn cmp_imm(&mut self, wide: bool, rn: Reg, imm: i64, scratch: Reg) {
        let op = if imm < 0 { Arith::Adds } else { Arith::Subs };
        if imm::is_arith(imm.unsigned_abs()) {
            return self.arith_imm12(wide, op, ZR, rn, imm.unsigned_abs() as u32);
        }
        self.constant(scratch, if wide { imm as u64 } else { u64::from(imm as u32) });
        self.arith(wide, Arith::Subs, ZR, rn, scratch);
    }

    /// `rd -= imm`, and sets the flags. At most 24 bits.
    pub(super) fn subs_imm(&mut self, rd: Reg, imm: u32, scratch: Reg) {
        if imm::is_arith(imm.into()) {
            return self.arith_imm12(true, Arith::Subs, rd, rd, imm);
        }
        self.constant(scratch, imm.into());
        self.arith(true, Arith::Subs, rd, rd, scratch);
    }

    /// `rd = rn op rm`.
    pub(super) fn logic(&mut self, wide: bool, op: Logic, rd: Reg, rn: Reg, rm: Reg) {
        self.dnm(wide, 0x0a00_0000 | (op as u32) << 29, rd, rn, rm);
    }

    /// `rd = !rm`.
    pub(super) fn not(&mut self, wide: bool, rd: Reg, rm: Reg) {
        self.dnm(wide, 0x2a20_0000, rd, ZR, rm);
    }

    /// `rd = rn op imm`, with the help of `scratch` if it takes any.
    pub(super) fn logic_imm(&mut self, wide: bool, op: Logic, rd: Reg, rn: Reg, imm: u64, scratch: Reg) {
        match Bitmask::new(wide, imm) {
            Some(mask) => self.logic_mask(wide, op, rd, rn, mask),
            None => {
                self.constant(scratch, if wide { imm } else { u64::from(imm as u32) });
                self.logic(wide, op, rd, rn, scratch);
            }
        }
    }

    fn logic_mask(&mut self, wide: bool, op: Logic, rd: Reg, rn: Reg, mask: Bitmask) {
        let word = 0x1200_0000 | (op as u32) << 29 | mask.bits() << 10;
        self.word(word | u32::from(wide) << 31 | n(rn) << 5 | n(rd));
    }

    pub(super) fn mov(&mut self, wide: bool, rd: Reg, rm: Reg) {
        self.logic(wide, Logic::Orr, rd, ZR, rm);
    }

    /// `rd = rn`, where one of them is the stack pointer.
    pub(super) fn mov_sp(&mut self, rd: Reg, rn: Reg) {
        self.arith_imm12(true, Arith::Add, rd, rn, 0);
    }

    /// The shortest load of a constant. Leaves the flags.
    pub(super) fn constant(&mut self, rd: Reg, value: u64) {
        let wide = value >> 32 != 0;
        let count = if wide { 4 } else { 2 };
        let ones = if wide { u64::MAX } else { 0xffff_ffff };
        let used = |value: u64| (0..count).filter(move |at| half(value, *at) != 0);
        let (plain, inverted) = (used(value).count(), used(value ^ ones).count());
        if plain.min(inverted) > 1
            && let Some(mask) = Bitmask::new(wide, value)
        {
            return self.logic_mask(wide, Logic::Orr, rd, ZR, mask);
        }
        // movz, or movn, which writes ones around.
        let (first, around) = if plain <= inverted { (0x5280_0000, 0) } else { (0x1280_0000, ones) };
        let from = value ^ around;
        let at = used(from).next().unwrap_or(0);
        self.move_wide(wide, first, rd, half(from, at), at);
        for at in used(from).skip(1) {
            self.move_wide(wide, 0x7280_0000, rd, half(value, at), at);
        }
    }

    fn move_wide(&mut self, wide: bool, word: u32, rd: Reg, half: u32, at: u32) {
        self.word(word | u32::from(wide) << 31 | at << 21 | half << 5 | n(rd));
    }

    /// `rd` = bits `low..=high` of `rn`, the sign extended or not: an `imms` below `immr` moves bits up instead.
    fn bits(&mut self, wide: bool, signed: bool, rd: Reg, rn: Reg, immr: u8, imms: u8) {
        let word = if signed { 0x1300_0000 } else { 0x5300_0000 };
        let word = word | u32::from(wide) << 22 | u32::from(immr) << 16 | u32::from(imms) << 10;
        self.dnm(wide, word, rd, rn, Reg(0));
    }

    pub(super) fn lsl_imm(&mut self, wide: bool, rd: Reg, rn: Reg, count: u8) {
        let bits = if wide { 64 } else { 32 };
        self.bits(wide, false, rd, rn, (bits - count) % bits, bits - 1 - count);
    }

    pub(super) fn shr_imm(&mut self, wide: bool, signed: bool, rd: Reg, rn: Reg, count: u8) {
        self.bits(wide, signed, rd, rn, count, if wide { 63 } else { 31 });
    }

    /// `rd` = the low bits of `rn`, zero-extended.
    pub(super) fn zero_extend(&mut self, rd: Reg, rn: Reg, bits: u8) {
        self.bits(false, false, rd, rn, 0, bits - 1);
    }

    /// `rd` = the low bits of `rn`, the sign extended.
    pub(super) fn sign_extend(&mut self, wide: bool, rd: Reg, rn: Reg, bits: u8) {
        self.bits(wide, true, rd, rn, 0, bits - 1);
    }

    pub(super) fn ror_imm(&mut self, wide: bool, rd: Reg, rn: Reg, count: u8) {
        self.dnm(wide, 0x1380_0000 | u32::from(wide) << 22 | u32::from(count) << 10, rd, rn, rn);
    }

    pub(super) fn two(&mut self, wide: bool, op: Two, rd: Reg, rn: Reg, rm: Reg) {
        self.dnm(wide, 0x1ac0_0000 | (op as u32) << 10, rd, rn, rm);
    }

    pub(super) fn mul(&mut self, wide: bool, rd: Reg, rn: Reg, rm: Reg) {
        self.dnm(wide, 0x1b00_0000 | n(ZR) << 10, rd, rn, rm);
    }

    /// `rd = ra - rn * rm`.
    pub(super) fn msub(&mut self, wide: bool, rd: Reg, rn: Reg, rm: Reg, ra: Reg) {
        self.dnm(wide, 0x1b00_8000 | n(ra) << 10, rd, rn, rm);
    }

    /// Reverses the bytes.
    pub(super) fn rev(&mut self, wide: bool, rd: Reg, rn: Reg) {
        self.dnm(wide, 0x5ac0_0800 | u32::from(wide) << 10, rd, rn, Reg(0));
    }

    /// A load or store of `1 << log2` bytes.
    pub(super) fn mem(&mut self, what: Move, log2: u32, rt: Reg, mem: Mem) {
        let word = log2 << 30 | 0x3800_0000 | (what as u32) << 22 | n(rt);
        self.word(match mem {
            Mem::Off(base, off) if off >= 0 && off & ((1 << log2) - 1) == 0 && off >> log2 < 4096 => {
                word | 1 << 24 | (off as u32 >> log2) << 10 | n(base) << 5
            }
            Mem::Off(base, off) => {
                debug_assert!((-256..=255).contains(&off), "the caller asked whether it reaches");
                word | (off as u32 & 0x1ff) << 12 | n(base) << 5
            }
            Mem::Index(base, index) => word | 0x0020_6800 | n(index) << 16 | n(base) << 5,
            Mem::Index32(base, index) => word | 0x0020_4800 | n(index) << 16 | n(base) << 5,
        });
    }

    /// Loads or stores two registers off the stack pointer.
    pub(super) fn pair(&mut self, load: bool, one: Reg, other: Reg, to: Pair) {
        let (word, off) = match to {
            Pair::Off(off) => (0xa900_0000, off),
            Pair::Before(off) => (0xa980_0000, off),
            Pair::After(off) => (0xa880_0000, off),
        };
        let off = (off / 8) as u32 & 0x7f;
        self.word(word | u32::from(load) << 22 | off << 15 | n(other) << 10 | n(SP) << 5 | n(one));
    }

    /// Pushes a register, with room for another: the stack pointer stays a multiple of 16.
    pub(super) fn push(&mut self, reg: Reg) {
        self.word(0xf81f_0c00 | n(SP) << 5 | n(reg));
    }

    pub(super) fn pop(&mut self, reg: Reg) {
        self.word(0xf841_0400 | n(SP) << 5 | n(reg));
    }

    /// `[addr] = [addr] op rs` in one step (LSE), ordered before and after; `rt` = what was there. 4 bytes or 8.
    pub(super) fn rmw(&mut self, wide: bool, op: Rmw, rs: Reg, rt: Reg, addr: Reg) {
        let word = 0xb8e0_0000 | u32::from(wide) << 30 | (op as u32) << 12;
        self.word(word | n(rs) << 16 | n(addr) << 5 | n(rt));
    }

    /// `[addr] = rt` if it equals `rs`, in one step (LSE), ordered before and after; `rs` = what was there.
    pub(super) fn cas(&mut self, wide: bool, rs: Reg, rt: Reg, addr: Reg) {
        let word = 0x88e0_fc00 | u32::from(wide) << 30;
        self.word(word | n(rs) << 16 | n(addr) << 5 | n(rt));
    }

    /// A load that begins an exclusive access, and acquires.
    pub(super) fn load_exclusive(&mut self, wide: bool, rt: Reg, addr: Reg) {
        self.word(0x885f_fc00 | u32::from(wide) << 30 | n(addr) << 5 | n(rt));
    }

    /// A store that ends an exclusive access, and releases; `rs` = 0 if it was done.
    pub(super) fn store_exclusive(&mut self, wide: bool, rs: Reg, rt: Reg, addr: Reg) {
        self.word(0x8800_fc00 | u32::from(wide) << 30 | n(rs) << 16 | n(addr) << 5 | n(rt));
    }

    /// A load that acquires, of `1 << log2` bytes.
    pub(super) fn load_acquire(&mut self, log2: u32, rt: Reg, addr: Reg) {
        self.word(0x08df_fc00 | log2 << 30 | n(addr) << 5 | n(rt));
    }

    /// A store that releases, of `1 << log2` bytes.
    pub(super) fn store_release(&mut self, log2: u32, rt: Reg, addr: Reg) {
        self.word(0x089f_fc00 | log2 << 30 | n(addr) << 5 | n(rt));
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.jump_word(0x1400_0000, label, Field::Wide);
    }

    /// Calls, and leaves where it returns to in [`LR`].
    pub(super) fn call(&mut self, label: Label) {
        self.jump_word(0x9400_0000, label, Field::Wide);
    }

    pub(super) fn call_reg(&mut self, reg: Reg) {
        self.word(0xd63f_0000 | n(reg) << 5);
    }

    pub(super) fn ret(&mut self) {
        self.word(0xd65f_0000 | n(LR) << 5);
    }

    pub(super) fn jump_if(&mut self, cc: Cc, label: Label) {
        // The lowest bit of a condition turns it around.
        self.conditional(0x5400_0000 | cc as u32, 1, label);
    }

    /// Jumps if a register is zero, or is not.
    pub(super) fn jump_if_zero(&mut self, wide: bool, zero: bool, reg: Reg, label: Label) {
        let word = 0x3400_0000 | u32::from(wide) << 31 | u32::from(!zero) << 24 | n(reg);
        self.conditional(word, 1 << 24, label);
    }

    /// A jump that `turn` turns into its opposite.
    fn conditional(&mut self, word: u32, turn: u32, label: Label) {
        if self.far && !self.is_near(label) {
            // Over the next word.
            self.word(word ^ turn | 2 << 5);
            return self.jump(label);
        }
        self.jump_word(word, label, Field::Near);
    }

    /// Whether a label is bound, and near enough for any jump.
    fn is_near(&self, label: Label) -> bool {
        self.labels.offset(label).is_some_and(|off| self.at() - off < 1 << 19)
    }

    fn jump_word(&mut self, word: u32, label: Label, field: Field) {
        self.fixups.push((self.code.len() as u32, label, field));
        self.word(word);
    }

    /// Fills with no-ops up to a multiple of `words`.
    pub(super) fn align(&mut self, words: usize) {
        while !self.code.len().is_multiple_of(words) {
            self.word(0xd503_201f);
        }
    }
}

fn n(reg: Reg) -> u32 {
    u32::from(reg.0)
}

/// The 16 bits at a place.
fn half(value: u64, at: u32) -> u32 {
    (value >> (16 * at)) as u32 & 0xffff
}
