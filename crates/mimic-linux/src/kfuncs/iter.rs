//! Open-coded iterators: `bpf_iter_num_*`, which counts. Documentation/bpf/kfuncs.rst, "open-coded iterators".
//!
//! A `struct bpf_iter_num` on the guest's stack holds what the kernel's does: the current number and the end, each 32 bits.

use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

/// Bytes of a `struct bpf_iter_num`.
const ITER_LEN: u32 = 8;
/// The most numbers (`BPF_MAX_LOOPS`).
const LOOPS_MAX: i64 = 8 << 20;

const ITER: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(ITER_LEN));
const UNINIT_ITER: ArgType = ArgType::Mem(MemAccess::Write, MemLen::Fixed(ITER_LEN));

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_iter_num_new")
            .args(&[arg("it", UNINIT_ITER), arg("start", ArgType::Anything), arg("end", ArgType::Anything)])
            .since(6, 4),
        new,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_num_next")
            .args(&[arg("it", ITER)])
            .returns(RetType::DynptrMemOrNull)
            .since(6, 4),
        next,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_iter_num_destroy")
            .args(&[arg("it", ITER)])
            .returns(RetType::Void)
            .since(6, 4),
        destroy,
    ),
];

/// Counts from `start` up to, not including, `end`.
fn new(call: &mut Call<'_>, it: u64, start: u64, end: u64, _: u64, _: u64) -> HelperResult {
    let (start, end) = (start as i32, end as i32);
    let errno = match i64::from(end) - i64::from(start) {
        ..0 => Errno::EINVAL,
        0..=LOOPS_MAX => return set(call, it, start.wrapping_sub(1), end).map(|()| 0),
        _ => Errno::E2BIG,
    };
    set(call, it, 0, 0)?;
    Err(errno.into())
}

/// The address of the next number, or NULL.
fn next(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let current = call.load(it, Size::W)? as i32;
    let end = call.load(it.wrapping_add(4), Size::W)? as i32;
    // As the kernel counts: the number before the first may be behind the last, around the corner.
    let next = current.wrapping_add(1);
    if next >= end {
        set(call, it, 0, 0)?;
        return Ok(0);
    }
    set(call, it, next, end)?;
    Ok(it)
}

fn destroy(call: &mut Call<'_>, it: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    set(call, it, 0, 0)?;
    Ok(0)
}

fn set(call: &Call<'_>, it: u64, current: i32, end: i32) -> Result<(), Trap> {
    call.store(it, Size::W, u64::from(current as u32))?;
    call.store(it.wrapping_add(4), Size::W, u64::from(end as u32))
}
