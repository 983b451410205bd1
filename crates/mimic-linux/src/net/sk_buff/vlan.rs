//! VLAN tags: in the packet's bytes, and beside it as devices that strip tags leave them. See IEEE 802.1Q.

use super::SkBuff;
use crate::net::eth::{self, ETH_HLEN, ETH_P_8021Q, VLAN_HLEN};
use mimic_abi::Errno;

/// Bytes of both addresses.
const ADDRS_LEN: u32 = 12;
/// The most tags that are looked through.
const DEPTH_MAX: u32 = 8;

impl SkBuff {
    /// `bpf_skb_vlan_push`. The tag that was beside the packet goes into it.
    pub(crate) fn vlan_push(&mut self, proto: u16, tci: u16) -> Result<(), Errno> {
        let proto = if eth::is_vlan(proto) { proto } else { ETH_P_8021Q };
        let pushed = match self.vlan {
            Some((outer, outer_tci)) => self.insert_tag(outer, outer_tci),
            None => Ok(()),
        };
        if pushed.is_ok() {
            self.vlan = Some((proto, tci));
        }
        self.publish();
        pushed
    }

    /// `bpf_skb_vlan_pop`. The next tag in the packet, if any, comes out beside it.
    pub(crate) fn vlan_pop(&mut self) -> Result<(), Errno> {
        let popped = self.pop_tags();
        self.publish();
        popped
    }

    /// The protocol after all tags: `skb_protocol`, skipping VLANs.
    pub(crate) fn inner_protocol(&self) -> u16 {
        let mut protocol = self.protocol;
        let mut at = i64::from(self.mac) + i64::from(ETH_HLEN) - i64::from(self.data);
        for _ in 0..DEPTH_MAX {
            if !eth::is_vlan(protocol) {
                return protocol;
            }
            let mut tag = [0; 4];
            if !self.read_signed(at, &mut tag) {
                return 0;
            }
            protocol = u16::from_be_bytes([tag[2], tag[3]]);
            at += i64::from(VLAN_HLEN);
        }
        0
    }

    fn pop_tags(&mut self) -> Result<(), Errno> {
        if self.vlan.take().is_none() {
            if !eth::is_vlan(self.protocol) {
                return Ok(());
            }
            self.remove_tag()?;
        }
        if eth::is_vlan(self.protocol) {
            let proto = self.protocol;
            let tci = self.remove_tag()?;
            self.vlan = Some((proto, tci));
        }
        Ok(())
    }

    fn insert_tag(&mut self, proto: u16, tci: u16) -> Result<(), Errno> {
        if self.len < ETH_HLEN || self.data != self.mac {
            return Err(Errno::EINVAL);
        }
        self.head_len = self.head_len.max(ETH_HLEN);
        self.reserve(VLAN_HLEN, 0)?;
        self.region.copy_within(self.data, self.data - VLAN_HLEN, ADDRS_LEN);
        self.data -= VLAN_HLEN;
        self.mac -= VLAN_HLEN;
        self.network -= VLAN_HLEN;
        (self.len, self.head_len) = (self.len + VLAN_HLEN, self.head_len + VLAN_HLEN);
        let ([p0, p1], [t0, t1]) = (proto.to_be_bytes(), tci.to_be_bytes());
        self.region.write(self.data + ADDRS_LEN, &[p0, p1, t0, t1]);
        self.protocol = proto;
        self.pushed(self.data + ADDRS_LEN, VLAN_HLEN);
        Ok(())
    }

    /// Takes the outer tag out of the packet; answers its control information.
    fn remove_tag(&mut self) -> Result<u16, Errno> {
        if self.data != self.mac {
            return Err(Errno::EINVAL);
        }
        if self.len < ETH_HLEN + VLAN_HLEN {
            return Err(Errno::ENOMEM);
        }
        self.head_len = self.head_len.max(ETH_HLEN + VLAN_HLEN);
        self.pulled(self.data + ADDRS_LEN, VLAN_HLEN);
        let mut frame = [0; 22];
        let known = (self.len as usize).min(frame.len());
        self.region.read(self.data, &mut frame[..known]);
        let tci = u16::from_be_bytes([frame[14], frame[15]]);
        self.region.copy_within(self.data, self.data + VLAN_HLEN, ADDRS_LEN);
        // What follows the tag is a type field, or a length, as after the addresses.
        let mut inner = [0; 16];
        inner[12..].copy_from_slice(&frame[16..20]);
        self.protocol = eth::protocol(&inner[..(known - 4).clamp(14, 16)]);
        (self.data, self.mac) = (self.data + VLAN_HLEN, self.mac + VLAN_HLEN);
        (self.len, self.head_len) = (self.len - VLAN_HLEN, self.head_len - VLAN_HLEN);
        if self.network_off() < i64::from(ETH_HLEN) {
            self.network = self.data + ETH_HLEN;
        }
        Ok(tci)
    }
}
