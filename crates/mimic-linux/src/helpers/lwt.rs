//! Lightweight tunnels and IPv6 segment routing.

use super::row::READ;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(73, "lwt_push_encap")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("type", ArgType::Anything),
                arg("hdr", READ),
                arg("len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(74, "lwt_seg6_store_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", READ),
                arg("len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(75, "lwt_seg6_adjust_srh")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("delta", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(76, "lwt_seg6_action")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("action", ArgType::Anything),
                arg("param", READ),
                arg("param_len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs the routes and segment routing of the emulated world, which are not there yet");
