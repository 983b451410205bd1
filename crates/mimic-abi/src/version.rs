//! Kernel versions, as rows name them (`since`) and targets ask for them.

use core::fmt;

/// A kernel release, `major.minor`. Ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The first number: 6 of 6.18.
    pub major: u16,
    /// The second number: 18 of 6.18.
    pub minor: u16,
}

impl KernelVersion {
    /// The release that mimic is compatible with unless told otherwise.
    pub const BASELINE: KernelVersion = KernelVersion::new(6, 18);

    /// `KernelVersion::new(6, 18)` is Linux 6.18.
    pub const fn new(major: u16, minor: u16) -> KernelVersion {
        KernelVersion { major, minor }
    }

    /// The number in `KERNEL_VERSION(a, b, 0)` form, as `LINUX_KERNEL_VERSION` externs hold it.
    pub const fn code(self) -> u32 {
        (self.major as u32) << 16 | (self.minor as u32) << 8
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Debug for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
