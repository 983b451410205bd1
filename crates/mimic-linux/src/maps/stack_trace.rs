//! STACK_TRACE: stack traces by their hash. bpf-helpers(7), `bpf_get_stackid`.
//!
//! Only `bpf_get_stackid` adds traces; users look them up, walk and delete them. Ids are the kernel's: a trace's hash, cut to the
//! number of buckets.

use super::front::{LinuxMap, Ops};
use super::hasher::jenkins;
use super::{Maker, word, word_bytes};
use mimic_abi::uapi::map_flags::BPF_F_STACK_BUILD_ID;
use mimic_abi::{ByteOrder, Errno};
use mimic_vm::{Map, MapError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most frames of a stack trace (`kernel.perf_event_max_stack`).
pub(crate) const STACK_MAX: u32 = 127;
/// Bytes of a `struct bpf_stack_build_id`.
pub(crate) const BUILD_ID_LEN: u32 = 32;
/// `BPF_F_FAST_STACK_CMP`: traces of the same hash are the same.
pub(crate) const FAST_STACK_CMP: u64 = 1 << 9;
/// `BPF_F_REUSE_STACKID`: a trace takes the place of another.
pub(crate) const REUSE_STACKID: u64 = 1 << 10;
/// The most bytes of all traces of a map.
const BYTES_MAX: u64 = 1 << 30;

/// `BPF_MAP_TYPE_STACK_TRACE`.
pub struct StackTrace {
    buckets: Mutex<BTreeMap<u32, Bucket>>,
    bucket_count: u32,
    entries_max: u32,
    value_len: u32,
    build_id: bool,
    order: ByteOrder,
}

struct Bucket {
    hash: u32,
    data: Vec<u8>,
}

impl StackTrace {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        let build_id = spec.map_flags & BPF_F_STACK_BUILD_ID != 0;
        let frame_len = if build_id { BUILD_ID_LEN } else { 8 };
        if !spec.value_size.is_multiple_of(8)
            || build_id && !spec.value_size.is_multiple_of(frame_len)
            || spec.value_size / frame_len > STACK_MAX
        {
            let why = format!(
                "value_size of a stack trace map is that of 1 to {STACK_MAX} frames of {frame_len} bytes, not {}",
                spec.value_size
            );
            return Err(MapError::new(Errno::EINVAL, why));
        }
        if spec.max_entries > 1 << 31 {
            return Err(MapError::new(Errno::E2BIG, "a stack trace map has 2^31 entries at most"));
        }
        if u64::from(spec.max_entries) * u64::from(spec.value_size) > BYTES_MAX {
            let why = format!("the traces of a stack trace map have {BYTES_MAX} bytes at most");
            return Err(MapError::new(Errno::ENOMEM, why));
        }
        let map = StackTrace {
            buckets: Mutex::default(),
            bucket_count: spec.max_entries.next_power_of_two(),
            entries_max: spec.max_entries,
            value_len: spec.value_size,
            build_id,
            order: maker.order(),
        };
        Ok(LinuxMap::make(spec, spec.value_size as usize, map))
    }

    /// Frames hold build ids and offsets.
    pub(crate) fn has_build_ids(&self) -> bool {
        self.build_id
    }

    /// Frames that a trace has at most.
    pub(crate) fn frames_max(&self) -> u32 {
        self.value_len / if self.build_id { BUILD_ID_LEN } else { 8 }
    }

    /// Adds a trace: its addresses, by which it is known, and the bytes of its frames. Answers its id.
    pub(crate) fn add(&self, addrs: &[u64], mut data: Vec<u8>, flags: u64) -> Result<u32, Errno> {
        let bytes: Vec<u8> = addrs.iter().flat_map(|addr| addr.to_le_bytes()).collect();
        let hash = jenkins(&bytes, 0);
        let id = hash & (self.bucket_count - 1);
        data.truncate(self.value_len as usize);
        let mut buckets = self.lock();
        if let Some(old) = buckets.get(&id) {
            let same = old.hash == hash && (flags & FAST_STACK_CMP != 0 || old.data == data);
            if same {
                return Ok(id);
            }
            if flags & REUSE_STACKID == 0 {
                return Err(Errno::EEXIST);
            }
        }
        // A new trace is made before the old one goes.
        if buckets.len() as u32 >= self.entries_max {
            return Err(Errno::ENOMEM);
        }
        buckets.insert(id, Bucket { hash, data });
        Ok(id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ops for StackTrace {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let id = word(key, self.order)?;
        if id >= self.bucket_count {
            return Err(Errno::E2BIG);
        }
        self.lock().remove(&id).map(|_| ()).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let buckets = self.lock();
        let from = match key {
            None => 0,
            Some(key) => {
                let id = word(key, self.order)?;
                if buckets.contains_key(&id) { id.saturating_add(1) } else { 0 }
            }
        };
        let next = buckets.range(from..).next().map(|(id, _)| *id).ok_or(Errno::ENOENT)?;
        Ok(word_bytes(next, self.order).into())
    }

    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let id = word(key, self.order)?;
        let buckets = self.lock();
        let data = &buckets.get(&id).ok_or(Errno::ENOENT)?.data;
        let (trace, rest) = value.split_at_mut(data.len().min(value.len()));
        trace.copy_from_slice(&data[..trace.len()]);
        rest.fill(0);
        Ok(())
    }

    fn copy_in(&self, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}
