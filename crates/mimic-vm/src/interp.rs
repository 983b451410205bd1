//! The interpreter: one loop over pre-decoded ops. Precise: every access is checked against the object it touches.
//!
//! Arithmetic is `mimic_abi`'s (RFC 9669). The budget is looked at where control is transferred, not at every instruction:
//! `insns` is exact there, and at the end.
//!
//! What is frequent and succeeds is done by threaded code (`threaded`), which stops before everything else. A run with a probe, or of
//! a guest whose byte order is not the host's, is done here alone.

use crate::call::{Call, HelperResult, Next, Trap};
use crate::context::Context;
use crate::emulator::HelperImpl;
use crate::fault::{Fault, FaultKind};
use crate::hook::Before;
use crate::memory::AccessError;
use crate::op::{Code, Ops, with_codes};
use crate::probe::{Flow, Probe};
use crate::process::{MAY_GOTO_MAX, Pending, Process, State, TAIL_CALLS_MAX};
use crate::program::{FuncRef, HelperRef, func_addr};
use mimic_abi::{AluOp, AtomicOp, ByteOrder, Cond, Errno, Insn, Size};
use std::sync::Arc;

/// Why the loop was left, when nothing went wrong.
pub(crate) enum Control {
    /// The program returned; r0 has it.
    Exited,
    /// The probe stopped it.
    Paused,
}

/// What the loop does after something that may have moved it elsewhere. `state.pc` and `state.program` say where.
pub(crate) enum Moved {
    /// Go on at `state.pc`, in the same program.
    Jump,
    /// Go on at `state.pc`, in another program perhaps.
    Program,
    /// Leave the loop.
    Exit,
}

impl Process {
    /// Runs until the program returns, faults, or the probe stops it.
    pub(crate) fn execute<P: Probe>(
        &mut self,
        context: &mut dyn Context,
        probe: &mut P,
    ) -> Result<Control, Box<Fault>> {
        let swapped = self.vm.memory().order() != ByteOrder::NATIVE;
        self.state.touched.set(true);
        let mut machine = Machine { process: self, context };
        machine.catch_up();
        let end = if swapped { machine.run::<P, true>(probe) } else { machine.run::<P, false>(probe) };
        let end = match end {
            Ok(Control::Exited) => machine.run_ended().map(|()| Control::Exited),
            other => other,
        };
        end.map_err(|kind| Box::new(self.state.fault(*kind)))
    }
}

/// A process with its context, while it runs.
pub(crate) struct Machine<'a> {
    pub(crate) process: &'a mut Process,
    pub(crate) context: &'a mut dyn Context,
}

impl Machine<'_> {
    /// The loop. `SWAP`: the guest's byte order is not the host's.
    pub(crate) fn run<P: Probe, const SWAP: bool>(
        &mut self,
        probe: &mut P,
    ) -> Result<Control, Box<FaultKind>> {
        loop {
            let program = self.process.state.program.clone();
            match self.run_program::<P, SWAP>(&program.ops, &program.helpers, probe)? {
                Moved::Exit => return Ok(Control::Exited),
                Moved::Program => {}
                Moved::Jump => return Ok(Control::Paused),
            }
        }
    }

    /// Runs the ops of one program until it is left. `Moved::Jump` means that the probe stopped it.
    fn run_program<P: Probe, const SWAP: bool>(
        &mut self,
        program: &Ops,
        helpers: &[HelperRef],
        probe: &mut P,
    ) -> Result<Moved, Box<FaultKind>> {
        let (ops, rare) = (&*program.ops, &*program.rare);
        let process = &mut *self.process;
        let memory = process.vm.memory().clone();
        let memory = &*memory;
        let mut pc = process.state.pc;
        // The first op of the straight run that is being executed: ops before it are counted already.
        let mut start = pc;
        macro_rules! state {
            () => {
                process.state
            };
        }
        // The whole machine, for what is rarer than an access to a register.
        macro_rules! machine {
            () => {
                Machine { process: &mut *process, context: &mut *self.context }
            };
        }
        macro_rules! reg {
            ($index:expr) => {
                state!().regs[($index & 15) as usize]
            };
        }
        // Counts the straight run up to and with this op.
        macro_rules! count {
            () => {
                state!().insns += (pc + 1 - start) as u64
            };
        }
        macro_rules! fault {
            ($kind:expr) => {{
                count!();
                state!().pc = pc;
                return Err(Box::new($kind));
            }};
        }
        macro_rules! jump {
            ($op:expr) => {{
                count!();
                let target = $op.off as u32 as usize;
                // Only jumps back can repeat anything.
                if state!().insns > state!().insns_max && target <= pc {
                    state!().pc = pc;
                    return Err(Box::new(FaultKind::Budget { insns_max: state!().insns_max }));
                }
                start = target;
                pc = target;
                continue;
            }};
        }
        // Runs `$what`, which may move the process; goes on where it says.
        macro_rules! moved {
            ($what:expr) => {{
                count!();
                state!().pc = pc;
                if state!().insns > state!().insns_max {
                    return Err(Box::new(FaultKind::Budget { insns_max: state!().insns_max }));
                }
                match $what? {
                    Moved::Jump => {
                        pc = state!().pc;
                        start = pc;
                        continue;
                    }
                    moved => return Ok(moved),
                }
            }};
        }
        macro_rules! load {
            ($op:expr, $size:expr) => {{
                let addr = reg!($op.src).wrapping_add($op.off as i64 as u64);
                if state!().windows[($op.src & 15) as usize].reads(addr, $size) {
                    memory.load_raw::<SWAP>(addr as u32, $size)
                } else {
                    match state!().load_slow($op.src, addr, $size) {
                        Ok(value) => value,
                        Err(error) => fault!(FaultKind::Access(*error)),
                    }
                }
            }};
        }
        macro_rules! store {
            ($op:expr, $size:expr, $value:expr) => {{
                let addr = reg!($op.dst).wrapping_add($op.off as i64 as u64);
                let value = $value;
                if state!().windows[($op.dst & 15) as usize].writes(addr, $size) {
                    memory.store_raw::<SWAP>(addr as u32, $size, value);
                } else if let Err(error) = state!().store_slow($op.dst, addr, $size, value) {
                    fault!(FaultKind::Access(*error));
                }
            }};
        }
        macro_rules! fp_load {
            ($op:expr, $size:expr) => {
                reg!($op.dst) = memory.load_raw::<SWAP>((reg!(10) as u32).wrapping_add($op.off as u32), $size)
            };
        }
        macro_rules! fp_store {
            ($op:expr, $size:expr) => {
                memory.store_raw::<SWAP>((reg!(10) as u32).wrapping_add($op.off as u32), $size, reg!($op.src))
            };
        }
        macro_rules! dispatch {
            (
                alu { $($alu:ident: $a64r:ident $a64i:ident $a32r:ident $a32i:ident,)* }
                cond { $($cond:ident: $c64r:ident $c64i:ident $c32r:ident $c32i:ident,)* }
                other { $($(#[$doc:meta])* $other:ident,)* }
            ) => {
                loop {
                    if P::ACTIVE {
                        state!().pc = pc;
                        if let Flow::Stop = probe.insn(&state!().at()) {
                            state!().insns += (pc - start) as u64;
                            return Ok(Moved::Jump);
                        }
                    }
                    if !P::ACTIVE && !SWAP {
                        state!().insns += (pc - start) as u64;
                        pc = program.threaded.run(&mut process.state, memory, pc);
                        start = pc;
                    }
                    let op = &ops[pc];
                    match op.code {
                        $(
                            Code::$a64r => reg!(op.dst) = AluOp::$alu.eval64(reg!(op.dst), reg!(op.src)),
                            Code::$a64i => reg!(op.dst) = AluOp::$alu.eval64(reg!(op.dst), op.imm),
                            Code::$a32r => reg!(op.dst) = u64::from(AluOp::$alu.eval32(reg!(op.dst) as u32, reg!(op.src) as u32)),
                            Code::$a32i => reg!(op.dst) = u64::from(AluOp::$alu.eval32(reg!(op.dst) as u32, op.imm as u32)),
                        )*
                        $(
                            Code::$c64r => if Cond::$cond.eval64(reg!(op.dst), reg!(op.src)) { jump!(op) },
                            Code::$c64i => if Cond::$cond.eval64(reg!(op.dst), op.imm) { jump!(op) },
                            Code::$c32r => if Cond::$cond.eval32(reg!(op.dst) as u32, reg!(op.src) as u32) { jump!(op) },
                            Code::$c32i => if Cond::$cond.eval32(reg!(op.dst) as u32, op.imm as u32) { jump!(op) },
                        )*
                        Code::Neg64 => reg!(op.dst) = reg!(op.dst).wrapping_neg(),
                        Code::Neg32 => reg!(op.dst) = u64::from((reg!(op.dst) as u32).wrapping_neg()),
                        Code::MovSx64 => reg!(op.dst) = sign_extend(reg!(op.src), op.imm),
                        Code::MovSx32 => reg!(op.dst) = u64::from(sign_extend(reg!(op.src), op.imm) as u32),
                        Code::Bswap => reg!(op.dst) = reg!(op.dst).swap_bytes() >> (64 - (op.imm & 63)) % 64,
                        Code::Trunc => reg!(op.dst) &= u64::MAX >> ((64 - (op.imm & 63)) % 64),
                        Code::LdImm64 => reg!(op.dst) = op.imm,
                        Code::LoadB => reg!(op.dst) = load!(op, Size::B),
                        Code::LoadH => reg!(op.dst) = load!(op, Size::H),
                        Code::LoadW => reg!(op.dst) = load!(op, Size::W),
                        Code::LoadDw => reg!(op.dst) = load!(op, Size::Dw),
                        Code::LoadSxB => reg!(op.dst) = load!(op, Size::B) as i8 as u64,
                        Code::LoadSxH => reg!(op.dst) = load!(op, Size::H) as i16 as u64,
                        Code::LoadSxW => reg!(op.dst) = load!(op, Size::W) as i32 as u64,
                        Code::StoreB => store!(op, Size::B, reg!(op.src)),
                        Code::StoreH => store!(op, Size::H, reg!(op.src)),
                        Code::StoreW => store!(op, Size::W, reg!(op.src)),
                        Code::StoreDw => store!(op, Size::Dw, reg!(op.src)),
                        Code::StoreImmB => store!(op, Size::B, op.imm),
                        Code::StoreImmH => store!(op, Size::H, op.imm),
                        Code::StoreImmW => store!(op, Size::W, op.imm),
                        Code::StoreImmDw => store!(op, Size::Dw, op.imm),
                        Code::FpLoadB => fp_load!(op, Size::B),
                        Code::FpLoadH => fp_load!(op, Size::H),
                        Code::FpLoadW => fp_load!(op, Size::W),
                        Code::FpLoadDw => fp_load!(op, Size::Dw),
                        Code::FpStoreB => fp_store!(op, Size::B),
                        Code::FpStoreH => fp_store!(op, Size::H),
                        Code::FpStoreW => fp_store!(op, Size::W),
                        Code::FpStoreDw => fp_store!(op, Size::Dw),
                        Code::Goto => jump!(op),
                        Code::MayGoto => {
                            if state!().may_goto == 0 {
                                jump!(op);
                            }
                            state!().may_goto -= 1;
                        }
                        Code::Rare => {
                            state!().pc = pc;
                            match &rare[op.imm as usize] {
                                insn @ Insn::Packet { .. } => moved!(machine!().packet_load(insn)),
                                insn => {
                                    if let Err(kind) = state!().rare(insn) {
                                        fault!(*kind);
                                    }
                                }
                            }
                        }
                        Code::CallHelper => {
                            state!().pc = pc;
                            match machine!().call_helper(&helpers[op.imm as usize]) {
                                Ok(r0) => reg!(0) = r0,
                                Err(trap) => moved!(machine!().trap(trap, &helpers[op.imm as usize].name)),
                            }
                        }
                        Code::CallSubprog => {
                            if let Err(kind) = state!().push_frame(pc as u32 + 1, None) {
                                fault!(kind);
                            }
                            count!();
                            if state!().insns > state!().insns_max {
                                state!().pc = pc;
                                return Err(Box::new(FaultKind::Budget { insns_max: state!().insns_max }));
                            }
                            pc = op.off as u32 as usize;
                            start = pc;
                            continue;
                        }
                        Code::CallX => {
                            let value = reg!(op.src);
                            moved!(machine!().call_register(value))
                        }
                        Code::Exit => moved!(machine!().exit()),
                        Code::WriteR10 => fault!(FaultKind::FramePointer),
                        Code::End => fault!(FaultKind::FellOff),
                    }
                    pc += 1;
                }
            };
        }
        with_codes!(dispatch)
    }

    /// Calls a helper with what is in r1 to r5.
    #[inline]
    pub(crate) fn call_helper(&mut self, helper: &HelperRef) -> HelperResult {
        let args = *self.process.state.regs[1..].first_chunk().expect("there are 16");
        let result = if self.process.hook.is_none() && self.process.overrides.is_empty() {
            self.call_plain(helper, args)
        } else {
            self.call_watched(helper, args)
        };
        match result {
            Err(Trap::Errno(errno)) => Ok(errno.to_r0()),
            result => result,
        }
    }

    /// The same, with what is in the registers, of a helper that nobody watches or replaces.
    #[inline(always)]
    pub(crate) fn call_plain(&mut self, helper: &HelperRef, args: [u64; 5]) -> HelperResult {
        self.refresh_maps();
        let process = &mut *self.process;
        let mut call = Call {
            vm: &process.vm,
            state: &mut process.state,
            context: &mut *self.context,
            maps: &process.maps,
            name: &helper.name,
            spec: helper.spec.as_ref(),
        };
        let result = helper.run.invoke(&mut call, args);
        process.state.refresh();
        result
    }

    #[cold]
    fn call_watched(&mut self, helper: &HelperRef, args: [u64; 5]) -> HelperResult {
        self.refresh_maps();
        let process = &mut *self.process;
        let mut call = Call {
            vm: &process.vm,
            state: &mut process.state,
            context: &mut *self.context,
            maps: &process.maps,
            name: &helper.name,
            spec: helper.spec.as_ref(),
        };
        let run = process.overrides.get(&helper.key).unwrap_or(&helper.run);
        let result = hooked(process.hook.as_deref_mut(), run, &mut call, args);
        self.catch_up();
        result
    }

    /// Catches up with maps that were made or removed.
    #[inline]
    fn refresh_maps(&mut self) {
        if self.process.maps.version != self.process.vm.maps_version() {
            self.take_maps();
        }
    }

    #[cold]
    #[inline(never)]
    fn take_maps(&mut self) {
        self.process.maps = self.process.vm.maps();
    }

    /// Catches up with regions and maps that a helper, or another thread, made or dropped.
    #[inline]
    pub(crate) fn catch_up(&mut self) {
        self.process.state.refresh();
        self.refresh_maps();
    }

    /// Does what a helper asked for instead of a plain return. The call is at `state.pc`.
    #[cold]
    pub(crate) fn trap(&mut self, trap: Trap, name: &Arc<str>) -> Result<Moved, Box<FaultKind>> {
        let state = &mut self.process.state;
        match trap {
            Trap::Errno(errno) => {
                state.regs[0] = errno.to_r0();
                state.pc += 1;
                Ok(Moved::Jump)
            }
            Trap::Fault(kind) => Err(kind),
            Trap::TailCall(_) if state.tail_calls >= TAIL_CALLS_MAX => {
                state.regs[0] = Errno::EPERM.to_r0();
                state.pc += 1;
                Ok(Moved::Jump)
            }
            Trap::TailCall(program) => {
                state.tail_calls += 1;
                state.may_goto = MAY_GOTO_MAX;
                state.program = program;
                // It has its r1 and its frame; whatever else the caller had is not its business.
                (state.pc, state.regs[0]) = (0, 0);
                state.regs[2..10].fill(0);
                Ok(Moved::Program)
            }
            Trap::Callback(request) => {
                let return_to = state.pc as u32 + 1;
                let pending = Pending { name: name.clone(), func: request.func.clone(), then: request.then };
                state.push_frame(return_to, Some(pending))?;
                enter_function(state, &request.func, request.args)
            }
            Trap::Throw(cookie) => self.throw(cookie),
            Trap::ExitProgram(r0) => {
                state.regs[0] = r0;
                self.exit()
            }
        }
    }

    /// Leaves the current function.
    pub(crate) fn exit(&mut self) -> Result<Moved, Box<FaultKind>> {
        let Some(frame) = self.process.state.pop_frame() else { return Ok(Moved::Exit) };
        match frame.pending {
            None => Ok(Moved::Program),
            Some(pending) => self.callback_returned(pending),
        }
    }

    /// Tells a helper what the function it called returned, and does what it asks for then.
    fn callback_returned(&mut self, mut pending: Pending) -> Result<Moved, Box<FaultKind>> {
        let process = &mut *self.process;
        let r0 = process.state.regs[0];
        // As while the helper itself ran: the pc is the call's.
        process.state.pc -= 1;
        let mut call = Call {
            vm: &process.vm,
            state: &mut process.state,
            context: &mut *self.context,
            maps: &process.maps,
            name: &pending.name,
            spec: None,
        };
        let next = pending.then.returned(&mut call, r0);
        self.catch_up();
        let state = &mut self.process.state;
        match next {
            Ok(Next::Return(r0)) => {
                state.regs[0] = r0;
                state.pc += 1;
                Ok(Moved::Program)
            }
            Ok(Next::Again(args)) => {
                let func = pending.func.clone();
                state.push_frame(state.pc as u32 + 1, Some(pending))?;
                enter_function(state, &func, args)
            }
            Err(trap) => self.trap(trap, &pending.name.clone()).map(|moved| match moved {
                Moved::Jump => Moved::Program,
                moved => moved,
            }),
        }
    }

    /// `bpf_throw`: leaves all frames. The program's exception callback, or else the cookie, gives r0.
    fn throw(&mut self, cookie: u64) -> Result<Moved, Box<FaultKind>> {
        let state = &mut self.process.state;
        while state.pop_frame().is_some() {}
        state.regs[0] = cookie;
        let Some(pc) = state.program.exception_callback else { return Ok(Moved::Exit) };
        let func = FuncRef { program: state.program.clone(), pc };
        enter_function(state, &func, [cookie, 0, 0, 0, 0])
    }

    /// `callx`: a function of the program by its address, or (as user-space machines have it) a helper by its number.
    pub(crate) fn call_register(&mut self, value: u64) -> Result<Moved, Box<FaultKind>> {
        let process = &mut *self.process;
        if let Some(func) = process.vm.func_at(value, &process.state.program) {
            let args = *process.state.regs[1..].first_chunk().expect("there are 16");
            process.state.push_frame(process.state.pc as u32 + 1, None)?;
            return enter_function(&mut process.state, &func, args);
        }
        let helper = u32::try_from(value).ok().and_then(|id| process.vm.helper_ref(id));
        let Some(helper) = helper else { return Err(Box::new(FaultKind::NotAFunction { value })) };
        match self.call_helper(&helper) {
            Ok(r0) => {
                self.process.state.regs[0] = r0;
                self.process.state.pc += 1;
                Ok(Moved::Jump)
            }
            Err(trap) => self.trap(trap, &helper.name),
        }
    }

    /// `r0 = *(size *)skb[index + imm]`.
    pub(crate) fn packet_load(&mut self, insn: &Insn) -> Result<Moved, Box<FaultKind>> {
        let Insn::Packet { size, index, imm } = *insn else { unreachable!("the caller matched") };
        let process = &mut *self.process;
        let index = index.map_or(0, |reg| process.state.regs[reg.index()] as u32);
        let off = i64::from(index.wrapping_add(imm as u32) as i32);
        let vm = process.vm.clone();
        let name = &vm.names.packet_load;
        let mut call = Call {
            vm: &process.vm,
            state: &mut process.state,
            context: &mut *self.context,
            maps: &process.maps,
            name,
            spec: None,
        };
        match process.vm.emulator().packet_load(&mut call, off, size) {
            Ok(r0) => {
                process.state.regs[0] = r0;
                process.state.pc += 1;
                Ok(Moved::Jump)
            }
            Err(trap) => self.trap(trap, name),
        }
    }

    /// Tells the emulator that the run has ended, if it keeps anything of it.
    #[inline]
    pub(crate) fn run_ended(&mut self) -> Result<(), Box<FaultKind>> {
        if self.process.state.keeps_state() { self.tell_end() } else { Ok(()) }
    }

    fn tell_end(&mut self) -> Result<(), Box<FaultKind>> {
        let process = &mut *self.process;
        let mut call = Call {
            vm: &process.vm,
            state: &mut process.state,
            context: &mut *self.context,
            maps: &process.maps,
            name: &process.vm.names.end_of_run,
            spec: None,
        };
        match process.vm.emulator().run_ended(&mut call) {
            Ok(()) | Err(Trap::Errno(_)) => Ok(()),
            Err(Trap::Fault(kind)) => Err(kind),
            Err(_) => Err(Box::new(FaultKind::Unsupported("control transfer after the end of a run".into()))),
        }
    }
}

/// Goes to the first instruction of a function, in a frame that was pushed already. It has its arguments, and zero in the other registers.
fn enter_function(state: &mut State, func: &FuncRef, args: [u64; 5]) -> Result<Moved, Box<FaultKind>> {
    let Some(at) = func.program.ops.op_at(func.pc) else {
        return Err(Box::new(FaultKind::NotAFunction { value: func_addr(func.program.id, func.pc) }));
    };
    (state.program, state.by_address) = (func.program.clone(), true);
    state.regs[..10].fill(0);
    state.regs[1..6].copy_from_slice(&args);
    state.pc = at;
    Ok(Moved::Program)
}

/// A helper call that a hook watches.
#[cold]
fn hooked(
    hook: Option<&mut (dyn crate::hook::Hook + 'static)>,
    run: &HelperImpl,
    call: &mut Call<'_>,
    args: [u64; 5],
) -> HelperResult {
    let Some(hook) = hook else { return run.invoke(call, args) };
    if let Before::Return(r0) = hook.before(call, args)? {
        return Ok(r0);
    }
    let r0 = match run.invoke(call, args) {
        Err(Trap::Errno(errno)) => errno.to_r0(),
        other => other?,
    };
    hook.after(call, args, r0)
}

fn sign_extend(value: u64, bits: u64) -> u64 {
    let unused = 64 - (bits & 63);
    ((value << (unused & 63)) as i64 >> (unused & 63)) as u64
}

impl State {
    /// Does the op at the pc, which is a load, a store or rare: what compiled code has no form of, or could not do quickly.
    pub(crate) fn op_alone(&mut self) -> Result<(), Box<FaultKind>> {
        let op = self.program.ops.ops[self.pc];
        let access = |error: Box<AccessError>| Box::new(FaultKind::Access(*error));
        let (dst, src) = ((op.dst & 15) as usize, (op.src & 15) as usize);
        let Some((size, sext)) = op.code.access() else {
            let insn = self.program.ops.rare[op.imm as usize];
            return self.rare(&insn);
        };
        if !op.code.is_store() {
            let addr = self.regs[src].wrapping_add(op.off as i64 as u64);
            let value = self.load_slow(op.src, addr, size).map_err(access)?;
            self.regs[dst] = if sext { sign_extend(value, size.bytes() as u64 * 8) } else { value };
            return Ok(());
        }
        let imm = matches!(op.code, Code::StoreImmB | Code::StoreImmH | Code::StoreImmW | Code::StoreImmDw);
        let value = if imm { op.imm } else { self.regs[src] };
        let addr = self.regs[dst].wrapping_add(op.off as i64 as u64);
        self.store_slow(op.dst, addr, size, value).map_err(access)
    }

    /// A load outside the register's window: looks the object up.
    #[cold]
    #[inline(never)]
    fn load_slow(&mut self, base: u8, addr: u64, size: Size) -> Result<u64, Box<AccessError>> {
        if self.fields.as_ref().is_some_and(|fields| fields.allows_at(addr, size.bytes() as u32, false)) {
            return Ok(self.view.memory().load_at(addr as u32, size));
        }
        if let Some(window) = self.recent.find(|window| window.reads(addr, size)).copied() {
            self.set_window(base, window);
            return Ok(self.view.memory().load_at(addr as u32, size));
        }
        let value = match self.view.load(addr, size) {
            Ok(value) => value,
            Err(_) if self.is_no_page(addr) => return Ok(0),
            Err(error) if self.program.probe_loads && error.place.is_none() => {
                self.absent_loads += 1;
                self.touched.set(true);
                return Ok(0);
            }
            Err(error) => return Err(error.into()),
        };
        self.look_at(base, addr);
        Ok(value)
    }

    /// A store outside the register's window.
    #[cold]
    #[inline(never)]
    fn store_slow(&mut self, base: u8, addr: u64, size: Size, value: u64) -> Result<(), Box<AccessError>> {
        if let Some(window) = self.recent.find(|window| window.writes(addr, size)).copied() {
            self.set_window(base, window);
            self.view.memory().store_at(addr as u32, size, value);
            return Ok(());
        }
        match self.view.store(addr, size, value) {
            Err(_) if self.is_no_page(addr) => return Ok(()),
            stored => stored?,
        }
        self.look_at(base, addr);
        Ok(())
    }

    /// Whether an address is one where the program's arena has no page.
    fn is_no_page(&self, addr: u64) -> bool {
        self.program.arena.is_some_and(|arena| arena.holds(addr))
    }

    /// Whether an atomic access goes to where the program's arena has no page.
    fn misses_arena(&self, base: usize, off: i16, size: Size) -> bool {
        let addr = self.regs[base].wrapping_add(off as i64 as u64);
        self.is_no_page(addr) && !self.view.allows(addr, size.bytes() as u64, true)
    }

    /// Atomics, acquire and release, and address-space casts.
    #[inline(never)]
    fn rare(&mut self, insn: &Insn) -> Result<(), Box<FaultKind>> {
        match *insn {
            Insn::Atomic { base, off, size, .. } | Insn::StoreRelease { base, off, size, .. }
                if self.misses_arena(base.index(), off, size) =>
            {
                Ok(())
            }
            Insn::LoadAcquire { size, dst, base, off } if self.misses_arena(base.index(), off, size) => {
                self.regs[dst.index()] = 0;
                Ok(())
            }
            Insn::Atomic { op, fetch, size, base, off, src } => {
                let addr = self.atomic_addr(base.index(), off, size, true)?;
                let operand = self.regs[src.index()];
                let memory = self.view.memory().clone();
                if op == AtomicOp::Cmpxchg {
                    let old = memory.atomic_update(addr, size, |old| {
                        (old == truncate(self.regs[0], size)).then_some(operand)
                    });
                    self.regs[0] = old;
                } else {
                    let old = memory.atomic_update(addr, size, |old| Some(atomic_result(op, old, operand)));
                    if fetch {
                        self.regs[src.index()] = old;
                    }
                }
                Ok(())
            }
            Insn::LoadAcquire { size, dst, base, off } => {
                let addr = self.atomic_addr(base.index(), off, size, false)?;
                self.regs[dst.index()] = self.view.memory().load_acquire(addr, size);
                Ok(())
            }
            Insn::StoreRelease { size, base, off, src } => {
                let addr = self.atomic_addr(base.index(), off, size, true)?;
                self.view.memory().store_release(addr, size, self.regs[src.index()]);
                Ok(())
            }
            Insn::AddrSpaceCast { dst, src, to, .. } => {
                let Some(arena) = &self.program.arena else {
                    return Err(Box::new(FaultKind::Unsupported(
                        "address-space casts need an arena: the program refers to none".into(),
                    )));
                };
                let addr = self.regs[src.index()];
                self.regs[dst.index()] = if to == 0 { arena.to_guest(addr) } else { arena.to_user(addr) };
                Ok(())
            }
            _ => unreachable!("translation keeps other instructions out"),
        }
    }

    fn atomic_addr(&mut self, base: usize, off: i16, size: Size, write: bool) -> Result<u32, Box<FaultKind>> {
        let addr = self.regs[base].wrapping_add(off as i64 as u64);
        let len = size.bytes();
        if write {
            // A read-modify-write needs both rights.
            self.view.check(addr, len as u64, false).map_err(|error| Box::new(FaultKind::Access(error)))?;
        }
        let at =
            self.view.check(addr, len as u64, write).map_err(|error| Box::new(FaultKind::Access(error)))?;
        if !addr.is_multiple_of(len as u64) {
            return Err(Box::new(FaultKind::Misaligned { addr, len: len as u32 }));
        }
        Ok(at)
    }
}

fn truncate(value: u64, size: Size) -> u64 {
    if size == Size::W { u64::from(value as u32) } else { value }
}

fn atomic_result(op: AtomicOp, old: u64, operand: u64) -> u64 {
    match op {
        AtomicOp::Add => old.wrapping_add(operand),
        AtomicOp::Or => old | operand,
        AtomicOp::And => old & operand,
        AtomicOp::Xor => old ^ operand,
        AtomicOp::Xchg | AtomicOp::Cmpxchg => operand,
    }
}
