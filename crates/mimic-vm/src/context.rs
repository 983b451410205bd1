//! `Context`: builds what a program's r1 points at, and reads the result back. `Setup` is where it finds memory for it.

use crate::memory::{Layout, Memory, MemoryError, Region};
use crate::program::LoadedProgram;
use core::any::Any;
use core::fmt;
use mimic_abi::CtxLayout;
use std::sync::Arc;

/// The input of a run: packets, tasks, raw bytes, in the program type's terms. It can be used for one run after another.
pub trait Context: Any + Send {
    /// Puts the context into guest memory; answers r1 to r5.
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError>;

    /// Takes the results out of guest memory. `r0` is none when the process faulted.
    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        let _ = (setup, r0);
    }
}

/// Why a context cannot be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextError {
    /// What `BPF_PROG_TEST_RUN` answers for the same input, and why.
    Errno(mimic_abi::Errno, String),
    /// No guest memory for it.
    Memory(MemoryError),
}

impl From<MemoryError> for ContextError {
    fn from(error: MemoryError) -> ContextError {
        ContextError::Memory(error)
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContextError::Errno(errno, why) => write!(f, "{why} ({errno})"),
            ContextError::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ContextError {}

/// What a context sees of the process that it enters or leaves.
pub struct Setup<'a> {
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) program: &'a Arc<LoadedProgram>,
    pub(crate) vm: &'a Arc<crate::Vm>,
    pub(crate) cpu: u32,
}

impl Setup<'_> {
    /// A region of at least `len` bytes, the same one for each run of the process as long as it suffices. Its bytes are those that the
    /// last run left. `name` identifies it and is what faults show.
    pub fn region(
        &mut self,
        name: &'static str,
        len: u32,
        layout: Layout,
    ) -> Result<Arc<Region>, MemoryError> {
        self.scratch.region(name, len, layout)
    }

    /// The region of this name, if the process has one.
    pub fn existing(&self, name: &str) -> Option<&Arc<Region>> {
        self.scratch.regions.iter().find(|(known, _)| *known == name).map(|(_, region)| region)
    }

    /// The program that is to run.
    pub fn program(&self) -> &Arc<LoadedProgram> {
        self.program
    }

    /// The VM.
    pub fn vm(&self) -> &Arc<crate::Vm> {
        self.vm
    }

    /// The emulator, if it is an `E`.
    pub fn emulator<E: 'static>(&self) -> Option<&E> {
        (&**self.vm.emulator() as &dyn Any).downcast_ref()
    }

    /// The guest memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.scratch.memory
    }

    /// The virtual CPU that the process runs on.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }
}

/// A process's own regions, by name. A handful.
pub(crate) struct Scratch {
    memory: Arc<Memory>,
    regions: Vec<(&'static str, Arc<Region>)>,
}

impl Scratch {
    pub(crate) fn new(memory: Arc<Memory>) -> Scratch {
        Scratch { memory, regions: Vec::new() }
    }

    pub(crate) fn region(
        &mut self,
        name: &'static str,
        len: u32,
        layout: Layout,
    ) -> Result<Arc<Region>, MemoryError> {
        let at = self.regions.iter().position(|(known, _)| *known == name);
        if let Some((_, region)) = at.map(|at| &self.regions[at])
            && region.capacity() >= len
            && region.layout() == &layout
        {
            return Ok(region.clone());
        }
        let region = Arc::new(self.memory.allocate(name, len, layout)?);
        match at {
            Some(at) => self.regions[at].1 = region.clone(),
            None => self.regions.push((name, region.clone())),
        }
        Ok(region)
    }
}

/// A context of plain bytes: r1 points at them. For any program type, and for programs that are plug-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawContext {
    /// What r1 points at; after the run, what the program left there.
    pub bytes: Vec<u8>,
    /// What r2 to r5 hold.
    pub args: [u64; 4],
    /// The fields, when the bytes are a known structure: accesses are checked against it.
    pub layout: Option<CtxLayout>,
}

impl RawContext {
    /// The most bytes of a raw context.
    pub const LEN_MAX: usize = 64 << 20;

    /// A context of these bytes, with their length in r2, as uBPF, rbpf and plug-ins have it.
    pub fn with_len(bytes: impl Into<Vec<u8>>) -> RawContext {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        RawContext { bytes, args: [len, 0, 0, 0], layout: None }
    }

    /// A context of these bytes; r2 to r5 are 0.
    pub fn new(bytes: impl Into<Vec<u8>>) -> RawContext {
        RawContext { bytes: bytes.into(), ..RawContext::default() }
    }
}

impl Context for RawContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let [r2, r3, r4, r5] = self.args;
        if self.bytes.is_empty() {
            return Ok([0, r2, r3, r4, r5]);
        }
        if self.bytes.len() > RawContext::LEN_MAX {
            let why = format!(
                "a raw context has at most {} bytes, this one {}",
                RawContext::LEN_MAX,
                self.bytes.len()
            );
            return Err(ContextError::Errno(mimic_abi::Errno::E2BIG, why));
        }
        let len = self.bytes.len() as u32;
        let layout = match self.layout {
            Some(layout) => Layout::Fields(layout),
            None => Layout::Bytes(crate::memory::Access::ReadWrite),
        };
        let region = setup.region("context", len, layout)?;
        region.set_bounds(0, len);
        region.write(0, &self.bytes);
        Ok([region.base(), r2, r3, r4, r5])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, _r0: Option<u64>) {
        if let Some(region) = setup.existing("context").filter(|_| !self.bytes.is_empty()) {
            region.read(0, &mut self.bytes);
        }
    }
}
