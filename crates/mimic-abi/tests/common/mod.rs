//! What the tests of the instruction set share.
#![allow(dead_code, reason = "each test file uses its part")]

use mimic_abi::isa::{self, Rule};
use mimic_abi::{Insn, Names, RawInsn, Reg};
use proptest::prelude::*;

/// The names that occur in the recordings.
pub(crate) struct Recorded;

impl Names for Recorded {
    fn helper(&self, id: u32) -> Option<&str> {
        HELPERS.iter().find(|(number, _)| *number == id).map(|(_, name)| *name)
    }

    fn helper_id(&self, name: &str) -> Option<u32> {
        HELPERS.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    fn kfunc(&self, btf_id: i32, fd_idx: i16) -> Option<&str> {
        KFUNCS.iter().find(|(id, _)| *id == btf_id && fd_idx == 0).map(|(_, name)| *name)
    }

    fn kfunc_id(&self, name: &str) -> Option<(i32, i16)> {
        KFUNCS.iter().find(|(_, known)| *known == name).map(|(id, _)| (*id, 0))
    }
}

const HELPERS: &[(u32, &str)] = &[
    (0, "bpf_unspec"),
    (1, "bpf_map_lookup_elem"),
    (5, "bpf_ktime_get_ns"),
    (7, "bpf_get_prandom_u32"),
    (211, "bpf_cgrp_storage_delete"),
];

const KFUNCS: &[(i32, &str)] = &[(63548, "bpf_cast_to_kern_ctx"), (65481, "bpf_rcu_read_lock")];

/// Slots and text of each line of a recording.
pub(crate) fn recording(data: &str) -> impl Iterator<Item = (Vec<RawInsn>, &str)> {
    data.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (slots, text) = line.split_once('\t').expect("a tab");
        let slots = slots
            .split(' ')
            .map(|slot| RawInsn::from_u64(u64::from_str_radix(slot, 16).expect("a hexadecimal number")))
            .collect();
        (slots, text)
    })
}

/// Any instruction, every form equally often, made from its row in the table.
pub(crate) fn insns() -> impl Strategy<Value = Insn> {
    let rows: Vec<_> = isa::rows().copied().collect();
    let imm = || prop_oneof![any::<i32>(), -9..9, Just(i32::MIN), Just(i32::MAX), Just(1), Just(211)];
    let off = prop_oneof![any::<i16>(), -9..9i16, Just(i16::MIN), Just(i16::MAX)];
    let reg = 0..Reg::COUNT as i32;
    (prop::sample::select(rows), reg.clone(), reg, off, imm(), imm()).prop_map(
        |(row, dst, src, off, imm, next_imm)| {
            let pick = |rule: Rule, value: i32| match rule {
                Rule::Is(fixed) => fixed,
                Rule::Reg | Rule::Any => value,
            };
            let fields = row.form.fields();
            let first = RawInsn {
                opcode: row.opcode(),
                dst: pick(fields.dst, dst) as u8,
                src: pick(fields.src, src) as u8,
                off: pick(fields.off, off.into()) as i16,
                imm: pick(fields.imm, imm),
            };
            let next =
                RawInsn { imm: fields.next_imm.map_or(0, |rule| pick(rule, next_imm)), ..RawInsn::default() };
            Insn::decode(&[first, next]).expect("fields that follow the rules")
        },
    )
}
