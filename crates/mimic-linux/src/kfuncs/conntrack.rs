//! Connections that netfilter tracks: found, made, changed. Mirrors `struct bpf_ct_opts`; the kernel's selftest `test_bpf_nf.c`.

use crate::Linux;
use crate::objects::{self, ObjectKey, View};
use crate::world::{Connection, Tracked};
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};
use std::net::{IpAddr, SocketAddr};

const READ: ArgType = ArgType::Mem(MemAccess::Read, MemLen::NextArg);
const READ_WRITE: ArgType = ArgType::Mem(MemAccess::ReadWrite, MemLen::NextArg);
const CT: ArgType = ArgType::BtfId("nf_conn");
const CT_INIT: ArgType = ArgType::BtfId("nf_conn___init");
const ANY: ArgType = ArgType::Anything;

const OF_TUPLE: &[Arg] = &[
    arg("ctx", ArgType::Ctx),
    arg("bpf_tuple", READ),
    arg("tuple__sz", ArgType::SizeOrZero),
    arg("opts", READ_WRITE),
    arg("opts__sz", ArgType::SizeOrZero),
];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(tuple_row("bpf_xdp_ct_alloc", "nf_conn___init").since(6, 0), alloc),
    Helper::new(tuple_row("bpf_skb_ct_alloc", "nf_conn___init").since(6, 0), alloc),
    Helper::new(tuple_row("bpf_xdp_ct_lookup", "nf_conn").since(5, 18), lookup),
    Helper::new(tuple_row("bpf_skb_ct_lookup", "nf_conn").since(5, 18), lookup),
    Helper::new(
        row("bpf_ct_insert_entry", &[arg("nfct_i", CT_INIT)])
            .returns(RetType::BtfIdOrNull("nf_conn"))
            .flags(HelperFlags::ACQUIRES)
            .flags(HelperFlags::RELEASES)
            .since(6, 0),
        insert_entry,
    ),
    Helper::new(
        row("bpf_ct_release", &[arg("nfct", CT)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(5, 18),
        release,
    ),
    Helper::new(
        row("bpf_ct_set_timeout", &[arg("nfct", CT_INIT), arg("timeout", ANY)])
            .returns(RetType::Void)
            .since(6, 0),
        set_timeout,
    ),
    Helper::new(
        row("bpf_ct_change_timeout", &[arg("nfct", CT), arg("timeout", ANY)]).since(6, 0),
        set_timeout,
    ),
    Helper::new(
        row("bpf_ct_set_status", &[arg("nfct", CT_INIT), arg("status", ANY)]).since(6, 0),
        set_status,
    ),
    Helper::new(row("bpf_ct_change_status", &[arg("nfct", CT), arg("status", ANY)]).since(6, 0), set_status),
    Helper::new(
        row(
            "bpf_ct_set_nat_info",
            &[arg("nfct", CT_INIT), arg("addr", ANY), arg("port", ANY), arg("manip", ANY)],
        )
        .since(6, 1),
        set_nat_info,
    ),
];

const fn row(name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(0, name).args(args)
}

const fn tuple_row(name: &'static str, ret: &'static str) -> HelperSpec {
    row(name, OF_TUPLE).returns(RetType::BtfIdOrNull(ret)).flags(HelperFlags::ACQUIRES)
}

/// Bytes of `struct bpf_ct_opts`, and of what it was at first.
const OPTS_LEN: u32 = 16;
const OPTS_LEN_OLD: u32 = 12;
/// Where it has its members.
const OPTS_ERROR: u64 = 4;
const OPTS_PROTOCOL: u64 = 8;
const OPTS_DIR: u64 = 9;
const OPTS_ZONE: u64 = 10;
const OPTS_ZONE_DIR: u64 = 12;
const OPTS_RESERVED: u64 = 13;
/// The namespace of the program: `BPF_F_CURRENT_NETNS`.
const CURRENT_NETNS: i32 = -1;
/// Zones count in both directions unless it is said otherwise.
const BOTH_DIRECTIONS: u8 = 3;
/// How long a new entry is kept, in milliseconds.
const NEW_TIMEOUT_MS: u32 = 10_000;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
const IPS_CONFIRMED: u32 = 1 << 3;
const IPS_DYING: u32 = 1 << 9;
const IPS_FIXED_TIMEOUT: u32 = 1 << 10;
const IPS_EXPECTED: u32 = 1;
/// What programs cannot change: `IPS_UNCHANGEABLE_MASK`.
const IPS_UNCHANGEABLE: u32 = 0xdbf9;

/// A tuple and options that are in order.
struct Asked {
    protocol: u8,
    ends: [SocketAddr; 2],
    zone: u16,
    zone_dir: u8,
}

/// Who asks with a tuple. What is wrong is also said in the options, if they have room for it.
fn asked(
    call: &Call<'_>,
    (tuple, tuple_len): (u64, u32),
    (opts, opts_len): (u64, u32),
    allocates: bool,
) -> Result<Result<Asked, Errno>, Trap> {
    if tuple != 0 {
        call.check(tuple, tuple_len.into(), false)?;
    }
    if opts != 0 {
        call.check(opts, opts_len.into(), true)?;
    }
    if opts == 0 || tuple == 0 || !matches!(opts_len, OPTS_LEN | OPTS_LEN_OLD) {
        return Ok(Err(Errno::EINVAL));
    }
    let netns = call.load(opts, Size::W)? as i32;
    let protocol = call.load(opts + OPTS_PROTOCOL, Size::B)? as u8;
    let zone = call.load(opts + OPTS_ZONE, Size::H)? as u16;
    let mut zone_dir = BOTH_DIRECTIONS;
    if opts_len == OPTS_LEN {
        if call.read_array::<3>(opts + OPTS_RESERVED)? != [0; 3] {
            return Ok(Err(Errno::EINVAL));
        }
        zone_dir = call.load(opts + OPTS_ZONE_DIR, Size::B)? as u8;
    } else if zone != 0 {
        return Ok(Err(Errno::EINVAL));
    }
    let (is_known, is_here) = (matches!(protocol, IPPROTO_TCP | IPPROTO_UDP), netns >= CURRENT_NETNS);
    // Which of two mistakes is seen first depends on what is asked for.
    if !is_known && (is_here || !allocates) {
        return Ok(Err(Errno::EPROTO));
    }
    if !is_here {
        return Ok(Err(Errno::EINVAL));
    }
    let ends = match tuple_len {
        12 => ends::<4>(call, tuple)?,
        36 => ends::<16>(call, tuple)?,
        _ => return Ok(Err(Errno::EAFNOSUPPORT)),
    };
    if netns > CURRENT_NETNS {
        // Other namespaces of the world have no connections.
        return Ok(Err(Errno::ENONET));
    }
    if opts_len == OPTS_LEN && zone_dir == 0 {
        zone_dir = BOTH_DIRECTIONS;
        call.store(opts + OPTS_ZONE_DIR, Size::B, zone_dir.into())?;
    }
    Ok(Ok(Asked { protocol, ends, zone, zone_dir }))
}

fn ends<const N: usize>(call: &Call<'_>, tuple: u64) -> Result<[SocketAddr; 2], Trap>
where
    IpAddr: From<[u8; N]>,
{
    let len = N as u64;
    let end = |addr: u64, port: u64| -> Result<SocketAddr, Trap> {
        let port = call.read_array(tuple + port).map(u16::from_be_bytes)?;
        Ok(SocketAddr::new(call.read_array::<N>(tuple + addr)?.into(), port))
    };
    Ok([end(0, 2 * len)?, end(len, 2 * len + 2)?])
}

/// NULL, and why in the options.
fn refuse(call: &Call<'_>, (opts, opts_len): (u64, u32), errno: Errno) -> HelperResult {
    if opts != 0 && u64::from(opts_len) >= OPTS_ERROR + 4 {
        call.store(opts + OPTS_ERROR, Size::W, -i64::from(errno.0) as u64)?;
    }
    Ok(0)
}

fn alloc(call: &mut Call<'_>, _ctx: u64, tuple: u64, len: u64, opts: u64, opts_len: u64) -> HelperResult {
    let (tuple, opts) = ((tuple, len as u32), (opts, opts_len as u32));
    let Asked { protocol, ends: [src, dst], zone, .. } = match asked(call, tuple, opts, true)? {
        Ok(asked) => asked,
        Err(errno) => return refuse(call, opts, errno),
    };
    let (original, reply) = ((src, dst), (dst, src));
    let timeout_ms = NEW_TIMEOUT_MS;
    let connection = Connection { protocol, zone, original, reply, status: 0, mark: 0, timeout_ms };
    let Some(id) = Linux::of(call).tables.track(Tracked {
        connection,
        inserted: false,
        expires_ms: Some(timeout_ms.into()),
    }) else {
        return refuse(call, opts, Errno::ENOMEM);
    };
    objects::give_acquired(call, ObjectKey::Connection(id), View::Kernel)
}

fn lookup(call: &mut Call<'_>, _ctx: u64, tuple: u64, len: u64, opts: u64, opts_len: u64) -> HelperResult {
    let (tuple, opts) = ((tuple, len as u32), (opts, opts_len as u32));
    let asked = match asked(call, tuple, opts, false)? {
        Ok(asked) => asked,
        Err(errno) => return refuse(call, opts, errno),
    };
    let [src, dst] = asked.ends;
    let now_ms = age_ms(call);
    let direction = |tracked: &Tracked| {
        let known = &tracked.connection;
        if !tracked.is_there(now_ms) || known.protocol != asked.protocol {
            return None;
        }
        let at = [known.original, known.reply].iter().position(|ends| *ends == (src, dst))?;
        let zone = if asked.zone_dir & 1 << at != 0 { asked.zone } else { 0 };
        (known.zone == zone).then_some(at)
    };
    let found = Linux::of(call).tables.connections.entry(|tracked| direction(tracked).is_some());
    let Some((id, tracked)) = found else { return refuse(call, opts, Errno::ENOENT) };
    call.store(opts.0 + OPTS_DIR, Size::B, direction(&tracked).unwrap_or(0) as u64)?;
    objects::give_acquired(call, ObjectKey::Connection(id), View::Kernel)
}

/// How long the world has been there, in milliseconds.
fn age_ms(call: &Call<'_>) -> u64 {
    let linux = Linux::of(call);
    linux.clock().now_ns_on(call.cpu()).saturating_sub(linux.world().clock.start_ns) / 1_000_000
}

/// The connection that an argument points at, with the mark that programs wrote into it.
fn connection_at(call: &Call<'_>, addr: u64) -> Result<u64, Trap> {
    let linux = Linux::of(call);
    match linux.object_at(addr) {
        Some((ObjectKey::Connection(id), _)) => {
            let mark = linux.objects.member(linux.btf(), addr, "mark").map(|at| call.load(at, Size::W));
            if let Some(mark) = mark.transpose()? {
                linux.tables.connections.change(id, |tracked| tracked.connection.mark = mark as u32);
            }
            Ok(id)
        }
        _ => Err(call.bad_argument(format!("{addr:#x} is no tracked connection"))),
    }
}

fn insert_entry(call: &mut Call<'_>, ct: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = connection_at(call, ct)?;
    objects::release(call, ct)?;
    let linux = Linux::of(call);
    let tables = &linux.tables;
    let Some(new) = tables.connections.get(id) else { return Ok(0) };
    let same = |known: &Tracked| {
        let (known, new) = (&known.connection, &new.connection);
        let ends = [known.original, known.reply];
        (known.protocol, known.zone) == (new.protocol, new.zone)
            && (ends.contains(&new.original) || ends.contains(&new.reply))
    };
    let now_ms = age_ms(call);
    if tables.connections.find(|known| known.is_there(now_ms) && same(known)).is_some() {
        linux.forget_connection(id);
        return Ok(0);
    }
    linux.change_connection(id, |tracked| {
        let expires_ms = tracked.expires_ms.map(|timeout_ms| timeout_ms.saturating_add(now_ms));
        tracked.expire_at(expires_ms);
        tracked.connection.status |= IPS_CONFIRMED;
        tracked.inserted = true;
    });
    objects::give_acquired(call, ObjectKey::Connection(id), View::Kernel)
}

/// What was never inserted goes with the last reference.
fn release(call: &mut Call<'_>, ct: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = connection_at(call, ct)?;
    objects::release(call, ct)?;
    let linux = Linux::of(call);
    if linux.tables.connections.get(id).is_some_and(|tracked| !tracked.inserted) {
        linux.forget_connection(id);
    }
    Ok(0)
}

fn set_timeout(call: &mut Call<'_>, ct: u64, timeout: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = connection_at(call, ct)?;
    let (timeout_ms, now_ms) = (u64::from(timeout as u32), age_ms(call));
    let linux = Linux::of(call);
    let changed = linux.change_connection(id, |tracked| {
        let (inserted, status) = (tracked.inserted, tracked.connection.status);
        if inserted && status & IPS_FIXED_TIMEOUT != 0 {
            return Err(Errno::EPERM);
        }
        tracked.expire_at(Some(if inserted { now_ms.saturating_add(timeout_ms) } else { timeout_ms }));
        if inserted && status & IPS_DYING != 0 { Err(Errno::ETIME) } else { Ok(0) }
    });
    Ok(changed.unwrap_or(Ok(0))?)
}

fn set_status(call: &mut Call<'_>, ct: u64, status: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let id = connection_at(call, ct)?;
    let status = status as u32;
    let linux = Linux::of(call);
    let changed = linux.change_connection(id, |tracked| {
        let known = &mut tracked.connection.status;
        let differing = *known ^ status;
        let lost = differing & !status & (IPS_SEEN_REPLY | IPS_ASSURED);
        if differing & (IPS_EXPECTED | IPS_CONFIRMED | IPS_DYING) != 0 || lost != 0 {
            return Err(Errno::EBUSY);
        }
        *known |= status & !IPS_UNCHANGEABLE;
        Ok(0)
    });
    Ok(changed.unwrap_or(Ok(0))?)
}

/// What address and port answers come from (destination), or go to (source).
fn set_nat_info(call: &mut Call<'_>, ct: u64, addr: u64, port: u64, manip: u64, _: u64) -> HelperResult {
    const SRC: u32 = 0;
    let id = connection_at(call, ct)?;
    let linux = Linux::of(call);
    let is_v4 = linux.tables.connections.get(id).is_none_or(|known| known.connection.original.0.is_ipv4());
    let addr = match is_v4 {
        true => IpAddr::from(call.read_array::<4>(addr)?),
        false => IpAddr::from(call.read_array::<16>(addr)?),
    };
    let port = u16::try_from(port as i32).map_err(|_| Errno::EINVAL)?;
    linux.change_connection(id, |tracked| {
        let (from, to) = &mut tracked.connection.reply;
        let end = if manip as u32 == SRC { to } else { from };
        *end = SocketAddr::new(addr, if port == 0 { end.port() } else { port });
        const IPS_SRC_NAT: u32 = 1 << 4;
        const IPS_SRC_NAT_DONE: u32 = 1 << 7;
        let bits = IPS_SRC_NAT | IPS_SRC_NAT_DONE;
        tracked.connection.status |= if manip as u32 == SRC { bits } else { bits << 1 };
    });
    Ok(0)
}
