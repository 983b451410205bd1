//! Open files as `struct file`, their names, and inodes.

use super::{Fields, ObjectKey};

/// Room for a file's or control group's own name with a NUL, in bytes: `NAME_MAX`.
pub(super) const NAME_LEN: u32 = 256;
/// The same for a path: `PATH_MAX`.
pub(super) const PATH_LEN: u32 = 4096;

pub(super) fn fill(to: &mut Fields<'_>, id: u32) {
    let Some(file) = to.tables().files.get(id) else { return };
    to.set("f_flags", file.flags.into());
    to.set("f_pos", file.pos);
    to.point("f_inode", ObjectKey::Inode(file.ino));
    to.point("f_path.dentry", ObjectKey::Dentry(id));
}

pub(super) fn fill_dentry(to: &mut Fields<'_>, id: u32) {
    let Some(file) = to.tables().files.get(id) else { return };
    let name = file.path.rsplit('/').next().unwrap_or(&file.path).as_bytes();
    to.string("d_name.name", name);
    to.set("d_name.len", name.len() as u64);
    to.point("d_inode", ObjectKey::Inode(file.ino));
    let this = to.this();
    to.set("d_parent", this);
}

pub(super) fn fill_inode(to: &mut Fields<'_>, ino: u64) {
    let Some(inode) = to.tables().inodes.get(ino) else { return };
    to.set("i_ino", inode.ino);
    to.set("i_mode", inode.mode.into());
    to.set_at("i_uid", 0, 4, inode.uid.into());
    to.set_at("i_gid", 0, 4, inode.gid.into());
    to.set("i_size", inode.size);
    to.set("i_nlink", inode.nlink.into());
}

pub(super) fn fill_bprm(to: &mut Fields<'_>, pid: u32) {
    let Some(task) = to.tables().tasks.get(pid) else { return };
    to.point("file", ObjectKey::File(task.exe));
    to.point("cred", ObjectKey::Cred(pid));
    to.point("mm", ObjectKey::Mm(task.tgid));
    if let Some(file) = to.tables().files.get(task.exe) {
        to.string("filename", file.path.as_bytes());
        let name = to.this() + u64::from(to.struct_len);
        to.set("interp", name);
    }
}
