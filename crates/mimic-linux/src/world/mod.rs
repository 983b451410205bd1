//! `World`: what programs see around them: clock, random numbers, CPUs, tasks, trace output. A value that a test states.
//!
//! **Plain data: no pointers, no locks; things refer to each other by id.** What changes while programs run (the clock, the trace buffer,
//! tasks, sockets) is [`crate::Linux`]'s, which begins as the world says: [`Live`] tables.

mod bpf;
mod cgroup;
mod clock;
mod device;
mod file;
mod live;
mod net;
mod random;
pub mod socket;
mod tables;
mod task;
mod trace;

pub(crate) use bpf::{BpfMapInfo, BpfProgInfo};
pub use cgroup::{CGROUP_ROOT, Cgroup};
pub use clock::{Clock, ClockMode, ClockSpec};
pub use device::{Device, Devices};
pub use file::{File, Inode};
pub use live::Live;
pub(crate) use net::Tracked;
pub use net::{
    CONNECTIONS_MAX, Connection, Neighbour, Net, Ports, RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN,
    Route, RouteKind, Rule, RuleAction,
};
pub(crate) use random::Random;
pub use socket::{Reuse, Socket, Tcp};
pub(crate) use tables::Tables;
pub use task::{PidNs, Task, UserArea};
pub use trace::{Trace, TraceLimits, TraceLine};

use std::collections::BTreeMap;

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
    /// The tasks, each with its own pid. If there is none, there is [`Task::default`].
    pub tasks: Vec<Task>,
    /// The pids of the tasks that CPUs run, by CPU number; CPUs beyond the list run the last of it. Empty: as if it were the pids of
    /// `tasks`.
    pub current: Vec<u32>,
    /// The control groups of version 2. The root is there without being stated.
    pub cgroups: Vec<Cgroup>,
    /// The network.
    pub net: Net,
    /// Inodes that are known.
    pub inodes: Vec<Inode>,
    /// Files: those that tasks have open, run, or have mapped.
    pub files: Vec<File>,
    /// Sysctls, by name with slashes, as below `/proc/sys`: `net/ipv4/ip_forward`. Without newlines at their ends.
    pub sysctls: BTreeMap<String, String>,
    /// The kernel's symbols and their addresses, as in `/proc/kallsyms`.
    pub ksyms: Vec<Ksym>,
    /// The kernel's per-CPU variables: the bytes of each CPU, by name. CPUs beyond the list have zeros.
    pub percpu: BTreeMap<String, Vec<Vec<u8>>>,
    /// The branches that a CPU has recorded last, the newest first: what `bpf_get_branch_snapshot` copies.
    pub branches: Vec<crate::progs::Branch>,
    /// How the program was attached.
    pub attach: Attach,
    /// How much trace output is kept.
    pub trace: TraceLimits,
}

/// A symbol of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ksym {
    /// Its address.
    pub addr: u64,
    /// Its name.
    pub name: String,
}

/// How a program was attached, as far as it can ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// What `bpf_get_attach_cookie` answers (`BPF_LINK_CREATE`, `bpf_cookie`).
    pub cookie: u64,
    /// What `bpf_get_func_ip` answers: the address of the traced function.
    pub func_ip: u64,
    /// The control group that it is attached to, by id; 0 for none, as in `BPF_PROG_TEST_RUN`.
    pub cgroup: u64,
}

impl World {
    /// The default world with this random seed.
    pub fn with_seed(seed: u64) -> World {
        World { seed, ..World::default() }
    }

    /// The world of whoever calls `BPF_PROG_TEST_RUN` in an empty network namespace: the default one, but that there are frames on the
    /// task's stacks. The kernel's are those of the system call and of a program with a function below its main one; which addresses
    /// they are differs from kernel to kernel.
    pub fn of_test_run(seed: u64) -> World {
        const KERNEL_TEXT: u64 = 0xffff_ffff_8100_0000;
        const USER_TEXT: u64 = 0x40_1000;
        const FRAME: u64 = 0x100;
        let task = Task {
            kernel_stack: (0..8).map(|frame| KERNEL_TEXT + FRAME * frame).collect(),
            user_stack: vec![USER_TEXT, USER_TEXT + FRAME],
            ..Task::default()
        };
        World { tasks: vec![task], ..World::with_seed(seed) }
    }

    /// The NUMA node of a CPU.
    pub fn numa_node(&self, cpu: u32) -> u32 {
        self.numa_nodes.get(cpu as usize).copied().unwrap_or(0)
    }
}
