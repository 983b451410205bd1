//! Any bytes: BTF never panics, hangs or allocates without bound, however its types refer to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::btf::{Btf, TypeId};

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
    for id in 0..btf.type_count().min(1000) {
        let _ = btf.ty(TypeId(id)).map(|ty| format!("{:?}", ty.name()));
        let _ = btf.size_of(TypeId(id));
    }
    for (name, _) in btf.names().take(100) {
        assert!(btf.named(name).next().is_some());
    }
});
