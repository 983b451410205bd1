//! `Heap`: objects that programs own: what `bpf_obj_new` allocates, CPU masks; the lists and trees that they are in.
//!
//! Objects lie in guest memory, where programs use them in place. How many references there are to each, and what is linked to what, lies in
//! host memory, where no program reaches it: a `struct bpf_list_head` or `bpf_rb_root` in guest memory is only an address. An object whose
//! last reference goes is freed with all that hangs on it; its memory is used again, never given back while the VM lives, as the kernel's
//! stays readable until a grace period ends. Documentation/bpf/graph_ds_impl.rst.

mod held;
mod links;
mod slabs;
mod tree;

pub(crate) use held::{acquire, check_released, release};

use links::Links;
use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, Kind, TypeId};
use mimic_object::{FieldKind, MapField, special_fields};
use mimic_vm::Region;
use mimic_vm::memory::Memory;
use slabs::Slabs;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes that all objects of a VM take; one more is refused as the kernel refuses it when it has no memory.
pub const HEAP_BYTES_MAX: u64 = 256 << 20;

/// The most bytes of one object: what the kernel's allocator for programs has a size for, without its own 8.
pub const OBJECT_LEN_MAX: u32 = 4096 - 8;

/// What programs own.
#[derive(Default)]
pub struct Heap {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    slabs: Slabs,
    links: Links,
    /// By the object file's types (by where they are, kept) and the id in them.
    types: HashMap<(usize, u32), (Arc<Btf>, Arc<ObjectType>)>,
}

/// A type of objects.
#[derive(Debug)]
pub(crate) struct ObjectType {
    /// Its name, for faults.
    pub(crate) name: Arc<str>,
    /// Bytes of an object (of each CPU's part, of per-CPU ones).
    pub(crate) len: u32,
    /// What is in it beside data.
    pub(crate) fields: Box<[MapField]>,
    /// More than one reference can be had.
    pub(crate) refcounted: bool,
    /// It begins as zeros.
    pub(crate) zeroed: bool,
}

impl ObjectType {
    /// A structure of a program's own types. None if it is no structure, or too large for an object.
    fn local(btf: &Btf, id: u32) -> Option<ObjectType> {
        let ty = btf.resolve(TypeId(id))?;
        if !matches!(ty.kind, Kind::Struct(_)) {
            return None;
        }
        let len = btf.size_of(ty.id).filter(|len| (1..=OBJECT_LEN_MAX).contains(len))?;
        let inside =
            |field: &MapField| field.off.is_multiple_of(4) && field.off.saturating_add(field.len) <= len;
        let fields: Box<[MapField]> =
            special_fields(btf, ty.id.0).into_iter().filter(|field| inside(field)).collect();
        let refcounted = fields.iter().any(|field| field.kind == FieldKind::Refcount);
        Some(ObjectType { name: ty.name().into(), len, fields, refcounted, zeroed: false })
    }
}

/// The answer to a link that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// It is in.
    Yes,
    /// The node was in a list or tree already: the reference is dropped.
    Busy,
}

impl Heap {
    /// The type with this id among a program's own; remembered.
    pub(crate) fn local_type(&self, btf: &Arc<Btf>, id: u32) -> Option<Arc<ObjectType>> {
        let key = (Arc::as_ptr(btf) as usize, id);
        if let Some((_, ty)) = self.lock().types.get(&key) {
            return Some(ty.clone());
        }
        let ty = Arc::new(ObjectType::local(btf, id)?);
        self.lock().types.insert(key, (btf.clone(), ty.clone()));
        Some(ty)
    }

    /// Makes an object with one reference, in `copies` parts: one, or as many as there are CPUs. None if there is no memory.
    pub(crate) fn allocate(
        &self,
        memory: &Arc<Memory>,
        ty: &Arc<ObjectType>,
        copies: Option<u32>,
    ) -> Option<u64> {
        self.lock().slabs.allocate(memory, ty, copies)
    }

    /// The address at which the object around `addr` begins, and its type.
    pub(crate) fn object(&self, addr: u64) -> Option<(u64, Arc<ObjectType>)> {
        let inner = self.lock();
        let (base, object) = inner.slabs.at(addr)?;
        Some((base, object.ty.clone()))
    }

    /// The address of a CPU's part of a per-CPU object.
    pub(crate) fn part(&self, addr: u64, cpu: u32) -> Option<u64> {
        self.lock().slabs.part(addr, cpu)
    }

    /// One reference more. False if there is no such object (any more).
    pub(crate) fn get(&self, addr: u64) -> bool {
        let mut inner = self.lock();
        let Some((_, object)) = inner.slabs.at_mut(addr) else { return false };
        object.refs += 1;
        true
    }

    /// One reference less; the last one frees. False if there is no such object.
    pub(crate) fn put(&self, addr: u64) -> bool {
        let mut inner = self.lock();
        let known = inner.slabs.at(addr).is_some();
        inner.put_all(vec![addr]);
        known
    }

    /// Puts a node, whose object one reference goes with, at an end of a list.
    pub(crate) fn push(&self, head: u64, node: u64, back: bool) -> Linked {
        let mut inner = self.lock();
        if inner.links.push(head, node, back) {
            return Linked::Yes;
        }
        inner.put_all(vec![node]);
        Linked::Busy
    }

    /// Takes a node from an end of a list; its reference is the caller's.
    pub(crate) fn pop(&self, head: u64, back: bool) -> Option<u64> {
        self.lock().links.pop(head, back)
    }

    /// The node at an end of a list.
    pub(crate) fn end(&self, head: u64, back: bool) -> Option<u64> {
        self.lock().links.end(head, back)
    }

    /// Claims a node for a tree that it will be put into once its place is known.
    pub(crate) fn claim(&self, node: u64) -> Linked {
        let mut inner = self.lock();
        if inner.links.claim(node) {
            return Linked::Yes;
        }
        inner.put_all(vec![node]);
        Linked::Busy
    }

    /// Puts a claimed node into a tree: below `parent`, or at the top of an empty one. False if that place is not free.
    pub(crate) fn link(&self, root: u64, node: u64, parent: Option<u64>, left: bool) -> bool {
        self.lock().links.link(root, node, parent, left)
    }

    /// Takes a node out of a tree; its reference is the caller's. False if it is not in this one.
    pub(crate) fn unlink(&self, root: u64, node: u64) -> bool {
        self.lock().links.unlink(root, node)
    }

    /// The node at the top of a tree.
    pub(crate) fn top(&self, root: u64) -> Option<u64> {
        self.lock().links.top(root)
    }

    /// The first node of a tree.
    pub(crate) fn first(&self, root: u64) -> Option<u64> {
        self.lock().links.first(root)
    }

    /// The node below one of a tree.
    pub(crate) fn below(&self, root: u64, node: u64, left: bool) -> Option<u64> {
        self.lock().links.below(root, node, left)
    }

    /// Lets go of what hangs on a field of a map's value, at `off` of its region. The field is left empty.
    pub(crate) fn free_field(&self, region: &Region, off: u32, kind: FieldKind) {
        if !kind.owns() {
            return;
        }
        let mut inner = self.lock();
        let mut work = Vec::new();
        inner.links.empty(region, off, kind, &mut work);
        inner.put_all(work);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One reference less to each of these. What hangs on an object that goes joins the list: no recursion, however deep.
    fn put_all(&mut self, mut work: Vec<u64>) {
        while let Some(addr) = work.pop() {
            let Some((base, object)) = self.slabs.at_mut(addr) else { continue };
            object.refs -= 1;
            if object.refs > 0 {
                continue;
            }
            let ty = object.ty.clone();
            if let Some((region, off)) = self.slabs.place(base) {
                for field in &ty.fields {
                    self.links.empty(region, off + field.off, field.kind, &mut work);
                }
            }
            self.slabs.free(base);
        }
    }
}

/// Takes a pointer out of the aligned word at `off`, in one step.
fn take_pointer(region: &Region, off: u32) -> u64 {
    let word = region.atomic64(off).swap(0, Ordering::AcqRel);
    match region.order() {
        ByteOrder::Little => u64::from_le(word),
        ByteOrder::Big => u64::from_be(word),
    }
}
