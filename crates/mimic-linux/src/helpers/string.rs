//! Numbers from strings, and comparison of strings.

use super::row::READ;
use mimic_abi::{ArgType, HelperSpec, MemAccess, MemLen, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(105, "strtol")
            .args(&[
                arg("buf", READ),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 2)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(106, "strtoul")
            .args(&[
                arg("buf", READ),
                arg("buf_len", ArgType::Size),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 2)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(182, "strncmp")
            .args(&[arg("s1", READ), arg("s1_sz", ArgType::Size), arg("s2", ArgType::ConstStr)])
            .since(5, 17)
            .support(SOON),
    ),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
