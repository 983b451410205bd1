//! `Pool`: numbers of element slots, given out and taken back without a lock.
//!
//! Each CPU has a stock of its own, as the kernel's per-CPU free lists are: what it gave back last is given out first. A CPU whose stock is
//! empty takes from the others.

use super::sync::{AtomicU32, AtomicU64, Ordering, zeroed32};

/// Free slots, `0..slots`.
pub(super) struct Pool {
    stocks: Box<[Stock]>,
    /// The slot after each free one, plus 1.
    next: Box<[AtomicU32]>,
}

/// The free slots of a CPU, on cache lines of their own.
#[repr(align(128))]
struct Stock {
    /// A change count, and the first free slot plus 1.
    head: AtomicU64,
    /// From here on to `end` no slot was ever given out.
    fresh: AtomicU32,
    end: u32,
}

impl Pool {
    /// Slots, divided among CPUs.
    pub(super) fn new(slots: u32, cpus: u32) -> Pool {
        let cpus = cpus.max(1);
        let start = |cpu: u32| (u64::from(slots) * u64::from(cpu) / u64::from(cpus)) as u32;
        let stock =
            |cpu| Stock { head: AtomicU64::new(0), fresh: AtomicU32::new(start(cpu)), end: start(cpu + 1) };
        Pool { stocks: (0..cpus).map(stock).collect(), next: zeroed32(slots as usize) }
    }

    /// Takes a slot, one of this CPU's if it has any.
    #[inline]
    pub(super) fn take(&self, cpu: u32) -> Option<u32> {
        let cpu = self.place(cpu);
        self.take_of(cpu).or_else(|| {
            let others = (cpu + 1..self.stocks.len()).chain(0..cpu);
            others.into_iter().find_map(|other| self.take_of(other))
        })
    }

    /// Gives a slot of `take` back, to this CPU.
    #[inline]
    pub(super) fn give_back(&self, cpu: u32, slot: u32) {
        let stock = &self.stocks[self.place(cpu)];
        let mut head = stock.head.load(Ordering::Relaxed);
        loop {
            self.next[slot as usize].store(head as u32, Ordering::Relaxed);
            let new = tagged(head, slot + 1);
            match stock.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn take_of(&self, cpu: usize) -> Option<u32> {
        let stock = &self.stocks[cpu];
        let mut head = stock.head.load(Ordering::Acquire);
        while head as u32 != 0 {
            let slot = head as u32 - 1;
            let next = self.next[slot as usize].load(Ordering::Relaxed);
            let new = tagged(head, next);
            match stock.head.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(slot),
                Err(now) => head = now,
            }
        }
        // Looked at first: exhausted stocks of others are passed over without a write.
        if stock.fresh.load(Ordering::Relaxed) >= stock.end {
            return None;
        }
        let take = |fresh| (fresh < stock.end).then(|| fresh + 1);
        stock.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    fn place(&self, cpu: u32) -> usize {
        (cpu as usize).min(self.stocks.len() - 1)
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
        let pool = Pool::new(4, 1);
        assert_eq!([0; 5].map(|cpu| pool.take(cpu)), [Some(0), Some(1), Some(2), Some(3), None]);
        pool.give_back(0, 2);
        pool.give_back(0, 0);
        assert_eq!([0; 3].map(|cpu| pool.take(cpu)), [Some(0), Some(2), None]);
    }

    #[test]
    fn own_slots_first_then_those_of_others() {
        let pool = Pool::new(5, 2);
        assert_eq!([1; 6].map(|cpu| pool.take(cpu)), [Some(2), Some(3), Some(4), Some(0), Some(1), None]);
        pool.give_back(0, 4);
        pool.give_back(1, 1);
        assert_eq!([1, 1, 7].map(|cpu| pool.take(cpu)), [Some(1), Some(4), None]);
        assert_eq!(Pool::new(0, 3).take(2), None);
    }

    #[test]
    fn threads_never_share_a_slot() {
        let pool = Pool::new(8, 2);
        let owners: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (pool, owners) = (&pool, &owners);
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let cpu = (thread + round) % 2;
                        let (a, b) = (pool.take(cpu).expect("room"), pool.take(0).expect("room"));
                        for slot in [a, b] {
                            assert_eq!(owners[slot as usize].fetch_add(1, Ordering::Relaxed), 0);
                        }
                        for slot in [a, b] {
                            owners[slot as usize].fetch_sub(1, Ordering::Relaxed);
                            pool.give_back(cpu, slot);
                        }
                    }
                });
            }
        });
    }
}
