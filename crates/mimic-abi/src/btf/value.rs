//! `Value`: some bytes, seen as a type.
//!
//! A view: fields and elements are found when asked for, nothing is copied. How it is shown is in
//! [`super::print`]'s hands.

use core::fmt;

use super::print::{Json, Text};
use super::{Array, Btf, Int, Kind, MAX_DEPTH, Member, Type, TypeId};
use crate::ByteOrder;

/// Some bytes, seen as a type: a map's key or value, a context, a section of global variables.
///
/// `{}` shows it on one line in C's notation, `{:#}` on a line for each member; [`Value::json`] as JSON.
/// There may be fewer bytes than the type has, or more.
///
/// ```
/// use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
///
/// let mut builder = BtfBuilder::new();
/// let short = builder.int("unsigned short", 2, IntEncoding::NONE);
/// let point = builder.structure("point", 4, [Field::new("x", short, 0), Field::new("y", short, 16)]);
/// let btf = Btf::parse(builder.to_bytes(mimic_abi::ByteOrder::Little)?)?;
///
/// let value = btf.value(point, &[1, 0, 0, 1]);
/// assert_eq!(value.to_string(), "{.x = 1, .y = 256}");
/// assert_eq!(value.json().to_string(), r#"{"x":1,"y":256}"#);
/// assert_eq!(value.field("y").and_then(|y| y.as_int()), Some(256));
/// assert_eq!(btf.value(point, &[1, 0]).to_string(), "{.x = 1, .y = <2 bytes missing>}");
/// # Ok::<(), mimic_abi::btf::BtfError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Value<'a> {
    btf: &'a Btf,
    ty: TypeId,
    bytes: &'a [u8],
    bits: Option<Bits>,
    order: ByteOrder,
}

/// Where a bit-field is in the bytes.
#[derive(Clone, Copy, Debug)]
struct Bits {
    off: u32,
    len: u32,
}

impl Btf {
    /// The bytes, seen as the type; in the byte order of the BTF.
    pub fn value<'a>(&'a self, ty: TypeId, bytes: &'a [u8]) -> Value<'a> {
        Value { btf: self, ty, bytes, bits: None, order: self.byte_order() }
    }

    /// The type ends in an array that takes all the bytes there are.
    fn is_open_ended(&self, id: TypeId) -> bool {
        // Looks at few types: what nests deeper than this, or in more unions, is taken for closed.
        let mut todo = vec![id];
        for _ in 0..MAX_DEPTH {
            let Some(ty) = todo.pop().and_then(|id| self.resolve(id)) else {
                return false;
            };
            match ty.kind {
                Kind::Array(array) if array.count == 0 => return true,
                Kind::Struct(composite) => todo.extend(composite.members.last().map(|member| member.ty)),
                Kind::Union(composite) => {
                    todo.extend(composite.members.iter().take(MAX_DEPTH).map(|member| member.ty));
                }
                _ => {}
            }
        }
        false
    }
}

impl<'a> Value<'a> {
    /// The same bytes, in a byte order.
    pub fn with_order(self, order: ByteOrder) -> Value<'a> {
        Value { order, ..self }
    }

    /// Its type, behind typedefs and qualifiers, and a variable's type. `None` if there is no such type.
    pub fn ty(&self) -> Option<Type<'a>> {
        let ty = self.btf.resolve(self.ty)?;
        if let Kind::Var(var) = ty.kind { self.btf.resolve(var.ty) } else { Some(ty) }
    }

    /// The bytes of it that are there. Those of a bit-field are those of its structure.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes of it are missing.
    pub fn missing(&self) -> usize {
        match self.bits {
            Some(bits) => (bits.end() as usize).div_ceil(8).saturating_sub(self.bytes.len()),
            None => self.size().saturating_sub(self.bytes.len()),
        }
    }

    /// The bytes behind it that do not belong to it.
    pub fn extra(&self) -> &'a [u8] {
        if self.bits.is_some() || self.btf.is_open_ended(self.ty) {
            return &[];
        }
        match self.btf.size_of(self.ty) {
            Some(size) => self.bytes.get(size as usize..).unwrap_or_default(),
            None => &[],
        }
    }

    /// The member of a structure or union, or the variable of a section, with this name; looks into anonymous
    /// members too.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        let ty = self.ty()?;
        if let Kind::Datasec(_) = ty.kind {
            return self.fields().find(|(field, _)| *field == name).map(|(_, value)| value);
        }
        self.btf.member(ty.id, name).map(|member| self.at_member(&member))
    }

    /// Names and values of the members of a structure or union, or of the variables of a section. Anonymous
    /// members have an empty name.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let value = *self;
        let kind = self.ty().map(|ty| ty.kind);
        let composite = kind.and_then(|kind| kind.composite());
        let members = composite.into_iter().flat_map(|composite| composite.members);
        let fields = members.map(move |member| (member.name(), value.at_member(&member)));
        let section =
            kind.and_then(|kind| if let Kind::Datasec(section) = kind { Some(section) } else { None });
        let entries = section.into_iter().flat_map(|section| section.entries);
        let vars = entries.filter_map(move |entry| {
            let var = value.btf.ty(entry.ty).filter(|ty| matches!(ty.kind, Kind::Var(_)))?;
            let rest = value.bytes.get(entry.off as usize..).unwrap_or_default();
            let bytes = rest.get(..entry.size as usize).unwrap_or(rest);
            Some((var.name(), Value { ty: entry.ty, bytes, bits: None, ..value }))
        });
        fields.chain(vars)
    }

    /// How many elements an array has: those of a flexible array are counted by the bytes.
    pub fn len(&self) -> usize {
        let Some(array) = self.array() else {
            return 0;
        };
        match self.btf.size_of(array.elem) {
            Some(size) if array.count == 0 && size > 0 => self.bytes.len() / size as usize,
            _ => array.count as usize,
        }
    }

    /// It is no array, or one without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element of an array.
    pub fn index(&self, index: usize) -> Option<Value<'a>> {
        let array = self.array()?;
        let size = self.btf.size_of(array.elem)? as usize;
        if index >= self.len() {
            return None;
        }
        let rest = self.bytes.get(index.checked_mul(size)?..).unwrap_or_default();
        let bytes = rest.get(..size).unwrap_or(rest);
        Some(Value { ty: array.elem, bytes, bits: None, ..*self })
    }

    /// The number of an integer, enumeration, pointer or bit-field; `None` for others, and if bytes are missing.
    pub fn as_int(&self) -> Option<i128> {
        let (size, signed) = match self.ty()?.kind {
            Kind::Int(int) => (int.size, int.encoding.is_signed()),
            Kind::Ptr(_) => (self.btf.ptr_size(), false),
            Kind::Enum(enumeration) | Kind::Enum64(enumeration) => (enumeration.size, enumeration.signed),
            _ => return None,
        };
        let bits = self.bits.unwrap_or(Bits { off: 0, len: size.checked_mul(8)? });
        let raw = bits.read(self.bytes, self.order)?;
        let shift = 128u32.checked_sub(bits.len)?;
        // A length of 0 would shift everything out.
        let shifted = raw.checked_shl(shift)?;
        Some(if signed { shifted as i128 >> shift } else { (shifted >> shift) as i128 })
    }

    /// The characters of an array of `char`, without the NULs at the end. `None` for others.
    pub fn as_chars(&self) -> Option<&'a [u8]> {
        let array = self.array()?;
        let elem = self.btf.resolve(array.elem)?;
        let Kind::Int(Int { size: 1, encoding, .. }) = elem.kind else {
            return None;
        };
        if elem.name() != "char" && !encoding.is_char() {
            return None;
        }
        let bytes = self.bytes.get(..self.len()).unwrap_or(self.bytes);
        let len = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
        bytes.get(..len)
    }

    /// Shows it in C's notation, with choices.
    pub fn text(&self) -> Text<'a> {
        Text::new(*self)
    }

    /// Shows it as JSON.
    pub fn json(&self) -> Json<'a> {
        Json::new(*self)
    }

    pub(super) fn array(&self) -> Option<Array> {
        if let Kind::Array(array) = self.ty()?.kind { Some(array) } else { None }
    }

    /// Its length in bytes, if all were there; those of a flexible array are.
    pub(super) fn size(&self) -> usize {
        self.btf.size_of(self.ty).unwrap_or(0) as usize
    }

    pub(super) fn is_bitfield(&self) -> bool {
        self.bits.is_some()
    }

    pub(super) fn order(&self) -> ByteOrder {
        self.order
    }

    pub(super) fn elem_size(&self) -> usize {
        self.array().and_then(|array| self.btf.size_of(array.elem)).unwrap_or(0) as usize
    }

    fn at_member(&self, member: &Member<'a>) -> Value<'a> {
        if let Some((off, len)) = self.btf.bitfield(member) {
            return Value { ty: member.ty, bits: Some(Bits { off, len }), ..*self };
        }
        let start = (member.bit_off / 8) as usize;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let size = self.btf.size_of(member.ty).unwrap_or(0) as usize;
        // Only at the end of all members may an array go on.
        let open = start.saturating_add(size) >= self.size() && self.btf.is_open_ended(member.ty);
        let bytes = if open { rest } else { rest.get(..size).unwrap_or(rest) };
        Value { ty: member.ty, bytes, bits: None, ..*self }
    }
}

impl Bits {
    fn end(self) -> u32 {
        self.off.saturating_add(self.len)
    }

    /// The bits as a number. Little-endian machines count bits from the lowest, big-endian ones from the highest.
    fn read(self, bytes: &[u8], order: ByteOrder) -> Option<u128> {
        if self.len > u128::BITS {
            return None;
        }
        let mut number = 0;
        for n in 0..self.len {
            let at = self.off.checked_add(n)?;
            let byte = *bytes.get((at / 8) as usize)?;
            match order {
                ByteOrder::Little => number |= u128::from(byte >> (at % 8) & 1) << n,
                ByteOrder::Big => number = number << 1 | u128::from(byte >> (7 - at % 8) & 1),
            }
        }
        Some(number)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}
