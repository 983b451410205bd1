//! Where packets go: rules, tables, routes, neighbours, and the addresses that packets of the host itself get. Mirrors `fib_lookup` and
//! `fib6_lookup`; ip-rule(8), ip-route(8), RFC 6724.
//!
//! Of several ways of one route (multipath) the world has one.

use crate::Linux;
use crate::world::{
    Device, Neighbour, Net, Ports, RT_TABLE_DEFAULT, RT_TABLE_LOCAL, RT_TABLE_MAIN, Route, RouteKind, Rule,
    RuleAction,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is known of a packet when its route is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The device that it came in by.
    pub(crate) iif: u32,
    /// The device that it is to leave by; 0 for any.
    pub(crate) oif: u32,
    pub(crate) mark: u32,
    pub(crate) tos: u8,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No table has one (`EAGAIN`, `ENETUNREACH`).
    None,
    /// `EINVAL`.
    Blackhole,
    /// `EHOSTUNREACH`.
    Unreachable,
    /// `EACCES`.
    Prohibit,
}

/// `NUD_VALID`: the states in which a neighbour's address can be used.
const NUD_VALID: u16 = 0xde;
/// Metric of the IPv6 routes that addresses bring: `IP6_RT_PRIO_ADDRCONF`.
const ADDRCONF_METRIC: u32 = 256;

/// The route of a packet, by the rules.
pub(crate) fn lookup(net: &Net, flow: &Flow) -> Result<Route, Miss> {
    if net.rules.is_empty() {
        return match flow.dst {
            // Without rules of its own a namespace has its own addresses in the main table.
            IpAddr::V4(_) => in_tables(net, flow, &[RT_TABLE_MAIN, RT_TABLE_LOCAL], None)
                .or_else(|miss| next_if_none(miss, || in_table(net, flow, RT_TABLE_DEFAULT))),
            IpAddr::V6(_) => in_table(net, flow, RT_TABLE_LOCAL)
                .or_else(|miss| next_if_none(miss, || in_table(net, flow, RT_TABLE_MAIN))),
        };
    }
    let of_namespace = |priority, table| Rule { priority, table, ..Rule::default() };
    let mut rules = vec![of_namespace(0, RT_TABLE_LOCAL)];
    rules.extend(net.rules.iter().cloned());
    rules.extend([of_namespace(32766, RT_TABLE_MAIN), of_namespace(32767, RT_TABLE_DEFAULT)]);
    rules.sort_by_key(|rule| rule.priority);
    for rule in rules.iter().filter(|rule| matches(rule, flow)) {
        let table = match rule.action {
            RuleAction::Lookup => rule.table,
            RuleAction::L3mdev => match vrf_table(net, flow.oif).or_else(|| vrf_table(net, flow.iif)) {
                Some(table) => table,
                None => continue,
            },
            RuleAction::Blackhole => return Err(Miss::Blackhole),
            RuleAction::Unreachable => return Err(Miss::None),
            RuleAction::Prohibit => return Err(Miss::Prohibit),
        };
        match in_tables(net, flow, &[table], rule.suppress_prefix_len) {
            Err(Miss::None) => {}
            answer => return answer,
        }
    }
    Err(Miss::None)
}

/// The route of a packet in one table, whatever the rules say.
pub(crate) fn lookup_in(net: &Net, flow: &Flow, table: u32) -> Result<Route, Miss> {
    let merged =
        flow.dst.is_ipv4() && net.rules.is_empty() && matches!(table, RT_TABLE_MAIN | RT_TABLE_LOCAL);
    if merged {
        in_tables(net, flow, &[RT_TABLE_MAIN, RT_TABLE_LOCAL], None)
    } else {
        in_table(net, flow, table)
    }
}

/// The table of the VRF that a device is part of.
pub(crate) fn vrf_table(net: &Net, ifindex: u32) -> Option<u32> {
    let device = net.devices.by_index(ifindex)?;
    net.devices.vrf_of(device).unwrap_or(device).vrf_table
}

/// The longest packet that a route takes when it is forwarded, in bytes.
pub(crate) fn forward_mtu(linux: &Linux, route: &Route, device: &Device) -> u32 {
    const IP_MTU_MAX: u32 = 0xfff0;
    const IP6_MTU_MAX: u32 = 0xfff0 + 40;
    let is_v4 = route.dst.0.is_ipv4();
    let by_path = is_v4 && linux.sysctl("net/ipv4/ip_forward_use_pmtu", 0) != 0;
    let own = route.mtu.filter(|_| route.mtu_locked || by_path);
    match own {
        Some(mtu) => mtu,
        None if is_v4 => device.mtu.min(IP_MTU_MAX),
        None => device.mtu.clamp(1280, IP6_MTU_MAX),
    }
}

/// The link-layer address of a neighbour, if it can be used.
pub(crate) fn neighbour(net: &Net, ifindex: u32, addr: IpAddr) -> Option<&Neighbour> {
    let known = |neighbour: &&Neighbour| neighbour.ifindex == ifindex && neighbour.addr == addr;
    net.neighbours.iter().find(known).filter(|neighbour| neighbour.state & NUD_VALID != 0)
}

/// The source address that a packet of the host's own gets on this route.
pub(crate) fn source(net: &Net, route: &Route, dst: IpAddr) -> Option<IpAddr> {
    if route.src.is_some() {
        return route.src;
    }
    let device = net.devices.by_index(route.ifindex);
    match dst {
        IpAddr::V4(_) => {
            let own = device.into_iter().flat_map(|device| &device.addrs);
            let own: Vec<(IpAddr, u8)> = own.filter(|(addr, _)| addr.is_ipv4()).copied().collect();
            let near = route.via.and_then(|via| own.iter().find(|(addr, len)| covers((*addr, *len), via)));
            let others = net.devices.0.iter().flat_map(|device| &device.addrs);
            let mut global = others.filter(|(addr, _)| addr.is_ipv4() && !addr.is_loopback());
            near.or(own.first()).or_else(|| global.next()).map(|(addr, _)| *addr)
        }
        IpAddr::V6(dst) => {
            let all =
                net.devices.0.iter().flat_map(|device| device.addrs.iter().map(move |addr| (device, addr)));
            let score = |(at, (addr, _)): &(&Device, &(IpAddr, u8))| {
                let IpAddr::V6(addr) = addr else { return None };
                let (own, wanted) = (scope(addr), scope(&dst));
                // RFC 6724, 5: the same, the scope, the device, the prefix.
                let fits = if own >= wanted { 16 - own } else { own - 16 };
                let prefix = (u128::from(*addr) ^ u128::from(dst)).leading_zeros().min(64);
                Some((*addr == dst, fits, at.ifindex == route.ifindex, prefix))
            };
            let scored = all.filter(|(device, _)| device.up).filter_map(|row| Some((score(&row)?, row.1.0)));
            // Of equal ones the first.
            scored.reduce(|best, row| if row.0 > best.0 { row } else { best }).map(|(_, addr)| addr)
        }
    }
}

/// How far an address reaches, as in the scope of a multicast address: 1 the host, 2 the link, 14 everywhere.
fn scope(addr: &Ipv6Addr) -> i32 {
    match addr.segments() {
        _ if addr.is_loopback() => 1,
        [first, ..] if first & 0xffc0 == 0xfe80 => 2,
        _ => 14,
    }
}

fn next_if_none(miss: Miss, next: impl FnOnce() -> Result<Route, Miss>) -> Result<Route, Miss> {
    if miss == Miss::None { next() } else { Err(miss) }
}

fn in_table(net: &Net, flow: &Flow, table: u32) -> Result<Route, Miss> {
    in_tables(net, flow, &[table], None)
}

/// The best route of these tables, which are one: that of the longest prefix, the higher table, the lowest metric; of IPv6 rather one
/// through the packet's device.
fn in_tables(net: &Net, flow: &Flow, tables: &[u32], suppress: Option<u8>) -> Result<Route, Miss> {
    let is_v6 = flow.dst.is_ipv6();
    // IPv6 prefers the device that it is given, which is the one that the packet came in by if it is given no other.
    let preferred = if flow.oif != 0 { flow.oif } else { flow.iif };
    let fits = |route: &Route| {
        tables.contains(&route.table)
            && covers(route.dst, flow.dst)
            && (leads_nowhere(route.kind)
                || (net.devices.by_index(route.ifindex).is_some_and(|device| device.up)
                    && (is_v6 || flow.oif == 0 || flow.oif == route.ifindex)))
    };
    let order = |route: &Route| {
        let other = u32::from(is_v6 && route.ifindex != preferred);
        (u8::MAX - route.dst.1, u32::MAX - route.table, route.metric, other)
    };
    let stated = net.routes.iter().cloned();
    let best = brought_by_addresses(net).chain(stated).filter(fits).min_by_key(order).ok_or(Miss::None)?;
    if suppress.is_some_and(|len| best.dst.1 <= len) {
        return Err(Miss::None);
    }
    match best.kind {
        RouteKind::Blackhole => Err(Miss::Blackhole),
        RouteKind::Unreachable => Err(Miss::Unreachable),
        RouteKind::Prohibit => Err(Miss::Prohibit),
        RouteKind::Throw => Err(Miss::None),
        RouteKind::Unicast | RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => Ok(best),
    }
}

fn leads_nowhere(kind: RouteKind) -> bool {
    use RouteKind::*;
    matches!(kind, Blackhole | Unreachable | Prohibit | Throw)
}

/// The routes that come with addresses: to the host itself, to the network on the link, to all on the link.
fn brought_by_addresses(net: &Net) -> impl Iterator<Item = Route> + '_ {
    let with_addr = |device: &Device| {
        let (ifindex, forwarding) = (device.ifindex, device.forwarding);
        let vrf = vrf_table(net, ifindex);
        let addrs = if device.up { device.addrs.clone() } else { Vec::new() };
        addrs.into_iter().flat_map(move |addr| of_address(ifindex, addr, vrf, forwarding))
    };
    net.devices.0.iter().flat_map(with_addr)
}

fn of_address(ifindex: u32, (addr, len): (IpAddr, u8), vrf: Option<u32>, forwarding: bool) -> Vec<Route> {
    let table = |table| vrf.unwrap_or(table);
    let local =
        |dst: (IpAddr, u8), kind| Route { table: table(RT_TABLE_LOCAL), kind, ..Route::new(dst, ifindex) };
    let link = |network: IpAddr, metric, src| Route {
        table: table(RT_TABLE_MAIN),
        metric,
        src,
        ..Route::new((network, len), ifindex)
    };
    match addr {
        IpAddr::V4(ip) => {
            let mask = mask(u32::MAX, 32, len);
            let network = Ipv4Addr::from(u32::from(ip) & mask);
            let all = Ipv4Addr::from(u32::from(ip) | !mask);
            let mut routes = vec![local((addr, 32), RouteKind::Local)];
            if ip.is_loopback() {
                routes.push(local((network.into(), len), RouteKind::Local));
            } else if len < 32 {
                routes.push(link(network.into(), 0, Some(addr)));
            }
            if len < 31 {
                routes.push(local((all.into(), 32), RouteKind::Broadcast));
            }
            routes
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            let network = Ipv6Addr::from(u128::from(ip) & mask);
            let mut routes = vec![local((addr, 128), RouteKind::Local)];
            if !ip.is_loopback() {
                routes.push(link(network.into(), ADDRCONF_METRIC, None));
            }
            if forwarding && len < 127 {
                // The address of the routers on the link.
                routes.push(local((network.into(), 128), RouteKind::Local));
            }
            routes
        }
    }
}

/// The first `len` of `bits` bits.
fn mask(all: u32, bits: u32, len: u8) -> u32 {
    all.checked_shl(bits - u32::from(len).min(bits)).unwrap_or(0)
}

/// Whether a prefix has an address in it.
fn covers((network, len): (IpAddr, u8), addr: IpAddr) -> bool {
    match (network, addr) {
        (IpAddr::V4(network), IpAddr::V4(addr)) => {
            (u32::from(network) ^ u32::from(addr)) & mask(u32::MAX, 32, len) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(addr)) => {
            let differing = (u128::from(network) ^ u128::from(addr)).leading_zeros();
            differing >= u32::from(len.min(128))
        }
        _ => false,
    }
}

fn matches(rule: &Rule, flow: &Flow) -> bool {
    let within = |prefix: Option<(IpAddr, u8)>, addr| prefix.is_none_or(|prefix| covers(prefix, addr));
    let among =
        |ports: Option<Ports>, port| ports.is_none_or(|ports| (ports.first..=ports.last).contains(&port));
    let family = rule.from.or(rule.to).is_none_or(|(addr, _)| addr.is_ipv4() == flow.dst.is_ipv4());
    let all = within(rule.from, flow.src)
        && within(rule.to, flow.dst)
        && (rule.iif == 0 || rule.iif == flow.iif)
        && (rule.oif == 0 || rule.oif == flow.oif)
        && (flow.mark ^ rule.mark) & rule.mark_mask == 0
        && (rule.tos == 0 || rule.tos == flow.tos)
        && (rule.protocol == 0 || rule.protocol == flow.protocol)
        && among(rule.sports, flow.sport)
        && among(rule.dports, flow.dport);
    family && all != rule.invert
}
