//! Perf events: samples to users. bpf-helpers(7), perf_event_open(2).

use super::map::with_bytes;
use super::row::{READ, WRITE};
use crate::Linux;
use crate::maps::{LinuxMap, PerfEventArray};
use crate::net;
use crate::progs::Counter;
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, ProgType, Size, Support, arg};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(22, "perf_event_read")
            .args(&[arg("map", ArgType::ConstMapPtr), arg("flags", ArgType::Anything)])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 3),
        perf_event_read,
    ),
    Helper::new(
        HelperSpec::new(25, "perf_event_output")
            .args(&[
                arg("ctx", ArgType::Ctx),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 4),
        perf_event_output,
    ),
    Helper::new(
        HelperSpec::new(55, "perf_event_read_value")
            .args(&[
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("buf", WRITE),
                arg("buf_size", ArgType::Size),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(4, 15),
        perf_event_read_value,
    ),
    Helper::new(
        HelperSpec::new(111, "skb_output")
            .args(&[
                arg("ctx", ArgType::BtfId("sk_buff")),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 5)
            .support(TRACING),
        skb_output,
    ),
    Helper::new(
        HelperSpec::new(121, "xdp_output")
            .args(&[
                arg("ctx", ArgType::BtfId("xdp_buff")),
                arg("map", ArgType::ConstMapPtr),
                arg("flags", ArgType::Anything),
                arg("data", READ),
                arg("size", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 7)
            .support(TRACING),
        xdp_output,
    ),
];

const TRACING: Support = Support::Partial(
    "of packets of emulated programs that are traced: what pointers reach of them, without fragments",
);

/// `BPF_F_CTXLEN_MASK`: how much of the packet is to follow the data, in bytes.
const CTX_LEN_MASK: u64 = 0xf_ffff << 32;
/// `BPF_F_INDEX_MASK`.
const INDEX_MASK: u64 = 0xffff_ffff;

fn perf_event_output(
    call: &mut Call<'_>,
    _context: u64,
    map: u64,
    flags: u64,
    data: u64,
    size: u64,
) -> HelperResult {
    let array = call.map_as::<LinuxMap<PerfEventArray>>(map)?.ops();
    let packet_len = (flags & CTX_LEN_MASK) >> 32;
    let has_packet = has_packet(call);
    let allowed = if has_packet { INDEX_MASK | CTX_LEN_MASK } else { INDEX_MASK };
    if flags & !allowed != 0 {
        return Err(Errno::EINVAL.into());
    }
    let bytes = if packet_len > 0 { packet_bytes(call, packet_len)? } else { Vec::new() };
    let Ok(len) = u32::try_from(size) else { return Err(Errno::E2BIG.into()) };
    with_bytes(call, data, len, |data| {
        array.output(call.cpu(), flags as u32, data, &bytes)?;
        Ok(0)
    })
}

fn skb_output(call: &mut Call<'_>, skb: u64, map: u64, flags: u64, data: u64, size: u64) -> HelperResult {
    // `data` and `data_end` of `struct __sk_buff`.
    kernel_packet_output(call, (skb, [76, 80]), map, flags, (data, size))
}

fn xdp_output(call: &mut Call<'_>, xdp: u64, map: u64, flags: u64, data: u64, size: u64) -> HelperResult {
    // `data` and `data_end` of `struct xdp_md`.
    kernel_packet_output(call, (xdp, [0, 4]), map, flags, (data, size))
}

/// Of the packet of a traced program, which the kernel's structure behind its context stands for.
fn kernel_packet_output(
    call: &mut Call<'_>,
    (packet, ends): (u64, [u64; 2]),
    map: u64,
    flags: u64,
    (data, size): (u64, u64),
) -> HelperResult {
    let array = call.map_as::<LinuxMap<PerfEventArray>>(map)?.ops();
    let packet_len = (flags & CTX_LEN_MASK) >> 32;
    if flags & !(INDEX_MASK | CTX_LEN_MASK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    if packet == 0 {
        return Err(Errno::EFAULT.into());
    }
    let ctx = Linux::of(call).ctx_of_kern(packet);
    let ctx =
        ctx.ok_or_else(|| call.bad_argument(format!("{packet:#x} is no packet of a traced program")))?;
    let [start, end] = [call.load(ctx + ends[0], Size::W)?, call.load(ctx + ends[1], Size::W)?];
    if packet_len > end.saturating_sub(start) {
        return Err(Errno::EFAULT.into());
    }
    let bytes = call.read_vec(start, packet_len)?;
    let Ok(len) = u32::try_from(size) else { return Err(Errno::E2BIG.into()) };
    with_bytes(call, data, len, |data| {
        array.output(call.cpu(), flags as u32, data, &bytes)?;
        Ok(0)
    })
}

/// Whether programs of this type have packets whose bytes may follow the data.
fn has_packet(call: &Call<'_>) -> bool {
    use ProgType::*;
    matches!(
        call.program().linked().prog_type,
        Some(
            Xdp | SocketFilter
                | SchedCls
                | SchedAct
                | CgroupSkb
                | LwtIn
                | LwtOut
                | LwtXmit
                | LwtSeg6local
                | SkSkb
        )
    )
}

/// The packet's first bytes, wherever they lie; `EFAULT` if it has fewer.
fn packet_bytes(call: &mut Call<'_>, len: u64) -> Result<Vec<u8>, Trap> {
    let Some(packet) = net::packet(call) else { return Err(net::wrong_context(call, "packet")) };
    if len > packet.len().into() {
        return Err(Errno::EFAULT.into());
    }
    let mut bytes = vec![0; len as usize];
    packet.read(0, &mut bytes);
    Ok(bytes)
}

fn perf_event_read(call: &mut Call<'_>, map: u64, flags: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let array = call.map_as::<LinuxMap<PerfEventArray>>(map)?.ops();
    Ok(array.read(call.cpu(), flags)?.counter)
}

/// Writes the counter, or zeros and answers an errno.
fn perf_event_read_value(
    call: &mut Call<'_>,
    map: u64,
    flags: u64,
    buf: u64,
    size: u64,
    _: u64,
) -> HelperResult {
    let array = call.map_as::<LinuxMap<PerfEventArray>>(map)?.ops();
    let counter = if u64::from(size as u32) == Counter::LEN {
        array.read(call.cpu(), flags)
    } else {
        Err(Errno::EINVAL)
    };
    write_counter(call, buf, size, counter)
}

/// Writes a `struct bpf_perf_event_value`; zeros if there is none.
pub(super) fn write_counter(
    call: &Call<'_>,
    buf: u64,
    size: u64,
    counter: Result<Counter, Errno>,
) -> HelperResult {
    let size = u64::from(size as u32);
    call.check(buf, size, true)?;
    match counter {
        Ok(counter) => {
            for (at, word) in counter.words().into_iter().enumerate() {
                call.store(buf.wrapping_add(8 * at as u64), Size::Dw, word)?;
            }
            Ok(0)
        }
        Err(errno) => {
            call.write(buf, &vec![0; size as usize])?;
            Err(errno.into())
        }
    }
}
