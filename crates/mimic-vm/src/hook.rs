//! `Hook`: asked before and told after each helper call of a process. Recording and replaying are hooks.

use crate::call::{Call, Trap};

/// What a hook wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The helper runs.
    Run,
    /// It does not; r0 is this. The hook has written the outputs.
    Return(u64),
}

/// Watches, answers or forbids helper calls.
pub trait Hook: Send {
    /// Before the helper runs; `call` names it, `args` are r1 to r5.
    fn before(&mut self, call: &mut Call<'_>, args: [u64; 5]) -> Result<Before, Trap>;

    /// After a helper returned `r0`; what the program gets is the answer. Not told of tail calls, callbacks and faults.
    fn after(&mut self, call: &mut Call<'_>, args: [u64; 5], r0: u64) -> Result<u64, Trap> {
        let _ = (call, args);
        Ok(r0)
    }
}
