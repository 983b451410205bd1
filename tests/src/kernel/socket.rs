//! Sockets of the kernel, for namespaces that tests make: what std's cannot be told before they are bound.

use super::sys;
use mimic_abi::Errno;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A socket, closed when dropped.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// A TCP socket of the address's family.
    pub fn tcp(of: SocketAddr) -> Result<Socket, Errno> {
        Socket::new(of, libc::SOCK_STREAM, 0)
    }

    /// A UDP socket of the address's family.
    pub fn udp(of: SocketAddr) -> Result<Socket, Errno> {
        Socket::new(of, libc::SOCK_DGRAM, 0)
    }

    /// A socket that sends IPv4 packets with their headers.
    pub fn raw() -> Result<Socket, Errno> {
        Ok(Socket { fd: sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)? })
    }

    fn new(of: SocketAddr, kind: i32, protocol: i32) -> Result<Socket, Errno> {
        let family = if of.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        Ok(Socket { fd: sys::socket(family, kind, protocol)? })
    }

    /// Sets an option that is a number.
    pub fn set(self, level: i32, name: i32, value: i32) -> Result<Socket, Errno> {
        sys::setsockopt(&self.fd, level, name, &value.to_ne_bytes())?;
        Ok(self)
    }

    /// Binds it to a device.
    pub fn to_device(self, name: &str) -> Result<Socket, Errno> {
        sys::setsockopt(&self.fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())?;
        Ok(self)
    }

    /// Binds it; other sockets may have the address too if they say so (`SO_REUSEADDR`).
    pub fn bound(self, addr: SocketAddr) -> Result<Socket, Errno> {
        let socket = self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        sys::bind(&socket.fd, &sockaddr(addr))?;
        Ok(socket)
    }

    /// Lets it listen.
    pub fn listening(self) -> Result<Socket, Errno> {
        sys::listen(&self.fd, 8)?;
        Ok(self)
    }

    /// Connects it.
    pub fn connected(self, to: SocketAddr) -> Result<Socket, Errno> {
        sys::connect(&self.fd, &sockaddr(to))?;
        Ok(self)
    }

    /// Waits for a connection.
    pub fn accept(&self) -> Result<Socket, Errno> {
        Ok(Socket { fd: sys::accept(&self.fd)? })
    }

    /// Sends bytes.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> Result<(), Errno> {
        sys::send_to(&self.fd, bytes, &sockaddr(to))
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// `struct sockaddr_in` and `sockaddr_in6` as they lie in memory.
fn sockaddr(addr: SocketAddr) -> Vec<u8> {
    let port = addr.port().to_be_bytes();
    match addr {
        SocketAddr::V4(addr) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &addr.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(addr) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            let scope = addr.scope_id().to_ne_bytes();
            [&family[..], &port, &[0; 4], &addr.ip().octets(), &scope].concat()
        }
    }
}
