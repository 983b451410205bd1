//! ARRAY_OF_MAPS and HASH_OF_MAPS: maps by index or key, all alike. Documentation/bpf/map_of_maps.rst.

use super::check;
use super::front::{LinuxMap, Ops};
use super::hash::{Remove, bucket_batch, check_exists, check_flags};
use super::pool::Pool;
use super::table::{Locked, Table};
use super::types::row;
use super::{Maker, SLOTS_MAX, next_index, no_descriptor, word, word_bytes};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use mimic_abi::uapi::map_flags::BPF_F_INNER_MAP;
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_object::MapSpec;
use mimic_vm::memory::zeroed64;
use mimic_vm::{Batch, Map, MapError, MapRef};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
pub struct ArrayOfMaps {
    slots: Slots,
    entries: u32,
}

/// `BPF_MAP_TYPE_HASH_OF_MAPS`.
pub struct HashOfMaps {
    slots: Slots,
    table: Table,
    pool: Pool,
    count: AtomicU32,
    entries: u32,
}

/// Maps by slot number. Lookups read the address alone.
struct Slots {
    addrs: Box<[AtomicU64]>,
    maps: Mutex<HashMap<u32, Arc<MapRef>>>,
    template: MapSpec,
    order: ByteOrder,
}

impl ArrayOfMaps {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        let entries = maker.spec.max_entries;
        let map = ArrayOfMaps { slots: Slots::new(maker, entries)?, entries };
        Ok(LinuxMap::make(maker.spec, 4, map))
    }

    /// The map at an index.
    pub fn map(&self, index: u32) -> Option<Arc<MapRef>> {
        self.slots.lock().get(&index).cloned()
    }

    fn index(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        Ok(Some(word(key, self.slots.order)?).filter(|index| *index < self.entries))
    }
}

impl HashOfMaps {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        let entries = maker.spec.max_entries;
        // One more than the map holds, so that the full map can replace.
        let room = entries.min(SLOTS_MAX - 1) + 1;
        let slots = Slots::new(maker, room)?;
        let table = Table::new(maker, room, None, 0)?;
        let map = HashOfMaps { slots, table, pool: Pool::new(room, 1), count: AtomicU32::new(0), entries };
        Ok(LinuxMap::make(maker.spec, 4, map))
    }

    /// The map of a key.
    pub fn map(&self, key: &[u8]) -> Option<Arc<MapRef>> {
        let slot = self.table.lookup(key)?;
        self.slots.lock().get(&slot).cloned()
    }
}

impl Slots {
    fn new(maker: &Maker<'_>, slots: u32) -> Result<Slots, MapError> {
        maker.check_not_shared()?;
        if slots > SLOTS_MAX {
            return Err(MapError::new(Errno::ENOMEM, format!("maps of maps have {SLOTS_MAX} slots at most")));
        }
        let why = "a map of maps needs a template of the maps that it holds (inner_map_fd)";
        let template = maker.spec.inner.as_deref().ok_or_else(|| MapError::new(Errno::EBADF, why))?;
        check_template(template)?;
        Ok(Slots {
            addrs: zeroed64(slots as usize),
            maps: Mutex::new(HashMap::new()),
            template: template.clone(),
            order: maker.order(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<MapRef>>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn addr(&self, slot: u32) -> Option<u64> {
        Some(self.addrs.get(slot as usize)?.load(Ordering::Acquire)).filter(|addr| *addr != 0)
    }

    fn set(&self, slot: u32, map: Option<&Arc<MapRef>>) -> Option<Arc<MapRef>> {
        let mut maps = self.lock();
        self.addrs[slot as usize].store(map.map_or(0, |map| map.addr), Ordering::Release);
        match map {
            Some(map) => maps.insert(slot, map.clone()),
            None => maps.remove(&slot),
        }
    }

    /// The id of the map in a slot.
    fn copy_id(&self, slot: u32, value: &mut [u8]) -> Result<(), Errno> {
        let id = self.lock().get(&slot).ok_or(Errno::ENOENT)?.id;
        value.copy_from_slice(&word_bytes(id, self.order));
        Ok(())
    }

    fn check(&self, map: &MapRef) -> Result<(), Errno> {
        if alike(&self.template, map.spec()) { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// Whether maps of this kind can be inside others.
fn check_template(template: &MapSpec) -> Result<(), MapError> {
    let kind = template.kind().map_err(|unknown| MapError::new(Errno::EINVAL, unknown.to_string()))?;
    if kind.is_map_of_maps() {
        return Err(MapError::new(Errno::EINVAL, "a map of maps cannot hold maps of maps"));
    }
    let unfit =
        [MapType::ProgArray, MapType::CgroupStorage, MapType::PercpuCgroupStorage, MapType::StructOps];
    if unfit.contains(&kind) {
        let why = format!("a map of maps cannot hold {} maps", kind.word());
        return Err(MapError::new(Errno::ENOTSUPP, why));
    }
    let row = row(kind).ok_or_else(|| MapError::new(Errno::EINVAL, "the template has no type"))?;
    check::properties(template, row)
        .map_err(|error| MapError::new(error.errno, format!("the template: {}", error.why)))
}

/// The kernel's `map_meta_equal`.
fn alike(template: &MapSpec, map: &MapSpec) -> bool {
    let same = |spec: &MapSpec| (spec.map_type, spec.key_size, spec.value_size, spec.map_flags);
    let sized = match template.kind() {
        Ok(MapType::Array) => template.map_flags & BPF_F_INNER_MAP == 0,
        Ok(MapType::Xskmap) => true,
        _ => false,
    };
    same(template) == same(map)
        && template.fields == map.fields
        && (!sized || template.max_entries == map.max_entries)
}

impl Ops for ArrayOfMaps {
    const BATCH: bool = true;

    fn lookup(&self, _cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        Ok(self.index(key)?.and_then(|index| self.slots.addr(index)))
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let index = self.index(key)?.ok_or(Errno::E2BIG)?;
        self.slots.set(index, None).map(|_| ()).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.entries, self.slots.order)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.slots.copy_id(self.index(key)?.ok_or(Errno::ENOENT)?, value)
    }

    /// A value is a descriptor, which only bpf(2) can resolve: maps are put in with `set_map`.
    fn copy_in(&self, key: &[u8], _value: &[u8], flags: u64) -> Result<(), Errno> {
        Err(no_descriptor(word(key, self.slots.order)?, self.entries, flags))
    }

    fn set_map(&self, key: &[u8], map: &Arc<MapRef>, flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let index = self.index(key)?.ok_or(Errno::E2BIG)?;
        self.slots.check(map)?;
        self.slots.set(index, Some(map));
        Ok(())
    }
}

impl Ops for HashOfMaps {
    const BATCH: bool = true;
    const BATCH_DELETE: bool = true;

    fn lookup(&self, _cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let slot = self.table.lookup(key);
        Ok(slot.and_then(|slot| self.slots.addr(slot)))
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        let slot = bucket.find(key, hash).ok_or(Errno::ENOENT)?;
        bucket.remove(slot);
        self.give_back(slot);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.table.next_key(key)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        self.slots.copy_id(bucket.find(key, hash).ok_or(Errno::ENOENT)?, value)
    }

    /// A value is a descriptor, which only bpf(2) can resolve: maps are put in with `set_map`.
    fn copy_in(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EBADF)
    }

    fn bucket_batch(&self, cursor: Option<&[u8]>, count: u32, delete: bool) -> Option<Batch> {
        let copy = |slot, value: &mut [u8]| {
            // Under the bucket's lock the slot holds a map.
            let _ = self.slots.copy_id(slot, value);
        };
        let remove = |bucket: &Locked<'_>, slot| {
            bucket.remove(slot);
            self.give_back(slot);
        };
        let delete: Option<Remove<'_>> = if delete { Some(&remove) } else { None };
        Some(bucket_batch(&self.table, cursor, count, 4, copy, delete))
    }

    fn set_map(&self, key: &[u8], map: &Arc<MapRef>, flags: u64) -> Result<(), Errno> {
        self.slots.check(map)?;
        check_flags(flags, true)?;
        let hash = self.table.hash(key);
        let bucket = self.table.lock(hash);
        let old = bucket.find(key, hash);
        check_exists(old, flags)?;
        if old.is_none() {
            let more = |count| (count < self.entries).then(|| count + 1);
            self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Errno::E2BIG)?;
        }
        let Some(new) = self.pool.take(0) else {
            self.count.fetch_sub(u32::from(old.is_none()), Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        };
        self.table.set_key(new, key);
        self.slots.set(new, Some(map));
        bucket.insert(new, hash);
        if let Some(old) = old {
            bucket.remove(old);
            self.slots.set(old, None);
            self.pool.give_back(0, old);
        }
        Ok(())
    }
}

impl HashOfMaps {
    /// Gives back the slot of a key that was taken out.
    fn give_back(&self, slot: u32) {
        self.slots.set(slot, None);
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.pool.give_back(0, slot);
    }
}
