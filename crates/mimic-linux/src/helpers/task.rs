//! The current task: ids, name, signals, as the world says who is current.

use super::row::WRITE;
use crate::Linux;
use crate::effects::{Effect, note};
use crate::objects::{self, ObjectKey, View, give, task_at};
use crate::user_memory::area_at;
use crate::world::Task;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, RetType, Size, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Next, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(14, "get_current_pid_tgid").since(4, 2), get_current_pid_tgid),
    Helper::new(HelperSpec::new(15, "get_current_uid_gid").since(4, 2), get_current_uid_gid),
    Helper::new(
        HelperSpec::new(16, "get_current_comm")
            .args(&[arg("buf", WRITE), arg("size_of_buf", ArgType::Size)])
            .since(4, 2),
        get_current_comm,
    ),
    Helper::new(
        HelperSpec::new(35, "get_current_task").flags(HelperFlags::GPL_ONLY).since(4, 8).support(KERNEL_TASK),
        get_current_task,
    ),
    Helper::new(
        HelperSpec::new(109, "send_signal").args(&[arg("sig", ArgType::Anything)]).since(5, 3),
        send_signal,
    ),
    Helper::new(
        HelperSpec::new(117, "send_signal_thread").args(&[arg("sig", ArgType::Anything)]).since(5, 6),
        send_signal_thread,
    ),
    Helper::new(
        HelperSpec::new(120, "get_ns_current_pid_tgid")
            .args(&[
                arg("dev", ArgType::Anything),
                arg("ino", ArgType::Anything),
                arg("nsdata", WRITE),
                arg("size", ArgType::Size),
            ])
            .since(5, 7),
        get_ns_current_pid_tgid,
    ),
    Helper::new(
        HelperSpec::new(158, "get_current_task_btf")
            .returns(RetType::BtfId("task_struct"))
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 11)
            .support(KERNEL_TASK),
        get_current_task,
    ),
    Helper::new(
        HelperSpec::new(175, "task_pt_regs")
            .args(&[arg("task", ArgType::BtfId("task_struct"))])
            .returns(RetType::BtfId("pt_regs"))
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15),
        task_pt_regs,
    ),
    Helper::new(
        HelperSpec::new(180, "find_vma")
            .args(&[
                arg("task", ArgType::BtfId("task_struct")),
                arg("addr", ArgType::Anything),
                arg("callback_fn", ArgType::Func),
                arg_or_null("callback_ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 17),
        find_vma,
    ),
];

fn get_current_pid_tgid(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    Ok(u64::from(task.tgid) << 32 | u64::from(task.pid))
}

fn get_current_uid_gid(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    Ok(u64::from(task.gid) << 32 | u64::from(task.uid))
}

/// The name, cut to what there is room for, always with a NUL; the rest of the buffer is zeroed.
fn get_current_comm(call: &mut Call<'_>, buf: u64, len: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(buf, len, true)?;
    let mut comm = Linux::of(call).task(call.cpu()).comm_bytes();
    if len < comm.len() as u64 {
        comm[(len as usize).saturating_sub(1)..].fill(0);
    }
    zero(call, buf, len)?;
    call.write(buf, &comm[..comm.len().min(len as usize)])?;
    Ok(0)
}

/// The ids in the pid namespace that `dev` and `ino` name, which must be the task's own.
fn get_ns_current_pid_tgid(
    call: &mut Call<'_>,
    dev: u64,
    ino: u64,
    to: u64,
    len: u64,
    _: u64,
) -> HelperResult {
    const LEN: u64 = 8;
    let len = u64::from(len as u32);
    let task = Linux::of(call).task(call.cpu());
    if len != LEN || dev != task.pid_ns.dev || ino != task.pid_ns.ino {
        zero(call, to, len)?;
        return Err(Errno::EINVAL.into());
    }
    call.store(to, Size::W, task.pid.into())?;
    call.store(to + 4, Size::W, task.tgid.into())?;
    Ok(0)
}

/// Zeroes guest memory.
fn zero(call: &Call<'_>, addr: u64, len: u64) -> Result<(), Trap> {
    call.check(addr, len, true)?;
    call.write(addr, &vec![0; len as usize])
}

const KERNEL_TASK: Support = Support::Partial("what the world does not state of the task is zero");

/// The address of the current task's `task_struct`.
fn get_current_task(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let pid = Linux::of(call).task(call.cpu()).pid;
    objects::give(call, ObjectKey::Task(pid), View::Kernel)
}

/// The highest number of a signal (`_NSIG`).
const SIGNAL_MAX: u32 = 64;
const INIT_PID: u32 = 1;

fn send_signal(call: &mut Call<'_>, signal: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    signal_to(call, &task, signal as u32, false)
}

fn send_signal_thread(call: &mut Call<'_>, signal: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    signal_to(call, &task, signal as u32, true)
}

/// Notes a signal. `EPERM` for kernel threads and init.
pub(crate) fn signal_to(call: &Call<'_>, task: &Task, signal: u32, thread: bool) -> HelperResult {
    if !task.has_mm() || task.tgid == INIT_PID {
        return Err(Errno::EPERM.into());
    }
    if signal > SIGNAL_MAX {
        return Err(Errno::EINVAL.into());
    }
    if signal != 0 {
        let pid = if thread { task.pid } else { task.tgid };
        note(call, Effect::Signal { pid, signal, thread })?;
    }
    Ok(0)
}

/// The registers with which the task entered the kernel.
fn task_pt_regs(call: &mut Call<'_>, task: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let pid = task_at(call, task)?.pid;
    give(call, ObjectKey::PtRegs(pid), View::Kernel)
}

/// Calls back with the area of a task's memory that an address lies in. `ENOENT` if there is none.
fn find_vma(call: &mut Call<'_>, task: u64, addr: u64, func: u64, ctx: u64, flags: u64) -> HelperResult {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if task == 0 {
        return Err(Errno::ENOENT.into());
    }
    let at = task_at(call, task)?;
    let func = call.func(func)?;
    let mm = Linux::of(call).mm_of(&at).ok_or(Errno::ENOENT)?;
    let start = area_at(&mm.memory, addr).ok_or(Errno::ENOENT)?.start;
    let area = give(call, ObjectKey::Area(mm.pid, start), View::Kernel)?;
    let done = |_: &mut Call<'_>, _: u64| Ok(Next::Return(0));
    Err(call.call_back(func, [task, area, ctx, 0, 0], done))
}
