//! CGROUP_STORAGE and PERCPU_CGROUP_STORAGE: a value for each control group that a program is attached to.
//! Documentation/bpf/map_cgroup_storage.rst.
//!
//! An element is there from when a program that uses the map is attached to the group, here: first run there ([`crate::Attach::cgroup`]). A
//! program that is attached nowhere has one that no user sees, as in `BPF_PROG_TEST_RUN`, where it begins as zeros.

use super::Maker;
use super::elements::{Elements, Slot};
use super::front::{LinuxMap, Ops};
use super::local_storage::Stored;
use crate::objects::ObjectKey;
use mimic_abi::uapi::update_flags::{BPF_EXIST, BPF_F_LOCK};
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::{Map, MapError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The two map types.
pub struct CgroupStorage {
    values: Arc<Values>,
    percpu: bool,
    /// Keys have the attach type too.
    by_attach_type: bool,
    order: ByteOrder,
}

struct Values {
    elements: Elements,
    /// In the order in which they were made; few.
    slots: Mutex<Vec<(Attached, Slot)>>,
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The control group's id; 0 for a program that is attached to none.
    pub cgroup: u64,
    /// The attach type; 0 if the map does not tell them apart.
    pub attach_type: u32,
}

/// Bytes of `struct bpf_cgroup_storage_key`, and those of it that are not padding.
const KEY_LEN: u32 = 16;
const KEY_USED: usize = 12;

impl CgroupStorage {
    pub(super) fn create(maker: &Maker<'_>, percpu: bool) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let values = if percpu { maker.env.cpus } else { 1 };
        let elements = Elements::new(maker, values);
        let len = if percpu { elements.value_stride * values } else { elements.value_len };
        let values = Arc::new(Values { elements, slots: Mutex::default() });
        maker.tables.add_store(&(values.clone() as Arc<dyn Stored>));
        let by_attach_type = maker.spec.key_size == KEY_LEN;
        let map = CgroupStorage { values, percpu, by_attach_type, order: maker.order() };
        Ok(LinuxMap::make(maker.spec, len as usize, map))
    }

    /// The address of the value of a program that is attached there, for the CPU if it has one for each.
    pub fn value(&self, attached: Attached, cpu: u32) -> Result<u64, Errno> {
        let attached = self.place(attached);
        let value = if self.percpu { cpu } else { 0 };
        let mut slots = self.values.lock();
        if let Some((_, slot)) = slots.iter().find(|(known, _)| *known == attached) {
            return Ok(self.values.elements.addr(slot, value));
        }
        let slot = self.values.elements.take()?;
        let addr = self.values.elements.addr(&slot, value);
        slots.push((attached, slot));
        Ok(addr)
    }

    fn place(&self, attached: Attached) -> Attached {
        Attached { attach_type: if self.by_attach_type { attached.attach_type } else { 0 }, ..attached }
    }

    fn slot(&self, key: &[u8]) -> Result<Slot, Errno> {
        let wanted = &key[..key.len().min(KEY_USED)];
        let slots = self.values.lock();
        let found = slots.iter().filter(visible).find(|(known, _)| self.key(*known).starts_with(wanted));
        found.map(|(_, slot)| slot.clone()).ok_or(Errno::ENOENT)
    }

    fn key(&self, attached: Attached) -> Vec<u8> {
        let (cgroup, kind) = match self.order {
            ByteOrder::Little => (attached.cgroup.to_le_bytes(), attached.attach_type.to_le_bytes()),
            ByteOrder::Big => (attached.cgroup.to_be_bytes(), attached.attach_type.to_be_bytes()),
        };
        let mut key = cgroup.to_vec();
        if self.by_attach_type {
            key.extend(kind);
            key.resize(KEY_LEN as usize, 0);
        }
        key
    }
}

impl Values {
    fn lock(&self) -> MutexGuard<'_, Vec<(Attached, Slot)>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stored for Values {
    /// A group is gone, and its values: of all attach types.
    fn drop_owner(&self, owner: ObjectKey) -> bool {
        let ObjectKey::Cgroup(id) = owner else { return false };
        let gone: Vec<_> = self.lock().extract_if(.., |(attached, _)| attached.cgroup == id).collect();
        gone.iter().for_each(|(_, slot)| self.elements.give_back(slot));
        !gone.is_empty()
    }
}

/// Whether users see the element.
fn visible(element: &&(Attached, Slot)) -> bool {
    element.0.cgroup != 0
}

impl Ops for CgroupStorage {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let slots = self.values.lock();
        let mut keys = slots.iter().filter(visible).map(|(attached, _)| self.key(*attached));
        match key {
            None => keys.next(),
            Some(key) => {
                let wanted = &key[..key.len().min(KEY_USED)];
                keys.find(|known| known.starts_with(wanted)).and_then(|_| keys.next())
            }
        }
        .ok_or(Errno::ENOENT)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let slot = self.slot(key)?;
        let stride = self.values.elements.value_stride as usize;
        for (number, part) in (0..).zip(value.chunks_mut(stride)) {
            let len = part.len().min(self.values.elements.value_len as usize);
            self.values.elements.read(&slot, number, &mut part[..len]);
        }
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let known = if self.percpu { BPF_EXIST } else { BPF_EXIST | BPF_F_LOCK };
        if flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let slot = self.slot(key)?;
        let _lock =
            if flags & BPF_F_LOCK != 0 { Some(self.values.elements.lock_value(&slot)?) } else { None };
        let stride = self.values.elements.value_stride as usize;
        for (number, part) in (0..).zip(value.chunks(stride)) {
            let len = part.len().min(self.values.elements.value_len as usize);
            self.values.elements.write(&slot, number, &part[..len]);
        }
        Ok(())
    }

    fn release(&self) {
        for (_, slot) in self.values.lock().drain(..) {
            self.values.elements.give_back(&slot);
        }
    }
}
