//! Open-coded iterators over the world's objects: tasks, control groups, tasks of a control group, areas of a task's memory.
//! Documentation/bpf/kfuncs.rst, "open-coded iterators".
//!
//! What an iterator goes over is settled when it begins. Tasks come by rising pid; the idle task (pid 0), which Linux begins with, is not
//! in the world.

use crate::objects::{ObjectKey, View, cgroup_at, give, task_at};
use crate::progs::CgroupOrder;
use crate::{Linux, Task};
use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a `struct bpf_iter_task`, and of a `struct bpf_iter_css`.
const ITER_LEN: u32 = 24;
/// Bytes of a `struct bpf_iter_css_task`, and of a `struct bpf_iter_task_vma`.
const SHORT_LEN: u32 = 8;
/// The most iterators that a run can have going at once.
const OPEN_MAX: usize = 1024;

const ITER: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(ITER_LEN));
const UNINIT_ITER: ArgType = ArgType::Mem(MemAccess::Write, MemLen::Fixed(ITER_LEN));
const SHORT: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(SHORT_LEN));
const UNINIT_SHORT: ArgType = ArgType::Mem(MemAccess::Write, MemLen::Fixed(SHORT_LEN));
const CSS: &str = "cgroup_subsys_state";

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_new")
            .args(&[
                arg("it", UNINIT_ITER),
                arg("task__nullable", ArgType::BtfId("task_struct")),
                arg("flags", ArgType::Anything),
            ])
            .since(6, 7),
        task_new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_next")
            .args(&[arg("it", ITER)])
            .returns(RetType::BtfIdOrNull("task_struct"))
            .since(6, 7),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_destroy")
            .args(&[arg("it", ITER)])
            .returns(RetType::Void)
            .since(6, 7),
        destroy,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_new")
            .args(&[
                arg("it", UNINIT_ITER),
                arg("start", ArgType::BtfId(CSS)),
                arg("flags", ArgType::Anything),
            ])
            .since(6, 7),
        css_new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_next")
            .args(&[arg("it", ITER)])
            .returns(RetType::BtfIdOrNull(CSS))
            .since(6, 7),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_destroy")
            .args(&[arg("it", ITER)])
            .returns(RetType::Void)
            .since(6, 7),
        destroy,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_task_new")
            .args(&[
                arg("it", UNINIT_SHORT),
                arg("css", ArgType::BtfId(CSS)),
                arg("flags", ArgType::Anything),
            ])
            .since(6, 7),
        css_task_new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_task_next")
            .args(&[arg("it", SHORT)])
            .returns(RetType::BtfIdOrNull("task_struct"))
            .since(6, 7),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_css_task_destroy")
            .args(&[arg("it", SHORT)])
            .returns(RetType::Void)
            .since(6, 7),
        destroy,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_vma_new")
            .args(&[
                arg("it", UNINIT_SHORT),
                arg("task", ArgType::BtfId("task_struct")),
                arg("addr", ArgType::Anything),
            ])
            .since(6, 7),
        task_vma_new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_vma_next")
            .args(&[arg("it", SHORT)])
            .returns(RetType::BtfIdOrNull("vm_area_struct"))
            .since(6, 7),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_task_vma_destroy")
            .args(&[arg("it", SHORT)])
            .returns(RetType::Void)
            .since(6, 7),
        destroy,
    ),
];

/// What is left of the iterators that a run has going, last first, by their addresses.
#[derive(Default)]
struct Open(HashMap<u64, Vec<ObjectKey>>);

/// `BPF_TASK_ITER_*`: the first threads of all processes, all threads, the threads of the task's process from it on.
fn task_new(call: &mut Call<'_>, it: u64, task: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let mut tasks = Linux::of(call).tasks().all();
    match flags as u32 {
        0 => tasks.retain(|task| task.pid == task.tgid),
        1 => tasks.sort_by_key(|task| (task.tgid, task.pid)),
        2 if task != 0 => {
            let first = task_at(call, task)?;
            tasks.retain(|task| task.tgid == first.tgid && task.pid >= first.pid);
        }
        _ => return begin(call, it, None),
    }
    begin(call, it, Some(keys(&tasks)))
}

/// `BPF_CGROUP_ITER_*`, but for the one group alone.
fn css_new(call: &mut Call<'_>, it: u64, css: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let order = match flags as u32 {
        2 => CgroupOrder::DescendantsPre,
        3 => CgroupOrder::DescendantsPost,
        4 => CgroupOrder::AncestorsUp,
        _ => return begin(call, it, None),
    };
    let start = cgroup_at(call, css)?.id;
    let ids = Linux::of(call).walk_cgroups(start, order);
    begin(call, it, Some(ids.into_iter().map(ObjectKey::Cgroup).collect()))
}

/// `CSS_TASK_ITER_PROCS` asks for the first threads of processes only.
fn css_task_new(call: &mut Call<'_>, it: u64, css: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    const PROCS: u32 = 1;
    const THREADED: u32 = 2;
    let flags = flags as u32;
    if !matches!(flags, 0 | PROCS) && flags != PROCS | THREADED {
        return begin(call, it, None);
    }
    let cgroup = cgroup_at(call, css)?.id;
    let mut tasks = Linux::of(call).tasks().all();
    tasks.retain(|task| task.cgroup == cgroup && (flags == 0 || task.pid == task.tgid));
    begin(call, it, Some(keys(&tasks)))
}

/// Areas from the one on that ends behind `addr`. `ENOENT` for tasks without user memory.
fn task_vma_new(call: &mut Call<'_>, it: u64, task: u64, addr: u64, _: u64, _: u64) -> HelperResult {
    let task = task_at(call, task)?;
    let Some(mm) = Linux::of(call).mm_of(&task) else {
        begin(call, it, Some(Vec::new()))?;
        return Err(Errno::ENOENT.into());
    };
    let areas = mm.memory.iter().filter(|area| area.start.saturating_add(area.len) > addr);
    let mut starts: Vec<u64> = areas.map(|area| area.start).collect();
    starts.sort_unstable();
    begin(call, it, Some(starts.into_iter().map(|start| ObjectKey::Area(mm.pid, start)).collect()))
}

fn keys(tasks: &[Arc<Task>]) -> Vec<ObjectKey> {
    tasks.iter().map(|task| ObjectKey::Task(task.pid)).collect()
}

/// Begins an iterator over these; one that goes over nothing, and `EINVAL`, if there are none to go over.
fn begin(call: &mut Call<'_>, it: u64, keys: Option<Vec<ObjectKey>>) -> HelperResult {
    call.store(it, Size::Dw, 0)?;
    let answer = if keys.is_some() { Ok(0) } else { Err(Errno::EINVAL.into()) };
    let open = &mut call.run_state::<Open>().0;
    if open.len() >= OPEN_MAX {
        return Err(call.unsupported(format!("a run can have {OPEN_MAX} iterators going")));
    }
    let mut keys = keys.unwrap_or_default();
    keys.reverse();
    open.insert(it, keys);
    answer
}

/// The address of the next object, or NULL.
fn next(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let Some(keys) = call.run_state::<Open>().0.get_mut(&it) else {
        return Err(call.bad_argument(format!("there is no iterator at {it:#x}")));
    };
    match keys.pop() {
        Some(key) => give(call, key, View::Kernel),
        None => Ok(0),
    }
}

fn destroy(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    call.run_state::<Open>().0.remove(&it);
    Ok(0)
}
