//! `Timers`: timers and work that programs keep in map values, and running what is due.
//!
//! A `struct bpf_timer` or `struct bpf_wq` in guest memory holds a number, 0 when it was not initialised. Whatever clears it (an element
//! that is deleted, or set anew) has thereby cancelled the timer, as in the kernel. bpf-helpers(7), `bpf_timer_*`.

use crate::Linux;
use crate::world::{Clock, ClockMode};
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{
    Elem, ElemKey, Fault, FaultKind, FuncRef, MapRef, MemoryError, Process, RawContext, Region, RunError,
    View, Vm,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

/// The most callbacks that one call of [`Linux::advance_to`] runs: a timer that starts itself again at once would never let it end.
pub const TIMER_CALLS_MAX: u32 = 1 << 20;

/// All timers of a Linux, and all work.
#[derive(Default)]
pub(crate) struct Timers {
    /// By the address of the `struct bpf_timer`.
    table: HashMap<u64, Timer>,
    /// What is armed: when (`CLOCK_MONOTONIC`, nanoseconds), in which order it was armed, where.
    queue: BTreeSet<(i64, u64, u64)>,
    /// The number that was given out last.
    number: u64,
    /// The timer whose callback a CPU runs.
    running: HashMap<u32, u64>,
}

struct Timer {
    /// What is at its address as long as it lives.
    id: u64,
    map: Arc<MapRef>,
    base: Base,
    callback: Option<FuncRef>,
    /// Its entry in the queue, and the CPU that armed it.
    armed: Option<((i64, u64, u64), u32)>,
}

/// The clock that a timer's absolute times are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Real,
    Monotonic,
    Boot,
}

impl Base {
    /// What has to be added to `CLOCK_MONOTONIC`, in nanoseconds.
    fn ahead_ns(self, clock: &Clock) -> i64 {
        match self {
            Base::Monotonic => 0,
            Base::Boot => clock.boot_ns(0) as i64,
            Base::Real => clock.real_ns(0) as i64,
        }
    }
}

impl Timers {
    /// Makes a timer at `addr`; answers what to store there. `id` is what is there now. `EBUSY` if that is a timer already.
    pub(crate) fn init(&mut self, addr: u64, id: u64, map: &Arc<MapRef>, base: Base) -> Result<u64, Errno> {
        if self.at(addr, id).is_some() {
            return Err(Errno::EBUSY);
        }
        self.number += 1;
        let timer = Timer { id: self.number, map: map.clone(), base, callback: None, armed: None };
        self.forget(addr);
        self.table.insert(addr, timer);
        Ok(self.number)
    }

    /// `EINVAL` if there is no timer.
    pub(crate) fn set_callback(&mut self, addr: u64, id: u64, func: FuncRef) -> Result<(), Errno> {
        self.at(addr, id).ok_or(Errno::EINVAL)?.callback = Some(func);
        Ok(())
    }

    /// Arms a timer `delay_ns` from now, or at a time of its clock. `EINVAL` if there is none, or without a callback.
    pub(crate) fn start(
        &mut self,
        (addr, id): (u64, u64),
        clock: &Clock,
        ns: u64,
        absolute: bool,
        cpu: u32,
    ) -> Result<(), Errno> {
        let timer = self.at(addr, id).filter(|timer| timer.callback.is_some()).ok_or(Errno::EINVAL)?;
        let at_ns = match absolute {
            true => (ns as i64).saturating_sub(timer.base.ahead_ns(clock)),
            false => (clock.now_ns_on(cpu) as i64).saturating_add(ns as i64),
        };
        let old = timer.armed.take();
        self.number += 1;
        let entry = (at_ns, self.number, addr);
        if let Some(timer) = self.table.get_mut(&addr) {
            timer.armed = Some((entry, cpu));
        }
        old.map(|(old, _)| self.queue.remove(&old));
        self.queue.insert(entry);
        Ok(())
    }

    /// Disarms a timer and takes its callback away. Answers whether it was armed. `EINVAL` if there is none, `EDEADLK` from its own
    /// callback.
    pub(crate) fn cancel(&mut self, addr: u64, id: u64, cpu: u32) -> Result<bool, Errno> {
        let running = self.running.get(&cpu) == Some(&id);
        let timer = self.at(addr, id).ok_or(Errno::EINVAL)?;
        if running {
            return Err(Errno::EDEADLK);
        }
        timer.callback = None;
        let armed = timer.armed.take();
        Ok(armed.is_some_and(|(entry, _)| self.queue.remove(&entry)))
    }

    fn at(&mut self, addr: u64, id: u64) -> Option<&mut Timer> {
        self.table.get_mut(&addr).filter(|timer| timer.id == id)
    }

    fn forget(&mut self, addr: u64) {
        if let Some((entry, _)) = self.table.remove(&addr).and_then(|timer| timer.armed) {
            self.queue.remove(&entry);
        }
    }

    fn is_due(&self, now_ns: i64) -> bool {
        self.queue.first().is_some_and(|(at_ns, ..)| *at_ns <= now_ns)
    }

    /// Takes the next timer that is due out of the queue.
    fn take_due(&mut self, now_ns: i64) -> Option<Due> {
        let (at_ns, _, addr) = *self.queue.first().filter(|(at_ns, ..)| *at_ns <= now_ns)?;
        self.queue.pop_first();
        let timer = self.table.get_mut(&addr)?;
        let (_, cpu) = timer.armed.take()?;
        Some(Due { at_ns, addr, id: timer.id, map: timer.map.clone(), callback: timer.callback.clone(), cpu })
    }
}

/// A timer that is to run.
struct Due {
    at_ns: i64,
    addr: u64,
    id: u64,
    map: Arc<MapRef>,
    callback: Option<FuncRef>,
    cpu: u32,
}

impl Due {
    /// The element that the timer is in; none if it has gone.
    fn element(&self, view: &View) -> Option<Elem> {
        if view.load(self.addr, Size::Dw) != Ok(self.id) {
            return None;
        }
        let len = u64::from(self.map.spec().value_size);
        let mut cursor = 0;
        while let Ok(Some(elem)) = self.map.walk(self.cpu, &mut cursor) {
            if self.addr.checked_sub(elem.value).is_some_and(|off| off < len) {
                return Some(elem);
            }
        }
        None
    }
}

impl Linux {
    pub(crate) fn lock_timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the callbacks of timers and work that are due now, one after another, in the order in which they became due. `vm` is the one
    /// that this Linux is the emulator of. Answers how many ran.
    ///
    /// # Errors
    /// The fault of the first callback that had one; what is due after it is still there for the next call.
    pub fn run_due(&self, vm: &Arc<Vm>) -> Result<u32, RunError> {
        self.advance_to(vm, self.clock().now_ns())
    }

    /// Whether a timer or work is due at a time.
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.lock_timers().is_due(now_ns as i64)
    }

    /// Moves the virtual clock forward, running timers and work that become due on the way, each at its time. The host's clock does not
    /// move by this; what is due runs. Answers how many ran.
    ///
    /// # Errors
    /// As [`Linux::run_due`]; the clock stands where the fault was.
    pub fn advance_to(&self, vm: &Arc<Vm>, now_ns: u64) -> Result<u32, RunError> {
        match self.run_until(vm, now_ns, TIMER_CALLS_MAX)? {
            Ran { calls, stopped_at: None } => Ok(calls),
            Ran { stopped_at: Some(callback), .. } => {
                let kind = FaultKind::Limit { name: "TIMER_CALLS_MAX", max: TIMER_CALLS_MAX.into() };
                Err(fault(&callback, kind))
            }
        }
    }

    /// As [`Linux::advance_to`], but ends when `calls_max` callbacks ran; the clock then stands where the last one ran.
    pub(crate) fn run_until(&self, vm: &Arc<Vm>, now_ns: u64, calls_max: u32) -> Result<Ran, RunError> {
        // Between most packets nothing is due.
        if !self.lock_timers().is_due(now_ns as i64) {
            self.move_clock(now_ns);
            return Ok(Ran::default());
        }
        let mut runner =
            Runner { vm, view: View::new(vm.memory().clone()), processes: HashMap::new(), key: None };
        let mut calls = 0;
        loop {
            let Some(due) = self.lock_timers().take_due(now_ns as i64) else { break };
            self.move_clock(due.at_ns.max(0) as u64);
            let Some(callback) = due.callback.clone() else { continue };
            if calls == calls_max {
                return Ok(Ran { calls, stopped_at: Some(callback) });
            }
            runner.view.refresh();
            let Some(elem) = due.element(&runner.view) else {
                self.lock_timers().forget(due.addr);
                continue;
            };
            self.lock_timers().running.insert(due.cpu, due.id);
            let end = runner.call(&due, &callback, elem);
            self.lock_timers().running.remove(&due.cpu);
            end?;
            calls += 1;
        }
        self.move_clock(now_ns);
        Ok(Ran { calls, stopped_at: None })
    }

    /// Moves the virtual clock, never backwards.
    fn move_clock(&self, now_ns: u64) {
        if self.world().clock.mode == ClockMode::Virtual && self.clock().now_ns() < now_ns {
            self.clock().set_ns(now_ns);
        }
    }
}

/// What running callbacks came to.
#[derive(Default)]
pub(crate) struct Ran {
    /// How many ran.
    calls: u32,
    /// The callback that was one too many; its timer is not armed any more.
    stopped_at: Option<FuncRef>,
}

/// Calls callbacks, with one process for each program and CPU.
struct Runner<'a> {
    vm: &'a Arc<Vm>,
    view: View,
    processes: HashMap<(u32, u32), Process>,
    /// Where an array's index is put, which callbacks get the address of.
    key: Option<Region>,
}

impl Runner<'_> {
    fn call(&mut self, due: &Due, callback: &FuncRef, elem: Elem) -> Result<(), RunError> {
        let key = match elem.key {
            ElemKey::Addr(addr) => addr,
            ElemKey::Index(index) => self.index(index).map_err(|error| no_memory(callback, &error))?,
        };
        let at = (callback.program.id(), due.cpu);
        if !self.processes.contains_key(&at) {
            let process = self.vm.process(&callback.program, due.cpu);
            self.processes.insert(at, process.map_err(|error| no_memory(callback, &error))?);
        }
        let Some(process) = self.processes.get_mut(&at) else { return Ok(()) };
        process.call(callback, [due.map.addr, key, elem.value, 0, 0], &mut RawContext::default()).map(|_| ())
    }

    /// The address of a word with this index.
    fn index(&mut self, index: u32) -> Result<u64, MemoryError> {
        let region = match self.key.take() {
            Some(region) => region,
            None => self.vm.memory().allocate("key", 4, Layout::Bytes(Access::ReadWrite))?,
        };
        region.store(0, Size::W, index.into());
        Ok(self.key.insert(region).base())
    }
}

fn no_memory(callback: &FuncRef, error: &MemoryError) -> RunError {
    fault(callback, FaultKind::Unsupported(error.to_string()))
}

fn fault(callback: &FuncRef, kind: FaultKind) -> RunError {
    let FuncRef { program, pc } = callback;
    let (func, line) = (program.func_at(*pc).map(Into::into), program.line_at(*pc));
    RunError::Fault(Box::new(Fault { kind, pc: *pc, program: program.name().clone(), func, line }))
}
