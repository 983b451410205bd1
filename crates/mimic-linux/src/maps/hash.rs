//! HASH and PERCPU_HASH. Documentation/bpf/map_hash.rst.
//!
//! As in the kernel, an update of a value makes a new element and drops the old one, whose bytes stay as they were until the
//! slot is used again (preallocated maps: by the next such update on the same CPU). Per-CPU values are set in place.

use super::count::Count;
use super::fields::ValueLock;
use super::front::{LinuxMap, Ops};
use super::pool::Pool;
use super::sync::{AtomicU32, Ordering, relax};
use super::table::{By, Locked, Table};
use super::{Maker, SLOTS_MAX};
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
    /// For each CPU a slot beside the others, for updates of what is there. None without preallocation.
    spare: Box<[Spare]>,
    /// How many more elements there may be, without preallocation; with it, the pool is as large as the map.
    count: Count,
}

/// A slot's number plus 1, on a cache line of its own.
#[repr(align(128))]
struct Spare(AtomicU32);

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
        let table = Table::new(maker, slots, percpu.then_some(cpus), spec.value_size)?;
        let pool = Pool::new(slots, cpus);
        let take = |cpu| Spare(AtomicU32::new(pool.take(cpu).map_or(0, |slot| slot + 1)));
        let spare = if prealloc { (0..cpus).map(take).collect() } else { [].into() };
        let len = table.user_value_len();
        let count = Count::new(spec.max_entries, cpus);
        Ok(LinuxMap::make(spec, len, Hash { table, pool, percpu, spare, count }))
    }

    fn set(&self, by: By, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        check_flags(flags, self.percpu)?;
        let locked = flags & BPF_F_LOCK != 0;
        if locked && !self.table.has_lock() {
            return Err(Errno::EINVAL);
        }
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        let old = bucket.find(key, hash);
        check_exists(old, flags)?;
        match old {
            Some(slot) if self.percpu => self.table.set_value(slot, by, value, false),
            Some(slot) if locked => {
                let _value_lock = self.table.lock_value(slot)?;
                self.table.keep_fields(slot, value);
            }
            Some(slot) => self.replace(&bucket, slot, hash, by, key, value)?,
            None => {
                let new = self.take(by.cpu())?;
                self.fill(new, by, key, value);
                bucket.insert(new, hash);
            }
        }
        Ok(())
    }

    /// Puts a new element in the place of one.
    fn replace(
        &self,
        bucket: &Locked<'_>,
        old: u32,
        hash: u32,
        by: By,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Errno> {
        let cpu = by.cpu();
        let spare = self.spare.get(cpu as usize).or(self.spare.first());
        let new = match spare {
            Some(spare) => spare.take(),
            None => self.pool.take(cpu).ok_or(Errno::ENOMEM)?,
        };
        self.fill(new, by, key, value);
        bucket.insert(new, hash);
        bucket.remove(old);
        match spare {
            Some(spare) => spare.give_back(old),
            None => self.pool.give_back(cpu, old),
        }
        Ok(())
    }

    fn fill(&self, slot: u32, by: By, key: &[u8], value: &[u8]) {
        self.table.set_key(slot, key);
        self.table.set_value(slot, by, value, true);
    }

    /// A slot for one more element.
    fn take(&self, cpu: u32) -> Result<u32, Errno> {
        if !self.spare.is_empty() {
            return self.pool.take(cpu).ok_or(Errno::E2BIG);
        }
        if !self.count.take(cpu) {
            return Err(Errno::E2BIG);
        }
        self.pool.take(cpu).ok_or_else(|| {
            self.count.give_back(cpu);
            Errno::ENOMEM
        })
    }

    /// Gives back the slot of an element that was taken out.
    fn give_back(&self, cpu: u32, slot: u32) {
        self.pool.give_back(cpu, slot);
        if self.spare.is_empty() {
            self.count.give_back(cpu);
        }
    }

    fn remove_key(&self, by: By, key: &[u8], value: Option<&mut [u8]>) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        let slot = bucket.find(key, hash).ok_or(Errno::ENOENT)?;
        if let Some(value) = value {
            self.table.copy_value(slot, value);
        }
        bucket.remove(slot);
        self.give_back(by.cpu(), slot);
        Ok(())
    }
}

impl Spare {
    /// It is only ever gone for as long as another thread's update on the same CPU takes.
    fn take(&self) -> u32 {
        let mut tries = 0;
        loop {
            if let Some(slot) = self.0.swap(0, Ordering::AcqRel).checked_sub(1) {
                return slot;
            }
            relax(tries);
            tries = tries.saturating_add(1);
        }
    }

    fn give_back(&self, slot: u32) {
        self.0.store(slot + 1, Ordering::Release);
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

/// Takes the element of a slot out of its bucket.
pub(super) type Remove<'a> = &'a dyn Fn(&Locked<'_>, u32);

/// A batch of whole buckets, as the kernel hands them out: the cursor is a bucket's number.
pub(super) fn bucket_batch(
    table: &Table,
    cursor: Option<&[u8]>,
    room: u32,
    value_len: usize,
    mut taken: impl FnMut(u32, &mut [u8]),
    delete: Option<Remove<'_>>,
) -> Batch {
    let mut batch = Batch::default();
    let from = cursor.and_then(|cursor| cursor.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    if from >= table.buckets() {
        return Batch { error: Some(Errno::ENOENT), ..batch };
    }
    let mut bucket = from;
    while bucket < table.buckets() {
        // Buckets are the low bits of hashes.
        let locked = table.lock(bucket);
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
                delete(&locked, slot);
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

    #[inline(always)]
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let slot = self.table.lookup(key);
        Ok(slot.map(|slot| self.table.value_addr(slot, cpu)))
    }

    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.set(By::Program(cpu), key, value, flags)
    }

    fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), Errno> {
        self.remove_key(By::Program(cpu), key, None)
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
        let bucket = self.table.lock(hash);
        let slot = bucket.find(key, hash).ok_or(Errno::ENOENT)?;
        self.table.copy_value(slot, value);
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.set(By::User, key, value, flags)
    }

    fn lock_value(&self, key: &[u8]) -> Result<Option<ValueLock<'_>>, Errno> {
        let slot = self.table.lookup(key).ok_or(Errno::ENOENT)?;
        self.table.lock_value(slot).map(Some)
    }

    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.remove_key(By::User, key, Some(value))
    }

    fn bucket_batch(&self, cursor: Option<&[u8]>, count: u32, delete: bool) -> Option<Batch> {
        let len = self.table.user_value_len();
        let remove = |bucket: &Locked<'_>, slot| {
            bucket.remove(slot);
            self.give_back(0, slot);
        };
        let delete: Option<Remove<'_>> = if delete { Some(&remove) } else { None };
        let copy = |slot, value: &mut [u8]| self.table.copy_value(slot, value);
        Some(bucket_batch(&self.table, cursor, count, len, copy, delete))
    }
}
