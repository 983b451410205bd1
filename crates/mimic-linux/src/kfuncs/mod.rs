//! Kernel functions that programs call by name. Each family's file holds rows with their functions; here they become one table.
//!
//! Documentation/bpf/kfuncs.rst. A kfunc that is not here is a fault that names it, when it is called.

mod arena;
mod bits;
mod conntrack;
mod cpumask;
mod crypto;
mod dynptr;
mod files;
mod graph;
mod iter;
pub(crate) mod lock;
mod map;
mod net;
mod object;
mod object_iter;
mod refused;
mod section;
mod stream;
mod string;
mod task;
mod tracing;
mod user;
mod wq;

use mimic_vm::{Helper, HelperResult, Trap};

/// The families. A name is in exactly one.
const FAMILIES: &[&[Helper]] = &[
    arena::ROWS,
    bits::ROWS,
    conntrack::ROWS,
    cpumask::ROWS,
    crypto::ROWS,
    dynptr::ROWS,
    files::ROWS,
    graph::ROWS,
    iter::ROWS,
    lock::ROWS,
    map::ROWS,
    net::ROWS,
    object::ROWS,
    object_iter::ROWS,
    refused::ROWS,
    section::ROWS,
    stream::ROWS,
    string::ROWS,
    task::ROWS,
    tracing::ROWS,
    user::ROWS,
    wq::ROWS,
];

/// The kfunc of this name.
pub fn by_name(name: &str) -> Option<&'static Helper> {
    all().find(|row| row.spec.name == name)
}

/// All kfuncs, family by family.
pub fn all() -> impl Iterator<Item = &'static Helper> {
    FAMILIES.iter().copied().flatten()
}

/// What a kfunc that returns an `int` leaves in r0: 32 bits, an errno negated.
fn int_of(result: HelperResult) -> HelperResult {
    match result {
        Err(Trap::Errno(errno)) => Ok(u64::from(-errno.0 as u32)),
        other => other,
    }
}

pub(crate) use files::d_path;
