//! What the `emulator` key says of tasks' memory, stacks and registers, of files, and of the kernel's symbols and per-CPU variables.

use super::reader::{At, CtxError};
use mimic_linux::{File, Ksym, Task, UserArea, World};

/// Memory, stacks, registers and files of a task.
pub(super) fn set_task(at: &At<'_>, task: &mut Task) -> Result<(), CtxError> {
    if let Some(memory) = at.get("memory") {
        task.memory = memory.list()?.iter().map(area).collect::<Result<_, _>>()?;
    }
    for (key, stack) in [("kernel_stack", &mut task.kernel_stack), ("user_stack", &mut task.user_stack)] {
        if let Some(addrs) = at.get(key) {
            *stack = addrs.list()?.iter().map(At::int).collect::<Result<_, _>>()?;
        }
    }
    if let Some(regs) = at.get("regs") {
        for (name, at) in regs.members()? {
            task.regs.insert(name.into(), at.int()?);
        }
    }
    if let Some(files) = at.get("files") {
        for at in files.list()? {
            task.files.push((at.need("fd")?.int()?, at.need("file")?.int()?));
        }
    }
    task.flags = at.int_or("flags", task.flags)?;
    task.start_ns = at.int_or("start_ns", task.start_ns)?;
    task.exe = at.int_or("exe", task.exe)?;
    Ok(())
}

fn area(at: &At<'_>) -> Result<UserArea, CtxError> {
    const READ_WRITE: u64 = 3;
    let bytes = at.get("bytes").map_or(Ok(Vec::new()), |at| at.base64())?;
    let start: u64 = at.need("start")?.int()?;
    let len: u64 = at.int_or("len", bytes.len() as u64)?;
    if len == 0 || bytes.len() as u64 > len || start.checked_add(len).is_none() {
        return Err(at.error("expected an area with a length, no shorter than its bytes"));
    }
    Ok(UserArea {
        start,
        len,
        flags: at.int_or("flags", READ_WRITE)?,
        bytes,
        pgoff: at.int_or("pgoff", 0)?,
        file: at.int_or("file", 0)?,
    })
}

/// Files, symbols, per-CPU variables, and the tasks that CPUs run.
pub(super) fn set_world(at: &At<'_>, world: &mut World) -> Result<(), CtxError> {
    if let Some(files) = at.get("files") {
        for at in files.list()? {
            world.files.push(File {
                id: at.need("id")?.int()?,
                path: at.need("path")?.text()?.into(),
                ino: at.int_or("ino", 0)?,
                flags: at.int_or("flags", 0)?,
                pos: at.int_or("pos", 0)?,
                build_id: at.get("build_id").map_or(Ok(Vec::new()), |at| at.base64())?,
            });
        }
    }
    if let Some(ksyms) = at.get("ksyms") {
        for at in ksyms.list()? {
            world.ksyms.push(Ksym { addr: at.need("addr")?.int()?, name: at.need("name")?.text()?.into() });
        }
    }
    if let Some(percpu) = at.get("percpu") {
        for (name, at) in percpu.members()? {
            let parts = at.list()?.iter().map(At::base64).collect::<Result<_, _>>()?;
            world.percpu.insert(name.into(), parts);
        }
    }
    if let Some(current) = at.get("current") {
        world.current = current.list()?.iter().map(At::int).collect::<Result<_, _>>()?;
    }
    Ok(())
}
