//! BTF, the BPF Type Format: the types of a program, an object file or a kernel.
//!
//! [`Btf`] keeps the bytes as they are and an offset per type; what it hands out are views that are decoded when
//! looked at. **Whatever the bytes, nothing here panics, hangs or recurses without a bound**: references are checked
//! when the bytes are read, and [`MAX_DEPTH`] stops types that contain themselves. It relocates nothing: CO-RE is
//! the business of `mimic-object`.
//!
//! Mirrors the kernel's document "BPF Type Format (BTF)" and the UAPI header `linux/btf.h`.
//!
//! ```
//! use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding, Kind};
//!
//! let mut builder = BtfBuilder::new();
//! let int = builder.int("int", 4, IntEncoding::SIGNED);
//! builder.structure("point", 8, [Field::new("x", int, 0), Field::new("y", int, 32)]);
//! let btf = Btf::parse(builder.to_bytes(mimic_abi::ByteOrder::Little)?)?;
//!
//! let point = btf.named("point").next().unwrap();
//! let Kind::Struct(composite) = point.kind else { panic!("point is a struct") };
//! let names: Vec<_> = composite.members.iter().map(|member| member.name()).collect();
//! assert_eq!(names, ["x", "y"]);
//! assert_eq!(btf.size_of(point.id), Some(8));
//! # Ok::<(), mimic_abi::btf::BtfError>(())
//! ```

mod builder;
mod c;
mod error;
mod index;
mod json;
mod kind;
mod layout;
mod list;
mod parse;
mod print;
mod raw;
mod value;

pub mod ext;

use core::ffi::CStr;
use core::fmt;
use core::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::ByteOrder;
use index::Index;
use kind::Header;

pub use builder::{BtfBuilder, Field};
pub use c::{CDecl, CHeader};
pub use error::{BtfError, BtfErrorReason};
pub use index::essential_name;
pub use kind::{
    Array, Composite, Datasec, DatasecEntry, DeclTag, Enum, EnumValue, Func, FuncProto, FwdKind, Int,
    IntEncoding, Kind, KindCode, Linkage, Member, Param, TypeTag, Var,
};
pub use list::{Iter, List};
pub use print::{Json, Text};
pub use raw::{RawJson, RawText};
pub use value::Value;

/// The most bytes of BTF that are read; a kernel's are 5 to 10 MiB.
pub const MAX_LEN: usize = 1 << 26;

/// The most bytes of a name that are looked at; the kernel refuses longer ones. Source lines and file names, which are
/// read with [`Btf::str_at`], may be longer.
pub const MAX_NAME_LEN: usize = 511;

/// How many types deep a type is followed: typedefs of typedefs, structures in structures. The kernel refuses BTF
/// with more than 32.
pub const MAX_DEPTH: usize = 64;

/// The number of a type in its [`Btf`]; 0 is `void`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TypeId(pub u32);

/// The types of one `.BTF` section, or of what the kernel shows in `/sys/kernel/btf`.
///
/// Cloning copies; share it in an [`Arc`].
#[derive(Clone)]
pub struct Btf {
    data: Vec<u8>,
    order: ByteOrder,
    strings: Range<usize>,
    /// The strings with every byte that is no UTF-8 replaced, if there are such.
    patched: Option<String>,
    /// Where each type's record starts in `data`.
    offsets: Vec<u32>,
    base: Option<Arc<Btf>>,
    first_id: u32,
    first_str: u32,
    ptr_size: u32,
    index: OnceLock<Index>,
    /// What is tagged, and the tag, in this order.
    decl_tags: OnceLock<Vec<(TypeId, TypeId)>>,
}

/// A type: a view of its record.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    owner: &'a Btf,
    name_off: u32,
    /// Its number.
    pub id: TypeId,
    /// What it is.
    pub kind: Kind<'a>,
}

/// The same bytes on the same base.
impl PartialEq for Btf {
    fn eq(&self, other: &Btf) -> bool {
        core::ptr::eq(self, other) || (self.data == other.data && self.base == other.base)
    }
}

impl Eq for Btf {}

impl Btf {
    /// Reads BTF, finding out its byte order. A `Vec` is kept without copying it.
    pub fn parse(data: impl Into<Vec<u8>>) -> Result<Btf, BtfError> {
        parse::parse(data.into(), None)
    }

    /// Reads BTF that adds to the types of `base`, as modules add to the kernel's: its ids and string offsets go on
    /// where those of `base` end.
    pub fn parse_split(base: &Arc<Btf>, data: impl Into<Vec<u8>>) -> Result<Btf, BtfError> {
        parse::parse(data.into(), Some(Arc::clone(base)))
    }

    /// The byte order it was written in.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The BTF that this one adds to.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// The bytes it was read from.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The number of types with void and those of the base: 1 more than the last id.
    pub fn type_count(&self) -> u32 {
        // `parse` refuses what does not fit.
        self.first_id + self.offsets.len() as u32
    }

    /// Length of a pointer in bytes: 4 if the BTF has a `long` of 4 bytes, else 8.
    pub fn ptr_size(&self) -> u32 {
        self.ptr_size
    }

    /// The type with this id.
    pub fn ty(&self, id: TypeId) -> Option<Type<'_>> {
        if id == TypeId::VOID {
            return Some(Type { owner: self, name_off: 0, id, kind: Kind::Void });
        }
        let Some(index) = id.0.checked_sub(self.first_id) else {
            return self.base.as_deref()?.ty(id);
        };
        let off = *self.offsets.get(index as usize)? as usize;
        let header = Header::read(self, off);
        let kind = header.decode(self, off.saturating_add(kind::HEADER_LEN));
        Some(Type { owner: self, name_off: header.name_off, id, kind })
    }

    /// Its types without void and without those of the base, by id.
    pub fn types(&self) -> impl ExactSizeIterator<Item = Type<'_>> + '_ {
        let first = self.first_id as usize;
        // Every id in this range has a record, so that nothing is lost.
        let void = Type { owner: self, name_off: 0, id: TypeId::VOID, kind: Kind::Void };
        (0..self.offsets.len()).map(move |index| self.ty(TypeId((first + index) as u32)).unwrap_or(void))
    }

    /// The types with this name, those of the base first, by id.
    ///
    /// The first look-up by name builds an index, in time proportional to the number of types.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Type<'a>> + 'a {
        self.candidates(name).filter(move |ty| ty.name() == name)
    }

    /// The types with this name without regard to `___flavours`: neither theirs nor that of `name`.
    pub fn named_essentially<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Type<'a>> + 'a {
        let name = essential_name(name);
        self.candidates(name).filter(move |ty| essential_name(ty.name()) == name)
    }

    /// The first type with this name and kind.
    pub fn find(&self, name: &str, kind: KindCode) -> Option<Type<'_>> {
        self.candidates(name).find(|ty| ty.kind.code() == kind && ty.name() == name)
    }

    /// The tags on a declaration, its members and parameters: each with the tag itself as the type's name. Those of the
    /// base first, by id.
    pub fn decl_tags(&self, id: TypeId) -> impl Iterator<Item = (&str, DeclTag)> + '_ {
        let mut tags: Vec<TypeId> = Vec::new();
        let mut next = Some(self);
        while let Some(btf) = next {
            tags.extend(btf.own_decl_tags(id).iter().map(|(_, tag)| tag));
            next = btf.base.as_deref();
        }
        tags.sort_unstable();
        tags.into_iter().filter_map(|tag| {
            let ty = self.ty(tag)?;
            if let Kind::DeclTag(tag) = ty.kind { Some((ty.name(), tag)) } else { None }
        })
    }

    /// Names and ids of its named types, without those of the base, by id. A name can come more than once.
    pub fn names(&self) -> impl Iterator<Item = (&str, TypeId)> + '_ {
        self.types().map(|ty| (ty.name(), ty.id)).filter(|(name, _)| !name.is_empty())
    }

    /// The string at an offset, which counts from the start of the base's strings if there is a base. Bytes that
    /// are no UTF-8 are shown as `?`.
    pub fn str_at(&self, off: u32) -> Option<&str> {
        self.str_within(off, usize::MAX)
    }

    /// The name at an offset: the string, or its first [`MAX_NAME_LEN`] bytes.
    fn name_at(&self, off: u32) -> &str {
        if off == 0 { "" } else { self.str_within(off, MAX_NAME_LEN).unwrap_or_default() }
    }

    /// The first `max_len` bytes of the string at an offset, or less where that would cut a character.
    ///
    /// Strings of hostile BTF may overlap: who looks at many bounds what each can cost.
    pub fn str_within(&self, off: u32, max_len: usize) -> Option<&str> {
        let Some(off) = off.checked_sub(self.first_str) else {
            return self.base.as_deref()?.str_within(off, max_len);
        };
        let strings = match &self.patched {
            Some(patched) => patched.as_bytes(),
            None => self.data.get(self.strings.clone())?,
        };
        let rest = strings.get(off as usize..)?;
        let rest = rest.get(..max_len).unwrap_or(rest);
        let bytes = CStr::from_bytes_until_nul(rest).map_or(rest, CStr::to_bytes);
        match core::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            // A character was cut, or the offset is inside of one.
            Err(error) => core::str::from_utf8(bytes.get(..error.valid_up_to())?).ok(),
        }
    }

    fn own_decl_tags(&self, id: TypeId) -> &[(TypeId, TypeId)] {
        let tags = self.decl_tags.get_or_init(|| {
            let tag =
                |ty: Type<'_>| if let Kind::DeclTag(tag) = ty.kind { Some((tag.ty, ty.id)) } else { None };
            let mut tags: Vec<_> = self.types().filter_map(tag).collect();
            tags.sort_unstable();
            tags
        });
        let start = tags.partition_point(|(target, _)| *target < id);
        let end = tags.partition_point(|(target, _)| *target <= id);
        tags.get(start..end).unwrap_or_default()
    }

    fn candidates(&self, name: &str) -> Box<dyn Iterator<Item = Type<'_>> + '_> {
        let index = self.index.get_or_init(|| Index::new(self));
        let own = index.candidates(self, name).filter_map(|id| self.ty(id));
        match &self.base {
            Some(base) => Box::new(base.candidates(name).chain(own)),
            None => Box::new(own),
        }
    }

    /// Length of its bytes and those of its bases.
    fn total_len(&self) -> usize {
        self.data.len().saturating_add(self.base.as_deref().map_or(0, Btf::total_len))
    }

    /// The word at `off` of the file; 0 beyond its end.
    fn word(&self, off: usize) -> u32 {
        read_word(&self.data, off, self.order)
    }
}

impl TypeId {
    /// `void`.
    pub const VOID: TypeId = TypeId(0);
}

impl<'a> Type<'a> {
    /// Its name; empty if it has none.
    pub fn name(&self) -> &'a str {
        self.owner.name_at(self.name_off)
    }
}

fn read_word(data: &[u8], off: usize, order: ByteOrder) -> u32 {
    let Some(&bytes) = data.get(off..).and_then(|rest| rest.first_chunk::<4>()) else {
        return 0;
    };
    match order {
        ByteOrder::Little => u32::from_le_bytes(bytes),
        ByteOrder::Big => u32::from_be_bytes(bytes),
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf")
            .field("order", &self.order)
            .field("bytes", &self.data.len())
            .field("first_id", &self.first_id)
            .field("types", &self.offsets.len())
            .finish()
    }
}

impl fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Type")
            .field("id", &self.id.0)
            .field("name", &self.name())
            .field("kind", &self.kind)
            .finish()
    }
}

impl fmt::Debug for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
