//! QUEUE and STACK: values without keys. Documentation/bpf/map_queue_stack.rst.

use super::Maker;
use super::front::{LinuxMap, Ops};
use mimic_abi::Errno;
use mimic_abi::uapi::update_flags::{BPF_ANY, BPF_EXIST};
use mimic_vm::memory::Layout;
use mimic_vm::{Map, MapError, Region};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_QUEUE` and `BPF_MAP_TYPE_STACK`.
pub struct Queue {
    /// A ring of values. Programs get copies, never addresses.
    values: Region,
    value_len: u32,
    entries: u32,
    stack: bool,
    ends: Mutex<Ends>,
}

struct Ends {
    /// The oldest value's place.
    first: u32,
    count: u32,
}

impl Queue {
    pub(super) fn create(maker: &Maker<'_>, stack: bool) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let layout = Layout::Slab { stride: spec.value_size, parts: [].into() };
        let values =
            maker.region("value", u64::from(spec.value_size) * u64::from(spec.max_entries), layout)?;
        let ends = Mutex::new(Ends { first: 0, count: 0 });
        let queue = Queue { values, value_len: spec.value_size, entries: spec.max_entries, stack, ends };
        Ok(LinuxMap::make(spec, spec.value_size as usize, queue))
    }

    /// How many values are inside.
    pub fn count(&self) -> u32 {
        self.lock().count
    }

    /// Copies of all values, in the order in which they would be popped.
    pub fn values(&self) -> Vec<Vec<u8>> {
        let ends = self.lock();
        let value = |index| self.values.to_vec(self.at(&ends, index), self.value_len);
        let in_order = (0..ends.count).map(value);
        if self.stack { in_order.rev().collect() } else { in_order.collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset of the value at `index`, counted from the oldest.
    fn at(&self, ends: &Ends, index: u32) -> u32 {
        ((u64::from(ends.first) + u64::from(index)) % u64::from(self.entries)) as u32 * self.value_len
    }

    /// The next value, which is zeros if there is none.
    fn next(&self, value: &mut [u8], remove: bool) -> Result<(), Errno> {
        let mut ends = self.lock();
        if ends.count == 0 {
            value.fill(0);
            return Err(Errno::ENOENT);
        }
        let index = if self.stack { ends.count - 1 } else { 0 };
        let len = value.len().min(self.value_len as usize);
        self.values.read(self.at(&ends, index), &mut value[..len]);
        if remove {
            ends.count -= 1;
            if !self.stack {
                ends.first = (ends.first + 1) % self.entries;
            }
        }
        Ok(())
    }
}

impl Ops for Queue {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Ok(None)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    /// `BPF_EXIST` drops the oldest value of a full map.
    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != BPF_ANY && flags != BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        let mut ends = self.lock();
        if ends.count == self.entries {
            if flags != BPF_EXIST {
                return Err(Errno::E2BIG);
            }
            ends.first = (ends.first + 1) % self.entries;
            ends.count -= 1;
        }
        let len = value.len().min(self.value_len as usize);
        self.values.write(self.at(&ends, ends.count), &value[..len]);
        ends.count += 1;
        Ok(())
    }

    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.next(value, true)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.next(value, false)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }

    fn copy_out(&self, _key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.peek(value)
    }

    fn copy_in(&self, _key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.push(value, flags)
    }
}
