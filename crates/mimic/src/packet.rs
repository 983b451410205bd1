//! `PacketContext`: contexts that packets of a capture can be put into, and `AnyPacket`: the one for a program, whatever its type.

use crate::ctx::{Ctx, CtxKind, GenericCtx, SkBuffCtx, XdpMdCtx};
use crate::pcap::Frame;
use crate::runner::VerdictKey;
use mimic_abi::{ProgType, Returns};
use mimic_linux::progs::{self, SkbContext, XdpContext};
use mimic_object::Program;
use mimic_vm::{Context, ContextError, RawContext, Setup};

/// A context that carries a packet and can be refilled.
pub trait PacketContext: Context {
    /// Makes this the packet of the next run; everything else begins as it did at first.
    fn set_frame(&mut self, frame: &Frame);

    /// The packet as the last run left it.
    fn packet(&self) -> &[u8];
}

impl PacketContext for XdpContext {
    fn set_frame(&mut self, frame: &Frame) {
        XdpContext::set_frame(self, &frame.bytes);
    }

    fn packet(&self) -> &[u8] {
        self.packet_after()
    }
}

impl PacketContext for SkbContext {
    fn set_frame(&mut self, frame: &Frame) {
        SkbContext::set_frame(self, &frame.bytes);
        self.fields.wire_len = (frame.wire_len as usize > frame.bytes.len()).then_some(frame.wire_len);
    }

    fn packet(&self) -> &[u8] {
        self.packet_after()
    }
}

/// The bytes, with their length in r2.
impl PacketContext for RawContext {
    fn set_frame(&mut self, frame: &Frame) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&frame.bytes);
        self.args = [frame.bytes.len() as u64, 0, 0, 0];
    }

    fn packet(&self) -> &[u8] {
        &self.bytes
    }
}

/// The context that a program gets for a packet by its type.
#[derive(Debug)]
pub enum AnyPacket {
    /// `xdp_md`.
    Xdp(Box<XdpContext>),
    /// `__sk_buff`.
    Skb(Box<SkbContext>),
    /// Plain bytes, for programs whose type the object does not say: plug-ins.
    Raw(RawContext),
}

impl AnyPacket {
    /// The context for this program. The error says that programs of its type get no packets.
    pub fn for_program(program: &Program) -> Result<AnyPacket, String> {
        use ProgType::*;
        match program.prog_type {
            Some(Xdp) => Ok(AnyPacket::Xdp(Box::new(XdpContext::packet([])))),
            Some(
                SchedCls | SchedAct | SocketFilter | CgroupSkb | LwtIn | LwtOut | LwtXmit | LwtSeg6local
                | FlowDissector,
            ) => Ok(AnyPacket::Skb(Box::new(SkbContext::packet([])))),
            None => Ok(AnyPacket::Raw(RawContext::default())),
            Some(other) => Err(format!(
                "program {} is of type {} (section '{}'), which gets no packets; give it a context (--ctx)",
                program.name,
                other.word(),
                program.section
            )),
        }
    }
}

impl Context for AnyPacket {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        self.context().enter(setup)
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        self.context().leave(setup, r0);
    }
}

impl AnyPacket {
    /// A new context of the same kind, with the same wish for packets to be read back.
    pub fn another(&self) -> AnyPacket {
        match self {
            AnyPacket::Xdp(xdp) => {
                let mut another = XdpContext::packet([]);
                another.read_back = xdp.read_back;
                AnyPacket::Xdp(Box::new(another))
            }
            AnyPacket::Skb(skb) => {
                let mut another = SkbContext::packet([]);
                another.read_back = skb.read_back;
                AnyPacket::Skb(Box::new(another))
            }
            AnyPacket::Raw(_) => AnyPacket::Raw(RawContext::default()),
        }
    }

    /// The context itself.
    pub fn context(&mut self) -> &mut dyn Context {
        match self {
            AnyPacket::Xdp(xdp) => &mut **xdp,
            AnyPacket::Skb(skb) => &mut **skb,
            AnyPacket::Raw(raw) => raw,
        }
    }

    /// Says whether the packet is read back after a run; it is unless said otherwise. Without it a run costs less. Plain bytes always are.
    pub fn set_read_back(&mut self, read_back: bool) {
        match self {
            AnyPacket::Xdp(xdp) => xdp.read_back = read_back,
            AnyPacket::Skb(skb) => skb.read_back = read_back,
            AnyPacket::Raw(_) => {}
        }
    }

    /// Puts a packet into it.
    pub fn set_frame(&mut self, frame: &Frame) {
        match self {
            AnyPacket::Xdp(xdp) => PacketContext::set_frame(&mut **xdp, frame),
            AnyPacket::Skb(skb) => PacketContext::set_frame(&mut **skb, frame),
            AnyPacket::Raw(raw) => raw.set_frame(frame),
        }
    }

    /// What the next run gets, to be written into a file of contexts.
    pub fn to_ctx(&self, name: &str) -> Ctx {
        let kind = match self {
            AnyPacket::Xdp(xdp) => CtxKind::XdpMd(XdpMdCtx::of(xdp)),
            AnyPacket::Skb(skb) => CtxKind::SkBuff(Box::new(SkBuffCtx::of(skb))),
            AnyPacket::Raw(raw) => CtxKind::Generic(GenericCtx::of(raw)),
        };
        Ctx::new(name, kind)
    }

    /// The packet as the last run left it.
    pub fn packet(&self) -> &[u8] {
        match self {
            AnyPacket::Xdp(xdp) => xdp.packet(),
            AnyPacket::Skb(skb) => skb.packet(),
            AnyPacket::Raw(raw) => raw.packet(),
        }
    }
}

/// The name that a program's type gives to a return value.
pub fn verdict_name(program: &Program, retval: u32) -> Option<&'static str> {
    progs::spec(program.prog_type?)?.returns.name(retval)
}

/// The verdicts that programs of this type give, for tables that show those that did not come too. Empty if return values have no names.
pub fn verdicts_of(program: &Program) -> Vec<VerdictKey> {
    let returns = program.prog_type.and_then(progs::spec).map(|spec| spec.returns);
    match returns {
        Some(Returns::Verdict(names)) => {
            names.iter().map(|(number, name)| VerdictKey::Returned(*number as u32, Some(*name))).collect()
        }
        Some(Returns::Length | Returns::Number) | None => Vec::new(),
    }
}
