//! `Types`: a BTF as linking looks at it: numbers in, plain values out.
//!
//! A thin view over [`mimic_abi::btf`], which decodes. What differs between qualifiers, or between enumerations of 32 and 64 bits,
//! does not matter here and is folded.

use mimic_abi::btf::{self, Btf, KindCode, Linkage, TypeId};

pub(crate) use mimic_abi::btf::essential_name;

/// The types of one BTF.
#[derive(Clone, Copy)]
pub(crate) struct Types<'a>(pub(crate) &'a Btf);

/// What a type is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Void,
    Int {
        size: u32,
        bit_off: u8,
        signed: bool,
        is_bool: bool,
    },
    Ptr {
        to: u32,
    },
    Array {
        elem: u32,
        len: u32,
    },
    Struct,
    Union,
    Enum {
        size: u32,
    },
    Fwd {
        union: bool,
    },
    Typedef,
    /// `const`, `volatile`, `restrict` or a type tag.
    Qualifier,
    Func {
        proto: u32,
        linkage: Linkage,
    },
    FuncProto {
        ret: u32,
    },
    Var {
        type_id: u32,
        linkage: Linkage,
    },
    Datasec,
    Float,
    DeclTag,
}

/// A member of a structure or union.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) type_id: u32,
    pub(crate) bit_off: u32,
    /// Of a bit field; 0 for whole members.
    pub(crate) bits: u32,
}

/// A variable's (or function's) place in a section.
#[derive(Clone, Copy)]
pub(crate) struct SectionVar {
    pub(crate) type_id: u32,
    pub(crate) off: u32,
    pub(crate) size: u32,
}

impl<'a> Types<'a> {
    fn ty(self, id: u32) -> Option<btf::Type<'a>> {
        self.0.ty(TypeId(id))
    }

    /// The number of types, void included.
    pub(crate) fn count(self) -> u32 {
        self.0.type_count()
    }

    pub(crate) fn name(self, id: u32) -> &'a str {
        self.ty(id).map(|ty| ty.name()).unwrap_or_default()
    }

    pub(crate) fn kind(self, id: u32) -> Option<Kind> {
        Some(match self.ty(id)?.kind {
            btf::Kind::Void => Kind::Void,
            btf::Kind::Int(int) => Kind::Int {
                size: int.size,
                bit_off: int.offset,
                signed: int.encoding.is_signed(),
                is_bool: int.encoding.is_bool(),
            },
            btf::Kind::Ptr(to) => Kind::Ptr { to: to.0 },
            btf::Kind::Array(array) => Kind::Array { elem: array.elem.0, len: array.count },
            btf::Kind::Struct(_) => Kind::Struct,
            btf::Kind::Union(_) => Kind::Union,
            btf::Kind::Enum(of) | btf::Kind::Enum64(of) => Kind::Enum { size: of.size },
            btf::Kind::Fwd(what) => Kind::Fwd { union: what == btf::FwdKind::Union },
            btf::Kind::Typedef(_) => Kind::Typedef,
            btf::Kind::Volatile(_) | btf::Kind::Const(_) | btf::Kind::Restrict(_) | btf::Kind::TypeTag(_) => {
                Kind::Qualifier
            }
            btf::Kind::Func(func) => Kind::Func { proto: func.proto.0, linkage: func.linkage },
            btf::Kind::FuncProto(proto) => Kind::FuncProto { ret: proto.ret.0 },
            btf::Kind::Var(var) => Kind::Var { type_id: var.ty.0, linkage: var.linkage },
            btf::Kind::Datasec(_) => Kind::Datasec,
            btf::Kind::Float { .. } => Kind::Float,
            btf::Kind::DeclTag(_) => Kind::DeclTag,
        })
    }

    /// The type behind typedefs and qualifiers.
    pub(crate) fn skip(self, id: u32) -> Option<u32> {
        self.0.resolve(TypeId(id)).map(|ty| ty.id.0)
    }

    /// In bytes.
    pub(crate) fn size(self, id: u32) -> Option<u64> {
        self.0.size_of(TypeId(id)).map(u64::from)
    }

    /// In bytes.
    pub(crate) fn align(self, id: u32) -> Option<u32> {
        self.0.align_of(TypeId(id))
    }

    /// Members, enumerators or parameters.
    pub(crate) fn len(self, id: u32) -> u32 {
        let len = match self.ty(id).map(|ty| ty.kind) {
            Some(btf::Kind::Struct(of) | btf::Kind::Union(of)) => of.members.len(),
            Some(btf::Kind::Enum(of) | btf::Kind::Enum64(of)) => of.values.len(),
            Some(btf::Kind::FuncProto(of)) => of.params.len(),
            _ => 0,
        };
        len as u32
    }

    pub(crate) fn members(self, id: u32) -> impl Iterator<Item = Member<'a>> + 'a {
        let of = self.ty(id).and_then(|ty| ty.kind.composite());
        of.into_iter().flat_map(|of| of.members.iter()).map(Member::from)
    }

    pub(crate) fn member(self, id: u32, index: u32) -> Option<Member<'a>> {
        let of = self.ty(id)?.kind.composite()?;
        of.members.get(index as usize).map(Member::from)
    }

    /// Names and values, the latter cut to 64 bits.
    pub(crate) fn enumerators(self, id: u32) -> impl Iterator<Item = (&'a str, u64)> + 'a {
        let of = self.ty(id).and_then(|ty| ty.kind.enumeration());
        of.into_iter().flat_map(|of| of.values.iter()).map(|value| (value.name(), value.value as u64))
    }

    pub(crate) fn enumerator(self, id: u32, index: u32) -> Option<(&'a str, u64)> {
        let value = self.ty(id)?.kind.enumeration()?.values.get(index as usize)?;
        Some((value.name(), value.value as u64))
    }

    /// The types of a function's parameters.
    pub(crate) fn params(self, id: u32) -> impl Iterator<Item = u32> + 'a {
        let of = match self.ty(id).map(|ty| ty.kind) {
            Some(btf::Kind::FuncProto(of)) => Some(of),
            _ => None,
        };
        of.into_iter().flat_map(|of| of.params.iter()).map(|param| param.ty.0)
    }

    /// What lies in a section.
    pub(crate) fn vars(self, datasec: u32) -> impl Iterator<Item = SectionVar> + 'a {
        let of = match self.ty(datasec).map(|ty| ty.kind) {
            Some(btf::Kind::Datasec(of)) => Some(of),
            _ => None,
        };
        let var =
            |entry: btf::DatasecEntry| SectionVar { type_id: entry.ty.0, off: entry.off, size: entry.size };
        of.into_iter().flat_map(|of| of.entries.iter()).map(var)
    }

    /// The section of this name.
    pub(crate) fn datasec(self, name: &str) -> Option<u32> {
        self.find(name, KindCode::Datasec)
    }

    /// The variable of this name: itself and its type.
    pub(crate) fn var(self, name: &str) -> Option<(u32, u32)> {
        let id = self.find(name, KindCode::Var)?;
        self.var_type(id).map(|type_id| (id, type_id))
    }

    /// The type of a variable.
    pub(crate) fn var_type(self, id: u32) -> Option<u32> {
        match self.kind(id)? {
            Kind::Var { type_id, .. } => Some(type_id),
            _ => None,
        }
    }

    /// The function of this name: itself and its prototype.
    pub(crate) fn func(self, name: &str) -> Option<(u32, u32)> {
        let id = self.find(name, KindCode::Func)?;
        match self.kind(id)? {
            Kind::Func { proto, .. } => Some((id, proto)),
            _ => None,
        }
    }

    pub(crate) fn find(self, name: &str, kind: KindCode) -> Option<u32> {
        self.0.find(name, kind).map(|ty| ty.id.0)
    }

    /// The types of this name, flavours (`___x`) aside, by id.
    pub(crate) fn by_essential_name(self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.0.named_essentially(name).map(|ty| ty.id.0)
    }

    /// A signed integer or enumeration.
    pub(crate) fn is_signed(self, id: u32) -> bool {
        match self.ty(id).map(|ty| ty.kind) {
            Some(btf::Kind::Int(int)) => int.encoding.is_signed(),
            Some(btf::Kind::Enum(of) | btf::Kind::Enum64(of)) => of.signed,
            _ => false,
        }
    }
}

impl<'a> From<btf::Member<'a>> for Member<'a> {
    fn from(member: btf::Member<'a>) -> Member<'a> {
        Member {
            name: member.name(),
            type_id: member.ty.0,
            bit_off: member.bit_off,
            bits: u32::from(member.bits),
        }
    }
}
