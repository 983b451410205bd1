//! Access to map elements.

use mimic_abi::{ArgType, HelperSpec, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult, MapRef};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(1, "map_lookup_elem")
        .args(&[arg("map", ArgType::ConstMapPtr), arg("key", ArgType::MapKey)])
        .returns(RetType::MapValueOrNull)
        .since(3, 19),
    map_lookup_elem,
)];

/// The longest key that is read without an allocation.
const KEY_ON_STACK: usize = 64;

fn map_lookup_elem(call: &mut Call<'_>, map: u64, key: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    let found = with_key(call, map, key, |key| Ok(map.lookup(call.cpu(), key)?))?;
    Ok(found.unwrap_or(0))
}

/// Reads a key of the map from guest memory and hands it on.
fn with_key<T>(
    call: &Call<'_>,
    map: &Arc<MapRef>,
    addr: u64,
    then: impl FnOnce(&[u8]) -> Result<T, mimic_vm::Trap>,
) -> Result<T, mimic_vm::Trap> {
    let len = map.spec().key_size as usize;
    if len > KEY_ON_STACK {
        return then(&call.read_vec(addr, len as u64)?);
    }
    let mut key = [0; KEY_ON_STACK];
    call.read(addr, &mut key[..len])?;
    then(&key[..len])
}
