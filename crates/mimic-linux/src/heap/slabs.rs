//! `Slabs`: where objects lie: slabs of equal slots for each type, and which slots are taken.

use super::{HEAP_BYTES_MAX, ObjectType};
use mimic_vm::Region;
use mimic_vm::memory::{Access, Layout, Memory, Part};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes of the first slab of a type; each further one is as large as all before it, up to `SLAB_LEN_MAX`.
const SLAB_LEN_MIN: u64 = 4 << 10;
const SLAB_LEN_MAX: u64 = 1 << 20;

/// All objects of a heap.
#[derive(Default)]
pub(super) struct Slabs {
    /// By the address that they begin at.
    slabs: BTreeMap<u64, Slab>,
    classes: HashMap<Class, Slots>,
    bytes: u64,
}

/// Objects that share slabs: the type's name, bytes of an object, parts.
type Class = (Arc<str>, u32, u32);

/// The slots of a class.
#[derive(Default)]
struct Slots {
    /// Free ones; what was freed last is used first.
    free: Vec<u64>,
    bytes: u64,
}

struct Slab {
    region: Region,
    class: Class,
    stride: u32,
    /// Bytes from one part to the next.
    part: u32,
    objects: Vec<Option<Object>>,
}

/// An object that is there.
pub(super) struct Object {
    pub(super) ty: Arc<ObjectType>,
    pub(super) refs: u32,
}

impl Slabs {
    /// See [`super::Heap::allocate`].
    pub(super) fn allocate(
        &mut self,
        memory: &Arc<Memory>,
        ty: &Arc<ObjectType>,
        copies: Option<u32>,
    ) -> Option<u64> {
        let class = (ty.name.clone(), ty.len, copies.unwrap_or(0));
        let addr = match self.classes.get_mut(&class).and_then(|slots| slots.free.pop()) {
            Some(addr) => addr,
            None => self.grow(memory, &class)?,
        };
        let (slab, index) = self.slot_mut(addr)?;
        let off = index as u32 * slab.stride;
        slab.region.recycle(off, slab.stride);
        if ty.zeroed {
            slab.region.fill(off, slab.stride, 0);
        }
        for field in &ty.fields {
            slab.region.fill(off + field.off, field.len, 0);
        }
        slab.objects[index] = Some(Object { ty: ty.clone(), refs: 1 });
        Some(addr)
    }

    /// Makes a slab; answers one of its slots, the others are free.
    fn grow(&mut self, memory: &Arc<Memory>, class: &Class) -> Option<u64> {
        let (name, len, copies) = class;
        let part = len.next_multiple_of(8);
        let stride = part.checked_mul((*copies).max(1))?;
        let held = self.classes.get(class).map_or(0, |slots| slots.bytes);
        let wanted = held.clamp(SLAB_LEN_MIN, SLAB_LEN_MAX);
        let count = (wanted / u64::from(stride)).max(1);
        let bytes = count * u64::from(stride);
        if self.bytes + bytes > HEAP_BYTES_MAX {
            return None;
        }
        let part_at = |index| Part { off: index * part, len: *len, access: Access::ReadWrite };
        let layout = Layout::Slab { stride, parts: (0..(*copies).max(1)).map(part_at).collect() };
        let region = memory.allocate(name, u32::try_from(bytes).ok()?, layout).ok()?;
        self.bytes += bytes;
        let base = region.base();
        let slots = self.classes.entry(class.clone()).or_default();
        slots.bytes += bytes;
        slots.free.extend((1..count).rev().map(|index| base + index * u64::from(stride)));
        let objects = (0..count).map(|_| None).collect();
        self.slabs.insert(base, Slab { region, class: class.clone(), stride, part, objects });
        Some(base)
    }

    /// The object around an address, and where it begins.
    pub(super) fn at(&self, addr: u64) -> Option<(u64, &Object)> {
        let (base, slab) = self.slabs.range(..=addr).next_back()?;
        let index = (addr - base) / u64::from(slab.stride);
        let object = slab.objects.get(usize::try_from(index).ok()?)?.as_ref()?;
        Some((base + index * u64::from(slab.stride), object))
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, addr: u64) -> Option<(u64, &mut Object)> {
        let (slab, index) = self.slot_mut(addr)?;
        let base = slab.region.base() + index as u64 * u64::from(slab.stride);
        Some((base, slab.objects[index].as_mut()?))
    }

    /// The region that an object is in, and its offset there.
    pub(super) fn place(&self, addr: u64) -> Option<(&Region, u32)> {
        let (base, slab) = self.slabs.range(..=addr).next_back()?;
        Some((&slab.region, u32::try_from(addr - base).ok()?))
    }

    /// See [`super::Heap::part`].
    pub(super) fn part(&self, addr: u64, cpu: u32) -> Option<u64> {
        let (base, _) = self.at(addr)?;
        let (_, slab) = self.slabs.range(..=addr).next_back()?;
        let (_, _, copies) = slab.class;
        (cpu < copies).then(|| base + u64::from(cpu) * u64::from(slab.part))
    }

    /// Takes an object away: its slot can be used again.
    pub(super) fn free(&mut self, addr: u64) {
        let Some((slab, index)) = self.slot_mut(addr) else { return };
        if slab.objects[index].take().is_some() {
            let (addr, class) =
                (slab.region.base() + index as u64 * u64::from(slab.stride), slab.class.clone());
            self.classes.entry(class).or_default().free.push(addr);
        }
    }

    fn slot_mut(&mut self, addr: u64) -> Option<(&mut Slab, usize)> {
        let (base, slab) = self.slabs.range_mut(..=addr).next_back()?;
        let index = usize::try_from((addr - base) / u64::from(slab.stride)).ok()?;
        (index < slab.objects.len()).then_some((slab, index))
    }
}
