//! `Trampoline`: the programs at one kernel function, run around a call of it as the kernel's trampoline does.
//!
//! First those at its beginning, then those that may answer in its place (each sees what the one before returned; the first that does not
//! return 0 keeps the function from being called), the function, and those at its end. Documentation/bpf/prog_lsm.rst.

use super::{Arg, TracingContext};
use mimic_vm::{Process, RunError};

/// The programs at a function.
#[derive(Default)]
pub struct Trampoline {
    /// At its beginning (fentry).
    pub entry: Vec<Process>,
    /// Before it, with a say (fmod_ret, lsm).
    pub modify_return: Vec<Process>,
    /// At its end (fexit).
    pub exit: Vec<Process>,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What the caller gets.
    pub ret: u64,
    /// The function was called.
    pub called: bool,
}

impl Trampoline {
    /// Calls `function` with the programs around it.
    pub fn call(&mut self, args: &[Arg], function: impl FnOnce(&[Arg]) -> u64) -> Result<Traced, RunError> {
        let given = || args.iter().cloned();
        for process in &mut self.entry {
            process.run(&mut TracingContext::entry(given()))?;
        }
        let mut ret = 0;
        for process in &mut self.modify_return {
            ret = process.run(&mut TracingContext::modify_return(given(), ret))?.r0;
            if ret != 0 {
                break;
            }
        }
        let called = ret == 0;
        if called {
            ret = function(args);
        }
        for process in &mut self.exit {
            process.run(&mut TracingContext::exit(given(), ret))?;
        }
        Ok(Traced { ret, called })
    }
}
