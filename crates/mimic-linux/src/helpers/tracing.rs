//! What tracing programs ask of the place they are attached to.

use super::row::WRITE;
use crate::Linux;
use crate::effects::{Effect, note};
use crate::progs::TracingContext;
use mimic_abi::{
    ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, Size, Support, arg, arg_or_null,
};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(56, "perf_prog_read_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_size", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 15)
            .support(Support::Refused(
                "needs perf_event programs and their counters, which are not there yet",
            )),
    ),
    Helper::new(
        HelperSpec::new(58, "override_return")
            .args(&[arg("regs", ArgType::Ctx), arg("rc", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 16),
        override_return,
    ),
    Helper::listed(
        HelperSpec::new(119, "read_branch_records")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg_or_null("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 7)
            .support(NOTE_3),
    ),
    Helper::listed(
        HelperSpec::new(147, "d_path")
            .args(&[arg("path", ArgType::BtfId("path")), arg("buf", WRITE), arg("sz", ArgType::SizeOrZero)])
            .since(5, 10)
            .support(Support::Refused("needs the files of the emulated world, which are not there yet")),
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
    Helper::listed(
        HelperSpec::new(176, "get_branch_snapshot")
            .args(&[arg("entries", WRITE), arg("size", ArgType::SizeOrZero)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 16)
            .support(NOTE_3),
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

const NOTE_3: Support = Support::Refused("needs the branch records of a CPU: only from a captured context");

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
