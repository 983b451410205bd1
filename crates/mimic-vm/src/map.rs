//! `Map`: what the VM and helpers ask of a map, in the kernel's words (`struct bpf_map_ops`), and `MapTable`: which map an address is.
//!
//! There are two sides, as in the kernel. Programs get *addresses of values in place*, for the CPU they run on. Users (the
//! facade, bpf(2), dumps) copy values, and see those of all CPUs at once.

use crate::memory::Memory;
use core::any::Any;
use mimic_abi::Errno;
use mimic_object::MapSpec;
use std::sync::Arc;

/// Bytes between the addresses of two maps' handles.
pub(crate) const MAP_HANDLE_LEN: u32 = 256;
/// The most maps in one VM.
pub const MAPS_MAX: u32 = 16384;

/// What a map is made with.
#[derive(Clone)]
pub struct MapEnv {
    /// The memory that its values live in.
    pub memory: Arc<Memory>,
    /// How many CPUs there are: per-CPU maps have a value for each.
    pub cpus: u32,
    /// The seed that hashes and such draw from, so that runs repeat.
    pub seed: u64,
}

/// The key of an element that a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElemKey {
    /// It lies in guest memory.
    Addr(u64),
    /// An array's index.
    Index(u32),
}

/// An element that a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elem {
    /// Its key.
    pub key: ElemKey,
    /// The address of its value, for the CPU asked for.
    pub value: u64,
}

/// A map. Operations that a type doesn't have keep their default, which is the kernel's answer for those types.
///
/// Keys and values are in guest byte order. Their lengths are the spec's, except where said otherwise.
pub trait Map: Any + Send + Sync {
    /// What it was made from.
    fn spec(&self) -> &MapSpec;

    /// Programs: the address of the value of `key`, or none. For per-CPU maps the one of `cpu`.
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let _ = (cpu, key);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: sets the value of `key`. `flags` are `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`, `BPF_F_LOCK`.
    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (cpu, key, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs and users: removes `key`.
    fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let _ = (cpu, key);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs and users: adds an element (queues, stacks, Bloom filters).
    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs and users: removes the next element into `value`.
    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs and users: copies the next element into `value`; a Bloom filter asks whether `value` is in it.
    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: the element after `cursor`, which begins at 0 and is the map's own. None at the end. Elements that stay are met once.
    fn walk(&self, cpu: u32, cursor: &mut u64) -> Result<Option<Elem>, Errno> {
        let _ = (cpu, cursor);
        Err(Errno::EINVAL)
    }

    /// Users: the key after `key`, or the first. `ENOENT` after the last.
    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let _ = key;
        Err(Errno::EOPNOTSUPP)
    }

    /// Users: a copy of the value of `key`; for per-CPU maps those of all CPUs, each rounded up to 8 bytes.
    fn lookup_copy(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let _ = (key, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Users: sets the value of `key`, in the form that `lookup_copy` gives.
    fn update_copy(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.update(0, key, value, flags)
    }

    /// Users: `lookup_copy` and `delete` in one.
    fn lookup_and_delete(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let _ = (key, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Users: no more changes from the user side (`BPF_MAP_FREEZE`).
    fn freeze(&self) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// The address of byte `off` of an array's first value, which `ld_imm64` of a global variable asks for.
    fn direct_value(&self, off: u32) -> Result<u64, Errno> {
        let _ = off;
        Err(Errno::EOPNOTSUPP)
    }

    /// Puts a map into slot `key` of a map of maps.
    fn set_map(&self, key: &[u8], map: &Arc<MapRef>, flags: u64) -> Result<(), Errno> {
        let _ = (key, map, flags);
        Err(Errno::EINVAL)
    }

    /// Puts a program into slot `key` of a map of programs.
    fn set_program(&self, key: &[u8], program: &Arc<crate::LoadedProgram>, flags: u64) -> Result<(), Errno> {
        let _ = (key, program, flags);
        Err(Errno::EINVAL)
    }
}

/// A map with its place in a VM.
pub struct MapRef {
    /// Its id, from 1.
    pub id: u32,
    /// The address by which programs know it.
    pub addr: u64,
    /// The map.
    pub map: Arc<dyn Map>,
}

impl core::ops::Deref for MapRef {
    type Target = dyn Map;

    fn deref(&self) -> &(dyn Map + 'static) {
        &*self.map
    }
}

/// All maps of a VM at one moment.
#[derive(Clone, Default)]
pub(crate) struct MapTable {
    pub(crate) base: u64,
    pub(crate) maps: Vec<Option<Arc<MapRef>>>,
    /// Goes up with each change.
    pub(crate) version: u64,
}

impl MapTable {
    /// The map whose handle is at `addr`.
    #[inline]
    pub(crate) fn at(&self, addr: u64) -> Option<&Arc<MapRef>> {
        let off = addr.wrapping_sub(self.base);
        if !off.is_multiple_of(u64::from(MAP_HANDLE_LEN)) {
            return None;
        }
        self.maps.get(usize::try_from(off / u64::from(MAP_HANDLE_LEN)).ok()?)?.as_ref()
    }
}
