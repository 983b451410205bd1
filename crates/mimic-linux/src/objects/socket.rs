//! Sockets as `struct bpf_sock`, `struct bpf_tcp_sock`, and as the kernel's `sock` and what begins with one.

use super::{Fields, ObjectKey};
use crate::world::socket::{AF_INET6, AF_UNIX, TCP_NEW_SYN_RECV, TCP_TIME_WAIT};
use crate::world::{Socket, Tables};
use mimic_abi::{ByteOrder, Size};
use mimic_vm::Region;
use std::sync::Arc;

/// The whole structure that the kernel has for a socket.
pub(super) fn type_name(socket: &Socket) -> &'static str {
    match (socket.family, socket.is_tcp(), socket.is_udp()) {
        (_, true, _) if socket.state == TCP_TIME_WAIT => "tcp_timewait_sock",
        (_, true, _) if socket.state == TCP_NEW_SYN_RECV => "tcp_request_sock",
        _ if socket.family == AF_UNIX => "unix_sock",
        (AF_INET6, true, _) => "tcp6_sock",
        (_, true, _) => "tcp_sock",
        (AF_INET6, _, true) => "udp6_sock",
        (_, _, true) => "udp_sock",
        _ if socket.is_inet() => "inet_sock",
        _ => "sock",
    }
}

/// Writes it as `struct bpf_sock`.
pub(super) fn write_sock(tables: &Tables, region: &Arc<Region>, key: ObjectKey) {
    let Some(socket) = of(tables, key) else { return };
    for (off, value) in [
        (0, socket.bound_dev_if),
        (4, socket.family),
        (8, socket.sock_type),
        (12, socket.protocol),
        (16, socket.mark),
        (20, socket.priority),
        (44, u32::from(socket.local_port)),
        (72, socket.state),
        (76, socket.rx_queue as u32),
    ] {
        region.store(off, Size::W, value.into());
    }
    region.write(24, &socket.local_ip4);
    region.write(28, &socket.local_ip6);
    let [hi, lo] = socket.remote_port.to_be_bytes();
    region.write(48, &[hi, lo, 0, 0]);
    region.write(52, &socket.remote_ip4);
    region.write(56, &socket.remote_ip6);
}

/// Writes it as `struct bpf_tcp_sock`.
pub(super) fn write_tcp_sock(tables: &Tables, region: &Arc<Region>, key: ObjectKey) {
    let Some(socket) = of(tables, key) else { return };
    let tcp = &socket.tcp;
    region.store(0, Size::W, tcp.snd_cwnd.into());
    region.store(4, Size::W, tcp.srtt_us.into());
    for (at, word) in (8..).step_by(4).zip(tcp.common_words()) {
        region.store(at, Size::W, word.into());
    }
    region.store(80, Size::Dw, tcp.bytes_received);
    region.store(88, Size::Dw, tcp.bytes_acked);
    for (at, word) in
        [tcp.dsack_dups, tcp.delivered, tcp.delivered_ce, tcp.icsk_retransmits].iter().enumerate()
    {
        region.store(96 + 4 * at as u32, Size::W, (*word).into());
    }
}

pub(super) fn fill(to: &mut Fields<'_>, cookie: u64) {
    let Some(socket) = to.tables().sockets.get(cookie) else { return };
    to.seen_as("sock_common");
    fill_common(to, &socket);
    if !socket.is_full() {
        return;
    }
    to.seen_as("sock");
    fill_sock(to, &socket);
    if socket.is_inet() {
        to.seen_as("inet_sock");
        to.set("inet_sport", net16(to, socket.local_port));
        to.bytes("inet_saddr", &socket.local_ip4);
    }
    if socket.is_tcp() {
        to.seen_as("tcp_sock");
        fill_tcp(to, &socket);
    }
}

/// `struct socket`: what a file of a socket has.
pub(super) fn fill_file(to: &mut Fields<'_>, cookie: u64) {
    let Some(socket) = to.tables().sockets.get(cookie) else { return };
    to.set("type", socket.sock_type.into());
    to.point("sk", ObjectKey::Socket(cookie));
}

/// What all of them have, requests and those that wait for the end of time too.
fn fill_common(to: &mut Fields<'_>, socket: &Socket) {
    to.set("skc_family", socket.family.into());
    to.set("skc_state", socket.state.into());
    to.set("skc_bound_dev_if", socket.bound_dev_if.into());
    to.set("skc_num", socket.local_port.into());
    to.set("skc_dport", net16(to, socket.remote_port));
    to.bytes("skc_rcv_saddr", &socket.local_ip4);
    to.bytes("skc_daddr", &socket.remote_ip4);
    to.bytes("skc_v6_rcv_saddr", &socket.local_ip6);
    to.bytes("skc_v6_daddr", &socket.remote_ip6);
    to.set("skc_reuse", socket.reuse.addr.into());
    to.set("skc_reuseport", socket.reuse.port.into());
    to.set("skc_ipv6only", socket.v6only.into());
    to.set("skc_cookie.counter", socket.cookie);
    to.set("skc_refcnt.refs.counter", 1);
    to.set("skc_rx_queue_mapping", socket.rx_queue as u64);
    to.point("skc_net.net", ObjectKey::Net);
}

fn fill_sock(to: &mut Fields<'_>, socket: &Socket) {
    to.set("sk_type", socket.sock_type.into());
    to.set("sk_protocol", socket.protocol.into());
    to.set("sk_mark", socket.mark.into());
    to.set("sk_priority", socket.priority.into());
    to.set_at("sk_uid", 0, 4, socket.uid.into());
    to.point("sk_cgrp_data.cgroup", ObjectKey::Cgroup(socket.cgroup));
}

fn fill_tcp(to: &mut Fields<'_>, socket: &Socket) {
    let tcp = &socket.tcp;
    for (path, value) in [
        ("snd_cwnd", tcp.snd_cwnd),
        ("srtt_us", tcp.srtt_us),
        ("snd_ssthresh", tcp.snd_ssthresh),
        ("rcv_nxt", tcp.rcv_nxt),
        ("snd_nxt", tcp.snd_nxt),
        ("snd_una", tcp.snd_una),
        ("snd_wnd", tcp.snd_wnd),
        ("mss_cache", tcp.mss_cache),
        ("ecn_flags", tcp.ecn_flags),
        ("rate_delivered", tcp.rate_delivered),
        ("rate_interval_us", tcp.rate_interval_us),
        ("packets_out", tcp.packets_out),
        ("retrans_out", tcp.retrans_out),
        ("total_retrans", tcp.total_retrans),
        ("segs_in", tcp.segs_in),
        ("data_segs_in", tcp.data_segs_in),
        ("segs_out", tcp.segs_out),
        ("data_segs_out", tcp.data_segs_out),
        ("lost_out", tcp.lost_out),
        ("sacked_out", tcp.sacked_out),
        ("dsack_dups", tcp.dsack_dups),
        ("delivered", tcp.delivered),
        ("delivered_ce", tcp.delivered_ce),
        ("snd_cwnd_clamp", tcp.snd_cwnd_clamp),
        ("inet_conn.icsk_retransmits", tcp.icsk_retransmits),
    ] {
        to.set(path, value.into());
    }
    to.set("bytes_received", tcp.bytes_received);
    to.set("bytes_acked", tcp.bytes_acked);
}

/// A 16-bit number in network order, as the guest's processor reads it.
fn net16(to: &Fields<'_>, value: u16) -> u64 {
    match to.region.order() {
        ByteOrder::Little => value.swap_bytes().into(),
        ByteOrder::Big => value.into(),
    }
}

fn of(tables: &Tables, key: ObjectKey) -> Option<Arc<Socket>> {
    match key {
        ObjectKey::Socket(cookie) => tables.sockets.get(cookie),
        _ => None,
    }
}
