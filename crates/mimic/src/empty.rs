//! `empty_context`: what a program gets that needs no packet and of whose context nothing is stated.

use mimic_abi::{AttachType, ProgType};
use mimic_linux::progs::{
    DeviceContext, DeviceKind, KprobeContext, PerfEventContext, RawTracepointContext, SockAddrContext,
    SockContext, SockoptContext, SysctlContext, TracepointContext,
};
use mimic_object::Program;
use mimic_vm::{Context, RawContext};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a tracepoint's record: more than the records of most have.
const RECORD_LEN: usize = 512;

/// Registers, arguments and records of zeros; for system call programs no context at all; for control groups' programs something plain that
/// tasks do: a socket that connects to port 80 of this host, its send buffer, `/dev/null`. `None` for types whose programs are run over packets,
/// or whose contexts depend on what they are attached to.
pub fn empty_context(program: &Program) -> Option<Box<dyn Context>> {
    match program.prog_type? {
        ProgType::RawTracepoint | ProgType::RawTracepointWritable => {
            Some(Box::new(RawTracepointContext::new([0; RawTracepointContext::ARGS_MAX])))
        }
        ProgType::Kprobe => Some(Box::new(KprobeContext::default())),
        ProgType::Tracepoint => Some(Box::new(TracepointContext { record: vec![0; RECORD_LEN] })),
        ProgType::PerfEvent => Some(Box::new(PerfEventContext::default())),
        ProgType::Syscall => Some(Box::new(RawContext::default())),
        ProgType::CgroupSockAddr => Some(Box::new(address(program.attach_type))),
        ProgType::CgroupSock => Some(Box::new(SockContext::new(SockAddrContext::tcp(local(false)).sock))),
        ProgType::CgroupSockopt => {
            const SOL_SOCKET: i32 = 1;
            const SO_SNDBUF: i32 = 7;
            let sock = SockAddrContext::tcp(local(false)).sock;
            Some(Box::new(SockoptContext::set(sock, SOL_SOCKET, SO_SNDBUF, &[0; 4])))
        }
        ProgType::CgroupSysctl => Some(Box::new(SysctlContext::read("kernel/ostype"))),
        ProgType::CgroupDevice => Some(Box::new(DeviceContext::open(DeviceKind::Char, 1, 3))),
        _ => None,
    }
}

fn local(v6: bool) -> SocketAddr {
    if v6 { (Ipv6Addr::LOCALHOST, 80).into() } else { (Ipv4Addr::LOCALHOST, 80).into() }
}

/// An address of the attach type's family: of a datagram where they are sent and received.
fn address(attach_type: Option<AttachType>) -> SockAddrContext {
    let name = attach_type.map_or("", AttachType::word);
    let addr = local(name.contains("6"));
    match () {
        () if name.contains("unix") => SockAddrContext::unix("/run/socket"),
        () if name.contains("udp") => SockAddrContext::udp(addr),
        () => SockAddrContext::tcp(addr),
    }
}
