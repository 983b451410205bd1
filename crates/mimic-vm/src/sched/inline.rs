//! `Inline`: runs each job on the caller's thread when it is submitted. Deterministic.

use super::{Cpu, Finished, Full, Job, Scheduler};
use crate::vm::Vm;
use std::sync::Arc;

/// Runs jobs here and now.
pub struct Inline {
    cpus: Vec<Cpu>,
    finished: Vec<Finished>,
}

impl Inline {
    /// For the virtual CPUs of this VM. Jobs that name no CPU run on CPU 0.
    pub fn new(vm: &Arc<Vm>) -> Inline {
        Inline { cpus: (0..vm.cpus()).map(|cpu| Cpu::new(vm, cpu)).collect(), finished: Vec::new() }
    }
}

impl Scheduler for Inline {
    fn submit(&mut self, job: Job) {
        let cpu = job.cpu.unwrap_or(0) as usize % self.cpus.len();
        let finished = self.cpus[cpu].run(job);
        self.finished.push(finished);
    }

    fn try_submit(&mut self, job: Job) -> Result<(), Full> {
        self.submit(job);
        Ok(())
    }

    fn finished(&mut self) -> Vec<Finished> {
        core::mem::take(&mut self.finished)
    }

    fn join(&mut self) -> Vec<Finished> {
        self.finished()
    }
}
