//! Reads (and one write) of memory that may not be there: no fault but an errno, and a zeroed buffer.
//!
//! User memory is that of the world's tasks; where a task states none, objects of guest memory can be read both as the kernel's and as a
//! user's. Where nothing is, the errno is that of a kernel (on x86-64) whose user space that address would be in, or its own half.

use super::row::{READ, WRITE};
use crate::Linux;
use crate::objects::task_at;
use crate::user_memory::area_at;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(4, "probe_read")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 1),
        probe_read,
    ),
    Helper::new(
        HelperSpec::new(36, "probe_write_user")
            .args(&[arg("dst", ArgType::Anything), arg("src", READ), arg("len", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 8),
        probe_write_user,
    ),
    Helper::new(
        HelperSpec::new(45, "probe_read_str")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 11),
        probe_read_str,
    ),
    Helper::new(
        HelperSpec::new(112, "probe_read_user")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5)
            .support(ANY_MEMORY),
        probe_read_user,
    ),
    Helper::new(
        HelperSpec::new(113, "probe_read_kernel")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5),
        probe_read_kernel,
    ),
    Helper::new(
        HelperSpec::new(114, "probe_read_user_str")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5)
            .support(ANY_MEMORY),
        probe_read_user_str,
    ),
    Helper::new(
        HelperSpec::new(115, "probe_read_kernel_str")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("unsafe_ptr", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5),
        probe_read_kernel_str,
    ),
    Helper::new(
        HelperSpec::new(148, "copy_from_user")
            .args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("user_ptr", ArgType::Anything)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 10)
            .support(ANY_MEMORY),
        copy_from_user,
    ),
    Helper::new(
        HelperSpec::new(191, "copy_from_user_task")
            .args(&[
                arg("dst", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("user_ptr", ArgType::Anything),
                arg("tsk", ArgType::BtfId("task_struct")),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 18),
        copy_from_user_task,
    ),
];

const ANY_MEMORY: Support = Support::Partial(
    "where the task states no memory, the guest's is read: what is the kernel's can be read as a user's too",
);

/// The first address that `copy_from_kernel_nofault` may look at, with 47 bits of user space and a page of guard.
const KERNEL_START: u64 = 1 << 47;
/// Where the kernel's half begins; what is between is not canonical.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

/// What is answered for an address where nothing is.
#[derive(Clone, Copy)]
pub(super) enum Space {
    Kernel,
    User,
    /// The user's for low addresses, the kernel's for others: what the old helpers do.
    Either,
}

impl Space {
    pub(super) fn errno(self, addr: u64) -> Errno {
        match self {
            Space::Kernel if addr < KERNEL_HALF => Errno::ERANGE,
            Space::Either if (KERNEL_START..KERNEL_HALF).contains(&addr) => Errno::ERANGE,
            Space::Kernel | Space::User | Space::Either => Errno::EFAULT,
        }
    }
}

fn probe_read(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read(call, to, len, from, Space::Either)
}

fn probe_read_user(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read(call, to, len, from, Space::User)
}

fn probe_read_kernel(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read(call, to, len, from, Space::Kernel)
}

fn copy_from_user(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read(call, to, len, from, Space::User)
}

/// Writes the current task's memory. `EPERM` for kernel threads.
fn probe_write_user(call: &mut Call<'_>, to: u64, from: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let bytes = call.read_vec(from, u64::from(len as u32))?;
    let linux = Linux::of(call);
    let task = linux.task(call.cpu());
    linux.mm_of(&task).ok_or(Errno::EPERM)?;
    linux.write_user(&task, to, &bytes)?;
    Ok(0)
}

/// Reads the memory of any task.
fn copy_from_user_task(
    call: &mut Call<'_>,
    to: u64,
    len: u64,
    from: u64,
    task: u64,
    flags: u64,
) -> HelperResult {
    let len = u64::from(len as u32);
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    let task = task_at(call, task)?;
    call.check(to, len, true)?;
    let mut bytes = vec![0; len as usize];
    match Linux::of(call).read_user(&task, from, &mut bytes) {
        Ok(()) => call.write(to, &bytes).map(|()| 0),
        Err(errno) => refuse(call, to, len, errno),
    }
}

fn probe_read_str(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read_str(call, to, len, from, Space::Either)
}

fn probe_read_user_str(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read_str(call, to, len, from, Space::User)
}

fn probe_read_kernel_str(call: &mut Call<'_>, to: u64, len: u64, from: u64, _: u64, _: u64) -> HelperResult {
    read_str(call, to, len, from, Space::Kernel)
}

fn read(call: &Call<'_>, to: u64, len: u64, from: u64, space: Space) -> HelperResult {
    let len = u64::from(len as u32);
    if len == 0 {
        return read_nothing(call, from, space);
    }
    call.check(to, len, true)?;
    match bytes_at(call, from, len, space) {
        Some(bytes) => call.write(to, &bytes).map(|()| 0),
        None => refuse(call, to, len, space.errno(from)),
    }
}

/// No bytes can be read wherever there could be some: in the half that is asked for.
fn read_nothing(call: &Call<'_>, from: u64, space: Space) -> HelperResult {
    let errno = space.errno(from);
    let beyond = match space {
        Space::User => from >= KERNEL_START,
        Space::Kernel | Space::Either => errno == Errno::ERANGE,
    };
    if beyond && bytes_at(call, from, 1, space).is_none() { Err(Trap::Errno(errno)) } else { Ok(0) }
}

/// Copies a string, cut to `len` bytes with its NUL; answers the bytes copied. What is behind the NUL stays.
fn read_str(call: &Call<'_>, to: u64, len: u64, from: u64, space: Space) -> HelperResult {
    let len = u64::from(len as u32);
    if len == 0 {
        return Ok(0);
    }
    call.check(to, len, true)?;
    let mut text = Vec::new();
    while (text.len() as u64) < len {
        match bytes_at(call, from.wrapping_add(text.len() as u64), 1, space).as_deref() {
            Some([0]) => break,
            Some(bytes) => text.extend_from_slice(bytes),
            None => return refuse(call, to, len, space.errno(from)),
        }
    }
    text.truncate(len as usize - 1);
    text.push(0);
    call.write(to, &text)?;
    Ok(text.len() as u64)
}

/// Memory of the current task, or of the guest, which is both the kernel's and any user's. Where a task states memory, that is the
/// user's before the guest's.
fn bytes_at(call: &Call<'_>, addr: u64, len: u64, space: Space) -> Option<Vec<u8>> {
    let user = || {
        let linux = Linux::of(call);
        let task = linux.task(call.cpu());
        // Where there is no area nothing is allocated for a length that a program made up.
        linux.mm_of(&task).filter(|mm| area_at(&mm.memory, addr).is_some())?;
        let mut bytes = vec![0; len as usize];
        linux.read_user(&task, addr, &mut bytes).ok().map(|()| bytes)
    };
    let guest = || call.view().read_vec(addr, len).ok();
    match space {
        Space::User => user().or_else(guest),
        Space::Kernel => guest(),
        Space::Either => guest().or_else(user),
    }
}

fn refuse(call: &Call<'_>, to: u64, len: u64, errno: Errno) -> HelperResult {
    call.write(to, &vec![0; len as usize])?;
    Err(Trap::Errno(errno))
}
