//! Reads (and one write) of memory that may not be there: no fault but an errno, and a zeroed buffer.
//!
//! Guest memory is all there is: each of its objects can be read both as the kernel's and as a user's memory. Where nothing is, the
//! errno is that of a kernel (on x86-64) whose user space that address would be in, or its own half.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Size, Support, arg};
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
    Helper::listed(
        HelperSpec::new(36, "probe_write_user")
            .args(&[arg("dst", ArgType::Anything), arg("src", READ), arg("len", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 8)
            .support(Support::Refused("needs the address space of an emulated task, which is not there yet")),
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
    Helper::listed(
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
            .since(5, 18)
            .support(Support::Refused("needs the address spaces of emulated tasks, which are not there yet")),
    ),
];

const ANY_MEMORY: Support =
    Support::Partial("guest memory is not divided: what is the kernel's can be read as a user's too");

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
        return Ok(0);
    }
    call.check(to, len, true)?;
    match call.view().read_vec(from, len) {
        Ok(bytes) => call.write(to, &bytes).map(|()| 0),
        Err(_) => refuse(call, to, len, space.errno(from)),
    }
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
        match call.view().load(from.wrapping_add(text.len() as u64), Size::B) {
            Ok(0) => break,
            Ok(byte) => text.push(byte as u8),
            Err(_) => return refuse(call, to, len, space.errno(from)),
        }
    }
    text.truncate(len as usize - 1);
    text.push(0);
    call.write(to, &text)?;
    Ok(text.len() as u64)
}

fn refuse(call: &Call<'_>, to: u64, len: u64, errno: Errno) -> HelperResult {
    call.write(to, &vec![0; len as usize])?;
    Err(Trap::Errno(errno))
}
