//! Which layout a C compiler for BPF gives a structure as it will be written, and where padding is needed for the
//! recorded one.

use std::collections::HashMap;

use crate::btf::{Btf, Composite, Kind, MAX_DEPTH, Member, TypeId};

/// How a structure or union has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// It needs the attribute `packed`.
    pub(super) packed: bool,
    /// The alignment that the compiler gives it, in bytes.
    pub(super) align: u32,
}

/// A member's place and needs, in bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where it is recorded to start.
    pub(super) off: u64,
    /// Its length.
    pub(super) len: u64,
    /// It is a bit-field in units of so many bits.
    pub(super) unit: Option<u64>,
    /// The alignment of its type.
    pub(super) align: u64,
}

/// Padding: the integer type to write, and its bits.
pub(super) type Padding = (&'static str, u64);

/// The layouts that are known so far.
#[derive(Debug, Default)]
pub(super) struct Layouts(HashMap<TypeId, Layout>);

impl Layout {
    const PACKED: Layout = Layout { packed: true, align: 1 };

    /// Where the compiler puts a member after `pos` bits.
    pub(super) fn place(&self, pos: u64, member: &Place) -> u64 {
        match member.unit {
            Some(_) if self.packed => pos,
            Some(unit) if pos % unit + member.len > unit => pos.next_multiple_of(member.align),
            Some(_) => pos,
            None if self.packed => pos.next_multiple_of(8),
            None => pos.next_multiple_of(member.align),
        }
    }

    /// Where the structure ends for the compiler if its members end at `pos`.
    pub(super) fn end(&self, pos: u64) -> u64 {
        pos.next_multiple_of(u64::from(self.align) * 8)
    }

    /// The next piece of padding on the way from `pos` to `off`, and where it ends.
    pub(super) fn padding(&self, pos: u64, off: u64) -> (Padding, u64) {
        let gap = off.saturating_sub(pos);
        if self.packed {
            let bits = gap.min(64);
            return (("long", bits), pos + bits);
        }
        // A unit that does not fit any more goes on to the next one, which pads what is between too.
        let whole = pos.next_multiple_of(64) + 64;
        if whole <= off {
            return (("long", 64), whole);
        }
        let unit = [("char", 8), ("short", 16), ("int", 32), ("long", 64)];
        let fits = unit.into_iter().find(|(_, unit)| pos % unit + gap <= *unit);
        let (name, unit) = fits.unwrap_or(("long", 64));
        let bits = gap.min(unit - pos % unit);
        ((name, bits), pos + bits)
    }
}

impl Layouts {
    /// The layout of a structure or union.
    pub(super) fn of(&mut self, btf: &Btf, id: TypeId) -> Layout {
        self.at_depth(btf, id, 0)
    }

    /// The place of a member.
    pub(super) fn place(&mut self, btf: &Btf, member: &Member<'_>) -> Place {
        self.place_at_depth(btf, member, 0)
    }

    fn at_depth(&mut self, btf: &Btf, id: TypeId, depth: usize) -> Layout {
        let Some(ty) = btf.resolve(id).filter(|_| depth <= MAX_DEPTH) else {
            return Layout::PACKED;
        };
        let Some(composite) = ty.kind.composite() else {
            return Layout::PACKED;
        };
        if let Some(&known) = self.0.get(&ty.id) {
            return known;
        }
        // What contains itself has no layout, but must have an answer.
        self.0.insert(ty.id, Layout::PACKED);
        let layout = self.find(btf, &composite, depth);
        self.0.insert(ty.id, layout);
        layout
    }

    fn find(&mut self, btf: &Btf, composite: &Composite<'_>, depth: usize) -> Layout {
        let mut align = 1;
        for member in composite.members {
            let place = self.place_at_depth(btf, &member, depth);
            let fits = match place.unit {
                Some(unit) => place.off % unit + place.len <= unit,
                None => place.off.is_multiple_of(place.align),
            };
            if !fits {
                return Layout::PACKED;
            }
            // Bit-fields without a name do not align their structure.
            if place.unit.is_none() || !member.name().is_empty() {
                align = align.max((place.align / 8) as u32);
            }
        }
        if composite.size.is_multiple_of(align) { Layout { packed: false, align } } else { Layout::PACKED }
    }

    fn place_at_depth(&mut self, btf: &Btf, member: &Member<'_>, depth: usize) -> Place {
        let size = btf.size_of(member.ty).unwrap_or(0);
        let align = u64::from(self.align(btf, member.ty, depth + 1)) * 8;
        match btf.bitfield(member) {
            Some((off, len)) => {
                let unit = Some(u64::from(size.max(1)) * 8);
                Place { off: off.into(), len: len.into(), unit, align }
            }
            None => Place { off: member.bit_off.into(), len: u64::from(size) * 8, unit: None, align },
        }
    }

    /// The alignment that the compiler gives a type as it is written, in bytes.
    fn align(&mut self, btf: &Btf, id: TypeId, depth: usize) -> u32 {
        let scalar = |size: u32| if size.is_power_of_two() && size <= 16 { size } else { 1 };
        let Some(ty) = btf.resolve(id).filter(|_| depth <= MAX_DEPTH) else {
            return 1;
        };
        match ty.kind {
            // What C has no name for is written as bytes, apart from integers.
            Kind::Float { .. } if super::names::base_type(btf, &ty).is_none() => 1,
            Kind::Int(int) => scalar(int.size),
            Kind::Float { size } => scalar(size),
            Kind::Enum(enumeration) | Kind::Enum64(enumeration) => scalar(enumeration.size),
            Kind::Ptr(_) => btf.ptr_size(),
            Kind::Array(array) => self.align(btf, array.elem, depth + 1),
            Kind::Struct(_) | Kind::Union(_) => self.at_depth(btf, ty.id, depth + 1).align,
            Kind::Void
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => 1,
        }
    }
}
