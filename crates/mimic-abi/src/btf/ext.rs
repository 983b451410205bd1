//! `.BTF.ext`: which instruction starts which function, comes from which source line, needs which CO-RE relocation.
//!
//! Reads, and names things with the strings of the object's [`Btf`]; applies nothing. Mirrors the section
//! "`.BTF.ext` section" of the kernel's "BPF Type Format (BTF)" document.

use core::fmt;
use core::ops::Range;

use super::parse::{file_header, section};
use super::{Btf, BtfError, BtfErrorReason, TypeId, read_word};
use crate::ByteOrder;

/// The records of a `.BTF.ext` section.
#[derive(Clone, Debug, Default)]
pub struct BtfExt {
    /// Where functions start, for each ELF section.
    pub funcs: Vec<Section<FuncInfo>>,
    /// Source lines, for each ELF section.
    pub lines: Vec<Section<LineInfo>>,
    /// CO-RE relocations, for each ELF section.
    pub core_relos: Vec<Section<CoreRelo>>,
}

/// The records for one ELF section, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<T> {
    /// The name of the ELF section: for [`Btf::str_at`], which has it.
    pub name_off: u32,
    /// The records.
    pub records: Vec<T>,
}

/// A function starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Where it starts in the ELF section, in bytes.
    pub insn_off: u32,
    /// Its [`super::Kind::Func`].
    pub ty: TypeId,
}

/// A source line's instructions start here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// Where they start in the ELF section, in bytes.
    pub insn_off: u32,
    /// The file's name: for [`Btf::str_at`].
    pub file_name_off: u32,
    /// The line's text: for [`Btf::str_at`].
    pub line_off: u32,
    /// Line and column, as the format packs them.
    pub line_col: u32,
}

/// An instruction depends on the layout of the target's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRelo {
    /// Where it is in the ELF section, in bytes.
    pub insn_off: u32,
    /// The type that the access starts from.
    pub ty: TypeId,
    /// The access: `0:1:2` as text, for [`Btf::str_at`].
    pub access_off: u32,
    /// What is asked: see [`CoreKind::from_raw`].
    pub kind: u32,
}

/// What a CO-RE relocation asks about the target's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CoreKind {
    /// Where a field starts, in bytes.
    FieldByteOffset = 0,
    /// Length of a field in bytes.
    FieldByteSize = 1,
    /// There is such a field.
    FieldExists = 2,
    /// A field is signed.
    FieldSigned = 3,
    /// By how much to shift a loaded bit-field left.
    FieldLshiftU64 = 4,
    /// By how much to shift it right then.
    FieldRshiftU64 = 5,
    /// The type's id in the object.
    TypeIdLocal = 6,
    /// The type's id in the target.
    TypeIdTarget = 7,
    /// There is such a type.
    TypeExists = 8,
    /// Length of a type in bytes.
    TypeSize = 9,
    /// There is such a value of an enumeration.
    EnumvalExists = 10,
    /// The value of an enumeration's constant.
    EnumvalValue = 11,
    /// There is such a type, and it looks the same.
    TypeMatches = 12,
}

impl BtfExt {
    /// Reads a `.BTF.ext` section; `btf` is the `.BTF` of the same object. The byte order is found out. Records may
    /// be longer than those known: what more they say is left out.
    pub fn parse(data: &[u8], btf: &Btf) -> Result<BtfExt, BtfError> {
        let (order, header_len) = file_header(data, 24)?;
        let reader = Reader { data, order, btf };
        let place = |field, name| section(data, order, header_len, field, name);
        // Compilers from before CO-RE have a header that ends without the last section.
        let core = if header_len >= 32 { place(24, "CO-RE relocations")? } else { 0..0 };
        Ok(BtfExt {
            funcs: reader.sections(place(8, "function records")?)?,
            lines: reader.sections(place(16, "line records")?)?,
            core_relos: reader.sections(core)?,
        })
    }
}

impl LineInfo {
    /// The number of the line, from 1; 0 if unknown.
    pub const fn line(&self) -> u32 {
        self.line_col >> 10
    }

    /// The column, from 1; 0 if unknown.
    pub const fn column(&self) -> u32 {
        self.line_col & 0x3ff
    }
}

impl CoreKind {
    /// Every kind, by number.
    pub const ALL: [CoreKind; 13] = [
        CoreKind::FieldByteOffset,
        CoreKind::FieldByteSize,
        CoreKind::FieldExists,
        CoreKind::FieldSigned,
        CoreKind::FieldLshiftU64,
        CoreKind::FieldRshiftU64,
        CoreKind::TypeIdLocal,
        CoreKind::TypeIdTarget,
        CoreKind::TypeExists,
        CoreKind::TypeSize,
        CoreKind::EnumvalExists,
        CoreKind::EnumvalValue,
        CoreKind::TypeMatches,
    ];

    /// The kind with this number.
    pub fn from_raw(raw: u32) -> Option<CoreKind> {
        CoreKind::ALL.get(usize::try_from(raw).ok()?).copied()
    }

    /// The name libbpf shows: `byte_off`, `type_exists`.
    pub const fn name(self) -> &'static str {
        match self {
            CoreKind::FieldByteOffset => "byte_off",
            CoreKind::FieldByteSize => "byte_sz",
            CoreKind::FieldExists => "field_exists",
            CoreKind::FieldSigned => "signed",
            CoreKind::FieldLshiftU64 => "lshift_u64",
            CoreKind::FieldRshiftU64 => "rshift_u64",
            CoreKind::TypeIdLocal => "local_type_id",
            CoreKind::TypeIdTarget => "target_type_id",
            CoreKind::TypeExists => "type_exists",
            CoreKind::TypeSize => "type_size",
            CoreKind::EnumvalExists => "enumval_exists",
            CoreKind::EnumvalValue => "enumval_value",
            CoreKind::TypeMatches => "type_matches",
        }
    }
}

impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A record, made of words.
trait Record: Sized {
    /// Length of the part that is known, in bytes.
    const LEN: u32;

    /// Decodes a record whose word number `n` is `word(n)`.
    fn read(word: impl Fn(usize) -> u32) -> Self;
}

impl Record for FuncInfo {
    const LEN: u32 = 8;

    fn read(word: impl Fn(usize) -> u32) -> FuncInfo {
        FuncInfo { insn_off: word(0), ty: TypeId(word(1)) }
    }
}

impl Record for LineInfo {
    const LEN: u32 = 16;

    fn read(word: impl Fn(usize) -> u32) -> LineInfo {
        LineInfo { insn_off: word(0), file_name_off: word(1), line_off: word(2), line_col: word(3) }
    }
}

impl Record for CoreRelo {
    const LEN: u32 = 16;

    fn read(word: impl Fn(usize) -> u32) -> CoreRelo {
        CoreRelo { insn_off: word(0), ty: TypeId(word(1)), access_off: word(2), kind: word(3) }
    }
}

struct Reader<'a> {
    data: &'a [u8],
    order: ByteOrder,
    btf: &'a Btf,
}

impl Reader<'_> {
    fn sections<T: Record>(&self, place: Range<usize>) -> Result<Vec<Section<T>>, BtfError> {
        let mut sections = Vec::new();
        if place.is_empty() {
            return Ok(sections);
        }
        let mut off = place.start;
        let record_len = self.word(&mut off, place.end)?;
        if record_len < T::LEN || !record_len.is_multiple_of(4) {
            return Err(BtfError::new(place.start, BtfErrorReason::RecordLen(record_len, T::LEN)));
        }
        while off < place.end {
            sections.push(self.section(&mut off, place.end, record_len as usize)?);
        }
        Ok(sections)
    }

    fn section<T: Record>(
        &self,
        off: &mut usize,
        end: usize,
        record_len: usize,
    ) -> Result<Section<T>, BtfError> {
        let start = *off;
        let name_off = self.word(off, end)?;
        let count = self.word(off, end)? as usize;
        if name_off >= self.btf.string_end() {
            return Err(BtfError::new(start, BtfErrorReason::NoString(name_off, self.btf.string_end())));
        }
        let have = end.saturating_sub(*off);
        let want = count.saturating_mul(record_len);
        let records = self.data.get(*off..off.saturating_add(want)).filter(|_| want <= have);
        let records = records.ok_or(BtfError::new(start, BtfErrorReason::Truncated(have, want)))?;
        *off = off.saturating_add(want);
        let read = |record| T::read(|n| read_word(record, n.saturating_mul(4), self.order));
        Ok(Section { name_off, records: records.chunks_exact(record_len).map(read).collect() })
    }

    fn word(&self, off: &mut usize, end: usize) -> Result<u32, BtfError> {
        let start = *off;
        *off = start.saturating_add(4);
        if *off > end {
            return Err(BtfError::new(start, BtfErrorReason::Truncated(end.saturating_sub(start), 4)));
        }
        Ok(read_word(self.data, start, self.order))
    }
}
