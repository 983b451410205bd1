//! The rows of all map types that Linux has. How each behaves is in the other files of this folder.

use mimic_abi::uapi::map_flags::*;
use mimic_abi::{EntriesRule, MapOps, MapType, MapTypeSpec, SizeRule, Support};

const ACCESS: u32 = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
const FD_ACCESS: u32 = BPF_F_RDONLY | BPF_F_WRONLY;
const ARRAY_FLAGS: u32 = BPF_F_NUMA_NODE | ACCESS;
const HASH_FLAGS: u32 = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | ACCESS | BPF_F_ZERO_SEED;
const LRU_FLAGS: u32 = HASH_FLAGS | BPF_F_NO_COMMON_LRU;

const ELEM: MapOps = MapOps::ELEM;
const KEYS: MapOps = ELEM.and(MapOps::NEXT_KEY);
const HASH_USER: MapOps = KEYS.and(MapOps::LOOKUP_AND_DELETE).and(MapOps::BATCH);
const HASH_PROG: MapOps = ELEM.and(MapOps::FOR_EACH);
const ARRAY_USER: MapOps = MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::NEXT_KEY).and(MapOps::BATCH);
const ARRAY_PROG: MapOps = MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::FOR_EACH);
const PUSH_POP: MapOps = MapOps::PUSH.and(MapOps::POP).and(MapOps::PEEK);
const QUEUE_USER: MapOps = MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::LOOKUP_AND_DELETE);
const LOCAL_FLAGS: u32 = BPF_F_NO_PREALLOC | BPF_F_CLONE;
const LOCAL_USER: Support = Support::Partial(
    "in the library, whose users have no descriptors, keys are cookies, pids, inode numbers and cgroup ids",
);
const STRUCT_OPS: Support = Support::Partial(
    "subsystems know its name and do not call its programs: who runs them gives the arguments (Loaded::struct_ops)",
);
const CGROUP_IDS: Support = Support::Partial(
    "in the library, whose users have no descriptors, a value is the id of a cgroup of the world",
);
const ATTACHED_CGROUP: Support =
    Support::Partial("elements are there from the first run in a cgroup (World::attach), not from attaching");

const ANY_DEVICE: Support =
    Support::Partial("any interface index is taken, whether the world has such a device or not");
const NO_SOCKETS: Support =
    Support::Partial("the world has no AF_XDP sockets: whoever makes the map sets numbers in their place");
const COOKIES: Support = Support::Partial(
    "in the library, whose users have no descriptors, a value is the cookie of a socket of the world",
);
const NO_EVENTS: Support =
    Support::Partial("buffers and counters are put in by whoever makes the map, not by perf_event_open(2)");

/// All types, by rising number.
pub const ROWS: &[MapTypeSpec] = &[
    MapTypeSpec::new(MapType::Hash, "a hash table").flags(HASH_FLAGS).ops(HASH_PROG, HASH_USER),
    MapTypeSpec::new(MapType::Array, "values by index; all are there from the start, as zeros")
        .key(SizeRule::WORD)
        .flags(ARRAY_FLAGS | BPF_F_MMAPABLE | BPF_F_INNER_MAP)
        .ops(ARRAY_PROG, ARRAY_USER),
    MapTypeSpec::new(MapType::ProgArray, "programs to tail call by index")
        .since(4, 2)
        .key(SizeRule::WORD)
        .value(SizeRule::WORD)
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .ops(MapOps::TAIL_CALL, KEYS),
    MapTypeSpec::new(MapType::PerfEventArray, "perf event buffers by index, most often by CPU")
        .since(4, 3)
        .key(SizeRule::WORD)
        .value(SizeRule::WORD)
        .flags(BPF_F_NUMA_NODE | FD_ACCESS | BPF_F_PRESERVE_ELEMS)
        .support(NO_EVENTS)
        .ops(MapOps::OUTPUT, MapOps::UPDATE.and(MapOps::DELETE).and(MapOps::NEXT_KEY)),
    MapTypeSpec::new(MapType::PercpuHash, "a hash table with a value for each CPU")
        .since(4, 6)
        .flags(HASH_FLAGS)
        .ops(HASH_PROG, HASH_USER),
    MapTypeSpec::new(MapType::PercpuArray, "an array with a value for each CPU")
        .since(4, 6)
        .key(SizeRule::WORD)
        .flags(ARRAY_FLAGS)
        .ops(ARRAY_PROG, ARRAY_USER),
    MapTypeSpec::new(MapType::StackTrace, "stack traces by their hash")
        .since(4, 6)
        .key(SizeRule::WORD)
        .value(SizeRule::Range(8, u32::MAX))
        .flags(BPF_F_NUMA_NODE | FD_ACCESS | BPF_F_STACK_BUILD_ID)
        .ops(MapOps::NONE, MapOps::LOOKUP.and(MapOps::DELETE).and(MapOps::NEXT_KEY)),
    MapTypeSpec::new(MapType::CgroupArray, "cgroups by index")
        .since(4, 8)
        .key(SizeRule::WORD)
        .value(SizeRule::WORD)
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(CGROUP_IDS)
        .ops(MapOps::NONE, MapOps::UPDATE.and(MapOps::DELETE).and(MapOps::NEXT_KEY)),
    MapTypeSpec::new(MapType::LruHash, "a hash table that makes room by dropping what was not used of late")
        .since(4, 10)
        .flags(LRU_FLAGS)
        .ops(HASH_PROG, HASH_USER),
    MapTypeSpec::new(MapType::LruPercpuHash, "the same, with a value for each CPU")
        .since(4, 10)
        .flags(LRU_FLAGS)
        .ops(HASH_PROG, HASH_USER),
    MapTypeSpec::new(MapType::LpmTrie, "prefixes; a lookup finds the longest that matches")
        .since(4, 11)
        .key(SizeRule::Range(5, 260))
        .value(SizeRule::Range(1, (4 << 20) - 280))
        .flags(BPF_F_NUMA_NODE | ACCESS)
        .requires(BPF_F_NO_PREALLOC)
        .ops(ELEM, KEYS.and(MapOps::BATCH)),
    MapTypeSpec::new(MapType::ArrayOfMaps, "maps by index")
        .since(4, 12)
        .key(SizeRule::WORD)
        .value(SizeRule::WORD)
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .ops(MapOps::LOOKUP, KEYS.and(MapOps::BATCH)),
    MapTypeSpec::new(MapType::HashOfMaps, "maps by key")
        .since(4, 12)
        .value(SizeRule::WORD)
        .flags(HASH_FLAGS)
        .ops(MapOps::LOOKUP, KEYS.and(MapOps::BATCH)),
    MapTypeSpec::new(MapType::Devmap, "network devices by index, to redirect to")
        .since(4, 14)
        .key(SizeRule::WORD)
        .value(SizeRule::OneOf(&[4, 8]))
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(ANY_DEVICE)
        .ops(MapOps::REDIRECT.and(MapOps::LOOKUP), KEYS),
    MapTypeSpec::new(MapType::Sockmap, "sockets by index")
        .since(4, 14)
        .key(SizeRule::WORD)
        .value(SizeRule::OneOf(&[4, 8]))
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(COOKIES)
        .ops(ELEM, KEYS),
    MapTypeSpec::new(MapType::Cpumap, "CPUs to redirect packets to, by index")
        .since(4, 15)
        .key(SizeRule::WORD)
        .value(SizeRule::OneOf(&[4, 8]))
        .flags(BPF_F_NUMA_NODE)
        .ops(MapOps::REDIRECT, KEYS),
    MapTypeSpec::new(MapType::Xskmap, "AF_XDP sockets by index, to redirect to")
        .since(4, 18)
        .key(SizeRule::WORD)
        .value(SizeRule::WORD)
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(NO_SOCKETS)
        .ops(MapOps::REDIRECT.and(MapOps::LOOKUP), KEYS),
    MapTypeSpec::new(MapType::Sockhash, "sockets by key")
        .since(4, 18)
        .value(SizeRule::OneOf(&[4, 8]))
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(COOKIES)
        .ops(ELEM, KEYS),
    MapTypeSpec::new(MapType::CgroupStorage, "a value for each cgroup that a program is attached to")
        .since(4, 19)
        .key(SizeRule::OneOf(&[8, 16]))
        .entries(EntriesRule::Zero)
        .flags(BPF_F_NUMA_NODE | ACCESS)
        .support(ATTACHED_CGROUP)
        .ops(MapOps::LOOKUP, MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::NEXT_KEY)),
    MapTypeSpec::new(MapType::ReuseportSockarray, "sockets by index, to select from")
        .since(4, 19)
        .key(SizeRule::WORD)
        .value(SizeRule::OneOf(&[4, 8]))
        .flags(ARRAY_FLAGS)
        .support(COOKIES)
        .ops(MapOps::NONE, KEYS),
    MapTypeSpec::new(MapType::PercpuCgroupStorage, "the same as cgroup_storage, with a value for each CPU")
        .since(4, 20)
        .key(SizeRule::OneOf(&[8, 16]))
        .entries(EntriesRule::Zero)
        .flags(BPF_F_NUMA_NODE | ACCESS)
        .support(ATTACHED_CGROUP)
        .ops(MapOps::LOOKUP, MapOps::LOOKUP.and(MapOps::UPDATE).and(MapOps::NEXT_KEY)),
    MapTypeSpec::new(MapType::Queue, "values without keys, first in, first out")
        .since(4, 20)
        .key(SizeRule::NONE)
        .flags(BPF_F_NUMA_NODE | ACCESS)
        .ops(PUSH_POP, QUEUE_USER),
    MapTypeSpec::new(MapType::Stack, "values without keys, last in, first out")
        .since(4, 20)
        .key(SizeRule::NONE)
        .flags(BPF_F_NUMA_NODE | ACCESS)
        .ops(PUSH_POP, QUEUE_USER),
    MapTypeSpec::new(MapType::SkStorage, "a value for each socket")
        .since(5, 2)
        .key(SizeRule::WORD)
        .entries(EntriesRule::Zero)
        .flags(LOCAL_FLAGS)
        .requires(BPF_F_NO_PREALLOC)
        .support(LOCAL_USER)
        .ops(MapOps::LOOKUP.and(MapOps::DELETE), ELEM),
    MapTypeSpec::new(MapType::DevmapHash, "network devices by any number, to redirect to")
        .since(5, 4)
        .key(SizeRule::WORD)
        .value(SizeRule::OneOf(&[4, 8]))
        .entries(EntriesRule::UpTo(1 << 31))
        .flags(BPF_F_NUMA_NODE | FD_ACCESS)
        .support(ANY_DEVICE)
        .ops(MapOps::REDIRECT.and(MapOps::LOOKUP), KEYS),
    MapTypeSpec::new(MapType::StructOps, "an implementation of a kernel interface in BPF")
        .since(5, 6)
        .key(SizeRule::WORD)
        .entries(EntriesRule::UpTo(1))
        .flags(BPF_F_LINK | BPF_F_VTYPE_BTF_OBJ_FD)
        .support(STRUCT_OPS)
        .ops(MapOps::NONE, KEYS),
    MapTypeSpec::new(MapType::Ringbuf, "records to users, one buffer for all CPUs")
        .since(5, 8)
        .key(SizeRule::NONE)
        .value(SizeRule::NONE)
        .entries(EntriesRule::RingBytes)
        .flags(BPF_F_NUMA_NODE)
        .ops(MapOps::OUTPUT, MapOps::NONE),
    MapTypeSpec::new(MapType::InodeStorage, "a value for each inode")
        .since(5, 10)
        .key(SizeRule::WORD)
        .entries(EntriesRule::Zero)
        .flags(LOCAL_FLAGS)
        .requires(BPF_F_NO_PREALLOC)
        .support(LOCAL_USER)
        .ops(MapOps::LOOKUP.and(MapOps::DELETE), ELEM),
    MapTypeSpec::new(MapType::TaskStorage, "a value for each task")
        .since(5, 11)
        .key(SizeRule::WORD)
        .entries(EntriesRule::Zero)
        .flags(LOCAL_FLAGS)
        .requires(BPF_F_NO_PREALLOC)
        .support(LOCAL_USER)
        .ops(MapOps::LOOKUP.and(MapOps::DELETE), ELEM),
    MapTypeSpec::new(MapType::BloomFilter, "a set that answers no for certain, yes with some probability")
        .since(5, 16)
        .key(SizeRule::NONE)
        .flags(BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | ACCESS)
        .ops(MapOps::PUSH.and(MapOps::PEEK), MapOps::LOOKUP.and(MapOps::UPDATE)),
    MapTypeSpec::new(MapType::UserRingbuf, "records from users")
        .since(6, 1)
        .key(SizeRule::NONE)
        .value(SizeRule::NONE)
        .entries(EntriesRule::RingBytes)
        .flags(BPF_F_NUMA_NODE)
        .ops(MapOps::DRAIN, MapOps::NONE),
    MapTypeSpec::new(MapType::CgrpStorage, "a value for each cgroup")
        .since(6, 2)
        .key(SizeRule::WORD)
        .entries(EntriesRule::Zero)
        .flags(LOCAL_FLAGS)
        .requires(BPF_F_NO_PREALLOC)
        .support(LOCAL_USER)
        .ops(MapOps::LOOKUP.and(MapOps::DELETE), ELEM),
    MapTypeSpec::new(MapType::Arena, "memory shared with users, with pointers in it")
        .since(6, 9)
        .key(SizeRule::NONE)
        .value(SizeRule::NONE)
        .flags(BPF_F_MMAPABLE | BPF_F_SEGV_ON_FAULT | BPF_F_NO_USER_CONV)
        .requires(BPF_F_MMAPABLE)
        .support(Support::Partial(
            "of the pages of arenas larger than 1 GiB only those of the first GiB can be had",
        )),
    MapTypeSpec::new(MapType::InsnArray, "places in a program, by index")
        .since(6, 19)
        .key(SizeRule::WORD)
        .support(Support::Refused("Linux 6.18 does not have it")),
];

/// The row of a type; none for `Unspec`.
pub fn row(kind: MapType) -> Option<&'static MapTypeSpec> {
    ROWS.iter().find(|row| row.kind == kind)
}
