//! `CtxLayout`: the fields of a context structure, as `uapi/linux/bpf.h` lays them out, with who may touch which.
//!
//! A context is plain guest memory. The layout tells the precise engine and the verifier which accesses the kernel allows.

/// One field of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtxField {
    /// The UAPI name.
    pub name: &'static str,
    /// Offset in bytes.
    pub off: u32,
    /// Size in bytes.
    pub size: u32,
    /// What a program may do with it.
    pub access: CtxAccess,
}

/// What a program may do with a context field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtxAccess {
    /// Nothing.
    None,
    /// Read the whole field at its own size only (packet pointers, 64-bit fields, pointers).
    ReadWhole,
    /// Read it or an aligned part of it.
    Read,
    /// Read parts, write the whole field.
    ReadWriteWhole,
    /// Read and write parts.
    ReadWrite,
    /// Read and write the whole field at its own size only.
    Whole,
    /// An array of 32-bit words: read parts of words, read and write words and, where their address is a multiple of 8, pairs of words.
    Words,
    /// Read parts, write the whole field, of which the kernel keeps 16 bits; writes of more than `max` change nothing.
    ReadWriteU16 {
        /// The largest number whose write counts.
        max: u32,
    },
}

/// A context structure.
#[derive(Clone, Copy, Debug, Eq)]
pub struct CtxLayout {
    /// The structure's UAPI name: `xdp_md`, `__sk_buff`, ….
    pub name: &'static str,
    /// Its size in bytes.
    pub size: u32,
    /// Its fields by rising offset; gaps are not accessible.
    pub fields: &'static [CtxField],
}

impl PartialEq for CtxLayout {
    /// Layouts are tables, and mostly the same one: looked at only if they are not.
    fn eq(&self, other: &CtxLayout) -> bool {
        let same = core::ptr::eq(self.fields, other.fields) || self.fields == other.fields;
        same && (self.name, self.size) == (other.name, other.size)
    }
}

impl CtxLayout {
    /// The field that holds byte `off`.
    pub fn field_at(&self, off: u32) -> Option<&'static CtxField> {
        let at = self.fields.partition_point(|field| field.off <= off);
        let field = self.fields.get(at.checked_sub(1)?)?;
        (off - field.off < field.size).then_some(field)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static CtxField> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether a program may access `len` bytes at `off`.
    pub fn allows(&self, off: u32, len: u32, write: bool) -> bool {
        let Some(field) = self.field_at(off) else { return false };
        let at = off - field.off;
        let whole = at == 0 && len == field.size;
        let part = len > 0 && len <= field.size - at && off.is_multiple_of(len);
        let words = part && (len == 4 || len == 8 || len < 4 && !write);
        match field.access {
            CtxAccess::None => false,
            CtxAccess::ReadWhole => whole && !write,
            CtxAccess::Read => part && !write,
            CtxAccess::ReadWriteWhole | CtxAccess::ReadWriteU16 { .. } => {
                if write {
                    whole
                } else {
                    part
                }
            }
            CtxAccess::ReadWrite => part,
            CtxAccess::Whole => whole,
            CtxAccess::Words => words,
        }
    }

    /// What is kept of a value that a program writes at `off`, which it may; none if the write changes nothing.
    pub fn kept(&self, off: u32, value: u64) -> Option<u64> {
        match self.field_at(off).map(|field| field.access) {
            Some(CtxAccess::ReadWriteU16 { max }) if value as u32 > max => None,
            Some(CtxAccess::ReadWriteU16 { .. }) => Some(value & 0xffff),
            Some(_) | None => Some(value),
        }
    }
}
