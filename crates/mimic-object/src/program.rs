//! `Program`: a linked program: its code with all subprograms, and what its references need from whoever loads it.

use mimic_abi::{AttachType, ByteOrder, ProgType, RawInsn};

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
    /// Set for programs that may sleep (`.s` sections).
    pub sleepable: bool,
    /// The byte order of the object.
    pub byte_order: ByteOrder,
    /// The licence.
    pub license: String,
    /// The main function, then the subprograms it reaches; calls between them are resolved.
    pub code: Vec<RawInsn>,
    /// The functions in `code` by rising pc; the first is the main one.
    pub funcs: Vec<Func>,
    /// Source lines by rising pc.
    pub lines: Vec<Line>,
    /// Instructions that need an address or a function from whoever loads the program, by rising pc. Their immediates are 0.
    pub refs: Vec<Ref>,
    /// The slot of the function that `__exception_cb` names.
    pub exception_callback: Option<u32>,
}

impl Program {
    /// A program of bare instructions that refers to nothing outside itself.
    pub fn from_code(name: &str, code: Vec<RawInsn>, byte_order: ByteOrder) -> Program {
        Program {
            name: name.into(),
            section: String::new(),
            prog_type: None,
            attach_type: None,
            sleepable: false,
            byte_order,
            license: String::new(),
            code,
            funcs: Vec::new(),
            lines: Vec::new(),
            refs: Vec::new(),
            exception_callback: None,
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
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 if unknown.
    pub column: u32,
    /// The line's text; may be empty.
    pub text: String,
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
        /// The BTF id of its type; 0 for typeless ones.
        type_id: u32,
    },
    /// `call`: a kernel function.
    Kfunc {
        /// The name.
        name: String,
        /// May be missing; calling it then is an error when it happens.
        weak: bool,
    },
}
