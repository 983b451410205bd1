//! `KernelTask`: the current task as the kernel's `struct task_struct`, for programs that look into it.
//!
//! Where its fields lie the kernel's types say, which the target has (or, standing in for it, the object: CO-RE). What the world does not
//! know is zero, pointers are NULL.

use crate::Linux;
use crate::world::Task;
use mimic_abi::Size;
use mimic_abi::btf::{Btf, Kind, KindCode};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Memory, MemoryError, Region};
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

/// The longest structure that is made, in bytes.
const LEN_MAX: u32 = 1 << 20;

/// A task in guest memory: its `task_struct`, and the `cred` that it points at.
pub(crate) struct KernelTask {
    task: Struct,
    cred: Option<Struct>,
}

/// A kernel structure in guest memory.
struct Struct {
    region: Region,
    len: u32,
}

impl Linux {
    /// The address of the `task_struct` of the task that a CPU runs, brought up to date. None if the kernel's types are not known, or
    /// have no such structure.
    pub(crate) fn kernel_task(&self, memory: &Arc<Memory>, cpu: u32) -> Result<Option<u64>, MemoryError> {
        let Some(btf) = self.btf() else { return Ok(None) };
        let mut tasks = self.kernel_tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match tasks.entry(cpu) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let Some(task) = Struct::new(btf, "task_struct", memory)? else { return Ok(None) };
                place.insert(KernelTask { task, cred: Struct::new(btf, "cred", memory)? })
            }
        };
        known.fill(btf, &self.task(cpu));
        Ok(Some(known.task.region.base()))
    }
}

impl KernelTask {
    fn fill(&self, btf: &Btf, task: &Task) {
        let this = self.task.region.base();
        self.task.set(btf, "task_struct", "pid", task.pid.into());
        self.task.set(btf, "task_struct", "tgid", task.tgid.into());
        if let Some((off, len)) = self.task.field(btf, "task_struct", "comm") {
            let comm = task.comm_bytes();
            self.task.region.write(off, &comm[..comm.len().min(len as usize)]);
        }
        let leader = if task.pid == task.tgid { this } else { 0 };
        self.task.set(btf, "task_struct", "group_leader", leader);
        if let Some(cred) = &self.cred {
            for (id, names) in [(task.uid, ["uid", "euid"]), (task.gid, ["gid", "egid"])] {
                names.iter().for_each(|name| cred.set(btf, "cred", name, id.into()));
            }
            for name in ["cred", "real_cred"] {
                self.task.set(btf, "task_struct", name, cred.region.base());
            }
        }
    }
}

impl Struct {
    fn new(btf: &Btf, name: &'static str, memory: &Arc<Memory>) -> Result<Option<Struct>, MemoryError> {
        let Some(Kind::Struct(composite)) = btf.find(name, KindCode::Struct).map(|ty| ty.kind) else {
            return Ok(None);
        };
        let len = composite.size;
        if len == 0 || len > LEN_MAX {
            return Ok(None);
        }
        let region = memory.allocate(name, len, Layout::Bytes(Access::Read))?;
        Ok(Some(Struct { region, len }))
    }

    /// Offset and length of a member that lies inside.
    fn field(&self, btf: &Btf, name: &str, member: &str) -> Option<(u32, u32)> {
        let Kind::Struct(composite) = btf.find(name, KindCode::Struct)?.kind else { return None };
        let member = composite.member(member)?;
        let (off, len) = (member.bit_off / 8, btf.size_of(member.ty)?);
        (off.checked_add(len)? <= self.len && member.bit_off.is_multiple_of(8)).then_some((off, len))
    }

    /// Sets a member that is a number, a pointer, or a structure around one. What is not there is left out.
    fn set(&self, btf: &Btf, name: &str, member: &str, value: u64) {
        let size = |len| match len {
            4 => Some(Size::W),
            8 => Some(Size::Dw),
            _ => None,
        };
        if let Some((off, len)) = self.field(btf, name, member)
            && let Some(size) = size(len)
        {
            self.region.store(off, size, value);
        }
    }
}
