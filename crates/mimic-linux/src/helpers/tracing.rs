//! What tracing programs ask of the place they are attached to.

use super::row::WRITE;
use crate::Linux;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, MemAccess, MemLen, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(27, "get_stackid")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 6)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(56, "perf_prog_read_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_size", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 15)
            .support(Support::Refused(
                "needs perf_event programs and their counters, which are not there yet",
            )),
    ),
    Helper::listed(
        HelperSpec::new(58, "override_return")
            .args(&[arg("regs", ArgType::Ctx), arg("rc", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 16)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(67, "get_stack")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18)
            .support(NOTE),
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
        HelperSpec::new(141, "get_task_stack")
            .args(&[
                arg("task", ArgType::BtfId("task_struct")),
                arg("buf", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 9)
            .support(NOTE),
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
    Helper::listed(
        HelperSpec::new(183, "get_func_arg")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("n", ArgType::Anything),
                arg("value", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 17)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(184, "get_func_ret")
            .args(&[arg("ctx", ArgType::Ctx), arg("value", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8)))])
            .since(5, 17)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(185, "get_func_arg_cnt")
            .args(&[arg("ctx", ArgType::Ctx)])
            .since(5, 17)
            .support(NOTE_2),
    ),
];

const NOTE: Support =
    Support::Refused("needs stack traces of the emulated world's tasks, which are not there yet");
const NOTE_2: Support =
    Support::Refused("needs tracing program types and their contexts, which are not there yet");
const NOTE_3: Support = Support::Refused("needs the branch records of a CPU: only from a captured context");

fn get_func_ip(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).attach().func_ip)
}

fn get_attach_cookie(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).attach().cookie)
}
