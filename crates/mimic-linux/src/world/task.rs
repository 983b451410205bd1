//! `Task`: what programs can learn of the task.

use super::cgroup::CGROUP_ROOT;
use std::collections::BTreeMap;

/// Bytes of a task's name with the NUL behind it (`TASK_COMM_LEN`).
pub(crate) const COMM_LEN: usize = 16;

/// A task (a thread).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The thread's id: gettid(2).
    pub pid: u32,
    /// The process's id: getpid(2).
    pub tgid: u32,
    /// The process that it is a child of: getppid(2); 0 for none.
    pub ppid: u32,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// The thread's name; what is beyond 15 bytes is not seen.
    pub comm: String,
    /// `PF_*`: 0x200000 is a kernel thread's.
    pub flags: u32,
    /// When it began, on `CLOCK_MONOTONIC`, in nanoseconds.
    pub start_ns: u64,
    /// The control group (version 2) that it is in, by id.
    pub cgroup: u64,
    /// The pid namespace that the ids are of.
    pub pid_ns: PidNs,
    /// Its user memory, by rising address.
    pub memory: Vec<UserArea>,
    /// The program that it runs, by the id of a file of the world; 0 for none.
    pub exe: u32,
    /// Its open files: number and id of a file of the world.
    pub files: Vec<(u32, u32)>,
    /// The registers with which it entered the kernel, by the names of the members of the kernel's `struct pt_regs`: `di`, `regs[0]`.
    pub regs: BTreeMap<String, u64>,
    /// The addresses on its kernel stack, innermost first.
    pub kernel_stack: Vec<u64>,
    /// The addresses on its user stack, innermost first.
    pub user_stack: Vec<u64>,
}

/// An area of a task's user memory. Mirrors a line of `/proc/PID/maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserArea {
    /// Its first address.
    pub start: u64,
    /// Its length, in bytes.
    pub len: u64,
    /// `VM_*`: 1 read, 2 write, 4 execute, 8 shared.
    pub flags: u64,
    /// What is there; behind it are zeros.
    pub bytes: Vec<u8>,
    /// Where in its file it begins, in pages.
    pub pgoff: u64,
    /// The file, by the id of a file of the world; 0 for none.
    pub file: u32,
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
        Task {
            pid: 1000,
            tgid: 1000,
            ppid: 0,
            uid: 0,
            gid: 0,
            comm: "mimic".into(),
            flags: 0,
            start_ns: 0,
            cgroup: CGROUP_ROOT,
            pid_ns: PidNs::default(),
            memory: Vec::new(),
            exe: 0,
            files: Vec::new(),
            regs: BTreeMap::new(),
            kernel_stack: Vec::new(),
            user_stack: Vec::new(),
        }
    }
}

impl Task {
    /// Whether it has user memory: it is no kernel thread.
    pub(crate) fn has_mm(&self) -> bool {
        const PF_KTHREAD: u32 = 0x20_0000;
        self.flags & PF_KTHREAD == 0
    }

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
