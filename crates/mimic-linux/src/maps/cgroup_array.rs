//! CGROUP_ARRAY: control groups by index, to ask whether a task or socket is under one of them.
//!
//! A user's value is a descriptor of the group's directory; here it is the group's id, which the world must have.

use super::front::{LinuxMap, Ops};
use super::{Maker, next_index, no_descriptor, word};
use crate::world::Tables;
use core::sync::atomic::{AtomicU64, Ordering};
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::zeroed64;
use mimic_vm::{Map, MapError};
use std::sync::Arc;

/// `BPF_MAP_TYPE_CGROUP_ARRAY`.
pub struct CgroupArray {
    /// Ids; 0 for none.
    slots: Box<[AtomicU64]>,
    order: ByteOrder,
    tables: Arc<Tables>,
}

/// The most entries: of all arrays of descriptors that are kept in host memory.
const ENTRIES_MAX: u32 = 1 << 24;

impl CgroupArray {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let entries = maker.spec.max_entries;
        if entries > ENTRIES_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("cgroup arrays have {ENTRIES_MAX} entries at most"),
            ));
        }
        let (order, tables) = (maker.order(), maker.tables.clone());
        Ok(LinuxMap::make(maker.spec, 4, CgroupArray { slots: zeroed64(entries as usize), order, tables }))
    }

    /// The group at an index: `E2BIG` beyond the array, `EAGAIN` where none is.
    pub fn cgroup(&self, index: u32) -> Result<u64, Errno> {
        match self.slots.get(index as usize).ok_or(Errno::E2BIG)?.load(Ordering::Acquire) {
            0 => Err(Errno::EAGAIN),
            id => Ok(id),
        }
    }
}

impl Ops for CgroupArray {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let slot = self.slots.get(word(key, self.order)? as usize).ok_or(Errno::E2BIG)?;
        if slot.swap(0, Ordering::AcqRel) == 0 { Err(Errno::ENOENT) } else { Ok(()) }
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.slots.len() as u32, self.order)
    }

    fn copy_out(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let (index, id) = (word(key, self.order)?, u64::from(word(value, self.order)?));
        match self.slots.get(index as usize) {
            Some(slot) if flags == 0 && self.tables.cgroups.has(id) => {
                slot.store(id, Ordering::Release);
                Ok(())
            }
            _ => Err(no_descriptor(index, self.slots.len() as u32, flags)),
        }
    }
}
