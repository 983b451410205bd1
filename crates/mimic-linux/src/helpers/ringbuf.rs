//! Ring buffers: reserving, filling and handing over records. bpf-helpers(7), Documentation/bpf/ringbuf.rst.

use super::dynptr::{Dynptr, Kind};
use super::map::with_bytes;
use super::row::READ;
use crate::maps::{FORCE_WAKEUP, LinuxMap, NO_WAKEUP, Ringbuf, Sample, UserRingbuf};
use core::any::Any;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, RetType, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, MapRef, Next, Trap};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(130, "ringbuf_output")
            .args(&[
                arg("ringbuf", ArgType::ConstMapPtr),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .since(5, 8),
        ringbuf_output,
    ),
    Helper::new(
        HelperSpec::new(131, "ringbuf_reserve")
            .args(&[
                arg("ringbuf", ArgType::ConstMapPtr),
                arg("size", ArgType::AllocSize),
                arg("flags", ArgType::Anything),
            ])
            .returns(RetType::RingbufMemOrNull)
            .flags(HelperFlags::ACQUIRES)
            .since(5, 8),
        ringbuf_reserve,
    ),
    Helper::new(
        HelperSpec::new(132, "ringbuf_submit")
            .args(&[arg("data", ArgType::RingbufMem), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 8),
        ringbuf_submit,
    ),
    Helper::new(
        HelperSpec::new(133, "ringbuf_discard")
            .args(&[arg("data", ArgType::RingbufMem), arg("flags", ArgType::Anything)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 8),
        ringbuf_discard,
    ),
    Helper::new(
        HelperSpec::new(134, "ringbuf_query")
            .args(&[arg("ringbuf", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .since(5, 8),
        ringbuf_query,
    ),
    Helper::new(
        HelperSpec::new(209, "user_ringbuf_drain")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("callback_fn", ArgType::Func),
                arg_or_null("ctx", ArgType::Stack),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CALLS_BACK)
            .since(6, 1),
        user_ringbuf_drain,
    ),
];

/// `BPF_RB_AVAIL_DATA`: bytes reserved and not yet read.
const AVAIL_DATA: u64 = 0;
/// `BPF_RB_RING_SIZE`.
const RING_SIZE: u64 = 1;
/// `BPF_RB_CONS_POS`.
const CONS_POS: u64 = 2;
/// `BPF_RB_PROD_POS`.
const PROD_POS: u64 = 3;

/// Rings with records of this run that the program does not itself refer to: it found them in maps of maps.
#[derive(Default)]
struct Found(Vec<Arc<MapRef>>);

/// The ring buffer at the address of a map.
pub(super) fn ring<'a>(call: &Call<'a>, map: u64) -> Result<&'a Ringbuf, Trap> {
    Ok(call.map_as::<LinuxMap<Ringbuf>>(map)?.ops())
}

/// Reserves a record; the address of its data, or none if there is no room.
pub(super) fn reserve(call: &mut Call<'_>, map: u64, size: u64) -> Result<Option<u64>, Trap> {
    let Some(data) = ring(call, map)?.reserve(size) else { return Ok(None) };
    if !call.program().maps().iter().any(|known| known.addr == map) {
        let map = call.map(map)?.clone();
        let found = &mut call.run_state::<Found>().0;
        if !found.iter().any(|known| known.addr == map.addr) {
            found.push(map);
        }
    }
    Ok(Some(data))
}

/// Hands over or drops the record whose data is at `data`; afterwards the program cannot touch it.
pub(super) fn commit(call: &mut Call<'_>, data: u64, flags: u64, discard: bool) -> Result<(), Trap> {
    let in_ring = |map: &Arc<MapRef>| {
        let ring = (&*map.map as &dyn Any).downcast_ref::<LinuxMap<Ringbuf>>();
        ring.is_some_and(|ring| ring.ops().commit(data, flags, discard).is_some())
    };
    let done = call.program().maps().iter().any(in_ring) || call.run_state::<Found>().0.iter().any(in_ring);
    if !done {
        return Err(call.bad_argument(format!("{data:#x} is not the start of a reserved ring buffer record")));
    }
    call.memory_changed();
    Ok(())
}

fn ringbuf_output(call: &mut Call<'_>, map: u64, data: u64, size: u64, flags: u64, _: u64) -> HelperResult {
    let ring = ring(call, map)?;
    let Ok(len) = u32::try_from(size) else { return Err(Errno::EAGAIN.into()) };
    with_bytes(call, data, len, |data| {
        ring.output(data, flags)?;
        Ok(0)
    })
}

fn ringbuf_reserve(call: &mut Call<'_>, map: u64, size: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    if flags != 0 {
        return Ok(0);
    }
    Ok(reserve(call, map, size)?.unwrap_or(0))
}

fn ringbuf_submit(call: &mut Call<'_>, data: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    commit(call, data, flags, false).map(|()| 0)
}

fn ringbuf_discard(call: &mut Call<'_>, data: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    commit(call, data, flags, true).map(|()| 0)
}

fn ringbuf_query(call: &mut Call<'_>, map: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let ring = ring(call, map)?;
    let pos = ring.positions();
    Ok(match flags {
        AVAIL_DATA => pos.producer.wrapping_sub(pos.consumer),
        RING_SIZE => u64::from(ring.data_len()),
        CONS_POS => pos.consumer,
        PROD_POS => pos.producer,
        _ => 0,
    })
}

/// A user's ring buffer while a program drains it: however that ends, the next may.
struct Draining {
    map: Arc<MapRef>,
    /// Records that the callback saw.
    count: u64,
    /// These and those that were discarded.
    met: u32,
}

/// `BPF_MAX_USER_RINGBUF_SAMPLES`: the most records of one call.
const SAMPLES_MAX: u32 = 128 * 1024;

impl Draining {
    fn begin(map: &Arc<MapRef>) -> Result<Draining, Errno> {
        let draining = Draining { map: map.clone(), count: 0, met: 0 };
        draining.ring().map_or(Err(Errno::EINVAL), UserRingbuf::lock)?;
        Ok(draining)
    }

    fn ring(&self) -> Option<&UserRingbuf> {
        (&*self.map.map as &dyn Any).downcast_ref::<LinuxMap<UserRingbuf>>().map(LinuxMap::ops)
    }

    /// The next record for the callback, or none at the end.
    fn next(&mut self) -> Result<Option<Sample>, Errno> {
        while self.met < SAMPLES_MAX {
            match self.ring().ok_or(Errno::EINVAL)?.peek() {
                Ok(sample) => return Ok(Some(sample)),
                Err(Errno::ENODATA) => return Ok(None),
                Err(Errno::EAGAIN) => self.met += 1,
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }

    fn seen(&mut self, sample: Sample) {
        self.count += 1;
        self.met += 1;
        if let Some(ring) = self.ring() {
            ring.release_sample(sample);
        }
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        if let Some(ring) = self.ring() {
            ring.unlock();
        }
    }
}

fn user_ringbuf_drain(
    call: &mut Call<'_>,
    map: u64,
    func: u64,
    context: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    call.map_as::<LinuxMap<UserRingbuf>>(map)?;
    let func = call.func(func)?;
    if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut draining = Draining::begin(call.map(map)?)?;
    let Some(mut sample) = draining.next()? else { return Ok(0) };
    let dynptr = show(call, sample)?;
    let mut draining = Some(draining);
    let then = move |call: &mut Call<'_>, r0: u64| {
        let Some(mut now) = draining.take() else { return Err(Errno::EBUSY.into()) };
        now.seen(sample);
        call.memory_changed();
        let next = if r0 == 0 { now.next()? } else { None };
        let Some(next) = next else { return Ok(Next::Return(now.count)) };
        sample = next;
        let dynptr = show(call, sample)?;
        draining = Some(now);
        Ok(Next::Again([dynptr, context, 0, 0, 0]))
    };
    Err(call.call_back(func, [dynptr, context, 0, 0, 0], then))
}

/// A dynptr over a record, where the callback finds it.
fn show(call: &mut Call<'_>, sample: Sample) -> Result<u64, Trap> {
    let room = call.scratch("dynptr of a record", 16)?.base();
    Dynptr::new(Kind::Local, sample.addr, sample.len).store(call, room)?;
    Ok(room)
}
