//! `LinuxMap`: a map type's operations behind the checks that bpf(2) makes for all types: rights, flags, sizes, freezing.
//!
//! The program side passes through untouched: there the verifier has checked. Mirrors bpf(2), `BPF_MAP_*_ELEM`.

use super::batch;
use super::fields::{ValueLock, has_lock};
use core::sync::atomic::{AtomicBool, Ordering};
use mimic_abi::uapi::map_flags::{BPF_F_RDONLY, BPF_F_WRONLY};
use mimic_abi::uapi::update_flags::BPF_F_LOCK;
use mimic_abi::{Errno, MapType};
use mimic_object::MapSpec;
use mimic_vm::{ArrayLayout, Batch, Elem, LoadedProgram, Map, MapRef, answer, bytes_16};
use std::sync::Arc;

/// A map of type `T`.
pub struct LinuxMap<T> {
    spec: MapSpec,
    /// Bytes of a value as users see it.
    user_value_len: usize,
    frozen: AtomicBool,
    ops: T,
}

/// What a map type does. The first half is the program side of [`Map`]. In the second half keys and values have the right lengths,
/// and the caller's rights were checked.
pub trait Ops: Send + Sync + 'static {
    /// `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH` work.
    const BATCH: bool = false;
    /// `BPF_MAP_DELETE_BATCH` works.
    const BATCH_DELETE: bool = false;

    /// See [`Map::lookup`].
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno>;

    /// See [`Map::gives_references`].
    fn gives_references(&self) -> bool {
        false
    }

    /// See [`Map::array_layout`].
    fn array_layout(&self) -> Option<ArrayLayout> {
        None
    }

    /// See [`Map::update`].
    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno>;

    /// See [`Map::delete`].
    fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), Errno>;

    /// See [`Map::push`].
    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// See [`Map::pop`].
    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// See [`Map::peek`].
    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// See [`Map::walk`].
    fn walk(&self, cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        let _ = (cpu, cursor);
        Err(Errno::EINVAL)
    }

    /// See [`Map::direct_value`].
    fn direct_value(&self, off: u32) -> Result<u64, Errno> {
        let _ = off;
        Err(Errno::ENOTSUPP)
    }

    /// See [`Map::next_key`].
    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno>;

    /// Copies the value of `key`; `value` is as long as users see values.
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno>;

    /// Sets the value of `key` from what users gave.
    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno>;

    /// Takes the spin lock of the value of `key`; none if the type's values can have no lock.
    fn lock_value(&self, key: &[u8]) -> Result<Option<ValueLock<'_>>, Errno> {
        let _ = key;
        Ok(None)
    }

    /// Removes `key` for a user.
    fn remove(&self, key: &[u8]) -> Result<(), Errno> {
        self.delete(0, key)
    }

    /// Removes `key` and copies its value.
    fn take(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let _ = (key, value);
        Err(Errno::ENOTSUPP)
    }

    /// See [`Map::lookup_batch`]; none if the type walks with `next_key` as most do.
    fn bucket_batch(&self, cursor: Option<&[u8]>, count: u32, delete: bool) -> Option<Batch> {
        let _ = (cursor, count, delete);
        None
    }

    /// See [`Map::set_map`].
    fn set_map(&self, key: &[u8], map: &Arc<MapRef>, flags: u64) -> Result<(), Errno> {
        let _ = (key, map, flags);
        Err(Errno::EINVAL)
    }

    /// See [`Map::set_program`].
    fn set_program(&self, key: &[u8], program: &Arc<LoadedProgram>, flags: u64) -> Result<(), Errno> {
        let _ = (key, program, flags);
        Err(Errno::EINVAL)
    }

    /// See [`Map::release`].
    fn release(&self) {}
}

impl<T: Ops> LinuxMap<T> {
    /// Puts the checks before `ops`. `user_value_len` is in bytes.
    pub(super) fn make(spec: &MapSpec, user_value_len: usize, ops: T) -> Arc<dyn Map> {
        let spec = spec.clone();
        Arc::new(LinuxMap { spec, user_value_len, frozen: AtomicBool::new(false), ops })
    }

    /// The map type's own operations, beside those of all maps.
    pub fn ops(&self) -> &T {
        &self.ops
    }

    fn check_read(&self) -> Result<(), Errno> {
        if self.spec.map_flags & BPF_F_WRONLY != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn check_write(&self) -> Result<(), Errno> {
        let barred = self.spec.map_flags & BPF_F_RDONLY != 0 || self.frozen.load(Ordering::Acquire);
        if barred { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Values with a `struct bpf_spin_lock` can be copied under it; maps made without BTF have none.
    fn check_lock(&self, flags: u64) -> Result<(), Errno> {
        if flags & BPF_F_LOCK != 0 && !has_lock(&self.spec) { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Errno> {
        if key.len() == self.spec.key_size as usize { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn check_value(&self, value: &[u8]) -> Result<(), Errno> {
        if value.len() == self.user_value_len { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn check_batch(&self, flags: u64, write: bool) -> Result<(), Errno> {
        if flags & !BPF_F_LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        if write {
            self.check_write()?
        } else {
            self.check_read()?
        }
        self.check_lock(flags)
    }
}

impl<T: Ops> Map for LinuxMap<T> {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        self.ops.lookup(cpu, key)
    }

    fn lookup_4(&self, cpu: u32, key: u32) -> u64 {
        answer(self.ops.lookup(cpu, &key.to_ne_bytes()))
    }

    fn lookup_8(&self, cpu: u32, key: u64) -> u64 {
        answer(self.ops.lookup(cpu, &key.to_ne_bytes()))
    }

    fn lookup_16(&self, cpu: u32, key: [u64; 2]) -> u64 {
        answer(self.ops.lookup(cpu, &bytes_16(key)))
    }

    fn gives_references(&self) -> bool {
        self.ops.gives_references()
    }

    fn array_layout(&self) -> Option<ArrayLayout> {
        self.ops.array_layout()
    }

    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.ops.update(cpu, key, value, flags)
    }

    fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), Errno> {
        self.ops.delete(cpu, key)
    }

    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        self.ops.push(value, flags)
    }

    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.ops.pop(value)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.ops.peek(value)
    }

    fn walk(&self, cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        self.ops.walk(cpu, cursor)
    }

    fn direct_value(&self, off: u32) -> Result<u64, Errno> {
        self.ops.direct_value(off)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.check_read()?;
        key.map_or(Ok(()), |key| self.check_key(key))?;
        self.ops.next_key(key)
    }

    fn lookup_copy(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        if flags & !BPF_F_LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.check_read()?;
        self.check_lock(flags)?;
        let mut value = vec![0; self.user_value_len];
        match self.spec.kind() {
            Ok(MapType::Queue | MapType::Stack) => self.ops.peek(&mut value)?,
            Ok(MapType::BloomFilter) => {
                self.check_value(key)?;
                value.copy_from_slice(key);
                self.ops.peek(&mut value)?;
            }
            _ => {
                self.check_key(key)?;
                let _lock = if flags & BPF_F_LOCK != 0 { self.ops.lock_value(key)? } else { None };
                self.ops.copy_out(key, &mut value)?;
            }
        }
        Ok(value)
    }

    fn update_copy(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.check_write()?;
        self.check_lock(flags)?;
        self.check_key(key)?;
        self.check_value(value)?;
        self.ops.copy_in(key, value, flags)
    }

    fn delete_key(&self, key: &[u8]) -> Result<(), Errno> {
        self.check_write()?;
        self.check_key(key)?;
        self.ops.remove(key)
    }

    fn lookup_and_delete(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        if flags & !BPF_F_LOCK != 0 {
            return Err(Errno::EINVAL);
        }
        self.check_read()?;
        self.check_write()?;
        self.check_lock(flags)?;
        self.check_key(key)?;
        let mut value = vec![0; self.user_value_len];
        match self.spec.kind() {
            Ok(MapType::Queue | MapType::Stack) => self.ops.pop(&mut value)?,
            _ => self.ops.take(key, &mut value)?,
        }
        Ok(value)
    }

    fn lookup_batch(&self, cursor: Option<&[u8]>, count: u32, flags: u64, delete: bool) -> Batch {
        let supported = if delete { T::BATCH_DELETE } else { T::BATCH };
        let checked = self.check_read().and_then(|()| if delete { self.check_write() } else { Ok(()) });
        let checked = checked.and(if supported { Ok(()) } else { Err(Errno::ENOTSUPP) });
        if let Err(errno) = checked.and_then(|()| self.check_batch(flags, delete)) {
            return Batch { error: Some(errno), ..Batch::default() };
        }
        if count == 0 {
            return Batch::default();
        }
        if let Some(batch) = self.ops.bucket_batch(cursor, count, delete) {
            return batch;
        }
        if delete {
            return Batch { error: Some(Errno::ENOTSUPP), ..Batch::default() };
        }
        batch::lookup(&self.ops, self.user_value_len, cursor, count)
    }

    fn update_batch(&self, keys: &[u8], values: &[u8], flags: u64) -> (u32, Result<(), Errno>) {
        let supported = if T::BATCH { Ok(()) } else { Err(Errno::ENOTSUPP) };
        let checked = self.check_write().and(supported).and_then(|()| self.check_batch(flags, true));
        let (key_len, value_len) = (self.spec.key_size as usize, self.user_value_len);
        let whole = keys.len().is_multiple_of(key_len.max(1))
            && keys.len() / key_len.max(1) * value_len == values.len();
        if let Err(errno) = checked.and(if whole { Ok(()) } else { Err(Errno::EINVAL) }) {
            return (0, Err(errno));
        }
        let pairs = keys.chunks(key_len.max(1)).zip(values.chunks(value_len.max(1)));
        batch::all(pairs, |(key, value)| self.ops.copy_in(key, value, flags))
    }

    fn delete_batch(&self, keys: &[u8], flags: u64) -> (u32, Result<(), Errno>) {
        let supported = if T::BATCH_DELETE { Ok(()) } else { Err(Errno::ENOTSUPP) };
        let checked = self.check_write().and(supported).and_then(|()| self.check_batch(flags, true));
        let key_len = (self.spec.key_size as usize).max(1);
        let whole = if keys.len().is_multiple_of(key_len) { Ok(()) } else { Err(Errno::EINVAL) };
        if let Err(errno) = checked.and(whole) {
            return (0, Err(errno));
        }
        batch::all(keys.chunks(key_len), |key| self.ops.remove(key))
    }

    fn freeze(&self) -> Result<(), Errno> {
        if !self.spec.fields.is_empty() {
            return Err(Errno::ENOTSUPP);
        }
        self.check_write()?;
        if self.frozen.swap(true, Ordering::AcqRel) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    fn set_map(&self, key: &[u8], map: &Arc<MapRef>, flags: u64) -> Result<(), Errno> {
        self.check_write()?;
        self.check_key(key)?;
        self.ops.set_map(key, map, flags)
    }

    fn set_program(&self, key: &[u8], program: &Arc<LoadedProgram>, flags: u64) -> Result<(), Errno> {
        self.check_write()?;
        self.check_key(key)?;
        self.ops.set_program(key, program, flags)
    }

    fn release(&self) {
        self.ops.release();
    }
}
