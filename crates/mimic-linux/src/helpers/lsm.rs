//! What security module programs ask.

use super::row::WRITE;
use crate::Linux;
use crate::effects::{Effect, note};
use crate::objects::{bprm_at, file_at, inode_at};
use crate::world::Inode;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(159, "bprm_opts_set")
            .args(&[arg("bprm", ArgType::BtfId("linux_binprm")), arg("flags", ArgType::Anything)])
            .since(5, 11),
        bprm_opts_set,
    ),
    Helper::new(
        HelperSpec::new(161, "ima_inode_hash")
            .args(&[arg("inode", ArgType::BtfId("inode")), arg("dst", WRITE), arg("size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 11)
            .support(MEASURED),
        ima_inode_hash,
    ),
    Helper::new(
        HelperSpec::new(193, "ima_file_hash")
            .args(&[arg("file", ArgType::BtfId("file")), arg("dst", WRITE), arg("size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 18)
            .support(MEASURED),
        ima_file_hash,
    ),
];

const MEASURED: Support =
    Support::Partial("what the world states of the inode: nothing is measured when it is asked for");

/// The next program of the task may not trust its environment (`AT_SECURE`): noted as an effect.
fn bprm_opts_set(call: &mut Call<'_>, bprm: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    const BPF_F_BPRM_SECUREEXEC: u64 = 1;
    let pid = bprm_at(call, bprm)?;
    if flags & !BPF_F_BPRM_SECUREEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    note(call, Effect::SecureExec { pid, secure: flags != 0 })?;
    Ok(0)
}

fn ima_inode_hash(call: &mut Call<'_>, inode: u64, to: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let inode = inode_at(call, inode)?;
    digest(call, Some(&inode), to, len)
}

fn ima_file_hash(call: &mut Call<'_>, file: u64, to: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let file = file_at(call, file)?;
    let inode = Linux::of(call).tables.inodes.get(file.ino);
    digest(call, inode.as_deref(), to, len)
}

/// Writes as much of a measurement as there is room for; answers its algorithm.
fn digest(call: &mut Call<'_>, inode: Option<&Inode>, to: u64, len: u64) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(to, len, true)?;
    let (algorithm, digest) = inode.and_then(|inode| inode.ima.as_ref()).ok_or(Errno::EOPNOTSUPP)?;
    call.write(to, &digest[..digest.len().min(len as usize)])?;
    Ok((*algorithm).into())
}
