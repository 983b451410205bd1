//! `BPF_PROG_TEST_RUN`: one program run on data and a context that the caller gives, with the kernel's checks, defaults and answers for
//! each program type. See `BPF_PROG_TEST_RUN` in bpf(2) and Documentation/bpf/bpf_prog_run.rst.
//!
//! The world is the VM's. Live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) are counted by verdict; nothing of the world takes them.

mod bytes;
mod flow;
mod netfilter;
mod reach;
mod skb;
mod xdp;

use crate::progs::Xdp;
use crate::{Linux, ObjectKey};
use core::fmt;
use mimic_abi::{ByteOrder, Errno, ProgType};
use mimic_vm::{Context, ContextError, Fault, FaultKind, Process, RunError};
use std::collections::BTreeMap;

/// `BPF_F_TEST_RUN_ON_CPU`: raw tracepoints run on `cpu`.
pub const BPF_F_TEST_RUN_ON_CPU: u32 = 1;
/// `BPF_F_TEST_XDP_LIVE_FRAMES`: frames go where the program sends them.
pub const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`: the packet's sum is kept right.
pub const BPF_F_TEST_SKB_CHECKSUM_COMPLETE: u32 = 1 << 2;

/// What `BPF_PROG_TEST_RUN` is asked for. An empty slice and a size of 0 are NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestRun<'a> {
    /// The packet.
    pub data_in: &'a [u8],
    /// There is a buffer for the packet afterwards.
    pub data_out: bool,
    /// Its size in bytes; 0 with a buffer means that it is large enough.
    pub data_size_out: u32,
    /// The context.
    pub ctx_in: &'a [u8],
    /// Room for the context afterwards, in bytes.
    pub ctx_size_out: u32,
    /// How often to run; 0 is 1.
    pub repeat: u32,
    /// `BPF_F_TEST_*`.
    pub flags: u32,
    /// The CPU.
    pub cpu: u32,
    /// Frames a batch, for live frames.
    pub batch_size: u32,
}

/// What `BPF_PROG_TEST_RUN` answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRunOut {
    /// `ENOSPC` when there was not room for everything; the rest is then what was written before.
    pub errno: Option<Errno>,
    /// r0's low half, of the last run.
    pub retval: u32,
    /// Nanoseconds a run took on the world's clock.
    pub duration_ns: u32,
    /// The packet afterwards, as much of it as there was room for.
    pub data_out: Vec<u8>,
    /// Its whole length.
    pub data_size_out: u32,
    /// The context afterwards.
    pub ctx_out: Vec<u8>,
    /// Its whole length.
    pub ctx_size_out: u32,
    /// What the program left in the context that was given: syscall programs answer there.
    pub ctx_in_after: Vec<u8>,
    /// Instructions of the last run.
    pub insns: u64,
    /// How many live frames ended how.
    pub frames: BTreeMap<Xdp, u64>,
}

/// Why a test-run gave no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum TestRunError {
    /// What the kernel answers, and why.
    Errno(Errno, String),
    /// The program was stopped, which the kernel's verifier sees to that it need not.
    Fault(Box<Fault>),
    /// Something that is not there; says what.
    Unsupported(String),
}

impl fmt::Display for TestRunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TestRunError::Errno(errno, why) => write!(f, "{why} ({errno})"),
            TestRunError::Fault(fault) => fault.fmt(f),
            TestRunError::Unsupported(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for TestRunError {}

impl From<RunError> for TestRunError {
    fn from(error: RunError) -> TestRunError {
        match error {
            RunError::Context(ContextError::Errno(errno, why)) => TestRunError::Errno(errno, why),
            RunError::Context(ContextError::Memory(error)) => {
                TestRunError::Errno(Errno::ENOMEM, error.to_string())
            }
            RunError::Fault(fault) => match &fault.kind {
                FaultKind::Unsupported(_) => TestRunError::Unsupported(fault.to_string()),
                _ => TestRunError::Fault(fault),
            },
        }
    }
}

/// `BPF_PROG_TEST_RUN` of the process's program.
pub fn test_run(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    use ProgType::*;
    let linked = process.program().linked();
    let Some(prog_type) = linked.prog_type else {
        return Err(TestRunError::Unsupported(format!(
            "program {} has no type: its section {:?} says none, and nothing else tells; give it one (--type)",
            linked.name, linked.section
        )));
    };
    if let Some(linux) = process.vm().emulator_as::<Linux>() {
        // The values of cgroup storage begin as zeros: the program is attached to no cgroup.
        linux.tables.drop_stored(ObjectKey::Cgroup(0));
    }
    let answer = match prog_type {
        Xdp => xdp::test_run(process, run),
        SocketFilter | SchedCls | SchedAct | CgroupSkb | LwtIn | LwtOut | LwtXmit => {
            skb::test_run(process, run, prog_type)
        }
        RawTracepoint | RawTracepointWritable => bytes::raw_tracepoint(process, run),
        Syscall => bytes::syscall(process, run),
        FlowDissector => flow::flow_dissector(process, run),
        SkLookup => flow::sk_lookup(process, run),
        Netfilter => netfilter::test_run(process, run),
        Tracing | StructOps => {
            Err(TestRunError::Unsupported(format!("test-run of {prog_type} programs is not there")))
        }
        Unspec | Kprobe | Tracepoint | PerfEvent | CgroupSock | SockOps | SkSkb | CgroupDevice | SkMsg
        | CgroupSockAddr | LwtSeg6local | LircMode2 | SkReuseport | CgroupSysctl | CgroupSockopt | Ext
        | Lsm => refuse(Errno::ENOTSUPP, &format!("the kernel has no test-run for {prog_type} programs")),
    }?;
    settle(process)?;
    Ok(answer)
}

/// What passes between a run and whoever looks at its maps, in nanoseconds: timers that were to run at once have run by then.
const SETTLE_NS: u64 = 20_000;
/// The most callbacks of timers and work in that time: of one that starts itself again at once.
const SETTLE_CALLS_MAX: u32 = 64;

/// Runs what timers and work the program left behind for right after it.
fn settle(process: &Process) -> Result<(), TestRunError> {
    let vm = process.vm().clone();
    let Some(linux) = vm.emulator_as::<Linux>() else { return Ok(()) };
    let until_ns = linux.clock().now_ns().saturating_add(SETTLE_NS);
    linux.run_until(&vm, until_ns, SETTLE_CALLS_MAX)?;
    Ok(())
}

fn refuse<T>(errno: Errno, why: &str) -> Result<T, TestRunError> {
    Err(TestRunError::Errno(errno, why.into()))
}

/// Runs as often as asked; each run after the first goes on with what the one before left: `again` says so to the context.
fn repeat<C: Context>(
    process: &mut Process,
    context: &mut C,
    run: &TestRun<'_>,
    again: impl Fn(&mut C),
) -> Result<TestRunOut, TestRunError> {
    let vm = process.vm().clone();
    let now_ns = || vm.emulator_as::<Linux>().map_or(0, |linux| linux.clock().now_ns());
    let start_ns = now_ns();
    let times = run.repeat.max(1);
    let mut out = TestRunOut::default();
    for _ in 0..times {
        let outcome = process.run(context)?;
        (out.retval, out.insns) = (outcome.r0 as u32, outcome.insns);
        again(context);
    }
    let spent_ns = now_ns().saturating_sub(start_ns) / u64::from(times);
    out.duration_ns = u32::try_from(spent_ns).unwrap_or(u32::MAX);
    Ok(out)
}

/// The context that was given, as long as the kernel's: what is longer must be zeros. None if nobody gave or wants one.
fn ctx_init(run: &TestRun<'_>, len: u32) -> Result<Option<Vec<u8>>, TestRunError> {
    const PAGE_LEN: usize = crate::net::PAGE_LEN as usize;
    if run.ctx_in.is_empty() && run.ctx_size_out == 0 {
        return Ok(None);
    }
    let mut ctx = vec![0; len as usize];
    let known = run.ctx_in.len().min(ctx.len());
    let (head, tail) = run.ctx_in.split_at(known);
    if run.ctx_in.len() > PAGE_LEN || tail.iter().any(|byte| *byte != 0) {
        return refuse(Errno::E2BIG, &format!("the context has {len} bytes; what is beyond must be zero"));
    }
    ctx[..known].copy_from_slice(head);
    Ok(Some(ctx))
}

/// Hands the data out. `frags` are the lengths of the fragments at the data's end.
fn finish_data(out: &mut TestRunOut, run: &TestRun<'_>, data: &[u8], frags: &[u32]) {
    let size = data.len() as u32;
    let mut room = size;
    if run.data_size_out != 0 && size > run.data_size_out {
        room = run.data_size_out;
        out.errno = Some(Errno::ENOSPC);
    }
    if run.data_out {
        let frags_len: u32 = frags.iter().sum();
        // Room for the fragments is set aside first, as the kernel does it.
        let Some(linear) = room.checked_sub(frags_len) else {
            // Then nothing at all is written, and the attributes stay as they were.
            (out.retval, out.data_size_out) = (0, run.data_size_out);
            return;
        };
        out.data_out.extend_from_slice(&data[..linear as usize]);
        let mut at = (size - frags_len) as usize;
        for len in frags {
            let left = room - out.data_out.len() as u32;
            let part = left.min(*len) as usize;
            out.data_out.extend_from_slice(&data[at..at + part]);
            at += *len as usize;
        }
    }
    out.data_size_out = size;
}

/// Hands the context out, unless something went wrong before.
fn finish_ctx(out: &mut TestRunOut, run: &TestRun<'_>, ctx: Option<Vec<u8>>) {
    if out.errno.is_some() {
        // It is not written, and its size stays as it was asked.
        out.ctx_size_out = run.ctx_size_out;
    }
    let Some(mut ctx) = ctx.filter(|_| out.errno.is_none() && run.ctx_size_out != 0) else { return };
    out.ctx_size_out = ctx.len() as u32;
    if out.ctx_size_out > run.ctx_size_out {
        ctx.truncate(run.ctx_size_out as usize);
        out.errno = Some(Errno::ENOSPC);
    }
    out.ctx_out = ctx;
}

/// Whether the bytes from `from` up to `to` are zero.
fn is_zero(ctx: &[u8], from: usize, to: usize) -> bool {
    ctx.get(from..to).is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// A number in a context of the guest's byte order.
fn number(ctx: &[u8], off: usize, len: usize, order: ByteOrder) -> u64 {
    let bytes = ctx.get(off..off + len).unwrap_or_default();
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, add),
        ByteOrder::Big => bytes.iter().fold(0, add),
    }
}

/// Sets a number in a context of the guest's byte order.
fn set_number(ctx: &mut [u8], off: usize, len: usize, value: u64, order: ByteOrder) {
    let Some(bytes) = ctx.get_mut(off..off + len) else { return };
    match order {
        ByteOrder::Little => bytes.copy_from_slice(&value.to_le_bytes()[..len]),
        ByteOrder::Big => bytes.copy_from_slice(&value.to_be_bytes()[8 - len..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_guests_order() {
        let mut ctx = vec![0; 8];
        for (order, bytes) in [(ByteOrder::Little, [0, 2, 1, 0]), (ByteOrder::Big, [0, 1, 2, 0])] {
            set_number(&mut ctx, 1, 2, 0x102, order);
            assert_eq!(ctx[..4], bytes);
            assert_eq!(number(&ctx, 1, 2, order), 0x102);
        }
    }
}
