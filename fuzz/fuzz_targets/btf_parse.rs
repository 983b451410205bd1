//! Any bytes: BTF never panics, hangs or allocates without bound, however its types refer to each other, nor does what prints values of
//! its types and the types themselves.
#![no_main]

use core::fmt::{self, Write};

use libfuzzer_sys::fuzz_target;
use mimic::abi::btf::{Btf, TypeId};

/// Types of which a value is printed.
const PRINTED_MAX: u32 = 32;
/// Bytes of a value.
const VALUE_LEN: usize = 256;
/// The length of all that is printed of one type. Arrays of arrays print long.
const TEXT_LEN_MAX: usize = 1 << 20;

/// Takes text up to a limit.
struct Short(usize);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else { return };
    for id in 0..btf.type_count().min(1000) {
        let _ = btf.ty(TypeId(id)).map(|ty| format!("{:?}", ty.name()));
        let _ = btf.size_of(TypeId(id));
    }
    for (name, _) in btf.names().take(100) {
        assert!(btf.named(name).next().is_some());
    }
    for id in 0..btf.type_count().min(PRINTED_MAX) {
        let value = btf.value(TypeId(id), &bytes[..bytes.len().min(VALUE_LEN)]);
        let _ = write!(Short(TEXT_LEN_MAX), "{}", value.text());
        let _ = write!(Short(TEXT_LEN_MAX), "{}", value.json());
        let _ = write!(Short(TEXT_LEN_MAX), "{}", btf.c_decl(TypeId(id), "it"));
    }
    let _ = write!(Short(TEXT_LEN_MAX), "{}", btf.c_header());
});
