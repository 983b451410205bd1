//! x86-64, as iced reads it.

use super::listing::{Disassembler, Line};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, Mnemonic, OpKind};

pub(super) struct Intel;

impl Disassembler for Intel {
    fn line(&self, bytes: &[u8], at: u32) -> Line {
        let insn = Decoder::with_ip(64, bytes, at.into(), DecoderOptions::NONE).decode();
        assert!(!insn.is_invalid(), "no instruction: {:x?}", &bytes[..bytes.len().min(16)]);
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_space_after_operand_separator(true);
        options.set_branch_leading_zeros(false);
        options.set_small_hex_numbers_in_decimal(true);
        let mut text = String::new();
        formatter.format(&insn, &mut text);
        let jumps = (0..insn.op_count()).any(|at| insn.op_kind(at) == OpKind::NearBranch64);
        let target = jumps.then(|| insn.near_branch_target() as u32);
        if jumps {
            text.truncate(text.rfind(' ').map_or(text.len(), |space| space + 1));
        }
        let constant = match insn.mnemonic() {
            Mnemonic::Mov if insn.op1_kind() == OpKind::Immediate64 => {
                Some((format!("{:?}", insn.op0_register()).to_lowercase(), insn.immediate64(), 0))
            }
            _ => None,
        };
        let ends = matches!(insn.mnemonic(), Mnemonic::Jmp | Mnemonic::Ret);
        Line { text, len: insn.len() as u32, target, ends, constant }
    }

    fn field(&self) -> (&'static str, &'static str) {
        ("[rdi+", "]")
    }
}
