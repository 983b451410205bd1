//! Sysctl names and values.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(101, "sysctl_get_name")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("buf", WRITE),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(102, "sysctl_get_current_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_len", ArgType::Size)])
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(103, "sysctl_get_new_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", WRITE), arg("buf_len", ArgType::Size)])
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(104, "sysctl_set_new_value")
            .args(&[arg("ctx", ArgType::Ctx), arg("buf", READ), arg("buf_len", ArgType::Size)])
            .since(5, 2)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs cgroup/sysctl programs and their contexts, which are not there yet");
