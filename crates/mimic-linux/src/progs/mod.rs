//! Linux's program types: contexts, their layouts, what return values mean, and `BPF_PROG_TEST_RUN`.

pub mod cgroup;
pub mod layout;

mod flow_keys;
mod func_model;
mod iter;
mod iter_target;
mod kprobe;
mod lsm;
mod packet_load;
mod perf_event;
mod program_tracer;
mod raw;
mod seq_file;
mod sk_lookup;
mod sk_msg;
mod sk_reuseport;
mod skb;
mod sock_ops;
mod test_run;
mod tracepoint;
mod tracing;
mod trampoline;
mod types;
mod xdp;

pub use cgroup::{
    CgroupContext, DeviceContext, DeviceKind, SetsockoptEnd, SockAddr, SockAddrContext, SockContext,
    SockoptContext, SysctlContext, run_cgroup,
};
pub use flow_keys::{FLOW_KEYS_LEN, FlowKeys};
pub use func_model::{FuncModel, ModelError, Value};
pub use iter::{ITER_TEXT_MAX, IterContext, IterOut, read_iter};
pub use iter_target::{CgroupOrder, IterError, IterLink, run_iter};
pub(crate) use kprobe::SESSION_COOKIE;
pub use kprobe::{Arch, KprobeContext};
pub use lsm::{LSM_BOOL, LSM_DISABLED, LsmError, LsmHook};
pub use packet_load::packet_load;
pub use perf_event::{Branch, Counter, PerfEventContext};
pub use program_tracer::{ProgramTracer, TracerError};
pub use raw::RawTracepointContext;
pub use seq_file::SeqFile;
pub use sk_lookup::{SkLookup, SkLookupContext};
pub use sk_msg::{SkMsg, SkMsgContext};
pub(crate) use sk_reuseport::From as ReuseportFrom;
pub use sk_reuseport::{SkReuseport, SkReuseportContext};
pub use skb::{NF_HOOK_STATE_LEN, NfHook, SkbContext, SkbFields, SkbStart};
pub(crate) use sock_ops::{OP_HDR_OPT_LEN, OP_WRITE_HDR_OPT, TCP_LEN};
pub use sock_ops::{SOCK_OPS, SockOpsContext, SockOpsResult};
pub use test_run::{
    BPF_F_TEST_RUN_ON_CPU, BPF_F_TEST_SKB_CHECKSUM_COMPLETE, BPF_F_TEST_XDP_LIVE_FRAMES, TestRun,
    TestRunError, TestRunOut, test_run,
};
pub use tracepoint::{TracepointContext, TracepointField, TracepointFormat};
pub use tracing::{Arg, TracePoint, TracingContext};
pub use trampoline::{Traced, Trampoline};
pub use types::{CGROUP_SKB_CODES, LWT_CODES, PROG_TYPES, TC_ACTIONS, XDP_ACTIONS, spec};
pub use xdp::{RxMetadata, Xdp, XdpContext};

use crate::world::Socket;
use mimic_abi::ProgType;
use mimic_object::{Program, RefTarget};
use mimic_vm::{Context, RawContext};

/// The context that a program of this type gets for a packet, when nothing else is said: a received Ethernet frame for types that see
/// packets, plain bytes for others.
pub fn context_for_packet(prog_type: Option<ProgType>, frame: &[u8]) -> Box<dyn Context> {
    use ProgType::*;
    match prog_type {
        Some(Xdp) => Box::new(XdpContext::packet(frame)),
        Some(
            SchedCls | SchedAct | SocketFilter | CgroupSkb | LwtIn | LwtOut | LwtXmit | LwtSeg6local
            | FlowDissector | SkSkb,
        ) => Box::new(SkbContext::packet(frame)),
        Some(Netfilter) => {
            let pf = if crate::net::eth::protocol(frame) == crate::net::eth::ETH_P_IPV6 { 10 } else { 2 };
            let mut context = SkbContext::packet(frame);
            context.hook = NfHook { pf, in_ifindex: 1, ..NfHook::default() };
            Box::new(context)
        }
        Some(SkReuseport) => Box::new(SkReuseportContext::packet(frame, Socket::default())),
        Some(SkMsg) => Box::new(SkMsgContext::new(frame, Socket::default())),
        Some(_) | None => Box::new(RawContext::with_len(frame)),
    }
}

/// Whether a program looks into kernel objects by fault-safe loads, to which nothing reads as zero: those of types that do nothing else, and
/// those that ask for a pointer as a kernel's structure.
pub(crate) fn probe_loads(program: &Program) -> bool {
    use ProgType::*;
    const CASTS: [&str; 2] = ["bpf_rdonly_cast", "bpf_cast_to_kern_ctx"];
    let casts = |target: &RefTarget| matches!(target, RefTarget::Kfunc { name, .. } if CASTS.contains(&name.as_str()));
    if program.refs.iter().any(|reference| casts(&reference.target)) {
        return true;
    }
    matches!(
        program.prog_type,
        Some(
            Kprobe
                | Tracepoint
                | PerfEvent
                | RawTracepoint
                | RawTracepointWritable
                | Tracing
                | Lsm
                | StructOps
                | Ext
                | Syscall
        )
    )
}
