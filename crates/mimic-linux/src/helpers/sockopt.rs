//! Socket options, binding and TCP header options.

use super::row::{READ, READ_WRITE, WRITE};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(49, "setsockopt")
            .args(&[
                arg("bpf_socket", ArgType::Ctx),
                arg("level", ArgType::Anything),
                arg("optname", ArgType::Anything),
                arg("optval", READ),
                arg("optlen", ArgType::Size),
            ])
            .since(4, 13)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(57, "getsockopt")
            .args(&[
                arg("bpf_socket", ArgType::Ctx),
                arg("level", ArgType::Anything),
                arg("optname", ArgType::Anything),
                arg("optval", WRITE),
                arg("optlen", ArgType::Size),
            ])
            .since(4, 15)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(59, "sock_ops_cb_flags_set")
            .args(&[arg("bpf_sock", ArgType::Ctx), arg("argval", ArgType::Anything)])
            .since(4, 16)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(64, "bind")
            .args(&[arg("ctx", ArgType::Ctx), arg("addr", READ), arg("addr_len", ArgType::Size)])
            .since(4, 17)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(142, "load_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("searchby_res", READ_WRITE),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(143, "store_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("from", READ),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(5, 10)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(144, "reserve_hdr_opt")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("len", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(NOTE_2),
    ),
];

const NOTE: Support =
    Support::Refused("needs the socket options of the emulated world, which are not there yet");
const NOTE_2: Support =
    Support::Refused("needs sock_ops programs and their contexts, which are not there yet");
