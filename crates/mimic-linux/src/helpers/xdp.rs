//! What programs do to XDP frames: head, metadata, tail, bytes.

use super::row::{READ, WRITE};
use super::skb::with_buffer;
use crate::net::{PacketBytes, XdpBuff, wrong_context};
use crate::progs::XdpContext;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(44, "xdp_adjust_head")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 10),
        xdp_adjust_head,
    ),
    Helper::new(
        HelperSpec::new(54, "xdp_adjust_meta")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 15),
        xdp_adjust_meta,
    ),
    Helper::new(
        HelperSpec::new(65, "xdp_adjust_tail")
            .args(&[arg("xdp_md", ArgType::Ctx), arg("delta", ArgType::Anything)])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18),
        xdp_adjust_tail,
    ),
    Helper::new(
        HelperSpec::new(188, "xdp_get_buff_len").args(&[arg("xdp_md", ArgType::Ctx)]).since(5, 18),
        xdp_get_buff_len,
    ),
    Helper::new(
        HelperSpec::new(189, "xdp_load_bytes")
            .args(&[
                arg("xdp_md", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("buf", WRITE),
                arg("len", ArgType::Size),
            ])
            .since(5, 18),
        xdp_load_bytes,
    ),
    Helper::new(
        HelperSpec::new(190, "xdp_store_bytes")
            .args(&[
                arg("xdp_md", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("buf", READ),
                arg("len", ArgType::Size),
            ])
            .since(5, 18),
        xdp_store_bytes,
    ),
];

/// The run's frame, which must be what `ctx` points at.
pub(super) fn xdp<'c>(call: &'c mut Call<'_>, ctx: u64) -> Result<&'c mut XdpBuff, Trap> {
    match call.context::<XdpContext>().and_then(XdpContext::buff_mut) {
        Some(buff) if buff.md.base() == ctx => {}
        Some(_) => return Err(call.bad_argument(format!("{ctx:#x} is not the context"))),
        None => return Err(wrong_context(call, "XDP frame")),
    }
    let buff = call.context::<XdpContext>().and_then(XdpContext::buff_mut);
    buff.ok_or(Trap::Errno(Errno::EINVAL))
}

fn change(
    call: &mut Call<'_>,
    ctx: u64,
    change: impl FnOnce(&mut XdpBuff) -> Result<(), Errno>,
) -> HelperResult {
    let answer = change(xdp(call, ctx)?);
    call.memory_changed();
    answer?;
    Ok(0)
}

fn xdp_adjust_head(call: &mut Call<'_>, ctx: u64, delta: u64, _: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |xdp| xdp.adjust_head(delta as i32))
}

fn xdp_adjust_meta(call: &mut Call<'_>, ctx: u64, delta: u64, _: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |xdp| xdp.adjust_meta(delta as i32))
}

fn xdp_adjust_tail(call: &mut Call<'_>, ctx: u64, delta: u64, _: u64, _: u64, _: u64) -> HelperResult {
    change(call, ctx, |xdp| xdp.adjust_tail(delta as i32))
}

fn xdp_get_buff_len(call: &mut Call<'_>, ctx: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(xdp(call, ctx)?.len().into())
}

/// Whether the helpers may touch these bytes of the frame.
fn check_range(call: &mut Call<'_>, ctx: u64, off: u32, len: u32) -> Result<(), Trap> {
    const MAX: u32 = 0xffff;
    let packet_len = xdp(call, ctx)?.len();
    if off > MAX || len > MAX {
        return Err(Errno::EFAULT.into());
    }
    if off + len > packet_len { Err(Errno::EINVAL.into()) } else { Ok(()) }
}

fn xdp_load_bytes(call: &mut Call<'_>, ctx: u64, off: u64, to: u64, len: u64, _: u64) -> HelperResult {
    let (off, len) = (off as u32, len as u32);
    call.check(to, len.into(), true)?;
    check_range(call, ctx, off, len)?;
    with_buffer(len, |bytes| {
        xdp(call, ctx)?.read(off, bytes);
        call.write(to, bytes)?;
        Ok(0)
    })
}

fn xdp_store_bytes(call: &mut Call<'_>, ctx: u64, off: u64, from: u64, len: u64, _: u64) -> HelperResult {
    let (off, len) = (off as u32, len as u32);
    call.check(from, len.into(), false)?;
    check_range(call, ctx, off, len)?;
    with_buffer(len, |bytes| {
        call.read(from, bytes)?;
        xdp(call, ctx)?.write(off, bytes);
        Ok(0)
    })
}
