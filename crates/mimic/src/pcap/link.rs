//! Link types: what a capture's packets begin with, and the Ethernet frame made of each.

/// What the packets of a capture begin with (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet, taken as it is.
    Ethernet,
    /// An IP packet (RAW, IPV4, IPV6). Gets an Ethernet header with zero addresses.
    Raw,
    /// BSD loopback: four bytes of address family, then an IP packet. `LOOP` has them in network order, `NULL` in the writer's.
    Null,
    /// Linux cooked, version 1. The sender's address and the protocol are kept, the destination is zero.
    LinuxSll,
    /// Linux cooked, version 2. The same.
    LinuxSll2,
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

impl LinkType {
    /// The link type of this number.
    pub fn from_number(number: u32) -> Option<LinkType> {
        Some(match number {
            1 => LinkType::Ethernet,
            0 | 108 => LinkType::Null,
            12 | 14 | 101 | 228 | 229 => LinkType::Raw,
            113 => LinkType::LinuxSll,
            276 => LinkType::LinuxSll2,
            _ => return None,
        })
    }

    /// Writes the Ethernet frame of a packet into `frame`. The error says what is wrong with the packet.
    pub fn to_ethernet(self, packet: &[u8], frame: &mut Vec<u8>) -> Result<(), String> {
        frame.clear();
        match self {
            LinkType::Ethernet => frame.extend_from_slice(packet),
            LinkType::Raw => ip(packet, frame)?,
            LinkType::Null => {
                let Some((_, packet)) = packet.split_first_chunk::<4>() else { return Err(short(packet, 4)) };
                ip(packet, frame)?;
            }
            LinkType::LinuxSll => {
                let Some((header, payload)) = packet.split_first_chunk::<16>() else {
                    return Err(short(packet, 16));
                };
                cooked(&header[6..12], [header[14], header[15]], payload, frame);
            }
            LinkType::LinuxSll2 => {
                let Some((header, payload)) = packet.split_first_chunk::<20>() else {
                    return Err(short(packet, 20));
                };
                cooked(&header[12..18], [header[0], header[1]], payload, frame);
            }
        }
        Ok(())
    }
}

fn short(packet: &[u8], expected: usize) -> String {
    format!("{} bytes, shorter than the link header of {expected}", packet.len())
}

fn ip(packet: &[u8], frame: &mut Vec<u8>) -> Result<(), String> {
    let ethertype = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ETHERTYPE_IPV4,
        Some(6) => ETHERTYPE_IPV6,
        Some(version) => return Err(format!("IP version {version}; expected 4 or 6")),
        None => return Err("empty; expected an IP packet".into()),
    };
    frame.extend_from_slice(&[0; 12]);
    frame.extend_from_slice(&ethertype);
    frame.extend_from_slice(packet);
    Ok(())
}

fn cooked(sender: &[u8], protocol: [u8; 2], payload: &[u8], frame: &mut Vec<u8>) {
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(sender);
    frame.extend_from_slice(&protocol);
    frame.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_type_becomes_ethernet() {
        let mut frame = Vec::new();
        LinkType::Raw.to_ethernet(&[0x45, 1, 2], &mut frame).expect("IPv4");
        assert_eq!(frame, [&[0; 12][..], &[8, 0, 0x45, 1, 2]].concat());
        LinkType::Null.to_ethernet(&[2, 0, 0, 0, 0x60, 9], &mut frame).expect("IPv6");
        assert_eq!(frame[12..], [0x86, 0xdd, 0x60, 9]);
        let sll = [0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 6, 0xaa];
        LinkType::LinuxSll.to_ethernet(&sll, &mut frame).expect("ARP");
        assert_eq!(frame, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 6, 0xaa]);
        assert!(LinkType::LinuxSll2.to_ethernet(&sll, &mut frame).is_err());
        assert!(LinkType::Raw.to_ethernet(&[0x15], &mut frame).is_err());
        assert!(LinkType::Raw.to_ethernet(&[], &mut frame).is_err());
    }
}
