//! `Rss`: which CPU a packet goes to, as network cards with receive side scaling decide it: by a hash of its flow, so that packets of a flow
//! stay in order. Documentation/networking/scaling.rst.
//!
//! The hash is Toeplitz's with the key that everybody uses, over the IPv4 or IPv6 addresses and the ports of TCP, UDP and SCTP. Fragments
//! have no ports but in the first, and go by addresses, all of them. VLAN tags and IPv6 extension headers are passed over.

/// Spreads flows over CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Rss {
    cpus: u32,
    /// Entries of the table that hashes index, less 1.
    mask: u32,
}

/// Entries of a card's indirection table, at least.
const TABLE_LEN: u32 = 128;

impl Rss {
    /// For CPUs `0..cpus`.
    pub fn new(cpus: u32) -> Rss {
        let cpus = cpus.clamp(1, 1 << 16);
        Rss { cpus, mask: cpus.next_power_of_two().max(TABLE_LEN) - 1 }
    }

    /// How many CPUs.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The CPU of an Ethernet frame; 0 if it is no IP.
    #[inline]
    pub fn cpu(&self, frame: &[u8]) -> u32 {
        if self.cpus == 1 {
            return 0;
        }
        (flow_hash(frame).unwrap_or(0) & self.mask) % self.cpus
    }
}

/// The hash of an Ethernet frame's flow; none if it is no IP.
pub fn flow_hash(frame: &[u8]) -> Option<u32> {
    let mut at = 12;
    let mut ether_type = word(frame, at)?;
    for _ in 0..TAGS_MAX {
        if !matches!(ether_type, ETH_P_8021Q | ETH_P_8021AD) {
            break;
        }
        at += 4;
        ether_type = word(frame, at)?;
    }
    let packet = frame.get(at + 2..)?;
    match ether_type {
        ETH_P_IP => ipv4(packet),
        ETH_P_IPV6 => ipv6(packet),
        _ => None,
    }
}

/// VLAN tags that are passed over.
const TAGS_MAX: usize = 2;
/// IPv6 extension headers that are passed over.
const EXTENSIONS_MAX: usize = 8;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;
/// `IPPROTO_TCP`, `IPPROTO_UDP`, `IPPROTO_SCTP`: what has ports.
const WITH_PORTS: [u8; 3] = [6, 17, 132];
/// `IPPROTO_HOPOPTS`, `IPPROTO_ROUTING`, `IPPROTO_DSTOPTS`.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const IPPROTO_FRAGMENT: u8 = 44;
/// Of IPv4's fragment field: more fragments, and where this one belongs.
const FRAGMENT: u16 = 0x3fff;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv4(packet: &[u8]) -> Option<u32> {
    let addresses = packet.get(12..20)?;
    let header_len = usize::from(packet[0] & 15) * 4;
    let whole = word(packet, 6)? & FRAGMENT == 0;
    let ports = if whole { ports(packet, packet[9], header_len) } else { None };
    Some(toeplitz(addresses, ports))
}

fn ipv6(packet: &[u8]) -> Option<u32> {
    let addresses = packet.get(8..40)?;
    let (mut protocol, mut at) = (packet[6], 40);
    for _ in 0..EXTENSIONS_MAX {
        if !EXTENSIONS.contains(&protocol) {
            break;
        }
        let Some([next, len]) = packet.get(at..).and_then(|rest| rest.first_chunk::<2>()) else { break };
        protocol = *next;
        at += (usize::from(*len) + 1) * 8;
    }
    let ports = if protocol == IPPROTO_FRAGMENT { None } else { ports(packet, protocol, at) };
    Some(toeplitz(addresses, ports))
}

fn ports(packet: &[u8], protocol: u8, at: usize) -> Option<&[u8]> {
    if WITH_PORTS.contains(&protocol) { packet.get(at..at + 4) } else { None }
}

/// The key that Microsoft published and drivers come with.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
/// Bytes of the longest input: two IPv6 addresses and two ports.
const INPUT_MAX: usize = 36;

/// What each half of each input byte adds to the hash.
static PARTS: [[u32; 16]; 2 * INPUT_MAX] = parts();

const fn parts() -> [[u32; 16]; 2 * INPUT_MAX] {
    let mut parts = [[0; 16]; 2 * INPUT_MAX];
    let mut half = 0;
    while half < parts.len() {
        let mut value = 0;
        while value < 16 {
            let mut bit = 0;
            while bit < 4 {
                if value & (8 >> bit) != 0 {
                    parts[half][value] ^= key_from(half * 4 + bit);
                }
                bit += 1;
            }
            value += 1;
        }
        half += 1;
    }
    parts
}

/// 32 bits of the key, from a bit on.
const fn key_from(bit: usize) -> u32 {
    let mut word = 0;
    let mut at = bit;
    while at < bit + 32 {
        word = word << 1 | (KEY[at / 8] >> (7 - at % 8) & 1) as u32;
        at += 1;
    }
    word
}

fn toeplitz(addresses: &[u8], ports: Option<&[u8]>) -> u32 {
    let bytes = addresses.iter().chain(ports.unwrap_or_default());
    bytes.zip(PARTS.as_chunks::<2>().0).fold(0, |hash, (byte, [high, low])| {
        hash ^ high[usize::from(byte >> 4)] ^ low[usize::from(byte & 15)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From "Verifying the RSS Hash Calculation", learn.microsoft.com: source, destination, hash of addresses, hash with ports.
    #[test]
    fn as_published() {
        let v4 = [
            ([66, 9, 149, 187], 2794, [161, 142, 100, 80], 1766, 0x323e_8fc2, 0x51cc_c178),
            ([199, 92, 111, 2], 14230, [65, 69, 140, 83], 4739, 0xd718_262a, 0xc626_b0ea),
            ([24, 19, 198, 95], 12898, [12, 22, 207, 184], 38024, 0xd2d0_a5de, 0x5c2b_394a),
        ];
        for (source, source_port, dest, dest_port, addresses, ports) in v4 {
            let packet =
                |protocol, fragment| ipv4_packet(source, source_port, dest, dest_port, protocol, fragment);
            assert_eq!(flow_hash(&packet(6, 0x4000)), Some(ports));
            assert_eq!(flow_hash(&packet(1, 0)), Some(addresses), "ICMP");
            assert_eq!(flow_hash(&packet(17, 0x2000)), Some(addresses), "a first fragment");
            assert_eq!(flow_hash(&packet(17, 0x00b9)), Some(addresses), "a later fragment");
            let mut tagged = packet(17, 0);
            tagged.splice(12..12, [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
            assert_eq!(flow_hash(&tagged), Some(ports), "two VLAN tags");
        }
    }

    #[test]
    fn ipv6_as_published() {
        let source = [0x3f, 0xfe, 0x25, 1, 2, 0, 0x1f, 0xff, 0, 0, 0, 0, 0, 0, 0, 7];
        let dest = [0x3f, 0xfe, 0x25, 1, 2, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1];
        let packet = |next: u8, extension: &[u8]| {
            let mut packet = vec![0; 12];
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, next, 64]);
            packet.extend(source.iter().chain(&dest).chain(extension));
            packet.extend([2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat());
            packet
        };
        assert_eq!(flow_hash(&packet(17, &[])), Some(0x4020_7d3d));
        assert_eq!(flow_hash(&packet(58, &[])), Some(0x2cc1_8cd5));
        assert_eq!(flow_hash(&packet(60, &[6, 0, 0, 0, 0, 0, 0, 0])), Some(0x4020_7d3d));
        assert_eq!(flow_hash(&packet(44, &[17, 0, 0, 0, 0, 0, 0, 0])), Some(0x2cc1_8cd5));
    }

    #[test]
    fn short_frames_have_a_cpu_too() {
        let whole = ipv4_packet([1, 2, 3, 4], 1, [5, 6, 7, 8], 2, 17, 0);
        for len in 0..whole.len() {
            assert!(Rss::new(7).cpu(&whole[..len]) < 7);
        }
        assert_eq!(flow_hash(&whole[..34]), flow_hash(&ipv4_packet([1, 2, 3, 4], 0, [5, 6, 7, 8], 0, 1, 0)));
    }

    #[test]
    fn flows_spread() {
        for cpus in [2, 3, 8, 64, 200] {
            let rss = Rss::new(cpus);
            let mut flows = vec![0u32; cpus as usize];
            for flow in 0..cpus as u16 * 100 {
                let frame = ipv4_packet([10, 0, 0, 1], 1024 + flow, [10, 0, 0, 2], 443, 6, 0);
                flows[rss.cpu(&frame) as usize] += 1;
            }
            assert!(flows.iter().all(|flows| (20..300).contains(flows)), "{cpus} CPUs: {flows:?}");
        }
    }

    fn ipv4_packet(
        source: [u8; 4],
        source_port: u16,
        dest: [u8; 4],
        dest_port: u16,
        protocol: u8,
        fragment: u16,
    ) -> Vec<u8> {
        let mut packet = vec![0; 12];
        packet.extend([8, 0, 0x45, 0, 0, 40, 0, 0]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend([source, dest].concat());
        packet.extend([source_port.to_be_bytes(), dest_port.to_be_bytes()].concat());
        packet
    }
}
