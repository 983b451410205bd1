//! The user memory of the world's tasks, as the kernel reads and writes it: what cannot be reached is `EFAULT`.
//!
//! Threads that state no memory of their own have that of their process.

use crate::world::{Task, UserArea};
use crate::{Linux, Live};
use mimic_abi::Errno;
use std::sync::Arc;

/// `VM_READ`, `VM_WRITE` and `VM_EXEC`: what can be executed can be read.
const VM_READ: u64 = 1 | VM_WRITE | 4;
const VM_WRITE: u64 = 2;
/// The most bytes that one area keeps once programs write to it.
const AREA_BYTES_MAX: u64 = 64 << 20;

impl Linux {
    /// The task that holds a task's memory: itself, or its process; none for kernel threads.
    pub(crate) fn mm_of(&self, task: &Arc<Task>) -> Option<Arc<Task>> {
        let tasks: &Live<u32, Task> = self.tasks();
        let leader = || tasks.get(task.tgid).filter(|leader| !leader.memory.is_empty());
        let owner = if task.memory.is_empty() { leader() } else { None };
        task.has_mm().then(|| owner.unwrap_or_else(|| task.clone()))
    }

    /// Reads a task's user memory. `EFAULT`, with some bytes read or none, if not all of it can be read.
    pub fn read_user(&self, task: &Arc<Task>, addr: u64, to: &mut [u8]) -> Result<(), Errno> {
        let mm = self.mm_of(task).ok_or(Errno::EFAULT)?;
        let mut done = 0;
        while done < to.len() {
            let at = addr.checked_add(done as u64).ok_or(Errno::EFAULT)?;
            let area = area_at(&mm.memory, at).filter(|area| area.flags & VM_READ != 0);
            let area = area.ok_or(Errno::EFAULT)?;
            let off = at - area.start;
            let len = (area.len - off).min((to.len() - done) as u64) as usize;
            let part = &mut to[done..done + len];
            let there = area.bytes.get(off as usize..).unwrap_or(&[]);
            let known = there.len().min(len);
            part[..known].copy_from_slice(&there[..known]);
            part[known..].fill(0);
            done += len;
        }
        Ok(())
    }

    /// Writes a task's user memory. `EFAULT`, and nothing written, if not all of it can be written.
    pub fn write_user(&self, task: &Arc<Task>, addr: u64, from: &[u8]) -> Result<(), Errno> {
        let mm = self.mm_of(task).ok_or(Errno::EFAULT)?;
        let parts = parts(&mm.memory, addr, from.len())?;
        let written = self.change_task(mm.pid, |mm| {
            let mut rest = from;
            for (start, off, len) in parts {
                let (part, after) = rest.split_at(len);
                rest = after;
                let Some(area) = mm.memory.iter_mut().find(|area| area.start == start) else { continue };
                let end = off as usize + len;
                if area.bytes.len() < end {
                    area.bytes.resize(end, 0);
                }
                area.bytes[off as usize..end].copy_from_slice(part);
            }
        });
        written.ok_or(Errno::EFAULT)
    }
}

/// The area that an address lies in.
pub(crate) fn area_at(areas: &[UserArea], addr: u64) -> Option<&UserArea> {
    areas.iter().find(|area| addr >= area.start && addr - area.start < area.len)
}

/// The pieces of areas that a write touches: the area's start, the offset in it, and bytes.
fn parts(areas: &[UserArea], addr: u64, len: usize) -> Result<Vec<(u64, u64, usize)>, Errno> {
    let (mut parts, mut done) = (Vec::new(), 0);
    while done < len {
        let at = addr.checked_add(done as u64).ok_or(Errno::EFAULT)?;
        let area = area_at(areas, at).filter(|area| area.flags & VM_WRITE != 0).ok_or(Errno::EFAULT)?;
        let off = at - area.start;
        let part = (area.len - off).min((len - done) as u64);
        if off + part > AREA_BYTES_MAX {
            return Err(Errno::ENOMEM);
        }
        parts.push((area.start, off, part as usize));
        done += part as usize;
    }
    Ok(parts)
}
