//! Test-run of the program types that see socket buffers.

use super::{
    BPF_F_TEST_SKB_CHECKSUM_COMPLETE, TestRun, TestRunError, TestRunOut, ctx_init, finish_ctx, finish_data,
    is_zero, number, refuse, repeat, set_number,
};
use crate::Linux;
use crate::net::{self, Checksum, csum_fold, csum_partial, eth};
use crate::progs::skb::sock_of_test_run;
use crate::progs::{SkbContext, SkbFields, SkbStart, layout};
use crate::world::{CGROUP_ROOT, Socket};
use mimic_abi::{ByteOrder, Errno, ProgType};
use mimic_vm::Process;

/// Bytes before the packet: `NET_SKB_PAD`.
const HEADROOM: u32 = 64;
/// The most bytes on the wire: `GSO_LEGACY_MAX_SIZE`.
const WIRE_LEN_MAX: u64 = 65536;
/// The most segments: `GSO_MAX_SEGS`.
const GSO_SEGS_MAX: u64 = 65535;
/// The parts of `__sk_buff` that nobody may set: from, to.
const MUST_BE_ZERO: [(usize, usize); 6] = [(0, 8), (12, 32), (44, 48), (68, 152), (168, 176), (180, 184)];

pub(super) fn test_run(
    process: &mut Process,
    run: &TestRun<'_>,
    prog_type: ProgType,
) -> Result<TestRunOut, TestRunError> {
    use ProgType::*;
    if run.flags & !BPF_F_TEST_SKB_CHECKSUM_COMPLETE != 0 || run.cpu != 0 || run.batch_size != 0 {
        return refuse(Errno::EINVAL, "flags, cpu and batch_size are not for packets");
    }
    let len_max = net::PAGE_LEN - HEADROOM - net::SHARED_INFO_LEN;
    if run.data_in.len() < eth::ETH_HLEN as usize || run.data_in.len() > len_max as usize {
        return refuse(Errno::EINVAL, &format!("a packet has {} to {len_max} bytes", eth::ETH_HLEN));
    }
    let mut ctx = ctx_init(run, layout::SK_BUFF_LEN)?;
    let order = process.vm().memory().order();
    let is_l2 = matches!(prog_type, SchedCls | SchedAct);
    let mut context = SkbContext::packet(run.data_in);
    context.at_ingress = false;
    context.start = if is_l2 { SkbStart::Mac } else { SkbStart::Network };
    check_device(process, ctx.as_deref(), order, &mut context)?;
    let network = &run.data_in[eth::ETH_HLEN as usize..];
    let protocol = eth::protocol(run.data_in);
    let header_len = match protocol {
        eth::ETH_P_IP => eth::IPV4_HLEN,
        eth::ETH_P_IPV6 => eth::IPV6_HLEN,
        _ => 0,
    };
    if network.len() < header_len as usize {
        return refuse(Errno::EINVAL, "the packet ends inside its network header");
    }
    let linux = process.vm().emulator_as::<Linux>();
    let cgroup = linux.map_or(CGROUP_ROOT, |linux| linux.task(process.cpu()).cgroup);
    context.sock = Some(Socket { cgroup, ..sock_of_test_run(protocol, network) });
    // The kernel fills the length in only when it reads a context.
    context.fields.wire_len = Some(0);
    if let Some(ctx) = &ctx {
        let len = if is_l2 { run.data_in.len() } else { network.len() };
        convert_in(ctx, len as u64, order, &mut context.fields)?;
    }
    let complete = run.flags & BPF_F_TEST_SKB_CHECKSUM_COMPLETE != 0;
    if complete {
        context.checksum = Checksum::Complete(csum_partial(network, 0, order));
    }
    let out = repeat(process, &mut context, run, |context| context.go_on = true);
    drop_socket(process, &context);
    let mut out = out?;
    if complete && !checksum_holds(&context, order) {
        return refuse(Errno::EBADMSG, "the packet's sum is no longer that of its bytes");
    }
    if let Some(ctx) = &mut ctx {
        convert_out(context.fields_after(), order, ctx);
    }
    // Types without a link layer get an empty one back.
    let mut data = vec![0; if is_l2 { 0 } else { eth::ETH_HLEN as usize }];
    data.extend_from_slice(context.packet_after());
    finish_data(&mut out, run, &data, &[]);
    finish_ctx(&mut out, run, ctx);
    Ok(out)
}

/// The socket goes with the test-run, and what programs stored with it.
fn drop_socket(process: &Process, context: &SkbContext) {
    if let (Some(sock), Some(linux)) = (&context.sock, process.vm().emulator_as::<Linux>()) {
        linux.remove_socket(sock.cookie);
    }
}

/// Finds the device that the context names: `lo` unless it is another.
fn check_device(
    process: &Process,
    ctx: Option<&[u8]>,
    order: ByteOrder,
    context: &mut SkbContext,
) -> Result<(), TestRunError> {
    let ifindex = ctx.map_or(0, |ctx| number(ctx, 40, 4, order)) as u32;
    if ifindex > 1 {
        let linux = process.vm().emulator_as::<Linux>();
        if linux.is_none_or(|linux| linux.world().net.devices.by_index(ifindex).is_none()) {
            return refuse(Errno::ENODEV, &format!("there is no device {ifindex}"));
        }
        context.fields.ifindex = ifindex;
    }
    Ok(())
}

fn convert_in(ctx: &[u8], len: u64, order: ByteOrder, fields: &mut SkbFields) -> Result<(), TestRunError> {
    if let Some((from, to)) = MUST_BE_ZERO.iter().find(|(from, to)| !is_zero(ctx, *from, *to)) {
        return refuse(Errno::EINVAL, &format!("bytes {from} to {to} of __sk_buff cannot be set"));
    }
    let word = |off| number(ctx, off, 4, order);
    fields.mark = word(8) as u32;
    fields.priority = word(32) as u32;
    fields.ingress_ifindex = word(36) as u32;
    fields.tstamp = number(ctx, 152, 8, order);
    fields.cb = core::array::from_fn(|at| word(48 + 4 * at) as u32);
    fields.wire_len = match word(160) {
        0 => None,
        wire_len if wire_len < len || wire_len > WIRE_LEN_MAX => {
            return refuse(Errno::EINVAL, &format!("wire_len is {len} to {WIRE_LEN_MAX}, or 0"));
        }
        wire_len => Some(wire_len as u32),
    };
    if word(164) > GSO_SEGS_MAX {
        return refuse(Errno::EINVAL, &format!("gso_segs is at most {GSO_SEGS_MAX}"));
    }
    (fields.gso_segs, fields.gso_size) = (word(164) as u16, word(176) as u16);
    fields.hwtstamp = number(ctx, 184, 8, order);
    Ok(())
}

/// Only these fields are written; the others stay as they were given.
fn convert_out(fields: &SkbFields, order: ByteOrder, ctx: &mut [u8]) {
    let mut set = |off, value: u32| set_number(ctx, off, 4, value.into(), order);
    set(8, fields.mark);
    set(32, fields.priority);
    set(36, fields.ingress_ifindex);
    set(40, fields.ifindex);
    set(160, fields.wire_len.unwrap_or(0));
    set(164, fields.gso_segs.into());
    for (at, word) in fields.cb.iter().enumerate() {
        set(48 + 4 * at, *word);
    }
    set_number(ctx, 152, 8, fields.tstamp, order);
    set_number(ctx, 184, 8, fields.hwtstamp, order);
}

fn checksum_holds(context: &SkbContext, order: ByteOrder) -> bool {
    let Some(buff) = context.buff() else { return false };
    let at = buff.network_off();
    let mut bytes = vec![0; (i64::from(buff.len) - at).max(0) as usize];
    buff.read_signed(at, &mut bytes) && csum_fold(buff.sum_kept) == csum_fold(csum_partial(&bytes, 0, order))
}
