//! `Pages`: which addresses of the cage are taken. First fit, with an inaccessible page after each range.

use super::PAGE_LEN;
use std::collections::BTreeMap;

/// Below this nothing is ever mapped, so that NULL and small numbers fault.
const FIRST: u64 = 64 << 10;

/// The allocator. Addresses and lengths are multiples of the page length.
pub(super) struct Pages {
    /// Free ranges: start to length, never adjacent.
    free: BTreeMap<u64, u64>,
    /// From here on nothing was ever given out.
    fresh: u64,
    used: u64,
}

impl Pages {
    pub(super) fn new(cage_len: u64) -> Pages {
        Pages { free: BTreeMap::from([(FIRST, cage_len - FIRST)]), fresh: FIRST, used: 0 }
    }

    /// Bytes given out.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Takes `len` bytes and a guard page. The flag tells whether any of it was in use before.
    pub(super) fn take(&mut self, len: u64) -> Option<(u32, bool)> {
        let whole = len + u64::from(PAGE_LEN);
        let (&start, &room) = self.free.iter().find(|(_, room)| **room >= whole)?;
        self.free.remove(&start);
        if room > whole {
            self.free.insert(start + whole, room - whole);
        }
        let reused = start < self.fresh;
        self.fresh = self.fresh.max(start + whole);
        self.used += len;
        Some((start as u32, reused))
    }

    /// Gives a range of `take` back.
    pub(super) fn give_back(&mut self, base: u32, len: u32) {
        let (mut start, mut whole) = (u64::from(base), u64::from(len) + u64::from(PAGE_LEN));
        self.used -= u64::from(len);
        if let Some((&before, &room)) = self.free.range(..start).next_back()
            && before + room == start
        {
            self.free.remove(&before);
            (start, whole) = (before, whole + room);
        }
        if let Some(room) = self.free.remove(&(start + whole)) {
            whole += room;
        }
        self.free.insert(start, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_again() {
        let mut pages = Pages::new(1 << 20);
        let taken: Vec<u32> = (0..8).map(|_| pages.take(8192).expect("room").0).collect();
        assert_eq!(taken[0], FIRST as u32);
        for base in [3, 1, 2, 0, 7, 5, 6, 4].map(|i: usize| taken[i]) {
            pages.give_back(base, 8192);
        }
        assert_eq!(pages.free, BTreeMap::from([(FIRST, (1 << 20) - FIRST)]));
        assert_eq!(pages.used(), 0);
        assert_eq!(pages.take(4096), Some((FIRST as u32, true)));
        assert_eq!(pages.take(1 << 20), None);
    }
}
