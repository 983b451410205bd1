//! `Fields`: how an object's members are written: by path, in the layout that the kernel's BTF has.
//!
//! **A member that this kernel does not have is left out**: kernels differ, the world does not.

use super::ObjectKey;
use super::path::Slot;
use super::registry::{Maker, Registry};
use crate::world::{Tables, World};
use mimic_abi::{ByteOrder, Size};
use mimic_vm::Region;
use std::sync::Arc;

/// A kernel structure in guest memory, while it is filled.
pub(crate) struct Fields<'a> {
    pub(super) registry: &'a mut Registry,
    pub(super) maker: &'a Maker<'a>,
    pub(super) region: Arc<Region>,
    /// The structure that paths begin in.
    pub(super) type_name: &'static str,
    /// Bytes of it, with what is behind.
    pub(super) len: u32,
    /// Where the structure ends.
    pub(super) struct_len: u32,
}

impl<'a> Fields<'a> {
    /// The world's things.
    pub(crate) fn tables(&self) -> &'a Tables {
        self.maker.tables
    }

    /// The world as it was at the start.
    pub(crate) fn world(&self) -> &'a World {
        self.maker.world
    }

    /// From here on, paths begin in the structure of this name, which lies at the start of the object: what a `tcp_sock` is as a `sock`.
    pub(crate) fn seen_as(&mut self, type_name: &'static str) {
        self.type_name = type_name;
    }

    /// Sets a number: a member of 1, 2, 4 or 8 bytes, or a bit-field.
    pub(crate) fn set(&mut self, path: &'static str, value: u64) {
        if let Some(slot) = self.slot(path) {
            self.store(slot, value);
        }
    }

    /// Sets an element of an array of numbers or pointers.
    pub(crate) fn set_at(&mut self, path: &'static str, index: u32, elem_len: u32, value: u64) {
        if let Some(slot) = self.slot(path) {
            let bit_off = slot.bit_off.saturating_add(index.saturating_mul(elem_len).saturating_mul(8));
            self.store(Slot { bit_off, bits: 0, len: elem_len }, value);
        }
    }

    /// Sets bytes: as many as there are, and as there is room for; the rest of the member becomes zeros.
    pub(crate) fn bytes(&mut self, path: &'static str, bytes: &[u8]) {
        let Some(slot) = self.slot(path) else { return };
        let off = slot.bit_off / 8;
        if self.fits(off, slot.len) {
            let bytes = &bytes[..bytes.len().min(slot.len as usize)];
            self.region.fill(off, slot.len, 0);
            self.region.write(off, bytes);
        }
    }

    /// Sets a pointer to another object, which is made if need be; NULL if the world or the kernel's types do not have it.
    pub(crate) fn point(&mut self, path: &'static str, key: ObjectKey) {
        if self.slot(path).is_some() {
            let addr = self.address(key);
            self.set(path, addr);
        }
    }

    /// The address of another object, 0 if there is none.
    pub(crate) fn address(&mut self, key: ObjectKey) -> u64 {
        self.registry.address(self.maker, key)
    }

    /// The address of the object itself.
    pub(crate) fn this(&self) -> u64 {
        self.region.base()
    }

    /// Makes a `struct list_head` an empty list.
    pub(crate) fn empty_list(&mut self, path: &'static str) {
        if let Some(slot) = self.slot(path).filter(|slot| slot.len == 16) {
            let this = self.this() + u64::from(slot.bit_off / 8);
            for at in [0, 64] {
                self.store(Slot { bit_off: slot.bit_off + at, bits: 0, len: 8 }, this);
            }
        }
    }

    /// Writes a string behind the structure and points a member at it. One string for each object.
    pub(crate) fn string(&mut self, path: &'static str, text: &[u8]) {
        let room = self.len.saturating_sub(self.struct_len) as usize;
        if room == 0 || self.slot(path).is_none() {
            return;
        }
        let text = &text[..text.len().min(room - 1)];
        self.region.fill(self.struct_len, room as u32, 0);
        self.region.write(self.struct_len, text);
        self.set(path, self.this() + u64::from(self.struct_len));
    }

    fn slot(&mut self, path: &'static str) -> Option<Slot> {
        self.registry.paths.slot(self.maker.btf?, self.type_name, path)
    }

    fn fits(&self, off: u32, len: u32) -> bool {
        off.checked_add(len).is_some_and(|end| end <= self.len)
    }

    fn store(&self, slot: Slot, value: u64) {
        let off = slot.bit_off / 8;
        if slot.bits > 0 {
            self.store_bits(slot, value);
        } else if let Some(size) = size(slot.len).filter(|_| self.fits(off, slot.len)) {
            self.region.store(off, size, value);
        }
    }

    fn store_bits(&self, slot: Slot, value: u64) {
        // The bit-field with the bytes around it, which are eight at most.
        let (off, first) = (slot.bit_off / 8, slot.bit_off % 8);
        let len = (first + slot.bits).div_ceil(8);
        if slot.bits > 56 || !self.fits(off, len) {
            return;
        }
        let shift = match self.region.order() {
            ByteOrder::Little => first,
            ByteOrder::Big => 8 * len - first - slot.bits,
        };
        let mask = ((1u64 << slot.bits) - 1) << shift;
        let mut bytes = [0; 8];
        let part = &mut bytes[..len as usize];
        self.region.read(off, part);
        if self.region.order() == ByteOrder::Big {
            part.reverse();
        }
        let word = u64::from_le_bytes(bytes) & !mask | value << shift & mask;
        let mut bytes = word.to_le_bytes();
        let part = &mut bytes[..len as usize];
        if self.region.order() == ByteOrder::Big {
            part.reverse();
        }
        self.region.write(off, part);
    }
}

fn size(len: u32) -> Option<Size> {
    match len {
        1 => Some(Size::B),
        2 => Some(Size::H),
        4 => Some(Size::W),
        8 => Some(Size::Dw),
        _ => None,
    }
}
