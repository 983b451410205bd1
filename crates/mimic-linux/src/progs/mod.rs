//! Linux's program types: contexts, their layouts, what return values mean.

use mimic_abi::Size;
use mimic_vm::{Call, HelperResult};

/// A legacy packet load (`BPF_ABS`, `BPF_IND`) of the program types that have packets.
pub fn packet_load(call: &mut Call<'_>, off: i64, size: Size) -> HelperResult {
    let _ = (off, size);
    Err(call.unsupported("the context has no packet for legacy packet loads"))
}
