//! `Reservations`: the producers' side of a ring buffer: room for records, and which of them are being written. Documentation/bpf/ringbuf.rst.
//!
//! Reserving takes a lock, as in the kernel; handing a record over, and asking where a record is, take none. A record's length is kept in its
//! header in guest memory, which whoever has the ring passes in: where programs can reach it against the rules, records are not what they were,
//! and nothing worse.

use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering, zeroed64};
use std::sync::PoisonError;

/// Records of a ring. Positions are bytes since it was made, places are offsets in its data.
pub(super) struct Reservations {
    /// Bytes of data, a power of two.
    len: u32,
    /// A bit for each 8 bytes of data: a record that is being written begins there.
    starts: Box<[AtomicU64]>,
    /// Bytes of the longest record that was ever reserved, with its header.
    longest: AtomicU32,
    place: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// Where the next record goes.
    pos: u64,
    /// Before this, none is being written.
    pending: u64,
}

/// `BPF_RINGBUF_HDR_SZ`.
pub(super) const HEADER_LEN: u32 = 8;
/// `BPF_RINGBUF_BUSY_BIT`: being written.
pub(super) const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: to be passed over.
pub(super) const DISCARD: u32 = 1 << 30;
/// Bytes of data for each word of `starts`.
const WORD_BYTES: u32 = 64 * 8;

impl Reservations {
    /// None, in `len` bytes of data, a power of two.
    pub(super) fn new(len: u32) -> Reservations {
        Reservations {
            len,
            starts: zeroed64(len.div_ceil(WORD_BYTES) as usize),
            longest: AtomicU32::new(0),
            place: Mutex::new(Place::default()),
        }
    }

    /// Reserves a record of `len` bytes if there is room behind what the consumer at `consumer` has yet to read. `begin` is given the record's
    /// place, to write its header, and then the position after it, to tell the consumer; `header` reads one.
    pub(super) fn reserve(
        &self,
        len: u32,
        consumer: u64,
        header: impl Fn(u32) -> u32,
        begin: impl FnOnce(u32) -> u64,
        tell: impl FnOnce(u64),
    ) -> Option<u64> {
        let whole = (u64::from(len) + u64::from(HEADER_LEN)).next_multiple_of(8);
        let mask = u64::from(self.len) - 1;
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        self.pass(&mut place, header);
        let end = place.pos.wrapping_add(whole);
        if end.wrapping_sub(consumer) > mask || end.wrapping_sub(place.pending) > mask {
            return None;
        }
        let at = (place.pos & mask) as u32;
        self.longest.fetch_max(whole as u32, Ordering::Relaxed);
        let answer = begin(at);
        let (word, bit) = Reservations::start(at);
        self.starts[word].fetch_or(bit, Ordering::Release);
        place.pos = end;
        tell(end);
        Some(answer)
    }

    /// Moves `pending` over the records that are done.
    fn pass(&self, place: &mut Place, header: impl Fn(u32) -> u32) {
        while place.pending != place.pos {
            let at = (place.pending & (u64::from(self.len) - 1)) as u32;
            if self.is_reserved(at) {
                return;
            }
            let len = u64::from(header(at) & !(BUSY | DISCARD)) + u64::from(HEADER_LEN);
            let left = place.pos.wrapping_sub(place.pending);
            place.pending = place.pending.wrapping_add(len.next_multiple_of(8).min(left));
        }
    }

    /// Ends the reservation of the record at a place. False if there is none, or another thread was first.
    pub(super) fn end(&self, at: u32) -> bool {
        if !at.is_multiple_of(8) || at >= self.len {
            return false;
        }
        let (word, bit) = Reservations::start(at);
        self.starts[word].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Whether a record that is being written begins at a place.
    pub(super) fn is_reserved(&self, at: u32) -> bool {
        if !at.is_multiple_of(8) || at >= self.len {
            return false;
        }
        let (word, bit) = Reservations::start(at);
        self.starts[word].load(Ordering::Acquire) & bit != 0
    }

    /// The place of the last record that is being written and begins at or before `at`, a place in the data or its second copy; none if no record
    /// is long enough to come from there to `at`.
    pub(super) fn before(&self, at: u32) -> Option<u32> {
        let lowest = at.saturating_sub(self.longest.load(Ordering::Relaxed));
        let highest = at.min(self.len - 1);
        let mut word = (highest / WORD_BYTES) as usize;
        let mut wanted = u64::MAX >> (63 - highest / 8 % 64);
        while word >= (lowest / WORD_BYTES) as usize {
            let found = self.starts[word].load(Ordering::Acquire) & wanted;
            if found != 0 {
                return Some(word as u32 * WORD_BYTES + (63 - found.leading_zeros()) * 8);
            }
            word = word.checked_sub(1)?;
            wanted = u64::MAX;
        }
        None
    }

    fn start(at: u32) -> (usize, u64) {
        ((at / WORD_BYTES) as usize, 1 << (at / 8 % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring with its headers beside it.
    struct Ring {
        reservations: Reservations,
        headers: Vec<AtomicU32>,
    }

    impl Ring {
        fn new(len: u32) -> Ring {
            let headers = (0..len / 8).map(|_| AtomicU32::new(0)).collect();
            Ring { reservations: Reservations::new(len), headers }
        }

        fn reserve(&self, len: u32, consumer: u64) -> Option<u64> {
            let header = |at: u32| &self.headers[at as usize / 8];
            let begin = |at| {
                header(at).store(len | BUSY, Ordering::Relaxed);
                u64::from(at)
            };
            self.reservations.reserve(len, consumer, |at| header(at).load(Ordering::Relaxed), begin, |_| ())
        }
    }

    #[test]
    fn places_and_room() {
        let ring = Ring::new(4096);
        assert_eq!([ring.reserve(1000, 0), ring.reserve(1, 0)], [Some(0), Some(1008)]);
        assert_eq!([ring.reserve(4000, 0), ring.reserve(3040, 0)], [None, Some(1024)]);
        assert_eq!(ring.reserve(16, 0), None, "its end would be the consumer's place");
        assert_eq!(ring.reserve(16, 1008), None, "the first is being written still");
        assert!(ring.reservations.end(0) && !ring.reservations.end(0));
        assert_eq!(ring.reserve(400, 1008), Some(4072), "across the end");
        assert!(!ring.reservations.end(8) && !ring.reservations.end(4096) && !ring.reservations.end(1009));
        assert!(ring.reservations.is_reserved(1008) && !ring.reservations.is_reserved(0));
    }

    #[test]
    fn what_lies_before() {
        let ring = Ring::new(8192);
        for (len, place) in [(1000, 0), (1, 1008), (5000, 1024), (2000, 6032)] {
            assert_eq!(ring.reserve(len, 0), Some(place));
        }
        let before = |at| ring.reservations.before(at);
        assert_eq!([0, 1007, 1008, 1023, 1024].map(before), [0, 0, 1008, 1008, 1024].map(Some));
        assert_eq!([6031, 6032, 8191, 8200, 9000].map(before), [1024, 6032, 6032, 6032, 6032].map(Some));
        ring.reservations.end(6032);
        assert_eq!([6032, 8191].map(before), [Some(1024), None], "nothing is long enough");
        ring.reservations.end(1024);
        assert_eq!(before(8191), None);
    }
}
