//! Spin locks in map values.

use mimic_abi::{ArgType, HelperSpec, RetType, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(93, "spin_lock")
            .args(&[arg("lock", ArgType::SpinLock)])
            .returns(RetType::Void)
            .since(5, 1)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(94, "spin_unlock")
            .args(&[arg("lock", ArgType::SpinLock)])
            .returns(RetType::Void)
            .since(5, 1)
            .support(SOON),
    ),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
