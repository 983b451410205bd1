//! Tasks as `struct task_struct`, and what belongs to each: credentials, namespaces, memory.

use super::{Fields, ObjectKey};

pub(super) fn fill(to: &mut Fields<'_>, pid: u32) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    to.set("pid", task.pid.into());
    to.set("tgid", task.tgid.into());
    to.bytes("comm", &task.comm_bytes());
    to.set("flags", task.flags.into());
    to.set("start_time", task.start_ns);
    to.set("start_boottime", task.start_ns.wrapping_add(to.world().clock.suspended_ns));
    to.set("usage.refs.counter", 1);
    to.set("prio", 120);
    to.set("static_prio", 120);
    to.set("normal_prio", 120);
    to.point("group_leader", ObjectKey::Task(task.tgid));
    let parent = ObjectKey::Task(if task.ppid == 0 { task.tgid } else { task.ppid });
    to.point("real_parent", parent);
    to.point("parent", parent);
    to.point("cred", ObjectKey::Cred(pid));
    to.point("real_cred", ObjectKey::Cred(pid));
    to.point("nsproxy", ObjectKey::NsProxy(pid));
    to.point("cgroups", ObjectKey::CssSet(task.cgroup));
    to.point("mm", ObjectKey::Mm(task.tgid));
    to.point("active_mm", ObjectKey::Mm(task.tgid));
    for list in ["children", "sibling", "thread_node", "tasks", "cg_list"] {
        to.empty_list(list);
    }
}

pub(super) fn fill_cred(to: &mut Fields<'_>, pid: u32) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    for path in ["uid", "euid", "suid", "fsuid"] {
        to.set_at(path, 0, 4, task.uid.into());
    }
    for path in ["gid", "egid", "sgid", "fsgid"] {
        to.set_at(path, 0, 4, task.gid.into());
    }
    to.set_at("usage", 0, 8, 1);
}

pub(super) fn fill_nsproxy(to: &mut Fields<'_>, pid: u32) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    to.point("pid_ns_for_children", ObjectKey::PidNs(task.pid_ns.ino));
    to.point("net_ns", ObjectKey::Net);
}

pub(super) fn fill_mm(to: &mut Fields<'_>, tgid: u32) {
    let leader = to.tables().tasks.find(|task| task.tgid == tgid && task.has_mm());
    let Some(leader) = leader else { return };
    to.set("map_count", leader.memory.len() as u64);
    to.set("total_vm", leader.memory.iter().map(|area| area.len.div_ceil(4096)).sum());
    to.point("owner", ObjectKey::Task(tgid));
    if leader.exe != 0 {
        to.point("exe_file", ObjectKey::File(leader.exe));
    }
}

/// The registers that are stated, and what the user stack says of them.
pub(super) fn fill_pt_regs(to: &mut Fields<'_>, pid: u32) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    if let Some(addr) = task.user_stack.first() {
        to.set("ip", *addr);
        to.set("pc", *addr);
    }
    for name in REGS {
        if let Some(value) = task.regs.get(*name) {
            to.set(name, *value);
        }
    }
}

/// Members of `struct pt_regs` on x86-64, and those of arm64.
const REGS: &[&str] = &[
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    "orig_ax", "ip", "cs", "flags", "sp", "ss", "regs[0]", "regs[1]", "regs[2]", "regs[3]", "regs[4]",
    "regs[5]", "regs[6]", "regs[7]", "regs[8]", "regs[29]", "regs[30]", "pc", "pstate",
];

pub(super) fn fill_area(to: &mut Fields<'_>, pid: u32, start: u64) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    let Some(area) = task.memory.iter().find(|area| area.start == start) else { return };
    to.set("vm_start", area.start);
    to.set("vm_end", area.start.saturating_add(area.len));
    to.set("vm_flags", area.flags);
    to.set("vm_pgoff", area.pgoff);
    to.point("vm_mm", ObjectKey::Mm(task.tgid));
    if area.file != 0 {
        to.point("vm_file", ObjectKey::File(area.file));
    }
}
