//! Rows of helpers whose families are not in their own files yet: listed only where no family has the number.

use super::row::{READ, READ_WRITE, WRITE};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(1, "map_lookup_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("key", ArgType::MapKey)])
            .returns(RetType::MapValueOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(2, "map_update_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(3, "map_delete_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("key", ArgType::MapKey)])
            .flags(HelperFlags::PKT_ACCESS)
            .since(3, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(9, "skb_store_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", READ),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(10, "l3_csum_replace")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", ArgType::Anything),
                arg("to", ArgType::Anything),
                arg("size", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(11, "l4_csum_replace")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", ArgType::Anything),
                arg("to", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(12, "tail_call")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("prog_array_map", ArgType::ConstMapPtr),
                arg("index", ArgType::Anything),
            ])
            .returns(RetType::Void)
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(13, "clone_redirect")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("ifindex", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(18, "skb_vlan_push")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("vlan_proto", ArgType::Anything),
                arg("vlan_tci", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(19, "skb_vlan_pop")
            .args(&[arg("skb", ArgType::Ctx)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(22, "perf_event_read")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(23, "redirect")
            .args(&[arg("ifindex", ArgType::Anything), arg("flags", ArgType::Anything)])
            .since(4, 4)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(24, "get_route_realm").args(&[arg("skb", ArgType::Ctx)]).since(4, 4).support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(25, "perf_event_output")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 4)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(26, "skb_load_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("to", WRITE),
                arg("len", ArgType::Size),
            ])
            .since(4, 5)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(28, "csum_diff")
            .args(&[
                arg_or_null("from", READ),
                arg("from_size", ArgType::SizeOrZero),
                arg_or_null("to", READ),
                arg("to_size", ArgType::SizeOrZero),
                arg("seed", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 6)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(31, "skb_change_proto")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("proto", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(32, "skb_change_type")
            .args(&[arg("skb", ArgType::Ctx), arg("type", ArgType::Anything)])
            .since(4, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(34, "get_hash_recalc").args(&[arg("skb", ArgType::Ctx)]).since(4, 8).support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(38, "skb_change_tail")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(39, "skb_pull_data")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(40, "csum_update")
            .args(&[arg("skb", ArgType::Ctx), arg("csum", ArgType::Anything)])
            .since(4, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(41, "set_hash_invalid").args(&[arg("skb", ArgType::Ctx)]).since(4, 9).support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(43, "skb_change_head")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(44, "xdp_adjust_head")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(48, "set_hash")
            .args(&[arg("skb", ArgType::Ctx), arg("hash", ArgType::Anything)])
            .since(4, 13)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(50, "skb_adjust_room")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("len_diff", ArgType::Anything),
                arg("mode", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 13)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(51, "redirect_map")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 14)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(54, "xdp_adjust_meta")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 15)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(55, "perf_event_read_value")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("buf", WRITE),
                arg("buf_size", ArgType::Size),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 15)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(65, "xdp_adjust_tail")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(66, "skb_get_xfrm_state")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("index", ArgType::Anything),
                arg("xfrm_state", WRITE),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(68, "skb_load_bytes_relative")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("to", WRITE),
                arg("len", ArgType::Size),
                arg("start_header", ArgType::Anything),
            ])
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(69, "fib_lookup")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("params", READ_WRITE),
                arg("plen", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(87, "map_push_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 20)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(88, "map_pop_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("value", ArgType::UninitMapValue)])
            .since(4, 20)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(89, "map_peek_elem")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("value", ArgType::UninitMapValue)])
            .since(4, 20)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(97, "skb_ecn_set_ce").args(&[arg("skb", ArgType::Ctx)]).since(5, 1).support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(111, "skb_output")
            .args(&[
                arg("ctx", ArgType::BtfId("sk_buff")),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(121, "xdp_output")
            .args(&[
                arg("ctx", ArgType::BtfId("xdp_buff")),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 7)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(130, "ringbuf_output")
            .args(&[
                arg("ringbuf", ArgType::ConstMapPtr),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(131, "ringbuf_reserve")
            .args(&[
                arg("ringbuf", ArgType::ConstMapPtr),
                arg("size", ArgType::AllocSize),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::RingbufMemOrNull)
            .flags(HelperFlags::ACQUIRES)
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(132, "ringbuf_submit")
            .args(&[arg("data", ArgType::RingbufMem), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(133, "ringbuf_discard")
            .args(&[arg("data", ArgType::RingbufMem), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(134, "ringbuf_query")
            .args(&[arg("ringbuf", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(135, "csum_level")
            .args(&[arg("skb", ArgType::Ctx), arg("level", ArgType::Anything)])
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(152, "redirect_neigh")
            .args(&[
                arg("ifindex", ArgType::Anything),
                arg_or_null("params", READ),
                arg("plen", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(155, "redirect_peer")
            .args(&[arg("ifindex", ArgType::Anything), arg("flags", ArgType::Anything)])
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(163, "check_mtu")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("ifindex", ArgType::Anything),
                arg("mtu_len", ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(4))),
                arg("len_diff", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 12)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(164, "for_each_map_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("callback_fn", ArgType::Func),
                arg_or_null("callback_ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(5, 13)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(188, "xdp_get_buff_len")
            .args(&[arg("xdp_md", ArgType::Ctx)])
            .since(5, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(189, "xdp_load_bytes")
            .args(&[
                arg("xdp_md", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("buf", WRITE),
                arg("len", ArgType::Size),
            ])
            .since(5, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(190, "xdp_store_bytes")
            .args(&[
                arg("xdp_md", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("buf", READ),
                arg("len", ArgType::Size),
            ])
            .since(5, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(192, "skb_set_tstamp")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("tstamp", ArgType::Anything),
                arg("tstamp_type", ArgType::Anything),
            ])
            .since(5, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(195, "map_lookup_percpu_elem")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("cpu", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .since(5, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(209, "user_ringbuf_drain")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("callback_fn", ArgType::Func),
                arg_or_null("ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(6, 1)
            .support(NOTE),
    ),
];

const NOTE: Support = Support::Refused("is being written");
