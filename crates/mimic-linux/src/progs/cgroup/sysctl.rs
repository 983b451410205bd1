//! `SysctlContext`: a sysctl that a task of a control group reads or writes, `struct bpf_sysctl`.

use super::layout::{SYSCTL, SYSCTL_LEN};
use super::{CgroupContext, after};
use crate::Linux;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Region, Setup};
use std::sync::Arc;

/// What cgroup/sysctl programs get.
#[derive(Clone, Debug, Default)]
pub struct SysctlContext {
    /// The sysctl's name below `/proc/sys`, with slashes: `net/ipv4/ip_forward`.
    pub name: String,
    /// Its value as reading it gives it, with the newline. None: as the world states it, and nothing to be read if it does not.
    pub current: Option<Vec<u8>>,
    /// What a task writes to it; none if it reads. After a run what is to be written.
    pub new: Option<Vec<u8>>,
    /// Where in the file it reads or writes, in bytes; after a run where it goes on.
    pub pos: u32,
    /// What the system call returns: 0, or a negative errno.
    pub retval: i32,
    /// A program has put another value in the place of the new one.
    pub replaced: bool,
    value: Option<Vec<u8>>,
    region: Option<Arc<Region>>,
}

impl SysctlContext {
    /// The longest value, in bytes: a page.
    pub const VALUE_MAX: usize = 4096;

    /// A sysctl that is read.
    pub fn read(name: &str) -> SysctlContext {
        SysctlContext { name: name.into(), ..SysctlContext::default() }
    }

    /// A sysctl that is written.
    pub fn write(name: &str, new: impl Into<Vec<u8>>) -> SysctlContext {
        SysctlContext { new: Some(new.into()), ..SysctlContext::read(name) }
    }

    /// The address of the context, while a program runs.
    pub(crate) fn addr(&self) -> Option<u64> {
        self.region.as_ref().map(|region| region.base())
    }

    /// The value that the sysctl has, while a program runs; empty if there is none to be had.
    pub(crate) fn value(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// `bpf_sysctl_set_new_value`.
    pub(crate) fn replace(&mut self, value: Vec<u8>) -> Result<(), Errno> {
        let new = self.new.as_mut().filter(|new| !new.is_empty() && !value.is_empty());
        let new = new.ok_or(Errno::EINVAL)?;
        if value.len() >= SysctlContext::VALUE_MAX {
            return Err(Errno::E2BIG);
        }
        *new = value;
        self.replaced = true;
        Ok(())
    }
}

impl CgroupContext for SysctlContext {
    fn retval(&self) -> i32 {
        self.retval
    }

    fn set_retval(&mut self, retval: i32) {
        self.retval = retval;
    }
}

impl Context for SysctlContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let stated = || {
            let linux = setup.emulator::<Linux>()?;
            Some(format!("{}\n", linux.world().sysctls.get(&self.name)?).into_bytes())
        };
        let mut value = self.current.clone().or_else(stated);
        for bytes in [&mut value, &mut self.new].into_iter().flatten() {
            bytes.truncate(SysctlContext::VALUE_MAX);
        }
        self.value = value;
        let region = setup.region("context", SYSCTL_LEN, Layout::Fields(SYSCTL))?;
        region.store(0, Size::W, self.new.is_some().into());
        region.store(4, Size::W, self.pos.into());
        let base = region.base();
        self.region = Some(region);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, _setup: &mut Setup<'_>, r0: Option<u64>) {
        if let Some(region) = &self.region {
            self.pos = region.load(4, Size::W) as u32;
        }
        self.retval = after(self.retval, r0, |r0| r0 != 0);
    }
}
