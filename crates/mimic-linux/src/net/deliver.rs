//! `Delivery`: what would become of a packet that a program redirected to a device: the device that it leaves by or comes in by, with the
//! link-layer header that it has then, or why it is dropped. Mirrors `skb_do_redirect`.

use super::route::{self, Flow};
use super::{NextHop, Redirect, RedirectTo, eth};
use crate::Linux;
use crate::progs::SkbContext;
use crate::world::Device;
use crate::world::socket::{AF_INET, AF_INET6};
use std::net::{IpAddr, Ipv6Addr};

/// What becomes of a redirected packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It leaves by a device.
    Sent {
        /// The device's index.
        ifindex: u32,
        /// The packet, from its link-layer header on.
        packet: Vec<u8>,
    },
    /// It comes in by a device, as if it had been received.
    Received {
        /// The device's index.
        ifindex: u32,
        /// The packet, from its link-layer header on.
        packet: Vec<u8>,
    },
    /// It comes in by the other end of a pair of devices, in its own namespace.
    Peer {
        /// The index of the end on this side.
        ifindex: u32,
        /// The packet.
        packet: Vec<u8>,
    },
    /// It is dropped.
    Dropped(DropReason),
}

/// Why a redirected packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// There is no such device.
    NoDevice,
    /// The device is down.
    Down,
    /// It is longer than the device takes.
    TooLong,
    /// It is no IP packet of the next hop's family.
    NotIp,
    /// There is no route to its destination by the device.
    NoRoute,
    /// The link-layer address of the next hop is not known. (The kernel asks for it, and keeps the packet until it is.)
    NoNeighbour,
}

const INGRESS: u64 = 1;

impl Linux {
    /// What becomes of the packet of a tc program's last run, if its verdict is to redirect it. None if it redirected it to no device.
    pub fn deliver(&self, context: &SkbContext) -> Option<Delivery> {
        let Redirect { to, flags } = context.redirect()?;
        let packet = context.packet_after().to_vec();
        let (ifindex, next_hop) = match to {
            RedirectTo::Device { ifindex } | RedirectTo::Peer { ifindex } => (*ifindex, None),
            RedirectTo::Neigh { ifindex, next_hop } => (*ifindex, Some(next_hop)),
            RedirectTo::Socket { .. } | RedirectTo::Map { .. } => return None,
        };
        let device = match self.world().net.devices.by_index(ifindex) {
            Some(device) if device.up => device,
            Some(_) => return Some(Delivery::Dropped(DropReason::Down)),
            None => return Some(Delivery::Dropped(DropReason::NoDevice)),
        };
        let sent = match (to, next_hop) {
            (RedirectTo::Peer { .. }, _) => Ok(Delivery::Peer { ifindex, packet }),
            (_, Some(next_hop)) => self.address(device, next_hop.as_ref(), packet),
            _ if flags & INGRESS != 0 => Ok(Delivery::Received { ifindex, packet }),
            _ => Ok(Delivery::Sent { ifindex, packet }),
        };
        Some(sent.and_then(|delivery| fits(device, delivery)).unwrap_or_else(Delivery::Dropped))
    }

    /// Gives a packet the link-layer header that it needs on its way to the next hop.
    fn address(
        &self,
        device: &Device,
        next_hop: Option<&NextHop>,
        packet: Vec<u8>,
    ) -> Result<Delivery, DropReason> {
        let net = &self.world().net;
        let protocol = eth::protocol(&packet);
        let ip = packet.get(eth::ETH_HLEN as usize..).ok_or(DropReason::NotIp)?;
        let next = match next_hop {
            Some(NextHop { family: AF_INET, addr }) => IpAddr::from([addr[0], addr[1], addr[2], addr[3]]),
            Some(NextHop { family: AF_INET6, addr }) => Ipv6Addr::from(*addr).into(),
            Some(_) => return Err(DropReason::NotIp),
            None => {
                let [src, dst] = ends(protocol, ip).ok_or(DropReason::NotIp)?;
                let flow = Flow {
                    src,
                    dst,
                    iif: 1,
                    oif: device.ifindex,
                    mark: 0,
                    tos: 0,
                    protocol: 0,
                    sport: 0,
                    dport: 0,
                };
                let found = route::lookup(net, &flow).map_err(|_| DropReason::NoRoute)?;
                if found.ifindex != device.ifindex {
                    return Err(DropReason::NoRoute);
                }
                found.via.unwrap_or(dst)
            }
        };
        let neighbour = route::neighbour(net, device.ifindex, next).ok_or(DropReason::NoNeighbour)?;
        let packet = [&neighbour.lladdr[..], &device.addr, &protocol.to_be_bytes(), ip].concat();
        Ok(Delivery::Sent { ifindex: device.ifindex, packet })
    }
}

/// Source and destination of an IP packet.
fn ends(protocol: u16, ip: &[u8]) -> Option<[IpAddr; 2]> {
    let v4 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
    match protocol {
        eth::ETH_P_IP => Some([v4(12)?, v4(16)?]),
        eth::ETH_P_IPV6 => Some([v6(8)?, v6(24)?]),
        _ => None,
    }
}

/// What leaves must not be longer than the device takes.
fn fits(device: &Device, delivery: Delivery) -> Result<Delivery, DropReason> {
    let longest = device.mtu.saturating_add(device.hard_header_len).saturating_add(eth::VLAN_HLEN);
    match &delivery {
        Delivery::Sent { packet, .. } | Delivery::Received { packet, .. }
            if packet.len() as u64 > longest.into() =>
        {
            Err(DropReason::TooLong)
        }
        _ => Ok(delivery),
    }
}
