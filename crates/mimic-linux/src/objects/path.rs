//! `Slot`: where a member of a kernel structure lies, found by a path of names as C has it: `__sk_common.skc_family`, `ancestors[2]`.

use mimic_abi::btf::{Btf, Kind, KindCode, TypeId};
use std::collections::HashMap;

/// A member's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// From the structure's start, in bits.
    pub(super) bit_off: u32,
    /// Bits of a bit-field; 0 if it is none.
    pub(super) bits: u32,
    /// Bytes of the member.
    pub(super) len: u32,
}

/// Slots that were looked for, with what was found.
#[derive(Default)]
pub(super) struct Paths(HashMap<(&'static str, &'static str), Option<Slot>>);

impl Paths {
    /// The place of `path` in a structure; none if this kernel has no such member.
    pub(super) fn slot(&mut self, btf: &Btf, name: &'static str, path: &'static str) -> Option<Slot> {
        *self.0.entry((name, path)).or_insert_with(|| find(btf, name, path))
    }
}

impl Paths {
    /// What was found: structures, and paths in them.
    pub(super) fn found(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().filter(|(_, slot)| slot.is_some()).map(|(key, _)| *key)
    }
}

/// Bytes of a structure.
pub(super) fn struct_len(btf: &Btf, name: &str) -> Option<u32> {
    match btf.find(name, KindCode::Struct)?.kind {
        Kind::Struct(composite) => Some(composite.size).filter(|size| *size > 0),
        _ => None,
    }
}

/// Where a member begins, in bits, and its bytes.
pub(crate) fn member(btf: &Btf, name: &str, path: &str) -> Option<(u32, u32)> {
    find(btf, name, path).map(|slot| (slot.bit_off, slot.len))
}

pub(super) fn find(btf: &Btf, name: &str, path: &str) -> Option<Slot> {
    let mut ty = btf.find(name, KindCode::Struct)?.id;
    let mut slot = Slot { bit_off: 0, bits: 0, len: 0 };
    for part in path.split('.') {
        let (name, index) = part.split_once('[').map_or((part, None), |(name, index)| (name, Some(index)));
        let member = btf.member(ty, name)?;
        let start = slot.bit_off.checked_add(member.bit_off)?;
        ty = member.ty;
        slot = match btf.bitfield(&member) {
            Some((bit_off, bits)) => {
                Slot { bit_off: start - member.bit_off + bit_off, bits, len: btf.size_of(ty)? }
            }
            None => Slot { bit_off: start, bits: 0, len: btf.size_of(ty)? },
        };
        if let Some(index) = index {
            let index: u32 = index.strip_suffix(']')?.parse().ok()?;
            (ty, slot) = element(btf, ty, slot, index)?;
        }
    }
    Some(slot)
}

fn element(btf: &Btf, ty: TypeId, slot: Slot, index: u32) -> Option<(TypeId, Slot)> {
    let Kind::Array(array) = btf.resolve(ty)?.kind else { return None };
    let len = btf.size_of(array.elem)?;
    let bit_off = slot.bit_off.checked_add(len.checked_mul(8)?.checked_mul(index)?)?;
    Some((array.elem, Slot { bit_off, bits: 0, len }))
}
