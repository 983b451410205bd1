//! `World`: what programs see around them: clock, random numbers, CPUs, tasks, trace output. A value that a test states.
//!
//! Plain data. What changes while programs run (the clock, the trace buffer, timers) is [`crate::Linux`]'s, which begins as the world says.

mod clock;
mod random;
mod task;
mod trace;

pub use clock::{Clock, ClockMode, ClockSpec};
pub(crate) use random::Random;
pub use task::{PidNs, Task};
pub use trace::{Trace, TraceLimits, TraceLine};

use crate::net::Devices;
use std::sync::Arc;

/// The world at the start.
///
/// ```
/// use mimic_linux::{Task, World};
/// let mut world = World::with_seed(7);
/// world.clock.start_ns = 5_000_000_000;
/// world.tasks = vec![Task { comm: "nginx".into(), ..Task::default() }];
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The clocks.
    pub clock: ClockSpec,
    /// What random numbers are drawn from: the same seed gives the same numbers, on each CPU its own.
    pub seed: u64,
    /// The NUMA node of each CPU, by CPU number. CPUs beyond the list are on node 0.
    pub numa_nodes: Vec<u32>,
    /// The task that each CPU runs, by CPU number. CPUs beyond the list run the last of it, or [`Task::default`].
    pub tasks: Vec<Task>,
    /// The network devices.
    pub devices: Devices,
    /// How the program was attached.
    pub attach: Attach,
    /// How much trace output is kept.
    pub trace: TraceLimits,
}

/// How a program was attached, as far as it can ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// What `bpf_get_attach_cookie` answers (`BPF_LINK_CREATE`, `bpf_cookie`).
    pub cookie: u64,
    /// What `bpf_get_func_ip` answers: the address of the traced function.
    pub func_ip: u64,
}

impl World {
    /// The default world with this random seed.
    pub fn with_seed(seed: u64) -> World {
        World { seed, ..World::default() }
    }

    /// The NUMA node of a CPU.
    pub fn numa_node(&self, cpu: u32) -> u32 {
        self.numa_nodes.get(cpu as usize).copied().unwrap_or(0)
    }

    /// The tasks that CPUs run; at least one.
    pub(crate) fn current_tasks(&self) -> Vec<Arc<Task>> {
        if self.tasks.is_empty() {
            return vec![Arc::default()];
        }
        self.tasks.iter().cloned().map(Arc::new).collect()
    }
}
