//! `HelperNames`: Linux's helpers by name and number, for listings and the assembler.

use mimic_abi::Names;
use mimic_linux::helpers;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The names of Linux's helpers.
#[derive(Clone, Copy, Debug, Default)]
pub struct HelperNames;

/// Names with `bpf_`, by number.
fn names() -> &'static HashMap<u32, String> {
    static NAMES: OnceLock<HashMap<u32, String>> = OnceLock::new();
    NAMES.get_or_init(|| helpers::all().map(|row| (row.spec.id, format!("bpf_{}", row.spec.name))).collect())
}

impl Names for HelperNames {
    fn helper(&self, id: u32) -> Option<&str> {
        names().get(&id).map(String::as_str)
    }

    fn helper_id(&self, name: &str) -> Option<u32> {
        let name = name.strip_prefix("bpf_").unwrap_or(name);
        helpers::all().find(|row| row.spec.name == name).map(|row| row.spec.id)
    }
}
