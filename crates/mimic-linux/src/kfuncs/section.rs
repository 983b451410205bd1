//! Critical sections, exceptions and casts: kfuncs that change what may be done, not data.
//!
//! A process on a virtual CPU is never interrupted by another on the same one, and map elements outlive the run that found them, so
//! that there is nothing to do at the borders of a section. That they are balanced is the verifier's matter.

use crate::Linux;
use crate::objects::{View, give};
use mimic_abi::{ArgType, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(0, "bpf_rcu_read_lock").returns(RetType::Void).since(6, 2), nothing),
    Helper::new(HelperSpec::new(0, "bpf_rcu_read_unlock").returns(RetType::Void).since(6, 2), nothing),
    Helper::new(HelperSpec::new(0, "bpf_preempt_disable").returns(RetType::Void).since(6, 10), nothing),
    Helper::new(HelperSpec::new(0, "bpf_preempt_enable").returns(RetType::Void).since(6, 10), nothing),
    Helper::new(
        HelperSpec::new(0, "bpf_local_irq_save")
            .args(&[arg("flags", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8)))])
            .returns(RetType::Void)
            .since(6, 14),
        local_irq_save,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_local_irq_restore")
            .args(&[arg("flags", ArgType::Mem(MemAccess::Read, MemLen::Fixed(8)))])
            .returns(RetType::Void)
            .since(6, 14),
        nothing,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_throw")
            .args(&[arg("cookie", ArgType::Anything)])
            .returns(RetType::Void)
            .since(6, 7),
        throw,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_rdonly_cast")
            .args(&[arg("obj", ArgType::Anything), arg("btf_id", ArgType::Anything)])
            .returns(RetType::MemOrBtfId)
            .since(6, 2),
        rdonly_cast,
    ),
];

fn nothing(_: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(0)
}

/// What is saved is what the kernel saves with interrupts enabled on x86-64: `IF` and the bit that is always set.
fn local_irq_save(call: &mut Call<'_>, flags: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    call.store(flags, Size::Dw, 0x202)?;
    Ok(0)
}

fn throw(_: &mut Call<'_>, cookie: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Err(Trap::Throw(cookie))
}

/// The same object, to be read as another type. What programs know as `struct bpf_sock` is the kernel's own structure behind it.
fn rdonly_cast(call: &mut Call<'_>, obj: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match Linux::of(call).object_at(obj) {
        Some((key, View::Sock | View::TcpSock)) => give(call, key, View::Kernel),
        Some((_, View::Kernel)) | None => Ok(obj),
    }
}
