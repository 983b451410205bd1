//! USER_RINGBUF: records from one user to programs, which drain them. bpf-helpers(7), `bpf_user_ringbuf_drain`.
//!
//! The layout is the ring buffer's, with the roles swapped: the user writes the producer's page and the data. Nothing there is
//! trusted: positions and headers are checked as the kernel checks them.

use super::Maker;
use super::front::{LinuxMap, Ops};
use core::sync::atomic::{AtomicBool, Ordering};
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::{Access, Bounds, Layout, PAGE_LEN, Part};
use mimic_vm::{Map, MapError, Region};
use std::sync::{Arc, Mutex, PoisonError};

/// `BPF_MAP_TYPE_USER_RINGBUF`.
pub struct UserRingbuf {
    region: Region,
    order: ByteOrder,
    /// Bytes of data, a power of two.
    len: u32,
    /// One program drains at a time.
    busy: AtomicBool,
    shown: Arc<Shown>,
}

/// The record that a program's callback is looking at.
#[derive(Default)]
struct Shown(Mutex<Option<Part>>);

/// A record that [`UserRingbuf::peek`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The guest address of its data.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
}

/// Offsets in the region, in bytes.
const CONSUMER: u32 = 0;
const PRODUCER: u32 = PAGE_LEN;
const DATA: u32 = 2 * PAGE_LEN;
const HEADER_LEN: u32 = 8;
const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
/// The most bytes of data.
const DATA_LEN_MAX: u32 = 1 << 30;

impl UserRingbuf {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        let len = maker.spec.max_entries;
        if len > DATA_LEN_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("ring buffers have {DATA_LEN_MAX} bytes at most"),
            ));
        }
        let shown = Arc::new(Shown::default());
        let layout = Layout::Custom(shown.clone());
        let region = maker.region("record", u64::from(DATA) + 2 * u64::from(len), layout)?;
        let ring = UserRingbuf { region, order: maker.order(), len, busy: AtomicBool::new(false), shown };
        Ok(LinuxMap::make(maker.spec, 0, ring))
    }

    /// Where the positions and the data are.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Users: adds a record. `ENOSPC` when there is no room, `E2BIG` when there never is.
    pub fn submit(&self, record: &[u8]) -> Result<(), Errno> {
        let whole = (record.len() as u64 + u64::from(HEADER_LEN)).next_multiple_of(8);
        if whole > u64::from(self.len) {
            return Err(Errno::E2BIG);
        }
        let (consumer, producer) = (self.pos(CONSUMER), self.pos(PRODUCER));
        if producer.wrapping_sub(consumer).wrapping_add(whole) > u64::from(self.len) {
            return Err(Errno::ENOSPC);
        }
        let at = self.at(producer);
        self.region.write(DATA + at + HEADER_LEN, record);
        self.set_header(at, record.len() as u32);
        self.set_pos(PRODUCER, producer.wrapping_add(whole));
        Ok(())
    }

    /// Begins to drain; `EBUSY` while another program does. [`UserRingbuf::unlock`] ends it.
    pub fn lock(&self) -> Result<(), Errno> {
        if self.busy.swap(true, Ordering::Acquire) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// Ends draining.
    pub fn unlock(&self) {
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.busy.store(false, Ordering::Release);
    }

    /// The next record, which programs can use until it is released. `ENODATA` if there is none, `EAGAIN` if it was discarded (and is
    /// passed over). Others mean that the user wrote nonsense.
    pub fn peek(&self) -> Result<Sample, Errno> {
        let (consumer, producer) = (self.pos(CONSUMER), self.pos(PRODUCER));
        if producer & 7 != 0 {
            return Err(Errno::EINVAL);
        }
        let ready = producer.wrapping_sub(consumer);
        if ready > u64::from(self.len) {
            return Err(Errno::E2BIG);
        }
        if consumer >= producer {
            return Err(Errno::ENODATA);
        }
        let at = self.at(consumer);
        let header = self.header(at);
        let len = header & !(BUSY | DISCARD);
        if header & BUSY != 0 {
            return Err(Errno::ENODATA);
        }
        let whole = (u64::from(len) + u64::from(HEADER_LEN)).next_multiple_of(8);
        if whole > ready {
            return Err(Errno::EINVAL);
        }
        if whole > u64::from(self.len) {
            return Err(Errno::E2BIG);
        }
        if header & DISCARD != 0 {
            self.set_pos(CONSUMER, consumer.wrapping_add(whole));
            return Err(Errno::EAGAIN);
        }
        let off = DATA + at + HEADER_LEN;
        let part = Part { off, len, access: Access::ReadWrite };
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(part);
        Ok(Sample { addr: self.region.base() + u64::from(off), len })
    }

    /// Passes over the record that `peek` came to.
    pub fn release_sample(&self, sample: Sample) {
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let whole = (u64::from(sample.len) + u64::from(HEADER_LEN)).next_multiple_of(8);
        self.set_pos(CONSUMER, self.pos(CONSUMER).wrapping_add(whole));
    }

    fn at(&self, pos: u64) -> u32 {
        (pos & (u64::from(self.len) - 1)) as u32 & !7
    }

    fn pos(&self, off: u32) -> u64 {
        let raw = self.region.atomic64(off).load(Ordering::Acquire);
        if self.order == ByteOrder::NATIVE { raw } else { raw.swap_bytes() }
    }

    fn set_pos(&self, off: u32, pos: u64) {
        let raw = if self.order == ByteOrder::NATIVE { pos } else { pos.swap_bytes() };
        self.region.atomic64(off).store(raw, Ordering::Release);
    }

    fn header(&self, at: u32) -> u32 {
        let raw = self.region.atomic32(DATA + at).load(Ordering::Acquire);
        if self.order == ByteOrder::NATIVE { raw } else { raw.swap_bytes() }
    }

    fn set_header(&self, at: u32, header: u32) {
        let raw = if self.order == ByteOrder::NATIVE { header } else { header.swap_bytes() };
        self.region.atomic32(DATA + at).store(raw, Ordering::Release);
    }
}

impl Bounds for Shown {
    fn object_at(&self, off: u32) -> Option<Part> {
        let part = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        (off >= part.off && off - part.off < part.len).then_some(part)
    }
}

impl Ops for UserRingbuf {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn copy_out(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn copy_in(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }
}
