//! Finding the socket that a packet is for, as the kernel's hash tables of TCP and UDP sockets do: `__inet_lookup`, `__udp4_lib_lookup`
//! and their IPv6 forms. Attached `SK_LOOKUP` and `SK_REUSEPORT` programs are not asked.

use crate::Linux;
use crate::world::Socket;
use crate::world::socket::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_NEW_SYN_RECV,
};
use std::net::IpAddr;
use std::sync::Arc;

/// `SO_INCOMING_CPU` of `SOL_SOCKET`: the CPU whose packets a socket would rather have.
const SO_INCOMING_CPU: (i32, i32) = (1, 49);

/// What a packet says of its connection, and where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub(crate) protocol: u32,
    /// Who sent it: an address and a port.
    pub(crate) src: (IpAddr, u16),
    /// Whom it is for, of the same family.
    pub(crate) dst: (IpAddr, u16),
    /// The device that received it, by index; 0 for none.
    pub(crate) ifindex: u32,
    /// The namespace, by id; none: this one.
    pub(crate) netns: Option<u32>,
    /// The CPU that asks.
    pub(crate) cpu: u32,
}

/// The socket: for TCP a connection, else one that listens; for UDP the best that is bound.
pub(crate) fn find_socket(linux: &Linux, wanted: &Wanted) -> Option<Arc<Socket>> {
    match wanted.protocol {
        IPPROTO_TCP => find_connection(linux, wanted).or_else(|| find_listener(linux, wanted)),
        _ => find_udp(linux, wanted),
    }
}

/// The listening socket behind a request for a connection (`sk_to_full_sk`).
pub(crate) fn listener_of(linux: &Linux, request: &Socket) -> Option<Arc<Socket>> {
    if request.state != TCP_NEW_SYN_RECV {
        return None;
    }
    let (local, remote) = match request.family {
        AF_INET => (IpAddr::from(request.local_ip4), IpAddr::from(request.remote_ip4)),
        _ => (IpAddr::from(request.local_ip6), IpAddr::from(request.remote_ip6)),
    };
    let wanted = Wanted {
        protocol: IPPROTO_TCP,
        src: (remote, request.remote_port),
        dst: (local, request.local_port),
        ifindex: request.bound_dev_if,
        netns: request.netns,
        cpu: 0,
    };
    find_listener(linux, &wanted)
}

fn find_connection(linux: &Linux, wanted: &Wanted) -> Option<Arc<Socket>> {
    let connected = |socket: &Socket| {
        let ports = (socket.local_port, socket.remote_port) == (wanted.dst.1, wanted.src.1);
        socket.is_tcp()
            && !matches!(socket.state, TCP_CLOSE | TCP_LISTEN)
            && ports
            && socket.netns == wanted.netns
            && local_is(socket, wanted.dst.0)
            && remote_is(socket, wanted.src.0)
            && device_score(linux, socket, wanted).is_some()
    };
    linux.sockets().find(connected)
}

fn find_listener(linux: &Linux, wanted: &Wanted) -> Option<Arc<Socket>> {
    with_any_address(wanted, |local| {
        let score = |socket: &Socket| {
            let listens = socket.is_tcp() && socket.state == TCP_LISTEN;
            let base = bound_score(linux, socket, wanted, local).filter(|_| listens)?;
            // An IPv4 socket is better for IPv4 than one for both.
            let own_family = wanted.dst.0.is_ipv4() && socket.family == AF_INET;
            Some(base + u32::from(own_family))
        };
        choose(linux, wanted, linux.sockets().best(score)?)
    })
}

fn find_udp(linux: &Linux, wanted: &Wanted) -> Option<Arc<Socket>> {
    with_any_address(wanted, |local| {
        let score = |socket: &Socket| udp_score(linux, socket, wanted, local);
        let found = linux.sockets().best(score)?;
        if found.state == TCP_ESTABLISHED { Some(found) } else { choose(linux, wanted, found) }
    })
}

/// What is bound to the address itself goes first, then what is bound to any.
fn with_any_address(wanted: &Wanted, find: impl Fn(IpAddr) -> Option<Arc<Socket>>) -> Option<Arc<Socket>> {
    let any = match wanted.dst.0 {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    find(wanted.dst.0).or_else(|| find(any))
}

fn udp_score(linux: &Linux, socket: &Socket, wanted: &Wanted, local: IpAddr) -> Option<u32> {
    let base = bound_score(linux, socket, wanted, local).filter(|_| socket.is_udp())?;
    let connected_addr = !remote_is_any(socket);
    let connected_port = socket.remote_port != 0;
    if (connected_addr && !remote_is(socket, wanted.src.0))
        || (connected_port && socket.remote_port != wanted.src.1)
    {
        return None;
    }
    let parts = u32::from(connected_addr) + u32::from(connected_port);
    Some(match wanted.dst.0 {
        // A connected part, or a device, weighs more than the family and the CPU together.
        IpAddr::V4(_) => {
            let bound = u32::from(socket.bound_dev_if != 0);
            let cpu = base - 1 - bound;
            1 + u32::from(socket.family == AF_INET) + 4 * (parts + bound) + cpu
        }
        IpAddr::V6(_) => base + parts,
    })
}

/// How well what a socket is bound to fits: 1, and one more for a device and for the CPU; none if it does not fit at all.
fn bound_score(linux: &Linux, socket: &Socket, wanted: &Wanted, local: IpAddr) -> Option<u32> {
    let fits = socket.local_port == wanted.dst.1 && socket.netns == wanted.netns && local_is(socket, local);
    if !fits {
        return None;
    }
    let device = device_score(linux, socket, wanted)?;
    let incoming = socket.options.get(&SO_INCOMING_CPU).and_then(|bytes| bytes.first_chunk());
    let incoming = incoming.is_some_and(|bytes| u32::from_le_bytes(*bytes) == wanted.cpu);
    Some(1 + device + u32::from(incoming))
}

/// 1 if the socket is bound to the device of the packet, 0 if to none; none if to another. Sockets that are bound to none take packets of
/// a VRF only where a sysctl says so.
fn device_score(linux: &Linux, socket: &Socket, wanted: &Wanted) -> Option<u32> {
    let devices = &linux.world().net.devices;
    let device = devices.by_index(wanted.ifindex);
    let vrf = device.and_then(|device| devices.vrf_of(device));
    match socket.bound_dev_if {
        0 => {
            let name = if socket.is_udp() { "udp_l3mdev_accept" } else { "tcp_l3mdev_accept" };
            let accepts = || linux.sysctl(&format!("net/ipv4/{name}"), 0) != 0;
            (vrf.is_none() || accepts()).then_some(0)
        }
        bound => (bound == wanted.ifindex).then_some(1),
    }
}

/// The socket that gets the packet, of those that share its port (`SO_REUSEPORT`): the kernel decides by a hash with a secret of the boot.
fn choose(linux: &Linux, wanted: &Wanted, found: Arc<Socket>) -> Option<Arc<Socket>> {
    if !found.reuse.port {
        return Some(found);
    }
    let group = reuseport_group(linux, &found);
    let hash = connection_hash(linux, wanted) as u32;
    let at = (u64::from(hash) * group.len() as u64) >> 32;
    group.get(at as usize).cloned().or(Some(found))
}

/// The sockets that share a socket's port, in the order of their cookies.
pub(crate) fn reuseport_group(linux: &Linux, of: &Socket) -> Vec<Arc<Socket>> {
    let shares = |socket: &Arc<Socket>| {
        let bound = |socket: &Socket| {
            (socket.local_port, socket.local_ip4, socket.local_ip6, socket.bound_dev_if, socket.v6only)
        };
        let kind =
            |socket: &Socket| (socket.family, socket.sock_type, socket.protocol, socket.netns, socket.uid);
        socket.reuse.port
            && socket.state == of.state
            && bound(socket) == bound(of)
            && kind(socket) == kind(of)
    };
    let mut group = linux.sockets().all();
    group.retain(shares);
    group
}

/// A number that looks random, the same for packets of a connection.
pub(crate) fn connection_hash(linux: &Linux, wanted: &Wanted) -> u64 {
    let mut hash = linux.secret_hash(u64::from(wanted.src.1) << 16 | u64::from(wanted.dst.1));
    for addr in [wanted.src.0, wanted.dst.0] {
        let bits = match addr {
            IpAddr::V4(addr) => u128::from(u32::from(addr)),
            IpAddr::V6(addr) => u128::from(addr),
        };
        hash = linux.secret_hash(linux.secret_hash(hash ^ bits as u64) ^ (bits >> 64) as u64);
    }
    hash
}

fn local_is(socket: &Socket, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => socket.rcv_addr4() == Some(addr.octets()),
        IpAddr::V6(addr) => socket.family == AF_INET6 && socket.local_ip6 == addr.octets(),
    }
}

fn remote_is(socket: &Socket, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => socket.peer_addr4() == Some(addr.octets()),
        IpAddr::V6(addr) => socket.family == AF_INET6 && socket.remote_ip6 == addr.octets(),
    }
}

fn remote_is_any(socket: &Socket) -> bool {
    match socket.family {
        AF_INET => socket.remote_ip4 == [0; 4],
        _ => socket.remote_ip6 == [0; 16],
    }
}
