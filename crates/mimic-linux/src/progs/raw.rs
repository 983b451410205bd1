//! `RawTracepointContext`: the arguments of a tracepoint, one 64-bit number each.

use mimic_abi::{ByteOrder, Errno};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Setup};

/// What raw tracepoint programs get: `struct bpf_raw_tracepoint_args`. They can only read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawTracepointContext {
    /// The arguments, at most [`RawTracepointContext::ARGS_MAX`].
    pub args: Vec<u64>,
}

impl RawTracepointContext {
    /// The most arguments: `MAX_BPF_FUNC_ARGS`.
    pub const ARGS_MAX: usize = 12;

    /// The context of these arguments.
    pub fn new(args: impl Into<Vec<u64>>) -> RawTracepointContext {
        RawTracepointContext { args: args.into() }
    }
}

impl Context for RawTracepointContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.args.len() > RawTracepointContext::ARGS_MAX {
            let most = RawTracepointContext::ARGS_MAX;
            let why = format!("a raw tracepoint has at most {most} arguments, not {}", self.args.len());
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        if self.args.is_empty() {
            return Ok([0; 5]);
        }
        let len = 8 * self.args.len() as u32;
        let region = setup.region("context", len, Layout::Bytes(Access::Read))?;
        region.set_bounds(0, len);
        for (at, arg) in self.args.iter().enumerate() {
            let bytes = match region.order() {
                ByteOrder::Little => arg.to_le_bytes(),
                ByteOrder::Big => arg.to_be_bytes(),
            };
            region.write(8 * at as u32, &bytes);
        }
        Ok([region.base(), 0, 0, 0, 0])
    }
}
