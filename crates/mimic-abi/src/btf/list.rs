//! `List`: the entries behind a type's record, decoded when looked at.

use core::fmt;
use core::marker::PhantomData;

use super::Btf;

/// The members of a structure, the values of an enumeration, the parameters of a function, the variables of a
/// section: a view of the bytes.
pub struct List<'a, T> {
    btf: &'a Btf,
    /// Where the next entry starts, in bytes of the file.
    off: usize,
    len: u32,
    wide: bool,
    flag: bool,
    entry: PhantomData<T>,
}

/// An entry of a [`List`].
pub(super) trait Record<'a> {
    /// Its length in the file in bytes. `wide` entries are those of enumerations of 64 bits.
    fn len(wide: bool) -> usize {
        let _ = wide;
        12
    }

    /// Decodes the entry at `off`; `flag` is the kind flag of the record.
    fn read(btf: &'a Btf, off: usize, wide: bool, flag: bool) -> Self;
}

/// A [`List`]'s entries, one after the other.
pub struct Iter<'a, T>(List<'a, T>);

impl<'a, T> List<'a, T> {
    pub(super) fn new(btf: &'a Btf, off: usize, len: u32, wide: bool, flag: bool) -> List<'a, T> {
        List { btf, off, len, wide, flag, entry: PhantomData }
    }

    /// The number of entries.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// There are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[expect(private_bounds, reason = "the entries are a closed set")]
impl<'a, T: Record<'a>> List<'a, T> {
    /// The entry at `index`.
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        let off = self.off.checked_add(index.checked_mul(T::len(self.wide))?)?;
        Some(T::read(self.btf, off, self.wide, self.flag))
    }

    /// The last entry.
    pub fn last(&self) -> Option<T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The entries, first to last.
    pub fn iter(&self) -> Iter<'a, T> {
        Iter(*self)
    }
}

impl<'a, T: Record<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let entry = self.0.get(0)?;
        self.0.off = self.0.off.saturating_add(T::len(self.0.wide));
        self.0.len = self.0.len.saturating_sub(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl<'a, T: Record<'a>> ExactSizeIterator for Iter<'a, T> {}

impl<'a, T: Record<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        Iter(self)
    }
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Iter(self.0)
    }
}

impl<'a, T: Record<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Record<'a> + fmt::Debug> fmt::Debug for Iter<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
