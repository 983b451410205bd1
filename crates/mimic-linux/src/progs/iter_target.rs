//! What iterator programs iterate over: the world's tasks, files, memory areas, control groups, sockets, and the VM's maps and programs.
//!
//! Each target gives its objects in the kernel's order. Documentation/bpf/bpf_iterators.rst; `union bpf_iter_link_info` of linux/bpf.h.

use super::iter::{IterOut, read_iter};
use super::tracing::Arg;
use crate::maps::{LinuxMap, LocalStorage, socket_map};
use crate::world::{CGROUP_ROOT, Ksym, Socket, Task};
use crate::{Linux, ObjectKey};
use core::fmt;
use mimic_abi::btf::KindCode;
use mimic_abi::{ByteOrder, MapType};
use mimic_vm::{ElemKey, Process, RunError, Vm};
use std::sync::Arc;

/// What an iterator is attached with: `union bpf_iter_link_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IterLink {
    /// For tasks, their files and areas: only the thread of this id.
    pub tid: Option<u32>,
    /// For tasks, their files and areas: only threads of the process of this id.
    pub pid: Option<u32>,
    /// For control groups: where to begin, the root if 0.
    pub cgroup: u64,
    /// For control groups: where to go from there.
    pub order: CgroupOrder,
    /// For elements of maps: the map's id.
    pub map: u32,
}

/// The order of control groups: `enum bpf_cgroup_iter_order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupOrder {
    /// The first only.
    SelfOnly,
    /// All below, parents before children.
    #[default]
    DescendantsPre,
    /// All below, children before parents.
    DescendantsPost,
    /// The first, its parent, and so on to the root.
    AncestorsUp,
}

/// Why an iterator gave no text.
#[derive(Debug)]
pub enum IterError {
    /// There is no such target, or not in mimic.
    Target(String),
    /// The program was stopped.
    Run(RunError),
}

impl fmt::Display for IterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IterError::Target(name) => write!(
                f,
                "iterators over {name:?} are not there; there are those over {}",
                TARGETS.map(|target| target.name).join(", ")
            ),
            IterError::Run(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IterError {}

impl From<RunError> for IterError {
    fn from(error: RunError) -> IterError {
        IterError::Run(error)
    }
}

struct Target {
    name: &'static str,
    objects: fn(&Linux, &Arc<Vm>, &IterLink) -> Vec<Vec<Arg>>,
    last: &'static [Last],
}

/// A member in the last run.
#[derive(Clone, Copy)]
enum Last {
    Null,
    Word,
    /// The map that it iterates over: it is there in all runs.
    Map,
}

const TARGETS: [Target; 15] = [
    Target { name: "bpf_link", objects: none, last: &[Last::Null] },
    Target { name: "bpf_map", objects: maps, last: &[Last::Null] },
    Target { name: "bpf_map_elem", objects: map_elems, last: &[Last::Map, Last::Null, Last::Null] },
    Target { name: "bpf_prog", objects: programs, last: &[Last::Null] },
    Target { name: "bpf_sk_storage_map", objects: sk_storage, last: &[Last::Map, Last::Null, Last::Null] },
    Target { name: "cgroup", objects: cgroups, last: &[Last::Null] },
    Target { name: "ksym", objects: ksyms, last: &[Last::Null] },
    Target { name: "netlink", objects: none, last: &[Last::Null] },
    Target { name: "sockmap", objects: sock_map, last: &[Last::Map, Last::Null, Last::Null] },
    Target { name: "task", objects: tasks, last: &[Last::Null] },
    Target { name: "task_file", objects: task_files, last: &[Last::Null, Last::Word, Last::Null] },
    Target { name: "task_vma", objects: task_areas, last: &[Last::Null, Last::Null] },
    Target { name: "tcp", objects: tcp, last: &[Last::Null, Last::Word] },
    Target { name: "udp", objects: udp, last: &[Last::Null, Last::Word, Last::Word] },
    Target { name: "unix", objects: unix, last: &[Last::Null, Last::Word] },
];

/// Runs an iterator program over its target, which its section names (`iter/task`), and once more at the end, as reading its file does.
pub fn run_iter(process: &mut Process, link: &IterLink) -> Result<IterOut, IterError> {
    let name = process.program().linked().attach_to.clone().unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name).ok_or(IterError::Target(name))?;
    let vm = process.vm().clone();
    let Some(linux) = vm.emulator_as::<Linux>() else { return Err(IterError::Target(target.name.into())) };
    linux.know_bpf_objects(&vm);
    let objects = (target.objects)(linux, &vm, link);
    let last = target.last.iter().map(|last| match last {
        Last::Null => Arg::Number(0),
        Last::Word => Arg::Word(0),
        Last::Map => Arg::Object(ObjectKey::BpfMap(link.map)),
    });
    Ok(read_iter(process, linux.next_iter_session(), objects, last.collect())?)
}

/// The tasks that the link asks for, by rising pid. `processes`: of threads that share what they have only the first.
fn wanted(linux: &Linux, link: &IterLink, processes: bool) -> Vec<Arc<Task>> {
    let mut tasks = linux.tasks().all();
    tasks.retain(|task| {
        link.tid.is_none_or(|tid| task.pid == tid)
            && link.pid.is_none_or(|pid| task.tgid == pid)
            && (!processes || link.tid.is_some() || task.pid == task.tgid)
    });
    tasks
}

fn tasks(linux: &Linux, _: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    wanted(linux, link, false).iter().map(|task| vec![Arg::Object(ObjectKey::Task(task.pid))]).collect()
}

fn task_files(linux: &Linux, _: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let mut objects = Vec::new();
    for task in wanted(linux, link, true) {
        let mut files = task.files.clone();
        files.sort_unstable();
        for (fd, file) in files {
            let task = Arg::Object(ObjectKey::Task(task.pid));
            objects.push(vec![task, Arg::Word(fd), Arg::Object(ObjectKey::File(file))]);
        }
    }
    objects
}

fn task_areas(linux: &Linux, _: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let mut objects = Vec::new();
    for task in wanted(linux, link, true) {
        let Some(mm) = linux.mm_of(&task) else { continue };
        let mut starts: Vec<u64> = mm.memory.iter().map(|area| area.start).collect();
        starts.sort_unstable();
        for start in starts {
            let task = Arg::Object(ObjectKey::Task(task.pid));
            objects.push(vec![task, Arg::Object(ObjectKey::Area(mm.pid, start))]);
        }
    }
    objects
}

fn cgroups(linux: &Linux, _: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let start = if link.cgroup == 0 { CGROUP_ROOT } else { link.cgroup };
    let ids = linux.walk_cgroups(start, link.order);
    ids.into_iter().map(|id| vec![Arg::Object(ObjectKey::Cgroup(id))]).collect()
}

fn maps(linux: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let ids = linux.tables.bpf_maps.all();
    ids.iter().map(|map| vec![Arg::Object(ObjectKey::BpfMap(map.id))]).collect()
}

fn programs(linux: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let ids = linux.tables.bpf_progs.all();
    ids.iter().map(|prog| vec![Arg::Object(ObjectKey::BpfProg(prog.id))]).collect()
}

/// The most elements that are listed for one reading.
const ELEMS_MAX: usize = 1 << 20;

fn map_elems(_: &Linux, vm: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let (mut objects, mut cursor) = (Vec::new(), 0);
    let Some(map) = vm.map(link.map) else { return objects };
    while let Ok(Some(elem)) = map.walk(0, &mut cursor)
        && objects.len() < ELEMS_MAX
    {
        let key = match elem.key {
            ElemKey::Addr(addr) => Arg::Number(addr),
            ElemKey::Index(index) => Arg::bytes(match vm.memory().order() {
                ByteOrder::Little => index.to_le_bytes(),
                ByteOrder::Big => index.to_be_bytes(),
            }),
        };
        objects.push(vec![Arg::Object(ObjectKey::BpfMap(map.id)), key, Arg::Number(elem.value)]);
    }
    objects
}

/// Links, which programs of the library do not have, and netlink sockets, which the world does not.
fn none(_: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    Vec::new()
}

/// The sockets in a sock map, with their keys.
fn sock_map(_: &Linux, vm: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let mut objects = Vec::new();
    let Some(map) = vm.map(link.map) else { return objects };
    let Some(sockets) = socket_map(&map) else { return objects };
    let mut key = map.next_key(None).ok();
    while let Some(at) = key
        && objects.len() < ELEMS_MAX
    {
        if let Some(cookie) = sockets.socket(&at) {
            let sk = Arg::Object(ObjectKey::Socket(cookie));
            objects.push(vec![Arg::Object(ObjectKey::BpfMap(map.id)), Arg::bytes(at.clone()), sk]);
        }
        key = map.next_key(Some(&at)).ok();
    }
    objects
}

/// The sockets that have a value in a map, with that.
fn sk_storage(linux: &Linux, vm: &Arc<Vm>, link: &IterLink) -> Vec<Vec<Arg>> {
    let map = vm.map(link.map);
    let any = map.as_ref().map(|map| &*map.map as &dyn core::any::Any);
    let storage = any.and_then(|any| any.downcast_ref::<LinuxMap<LocalStorage>>()).map(LinuxMap::ops);
    let Some(storage) = storage.filter(|storage| storage.owner() == MapType::SkStorage) else {
        return Vec::new();
    };
    let value = |socket: &Arc<Socket>| {
        let key = ObjectKey::Socket(socket.cookie);
        let value = storage.value(key, None).ok().flatten()?;
        Some(vec![Arg::Object(ObjectKey::BpfMap(link.map)), Arg::Object(key), Arg::Number(value)])
    };
    linux.sockets().all().iter().filter_map(value).collect()
}

/// The kernel's symbols that the world states, each as a `struct kallsym_iter`.
fn ksyms(linux: &Linux, vm: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let Some(btf) = linux.btf() else { return Vec::new() };
    let Some(ty) = btf.find("kallsym_iter", KindCode::Struct) else { return Vec::new() };
    let len = btf.size_of(ty.id).unwrap_or(0) as usize;
    let member = |name: &str| Some((btf.member(ty.id, name)?.bit_off / 8) as usize);
    let symbol = |ksym: &Ksym| {
        let mut bytes = vec![0; len];
        let mut put = |name: &str, from: &[u8]| {
            let to = member(name).and_then(|off| bytes.get_mut(off..off.checked_add(from.len())?));
            to.into_iter().for_each(|to| to.copy_from_slice(from));
        };
        put(
            "value",
            &match vm.memory().order() {
                ByteOrder::Little => ksym.addr.to_le_bytes(),
                ByteOrder::Big => ksym.addr.to_be_bytes(),
            },
        );
        put("type", b"T");
        put("name", &ksym.name.as_bytes()[..ksym.name.len().min(KSYM_NAME_LEN - 1)]);
        vec![Arg::bytes(bytes)]
    };
    linux.world().ksyms.iter().map(symbol).collect()
}

fn sockets(linux: &Linux, wanted: impl Fn(&Socket) -> bool) -> Vec<Arc<Socket>> {
    let mut sockets = linux.sockets().all();
    sockets.retain(|socket| wanted(socket));
    sockets
}

/// Bytes of the longest name of a symbol, with a NUL.
const KSYM_NAME_LEN: usize = 512;
const AF_UNIX: u32 = 1;
const IPPROTO_UDP: u32 = 17;

fn tcp(linux: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let sockets = sockets(linux, Socket::is_tcp);
    sockets.iter().map(|socket| vec![of(socket), Arg::Word(socket.uid)]).collect()
}

fn udp(linux: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let sockets = sockets(linux, |socket| socket.protocol == IPPROTO_UDP && socket.family != AF_UNIX);
    sockets.iter().map(|socket| vec![of(socket), Arg::Word(socket.uid), Arg::Word(0)]).collect()
}

fn unix(linux: &Linux, _: &Arc<Vm>, _: &IterLink) -> Vec<Vec<Arg>> {
    let sockets = sockets(linux, |socket| socket.family == AF_UNIX);
    sockets.iter().map(|socket| vec![of(socket), Arg::Word(socket.uid)]).collect()
}

fn of(socket: &Socket) -> Arg {
    Arg::Object(ObjectKey::Socket(socket.cookie))
}

impl Linux {
    /// The ids of control groups from one on, in an order. Children by rising id.
    pub(crate) fn walk_cgroups(&self, start: u64, order: CgroupOrder) -> Vec<u64> {
        if !self.cgroups().has(start) {
            return Vec::new();
        }
        match order {
            CgroupOrder::SelfOnly => vec![start],
            CgroupOrder::AncestorsUp => self.tables.ancestry(start).into_iter().rev().collect(),
            CgroupOrder::DescendantsPre | CgroupOrder::DescendantsPost => {
                let mut ids = Vec::new();
                // What is to be looked at, and whether its children were already.
                let mut todo = vec![(start, false)];
                let all = self.cgroups().all();
                while let Some((id, done)) = todo.pop() {
                    let pre = order == CgroupOrder::DescendantsPre;
                    if done {
                        ids.push(id);
                        continue;
                    }
                    if pre {
                        ids.push(id);
                    } else {
                        todo.push((id, true));
                    }
                    let children = all.iter().rev().filter(|cgroup| cgroup.parent == id && cgroup.id != id);
                    todo.extend(children.map(|cgroup| (cgroup.id, false)));
                    if ids.len() > all.len() {
                        break;
                    }
                }
                ids
            }
        }
    }

    /// Takes note of the VM's maps and programs, so that they can be looked at as kernel objects.
    fn know_bpf_objects(&self, vm: &Arc<Vm>) {
        use crate::world::{BpfMapInfo, BpfProgInfo};
        for map in vm.all_maps() {
            self.tables.bpf_maps.set(map.id, Arc::new(BpfMapInfo::of(map.id, map.spec())));
        }
        for program in vm.all_programs() {
            let linked = program.linked();
            let info = BpfProgInfo {
                id: program.id(),
                name: linked.name.clone(),
                prog_type: linked.prog_type.map_or(0, |prog_type| prog_type.id()),
                len: linked.code.len() as u32,
            };
            self.tables.bpf_progs.set(program.id(), Arc::new(info));
        }
    }
}
