//! Kernel pointers in map values.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, Size, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(194, "kptr_xchg")
        .args(&[arg("dst", ArgType::Kptr), arg_or_null("ptr", ArgType::BtfId("void"))])
        .returns(RetType::BtfIdOrNull("void"))
        .flags(HelperFlags::ACQUIRES)
        .flags(HelperFlags::RELEASES)
        .since(5, 19)
        .support(SUPPORT),
    kptr_xchg,
)];

const SUPPORT: Support =
    Support::Partial("pointers are exchanged; the objects they lead to are not owned, so nothing frees them");

/// Puts a pointer (or NULL) into the field and answers what was there.
fn kptr_xchg(call: &mut Call<'_>, field: u64, ptr: u64, _: u64, _: u64, _: u64) -> HelperResult {
    call.atomic_update(field, Size::Dw, |_| Some(ptr))
}
