//! Objects of a program's own types: `bpf_obj_new`, `bpf_obj_drop`, reference counts. Documentation/bpf/kfuncs.rst.
//!
//! The kernel's verifier replaces the type id in r1 by a size, and puts the type's description into the hidden argument `meta`. Here the id
//! is looked up in the types that the program was linked with, and an object knows its type from then on.

use crate::Linux;
use crate::heap::{self, OBJECT_LEN_MAX, ObjectType};
use mimic_abi::{Arg, ArgType, HelperFlags, HelperSpec, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

const NEW: &[Arg] = &[arg("local_type_id", ArgType::Anything), arg("meta", ArgType::Anything)];
const OBJECT: ArgType = ArgType::BtfId("void");
const DROP: &[Arg] = &[arg("p", OBJECT), arg("meta", ArgType::Anything)];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        spec("bpf_obj_new_impl", NEW, RetType::MemOrBtfIdOrNull, HelperFlags::ACQUIRES).since(6, 2),
        new,
    ),
    Helper::new(
        spec("bpf_obj_drop_impl", DROP, RetType::Void, HelperFlags::RELEASES).since(6, 2),
        drop_object,
    ),
    Helper::new(
        spec("bpf_percpu_obj_new_impl", NEW, RetType::MemOrBtfIdOrNull, HelperFlags::ACQUIRES).since(6, 7),
        percpu_new,
    ),
    Helper::new(
        spec("bpf_percpu_obj_drop_impl", DROP, RetType::Void, HelperFlags::RELEASES).since(6, 7),
        drop_object,
    ),
    Helper::new(
        spec("bpf_refcount_acquire_impl", DROP, RetType::MemOrBtfIdOrNull, HelperFlags::ACQUIRES).since(6, 4),
        refcount_acquire,
    ),
];

const fn spec(name: &'static str, args: &'static [Arg], ret: RetType, flags: HelperFlags) -> HelperSpec {
    HelperSpec::new(0, name).args(args).returns(ret).flags(flags)
}

fn new(call: &mut Call<'_>, type_id: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let ty = local_type(call, type_id)?;
    Ok(allocate(call, &ty, None))
}

fn percpu_new(call: &mut Call<'_>, type_id: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let ty = local_type(call, type_id)?;
    if !ty.fields.is_empty() {
        return Err(call.bad_argument(format!("{} has more than plain data in it", ty.name)));
    }
    let cpus = call.vm().cpus();
    Ok(allocate(call, &ty, Some(cpus)))
}

/// Makes an object that the run has the reference to; NULL if there is no memory.
pub(super) fn allocate(call: &mut Call<'_>, ty: &Arc<ObjectType>, copies: Option<u32>) -> u64 {
    let memory = call.view().memory().clone();
    let Some(object) = Linux::of(call).heap().allocate(&memory, ty, copies) else { return 0 };
    heap::acquire(call, object);
    object
}

/// The type of this id among the program's own.
fn local_type(call: &Call<'_>, type_id: u64) -> Result<Arc<ObjectType>, Trap> {
    let program = call.program();
    let btf = program.linked().btf.as_ref();
    let btf =
        btf.ok_or_else(|| call.unsupported("the program has no BTF, which would tell what to allocate"))?;
    let ty = u32::try_from(type_id).ok().and_then(|id| Linux::of(call).heap().local_type(btf, id));
    ty.ok_or_else(|| {
        call.bad_argument(format!("type {type_id} is no structure of 1 to {OBJECT_LEN_MAX} bytes"))
    })
}

fn drop_object(call: &mut Call<'_>, object: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    heap::release(call, object)?;
    Linux::of(call).heap().put(object);
    Ok(0)
}

/// NULL if the object has gone, as one that is not owned may have.
fn refcount_acquire(call: &mut Call<'_>, object: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let heap = Linux::of(call).heap();
    let Some((base, ty)) = heap.object(object) else { return Ok(0) };
    if !ty.refcounted {
        return Err(call.bad_argument(format!("a {} has no bpf_refcount", ty.name)));
    }
    if !heap.get(base) {
        return Ok(0);
    }
    heap::acquire(call, base);
    Ok(object)
}
