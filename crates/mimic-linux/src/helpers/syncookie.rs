//! SYN cookies: a connection's first sequence number that says all that a listening socket has to remember of it. RFC 4987, 3.6.
//!
//! They have the kernel's form: what is made here is taken here, for as long, and for the same segment sizes. The numbers are others: the
//! kernel's hash has a secret of the boot in it, this one the world's seed.

use super::row::READ;
use crate::Linux;
use crate::objects::socket_at;
use crate::world::Socket;
use crate::world::socket::{AF_INET6, IPPROTO_TCP, TCP_LISTEN};
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::sync::Arc;

const OF_SOCKET: &[Arg] = &[
    arg("sk", ArgType::BtfIdSockCommon),
    arg("iph", READ),
    arg("iph_len", ArgType::Size),
    arg("th", READ),
    arg("th_len", ArgType::Size),
];
const IPH4: Arg = arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(IPV4_LEN)));
const IPH6: Arg = arg("iph", ArgType::Mem(MemAccess::Read, MemLen::Fixed(IPV6_LEN)));
const TH: Arg = arg("th", ArgType::Mem(MemAccess::Read, MemLen::Fixed(TCP_LEN)));
const SEED: Support = Support::Partial(
    "the cookies are not the kernel's, which have a secret of the boot in them; what is made is taken",
);

pub(super) const ROWS: &[Helper] = &[
    Helper::new(row(100, "tcp_check_syncookie", OF_SOCKET).since(5, 2), tcp_check_syncookie),
    Helper::new(row(110, "tcp_gen_syncookie", OF_SOCKET).since(5, 4), tcp_gen_syncookie),
    Helper::new(
        row(204, "tcp_raw_gen_syncookie_ipv4", &[IPH4, arg("th", READ), arg("th_len", ArgType::SizeOrZero)])
            .since(6, 0),
        raw_gen_ipv4,
    ),
    Helper::new(
        row(205, "tcp_raw_gen_syncookie_ipv6", &[IPH6, arg("th", READ), arg("th_len", ArgType::SizeOrZero)])
            .since(6, 0),
        raw_gen_ipv6,
    ),
    Helper::new(row(206, "tcp_raw_check_syncookie_ipv4", &[IPH4, TH]).since(6, 0), raw_check_ipv4),
    Helper::new(row(207, "tcp_raw_check_syncookie_ipv6", &[IPH6, TH]).since(6, 0), raw_check_ipv6),
];

const fn row(id: u32, name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(id, name)
        .args(args)
        .flags(HelperFlags::GPL_ONLY)
        .flags(HelperFlags::PKT_ACCESS)
        .support(SEED)
}

const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;
const TCP_LEN: u32 = 20;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The segment sizes that a cookie can tell, `msstab` of either family.
const MSS4: [u16; 4] = [536, 1300, 1440, 1460];
const MSS6: [u16; 4] = [1220, 1420, 1440, 8940];
/// Segment sizes where the peer says none: RFC 9293, 3.7.1.
const MSS4_DEFAULT: u16 = 536;
const MSS6_DEFAULT: u16 = 1220;

/// Minutes that a cookie is taken for: `MAX_SYNCOOKIE_AGE`.
const AGE_MAX: u32 = 2;
/// The low bits of a cookie say what is remembered, the others when it was made.
const DATA_BITS: u32 = 24;
const DATA_MASK: u32 = (1 << DATA_BITS) - 1;
const MINUTE_NS: u64 = 60_000_000_000;

/// The addresses of a packet and its TCP header.
struct Segment {
    version: u8,
    src: u128,
    dst: u128,
    tcp: Vec<u8>,
}

impl Segment {
    /// A segment of IP of this version, whatever its header says.
    fn read(call: &Call<'_>, version: u8, iph: u64, th: u64, th_len: u32) -> Result<Segment, Trap> {
        let (src, dst) = if version == 6 {
            let addr = |off| call.read_array::<16>(iph + off).map(u128::from_be_bytes);
            (addr(8)?, addr(24)?)
        } else {
            let addr = |off| call.read_array::<4>(iph + off).map(|addr| u32::from_be_bytes(addr).into());
            (addr(12)?, addr(16)?)
        };
        Ok(Segment { version, src, dst, tcp: call.read_vec(th, th_len.into())? })
    }

    fn word(&self, at: usize) -> u32 {
        self.tcp.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn header_len(&self) -> u32 {
        self.tcp.get(12).map_or(0, |byte| u32::from(byte >> 4) * 4)
    }

    /// The segment size that the peer asks for, in the option of RFC 9293.
    fn mss(&self) -> Option<u16> {
        let mut options = self.tcp.get(TCP_LEN as usize..)?;
        loop {
            match options {
                [2, 4, hi, lo, ..] => return Some(u16::from_be_bytes([*hi, *lo])).filter(|mss| *mss != 0),
                [0, ..] | [] | [_] => return None,
                [1, rest @ ..] => options = rest,
                [_, len, ..] if *len < 2 => return None,
                [_, len, ..] => options = options.get(usize::from(*len)..)?,
            }
        }
    }

    fn hash(&self, linux: &Linux, count: u32, which: u64) -> u32 {
        let ports = u64::from(self.word(0));
        let start = linux.secret_hash(ports << 32 | u64::from(count)) ^ which;
        let add = |hash: u64, part: u64| linux.secret_hash(hash ^ part);
        let parts = [self.src as u64, (self.src >> 64) as u64, self.dst as u64, (self.dst >> 64) as u64];
        parts.into_iter().fold(linux.secret_hash(start), add) as u32
    }

    /// The cookie for a segment of the table, and the size that it tells.
    fn cookie(&self, call: &Call<'_>, mss: u16) -> u64 {
        let linux = Linux::of(call);
        let table = self.table();
        let at = table.iter().rposition(|known| mss >= *known).unwrap_or(0);
        let count = minutes(call);
        let data = self.hash(linux, count, 1).wrapping_add(at as u32) & DATA_MASK;
        let base = self.hash(linux, 0, 0).wrapping_add(self.word(4));
        let cookie = base.wrapping_add(count << DATA_BITS).wrapping_add(data);
        u64::from(cookie) | u64::from(table[at]) << 32
    }

    /// Whether the segment acknowledges a cookie that was made for it of late.
    fn acknowledges_cookie(&self, call: &Call<'_>) -> bool {
        let linux = Linux::of(call);
        let (seq, cookie) = (self.word(4).wrapping_sub(1), self.word(8).wrapping_sub(1));
        let rest = cookie.wrapping_sub(self.hash(linux, 0, 0)).wrapping_sub(seq);
        let count = minutes(call);
        let age = count.wrapping_sub(rest >> DATA_BITS) & (u32::MAX >> DATA_BITS);
        let at = rest.wrapping_sub(self.hash(linux, count.wrapping_sub(age), 1)) & DATA_MASK;
        age < AGE_MAX && (at as usize) < self.table().len()
    }

    fn table(&self) -> &'static [u16; 4] {
        if self.version == 6 { &MSS6 } else { &MSS4 }
    }

    fn mss_or_default(&self) -> u16 {
        self.mss().unwrap_or(if self.version == 6 { MSS6_DEFAULT } else { MSS4_DEFAULT })
    }
}

fn minutes(call: &Call<'_>) -> u32 {
    (Linux::of(call).clock().now_ns_on(call.cpu()) / MINUTE_NS) as u32
}

fn tcp_check_syncookie(
    call: &mut Call<'_>,
    sk: u64,
    iph: u64,
    iph_len: u64,
    th: u64,
    th_len: u64,
) -> HelperResult {
    let (iph_len, th_len) = (iph_len as u32, th_len as u32);
    let Some(socket) = listening(call, sk, (iph, iph_len), (th, th_len))? else {
        return Err(Errno::EINVAL.into());
    };
    if Linux::of(call).sysctl("net/ipv4/tcp_syncookies", 1) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let flags = call.read_array::<1>(th + 13)?[0];
    if flags & ACK == 0 || flags & (RST | SYN) != 0 {
        return Err(Errno::ENOENT.into());
    }
    if iph_len < IPV4_LEN {
        return Err(Errno::EINVAL.into());
    }
    if !socket.syn_overflow {
        return Err(Errno::ENOENT.into());
    }
    let version = version_for(call, &socket, iph, iph_len)?;
    let segment = Segment::read(call, version, iph, th, TCP_LEN)?;
    if segment.acknowledges_cookie(call) { Ok(0) } else { Err(Errno::ENOENT.into()) }
}

fn tcp_gen_syncookie(
    call: &mut Call<'_>,
    sk: u64,
    iph: u64,
    iph_len: u64,
    th: u64,
    th_len: u64,
) -> HelperResult {
    let (iph_len, th_len) = (iph_len as u32, th_len as u32);
    let socket = listening(call, sk, (iph, iph_len), (th, th_len))?;
    let header_len = if th_len < TCP_LEN { 0 } else { u32::from(call.read_array::<1>(th + 12)?[0] >> 4) * 4 };
    let Some(socket) = socket.filter(|_| header_len == th_len) else { return Err(Errno::EINVAL.into()) };
    let linux = Linux::of(call);
    let wanted = linux.sysctl("net/ipv4/tcp_syncookies", 1);
    if wanted == 0 {
        return Err(Errno::ENOENT.into());
    }
    let flags = call.read_array::<1>(th + 13)?[0];
    if flags & SYN == 0 || flags & (ACK | FIN | RST) != 0 || iph_len < IPV4_LEN {
        return Err(Errno::EINVAL.into());
    }
    let version = version_for(call, &socket, iph, iph_len)?;
    let segment = Segment::read(call, version, iph, th, th_len)?;
    // 2: always, even if there is room.
    if wanted != 2 && !socket.syn_overflow {
        return Err(Errno::ENOENT.into());
    }
    linux.change_socket(socket.cookie, |socket| socket.syn_overflow = true);
    Ok(segment.cookie(call, segment.mss_or_default()))
}

/// The socket, if it is one that listens and the TCP header is whole. The headers must be the program's to read.
fn listening(
    call: &Call<'_>,
    sk: u64,
    (iph, iph_len): (u64, u32),
    (th, th_len): (u64, u32),
) -> Result<Option<Arc<Socket>>, Trap> {
    call.check(iph, iph_len.into(), false)?;
    call.check(th, th_len.into(), false)?;
    if sk == 0 || th_len < TCP_LEN {
        return Ok(None);
    }
    let socket = socket_at(call, sk)?;
    Ok(Some(socket).filter(|socket| socket.state == TCP_LISTEN && socket.protocol == IPPROTO_TCP))
}

/// The version that the header says, which the socket must take.
fn version_for(call: &Call<'_>, socket: &Socket, iph: u64, iph_len: u32) -> Result<u8, Trap> {
    let is_v6 = socket.family == AF_INET6;
    match call.read_array::<1>(iph)?[0] >> 4 {
        4 if socket.rcv_addr4().is_none() => Err(Errno::EINVAL.into()),
        6 if iph_len < IPV6_LEN || !is_v6 => Err(Errno::EINVAL.into()),
        version @ (4 | 6) => Ok(version),
        _ => Err(Errno::EPROTONOSUPPORT.into()),
    }
}

fn raw_gen_ipv4(call: &mut Call<'_>, iph: u64, th: u64, th_len: u64, _: u64, _: u64) -> HelperResult {
    raw_gen(call, 4, iph, th, th_len as u32)
}

fn raw_gen_ipv6(call: &mut Call<'_>, iph: u64, th: u64, th_len: u64, _: u64, _: u64) -> HelperResult {
    raw_gen(call, 6, iph, th, th_len as u32)
}

fn raw_check_ipv4(call: &mut Call<'_>, iph: u64, th: u64, _: u64, _: u64, _: u64) -> HelperResult {
    raw_check(call, 4, iph, th)
}

fn raw_check_ipv6(call: &mut Call<'_>, iph: u64, th: u64, _: u64, _: u64, _: u64) -> HelperResult {
    raw_check(call, 6, iph, th)
}

fn raw_gen(call: &mut Call<'_>, version: u8, iph: u64, th: u64, th_len: u32) -> HelperResult {
    call.check(iph, if version == 6 { IPV6_LEN } else { IPV4_LEN }.into(), false)?;
    call.check(th, th_len.into(), false)?;
    if th_len < TCP_LEN {
        return Err(Errno::EINVAL.into());
    }
    let segment = Segment::read(call, version, iph, th, th_len)?;
    if segment.header_len() != th_len {
        return Err(Errno::EINVAL.into());
    }
    Ok(segment.cookie(call, segment.mss_or_default()))
}

fn raw_check(call: &mut Call<'_>, version: u8, iph: u64, th: u64) -> HelperResult {
    let segment = Segment::read(call, version, iph, th, TCP_LEN)?;
    if segment.acknowledges_cookie(call) { Ok(0) } else { Err(Errno::EACCES.into()) }
}
