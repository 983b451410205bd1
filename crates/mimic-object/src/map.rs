//! `MapSpec`: what an object says of a map, and what bpf(2) `BPF_MAP_CREATE` is asked for.

use mimic_abi::MapType;
use mimic_abi::uapi::UnknownId;

/// What a map is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name in the object.
    pub name: String,
    /// `enum bpf_map_type`, as a number: objects in the wild hold others than Linux knows.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The most elements; bytes for ring buffers, pages for arenas.
    pub max_entries: u32,
    /// `BPF_F_*` flags of map creation.
    pub map_flags: u32,
    /// What it means depends on the type (the number of a Bloom filter's hashes).
    pub map_extra: u64,
    /// The NUMA node that the object asks for.
    pub numa_node: Option<u32>,
    /// Pinned by name (`LIBBPF_PIN_BY_NAME`).
    pub pinned: bool,
    /// The template of the maps that a map of maps holds.
    pub inner: Option<Box<MapSpec>>,
    /// What it holds from the start.
    pub contents: Contents,
}

impl MapSpec {
    /// The type, if Linux has one of this number.
    pub fn kind(&self) -> Result<MapType, UnknownId> {
        MapType::try_from(self.map_type)
    }
}

/// What a map holds from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, or zeros.
    #[default]
    Empty,
    /// A data section: the bytes of the only value.
    Data {
        /// The bytes.
        bytes: Vec<u8>,
        /// The section is read-only (`.rodata`, `.kconfig`): the map is frozen when it is filled.
        frozen: bool,
    },
    /// Slots of a map of maps or of programs.
    Slots(Vec<Slot>),
}

/// A slot that an object fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The index.
    pub index: u32,
    /// What goes there.
    pub init: Init,
}

/// What goes into a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// The map of this index in `Object::maps`.
    Map(usize),
    /// The program of this name.
    Program(String),
}
