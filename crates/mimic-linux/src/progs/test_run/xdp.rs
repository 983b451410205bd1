//! Test-run of XDP programs.

use super::{
    BPF_F_TEST_XDP_LIVE_FRAMES, TestRun, TestRunError, TestRunOut, ctx_init, finish_ctx, finish_data, number,
    refuse, repeat, set_number,
};
use crate::Linux;
use crate::net::{self, XdpBuff, eth};
use crate::progs::{Xdp, XdpContext, layout};
use mimic_abi::{AttachType, ByteOrder, Errno};
use mimic_vm::Process;
use std::collections::VecDeque;

/// The most frames a batch: `TEST_XDP_MAX_BATCH`.
const BATCH_MAX: u32 = 256;
/// Frames a batch unless the caller says: `NAPI_POLL_WEIGHT`.
const BATCH: u32 = 64;
/// Pages that a page pool takes at once: `PP_ALLOC_CACHE_REFILL`.
const PAGES_REFILLED: usize = 64;
/// What the kernel keeps at the start of a live frame's page: `struct xdp_page_head`.
const PAGE_HEAD_LEN: u32 = 112;

pub(super) fn test_run(process: &mut Process, run: &TestRun<'_>) -> Result<TestRunOut, TestRunError> {
    let attach_type = process.program().linked().attach_type;
    if matches!(attach_type, Some(AttachType::XdpDevmap | AttachType::XdpCpumap)) {
        return refuse(Errno::EINVAL, "programs of device and CPU maps have no test-run");
    }
    check_flags(run)?;
    let mut ctx = ctx_init(run, layout::XDP_MD_LEN)?;
    let order = process.vm().memory().order();
    let (meta_len, linear_len) = lens(run, ctx.as_deref(), order)?;
    let mut context = XdpContext::packet(&run.data_in[meta_len as usize..]);
    context.meta = run.data_in[..meta_len as usize].to_vec();
    context.linear_len = Some(linear_len);
    if let Some(ctx) = &ctx {
        convert_in(process, ctx, order, &mut context)?;
    }
    if is_live(run) {
        return live(process, run, context);
    }
    let mut out = repeat(process, &mut context, run, |context| context.go_on = true)?;
    let (_, linear_after) = context.lens_after();
    let meta_after = context.meta_after().len() as u32;
    if let Some(ctx) = &mut ctx {
        set_number(ctx, 0, 4, meta_after.into(), order);
        set_number(ctx, 4, 4, (meta_after + linear_after).into(), order);
    }
    let frags = context.buff_mut().map(|buff| buff.frag_lens.clone()).unwrap_or_default();
    finish_data(&mut out, run, context.all_after(), &frags);
    finish_ctx(&mut out, run, ctx);
    Ok(out)
}

fn check_flags(run: &TestRun<'_>) -> Result<(), TestRunError> {
    if run.flags & !BPF_F_TEST_XDP_LIVE_FRAMES != 0 {
        return refuse(Errno::EINVAL, "XDP knows no flag but BPF_F_TEST_XDP_LIVE_FRAMES");
    }
    match (is_live(run), run.batch_size) {
        (true, size) if size > BATCH_MAX => {
            refuse(Errno::E2BIG, &format!("a batch has at most {BATCH_MAX} frames"))
        }
        (false, size) if size != 0 => refuse(Errno::EINVAL, "batch_size is for live frames"),
        _ => Ok(()),
    }
}

fn is_live(run: &TestRun<'_>) -> bool {
    run.flags & BPF_F_TEST_XDP_LIVE_FRAMES != 0
}

/// Runs on as many frames as asked, each in a page of its own. What the caller gets back is what it gave; what became of the frames is
/// counted.
fn live(
    process: &mut Process,
    run: &TestRun<'_>,
    mut context: XdpContext,
) -> Result<TestRunOut, TestRunError> {
    context.rx_queue_index = 0;
    let (mut left, batch) = (run.repeat.max(1), if run.batch_size == 0 { BATCH } else { run.batch_size });
    let mut pages = Pages {
        fresh: (context.meta.clone(), context.frame.clone()),
        cache: Vec::new(),
        ring: VecDeque::new(),
        ring_len_max: batch as usize,
    };
    let room = net::hard_end(net::PAGE_LEN - PAGE_HEAD_LEN) - net::HEADROOM;
    context.tailroom = Some(room.saturating_sub(context.frame.len() as u32));
    let mut out = TestRunOut::default();
    while left > 0 {
        let mut sent = Vec::new();
        for _ in 0..batch.min(left) {
            (context.meta, context.frame) = pages.take();
            out.insns = process.run(&mut context)?.insns;
            let verdict = context.verdict().unwrap_or(Xdp::Aborted);
            *out.frames.entry(verdict).or_default() += 1;
            let page = context.place_after();
            match verdict {
                Xdp::Pass | Xdp::Tx | Xdp::Redirect => sent.push(page),
                Xdp::Aborted | Xdp::Drop | Xdp::Other(_) => pages.give_back(page),
            }
        }
        sent.into_iter().for_each(|page| pages.give_back(page));
        left -= batch.min(left);
    }
    finish_data(&mut out, run, run.data_in, &[]);
    Ok(out)
}

/// Metadata and packet.
type Page = (Vec<u8>, Vec<u8>);

/// The pages of live frames, as a page pool hands them out. One that comes back keeps what programs wrote, where the frame was at first.
struct Pages {
    fresh: Page,
    /// Those that are given out next, the last first.
    cache: Vec<Page>,
    /// Those that came back, at most as many as a batch has.
    ring: VecDeque<Page>,
    ring_len_max: usize,
}

impl Pages {
    fn take(&mut self) -> Page {
        if self.cache.is_empty() {
            let returned = self.ring.len().min(PAGES_REFILLED);
            self.cache.extend(self.ring.drain(..returned));
        }
        if self.cache.is_empty() {
            self.cache.resize(PAGES_REFILLED, self.fresh.clone());
        }
        self.cache.pop().unwrap_or_else(|| self.fresh.clone())
    }

    fn give_back(&mut self, page: Page) {
        if self.ring.len() < self.ring_len_max {
            self.ring.push_back(page);
        }
    }
}

/// Bytes of metadata, and of the packet in one piece.
fn lens(run: &TestRun<'_>, ctx: Option<&[u8]>, order: ByteOrder) -> Result<(u32, u32), TestRunError> {
    let len = run.data_in.len() as u64;
    let (mut meta_len, mut linear) = (0, len);
    if let Some(ctx) = ctx {
        let word = |off| number(ctx, off, 4, order);
        let (data, data_end, data_meta) = (word(0), word(4), word(8));
        if is_live(run) && (run.data_out || run.ctx_size_out != 0) {
            return refuse(
                Errno::EINVAL,
                "live frames do not come back: there is no data_out and no ctx_out",
            );
        }
        if data_meta != 0 || data_end > len || data > data_end {
            return refuse(Errno::EINVAL, "data_meta is 0, and data and data_end are offsets in the data");
        }
        let room = net::HEADROOM - net::FRAME_HEADER_LEN;
        if data > u64::from(room) || !XdpBuff::meta_len_ok(data as u32) {
            return refuse(Errno::EINVAL, &format!("metadata is a multiple of 4 bytes, at most {room}"));
        }
        (meta_len, linear) = (data, data_end);
    }
    let page_len = if is_live(run) { net::PAGE_LEN - PAGE_HEAD_LEN } else { net::PAGE_LEN };
    let linear_max = u64::from(net::hard_end(page_len) - net::HEADROOM) + meta_len;
    if is_live(run) && len > linear.min(linear_max) {
        return refuse(
            Errno::EINVAL,
            "a live frame is in one piece, and not longer than its page has room for",
        );
    }
    if len - meta_len < u64::from(eth::ETH_HLEN) {
        return refuse(Errno::EINVAL, &format!("a packet has at least {} bytes", eth::ETH_HLEN));
    }
    Ok((meta_len as u32, (linear.min(linear_max) - meta_len) as u32))
}

fn convert_in(
    process: &Process,
    ctx: &[u8],
    order: ByteOrder,
    context: &mut XdpContext,
) -> Result<(), TestRunError> {
    let word = |off| number(ctx, off, 4, order) as u32;
    let (ingress, queue, egress) = (word(12), word(16), word(20));
    if egress != 0 || (ingress == 0 && queue != 0) {
        return refuse(Errno::EINVAL, "egress_ifindex is 0, and a queue needs its ingress_ifindex");
    }
    if ingress == 0 {
        return Ok(());
    }
    let linux = process.vm().emulator_as::<Linux>();
    let Some(device) = linux.and_then(|linux| linux.world().net.devices.by_index(ingress)) else {
        return refuse(Errno::ENODEV, &format!("there is no device {ingress}"));
    };
    if queue >= device.rx_queues {
        return refuse(Errno::EINVAL, &format!("device {ingress} has {} receive queues", device.rx_queues));
    }
    (context.ingress_ifindex, context.rx_queue_index) = (ingress, queue);
    Ok(())
}
