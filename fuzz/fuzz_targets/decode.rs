//! Any slots: decoding never panics, what decodes encodes to the same meaning, and its text assembles to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::disasm::{Style, disassemble};
use mimic::abi::{ByteOrder, Insn, RawInsn};

fuzz_target!(|bytes: &[u8]| {
    let whole = &bytes[..bytes.len() / 8 * 8];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let slots = RawInsn::parse_all(whole, order).expect("a multiple of 8 bytes");
        for line in disassemble(&slots) {
            let Ok(insn) = line.insn else { continue };
            let (first, second) = insn.encode();
            let again = Insn::decode(&[Some(first), second].into_iter().flatten().collect::<Vec<_>>());
            assert_eq!(again, Ok(insn));
            for style in [Style::Kernel, Style::Llvm] {
                let text = insn.display(style, &()).to_string();
                assert!(!text.is_empty());
            }
        }
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = mimic::abi::asm::assemble(text, &());
    }
});
