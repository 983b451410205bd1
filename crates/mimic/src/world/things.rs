//! The keys of what a World file states beside the network.

use super::table::{Json, Keys, need, read_or, structure, words};
use crate::ctx::CtxError;
use crate::ctx::reader::At;
use mimic_linux::progs::Branch;
use mimic_linux::{
    Attach, Cgroup, ClockMode, ClockSpec, Device, File, Inode, Ksym, PidNs, Task, TraceLimits, UserArea,
    World,
};

structure!(
    World,
    |at| over(World::default(), at),
    [],
    [
        clock, seed, numa_nodes, tasks, current, cgroups, net, inodes, files, sysctls, ksyms, percpu, branches,
        attach, trace
    ],
    also [
        "version" "The format's version: 1.",
        "$schema" "For editors; not read.",
        "devices" "A short form: network devices beside `lo`, as in `net.devices`."
    ]
);

structure!(
    ClockSpec,
    |_| Ok(ClockSpec::default()),
    [],
    [mode, start_ns, step_ns, suspended_ns, epoch_ns, tai_offset_ns, hz]
);

words!(ClockMode: Virtual "virtual", Real "real");

structure!(
    Task,
    task,
    [pid, tgid],
    [
        ppid, uid, gid, comm, flags, start_ns, cgroup, pid_ns, memory, exe, files, regs, kernel_stack, user_stack
    ],
    also ["cgroup_ids" "A short form: ids of control groups without names, from the root to the task's own."]
);

structure!(PidNs, |_| Ok(PidNs::default()), [], [dev, ino]);
structure!(UserArea, area, [start], [len, flags, bytes, pgoff, file]);

structure!(
    Cgroup,
    |at| Ok(Cgroup::child(need(at, "id")?, read_or(at, "parent", mimic_linux::CGROUP_ROOT)?, "")),
    [id, parent],
    [name, classid, xattrs]
);

structure!(
    Inode,
    |at| Ok(Inode { ino: need(at, "ino")?, ..Inode::default() }),
    [ino],
    [dev, mode, uid, gid, size, nlink, ima, xattrs]
);

structure!(
    File,
    |at| Ok(File { id: need(at, "id")?, path: need(at, "path")?, ..File::default() }),
    [id, path],
    [ino, flags, pos, build_id]
);

structure!(Ksym, |at| Ok(Ksym { addr: need(at, "addr")?, name: need(at, "name")? }), [addr, name], []);
structure!(Branch, |_| Ok(Branch::default()), [], [from, to, flags]);
structure!(Attach, |_| Ok(Attach::default()), [], [cookie, func_ip, cgroup]);
structure!(TraceLimits, |_| Ok(TraceLimits::default()), [], [lines_max, bytes_max]);

/// A world with the keys that are there in place of its own.
pub(super) fn read_over(world: World, at: &At<'_>) -> Result<World, CtxError> {
    at.object()?;
    let mut world = over(world, at)?;
    world.set(at)?;
    Ok(world)
}

/// What short forms say: `devices` beside `lo`, and branches of control groups without names, as tasks' `cgroup_ids`.
fn over(mut world: World, at: &At<'_>) -> Result<World, CtxError> {
    if let Some(devices) = at.get("devices") {
        for device in Vec::<Device>::read(&devices)? {
            world.net.devices.0.retain(|known| known.ifindex != device.ifindex);
            world.net.devices.0.push(device);
        }
    }
    let tasks = at.get("tasks").map_or(Ok(Vec::new()), |tasks| tasks.list())?;
    for ids in tasks.iter().filter_map(|task| task.get("cgroup_ids")) {
        let ids = Vec::<u64>::read(&ids)?;
        for (at, id) in ids.iter().enumerate() {
            let parent = at.checked_sub(1).map_or(0, |at| ids[at]);
            world.cgroups.retain(|known| known.id != *id);
            world.cgroups.push(Cgroup::child(*id, parent, ""));
        }
    }
    Ok(world)
}

/// A thread of its own process, in the last of its `cgroup_ids`.
fn task(at: &At<'_>) -> Result<Task, CtxError> {
    let default = Task::default();
    let pid = read_or(at, "pid", default.pid)?;
    let ids: Vec<u64> = read_or(at, "cgroup_ids", Vec::new())?;
    let cgroup = ids.last().copied().unwrap_or(default.cgroup);
    Ok(Task { pid, tgid: pid, cgroup, ..default })
}

/// An area as long as its bytes, which may be read and written.
fn area(at: &At<'_>) -> Result<UserArea, CtxError> {
    const READ_WRITE: u64 = 3;
    let bytes: Vec<u8> = read_or(at, "bytes", Vec::new())?;
    let start: u64 = need(at, "start")?;
    let len: u64 = read_or(at, "len", bytes.len() as u64)?;
    if bytes.len() as u64 > len || start.checked_add(len).is_none() {
        return Err(at.error("expected an area no shorter than its bytes that ends in the address space"));
    }
    Ok(UserArea { start, len, flags: READ_WRITE, bytes, ..UserArea::default() })
}
