//! `Chains`: the buckets of a hash table and what leads from one element of a bucket to the next, by slot numbers.
//!
//! Lookups take no lock and write nothing. A link holds the hash of the element that it leads to, so that most strangers are passed over
//! without looking at their keys, and a chain ends with the number of its bucket: a lookup whose element was taken out and put into another
//! chain meanwhile finds the wrong number, or a hash of another bucket, and begins again. Changes are made under the bucket's lock, which
//! is a bit of its first link.

use super::sync::{AtomicU64, Ordering, fence, relax, zeroed64};

/// Buckets and links; 0 is the link of an empty bucket.
pub(super) struct Chains {
    /// The first link of each chain.
    heads: Box<[AtomicU64]>,
    /// The next link of each slot that is in a chain. It stays when the slot is taken out, for walks that are at it.
    links: Box<[AtomicU64]>,
}

/// A locked bucket.
pub(super) struct Bucket<'a> {
    chains: &'a Chains,
    head: &'a AtomicU64,
    number: u32,
}

/// Set in the first link of a chain that is being changed. Slot numbers stay below.
const LOCKED: u64 = 1 << 31;

fn link(hash: u32, slot: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(slot + 1)
}

/// The last link of a chain.
fn end(bucket: u32) -> u64 {
    u64::from(bucket) << 32
}

/// The slot that a link leads to.
fn slot_of(link: u64) -> Option<u32> {
    ((link & !LOCKED) as u32).checked_sub(1)
}

fn hash_of(link: u64) -> u32 {
    (link >> 32) as u32
}

impl Chains {
    /// Empty chains: `buckets`, a power of two, for slots below `slots`, fewer than 2^31 - 1.
    pub(super) fn new(buckets: usize, slots: u32) -> Chains {
        debug_assert!(buckets.is_power_of_two() && u64::from(slots) < LOCKED - 1);
        Chains { heads: zeroed64(buckets), links: zeroed64(slots as usize) }
    }

    pub(super) fn buckets(&self) -> u32 {
        self.heads.len() as u32
    }

    /// The bucket of a hash: its low bits.
    #[inline]
    pub(super) fn bucket(&self, hash: u32) -> u32 {
        hash & (self.heads.len() as u32 - 1)
    }

    /// The slot of the element with this hash that `is_key` says yes to, without a lock. `is_key` reads the key of a slot that may be given
    /// to another element meanwhile; whoever does that calls [`Chains::reuse`] before it writes the key.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(hash);
        'again: loop {
            let mut from = &self.heads[bucket as usize];
            let mut link = from.load(Ordering::Acquire) & !LOCKED;
            if link == 0 {
                return None;
            }
            while let Some(slot) = slot_of(link) {
                if hash_of(link) == hash && is_key(slot) {
                    // The key may have been another's while it was compared.
                    fence(Ordering::Acquire);
                    if from.load(Ordering::Relaxed) & !LOCKED == link {
                        return Some(slot);
                    }
                    continue 'again;
                }
                if self.bucket(hash_of(link)) != bucket {
                    continue 'again;
                }
                from = &self.links[slot as usize];
                link = from.load(Ordering::Acquire);
            }
            if hash_of(link) == bucket {
                return None;
            }
        }
    }

    /// To be called after a slot was taken out of its chain and before its key is written anew.
    #[inline]
    pub(super) fn reuse(&self) {
        // Who sees the new key sees that the slot was taken out.
        fence(Ordering::Release);
    }

    /// Locks the bucket of a hash for a change.
    #[inline]
    pub(super) fn lock(&self, hash: u32) -> Bucket<'_> {
        let number = self.bucket(hash);
        let head = &self.heads[number as usize];
        let mut tries = 0;
        loop {
            let first = head.load(Ordering::Relaxed) & !LOCKED;
            let locked =
                head.compare_exchange_weak(first, first | LOCKED, Ordering::Acquire, Ordering::Relaxed);
            if locked.is_ok() {
                return Bucket { chains: self, head, number };
            }
            relax(tries);
            tries = tries.saturating_add(1);
        }
    }

    /// The first slot in a bucket.
    #[inline]
    pub(super) fn first(&self, bucket: u32) -> Option<u32> {
        slot_of(self.heads[bucket as usize].load(Ordering::Acquire))
    }

    /// The slot after one; what was after it, if it has been taken out.
    #[inline]
    pub(super) fn next(&self, slot: u32) -> Option<u32> {
        slot_of(self.links[slot as usize].load(Ordering::Acquire))
    }
}

impl Bucket<'_> {
    /// The slot of the element with this hash that `is_key` says yes to.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let mut link = self.head.load(Ordering::Relaxed);
        while let Some(slot) = slot_of(link) {
            if hash_of(link) == hash && is_key(slot) {
                return Some(slot);
            }
            link = self.chains.links[slot as usize].load(Ordering::Relaxed);
        }
        None
    }

    /// Puts a slot, whose key is written, at the front.
    #[inline]
    pub(super) fn insert(&self, slot: u32, hash: u32) {
        debug_assert_eq!(self.chains.bucket(hash), self.number);
        let first = self.head.load(Ordering::Relaxed) & !LOCKED;
        let next = if first == 0 { end(self.number) } else { first };
        // Lookups that are still at this slot see that it is elsewhere now.
        self.chains.links[slot as usize].store(next, Ordering::Release);
        self.head.store(link(hash, slot) | LOCKED, Ordering::Release);
    }

    /// Takes a slot out; false if it is not there.
    #[inline]
    pub(super) fn remove(&self, slot: u32) -> bool {
        let (mut from, mut lock) = (self.head, LOCKED);
        while let Some(at) = slot_of(from.load(Ordering::Relaxed)) {
            let next = &self.chains.links[at as usize];
            if at == slot {
                from.store(next.load(Ordering::Relaxed) | lock, Ordering::Release);
                return true;
            }
            (from, lock) = (next, 0);
        }
        false
    }
}

impl Drop for Bucket<'_> {
    #[inline]
    fn drop(&mut self) {
        let first = self.head.load(Ordering::Relaxed) & !LOCKED;
        self.head.store(first, Ordering::Release);
    }
}
