//! Context structures of `uapi/linux/bpf.h` with what each program type may do with their fields.
//!
//! Mirrors the `is_valid_access` functions of the kernel's verifier operations. A field of a structure that a type cannot touch stays in
//! its table, without access.

use mimic_abi::{CtxAccess, CtxField, CtxLayout};

/// Read it or an aligned part of it.
const R: CtxAccess = CtxAccess::Read;
/// Read parts, write the whole.
const W: CtxAccess = CtxAccess::ReadWriteWhole;
/// Read the whole.
const H: CtxAccess = CtxAccess::ReadWhole;
/// Read and write the whole.
const O: CtxAccess = CtxAccess::Whole;
/// Read and write parts.
const B: CtxAccess = CtxAccess::ReadWrite;
/// Read parts, write the whole, of which 16 bits are kept.
const S: CtxAccess = CtxAccess::ReadWriteU16 { max: u32::MAX };
/// The same, but 65535 means that there is no queue, and is not written.
const Q: CtxAccess = CtxAccess::ReadWriteU16 { max: 0xfffe };
/// Nothing.
const N: CtxAccess = CtxAccess::None;

/// A field with the rights of socket filters, tc, cgroup_skb, lightweight tunnels, the flow dissector and sk_skb.
type Row = (&'static str, u32, u32, [CtxAccess; 6]);

const SK_BUFF: [Row; 41] = [
    ("len", 0, 4, [R, R, R, R, N, R]),
    ("pkt_type", 4, 4, [R, R, R, R, N, R]),
    ("mark", 8, 4, [R, W, W, W, N, N]),
    ("queue_mapping", 12, 4, [R, Q, R, R, N, R]),
    ("protocol", 16, 4, [R, R, R, R, N, R]),
    ("vlan_present", 20, 4, [R, R, R, R, N, R]),
    ("vlan_tci", 24, 4, [R, R, R, R, N, R]),
    ("vlan_proto", 28, 4, [R, R, R, R, N, R]),
    ("priority", 32, 4, [R, W, W, W, N, W]),
    ("ingress_ifindex", 36, 4, [R, R, R, R, N, R]),
    ("ifindex", 40, 4, [R, R, R, R, N, R]),
    ("tc_index", 44, 4, [R, S, R, R, N, S]),
    ("cb", 48, 20, [B, B, B, B, N, R]),
    ("hash", 68, 4, [R, R, R, R, N, R]),
    ("tc_classid", 72, 4, [N, S, N, N, N, N]),
    ("data", 76, 4, [N, H, H, H, H, H]),
    ("data_end", 80, 4, [N, H, H, H, H, H]),
    ("napi_id", 84, 4, [R, R, R, R, N, R]),
    ("family", 88, 4, [N, N, R, N, N, R]),
    ("remote_ip4", 92, 4, [N, N, H, N, N, H]),
    ("local_ip4", 96, 4, [N, N, H, N, N, H]),
    ("remote_ip6[0]", 100, 4, [N, N, H, N, N, H]),
    ("remote_ip6[1]", 104, 4, [N, N, H, N, N, H]),
    ("remote_ip6[2]", 108, 4, [N, N, H, N, N, H]),
    ("remote_ip6[3]", 112, 4, [N, N, H, N, N, H]),
    ("local_ip6[0]", 116, 4, [N, N, H, N, N, H]),
    ("local_ip6[1]", 120, 4, [N, N, H, N, N, H]),
    ("local_ip6[2]", 124, 4, [N, N, H, N, N, H]),
    ("local_ip6[3]", 128, 4, [N, N, H, N, N, H]),
    ("remote_port", 132, 4, [N, N, R, N, N, R]),
    ("local_port", 136, 4, [N, N, R, N, N, R]),
    ("data_meta", 140, 4, [N, H, N, N, N, N]),
    ("flow_keys", 144, 8, [N, N, N, N, H, N]),
    ("tstamp", 152, 8, [N, O, O, N, N, N]),
    ("wire_len", 160, 4, [N, R, N, N, N, N]),
    ("gso_segs", 164, 4, [R, R, R, R, N, R]),
    ("sk", 168, 8, [H, H, H, H, N, H]),
    ("gso_size", 176, 4, [R, R, R, R, N, R]),
    ("tstamp_type", 180, 1, [N, H, N, N, N, N]),
    ("padding", 181, 3, [N, N, N, N, N, N]),
    ("hwtstamp", 184, 8, [N, H, H, N, N, N]),
];

/// Where `__sk_buff` has its pointer to the keys of a flow dissector.
pub(crate) const SK_BUFF_FLOW_KEYS: u32 = 144;
/// Bytes of `struct __sk_buff`.
pub const SK_BUFF_LEN: u32 = 192;
/// Bytes of `struct xdp_md`.
pub const XDP_MD_LEN: u32 = 24;
/// Bytes of `struct bpf_sk_lookup`.
pub const SK_LOOKUP_LEN: u32 = 72;
/// Bytes of `struct bpf_sock`.
pub const SOCK_LEN: u32 = 80;

/// `__sk_buff` as socket filters see it.
pub const SK_BUFF_FILTER: CtxLayout = sk_buff(&SK_BUFF_FILTER_FIELDS);
/// `__sk_buff` as tc classifiers and actions see it.
pub const SK_BUFF_TC: CtxLayout = sk_buff(&SK_BUFF_TC_FIELDS);
/// `__sk_buff` as cgroup_skb programs see it.
pub const SK_BUFF_CGROUP: CtxLayout = sk_buff(&SK_BUFF_CGROUP_FIELDS);
/// `__sk_buff` as programs of lightweight tunnels see it.
pub const SK_BUFF_LWT: CtxLayout = sk_buff(&SK_BUFF_LWT_FIELDS);
/// `__sk_buff` as flow dissectors see it.
pub const SK_BUFF_FLOW: CtxLayout = sk_buff(&SK_BUFF_FLOW_FIELDS);
/// `__sk_buff` as programs of sock maps see it.
pub const SK_BUFF_SK_SKB: CtxLayout = sk_buff(&SK_BUFF_SK_SKB_FIELDS);

static SK_BUFF_FILTER_FIELDS: [CtxField; 41] = column(0);
static SK_BUFF_TC_FIELDS: [CtxField; 41] = column(1);
static SK_BUFF_CGROUP_FIELDS: [CtxField; 41] = column(2);
static SK_BUFF_LWT_FIELDS: [CtxField; 41] = column(3);
static SK_BUFF_FLOW_FIELDS: [CtxField; 41] = column(4);
static SK_BUFF_SK_SKB_FIELDS: [CtxField; 41] = column(5);

/// `xdp_md` of most XDP programs.
pub const XDP_MD: CtxLayout =
    CtxLayout { name: "xdp_md", size: XDP_MD_LEN, fields: &xdp_md(CtxAccess::None) };
/// `xdp_md` of XDP programs in device maps: they know where the packet goes.
pub const XDP_MD_DEVMAP: CtxLayout =
    CtxLayout { name: "xdp_md", size: XDP_MD_LEN, fields: &xdp_md(CtxAccess::ReadWhole) };

/// `bpf_sk_lookup`.
pub const SK_LOOKUP: CtxLayout = CtxLayout {
    name: "bpf_sk_lookup",
    size: SK_LOOKUP_LEN,
    fields: &[
        field("sk", 0, 8, H),
        field("family", 8, 4, R),
        field("protocol", 12, 4, R),
        field("remote_ip4", 16, 4, R),
        field("remote_ip6[0]", 20, 4, R),
        field("remote_ip6[1]", 24, 4, R),
        field("remote_ip6[2]", 28, 4, R),
        field("remote_ip6[3]", 32, 4, R),
        field("remote_port", 36, 4, R),
        field("local_ip4", 40, 4, R),
        field("local_ip6[0]", 44, 4, R),
        field("local_ip6[1]", 48, 4, R),
        field("local_ip6[2]", 52, 4, R),
        field("local_ip6[3]", 56, 4, R),
        field("local_port", 60, 4, R),
        field("ingress_ifindex", 64, 4, R),
    ],
};

/// `bpf_nf_ctx`: pointers to the state of a hook and to the packet.
pub const NF_CTX: CtxLayout =
    CtxLayout { name: "bpf_nf_ctx", size: 16, fields: &[field("state", 0, 8, H), field("skb", 8, 8, H)] };

/// `nf_hook_state`.
pub const NF_HOOK_STATE: CtxLayout = CtxLayout {
    name: "nf_hook_state",
    size: 48,
    fields: &[
        field("hook", 0, 1, R),
        field("pf", 1, 1, R),
        field("in", 8, 8, R),
        field("out", 16, 8, R),
        field("sk", 24, 8, R),
        field("net", 32, 8, R),
        field("okfn", 40, 8, R),
    ],
};

/// The packet of a netfilter program: the kernel's own structure, of whose fields nothing is shown.
pub const SK_BUFF_HIDDEN: CtxLayout = CtxLayout { name: "sk_buff", size: SK_BUFF_LEN, fields: &[] };

/// `sk_msg_md`.
pub const SK_MSG: CtxLayout = CtxLayout {
    name: "sk_msg_md",
    size: 80,
    fields: &[
        field("data", 0, 8, H),
        field("data_end", 8, 8, H),
        field("family", 16, 4, H),
        field("remote_ip4", 20, 4, H),
        field("local_ip4", 24, 4, H),
        field("remote_ip6[0]", 28, 4, H),
        field("remote_ip6[1]", 32, 4, H),
        field("remote_ip6[2]", 36, 4, H),
        field("remote_ip6[3]", 40, 4, H),
        field("local_ip6[0]", 44, 4, H),
        field("local_ip6[1]", 48, 4, H),
        field("local_ip6[2]", 52, 4, H),
        field("local_ip6[3]", 56, 4, H),
        field("remote_port", 60, 4, H),
        field("local_port", 64, 4, H),
        field("size", 68, 4, H),
        field("sk", 72, 8, H),
    ],
};

/// `sk_reuseport_md`.
pub const SK_REUSEPORT: CtxLayout = CtxLayout {
    name: "sk_reuseport_md",
    size: 56,
    fields: &[
        field("data", 0, 8, H),
        field("data_end", 8, 8, H),
        field("len", 16, 4, R),
        field("eth_protocol", 20, 4, R),
        field("ip_protocol", 24, 4, R),
        field("bind_inany", 28, 4, R),
        field("hash", 32, 4, H),
        field("sk", 40, 8, H),
        field("migrating_sk", 48, 8, H),
    ],
};

/// `bpf_sock_ops`. `reply` is `args[0]` when the program begins.
pub const SOCK_OPS: CtxLayout = CtxLayout {
    name: "bpf_sock_ops",
    size: 224,
    fields: &[
        field("op", 0, 4, H),
        field("reply", 4, 4, O),
        field("args[1]", 8, 4, H),
        field("args[2]", 12, 4, H),
        field("args[3]", 16, 4, H),
        field("family", 20, 4, H),
        field("remote_ip4", 24, 4, H),
        field("local_ip4", 28, 4, H),
        field("remote_ip6[0]", 32, 4, H),
        field("remote_ip6[1]", 36, 4, H),
        field("remote_ip6[2]", 40, 4, H),
        field("remote_ip6[3]", 44, 4, H),
        field("local_ip6[0]", 48, 4, H),
        field("local_ip6[1]", 52, 4, H),
        field("local_ip6[2]", 56, 4, H),
        field("local_ip6[3]", 60, 4, H),
        field("remote_port", 64, 4, H),
        field("local_port", 68, 4, H),
        field("is_fullsock", 72, 4, H),
        field("snd_cwnd", 76, 4, H),
        field("srtt_us", 80, 4, H),
        field("bpf_sock_ops_cb_flags", 84, 4, H),
        field("state", 88, 4, H),
        field("rtt_min", 92, 4, H),
        field("snd_ssthresh", 96, 4, H),
        field("rcv_nxt", 100, 4, H),
        field("snd_nxt", 104, 4, H),
        field("snd_una", 108, 4, H),
        field("mss_cache", 112, 4, H),
        field("ecn_flags", 116, 4, H),
        field("rate_delivered", 120, 4, H),
        field("rate_interval_us", 124, 4, H),
        field("packets_out", 128, 4, H),
        field("retrans_out", 132, 4, H),
        field("total_retrans", 136, 4, H),
        field("segs_in", 140, 4, H),
        field("data_segs_in", 144, 4, H),
        field("segs_out", 148, 4, H),
        field("data_segs_out", 152, 4, H),
        field("lost_out", 156, 4, H),
        field("sacked_out", 160, 4, H),
        field("sk_txhash", 164, 4, O),
        field("bytes_received", 168, 8, H),
        field("bytes_acked", 176, 8, H),
        field("sk", 184, 8, H),
        field("skb_data", 192, 8, H),
        field("skb_data_end", 200, 8, H),
        field("skb_len", 208, 4, H),
        field("skb_tcp_flags", 212, 4, R),
        field("skb_hwtstamp", 216, 8, H),
    ],
};

/// `bpf_sock`, what a socket pointer points at.
pub const SOCK: CtxLayout = CtxLayout {
    name: "bpf_sock",
    size: SOCK_LEN,
    fields: &[
        field("bound_dev_if", 0, 4, H),
        field("family", 4, 4, R),
        field("type", 8, 4, R),
        field("protocol", 12, 4, R),
        field("mark", 16, 4, H),
        field("priority", 20, 4, H),
        field("src_ip4", 24, 4, R),
        field("src_ip6[0]", 28, 4, R),
        field("src_ip6[1]", 32, 4, R),
        field("src_ip6[2]", 36, 4, R),
        field("src_ip6[3]", 40, 4, R),
        field("src_port", 44, 4, R),
        field("dst_port", 48, 4, R),
        field("dst_ip4", 52, 4, R),
        field("dst_ip6[0]", 56, 4, R),
        field("dst_ip6[1]", 60, 4, R),
        field("dst_ip6[2]", 64, 4, R),
        field("dst_ip6[3]", 68, 4, R),
        field("state", 72, 4, R),
        field("rx_queue_mapping", 76, 4, R),
    ],
};

/// Bytes of `struct bpf_tcp_sock`.
pub const TCP_SOCK_LEN: u32 = 112;

/// `bpf_tcp_sock`, what `bpf_tcp_sock` gives.
pub const TCP_SOCK: CtxLayout = CtxLayout {
    name: "bpf_tcp_sock",
    size: TCP_SOCK_LEN,
    fields: &[
        field("snd_cwnd", 0, 4, H),
        field("srtt_us", 4, 4, H),
        field("rtt_min", 8, 4, H),
        field("snd_ssthresh", 12, 4, H),
        field("rcv_nxt", 16, 4, H),
        field("snd_nxt", 20, 4, H),
        field("snd_una", 24, 4, H),
        field("mss_cache", 28, 4, H),
        field("ecn_flags", 32, 4, H),
        field("rate_delivered", 36, 4, H),
        field("rate_interval_us", 40, 4, H),
        field("packets_out", 44, 4, H),
        field("retrans_out", 48, 4, H),
        field("total_retrans", 52, 4, H),
        field("segs_in", 56, 4, H),
        field("data_segs_in", 60, 4, H),
        field("segs_out", 64, 4, H),
        field("data_segs_out", 68, 4, H),
        field("lost_out", 72, 4, H),
        field("sacked_out", 76, 4, H),
        field("bytes_received", 80, 8, H),
        field("bytes_acked", 88, 8, H),
        field("dsack_dups", 96, 4, H),
        field("delivered", 100, 4, H),
        field("delivered_ce", 104, 4, H),
        field("icsk_retransmits", 108, 4, H),
    ],
};

const X86_64_REGS: [&str; 21] = [
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    "orig_ax", "ip", "cs", "flags", "sp", "ss",
];
const ARM64_REGS: [&str; 34] = [
    "regs[0]", "regs[1]", "regs[2]", "regs[3]", "regs[4]", "regs[5]", "regs[6]", "regs[7]", "regs[8]",
    "regs[9]", "regs[10]", "regs[11]", "regs[12]", "regs[13]", "regs[14]", "regs[15]", "regs[16]",
    "regs[17]", "regs[18]", "regs[19]", "regs[20]", "regs[21]", "regs[22]", "regs[23]", "regs[24]",
    "regs[25]", "regs[26]", "regs[27]", "regs[28]", "regs[29]", "regs[30]", "sp", "pc", "pstate",
];

/// `pt_regs` of x86-64, as probes see it.
pub const PT_REGS_X86_64: CtxLayout =
    CtxLayout { name: "pt_regs", size: 8 * X86_64_REGS.len() as u32, fields: &registers(X86_64_REGS) };
/// `user_pt_regs` of 64-bit Arm, as probes see it.
pub const PT_REGS_ARM64: CtxLayout =
    CtxLayout { name: "user_pt_regs", size: 8 * ARM64_REGS.len() as u32, fields: &registers(ARM64_REGS) };

/// 64-bit registers in a row, which can be read in aligned parts.
const fn registers<const N: usize>(names: [&'static str; N]) -> [CtxField; N] {
    let mut fields = [field("", 0, 0, CtxAccess::None); N];
    let mut at = 0;
    while at < N {
        fields[at] = field(names[at], 8 * at as u32, 8, R);
        at += 1;
    }
    fields
}

const fn field(name: &'static str, off: u32, size: u32, access: CtxAccess) -> CtxField {
    CtxField { name, off, size, access }
}

const fn sk_buff(fields: &'static [CtxField]) -> CtxLayout {
    CtxLayout { name: "__sk_buff", size: SK_BUFF_LEN, fields }
}

const fn column(which: usize) -> [CtxField; 41] {
    let mut fields = [field("", 0, 0, N); 41];
    let mut at = 0;
    while at < SK_BUFF.len() {
        let (name, off, size, access) = SK_BUFF[at];
        fields[at] = field(name, off, size, access[which]);
        at += 1;
    }
    fields
}

const fn xdp_md(egress: CtxAccess) -> [CtxField; 6] {
    [
        field("data", 0, 4, H),
        field("data_end", 4, 4, H),
        field("data_meta", 8, 4, H),
        field("ingress_ifindex", 12, 4, H),
        field("rx_queue_index", 16, 4, H),
        field("egress_ifindex", 20, 4, egress),
    ]
}
