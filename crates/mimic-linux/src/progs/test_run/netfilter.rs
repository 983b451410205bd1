//! Test-run of netfilter programs. Only what they return comes back.

use super::{TestRun, TestRunError, TestRunOut, ctx_init, is_zero, refuse, repeat};
use crate::net::{self, eth};
use crate::progs::{NF_HOOK_STATE_LEN, NfHook, SkbContext};
use mimic_abi::Errno;
use mimic_vm::Process;

/// Bytes before the packet: `NET_SKB_PAD`.
const HEADROOM: u32 = 64;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// The hook of packets that the host sends, where they have no link-layer header yet.
const LOCAL_OUT: u8 = 3;
/// `lo`.
const LOOPBACK_IFINDEX: u32 = 1;

pub(super) fn test_run(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    if run.flags != 0 || run.cpu != 0 || run.batch_size != 0 {
        return refuse(Errno::EINVAL, "flags, cpu and batch_size are not for netfilter programs");
    }
    let len_max = net::PAGE_LEN - HEADROOM - net::SHARED_INFO_LEN;
    if run.data_in.len() < eth::IPV4_HLEN as usize || run.data_in.len() > len_max as usize {
        return refuse(Errno::EINVAL, &format!("a packet has {} to {len_max} bytes", eth::IPV4_HLEN));
    }
    let mut hook = NfHook { pf: NFPROTO_IPV4, hook: LOCAL_OUT, ..NfHook::default() };
    if let Some(ctx) = ctx_init(run, NF_HOOK_STATE_LEN)? {
        if !is_zero(&ctx, 8, ctx.len()) || !matches!(ctx[1], NFPROTO_IPV4 | NFPROTO_IPV6) {
            return refuse(Errno::EINVAL, "only the hook can be set, and the family, to IPv4 or IPv6");
        }
        hook = NfHook { hook: ctx[0], pf: ctx[1], out_ifindex: LOOPBACK_IFINDEX, ..hook };
    }
    let mut context = if hook.hook == LOCAL_OUT {
        let mut context = SkbContext::ip(run.data_in);
        let protocol = if hook.pf == NFPROTO_IPV4 { eth::ETH_P_IP } else { eth::ETH_P_IPV6 };
        context.fields.protocol = Some(protocol);
        context
    } else {
        check_frame(run.data_in, hook.pf)?;
        SkbContext::packet(run.data_in)
    };
    context.hook = hook;
    let mut out = repeat(process, &mut context, run, |context| context.go_on = true)?;
    out.data_size_out = 0;
    Ok(out)
}

/// A frame must be of the hook's family.
fn check_frame(frame: &[u8], pf: u8) -> Result<(), TestRunError> {
    let len = frame.len() as u32;
    let wrong = |errno, why| refuse(errno, why);
    if len < eth::ETH_HLEN + eth::IPV4_HLEN {
        return wrong(Errno::EINVAL, "the packet ends inside its headers");
    }
    match eth::protocol(frame) {
        eth::ETH_P_IP if pf == NFPROTO_IPV4 => Ok(()),
        eth::ETH_P_IPV6 if len >= eth::ETH_HLEN + eth::IPV6_HLEN && pf == NFPROTO_IPV6 => Ok(()),
        eth::ETH_P_IP | eth::ETH_P_IPV6 => wrong(Errno::EINVAL, "the packet is not of the hook's family"),
        _ => wrong(Errno::EPROTO, "the packet is neither IPv4 nor IPv6"),
    }
}
