//! `KprobeContext`: the registers at a probed function, `struct pt_regs`, for kprobes, uprobes and their kinds.
//!
//! What `PT_REGS_PARM1` and `BPF_KPROBE` of libbpf read is what [`KprobeContext::call`] and [`KprobeContext::ret`] set. Programs can only read
//! registers, in aligned parts.

use super::layout::{PT_REGS_ARM64, PT_REGS_X86_64};
use mimic_abi::{CtxLayout, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Setup};

/// Whose registers they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    #[default]
    X86_64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// The registers, by the names that `struct pt_regs` has for them.
    pub fn layout(self) -> CtxLayout {
        match self {
            Arch::X86_64 => PT_REGS_X86_64,
            Arch::Arm64 => PT_REGS_ARM64,
        }
    }

    /// The registers of the first arguments of a C function.
    fn args(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &["di", "si", "dx", "cx", "r8", "r9"],
            Arch::Arm64 => {
                &["regs[0]", "regs[1]", "regs[2]", "regs[3]", "regs[4]", "regs[5]", "regs[6]", "regs[7]"]
            }
        }
    }

    fn ret(self) -> &'static str {
        match self {
            Arch::X86_64 => "ax",
            Arch::Arm64 => "regs[0]",
        }
    }

    fn ip(self) -> &'static str {
        match self {
            Arch::X86_64 => "ip",
            Arch::Arm64 => "pc",
        }
    }
}

/// What kprobe and uprobe programs get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KprobeContext {
    /// Whose registers.
    pub arch: Arch,
    /// The registers in the order of the structure; those that are not there are 0.
    pub regs: Vec<u64>,
    /// In a session (`kprobe.session`, `uprobe.session`): whether the function has returned.
    pub session: Option<bool>,
}

/// The memory that the two runs of a session share.
pub(crate) const SESSION_COOKIE: &str = "session_cookie";

impl KprobeContext {
    /// The registers at the start of a function with these arguments. More than registers hold are on the stack, and left out.
    pub fn call(arch: Arch, args: &[u64]) -> KprobeContext {
        let mut context = KprobeContext { arch, ..KprobeContext::default() };
        for (name, value) in arch.args().iter().zip(args) {
            context.set(name, *value);
        }
        context
    }

    /// The registers where a function has returned this.
    pub fn ret(arch: Arch, value: u64) -> KprobeContext {
        let mut context = KprobeContext { arch, ..KprobeContext::default() };
        context.set(arch.ret(), value);
        context
    }

    /// The same, at this address.
    pub fn at(mut self, ip: u64) -> KprobeContext {
        self.set(self.arch.ip(), ip);
        self
    }

    /// The same, in a session: at the function's beginning, or where it has returned. A session is two runs of one process; if the first
    /// returns 1, there is no second.
    pub fn in_session(mut self, is_return: bool) -> KprobeContext {
        self.session = Some(is_return);
        self
    }

    /// Sets a register by its name in `struct pt_regs`; false if there is none.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        let layout = self.arch.layout();
        let Some(at) = layout.fields.iter().position(|field| field.name == name) else { return false };
        let len = self.regs.len().max(at + 1);
        self.regs.resize(len, 0);
        self.regs[at] = value;
        true
    }
}

impl Context for KprobeContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let layout = self.arch.layout();
        let region = setup.region("registers", layout.size, Layout::Fields(layout))?;
        for (at, field) in layout.fields.iter().enumerate() {
            region.store(field.off, Size::Dw, self.regs.get(at).copied().unwrap_or(0));
        }
        if self.session == Some(false) {
            setup.region(SESSION_COOKIE, 8, Layout::Bytes(Access::ReadWrite))?.fill(0, 8, 0);
        }
        Ok([region.base(), 0, 0, 0, 0])
    }
}
