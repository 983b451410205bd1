//! Linux's map types.

use mimic_abi::{Errno, MapType};
use mimic_object::MapSpec;
use mimic_vm::{Map, MapEnv};
use std::sync::Arc;

/// Makes a map, or answers as bpf(2) `BPF_MAP_CREATE` does.
pub fn create(spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, Errno> {
    let _ = env;
    match spec.kind().map_err(|_| Errno::EINVAL)? {
        MapType::Unspec => Err(Errno::EINVAL),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
