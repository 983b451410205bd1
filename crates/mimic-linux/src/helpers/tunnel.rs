//! Tunnel metadata of packets.

use super::row::{READ, WRITE};
use super::skb::{skb, with_buffer};
use crate::net::tunnel::{self, Tunnel};
use mimic_abi::{ArgType, Errno, HelperSpec, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(20, "skb_get_tunnel_key")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("key", WRITE),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 3)
            .support(NO_TUNNEL),
        skb_get_tunnel_key,
    ),
    Helper::new(
        HelperSpec::new(21, "skb_set_tunnel_key")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("key", READ),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 3),
        skb_set_tunnel_key,
    ),
    Helper::new(
        HelperSpec::new(29, "skb_get_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", WRITE), arg("size", ArgType::Size)])
            .since(4, 6)
            .support(NO_TUNNEL),
        skb_get_tunnel_opt,
    ),
    Helper::new(
        HelperSpec::new(30, "skb_set_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", READ), arg("size", ArgType::Size)])
            .since(4, 6),
        skb_set_tunnel_opt,
    ),
];

/// What a program gives a packet stays with it; packets come without.
const NO_TUNNEL: Support =
    Support::Partial("packets come without tunnel metadata, as when no tunnel device received them");

fn skb_get_tunnel_key(call: &mut Call<'_>, ctx: u64, to: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    let order = call.view().memory().order();
    answer(call, ctx, to, len, |tunnel, key| match tunnel {
        Some(tunnel) => tunnel.write_key(key, flags, order).map(|()| 0),
        None => Err(Errno::EINVAL),
    })
}

fn skb_get_tunnel_opt(call: &mut Call<'_>, ctx: u64, to: u64, len: u64, _: u64, _: u64) -> HelperResult {
    answer(call, ctx, to, len, |tunnel, options| match tunnel {
        Some(tunnel) => tunnel.write_options(options).map(|len| len as u64),
        None => Err(Errno::ENOENT),
    })
}

/// Fills the program's buffer, with zeros if there is an error.
fn answer(
    call: &mut Call<'_>,
    ctx: u64,
    to: u64,
    len: u64,
    write: impl FnOnce(Option<&Tunnel>, &mut [u8]) -> Result<u64, Errno>,
) -> HelperResult {
    let len = len as u32;
    call.check(to, len.into(), true)?;
    with_buffer(len, |bytes| {
        let answer = write(skb(call, ctx)?.tunnel.as_deref(), bytes);
        if answer.is_err() {
            bytes.fill(0);
        }
        call.write(to, bytes)?;
        Ok(answer?)
    })
}

fn skb_set_tunnel_key(
    call: &mut Call<'_>,
    ctx: u64,
    from: u64,
    len: u64,
    flags: u64,
    _: u64,
) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(from, len, false)?;
    if len > tunnel::KEY_LEN as u64 {
        return Err(Errno::EINVAL.into());
    }
    let key = call.read_vec(from, len)?;
    let tunnel = Tunnel::from_key(&key, flags, call.view().memory().order());
    skb(call, ctx)?.tunnel = Some(Box::new(tunnel?));
    Ok(0)
}

fn skb_set_tunnel_opt(call: &mut Call<'_>, ctx: u64, from: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(from, len, false)?;
    if skb(call, ctx)?.tunnel.is_none() {
        return Err(Errno::EINVAL.into());
    }
    Tunnel::check_options_len(len)?;
    let options = call.read_vec(from, len)?;
    if let Some(tunnel) = &mut skb(call, ctx)?.tunnel {
        tunnel.set_options(options);
    }
    Ok(0)
}
