//! `SockAddrContext`: an address that a task of a control group binds, connects or sends to, receives from, or asks for:
//! `struct bpf_sock_addr`.

use super::layout::{SOCK_ADDR, SOCK_ADDR_LEN};
use super::{CgroupContext, SocketOf, after, layout_of, sock_region};
use crate::world::Socket;
use crate::world::socket::{AF_INET, AF_INET6, AF_UNIX};
use mimic_abi::{AttachType, ByteOrder, Errno, Size};
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Region, Setup};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A socket's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SockAddr {
    /// Of IP.
    Inet(SocketAddr),
    /// Of `AF_UNIX`: a path, or a name after a NUL.
    Unix(Vec<u8>),
}

impl Default for SockAddr {
    fn default() -> SockAddr {
        SockAddr::Inet(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

impl SockAddr {
    /// The longest path, in bytes.
    pub const PATH_MAX: usize = 108;

    fn family(&self) -> u32 {
        match self {
            SockAddr::Inet(SocketAddr::V4(_)) => AF_INET,
            SockAddr::Inet(SocketAddr::V6(_)) => AF_INET6,
            SockAddr::Unix(_) => AF_UNIX,
        }
    }
}

/// What cgroup/bind4, connect6, sendmsg4, recvmsg6, getpeername_unix, … programs get.
#[derive(Clone, Debug, Default)]
pub struct SockAddrContext {
    /// The socket. If its cookie is a socket's of the world, it is that one.
    pub sock: Socket,
    /// The address; after a run the one that the system call goes on with.
    pub addr: SockAddr,
    /// The local address that a datagram is sent from, for sendmsg; after a run the one that it is sent from.
    pub src: Option<IpAddr>,
    /// What the system call returns: 0, or a negative errno.
    pub retval: i32,
    /// A program lets the task bind to a port below 1024 whatever its rights are (r0 was 2 or 3, at bind).
    pub bind_without_cap: bool,
    socket: SocketOf,
    region: Option<Arc<Region>>,
}

impl SockAddrContext {
    /// This address, for this socket.
    pub fn new(sock: Socket, addr: SockAddr) -> SockAddrContext {
        SockAddrContext { sock, addr, ..SockAddrContext::default() }
    }

    /// An address of IP, for a TCP socket that is not connected.
    pub fn tcp(addr: SocketAddr) -> SockAddrContext {
        SockAddrContext::new(inet(addr, 1, 6), SockAddr::Inet(addr))
    }

    /// An address of IP, for a UDP socket that is not connected.
    pub fn udp(addr: SocketAddr) -> SockAddrContext {
        SockAddrContext::new(inet(addr, 2, 17), SockAddr::Inet(addr))
    }

    /// A path, for a stream socket of `AF_UNIX`.
    pub fn unix(path: impl Into<Vec<u8>>) -> SockAddrContext {
        let sock = Socket { family: AF_UNIX, sock_type: 1, ..Socket::default() };
        SockAddrContext::new(sock, SockAddr::Unix(path.into()))
    }

    /// The address of the context, while a program runs.
    pub(crate) fn at(&self) -> Option<u64> {
        self.region.as_ref().map(|region| region.base())
    }

    /// Puts a path in the place of the address's.
    pub(crate) fn set_sun_path(&mut self, path: &[u8]) -> Result<(), Errno> {
        let SockAddr::Unix(known) = &mut self.addr else { return Err(Errno::EINVAL) };
        if path.is_empty() || path.len() > SockAddr::PATH_MAX {
            return Err(Errno::EINVAL);
        }
        *known = path.to_vec();
        Ok(())
    }

    fn fill(&self, region: &Region) {
        region.fill(0, SOCK_ADDR_LEN, 0);
        let words = [(0, self.addr.family()), (28, self.sock.family), (32, self.sock.sock_type)];
        for (off, word) in words.into_iter().chain([(36, self.sock.protocol)]) {
            region.store(off, Size::W, word.into());
        }
        if let SockAddr::Inet(addr) = self.addr {
            write_ip(region, addr.ip(), 4, 8);
            region.store(24, Size::W, net16(region.order(), addr.port()).into());
        }
        if let Some(src) = self.src {
            write_ip(region, src, 40, 44);
        }
    }

    fn read(&mut self, region: &Region) {
        if let SockAddr::Inet(addr) = &mut self.addr {
            addr.set_ip(read_ip(region, addr.ip(), 4, 8));
            addr.set_port(net16(region.order(), region.load(24, Size::W) as u16));
        }
        if let Some(src) = &mut self.src {
            *src = read_ip(region, *src, 40, 44);
        }
    }
}

fn inet(addr: SocketAddr, sock_type: u32, protocol: u32) -> Socket {
    let family = if addr.is_ipv4() { AF_INET } else { AF_INET6 };
    Socket { family, sock_type, protocol, ..Socket::default() }
}

fn write_ip(region: &Region, ip: IpAddr, ip4: u32, ip6: u32) {
    match ip {
        IpAddr::V4(ip) => region.write(ip4, &ip.octets()),
        IpAddr::V6(ip) => region.write(ip6, &ip.octets()),
    }
}

fn read_ip(region: &Region, was: IpAddr, ip4: u32, ip6: u32) -> IpAddr {
    let (mut v4, mut v6) = ([0; 4], [0; 16]);
    match was {
        IpAddr::V4(_) => {
            region.read(ip4, &mut v4);
            Ipv4Addr::from(v4).into()
        }
        IpAddr::V6(_) => {
            region.read(ip6, &mut v6);
            Ipv6Addr::from(v6).into()
        }
    }
}

/// A port in network order as the guest's processor has it, or back.
fn net16(order: ByteOrder, port: u16) -> u16 {
    match order {
        ByteOrder::Little => port.swap_bytes(),
        ByteOrder::Big => port,
    }
}

impl CgroupContext for SockAddrContext {
    fn retval(&self) -> i32 {
        self.retval
    }

    fn set_retval(&mut self, retval: i32) {
        self.retval = retval;
    }
}

impl Context for SockAddrContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if let SockAddr::Unix(path) = &self.addr
            && path.len() > SockAddr::PATH_MAX
        {
            let why = format!("a path has at most {} bytes, this one {}", SockAddr::PATH_MAX, path.len());
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        let layout = layout_of(setup, SOCK_ADDR);
        let sock = sock_region(setup)?;
        let region = setup.region("context", layout.size, Layout::Fields(layout))?;
        self.socket.enter(setup, &sock, &mut self.sock);
        self.fill(&region);
        region.store(64, Size::Dw, sock.base());
        let base = region.base();
        self.region = Some(region);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        if let Some(region) = self.region.clone() {
            self.read(&region);
        }
        self.socket.leave(setup, &mut self.sock);
        let binds = matches!(
            setup.program().linked().attach_type,
            Some(AttachType::CgroupInet4Bind | AttachType::CgroupInet6Bind)
        );
        self.bind_without_cap |= binds && r0.is_some_and(|r0| r0 & 2 != 0);
        self.retval = after(self.retval, r0, |r0| if binds { r0 & 1 != 0 } else { r0 != 0 });
    }
}
