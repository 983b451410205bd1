//! `ProgramTracer`: fentry and fexit of emulated programs: programs that run where a function of another one begins or ends.
//!
//! It is a probe of the traced process, and so needs the interpreter. Tracing programs get the function's arguments, by its prototype in the
//! traced program's BTF; a pointer to the context becomes one to the kernel's structure behind it (`struct xdp_buff`), as in the kernel.

use super::func_model::FuncModel;
use super::{Arg, TracingContext};
use crate::Linux;
use mimic_abi::AttachType;
use mimic_abi::btf::{Btf, Kind, TypeId};
use mimic_vm::{At, Context, Flow, LoadedProgram, Outcome, Probe, Process, RunError, Vm};
use std::sync::Arc;

/// Tracing programs around the functions of a program.
pub struct ProgramTracer {
    vm: Arc<Vm>,
    hooks: Vec<Hook>,
    /// Functions that have begun and whose end somebody waits for, innermost last.
    active: Vec<Active>,
    depth: Option<usize>,
    error: Option<RunError>,
}

struct Hook {
    func: String,
    exit: bool,
    process: Process,
}

struct Active {
    depth: usize,
    func: String,
    args: Vec<u64>,
}

/// Why a program cannot trace another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracerError(pub String);

impl core::fmt::Display for TracerError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TracerError {}

impl ProgramTracer {
    /// Programs that trace `target`: each at the function that its section names (`fexit/FUNC`).
    ///
    /// The error is what the kernel refuses: a program that does not trace, a function that is not there or has no types, a target that traces
    /// functions of programs itself.
    pub fn new(
        vm: &Arc<Vm>,
        target: &LoadedProgram,
        tracers: Vec<Process>,
    ) -> Result<ProgramTracer, TracerError> {
        let linked = target.linked();
        let mut hooks = Vec::new();
        for process in tracers {
            let tracer = process.program().linked();
            let exit = match tracer.attach_type {
                Some(AttachType::TraceFentry) => false,
                Some(AttachType::TraceFexit) => true,
                _ => return Err(TracerError(format!("{} is no fentry or fexit program", tracer.name))),
            };
            let func = tracer.attach_to.clone().unwrap_or_default();
            let known = linked.funcs.iter().find(|known| known.name == func);
            let known = known
                .ok_or_else(|| TracerError(format!("program {} has no function {func}", linked.name)))?;
            let proto = linked.btf.as_deref().and_then(|btf| proto_of(btf, known.type_id));
            if proto.is_none() {
                return Err(TracerError(format!("function {func} has no types: compile with -g")));
            }
            hooks.push(Hook { func, exit, process });
        }
        Ok(ProgramTracer { vm: vm.clone(), hooks, active: Vec::new(), depth: None, error: None })
    }

    /// Runs a program on a context with the tracers around its functions.
    pub fn run(&mut self, process: &mut Process, context: &mut dyn Context) -> Result<Outcome, RunError> {
        self.active.clear();
        (self.depth, self.error) = (None, None);
        let end = process.run_probed(context, self);
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let Some(outcome) = end? else { unreachable!("only a tracer's fault stops it") };
        while let Some(active) = self.active.pop() {
            self.ended(&active, outcome.r0)?;
        }
        Ok(outcome)
    }

    /// The tracing processes, in the order that they were given in.
    pub fn into_processes(self) -> Vec<Process> {
        self.hooks.into_iter().map(|hook| hook.process).collect()
    }

    /// A function begins.
    fn begun(&mut self, at: &At<'_>) -> Result<(), RunError> {
        let Some(name) = at.program.linked().funcs.iter().find(|func| func.pc == at.pc) else {
            return Ok(());
        };
        if !self.hooks.iter().any(|hook| hook.func == name.name) {
            return Ok(());
        }
        let args = args_of(&self.vm, at, name.type_id);
        for hook in self.hooks.iter_mut().filter(|hook| hook.func == name.name && !hook.exit) {
            hook.process.run(&mut TracingContext::entry(args.iter().map(|arg| Arg::Number(*arg))))?;
        }
        self.active.push(Active { depth: at.depth, func: name.name.clone(), args });
        Ok(())
    }

    fn ended(&mut self, active: &Active, ret: u64) -> Result<(), RunError> {
        for hook in self.hooks.iter_mut().filter(|hook| hook.func == active.func && hook.exit) {
            let args = active.args.iter().map(|arg| Arg::Number(*arg));
            hook.process.run(&mut TracingContext::exit(args, ret))?;
        }
        Ok(())
    }

    fn step(&mut self, at: &At<'_>) -> Result<(), RunError> {
        while let Some(active) = self.active.pop_if(|active| active.depth > at.depth) {
            self.ended(&active, at.regs[0])?;
        }
        let deeper = self.depth.is_none_or(|depth| at.depth > depth);
        self.depth = Some(at.depth);
        if deeper { self.begun(at) } else { Ok(()) }
    }
}

impl Probe for ProgramTracer {
    fn insn(&mut self, at: &At<'_>) -> Flow {
        match self.step(at) {
            Ok(()) => Flow::Go,
            Err(error) => {
                self.error = Some(error);
                Flow::Stop
            }
        }
    }
}

/// The prototype of a `FUNC`.
fn proto_of(btf: &Btf, func: u32) -> Option<FuncModel> {
    let func = btf.ty(TypeId(func))?;
    let Kind::Func(kind) = func.kind else { return None };
    FuncModel::of_proto(btf, func.name(), kind.proto, 0).ok()
}

/// The arguments of a function that begins; a context as the kernel's structure behind it, where there is one.
fn args_of(vm: &Vm, at: &At<'_>, func: u32) -> Vec<u64> {
    const REGS_MAX: usize = 5;
    let linked = at.program.linked();
    let Some(model) = linked.btf.as_deref().and_then(|btf| proto_of(btf, func)) else { return Vec::new() };
    let regs = at.regs[1..=REGS_MAX].iter();
    let mut args: Vec<u64> = regs.zip(&model.params).map(|(reg, param)| param.narrow(*reg)).collect();
    let context = linked.btf.as_deref().is_some_and(|btf| points_at_context(btf, func));
    if let (Some(first), Some(prog_type), true) = (args.first_mut(), linked.prog_type, context)
        && let Some(linux) = vm.emulator_as::<Linux>()
    {
        *first = linux.kern_ctx(at.view, prog_type, *first, &[]).unwrap_or(*first);
    }
    args
}

/// Whether a function's first parameter is a pointer to a context of programs.
fn points_at_context(btf: &Btf, func: u32) -> bool {
    const CONTEXTS: [&str; 4] = ["xdp_md", "__sk_buff", "bpf_sock_addr", "bpf_sockopt"];
    let name = || {
        let Kind::Func(kind) = btf.ty(TypeId(func))?.kind else { return None };
        let Kind::FuncProto(proto) = btf.ty(kind.proto)?.kind else { return None };
        let Kind::Ptr(to) = btf.resolve(proto.params.iter().next()?.ty)?.kind else { return None };
        Some(btf.resolve(to)?.name())
    };
    name().is_some_and(|name| CONTEXTS.contains(&name))
}
