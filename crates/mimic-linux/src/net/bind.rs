//! Binding a socket to an address of this host, as `bpf_bind` does. Mirrors bind(2), ip(7), ipv6(7).

use crate::Linux;
use crate::world::Socket;
use mimic_abi::Errno;
use std::net::{IpAddr, SocketAddr};

impl Linux {
    /// Binds the socket of this cookie, for a task that may use ports below 1024 or not.
    pub(crate) fn bind_socket(&self, cookie: u64, addr: SocketAddr, privileged: bool) -> Result<(), Errno> {
        const FIRST_FREE_PORT: u16 = 1024;
        const CLOSE: u32 = 7;
        let sk = self.sockets().get(cookie).ok_or(Errno::EINVAL)?;
        if !sk.transparent && !self.is_local(addr.ip()) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if addr.port() != 0 && addr.port() < FIRST_FREE_PORT && !privileged {
            return Err(Errno::EACCES);
        }
        if sk.state != CLOSE || sk.local_port != 0 {
            return Err(Errno::EINVAL);
        }
        let others = self.sockets().all();
        if addr.port() != 0 && others.iter().any(|other| other.cookie != cookie && conflict(&sk, addr, other))
        {
            return Err(Errno::EADDRINUSE);
        }
        // Without a port, one is chosen when the socket is connected.
        self.change_socket(cookie, |sk| {
            match addr.ip() {
                IpAddr::V4(ip) => sk.local_ip4 = ip.octets(),
                IpAddr::V6(ip) => sk.local_ip6 = ip.octets(),
            }
            sk.local_port = addr.port();
        });
        Ok(())
    }

    /// Whether packets for the address are for this host.
    fn is_local(&self, ip: IpAddr) -> bool {
        let mut devices = self.world().net.devices.0.iter();
        let routed = self.world().net.routes.iter().any(|route| {
            const LOCAL: u32 = 255;
            route.table == LOCAL && route.dst.0 == ip
        });
        ip.is_unspecified()
            || ip.is_loopback()
            || ip.is_multicast()
            || routed
            || devices.any(|device| device.addrs.iter().any(|(addr, _)| *addr == ip))
    }
}

/// Whether a port is another socket's already.
fn conflict(sk: &Socket, addr: SocketAddr, other: &Socket) -> bool {
    const LISTEN: u32 = 10;
    let same = (sk.family, sk.protocol, addr.port()) == (other.family, other.protocol, other.local_port);
    let ip: IpAddr = if addr.is_ipv4() { other.local_ip4.into() } else { other.local_ip6.into() };
    let overlaps = ip == addr.ip() || ip.is_unspecified() || addr.ip().is_unspecified();
    let apart = sk.bound_dev_if != 0 && other.bound_dev_if != 0 && sk.bound_dev_if != other.bound_dev_if;
    let shared = sk.reuse.port && other.reuse.port && sk.uid == other.uid
        || sk.reuse.addr && other.reuse.addr && other.state != LISTEN;
    same && overlaps && !apart && !shared
}
