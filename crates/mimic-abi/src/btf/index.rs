//! `Index`: from names to type ids.
//!
//! Hashes the *essential* part of each name, so that one table answers for full names and for names without the
//! `___flavour` that CO-RE gives local types.

use std::hash::{BuildHasher, RandomState};

use super::{Btf, TypeId};

/// A hash table over the named types of one [`Btf`], without those of its base.
#[derive(Clone, Debug)]
pub(super) struct Index {
    hasher: RandomState,
    /// By hash: 1 + index of the first type in `next`, 0 for none. The length is a power of two.
    heads: Vec<u32>,
    /// By type: 1 + index of the next one with that hash, always a later one; 0 for none.
    next: Vec<u32>,
}

/// The name without a `___flavour` at its end, which CO-RE ignores.
///
/// ```
/// use mimic_abi::btf::essential_name;
/// assert_eq!(essential_name("task_struct___old"), "task_struct");
/// assert_eq!(essential_name("task_struct"), "task_struct");
/// assert_eq!(essential_name("a____b"), "a____b");
/// ```
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    // Three underscores in a row cover one of every third places. Nearly all names stop here.
    let at = |index: usize| bytes.get(index) == Some(&b'_');
    if !(2..bytes.len()).step_by(3).any(|n| at(n) && (at(n.saturating_sub(1)) || at(n.saturating_add(1)))) {
        return name;
    }
    let is_separator = |w: &[u8]| matches!(w, [a, b'_', b'_', b'_', z] if *a != b'_' && *z != b'_');
    match bytes.windows(5).rposition(is_separator) {
        // The separator starts after a byte that may be the end of a character, never its middle.
        Some(at) => name.get(..at.saturating_add(1)).unwrap_or(name),
        None => name,
    }
}

impl Index {
    pub(super) fn new(btf: &Btf) -> Index {
        let count = btf.offsets.len();
        let hasher = RandomState::new();
        let mut heads = vec![0; count.next_power_of_two()];
        let mut next = vec![0; count];
        // Backwards, so that each chain ends up in the order of the ids.
        for (index, &off) in btf.offsets.iter().enumerate().rev() {
            let name = btf.name_at(btf.word(off as usize));
            if name.is_empty() {
                continue;
            }
            let slot = slot(&hasher, heads.len(), name);
            if let (Some(head), Some(link)) = (heads.get_mut(slot), next.get_mut(index)) {
                *link = *head;
                *head = index as u32 + 1;
            }
        }
        Index { hasher, heads, next }
    }

    /// The types whose names may have the same essential part as `name`, in the order of their ids.
    pub(super) fn candidates<'a>(&'a self, btf: &'a Btf, name: &str) -> impl Iterator<Item = TypeId> + 'a {
        let head = self.heads.get(slot(&self.hasher, self.heads.len(), name)).copied().unwrap_or(0);
        let follow = |&link: &u32| self.next.get((link as usize).checked_sub(1)?).copied();
        std::iter::successors(Some(head), follow)
            .take_while(|&link| link != 0)
            .map(|link| TypeId(btf.first_id.saturating_add(link).saturating_sub(1)))
    }
}

fn slot(hasher: &RandomState, len: usize, name: &str) -> usize {
    let hash = hasher.hash_one(essential_name(name));
    hash as usize & len.saturating_sub(1)
}
