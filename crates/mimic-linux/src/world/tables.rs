//! `Tables`: the world's things as they are now.

use super::cgroup::ancestry;
use super::{
    BpfMapInfo, BpfProgInfo, CONNECTIONS_MAX, Cgroup, File, Inode, Live, Socket, Task, Tracked, World,
};
use crate::cipher::Cipher;
use crate::maps::{Claim, OpsName, Stored};
use crate::objects::ObjectKey;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// Everything of the world that changes while programs run and has an id.
pub(crate) struct Tables {
    pub(crate) tasks: Live<u32, Task>,
    /// The pids of what CPUs run, by CPU number; never empty.
    pub(crate) current: RwLock<Vec<u32>>,
    pub(crate) cgroups: Live<u64, Cgroup>,
    pub(crate) sockets: Live<u64, Socket>,
    pub(crate) connections: Live<u64, Tracked>,
    /// Connections that were ever tracked.
    tracked: AtomicU64,
    pub(crate) inodes: Live<u64, Inode>,
    pub(crate) files: Live<u32, File>,
    /// The cookies of sockets that contexts brought, and take away again.
    brought: Mutex<BTreeSet<u64>>,
    /// Tables of operations that subsystems know: the structure, and the name that it goes by.
    struct_ops: Mutex<BTreeSet<OpsName>>,
    /// Ciphers with their keys, by number.
    pub(crate) ciphers: Live<u64, Cipher>,
    /// Maps and programs, as far as somebody has looked.
    pub(crate) bpf_maps: Live<u32, BpfMapInfo>,
    pub(crate) bpf_progs: Live<u32, BpfProgInfo>,
    /// Sockets that are in maps, by cookie.
    claims: Mutex<BTreeMap<u64, Claim>>,
    /// Maps whose values go with things.
    stores: Mutex<Vec<Weak<dyn Stored>>>,
}

impl Tables {
    pub(crate) fn new(world: &World) -> Tables {
        let tasks = if world.tasks.is_empty() { vec![Task::default()] } else { world.tasks.clone() };
        let current = match world.current.as_slice() {
            [] => tasks.iter().map(|task| task.pid).collect(),
            pids => pids.to_vec(),
        };
        let tasks = Live::new(tasks.into_iter().map(|task| (task.pid, task)));
        let cgroups = core::iter::once(Cgroup::root()).chain(world.cgroups.iter().cloned());
        let sockets = world.net.sockets.iter().enumerate().map(|(at, socket)| {
            // Below those that are drawn later.
            let cookie = if socket.cookie == 0 { at as u64 + 1 } else { socket.cookie };
            (cookie, Socket { cookie, ..socket.clone() })
        });
        Tables {
            tasks,
            current: RwLock::new(current),
            cgroups: Live::new(cgroups.map(|cgroup| (cgroup.id, cgroup))),
            sockets: Live::new(sockets),
            tracked: AtomicU64::new(world.net.conntrack.len() as u64),
            connections: Live::new(
                world
                    .net
                    .conntrack
                    .iter()
                    .enumerate()
                    .map(|(at, connection)| (at as u64, Tracked::stated(connection))),
            ),
            inodes: Live::new(world.inodes.iter().map(|inode| (inode.ino, inode.clone()))),
            files: Live::new(world.files.iter().map(|file| (file.id, file.clone()))),
            brought: Mutex::default(),
            struct_ops: Mutex::default(),
            ciphers: Live::new([]),
            bpf_maps: Live::new([]),
            bpf_progs: Live::new([]),
            claims: Mutex::default(),
            stores: Mutex::default(),
        }
    }

    /// Adds a connection, and answers the number that it is known by; none if there are too many.
    pub(crate) fn track(&self, connection: Tracked) -> Option<u64> {
        if self.connections.len() >= CONNECTIONS_MAX {
            return None;
        }
        let id = self.tracked.fetch_add(1, Ordering::Relaxed);
        self.connections.set(id, Arc::new(connection));
        Some(id)
    }

    /// The task that a CPU runs. A pid that nobody has stands for the default task.
    pub(crate) fn task_on(&self, cpu: u32) -> Arc<Task> {
        self.tasks.get(self.pid_on(cpu)).unwrap_or_default()
    }

    pub(crate) fn pid_on(&self, cpu: u32) -> u32 {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.get(cpu as usize).or(current.last()).copied().unwrap_or_default()
    }

    /// Lets a CPU run another task.
    pub(crate) fn run_on(&self, cpu: u32, pid: u32) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let (cpu, last) = (cpu as usize, current.last().copied().unwrap_or_default());
        let len = current.len().max(cpu + 1);
        current.resize(len, last);
        current[cpu] = pid;
    }

    /// The ids from the root down to a control group.
    pub(crate) fn ancestry(&self, cgroup: u64) -> Vec<u64> {
        ancestry(cgroup, |id| self.cgroups.get(id).map(|cgroup| cgroup.parent))
    }

    /// The id of a control group's ancestor at a level, as helpers are asked: 0 is the root's; 0 if the group is not that deep.
    pub(crate) fn ancestor(&self, cgroup: u64, level: u64) -> u64 {
        let level = usize::try_from(level as i32).ok();
        level.and_then(|level| self.ancestry(cgroup).get(level).copied()).unwrap_or(0)
    }

    /// Says that a map's values go with things of the world.
    pub(crate) fn add_store(&self, store: &Arc<dyn Stored>) {
        let mut stores = self.lock_stores();
        stores.retain(|store| store.strong_count() > 0);
        stores.push(Arc::downgrade(store));
    }

    /// A thing is gone, and what was stored with it.
    pub(crate) fn drop_stored(&self, key: ObjectKey) {
        for store in self.lock_stores().iter().filter_map(Weak::upgrade) {
            store.drop_owner(key);
        }
    }

    pub(crate) fn lock_struct_ops(&self) -> MutexGuard<'_, BTreeSet<OpsName>> {
        self.struct_ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_brought(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_claims(&self) -> MutexGuard<'_, BTreeMap<u64, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_stores(&self) -> MutexGuard<'_, Vec<Weak<dyn Stored>>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
