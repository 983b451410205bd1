//! Memory of users and of the kernel, copied as strings or to where dynptrs lead. Documentation/bpf/kfuncs.rst, bpf-helpers(7).

use super::int_of;
use crate::Linux;
use crate::helpers::dynptr::{Dynptr, by_number};
use crate::objects::task_at;
use mimic_abi::{Arg, ArgType, DynptrKind, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const ANY: ArgType = ArgType::Anything;
const TASK: ArgType = ArgType::BtfId("task_struct");
const TO: &[Arg] = &[
    arg("dptr", ArgType::Dynptr(DynptrKind::Any)),
    arg("off", ANY),
    arg("size", ANY),
    arg("unsafe_ptr__ign", ANY),
];
const TO_OF_TASK: &[Arg] = &[
    arg("dptr", ArgType::Dynptr(DynptrKind::Any)),
    arg("off", ANY),
    arg("size", ANY),
    arg("unsafe_ptr__ign", ANY),
    arg("tsk", TASK),
];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_str")
            .args(&[
                arg("dst", ArgType::Mem(MemAccess::Write, MemLen::NextArg)),
                arg("dst__sz", ArgType::SizeOrZero),
                arg("unsafe_ptr__ign", ANY),
                arg("flags", ANY),
            ])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(6, 12),
        copy_from_user_str,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_task_str")
            .args(&[
                arg("dst", ArgType::Mem(MemAccess::Write, MemLen::NextArg)),
                arg("dst__sz", ArgType::SizeOrZero),
                arg("unsafe_ptr__ign", ANY),
                arg("tsk", TASK),
                arg("flags", ANY),
            ])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(6, 15),
        copy_from_user_task_str,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_probe_read_user_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| bytes_by(call, PROBE_READ_USER, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_probe_read_kernel_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| bytes_by(call, PROBE_READ_KERNEL, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| bytes_by(call, COPY_FROM_USER, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_probe_read_user_str_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| text_by(call, PROBE_READ_USER_STR, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_probe_read_kernel_str_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| text_by(call, PROBE_READ_KERNEL_STR, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_str_dynptr").args(TO).since(6, 16),
        |call, d, o, n, p, _| text_by(call, PROBE_READ_USER_STR, d, o, n, p),
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_task_dynptr").args(TO_OF_TASK).since(6, 16),
        copy_from_user_task_dynptr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_copy_from_user_task_str_dynptr").args(TO_OF_TASK).since(6, 16),
        copy_from_user_task_str_dynptr,
    ),
];

const PROBE_READ_USER: u32 = 112;
const PROBE_READ_KERNEL: u32 = 113;
const PROBE_READ_USER_STR: u32 = 114;
const PROBE_READ_KERNEL_STR: u32 = 115;
const COPY_FROM_USER: u32 = 148;
const COPY_FROM_USER_TASK: u32 = 191;
/// Zeros behind the text to the end of the buffer.
const BPF_F_PAD_ZEROS: u64 = 1;
/// The longest text, in bytes, that is looked for.
const TEXT_MAX: u64 = 1 << 20;

fn copy_from_user_str(call: &mut Call<'_>, to: u64, len: u64, from: u64, flags: u64, _: u64) -> HelperResult {
    let task = Linux::of(call).task(call.cpu());
    int_of(text_of(call, &task, (to, len as u32), from, flags))
}

fn copy_from_user_task_str(
    call: &mut Call<'_>,
    to: u64,
    len: u64,
    from: u64,
    task: u64,
    flags: u64,
) -> HelperResult {
    let task = task_at(call, task)?;
    int_of(text_of(call, &task, (to, len as u32), from, flags))
}

/// Copies a task's text with a NUL; answers its bytes with the NUL. One that is too long is cut.
fn text_of(
    call: &mut Call<'_>,
    task: &std::sync::Arc<crate::Task>,
    (to, len): (u64, u32),
    from: u64,
    flags: u64,
) -> HelperResult {
    if flags & !BPF_F_PAD_ZEROS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    call.check(to, len.into(), true)?;
    let text = read_text(Linux::of(call), task, from, len - 1);
    let mut bytes = text.clone().unwrap_or_default();
    let copied = bytes.len() as u64 + 1;
    let padded = flags & BPF_F_PAD_ZEROS != 0;
    bytes.resize(if padded { len as usize } else { bytes.len() + 1 }, 0);
    if text.is_ok() || padded {
        call.write(to, &bytes)?;
    }
    text?;
    Ok(copied)
}

/// At most `max` bytes of a task's memory, up to a NUL.
fn read_text(
    linux: &Linux,
    task: &std::sync::Arc<crate::Task>,
    from: u64,
    max: u32,
) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while (text.len() as u64) < u64::from(max).min(TEXT_MAX) {
        let mut byte = [0];
        linux.read_user(task, from.wrapping_add(text.len() as u64), &mut byte)?;
        match byte {
            [0] => break,
            [byte] => text.push(byte),
        }
    }
    Ok(text)
}

/// Where a dynptr leads, if `len` bytes fit there that may be written.
fn target(call: &Call<'_>, dynptr: u64, off: u64, len: u64) -> Result<(Dynptr, u32, u32), Trap> {
    let dynptr = Dynptr::load(call, dynptr)?.filter(|dynptr| !dynptr.read_only).ok_or(Errno::EINVAL)?;
    let (off, len) = (u32::try_from(off), u32::try_from(len));
    let (off, len) = (off.map_err(|_| Errno::E2BIG)?, len.map_err(|_| Errno::E2BIG)?);
    dynptr.check(off, len)?;
    Ok((dynptr, off, len))
}

/// Copies bytes that a helper reads: (to, length, from).
fn bytes_by(call: &mut Call<'_>, helper: u32, dynptr: u64, off: u64, len: u64, from: u64) -> HelperResult {
    int_of((|| {
        let (dynptr, off, len) = target(call, dynptr, off, len)?;
        let room = call.scratch("dynptr_copy", len.max(1))?.base();
        by_number(call, helper, [room, len.into(), from, 0, 0])?;
        dynptr.copy_from(call, off, room, len, 0)
    })())
}

/// The same for texts; answers the bytes with the NUL.
fn text_by(call: &mut Call<'_>, helper: u32, dynptr: u64, off: u64, len: u64, from: u64) -> HelperResult {
    int_of((|| {
        let (dynptr, off, len) = target(call, dynptr, off, len)?;
        let room = call.scratch("dynptr_copy", len.max(1))?.base();
        let copied = by_number(call, helper, [room, len.into(), from, 0, 0])?;
        dynptr.copy_from(call, off, room, copied as u32, 0)?;
        Ok(copied)
    })())
}

fn copy_from_user_task_dynptr(
    call: &mut Call<'_>,
    dynptr: u64,
    off: u64,
    len: u64,
    from: u64,
    task: u64,
) -> HelperResult {
    int_of((|| {
        let (dynptr, off, len) = target(call, dynptr, off, len)?;
        let room = call.scratch("dynptr_copy", len.max(1))?.base();
        by_number(call, COPY_FROM_USER_TASK, [room, len.into(), from, task, 0])?;
        dynptr.copy_from(call, off, room, len, 0)
    })())
}

fn copy_from_user_task_str_dynptr(
    call: &mut Call<'_>,
    dynptr: u64,
    off: u64,
    len: u64,
    from: u64,
    task: u64,
) -> HelperResult {
    int_of((|| {
        let (dynptr, off, len) = target(call, dynptr, off, len)?;
        let task = task_at(call, task)?;
        let room = call.scratch("dynptr_copy", len.max(1))?.base();
        let copied = text_of(call, &task, (room, len), from, 0)?;
        dynptr.copy_from(call, off, room, copied as u32, 0)?;
        Ok(copied)
    })())
}
