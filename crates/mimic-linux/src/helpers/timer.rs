//! Timers in map values, on the world's clock.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(169, "timer_init")
            .args(&[
                arg("timer", ArgType::Timer),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(170, "timer_set_callback")
            .args(&[arg("timer", ArgType::Timer), arg("callback_fn", ArgType::Func)])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 15)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(171, "timer_start")
            .args(&[
                arg("timer", ArgType::Timer),
                arg("nsecs", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(172, "timer_cancel")
            .args(&[arg("timer", ArgType::Timer)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 15)
            .support(SOON),
    ),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
