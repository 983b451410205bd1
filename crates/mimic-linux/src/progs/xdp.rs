//! `XdpContext`: a frame for an XDP program, `struct xdp_md`, and what the program made of it.

use crate::net::{self, FRAGS_MAX, HEADROOM, PAGE_LEN, Redirect, XdpBuff};
use core::fmt;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Setup};

/// What an XDP program decides, `enum xdp_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Xdp {
    /// An error in the program: dropped, and traced.
    Aborted,
    /// Dropped.
    Drop,
    /// Handed to the network stack.
    Pass,
    /// Sent back out of the device.
    Tx,
    /// Sent elsewhere.
    Redirect,
    /// A number that is no action: dropped, with a warning.
    Other(u32),
}

impl From<u32> for Xdp {
    fn from(retval: u32) -> Xdp {
        match retval {
            0 => Xdp::Aborted,
            1 => Xdp::Drop,
            2 => Xdp::Pass,
            3 => Xdp::Tx,
            4 => Xdp::Redirect,
            other => Xdp::Other(other),
        }
    }
}

impl fmt::Display for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Xdp::Aborted => "XDP_ABORTED",
            Xdp::Drop => "XDP_DROP",
            Xdp::Pass => "XDP_PASS",
            Xdp::Tx => "XDP_TX",
            Xdp::Redirect => "XDP_REDIRECT",
            Xdp::Other(number) => return write!(f, "{number}"),
        })
    }
}

/// What a driver knows of a frame. What is none it could tell, but not of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxMetadata {
    /// When it was received, in nanoseconds.
    pub timestamp_ns: Option<u64>,
    /// The hash by which its queue was chosen, and `enum xdp_rss_hash_type`.
    pub hash: Option<(u32, u32)>,
    /// Protocol and control information of the VLAN tag that was taken out of it.
    pub vlan: Option<(u16, u16)>,
}

/// A frame for an XDP program. It can be run again and again; each run begins with `frame`.
#[derive(Debug)]
pub struct XdpContext {
    /// The frame, from its Ethernet header on.
    pub frame: Vec<u8>,
    /// Metadata before the frame: a multiple of 4 bytes, at most 252.
    pub meta: Vec<u8>,
    /// The device that received it.
    pub ingress_ifindex: u32,
    /// The queue that it was received on.
    pub rx_queue_index: u32,
    /// The device that it leaves by, for programs in device maps.
    pub egress_ifindex: u32,
    /// Bytes of `frame` in one piece; the rest lies in fragments of a page. None: all of them.
    pub linear_len: Option<u32>,
    /// Bytes between the buffer's start and the frame: what it can grow by at its head, but for the kernel's own 40. At most a page.
    pub headroom: u32,
    /// Bytes that the frame can grow by at its tail, at most a page. None: what is left of the page, as drivers have it.
    pub tailroom: Option<u32>,
    /// What the driver knows of it; none of drivers that tell nothing.
    pub rx_metadata: Option<RxMetadata>,
    /// Whether the packet is read back after a run. Without it a run costs less.
    pub read_back: bool,
    /// How the last run ended.
    verdict: Option<Xdp>,
    /// Metadata and packet after the last run.
    after: Vec<u8>,
    /// What the redirect helpers recorded.
    pub(crate) redirect: Option<Redirect>,
    buff: Option<XdpBuff>,
    /// The next run goes on with the frame as the last one left it.
    pub(crate) go_on: bool,
}

impl XdpContext {
    /// A frame received on `lo` of an empty network namespace.
    pub fn packet(frame: impl Into<Vec<u8>>) -> XdpContext {
        XdpContext {
            frame: frame.into(),
            meta: Vec::new(),
            ingress_ifindex: 1,
            rx_queue_index: 0,
            egress_ifindex: 0,
            linear_len: None,
            headroom: HEADROOM,
            tailroom: None,
            rx_metadata: None,
            read_back: true,
            verdict: None,
            after: Vec::new(),
            redirect: None,
            buff: None,
            go_on: false,
        }
    }

    /// Another frame for the next run, in the memory of the last one.
    pub fn set_frame(&mut self, frame: &[u8]) {
        self.frame.clear();
        self.frame.extend_from_slice(frame);
    }

    /// What the last run decided; none if it faulted.
    pub fn verdict(&self) -> Option<Xdp> {
        self.verdict
    }

    /// The packet after the last run.
    pub fn packet_after(&self) -> &[u8] {
        self.after.get(self.meta_after().len()..).unwrap_or_default()
    }

    /// Metadata and packet after the last run.
    pub(crate) fn all_after(&self) -> &[u8] {
        &self.after
    }

    /// What stands after the last run where metadata and frame were before it.
    pub(crate) fn place_after(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut meta, mut frame) = (self.meta.clone(), self.frame.clone());
        if let Some(buff) = &self.buff {
            buff.linear.read(self.headroom - meta.len() as u32, &mut meta);
            buff.linear.read(self.headroom, &mut frame);
        }
        (meta, frame)
    }

    /// The metadata after the last run.
    pub fn meta_after(&self) -> &[u8] {
        let len = self.buff.as_ref().map_or(0, XdpBuff::meta_len) as usize;
        self.after.get(..len).unwrap_or_default()
    }

    /// Bytes of the packet after the last run, and how many of them are in one piece.
    pub fn lens_after(&self) -> (u32, u32) {
        let buff = self.buff.as_ref();
        buff.map_or((0, 0), |buff| (net::PacketBytes::len(buff), buff.linear_len()))
    }

    /// Where the program redirected the packet, if that is its verdict.
    pub fn redirect(&self) -> Option<&Redirect> {
        self.redirect.as_ref().filter(|_| self.verdict == Some(Xdp::Redirect))
    }

    /// The buffer, while a program runs.
    pub fn buff_mut(&mut self) -> Option<&mut XdpBuff> {
        self.buff.as_mut()
    }

    fn checked_len(&self) -> Result<(u32, u32), ContextError> {
        let refused = |errno: Errno, why: String| Err(ContextError::Errno(errno, why));
        let Ok(len) = net::packet_len(self.frame.len()) else {
            let why =
                format!("a frame has at most {} bytes, this one {}", net::PACKET_LEN_MAX, self.frame.len());
            return refused(Errno::E2BIG, why);
        };
        let meta_len = self.meta.len() as u32;
        if !XdpBuff::meta_len_ok(meta_len) {
            let why = format!("XDP metadata is a multiple of 4 bytes, at most 252, not {meta_len}");
            return refused(Errno::EINVAL, why);
        }
        let tailroom = self.tailroom.unwrap_or(0);
        if self.headroom < meta_len || self.headroom.max(tailroom) > PAGE_LEN {
            let why = format!(
                "headroom ({}) is at least the metadata's length, and like tailroom ({tailroom}) at most {PAGE_LEN} bytes",
                self.headroom
            );
            return refused(Errno::EINVAL, why);
        }
        let linear = self.linear_len.unwrap_or(len).min(len);
        if len - linear > FRAGS_MAX as u32 * PAGE_LEN {
            let why = format!("{} bytes do not fit in {FRAGS_MAX} fragments of {PAGE_LEN}", len - linear);
            return refused(Errno::ENOMEM, why);
        }
        Ok((len, linear))
    }

    fn fill(&mut self, setup: &mut Setup<'_>) -> Result<(), ContextError> {
        let (len, linear_len) = self.checked_len()?;
        // A page, as drivers have it, and more pages for frames that do not fit into one.
        let room = self.headroom + linear_len;
        let frame_size =
            (room + self.tailroom.unwrap_or(0) + net::SHARED_INFO_LEN).next_multiple_of(PAGE_LEN);
        let hard_end = self.tailroom.map_or(net::hard_end(frame_size), |tailroom| room + tailroom);
        let linear = setup.region("packet", hard_end, Layout::Bytes(Access::ReadWrite))?;
        let program = setup.program().linked();
        let layout = super::spec(mimic_abi::ProgType::Xdp).and_then(|spec| spec.layout(program.attach_type));
        let layout = layout.unwrap_or(super::layout::XDP_MD);
        let md = setup.region("context", super::layout::XDP_MD_LEN, Layout::Fields(layout))?;
        let (data, meta_len) = (self.headroom, self.meta.len() as u32);
        linear.fill(0, data - meta_len, 0);
        // Zeros, as test-run has them, but nobody wrote them: a program that grows the frame at its head is to write there first.
        linear.recycle(0, data - meta_len);
        linear.write(data - meta_len, &self.meta);
        let (head, tail) = self.frame.split_at(linear_len as usize);
        linear.write(data, head);
        let mut buff = match self.buff.take() {
            Some(buff) => XdpBuff { linear, md, ..buff },
            None => XdpBuff {
                linear,
                md,
                frags: None,
                frag_lens: Vec::new(),
                meta: 0,
                data: 0,
                end: 0,
                hard_end: 0,
            },
        };
        buff.frag_lens.clear();
        if len > linear_len {
            let region =
                setup.region("fragments", FRAGS_MAX as u32 * PAGE_LEN, Layout::Bytes(Access::ReadWrite))?;
            for (at, frag) in tail.chunks(PAGE_LEN as usize).enumerate() {
                region.write(at as u32 * PAGE_LEN, frag);
                buff.frag_lens.push(frag.len() as u32);
            }
            buff.frags = Some(region);
        }
        (buff.meta, buff.data, buff.end, buff.hard_end) =
            (data - meta_len, data, data + linear_len, hard_end);
        buff.md.store(12, Size::W, self.ingress_ifindex.into());
        buff.md.store(16, Size::W, self.rx_queue_index.into());
        buff.md.store(20, Size::W, self.egress_ifindex.into());
        buff.publish();
        self.buff = Some(buff);
        Ok(())
    }
}

impl Context for XdpContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if !self.go_on || self.buff.is_none() {
            self.redirect = None;
            self.fill(setup)?;
        }
        self.verdict = None;
        let md = self.buff.as_ref().map_or(0, |buff| buff.md.base());
        Ok([md, 0, 0, 0, 0])
    }

    fn leave(&mut self, _setup: &mut Setup<'_>, r0: Option<u64>) {
        self.verdict = r0.map(|r0| Xdp::from(r0 as u32));
        if let (Some(buff), true) = (&self.buff, self.read_back) {
            buff.copy_out(&mut self.after);
        }
    }
}
