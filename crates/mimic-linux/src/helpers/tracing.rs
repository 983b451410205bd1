//! What tracing programs ask of the place they are attached to.

use super::perf::write_counter;
use super::row::WRITE;
use crate::Linux;
use crate::effects::{Effect, note};
use crate::kfuncs;
use crate::progs::{Branch, Counter, PerfEventContext, TracingContext};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, Size, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(56, "perf_prog_read_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_size", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 15),
        perf_prog_read_value,
    ),
    Helper::new(
        HelperSpec::new(58, "override_return")
            .args(&[arg("regs", ArgType::Ctx), arg("rc", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 16),
        override_return,
    ),
    Helper::new(
        HelperSpec::new(119, "read_branch_records")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg_or_null("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 7),
        read_branch_records,
    ),
    Helper::new(
        HelperSpec::new(147, "d_path")
            .args(&[arg("path", ArgType::BtfId("path")), arg("buf", WRITE), arg("sz", ArgType::SizeOrZero)])
            .since(5, 10),
        d_path,
    ),
    Helper::new(
        HelperSpec::new(173, "get_func_ip")
            .args(&[arg("ctx", ArgType::Ctx)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15),
        get_func_ip,
    ),
    Helper::new(
        HelperSpec::new(174, "get_attach_cookie").args(&[arg("ctx", ArgType::Ctx)]).since(5, 15),
        get_attach_cookie,
    ),
    Helper::new(
        HelperSpec::new(176, "get_branch_snapshot")
            .args(&[arg("entries", WRITE), arg("size", ArgType::SizeOrZero)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 16),
        get_branch_snapshot,
    ),
    Helper::new(
        HelperSpec::new(183, "get_func_arg")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("n", ArgType::Anything),
                arg("value", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 17),
        get_func_arg,
    ),
    Helper::new(
        HelperSpec::new(184, "get_func_ret")
            .args(&[arg("ctx", ArgType::Ctx), arg("value", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8)))])
            .since(5, 17),
        get_func_ret,
    ),
    Helper::new(
        HelperSpec::new(185, "get_func_arg_cnt").args(&[arg("ctx", ArgType::Ctx)]).since(5, 17),
        get_func_arg_cnt,
    ),
];

/// The path of an open file.
fn d_path(call: &mut Call<'_>, path: u64, buf: u64, size: u64, _: u64, _: u64) -> HelperResult {
    match size as u32 {
        0 => Ok(0),
        size => kfuncs::d_path(call, path, buf, size.into()),
    }
}

fn get_func_ip(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).attach().func_ip)
}

fn get_attach_cookie(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).attach().cookie)
}

/// An argument of the traced function, as it lies in the program's context.
fn get_func_arg(call: &mut Call<'_>, ctx: u64, n: u64, value: u64, _: u64, _: u64) -> HelperResult {
    if n >= traced(call)?.args.len() as u64 {
        return Err(Errno::EINVAL.into());
    }
    let arg = call.load(ctx.wrapping_add(8 * n), Size::Dw)?;
    call.store(value, Size::Dw, arg)?;
    Ok(0)
}

fn get_func_ret(call: &mut Call<'_>, _: u64, value: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let ret = traced(call)?.returned().ok_or(Errno::EOPNOTSUPP)?;
    call.store(value, Size::Dw, ret)?;
    Ok(0)
}

fn get_func_arg_cnt(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(traced(call)?.args.len() as u64)
}

/// The arguments of the traced function.
fn traced<'a>(call: &'a mut Call<'_>) -> Result<&'a TracingContext, Trap> {
    if call.context::<TracingContext>().is_none() {
        return Err(call.unsupported("needs the arguments of a traced function: give a tracing context"));
    }
    Ok(call.context::<TracingContext>().expect("it was there"))
}

/// What the probed function is to return is noted.
fn override_return(call: &mut Call<'_>, _: u64, rc: u64, _: u64, _: u64, _: u64) -> HelperResult {
    note(call, Effect::OverrideReturn(rc)).map(|()| 0)
}

/// The counter of the event that overflowed.
fn perf_prog_read_value(call: &mut Call<'_>, _: u64, buf: u64, size: u64, _: u64, _: u64) -> HelperResult {
    let counter = perf_event(call)?.counter;
    let counter = if u64::from(size as u32) == Counter::LEN { Ok(counter) } else { Err(Errno::EINVAL) };
    write_counter(call, buf, size, counter)
}

/// Copies the sampled branches, or tells how many bytes they take.
fn read_branch_records(call: &mut Call<'_>, _: u64, buf: u64, size: u64, flags: u64, _: u64) -> HelperResult {
    const GET_SIZE: u64 = 1;
    let size = u64::from(size as u32);
    if flags & !GET_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let branches = perf_event(call)?.branches.clone().ok_or(Errno::ENOENT)?;
    if flags & GET_SIZE != 0 {
        return Ok(branches.len() as u64 * Branch::LEN);
    }
    if buf == 0 || !size.is_multiple_of(Branch::LEN) {
        return Err(Errno::EINVAL.into());
    }
    write_branches(call, buf, size, &branches)
}

/// What the CPU has recorded last, as the world says. `ENOENT` if that is nothing.
fn get_branch_snapshot(call: &mut Call<'_>, buf: u64, size: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let size = u64::from(size as u32);
    call.check(buf, size, true)?;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let branches = &Linux::of(call).world().branches;
    match write_branches(call, buf, size, branches)? {
        0 => Err(Errno::ENOENT.into()),
        len => Ok(len),
    }
}

/// Writes as many branches as there is room for; answers the bytes.
fn write_branches(call: &Call<'_>, buf: u64, size: u64, branches: &[Branch]) -> HelperResult {
    let count = branches.len().min((size / Branch::LEN) as usize);
    let words = branches[..count].iter().flat_map(|branch| branch.words());
    for (at, word) in words.enumerate() {
        call.store(buf.wrapping_add(8 * at as u64), Size::Dw, word)?;
    }
    Ok(count as u64 * Branch::LEN)
}

/// The event that overflowed.
fn perf_event<'a>(call: &'a mut Call<'_>) -> Result<&'a PerfEventContext, Trap> {
    if call.context::<PerfEventContext>().is_none() {
        return Err(call.unsupported("needs the event that overflowed: give a perf event's context"));
    }
    Ok(call.context::<PerfEventContext>().expect("it was there"))
}
