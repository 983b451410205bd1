//! `SkLookupContext`: which socket a packet or a connection gets: `struct bpf_sk_lookup`, and the socket that the program selected.
//! Documentation/bpf/prog_sk_lookup.rst.

use super::layout;
use crate::world::Socket;
use crate::world::socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_LISTEN};
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Layout, Region};
use mimic_vm::{Context, ContextError, Setup};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A lookup that finds neither a connection nor is decided yet.
#[derive(Debug)]
pub struct SkLookupContext {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u32,
    /// Who sent the packet.
    pub remote: SocketAddr,
    /// Whom it is for, of the same family.
    pub local: SocketAddr,
    /// The device that received it, by index.
    pub ingress_ifindex: u32,
    /// The cookie of the socket that the last run selected.
    pub(crate) selected: Option<u64>,
    pub(crate) no_reuseport: bool,
    drops: bool,
    md: Option<Arc<Region>>,
}

/// What a run made of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkLookup {
    /// The packet is dropped.
    Drop,
    /// The lookup goes on, as if there were no program.
    GoOn,
    /// The socket of this cookie gets it.
    Selected {
        /// The cookie.
        cookie: u64,
        /// The socket itself, and none of its group (`BPF_SK_LOOKUP_F_NO_REUSEPORT`).
        no_reuseport: bool,
    },
}

const SK_DROP: u32 = 0;

impl SkLookupContext {
    /// A lookup for a packet of this protocol, received on `lo`.
    pub fn new(protocol: u32, remote: SocketAddr, local: SocketAddr) -> SkLookupContext {
        SkLookupContext {
            protocol,
            remote,
            local,
            ingress_ifindex: 1,
            selected: None,
            no_reuseport: false,
            drops: false,
            md: None,
        }
    }

    /// A lookup for a TCP connection that `remote` asks for.
    pub fn tcp(remote: SocketAddr, local: SocketAddr) -> SkLookupContext {
        SkLookupContext::new(IPPROTO_TCP, remote, local)
    }

    /// A lookup for a UDP packet.
    pub fn udp(remote: SocketAddr, local: SocketAddr) -> SkLookupContext {
        SkLookupContext::new(IPPROTO_UDP, remote, local)
    }

    /// What the last run decided.
    pub fn result(&self) -> SkLookup {
        match self.selected {
            _ if self.drops => SkLookup::Drop,
            Some(cookie) => SkLookup::Selected { cookie, no_reuseport: self.no_reuseport },
            None => SkLookup::GoOn,
        }
    }

    fn family(&self) -> u32 {
        if self.local.is_ipv4() { AF_INET } else { AF_INET6 }
    }

    /// Whether a socket can be selected for this lookup.
    pub(crate) fn check(&self, socket: &Socket) -> Result<(), Errno> {
        let waits = match (socket.is_tcp(), socket.is_udp()) {
            (true, _) => socket.state == TCP_LISTEN,
            (_, true) => socket.state == TCP_CLOSE,
            _ => false,
        };
        if !waits {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        if socket.protocol != self.protocol {
            return Err(Errno::EPROTOTYPE);
        }
        if socket.family != self.family() && (socket.family == AF_INET || socket.rcv_addr4().is_none()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        Ok(())
    }

    /// Shows the program what it selected.
    pub(crate) fn show_selected(&self, addr: u64) {
        if let Some(md) = &self.md {
            md.store(0, Size::Dw, addr);
        }
    }

    fn write(&self, md: &Region) {
        md.fill(0, layout::SK_LOOKUP_LEN, 0);
        md.store(8, Size::W, self.family().into());
        md.store(12, Size::W, self.protocol.into());
        // The other family's addresses are zeros.
        for (addr, off4, off6) in [(self.remote.ip(), 16, 20), (self.local.ip(), 40, 44)] {
            match addr {
                IpAddr::V4(addr) => md.write(off4, &addr.octets()),
                IpAddr::V6(addr) => md.write(off6, &addr.octets()),
            }
        }
        md.write(36, &self.remote.port().to_be_bytes());
        md.store(60, Size::W, self.local.port().into());
        md.store(64, Size::W, self.ingress_ifindex.into());
    }
}

impl Default for SkLookupContext {
    fn default() -> SkLookupContext {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        SkLookupContext::tcp(nobody, nobody)
    }
}

impl Context for SkLookupContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.remote.is_ipv4() != self.local.is_ipv4() {
            let why = format!("{} and {} are not of one family", self.remote, self.local);
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        let md = setup.region("context", layout::SK_LOOKUP_LEN, Layout::Fields(layout::SK_LOOKUP))?;
        self.write(&md);
        (self.selected, self.no_reuseport, self.drops) = (None, false, false);
        let base = md.base();
        self.md = Some(md);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, _: &mut Setup<'_>, r0: Option<u64>) {
        self.drops = r0.is_none_or(|r0| r0 as u32 == SK_DROP);
    }
}
