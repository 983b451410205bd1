//! bpf_loop: a callback, again and again.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[Helper::listed(
    HelperSpec::new(181, "loop")
        .args(&[
            arg("nr_loops", ArgType::Anything),
            arg("callback_fn", ArgType::Func),
            arg_or_null("callback_ctx", ArgType::Stack),
            arg("flags", ArgType::Anything),
        ])
        .flags(HelperFlags::CALLS_BACK)
        .since(5, 17)
        .support(Support::Refused("comes with the next change to this family")),
)];
