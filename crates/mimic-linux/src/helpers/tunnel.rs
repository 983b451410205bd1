//! Tunnel metadata of packets.

use super::row::{READ, WRITE};
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
    Helper::listed(
        HelperSpec::new(21, "skb_set_tunnel_key")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("key", READ),
                arg("size", ArgType::Size),
                arg("flags", ArgType::Anything),
            ])
            .since(4, 3)
            .support(NOTE),
    ),
    Helper::new(
        HelperSpec::new(29, "skb_get_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", WRITE), arg("size", ArgType::Size)])
            .since(4, 6)
            .support(NO_TUNNEL),
        skb_get_tunnel_opt,
    ),
    Helper::listed(
        HelperSpec::new(30, "skb_set_tunnel_opt")
            .args(&[arg("skb", ArgType::Ctx), arg("opt", READ), arg("size", ArgType::Size)])
            .since(4, 6)
            .support(NOTE),
    ),
];

const NOTE: Support =
    Support::Refused("needs tunnel metadata on packets, which the emulated world does not have yet");

const NO_TUNNEL: Support =
    Support::Partial("packets come without tunnel metadata, as when no tunnel device received them");

fn skb_get_tunnel_key(call: &mut Call<'_>, _: u64, to: u64, len: u64, _: u64, _: u64) -> HelperResult {
    none(call, to, len, Errno::EINVAL)
}

fn skb_get_tunnel_opt(call: &mut Call<'_>, _: u64, to: u64, len: u64, _: u64, _: u64) -> HelperResult {
    none(call, to, len, Errno::ENOENT)
}

/// Zeroes the buffer, and says that there is nothing.
fn none(call: &Call<'_>, to: u64, len: u64, errno: Errno) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(to, len, true)?;
    call.write(to, &vec![0; len as usize])?;
    Err(errno.into())
}
