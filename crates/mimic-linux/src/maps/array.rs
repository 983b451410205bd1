//! ARRAY and PERCPU_ARRAY: values by index, all there from the start. Documentation/bpf/map_array.rst.

use super::fields::{Fields, Special, ValueLock};
use super::front::{LinuxMap, Ops};
use super::table::cpu_stride;
use super::{Maker, next_index, word};
use mimic_abi::uapi::map_flags::BPF_F_RDONLY_PROG;
use mimic_abi::uapi::update_flags::{BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST};
use mimic_abi::{ByteOrder, Errno};
use mimic_object::MapSpec;
use mimic_vm::memory::{Access, Layout, Part};
use mimic_vm::{ArrayLayout, Elem, ElemKey, Map, MapError, Region};
use std::sync::Arc;

/// `BPF_MAP_TYPE_ARRAY`.
pub struct Array {
    values: Values,
}

/// `BPF_MAP_TYPE_PERCPU_ARRAY`: each CPU's values lie together, on cache lines of their own.
pub struct PercpuArray {
    values: Values,
    cpus: u32,
}

/// Equal values in a row.
struct Values {
    region: Region,
    order: ByteOrder,
    entries: u32,
    value_len: u32,
    /// Bytes from one value to the next: the length rounded up to 8.
    stride: u32,
    /// Bytes from a CPU's values to those of the next.
    cpu_stride: u32,
    cpus: u32,
    fields: Fields,
}

/// The rights that programs have on values.
pub(super) fn value_access(spec: &MapSpec) -> Access {
    if spec.map_flags & BPF_F_RDONLY_PROG != 0 { Access::Read } else { Access::ReadWrite }
}

impl Array {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        let values = Values::new(maker, 1)?;
        let len = values.value_len as usize;
        Ok(LinuxMap::make(maker.spec, len, Array { values }))
    }

    /// Where the values are; value `i` at `i * value_size` rounded up to 8 bytes.
    pub fn region(&self) -> &Region {
        &self.values.region
    }
}

impl PercpuArray {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let cpus = maker.env.cpus;
        let values = Values::new(maker, cpus)?;
        let len = values.stride as usize * cpus as usize;
        Ok(LinuxMap::make(maker.spec, len, PercpuArray { values, cpus }))
    }
}

impl Values {
    fn new(maker: &Maker<'_>, cpus: u32) -> Result<Values, MapError> {
        let spec = maker.spec;
        let stride = spec.value_size.next_multiple_of(8);
        let part = Part { off: 0, len: spec.value_size, access: value_access(spec) };
        let layout = Layout::Slab { stride, parts: [part].into() };
        // Cannot overflow: the sizes are below 2^31, 2^32 and 2^10, and a per-CPU value has 2^15 bytes at most.
        let (cpu_stride, len) = match cpus {
            1 => (0, u64::from(stride) * u64::from(spec.max_entries)),
            cpus => {
                (cpu_stride(spec.max_entries, stride), cpu_stride(spec.max_entries, stride) * u64::from(cpus))
            }
        };
        let region = maker.region("value", len, layout)?;
        Ok(Values {
            region,
            order: maker.order(),
            entries: spec.max_entries,
            value_len: spec.value_size,
            stride,
            cpu_stride: cpu_stride as u32,
            cpus,
            fields: Fields::new(maker),
        })
    }

    /// The offset of the value of `key` for a CPU.
    #[inline]
    fn off(&self, cpu: u32, key: &[u8]) -> Result<Option<u32>, Errno> {
        let index = word(key, self.order)?;
        Ok((index < self.entries).then(|| self.at(cpu, index)))
    }

    #[inline]
    fn at(&self, cpu: u32, index: u32) -> u32 {
        cpu * self.cpu_stride + index * self.stride
    }

    /// The offset of the value that an update of `key` sets.
    fn off_to_set(&self, cpu: u32, key: &[u8], flags: u64) -> Result<u32, Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        let off = self.off(cpu, key)?.ok_or(Errno::E2BIG)?;
        if flags == BPF_NOEXIST { Err(Errno::EEXIST) } else { Ok(off) }
    }

    fn layout(&self) -> ArrayLayout {
        let Values { stride, cpu_stride, entries, .. } = *self;
        ArrayLayout { base: self.region.base(), stride, cpu_stride, entries }
    }

    fn set(&self, off: u32, value: &[u8]) {
        let value = &value[..value.len().min(self.value_len as usize)];
        self.fields.write(&self.region, off, value, Special::Freed);
    }

    fn lock(&self, off: u32) -> Result<ValueLock<'_>, Errno> {
        self.fields.lock(&self.region, off)
    }

    fn walk(&self, cpu: u32, cursor: &mut u64) -> Option<Elem> {
        let index = u32::try_from(*cursor).ok().filter(|index| *index < self.entries)?;
        *cursor += 1;
        let value = self.region.base() + u64::from(self.at(cpu, index));
        Some(Elem { key: ElemKey::Index(index), value })
    }
}

/// What values own goes with them.
impl Drop for Values {
    fn drop(&mut self) {
        if self.fields.own() {
            for cpu in 0..self.cpus {
                for index in 0..self.entries {
                    self.fields.free(&self.region, self.at(cpu, index));
                }
            }
        }
    }
}

impl Ops for Array {
    const BATCH: bool = true;

    #[inline]
    fn lookup(&self, _cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        Ok(self.values.off(0, key)?.map(|off| self.values.region.base() + u64::from(off)))
    }

    fn array_layout(&self) -> Option<ArrayLayout> {
        Some(self.values.layout())
    }

    fn update(&self, _cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        // The kernel looks at the index before it looks for a lock.
        let off = self.values.off_to_set(0, key, flags & !BPF_F_LOCK)?;
        let _lock = if flags & BPF_F_LOCK != 0 { Some(self.values.lock(off)?) } else { None };
        self.values.set(off, value);
        Ok(())
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn walk(&self, _cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        Ok(self.values.walk(0, cursor))
    }

    fn direct_value(&self, off: u32) -> Result<u64, Errno> {
        if self.values.entries != 1 {
            return Err(Errno::ENOTSUPP);
        }
        if off >= self.values.value_len {
            return Err(Errno::EINVAL);
        }
        Ok(self.values.region.base() + u64::from(off))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.values.entries, self.values.order)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let off = self.values.off(0, key)?.ok_or(Errno::ENOENT)?;
        self.values.fields.read(&self.values.region, off, value);
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.update(0, key, value, flags)
    }

    fn lock_value(&self, key: &[u8]) -> Result<Option<ValueLock<'_>>, Errno> {
        let off = self.values.off(0, key)?.ok_or(Errno::ENOENT)?;
        self.values.lock(off).map(Some)
    }
}

impl Ops for PercpuArray {
    const BATCH: bool = true;

    #[inline]
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let cpu = if cpu < self.cpus { cpu } else { return Ok(None) };
        Ok(self.values.off(cpu, key)?.map(|off| self.values.region.base() + u64::from(off)))
    }

    fn array_layout(&self) -> Option<ArrayLayout> {
        Some(self.values.layout())
    }

    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        // Programs get the answers of an array: the index is looked at before a lock, which per-CPU values cannot have.
        let off = self.values.off_to_set(cpu.min(self.cpus - 1), key, flags & !BPF_F_LOCK)?;
        if flags & BPF_F_LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.values.set(off, value);
        Ok(())
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn walk(&self, cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        Ok(self.values.walk(cpu.min(self.cpus - 1), cursor))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.values.entries, self.values.order)
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        for (cpu, value) in (0..).zip(value.chunks_mut(self.values.stride as usize)) {
            let off = self.values.off(cpu, key)?.ok_or(Errno::ENOENT)?;
            self.values.fields.read(&self.values.region, off, value);
        }
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        for (cpu, value) in (0..).zip(value.chunks(self.values.stride as usize)) {
            self.values.set(self.values.off_to_set(cpu, key, flags)?, value);
        }
        Ok(())
    }
}
