//! `Table`: the hash table under all hash maps: keys and values in guest memory, chains in host memory.
//!
//! Lookups take no lock. A chain's link holds the hash of the element it leads to, so that most strangers are passed over
//! without looking at their keys, and a chain ends with the number of its bucket: a lookup whose element was taken out and put into another
//! chain meanwhile finds the wrong number, or a hash of another bucket, and begins again. Changes are made under the bucket's lock.

use super::array::value_access;
use super::fields::{Fields, Special, ValueLock};
use super::hasher::Hasher;
use super::{Maker, SLOTS_MAX};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use mimic_abi::Errno;
use mimic_abi::uapi::map_flags::BPF_F_ZERO_SEED;
use mimic_vm::memory::{Access, Layout, Part, zeroed64};
use mimic_vm::{MapError, Region};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Elements in slots, found by key.
pub(super) struct Table {
    region: Region,
    key_len: usize,
    /// Bytes from a slot's start to its value: the key's, rounded up to 8.
    value_off: u32,
    value_len: usize,
    /// Bytes from the value of a CPU to that of the next.
    value_stride: u32,
    /// Values in a slot: 1, or the number of CPUs.
    values: u32,
    stride: u32,
    /// The first link of each chain. 0 if it is empty.
    heads: Box<[AtomicU64]>,
    /// The next link of each slot that is in a chain. It stays when the slot is taken out, for walks that are at it.
    links: Box<[AtomicU64]>,
    locks: Box<[Mutex<()>]>,
    fields: Fields,
    hasher: Hasher,
}

/// Who sets a value.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// A program on this CPU: of per-CPU values its own.
    Program(u32),
    /// A user: the values of all CPUs.
    User,
}

/// The most locks; buckets share them.
const LOCKS_MAX: usize = 256;

/// A link to a slot.
fn link(hash: u32, slot: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(slot + 1)
}

/// The last link of a chain.
fn end(bucket: u32) -> u64 {
    u64::from(bucket) << 32
}

/// The slot that a link leads to.
fn slot_of(link: u64) -> Option<u32> {
    (link as u32).checked_sub(1)
}

fn hash_of(link: u64) -> u32 {
    (link >> 32) as u32
}

impl Table {
    /// A table with `slots` slots, each with as many values of `value_len` bytes.
    pub(super) fn new(maker: &Maker<'_>, slots: u32, values: u32, value_len: u32) -> Result<Table, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let value_off = spec.key_size.next_multiple_of(8);
        let value_stride = value_len.next_multiple_of(8);
        let stride = value_off + value_stride * values;
        let key = Part { off: 0, len: spec.key_size, access: Access::Read };
        let access = value_access(spec);
        let value = |index| Part { off: value_off + index * value_stride, len: value_len, access };
        let parts = core::iter::once(key).chain((0..values).map(value)).collect();
        let layout = Layout::Slab { stride, parts };
        let region = maker.region("element", u64::from(slots) * u64::from(stride), layout)?;
        let buckets = spec.max_entries.min(SLOTS_MAX).next_power_of_two() as usize;
        let zero_seed = spec.map_flags & BPF_F_ZERO_SEED != 0;
        Ok(Table {
            region,
            key_len: spec.key_size as usize,
            value_off,
            value_len: value_len as usize,
            value_stride,
            values,
            stride,
            heads: zeroed64(buckets),
            links: zeroed64(slots as usize),
            locks: (0..buckets.min(LOCKS_MAX)).map(|_| Mutex::new(())).collect(),
            fields: Fields::new(spec),
            hasher: if zero_seed { Hasher::Jenkins(0) } else { Hasher::Fast(maker.env.seed) },
        })
    }

    /// Bytes of a value as users see it.
    pub(super) fn user_value_len(&self, percpu: bool) -> usize {
        if percpu { self.value_stride as usize * self.values as usize } else { self.value_len }
    }

    pub(super) fn buckets(&self) -> u32 {
        self.heads.len() as u32
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash(key)
    }

    #[inline]
    fn bucket(&self, hash: u32) -> u32 {
        hash & (self.heads.len() as u32 - 1)
    }

    /// The slot of a key.
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        if key.len() != self.key_len {
            return None;
        }
        match key.len() {
            4 => self.find_by(hash, |off| self.region.equals_array::<4>(off, key)),
            8 => self.find_by(hash, |off| self.region.equals_array::<8>(off, key)),
            16 => self.find_by(hash, |off| self.region.equals_array::<16>(off, key)),
            _ => self.find_by(hash, |off| self.region.equals(off, key)),
        }
    }

    #[inline]
    fn find_by(&self, hash: u32, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(hash);
        'again: loop {
            let mut from = &self.heads[bucket as usize];
            let first = from.load(Ordering::Acquire);
            slot_of(first)?;
            let mut link = first;
            while let Some(slot) = slot_of(link) {
                if hash_of(link) == hash && is_key(slot * self.stride) {
                    // The key may have been another's while it was compared.
                    fence(Ordering::Acquire);
                    if from.load(Ordering::Relaxed) == link {
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

    /// Locks the bucket of a hash for a change.
    #[inline]
    pub(super) fn lock(&self, hash: u32) -> MutexGuard<'_, ()> {
        self.locks[hash as usize & (self.locks.len() - 1)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a slot with its key at the front of its chain. Under the lock.
    #[inline]
    pub(super) fn insert(&self, slot: u32, hash: u32) {
        let bucket = self.bucket(hash);
        let head = &self.heads[bucket as usize];
        let first = head.load(Ordering::Relaxed);
        let next = if slot_of(first).is_some() { first } else { end(bucket) };
        self.links[slot as usize].store(next, Ordering::Relaxed);
        head.store(link(hash, slot), Ordering::Release);
    }

    /// Takes a slot out of its chain; false if it is not there. Under the lock.
    pub(super) fn remove(&self, slot: u32, hash: u32) -> bool {
        let mut from = &self.heads[self.bucket(hash) as usize];
        while let Some(at) = slot_of(from.load(Ordering::Relaxed)) {
            let next = &self.links[at as usize];
            if at == slot {
                from.store(next.load(Ordering::Relaxed), Ordering::Release);
                return true;
            }
            from = next;
        }
        false
    }

    pub(super) fn set_key(&self, slot: u32, key: &[u8]) {
        self.region.write(slot * self.stride, &key[..key.len().min(self.key_len)]);
    }

    pub(super) fn key(&self, slot: u32) -> Vec<u8> {
        self.region.to_vec(slot * self.stride, self.key_len as u32)
    }

    pub(super) fn key_addr(&self, slot: u32) -> u64 {
        self.region.base() + u64::from(slot * self.stride)
    }

    /// The address of a slot's value for a CPU.
    #[inline]
    pub(super) fn value_addr(&self, slot: u32, cpu: u32) -> u64 {
        self.region.base() + u64::from(self.value_at(slot, cpu))
    }

    #[inline]
    fn value_at(&self, slot: u32, cpu: u32) -> u32 {
        let index = if self.values == 1 { 0 } else { cpu.min(self.values - 1) };
        slot * self.stride + self.value_off + index * self.value_stride
    }

    /// Sets the value of a slot. Of a new per-CPU element, a program sets the values of other CPUs to zero.
    #[inline]
    pub(super) fn set_value(&self, slot: u32, by: By, value: &[u8], new: bool) {
        let part = |value: &[u8], cpu| {
            let len = value.len().min(self.value_len);
            let special = if new { Special::New } else { Special::Freed };
            self.fields.write(&self.region, self.value_at(slot, cpu), &value[..len], special);
        };
        match by {
            _ if self.values == 1 => part(value, 0),
            By::Program(cpu) => {
                if new {
                    let off = self.value_at(slot, 0);
                    self.region.fill(off, self.value_stride * self.values, 0);
                }
                part(value, cpu);
            }
            By::User => {
                for (cpu, value) in (0..self.values).zip(value.chunks(self.value_stride as usize)) {
                    part(value, cpu);
                }
            }
        }
    }

    /// Copies the value of a slot as users see it.
    pub(super) fn copy_value(&self, slot: u32, value: &mut [u8]) {
        if self.values == 1 {
            let len = value.len().min(self.value_len);
            return self.fields.read(&self.region, self.value_at(slot, 0), &mut value[..len]);
        }
        for (cpu, value) in (0..self.values).zip(value.chunks_mut(self.value_stride as usize)) {
            let len = value.len().min(self.value_len);
            self.fields.read(&self.region, self.value_at(slot, cpu), &mut value[..len]);
        }
    }

    /// Whether values have a spin lock.
    pub(super) fn has_lock(&self) -> bool {
        self.fields.has_lock()
    }

    /// Takes the spin lock of a slot's value.
    pub(super) fn lock_value(&self, slot: u32) -> Result<ValueLock<'_>, Errno> {
        self.fields.lock(&self.region, self.value_at(slot, 0))
    }

    /// Sets the value of a slot, without its special fields.
    pub(super) fn keep_fields(&self, slot: u32, value: &[u8]) {
        let value = &value[..value.len().min(self.value_len)];
        self.fields.write(&self.region, self.value_at(slot, 0), value, Special::Kept);
    }

    /// The slots in a bucket, in the order of its chain.
    pub(super) fn chain(&self, bucket: u32) -> impl Iterator<Item = u32> + '_ {
        let first = slot_of(self.heads[bucket as usize].load(Ordering::Acquire));
        core::iter::successors(first, |slot| slot_of(self.links[*slot as usize].load(Ordering::Acquire)))
    }

    /// The slot after that of `key`: in its chain, or the first of a later one. From the start if the key is not there.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let mut bucket = 0;
        if let Some(key) = key {
            let hash = self.hash(key);
            let _lock = self.lock(hash);
            if let Some(slot) = self.find(key, hash) {
                if let Some(next) = slot_of(self.links[slot as usize].load(Ordering::Acquire)) {
                    return Ok(self.key(next));
                }
                bucket = self.bucket(hash) + 1;
            }
        }
        for bucket in bucket..self.buckets() {
            if slot_of(self.heads[bucket as usize].load(Ordering::Acquire)).is_some() {
                let _lock = self.lock(bucket);
                if let Some(slot) = self.chain(bucket).next() {
                    return Ok(self.key(slot));
                }
            }
        }
        Err(Errno::ENOENT)
    }

    /// The next slot of a walk. The cursor is a bucket, and the slot in its chain plus 1, looked up before the slot before it is handed out, as
    /// the kernel does: what happens to that one does not matter then.
    pub(super) fn walk(&self, cursor: &mut u64) -> Option<u32> {
        let (mut bucket, mut next) = ((*cursor >> 32) as u32, slot_of(*cursor));
        while next.is_none() && bucket < self.buckets() {
            next = slot_of(self.heads[bucket as usize].load(Ordering::Acquire));
            bucket += u32::from(next.is_none());
        }
        let slot = next?;
        let after = self.links[slot as usize].load(Ordering::Acquire);
        *cursor = match slot_of(after) {
            Some(after) => link(bucket, after),
            None => end(bucket + 1),
        };
        Some(slot)
    }
}
