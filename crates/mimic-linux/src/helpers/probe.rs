//! Reads (and one write) of memory that may not be there.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
Helper::listed(HelperSpec::new(4, "probe_read").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(4, 1).support(SOON)),
Helper::listed(HelperSpec::new(36, "probe_write_user").args(&[arg("dst", ArgType::Anything), arg("src", READ), arg("len", ArgType::Size)]).flags(HelperFlags::GPL_ONLY).since(4, 8).support(Support::Refused("writes into another task's memory: needs the address spaces of the emulated world, which are not there yet"))),
Helper::listed(HelperSpec::new(45, "probe_read_str").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(4, 11).support(SOON)),
Helper::listed(HelperSpec::new(112, "probe_read_user").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(5, 5).support(SOON)),
Helper::listed(HelperSpec::new(113, "probe_read_kernel").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(5, 5).support(SOON)),
Helper::listed(HelperSpec::new(114, "probe_read_user_str").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(5, 5).support(SOON)),
Helper::listed(HelperSpec::new(115, "probe_read_kernel_str").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("unsafe_ptr", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).since(5, 5).support(SOON)),
Helper::listed(HelperSpec::new(148, "copy_from_user").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("user_ptr", ArgType::Anything)]).flags(HelperFlags::MIGHT_SLEEP).since(5, 10).support(SOON)),
Helper::listed(HelperSpec::new(191, "copy_from_user_task").args(&[arg("dst", WRITE), arg("size", ArgType::SizeOrZero), arg("user_ptr", ArgType::Anything), arg("tsk", ArgType::BtfId("task_struct")), arg("flags", ArgType::Anything)]).flags(HelperFlags::GPL_ONLY).flags(HelperFlags::MIGHT_SLEEP).since(5, 18).support(Support::Refused("needs the address spaces of the emulated world's tasks, which are not there yet"))),
];

const SOON: Support = Support::Refused("comes with the next change to this family");
