//! The `xdp_md` and `sk_buff` contexts: packets with what the kernel knows beside them.

use super::reader::{At, CtxError};
use super::{base64, flow_keys};
use mimic_linux::Socket;
use mimic_linux::net::{HEADROOM, PAGE_LEN};
use mimic_linux::progs::{FlowKeys, SkbContext, SkbFields, XdpContext};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// An `xdp_md` context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct XdpMdCtx {
    /// Bytes before the packet, which it can grow by at its head; 0: the kernel's 256. At most a page.
    pub headroom: u32,
    /// Bytes after the packet, which it can grow by at its tail; 0: what drivers leave. At most a page.
    pub tailroom: u32,
    /// The frame.
    pub packet: Vec<u8>,
    /// The device that received it.
    pub ingress_ifidx: i32,
    /// The queue that it was received on.
    pub rx_queue_idx: i32,
    /// The device that it leaves by.
    pub egress_ifidx: i32,
    others: Map<String, Value>,
}

impl XdpMdCtx {
    /// A context of a frame that a device received.
    pub fn new(packet: impl Into<Vec<u8>>, ingress_ifidx: i32) -> XdpMdCtx {
        XdpMdCtx { packet: packet.into(), ingress_ifidx, ..XdpMdCtx::default() }
    }

    pub(super) fn read(ctx: &At<'_>) -> Result<XdpMdCtx, CtxError> {
        let room = |key: &str| -> Result<u32, CtxError> {
            let Some(at) = ctx.get(key) else { return Ok(0) };
            let len = at.int()?;
            if len > PAGE_LEN {
                Err(at.error(format!("at most {PAGE_LEN} bytes, not {len}")))
            } else {
                Ok(len)
            }
        };
        Ok(XdpMdCtx {
            headroom: room("headroom")?,
            tailroom: room("tailroom")?,
            packet: ctx.need("packet")?.base64()?,
            ingress_ifidx: ctx.int_or("ingress_ifidx", 0)?,
            rx_queue_idx: ctx.int_or("rx_queue_idx", 0)?,
            egress_ifidx: ctx.int_or("egress_ifidx", 0)?,
            others: ctx.others(&[
                "headroom",
                "tailroom",
                "packet",
                "ingress_ifidx",
                "rx_queue_idx",
                "egress_ifidx",
            ]),
        })
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = json!({
            "headroom": self.headroom, "tailroom": self.tailroom, "packet": base64::encode(&self.packet),
            "ingress_ifidx": self.ingress_ifidx, "rx_queue_idx": self.rx_queue_idx, "egress_ifidx": self.egress_ifidx,
        });
        extend(&mut ctx, &self.others);
        ctx
    }

    /// What a context is before a run.
    pub(crate) fn of(xdp: &XdpContext) -> XdpMdCtx {
        XdpMdCtx {
            headroom: if xdp.headroom == HEADROOM { 0 } else { xdp.headroom },
            tailroom: xdp.tailroom.unwrap_or(0),
            packet: xdp.frame.clone(),
            ingress_ifidx: xdp.ingress_ifindex as i32,
            rx_queue_idx: xdp.rx_queue_index as i32,
            egress_ifidx: xdp.egress_ifindex as i32,
            ..XdpMdCtx::default()
        }
    }

    /// The context that programs get.
    pub fn context(&self) -> XdpContext {
        let mut context = XdpContext::packet(self.packet.clone());
        context.ingress_ifindex = self.ingress_ifidx as u32;
        context.rx_queue_index = self.rx_queue_idx as u32;
        context.egress_ifindex = self.egress_ifidx as u32;
        context.headroom = Some(self.headroom).filter(|len| *len > 0).unwrap_or(context.headroom);
        context.tailroom = Some(self.tailroom).filter(|len| *len > 0);
        context
    }

    /// What it states of the world.
    pub(super) fn emulator(&self) -> Option<&Map<String, Value>> {
        self.others.get("emulator")?.as_object()
    }

    /// The same, to be added to.
    pub(super) fn emulator_mut(&mut self) -> &mut Map<String, Value> {
        object_in(&mut self.others, "emulator")
    }
}

/// An `sk_buff` context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SkBuffCtx {
    /// The frame.
    pub packet: Vec<u8>,
    /// Its socket; local addresses are the source's.
    pub sock: Option<Socket>,
    /// The fields of `__sk_buff`, and the device.
    pub fields: SkbFields,
    /// The keys that a flow dissector begins with.
    pub flow_keys: Option<FlowKeys>,
    flow_others: Option<Map<String, Value>>,
    dev_others: Option<Map<String, Value>>,
    others: Map<String, Value>,
}

/// Fields of `__sk_buff` that are plain numbers.
type Plain = (&'static str, fn(&mut SkbFields) -> &mut u32);

const PLAIN: &[Plain] = &[
    ("mark", |fields| &mut fields.mark),
    ("priority", |fields| &mut fields.priority),
    ("queueMapping", |fields| &mut fields.queue_mapping),
    ("tcIndex", |fields| &mut fields.tc_index),
    ("tcClassid", |fields| &mut fields.tc_classid),
    ("hash", |fields| &mut fields.hash),
    ("ingressIfIndex", |fields| &mut fields.ingress_ifindex),
    ("napiId", |fields| &mut fields.napi_id),
];

const KNOWN: &[&str] = &[
    "packet",
    "sock",
    "dev",
    "flowKeys",
    "mark",
    "priority",
    "queueMapping",
    "tcIndex",
    "tcClassid",
    "hash",
    "ingressIfIndex",
    "napiId",
    "cb",
    "pktType",
    "protocol",
    "vlanProto",
    "vlanTci",
    "tstamp",
    "tstampType",
    "hwtstamp",
    "wireLen",
    "gsoSegs",
    "gsoSize",
];

impl SkBuffCtx {
    /// A context of a frame that a device received.
    pub fn new(packet: impl Into<Vec<u8>>, ifindex: u32) -> SkBuffCtx {
        let fields = SkbFields { ifindex, ingress_ifindex: ifindex, ..SkbFields::default() };
        SkBuffCtx { packet: packet.into(), fields, dev_others: Some(Map::new()), ..SkBuffCtx::default() }
    }

    pub(super) fn read(ctx: &At<'_>) -> Result<SkBuffCtx, CtxError> {
        let mut fields = SkbFields { ifindex: 1, ..SkbFields::default() };
        for (key, field) in PLAIN {
            *field(&mut fields) = ctx.int_or(key, 0)?;
        }
        let dev = ctx.get("dev");
        if let Some(dev) = &dev {
            dev.object()?;
            fields.ifindex = dev.int_or("ifIndex", 1)?;
        }
        if let Some(cb) = ctx.get("cb") {
            let words = cb.list()?;
            if words.len() > 5 {
                return Err(cb.error(format!("at most 5 words, not {}", words.len())));
            }
            for (to, word) in fields.cb.iter_mut().zip(&words) {
                *to = word.int()?;
            }
        }
        fields.pkt_type = ctx.get("pktType").map(|at| at.int()).transpose()?;
        fields.protocol = ctx.get("protocol").map(|at| at.int()).transpose()?;
        fields.vlan = match (ctx.get("vlanProto"), ctx.get("vlanTci")) {
            (None, None) => None,
            (proto, tci) => {
                Some((proto.map_or(Ok(0x8100), |at| at.int())?, tci.map_or(Ok(0), |at| at.int())?))
            }
        };
        fields.tstamp = ctx.int_or("tstamp", 0)?;
        fields.tstamp_type = ctx.int_or("tstampType", 0)?;
        fields.hwtstamp = ctx.int_or("hwtstamp", 0)?;
        fields.wire_len = ctx.get("wireLen").map(|at| at.int()).transpose()?;
        fields.gso_segs = ctx.int_or("gsoSegs", 0)?;
        fields.gso_size = ctx.int_or("gsoSize", 0)?;
        Ok(SkBuffCtx {
            packet: ctx.need("packet")?.base64()?,
            sock: ctx.get("sock").map(|sock| read_sock(&sock)).transpose()?,
            fields,
            flow_keys: ctx.get("flowKeys").map(|keys| flow_keys::read(&keys)).transpose()?,
            flow_others: ctx.get("flowKeys").map(|keys| keys.others(flow_keys::KNOWN)),
            dev_others: dev.map(|dev| dev.others(&["ifIndex"])),
            others: ctx.others(KNOWN),
        })
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = json!({ "packet": base64::encode(&self.packet) });
        if let Some(sock) = &self.sock {
            ctx["sock"] = write_sock(sock);
        }
        let mut fields = self.fields.clone();
        if let Some(others) = &self.dev_others {
            ctx["dev"] = json!({ "ifIndex": fields.ifindex });
            extend(&mut ctx["dev"], others);
        }
        if let Some(keys) = &self.flow_keys {
            ctx["flowKeys"] = flow_keys::write(keys);
            extend(&mut ctx["flowKeys"], self.flow_others.as_ref().unwrap_or(&Map::new()));
        }
        for (key, field) in PLAIN {
            let value = *field(&mut fields);
            if value != 0 {
                ctx[*key] = json!(value);
            }
        }
        if fields.cb != [0; 5] {
            ctx["cb"] = json!(fields.cb);
        }
        let mut option = |key: &str, value: Option<u64>| {
            if let Some(value) = value {
                ctx[key] = json!(value);
            }
        };
        option("pktType", fields.pkt_type.map(u64::from));
        option("protocol", fields.protocol.map(u64::from));
        option("vlanProto", fields.vlan.map(|(proto, _)| proto.into()));
        option("vlanTci", fields.vlan.map(|(_, tci)| tci.into()));
        option("wireLen", fields.wire_len.map(u64::from));
        let some = |value: u64| Some(value).filter(|value| *value != 0);
        option("tstamp", some(fields.tstamp));
        option("tstampType", some(fields.tstamp_type.into()));
        option("hwtstamp", some(fields.hwtstamp));
        option("gsoSegs", some(fields.gso_segs.into()));
        option("gsoSize", some(fields.gso_size.into()));
        extend(&mut ctx, &self.others);
        ctx
    }

    /// What a context is before a run.
    pub(crate) fn of(skb: &SkbContext) -> SkBuffCtx {
        SkBuffCtx {
            packet: skb.frame.clone(),
            sock: skb.sock.clone(),
            fields: skb.fields.clone(),
            flow_keys: skb.flow_keys.clone(),
            dev_others: Some(Map::new()),
            ..SkBuffCtx::default()
        }
    }

    /// The context that programs get.
    pub fn context(&self) -> SkbContext {
        let mut context = SkbContext::packet(self.packet.clone());
        context.fields = self.fields.clone();
        context.sock = self.sock.clone();
        context.flow_keys = self.flow_keys.clone();
        context
    }

    /// What it states of the world.
    pub(super) fn emulator(&self) -> Option<&Map<String, Value>> {
        self.others.get("emulator")?.as_object()
    }

    /// The same, to be added to.
    pub(super) fn emulator_mut(&mut self) -> &mut Map<String, Value> {
        object_in(&mut self.others, "emulator")
    }
}

pub(super) fn read_sock(at: &At<'_>) -> Result<Socket, CtxError> {
    at.object()?;
    let v4 = |key: &str| -> Result<[u8; 4], CtxError> {
        let Some(at) = at.get(key) else { return Ok([0; 4]) };
        let text = at.text()?;
        let addr = if text.is_empty() { Ok(Ipv4Addr::UNSPECIFIED) } else { text.parse::<Ipv4Addr>() };
        addr.map(|addr| addr.octets()).map_err(|_| at.error(format!("{text:?} is no IPv4 address")))
    };
    let v6 = |key: &str| -> Result<[u8; 16], CtxError> {
        let Some(at) = at.get(key) else { return Ok([0; 16]) };
        let text = at.text()?;
        let addr = if text.is_empty() { Ok(Ipv6Addr::UNSPECIFIED) } else { text.parse::<Ipv6Addr>() };
        addr.map(|addr| addr.octets()).map_err(|_| at.error(format!("{text:?} is no IPv6 address")))
    };
    Ok(Socket {
        cookie: at.int_or("cookie", 0)?,
        bound_dev_if: at.int_or("boundDevIF", 0)?,
        family: at.int_or("family", 0)?,
        sock_type: at.int_or("sockType", 0)?,
        protocol: at.int_or("protocol", 0)?,
        mark: at.int_or("mark", 0)?,
        priority: at.int_or("priority", 0)?,
        local_port: at.int_or("srcPort", 0)?,
        remote_port: at.int_or("dstPort", 0)?,
        state: at.int_or("state", 0)?,
        local_ip4: v4("srcIP4")?,
        remote_ip4: v4("dstIP4")?,
        local_ip6: v6("srcIP6")?,
        remote_ip6: v6("dstIP6")?,
        rx_queue: at.int_or("rxQueueMapping", -1)?,
        ..Socket::default()
    })
}

pub(super) fn write_sock(sock: &Socket) -> Value {
    let mut value = json!({
        "boundDevIF": sock.bound_dev_if, "family": sock.family, "sockType": sock.sock_type, "protocol": sock.protocol,
        "mark": sock.mark, "priority": sock.priority, "srcPort": sock.local_port, "dstPort": sock.remote_port,
        "state": sock.state,
        "srcIP4": Ipv4Addr::from(sock.local_ip4).to_string(), "dstIP4": Ipv4Addr::from(sock.remote_ip4).to_string(),
        "srcIP6": Ipv6Addr::from(sock.local_ip6).to_string(), "dstIP6": Ipv6Addr::from(sock.remote_ip6).to_string(),
        "rxQueueMapping": sock.rx_queue,
    });
    if sock.cookie != 0 {
        value["cookie"] = sock.cookie.into();
    }
    value
}

/// Adds what was kept.
fn extend(to: &mut Value, others: &Map<String, Value>) {
    if let Some(to) = to.as_object_mut() {
        to.extend(others.clone());
    }
}

/// The object under this key, made if there is none.
fn object_in<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it is one now")
}
