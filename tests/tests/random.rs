//! The generator of random programs: repeatable, complete, accepted by the kernel's verifier; and its shrinker.

use std::collections::HashSet;

use mimic_abi::isa::{self, Form, Imm64Kind};
use mimic_abi::{AluOp, Insn, RawInsn};
use mimic_tests::random::{RandomProgram, delete_insn, shrink};

#[test]
fn a_seed_is_a_program() {
    for seed in 0..50 {
        assert_eq!(RandomProgram::new(seed), RandomProgram::new(seed));
        assert_ne!(RandomProgram::new(seed).insns, RandomProgram::new(seed + 1).insns);
    }
}

/// Every form of instruction comes up, but for what only loaders write, what Linux refuses, and what ends by the clock.
#[test]
fn all_forms_come_up() {
    let mut missing: HashSet<String> = isa::rows().map(|row| format!("{:?}", row.form)).collect();
    for seed in 0..3000 {
        for insn in decode(&RandomProgram::new(seed).insns) {
            missing.remove(&format!("{:?}", insn.form()));
        }
    }
    let kinds = [Imm64Kind::MapFd, Imm64Kind::MapFdValue, Imm64Kind::BtfId];
    let mut expected: HashSet<String> =
        kinds.iter().map(|kind| format!("{:?}", Form::LdImm64(*kind))).collect();
    let others =
        [Form::CallKfunc, Form::CallX, Form::AddrSpaceCast(0, 1), Form::AddrSpaceCast(1, 0), Form::MayGoto];
    expected.extend(others.iter().map(|form| format!("{form:?}")));
    assert_eq!(missing, expected);
}

#[test]
fn deleting_keeps_jumps_on_their_targets() {
    // 0: if r1 == 0 goto 5; 1: r0 = 1; 2-3: r2 = 5 ll; 4: r0 = 2; 5: if r1 != 1 goto 0; 6: exit
    let insns = words(&[0x0004_0115, 0x1_0000_00b7, 0x5_0000_0218, 0, 0x2_0000_00b7, 0x1_fffa_0155, 0x95]);
    let less = delete_insn(&insns, 3);
    assert_eq!(less.len(), 5);
    assert_eq!((less[0].off, less[3].off), (2, -4));
    let without_target = delete_insn(&insns, 5);
    assert_eq!((without_target[0].off, without_target[5].opcode), (4, 0x95));
}

#[test]
fn shrinking_keeps_what_fails() {
    let is_xor = |insn: &Insn| matches!(insn, Insn::Alu { op: AluOp::Xor, .. });
    let fails = |insns: &[RawInsn]| decode(insns).iter().any(is_xor);
    let shrunk = shrink(&RandomProgram::new(1).insns, fails);
    assert_eq!(shrunk.len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn the_verifier_accepts_them() {
    use mimic_tests::kernel::{Kernel, KernelRun};
    let Some(kernel) = Kernel::or_skip() else { return };
    let count = 500;
    let refused: Vec<_> = kernel.in_empty_netns(|| {
        (0..count).filter(|seed| matches!(run(&kernel, *seed), KernelRun::Refused(_))).collect()
    });
    assert!(refused.len() * 100 <= count as usize, "refused: {refused:?}");
    for seed in 0..20 {
        let [first, second] = [0, 1].map(|_| match kernel.in_empty_netns(|| run(&kernel, seed)) {
            KernelRun::Ran(outcome) => Some(outcome),
            KernelRun::Refused(_) => None,
        });
        assert_eq!(first, second, "seed {seed} does not repeat");
    }
    fn run(kernel: &Kernel, seed: u64) -> KernelRun {
        kernel.run_random(&RandomProgram::new(seed), false)
    }
}

/// `cargo xtask kernel-diff` does this with as many as one likes.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_agrees() {
    use mimic_tests::kernel::Kernel;
    let Some(kernel) = Kernel::or_skip() else { return };
    let report = kernel.diff_random(0..1000, 1, |_| ());
    assert!(report.differences.is_empty(), "{}", report.differences[0]);
    assert!(report.compared >= 990, "{report:?}");
}

fn decode(insns: &[RawInsn]) -> Vec<Insn> {
    let mut decoded = Vec::new();
    let mut pc = 0;
    while pc < insns.len() {
        let insn = Insn::decode(&insns[pc..]).unwrap();
        pc += insn.slots();
        decoded.push(insn);
    }
    decoded
}

fn words(words: &[u64]) -> Vec<RawInsn> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    RawInsn::parse_all(&bytes, mimic_abi::ByteOrder::Little).unwrap()
}
