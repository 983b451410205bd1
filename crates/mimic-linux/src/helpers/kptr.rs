//! Kernel pointers in map values.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[Helper::listed(
    HelperSpec::new(194, "kptr_xchg")
        .args(&[arg("dst", ArgType::Kptr), arg_or_null("ptr", ArgType::BtfId("void"))])
        .returns(RetType::BtfIdOrNull("void"))
        .flags(HelperFlags::ACQUIRES)
        .flags(HelperFlags::RELEASES)
        .since(5, 19)
        .support(Support::Refused("comes with the next change to this family")),
)];
