//! `SkBuff`: a packet in guest memory with what the network stack knows of it. Mirrors `struct sk_buff`.
//!
//! What programs can write in `__sk_buff` (mark, cb, …) lives in guest memory only; the rest is here, and `publish` copies what programs
//! can read of it to their context. Offsets are in bytes from the start of the region.

mod bytes;
mod checksum;
mod room;
mod vlan;

use super::{PACKET_LEN_MAX, Tunnel};
use mimic_abi::{ByteOrder, Errno, Size};
use mimic_vm::Region;
use mimic_vm::memory::Layout;
use std::sync::Arc;

pub(crate) use checksum::{csum_diff, csum_fold, csum_partial};

/// What buffers and the room before packets are multiples of: `NET_SKB_PAD`. Programs see the low bits in `data`.
const PAD: u32 = 64;
/// Room before a new packet, so that most programs never need more. The low byte is that of the kernel's, which leaves `PAD`.
pub(crate) const HEADROOM: u32 = 256 + PAD;
/// Room after a new packet.
pub(crate) const TAILROOM: u32 = 256;
/// The most bytes of memory for one packet.
const CAPACITY_MAX: u32 = PACKET_LEN_MAX as u32 + 0x2_0000;

/// What is known of a packet's checksum, `ip_summed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Nothing: `CHECKSUM_NONE`.
    #[default]
    None,
    /// It is good: `CHECKSUM_UNNECESSARY`, and how many more levels are.
    Unnecessary(u8),
    /// The sum over the packet from the network header on: `CHECKSUM_COMPLETE`.
    Complete(u32),
}

/// A packet in guest memory.
#[derive(Debug)]
pub struct SkBuff {
    pub(crate) region: Arc<Region>,
    pub(crate) md: Arc<Region>,
    /// Where programs say that the packet begins.
    pub(crate) data: u32,
    /// Bytes from `data` on that programs can point at.
    pub(crate) head_len: u32,
    /// Bytes from `data` on.
    pub(crate) len: u32,
    pub(crate) mac: u32,
    pub(crate) network: u32,
    pub(crate) transport: Option<u32>,
    pub(crate) protocol: u16,
    /// Tag protocol and control information of a tag that is not in the packet's bytes.
    pub(crate) vlan: Option<(u16, u16)>,
    pub(crate) pkt_type: u8,
    pub(crate) hash: Option<u32>,
    pub(crate) checksum: Checksum,
    /// The last whole sum that was known, even if it is not valid any more.
    pub(crate) sum_kept: u32,
    pub(crate) encapsulation: bool,
    pub(crate) gso_type: u32,
    pub(crate) gso_size: u16,
    pub(crate) gso_segs: u16,
    pub(crate) tstamp_type: u8,
    /// The tunnel that a program wants it to go through.
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

impl SkBuff {
    /// Bytes of a segment of the packet, from its network header on; none if its transport header is not known.
    pub(crate) fn segment_len(&self) -> Option<u32> {
        const GSO_TCP: u32 = 1 | 1 << 4;
        const GSO_UDP_L4: u32 = 1 << 17;
        let transport = self.transport?;
        let header_len = match self.gso_type {
            kind if kind & GSO_TCP != 0 => {
                let mut byte = [0];
                self.region.read(transport + 12, &mut byte);
                4 * u32::from(byte[0] >> 4)
            }
            kind if kind & GSO_UDP_L4 != 0 => 8,
            _ => 0,
        };
        Some(transport.saturating_sub(self.network) + header_len + u32::from(self.gso_size))
    }

    /// Bytes between the packet's first byte and its network header; negative if that lies before.
    pub fn network_off(&self) -> i64 {
        i64::from(self.network) - i64::from(self.data)
    }

    /// Bytes of the link-layer header.
    pub fn mac_header_len(&self) -> u32 {
        self.network.wrapping_sub(self.mac)
    }

    /// Whether the packet stands for several: `skb_is_gso`.
    pub fn is_gso(&self) -> bool {
        self.gso_size != 0
    }

    /// What is known of the checksum.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Sets what is known of the checksum.
    pub(crate) fn set_checksum(&mut self, checksum: Checksum) {
        if let Checksum::Complete(sum) = checksum {
            self.sum_kept = sum;
        }
        self.checksum = checksum;
    }

    /// Copies the whole packet out.
    pub fn copy_out(&self, to: &mut Vec<u8>) {
        to.clear();
        to.resize(self.len as usize, 0);
        self.region.read(self.data, to);
    }

    /// Where the bytes that programs can point at begin and end.
    pub(crate) fn linear(&self) -> (u64, u64) {
        let base = self.region.base();
        (base + u64::from(self.data), base + u64::from(self.data + self.head_len))
    }

    /// Makes the region's bounds and the context's fields those of the buffer.
    pub(crate) fn publish(&self) {
        self.region.set_bounds(self.data, self.data + self.head_len);
        let (data, end) = self.linear();
        let (vlan_proto, vlan_tci) = self.vlan.unwrap_or((0, 0));
        let fields = [
            (0, u64::from(self.len)),
            (4, u64::from(self.pkt_type)),
            (16, self.net16(self.protocol)),
            (20, u64::from(self.vlan.is_some())),
            (24, u64::from(vlan_tci)),
            (28, self.net16(vlan_proto)),
            (68, u64::from(self.hash.unwrap_or(0))),
            (76, data),
            (80, end),
            (140, data),
            (164, u64::from(self.gso_segs)),
            (176, u64::from(self.gso_size)),
        ];
        for (off, value) in fields {
            self.md.store(off, Size::W, value);
        }
        self.md.store(180, Size::B, self.tstamp_type.into());
    }

    /// A 16-bit number in network order, as the guest's processor reads it.
    fn net16(&self, value: u16) -> u64 {
        net16(value, self.md.order())
    }

    /// Sees to it that there are so many bytes before the packet and its headers, and after it, moving it to new memory if need be.
    pub(crate) fn reserve(&mut self, head: u32, tail: u32) -> Result<(), Errno> {
        // Headers may lie before the packet's first byte, and are kept.
        let first = self.data.min(self.mac).min(self.network);
        let end = self.data + self.len;
        if first >= head && self.region.capacity() - end >= tail {
            return Ok(());
        }
        let new_first =
            head.checked_next_multiple_of(PAD).and_then(|head| head.checked_add(HEADROOM + first % PAD));
        let new_first = new_first.ok_or(Errno::ENOMEM)?;
        let parts = [end - first, tail, TAILROOM];
        let capacity = parts.iter().try_fold(new_first, |sum, part| sum.checked_add(*part));
        let capacity = capacity.filter(|capacity| *capacity <= CAPACITY_MAX).ok_or(Errno::ENOMEM)?;
        let layout: Layout = self.region.layout().clone();
        let region = self.region.memory().allocate("packet", capacity, layout).map_err(|_| Errno::ENOMEM)?;
        region.write(new_first, &self.region.to_vec(first, end - first));
        // Pointers into the old memory are stale.
        self.region.set_bounds(0, 0);
        let shift = |at: u32| at - first + new_first;
        (self.data, self.mac, self.network) = (shift(self.data), shift(self.mac), shift(self.network));
        self.transport = self.transport.map(|at| shift(at.max(first)));
        self.region = Arc::new(region);
        Ok(())
    }
}

/// A 16-bit number in network order, as a processor of this byte order reads it.
pub(crate) fn net16(value: u16, order: ByteOrder) -> u64 {
    match order {
        ByteOrder::Little => value.swap_bytes().into(),
        ByteOrder::Big => value.into(),
    }
}
