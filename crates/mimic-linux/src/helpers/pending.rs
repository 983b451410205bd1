//! Rows of helpers whose families are not in their own files yet: listed only where no family has the number.

use super::row::{READ, READ_WRITE, WRITE};
use mimic_abi::{ArgType, HelperFlags, HelperSpec, RetType, Support, arg, arg_or_null};
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
        HelperSpec::new(22, "perf_event_read")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 3)
            .support(NOTE),
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
