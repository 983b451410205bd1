//! The numbers and names of `uapi/linux/bpf.h`: program, attach and map types, and the flags of maps and loads.
//!
//! As of Linux 6.18, and what 6.19 adds to map types. Numbers that are not here are not errors by themselves: an object
//! keeps the raw number, and who makes the map or loads the program refuses it.

use core::fmt;

/// A number that `uapi/linux/bpf.h` gives no meaning to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownId {
    /// What the number was taken for: `program type`, `attach type` or `map type`.
    pub what: &'static str,
    /// The number.
    pub id: u32,
}

impl fmt::Display for UnknownId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no {} that Linux knows", self.id, self.what)
    }
}

impl core::error::Error for UnknownId {}

macro_rules! uapi_enum {
    ($(#[$doc:meta])* pub enum $name:ident ($what:literal) { $($row:ident = $id:literal, $uapi:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name {
            $(#[doc = concat!("`", $uapi, "`")] $row = $id,)*
        }

        impl $name {
            /// Every one, by rising number.
            pub const ALL: &'static [$name] = &[$($name::$row),*];

            /// The number.
            pub const fn id(self) -> u32 {
                self as u32
            }

            /// The kernel's spelling, as in the header.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$row => $uapi,)*
                }
            }

            /// The short spelling that bpftool prints and takes.
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$row => $word,)*
                }
            }

            /// The one with this spelling, the kernel's or the short one.
            pub fn by_name(name: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|row| row.word() == name || row.name() == name)
            }
        }

        impl TryFrom<u32> for $name {
            type Error = UnknownId;

            fn try_from(id: u32) -> Result<$name, UnknownId> {
                match id {
                    $($id => Ok($name::$row),)*
                    _ => Err(UnknownId { what: $what, id }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

uapi_enum! {
    /// What a program is, `enum bpf_prog_type`: decides its context, helpers and return values.
    pub enum ProgType ("program type") {
        Unspec = 0, "BPF_PROG_TYPE_UNSPEC", "unspec";
        SocketFilter = 1, "BPF_PROG_TYPE_SOCKET_FILTER", "socket_filter";
        Kprobe = 2, "BPF_PROG_TYPE_KPROBE", "kprobe";
        SchedCls = 3, "BPF_PROG_TYPE_SCHED_CLS", "sched_cls";
        SchedAct = 4, "BPF_PROG_TYPE_SCHED_ACT", "sched_act";
        Tracepoint = 5, "BPF_PROG_TYPE_TRACEPOINT", "tracepoint";
        Xdp = 6, "BPF_PROG_TYPE_XDP", "xdp";
        PerfEvent = 7, "BPF_PROG_TYPE_PERF_EVENT", "perf_event";
        CgroupSkb = 8, "BPF_PROG_TYPE_CGROUP_SKB", "cgroup_skb";
        CgroupSock = 9, "BPF_PROG_TYPE_CGROUP_SOCK", "cgroup_sock";
        LwtIn = 10, "BPF_PROG_TYPE_LWT_IN", "lwt_in";
        LwtOut = 11, "BPF_PROG_TYPE_LWT_OUT", "lwt_out";
        LwtXmit = 12, "BPF_PROG_TYPE_LWT_XMIT", "lwt_xmit";
        SockOps = 13, "BPF_PROG_TYPE_SOCK_OPS", "sock_ops";
        SkSkb = 14, "BPF_PROG_TYPE_SK_SKB", "sk_skb";
        CgroupDevice = 15, "BPF_PROG_TYPE_CGROUP_DEVICE", "cgroup_device";
        SkMsg = 16, "BPF_PROG_TYPE_SK_MSG", "sk_msg";
        RawTracepoint = 17, "BPF_PROG_TYPE_RAW_TRACEPOINT", "raw_tracepoint";
        CgroupSockAddr = 18, "BPF_PROG_TYPE_CGROUP_SOCK_ADDR", "cgroup_sock_addr";
        LwtSeg6local = 19, "BPF_PROG_TYPE_LWT_SEG6LOCAL", "lwt_seg6local";
        LircMode2 = 20, "BPF_PROG_TYPE_LIRC_MODE2", "lirc_mode2";
        SkReuseport = 21, "BPF_PROG_TYPE_SK_REUSEPORT", "sk_reuseport";
        FlowDissector = 22, "BPF_PROG_TYPE_FLOW_DISSECTOR", "flow_dissector";
        CgroupSysctl = 23, "BPF_PROG_TYPE_CGROUP_SYSCTL", "cgroup_sysctl";
        RawTracepointWritable = 24, "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "raw_tracepoint_writable";
        CgroupSockopt = 25, "BPF_PROG_TYPE_CGROUP_SOCKOPT", "cgroup_sockopt";
        Tracing = 26, "BPF_PROG_TYPE_TRACING", "tracing";
        StructOps = 27, "BPF_PROG_TYPE_STRUCT_OPS", "struct_ops";
        Ext = 28, "BPF_PROG_TYPE_EXT", "ext";
        Lsm = 29, "BPF_PROG_TYPE_LSM", "lsm";
        SkLookup = 30, "BPF_PROG_TYPE_SK_LOOKUP", "sk_lookup";
        Syscall = 31, "BPF_PROG_TYPE_SYSCALL", "syscall";
        Netfilter = 32, "BPF_PROG_TYPE_NETFILTER", "netfilter";
    }
}

uapi_enum! {
    /// Where a program is to be attached, `enum bpf_attach_type`. 0 doubles as "not stated" in the kernel; here that is `None`.
    pub enum AttachType ("attach type") {
        CgroupInetIngress = 0, "BPF_CGROUP_INET_INGRESS", "cgroup_inet_ingress";
        CgroupInetEgress = 1, "BPF_CGROUP_INET_EGRESS", "cgroup_inet_egress";
        CgroupInetSockCreate = 2, "BPF_CGROUP_INET_SOCK_CREATE", "cgroup_inet_sock_create";
        CgroupSockOps = 3, "BPF_CGROUP_SOCK_OPS", "cgroup_sock_ops";
        SkSkbStreamParser = 4, "BPF_SK_SKB_STREAM_PARSER", "sk_skb_stream_parser";
        SkSkbStreamVerdict = 5, "BPF_SK_SKB_STREAM_VERDICT", "sk_skb_stream_verdict";
        CgroupDevice = 6, "BPF_CGROUP_DEVICE", "cgroup_device";
        SkMsgVerdict = 7, "BPF_SK_MSG_VERDICT", "sk_msg_verdict";
        CgroupInet4Bind = 8, "BPF_CGROUP_INET4_BIND", "cgroup_inet4_bind";
        CgroupInet6Bind = 9, "BPF_CGROUP_INET6_BIND", "cgroup_inet6_bind";
        CgroupInet4Connect = 10, "BPF_CGROUP_INET4_CONNECT", "cgroup_inet4_connect";
        CgroupInet6Connect = 11, "BPF_CGROUP_INET6_CONNECT", "cgroup_inet6_connect";
        CgroupInet4PostBind = 12, "BPF_CGROUP_INET4_POST_BIND", "cgroup_inet4_post_bind";
        CgroupInet6PostBind = 13, "BPF_CGROUP_INET6_POST_BIND", "cgroup_inet6_post_bind";
        CgroupUdp4Sendmsg = 14, "BPF_CGROUP_UDP4_SENDMSG", "cgroup_udp4_sendmsg";
        CgroupUdp6Sendmsg = 15, "BPF_CGROUP_UDP6_SENDMSG", "cgroup_udp6_sendmsg";
        LircMode2 = 16, "BPF_LIRC_MODE2", "lirc_mode2";
        FlowDissector = 17, "BPF_FLOW_DISSECTOR", "flow_dissector";
        CgroupSysctl = 18, "BPF_CGROUP_SYSCTL", "cgroup_sysctl";
        CgroupUdp4Recvmsg = 19, "BPF_CGROUP_UDP4_RECVMSG", "cgroup_udp4_recvmsg";
        CgroupUdp6Recvmsg = 20, "BPF_CGROUP_UDP6_RECVMSG", "cgroup_udp6_recvmsg";
        CgroupGetsockopt = 21, "BPF_CGROUP_GETSOCKOPT", "cgroup_getsockopt";
        CgroupSetsockopt = 22, "BPF_CGROUP_SETSOCKOPT", "cgroup_setsockopt";
        TraceRawTp = 23, "BPF_TRACE_RAW_TP", "trace_raw_tp";
        TraceFentry = 24, "BPF_TRACE_FENTRY", "trace_fentry";
        TraceFexit = 25, "BPF_TRACE_FEXIT", "trace_fexit";
        ModifyReturn = 26, "BPF_MODIFY_RETURN", "modify_return";
        LsmMac = 27, "BPF_LSM_MAC", "lsm_mac";
        TraceIter = 28, "BPF_TRACE_ITER", "trace_iter";
        CgroupInet4Getpeername = 29, "BPF_CGROUP_INET4_GETPEERNAME", "cgroup_inet4_getpeername";
        CgroupInet6Getpeername = 30, "BPF_CGROUP_INET6_GETPEERNAME", "cgroup_inet6_getpeername";
        CgroupInet4Getsockname = 31, "BPF_CGROUP_INET4_GETSOCKNAME", "cgroup_inet4_getsockname";
        CgroupInet6Getsockname = 32, "BPF_CGROUP_INET6_GETSOCKNAME", "cgroup_inet6_getsockname";
        XdpDevmap = 33, "BPF_XDP_DEVMAP", "xdp_devmap";
        CgroupInetSockRelease = 34, "BPF_CGROUP_INET_SOCK_RELEASE", "cgroup_inet_sock_release";
        XdpCpumap = 35, "BPF_XDP_CPUMAP", "xdp_cpumap";
        SkLookup = 36, "BPF_SK_LOOKUP", "sk_lookup";
        Xdp = 37, "BPF_XDP", "xdp";
        SkSkbVerdict = 38, "BPF_SK_SKB_VERDICT", "sk_skb_verdict";
        SkReuseportSelect = 39, "BPF_SK_REUSEPORT_SELECT", "sk_reuseport_select";
        SkReuseportSelectOrMigrate = 40, "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE", "sk_reuseport_select_or_migrate";
        PerfEvent = 41, "BPF_PERF_EVENT", "perf_event";
        TraceKprobeMulti = 42, "BPF_TRACE_KPROBE_MULTI", "trace_kprobe_multi";
        LsmCgroup = 43, "BPF_LSM_CGROUP", "lsm_cgroup";
        StructOps = 44, "BPF_STRUCT_OPS", "struct_ops";
        Netfilter = 45, "BPF_NETFILTER", "netfilter";
        TcxIngress = 46, "BPF_TCX_INGRESS", "tcx_ingress";
        TcxEgress = 47, "BPF_TCX_EGRESS", "tcx_egress";
        TraceUprobeMulti = 48, "BPF_TRACE_UPROBE_MULTI", "trace_uprobe_multi";
        CgroupUnixConnect = 49, "BPF_CGROUP_UNIX_CONNECT", "cgroup_unix_connect";
        CgroupUnixSendmsg = 50, "BPF_CGROUP_UNIX_SENDMSG", "cgroup_unix_sendmsg";
        CgroupUnixRecvmsg = 51, "BPF_CGROUP_UNIX_RECVMSG", "cgroup_unix_recvmsg";
        CgroupUnixGetpeername = 52, "BPF_CGROUP_UNIX_GETPEERNAME", "cgroup_unix_getpeername";
        CgroupUnixGetsockname = 53, "BPF_CGROUP_UNIX_GETSOCKNAME", "cgroup_unix_getsockname";
        NetkitPrimary = 54, "BPF_NETKIT_PRIMARY", "netkit_primary";
        NetkitPeer = 55, "BPF_NETKIT_PEER", "netkit_peer";
        TraceKprobeSession = 56, "BPF_TRACE_KPROBE_SESSION", "trace_kprobe_session";
        TraceUprobeSession = 57, "BPF_TRACE_UPROBE_SESSION", "trace_uprobe_session";
    }
}

uapi_enum! {
    /// What a map is, `enum bpf_map_type`.
    pub enum MapType ("map type") {
        Unspec = 0, "BPF_MAP_TYPE_UNSPEC", "unspec";
        Hash = 1, "BPF_MAP_TYPE_HASH", "hash";
        Array = 2, "BPF_MAP_TYPE_ARRAY", "array";
        ProgArray = 3, "BPF_MAP_TYPE_PROG_ARRAY", "prog_array";
        PerfEventArray = 4, "BPF_MAP_TYPE_PERF_EVENT_ARRAY", "perf_event_array";
        PercpuHash = 5, "BPF_MAP_TYPE_PERCPU_HASH", "percpu_hash";
        PercpuArray = 6, "BPF_MAP_TYPE_PERCPU_ARRAY", "percpu_array";
        StackTrace = 7, "BPF_MAP_TYPE_STACK_TRACE", "stack_trace";
        CgroupArray = 8, "BPF_MAP_TYPE_CGROUP_ARRAY", "cgroup_array";
        LruHash = 9, "BPF_MAP_TYPE_LRU_HASH", "lru_hash";
        LruPercpuHash = 10, "BPF_MAP_TYPE_LRU_PERCPU_HASH", "lru_percpu_hash";
        LpmTrie = 11, "BPF_MAP_TYPE_LPM_TRIE", "lpm_trie";
        ArrayOfMaps = 12, "BPF_MAP_TYPE_ARRAY_OF_MAPS", "array_of_maps";
        HashOfMaps = 13, "BPF_MAP_TYPE_HASH_OF_MAPS", "hash_of_maps";
        Devmap = 14, "BPF_MAP_TYPE_DEVMAP", "devmap";
        Sockmap = 15, "BPF_MAP_TYPE_SOCKMAP", "sockmap";
        Cpumap = 16, "BPF_MAP_TYPE_CPUMAP", "cpumap";
        Xskmap = 17, "BPF_MAP_TYPE_XSKMAP", "xskmap";
        Sockhash = 18, "BPF_MAP_TYPE_SOCKHASH", "sockhash";
        CgroupStorage = 19, "BPF_MAP_TYPE_CGROUP_STORAGE", "cgroup_storage";
        ReuseportSockarray = 20, "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", "reuseport_sockarray";
        PercpuCgroupStorage = 21, "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", "percpu_cgroup_storage";
        Queue = 22, "BPF_MAP_TYPE_QUEUE", "queue";
        Stack = 23, "BPF_MAP_TYPE_STACK", "stack";
        SkStorage = 24, "BPF_MAP_TYPE_SK_STORAGE", "sk_storage";
        DevmapHash = 25, "BPF_MAP_TYPE_DEVMAP_HASH", "devmap_hash";
        StructOps = 26, "BPF_MAP_TYPE_STRUCT_OPS", "struct_ops";
        Ringbuf = 27, "BPF_MAP_TYPE_RINGBUF", "ringbuf";
        InodeStorage = 28, "BPF_MAP_TYPE_INODE_STORAGE", "inode_storage";
        TaskStorage = 29, "BPF_MAP_TYPE_TASK_STORAGE", "task_storage";
        BloomFilter = 30, "BPF_MAP_TYPE_BLOOM_FILTER", "bloom_filter";
        UserRingbuf = 31, "BPF_MAP_TYPE_USER_RINGBUF", "user_ringbuf";
        CgrpStorage = 32, "BPF_MAP_TYPE_CGRP_STORAGE", "cgrp_storage";
        Arena = 33, "BPF_MAP_TYPE_ARENA", "arena";
        InsnArray = 34, "BPF_MAP_TYPE_INSN_ARRAY", "insn_array";
    }
}

impl MapType {
    /// Array of maps or hash of maps: the values are maps.
    pub const fn is_map_of_maps(self) -> bool {
        matches!(self, MapType::ArrayOfMaps | MapType::HashOfMaps)
    }

    /// A value per CPU.
    pub const fn is_percpu(self) -> bool {
        matches!(
            self,
            MapType::PercpuHash
                | MapType::PercpuArray
                | MapType::LruPercpuHash
                | MapType::PercpuCgroupStorage
        )
    }
}

/// Flags of map creation, `map_flags` of `BPF_MAP_CREATE`.
pub mod map_flags {
    /// Allocate elements when they are inserted.
    pub const BPF_F_NO_PREALLOC: u32 = 1;
    /// An LRU list per CPU instead of one.
    pub const BPF_F_NO_COMMON_LRU: u32 = 1 << 1;
    /// `numa_node` holds a node.
    pub const BPF_F_NUMA_NODE: u32 = 1 << 2;
    /// bpf(2) may only read.
    pub const BPF_F_RDONLY: u32 = 1 << 3;
    /// bpf(2) may only write.
    pub const BPF_F_WRONLY: u32 = 1 << 4;
    /// Stack traces hold build ids and offsets instead of addresses.
    pub const BPF_F_STACK_BUILD_ID: u32 = 1 << 5;
    /// Hash with seed 0.
    pub const BPF_F_ZERO_SEED: u32 = 1 << 6;
    /// Programs may only read.
    pub const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    /// Programs may only write.
    pub const BPF_F_WRONLY_PROG: u32 = 1 << 8;
    /// A new socket inherits the storage.
    pub const BPF_F_CLONE: u32 = 1 << 9;
    /// May be mapped into user memory.
    pub const BPF_F_MMAPABLE: u32 = 1 << 10;
    /// Perf events stay when the descriptor that set them is closed.
    pub const BPF_F_PRESERVE_ELEMS: u32 = 1 << 11;
    /// May be replaced, inside another map, by one with another `max_entries`.
    pub const BPF_F_INNER_MAP: u32 = 1 << 12;
    /// A struct_ops map that a link attaches.
    pub const BPF_F_LINK: u32 = 1 << 13;
    /// A path descriptor is given.
    pub const BPF_F_PATH_FD: u32 = 1 << 14;
    /// `value_type_btf_obj_fd` holds the BTF of the struct_ops type.
    pub const BPF_F_VTYPE_BTF_OBJ_FD: u32 = 1 << 15;
    /// A token descriptor is given.
    pub const BPF_F_TOKEN_FD: u32 = 1 << 16;
    /// Arena: a fault in user memory is a SIGSEGV instead of a new page.
    pub const BPF_F_SEGV_ON_FAULT: u32 = 1 << 17;
    /// Arena: addresses are not converted on the way to user space.
    pub const BPF_F_NO_USER_CONV: u32 = 1 << 18;
}

/// Flags of element updates.
pub mod update_flags {
    /// Make or replace.
    pub const BPF_ANY: u64 = 0;
    /// Only make.
    pub const BPF_NOEXIST: u64 = 1;
    /// Only replace.
    pub const BPF_EXIST: u64 = 2;
    /// Under the value's spin lock.
    pub const BPF_F_LOCK: u64 = 4;
}

/// Flags of program loading, `prog_flags` of `BPF_PROG_LOAD`.
pub mod prog_flags {
    /// Refuse unaligned accesses even where the machine allows them.
    pub const BPF_F_STRICT_ALIGNMENT: u32 = 1;
    /// Allow unaligned accesses even where the machine does not.
    pub const BPF_F_ANY_ALIGNMENT: u32 = 1 << 1;
    /// Randomise high halves (for tests of the verifier).
    pub const BPF_F_TEST_RND_HI32: u32 = 1 << 2;
    /// Many verifier checkpoints (for tests of the verifier).
    pub const BPF_F_TEST_STATE_FREQ: u32 = 1 << 3;
    /// The program may sleep.
    pub const BPF_F_SLEEPABLE: u32 = 1 << 4;
    /// The XDP program knows packets in fragments.
    pub const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
    /// The XDP program is bound to a device.
    pub const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
    /// Fail on broken register invariants (for tests of the verifier).
    pub const BPF_F_TEST_REG_INVARIANTS: u32 = 1 << 7;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_names_and_words_lead_back() {
        for prog in ProgType::ALL {
            assert_eq!(ProgType::try_from(prog.id()), Ok(*prog));
            assert_eq!(ProgType::by_name(prog.name()), Some(*prog));
            assert_eq!(ProgType::by_name(prog.word()), Some(*prog));
        }
        for attach in AttachType::ALL {
            assert_eq!(AttachType::try_from(attach.id()), Ok(*attach));
            assert_eq!(AttachType::by_name(attach.word()), Some(*attach));
        }
        for (id, map) in MapType::ALL.iter().enumerate() {
            assert_eq!(MapType::try_from(id as u32), Ok(*map), "map type ids have no gaps");
        }
        assert_eq!(MapType::try_from(1500), Err(UnknownId { what: "map type", id: 1500 }));
        assert_eq!((ProgType::Netfilter.id(), AttachType::TraceUprobeSession.id()), (32, 57));
    }
}
