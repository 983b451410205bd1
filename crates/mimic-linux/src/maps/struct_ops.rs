//! STRUCT_OPS: a table of operations of a kernel subsystem, done by programs: put in place by an update, or by a link.
//!
//! The only value is the kernel's `struct bpf_struct_ops_NAME`: a count of references and the state, then the table. It goes from `INIT` to
//! `INUSE` when it is updated (to `READY` if links put it in place), to `TOBEFREE` when it is deleted. Mirrors what bpf(2) answers, and the
//! selftests bpf_tcp_ca.

use super::front::{LinuxMap, Ops};
use super::{Maker, word};
use crate::world::Tables;
use mimic_abi::uapi::map_flags::BPF_F_LINK;
use mimic_abi::{ByteOrder, Errno};
use mimic_object::MapSpec;
use mimic_vm::{Map, MapError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of `struct bpf_struct_ops_common_value`: references, state.
const COMMON_LEN: usize = 8;

/// How far a table of operations has come: `enum bpf_struct_ops_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StructOpsState {
    /// It was made.
    #[default]
    Init,
    /// The subsystem uses it.
    InUse,
    /// It was deleted.
    ToBeFree,
    /// A link may put it in place.
    Ready,
}

/// What a table of operations is for: the subsystem's structure, and the name that it goes by there (of a congestion control).
pub(crate) type OpsName = (String, String);

/// `BPF_MAP_TYPE_STRUCT_OPS`.
pub struct StructOpsMap {
    inner: Mutex<Inner>,
    link: bool,
    name: Option<OpsName>,
    order: ByteOrder,
    tables: Arc<Tables>,
}

struct Inner {
    state: StructOpsState,
    value: Vec<u8>,
    /// Links that hold it in place.
    links: u32,
}

impl StructOpsMap {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        Ok(StructOpsMap::make(maker.spec, maker.order(), maker.tables, None))
    }

    /// A table for a subsystem that knows it by this name.
    pub(crate) fn make(
        spec: &MapSpec,
        order: ByteOrder,
        tables: &Arc<Tables>,
        name: Option<OpsName>,
    ) -> Arc<dyn Map> {
        let inner = Inner { state: StructOpsState::Init, value: vec![0; spec.value_size as usize], links: 0 };
        let (inner, tables) = (Mutex::new(inner), tables.clone());
        let link = spec.map_flags & BPF_F_LINK != 0;
        LinuxMap::make(spec, spec.value_size as usize, StructOpsMap { inner, link, name, order, tables })
    }

    /// How far it has come.
    pub fn state(&self) -> StructOpsState {
        self.lock().state
    }

    /// Puts it in place by a link (`BPF_LINK_CREATE`): `EINVAL` unless it is ready, `EEXIST` if the subsystem has one of its name.
    pub fn attach(&self) -> Result<(), Errno> {
        let mut inner = self.lock();
        if inner.state != StructOpsState::Ready {
            return Err(Errno::EINVAL);
        }
        self.register()?;
        inner.links += 1;
        Ok(())
    }

    /// The link is gone.
    pub fn detach(&self) -> Result<(), Errno> {
        let mut inner = self.lock();
        inner.links = inner.links.checked_sub(1).ok_or(Errno::EINVAL)?;
        self.unregister();
        Ok(())
    }

    fn register(&self) -> Result<(), Errno> {
        let Some((ops, name)) = &self.name else { return Ok(()) };
        let congestion = ops == "tcp_congestion_ops";
        if congestion && name.is_empty() {
            return Err(Errno::EINVAL);
        }
        let builtin = congestion && matches!(name.as_str(), "cubic" | "reno");
        // Tables without a name are the only one of their subsystem.
        if builtin || !self.tables.lock_struct_ops().insert((ops.clone(), name.clone())) {
            return Err(Errno::EEXIST);
        }
        Ok(())
    }

    fn unregister(&self) {
        if let Some(name) = &self.name {
            self.tables.lock_struct_ops().remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Errno> {
        if word(key, self.order)? == 0 { Ok(()) } else { Err(Errno::E2BIG) }
    }
}

impl Ops for StructOpsMap {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EINVAL)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        match key.map(|key| word(key, self.order)).transpose()? {
            Some(0) => Err(Errno::ENOENT),
            _ => Ok(vec![0; 4]),
        }
    }

    /// The table as it was put in, with references and state; zeros before that.
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        if word(key, self.order)? != 0 {
            return Err(Errno::ENOENT);
        }
        let inner = self.lock();
        value.fill(0);
        if inner.state == StructOpsState::Init {
            return Ok(());
        }
        let len = value.len().min(inner.value.len());
        value[..len].copy_from_slice(&inner.value[..len]);
        let state = match inner.state {
            StructOpsState::Init => 0,
            StructOpsState::InUse => 1,
            StructOpsState::ToBeFree => 2,
            StructOpsState::Ready => 3,
        };
        let words = [inner.links, state].map(|word| super::word_bytes(word, self.order)).concat();
        if let Some(common) = value.get_mut(..COMMON_LEN) {
            common.copy_from_slice(&words);
        }
        Ok(())
    }

    fn copy_in(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.check_key(key)?;
        if value.iter().take(COMMON_LEN).any(|byte| *byte != 0) {
            return Err(Errno::EINVAL);
        }
        let mut inner = self.lock();
        if inner.state != StructOpsState::Init {
            return Err(Errno::EBUSY);
        }
        if self.link {
            inner.state = StructOpsState::Ready;
        } else {
            self.register()?;
            inner.state = StructOpsState::InUse;
        }
        inner.value = value.to_vec();
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Errno> {
        self.check_key(key).map_err(|_| Errno::ENOENT)?;
        if self.link {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut inner = self.lock();
        match inner.state {
            StructOpsState::InUse => {
                self.unregister();
                inner.state = StructOpsState::ToBeFree;
                Ok(())
            }
            StructOpsState::ToBeFree => Err(Errno::EINPROGRESS),
            StructOpsState::Init => Err(Errno::ENOENT),
            StructOpsState::Ready => Err(Errno::EINVAL),
        }
    }

    fn release(&self) {
        if self.lock().state == StructOpsState::InUse {
            self.unregister();
        }
    }
}
