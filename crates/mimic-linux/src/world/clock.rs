//! `Clock`: the clocks that programs can read, virtual or the host's. Mirrors clock_gettime(2).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mimic_vm::CPUS_MAX;
use std::sync::OnceLock;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;
/// Seconds before its first wrap that the kernel starts counting jiffies at, to flush out code that cannot stand it.
const JIFFIES_WRAP_S: u64 = 300;

/// Where the clocks stand at the start, and who moves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockSpec {
    /// Virtual, or the host's.
    pub mode: ClockMode,
    /// `CLOCK_MONOTONIC` at the start, in nanoseconds. With [`ClockMode::Real`] the clock starts here and runs on as the host's does.
    pub start_ns: u64,
    /// How far each reading moves the virtual clock, in nanoseconds. 0: time stands still while a program runs.
    pub step_ns: u64,
    /// How far `CLOCK_BOOTTIME` is ahead of `CLOCK_MONOTONIC` (time spent suspended), in nanoseconds.
    pub suspended_ns: u64,
    /// `CLOCK_REALTIME` when `CLOCK_MONOTONIC` was 0, in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// How far `CLOCK_TAI` is ahead of `CLOCK_REALTIME`, in nanoseconds; whole seconds, 37 since 2017 where it is set.
    pub tai_offset_ns: u64,
    /// Timer ticks per second (`CONFIG_HZ`): jiffies and the coarse clock count them.
    pub hz: u32,
}

/// Who moves the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockMode {
    /// It stands still but for what a runner (a capture's time stamps) and `step_ns` say. Runs repeat.
    #[default]
    Virtual,
    /// The host's monotonic clock.
    Real,
}

impl Default for ClockSpec {
    /// One second after boot, at the start of 2026.
    fn default() -> ClockSpec {
        ClockSpec {
            mode: ClockMode::Virtual,
            start_ns: SECOND_NS,
            step_ns: 0,
            suspended_ns: 0,
            epoch_ns: 1_767_225_600 * SECOND_NS,
            tai_offset_ns: 0,
            hz: 250,
        }
    }
}

/// The clocks, running. Shared by all CPUs, unless each was given a time of its own.
#[derive(Debug)]
pub struct Clock {
    spec: ClockSpec,
    /// CPUs have times of their own.
    split: AtomicBool,
    cpus: OnceLock<Box<[CpuTime]>>,
    /// Virtual: the time. Real: what is added to the host's.
    now_ns: AtomicU64,
    #[cfg(not(target_arch = "wasm32"))]
    host_start: std::time::Instant,
}

/// A CPU's time, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct CpuTime(AtomicU64);

impl Clock {
    /// Clocks that stand as `spec` says.
    pub fn new(spec: ClockSpec) -> Clock {
        let now_ns = AtomicU64::new(spec.start_ns);
        Clock {
            spec,
            split: AtomicBool::new(false),
            cpus: OnceLock::new(),
            now_ns,
            #[cfg(not(target_arch = "wasm32"))]
            host_start: std::time::Instant::now(),
        }
    }

    /// `CLOCK_MONOTONIC`, in nanoseconds, without moving it.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed).wrapping_add(self.host_ns())
    }

    /// `CLOCK_MONOTONIC` on a CPU, in nanoseconds, without moving it.
    pub fn now_ns_on(&self, cpu: u32) -> u64 {
        self.own(cpu).map_or_else(|| self.now_ns(), |time| time.load(Ordering::Relaxed))
    }

    /// `CLOCK_MONOTONIC` as a program reads it on a CPU: the next reading is `step_ns` later.
    pub(crate) fn read_ns(&self, cpu: u32) -> u64 {
        if self.spec.step_ns == 0 || self.spec.mode == ClockMode::Real {
            return self.now_ns_on(cpu);
        }
        self.own(cpu).unwrap_or(&self.now_ns).fetch_add(self.spec.step_ns, Ordering::Relaxed)
    }

    /// Lets the CPUs run at different times: from now on [`Clock::set_ns_on`] moves the virtual clock of one, which begins where all
    /// stand now. For runs over packets on several CPUs at once, each of which has its own time. The host's clock stays one.
    pub fn split(&self) {
        if self.spec.mode == ClockMode::Real {
            return;
        }
        let cpus = self.cpus.get_or_init(|| (0..CPUS_MAX).map(|_| CpuTime(AtomicU64::new(0))).collect());
        let now_ns = self.now_ns();
        cpus.iter().for_each(|cpu| cpu.0.store(now_ns, Ordering::Relaxed));
        self.split.store(true, Ordering::Release);
    }

    /// Ends [`Clock::split`]: all CPUs have the common time again, which did not move meanwhile.
    pub fn join(&self) {
        self.split.store(false, Ordering::Release);
    }

    /// Sets the time of one CPU, between [`Clock::split`] and [`Clock::join`]; otherwise nothing.
    pub fn set_ns_on(&self, cpu: u32, now_ns: u64) {
        if let Some(time) = self.own(cpu) {
            time.store(now_ns, Ordering::Relaxed);
        }
    }

    fn own(&self, cpu: u32) -> Option<&AtomicU64> {
        if !self.split.load(Ordering::Acquire) {
            return None;
        }
        self.cpus.get()?.get(cpu as usize).map(|time| &time.0)
    }

    /// Sets `CLOCK_MONOTONIC`. Timers that become due do not run by this; see `Linux::advance_to`.
    pub fn set_ns(&self, now_ns: u64) {
        self.now_ns.store(now_ns.wrapping_sub(self.host_ns()), Ordering::Relaxed);
    }

    /// `CLOCK_BOOTTIME` at a monotonic time, in nanoseconds.
    pub fn boot_ns(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.spec.suspended_ns)
    }

    /// `CLOCK_REALTIME` at a monotonic time, in nanoseconds since 1970.
    pub fn real_ns(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.spec.epoch_ns)
    }

    /// `CLOCK_TAI` at a monotonic time, in nanoseconds.
    pub fn tai_ns(&self, now_ns: u64) -> u64 {
        self.real_ns(now_ns).wrapping_add(self.spec.tai_offset_ns)
    }

    /// `CLOCK_MONOTONIC_COARSE` at a monotonic time: the last tick, in nanoseconds.
    pub fn coarse_ns(&self, now_ns: u64) -> u64 {
        let tick_ns = (SECOND_NS / u64::from(self.spec.hz.max(1))).max(1);
        now_ns - now_ns % tick_ns
    }

    /// The kernel's 64-bit jiffies at a monotonic time: they begin five minutes before the 32-bit ones wrap.
    pub fn jiffies(&self, now_ns: u64) -> u64 {
        let hz = u64::from(self.spec.hz.max(1));
        let start = (1u64 << 32).wrapping_sub(JIFFIES_WRAP_S.wrapping_mul(hz)) & u64::from(u32::MAX);
        let ticks = u128::from(now_ns) * u128::from(hz) / u128::from(SECOND_NS);
        start.wrapping_add(ticks as u64)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn host_ns(&self) -> u64 {
        match self.spec.mode {
            ClockMode::Virtual => 0,
            ClockMode::Real => self.host_start.elapsed().as_nanos() as u64,
        }
    }

    /// There is no clock on this host: the real mode stands still too.
    #[cfg(target_arch = "wasm32")]
    fn host_ns(&self) -> u64 {
        0
    }
}
