//! `Vm`: memory, maps and programs that belong together, and the emulator they talk to. Shared between threads.

use crate::emulator::{Emulator, HelperClosure, HelperImpl};
use crate::engine::{Checks, Engine};
use crate::limits::Limits;
use crate::map::{HandleBounds, MAP_HANDLE_LEN, MAPS_MAX, MapEnv, MapError, MapRef, MapTable};
use crate::memory::{Hygiene, Layout, Memory, MemoryError, MemoryOptions, Region};
use crate::process::Process;
use crate::program::{FuncRef, HelperRef, LoadedProgram, func_of_addr};
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use mimic_abi::{ByteOrder, Errno};
use mimic_object::MapSpec;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Memory, maps, programs, and an emulator.
pub struct Vm {
    emulator: Arc<dyn Emulator>,
    memory: Arc<Memory>,
    limits: Limits,
    cpus: u32,
    seed: u64,
    engine: (Engine, Checks),
    overrides: HashMap<Arc<str>, HelperImpl>,
    /// Where map handles are: addresses that name maps and hold nothing.
    handles: Region,
    handle_bounds: Arc<HandleBounds>,
    maps: RwLock<Arc<MapTable>>,
    maps_version: AtomicU64,
    programs: RwLock<Vec<Option<Arc<LoadedProgram>>>>,
    pub(crate) names: Names,
}

/// What a `Call` is named when no helper is called.
pub(crate) struct Names {
    pub(crate) packet_load: Arc<str>,
    pub(crate) end_of_run: Arc<str>,
}

/// Settings of a VM to be.
pub struct VmBuilder {
    emulator: Arc<dyn Emulator>,
    memory: MemoryOptions,
    limits: Limits,
    cpus: u32,
    seed: u64,
    engine: (Engine, Checks),
    overrides: HashMap<Arc<str>, HelperImpl>,
}

/// The most virtual CPUs.
pub const CPUS_MAX: u32 = 1024;

impl VmBuilder {
    /// The byte order that programs see; little unless said otherwise. Objects of the other order are refused.
    pub fn byte_order(mut self, order: ByteOrder) -> VmBuilder {
        self.memory.order = order;
        self
    }

    /// What happens to memory that is used again.
    pub fn hygiene(mut self, hygiene: Hygiene) -> VmBuilder {
        self.memory.hygiene = hygiene;
        self
    }

    /// The most bytes of guest memory.
    pub fn memory_bytes_max(mut self, bytes: u64) -> VmBuilder {
        self.memory.bytes_max = bytes;
        self
    }

    /// What guests may use up.
    pub fn limits(mut self, limits: Limits) -> VmBuilder {
        self.limits = limits;
        self
    }

    /// How many virtual CPUs there are, 1 to [`CPUS_MAX`]. One unless said otherwise.
    pub fn cpus(mut self, cpus: u32) -> VmBuilder {
        self.cpus = cpus.clamp(1, CPUS_MAX);
        self
    }

    /// What randomness in maps is drawn from; the same seed gives the same runs.
    pub fn seed(mut self, seed: u64) -> VmBuilder {
        self.seed = seed;
        self
    }

    /// What runs instructions; each process can be set to something else.
    pub fn engine(mut self, engine: Engine) -> VmBuilder {
        self.engine.0 = engine;
        self
    }

    /// What compiled code holds accesses against.
    pub fn checks(mut self, checks: Checks) -> VmBuilder {
        self.engine.1 = checks;
        self
    }

    /// Lets `run` answer a helper or kfunc (by name, with or without `bpf_`) instead of the emulator, for all programs of the VM. The
    /// emulator need not know it.
    pub fn helper(
        mut self,
        name: &str,
        run: impl Fn(&mut crate::Call<'_>, [u64; 5]) -> crate::HelperResult + Send + Sync + 'static,
    ) -> VmBuilder {
        let run: HelperClosure = Arc::new(run);
        self.overrides.insert(helper_name(name).into(), HelperImpl::Closure(run));
        self
    }

    /// Adds a kernel function of the user's own, or answers one instead of the emulator: `run` gets the arguments as the prototype's types have
    /// them, after what they point at was checked.
    pub fn kfunc(
        self,
        prototype: crate::Prototype,
        run: impl Fn(&mut crate::Call<'_>, [u64; 5]) -> crate::HelperResult + Send + Sync + 'static,
    ) -> VmBuilder {
        let name = prototype.name().to_owned();
        self.helper(&name, move |call, regs| {
            let args = prototype.check(call, regs)?;
            prototype.answer(run(call, args))
        })
    }

    /// Reserves the guest's address space.
    pub fn build(self) -> Result<Arc<Vm>, MemoryError> {
        let memory = Memory::new(self.memory)?;
        let handle_bounds = Arc::new(HandleBounds::default());
        let layout = Layout::Custom(handle_bounds.clone());
        let handles = memory.allocate("map", MAP_HANDLE_LEN * MAPS_MAX, layout)?;
        let maps = MapTable { base: handles.base(), maps: Vec::new(), version: 0 };
        Ok(Arc::new(Vm {
            emulator: self.emulator,
            memory,
            limits: self.limits,
            cpus: self.cpus,
            seed: self.seed,
            engine: self.engine,
            overrides: self.overrides,
            handles,
            handle_bounds,
            maps: RwLock::new(Arc::new(maps)),
            maps_version: AtomicU64::new(0),
            programs: RwLock::new(Vec::new()),
            names: Names { packet_load: "legacy packet load".into(), end_of_run: "end of run".into() },
        }))
    }
}

impl Vm {
    /// A VM on an emulator, with settings to be made.
    pub fn builder(emulator: impl Emulator) -> VmBuilder {
        VmBuilder {
            emulator: Arc::new(emulator),
            memory: MemoryOptions::default(),
            limits: Limits::default(),
            cpus: 1,
            seed: 0,
            engine: Default::default(),
            overrides: HashMap::new(),
        }
    }

    /// The emulator.
    #[inline]
    pub fn emulator(&self) -> &Arc<dyn Emulator> {
        &self.emulator
    }

    /// The emulator, if it is an `E`.
    #[inline]
    pub fn emulator_as<E: 'static>(&self) -> Option<&E> {
        (&*self.emulator as &dyn core::any::Any).downcast_ref()
    }

    /// The guest memory.
    #[inline]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// What guests may use up.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many virtual CPUs there are.
    #[inline]
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What new processes run on.
    pub fn engine(&self) -> (Engine, Checks) {
        self.engine
    }

    /// What maps of this VM are made with.
    pub fn map_env(&self) -> MapEnv {
        MapEnv { memory: self.memory.clone(), cpus: self.cpus, seed: self.seed }
    }

    /// Makes a map as the emulator does for this spec, and gives it an id and an address.
    pub fn create_map(&self, spec: &MapSpec) -> Result<Arc<MapRef>, MapError> {
        let map = self.emulator.create_map(spec, &self.map_env())?;
        self.add_map(map)
    }

    /// Gives a map an id and an address. `ENOSPC` beyond the limit.
    pub fn add_map(&self, map: Arc<dyn crate::Map>) -> Result<Arc<MapRef>, MapError> {
        self.change_maps(|table| {
            let free = table.maps.iter().position(Option::is_none).unwrap_or(table.maps.len());
            let maps_max = self.limits.maps_max.min(MAPS_MAX);
            if free >= maps_max as usize {
                let why = format!("the VM holds {maps_max} maps already (Limits::maps_max)");
                return Err(MapError::new(Errno::ENOSPC, why));
            }
            let addr = self.handles.base() + free as u64 * u64::from(MAP_HANDLE_LEN);
            let (id, key_size) = (free as u32 + 1, map.spec().key_size);
            let map = Arc::new(MapRef { id, addr, key_size, map, removed: AtomicBool::new(false) });
            if free == table.maps.len() {
                table.maps.push(None);
            }
            self.show(&map);
            table.maps[free] = Some(map.clone());
            Ok(map)
        })
    }

    /// Writes what programs may read of a map into its handle.
    fn show(&self, map: &MapRef) {
        let mut view = self.emulator.map_view(&*map.map, map.id);
        view.truncate(MAP_HANDLE_LEN as usize);
        let off = (map.addr - self.handles.base()) as u32;
        self.handles.fill(off, MAP_HANDLE_LEN, 0);
        self.handles.write(off, &view);
        self.handle_bounds.view_len.fetch_max(view.len() as u32, Ordering::Relaxed);
    }

    /// Takes a map away: its address names nothing any more. Programs that use it keep the map itself.
    pub fn remove_map(&self, id: u32) -> Option<Arc<MapRef>> {
        let map = self.change_maps(|table| table.maps.get_mut(id.checked_sub(1)? as usize)?.take())?;
        map.removed.store(true, Ordering::Release);
        Some(map)
    }

    /// The map of this id.
    pub fn map(&self, id: u32) -> Option<Arc<MapRef>> {
        self.maps().maps.get(id.checked_sub(1)? as usize)?.clone()
    }

    /// The maps, by rising id.
    pub fn all_maps(&self) -> Vec<Arc<MapRef>> {
        self.maps().maps.iter().flatten().cloned().collect()
    }

    /// The programs, by rising id.
    pub fn all_programs(&self) -> Vec<Arc<LoadedProgram>> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.iter().flatten().cloned().collect()
    }

    /// The program of this id.
    pub fn program(&self, id: u32) -> Option<Arc<LoadedProgram>> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.get(id.checked_sub(1)? as usize)?.clone()
    }

    /// Takes a program away; whoever holds it can still run it.
    pub fn remove_program(&self, id: u32) -> Option<Arc<LoadedProgram>> {
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        programs.get_mut(id.checked_sub(1)? as usize)?.take()
    }

    /// Makes a process for a program, on a virtual CPU.
    pub fn process(self: &Arc<Vm>, program: &Arc<LoadedProgram>, cpu: u32) -> Result<Process, MemoryError> {
        Process::new(self, program, cpu % self.cpus)
    }

    /// The function that a function pointer names.
    pub fn func_at(&self, addr: u64, running: &Arc<LoadedProgram>) -> Option<FuncRef> {
        let (id, pc) = func_of_addr(addr)?;
        let program = if running.id == id { running.clone() } else { self.program(id)? };
        program.ops.op_at(pc)?;
        Some(FuncRef { program, pc })
    }

    pub(crate) fn maps(&self) -> Arc<MapTable> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[inline]
    pub(crate) fn maps_version(&self) -> u64 {
        self.maps_version.load(Ordering::Acquire)
    }

    fn change_maps<T>(&self, edit: impl FnOnce(&mut MapTable) -> T) -> T {
        let mut table = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let mut edited = MapTable::clone(&table);
        let answer = edit(&mut edited);
        edited.version += 1;
        self.maps_version.store(edited.version, Ordering::Release);
        *table = Arc::new(edited);
        answer
    }

    /// Puts a program into the table; `make` gets its id.
    pub(crate) fn add_program<E>(
        &self,
        full: impl FnOnce(u32) -> E,
        make: impl FnOnce(u32) -> Result<LoadedProgram, E>,
    ) -> Result<Arc<LoadedProgram>, E> {
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        let free = programs.iter().position(Option::is_none).unwrap_or(programs.len());
        if free >= self.limits.programs_max as usize {
            return Err(full(self.limits.programs_max));
        }
        let program = Arc::new(make(free as u32 + 1)?);
        if free == programs.len() {
            programs.push(None);
        }
        programs[free] = Some(program.clone());
        Ok(program)
    }

    /// What a call of helper `id` runs.
    pub(crate) fn helper_ref(&self, id: u32) -> Option<HelperRef> {
        let helper = self.emulator.helper(id)?;
        Some(self.helper_of_row(id, format!("bpf_{}", helper.spec.name), helper))
    }

    /// What a call of kfunc `name` runs.
    pub(crate) fn kfunc_ref(&self, name: &str) -> Option<HelperRef> {
        if let Some(helper) = self.emulator.kfunc(name) {
            return Some(self.helper_of_row(0, name.into(), helper));
        }
        let run = self.overrides.get(helper_name(name))?.clone();
        Some(HelperRef { key: helper_name(name).into(), name: name.into(), spec: None, run, known: None })
    }

    /// Whether a kernel function of this name can be called; one that has a row only, to say why not, cannot.
    pub(crate) fn has_kfunc(&self, name: &str) -> bool {
        self.kfunc_ref(name).is_some_and(|kfunc| !matches!(kfunc.run, HelperImpl::Missing(_)))
    }

    fn helper_of_row(&self, id: u32, name: String, helper: &crate::Helper) -> HelperRef {
        let key: Arc<str> = helper_name(&name).into();
        let run = match (self.overrides.get(&key), helper.run) {
            (Some(run), _) => run.clone(),
            (None, Some(run)) => HelperImpl::Fn(run),
            (None, None) => {
                let note = helper.spec.support.note();
                let why = if note.is_empty() { "it is not implemented" } else { note };
                HelperImpl::Missing(
                    format!("{name} (helper {id}): {why}; override it with a closure, or replay a captured context").into(),
                )
            }
        };
        let known = helper.known.filter(|_| matches!(run, HelperImpl::Fn(_)));
        HelperRef { key, name: name.into(), spec: Some(helper.spec), run, known }
    }
}

impl Drop for Vm {
    /// Maps of programs and the programs that use them hold each other.
    fn drop(&mut self) {
        for map in self.maps().maps.iter().flatten() {
            map.release();
        }
    }
}

/// The name under which a helper is overridden: without `bpf_`.
pub(crate) fn helper_name(name: &str) -> &str {
    name.strip_prefix("bpf_").unwrap_or(name)
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vm({} cpus, {} maps)", self.cpus, self.maps().maps.len())
    }
}
