//! `SkReuseportContext`: a packet for sockets that share a port, `struct sk_reuseport_md`, and the socket that the program selected.

use super::cgroup::SocketOf;
use super::layout;
use crate::Linux;
use crate::net::{self, PacketBytes, Wanted, connection_hash, eth, reuseport_group};
use crate::world::Socket;
use mimic_abi::{ByteOrder, Errno, Size};
use mimic_vm::memory::{Access, Layout, Region};
use mimic_vm::{Context, ContextError, Setup};
use std::net::IpAddr;
use std::sync::Arc;

/// A packet for a group of sockets. It can be run again and again.
#[derive(Debug, Default)]
pub struct SkReuseportContext {
    /// The packet, from its link-layer header on. Programs see it from its transport header on; helpers reach the headers before.
    pub frame: Vec<u8>,
    /// Bytes of its link-layer header: 14 for Ethernet, 0 for bare IP.
    pub link_len: u32,
    /// A socket of the group: what the lookup found. If its cookie is a socket's of the world, it is that one.
    pub sock: Socket,
    /// The cookie of the socket whose connection is to be moved, as it closes; none if a packet is to be received.
    pub migrating: Option<u64>,
    /// What the kernel would select by; none: a hash of the addresses.
    pub hash: Option<u32>,
    socket: SocketOf,
    pub(crate) selected: Option<u64>,
    verdict: Option<SkReuseport>,
    packet: Option<Packet>,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkReuseport {
    /// It is dropped.
    Drop,
    /// The socket of this cookie gets it.
    Selected(u64),
    /// The kernel selects by the hash: here the socket of this cookie.
    ByHash(u64),
}

/// The packet in guest memory.
#[derive(Debug)]
struct Packet {
    md: Arc<Region>,
    transport: u32,
    len: u32,
}

const SK_PASS: u32 = 1;

impl SkReuseportContext {
    /// An Ethernet frame for the group of this socket.
    pub fn packet(frame: impl Into<Vec<u8>>, sock: Socket) -> SkReuseportContext {
        SkReuseportContext {
            frame: frame.into(),
            link_len: eth::ETH_HLEN,
            sock,
            ..SkReuseportContext::default()
        }
    }

    /// What the last run decided; none if it faulted.
    pub fn verdict(&self) -> Option<SkReuseport> {
        self.verdict
    }

    /// The address of the context, while a program runs.
    pub(crate) fn at(&self) -> Option<u64> {
        self.packet.as_ref().map(|packet| packet.md.base())
    }

    /// Reads bytes for `bpf_skb_load_bytes`: `from` counts from the transport header, or else from the header that the argument says.
    pub(crate) fn read(&self, from: From, off: u32, to: &mut [u8]) -> Result<(), Errno> {
        let packet = self.packet.as_ref().ok_or(Errno::EFAULT)?;
        let start = match from {
            From::Transport => packet.transport,
            From::Mac => 0,
            From::Network => self.link_len,
        };
        let at = start.checked_add(off).ok_or(Errno::EFAULT)?;
        let bytes =
            self.frame.get(at as usize..).and_then(|bytes| bytes.get(..to.len())).ok_or(Errno::EFAULT)?;
        to.copy_from_slice(bytes);
        Ok(())
    }

    /// Where the transport header is, its protocol, and who sends to whom.
    fn parse(&self) -> Option<(u32, u8, [IpAddr; 2])> {
        let ip = self.frame.get(self.link_len as usize..)?;
        let v4 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
        let v6 = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
        match ip.first()? >> 4 {
            4 => Some((self.link_len + 4 * u32::from(ip[0] & 15), *ip.get(9)?, [v4(12)?, v4(16)?])),
            6 => Some((self.link_len + eth::IPV6_HLEN, *ip.get(6)?, [v6(8)?, v6(24)?])),
            _ => None,
        }
    }

    fn hash(&self, setup: &Setup<'_>, addrs: [IpAddr; 2], ports: [u16; 2]) -> u32 {
        let Some(linux) = setup.emulator::<Linux>() else { return 0 };
        let [src, dst] = addrs;
        let wanted = Wanted {
            protocol: self.sock.protocol,
            src: (src, ports[0]),
            dst: (dst, ports[1]),
            ifindex: 0,
            netns: None,
            cpu: 0,
        };
        connection_hash(linux, &wanted) as u32
    }

    fn fill(&mut self, setup: &mut Setup<'_>) -> Result<Packet, ContextError> {
        let refuse = |errno, why: &str| Err(ContextError::Errno(errno, why.into()));
        if net::packet_len(self.frame.len()).is_err() {
            return refuse(Errno::E2BIG, "the packet is too long");
        }
        let Some((transport, protocol, addrs)) = self.parse() else {
            return refuse(Errno::EINVAL, "the packet is no whole IP packet");
        };
        let Some(segment) = self.frame.get(transport as usize..) else {
            return refuse(Errno::EINVAL, "the packet ends inside its network header");
        };
        let len = segment.len() as u32;
        let region = setup.region("packet", len, Layout::Bytes(Access::Read))?;
        region.set_bounds(0, len);
        region.write(0, segment);
        let port =
            |at: usize| segment.get(at..at + 2).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
        let hash = self.hash.unwrap_or_else(|| self.hash(setup, addrs, [port(0), port(2)]));
        let md = setup.region("context", layout::SK_REUSEPORT.size, Layout::Fields(layout::SK_REUSEPORT))?;
        md.fill(0, layout::SK_REUSEPORT.size, 0);
        md.store(0, Size::Dw, region.base());
        md.store(8, Size::Dw, region.base() + u64::from(len));
        md.store(16, Size::W, len.into());
        let eth_protocol = if addrs[0].is_ipv4() { eth::ETH_P_IP } else { eth::ETH_P_IPV6 };
        // In network order, as the packet has it.
        let eth_protocol = match md.order() {
            ByteOrder::Little => eth_protocol.swap_bytes(),
            ByteOrder::Big => eth_protocol,
        };
        md.store(20, Size::W, eth_protocol.into());
        md.store(24, Size::W, protocol.into());
        let any = self.sock.local_ip4 == [0; 4] && self.sock.local_ip6 == [0; 16];
        md.store(28, Size::W, any.into());
        md.store(32, Size::W, hash.into());
        Ok(Packet { md, transport, len })
    }

    /// The socket that the kernel takes if the program selects none.
    fn by_hash(&self, setup: &Setup<'_>) -> u64 {
        let Some(linux) = setup.emulator::<Linux>() else { return self.sock.cookie };
        let group = reuseport_group(linux, &self.sock);
        let hash = self.packet.as_ref().map_or(0, |packet| packet.md.load(32, Size::W));
        let at = (hash * group.len() as u64) >> 32;
        group.get(at as usize).map_or(self.sock.cookie, |socket| socket.cookie)
    }
}

/// What offsets of `bpf_skb_load_bytes_relative` count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The transport header.
    Transport,
    /// The link-layer header.
    Mac,
    /// The network header.
    Network,
}

impl Context for SkReuseportContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let sock = setup.region("socket", layout::SOCK_LEN, Layout::Fields(layout::SOCK))?;
        self.socket.enter(setup, &sock, &mut self.sock);
        let packet = self.fill(setup)?;
        packet.md.store(40, Size::Dw, sock.base());
        if let (Some(cookie), Some(linux)) = (self.migrating, setup.emulator::<Linux>()) {
            let key = crate::ObjectKey::Socket(cookie);
            let migrating = linux.object(setup.memory(), key, crate::View::Sock).unwrap_or(0);
            packet.md.store(48, Size::Dw, migrating);
        }
        let base = packet.md.base();
        self.packet = Some(packet);
        (self.selected, self.verdict) = (None, None);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        self.socket.leave(setup, &mut self.sock);
        self.verdict = r0.map(|r0| match self.selected {
            _ if r0 as u32 != SK_PASS => SkReuseport::Drop,
            Some(cookie) => SkReuseport::Selected(cookie),
            None => SkReuseport::ByHash(self.by_hash(setup)),
        });
    }
}

impl PacketBytes for SkReuseportContext {
    fn len(&self) -> u32 {
        self.packet.as_ref().map_or(0, |packet| packet.len)
    }

    fn read(&self, off: u32, to: &mut [u8]) -> bool {
        SkReuseportContext::read(self, From::Transport, off, to).is_ok()
    }

    fn write(&self, _off: u32, _from: &[u8]) -> bool {
        false
    }
}
