//! The packets that every packet program of the fixtures runs on, built byte by byte with right checksums (but for the
//! two that imitate the kernel selftests' minimal packets, which have none).

/// A packet and the name that recorded answers know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its name.
    pub name: &'static str,
    /// Its bytes, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// All eight.
pub fn packets() -> Vec<Packet> {
    let packet = |name, bytes| Packet { name, bytes };
    vec![
        packet("pkt_v4", pkt_v4()),
        packet("pkt_v6", pkt_v6()),
        packet("zeros64", vec![0; 64]),
        packet("udp", udp()),
        packet("tcp_syn", tcp_syn()),
        packet("icmp_echo", icmp_echo()),
        packet("vlan", vlan()),
        packet("ipip", ipip()),
    ]
}

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const IPPROTO_ICMP: u8 = 1;
const IPPROTO_IPIP: u8 = 4;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const CLIENT: [u8; 4] = [192, 0, 2, 1];
const SERVER: [u8; 4] = [198, 51, 100, 7];

/// Ethernet, IPv4 without version or addresses, TCP: the selftests' `pkt_v4`, 54 bytes.
fn pkt_v4() -> Vec<u8> {
    let mut bytes = ethernet([0; 6], [0; 6], ETH_P_IP);
    let mut ip = [0; 20];
    (ip[0], ip[3], ip[9]) = (0x05, 123, IPPROTO_TCP);
    bytes.extend(ip);
    bytes.extend(minimal_tcp());
    bytes
}

/// Ethernet, IPv6 without version or addresses, TCP: the selftests' `pkt_v6`, 74 bytes.
fn pkt_v6() -> Vec<u8> {
    let mut bytes = ethernet([0; 6], [0; 6], ETH_P_IPV6);
    let mut ip = [0; 40];
    (ip[5], ip[6]) = (123, IPPROTO_TCP);
    bytes.extend(ip);
    bytes.extend(minimal_tcp());
    bytes
}

/// Only the data offset and an urgent pointer of 123, little-endian as the selftests store it on x86.
fn minimal_tcp() -> [u8; 20] {
    let mut tcp = [0; 20];
    (tcp[12], tcp[18]) = (0x50, 123);
    tcp
}

/// A DNS-like datagram with 18 bytes of payload.
fn udp() -> Vec<u8> {
    let segment = udp_segment(b"mimic test payload");
    frame(ETH_P_IP, &ipv4(IPPROTO_UDP, &segment))
}

/// SYN with maximum segment size, SACK permitted, timestamps and window scale.
fn tcp_syn() -> Vec<u8> {
    let options = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 1, 3, 3, 7];
    let mut segment = Vec::new();
    segment.extend(43210u16.to_be_bytes());
    segment.extend(443u16.to_be_bytes());
    segment.extend(0x1234_5678u32.to_be_bytes());
    segment.extend(0u32.to_be_bytes());
    segment.extend([0xa0, 0x02]);
    segment.extend(64240u16.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(options);
    fill_checksum(&mut segment, IPPROTO_TCP, 16);
    frame(ETH_P_IP, &ipv4(IPPROTO_TCP, &segment))
}

fn icmp_echo() -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend(0..48u8);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame(ETH_P_IP, &ipv4(IPPROTO_ICMP, &message))
}

/// UDP over IPv4 in VLAN 100, priority 3.
fn vlan() -> Vec<u8> {
    let mut bytes = ethernet(SERVER_MAC, CLIENT_MAC, ETH_P_8021Q);
    bytes.extend([0x60, 100]);
    bytes.extend(ETH_P_IP.to_be_bytes());
    bytes.extend(ipv4(IPPROTO_UDP, &udp_segment(b"in a VLAN")));
    bytes
}

/// UDP over IPv4 over IPv4.
fn ipip() -> Vec<u8> {
    let inner = ipv4(IPPROTO_UDP, &udp_segment(b"inner"));
    frame(ETH_P_IP, &ipv4(IPPROTO_IPIP, &inner))
}

fn udp_segment(payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(5353u16.to_be_bytes());
    segment.extend(53u16.to_be_bytes());
    segment.extend((8 + payload.len() as u16).to_be_bytes());
    segment.extend([0; 2]);
    segment.extend(payload);
    fill_checksum(&mut segment, IPPROTO_UDP, 6);
    segment
}

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ethernet(SERVER_MAC, CLIENT_MAC, ethertype);
    bytes.extend(payload);
    bytes
}

fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16) -> Vec<u8> {
    [&to[..], &from[..], &ethertype.to_be_bytes()[..]].concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = 20 + payload.len() as u16;
    let mut header = vec![0x45, 0];
    header.extend(len.to_be_bytes());
    header.extend([0xbe, 0xef, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(CLIENT);
    header.extend(SERVER);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// Fills in a transport checksum over the pseudo header (RFC 768, RFC 9293).
fn fill_checksum(segment: &mut [u8], protocol: u8, at: usize) {
    let mut covered = [CLIENT, SERVER].concat();
    covered.extend([0, protocol]);
    covered.extend((segment.len() as u16).to_be_bytes());
    covered.extend_from_slice(segment);
    let sum = checksum(&covered);
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_sum_to_zero() {
        for packet in packets().iter().filter(|packet| packet.bytes[14] == 0x45) {
            assert_eq!(checksum(&packet.bytes[14..34]), 0, "{}", packet.name);
        }
        assert_eq!((pkt_v4().len(), pkt_v6().len()), (54, 74));
    }
}
