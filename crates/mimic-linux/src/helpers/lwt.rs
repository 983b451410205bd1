//! Lightweight tunnels and IPv6 segment routing.

use super::row::READ;
use super::skb::change;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, ProgType, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(73, "lwt_push_encap")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("type", ArgType::Anything),
                arg("hdr", READ),
                arg("len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(Support::Partial(
                "segment routing (BPF_LWT_ENCAP_SEG6, _SEG6_INLINE) is a fault that says so; packets of several segments are not marked",
            )),
        lwt_push_encap,
    ),
    Helper::listed(
        HelperSpec::new(74, "lwt_seg6_store_bytes")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("from", READ),
                arg("len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(75, "lwt_seg6_adjust_srh")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("offset", ArgType::Anything),
                arg("delta", ArgType::Anything),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
    Helper::listed(
        HelperSpec::new(76, "lwt_seg6_action")
            .args(&[
                arg("skb", ArgType::Ctx),
                arg("action", ArgType::Anything),
                arg("param", READ),
                arg("param_len", ArgType::Size),
            ])
            .flags(HelperFlags::CHANGES_PACKET)
            .since(4, 18)
            .support(NOTE),
    ),
];

const NOTE: Support = Support::Refused(
    "the kernel offers it only behind an SRv6 local segment, whose header its routing code keeps; the world has no such routes",
);

/// `enum bpf_lwt_encap_mode`.
const ENCAP_SEG6: u32 = 0;
const ENCAP_SEG6_INLINE: u32 = 1;
const ENCAP_IP: u32 = 2;

fn lwt_push_encap(call: &mut Call<'_>, ctx: u64, kind: u64, hdr: u64, len: u64, _: u64) -> HelperResult {
    let headers = call.read_vec(hdr, u64::from(len as u32))?;
    let takes_in = call.program().linked().prog_type == Some(ProgType::LwtIn);
    match kind as u32 {
        ENCAP_IP => change(call, ctx, |skb| skb.push_ip_encap(&headers).map(|()| 0)),
        ENCAP_SEG6 | ENCAP_SEG6_INLINE if takes_in => {
            Err(call
                .unsupported("segment routing headers are looked up in routes that the world does not have"))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
