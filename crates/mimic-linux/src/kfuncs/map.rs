//! What maps tell of themselves.

use mimic_abi::{ArgType, HelperSpec, MapType, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(0, "bpf_map_sum_elem_count").args(&[arg("map", ArgType::ConstMapPtr)]).since(6, 6),
    sum_elem_count,
)];

/// The elements of a hash map; 0 for other types, which the kernel does not count.
fn sum_elem_count(call: &mut Call<'_>, map: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    let counted = matches!(
        map.spec().kind(),
        Ok(MapType::Hash
            | MapType::PercpuHash
            | MapType::LruHash
            | MapType::LruPercpuHash
            | MapType::HashOfMaps)
    );
    if !counted {
        return Ok(0);
    }
    let (mut count, mut cursor) = (0, 0);
    while map.walk(call.cpu(), &mut cursor)?.is_some() {
        count += 1;
    }
    Ok(count)
}
