//! `Kind`: what a type is, decoded from its record.
//!
//! Views only: nothing here follows a reference to another type. Mirrors the kernel's "BPF Type Format (BTF)"
//! document, section 2.2, and the UAPI header `linux/btf.h`.

use core::fmt;

use super::list::{List, Record};
use super::{Btf, TypeId};

/// The number of a kind in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at `Kind`")]
pub enum KindCode {
    Void = 0,
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

/// What a type is, and what its record says about it.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// No type: `void`, id 0.
    Void,
    /// An integer, character or boolean.
    Int(Int),
    /// A pointer to the type.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A structure.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enumeration with values of up to 32 bits.
    Enum(Enum<'a>),
    /// An enumeration with values of up to 64 bits.
    Enum64(Enum<'a>),
    /// A structure or union of which only the name is known.
    Fwd(FwdKind),
    /// Another name for the type.
    Typedef(TypeId),
    /// The type, volatile.
    Volatile(TypeId),
    /// The type, constant.
    Const(TypeId),
    /// The type (a pointer), restricted.
    Restrict(TypeId),
    /// A function: its [`Kind::FuncProto`] and linkage.
    Func(Func),
    /// The return type and parameters of a function.
    FuncProto(FuncProto<'a>),
    /// A global variable.
    Var(Var),
    /// An ELF section and the variables in it.
    Datasec(Datasec<'a>),
    /// A floating point number.
    Float {
        /// Length in bytes: 2, 4, 8, 12 or 16.
        size: u32,
    },
    /// A tag on a structure, union, member, function, parameter, variable or typedef; the type's name is the tag.
    DeclTag(DeclTag),
    /// A tag on the type that a pointer points at; the type's name is the tag.
    TypeTag(TypeTag),
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Length of its storage in bytes: 1, 2, 4, 8 or 16.
    pub size: u32,
    /// How to show it.
    pub encoding: IntEncoding,
    /// Where the value starts in the storage, in bits. 0 except in bit-fields of old compilers.
    pub offset: u8,
    /// Length of the value in bits; under `size * 8` only for bit-fields of old compilers.
    pub bits: u8,
}

/// Signedness and use of an integer: the format's encoding bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct IntEncoding(pub u8);

/// An array type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of its elements.
    pub elem: TypeId,
    /// The type of its index.
    pub index: TypeId,
    /// The number of its elements; 0 for a flexible array.
    pub count: u32,
}

/// A structure or union.
#[derive(Clone, Copy, Debug)]
pub struct Composite<'a> {
    /// Length in bytes.
    pub size: u32,
    /// Its members in the order of the declaration.
    pub members: List<'a, Member<'a>>,
}

/// A member of a structure or union.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    owner: &'a Btf,
    name_off: u32,
    /// Its type.
    pub ty: TypeId,
    /// Where it starts, in bits from the start of the structure.
    pub bit_off: u32,
    /// Length of a bit-field in bits, 0 if it is none. Bit-fields of old compilers have it in their [`Int`]
    /// instead: see [`Btf::bitfield`].
    pub bits: u8,
}

/// An enumeration.
#[derive(Clone, Copy, Debug)]
pub struct Enum<'a> {
    /// Length in bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// Values are signed.
    pub signed: bool,
    /// Names and values in the order of the declaration. None in a forward declaration.
    pub values: List<'a, EnumValue<'a>>,
}

/// A constant of an enumeration.
#[derive(Clone, Copy)]
pub struct EnumValue<'a> {
    owner: &'a Btf,
    name_off: u32,
    /// Its value, sign- or zero-extended as the enumeration says.
    pub value: i128,
}

/// What a forward declaration declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FwdKind {
    /// `struct name;`
    Struct,
    /// `union name;`
    Union,
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Func {
    /// Its [`Kind::FuncProto`].
    pub proto: TypeId,
    /// Who sees it.
    pub linkage: Linkage,
}

/// Who sees a function or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// Its own object file.
    Static,
    /// Everybody.
    Global,
    /// Everybody, and it is defined elsewhere.
    Extern,
    /// A number that the format does not define.
    Other(u32),
}

/// A function's type.
#[derive(Clone, Copy, Debug)]
pub struct FuncProto<'a> {
    /// The type it returns.
    pub ret: TypeId,
    /// Its parameters. A last one without name and type stands for `...`.
    pub params: List<'a, Param<'a>>,
}

/// A parameter of a function.
#[derive(Clone, Copy)]
pub struct Param<'a> {
    owner: &'a Btf,
    name_off: u32,
    /// Its type; void as the last parameter of a variadic function.
    pub ty: TypeId,
}

/// A global variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    /// Its type.
    pub ty: TypeId,
    /// Who sees it.
    pub linkage: Linkage,
}

/// An ELF section.
#[derive(Clone, Copy, Debug)]
pub struct Datasec<'a> {
    /// Length in bytes; 0 as compilers write it, right after a loader fixed it.
    pub size: u32,
    /// The variables in it, by offset.
    pub entries: List<'a, DatasecEntry>,
}

/// A variable's place in an ELF section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasecEntry {
    /// The [`Kind::Var`]; a [`Kind::Func`] for extern functions.
    pub ty: TypeId,
    /// Where it starts in the section, in bytes; 0 as compilers write it.
    pub off: u32,
    /// Length in bytes.
    pub size: u32,
}

/// A tag on a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclTag {
    /// What is tagged.
    pub ty: TypeId,
    /// Which member or parameter of it, from 0; `None` for the whole.
    pub component: Option<u32>,
    /// The tag is a compiler's attribute of that name, not a `btf_decl_tag`.
    pub attribute: bool,
}

/// A tag on a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    /// What is tagged.
    pub ty: TypeId,
    /// The tag is a compiler's attribute of that name, not a `btf_type_tag`.
    pub attribute: bool,
}

impl KindCode {
    /// Every kind, by number.
    pub const ALL: [KindCode; 20] = [
        KindCode::Void,
        KindCode::Int,
        KindCode::Ptr,
        KindCode::Array,
        KindCode::Struct,
        KindCode::Union,
        KindCode::Enum,
        KindCode::Fwd,
        KindCode::Typedef,
        KindCode::Volatile,
        KindCode::Const,
        KindCode::Restrict,
        KindCode::Func,
        KindCode::FuncProto,
        KindCode::Var,
        KindCode::Datasec,
        KindCode::Float,
        KindCode::DeclTag,
        KindCode::TypeTag,
        KindCode::Enum64,
    ];

    /// The kind with this number in the format.
    pub fn from_raw(code: u32) -> Option<KindCode> {
        KindCode::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// The format's name of it, as bpftool shows it: `STRUCT`, `FUNC_PROTO`.
    pub const fn name(self) -> &'static str {
        match self {
            KindCode::Void => "VOID",
            KindCode::Int => "INT",
            KindCode::Ptr => "PTR",
            KindCode::Array => "ARRAY",
            KindCode::Struct => "STRUCT",
            KindCode::Union => "UNION",
            KindCode::Enum => "ENUM",
            KindCode::Fwd => "FWD",
            KindCode::Typedef => "TYPEDEF",
            KindCode::Volatile => "VOLATILE",
            KindCode::Const => "CONST",
            KindCode::Restrict => "RESTRICT",
            KindCode::Func => "FUNC",
            KindCode::FuncProto => "FUNC_PROTO",
            KindCode::Var => "VAR",
            KindCode::Datasec => "DATASEC",
            KindCode::Float => "FLOAT",
            KindCode::DeclTag => "DECL_TAG",
            KindCode::TypeTag => "TYPE_TAG",
            KindCode::Enum64 => "ENUM64",
        }
    }

    /// Length of what follows the common 12 bytes of a record with `vlen` entries, in bytes.
    pub(super) fn tail_len(self, vlen: u32) -> usize {
        let vlen = (vlen & 0xffff) as usize;
        match self {
            KindCode::Int | KindCode::Var | KindCode::DeclTag => 4,
            KindCode::Array => 12,
            KindCode::Struct | KindCode::Union | KindCode::Enum64 | KindCode::Datasec => 12 * vlen,
            KindCode::Enum | KindCode::FuncProto => 8 * vlen,
            KindCode::Void
            | KindCode::Ptr
            | KindCode::Fwd
            | KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::Func
            | KindCode::Float
            | KindCode::TypeTag => 0,
        }
    }
}

impl fmt::Display for KindCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl<'a> Kind<'a> {
    /// Its number in the format.
    pub const fn code(&self) -> KindCode {
        match self {
            Kind::Void => KindCode::Void,
            Kind::Int(_) => KindCode::Int,
            Kind::Ptr(_) => KindCode::Ptr,
            Kind::Array(_) => KindCode::Array,
            Kind::Struct(_) => KindCode::Struct,
            Kind::Union(_) => KindCode::Union,
            Kind::Enum(_) => KindCode::Enum,
            Kind::Enum64(_) => KindCode::Enum64,
            Kind::Fwd(_) => KindCode::Fwd,
            Kind::Typedef(_) => KindCode::Typedef,
            Kind::Volatile(_) => KindCode::Volatile,
            Kind::Const(_) => KindCode::Const,
            Kind::Restrict(_) => KindCode::Restrict,
            Kind::Func(_) => KindCode::Func,
            Kind::FuncProto(_) => KindCode::FuncProto,
            Kind::Var(_) => KindCode::Var,
            Kind::Datasec(_) => KindCode::Datasec,
            Kind::Float { .. } => KindCode::Float,
            Kind::DeclTag(_) => KindCode::DeclTag,
            Kind::TypeTag(_) => KindCode::TypeTag,
        }
    }

    /// The type that a typedef, `const`, `volatile`, `restrict` or type tag stands for.
    pub const fn alias_of(&self) -> Option<TypeId> {
        match self {
            Kind::Typedef(ty) | Kind::Volatile(ty) | Kind::Const(ty) | Kind::Restrict(ty) => Some(*ty),
            Kind::TypeTag(tag) => Some(tag.ty),
            Kind::Void
            | Kind::Int(_)
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Struct(_)
            | Kind::Union(_)
            | Kind::Enum(_)
            | Kind::Enum64(_)
            | Kind::Fwd(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::Float { .. }
            | Kind::DeclTag(_) => None,
        }
    }

    /// The structure or union that this is.
    pub const fn composite(&self) -> Option<Composite<'a>> {
        if let Kind::Struct(composite) | Kind::Union(composite) = self { Some(*composite) } else { None }
    }

    /// The enumeration, of 32 or 64 bits, that this is.
    pub const fn enumeration(&self) -> Option<Enum<'a>> {
        if let Kind::Enum(enumeration) | Kind::Enum64(enumeration) = self { Some(*enumeration) } else { None }
    }
}

impl IntEncoding {
    /// An unsigned number.
    pub const NONE: IntEncoding = IntEncoding(0);
    /// A signed number.
    pub const SIGNED: IntEncoding = IntEncoding(1);
    /// A character.
    pub const CHAR: IntEncoding = IntEncoding(2);
    /// A boolean.
    pub const BOOL: IntEncoding = IntEncoding(4);

    /// It is signed.
    pub const fn is_signed(self) -> bool {
        self.0 & 1 != 0
    }

    /// It is a character.
    pub const fn is_char(self) -> bool {
        self.0 & 2 != 0
    }

    /// It is a boolean.
    pub const fn is_bool(self) -> bool {
        self.0 & 4 != 0
    }

    /// The name bpftool shows: `(none)`, `SIGNED`, `CHAR`, `BOOL`, `UNKN`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "(none)",
            1 => "SIGNED",
            2 => "CHAR",
            4 => "BOOL",
            _ => "UNKN",
        }
    }
}

impl FwdKind {
    /// The keyword in C.
    pub const fn keyword(self) -> &'static str {
        match self {
            FwdKind::Struct => "struct",
            FwdKind::Union => "union",
        }
    }
}

impl Linkage {
    /// The linkage with this number.
    pub const fn from_raw(raw: u32) -> Linkage {
        match raw {
            0 => Linkage::Static,
            1 => Linkage::Global,
            2 => Linkage::Extern,
            other => Linkage::Other(other),
        }
    }

    /// Its number.
    pub const fn to_raw(self) -> u32 {
        match self {
            Linkage::Static => 0,
            Linkage::Global => 1,
            Linkage::Extern => 2,
            Linkage::Other(raw) => raw,
        }
    }

    /// The name bpftool shows.
    pub const fn name(self) -> &'static str {
        match self {
            Linkage::Static => "static",
            Linkage::Global => "global",
            Linkage::Extern => "extern",
            Linkage::Other(_) => "(unknown)",
        }
    }
}

impl<'a> Composite<'a> {
    /// The first member with this name. Does not look into anonymous members: [`Btf::member`] does.
    pub fn member(&self, name: &str) -> Option<Member<'a>> {
        self.members.iter().find(|member| member.name() == name)
    }
}

impl<'a> Enum<'a> {
    /// The name of a value: the first, if it has several.
    pub fn name_of(&self, value: i128) -> Option<&'a str> {
        self.values.iter().find(|constant| constant.value == value).map(|constant| constant.name())
    }

    /// The value of a name.
    pub fn value_of(&self, name: &str) -> Option<i128> {
        self.values.iter().find(|constant| constant.name() == name).map(|constant| constant.value)
    }
}

impl<'a> Member<'a> {
    /// Its name; empty for anonymous structures, unions and bit-fields.
    pub fn name(&self) -> &'a str {
        self.owner.name_at(self.name_off)
    }
}

impl Member<'_> {
    /// The same member, starting elsewhere.
    pub(super) fn at(self, bit_off: u32) -> Self {
        Member { bit_off, ..self }
    }
}

impl<'a> EnumValue<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.owner.name_at(self.name_off)
    }
}

impl<'a> Param<'a> {
    /// Its name; empty if the declaration gives none.
    pub fn name(&self) -> &'a str {
        self.owner.name_at(self.name_off)
    }
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name())
            .field("ty", &self.ty)
            .field("bit_off", &self.bit_off)
            .field("bits", &self.bits)
            .finish()
    }
}

impl fmt::Debug for EnumValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name(), self.value)
    }
}

impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Param").field("name", &self.name()).field("ty", &self.ty).finish()
    }
}

/// The common part of a record: `struct btf_type`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) name_off: u32,
    info: u32,
    size_or_type: u32,
}

/// Length of [`Header`] in the file.
pub(super) const HEADER_LEN: usize = 12;

impl Header {
    pub(super) fn read(btf: &Btf, off: usize) -> Header {
        Header {
            name_off: btf.word(off),
            info: btf.word(off.saturating_add(4)),
            size_or_type: btf.word(off.saturating_add(8)),
        }
    }

    /// The raw number of the kind: 5 bits.
    pub(super) const fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    pub(super) const fn vlen(&self) -> u32 {
        self.info & 0xffff
    }

    const fn flag(&self) -> bool {
        self.info >> 31 != 0
    }

    /// The type that the record refers to, if its kind refers to one here.
    pub(super) const fn type_ref(&self, code: KindCode) -> Option<u32> {
        match code {
            KindCode::Ptr
            | KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::Func
            | KindCode::FuncProto
            | KindCode::Var
            | KindCode::DeclTag
            | KindCode::TypeTag => Some(self.size_or_type),
            KindCode::Void
            | KindCode::Int
            | KindCode::Array
            | KindCode::Struct
            | KindCode::Union
            | KindCode::Enum
            | KindCode::Enum64
            | KindCode::Fwd
            | KindCode::Datasec
            | KindCode::Float => None,
        }
    }

    /// Decodes the record, whose tail starts at `off`.
    pub(super) fn decode<'a>(&self, btf: &'a Btf, off: usize) -> Kind<'a> {
        let (size, ty) = (self.size_or_type, TypeId(self.size_or_type));
        match KindCode::from_raw(self.kind()) {
            Some(KindCode::Int) => Kind::Int(Int::decode(size, btf.word(off))),
            Some(KindCode::Ptr) => Kind::Ptr(ty),
            Some(KindCode::Array) => Kind::Array(Array {
                elem: TypeId(btf.word(off)),
                index: TypeId(btf.word(off.saturating_add(4))),
                count: btf.word(off.saturating_add(8)),
            }),
            Some(KindCode::Struct) => Kind::Struct(Composite { size, members: self.list(btf, off) }),
            Some(KindCode::Union) => Kind::Union(Composite { size, members: self.list(btf, off) }),
            Some(KindCode::Enum) => {
                Kind::Enum(Enum { size, signed: self.flag(), values: self.list(btf, off) })
            }
            Some(KindCode::Enum64) => {
                Kind::Enum64(Enum { size, signed: self.flag(), values: self.list(btf, off) })
            }
            Some(KindCode::Fwd) => Kind::Fwd(if self.flag() { FwdKind::Union } else { FwdKind::Struct }),
            Some(KindCode::Typedef) => Kind::Typedef(ty),
            Some(KindCode::Volatile) => Kind::Volatile(ty),
            Some(KindCode::Const) => Kind::Const(ty),
            Some(KindCode::Restrict) => Kind::Restrict(ty),
            // A function's linkage is where other kinds have their number of entries.
            Some(KindCode::Func) => Kind::Func(Func { proto: ty, linkage: Linkage::from_raw(self.vlen()) }),
            Some(KindCode::FuncProto) => Kind::FuncProto(FuncProto { ret: ty, params: self.list(btf, off) }),
            Some(KindCode::Var) => Kind::Var(Var { ty, linkage: Linkage::from_raw(btf.word(off)) }),
            Some(KindCode::Datasec) => Kind::Datasec(Datasec { size, entries: self.list(btf, off) }),
            Some(KindCode::Float) => Kind::Float { size },
            Some(KindCode::DeclTag) => {
                let component = Some(btf.word(off)).filter(|&component| component != u32::MAX);
                Kind::DeclTag(DeclTag { ty, component, attribute: self.flag() })
            }
            Some(KindCode::TypeTag) => Kind::TypeTag(TypeTag { ty, attribute: self.flag() }),
            Some(KindCode::Void) | None => Kind::Void,
        }
    }

    fn list<'a, T: Record<'a>>(&self, btf: &'a Btf, off: usize) -> List<'a, T> {
        List::new(btf, off, self.vlen(), self.kind() == KindCode::Enum64 as u32, self.flag())
    }
}

impl Int {
    fn decode(size: u32, word: u32) -> Int {
        let [bits, _, offset, encoding] = word.to_le_bytes();
        Int { size, encoding: IntEncoding(encoding & 0xf), offset, bits }
    }
}

impl<'a> Record<'a> for Member<'a> {
    fn read(btf: &'a Btf, off: usize, _wide: bool, flag: bool) -> Member<'a> {
        let place = btf.word(off.saturating_add(8));
        let (bit_off, bits) = if flag { (place & 0xff_ffff, (place >> 24) as u8) } else { (place, 0) };
        Member {
            owner: btf,
            name_off: btf.word(off),
            ty: TypeId(btf.word(off.saturating_add(4))),
            bit_off,
            bits,
        }
    }
}

impl<'a> Record<'a> for EnumValue<'a> {
    fn len(wide: bool) -> usize {
        if wide { 12 } else { 8 }
    }

    fn read(btf: &'a Btf, off: usize, wide: bool, flag: bool) -> EnumValue<'a> {
        let low = btf.word(off.saturating_add(4));
        let raw = if wide {
            u64::from(btf.word(off.saturating_add(8))) << 32 | u64::from(low)
        } else {
            u64::from(low)
        };
        let value = match (wide, flag) {
            (true, true) => i128::from(raw as i64),
            (false, true) => i128::from(low as i32),
            (_, false) => i128::from(raw),
        };
        EnumValue { owner: btf, name_off: btf.word(off), value }
    }
}

impl<'a> Record<'a> for Param<'a> {
    fn len(_wide: bool) -> usize {
        8
    }

    fn read(btf: &'a Btf, off: usize, _wide: bool, _flag: bool) -> Param<'a> {
        Param { owner: btf, name_off: btf.word(off), ty: TypeId(btf.word(off.saturating_add(4))) }
    }
}

impl<'a> Record<'a> for DatasecEntry {
    fn read(btf: &'a Btf, off: usize, _wide: bool, _flag: bool) -> DatasecEntry {
        DatasecEntry {
            ty: TypeId(btf.word(off)),
            off: btf.word(off.saturating_add(4)),
            size: btf.word(off.saturating_add(8)),
        }
    }
}
