//! Sockets as `/proc/net/tcp` and its like list them.

use super::{Capture, read};
use mimic::linux::{Reuse, Socket};

/// The most sockets.
const SOCKETS_MAX: usize = 1 << 16;

/// The files, and what is in them: family, type, protocol.
const FILES: [(&str, u32, u32, u32); 6] = [
    ("tcp", 2, 1, 6),
    ("tcp6", 10, 1, 6),
    ("udp", 2, 2, 17),
    ("udp6", 10, 2, 17),
    ("raw", 2, 3, 0),
    ("raw6", 10, 3, 0),
];

impl Capture {
    /// The sockets of this network namespace.
    pub(super) fn sockets(&mut self) {
        let mut sockets = Vec::new();
        for (name, family, sock_type, protocol) in FILES {
            let text = read(&format!("/proc/net/{name}")).unwrap_or_default();
            let made = |socket: Socket| Socket {
                family,
                sock_type,
                protocol: if protocol == 0 { socket.local_port.into() } else { protocol },
                ..socket
            };
            sockets.extend(text.lines().skip(1).filter_map(inet).map(made));
        }
        let text = self.read("/proc/net/unix").unwrap_or_default();
        sockets.extend(text.lines().skip(1).filter_map(unix));
        if sockets.len() > SOCKETS_MAX {
            self.leave_out("sockets", format!("only the first {SOCKETS_MAX} of {} are taken", sockets.len()));
            sockets.truncate(SOCKETS_MAX);
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            socket.cookie = at as u64 + 1;
        }
        self.world.net.sockets = sockets;
    }
}

/// A line of `tcp`, `udp` or `raw`, or of those of IPv6.
fn inet(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, remote, state, _, _, _, uid, _, ino, ..] = words[..] else { return None };
    let mut socket = Socket {
        state: u32::from_str_radix(state, 16).ok()?,
        uid: uid.parse().ok()?,
        ino: ino.parse().ok()?,
        reuse: Reuse::default(),
        ..Socket::default()
    };
    for (text, ip4, ip6, port) in [
        (local, &mut socket.local_ip4, &mut socket.local_ip6, &mut socket.local_port),
        (remote, &mut socket.remote_ip4, &mut socket.remote_ip6, &mut socket.remote_port),
    ] {
        let (addr, hex_port) = text.split_once(':')?;
        *port = u16::from_str_radix(hex_port, 16).ok()?;
        // Words of four bytes, each a number in the host's byte order.
        let word =
            |at: usize| u32::from_str_radix(addr.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
        match addr.len() {
            8 => *ip4 = word(0)?,
            32 => *ip6 = [word(0)?, word(1)?, word(2)?, word(3)?].concat().try_into().ok()?,
            _ => return None,
        }
    }
    Some(socket)
}

/// A line of `unix`.
fn unix(line: &str) -> Option<Socket> {
    const AF_UNIX: u32 = 1;
    const LISTENING: u32 = 0x1_0000;
    const SS_CONNECTED: u32 = 3;
    const TCP_ESTABLISHED: u32 = 1;
    const TCP_CLOSE: u32 = 7;
    const TCP_LISTEN: u32 = 10;
    let mut words = line.split_whitespace();
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let flags = hex(words.nth(3)?)?;
    let sock_type = hex(words.next()?)?;
    let state = hex(words.next()?)?;
    let ino = words.next()?.parse().ok()?;
    let state = match state {
        _ if flags & LISTENING != 0 => TCP_LISTEN,
        SS_CONNECTED => TCP_ESTABLISHED,
        _ => TCP_CLOSE,
    };
    let path = words.next().unwrap_or_default();
    // An abstract name is shown with @ for its NUL.
    let path = path.strip_prefix('@').map_or_else(|| path.into(), |name| [b"\0", name.as_bytes()].concat());
    Some(Socket { family: AF_UNIX, sock_type, state, ino, path, ..Socket::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn inet_sockets_are_read() {
        let tcp = "   0: 0100007F:1F90 020200C0:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20 0 0 10 0";
        let socket = inet(tcp).expect("it is good");
        assert_eq!((socket.local_ip4, socket.local_port, socket.state), ([127, 0, 0, 1], 8080, 1));
        assert_eq!((socket.remote_ip4, socket.remote_port), ([192, 0, 2, 2], 50000));
        assert_eq!((socket.uid, socket.ino), (1000, 4711));
        let six = " 1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 9 1";
        let socket = inet(six).expect("it is good");
        assert_eq!((socket.local_ip6[15], socket.local_port, socket.state), (1, 22, 10));
    }

    #[test]
    fn unix_sockets_are_read() {
        let socket =
            unix("0000000000000000: 00000002 00000000 00010000 0001 01 20 @/tmp/x").expect("it is good");
        assert_eq!(
            (socket.sock_type, socket.state, socket.ino, socket.path.as_slice()),
            (1, 10, 20, &b"\0/tmp/x"[..])
        );
        assert!(unix("Num RefCount Protocol Flags Type St Inode Path").is_none());
    }
}
