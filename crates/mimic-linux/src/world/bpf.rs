//! Maps and programs as kernel objects: what programs that look at them see.

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
