//! `Program`: a linked program: its code with all subprograms, and what its references need from whoever loads it.

use std::sync::Arc;

use mimic_abi::btf::Btf;
use mimic_abi::{AttachType, ByteOrder, ProgType, RawInsn};

use crate::sec_def::SecDef;

/// A program of an object, not linked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramSpec {
    /// The name of its main function.
    pub name: String,
    /// The ELF section that it is in, without the `?` that switches off autoloading.
    pub section: String,
    /// What the section's name says.
    pub sec: SecDef,
    /// Offset in the section, in bytes.
    pub off: u64,
    /// Slots of its main function.
    pub slots: u32,
    /// Index in `Code::funcs`.
    pub(crate) func: usize,
}

/// A linked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The name of its main function.
    pub name: String,
    /// The ELF section that it came from.
    pub section: String,
    /// The program type that the section's name or the loader says.
    pub prog_type: Option<ProgType>,
    /// The attach type that comes with the section's name.
    pub attach_type: Option<AttachType>,
    /// What the section's name says to attach to: a function, a tracepoint, a hook.
    pub attach_to: Option<String>,
    /// The BTF id of that in the target's BTF; 0 if it is not in BTF, or there is none.
    pub attach_btf_id: u32,
    /// Set for programs that may sleep (`.s` sections).
    pub sleepable: bool,
    /// Flags of `BPF_PROG_LOAD` that come with the section's name.
    pub prog_flags: u32,
    /// The byte order of the object.
    pub byte_order: ByteOrder,
    /// The licence.
    pub license: String,
    /// The main function, then the subprograms it reaches, in libbpf's order; calls between them are resolved.
    pub code: Vec<RawInsn>,
    /// The functions in `code` by rising pc; the first is the main one.
    pub funcs: Vec<Func>,
    /// Source lines by rising pc.
    pub lines: Vec<Line>,
    /// Instructions that need an address or a function from whoever loads the program, by rising pc. Their immediates are 0 and
    /// `ld_imm64` is a plain one, except that pointers to functions are resolved as the kernel wants them.
    pub refs: Vec<Ref>,
    /// The slot of the function that `__exception_cb` names.
    pub exception_callback: Option<u32>,
    /// The object's types: what type ids in code (`bpf_core_type_id_local`) and in `funcs` mean.
    pub btf: Option<Arc<Btf>>,
}

impl Program {
    /// A program of bare instructions that refers to nothing outside itself.
    pub fn from_code(name: &str, code: Vec<RawInsn>, byte_order: ByteOrder) -> Program {
        Program {
            name: name.into(),
            section: String::new(),
            prog_type: None,
            attach_to: None,
            attach_btf_id: 0,
            prog_flags: 0,
            attach_type: None,
            sleepable: false,
            byte_order,
            license: String::new(),
            code,
            funcs: Vec::new(),
            lines: Vec::new(),
            refs: Vec::new(),
            exception_callback: None,
            btf: None,
        }
    }
}

/// A function in linked code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Func {
    /// Its first slot.
    pub pc: u32,
    /// Its name.
    pub name: String,
    /// The BTF id of its `FUNC`; 0 if unknown.
    pub type_id: u32,
    /// Visible to other objects: verified on its own by the kernel.
    pub global: bool,
}

/// The source of the instructions from a slot on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first slot.
    pub pc: u32,
    /// The file's name as the compiler was given it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if unknown.
    pub column: u32,
    /// The line's text; may be empty.
    pub text: Arc<str>,
}

/// An instruction that refers to something outside the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Its slot.
    pub pc: u32,
    /// What it refers to.
    pub target: RefTarget,
}

/// What an instruction refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefTarget {
    /// `ld_imm64`: the map of this index in `Object::maps`.
    Map(usize),
    /// `ld_imm64`: the address of a byte of the first value of this map.
    MapValue {
        /// The index in `Object::maps`.
        map: usize,
        /// The byte.
        off: u32,
    },
    /// `ld_imm64`: a pointer to the function at this slot.
    Func(u32),
    /// `ld_imm64`: the address of a kernel symbol; NULL if it is weak and nobody has it.
    Ksym {
        /// The name.
        name: String,
        /// May be missing.
        weak: bool,
        /// The BTF id of its type in the object's BTF; 0 for typeless ones.
        type_id: u32,
        /// The BTF id of the symbol itself in the target's BTF; 0 if it is not there or typeless.
        btf_id: u32,
    },
    /// `call`: a kernel function.
    Kfunc {
        /// The name, without a flavour (`___x`).
        name: String,
        /// May be missing; calling it then is an error when it happens.
        weak: bool,
        /// Its BTF id in the target's BTF; 0 if there is none.
        btf_id: u32,
    },
}

impl Program {
    /// The code as bpf(2) `BPF_PROG_LOAD` takes it: maps by descriptor, kernel symbols and functions by BTF id.
    ///
    /// `map_fds` are the descriptors of the object's maps, in its order. Typeless kernel symbols stay 0.
    ///
    /// # Errors
    /// The index of a map that has no descriptor.
    pub fn code_for_bpf(&self, map_fds: &[i32]) -> Result<Vec<RawInsn>, usize> {
        const PSEUDO_MAP_FD: u8 = 1;
        const PSEUDO_MAP_VALUE: u8 = 2;
        const PSEUDO_BTF_ID: u8 = 3;
        let mut code = self.code.clone();
        for Ref { pc, target } in &self.refs {
            let Some([first, rest @ ..]) = code.get_mut(*pc as usize..) else { continue };
            let fd = |map: usize| map_fds.get(map).copied().ok_or(map);
            match target {
                RefTarget::Map(map) => (first.src, first.imm) = (PSEUDO_MAP_FD, fd(*map)?),
                RefTarget::MapValue { map, off } => {
                    (first.src, first.imm) = (PSEUDO_MAP_VALUE, fd(*map)?);
                    if let Some(second) = rest.first_mut() {
                        second.imm = *off as i32;
                    }
                }
                RefTarget::Ksym { btf_id: 0, .. } | RefTarget::Func(_) => {}
                RefTarget::Ksym { btf_id, .. } => (first.src, first.imm) = (PSEUDO_BTF_ID, *btf_id as i32),
                RefTarget::Kfunc { btf_id, .. } => first.imm = *btf_id as i32,
            }
        }
        Ok(code)
    }

    /// The function around a slot.
    pub fn func_at(&self, pc: u32) -> Option<&Func> {
        self.funcs.get(self.funcs.partition_point(|func| func.pc <= pc).checked_sub(1)?)
    }

    /// The source line of a slot.
    pub fn line_at(&self, pc: u32) -> Option<&Line> {
        self.lines.get(self.lines.partition_point(|line| line.pc <= pc).checked_sub(1)?)
    }
}
