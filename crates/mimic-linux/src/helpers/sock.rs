//! Sockets: finding, holding, casting and asking them.

use super::row::READ;
use super::skb::skb;
use crate::Linux;
use crate::objects::{self, ObjectKey, View, socket_at};
use crate::progs::SkbContext;
use crate::world::Socket;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Support, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(46, "get_socket_cookie")
            .args(&[arg("sk", ArgType::Ctx)])
            .since(4, 12)
            .support(Support::Partial("of packets' sockets")),
        get_socket_cookie,
    ),
    Helper::new(
        HelperSpec::new(47, "get_socket_uid").args(&[arg("skb", ArgType::Ctx)]).since(4, 12),
        get_socket_uid,
    ),
    Helper::listed(
        HelperSpec::new(82, "sk_select_reuseport")
            .args(&[
                arg("reuse", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("key", ArgType::MapKey),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 19)
            .support(Support::Refused(
                "needs reuseport groups in the emulated world, which are not there yet",
            )),
    ),
    Helper::new(
        HelperSpec::new(84, "sk_lookup_tcp")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("tuple", READ),
                arg("tuple_size", ArgType::SizeOrZero),
                arg("netns", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::SocketOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .flags(HelperFlags::ACQUIRES)
            .since(4, 20)
            .support(NO_SOCKETS),
        sk_lookup,
    ),
    Helper::new(
        HelperSpec::new(85, "sk_lookup_udp")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("tuple", READ),
                arg("tuple_size", ArgType::SizeOrZero),
                arg("netns", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::SocketOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .flags(HelperFlags::ACQUIRES)
            .since(4, 20)
            .support(NO_SOCKETS),
        sk_lookup,
    ),
    Helper::new(
        HelperSpec::new(86, "sk_release")
            .args(&[arg("sock", ArgType::BtfIdSockCommon)])
            .flags(HelperFlags::RELEASES)
            .since(4, 20),
        sk_release,
    ),
    Helper::new(
        HelperSpec::new(95, "sk_fullsock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::SocketOrNull)
            .since(5, 1),
        sk_fullsock,
    ),
    Helper::new(
        HelperSpec::new(96, "tcp_sock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::TcpSockOrNull)
            .since(5, 1),
        tcp_sock,
    ),
    Helper::new(
        HelperSpec::new(98, "get_listener_sock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::SocketOrNull)
            .since(5, 1),
        get_listener_sock,
    ),
    Helper::new(
        HelperSpec::new(99, "skc_lookup_tcp")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("tuple", READ),
                arg("tuple_size", ArgType::SizeOrZero),
                arg("netns", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::SockCommonOrNull)
            .flags(HelperFlags::PKT_ACCESS)
            .flags(HelperFlags::ACQUIRES)
            .since(5, 2)
            .support(NO_SOCKETS),
        sk_lookup,
    ),
    Helper::listed(
        HelperSpec::new(100, "tcp_check_syncookie")
            .args(&[
                arg("sk", ArgType::BtfIdSockCommon),
                arg("iph", READ),
                arg("iph_len", ArgType::Size),
                arg("th", READ),
                arg("th_len", ArgType::Size),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(5, 2)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(110, "tcp_gen_syncookie")
            .args(&[
                arg("sk", ArgType::BtfIdSockCommon),
                arg("iph", READ),
                arg("iph_len", ArgType::Size),
                arg("th", READ),
                arg("th_len", ArgType::Size),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(5, 4)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(116, "tcp_send_ack")
            .args(&[arg("tp", ArgType::BtfId("tcp_sock")), arg("rcv_nxt", ArgType::Anything)])
            .since(5, 6)
            .support(NOTE),
    ),
    Helper::new(
        HelperSpec::new(122, "get_netns_cookie").args(&[arg_or_null("ctx", ArgType::Ctx)]).since(5, 7),
        get_netns_cookie,
    ),
    Helper::listed(
        HelperSpec::new(124, "sk_assign")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("sk", ArgType::BtfIdSockCommon),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 7)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(136, "skc_to_tcp6_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("tcp6_sock"))
            .since(5, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(137, "skc_to_tcp_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("tcp_sock"))
            .since(5, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(138, "skc_to_tcp_timewait_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("tcp_timewait_sock"))
            .since(5, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(139, "skc_to_tcp_request_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("tcp_request_sock"))
            .since(5, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(140, "skc_to_udp6_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("udp6_sock"))
            .since(5, 9)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(162, "sock_from_file")
            .args(&[arg("file", ArgType::BtfId("file"))])
            .returns(RetType::BtfIdOrNull("socket"))
            .since(5, 11)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(178, "skc_to_unix_sock")
            .args(&[arg("sk", ArgType::BtfIdSockCommon)])
            .returns(RetType::BtfIdOrNull("unix_sock"))
            .since(5, 16)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(196, "skc_to_mptcp_sock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::BtfIdOrNull("mptcp_sock"))
            .since(5, 19)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(204, "tcp_raw_gen_syncookie_ipv4")
            .args(&[
                arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(20))),
                arg("th", READ),
                arg("th_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(6, 0)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(205, "tcp_raw_gen_syncookie_ipv6")
            .args(&[
                arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(40))),
                arg("th", READ),
                arg("th_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(6, 0)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(206, "tcp_raw_check_syncookie_ipv4")
            .args(&[
                arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(20))),
                arg("th", ArgType::Mem(MemAccess::Read, MemLen::Fixed(20))),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(6, 0)
            .support(NOTE_2),
    ),
    Helper::listed(
        HelperSpec::new(207, "tcp_raw_check_syncookie_ipv6")
            .args(&[
                arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(40))),
                arg("th", ArgType::Mem(MemAccess::Read, MemLen::Fixed(20))),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .flags(HelperFlags::PKT_ACCESS)
            .since(6, 0)
            .support(NOTE_2),
    ),
];

const NOTE: Support = Support::Refused("needs the sockets of the emulated world, which are not there yet");
const NOTE_2: Support =
    Support::Refused("needs the secret that the kernel makes SYN cookies with; not there yet");

const NO_SOCKETS: Support = Support::Partial("the world has no sockets yet: it finds none");

/// `overflowuid`: whose the packets are that have no socket.
const OVERFLOW_UID: u32 = 65534;

fn get_socket_cookie(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(packet_socket(call, ctx)?.map_or(0, |socket| socket.cookie))
}

fn get_socket_uid(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(packet_socket(call, ctx)?.map_or(OVERFLOW_UID, |socket| socket.uid).into())
}

/// The socket of the packet that the program sees, if it has one.
pub(super) fn packet_socket(call: &mut Call<'_>, ctx: u64) -> Result<Option<Arc<Socket>>, Trap> {
    skb(call, ctx)?;
    let cookie = call.context::<SkbContext>().and_then(|context| Some(context.sock.as_ref()?.cookie));
    Ok(cookie.and_then(|cookie| Linux::of(call).sockets().get(cookie)))
}

fn sk_release(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, sk)?;
    Ok(0)
}

fn sk_fullsock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(if socket_at(call, sk)?.is_full() { sk } else { 0 })
}

fn tcp_sock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let cookie = socket_at(call, sk)?.cookie;
    // Sockets that are no connections have no such view.
    objects::give(call, ObjectKey::Socket(cookie), View::TcpSock)
}

fn get_listener_sock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    const TCP_LISTEN: u32 = 10;
    let socket = socket_at(call, sk)?;
    Ok(if socket.is_tcp() && socket.state == TCP_LISTEN { sk } else { 0 })
}

/// An empty world has none to find, whatever the tuple, the namespace and the flags.
fn sk_lookup(call: &mut Call<'_>, _: u64, tuple: u64, len: u64, _: u64, _: u64) -> HelperResult {
    call.check(tuple, u64::from(len as u32), false)?;
    Ok(0)
}

/// There is one namespace, in which everything is.
fn get_netns_cookie(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).world().net.cookie)
}
