//! Kernel functions that programs call by name. Each family's file holds rows with their functions; here they become one table.
//!
//! Documentation/bpf/kfuncs.rst. A kfunc that is not here is a fault that names it, when it is called.

mod arena;
mod bits;
mod cpumask;
mod dynptr;
mod graph;
mod iter;
pub(crate) mod lock;
mod map;
mod object;
mod object_iter;
mod refused;
mod section;
mod stream;
mod string;
mod task;
mod wq;

use mimic_vm::Helper;

/// The families. A name is in exactly one.
const FAMILIES: &[&[Helper]] = &[
    arena::ROWS,
    bits::ROWS,
    cpumask::ROWS,
    dynptr::ROWS,
    graph::ROWS,
    iter::ROWS,
    lock::ROWS,
    map::ROWS,
    object::ROWS,
    object_iter::ROWS,
    refused::ROWS,
    section::ROWS,
    stream::ROWS,
    string::ROWS,
    task::ROWS,
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
