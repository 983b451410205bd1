//! Pages of arenas.

use crate::maps::Arena;
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult};

const MAP: Arg = arg("map", ArgType::ConstMapPtr);
const COUNT: Arg = arg("page_cnt", ArgType::Anything);
const PTR: Arg = arg("ptr__ign", ArgType::Anything);

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_arena_alloc_pages")
            .args(&[
                MAP,
                arg("addr__ign", ArgType::Anything),
                COUNT,
                arg("node_id", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(6, 9),
        alloc_pages,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_arena_free_pages")
            .args(&[MAP, PTR, COUNT])
            .returns(RetType::Void)
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(6, 9),
        free_pages,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_arena_reserve_pages")
            .args(&[MAP, PTR, COUNT])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(6, 17),
        reserve_pages,
    ),
];

/// `NUMA_NO_NODE`; the only node is 0.
const NO_NODE: i32 = -1;

/// The user address of the first page, or NULL.
fn alloc_pages(call: &mut Call<'_>, map: u64, at: u64, count: u64, node: u64, flags: u64) -> HelperResult {
    let arena = call.map_as::<Arena>(map)?;
    let (count, node) = (count as u32, node as i32);
    if flags != 0 || count == 0 || !matches!(node, NO_NODE | 0) {
        return Ok(0);
    }
    let pages = arena.allocate(at, count).unwrap_or(0);
    call.memory_changed();
    Ok(pages)
}

fn free_pages(call: &mut Call<'_>, map: u64, at: u64, count: u64, _: u64, _: u64) -> HelperResult {
    let arena = call.map_as::<Arena>(map)?;
    if at != 0 {
        arena.free(at, count as u32);
        call.memory_changed();
    }
    Ok(0)
}

fn reserve_pages(call: &mut Call<'_>, map: u64, at: u64, count: u64, _: u64, _: u64) -> HelperResult {
    let arena = call.map_as::<Arena>(map)?;
    let int = |errno: Errno| u64::from(-errno.0 as u32);
    match count as u32 {
        0 => Ok(0),
        count => Ok(arena.reserve(at, count).map_or_else(int, |()| 0)),
    }
}
