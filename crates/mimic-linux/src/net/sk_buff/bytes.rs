//! Reading and writing a packet's bytes, and making more of them reachable.

use super::{Checksum, SkBuff, checksum};
use crate::net::PacketBytes;
use mimic_abi::Errno;

/// `SKF_NET_OFF`: offsets from the network header.
const SKF_NET_OFF: i32 = -0x10_0000;
/// `SKF_LL_OFF`: offsets from the link-layer header.
const SKF_LL_OFF: i32 = -0x20_0000;

impl SkBuff {
    /// `skb_ensure_writable`, and then the data pointers: so many bytes are in one piece.
    pub(crate) fn make_writable(&mut self, len: u32) -> Result<(), Errno> {
        let enough = len <= self.len;
        if enough {
            self.head_len = self.head_len.max(len);
        }
        self.publish();
        if enough { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// All of the packet is in one piece.
    pub(crate) fn linearize(&mut self) {
        self.head_len = self.len;
    }

    /// `bpf_skb_store_bytes`, without its flags' check.
    pub(crate) fn store_bytes(&mut self, off: u32, from: &[u8], recompute: bool) -> Result<(), Errno> {
        let end =
            off.checked_add(from.len() as u32).filter(|_| off <= i32::MAX as u32).ok_or(Errno::EFAULT)?;
        self.make_writable(end).map_err(|_| Errno::EFAULT)?;
        let at = self.data + off;
        if let (Checksum::Complete(sum), true) = (self.checksum, recompute) {
            let old = self.sum(at, from.len() as u32);
            let new = checksum::csum_partial(from, 0, self.region.order());
            let sum = checksum::csum_block_sub(sum, old, off);
            self.set_checksum(Checksum::Complete(checksum::csum_block_add(sum, new, off)));
        }
        self.region.write(at, from);
        Ok(())
    }

    /// Reads `len` bytes at `off` from the header at `start` (an offset in the region), which must lie before the linear part's end.
    pub(crate) fn read_relative(&self, start: u32, off: u32, to: &mut [u8]) -> bool {
        let at = u64::from(start) + u64::from(off);
        let there = at + to.len() as u64 <= u64::from(self.data + self.head_len);
        if there {
            self.region.read(at as u32, to);
        }
        there
    }

    /// Where a legacy packet load reads: negative offsets are relative to headers. `None` beyond them.
    pub(crate) fn classic_off(&self, off: i32) -> Option<i64> {
        if off >= 0 {
            Some(off.into())
        } else if off >= SKF_NET_OFF {
            Some(i64::from(off - SKF_NET_OFF) + self.network_off())
        } else if off >= SKF_LL_OFF {
            Some(i64::from(off - SKF_LL_OFF) + i64::from(self.mac) - i64::from(self.data))
        } else {
            None
        }
    }

    /// Reads bytes at an offset that may be negative: headers before the packet's first byte are there too.
    pub(crate) fn read_signed(&self, off: i64, to: &mut [u8]) -> bool {
        let at = i64::from(self.data) + off;
        let there = at >= 0 && at + to.len() as i64 <= i64::from(self.data + self.len);
        if there {
            self.region.read(at as u32, to);
        }
        there
    }
}

impl PacketBytes for SkBuff {
    fn len(&self) -> u32 {
        self.len
    }

    fn read(&self, off: u32, to: &mut [u8]) -> bool {
        self.read_signed(off.into(), to)
    }

    fn write(&self, off: u32, from: &[u8]) -> bool {
        let there = u64::from(off) + from.len() as u64 <= u64::from(self.len);
        if there {
            self.region.write(self.data + off, from);
        }
        there
    }
}
