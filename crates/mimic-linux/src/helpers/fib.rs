//! Routes: where a packet would go. Mirrors `struct bpf_fib_lookup` of linux/bpf.h.

use super::row::READ_WRITE;
use crate::Linux;
use crate::net::route::{self, Flow, Miss};
use crate::progs::{SkbContext, XdpContext};
use crate::world::{Device, RT_TABLE_MAIN, Route, RouteKind};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::net::IpAddr;

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(69, "fib_lookup")
        .args(&[
            arg("ctx", ArgType::Ctx),
            arg("params", READ_WRITE),
            arg("plen", ArgType::Size),
            arg("flags", ArgType::Anything),
        ])
        .flags(HelperFlags::GPL_ONLY)
        .since(4, 18)
        .support(Support::Partial("routes of the world have one way each: there is no multipath")),
    fib_lookup,
)];

/// Bytes of `struct bpf_fib_lookup`.
const PARAMS_LEN: i32 = 64;
/// Where it has its members.
const L4_PROTOCOL: u64 = 1;
const SPORT: u64 = 2;
const DPORT: u64 = 4;
const TOT_LEN: u64 = 6;
const IFINDEX: u64 = 8;
const TOS: u64 = 12;
const SRC: u64 = 16;
const DST: u64 = 32;
const TBID: u64 = 48;
const MARK: u64 = 52;
const SMAC: u64 = 52;
const DMAC: u64 = 58;

/// Flags: `BPF_FIB_LOOKUP_*`.
const F_DIRECT: u32 = 1;
const F_OUTPUT: u32 = 1 << 1;
const F_SKIP_NEIGH: u32 = 1 << 2;
const F_TBID: u32 = 1 << 3;
const F_SRC: u32 = 1 << 4;
const F_MARK: u32 = 1 << 5;
const FLAGS: u32 = 0x3f;

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
/// `lo`.
const LOOPBACK_IFINDEX: u32 = 1;
/// Bytes of a VLAN's tag, which devices take beyond their longest packet.
const VLAN_HLEN: u32 = 4;
/// The bits of the type of service that routes go by: `INET_DSCP_MASK`.
const DSCP_MASK: u8 = 0xfc;

/// Answers: `BPF_FIB_LKUP_RET_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Success = 0,
    Blackhole = 1,
    Unreachable = 2,
    Prohibit = 3,
    NotForwarded = 4,
    ForwardingDisabled = 5,
    UnsupportedLwt = 6,
    NoNeighbour = 7,
    FragmentationNeeded = 8,
    NoSourceAddress = 9,
}

fn fib_lookup(call: &mut Call<'_>, _ctx: u64, params: u64, plen: u64, flags: u64, _: u64) -> HelperResult {
    call.check(params, plen, true)?;
    let flags = flags as u32;
    if (plen as i32) < PARAMS_LEN || flags & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let family = call.load(params, Size::B)?;
    if !matches!(family, AF_INET | AF_INET6) {
        return Err(Errno::EAFNOSUPPORT.into());
    }
    let is_xdp = call.context::<XdpContext>().is_some();
    // Without a length it is the packet's own that must fit.
    let own_len = !is_xdp && call.load(params + TOT_LEN, Size::H)? == 0;
    let mut answer = look_up(call, params, flags, family == AF_INET, own_len)?;
    if answer == Answer::Success && own_len {
        answer = check_own_len(call, params)?;
    }
    Ok(answer as u64)
}

fn look_up(call: &Call<'_>, params: u64, flags: u32, is_v4: bool, own_len: bool) -> Result<Answer, Trap> {
    let linux = Linux::of(call);
    let net = &linux.world().net;
    let ifindex = call.load(params + IFINDEX, Size::W)? as u32;
    let (src, dst) = (address(call, params + SRC, is_v4)?, address(call, params + DST, is_v4)?);
    if stays_on_link(src) || stays_on_link(dst) {
        return Ok(Answer::NotForwarded);
    }
    let device = net.devices.by_index(ifindex).ok_or(Errno::ENODEV)?;
    if !device.forwarding {
        return Ok(Answer::ForwardingDisabled);
    }
    let flow = flow(call, params, flags, (src, dst), ifindex)?;
    let found = if flags & F_DIRECT != 0 {
        let table = match flags & F_TBID {
            0 => route::vrf_table(net, ifindex).unwrap_or(RT_TABLE_MAIN),
            _ => call.load(params + TBID, Size::W)? as u32,
        };
        if flags & F_TBID != 0 {
            call.store(params + TBID, Size::W, 0)?;
        }
        route::lookup_in(net, &flow, table)
    } else {
        route::lookup(net, &flow)
    };
    let route = match found {
        Ok(route) if route.kind == RouteKind::Unicast => route,
        Ok(_) | Err(Miss::None) => return Ok(Answer::NotForwarded),
        Err(Miss::Blackhole) => return Ok(Answer::Blackhole),
        Err(Miss::Unreachable) => return Ok(Answer::Unreachable),
        Err(Miss::Prohibit) => return Ok(Answer::Prohibit),
    };
    let Some(device) = net.devices.by_index(route.ifindex) else { return Ok(Answer::NotForwarded) };
    let mtu = if own_len { 0 } else { route::forward_mtu(linux, &route, device) };
    if !own_len && call.load(params + TOT_LEN, Size::H)? as u32 > mtu {
        call.store(params + TOT_LEN, Size::H, mtu.into())?;
        return Ok(Answer::FragmentationNeeded);
    }
    if route.encap {
        return Ok(Answer::UnsupportedLwt);
    }
    answer_route(call, params, flags, (&route, device), dst, mtu)
}

/// Writes what the route says.
fn answer_route(
    call: &Call<'_>,
    params: u64,
    flags: u32,
    (route, device): (&Route, &Device),
    dst: IpAddr,
    mtu: u32,
) -> Result<Answer, Trap> {
    let net = &Linux::of(call).world().net;
    call.store(params + TOS, Size::W, route.metric.into())?;
    call.store(params + IFINDEX, Size::W, device.ifindex.into())?;
    let next_hop = route.via.unwrap_or(dst);
    let write_next_hop = || match next_hop {
        _ if route.via.is_none() => Ok(()),
        IpAddr::V4(via) => call.write(params + DST, &via.octets()),
        IpAddr::V6(via) => {
            call.store(params, Size::B, AF_INET6)?;
            call.write(params + DST, &via.octets())
        }
    };
    let write_source = || match route::source(net, route, dst) {
        _ if flags & F_SRC == 0 => Ok(true),
        Some(IpAddr::V4(src)) => call.write(params + SRC, &src.octets()).map(|()| true),
        Some(IpAddr::V6(src)) => call.write(params + SRC, &src.octets()).map(|()| true),
        None if dst.is_ipv4() => call.write(params + SRC, &[0; 4]).map(|()| true),
        None => Ok(false),
    };
    // IPv6 knows the next hop before it looks for an address.
    if dst.is_ipv6() {
        write_next_hop()?;
    }
    if !write_source()? {
        return Ok(Answer::NoSourceAddress);
    }
    write_next_hop()?;
    if flags & F_SKIP_NEIGH == 0 {
        let Some(neighbour) = route::neighbour(net, device.ifindex, next_hop) else {
            return Ok(Answer::NoNeighbour);
        };
        call.write(params + DMAC, &neighbour.lladdr)?;
        call.write(params + SMAC, &device.addr)?;
    }
    call.store(params + TBID, Size::W, 0)?;
    if mtu != 0 {
        call.store(params + TOT_LEN, Size::H, mtu.into())?;
    }
    Ok(Answer::Success)
}

fn flow(
    call: &Call<'_>,
    params: u64,
    flags: u32,
    (src, dst): (IpAddr, IpAddr),
    ifindex: u32,
) -> Result<Flow, Trap> {
    let port = |off| call.read_array(params + off).map(u16::from_be_bytes);
    let (iif, oif) = if flags & F_OUTPUT != 0 { (LOOPBACK_IFINDEX, ifindex) } else { (ifindex, 0) };
    let by_rules = flags & F_DIRECT == 0;
    Ok(Flow {
        src,
        dst,
        iif,
        oif,
        mark: if by_rules && flags & F_MARK != 0 { call.load(params + MARK, Size::W)? as u32 } else { 0 },
        tos: call.load(params + TOS, Size::B)? as u8 & DSCP_MASK,
        protocol: call.load(params + L4_PROTOCOL, Size::B)? as u8,
        sport: port(SPORT)?,
        dport: port(DPORT)?,
    })
}

/// Whether the packet that the program has fits the device that was found.
fn check_own_len(call: &mut Call<'_>, params: u64) -> Result<Answer, Trap> {
    let ifindex = call.load(params + IFINDEX, Size::W)? as u32;
    let device = Linux::of(call).world().net.devices.by_index(ifindex).ok_or(Errno::ENODEV)?;
    let longest = device.mtu.saturating_add(device.hard_header_len).saturating_add(VLAN_HLEN);
    let skb = call.context::<SkbContext>().and_then(SkbContext::buff_mut);
    let fits = device.up && skb.is_none_or(|skb| skb.len <= longest || skb.is_gso());
    call.store(params + TOT_LEN, Size::H, device.mtu.into())?;
    Ok(if fits { Answer::Success } else { Answer::FragmentationNeeded })
}

fn address(call: &Call<'_>, at: u64, is_v4: bool) -> Result<IpAddr, Trap> {
    match is_v4 {
        true => call.read_array::<4>(at).map(IpAddr::from),
        false => call.read_array::<16>(at).map(IpAddr::from),
    }
}

/// IPv6 addresses that no router passes on: loopback, link-local, multicast.
fn stays_on_link(addr: IpAddr) -> bool {
    let IpAddr::V6(addr) = addr else { return false };
    addr.is_loopback() || addr.is_multicast() || addr.is_unicast_link_local()
}
