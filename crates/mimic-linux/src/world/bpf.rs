//! Maps and programs as kernel objects: what programs that look at them see.

use mimic_object::MapSpec;

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BpfMapInfo {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    pub(crate) map_extra: u64,
    /// The node of its memory; none: any.
    pub(crate) numa_node: Option<u32>,
}

impl BpfMapInfo {
    pub(crate) fn of(id: u32, spec: &MapSpec) -> BpfMapInfo {
        BpfMapInfo {
            id,
            name: spec.name.clone(),
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            map_flags: spec.map_flags,
            map_extra: spec.map_extra,
            numa_node: spec.numa_node,
        }
    }

    /// Members of `struct bpf_map` that are numbers, with their values.
    pub(crate) fn members(&self) -> [(&'static str, u64); 10] {
        const NO_NODE: u64 = u64::MAX;
        [
            ("id", self.id.into()),
            ("map_type", self.map_type.into()),
            ("key_size", self.key_size.into()),
            ("value_size", self.value_size.into()),
            ("max_entries", self.max_entries.into()),
            ("map_flags", self.map_flags.into()),
            ("map_extra", self.map_extra),
            ("numa_node", self.numa_node.map_or(NO_NODE, u64::from)),
            ("refcnt.counter", 1),
            ("usercnt.counter", 1),
        ]
    }
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BpfProgInfo {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) prog_type: u32,
    /// Its slots.
    pub(crate) len: u32,
}
