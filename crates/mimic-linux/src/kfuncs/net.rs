//! What drivers know of frames, tunnels through UDP, IPsec interfaces, and the end of sockets.
//! Documentation/networking/xdp-rx-metadata.rst.

use crate::Linux;
use crate::net::wrong_context;
use crate::objects::{self, socket_at};
use crate::progs::{RxMetadata, SkbContext, XdpContext};
use crate::world::socket::{IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE};
use mimic_abi::{
    Arg, ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Size, Support, arg,
};
use mimic_vm::{Call, Helper, HelperResult, Trap};

const ANY: ArgType = ArgType::Anything;
const CTX: Arg = arg("ctx", ArgType::Ctx);

const fn out(name: &'static str, len: u32) -> Arg {
    arg(name, ArgType::Mem(MemAccess::Write, MemLen::Fixed(len)))
}

const fn row(name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(0, name).args(args)
}

const NO_IPSEC: Support = Support::Partial("ENOENT: the world has no IPsec states");

pub(super) const ROWS: &[Helper] = &[
    Helper::new(row("bpf_xdp_metadata_rx_timestamp", &[CTX, out("timestamp", 8)]).since(6, 3), rx_timestamp),
    Helper::new(
        row("bpf_xdp_metadata_rx_hash", &[CTX, out("hash", 4), out("rss_type", 4)]).since(6, 3),
        rx_hash,
    ),
    Helper::new(
        row("bpf_xdp_metadata_rx_vlan_tag", &[CTX, out("vlan_proto", 2), out("vlan_tci", 2)]).since(6, 8),
        rx_vlan_tag,
    ),
    Helper::new(
        row("bpf_skb_set_fou_encap", &[CTX, arg("encap", ANY), arg("type", ANY)]).since(6, 4),
        set_fou_encap,
    ),
    Helper::new(row("bpf_skb_get_fou_encap", &[CTX, arg("encap", ANY)]).since(6, 4), get_fou_encap),
    Helper::new(row("bpf_skb_get_xfrm_info", &[CTX, arg("to", ANY)]).since(6, 2), get_xfrm_info),
    Helper::new(row("bpf_skb_set_xfrm_info", &[CTX, arg("from", ANY)]).since(6, 2), set_xfrm_info),
    Helper::new(
        row(
            "bpf_xdp_get_xfrm_state",
            &[
                CTX,
                arg("opts", ArgType::Mem(MemAccess::ReadWrite, MemLen::NextArg)),
                arg("opts__sz", ArgType::Size),
            ],
        )
        .returns(RetType::BtfIdOrNull("xfrm_state"))
        .flags(HelperFlags::ACQUIRES)
        .since(6, 8)
        .support(NO_IPSEC),
        get_xfrm_state,
    ),
    Helper::new(
        row("bpf_xdp_xfrm_state_release", &[arg("x", ArgType::BtfId("xfrm_state"))])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES)
            .since(6, 8)
            .support(NO_IPSEC),
        xfrm_state_release,
    ),
    Helper::new(row("bpf_sock_destroy", &[arg("sock", ArgType::BtfIdSockCommon)]).since(6, 5), sock_destroy),
];

/// What the driver knows of the frame; `EOPNOTSUPP` of drivers that tell nothing.
fn metadata(call: &mut Call<'_>, ctx: u64) -> Result<RxMetadata, Trap> {
    let Some(context) = call.context::<XdpContext>() else { return Err(wrong_context(call, "XDP frame")) };
    let (at, known) = (context.buff_mut().map(|buff| buff.md.base()), context.rx_metadata);
    if at != Some(ctx) {
        return Err(call.bad_argument(format!("{ctx:#x} is not the context")));
    }
    known.ok_or(Trap::Errno(Errno::EOPNOTSUPP))
}

fn rx_timestamp(call: &mut Call<'_>, ctx: u64, to: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let timestamp_ns = metadata(call, ctx)?.timestamp_ns.ok_or(Errno::ENODATA)?;
    call.store(to, Size::Dw, timestamp_ns)?;
    Ok(0)
}

fn rx_hash(call: &mut Call<'_>, ctx: u64, hash: u64, rss_type: u64, _: u64, _: u64) -> HelperResult {
    let (known, kind) = metadata(call, ctx)?.hash.ok_or(Errno::ENODATA)?;
    call.store(hash, Size::W, known.into())?;
    call.store(rss_type, Size::W, kind.into())?;
    Ok(0)
}

fn rx_vlan_tag(call: &mut Call<'_>, ctx: u64, proto: u64, tci: u64, _: u64, _: u64) -> HelperResult {
    let (known, tag) = metadata(call, ctx)?.vlan.ok_or(Errno::ENODATA)?;
    // In network order.
    call.write(proto, &known.to_be_bytes())?;
    call.store(tci, Size::H, tag.into())?;
    Ok(0)
}

/// The ports that packets of the tunnel are put into UDP with, in network order. Which of the two forms (FOU, GUE) nobody can ask.
fn set_fou_encap(call: &mut Call<'_>, ctx: u64, encap: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if encap == 0 {
        return Err(Errno::EINVAL.into());
    }
    let ports = call.read_array::<4>(encap)?;
    let skb = crate::helpers::skb(call, ctx)?;
    skb.tunnel.as_mut().ok_or(Errno::EINVAL)?.fou_ports = ports;
    Ok(0)
}

fn get_fou_encap(call: &mut Call<'_>, ctx: u64, encap: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let skb = crate::helpers::skb(call, ctx)?;
    let ports = skb.tunnel.as_ref().ok_or(Errno::EINVAL)?.fou_ports;
    call.write(encap, &ports)?;
    Ok(0)
}

fn get_xfrm_info(call: &mut Call<'_>, ctx: u64, to: u64, _: u64, _: u64, _: u64) -> HelperResult {
    crate::helpers::skb(call, ctx)?;
    let info = call.context::<SkbContext>().and_then(|context| context.xfrm).ok_or(Errno::EINVAL)?;
    call.store(to, Size::W, info.0.into())?;
    call.store(to + 4, Size::W, info.1.into())?;
    Ok(0)
}

/// A packet has metadata of one kind, once.
fn set_xfrm_info(call: &mut Call<'_>, ctx: u64, from: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let info = (call.load(from, Size::W)? as u32, call.load(from + 4, Size::W)? as u32);
    let tunnelled = crate::helpers::skb(call, ctx)?.tunnel.is_some();
    let Some(context) = call.context::<SkbContext>() else { return Err(Errno::EINVAL.into()) };
    if tunnelled || context.xfrm.is_some() {
        return Err(Errno::EINVAL.into());
    }
    context.xfrm = Some(info);
    Ok(0)
}

/// Why there is none, in the options.
fn get_xfrm_state(call: &mut Call<'_>, _ctx: u64, opts: u64, len: u64, _: u64, _: u64) -> HelperResult {
    const OPTS_LEN: u32 = 36;
    const CURRENT_NETNS: i32 = -1;
    let len = len as u32;
    if opts == 0 || len < 4 {
        return Ok(0);
    }
    call.check(opts, len.into(), true)?;
    let errno = match len {
        OPTS_LEN => match call.load(opts + 4, Size::W)? as i32 {
            ..CURRENT_NETNS => Errno::EINVAL,
            CURRENT_NETNS => Errno::ENOENT,
            _ => Errno::ENONET,
        },
        _ => Errno::EINVAL,
    };
    call.store(opts, Size::W, -i64::from(errno.0) as u64)?;
    Ok(0)
}

fn xfrm_state_release(call: &mut Call<'_>, state: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    objects::release(call, state)?;
    Ok(0)
}

/// A TCP socket is closed, and what is no whole one is gone; a UDP socket is disconnected.
fn sock_destroy(call: &mut Call<'_>, sock: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let socket = socket_at(call, sock)?;
    let linux = Linux::of(call);
    match (socket.is_tcp(), socket.is_udp()) {
        (true, _) if !socket.is_full() => drop(linux.remove_socket(socket.cookie)),
        (true, _) if socket.state == TCP_CLOSE => return Err(Errno::ENOENT.into()),
        (true, _) | (_, true) => {
            linux.change_socket(socket.cookie, |socket| {
                (socket.state, socket.remote_port) = (TCP_CLOSE, 0);
                (socket.remote_ip4, socket.remote_ip6) = ([0; 4], [0; 16]);
            });
        }
        _ if matches!(socket.protocol, IPPROTO_TCP | IPPROTO_UDP) => {}
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    Ok(0)
}
