//! Sending packets elsewhere. It is recorded in the context, not done: the world has devices, but no wires.

use super::row::READ;
use super::skb::{change, skb};
use super::xdp::xdp;
use crate::Linux;
use crate::maps::redirect_map as targets_of;
use crate::net::{ClonedPacket, NextHop, Redirect, RedirectTo, wrong_context};
use crate::progs::{SkbContext, XdpContext};
use crate::world::Device;
use mimic_abi::{
    ArgType, Errno, HelperFlags, HelperSpec, MapType, MemAccess, MemLen, Size, Support, arg, arg_or_null,
};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(13, "clone_redirect")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("ifindex", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 2)
            .support(ONLY_RECORDED),
        clone_redirect,
    ),
    Helper::new(
        HelperSpec::new(23, "redirect")
            .args(&[arg("ifindex", ArgType::Anything), arg("flags", ArgType::Anything)])
            .since(4, 4)
            .support(RECORDED),
        redirect,
    ),
    Helper::new(
        HelperSpec::new(51, "redirect_map")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 14)
            .support(ONLY_RECORDED),
        redirect_map,
    ),
    Helper::new(
        HelperSpec::new(152, "redirect_neigh")
            .args(&[
                arg("ifindex", ArgType::Anything),
                arg_or_null("params", READ),
                arg("plen", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 10)
            .support(RECORDED),
        redirect_neigh,
    ),
    Helper::new(
        HelperSpec::new(155, "redirect_peer")
            .args(&[arg("ifindex", ArgType::Anything), arg("flags", ArgType::Anything)])
            .since(5, 10)
            .support(RECORDED),
        redirect_peer,
    ),
    Helper::new(
        HelperSpec::new(163, "check_mtu")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("ifindex", ArgType::Anything),
                arg("mtu_len", ArgType::Mem(MemAccess::ReadWrite, MemLen::Fixed(4))),
                arg("len_diff", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 12),
        check_mtu,
    ),
];

const ONLY_RECORDED: Support = Support::Partial("recorded in the outcome: packets go nowhere");
const RECORDED: Support = Support::Partial(
    "recorded in the outcome: packets go nowhere (Linux::deliver says by which device they would leave)",
);

/// `BPF_F_INGRESS`: into the device's receive path instead of out of it.
const INGRESS: u64 = 1;
/// `BPF_F_BROADCAST` of `bpf_redirect_map`.
const BROADCAST: u64 = 1 << 3;
/// `BPF_F_EXCLUDE_INGRESS` of `bpf_redirect_map`.
const EXCLUDE_INGRESS: u64 = 1 << 4;
/// The low bits of `bpf_redirect_map`'s flags: what to answer when the entry is empty.
const XDP_ACTIONS: u64 = 3;
/// `BPF_MTU_CHK_SEGS`.
const MTU_CHK_SEGS: u64 = 1;

const XDP_ABORTED: u64 = 0;
const XDP_REDIRECT: u64 = 4;
const TC_ACT_SHOT: u64 = 2;
const TC_ACT_REDIRECT: u64 = 7;
const NET_RX_DROP: u64 = 1;
/// What the queue of a device that is down answers.
const NET_XMIT_CN: u64 = 2;
const MTU_CHK_RET_FRAG_NEEDED: u64 = 1;
const MTU_CHK_RET_SEGS_TOOBIG: u64 = 2;
/// Bytes of `struct bpf_redir_neigh`.
const REDIR_NEIGH_LEN: u32 = 20;

/// Where the run's context keeps what the redirect helpers leave behind.
fn record<'c>(call: &'c mut Call<'_>) -> Result<&'c mut Option<Redirect>, Trap> {
    if call.context::<XdpContext>().is_some() {
        return Ok(&mut call.context::<XdpContext>().ok_or(Trap::Errno(Errno::EINVAL))?.redirect);
    }
    if call.context::<SkbContext>().is_none() {
        return Err(wrong_context(call, "packet"));
    }
    Ok(&mut call.context::<SkbContext>().ok_or(Trap::Errno(Errno::EINVAL))?.redirect)
}

fn redirect(call: &mut Call<'_>, ifindex: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let to = RedirectTo::Device { ifindex: ifindex as u32 };
    if call.context::<XdpContext>().is_some() {
        if flags != 0 {
            return Ok(XDP_ABORTED);
        }
        *record(call)? = Some(Redirect { to, flags });
        return Ok(XDP_REDIRECT);
    }
    let record = record(call)?;
    if flags & !INGRESS != 0 {
        return Ok(TC_ACT_SHOT);
    }
    *record = Some(Redirect { to, flags });
    Ok(TC_ACT_REDIRECT)
}

fn redirect_peer(call: &mut Call<'_>, ifindex: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let record = record(call)?;
    if flags != 0 {
        return Ok(TC_ACT_SHOT);
    }
    *record = Some(Redirect { to: RedirectTo::Peer { ifindex: ifindex as u32 }, flags });
    Ok(TC_ACT_REDIRECT)
}

fn redirect_neigh(
    call: &mut Call<'_>,
    ifindex: u64,
    params: u64,
    len: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    let len = len as u32;
    if len > 0 {
        call.check(params, len.into(), false)?;
    }
    if (len != 0 && len < REDIR_NEIGH_LEN) || flags != 0 {
        return Ok(TC_ACT_SHOT);
    }
    let next_hop = match len {
        0 => None,
        _ => {
            let mut addr = [0; 16];
            call.read(params.wrapping_add(4), &mut addr)?;
            Some(NextHop { family: call.load(params, Size::W)? as u32, addr })
        }
    };
    *record(call)? = Some(Redirect { to: RedirectTo::Neigh { ifindex: ifindex as u32, next_hop }, flags });
    Ok(TC_ACT_REDIRECT)
}

fn redirect_map(call: &mut Call<'_>, map: u64, key: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let map = call.map(map)?;
    let Some(targets) = targets_of(&*map.map) else {
        return Err(call.bad_argument(format!("map {} holds nothing to redirect to", map.spec().name)));
    };
    let record = record(call)?;
    let broadcasts = matches!(targets.kind(), MapType::Devmap | MapType::DevmapHash);
    let known = XDP_ACTIONS | if broadcasts { BROADCAST | EXCLUDE_INGRESS } else { 0 };
    if flags & !known != 0 {
        return Ok(XDP_ABORTED);
    }
    let broadcast = flags & BROADCAST != 0;
    let target = targets.target(key as u32);
    if target.is_none() && !broadcast {
        *record = None;
        return Ok(flags & XDP_ACTIONS);
    }
    let value = target.filter(|_| !broadcast).map(|target| target.value);
    let flags = if broadcast { flags } else { 0 };
    *record = Some(Redirect { to: RedirectTo::Map { map_id: map.id, key, value }, flags });
    Ok(XDP_REDIRECT)
}

fn clone_redirect(call: &mut Call<'_>, ctx: u64, ifindex: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let (linux, ifindex) = (Linux::of(call), ifindex as u32);
    let skb_now = skb(call, ctx)?;
    if flags & !INGRESS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if skb_now.is_gso() && skb_now.gso_type == 0 {
        return Err(Errno::EBADMSG.into());
    }
    let device = linux.world().net.devices.by_index(ifindex).ok_or(Errno::EINVAL)?;
    let mut packet = Vec::new();
    skb_now.copy_out(&mut packet);
    change(call, ctx, |skb| {
        let len = skb.head_len;
        skb.make_writable(len).map(|()| 0)
    })?;
    if !device.up {
        return Ok(if flags & INGRESS != 0 { NET_RX_DROP } else { NET_XMIT_CN });
    }
    if let Some(context) = call.context::<SkbContext>() {
        if context.clones.len() >= SkbContext::CLONES_MAX {
            let most = SkbContext::CLONES_MAX;
            return Err(call.unsupported(format!("one run keeps {most} clones at most")));
        }
        context.clones.push(ClonedPacket { ifindex, flags, packet });
    }
    Ok(0)
}

fn check_mtu(
    call: &mut Call<'_>,
    ctx: u64,
    ifindex: u64,
    mtu_len: u64,
    diff: u64,
    flags: u64,
) -> HelperResult {
    let (ifindex, diff) = (ifindex as u32, diff as i32);
    let asked = call.load(mtu_len, Size::W)? as u32;
    call.check(mtu_len, 4, true)?;
    let is_xdp = call.context::<XdpContext>().is_some();
    let (packet_len, own, gso) = match is_xdp {
        true => {
            let len = xdp(call, ctx)?.linear_len();
            (len, call.context::<XdpContext>().map_or(0, |context| context.ingress_ifindex), false)
        }
        false => {
            let skb = skb(call, ctx)?;
            (skb.len, skb.md.load(40, Size::W) as u32, skb.is_gso())
        }
    };
    let segs = flags & MTU_CHK_SEGS != 0;
    if flags & !(if is_xdp { 0 } else { MTU_CHK_SEGS }) != 0 || (segs && (diff != 0 || asked != 0)) {
        return Err(Errno::EINVAL.into());
    }
    let device = Linux::of(call).world().net.devices.by_index(if ifindex == 0 { own } else { ifindex });
    let Device { mtu, hard_header_len, .. } = *device.ok_or(Errno::ENODEV)?;
    let len = match asked {
        0 => packet_len as i32,
        asked => asked.wrapping_add(hard_header_len) as i32,
    };
    let fits = len.wrapping_add(diff) <= mtu.wrapping_add(hard_header_len) as i32;
    let mut answer = if fits || gso { 0 } else { MTU_CHK_RET_FRAG_NEEDED };
    if !fits && gso && segs {
        let segment_len = skb(call, ctx)?.segment_len().ok_or(Errno::EINVAL)?;
        answer = if segment_len > mtu { MTU_CHK_RET_SEGS_TOOBIG } else { 0 };
    }
    call.store(mtu_len, Size::W, mtu.into())?;
    Ok(answer)
}
