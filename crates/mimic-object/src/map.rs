//! `MapSpec`: what an object says of a map, and what bpf(2) `BPF_MAP_CREATE` is asked for.

use mimic_abi::MapType;
use mimic_abi::uapi::UnknownId;

use crate::fields::MapField;

/// What a map is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name in the object; for data sections the section's. [`MapSpec::kernel_name`] is what libbpf makes of it.
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
    /// What the definition's `pinning` says: 0 not at all, 1 by name; tools have numbers of their own.
    pub pinning: u32,
    /// The type of keys in the object's BTF; 0 if unknown.
    pub key_type: u32,
    /// The type of values in the object's BTF, for data sections their `DATASEC`; 0 if unknown.
    pub value_type: u32,
    /// What lies in values that is not plain data, by rising offset.
    pub fields: Vec<MapField>,
    /// The template of the maps that a map of maps holds.
    pub inner: Option<Box<MapSpec>>,
    /// What it holds from the start.
    pub contents: Contents,
    /// How the object defines it.
    pub origin: MapOrigin,
}

/// How an object defines a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapOrigin {
    /// A variable in `.maps`, described by its BTF.
    #[default]
    Btf,
    /// Words in a `maps` section.
    Legacy,
    /// Initialised variables: an array with one value.
    Data,
    /// Constants, frozen before a program runs.
    Rodata,
    /// Variables that begin as zeros.
    Bss,
    /// Constants of the kernel's configuration, see [`crate::Object::maps_for`].
    Kconfig,
}

impl MapSpec {
    /// The type, if Linux has one of this number.
    pub fn kind(&self) -> Result<MapType, UnknownId> {
        MapType::try_from(self.map_type)
    }

    /// Holds the variables of a section.
    pub fn is_data(&self) -> bool {
        match self.origin {
            MapOrigin::Btf | MapOrigin::Legacy => false,
            MapOrigin::Data | MapOrigin::Rodata | MapOrigin::Bss | MapOrigin::Kconfig => true,
        }
    }

    /// Pinned by name (`LIBBPF_PIN_BY_NAME`).
    pub fn is_pinned(&self) -> bool {
        self.pinning == PIN_BY_NAME
    }

    /// The name that libbpf gives the map in the kernel: at most 15 bytes; data sections get the beginning of the object's name before
    /// theirs. `object` is the file's name up to its first dot.
    ///
    /// ```
    /// # use mimic_object::{MapOrigin, MapSpec};
    /// let map = MapSpec { name: ".rodata".into(), origin: MapOrigin::Rodata, ..MapSpec::default() };
    /// assert_eq!(map.kernel_name("xdp_firewall"), "xdp_fire.rodata");
    /// ```
    pub fn kernel_name(&self, object: &str) -> String {
        let cut = |name: &str, len: usize| name.chars().take(len).collect::<String>();
        if !self.is_data() {
            return cut(&self.name, NAME_LEN);
        }
        let custom = self.name.get(1..).is_some_and(|rest| rest.contains('.'));
        let suffix_len = self.name.len().clamp(7, NAME_LEN);
        let prefix = if custom { String::new() } else { cut(object, NAME_LEN - suffix_len) };
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' };
        (prefix + &cut(&self.name, suffix_len)).chars().map(plain).collect()
    }
}

/// `BPF_OBJ_NAME_LEN` without the NUL.
const NAME_LEN: usize = 15;
const PIN_BY_NAME: u32 = 1;

/// What a map holds from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, or zeros.
    #[default]
    Empty,
    /// A data section: the bytes of the only value. For an arena: the bytes at its start.
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
