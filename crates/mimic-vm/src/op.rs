//! `Op`: instructions as the interpreter runs them: decoded once, jump targets resolved, one `Op` an instruction.
//!
//! An index of ops is not a pc: `ld_imm64` takes two slots and one op. [`Ops::slot_of`] leads back.

use crate::threaded::Threaded;
use mimic_abi::{
    AluOp, AtomicOp, Callee, Cond, DecodeError, Imm64, Insn, Operand, RawInsn, Reg, Size, Swap, Width,
};

/// One pre-decoded instruction. What the fields mean depends on the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) code: Code,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    /// Displacement of memory operands; op index of jump targets.
    pub(crate) off: i32,
    /// Immediate, sign-extended.
    pub(crate) imm: u64,
}

macro_rules! define_codes {
    (
        alu { $($alu:ident: $a64r:ident $a64i:ident $a32r:ident $a32i:ident,)* }
        cond { $($cond:ident: $c64r:ident $c64i:ident $c32r:ident $c32i:ident,)* }
        other { $($(#[$doc:meta])* $other:ident,)* }
    ) => {
        /// What an op does: the instruction table's rows times their operand forms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Code {
            $($a64r, $a64i, $a32r, $a32i,)*
            $($c64r, $c64i, $c32r, $c32i,)*
            $($(#[$doc])* $other,)*
        }

        impl Code {
            /// What kind of op it is, apart from its operand forms.
            pub(crate) fn kind(self) -> Kind {
                match self {
                    $(
                        Code::$a64r => Kind::Alu(AluOp::$alu, Width::W64, false),
                        Code::$a64i => Kind::Alu(AluOp::$alu, Width::W64, true),
                        Code::$a32r => Kind::Alu(AluOp::$alu, Width::W32, false),
                        Code::$a32i => Kind::Alu(AluOp::$alu, Width::W32, true),
                    )*
                    $(
                        Code::$c64r => Kind::Branch(Cond::$cond, Width::W64, false),
                        Code::$c64i => Kind::Branch(Cond::$cond, Width::W64, true),
                        Code::$c32r => Kind::Branch(Cond::$cond, Width::W32, false),
                        Code::$c32i => Kind::Branch(Cond::$cond, Width::W32, true),
                    )*
                    other => Kind::Other(other),
                }
            }
        }

        fn alu_code(op: AluOp, width: Width, imm: bool) -> Code {
            match (op, width, imm) {
                $(
                    (AluOp::$alu, Width::W64, false) => Code::$a64r,
                    (AluOp::$alu, Width::W64, true) => Code::$a64i,
                    (AluOp::$alu, Width::W32, false) => Code::$a32r,
                    (AluOp::$alu, Width::W32, true) => Code::$a32i,
                )*
            }
        }

        fn cond_code(cond: Cond, width: Width, imm: bool) -> Code {
            match (cond, width, imm) {
                $(
                    (Cond::$cond, Width::W64, false) => Code::$c64r,
                    (Cond::$cond, Width::W64, true) => Code::$c64i,
                    (Cond::$cond, Width::W32, false) => Code::$c32r,
                    (Cond::$cond, Width::W32, true) => Code::$c32i,
                )*
            }
        }
    };
}

/// Hands the list of codes to a macro: the one place that names them.
macro_rules! with_codes {
    ($then:ident) => {
        $then! {
            alu {
                Add: Add64R Add64I Add32R Add32I,
                Sub: Sub64R Sub64I Sub32R Sub32I,
                Mul: Mul64R Mul64I Mul32R Mul32I,
                Div: Div64R Div64I Div32R Div32I,
                Sdiv: Sdiv64R Sdiv64I Sdiv32R Sdiv32I,
                Or: Or64R Or64I Or32R Or32I,
                And: And64R And64I And32R And32I,
                Lsh: Lsh64R Lsh64I Lsh32R Lsh32I,
                Rsh: Rsh64R Rsh64I Rsh32R Rsh32I,
                Mod: Mod64R Mod64I Mod32R Mod32I,
                Smod: Smod64R Smod64I Smod32R Smod32I,
                Xor: Xor64R Xor64I Xor32R Xor32I,
                Mov: Mov64R Mov64I Mov32R Mov32I,
                Arsh: Arsh64R Arsh64I Arsh32R Arsh32I,
            }
            cond {
                Eq: Jeq64R Jeq64I Jeq32R Jeq32I,
                Gt: Jgt64R Jgt64I Jgt32R Jgt32I,
                Ge: Jge64R Jge64I Jge32R Jge32I,
                Set: Jset64R Jset64I Jset32R Jset32I,
                Ne: Jne64R Jne64I Jne32R Jne32I,
                Sgt: Jsgt64R Jsgt64I Jsgt32R Jsgt32I,
                Sge: Jsge64R Jsge64I Jsge32R Jsge32I,
                Lt: Jlt64R Jlt64I Jlt32R Jlt32I,
                Le: Jle64R Jle64I Jle32R Jle32I,
                Slt: Jslt64R Jslt64I Jslt32R Jslt32I,
                Sle: Jsle64R Jsle64I Jsle32R Jsle32I,
            }
            other {
                Neg64, Neg32,
                /// `dst` = `src` sign-extended from `imm` bits.
                MovSx64, MovSx32,
                /// Swap of `imm` bits, always.
                Bswap,
                /// Zero-extend the low `imm` bits: a swap to the order that the guest has.
                Trunc,
                /// `imm` is the value.
                LdImm64,
                LoadB, LoadH, LoadW, LoadDw, LoadSxB, LoadSxH, LoadSxW,
                StoreB, StoreH, StoreW, StoreDw, StoreImmB, StoreImmH, StoreImmW, StoreImmDw,
                /// Loads and stores off r10 that lie in the frame, as the displacement shows.
                FpLoadB, FpLoadH, FpLoadW, FpLoadDw, FpStoreB, FpStoreH, FpStoreW, FpStoreDw,
                /// Anything less frequent that touches memory: `imm` indexes [`Ops::rare`].
                Rare,
                Goto,
                MayGoto,
                /// `imm` indexes the program's helpers.
                CallHelper,
                /// `off` is the target.
                CallSubprog,
                CallX,
                Exit,
                /// Writes the frame pointer, which is a fault.
                WriteR10,
                /// Past the last instruction.
                End,
            }
        }
    };
}
pub(crate) use with_codes;

with_codes!(define_codes);

/// An op's code, taken apart for translators. The flag tells that the second operand is the immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Alu(AluOp, Width, bool),
    Branch(Cond, Width, bool),
    Other(Code),
}

impl Code {
    /// The size of what a load or store accesses, and whether a load extends the sign.
    pub(crate) fn access(self) -> Option<(Size, bool)> {
        Some(match self {
            Code::LoadB | Code::StoreB | Code::StoreImmB | Code::FpLoadB | Code::FpStoreB => (Size::B, false),
            Code::LoadH | Code::StoreH | Code::StoreImmH | Code::FpLoadH | Code::FpStoreH => (Size::H, false),
            Code::LoadW | Code::StoreW | Code::StoreImmW | Code::FpLoadW | Code::FpStoreW => (Size::W, false),
            Code::LoadDw | Code::StoreDw | Code::StoreImmDw | Code::FpLoadDw | Code::FpStoreDw => {
                (Size::Dw, false)
            }
            Code::LoadSxB => (Size::B, true),
            Code::LoadSxH => (Size::H, true),
            Code::LoadSxW => (Size::W, true),
            _ => return None,
        })
    }

    /// Whether it writes guest memory.
    pub(crate) fn is_store(self) -> bool {
        use Code::*;
        matches!(
            self,
            StoreB
                | StoreH
                | StoreW
                | StoreDw
                | StoreImmB
                | StoreImmH
                | StoreImmW
                | StoreImmDw
                | FpStoreB
                | FpStoreH
                | FpStoreW
                | FpStoreDw
        )
    }
}

/// A program's ops.
pub(crate) struct Ops {
    /// One per instruction, and [`Code::End`] after the last.
    pub(crate) ops: Box<[Op]>,
    /// Instructions that the loop hands on as they are.
    pub(crate) rare: Box<[Insn]>,
    /// The same ops, for the interpreter's fast path.
    pub(crate) threaded: Threaded,
    slots: Box<[u32]>,
}

/// Why a program cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranslateError {
    /// A slot holds no instruction.
    Decode {
        /// The slot.
        pc: u32,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A jump or call leads outside the program or into the middle of an instruction.
    Target {
        /// The jump's slot.
        pc: u32,
        /// The slot that it leads to.
        target: i64,
    },
    /// A `ld_imm64` or call that nobody resolved.
    Unresolved {
        /// The slot.
        pc: u32,
        /// What it names.
        what: String,
    },
    /// The program has no instructions, or too many.
    Length {
        /// Its slots.
        slots: usize,
        /// The most that are allowed.
        slots_max: usize,
    },
}

impl core::fmt::Display for TranslateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            TranslateError::Decode { pc, error } => write!(f, "pc {pc}: {error}"),
            TranslateError::Target { pc, target } => {
                write!(f, "pc {pc}: jump to {target}, where no instruction begins")
            }
            TranslateError::Unresolved { pc, what } => {
                write!(f, "pc {pc}: {what} was not resolved before the program was added")
            }
            TranslateError::Length { slots, slots_max } => {
                write!(f, "the program has {slots} slots; 1 to {slots_max} can be run")
            }
        }
    }
}

impl std::error::Error for TranslateError {}

/// The most slots a program may have: the kernel's limit for privileged users (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const SLOTS_MAX: usize = 1_000_000;

impl Ops {
    /// Translates linked code. `helper` gives the index of a helper or kfunc call in the program's table.
    pub(crate) fn translate(
        code: &[RawInsn],
        guest_is_big: bool,
        fast_stack: bool,
        mut helper: impl FnMut(u32, Callee) -> Option<u32>,
    ) -> Result<Ops, TranslateError> {
        if code.is_empty() || code.len() > SLOTS_MAX {
            return Err(TranslateError::Length { slots: code.len(), slots_max: SLOTS_MAX });
        }
        let (insns, op_at) = decode(code)?;
        let mut rare = Vec::new();
        let mut ops = Vec::with_capacity(insns.len() + 1);
        for &(pc, insn) in &insns {
            if written(&insn) == Some(Reg::R10) {
                // The kernel loads such programs too, if this is never reached.
                ops.push(Op { code: Code::WriteR10, dst: 0, src: 0, off: 0, imm: 0 });
                continue;
            }
            let target = |rel: i64| {
                let target = i64::from(pc) + 1 + rel;
                let op = usize::try_from(target).ok().and_then(|slot| *op_at.get(slot)?);
                op.ok_or(TranslateError::Target { pc, target })
            };
            let cx = Context { pc, guest_is_big, fast_stack };
            ops.push(cx.op(insn, target, &mut rare, &mut helper)?);
        }
        ops.push(Op { code: Code::End, dst: 0, src: 0, off: 0, imm: 0 });
        let slots = insns.iter().map(|(pc, _)| *pc).chain([code.len() as u32]).collect();
        let threaded = Threaded::new(&ops);
        Ok(Ops { ops: ops.into(), rare: rare.into(), threaded, slots })
    }

    /// The slot at which op `index` begins.
    pub(crate) fn slot_of(&self, index: usize) -> u32 {
        self.slots.get(index).or(self.slots.last()).copied().unwrap_or(0)
    }

    /// The op that begins at a slot.
    pub(crate) fn op_at(&self, slot: u32) -> Option<usize> {
        self.slots[..self.slots.len() - 1].binary_search(&slot).ok()
    }
}

/// Instructions with their slots, and for each slot the op that begins there.
#[allow(clippy::type_complexity, reason = "used once, right above")]
fn decode(code: &[RawInsn]) -> Result<(Vec<(u32, Insn)>, Vec<Option<u32>>), TranslateError> {
    let mut insns = Vec::with_capacity(code.len());
    let mut op_at = vec![None; code.len()];
    let mut pc = 0;
    while pc < code.len() {
        let insn =
            Insn::decode(&code[pc..]).map_err(|error| TranslateError::Decode { pc: pc as u32, error })?;
        op_at[pc] = Some(insns.len() as u32);
        insns.push((pc as u32, insn));
        pc += insn.slots();
    }
    Ok((insns, op_at))
}

/// The register that an instruction sets, calls aside.
fn written(insn: &Insn) -> Option<Reg> {
    match *insn {
        Insn::Alu { dst, .. }
        | Insn::MovSx { dst, .. }
        | Insn::Neg { dst, .. }
        | Insn::Swap { dst, .. }
        | Insn::LdImm64 { dst, .. }
        | Insn::AddrSpaceCast { dst, .. }
        | Insn::Load { dst, .. }
        | Insn::LoadAcquire { dst, .. } => Some(dst),
        Insn::Atomic { op: AtomicOp::Cmpxchg, .. } => Some(Reg::R0),
        Insn::Atomic { fetch: true, src, .. } => Some(src),
        Insn::Atomic { .. }
        | Insn::Store { .. }
        | Insn::StoreRelease { .. }
        | Insn::Packet { .. }
        | Insn::Branch { .. }
        | Insn::Goto { .. }
        | Insn::MayGoto { .. }
        | Insn::Call(_)
        | Insn::CallX { .. }
        | Insn::Exit => None,
    }
}

struct Context {
    pc: u32,
    guest_is_big: bool,
    fast_stack: bool,
}

impl Context {
    fn op(
        &self,
        insn: Insn,
        target: impl Fn(i64) -> Result<u32, TranslateError>,
        rare: &mut Vec<Insn>,
        helper: &mut impl FnMut(u32, Callee) -> Option<u32>,
    ) -> Result<Op, TranslateError> {
        let unresolved = |what: String| TranslateError::Unresolved { pc: self.pc, what };
        let plain = |code, dst: Reg, src: Reg, off: i32, imm: u64| Op {
            code,
            dst: dst.index() as u8,
            src: src.index() as u8,
            off,
            imm,
        };
        let zero = Reg::R0;
        Ok(match insn {
            Insn::Alu { op, width, dst, src } => {
                let (src, imm) = operand(src);
                plain(alu_code(op, width, imm.is_some()), dst, src, 0, imm.unwrap_or(0))
            }
            Insn::MovSx { width: Width::W64, bits, dst, src } => {
                plain(Code::MovSx64, dst, src, 0, u64::from(bits))
            }
            Insn::MovSx { width: Width::W32, bits, dst, src } => {
                plain(Code::MovSx32, dst, src, 0, u64::from(bits))
            }
            Insn::Neg { width: Width::W64, dst } => plain(Code::Neg64, dst, zero, 0, 0),
            Insn::Neg { width: Width::W32, dst } => plain(Code::Neg32, dst, zero, 0, 0),
            Insn::Swap { op, bits, dst } => {
                let same = match op {
                    Swap::ToLe => !self.guest_is_big,
                    Swap::ToBe => self.guest_is_big,
                    Swap::Bswap => false,
                };
                plain(if same { Code::Trunc } else { Code::Bswap }, dst, zero, 0, u64::from(bits))
            }
            Insn::LdImm64 { dst, value: Imm64::Const(value) } => plain(Code::LdImm64, dst, zero, 0, value),
            Insn::LdImm64 { value, .. } => return Err(unresolved(format!("{value:?}"))),
            Insn::Load { size, sext, dst, base, off } => {
                let in_frame = base == Reg::R10 && self.in_frame(off, size) && !sext;
                let code = if in_frame { fp_load_code(size) } else { load_code(size, sext) };
                plain(code, dst, base, off.into(), 0)
            }
            Insn::Store { size, base, off, src: Operand::Reg(src) } => {
                let in_frame = base == Reg::R10 && self.in_frame(off, size);
                let code = if in_frame { fp_store_code(size) } else { store_code(size) };
                plain(code, base, src, off.into(), 0)
            }
            Insn::Store { size, base, off, src: Operand::Imm(imm) } => {
                plain(store_imm_code(size), base, zero, off.into(), imm as i64 as u64)
            }
            Insn::Branch { cond, width, dst, src, off } => {
                let (src, imm) = operand(src);
                plain(
                    cond_code(cond, width, imm.is_some()),
                    dst,
                    src,
                    target(off.into())? as i32,
                    imm.unwrap_or(0),
                )
            }
            Insn::Goto { off, .. } => plain(Code::Goto, zero, zero, target(off.into())? as i32, 0),
            Insn::MayGoto { off } => plain(Code::MayGoto, zero, zero, target(off.into())? as i32, 0),
            Insn::Call(Callee::Subprog(off)) => {
                plain(Code::CallSubprog, zero, zero, target(off.into())? as i32, 0)
            }
            Insn::Call(callee) => {
                let index = helper(self.pc, callee).ok_or_else(|| unresolved(format!("{callee:?}")))?;
                plain(Code::CallHelper, zero, zero, 0, index.into())
            }
            Insn::CallX { reg } => plain(Code::CallX, zero, reg, 0, 0),
            Insn::Exit => plain(Code::Exit, zero, zero, 0, 0),
            Insn::Atomic { .. }
            | Insn::LoadAcquire { .. }
            | Insn::StoreRelease { .. }
            | Insn::Packet { .. }
            | Insn::AddrSpaceCast { .. } => {
                rare.push(insn);
                plain(Code::Rare, zero, zero, 0, rare.len() as u64 - 1)
            }
        })
    }

    /// Whether an access off r10 stays in the frame, so that it needs no check when it runs.
    fn in_frame(&self, off: i16, size: Size) -> bool {
        let (off, len) = (i32::from(off), size.bytes() as i32);
        self.fast_stack && off >= -(crate::FRAME_LEN as i32) && off + len <= 0
    }
}

fn operand(src: Operand) -> (Reg, Option<u64>) {
    match src {
        Operand::Reg(reg) => (reg, None),
        Operand::Imm(imm) => (Reg::R0, Some(imm as i64 as u64)),
    }
}

fn load_code(size: Size, sext: bool) -> Code {
    match (size, sext) {
        (Size::B, false) => Code::LoadB,
        (Size::H, false) => Code::LoadH,
        (Size::W, false) => Code::LoadW,
        (Size::Dw, _) => Code::LoadDw,
        (Size::B, true) => Code::LoadSxB,
        (Size::H, true) => Code::LoadSxH,
        (Size::W, true) => Code::LoadSxW,
    }
}

fn store_code(size: Size) -> Code {
    match size {
        Size::B => Code::StoreB,
        Size::H => Code::StoreH,
        Size::W => Code::StoreW,
        Size::Dw => Code::StoreDw,
    }
}

fn store_imm_code(size: Size) -> Code {
    match size {
        Size::B => Code::StoreImmB,
        Size::H => Code::StoreImmH,
        Size::W => Code::StoreImmW,
        Size::Dw => Code::StoreImmDw,
    }
}

fn fp_load_code(size: Size) -> Code {
    match size {
        Size::B => Code::FpLoadB,
        Size::H => Code::FpLoadH,
        Size::W => Code::FpLoadW,
        Size::Dw => Code::FpLoadDw,
    }
}

fn fp_store_code(size: Size) -> Code {
    match size {
        Size::B => Code::FpStoreB,
        Size::H => Code::FpStoreH,
        Size::W => Code::FpStoreW,
        Size::Dw => Code::FpStoreDw,
    }
}
