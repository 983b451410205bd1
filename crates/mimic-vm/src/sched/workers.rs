//! `Workers`: one thread for each virtual CPU with a state of its own, which works on batches. What `PerCpu` is for single jobs, for runs
//! over many inputs that take less time than handing one over.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Threads with a state `S` each; batches `B` go in and come out again.
pub struct Workers<S, B> {
    workers: Vec<Worker<S, B>>,
    done: Receiver<Done<B>>,
    /// Batches that were submitted and not collected.
    open: usize,
}

/// A batch that was worked on.
pub struct Done<B> {
    /// Whose it was.
    pub cpu: u32,
    /// The batch, or what a panic said: a bug in mimic, or in a user's closure. The worker goes on with other batches.
    pub batch: Result<B, String>,
}

struct Worker<S, B> {
    /// None once the worker is told to stop.
    batches: Option<SyncSender<B>>,
    /// Ends with the state, if it was given one.
    thread: Option<JoinHandle<Option<S>>>,
}

impl<S: Send + 'static, B: Send + 'static> Workers<S, B> {
    /// Starts a worker for each state, the first for CPU 0, each with room for `backlog` (at least 1) waiting batches.
    ///
    /// # Errors
    /// The host's, when it has no more threads; with the states.
    pub fn start(
        states: Vec<S>,
        backlog: usize,
        work: impl Fn(&mut S, &mut B) + Send + Sync + 'static,
    ) -> Result<Workers<S, B>, (io::Error, Vec<S>)> {
        let (sender, done) = channel();
        let work = Arc::new(work);
        let mut workers = Workers { workers: Vec::with_capacity(states.len()), done, open: 0 };
        let mut places = Vec::with_capacity(states.len());
        for cpu in 0..states.len() as u32 {
            // States follow when all threads are there: what a thread that does not start was given is gone.
            let (place, state) = channel();
            match Worker::start(cpu, state, backlog, work.clone(), sender.clone()) {
                Ok(worker) => workers.workers.push(worker),
                Err(error) => return Err((error, states)),
            }
            places.push(place);
        }
        for (place, state) in places.iter().zip(states) {
            place.send(state).expect("the thread waits for it");
        }
        Ok(workers)
    }

    /// Hands a batch to a CPU, waiting for room. Batches of one CPU are worked on in this order.
    ///
    /// # Panics
    /// If there is no such CPU.
    pub fn submit(&mut self, cpu: u32, batch: B) {
        let batches = self.workers[cpu as usize].batches.as_ref().expect("workers stop only with `stop`");
        batches.send(batch).expect("a worker outlives its panics");
        self.open += 1;
    }

    /// Waits for a batch, whichever is done first. None if none is open.
    pub fn collect(&mut self) -> Option<Done<B>> {
        self.open = self.open.checked_sub(1)?;
        Some(self.done.recv().expect("a worker outlives its panics"))
    }

    /// Lets all workers finish what they have; answers their states.
    pub fn stop(mut self) -> Vec<S> {
        self.workers.iter_mut().for_each(|worker| worker.batches = None);
        let threads = self.workers.iter_mut().filter_map(|worker| worker.thread.take());
        threads.filter_map(|thread| thread.join().expect("a worker outlives its panics")).collect()
    }
}

impl<S: Send + 'static, B: Send + 'static> Worker<S, B> {
    fn start(
        cpu: u32,
        state: Receiver<S>,
        backlog: usize,
        work: Arc<impl Fn(&mut S, &mut B) + Send + Sync + 'static>,
        done: Sender<Done<B>>,
    ) -> io::Result<Worker<S, B>> {
        let (sender, batches) = sync_channel::<B>(backlog.max(1));
        let run = move || {
            let mut state = state.recv().ok()?;
            for mut batch in batches {
                let result = catch_unwind(AssertUnwindSafe(|| work(&mut state, &mut batch)));
                let batch = result.map(|()| batch).map_err(|panic| super::panic_text(&*panic));
                if done.send(Done { cpu, batch }).is_err() {
                    break;
                }
            }
            Some(state)
        };
        let thread = Builder::new().name(format!("cpu {cpu}")).spawn(run)?;
        Ok(Worker { batches: Some(sender), thread: Some(thread) })
    }
}

impl<S, B> Drop for Workers<S, B> {
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.batches = None);
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_a_cpu_stay_in_order_and_states_come_back() {
        let mut workers = Workers::start(vec![0u32; 3], 1, |sum, batch: &mut Vec<u32>| {
            batch.iter_mut().for_each(|number| {
                *sum += *number;
                *number = *sum;
            });
        })
        .unwrap_or_else(|(error, _)| panic!("{error}"));
        let mut last = [0; 3];
        for round in 0..100u32 {
            workers.submit(round % 3, vec![1, 2]);
            if round % 4 == 3 {
                let done = workers.collect().expect("some are open");
                let batch = done.batch.expect("no panic");
                assert_eq!(batch, [last[done.cpu as usize] + 1, last[done.cpu as usize] + 3]);
                last[done.cpu as usize] += 3;
            }
        }
        while let Some(done) = workers.collect() {
            assert!(done.batch.is_ok());
        }
        assert_eq!(workers.stop(), [34 * 3, 33 * 3, 33 * 3]);
    }

    #[test]
    fn a_panic_ends_a_batch_and_not_the_worker() {
        let work = |_: &mut (), batch: &mut u32| assert_ne!(*batch, 7, "seven");
        let mut workers = Workers::start(vec![()], 4, work).unwrap_or_else(|(error, _)| panic!("{error}"));
        [6, 7, 8].into_iter().for_each(|batch| workers.submit(0, batch));
        let mut next = || workers.collect().expect("open").batch;
        assert_eq!(next(), Ok(6));
        assert!(next().is_err_and(|what| what.contains("seven")));
        assert_eq!(next(), Ok(8));
        assert!(workers.collect().is_none());
        assert_eq!(workers.stop(), [()]);
    }
}
