//! The current task: ids, name, signals, as the world says who is current.

use super::row::WRITE;
use crate::Linux;
use crate::objects::{self, ObjectKey, View};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, RetType, Size, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};

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
    Helper::listed(
        HelperSpec::new(109, "send_signal")
            .args(&[arg("sig", ArgType::Anything)])
            .since(5, 3)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(117, "send_signal_thread")
            .args(&[arg("sig", ArgType::Anything)])
            .since(5, 6)
            .support(NOTE_2),
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
    Helper::listed(
        HelperSpec::new(175, "task_pt_regs")
            .args(&[arg("task", ArgType::BtfId("task_struct"))])
            .returns(RetType::BtfId("pt_regs"))
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(180, "find_vma")
            .args(&[
                arg("task", ArgType::BtfId("task_struct")),
                arg("addr", ArgType::Anything),
                arg("callback_fn", ArgType::Func),
                arg_or_null("callback_ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 17)
            .support(Support::Refused(
                "needs the address spaces of the emulated world's tasks, which are not there yet",
            )),
    ),
];
const NOTE_2: Support = Support::Refused("needs the tasks of the emulated world, which are not there yet");

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
