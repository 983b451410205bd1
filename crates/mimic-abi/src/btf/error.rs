//! `BtfError`: why bytes are not BTF.

use core::fmt;

use super::TypeId;

/// Why bytes are not BTF or `.BTF.ext`, or why types cannot be written as BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BtfError {
    /// Where in the bytes it was found.
    pub off: usize,
    /// In the record of which type, if in one.
    pub ty: Option<TypeId>,
    /// What is wrong.
    pub reason: BtfErrorReason,
}

/// What is wrong with some BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BtfErrorReason {
    /// There are more than [`super::MAX_LEN`] bytes; so many.
    TooLong(usize),
    /// The first two bytes are not `0xeb9f` in either byte order.
    Magic(u16),
    /// The format's version is not 1.
    Version(u8),
    /// The header is shorter than the format's, or longer than the bytes.
    HeaderLen(u32),
    /// A section of the file reaches beyond the bytes: its name, offset from the header's end and length.
    Section(&'static str, u32, u32),
    /// A section does not start at a multiple of four bytes.
    Unaligned(&'static str, u32),
    /// The strings do not start or do not end with a NUL.
    Strings,
    /// The record ends before it should: so many bytes are there of so many.
    Truncated(usize, usize),
    /// The kind is none of the format's.
    Kind(u32),
    /// There is no type with this id; there are so many.
    NoType(u32, u32),
    /// There is no string at this offset; the strings have so many bytes.
    NoString(u32, u32),
    /// The records of `.BTF.ext` are too short or no multiple of four bytes: this length, at least that.
    RecordLen(u32, u32),
    /// The types that this BTF adds to are in the other byte order.
    BaseOrder,
    /// A type that is to be written has more entries, or there are more types or bytes of strings, than the
    /// format can say: how many, at most.
    TooMany(&'static str, usize, usize),
}

impl BtfError {
    pub(super) fn new(off: usize, reason: BtfErrorReason) -> BtfError {
        BtfError { off, ty: None, reason }
    }

    pub(super) fn in_type(off: usize, ty: u32, reason: BtfErrorReason) -> BtfError {
        BtfError { off, ty: Some(TypeId(ty)), reason }
    }
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BTF, byte {}", self.off)?;
        if let Some(ty) = self.ty {
            write!(f, ", type [{ty}]")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for BtfErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BtfErrorReason::TooLong(len) => {
                write!(f, "{len} bytes are more than the {} that are read", super::MAX_LEN)
            }
            BtfErrorReason::Magic(magic) => write!(f, "the magic number is {magic:#06x}, expected 0xeb9f"),
            BtfErrorReason::Version(version) => write!(f, "version {version}, expected 1"),
            BtfErrorReason::HeaderLen(len) => {
                write!(f, "a header of {len} bytes: too short for the format or longer than the data")
            }
            BtfErrorReason::Section(name, off, len) => {
                write!(f, "the {name} at {off} with {len} bytes reach beyond the data")
            }
            BtfErrorReason::Unaligned(name, off) => {
                write!(f, "the {name} start at {off}, expected a multiple of 4")
            }
            BtfErrorReason::Strings => f.write_str("the strings do not start and end with a NUL"),
            BtfErrorReason::Truncated(have, want) => {
                write!(f, "the record is cut off: {have} bytes of {want} are there")
            }
            BtfErrorReason::Kind(kind) => write!(f, "kind {kind} is unknown, expected 1 to 19"),
            BtfErrorReason::NoType(id, count) => {
                write!(f, "there is no type [{id}], the last is [{}]", count.saturating_sub(1))
            }
            BtfErrorReason::NoString(off, len) => {
                write!(f, "there is no string at {off}, the strings have {len} bytes")
            }
            BtfErrorReason::RecordLen(len, min) => {
                write!(f, "records of {len} bytes, expected a multiple of 4 of at least {min}")
            }
            BtfErrorReason::BaseOrder => {
                f.write_str("its byte order is not that of the BTF it adds to: convert one of them")
            }
            BtfErrorReason::TooMany(what, count, max) => {
                write!(f, "{count} {what}, at most {max} can be written")
            }
        }
    }
}

impl std::error::Error for BtfError {}
