//! Extensions (`SEC("freplace/…")`): a program takes the place of a global function of another program.
//!
//! The kernel patches the function's first instruction; here a new program is put together in which all that referred to the function
//! refers to the extension. Which functions may be replaced by which, by their types, is the kernel's rule; Documentation/bpf/btf.rst and the
//! selftests fexit_bpf2bpf tell it. What an extension's code refers to by local type ids (`bpf_obj_new`) stays its own: see
//! [`Program::replace_func`].

use crate::code::{CALL, PSEUDO_CALL};
use crate::limits::MAX_PROGRAM_SLOTS;
use crate::program::{Func, Line, Program, Ref, RefTarget};
use mimic_abi::btf::{Btf, FuncProto, Kind, Linkage, Type, TypeId};
use mimic_abi::{ProgType, RawInsn};
use std::fmt;
use std::sync::Arc;

/// Why a function cannot be replaced: what the kernel refuses with `EINVAL`, or what is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendError {
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ExtendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ExtendError {}

fn refuse<T>(what: impl Into<String>) -> Result<T, ExtendError> {
    Err(ExtendError { what: what.into() })
}

impl Program {
    /// The program with `with` in the place of its function `func`.
    ///
    /// Maps of the result are those of this program, and then, from index `maps` on, those of the extension.
    ///
    /// # Errors
    /// The function is not there, is not global, has another prototype; either is an extension or traces functions; either allocates objects by
    /// types of its own and they are of different objects.
    pub fn replace_func(&self, func: &str, with: &Program, maps: usize) -> Result<Program, ExtendError> {
        let Some(at) = self.funcs.iter().position(|known| known.name == func) else {
            let names: Vec<&str> = self.funcs.iter().map(|func| func.name.as_str()).collect();
            return refuse(format!(
                "program {} has no function {func}; it has {}",
                self.name,
                names.join(", ")
            ));
        };
        self.check_replacement(&self.funcs[at], with)?;
        if self.code.len() + with.code.len() > MAX_PROGRAM_SLOTS {
            return refuse(format!("more than {MAX_PROGRAM_SLOTS} instructions together"));
        }
        // The main function of the result comes first.
        if at == 0 {
            return Ok(self.replaced_whole(with, maps));
        }
        let mut program = self.clone();
        let start = program.append(with, maps);
        program.refer_to(self.funcs[at].pc, start);
        Ok(program)
    }

    /// What the kernel's verifier asks of an extension.
    fn check_replacement(&self, func: &Func, with: &Program) -> Result<(), ExtendError> {
        if with.prog_type != Some(ProgType::Ext) {
            return refuse(format!("program {} is no extension (SEC(\"freplace\"))", with.name));
        }
        if self.prog_type == Some(ProgType::Ext) {
            return refuse("an extension cannot be extended");
        }
        if self.prog_type == Some(ProgType::Tracing) && self.attach_to.is_some() && is_fentry(self) {
            return refuse("programs at a function's beginning or end cannot be extended");
        }
        let (Some(old), Some(new)) = (&self.btf, &with.btf) else {
            return refuse("functions are replaced by their types: both objects need BTF");
        };
        let new_func = with.funcs.first();
        let types = (func_type(old, func), new_func.and_then(|func| func_type(new, func)));
        let (Some(old_func), Some(new_func)) = types else {
            return refuse(format!("{} and {} need types: compile with -g", func.name, with.name));
        };
        if !Arc::ptr_eq(old, new) && old.bytes() != new.bytes() && (allocates(self) || allocates(with)) {
            return refuse("programs that allocate objects of their own types must be of one object");
        }
        same_prototype((new, new_func), (old, old_func))
    }

    /// The extension, as what it replaces: the whole program.
    fn replaced_whole(&self, with: &Program, maps: usize) -> Program {
        let mut program = with.clone();
        shift_maps(&mut program.refs, maps);
        program.name.clone_from(&self.name);
        program.section.clone_from(&self.section);
        program.attach_to.clone_from(&self.attach_to);
        (program.prog_type, program.attach_type) = (self.prog_type, self.attach_type);
        (program.attach_btf_id, program.prog_flags) = (self.attach_btf_id, self.prog_flags);
        program.sleepable = self.sleepable;
        program
    }

    /// Appends another program's code; answers where it begins.
    fn append(&mut self, with: &Program, maps: usize) -> u32 {
        let start = self.code.len() as u32;
        self.code.extend_from_slice(&with.code);
        self.funcs.extend(with.funcs.iter().map(|func| Func { pc: func.pc + start, ..func.clone() }));
        self.lines.extend(with.lines.iter().map(|line| Line { pc: line.pc + start, ..line.clone() }));
        let mut refs = with.refs.clone();
        shift_maps(&mut refs, maps);
        for reference in &mut refs {
            reference.pc += start;
            if let RefTarget::Func(pc) = &mut reference.target {
                *pc += start;
            }
        }
        self.refs.extend(refs);
        start
    }

    /// Everything that refers to the function at `old` refers to the one at `new`.
    fn refer_to(&mut self, old: u32, new: u32) {
        let from = |pc: usize, imm: i32| (pc as i64 + 1 + i64::from(imm)) as u32;
        for pc in 0..self.code.len() {
            let insn: &mut RawInsn = &mut self.code[pc];
            if insn.opcode == CALL && insn.src == PSEUDO_CALL && from(pc, insn.imm) == old {
                insn.imm = (i64::from(new) - pc as i64 - 1) as i32;
            }
        }
        for reference in &mut self.refs {
            if reference.target == RefTarget::Func(old) {
                reference.target = RefTarget::Func(new);
                if let Some(insn) = self.code.get_mut(reference.pc as usize) {
                    insn.imm = (i64::from(new) - i64::from(reference.pc) - 1) as i32;
                }
            }
        }
        if self.exception_callback == Some(old) {
            self.exception_callback = Some(new);
        }
    }
}

fn is_fentry(program: &Program) -> bool {
    use mimic_abi::AttachType::{TraceFentry, TraceFexit};
    matches!(program.attach_type, Some(TraceFentry | TraceFexit))
}

/// Whether a program refers to types of its own object by id when it runs.
fn allocates(program: &Program) -> bool {
    const BY_TYPE: [&str; 2] = ["bpf_obj_new_impl", "bpf_percpu_obj_new_impl"];
    let kfunc = |reference: &Ref| match &reference.target {
        RefTarget::Kfunc { name, .. } => BY_TYPE.contains(&name.as_str()),
        _ => false,
    };
    program.refs.iter().any(kfunc)
}

fn shift_maps(refs: &mut [Ref], by: usize) {
    for reference in refs {
        if let RefTarget::Map(map) | RefTarget::MapValue { map, .. } = &mut reference.target {
            *map += by;
        }
    }
}

/// A function's `FUNC`.
fn func_type<'a>(btf: &'a Btf, func: &Func) -> Option<Type<'a>> {
    btf.ty(TypeId(func.type_id)).filter(|ty| matches!(ty.kind, Kind::Func(_)))
}

/// Whether a function may replace another: both global, with the same parameters and return type, as far as the kernel looks.
fn same_prototype(
    (new, new_func): (&Btf, Type<'_>),
    (old, old_func): (&Btf, Type<'_>),
) -> Result<(), ExtendError> {
    let (new_name, old_name) = (new_func.name(), old_func.name());
    let (Some(new_proto), Some(old_proto)) = (proto(new, new_func)?, proto(old, old_func)?) else {
        return refuse(format!("{new_name} or {old_name} has no prototype"));
    };
    let (new_len, old_len) = (new_proto.params.len(), old_proto.params.len());
    if new_len != old_len {
        return refuse(format!("{new_name} has {new_len} arguments, {old_name} {old_len}"));
    }
    if !same_shape(new, new_proto.ret, old, old_proto.ret) {
        return refuse(format!("{new_name} and {old_name} return different types"));
    }
    for (at, (new_param, old_param)) in new_proto.params.iter().zip(old_proto.params.iter()).enumerate() {
        let at = at + 1;
        let sized = new.size_of(new_param.ty) == old.size_of(old_param.ty);
        if !same_shape(new, new_param.ty, old, old_param.ty) || !sized {
            return refuse(format!("argument {at} of {new_name} is of another type than that of {old_name}"));
        }
        let pointees = (pointee(new, new_param.ty), pointee(old, old_param.ty));
        match pointees {
            (None, _) | (_, None) => {}
            (Some(new_struct), Some(old_struct)) if new_struct == old_struct => {}
            (Some(new_struct), Some(old_struct)) => {
                let what = format!(
                    "argument {at} of {new_name} points at struct {new_struct}, that of {old_name} at struct {old_struct}"
                );
                return refuse(what);
            }
        }
    }
    Ok(())
}

fn proto<'a>(btf: &'a Btf, func: Type<'a>) -> Result<Option<FuncProto<'a>>, ExtendError> {
    let Kind::Func(kind) = func.kind else { return Ok(None) };
    if kind.linkage != Linkage::Global {
        return refuse(format!("{} is not a global function", func.name()));
    }
    match btf.ty(kind.proto).map(|ty| ty.kind) {
        Some(Kind::FuncProto(proto)) => Ok(Some(proto)),
        _ => Ok(None),
    }
}

/// Whether two types are of the same kind, with the same number of members.
fn same_shape(a: &Btf, a_ty: TypeId, b: &Btf, b_ty: TypeId) -> bool {
    let (Some(a), Some(b)) = (a.resolve(a_ty), b.resolve(b_ty)) else { return false };
    let members = |kind: &Kind<'_>| match kind {
        Kind::Struct(composite) | Kind::Union(composite) => composite.members.len(),
        Kind::Enum(values) | Kind::Enum64(values) => values.values.len(),
        _ => 0,
    };
    core::mem::discriminant(&a.kind) == core::mem::discriminant(&b.kind)
        && members(&a.kind) == members(&b.kind)
}

/// The name of the structure that a pointer points at; empty if it is to something else; none if it is no pointer.
fn pointee(btf: &Btf, ty: TypeId) -> Option<&str> {
    let Kind::Ptr(to) = btf.resolve(ty)?.kind else { return None };
    match btf.resolve(to) {
        Some(ty) if matches!(ty.kind, Kind::Struct(_)) => Some(ty.name()),
        _ => Some(""),
    }
}
