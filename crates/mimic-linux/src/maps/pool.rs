//! `Pool`: numbers of element slots, given out and taken back without a lock.
//!
//! What was given back last is given out first, as the kernel's per-CPU free lists have it; here all CPUs share one list, so
//! that which slot an element gets does not depend on the CPU.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mimic_vm::memory::zeroed32;

/// Free slots, `0..slots`.
pub(super) struct Pool {
    /// A change count, and the first free slot plus 1.
    head: AtomicU64,
    /// The slot after each free one, plus 1.
    next: Box<[AtomicU32]>,
    /// From here on no slot was ever given out.
    fresh: AtomicU32,
}

impl Pool {
    pub(super) fn new(slots: u32) -> Pool {
        Pool { head: AtomicU64::new(0), next: zeroed32(slots as usize), fresh: AtomicU32::new(0) }
    }

    /// Takes a slot.
    pub(super) fn take(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::Acquire);
        while head as u32 != 0 {
            let slot = head as u32 - 1;
            let next = self.next[slot as usize].load(Ordering::Relaxed);
            let new = tagged(head, next);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(slot),
                Err(now) => head = now,
            }
        }
        let slots = self.next.len() as u32;
        let take = |fresh| (fresh < slots).then(|| fresh + 1);
        self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// Gives a slot of `take` back.
    pub(super) fn give_back(&self, slot: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            self.next[slot as usize].store(head as u32, Ordering::Relaxed);
            let new = tagged(head, slot + 1);
            match self.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// A new head after `old`: its change count goes up, so that a slow taker notices.
fn tagged(old: u64, first: u32) -> u64 {
    ((old >> 32).wrapping_add(1) << 32) | u64::from(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_once() {
        let pool = Pool::new(3);
        assert_eq!([pool.take(), pool.take(), pool.take(), pool.take()], [Some(0), Some(1), Some(2), None]);
        pool.give_back(2);
        pool.give_back(0);
        assert_eq!([pool.take(), pool.take(), pool.take()], [Some(0), Some(2), None]);
    }

    #[test]
    fn threads_never_share_a_slot() {
        let pool = Pool::new(8);
        let owners: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let (a, b) = (pool.take().expect("room"), pool.take().expect("room"));
                        for slot in [a, b] {
                            assert_eq!(owners[slot as usize].fetch_add(1, Ordering::Relaxed), 0);
                        }
                        for slot in [a, b] {
                            owners[slot as usize].fetch_sub(1, Ordering::Relaxed);
                            pool.give_back(slot);
                        }
                    }
                });
            }
        });
    }
}
