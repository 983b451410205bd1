//! The real kernel as an oracle: a small safe wrapper over bpf(2), for comparing mimic with Linux.
//!
//! It holds whatever it makes (maps, programs, BTF) by descriptor only: nothing is pinned or attached, so that
//! everything is gone when the values are dropped. See bpf(2) and linux/bpf.h.

mod btf;
mod diff;
mod load;
mod map;
mod prog;
mod random;
mod record;
mod ring;
pub mod sys;

use std::fmt;

use mimic_abi::Errno;

pub use diff::{DiffReport, RandomDifference};
pub use load::{LoadedMap, LoadedObject, Parts};
pub use map::{Entry, Map, MapKind, possible_cpus};
pub use prog::{Btf, LoadError, Prog};
pub use random::KernelRun;
pub use ring::{PerfReader, RingReader, UserRing};
pub use sys::{MapAttr, ProgAttr, TestRunAnswer, TestRunAttr};

/// Evidence that bpf(2) works here.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(());

/// Why the kernel can't be asked.
#[derive(Clone, Debug)]
pub struct Reason(Errno);

impl Kernel {
    /// Tries bpf(2) by making a one-element array and loading a program that returns 0.
    pub fn available() -> Result<Kernel, Reason> {
        sys::lift_memlock();
        let array = MapAttr {
            map_type: MapKind::ARRAY.0,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..MapAttr::default()
        };
        Map::create(&array).map_err(Reason)?;
        // r0 = 0; exit
        let insns = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let attr = ProgAttr { prog_type: 1, insns: &insns, license: "GPL", ..ProgAttr::default() };
        Prog::load(&attr).map_err(|error| Reason(error.errno))?;
        Ok(Kernel(()))
    }

    /// For tests: the kernel, or `None` after saying on one line why the test is skipped.
    ///
    /// # Panics
    /// When MIMIC_REQUIRE_KERNEL is set to 1 and the kernel can't be asked.
    pub fn or_skip() -> Option<Kernel> {
        match Kernel::available() {
            Ok(kernel) => Some(kernel),
            Err(reason) if std::env::var_os("MIMIC_REQUIRE_KERNEL").is_some_and(|value| value == "1") => {
                panic!("MIMIC_REQUIRE_KERNEL=1, but {reason}")
            }
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    /// The kernel's major and minor version, as "6.18".
    pub fn version(&self) -> String {
        let release = sys::kernel_release();
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        format!("{}.{}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }

    /// Calls `f` on a thread of its own, bound to CPU 0, in an empty network namespace whose `lo` is down, where socket and
    /// route lookups answer the same each time.
    ///
    /// # Panics
    /// When the thread can't be confined, and as `f` does.
    pub fn in_empty_netns<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let confined = || {
            sys::enter_empty_netns().expect("unshare a network namespace");
            sys::pin_to_cpu(0).expect("bind to CPU 0");
            f()
        };
        let result = std::thread::scope(|scope| scope.spawn(confined).join());
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Errno::EPERM | Errno::EACCES => {
                write!(out, "the kernel's bpf(2) is not permitted here ({})", self.0)
            }
            Errno(_) => write!(out, "the kernel's bpf(2) does not work here ({})", self.0),
        }
    }
}
