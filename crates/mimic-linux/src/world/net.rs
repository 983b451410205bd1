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
    /// Routes of all tables. Those that the addresses of devices bring (to networks on the link, to the host itself, to all on the
    /// link) are there without being stated.
    pub routes: Vec<Route>,
    /// Which tables are looked at, besides the rules that every namespace has: `local` at priority 0, `main` at 32766, `default` at
    /// 32767.
    pub rules: Vec<Rule>,
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
            rules: Vec::new(),
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
    /// That length holds whatever path discovery says (`mtu lock`): only then does forwarding keep to it.
    pub mtu_locked: bool,
    /// Packets are put into others on the way (`encap`).
    pub encap: bool,
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

impl Route {
    /// A route of the main table to these destinations, through a device.
    pub fn new(dst: (IpAddr, u8), ifindex: u32) -> Route {
        Route {
            table: RT_TABLE_MAIN,
            kind: RouteKind::Unicast,
            dst,
            via: None,
            ifindex,
            src: None,
            metric: 0,
            mtu: None,
            mtu_locked: false,
            encap: false,
            realm: 0,
        }
    }
}

/// The table that rules of the namespace itself end with: `RT_TABLE_DEFAULT`.
pub const RT_TABLE_DEFAULT: u32 = 253;
/// The table of ordinary routes.
pub const RT_TABLE_MAIN: u32 = 254;
/// The table of the host's own addresses.
pub const RT_TABLE_LOCAL: u32 = 255;

/// A rule that says which table packets are routed by. Mirrors `struct fib_rule_hdr` and its attributes, ip-rule(8). What is not stated
/// matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Rules are asked from the lowest on.
    pub priority: u32,
    /// It matches what it would not, and the other way round.
    pub invert: bool,
    /// Sources; a rule without addresses is for both families.
    pub from: Option<(IpAddr, u8)>,
    /// Destinations.
    pub to: Option<(IpAddr, u8)>,
    /// The device that packets came in by, by index; 0 for all.
    pub iif: u32,
    /// The device that they are to leave by, by index; 0 for all.
    pub oif: u32,
    /// What the bits of their mark are that count.
    pub mark: u32,
    /// Which bits of it count.
    pub mark_mask: u32,
    /// The type of service, 0 for all.
    pub tos: u8,
    /// `IPPROTO_*`, 0 for all.
    pub protocol: u8,
    /// Source ports.
    pub sports: Option<Ports>,
    /// Destination ports.
    pub dports: Option<Ports>,
    /// What is done.
    pub action: RuleAction,
    /// The table that is looked at, if one is.
    pub table: u32,
    /// Of the table, routes with prefixes no longer than that do not count.
    pub suppress_prefix_len: Option<u8>,
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// What a rule does with what it matches: `FR_ACT_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks at its table.
    #[default]
    Lookup,
    /// Looks at the table of the VRF that the packet's device is part of; it matches such packets only.
    L3mdev,
    /// Drops them silently.
    Blackhole,
    /// Drops them, and says that the host cannot be reached.
    Unreachable,
    /// Drops them, and says that it is forbidden.
    Prohibit,
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
    /// When it is forgotten, in milliseconds from the start; 0: it stays.
    pub timeout_ms: u32,
}

/// A connection as the tables have it.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    pub(crate) connection: Connection,
    /// Lookups find it; a program has made it, but not inserted, if not.
    pub(crate) inserted: bool,
    /// When it is forgotten, in milliseconds from the start; before it is inserted, how long it will be kept.
    pub(crate) expires_ms: Option<u64>,
}

impl Tracked {
    /// One that the world states.
    pub(crate) fn stated(connection: &Connection) -> Tracked {
        let expires_ms = (connection.timeout_ms != 0).then_some(connection.timeout_ms.into());
        Tracked { connection: connection.clone(), inserted: true, expires_ms }
    }

    /// Whether lookups find it, so many milliseconds after the start.
    pub(crate) fn is_there(&self, now_ms: u64) -> bool {
        self.inserted && self.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms)
    }

    /// Sets when it is forgotten.
    pub(crate) fn expire_at(&mut self, expires_ms: Option<u64>) {
        self.expires_ms = expires_ms;
        self.connection.timeout_ms = expires_ms.map_or(0, |at_ms| u32::try_from(at_ms).unwrap_or(u32::MAX));
    }
}

/// The most connections that are tracked.
pub const CONNECTIONS_MAX: usize = 1 << 16;
