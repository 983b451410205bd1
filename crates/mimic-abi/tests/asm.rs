//! The assembler: against the disassembler, against recorded text of the real tools, and against garbage.

mod common;

use common::{Recorded, insns, recording};
use mimic_abi::asm::{Assembly, assemble};
use mimic_abi::disasm::{Style, disassemble};
use mimic_abi::{Insn, RawInsn};
use proptest::prelude::*;

fn slots(text: &str) -> Vec<u64> {
    match assemble(text, &Recorded) {
        Ok(assembly) => assembly.slots.iter().map(RawInsn::to_u64).collect(),
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    match assemble(text, &Recorded) {
        Ok(Assembly { slots, .. }) => panic!("assembled to {slots:?}: {text}"),
        Err(errors) => errors.0.iter().map(|error| error.to_string()).collect(),
    }
}

#[test]
fn reads_what_the_kernel_prints() {
    for (expected, text) in recording(include_str!("data/kernel-6.18-log.txt")) {
        // As in the log: slot, opcode, text, state.
        let line = format!("0: ({:02x}) {text}       ; R0_w=0 R10=fp0", expected[0].opcode);
        let expected: Vec<u64> = expected.iter().map(RawInsn::to_u64).collect();
        assert_eq!(slots(&line), expected, "{line}");
    }
}

#[test]
fn reads_what_llvm_prints() {
    for (expected, text) in recording(include_str!("data/llvm-19-objdump.txt")) {
        let expected: Vec<u64> = expected.iter().map(RawInsn::to_u64).collect();
        assert_eq!(slots(text), expected, "{text}");
        let bytes: String =
            expected.iter().flat_map(|slot| slot.to_le_bytes()).map(|b| format!("{b:02x} ")).collect();
        let line = format!("       0:\t{bytes}\t{text} <prog+0x20>");
        assert_eq!(slots(&line), expected, "{line}");
    }
}

#[test]
fn labels_comments_and_several_statements_on_a_line() {
    let expected = [0xb7, 0x2_0000_0007, 0x0000_000a_fffe_00a5, 0x0001_0005, 0xb7, 0x95, 0x95];
    for text in [
        "r0 = 0; again: r0 += 2\n if r0 < 10 goto again // more\n goto out # leave\n r0 = 0\nout:\n exit; exit;",
        "r0 = 0\n; a line of source\n1: r0 += 2; if r0 < 10 goto 1b; goto 1f; r0 = 0; 1: exit\nexit",
        "mov %r0, 0\nagain:\nadd %r0, 2\njlt %r0, 10, again\nja exit\nmov r0, 0\nexit\nexit",
        "r0 = 0\nr0 += 2\nif r0 < 0xa goto pc-2\ngoto +1\nr0 = 0\nexit\nexit\n",
    ] {
        assert_eq!(slots(text), expected, "{text}");
    }
    let assembly = assemble("a:\n\n  r1 = 1 ll\nb: exit", &()).expect("a program");
    assert_eq!(assembly.lines, [3, 3, 4]);
    assert_eq!(assembly.labels, [("a".to_owned(), 0), ("b".to_owned(), 2)]);
}

#[test]
fn calls_by_name_number_and_label() {
    assert_eq!(
        slots(
            "call bpf_map_lookup_elem; call 1; call helper 1; call bpf_map_lookup_elem#1; call unknown#1
            call f; call local f; call pc+3; call local +2
            call bpf_rcu_read_lock; call runtime 65481; f: call %r2; callx r2; exit"
        ),
        [
            0x1_0000_0085,
            0x1_0000_0085,
            0x1_0000_0085,
            0x1_0000_0085,
            0x1_0000_0085,
            0x5_0000_1085,
            0x4_0000_1085,
            0x3_0000_1085,
            0x2_0000_1085,
            0xffc9_0000_2085,
            0xffc9_0000_2085,
            0x28d,
            0x28d,
            0x95,
        ]
    );
}

#[test]
fn loads_of_addresses() {
    assert_eq!(
        slots(
            "r1 = map[fd:5]\nr1 = map[idx:0][0]+8\nr1 = btf_id[7][fd:3]\nr1 = f ll\nr1 = subprog[f]\nf: exit"
        ),
        [
            0x5_0000_1118,
            0,
            0x6118,
            0x8_0000_0000,
            0x7_0000_3118,
            0x3_0000_0000,
            0x3_0000_4118,
            0,
            0x1_0000_4118,
            0,
            0x95,
        ]
    );
}

#[test]
fn the_conformance_suites_spelling() {
    assert_eq!(
        slots(
            "lddw %r0, 0x8877665544332211\nstxdw [%r10-8], %r0\nldxw %r1, [%r10-4]\nldxsb r2, [r10-1]
            stb [%r10-1], 0x80\nmov32 %r1, 0x9abcdef0\nsmod %r1, %r2\nneg32 %r1\nmovsx832 %r2, %r1\nswap16 %r0\nbe64 %r0
            lock fetch add [%r10-8], %r1\nlock or32 [%r10-4], %r1\nlock cmpxchg32 [%r10-4], %r1
            jsge32 %r0, -3, exit\nja32 exit\nadd64 r1, r2\nexit"
        ),
        [
            0x4433_2211_0000_0018, 0x8877_6655_0000_0000, 0xfff8_0a7b, 0xfffc_a161, 0xffff_a291, 0x80_ffff_0a72,
            0x9abc_def0_0000_01b4, 0x0001_219f, 0x184, 0x0008_12bc, 0x10_0000_00d7, 0x40_0000_00dc, 0x1_fff8_1adb,
            0x40_fffc_1ac3, 0xf1_fffc_1ac3, 0xffff_fffd_0002_0076, 0x1_0000_0006, 0x210f, 0x95,
        ]
    );
}

#[test]
fn errors_say_where_and_what_was_expected() {
    for (text, expected) in [
        (
            "r0 = ",
            "line 1, column 6: expected a value (register, number, *(TYPE *)(REG + OFF), …), found the end of the line",
        ),
        ("\n  r11 = 0", "line 2, column 3: expected an instruction, found `r11`"),
        ("é = 1", "line 1, column 1: unexpected character 'é'"),
        ("r0 = w1", "line 1, column 6: expected a 64-bit register (r0 to r10), found `w1`"),
        (
            "w0 = *(u64 *)(r1 + 0)",
            "line 1, column 7: a load of this type fills a 64-bit register (r0 to r10)",
        ),
        ("r0 = *(u32 *)(r1 + 40000)", "line 1, column 18: 40000 is no offset: they go from -32768 to 32767"),
        (
            "r0 = *(u33 *)(r1)",
            "line 1, column 8: expected a type (u8, u16, u32, u64, s8, s16 or s32), found `u33`",
        ),
        (
            "r0 = 5000000000",
            "line 1, column 6: 5000000000 does not fit in 32 bits (`rN = NUMBER ll` loads 64)",
        ),
        ("r0 ~ 1", "line 1, column 4: unexpected character '~'"),
        ("r0 == 1", "line 1, column 4: expected an assignment (=, +=, s>>= …), found `==`"),
        ("exit exit", "line 1, column 6: expected the end of the statement, found `exit`"),
        ("goto nowhere", "line 1, column 6: there is no label `nowhere`"),
        ("call bpf_nothing", "line 1, column 6: there is no label or function `bpf_nothing`"),
        ("a: exit\na: exit", "line 2, column 1: label `a` is defined twice"),
        ("r1 = -r2", "line 1, column 7: expected r1, the register on the left, found `r2`"),
        (
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r3)",
            "line 1, column 40: expected r2, which takes the old value, found `r3`",
        ),
        ("lock *(u8 *)(r1 + 0) += r2", "line 1, column 7: atomic operations work on u32 and u64"),
        ("0: (b7) w1 = 0", "line 1, column 9: the line says opcode b7, but this is b4"),
        ("1: (b7) r1 = 0", "line 1, column 1: the line says slot 1, but it is slot 0 of the text"),
        ("jeq %r0, 0", "line 1, column 11: expected `,`, found the end of the line"),
        ("if r0 = 0 goto +1", "line 1, column 7: expected a comparison (==, !=, >, s>= …), found `=`"),
        (
            "call bpf_nothing#7",
            "line 1, column 6: no helper or kernel function with number 7 is called `bpf_nothing`",
        ),
        ("goto +40000", "line 1, column 6: 40000 is no jump offset: they go from -32768 to 32767; use gotol"),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
    assert!(errors(&"x".repeat(1 << 20))[0].len() < 200);
    assert_eq!(errors("nonsense\nexit\nmore nonsense").len(), 2);
    assert_eq!(errors(&"?\n".repeat(1000)).len(), mimic_abi::asm::MAX_ERRORS);
    let far = format!("goto end\n{}end: exit", "r0 = 0\n".repeat(32768));
    assert_eq!(
        errors(&far),
        ["line 1, column 6: the label is 32768 slots away, this jump reaches -32768 to 32767; use gotol"]
    );
    assert_eq!(slots(&far.replace("goto", "gotol"))[0], 0x8000_0000_0006);
}

#[test]
fn long_lines_take_time_in_proportion() {
    const LEN: usize = 1 << 16;
    for piece in
        ["<", "<>", "< ", "#1", "call#1", "x#", "-", "0: ", "00 ", "a:", "1:", ";", "é", "r0=", "\t", "%"]
    {
        for text in [piece.repeat(LEN / piece.len()), format!("call f{}", piece.repeat(LEN / piece.len()))] {
            let _ = assemble(&format!("{text}{}", " ".repeat(LEN)), &Recorded);
        }
    }
    let jumps: String =
        (0..30_000).map(|n| format!("l{n}: goto l{}; 1: goto 1b; goto 1f\n", n / 2)).collect();
    assert_eq!(errors(&jumps).len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// `assemble(disassemble(x)) == x`.
    #[test]
    fn listings_assemble_to_the_program(program in prop::collection::vec(insns(), 1..12)) {
        let slots: Vec<RawInsn> = program.iter().flat_map(|insn| {
            let (first, second) = insn.encode();
            core::iter::once(first).chain(second)
        }).collect();
        for style in [Style::Kernel, Style::Llvm] {
            let text: String =
                disassemble(&slots).map(|line| format!("{}\n", line.display(style, &Recorded))).collect();
            let assembly = assemble(&text, &Recorded);
            prop_assert_eq!(assembly.as_ref().map(|assembly| &assembly.slots), Ok(&slots), "{}", text);
        }
    }

    /// LLVM's text needs no listing around it.
    #[test]
    fn llvm_text_assembles_to_the_instruction(insn in insns()) {
        let (first, second) = insn.encode();
        let slots: Vec<RawInsn> = core::iter::once(first).chain(second).collect();
        let text = insn.display(Style::Llvm, &()).to_string();
        let assembly = assemble(&text, &());
        prop_assert_eq!(assembly.map(|assembly| assembly.slots), Ok(slots), "{}", text);
    }

    /// Slots that are no instruction survive, too.
    #[test]
    fn any_slots_survive_a_listing(slots in prop::collection::vec(any::<u64>().prop_map(RawInsn::from_u64), 0..8)) {
        let text: String =
            disassemble(&slots).map(|line| format!("{}\n", line.display(Style::Kernel, &()))).collect();
        let assembled = assemble(&text, &()).expect("a listing").slots;
        prop_assert_eq!(assembled.len(), slots.len());
        for (ours, slot) in assembled.iter().zip(&slots) {
            // `callx` is written with its register in one place only.
            if slot.opcode != 0x8d {
                prop_assert_eq!(ours, slot, "{}", text);
            }
        }
    }

    #[test]
    fn any_text_is_assembled_or_refused(text in any::<String>()) {
        let _ = assemble(&text, &Recorded);
    }

    #[test]
    fn any_words_are_assembled_or_refused(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        let text: String = words.concat();
        if let Err(errors) = assemble(&text, &Recorded) {
            prop_assert!(!errors.0.is_empty());
            for error in errors.0 {
                let line = text.lines().nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1), "{}", error);
            }
        }
    }
}

/// Pieces of programs, so that random text gets further than the first token.
const WORDS: &[&str] = &[
    " ",
    " ",
    " ",
    "\n",
    ";",
    ":",
    ",",
    "(",
    ")",
    "[",
    "]",
    "+",
    "-",
    "*",
    "=",
    "+=",
    "s>>=",
    "<",
    "s>=",
    "&",
    "#",
    "//",
    "r0",
    "r1",
    "w2",
    "r10",
    "r11",
    "%r3",
    "0",
    "1",
    "-1",
    "0x7fffffff",
    "0x80000000",
    "18446744073709551615",
    "18446744073709551616",
    "1f",
    "1b",
    "1:",
    "ll",
    "u8",
    "u32",
    "u64",
    "s8",
    "s64",
    "(u32 *)",
    "(r1 + 4)",
    "if",
    "goto",
    "gotol",
    "may_goto",
    "call",
    "callx",
    "exit",
    "lock",
    "fetch",
    "skb",
    "pc",
    "map",
    "fd",
    "idx",
    "btf_id",
    "subprog",
    "atomic_fetch_add",
    "atomic64_xchg",
    "cmpxchg_64",
    "xchg32_32",
    "load_acquire",
    "store_release",
    "addr_space_cast",
    "ld_pseudo",
    ".8byte",
    "be16",
    "bswap64",
    "mov",
    "add32",
    "jeq",
    "ja",
    "ldxw",
    "stxdw",
    "stb",
    "lddw",
    "local",
    "kernel-function",
    "0: (b7) ",
    "1: (18) ",
    "0: b7 00 00 00 05 00 00 00 ",
    "é",
    "<a+0x8>",
    "/*",
    "\t",
    "\r",
];

#[test]
fn every_insn_strategy_value_decodes() {
    proptest!(|(insn in insns())| {
        let (first, second) = insn.encode();
        let slots: Vec<RawInsn> = core::iter::once(first).chain(second).collect();
        prop_assert_eq!(Insn::decode(&slots), Ok(insn));
    });
}
