//! `SkbContext`: a packet for the program types that see socket buffers, `struct __sk_buff`, and what the program made of it.

use super::FlowKeys;
use super::layout;
use crate::Linux;
use crate::net::{self, Checksum, ClonedPacket, Redirect, SkBuff, eth};
use crate::world::Socket;
use crate::world::socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use crate::{ObjectKey, View};
use mimic_abi::{Errno, Packet, ProgType, Size};
use mimic_vm::memory::{Access, Layout, Region};
use mimic_vm::{Context, ContextError, Setup};
use std::sync::Arc;

/// Where a program says that the packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SkbStart {
    /// As the program type has it when it is attached: at the link-layer header for tc and socket filters, at the network header for
    /// cgroups and lightweight tunnels, at the payload for sock maps.
    #[default]
    ByType,
    /// At the link-layer header.
    Mac,
    /// At the network header.
    Network,
}

/// The fields of `__sk_buff` that a run begins with, and those that it ends with. Addresses and lengths follow from the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkbFields {
    /// Packet mark.
    pub mark: u32,
    /// Queueing priority.
    pub priority: u32,
    /// Transmit queue, from 1; 16 bits.
    pub queue_mapping: u32,
    /// Traffic control index; 16 bits.
    pub tc_index: u32,
    /// Class to send the packet to; 16 bits.
    pub tc_classid: u32,
    /// The program's own words.
    pub cb: [u32; 5],
    /// Flow hash; 0 is none yet.
    pub hash: u32,
    /// `PACKET_HOST`, …; none: as the destination address says.
    pub pkt_type: Option<u8>,
    /// `ETH_P_*`; none: as the link-layer header says.
    pub protocol: Option<u16>,
    /// Protocol and control information of a VLAN tag beside the packet.
    pub vlan: Option<(u16, u16)>,
    /// The device that received it.
    pub ingress_ifindex: u32,
    /// The device that it is on.
    pub ifindex: u32,
    /// NAPI id.
    pub napi_id: u32,
    /// Time stamp, in nanoseconds.
    pub tstamp: u64,
    /// The clock of the time stamp.
    pub tstamp_type: u8,
    /// The device's time stamp, in nanoseconds.
    pub hwtstamp: u64,
    /// Bytes on the wire; none: the packet's length.
    pub wire_len: Option<u32>,
    /// Segments that the packet stands for.
    pub gso_segs: u16,
    /// Bytes of each.
    pub gso_size: u16,
    /// Kind of segments, `SKB_GSO_*`.
    pub gso_type: u32,
}

/// A hook of netfilter. Mirrors `struct nf_hook_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NfHook {
    /// `NF_INET_*`: 0 before routing, 1 local in, 2 forward, 3 local out, 4 after routing.
    pub hook: u8,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10).
    pub pf: u8,
    /// The device that the packet came in by, by index; 0 for none.
    pub in_ifindex: u32,
    /// The device that it leaves by, by index; 0 for none.
    pub out_ifindex: u32,
}

/// Bytes of `struct nf_hook_state`.
pub const NF_HOOK_STATE_LEN: u32 = layout::NF_HOOK_STATE.size;

/// A packet for a program that sees socket buffers. It can be run again and again; each run begins with `frame` and `fields`.
#[derive(Debug)]
pub struct SkbContext {
    /// The packet, from its link-layer header on.
    pub frame: Vec<u8>,
    /// Bytes of its link-layer header: 14 for Ethernet, 0 for bare IP.
    pub link_len: u32,
    /// The fields of `__sk_buff`.
    pub fields: SkbFields,
    /// Where programs see it begin.
    pub start: SkbStart,
    /// Bytes that pointers reach at first; helpers reach all. None: all of them.
    pub linear_len: Option<u32>,
    /// Its socket. It is in the world while programs run; a cookie of 0 is drawn at the first run.
    pub sock: Option<Socket>,
    /// Programs of tc see it before the stack does, on its way in: `bpf_sk_assign` works then.
    pub at_ingress: bool,
    /// What is known of its checksum.
    pub checksum: Checksum,
    /// The keys that a flow dissector begins with. None: those that the kernel gives it, the network header's offset and the protocol.
    pub flow_keys: Option<FlowKeys>,
    /// Whether packet and fields are read back after a run. Without it a run costs less.
    pub read_back: bool,
    retval: Option<u32>,
    after: Vec<u8>,
    fields_after: SkbFields,
    flow_keys_after: Option<FlowKeys>,
    pub(crate) redirect: Option<Redirect>,
    pub(crate) clones: Vec<ClonedPacket>,
    /// The hook that the packet is at, for netfilter programs.
    pub hook: NfHook,
    /// Interface id and link of the IPsec interface that it came by, or that the program gave it.
    pub xfrm: Option<(u32, u32)>,
    /// The cookie of the socket that the program gave it.
    pub(crate) assigned: Option<u64>,
    buff: Option<SkBuff>,
    /// The next run goes on with the packet as the last one left it.
    pub(crate) go_on: bool,
}

impl SkbContext {
    /// The most clones that one run may send.
    pub const CLONES_MAX: usize = 256;

    /// An Ethernet frame received on `lo` of an empty network namespace.
    pub fn packet(frame: impl Into<Vec<u8>>) -> SkbContext {
        SkbContext {
            frame: frame.into(),
            link_len: eth::ETH_HLEN,
            fields: SkbFields { ifindex: 1, ..SkbFields::default() },
            start: SkbStart::ByType,
            linear_len: None,
            sock: None,
            at_ingress: true,
            checksum: Checksum::None,
            flow_keys: None,
            read_back: true,
            retval: None,
            after: Vec::new(),
            fields_after: SkbFields::default(),
            flow_keys_after: None,
            redirect: None,
            clones: Vec::new(),
            hook: NfHook::default(),
            xfrm: None,
            assigned: None,
            buff: None,
            go_on: false,
        }
    }

    /// A bare IP packet.
    pub fn ip(packet: impl Into<Vec<u8>>) -> SkbContext {
        SkbContext { link_len: 0, ..SkbContext::packet(packet) }
    }

    /// Another packet for the next run, in the memory of the last one.
    pub fn set_frame(&mut self, frame: &[u8]) {
        self.frame.clear();
        self.frame.extend_from_slice(frame);
    }

    /// What the last run returned; none if it faulted.
    pub fn retval(&self) -> Option<u32> {
        self.retval
    }

    /// The packet after the last run, from where programs say that it begins.
    pub fn packet_after(&self) -> &[u8] {
        &self.after
    }

    /// The fields after the last run.
    pub fn fields_after(&self) -> &SkbFields {
        &self.fields_after
    }

    /// The keys that a flow dissector found in the last run, its offsets within the packet.
    pub fn flow_keys_after(&self) -> Option<&FlowKeys> {
        self.flow_keys_after.as_ref()
    }

    /// Where the program redirected the packet; it counts if the verdict says so.
    pub fn redirect(&self) -> Option<&Redirect> {
        self.redirect.as_ref()
    }

    /// The packets that `bpf_clone_redirect` sent.
    pub fn clones(&self) -> &[ClonedPacket] {
        &self.clones
    }

    /// The cookie of the packet's socket: the one that it came with, or that `bpf_sk_assign` gave it.
    pub fn socket(&self) -> Option<u64> {
        self.assigned.or_else(|| self.sock.as_ref().map(|sock| sock.cookie))
    }

    /// The buffer, while a program runs.
    pub fn buff_mut(&mut self) -> Option<&mut SkBuff> {
        self.buff.as_mut()
    }

    /// The buffer.
    pub(crate) fn buff(&self) -> Option<&SkBuff> {
        self.buff.as_ref()
    }

    fn fill(&mut self, setup: &mut Setup<'_>) -> Result<(), ContextError> {
        let Ok(frame_len) = net::packet_len(self.frame.len()) else {
            let why =
                format!("a packet has at most {} bytes, this one {}", net::PACKET_LEN_MAX, self.frame.len());
            return Err(ContextError::Errno(Errno::E2BIG, why));
        };
        let link_len = self.link_len;
        if frame_len < link_len {
            let why = format!("the packet has {frame_len} bytes, and its link-layer header alone {link_len}");
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        let prog_type = setup.program().linked().prog_type;
        let (access, layout) = rights(prog_type);
        let first = net::SKB_HEADROOM;
        let region = setup.region("packet", first + frame_len + net::SKB_TAILROOM, Layout::Bytes(access))?;
        let md = setup.region("context", layout::SK_BUFF_LEN, Layout::Fields(layout))?;
        region.fill(0, first, 0);
        region.write(first, &self.frame);
        let data = first + self.start_off(prog_type);
        let len = frame_len - (data - first);
        let buff = SkBuff {
            data,
            head_len: self.linear_len.map_or(len, |linear| linear.min(len)),
            len,
            mac: first,
            network: first + link_len,
            transport: None,
            protocol: self.fields.protocol.unwrap_or_else(|| self.protocol()),
            vlan: self.fields.vlan,
            pkt_type: self.fields.pkt_type.unwrap_or_else(|| self.pkt_type(setup)),
            hash: Some(self.fields.hash).filter(|hash| *hash != 0),
            checksum: self.checksum,
            sum_kept: if let Checksum::Complete(sum) = self.checksum { sum } else { 0 },
            encapsulation: false,
            gso_type: self.fields.gso_type,
            gso_size: self.fields.gso_size,
            gso_segs: self.fields.gso_segs,
            tstamp_type: self.fields.tstamp_type,
            tunnel: None,
            region,
            md,
        };
        self.write_fields(setup, &buff)?;
        if prog_type == Some(ProgType::FlowDissector) {
            let keys =
                self.flow_keys.clone().unwrap_or_else(|| FlowKeys::of(&self.frame, link_len, buff.protocol));
            keys.enter(setup, &buff.md)?;
        }
        buff.publish();
        self.buff = Some(buff);
        Ok(())
    }

    /// Where the program sees the packet begin, in the frame.
    fn start_off(&self, prog_type: Option<ProgType>) -> u32 {
        use ProgType::*;
        match (self.start, prog_type) {
            (SkbStart::Mac, _) => 0,
            (SkbStart::Network, _) => self.link_len,
            (SkbStart::ByType, Some(CgroupSkb | LwtIn | LwtOut | LwtXmit | LwtSeg6local | Netfilter)) => {
                self.link_len
            }
            (SkbStart::ByType, Some(SkSkb)) => self.payload_off().unwrap_or(self.link_len),
            (SkbStart::ByType, _) => 0,
        }
    }

    /// Where a frame of TCP or UDP has its payload; none of bytes that are no frame.
    fn payload_off(&self) -> Option<u32> {
        if self.link_len == 0 {
            return None;
        }
        let ip = self.frame.get(self.link_len as usize..)?;
        let (transport, protocol) = match self.protocol() {
            eth::ETH_P_IP => (4 * u32::from(ip.first()? & 15), *ip.get(9)?),
            eth::ETH_P_IPV6 => (eth::IPV6_HLEN, *ip.get(6)?),
            _ => return None,
        };
        let header_len = match u32::from(protocol) {
            IPPROTO_TCP => u32::from(*ip.get(transport as usize + 12)? >> 4) * 4,
            IPPROTO_UDP => 8,
            _ => return None,
        };
        Some(self.link_len + transport + header_len).filter(|off| *off as usize <= self.frame.len())
    }

    fn protocol(&self) -> u16 {
        if self.link_len >= eth::ETH_HLEN {
            return eth::protocol(&self.frame);
        }
        match self.frame.get(self.link_len as usize).map(|first| first >> 4) {
            Some(4) => eth::ETH_P_IP,
            Some(6) => eth::ETH_P_IPV6,
            Some(_) | None => 0,
        }
    }

    fn pkt_type(&self, setup: &Setup<'_>) -> u8 {
        if self.link_len < eth::ETH_HLEN {
            return eth::PACKET_HOST;
        }
        let device = setup
            .emulator::<Linux>()
            .and_then(|linux| linux.world().net.devices.by_index(self.fields.ifindex));
        let (addr, broadcast) = device.map_or(([0; 6], [0; 6]), |device| (device.addr, device.broadcast));
        eth::packet_type(&self.frame, addr, broadcast)
    }

    /// Writes what programs can read and the buffer does not know.
    fn write_fields(&mut self, setup: &mut Setup<'_>, buff: &SkBuff) -> Result<(), ContextError> {
        let (md, fields) = (&buff.md, &self.fields);
        md.fill(0, layout::SK_BUFF_LEN, 0);
        for (off, value) in [
            (8, fields.mark),
            (12, fields.queue_mapping & 0xffff),
            (32, fields.priority),
            (36, fields.ingress_ifindex),
            (40, fields.ifindex),
            (44, fields.tc_index & 0xffff),
            (72, fields.tc_classid & 0xffff),
            (84, fields.napi_id),
            (160, fields.wire_len.unwrap_or(buff.len)),
        ] {
            md.store(off, Size::W, value.into());
        }
        for (at, word) in fields.cb.iter().enumerate() {
            md.store(48 + 4 * at as u32, Size::W, (*word).into());
        }
        md.store(152, Size::Dw, fields.tstamp);
        md.store(184, Size::Dw, fields.hwtstamp);
        if let Some(sock) = &mut self.sock {
            let region = setup.region("socket", layout::SOCK_LEN, Layout::Fields(layout::SOCK))?;
            write_sock(sock, md);
            md.store(168, Size::Dw, region.base());
            if let Some(linux) = setup.emulator::<Linux>() {
                if sock.cookie == 0 {
                    sock.cookie = linux.draw_cookie();
                }
                linux.adopt_socket(&region, sock.clone());
            }
        }
        Ok(())
    }

    /// The context of netfilter programs, which leads to the hook and to the packet.
    fn enter_hook(&self, setup: &mut Setup<'_>, skb: u64) -> Result<u64, ContextError> {
        let state =
            setup.region("hook", layout::NF_HOOK_STATE.size, Layout::Fields(layout::NF_HOOK_STATE))?;
        let ctx =
            setup.region("context of netfilter", layout::NF_CTX.size, Layout::Fields(layout::NF_CTX))?;
        let pointer = |key: ObjectKey| {
            let linux = setup.emulator::<Linux>();
            linux.and_then(|linux| linux.object(setup.memory(), key, View::Kernel).ok()).unwrap_or(0)
        };
        let device = |ifindex: u32| if ifindex == 0 { 0 } else { pointer(ObjectKey::Device(ifindex)) };
        state.fill(0, layout::NF_HOOK_STATE.size, 0);
        state.store(0, Size::B, self.hook.hook.into());
        state.store(1, Size::B, self.hook.pf.into());
        state.store(8, Size::Dw, device(self.hook.in_ifindex));
        state.store(16, Size::Dw, device(self.hook.out_ifindex));
        state.store(32, Size::Dw, pointer(ObjectKey::Net));
        ctx.store(0, Size::Dw, state.base());
        ctx.store(8, Size::Dw, skb);
        Ok(ctx.base())
    }

    fn read_fields(&self, buff: &SkBuff) -> SkbFields {
        let md = &buff.md;
        let word = |off: u32| md.load(off, Size::W) as u32;
        SkbFields {
            mark: word(8),
            priority: word(32),
            queue_mapping: word(12) & 0xffff,
            tc_index: word(44) & 0xffff,
            tc_classid: word(72) & 0xffff,
            cb: core::array::from_fn(|at| word(48 + 4 * at as u32)),
            hash: buff.hash.unwrap_or(0),
            pkt_type: Some(buff.pkt_type),
            protocol: Some(buff.protocol),
            vlan: buff.vlan,
            ingress_ifindex: word(36),
            ifindex: word(40),
            napi_id: word(84),
            tstamp: md.load(152, Size::Dw),
            tstamp_type: buff.tstamp_type,
            hwtstamp: md.load(184, Size::Dw),
            wire_len: Some(word(160)),
            gso_segs: buff.gso_segs,
            gso_size: buff.gso_size,
            gso_type: buff.gso_type,
        }
    }
}

/// The socket that test-run gives to a packet: unbound, with the packet's addresses as its own.
pub(super) fn sock_of_test_run(protocol: u16, network: &[u8]) -> Socket {
    let mut sock = Socket::default();
    let addr4 = |at: usize| network.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let addr6 = |at: usize| network.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
    match protocol {
        eth::ETH_P_IP => {
            sock.family = AF_INET;
            (sock.local_ip4, sock.remote_ip4) =
                (addr4(12).unwrap_or_default(), addr4(16).unwrap_or_default());
        }
        eth::ETH_P_IPV6 => {
            sock.family = AF_INET6;
            (sock.local_ip6, sock.remote_ip6) = (addr6(8).unwrap_or_default(), addr6(24).unwrap_or_default());
        }
        _ => {}
    }
    sock
}

/// Writes the fields of `__sk_buff` that are the socket's.
fn write_sock(sock: &Socket, md: &Arc<Region>) {
    md.store(88, Size::W, sock.family.into());
    md.write(92, &sock.remote_ip4);
    md.write(96, &sock.local_ip4);
    md.write(100, &sock.remote_ip6);
    md.write(116, &sock.local_ip6);
    // In network order, in the word's last two bytes whatever the byte order.
    let [hi, lo] = sock.remote_port.to_be_bytes();
    md.write(132, &[0, 0, hi, lo]);
    md.store(136, Size::W, sock.local_port.into());
}

impl Context for SkbContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if !self.go_on || self.buff.is_none() {
            self.redirect = None;
            self.clones.clear();
            self.assigned = None;
            self.fill(setup)?;
        }
        self.retval = None;
        let md = self.buff.as_ref().map_or(0, |buff| buff.md.base());
        if setup.program().linked().prog_type == Some(ProgType::Netfilter) {
            return Ok([self.enter_hook(setup, md)?, 0, 0, 0, 0]);
        }
        Ok([md, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        self.retval = r0.map(|r0| r0 as u32);
        if setup.program().linked().prog_type == Some(ProgType::FlowDissector) {
            self.flow_keys_after = FlowKeys::leave(setup, self.frame.len());
        }
        if let (Some(buff), true) = (&self.buff, self.read_back) {
            buff.copy_out(&mut self.after);
            self.fields_after = self.read_fields(buff);
        }
    }
}

/// What programs of a type may do with the packet and with `__sk_buff`.
fn rights(prog_type: Option<ProgType>) -> (Access, mimic_abi::CtxLayout) {
    if prog_type == Some(ProgType::Netfilter) {
        return (Access::Read, layout::SK_BUFF_HIDDEN);
    }
    let spec = prog_type.and_then(super::spec);
    let layout = spec.and_then(|spec| spec.context).filter(|layout| layout.size == layout::SK_BUFF_LEN);
    let access = match spec.map(|spec| spec.packet) {
        Some(Packet::Read | Packet::None) => Access::Read,
        Some(Packet::ReadWrite) | None => Access::ReadWrite,
    };
    (access, layout.unwrap_or(layout::SK_BUFF_TC))
}
