//! DEVMAP, DEVMAP_HASH, CPUMAP and XSKMAP: where `bpf_redirect_map` sends packets. Documentation/bpf/map_devmap.rst,
//! map_cpumap.rst, map_xskmap.rst.
//!
//! Whether a network device exists is not asked: any index but 0 is taken.

use super::front::{LinuxMap, Ops};
use super::{Maker, next_index, no_descriptor, word, word_bytes};
use mimic_abi::uapi::update_flags::{BPF_ANY, BPF_EXIST, BPF_NOEXIST};
use mimic_abi::{AttachType, ByteOrder, Errno, MapType, ProgType, Size};
use mimic_vm::memory::{Access, Layout, Part};
use mimic_vm::{LoadedProgram, Map, MapError, Region};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_DEVMAP`, `_DEVMAP_HASH`, `_CPUMAP` and `_XSKMAP`.
pub struct RedirectMap {
    kind: MapType,
    order: ByteOrder,
    entries: u32,
    value_len: usize,
    cpus: u32,
    /// What programs see of a target, by its place.
    values: Region,
    state: Mutex<State>,
}

/// Where a packet goes.
#[derive(Clone)]
pub struct Target {
    /// The interface index of a device, the queue size of a CPU, the id of a socket.
    pub value: u32,
    /// The program that runs over the packet there.
    pub program: Option<Arc<LoadedProgram>>,
}

struct State {
    targets: BTreeMap<u32, Slot>,
    /// Keys in the order in which a walk of the kernel's hash table meets them: the last added first, within a bucket.
    chains: BTreeMap<u32, Vec<u32>>,
    free: Vec<u32>,
    fresh: u32,
}

struct Slot {
    target: Target,
    place: u32,
}

/// Bytes of a target as programs see it: `struct bpf_devmap_val`, `struct bpf_xdp_sock`.
const VALUE_LEN: u32 = 8;
/// The most entries that are not hashed: `NR_CPUS` of the kernels that distributions build.
const CPUS_MAX: u32 = 8192;
/// The most entries of the others.
const ENTRIES_MAX: u32 = 1 << 24;
/// The most frames in a CPU's queue.
const QUEUE_MAX: u32 = 16384;

impl RedirectMap {
    pub(super) fn create(maker: &Maker<'_>, kind: MapType) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let entries = spec.max_entries;
        if kind == MapType::Cpumap && entries > CPUS_MAX {
            return Err(MapError::new(Errno::E2BIG, format!("a cpumap has {CPUS_MAX} entries at most")));
        }
        if kind != MapType::DevmapHash && entries > ENTRIES_MAX {
            let why = format!("{} maps have {ENTRIES_MAX} entries at most", kind.word());
            return Err(MapError::new(Errno::ENOMEM, why));
        }
        let part = Part { off: 0, len: VALUE_LEN, access: Access::Read };
        let layout = Layout::Slab { stride: VALUE_LEN, parts: [part].into() };
        let places = entries.min(ENTRIES_MAX);
        let values = maker.region("target", u64::from(places) * u64::from(VALUE_LEN), layout)?;
        let map = RedirectMap {
            kind,
            order: maker.order(),
            entries,
            value_len: spec.value_size as usize,
            cpus: maker.env.cpus,
            values,
            state: Mutex::new(State {
                targets: BTreeMap::new(),
                chains: BTreeMap::new(),
                free: Vec::new(),
                fresh: 0,
            }),
        };
        Ok(LinuxMap::make(spec, map.value_len, map))
    }

    /// What kind of target this map holds.
    pub fn kind(&self) -> MapType {
        self.kind
    }

    /// The target of a key.
    pub fn target(&self, key: u32) -> Option<Target> {
        self.lock().targets.get(&key).map(|slot| slot.target.clone())
    }

    /// All targets in the order in which the kernel broadcasts to them.
    pub fn targets(&self) -> Vec<(u32, Target)> {
        let state = self.lock();
        let with_target = |key: &u32| state.targets.get(key).map(|slot| (*key, slot.target.clone()));
        match self.kind {
            MapType::DevmapHash => state.chains.values().flatten().filter_map(with_target).collect(),
            _ => state.targets.keys().filter_map(with_target).collect(),
        }
    }

    /// Sets what a packet that is sent to `key` meets: a device with an interface index, a CPU with a queue size, and a program; or a socket with
    /// any id but 0. The checks and answers are those of `BPF_MAP_UPDATE_ELEM`.
    pub fn set(
        &self,
        key: u32,
        value: u32,
        program: Option<&Arc<LoadedProgram>>,
        flags: u64,
    ) -> Result<(), Errno> {
        self.check(key, value, program.is_some(), flags)?;
        if value == 0 {
            self.remove_target(key);
            return Ok(());
        }
        if program.is_some_and(|program| !self.takes(program)) {
            return Err(Errno::EINVAL);
        }
        self.add(key, Target { value, program: program.cloned() })
    }

    fn check(&self, key: u32, value: u32, program: bool, flags: u64) -> Result<(), Errno> {
        if flags > BPF_EXIST {
            return Err(Errno::EINVAL);
        }
        let hash = self.kind == MapType::DevmapHash;
        if hash && value == 0 {
            return Err(Errno::EINVAL);
        }
        if !hash && key >= self.entries {
            return Err(Errno::E2BIG);
        }
        self.check_exists(key, flags)?;
        match self.kind {
            MapType::Cpumap if value > QUEUE_MAX => return Err(Errno::EOVERFLOW),
            MapType::Cpumap if key >= self.cpus => return Err(Errno::ENODEV),
            MapType::Devmap if value == 0 && program => return Err(Errno::EINVAL),
            _ => {}
        }
        Ok(())
    }

    fn check_exists(&self, key: u32, flags: u64) -> Result<(), Errno> {
        let there = self.lock().targets.contains_key(&key);
        match (self.kind, flags) {
            (_, BPF_ANY) => Ok(()),
            (MapType::Devmap | MapType::Cpumap, BPF_NOEXIST) => Err(Errno::EEXIST),
            (_, BPF_NOEXIST) if there => Err(Errno::EEXIST),
            (MapType::Xskmap, BPF_EXIST) if !there => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    /// Whether a program is one for packets that arrive at such a target.
    fn takes(&self, program: &LoadedProgram) -> bool {
        let attach = match self.kind {
            MapType::Devmap | MapType::DevmapHash => AttachType::XdpDevmap,
            MapType::Cpumap => AttachType::XdpCpumap,
            _ => return false,
        };
        let linked = program.linked();
        linked.prog_type == Some(ProgType::Xdp) && linked.attach_type == Some(attach)
    }

    fn add(&self, key: u32, target: Target) -> Result<(), Errno> {
        let mut state = self.lock();
        let known = state.targets.get(&key).map(|slot| slot.place);
        let full = self.kind == MapType::DevmapHash && state.targets.len() as u64 >= u64::from(self.entries);
        if known.is_none() && full {
            return Err(Errno::E2BIG);
        }
        let place = match known.or_else(|| state.free.pop()) {
            Some(place) => place,
            None if state.fresh < self.entries.min(ENTRIES_MAX) => {
                state.fresh += 1;
                state.fresh - 1
            }
            None => return Err(Errno::ENOMEM),
        };
        let second = target.program.as_ref().map_or(0, |program| program.id());
        self.values.store(place * VALUE_LEN, Size::W, u64::from(target.value));
        self.values.store(place * VALUE_LEN + 4, Size::W, u64::from(second));
        let bucket = self.bucket(key);
        let chain = state.chains.entry(bucket).or_default();
        chain.retain(|other| *other != key);
        chain.insert(0, key);
        state.targets.insert(key, Slot { target, place });
        Ok(())
    }

    fn remove_target(&self, key: u32) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.targets.remove(&key) else { return false };
        state.free.push(slot.place);
        let bucket = self.bucket(key);
        if let Some(chain) = state.chains.get_mut(&bucket) {
            chain.retain(|other| *other != key);
            if chain.is_empty() {
                state.chains.remove(&bucket);
            }
        }
        true
    }

    fn bucket(&self, key: u32) -> u32 {
        match self.kind {
            MapType::DevmapHash => key & (self.entries.checked_next_power_of_two().unwrap_or(1 << 31) - 1),
            _ => 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The map's redirect side, if it is of such a type.
pub fn redirect_map(map: &dyn Map) -> Option<&RedirectMap> {
    (map as &dyn Any).downcast_ref::<LinuxMap<RedirectMap>>().map(LinuxMap::ops)
}

impl Ops for RedirectMap {
    /// The address of what programs may know of a target.
    fn lookup(&self, _cpu: u32, key: &[u8]) -> Result<Option<u64>, Errno> {
        let key = word(key, self.order)?;
        let state = self.lock();
        Ok(state.targets.get(&key).map(|slot| self.values.base() + u64::from(slot.place * VALUE_LEN)))
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let key = word(key, self.order)?;
        if self.kind == MapType::DevmapHash {
            return if self.remove_target(key) { Ok(()) } else { Err(Errno::ENOENT) };
        }
        if key >= self.entries {
            return Err(Errno::EINVAL);
        }
        self.remove_target(key);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        if self.kind != MapType::DevmapHash {
            return next_index(key, self.entries, self.order);
        }
        let state = self.lock();
        let mut from = 0;
        if let Some(key) = key {
            let key = word(key, self.order)?;
            if state.targets.contains_key(&key) {
                from = self.bucket(key) + 1;
                let chain = state.chains.get(&self.bucket(key)).map_or(&[][..], Vec::as_slice);
                if let Some(next) = chain.iter().skip_while(|other| **other != key).nth(1) {
                    return Ok(word_bytes(*next, self.order).to_vec());
                }
            }
        }
        let next = state.chains.range(from..).find_map(|(_, chain)| chain.first()).ok_or(Errno::ENOENT)?;
        Ok(word_bytes(*next, self.order).to_vec())
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        if self.kind == MapType::Xskmap {
            return Err(Errno::EOPNOTSUPP);
        }
        let target = self.target(word(key, self.order)?).ok_or(Errno::ENOENT)?;
        let id = target.program.map_or(0, |program| program.id());
        let words = [word_bytes(target.value, self.order), word_bytes(id, self.order)].concat();
        value.copy_from_slice(&words[..value.len().min(words.len())]);
        Ok(())
    }

    /// The second word is a program's descriptor, which only bpf(2) can resolve: see [`RedirectMap::set`]. So is an XSKMAP's only one.
    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let key = word(key, self.order)?;
        let fd = value.get(4..).filter(|fd| !fd.is_empty()).map_or(Ok(0), |fd| word(fd, self.order))?;
        if self.kind == MapType::Xskmap {
            let flags = if flags > BPF_EXIST { flags } else { BPF_ANY };
            return Err(no_descriptor(key, self.entries, flags));
        }
        let value = word(value, self.order)?;
        if fd as i32 > 0 {
            self.check(key, value, true, flags)?;
            return Err(Errno::EINVAL);
        }
        self.set(key, value, None, flags)
    }

    fn release(&self) {
        for slot in self.lock().targets.values_mut() {
            slot.target.program = None;
        }
    }
}
