//! Making a packet longer and shorter: at its end, at its front, and between its headers.

use super::checksum::{csum_fold, csum_partial};
use super::{Checksum, SkBuff};
use crate::net::eth::{ETH_P_IP, ETH_P_IPV6, IPV4_HLEN, IPV6_HLEN};
use mimic_abi::{ByteOrder, Errno};

/// The longest packet that helpers make, in bytes: `BPF_SKB_MAX_LEN`.
const LEN_MAX: u32 = 16384 - crate::net::SHARED_INFO_LEN;

/// Flags of `bpf_skb_adjust_room`.
const FIXED_GSO: u64 = 1;
const ENCAP_L3_IPV4: u64 = 1 << 1;
const ENCAP_L3_IPV6: u64 = 1 << 2;
const ENCAP_L4_GRE: u64 = 1 << 3;
const ENCAP_L4_UDP: u64 = 1 << 4;
const NO_CSUM_RESET: u64 = 1 << 5;
const ENCAP_L2_ETH: u64 = 1 << 6;
const DECAP_L3_IPV4: u64 = 1 << 7;
const DECAP_L3_IPV6: u64 = 1 << 8;
const ENCAP_L2_MASK: u64 = 0xff << ENCAP_L2_SHIFT;
const ENCAP_L2_SHIFT: u32 = 56;
const ENCAP_L3: u64 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6;
const DECAP_L3: u64 = DECAP_L3_IPV4 | DECAP_L3_IPV6;
const ADJUST_ROOM_FLAGS: u64 = FIXED_GSO
    | ENCAP_L3
    | ENCAP_L4_GRE
    | ENCAP_L4_UDP
    | NO_CSUM_RESET
    | ENCAP_L2_ETH
    | ENCAP_L2_MASK
    | DECAP_L3;

/// `BPF_ADJ_ROOM_NET`: room after the network header.
const ROOM_NET: u32 = 0;
/// `BPF_ADJ_ROOM_MAC`: room after the link-layer header.
const ROOM_MAC: u32 = 1;

impl SkBuff {
    /// `bpf_skb_change_tail`.
    pub(crate) fn change_tail(&mut self, new_len: u32, flags: u64) -> Result<(), Errno> {
        let done = self.set_len(new_len, flags);
        self.publish();
        done
    }

    /// `bpf_skb_change_head`.
    pub(crate) fn change_head(&mut self, head: u32, flags: u64) -> Result<(), Errno> {
        let done = self.push_head(head, flags);
        self.publish();
        done
    }

    /// `bpf_skb_change_proto`.
    pub(crate) fn change_proto(&mut self, to: u16, flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let diff = IPV6_HLEN - IPV4_HLEN;
        let off = self.mac_header_len();
        let done = match (self.protocol, to) {
            (ETH_P_IP, ETH_P_IPV6) => self.push_between(off, diff),
            (ETH_P_IPV6, ETH_P_IP) => self.pop_between(off, diff),
            _ => Err(Errno::ENOTSUPP),
        };
        if done.is_ok() {
            (self.protocol, self.hash) = (to, None);
        }
        self.publish();
        done
    }

    /// `bpf_lwt_push_encap` of IP: headers of an outer packet, IPv4 or IPv6, before the packet.
    pub(crate) fn push_ip_encap(&mut self, headers: &[u8]) -> Result<(), Errno> {
        let (protocol, ip_len, is_udp) = outer_header(headers).ok_or(Errno::EINVAL)?;
        let len = headers.len() as u32;
        self.reserve(len, 0)?;
        self.data -= len;
        (self.len, self.head_len) = (self.len + len, self.head_len + len);
        self.region.write(self.data, headers);
        let order = self.region.order();
        if protocol == ETH_P_IP && headers[10..12] == [0, 0] {
            let sum = csum_fold(csum_partial(&headers[..ip_len as usize], 0, order));
            let bytes = if order == ByteOrder::Little { sum.to_le_bytes() } else { sum.to_be_bytes() };
            self.region.write(self.data + 10, &bytes);
        }
        self.network = self.data;
        if is_udp {
            self.transport = Some(self.network + ip_len);
        }
        (self.protocol, self.hash, self.encapsulation) = (protocol, None, true);
        if let Checksum::Complete(sum) = self.checksum {
            self.set_checksum(Checksum::Complete(csum_partial(headers, sum, order)));
        }
        self.publish();
        Ok(())
    }

    /// `bpf_skb_change_type`.
    pub(crate) fn change_type(&mut self, pkt_type: u32) -> Result<(), Errno> {
        const LAST: u8 = crate::net::eth::PACKET_OTHERHOST;
        if self.pkt_type > LAST || pkt_type > u32::from(LAST) {
            return Err(Errno::EINVAL);
        }
        self.pkt_type = pkt_type as u8;
        self.publish();
        Ok(())
    }

    /// `bpf_skb_adjust_room`.
    pub(crate) fn adjust_room(&mut self, diff: i32, mode: u32, flags: u64) -> Result<(), Errno> {
        if flags & !ADJUST_ROOM_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        let len = diff.unsigned_abs();
        if len > 0xfff {
            return Err(Errno::EFAULT);
        }
        let base_len = match self.protocol {
            ETH_P_IP => IPV4_HLEN,
            ETH_P_IPV6 => IPV6_HLEN,
            _ => return Err(Errno::ENOTSUPP),
        };
        let off = match mode {
            ROOM_NET => self.mac_header_len() + base_len,
            ROOM_MAC => self.mac_header_len(),
            _ => return Err(Errno::ENOTSUPP),
        };
        let shrink = diff < 0;
        let len_min = match flags & DECAP_L3 {
            0 => base_len,
            _ if !shrink => return Err(Errno::EINVAL),
            DECAP_L3_IPV4 => IPV4_HLEN,
            DECAP_L3_IPV6 => IPV6_HLEN,
            _ => return Err(Errno::EINVAL),
        };
        let len_now = i64::from(self.len) - self.network_off();
        let too_short =
            shrink && (i64::from(len) >= len_now || len_now - i64::from(len) < i64::from(len_min));
        if too_short || (!shrink && self.len + len > LEN_MAX && !self.is_gso()) {
            return Err(Errno::ENOTSUPP);
        }
        let done = if shrink { self.room_shrink(off, len, flags) } else { self.room_grow(off, len, flags) };
        if let (Ok(()), 0, Checksum::Unnecessary(_)) = (done, flags & NO_CSUM_RESET, self.checksum) {
            self.set_checksum(Checksum::None);
        }
        self.publish();
        done
    }

    fn set_len(&mut self, new_len: u32, flags: u64) -> Result<(), Errno> {
        if flags != 0 || new_len > LEN_MAX || i64::from(new_len) < self.len_min() {
            return Err(Errno::EINVAL);
        }
        if self.encapsulation {
            return Err(Errno::ENOTSUPP);
        }
        self.linearize();
        if new_len > self.len {
            let grown = new_len - self.len;
            self.reserve(0, grown)?;
            self.region.fill(self.data + self.len, grown, 0);
        }
        if let (Checksum::Complete(_), true) = (self.checksum, new_len != self.len) {
            self.set_checksum(Checksum::None);
        }
        (self.len, self.head_len) = (new_len, new_len);
        (self.gso_size, self.gso_segs, self.gso_type) = match self.is_gso() {
            true => (0, 0, 0),
            false => (self.gso_size, self.gso_segs, self.gso_type),
        };
        Ok(())
    }

    /// The least length: all headers that the stack knows of.
    fn len_min(&self) -> i64 {
        let transport = self.transport.map(|at| i64::from(at) - i64::from(self.data)).filter(|off| *off > 0);
        transport.unwrap_or(self.network_off().max(0))
    }

    fn push_head(&mut self, head: u32, flags: u64) -> Result<(), Errno> {
        let new_len = self.len.checked_add(head).ok_or(Errno::EINVAL)?;
        if flags != 0 || (!self.is_gso() && new_len > LEN_MAX) {
            return Err(Errno::EINVAL);
        }
        self.reserve(head, 0)?;
        self.data -= head;
        (self.len, self.head_len) = (new_len, self.head_len + head);
        self.region.fill(self.data, head, 0);
        self.mac = self.data;
        Ok(())
    }

    /// Makes room for `len` bytes after the first `off`; the headers before it move with the packet's start.
    fn push_between(&mut self, off: u32, len: u32) -> Result<(), Errno> {
        self.reserve(len, 0)?;
        self.data -= len;
        (self.len, self.head_len) = (self.len + len, self.head_len + len);
        self.region.copy_within(self.data + len, self.data, off);
        self.region.fill(self.data + off, len, 0);
        self.move_headers(-i64::from(len));
        Ok(())
    }

    /// Takes `len` bytes away after the first `off`.
    fn pop_between(&mut self, off: u32, len: u32) -> Result<(), Errno> {
        if off + len > self.len {
            return Err(Errno::ENOMEM);
        }
        self.head_len = self.head_len.max(off + len);
        self.pulled(self.data + off, len);
        self.region.copy_within(self.data, self.data + len, off);
        self.data += len;
        (self.len, self.head_len) = (self.len - len, self.head_len - len);
        self.move_headers(len.into());
        Ok(())
    }

    fn move_headers(&mut self, by: i64) {
        let moved = |at: u32| (i64::from(at) + by).max(0) as u32;
        let same = self.transport == Some(self.network);
        (self.mac, self.network) = (moved(self.mac), moved(self.network));
        if same {
            self.transport = Some(self.network);
        }
    }

    fn room_grow(&mut self, off: u32, len: u32, flags: u64) -> Result<(), Errno> {
        self.room_gso_check(flags)?;
        let encap = flags & ENCAP_L3 != 0;
        let inner_mac_len = (flags >> ENCAP_L2_SHIFT) as u32;
        if encap {
            let both = |a: u64, b: u64| flags & a != 0 && flags & b != 0;
            if both(ENCAP_L3_IPV4, ENCAP_L3_IPV6)
                || both(ENCAP_L4_GRE, ENCAP_L4_UDP)
                || (flags & ENCAP_L2_ETH != 0 && inner_mac_len < crate::net::eth::ETH_HLEN)
            {
                return Err(Errno::EINVAL);
            }
            if self.encapsulation {
                return Err(Errno::EALREADY);
            }
            if inner_mac_len > len {
                return Err(Errno::EINVAL);
            }
        }
        let mac_len = self.mac_header_len();
        self.push_between(off, len)?;
        if encap {
            self.encapsulation = true;
            self.network = self.data + mac_len;
            if flags & (ENCAP_L4_GRE | ENCAP_L4_UDP) != 0 {
                let outer = if flags & ENCAP_L3_IPV6 != 0 { IPV6_HLEN } else { IPV4_HLEN };
                self.transport = Some(self.data + mac_len + outer);
            }
            self.protocol = if flags & ENCAP_L3_IPV6 != 0 { ETH_P_IPV6 } else { ETH_P_IP };
        }
        self.room_gso(flags, |size| size.wrapping_sub(len as u16));
        Ok(())
    }

    fn room_shrink(&mut self, off: u32, len: u32, flags: u64) -> Result<(), Errno> {
        if flags & !(FIXED_GSO | DECAP_L3 | NO_CSUM_RESET) != 0 {
            return Err(Errno::EINVAL);
        }
        self.room_gso_check(flags)?;
        self.pop_between(off, len)?;
        match flags & DECAP_L3 {
            DECAP_L3_IPV4 => self.protocol = ETH_P_IP,
            DECAP_L3_IPV6 => self.protocol = ETH_P_IPV6,
            _ => {}
        }
        self.room_gso(flags, |size| size.wrapping_add(len as u16));
        Ok(())
    }

    /// Only TCP's segments may change their length, and UDP's if they stay as long as they are.
    fn room_gso_check(&self, flags: u64) -> Result<(), Errno> {
        const TCP: u32 = 1 | 1 << 4;
        const UDP_L4: u32 = 1 << 17;
        let tcp = self.gso_type & TCP != 0;
        let fixed_udp = self.gso_type & UDP_L4 != 0 && flags & FIXED_GSO != 0;
        if self.is_gso() && !tcp && !fixed_udp { Err(Errno::ENOTSUPP) } else { Ok(()) }
    }

    fn room_gso(&mut self, flags: u64, size: impl FnOnce(u16) -> u16) {
        const DODGY: u32 = 1 << 1;
        if !self.is_gso() {
            return;
        }
        (self.gso_type, self.gso_segs) = (self.gso_type | DODGY, 0);
        if flags & FIXED_GSO == 0 {
            self.gso_size = size(self.gso_size);
        }
    }
}

/// Protocol and length of an outer IP header, and whether UDP follows; none if it is not whole.
fn outer_header(headers: &[u8]) -> Option<(u16, u32, bool)> {
    const HEADROOM_MAX: usize = 256;
    const IPPROTO_UDP: u8 = 17;
    const UDP_LEN: usize = 8;
    if headers.len() < IPV4_HLEN as usize || headers.len() > HEADROOM_MAX {
        return None;
    }
    let (protocol, ip_len, next) = match headers[0] >> 4 {
        4 => (ETH_P_IP, 4 * usize::from(headers[0] & 15), headers[9]),
        6 => (ETH_P_IPV6, IPV6_HLEN as usize, headers[6]),
        _ => return None,
    };
    let is_udp = next == IPPROTO_UDP;
    let needed = ip_len + if is_udp { UDP_LEN } else { 0 };
    (headers.len() >= needed && ip_len >= IPV4_HLEN as usize).then_some((protocol, ip_len as u32, is_udp))
}
