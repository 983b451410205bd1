//! `Elements`: elements of a map without a size: memory for them is added as they come, and stays where it is.

use super::Maker;
use super::array::value_access;
use super::fields::{Fields, Special, ValueLock};
use mimic_abi::Errno;
use mimic_vm::memory::{Layout, Part};
use mimic_vm::{Memory, Region};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of memory that are added at a time, if an element is not longer.
const CHUNK_LEN: u32 = 16 << 10;
/// The most bytes of all elements of a map; beyond, adding one answers `ENOMEM`.
const BYTES_MAX: u64 = 64 << 20;

/// Slots for values.
pub(super) struct Elements {
    memory: Arc<Memory>,
    name: String,
    layout: Layout,
    /// Bytes of a value.
    pub(super) value_len: u32,
    /// Bytes from one value of an element to the next: the length rounded up to 8.
    pub(super) value_stride: u32,
    /// Values of an element.
    pub(super) values: u32,
    /// Elements of a chunk.
    in_chunk: u32,
    fields: Fields,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    chunks: Vec<Arc<Region>>,
    /// Slots that were ever given out.
    used: u32,
    free: Vec<u32>,
}

/// An element's place.
#[derive(Clone)]
pub(super) struct Slot {
    region: Arc<Region>,
    off: u32,
    number: u32,
}

impl Elements {
    /// Elements of `values` values each.
    pub(super) fn new(maker: &Maker<'_>, values: u32) -> Elements {
        let spec = maker.spec;
        let value_stride = spec.value_size.next_multiple_of(8);
        let part = Part { off: 0, len: spec.value_size, access: value_access(spec) };
        Elements {
            memory: maker.env.memory.clone(),
            name: maker.name("value"),
            layout: Layout::Slab { stride: value_stride, parts: [part].into() },
            value_len: spec.value_size,
            value_stride,
            values,
            in_chunk: (CHUNK_LEN / (value_stride * values)).max(1),
            fields: Fields::new(maker),
            slots: Mutex::default(),
        }
    }

    /// A slot whose values are zeros.
    pub(super) fn take(&self) -> Result<Slot, Errno> {
        let mut slots = self.lock();
        let number = match slots.free.pop() {
            Some(number) => number,
            None => {
                if slots.used as usize == slots.chunks.len() * self.in_chunk as usize {
                    let chunk = self.chunk(slots.chunks.len() as u64)?;
                    slots.chunks.push(chunk);
                }
                slots.used += 1;
                slots.used - 1
            }
        };
        let region = slots.chunks[(number / self.in_chunk) as usize].clone();
        let off = number % self.in_chunk * self.len();
        region.fill(off, self.len(), 0);
        Ok(Slot { region, off, number })
    }

    /// Gives a slot back, with what its values own.
    pub(super) fn give_back(&self, slot: &Slot) {
        for value in 0..self.values {
            self.fields.free(&slot.region, slot.off + value * self.value_stride);
        }
        self.lock().free.push(slot.number);
    }

    /// The address of a value.
    pub(super) fn addr(&self, slot: &Slot, value: u32) -> u64 {
        slot.region.base() + u64::from(slot.off + value * self.value_stride)
    }

    /// Copies a value out, with zeros in place of special fields.
    pub(super) fn read(&self, slot: &Slot, value: u32, to: &mut [u8]) {
        self.fields.read(&slot.region, slot.off + value * self.value_stride, to);
    }

    /// Sets a value, but for its special fields.
    pub(super) fn write(&self, slot: &Slot, value: u32, from: &[u8]) {
        self.fields.write(&slot.region, slot.off + value * self.value_stride, from, Special::Kept);
    }

    /// Takes the spin lock of the only value of an element.
    pub(super) fn lock_value<'a>(&self, slot: &'a Slot) -> Result<ValueLock<'a>, Errno> {
        self.fields.lock(&slot.region, slot.off)
    }

    fn chunk(&self, chunks: u64) -> Result<Arc<Region>, Errno> {
        let len = self.in_chunk * self.len();
        if (chunks + 1) * u64::from(len) > BYTES_MAX {
            return Err(Errno::ENOMEM);
        }
        let region = self.memory.allocate(&self.name, len, self.layout.clone());
        region.map(Arc::new).map_err(|_| Errno::ENOMEM)
    }

    /// Bytes of an element.
    fn len(&self) -> u32 {
        self.value_stride * self.values
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
