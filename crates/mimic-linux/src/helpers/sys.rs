//! System calls by syscall programs, and kernel symbols.

use super::row::READ;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(153, "per_cpu_ptr")
            .args(&[arg("percpu_ptr", ArgType::PercpuBtfId), arg("cpu", ArgType::Anything)])
            .returns(RetType::MemOrBtfIdOrNull)
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(154, "this_cpu_ptr")
            .args(&[arg("percpu_ptr", ArgType::PercpuBtfId)])
            .returns(RetType::MemOrBtfId)
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(166, "sys_bpf")
            .args(&[arg("cmd", ArgType::Anything), arg("attr", READ), arg("attr_size", ArgType::Size)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(Support::Refused("needs the emulated bpf(2) system call, which is not there yet")),
    ),
    Helper::listed(
        HelperSpec::new(167, "btf_find_by_name_kind")
            .args(&[
                arg("name", READ),
                arg("name_sz", ArgType::Size),
                arg("kind", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(Support::Refused("comes with the next change to this family")),
    ),
    Helper::listed(
        HelperSpec::new(168, "sys_close")
            .args(&[arg("fd", ArgType::Anything)])
            .flags(HelperFlags::MIGHT_SLEEP)
            .since(5, 14)
            .support(Support::Refused(
                "needs the file descriptors of the emulated bpf(2) system call, which is not there yet",
            )),
    ),
    Helper::listed(
        HelperSpec::new(179, "kallsyms_lookup_name")
            .args(&[
                arg("name", READ),
                arg("name_sz", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
                arg("res", ArgType::Mem(MemAccess::Write, MemLen::Fixed(8))),
            ])
            .since(5, 16)
            .support(Support::Refused(
                "needs the target kernel's symbols, which the emulated world does not have yet",
            )),
    ),
];

const NOTE: Support = Support::Refused(
    "needs the per-CPU variables of the target kernel, which the emulated world does not have yet",
);
