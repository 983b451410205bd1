//! rbpf: its interpreter, its JIT compiler and its Cranelift back end.
//!
//! Only the interpreter and the Cranelift back end check accesses; none counts instructions.

use super::{Engine, Function, on_inputs};
use crate::options::Options;
use crate::program::Program;
use mimic::abi::asm::assemble;
use mimic::abi::{ByteOrder, RawInsn};
use rbpf::EbpfVmRaw;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What inputs begin at multiples of, in bytes.
const UNIT: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum How {
    Interp,
    Jit,
    Cranelift,
}

struct Rbpf {
    vm: EbpfVmRaw<'static>,
    how: How,
    /// For each 64 bytes of the program's memory, the input that begins there, after its length.
    inputs: Vec<Vec<u8>>,
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
    // It sets r1 only, so the length lies before the bytes.
    let mut code =
        assemble("r2 = *(u64 *)(r1 + 0); r1 += 8", &()).map_err(|error| format!("{error:?}"))?.slots;
    code.extend(linked.code);
    let code: Vec<u8> = code.iter().flat_map(|slot| slot.to_bytes(ByteOrder::Little)).collect();
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
    let mut inputs = vec![Vec::new(); program.memory.len().div_ceil(UNIT)];
    for &(off, len) in &program.inputs {
        let bytes = &program.memory[off as usize..][..len as usize];
        inputs[off as usize / UNIT] = [&u64::from(len).to_le_bytes(), bytes].concat();
    }
    Ok(on_inputs(Rbpf { vm, how, inputs }, program))
}

/// Its interpreter on a program of bare instructions, for the mixes.
pub(crate) fn task(code: &[RawInsn], packet: &[u8]) -> Result<Box<dyn FnMut()>, String> {
    let code: Vec<u8> = code.iter().flat_map(|slot| slot.to_bytes(ByteOrder::Little)).collect();
    let vm = EbpfVmRaw::new(Some(code.leak())).map_err(|error| error.to_string())?;
    let mut packet = packet.to_vec();
    Ok(Box::new(move || {
        std::hint::black_box(vm.execute_program(&mut packet).expect("it runs"));
    }))
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
    fn call(&mut self, off: u32, _len: u32) -> Result<u64, String> {
        let input = &mut self.inputs[off as usize / UNIT][..];
        let result = match self.how {
            How::Interp => self.vm.execute_program(input),
            // SAFETY: compiled from a program that stays within the bytes it is given, as its results with other engines show.
            How::Jit => unsafe { self.vm.execute_program_jit(input) },
            How::Cranelift => self.vm.execute_program_cranelift(input),
        };
        result.map_err(|error| error.to_string())
    }
}
