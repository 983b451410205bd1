//! `Engine`: what runs a process's instructions, and `Checks`: what compiled code holds accesses against.

/// What runs instructions. Outcomes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Engine {
    /// The interpreter. It can stop anywhere: steps, probes.
    #[default]
    Interp,
    /// Machine code, made when a program first runs. Where there is none for the host's processor, for a guest of the other byte order,
    /// or with a probe, a run is a fault that says so.
    Jit,
    /// The interpreter first, machine code for programs that turn out to be used, where there can be any.
    Auto,
}

impl Engine {
    /// Whether there is compiled code for the host's processor. [`Engine::Auto`] works everywhere.
    pub const fn compiles_here() -> bool {
        crate::jit::HERE
    }
}

/// What compiled code holds accesses to guest memory against. The interpreter is always precise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Checks {
    /// Each access stays in one object and has the right, as in the interpreter; faults are the same, word by word.
    #[default]
    Precise,
    /// Each access stays in guest memory. What lies outside of all objects' pages is a fault; an access past an object's end that stays
    /// in pages that are or were in use is not noticed, nor is a write to an object that is read-only for programs, nor an address
    /// whose upper half is not zero. Fields of contexts keep their meaning. For programs that were verified, or where the guest may hurt itself.
    Cage,
}

impl core::fmt::Display for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Engine::Interp => "interp",
            Engine::Jit => "jit",
            Engine::Auto => "auto",
        })
    }
}
