//! `Cgroup`: a control group of the tree of version 2.

use std::collections::BTreeMap;

/// A control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id: the inode number of its directory; the root's is 1.
    pub id: u64,
    /// The id of the one that it is in; the root's is 0.
    pub parent: u64,
    /// The name of its directory; the root has none.
    pub name: String,
    /// The class that packets of its tasks have for tc (`net_cls.classid`, which version 1 has a tree of its own for).
    pub classid: u32,
    /// Extended attributes of its directory, by name: `user.delegate`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// The id of the root.
pub const CGROUP_ROOT: u64 = 1;
/// The deepest that the tree is followed; the kernel's own limit of descendants is no less.
const LEVELS_MAX: usize = 256;

impl Cgroup {
    /// The root.
    pub fn root() -> Cgroup {
        Cgroup { id: CGROUP_ROOT, parent: 0, name: String::new(), classid: 0, xattrs: BTreeMap::new() }
    }

    /// A group in another.
    pub fn child(id: u64, parent: u64, name: &str) -> Cgroup {
        Cgroup { id, parent, name: name.into(), classid: 0, xattrs: BTreeMap::new() }
    }
}

impl Default for Cgroup {
    fn default() -> Cgroup {
        Cgroup::root()
    }
}

/// The ids from the root down to the group of this id, both included; empty if there is no such group. `parent` tells the parent of an
/// id, 0 for the root.
pub(crate) fn ancestry(id: u64, parent: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut at = id;
    while at != 0 && ids.len() < LEVELS_MAX {
        let Some(above) = parent(at) else { return Vec::new() };
        ids.push(at);
        at = above;
    }
    ids.reverse();
    ids
}
