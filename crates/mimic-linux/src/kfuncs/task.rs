//! References to tasks and control groups. Documentation/bpf/kfuncs.rst, "struct task_struct * kfuncs".

use crate::Linux;
use crate::objects::{self, ObjectKey, View, cgroup_at, task_at};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult};

const TASK: ArgType = ArgType::BtfId("task_struct");
const CGROUP: ArgType = ArgType::BtfId("cgroup");
const ACQUIRES: HelperFlags = HelperFlags::ACQUIRES;
const RELEASES: HelperFlags = HelperFlags::RELEASES;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_task_acquire")
            .args(&[arg("p", TASK)])
            .returns(RetType::BtfIdOrNull("task_struct"))
            .flags(ACQUIRES)
            .since(6, 2),
        task_acquire,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_task_from_pid")
            .args(&[arg("pid", ArgType::Anything)])
            .returns(RetType::BtfIdOrNull("task_struct"))
            .flags(ACQUIRES)
            .since(6, 2),
        task_from_pid,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_task_from_vpid")
            .args(&[arg("vpid", ArgType::Anything)])
            .returns(RetType::BtfIdOrNull("task_struct"))
            .flags(ACQUIRES)
            .since(6, 14),
        task_from_pid,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_task_release")
            .args(&[arg("p", TASK)])
            .returns(RetType::Void)
            .flags(RELEASES)
            .since(6, 2),
        release,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_task_under_cgroup")
            .args(&[arg("task", TASK), arg("ancestor", CGROUP)])
            .since(6, 5),
        task_under_cgroup,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cgroup_acquire")
            .args(&[arg("cgrp", CGROUP)])
            .returns(RetType::BtfIdOrNull("cgroup"))
            .flags(ACQUIRES)
            .since(6, 2),
        cgroup_acquire,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cgroup_from_id")
            .args(&[arg("cgid", ArgType::Anything)])
            .returns(RetType::BtfIdOrNull("cgroup"))
            .flags(ACQUIRES)
            .since(6, 4),
        cgroup_from_id,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cgroup_ancestor")
            .args(&[arg("cgrp", CGROUP), arg("level", ArgType::Anything)])
            .returns(RetType::BtfIdOrNull("cgroup"))
            .flags(ACQUIRES)
            .since(6, 2),
        cgroup_ancestor,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cgroup_release")
            .args(&[arg("cgrp", CGROUP)])
            .returns(RetType::Void)
            .flags(RELEASES)
            .since(6, 2),
        release,
    ),
];

fn task_acquire(call: &mut Call<'_>, p: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let pid = task_at(call, p)?.pid;
    objects::give_acquired(call, ObjectKey::Task(pid), View::Kernel)
}

/// Ids are those of the only pid namespace.
fn task_from_pid(call: &mut Call<'_>, pid: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::give_acquired(call, ObjectKey::Task(pid as u32), View::Kernel)
}

fn task_under_cgroup(call: &mut Call<'_>, task: u64, cgroup: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let (task, cgroup) = (task_at(call, task)?, cgroup_at(call, cgroup)?);
    Ok(Linux::of(call).tables.ancestry(task.cgroup).contains(&cgroup.id).into())
}

fn cgroup_acquire(call: &mut Call<'_>, cgroup: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = cgroup_at(call, cgroup)?.id;
    objects::give_acquired(call, ObjectKey::Cgroup(id), View::Kernel)
}

fn cgroup_from_id(call: &mut Call<'_>, id: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::give_acquired(call, ObjectKey::Cgroup(id), View::Kernel)
}

fn cgroup_ancestor(call: &mut Call<'_>, cgroup: u64, level: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = cgroup_at(call, cgroup)?.id;
    match Linux::of(call).tables.ancestor(id, level) {
        0 => Ok(0),
        id => objects::give_acquired(call, ObjectKey::Cgroup(id), View::Kernel),
    }
}

fn release(call: &mut Call<'_>, object: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, object)?;
    Ok(0)
}
