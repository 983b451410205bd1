//! Makes an object's BTF one that the kernel takes: what only linkers and loaders read is turned into types that mean nothing.
//!
//! Compilers leave sizes and offsets of data sections zero, and describe what is only declared (externs); loaders mend that.
//! The oracle needs functions and the types of map keys and values only, so that variables, sections and externs become
//! plain types of the same length, and all other ids stay. Sections named `.data.…` are left as they are: locks and lists
//! are kept in them. See Documentation/bpf/btf.rst.

use std::collections::HashSet;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const TYPE_LEN: usize = 12;

const INT: u32 = 1;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;
const FUNC_EXTERN: u32 = 2;

/// The bytes to load. `None` when these are no BTF of the host's byte order.
pub(super) fn for_kernel(btf: &[u8]) -> Option<Vec<u8>> {
    let mut btf = Words(btf.to_vec());
    let header_len = btf.at(4)? as usize;
    if u16::from_ne_bytes([*btf.0.first()?, *btf.0.get(1)?]) != MAGIC || header_len < HEADER_LEN {
        return None;
    }
    let first = header_len + btf.at(8)? as usize;
    let end = first + btf.at(12)? as usize;
    let kept = kept_variables(&btf, first, end)?;
    let mut variables = HashSet::new();
    let mut any_name = 0;
    let (mut off, mut id) = (first, 0);
    while off < end {
        id += 1;
        let info = btf.at(off + 4)?;
        let (kind, len) = (info >> 24 & 0x1f, info & 0xffff);
        let next = off + TYPE_LEN + trailing(kind, len)?;
        match kind {
            VAR if kept.contains(&id) => any_name = btf.at(off)?,
            VAR => {
                any_name = btf.at(off)?;
                variables.insert(id);
                btf.make_byte(off)?;
            }
            FUNC if len == FUNC_EXTERN => btf.put(off + 4, TYPEDEF << 24)?,
            _ => {}
        }
        off = next;
    }
    // What points at variables, before or after them.
    let mut off = first;
    while off < end {
        let info = btf.at(off + 4)?;
        let (kind, len) = (info >> 24 & 0x1f, info & 0xffff);
        match kind {
            DECL_TAG if variables.contains(&btf.at(off + 8)?) => btf.make_byte(off)?,
            DATASEC if btf.is_kept(off) => {}
            DATASEC => {
                btf.put(off, 0)?;
                btf.put(off + 4, ENUM64 << 24 | len)?;
                btf.put(off + 8, 8)?;
                for member in 0..len as usize {
                    btf.put(off + TYPE_LEN + 12 * member, any_name)?;
                }
            }
            _ => {}
        }
        off += TYPE_LEN + trailing(kind, len)?;
    }
    Some(btf.0)
}

/// The variables of sections that are left as they are.
fn kept_variables(btf: &Words, first: usize, end: usize) -> Option<HashSet<u32>> {
    let mut kept = HashSet::new();
    let mut off = first;
    while off < end {
        let info = btf.at(off + 4)?;
        let (kind, len) = (info >> 24 & 0x1f, info & 0xffff);
        if kind == DATASEC && btf.is_kept(off) {
            for member in 0..len as usize {
                kept.insert(btf.at(off + TYPE_LEN + 12 * member)?);
            }
        }
        off += TYPE_LEN + trailing(kind, len)?;
    }
    Some(kept)
}

/// The id of the first function in what `of_functions` makes.
pub(super) const FIRST_FUNCTION: u32 = 3;

/// BTF of `count` functions that take nothing and return an int: main, and static ones.
pub(super) fn of_functions(count: u32) -> Vec<u8> {
    const FUNC_PROTO: u32 = 13;
    const FUNC_STATIC: u32 = 0;
    const FUNC_GLOBAL: u32 = 1;
    const SIGNED_32_BITS: u32 = 1 << 24 | 32;
    const INT_NAME: u32 = 1;
    const MAIN_NAME: u32 = 5;
    const SUB_NAME: u32 = 10;
    let strings = b"\0int\0main\0sub\0";
    let mut words = vec![INT_NAME, INT << 24, 4, SIGNED_32_BITS, 0, FUNC_PROTO << 24, 1];
    for index in 0..count {
        let (name, linkage) = if index == 0 { (MAIN_NAME, FUNC_GLOBAL) } else { (SUB_NAME, FUNC_STATIC) };
        words.extend([name, FUNC << 24 | linkage, 2]);
    }
    let types_len = 4 * words.len() as u32;
    let mut btf = [MAGIC.to_ne_bytes(), [1, 0]].concat();
    for word in [HEADER_LEN as u32, 0, types_len, types_len, strings.len() as u32].into_iter().chain(words) {
        btf.extend(word.to_ne_bytes());
    }
    btf.extend(strings);
    btf
}

/// Bytes after the fixed part of a type.
fn trailing(kind: u32, len: u32) -> Option<usize> {
    let len = len as usize;
    Some(match kind {
        INT | VAR | DECL_TAG => 4,
        2 | 7..=FUNC | 16 | 18 => 0,
        3 => 12,
        4 | 5 | DATASEC | ENUM64 => 12 * len,
        6 | 13 => 8 * len,
        _ => return None,
    })
}

struct Words(Vec<u8>);

impl Words {
    fn at(&self, off: usize) -> Option<u32> {
        let word = self.0.get(off..off + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(word))
    }

    /// Whether the section at `off` is one of those that are left as they are.
    fn is_kept(&self, off: usize) -> bool {
        let name = || {
            let strings = self.at(4)? as usize + self.at(16)? as usize;
            self.0.get(strings + self.at(off)? as usize..)
        };
        name().is_some_and(|name| name.starts_with(b".data."))
    }

    fn put(&mut self, off: usize, word: u32) -> Option<()> {
        self.0.get_mut(off..off + 4)?.copy_from_slice(&word.to_ne_bytes());
        Some(())
    }

    /// Turns a type with four trailing bytes into an unsigned integer of one byte; the name stays.
    fn make_byte(&mut self, off: usize) -> Option<()> {
        self.put(off + 4, INT << 24)?;
        self.put(off + 8, 1)?;
        self.put(off + TYPE_LEN, 8)
    }
}
