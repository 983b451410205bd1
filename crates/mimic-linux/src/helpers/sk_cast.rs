//! Sockets as the kernel's own structures: casts that answer NULL for what a socket is not; a file's socket.

use crate::Linux;
use crate::effects::{self, Effect};
use crate::objects::{self, ObjectKey, View, socket_at};
use crate::world::Socket;
use crate::world::socket::{AF_INET6, AF_UNIX, IPPROTO_TCP, TCP_NEW_SYN_RECV, TCP_TIME_WAIT};
use mimic_abi::{Arg, ArgType, HelperSpec, RetType, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

const SK: &[Arg] = &[arg("sk", ArgType::BtfIdSockCommon)];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(cast_row(136, "skc_to_tcp6_sock", "tcp6_sock").since(5, 9), to_tcp6),
    Helper::new(cast_row(137, "skc_to_tcp_sock", "tcp_sock").since(5, 9), to_tcp),
    Helper::new(cast_row(138, "skc_to_tcp_timewait_sock", "tcp_timewait_sock").since(5, 9), to_timewait),
    Helper::new(cast_row(139, "skc_to_tcp_request_sock", "tcp_request_sock").since(5, 9), to_request),
    Helper::new(cast_row(140, "skc_to_udp6_sock", "udp6_sock").since(5, 9), to_udp6),
    Helper::new(cast_row(178, "skc_to_unix_sock", "unix_sock").since(5, 16), to_unix),
    Helper::new(
        HelperSpec::new(196, "skc_to_mptcp_sock")
            .args(&[arg("sk", ArgType::SockCommon)])
            .returns(RetType::BtfIdOrNull("mptcp_sock"))
            .since(5, 19)
            .support(Support::Partial("NULL: no connection of the world is part of a multipath one")),
        to_mptcp,
    ),
    Helper::new(
        HelperSpec::new(162, "sock_from_file")
            .args(&[arg("file", ArgType::BtfId("file"))])
            .returns(RetType::BtfIdOrNull("socket"))
            .since(5, 11),
        sock_from_file,
    ),
    Helper::new(
        HelperSpec::new(116, "tcp_send_ack")
            .args(&[arg("tp", ArgType::BtfId("tcp_sock")), arg("rcv_nxt", ArgType::Anything)])
            .since(5, 6)
            .support(Support::Partial("noted as an effect: packets go nowhere")),
        tcp_send_ack,
    ),
];

const fn cast_row(id: u32, name: &'static str, to: &'static str) -> HelperSpec {
    HelperSpec::new(id, name).args(SK).returns(RetType::BtfIdOrNull(to))
}

/// The socket as the kernel has it, if it is what is asked for.
fn cast(call: &mut Call<'_>, sk: u64, is: impl Fn(&Socket) -> bool) -> HelperResult {
    if sk == 0 {
        return Ok(0);
    }
    let socket = socket_at(call, sk)?;
    if !is(&socket) {
        return Ok(0);
    }
    objects::give(call, ObjectKey::Socket(socket.cookie), View::Kernel)
}

fn to_tcp6(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_full() && sk.protocol == IPPROTO_TCP && sk.family == AF_INET6)
}

fn to_tcp(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_full() && sk.protocol == IPPROTO_TCP)
}

fn to_timewait(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_tcp() && sk.state == TCP_TIME_WAIT)
}

fn to_request(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_tcp() && sk.state == TCP_NEW_SYN_RECV)
}

fn to_udp6(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_full() && sk.is_udp() && sk.family == AF_INET6)
}

fn to_unix(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |sk| sk.is_full() && sk.family == AF_UNIX)
}

fn to_mptcp(call: &mut Call<'_>, sk: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    cast(call, sk, |_| false)
}

/// The socket whose inode the file is of.
fn sock_from_file(call: &mut Call<'_>, file: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let linux = Linux::of(call);
    let file = match linux.object_at(file) {
        Some((ObjectKey::File(id), _)) => linux.tables.files.get(id),
        _ => return Err(call.bad_argument(format!("{file:#x} is no file of the world"))),
    };
    let ino = file.map_or(0, |file| file.ino);
    match linux.sockets().find(|socket| ino != 0 && socket.ino == ino) {
        Some(socket) => objects::give(call, ObjectKey::SocketFile(socket.cookie), View::Kernel),
        None => Ok(0),
    }
}

fn tcp_send_ack(call: &mut Call<'_>, tp: u64, rcv_nxt: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let cookie = socket_at(call, tp)?.cookie;
    effects::note(call, Effect::TcpAck { cookie, rcv_nxt: rcv_nxt as u32 })?;
    Ok(0)
}
