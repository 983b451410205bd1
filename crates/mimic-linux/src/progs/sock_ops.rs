//! `SockOpsContext`: an event in the life of a TCP connection, `struct bpf_sock_ops`, and what the program made of it. tcp(7);
//! `BPF_SOCK_OPS_*` of linux/bpf.h.

use super::cgroup::SocketOf;
use super::layout;
use crate::Linux;
use crate::net::sockopt;
use crate::world::Socket;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout, Region};
use mimic_vm::{Context, ContextError, Setup};
use std::sync::Arc;

/// An event. It can be run again and again.
#[derive(Debug, Default)]
pub struct SockOpsContext {
    /// Which, of [`SOCK_OPS`].
    pub op: u32,
    /// What it comes with: the old and new state, the timeout, …
    pub args: [u32; 4],
    /// The connection's socket. If its cookie is a socket's of the world, it is that one. A request for a connection is no whole socket:
    /// its TCP fields read as zeros.
    pub sock: Socket,
    /// The packet's TCP header with its options, of events that have one: what was received, or what is written so far.
    pub header: Vec<u8>,
    /// Bytes of the packet behind its TCP header.
    pub payload_len: u32,
    /// The header's flags where it is not written yet (`BPF_SOCK_OPS_HDR_OPT_LEN_CB`); elsewhere they are in `header`.
    pub tcp_flags: u8,
    /// When the device received the packet, in nanoseconds.
    pub hwtstamp: u64,
    /// The TCP header of the SYN packet that began the connection, with its options; empty: it is not known any more.
    pub syn: Vec<u8>,
    /// Room for options, in bytes, of events that ask for some or write them.
    pub option_room: u32,
    socket: SocketOf,
    remaining: u32,
    header_len: u32,
    result: Option<SockOpsResult>,
    regions: Option<[Arc<Region>; 2]>,
}

/// What a program left of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SockOpsResult {
    /// What the kernel takes for an answer: the program's reply, or -1 if it did not return 1.
    pub reply: i32,
    /// The flow's hash for the way out, if the program set it.
    pub txhash: u32,
    /// The header, with the options that the program wrote behind it.
    pub header: Vec<u8>,
    /// Bytes that it reserved (`bpf_reserve_hdr_opt`), or wrote.
    pub option_len: u32,
}

/// The events, `BPF_SOCK_OPS_*`.
pub const SOCK_OPS: &[(u32, &str)] = &[
    (0, "BPF_SOCK_OPS_VOID"),
    (1, "BPF_SOCK_OPS_TIMEOUT_INIT"),
    (2, "BPF_SOCK_OPS_RWND_INIT"),
    (3, "BPF_SOCK_OPS_TCP_CONNECT_CB"),
    (4, "BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB"),
    (5, "BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB"),
    (6, "BPF_SOCK_OPS_NEEDS_ECN"),
    (7, "BPF_SOCK_OPS_BASE_RTT"),
    (8, "BPF_SOCK_OPS_RTO_CB"),
    (9, "BPF_SOCK_OPS_RETRANS_CB"),
    (10, "BPF_SOCK_OPS_STATE_CB"),
    (11, "BPF_SOCK_OPS_TCP_LISTEN_CB"),
    (12, "BPF_SOCK_OPS_RTT_CB"),
    (OP_PARSE_HDR_OPT, "BPF_SOCK_OPS_PARSE_HDR_OPT_CB"),
    (OP_HDR_OPT_LEN, "BPF_SOCK_OPS_HDR_OPT_LEN_CB"),
    (OP_WRITE_HDR_OPT, "BPF_SOCK_OPS_WRITE_HDR_OPT_CB"),
    (16, "BPF_SOCK_OPS_TSTAMP_SCHED_CB"),
    (17, "BPF_SOCK_OPS_TSTAMP_SND_SW_CB"),
    (18, "BPF_SOCK_OPS_TSTAMP_SND_HW_CB"),
    (19, "BPF_SOCK_OPS_TSTAMP_ACK_CB"),
    (20, "BPF_SOCK_OPS_TSTAMP_SENDMSG_CB"),
];

/// A packet was received whose options a program wants to see.
const OP_PARSE_HDR_OPT: u32 = 13;
/// How much room options need that a program will write.
pub(crate) const OP_HDR_OPT_LEN: u32 = 14;
/// Options are written.
pub(crate) const OP_WRITE_HDR_OPT: u32 = 15;
/// Events in which a program may put the connection into a sock map.
const OPS_OF_MAPS: [u32; 3] = [4, 5, 11];

/// The longest TCP header, in bytes.
const HEADER_LEN_MAX: usize = 60;
/// Bytes of a TCP header without options.
pub(crate) const TCP_LEN: u32 = 20;

/// Where `struct bpf_sock_ops` has what.
const OFF_REPLY: u32 = 4;
const OFF_TXHASH: u32 = 164;
const OFF_DATA: u32 = 192;
const OFF_DATA_END: u32 = 200;

impl SockOpsContext {
    /// An event without a packet.
    pub fn new(op: u32, args: [u32; 4], sock: Socket) -> SockOpsContext {
        SockOpsContext { op, args, sock, ..SockOpsContext::default() }
    }

    /// An event with a packet's TCP header and options.
    pub fn with_header(op: u32, header: impl Into<Vec<u8>>, sock: Socket) -> SockOpsContext {
        SockOpsContext { header: header.into(), ..SockOpsContext::new(op, [0; 4], sock) }
    }

    /// What the last run left; none if it faulted.
    pub fn result(&self) -> Option<&SockOpsResult> {
        self.result.as_ref()
    }

    /// The address of the context, while a program runs, and the socket's cookie.
    pub(crate) fn at(&self) -> Option<(u64, u64)> {
        self.regions.as_ref().map(|[md, _]| (md.base(), self.sock.cookie))
    }

    /// Whether the program may put the connection into a sock map.
    pub(crate) fn maps_socket(&self) -> bool {
        OPS_OF_MAPS.contains(&self.op)
    }

    /// The header as it is now, if the event has one.
    pub(crate) fn header_now(&self) -> Option<Vec<u8>> {
        let [_, packet] = self.regions.as_ref().filter(|_| self.header_len > 0)?;
        let mut header = vec![0; self.header_len as usize];
        packet.read(0, &mut header);
        Some(header)
    }

    /// Room for options that is left.
    pub(crate) fn remaining(&self) -> u32 {
        self.remaining
    }

    /// Sets room aside.
    pub(crate) fn reserve(&mut self, len: u32) {
        self.remaining -= len.min(self.remaining);
    }

    /// Writes an option behind the header. The caller has seen to it that there is room.
    pub(crate) fn append(&mut self, option: &[u8]) {
        let Some([md, packet]) = &self.regions else { return };
        let end = self.header_len + option.len() as u32;
        packet.set_bounds(0, end);
        packet.write(self.header_len, option);
        md.store(OFF_DATA_END, Size::Dw, packet.base() + u64::from(end));
        (self.header_len, self.remaining) = (end, self.remaining - option.len() as u32);
    }

    /// Shows the program the flags that it set.
    pub(crate) fn show_cb_flags(&self, flags: u32) {
        if let Some([md, _]) = &self.regions {
            md.store(84, Size::W, flags.into());
        }
    }

    fn check(&self) -> Result<(), ContextError> {
        let len = self.header.len();
        let short = len > 0 && len < TCP_LEN as usize;
        if short || len > HEADER_LEN_MAX || self.syn.len() > HEADER_LEN_MAX {
            let why = format!("a TCP header has {TCP_LEN} to {HEADER_LEN_MAX} bytes");
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        if self.op == OP_WRITE_HDR_OPT && len + self.option_room as usize > HEADER_LEN_MAX {
            let why = format!(
                "with {} bytes of options the header has more than {HEADER_LEN_MAX}",
                self.option_room
            );
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        Ok(())
    }

    fn write(&self, md: &Region) {
        let sock = &self.sock;
        md.fill(0, layout::SOCK_OPS.size, 0);
        md.store(0, Size::W, self.op.into());
        for (at, arg) in self.args.iter().enumerate() {
            md.store(OFF_REPLY + 4 * at as u32, Size::W, (*arg).into());
        }
        md.store(20, Size::W, sock.family.into());
        md.write(24, &sock.remote_ip4);
        md.write(28, &sock.local_ip4);
        md.write(32, &sock.remote_ip6);
        md.write(48, &sock.local_ip6);
        let [hi, lo] = sock.remote_port.to_be_bytes();
        md.write(64, &[0, 0, hi, lo]);
        md.store(68, Size::W, sock.local_port.into());
        md.store(88, Size::W, sock.state.into());
        if sock.is_full() {
            md.store(72, Size::W, 1);
            if self.op <= OP_WRITE_HDR_OPT {
                self.write_tcp(md);
            }
        }
        let packet_len = if self.header.is_empty() { 0 } else { self.header.len() as u32 + self.payload_len };
        md.store(208, Size::W, packet_len.into());
        let flags = self.header.get(13).copied().unwrap_or(self.tcp_flags);
        md.store(212, Size::W, flags.into());
        md.store(216, Size::Dw, self.hwtstamp);
    }

    /// The numbers of the connection, which only whole sockets have.
    fn write_tcp(&self, md: &Region) {
        let tcp = &self.sock.tcp;
        let own = [tcp.snd_cwnd, tcp.srtt_us, sockopt::cb_flags(&self.sock), self.sock.state];
        for (at, word) in (76..).step_by(4).zip(own.into_iter().chain(tcp.common_words())) {
            md.store(at, Size::W, word.into());
        }
        md.store(168, Size::Dw, tcp.bytes_received);
        md.store(176, Size::Dw, tcp.bytes_acked);
    }
}

impl Context for SockOpsContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        self.check()?;
        let sock = setup.region("socket", layout::SOCK_LEN, Layout::Fields(layout::SOCK))?;
        self.socket.enter(setup, &sock, &mut self.sock);
        let packet = setup.region("packet", HEADER_LEN_MAX as u32, Layout::Bytes(Access::Read))?;
        packet.set_bounds(0, self.header.len() as u32);
        packet.write(0, &self.header);
        let md = setup.region("context", layout::SOCK_OPS.size, Layout::Fields(layout::SOCK_OPS))?;
        self.write(&md);
        if self.sock.is_full() {
            md.store(184, Size::Dw, sock.base());
        }
        if !self.header.is_empty() {
            md.store(OFF_DATA, Size::Dw, packet.base());
            md.store(OFF_DATA_END, Size::Dw, packet.base() + self.header.len() as u64);
        }
        (self.remaining, self.header_len, self.result) = (self.option_room, self.header.len() as u32, None);
        let base = md.base();
        self.regions = Some([md, packet]);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        self.socket.leave(setup, &mut self.sock);
        let (Some([md, _]), Some(r0)) = (&self.regions, r0) else { return };
        let reply = if r0 as u32 == 1 { md.load(OFF_REPLY, Size::W) as i32 } else { -1 };
        self.result = Some(SockOpsResult {
            reply,
            txhash: md.load(OFF_TXHASH, Size::W) as u32,
            header: self.header_now().unwrap_or_default(),
            option_len: self.option_room - self.remaining,
        });
    }
}

impl Linux {
    /// Sets which events of a connection programs are told of (`BPF_SOCK_OPS_*_CB_FLAG`).
    pub(crate) fn set_cb_flags(&self, cookie: u64, flags: u32) {
        self.change_socket(cookie, |socket| sockopt::set_cb_flags(socket, flags));
    }
}
