//! Local storage of cgroups, sockets, inodes and tasks.

use mimic_abi::{ArgType, HelperSpec, RetType, Support, arg, arg_or_null};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(81, "get_local_storage")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .returns(RetType::MapValue)
            .since(4, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(107, "sk_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("sk", ArgType::BtfIdSockCommon),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(108, "sk_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("sk", ArgType::BtfIdSockCommon)])
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(145, "inode_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("inode", ArgType::BtfId("inode")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(146, "inode_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("inode", ArgType::BtfId("inode"))])
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(156, "task_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("task", ArgType::BtfId("task_struct")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(5, 11)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(157, "task_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("task", ArgType::BtfId("task_struct"))])
            .since(5, 11)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(210, "cgrp_storage_get")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg_or_null("cgroup", ArgType::BtfId("cgroup")),
                arg_or_null("value", ArgType::MapValue),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::MapValueOrNull)
            .since(6, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(211, "cgrp_storage_delete")
            .args(&[arg("map", ArgType::ConstMapPtr), arg_or_null("cgroup", ArgType::BtfId("cgroup"))])
            .since(6, 2)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs local storage maps and the objects they belong to, which are not there yet");
