//! `Table`: the hash table under all hash maps: keys and values in guest memory, found through `Chains`.
//!
//! A value lies behind its key. Values of CPUs lie apart from the keys, all those of a CPU together, and no two CPUs' on one cache line.

use super::array::value_access;
use super::chains::{Bucket, Chains};
use super::fields::{Fields, Special, ValueLock};
use super::hasher::Hasher;
use super::{CACHE_LINE, Maker, SLOTS_MAX};
use mimic_abi::Errno;
use mimic_abi::uapi::map_flags::BPF_F_ZERO_SEED;
use mimic_vm::memory::{Access, Layout, Part};
use mimic_vm::{Hygiene, MapError, Region};

/// Elements in slots, found by key.
pub(super) struct Table {
    /// Keys, and values that all CPUs share.
    region: Region,
    /// Values of CPUs.
    percpu: Option<Region>,
    key_len: usize,
    /// Bytes from a slot's key to that of the next.
    stride: u32,
    value_len: usize,
    /// Where the first slot's value is in its region, for CPU 0, and its address.
    value_off: u32,
    value_base: u64,
    /// Bytes from a slot's value to that of the next, and from a CPU's to that of the next.
    value_stride: u32,
    cpu_stride: u32,
    /// Values in a slot: 1, or the number of CPUs.
    values: u32,
    chains: Chains,
    slots: u32,
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

impl By {
    /// The CPU whose stock of free slots is used.
    pub(super) fn cpu(self) -> u32 {
        match self {
            By::Program(cpu) => cpu,
            By::User => 0,
        }
    }
}

/// A bucket of a table, locked.
pub(super) struct Locked<'a> {
    table: &'a Table,
    bucket: Bucket<'a>,
}

impl Table {
    /// A table with `slots` slots, each with a value of `value_len` bytes, or one for each of `cpus` CPUs.
    pub(super) fn new(
        maker: &Maker<'_>,
        slots: u32,
        cpus: Option<u32>,
        value_len: u32,
    ) -> Result<Table, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let key_stride = spec.key_size.next_multiple_of(8);
        let value_stride = value_len.next_multiple_of(8);
        let key = Part { off: 0, len: spec.key_size, access: Access::Read };
        let value = |off| Part { off, len: value_len, access: value_access(spec) };
        let slab = |stride, parts: &[Part]| Layout::Slab { stride, parts: parts.into() };
        let (region, percpu, cpu_stride) = match cpus {
            None => {
                let stride = key_stride + value_stride;
                let layout = slab(stride, &[key, value(key_stride)]);
                (maker.region("element", u64::from(slots) * u64::from(stride), layout)?, None, 0)
            }
            Some(cpus) => {
                let keys = u64::from(slots) * u64::from(key_stride);
                let cpu_stride = cpu_stride(slots, value_stride);
                let len = cpu_stride * u64::from(cpus);
                let values = maker.region("value", len, slab(value_stride, &[value(0)]))?;
                (maker.region("key", keys, slab(key_stride, &[key]))?, Some(values), cpu_stride as u32)
            }
        };
        let buckets = spec.max_entries.min(SLOTS_MAX).next_power_of_two() as usize;
        let zero_seed = spec.map_flags & BPF_F_ZERO_SEED != 0;
        let inline = percpu.is_none();
        let value_off = if inline { key_stride } else { 0 };
        Ok(Table {
            value_base: percpu.as_ref().unwrap_or(&region).base() + u64::from(value_off),
            region,
            percpu,
            key_len: spec.key_size as usize,
            stride: if inline { key_stride + value_stride } else { key_stride },
            value_len: value_len as usize,
            value_off,
            value_stride: if inline { key_stride + value_stride } else { value_stride },
            cpu_stride,
            values: cpus.unwrap_or(1),
            chains: Chains::new(buckets, slots),
            slots,
            fields: Fields::new(maker),
            hasher: if zero_seed { Hasher::Jenkins(0) } else { Hasher::fast(maker.env.seed) },
        })
    }

    /// Bytes of a value as users see it.
    pub(super) fn user_value_len(&self) -> usize {
        if self.percpu.is_some() { self.user_stride() * self.values as usize } else { self.value_len }
    }

    /// Bytes from a CPU's value to that of the next, as users see them.
    fn user_stride(&self) -> usize {
        self.value_len.next_multiple_of(8)
    }

    pub(super) fn buckets(&self) -> u32 {
        self.chains.buckets()
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash(key)
    }

    /// The slot of a key, without a lock. Always inlined: callers that know the key's length get code for it alone.
    #[inline(always)]
    pub(super) fn lookup(&self, key: &[u8]) -> Option<u32> {
        if key.len() != self.key_len {
            return None;
        }
        let hash = self.hash(key);
        match key.len() {
            4 => self.chains.find(hash, |slot| self.is_key::<4>(slot, key)),
            8 => self.chains.find(hash, |slot| self.is_key::<8>(slot, key)),
            16 => self.chains.find(hash, |slot| self.is_key::<16>(slot, key)),
            _ => self.chains.find(hash, |slot| self.region.equals(slot * self.stride, key)),
        }
    }

    #[inline(always)]
    fn is_key<const LEN: usize>(&self, slot: u32, key: &[u8]) -> bool {
        self.region.equals_array::<LEN>(slot * self.stride, key)
    }

    /// Locks the bucket of a hash for a change.
    #[inline]
    pub(super) fn lock(&self, hash: u32) -> Locked<'_> {
        Locked { table: self, bucket: self.chains.lock(hash) }
    }

    /// Writes the key of a slot that is in no chain.
    #[inline]
    pub(super) fn set_key(&self, slot: u32, key: &[u8]) {
        self.chains.reuse();
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
        self.value_base + u64::from(slot * self.value_stride + cpu.min(self.values - 1) * self.cpu_stride)
    }

    /// The region of values, and where in it a slot's value for a CPU is.
    #[inline]
    fn value_at(&self, slot: u32, cpu: u32) -> (&Region, u32) {
        let region = self.percpu.as_ref().unwrap_or(&self.region);
        (region, self.value_off + slot * self.value_stride + cpu.min(self.values - 1) * self.cpu_stride)
    }

    #[inline]
    fn set_part(&self, slot: u32, cpu: u32, value: &[u8], special: Special) {
        let (region, off) = self.value_at(slot, cpu);
        self.fields.write(region, off, &value[..value.len().min(self.value_len)], special);
    }

    /// Sets the value of a slot. Of a new per-CPU element, a program sets the values of other CPUs to zero.
    #[inline]
    pub(super) fn set_value(&self, slot: u32, by: By, value: &[u8], new: bool) {
        let special = if new { Special::New } else { Special::Freed };
        match by {
            _ if self.percpu.is_none() => self.set_part(slot, 0, value, special),
            By::Program(cpu) => {
                for other in (0..self.values).filter(|other| new && *other != cpu) {
                    let (region, off) = self.value_at(slot, other);
                    self.fields.free(region, off);
                    region.fill(off, self.value_stride, 0);
                }
                self.set_part(slot, cpu, value, special);
            }
            By::User => {
                for (cpu, value) in (0..self.values).zip(value.chunks(self.user_stride())) {
                    self.set_part(slot, cpu, value, special);
                }
            }
        }
    }

    fn free_fields(&self, slot: u32) {
        let values = if self.fields.are_none() { 0 } else { self.values };
        for cpu in 0..values {
            let (region, off) = self.value_at(slot, cpu);
            self.fields.free(region, off);
        }
    }

    /// The values of a slot are no element's any more: whoever still has their address reads what the memory's hygiene setting leaves.
    #[inline]
    fn recycle(&self, slot: u32) {
        if self.region.memory().hygiene() != Hygiene::Off {
            for cpu in 0..self.values {
                let (region, off) = self.value_at(slot, cpu);
                region.recycle(off, self.value_len as u32);
            }
        }
    }

    /// Copies the value of a slot as users see it.
    pub(super) fn copy_value(&self, slot: u32, value: &mut [u8]) {
        for (cpu, value) in (0..self.values).zip(value.chunks_mut(self.user_stride())) {
            let (region, off) = self.value_at(slot, cpu);
            let len = value.len().min(self.value_len);
            self.fields.read(region, off, &mut value[..len]);
        }
    }

    /// Whether values have a spin lock.
    pub(super) fn has_lock(&self) -> bool {
        self.fields.has_lock()
    }

    /// Takes the spin lock of a slot's value.
    pub(super) fn lock_value(&self, slot: u32) -> Result<ValueLock<'_>, Errno> {
        let (region, off) = self.value_at(slot, 0);
        self.fields.lock(region, off)
    }

    /// Sets the value of a slot, without its special fields.
    pub(super) fn keep_fields(&self, slot: u32, value: &[u8]) {
        self.set_part(slot, 0, value, Special::Kept);
    }

    /// The slots in a bucket, in the order of its chain.
    pub(super) fn chain(&self, bucket: u32) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(self.chains.first(bucket), |slot| self.chains.next(*slot))
    }

    /// The slot after that of `key`: in its chain, or the first of a later one. From the start if the key is not there.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let mut bucket = 0;
        if let Some(key) = key {
            let hash = self.hash(key);
            let locked = self.lock(hash);
            if let Some(slot) = locked.find(key, hash) {
                if let Some(next) = self.chains.next(slot) {
                    return Ok(self.key(next));
                }
                bucket = self.chains.bucket(hash) + 1;
            }
        }
        for bucket in bucket..self.buckets() {
            if self.chains.first(bucket).is_some() {
                let _locked = self.lock(bucket);
                if let Some(slot) = self.chains.first(bucket) {
                    return Ok(self.key(slot));
                }
            }
        }
        Err(Errno::ENOENT)
    }

    /// The next slot of a walk. The cursor is a bucket, and the slot in its chain plus 1, looked up before the slot before it is handed out, as
    /// the kernel does: what happens to that one does not matter then.
    pub(super) fn walk(&self, cursor: &mut u64) -> Option<u32> {
        let (mut bucket, mut next) = ((*cursor >> 32) as u32, (*cursor as u32).checked_sub(1));
        while next.is_none() && bucket < self.buckets() {
            next = self.chains.first(bucket);
            bucket += u32::from(next.is_none());
        }
        let slot = next?;
        *cursor = match self.chains.next(slot) {
            Some(after) => u64::from(bucket) << 32 | u64::from(after + 1),
            None => u64::from(bucket + 1) << 32,
        };
        Some(slot)
    }
}

impl Locked<'_> {
    /// The slot of a key with this hash.
    #[inline]
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<u32> {
        let table = self.table;
        if key.len() != table.key_len {
            return None;
        }
        match key.len() {
            4 => self.bucket.find(hash, |slot| table.is_key::<4>(slot, key)),
            8 => self.bucket.find(hash, |slot| table.is_key::<8>(slot, key)),
            16 => self.bucket.find(hash, |slot| table.is_key::<16>(slot, key)),
            _ => self.bucket.find(hash, |slot| table.region.equals(slot * table.stride, key)),
        }
    }

    /// Puts a slot with its key at the front of its chain.
    #[inline]
    pub(super) fn insert(&self, slot: u32, hash: u32) {
        self.bucket.insert(slot, hash);
    }

    /// Takes a slot out of its chain, and lets go of what its values own and are; false if it is not there.
    #[inline]
    pub(super) fn remove(&self, slot: u32) -> bool {
        let removed = self.bucket.remove(slot);
        if removed {
            self.table.free_fields(slot);
            self.table.recycle(slot);
        }
        removed
    }
}

/// Bytes that the values of one CPU take, so that the next CPU's begin on a cache line of their own.
pub(super) fn cpu_stride(values: u32, value_stride: u32) -> u64 {
    // A multiple of both: value strides are multiples of 8.
    u64::from(values).next_multiple_of(u64::from(CACHE_LINE / 8)) * u64::from(value_stride)
}

/// What values own goes with them.
impl Drop for Table {
    fn drop(&mut self) {
        if self.fields.own() {
            for slot in 0..self.slots {
                self.free_fields(slot);
            }
        }
    }
}
