//! `DeviceContext`: a task of a control group that opens or makes a device node, `struct bpf_cgroup_dev_ctx`.

use super::layout::{DEVICE, DEVICE_LEN};
use super::{CgroupContext, after};
use mimic_abi::Size;
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Setup};

/// What kind of device it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// A block device (`BPF_DEVCG_DEV_BLOCK`).
    Block,
    /// A character device (`BPF_DEVCG_DEV_CHAR`).
    #[default]
    Char,
}

/// What cgroup/dev programs get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceContext {
    /// The kind.
    pub kind: DeviceKind,
    /// The device's major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// The node is to be made (`BPF_DEVCG_ACC_MKNOD`).
    pub mknod: bool,
    /// It is opened for reading (`BPF_DEVCG_ACC_READ`).
    pub read: bool,
    /// It is opened for writing (`BPF_DEVCG_ACC_WRITE`).
    pub write: bool,
    /// What the system call returns: 0, or a negative errno.
    pub retval: i32,
}

impl DeviceContext {
    /// A device that is opened for reading and writing.
    pub fn open(kind: DeviceKind, major: u32, minor: u32) -> DeviceContext {
        DeviceContext { kind, major, minor, read: true, write: true, ..DeviceContext::default() }
    }

    /// A device node that is made.
    pub fn mknod(kind: DeviceKind, major: u32, minor: u32) -> DeviceContext {
        DeviceContext { kind, major, minor, mknod: true, ..DeviceContext::default() }
    }

    /// `access_type`: what is done in the upper half, the kind in the lower.
    fn access_type(&self) -> u32 {
        let done = u32::from(self.mknod) | u32::from(self.read) << 1 | u32::from(self.write) << 2;
        let kind = match self.kind {
            DeviceKind::Block => 1,
            DeviceKind::Char => 2,
        };
        done << 16 | kind
    }
}

impl CgroupContext for DeviceContext {
    fn retval(&self) -> i32 {
        self.retval
    }

    fn set_retval(&mut self, retval: i32) {
        self.retval = retval;
    }
}

impl Context for DeviceContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let region = setup.region("context", DEVICE_LEN, Layout::Fields(DEVICE))?;
        for (off, value) in [(0, self.access_type()), (4, self.major), (8, self.minor)] {
            region.store(off, Size::W, value.into());
        }
        Ok([region.base(), 0, 0, 0, 0])
    }

    fn leave(&mut self, _setup: &mut Setup<'_>, r0: Option<u64>) {
        self.retval = after(self.retval, r0, |r0| r0 != 0);
    }
}
