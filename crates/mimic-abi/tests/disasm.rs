//! The disassembler against recorded text of the real tools.

use mimic_abi::disasm::{Style, disassemble};
use mimic_abi::{Insn, Names, RawInsn, isa};

/// The names that occur in the recordings.
struct Recorded;

impl Names for Recorded {
    fn helper(&self, id: u32) -> Option<&str> {
        Some(match id {
            0 => "bpf_unspec",
            1 => "bpf_map_lookup_elem",
            5 => "bpf_ktime_get_ns",
            7 => "bpf_get_prandom_u32",
            211 => "bpf_cgrp_storage_delete",
            _ => return None,
        })
    }

    fn kfunc(&self, btf_id: i32, _fd_idx: i16) -> Option<&str> {
        Some(match btf_id {
            63548 => "bpf_cast_to_kern_ctx",
            65481 => "bpf_rcu_read_lock",
            _ => return None,
        })
    }
}

/// Slots and text of each line of a recording.
fn recording(data: &str) -> impl Iterator<Item = (Vec<RawInsn>, &str)> {
    data.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (slots, text) = line.split_once('\t').expect("a tab");
        let slots = slots
            .split(' ')
            .map(|slot| RawInsn::from_u64(u64::from_str_radix(slot, 16).expect("a hexadecimal number")))
            .collect();
        (slots, text)
    })
}

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
