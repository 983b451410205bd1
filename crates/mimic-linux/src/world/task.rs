//! `Task`: what programs can learn of the task that a CPU runs.

/// Bytes of a task's name with the NUL behind it (`TASK_COMM_LEN`).
pub(crate) const COMM_LEN: usize = 16;

/// A task (a thread).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The thread's id: gettid(2).
    pub pid: u32,
    /// The process's id: getpid(2).
    pub tgid: u32,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// The thread's name; what is beyond 15 bytes is not seen.
    pub comm: String,
    /// The ids of the control groups (version 2) that it is in: the root's first, its own last.
    pub cgroup_ids: Vec<u64>,
    /// The class that its packets have for tc (`net_cls` of control groups, version 1).
    pub cgroup_classid: u32,
    /// The pid namespace that the ids are of.
    pub pid_ns: PidNs,
}

/// A pid namespace, by the file that stands for it (`/proc/self/ns/pid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// The device's number.
    pub dev: u64,
    /// The inode's number.
    pub ino: u64,
}

impl Default for PidNs {
    /// The first pid namespace, whose inode number is always the same.
    fn default() -> PidNs {
        PidNs { dev: 4, ino: 0xefff_fffc }
    }
}

impl Default for Task {
    /// Root's only thread of process 1000, in the root control group.
    fn default() -> Task {
        let (comm, pid_ns) = ("mimic".into(), PidNs::default());
        Task { pid: 1000, tgid: 1000, uid: 0, gid: 0, comm, cgroup_ids: vec![1], cgroup_classid: 0, pid_ns }
    }
}

impl Task {
    /// The name as the kernel keeps it: at most 15 bytes, filled up with NULs.
    pub(crate) fn comm_bytes(&self) -> [u8; COMM_LEN] {
        let mut comm = [0; COMM_LEN];
        let bytes = self.comm.as_bytes();
        let len = bytes.len().min(COMM_LEN - 1);
        comm[..len].copy_from_slice(&bytes[..len]);
        comm
    }

    /// The name as others see it.
    pub(crate) fn comm_seen(&self) -> String {
        let comm = self.comm_bytes();
        let len = comm.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
        String::from_utf8_lossy(&comm[..len]).into()
    }
}
