//! The engines that every suite runs on. What they do is the same.

use mimic_vm::{Checks, Engine};

/// The interpreter, which the others are compared with, and compiled code with either kind of checks.
pub const ENGINES: [(Engine, Checks); 3] =
    [(Engine::Interp, Checks::Precise), (Engine::Jit, Checks::Precise), (Engine::Jit, Checks::Cage)];

/// Those that run here: compiled code is for guests of the host's byte order.
pub fn engines(order: mimic_abi::ByteOrder) -> &'static [(Engine, Checks)] {
    if Engine::compiles_here() && order == mimic_abi::ByteOrder::NATIVE { &ENGINES } else { &ENGINES[..1] }
}
