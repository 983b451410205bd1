//! The instruction table against the real kernel: what it refuses for its encoding, and how it prints the rest.
#![cfg(target_os = "linux")]

use mimic_abi::{ByteOrder, Insn, KernelVersion, RawInsn, isa};
use mimic_tests::kernel::{Kernel, LoadError, Prog, ProgAttr};

const SOCKET_FILTER: u32 = 1;

/// How the verifier words that an encoding is not one, whatever the program does.
const REFUSALS: &[&str] = &[
    "unknown opcode",
    "uses reserved fields",
    "R11 is invalid",
    "invalid bpf_ld_imm64 insn",
    "unrecognized bpf_ld_imm64 insn",
    "invalid BPF_LD_IMM insn",
    "invalid atomic opcode",
    "invalid atomic operand size",
    "can only convert between address space",
];

/// The slot that the instruction under test has.
const PC: usize = 13;

#[test]
fn the_kernel_and_the_decoder_refuse_the_same_encodings() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let (mut loaded, mut refused) = (0, 0);
    for opcode in 0..=255 {
        for [dst, src, off, imm] in fields(opcode) {
            let raw = RawInsn { opcode, dst: dst as u8, src: src as u8, off: off as i16, imm };
            let ours = Insn::decode(&[raw, RawInsn::default()]);
            match load(&[raw], 1) {
                Ok(_) => {
                    loaded += 1;
                    // The RFC reserves the offset of exit, and its conformance suite wants it refused.
                    let differs = raw.opcode == 0x95 && off != 0;
                    assert!(ours.is_ok() || differs, "the kernel loads {raw:x?}, the decoder says {ours:?}");
                }
                Err(error) if REFUSALS.iter().any(|refusal| error.log.contains(refusal)) => {
                    refused += 1;
                    // Linux has no callx.
                    let differs = matches!(ours, Ok(Insn::CallX { .. }));
                    assert!(
                        ours.is_err() || differs,
                        "the kernel refuses {raw:x?} as no instruction: {error}"
                    );
                }
                // Refused for what it does, not for what it is.
                Err(_) => {}
            }
        }
    }
    assert!(loaded > 200 && refused > 2_000, "{loaded} {refused}");
}

#[test]
fn the_kernel_prints_what_was_recorded() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let version = kernel.version();
    let mut compared = 0;
    for line in include_str!("../../crates/mimic-abi/tests/data/kernel-6.18-log.txt").lines() {
        let Some((slots, text)) = line.split_once('\t') else { continue };
        let slots: Vec<RawInsn> = slots
            .split(' ')
            .map(|slot| RawInsn::from_u64(u64::from_str_radix(slot, 16).expect("a hexadecimal number")))
            .collect();
        let insn = Insn::decode(&slots).expect("a recorded instruction");
        let row = isa::rows().find(|row| row.form == insn.form()).expect("a row");
        // The numbers of kernel functions differ from build to build.
        if row.form == isa::Form::CallKfunc || !row.since.is_some_and(|since| is_at_least(&version, since)) {
            continue;
        }
        let log = match load(&slots, 2) {
            Ok(log) | Err(LoadError { log, .. }) => log,
        };
        let prefix = format!("{PC}: ({:02x}) ", insn.form().opcode());
        let printed = log.lines().find_map(|line| line.strip_prefix(&prefix)).expect("a line of the log");
        let printed = printed.split(';').next().unwrap_or_default().trim_end();
        assert_eq!(printed, text, "{insn:?}");
        compared += 1;
    }
    assert!(compared > 300, "{compared}");
}

/// Field values worth trying: each field alone, and a sample of all combinations. Loading all of them takes half a minute.
fn fields(opcode: u8) -> impl Iterator<Item = [i32; 4]> {
    const DST: [i32; 3] = [0, 3, 11];
    const SRC: [i32; 5] = [0, 1, 2, 7, 11];
    const OFF: [i32; 4] = [0, 1, 8, 32];
    const IMM: [i32; 8] = [0, 1, 16, 64, 0x41, 0xe1, 0x100, 0x1_0000];
    // Prime to all the lengths, so that it walks through every value of every field.
    const STRIDE: usize = 17;

    let known = !isa::rows_of(opcode).is_empty();
    let product = DST.into_iter().flat_map(|dst| {
        SRC.into_iter().flat_map(move |src| {
            OFF.into_iter().flat_map(move |off| IMM.into_iter().map(move |imm| [dst, src, off, imm]))
        })
    });
    product.enumerate().filter_map(move |(index, fields)| {
        let alone = fields.iter().filter(|field| **field != 0).count() <= 1;
        (index == 0 || known && (alone || index % STRIDE == 0)).then_some(fields)
    })
}

/// Loads a program with these slots at [`PC`], everything before them initialised and everything after them reachable.
fn load(insn: &[RawInsn], log_level: u32) -> Result<String, LoadError> {
    let mov = |dst, imm| RawInsn { opcode: 0xb7, dst, imm, ..RawInsn::default() };
    let exit = RawInsn { opcode: 0x95, ..RawInsn::default() };
    let raw = insn[0];
    let wide = raw.opcode == 0x18;
    let second = insn.get(1).copied().or(wide.then(RawInsn::default));
    // A subprogram can be called but not jumped into.
    let calls = raw.opcode == 0x85 && raw.src == 1;

    let mut slots = vec![RawInsn { opcode: 0xbf, dst: 6, src: 1, ..RawInsn::default() }];
    slots.extend([0, 1, 2, 3, 4, 5, 7, 8, 9].map(|dst| mov(dst, 1)));
    slots.extend([-8, -16].map(|off| RawInsn { opcode: 0x7b, dst: 10, src: 3, off, imm: 0 }));
    let after = 1 + i16::from(wide);
    slots.push(if calls { mov(9, 1) } else { RawInsn { opcode: 0x15, dst: 9, src: 0, off: after, imm: 77 } });
    assert_eq!(slots.len(), PC);
    slots.push(raw);
    slots.extend(second);
    if calls {
        slots.extend([mov(0, 0), exit]);
    }
    slots.extend([mov(0, 0); 34]);
    slots.push(exit);
    let bytes = RawInsn::write_all(&slots, ByteOrder::NATIVE);
    let attr = ProgAttr {
        prog_type: SOCKET_FILTER,
        insns: &bytes,
        license: "GPL",
        log_level,
        ..ProgAttr::default()
    };
    Prog::load_with_log(&attr).map(|(_, log)| log)
}

fn is_at_least(version: &str, since: KernelVersion) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u16>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    KernelVersion::new(part(), part()) >= since
}
