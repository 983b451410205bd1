//! `mimic world capture`: a World of what this machine says of itself in `/proc` and `/sys`. See proc(5), sysfs(5).
//!
//! **What may not be read, or is not told there, is left out and named.** Parsing is apart from reading: every parser takes text.

mod net;
mod sockets;
mod system;
mod tasks;

use mimic::linux::{File, Inode, World};
use std::collections::HashMap;
use std::path::Path;

/// What to capture beside what is always.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// The kernel's symbols.
    pub(crate) ksyms: bool,
}

/// A world that is being captured.
#[derive(Default)]
pub(crate) struct Capture {
    pub(crate) world: World,
    /// What was left out, and why.
    pub(crate) left_out: Vec<String>,
    /// Files by path.
    files: HashMap<String, u32>,
}

/// The longest file of `/proc` that is read, in bytes.
const FILE_LEN_MAX: u64 = 64 << 20;
/// The most files that a world gets.
const FILES_MAX: usize = 1 << 16;

impl Capture {
    /// Captures this machine. The error says why that cannot be.
    pub(crate) fn new(wanted: Wanted) -> Result<Capture, String> {
        if !Path::new("/proc/self/stat").exists() {
            return Err(
                "there is no /proc here; a World file can be written by hand (docs/world.schema.json)".into(),
            );
        }
        let mut capture = Capture::default();
        capture.system();
        capture.control_groups();
        capture.tasks();
        capture.devices();
        capture.routes();
        capture.neighbours();
        capture.sockets();
        capture.conntrack();
        match wanted.ksyms {
            true => capture.ksyms(),
            false => capture.leave_out("the kernel's symbols", "--ksyms captures them"),
        }
        for (what, why) in NOT_TOLD {
            capture.leave_out(what, why);
        }
        Ok(capture)
    }

    /// Notes that something is not in the world.
    fn leave_out(&mut self, what: &str, why: impl std::fmt::Display) {
        self.left_out.push(format!("{what}: {why}"));
    }

    /// A file's text; notes that it is left out if it cannot be read.
    fn read(&mut self, path: &str) -> Option<String> {
        read(path).map_err(|error| self.leave_out(path, error)).ok()
    }

    /// The id of a file of this path, added to the world if need be; 0 when there are too many.
    fn file(&mut self, path: &str, flags: u32, pos: u64) -> u32 {
        let key = format!("{path}\0{flags}\0{pos}");
        if let Some(id) = self.files.get(&key) {
            return *id;
        }
        if self.files.len() >= FILES_MAX {
            return 0;
        }
        let id = self.files.len() as u32 + 1;
        self.files.insert(key, id);
        let ino = self.inode(path);
        self.world.files.push(File { id, path: path.into(), ino, flags, pos, build_id: Vec::new() });
        id
    }

    /// The number of the inode behind a path, added to the world; 0 if there is none to look at.
    fn inode(&mut self, path: &str) -> u64 {
        let Some(inode) = inode(path) else { return 0 };
        let ino = inode.ino;
        if !self.world.inodes.iter().any(|known| known.ino == ino) {
            self.world.inodes.push(inode);
        }
        ino
    }
}

/// What neither `/proc` nor `/sys` tells.
const NOT_TOLD: [(&str, &str); 5] = [
    ("bytes of user memory, stacks and registers", "they change while one looks"),
    ("per-CPU variables and branch records", "/proc does not have them"),
    ("IPv6 neighbours, and routes of tables other than main and local", "/proc does not have them"),
    ("numbers of TCP connections and socket options", "/proc does not have them"),
    ("build ids and IMA measurements of files", "they are not looked for"),
];

fn read(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LEN_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file's text without white space at its ends; none if it cannot be read.
fn word(path: &str) -> Option<String> {
    read(path).ok().map(|text| text.trim().to_owned())
}

/// The entries of a folder, by name.
fn names(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(unix)]
fn inode(path: &str) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::metadata(path).ok().filter(|_| path.starts_with('/'))?;
    Some(Inode {
        ino: stat.ino(),
        dev: stat.dev() as u32,
        mode: stat.mode() as u16,
        uid: stat.uid(),
        gid: stat.gid(),
        size: stat.size(),
        nlink: stat.nlink() as u32,
        ..Inode::default()
    })
}

#[cfg(not(unix))]
fn inode(_: &str) -> Option<Inode> {
    None
}
