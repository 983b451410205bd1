//! Tunnel metadata of packets.

use super::row::{READ, WRITE};
use mimic_abi::{ArgType, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(20, "skb_get_tunnel_key")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("key", WRITE),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(21, "skb_set_tunnel_key")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("key", READ),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(29, "skb_get_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", WRITE), arg("size", ArgType::Size)])
            .since(4, 6)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(30, "skb_set_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", READ), arg("size", ArgType::Size)])
            .since(4, 6)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs tunnel metadata on packets, which the emulated world does not have yet");
