//! `Emulator`: what a VM asks of the platform that its programs talk to, and `Helper`: a row with its function.
//!
//! The VM knows instructions, registers, memory, processes. Helpers, maps and contexts are the emulator's.

use crate::call::{Call, HelperResult, Trap};
use crate::fault::FaultKind;
use crate::map::{Map, MapEnv, MapError};
use crate::vm::Vm;
use core::any::Any;
use mimic_abi::{Errno, HelperSpec, Size};
use mimic_object::{MapSpec, Program};
use std::sync::Arc;

/// A helper's function: the caller, then r1 to r5.
pub type HelperFn = fn(&mut Call<'_>, u64, u64, u64, u64, u64) -> HelperResult;

/// A row with the function that does the work.
#[derive(Clone, Copy)]
pub struct Helper {
    /// The row.
    pub spec: HelperSpec,
    /// The function; `None` for rows that are only listed.
    pub run: Option<HelperFn>,
    /// What engines know it as.
    pub known: Option<Known>,
}

/// Helpers that engines know the meaning of, so that compiled code can do without a call. The row's function says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The number of the virtual CPU.
    Cpu,
    /// [`Map::lookup`] for the CPU, of the map in r1 and the key that r2 points at.
    MapLookup,
}

impl Helper {
    /// A row that is done by `run`.
    pub const fn new(spec: HelperSpec, run: HelperFn) -> Helper {
        Helper { spec, run: Some(run), known: None }
    }

    /// The same, of a meaning that engines know.
    pub const fn known(self, known: Known) -> Helper {
        Helper { known: Some(known), ..self }
    }

    /// A row that is listed, and faults by name when called.
    pub const fn listed(spec: HelperSpec) -> Helper {
        Helper { spec, run: None, known: None }
    }
}

/// A helper made of a closure: a mock, an addition, an error to inject.
pub type HelperClosure = Arc<dyn Fn(&mut Call<'_>, [u64; 5]) -> HelperResult + Send + Sync>;

/// What runs when a program calls a helper or kfunc.
#[derive(Clone)]
pub enum HelperImpl {
    /// A row's function.
    Fn(HelperFn),
    /// A closure.
    Closure(HelperClosure),
    /// Nothing: the fault tells why.
    Missing(Arc<str>),
}

impl HelperImpl {
    #[inline(always)]
    pub(crate) fn invoke(&self, call: &mut Call<'_>, args: [u64; 5]) -> HelperResult {
        let [r1, r2, r3, r4, r5] = args;
        match self {
            HelperImpl::Fn(run) => run(call, r1, r2, r3, r4, r5),
            HelperImpl::Closure(run) => run(call, args),
            HelperImpl::Missing(why) => Err(FaultKind::Unsupported(why.to_string()).into()),
        }
    }
}

/// The platform: helpers, kfuncs, maps and packet access. Methods that have a default are optional abilities.
pub trait Emulator: Any + Send + Sync {
    /// The helper of this number.
    fn helper(&self, id: u32) -> Option<&Helper>;

    /// All helpers, by rising number: for listings.
    fn helpers(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(core::iter::empty())
    }

    /// The kernel function of this BTF name.
    fn kfunc(&self, name: &str) -> Option<&Helper> {
        let _ = name;
        None
    }

    /// All kernel functions: for listings.
    fn kfuncs(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(core::iter::empty())
    }

    /// Makes a map. The error holds what bpf(2) `BPF_MAP_CREATE` answers, and why.
    fn create_map(&self, spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, MapError> {
        let _ = env;
        let why = format!("this emulator has no maps, and so none of type {}", spec.map_type);
        Err(MapError::new(Errno::EINVAL, why))
    }

    /// What programs read through a pointer to a map itself (`struct bpf_map`), from its start; nothing if that is not to be read. `id` is
    /// the map's. At most 512 bytes are kept.
    fn map_view(&self, map: &dyn Map, id: u32) -> Vec<u8> {
        let _ = (map, id);
        Vec::new()
    }

    /// Changes what an object says of a map into what a loader asks for (sizes that depend on the number of CPUs or on the page length).
    fn prepare_map(&self, spec: &mut MapSpec, env: &MapEnv) {
        let _ = (spec, env);
    }

    /// The address that a kernel symbol has (`.ksyms` externs) for programs of this VM.
    fn ksym(&self, vm: &Vm, name: &str) -> Option<u64> {
        let _ = (vm, name);
        None
    }

    /// The value that a legacy packet load (`r0 = *(u32 *)skb[off]`) reads, in the host's order. `off` is signed and 32 bits wide in effect.
    /// An access beyond the packet is `Trap::ExitProgram(0)`.
    fn packet_load(&self, call: &mut Call<'_>, off: i64, size: Size) -> HelperResult {
        let _ = (off, size);
        Err(call.unsupported("this emulator has no packets for legacy packet loads"))
    }

    /// Whether loads of this program from where nothing is read zero, and are counted, rather than fault: the kernel's fault-safe loads
    /// (`BPF_PROBE_MEM`). An access beyond the end of an object, or near one, is a fault all the same.
    fn probe_loads(&self, program: &Program) -> bool {
        let _ = program;
        false
    }

    /// Told when a run returns that kept something with [`Call::run_state`], before the context is left.
    fn run_ended(&self, call: &mut Call<'_>) -> Result<(), Trap> {
        let _ = call;
        Ok(())
    }
}
