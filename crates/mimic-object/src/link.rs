//! Linking: a program's main function and the functions that it reaches become one piece of code.
//!
//! In libbpf's order, depth first: a function is appended where it is first referred to, and what it refers to comes
//! before what its caller refers to later. Calls between functions are resolved; CO-RE is applied; maps, kernel symbols
//! and kernel functions are left as [`crate::Ref`]s.

use mimic_abi::RawInsn;

use crate::code::{CALL, CodeTarget, FuncSpan, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL};
use crate::core_relo::CoreLinker;
use crate::error::{LoadError, LoadErrors};
use crate::externs::Resolution;
use crate::limits::MAX_PROGRAM_SLOTS;
use crate::object::Object;
use crate::program::{Func, Program, ProgramSpec, Ref, RefTarget};
use crate::target::Target;
use crate::types::Types;

impl Object {
    /// Links the program of this name for a target.
    ///
    /// # Errors
    /// Everything that keeps the program from being linked: functions that are nowhere, strong externs that the target
    /// does not have, CO-RE records that make no sense. What libbpf only poisons (an access that CO-RE finds no field
    /// for) is no error here either: the instruction becomes a call of an invalid helper.
    pub fn link(&self, program: &str, target: &Target) -> Result<Program, LoadErrors> {
        match self.programs.iter().find(|spec| spec.name == program) {
            Some(spec) => self.link_spec(spec, target),
            None => {
                let names: Vec<&str> = self.programs.iter().map(|spec| spec.name.as_str()).collect();
                let message = match names.len() {
                    0 => format!("no program '{program}': the object has none"),
                    _ => format!("no program '{program}'; there are: {}", names.join(", ")),
                };
                Err(LoadError::new(message).into())
            }
        }
    }

    /// Links a program of [`Object::programs`] for a target, see [`Object::link`].
    ///
    /// # Errors
    /// As [`Object::link`].
    pub fn link_spec(&self, spec: &ProgramSpec, target: &Target) -> Result<Program, LoadErrors> {
        let mut linker = Linker::new(self, target, spec);
        linker.place(spec.func);
        linker.run();
        let exception_callback = self.exception_callback(spec, &mut linker.errors).and_then(|func| {
            linker.place(func);
            linker.run();
            linker.placed_at(func)
        });
        linker.finish(spec, exception_callback)
    }
}

/// A program while it is put together.
struct Linker<'a> {
    object: &'a Object,
    target: &'a Target,
    spec: &'a ProgramSpec,
    /// Where each function is in `code`, by index in `Code::funcs`, in the order of their placing.
    order: Vec<(usize, u32)>,
    placed: hashbrown::HashMap<usize, u32>,
    /// Functions to go on with: the index, and the next slot in its section. Depth first, without the host's stack.
    work: Vec<(usize, u32)>,
    code: Vec<RawInsn>,
    refs: Vec<Ref>,
    errors: LoadErrors,
    /// None without BTF, and so without records.
    core: Option<CoreLinker<'a>>,
}

impl<'a> Linker<'a> {
    fn new(object: &'a Object, target: &'a Target, spec: &'a ProgramSpec) -> Linker<'a> {
        Linker {
            object,
            target,
            spec,
            order: Vec::new(),
            placed: hashbrown::HashMap::new(),
            work: Vec::new(),
            code: Vec::new(),
            refs: Vec::new(),
            errors: LoadErrors::default(),
            core: object.btf.as_deref().map(|btf| {
                let own = target.btf.is_some() && object.kernel_btf(target).is_none();
                CoreLinker::new(Types(btf), target.btf.as_deref().map(Types), own, object.byte_order)
            }),
        }
    }

    /// Appends a function's code, with CO-RE applied; its references wait on `work`.
    fn place(&mut self, func: usize) {
        let object = self.object;
        let Some(span) = object.code.funcs.get(func) else { return };
        if self.placed.contains_key(&func) {
            return;
        }
        let Some(section) = object.code.sections.get(span.section) else { return };
        let insns = section.insns.get(span.start as usize..span.end as usize).unwrap_or_default();
        if self.code.len() + insns.len() > MAX_PROGRAM_SLOTS {
            let message = format!("more than {MAX_PROGRAM_SLOTS} instructions with all that it calls");
            return self.errors.push(self.error(span, span.start, message));
        }
        let pc = self.code.len();
        self.code.extend_from_slice(insns);
        self.placed.insert(func, pc as u32);
        self.order.push((func, pc as u32));
        self.work.push((func, span.start));
        self.apply_core(span, pc);
    }

    /// Applies the CO-RE records of a function that was placed at `at`.
    fn apply_core(&mut self, span: &FuncSpan, at: usize) {
        let Some(core) = &mut self.core else { return };
        for relo in self.object.info.core_of(span) {
            let insns = self.code.get_mut(at + (relo.pc - span.start) as usize..).unwrap_or_default();
            if let Err(message) = core.apply(relo, insns) {
                let message = format!("CO-RE: {message}");
                let error = error(self.object, span, relo.pc, message);
                self.errors.push(error);
            }
        }
    }

    /// Resolves the references of all functions that are placed, placing more on the way.
    fn run(&mut self) {
        while let Some((func, mut pc)) = self.work.pop() {
            let (Some(span), Some(base)) = (self.object.code.funcs.get(func), self.placed_at(func)) else {
                continue;
            };
            while pc < span.end {
                let at = (base + (pc - span.start)) as usize;
                let wide = self.code.get(at).is_some_and(|insn| insn.opcode == LD_IMM64);
                let placed = self.code.len();
                let callee = self.resolve(span, pc, at);
                pc += if wide { 2 } else { 1 };
                if callee.is_some() && self.code.len() != placed {
                    // What was just appended comes first; this function goes on afterwards.
                    let new = self.work.pop();
                    self.work.push((func, pc));
                    self.work.extend(new);
                    break;
                }
            }
        }
    }

    /// Resolves the reference of one instruction, if it has any; answers a function that it refers to.
    fn resolve(&mut self, span: &FuncSpan, pc: u32, at: usize) -> Option<usize> {
        let insn = *self.code.get(at)?;
        if !matches!(insn.opcode, LD_IMM64 | CALL) {
            return None;
        }
        let section = self.object.code.sections.get(span.section)?;
        let Some(reloc) = section.reloc_at(pc) else {
            return match insn.opcode == CALL && insn.src == PSEUDO_CALL {
                true => self.refer_func(
                    span,
                    pc,
                    at,
                    span.section,
                    pc.checked_add_signed(insn.imm.wrapping_add(1)),
                ),
                false => None,
            };
        };
        // CO-RE has poisoned it.
        if insn.opcode != section.insns.get(pc as usize)?.opcode {
            return None;
        }
        match &reloc.target {
            CodeTarget::Func { section, pc: to } => {
                return self.refer_func(span, pc, at, *section, Some(*to));
            }
            CodeTarget::Map(map) => self.refer(at, RefTarget::Map(*map)),
            CodeTarget::MapValue { map, off } => self.refer(at, RefTarget::MapValue { map: *map, off: *off }),
            CodeTarget::Extern(index) => self.refer_extern(span, pc, at, *index),
            CodeTarget::Bad(message) => self.errors.push(self.error(span, pc, message.clone())),
        }
        None
    }

    /// A call of, or a pointer to, the function at slot `to` of a section.
    fn refer_func(
        &mut self,
        span: &FuncSpan,
        pc: u32,
        at: usize,
        section: usize,
        to: Option<u32>,
    ) -> Option<usize> {
        let func = to.and_then(|to| self.object.code.func_at(section, to));
        let Some((func, to)) = func.zip(to) else {
            self.errors.push(self.error(span, pc, "refers to a function beyond its section".to_owned()));
            return None;
        };
        self.place(func);
        let start = self.object.code.funcs.get(func)?.start;
        let there = self.placed_at(func)? + (to - start);
        let insn = self.code.get_mut(at)?;
        insn.imm = (there as i32).wrapping_sub(at as i32).wrapping_sub(1);
        if insn.opcode == LD_IMM64 {
            insn.src = PSEUDO_FUNC;
            self.refs.push(Ref { pc: at as u32, target: RefTarget::Func(there) });
        } else {
            insn.src = PSEUDO_CALL;
        }
        Some(func)
    }

    fn refer_extern(&mut self, span: &FuncSpan, pc: u32, at: usize, index: usize) {
        let is_call = self.code.get(at).is_some_and(|insn| insn.opcode == CALL);
        match self.object.resolve_extern(index, is_call, self.target) {
            Ok(Resolution::Ref(target)) => self.refer(at, target),
            Ok(Resolution::Zero) => self.zero(at),
            Ok(Resolution::Poison(helper)) => {
                if let Some(insn) = self.code.get_mut(at) {
                    *insn = RawInsn { opcode: CALL, imm: helper, ..RawInsn::default() };
                }
            }
            Err(message) => self.errors.push(self.error(span, pc, message)),
        }
    }

    /// Leaves the instruction in its neutral form and notes what it refers to.
    fn refer(&mut self, at: usize, target: RefTarget) {
        self.zero(at);
        if let Some(insn) = self.code.get_mut(at).filter(|insn| insn.opcode == CALL) {
            insn.src = PSEUDO_KFUNC_CALL;
        }
        self.refs.push(Ref { pc: at as u32, target });
    }

    fn zero(&mut self, at: usize) {
        let Some([first, rest @ ..]) = self.code.get_mut(at..) else { return };
        (first.src, first.imm) = (0, 0);
        if first.opcode == LD_IMM64
            && let Some(second) = rest.first_mut()
        {
            second.imm = 0;
        }
    }

    fn placed_at(&self, func: usize) -> Option<u32> {
        self.placed.get(&func).copied()
    }

    fn error(&self, span: &FuncSpan, pc: u32, message: String) -> LoadError {
        error(self.object, span, pc, message)
    }

    fn finish(mut self, spec: &ProgramSpec, exception_callback: Option<u32>) -> Result<Program, LoadErrors> {
        self.refs.sort_by_key(|reference| reference.pc);
        let funcs: Vec<Func> =
            self.order.iter().map(|(func, pc)| self.object.linked_func(*func, *pc)).collect();
        let lines = self.object.linked_lines(&self.order);
        let (attach_to, attach_btf_id) = self.object.attach_point(spec, self.target);
        let program = Program {
            name: self.spec.name.clone(),
            section: spec.section.clone(),
            prog_type: spec.sec.prog_type,
            attach_type: spec.sec.attach_type,
            attach_to,
            attach_btf_id,
            sleepable: spec.sec.sleepable,
            prog_flags: spec.sec.prog_flags(),
            byte_order: self.object.byte_order,
            license: self.object.license.clone().unwrap_or_default(),
            code: self.code,
            funcs,
            lines,
            refs: self.refs,
            exception_callback,
            btf: self.object.btf.clone(),
        };
        self.errors.or(program)
    }
}

/// An error at a slot of a section.
fn error(object: &Object, span: &FuncSpan, pc: u32, message: String) -> LoadError {
    let section = object.code.sections.get(span.section).map(|section| section.name.as_str());
    LoadError::new(message)
        .in_section(section.unwrap_or_default())
        .at_symbol(&span.name)
        .at(u64::from(pc) * 8)
}
