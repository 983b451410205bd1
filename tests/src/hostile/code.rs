//! Code that nobody verified.

use crate::random::Rng;
use mimic_abi::asm::assemble;
use mimic_abi::{Insn, RawInsn};

/// Random instructions that decode: any, with near jumps and small displacements more often than not.
pub(super) fn any(rng: &mut Rng) -> Vec<RawInsn> {
    let len = rng.range(8, 48);
    let mut code = assemble("r6 = r1; r7 = r1; r7 += 16; r8 = 7; r9 = -3; r3 = r10; r3 += -32", &())
        .expect("it is")
        .slots;
    while code.len() < len {
        let insn = insn(rng, code.len(), len);
        code.push(insn);
    }
    code.push(RawInsn { opcode: 0x95, dst: 0, src: 0, off: 0, imm: 0 });
    code
}

fn insn(rng: &mut Rng, at: usize, len: usize) -> RawInsn {
    loop {
        let opcode = rng.bits() as u8;
        let (dst, src) = (rng.below(11) as u8, rng.below(11) as u8);
        let near = rng.below(len) as i32 - at as i32;
        let (off, imm) = match opcode {
            // A function of the program, or a helper by its number.
            0x85 if rng.chance(50) => (0, near),
            0x85 => (0, rng.range(1, 215) as i32),
            _ => {
                (offset(rng, opcode, near), if rng.chance(50) { rng.range(0, 64) as i32 } else { rng.imm() })
            }
        };
        let src = if opcode == 0x85 { u8::from(imm == near) } else { src };
        let insn = RawInsn { opcode, dst, src, off, imm };
        let forms = [insn, RawInsn { src: 0, ..insn }, RawInsn { off: 0, imm: 0, ..insn }];
        // Constants of two slots would be torn.
        if let Some(insn) = forms.into_iter().find(|insn| opcode != 0x18 && Insn::decode(&[*insn]).is_ok()) {
            return insn;
        }
    }
}

fn offset(rng: &mut Rng, opcode: u8, near: i32) -> i16 {
    match rng.below(4) {
        _ if matches!(opcode & 7, 4 | 7) => rng.pick(&[0, 0, 1]),
        _ if matches!(opcode & 7, 5 | 6) => near as i16,
        0 => -8 * rng.below(8) as i16,
        1 => rng.below(64) as i16,
        2 => rng.bits() as i16,
        _ => 0,
    }
}

/// An access in every form, at an address in r2, of or with what is in r3.
pub(super) const ACCESSES: &[&str] = &[
    "r3 = *(u8 *)(r2 {off})",
    "r3 = *(u16 *)(r2 {off})",
    "r3 = *(u32 *)(r2 {off})",
    "r3 = *(u64 *)(r2 {off})",
    "r3 = *(s8 *)(r2 {off})",
    "r3 = *(s16 *)(r2 {off})",
    "r3 = *(s32 *)(r2 {off})",
    "*(u8 *)(r2 {off}) = r3",
    "*(u16 *)(r2 {off}) = r3",
    "*(u32 *)(r2 {off}) = r3",
    "*(u64 *)(r2 {off}) = r3",
    "*(u8 *)(r2 {off}) = 85",
    "*(u64 *)(r2 {off}) = -1",
    "lock *(u32 *)(r2 {off}) += r3",
    "lock *(u64 *)(r2 {off}) |= r3",
    "r3 = atomic64_fetch_and((u64 *)(r2 {off}), r3)",
    "r3 = xchg_64(r2 {off}, r3)",
    "r0 = cmpxchg_64(r2 {off}, r0, r3)",
    "r3 = load_acquire((u64 *)(r2 {off}))",
    "store_release((u32 *)(r2 {off}), r3)",
    "w2 = w2; *(u64 *)(r2 {off}) = r3",
];

/// Displacements.
pub(super) const OFFSETS: &[i16] = &[0, 8, -8, 255, -256, 4088, 32767, -32768];

/// Instructions of [`of_list`]'s loop, one access of which is the one that was asked for.
pub(super) const LOOP_LEN: u64 = 7;
/// Entries of the list.
pub(super) const LIST_LEN: usize = 64;

/// A loop over a list of addresses and values in the context, with an access at each. Called functions deep if so asked.
pub(super) fn of_list(access: &str, off: i16, depth: usize) -> Vec<RawInsn> {
    let sign = if off < 0 { '-' } else { '+' };
    let access = access.replace("{off}", &format!("{sign} {}", off.unsigned_abs()));
    let calls: String = (1..depth).map(|at| format!("call f{at}; exit; f{at}: ")).collect();
    let text = format!(
        "{calls}r6 = r1; r7 = 0; again: r2 = *(u64 *)(r6 + 0); r3 = *(u64 *)(r6 + 8); {access}; \
         r6 += 16; r7 += 1; if r7 < {LIST_LEN} goto again; r0 = r7; exit"
    );
    assemble(&text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots
}
