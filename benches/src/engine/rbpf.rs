//! rbpf: its interpreter, its JIT compiler and its Cranelift back end.
//!
//! Only the interpreter and the Cranelift back end check accesses; none counts instructions.

use super::{Engine, Function, on_inputs};
use crate::options::Options;
use crate::program::Program;
use mimic::abi::ByteOrder;
use rbpf::EbpfVmRaw;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Clone, Copy, PartialEq)]
enum How {
    Interp,
    Jit,
    Cranelift,
}

struct Rbpf {
    vm: EbpfVmRaw<'static>,
    how: How,
    memory: Vec<u8>,
}

/// The interpreter.
pub(crate) fn interp(program: &Program, _options: &Options) -> Result<Box<dyn Engine>, String> {
    load(program, How::Interp)
}

/// The JIT compiler.
pub(crate) fn jit(program: &Program, _options: &Options) -> Result<Box<dyn Engine>, String> {
    load(program, How::Jit)
}

/// The Cranelift back end.
pub(crate) fn cranelift(program: &Program, _options: &Options) -> Result<Box<dyn Engine>, String> {
    load(program, How::Cranelift)
}

fn load(program: &Program, how: How) -> Result<Box<dyn Engine>, String> {
    let (_, _, linked) = super::mimic::link(program.object)?;
    let code: Vec<u8> = linked.code.iter().flat_map(|slot| slot.to_bytes(ByteOrder::Little)).collect();
    // The machine borrows its program, and both live as long as this process.
    let code: &'static [u8] = code.leak();
    let mut vm = EbpfVmRaw::new(Some(code)).map_err(|error| error.to_string())?;
    // Programs that exceed its code buffer make its compiler panic.
    let compiled = quietly(|| match how {
        How::Interp => Ok(()),
        How::Jit => vm.jit_compile(),
        How::Cranelift => vm.cranelift_compile(),
    });
    compiled.ok_or("its compiler panics")?.map_err(|error| error.to_string())?;
    Ok(on_inputs(Rbpf { vm, how, memory: program.memory.clone() }, program))
}

/// Runs `what`; none if it panicked, which is not shown.
fn quietly<T>(what: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(what));
    std::panic::set_hook(hook);
    result.ok()
}

impl Function for Rbpf {
    #[inline(always)]
    fn call(&mut self, off: u32, len: u32) -> Result<u64, String> {
        let input = &mut self.memory[off as usize..][..len as usize];
        let result = match self.how {
            How::Interp => self.vm.execute_program(input),
            // SAFETY: compiled from a program that stays within the bytes it is given, as its results with other engines show.
            How::Jit => unsafe { self.vm.execute_program_jit(input) },
            How::Cranelift => self.vm.execute_program_cranelift(input),
        };
        result.map_err(|error| error.to_string())
    }
}
