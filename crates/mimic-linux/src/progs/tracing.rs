//! `TracingContext`: the arguments of a traced function, tracepoint, hook or operation, as typed programs get them: 64 bits for each.
//!
//! For fentry, fexit, fmod_ret, lsm, tp_btf, struct_ops and freplace'd functions. What programs can read of their array of arguments, and
//! what `bpf_get_func_arg`, `bpf_get_func_ret` and `bpf_get_func_arg_cnt` answer, is what the kernel's trampoline lays out:
//! Documentation/bpf/prog_lsm.rst, bpf-helpers(7). The function itself is not called: a test states what it returned.

use super::cgroup::{self, CgroupContext};
use crate::{Linux, ObjectError, ObjectKey, View};
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Region, Setup};
use std::sync::Arc;

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number, or an address.
    Number(u64),
    /// A number of 32 bits in a place of 64: members of iterators' contexts.
    Word(u32),
    /// A pointer to an object of the world, in the kernel's layout; NULL if the world does not have it.
    Object(ObjectKey),
    /// A pointer to bytes, which are the context's own: a structure that the world knows nothing of, a string.
    Bytes {
        /// The bytes; after the run, what the program left there.
        bytes: Vec<u8>,
        /// Programs may write them.
        writable: bool,
    },
}

impl Arg {
    /// A pointer to bytes that programs can read.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Arg {
        Arg::Bytes { bytes: bytes.into(), writable: false }
    }
}

impl From<u64> for Arg {
    fn from(number: u64) -> Arg {
        Arg::Number(number)
    }
}

/// Where a traced function is when the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TracePoint {
    /// At its beginning (fentry), or it is no function (tp_btf, struct_ops): there is no return value.
    #[default]
    Entry,
    /// Behind its end (fexit): the return value follows the arguments.
    Exit,
    /// Before its beginning (fmod_ret, lsm): the return value of the program before follows the arguments.
    ModifyReturn,
}

/// What a typed tracing program gets.
#[derive(Clone, Debug, Default)]
pub struct TracingContext {
    /// The arguments, at most [`TracingContext::ARGS_MAX`].
    pub args: Vec<Arg>,
    /// Where the function is.
    pub point: TracePoint,
    /// What the function (or, before it, the program before) has returned; not used at [`TracePoint::Entry`].
    pub ret: u64,
    /// For programs of control groups at a security hook: what the hook returns so far, 0 or a negative errno.
    pub cgroup_retval: Option<i32>,
    /// The addresses in guest memory that arguments had in the last run.
    placed: Vec<Option<Arc<Region>>>,
}

impl TracingContext {
    /// The most arguments: `MAX_BPF_FUNC_ARGS`.
    pub const ARGS_MAX: usize = 12;
    /// The most bytes that one argument points at.
    pub const BYTES_MAX: usize = 1 << 20;

    /// The context of a function that begins, or of a tracepoint.
    pub fn entry(args: impl IntoIterator<Item = Arg>) -> TracingContext {
        TracingContext { args: args.into_iter().collect(), ..TracingContext::default() }
    }

    /// The context of a function that has returned.
    pub fn exit(args: impl IntoIterator<Item = Arg>, ret: u64) -> TracingContext {
        TracingContext { point: TracePoint::Exit, ret, ..TracingContext::entry(args) }
    }

    /// The context of a function that is to be called, or a hook that is asked, after a program that returned `ret`.
    pub fn modify_return(args: impl IntoIterator<Item = Arg>, ret: u64) -> TracingContext {
        TracingContext { point: TracePoint::ModifyReturn, ret, ..TracingContext::entry(args) }
    }

    /// The context of a control group's program at a security hook. It carries on from one program to the next.
    pub fn lsm_cgroup(args: impl IntoIterator<Item = Arg>) -> TracingContext {
        TracingContext { cgroup_retval: Some(0), ..TracingContext::entry(args) }
    }

    /// The return value, where there is one.
    pub fn returned(&self) -> Option<u64> {
        (self.point != TracePoint::Entry).then_some(self.ret)
    }
}

impl CgroupContext for TracingContext {
    fn retval(&self) -> i32 {
        self.cgroup_retval.unwrap_or(0)
    }

    fn set_retval(&mut self, retval: i32) {
        self.cgroup_retval = Some(retval);
    }
}

impl Context for TracingContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.args.len() > TracingContext::ARGS_MAX {
            let why = format!(
                "a traced function has at most {} arguments, not {}",
                TracingContext::ARGS_MAX,
                self.args.len()
            );
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        let mut words = Vec::new();
        self.placed.clear();
        for (arg, name) in self.args.iter().zip(ARG_NAMES) {
            let (word, placed) = place(arg, name, setup)?;
            words.push(word);
            self.placed.push(placed);
        }
        words.extend(self.returned().map(Word::Long));
        Ok([write_words("context", &words, setup)?, 0, 0, 0, 0])
    }

    fn leave(&mut self, _setup: &mut Setup<'_>, r0: Option<u64>) {
        if let Some(retval) = &mut self.cgroup_retval {
            *retval = cgroup::after(*retval, r0, |r0| r0 != 0);
        }
        for (arg, placed) in self.args.iter_mut().zip(&self.placed) {
            if let (Arg::Bytes { bytes, writable: true }, Some(region)) = (arg, placed) {
                region.read(0, bytes);
            }
        }
    }
}

/// What faults call what arguments point at.
const ARG_NAMES: [&str; TracingContext::ARGS_MAX] =
    ["arg0", "arg1", "arg2", "arg3", "arg4", "arg5", "arg6", "arg7", "arg8", "arg9", "arg10", "arg11"];

/// A place of 8 bytes in a context.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Long(u64),
    Half(u32),
}

/// Puts what an argument points at into guest memory.
pub(super) fn place(
    arg: &Arg,
    name: &'static str,
    setup: &mut Setup<'_>,
) -> Result<(Word, Option<Arc<Region>>), ContextError> {
    match arg {
        Arg::Number(number) => Ok((Word::Long(*number), None)),
        Arg::Word(number) => Ok((Word::Half(*number), None)),
        Arg::Object(key) => Ok((Word::Long(object(*key, setup)?), None)),
        Arg::Bytes { bytes, writable } => {
            if bytes.is_empty() {
                return Ok((Word::Long(0), None));
            }
            if bytes.len() > TracingContext::BYTES_MAX {
                let why = format!("an argument points at {} bytes at most", TracingContext::BYTES_MAX);
                return Err(ContextError::Errno(Errno::E2BIG, why));
            }
            let access = if *writable { Access::ReadWrite } else { Access::Read };
            let len = bytes.len() as u32;
            let region = setup.region(name, len, Layout::Bytes(access))?;
            region.set_bounds(0, len);
            region.write(0, bytes);
            Ok((Word::Long(region.base()), Some(region)))
        }
    }
}

fn object(key: ObjectKey, setup: &Setup<'_>) -> Result<u64, ContextError> {
    let refused = |why: String| ContextError::Errno(Errno::EINVAL, why);
    let linux = setup.emulator::<Linux>().ok_or_else(|| refused("only Linux has kernel objects".into()))?;
    match linux.object(setup.memory(), key, View::Kernel) {
        Ok(addr) => Ok(addr),
        Err(ObjectError::Missing(_)) => Ok(0),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// Writes a context of 8-byte places that programs can only read; answers its address, 0 if there are none.
pub(super) fn write_words(
    name: &'static str,
    words: &[Word],
    setup: &mut Setup<'_>,
) -> Result<u64, ContextError> {
    if words.is_empty() {
        return Ok(0);
    }
    let len = 8 * words.len() as u32;
    let region = setup.region(name, len, Layout::Bytes(Access::Read))?;
    region.set_bounds(0, len);
    for (at, word) in words.iter().enumerate() {
        let off = 8 * at as u32;
        match word {
            Word::Long(value) => region.store(off, Size::Dw, *value),
            Word::Half(value) => {
                region.store(off, Size::W, u64::from(*value));
                region.store(off + 4, Size::W, 0);
            }
        }
    }
    Ok(region.base())
}
