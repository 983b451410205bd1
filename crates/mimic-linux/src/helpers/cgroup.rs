//! Control groups of tasks, packets and sockets, and what cgroup programs return.

use mimic_abi::{ArgType, HelperSpec, Support, arg};
use mimic_vm::Helper;

pub(super) const ROWS: &[Helper] = &[
    Helper::listed(
        HelperSpec::new(17, "get_cgroup_classid").args(&[arg("skb", ArgType::Ctx)]).since(4, 3).support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(33, "skb_under_cgroup")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("index", ArgType::Anything),
            ])
            .since(4, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(37, "current_task_under_cgroup")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("index", ArgType::Anything)])
            .since(4, 9)
            .support(Support::Refused(
                "needs cgroup arrays and the cgroups of the emulated world, which are not there yet",
            )),
    ),
    Helper::listed(
        HelperSpec::new(79, "skb_cgroup_id").args(&[arg("skb", ArgType::Ctx)]).since(4, 18).support(NOTE),
    ),
    Helper::listed(HelperSpec::new(80, "get_current_cgroup_id").since(4, 18).support(SOON)),
    Helper::listed(
        HelperSpec::new(83, "skb_ancestor_cgroup_id")
            .args(&[arg("skb", ArgType::Ctx), arg("ancestor_level", ArgType::Anything)])
            .since(4, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(123, "get_current_ancestor_cgroup_id")
            .args(&[arg("ancestor_level", ArgType::Anything)])
            .since(5, 7)
            .support(SOON),
    ),
    Helper::listed(
        HelperSpec::new(128, "sk_cgroup_id")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(129, "sk_ancestor_cgroup_id")
            .args(&[arg("sk", ArgType::BtfIdSockCommon), arg("ancestor_level", ArgType::Anything)])
            .since(5, 8)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(151, "skb_cgroup_classid")
            .args(&[arg("skb", ArgType::Ctx)])
            .since(5, 10)
            .support(NOTE),
    ),
    Helper::listed(HelperSpec::new(186, "get_retval").since(5, 18).support(SOON)),
    Helper::listed(
        HelperSpec::new(187, "set_retval")
            .args(&[arg("retval", ArgType::Anything)])
            .since(5, 18)
            .support(SOON),
    ),
];

const NOTE: Support =
    Support::Refused("needs the cgroups of sockets in the emulated world, which are not there yet");
const SOON: Support = Support::Refused("comes with the next change to this family");
