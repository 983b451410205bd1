//! The contexts of control groups' programs: `cgroup_sock`, `sock_addr`, `sockopt`, `sysctl`, `cgroup_device`.

use super::base64;
use super::packet::{read_sock, write_sock};
use super::reader::{At, CtxError};
use mimic_linux::Socket;
use mimic_linux::progs::{
    CgroupContext, DeviceContext, DeviceKind, SockAddr, SockAddrContext, SockContext, SockoptContext,
    SysctlContext,
};
use mimic_vm::Context;
use serde_json::{Map, Value, json};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};

/// A context of a control group's program.
#[derive(Clone, Debug, PartialEq)]
pub struct CgroupCtx {
    /// What the program is asked about.
    pub event: CgroupEvent,
    /// What the system call returns so far: 0, or a negative errno.
    pub retval: i32,
    /// The world, as it was given; unknown keys are kept.
    pub emulator: Map<String, Value>,
    others: Map<String, Value>,
}

/// What a control group's program is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum CgroupEvent {
    /// A socket that is made, closed or bound.
    Sock(Box<Socket>),
    /// An address.
    SockAddr {
        /// The socket.
        sock: Box<Socket>,
        /// The address.
        addr: SockAddr,
        /// Where a datagram is sent from.
        src: Option<IpAddr>,
    },
    /// A socket option.
    Sockopt {
        /// The socket.
        sock: Box<Socket>,
        /// getsockopt(2), not setsockopt(2).
        get: bool,
        /// `SOL_*`.
        level: i32,
        /// The option.
        optname: i32,
        /// The value.
        optval: Vec<u8>,
        /// Its length, if it is not that of `optval`.
        optlen: Option<i32>,
    },
    /// A sysctl.
    Sysctl {
        /// Its name.
        name: String,
        /// Its value; none: the world's.
        current: Option<String>,
        /// What is written; none if it is read.
        new: Option<String>,
        /// Where in the file.
        pos: u32,
    },
    /// A device.
    Device(DeviceContext),
}

/// The names of the types in files.
pub(super) const TYPES: [&str; 5] = ["cgroup_sock", "sock_addr", "sockopt", "sysctl", "cgroup_device"];

impl CgroupCtx {
    /// A context that says nothing of the world.
    pub fn new(event: CgroupEvent) -> CgroupCtx {
        CgroupCtx { event, retval: 0, emulator: Map::new(), others: Map::new() }
    }

    pub(super) fn read(kind: &str, ctx: &At<'_>) -> Result<CgroupCtx, CtxError> {
        ctx.object()?;
        let (event, known): (CgroupEvent, &[&str]) = match kind {
            "cgroup_sock" => (CgroupEvent::Sock(Box::new(sock(ctx)?)), &["sock"]),
            "sock_addr" => (read_addr(ctx)?, &["sock", "addr", "path", "src"]),
            "sockopt" => (read_sockopt(ctx)?, &["sock", "op", "level", "optname", "optval", "optlen"]),
            "sysctl" => (read_sysctl(ctx)?, &["name", "current", "new", "pos"]),
            _ => (CgroupEvent::Device(read_device(ctx)?), &["kind", "major", "minor", "access"]),
        };
        let emulator = ctx.get("emulator").map_or(Ok(Map::new()), |at| at.object().cloned())?;
        let known = [known, &["retval", "emulator"]].concat();
        Ok(CgroupCtx { event, retval: ctx.int_or("retval", 0)?, emulator, others: ctx.others(&known) })
    }

    /// The type's name in files.
    pub(super) fn type_name(&self) -> &'static str {
        match self.event {
            CgroupEvent::Sock(_) => TYPES[0],
            CgroupEvent::SockAddr { .. } => TYPES[1],
            CgroupEvent::Sockopt { .. } => TYPES[2],
            CgroupEvent::Sysctl { .. } => TYPES[3],
            CgroupEvent::Device(_) => TYPES[4],
        }
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = write_event(&self.event);
        if let Some(ctx) = ctx.as_object_mut() {
            if self.retval != 0 {
                ctx.insert("retval".into(), self.retval.into());
            }
            if !self.emulator.is_empty() {
                ctx.insert("emulator".into(), Value::Object(self.emulator.clone()));
            }
            ctx.extend(self.others.clone());
        }
        ctx
    }

    /// What the program gets.
    pub fn context(&self) -> Box<dyn Context> {
        let mut context: Box<dyn CgroupContext> = match &self.event {
            CgroupEvent::Sock(sock) => Box::new(SockContext::new(*sock.clone())),
            CgroupEvent::SockAddr { sock, addr, src } => {
                let mut context = SockAddrContext::new(*sock.clone(), addr.clone());
                context.src = *src;
                Box::new(context)
            }
            CgroupEvent::Sockopt { sock, get, level, optname, optval, optlen } => {
                let make = if *get { SockoptContext::get } else { SockoptContext::set };
                let mut context = make(*sock.clone(), *level, *optname, optval);
                context.optlen = optlen.unwrap_or(context.optlen);
                Box::new(context)
            }
            CgroupEvent::Sysctl { name, current, new, pos } => {
                let mut context = SysctlContext::read(name);
                context.current = current.clone().map(String::into_bytes);
                context.new = new.clone().map(String::into_bytes);
                context.pos = *pos;
                Box::new(context)
            }
            CgroupEvent::Device(device) => Box::new(device.clone()),
        };
        context.set_retval(self.retval);
        context
    }

    /// What a run left of the context; none if it is another's.
    pub fn after(&self, context: &dyn Context) -> Option<CgroupCtx> {
        let any: &dyn Any = context;
        let (event, retval) = if let Some(known) = any.downcast_ref::<SockContext>() {
            (CgroupEvent::Sock(Box::new(known.sock.clone())), known.retval)
        } else if let Some(known) = any.downcast_ref::<SockAddrContext>() {
            let (sock, addr) = (Box::new(known.sock.clone()), known.addr.clone());
            (CgroupEvent::SockAddr { sock, addr, src: known.src }, known.retval)
        } else if let Some(known) = any.downcast_ref::<SockoptContext>() {
            let CgroupEvent::Sockopt { get, .. } = self.event else { return None };
            let event = CgroupEvent::Sockopt {
                sock: Box::new(known.sock.clone()),
                get,
                level: known.level,
                optname: known.optname,
                optval: known.optval.clone(),
                optlen: Some(known.optlen),
            };
            (event, known.retval)
        } else if let Some(known) = any.downcast_ref::<SysctlContext>() {
            let text = |bytes: &Option<Vec<u8>>| Some(String::from_utf8_lossy(bytes.as_ref()?).into_owned());
            let (current, new) = (text(&known.current), text(&known.new));
            (CgroupEvent::Sysctl { name: known.name.clone(), current, new, pos: known.pos }, known.retval)
        } else {
            let known = any.downcast_ref::<DeviceContext>()?;
            (CgroupEvent::Device(DeviceContext { retval: 0, ..known.clone() }), known.retval)
        };
        Some(CgroupCtx { event, retval, emulator: self.emulator.clone(), others: self.others.clone() })
    }
}

fn sock(ctx: &At<'_>) -> Result<Socket, CtxError> {
    ctx.get("sock").map_or(Ok(Socket::default()), |sock| read_sock(&sock))
}

fn read_addr(ctx: &At<'_>) -> Result<CgroupEvent, CtxError> {
    let addr = match ctx.get("path") {
        Some(path) => SockAddr::Unix(path.text()?.as_bytes().to_vec()),
        None => {
            let at = ctx.need("addr")?;
            let addr: Result<SocketAddr, _> = at.text()?.parse();
            let what = "expected an address as in 10.0.0.1:80 or [2001:db8::1]:80";
            SockAddr::Inet(addr.map_err(|_| at.error(what))?)
        }
    };
    let src = ctx.get("src").map(|at| at.text()?.parse().map_err(|_| at.error("expected an IP address")));
    let mut event =
        CgroupEvent::SockAddr { sock: Box::new(sock(ctx)?), addr: addr.clone(), src: src.transpose()? };
    if let CgroupEvent::SockAddr { sock, .. } = &mut event
        && sock.family == 0
    {
        sock.family = match addr {
            SockAddr::Unix(_) => 1,
            SockAddr::Inet(SocketAddr::V4(_)) => 2,
            SockAddr::Inet(SocketAddr::V6(_)) => 10,
        };
    }
    Ok(event)
}

fn read_sockopt(ctx: &At<'_>) -> Result<CgroupEvent, CtxError> {
    let get = match ctx.get("op") {
        None => false,
        Some(op) => match op.text()? {
            "get" => true,
            "set" => false,
            _ => return Err(op.error("expected get or set")),
        },
    };
    Ok(CgroupEvent::Sockopt {
        sock: Box::new(sock(ctx)?),
        get,
        level: ctx.need("level")?.int()?,
        optname: ctx.need("optname")?.int()?,
        optval: ctx.get("optval").map_or(Ok(Vec::new()), |at| at.base64())?,
        optlen: ctx.get("optlen").map(|at| at.int()).transpose()?,
    })
}

fn read_sysctl(ctx: &At<'_>) -> Result<CgroupEvent, CtxError> {
    let text = |key: &str| ctx.get(key).map(|at| at.text().map(str::to_owned)).transpose();
    Ok(CgroupEvent::Sysctl {
        name: ctx.need("name")?.text()?.into(),
        current: text("current")?,
        new: text("new")?,
        pos: ctx.int_or("pos", 0)?,
    })
}

fn read_device(ctx: &At<'_>) -> Result<DeviceContext, CtxError> {
    let kind = ctx.need("kind")?;
    let mut device = DeviceContext {
        kind: match kind.text()? {
            "block" => DeviceKind::Block,
            "char" => DeviceKind::Char,
            _ => return Err(kind.error("expected block or char")),
        },
        major: ctx.need("major")?.int()?,
        minor: ctx.need("minor")?.int()?,
        ..DeviceContext::default()
    };
    for at in ctx.need("access")?.list()? {
        match at.text()? {
            "mknod" => device.mknod = true,
            "read" => device.read = true,
            "write" => device.write = true,
            _ => return Err(at.error("expected mknod, read or write")),
        }
    }
    Ok(device)
}

fn write_event(event: &CgroupEvent) -> Value {
    match event {
        CgroupEvent::Sock(sock) => json!({ "sock": write_sock(sock) }),
        CgroupEvent::SockAddr { sock, addr, src } => {
            let mut ctx = json!({ "sock": write_sock(sock) });
            match addr {
                SockAddr::Inet(addr) => ctx["addr"] = addr.to_string().into(),
                SockAddr::Unix(path) => ctx["path"] = String::from_utf8_lossy(path).into(),
            }
            if let Some(src) = src {
                ctx["src"] = src.to_string().into();
            }
            ctx
        }
        CgroupEvent::Sockopt { sock, get, level, optname, optval, optlen } => {
            let op = if *get { "get" } else { "set" };
            let mut ctx = json!({
                "sock": write_sock(sock), "op": op, "level": level, "optname": optname,
                "optval": base64::encode(optval),
            });
            if let Some(optlen) = optlen {
                ctx["optlen"] = json!(optlen);
            }
            ctx
        }
        CgroupEvent::Sysctl { name, current, new, pos } => {
            let mut ctx = json!({ "name": name });
            for (key, text) in [("current", current), ("new", new)] {
                if let Some(text) = text {
                    ctx[key] = text.as_str().into();
                }
            }
            if *pos != 0 {
                ctx["pos"] = json!(pos);
            }
            ctx
        }
        CgroupEvent::Device(device) => {
            let kind = if device.kind == DeviceKind::Block { "block" } else { "char" };
            let done = [("mknod", device.mknod), ("read", device.read), ("write", device.write)];
            let access: Vec<&str> = done.iter().filter(|(_, done)| *done).map(|(name, _)| *name).collect();
            json!({ "kind": kind, "major": device.major, "minor": device.minor, "access": access })
        }
    }
}
