//! PROG_ARRAY: programs by index, for `bpf_tail_call`. bpf(2), "BPF_MAP_TYPE_PROG_ARRAY".

use super::front::{LinuxMap, Ops};
use super::{Maker, next_index, no_descriptor, word, word_bytes};
use mimic_abi::{AttachType, ByteOrder, Errno, ProgType};
use mimic_vm::{LoadedProgram, Map, MapError};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// `BPF_MAP_TYPE_PROG_ARRAY`.
pub struct ProgArray {
    slots: Box<[RwLock<Option<Arc<LoadedProgram>>>]>,
    /// What the first program was: all others must be like it.
    owner: OnceLock<Owner>,
    order: ByteOrder,
}

/// What programs of one array have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    prog_type: Option<ProgType>,
    attach_type: Option<AttachType>,
}

/// The most slots; the kernel's limit is its memory.
const SLOTS_MAX: u32 = 1 << 20;

impl ProgArray {
    pub(super) fn create(maker: &Maker<'_>) -> Result<Arc<dyn Map>, MapError> {
        maker.check_not_shared()?;
        if maker.spec.max_entries > SLOTS_MAX {
            return Err(MapError::new(
                Errno::ENOMEM,
                format!("program arrays have {SLOTS_MAX} slots at most"),
            ));
        }
        let slots = (0..maker.spec.max_entries).map(|_| RwLock::new(None)).collect();
        let array = ProgArray { slots, owner: OnceLock::new(), order: maker.order() };
        Ok(LinuxMap::make(maker.spec, 4, array))
    }

    /// The program in a slot.
    #[inline]
    pub fn program(&self, index: u32) -> Option<Arc<LoadedProgram>> {
        self.slots.get(index as usize)?.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `program` may use this array: it must be like those inside, and decides what they are if there was none.
    pub fn accepts(&self, program: &LoadedProgram) -> bool {
        let owner = Owner::of(program);
        *self.owner.get_or_init(|| owner) == owner
    }

    fn slot(&self, key: &[u8]) -> Result<Option<&RwLock<Option<Arc<LoadedProgram>>>>, Errno> {
        Ok(self.slots.get(word(key, self.order)? as usize))
    }
}

impl Owner {
    fn of(program: &LoadedProgram) -> Owner {
        let linked = program.linked();
        Owner { prog_type: linked.prog_type, attach_type: linked.attach_type }
    }
}

impl Ops for ProgArray {
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _cpu: u32, _key: &[u8], _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn delete(&self, _cpu: u32, key: &[u8]) -> Result<(), Errno> {
        let slot = self.slot(key)?.ok_or(Errno::E2BIG)?;
        let old = slot.write().unwrap_or_else(PoisonError::into_inner).take();
        old.map(|_| ()).ok_or(Errno::ENOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        next_index(key, self.slots.len() as u32, self.order)
    }

    /// The program's id.
    fn copy_out(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        let program = self.program(word(key, self.order)?).ok_or(Errno::ENOENT)?;
        value.copy_from_slice(&word_bytes(program.id(), self.order));
        Ok(())
    }

    /// A value is a descriptor, which only bpf(2) can resolve: programs are put in with `set_program`.
    fn copy_in(&self, key: &[u8], _value: &[u8], flags: u64) -> Result<(), Errno> {
        Err(no_descriptor(word(key, self.order)?, self.slots.len() as u32, flags))
    }

    fn set_program(&self, key: &[u8], program: &Arc<LoadedProgram>, flags: u64) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let slot = self.slot(key)?.ok_or(Errno::E2BIG)?;
        if !self.accepts(program) {
            return Err(Errno::EINVAL);
        }
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(program.clone());
        Ok(())
    }

    fn release(&self) {
        for slot in &self.slots {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
