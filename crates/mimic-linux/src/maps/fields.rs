//! `Fields`: what lies in values that is not plain data (locks, timers, kernel pointers): never copied, hidden from users.
//!
//! Mirrors the kernel's `copy_map_value` and `BPF_F_LOCK`; see bpf(2).

use super::Maker;
use crate::Heap;
use core::hint;
use core::sync::atomic::{AtomicU32, Ordering};
use mimic_abi::{ByteOrder, Errno};
use mimic_object::{FieldKind, MapField, MapSpec};
use mimic_vm::Region;
use std::sync::Arc;

/// The word of a spin lock that an update or a lookup has taken.
const TAKEN: u32 = 1 << 31;
/// How often a taken lock is looked at before it counts as lost: some seconds.
const TRIES_MAX: u32 = 10_000_000;
/// How often without giving the host's CPU away.
const TRIES_BUSY: u32 = 100;

/// The special fields of a map's values.
pub(super) struct Fields {
    /// By rising offset.
    fields: Box<[MapField]>,
    /// The offset of the spin lock.
    lock: Option<u32>,
    /// What fields of values own.
    heap: Arc<Heap>,
}

/// What becomes of special fields when a value is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// They begin as zeros: nobody sees the element yet.
    New,
    /// Timers and pointers go; a lock stays as it is.
    Freed,
    /// All stay.
    Kept,
}

/// A spin lock in a value, taken.
pub struct ValueLock<'a>(&'a AtomicU32);

impl Drop for ValueLock<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Whether values have a spin lock.
pub(super) fn has_lock(spec: &MapSpec) -> bool {
    spec.fields.iter().any(|field| field.kind == FieldKind::SpinLock)
}

impl Fields {
    /// Those of a map whose values are as the spec says. Fields beyond the value are none.
    pub(super) fn new(maker: &Maker<'_>) -> Fields {
        let spec = maker.spec;
        let inside =
            |field: &&MapField| field.off.checked_add(field.len).is_some_and(|end| end <= spec.value_size);
        let fields: Box<[MapField]> = spec.fields.iter().filter(inside).copied().collect();
        let lock =
            fields.iter().find(|field| field.kind == FieldKind::SpinLock && field.off.is_multiple_of(4));
        Fields { lock: lock.map(|field| field.off), fields, heap: maker.heap.clone() }
    }

    /// Whether values have a spin lock.
    pub(super) fn has_lock(&self) -> bool {
        self.lock.is_some()
    }

    /// Sets the value at `off` of a region, but for special fields.
    #[inline]
    pub(super) fn write(&self, region: &Region, off: u32, value: &[u8], special: Special) {
        if self.fields.is_empty() {
            return region.write(off, value);
        }
        let mut from = 0;
        for field in &self.fields {
            if let Some(part) = value.get(from..field.off as usize) {
                region.write(off + from as u32, part);
            }
            from = from.max((field.off + field.len) as usize);
            let clear = match special {
                Special::New => true,
                Special::Freed => !matches!(field.kind, FieldKind::SpinLock | FieldKind::ResSpinLock),
                Special::Kept => false,
            };
            if clear {
                self.heap.free_field(region, off + field.off, field.kind);
                region.fill(off + field.off, field.len, 0);
            }
        }
        if let Some(part) = value.get(from..) {
            region.write(off + from as u32, part);
        }
    }

    /// Lets go of what the value at `off` of a region owns, and of its timers: it is no element any more.
    pub(super) fn free(&self, region: &Region, off: u32) {
        for field in &self.fields {
            if !matches!(field.kind, FieldKind::SpinLock | FieldKind::ResSpinLock) {
                self.heap.free_field(region, off + field.off, field.kind);
                region.fill(off + field.off, field.len, 0);
            }
        }
    }

    /// Whether values are plain data.
    pub(super) fn are_none(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether values can own objects.
    pub(super) fn own(&self) -> bool {
        self.fields.iter().any(|field| field.kind.owns())
    }

    /// Copies the value at `off` of a region, with zeros in place of special fields.
    #[inline]
    pub(super) fn read(&self, region: &Region, off: u32, value: &mut [u8]) {
        region.read(off, value);
        for field in &self.fields {
            if let Some(part) = value.get_mut(field.off as usize..(field.off + field.len) as usize) {
                part.fill(0);
            }
        }
    }

    /// Takes the spin lock of the value at `off` of a region. `EINVAL` if it has none, `EBUSY` if whoever has it does not give it back.
    pub(super) fn lock<'a>(&self, region: &'a Region, off: u32) -> Result<ValueLock<'a>, Errno> {
        let word = region.atomic32(off + self.lock.ok_or(Errno::EINVAL)?);
        let taken = match region.order() {
            ByteOrder::Little => TAKEN.to_le(),
            ByteOrder::Big => TAKEN.to_be(),
        };
        for tries in 0..TRIES_MAX {
            if word.compare_exchange(0, taken, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(ValueLock(word));
            }
            if tries > TRIES_BUSY { std::thread::yield_now() } else { hint::spin_loop() }
        }
        Err(Errno::EBUSY)
    }
}
