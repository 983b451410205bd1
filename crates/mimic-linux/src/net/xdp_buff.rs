//! `XdpBuff`: an XDP frame in guest memory: headroom, metadata, the linear part, tailroom, and fragments. Mirrors `struct xdp_buff`.

use super::{PAGE_LEN, PacketBytes, SHARED_INFO_LEN};
use mimic_abi::{Errno, Size};
use mimic_vm::Region;
use std::sync::Arc;

/// The most fragments of a frame: `MAX_SKB_FRAGS`.
pub const FRAGS_MAX: usize = 17;
/// Bytes at the frame's start that the kernel keeps for itself: `struct xdp_frame`.
pub(crate) const FRAME_HEADER_LEN: u32 = 40;
/// Bytes before the packet: `XDP_PACKET_HEADROOM`.
pub const HEADROOM: u32 = 256;
/// The shortest packet: an Ethernet header.
const PACKET_LEN_MIN: u32 = 14;
/// The most bytes of metadata.
const META_LEN_MAX: u32 = 252;

/// A frame in guest memory. Offsets are in bytes from the start of the linear region.
#[derive(Debug)]
pub struct XdpBuff {
    pub(crate) linear: Arc<Region>,
    pub(crate) md: Arc<Region>,
    /// One page each.
    pub(crate) frags: Option<Arc<Region>>,
    pub(crate) frag_lens: Vec<u32>,
    pub(crate) meta: u32,
    pub(crate) data: u32,
    pub(crate) end: u32,
    /// The linear part cannot grow beyond.
    pub(crate) hard_end: u32,
}

impl XdpBuff {
    /// Whether a frame can have so much metadata.
    pub fn meta_len_ok(len: u32) -> bool {
        len.is_multiple_of(4) && len <= META_LEN_MAX
    }

    /// Bytes of the linear part.
    pub fn linear_len(&self) -> u32 {
        self.end - self.data
    }

    /// Bytes of metadata.
    pub fn meta_len(&self) -> u32 {
        self.data - self.meta
    }

    /// Copies metadata, linear part and fragments out, one after the other.
    pub fn copy_out(&self, to: &mut Vec<u8>) {
        let linear = (self.end - self.meta) as usize;
        to.clear();
        to.resize(linear + self.frags_len() as usize, 0);
        let (head, mut rest) = to.split_at_mut(linear);
        self.linear.read(self.meta, head);
        for (at, len) in self.frag_lens.iter().enumerate() {
            let (frag, next) = rest.split_at_mut(*len as usize);
            if let Some(region) = &self.frags {
                region.read(at as u32 * PAGE_LEN, frag);
            }
            rest = next;
        }
    }

    /// Bytes in fragments.
    pub fn frags_len(&self) -> u32 {
        self.frag_lens.iter().sum()
    }

    /// `bpf_xdp_adjust_head`.
    pub fn adjust_head(&mut self, delta: i32) -> Result<(), Errno> {
        let meta_len = self.meta_len();
        let data = i64::from(self.data) + i64::from(delta);
        let (first, last) = (FRAME_HEADER_LEN + meta_len, i64::from(self.end) - i64::from(PACKET_LEN_MIN));
        if data < i64::from(first) || data > last {
            return Err(Errno::EINVAL);
        }
        let data = data as u32;
        if meta_len > 0 {
            self.linear.copy_within(self.meta, data - meta_len, meta_len);
        }
        (self.meta, self.data) = (data - meta_len, data);
        self.publish();
        Ok(())
    }

    /// `bpf_xdp_adjust_meta`.
    pub fn adjust_meta(&mut self, delta: i32) -> Result<(), Errno> {
        let meta = i64::from(self.meta) + i64::from(delta);
        if meta < i64::from(FRAME_HEADER_LEN) || meta > i64::from(self.data) {
            return Err(Errno::EINVAL);
        }
        let meta = meta as u32;
        if !XdpBuff::meta_len_ok(self.data - meta) {
            return Err(Errno::EACCES);
        }
        self.meta = meta;
        self.publish();
        Ok(())
    }

    /// `bpf_xdp_adjust_tail`.
    pub fn adjust_tail(&mut self, delta: i32) -> Result<(), Errno> {
        if !self.frag_lens.is_empty() {
            // The kernel's negation of the least int is itself, and then nothing is left to shrink.
            if delta == i32::MIN {
                return Ok(());
            }
            return if delta < 0 {
                self.shrink_frags(delta.unsigned_abs())
            } else {
                self.grow_frag(delta as u32)
            };
        }
        let end = i64::from(self.end) + i64::from(delta);
        if end > i64::from(self.hard_end) || end < i64::from(self.data + PACKET_LEN_MIN) {
            return Err(Errno::EINVAL);
        }
        let end = end as u32;
        if end > self.end {
            self.linear.fill(self.end, end - self.end, 0);
        }
        self.end = end;
        self.publish();
        Ok(())
    }

    /// Makes the region's bounds and the context's pointers those of the buffer.
    pub(crate) fn publish(&self) {
        self.linear.set_bounds(self.meta, self.end);
        let base = self.linear.base();
        for (off, at) in [(0, self.data), (4, self.end), (8, self.meta)] {
            self.md.store(off, Size::W, base + u64::from(at));
        }
    }

    fn grow_frag(&mut self, delta: u32) -> Result<(), Errno> {
        let (Some(region), Some(last)) = (&self.frags, self.frag_lens.len().checked_sub(1)) else {
            return Err(Errno::EOPNOTSUPP);
        };
        let len = self.frag_lens[last];
        if delta > PAGE_LEN - len {
            return Err(Errno::EINVAL);
        }
        region.fill(last as u32 * PAGE_LEN + len, delta, 0);
        self.frag_lens[last] = len + delta;
        Ok(())
    }

    fn shrink_frags(&mut self, delta: u32) -> Result<(), Errno> {
        if i64::from(delta) > i64::from(self.len()) - i64::from(PACKET_LEN_MIN) {
            return Err(Errno::EINVAL);
        }
        let mut left = delta;
        while let Some(len) = self.frag_lens.last_mut().filter(|_| left > 0) {
            let shrink = left.min(*len);
            left -= shrink;
            *len -= shrink;
            if *len > 0 {
                break;
            }
            self.frag_lens.pop();
        }
        if self.frag_lens.is_empty() {
            self.end -= left;
        }
        self.publish();
        Ok(())
    }

    /// Where each part of `len` bytes at `off` lies: region, offset in it, length. The bytes are there.
    fn pieces(&self, off: u32, len: u32) -> impl Iterator<Item = (&Arc<Region>, u32, u32)> {
        let linear = (&self.linear, self.data, self.linear_len());
        let frags = self.frags.iter().flat_map(|region| {
            self.frag_lens.iter().enumerate().map(move |(at, len)| (region, at as u32 * PAGE_LEN, *len))
        });
        let (mut skip, mut left) = (off, len);
        core::iter::once(linear).chain(frags).filter_map(move |(region, at, len)| {
            let skipped = skip.min(len);
            skip -= skipped;
            let part = left.min(len - skipped);
            left -= part;
            (part > 0).then_some((region, at + skipped, part))
        })
    }

    fn has(&self, off: u32, len: usize) -> bool {
        u64::from(off) + len as u64 <= u64::from(self.len())
    }
}

impl PacketBytes for XdpBuff {
    fn len(&self) -> u32 {
        self.linear_len() + self.frags_len()
    }

    fn read(&self, off: u32, to: &mut [u8]) -> bool {
        if !self.has(off, to.len()) {
            return false;
        }
        let len = to.len() as u32;
        let mut rest = to;
        for (region, at, len) in self.pieces(off, len) {
            let (part, next) = core::mem::take(&mut rest).split_at_mut(len as usize);
            region.read(at, part);
            rest = next;
        }
        true
    }

    fn write(&self, off: u32, from: &[u8]) -> bool {
        if !self.has(off, from.len()) {
            return false;
        }
        let mut rest = from;
        for (region, at, len) in self.pieces(off, from.len() as u32) {
            let (part, next) = rest.split_at(len as usize);
            region.write(at, part);
            rest = next;
        }
        true
    }
}

/// Where the linear part of a frame of this many bytes ends.
pub(crate) fn hard_end(frame_size: u32) -> u32 {
    frame_size - SHARED_INFO_LEN
}
