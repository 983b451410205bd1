//! The contexts of programs about sockets: `sk_msg`, `sk_reuseport`, `sock_ops`, `sk_lookup`.

use super::base64;
use super::packet::{read_sock, write_sock};
use super::reader::{At, CtxError};
use mimic_linux::Socket;
use mimic_linux::progs::{
    SOCK_OPS, SkLookup, SkLookupContext, SkMsg, SkMsgContext, SkReuseport, SkReuseportContext, SockOpsContext,
};
use mimic_vm::Context;
use serde_json::{Map, Value, json};
use std::any::Any;
use std::net::SocketAddr;

/// A context of a program about sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketCtx {
    /// What the program is asked about.
    pub event: SocketEvent,
    /// The world, as it was given; unknown keys are kept.
    pub emulator: Map<String, Value>,
    others: Map<String, Value>,
}

/// What a program about sockets is asked about. The fields are those of the contexts in `mimic_linux::progs`.
#[derive(Clone, Debug, PartialEq)]
pub enum SocketEvent {
    /// A message that a socket sends.
    Msg {
        /// The bytes.
        data: Vec<u8>,
        /// Bytes of each piece.
        pieces: Vec<u32>,
        /// Its pages are somebody else's too.
        shared: bool,
        /// The socket.
        sock: Box<Socket>,
    },
    /// A packet for sockets that share a port.
    Reuseport {
        /// The packet.
        packet: Vec<u8>,
        /// Bytes of its link-layer header.
        link_len: u32,
        /// A socket of the group.
        sock: Box<Socket>,
        /// The cookie of the socket whose connection is moved.
        migrating: Option<u64>,
        /// What the kernel would select by.
        hash: Option<u32>,
    },
    /// An event of a connection.
    Ops {
        /// Which.
        op: u32,
        /// What it comes with.
        args: Vec<u32>,
        /// The socket.
        sock: Box<Socket>,
        /// The packet's TCP header.
        header: Vec<u8>,
        /// Bytes behind it.
        payload_len: u32,
        /// Flags of a header that is not written yet.
        tcp_flags: u8,
        /// When the device received it.
        hwtstamp: u64,
        /// The TCP header of the SYN packet.
        syn: Vec<u8>,
        /// Room for options.
        option_room: u32,
    },
    /// A lookup.
    Lookup {
        /// `IPPROTO_*`.
        protocol: u32,
        /// Who sent the packet.
        remote: SocketAddr,
        /// Whom it is for.
        local: SocketAddr,
        /// The device.
        ingress_ifindex: u32,
    },
}

/// The names of the types in files.
pub(super) const TYPES: [&str; 4] = ["sk_msg", "sk_reuseport", "sock_ops", "sk_lookup"];

const ETH_HLEN: u32 = 14;
const IPPROTO_TCP: u32 = 6;

impl SocketCtx {
    /// A context that says nothing of the world.
    pub fn new(event: SocketEvent) -> SocketCtx {
        SocketCtx { event, emulator: Map::new(), others: Map::new() }
    }

    pub(super) fn read(kind: &str, ctx: &At<'_>) -> Result<SocketCtx, CtxError> {
        ctx.object()?;
        let (event, known): (SocketEvent, &[&str]) = match kind {
            "sk_msg" => (read_msg(ctx)?, &["data", "pieces", "shared", "sock"]),
            "sk_reuseport" => (read_reuseport(ctx)?, &["packet", "link_len", "sock", "migrating", "hash"]),
            "sock_ops" => {
                const KEYS: &[&str] = &[
                    "op",
                    "args",
                    "sock",
                    "header",
                    "payload_len",
                    "tcp_flags",
                    "hwtstamp",
                    "syn",
                    "option_room",
                ];
                (read_ops(ctx)?, KEYS)
            }
            _ => (read_lookup(ctx)?, &["protocol", "remote", "local", "ingress_ifindex"]),
        };
        let emulator = ctx.get("emulator").map_or(Ok(Map::new()), |at| at.object().cloned())?;
        Ok(SocketCtx { event, emulator, others: ctx.others(&[known, &["emulator"]].concat()) })
    }

    /// The type's name in files.
    pub(super) fn type_name(&self) -> &'static str {
        match self.event {
            SocketEvent::Msg { .. } => TYPES[0],
            SocketEvent::Reuseport { .. } => TYPES[1],
            SocketEvent::Ops { .. } => TYPES[2],
            SocketEvent::Lookup { .. } => TYPES[3],
        }
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = write_event(&self.event);
        if !self.emulator.is_empty() {
            ctx.insert("emulator".into(), Value::Object(self.emulator.clone()));
        }
        ctx.extend(self.others.clone());
        Value::Object(ctx)
    }

    /// What the program gets.
    pub fn context(&self) -> Box<dyn Context> {
        match self.event.clone() {
            SocketEvent::Msg { data, pieces, shared, sock } => {
                let mut context = SkMsgContext::new(data, *sock);
                (context.pieces, context.shared) = (pieces, shared);
                Box::new(context)
            }
            SocketEvent::Reuseport { packet, link_len, sock, migrating, hash } => {
                let mut context = SkReuseportContext::packet(packet, *sock);
                (context.link_len, context.migrating, context.hash) = (link_len, migrating, hash);
                Box::new(context)
            }
            SocketEvent::Ops {
                op,
                args,
                sock,
                header,
                payload_len,
                tcp_flags,
                hwtstamp,
                syn,
                option_room,
            } => {
                let arg = |at: usize| args.get(at).copied().unwrap_or(0);
                let mut context = SockOpsContext::new(op, [arg(0), arg(1), arg(2), arg(3)], *sock);
                (context.header, context.payload_len, context.tcp_flags) = (header, payload_len, tcp_flags);
                (context.hwtstamp, context.syn, context.option_room) = (hwtstamp, syn, option_room);
                Box::new(context)
            }
            SocketEvent::Lookup { protocol, remote, local, ingress_ifindex } => {
                let mut context = SkLookupContext::new(protocol, remote, local);
                context.ingress_ifindex = ingress_ifindex;
                Box::new(context)
            }
        }
    }

    /// What a run decided, and left of the context; none if it is another's, or faulted.
    pub(super) fn after(&self, context: &dyn Context) -> Option<Value> {
        let any: &dyn Any = context;
        if let Some(known) = any.downcast_ref::<SkMsgContext>() {
            let verdict = match known.verdict()? {
                SkMsg::Drop => json!("drop"),
                SkMsg::Pass => json!("pass"),
                SkMsg::Redirect { cookie, ingress } => json!({ "redirect": cookie, "ingress": ingress }),
            };
            let data = base64::encode(known.data_after());
            let (apply, cork) = (known.apply_bytes(), known.cork_bytes());
            return Some(
                json!({ "verdict": verdict, "data": data, "apply_bytes": apply, "cork_bytes": cork }),
            );
        }
        if let Some(known) = any.downcast_ref::<SkReuseportContext>() {
            return Some(match known.verdict()? {
                SkReuseport::Drop => json!({ "verdict": "drop" }),
                SkReuseport::Selected(cookie) => json!({ "verdict": "selected", "socket": cookie }),
                SkReuseport::ByHash(cookie) => json!({ "verdict": "by_hash", "socket": cookie }),
            });
        }
        if let Some(known) = any.downcast_ref::<SockOpsContext>() {
            let result = known.result()?;
            return Some(json!({
                "reply": result.reply, "txhash": result.txhash, "header": base64::encode(&result.header),
                "option_len": result.option_len, "sock": write_sock(&known.sock),
            }));
        }
        let known = any.downcast_ref::<SkLookupContext>()?;
        Some(match known.result() {
            SkLookup::Drop => json!({ "verdict": "drop" }),
            SkLookup::GoOn => json!({ "verdict": "go_on" }),
            SkLookup::Selected { cookie, no_reuseport } => {
                json!({ "verdict": "selected", "socket": cookie, "no_reuseport": no_reuseport })
            }
        })
    }
}

fn sock(ctx: &At<'_>) -> Result<Box<Socket>, CtxError> {
    ctx.get("sock").map_or(Ok(Box::default()), |sock| read_sock(&sock).map(Box::new))
}

fn bytes(ctx: &At<'_>, key: &str) -> Result<Vec<u8>, CtxError> {
    ctx.get(key).map_or(Ok(Vec::new()), |at| at.base64())
}

fn ints(ctx: &At<'_>, key: &str) -> Result<Vec<u32>, CtxError> {
    ctx.get(key).map_or(Ok(Vec::new()), |at| at.list()?.iter().map(At::int).collect())
}

fn read_msg(ctx: &At<'_>) -> Result<SocketEvent, CtxError> {
    let shared = ctx
        .get("shared")
        .map_or(Ok(false), |at| at.value.as_bool().ok_or_else(|| at.error("expected true or false")))?;
    Ok(SocketEvent::Msg {
        data: ctx.need("data")?.base64()?,
        pieces: ints(ctx, "pieces")?,
        shared,
        sock: sock(ctx)?,
    })
}

fn read_reuseport(ctx: &At<'_>) -> Result<SocketEvent, CtxError> {
    Ok(SocketEvent::Reuseport {
        packet: ctx.need("packet")?.base64()?,
        link_len: ctx.int_or("link_len", ETH_HLEN)?,
        sock: sock(ctx)?,
        migrating: ctx.get("migrating").map(|at| at.int()).transpose()?,
        hash: ctx.get("hash").map(|at| at.int()).transpose()?,
    })
}

fn read_ops(ctx: &At<'_>) -> Result<SocketEvent, CtxError> {
    let op = ctx.need("op")?;
    let op = match op.value.as_str() {
        None => op.int()?,
        Some(name) => {
            let known = SOCK_OPS.iter().find(|(_, known)| *known == name);
            known.ok_or_else(|| op.error("expected the name or number of a BPF_SOCK_OPS_* event"))?.0
        }
    };
    let args = ints(ctx, "args")?;
    if args.len() > 4 {
        return Err(ctx.need("args")?.error("expected four numbers at most"));
    }
    Ok(SocketEvent::Ops {
        op,
        args,
        sock: sock(ctx)?,
        header: bytes(ctx, "header")?,
        payload_len: ctx.int_or("payload_len", 0)?,
        tcp_flags: ctx.int_or("tcp_flags", 0)?,
        hwtstamp: ctx.int_or("hwtstamp", 0)?,
        syn: bytes(ctx, "syn")?,
        option_room: ctx.int_or("option_room", 0)?,
    })
}

fn read_lookup(ctx: &At<'_>) -> Result<SocketEvent, CtxError> {
    let addr = |key: &str| {
        let at = ctx.need(key)?;
        let what = "expected an address as in 10.0.0.1:80 or [2001:db8::1]:80";
        at.text()?.parse::<SocketAddr>().map_err(|_| at.error(what))
    };
    let (remote, local) = (addr("remote")?, addr("local")?);
    if remote.is_ipv4() != local.is_ipv4() {
        return Err(ctx.need("local")?.error("expected an address of the same family as remote"));
    }
    let protocol = ctx.int_or("protocol", IPPROTO_TCP)?;
    Ok(SocketEvent::Lookup { protocol, remote, local, ingress_ifindex: ctx.int_or("ingress_ifindex", 1)? })
}

fn write_event(event: &SocketEvent) -> Map<String, Value> {
    let mut to = Map::new();
    let mut put = |key: &str, value: Value, default: Value| {
        if value != default {
            to.insert(key.into(), value);
        }
    };
    match event {
        SocketEvent::Msg { data, pieces, shared, sock } => {
            put("data", base64::encode(data).into(), Value::Null);
            put("pieces", json!(pieces), json!([]));
            put("shared", json!(shared), json!(false));
            put("sock", write_sock(sock), write_sock(&Socket::default()));
        }
        SocketEvent::Reuseport { packet, link_len, sock, migrating, hash } => {
            put("packet", base64::encode(packet).into(), Value::Null);
            put("link_len", json!(link_len), json!(ETH_HLEN));
            put("sock", write_sock(sock), write_sock(&Socket::default()));
            put("migrating", json!(migrating), Value::Null);
            put("hash", json!(hash), Value::Null);
        }
        SocketEvent::Ops { op, args, sock, header, payload_len, tcp_flags, hwtstamp, syn, option_room } => {
            let name = SOCK_OPS.iter().find(|(known, _)| known == op);
            put("op", name.map_or_else(|| json!(op), |(_, name)| json!(name)), Value::Null);
            put("args", json!(args), json!([]));
            put("sock", write_sock(sock), write_sock(&Socket::default()));
            put("header", base64::encode(header).into(), json!(""));
            put("payload_len", json!(payload_len), json!(0));
            put("tcp_flags", json!(tcp_flags), json!(0));
            put("hwtstamp", json!(hwtstamp), json!(0));
            put("syn", base64::encode(syn).into(), json!(""));
            put("option_room", json!(option_room), json!(0));
        }
        SocketEvent::Lookup { protocol, remote, local, ingress_ifindex } => {
            put("protocol", json!(protocol), json!(IPPROTO_TCP));
            put("remote", remote.to_string().into(), Value::Null);
            put("local", local.to_string().into(), Value::Null);
            put("ingress_ifindex", json!(ingress_ifindex), json!(1));
        }
    }
    to
}
