//! Control groups of tasks, packets and sockets, and what cgroup programs return.

use super::sock::packet_socket;
use crate::Linux;
use crate::maps::{CgroupArray, LinuxMap};
use crate::objects::socket_at;
use crate::progs::cgroup;
use mimic_abi::{ArgType, Errno, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(17, "get_cgroup_classid")
            .args(&[arg("skb", ArgType::Ctx)])
            .since(4, 3)
            .support(CLASSID),
        get_cgroup_classid,
    ),
    Helper::new(
        HelperSpec::new(33, "skb_under_cgroup")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("index", ArgType::Anything),
            ])
            .since(4, 8),
        skb_under_cgroup,
    ),
    Helper::new(
        HelperSpec::new(37, "current_task_under_cgroup")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("index", ArgType::Anything)])
            .since(4, 9),
        current_task_under_cgroup,
    ),
    Helper::new(
        HelperSpec::new(79, "skb_cgroup_id").args(&[arg("skb", ArgType::Ctx)]).since(4, 18),
        skb_cgroup_id,
    ),
    Helper::new(HelperSpec::new(80, "get_current_cgroup_id").since(4, 18), get_current_cgroup_id),
    Helper::new(
        HelperSpec::new(83, "skb_ancestor_cgroup_id")
            .args(&[arg("skb", ArgType::Ctx), arg("ancestor_level", ArgType::Anything)])
            .since(4, 19),
        skb_ancestor_cgroup_id,
    ),
    Helper::new(
        HelperSpec::new(123, "get_current_ancestor_cgroup_id")
            .args(&[arg("ancestor_level", ArgType::Anything)])
            .since(5, 7),
        get_current_ancestor_cgroup_id,
    ),
    Helper::new(
        HelperSpec::new(128, "sk_cgroup_id").args(&[arg("sk", ArgType::BtfIdSockCommon)]).since(5, 8),
        sk_cgroup_id,
    ),
    Helper::new(
        HelperSpec::new(129, "sk_ancestor_cgroup_id")
            .args(&[arg("sk", ArgType::BtfIdSockCommon), arg("ancestor_level", ArgType::Anything)])
            .since(5, 8),
        sk_ancestor_cgroup_id,
    ),
    Helper::new(
        HelperSpec::new(151, "skb_cgroup_classid").args(&[arg("skb", ArgType::Ctx)]).since(5, 10),
        skb_cgroup_classid,
    ),
    Helper::new(HelperSpec::new(186, "get_retval").since(5, 18), get_retval),
    Helper::new(
        HelperSpec::new(187, "set_retval").args(&[arg("retval", ArgType::Anything)]).since(5, 18),
        set_retval,
    ),
];

const CLASSID: Support = Support::Partial(
    "the current task's, also where the kernel asks the packet's socket: in softirq context",
);

/// What `bpf_set_retval` set, for the length of a run on a context that is none of a control group's.
#[derive(Clone, Copy, Debug, Default)]
struct Retval(i32);

fn get_current_cgroup_id(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).task(call.cpu()).cgroup)
}

/// The id of the ancestor at a level: 0 is the root's. 0 if the task is not that deep.
fn get_current_ancestor_cgroup_id(
    call: &mut Call<'_>,
    level: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    let linux = Linux::of(call);
    let cgroup = linux.task(call.cpu()).cgroup;
    Ok(linux.tables.ancestor(cgroup, level))
}

fn get_retval(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match cgroup::of_context(call.any_context()) {
        Some(context) => Ok(context.retval() as u64),
        None => Ok(call.run_state::<Retval>().0 as u64),
    }
}

fn set_retval(call: &mut Call<'_>, retval: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    match cgroup::of_context(call.any_context()) {
        Some(context) => context.set_retval(retval as i32),
        None => call.run_state::<Retval>().0 = retval as i32,
    }
    Ok(0)
}

/// The class of the task that is running when the packet is seen, which is the sender's on the way out.
fn get_cgroup_classid(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let linux = Linux::of(call);
    let cgroup = linux.cgroups().get(linux.task(call.cpu()).cgroup);
    Ok(cgroup.map_or(0, |cgroup| cgroup.classid).into())
}

fn skb_cgroup_id(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = packet_socket(call, ctx)?.filter(|socket| socket.is_full());
    Ok(socket.map_or(0, |socket| socket.cgroup))
}

fn skb_ancestor_cgroup_id(call: &mut Call<'_>, ctx: u64, level: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = packet_socket(call, ctx)?.filter(|socket| socket.is_full());
    Ok(socket.map_or(0, |socket| Linux::of(call).tables.ancestor(socket.cgroup, level)))
}

fn sk_cgroup_id(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = socket_at(call, sk)?;
    Ok(if socket.is_full() { socket.cgroup } else { 0 })
}

fn sk_ancestor_cgroup_id(call: &mut Call<'_>, sk: u64, level: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = socket_at(call, sk)?;
    Ok(if socket.is_full() { Linux::of(call).tables.ancestor(socket.cgroup, level) } else { 0 })
}

fn skb_cgroup_classid(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = packet_socket(call, ctx)?.filter(|socket| socket.is_full());
    let cgroup = socket.and_then(|socket| Linux::of(call).cgroups().get(socket.cgroup));
    Ok(cgroup.map_or(0, |cgroup| cgroup.classid).into())
}

/// Whether the packet's socket is in the cgroup at the index, or below it.
fn skb_under_cgroup(call: &mut Call<'_>, ctx: u64, map: u64, index: u64, _: u64, _: u64) -> HelperResult {
    let socket = packet_socket(call, ctx)?.filter(|socket| socket.is_full()).ok_or(Errno::ENOENT)?;
    under(call, socket.cgroup, map, index)
}

fn current_task_under_cgroup(
    call: &mut Call<'_>,
    map: u64,
    index: u64,
    _: u64,
    _: u64,
    _: u64,
) -> HelperResult {
    let cgroup = Linux::of(call).task(call.cpu()).cgroup;
    under(call, cgroup, map, index)
}

fn under(call: &Call<'_>, cgroup: u64, map: u64, index: u64) -> HelperResult {
    let ancestor = call.map_as::<LinuxMap<CgroupArray>>(map)?.ops().cgroup(index as u32)?;
    Ok(Linux::of(call).tables.ancestry(cgroup).contains(&ancestor).into())
}
