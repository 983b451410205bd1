//! `Program`: what is measured: the programs of `benches/programs`, as objects, with their inputs.

use crate::input;

/// What a program is like, for the means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Arithmetic, with or without a walk over 1,500 bytes: `geomean_compute`.
    Compute,
    /// Tight loops over memory: `geomean_loops`.
    Loops,
    /// One packet a run.
    Packets,
    /// A call, and nothing else.
    Call,
}

/// A program with its inputs.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its source's name and its function's.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The object for userspace: a function of r1 (memory) and r2 (its length).
    pub(crate) object: &'static [u8],
    /// The object for the kernel.
    pub(crate) kernel_object: &'static [u8],
    #[cfg_attr(not(feature = "peers"), expect(dead_code, reason = "only the wasm peers read it"))]
    pub(crate) wasm: &'static [u8],
    /// The memory at the start.
    pub(crate) memory: Vec<u8>,
    /// Offset and length of each input in the memory. A run is one of them.
    pub(crate) inputs: Vec<(u32, u32)>,
}

macro_rules! program {
    ($name:literal, $kind:ident, $input:expr) => {{
        let (memory, inputs) = $input;
        Program {
            name: $name,
            kind: Kind::$kind,
            object: include_bytes!(concat!("../programs/", $name, ".bpf.o")),
            kernel_object: include_bytes!(concat!("../programs/", $name, ".kernel.bpf.o")),
            wasm: include_bytes!(concat!("../programs/", $name, ".wasm")),
            memory,
            inputs,
        }
    }};
}

/// All programs.
pub(crate) fn all() -> Vec<Program> {
    vec![
        program!("alu", Compute, input::bytes(1500)),
        program!("fnv", Compute, input::bytes(1500)),
        program!("crc32", Compute, input::bytes(1500)),
        program!("siphash", Compute, input::bytes(1500)),
        program!("chacha", Compute, input::bytes(1500)),
        program!("statem", Compute, input::json(1024)),
        program!("large", Compute, input::bytes(1500)),
        program!("sieve", Loops, input::bytes(8192)),
        program!("matmul", Loops, input::bytes(12288)),
        program!("parse", Packets, input::packets()),
        program!("empty", Call, input::bytes(64)),
    ]
}
