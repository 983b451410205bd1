//! Loading: a linked program and the maps it refers to become what a VM runs.

use crate::map::{MapError, MapRef};
use crate::op::{Ops, TranslateError};
use crate::program::{HelperRef, LoadedProgram, func_addr, kfunc_addr};
use crate::vm::Vm;
use crate::{Hygiene, MemoryError};
use core::fmt;
use mimic_abi::{ByteOrder, Callee, Errno, RawInsn};
use mimic_object::{Contents, Init, MapSpec, Program, Ref, RefTarget};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why something cannot be loaded into a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The program's code cannot be run.
    Translate {
        /// The program.
        program: String,
        /// Why.
        error: TranslateError,
    },
    /// The object's byte order is not the VM's.
    ByteOrder {
        /// The program.
        program: String,
        /// Its byte order.
        order: ByteOrder,
    },
    /// The emulator refused a map.
    Map {
        /// The map.
        map: String,
        /// What bpf(2) answers, and why.
        error: MapError,
        /// While what was done.
        what: &'static str,
    },
    /// No guest memory.
    Memory(MemoryError),
    /// A reference that nothing answers.
    Unresolved {
        /// The program.
        program: String,
        /// The slot.
        pc: u32,
        /// What it refers to, and what would answer it.
        what: String,
    },
    /// The VM holds as many programs as it may.
    Full {
        /// The limit, `Limits::programs_max`.
        programs_max: u32,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Translate { program, error } => write!(f, "program {program}: {error}"),
            LoadError::ByteOrder { program, order } => {
                write!(f, "program {program} is {order:?}-endian, the VM is not (VmBuilder::byte_order)")
            }
            LoadError::Map { map, error, what } => write!(f, "map {map}: {what}: {error}"),
            LoadError::Memory(error) => error.fmt(f),
            LoadError::Unresolved { program, pc, what } => write!(f, "program {program}, pc {pc}: {what}"),
            LoadError::Full { programs_max } => {
                write!(f, "the VM holds {programs_max} programs already (Limits::programs_max)")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Vm {
    /// Makes the maps of an object, with the data that they begin with. Slots that hold maps are filled; those that hold programs wait for
    /// [`Vm::fill_program_slots`].
    pub fn load_maps(&self, specs: &[MapSpec]) -> Result<Vec<Arc<MapRef>>, LoadError> {
        let env = self.map_env();
        let create = |spec: &MapSpec| {
            let mut spec = spec.clone();
            self.emulator().prepare_map(&mut spec, &env);
            self.create_map(&spec).map_err(|error| failed(&spec, "creating it", error))
        };
        let maps: Vec<Arc<MapRef>> = specs.iter().map(create).collect::<Result<_, _>>()?;
        for (spec, map) in specs.iter().zip(&maps) {
            match &spec.contents {
                Contents::Empty => {}
                Contents::Data { bytes, frozen } => {
                    let filled = map.set_data(bytes);
                    filled.map_err(|errno| refused(spec, "filling it with its section's data", errno))?;
                    if *frozen {
                        map.freeze().map_err(|errno| refused(spec, "freezing it", errno))?;
                    }
                }
                Contents::Slots(slots) => {
                    for slot in slots {
                        let Init::Map(inner) = slot.init else { continue };
                        let key = self.u32_bytes(slot.index);
                        let inner = maps.get(inner).ok_or(Errno::EBADF);
                        let set = inner.and_then(|inner| map.set_map(&key, inner, 0));
                        set.map_err(|errno| {
                            refused(spec, &format!("putting a map into slot {}", slot.index), errno)
                        })?;
                    }
                }
            }
        }
        Ok(maps)
    }

    /// Fills the slots of program arrays that an object initialises.
    pub fn fill_program_slots(
        &self,
        specs: &[MapSpec],
        maps: &[Arc<MapRef>],
        programs: &[Arc<LoadedProgram>],
    ) -> Result<(), LoadError> {
        for (spec, map) in specs.iter().zip(maps) {
            let Contents::Slots(slots) = &spec.contents else { continue };
            for slot in slots {
                let Init::Program(name) = &slot.init else { continue };
                let program = programs.iter().find(|program| **program.name() == **name).ok_or(Errno::ENOENT);
                let set =
                    program.and_then(|program| map.set_program(&self.u32_bytes(slot.index), program, 0));
                let what = || format!("putting program {name} into slot {}", slot.index);
                set.map_err(|errno| refused(spec, &what(), errno))?;
            }
        }
        Ok(())
    }

    /// Adds a linked program. `maps` are the object's, in its order.
    pub fn add(
        self: &Arc<Vm>,
        linked: Program,
        maps: &[Arc<MapRef>],
    ) -> Result<Arc<LoadedProgram>, LoadError> {
        let order = self.memory().order();
        if linked.byte_order != order {
            return Err(LoadError::ByteOrder { program: linked.name, order: linked.byte_order });
        }
        let full = |programs_max| LoadError::Full { programs_max };
        self.add_program(full, |id| {
            let linker = Linker { vm: self, id, maps, linked: &linked };
            let (code, used) = linker.resolve()?;
            let mut helpers = Helpers { linker: &linker, table: Vec::new(), known: BTreeMap::new() };
            let fast_stack = self.memory().hygiene() != Hygiene::Poison;
            let ops = Ops::translate(&code, order == ByteOrder::Big, fast_stack, |pc, callee| {
                helpers.index(pc, callee)
            })
            .map_err(|error| LoadError::Translate { program: linked.name.clone(), error })?;
            let helpers = helpers.table.into();
            Ok(LoadedProgram {
                id,
                name: linked.name.as_str().into(),
                code: code.into(),
                ops,
                helpers,
                arena: used.iter().find_map(|map| map.arena()),
                maps: used.into(),
                probe_loads: self.emulator().probe_loads(&linked),
                exception_callback: linked.exception_callback,
                heat: Default::default(),
                compiled: Default::default(),
                linked,
            })
        })
    }

    fn u32_bytes(&self, value: u32) -> [u8; 4] {
        match self.memory().order() {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }
}

fn failed(spec: &MapSpec, what: &'static str, error: MapError) -> LoadError {
    LoadError::Map { map: spec.name.clone(), error, what }
}

fn refused(spec: &MapSpec, what: &str, errno: Errno) -> LoadError {
    failed(spec, "initialising it", MapError::new(errno, what))
}

/// Puts addresses in place of references.
struct Linker<'a> {
    vm: &'a Arc<Vm>,
    id: u32,
    maps: &'a [Arc<MapRef>],
    linked: &'a Program,
}

impl Linker<'_> {
    fn resolve(&self) -> Result<(Vec<RawInsn>, Vec<Arc<MapRef>>), LoadError> {
        let mut code = self.linked.code.clone();
        let mut used: Vec<Arc<MapRef>> = Vec::new();
        for reference in &self.linked.refs {
            let map = match &reference.target {
                RefTarget::Map(map) | RefTarget::MapValue { map, .. } => self.maps.get(*map),
                RefTarget::Func(_) | RefTarget::Ksym { .. } | RefTarget::Kfunc { .. } => None,
            };
            used.extend(map.filter(|map| !used.iter().any(|known| known.id == map.id)).cloned());
            let Some(value) = self.value(reference)? else { continue };
            let slots = code.get_mut(reference.pc as usize..reference.pc as usize + 2);
            let Some([low, high]) = slots else {
                return Err(self.unresolved(reference.pc, "no ld_imm64 is here"));
            };
            (low.src, low.imm, high.imm) = (0, value as i32, (value >> 32) as i32);
        }
        Ok((code, used))
    }

    /// What a `ld_imm64` loads; none for calls.
    fn value(&self, reference: &Ref) -> Result<Option<u64>, LoadError> {
        let missing = |what: String| self.unresolved(reference.pc, what);
        let map =
            |map: usize| self.maps.get(map).ok_or_else(|| missing(format!("the object has no map {map}")));
        Ok(Some(match &reference.target {
            RefTarget::Map(index) => map(*index)?.addr,
            RefTarget::MapValue { map: index, off } => {
                let map = map(*index)?;
                map.direct_value(*off).map_err(|errno| {
                    missing(format!("address of byte {off} of map {}: {errno}", map.spec().name))
                })?
            }
            RefTarget::Func(pc) => func_addr(self.id, *pc),
            RefTarget::Ksym { name, weak, .. } => match self.vm.emulator().ksym(self.vm, name) {
                Some(addr) => addr,
                // `if (bpf_foo)`: programs ask whether there is such a function by its address.
                None if self.vm.has_kfunc(name) => kfunc_addr(name),
                None if *weak => 0,
                None => return Err(missing(format!("kernel symbol {name} is not known to the emulator"))),
            },
            RefTarget::Kfunc { .. } => return Ok(None),
        }))
    }

    fn unresolved(&self, pc: u32, what: impl Into<String>) -> LoadError {
        LoadError::Unresolved { program: self.linked.name.clone(), pc, what: what.into() }
    }
}

/// The helpers that a program calls, each once.
struct Helpers<'a> {
    linker: &'a Linker<'a>,
    table: Vec<HelperRef>,
    known: BTreeMap<String, u32>,
}

impl Helpers<'_> {
    /// The index of what a call at `pc` calls. A helper that does not exist gets one that faults with its number: programs carry such
    /// calls where CO-RE found nothing, and may never reach them.
    fn index(&mut self, pc: u32, callee: Callee) -> Option<u32> {
        let refs = &self.linker.linked.refs;
        let kfunc = refs.binary_search_by_key(&pc, |reference| reference.pc).ok().map(|at| &refs[at].target);
        let (key, found) = match (callee, kfunc) {
            (_, Some(RefTarget::Kfunc { name, .. })) => (name.clone(), self.linker.vm.kfunc_ref(name)),
            (Callee::Helper(id), _) => (format!("helper {id}"), self.linker.vm.helper_ref(id)),
            (Callee::Subprog(_) | Callee::Kfunc { .. }, _) => return None,
        };
        if let Some(index) = self.known.get(&key) {
            return Some(*index);
        }
        let helper = found.unwrap_or_else(|| HelperRef::missing(&key));
        self.table.push(helper);
        let index = self.table.len() as u32 - 1;
        self.known.insert(key, index);
        Some(index)
    }
}
