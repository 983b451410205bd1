//! The current task: ids, name, signals, as the world says who is current.

use super::row::WRITE;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(HelperSpec::new(14, "get_current_pid_tgid").since(4, 2).support(SOON)),
    Helper::listed(HelperSpec::new(15, "get_current_uid_gid").since(4, 2).support(SOON)),
    Helper::listed(
        HelperSpec::new(16, "get_current_comm")
            .args(&[arg("buf", WRITE), arg("size_of_buf", ArgType::Size)])
            .since(4, 2)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(35, "get_current_task").flags(HelperFlags::GPL_ONLY).since(4, 8).support(SOON),
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
    Helper::listed(
        HelperSpec::new(120, "get_ns_current_pid_tgid")
            .args(&[
                arg("dev", ArgType::Anything),
                arg("ino", ArgType::Anything),
                arg("nsdata", WRITE),
                arg("size", ArgType::Size),
            ])
            .since(5, 7)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(158, "get_current_task_btf")
            .returns(RetType::BtfId("task_struct"))
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 11)
            .support(SOON),
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

const SOON: Support = Support::Refused("comes with the next change to this family");
const NOTE_2: Support = Support::Refused("needs the tasks of the emulated world, which are not there yet");
