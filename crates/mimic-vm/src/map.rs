//! `Map`: what the VM and helpers ask of a map, in the kernel's words (`struct bpf_map_ops`), and `MapTable`: which map an address is.
//!
//! There are two sides, as in the kernel. Programs get *addresses of values in place*, for the CPU they run on. Users (the
//! facade, bpf(2), dumps) copy values, and see those of all CPUs at once; the methods for them are bpf(2)'s commands.

use crate::arena::ArenaSpace;
use crate::memory::{Access, Bounds, Memory, MemoryError, Part};
use core::any::Any;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use mimic_abi::Errno;
use mimic_object::MapSpec;
use std::sync::Arc;

/// Bytes between the addresses of two maps' handles.
pub(crate) const MAP_HANDLE_LEN: u32 = 512;
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

/// Why a map cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapError {
    /// What bpf(2) `BPF_MAP_CREATE` answers.
    pub errno: Errno,
    /// What is wrong with which of the map's properties, or what is not there, and what would make it work.
    pub why: String,
}

impl MapError {
    /// An answer with its reason.
    pub fn new(errno: Errno, why: impl Into<String>) -> MapError {
        MapError { errno, why: why.into() }
    }
}

impl From<MemoryError> for MapError {
    fn from(error: MemoryError) -> MapError {
        MapError::new(Errno::ENOMEM, error.to_string())
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.why, self.errno)
    }
}

impl std::error::Error for MapError {}

/// The elements that a batch lookup came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: u32,
    /// Their keys, one after the other.
    pub keys: Vec<u8>,
    /// Their values, each as `lookup_copy` gives it.
    pub values: Vec<u8>,
    /// Where the next batch begins; empty if nothing was come to.
    pub cursor: Vec<u8>,
    /// `ENOENT` after the last element; other errors mean that the batch ended early.
    pub error: Option<Errno>,
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

/// How the values of an array lie in guest memory, for engines that find them by themselves: that of index `i` for CPU `c` is at
/// `base + c * cpu_stride + i * stride`. They never move. See [`Map::array_layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayLayout {
    /// The guest address of the value of index 0 for CPU 0.
    pub base: u64,
    /// Bytes from one value to the next.
    pub stride: u32,
    /// Bytes from a CPU's values to those of the next CPU; 0 if all CPUs share them.
    pub cpu_stride: u32,
    /// How many there are; keys from here on have no value.
    pub entries: u32,
}

/// A map. Operations that a type doesn't have keep their default, which is the kernel's answer for those types.
///
/// Keys and values are in guest byte order. Their lengths are the spec's, except where said otherwise.
pub trait Map: Any + Send + Sync {
    /// What it was made from.
    fn spec(&self) -> &MapSpec;

    /// Programs: the address of the value of `key`, or none. For per-CPU maps the one of `cpu`; for maps of maps the address of
    /// the map.
    fn lookup(&self, cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let _ = (cpu, key);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs get objects from it, which they have to give back: only the helper can look one up.
    fn gives_references(&self) -> bool {
        false
    }

    /// Programs: `lookup` of a key of 4 bytes, which are those of `key` in the host's byte order; answers what the helper returns: the
    /// address, 0, or a negated error number. For maps whose `key_size` is 4, and engines that have the key in a register.
    fn lookup_4(&self, cpu: u32, key: u32) -> u64 {
        answer(self.lookup(cpu, &key.to_ne_bytes()))
    }

    /// Programs: the same for a key of 8 bytes.
    fn lookup_8(&self, cpu: u32, key: u64) -> u64 {
        answer(self.lookup(cpu, &key.to_ne_bytes()))
    }

    /// Programs: the same for a key of 16 bytes, the first 8 in `key[0]`.
    fn lookup_16(&self, cpu: u32, key: [u64; 2]) -> u64 {
        answer(self.lookup(cpu, &bytes_16(key)))
    }

    /// Programs: where all values are, if keys are indexes and lookups have no effect but to find the address.
    fn array_layout(&self) -> Option<ArrayLayout> {
        None
    }

    /// Programs: sets the value of `key`. `flags` are `BPF_ANY`, `BPF_NOEXIST`, `BPF_EXIST`, `BPF_F_LOCK`.
    fn update(&self, cpu: u32, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (cpu, key, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: removes `key`.
    fn delete(&self, cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let _ = (cpu, key);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: adds an element (queues, stacks, Bloom filters).
    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: removes the next element into `value`.
    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        let _ = value;
        Err(Errno::EOPNOTSUPP)
    }

    /// Programs: copies the next element into `value`; a Bloom filter asks whether `value` is in it.
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
        Err(Errno::ENOTSUPP)
    }

    /// Users: a copy of the value of `key`; for per-CPU maps those of all CPUs, each rounded up to 8 bytes. Queues and stacks
    /// take an empty key and answer their next element; of a Bloom filter `key` is the value asked for.
    fn lookup_copy(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let _ = (key, flags);
        Err(Errno::ENOTSUPP)
    }

    /// Users: sets the value of `key`, in the form that `lookup_copy` gives. The key is empty for queues, stacks and Bloom filters.
    fn update_copy(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let _ = (key, value, flags);
        Err(Errno::ENOTSUPP)
    }

    /// Users: removes `key`.
    fn delete_key(&self, key: &[u8]) -> Result<(), Errno> {
        let _ = key;
        Err(Errno::ENOTSUPP)
    }

    /// Users: `lookup_copy` and `delete_key` in one.
    fn lookup_and_delete(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let _ = (key, flags);
        Err(Errno::ENOTSUPP)
    }

    /// Users: up to `count` elements from `cursor` (the last batch's) on, taken out if `delete`.
    fn lookup_batch(&self, cursor: Option<&[u8]>, count: u32, flags: u64, delete: bool) -> Batch {
        let _ = (cursor, count, flags, delete);
        Batch { error: Some(Errno::ENOTSUPP), ..Batch::default() }
    }

    /// Users: sets as many elements as `keys` and `values` hold; answers how many were set before an error.
    fn update_batch(&self, keys: &[u8], values: &[u8], flags: u64) -> (u32, Result<(), Errno>) {
        let _ = (keys, values, flags);
        (0, Err(Errno::ENOTSUPP))
    }

    /// Users: removes as many elements as `keys` holds; answers how many were removed before an error.
    fn delete_batch(&self, keys: &[u8], flags: u64) -> (u32, Result<(), Errno>) {
        let _ = (keys, flags);
        (0, Err(Errno::ENOTSUPP))
    }

    /// Users: no more changes from the user side (`BPF_MAP_FREEZE`).
    fn freeze(&self) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
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

    /// Users: fills a map that holds the variables of a section, from the start on.
    fn set_data(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.update_copy(&[0; 4], bytes, 0)
    }

    /// Where the pages of an arena are; none for maps of other types.
    fn arena(&self) -> Option<ArenaSpace> {
        None
    }

    /// The last user is gone: lets go of programs, which may hold this map in turn.
    fn release(&self) {}
}

/// What `bpf_map_lookup_elem` returns for the answer of a lookup.
#[inline]
pub fn answer(found: Result<Option<u64>, Errno>) -> u64 {
    match found {
        Ok(addr) => addr.unwrap_or(0),
        Err(errno) => errno.to_r0(),
    }
}

/// The bytes of a key of two words.
#[inline]
pub fn bytes_16([low, high]: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_ne_bytes());
    bytes[8..].copy_from_slice(&high.to_ne_bytes());
    bytes
}

/// A map with its place in a VM.
pub struct MapRef {
    /// Its id, from 1.
    pub id: u32,
    /// The address by which programs know it.
    pub addr: u64,
    /// Bytes of a key, as in its spec.
    pub key_size: u32,
    /// The map.
    pub map: Arc<dyn Map>,
    /// Its address names nothing any more.
    pub(crate) removed: AtomicBool,
}

impl core::ops::Deref for MapRef {
    type Target = dyn Map;

    #[inline]
    fn deref(&self) -> &(dyn Map + 'static) {
        &*self.map
    }
}

/// What of a map's handle programs can read: as much as the longest view that the emulator gave.
#[derive(Default)]
pub(crate) struct HandleBounds {
    pub(crate) view_len: AtomicU32,
}

impl Bounds for HandleBounds {
    fn object_at(&self, off: u32) -> Option<Part> {
        let at = off % MAP_HANDLE_LEN;
        let len = self.view_len.load(Ordering::Relaxed);
        (at < len).then_some(Part { off: off - at, len, access: Access::Read })
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
