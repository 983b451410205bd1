//! Socket options as bpf(2)'s `bpf_setsockopt` and `bpf_getsockopt` know them: which there are, which values they take, what they read as.
//!
//! Options that only read as they were set lie in `Socket::options`. Answers were compared with those of Linux 6.18 to a program at connect4.
//! Mirrors socket(7), ip(7), ipv6(7), tcp(7) and bpf-helpers(7).

use crate::world::{Devices, Socket};
use mimic_abi::Errno;

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_TCP: i32 = 6;
const SOL_IPV6: i32 = 41;
const SO_BINDTODEVICE: i32 = 25;
const TCP_CONGESTION: i32 = 13;
/// Bytes of the name of a congestion control, with the NUL behind it.
const TCP_CA_NAME_MAX: usize = 16;

/// What options depend on besides the socket.
pub(crate) struct Surroundings<'a> {
    pub(crate) devices: &'a Devices,
    /// The limit of a buffer's length, in bytes (`net/core/wmem_max`, `rmem_max`).
    pub(crate) wmem_max: i32,
    pub(crate) rmem_max: i32,
    /// Ticks of a second: what timeouts are counted in.
    pub(crate) hz: u32,
    /// The congestion controls that there are.
    pub(crate) congestion: Vec<String>,
}

/// An option whose value is a number of 32 bits.
struct IntOption {
    level: i32,
    name: i32,
    set: Set,
    get: Get,
}

enum Set {
    /// Takes numbers of a range.
    Range(i32, i32),
    /// Takes all numbers, for true and false.
    Flag,
    /// Does it by itself.
    With(fn(&mut Socket, i32, &Surroundings<'_>) -> Result<(), Errno>),
}

enum Get {
    /// What was set, or else this.
    Stored(i32),
    With(fn(&Socket) -> i32),
    /// Can only be set.
    Never,
}

const ANY: Set = Set::Range(i32::MIN, i32::MAX);

const fn int(level: i32, name: i32, set: Set, get: Get) -> IntOption {
    IntOption { level, name, set, get }
}

#[rustfmt::skip]
static OPTIONS: &[IntOption] = &[
    // SO_REUSEADDR, SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_PRIORITY, SO_REUSEPORT
    int(SOL_SOCKET, 2, Set::With(|sk, value, _| { sk.reuse.addr = value != 0; Ok(()) }), Get::With(|sk| sk.reuse.addr.into())),
    int(SOL_SOCKET, 7, Set::With(set_sndbuf), Get::With(sndbuf)),
    int(SOL_SOCKET, 8, Set::With(set_rcvbuf), Get::With(rcvbuf)),
    int(SOL_SOCKET, 9, Set::Flag, Get::Stored(0)),
    int(SOL_SOCKET, 12, Set::With(|sk, value, _| { sk.priority = value as u32; Ok(()) }), Get::With(|sk| sk.priority as i32)),
    int(SOL_SOCKET, 15, Set::With(set_reuseport), Get::With(|sk| sk.reuse.port.into())),
    // SO_RCVLOWAT, SO_MARK, SO_MAX_PACING_RATE, SO_BINDTOIFINDEX, SO_TXREHASH
    int(SOL_SOCKET, 18, Set::With(set_rcvlowat), Get::Stored(1)),
    int(SOL_SOCKET, 36, Set::With(|sk, value, _| { sk.mark = value as u32; Ok(()) }), Get::With(|sk| sk.mark as i32)),
    int(SOL_SOCKET, 47, ANY, Get::Stored(-1)),
    int(SOL_SOCKET, 62, Set::With(set_ifindex), Get::With(|sk| sk.bound_dev_if as i32)),
    int(SOL_SOCKET, 74, Set::With(set_txrehash), Get::Stored(1)),
    // IP_TOS, IPV6_TCLASS, IPV6_AUTOFLOWLABEL
    int(SOL_IP, 1, Set::With(set_tos), Get::Stored(0)),
    int(SOL_IPV6, 67, Set::With(set_tclass), Get::Stored(0)),
    int(SOL_IPV6, 70, Set::Flag, Get::Stored(1)),
    // TCP_NODELAY, TCP_MAXSEG, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_SYNCNT, TCP_WINDOW_CLAMP
    int(SOL_TCP, 1, Set::Flag, Get::Stored(0)),
    int(SOL_TCP, 2, Set::With(set_maxseg), Get::With(maxseg)),
    int(SOL_TCP, 4, Set::Range(1, 32767), Get::Stored(7200)),
    int(SOL_TCP, 5, Set::Range(1, 32767), Get::Stored(75)),
    int(SOL_TCP, 6, Set::Range(1, 127), Get::Stored(9)),
    int(SOL_TCP, 7, Set::Range(1, 127), Get::Stored(6)),
    int(SOL_TCP, 10, Set::With(set_window_clamp), Get::Stored(0)),
    // TCP_THIN_LINEAR_TIMEOUTS, TCP_USER_TIMEOUT, TCP_NOTSENT_LOWAT, TCP_SAVE_SYN
    int(SOL_TCP, 16, Set::Range(0, 1), Get::Stored(0)),
    int(SOL_TCP, 18, Set::Range(0, i32::MAX), Get::Stored(0)),
    int(SOL_TCP, 25, ANY, Get::Stored(0)),
    int(SOL_TCP, 27, Set::Range(0, 2), Get::Stored(0)),
    // TCP_RTO_MAX_MS
    int(SOL_TCP, 44, Set::Range(1000, 120_000), Get::Stored(120_000)),
    // TCP_BPF_IW, TCP_BPF_SNDCWND_CLAMP, TCP_BPF_DELACK_MAX, TCP_BPF_RTO_MIN, TCP_BPF_SOCK_OPS_CB_FLAGS
    int(SOL_TCP, 1001, Set::With(set_initial_window), Get::Never),
    int(SOL_TCP, 1002, Set::With(set_cwnd_clamp), Get::Never),
    int(SOL_TCP, 1003, Set::With(|sk, value, around| set_timeout(sk, 1003, value, around)), Get::Stored(200_000)),
    int(SOL_TCP, 1004, Set::With(|sk, value, around| set_timeout(sk, 1004, value, around)), Get::Stored(200_000)),
    int(SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, Set::Range(0, 0x7f), Get::Stored(0)),
];

/// Sets an option of a socket; `value` is the guest's bytes, `int` what they are as a number of 32 bits, if they are 4.
pub(crate) fn set(
    sk: &mut Socket,
    (level, name): (i32, i32),
    value: &[u8],
    int: Option<i32>,
    around: &Surroundings<'_>,
) -> Result<(), Errno> {
    allowed(sk, level)?;
    match (level, name) {
        (SOL_SOCKET, SO_BINDTODEVICE) => return bind_to_device(sk, value, around.devices),
        (SOL_TCP, TCP_CONGESTION) => return set_congestion(sk, value, around),
        _ => {}
    }
    let row = find(level, name).ok_or(Errno::EINVAL)?;
    let number = int.ok_or(Errno::EINVAL)?;
    let stored = match row.set {
        Set::With(set) => return set(sk, number, around),
        Set::Range(min, max) if (min..=max).contains(&number) => number,
        Set::Range(..) => return Err(Errno::EINVAL),
        Set::Flag => (number != 0).into(),
    };
    store(sk, level, name, stored);
    Ok(())
}

/// The value of an option, for a buffer of `len` bytes; numbers come as what `encode` makes of them.
pub(crate) fn get(
    sk: &Socket,
    (level, name): (i32, i32),
    len: usize,
    encode: impl Fn(i32) -> [u8; 4],
) -> Result<Vec<u8>, Errno> {
    allowed(sk, level)?;
    if (level, name) == (SOL_TCP, TCP_CONGESTION) {
        return congestion(sk, len);
    }
    let row = find(level, name).filter(|_| len == 4).ok_or(Errno::EINVAL)?;
    match row.get {
        Get::With(get) => Ok(encode(get(sk)).to_vec()),
        Get::Stored(default) => Ok(encode(stored(sk, level, name).unwrap_or(default)).to_vec()),
        Get::Never => Err(Errno::EINVAL),
    }
}

/// `BPF_SOCK_OPS_ALL_CB_FLAGS`.
pub(crate) const CB_FLAGS_ALL: u32 = 0x7f;
/// `TCP_BPF_SOCK_OPS_CB_FLAGS`.
const TCP_BPF_SOCK_OPS_CB_FLAGS: i32 = 1008;

/// Which events of a connection programs are told of.
pub(crate) fn cb_flags(sk: &Socket) -> u32 {
    stored(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS).unwrap_or(0) as u32
}

/// Sets that.
pub(crate) fn set_cb_flags(sk: &mut Socket, flags: u32) {
    store(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, flags as i32);
}

fn find(level: i32, name: i32) -> Option<&'static IntOption> {
    OPTIONS.iter().find(|row| (row.level, row.name) == (level, name))
}

/// Whether the socket has options of a level.
fn allowed(sk: &Socket, level: i32) -> Result<(), Errno> {
    use crate::world::socket::{AF_INET, AF_INET6, SOCK_RAW};
    let has = sk.is_full()
        && match level {
            SOL_SOCKET => true,
            SOL_IP => match sk.family {
                AF_INET => true,
                // It may be one for IPv4 too.
                AF_INET6 => sk.sock_type != SOCK_RAW && !sk.v6only,
                _ => false,
            },
            SOL_IPV6 => sk.family == AF_INET6,
            SOL_TCP => sk.is_tcp(),
            _ => false,
        };
    if has { Ok(()) } else { Err(Errno::EINVAL) }
}

fn store(sk: &mut Socket, level: i32, name: i32, value: i32) {
    sk.options.insert((level, name), value.to_ne_bytes().to_vec());
}

/// A number that was set, in the host's byte order.
fn stored(sk: &Socket, level: i32, name: i32) -> Option<i32> {
    let bytes = sk.options.get(&(level, name))?;
    bytes.as_slice().try_into().ok().map(i32::from_ne_bytes)
}

fn set_sndbuf(sk: &mut Socket, value: i32, around: &Surroundings<'_>) -> Result<(), Errno> {
    const SOCK_MIN_SNDBUF: u32 = 4608;
    set_buffer(sk, 7, value, around.wmem_max, SOCK_MIN_SNDBUF)
}

fn set_rcvbuf(sk: &mut Socket, value: i32, around: &Surroundings<'_>) -> Result<(), Errno> {
    const SOCK_MIN_RCVBUF: u32 = 2304;
    set_buffer(sk, 8, value, around.rmem_max, SOCK_MIN_RCVBUF)
}

/// The kernel doubles it, for what it needs besides.
fn set_buffer(sk: &mut Socket, name: i32, value: i32, max: i32, min: u32) -> Result<(), Errno> {
    let value = (value as u32).min(max as u32).min(i32::MAX as u32 / 2);
    store(sk, SOL_SOCKET, name, (2 * value).max(min) as i32);
    Ok(())
}

const BUFFER_DEFAULT: i32 = 212_992;

fn sndbuf(sk: &Socket) -> i32 {
    let default = if sk.is_tcp() { 16_384 } else { BUFFER_DEFAULT };
    stored(sk, SOL_SOCKET, 7).unwrap_or(default)
}

fn rcvbuf(sk: &Socket) -> i32 {
    let default = if sk.is_tcp() { 131_072 } else { BUFFER_DEFAULT };
    stored(sk, SOL_SOCKET, 8).unwrap_or(default)
}

fn set_reuseport(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    if value != 0 && !sk.is_inet() {
        return Err(Errno::EOPNOTSUPP);
    }
    sk.reuse.port = value != 0;
    Ok(())
}

fn set_rcvlowat(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    let value = match value {
        0 => 1,
        ..0 => i32::MAX,
        value => value,
    };
    // TCP takes no more than half of its buffer.
    let value = if sk.is_tcp() { value.min(rcvbuf(sk) / 2) } else { value };
    store(sk, SOL_SOCKET, 18, value);
    Ok(())
}

fn set_ifindex(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    sk.bound_dev_if = u32::try_from(value).map_err(|_| Errno::EINVAL)?;
    Ok(())
}

fn set_txrehash(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    let value = match value {
        -1 => 1,
        0 | 1 => value,
        _ => return Err(Errno::EINVAL),
    };
    store(sk, SOL_SOCKET, 74, value);
    Ok(())
}

fn bind_to_device(sk: &mut Socket, name: &[u8], devices: &Devices) -> Result<(), Errno> {
    const IFNAMSIZ: usize = 16;
    let name = &name[..name.len().min(IFNAMSIZ - 1)];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let device = devices.0.iter().find(|device| device.name.as_bytes() == name);
    sk.bound_dev_if = match device {
        None if name.is_empty() => 0,
        found => found.ok_or(Errno::ENODEV)?.ifindex,
    };
    Ok(())
}

/// The bits of ECN are the connection's, in TCP.
fn traffic_class(sk: &Socket, level: i32, name: i32, value: i32) -> i32 {
    const ECN: i32 = 3;
    let old = stored(sk, level, name).unwrap_or(0);
    if sk.is_tcp() { value & 0xff & !ECN | old & ECN } else { value & 0xff }
}

fn set_tos(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    let value = traffic_class(sk, SOL_IP, 1, value);
    store(sk, SOL_IP, 1, value);
    // What rt_tos2priority gives for the type of service.
    const PRIORITIES: [u32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
    sk.priority = PRIORITIES[(value as usize & 0x1e) >> 1];
    Ok(())
}

fn set_tclass(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    if !(-1..=0xff).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let value = traffic_class(sk, SOL_IPV6, 67, value.max(0));
    store(sk, SOL_IPV6, 67, value);
    Ok(())
}

fn set_maxseg(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    const TCP_MIN_MSS: i32 = 88;
    const MAX_TCP_WINDOW: i32 = 32767;
    if value != 0 && !(TCP_MIN_MSS..=MAX_TCP_WINDOW).contains(&value) {
        return Err(Errno::EINVAL);
    }
    store(sk, SOL_TCP, 2, value);
    Ok(())
}

fn maxseg(sk: &Socket) -> i32 {
    const CLOSE: u32 = 7;
    const LISTEN: u32 = 10;
    let user = stored(sk, SOL_TCP, 2).filter(|user| *user != 0 && matches!(sk.state, CLOSE | LISTEN));
    user.unwrap_or(sk.tcp.mss_cache as i32)
}

fn set_window_clamp(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    const CLOSE: u32 = 7;
    const LEAST: i32 = 1152;
    if value == 0 && sk.state != CLOSE {
        return Err(Errno::EINVAL);
    }
    store(sk, SOL_TCP, 10, if value == 0 { 0 } else { value.max(LEAST) });
    Ok(())
}

fn set_initial_window(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    if value <= 0 || sk.tcp.data_segs_out > 0 {
        return Err(Errno::EINVAL);
    }
    sk.tcp.snd_cwnd = value as u32;
    Ok(())
}

/// Microseconds, up to 200 ms, kept in ticks; fewer than two ticks are none.
fn set_timeout(sk: &mut Socket, name: i32, value: i32, around: &Surroundings<'_>) -> Result<(), Errno> {
    const SECOND_US: u64 = 1_000_000;
    const TICKS_MIN: u64 = 2;
    let hz = u64::from(around.hz.max(1));
    let ticks = (u64::from(value as u32) * hz).div_ceil(SECOND_US);
    if !(TICKS_MIN..=hz / 5).contains(&ticks) {
        return Err(Errno::EINVAL);
    }
    store(sk, SOL_TCP, name, (ticks * SECOND_US / hz) as i32);
    Ok(())
}

fn set_cwnd_clamp(sk: &mut Socket, value: i32, _: &Surroundings<'_>) -> Result<(), Errno> {
    if value <= 0 {
        return Err(Errno::EINVAL);
    }
    (sk.tcp.snd_cwnd_clamp, sk.tcp.snd_ssthresh) = (value as u32, value as u32);
    Ok(())
}

fn set_congestion(sk: &mut Socket, value: &[u8], around: &Surroundings<'_>) -> Result<(), Errno> {
    if value.len() < 2 {
        return Err(Errno::EINVAL);
    }
    let name = &value[..value.len().min(TCP_CA_NAME_MAX - 1)];
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    // The only one that allocates, which programs could make it lose.
    if name == b"cdg" {
        return Err(Errno::ENOTSUPP);
    }
    let known = around.congestion.iter().find(|known| known.as_bytes() == name);
    sk.tcp.congestion = known.ok_or(Errno::ENOENT)?.clone();
    Ok(())
}

/// The name, as far as there is room for it and a NUL.
fn congestion(sk: &Socket, len: usize) -> Result<Vec<u8>, Errno> {
    if len < 2 {
        return Err(Errno::EINVAL);
    }
    let mut name = sk.tcp.congestion.clone().into_bytes();
    name.resize(TCP_CA_NAME_MAX, 0);
    name.truncate(len - 1);
    Ok(name)
}
