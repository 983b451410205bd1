//! Checksums: differences, and fields of packets that follow a change.

use super::row::READ;
use super::skb::{change, skb, with_buffer};
use crate::net::csum_diff as diff;
use mimic_abi::{ArgType, HelperFlags, HelperSpec, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(10, "l3_csum_replace")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", ArgType::Anything),
                arg("to", ArgType::Anything),
                arg("size", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1),
        l3_csum_replace,
    ),
    Helper::new(
        HelperSpec::new(11, "l4_csum_replace")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", ArgType::Anything),
                arg("to", ArgType::Anything),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 1),
        l4_csum_replace,
    ),
    Helper::new(
        HelperSpec::new(28, "csum_diff")
            .args(&[
                arg_or_null("from", READ),
                arg("from_size", ArgType::SizeOrZero),
                arg_or_null("to", READ),
                arg("to_size", ArgType::SizeOrZero),
                arg("seed", ArgType::Anything),
            ])
            .flags(HelperFlags::PKT_ACCESS)
            .since(4, 6),
        csum_diff,
    ),
    Helper::new(
        HelperSpec::new(40, "csum_update")
            .args(&[arg("skb", ArgType::Ctx), arg("csum", ArgType::Anything)])
            .since(4, 9),
        csum_update,
    ),
    Helper::new(
        HelperSpec::new(135, "csum_level")
            .args(&[arg("skb", ArgType::Ctx), arg("level", ArgType::Anything)])
            .since(5, 8),
        csum_level,
    ),
];

fn l3_csum_replace(call: &mut Call<'_>, ctx: u64, off: u64, from: u64, to: u64, flags: u64) -> HelperResult {
    change(call, ctx, |skb| skb.l3_replace(off as u32, from, to, flags).map(|()| 0))
}

fn l4_csum_replace(call: &mut Call<'_>, ctx: u64, off: u64, from: u64, to: u64, flags: u64) -> HelperResult {
    change(call, ctx, |skb| skb.l4_replace(off as u32, from, to, flags).map(|()| 0))
}

fn csum_diff(call: &mut Call<'_>, from: u64, from_len: u64, to: u64, to_len: u64, seed: u64) -> HelperResult {
    let (from_len, to_len) = (from_len as u32, to_len as u32);
    // NULL goes with no bytes.
    for (addr, len) in [(from, from_len), (to, to_len)].into_iter().filter(|(_, len)| *len > 0) {
        call.check(addr, len.into(), false)?;
    }
    let order = call.view().memory().order();
    with_buffer(from_len, |old| {
        call.read(from, old)?;
        with_buffer(to_len, |new| {
            call.read(to, new)?;
            Ok(diff(old, new, seed as u32, order).into())
        })
    })
}

fn csum_update(call: &mut Call<'_>, ctx: u64, sum: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(skb(call, ctx)?.csum_update(sum as u32)?)
}

fn csum_level(call: &mut Call<'_>, ctx: u64, level: u64, _: u64, _: u64, _: u64) -> HelperResult {
    Ok(skb(call, ctx)?.csum_level(level)?)
}
