//! Sockets that programs are about: their cookies, owners, namespaces, and views.

use super::skb::skb;
use super::sockopt::socket_of;
use crate::Linux;
use crate::objects::{self, ObjectKey, View, socket_at};
use crate::progs::SkbContext;
use crate::world::Socket;
use mimic_abi::{ArgType, HelperSpec, RetType, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(46, "get_socket_cookie").args(&[arg("sk", ArgType::Ctx)]).since(4, 12),
        get_socket_cookie,
    ),
    Helper::new(
        HelperSpec::new(47, "get_socket_uid").args(&[arg("skb", ArgType::Ctx)]).since(4, 12),
        get_socket_uid,
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
        HelperSpec::new(122, "get_netns_cookie").args(&[arg_or_null("ctx", ArgType::Ctx)]).since(5, 7),
        get_netns_cookie,
    ),
];

/// `overflowuid`: whose the packets are that have no socket.
const OVERFLOW_UID: u32 = 65534;

/// Of the context's socket; tracing programs point at one themselves.
fn get_socket_cookie(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if sk == 0 {
        return Ok(0);
    }
    let is_socket = matches!(Linux::of(call).object_at(sk), Some((ObjectKey::Socket(_), _)));
    let is_packet = call.context::<SkbContext>().is_some();
    let socket = match is_packet && !is_socket {
        true => packet_socket(call, sk)?,
        false => Some(socket_of(call, sk)?),
    };
    Ok(socket.map_or(0, |socket| socket.cookie))
}

/// The owner of a whole socket, or of the one that listens for a request.
fn get_socket_uid(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = packet_socket(call, ctx)?;
    let full = match socket {
        Some(socket) if !socket.is_full() => crate::net::listener_of(Linux::of(call), &socket),
        other => other,
    };
    Ok(full.map_or(OVERFLOW_UID, |socket| socket.uid).into())
}

/// The socket of the packet that the program sees, if it has one.
pub(super) fn packet_socket(call: &mut Call<'_>, ctx: u64) -> Result<Option<Arc<Socket>>, Trap> {
    skb(call, ctx)?;
    let cookie = call.context::<SkbContext>().and_then(|context| context.socket());
    Ok(cookie.and_then(|cookie| Linux::of(call).sockets().get(cookie)))
}

fn sk_fullsock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(if socket_at(call, sk)?.is_full() { sk } else { 0 })
}

fn tcp_sock(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let cookie = socket_at(call, sk)?.cookie;
    // Sockets that are no connections have no such view.
    objects::give(call, ObjectKey::Socket(cookie), View::TcpSock)
}

/// There is one namespace, in which everything is.
fn get_netns_cookie(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(Linux::of(call).world().net.cookie)
}
