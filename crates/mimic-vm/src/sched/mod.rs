//! Schedulers: who runs a process, where and when. Jobs go in, finished ones come out; contexts travel with them.
//!
//! [`Inline`] runs a job here and now and is deterministic. [`PerCpu`] has one worker for each virtual CPU and never runs two processes
//! on one CPU, as the kernel with its preemption off; [`Workers`] does so for batches. [`Naive`] starts a thread for each process.

mod inline;
#[cfg(not(target_family = "wasm"))]
mod naive;
#[cfg(not(target_family = "wasm"))]
mod per_cpu;
#[cfg(not(target_family = "wasm"))]
mod workers;

pub use inline::Inline;
#[cfg(not(target_family = "wasm"))]
pub use naive::Naive;
#[cfg(not(target_family = "wasm"))]
pub use per_cpu::PerCpu;
#[cfg(not(target_family = "wasm"))]
pub use workers::{Done, Workers};

use crate::context::{Context, ContextError};
use crate::fault::FaultKind;
use crate::process::{Outcome, Process, RunError};
use crate::program::LoadedProgram;
use crate::vm::Vm;
use core::any::Any;
use core::fmt;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A program to be run on a context.
pub struct Job {
    /// The program.
    pub program: Arc<LoadedProgram>,
    /// Its input.
    pub context: Box<dyn Context>,
    /// The virtual CPU that it must run on; any if none. Jobs for one CPU run in the order in which they were submitted.
    pub cpu: Option<u32>,
    /// The submitter's own number for it.
    pub tag: u64,
}

/// A job that has run.
pub struct Finished {
    /// The submitter's number.
    pub tag: u64,
    /// The context, with the results in it.
    pub context: Box<dyn Context>,
    /// The virtual CPU that it ran on.
    pub cpu: u32,
    /// What became of it.
    pub result: Result<Outcome, RunError>,
}

impl Finished {
    /// The context, if it is a `C`; otherwise the job is given back.
    pub fn into_context<C: Context>(self) -> Result<Box<C>, Finished> {
        if !(&*self.context as &dyn Any).is::<C>() {
            return Err(self);
        }
        let context: Box<dyn Any> = self.context;
        Ok(context.downcast().expect("its type was looked at"))
    }
}

/// A job that could not be taken: the backlog is full. It is given back.
pub struct Full(pub Job);

impl fmt::Debug for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Full(job {})", self.0.tag)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} was not taken: the backlog is full; collect finished jobs first", self.0.tag)
    }
}

impl std::error::Error for Full {}

/// Runs jobs.
pub trait Scheduler {
    /// Takes a job, waiting for room where the scheduler has workers to make some.
    fn submit(&mut self, job: Job);

    /// Takes a job if there is room for it now.
    fn try_submit(&mut self, job: Job) -> Result<(), Full>;

    /// Jobs that have finished since this was last asked, without waiting.
    fn finished(&mut self) -> Vec<Finished>;

    /// Waits for all jobs; answers those that have not been collected.
    fn join(&mut self) -> Vec<Finished>;
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(|text| &**text));
    format!("a panic in mimic or a helper closure: {}", text.unwrap_or_default())
}

/// The processes of one virtual CPU, kept from one job to the next.
struct Cpu {
    vm: Arc<Vm>,
    cpu: u32,
    processes: HashMap<u32, Process>,
}

impl Cpu {
    /// The most processes that one CPU keeps; each has a stack and context memory.
    const PROCESSES_MAX: usize = 64;

    fn new(vm: &Arc<Vm>, cpu: u32) -> Cpu {
        Cpu { vm: vm.clone(), cpu, processes: HashMap::new() }
    }

    fn run(&mut self, mut job: Job) -> Finished {
        // A panic is a bug in mimic or in a user's closure: it ends this job, not the worker.
        let result = catch_unwind(AssertUnwindSafe(|| self.run_job(&job.program, &mut *job.context)));
        let result = result.unwrap_or_else(|panic| {
            self.processes.remove(&job.program.id());
            let what = FaultKind::Unsupported(panic_text(&*panic));
            Err(RunError::Fault(Box::new(job.program.fault_at(0, what))))
        });
        Finished { tag: job.tag, context: job.context, cpu: self.cpu, result }
    }

    fn run_job(
        &mut self,
        program: &Arc<LoadedProgram>,
        context: &mut dyn Context,
    ) -> Result<Outcome, RunError> {
        // Ids are used again when a program was removed; the process must be this program's.
        let known =
            self.processes.get(&program.id()).is_some_and(|process| Arc::ptr_eq(process.program(), program));
        if !known {
            if self.processes.len() >= Cpu::PROCESSES_MAX {
                self.processes.clear();
            }
            let process = self.vm.process(program, self.cpu);
            let process = process.map_err(|error| RunError::Context(ContextError::Memory(error)))?;
            self.processes.insert(program.id(), process);
        }
        let process = self.processes.get_mut(&program.id()).expect("it was inserted above");
        process.run_dyn(context, &mut crate::NoProbe)
    }
}
