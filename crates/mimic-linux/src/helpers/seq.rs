//! Output of iterators.

use super::row::READ;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(126, "seq_printf")
            .args(&[
                arg("m", ArgType::BtfId("seq_file")),
                arg("fmt", READ),
                arg("fmt_size", ArgType::Size),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(127, "seq_write")
            .args(&[arg("m", ArgType::BtfId("seq_file")), arg("data", READ), arg("len", ArgType::SizeOrZero)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(150, "seq_printf_btf")
            .args(&[
                arg("m", ArgType::BtfId("seq_file")),
                arg("ptr", READ),
                arg("ptr_size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 10)
            .support(NOTE),
    ),
];

const NOTE: Support = Support::Refused("needs iterator programs and their seq_file, which are not there yet");
