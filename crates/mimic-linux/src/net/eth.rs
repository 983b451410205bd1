//! Ethernet, IPv4 and IPv6 headers, as far as the kernel looks at them before a program runs. See RFC 894, RFC 791, RFC 8200.

/// Bytes of an Ethernet header.
pub const ETH_HLEN: u32 = 14;
/// Bytes of an 802.1Q tag.
pub const VLAN_HLEN: u32 = 4;
/// `ETH_P_IP`.
pub const ETH_P_IP: u16 = 0x0800;
/// `ETH_P_IPV6`.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// `ETH_P_8021Q`.
pub const ETH_P_8021Q: u16 = 0x8100;
/// `ETH_P_8021AD`.
pub const ETH_P_8021AD: u16 = 0x88a8;
/// `ETH_P_802_3`: raw 802.3 frames.
pub const ETH_P_802_3: u16 = 0x0001;
/// `ETH_P_802_2`: 802.2 frames.
pub const ETH_P_802_2: u16 = 0x0004;
/// From here on the type field is a protocol, below it a length.
const ETH_P_802_3_MIN: u16 = 0x0600;
/// Bytes of an IPv4 header without options.
pub const IPV4_HLEN: u32 = 20;
/// Bytes of an IPv6 header.
pub const IPV6_HLEN: u32 = 40;

/// `PACKET_HOST`, `PACKET_BROADCAST`, `PACKET_MULTICAST`, `PACKET_OTHERHOST`.
pub const PACKET_HOST: u8 = 0;
/// To all.
pub const PACKET_BROADCAST: u8 = 1;
/// To a group.
pub const PACKET_MULTICAST: u8 = 2;
/// To another host.
pub const PACKET_OTHERHOST: u8 = 3;

/// The protocol of a frame, as `eth_type_trans` tells it. The frame has a whole header.
pub fn protocol(frame: &[u8]) -> u16 {
    let Some(&[hi, lo]) = frame.get(12..14) else { return 0 };
    let proto = u16::from_be_bytes([hi, lo]);
    if proto >= ETH_P_802_3_MIN {
        proto
    } else if frame.get(14..16) == Some(&[0xff, 0xff]) {
        ETH_P_802_3
    } else {
        ETH_P_802_2
    }
}

/// `pkt_type` of a frame that a device with this address received; `broadcast` is the address that means all there.
pub fn packet_type(frame: &[u8], device_addr: [u8; 6], broadcast: [u8; 6]) -> u8 {
    match frame.first_chunk::<6>() {
        Some(dest) if *dest == device_addr => PACKET_HOST,
        Some(dest) if *dest == broadcast => PACKET_BROADCAST,
        Some([first, ..]) if first & 1 == 1 => PACKET_MULTICAST,
        Some(_) => PACKET_OTHERHOST,
        None => PACKET_HOST,
    }
}

/// Whether the protocol is a VLAN's.
pub fn is_vlan(protocol: u16) -> bool {
    matches!(protocol, ETH_P_8021Q | ETH_P_8021AD)
}
