//! SK_STORAGE, TASK_STORAGE, INODE_STORAGE and CGRP_STORAGE: a value for each socket, task, inode or control group, which goes with it.
//! Documentation/bpf/map_sk_storage.rst, map_cgrp_storage.rst.
//!
//! To the kernel a user names the owner by a descriptor. Here users name it by what the descriptor stands for: a cookie, a pid, an inode's
//! number, a control group's id; who has descriptors looks the owner up and uses [`LocalStorage::copy`], [`LocalStorage::set`] and
//! [`LocalStorage::remove_of`].

use super::elements::{Elements, Slot};
use super::front::{LinuxMap, Ops};
use super::hash::{check_exists, check_flags};
use super::{Maker, word};
use crate::objects::ObjectKey;
use crate::world::Tables;
use mimic_abi::uapi::update_flags::{BPF_F_LOCK, BPF_NOEXIST};
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_vm::{Map, MapError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The four map types.
pub struct LocalStorage {
    owner: MapType,
    order: ByteOrder,
    tables: Arc<Tables>,
    store: Arc<Store>,
}

/// Values that go with things of the world.
pub(crate) trait Stored: Send + Sync {
    /// Removes an owner's values; false if there are none.
    fn drop_owner(&self, owner: ObjectKey) -> bool;
}

/// The values, by owner.
struct Store {
    elements: Elements,
    by_owner: Mutex<BTreeMap<ObjectKey, Slot>>,
}

impl LocalStorage {
    pub(super) fn create(maker: &Maker<'_>, owner: MapType) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let store = Arc::new(Store { elements: Elements::new(maker, 1), by_owner: Mutex::default() });
        maker.tables.add_store(&(store.clone() as Arc<dyn Stored>));
        let map = LocalStorage { owner, order: maker.order(), tables: maker.tables.clone(), store };
        Ok(LinuxMap::make(maker.spec, maker.spec.value_size as usize, map))
    }

    /// Programs: the address of the owner's value. If there is none and `create` says so, it is made: zeros, or a copy of what is given.
    pub fn value(&self, owner: ObjectKey, create: Option<Option<&[u8]>>) -> Result<Option<u64>, Errno> {
        let mut by_owner = self.store.lock();
        if let Some(slot) = by_owner.get(&owner) {
            return Ok(Some(self.store.elements.addr(slot, 0)));
        }
        let Some(value) = create else { return Ok(None) };
        let slot = self.store.elements.take()?;
        if let Some(value) = value {
            self.store.elements.write(&slot, 0, value);
        }
        let addr = self.store.elements.addr(&slot, 0);
        by_owner.insert(owner, slot);
        Ok(Some(addr))
    }

    /// Copies the owner's value.
    pub fn copy(&self, owner: ObjectKey, value: &mut [u8]) -> Result<(), Errno> {
        let by_owner = self.store.lock();
        self.store.elements.read(by_owner.get(&owner).ok_or(Errno::ENOENT)?, 0, value);
        Ok(())
    }

    /// Sets the owner's value, for a user: in a new element, unless `BPF_F_LOCK` says that it is the same.
    pub fn set(&self, owner: ObjectKey, value: &[u8], flags: u64) -> Result<(), Errno> {
        check_flags(flags, false)?;
        let mut by_owner = self.store.lock();
        let old = by_owner.get(&owner).cloned();
        check_exists(old.as_ref().map(|_| 0), flags)?;
        if let Some(slot) = old.as_ref().filter(|_| flags & BPF_F_LOCK != 0 && flags & BPF_NOEXIST == 0) {
            let _lock = self.store.elements.lock_value(slot)?;
            self.store.elements.write(slot, 0, value);
            return Ok(());
        }
        let slot = self.store.elements.take()?;
        self.store.elements.write(&slot, 0, value);
        by_owner.insert(owner, slot);
        if let Some(old) = old {
            self.store.elements.give_back(&old);
        }
        Ok(())
    }

    /// Removes the owner's value.
    pub fn remove_of(&self, owner: ObjectKey) -> Result<(), Errno> {
        if self.store.drop_owner(owner) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    /// What owns the values: the map's type.
    pub(crate) fn owner(&self) -> MapType {
        self.owner
    }

    /// The owner that a user's key names.
    fn named(&self, key: &[u8]) -> Result<ObjectKey, Errno> {
        let number = word(key, self.order)?;
        let (owner, known) = match self.owner {
            MapType::TaskStorage => (ObjectKey::Task(number), self.tables.tasks.has(number)),
            MapType::CgrpStorage => {
                (ObjectKey::Cgroup(number.into()), self.tables.cgroups.has(number.into()))
            }
            MapType::InodeStorage => (ObjectKey::Inode(number.into()), self.tables.inodes.has(number.into())),
            _ => (ObjectKey::Socket(number.into()), self.tables.sockets.has(number.into())),
        };
        if known { Ok(owner) } else { Err(Errno::EBADF) }
    }
}

impl Stored for Store {
    fn drop_owner(&self, owner: ObjectKey) -> bool {
        let slot = self.lock().remove(&owner);
        if let Some(slot) = &slot {
            self.elements.give_back(slot);
        }
        slot.is_some()
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Slot>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ops for LocalStorage {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.copy(self.named(key)?, value)
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.set(self.named(key)?, value, flags)
    }

    fn remove(&self, key: &[u8]) -> Result<(), Errno> {
        self.remove_of(self.named(key)?)
    }

    fn release(&self) {
        let mut by_owner = self.store.lock();
        for slot in core::mem::take(&mut *by_owner).values() {
            self.store.elements.give_back(slot);
        }
    }
}
