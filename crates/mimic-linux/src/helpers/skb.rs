//! What programs do to socket buffers: bytes, room, tags, fields.

use super::row::{READ, WRITE};
use crate::Linux;
use crate::net::{PacketBytes, SkBuff, eth, wrong_context};
use crate::progs::{ReuseportFrom, SkReuseportContext, SkbContext};
use mimic_abi::{ArgType, ByteOrder, Errno, HelperFlags, HelperSpec, ProgType, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(9, "skb_store_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", READ),
                arg("len", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1),
        skb_store_bytes,
    ),
    Helper::new(
        HelperSpec::new(18, "skb_vlan_push")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("vlan_proto", ArgType::Anything),
                arg("vlan_tci", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 3),
        skb_vlan_push,
    ),
    Helper::new(
        HelperSpec::new(19, "skb_vlan_pop")
            .args(&[arg("skb", ArgType::Ctx)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 3),
        skb_vlan_pop,
    ),
    Helper::new(
        HelperSpec::new(24, "get_route_realm").args(&[arg("skb", ArgType::Ctx)]).since(4, 4).support(Support::Partial("0: packets have no routes yet")),
        get_route_realm,
    ),
    Helper::new(
        HelperSpec::new(26, "skb_load_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("to", WRITE),
                arg("len", ArgType::Size),
            ])
            .since(4, 5),
        skb_load_bytes,
    ),
    Helper::new(
        HelperSpec::new(31, "skb_change_proto")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("proto", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 8),
        skb_change_proto,
    ),
    Helper::new(
        HelperSpec::new(32, "skb_change_type")
            .args(&[arg("skb", ArgType::Ctx), arg("type", ArgType::Anything)])
            .since(4, 8),
        skb_change_type,
    ),
    Helper::new(
        HelperSpec::new(34, "get_hash_recalc").args(&[arg("skb", ArgType::Ctx)]).since(4, 8).support(Support::Partial("the same for packets of a flow, but not the kernel's number, which has a secret of the boot in it")),
        get_hash_recalc,
    ),
    Helper::new(
        HelperSpec::new(38, "skb_change_tail")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 9),
        skb_change_tail,
    ),
    Helper::new(
        HelperSpec::new(39, "skb_pull_data")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 9),
        skb_pull_data,
    ),
    Helper::new(
        HelperSpec::new(41, "set_hash_invalid").args(&[arg("skb", ArgType::Ctx)]).since(4, 9),
        set_hash_invalid,
    ),
    Helper::new(
        HelperSpec::new(43, "skb_change_head")
            .args(&[arg("skb", ArgType::Ctx), arg("len", ArgType::Anything), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 10),
        skb_change_head,
    ),
    Helper::new(
        HelperSpec::new(48, "set_hash")
            .args(&[arg("skb", ArgType::Ctx), arg("hash", ArgType::Anything)])
            .since(4, 13),
        set_hash,
    ),
    Helper::new(
        HelperSpec::new(50, "skb_adjust_room")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("len_diff", ArgType::Anything),
                arg("mode", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 13),
        skb_adjust_room,
    ),
    Helper::new(
        HelperSpec::new(66, "skb_get_xfrm_state")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("index", ArgType::Anything),
                arg("xfrm_state", WRITE),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 18),
        skb_get_xfrm_state,
    ),
    Helper::new(
        HelperSpec::new(68, "skb_load_bytes_relative")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("to", WRITE),
                arg("len", ArgType::Size),
                arg("start_header", ArgType::Anything),
            ])
            .since(4, 18),
        skb_load_bytes_relative,
    ),
    Helper::new(
        HelperSpec::new(97, "skb_ecn_set_ce").args(&[arg("skb", ArgType::Ctx)]).since(5, 1),
        skb_ecn_set_ce,
    ),
    Helper::new(
        HelperSpec::new(192, "skb_set_tstamp")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("tstamp", ArgType::Anything),
                arg("tstamp_type", ArgType::Anything),
            ])
            .since(5, 18),
        skb_set_tstamp,
    ),
];

/// `BPF_F_RECOMPUTE_CSUM` of `bpf_skb_store_bytes`.
const RECOMPUTE_CSUM: u64 = 1;
/// `BPF_F_INVALIDATE_HASH` of `bpf_skb_store_bytes`.
const INVALIDATE_HASH: u64 = 1 << 1;

/// The run's socket buffer, which must be what `ctx` points at.
pub(crate) fn skb<'c>(call: &'c mut Call<'_>, ctx: u64) -> Result<&'c mut SkBuff, Trap> {
    match call.context::<SkbContext>().and_then(SkbContext::buff_mut) {
        Some(buff) if buff.md.base() == ctx => {}
        Some(_) => return Err(call.bad_argument(format!("{ctx:#x} is not the context"))),
        None => return Err(wrong_context(call, "socket buffer")),
    }
    let buff = call.context::<SkbContext>().and_then(SkbContext::buff_mut);
    buff.ok_or(Trap::Errno(Errno::EINVAL))
}

/// Changes the socket buffer; pointers into the packet are looked up anew afterwards.
pub(super) fn change(
    call: &mut Call<'_>,
    ctx: u64,
    change: impl FnOnce(&mut SkBuff) -> Result<u64, Errno>,
) -> HelperResult {
    let answer = change(skb(call, ctx)?);
    call.memory_changed();
    Ok(answer?)
}

/// Bytes on their way between a packet and the program's memory, on the stack when they are few.
pub(super) fn with_buffer<T>(len: u32, then: impl FnOnce(&mut [u8]) -> T) -> T {
    const FEW: usize = 512;
    match len as usize {
        len @ 0..=FEW => then(&mut [0; FEW][..len]),
        len => then(&mut vec![0; len]),
    }
}

/// Fills the program's buffer with what `read` finds, or with zeros and an error.
pub(super) fn fill(
    call: &mut Call<'_>,
    to: u64,
    len: u32,
    errno: Errno,
    read: impl FnOnce(&mut Call<'_>, &mut [u8]) -> Result<bool, Trap>,
) -> HelperResult {
    // The check comes first: nothing is allocated for what the program has no room for.
    call.check(to, len.into(), true)?;
    with_buffer(len, |bytes| {
        let there = read(call, bytes)?;
        if !there {
            bytes.fill(0);
        }
        call.write(to, bytes)?;
        if there { Ok(0) } else { Err(errno.into()) }
    })
}

/// A 16-bit number that a program passes in network order.
fn from_net16(call: &Call<'_>, value: u64) -> u16 {
    match call.view().memory().order() {
        ByteOrder::Little => (value as u16).swap_bytes(),
        ByteOrder::Big => value as u16,
    }
}

fn skb_store_bytes(call: &mut Call<'_>, ctx: u64, off: u64, from: u64, len: u64, flags: u64) -> HelperResult {
    let (off, len) = (off as u32, len as u32);
    skb(call, ctx)?;
    if flags & !(RECOMPUTE_CSUM | INVALIDATE_HASH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    call.check(from, len.into(), false)?;
    with_buffer(len, |bytes| {
        call.read(from, bytes)?;
        change(call, ctx, |skb| {
            skb.store_bytes(off, bytes, flags & RECOMPUTE_CSUM != 0)?;
            if flags & INVALIDATE_HASH != 0 {
                skb.hash = None;
                skb.publish();
            }
            Ok(0)
        })
    })
}

fn skb_load_bytes(call: &mut Call<'_>, ctx: u64, off: u64, to: u64, len: u64, _: u64) -> HelperResult {
    let off = off as u32;
    if call.program().linked().prog_type == Some(ProgType::FlowDissector)
        && call.context::<crate::progs::SkbContext>().is_none()
    {
        // Test-run has no socket buffer behind a flow dissector's packet.
        return fill(call, to, len as u32, Errno::EFAULT, |_, _| Ok(false));
    }
    fill(call, to, len as u32, Errno::EFAULT, |call, bytes| {
        if let Some(context) =
            call.context::<SkReuseportContext>().filter(|context| context.at() == Some(ctx))
        {
            return Ok(context.read(ReuseportFrom::Transport, off, bytes).is_ok());
        }
        let skb = skb(call, ctx)?;
        Ok(off <= i32::MAX as u32 && skb.read(off, bytes))
    })
}

fn skb_load_bytes_relative(
    call: &mut Call<'_>,
    ctx: u64,
    off: u64,
    to: u64,
    len: u64,
    start: u64,
) -> HelperResult {
    let off = off as u32;
    fill(call, to, len as u32, Errno::EFAULT, |call, bytes| {
        if let Some(context) =
            call.context::<SkReuseportContext>().filter(|context| context.at() == Some(ctx))
        {
            let from = match start as u32 {
                0 => ReuseportFrom::Mac,
                1 => ReuseportFrom::Network,
                _ => return Ok(false),
            };
            return Ok(off <= 0xffff && context.read(from, off, bytes).is_ok());
        }
        let skb = skb(call, ctx)?;
        let start = match start as u32 {
            0 => skb.mac,
            1 => skb.network,
            _ => return Ok(false),
        };
        Ok(off <= 0xffff && skb.read_relative(start, off, bytes))
    })
}

fn skb_pull_data(call: &mut Call<'_>, ctx: u64, len: u64, _: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |skb| {
        let len = if len as u32 == 0 { skb.head_len } else { len as u32 };
        skb.make_writable(len).map(|()| 0)
    })
}

fn skb_change_tail(call: &mut Call<'_>, ctx: u64, len: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |skb| skb.change_tail(len as u32, flags).map(|()| 0))
}

fn skb_change_head(call: &mut Call<'_>, ctx: u64, len: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |skb| skb.change_head(len as u32, flags).map(|()| 0))
}

fn skb_change_proto(call: &mut Call<'_>, ctx: u64, proto: u64, flags: u64, _: u64, _: u64) -> HelperResult {
    let proto = from_net16(call, proto);
    change(call, ctx, |skb| skb.change_proto(proto, flags).map(|()| 0))
}

fn skb_change_type(call: &mut Call<'_>, ctx: u64, pkt_type: u64, _: u64, _: u64, _: u64) -> HelperResult {
    skb(call, ctx)?.change_type(pkt_type as u32)?;
    Ok(0)
}

fn skb_vlan_push(call: &mut Call<'_>, ctx: u64, proto: u64, tci: u64, _: u64, _: u64) -> HelperResult {
    let proto = from_net16(call, proto);
    change(call, ctx, |skb| skb.vlan_push(proto, tci as u16).map(|()| 0))
}

fn skb_vlan_pop(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |skb| skb.vlan_pop().map(|()| 0))
}

fn skb_adjust_room(call: &mut Call<'_>, ctx: u64, diff: u64, mode: u64, flags: u64, _: u64) -> HelperResult {
    change(call, ctx, |skb| skb.adjust_room(diff as i32, mode as u32, flags).map(|()| 0))
}

fn get_hash_recalc(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let linux = Linux::of(call);
    let skb = skb(call, ctx)?;
    if skb.hash.is_none() {
        // Never 0, which means that there is none.
        skb.hash = Some((linux.secret_hash(flow_of(skb)) as u32).max(1));
        skb.publish();
    }
    Ok(skb.hash.unwrap_or(0).into())
}

/// A number that packets of one flow share: addresses, protocol and ports.
fn flow_of(skb: &SkBuff) -> u64 {
    let net = skb.network_off();
    let mut mix = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |off: i64, len: usize| {
        let mut bytes = [0; 32];
        skb.read_signed(off, &mut bytes[..len]);
        for byte in &bytes[..len] {
            mix = (mix ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        bytes[0]
    };
    let (proto, header_len) = match skb.inner_protocol() {
        eth::ETH_P_IP => {
            let mut first = [0];
            skb.read_signed(net, &mut first);
            add(net + 12, 8);
            (add(net + 9, 1), i64::from(first[0] & 0xf) * 4)
        }
        eth::ETH_P_IPV6 => {
            add(net + 8, 32);
            (add(net + 6, 1), i64::from(eth::IPV6_HLEN))
        }
        _ => return mix,
    };
    // TCP, UDP and SCTP begin with their ports.
    if matches!(proto, 6 | 17 | 132) {
        add(net + header_len, 4);
    }
    mix
}

fn set_hash(call: &mut Call<'_>, ctx: u64, hash: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let skb = skb(call, ctx)?;
    skb.hash = Some(hash as u32);
    skb.publish();
    Ok(0)
}

fn set_hash_invalid(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let skb = skb(call, ctx)?;
    skb.hash = None;
    skb.publish();
    Ok(0)
}

fn skb_ecn_set_ce(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(skb(call, ctx)?.ecn_set_ce())
}

fn skb_set_tstamp(call: &mut Call<'_>, ctx: u64, tstamp: u64, kind: u64, _: u64, _: u64) -> HelperResult {
    let skb = skb(call, ctx)?;
    if !matches!(skb.protocol, eth::ETH_P_IP | eth::ETH_P_IPV6) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    // Real time may be 0, which is none; monotonic time and TAI may not.
    let kind = match kind as u32 {
        kind @ 0..=2 if kind == 0 || tstamp != 0 => kind as u8,
        _ => return Err(Errno::EINVAL.into()),
    };
    skb.tstamp_type = kind;
    skb.md.store(152, Size::Dw, tstamp);
    skb.publish();
    Ok(0)
}

fn skb_get_xfrm_state(
    call: &mut Call<'_>,
    ctx: u64,
    _index: u64,
    to: u64,
    len: u64,
    _flags: u64,
) -> HelperResult {
    // No packet of the world came through IPsec.
    skb(call, ctx)?;
    fill(call, to, len as u32, Errno::EINVAL, |_, _| Ok(false))
}

fn get_route_realm(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    // No packet of the world has a route yet.
    skb(call, ctx)?;
    Ok(0)
}
