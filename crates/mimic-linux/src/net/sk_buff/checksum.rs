//! Internet checksums (RFC 1071, RFC 1624) in the form that helpers show them: 32-bit one's complement sums of words in the
//! processor's byte order, folded late.
//!
//! A sum is 0 only if everything summed is, so that a value does not depend on the order of additions.

use super::{Checksum, SkBuff};
use mimic_abi::{ByteOrder, Errno, Size};

/// `BPF_F_PSEUDO_HDR` and the other flags of `bpf_l4_csum_replace`.
const PSEUDO_HDR: u64 = 1 << 4;
const MARK_MANGLED_0: u64 = 1 << 5;
const MARK_ENFORCE: u64 = 1 << 6;
const IPV6: u64 = 1 << 7;
const FIELD_MASK: u64 = 0xf;
/// The most levels that `csum_level` counts.
const LEVEL_MAX: u8 = 3;

/// Adds two sums.
pub(crate) fn csum_add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

/// Takes a sum from another.
pub(crate) fn csum_sub(a: u32, b: u32) -> u32 {
    csum_add(a, !b)
}

/// The 16-bit checksum of a sum.
pub(crate) fn csum_fold(sum: u32) -> u16 {
    !(sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Adds the words of `bytes` to a sum. An odd last byte is the first of its word.
pub(crate) fn csum_partial(bytes: &[u8], sum: u32, order: ByteOrder) -> u32 {
    let word = |chunk: &[u8]| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from(match order {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        })
    };
    // Packets and stacks are far shorter than what it would take to overflow.
    let total = bytes.chunks(4).map(word).fold(u64::from(sum), u64::wrapping_add);
    let total = (total & 0xffff_ffff) + (total >> 32);
    ((total & 0xffff_ffff) + (total >> 32)) as u32
}

/// Adds a sum of bytes that began at this offset.
pub(crate) fn csum_block_add(sum: u32, block: u32, off: u32) -> u32 {
    csum_add(sum, if off & 1 == 1 { block.rotate_right(8) } else { block })
}

/// Takes away a sum of bytes that began at this offset.
pub(crate) fn csum_block_sub(sum: u32, block: u32, off: u32) -> u32 {
    csum_block_add(sum, !block, off)
}

/// `bpf_csum_diff`: what the sum of a packet changes by when `from` becomes `to`, as 16 bits.
pub(crate) fn csum_diff(from: &[u8], to: &[u8], seed: u32, order: ByteOrder) -> u16 {
    let sum = match (from.is_empty(), to.is_empty()) {
        (false, false) => csum_sub(csum_partial(to, seed, order), csum_partial(from, 0, order)),
        (true, false) => csum_partial(to, seed, order),
        (false, true) => !csum_partial(from, !seed, order),
        (true, true) => seed,
    };
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

fn csum16_add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

fn replace_by_diff(sum: u16, diff: u32) -> u16 {
    csum_fold(csum_add(diff, !u32::from(sum)))
}

fn replace4(sum: u16, from: u32, to: u32) -> u16 {
    csum_fold(csum_add(csum_sub(!u32::from(sum), from), to))
}

fn replace2(sum: u16, from: u16, to: u16) -> u16 {
    !csum16_add(csum16_add(!sum, !from), to)
}

impl SkBuff {
    /// The sum of bytes of the region.
    pub(crate) fn sum(&self, at: u32, len: u32) -> u32 {
        csum_partial(&self.region.to_vec(at, len), 0, self.region.order())
    }

    /// `skb_postpull_rcsum`: so many bytes at `at` leave the packet's front.
    pub(crate) fn pulled(&mut self, at: u32, len: u32) {
        if let Checksum::Complete(sum) = self.checksum {
            let bytes = self.region.to_vec(at, len);
            // The kernel negates as two's complement does: it shows where nothing is left, in which zero comes out.
            let rest = csum_partial(&bytes, sum.wrapping_neg(), self.region.order());
            self.set_checksum(Checksum::Complete(rest.wrapping_neg()));
        }
    }

    /// `skb_postpush_rcsum`: so many bytes at `at` joined the packet's front.
    pub(crate) fn pushed(&mut self, at: u32, len: u32) {
        if let Checksum::Complete(sum) = self.checksum {
            let bytes = self.region.to_vec(at, len);
            self.set_checksum(Checksum::Complete(csum_partial(&bytes, sum, self.region.order())));
        }
    }

    /// `bpf_l3_csum_replace`.
    pub(crate) fn l3_replace(&mut self, off: u32, from: u64, to: u64, flags: u64) -> Result<(), Errno> {
        if flags & !FIELD_MASK != 0 {
            return Err(Errno::EINVAL);
        }
        let at = self.sum_field(off)?;
        let sum = self.region.load(at, Size::H) as u16;
        let new = match flags {
            0 if from != 0 => return Err(Errno::EINVAL),
            0 => replace_by_diff(sum, to as u32),
            2 => replace2(sum, from as u16, to as u16),
            4 => replace4(sum, from as u32, to as u32),
            _ => return Err(Errno::EINVAL),
        };
        self.region.store(at, Size::H, new.into());
        Ok(())
    }

    /// `bpf_l4_csum_replace`.
    pub(crate) fn l4_replace(&mut self, off: u32, from: u64, to: u64, flags: u64) -> Result<(), Errno> {
        if flags & !(FIELD_MASK | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE | IPV6) != 0 {
            return Err(Errno::EINVAL);
        }
        let at = self.sum_field(off)?;
        let sum = self.region.load(at, Size::H) as u16;
        let mangled_0 = flags & MARK_MANGLED_0 != 0;
        if mangled_0 && flags & MARK_ENFORCE == 0 && sum == 0 {
            return Ok(());
        }
        let pseudo = flags & PSEUDO_HDR != 0;
        let (from4, to4) = match flags & FIELD_MASK {
            0 if from != 0 => return Err(Errno::EINVAL),
            0 => (0, to as u32),
            2 => (u32::from(from as u16), u32::from(to as u16)),
            4 => (from as u32, to as u32),
            _ => return Err(Errno::EINVAL),
        };
        let new = if flags & FIELD_MASK == 0 { replace_by_diff(sum, to4) } else { replace4(sum, from4, to4) };
        if let (Checksum::Complete(whole), true) = (self.checksum, pseudo) {
            let whole = match flags & FIELD_MASK {
                0 if flags & IPV6 != 0 => whole,
                0 => !csum_sub(to4, whole),
                _ => !csum_add(csum_sub(!whole, from4), to4),
            };
            self.set_checksum(Checksum::Complete(whole));
        }
        let new = if mangled_0 && new == 0 { 0xffff } else { new };
        self.region.store(at, Size::H, new.into());
        Ok(())
    }

    /// `bpf_csum_update`.
    pub(crate) fn csum_update(&mut self, sum: u32) -> Result<u64, Errno> {
        let Checksum::Complete(whole) = self.checksum else { return Err(Errno::ENOTSUPP) };
        let whole = csum_add(whole, sum);
        self.set_checksum(Checksum::Complete(whole));
        Ok(whole.into())
    }

    /// `bpf_csum_level`.
    pub(crate) fn csum_level(&mut self, level: u64) -> Result<u64, Errno> {
        let checksum = match (level, self.checksum) {
            (0, Checksum::Unnecessary(level)) => return Ok(level.into()),
            (0, Checksum::None | Checksum::Complete(_)) => return Err(Errno::EACCES),
            (1, Checksum::Unnecessary(level)) => Checksum::Unnecessary((level + 1).min(LEVEL_MAX)),
            (1, Checksum::None) => Checksum::Unnecessary(0),
            (2, Checksum::Unnecessary(0)) => Checksum::None,
            (2, Checksum::Unnecessary(level)) => Checksum::Unnecessary(level - 1),
            (3, Checksum::Unnecessary(_)) => Checksum::None,
            (1..=3, same) => same,
            _ => return Err(Errno::EINVAL),
        };
        self.set_checksum(checksum);
        Ok(0)
    }

    /// Where in the region a checksum field is that helpers are to change.
    fn sum_field(&mut self, off: u32) -> Result<u32, Errno> {
        if off > 0xffff || off & 1 == 1 {
            return Err(Errno::EFAULT);
        }
        self.make_writable(off + 2).map_err(|_| Errno::EFAULT)?;
        Ok(self.data + off)
    }

    /// `bpf_skb_ecn_set_ce`: 1 if the mark is there afterwards.
    pub(crate) fn ecn_set_ce(&mut self) -> u64 {
        const CE: u64 = 3;
        let header_len = match self.inner_protocol() {
            super::super::eth::ETH_P_IP => super::super::eth::IPV4_HLEN,
            super::super::eth::ETH_P_IPV6 => super::super::eth::IPV6_HLEN,
            _ => return 0,
        };
        let at = self.network;
        if self.head_len < header_len || at + header_len > self.data + self.head_len {
            return 0;
        }
        if header_len == super::super::eth::IPV4_HLEN {
            let tos = self.region.load(at + 1, Size::B);
            match tos & CE {
                0 => return 0,
                CE => return 1,
                ecn => {
                    // RFC 1624 for a byte that grows by 3 - ecn, in network order.
                    let grown = (CE - ecn) as u16;
                    let sum = u16::from_be_bytes([
                        self.region.load(at + 10, Size::B) as u8,
                        self.region.load(at + 11, Size::B) as u8,
                    ]);
                    let sum = csum16_add(sum, !grown);
                    self.region.write(at + 10, &sum.to_be_bytes());
                    self.region.store(at + 1, Size::B, tos | CE);
                }
            }
            return 1;
        }
        let second = self.region.load(at + 1, Size::B);
        if second >> 4 & CE == 0 {
            return 0;
        }
        let from = self.region.load(at, Size::W) as u32;
        self.region.store(at + 1, Size::B, second | CE << 4);
        let to = self.region.load(at, Size::W) as u32;
        if let Checksum::Complete(sum) = self.checksum {
            self.set_checksum(Checksum::Complete(csum_add(csum_sub(sum, from), to)));
        }
        1
    }
}
