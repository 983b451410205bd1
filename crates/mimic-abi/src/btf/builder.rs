//! `BtfBuilder`: writes BTF.
//!
//! Checks only what the format cannot say; whether the types make sense is asked of [`Btf::parse`].

use std::collections::HashMap;

use super::kind::HEADER_LEN;
use super::parse::{FILE_HEADER_LEN, MAGIC};
use super::{
    Btf, BtfError, BtfErrorReason, DatasecEntry, DeclTag, FwdKind, Int, IntEncoding, Kind, KindCode,
};
use super::{Linkage, MAX_LEN, Type, TypeId};
use crate::ByteOrder;

/// The most types that the kernel takes.
const MAX_TYPES: usize = 0xf_ffff;
/// The most entries of a type.
const MAX_ENTRIES: usize = 0xffff;
/// The highest offset of a name.
const MAX_STRINGS: usize = 0xff_ffff;

/// Types that become BTF. Each method adds one type and says its id; ids count up from 1.
#[derive(Clone, Debug)]
pub struct BtfBuilder {
    /// The records; they consist of words only.
    words: Vec<u32>,
    count: u32,
    strings: Vec<u8>,
    string_offs: HashMap<String, u32>,
    first_id: u32,
    first_str: u32,
    error: Option<BtfErrorReason>,
}

/// A member of a structure or union that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name; may be empty.
    pub name: &'a str,
    /// Its type.
    pub ty: TypeId,
    /// Where it starts, in bits.
    pub bit_off: u32,
    /// Length of a bit-field in bits, else 0.
    pub bits: u8,
}

impl Default for BtfBuilder {
    fn default() -> BtfBuilder {
        BtfBuilder::new()
    }
}

impl<'a> Field<'a> {
    /// A member that is no bit-field.
    pub fn new(name: &'a str, ty: TypeId, bit_off: u32) -> Field<'a> {
        Field { name, ty, bit_off, bits: 0 }
    }

    /// A bit-field of so many bits.
    pub fn bits(name: &'a str, ty: TypeId, bit_off: u32, bits: u8) -> Field<'a> {
        Field { name, ty, bit_off, bits }
    }
}

impl BtfBuilder {
    /// No types.
    pub fn new() -> BtfBuilder {
        BtfBuilder {
            words: Vec::new(),
            count: 0,
            strings: vec![0],
            string_offs: HashMap::from([(String::new(), 0)]),
            first_id: 1,
            first_str: 0,
            error: None,
        }
    }

    /// No types yet, to be added to those of `base`: for [`Btf::parse_split`].
    pub fn split(base: &Btf) -> BtfBuilder {
        BtfBuilder {
            strings: Vec::new(),
            first_id: base.type_count(),
            first_str: base.string_end(),
            ..BtfBuilder::new()
        }
    }

    /// The id that the next type gets.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.first_id.saturating_add(self.count))
    }

    /// The offset of a string, which is added if it isn't there. It ends at its first NUL.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if let Some(&off) = self.string_offs.get(text) {
            return off;
        }
        let off = (self.first_str as usize).saturating_add(self.strings.len());
        if off > MAX_STRINGS {
            self.error.get_or_insert(BtfErrorReason::TooMany("bytes of strings", off, MAX_STRINGS));
            return 0;
        }
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.string_offs.insert(text.to_owned(), off as u32);
        off as u32
    }

    /// An integer of `size` bytes.
    pub fn int(&mut self, name: &str, size: u32, encoding: IntEncoding) -> TypeId {
        let bits = u8::try_from(size.saturating_mul(8)).unwrap_or(u8::MAX);
        self.raw_int(name, Int { size, encoding, offset: 0, bits })
    }

    /// An integer with a length in bits of its own.
    pub fn raw_int(&mut self, name: &str, int: Int) -> TypeId {
        let word = u32::from_le_bytes([int.bits, 0, int.offset, int.encoding.0 & 0xf]);
        self.record(name, KindCode::Int, 0, false, int.size, [word])
    }

    /// A pointer.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.reference("", KindCode::Ptr, to)
    }

    /// An array.
    pub fn array(&mut self, elem: TypeId, index: TypeId, count: u32) -> TypeId {
        self.record("", KindCode::Array, 0, false, 0, [elem.0, index.0, count])
    }

    /// A structure of `size` bytes.
    pub fn structure<'f>(
        &mut self,
        name: &str,
        size: u32,
        fields: impl IntoIterator<Item = Field<'f>>,
    ) -> TypeId {
        self.composite(name, KindCode::Struct, size, fields.into_iter().collect())
    }

    /// A union of `size` bytes.
    pub fn union<'f>(
        &mut self,
        name: &str,
        size: u32,
        fields: impl IntoIterator<Item = Field<'f>>,
    ) -> TypeId {
        self.composite(name, KindCode::Union, size, fields.into_iter().collect())
    }

    /// An enumeration of `size` bytes with values of up to 32 bits; their upper bits are not written.
    pub fn enumeration<'v>(
        &mut self,
        name: &str,
        size: u32,
        signed: bool,
        values: impl IntoIterator<Item = (&'v str, i128)>,
    ) -> TypeId {
        let words: Vec<_> =
            values.into_iter().flat_map(|(name, value)| [self.string(name), value as u32]).collect();
        self.record(name, KindCode::Enum, words.len() / 2, signed, size, words)
    }

    /// An enumeration of `size` bytes with values of up to 64 bits; their upper bits are not written.
    pub fn enumeration64<'v>(
        &mut self,
        name: &str,
        size: u32,
        signed: bool,
        values: impl IntoIterator<Item = (&'v str, i128)>,
    ) -> TypeId {
        let entry = |(name, value): (&str, i128)| [self.string(name), value as u32, (value >> 32) as u32];
        let words: Vec<_> = values.into_iter().flat_map(entry).collect();
        self.record(name, KindCode::Enum64, words.len() / 3, signed, size, words)
    }

    /// A forward declaration.
    pub fn fwd(&mut self, name: &str, kind: FwdKind) -> TypeId {
        self.record(name, KindCode::Fwd, 0, kind == FwdKind::Union, 0, [])
    }

    /// Another name.
    pub fn typedef(&mut self, name: &str, of: TypeId) -> TypeId {
        self.reference(name, KindCode::Typedef, of)
    }

    /// `volatile`.
    pub fn volatile(&mut self, of: TypeId) -> TypeId {
        self.reference("", KindCode::Volatile, of)
    }

    /// `const`.
    pub fn constant(&mut self, of: TypeId) -> TypeId {
        self.reference("", KindCode::Const, of)
    }

    /// `restrict`.
    pub fn restrict(&mut self, of: TypeId) -> TypeId {
        self.reference("", KindCode::Restrict, of)
    }

    /// A function.
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: Linkage) -> TypeId {
        self.record(name, KindCode::Func, linkage.to_raw() as usize, false, proto.0, [])
    }

    /// A function's type: what it returns, and names and types of its parameters.
    pub fn func_proto<'p>(
        &mut self,
        ret: TypeId,
        params: impl IntoIterator<Item = (&'p str, TypeId)>,
    ) -> TypeId {
        let words: Vec<_> = params.into_iter().flat_map(|(name, ty)| [self.string(name), ty.0]).collect();
        self.record("", KindCode::FuncProto, words.len() / 2, false, ret.0, words)
    }

    /// A global variable.
    pub fn var(&mut self, name: &str, ty: TypeId, linkage: Linkage) -> TypeId {
        self.record(name, KindCode::Var, 0, false, ty.0, [linkage.to_raw()])
    }

    /// A section of `size` bytes.
    pub fn datasec(
        &mut self,
        name: &str,
        size: u32,
        entries: impl IntoIterator<Item = DatasecEntry>,
    ) -> TypeId {
        let words: Vec<_> =
            entries.into_iter().flat_map(|entry| [entry.ty.0, entry.off, entry.size]).collect();
        self.record(name, KindCode::Datasec, words.len() / 3, false, size, words)
    }

    /// A floating point number of `size` bytes.
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        self.record(name, KindCode::Float, 0, false, size, [])
    }

    /// A tag on a declaration.
    pub fn decl_tag(&mut self, value: &str, tag: DeclTag) -> TypeId {
        let component = tag.component.unwrap_or(u32::MAX);
        self.record(value, KindCode::DeclTag, 0, tag.attribute, tag.ty.0, [component])
    }

    /// A tag on a type; `attribute` as in [`super::TypeTag`].
    pub fn type_tag(&mut self, value: &str, of: TypeId, attribute: bool) -> TypeId {
        self.record(value, KindCode::TypeTag, 0, attribute, of.0, [])
    }

    /// A type like `ty`, with its references as they are: they mean types of this builder now.
    ///
    /// Void has no record; copying it adds nothing and is [`TypeId::VOID`].
    pub fn copy<'a>(&mut self, ty: &Type<'a>) -> TypeId {
        let name = ty.name();
        match ty.kind {
            Kind::Void => TypeId::VOID,
            Kind::Int(int) => self.raw_int(name, int),
            Kind::Ptr(to) => self.reference(name, KindCode::Ptr, to),
            Kind::Array(array) => {
                self.record(name, KindCode::Array, 0, false, 0, [array.elem.0, array.index.0, array.count])
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                let field = |m: super::Member<'a>| Field {
                    name: m.name(),
                    ty: m.ty,
                    bit_off: m.bit_off,
                    bits: m.bits,
                };
                let fields = composite.members.iter().map(field).collect();
                self.composite(name, ty.kind.code(), composite.size, fields)
            }
            Kind::Enum(e) => {
                self.enumeration(name, e.size, e.signed, e.values.iter().map(|v| (v.name(), v.value)))
            }
            Kind::Enum64(e) => {
                self.enumeration64(name, e.size, e.signed, e.values.iter().map(|v| (v.name(), v.value)))
            }
            Kind::Fwd(kind) => self.fwd(name, kind),
            Kind::Typedef(of) | Kind::Volatile(of) | Kind::Const(of) | Kind::Restrict(of) => {
                self.reference(name, ty.kind.code(), of)
            }
            Kind::Func(func) => self.func(name, func.proto, func.linkage),
            Kind::FuncProto(proto) => {
                self.func_proto(proto.ret, proto.params.iter().map(|p| (p.name(), p.ty)))
            }
            Kind::Var(var) => self.var(name, var.ty, var.linkage),
            Kind::Datasec(section) => self.datasec(name, section.size, section.entries),
            Kind::Float { size } => self.float(name, size),
            Kind::DeclTag(tag) => self.decl_tag(name, tag),
            Kind::TypeTag(tag) => self.type_tag(name, tag.ty, tag.attribute),
        }
    }

    /// The BTF in a byte order. Fails if there is more than the format can say.
    pub fn to_bytes(&self, order: ByteOrder) -> Result<Vec<u8>, BtfError> {
        if let Some(reason) = &self.error {
            return Err(BtfError::new(0, reason.clone()));
        }
        Ok(write_file(order, self.words.iter().copied(), &self.strings))
    }

    fn reference(&mut self, name: &str, kind: KindCode, to: TypeId) -> TypeId {
        self.record(name, kind, 0, false, to.0, [])
    }

    fn composite(&mut self, name: &str, kind: KindCode, size: u32, fields: Vec<Field<'_>>) -> TypeId {
        let flag = fields.iter().any(|field| field.bits != 0);
        let mut words = Vec::with_capacity(fields.len().saturating_mul(3));
        for field in &fields {
            if flag && field.bit_off > 0xff_ffff {
                let off = field.bit_off as usize;
                self.error.get_or_insert(BtfErrorReason::TooMany("bits before a bit-field", off, 0xff_ffff));
            }
            let place = if flag { u32::from(field.bits) << 24 | field.bit_off } else { field.bit_off };
            words.extend([self.string(field.name), field.ty.0, place]);
        }
        self.record(name, kind, fields.len(), flag, size, words)
    }

    fn record(
        &mut self,
        name: &str,
        kind: KindCode,
        vlen: usize,
        flag: bool,
        size_or_type: u32,
        tail: impl IntoIterator<Item = u32>,
    ) -> TypeId {
        let id = self.next_id();
        if vlen > MAX_ENTRIES {
            self.error.get_or_insert(BtfErrorReason::TooMany("entries in one type", vlen, MAX_ENTRIES));
        }
        if id.0 as usize > MAX_TYPES {
            self.error.get_or_insert(BtfErrorReason::TooMany("types", id.0 as usize, MAX_TYPES));
        }
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | (vlen & MAX_ENTRIES) as u32;
        let name_off = self.string(name);
        self.words.extend([name_off, info, size_or_type]);
        self.words.extend(tail);
        let len = self.words.len().saturating_mul(4);
        if len > MAX_LEN {
            self.error.get_or_insert(BtfErrorReason::TooMany("bytes of types", len, MAX_LEN));
        }
        self.count = self.count.saturating_add(1);
        id
    }
}

impl Btf {
    /// The same BTF in a byte order, with the shortest header.
    pub fn to_bytes(&self, order: ByteOrder) -> Vec<u8> {
        let start = self.offsets.first().map_or(0, |&off| off as usize);
        let end = self.offsets.last().map_or(start, |&off| self.record_end(off as usize));
        let words = (start..end).step_by(4).map(|off| self.word(off));
        write_file(order, words, self.data.get(self.strings.clone()).unwrap_or_default())
    }

    fn record_end(&self, off: usize) -> usize {
        let header = super::kind::Header::read(self, off);
        let tail = KindCode::from_raw(header.kind()).map_or(0, |kind| kind.tail_len(header.vlen()));
        off.saturating_add(HEADER_LEN).saturating_add(tail)
    }
}

fn write_file(order: ByteOrder, words: impl Iterator<Item = u32>, strings: &[u8]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, word: u32| match order {
        ByteOrder::Little => out.extend(word.to_le_bytes()),
        ByteOrder::Big => out.extend(word.to_be_bytes()),
    };
    let mut types = Vec::new();
    words.for_each(|word| put(&mut types, word));
    let mut out = match order {
        ByteOrder::Little => MAGIC.to_le_bytes().to_vec(),
        ByteOrder::Big => MAGIC.to_be_bytes().to_vec(),
    };
    out.extend([1, 0]);
    let len = types.len() as u32;
    for word in [FILE_HEADER_LEN as u32, 0, len, len, strings.len() as u32] {
        put(&mut out, word);
    }
    out.append(&mut types);
    out.extend_from_slice(strings);
    out
}
