//! SOCKMAP, SOCKHASH and REUSEPORT_SOCKARRAY without sockets: nothing can be put in, and all answers are those of empty maps.
//! Documentation/bpf/map_sockmap.rst.

use super::front::{LinuxMap, Ops};
use super::{Maker, next_index, word};
use mimic_abi::{ByteOrder, Errno, MapType};
use mimic_vm::{Map, MapError};
use std::sync::Arc;

/// `BPF_MAP_TYPE_SOCKMAP`, `_SOCKHASH` and `_REUSEPORT_SOCKARRAY`.
pub struct SocketMap {
    kind: MapType,
    order: ByteOrder,
    entries: u32,
    value_len: u32,
}

/// The longest key of a SOCKHASH: `MAX_BPF_STACK`.
const KEY_LEN_MAX: u32 = 512;

impl SocketMap {
    pub(super) fn create(maker: &Maker<'_>, kind: MapType) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        let spec = maker.spec;
        if kind == MapType::Sockhash && spec.key_size > KEY_LEN_MAX {
            return Err(MapError::new(Errno::E2BIG, format!("a key has {KEY_LEN_MAX} bytes at most")));
        }
        let map =
            SocketMap { kind, order: maker.order(), entries: spec.max_entries, value_len: spec.value_size };
        Ok(LinuxMap::make(spec, spec.value_size as usize, map))
    }

    /// The index that a key is; none for SOCKHASH.
    fn index(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        match self.kind {
            MapType::Sockhash => Ok(None),
            _ => word(key, self.order).map(Some),
        }
    }
}

impl Ops for SocketMap {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Ok(None)
    }

    /// What programs have sockets of, packets' own ones, are of no protocol that can be redirected.
    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let outside = self.index(key)?.is_some_and(|index| index >= self.entries);
        Err(match self.kind {
            MapType::Sockmap => Errno::EINVAL,
            MapType::ReuseportSockarray if outside => Errno::E2BIG,
            _ => Errno::ENOENT,
        })
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        match self.kind {
            MapType::Sockhash => Err(Errno::ENOENT),
            _ => next_index(key, self.entries, self.order),
        }
    }

    /// A socket is told by its cookie, which takes 8 bytes.
    fn copy_out(&self, _key: &[u8], _value: &mut [u8]) -> Result<(), Errno> {
        Err(if self.value_len == 8 { Errno::ENOENT } else { Errno::ENOSPC })
    }

    /// A value is a descriptor, which only bpf(2) can resolve.
    fn copy_in(&self, key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        let outside = self.index(key)?.is_some_and(|index| index >= self.entries);
        Err(if outside && self.kind == MapType::ReuseportSockarray { Errno::E2BIG } else { Errno::EBADF })
    }
}
