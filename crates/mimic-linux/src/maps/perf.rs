//! PERF_EVENT_ARRAY: buffers of samples, by CPU. perf_event_open(2) with `PERF_COUNT_SW_BPF_OUTPUT`, bpf-helpers(7).
//!
//! In Linux a slot holds a perf event that a user opened and mapped. Here a slot is opened with [`PerfEventArray::open`], and the samples are
//! taken out with [`PerfEventArray::take`].

use super::front::{LinuxMap, Ops};
use super::{Maker, next_index, no_descriptor, word};
use crate::progs::Counter;
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::{Map, MapError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
pub struct PerfEventArray {
    slots: Box<[Mutex<Option<Buffer>>]>,
    order: ByteOrder,
}

/// A sample that a program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerfSample {
    /// The CPU of the buffer.
    pub cpu: u32,
    /// The data, then what was asked for of the packet; filled with zeros to 4 bytes more than a multiple of 8, as users get it.
    pub data: Vec<u8>,
    /// Bytes of `data` that the program wrote.
    pub len: u32,
}

struct Buffer {
    cpu: u32,
    /// The counter, if it is an event that counts; such take no samples of programs.
    counter: Option<Counter>,
    bytes: u64,
    bytes_max: u64,
    samples: VecDeque<PerfSample>,
    lost: u64,
}

/// The most slots.
const SLOTS_MAX: u32 = 1 << 16;
/// `BPF_F_INDEX_MASK`.
pub(crate) const INDEX_MASK: u64 = 0xffff_ffff;
/// Bytes in a buffer before a sample: header and length.
const SAMPLE_HEAD: u64 = 12;
/// The most bytes of a sample with its head: its length has 16 bits.
const SAMPLE_MAX: u64 = (1 << 16) - 8;

impl PerfEventArray {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let entries = maker.spec.max_entries;
        if entries > SLOTS_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("perf event arrays have {SLOTS_MAX} slots at most"),
            ));
        }
        let slots = (0..entries).map(|_| Mutex::new(None)).collect();
        Ok(LinuxMap::make(maker.spec, 4, PerfEventArray { slots, order: maker.order() }))
    }

    /// Puts a buffer of `bytes_max` bytes for the samples of `cpu` into slot `index`, as a user does with a perf event. `E2BIG`
    /// beyond the map.
    pub fn open(&self, index: u32, cpu: u32, bytes_max: u64) -> Result<(), Errno> {
        let mut slot = self.slot(index).ok_or(Errno::E2BIG)?;
        *slot = Some(Buffer { cpu, counter: None, bytes: 0, bytes_max, samples: VecDeque::new(), lost: 0 });
        Ok(())
    }

    /// Puts an event of `cpu` that counts into slot `index`, or what it has counted since. `E2BIG` beyond the map.
    pub fn set_counter(&self, index: u32, cpu: u32, counter: Counter) -> Result<(), Errno> {
        let mut slot = self.slot(index).ok_or(Errno::E2BIG)?;
        let samples = VecDeque::new();
        *slot = Some(Buffer { cpu, counter: Some(counter), bytes: 0, bytes_max: 0, samples, lost: 0 });
        Ok(())
    }

    /// `bpf_perf_event_read` by a program on `cpu`. An event for samples has counted nothing.
    pub(crate) fn read(&self, cpu: u32, flags: u64) -> Result<Counter, Errno> {
        if flags & !INDEX_MASK != 0 {
            return Err(Errno::EINVAL);
        }
        let index = if flags == INDEX_MASK { cpu } else { flags as u32 };
        let slot = self.slot(index).ok_or(Errno::E2BIG)?;
        let event = slot.as_ref().ok_or(Errno::ENOENT)?;
        if event.cpu != cpu {
            return Err(Errno::EINVAL);
        }
        Ok(event.counter.unwrap_or_default())
    }

    /// Opens a buffer for each CPU that the map has a slot for, as loaders do; those that are open stay as they are.
    pub fn open_all(&self, bytes_max: u64) {
        for cpu in 0..self.slots.len() as u32 {
            if self.slot(cpu).is_some_and(|slot| slot.is_none()) {
                // The slot is there.
                let _ = self.open(cpu, cpu, bytes_max);
            }
        }
    }

    /// All samples of all slots, taken out, slot by slot.
    pub fn take(&self) -> Vec<PerfSample> {
        self.take_if(|_| true)
    }

    /// All samples of a CPU, taken out.
    pub fn take_of(&self, cpu: u32) -> Vec<PerfSample> {
        self.take_if(|of| of == cpu)
    }

    fn take_if(&self, wanted: impl Fn(u32) -> bool) -> Vec<PerfSample> {
        let mut samples = Vec::new();
        for slot in &self.slots {
            if let Some(buffer) = lock(slot).as_mut().filter(|buffer| wanted(buffer.cpu)) {
                buffer.bytes = 0;
                samples.extend(buffer.samples.drain(..));
            }
        }
        samples
    }

    /// How many samples found no room.
    pub fn lost(&self) -> u64 {
        self.slots.iter().filter_map(|slot| lock(slot).as_ref().map(|buffer| buffer.lost)).sum()
    }

    /// `bpf_perf_event_output` by a program on `cpu`: `index` is the low half of its flags. A sample that finds no room is lost, and counted.
    pub(crate) fn output(&self, cpu: u32, index: u32, data: &[u8], packet: &[u8]) -> Result<(), Errno> {
        let index = if u64::from(index) == INDEX_MASK { cpu } else { index };
        let mut slot = self.slot(index).ok_or(Errno::E2BIG)?;
        let buffer = slot.as_mut().ok_or(Errno::ENOENT)?;
        if buffer.counter.is_some() {
            return Err(Errno::EINVAL);
        }
        if buffer.cpu != cpu {
            return Err(Errno::EOPNOTSUPP);
        }
        let len = data.len() + packet.len();
        // The length's four bytes and the data fill whole words.
        let padded = (len + 4).next_multiple_of(8) - 4;
        let bytes = SAMPLE_HEAD + padded as u64;
        if bytes > SAMPLE_MAX || buffer.bytes + bytes > buffer.bytes_max {
            buffer.lost += 1;
            return if bytes > SAMPLE_MAX { Err(Errno::E2BIG) } else { Err(Errno::ENOSPC) };
        }
        let mut whole = Vec::with_capacity(padded);
        whole.extend_from_slice(data);
        whole.extend_from_slice(packet);
        whole.resize(padded, 0);
        buffer.bytes += bytes;
        buffer.samples.push_back(PerfSample { cpu, data: whole, len: len as u32 });
        Ok(())
    }

    fn slot(&self, index: u32) -> Option<MutexGuard<'_, Option<Buffer>>> {
        self.slots.get(index as usize).map(lock)
    }
}

fn lock(slot: &Mutex<Option<Buffer>>) -> MutexGuard<'_, Option<Buffer>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ops for PerfEventArray {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let mut slot = self.slot(word(key, self.order)?).ok_or(Errno::E2BIG)?;
        slot.take().map(|_| ()).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.slots.len() as u32, self.order)
    }

    fn copy_out(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    /// A value is the descriptor of a perf event, which only a process has: see [`PerfEventArray::open`].
    fn copy_in(&self, key: &[u8], _value: &[u8], flags: u64) -> Result<(), Errno> {
        Err(no_descriptor(word(key, self.order)?, self.slots.len() as u32, flags))
    }
}
