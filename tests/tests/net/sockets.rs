//! Socket lookups: which socket a tuple finds, by protocol, family, namespace, flags and the packet's device.

use crate::scene::{Input, Question, ask, ip};
use mimic_abi::ProgType;
use mimic_linux::world::socket::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM, TCP_CLOSE, TCP_ESTABLISHED,
    TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_TIME_WAIT,
};
use mimic_linux::{Device, Reuse, World};
use mimic_tests::kernel::Socket;
use std::net::{IpAddr, SocketAddr};

/// A socket as both sides make it; the mark tells which it is.
pub(crate) struct Spec {
    pub(crate) mark: u32,
    pub(crate) addr: &'static str,
    peer: &'static str,
    tcp: bool,
    state: u32,
    device: u32,
    v6only: bool,
    reuseport: bool,
}

const NOBODY: &str = "0.0.0.0:0";
const NOBODY6: &str = "[::]:0";

const fn tcp(mark: u32, addr: &'static str) -> Spec {
    Spec {
        mark,
        addr,
        peer: NOBODY,
        tcp: true,
        state: TCP_LISTEN,
        device: 0,
        v6only: false,
        reuseport: false,
    }
}

const fn udp(mark: u32, addr: &'static str, peer: &'static str) -> Spec {
    Spec { peer, tcp: false, state: TCP_CLOSE, ..tcp(mark, addr) }
}

const fn connected(mark: u32, addr: &'static str, peer: &'static str) -> Spec {
    Spec { peer, state: TCP_ESTABLISHED, ..tcp(mark, addr) }
}

const VETH: u32 = 2;
pub(crate) const SOCKETS: &[Spec] = &[
    Spec { reuseport: true, ..tcp(1, "0.0.0.0:1000") },
    Spec { reuseport: true, ..tcp(2, "10.0.0.1:1000") },
    tcp(3, "[::]:1001"),
    Spec { v6only: true, ..tcp(4, "[::]:1002") },
    tcp(5, "[fd00::1]:1003"),
    Spec { device: VETH, ..tcp(6, "0.0.0.0:1004") },
    Spec { reuseport: true, ..tcp(7, "0.0.0.0:1007") },
    Spec { reuseport: true, ..tcp(7, "0.0.0.0:1007") },
    tcp(8, "[::ffff:10.0.0.1]:1008"),
    udp(10, "0.0.0.0:1000", NOBODY),
    udp(11, "10.0.0.1:1000", NOBODY),
    Spec { state: TCP_ESTABLISHED, ..udp(12, "10.0.0.1:1000", "10.0.0.2:3000") },
    udp(13, "[::]:1001", NOBODY6),
    Spec { state: TCP_ESTABLISHED, ..udp(14, "[::1]:1006", "[::1]:3006") },
    Spec { device: VETH, ..udp(15, "0.0.0.0:1009", NOBODY) },
    udp(16, "0.0.0.0:1009", NOBODY),
    Spec { device: VETH, ..udp(17, "[::]:1010", NOBODY6) },
    udp(18, "[::]:1010", NOBODY6),
    tcp(20, "127.0.0.1:1005"),
    connected(21, "127.0.0.1:2005", "127.0.0.1:1005"),
    connected(20, "127.0.0.1:1005", "127.0.0.1:2005"),
];

pub(crate) fn world() -> World {
    let mut world = World::default();
    world.net.devices.0[0].up = true;
    let addrs =
        vec![("10.0.0.1".parse().expect("an address"), 24), ("fd00::1".parse().expect("an address"), 64)];
    world.net.devices.0.push(Device { addrs, ..Device::ethernet(VETH, "veth0") });
    world.net.sockets = SOCKETS.iter().map(stated).collect();
    // What a connection leaves behind, and what asks for one.
    world
        .net
        .sockets
        .push(stated(&Spec { state: TCP_TIME_WAIT, ..connected(0, "127.0.0.1:2006", "127.0.0.1:1005") }));
    world
        .net
        .sockets
        .push(stated(&Spec { state: TCP_NEW_SYN_RECV, ..connected(0, "10.0.0.1:1000", "10.0.0.77:4000") }));
    world
}

fn stated(spec: &Spec) -> mimic_linux::Socket {
    let (local, remote): (SocketAddr, SocketAddr) =
        (spec.addr.parse().expect("good"), spec.peer.parse().expect("good"));
    let mut socket = mimic_linux::Socket {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        sock_type: if spec.tcp { SOCK_STREAM } else { SOCK_DGRAM },
        protocol: if spec.tcp { IPPROTO_TCP } else { IPPROTO_UDP },
        mark: spec.mark,
        bound_dev_if: spec.device,
        local_port: local.port(),
        remote_port: remote.port(),
        state: spec.state,
        v6only: spec.v6only,
        reuse: Reuse { addr: true, port: spec.reuseport },
        ..mimic_linux::Socket::default()
    };
    match (local.ip(), remote.ip()) {
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            (socket.local_ip6, socket.remote_ip6) = (local.octets(), remote.octets())
        }
        (IpAddr::V6(local), _) => socket.local_ip6 = local.octets(),
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            (socket.local_ip4, socket.remote_ip4) = (local.octets(), remote.octets())
        }
        (IpAddr::V4(_), _) => panic!("two families"),
    }
    socket
}

/// The same sockets in the kernel.
pub(crate) fn make_sockets() -> Vec<Socket> {
    ip("link add veth0 index 2 address 02:00:00:00:00:02 type veth peer name veth1 index 3");
    ip("link set lo up");
    ip("link set veth0 up");
    ip("link set veth1 up");
    ip("addr add 10.0.0.1/24 dev veth0");
    ip("addr add fd00::1/64 dev veth0 nodad");
    let mut kept: Vec<Socket> = Vec::new();
    for spec in SOCKETS {
        let accepted = spec.state == TCP_ESTABLISHED && spec.mark == 20;
        let socket = if accepted { kept[18].accept().expect("somebody connects") } else { make(spec) };
        kept.push(socket);
    }
    let closing = Socket::tcp(addr(NOBODY)).and_then(|socket| socket.bound(addr("127.0.0.1:2006")));
    let closing = closing.and_then(|socket| socket.connected(addr("127.0.0.1:1005"))).expect("it listens");
    let other = kept[18].accept().expect("it is connected");
    drop(closing);
    drop(other);
    request();
    kept
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn make(spec: &Spec) -> Socket {
    make_or_errno(spec).unwrap_or_else(|errno| panic!("{}: {errno}", spec.addr))
}

fn make_or_errno(spec: &Spec) -> Result<Socket, mimic_abi::Errno> {
    let at = addr(spec.addr);
    let mut socket = if spec.tcp { Socket::tcp(at)? } else { Socket::udp(at)? };
    socket = socket.set(libc::SOL_SOCKET, libc::SO_MARK, spec.mark as i32)?;
    if spec.device != 0 {
        socket = socket.to_device("veth0")?;
    }
    if spec.reuseport {
        socket = socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if at.is_ipv6() {
        socket = socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, spec.v6only.into())?;
    }
    socket = socket.bound(at)?;
    match spec.state {
        TCP_LISTEN => socket.listening(),
        TCP_ESTABLISHED => socket.connected(addr(spec.peer)),
        _ => Ok(socket),
    }
}

/// Asks for a connection from an address that nobody has, so that it stays a request.
fn request() {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 77, 10, 0, 0, 1];
    packet.extend_from_slice(&[
        0x0f, 0xa0, 0x03, 0xe8, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    // The sum of the pseudo header and the segment.
    let words = packet[12..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 6 + 20;
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    let sent = Socket::raw().and_then(|socket| socket.send_to(&packet, addr("10.0.0.1:0")));
    sent.expect("raw sockets work");
    std::thread::sleep(std::time::Duration::from_millis(50));
}

/// What is asked for: source and destination.
const TUPLES: &[(&str, &str)] = &[
    ("10.0.0.9:5000", "10.0.0.1:1000"),
    ("10.0.0.9:5000", "10.0.0.2:1000"),
    ("10.0.0.2:3000", "10.0.0.1:1000"),
    ("10.0.0.77:4000", "10.0.0.1:1000"),
    ("10.0.0.9:5000", "10.0.0.1:1001"),
    ("10.0.0.9:5000", "10.0.0.1:1002"),
    ("10.0.0.9:5000", "10.0.0.1:1003"),
    ("10.0.0.9:5000", "10.0.0.1:1004"),
    ("10.0.0.9:5000", "10.0.0.1:1007"),
    ("10.0.0.9:5000", "10.0.0.1:1008"),
    ("10.0.0.9:5000", "10.0.0.1:1009"),
    ("10.0.0.9:5000", "10.0.0.1:1010"),
    ("10.0.0.9:5000", "10.0.0.1:1011"),
    ("127.0.0.1:2005", "127.0.0.1:1005"),
    ("127.0.0.1:2007", "127.0.0.1:1005"),
    ("127.0.0.1:1005", "127.0.0.1:2005"),
    ("127.0.0.1:1005", "127.0.0.1:2006"),
    ("[fd00::9]:5000", "[fd00::1]:1000"),
    ("[fd00::9]:5000", "[fd00::1]:1001"),
    ("[fd00::9]:5000", "[fd00::1]:1002"),
    ("[fd00::9]:5000", "[fd00::1]:1003"),
    ("[fd00::9]:5000", "[fd00::2]:1003"),
    ("[::1]:3006", "[::1]:1006"),
    ("[::1]:3007", "[::1]:1006"),
    ("[fd00::9]:5000", "[fd00::1]:1010"),
];

fn inputs(is_v4: bool) -> Vec<(String, Input)> {
    let mut inputs = Vec::new();
    for (src, dst) in TUPLES.iter().filter(|(src, _)| addr(src).is_ipv4() == is_v4) {
        for (device, netns, flags) in [(0, -1i64, 0u64), (VETH, -1, 0)] {
            inputs.push(input(src, dst, device, netns, flags));
        }
    }
    let (src, dst) = if is_v4 { TUPLES[0] } else { TUPLES[18] };
    for (netns, flags) in
        [(-1, 1), (0, 0), (7, 0), (1 << 32, 0), (0xffff_ffff, 0), (-2, 0), (0x7fff_ffff, 0), (-1, 1 << 32)]
    {
        inputs.push(input(src, dst, 0, netns, flags));
    }
    inputs
}

pub(crate) fn input(src: &str, dst: &str, device: u32, netns: i64, flags: u64) -> (String, Input) {
    let (src, dst) = (addr(src), addr(dst));
    let mut payload = Vec::new();
    for ip in [src.ip(), dst.ip()] {
        match ip {
            IpAddr::V4(ip) => payload.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => payload.extend_from_slice(&ip.octets()),
        }
    }
    payload.extend_from_slice(&src.port().to_be_bytes());
    payload.extend_from_slice(&dst.port().to_be_bytes());
    payload.resize(40, 0);
    payload.extend_from_slice(&netns.to_ne_bytes());
    payload.extend_from_slice(&flags.to_ne_bytes());
    let mut ctx = vec![0; if device == 0 { 0 } else { 44 }];
    if device != 0 {
        ctx[40..44].copy_from_slice(&device.to_ne_bytes());
    }
    (format!("{src} {dst} dev {device} netns {netns:#x} flags {flags:#x}"), Input { payload, ctx })
}

/// A program that asks `helper` with a tuple of this length, and puts what it learns of the socket into the packet.
fn program(helper: u32, tuple_len: u32, is_common: bool) -> String {
    let mut text = format!(
        "r6 = r1; r2 = 14; r3 = r10; r3 += -56; r4 = 56; call 26
         r1 = r6; r2 = r10; r2 += -56; r3 = {tuple_len}; r4 = *(u64 *)(r10 - 16); r5 = *(u64 *)(r10 - 8)
         call {helper}; if r0 == 0 goto none; r7 = r0"
    );
    // bound_dev_if, family, src_port, dst_port, state; of whole sockets type, protocol, mark.
    let mut fields = vec![0, 4, 44, 48, 72];
    if !is_common {
        fields.extend([8, 12, 16]);
    }
    for (at, off) in fields.iter().enumerate() {
        text += &format!("; r1 = *(u32 *)(r7 + {off}); *(u32 *)(r10 - {}) = r1", 56 - 4 * at);
    }
    text += "; r8 = 0; r1 = r7; call 95; if r0 == 0 goto notfull; r8 += 2
        notfull: r1 = r7; call 98; if r0 == 0 goto nolistener; r8 += 4
        nolistener: r1 = r7; call 96; if r0 == 0 goto notcp; r8 += 8
        notcp: r1 = r7; call 86
        r1 = r6; r2 = 14; r3 = r10; r3 += -56; r4 = 56; r5 = 0; call 9
        r0 = r8; r0 += 1; exit
        none: r0 = 0; exit";
    text
}

#[test]
fn lookups_find_the_kernels_sockets() {
    let mut questions = Vec::new();
    for (name, helper, is_common) in
        [("sk_lookup_tcp", 84, false), ("sk_lookup_udp", 85, false), ("skc_lookup_tcp", 99, true)]
    {
        for is_v4 in [true, false] {
            let text = program(helper, if is_v4 { 12 } else { 36 }, is_common);
            questions.push(Question { name, prog_type: ProgType::SchedCls, text, inputs: inputs(is_v4) });
        }
    }
    let odd = program(84, 16, false);
    questions.push(Question {
        name: "tuple of 16",
        prog_type: ProgType::SchedCls,
        text: odd,
        inputs: inputs(true),
    });
    ask("sockets.txt", &world(), &questions, make_sockets);
}
