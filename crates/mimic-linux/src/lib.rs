//! The Linux eBPF subsystem for mimic: helpers, maps, program types and their contexts, over a `World` that a test states.
//!
//! **This crate knows no files, sockets, terminals or JSON.** With one CPU scheduler, a seed and the virtual clock a run repeats bit for
//! bit. "As Linux does" means 6.18, and is compared with the real kernel in the project's tests.
#![forbid(unsafe_code)]

mod cipher;
mod effects;
mod heap;
pub mod helpers;
pub mod kfuncs;
pub mod maps;
pub mod net;
mod objects;
pub mod progs;
mod support;
mod symbols;
mod timers;
mod user_memory;
pub mod world;

pub use effects::{EFFECTS_MAX, Effect};
pub use heap::{HEAP_BYTES_MAX, Heap, OBJECT_LEN_MAX};
pub use objects::{OBJECTS_MAX, ObjectError, ObjectKey, View};
pub use support::support_markdown;
pub use timers::TIMER_CALLS_MAX;
pub use world::*;

use core::sync::atomic::AtomicU64;
use mimic_abi::Size;
use mimic_abi::btf::Btf;
use mimic_object::{MapSpec, Program};
use mimic_vm::{Call, Emulator, Helper, HelperResult, Map, MapEnv, MapError, Trap, Vm};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

/// Linux, emulated: give it to `Vm::builder`.
pub struct Linux {
    world: World,
    clock: Clock,
    random: world::Random,
    pub(crate) tables: Arc<world::Tables>,
    attach: RwLock<Attach>,
    trace: Mutex<Trace>,
    timers: Mutex<timers::Timers>,
    heap: Arc<Heap>,
    /// For each CPU, the CPU that `bpf_cpumask_any_distribute` answered last.
    distributed: Mutex<HashMap<u32, u32>>,
    btf: OnceLock<Arc<Btf>>,
    symbols: OnceLock<symbols::Symbols>,
    effects: Mutex<Vec<Effect>>,
    iter_sessions: AtomicU64,
    percpu: Mutex<HashMap<String, (mimic_vm::Region, u32)>>,
    pub(crate) objects: objects::Objects,
    pub(crate) kern_contexts: Mutex<objects::KernContexts>,
    /// How many socket cookies were drawn.
    pub(crate) cookies: AtomicU64,
}

impl Default for Linux {
    fn default() -> Linux {
        Linux::new(World::default())
    }
}

impl Linux {
    /// Linux in this world.
    pub fn new(world: World) -> Linux {
        Linux {
            clock: Clock::new(world.clock.clone()),
            tables: Arc::new(world::Tables::new(&world)),
            random: world::Random::new(world.seed),
            attach: RwLock::new(world.attach),
            trace: Mutex::default(),
            timers: Mutex::default(),
            heap: Arc::default(),
            distributed: Mutex::default(),
            btf: OnceLock::new(),
            symbols: OnceLock::new(),
            effects: Mutex::default(),
            iter_sessions: AtomicU64::new(0),
            percpu: Mutex::default(),
            objects: objects::Objects::default(),
            kern_contexts: Mutex::default(),
            cookies: AtomicU64::new(0),
            world,
        }
    }

    /// Says what types the kernel has that this stands for. What is said first stays; the object of a program may say it, when there is no
    /// kernel to ask.
    pub fn offer_btf(&self, btf: &Arc<Btf>) {
        self.btf.get_or_init(|| btf.clone());
    }

    /// The types of the kernel that this stands for, if any were given.
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.get()
    }

    /// The members of kernel structures that the world states, of the structures that programs came to: names of structures, and paths
    /// in them. All other members read as zero.
    pub fn stated_members(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.objects.stated()
    }

    /// The kernel's structures that programs came to although nobody said their layout: all in them reads as zero. See
    /// [`Linux::offer_btf`].
    pub fn opaque_structs(&self) -> Vec<&'static str> {
        self.objects.opaque()
    }

    /// What programs and helpers see around them, as it was at the start.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The clocks.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The next random number of a CPU.
    pub fn random(&self, cpu: u32) -> u64 {
        self.random.next(cpu)
    }

    /// A number that looks random, the same for the same `value` and seed: stands for what the kernel hashes with a secret.
    pub(crate) fn secret_hash(&self, value: u64) -> u64 {
        self.random.hash(value)
    }

    /// The task that a CPU runs now.
    pub fn task(&self, cpu: u32) -> Arc<Task> {
        self.tables.task_on(cpu)
    }

    /// Lets a CPU run another task, in place of what has its pid if there is one.
    pub fn set_task(&self, cpu: u32, task: Task) {
        let pid = task.pid;
        self.add_task(task);
        self.tables.run_on(cpu % mimic_vm::CPUS_MAX, pid);
    }

    /// The tasks, as they are now, by pid.
    pub fn tasks(&self) -> &Live<u32, Task> {
        &self.tables.tasks
    }

    /// The control groups, as they are now, by id.
    pub fn cgroups(&self) -> &Live<u64, Cgroup> {
        &self.tables.cgroups
    }

    /// The sockets, as they are now, by cookie.
    pub fn sockets(&self) -> &Live<u64, Socket> {
        &self.tables.sockets
    }

    /// What a sysctl says, by its name with slashes; `default` if the world does not state it as a number.
    pub(crate) fn sysctl(&self, name: &str, default: i64) -> i64 {
        let stated =
            self.world.sysctls.get(name).and_then(|value| value.split_whitespace().next()?.parse().ok());
        stated.unwrap_or(default)
    }

    /// A map for a table of operations of a kernel subsystem: `ops` is the subsystem's structure (`tcp_congestion_ops`), `name` what the table goes
    /// by there, empty for subsystems whose tables have no names. Made of `spec` and not added to a VM yet.
    pub fn struct_ops_map(&self, vm: &Vm, spec: &MapSpec, ops: &str, name: &str) -> Arc<dyn Map> {
        let known = Some((ops.to_owned(), name.to_owned()));
        maps::StructOpsMap::make(spec, vm.memory().order(), &self.tables, known)
    }

    /// The congestion controls that programs do, by name.
    pub(crate) fn bpf_congestion(&self) -> Vec<String> {
        let known = self.tables.lock_struct_ops();
        known.iter().filter(|(ops, _)| ops == "tcp_congestion_ops").map(|(_, name)| name.clone()).collect()
    }

    /// The connections that netfilter tracks, as they are now.
    pub fn connections(&self) -> Vec<Connection> {
        let tracked = self.tables.connections.all().into_iter().filter(|tracked| tracked.inserted);
        tracked.map(|tracked| tracked.connection.clone()).collect()
    }

    /// The objects that programs own.
    pub(crate) fn heap(&self) -> &Arc<Heap> {
        &self.heap
    }

    pub(crate) fn lock_distributed(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.distributed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How programs are attached.
    pub fn attach(&self) -> Attach {
        *self.attach.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how the programs that run from now on are attached.
    pub fn set_attach(&self, attach: Attach) {
        *self.attach.write().unwrap_or_else(PoisonError::into_inner) = attach;
    }

    /// The number of the next file of an iterator that is opened, from 1.
    pub(crate) fn next_iter_session(&self) -> u64 {
        self.iter_sessions.fetch_add(1, core::sync::atomic::Ordering::Relaxed) + 1
    }

    /// Takes the trace output of all runs since it was last taken.
    pub fn take_trace(&self) -> Trace {
        core::mem::take(&mut *self.lock_trace())
    }

    /// Adds a line to the trace output.
    pub(crate) fn print_trace(&self, cpu: u32, text: &[u8]) {
        let (task, time_ns) = (self.task(cpu), self.clock.now_ns_on(cpu));
        self.lock_trace().print(&self.world.trace, time_ns, cpu, &task, text);
    }

    fn lock_trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Linux that a helper was called in.
    ///
    /// # Panics
    /// If the VM's emulator is another: Linux's helpers are only ever reached through `Linux`.
    pub fn of<'a>(call: &Call<'a>) -> &'a Linux {
        call.emulator().expect("Linux's helpers are called in Linux")
    }
}

impl Emulator for Linux {
    fn helper(&self, id: u32) -> Option<&Helper> {
        helpers::by_id(id)
    }

    fn helpers(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(helpers::all().map(|row| row as &Helper))
    }

    fn kfunc(&self, name: &str) -> Option<&Helper> {
        kfuncs::by_name(name)
    }

    fn kfuncs(&self) -> Box<dyn Iterator<Item = &Helper> + '_> {
        Box::new(kfuncs::all().map(|row| row as &Helper))
    }

    fn create_map(&self, spec: &MapSpec, env: &MapEnv) -> Result<Arc<dyn Map>, MapError> {
        maps::create_with(spec, env, &self.heap, &self.tables)
    }

    fn map_view(&self, map: &dyn Map, id: u32) -> Vec<u8> {
        maps::view::view(self.btf().map(|btf| &**btf), map.spec(), id)
    }

    fn prepare_map(&self, spec: &mut MapSpec, env: &MapEnv) {
        maps::prepare(spec, env);
    }

    fn packet_load(&self, call: &mut Call<'_>, off: i64, size: Size) -> HelperResult {
        progs::packet_load(call, off, size)
    }

    fn ksym(&self, vm: &Vm, name: &str) -> Option<u64> {
        self.percpu_variable(vm, name).or_else(|| self.symbols().addr(name))
    }

    fn probe_loads(&self, program: &Program) -> bool {
        progs::probe_loads(program)
    }

    fn run_ended(&self, call: &mut Call<'_>) -> Result<(), Trap> {
        helpers::spin::check_released(call)?;
        kfuncs::lock::check_released(call)?;
        heap::check_released(call)?;
        objects::check_released(call)
    }
}
