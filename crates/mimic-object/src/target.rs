//! `Target`: the kernel that programs are linked for, as a value. Never the host, unless who makes the value reads it there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mimic_abi::KernelVersion;
use mimic_abi::btf::Btf;

/// The kernel that programs are linked for.
///
/// What is `None` is unknown: references to it are left to whoever loads the program. What is there is complete: a strong reference to a
/// function that is not in `kfuncs` is an error.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its release: `LINUX_KERNEL_VERSION`, and what `LINUX_HAS_…` say.
    pub version: KernelVersion,
    /// Its BTF, which CO-RE, typed symbols and attach targets need.
    ///
    /// [`crate::Object::btf`] of the object itself may stand in where there is no kernel: every type is then found to be as the
    /// program was compiled for, and which symbols and functions there are is left to whoever loads the program.
    pub btf: Option<Arc<Btf>>,
    /// Its configuration: `CONFIG_…` without `=`, and the value as `.config` writes it (`y`, `m`, `100`, `"text"`).
    pub kconfig: Option<BTreeMap<String, String>>,
    /// Its symbols and their addresses, as in `/proc/kallsyms`.
    pub ksyms: Option<BTreeMap<String, u64>>,
    /// The kernel functions that programs may call. Without this, those in `btf`.
    pub kfuncs: Option<BTreeSet<String>>,
    /// System calls have wrappers (`LINUX_HAS_SYSCALL_WRAPPER`): true on x86-64, arm64 and s390x since 4.17 to 5.0.
    pub syscall_wrapper: bool,
}

impl Default for Target {
    /// Linux of [`KernelVersion::BASELINE`], of which nothing more is known.
    fn default() -> Target {
        Target {
            version: KernelVersion::BASELINE,
            btf: None,
            kconfig: None,
            ksyms: None,
            kfuncs: None,
            syscall_wrapper: true,
        }
    }
}

impl Target {
    /// Reads a configuration in the format of `.config` (and of `/proc/config.gz`, unpacked).
    ///
    /// ```
    /// let text = "# Linux\nCONFIG_HZ=250\n# CONFIG_BPF_LSM is not set\n";
    /// let config = mimic_object::Target::parse_kconfig(text);
    /// assert_eq!(config.get("CONFIG_HZ").map(String::as_str), Some("250"));
    /// assert_eq!(config.len(), 1);
    /// ```
    pub fn parse_kconfig(text: &str) -> BTreeMap<String, String> {
        let option = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
        };
        text.lines().filter_map(option).collect()
    }

    /// Reads symbols in the format of `/proc/kallsyms`; lines that have another form are left out.
    pub fn parse_kallsyms(text: &str) -> BTreeMap<String, u64> {
        let symbol = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let addr = u64::from_str_radix(words.next()?, 16).ok()?;
            let name = words.nth(1)?;
            Some((name.to_owned(), addr))
        };
        text.lines().filter_map(symbol).collect()
    }
}
