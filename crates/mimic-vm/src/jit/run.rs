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
use crate::process::{MAY_GOTO_MAX, Process, State};
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
    /// The program that it is of. Held: its code names what the program owns, and ids are given again.
    program: Arc<LoadedProgram>,
    mode: Mode,
    code: Arc<Compiled>,
    /// The address of the code's way in for a fresh run.
    enter: usize,
    /// What r1 may be: the address of a context with fields, or any address in one region without. As of this version of the table of objects.
    contexts: Range<u64>,
    version: u64,
}

impl Ready {
    #[inline]
    fn suits(&self, state: &State) -> bool {
        Arc::ptr_eq(&self.program, &state.program)
            && self.version == state.view.version()
            && self.contexts.contains(&state.regs[1])
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
                Ok(ready) => Box::new(ready),
                Err(why) => return Err(Box::new(self.state.fault(FaultKind::Unsupported(why)))),
            },
        };
        let mut machine = Machine { process: self, context };
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
            ctx: fields.filter(|_| self.vm.memory().hygiene() != Hygiene::Poison),
            watched: self.hook.is_some() || !self.overrides.is_empty(),
            frames_outside: self.vm.memory().hygiene() != Hygiene::Off,
        };
        let code = state.program.compiled.code(&state.program, &mode)?;
        let (program, enter) = (state.program.clone(), code.memory.addr(code.enter));
        Ok(Ready { program, mode, code, enter, contexts, version: state.view.version() })
    }
}

/// Which code runs of each program, in one run.
struct Codes<'a> {
    ready: &'a Ready,
    mode: Mode,
    /// The code of another program, or of another mode.
    other: Option<(Arc<LoadedProgram>, Arc<Compiled>)>,
}

impl Codes<'_> {
    fn of(&mut self, program: &Arc<LoadedProgram>) -> Result<&Compiled, Box<FaultKind>> {
        if Arc::ptr_eq(program, &self.ready.program) && self.mode == self.ready.mode {
            return Ok(&self.ready.code);
        }
        if self.other.as_ref().is_none_or(|(other, _)| !Arc::ptr_eq(other, program)) {
            let code = program.compiled.code(program, &self.mode);
            self.other = Some((program.clone(), code.map_err(|why| Box::new(FaultKind::Unsupported(why)))?));
        }
        Ok(&self.other.as_ref().expect("it was put there").1)
    }

    /// A program is entered at its beginning, with this in r1: if that is not the context that code is made for, nothing is taken for granted
    /// from here on.
    fn enters_with(&mut self, r1: u64) {
        if self.mode.ctx.is_some() && r1 != self.ready.contexts.start {
            (self.mode.checks, self.mode.ctx, self.other) = (Checks::Precise, None, None);
        }
    }
}

impl Machine<'_> {
    fn run_jit(&mut self, ready: &Ready, fresh: bool) -> Result<(), Box<FaultKind>> {
        if !fresh {
            self.process.state.by_address = true;
            return self.go_on(ready);
        }
        let state = &mut self.process.state;
        state.jit.cage = state.view.memory().host_addr();
        state.jit.last_frame = state.last_frame();
        state.jit.code = Arc::as_ptr(&ready.code).addr();
        let [_, r1, r2, r3, r4, r5, ..] = state.regs;
        let pair = self.enter_fresh(ready.enter, [r1, r2, r3, r4, r5]);
        self.go_on_after(ready, pair)
    }

    /// What comes after a fresh run was entered.
    fn go_on_after(&mut self, ready: &Ready, pair: Pair) -> Result<(), Box<FaultKind>> {
        if self.returned(&pair) {
            return Ok(());
        }
        match self.left(&ready.code, pair)? {
            Moved::Exit => Ok(()),
            Moved::Jump | Moved::Program => self.go_on(ready),
        }
    }

    /// Goes on where the state says, until the run's end.
    fn go_on(&mut self, ready: &Ready) -> Result<(), Box<FaultKind>> {
        let mut codes = Codes { ready, mode: ready.mode, other: None };
        let mut tail_calls = 0;
        loop {
            let state = &mut self.process.state;
            if core::mem::replace(&mut tail_calls, state.tail_calls) != state.tail_calls {
                codes.enters_with(state.regs[1]);
            }
            let code = codes.of(&state.program)?;
            let pc = state.pc;
            let entry = match core::mem::take(&mut state.by_address) {
                true => code.function(pc),
                false => code.entry(pc),
            };
            let Some(entry) = entry else {
                // A function pointer that leads into the middle of a function: nobody compiles such.
                return self.run::<NoProbe, false>(&mut NoProbe).map(|_| ());
            };
            let pair = self.enter_at(code, entry);
            if self.returned(&pair) {
                return Ok(());
            }
            match self.left(code, pair)? {
                Moved::Exit => return Ok(()),
                Moved::Jump | Moved::Program => {}
            }
        }
    }

    /// Runs a program from its beginning, if its code is at hand and the last run left nothing to be cleared; the end, if it was run.
    #[inline]
    pub(crate) fn run_at_once(
        &mut self,
        program: *const LoadedProgram,
        args: [u64; 5],
    ) -> Option<Result<u64, Box<Fault>>> {
        let process = &mut *self.process;
        let (ready, state) = (process.ready.as_deref()?, &mut process.state);
        let suits = Arc::as_ptr(&ready.program) == program
            && !state.touched.get()
            && ready.version == state.view.memory().version()
            && ready.contexts.contains(&args[0]);
        if !suits {
            return None;
        }
        let enter = ready.enter;
        state.may_goto = MAY_GOTO_MAX;
        let pair = self.enter_fresh(enter, args);
        let state = &mut self.process.state;
        state.insns = (allowance(state) - state.jit.budget) as u64;
        if pair.status == Reason::Returned as u64 && !state.touched.get() {
            state.regs[0] = pair.value;
            return Some(Ok(pair.value));
        }
        Some(self.left_at_once(pair))
    }

    /// The rest of a run that code was left in.
    #[cold]
    fn left_at_once(&mut self, pair: Pair) -> Result<u64, Box<Fault>> {
        let ready = self.process.ready.take().expect("its code ran");
        let end = self.go_on_after(&ready, pair).and_then(|()| self.run_ended());
        self.process.ready = Some(ready);
        let state = &self.process.state;
        end.map(|()| state.regs[0]).map_err(|kind| Box::new(state.fault(*kind)))
    }

    /// Counts what ran, and takes r0 if the run has ended with that.
    #[inline]
    fn returned(&mut self, pair: &Pair) -> bool {
        let state = &mut self.process.state;
        state.insns = (allowance(state) - state.jit.budget) as u64;
        let ended = pair.status == Reason::Returned as u64 && state.frames.is_empty();
        if ended {
            state.regs[0] = pair.value;
        } else {
            state.touched.set(true);
        }
        ended
    }

    /// Runs the main function until its code is left, from its beginning. What else code needs of the state is there from the last time that
    /// something else than this code was entered.
    #[inline]
    fn enter_fresh(&mut self, enter: usize, [r1, r2, r3, r4, r5]: [u64; 5]) -> Pair {
        let machine = core::ptr::from_mut(self).addr();
        let state = &mut self.process.state;
        state.jit.machine = machine;
        state.jit.budget = allowance(state);
        // SAFETY: see `enter_at`; this is the code's way in for fresh runs.
        unsafe {
            let enter: unsafe extern "C" fn(*mut State, u64, u64, u64, u64, u64) -> Pair =
                core::mem::transmute(enter);
            enter(core::ptr::from_mut(state), r1, r2, r3, r4, r5)
        }
    }

    /// Runs code until it is left, from the entry of the state's pc on.
    fn enter_at(&mut self, code: &Compiled, entry: usize) -> Pair {
        let machine = core::ptr::from_mut(self).addr();
        let state = &mut self.process.state;
        state.jit.cage = state.view.memory().host_addr();
        state.jit.budget = allowance(state) - state.insns as i64 + code.run_before(state.pc) as i64;
        state.jit.last_frame = state.last_frame();
        state.jit.machine = machine;
        state.jit.code = core::ptr::from_ref(code).addr();
        // SAFETY: the code was made by the back end for this program, is alive, and gets what its way in asks for. It touches the
        // state, guest memory through checks or inside the cage, and the host's stack below this function. The machine is reached through
        // `state.jit.machine` meanwhile, and not through `self`.
        unsafe {
            let resume = code.memory.addr(code.resume);
            let resume: unsafe extern "C" fn(*mut State, usize) -> Pair = core::mem::transmute(resume);
            resume(core::ptr::from_mut(state), entry)
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
            // More may have been put back than was taken off so far.
            state.insns = state.insns.wrapping_add(code.run_before(state.pc) + 1);
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

/// The whole budget, as compiled code counts it: signed, with room for what is put back.
#[inline]
fn allowance(state: &State) -> i64 {
    state.insns_max.min(i64::MAX as u64 / 2) as i64
}

/// What was wrong with an access that the host's memory protection stopped.
fn stopped(state: &State, program: &LoadedProgram) -> AccessError {
    let op = program.ops.ops[state.pc];
    let (base, off, len, write) = match op.code {
        Code::Rare => match program.ops.rare[op.imm as usize] {
            // All of them are looked at as reads first.
            Insn::Atomic { base, off, size, .. }
            | Insn::StoreRelease { base, off, size, .. }
            | Insn::LoadAcquire { base, off, size, .. } => {
                (base.index(), i64::from(off), size.bytes(), false)
            }
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
