//! `bpf_fib_lookup` in a namespace with two devices, their addresses, routes of each kind, rules and neighbours.

use crate::scene::{Input, Question, ask, ip, sysctl};
use mimic_abi::ProgType;
use mimic_linux::{Device, Neighbour, Route, RouteKind, Rule, World};
use std::net::IpAddr;

const VETH0: u32 = 2;
const VETH1: u32 = 3;
const DIRECT: u32 = 1;
const OUTPUT: u32 = 2;
const SKIP_NEIGH: u32 = 4;
const TBID: u32 = 8;
const SRC: u32 = 16;
const MARK: u32 = 32;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn prefix(text: &str) -> (IpAddr, u8) {
    let (network, len) = text.split_once('/').expect("a prefix");
    (addr(network), len.parse().expect("a length"))
}

/// What both sides have: `ip route add` of these words, and the route that it states.
fn routes() -> Vec<(&'static str, Route)> {
    let to = |dst| Route::new(prefix(dst), VETH0);
    let via = |dst, gateway| Route { via: Some(addr(gateway)), ..to(dst) };
    let none = |dst, kind| Route { kind, ifindex: 0, ..to(dst) };
    vec![
        ("10.1.0.0/16 via 10.0.0.254 metric 5", Route { metric: 5, ..via("10.1.0.0/16", "10.0.0.254") }),
        ("10.1.0.0/16 via 10.0.0.253 metric 6", Route { metric: 6, ..via("10.1.0.0/16", "10.0.0.253") }),
        (
            "10.1.2.0/24 via 10.0.0.253 mtu 1400",
            Route { mtu: Some(1400), ..via("10.1.2.0/24", "10.0.0.253") },
        ),
        (
            "10.1.3.0/24 via 10.0.0.253 mtu lock 1300",
            Route { mtu: Some(1300), mtu_locked: true, ..via("10.1.3.0/24", "10.0.0.253") },
        ),
        ("blackhole 10.2.0.0/16", none("10.2.0.0/16", RouteKind::Blackhole)),
        ("unreachable 10.3.0.0/16", none("10.3.0.0/16", RouteKind::Unreachable)),
        ("prohibit 10.4.0.0/16", none("10.4.0.0/16", RouteKind::Prohibit)),
        ("throw 10.5.0.0/16", none("10.5.0.0/16", RouteKind::Throw)),
        ("10.6.0.0/16 via inet6 fd00::254 dev veth0", via("10.6.0.0/16", "fd00::254")),
        ("10.7.0.0/16 dev veth1", Route::new(prefix("10.7.0.0/16"), VETH1)),
        ("10.8.0.0/16 via 10.0.0.250 table 100", Route { table: 100, ..via("10.8.0.0/16", "10.0.0.250") }),
        ("blackhole 10.8.0.0/16", none("10.8.0.0/16", RouteKind::Blackhole)),
        (
            "10.9.0.0/16 via 10.0.0.254 src 10.0.0.3",
            Route { src: Some(addr("10.0.0.3")), ..via("10.9.0.0/16", "10.0.0.254") },
        ),
        (
            "10.9.1.0/24 via 10.5.5.5 dev veth1 onlink",
            Route { via: Some(addr("10.5.5.5")), ..Route::new(prefix("10.9.1.0/24"), VETH1) },
        ),
        ("blackhole default table 101", Route { table: 101, ..none("0.0.0.0/0", RouteKind::Blackhole) }),
        ("default via 10.0.0.254 table 102", Route { table: 102, ..via("0.0.0.0/0", "10.0.0.254") }),
        ("fd01::/32 via fd00::254 metric 7", Route { metric: 7, ..via("fd01::/32", "fd00::254") }),
        ("fd01:2::/32 dev veth1 metric 7", Route { metric: 7, ..Route::new(prefix("fd01:2::/32"), VETH1) }),
        ("fd01:2::/32 via fd00::253 metric 7", Route { metric: 7, ..via("fd01:2::/32", "fd00::253") }),
        (
            "fd01:3::/32 via fd00::254 mtu lock 1300",
            Route { metric: 1024, mtu: Some(1300), mtu_locked: true, ..via("fd01:3::/32", "fd00::254") },
        ),
        ("blackhole fd02::/32", Route { metric: 1024, ..none("fd02::/32", RouteKind::Blackhole) }),
        ("unreachable fd03::/32", Route { metric: 1024, ..none("fd03::/32", RouteKind::Unreachable) }),
        ("prohibit fd04::/32", Route { metric: 1024, ..none("fd04::/32", RouteKind::Prohibit) }),
        ("throw fd05::/32", Route { metric: 1024, ..none("fd05::/32", RouteKind::Throw) }),
        ("fd07::/32 dev veth1", Route { metric: 1024, ..Route::new(prefix("fd07::/32"), VETH1) }),
        (
            "fd08::/32 via fd00::250 table 100",
            Route { metric: 1024, table: 100, ..via("fd08::/32", "fd00::250") },
        ),
    ]
}

const NEIGHBOURS: &[(&str, &str, u16)] = &[
    ("10.0.0.254", "permanent", 0x80),
    ("10.0.0.253", "stale", 4),
    ("fd00::254", "permanent", 0x80),
    ("10.0.0.9", "permanent", 0x80),
];
const LLADDR: [u8; 6] = [2, 0, 0, 0, 1, 1];

fn world() -> World {
    let mut world = World::default();
    let net = &mut world.net;
    (net.devices.0[0].up, net.devices.0[0].forwarding) = (true, true);
    net.devices.0[0].addrs = vec![prefix("127.0.0.1/8"), prefix("::1/128")];
    let veth0 = Device {
        addrs: ["10.0.0.1/24", "10.0.0.3/24", "fd00::1/64"].map(prefix).into(),
        forwarding: true,
        ..Device::ethernet(VETH0, "veth0")
    };
    net.devices.0.extend([veth0, Device { mtu: 1280, ..Device::ethernet(VETH1, "veth1") }]);
    net.routes = routes().into_iter().map(|(_, route)| route).collect();
    let neighbour = |(at, _, state): &(&str, &str, u16)| Neighbour {
        ifindex: VETH0,
        addr: addr(at),
        lladdr: LLADDR,
        state: *state,
    };
    net.neighbours = NEIGHBOURS.iter().map(neighbour).collect();
    world
}

fn make_routes() {
    ip(
        "link add veth0 index 2 address 02:00:00:00:00:02 type veth peer name veth1 index 3 address 02:00:00:00:00:03",
    );
    for device in ["veth0", "veth1"] {
        ip(&format!("link set {device} addrgenmode none up"));
    }
    ip("link set veth1 mtu 1280");
    ip("link set lo up");
    for address in ["10.0.0.1/24", "10.0.0.3/24"] {
        ip(&format!("addr add {address} dev veth0"));
    }
    ip("addr add fd00::1/64 dev veth0 nodad");
    for family in ["ipv4", "ipv6"] {
        sysctl(&format!("net/{family}/conf/all/forwarding"), "1");
        sysctl(&format!("net/{family}/conf/veth1/forwarding"), "0");
    }
    for (words, route) in routes() {
        let family = if route.dst.0.is_ipv4() { "-4" } else { "-6" };
        // IPv6's `add` makes several ways of one route, where the world has one.
        let verb = if route.dst.0.is_ipv4() { "add" } else { "append" };
        ip(&format!("{family} route {verb} {words}"));
    }
    let lladdr: Vec<String> = LLADDR.iter().map(|byte| format!("{byte:02x}")).collect();
    for (at, state, _) in NEIGHBOURS {
        ip(&format!("neigh add {at} lladdr {} nud {state} dev veth0", lladdr.join(":")));
    }
}

/// What is asked: `struct bpf_fib_lookup` and flags.
struct Case {
    src: &'static str,
    dst: &'static str,
    ifindex: u32,
    flags: u32,
    tot_len: u16,
    /// The table, or the mark.
    word: u32,
}

fn case(dst: &'static str, flags: u32) -> Case {
    let src = if addr(dst).is_ipv4() { "10.0.0.9" } else { "fd00::9" };
    Case { src, dst, ifindex: VETH0, flags, tot_len: 0, word: 0 }
}

fn input(case: &Case) -> (String, Input) {
    let (src, dst) = (addr(case.src), addr(case.dst));
    let mut params = [0u8; 72];
    params[0] = if dst.is_ipv4() { 2 } else { 10 };
    params[6..8].copy_from_slice(&case.tot_len.to_ne_bytes());
    params[8..12].copy_from_slice(&case.ifindex.to_ne_bytes());
    for (at, address) in [(16, src), (32, dst)] {
        match address {
            IpAddr::V4(address) => params[at..at + 4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => params[at..at + 16].copy_from_slice(&address.octets()),
        }
    }
    let at = if case.flags & TBID != 0 { 48 } else { 52 };
    params[at..at + 4].copy_from_slice(&case.word.to_ne_bytes());
    params[64..68].copy_from_slice(&case.flags.to_ne_bytes());
    let Case { ifindex, flags, tot_len, word, .. } = case;
    let name = format!("{src} {dst} dev {ifindex} flags {flags:#x} len {tot_len} word {word}");
    (name, Input { payload: params.into(), ctx: Vec::new() })
}

fn inputs() -> Vec<(String, Input)> {
    let mut cases = Vec::new();
    let destinations = [
        "10.0.0.9",
        "10.0.0.77",
        "10.0.0.1",
        "10.0.0.255",
        "10.1.1.1",
        "10.1.2.1",
        "10.1.3.1",
        "10.2.0.1",
        "10.3.0.1",
        "10.4.0.1",
        "10.5.0.1",
        "10.6.0.1",
        "10.7.0.1",
        "10.8.0.1",
        "10.9.0.1",
        "10.9.1.1",
        "11.0.0.1",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "fd00::9",
        "fd00::254",
        "fd00::1",
        "fd00::",
        "fd01::1",
        "fd01:2::1",
        "fd01:3::1",
        "fd02::1",
        "fd03::1",
        "fd04::1",
        "fd05::1",
        "fd07::1",
        "fd08::1",
        "fe80::1",
        "::1",
        "ff02::1",
        "::",
    ];
    for dst in destinations {
        for flags in [0, DIRECT, OUTPUT, SKIP_NEIGH, SRC, DIRECT | OUTPUT | SKIP_NEIGH | SRC] {
            cases.push(case(dst, flags));
        }
        for tot_len in [1, 1280, 1281, 1300, 1301, 1400, 1401, 1500, 1501] {
            cases.push(Case { tot_len, ..case(dst, SKIP_NEIGH) });
        }
        for word in [100, 101, 102, 103, 253, 254, 255] {
            cases.push(Case { word, ..case(dst, DIRECT | TBID | SKIP_NEIGH) });
        }
    }
    for ifindex in [0, 1, VETH1, 9] {
        for flags in [0, OUTPUT] {
            cases.push(Case { ifindex, ..case("10.1.1.1", flags) });
            cases.push(Case { ifindex, ..case("fd01::1", flags) });
        }
    }
    cases.push(Case { src: "fe80::1", ..case("fd01::1", 0) });
    cases.push(case("10.1.1.1", 64));
    cases.iter().map(input).collect()
}

/// Asks with the packet's bytes, and puts the answer back.
fn program(load: &str, store: &str) -> String {
    format!(
        "r6 = r1; r2 = 14; r3 = r10; r3 += -72; r4 = 72; call {load}
         r1 = r6; r2 = r10; r2 += -72; r3 = 64; r4 = *(u32 *)(r10 - 8); call 69; r7 = r0
         r1 = r6; r2 = 14; r3 = r10; r3 += -72; r4 = 72; r5 = 0; call {store}
         r0 = r7; exit"
    )
}

fn questions(inputs: impl Fn() -> Vec<(String, Input)>) -> [Question; 2] {
    [
        Question { name: "tc", prog_type: ProgType::SchedCls, text: program("26", "9"), inputs: inputs() },
        Question { name: "xdp", prog_type: ProgType::Xdp, text: program("189", "190"), inputs: inputs() },
    ]
}

#[test]
fn routes_are_the_kernels() {
    ask("routes.txt", &world(), &questions(inputs), make_routes);
}

/// Rules: `ip rule add` of these words, and the rule that it states.
fn rules() -> Vec<(&'static str, Rule)> {
    let at = |priority, table| Rule { priority, table, ..Rule::default() };
    vec![
        ("fwmark 7 table 100 priority 100", Rule { mark: 7, mark_mask: u32::MAX, ..at(100, 100) }),
        ("fwmark 0x10/0xf0 table 101 priority 101", Rule { mark: 0x10, mark_mask: 0xf0, ..at(101, 101) }),
        ("from 10.0.0.8 table 102 priority 102", Rule { from: Some(prefix("10.0.0.8/32")), ..at(102, 102) }),
        (
            "to 12.0.0.0/8 prohibit priority 103",
            Rule { to: Some(prefix("12.0.0.0/8")), action: mimic_linux::RuleAction::Prohibit, ..at(103, 0) },
        ),
        (
            "not from 10.0.0.0/24 to 13.0.0.0/8 unreachable priority 104",
            Rule {
                invert: true,
                from: Some(prefix("10.0.0.0/24")),
                to: Some(prefix("13.0.0.0/8")),
                action: mimic_linux::RuleAction::Unreachable,
                ..at(104, 0)
            },
        ),
    ]
}

#[test]
fn rules_are_the_kernels() {
    let mut world = world();
    world.net.rules = rules().into_iter().map(|(_, rule)| rule).collect();
    let inputs = || {
        let mut cases = Vec::new();
        for dst in
            ["10.1.1.1", "10.8.0.1", "10.2.0.1", "12.0.0.1", "13.0.0.1", "10.0.0.1", "127.0.0.5", "fd01::1"]
        {
            for (flags, word) in [(0, 7), (MARK, 7), (MARK, 0x1f), (MARK, 0x2f), (DIRECT | MARK, 7)] {
                cases.push(Case { word, ..case(dst, flags | SKIP_NEIGH) });
            }
            if addr(dst).is_ipv4() {
                cases.push(Case { src: "10.0.0.8", ..case(dst, SKIP_NEIGH) });
                cases.push(Case { src: "11.0.0.8", ..case(dst, SKIP_NEIGH) });
            }
        }
        cases.iter().map(input).collect()
    };
    let set_up = || {
        make_routes();
        for (words, _) in rules() {
            ip(&format!("rule add {words}"));
        }
    };
    ask("rules.txt", &world, &questions(inputs), set_up);
}
