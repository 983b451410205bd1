//! `Region`: one named object (or slab of equal objects) in guest memory, with its exact bounds and access rights.

use super::{Access, Memory};
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use mimic_abi::{ByteOrder, CtxLayout, Size};
use std::sync::Arc;

/// What lies where inside a region.
#[derive(Clone)]
pub enum Layout {
    /// One object, the whole region.
    Bytes(Access),
    /// Equal slots of `stride` bytes; within each, the parts that can be touched. What is between them cannot.
    Slab {
        /// Bytes from one slot to the next.
        stride: u32,
        /// The accessible parts of a slot, by rising offset.
        parts: Arc<[Part]>,
    },
    /// A context: each access must be one that the layout allows.
    Fields(CtxLayout),
    /// Objects that come and go: the owner says what is where, each time it is asked.
    Custom(Arc<dyn Bounds>),
}

impl PartialEq for Layout {
    fn eq(&self, other: &Layout) -> bool {
        match (self, other) {
            (Layout::Bytes(a), Layout::Bytes(b)) => a == b,
            (Layout::Slab { stride: a, parts: x }, Layout::Slab { stride: b, parts: y }) => a == b && x == y,
            (Layout::Fields(a), Layout::Fields(b)) => a == b,
            (Layout::Custom(a), Layout::Custom(b)) => Arc::ptr_eq(a, b),
            (Layout::Bytes(_) | Layout::Slab { .. } | Layout::Fields(_) | Layout::Custom(_), _) => false,
        }
    }
}

/// A part of a slab's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Offset in the slot, in bytes.
    pub off: u32,
    /// Length in bytes.
    pub len: u32,
    /// What a program may do there.
    pub access: Access,
}

/// Tells the bounds of objects that come and go inside a region.
pub trait Bounds: Send + Sync {
    /// The object that holds the byte at `off`, relative to the region: its offset, length and access rights.
    fn object_at(&self, off: u32) -> Option<Part>;
}

/// What the region table knows of a region; shared by snapshots of the table.
pub(crate) struct RegionInfo {
    pub(crate) name: Arc<str>,
    pub(crate) base: u32,
    /// Bytes that belong to the region, all committed.
    pub(crate) capacity: u32,
    /// The bytes are a file's, which others see.
    pub(crate) shared: bool,
    layout: Layout,
    /// The accessible part, for regions whose object grows and shrinks (packets).
    start: AtomicU32,
    end: AtomicU32,
    /// One bit per byte that was written since it was given out; only with `Hygiene::Poison`.
    shadow: Option<Box<[AtomicU8]>>,
}

impl RegionInfo {
    pub(crate) fn new(
        name: Arc<str>,
        base: u32,
        capacity: u32,
        len: u32,
        layout: Layout,
        shadow: bool,
    ) -> RegionInfo {
        let shadow = shadow.then(|| (0..capacity.div_ceil(8)).map(|_| AtomicU8::new(0xff)).collect());
        RegionInfo {
            name,
            base,
            capacity,
            shared: false,
            layout,
            start: AtomicU32::new(0),
            end: AtomicU32::new(len),
            shadow,
        }
    }

    /// The fields, if it is a context.
    pub(crate) fn fields(&self) -> Option<CtxLayout> {
        match &self.layout {
            Layout::Fields(layout) => Some(*layout),
            Layout::Bytes(_) | Layout::Slab { .. } | Layout::Custom(_) => None,
        }
    }

    pub(crate) fn bounds(&self) -> (u32, u32) {
        (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed))
    }

    /// The object around `off` (relative to the region).
    pub(crate) fn object_at(&self, off: u32) -> Option<Part> {
        let (start, end) = self.bounds();
        match &self.layout {
            Layout::Bytes(access) => {
                (start <= off && off < end).then_some(Part { off: start, len: end - start, access: *access })
            }
            Layout::Slab { stride, parts } => {
                let at = off % stride;
                let slot = off - at;
                let part = parts.iter().find(|part| part.off <= at && at - part.off < part.len)?;
                (slot + part.off + part.len <= end).then_some(Part { off: slot + part.off, ..*part })
            }
            Layout::Fields(layout) => {
                (off < layout.size).then_some(Part { off: 0, len: layout.size, access: Access::ReadWrite })
            }
            Layout::Custom(bounds) => {
                bounds.object_at(off).filter(|part| part.off.saturating_add(part.len) <= self.capacity)
            }
        }
    }

    /// The object around `off`, or the one that is closest to it, for messages. `off` may lie outside the region.
    pub(crate) fn nearest_object(&self, off: i64) -> Part {
        let (start, end) = self.bounds();
        let whole = Part { off: start, len: end - start, access: Access::Read };
        let Layout::Slab { stride, parts } = &self.layout else {
            return u32::try_from(off).ok().and_then(|off| self.object_at(off)).unwrap_or(whole);
        };
        let stride = (*stride).max(1);
        let slot = off.clamp(0, i64::from(end.saturating_sub(1))) / i64::from(stride) * i64::from(stride);
        // The last part of the slot before counts too: an access just below a slot's first part may be past its end.
        let slots = [slot - i64::from(stride), slot, slot + i64::from(stride)];
        let objects =
            slots.iter().flat_map(|slot| parts.iter().map(move |part| (slot + i64::from(part.off), part)));
        let far = |(at, part): &(i64, &Part)| {
            if off < *at { at - off } else { (off - at - i64::from(part.len) + 1).max(0) }
        };
        let inside = objects.filter(|(at, part)| *at >= 0 && at + i64::from(part.len) <= i64::from(end));
        inside.min_by_key(far).map_or(whole, |(at, part)| Part { off: at as u32, ..*part })
    }

    /// Whether an access may be answered from a cached window: nothing but bounds and rights decide.
    pub(crate) fn cacheable(&self) -> bool {
        self.shadow.is_none() && !matches!(self.layout, Layout::Fields(_))
    }

    /// Whether the access stays in one object and has the right. `off` is relative to the region.
    pub(crate) fn allows(&self, off: u32, len: u32, write: bool) -> bool {
        let Some(object) = self.object_at(off) else { return false };
        let fits = u64::from(off) + u64::from(len) <= u64::from(object.off) + u64::from(object.len);
        let right = !write || object.access == Access::ReadWrite;
        let field = match &self.layout {
            // A helper may read several fields at once; a load or store is one access to one field.
            Layout::Fields(layout) if len <= 8 => layout.allows(off, len, write),
            _ => true,
        };
        fits && right && field
    }

    /// The same for an address, which may lie elsewhere.
    pub(crate) fn allows_at(&self, addr: u64, len: u32, write: bool) -> bool {
        let off = addr.wrapping_sub(u64::from(self.base));
        off < u64::from(self.capacity) && self.allows(off as u32, len, write)
    }

    /// Whether it is a context whose fields alone decide on an access.
    pub(crate) fn has_fields(&self) -> bool {
        self.shadow.is_none() && matches!(self.layout, Layout::Fields(_))
    }

    /// What is kept of a value that a program writes at `off`, which it may; none if the write changes nothing.
    pub(crate) fn kept(&self, off: u32, value: u64) -> Option<u64> {
        match &self.layout {
            Layout::Fields(layout) => layout.kept(off, value),
            Layout::Bytes(_) | Layout::Slab { .. } | Layout::Custom(_) => Some(value),
        }
    }

    /// The first byte of the range that was never written, when that is tracked.
    pub(crate) fn first_unwritten(&self, off: u32, len: u32) -> Option<u32> {
        let shadow = self.shadow.as_ref()?;
        (off..off + len).find(|at| shadow[*at as usize / 8].load(Ordering::Relaxed) & (1 << (at % 8)) == 0)
    }

    #[inline]
    pub(crate) fn set_written(&self, off: u32, len: u32, written: bool) {
        let Some(shadow) = &self.shadow else { return };
        for at in off..off + len {
            let (byte, bit) = (&shadow[at as usize / 8], 1 << (at % 8));
            if written {
                byte.fetch_or(bit, Ordering::Relaxed);
            } else {
                byte.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }
}

/// A region, owned: dropping it takes it out of the region table and gives its pages back.
///
/// Offsets are in bytes from the region's base. The owner's accesses are checked against the region's capacity and panic beyond
/// it, as slices do: offsets come from the emulator, never unchecked from a guest.
pub struct Region {
    memory: Arc<Memory>,
    info: Arc<RegionInfo>,
    /// Copies of what `info` has, where every access finds them.
    base: u32,
    capacity: u32,
    shadowed: bool,
}

impl Region {
    pub(crate) fn new(memory: Arc<Memory>, info: Arc<RegionInfo>) -> Region {
        Region { memory, base: info.base, capacity: info.capacity, shadowed: info.shadow.is_some(), info }
    }

    #[inline]
    fn set_written(&self, off: u32, len: u32) {
        if self.shadowed {
            self.info.set_written(off, len, true);
        }
    }

    /// The guest address of the region's first byte.
    #[inline]
    pub fn base(&self) -> u64 {
        u64::from(self.base)
    }

    /// Bytes that belong to the region.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The name that faults and views show.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// What lies where.
    pub fn layout(&self) -> &Layout {
        &self.info.layout
    }

    /// The memory that the region is part of.
    #[inline]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The accessible part, `start..end`, of a region laid out as bytes.
    #[inline]
    pub fn bounds(&self) -> (u32, u32) {
        self.info.bounds()
    }

    /// Changes the accessible part of a region laid out as bytes (a packet that grew). Processes that are inside a helper must
    /// be told with `Call::memory_changed`.
    pub fn set_bounds(&self, start: u32, end: u32) {
        assert!(start <= end && end <= self.capacity, "bounds {start}..{end} of {} bytes", self.capacity);
        self.info.start.store(start, Ordering::Relaxed);
        self.info.end.store(end, Ordering::Relaxed);
    }

    /// The guest byte order.
    #[inline]
    pub fn order(&self) -> ByteOrder {
        self.memory.order()
    }

    /// Whether `addr` lies in the region; if so, its offset.
    #[inline]
    pub fn offset_of(&self, addr: u64) -> Option<u32> {
        let off = addr.checked_sub(self.base())?;
        (off < u64::from(self.capacity)).then_some(off as u32)
    }

    /// Reads a number in guest byte order.
    #[inline]
    pub fn load(&self, off: u32, size: Size) -> u64 {
        self.checked(off, size.bytes() as u32);
        self.memory.load_at(self.base + off, size)
    }

    /// Writes a number in guest byte order.
    #[inline]
    pub fn store(&self, off: u32, size: Size, value: u64) {
        self.checked(off, size.bytes() as u32);
        self.set_written(off, size.bytes() as u32);
        self.memory.store_at(self.base + off, size, value);
    }

    /// Copies bytes out.
    #[inline]
    pub fn read(&self, off: u32, to: &mut [u8]) {
        self.checked(off, to.len() as u32);
        self.memory.copy_out(self.base + off, to);
    }

    /// Copies bytes out into a new vector.
    pub fn to_vec(&self, off: u32, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.read(off, &mut bytes);
        bytes
    }

    /// Copies bytes in.
    #[inline]
    pub fn write(&self, off: u32, from: &[u8]) {
        self.checked(off, from.len() as u32);
        self.set_written(off, from.len() as u32);
        self.memory.copy_in(self.base + off, from);
    }

    /// Sets bytes.
    pub fn fill(&self, off: u32, len: u32, byte: u8) {
        self.checked(off, len);
        self.set_written(off, len);
        self.memory.fill(self.base + off, len, byte);
    }

    /// Whether the bytes equal `other`.
    #[inline]
    pub fn equals(&self, off: u32, other: &[u8]) -> bool {
        self.checked(off, other.len() as u32);
        self.memory.equals(self.base + off, other)
    }

    /// Whether the `N` bytes at `off`, a multiple of 4, equal those of `other`: 4, or a multiple of 8 at a multiple of 8. For keys of common lengths.
    #[inline]
    pub fn equals_array<const N: usize>(&self, off: u32, other: &[u8]) -> bool {
        let Some(other) = other.first_chunk::<N>() else { return false };
        self.checked(off, N as u32);
        self.memory.equals_array(self.base + off, other)
    }

    /// Moves bytes inside the region; the ranges may overlap.
    pub fn copy_within(&self, from: u32, to: u32, len: u32) {
        let bytes = self.to_vec(from, len);
        self.write(to, &bytes);
    }

    /// The aligned 32-bit word at `off`, in host byte order.
    #[inline]
    pub fn atomic32(&self, off: u32) -> &AtomicU32 {
        self.checked(off, 4);
        self.memory.atomic32(self.base + off)
    }

    /// The aligned 64-bit word at `off`, in host byte order.
    #[inline]
    pub fn atomic64(&self, off: u32) -> &AtomicU64 {
        self.checked(off, 8);
        self.memory.atomic64(self.base + off)
    }

    /// Marks bytes as given out anew, as the memory's hygiene setting asks: left alone, zeroed, or poisoned so that the first
    /// read of a byte that was not written since is reported.
    pub fn recycle(&self, off: u32, len: u32) {
        self.checked(off, len);
        match self.memory.hygiene() {
            super::Hygiene::Off => {}
            super::Hygiene::Zero => self.memory.fill(self.base + off, len, 0),
            super::Hygiene::Poison => {
                self.memory.fill(self.base + off, len, super::POISON);
                self.info.set_written(off, len, false);
            }
        }
    }

    #[inline]
    fn checked(&self, off: u32, len: u32) {
        if u64::from(off) + u64::from(len) > u64::from(self.capacity) {
            self.beyond(off, len);
        }
    }

    #[cold]
    #[inline(never)]
    fn beyond(&self, off: u32, len: u32) -> ! {
        panic!("{len} bytes at {off} of region {} with {} bytes", self.info.name, self.capacity)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.memory.release(&self.info);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} at {:#x}, {} bytes)", self.info.name, self.info.base, self.capacity)
    }
}
