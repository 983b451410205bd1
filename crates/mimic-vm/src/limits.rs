//! `Limits`: what a guest may use up.

/// Named limits of a VM. Each is reported by its name when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions that one run may execute. It is looked at where control is transferred, so a run may go over by the length of a
    /// straight piece of code.
    pub insns_max: u64,
    /// Programs in one VM.
    pub programs_max: u32,
    /// Maps in one VM.
    pub maps_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { insns_max: 1 << 32, programs_max: 65536, maps_max: crate::map::MAPS_MAX }
    }
}
