//! `Objects`: the registry: which thing an address is, and where a thing's views are.

use super::path::{Paths, struct_len};
use super::{Fields, OBJECTS_MAX, ObjectError, ObjectKey, View, conntrack, has_view, socket};
use crate::progs::layout;
use crate::world::{Tables, World};
use mimic_abi::btf::Btf;
use mimic_vm::memory::{Access, Layout, Part};
use mimic_vm::{Memory, Region};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The longest structure that is made, in bytes.
const LEN_MAX: u32 = 1 << 20;
/// Bytes of a structure whose layout is not known: more than the longest that programs read in has.
const OPAQUE_LEN: u32 = 16 << 10;

/// What objects are made from.
pub(super) struct Maker<'a> {
    pub(super) btf: Option<&'a Btf>,
    pub(super) tables: &'a Tables,
    pub(super) world: &'a World,
}

/// All objects in guest memory.
#[derive(Default)]
pub(crate) struct Objects(Mutex<Registry>);

#[derive(Default)]
pub(super) struct Registry {
    by_addr: BTreeMap<u64, Entry>,
    by_key: HashMap<(ObjectKey, View), u64>,
    /// Made, and not filled yet.
    unfilled: Vec<u64>,
    /// Where objects are made: the memory of the first that was asked for.
    memory: Option<Arc<Memory>>,
    pub(super) paths: Paths,
    /// Structures that were made without a layout.
    opaque: BTreeSet<&'static str>,
}

/// An object.
struct Entry {
    key: ObjectKey,
    view: View,
    type_name: &'static str,
    len: u32,
    region: Weak<Region>,
    /// Keeps the region, unless it is a context's.
    _own: Option<Arc<Region>>,
}

impl Objects {
    /// The address of a thing's view, made if need be with all that it points at.
    pub(super) fn get(
        &self,
        memory: &Arc<Memory>,
        maker: &Maker<'_>,
        key: ObjectKey,
        view: View,
    ) -> Result<u64, ObjectError> {
        let mut registry = self.lock();
        registry.memory.get_or_insert_with(|| memory.clone());
        let addr = registry.get(maker, key, view)?;
        registry.fill_all(maker);
        Ok(addr)
    }

    /// The thing whose view an address lies in, the view, and where in it, in bytes.
    pub(crate) fn at(&self, addr: u64) -> Option<(ObjectKey, View, u32)> {
        let registry = self.lock();
        let (base, entry) = registry.by_addr.range(..=addr).next_back()?;
        let off = addr - base;
        (off < u64::from(entry.len) && entry.region.strong_count() > 0)
            .then_some((entry.key, entry.view, off as u32))
    }

    /// The address of a member of the kernel structure at `addr`.
    pub(crate) fn member(&self, btf: Option<&Arc<Btf>>, addr: u64, path: &'static str) -> Option<u64> {
        let mut registry = self.lock();
        let name = registry.by_addr.get(&addr)?.type_name;
        let slot = registry.paths.slot(btf?, name, path)?;
        Some(addr + u64::from(slot.bit_off / 8))
    }

    /// Brings the views of a thing that changed up to date.
    pub(super) fn refresh(&self, maker: &Maker<'_>, key: ObjectKey) {
        let mut registry = self.lock();
        for view in [View::Kernel, View::Sock, View::TcpSock] {
            if let Some(addr) = registry.by_key.get(&(key, view)).copied() {
                registry.unfilled.push(addr);
            }
        }
        registry.fill_all(maker);
    }

    /// Fills a structure that is no thing of the world, but may point at some.
    pub(super) fn fill(
        &self,
        maker: &Maker<'_>,
        region: &Arc<Region>,
        type_name: &'static str,
        fill: impl FnOnce(&mut Fields<'_>),
    ) {
        let mut registry = self.lock();
        registry.memory.get_or_insert_with(|| region.memory().clone());
        let len = region.capacity();
        let region = region.clone();
        fill(&mut Fields { registry: &mut registry, maker, region, type_name, len, struct_len: len });
        registry.fill_all(maker);
    }

    /// Says that a context's region is the `struct bpf_sock` of a socket, from now on.
    /// Answers what it was before, if it is that no more.
    pub(super) fn adopt(&self, maker: &Maker<'_>, region: &Arc<Region>, key: ObjectKey) -> Option<ObjectKey> {
        let mut registry = self.lock();
        registry.memory.get_or_insert_with(|| region.memory().clone());
        let addr = region.base();
        let old = registry.by_addr.get(&addr).map(|old| (old.key, old.view)).filter(|old| old.0 != key);
        if let Some(old) = old {
            registry.by_key.remove(&old);
        }
        let (view, len) = (View::Sock, layout::SOCK_LEN);
        let entry =
            Entry { key, view, type_name: "bpf_sock", len, region: Arc::downgrade(region), _own: None };
        registry.by_addr.insert(addr, entry);
        registry.by_key.insert((key, view), addr);
        registry.unfilled.push(addr);
        registry.fill_all(maker);
        old.map(|(key, _)| key)
    }

    /// A thing is gone: its views stay as they are for programs that hold them, but are nothing any more.
    pub(super) fn forget(&self, key: ObjectKey) {
        let mut registry = self.lock();
        for view in [View::Kernel, View::Sock, View::TcpSock] {
            if let Some(addr) = registry.by_key.remove(&(key, view)) {
                registry.by_addr.remove(&addr);
            }
        }
    }

    /// The members that were ever written, by structure and path.
    pub(crate) fn stated(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.lock().paths.found().collect()
    }

    /// The structures that were made without a layout, by name.
    pub(crate) fn opaque(&self) -> Vec<&'static str> {
        self.lock().opaque.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// The address of a kernel view, for a pointer to it; 0 if there is none.
    pub(super) fn address(&mut self, maker: &Maker<'_>, key: ObjectKey) -> u64 {
        self.get(maker, key, View::Kernel).unwrap_or(0)
    }

    fn get(&mut self, maker: &Maker<'_>, key: ObjectKey, view: View) -> Result<u64, ObjectError> {
        match self.by_key.get(&(key, view)) {
            Some(addr) => Ok(*addr),
            None => self.make(maker, key, view),
        }
    }

    fn make(&mut self, maker: &Maker<'_>, key: ObjectKey, view: View) -> Result<u64, ObjectError> {
        if !exists(maker, key, view) {
            return Err(ObjectError::Missing(key));
        }
        if self.by_addr.len() >= OBJECTS_MAX {
            return Err(ObjectError::TooMany);
        }
        let (type_name, len, layout) = match view {
            View::Sock => ("bpf_sock", layout::SOCK_LEN, Layout::Fields(layout::SOCK)),
            View::TcpSock => ("bpf_tcp_sock", layout::TCP_SOCK_LEN, Layout::Fields(layout::TCP_SOCK)),
            View::Kernel => {
                let name = key.type_name(maker.tables);
                let known = maker.btf.and_then(|btf| struct_len(btf, name));
                if known.is_none() {
                    self.opaque.insert(name);
                }
                let len = known.unwrap_or(OPAQUE_LEN).checked_add(key.extra_len(maker.tables));
                let len = len.filter(|len| *len <= LEN_MAX).ok_or(ObjectError::TooLong(name))?;
                (name, len, self.kernel_layout(maker, key, name, len))
            }
        };
        let memory = self.memory.as_ref().ok_or(ObjectError::Missing(key))?;
        let region = Arc::new(memory.allocate(type_name, len, layout)?);
        let addr = region.base();
        let entry = Entry { key, view, type_name, len, region: Arc::downgrade(&region), _own: Some(region) };
        self.by_addr.insert(addr, entry);
        self.by_key.insert((key, view), addr);
        self.unfilled.push(addr);
        Ok(addr)
    }

    /// What programs may do with a kernel structure: read it, but for the one that has a member to write.
    fn kernel_layout(&mut self, maker: &Maker<'_>, key: ObjectKey, name: &'static str, len: u32) -> Layout {
        let writable = match (key, maker.btf) {
            (ObjectKey::Connection(_), Some(btf)) => self.paths.slot(btf, name, conntrack::WRITABLE),
            _ => None,
        };
        let Some(slot) = writable.filter(|slot| slot.bits == 0) else { return Layout::Bytes(Access::Read) };
        let (off, end) = (slot.bit_off / 8, slot.bit_off / 8 + slot.len);
        let part = |off: u32, end: u32, access| Part { off, len: end - off, access };
        let parts = [
            part(0, off, Access::Read),
            part(off, end, Access::ReadWrite),
            part(end, len.max(end), Access::Read),
        ];
        Layout::Slab { stride: len, parts: parts.into_iter().filter(|part| part.len > 0).collect() }
    }

    /// Fills what was made, and what that points at, until all is there.
    fn fill_all(&mut self, maker: &Maker<'_>) {
        while let Some(addr) = self.unfilled.pop() {
            let Some(entry) = self.by_addr.get(&addr) else { continue };
            let Some(region) = entry.region.upgrade() else { continue };
            let (key, type_name, len) = (entry.key, entry.type_name, entry.len);
            match entry.view {
                View::Kernel => {
                    let struct_len = maker.btf.and_then(|btf| struct_len(btf, type_name)).unwrap_or(len);
                    key.fill(&mut Fields { registry: self, maker, region, type_name, len, struct_len });
                }
                View::Sock => socket::write_sock(maker.tables, &region, key),
                View::TcpSock => socket::write_tcp_sock(maker.tables, &region, key),
            }
        }
    }
}

/// Whether the world has the thing, and the thing the view.
fn exists(maker: &Maker<'_>, key: ObjectKey, view: View) -> bool {
    let tables = maker.tables;
    match key {
        ObjectKey::Task(pid) | ObjectKey::Cred(pid) | ObjectKey::NsProxy(pid) => tables.tasks.has(pid),
        ObjectKey::PtRegs(pid) | ObjectKey::Bprm(pid) => tables.tasks.has(pid),
        ObjectKey::Crypto(id) => tables.ciphers.has(id),
        ObjectKey::Area(pid, start) => {
            tables.tasks.get(pid).is_some_and(|task| task.memory.iter().any(|area| area.start == start))
        }
        ObjectKey::Mm(tgid) => tables.tasks.find(|task| task.tgid == tgid && task.has_mm()).is_some(),
        ObjectKey::CssSet(id) | ObjectKey::Cgroup(id) | ObjectKey::Kernfs(id) => tables.cgroups.has(id),
        ObjectKey::PidNs(_) | ObjectKey::Net => true,
        ObjectKey::Socket(cookie) => tables.sockets.get(cookie).is_some_and(|socket| has_view(&socket, view)),
        ObjectKey::SocketFile(cookie) => tables.sockets.has(cookie),
        ObjectKey::Connection(id) => tables.connections.has(id),
        ObjectKey::Device(ifindex) => maker.world.net.devices.by_index(ifindex).is_some(),
        ObjectKey::File(id) | ObjectKey::Dentry(id) => tables.files.has(id),
        ObjectKey::Inode(ino) => tables.inodes.has(ino),
        ObjectKey::BpfMap(id) => tables.bpf_maps.has(id),
        ObjectKey::BpfProg(id) | ObjectKey::BpfProgAux(id) => tables.bpf_progs.has(id),
    }
}
