//! What only the processor itself can say or do: its extensions, what a signal's context holds, making code known.

use super::AArch64;
use super::emit::{SCRATCH, STATE};
use crate::jit::backend::Reach;
use core::arch::asm;

/// The back end for the processor that this runs on.
pub(in crate::jit) fn native(reach: Reach) -> AArch64 {
    AArch64::new(std::arch::is_aarch64_feature_detected!("lse"), reach)
}

/// The instruction at which a signal stopped, and what compiled code has there as its state's address.
pub(in crate::jit) fn stopped_at(context: &libc::ucontext_t) -> (usize, usize) {
    let machine = &context.uc_mcontext;
    (machine.pc as usize, machine.regs[usize::from(STATE.0)] as usize)
}

/// Goes on at `faulted`, a program's way out, with the instruction that was stopped where that expects it.
pub(in crate::jit) fn go_on_at(context: &mut libc::ucontext_t, faulted: usize) {
    let machine = &mut context.uc_mcontext;
    machine.regs[usize::from(SCRATCH.0)] = machine.pc;
    machine.pc = faulted as u64;
}

/// New code lies there, and will be executed: what the caches for data have goes to memory, and what those for instructions have of that
/// place is dropped, on all processors.
pub(in crate::jit) fn publish(code: *const u8, len: usize) {
    let (start, end) = (code.addr(), code.addr() + len);
    let lines: u64;
    // SAFETY: reads which lengths the caches' lines have.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) lines, options(nomem, nostack, preserves_flags)) };
    let (data, insns) = (4usize << (lines >> 16 & 15), 4usize << (lines & 15));
    for line in (start & !(data - 1)..end).step_by(data) {
        // SAFETY: writes back a line of memory that is mapped; changes nothing that a program sees.
        unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for line in (start & !(insns - 1)..end).step_by(insns) {
        // SAFETY: drops a line of cached instructions, which are fetched again.
        unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: waits, and fetches again what this processor has fetched ahead. Others do so on the way back from the kernel, at the latest
    // when the page is made executable for them.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
