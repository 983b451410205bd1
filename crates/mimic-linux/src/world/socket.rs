//! `Socket`: a socket of the world, as `struct bpf_sock`, `struct bpf_tcp_sock` and the kernel's own structures show it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// A socket. The defaults are those of one that was just made, of no family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What `bpf_get_socket_cookie` answers, by which sockets are known; 0 lets the world draw one.
    pub cookie: u64,
    /// `AF_INET` (2), `AF_INET6` (10), `AF_UNIX` (1), or 0.
    pub family: u32,
    /// `SOCK_*`: 1 stream, 2 datagram, 3 raw.
    pub sock_type: u32,
    /// `IPPROTO_*`.
    pub protocol: u32,
    /// Device that it is bound to.
    pub bound_dev_if: u32,
    /// Its packets' mark.
    pub mark: u32,
    /// Its packets' priority.
    pub priority: u32,
    /// Local IPv4 address.
    pub local_ip4: [u8; 4],
    /// Remote IPv4 address.
    pub remote_ip4: [u8; 4],
    /// Local IPv6 address.
    pub local_ip6: [u8; 16],
    /// Remote IPv6 address.
    pub remote_ip6: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// `BPF_TCP_*`: 1 established, 7 closed, 10 listening. Sockets of other protocols have them too.
    pub state: u32,
    /// Receive queue, -1 for none.
    pub rx_queue: i32,
    /// The owner.
    pub uid: u32,
    /// The control group (version 2) that it was made in, by id.
    pub cgroup: u64,
    /// The network namespace that it is in, by the id that this one has for it (`ip netns set`); none: this one.
    pub netns: Option<u32>,
    /// Its inode's number.
    pub ino: u64,
    /// It reports no connection problems and may share its port (`SO_REUSEADDR`, `SO_REUSEPORT`).
    pub reuse: Reuse,
    /// It is only for IPv6 (`IPV6_V6ONLY`).
    pub v6only: bool,
    /// It takes packets for addresses that are not this host's (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// More connections were asked for of late than it has room for: a listening socket that makes and takes SYN cookies.
    pub syn_overflow: bool,
    /// Where a `AF_UNIX` socket is bound: a path, or a name after a NUL.
    pub path: Vec<u8>,
    /// What it is in TCP.
    pub tcp: Tcp,
    /// Options as setsockopt(2) left them, by level and name: bytes as getsockopt(2) gives them.
    pub options: BTreeMap<(i32, i32), Vec<u8>>,
}

/// Whether a port may be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// `SO_REUSEADDR`.
    pub addr: bool,
    /// `SO_REUSEPORT`.
    pub port: bool,
}

/// A connection's numbers, with the names of `struct bpf_tcp_sock`. The defaults are the kernel's for a new socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Congestion window, in segments.
    pub snd_cwnd: u32,
    /// Smoothed round trip time, in eighths of a microsecond.
    pub srtt_us: u32,
    /// Least round trip time, in microseconds.
    pub rtt_min: u32,
    /// Slow start threshold, in segments.
    pub snd_ssthresh: u32,
    /// What is to be received next.
    pub rcv_nxt: u32,
    /// What is to be sent next.
    pub snd_nxt: u32,
    /// The first byte that was sent and not acknowledged.
    pub snd_una: u32,
    /// Segment size, in bytes.
    pub mss_cache: u32,
    /// ECN flags.
    pub ecn_flags: u32,
    /// Delivered segments when the rate was taken.
    pub rate_delivered: u32,
    /// Its interval, in microseconds.
    pub rate_interval_us: u32,
    /// Segments in flight.
    pub packets_out: u32,
    /// Segments sent again and in flight.
    pub retrans_out: u32,
    /// Segments sent again, in all.
    pub total_retrans: u32,
    /// Segments received.
    pub segs_in: u32,
    /// Data segments received.
    pub data_segs_in: u32,
    /// Segments sent.
    pub segs_out: u32,
    /// Data segments sent.
    pub data_segs_out: u32,
    /// Segments that seem lost.
    pub lost_out: u32,
    /// Segments that were acknowledged selectively.
    pub sacked_out: u32,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes acknowledged.
    pub bytes_acked: u64,
    /// Duplicate selective acknowledgements.
    pub dsack_dups: u32,
    /// Segments delivered.
    pub delivered: u32,
    /// The same, marked by ECN.
    pub delivered_ce: u32,
    /// Retransmissions of the head of the queue in a row.
    pub icsk_retransmits: u32,
    /// What the peer's window was last said to be, in bytes.
    pub snd_wnd: u32,
    /// The receive window's limit on the congestion window, in segments.
    pub snd_cwnd_clamp: u32,
    /// The congestion control's name.
    pub congestion: String,
}

impl Tcp {
    /// The words that `struct bpf_tcp_sock` and `struct bpf_sock_ops` have in a row, from `rtt_min` to `sacked_out`.
    pub(crate) fn common_words(&self) -> [u32; 18] {
        [
            self.rtt_min,
            self.snd_ssthresh,
            self.rcv_nxt,
            self.snd_nxt,
            self.snd_una,
            self.mss_cache,
            self.ecn_flags,
            self.rate_delivered,
            self.rate_interval_us,
            self.packets_out,
            self.retrans_out,
            self.total_retrans,
            self.segs_in,
            self.data_segs_in,
            self.segs_out,
            self.data_segs_out,
            self.lost_out,
            self.sacked_out,
        ]
    }
}

impl Default for Tcp {
    fn default() -> Tcp {
        Tcp {
            snd_cwnd: 10,
            srtt_us: 0,
            rtt_min: u32::MAX,
            snd_ssthresh: 0x7fff_ffff,
            rcv_nxt: 0,
            snd_nxt: 0,
            snd_una: 0,
            mss_cache: 536,
            ecn_flags: 0,
            rate_delivered: 0,
            rate_interval_us: 0,
            packets_out: 0,
            retrans_out: 0,
            total_retrans: 0,
            segs_in: 0,
            data_segs_in: 0,
            segs_out: 0,
            data_segs_out: 0,
            lost_out: 0,
            sacked_out: 0,
            bytes_received: 0,
            bytes_acked: 0,
            dsack_dups: 0,
            delivered: 0,
            delivered_ce: 0,
            icsk_retransmits: 0,
            snd_wnd: 0,
            snd_cwnd_clamp: u32::MAX,
            congestion: "cubic".into(),
        }
    }
}

impl Default for Socket {
    fn default() -> Socket {
        Socket {
            cookie: 0,
            family: 0,
            sock_type: 0,
            protocol: 0,
            bound_dev_if: 0,
            mark: 0,
            priority: 0,
            local_ip4: [0; 4],
            remote_ip4: [0; 4],
            local_ip6: [0; 16],
            remote_ip6: [0; 16],
            local_port: 0,
            remote_port: 0,
            state: TCP_CLOSE,
            rx_queue: -1,
            uid: 0,
            cgroup: 1,
            netns: None,
            ino: 0,
            reuse: Reuse::default(),
            v6only: false,
            transparent: false,
            syn_overflow: false,
            path: Vec::new(),
            tcp: Tcp::default(),
            options: BTreeMap::new(),
        }
    }
}

/// `AF_UNIX`.
pub const AF_UNIX: u32 = 1;
/// `AF_INET`.
pub const AF_INET: u32 = 2;
/// `AF_INET6`.
pub const AF_INET6: u32 = 10;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u32 = 17;
/// `TCP_ESTABLISHED`.
pub const TCP_ESTABLISHED: u32 = 1;
/// `TCP_TIME_WAIT`.
pub const TCP_TIME_WAIT: u32 = 6;
/// `TCP_CLOSE`.
pub const TCP_CLOSE: u32 = 7;
/// `TCP_LISTEN`.
pub const TCP_LISTEN: u32 = 10;
/// `TCP_NEW_SYN_RECV`: a request for a connection.
pub const TCP_NEW_SYN_RECV: u32 = 12;
/// `SOCK_STREAM`.
pub const SOCK_STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub const SOCK_DGRAM: u32 = 2;
/// `SOCK_RAW`.
pub const SOCK_RAW: u32 = 3;

impl Socket {
    /// Whether it is a TCP socket.
    pub fn is_tcp(&self) -> bool {
        self.protocol == IPPROTO_TCP && self.sock_type == SOCK_STREAM && self.is_inet()
    }

    /// Whether it is a UDP socket.
    pub fn is_udp(&self) -> bool {
        self.protocol == IPPROTO_UDP && self.sock_type == SOCK_DGRAM && self.is_inet()
    }

    /// Whether it is of IP, version 4 or 6.
    pub fn is_inet(&self) -> bool {
        matches!(self.family, AF_INET | AF_INET6)
    }

    /// Whether it is a whole socket: no request for a connection, and none that only waits for the end of time (`sk_fullsock`).
    pub fn is_full(&self) -> bool {
        !matches!(self.state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV)
    }

    /// Whether packets find it (`sk_hashed`): a TCP socket listens or has a connection, another one has a port.
    pub fn is_hashed(&self) -> bool {
        match self.is_tcp() {
            true => self.state != TCP_CLOSE,
            false => self.local_port != 0,
        }
    }

    /// Whether programs may hold it without counting (`SOCK_RCU_FREE`): listening TCP sockets and UDP sockets.
    pub fn is_rcu_freed(&self) -> bool {
        self.is_udp() || (self.is_tcp() && self.state == TCP_LISTEN)
    }

    /// The local IPv4 address that packets find it by; none if it takes no IPv4.
    pub fn rcv_addr4(&self) -> Option<[u8; 4]> {
        match self.family {
            AF_INET => Some(self.local_ip4),
            AF_INET6 if !self.v6only => ipv4_in(&self.local_ip6),
            _ => None,
        }
    }

    /// The remote IPv4 address, zeros if any; none if it has an IPv6 one.
    pub fn peer_addr4(&self) -> Option<[u8; 4]> {
        match self.family {
            AF_INET => Some(self.remote_ip4),
            AF_INET6 => ipv4_in(&self.remote_ip6),
            _ => None,
        }
    }
}

/// The IPv4 address that an IPv6 one stands for: that of a mapped address, zeros for zeros.
fn ipv4_in(addr: &[u8; 16]) -> Option<[u8; 4]> {
    match Ipv6Addr::from(*addr) {
        Ipv6Addr::UNSPECIFIED => Some([0; 4]),
        addr => addr.to_ipv4_mapped().map(|addr| addr.octets()),
    }
}
