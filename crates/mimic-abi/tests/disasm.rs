//! The disassembler against recorded text of the real tools.

mod common;

use common::{Recorded, recording};
use mimic_abi::disasm::{Style, disassemble};
use mimic_abi::{Insn, RawInsn, isa};

#[test]
fn display_is_the_kernels_log_text() {
    let mut forms = std::collections::HashSet::new();
    for (slots, text) in recording(include_str!("data/kernel-6.18-log.txt")) {
        let insn = Insn::decode(&slots).expect("an instruction that the kernel printed");
        assert_eq!(insn.display(Style::Kernel, &Recorded).to_string(), text, "{insn:?}");
        forms.insert(insn.form());
    }
    let missing: Vec<_> =
        isa::rows().filter(|row| !forms.contains(&row.form)).map(|row| row.syntax).collect();
    assert_eq!(
        missing,
        [
            "rD = map[fd:imm]",
            "rD = map[fd:imm][0]+next_imm",
            "rD = btf_id[imm]",
            "rD = subprog[imm]",
            "rD = map[idx:imm]",
            "rD = map[idx:imm][0]+next_imm",
            "callx rD",
        ]
    );
}

#[test]
fn listing_shows_slots_that_are_no_instruction() {
    let slots: Vec<RawInsn> =
        [0x0000_0005_0000_0118, 0x0000_0001_0000_0000, 0xff, 0x95].map(RawInsn::from_u64).into();
    let lines: Vec<String> =
        disassemble(&slots).map(|line| line.display(Style::Kernel, &()).to_string()).collect();
    assert_eq!(
        lines,
        [
            "0: (18) r1 = 0x100000005",
            "2: (ff) .8byte 0x00000000000000ff ; unknown opcode 0xff",
            "3: (95) exit"
        ]
    );
}

#[test]
fn llvm_style_is_llvm_objdumps_text() {
    for (slots, text) in recording(include_str!("data/llvm-19-objdump.txt")) {
        let insn = Insn::decode(&slots).expect("an instruction that LLVM printed");
        assert_eq!(insn.display(Style::Llvm, &Recorded).to_string(), text, "{insn:?}");
    }
}
