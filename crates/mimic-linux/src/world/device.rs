//! `Device`: a network device of the world, as far as programs see it.

use std::net::IpAddr;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index, from 1.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The longest payload of its link layer, in bytes.
    pub mtu: u32,
    /// Bytes of its link-layer header.
    pub hard_header_len: u32,
    /// Its link-layer address.
    pub addr: [u8; 6],
    /// The link-layer address that means all; `lo` has none.
    pub broadcast: [u8; 6],
    /// Whether it is up: a device that is down takes no packets.
    pub up: bool,
    /// Receive queues.
    pub rx_queues: u32,
    /// The addresses that it has, each with the bits of its network.
    pub addrs: Vec<(IpAddr, u8)>,
    /// The device that it is part of (a bridge, a bond, a VRF), by index; 0 for none.
    pub master: u32,
    /// It is a VRF, and this the table of its routes.
    pub vrf_table: Option<u32>,
    /// It forwards packets (`net.ipv4.conf.*.forwarding`, and of IPv6).
    pub forwarding: bool,
}

impl Device {
    /// The loopback device of an empty network namespace: down.
    pub fn lo() -> Device {
        Device {
            ifindex: 1,
            name: "lo".into(),
            mtu: 65536,
            hard_header_len: 14,
            addr: [0; 6],
            broadcast: [0; 6],
            up: false,
            rx_queues: 1,
            addrs: Vec::new(),
            master: 0,
            vrf_table: None,
            forwarding: false,
        }
    }

    /// An Ethernet device that is up.
    pub fn ethernet(ifindex: u32, name: &str) -> Device {
        let [_, _, hi, lo] = ifindex.to_be_bytes();
        Device {
            ifindex,
            name: name.into(),
            mtu: 1500,
            hard_header_len: 14,
            addr: [2, 0, 0, 0, hi, lo],
            broadcast: [0xff; 6],
            up: true,
            rx_queues: 1,
            addrs: Vec::new(),
            master: 0,
            vrf_table: None,
            forwarding: false,
        }
    }
}

/// The devices of a world. A new one has `lo` only, as an empty network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<Device>);

impl Default for Devices {
    fn default() -> Devices {
        Devices(vec![Device::lo()])
    }
}

impl Devices {
    /// The device of this index.
    pub fn by_index(&self, ifindex: u32) -> Option<&Device> {
        self.0.iter().find(|device| device.ifindex == ifindex)
    }

    /// The VRF that a device is part of.
    pub fn vrf_of(&self, device: &Device) -> Option<&Device> {
        self.by_index(device.master).filter(|master| master.vrf_table.is_some())
    }
}
