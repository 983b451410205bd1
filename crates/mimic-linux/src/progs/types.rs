//! The table of program types, one row each.

use super::{cgroup::layout as cgroup, layout, perf_event};
use mimic_abi::{AttachType, Packet, ProgType, ProgTypeSpec, RetRange, Returns, Support};

/// What XDP programs return, `enum xdp_action`.
pub const XDP_ACTIONS: &[(i32, &str)] =
    &[(0, "XDP_ABORTED"), (1, "XDP_DROP"), (2, "XDP_PASS"), (3, "XDP_TX"), (4, "XDP_REDIRECT")];
/// What tc programs return, `TC_ACT_*` of `linux/pkt_cls.h`.
pub const TC_ACTIONS: &[(i32, &str)] = &[
    (-1, "TC_ACT_UNSPEC"),
    (0, "TC_ACT_OK"),
    (1, "TC_ACT_RECLASSIFY"),
    (2, "TC_ACT_SHOT"),
    (3, "TC_ACT_PIPE"),
    (4, "TC_ACT_STOLEN"),
    (5, "TC_ACT_QUEUED"),
    (6, "TC_ACT_REPEAT"),
    (7, "TC_ACT_REDIRECT"),
    (8, "TC_ACT_TRAP"),
];
/// What programs of lightweight tunnels return, `enum bpf_ret_code`.
pub const LWT_CODES: &[(i32, &str)] =
    &[(0, "BPF_OK"), (2, "BPF_DROP"), (7, "BPF_REDIRECT"), (128, "BPF_LWT_REROUTE")];
const FLOW_CODES: &[(i32, &str)] = &[(0, "BPF_OK"), (2, "BPF_DROP"), (129, "BPF_FLOW_DISSECTOR_CONTINUE")];
/// What cgroup_skb programs return; 2 and 3 also signal congestion, at egress.
pub const CGROUP_SKB_CODES: &[(i32, &str)] = &[(0, "deny"), (1, "allow"), (2, "deny+cn"), (3, "allow+cn")];
const CGROUP_CODES: &[(i32, &str)] = &[(0, "deny"), (1, "allow")];
/// At bind the second bit lets the task bind to ports below 1024.
const CGROUP_BIND_CODES: &[(i32, &str)] = &[(0, "deny"), (1, "allow"), (2, "deny+bind"), (3, "allow+bind")];
const SK_ACTIONS: &[(i32, &str)] = &[(0, "SK_DROP"), (1, "SK_PASS")];
const NF_VERDICTS: &[(i32, &str)] = &[(0, "NF_DROP"), (1, "NF_ACCEPT")];

const STATED: Support = Support::Partial(
    "operations are called by who runs them (Loaded::struct_ops), with arguments by their prototypes; no subsystem calls them by itself",
);
const EVENTS: Support = Support::Partial(
    "the event is stated by who runs it, and its outcome recorded: the world's sockets send and receive nothing",
);

const PROBES: Support = Support::Partial(
    "registers of x86-64 or arm64 are stated by who runs it, and only read; nothing is probed",
);
const RECORDS: Support = Support::Partial("the record is stated by who runs it, in the format of tracefs");

const ALLOW: Option<RetRange> = Some(RetRange::new(1, 1));
const SOCK_ADDR_RANGES: &[(AttachType, Option<RetRange>)] = &[
    (AttachType::CgroupInet4Bind, Some(RetRange::new(0, 3))),
    (AttachType::CgroupInet6Bind, Some(RetRange::new(0, 3))),
    (AttachType::CgroupUdp4Recvmsg, ALLOW),
    (AttachType::CgroupUdp6Recvmsg, ALLOW),
    (AttachType::CgroupUnixRecvmsg, ALLOW),
    (AttachType::CgroupInet4Getpeername, ALLOW),
    (AttachType::CgroupInet6Getpeername, ALLOW),
    (AttachType::CgroupUnixGetpeername, ALLOW),
    (AttachType::CgroupInet4Getsockname, ALLOW),
    (AttachType::CgroupInet6Getsockname, ALLOW),
    (AttachType::CgroupUnixGetsockname, ALLOW),
];

/// Every program type that loads, by rising number.
pub static PROG_TYPES: &[ProgTypeSpec] = &[
    ProgTypeSpec::new(ProgType::SocketFilter, "what a socket receives: how much of a packet to keep")
        .context(layout::SK_BUFF_FILTER)
        .returns(Returns::Length)
        .test_run(),
    ProgTypeSpec::new(ProgType::Kprobe, "the registers at a probed kernel or user function")
        .attach(&[
            AttachType::TraceKprobeMulti,
            AttachType::TraceUprobeMulti,
            AttachType::TraceKprobeSession,
            AttachType::TraceUprobeSession,
        ])
        .ranges(&[
            (AttachType::TraceKprobeSession, Some(RetRange::new(0, 1))),
            (AttachType::TraceUprobeSession, Some(RetRange::new(0, 1))),
        ])
        .since(4, 1)
        .context(layout::PT_REGS_X86_64)
        .support(PROBES),
    ProgTypeSpec::new(ProgType::SchedCls, "tc classifier: packets that enter or leave a device")
        .attach(&[
            AttachType::TcxIngress,
            AttachType::TcxEgress,
            AttachType::NetkitPrimary,
            AttachType::NetkitPeer,
        ])
        .context(layout::SK_BUFF_TC)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(TC_ACTIONS))
        .test_run()
        .since(4, 1),
    ProgTypeSpec::new(ProgType::SchedAct, "tc action: packets that a classifier chose")
        .context(layout::SK_BUFF_TC)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(TC_ACTIONS))
        .test_run()
        .since(4, 1),
    ProgTypeSpec::new(ProgType::Tracepoint, "the record of a tracepoint").since(4, 7).support(RECORDS),
    ProgTypeSpec::new(ProgType::Xdp, "packets as the driver receives them")
        .attach(&[AttachType::Xdp, AttachType::XdpDevmap, AttachType::XdpCpumap])
        .context(layout::XDP_MD)
        .contexts(&[(AttachType::XdpDevmap, layout::XDP_MD_DEVMAP)])
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(XDP_ACTIONS))
        .test_run()
        .since(4, 8),
    ProgTypeSpec::new(ProgType::PerfEvent, "the registers when a perf event overflows")
        .attach(&[AttachType::PerfEvent])
        .since(4, 9)
        .context(perf_event::LAYOUT)
        .support(Support::Partial("the registers of x86-64")),
    ProgTypeSpec::new(ProgType::CgroupSkb, "packets of a cgroup's sockets")
        .attach(&[AttachType::CgroupInetIngress, AttachType::CgroupInetEgress])
        .context(layout::SK_BUFF_CGROUP)
        .packet(Packet::Read)
        .returns(Returns::Verdict(CGROUP_SKB_CODES))
        .range(0, 1)
        .ranges(&[(AttachType::CgroupInetEgress, Some(RetRange::new(0, 3)))])
        .test_run()
        .since(4, 10),
    ProgTypeSpec::new(ProgType::CgroupSock, "sockets that a cgroup makes and binds")
        .attach(&[
            AttachType::CgroupInetSockCreate,
            AttachType::CgroupInetSockRelease,
            AttachType::CgroupInet4PostBind,
            AttachType::CgroupInet6PostBind,
        ])
                .context(cgroup::SOCK_CREATE)
        .contexts(cgroup::SOCKS)
        .returns(Returns::Verdict(CGROUP_CODES))
        .range(0, 1)
        .since(4, 10),
    ProgTypeSpec::new(ProgType::LwtIn, "packets that a route takes in")
        .context(layout::SK_BUFF_LWT)
        .packet(Packet::Read)
        .returns(Returns::Verdict(LWT_CODES))
        .test_run()
        .since(4, 10),
    ProgTypeSpec::new(ProgType::LwtOut, "packets that a route sends out")
        .context(layout::SK_BUFF_LWT)
        .packet(Packet::Read)
        .returns(Returns::Verdict(LWT_CODES))
        .test_run()
        .since(4, 10),
    ProgTypeSpec::new(ProgType::LwtXmit, "packets that a route transmits")
        .context(layout::SK_BUFF_LWT)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(LWT_CODES))
        .test_run()
        .since(4, 10),
    ProgTypeSpec::new(ProgType::SockOps, "events in the life of a TCP connection")
        .attach(&[AttachType::CgroupSockOps])
        .range(0, 1)
        .context(layout::SOCK_OPS)
        .packet(Packet::Read)
        .since(4, 13)
        .support(EVENTS),
    ProgTypeSpec::new(ProgType::SkSkb, "what a socket of a sock map receives")
        .attach(&[
            AttachType::SkSkbStreamParser,
            AttachType::SkSkbStreamVerdict,
            AttachType::SkSkbVerdict,
        ])
        .context(layout::SK_BUFF_SK_SKB)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(SK_ACTIONS))
        .since(4, 14)
        .support(EVENTS),
    ProgTypeSpec::new(ProgType::CgroupDevice, "a cgroup's access to devices")
        .attach(&[AttachType::CgroupDevice])
        .context(cgroup::DEVICE)
        .returns(Returns::Verdict(CGROUP_CODES))
        .range(0, 1)
        .since(4, 15),
    ProgTypeSpec::new(ProgType::SkMsg, "what a socket of a sock map sends")
        .attach(&[AttachType::SkMsgVerdict])
        .context(layout::SK_MSG)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(SK_ACTIONS))
        .since(4, 17)
        .support(EVENTS),
    ProgTypeSpec::new(ProgType::RawTracepoint, "the arguments of a tracepoint").test_run().since(4, 17),
    ProgTypeSpec::new(ProgType::CgroupSockAddr, "addresses that a cgroup's sockets bind, connect and send to")
        .attach(&[
            AttachType::CgroupInet4Bind,
            AttachType::CgroupInet6Bind,
            AttachType::CgroupInet4Connect,
            AttachType::CgroupInet6Connect,
            AttachType::CgroupUnixConnect,
            AttachType::CgroupUdp4Sendmsg,
            AttachType::CgroupUdp6Sendmsg,
            AttachType::CgroupUnixSendmsg,
            AttachType::CgroupUdp4Recvmsg,
            AttachType::CgroupUdp6Recvmsg,
            AttachType::CgroupUnixRecvmsg,
            AttachType::CgroupInet4Getpeername,
            AttachType::CgroupInet6Getpeername,
            AttachType::CgroupUnixGetpeername,
            AttachType::CgroupInet4Getsockname,
            AttachType::CgroupInet6Getsockname,
            AttachType::CgroupUnixGetsockname,
        ])
        .context(cgroup::SOCK_ADDR)
        .contexts(cgroup::SOCK_ADDRS)
        .returns(Returns::Verdict(CGROUP_BIND_CODES))
        .range(0, 1)
        .ranges(SOCK_ADDR_RANGES)
        .since(4, 17),
    ProgTypeSpec::new(ProgType::LwtSeg6local, "packets of an SRv6 local segment")
        .context(layout::SK_BUFF_LWT)
        .packet(Packet::Read)
        .returns(Returns::Verdict(LWT_CODES))
        .since(4, 18),
    ProgTypeSpec::new(ProgType::LircMode2, "infrared pulses").attach(&[AttachType::LircMode2]).since(4, 18),
    ProgTypeSpec::new(ProgType::SkReuseport, "which socket of a group receives a packet")
        .attach(&[AttachType::SkReuseportSelect, AttachType::SkReuseportSelectOrMigrate])
        .context(layout::SK_REUSEPORT)
        .packet(Packet::Read)
        .returns(Returns::Verdict(SK_ACTIONS))
        .since(4, 19)
        .support(EVENTS),
    ProgTypeSpec::new(ProgType::FlowDissector, "the keys of a packet's flow")
        .attach(&[AttachType::FlowDissector])
        .context(layout::SK_BUFF_FLOW)
        .packet(Packet::Read)
        .returns(Returns::Verdict(FLOW_CODES))
        .test_run()
        .since(4, 20)
        .support(Support::Partial("runs and test-run; packets that other programs get are not dissected by it")),
    ProgTypeSpec::new(ProgType::CgroupSysctl, "a cgroup's reads and writes of sysctls")
        .attach(&[AttachType::CgroupSysctl])
        .context(cgroup::SYSCTL)
        .returns(Returns::Verdict(CGROUP_CODES))
        .range(0, 1)
        .since(5, 2),
    ProgTypeSpec::new(ProgType::RawTracepointWritable, "the arguments of a tracepoint, with a buffer to write")
        .test_run()
        .since(5, 2),
    ProgTypeSpec::new(ProgType::CgroupSockopt, "a cgroup's getsockopt and setsockopt")
        .attach(&[AttachType::CgroupGetsockopt, AttachType::CgroupSetsockopt])
        .context(cgroup::SETSOCKOPT)
        .contexts(cgroup::SOCKOPTS)
        .packet(Packet::ReadWrite)
        .returns(Returns::Verdict(CGROUP_CODES))
        .range(0, 1)
        .since(5, 3),
    ProgTypeSpec::new(ProgType::Tracing, "the arguments of a kernel function, with their types")
        .attach(&[
            AttachType::TraceRawTp,
            AttachType::TraceFentry,
            AttachType::TraceFexit,
            AttachType::ModifyReturn,
            AttachType::TraceIter,
        ])
        .range(0, 1)
        .ranges(&[
            (AttachType::TraceFentry, Some(RetRange::new(0, 0))),
            (AttachType::TraceFexit, Some(RetRange::new(0, 0))),
            (AttachType::TraceRawTp, None),
            (AttachType::ModifyReturn, None),
        ])
        .test_run()
        .since(5, 5)
        .support(Support::Partial("the traced function is not called: arguments and return value are stated")),
    ProgTypeSpec::new(ProgType::StructOps, "an operation of a kernel subsystem")
        .test_run()
        .since(5, 6)
        .support(STATED),
    ProgTypeSpec::new(ProgType::Ext, "another program's function, replaced").since(5, 6).support(Support::Partial(
        "put in place by Loaded::replace, for whoever takes the program from then on; slots of program arrays that users filled keep the old one",
    )),
    ProgTypeSpec::new(ProgType::Lsm, "a security hook")
        .attach(&[AttachType::LsmMac, AttachType::LsmCgroup])
        .ranges(&[(AttachType::LsmCgroup, Some(RetRange::new(0, 1)))])
        .since(5, 7)
        .support(Support::Partial(
            "hooks are asked by who runs them (LsmHook): nothing that tasks of the world do asks them by itself",
        )),
    ProgTypeSpec::new(ProgType::SkLookup, "which socket receives a packet or connection")
        .attach(&[AttachType::SkLookup])
        .context(layout::SK_LOOKUP)
        .returns(Returns::Verdict(SK_ACTIONS))
        .range(0, 1)
        .test_run()
        .since(5, 9),
    ProgTypeSpec::new(ProgType::Syscall, "a buffer of the caller's").test_run().since(5, 14),
    ProgTypeSpec::new(ProgType::Netfilter, "packets at a netfilter hook")
        .attach(&[AttachType::Netfilter])
        .context(layout::NF_CTX)
        .packet(Packet::Read)
        .returns(Returns::Verdict(NF_VERDICTS))
        .range(0, 1)
        .test_run()
        .since(6, 4)
        .support(Support::Partial(
            "the packet by bpf_dynptr_from_skb; reads of struct sk_buff are faults",
        )),
];

/// The row of a program type.
pub fn spec(prog_type: ProgType) -> Option<&'static ProgTypeSpec> {
    PROG_TYPES.iter().find(|row| row.prog_type == prog_type)
}
