//! BLOOM_FILTER: a set that answers no for certain. Documentation/bpf/map_bloom_filter.rst.
//!
//! The bits are chosen as in the kernel; with `BPF_F_ZERO_SEED` both give the same false positives.

use super::Maker;
use super::front::{LinuxMap, Ops};
use super::hasher::jenkins;
use core::sync::atomic::{AtomicU64, Ordering};
use mimic_abi::Errno;
use mimic_abi::uapi::map_flags::BPF_F_ZERO_SEED;
use mimic_abi::uapi::update_flags::BPF_ANY;
use mimic_vm::memory::zeroed64;
use mimic_vm::{Map, MapError};
use std::sync::Arc;

/// `BPF_MAP_TYPE_BLOOM_FILTER`.
pub struct BloomFilter {
    bits: Box<[AtomicU64]>,
    mask: u32,
    hashes: u32,
    seed: u32,
}

/// The bits of `map_extra` that hold the number of hashes.
const HASHES_MASK: u64 = 0xf;
/// Hashes if none are asked for.
const HASHES_DEFAULT: u32 = 5;
/// The most bits; the kernel's limit is 2^32.
const BITS_MAX: u64 = 1 << 31;

impl BloomFilter {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        if spec.map_extra & !HASHES_MASK != 0 {
            let why = format!(
                "map_extra of a Bloom filter is 0 to 15, the number of hashes, not {:#x}",
                spec.map_extra
            );
            return Err(MapError::new(Errno::EINVAL, why));
        }
        let hashes = match spec.map_extra as u32 {
            0 => HASHES_DEFAULT,
            hashes => hashes,
        };
        let bits = bit_count(spec.max_entries, hashes);
        if bits > BITS_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("Bloom filters have {BITS_MAX} bits at most, not {bits}"),
            ));
        }
        let zero_seed = spec.map_flags & BPF_F_ZERO_SEED != 0;
        let filter = BloomFilter {
            bits: zeroed64((bits / 64) as usize),
            mask: (bits - 1) as u32,
            hashes,
            seed: if zero_seed { 0 } else { (maker.env.seed as u32).wrapping_mul(0x9e37_79b1) ^ 0x5bd1_e995 },
        };
        Ok(LinuxMap::make(spec, spec.value_size as usize, filter))
    }

    /// The words and masks of a value's bits.
    fn bits(&self, value: &[u8]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        (0..self.hashes).map(move |index| {
            let bit = jenkins(value, self.seed.wrapping_add(index)) & self.mask;
            (&self.bits[bit as usize / 64], 1 << (bit % 64))
        })
    }
}

/// About n * k / ln 2, as a power of two of at least 64.
fn bit_count(entries: u32, hashes: u32) -> u64 {
    let bits = entries.checked_mul(hashes).and_then(|bits| (bits / 5).checked_mul(7));
    match bits {
        Some(bits) if bits <= 1 << 31 => u64::from(bits.max(64).next_power_of_two()),
        _ => 1 << 32,
    }
}

impl Ops for BloomFilter {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EINVAL)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != BPF_ANY {
            return Err(Errno::EINVAL);
        }
        for (word, bit) in self.bits(value) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }

    fn pop(&self, _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        let inside = self.bits(value).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0);
        if inside { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn copy_out(&self, _key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.peek(value)
    }

    fn copy_in(&self, _key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.push(value, flags)
    }
}
