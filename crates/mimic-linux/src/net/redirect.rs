//! `Redirect`: where a program sends a packet. Recorded, not done: the world has no wires.

/// What the redirect helpers left behind; it counts when the program's verdict is to redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Where to.
    pub to: RedirectTo,
    /// The helper's flags.
    pub flags: u64,
}

/// Where a packet is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTo {
    /// A device (`bpf_redirect`).
    Device {
        /// Its index.
        ifindex: u32,
    },
    /// A device, after its neighbour was looked up (`bpf_redirect_neigh`).
    Neigh {
        /// Its index.
        ifindex: u32,
        /// The next hop, if the program says it.
        next_hop: Option<NextHop>,
    },
    /// The other end of a pair of devices, in its own namespace (`bpf_redirect_peer`).
    Peer {
        /// The index of the end on this side.
        ifindex: u32,
    },
    /// A socket of a sock map (`bpf_sk_redirect_map`, `bpf_msg_redirect_map` and their forms for hashes).
    Socket {
        /// The map's id.
        map_id: u32,
        /// The socket's cookie.
        cookie: u64,
    },
    /// An entry of a map, or all of them (`bpf_redirect_map`).
    Map {
        /// The map's id.
        map_id: u32,
        /// The key.
        key: u64,
        /// The device's index, the CPU's queue size or the socket's id; none for a broadcast.
        value: Option<u32>,
    },
}

/// `struct bpf_redir_neigh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u32,
    /// The address: 4 bytes, or 16.
    pub addr: [u8; 16],
}

/// A packet that `bpf_clone_redirect` sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClonedPacket {
    /// The device.
    pub ifindex: u32,
    /// The helper's flags.
    pub flags: u64,
    /// The packet as it was then.
    pub packet: Vec<u8>,
}
