//! Random programs that the kernel's verifier accepts, for running one program in two places and comparing.
//!
//! The same seed gives the same program, on every host. A program uses everything of the instruction set that user
//! programs may: arithmetic of both widths, branches, bounded loops, loads and stores of every size, atomics, map
//! values, map helpers, subprograms. At its end it stores every number it can still read into its results map and
//! mixes them into r0. Addresses never flow into numbers, so that the outcome depends on the program and its input
//! alone. Nothing here runs anything.

mod block;
mod function;
mod mimic;
mod rng;
mod shrink;
mod state;

use mimic_abi::RawInsn;

pub(crate) use mimic::with_refs;
pub use rng::Rng;
pub use shrink::{delete_insn, shrink};

/// A random program with all it needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomProgram {
    /// What it was made from.
    pub seed: u64,
    /// The program's type.
    pub kind: RandomKind,
    /// Its instructions. Maps are referred to by index (`Imm64::MapIdx`, `Imm64::MapIdxValue`) in `maps`.
    pub insns: Vec<RawInsn>,
    /// Its maps; the first one takes the results.
    pub maps: Vec<RandomMap>,
    /// The packet it runs on.
    pub packet: Vec<u8>,
}

/// The type of a random program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomKind {
    /// BPF_PROG_TYPE_XDP.
    Xdp,
    /// BPF_PROG_TYPE_SCHED_CLS.
    SchedCls,
}

/// A map of a random program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomMap {
    /// Its type.
    pub kind: RandomMapKind,
    /// Bytes of a key; 0 for queues and stacks.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// What to put in before the run, in this order. A per-CPU value is for every CPU.
    pub entries: Vec<RandomEntry>,
}

/// The type of a random program's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomMapKind {
    /// BPF_MAP_TYPE_ARRAY.
    Array,
    /// BPF_MAP_TYPE_HASH.
    Hash,
    /// BPF_MAP_TYPE_PERCPU_ARRAY.
    PercpuArray,
    /// BPF_MAP_TYPE_PERCPU_HASH.
    PercpuHash,
    /// BPF_MAP_TYPE_QUEUE.
    Queue,
    /// BPF_MAP_TYPE_STACK.
    Stack,
}

/// What running a random program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomOutcome {
    /// r0's low half.
    pub retval: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// For each map its keys and values: sorted by key, or in pop order for queues and stacks. Per-CPU values are CPU 0's.
    pub maps: Vec<Vec<RandomEntry>>,
}

/// A key and its value.
pub type RandomEntry = (Vec<u8>, Vec<u8>);

/// BPF_F_NO_PREALLOC.
const NO_PREALLOC: u32 = 1;

/// Bytes of the packet, all of which the program checks for once.
const PACKET_LEN: usize = 64;

impl RandomProgram {
    /// The program of `seed`.
    pub fn new(seed: u64) -> RandomProgram {
        let mut rng = Rng::new(seed);
        let kind = rng.pick(&[RandomKind::Xdp, RandomKind::SchedCls]);
        let mut maps = vec![RandomMap::results()];
        for _ in 0..rng.range(1, 3) {
            maps.push(RandomMap::new(&mut rng));
        }
        let packet = rng.bytes(PACKET_LEN);
        let insns = function::program(&mut rng, kind, &maps);
        RandomProgram { seed, kind, insns, maps, packet }
    }

    /// The slots at which its functions begin, main's first.
    pub fn functions(&self) -> Vec<u32> {
        function::starts(&self.insns)
    }

    /// Whether it hands functions to helpers.
    pub fn has_callbacks(&self) -> bool {
        const LD_IMM64: u8 = 0x18;
        self.insns.iter().any(|insn| insn.opcode == LD_IMM64 && function::names_function(insn))
    }
}

impl RandomKind {
    /// `enum bpf_prog_type`.
    pub fn prog_type(self) -> u32 {
        match self {
            RandomKind::SchedCls => 3,
            RandomKind::Xdp => 6,
        }
    }
}

impl RandomKind {
    /// Where the context says where the packet begins and where it ends, in bytes.
    fn packet_fields(self) -> (i16, i16) {
        match self {
            RandomKind::Xdp => (0, 4),
            RandomKind::SchedCls => (76, 80),
        }
    }
}

impl RandomMapKind {
    /// Whether there is a value for each CPU.
    pub fn is_percpu(self) -> bool {
        matches!(self, RandomMapKind::PercpuArray | RandomMapKind::PercpuHash)
    }

    /// `enum bpf_map_type`.
    pub fn map_type(self) -> u32 {
        match self {
            RandomMapKind::Hash => 1,
            RandomMapKind::Array => 2,
            RandomMapKind::PercpuHash => 5,
            RandomMapKind::PercpuArray => 6,
            RandomMapKind::Queue => 22,
            RandomMapKind::Stack => 23,
        }
    }

    /// Whether its elements have no keys.
    pub fn is_queue(self) -> bool {
        matches!(self, RandomMapKind::Queue | RandomMapKind::Stack)
    }

    /// Whether a pointer to a value may go stale: the entry can be deleted or replaced.
    pub fn is_hash(self) -> bool {
        matches!(self, RandomMapKind::Hash | RandomMapKind::PercpuHash)
    }
}

impl RandomMap {
    /// One value that takes ten registers and the scratch area.
    fn results() -> RandomMap {
        let value_size = (8 * 10 + function::MAX_AREA) as u32;
        RandomMap {
            kind: RandomMapKind::Array,
            key_size: 4,
            value_size,
            max_entries: 1,
            flags: 0,
            entries: vec![],
        }
    }

    fn new(rng: &mut Rng) -> RandomMap {
        use RandomMapKind::{Array, Hash, PercpuArray, PercpuHash, Queue, Stack};
        let kind = rng.pick(&[Array, Array, Hash, Hash, Hash, PercpuArray, PercpuHash, Queue, Stack]);
        let key_size = match kind {
            Array | PercpuArray => 4,
            Hash | PercpuHash => rng.pick(&[4, 8, 12, 16]),
            Queue | Stack => 0,
        };
        let value_size = rng.pick(&[8, 8, 16, 24, 4, 12, 32]);
        let max_entries = rng.range(1, 6) as u32;
        let flags = if kind.is_hash() && rng.chance(40) { NO_PREALLOC } else { 0 };
        let entry = |at: u32| {
            let mut key = vec![0; key_size];
            for (to, from) in key.iter_mut().zip(at.to_ne_bytes()) {
                *to = from;
            }
            (key, rng.bytes(value_size as usize))
        };
        let entries = (0..max_entries.div_ceil(2)).map(entry).collect();
        RandomMap { kind, key_size: key_size as u32, value_size, max_entries, flags, entries }
    }
}
