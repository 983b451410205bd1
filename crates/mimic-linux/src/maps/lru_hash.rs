//! LRU_HASH and LRU_PERCPU_HASH: hash maps that drop what was not used of late when they are full.
//! Documentation/bpf/map_hash.rst.

use super::front::{LinuxMap, Ops};
use super::hash::{Remove, bucket_batch, check_exists};
use super::lru::Lru;
use super::table::{By, Locked, Table};
use super::{Maker, SLOTS_MAX};
use mimic_abi::Errno;
use mimic_abi::uapi::map_flags::BPF_F_NO_COMMON_LRU;
use mimic_abi::uapi::update_flags::BPF_EXIST;
use mimic_vm::{Batch, Elem, ElemKey, Map, MapError};
use std::sync::Arc;

/// `BPF_MAP_TYPE_LRU_HASH` and `BPF_MAP_TYPE_LRU_PERCPU_HASH`.
pub struct LruHash {
    table: Table,
    lru: Lru,
    percpu: bool,
}

impl LruHash {
    pub(super) fn create(maker: &Maker<'_>, percpu: bool) -> Result<Arc<dyn Map>, MapError> {
        let (spec, cpus) = (maker.spec, maker.env.cpus);
        let common = spec.map_flags & BPF_F_NO_COMMON_LRU == 0;
        if spec.max_entries > SLOTS_MAX - cpus {
            let why = format!("LRU maps have {} elements at most", SLOTS_MAX - cpus);
            return Err(MapError::new(Errno::ENOMEM, why));
        }
        // With lists of their own, all CPUs have equally many elements.
        let slots = if common { spec.max_entries } else { spec.max_entries.next_multiple_of(cpus) };
        let table = Table::new(maker, slots, percpu.then_some(cpus), spec.value_size)?;
        let len = table.user_value_len();
        let map = LruHash { table, lru: Lru::new(slots, cpus, common), percpu };
        Ok(LinuxMap::make(spec, len, map))
    }

    fn set(&self, by: By, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        let hash = self.table.hash(key);
        // Before the bucket's lock: making room needs other buckets'. That a full map drops an element even if this update then fails, or
        // replaces what is there, is the kernel's way.
        let mut new = None;
        if !(self.percpu && flags == BPF_EXIST) {
            let evict = |slot, hash| self.table.lock(hash).remove(slot);
            let slot = self.lru.take(by.cpu(), hash, &evict).ok_or(Errno::ENOMEM)?;
            self.table.set_key(slot, key);
            if !self.percpu {
                self.table.set_value(slot, by, value, true);
            }
            new = Some(slot);
        }
        let bucket = self.table.lock(hash);
        let old = bucket.find(key, hash);
        let checked = check_exists(old, flags);
        let unused = match (checked, old, new) {
            (Err(_), _, new) => new,
            (Ok(()), Some(old), new) if self.percpu => {
                self.lru.touch(old);
                self.table.set_value(old, by, value, false);
                new
            }
            (Ok(()), old, Some(new)) => {
                self.table.set_value(new, by, value, true);
                bucket.insert(new, hash);
                if let Some(old) = old {
                    self.lru.touch(new);
                    bucket.remove(old);
                }
                old
            }
            (Ok(()), _, None) => None,
        };
        drop(bucket);
        if let Some(unused) = unused {
            self.lru.give_back(unused);
        }
        checked
    }

    fn remove_key(&self, key: &[u8], value: Option<&mut [u8]>) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        let slot = bucket.find(key, hash).ok_or(Errno::ENOENT)?;
        if let Some(value) = value {
            self.table.copy_value(slot, value);
        }
        bucket.remove(slot);
        drop(bucket);
        self.lru.give_back(slot);
        Ok(())
    }
}

impl Ops for LruHash {
    const BATCH: bool = true;
    const BATCH_DELETE: bool = true;

    #[inline(always)]
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let Some(slot) = self.table.lookup(key) else { return Ok(None) };
        self.lru.touch(slot);
        Ok(Some(self.table.value_addr(slot, cpu)))
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

    /// A look from outside is no use.
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

    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.remove_key(key, Some(value))
    }

    fn bucket_batch(&self, cursor: Option<&[u8]>, count: u32, delete: bool) -> Option<Batch> {
        let len = self.table.user_value_len();
        let removed = std::cell::RefCell::new(Vec::new());
        let remove = |bucket: &Locked<'_>, slot| {
            bucket.remove(slot);
            removed.borrow_mut().push(slot);
        };
        let delete: Option<Remove<'_>> = if delete { Some(&remove) } else { None };
        let copy = |slot, value: &mut [u8]| self.table.copy_value(slot, value);
        let batch = bucket_batch(&self.table, cursor, count, len, copy, delete);
        // After the buckets' locks: the LRU's comes first.
        for slot in removed.into_inner() {
            self.lru.give_back(slot);
        }
        Some(batch)
    }
}
