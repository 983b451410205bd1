//! `PageRanges`: ranges of pages that nobody has. The smallest that fits is used, of equal ones the newest, as the kernel has it.

use std::collections::BTreeMap;

/// Free ranges of pages.
pub(super) struct PageRanges {
    /// By their first page: how many, and which change of the set made the range.
    ranges: BTreeMap<u32, (u32, u64)>,
    changes: u64,
}

impl PageRanges {
    /// All of `count` pages are free.
    pub(super) fn new(count: u32) -> PageRanges {
        PageRanges { ranges: BTreeMap::from([(0, (count, 0))]), changes: 0 }
    }

    /// Where `count` pages are free.
    pub(super) fn find(&self, count: u32) -> Option<u32> {
        let fits = self.ranges.iter().filter(|(_, (len, _))| *len >= count);
        fits.min_by_key(|(_, (len, change))| (*len, u64::MAX - change)).map(|(start, _)| *start)
    }

    /// Whether all of these pages are free.
    pub(super) fn has(&self, start: u32, count: u32) -> bool {
        let around = self.ranges.range(..=start).next_back();
        around.is_some_and(|(first, (len, _))| {
            u64::from(start) + u64::from(count) <= u64::from(*first) + u64::from(*len)
        })
    }

    /// Takes pages that are free.
    pub(super) fn take(&mut self, start: u32, count: u32) {
        let Some((&first, &(len, _))) = self.ranges.range(..=start).next_back() else { return };
        self.ranges.remove(&first);
        self.add(first, start - first);
        self.add(start + count, (first + len).saturating_sub(start + count));
    }

    /// Gives pages back, some of which may be free already.
    pub(super) fn give_back(&mut self, start: u32, count: u32) {
        let (mut first, mut end) = (start, start + count);
        // What touches the range, or is in it, becomes part of it.
        while let Some((&from, &(len, _))) = self.ranges.range(..=end).next_back() {
            if from + len < first {
                break;
            }
            (first, end) = (first.min(from), end.max(from + len));
            self.ranges.remove(&from);
        }
        self.add(first, end - first);
    }

    fn add(&mut self, start: u32, count: u32) {
        if count > 0 {
            self.changes += 1;
            self.ranges.insert(start, (count, self.changes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_split_and_join() {
        let mut pages = PageRanges::new(10);
        assert_eq!(pages.find(11), None);
        assert_eq!(pages.find(10), Some(0));
        pages.take(3, 2);
        assert!(pages.has(0, 3) && !pages.has(2, 2) && pages.has(5, 5) && !pages.has(5, 6));
        assert_eq!([pages.find(1), pages.find(4)], [Some(0), Some(5)]);
        pages.take(5, 5);
        pages.take(0, 3);
        assert_eq!(pages.find(1), None);
        pages.give_back(8, 2);
        pages.give_back(2, 2);
        assert_eq!(pages.find(2), Some(2), "the newest of equal ones");
        pages.give_back(0, 10);
        assert_eq!(pages.ranges.len(), 1);
        assert_eq!(pages.find(10), Some(0));
    }
}
