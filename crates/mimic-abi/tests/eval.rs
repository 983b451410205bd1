//! Arithmetic and comparisons against an independent model in wide integers, where nothing overflows.

use mimic_abi::{AluOp, ByteOrder, Cond, Swap, sign_extend};
use proptest::prelude::*;

/// The result of `a op b` on `bits`, from the RFC's words: computed exactly, then cut to `bits`.
fn model(op: AluOp, bits: u32, a: u64, b: u64) -> u64 {
    let mask = u64::MAX >> (64 - bits);
    let (a, b) = (a & mask, b & mask);
    let (ua, ub) = (u128::from(a), u128::from(b));
    let (sa, sb) = (signed(bits, a), signed(bits, b));
    let shift = ub % u128::from(bits);
    let exact = match op {
        AluOp::Add => ua + ub,
        AluOp::Sub => (1 << 64) + ua - ub,
        AluOp::Mul => ua * ub,
        AluOp::Div => ua.checked_div(ub).unwrap_or(0),
        AluOp::Mod => ua.checked_rem(ub).unwrap_or(ua),
        AluOp::Sdiv => sa.checked_div(sb).unwrap_or(0) as u128,
        AluOp::Smod => sa.checked_rem(sb).unwrap_or(sa) as u128,
        AluOp::Or => ua | ub,
        AluOp::And => ua & ub,
        AluOp::Xor => ua ^ ub,
        AluOp::Lsh => ua * (1 << shift),
        AluOp::Rsh => ua / (1 << shift),
        // Rounds down, as a shift does.
        AluOp::Arsh => sa.div_euclid(1 << shift) as u128,
        AluOp::Mov => ub,
    };
    exact as u64 & mask
}

fn model_cond(cond: Cond, bits: u32, a: u64, b: u64) -> bool {
    let mask = u64::MAX >> (64 - bits);
    let (ua, ub) = (a & mask, b & mask);
    let (sa, sb) = (signed(bits, ua), signed(bits, ub));
    match cond {
        Cond::Eq => ua == ub,
        Cond::Ne => ua != ub,
        Cond::Set => (0..bits).any(|bit| ua >> bit & 1 == 1 && ub >> bit & 1 == 1),
        Cond::Gt => ua > ub,
        Cond::Ge => ua >= ub,
        Cond::Lt => ua < ub,
        Cond::Le => ua <= ub,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}

/// The value of the low `bits` in two's complement.
fn signed(bits: u32, value: u64) -> i128 {
    let value = i128::from(value);
    if value >> (bits - 1) & 1 == 1 { value - (1 << bits) } else { value }
}

/// Numbers around the places where something happens.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        (0..64u32, -3..4i64).prop_map(|(bit, near)| (1u64 << bit).wrapping_add(near as u64)),
        (0..64u32, -3..4i64).prop_map(|(bit, near)| (u64::MAX << bit).wrapping_add(near as u64)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn arithmetic_is_the_models(a in numbers(), b in numbers()) {
        for op in AluOp::ALL.iter().copied() {
            prop_assert_eq!(op.eval64(a, b), model(op, 64, a, b), "{:?} {:#x} {:#x}", op, a, b);
            let narrow = u64::from(op.eval32(a as u32, b as u32));
            prop_assert_eq!(narrow, model(op, 32, a, b), "{:?} {:#x} {:#x}", op, a, b);
        }
    }

    #[test]
    fn conditions_are_the_models(a in numbers(), b in numbers()) {
        for b in [a, b] {
            for cond in Cond::ALL.iter().copied() {
                prop_assert_eq!(cond.eval64(a, b), model_cond(cond, 64, a, b), "{:?} {:#x} {:#x}", cond, a, b);
                let narrow = cond.eval32(a as u32, b as u32);
                prop_assert_eq!(narrow, model_cond(cond, 32, a, b), "{:?} {:#x} {:#x}", cond, a, b);
            }
        }
    }

    #[test]
    fn swaps_reverse_bytes_and_cut(value in numbers(), bits in prop::sample::select(vec![16u8, 32, 64])) {
        let len = usize::from(bits / 8);
        let little = value.to_le_bytes();
        let cut = little[..len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let swapped = little[..len].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        for (op, order, expected) in [
            (Swap::Bswap, ByteOrder::Little, swapped),
            (Swap::Bswap, ByteOrder::Big, swapped),
            (Swap::ToBe, ByteOrder::Little, swapped),
            (Swap::ToBe, ByteOrder::Big, cut),
            (Swap::ToLe, ByteOrder::Little, cut),
            (Swap::ToLe, ByteOrder::Big, swapped),
        ] {
            prop_assert_eq!(op.eval(bits, value, order), expected, "{:?} {:?}", op, order);
        }
    }

    #[test]
    fn sign_extension_keeps_the_value(value in numbers(), bits in prop::sample::select(vec![8u8, 16, 32])) {
        let low = value & (u64::MAX >> (64 - u32::from(bits)));
        prop_assert_eq!(sign_extend(bits, value) as i64 as i128, signed(bits.into(), low));
    }
}

#[test]
fn the_cases_that_trap_elsewhere() {
    assert_eq!(AluOp::Sdiv.eval64(i64::MIN as u64, -1i64 as u64), i64::MIN as u64);
    assert_eq!(AluOp::Smod.eval64(i64::MIN as u64, -1i64 as u64), 0);
    assert_eq!(AluOp::Sdiv.eval32(i32::MIN as u32, -1i32 as u32), i32::MIN as u32);
    assert_eq!(AluOp::Smod.eval32(i32::MIN as u32, -1i32 as u32), 0);
    assert_eq!(AluOp::Div.eval64(7, 0), 0);
    assert_eq!(AluOp::Sdiv.eval32(7, 0), 0);
    assert_eq!(AluOp::Mod.eval64(7, 0), 7);
    assert_eq!(AluOp::Smod.eval32(7, 0), 7);
    assert_eq!(AluOp::Lsh.eval64(1, 64), 1);
    assert_eq!(AluOp::Lsh.eval32(1, 33), 2);
    assert_eq!(AluOp::Arsh.eval32(0x8000_0000, 31), u32::MAX);
    // The RFC's example: -13 % 3 is -1.
    assert_eq!(AluOp::Smod.eval64(-13i64 as u64, 3), -1i64 as u64);
}
