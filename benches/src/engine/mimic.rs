//! mimic's own engines, entered as timers enter a program: memory, context and process are made once.

use super::{Function, on_inputs};
use crate::options::Options;
use crate::program::Program;
use mimic::linux::Linux;
use mimic::object::{Object, Program as Linked, Target};
use mimic::vm::memory::{Access, Layout, Region};
use mimic::vm::{Checks, Engine, Entry, FuncRef, RawContext, Vm, VmBuilder};

struct Mimic {
    entry: Entry<'static>,
    memory: Region,
}

/// The interpreter.
pub(crate) fn interp(program: &Program, _options: &Options) -> Result<Box<dyn super::Engine>, String> {
    load(program, Vm::builder(Linux::default()).engine(Engine::Interp))
}

/// The JIT compiler with the cage as its check.
pub(crate) fn jit(program: &Program, _options: &Options) -> Result<Box<dyn super::Engine>, String> {
    load(program, Vm::builder(Linux::default()).engine(Engine::Jit).checks(Checks::Cage))
}

/// The JIT compiler with the interpreter's checks.
pub(crate) fn jit_precise(program: &Program, _options: &Options) -> Result<Box<dyn super::Engine>, String> {
    load(program, Vm::builder(Linux::default()).engine(Engine::Jit).checks(Checks::Precise))
}

/// The program of an object of `benches/programs`.
pub(crate) fn link(object: &[u8]) -> Result<(Object, Target, Linked), String> {
    let object = Object::parse(object).map_err(|error| error.to_string())?;
    let target = Target { btf: object.btf.clone(), ..Target::default() };
    let spec = object.programs.first().ok_or("the object has no program")?;
    let linked = object.link_spec(spec, &target).map_err(|error| error.to_string())?;
    Ok((object, target, linked))
}

fn load(program: &Program, builder: VmBuilder) -> Result<Box<dyn super::Engine>, String> {
    let vm = builder.build().map_err(|error| error.to_string())?;
    let (_, _, linked) = link(program.object)?;
    let loaded = vm.add(linked, &[]).map_err(|error| error.to_string())?;
    // Engines live as long as the benchmarks.
    let process = Box::leak(Box::new(vm.process(&loaded, 0).map_err(|error| error.to_string())?));
    let layout = Layout::Bytes(Access::ReadWrite);
    let len = program.memory.len() as u32;
    let memory = vm.memory().allocate("input", len, layout).map_err(|error| error.to_string())?;
    memory.write(0, &program.memory);
    let context = Box::leak(Box::new(RawContext::default()));
    let entry = process.entry(&FuncRef { program: loaded, pc: 0 }, context);
    Ok(on_inputs(Mimic { entry, memory }, program))
}

impl Function for Mimic {
    #[inline(always)]
    fn call(&mut self, off: u32, len: u32) -> Result<u64, String> {
        let args = [self.memory.base() + u64::from(off), u64::from(len), 0, 0, 0];
        self.entry.call(args).map_err(|fault| fault.to_string())
    }
}
