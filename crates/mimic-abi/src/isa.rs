//! The instruction table: every form of every instruction, once.
//!
//! An instruction form is a product of factors (operation × width × source …). The factors with their codes, symbols
//! and meanings are listed here, and [`rows`] multiplies them out: one [`InsnRow`] per form, with its opcode, the rule
//! for each field of the slot, its conformance group and the kernel that brought it. Decoding, encoding, the
//! assembler, the disassembler and `mimic list insns` read this table; nothing else in the project knows an opcode.
//!
//! Mirrors RFC 9669 (fields, groups) and, for what it does not have, Linux 6.18.

use core::fmt;

use crate::operand::{Size, Swap, Width};
use crate::version::KernelVersion;

/// Operations of the classes `ALU` and `ALU64`.
macro_rules! alu_ops {
    ($($(#[$doc:meta])* $op:ident $code:literal $off:literal $name:literal $symbol:literal $g32:ident $g64:ident $since:expr;)*) => {
        /// A two-operand arithmetic operation, `dst op src`.
        ///
        /// Signed division and modulo are operations of their own here; on the wire they are `div` and `mod` with offset 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AluOp { $($(#[$doc])* $op,)* }

        impl AluOp {
            /// All of them.
            pub const ALL: &[AluOp] = &[$(AluOp::$op,)*];

            /// The operation bits of the opcode.
            pub const fn code(self) -> u8 { match self { $(AluOp::$op => $code,)* } }

            /// The offset field, which tells signed from unsigned division.
            pub const fn off(self) -> i16 { match self { $(AluOp::$op => $off,)* } }

            /// The assignment operator of the assembly syntax, as in `r1 += r2`.
            pub const fn symbol(self) -> &'static str { match self { $(AluOp::$op => $symbol,)* } }

            /// The mnemonic, without its width.
            pub const fn name(self) -> &'static str { match self { $(AluOp::$op => $name,)* } }
        }

        const ALU_ROWS: &[InsnRow] = &[$(
            row(Form::Alu(AluOp::$op, Width::W32, Source::Imm), concat!($name, "32"), concat!("wD ", $symbol, " imm"), Group::$g32, $since),
            row(Form::Alu(AluOp::$op, Width::W32, Source::Reg), concat!($name, "32"), concat!("wD ", $symbol, " wS"), Group::$g32, $since),
            row(Form::Alu(AluOp::$op, Width::W64, Source::Imm), $name, concat!("rD ", $symbol, " imm"), Group::$g64, $since),
            row(Form::Alu(AluOp::$op, Width::W64, Source::Reg), $name, concat!("rD ", $symbol, " rS"), Group::$g64, $since),
        )*];
    };
}

/// Conditions of the classes `JMP` and `JMP32`.
macro_rules! conds {
    ($($(#[$doc:meta])* $cond:ident $code:literal $name:literal $symbol:literal $since:expr;)*) => {
        /// The condition of a branch, `if dst cond src`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cond { $($(#[$doc])* $cond,)* }

        impl Cond {
            /// All of them.
            pub const ALL: &[Cond] = &[$(Cond::$cond,)*];

            /// The operation bits of the opcode.
            pub const fn code(self) -> u8 { match self { $(Cond::$cond => $code,)* } }

            /// The comparison operator of the assembly syntax, as in `if r1 s> r2`.
            pub const fn symbol(self) -> &'static str { match self { $(Cond::$cond => $symbol,)* } }

            /// The mnemonic, without its width.
            pub const fn name(self) -> &'static str { match self { $(Cond::$cond => $name,)* } }
        }

        const BRANCH_ROWS: &[InsnRow] = &[$(
            row(Form::Branch(Cond::$cond, Width::W32, Source::Imm), concat!($name, "32"), concat!("if wD ", $symbol, " imm goto pc+off"), Group::Base32, V5_1),
            row(Form::Branch(Cond::$cond, Width::W32, Source::Reg), concat!($name, "32"), concat!("if wD ", $symbol, " wS goto pc+off"), Group::Base32, V5_1),
            row(Form::Branch(Cond::$cond, Width::W64, Source::Imm), $name, concat!("if rD ", $symbol, " imm goto pc+off"), Group::Base64, $since),
            row(Form::Branch(Cond::$cond, Width::W64, Source::Reg), $name, concat!("if rD ", $symbol, " rS goto pc+off"), Group::Base64, $since),
        )*];
    };
}

/// Read-modify-write operations of `STX | ATOMIC`, which live in the immediate.
macro_rules! atomic_ops {
    ($($(#[$doc:meta])* $op:ident $code:literal $name:literal [$($fetch:literal $size:ident $syntax:literal $since:expr),*];)*) => {
        /// An atomic read-modify-write of memory.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AtomicOp { $($(#[$doc])* $op,)* }

        impl AtomicOp {
            /// All of them.
            pub const ALL: &[AtomicOp] = &[$(AtomicOp::$op,)*];

            /// The operation bits of the immediate, without [`FETCH`].
            pub const fn code(self) -> i32 { match self { $(AtomicOp::$op => $code,)* } }

            /// The name, as in `atomic64_fetch_add` and `atomic_xchg`.
            pub const fn name(self) -> &'static str { match self { $(AtomicOp::$op => $name,)* } }

            /// Whether the operation always returns the old value.
            pub const fn always_fetches(self) -> bool {
                match self {
                    AtomicOp::Xchg | AtomicOp::Cmpxchg => true,
                    AtomicOp::Add | AtomicOp::Or | AtomicOp::And | AtomicOp::Xor => false,
                }
            }
        }

        const ATOMIC_ROWS: &[InsnRow] = &[$($(
            row(Form::Atomic(AtomicOp::$op, $fetch, Size::$size), $name, $syntax, atomic_group(Size::$size), $since),
        )*)*];
    };
}

alu_ops! {
    /// Sum.
    Add  0x00 0 "add"  "+="   Base32   Base64   V3_18;
    /// Difference.
    Sub  0x10 0 "sub"  "-="   Base32   Base64   V3_18;
    /// Product, low half.
    Mul  0x20 0 "mul"  "*="   Divmul32 Divmul64 V3_18;
    /// Unsigned quotient; 0 when the divisor is 0.
    Div  0x30 0 "div"  "/="   Divmul32 Divmul64 V3_18;
    /// Signed quotient, rounded towards zero; 0 when the divisor is 0.
    Sdiv 0x30 1 "sdiv" "s/="  Divmul32 Divmul64 V6_6;
    /// Bitwise or.
    Or   0x40 0 "or"   "|="   Base32   Base64   V3_18;
    /// Bitwise and.
    And  0x50 0 "and"  "&="   Base32   Base64   V3_18;
    /// Shift left by the low 5 or 6 bits of the source.
    Lsh  0x60 0 "lsh"  "<<="  Base32   Base64   V3_18;
    /// Logical shift right by the low 5 or 6 bits of the source.
    Rsh  0x70 0 "rsh"  ">>="  Base32   Base64   V3_18;
    /// Unsigned remainder; the dividend when the divisor is 0.
    Mod  0x90 0 "mod"  "%="   Divmul32 Divmul64 V3_18;
    /// Signed remainder with the sign of the dividend; the dividend when the divisor is 0.
    Smod 0x90 1 "smod" "s%="  Divmul32 Divmul64 V6_6;
    /// Bitwise exclusive or.
    Xor  0xa0 0 "xor"  "^="   Base32   Base64   V3_18;
    /// The source itself.
    Mov  0xb0 0 "mov"  "="    Base32   Base64   V3_18;
    /// Arithmetic shift right by the low 5 or 6 bits of the source.
    Arsh 0xc0 0 "arsh" "s>>=" Base32   Base64   V3_18;
}

conds! {
    /// Equal.
    Eq  0x10 "jeq"  "=="  V3_18;
    /// Greater, unsigned.
    Gt  0x20 "jgt"  ">"   V3_18;
    /// Greater or equal, unsigned.
    Ge  0x30 "jge"  ">="  V3_18;
    /// A bit in common.
    Set 0x40 "jset" "&"   V3_18;
    /// Not equal.
    Ne  0x50 "jne"  "!="  V3_18;
    /// Greater, signed.
    Sgt 0x60 "jsgt" "s>"  V3_18;
    /// Greater or equal, signed.
    Sge 0x70 "jsge" "s>=" V3_18;
    /// Less, unsigned.
    Lt  0xa0 "jlt"  "<"   V4_14;
    /// Less or equal, unsigned.
    Le  0xb0 "jle"  "<="  V4_14;
    /// Less, signed.
    Slt 0xc0 "jslt" "s<"  V4_14;
    /// Less or equal, signed.
    Sle 0xd0 "jsle" "s<=" V4_14;
}

atomic_ops! {
    /// Memory plus source.
    Add 0x00 "add" [
        false W "lock *(u32 *)(rD + off) += rS" V3_18, false Dw "lock *(u64 *)(rD + off) += rS" V3_18,
        true W "rS = atomic_fetch_add((u32 *)(rD + off), rS)" V5_12, true Dw "rS = atomic64_fetch_add((u64 *)(rD + off), rS)" V5_12];
    /// Memory or source.
    Or 0x40 "or" [
        false W "lock *(u32 *)(rD + off) |= rS" V5_12, false Dw "lock *(u64 *)(rD + off) |= rS" V5_12,
        true W "rS = atomic_fetch_or((u32 *)(rD + off), rS)" V5_12, true Dw "rS = atomic64_fetch_or((u64 *)(rD + off), rS)" V5_12];
    /// Memory and source.
    And 0x50 "and" [
        false W "lock *(u32 *)(rD + off) &= rS" V5_12, false Dw "lock *(u64 *)(rD + off) &= rS" V5_12,
        true W "rS = atomic_fetch_and((u32 *)(rD + off), rS)" V5_12, true Dw "rS = atomic64_fetch_and((u64 *)(rD + off), rS)" V5_12];
    /// Memory exclusive-or source.
    Xor 0xa0 "xor" [
        false W "lock *(u32 *)(rD + off) ^= rS" V5_12, false Dw "lock *(u64 *)(rD + off) ^= rS" V5_12,
        true W "rS = atomic_fetch_xor((u32 *)(rD + off), rS)" V5_12, true Dw "rS = atomic64_fetch_xor((u64 *)(rD + off), rS)" V5_12];
    /// Memory and source change places.
    Xchg 0xe0 "xchg" [
        true W "rS = atomic_xchg((u32 *)(rD + off), rS)" V5_12, true Dw "rS = atomic64_xchg((u64 *)(rD + off), rS)" V5_12];
    /// If memory equals r0 it becomes the source; r0 becomes what memory was.
    Cmpxchg 0xf0 "cmpxchg" [
        true W "r0 = atomic_cmpxchg((u32 *)(rD + off), r0, rS)" V5_12, true Dw "r0 = atomic64_cmpxchg((u64 *)(rD + off), r0, rS)" V5_12];
}

/// The forms that are no product of the factors above.
const OTHER_ROWS: &[InsnRow] = &[
    row(Form::MovSx(Width::W32, 8), "movsx832", "wD = (s8)wS", Group::Base32, V6_6),
    row(Form::MovSx(Width::W32, 16), "movsx1632", "wD = (s16)wS", Group::Base32, V6_6),
    row(Form::MovSx(Width::W64, 8), "movsx864", "rD = (s8)rS", Group::Base64, V6_6),
    row(Form::MovSx(Width::W64, 16), "movsx1664", "rD = (s16)rS", Group::Base64, V6_6),
    row(Form::MovSx(Width::W64, 32), "movsx3264", "rD = (s32)rS", Group::Base64, V6_6),
    row(Form::AddrSpaceCast(0, 1), "addr_space_cast", "rD = addr_space_cast(rS, 0, 1)", Group::Linux, V6_9),
    row(Form::AddrSpaceCast(1, 0), "addr_space_cast", "rD = addr_space_cast(rS, 1, 0)", Group::Linux, V6_9),
    row(Form::Neg(Width::W32), "neg32", "wD = -wD", Group::Base32, V3_18),
    row(Form::Neg(Width::W64), "neg", "rD = -rD", Group::Base64, V3_18),
    row(Form::Swap(Swap::ToLe, 16), "le16", "rD = le16 rD", Group::Base32, V3_18),
    row(Form::Swap(Swap::ToLe, 32), "le32", "rD = le32 rD", Group::Base32, V3_18),
    row(Form::Swap(Swap::ToLe, 64), "le64", "rD = le64 rD", Group::Base64, V3_18),
    row(Form::Swap(Swap::ToBe, 16), "be16", "rD = be16 rD", Group::Base32, V3_18),
    row(Form::Swap(Swap::ToBe, 32), "be32", "rD = be32 rD", Group::Base32, V3_18),
    row(Form::Swap(Swap::ToBe, 64), "be64", "rD = be64 rD", Group::Base64, V3_18),
    row(Form::Swap(Swap::Bswap, 16), "bswap16", "rD = bswap16 rD", Group::Base32, V6_6),
    row(Form::Swap(Swap::Bswap, 32), "bswap32", "rD = bswap32 rD", Group::Base32, V6_6),
    row(Form::Swap(Swap::Bswap, 64), "bswap64", "rD = bswap64 rD", Group::Base64, V6_6),
    row(Form::LdImm64(Imm64Kind::Const), "lddw", "rD = imm64", Group::Base64, V3_18),
    row(Form::LdImm64(Imm64Kind::MapFd), "lddw", "rD = map[fd:imm]", Group::Base64, V3_18),
    row(Form::LdImm64(Imm64Kind::MapFdValue), "lddw", "rD = map[fd:imm][0]+next_imm", Group::Base64, V5_2),
    row(Form::LdImm64(Imm64Kind::BtfId), "lddw", "rD = btf_id[imm]", Group::Base64, V5_10),
    row(Form::LdImm64(Imm64Kind::Func), "lddw", "rD = subprog[imm]", Group::Base64, V5_13),
    row(Form::LdImm64(Imm64Kind::MapIdx), "lddw", "rD = map[idx:imm]", Group::Base64, V5_14),
    row(Form::LdImm64(Imm64Kind::MapIdxValue), "lddw", "rD = map[idx:imm][0]+next_imm", Group::Base64, V5_14),
    row(Form::Load(Size::B, false), "ldxb", "rD = *(u8 *)(rS + off)", Group::Base32, V3_18),
    row(Form::Load(Size::H, false), "ldxh", "rD = *(u16 *)(rS + off)", Group::Base32, V3_18),
    row(Form::Load(Size::W, false), "ldxw", "rD = *(u32 *)(rS + off)", Group::Base32, V3_18),
    row(Form::Load(Size::Dw, false), "ldxdw", "rD = *(u64 *)(rS + off)", Group::Base64, V3_18),
    row(Form::Load(Size::B, true), "ldxsb", "rD = *(s8 *)(rS + off)", Group::Base32, V6_6),
    row(Form::Load(Size::H, true), "ldxsh", "rD = *(s16 *)(rS + off)", Group::Base32, V6_6),
    row(Form::Load(Size::W, true), "ldxsw", "rD = *(s32 *)(rS + off)", Group::Base32, V6_6),
    row(Form::Store(Size::B, Source::Imm), "stb", "*(u8 *)(rD + off) = imm", Group::Base32, V3_18),
    row(Form::Store(Size::H, Source::Imm), "sth", "*(u16 *)(rD + off) = imm", Group::Base32, V3_18),
    row(Form::Store(Size::W, Source::Imm), "stw", "*(u32 *)(rD + off) = imm", Group::Base32, V3_18),
    row(Form::Store(Size::Dw, Source::Imm), "stdw", "*(u64 *)(rD + off) = imm", Group::Base64, V3_18),
    row(Form::Store(Size::B, Source::Reg), "stxb", "*(u8 *)(rD + off) = rS", Group::Base32, V3_18),
    row(Form::Store(Size::H, Source::Reg), "stxh", "*(u16 *)(rD + off) = rS", Group::Base32, V3_18),
    row(Form::Store(Size::W, Source::Reg), "stxw", "*(u32 *)(rD + off) = rS", Group::Base32, V3_18),
    row(Form::Store(Size::Dw, Source::Reg), "stxdw", "*(u64 *)(rD + off) = rS", Group::Base64, V3_18),
    row(
        Form::LoadAcquire(Size::B),
        "load_acquire",
        "rD = load_acquire((u8 *)(rS + off))",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::LoadAcquire(Size::H),
        "load_acquire",
        "rD = load_acquire((u16 *)(rS + off))",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::LoadAcquire(Size::W),
        "load_acquire",
        "rD = load_acquire((u32 *)(rS + off))",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::LoadAcquire(Size::Dw),
        "load_acquire",
        "rD = load_acquire((u64 *)(rS + off))",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::StoreRelease(Size::B),
        "store_release",
        "store_release((u8 *)(rD + off), rS)",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::StoreRelease(Size::H),
        "store_release",
        "store_release((u16 *)(rD + off), rS)",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::StoreRelease(Size::W),
        "store_release",
        "store_release((u32 *)(rD + off), rS)",
        Group::Linux,
        V6_15,
    ),
    row(
        Form::StoreRelease(Size::Dw),
        "store_release",
        "store_release((u64 *)(rD + off), rS)",
        Group::Linux,
        V6_15,
    ),
    row(Form::Packet(Size::B, Source::Imm), "ldabsb", "r0 = *(u8 *)skb[imm]", Group::Packet, V3_19),
    row(Form::Packet(Size::H, Source::Imm), "ldabsh", "r0 = *(u16 *)skb[imm]", Group::Packet, V3_19),
    row(Form::Packet(Size::W, Source::Imm), "ldabsw", "r0 = *(u32 *)skb[imm]", Group::Packet, V3_19),
    row(Form::Packet(Size::B, Source::Reg), "ldindb", "r0 = *(u8 *)skb[rS + imm]", Group::Packet, V3_19),
    row(Form::Packet(Size::H, Source::Reg), "ldindh", "r0 = *(u16 *)skb[rS + imm]", Group::Packet, V3_19),
    row(Form::Packet(Size::W, Source::Reg), "ldindw", "r0 = *(u32 *)skb[rS + imm]", Group::Packet, V3_19),
    row(Form::Goto, "ja", "goto pc+off", Group::Base32, V3_18),
    row(Form::GotoLong, "ja32", "gotol pc+imm", Group::Base32, V6_6),
    row(Form::MayGoto, "may_goto", "may_goto pc+off", Group::Linux, V6_9),
    row(Form::CallHelper, "call", "call helper#imm", Group::Base32, V3_18),
    row(Form::CallSubprog, "call local", "call pc+imm", Group::Base32, V4_16),
    row(Form::CallKfunc, "call kfunc", "call kernel-function#imm", Group::Base32, V5_13),
    InsnRow { form: Form::CallX, name: "callx", syntax: "callx rD", group: Group::Callx, since: None },
    row(Form::Exit, "exit", "exit", Group::Base32, V3_18),
];

const V3_18: KernelVersion = KernelVersion::new(3, 18);
const V3_19: KernelVersion = KernelVersion::new(3, 19);
const V4_14: KernelVersion = KernelVersion::new(4, 14);
const V4_16: KernelVersion = KernelVersion::new(4, 16);
const V5_1: KernelVersion = KernelVersion::new(5, 1);
const V5_2: KernelVersion = KernelVersion::new(5, 2);
const V5_10: KernelVersion = KernelVersion::new(5, 10);
const V5_12: KernelVersion = KernelVersion::new(5, 12);
const V5_13: KernelVersion = KernelVersion::new(5, 13);
const V5_14: KernelVersion = KernelVersion::new(5, 14);
const V6_6: KernelVersion = KernelVersion::new(6, 6);
const V6_9: KernelVersion = KernelVersion::new(6, 9);
const V6_15: KernelVersion = KernelVersion::new(6, 15);

/// Immediate bit of an atomic operation: return the old value.
pub const FETCH: i32 = 0x01;
/// Immediate of a load with acquire ordering.
pub const LOAD_ACQUIRE: i32 = 0x100;
/// Immediate of a store with release ordering.
pub const STORE_RELEASE: i32 = 0x110;

/// One instruction form: what is fixed about it, and the facts that people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsnRow {
    /// The form; its opcode and field rules follow from it.
    pub form: Form,
    /// Mnemonic. Forms that differ only in operands share it.
    pub name: &'static str,
    /// Assembly syntax. `D` and `S` stand for the numbers of the destination and source registers.
    pub syntax: &'static str,
    /// Conformance group.
    pub group: Group,
    /// The first kernel that accepts it; `None` when none does.
    pub since: Option<KernelVersion>,
}

/// The conformance group that an instruction belongs to: RFC 9669 section 2.4, and what lies outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Mandatory.
    Base32,
    /// With 64-bit operands.
    Base64,
    /// 32-bit atomics.
    Atomic32,
    /// 64-bit atomics.
    Atomic64,
    /// 32-bit multiplication, division and modulo.
    Divmul32,
    /// 64-bit multiplication, division and modulo.
    Divmul64,
    /// Deprecated packet access.
    Packet,
    /// In Linux, not in the RFC.
    Linux,
    /// Emitted by compilers and run by some platforms, not in the RFC and not in Linux.
    Callx,
}

/// Where the source operand comes from: the `s` bit of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `K`: the immediate.
    Imm,
    /// `X`: the source register.
    Reg,
}

/// Subtypes of `ld_imm64`, which live in its source register field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Imm64Kind {
    /// A constant.
    Const,
    /// Map by file descriptor.
    MapFd,
    /// Map value by file descriptor.
    MapFdValue,
    /// Kernel variable by BTF id.
    BtfId,
    /// Subprogram.
    Func,
    /// Map by index.
    MapIdx,
    /// Map value by index.
    MapIdxValue,
}

/// An instruction without its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "each form is described by its row and by the `Insn` variant of the same name"
)]
pub enum Form {
    Alu(AluOp, Width, Source),
    /// Bits of the source that are kept.
    MovSx(Width, u8),
    /// Address spaces: to, from.
    AddrSpaceCast(u16, u16),
    Neg(Width),
    /// Bits that are swapped.
    Swap(Swap, u8),
    LdImm64(Imm64Kind),
    /// Whether the value is sign-extended.
    Load(Size, bool),
    Store(Size, Source),
    /// Whether the old value is returned.
    Atomic(AtomicOp, bool, Size),
    LoadAcquire(Size),
    StoreRelease(Size),
    /// `Imm` is the absolute form, `Reg` the indirect one.
    Packet(Size, Source),
    Branch(Cond, Width, Source),
    Goto,
    GotoLong,
    MayGoto,
    CallHelper,
    CallSubprog,
    CallKfunc,
    CallX,
    Exit,
}

/// What a field of a slot may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A register number, 0 to 10.
    Reg,
    /// Any value.
    Any,
    /// This value only; 0 where the field is unused.
    Is(i32),
}

/// The rules for all fields of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fields {
    /// Destination register field.
    pub dst: Rule,
    /// Source register field.
    pub src: Rule,
    /// Offset field.
    pub off: Rule,
    /// Immediate.
    pub imm: Rule,
    /// Immediate of the second slot, for wide instructions: any or 0. Its other fields are 0.
    pub next_imm: Option<Rule>,
}

/// All instruction forms, in the order of their opcodes.
pub fn rows() -> impl ExactSizeIterator<Item = &'static InsnRow> {
    ROWS.iter()
}

/// The forms that share an opcode; empty for an unknown opcode.
pub fn rows_of(opcode: u8) -> &'static [InsnRow] {
    let (start, end) = BY_OPCODE[opcode as usize];
    &ROWS[start as usize..end as usize]
}

/// The fixed bits of a form, for finding it quickly: a slot has it if `slot.to_u64() & mask == value`.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    pub(crate) form: Form,
    pub(crate) mask: u64,
    pub(crate) value: u64,
    /// Bits of the second slot that must be 0, for wide instructions.
    pub(crate) next_zero: Option<u64>,
}

/// The patterns of the forms that share an opcode, in the order of [`rows_of`].
pub(crate) fn patterns_of(opcode: u8) -> &'static [Pattern] {
    let (start, end) = BY_OPCODE[opcode as usize];
    &PATTERNS[start as usize..end as usize]
}

// Instruction classes.
const LD: u8 = 0x00;
const LDX: u8 = 0x01;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const ALU: u8 = 0x04;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const ALU64: u8 = 0x07;

// Modes of the load and store classes.
const IMM: u8 = 0x00;
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const MEM: u8 = 0x60;
const MEMSX: u8 = 0x80;
const ATOMIC: u8 = 0xc0;

// Operations of the arithmetic and jump classes that are no factor.
const NEG: u8 = 0x80;
const END: u8 = 0xd0;
const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const JCOND: u8 = 0xe0;

/// Offset field that makes a move an address-space cast.
const OFF_ADDR_SPACE_CAST: i32 = 1;

impl Form {
    /// The opcode byte.
    pub const fn opcode(self) -> u8 {
        match self {
            Form::Alu(op, width, source) => op.code() | source.code() | alu_class(width),
            Form::MovSx(width, _) => AluOp::Mov.code() | Source::Reg.code() | alu_class(width),
            Form::AddrSpaceCast(..) => AluOp::Mov.code() | Source::Reg.code() | ALU64,
            Form::Neg(width) => NEG | alu_class(width),
            Form::Swap(Swap::ToLe, _) => END | Source::Imm.code() | ALU,
            Form::Swap(Swap::ToBe, _) => END | Source::Reg.code() | ALU,
            Form::Swap(Swap::Bswap, _) => END | ALU64,
            Form::LdImm64(_) => IMM | Size::Dw.code() | LD,
            Form::Load(size, false) => MEM | size.code() | LDX,
            Form::Load(size, true) => MEMSX | size.code() | LDX,
            Form::Store(size, Source::Imm) => MEM | size.code() | ST,
            Form::Store(size, Source::Reg) => MEM | size.code() | STX,
            Form::Atomic(_, _, size) | Form::LoadAcquire(size) | Form::StoreRelease(size) => {
                ATOMIC | size.code() | STX
            }
            Form::Packet(size, Source::Imm) => ABS | size.code() | LD,
            Form::Packet(size, Source::Reg) => IND | size.code() | LD,
            Form::Branch(cond, width, source) => cond.code() | source.code() | jmp_class(width),
            Form::Goto => JA | JMP,
            Form::GotoLong => JA | JMP32,
            Form::MayGoto => JCOND | JMP,
            Form::CallHelper | Form::CallSubprog | Form::CallKfunc => CALL | JMP,
            Form::CallX => CALL | Source::Reg.code() | JMP,
            Form::Exit => EXIT | JMP,
        }
    }

    /// What each field of the slot may hold.
    pub const fn fields(self) -> Fields {
        use Rule::{Any, Is, Reg};
        const ZERO: Rule = Is(0);
        match self {
            Form::Alu(op, _, Source::Imm) => fields(Reg, ZERO, Is(op.off() as i32), Any),
            Form::Alu(op, _, Source::Reg) => fields(Reg, Reg, Is(op.off() as i32), ZERO),
            Form::MovSx(_, bits) => fields(Reg, Reg, Is(bits as i32), ZERO),
            Form::AddrSpaceCast(to, from) => {
                fields(Reg, Reg, Is(OFF_ADDR_SPACE_CAST), Is((to as i32) << 16 | from as i32))
            }
            Form::Neg(_) => fields(Reg, ZERO, ZERO, ZERO),
            Form::Swap(_, bits) => fields(Reg, ZERO, ZERO, Is(bits as i32)),
            Form::LdImm64(kind) => Fields {
                next_imm: Some(match kind {
                    // Linux does not look at a function's, the RFC reserves it.
                    Imm64Kind::MapFd | Imm64Kind::MapIdx | Imm64Kind::Func => ZERO,
                    Imm64Kind::Const | Imm64Kind::BtfId | Imm64Kind::MapFdValue | Imm64Kind::MapIdxValue => {
                        Any
                    }
                }),
                ..fields(Reg, Is(kind.code() as i32), ZERO, Any)
            },
            Form::Load(..) => fields(Reg, Reg, Any, ZERO),
            Form::Store(_, Source::Imm) => fields(Reg, ZERO, Any, Any),
            Form::Store(_, Source::Reg) => fields(Reg, Reg, Any, ZERO),
            Form::Atomic(op, fetch, _) => {
                fields(Reg, Reg, Any, Is(op.code() | if fetch { FETCH } else { 0 }))
            }
            Form::LoadAcquire(_) => fields(Reg, Reg, Any, Is(LOAD_ACQUIRE)),
            Form::StoreRelease(_) => fields(Reg, Reg, Any, Is(STORE_RELEASE)),
            Form::Packet(_, Source::Imm) => fields(ZERO, ZERO, ZERO, Any),
            Form::Packet(_, Source::Reg) => fields(ZERO, Reg, ZERO, Any),
            Form::Branch(_, _, Source::Imm) => fields(Reg, ZERO, Any, Any),
            Form::Branch(_, _, Source::Reg) => fields(Reg, Reg, Any, ZERO),
            Form::Goto | Form::MayGoto => fields(ZERO, ZERO, Any, ZERO),
            Form::GotoLong => fields(ZERO, ZERO, ZERO, Any),
            Form::CallHelper => fields(ZERO, Is(0), ZERO, Any),
            Form::CallSubprog => fields(ZERO, Is(1), ZERO, Any),
            Form::CallKfunc => fields(ZERO, Is(2), Any, Any),
            Form::CallX => fields(Reg, ZERO, ZERO, ZERO),
            // Linux does not look at the offset; the RFC reserves it.
            Form::Exit => fields(ZERO, ZERO, ZERO, ZERO),
        }
    }
}

impl InsnRow {
    /// The opcode byte.
    pub const fn opcode(&self) -> u8 {
        self.form.opcode()
    }
}

impl Source {
    /// The source bit of an opcode.
    pub const fn code(self) -> u8 {
        match self {
            Source::Imm => 0x00,
            Source::Reg => 0x08,
        }
    }
}

impl Imm64Kind {
    /// The subtype as it stands in the source register field.
    pub const fn code(self) -> u8 {
        match self {
            Imm64Kind::Const => 0,
            Imm64Kind::MapFd => 1,
            Imm64Kind::MapFdValue => 2,
            Imm64Kind::BtfId => 3,
            Imm64Kind::Func => 4,
            Imm64Kind::MapIdx => 5,
            Imm64Kind::MapIdxValue => 6,
        }
    }
}

impl Group {
    /// The label, as the RFC spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Base32 => "base32",
            Group::Base64 => "base64",
            Group::Atomic32 => "atomic32",
            Group::Atomic64 => "atomic64",
            Group::Divmul32 => "divmul32",
            Group::Divmul64 => "divmul64",
            Group::Packet => "packet",
            Group::Linux => "linux",
            Group::Callx => "callx",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const ROW_COUNT: usize = ALU_ROWS.len() + BRANCH_ROWS.len() + ATOMIC_ROWS.len() + OTHER_ROWS.len();
static ROWS: [InsnRow; ROW_COUNT] = sorted_rows();
static PATTERNS: [Pattern; ROW_COUNT] = patterns();
static BY_OPCODE: [(u16, u16); 256] = opcode_ranges();

const fn row(
    form: Form,
    name: &'static str,
    syntax: &'static str,
    group: Group,
    since: KernelVersion,
) -> InsnRow {
    InsnRow { form, name, syntax, group, since: Some(since) }
}

const fn fields(dst: Rule, src: Rule, off: Rule, imm: Rule) -> Fields {
    Fields { dst, src, off, imm, next_imm: None }
}

const fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => ALU,
        Width::W64 => ALU64,
    }
}

const fn jmp_class(width: Width) -> u8 {
    match width {
        Width::W32 => JMP32,
        Width::W64 => JMP,
    }
}

const fn atomic_group(size: Size) -> Group {
    match size {
        Size::Dw => Group::Atomic64,
        Size::B | Size::H | Size::W => Group::Atomic32,
    }
}

/// All rows by opcode, keeping the order of the lists within one opcode.
const fn sorted_rows() -> [InsnRow; ROW_COUNT] {
    let parts = [ALU_ROWS, BRANCH_ROWS, ATOMIC_ROWS, OTHER_ROWS];
    let mut sorted = [OTHER_ROWS[0]; ROW_COUNT];
    let (mut count, mut opcode) = (0, 0);
    while opcode < 256 {
        let mut part = 0;
        while part < parts.len() {
            let mut i = 0;
            while i < parts[part].len() {
                if parts[part][i].opcode() as usize == opcode {
                    sorted[count] = parts[part][i];
                    count += 1;
                }
                i += 1;
            }
            part += 1;
        }
        opcode += 1;
    }
    sorted
}

const fn patterns() -> [Pattern; ROW_COUNT] {
    let mut patterns = [pattern(Form::Exit); ROW_COUNT];
    let mut i = 0;
    while i < ROW_COUNT {
        patterns[i] = pattern(ROWS[i].form);
        i += 1;
    }
    patterns
}

const fn pattern(form: Form) -> Pattern {
    let (mut mask, mut value) = (0xff, form.opcode() as u64);
    let fields = form.fields();
    let rules = [
        (fields.dst, 8, 0xf),
        (fields.src, 12, 0xf),
        (fields.off, 16, 0xffff),
        (fields.imm, 32, 0xffff_ffff),
    ];
    let mut i = 0;
    while i < rules.len() {
        let (rule, shift, field) = rules[i];
        if let Rule::Is(fixed) = rule {
            mask |= field << shift;
            value |= (fixed as u64 & field) << shift;
        }
        i += 1;
    }
    let next_zero = match fields.next_imm {
        Some(Rule::Is(_)) => Some(u64::MAX),
        Some(Rule::Any | Rule::Reg) => Some(0xffff_ffff),
        None => None,
    };
    Pattern { form, mask, value, next_zero }
}

const fn opcode_ranges() -> [(u16, u16); 256] {
    let mut ranges = [(0, 0); 256];
    let mut i = 0;
    while i < ROW_COUNT {
        let opcode = ROWS[i].opcode() as usize;
        if i == 0 || ROWS[i - 1].opcode() as usize != opcode {
            ranges[opcode].0 = i as u16;
        }
        ranges[opcode].1 = i as u16 + 1;
        i += 1;
    }
    ranges
}
