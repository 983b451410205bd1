//! Where there is no JIT: asking for it is an error, and `Engine::Auto` is the interpreter.

use crate::context::Context;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::interp::Control;
use crate::process::Process;
use crate::program::LoadedProgram;

/// Whether there is a JIT.
pub(crate) const HERE: bool = false;

/// Nothing.
#[derive(Default)]
pub(crate) struct JitState;

/// No code.
pub(crate) enum Ready {}

/// No code of a program.
#[derive(Default)]
pub(crate) struct Cache;

/// Which engine runs.
pub(crate) enum Choice {
    Interp,
    #[allow(dead_code, reason = "never chosen here")]
    Jit,
}

impl crate::interp::Machine<'_> {
    /// Never: there is no code.
    pub(crate) fn run_at_once(
        &mut self,
        _program: *const LoadedProgram,
        _args: [u64; 5],
    ) -> Option<Result<u64, Box<Fault>>> {
        None
    }
}

impl Process {
    /// The engine for the run that begins now. The error says why there is none.
    pub(crate) fn choose(&self, _probed: bool) -> Result<Choice, String> {
        match self.engine {
            Engine::Interp | Engine::Auto => Ok(Choice::Interp),
            Engine::Jit => Err(format!(
                "there is no JIT for {} on {}; use the interpreter (Engine::Interp, --engine interp)",
                std::env::consts::ARCH,
                std::env::consts::OS
            )),
        }
    }

    pub(crate) fn execute_jit(
        &mut self,
        context: &mut dyn Context,
        _fresh: bool,
    ) -> Result<Control, Box<Fault>> {
        self.execute(context, &mut crate::probe::NoProbe)
    }
}
