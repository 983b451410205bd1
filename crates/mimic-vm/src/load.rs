//! Loading: a linked program and the maps it refers to become what a VM runs.

use crate::map::MapRef;
use crate::op::{Ops, TranslateError};
use crate::program::{HelperRef, LoadedProgram, func_addr};
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
        /// What bpf(2) answers.
        errno: Errno,
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
            LoadError::Map { map, errno, what } => write!(f, "map {map}: {what}: {errno}"),
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
        let error = |spec: &MapSpec, what| {
            let map = spec.name.clone();
            move |errno| LoadError::Map { map, errno, what }
        };
        let maps: Vec<Arc<MapRef>> = specs
            .iter()
            .map(|spec| self.create_map(spec).map_err(error(spec, "creating it")))
            .collect::<Result<_, _>>()?;
        for (spec, map) in specs.iter().zip(&maps) {
            match &spec.contents {
                Contents::Empty => {}
                Contents::Data { bytes, frozen } => {
                    map.update_copy(&[0; 4], bytes, 0).map_err(error(spec, "filling it"))?;
                    if *frozen {
                        map.freeze().map_err(error(spec, "freezing it"))?;
                    }
                }
                Contents::Slots(slots) => {
                    for slot in slots {
                        let Init::Map(inner) = slot.init else { continue };
                        let inner =
                            maps.get(inner).ok_or(Errno::EINVAL).map_err(error(spec, "filling a slot"))?;
                        let key = self.u32_bytes(slot.index);
                        map.set_map(&key, inner, 0).map_err(error(spec, "filling a slot"))?;
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
                let error = |errno| LoadError::Map {
                    map: spec.name.clone(),
                    errno,
                    what: "filling a slot with a program",
                };
                let program = programs.iter().find(|program| **program.name() == **name);
                let program = program.ok_or(Errno::ENOENT).map_err(error)?;
                map.set_program(&self.u32_bytes(slot.index), program, 0).map_err(error)?;
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
                maps: used.into(),
                exception_callback: linked.exception_callback,
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
            RefTarget::Ksym { name, weak, .. } => match self.vm.emulator().ksym(name) {
                Some(addr) => addr,
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
