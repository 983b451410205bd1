//! Finding sockets, holding them, and giving them to packets. Mirrors `struct bpf_sock_tuple` of linux/bpf.h.

use super::row::READ;
use super::skb::skb;
use crate::Linux;
use crate::net::{Wanted, find_socket, listener_of};
use crate::objects::{self, ObjectKey, View, socket_at};
use crate::progs::{SkLookupContext, SkbContext, XdpContext};
use crate::world::Socket;
use crate::world::socket::{IPPROTO_TCP, IPPROTO_UDP, TCP_LISTEN};
use mimic_abi::{Arg, ArgType, AttachType, Errno, HelperFlags, HelperSpec, ProgType, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::net::IpAddr;
use std::sync::Arc;

const LOOKUP: &[Arg] = &[
    arg("ctx", ArgType::Ctx),
    arg("tuple", READ),
    arg("tuple_size", ArgType::SizeOrZero),
    arg("netns", ArgType::Anything),
    arg("flags", ArgType::Anything),
];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(lookup_row(84, "sk_lookup_tcp", RetType::SocketOrNull).since(4, 20), sk_lookup_tcp),
    Helper::new(lookup_row(85, "sk_lookup_udp", RetType::SocketOrNull).since(4, 20), sk_lookup_udp),
    Helper::new(lookup_row(99, "skc_lookup_tcp", RetType::SockCommonOrNull).since(5, 2), skc_lookup_tcp),
    Helper::new(
        HelperSpec::new(86, "sk_release")
            .args(&[arg("sock", ArgType::BtfIdSockCommon)])
            .flags(HelperFlags::RELEASES)
            .since(4, 20),
        sk_release,
    ),
    Helper::new(
        HelperSpec::new(98, "get_listener_sock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::SocketOrNull)
            .since(5, 1),
        get_listener_sock,
    ),
    Helper::new(
        HelperSpec::new(124, "sk_assign")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("sk", ArgType::BtfIdSockCommon),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 7),
        sk_assign,
    ),
];

const fn lookup_row(id: u32, name: &'static str, ret: RetType) -> HelperSpec {
    HelperSpec::new(id, name)
        .args(LOOKUP)
        .returns(ret)
        .flags(HelperFlags::PKT_ACCESS)
        .flags(HelperFlags::ACQUIRES)
}

/// Bytes of a tuple of IPv4.
const TUPLE4_LEN: u32 = 12;
/// Bytes of a tuple of IPv6.
const TUPLE6_LEN: u32 = 36;
/// Take the place of a socket that was selected before: `BPF_SK_LOOKUP_F_REPLACE`.
const REPLACE: u64 = 1;
/// Do not spread over the socket's group: `BPF_SK_LOOKUP_F_NO_REUSEPORT`.
const NO_REUSEPORT: u64 = 2;

fn sk_lookup_tcp(call: &mut Call<'_>, _: u64, tuple: u64, len: u64, netns: u64, flags: u64) -> HelperResult {
    let found = lookup(call, IPPROTO_TCP, (tuple, len), netns, flags)?;
    give_full(call, found)
}

fn sk_lookup_udp(call: &mut Call<'_>, _: u64, tuple: u64, len: u64, netns: u64, flags: u64) -> HelperResult {
    let found = lookup(call, IPPROTO_UDP, (tuple, len), netns, flags)?;
    give_full(call, found)
}

fn skc_lookup_tcp(call: &mut Call<'_>, _: u64, tuple: u64, len: u64, netns: u64, flags: u64) -> HelperResult {
    match lookup(call, IPPROTO_TCP, (tuple, len), netns, flags)? {
        Some(socket) => objects::give_acquired(call, ObjectKey::Socket(socket.cookie), View::Sock),
        None => Ok(0),
    }
}

/// A request for a connection stands for the socket that listens; a connection that is over is none.
fn give_full(call: &mut Call<'_>, found: Option<Arc<Socket>>) -> HelperResult {
    let full = match found {
        Some(socket) if !socket.is_full() => listener_of(Linux::of(call), &socket),
        other => other,
    };
    match full {
        Some(socket) => objects::give_acquired(call, ObjectKey::Socket(socket.cookie), View::Sock),
        None => Ok(0),
    }
}

fn lookup(
    call: &mut Call<'_>,
    protocol: u32,
    (tuple, len): (u64, u64),
    netns: u64,
    flags: u64,
) -> Result<Option<Arc<Socket>>, Trap> {
    let len = len as u32;
    call.check(tuple, len.into(), false)?;
    let Some(ends) = tuple_at(call, tuple, len)? else { return Ok(None) };
    let (ifindex, is_xdp) = own_device(call);
    // XDP's argument has 32 bits.
    let netns = if is_xdp { u64::from(netns as u32) } else { netns };
    let netns = match netns as i32 {
        ..0 => None,
        id if netns <= i32::MAX as u64 => Some(id as u32),
        _ => return Ok(None),
    };
    if flags != 0 {
        return Ok(None);
    }
    let [src, dst] = ends;
    let wanted = Wanted { protocol, src, dst, ifindex, netns, cpu: call.cpu() };
    Ok(find_socket(Linux::of(call), &wanted))
}

/// Source and destination of a tuple; none if it has the length of no family's.
fn tuple_at(call: &Call<'_>, tuple: u64, len: u32) -> Result<Option<[(IpAddr, u16); 2]>, Trap> {
    let (addrs, ports) = match len {
        TUPLE4_LEN => {
            let addr = |off: u64| call.read_array::<4>(tuple + off).map(IpAddr::from);
            ([addr(0)?, addr(4)?], tuple + 8)
        }
        TUPLE6_LEN => {
            let addr = |off: u64| call.read_array::<16>(tuple + off).map(IpAddr::from);
            ([addr(0)?, addr(16)?], tuple + 32)
        }
        _ => return Ok(None),
    };
    let port = |off: u64| call.read_array(ports + off).map(u16::from_be_bytes);
    Ok(Some([(addrs[0], port(0)?), (addrs[1], port(2)?)]))
}

/// The device that the packet is on, 0 for none; and whether it is an XDP frame.
fn own_device(call: &mut Call<'_>) -> (u32, bool) {
    if let Some(xdp) = call.context::<XdpContext>() {
        return (xdp.ingress_ifindex, true);
    }
    let skb = call.context::<SkbContext>().and_then(SkbContext::buff_mut);
    (skb.map_or(0, |skb| skb.md.load(40, Size::W) as u32), false)
}

fn sk_release(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, sk)?;
    Ok(0)
}

fn get_listener_sock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = socket_at(call, sk)?;
    if socket.is_tcp() && socket.state == TCP_LISTEN {
        return Ok(sk);
    }
    match listener_of(Linux::of(call), &socket) {
        Some(listener) => objects::give(call, ObjectKey::Socket(listener.cookie), View::Sock),
        None => Ok(0),
    }
}

fn sk_assign(call: &mut Call<'_>, ctx: u64, sk: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    if call.context::<SkLookupContext>().is_some() {
        return select(call, sk, flags);
    }
    skb(call, ctx)?;
    let at_ingress = at_ingress(call);
    if sk == 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let socket = socket_at(call, sk)?;
    if !at_ingress {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if socket.netns.is_some() {
        return Err(Errno::ENETUNREACH.into());
    }
    if !socket.is_hashed() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let view = objects::give(call, ObjectKey::Socket(socket.cookie), View::Sock)?;
    skb(call, ctx)?.md.store(168, Size::Dw, view);
    if let Some(context) = call.context::<SkbContext>() {
        context.assigned = Some(socket.cookie);
    }
    Ok(0)
}

/// Whether the program sees the packet before the stack does: tc at ingress, which `BPF_PROG_TEST_RUN` is not.
fn at_ingress(call: &mut Call<'_>) -> bool {
    let linked = call.program().linked();
    let egress = matches!(linked.attach_type, Some(AttachType::TcxEgress));
    let is_tc = matches!(linked.prog_type, Some(ProgType::SchedCls | ProgType::SchedAct));
    is_tc && !egress && call.context::<SkbContext>().is_some_and(|context| context.at_ingress)
}

/// `bpf_sk_assign` of socket lookups: the socket becomes the lookup's result; NULL takes a result back.
fn select(call: &mut Call<'_>, sk: u64, flags: u64) -> HelperResult {
    let socket = if sk == 0 { None } else { Some(socket_at(call, sk)?) };
    if flags & !(REPLACE | NO_REUSEPORT) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let Some(context) = call.context::<SkLookupContext>() else { return Err(Errno::EINVAL.into()) };
    if let Some(socket) = &socket {
        context.check(socket)?;
    }
    if context.selected.is_some() && flags & REPLACE == 0 {
        return Err(Errno::EEXIST.into());
    }
    context.selected = socket.map(|socket| socket.cookie);
    context.no_reuseport = flags & NO_REUSEPORT != 0;
    context.show_selected(sk);
    Ok(0)
}
