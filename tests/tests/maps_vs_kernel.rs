//! Maps against the real kernel: the same `BPF_MAP_CREATE`, and the same sequences of bpf(2)'s element commands, are given to both; answers,
//! bytes and the order of keys must be equal.
#![cfg(target_os = "linux")]

use mimic_abi::{Errno, MapType};
use mimic_linux::Linux;
use mimic_object::MapSpec;
use mimic_tests::kernel::sys::BatchCmd;
use mimic_tests::kernel::{Kernel, Map, MapAttr, possible_cpus};
use mimic_vm::{MapRef, Vm};
use std::sync::Arc;

const NO_PREALLOC: u32 = 1;
const NO_COMMON_LRU: u32 = 1 << 1;
const ZERO_SEED: u32 = 1 << 6;
const RDONLY: u32 = 1 << 3;
const WRONLY: u32 = 1 << 4;
const INNER_MAP: u32 = 1 << 12;
/// The longest value of an LPM trie.
const LPM_MAX: u32 = (4 << 20) - 280;

/// A map in the kernel and one of ours.
struct Pair {
    kernel: Map,
    ours: Arc<MapRef>,
    what: String,
}

fn vm() -> Arc<Vm> {
    Vm::builder(Linux::default()).cpus(possible_cpus() as u32).build().expect("address space")
}

fn attr(kind: MapType, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32) -> MapAttr {
    MapAttr { map_type: kind.id(), key_size, value_size, max_entries, map_flags, ..MapAttr::default() }
}

fn spec(attr: &MapAttr) -> MapSpec {
    MapSpec {
        map_type: attr.map_type,
        key_size: attr.key_size,
        value_size: attr.value_size,
        max_entries: attr.max_entries,
        map_flags: attr.map_flags,
        map_extra: attr.map_extra,
        numa_node: Some(attr.numa_node),
        ..MapSpec::default()
    }
}

fn pair(vm: &Vm, attr: &MapAttr) -> Pair {
    let kernel = Map::create(attr).unwrap_or_else(|errno| panic!("the kernel refuses {attr:?}: {errno}"));
    let ours = vm.create_map(&spec(attr)).unwrap_or_else(|error| panic!("we refuse {attr:?}: {error}"));
    Pair { kernel, ours, what: format!("{attr:?}") }
}

/// Numbers that repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }
}

/// The kinds of maps whose element commands need no other descriptors.
fn plain_maps() -> Vec<MapAttr> {
    use MapType::*;
    let mut maps = vec![
        attr(Array, 4, 1, 1, 0),
        attr(Array, 4, 12, 7, 0),
        attr(Array, 4, 8, 5, 1 << 10),
        attr(PercpuArray, 4, 4, 3, 0),
        attr(PercpuArray, 4, 13, 6, 0),
        attr(LpmTrie, 8, 4, 6, NO_PREALLOC),
        attr(LpmTrie, 5, 1, 3, NO_PREALLOC),
        attr(LpmTrie, 6, 3, 40, NO_PREALLOC),
        attr(LpmTrie, 20, 8, 30, NO_PREALLOC),
        attr(LpmTrie, 11, 8, 30, NO_PREALLOC),
        attr(Queue, 0, 5, 3, 0),
        attr(Stack, 0, 8, 4, 0),
        attr(Devmap, 4, 4, 3, 0),
        attr(Devmap, 4, 8, 3, 0),
        attr(DevmapHash, 4, 8, 3, 0),
        attr(DevmapHash, 4, 4, 16, 0),
        attr(Cpumap, 4, 4, 3, 0),
        attr(Xskmap, 4, 4, 3, 0),
        attr(ProgArray, 4, 4, 3, 0),
        attr(PerfEventArray, 4, 4, 3, 0),
        attr(Ringbuf, 0, 0, 4096, 0),
        attr(UserRingbuf, 0, 0, 4096, 0),
    ];
    for (key, value, entries) in
        [(1, 1, 3), (4, 8, 1), (4, 4, 17), (7, 13, 8), (8, 8, 6), (16, 3, 12), (40, 80, 5)]
    {
        for flags in [0, NO_PREALLOC] {
            maps.push(attr(Hash, key, value, entries, ZERO_SEED | flags));
            maps.push(attr(PercpuHash, key, value, entries, ZERO_SEED | flags));
        }
        for flags in [0, NO_COMMON_LRU] {
            maps.push(attr(LruHash, key, value, entries, ZERO_SEED | flags));
            maps.push(attr(LruPercpuHash, key, value, entries, ZERO_SEED | flags));
        }
    }
    for (value, entries, hashes) in [(4, 4, 0), (8, 100, 3), (5, 30, 15), (13, 1000, 1)] {
        maps.push(MapAttr { map_extra: hashes, ..attr(BloomFilter, 0, value, entries, ZERO_SEED) });
    }
    for access in [RDONLY, WRONLY] {
        maps.push(attr(Hash, 4, 4, 4, ZERO_SEED | access));
        maps.push(attr(Array, 4, 4, 4, access));
        maps.push(attr(Queue, 0, 4, 4, access));
    }
    maps
}

/// A key that a map of this kind may hold, or nearly.
fn key(dice: &mut Dice, attr: &MapAttr, kind: MapType) -> Vec<u8> {
    let len = attr.key_size as usize;
    match kind {
        MapType::LpmTrie => {
            let bits = (len as u64 - 4) * 8;
            let prefix =
                dice.one_of(&[0, 1, bits / 2, bits - 1, bits, bits, bits, bits + 1, dice_bits(bits)]);
            let mut key = (prefix as u32).to_ne_bytes().to_vec();
            key.extend((4..len).map(|_| dice.one_of(&[0u8, 0, 1, 0x80, 0xff, 0xc0])));
            key
        }
        MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => {
            let mut key = vec![0; len];
            key[0] = dice.below(u64::from(attr.max_entries) * 2 + 2) as u8;
            key[len - 1] ^= dice.one_of(&[0, 0, 0, 0x80]);
            key
        }
        _ if len == 4 => {
            let edges =
                [0, 1, 2, attr.max_entries - 1, attr.max_entries, attr.max_entries + 1, u32::MAX, 19, 33];
            dice.one_of(&edges).to_ne_bytes().to_vec()
        }
        _ => dice.bytes(len),
    }
}

fn dice_bits(bits: u64) -> u64 {
    bits / 3
}

fn value(dice: &mut Dice, attr: &MapAttr, kind: MapType, len: usize) -> Vec<u8> {
    let word = |word: u32| word.to_ne_bytes();
    let mut value = match kind {
        MapType::Devmap | MapType::DevmapHash => {
            let ifindex = dice.one_of(&[0, 1, 1, 1]);
            [word(ifindex), word(dice.one_of(&[0, 0, u32::MAX, 999]))].concat()
        }
        MapType::Cpumap => [word(dice.one_of(&[0, 1, 16384, 16385])), word(0)].concat(),
        MapType::Xskmap | MapType::ProgArray | MapType::PerfEventArray => word(u32::MAX).to_vec(),
        MapType::BloomFilter => {
            [word(dice.below(u64::from(attr.max_entries) * 3) as u32).to_vec(), vec![0; len]].concat()
        }
        _ => dice.bytes(len),
    };
    value.truncate(len);
    value
}

/// What per-CPU values have between their end and the next multiple of 8 is nobody's.
fn without_padding(attr: &MapAttr, kind: MapType, value: &[u8]) -> Vec<u8> {
    let len = attr.value_size as usize;
    if !kind.is_percpu() {
        return value.to_vec();
    }
    value.chunks(len.next_multiple_of(8)).flat_map(|part| part[..len].to_vec()).collect()
}

/// One random command on both; what it was, and both answers.
fn step(pair: &Pair, dice: &mut Dice) -> (String, String, String) {
    let attr = pair.kernel.attr().clone();
    let kind = MapType::try_from(attr.map_type).expect("known");
    let (kernel, ours) = (&pair.kernel, &pair.ours);
    let key = key(dice, &attr, kind);
    let len = kernel.fd().value_len();
    let plain = |value: Result<Vec<u8>, Errno>| value.map(|value| without_padding(&attr, kind, &value));
    let flags = dice.one_of(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 1 << 32]);
    let show = |answer: &dyn std::fmt::Debug| format!("{answer:?}");
    match dice.below(14) {
        0..=4 => {
            let value = value(dice, &attr, kind, len);
            let answers = (kernel.update(&key, &value, flags), ours.update_copy(&key, &value, flags));
            (format!("update {key:?} {value:?} {flags}"), show(&answers.0), show(&answers.1))
        }
        5 | 6 if kind == MapType::BloomFilter => {
            let value = value(dice, &attr, kind, len);
            let answers = (kernel.may_contain(&value), contains(ours, &value));
            (format!("contains {value:?}"), show(&answers.0), show(&answers.1))
        }
        5 | 6 => {
            let flags = dice.one_of(&[0, 0, 0, 4, 1]);
            let answers = (plain(kernel.lookup_flags(&key, flags)), plain(ours.lookup_copy(&key, flags)));
            (format!("lookup {key:?} {flags}"), show(&answers.0), show(&answers.1))
        }
        7 | 8 => {
            let answers = (kernel.delete(&key), ours.delete_key(&key));
            (format!("delete {key:?}"), show(&answers.0), show(&answers.1))
        }
        9 => {
            let from = (dice.below(4) != 0).then_some(key.as_slice());
            let answers = (kernel.next_key(from), ours.next_key(from));
            (format!("next {from:?}"), show(&answers.0), show(&answers.1))
        }
        10 => {
            let flags = dice.one_of(&[0, 0, 0, 4, 1]);
            let answers =
                (plain(kernel.lookup_and_delete(&key, flags)), plain(ours.lookup_and_delete(&key, flags)));
            (format!("take {key:?} {flags}"), show(&answers.0), show(&answers.1))
        }
        11 if attr.key_size > 0 => batch_lookup(pair, dice, &attr, kind),
        12 if attr.key_size > 0 => {
            let count = dice.below(4) as usize + 1;
            let mut keys: Vec<u8> = (0..count).flat_map(|_| self::key(dice, &attr, kind)).collect();
            let mut values: Vec<u8> = (0..count).flat_map(|_| value(dice, &attr, kind, len)).collect();
            let flags = dice.one_of(&[0, 0, 0, 1, 4]);
            let kernel = kernel.batch(BatchCmd::Update, None, &mut keys, &mut values, flags);
            let ours = ours.update_batch(&keys, &values, flags);
            (format!("update batch {keys:?} {values:?} {flags}"), show(&done(kernel)), show(&done(ours)))
        }
        13 if attr.key_size > 0 => {
            let count = dice.below(3) as usize + 1;
            let mut keys: Vec<u8> = (0..count).flat_map(|_| self::key(dice, &attr, kind)).collect();
            let kernel = kernel.batch(BatchCmd::Delete, None, &mut keys, &mut [], 0);
            let ours = ours.delete_batch(&keys, 0);
            (format!("delete batch {keys:?}"), show(&done(kernel)), show(&done(ours)))
        }
        _ => (String::new(), String::new(), String::new()),
    }
}

fn contains(map: &MapRef, value: &[u8]) -> Result<bool, Errno> {
    match map.lookup_copy(value, 0) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The count means nothing when the command was refused as a whole.
fn done((count, result): (u32, Result<(), Errno>)) -> (Option<u32>, Result<(), Errno>) {
    let refused = [Err(Errno::EINVAL), Err(Errno::ENOTSUPP), Err(Errno::EPERM)].contains(&result);
    ((!refused).then_some(count), result)
}

/// A walk by batches through the whole map.
fn batch_lookup(pair: &Pair, dice: &mut Dice, attr: &MapAttr, kind: MapType) -> (String, String, String) {
    let count = dice.below(6) as usize + 1;
    let delete = dice.below(3) == 0;
    let cmd = if delete { BatchCmd::LookupAndDelete } else { BatchCmd::Lookup };
    let len = pair.kernel.fd().value_len();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    let (mut token, mut cursor) = (Vec::new(), None::<Vec<u8>>);
    for _ in 0..20 {
        let (mut keys, mut values) = (vec![0; count * attr.key_size as usize], vec![0; count * len]);
        let (found, result) = pair.kernel.batch(cmd, Some(&mut token), &mut keys, &mut values, 0);
        let (found, _) = done((found, result));
        let found = found.unwrap_or(0) as usize;
        keys.truncate(found * attr.key_size as usize);
        values.truncate(found * len);
        theirs.push((found, keys, without_padding(attr, kind, &values), result.err()));
        let batch = pair.ours.lookup_batch(cursor.as_deref(), count as u32, 0, delete);
        let values = without_padding(attr, kind, &batch.values);
        ours.push((batch.count as usize, batch.keys, values, batch.error));
        if theirs.last() != ours.last() || result.is_err() {
            break;
        }
        cursor = Some(batch.cursor);
    }
    (format!("batch {cmd:?} of {count}"), format!("{theirs:?}"), format!("{ours:?}"))
}

/// All keys, and the values, in the order of a walk.
fn contents(pair: &Pair) -> (String, String) {
    let attr = pair.kernel.attr();
    if attr.key_size == 0 {
        return Default::default();
    }
    let kind = MapType::try_from(attr.map_type).expect("known");
    let theirs = pair.kernel.entries();
    let mut ours = Vec::new();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let end = loop {
        match pair.ours.next_key(keys.last().map(Vec::as_slice)) {
            Ok(key) => {
                if let Ok(value) = pair.ours.lookup_copy(&key, 0) {
                    ours.push((key.clone(), without_padding(attr, kind, &value)));
                }
                keys.push(key);
            }
            Err(Errno::ENOENT) => break Ok(ours),
            Err(errno) => break Err(errno),
        }
    };
    let clean = |entries: Vec<(Vec<u8>, Vec<u8>)>| {
        entries.into_iter().map(|(key, value)| (key, without_padding(attr, kind, &value))).collect::<Vec<_>>()
    };
    (format!("{:?}", theirs.map(clean)), format!("{end:?}"))
}

#[test]
fn random_commands() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let differences = kernel.in_empty_netns(|| {
        let mut differences = Vec::new();
        for (seed, attr) in plain_maps().iter().enumerate() {
            for round in 0..4 {
                let vm = vm();
                let pair = pair(&vm, attr);
                let mut dice = Dice((seed * 100 + round) as u64);
                let mut trail = Vec::new();
                for at in 0..300 {
                    let (what, theirs, ours) = step(&pair, &mut dice);
                    trail.push(format!("{what} = {theirs}"));
                    if theirs != ours {
                        let trail = trail[trail.len().saturating_sub(6)..].join("\n    ");
                        differences.push(format!(
                            "{} step {at}:\n    {trail}\n  kernel {theirs}\n  ours   {ours}",
                            pair.what
                        ));
                        break;
                    }
                    if at % 50 == 49 {
                        let (theirs, ours) = contents(&pair);
                        if theirs != ours {
                            differences
                                .push(format!("{} after {at}: kernel {theirs}\n ours {ours}", pair.what));
                            break;
                        }
                    }
                }
            }
        }
        differences
    });
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n\n"));
}

/// An LRU map that is filled many times over keeps the same elements.
#[test]
fn what_an_lru_map_drops() {
    let Some(kernel) = Kernel::or_skip() else { return };
    kernel.in_empty_netns(|| {
        for (entries, flags) in
            [(4, 0), (16, 0), (100, 0), (600, 0), (16, NO_COMMON_LRU), (101, NO_COMMON_LRU)]
        {
            for kind in [MapType::LruHash, MapType::LruPercpuHash] {
                let vm = vm();
                let pair = pair(&vm, &attr(kind, 4, 4, entries, ZERO_SEED | flags));
                let mut dice = Dice(u64::from(entries));
                let value = vec![0; pair.kernel.fd().value_len()];
                for at in 0..entries * 8 {
                    let key = (dice.below(u64::from(entries) * 3) as u32).to_ne_bytes();
                    let answers = match dice.below(8) {
                        0 => (pair.kernel.delete(&key), pair.ours.delete_key(&key)),
                        _ => (pair.kernel.update(&key, &value, 0), pair.ours.update_copy(&key, &value, 0)),
                    };
                    assert_eq!(answers.0, answers.1, "{} step {at}", pair.what);
                    if at % 64 == 0 {
                        let (theirs, ours) = contents(&pair);
                        assert_eq!(theirs, ours, "{} after {at}", pair.what);
                    }
                }
            }
        }
    });
}

#[test]
fn creation() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let cases = creations();
    let count = cases.len();
    let differences: Vec<String> = kernel.in_empty_netns(|| {
        let vm = vm();
        let differs = |attr: &MapAttr| {
            let theirs = Map::create(attr).map(|_| ());
            let made = vm.create_map(&spec(attr));
            if let Ok(map) = &made {
                vm.remove_map(map.id);
            }
            let why = made.as_ref().err().map(|error| error.why.clone()).unwrap_or_default();
            let ours = made.map(|_| ()).map_err(|error| error.errno);
            (theirs != ours).then(|| format!("{attr:?}: kernel {theirs:?}, ours {ours:?} {why}"))
        };
        cases.iter().filter_map(differs).collect()
    });
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Every supported type with every edge of each property, one or two at a time off a working map.
fn creations() -> Vec<MapAttr> {
    use MapType::*;
    let works = [
        attr(Hash, 4, 4, 4, 0),
        attr(Array, 4, 4, 4, 0),
        attr(ProgArray, 4, 4, 4, 0),
        attr(PerfEventArray, 4, 4, 4, 0),
        attr(PercpuHash, 4, 4, 4, 0),
        attr(PercpuArray, 4, 4, 4, 0),
        attr(LruHash, 4, 4, 4, 0),
        attr(LruPercpuHash, 4, 4, 4, 0),
        attr(LpmTrie, 8, 4, 4, NO_PREALLOC),
        attr(Devmap, 4, 4, 4, 0),
        attr(DevmapHash, 4, 4, 4, 0),
        attr(Cpumap, 4, 4, 4, 0),
        attr(Xskmap, 4, 4, 4, 0),
        attr(Queue, 0, 4, 4, 0),
        attr(Stack, 0, 4, 4, 0),
        attr(Ringbuf, 0, 0, 4096, 0),
        attr(UserRingbuf, 0, 0, 4096, 0),
        attr(BloomFilter, 0, 4, 4, 0),
        MapAttr { inner_map_fd: -1, ..attr(ArrayOfMaps, 4, 4, 4, 0) },
        MapAttr { inner_map_fd: -1, ..attr(HashOfMaps, 4, 4, 4, 0) },
    ];
    let keys = [0, 1, 2, 4, 5, 8, 260, 261, 512, 4096];
    let values = [
        0,
        1,
        4,
        8,
        12,
        32768,
        32769,
        LPM_MAX,
        LPM_MAX + 1,
        (4 << 20) - 52,
        (4 << 20) - 51,
        4 << 20,
        (4 << 20) + 1,
    ];
    let entries = [0, 1, 3, 4096, 8192, 12288];
    let mut cases = Vec::new();
    for base in works {
        for key_size in keys {
            for value_size in values {
                cases.push(MapAttr { key_size, value_size, ..base.clone() });
            }
        }
        for max_entries in entries {
            // How many CPUs a kernel is built for, at most, differs.
            if base.map_type == Cpumap.id() && max_entries > 8 {
                continue;
            }
            for map_extra in [0, 1, 15, 16] {
                cases.push(MapAttr { max_entries, map_extra, ..base.clone() });
            }
        }
        for bit in 0..20 {
            for other in 0..=bit {
                let map_flags = base.map_flags ^ (1 << bit | 1 << other);
                // Token, path and BTF descriptors are asked for by flags of other commands.
                if map_flags & (1 << 15 | 1 << 16) == 0 {
                    cases.push(MapAttr { map_flags, ..base.clone() });
                    cases.push(MapAttr { map_flags, max_entries: 0, ..base.clone() });
                }
            }
        }
        for numa_node in [1, 7] {
            cases.push(MapAttr { map_flags: base.map_flags | 1 << 2, numa_node, ..base.clone() });
        }
    }
    cases
}

#[test]
fn frozen_maps() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let vm = vm();
    for attr in
        [attr(MapType::Array, 4, 4, 2, 0), attr(MapType::Hash, 4, 4, 2, 0), attr(MapType::Queue, 0, 4, 2, 0)]
    {
        let pair = pair(&vm, &attr);
        let key = vec![0; attr.key_size as usize];
        for _ in 0..2 {
            assert_eq!(pair.kernel.freeze(), pair.ours.freeze(), "{}", pair.what);
        }
        assert_eq!(
            pair.kernel.update(&key, &[1; 4], 0),
            pair.ours.update_copy(&key, &[1; 4], 0),
            "{}",
            pair.what
        );
        assert_eq!(pair.kernel.delete(&key), pair.ours.delete_key(&key), "{}", pair.what);
        assert_eq!(pair.kernel.lookup(&key), pair.ours.lookup_copy(&key, 0), "{}", pair.what);
        assert_eq!(
            pair.kernel.lookup_and_delete(&key, 0),
            pair.ours.lookup_and_delete(&key, 0),
            "{}",
            pair.what
        );
    }
}

#[test]
fn maps_of_maps() {
    use std::os::fd::AsRawFd;
    let Some(_kernel) = Kernel::or_skip() else { return };
    let vm = vm();
    let inners = [
        attr(MapType::Array, 4, 4, 2, 0),
        attr(MapType::Array, 4, 4, 3, 0),
        attr(MapType::Array, 4, 8, 2, 0),
        attr(MapType::Array, 4, 4, 2, INNER_MAP),
        attr(MapType::Array, 4, 4, 3, INNER_MAP),
        attr(MapType::PercpuArray, 4, 4, 3, 0),
        attr(MapType::Hash, 4, 4, 2, 0),
        attr(MapType::Hash, 4, 4, 3, 0),
        attr(MapType::Hash, 4, 4, 3, NO_PREALLOC),
        attr(MapType::LruHash, 4, 4, 3, 0),
        attr(MapType::Ringbuf, 0, 0, 4096, 0),
        attr(MapType::Ringbuf, 0, 0, 8192, 0),
        attr(MapType::Queue, 0, 4, 2, 0),
        attr(MapType::PerfEventArray, 4, 4, 2, 0),
        attr(MapType::ProgArray, 4, 4, 2, 0),
        attr(MapType::Devmap, 4, 4, 2, 0),
        attr(MapType::Xskmap, 4, 4, 2, 0),
        attr(MapType::Xskmap, 4, 4, 3, 0),
        attr(MapType::LpmTrie, 8, 4, 3, NO_PREALLOC),
    ];
    let members: Vec<Pair> = inners.iter().map(|attr| pair(&vm, attr)).collect();
    for template in &members {
        for outer in [
            attr(MapType::ArrayOfMaps, 4, 4, 3, 0),
            attr(MapType::HashOfMaps, 4, 4, 2, 0),
            attr(MapType::HashOfMaps, 2, 4, 2, NO_PREALLOC),
        ] {
            let outer_attr = MapAttr { inner_map_fd: template.kernel.as_raw_fd(), ..outer.clone() };
            let inner = Some(Box::new(template.ours.spec().clone()));
            let ours = vm.create_map(&MapSpec { inner, ..spec(&outer) });
            let theirs = Map::create(&outer_attr);
            let what = format!("{outer:?} of {}", template.what);
            assert_eq!(theirs.as_ref().err(), ours.as_ref().err().map(|error| &error.errno), "{what}");
            let (Ok(kernel), Ok(ours)) = (theirs, ours) else { continue };
            let mut dice = Dice(1);
            for at in 0..80 {
                let key = dice.below(4) as u32;
                let key = &key.to_ne_bytes()[..outer.key_size as usize];
                let flags = dice.one_of(&[0, 0, 0, 1, 2, 3]);
                let member = &members[dice.below(members.len() as u64) as usize];
                let member = if dice.below(2) == 0 { member } else { template };
                let (theirs, mine) = match dice.below(4) {
                    0 => (kernel.delete(key), ours.delete_key(key)),
                    1 => (kernel.lookup(key).map(|_| ()), ours.lookup_copy(key, 0).map(|_| ())),
                    _ => {
                        let fd = member.kernel.as_raw_fd().to_ne_bytes();
                        (kernel.update(key, &fd, flags), ours.set_map(key, &member.ours, flags))
                    }
                };
                assert_eq!(theirs, mine, "{what}, step {at}, {key:?} {flags} {}", member.what);
            }
        }
    }
}
