//! Files for security programs: their paths, extended attributes, and the file that a task runs. Mirrors `fs/bpf_fs_kfuncs.c`'s behaviour.

use super::int_of;
use crate::Linux;
use crate::helpers::dynptr::Dynptr;
use crate::objects::{self, ObjectKey, View, cgroup_at, file_at, file_of_path, task_at};
use mimic_abi::{ArgType, DynptrKind, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::collections::BTreeMap;

const FILE: ArgType = ArgType::BtfId("file");
const DENTRY: ArgType = ArgType::BtfId("dentry");
const DYNPTR: ArgType = ArgType::Dynptr(DynptrKind::Any);
const ANY: ArgType = ArgType::Anything;
const SLEEPS: HelperFlags = HelperFlags::MIGHT_SLEEP;

/// Attributes that everybody may have.
const USER: &[u8] = b"user.";
/// Attributes that only BPF programs set.
const SECURITY_BPF: &[u8] = b"security.bpf.";
/// The longest name, in bytes: `XATTR_NAME_MAX`.
const NAME_MAX: u32 = 255;
/// The longest value, in bytes: `XATTR_SIZE_MAX`.
const VALUE_MAX: usize = 65536;
/// The most attributes of one file that programs may set.
const XATTRS_MAX: usize = 1024;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(0, "bpf_get_file_xattr")
            .args(&[arg("file", FILE), arg("name__str", ANY), arg("value_p", DYNPTR)])
            .flags(SLEEPS)
            .since(6, 8),
        get_file_xattr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_get_dentry_xattr")
            .args(&[arg("dentry", DENTRY), arg("name__str", ANY), arg("value_p", DYNPTR)])
            .flags(SLEEPS)
            .since(6, 8),
        get_file_xattr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_set_dentry_xattr")
            .args(&[arg("dentry", DENTRY), arg("name__str", ANY), arg("value_p", DYNPTR), arg("flags", ANY)])
            .flags(SLEEPS)
            .since(6, 15),
        set_dentry_xattr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_remove_dentry_xattr")
            .args(&[arg("dentry", DENTRY), arg("name__str", ANY)])
            .flags(SLEEPS)
            .since(6, 15),
        remove_dentry_xattr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_cgroup_read_xattr")
            .args(&[arg("cgroup", ArgType::BtfId("cgroup")), arg("name__str", ANY), arg("value_p", DYNPTR)])
            .since(6, 17),
        cgroup_read_xattr,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_path_d_path")
            .args(&[
                arg("path", ArgType::BtfId("path")),
                arg("buf", ArgType::Mem(MemAccess::Write, MemLen::NextArg)),
                arg("buf__sz", ArgType::SizeOrZero),
            ])
            .since(6, 12),
        path_d_path,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_get_task_exe_file")
            .args(&[arg("task", ArgType::BtfId("task_struct"))])
            .returns(RetType::BtfIdOrNull("file"))
            .flags(HelperFlags::ACQUIRES)
            .since(6, 12),
        get_task_exe_file,
    ),
    Helper::new(
        HelperSpec::new(0, "bpf_put_file")
            .args(&[arg("file", FILE)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(6, 12),
        put_file,
    ),
];

/// Of a file, or of the name of one: they stand for the same inode.
fn get_file_xattr(call: &mut Call<'_>, file: u64, name: u64, value: u64, _: u64, _: u64) -> HelperResult {
    int_of((|| {
        let file = file_at(call, file)?;
        let name = attribute(call, name, &[USER, SECURITY_BPF])?;
        let inode = Linux::of(call).tables.inodes.get(file.ino);
        let xattrs = inode.as_ref().map(|inode| &inode.xattrs);
        give(call, xattrs, &name, value)
    })())
}

fn set_dentry_xattr(
    call: &mut Call<'_>,
    file: u64,
    name: u64,
    value: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    const CREATE: u64 = 1;
    const REPLACE: u64 = 2;
    int_of((|| {
        let file = file_at(call, file)?;
        let name = attribute(call, name, &[SECURITY_BPF])?;
        let dynptr = Dynptr::load(call, value)?.ok_or(Errno::EINVAL)?;
        let at = dynptr.in_place(call, 0, dynptr.len).ok_or(Errno::EINVAL)?;
        let bytes = call.read_vec(at, dynptr.len.into())?;
        if flags & !(CREATE | REPLACE) != 0 {
            return Err(Errno::EINVAL.into());
        }
        if bytes.len() > VALUE_MAX {
            return Err(Errno::E2BIG.into());
        }
        let set = Linux::of(call).tables.inodes.change(file.ino, |inode| {
            let known = inode.xattrs.contains_key(&name);
            match (known, flags) {
                (true, flags) if flags & CREATE != 0 => Err(Errno::EEXIST),
                (false, flags) if flags & REPLACE != 0 => Err(Errno::ENODATA),
                (false, _) if inode.xattrs.len() >= XATTRS_MAX => Err(Errno::ENOSPC),
                _ => {
                    inode.xattrs.insert(name, bytes);
                    Ok(())
                }
            }
        });
        set.ok_or(Errno::EINVAL)??;
        Ok(0)
    })())
}

fn remove_dentry_xattr(call: &mut Call<'_>, file: u64, name: u64, _: u64, _: u64, _: u64) -> HelperResult {
    int_of((|| {
        let file = file_at(call, file)?;
        let name = attribute(call, name, &[SECURITY_BPF])?;
        let inodes = &Linux::of(call).tables.inodes;
        let removed = inodes.change(file.ino, |inode| inode.xattrs.remove(&name)).flatten();
        removed.ok_or(Errno::ENODATA)?;
        Ok(0)
    })())
}

fn cgroup_read_xattr(
    call: &mut Call<'_>,
    cgroup: u64,
    name: u64,
    value: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    int_of((|| {
        let cgroup = cgroup_at(call, cgroup)?;
        let name = attribute(call, name, &[USER])?;
        give(call, Some(&cgroup.xattrs), &name, value)
    })())
}

/// The name of an attribute that programs may have to do with.
fn attribute(call: &Call<'_>, at: u64, prefixes: &[&[u8]]) -> Result<String, Trap> {
    let name = call.view().read_cstr(at, NAME_MAX + 1).ok().flatten().ok_or(Errno::ERANGE)?;
    match prefixes.iter().any(|prefix| name.starts_with(prefix)) {
        true => Ok(String::from_utf8_lossy(&name).into_owned()),
        false => Err(Errno::EPERM.into()),
    }
}

/// Writes an attribute's value to where a dynptr leads; answers its length.
fn give(
    call: &mut Call<'_>,
    xattrs: Option<&BTreeMap<String, Vec<u8>>>,
    name: &str,
    dynptr: u64,
) -> HelperResult {
    let dynptr = Dynptr::load(call, dynptr)?.filter(|dynptr| !dynptr.read_only).ok_or(Errno::EINVAL)?;
    let at = dynptr.in_place(call, 0, dynptr.len).ok_or(Errno::EINVAL)?;
    let value = xattrs.and_then(|xattrs| xattrs.get(name)).ok_or(Errno::ENODATA)?;
    if value.len() > dynptr.len as usize {
        return Err(Errno::ERANGE.into());
    }
    call.write(at, value)?;
    Ok(value.len() as u64)
}

fn path_d_path(call: &mut Call<'_>, path: u64, buf: u64, len: u64, _: u64, _: u64) -> HelperResult {
    int_of((|| {
        if len == 0 {
            return Err(Errno::EINVAL.into());
        }
        d_path(call, path, buf, len)
    })())
}

/// Writes a file's path and a NUL; answers how many bytes that are.
pub(crate) fn d_path(call: &mut Call<'_>, path: u64, buf: u64, len: u64) -> HelperResult {
    let file = file_of_path(call, path)?;
    call.check(buf, len, true)?;
    let mut bytes = file.path.clone().into_bytes();
    bytes.push(0);
    if bytes.len() as u64 > len {
        return Err(Errno::ENAMETOOLONG.into());
    }
    call.write(buf, &bytes)?;
    Ok(bytes.len() as u64)
}

fn get_task_exe_file(call: &mut Call<'_>, task: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match task_at(call, task)?.exe {
        0 => Ok(0),
        file => objects::give_acquired(call, ObjectKey::File(file), View::Kernel),
    }
}

fn put_file(call: &mut Call<'_>, file: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, file)?;
    Ok(0)
}
