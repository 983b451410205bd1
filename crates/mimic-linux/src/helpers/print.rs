//! Formatted output: trace lines and strings.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(6, "trace_printk")
            .args(&[arg("fmt", READ), arg("fmt_size", ArgType::Size)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 1)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(149, "snprintf_btf")
            .args(&[
                arg("str", WRITE),
                arg("str_size", ArgType::Size),
                arg("ptr", READ),
                arg("btf_ptr_size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(Support::Refused(
                "needs a target BTF to print by; give one at load once the facade takes it",
            )),
    ),
    Helper::listed(
        HelperSpec::new(165, "snprintf")
            .args(&[
                arg_or_null("str", WRITE),
                arg("str_size", ArgType::SizeOrZero),
                arg("fmt", ArgType::ConstStr),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 13)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(177, "trace_vprintk")
            .args(&[
                arg("fmt", READ),
                arg("fmt_size", ArgType::Size),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 16)
            .support(SOON),
    ),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
