//! Structures that control groups' programs get, with what each attach type may do with their fields.

use super::super::layout::SOCK_LEN;
use mimic_abi::{AttachType, CtxAccess, CtxField, CtxLayout};

const N: CtxAccess = CtxAccess::None;
/// Read it or an aligned part of it.
const R: CtxAccess = CtxAccess::Read;
/// Read the whole.
const H: CtxAccess = CtxAccess::ReadWhole;
/// Read parts, write the whole.
const W: CtxAccess = CtxAccess::ReadWriteWhole;
/// Read and write the whole.
const O: CtxAccess = CtxAccess::Whole;
/// Words, alone or in pairs.
const P: CtxAccess = CtxAccess::Words;
/// Read parts, write the whole, of which 16 bits are kept.
const S: CtxAccess = CtxAccess::ReadWriteU16 { max: u32::MAX };

/// Bytes of `struct bpf_sock_addr`.
pub(crate) const SOCK_ADDR_LEN: u32 = 72;
/// Bytes of `struct bpf_sockopt`.
pub(crate) const SOCKOPT_LEN: u32 = 40;
/// Bytes of `struct bpf_sysctl`.
pub(crate) const SYSCTL_LEN: u32 = 8;
/// Bytes of `struct bpf_cgroup_dev_ctx`.
pub(crate) const DEVICE_LEN: u32 = 12;

/// `bpf_sock_addr`, where nothing is known of the attach type.
pub(crate) const SOCK_ADDR: CtxLayout = addr(&ADDR_ANY);
static ADDR_ANY: [CtxField; 10] = addr_fields(W, P, W, P);
static ADDR_4: [CtxField; 10] = addr_fields(W, N, N, N);
static ADDR_4_SENDMSG: [CtxField; 10] = addr_fields(W, N, W, N);
static ADDR_6: [CtxField; 10] = addr_fields(N, P, N, N);
static ADDR_6_SENDMSG: [CtxField; 10] = addr_fields(N, P, N, P);
static ADDR_UNIX: [CtxField; 10] = addr_fields(N, N, N, N);

/// `bpf_sock_addr` by attach type.
pub(crate) const SOCK_ADDRS: &[(AttachType, CtxLayout)] = &[
    (AttachType::CgroupInet4Bind, addr(&ADDR_4)),
    (AttachType::CgroupInet6Bind, addr(&ADDR_6)),
    (AttachType::CgroupInet4Connect, addr(&ADDR_4)),
    (AttachType::CgroupInet6Connect, addr(&ADDR_6)),
    (AttachType::CgroupUnixConnect, addr(&ADDR_UNIX)),
    (AttachType::CgroupUdp4Sendmsg, addr(&ADDR_4_SENDMSG)),
    (AttachType::CgroupUdp6Sendmsg, addr(&ADDR_6_SENDMSG)),
    (AttachType::CgroupUnixSendmsg, addr(&ADDR_UNIX)),
    (AttachType::CgroupUdp4Recvmsg, addr(&ADDR_4)),
    (AttachType::CgroupUdp6Recvmsg, addr(&ADDR_6)),
    (AttachType::CgroupUnixRecvmsg, addr(&ADDR_UNIX)),
    (AttachType::CgroupInet4Getpeername, addr(&ADDR_4)),
    (AttachType::CgroupInet6Getpeername, addr(&ADDR_6)),
    (AttachType::CgroupUnixGetpeername, addr(&ADDR_UNIX)),
    (AttachType::CgroupInet4Getsockname, addr(&ADDR_4)),
    (AttachType::CgroupInet6Getsockname, addr(&ADDR_6)),
    (AttachType::CgroupUnixGetsockname, addr(&ADDR_UNIX)),
];

/// `bpf_sock` of a socket that is made or closed.
pub(crate) const SOCK_CREATE: CtxLayout = sock(&SOCK_CREATE_FIELDS);
static SOCK_CREATE_FIELDS: [CtxField; 20] = sock_fields(O, N, N, N);
static SOCK_BIND4_FIELDS: [CtxField; 20] = sock_fields(N, R, N, R);
static SOCK_BIND6_FIELDS: [CtxField; 20] = sock_fields(N, N, R, R);

/// `bpf_sock` by attach type, where it differs.
pub(crate) const SOCKS: &[(AttachType, CtxLayout)] = &[
    (AttachType::CgroupInet4PostBind, sock(&SOCK_BIND4_FIELDS)),
    (AttachType::CgroupInet6PostBind, sock(&SOCK_BIND6_FIELDS)),
];

/// `bpf_sockopt` of setsockopt(2).
pub(crate) const SETSOCKOPT: CtxLayout =
    CtxLayout { name: "bpf_sockopt", size: SOCKOPT_LEN, fields: &SETSOCKOPT_FIELDS };
/// `bpf_sockopt` of getsockopt(2).
pub(crate) const GETSOCKOPT: CtxLayout =
    CtxLayout { name: "bpf_sockopt", size: SOCKOPT_LEN, fields: &GETSOCKOPT_FIELDS };
static SETSOCKOPT_FIELDS: [CtxField; 7] = sockopt_fields(O, N);
static GETSOCKOPT_FIELDS: [CtxField; 7] = sockopt_fields(H, O);

/// `bpf_sockopt` by attach type.
pub(crate) const SOCKOPTS: &[(AttachType, CtxLayout)] =
    &[(AttachType::CgroupGetsockopt, GETSOCKOPT), (AttachType::CgroupSetsockopt, SETSOCKOPT)];

/// `bpf_sysctl`.
pub(crate) const SYSCTL: CtxLayout = CtxLayout {
    name: "bpf_sysctl",
    size: SYSCTL_LEN,
    fields: &[field("write", 0, 4, R), field("file_pos", 4, 4, W)],
};

/// `bpf_cgroup_dev_ctx`.
pub(crate) const DEVICE: CtxLayout = CtxLayout {
    name: "bpf_cgroup_dev_ctx",
    size: DEVICE_LEN,
    fields: &[field("access_type", 0, 4, R), field("major", 4, 4, H), field("minor", 8, 4, H)],
};

const fn field(name: &'static str, off: u32, size: u32, access: CtxAccess) -> CtxField {
    CtxField { name, off, size, access }
}

const fn addr(fields: &'static [CtxField; 10]) -> CtxLayout {
    CtxLayout { name: "bpf_sock_addr", size: SOCK_ADDR_LEN, fields }
}

const fn addr_fields(ip4: CtxAccess, ip6: CtxAccess, src4: CtxAccess, src6: CtxAccess) -> [CtxField; 10] {
    [
        field("user_family", 0, 4, H),
        field("user_ip4", 4, 4, ip4),
        field("user_ip6", 8, 16, ip6),
        field("user_port", 24, 4, S),
        field("family", 28, 4, H),
        field("type", 32, 4, H),
        field("protocol", 36, 4, H),
        field("msg_src_ip4", 40, 4, src4),
        field("msg_src_ip6", 44, 16, src6),
        field("sk", 64, 8, H),
    ]
}

const fn sock(fields: &'static [CtxField; 20]) -> CtxLayout {
    CtxLayout { name: "bpf_sock", size: SOCK_LEN, fields }
}

const fn sock_fields(set: CtxAccess, ip4: CtxAccess, ip6: CtxAccess, port: CtxAccess) -> [CtxField; 20] {
    [
        field("bound_dev_if", 0, 4, set),
        field("family", 4, 4, R),
        field("type", 8, 4, R),
        field("protocol", 12, 4, R),
        field("mark", 16, 4, set),
        field("priority", 20, 4, set),
        field("src_ip4", 24, 4, ip4),
        field("src_ip6[0]", 28, 4, ip6),
        field("src_ip6[1]", 32, 4, ip6),
        field("src_ip6[2]", 36, 4, ip6),
        field("src_ip6[3]", 40, 4, ip6),
        field("src_port", 44, 4, port),
        field("dst_port", 48, 4, R),
        field("dst_ip4", 52, 4, R),
        field("dst_ip6[0]", 56, 4, R),
        field("dst_ip6[1]", 60, 4, R),
        field("dst_ip6[2]", 64, 4, R),
        field("dst_ip6[3]", 68, 4, R),
        field("state", 72, 4, R),
        field("rx_queue_mapping", 76, 4, R),
    ]
}

const fn sockopt_fields(name: CtxAccess, retval: CtxAccess) -> [CtxField; 7] {
    [
        field("sk", 0, 8, H),
        field("optval", 8, 8, H),
        field("optval_end", 16, 8, H),
        field("level", 24, 4, name),
        field("optname", 28, 4, name),
        field("optlen", 32, 4, O),
        field("retval", 36, 4, retval),
    ]
}
