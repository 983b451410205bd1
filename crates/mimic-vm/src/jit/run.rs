//! The driver: enters compiled code, and does what it was left for.

use super::runtime::{self, Pair};
use super::state::Reason;
use super::{Compiled, Mode};
use crate::context::Context;
use crate::engine::{Checks, Engine};
use crate::fault::{Fault, FaultKind};
use crate::interp::{Control, Machine, Moved};
use crate::memory::{AccessError, Hygiene};
use crate::op::Code;
use crate::probe::NoProbe;
use crate::process::{Process, State};
use crate::program::LoadedProgram;
use core::ops::Range;
use mimic_abi::{ByteOrder, Insn};
use std::sync::Arc;

/// Instructions that a program runs in the interpreter before it is compiled: what compiling it takes, about.
const HOT_INSNS: u64 = 5_000;

/// Which engine runs.
pub(crate) enum Choice {
    Interp,
    Jit,
}

/// Code that is at hand for the next run.
pub(crate) struct Ready {
    /// The program that it is of.
    program: u32,
    mode: Mode,
    code: Arc<Compiled>,
    /// Contexts that it is for: addresses, whether it is their first one, and the version of the table of objects that says so.
    contexts: Range<u64>,
    first: bool,
    version: u64,
}

impl Ready {
    #[inline]
    fn suits(&self, state: &State) -> bool {
        let r1 = state.regs[1];
        let same = self.version == state.view.version() && self.contexts.contains(&r1);
        self.program == state.program.id
            && (self.mode.checks == Checks::Precise || same && (r1 == self.contexts.start) == self.first)
    }
}

impl Process {
    /// The engine for the run that begins now. The error says why there is none.
    #[inline]
    pub(crate) fn choose(&self, probed: bool) -> Result<Choice, String> {
        // Whatever changes the answer forgets the code.
        if self.ready.is_some() && !probed { Ok(Choice::Jit) } else { self.choose_anew(probed) }
    }

    fn choose_anew(&self, probed: bool) -> Result<Choice, String> {
        let (order, hygiene) = (self.vm.memory().order(), self.vm.memory().hygiene());
        let cannot = if probed {
            Some("a probe sees each instruction, compiled code shows none")
        } else if order != ByteOrder::NATIVE {
            Some("the guest's byte order is not the host's")
        } else if hygiene == Hygiene::Poison && self.checks == Checks::Cage {
            Some("Hygiene::Poison needs Checks::Precise")
        } else {
            None
        };
        match (self.engine, cannot) {
            (Engine::Interp, _) | (Engine::Auto, Some(_)) => Ok(Choice::Interp),
            (Engine::Jit, Some(why)) => Err(format!(
                "the JIT cannot run this: {why}; use the interpreter (Engine::Interp, --engine interp)"
            )),
            (Engine::Auto, None) if self.entry.heat.insns() < HOT_INSNS => Ok(Choice::Interp),
            (Engine::Jit | Engine::Auto, None) => Ok(Choice::Jit),
        }
    }

    /// Runs compiled code until the program returns or faults. `fresh`: a run that begins, at the program's beginning.
    pub(crate) fn execute_jit(
        &mut self,
        context: &mut dyn Context,
        fresh: bool,
    ) -> Result<Control, Box<Fault>> {
        let ready = match self.ready.take().filter(|ready| ready.suits(&self.state)) {
            Some(ready) => ready,
            None => match self.make_ready() {
                Ok(ready) => ready,
                Err(why) => return Err(Box::new(self.state.fault(FaultKind::Unsupported(why)))),
            },
        };
        let mut machine = Machine { process: self, context };
        machine.catch_up();
        let end = match machine.run_jit(&ready, fresh) {
            Ok(()) => machine.run_ended().map(|()| Control::Exited),
            Err(kind) => Err(kind),
        };
        self.ready = Some(ready);
        end.map_err(|kind| Box::new(self.state.fault(*kind)))
    }

    /// Looks the code up for the program and the context that are to run.
    #[cold]
    fn make_ready(&self) -> Result<Ready, String> {
        let (state, r1) = (&self.state, self.state.regs[1]);
        let (contexts, fields) = state.view.context_at(r1);
        let mode = Mode {
            checks: self.checks,
            ctx: fields.filter(|_| self.checks == Checks::Cage),
            watched: self.hook.is_some() || !self.overrides.is_empty(),
            frames_outside: self.vm.memory().hygiene() != Hygiene::Off,
        };
        let code = state.program.compiled.code(&state.program, &mode)?;
        let (program, version, first) = (state.program.id, state.view.version(), r1 == contexts.start);
        Ok(Ready { program, mode, code, contexts, first, version })
    }
}

impl Machine<'_> {
    fn run_jit(&mut self, ready: &Ready, mut fresh: bool) -> Result<(), Box<FaultKind>> {
        // The code of a program that a tail call led to.
        let mut other: Option<(u32, Arc<Compiled>)> = None;
        loop {
            let id = self.process.state.program.id;
            let code = if id == ready.program {
                &*ready.code
            } else {
                if other.as_ref().is_none_or(|(other, _)| *other != id) {
                    let program = &self.process.state.program;
                    let code = program.compiled.code(program, &ready.mode);
                    other = Some((id, code.map_err(|why| Box::new(FaultKind::Unsupported(why)))?));
                }
                &*other.as_ref().expect("it was put there").1
            };
            let pc = self.process.state.pc;
            let Some(entry) = code.entry(pc) else {
                // A function pointer that leads into the middle of a function: nobody compiles such.
                return self.run::<NoProbe, false>(&mut NoProbe).map(|_| ());
            };
            let pair = self.enter(code, entry, fresh && pc == 0);
            fresh = false;
            let state = &mut self.process.state;
            state.insns = (allowance(state) - state.jit.budget) as u64;
            if pair.status == Reason::Returned as u64 && state.frames.is_empty() {
                state.regs[0] = pair.value;
                return Ok(());
            }
            match self.left(code, pair)? {
                Moved::Exit => return Ok(()),
                Moved::Jump | Moved::Program => {}
            }
        }
    }

    /// Runs code until it is left.
    fn enter(&mut self, code: &Compiled, entry: usize, fresh: bool) -> Pair {
        let machine = core::ptr::from_mut(self).addr();
        let state = &mut self.process.state;
        state.jit.cage = state.view.memory().host_addr();
        state.jit.budget = allowance(state) - state.insns as i64 + code.run_before(state.pc) as i64;
        state.jit.last_frame = state.last_frame();
        state.jit.machine = machine;
        state.jit.code = core::ptr::from_ref(code).addr();
        let [_, r1, r2, r3, r4, r5, ..] = state.regs;
        // SAFETY: the code was made by the back end for this program, is alive, and gets what its two ways in ask for. It touches the
        // state, guest memory through checks or inside the cage, and the host's stack below this function. The machine is reached through
        // `state.jit.machine` meanwhile, and not through `self`.
        unsafe {
            let state = core::ptr::from_mut(state);
            if fresh {
                let enter = code.memory.addr(code.enter);
                let enter: unsafe extern "C" fn(*mut State, u64, u64, u64, u64, u64) -> Pair =
                    core::mem::transmute(enter);
                enter(state, r1, r2, r3, r4, r5)
            } else {
                let resume = code.memory.addr(code.resume);
                let resume: unsafe extern "C" fn(*mut State, usize) -> Pair = core::mem::transmute(resume);
                resume(state, entry)
            }
        }
    }

    /// Does what code was left for.
    fn left(&mut self, code: &Compiled, pair: Pair) -> Result<Moved, Box<FaultKind>> {
        let reason = Reason::from_number(pair.status);
        let program = &*self.process.state.program.clone();
        let state = &mut self.process.state;
        state.jit.machine = 0;
        if reason == Reason::Protection {
            state.pc = code.op_at(state.jit.fault_ip);
        }
        if !matches!(reason, Reason::Returned | Reason::Budget) {
            state.insns += code.run_before(state.pc) + 1;
        }
        if let Some(panic) = state.jit.panic.take() {
            std::panic::resume_unwind(panic);
        }
        match reason {
            Reason::Returned => {
                state.regs[0] = pair.value;
                self.exit()
            }
            Reason::Trapped => {
                self.within_budget()?;
                let state = &mut self.process.state;
                let trap = state.jit.trap.take().unwrap_or_else(runtime::missing_trap);
                let name = program.helpers[program.ops.ops[state.pc].imm as usize].name.clone();
                self.trap(trap, &name)
            }
            Reason::Faulted => Err(state.jit.fault.take().unwrap_or_else(|| {
                Box::new(FaultKind::Unsupported("compiled code was left without a reason".into()))
            })),
            Reason::Budget => Err(Box::new(FaultKind::Budget { insns_max: state.insns_max })),
            Reason::CallDepth => {
                Err(Box::new(FaultKind::CallDepth { frames_max: crate::process::FRAMES_MAX }))
            }
            Reason::Protection => Err(Box::new(FaultKind::Access(stopped(state, program)))),
            Reason::Op | Reason::Panicked => self.one_op(program),
        }
    }

    /// Does one of the ops that code leaves to the interpreter.
    fn one_op(&mut self, program: &LoadedProgram) -> Result<Moved, Box<FaultKind>> {
        let state = &mut self.process.state;
        let op = program.ops.ops[state.pc];
        match op.code {
            Code::CallX => {
                let value = state.regs[(op.src & 15) as usize];
                self.within_budget()?;
                self.call_register(value)
            }
            Code::CallSubprog => {
                state.push_frame(state.pc as u32 + 1, None)?;
                self.within_budget()?;
                self.process.state.pc = op.off as u32 as usize;
                Ok(Moved::Jump)
            }
            Code::WriteR10 => Err(Box::new(FaultKind::FramePointer)),
            Code::End => Err(Box::new(FaultKind::FellOff)),
            _ => {
                self.within_budget()?;
                self.packet_load(&program.ops.rare[op.imm as usize])
            }
        }
    }

    fn within_budget(&self) -> Result<(), Box<FaultKind>> {
        let state = &self.process.state;
        match state.insns > state.insns_max {
            true => Err(Box::new(FaultKind::Budget { insns_max: state.insns_max })),
            false => Ok(()),
        }
    }
}

/// The whole budget, as compiled code counts it: signed.
fn allowance(state: &State) -> i64 {
    state.insns_max.min(i64::MAX as u64) as i64
}

/// What was wrong with an access that the host's memory protection stopped.
fn stopped(state: &State, program: &LoadedProgram) -> AccessError {
    let op = program.ops.ops[state.pc];
    let (base, off, len, write) = match op.code {
        Code::Rare => match program.ops.rare[op.imm as usize] {
            Insn::Atomic { base, off, size, .. } => (base.index(), i64::from(off), size.bytes(), true),
            _ => (0, 0, 0, true),
        },
        code => {
            let len = code.access().map_or(0, |(size, _)| size.bytes());
            let write = code.is_store();
            (usize::from(if write { op.dst } else { op.src } & 15), i64::from(op.off), len, write)
        }
    };
    state.view.error(state.regs[base].wrapping_add(off as u64), len as u64, write)
}
