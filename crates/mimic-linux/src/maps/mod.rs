//! Linux's map types.

use mimic_abi::Errno;
use mimic_object::MapSpec;
use mimic_vm::{Map, MapEnv, MapError};
use std::sync::Arc;

/// Makes a map, or answers as bpf(2) `BPF_MAP_CREATE` does.
pub fn create(spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, MapError> {
    let _ = env;
    match spec.kind() {
        Ok(kind) => {
            Err(MapError::new(Errno::EOPNOTSUPP, format!("maps of type {} are not there yet", kind.word())))
        }
        Err(unknown) => Err(MapError::new(Errno::EINVAL, unknown.to_string())),
    }
}
