//! Routes: where a packet would go.

use super::row::READ_WRITE;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[Helper::listed(
    HelperSpec::new(69, "fib_lookup")
        .args(&[
            arg("ctx", ArgType::Ctx),
            arg("params", READ_WRITE),
            arg("plen", ArgType::Size),
            arg("flags", ArgType::Anything),
        ])
        .flags(HelperFlags::GPL_ONLY)
        .since(4, 18)
        .support(NOTE),
)];

const NOTE: Support =
    Support::Refused("needs the routes and neighbours of the emulated world, which are not there yet");
