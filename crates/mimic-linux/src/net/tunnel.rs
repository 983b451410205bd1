//! `Tunnel`: what a packet is to be sent through a tunnel with. Mirrors `struct ip_tunnel_info` as far as `struct bpf_tunnel_key` shows it.

use mimic_abi::{ByteOrder, Errno};

/// Bytes of `struct bpf_tunnel_key`.
pub(crate) const KEY_LEN: usize = 44;
/// Shorter ones that older programs were compiled with: up to `remote_ipv6[1]`, `tunnel_ext`, `tunnel_label`, `local_ipv6`.
const OLD_LENS: [usize; 4] = [8, 22, 24, 28];

/// The most bytes of options: `IP_TUNNEL_OPTS_MAX`.
const OPTIONS_LEN_MAX: u64 = 255;

/// Flags of `bpf_skb_set_tunnel_key` and `bpf_skb_get_tunnel_key`.
const TUNINFO_IPV6: u64 = 1;
const ZERO_CSUM_TX: u64 = 1 << 1;
const DONT_FRAGMENT: u64 = 1 << 2;
const SEQ_NUMBER: u64 = 1 << 3;
const NO_TUNNEL_KEY: u64 = 1 << 4;
/// Of `bpf_skb_get_tunnel_key`: `tunnel_ext` is asked to hold flags.
const TUNINFO_FLAGS: u64 = 1 << 4;

/// `IP_TUNNEL_*_BIT` of a tunnel's flags.
const CSUM: u16 = 1 << 0;
const KEY: u16 = 1 << 2;
const SEQ: u16 = 1 << 3;
const NO_FRAGMENT: u16 = 1 << 8;
const NOCACHE: u16 = 1 << 13;
/// Options of Geneve, VXLAN, ERSPAN and GTP.
const OPTIONS: u16 = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15;

/// The 20 bits of an IPv6 flow label.
const LABEL_MASK: u32 = 0xf_ffff;

/// What `bpf_skb_set_tunnel_key` gave a packet. Numbers and addresses are kept as the program wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    id: [u8; 4],
    tos: u8,
    ttl: u8,
    flags: u16,
    label: u32,
    is_ipv6: bool,
    local: [u8; 16],
    remote: [u8; 16],
    options: Vec<u8>,
    /// Source and destination port of the UDP that packets are put into, as the program wrote them.
    pub(crate) fou_ports: [u8; 4],
}

impl Tunnel {
    /// Reads a `struct bpf_tunnel_key` of any length that it ever had.
    pub(crate) fn from_key(key: &[u8], flags: u64, order: ByteOrder) -> Result<Tunnel, Errno> {
        let known = TUNINFO_IPV6 | ZERO_CSUM_TX | DONT_FRAGMENT | SEQ_NUMBER | NO_TUNNEL_KEY;
        if flags & !known != 0 || !(key.len() == KEY_LEN || OLD_LENS.contains(&key.len())) {
            return Err(Errno::EINVAL);
        }
        let mut whole = [0; KEY_LEN];
        whole[..key.len()].copy_from_slice(key);
        let is_ipv6 = flags & TUNINFO_IPV6 != 0;
        let label = number(part(&whole, 24), order);
        if (!is_ipv6 && label != 0) || whole[22..24] != [0; 2] {
            return Err(Errno::EINVAL);
        }
        let address = |off: usize| {
            let mut address = [0; 16];
            let len = if is_ipv6 { 16 } else { 4 };
            address[..len].copy_from_slice(&whole[off..off + len]);
            address
        };
        let bit = |condition: bool, bit: u16| if condition { bit } else { 0 };
        Ok(Tunnel {
            id: part(&whole, 0),
            tos: whole[20],
            ttl: whole[21],
            flags: NOCACHE
                | bit(flags & DONT_FRAGMENT != 0, NO_FRAGMENT)
                | bit(flags & ZERO_CSUM_TX == 0, CSUM)
                | bit(flags & SEQ_NUMBER != 0, SEQ)
                | bit(flags & NO_TUNNEL_KEY == 0, KEY),
            label: label & LABEL_MASK,
            is_ipv6,
            local: address(28),
            remote: address(4),
            options: Vec::new(),
            fou_ports: [0; 4],
        })
    }

    /// Fills a `struct bpf_tunnel_key` of any length that it ever had. The packet is seen as its receiver sees it: where it came
    /// from is the remote address.
    pub(crate) fn write_key(&self, key: &mut [u8], flags: u64, order: ByteOrder) -> Result<(), Errno> {
        if flags & !(TUNINFO_IPV6 | TUNINFO_FLAGS) != 0 {
            return Err(Errno::EINVAL);
        }
        if self.is_ipv6 != (flags & TUNINFO_IPV6 != 0) {
            return Err(Errno::EPROTO);
        }
        let shortest_is_ipv4_only = key.len() == OLD_LENS[0] && self.is_ipv6;
        if shortest_is_ipv4_only || !(key.len() == KEY_LEN || OLD_LENS.contains(&key.len())) {
            return Err(Errno::EINVAL);
        }
        let mut whole = [0; KEY_LEN];
        whole[..4].copy_from_slice(&self.id);
        whole[4..20].copy_from_slice(&self.local);
        (whole[20], whole[21]) = (self.tos, self.ttl);
        if flags & TUNINFO_FLAGS != 0 {
            whole[22..24].copy_from_slice(&self.flags.to_be_bytes());
        }
        if self.is_ipv6 {
            whole[24..28].copy_from_slice(&bytes(self.label, order));
        }
        whole[28..44].copy_from_slice(&self.remote);
        key.copy_from_slice(&whole[..key.len()]);
        Ok(())
    }

    /// Whether there can be so many bytes of options.
    pub(crate) fn check_options_len(len: u64) -> Result<(), Errno> {
        match len {
            len if len % 4 != 0 => Err(Errno::EINVAL),
            len if len > OPTIONS_LEN_MAX => Err(Errno::ENOMEM),
            _ => Ok(()),
        }
    }

    /// Sets the options, of a length that was checked.
    pub(crate) fn set_options(&mut self, options: Vec<u8>) {
        if !options.is_empty() {
            self.flags |= OPTIONS;
        }
        self.options = options;
    }

    /// Copies the options out; how many bytes they are.
    pub(crate) fn write_options(&self, to: &mut [u8]) -> Result<usize, Errno> {
        if self.flags & OPTIONS == 0 {
            return Err(Errno::ENOENT);
        }
        let room = to.get_mut(..self.options.len()).ok_or(Errno::ENOMEM)?;
        room.copy_from_slice(&self.options);
        to[self.options.len()..].fill(0);
        Ok(self.options.len())
    }
}

fn part(whole: &[u8; KEY_LEN], off: usize) -> [u8; 4] {
    core::array::from_fn(|at| whole[off + at])
}

fn number(bytes: [u8; 4], order: ByteOrder) -> u32 {
    match order {
        ByteOrder::Little => u32::from_le_bytes(bytes),
        ByteOrder::Big => u32::from_be_bytes(bytes),
    }
}

fn bytes(number: u32, order: ByteOrder) -> [u8; 4] {
    match order {
        ByteOrder::Little => number.to_le_bytes(),
        ByteOrder::Big => number.to_be_bytes(),
    }
}
