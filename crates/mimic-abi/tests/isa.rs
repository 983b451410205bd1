//! The instruction table from outside: every opcode with interesting fields decodes and encodes back, or is refused.

use mimic_abi::{ByteOrder, DecodeError, Insn, RawInsn, isa};

const OFFS: [i16; 9] = [0, 1, 2, 8, 16, 32, -1, i16::MIN, i16::MAX];
const IMMS: [i32; 22] = [
    0,
    1,
    2,
    0x10,
    16,
    32,
    64,
    0x40,
    0x41,
    0x50,
    0x51,
    0xa0,
    0xa1,
    0xe0,
    0xe1,
    0xf0,
    0xf1,
    0x100,
    0x110,
    0x10000,
    -1,
    i32::MIN,
];

/// Calls `visit` with every opcode × interesting field values.
fn for_each_slot(mut visit: impl FnMut(RawInsn)) {
    for opcode in 0..=255 {
        for dst in [0, 10, 11] {
            for src in [0, 1, 2, 3, 4, 5, 6, 7, 10, 15] {
                for off in OFFS {
                    for imm in IMMS {
                        visit(RawInsn { opcode, dst, src, off, imm });
                    }
                }
            }
        }
    }
}

#[test]
fn every_slot_round_trips_or_is_refused() {
    let mut decoded = 0u32;
    let second_slots = [
        RawInsn::default(),
        RawInsn { imm: -7, ..RawInsn::default() },
        RawInsn { dst: 1, ..RawInsn::default() },
    ];
    for_each_slot(|raw| {
        let count = if raw.opcode == 0x18 { second_slots.len() } else { 1 };
        for next in second_slots.into_iter().take(count) {
            match Insn::decode(&[raw, next]) {
                Ok(insn) => {
                    decoded += 1;
                    let (first, second) = insn.encode();
                    assert_eq!(second.is_some(), insn.slots() == 2);
                    assert_eq!(second.unwrap_or(next), next, "{insn:?}");
                    assert_eq!(first.opcode, insn.form().opcode());
                    if !matches!(insn, Insn::CallX { .. }) {
                        assert_eq!(first, raw, "{insn:?}");
                    }
                    assert_eq!(Insn::decode(&[first, next]), Ok(insn));
                }
                Err(DecodeError::UnknownOpcode { opcode }) => {
                    assert_eq!(opcode, raw.opcode);
                    assert!(isa::rows_of(opcode).is_empty());
                }
                Err(DecodeError::Empty | DecodeError::MissingSecondSlot { .. }) => panic!("slots were given"),
                Err(DecodeError::ReservedField { .. } | DecodeError::BadRegister { .. }) => {
                    assert!(!isa::rows_of(raw.opcode).is_empty());
                }
            }
        }
    });
    assert!(decoded > 20_000, "{decoded}");
}

#[test]
fn rows_are_sorted_and_found_by_their_opcode() {
    let opcodes: Vec<u8> = isa::rows().map(|row| row.opcode()).collect();
    assert!(opcodes.is_sorted());
    for row in isa::rows() {
        assert!(isa::rows_of(row.opcode()).contains(row));
        assert_eq!(isa::rows().filter(|other| other.form == row.form).count(), 1, "{row:?}");
        assert_eq!(isa::rows().filter(|other| other.syntax == row.syntax).count(), 1, "{row:?}");
    }
    let total: usize = (0..=255).map(|opcode| isa::rows_of(opcode).len()).sum();
    assert_eq!(total, isa::rows().len());
}

#[test]
fn slots_read_and_write_in_both_byte_orders() {
    // RFC 9669 section 3.1 gives these two byte strings for `r1 += 0x11223344`.
    let insn = RawInsn { opcode: 0x07, dst: 1, src: 0, off: 0, imm: 0x1122_3344 };
    let little = [0x07, 0x01, 0, 0, 0x44, 0x33, 0x22, 0x11];
    let big = [0x07, 0x10, 0, 0, 0x11, 0x22, 0x33, 0x44];
    assert_eq!(RawInsn::from_bytes(little, ByteOrder::Little), insn);
    assert_eq!(RawInsn::from_bytes(big, ByteOrder::Big), insn);
    for_each_slot(|raw| {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(RawInsn::from_bytes(raw.to_bytes(order), order), raw);
        }
    });
    assert!(RawInsn::parse_all(&[0; 12], ByteOrder::Little).is_err());
    assert_eq!(RawInsn::parse_all(&little.repeat(2), ByteOrder::Little), Ok(vec![insn; 2]));
}

#[test]
fn errors_name_opcode_and_field() {
    let error = |opcode, dst, src, off, imm| {
        Insn::decode(&[RawInsn { opcode, dst, src, off, imm }]).unwrap_err().to_string()
    };
    assert_eq!(error(0xff, 0, 0, 0, 0), "unknown opcode 0xff");
    assert_eq!(error(0xb7, 0, 3, 0, 0), "opcode 0xb7 (mov): source register is 3, expected 0");
    assert_eq!(
        error(0xbf, 11, 3, 0, 0),
        "opcode 0xbf (mov): destination register is 11, registers are 0 to 10"
    );
    assert_eq!(error(0xd7, 0, 0, 0, 8), "opcode 0xd7 (bswap16): immediate is 8, expected 16, 32 or 64");
    assert_eq!(error(0x3f, 0, 1, 2, 0), "opcode 0x3f (div): offset is 2, expected 0 or 1");
    assert_eq!(error(0x18, 0, 0, 0, 0), "opcode 0x18 (lddw): the program ends before its second slot");
    assert_eq!(Insn::decode(&[]), Err(DecodeError::Empty));
}
