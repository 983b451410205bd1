//! Stack traces of tasks: what the world says lies on their stacks.
//!
//! A trace is a list of addresses, innermost first. Kernel stacks are those of the task, whatever the context's registers are.

use super::row::WRITE;
use crate::Linux;
use crate::maps::stack_trace::{BUILD_ID_LEN, FAST_STACK_CMP, REUSE_STACKID, STACK_MAX};
use crate::maps::{LinuxMap, StackTrace};
use crate::objects::task_at;
use crate::user_memory::area_at;
use crate::world::Task;
use mimic_abi::{ArgType, ByteOrder, Errno, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(27, "get_stackid")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 6)
            .support(STATED),
        get_stackid,
    ),
    Helper::new(
        HelperSpec::new(67, "get_stack")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18)
            .support(STATED),
        get_stack,
    ),
    Helper::new(
        HelperSpec::new(141, "get_task_stack")
            .args(&[
                arg("task", ArgType::BtfId("task_struct")),
                arg("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 9)
            .support(STATED),
        get_task_stack,
    ),
];

const STATED: Support = Support::Partial("the stacks that the world states: nothing is unwound");

/// `BPF_F_SKIP_FIELD_MASK`: how many frames to leave out.
const SKIP_MASK: u64 = 0xff;
const USER_STACK: u64 = 1 << 8;
const USER_BUILD_ID: u64 = 1 << 11;
/// `BPF_STACK_BUILD_ID_VALID` and `_IP`: what a frame of build ids holds.
const STATUS_VALID: u32 = 1;
const STATUS_IP: u32 = 2;
const BUILD_ID_BYTES: usize = 20;

fn get_stackid(call: &mut Call<'_>, _ctx: u64, map: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map_as::<LinuxMap<StackTrace>>(map)?.ops();
    if flags & !(SKIP_MASK | USER_STACK | FAST_STACK_CMP | REUSE_STACKID) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let task = Linux::of(call).task(call.cpu());
    let trace = trace(call, &task, map.frames_max(), flags);
    let skip = (flags & SKIP_MASK) as usize;
    if trace.len() <= skip {
        return Err(Errno::EFAULT.into());
    }
    let addrs = &trace[skip..];
    let frames = frames(call, &task, addrs, map.has_build_ids(), flags & USER_STACK != 0);
    Ok(map.add(addrs, frames, flags)?.into())
}

fn get_stack(call: &mut Call<'_>, _ctx: u64, buf: u64, size: u64, flags: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    copy_stack(call, &task, buf, size, flags)
}

fn get_task_stack(call: &mut Call<'_>, task: u64, buf: u64, size: u64, flags: u64, _: u64) -> HelperResult {
    let task = task_at(call, task)?;
    let user = flags & USER_STACK != 0;
    let refused = match () {
        () if check_flags(flags, size).is_err() => None,
        () if user && !task.has_mm() => Some(Errno::EFAULT),
        () if user && task.pid != Linux::of(call).task(call.cpu()).pid => Some(Errno::EOPNOTSUPP),
        () => None,
    };
    match refused {
        Some(errno) => clear(call, buf, size, errno),
        None => copy_stack(call, &task, buf, size, flags),
    }
}

/// Copies a task's stack to `buf`; answers the bytes. What is behind them is zeroed, everything on errors.
fn copy_stack(call: &Call<'_>, task: &Arc<Task>, buf: u64, size: u64, flags: u64) -> HelperResult {
    let size = u64::from(size as u32);
    let build_id = flags & USER_BUILD_ID != 0;
    if let Err(errno) = check_flags(flags, size) {
        return clear(call, buf, size, errno);
    }
    let frame_len = if build_id { u64::from(BUILD_ID_LEN) } else { 8 };
    let trace = trace(call, task, (size / frame_len) as u32, flags);
    let skip = (flags & SKIP_MASK) as usize;
    let Some(addrs) = trace.get(skip..) else { return clear(call, buf, size, Errno::EFAULT) };
    let mut bytes = frames(call, task, addrs, build_id, flags & USER_STACK != 0);
    let len = bytes.len() as u64;
    call.check(buf, size, true)?;
    bytes.resize(size as usize, 0);
    call.write(buf, &bytes)?;
    Ok(len)
}

fn check_flags(flags: u64, size: u64) -> Result<(), Errno> {
    let build_id = flags & USER_BUILD_ID != 0;
    let frame_len = if build_id { u64::from(BUILD_ID_LEN) } else { 8 };
    let bad = flags & !(SKIP_MASK | USER_STACK | USER_BUILD_ID) != 0
        || build_id && flags & USER_STACK == 0
        || !u64::from(size as u32).is_multiple_of(frame_len);
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}

fn clear(call: &Call<'_>, buf: u64, size: u64, errno: Errno) -> HelperResult {
    let size = u64::from(size as u32);
    if size > 0 {
        call.check(buf, size, true)?;
        call.write(buf, &vec![0; size as usize])?;
    }
    Err(Trap::Errno(errno))
}

/// The stack that the flags choose, with the frames that are to be skipped, and no more than `frames_max` behind them.
fn trace(call: &Call<'_>, task: &Arc<Task>, frames_max: u32, flags: u64) -> Vec<u64> {
    let depth = frames_max.saturating_add((flags & SKIP_MASK) as u32).min(STACK_MAX) as usize;
    let stack = match flags & USER_STACK {
        0 => &task.kernel_stack,
        _ if Linux::of(call).mm_of(task).is_none() => &Vec::new(),
        _ => &task.user_stack,
    };
    stack.iter().take(depth).copied().collect()
}

/// The bytes of frames: addresses, or `struct bpf_stack_build_id`s.
fn frames(call: &Call<'_>, task: &Arc<Task>, addrs: &[u64], build_ids: bool, user: bool) -> Vec<u8> {
    let order = call.view().memory().order();
    let long = |value: u64| match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    if !build_ids {
        return addrs.iter().flat_map(|addr| long(*addr)).collect();
    }
    let mut bytes = Vec::new();
    for addr in addrs {
        let found = if user { build_id(call, task, *addr) } else { None };
        let (status, id, place) = match found {
            Some((id, off)) => (STATUS_VALID, id, off),
            None => (STATUS_IP, [0; BUILD_ID_BYTES], *addr),
        };
        match order {
            ByteOrder::Little => bytes.extend(status.to_le_bytes()),
            ByteOrder::Big => bytes.extend(status.to_be_bytes()),
        }
        bytes.extend(id);
        bytes.extend(long(place));
    }
    bytes
}

/// The build id of the file that is mapped at an address, and the address as an offset in the file.
fn build_id(call: &Call<'_>, task: &Arc<Task>, addr: u64) -> Option<([u8; BUILD_ID_BYTES], u64)> {
    let linux = Linux::of(call);
    let mm = linux.mm_of(task)?;
    let area = area_at(&mm.memory, addr)?;
    let file = linux.tables.files.get(area.file)?;
    if file.build_id.is_empty() {
        return None;
    }
    let mut id = [0; BUILD_ID_BYTES];
    let len = file.build_id.len().min(BUILD_ID_BYTES);
    id[..len].copy_from_slice(&file.build_id[..len]);
    Some((id, (area.pgoff << 12).wrapping_add(addr - area.start)))
}
