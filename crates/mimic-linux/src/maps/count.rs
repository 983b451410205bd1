//! `Count`: how many more elements a map may hold, counted without all CPUs writing to one word.
//!
//! Each CPU has a stock of permits; it is filled from what all share, in large steps while that is plenty. The limit is exact.

use super::sync::{AtomicU32, Ordering};

/// Permits: as many as elements may be added.
pub(super) struct Count {
    shared: AtomicU32,
    stocks: Box<[Stock]>,
}

/// The permits of a CPU, on cache lines of their own.
#[repr(align(128))]
struct Stock(AtomicU32);

/// How many permits a CPU takes at once.
const STEP: u32 = 32;

impl Count {
    /// `permits`, for so many CPUs.
    pub(super) fn new(permits: u32, cpus: u32) -> Count {
        let stocks = (0..cpus.max(1)).map(|_| Stock(AtomicU32::new(0))).collect();
        Count { shared: AtomicU32::new(permits), stocks }
    }

    /// Takes a permit; false if all are taken.
    #[inline]
    pub(super) fn take(&self, cpu: u32) -> bool {
        let cpu = self.place(cpu);
        self.take_of(cpu) || self.take_shared(cpu) || (0..self.stocks.len()).any(|other| self.take_of(other))
    }

    /// Gives a permit back, to this CPU.
    #[inline]
    pub(super) fn give_back(&self, cpu: u32) {
        self.stocks[self.place(cpu)].0.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn take_of(&self, cpu: usize) -> bool {
        let stock = &self.stocks[cpu].0;
        let take = |permits: u32| permits.checked_sub(1);
        stock.load(Ordering::Relaxed) > 0
            && stock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Near the limit one by one: those on their way into a stock are nowhere to be found.
    fn take_shared(&self, cpu: usize) -> bool {
        let plenty = 2 * STEP * self.stocks.len() as u32;
        let step = |permits| if permits > plenty { STEP } else { 1 };
        let take = |permits: u32| permits.checked_sub(step(permits));
        let Ok(before) = self.shared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) else {
            return false;
        };
        let rest = step(before) - 1;
        if rest > 0 {
            self.stocks[cpu].0.fetch_add(rest, Ordering::Relaxed);
        }
        true
    }

    fn place(&self, cpu: u32) -> usize {
        (cpu as usize).min(self.stocks.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_are_whoever_takes_them() {
        for (permits, cpus) in [(0, 1), (3, 4), (1000, 1), (1000, 3), (5000, 16)] {
            let count = Count::new(permits, cpus);
            let taken = (0..permits + 10).filter(|at| count.take(at % (cpus + 1))).count();
            assert_eq!(taken, permits as usize, "{cpus} CPUs");
            count.give_back(0);
            assert!(count.take(cpus - 1) && !count.take(0));
        }
    }

    #[test]
    fn threads_keep_to_the_limit() {
        let (count, held) = (Count::new(300, 2), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for cpu in 0..3 {
                let (count, held) = (&count, &held);
                scope.spawn(move || {
                    for round in 0..3_000 {
                        let taken = (0..150).filter(|_| count.take(cpu)).count() as u32;
                        assert!(held.fetch_add(taken, Ordering::SeqCst) + taken <= 300);
                        held.fetch_sub(taken, Ordering::SeqCst);
                        (0..taken).for_each(|at| count.give_back((cpu + at + round) % 2));
                    }
                });
            }
        });
        assert_eq!((0..400).filter(|_| count.take(0)).count(), 300);
    }
}
