//! Infrared receivers.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(77, "rc_repeat")
            .args(&[arg("ctx", ArgType::Ctx)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(78, "rc_keydown")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("protocol", ArgType::Anything),
                arg("scancode", ArgType::Anything),
                arg("toggle", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(92, "rc_pointer_rel")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("rel_x", ArgType::Anything),
                arg("rel_y", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 0)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs lirc_mode2 programs and an emulated infrared receiver, which are not there yet");
