//! What security module programs ask.

use super::row::WRITE;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(159, "bprm_opts_set")
            .args(&[arg("bprm", ArgType::BtfId("linux_binprm")), arg("flags", ArgType::Anything)])
            .since(5, 11)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(161, "ima_inode_hash")
            .args(&[arg("inode", ArgType::BtfId("inode")), arg("dst", WRITE), arg("size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 11)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(193, "ima_file_hash")
            .args(&[arg("file", ArgType::BtfId("file")), arg("dst", WRITE), arg("size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 18)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs LSM programs and the files of the emulated world, which are not there yet");
