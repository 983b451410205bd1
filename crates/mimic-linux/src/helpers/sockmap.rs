//! Sock maps: putting sockets in and finding them, redirecting to them, selecting one that shares a port; and what is done to messages.
//! Documentation/bpf/map_sockmap.rst.

use crate::Linux;
use crate::maps::{SocketMap, socket_map, takes_redirected};
use crate::net::{Message, Redirect, RedirectTo, wrong_context};
use crate::objects::{self, ObjectKey, View, socket_at};
use crate::progs::{SkMsgContext, SkReuseportContext, SkbContext, SockOpsContext};
use crate::world::Socket;
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, MapType, arg};
use mimic_vm::{Call, Helper, HelperResult, MapRef, Trap};
use std::sync::Arc;

const MSG_RANGE: &[Arg] = &[
    arg("msg", ArgType::Ctx),
    arg("start", ArgType::Anything),
    arg("len", ArgType::Anything),
    arg("flags", ArgType::Anything),
];
const MSG_BYTES: &[Arg] = &[arg("msg", ArgType::Ctx), arg("bytes", ArgType::Anything)];

const fn by_index(ctx: &'static str) -> [Arg; 4] {
    by(ctx, ArgType::Anything)
}

const fn by_key(ctx: &'static str) -> [Arg; 4] {
    by(ctx, ArgType::MapKey)
}

const fn by(ctx: &'static str, key: ArgType) -> [Arg; 4] {
    [
        arg(ctx, ArgType::Ctx),
        arg("map", ArgType::ConstMapPtr),
        arg("key", key),
        arg("flags", ArgType::Anything),
    ]
}

pub(super) const ROWS: &[Helper] = &[
    Helper::new(HelperSpec::new(52, "sk_redirect_map").args(&by_index("skb")).since(4, 14), sk_redirect_map),
    Helper::new(update_row(53, "sock_map_update").since(4, 14), sock_map_update),
    Helper::new(
        HelperSpec::new(60, "msg_redirect_map").args(&by_index("msg")).since(4, 17),
        msg_redirect_map,
    ),
    Helper::new(HelperSpec::new(61, "msg_apply_bytes").args(MSG_BYTES).since(4, 17), msg_apply_bytes),
    Helper::new(HelperSpec::new(62, "msg_cork_bytes").args(MSG_BYTES).since(4, 17), msg_cork_bytes),
    Helper::new(
        HelperSpec::new(63, "msg_pull_data")
            .args(&[
                arg("msg", ArgType::Ctx),
                arg("start", ArgType::Anything),
                arg("end", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 17),
        msg_pull_data,
    ),
    Helper::new(update_row(70, "sock_hash_update").since(4, 18), sock_map_update),
    Helper::new(
        HelperSpec::new(71, "msg_redirect_hash").args(&by_key("msg")).since(4, 18),
        msg_redirect_hash,
    ),
    Helper::new(HelperSpec::new(72, "sk_redirect_hash").args(&by_key("skb")).since(4, 18), sk_redirect_hash),
    Helper::new(
        HelperSpec::new(82, "sk_select_reuseport").args(&by_key("reuse")).since(4, 19),
        sk_select_reuseport,
    ),
    Helper::new(
        HelperSpec::new(90, "msg_push_data").args(MSG_RANGE).flags(HelperFlags::CHANGES_PACKET).since(4, 20),
        msg_push_data,
    ),
    Helper::new(
        HelperSpec::new(91, "msg_pop_data").args(MSG_RANGE).flags(HelperFlags::CHANGES_PACKET).since(5, 0),
        msg_pop_data,
    ),
];

const UPDATE: &[Arg] = &by_key("skops");

const fn update_row(id: u32, name: &'static str) -> HelperSpec {
    HelperSpec::new(id, name).args(UPDATE).flags(HelperFlags::PKT_ACCESS)
}

const SK_DROP: u64 = 0;
const SK_PASS: u64 = 1;
/// As something that was received: `BPF_F_INGRESS`.
const INGRESS: u64 = 1;

/// `bpf_map_lookup_elem` of a sock map: the socket, which the program has to give back. 0 for all other maps.
#[cold]
pub(super) fn lookup(call: &mut Call<'_>, map: &MapRef, key: u64) -> HelperResult {
    let Some(sockets) = socket_map(map) else { return Ok(0) };
    let key = call.read_vec(key, map.key_size.into())?;
    match sockets.socket(&key) {
        Some(cookie) => objects::give_acquired(call, ObjectKey::Socket(cookie), View::Sock),
        None => Ok(0),
    }
}

/// `bpf_map_update_elem` of a sock map, whose value is a socket.
#[cold]
pub(super) fn put(
    call: &mut Call<'_>,
    sockets: &SocketMap,
    (key, key_len): (u64, u32),
    value: u64,
    flags: u64,
) -> HelperResult {
    let key = call.read_vec(key, key_len.into())?;
    let socket = socket_at(call, value)?;
    if !socket.is_full() {
        return Err(Errno::EINVAL.into());
    }
    sockets.put(&key, socket.cookie, flags)?;
    Ok(0)
}

/// Puts the connection of the event into a map: of the events that begin one.
fn sock_map_update(call: &mut Call<'_>, ctx: u64, map: u64, key: u64, flags: u64, _: u64) -> HelperResult {
    let (map, key) = map_and_key(call, map, key)?;
    let Some(context) = call.context::<SockOpsContext>() else {
        return Err(wrong_context(call, "event of a connection"));
    };
    let (known, cookie, maps) = (context.at(), context.sock.cookie, context.maps_socket());
    if known.map(|(at, _)| at) != Some(ctx) {
        return Err(call.bad_argument(format!("{ctx:#x} is not the context")));
    }
    if !maps {
        return Err(Errno::EOPNOTSUPP.into());
    }
    map.put_connection(&key, cookie, flags)?;
    Ok(0)
}

fn sk_redirect_map(call: &mut Call<'_>, ctx: u64, map: u64, index: u64, flags: u64, _: u64) -> HelperResult {
    let (map_id, socket) = at_index(call, map, index)?;
    redirect_packet(call, ctx, map_id, socket, flags)
}

fn sk_redirect_hash(call: &mut Call<'_>, ctx: u64, map: u64, key: u64, flags: u64, _: u64) -> HelperResult {
    let (map_id, socket) = at_key(call, map, key)?;
    redirect_packet(call, ctx, map_id, socket, flags)
}

fn msg_redirect_map(call: &mut Call<'_>, ctx: u64, map: u64, index: u64, flags: u64, _: u64) -> HelperResult {
    let (map_id, socket) = at_index(call, map, index)?;
    redirect_message(call, ctx, map_id, socket, flags)
}

fn msg_redirect_hash(call: &mut Call<'_>, ctx: u64, map: u64, key: u64, flags: u64, _: u64) -> HelperResult {
    let (map_id, socket) = at_key(call, map, key)?;
    redirect_message(call, ctx, map_id, socket, flags)
}

fn redirect_packet(
    call: &mut Call<'_>,
    ctx: u64,
    map_id: u32,
    socket: Option<Arc<Socket>>,
    flags: u64,
) -> HelperResult {
    super::skb::skb(call, ctx)?;
    let Some(socket) = socket.filter(|socket| flags & !INGRESS == 0 && takes_redirected(socket)) else {
        return Ok(SK_DROP);
    };
    if let Some(context) = call.context::<SkbContext>() {
        let to = RedirectTo::Socket { map_id, cookie: socket.cookie };
        context.redirect = Some(Redirect { to, flags });
    }
    Ok(SK_PASS)
}

fn redirect_message(
    call: &mut Call<'_>,
    ctx: u64,
    map_id: u32,
    socket: Option<Arc<Socket>>,
    flags: u64,
) -> HelperResult {
    message(call, ctx)?;
    // What is to be sent goes through TCP only.
    let takes = |socket: &Arc<Socket>| takes_redirected(socket) && (flags & INGRESS != 0 || socket.is_tcp());
    let Some(socket) = socket.filter(|socket| flags & !INGRESS == 0 && takes(socket)) else {
        return Ok(SK_DROP);
    };
    if let Some(context) = call.context::<SkMsgContext>() {
        let to = RedirectTo::Socket { map_id, cookie: socket.cookie };
        context.redirect = Some(Redirect { to, flags });
    }
    Ok(SK_PASS)
}

fn at_index(call: &Call<'_>, map: u64, index: u64) -> Result<(u32, Option<Arc<Socket>>), Trap> {
    let (id, map) = (call.map(map)?.id, sockets(call, map)?);
    let cookie = map.socket(&map.key_of(index as u32));
    Ok((id, cookie.and_then(|cookie| Linux::of(call).sockets().get(cookie))))
}

fn at_key(call: &Call<'_>, map: u64, key: u64) -> Result<(u32, Option<Arc<Socket>>), Trap> {
    let id = call.map(map)?.id;
    let (map, key) = map_and_key(call, map, key)?;
    Ok((id, map.socket(&key).and_then(|cookie| Linux::of(call).sockets().get(cookie))))
}

fn map_and_key<'a>(call: &Call<'a>, map: u64, key: u64) -> Result<(&'a SocketMap, Vec<u8>), Trap> {
    let key = call.read_vec(key, call.map(map)?.key_size.into())?;
    Ok((sockets(call, map)?, key))
}

fn sockets<'a>(call: &Call<'a>, map: u64) -> Result<&'a SocketMap, Trap> {
    let map = call.map(map)?;
    socket_map(map).ok_or_else(|| call.bad_argument(format!("map {} holds no sockets", map.spec().name)))
}

fn sk_select_reuseport(
    call: &mut Call<'_>,
    ctx: u64,
    map: u64,
    key: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    let is_array = sockets(call, map)?.kind() == MapType::ReuseportSockarray;
    let (_, found) = at_key(call, map, key)?;
    let Some(context) = call.context::<SkReuseportContext>() else {
        return Err(wrong_context(call, "packet for sockets that share a port"));
    };
    let (at, of) = (context.at(), context.sock.clone());
    if at != Some(ctx) {
        return Err(call.bad_argument(format!("{ctx:#x} is not the context")));
    }
    let _ = flags;
    let found = found.ok_or(Errno::ENOENT)?;
    if !found.reuse.port || !found.is_hashed() {
        return Err(if is_array { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let group = crate::net::reuseport_group(Linux::of(call), &of);
    if !group.iter().any(|socket| socket.cookie == found.cookie) {
        return Err(match () {
            () if of.protocol != found.protocol => Errno::EPROTOTYPE,
            () if of.family != found.family => Errno::EAFNOSUPPORT,
            () => Errno::EBADFD,
        }
        .into());
    }
    if let Some(context) = call.context::<SkReuseportContext>() {
        context.selected = Some(found.cookie);
    }
    Ok(0)
}

/// The run's message, which must be what `ctx` points at.
fn message<'c>(call: &'c mut Call<'_>, ctx: u64) -> Result<&'c mut Message, Trap> {
    match call.context::<SkMsgContext>().map(|context| context.at()) {
        Some(Some((at, _))) if at == ctx => {}
        Some(_) => return Err(call.bad_argument(format!("{ctx:#x} is not the context"))),
        None => return Err(wrong_context(call, "message")),
    }
    let message = call.context::<SkMsgContext>().and_then(SkMsgContext::message_mut);
    message.ok_or(Trap::Errno(Errno::EINVAL))
}

/// Changes the message; pointers into it are looked up anew afterwards.
fn change(
    call: &mut Call<'_>,
    ctx: u64,
    flags: u64,
    change: impl FnOnce(&mut Message) -> Result<(), Errno>,
) -> HelperResult {
    let message = message(call, ctx)?;
    let answer = if flags == 0 { change(message) } else { Err(Errno::EINVAL) };
    call.memory_changed();
    answer?;
    Ok(0)
}

fn msg_apply_bytes(call: &mut Call<'_>, ctx: u64, bytes: u64, _: u64, _: u64, _: u64) -> HelperResult {
    message(call, ctx)?.apply_bytes = bytes as u32;
    Ok(0)
}

fn msg_cork_bytes(call: &mut Call<'_>, ctx: u64, bytes: u64, _: u64, _: u64, _: u64) -> HelperResult {
    message(call, ctx)?.cork_bytes = bytes as u32;
    Ok(0)
}

fn msg_pull_data(call: &mut Call<'_>, ctx: u64, start: u64, end: u64, flags: u64, _: u64) -> HelperResult {
    change(call, ctx, flags, |message| message.pull(start as u32, end as u32))
}

fn msg_push_data(call: &mut Call<'_>, ctx: u64, start: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    change(call, ctx, flags, |message| message.push(start as u32, len as u32))
}

fn msg_pop_data(call: &mut Call<'_>, ctx: u64, start: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    change(call, ctx, flags, |message| message.pop(start as u32, len as u32))
}
