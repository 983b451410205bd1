//! `File` and `Inode`: files that tasks have open, and what is known of them.

use std::collections::BTreeMap;

/// An inode, known by its number: one file system is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// The device of its file system, as stat(2) has it.
    pub dev: u32,
    /// Kind and permissions: `S_IFREG | 0644`.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// Its length, in bytes.
    pub size: u64,
    /// Names that it has.
    pub nlink: u32,
    /// The measurement that IMA has taken: algorithm (`HASH_ALGO_*`, 4 is SHA-256) and digest.
    pub ima: Option<(u32, Vec<u8>)>,
    /// Extended attributes, by name: `user.mime_type`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Default for Inode {
    fn default() -> Inode {
        Inode {
            ino: 0,
            dev: 0x1f,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            size: 0,
            nlink: 1,
            ima: None,
            xattrs: BTreeMap::new(),
        }
    }
}

/// An open file, or another place with a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// A number for it, by which others refer to it; not 0.
    pub id: u32,
    /// Its path from the root of the file system.
    pub path: String,
    /// The inode, by number.
    pub ino: u64,
    /// `O_*` as it was opened with.
    pub flags: u32,
    /// Where reads and writes are at, in bytes.
    pub pos: u64,
    /// The build id of an ELF file, at most 20 bytes; empty for none.
    pub build_id: Vec<u8>,
}
