//! RINGBUF: records from programs on all CPUs to one user. Documentation/bpf/ringbuf.rst.
//!
//! The memory is laid out as the kernel maps it for users: a page with the consumer's position, a page with the producer's,
//! the data, and a second copy of the data's addresses. The kernel maps the data twice, so that a record that crosses the end is
//! in one piece; here the second half is memory of its own. That is enough: a record is written and read from its header on,
//! and headers lie in the first half, so that both sides use the second half for the same bytes. When such a record is done, its
//! rest is copied to the data's start too, for readers who wrap by themselves.

use super::Maker;
use super::front::{LinuxMap, Ops};
use super::reservations::{BUSY, DISCARD, HEADER_LEN, Reservations};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use mimic_abi::{ByteOrder, Errno, Size};
use mimic_vm::memory::{Access, Bounds, Layout, PAGE_LEN, Part};
use mimic_vm::{Map, MapError, Region};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// `BPF_MAP_TYPE_RINGBUF`.
pub struct Ringbuf {
    region: Arc<Region>,
    order: ByteOrder,
    /// Bytes of data, a power of two.
    len: u32,
    producer: Arc<Producer>,
    /// One user at a time.
    consumer: Mutex<()>,
    wakeups: AtomicU64,
}

/// Positions, as `bpf_ringbuf_query` tells them: bytes since the map was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingbufPos {
    /// Up to where the user has read.
    pub consumer: u64,
    /// Up to where programs have reserved.
    pub producer: u64,
}

/// What producers have under way; the region table asks it what programs may touch.
struct Producer {
    reservations: Reservations,
    /// Bytes of data.
    len: u32,
    /// Where headers are. It holds this in turn.
    region: OnceLock<Weak<Region>>,
}

/// Offsets in the region, in bytes.
const CONSUMER: u32 = 0;
const PRODUCER: u32 = PAGE_LEN;
const DATA: u32 = 2 * PAGE_LEN;
/// Pages of the kernel's structure before the data: what `pg_off` of a record counts from.
const META_PAGES: u32 = 3;
/// `RINGBUF_MAX_RECORD_SZ`.
const RECORD_LEN_MAX: u64 = (u32::MAX / 4) as u64;
/// `BPF_RB_NO_WAKEUP`.
pub(crate) const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
pub(crate) const FORCE_WAKEUP: u64 = 2;
/// The most bytes of data: both copies and the positions fit guest addresses, with room for others.
const DATA_LEN_MAX: u32 = 1 << 30;

impl Ringbuf {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        let len = maker.spec.max_entries;
        if len > DATA_LEN_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("ring buffers have {DATA_LEN_MAX} bytes at most"),
            ));
        }
        let producer =
            Arc::new(Producer { reservations: Reservations::new(len), len, region: OnceLock::new() });
        let layout = Layout::Custom(producer.clone());
        let region = Arc::new(maker.region("record", u64::from(DATA) + 2 * u64::from(len), layout)?);
        let _ = producer.region.set(Arc::downgrade(&region));
        let ring = Ringbuf {
            region,
            order: maker.order(),
            len,
            producer,
            consumer: Mutex::new(()),
            wakeups: AtomicU64::new(0),
        };
        Ok(LinuxMap::make(maker.spec, 0, ring))
    }

    /// Where the positions and the data are.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Bytes of data.
    pub fn data_len(&self) -> u32 {
        self.len
    }

    /// The positions.
    pub fn positions(&self) -> RingbufPos {
        RingbufPos { consumer: self.pos(CONSUMER), producer: self.pos(PRODUCER) }
    }

    /// How often a program's record woke the user (`BPF_RB_NO_WAKEUP`, `BPF_RB_FORCE_WAKEUP`).
    pub fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Reserves a record of `len` bytes; the guest address of its data, or none if there is no room.
    pub fn reserve(&self, len: u64) -> Option<u64> {
        if len > RECORD_LEN_MAX {
            return None;
        }
        let len = len as u32;
        let begin = |at: u32| {
            self.set_header(at, len | BUSY);
            self.region.store(DATA + at + 4, Size::W, u64::from(at / PAGE_LEN + META_PAGES));
            self.region.recycle(DATA + at + HEADER_LEN, len);
            self.region.base() + u64::from(DATA + at + HEADER_LEN)
        };
        let (header, tell) = (|at| self.header(at), |pos| self.set_pos(PRODUCER, pos));
        self.producer.reservations.reserve(len, self.pos(CONSUMER), header, begin, tell)
    }

    /// The length of the reserved record whose data is at `addr`.
    pub fn reserved_len(&self, addr: u64) -> Option<u32> {
        let at = self.record_at(addr).filter(|at| self.producer.reservations.is_reserved(*at))?;
        Some(record_len(self.header(at), self.len))
    }

    /// Hands the record whose data is at `addr` to the user, or drops it. None if no such record is reserved.
    pub fn commit(&self, addr: u64, flags: u64, discard: bool) -> Option<()> {
        let at = self.record_at(addr).filter(|at| self.producer.reservations.end(*at))?;
        let len = record_len(self.header(at), self.len);
        let data = at + HEADER_LEN;
        if let Some(rest) = (data + len).checked_sub(self.len).filter(|rest| *rest > 0) {
            self.region.copy_within(DATA + self.len, DATA, rest);
        }
        self.set_header(at, if discard { len | DISCARD } else { len });
        // A consumer that comes to this record later finds it done; one that came before is seen here, and woken.
        fence(Ordering::SeqCst);
        let consumer = (self.pos(CONSUMER) & (u64::from(self.len) - 1)) as u32;
        if flags & FORCE_WAKEUP != 0 || (flags & NO_WAKEUP == 0 && consumer == at) {
            self.wakeups.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    /// Reserves, fills and commits a record.
    pub fn output(&self, data: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        let addr = self.reserve(data.len() as u64).ok_or(Errno::EAGAIN)?;
        self.region.write((addr - self.region.base()) as u32, data);
        self.commit(addr, flags, false).ok_or(Errno::EINVAL)
    }

    /// Users: hands every record that is done to `each`, in order, and frees its room. Stops at one that is being written, and
    /// when `each` answers false. Answers how many there were.
    pub fn consume(&self, mut each: impl FnMut(&[u8]) -> bool) -> usize {
        let _one = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = Vec::new();
        let mut count = 0;
        let mut pos = self.pos(CONSUMER);
        loop {
            let ready = self.pos(PRODUCER).wrapping_sub(pos);
            // The positions may lie in memory that others write; beyond the ring's length they mean nothing.
            if ready == 0 || ready > u64::from(self.len) {
                return count;
            }
            let at = (pos & (u64::from(self.len) - 1)) as u32 & !7;
            let header = self.header(at);
            let len = header & !(BUSY | DISCARD);
            if header & BUSY != 0 || len > self.len - HEADER_LEN {
                return count;
            }
            let mut go_on = true;
            if header & DISCARD == 0 {
                record.resize(len as usize, 0);
                self.region.read(DATA + at + HEADER_LEN, &mut record);
                go_on = each(&record);
                count += 1;
            }
            pos = pos.wrapping_add(u64::from((len + HEADER_LEN).next_multiple_of(8)));
            self.set_pos(CONSUMER, pos);
            if !go_on {
                return count;
            }
        }
    }

    /// Users: all records that are done, taken out.
    pub fn take(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        self.consume(|record| {
            records.push(record.to_vec());
            true
        });
        records
    }

    /// The position in the data of the header before `addr`.
    fn record_at(&self, addr: u64) -> Option<u32> {
        self.region.offset_of(addr)?.checked_sub(DATA + HEADER_LEN)
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

/// The length that a header tells, within a ring of `len` bytes.
fn record_len(header: u32, len: u32) -> u32 {
    (header & !(BUSY | DISCARD)).min(len - HEADER_LEN)
}

/// Programs may touch the data of records that are reserved.
impl Bounds for Producer {
    fn object_at(&self, off: u32) -> Option<Part> {
        let at = off.checked_sub(DATA).filter(|at| *at < 2 * self.len)?;
        let start = self.reservations.before(at)?;
        let region = self.region.get()?.upgrade()?;
        let header = region.load(DATA + start, Size::W) as u32;
        let (data, len) = (start + HEADER_LEN, record_len(header, self.len));
        let inside = at >= data && at - data < len;
        inside.then_some(Part { off: DATA + data, len, access: Access::ReadWrite })
    }
}

impl Ops for Ringbuf {
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
