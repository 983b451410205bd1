//! Routes: where a packet would go. Mirrors `struct bpf_fib_lookup` of linux/bpf.h.

use super::row::READ_WRITE;
use crate::Linux;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(69, "fib_lookup")
        .args(&[
            arg("ctx", ArgType::Ctx),
            arg("params", READ_WRITE),
            arg("plen", ArgType::Size),
            arg("flags", ArgType::Anything),
        ])
        .flags(HelperFlags::GPL_ONLY)
        .since(4, 18)
        .support(Support::Partial("no device of the world forwards packets yet: its answers end there")),
    fib_lookup,
)];

/// Bytes of `struct bpf_fib_lookup`.
const PARAMS_LEN: i32 = 64;
/// DIRECT, OUTPUT, SKIP_NEIGH, TBID, SRC, MARK.
const FLAGS: u32 = 0x3f;

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// `BPF_FIB_LKUP_RET_NOT_FWDED`: the packet is not one to forward.
const NOT_FWDED: u64 = 4;
/// `BPF_FIB_LKUP_RET_FWD_DISABLED`: the device forwards nothing.
const FWD_DISABLED: u64 = 5;

fn fib_lookup(call: &mut Call<'_>, _ctx: u64, params: u64, plen: u64, flags: u64, _: u64) -> HelperResult {
    call.check(params, plen, true)?;
    if (plen as i32) < PARAMS_LEN || flags as u32 & !FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let ifindex = call.load(params + 8, Size::W)? as u32;
    match call.load(params, Size::B)? {
        AF_INET => {}
        AF_INET6 => {
            let (from, to) = (call.read_array(params + 16)?, call.read_array(params + 32)?);
            if stays_on_link(from) || stays_on_link(to) {
                return Ok(NOT_FWDED);
            }
        }
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    }
    match Linux::of(call).world().net.devices.by_index(ifindex) {
        Some(_) => Ok(FWD_DISABLED),
        None => Err(Errno::ENODEV.into()),
    }
}

/// IPv6 addresses that no router passes on: loopback, link-local, multicast.
fn stays_on_link(address: [u8; 16]) -> bool {
    let loopback = u128::from_be_bytes(address) == 1;
    let link_local = address[0] == 0xfe && address[1] & 0xc0 == 0x80;
    loopback || link_local || address[0] == 0xff
}
