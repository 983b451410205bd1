//! `SecDef`: what the name of a program's section says: its program type, attach type, target and flags.
//!
//! The table mirrors `libbpf`'s documented one (`Documentation/bpf/libbpf/program_types.rst`) as of libbpf 1.6. Names that libbpf took by
//! their beginning before 1.0 (`xdp_prog`, `classifier/x`) are taken so too, after the exact rules.

use mimic_abi::uapi::prog_flags::{BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS};
use mimic_abi::{AttachType, ProgType};

/// What the name of a section says about the programs in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SecDef {
    /// The program type; none for names that say nothing, to be given by who loads the program.
    pub prog_type: Option<ProgType>,
    /// The attach type, where the name implies one.
    pub attach_type: Option<AttachType>,
    /// Loaded without being asked for: no `?` before the name.
    pub autoload: bool,
    /// May sleep (`.s`).
    pub sleepable: bool,
    /// Knows packets in fragments (`xdp.frags`).
    pub frags: bool,
    /// Attaches to a function or type of the kernel's BTF (`fentry`, `lsm`, `tp_btf`, `iter`, …).
    pub attach_btf: bool,
    /// What follows the slash: the function, tracepoint, hook, … to attach to.
    pub target: Option<String>,
    /// Taken by the loose rules of libbpf before 1.0: today's libbpf refuses the name.
    pub loose: bool,
}

impl SecDef {
    /// Reads a section name, `?` included. Every name has an answer.
    ///
    /// ```
    /// use mimic_abi::{AttachType, ProgType};
    /// use mimic_object::SecDef;
    /// let sec = SecDef::parse("?fentry.s/bpf_fentry_test1");
    /// assert_eq!(sec.prog_type, Some(ProgType::Tracing));
    /// assert_eq!(sec.attach_type, Some(AttachType::TraceFentry));
    /// assert_eq!((sec.autoload, sec.sleepable, sec.target.as_deref()), (false, true, Some("bpf_fentry_test1")));
    /// ```
    pub fn parse(name: &str) -> SecDef {
        let (autoload, name) = match name.strip_prefix('?') {
            Some(rest) => (false, rest),
            None => (true, name),
        };
        let exact = TABLE.iter().find(|row| row.matches(name));
        let row = exact.or_else(|| LOOSE.iter().find_map(|prefix| prefix.row(name)));
        let Some(row) = row else {
            return SecDef { autoload, ..SecDef::default() };
        };
        let target = name.get(row.name.len()..).and_then(|rest| rest.strip_prefix('/'));
        SecDef {
            prog_type: Some(row.prog_type),
            attach_type: row.attach_type,
            autoload,
            sleepable: row.flags & SLEEPABLE != 0,
            frags: row.flags & FRAGS != 0,
            attach_btf: row.flags & BTF != 0,
            target: target.filter(|target| !target.is_empty()).map(str::to_owned),
            loose: exact.is_none(),
        }
    }

    /// The flags of `BPF_PROG_LOAD` that go with the name.
    pub fn prog_flags(&self) -> u32 {
        let sleepable = if self.sleepable { BPF_F_SLEEPABLE } else { 0 };
        let frags = if self.frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
        sleepable | frags
    }

    /// Every section name that the exact rules know, with its types: the name, whether `/target` may follow, the program type and the
    /// attach type. For listings.
    pub fn known() -> impl Iterator<Item = (&'static str, bool, ProgType, Option<AttachType>)> {
        TABLE.iter().map(|row| (row.name, row.flags & EXTRA != 0, row.prog_type, row.attach_type))
    }
}

/// `/something` may follow the name.
const EXTRA: u8 = 1;
const SLEEPABLE: u8 = 2;
const FRAGS: u8 = 4;
const BTF: u8 = 8;

struct Row {
    name: &'static str,
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    flags: u8,
}

impl Row {
    fn matches(&self, name: &str) -> bool {
        match name.strip_prefix(self.name) {
            Some("") => true,
            Some(rest) => self.flags & EXTRA != 0 && rest.starts_with('/'),
            None => false,
        }
    }
}

/// A beginning that was enough before libbpf 1.0, and the exact name that it stands for.
struct Loose {
    prefix: &'static str,
    name: &'static str,
}

impl Loose {
    fn row(&self, name: &str) -> Option<&'static Row> {
        name.starts_with(self.prefix).then(|| TABLE.iter().find(|row| row.name == self.name)).flatten()
    }
}

const fn row(name: &'static str, prog_type: ProgType, attach_type: Option<AttachType>, flags: u8) -> Row {
    Row { name, prog_type, attach_type, flags }
}

use AttachType as A;
use ProgType as P;

#[rustfmt::skip]
static TABLE: &[Row] = &[
    row("socket", P::SocketFilter, None, 0),
    row("sk_reuseport/migrate", P::SkReuseport, Some(A::SkReuseportSelectOrMigrate), 0),
    row("sk_reuseport", P::SkReuseport, Some(A::SkReuseportSelect), 0),
    row("kprobe", P::Kprobe, None, EXTRA),
    row("uprobe", P::Kprobe, None, EXTRA),
    row("uprobe.s", P::Kprobe, None, EXTRA | SLEEPABLE),
    row("kretprobe", P::Kprobe, None, EXTRA),
    row("uretprobe", P::Kprobe, None, EXTRA),
    row("uretprobe.s", P::Kprobe, None, EXTRA | SLEEPABLE),
    row("kprobe.multi", P::Kprobe, Some(A::TraceKprobeMulti), EXTRA),
    row("kretprobe.multi", P::Kprobe, Some(A::TraceKprobeMulti), EXTRA),
    row("kprobe.session", P::Kprobe, Some(A::TraceKprobeSession), EXTRA),
    row("uprobe.multi", P::Kprobe, Some(A::TraceUprobeMulti), EXTRA),
    row("uretprobe.multi", P::Kprobe, Some(A::TraceUprobeMulti), EXTRA),
    row("uprobe.session", P::Kprobe, Some(A::TraceUprobeSession), EXTRA),
    row("uprobe.multi.s", P::Kprobe, Some(A::TraceUprobeMulti), EXTRA | SLEEPABLE),
    row("uretprobe.multi.s", P::Kprobe, Some(A::TraceUprobeMulti), EXTRA | SLEEPABLE),
    row("uprobe.session.s", P::Kprobe, Some(A::TraceUprobeSession), EXTRA | SLEEPABLE),
    row("ksyscall", P::Kprobe, None, EXTRA),
    row("kretsyscall", P::Kprobe, None, EXTRA),
    row("usdt", P::Kprobe, None, EXTRA),
    row("usdt.s", P::Kprobe, None, EXTRA | SLEEPABLE),
    row("tc/ingress", P::SchedCls, Some(A::TcxIngress), 0),
    row("tc/egress", P::SchedCls, Some(A::TcxEgress), 0),
    row("tcx/ingress", P::SchedCls, Some(A::TcxIngress), 0),
    row("tcx/egress", P::SchedCls, Some(A::TcxEgress), 0),
    row("tc", P::SchedCls, None, 0),
    row("classifier", P::SchedCls, None, 0),
    row("action", P::SchedAct, None, 0),
    row("netkit/primary", P::SchedCls, Some(A::NetkitPrimary), 0),
    row("netkit/peer", P::SchedCls, Some(A::NetkitPeer), 0),
    row("tracepoint", P::Tracepoint, None, EXTRA),
    row("tp", P::Tracepoint, None, EXTRA),
    row("raw_tracepoint", P::RawTracepoint, None, EXTRA),
    row("raw_tp", P::RawTracepoint, None, EXTRA),
    row("raw_tracepoint.w", P::RawTracepointWritable, None, EXTRA),
    row("raw_tp.w", P::RawTracepointWritable, None, EXTRA),
    row("tp_btf", P::Tracing, Some(A::TraceRawTp), EXTRA | BTF),
    row("fentry", P::Tracing, Some(A::TraceFentry), EXTRA | BTF),
    row("fmod_ret", P::Tracing, Some(A::ModifyReturn), EXTRA | BTF),
    row("fexit", P::Tracing, Some(A::TraceFexit), EXTRA | BTF),
    row("fentry.s", P::Tracing, Some(A::TraceFentry), EXTRA | BTF | SLEEPABLE),
    row("fmod_ret.s", P::Tracing, Some(A::ModifyReturn), EXTRA | BTF | SLEEPABLE),
    row("fexit.s", P::Tracing, Some(A::TraceFexit), EXTRA | BTF | SLEEPABLE),
    row("freplace", P::Ext, None, EXTRA | BTF),
    row("lsm", P::Lsm, Some(A::LsmMac), EXTRA | BTF),
    row("lsm.s", P::Lsm, Some(A::LsmMac), EXTRA | BTF | SLEEPABLE),
    row("lsm_cgroup", P::Lsm, Some(A::LsmCgroup), EXTRA | BTF),
    row("iter", P::Tracing, Some(A::TraceIter), EXTRA | BTF),
    row("iter.s", P::Tracing, Some(A::TraceIter), EXTRA | BTF | SLEEPABLE),
    row("syscall", P::Syscall, None, SLEEPABLE),
    row("xdp.frags/devmap", P::Xdp, Some(A::XdpDevmap), FRAGS),
    row("xdp/devmap", P::Xdp, Some(A::XdpDevmap), 0),
    row("xdp.frags/cpumap", P::Xdp, Some(A::XdpCpumap), FRAGS),
    row("xdp/cpumap", P::Xdp, Some(A::XdpCpumap), 0),
    row("xdp.frags", P::Xdp, Some(A::Xdp), FRAGS),
    row("xdp", P::Xdp, Some(A::Xdp), 0),
    row("perf_event", P::PerfEvent, None, 0),
    row("lwt_in", P::LwtIn, None, 0),
    row("lwt_out", P::LwtOut, None, 0),
    row("lwt_xmit", P::LwtXmit, None, 0),
    row("lwt_seg6local", P::LwtSeg6local, None, 0),
    row("sockops", P::SockOps, Some(A::CgroupSockOps), 0),
    row("sk_skb/stream_parser", P::SkSkb, Some(A::SkSkbStreamParser), 0),
    row("sk_skb/stream_verdict", P::SkSkb, Some(A::SkSkbStreamVerdict), 0),
    row("sk_skb/verdict", P::SkSkb, Some(A::SkSkbVerdict), 0),
    row("sk_skb", P::SkSkb, None, 0),
    row("sk_msg", P::SkMsg, Some(A::SkMsgVerdict), 0),
    row("lirc_mode2", P::LircMode2, Some(A::LircMode2), 0),
    row("flow_dissector", P::FlowDissector, Some(A::FlowDissector), 0),
    row("cgroup_skb/ingress", P::CgroupSkb, Some(A::CgroupInetIngress), 0),
    row("cgroup_skb/egress", P::CgroupSkb, Some(A::CgroupInetEgress), 0),
    row("cgroup/skb", P::CgroupSkb, None, 0),
    row("cgroup/sock_create", P::CgroupSock, Some(A::CgroupInetSockCreate), 0),
    row("cgroup/sock_release", P::CgroupSock, Some(A::CgroupInetSockRelease), 0),
    row("cgroup/sock", P::CgroupSock, Some(A::CgroupInetSockCreate), 0),
    row("cgroup/post_bind4", P::CgroupSock, Some(A::CgroupInet4PostBind), 0),
    row("cgroup/post_bind6", P::CgroupSock, Some(A::CgroupInet6PostBind), 0),
    row("cgroup/bind4", P::CgroupSockAddr, Some(A::CgroupInet4Bind), 0),
    row("cgroup/bind6", P::CgroupSockAddr, Some(A::CgroupInet6Bind), 0),
    row("cgroup/connect4", P::CgroupSockAddr, Some(A::CgroupInet4Connect), 0),
    row("cgroup/connect6", P::CgroupSockAddr, Some(A::CgroupInet6Connect), 0),
    row("cgroup/connect_unix", P::CgroupSockAddr, Some(A::CgroupUnixConnect), 0),
    row("cgroup/sendmsg4", P::CgroupSockAddr, Some(A::CgroupUdp4Sendmsg), 0),
    row("cgroup/sendmsg6", P::CgroupSockAddr, Some(A::CgroupUdp6Sendmsg), 0),
    row("cgroup/sendmsg_unix", P::CgroupSockAddr, Some(A::CgroupUnixSendmsg), 0),
    row("cgroup/recvmsg4", P::CgroupSockAddr, Some(A::CgroupUdp4Recvmsg), 0),
    row("cgroup/recvmsg6", P::CgroupSockAddr, Some(A::CgroupUdp6Recvmsg), 0),
    row("cgroup/recvmsg_unix", P::CgroupSockAddr, Some(A::CgroupUnixRecvmsg), 0),
    row("cgroup/getpeername4", P::CgroupSockAddr, Some(A::CgroupInet4Getpeername), 0),
    row("cgroup/getpeername6", P::CgroupSockAddr, Some(A::CgroupInet6Getpeername), 0),
    row("cgroup/getpeername_unix", P::CgroupSockAddr, Some(A::CgroupUnixGetpeername), 0),
    row("cgroup/getsockname4", P::CgroupSockAddr, Some(A::CgroupInet4Getsockname), 0),
    row("cgroup/getsockname6", P::CgroupSockAddr, Some(A::CgroupInet6Getsockname), 0),
    row("cgroup/getsockname_unix", P::CgroupSockAddr, Some(A::CgroupUnixGetsockname), 0),
    row("cgroup/sysctl", P::CgroupSysctl, Some(A::CgroupSysctl), 0),
    row("cgroup/getsockopt", P::CgroupSockopt, Some(A::CgroupGetsockopt), 0),
    row("cgroup/setsockopt", P::CgroupSockopt, Some(A::CgroupSetsockopt), 0),
    row("cgroup/dev", P::CgroupDevice, Some(A::CgroupDevice), 0),
    row("struct_ops", P::StructOps, None, EXTRA),
    row("struct_ops.s", P::StructOps, None, EXTRA | SLEEPABLE),
    row("sk_lookup", P::SkLookup, Some(A::SkLookup), 0),
    row("netfilter", P::Netfilter, Some(A::Netfilter), 0),
];

/// Longer ones first where one begins another.
#[rustfmt::skip]
static LOOSE: &[Loose] = &[
    Loose { prefix: "xdp_devmap", name: "xdp/devmap" },
    Loose { prefix: "xdp_cpumap", name: "xdp/cpumap" },
    Loose { prefix: "sk_skb/stream_parser", name: "sk_skb/stream_parser" },
    Loose { prefix: "sk_skb/stream_verdict", name: "sk_skb/stream_verdict" },
    Loose { prefix: "cgroup_skb/ingress", name: "cgroup_skb/ingress" },
    Loose { prefix: "cgroup_skb/egress", name: "cgroup_skb/egress" },
    Loose { prefix: "cgroup/skb", name: "cgroup/skb" },
    Loose { prefix: "cgroup/sock", name: "cgroup/sock" },
    Loose { prefix: "cgroup/dev", name: "cgroup/dev" },
    Loose { prefix: "sk_reuseport", name: "sk_reuseport" },
    Loose { prefix: "sk_lookup", name: "sk_lookup" },
    Loose { prefix: "socket", name: "socket" },
    Loose { prefix: "classifier", name: "classifier" },
    Loose { prefix: "action", name: "action" },
    Loose { prefix: "tc", name: "tc" },
    Loose { prefix: "xdp", name: "xdp" },
    Loose { prefix: "perf_event", name: "perf_event" },
    Loose { prefix: "lwt_in", name: "lwt_in" },
    Loose { prefix: "lwt_out", name: "lwt_out" },
    Loose { prefix: "lwt_xmit", name: "lwt_xmit" },
    Loose { prefix: "lwt_seg6local", name: "lwt_seg6local" },
    Loose { prefix: "sockops", name: "sockops" },
    Loose { prefix: "sk_skb", name: "sk_skb" },
    Loose { prefix: "sk_msg", name: "sk_msg" },
    Loose { prefix: "lirc_mode2", name: "lirc_mode2" },
    Loose { prefix: "flow_dissector", name: "flow_dissector" },
];
