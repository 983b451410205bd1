//! From the bytes of an eBPF object file to linked programs and map specs; deterministic and host-independent.
//!
//! [`Object::parse`] reads the file: programs, maps, externs, types, with *all* that is wrong in it. [`Object::link`] makes one program of
//! a function and all that it reaches, for a [`Target`]: a kernel as a value, never the host. What is left for whoever loads the program
//! are its [`Ref`]s, maps and kernel symbols above all.
//!
//! ```no_run
//! use mimic_object::{Object, Target};
//!
//! let object = Object::parse(&std::fs::read("prog.o")?)?;
//! for program in &object.programs {
//!     let linked = object.link_spec(program, &Target::default())?;
//!     println!("{}: {} instructions", linked.name, linked.code.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **No byte string panics it, hangs it, or makes it allocate beyond [`limits`].**
#![forbid(unsafe_code)]

mod btf_info;
mod btf_maps;
mod code;
mod compare;
mod core_relo;
mod core_spec;
mod elf;
mod error;
mod extend;
mod externs;
mod fields;
mod guess;
mod legacy_maps;
pub mod limits;
mod link;
mod map;
mod map_table;
mod object;
mod program;
mod sec_def;
mod struct_ops;
mod target;
mod types;

pub use core_relo::POISON_HELPER;
pub use error::{LoadError, LoadErrors};
pub use extend::ExtendError;
pub use externs::{Extern, ExternKind, KconfigKind, POISON_KFUNC_BASE};
pub use fields::{FIELDS_MAX, FieldKind, MapField, special_fields};
pub use map::{Contents, Init, MapOrigin, MapSpec, Slot};
pub use object::Object;
pub use program::{Func, Line, Program, ProgramSpec, Ref, RefTarget};
pub use sec_def::SecDef;
pub use struct_ops::{StructOps, StructOpsFunc};
pub use target::Target;
