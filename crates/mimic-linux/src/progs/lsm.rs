//! `LsmHook`: a hook for security programs: its prototype, what its programs may return, and whether they may be attached and sleep.
//!
//! Hooks are the functions `bpf_lsm_*` of the kernel's BTF. Documentation/bpf/prog_lsm.rst. The lists are the kernel's (6.18).

use super::{Arg, FuncModel, ModelError, TracingContext};
use mimic_abi::btf::Btf;
use mimic_abi::{Errno, RetRange};
use mimic_vm::{Process, RunError};

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsmHook {
    /// Its prototype; its name with `bpf_lsm_` before it.
    pub model: FuncModel,
}

/// Hooks that programs cannot be attached to.
pub const LSM_DISABLED: &[&str] = &[
    "audit_rule_match",
    "getprocattr",
    "getselfattr",
    "inode_copy_up_xattr",
    "inode_getsecurity",
    "inode_listsecurity",
    "inode_need_killpriv",
    "ismaclabel",
    "key_getsecurity",
    "setprocattr",
    "vm_enough_memory",
    "xfrm_decode_session",
];

/// Hooks whose programs answer yes (1) or no (0).
pub const LSM_BOOL: &[&str] = &["audit_rule_known", "inode_xattr_skipcap", "xfrm_state_pol_flow_match"];

/// The largest errno, which is the least that programs of other hooks may return, negated.
const ERRNO_MAX: i32 = 4095;

impl LsmHook {
    /// The hook of this name, with or without `bpf_lsm_`.
    pub fn named(btf: &Btf, name: &str) -> Result<LsmHook, ModelError> {
        let short = name.strip_prefix("bpf_lsm_").unwrap_or(name);
        if LSM_DISABLED.contains(&short) {
            return Err(ModelError(format!("programs cannot be attached to the hook {short}")));
        }
        let model = FuncModel::of(btf, &format!("bpf_lsm_{short}"))?;
        Ok(LsmHook { model })
    }

    /// The name without `bpf_lsm_`.
    pub fn name(&self) -> &str {
        self.model.name.trim_start_matches("bpf_lsm_")
    }

    /// What its programs may return; none if it returns nothing, and so they may return anything.
    pub fn range(&self) -> Option<RetRange> {
        self.model.ret.as_ref()?;
        match LSM_BOOL.contains(&self.name()) {
            true => Some(RetRange::new(0, 1)),
            false => Some(RetRange::new(-ERRNO_MAX, 0)),
        }
    }

    /// Asks the programs at the hook, in the order of their attaching: what the first answers that does not answer 0; of a hook that returns
    /// nothing all are asked.
    pub fn ask(
        &self,
        processes: &mut [Process],
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<i32, LsmError> {
        let args = self.model.args(args)?;
        let given = || args.iter().cloned();
        let mut ret = 0;
        for process in processes {
            if self.model.ret.is_none() {
                process.run(&mut TracingContext::exit(given(), 0))?;
                continue;
            }
            let r0 = process.run(&mut TracingContext::modify_return(given(), ret))?.r0;
            ret = r0;
            if ret as u32 != 0 {
                break;
            }
        }
        Ok(ret as i32)
    }

    /// Asks the programs of a control group, all of them: 0, or a negative errno.
    pub fn ask_cgroup(
        &self,
        processes: &mut [Process],
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<i32, LsmError> {
        let mut context = TracingContext::lsm_cgroup(self.model.args(args)?);
        for process in processes {
            process.run(&mut context)?;
        }
        Ok(context.cgroup_retval.unwrap_or(-Errno::EINVAL.0))
    }
}

/// Why a hook's programs gave no answer.
#[derive(Clone, Debug)]
pub enum LsmError {
    /// The hook has other arguments.
    Args(ModelError),
    /// A program was stopped.
    Run(RunError),
}

impl From<ModelError> for LsmError {
    fn from(error: ModelError) -> LsmError {
        LsmError::Args(error)
    }
}

impl From<RunError> for LsmError {
    fn from(error: RunError) -> LsmError {
        LsmError::Run(error)
    }
}

impl core::fmt::Display for LsmError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            LsmError::Args(error) => error.fmt(f),
            LsmError::Run(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LsmError {}
