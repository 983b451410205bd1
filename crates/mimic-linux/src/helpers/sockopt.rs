//! Socket options and binding.

use super::row::{READ, WRITE};
use crate::net::sockopt::{self, Surroundings};
use crate::objects::socket_at;
use crate::progs::{SkMsgContext, SockAddrContext, SockOpsContext};
use crate::world::Socket;
use crate::world::socket::{AF_INET, AF_INET6};
use crate::{Linux, World};
use mimic_abi::{ArgType, ByteOrder, Errno, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(49, "setsockopt")
            .args(&[
                arg("bpf_socket", ArgType::Ctx),
                arg("level", ArgType::Anything),
                arg("optname", ArgType::Anything),
                arg("optval", READ),
                arg("optlen", ArgType::Size),
            ])
            .since(4, 13)
            .support(OPTIONS),
        setsockopt,
    ),
    Helper::new(
        HelperSpec::new(57, "getsockopt")
            .args(&[
                arg("bpf_socket", ArgType::Ctx),
                arg("level", ArgType::Anything),
                arg("optname", ArgType::Anything),
                arg("optval", WRITE),
                arg("optlen", ArgType::Size),
            ])
            .since(4, 15)
            .support(OPTIONS),
        getsockopt,
    ),
    Helper::new(
        HelperSpec::new(64, "bind")
            .args(&[arg("ctx", ArgType::Ctx), arg("addr", READ), arg("addr_len", ArgType::Size)])
            .since(4, 17),
        bind,
    ),
];

const OPTIONS: Support =
    Support::Partial("TCP_SAVED_SYN is not there: connections of the world come without their SYN packet");
/// The socket that an argument is, or is about: a pointer to one, or the context of a program that has one.
pub(super) fn socket_of(call: &mut Call<'_>, at: u64) -> Result<Arc<Socket>, Trap> {
    let cookie = if let Some(context) = call.context::<SockAddrContext>() {
        context.at().map(|md| (md, context.sock.cookie))
    } else if let Some(context) = call.context::<SockOpsContext>() {
        context.at()
    } else {
        call.context::<SkMsgContext>().and_then(|context| context.at())
    };
    let cookie = cookie.and_then(|(md, cookie)| (md == at).then_some(cookie));
    match cookie.and_then(|cookie| Linux::of(call).sockets().get(cookie)) {
        Some(socket) => Ok(socket),
        None => socket_at(call, at),
    }
}

fn setsockopt(
    call: &mut Call<'_>,
    socket: u64,
    level: u64,
    optname: u64,
    optval: u64,
    optlen: u64,
) -> HelperResult {
    let cookie = socket_of(call, socket)?.cookie;
    let value = call.read_vec(optval, u64::from(optlen as u32))?;
    let order = call.view().memory().order();
    let number = <[u8; 4]>::try_from(value.as_slice()).ok().map(|bytes| match order {
        ByteOrder::Little => i32::from_le_bytes(bytes),
        ByteOrder::Big => i32::from_be_bytes(bytes),
    });
    let linux = Linux::of(call);
    let option = (level as i32, optname as i32);
    let around = surroundings(linux);
    let set = linux.change_socket(cookie, |sk| sockopt::set(sk, option, &value, number, &around));
    set.unwrap_or(Err(Errno::EINVAL))?;
    Ok(0)
}

/// What does not fit, or is not there, is zeros.
fn getsockopt(
    call: &mut Call<'_>,
    socket: u64,
    level: u64,
    optname: u64,
    optval: u64,
    optlen: u64,
) -> HelperResult {
    let sk = socket_of(call, socket)?;
    let len = optlen as u32 as usize;
    call.check(optval, len as u64, true)?;
    let order = call.view().memory().order();
    let encode = |value: i32| match order {
        ByteOrder::Little => value.to_le_bytes(),
        ByteOrder::Big => value.to_be_bytes(),
    };
    let found = sockopt::get(&sk, (level as i32, optname as i32), len, encode);
    let mut bytes = found.clone().unwrap_or_default();
    bytes.resize(len, 0);
    call.write(optval, &bytes)?;
    found?;
    Ok(0)
}

fn surroundings(linux: &Linux) -> Surroundings<'_> {
    let world: &World = linux.world();
    const BUFFER_MAX: i32 = 4 << 20;
    let sysctl = |name: &str| world.sysctls.get(name);
    let buffer = |name: &str| sysctl(name).and_then(|text| text.parse().ok()).unwrap_or(BUFFER_MAX);
    let congestion = sysctl("net/ipv4/tcp_available_congestion_control").map_or("reno cubic", String::as_str);
    Surroundings {
        devices: &world.net.devices,
        wmem_max: buffer("net/core/wmem_max"),
        rmem_max: buffer("net/core/rmem_max"),
        hz: world.clock.hz,
        congestion: congestion.split_whitespace().map(str::to_owned).chain(linux.bpf_congestion()).collect(),
    }
}

/// Binds the socket before it is connected; of the address's port 0 says that one is chosen later.
fn bind(call: &mut Call<'_>, ctx: u64, addr: u64, len: u64, _: u64, _: u64) -> HelperResult {
    const SOCKADDR_IN_LEN: usize = 16;
    const SOCKADDR_IN6_LEN: usize = 24;
    let cookie = socket_of(call, ctx)?.cookie;
    let bytes = call.read_vec(addr, u64::from(len as u32))?;
    let [a, b] = *bytes.first_chunk().ok_or(Errno::EINVAL)?;
    let family = match call.view().memory().order() {
        ByteOrder::Little => u16::from_le_bytes([a, b]),
        ByteOrder::Big => u16::from_be_bytes([a, b]),
    };
    let short = |len: usize| if bytes.len() < len { Err(Errno::EINVAL) } else { Ok(()) };
    let port = |bytes: &[u8]| u16::from_be_bytes([bytes[2], bytes[3]]);
    let addr = match u32::from(family) {
        AF_INET => {
            short(SOCKADDR_IN_LEN)?;
            SocketAddr::from(([bytes[4], bytes[5], bytes[6], bytes[7]], port(&bytes)))
        }
        AF_INET6 => {
            short(SOCKADDR_IN6_LEN)?;
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..24]);
            SocketAddr::from((Ipv6Addr::from(ip), port(&bytes)))
        }
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    };
    let linux = Linux::of(call);
    let privileged = linux.task(call.cpu()).uid == 0;
    linux.bind_socket(cookie, addr, privileged)?;
    Ok(0)
}
