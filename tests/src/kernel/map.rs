//! A kernel map by descriptor, with the element and batch commands of bpf(2).

use std::os::fd::{AsRawFd, RawFd};

use mimic_abi::Errno;

use super::sys::{BatchCmd, MapAttr, MapFd, Mapping, ReadCmd, page_size};

/// `enum bpf_map_type`, with what bpf(2)'s callers must know of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapKind(pub u32);

/// A map in the kernel, closed when dropped.
#[derive(Debug)]
pub struct Map {
    fd: MapFd,
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// The CPUs that per-CPU values are kept for, whether they are there or not.
pub fn possible_cpus() -> usize {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = list.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map_or(1, |last| last + 1)
}

#[allow(missing_docs, reason = "the kernel's own names, BPF_MAP_TYPE_ left off")]
impl MapKind {
    pub const HASH: MapKind = MapKind(1);
    pub const ARRAY: MapKind = MapKind(2);
    pub const PROG_ARRAY: MapKind = MapKind(3);
    pub const PERF_EVENT_ARRAY: MapKind = MapKind(4);
    pub const PERCPU_HASH: MapKind = MapKind(5);
    pub const PERCPU_ARRAY: MapKind = MapKind(6);
    pub const CGROUP_ARRAY: MapKind = MapKind(8);
    pub const LRU_HASH: MapKind = MapKind(9);
    pub const LRU_PERCPU_HASH: MapKind = MapKind(10);
    pub const LPM_TRIE: MapKind = MapKind(11);
    pub const ARRAY_OF_MAPS: MapKind = MapKind(12);
    pub const HASH_OF_MAPS: MapKind = MapKind(13);
    pub const DEVMAP: MapKind = MapKind(14);
    pub const CPUMAP: MapKind = MapKind(16);
    pub const PERCPU_CGROUP_STORAGE: MapKind = MapKind(21);
    pub const QUEUE: MapKind = MapKind(22);
    pub const STACK: MapKind = MapKind(23);
    pub const DEVMAP_HASH: MapKind = MapKind(25);
    pub const RINGBUF: MapKind = MapKind(27);
    pub const BLOOM_FILTER: MapKind = MapKind(30);
    pub const USER_RINGBUF: MapKind = MapKind(31);
    pub const ARENA: MapKind = MapKind(33);
}

impl MapKind {
    /// Whether bpf(2) moves one value for each possible CPU.
    pub fn is_percpu(self) -> bool {
        [
            MapKind::PERCPU_HASH,
            MapKind::PERCPU_ARRAY,
            MapKind::LRU_PERCPU_HASH,
            MapKind::PERCPU_CGROUP_STORAGE,
        ]
        .contains(&self)
    }

    /// Whether a value is the descriptor of a map.
    pub fn is_map_of_maps(self) -> bool {
        [MapKind::ARRAY_OF_MAPS, MapKind::HASH_OF_MAPS].contains(&self)
    }
}

impl Map {
    /// BPF_MAP_CREATE.
    pub fn create(attr: &MapAttr) -> Result<Map, Errno> {
        let percpu = if MapKind(attr.map_type).is_percpu() { possible_cpus() } else { 0 };
        MapFd::create(attr, percpu).map(|fd| Map { fd })
    }

    /// What it was created with.
    pub fn attr(&self) -> &MapAttr {
        self.fd.attr()
    }

    /// Its type.
    pub fn kind(&self) -> MapKind {
        MapKind(self.attr().map_type)
    }

    /// Bytes of a value as bpf(2) moves it: all CPUs' of a per-CPU map, each rounded up to 8.
    pub fn value_len(&self) -> usize {
        self.fd.value_len()
    }

    /// BPF_MAP_LOOKUP_ELEM. Queues and stacks take no key (empty): the element that pop would yield.
    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.lookup_flags(key, 0)
    }

    /// BPF_MAP_LOOKUP_ELEM with flags (BPF_F_LOCK).
    pub fn lookup_flags(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_len()];
        self.fd.read(ReadCmd::Lookup, self.key(key), &mut value, flags)?;
        Ok(value)
    }

    /// BPF_MAP_LOOKUP_ELEM of a bloom filter: whether the value may be in it.
    pub fn may_contain(&self, value: &[u8]) -> Result<bool, Errno> {
        let mut value = value.to_vec();
        match self.fd.read(ReadCmd::Lookup, None, &mut value, 0) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// BPF_MAP_UPDATE_ELEM with BPF_ANY, BPF_NOEXIST, BPF_EXIST or BPF_F_LOCK.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.fd.update(self.key(key), value, flags)
    }

    /// BPF_MAP_UPDATE_ELEM of a map whose values are descriptors.
    pub fn update_fd(&self, key: &[u8], fd: RawFd) -> Result<(), Errno> {
        self.update(key, &fd.to_ne_bytes(), 0)
    }

    /// BPF_MAP_DELETE_ELEM.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.fd.delete(key)
    }

    /// BPF_MAP_LOOKUP_AND_DELETE_ELEM.
    pub fn lookup_and_delete(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.value_len()];
        self.fd.read(ReadCmd::LookupAndDelete, self.key(key), &mut value, flags)?;
        Ok(value)
    }

    /// BPF_MAP_GET_NEXT_KEY; the first key for `None`.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let mut next = vec![0; self.fd.key_len()];
        self.fd.read(ReadCmd::NextKey, key, &mut next, 0)?;
        Ok(next)
    }

    /// All keys, in the kernel's order. Ends at the first key twice seen, should the map change meanwhile.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let limit = self.attr().max_entries as usize + 1;
        loop {
            match self.next_key(keys.last().map(Vec::as_slice)) {
                Ok(key) if keys.len() < limit => keys.push(key),
                Ok(_) | Err(Errno::ENOENT) => return Ok(keys),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// All keys with their values, in the kernel's order; what can't be looked up (an empty slot of a map of maps) is left out.
    pub fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let keys = self.keys()?.into_iter();
        Ok(keys.filter_map(|key| self.lookup(&key).ok().map(|value| (key, value))).collect())
    }

    /// One of the batch commands; see [`MapFd::batch`].
    pub fn batch(
        &self,
        cmd: BatchCmd,
        token: Option<&mut Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
        flags: u64,
    ) -> (u32, Result<(), Errno>) {
        self.fd.batch(cmd, token, keys, values, flags)
    }

    /// BPF_MAP_FREEZE: no more writes by bpf(2).
    pub fn freeze(&self) -> Result<(), Errno> {
        self.fd.freeze()
    }

    /// The values of an array made with BPF_F_MMAPABLE, one every `value_size` rounded up to 8.
    pub fn mmap(&self, writable: bool) -> Result<Mapping, Errno> {
        let stride = (self.attr().value_size as usize).next_multiple_of(8);
        let len = (stride * self.attr().max_entries as usize).next_multiple_of(page_size());
        Mapping::new(self.as_raw_fd(), 0, len, writable)
    }

    /// The descriptor with its lengths.
    pub fn fd(&self) -> &MapFd {
        &self.fd
    }

    fn key<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        if key.is_empty() { None } else { Some(key) }
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
