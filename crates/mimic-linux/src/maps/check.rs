//! What `BPF_MAP_CREATE` checks before a map type's own constructor: the rules of the type's row, and limits of size.

use mimic_abi::uapi::map_flags::*;
use mimic_abi::{EntriesRule, Errno, MapType, MapTypeSpec, SizeRule};
use mimic_object::{FieldKind, MapSpec};
use mimic_vm::MapError;
use mimic_vm::memory::PAGE_LEN;

/// The most bytes that the kernel allocates in one piece; keys and values of most types stay below.
pub(super) const KMALLOC_MAX: u64 = 4 << 20;
/// The most bytes of a per-CPU value.
const PERCPU_VALUE_MAX: u32 = 32 << 10;
/// The most bytes of a value in local storage.
const LOCAL_VALUE_MAX: u32 = 65407;
/// Bytes that a hash element has before its key.
const HASH_ELEM_LEN: u64 = 48;
const FLAG_NAMES: &[&str] = &[
    "BPF_F_NO_PREALLOC",
    "BPF_F_NO_COMMON_LRU",
    "BPF_F_NUMA_NODE",
    "BPF_F_RDONLY",
    "BPF_F_WRONLY",
    "BPF_F_STACK_BUILD_ID",
    "BPF_F_ZERO_SEED",
    "BPF_F_RDONLY_PROG",
    "BPF_F_WRONLY_PROG",
    "BPF_F_CLONE",
    "BPF_F_MMAPABLE",
    "BPF_F_PRESERVE_ELEMS",
    "BPF_F_INNER_MAP",
];

/// Checks a map to be against its type's row, in the kernel's order where that decides the errno.
pub(super) fn properties(spec: &MapSpec, row: &MapTypeSpec) -> Result<(), MapError> {
    let kind = row.kind;
    if !matches!(kind, MapType::BloomFilter | MapType::Arena) && spec.map_extra != 0 {
        return invalid(format!(
            "map_extra is {:#x}, but only Bloom filters and arenas have a use for it",
            spec.map_extra
        ));
    }
    if kind == MapType::BloomFilter && u64::from(spec.value_size) > KMALLOC_MAX {
        return too_big(kind, "value_size", KMALLOC_MAX);
    }
    flags(spec, row)?;
    size(spec, "key_size", spec.key_size, row.key)?;
    size(spec, "value_size", spec.value_size, row.value)?;
    if !row.entries.allows(spec.max_entries, PAGE_LEN) {
        let wanted = match row.entries {
            EntriesRule::Some => "more than 0".into(),
            EntriesRule::UpTo(max) => format!("1 to {max}"),
            EntriesRule::Zero => "0".into(),
            EntriesRule::RingBytes => format!("a power of two and a multiple of {PAGE_LEN}"),
        };
        return invalid(format!(
            "max_entries of a {} map is to be {wanted}, not {}",
            kind.word(),
            spec.max_entries
        ));
    }
    limits(spec, kind)?;
    fields(spec, kind)
}

fn invalid(why: String) -> Result<(), MapError> {
    Err(MapError::new(Errno::EINVAL, why))
}

fn size(spec: &MapSpec, name: &str, size: u32, rule: SizeRule) -> Result<(), MapError> {
    if rule.allows(size) {
        return Ok(());
    }
    let wanted = match rule {
        SizeRule::OneOf([one]) => format!("{one}"),
        SizeRule::OneOf(sizes) => format!("one of {sizes:?}"),
        SizeRule::Range(min, u32::MAX) => format!("at least {min}"),
        SizeRule::Range(min, max) => format!("{min} to {max}"),
    };
    let kind = spec.kind().map_or("", MapType::word);
    invalid(format!("{name} of a {kind} map is to be {wanted}, not {size}"))
}

fn flags(spec: &MapSpec, row: &MapTypeSpec) -> Result<(), MapError> {
    let (flags, word) = (spec.map_flags, row.kind.word());
    let unknown = flags & !row.flags;
    if unknown != 0 {
        return invalid(format!("{} is no flag of {word} maps", flag_name(unknown)));
    }
    let missing = row.flags_required & !flags;
    if missing != 0 {
        return invalid(format!("a {word} map needs {}", flag_name(missing)));
    }
    for both in [BPF_F_RDONLY | BPF_F_WRONLY, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG] {
        if flags & both == both {
            return invalid(format!("a map cannot be both {}", flag_name(both)));
        }
    }
    let lru = matches!(row.kind, MapType::LruHash | MapType::LruPercpuHash);
    if lru && flags & BPF_F_NO_PREALLOC != 0 {
        return Err(MapError::new(Errno::ENOTSUPP, "LRU maps are always preallocated"));
    }
    if flags & BPF_F_NUMA_NODE != 0 && spec.numa_node.unwrap_or(0) != 0 {
        return invalid(format!("there is one NUMA node, 0, and no {}", spec.numa_node.unwrap_or(0)));
    }
    if flags & BPF_F_NUMA_NODE != 0 && (row.kind.is_percpu() || flags & BPF_F_NO_COMMON_LRU != 0) {
        return invalid("per-CPU maps have no NUMA node".into());
    }
    Ok(())
}

fn too_big(kind: MapType, what: &str, max: u64) -> Result<(), MapError> {
    Err(MapError::new(Errno::E2BIG, format!("{what} of a {} map is {max} bytes at most", kind.word())))
}

fn limits(spec: &MapSpec, kind: MapType) -> Result<(), MapError> {
    let too_big = |what, max| too_big(kind, what, max);
    let (key, value) = (u64::from(spec.key_size), u64::from(spec.value_size));
    if kind.is_percpu() && spec.value_size.div_ceil(8) > PERCPU_VALUE_MAX / 8 {
        return too_big("value_size", u64::from(PERCPU_VALUE_MAX));
    }
    match kind {
        MapType::SkStorage | MapType::InodeStorage | MapType::TaskStorage | MapType::CgrpStorage
            if spec.key_type == 0 || spec.value_type == 0 =>
        {
            invalid("maps of local storage need BTF types of key and value".into())
        }
        MapType::SkStorage
        | MapType::InodeStorage
        | MapType::TaskStorage
        | MapType::CgrpStorage
        | MapType::CgroupStorage
            if spec.value_size > LOCAL_VALUE_MAX =>
        {
            too_big("value_size", LOCAL_VALUE_MAX.into())
        }
        MapType::PercpuCgroupStorage if spec.value_size > PERCPU_VALUE_MAX => {
            too_big("value_size", PERCPU_VALUE_MAX.into())
        }
        MapType::Array if spec.value_size > i32::MAX as u32 => too_big("value_size", i32::MAX as u64),
        MapType::Hash
        | MapType::PercpuHash
        | MapType::LruHash
        | MapType::LruPercpuHash
        | MapType::HashOfMaps
            if key + value >= KMALLOC_MAX - HASH_ELEM_LEN =>
        {
            too_big("key_size with value_size", KMALLOC_MAX - HASH_ELEM_LEN - 1)
        }
        MapType::Queue | MapType::Stack if value > KMALLOC_MAX => too_big("value_size", KMALLOC_MAX),
        MapType::Queue | MapType::Stack if spec.max_entries >= u32::MAX / spec.value_size.max(1) => {
            too_big("max_entries times value_size", u64::from(u32::MAX))
        }
        _ => Ok(()),
    }
}

/// Which maps can have locks, timers and kernel pointers in their values.
fn fields(spec: &MapSpec, kind: MapType) -> Result<(), MapError> {
    use MapType::{
        Array, CgroupStorage, CgrpStorage, Hash, InodeStorage, LruHash, LruPercpuHash, PercpuArray,
        PercpuHash, SkStorage, TaskStorage,
    };
    if !spec.fields.is_empty() && spec.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG) != 0 {
        let why = "values with locks, timers or kernel pointers must be open to programs both ways";
        return Err(MapError::new(Errno::EACCES, why));
    }
    for field in &spec.fields {
        let fits = match field.kind {
            FieldKind::SpinLock => {
                matches!(
                    kind,
                    Hash | Array | CgroupStorage | SkStorage | InodeStorage | TaskStorage | CgrpStorage
                )
            }
            FieldKind::ResSpinLock => matches!(kind, Hash | Array),
            FieldKind::Timer
            | FieldKind::Wq
            | FieldKind::TaskWork
            | FieldKind::ListHead
            | FieldKind::RbRoot => matches!(kind, Hash | LruHash | Array),
            FieldKind::Kptr | FieldKind::KptrUntrusted | FieldKind::PercpuKptr | FieldKind::Refcount => {
                matches!(
                    kind,
                    Hash | PercpuHash
                        | LruHash
                        | LruPercpuHash
                        | Array
                        | PercpuArray
                        | SkStorage
                        | InodeStorage
                        | TaskStorage
                        | CgrpStorage
                )
            }
            FieldKind::Uptr => false,
            // Only what a program allocates has nodes; in a map they are plain bytes.
            FieldKind::ListNode | FieldKind::RbNode => true,
        };
        if !fits {
            let why = format!(
                "values of {} maps cannot have a {:?} (at byte {})",
                kind.word(),
                field.kind,
                field.off
            );
            return Err(MapError::new(Errno::EOPNOTSUPP, why));
        }
    }
    Ok(())
}

fn flag_name(flags: u32) -> String {
    let mut names: Vec<String> = Vec::new();
    for bit in (0..32).filter(|bit| flags >> bit & 1 != 0) {
        names.push(
            FLAG_NAMES.get(bit as usize).map_or_else(|| format!("{:#x}", 1u32 << bit), |name| (*name).into()),
        );
    }
    names.join(" | ")
}
