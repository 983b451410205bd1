//! What only the processor itself can say or do: its extensions, what a signal's context holds, making code known.

use super::X86_64;
use crate::jit::backend::Reach;

/// The back end for the processor that this runs on. All jumps reach everywhere.
pub(in crate::jit) fn native(_reach: Reach) -> X86_64 {
    X86_64::new(std::arch::is_x86_feature_detected!("bmi2"))
}

/// The instruction at which a signal stopped, and what compiled code has there as its state's address.
pub(in crate::jit) fn stopped_at(context: &libc::ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RDI as usize] as usize)
}

/// Goes on at `faulted`, a program's way out, with the instruction that was stopped where that expects it.
pub(in crate::jit) fn go_on_at(context: &mut libc::ucontext_t, faulted: usize) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_R11 as usize] = registers[libc::REG_RIP as usize];
    registers[libc::REG_RIP as usize] = faulted as i64;
}

/// New code lies there, and will be executed: nothing needs to be told, instructions are fetched as memory has them.
pub(in crate::jit) fn publish(_code: *const u8, _len: usize) {}
