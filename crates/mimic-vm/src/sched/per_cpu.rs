//! `PerCpu`: one worker for each virtual CPU; never two processes on one CPU, and jobs for one CPU in order.

use super::{Cpu, Finished, Full, Job, Scheduler};
use crate::vm::Vm;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{JoinHandle, spawn};

/// Workers, one for each virtual CPU.
pub struct PerCpu {
    workers: Vec<Worker>,
    results: Receiver<Finished>,
    /// Jobs taken that have not been collected.
    open: usize,
    /// Where the next job goes that names no CPU.
    next: usize,
}

struct Worker {
    /// None once the workers are told to stop.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl PerCpu {
    /// Starts a worker for each virtual CPU of the VM, each with room for `backlog` (at least 1) waiting jobs.
    pub fn new(vm: &Arc<Vm>, backlog: usize) -> PerCpu {
        let (sender, results) = channel();
        let workers =
            (0..vm.cpus()).map(|cpu| Worker::start(Cpu::new(vm, cpu), backlog, sender.clone())).collect();
        PerCpu { workers, results, open: 0, next: 0 }
    }

    fn worker(&mut self, job: &Job) -> &SyncSender<Job> {
        let count = self.workers.len();
        let cpu = job.cpu.map_or(self.next, |cpu| cpu as usize) % count;
        self.next = (self.next + 1) % count;
        self.workers[cpu].jobs.as_ref().expect("workers stop only when the scheduler is dropped")
    }
}

impl Worker {
    fn start(mut cpu: Cpu, backlog: usize, results: Sender<Finished>) -> Worker {
        let (sender, jobs) = sync_channel::<Job>(backlog.max(1));
        let thread = spawn(move || {
            for job in jobs {
                if results.send(cpu.run(job)).is_err() {
                    return;
                }
            }
        });
        Worker { jobs: Some(sender), thread: Some(thread) }
    }
}

impl Scheduler for PerCpu {
    fn submit(&mut self, job: Job) {
        self.worker(&job).send(job).expect("a worker outlives its panics");
        self.open += 1;
    }

    fn try_submit(&mut self, job: Job) -> Result<(), Full> {
        match self.worker(&job).try_send(job) {
            Ok(()) => {
                self.open += 1;
                Ok(())
            }
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Err(Full(job)),
        }
    }

    fn finished(&mut self) -> Vec<Finished> {
        let finished: Vec<Finished> = self.results.try_iter().collect();
        self.open -= finished.len();
        finished
    }

    fn join(&mut self) -> Vec<Finished> {
        let finished: Vec<Finished> = self.results.iter().take(self.open).collect();
        self.open = 0;
        finished
    }
}

impl Drop for PerCpu {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.jobs = None;
        }
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}
