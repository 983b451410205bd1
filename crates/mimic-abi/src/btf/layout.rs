//! Sizes, alignments, members, and what is behind typedefs and qualifiers.

use std::collections::HashMap;

use super::{Array, Btf, Composite, Kind, MAX_DEPTH, Member, Type, TypeId};

impl Btf {
    /// The type behind typedefs, qualifiers and type tags. `None` if there is no such type, or no end to them.
    pub fn resolve(&self, id: TypeId) -> Option<Type<'_>> {
        self.follow(id, |kind| kind.alias_of())
    }

    /// The type behind qualifiers and type tags, which can be a typedef. `None` as for [`Btf::resolve`].
    pub fn skip_qualifiers(&self, id: TypeId) -> Option<Type<'_>> {
        self.follow(id, |kind| if matches!(kind, Kind::Typedef(_)) { None } else { kind.alias_of() })
    }

    /// Length of a value of the type in bytes.
    ///
    /// `None` if it has no length (void, functions, forward declarations), or none that fits 32 bits, or is nested
    /// without end. A variable has that of its type.
    pub fn size_of(&self, id: TypeId) -> Option<u32> {
        let mut count: u32 = 1;
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.resolve(id)?;
            let size = match ty.kind {
                Kind::Int(int) => int.size,
                Kind::Ptr(_) => self.ptr_size(),
                Kind::Struct(composite) | Kind::Union(composite) => composite.size,
                Kind::Enum(enumeration) | Kind::Enum64(enumeration) => enumeration.size,
                Kind::Datasec(section) => section.size,
                Kind::Float { size } => size,
                Kind::Var(var) => {
                    id = var.ty;
                    continue;
                }
                Kind::Array(array) => {
                    count = count.checked_mul(array.count)?;
                    id = array.elem;
                    continue;
                }
                Kind::Void
                | Kind::Fwd(_)
                | Kind::Func(_)
                | Kind::FuncProto(_)
                | Kind::DeclTag(_)
                | Kind::Typedef(_)
                | Kind::Volatile(_)
                | Kind::Const(_)
                | Kind::Restrict(_)
                | Kind::TypeTag(_) => return None,
            };
            return count.checked_mul(size);
        }
        None
    }

    /// The alignment of a value of the type in bytes, a power of two. A structure that keeps a member where it would
    /// not be aligned is packed: 1. `None` as for [`Btf::size_of`].
    pub fn align_of(&self, id: TypeId) -> Option<u32> {
        Aligns::default().align_of(self, id)
    }

    /// The member of a structure or union, also behind typedefs, with this name; looks into anonymous members too.
    /// Its offset counts from the start of the outermost.
    pub fn member(&self, id: TypeId, name: &str) -> Option<Member<'_>> {
        if name.is_empty() {
            return None;
        }
        // No type is looked into twice, so that one with many ways to the same innermost costs no more than its size.
        let mut seen = std::collections::HashSet::new();
        let mut todo = vec![(id, 0u32)];
        while let Some((id, start)) = todo.pop() {
            let Some(composite) =
                self.resolve(id).filter(|ty| seen.insert(ty.id)).and_then(|ty| ty.kind.composite())
            else {
                continue;
            };
            for member in composite.members {
                let Some(bit_off) = start.checked_add(member.bit_off) else {
                    continue;
                };
                if member.name() == name {
                    return Some(member.at(bit_off));
                }
                if member.name().is_empty() {
                    todo.push((member.ty, bit_off));
                }
            }
        }
        None
    }

    /// Where a bit-field starts, in bits from the start of its structure, and its length in bits; `None` if the
    /// member is none. Knows both ways of writing them.
    pub fn bitfield(&self, member: &Member<'_>) -> Option<(u32, u32)> {
        if member.bits != 0 {
            return Some((member.bit_off, u32::from(member.bits)));
        }
        let Kind::Int(int) = self.resolve(member.ty)?.kind else {
            return None;
        };
        let whole = u32::from(int.bits) == int.size.saturating_mul(8) && int.offset == 0;
        if whole && member.bit_off.is_multiple_of(8) {
            return None;
        }
        Some((member.bit_off.checked_add(u32::from(int.offset))?, u32::from(int.bits)))
    }

    fn follow(&self, id: TypeId, next: impl Fn(&Kind<'_>) -> Option<TypeId>) -> Option<Type<'_>> {
        let mut ty = self.ty(id)?;
        for _ in 0..MAX_DEPTH {
            match next(&ty.kind) {
                Some(id) => ty = self.ty(id)?,
                None => return Some(ty),
            }
        }
        None
    }
}

/// Alignments that were already found, without which structures in structures would be looked at again and again.
#[derive(Debug, Default)]
pub(super) struct Aligns(HashMap<TypeId, Option<u32>>);

impl Aligns {
    /// As [`Btf::align_of`].
    pub(super) fn align_of(&mut self, btf: &Btf, id: TypeId) -> Option<u32> {
        self.at_depth(btf, id, 0)
    }

    fn at_depth(&mut self, btf: &Btf, id: TypeId, depth: usize) -> Option<u32> {
        if depth > MAX_DEPTH {
            return None;
        }
        let ty = btf.resolve(id)?;
        let scalar = |size: u32| size.checked_next_power_of_two().map(|size| size.min(btf.ptr_size()));
        match ty.kind {
            Kind::Int(int) => scalar(int.size),
            Kind::Ptr(_) => Some(btf.ptr_size()),
            Kind::Enum(enumeration) | Kind::Enum64(enumeration) => scalar(enumeration.size),
            Kind::Float { size } => scalar(size),
            Kind::Array(Array { elem, .. }) => self.at_depth(btf, elem, depth.saturating_add(1)),
            Kind::Var(var) => self.at_depth(btf, var.ty, depth.saturating_add(1)),
            Kind::Struct(composite) | Kind::Union(composite) => {
                if let Some(&known) = self.0.get(&ty.id) {
                    return known;
                }
                let align = self.of_composite(btf, &composite, depth);
                self.0.insert(ty.id, align);
                align
            }
            Kind::Void
            | Kind::Fwd(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::TypeTag(_) => None,
        }
    }

    fn of_composite(&mut self, btf: &Btf, composite: &Composite<'_>, depth: usize) -> Option<u32> {
        let mut align = 1;
        for member in composite.members {
            let wanted = self.at_depth(btf, member.ty, depth.saturating_add(1))?;
            let bitfield = btf.bitfield(&member).is_some();
            if !bitfield && !member.bit_off.is_multiple_of(wanted.saturating_mul(8)) {
                return Some(1);
            }
            align = align.max(wanted);
        }
        Some(if composite.size.is_multiple_of(align) { align } else { 1 })
    }
}
