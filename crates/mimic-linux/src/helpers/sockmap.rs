//! Sock maps and the messages that they redirect.

use mimic_abi::{ArgType, HelperFlags, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(52, "sk_redirect_map")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 14)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(53, "sock_map_update")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 14)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(60, "msg_redirect_map")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 17)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(61, "msg_apply_bytes")
            .args(&[arg("msg", ArgType::Ctx), arg("bytes", ArgType::Anything)])
            .since(4, 17)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(62, "msg_cork_bytes")
            .args(&[arg("msg", ArgType::Ctx), arg("bytes", ArgType::Anything)])
            .since(4, 17)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(63, "msg_pull_data")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("start", ArgType::Anything),
                arg("end", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 17)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(70, "sock_hash_update")
            .args(&[
                arg("skops", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(71, "msg_redirect_hash")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(72, "sk_redirect_hash")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(90, "msg_push_data")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("start", ArgType::Anything),
                arg("len", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 20)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(91, "msg_pop_data")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("start", ArgType::Anything),
                arg("len", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(5, 0)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs sock maps and the sockets of the emulated world, which are not there yet");
