//! `Entry`: a function that is called again and again on one context. What a call costs besides the function itself is decided once.

use crate::fault::Fault;
use crate::interp::Machine;
use crate::program::FuncRef;
use std::sync::Arc;

/// See [`crate::Process::entry`].
///
/// A call is what [`crate::Process::call`] is. As long as nothing else is to be done between two calls, it enters compiled code at once.
pub struct Entry<'a> {
    machine: Machine<'a>,
    func: FuncRef,
    /// It is the main function: the one that has a way in of its own.
    main: bool,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(machine: Machine<'a>, func: FuncRef) -> Entry<'a> {
        let main = func.program.ops.op_at(func.pc) == Some(0);
        Entry { machine, func, main }
    }

    /// Calls the function with these in r1 to r5; answers r0.
    #[inline]
    pub fn call(&mut self, args: [u64; 5]) -> Result<u64, Box<Fault>> {
        let at_once =
            if self.main { self.machine.run_at_once(Arc::as_ptr(&self.func.program), args) } else { None };
        match at_once {
            Some(end) => end,
            None => self.call_anew(args),
        }
    }

    #[cold]
    #[inline(never)]
    fn call_anew(&mut self, args: [u64; 5]) -> Result<u64, Box<Fault>> {
        let process = &mut *self.machine.process;
        process.call_func(&self.func, args, self.machine.context).map(|()| process.state.regs[0])
    }

    /// Instructions that the last call ran.
    pub fn insns(&self) -> u64 {
        self.machine.process.state.insns
    }
}
