//! HASH and PERCPU_HASH. Documentation/bpf/map_hash.rst.
//!
//! As in the kernel, an update of a value makes a new element and drops the old one, whose bytes stay as they were until the
//! slot is used again (preallocated maps: by the next such update on the same CPU). Per-CPU values are set in place.

use super::fields::ValueLock;
use super::front::{LinuxMap, Ops};
use super::pool::Pool;
use super::table::{By, Table};
use super::{Maker, SLOTS_MAX};
use core::sync::atomic::{AtomicU32, Ordering};
use mimic_abi::Errno;
use mimic_abi::uapi::map_flags::BPF_F_NO_PREALLOC;
use mimic_abi::uapi::update_flags::{BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST};
use mimic_vm::{Batch, Elem, ElemKey, Map, MapError};
use std::sync::Arc;

/// `BPF_MAP_TYPE_HASH` and `BPF_MAP_TYPE_PERCPU_HASH`.
pub struct Hash {
    table: Table,
    pool: Pool,
    percpu: bool,
    /// For each CPU a slot beside the others, for updates of what is there; the number plus 1. None without preallocation.
    spare: Box<[AtomicU32]>,
    /// Elements, without preallocation; with it, the pool is as large as the map.
    count: AtomicU32,
    entries_max: u32,
}

/// Without preallocation, maps may be made for more entries than they will ever hold. This many bytes of elements is where adding one
/// answers `ENOMEM`.
const BYTES_MAX: u64 = 512 << 20;

impl Hash {
    pub(super) fn create(maker: &Maker<'_>, percpu: bool) -> Result<Arc<dyn Map>, MapError> {
        let (spec, cpus) = (maker.spec, maker.env.cpus);
        let prealloc = spec.map_flags & BPF_F_NO_PREALLOC == 0;
        let values = if percpu { cpus } else { 1 };
        let wanted = u64::from(spec.max_entries) + u64::from(cpus);
        let slots = if prealloc {
            let why = || {
                format!(
                    "preallocated hash maps have {SLOTS_MAX} elements at most; BPF_F_NO_PREALLOC has no such limit"
                )
            };
            u32::try_from(wanted)
                .ok()
                .filter(|slots| *slots <= SLOTS_MAX)
                .ok_or_else(|| MapError::new(Errno::ENOMEM, why()))?
        } else {
            let stride = (u64::from(spec.value_size) + 8) * u64::from(values) + u64::from(spec.key_size) + 8;
            (BYTES_MAX / stride + 1).min(u64::from(SLOTS_MAX)).min(wanted) as u32
        };
        let table = Table::new(maker, slots, values, spec.value_size)?;
        let pool = Pool::new(slots);
        let take = |_| AtomicU32::new(pool.take().map_or(0, |slot| slot + 1));
        let spare = if prealloc { (0..cpus).map(take).collect() } else { [].into() };
        let len = table.user_value_len(percpu);
        let entries_max = spec.max_entries;
        let map = Hash { table, pool, percpu, spare, count: AtomicU32::new(0), entries_max };
        Ok(LinuxMap::make(spec, len, map))
    }

    fn set(&self, by: By, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        check_flags(flags, self.percpu)?;
        let locked = flags & BPF_F_LOCK != 0;
        if locked && !self.table.has_lock() {
            return Err(Errno::EINVAL);
        }
        let hash = self.table.hash(key);
        let _lock = self.table.lock(hash);
        let old = self.table.find(key, hash);
        check_exists(old, flags)?;
        if let Some(slot) = old.filter(|_| self.percpu) {
            self.table.set_value(slot, by, value, false);
            return Ok(());
        }
        if let Some(slot) = old.filter(|_| locked) {
            let _value_lock = self.table.lock_value(slot)?;
            self.table.keep_fields(slot, value);
            return Ok(());
        }
        let lane = match by {
            By::Program(cpu) => self.spare.get(cpu as usize),
            By::User => self.spare.first(),
        };
        let new = match (old, lane) {
            (Some(_), Some(lane)) => take_spare(lane),
            _ => self.take(old.is_some())?,
        };
        self.table.set_key(new, key);
        self.table.set_value(new, by, value, true);
        self.table.insert(new, hash);
        if let Some(old) = old {
            self.table.remove(old, hash);
            match lane {
                Some(lane) => lane.store(old + 1, Ordering::Release),
                None => self.pool.give_back(old),
            }
        }
        Ok(())
    }

    /// A slot for a new element, or for one that replaces another.
    fn take(&self, replaces: bool) -> Result<u32, Errno> {
        if !self.spare.is_empty() {
            return self.pool.take().ok_or(Errno::E2BIG);
        }
        if !replaces {
            let more = |count| (count < self.entries_max).then(|| count + 1);
            self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::E2BIG)?;
        }
        self.pool.take().ok_or_else(|| {
            self.count.fetch_sub(u32::from(!replaces), Ordering::Relaxed);
            Errno::ENOMEM
        })
    }

    /// Gives back the slot of an element that was taken out.
    fn give_back(&self, slot: u32) {
        if self.spare.is_empty() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.pool.give_back(slot);
    }

    fn remove_key(&self, key: &[u8], value: Option<&mut [u8]>) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let _lock = self.table.lock(hash);
        let slot = self.table.find(key, hash).ok_or(Errno::ENOENT)?;
        if let Some(value) = value {
            self.table.copy_value(slot, value);
        }
        self.table.remove(slot, hash);
        self.give_back(slot);
        Ok(())
    }
}

/// What all hash maps refuse.
pub(super) fn check_flags(flags: u64, percpu: bool) -> Result<(), Errno> {
    let lock = if percpu { 0 } else { BPF_F_LOCK };
    if flags & !lock > BPF_EXIST { Err(Errno::EINVAL) } else { Ok(()) }
}

pub(super) fn check_exists(old: Option<u32>, flags: u64) -> Result<(), Errno> {
    let flags = flags & !BPF_F_LOCK;
    match old {
        Some(_) if flags == BPF_NOEXIST => Err(Errno::EEXIST),
        None if flags == BPF_EXIST => Err(Errno::ENOENT),
        _ => Ok(()),
    }
}

/// Takes the spare slot of a CPU. It is only ever gone for as long as another thread's update on the same CPU takes.
fn take_spare(lane: &AtomicU32) -> u32 {
    loop {
        if let Some(slot) = lane.swap(0, Ordering::AcqRel).checked_sub(1) {
            return slot;
        }
        std::thread::yield_now();
    }
}

/// A batch of whole buckets, as the kernel hands them out: the cursor is a bucket's number.
pub(super) fn bucket_batch(
    table: &Table,
    cursor: Option<&[u8]>,
    room: u32,
    value_len: usize,
    mut taken: impl FnMut(u32, &mut [u8]),
    delete: Option<&dyn Fn(u32, u32)>,
) -> Batch {
    let mut batch = Batch::default();
    let from = cursor.and_then(|cursor| cursor.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    if from >= table.buckets() {
        return Batch { error: Some(Errno::ENOENT), ..batch };
    }
    let mut bucket = from;
    while bucket < table.buckets() {
        // Buckets are the low bits of hashes, and locks the low bits of buckets.
        let _lock = table.lock(bucket);
        let slots: Vec<u32> = table.chain(bucket).collect();
        if slots.len() as u32 > room - batch.count {
            batch.error = (batch.count == 0).then_some(Errno::ENOSPC);
            break;
        }
        for slot in slots {
            batch.keys.extend(table.key(slot));
            let at = batch.values.len();
            batch.values.resize(at + value_len, 0);
            taken(slot, &mut batch.values[at..]);
            batch.count += 1;
            if let Some(delete) = delete {
                delete(slot, bucket);
            }
        }
        bucket += 1;
        if bucket == table.buckets() {
            batch.error = Some(Errno::ENOENT);
        }
    }
    batch.cursor = bucket.to_ne_bytes().to_vec();
    batch
}

impl Ops for Hash {
    const BATCH: bool = true;
    const BATCH_DELETE: bool = true;

    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let slot = self.table.find(key, self.table.hash(key));
        Ok(slot.map(|slot| self.table.value_addr(slot, cpu)))
    }

    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.set(By::Program(cpu), key, value, flags)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        self.remove_key(key, None)
    }

    fn walk(&self, cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        let elem = |slot| Elem {
            key: ElemKey::Addr(self.table.key_addr(slot)),
            value: self.table.value_addr(slot, cpu),
        };
        Ok(self.table.walk(cursor).map(elem))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.next_key(key)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let _lock = self.table.lock(hash);
        let slot = self.table.find(key, hash).ok_or(Errno::ENOENT)?;
        self.table.copy_value(slot, value);
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.set(By::User, key, value, flags)
    }

    fn lock_value(&self, key: &[u8]) -> Result<Option<ValueLock<'_>>, Errno> {
        let slot = self.table.find(key, self.table.hash(key)).ok_or(Errno::ENOENT)?;
        self.table.lock_value(slot).map(Some)
    }

    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.remove_key(key, Some(value))
    }

    fn bucket_batch(&self, cursor: Option<&[u8]>, count: u32, delete: bool) -> Option<Batch> {
        let len = self.table.user_value_len(self.percpu);
        let remove = |slot, bucket| {
            self.table.remove(slot, bucket);
            self.give_back(slot);
        };
        let delete: Option<&dyn Fn(u32, u32)> = if delete { Some(&remove) } else { None };
        let copy = |slot, value: &mut [u8]| self.table.copy_value(slot, value);
        Some(bucket_batch(&self.table, cursor, count, len, copy, delete))
    }
}
