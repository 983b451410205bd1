//! `Random`: random numbers that repeat: each CPU has its own stream, so that what one CPU draws does not depend on the others.

use core::sync::atomic::{AtomicU64, Ordering};
use mimic_vm::CPUS_MAX;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A splitmix64 stream for each CPU.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    /// How many numbers each CPU has drawn.
    drawn: Box<[AtomicU64]>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { seed, drawn: (0..CPUS_MAX).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The next random number of a CPU.
    pub(crate) fn next(&self, cpu: u32) -> u64 {
        let drawn = self.drawn[cpu as usize % self.drawn.len()].fetch_add(1, Ordering::Relaxed);
        let stream = mix(self.seed.wrapping_add(mix(u64::from(cpu).wrapping_add(1))));
        mix(stream.wrapping_add(drawn.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// A number that looks random, the same for the same `value`: stands for what the kernel hashes with a secret.
    pub(crate) fn hash(&self, value: u64) -> u64 {
        mix(mix(self.seed ^ GOLDEN).wrapping_add(value))
    }
}

fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
