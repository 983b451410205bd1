//! `Naive`: a thread for each process. For programs that wait, and for finding races: the host's scheduler interleaves them.

use super::{Cpu, Finished, Full, Job, Scheduler};
use crate::vm::Vm;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};

/// Starts a thread for each job. Jobs may share a virtual CPU, unlike in the kernel.
pub struct Naive {
    vm: Arc<Vm>,
    threads: Vec<JoinHandle<()>>,
    sender: Sender<Finished>,
    results: Receiver<Finished>,
    waiting: Vec<Finished>,
    open: usize,
    next_cpu: u32,
}

impl Naive {
    /// The most threads at a time.
    pub const THREADS_MAX: usize = 256;

    /// A scheduler without jobs.
    pub fn new(vm: &Arc<Vm>) -> Naive {
        let (sender, results) = channel();
        Naive {
            vm: vm.clone(),
            threads: Vec::new(),
            sender,
            results,
            waiting: Vec::new(),
            open: 0,
            next_cpu: 0,
        }
    }

    fn start(&mut self, job: Job) {
        let cpu = job.cpu.unwrap_or(self.next_cpu) % self.vm.cpus();
        self.next_cpu = (self.next_cpu + 1) % self.vm.cpus();
        let (mut cpu, sender) = (Cpu::new(&self.vm, cpu), self.sender.clone());
        self.open += 1;
        // The receiver may be gone when the scheduler was dropped; then nobody wants the result.
        self.threads.push(spawn(move || drop(sender.send(cpu.run(job)))));
    }

    fn collect(&mut self, finished: Finished) {
        self.open -= 1;
        self.waiting.push(finished);
    }
}

impl Scheduler for Naive {
    fn submit(&mut self, job: Job) {
        while self.open >= Naive::THREADS_MAX {
            let finished = self.results.recv().expect("the scheduler holds a sender");
            self.collect(finished);
        }
        self.threads.retain(|thread| !thread.is_finished());
        self.start(job);
    }

    fn try_submit(&mut self, job: Job) -> Result<(), Full> {
        while let Ok(finished) = self.results.try_recv() {
            self.collect(finished);
        }
        if self.open >= Naive::THREADS_MAX {
            return Err(Full(job));
        }
        self.submit(job);
        Ok(())
    }

    fn finished(&mut self) -> Vec<Finished> {
        while let Ok(finished) = self.results.try_recv() {
            self.collect(finished);
        }
        core::mem::take(&mut self.waiting)
    }

    fn join(&mut self) -> Vec<Finished> {
        while self.open > 0 {
            let finished = self.results.recv().expect("the scheduler holds a sender");
            self.collect(finished);
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on stderr already.
            let _ = thread.join();
        }
        core::mem::take(&mut self.waiting)
    }
}

impl Drop for Naive {
    fn drop(&mut self) {
        self.join();
    }
}
