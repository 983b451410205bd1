//! The atomics under the lock-free parts of maps. The models that check these parts include their files beside another `sync`.

pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
pub(super) use mimic_vm::memory::{zeroed32, zeroed64};
pub(super) use std::sync::{Mutex, MutexGuard};

/// How often a waiting thread looks before it gives the host's CPU away.
const TRIES_BUSY: u32 = 64;

/// Lets others go on, after so many tries to get at something that they have.
#[inline]
pub(super) fn relax(tries: u32) {
    if tries < TRIES_BUSY { core::hint::spin_loop() } else { std::thread::yield_now() }
}
