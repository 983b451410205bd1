//! Devices with their addresses, routes, neighbours, tracked connections.

use super::{Capture, inode, names, read, word};
use mimic::linux::{Connection, Device, Neighbour, Route, RouteKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most routes, neighbours and connections of each kind.
const ROWS_MAX: usize = 1 << 16;
/// Tables of routes.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

impl Capture {
    /// The devices, and which namespace they are in.
    pub(super) fn devices(&mut self) {
        if let Some(ns) = inode("/proc/self/ns/net") {
            self.world.net.inum = ns.ino as u32;
        }
        self.world.net.devices.0 = names("/sys/class/net").iter().filter_map(|name| device(name)).collect();
        self.world.net.devices.0.sort_by_key(|device| device.ifindex);
        let routes = read("/proc/net/route").unwrap_or_default();
        let trie = self.read("/proc/net/fib_trie").unwrap_or_default();
        let mut homeless = Vec::new();
        for (addr, bits) in local_addrs(&trie) {
            let Some((name, bits)) = home(&routes, addr, bits) else {
                homeless.push(addr.to_string());
                continue;
            };
            self.add_addr(&name, addr.into(), bits);
        }
        if !homeless.is_empty() {
            self.leave_out(&homeless.join(", "), "/proc does not tell whose address it is");
        }
        for (name, addr, bits) in v6_addrs(&read("/proc/net/if_inet6").unwrap_or_default()) {
            self.add_addr(&name, addr.into(), bits);
        }
    }

    fn add_addr(&mut self, name: &str, addr: IpAddr, bits: u8) {
        if let Some(device) = self.world.net.devices.0.iter_mut().find(|device| device.name == name) {
            device.addrs.push((addr, bits));
        }
    }

    fn ifindex(&self, name: &str) -> u32 {
        let device = self.world.net.devices.0.iter().find(|device| device.name == name);
        device.map_or(0, |device| device.ifindex)
    }

    /// The routes of the main table, and those of the local one that addresses bring.
    pub(super) fn routes(&mut self) {
        let mut routes = Vec::new();
        for (name, mut route) in v4_routes(&self.read("/proc/net/route").unwrap_or_default()) {
            route.ifindex = self.ifindex(&name);
            routes.push(route);
        }
        for (name, mut route) in v6_routes(&read("/proc/net/ipv6_route").unwrap_or_default()) {
            route.ifindex = self.ifindex(&name);
            routes.push(route);
        }
        for device in &self.world.net.devices.0 {
            for (addr, _) in device.addrs.iter().filter(|(addr, _)| addr.is_ipv4()) {
                let src = Some(*addr);
                let local = route((*addr, 32), LOCAL);
                routes.push(Route { kind: RouteKind::Local, ifindex: device.ifindex, src, ..local });
            }
        }
        routes.truncate(ROWS_MAX);
        self.world.net.routes = routes;
    }

    /// The IPv4 neighbours.
    pub(super) fn neighbours(&mut self) {
        let rows = arp(&self.read("/proc/net/arp").unwrap_or_default());
        let neighbour = |(name, addr, lladdr, state): (String, Ipv4Addr, [u8; 6], u16)| Neighbour {
            ifindex: self.ifindex(&name),
            addr: addr.into(),
            lladdr,
            state,
        };
        self.world.net.neighbours = rows.into_iter().take(ROWS_MAX).map(neighbour).collect();
    }

    /// What netfilter tracks.
    pub(super) fn conntrack(&mut self) {
        match read("/proc/net/nf_conntrack") {
            Ok(text) => {
                let rows = text.lines().filter_map(connection);
                self.world.net.conntrack = rows.take(ROWS_MAX).collect();
            }
            Err(error) => self.leave_out("tracked connections (/proc/net/nf_conntrack)", error),
        }
    }
}

fn device(name: &str) -> Option<Device> {
    const IFF_UP: u64 = 1;
    const ARPHRD_ETHER: u32 = 1;
    const ARPHRD_LOOPBACK: u32 = 772;
    let at = |what: &str| word(&format!("/sys/class/net/{name}/{what}"));
    let number = |what: &str| at(what)?.parse::<u32>().ok();
    let master = std::fs::read_link(format!("/sys/class/net/{name}/master")).ok();
    let master = master.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
    let master = master.and_then(|master| word(&format!("/sys/class/net/{master}/ifindex"))?.parse().ok());
    let flags = at("flags").and_then(|flags| u64::from_str_radix(flags.strip_prefix("0x")?, 16).ok());
    let queues = names(&format!("/sys/class/net/{name}/queues"));
    let link_layer = matches!(number("type"), Some(ARPHRD_ETHER | ARPHRD_LOOPBACK));
    let forwarding = word(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"));
    Some(Device {
        mtu: number("mtu")?,
        hard_header_len: if link_layer { 14 } else { 0 },
        addr: at("address").and_then(|text| mac(&text)).unwrap_or_default(),
        broadcast: at("broadcast").and_then(|text| mac(&text)).unwrap_or_default(),
        up: flags.is_some_and(|flags| flags & IFF_UP != 0),
        rx_queues: queues.iter().filter(|queue| queue.starts_with("rx-")).count().max(1) as u32,
        master: master.unwrap_or(0),
        forwarding: forwarding.as_deref() == Some("1"),
        ..Device::ethernet(number("ifindex")?, name)
    })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn route(dst: (IpAddr, u8), table: u32) -> Route {
    Route { table, ..Route::new(dst, 0) }
}

/// An IPv4 address as `/proc/net/route` has it: the number in the host's byte order.
fn v4(text: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(text, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from).filter(|_| text.len() == 32)
}

/// This host's own IPv4 addresses, each once, with the bits of what is local.
fn local_addrs(trie: &str) -> Vec<(Ipv4Addr, u8)> {
    let mut addrs = Vec::new();
    let mut addr = None;
    for line in trie.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("|-- ") {
            addr = text.parse::<Ipv4Addr>().ok();
        } else if line.ends_with("host LOCAL")
            && let Some(addr) = addr
            && let Some(bits) = line.strip_prefix('/').and_then(|text| text.split(' ').next()?.parse().ok())
            && bits == 32
            && !addrs.iter().any(|(known, _)| *known == addr)
        {
            addrs.push((addr, bits));
        }
    }
    addrs
}

/// The device whose network an address is of, and the bits of that network.
fn home(routes: &str, addr: Ipv4Addr, bits: u8) -> Option<(String, u8)> {
    if addr.is_loopback() {
        return Some(("lo".into(), 8));
    }
    let networks = v4_routes(routes).into_iter().filter(|(_, route)| route.via.is_none() && route.dst.1 > 0);
    let holds = |route: &Route| match route.dst {
        (IpAddr::V4(network), len) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            u32::from(addr) & mask == u32::from(network)
        }
        (IpAddr::V6(_), _) => false,
    };
    let best = networks.filter(|(_, route)| holds(route)).max_by_key(|(_, route)| route.dst.1);
    best.map(|(name, route)| (name, route.dst.1.min(bits)))
}

/// Routes of `/proc/net/route`, with the names of their devices.
fn v4_routes(text: &str) -> Vec<(String, Route)> {
    const RTF_REJECT: u32 = 0x200;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, dst, via, flags, _, _, metric, mask, mtu, ..] = words[..] else { return None };
        let bits = u32::from(v4(mask)?).count_ones() as u8;
        let via = v4(via).filter(|via| !via.is_unspecified()).map(IpAddr::V4);
        let rejects = u32::from_str_radix(flags, 16).ok()? & RTF_REJECT != 0;
        let kind = if rejects { RouteKind::Unreachable } else { RouteKind::Unicast };
        let mtu = mtu.parse().ok().filter(|mtu| *mtu > 0);
        let metric = metric.parse().ok()?;
        Some((name.to_owned(), Route { kind, via, metric, mtu, ..route((v4(dst)?.into(), bits), MAIN) }))
    };
    text.lines().filter_map(row).collect()
}

/// Routes of `/proc/net/ipv6_route`.
fn v6_routes(text: &str) -> Vec<(String, Route)> {
    const RTF_REJECT: u32 = 0x200;
    const RTF_LOCAL: u32 = 0x8000_0000;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [dst, bits, _, _, via, metric, _, _, flags, name] = words[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let flags = hex(flags)?;
        let (kind, table) = match flags {
            flags if flags & RTF_LOCAL != 0 => (RouteKind::Local, LOCAL),
            flags if flags & RTF_REJECT != 0 => (RouteKind::Unreachable, MAIN),
            _ => (RouteKind::Unicast, MAIN),
        };
        let via = v6(via).filter(|via| !via.is_unspecified()).map(IpAddr::V6);
        let dst = (v6(dst)?.into(), hex(bits)? as u8);
        Some((name.to_owned(), Route { kind, via, metric: hex(metric)?, ..route(dst, table) }))
    };
    text.lines().filter_map(row).collect()
}

/// Addresses of `/proc/net/if_inet6`: device, address, bits.
fn v6_addrs(text: &str) -> Vec<(String, Ipv6Addr, u8)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [addr, _, bits, _, _, name] = words[..] else { return None };
        Some((name.to_owned(), v6(addr)?, u8::from_str_radix(bits, 16).ok()?))
    };
    text.lines().filter_map(row).collect()
}

/// Neighbours of `/proc/net/arp` that are complete.
fn arp(text: &str) -> Vec<(String, Ipv4Addr, [u8; 6], u16)> {
    const ATF_COM: u32 = 2;
    const ATF_PERM: u32 = 4;
    const NUD_REACHABLE: u16 = 2;
    const NUD_PERMANENT: u16 = 128;
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [addr, _, flags, lladdr, _, name] = words[..] else { return None };
        let flags =
            u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok().filter(|flags| flags & ATF_COM != 0)?;
        let state = if flags & ATF_PERM != 0 { NUD_PERMANENT } else { NUD_REACHABLE };
        Some((name.to_owned(), addr.parse().ok()?, mac(lladdr)?, state))
    };
    text.lines().filter_map(row).collect()
}

/// A line of `/proc/net/nf_conntrack`, of TCP or UDP.
fn connection(line: &str) -> Option<Connection> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let all = |key: &str| -> Vec<&str> {
        words.iter().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).collect()
    };
    let (src, dst, sport, dport) = (all("src"), all("dst"), all("sport"), all("dport"));
    let end = |addrs: &[&str], ports: &[&str], at: usize| -> Option<SocketAddr> {
        Some(SocketAddr::new(addrs.get(at)?.parse().ok()?, ports.get(at)?.parse().ok()?))
    };
    let number = |key: &str| all(key).first().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    const SEEN_REPLY: u32 = 2;
    const ASSURED: u32 = 4;
    const CONFIRMED: u32 = 8;
    let replied = if words.contains(&"[UNREPLIED]") { 0 } else { SEEN_REPLY };
    let assured = if words.contains(&"[ASSURED]") { ASSURED } else { 0 };
    Some(Connection {
        protocol: words.get(3)?.parse().ok().filter(|protocol| matches!(protocol, 6 | 17))?,
        zone: number("zone") as u16,
        original: (end(&src, &sport, 0)?, end(&dst, &dport, 0)?),
        reply: (end(&src, &sport, 1)?, end(&dst, &dport, 1)?),
        status: CONFIRMED | replied | assured,
        mark: number("mark"),
        timeout_ms: words.get(4)?.parse::<u32>().ok()?.saturating_mul(1000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t1400\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    #[cfg(target_endian = "little")]
    #[test]
    fn texts_of_the_network_are_read() {
        let routes = v4_routes(ROUTES);
        let (name, default) = &routes[0];
        assert_eq!((name.as_str(), default.via, default.metric), ("eth0", Some([192, 0, 2, 1].into()), 100));
        assert_eq!(
            (default.mtu, routes[1].1.mtu, routes[1].1.dst),
            (Some(1400), None, ([192, 0, 2, 0].into(), 24))
        );
        let trie = "Main:\n  |-- 192.0.2.0\n     /24 link UNICAST\n  |-- 192.0.2.2\n     /32 host LOCAL\n\
            Local:\n  |-- 192.0.2.2\n     /32 host LOCAL\n  |-- 127.0.0.0\n     /8 host LOCAL\n";
        assert_eq!(local_addrs(trie), [(Ipv4Addr::new(192, 0, 2, 2), 32)]);
        assert_eq!(home(ROUTES, Ipv4Addr::new(192, 0, 2, 2), 32), Some(("eth0".into(), 24)));
        assert_eq!(home(ROUTES, Ipv4Addr::new(10, 0, 0, 1), 32), None);
        let six = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
        assert_eq!(v6_routes(six)[0].1.dst, ("fe80::".parse().expect("an address"), 64));
        let addrs = v6_addrs("00000000000000000000000000000001 01 80 10 80       lo\n");
        assert_eq!(addrs, [("lo".into(), Ipv6Addr::LOCALHOST, 128)]);
        let arp = arp("IP address HW type Flags HW address Mask Device\n\
            192.0.2.1 0x1 0x2 02:00:00:00:00:01 * eth0\n192.0.2.3 0x1 0x0 00:00:00:00:00:00 * eth0\n");
        assert_eq!(arp, [("eth0".into(), Ipv4Addr::new(192, 0, 2, 1), [2, 0, 0, 0, 0, 1], 2)]);
    }

    #[test]
    fn tracked_connections_are_read() {
        let line = "ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.2 dst=198.51.100.1 sport=4000 dport=80 \
            src=198.51.100.1 dst=192.0.2.2 sport=80 dport=4000 [ASSURED] mark=7 zone=3 use=2";
        let found = connection(line).expect("it is good");
        assert_eq!((found.protocol, found.mark, found.zone, found.status), (6, 7, 3, 14));
        assert_eq!(found.original.1, "198.51.100.1:80".parse().expect("an address"));
        assert_eq!(
            (found.reply.1, found.timeout_ms),
            ("192.0.2.2:4000".parse().expect("an address"), 431_999_000)
        );
        assert_eq!(connection("ipv4 2 icmp 1 29 src=1.1.1.1 dst=2.2.2.2"), None);
    }
}
