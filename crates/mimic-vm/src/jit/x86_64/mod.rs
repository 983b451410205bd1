//! The back end for x86-64.
//!
//! | | |
//! |---|---|
//! | rdi | the process's `State` |
//! | rax, rsi, rdx, rcx, r8, r9 | r0, r1 to r5: where the host's calling convention has results and arguments |
//! | rbx, r13, r14, r15 | r6 to r9: kept by whoever is called |
//! | rbp | r10 |
//! | r12 | where guest address 0 is |
//! | r10 | the budget |
//! | r11 | scratch |

mod asm;
mod calls;
mod emit;
#[cfg(target_arch = "x86_64")]
pub(in crate::jit) mod host;
mod stubs;

pub(in crate::jit) use emit::X86_64;
