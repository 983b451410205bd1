//! Linux's map types. `types` has their rows, `front` the checks that all share; a file each has what they do.
//!
//! Values lie in guest memory, where programs use them in place; what leads to them (hash buckets, tries, free lists) lies in
//! host memory, where no program reaches it. Memory of an element that was deleted is used again, never given back while the
//! map lives: a program that still has its address sees old or new bytes, as in the kernel.

mod arena;
mod array;
mod batch;
mod bloom;
mod cgroup_array;
mod cgroup_storage;
mod chains;
mod check;
mod count;
mod elements;
mod fields;
mod front;
mod hash;
mod hasher;
mod lists;
mod local_storage;
mod lpm;
mod lru;
mod lru_hash;
mod map_of_maps;
mod page_ranges;
mod perf;
mod pool;
mod prog_array;
mod queue;
mod redirect;
mod reservations;
mod ringbuf;
mod sockets;
pub(crate) mod stack_trace;
mod struct_ops;
mod sync;
mod table;
mod types;
mod user_ringbuf;
pub(crate) mod view;

pub use arena::{ARENA_PAGES_MAX, Arena};
pub use array::{Array, PercpuArray};
pub use bloom::BloomFilter;
pub use cgroup_array::CgroupArray;
pub use cgroup_storage::{Attached, CgroupStorage};
pub use front::{LinuxMap, Ops};
pub use hash::Hash;
pub use local_storage::LocalStorage;
pub(crate) use local_storage::Stored;
pub use lpm::LpmTrie;
pub use lru_hash::LruHash;
pub use map_of_maps::{ArrayOfMaps, HashOfMaps};
pub use perf::{PerfEventArray, PerfSample};
pub use prog_array::ProgArray;
pub use queue::Queue;
pub use redirect::{RedirectMap, Target, redirect_map};
pub(crate) use ringbuf::{FORCE_WAKEUP, NO_WAKEUP};
pub use ringbuf::{Ringbuf, RingbufPos};
pub use sockets::SocketMap;
pub(crate) use sockets::{Claim, socket_map, takes_redirected};
pub use stack_trace::StackTrace;
pub(crate) use struct_ops::OpsName;
pub use struct_ops::{StructOpsMap, StructOpsState};
pub use types::{ROWS, row};
pub use user_ringbuf::{Sample, UserRingbuf};

use crate::Heap;
use crate::world::{Tables, World};
use mimic_abi::{ByteOrder, Errno, MapType, Support};
use mimic_object::MapSpec;
use mimic_vm::memory::{Layout, PAGE_LEN};
use mimic_vm::{Map, MapEnv, MapError, MemoryError, Region};
use std::sync::Arc;

/// The most elements that are found by other means than their index.
const SLOTS_MAX: u32 = 1 << 24;

/// What CPUs write to lies so many bytes apart, so that they do not wait for each other's caches.
const CACHE_LINE: u32 = 64;

/// Makes a map, or answers as bpf(2) `BPF_MAP_CREATE` does.
pub fn create(spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, MapError> {
    create_with(spec, env, &Arc::default(), &Arc::new(Tables::new(&World::default())))
}

/// The same, for maps whose values can own objects of a heap, or belong to things of a world.
pub(crate) fn create_with(
    spec: &MapSpec,
    env: &MapEnv,
    heap: &Arc<Heap>,
    tables: &Arc<Tables>,
) -> Result<Arc<dyn Map>, MapError> {
    create_in(&Maker { spec, env, heap, tables, backing: Backing::Guest })
}

/// Makes an array, ring buffer or user ring buffer whose memory is a file's (a memfd), from the file's start on, in the layout
/// in which bpf(2) lets users map such maps: values every `value_size` rounded up to 8 bytes; consumer page, producer page,
/// data. The file must be long enough ([`shared_len`]): touching pages beyond its end kills the process.
#[cfg(all(unix, target_pointer_width = "64"))]
pub fn create_shared(
    spec: &MapSpec,
    env: &MapEnv,
    file: std::os::fd::BorrowedFd<'_>,
) -> Result<Arc<dyn Map>, MapError> {
    let tables = Arc::new(Tables::new(&World::default()));
    create_in(&Maker { spec, env, heap: &Arc::default(), tables: &tables, backing: Backing::File(file) })
}

/// Bytes that the file of a map made with `create_shared` must have; none for types that cannot be shared.
pub fn shared_len(spec: &MapSpec) -> Option<u64> {
    let page = u64::from(PAGE_LEN);
    match spec.kind().ok()? {
        MapType::Array => {
            let bytes = u64::from(spec.value_size).next_multiple_of(8) * u64::from(spec.max_entries);
            Some(bytes.next_multiple_of(page))
        }
        MapType::Ringbuf | MapType::UserRingbuf => Some(2 * page + 2 * u64::from(spec.max_entries)),
        _ => None,
    }
}

/// What libbpf changes in an object's map before it asks for it: one perf event buffer per CPU, ring buffers of whole pages.
pub fn prepare(spec: &mut MapSpec, env: &MapEnv) {
    match spec.kind() {
        Ok(MapType::PerfEventArray) if spec.max_entries == 0 => spec.max_entries = env.cpus,
        Ok(MapType::Ringbuf | MapType::UserRingbuf) if spec.max_entries > 0 => {
            let entries = spec.max_entries.max(PAGE_LEN);
            spec.max_entries = entries.checked_next_power_of_two().unwrap_or(spec.max_entries);
        }
        Ok(MapType::ArrayOfMaps | MapType::HashOfMaps) => {
            if let Some(inner) = &mut spec.inner {
                prepare(inner, env);
            }
        }
        _ => {}
    }
}

fn create_in(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
    let spec = maker.spec;
    let kind = spec.kind().map_err(|unknown| MapError::new(Errno::EINVAL, unknown.to_string()))?;
    let row = row(kind).ok_or_else(|| MapError::new(Errno::EINVAL, "the map has no type"))?;
    if let Support::Refused(why) = row.support {
        let why = format!("maps of type {} are not supported: {why}", kind.word());
        return Err(MapError::new(Errno::EINVAL, why));
    }
    check::properties(spec, row)?;
    match kind {
        MapType::Array => Array::create(maker),
        MapType::PercpuArray => PercpuArray::create(maker),
        MapType::Hash => Hash::create(maker, false),
        MapType::PercpuHash => Hash::create(maker, true),
        MapType::LruHash => LruHash::create(maker, false),
        MapType::LruPercpuHash => LruHash::create(maker, true),
        MapType::LpmTrie => LpmTrie::create(maker),
        MapType::Queue => Queue::create(maker, false),
        MapType::StackTrace => StackTrace::create(maker),
        MapType::Stack => Queue::create(maker, true),
        MapType::BloomFilter => BloomFilter::create(maker),
        MapType::ArrayOfMaps => ArrayOfMaps::create(maker),
        MapType::HashOfMaps => HashOfMaps::create(maker),
        MapType::PerfEventArray => PerfEventArray::create(maker),
        MapType::Devmap | MapType::DevmapHash | MapType::Cpumap | MapType::Xskmap => {
            RedirectMap::create(maker, kind)
        }
        MapType::Sockmap | MapType::Sockhash | MapType::ReuseportSockarray => SocketMap::create(maker, kind),
        MapType::CgroupArray => CgroupArray::create(maker),
        MapType::SkStorage | MapType::TaskStorage | MapType::InodeStorage | MapType::CgrpStorage => {
            LocalStorage::create(maker, kind)
        }
        MapType::CgroupStorage => CgroupStorage::create(maker, false),
        MapType::PercpuCgroupStorage => CgroupStorage::create(maker, true),
        MapType::Arena => Arena::create(maker),
        MapType::ProgArray => ProgArray::create(maker),
        MapType::Ringbuf => Ringbuf::create(maker),
        MapType::UserRingbuf => UserRingbuf::create(maker),
        MapType::StructOps => StructOpsMap::create(maker),
        _ => {
            let why = format!("maps of type {} are not there yet", kind.word());
            Err(MapError::new(Errno::EINVAL, why))
        }
    }
}

/// Where a map's values are.
#[derive(Clone, Copy)]
enum Backing<'a> {
    /// In guest memory of their own.
    Guest,
    /// In a file that is mapped into guest memory.
    #[cfg(all(unix, target_pointer_width = "64"))]
    File(std::os::fd::BorrowedFd<'a>),
    #[cfg(not(all(unix, target_pointer_width = "64")))]
    #[allow(dead_code, reason = "keeps the lifetime where there are no files to share")]
    None(core::marker::PhantomData<&'a ()>),
}

/// What constructors get.
struct Maker<'a> {
    spec: &'a MapSpec,
    env: &'a MapEnv,
    heap: &'a Arc<Heap>,
    tables: &'a Arc<Tables>,
    backing: Backing<'a>,
}

impl Maker<'_> {
    /// Guest memory for the map. `what` is shown in faults after the map's name.
    fn region(&self, what: &str, len: u64, layout: Layout) -> Result<Region, MapError> {
        let name = self.name(what);
        let full = || MemoryError::Full { name: name.clone(), len, bytes_max: u64::from(u32::MAX) };
        let len = u32::try_from(len).ok().filter(|len| *len <= u32::MAX - PAGE_LEN).ok_or_else(full)?;
        let memory = &self.env.memory;
        Ok(match self.backing {
            Backing::Guest => memory.allocate(&name, len, layout)?,
            #[cfg(all(unix, target_pointer_width = "64"))]
            Backing::File(file) => memory.map_shared(&name, len, layout, file, 0)?,
            #[cfg(not(all(unix, target_pointer_width = "64")))]
            Backing::None(_) => memory.allocate(&name, len, layout)?,
        })
    }

    /// What regions of the map are called in faults.
    fn name(&self, what: &str) -> String {
        let kind = self.spec.kind().map_or("map", MapType::word);
        let name = if self.spec.name.is_empty() { kind } else { &self.spec.name };
        format!("{name} {what}")
    }

    fn order(&self) -> ByteOrder {
        self.env.memory.order()
    }

    /// For types that live in host memory too, and so cannot be shared.
    fn check_not_shared(&self) -> Result<(), MapError> {
        match self.backing {
            Backing::Guest => Ok(()),
            _ => Err(MapError::new(Errno::EINVAL, "only arrays and ring buffers can lie in a shared file")),
        }
    }
}

/// The number in a key or value of four bytes.
fn word(bytes: &[u8], order: ByteOrder) -> Result<u32, Errno> {
    let bytes = *bytes.first_chunk().ok_or(Errno::EINVAL)?;
    Ok(match order {
        ByteOrder::Little => u32::from_le_bytes(bytes),
        ByteOrder::Big => u32::from_be_bytes(bytes),
    })
}

/// The four bytes of a number.
fn word_bytes(word: u32, order: ByteOrder) -> [u8; 4] {
    match order {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    }
}

/// The answer to a user who sets a slot of an array to a descriptor where there are none.
fn no_descriptor(index: u32, entries: u32, flags: u64) -> Errno {
    match () {
        () if flags != 0 => Errno::EINVAL,
        () if index >= entries => Errno::E2BIG,
        () => Errno::EBADF,
    }
}

/// The key after `key` in a map whose keys are the numbers below `entries`.
fn next_index(key: Option<&[u8]>, entries: u32, order: ByteOrder) -> Result<Vec<u8>, Errno> {
    let next = match key.map(|key| word(key, order)).transpose()? {
        Some(index) if index < entries => index + 1,
        _ => 0,
    };
    if next == entries { Err(Errno::ENOENT) } else { Ok(word_bytes(next, order).to_vec()) }
}
