//! What each frequent op does when nothing is in its way. Named like the codes of `op`.

use super::{Access, Branch, R, Run, Step, ThreadedOp, Value, branch, goto, one, stop};
use crate::memory::Memory;
use crate::op::{Code, with_codes};
use crate::process::State;
use mimic_abi::{AluOp, Cond, Size};

#[inline(always)]
fn reg(state: &State, index: R) -> u64 {
    state.regs[index as usize]
}

#[inline(always)]
fn set(state: &mut State, index: R, value: u64) -> bool {
    state.regs[index as usize] = value;
    true
}

macro_rules! step {
    ($name:ident, |$state:ident, $memory:ident, $op:ident| $body:expr) => {
        pub(super) struct $name;
        impl Step for $name {
            #[inline(always)]
            #[allow(unused_variables, reason = "arithmetic needs no memory")]
            fn step($state: &mut State, $memory: &Memory, $op: &ThreadedOp) -> bool {
                $body
            }
        }
    };
}

macro_rules! value {
    ($name:ident, |$state:ident, $op:ident, $target:ident| $source:expr, $combine:expr) => {
        pub(super) struct $name;
        impl Value for $name {
            #[inline(always)]
            #[allow(unused_variables, reason = "immediates are not in the state")]
            fn value($state: &State, $op: &ThreadedOp, $target: u64) -> u64 {
                Self::combine($target, $source)
            }
            #[inline(always)]
            fn combine(target: u64, source: u64) -> u64 {
                $combine(target, source)
            }
        }
        impl Step for $name {
            #[inline(always)]
            fn step(state: &mut State, _: &Memory, op: &ThreadedOp) -> bool {
                let value = Self::value(state, op, reg(state, op.dst));
                set(state, op.dst, value)
            }
        }
    };
}

macro_rules! cond {
    ($name:ident, |$state:ident, $op:ident, $left:ident| $body:expr) => {
        pub(super) struct $name;
        impl Branch for $name {
            #[inline(always)]
            #[allow(unused_variables, reason = "immediates are not in the state")]
            fn holds($state: &State, $op: &ThreadedOp, $left: u64) -> bool {
                $body
            }
        }
    };
}

macro_rules! access {
    ($name:ident, $base:ident, |$state:ident, $memory:ident, $op:ident, $addr:ident| $body:expr) => {
        pub(super) struct $name;
        impl Access for $name {
            #[inline(always)]
            fn access($state: &mut State, $memory: &Memory, $op: &ThreadedOp, base: u64) -> bool {
                let $addr = base.wrapping_add($op.off as i64 as u64);
                $body
            }
        }
        impl Step for $name {
            #[inline(always)]
            fn step(state: &mut State, memory: &Memory, op: &ThreadedOp) -> bool {
                let base = reg(state, op.$base);
                Self::access(state, memory, op, base)
            }
        }
    };
}

macro_rules! load {
    ($name:ident, $size:expr, |$value:ident| $as:expr) => {
        access!($name, src, |state, memory, op, addr| {
            if !state.windows[op.src as usize].reads(addr, $size) {
                return false;
            }
            let $value = memory.load_raw::<false>(addr as u32, $size);
            set(state, op.dst, $as)
        });
    };
}

macro_rules! store {
    ($name:ident, $size:expr, |$state:ident, $op:ident| $value:expr) => {
        access!($name, dst, |$state, memory, $op, addr| {
            if !$state.windows[$op.dst as usize].writes(addr, $size) {
                return false;
            }
            memory.store_raw::<false>(addr as u32, $size, $value);
            true
        });
    };
}

macro_rules! in_frame {
    ($($load:ident $store:ident $size:expr;)*) => {$(
        step!($load, |state, memory, op| {
            let addr = (state.regs[10] as u32).wrapping_add(op.off as u32);
            let value = memory.load_raw::<false>(addr, $size);
            set(state, op.dst, value)
        });
        step!($store, |state, memory, op| {
            let addr = (state.regs[10] as u32).wrapping_add(op.off as u32);
            memory.store_raw::<false>(addr, $size, reg(state, op.src));
            true
        });
    )*};
}

macro_rules! arithmetic {
    (
        alu { $($alu:ident: $a64r:ident $a64i:ident $a32r:ident $a32i:ident,)* }
        cond { $($cond:ident: $c64r:ident $c64i:ident $c32r:ident $c32i:ident,)* }
        other { $($(#[$doc:meta])* $other:ident,)* }
    ) => {
        $(
            value!($a64r, |state, op, target| reg(state, op.src), |a, b| AluOp::$alu.eval64(a, b));
            value!($a64i, |state, op, target| op.imm, |a, b| AluOp::$alu.eval64(a, b));
            value!($a32r, |state, op, target| reg(state, op.src), |a, b| AluOp::$alu.eval32(a as u32, b as u32).into());
            value!($a32i, |state, op, target| op.imm, |a, b| AluOp::$alu.eval32(a as u32, b as u32).into());
        )*
        $(
            cond!($c64r, |state, op, left| Cond::$cond.eval64(left, reg(state, op.src)));
            cond!($c64i, |state, op, left| Cond::$cond.eval64(left, op.imm));
            cond!($c32r, |state, op, left| Cond::$cond.eval32(left as u32, reg(state, op.src) as u32));
            cond!($c32i, |state, op, left| Cond::$cond.eval32(left as u32, op.imm as u32));
        )*

        /// Whether the op has a source register.
        pub(super) fn reads_source(code: Code) -> bool {
            matches!(code, $(Code::$a64r | Code::$a32r)|* | $(Code::$c64r | Code::$c32r)|*)
        }

        /// The function of an op that stands for itself only.
        pub(super) fn run_of(code: Code) -> Run {
            match code {
                $(
                    Code::$a64r => one::<$a64r>,
                    Code::$a64i => one::<$a64i>,
                    Code::$a32r => one::<$a32r>,
                    Code::$a32i => one::<$a32i>,
                )*
                $(
                    Code::$c64r => branch::<$c64r>,
                    Code::$c64i => branch::<$c64i>,
                    Code::$c32r => branch::<$c32r>,
                    Code::$c32i => branch::<$c32i>,
                )*
                Code::Neg64 => one::<Neg64>,
                Code::Neg32 => one::<Neg32>,
                Code::MovSx64 => one::<MovSx64>,
                Code::MovSx32 => one::<MovSx32>,
                Code::Bswap => one::<Bswap>,
                Code::Trunc => one::<Trunc>,
                Code::LdImm64 => one::<LdImm64>,
                Code::LoadB => one::<LoadB>,
                Code::LoadH => one::<LoadH>,
                Code::LoadW => one::<LoadW>,
                Code::LoadDw => one::<LoadDw>,
                Code::LoadSxB => one::<LoadSxB>,
                Code::LoadSxH => one::<LoadSxH>,
                Code::LoadSxW => one::<LoadSxW>,
                Code::StoreB => one::<StoreB>,
                Code::StoreH => one::<StoreH>,
                Code::StoreW => one::<StoreW>,
                Code::StoreDw => one::<StoreDw>,
                Code::StoreImmB => one::<StoreImmB>,
                Code::StoreImmH => one::<StoreImmH>,
                Code::StoreImmW => one::<StoreImmW>,
                Code::StoreImmDw => one::<StoreImmDw>,
                Code::FpLoadB => one::<FpLoadB>,
                Code::FpLoadH => one::<FpLoadH>,
                Code::FpLoadW => one::<FpLoadW>,
                Code::FpLoadDw => one::<FpLoadDw>,
                Code::FpStoreB => one::<FpStoreB>,
                Code::FpStoreH => one::<FpStoreH>,
                Code::FpStoreW => one::<FpStoreW>,
                Code::FpStoreDw => one::<FpStoreDw>,
                Code::Goto => goto,
                Code::MayGoto
                | Code::Rare
                | Code::CallHelper
                | Code::CallSubprog
                | Code::CallX
                | Code::Exit
                | Code::WriteR10
                | Code::End => stop,
            }
        }
    };
}

with_codes!(arithmetic);

step!(Neg64, |state, memory, op| set(state, op.dst, reg(state, op.dst).wrapping_neg()));
step!(Neg32, |state, memory, op| set(state, op.dst, (reg(state, op.dst) as u32).wrapping_neg().into()));
step!(MovSx64, |state, memory, op| set(
    state,
    op.dst,
    mimic_abi::sign_extend(op.imm as u8, reg(state, op.src))
));
step!(MovSx32, |state, memory, op| {
    set(state, op.dst, (mimic_abi::sign_extend(op.imm as u8, reg(state, op.src)) as u32).into())
});
step!(Bswap, |state, memory, op| set(
    state,
    op.dst,
    reg(state, op.dst).swap_bytes() >> ((64 - (op.imm & 63)) % 64)
));
step!(Trunc, |state, memory, op| set(
    state,
    op.dst,
    reg(state, op.dst) & (u64::MAX >> ((64 - (op.imm & 63)) % 64))
));
step!(LdImm64, |state, memory, op| set(state, op.dst, op.imm));

load!(LoadB, Size::B, |value| value);
load!(LoadH, Size::H, |value| value);
load!(LoadW, Size::W, |value| value);
load!(LoadDw, Size::Dw, |value| value);
load!(LoadSxB, Size::B, |value| value as i8 as u64);
load!(LoadSxH, Size::H, |value| value as i16 as u64);
load!(LoadSxW, Size::W, |value| value as i32 as u64);
store!(StoreB, Size::B, |state, op| reg(state, op.src));
store!(StoreH, Size::H, |state, op| reg(state, op.src));
store!(StoreW, Size::W, |state, op| reg(state, op.src));
store!(StoreDw, Size::Dw, |state, op| reg(state, op.src));
store!(StoreImmB, Size::B, |state, op| op.imm);
store!(StoreImmH, Size::H, |state, op| op.imm);
store!(StoreImmW, Size::W, |state, op| op.imm);
store!(StoreImmDw, Size::Dw, |state, op| op.imm);
in_frame! {
    FpLoadB FpStoreB Size::B;
    FpLoadH FpStoreH Size::H;
    FpLoadW FpStoreW Size::W;
    FpLoadDw FpStoreDw Size::Dw;
}
