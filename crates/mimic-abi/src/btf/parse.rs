//! Reads the header and walks the types of BTF once, checking every reference.
//!
//! What it lets through that the kernel refuses: gaps between the sections, names that are no identifiers, sizes
//! that do not fit their members. All that later code relies on is checked here.

use core::ops::Range;
use std::sync::{Arc, OnceLock};

use super::kind::{HEADER_LEN, Header, KindCode};
use super::{Btf, BtfError, BtfErrorReason, MAX_LEN, read_word};
use crate::ByteOrder;

/// The first two bytes of BTF and of `.BTF.ext`.
pub(super) const MAGIC: u16 = 0xeb9f;

/// Length of the header of BTF in bytes.
pub(super) const FILE_HEADER_LEN: usize = 24;

pub(super) fn parse(data: Vec<u8>, base: Option<Arc<Btf>>) -> Result<Btf, BtfError> {
    let (order, header_len) = file_header(&data, FILE_HEADER_LEN)?;
    let types = section(&data, order, header_len, 8, "types")?;
    let strings = section(&data, order, header_len, 16, "strings")?;
    let patched = check_strings(&data, &strings, base.is_some())?;
    if base.as_deref().is_some_and(|base| base.order != order) {
        return Err(BtfError::new(0, BtfErrorReason::BaseOrder));
    }
    let (first_id, first_str, ptr_size) = match base.as_deref() {
        Some(base) => (base.type_count(), base.string_end(), base.ptr_size),
        None => (1, 0, 8),
    };
    let mut btf = Btf {
        data,
        order,
        strings,
        patched,
        offsets: Vec::new(),
        base,
        first_id,
        first_str,
        ptr_size,
        index: OnceLock::new(),
        decl_tags: OnceLock::new(),
    };
    Walk::new(&btf).run(types).map(|walk| {
        (btf.offsets, btf.ptr_size) = walk;
        btf
    })
}

/// The byte order and the length of the header, which BTF and `.BTF.ext` start with.
pub(super) fn file_header(data: &[u8], min_len: usize) -> Result<(ByteOrder, usize), BtfError> {
    if data.len() > MAX_LEN {
        return Err(BtfError::new(0, BtfErrorReason::TooLong(data.len())));
    }
    let &[m0, m1, version, _flags, ..] = data else {
        return Err(BtfError::new(0, BtfErrorReason::Truncated(data.len(), min_len)));
    };
    let order = match u16::from_le_bytes([m0, m1]) {
        MAGIC => ByteOrder::Little,
        magic if magic.swap_bytes() == MAGIC => ByteOrder::Big,
        magic => return Err(BtfError::new(0, BtfErrorReason::Magic(magic))),
    };
    if version != 1 {
        return Err(BtfError::new(2, BtfErrorReason::Version(version)));
    }
    let len = read_word(data, 4, order);
    match usize::try_from(len) {
        Ok(header_len) if header_len >= min_len && header_len <= data.len() => Ok((order, header_len)),
        _ => Err(BtfError::new(4, BtfErrorReason::HeaderLen(len))),
    }
}

/// The place in the file of a section whose offset and length are in the header at `field`.
pub(super) fn section(
    data: &[u8],
    order: ByteOrder,
    header_len: usize,
    field: usize,
    name: &'static str,
) -> Result<Range<usize>, BtfError> {
    let (off, len) = (read_word(data, field, order), read_word(data, field.saturating_add(4), order));
    if name != "strings" && off % 4 != 0 {
        return Err(BtfError::new(field, BtfErrorReason::Unaligned(name, off)));
    }
    let place = || {
        let start = header_len.checked_add(usize::try_from(off).ok()?)?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        (end <= data.len()).then_some(start..end)
    };
    place().ok_or(BtfError::new(field, BtfErrorReason::Section(name, off, len)))
}

/// Checks that every string ends, and makes a copy if some of them cannot be a `str`.
fn check_strings(data: &[u8], strings: &Range<usize>, split: bool) -> Result<Option<String>, BtfError> {
    let bytes = data.get(strings.clone()).unwrap_or_default();
    let starts = split || bytes.first().is_none_or(|&byte| byte == 0);
    if !starts || bytes.last().is_some_and(|&byte| byte != 0) {
        return Err(BtfError::new(strings.start, BtfErrorReason::Strings));
    }
    if core::str::from_utf8(bytes).is_ok() {
        return Ok(None);
    }
    let mut patched = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        patched.push_str(chunk.valid());
        patched.extend(chunk.invalid().iter().map(|_| '?'));
    }
    Ok(Some(patched))
}

impl Btf {
    /// Where the strings of BTF that adds to this one start.
    pub(super) fn string_end(&self) -> u32 {
        // `MAX_LEN` holds for each of the few that can be stacked before `Walk` runs out of ids.
        self.first_str.saturating_add(self.strings.len() as u32)
    }
}

/// A walk over the type records. The highest reference of each sort is kept, as it is enough to check that one.
struct Walk<'a> {
    btf: &'a Btf,
    offsets: Vec<u32>,
    ptr_size: u32,
    top_type: Reference,
    top_string: Reference,
}

/// A reference to a type or string, and from where.
#[derive(Clone, Copy, Default)]
struct Reference {
    to: u32,
    from: u32,
    off: usize,
}

impl<'a> Walk<'a> {
    fn new(btf: &'a Btf) -> Walk<'a> {
        let none = Reference::default();
        Walk { btf, offsets: Vec::new(), ptr_size: btf.ptr_size, top_type: none, top_string: none }
    }

    fn run(mut self, types: Range<usize>) -> Result<(Vec<u32>, u32), BtfError> {
        // Records have 12 bytes or more, and some 20 on average.
        self.offsets.reserve(types.len() / 20);
        let mut off = types.start;
        while off < types.end {
            off = self.record(off, types.end)?;
        }
        let count = self.btf.first_id.saturating_add(self.offsets.len() as u32);
        if self.top_type.to >= count {
            let Reference { to, from, off } = self.top_type;
            return Err(BtfError::in_type(off, from, BtfErrorReason::NoType(to, count)));
        }
        // Without strings the offset 0 still stands for no name.
        let strings = self.btf.string_end();
        if self.top_string.to >= strings.max(1) {
            let Reference { to, from, off } = self.top_string;
            return Err(BtfError::in_type(off, from, BtfErrorReason::NoString(to, strings)));
        }
        Ok((self.offsets, self.ptr_size))
    }

    /// Reads the record at `off`; where the next one starts.
    fn record(&mut self, off: usize, end: usize) -> Result<usize, BtfError> {
        let id = self.btf.first_id.saturating_add(self.offsets.len() as u32);
        let truncated =
            |want| BtfError::in_type(off, id, BtfErrorReason::Truncated(end.saturating_sub(off), want));
        let tail = off.saturating_add(HEADER_LEN);
        if tail > end || id == u32::MAX {
            return Err(truncated(HEADER_LEN));
        }
        let header = Header::read(self.btf, off);
        let code = KindCode::from_raw(header.kind()).filter(|&code| code != KindCode::Void);
        let code = code.ok_or(BtfError::in_type(off, id, BtfErrorReason::Kind(header.kind())))?;
        let next = tail.saturating_add(code.tail_len(header.vlen()));
        if next > end {
            return Err(truncated(next.saturating_sub(off)));
        }
        self.string(id, off, header.name_off);
        if let Some(ty) = header.type_ref(code) {
            self.ty(id, off, ty);
        }
        self.entries(id, code, tail, next);
        if code == KindCode::Int {
            self.find_ptr_size(header, tail);
        }
        self.offsets.push(off as u32);
        Ok(next)
    }

    /// Notes the references of the entries from `off` to `end`.
    fn entries(&mut self, id: u32, code: KindCode, off: usize, end: usize) {
        let (step, names, types) = match code {
            KindCode::Array => (12, None, Some(0)),
            KindCode::Struct | KindCode::Union => (12, Some(0), Some(4)),
            KindCode::Enum => (8, Some(0), None),
            KindCode::Enum64 => (12, Some(0), None),
            KindCode::FuncProto => (8, Some(0), Some(4)),
            KindCode::Datasec => (12, None, Some(0)),
            KindCode::Void
            | KindCode::Int
            | KindCode::Ptr
            | KindCode::Fwd
            | KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::Func
            | KindCode::Var
            | KindCode::Float
            | KindCode::DeclTag
            | KindCode::TypeTag => return,
        };
        let order = self.btf.order;
        let records = self.btf.data.get(off..end).unwrap_or_default();
        for (index, record) in records.chunks_exact(step).enumerate() {
            let at = off.saturating_add(index.saturating_mul(step));
            if let Some(field) = names {
                self.string(id, at, read_word(record, field, order));
            }
            if let Some(field) = types {
                self.ty(id, at, read_word(record, field, order));
            }
        }
        if code == KindCode::Array {
            self.ty(id, off, self.btf.word(off.saturating_add(4)));
        }
    }

    fn ty(&mut self, from: u32, off: usize, to: u32) {
        if to > self.top_type.to {
            self.top_type = Reference { to, from, off };
        }
    }

    fn string(&mut self, from: u32, off: usize, to: u32) {
        if to > self.top_string.to {
            self.top_string = Reference { to, from, off };
        }
    }

    /// A `long` is as long as a pointer, on every system that has BTF.
    fn find_ptr_size(&mut self, header: Header, tail: usize) {
        const LONGS: [&str; 6] =
            ["long", "long int", "int long", "unsigned long", "long unsigned int", "unsigned long int"];
        if let super::Kind::Int(int) = header.decode(self.btf, tail)
            && (int.size == 4 || int.size == 8)
            && LONGS.contains(&self.btf.name_at(header.name_off))
        {
            self.ptr_size = int.size;
        }
    }
}
