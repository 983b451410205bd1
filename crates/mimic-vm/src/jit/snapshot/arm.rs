//! AArch64, as yaxpeax reads it.

use super::listing::{Disassembler, Line};
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand};

pub(super) struct Arm;

impl Disassembler for Arm {
    fn line(&self, bytes: &[u8], at: u32) -> Line {
        let mut reader = U8Reader::new(&bytes[..4]);
        let insn = InstDecoder::default().decode(&mut reader);
        let insn = insn.unwrap_or_else(|error| panic!("no instruction: {:x?}: {error}", &bytes[..4]));
        let mut text = insn.to_string();
        let off = insn.operands.iter().find_map(|operand| match operand {
            Operand::PCOffset(off) => Some(*off),
            _ => None,
        });
        if off.is_some() {
            text.truncate(text.rfind(' ').map_or(text.len(), |space| space + 1));
        }
        let half = match insn.operands[1] {
            Operand::Imm16(bits) => Some((u64::from(bits), 0)),
            Operand::ImmShift(bits, shift) => Some((u64::from(bits), u32::from(shift))),
            _ => None,
        };
        let plain = matches!(insn.opcode, Opcode::MOVZ | Opcode::MOVK);
        let register = text.split([' ', ',']).nth(1).unwrap_or_default().to_string();
        let constant = half.filter(|_| plain).map(|(bits, shift)| (register, bits, shift));
        let ends = matches!(insn.opcode, Opcode::B | Opcode::RET);
        let target = off.map(|off| (i64::from(at) + off) as u32);
        Line { text, len: 4, target, ends, constant }
    }

    fn field(&self) -> (&'static str, &'static str) {
        ("[x27, #", "]")
    }
}
