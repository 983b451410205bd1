//! `Net`: the network namespace that programs see: devices, routes, neighbours, sockets, tracked connections.

use super::{Devices, Socket};
use std::net::{IpAddr, SocketAddr};

/// A network namespace. The default is an empty one, as `unshare -n` makes it: `lo`, down, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// What `bpf_get_netns_cookie` answers; 1 is the first namespace's.
    pub cookie: u64,
    /// The inode number of the file that stands for it (`/proc/self/ns/net`).
    pub inum: u32,
    /// The network devices.
    pub devices: Devices,
    /// Routes of all tables. Those that addresses of devices bring (local, broadcast) are to be stated too.
    pub routes: Vec<Route>,
    /// Link-layer addresses of neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Sockets at the start.
    pub sockets: Vec<Socket>,
    /// Connections that netfilter tracks.
    pub conntrack: Vec<Connection>,
}

impl Default for Net {
    fn default() -> Net {
        Net {
            cookie: 1,
            inum: 0xf000_0000,
            devices: Devices::default(),
            routes: Vec::new(),
            neighbours: Vec::new(),
            sockets: Vec::new(),
            conntrack: Vec::new(),
        }
    }
}

/// A route. Mirrors `struct rtmsg` and its attributes, rtnetlink(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The table: 254 is main, 255 local.
    pub table: u32,
    /// What is done with packets.
    pub kind: RouteKind,
    /// Destinations: an address, and how many of its bits count.
    pub dst: (IpAddr, u8),
    /// The gateway; none if destinations are on the link. Of either family.
    pub via: Option<IpAddr>,
    /// The device, by index; 0 for routes that lead nowhere.
    pub ifindex: u32,
    /// The source address that packets of this host get.
    pub src: Option<IpAddr>,
    /// Of routes with the same destination the one with the lowest counts.
    pub metric: u32,
    /// The longest packet, in bytes; none: the device's.
    pub mtu: Option<u32>,
    /// The realm (`tclassid` of `bpf_fib_lookup`).
    pub realm: u32,
}

/// What a route does with packets: `RTN_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends them on.
    #[default]
    Unicast,
    /// They are for this host.
    Local,
    /// They are for all on the link.
    Broadcast,
    /// They are for a group.
    Multicast,
    /// Drops them silently.
    Blackhole,
    /// Drops them, and says that the host cannot be reached.
    Unreachable,
    /// Drops them, and says that it is forbidden.
    Prohibit,
    /// Looks no further in this table: the next rule decides.
    Throw,
}

/// A neighbour's link-layer address. Mirrors `struct ndmsg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The device that it is reached by, by index.
    pub ifindex: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its link-layer address.
    pub lladdr: [u8; 6],
    /// `NUD_*`: 2 reachable, 4 stale, 128 permanent.
    pub state: u16,
}

/// A connection that netfilter tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u8,
    /// The zone.
    pub zone: u16,
    /// Source and destination of its first packet.
    pub original: (SocketAddr, SocketAddr),
    /// Source and destination of answers, as they are seen: other than the reverse if addresses are translated.
    pub reply: (SocketAddr, SocketAddr),
    /// `IPS_*`.
    pub status: u32,
    /// Its mark.
    pub mark: u32,
    /// When it is forgotten, in milliseconds from the start.
    pub timeout_ms: u32,
}
