//! What arithmetic and comparisons compute: the one definition that interpreter, verifier and tests share.
//!
//! Pure functions of two values. Mirrors RFC 9669 sections 4.1 ("Arithmetic instructions"), 4.2 ("Byte swap
//! instructions") and 4.3 ("Jump instructions").

use crate::isa::{AluOp, Cond};
use crate::operand::Swap;
use crate::raw::ByteOrder;

impl AluOp {
    /// `dst op src` on 32 bits.
    ///
    /// Wraps; shifts use the low five bits of `src`; division by zero gives 0 and modulo by zero gives `dst`.
    #[inline]
    pub const fn eval32(self, dst: u32, src: u32) -> u32 {
        match self {
            AluOp::Add => dst.wrapping_add(src),
            AluOp::Sub => dst.wrapping_sub(src),
            AluOp::Mul => dst.wrapping_mul(src),
            AluOp::Div => match dst.checked_div(src) {
                Some(quotient) => quotient,
                None => 0,
            },
            AluOp::Sdiv if src == 0 => 0,
            AluOp::Sdiv => (dst as i32).wrapping_div(src as i32) as u32,
            AluOp::Or => dst | src,
            AluOp::And => dst & src,
            AluOp::Lsh => dst.wrapping_shl(src),
            AluOp::Rsh => dst.wrapping_shr(src),
            AluOp::Mod => match dst.checked_rem(src) {
                Some(remainder) => remainder,
                None => dst,
            },
            AluOp::Smod if src == 0 => dst,
            AluOp::Smod => (dst as i32).wrapping_rem(src as i32) as u32,
            AluOp::Xor => dst ^ src,
            AluOp::Mov => src,
            AluOp::Arsh => (dst as i32).wrapping_shr(src) as u32,
        }
    }

    /// `dst op src` on 64 bits.
    ///
    /// Wraps; shifts use the low six bits of `src`; division by zero gives 0 and modulo by zero gives `dst`.
    #[inline]
    pub const fn eval64(self, dst: u64, src: u64) -> u64 {
        match self {
            AluOp::Add => dst.wrapping_add(src),
            AluOp::Sub => dst.wrapping_sub(src),
            AluOp::Mul => dst.wrapping_mul(src),
            AluOp::Div => match dst.checked_div(src) {
                Some(quotient) => quotient,
                None => 0,
            },
            AluOp::Sdiv if src == 0 => 0,
            AluOp::Sdiv => (dst as i64).wrapping_div(src as i64) as u64,
            AluOp::Or => dst | src,
            AluOp::And => dst & src,
            AluOp::Lsh => dst.wrapping_shl(src as u32),
            AluOp::Rsh => dst.wrapping_shr(src as u32),
            AluOp::Mod => match dst.checked_rem(src) {
                Some(remainder) => remainder,
                None => dst,
            },
            AluOp::Smod if src == 0 => dst,
            AluOp::Smod => (dst as i64).wrapping_rem(src as i64) as u64,
            AluOp::Xor => dst ^ src,
            AluOp::Mov => src,
            AluOp::Arsh => (dst as i64).wrapping_shr(src as u32) as u64,
        }
    }
}

impl Cond {
    /// Whether `dst cond src` holds on 32 bits.
    #[inline]
    pub const fn eval32(self, dst: u32, src: u32) -> bool {
        let (sdst, ssrc) = (dst as i32, src as i32);
        match self {
            Cond::Eq => dst == src,
            Cond::Gt => dst > src,
            Cond::Ge => dst >= src,
            Cond::Set => dst & src != 0,
            Cond::Ne => dst != src,
            Cond::Sgt => sdst > ssrc,
            Cond::Sge => sdst >= ssrc,
            Cond::Lt => dst < src,
            Cond::Le => dst <= src,
            Cond::Slt => sdst < ssrc,
            Cond::Sle => sdst <= ssrc,
        }
    }

    /// Whether `dst cond src` holds on 64 bits.
    #[inline]
    pub const fn eval64(self, dst: u64, src: u64) -> bool {
        let (sdst, ssrc) = (dst as i64, src as i64);
        match self {
            Cond::Eq => dst == src,
            Cond::Gt => dst > src,
            Cond::Ge => dst >= src,
            Cond::Set => dst & src != 0,
            Cond::Ne => dst != src,
            Cond::Sgt => sdst > ssrc,
            Cond::Sge => sdst >= ssrc,
            Cond::Lt => dst < src,
            Cond::Le => dst <= src,
            Cond::Slt => sdst < ssrc,
            Cond::Sle => sdst <= ssrc,
        }
    }
}

impl Swap {
    /// The low `bits` (16, 32 or 64) of `value` swapped as this asks, zero-extended.
    ///
    /// `order` is the guest's byte order. A conversion to the order that the guest already has only cuts.
    #[inline]
    pub const fn eval(self, bits: u8, value: u64, order: ByteOrder) -> u64 {
        let swaps = match self {
            Swap::ToLe => matches!(order, ByteOrder::Big),
            Swap::ToBe => matches!(order, ByteOrder::Little),
            Swap::Bswap => true,
        };
        match (bits, swaps) {
            (16, true) => (value as u16).swap_bytes() as u64,
            (16, false) => value as u16 as u64,
            (32, true) => (value as u32).swap_bytes() as u64,
            (32, false) => value as u32 as u64,
            (_, true) => value.swap_bytes(),
            (_, false) => value,
        }
    }
}

/// The low `bits` (8, 16 or 32) of `value`, sign-extended to 64.
#[inline]
pub const fn sign_extend(bits: u8, value: u64) -> u64 {
    match bits {
        8 => value as i8 as u64,
        16 => value as i16 as u64,
        32 => value as i32 as u64,
        _ => value,
    }
}
