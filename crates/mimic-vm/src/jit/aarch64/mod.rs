//! The back end for AArch64.
//!
//! | | |
//! |---|---|
//! | x0, x1 to x5 | r0, r1 to r5: where the host's calling convention has results and arguments |
//! | x19 to x22 | r6 to r9: kept by whoever is called |
//! | x23 | r10 |
//! | x24 | where r10 points, in the host's memory |
//! | x25 | where guest address 0 is |
//! | x26 | the budget |
//! | x27 | the process's `State` |
//! | x9 to x12 | where the addresses that were last used are in the host's memory |
//! | x14 to x17 | scratch |
//! | x30 | where the function that runs returns to |

mod asm;
mod atomic;
mod calls;
mod emit;
#[cfg(target_arch = "aarch64")]
pub(in crate::jit) mod host;
mod imm;
mod stubs;

pub(in crate::jit) use emit::AArch64;
