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
mod socket;
pub mod sys;
mod trace;

use std::fmt;
use std::io::Write;
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use mimic_abi::Errno;

pub use diff::{DiffReport, RandomDifference};
pub use load::{LoadedMap, LoadedObject, Parts};
pub use map::{Entry, Map, MapKind, possible_cpus};
pub use prog::{Btf, LoadError, Prog};
pub use random::KernelRun;
pub use ring::{PerfReader, RingReader, UserRing};
pub use socket::Socket;
pub use sys::{MapAttr, ProgAttr, TestRunAnswer, TestRunAttr};
pub use trace::TraceBuffer;

/// Evidence that bpf(2) works here.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(());

/// Why the kernel can't be asked.
#[derive(Clone, Debug)]
pub enum Reason {
    /// bpf(2) answers this.
    Refused(Errno),
    /// MIMIC_REQUIRE_KERNEL=never.
    Unwanted,
    /// So many programs wait to be freed that the kernel must be stuck: asking it would hang.
    Stuck(usize),
}

/// Programs that the kernel may have yet to free before loaders wait for it.
const UNFREED_MAX: usize = 256;
/// As many as no loader here leaves behind, and few machines have loaded.
const UNFREED_STUCK: usize = 5000;

impl Kernel {
    /// Tries bpf(2) by making a one-element array and loading a program that returns 0.
    pub fn available() -> Result<Kernel, Reason> {
        let unfreed = programs_in_memory();
        if unfreed > UNFREED_STUCK {
            return Err(Reason::Stuck(unfreed));
        }
        sys::lift_memlock();
        let array = MapAttr {
            map_type: MapKind::ARRAY.0,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..MapAttr::default()
        };
        Map::create(&array).map_err(Reason::Refused)?;
        // r0 = 0; exit
        let insns = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let attr = ProgAttr { prog_type: 1, insns: &insns, license: "GPL", ..ProgAttr::default() };
        Prog::load(&attr).map_err(|error| Reason::Refused(error.errno))?;
        Ok(Kernel(()))
    }

    /// For tests: the kernel, or `None` after saying on one line why the test is skipped.
    ///
    /// # Panics
    /// When MIMIC_REQUIRE_KERNEL is set to 1 and the kernel can't be asked; set to `never`, it is not.
    pub fn or_skip() -> Option<Kernel> {
        let wish = std::env::var_os("MIMIC_REQUIRE_KERNEL");
        let is = |word: &str| wish.as_ref().is_some_and(|value| value == word);
        match if is("never") { Err(Reason::Unwanted) } else { Kernel::available() } {
            Ok(kernel) => Some(kernel),
            Err(reason) if is("1") => {
                panic!("MIMIC_REQUIRE_KERNEL=1, but {reason}")
            }
            Err(reason) => {
                // Once for each test binary, and past the capture of passing tests' output.
                static TOLD: Once = Once::new();
                TOLD.call_once(|| drop(writeln!(std::io::stderr(), "skipped: {reason}")));
                None
            }
        }
    }

    /// Waits until the kernel has freed most of the programs that were closed; whoever loads thousands asks now and then.
    ///
    /// Linux frees programs in work items of the CPU that closed them, and a load can wait for a work item of the same CPU while it
    /// holds the lock that those need: with 1024 of them waiting, 6.18 deadlocks, for good and for the whole machine.
    ///
    /// # Panics
    /// When nothing is freed for long.
    pub fn settle(&self) {
        assert!(settled_within(Duration::from_secs(60)), "the kernel frees no programs");
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
        match self {
            Reason::Refused(errno @ (Errno::EPERM | Errno::EACCES)) => {
                write!(out, "the kernel's bpf(2) is not permitted here ({errno})")
            }
            Reason::Refused(errno) => write!(out, "the kernel's bpf(2) does not work here ({errno})"),
            Reason::Unwanted => write!(out, "the kernel is not to be asked (MIMIC_REQUIRE_KERNEL=never)"),
            Reason::Stuck(unfreed) => {
                write!(out, "the kernel's bpf(2) is stuck here ({unfreed} programs wait to be freed)")
            }
        }
    }
}

/// Programs that take up kernel memory: loaded, or closed and not freed yet. 0 where that isn't told.
fn programs_in_memory() -> usize {
    let areas = std::fs::read_to_string("/proc/vmallocinfo").unwrap_or_default();
    areas.lines().filter(|line| line.contains("bpf_prog_alloc")).count()
}

/// Waits until few programs are left to be freed, but no longer than this. Programs that are in use count too.
pub(crate) fn settled_within(patience: Duration) -> bool {
    static LOADED_BY_OTHERS: OnceLock<usize> = OnceLock::new();
    let others = *LOADED_BY_OTHERS.get_or_init(programs_in_memory);
    let started = Instant::now();
    while programs_in_memory() > others + UNFREED_MAX {
        if started.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
