//! `World`: what programs see around them: clock, random numbers, CPUs. A value that a test states and a run may change.

use core::sync::atomic::{AtomicU64, Ordering};

/// The world. Shared by all CPUs of a VM.
#[derive(Debug)]
pub struct World {
    /// Nanoseconds since boot, virtual.
    now_ns: AtomicU64,
    /// The state that random numbers are drawn from.
    random: AtomicU64,
}

impl Default for World {
    fn default() -> World {
        World::new(0)
    }
}

impl World {
    /// A world with this random seed, one second after boot.
    pub fn new(seed: u64) -> World {
        World { now_ns: AtomicU64::new(1_000_000_000), random: AtomicU64::new(seed) }
    }

    /// Nanoseconds since boot.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// Sets the clock.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The next random number (splitmix64).
    pub fn random(&self) -> u64 {
        let state = self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
