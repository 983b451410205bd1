//! The `emulator` key of a context: the world that the program sees around it.

use super::reader::{At, Bounded, CtxError};
use super::tasks;
use mimic_linux::{Cgroup, ClockMode, Device, Task, World};
use serde_json::{Value, json};

/// Reads a world: what is not said is as in the default world, and keys that are not known mean nothing.
pub(super) fn read(at: &At<'_>) -> Result<World, CtxError> {
    at.object()?;
    let mut world = World::default();
    set(at, "seed", &mut world.seed)?;
    if let Some(clock) = at.get("clock") {
        clock.object()?;
        if let Some(mode) = clock.get("mode") {
            world.clock.mode = match mode.text()? {
                "virtual" => ClockMode::Virtual,
                "real" => ClockMode::Real,
                other => return Err(mode.error(format!("expected virtual or real, not {other:?}"))),
            };
        }
        set(&clock, "start_ns", &mut world.clock.start_ns)?;
        set(&clock, "step_ns", &mut world.clock.step_ns)?;
        set(&clock, "suspended_ns", &mut world.clock.suspended_ns)?;
        set(&clock, "epoch_ns", &mut world.clock.epoch_ns)?;
        set(&clock, "tai_offset_ns", &mut world.clock.tai_offset_ns)?;
        set(&clock, "hz", &mut world.clock.hz)?;
    }
    if let Some(nodes) = at.get("numa_nodes") {
        world.numa_nodes = nodes.list()?.iter().map(At::int).collect::<Result<_, _>>()?;
    }
    if let Some(tasks) = at.get("tasks") {
        for at in tasks.list()? {
            let task = task(&at, &mut world.cgroups)?;
            world.tasks.push(task);
        }
    }
    tasks::set_world(at, &mut world)?;
    if let Some(attach) = at.get("attach") {
        attach.object()?;
        set(&attach, "cookie", &mut world.attach.cookie)?;
        set(&attach, "func_ip", &mut world.attach.func_ip)?;
    }
    if let Some(devices) = at.get("devices") {
        for at in devices.list()? {
            let device = device(&at)?;
            world.net.devices.0.retain(|known| known.ifindex != device.ifindex);
            world.net.devices.0.push(device);
        }
    }
    Ok(world)
}

fn set<T: TryFrom<i128> + Bounded>(at: &At<'_>, key: &str, to: &mut T) -> Result<(), CtxError> {
    if let Some(at) = at.get(key) {
        *to = at.int()?;
    }
    Ok(())
}

fn task(at: &At<'_>, cgroups: &mut Vec<Cgroup>) -> Result<Task, CtxError> {
    at.object()?;
    let mut task = Task::default();
    set(at, "pid", &mut task.pid)?;
    task.tgid = task.pid;
    set(at, "tgid", &mut task.tgid)?;
    set(at, "uid", &mut task.uid)?;
    set(at, "gid", &mut task.gid)?;
    if let Some(comm) = at.get("comm") {
        task.comm = comm.text()?.into();
    }
    set(at, "ppid", &mut task.ppid)?;
    set(at, "cgroup", &mut task.cgroup)?;
    if let Some(ids) = at.get("cgroup_ids") {
        // From the root down: a branch of the tree without names.
        let ids: Vec<u64> = ids.list()?.iter().map(At::int).collect::<Result<_, _>>()?;
        for (at, id) in ids.iter().enumerate() {
            let parent = at.checked_sub(1).map_or(0, |at| ids[at]);
            cgroups.retain(|known| known.id != *id);
            cgroups.push(Cgroup::child(*id, parent, ""));
        }
        task.cgroup = ids.last().copied().unwrap_or(task.cgroup);
    }
    tasks::set_task(at, &mut task)?;
    Ok(task)
}

fn device(at: &At<'_>) -> Result<Device, CtxError> {
    let ifindex = at.need("ifindex")?.int()?;
    let mut device = Device::ethernet(ifindex, at.need("name")?.text()?);
    set(at, "mtu", &mut device.mtu)?;
    if let Some(up) = at.get("up") {
        device.up = up.value.as_bool().ok_or_else(|| up.error("expected true or false"))?;
    }
    if let Some(addr) = at.get("addr") {
        let parsed = addr.text()?.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
        let bytes = parsed.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok());
        device.addr = bytes.ok_or_else(|| addr.error("expected an address as in 02:00:00:00:00:01"))?;
    }
    Ok(device)
}

/// What a context says of the world; none if it says nothing.
pub(super) fn of(emulator: &serde_json::Map<String, Value>) -> Result<Option<World>, CtxError> {
    if emulator.is_empty() {
        return Ok(None);
    }
    read(&At::root(&Value::Object(emulator.clone()))).map(Some)
}

/// States what a run's repetition hangs on.
pub(super) fn pin(emulator: &mut serde_json::Map<String, Value>, world: &World) {
    let clock = &world.clock;
    let mode = match clock.mode {
        ClockMode::Virtual => "virtual",
        ClockMode::Real => "real",
    };
    emulator.insert("seed".into(), world.seed.into());
    emulator.insert(
        "clock".into(),
        json!({
            "mode": mode, "start_ns": clock.start_ns, "step_ns": clock.step_ns, "suspended_ns": clock.suspended_ns,
            "epoch_ns": clock.epoch_ns, "tai_offset_ns": clock.tai_offset_ns, "hz": clock.hz,
        }),
    );
}
