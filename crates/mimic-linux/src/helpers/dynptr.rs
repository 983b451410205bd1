//! Dynptrs: pointers with a length and an offset that are checked when used.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, DynptrKind, HelperSpec, RetType, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(197, "dynptr_from_mem")
            .args(&[
                arg("data", WRITE),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
                arg("ptr", ArgType::UninitDynptr(DynptrKind::Local)),
            ])
            .since(5, 19)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(201, "dynptr_read")
            .args(&[
                arg("dst", WRITE),
                arg("len", ArgType::SizeOrZero),
                arg("src", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 19)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(202, "dynptr_write")
            .args(&[
                arg("dst", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("src", READ),
                arg("len", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 19)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(203, "dynptr_data")
            .args(&[
                arg("ptr", ArgType::Dynptr(DynptrKind::Any)),
                arg("offset", ArgType::Anything),
                arg("len", ArgType::AllocSize),
            ])
            .returns(RetType::DynptrMemOrNull)
            .since(5, 19)
            .support(SOON),
    ),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
