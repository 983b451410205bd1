//! The three kinds of buffers that user space maps: ring buffers, user ring buffers, perf event arrays.
//!
//! Layouts: Documentation/bpf/ringbuf.rst, bpf_user_ringbuf_drain(7) in bpf-helpers, perf_event_open(2).

use std::os::fd::{AsRawFd, OwnedFd};

use mimic_abi::Errno;

use super::Map;
use super::sys::{self, Mapping, page_size, perf_bpf_output};

/// Takes the records out of a BPF_MAP_TYPE_RINGBUF.
#[derive(Debug)]
pub struct RingReader {
    consumer: Mapping,
    /// The producer's page, then the data, twice in a row.
    producer: Mapping,
    size: usize,
}

/// Puts records into a BPF_MAP_TYPE_USER_RINGBUF.
#[derive(Debug)]
pub struct UserRing {
    consumer: Mapping,
    producer: Mapping,
    size: usize,
}

/// Takes the raw samples of one CPU out of a BPF_MAP_TYPE_PERF_EVENT_ARRAY.
#[derive(Debug)]
pub struct PerfReader {
    _event: OwnedFd,
    pages: Mapping,
    size: usize,
}

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER_LEN: usize = 8;

impl RingReader {
    /// Maps the ring buffer.
    pub fn new(map: &Map) -> Result<RingReader, Errno> {
        let (page, size) = (page_size(), map.attr().max_entries as usize);
        let consumer = Mapping::new(map.as_raw_fd(), 0, page, true)?;
        let producer = Mapping::new(map.as_raw_fd(), page, page + 2 * size, false)?;
        Ok(RingReader { consumer, producer, size })
    }

    /// All records submitted and not yet taken, in order; discarded ones are passed over.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let (records, at) = self.read();
        self.consumer.store(0, at);
        records
    }

    /// As `take`, but the records stay.
    pub fn peek(&self) -> Vec<Vec<u8>> {
        self.read().0
    }

    fn read(&self) -> (Vec<Vec<u8>>, u64) {
        let mut records = Vec::new();
        let mut at = self.consumer.load(0);
        while at < self.producer.load(0) {
            let off = page_size() + at as usize % self.size;
            let header = self.producer.load(off) as u32;
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !DISCARD) as usize;
            if header & DISCARD == 0 {
                records.push(self.producer.read(off + HEADER_LEN, len));
            }
            at += (HEADER_LEN + len).next_multiple_of(8) as u64;
        }
        (records, at)
    }
}

impl UserRing {
    /// Maps the user ring buffer.
    pub fn new(map: &Map) -> Result<UserRing, Errno> {
        let (page, size) = (page_size(), map.attr().max_entries as usize);
        let consumer = Mapping::new(map.as_raw_fd(), 0, page, false)?;
        let producer = Mapping::new(map.as_raw_fd(), page, page + 2 * size, true)?;
        Ok(UserRing { consumer, producer, size })
    }

    /// Adds a record for a program's bpf_user_ringbuf_drain; ENOSPC when there is no room.
    pub fn submit(&mut self, record: &[u8]) -> Result<(), Errno> {
        let (taken, at) = (self.consumer.load(0), self.producer.load(0));
        let len = (HEADER_LEN + record.len()).next_multiple_of(8);
        if at - taken + len as u64 > self.size as u64 {
            return Err(Errno::ENOSPC);
        }
        let off = page_size() + at as usize % self.size;
        self.producer.write(off + HEADER_LEN, record);
        self.producer.store(off, record.len() as u64);
        self.producer.store(0, at + len as u64);
        Ok(())
    }
}

impl PerfReader {
    /// Pages of data, a power of two.
    const PAGES: usize = 64;
    const DATA_HEAD: usize = 1024;
    const DATA_TAIL: usize = 1032;
    const RECORD_SAMPLE: u32 = 9;

    /// Opens an event on `cpu` and stores it in the map under that key.
    pub fn new(map: &Map, cpu: u32) -> Result<PerfReader, Errno> {
        let event = perf_bpf_output(cpu)?;
        let size = PerfReader::PAGES * page_size();
        let pages = Mapping::new(event.as_raw_fd(), 0, page_size() + size, true)?;
        sys::perf_enable(&event)?;
        map.update_fd(&cpu.to_ne_bytes(), event.as_raw_fd())?;
        Ok(PerfReader { _event: event, pages, size })
    }

    /// The raw data of all samples not yet taken, in order, padding included as the kernel hands it out. Records of other
    /// kinds (lost samples) are passed over.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut samples = Vec::new();
        let head = self.pages.load(PerfReader::DATA_HEAD);
        let mut at = self.pages.load(PerfReader::DATA_TAIL);
        while at < head {
            // struct perf_event_header: type u32, misc u16, size u16; then u32 length and the raw bytes.
            let header = self.bytes(at, 8);
            let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let len = u64::from(u16::from_ne_bytes([header[6], header[7]]));
            if kind == PerfReader::RECORD_SAMPLE {
                let size = self.bytes(at + 8, 4);
                let size = u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize;
                samples.push(self.bytes(at + 12, size));
            }
            at += len.max(8);
            self.pages.store(PerfReader::DATA_TAIL, at);
        }
        samples
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let at = at as usize % self.size;
        let first = len.min(self.size - at);
        let mut bytes = self.pages.read(page_size() + at, first);
        bytes.extend(self.pages.read(page_size(), len - first));
        bytes
    }
}
