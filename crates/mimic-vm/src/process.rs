//! `Process`: one running instance of a program: registers, frames, budget. It can be run, stepped, and used again.

use crate::call::Callback;
use crate::context::{Context, ContextError, Scratch, Setup};
use crate::emulator::{HelperClosure, HelperImpl};
use crate::engine::{Checks, Engine};
use crate::entry::Entry;
use crate::fault::{Fault, FaultKind};
use crate::hook::Hook;
use crate::interp::{Control, Machine};
use crate::jit::{Choice, JitState, Ready};
use crate::map::MapTable;
use crate::memory::{Access, Hygiene, Layout, MemoryError, Part, Recent, Region, RegionInfo, View, Window};
use crate::probe::{At, Flow, NoProbe, Probe};
use crate::program::{FuncRef, LoadedProgram};
use crate::vm::Vm;
use core::any::{Any, TypeId};
use core::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of stack that each function has: `MAX_BPF_STACK`.
pub const FRAME_LEN: u32 = 512;
/// From one frame to the next: what is between them cannot be touched.
pub(crate) const FRAME_STRIDE: u32 = 1024;
/// Functions that can be active at once: `MAX_CALL_FRAMES`.
pub const FRAMES_MAX: u32 = 8;
/// Tail calls that one run can make: `MAX_TAIL_CALL_CNT`.
pub const TAIL_CALLS_MAX: u32 = 33;
/// What a function's `may_goto` counts down from: `BPF_MAX_LOOPS`.
pub(crate) const MAY_GOTO_MAX: u64 = 8 << 20;

/// How a run that was not stopped ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub r0: u64,
    /// Instructions that it ran; `ld_imm64` is one.
    pub insns: u64,
    /// Tail calls that it made.
    pub tail_calls: u32,
    /// Loads from where nothing is that read zero ([`crate::Emulator::probe_loads`]).
    pub absent_loads: u64,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub enum Step {
    /// There is more to do.
    Running,
    /// The program returned.
    Exited(Outcome),
    /// It cannot go on.
    Faulted(Box<Fault>),
}

/// Why a run gave no outcome.
#[derive(Clone, Debug)]
pub enum RunError {
    /// The input was refused.
    Context(ContextError),
    /// The program was stopped.
    Fault(Box<Fault>),
}

impl core::fmt::Display for RunError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RunError::Context(error) => error.fmt(f),
            RunError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// A running, or not yet running, instance of a program.
///
/// `run` takes a context through a whole run and leaves the process ready for the next. `start` and `step` do the same an
/// instruction at a time.
pub struct Process {
    pub(crate) vm: Arc<Vm>,
    pub(crate) entry: Arc<LoadedProgram>,
    pub(crate) state: State,
    pub(crate) maps: Arc<MapTable>,
    /// The context while the process is stepped.
    context: Option<Box<dyn Context>>,
    pub(crate) overrides: HashMap<Arc<str>, HelperImpl>,
    pub(crate) hook: Option<Box<dyn Hook>>,
    pub(crate) engine: Engine,
    pub(crate) checks: Checks,
    /// The code that ran last, as long as it is what would run next.
    pub(crate) ready: Option<Box<Ready>>,
}

impl Process {
    pub(crate) fn new(vm: &Arc<Vm>, program: &Arc<LoadedProgram>, cpu: u32) -> Result<Process, MemoryError> {
        let state = State::new(vm, program.clone(), cpu)?;
        let (engine, checks) = vm.engine();
        Ok(Process {
            vm: vm.clone(),
            entry: program.clone(),
            state,
            maps: vm.maps(),
            context: None,
            overrides: HashMap::new(),
            hook: None,
            engine,
            checks,
            ready: None,
        })
    }

    /// Runs the program on a context, to its end.
    pub fn run<C: Context>(&mut self, context: &mut C) -> Result<Outcome, RunError> {
        self.run_dyn(context, &mut NoProbe)
    }

    /// Runs the program on a context with a probe watching. If the probe stops it, that is a fault-free end without outcome:
    /// `Ok(None)`; the context has been left.
    pub fn run_probed<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
    ) -> Result<Option<Outcome>, RunError> {
        let args = self.enter(context).map_err(RunError::Context)?;
        self.state.reset(&self.entry, args);
        let end = self.execute_chosen(context, probe, true);
        self.finish(context, end)
    }

    /// Runs the program on a context, to its end, whatever the probe says.
    pub fn run_dyn<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
    ) -> Result<Outcome, RunError> {
        let args = self.enter(context).map_err(RunError::Context)?;
        let program = Arc::as_ptr(&self.entry);
        let at_once = match P::ACTIVE {
            true => None,
            false => Machine { process: self, context }.run_at_once(program, args),
        };
        let end = match at_once {
            Some(end) => end.map(|_| ()),
            None => self.run_entered(context, probe, args),
        };
        self.leave(context, end)
    }

    /// Runs the program with a context that was entered, to its end.
    fn run_entered<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
        args: [u64; 5],
    ) -> Result<(), Box<Fault>> {
        self.state.reset(&self.entry, args);
        let mut end = self.execute_chosen(context, probe, true);
        while let Ok(Control::Paused) = end {
            end = self.execute(context, &mut NoProbe);
        }
        end.map(|_| ())
    }

    /// Enters a context, for stepping. It is handed back by `take_context` once the process has ended.
    pub fn start(&mut self, mut context: Box<dyn Context>) -> Result<(), ContextError> {
        let args = self.enter(&mut *context)?;
        self.state.reset(&self.entry, args);
        self.context = Some(context);
        Ok(())
    }

    /// Runs one instruction. Running an ended process again changes nothing.
    pub fn step(&mut self) -> Step {
        let mut first = true;
        self.run_until(&mut StopSecond(&mut first))
    }

    /// Runs on until the probe stops it or it ends.
    pub fn run_until<P: Probe>(&mut self, probe: &mut P) -> Step {
        match &self.state.ended {
            Ended::Not => {}
            Ended::Exited(outcome) => return Step::Exited(*outcome),
            Ended::Faulted(fault) => return Step::Faulted(fault.clone()),
        }
        let Some(mut context) = self.context.take() else {
            let kind = FaultKind::Unsupported(
                "the process was not started: give it a context with Process::start".into(),
            );
            return Step::Faulted(Box::new(self.state.fault(kind)));
        };
        let end = self.execute_probed(&mut *context, probe);
        let step = match self.finish(&mut *context, end) {
            Ok(None) => Step::Running,
            Ok(Some(outcome)) => Step::Exited(outcome),
            Err(RunError::Fault(fault)) => Step::Faulted(fault),
            Err(RunError::Context(_)) => unreachable!("the context was entered"),
        };
        self.context = Some(context);
        step
    }

    /// The context of a process that was started, with the results in it once the process has ended.
    pub fn take_context(&mut self) -> Option<Box<dyn Context>> {
        self.context.take()
    }

    /// What a probe would see now.
    pub fn at(&self) -> At<'_> {
        self.state.at()
    }

    /// The program that the process was made for.
    pub fn program(&self) -> &Arc<LoadedProgram> {
        &self.entry
    }

    /// The VM.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// The virtual CPU.
    pub fn cpu(&self) -> u32 {
        self.state.cpu
    }

    /// Instructions run so far.
    pub fn insns(&self) -> u64 {
        self.state.insns
    }

    /// Changes a register, r0 to r10, of a process that is being stepped.
    pub fn set_reg(&mut self, index: usize, value: u64) {
        assert!(index <= 10, "there are r0 to r10");
        self.state.regs[index] = value;
    }

    /// Guest memory as the process sees it.
    pub fn view(&self) -> &View {
        &self.state.view
    }

    /// Callers of the running function, innermost first: program and slot of the call.
    pub fn callers(&self) -> impl Iterator<Item = (&Arc<LoadedProgram>, u32)> {
        self.state.frames.iter().rev().map(|frame| {
            (&frame.program, frame.program.ops.slot_of((frame.return_to as usize).saturating_sub(1)))
        })
    }

    /// Lets `run` answer a helper or kfunc (by name, with or without `bpf_`) in this process instead of the emulator.
    pub fn override_helper(&mut self, name: &str, run: HelperClosure) {
        self.ready = None;
        self.overrides.insert(crate::vm::helper_name(name).into(), HelperImpl::Closure(run));
    }

    /// Sets what is asked before and told after each helper call; recording and replay are hooks.
    pub fn set_hook(&mut self, hook: Option<Box<dyn Hook>>) -> Option<Box<dyn Hook>> {
        self.ready = None;
        core::mem::replace(&mut self.hook, hook)
    }

    /// The hook that was set.
    pub fn hook_mut(&mut self) -> Option<&mut (dyn Hook + 'static)> {
        self.hook.as_deref_mut()
    }

    /// Calls a function of a program, as timers do: `args` in r1 to r5, nothing else of a run kept.
    pub fn call(
        &mut self,
        func: &FuncRef,
        args: [u64; 5],
        context: &mut dyn Context,
    ) -> Result<Outcome, RunError> {
        self.call_func(func, args, context).map(|()| self.state.outcome()).map_err(RunError::Fault)
    }

    /// The same, without an outcome of its own.
    pub(crate) fn call_func(
        &mut self,
        func: &FuncRef,
        args: [u64; 5],
        context: &mut dyn Context,
    ) -> Result<(), Box<Fault>> {
        self.state.reset(&func.program, args);
        let Some(at) = func.program.ops.op_at(func.pc) else {
            let kind = FaultKind::NotAFunction { value: func.pc.into() };
            return Err(Box::new(self.state.fault(kind)));
        };
        self.state.pc = at;
        self.execute_chosen(context, &mut NoProbe, at == 0).map(|_| ())
    }

    /// The function, ready to be called again and again on a context. For whoever makes memory, context and arguments once, and nothing but them
    /// changes from run to run.
    pub fn entry<'a>(&'a mut self, func: &FuncRef, context: &'a mut dyn Context) -> Entry<'a> {
        // The first call finds out what the others need.
        self.state.touched.set(true);
        Entry::new(Machine { process: self, context }, func.clone())
    }

    /// Sets what runs the process's instructions; the VM's setting until then.
    pub fn set_engine(&mut self, engine: Engine, checks: Checks) {
        (self.engine, self.checks, self.ready) = (engine, checks, None);
    }

    /// Runs on the engine that was asked for. `fresh`: at the program's beginning, with nothing but arguments in registers.
    fn execute_chosen<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
        fresh: bool,
    ) -> Result<Control, Box<Fault>> {
        match self.choose(P::ACTIVE) {
            Ok(Choice::Interp) => {
                let end = self.execute(context, probe);
                self.entry.heat.add(self.state.insns);
                end
            }
            Ok(Choice::Jit) => self.execute_jit(context, fresh),
            Err(why) => Err(Box::new(self.state.fault(FaultKind::Unsupported(why)))),
        }
    }

    /// Runs under a probe: the interpreter, unless compiled code was asked for.
    fn execute_probed<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
    ) -> Result<Control, Box<Fault>> {
        match self.choose(true) {
            Ok(_) => self.execute(context, probe),
            Err(why) => Err(Box::new(self.state.fault(FaultKind::Unsupported(why)))),
        }
    }

    #[inline]
    fn enter(&mut self, context: &mut dyn Context) -> Result<[u64; 5], ContextError> {
        let mut setup = Setup {
            scratch: &mut self.state.scratch,
            program: &self.entry,
            vm: &self.vm,
            cpu: self.state.cpu,
        };
        context.enter(&mut setup)
    }

    fn finish(
        &mut self,
        context: &mut dyn Context,
        end: Result<Control, Box<Fault>>,
    ) -> Result<Option<Outcome>, RunError> {
        match end {
            Ok(Control::Paused) => Ok(None),
            Ok(Control::Exited) => self.leave(context, Ok(())).map(Some),
            Err(fault) => self.leave(context, Err(fault)).map(Some),
        }
    }

    #[inline]
    fn leave(&mut self, context: &mut dyn Context, end: Result<(), Box<Fault>>) -> Result<Outcome, RunError> {
        let outcome = self.state.outcome();
        let r0 = end.is_ok().then_some(outcome.r0);
        let mut setup = Setup {
            scratch: &mut self.state.scratch,
            program: &self.entry,
            vm: &self.vm,
            cpu: self.state.cpu,
        };
        context.leave(&mut setup, r0);
        match end {
            Ok(()) => {
                self.state.ended = Ended::Exited(outcome);
                Ok(outcome)
            }
            Err(fault) => {
                self.state.ended = Ended::Faulted(fault.clone());
                Err(RunError::Fault(fault))
            }
        }
    }
}

/// How the run ended, for whoever goes on stepping.
enum Ended {
    Not,
    Exited(Outcome),
    Faulted(Box<Fault>),
}

/// Lets one instruction run.
struct StopSecond<'a>(&'a mut bool);

impl Probe for StopSecond<'_> {
    fn insn(&mut self, _at: &At<'_>) -> Flow {
        if core::mem::take(self.0) { Flow::Go } else { Flow::Stop }
    }
}

/// Where a function goes on when the one it called returns.
pub(crate) struct Frame {
    pub(crate) program: Arc<LoadedProgram>,
    /// The op after the call.
    pub(crate) return_to: u32,
    /// r6 to r9.
    pub(crate) saved: [u64; 4],
    pub(crate) may_goto: u64,
    /// Set when a helper made the call.
    pub(crate) pending: Option<Pending>,
}

/// A helper that waits for a function it called.
pub(crate) struct Pending {
    /// The helper's name.
    pub(crate) name: Arc<str>,
    pub(crate) func: FuncRef,
    pub(crate) then: Box<dyn Callback>,
}

/// The machine's state: all of a process but its context.
pub(crate) struct State {
    /// r0 to r10; the rest is never named by an op.
    pub(crate) regs: [u64; 16],
    /// For each base register, the object it last pointed at.
    pub(crate) windows: [Window; 16],
    /// The windows that are set, by bits.
    windows_set: u32,
    /// Where to look before the table of objects is searched.
    pub(crate) recent: Recent,
    /// The context that was looked up last. Contexts have no windows: their fields decide. Known as long as the table of objects is the same.
    pub(crate) fields: Option<Arc<RegionInfo>>,
    /// The object that a helper last read, and the one that it last wrote, on the program's behalf.
    pub(crate) helper_windows: Cell<[Window; 2]>,
    /// The op that is next, or in a helper the call.
    pub(crate) pc: usize,
    pub(crate) program: Arc<LoadedProgram>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) may_goto: u64,
    pub(crate) insns: u64,
    pub(crate) insns_max: u64,
    /// Where threaded code returns to the loop, in instructions.
    pub(crate) chain_end: u64,
    pub(crate) tail_calls: u32,
    pub(crate) absent_loads: u64,
    pub(crate) cpu: u32,
    pub(crate) view: View,
    pub(crate) scratch: Scratch,
    pub(crate) jit: JitState,
    stack: Region,
    run_state: Vec<(TypeId, Box<dyn Any + Send>)>,
    ended: Ended,
    /// Something of the last run is left that the next must not find: windows, frames, run states, registers. What compiled code does by itself
    /// leaves nothing.
    pub(crate) touched: Cell<bool>,
    /// The function that is to run next is entered by its address.
    pub(crate) by_address: bool,
}

impl State {
    fn new(vm: &Arc<Vm>, program: Arc<LoadedProgram>, cpu: u32) -> Result<State, MemoryError> {
        let memory = vm.memory();
        let parts = [Part { off: 0, len: FRAME_LEN, access: Access::ReadWrite }].into();
        let layout = Layout::Slab { stride: FRAME_STRIDE, parts };
        let stack = memory.allocate("stack", FRAME_STRIDE * FRAMES_MAX * (TAIL_CALLS_MAX + 1), layout)?;
        Ok(State {
            regs: [0; 16],
            windows: [Window::default(); 16],
            windows_set: 0,
            recent: Recent::default(),
            fields: None,
            helper_windows: Cell::default(),
            pc: 0,
            program,
            frames: Vec::with_capacity(FRAMES_MAX as usize),
            may_goto: MAY_GOTO_MAX,
            insns: 0,
            insns_max: vm.limits().insns_max,
            chain_end: 0,
            tail_calls: 0,
            absent_loads: 0,
            cpu,
            view: View::new(memory.clone()),
            scratch: Scratch::new(memory.clone()),
            jit: JitState::default(),
            stack,
            run_state: Vec::new(),
            ended: Ended::Not,
            touched: Cell::new(true),
            by_address: false,
        })
    }

    /// Gets ready for a run of the program, from its first op on.
    #[inline]
    fn reset(&mut self, program: &Arc<LoadedProgram>, args: [u64; 5]) {
        if self.touched.get() || !Arc::ptr_eq(&self.program, program) {
            self.clear(program);
        }
        let [r1, r2, r3, r4, r5] = args;
        self.regs[..6].copy_from_slice(&[0, r1, r2, r3, r4, r5]);
        (self.pc, self.insns, self.may_goto, self.ended) = (0, 0, MAY_GOTO_MAX, Ended::Not);
        self.refresh();
    }

    /// Removes what the last run left.
    fn clear(&mut self, program: &Arc<LoadedProgram>) {
        self.regs = [0; 16];
        if !Arc::ptr_eq(&self.program, program) {
            self.program = program.clone();
        }
        self.frames.clear();
        self.run_state.clear();
        (self.tail_calls, self.absent_loads, self.by_address) = (0, 0, false);
        self.forget_windows();
        self.enter_frame();
        // Frames are given out anew for each run.
        self.touched.set(self.view.memory().hygiene() != Hygiene::Off);
    }

    /// Points r10 at the frame of the current depth.
    pub(crate) fn enter_frame(&mut self) {
        let base = self.frames.len() as u32 * FRAME_STRIDE;
        if self.view.memory().hygiene() != Hygiene::Off {
            self.stack.recycle(base, FRAME_LEN);
        }
        self.may_goto = MAY_GOTO_MAX;
        self.regs[10] = self.stack.base() + u64::from(base + FRAME_LEN);
    }

    /// Calls the op at `target`; the current function goes on at `return_to`.
    pub(crate) fn push_frame(&mut self, return_to: u32, pending: Option<Pending>) -> Result<(), FaultKind> {
        self.touched.set(true);
        // A program that a tail call entered has frames of its own: its callers', in subprograms, stay where they are.
        if self.frames.len() as u32 + 1 >= FRAMES_MAX * (self.tail_calls + 1) {
            return Err(FaultKind::CallDepth { frames_max: FRAMES_MAX });
        }
        let saved = [self.regs[6], self.regs[7], self.regs[8], self.regs[9]];
        let (program, may_goto) = (self.program.clone(), self.may_goto);
        self.frames.push(Frame { program, return_to, saved, may_goto, pending });
        self.enter_frame();
        Ok(())
    }

    /// Leaves the current function: registers and program are the caller's again. None in the main function.
    pub(crate) fn pop_frame(&mut self) -> Option<Frame> {
        let mut frame = self.frames.pop()?;
        self.regs[6..10].copy_from_slice(&frame.saved);
        self.regs[10] = self.stack.base() + u64::from(self.frames.len() as u32 * FRAME_STRIDE + FRAME_LEN);
        self.pc = frame.return_to as usize;
        self.may_goto = frame.may_goto;
        core::mem::swap(&mut self.program, &mut frame.program);
        Some(frame)
    }

    /// Remembers the object at an address that a base register holds.
    pub(crate) fn look_at(&mut self, base: u8, addr: u64) {
        let window = self.view.window(addr);
        if window.is_empty() {
            self.fields = self.view.fields_at(addr);
            return;
        }
        self.recent.note(window);
        self.set_window(base, window);
    }

    #[inline]
    pub(crate) fn set_window(&mut self, base: u8, window: Window) {
        let base = base & 15;
        self.touched.set(true);
        self.windows[usize::from(base)] = window;
        self.windows_set |= 1 << base;
    }

    /// r10 of the last frame that there may be.
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn last_frame(&self) -> u64 {
        let last = FRAMES_MAX * (self.tail_calls + 1) - 1;
        self.stack.base() + u64::from(last * FRAME_STRIDE + FRAME_LEN)
    }

    pub(crate) fn forget_windows(&mut self) {
        while self.windows_set != 0 {
            self.windows[(self.windows_set.trailing_zeros() & 15) as usize] = Window::default();
            self.windows_set &= self.windows_set - 1;
        }
        self.recent.forget();
        self.helper_windows = Cell::default();
    }

    pub(crate) fn memory_changed(&mut self) {
        self.forget_windows();
        self.refresh();
    }

    /// Catches up with objects that were made or dropped.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        if self.view.refresh() {
            self.forget_windows();
            self.fields = None;
        }
    }

    /// The slot of the op at `pc`.
    pub(crate) fn slot(&self) -> u32 {
        self.program.ops.slot_of(self.pc)
    }

    #[cold]
    pub(crate) fn fault(&self, kind: FaultKind) -> Fault {
        self.program.fault_at(self.slot(), kind)
    }

    pub(crate) fn at(&self) -> At<'_> {
        At {
            regs: self.regs.first_chunk().expect("16 is more than 11"),
            pc: self.slot(),
            program: &self.program,
            depth: self.frames.len(),
            cpu: self.cpu,
            view: &self.view,
        }
    }

    #[inline]
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            r0: self.regs[0],
            insns: self.insns,
            tail_calls: self.tail_calls,
            absent_loads: self.absent_loads,
        }
    }

    /// Whether anything is kept for the length of the run.
    #[inline]
    pub(crate) fn keeps_state(&self) -> bool {
        !self.run_state.is_empty()
    }

    pub(crate) fn run_state_if<T: Any>(&mut self) -> Option<&mut T> {
        let id = TypeId::of::<T>();
        self.run_state.iter_mut().find(|(known, _)| *known == id)?.1.downcast_mut()
    }

    pub(crate) fn run_state<T: Any + Send + Default>(&mut self) -> &mut T {
        let id = TypeId::of::<T>();
        let at = match self.run_state.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                self.touched.set(true);
                self.run_state.push((id, Box::new(T::default())));
                self.run_state.len() - 1
            }
        };
        self.run_state[at].1.downcast_mut().expect("stored under its own type's id")
    }
}
