//! Kernel pointers in map values.

use crate::Linux;
use crate::{heap, objects};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, Size, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(194, "kptr_xchg")
        .args(&[arg("dst", ArgType::Kptr), arg_or_null("ptr", ArgType::BtfId("void"))])
        .returns(RetType::BtfIdOrNull("void"))
        .flags(HelperFlags::ACQUIRES)
        .flags(HelperFlags::RELEASES)
        .since(5, 19),
    kptr_xchg,
)];

/// Puts a pointer (or NULL) into the field and answers what was there. The field owns what it leads to; what comes out is the program's.
fn kptr_xchg(call: &mut Call<'_>, field: u64, ptr: u64, _: u64, _: u64, _: u64) -> HelperResult {
    call.check(field, 8, true)?;
    let linux = Linux::of(call);
    if linux.heap().object(ptr).is_some() {
        heap::release(call, ptr)?;
    } else if linux.object_at(ptr).is_some() {
        objects::release(call, ptr)?;
    }
    let old = call.atomic_update(field, Size::Dw, |_| Some(ptr))?;
    if let Some((key, _)) = linux.object_at(old) {
        objects::acquire(call, key)?;
    }
    heap::acquire(call, old);
    Ok(old)
}
