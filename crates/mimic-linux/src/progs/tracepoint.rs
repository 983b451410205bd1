//! `TracepointContext`: the record of a tracepoint, and `TracepointFormat`: where its fields lie, as tracefs tells
//! (`/sys/kernel/tracing/events/*/*/format`). Documentation/trace/events.rst.

use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Setup};

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracepointField {
    /// Its name.
    pub name: String,
    /// Its C type, with `__data_loc` before it if its bytes are at the record's end.
    pub ty: String,
    /// Offset in bytes.
    pub off: u32,
    /// Length in bytes.
    pub len: u32,
}

/// The fields of a tracepoint's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracepointFormat {
    /// By rising offset; the first four are common to all.
    pub fields: Vec<TracepointField>,
}

/// What tracepoint programs get: a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracepointContext {
    /// The record. Its first 8 bytes, which all records have in common, programs cannot read.
    pub record: Vec<u8>,
}

/// Bytes of a record that are the kernel's: where the pointer to the registers is while the program runs.
const HIDDEN_LEN: u32 = 8;
/// The most bytes of a record: `PERF_MAX_TRACE_SIZE`.
const RECORD_LEN_MAX: usize = 8192;

impl TracepointFormat {
    /// Reads a `format` file. The error is the line that cannot be read.
    pub fn parse(text: &str) -> Result<TracepointFormat, String> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("field:"));
        let fields = lines.map(|line| field(line).ok_or_else(|| line.to_owned()));
        Ok(TracepointFormat { fields: fields.collect::<Result<_, _>>()? })
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&TracepointField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// A record of zeros.
    pub fn record(&self) -> TracepointContext {
        let len = self.fields.iter().map(|field| field.off + field.len).max().unwrap_or(HIDDEN_LEN);
        TracepointContext { record: vec![0; len as usize] }
    }
}

/// Such as `field:char comm[16]; offset:8; size:16; signed:0;`.
fn field(line: &str) -> Option<TracepointField> {
    let mut parts = line.split(';').map(str::trim);
    let declared = parts.next()?.strip_prefix("field:")?;
    let number = |part: Option<&str>, key: &str| -> Option<u32> { part?.strip_prefix(key)?.parse().ok() };
    let off = number(parts.next(), "offset:")?;
    let len = number(parts.next(), "size:")?;
    let end = off.checked_add(len)?;
    // An array's length follows its name; `__data_loc char[] name` has none.
    let array = declared.strip_suffix(']').and_then(|declared| declared.rsplit_once('['));
    let declared = array.map_or(declared, |(declared, _)| declared).trim();
    let (ty, name) = declared.rsplit_once([' ', '*'])?;
    let fits = end as usize <= RECORD_LEN_MAX;
    fits.then(|| TracepointField { name: name.into(), ty: ty.trim().into(), off, len })
}

impl TracepointContext {
    /// Sets a number of the record, in the guest's byte order; false if the format has no such field of 8 bytes or less.
    pub fn set(&mut self, format: &TracepointFormat, name: &str, value: u64, order: ByteOrder) -> bool {
        let Some(field) = format.field(name).filter(|field| field.len <= 8) else { return false };
        let (off, len) = (field.off as usize, field.len as usize);
        let Some(place) = self.record.get_mut(off..off + len) else { return false };
        match order {
            ByteOrder::Little => place.copy_from_slice(&value.to_le_bytes()[..len]),
            ByteOrder::Big => place.copy_from_slice(&value.to_be_bytes()[8 - len..]),
        }
        true
    }

    /// Sets bytes of the record: of an array, cut to its length and filled up with zeros; of a `__data_loc` field, at the record's end.
    pub fn set_bytes(
        &mut self,
        format: &TracepointFormat,
        name: &str,
        bytes: &[u8],
        order: ByteOrder,
    ) -> bool {
        let Some(field) = format.field(name) else { return false };
        if field.ty.starts_with("__data_loc") {
            let at = self.record.len();
            if at + bytes.len() > RECORD_LEN_MAX {
                return false;
            }
            self.record.extend_from_slice(bytes);
            return self.set(format, name, (bytes.len() as u64) << 16 | at as u64, order);
        }
        let (off, len) = (field.off as usize, field.len as usize);
        let Some(place) = self.record.get_mut(off..off + len) else { return false };
        let known = bytes.len().min(len);
        place[..known].copy_from_slice(&bytes[..known]);
        place[known..].fill(0);
        true
    }
}

impl Context for TracepointContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.record.len() > RECORD_LEN_MAX {
            let why = format!("a record has at most {RECORD_LEN_MAX} bytes, not {}", self.record.len());
            return Err(ContextError::Errno(Errno::E2BIG, why));
        }
        let len = (self.record.len() as u32).max(HIDDEN_LEN);
        let region = setup.region("record", len, Layout::Bytes(Access::Read))?;
        region.set_bounds(HIDDEN_LEN, len);
        region.write(0, &self.record);
        Ok([region.base(), 0, 0, 0, 0])
    }
}
