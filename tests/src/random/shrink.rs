//! Makes a failing random program smaller: takes instructions out while it still fails.

use mimic_abi::RawInsn;

const CLASS_MASK: u8 = 0x07;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const OP_MASK: u8 = 0xf0;
const OP_CALL: u8 = 0x80;
const OP_EXIT: u8 = 0x90;
const GOTO_LONG: u8 = 0x06;
const LD_IMM64: u8 = 0x18;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNC: u8 = 4;

/// The smallest program that taking instructions out of `insns` leads to with `fails` still true of it. Programs that
/// make no sense are asked about too: `fails` must be false of what can't be run.
pub fn shrink(insns: &[RawInsn], mut fails: impl FnMut(&[RawInsn]) -> bool) -> Vec<RawInsn> {
    let mut best = insns.to_vec();
    loop {
        let before = best.len();
        let mut chunk = best.len() / 2;
        while chunk > 0 {
            best = without_chunks(best, chunk, &mut fails);
            chunk /= 2;
        }
        // Small chunks of other lengths find a call together with what sets it up.
        for chunk in [5, 3] {
            best = without_chunks(best, chunk, &mut fails);
        }
        if best.len() == before {
            return best;
        }
    }
}

/// Takes out every run of `chunk` instructions that can go.
fn without_chunks(
    mut best: Vec<RawInsn>,
    chunk: usize,
    fails: &mut impl FnMut(&[RawInsn]) -> bool,
) -> Vec<RawInsn> {
    let mut pc = 0;
    while pc < best.len() {
        let mut candidate = best.clone();
        for _ in 0..chunk {
            if pc < candidate.len() {
                candidate = delete_insn(&candidate, pc);
            }
        }
        if fails(&candidate) { best = candidate } else { pc += 1 }
    }
    best
}

/// The program without the instruction at `pc`; jumps over it get shorter, jumps to it go to the next one.
pub fn delete_insn(insns: &[RawInsn], pc: usize) -> Vec<RawInsn> {
    let wide_start = pc > 0 && insns[pc].opcode == 0 && insns[pc - 1].opcode == LD_IMM64;
    let first = if wide_start { pc - 1 } else { pc };
    let gone = if insns[first].opcode == LD_IMM64 { 2 } else { 1 };
    let moved = |target: i64| if target > first as i64 { target - gone } else { target };
    let mut kept = Vec::with_capacity(insns.len());
    for (at, insn) in insns.iter().enumerate() {
        if (first..first + gone as usize).contains(&at) {
            continue;
        }
        let mut insn = *insn;
        if let Some(distance) = distance(&insn) {
            let next = at as i64 + 1;
            // What jumps to the deleted instruction itself goes to what follows it.
            let target = next + distance;
            let distance = moved(target) - moved(next);
            match in_imm(&insn) {
                true => insn.imm = distance as i32,
                false => insn.off = distance as i16,
            }
        }
        kept.push(insn);
    }
    kept
}

/// How far an instruction jumps, calls or points, in slots from the next one.
fn distance(insn: &RawInsn) -> Option<i64> {
    if insn.opcode == LD_IMM64 {
        return (insn.src == PSEUDO_FUNC).then_some(insn.imm.into());
    }
    let jump = [CLASS_JMP, CLASS_JMP32].contains(&(insn.opcode & CLASS_MASK));
    match insn.opcode & OP_MASK {
        _ if !jump => None,
        OP_EXIT => None,
        OP_CALL if insn.src != PSEUDO_CALL => None,
        _ if in_imm(insn) => Some(insn.imm.into()),
        _ => Some(insn.off.into()),
    }
}

fn in_imm(insn: &RawInsn) -> bool {
    insn.opcode == GOTO_LONG || insn.opcode == LD_IMM64 || insn.opcode & OP_MASK == OP_CALL
}
