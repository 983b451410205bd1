//! `LoadedProgram`: a linked program, resolved against a VM and translated, ready to run. Immutable and shared.

use crate::arena::ArenaSpace;
use crate::emulator::{HelperImpl, Known};
use crate::fault::{Fault, FaultKind, SourceLine};
use crate::map::MapRef;
use crate::op::Ops;
use core::sync::atomic::{AtomicU64, Ordering};
use mimic_abi::{HelperSpec, RawInsn};
use mimic_object::Program;
use std::sync::Arc;

/// A helper or kfunc that a program calls.
#[derive(Clone)]
pub(crate) struct HelperRef {
    /// The name under which it is overridden.
    pub(crate) key: Arc<str>,
    /// The name that programs know.
    pub(crate) name: Arc<str>,
    pub(crate) spec: Option<HelperSpec>,
    pub(crate) run: HelperImpl,
    /// What compiled code may do instead of calling it.
    #[allow(dead_code, reason = "read where there is a JIT")]
    pub(crate) known: Option<Known>,
}

impl HelperRef {
    /// A helper or kfunc that nobody knows: calling it is a fault.
    pub(crate) fn missing(name: &str) -> HelperRef {
        let why =
            format!("{name} is not known to the emulator; add it with VmBuilder::helper or in the emulator");
        let key = crate::vm::helper_name(name).into();
        HelperRef { key, name: name.into(), spec: None, run: HelperImpl::Missing(why.into()), known: None }
    }
}

/// A program in a VM.
pub struct LoadedProgram {
    pub(crate) id: u32,
    pub(crate) name: Arc<str>,
    pub(crate) linked: Program,
    /// The code as it runs: addresses in place of references.
    pub(crate) code: Box<[RawInsn]>,
    pub(crate) ops: Ops,
    pub(crate) helpers: Box<[HelperRef]>,
    pub(crate) maps: Box<[Arc<MapRef>]>,
    /// The arena that it uses.
    pub(crate) arena: Option<ArenaSpace>,
    /// Loads from where nothing is read zero.
    pub(crate) probe_loads: bool,
    /// The slot of the function that `bpf_throw` calls, if the program names one.
    pub(crate) exception_callback: Option<u32>,
    pub(crate) heat: Heat,
    /// Its machine code, as far as it was asked for.
    pub(crate) compiled: crate::jit::Cache,
}

/// How much a program was run in the interpreter.
#[derive(Default)]
pub(crate) struct Heat(AtomicU64);

impl Heat {
    /// Instructions, about: runs that end at the same moment may be counted once.
    pub(crate) fn insns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A run has ended, after so many instructions.
    pub(crate) fn add(&self, insns: u64) {
        // What a run costs besides, so that many empty ones count too.
        const RUN: u64 = 16;
        self.0.store(self.insns().saturating_add(insns).saturating_add(RUN), Ordering::Relaxed);
    }
}

impl LoadedProgram {
    /// Its id, from 1.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The linked program that it was made from: functions, lines, BTF.
    pub fn linked(&self) -> &Program {
        &self.linked
    }

    /// The instructions as they run, one per slot, with addresses in place of references.
    pub fn code(&self) -> &[RawInsn] {
        &self.code
    }

    /// The maps that it refers to.
    pub fn maps(&self) -> &[Arc<MapRef>] {
        &self.maps
    }

    /// The name of the function around a slot.
    pub fn func_at(&self, pc: u32) -> Option<&str> {
        let at = self.linked.funcs.partition_point(|func| func.pc <= pc);
        Some(self.linked.funcs.get(at.checked_sub(1)?)?.name.as_str())
    }

    /// A fault of this program, at a slot.
    pub(crate) fn fault_at(&self, pc: u32, kind: FaultKind) -> Fault {
        let func = self.func_at(pc).map(Into::into);
        Fault { kind, pc, program: self.name.clone(), func, line: self.line_at(pc) }
    }

    /// The source line of a slot.
    pub fn line_at(&self, pc: u32) -> Option<SourceLine> {
        let at = self.linked.lines.partition_point(|line| line.pc <= pc);
        let line = self.linked.lines.get(at.checked_sub(1)?)?;
        Some(SourceLine {
            file: (*line.file).into(),
            line: line.line,
            column: line.column,
            text: (*line.text).into(),
        })
    }
}

/// A function of a loaded program: what a callback argument names.
#[derive(Clone)]
pub struct FuncRef {
    /// The program.
    pub program: Arc<LoadedProgram>,
    /// The slot of its first instruction.
    pub pc: u32,
}

impl core::fmt::Debug for FuncRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}+{}", self.program.name, self.pc)
    }
}

/// The values that function pointers have in registers: outside the cage, so that they are never data, with the program's id and the slot.
const FUNC_TAG: u64 = 0xffff_b000_0000_0000;
const FUNC_TAG_MASK: u64 = 0xffff_f000_0000_0000;

/// The value of a pointer to the function at slot `pc` of program `id`. 24 bits for the id, 20 for the slot.
pub(crate) fn func_addr(id: u32, pc: u32) -> u64 {
    FUNC_TAG | u64::from(id) << 20 | u64::from(pc)
}

/// The value of a kernel function's address: outside the cage and no function pointer. Nothing can be done with it but to compare it.
pub(crate) fn kfunc_addr(name: &str) -> u64 {
    const TAG: u64 = 0xffff_a000_0000_0000;
    // FNV-1a: the same name has the same address everywhere.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    TAG | hash >> 20 & !0xf
}

/// The id and slot of a function pointer.
pub(crate) fn func_of_addr(addr: u64) -> Option<(u32, u32)> {
    (addr & FUNC_TAG_MASK == FUNC_TAG).then_some(((addr >> 20) as u32 & 0xff_ffff, addr as u32 & 0xf_ffff))
}
