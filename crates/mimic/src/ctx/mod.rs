//! Context files: the inputs of programs as JSON, in the four types of the original Mimic: `generic`, `xdp_md`, `sk_buff`, `captured`.
//!
//! A file is one context or an array of them. What is read is written again as it was; keys that are not known are kept. The format is
//! described in `docs/context.schema.json`.

pub(crate) mod base64;
mod call_shape;
mod captured;
mod cgroup;
mod flow_keys;
mod generic;
mod packet;
mod probe;
pub(crate) mod reader;
mod record;
mod replay;
mod socket;
mod tracing;

pub use captured::{CallKey, Calls, CapturedCall, CapturedCtx, CapturedValue};
pub use cgroup::{CgroupCtx, CgroupEvent};
pub use generic::{GenericCtx, MemoryItem, MemoryValue};
pub use packet::{SkBuffCtx, XdpMdCtx};
pub use probe::{FieldValue, ProbeCtx, ProbeEvent};
pub use reader::CtxError;
pub use record::{CALLS_MAX, NOTES_LEN_MAX, Recorder};
pub use replay::{Mismatch, Replay, ReplayMode};
pub use socket::{SocketCtx, SocketEvent};
pub use tracing::TracingCtx;

use crate::world;
use mimic_linux::World;
use mimic_vm::Context;
use reader::At;
use serde_json::{Map, Value, json};

/// A context with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Ctx {
    /// The name.
    pub name: String,
    /// The context.
    pub kind: CtxKind,
    others: Map<String, Value>,
}

/// A context of one of the types.
#[derive(Clone, Debug, PartialEq)]
pub enum CtxKind {
    /// Memory and registers.
    Generic(GenericCtx),
    /// A frame for XDP programs.
    XdpMd(XdpMdCtx),
    /// A packet for programs that see socket buffers.
    SkBuff(Box<SkBuffCtx>),
    /// Arguments of a traced function.
    Tracing(Box<TracingCtx>),
    /// What a control group's program is asked about.
    Cgroup(Box<CgroupCtx>),
    /// What a program about sockets is asked about.
    Socket(Box<SocketCtx>),
    /// Registers, a record or arguments at a probe.
    Probe(Box<ProbeCtx>),
    /// Another context with captured helper calls.
    Captured(CapturedCtx),
}

/// The contexts of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct CtxFile {
    /// The contexts.
    pub contexts: Vec<Ctx>,
    /// The file is an array; otherwise it is the only context.
    pub is_array: bool,
}

impl CtxFile {
    /// Contexts to be written as an array.
    pub fn of(contexts: Vec<Ctx>) -> CtxFile {
        CtxFile { contexts, is_array: true }
    }

    /// Reads a file's text.
    pub fn read(text: &str) -> Result<CtxFile, CtxError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| CtxError { path: String::new(), what: format!("not JSON: {error}") })?;
        let root = At::root(&value);
        if value.is_array() {
            let contexts = root.list()?.iter().map(|at| Ctx::read(at, 0)).collect::<Result<_, _>>()?;
            return Ok(CtxFile { contexts, is_array: true });
        }
        Ok(CtxFile { contexts: vec![Ctx::read(&root, 0)?], is_array: false })
    }

    /// The file as JSON.
    pub fn write(&self) -> Value {
        match (self.is_array, self.contexts.as_slice()) {
            (false, [only]) => only.to_json(),
            (_, contexts) => contexts.iter().map(Ctx::to_json).collect(),
        }
    }
}

impl Ctx {
    /// A context with a name.
    pub fn new(name: impl Into<String>, kind: CtxKind) -> Ctx {
        Ctx { name: name.into(), kind, others: Map::new() }
    }

    fn read(at: &At<'_>, depth: u32) -> Result<Ctx, CtxError> {
        let kind = at.need("type")?;
        let ctx = at.need("ctx")?;
        ctx.object()?;
        let kind = match kind.text()? {
            "generic" => CtxKind::Generic(GenericCtx::read(&ctx)?),
            "xdp_md" => CtxKind::XdpMd(XdpMdCtx::read(&ctx)?),
            "sk_buff" => CtxKind::SkBuff(Box::new(SkBuffCtx::read(&ctx)?)),
            "tracing" => CtxKind::Tracing(Box::new(TracingCtx::read(&ctx)?)),
            "captured" => CtxKind::Captured(CapturedCtx::read(&ctx, depth)?),
            cgroup if cgroup::TYPES.contains(&cgroup) => {
                CtxKind::Cgroup(Box::new(CgroupCtx::read(cgroup, &ctx)?))
            }
            socket if socket::TYPES.contains(&socket) => {
                CtxKind::Socket(Box::new(SocketCtx::read(socket, &ctx)?))
            }
            probe if probe::TYPES.contains(&probe) => CtxKind::Probe(Box::new(ProbeCtx::read(probe, &ctx)?)),
            other => {
                let families =
                    [&cgroup::TYPES[..], &socket::TYPES[..], &probe::TYPES[..]].concat().join(", ");
                return Err(kind.error(format!(
                    "expected generic, xdp_md, sk_buff, tracing, {families} or captured, not {other:?}"
                )));
            }
        };
        if let Some(emulator) = ctx.get("emulator") {
            world::read_over(World::default(), &emulator)?;
        }
        let name = at.get("name").map_or(Ok(""), |name| name.text())?.to_owned();
        Ok(Ctx { name, kind, others: at.others(&["name", "type", "ctx"]) })
    }

    /// The context as JSON.
    pub fn to_json(&self) -> Value {
        let (kind, ctx) = match &self.kind {
            CtxKind::Generic(generic) => ("generic", generic.write()),
            CtxKind::XdpMd(xdp) => ("xdp_md", xdp.write()),
            CtxKind::SkBuff(skb) => ("sk_buff", skb.write()),
            CtxKind::Tracing(tracing) => ("tracing", tracing.write()),
            CtxKind::Cgroup(cgroup) => (cgroup.type_name(), cgroup.write()),
            CtxKind::Socket(socket) => (socket.type_name(), socket.write()),
            CtxKind::Probe(probe) => (probe.type_name(), probe.write()),
            CtxKind::Captured(captured) => ("captured", captured.write()),
        };
        let mut value = json!({ "name": self.name, "type": kind, "ctx": ctx });
        if let Some(value) = value.as_object_mut() {
            value.extend(self.others.clone());
        }
        value
    }

    /// What the program gets. Captured contexts also want [`Ctx::replay`].
    pub fn context(&self) -> Box<dyn Context> {
        match &self.kind {
            CtxKind::Generic(generic) => Box::new(generic.clone()),
            CtxKind::XdpMd(xdp) => Box::new(xdp.context()),
            CtxKind::SkBuff(skb) => Box::new(skb.context()),
            CtxKind::Tracing(tracing) => Box::new(tracing.context()),
            CtxKind::Cgroup(cgroup) => cgroup.context(),
            CtxKind::Socket(socket) => socket.context(),
            CtxKind::Probe(probe) => probe.context(),
            CtxKind::Captured(captured) => captured.innermost().context(),
        }
    }

    /// What a run left of the context that [`Ctx::context`] gave, for types whose contexts are an answer too; none for others.
    pub fn after(&self, context: &dyn Context) -> Option<Value> {
        match &self.kind {
            CtxKind::Cgroup(cgroup) => Some(cgroup.after(context)?.write()),
            CtxKind::Socket(socket) => socket.after(context),
            CtxKind::Captured(captured) => captured.innermost().after(context),
            CtxKind::Generic(_)
            | CtxKind::XdpMd(_)
            | CtxKind::SkBuff(_)
            | CtxKind::Tracing(_)
            | CtxKind::Probe(_) => None,
        }
    }

    /// The hook that answers captured calls, if there are any.
    pub fn replay(&self, mode: ReplayMode, mismatch: Mismatch) -> Option<Replay> {
        self.captured().map(|captured| captured.replay(mode, mismatch))
    }

    /// The capture, if it is one.
    pub fn captured(&self) -> Option<&CapturedCtx> {
        match &self.kind {
            CtxKind::Captured(captured) => Some(captured),
            CtxKind::Generic(_)
            | CtxKind::XdpMd(_)
            | CtxKind::SkBuff(_)
            | CtxKind::Tracing(_)
            | CtxKind::Cgroup(_)
            | CtxKind::Socket(_)
            | CtxKind::Probe(_) => None,
        }
    }

    /// The capture, if it is one, to be completed.
    pub fn captured_mut(&mut self) -> Option<&mut CapturedCtx> {
        match &mut self.kind {
            CtxKind::Captured(captured) => Some(captured),
            CtxKind::Generic(_)
            | CtxKind::XdpMd(_)
            | CtxKind::SkBuff(_)
            | CtxKind::Tracing(_)
            | CtxKind::Cgroup(_)
            | CtxKind::Socket(_)
            | CtxKind::Probe(_) => None,
        }
    }

    /// The world that the context wants, if it says.
    pub fn world(&self) -> Option<World> {
        self.world_over(&World::default())
    }

    /// A world with what the context says of it; none if it says nothing.
    pub fn world_over(&self, world: &World) -> Option<World> {
        let emulator = match &self.kind {
            CtxKind::Generic(generic) => Some(&generic.emulator),
            CtxKind::Tracing(tracing) => Some(&tracing.emulator),
            CtxKind::Cgroup(cgroup) => Some(&cgroup.emulator),
            CtxKind::Socket(socket) => Some(&socket.emulator),
            CtxKind::Probe(probe) => Some(&probe.emulator),
            CtxKind::Captured(captured) => return captured.innermost().world_over(world),
            CtxKind::XdpMd(xdp) => xdp.emulator(),
            CtxKind::SkBuff(skb) => skb.emulator(),
        };
        let emulator = emulator.filter(|emulator| !emulator.is_empty())?;
        world::read_over(world.clone(), &At::root(&Value::Object(emulator.clone()))).ok()
    }

    /// States a world, whatever was stated of it, so that the context makes the same run elsewhere.
    pub fn pin_world(&mut self, world: &World) {
        match &mut self.kind {
            CtxKind::Generic(generic) => world::state(&mut generic.emulator, world),
            CtxKind::Tracing(tracing) => world::state(&mut tracing.emulator, world),
            CtxKind::Cgroup(cgroup) => world::state(&mut cgroup.emulator, world),
            CtxKind::Socket(socket) => world::state(&mut socket.emulator, world),
            CtxKind::Probe(probe) => world::state(&mut probe.emulator, world),
            CtxKind::Captured(captured) => captured.sub.pin_world(world),
            CtxKind::XdpMd(xdp) => world::state(xdp.emulator_mut(), world),
            CtxKind::SkBuff(skb) => world::state(skb.emulator_mut(), world),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"[
      {"name": "probe", "type": "captured", "extra": 1, "ctx": {
        "subContext": {"name": "probe", "type": "generic", "ctx": {
          "registers": {"r1": "args", "r2": "len"},
          "memory": [
            {"name": "args", "type": "struct", "value": [{"name": "p", "memory": "p"}, {"name": "len", "memory": "len"}]},
            {"name": "p", "type": "ptr", "value": {"memory": "data", "offset": 2, "size": 64}},
            {"name": "data", "type": "block", "value": {"value": "AQIDBA==", "byteorder": "le"}},
            {"name": "len", "type": "int", "value": {"value": 18446744073709551615, "size": 32}}],
          "emulator": {"seed": 7, "tasks": [{"pid": 3, "comm": "x"}], "mine": [1]}}},
        "helperCalls": {"14": [{"helperFn": 14, "params": [], "results": [{"reg": 0, "value": 4294967338}]}]}}},
      {"name": "frame", "type": "xdp_md", "ctx": {"headroom": 1, "tailroom": 2, "packet": "AAEC",
        "ingress_ifidx": 3, "rx_queue_idx": 4, "egress_ifidx": 5, "later": {}}},
      {"name": "skb", "type": "sk_buff", "ctx": {"packet": "AAEC",
        "sock": {"boundDevIF": 1, "family": 2, "sockType": 1, "protocol": 6, "mark": 9, "priority": 8, "srcPort": 80,
          "dstPort": 8080, "state": 1, "srcIP4": "10.0.0.1", "dstIP4": "10.0.0.2", "srcIP6": "::1", "dstIP6": "2001:db8::2",
          "rxQueueMapping": -1},
        "dev": {"ifIndex": 2}, "flowKeys": {"nhoff": 14}, "mark": 77, "cb": [1, 2, 3, 4, 5], "wireLen": 100}}]"#;

    #[test]
    fn every_type_round_trips() {
        let file = CtxFile::read(EXAMPLE).expect("it is good");
        let expected: Value = serde_json::from_str(EXAMPLE).expect("it is JSON");
        assert_eq!(file.write(), expected);
        assert_eq!(CtxFile::read(&file.write().to_string()), Ok(file.clone()));
        let world = file.contexts[0].world().expect("the context says");
        assert_eq!((world.seed, world.tasks[0].pid, world.tasks[0].comm.as_str()), (7, 3, "x"));
        let one = file.contexts[1].to_json().to_string();
        let file = CtxFile::read(&one).expect("one is good too");
        assert!(!file.is_array);
        assert_eq!(file.write().to_string(), one);
    }

    #[test]
    fn tracing_contexts_and_their_world_round_trip() {
        let text = r#"{"name": "open", "type": "tracing", "ctx": {
          "args": [1, {"bytes": "AQI="}, {"bytes": "AQI=", "writable": true}, {"task": 5}, {"file": 9}],
          "point": "exit", "ret": 18446744073709551614, "later": 1,
          "emulator": {
            "tasks": [{"pid": 5, "memory": [{"start": 4096, "bytes": "AQI="}], "kernel_stack": [7], "user_stack": [8, 9],
              "regs": {"di": 3}, "files": [{"fd": 0, "file": 9}]}],
            "files": [{"id": 9, "path": "/x", "build_id": "AQI="}],
            "ksyms": [{"addr": 7, "name": "f"}], "percpu": {"v": ["AQI=", "AwQ="]}, "current": [5]}}}"#;
        let file = CtxFile::read(text).expect("it is good");
        assert_eq!(file.write(), serde_json::from_str::<Value>(text).expect("it is JSON"));
        let world = file.contexts[0].world().expect("the context says");
        let task = &world.tasks[0];
        assert_eq!(
            (task.memory[0].len, task.memory[0].flags, task.user_stack.as_slice()),
            (2, 3, &[8, 9][..])
        );
        assert_eq!((task.regs["di"], task.files[0], world.files[0].build_id.len()), (3, (0, 9), 2));
        assert_eq!((world.ksyms[0].name.as_str(), world.percpu["v"][1][1], world.current[0]), ("f", 4, 5));
    }

    #[test]
    fn contexts_of_control_groups_round_trip_and_tell_what_became_of_them() {
        let text = r#"[
          {"name": "a", "type": "sock_addr", "ctx": {"addr": "10.0.0.1:80", "src": "10.0.0.2", "retval": -1, "later": 1}},
          {"name": "b", "type": "sock_addr", "ctx": {"path": "/run/x"}},
          {"name": "c", "type": "sockopt", "ctx": {"op": "get", "level": 1, "optname": 7, "optval": "AQI=", "optlen": 4}},
          {"name": "d", "type": "sysctl", "ctx": {"name": "net/x", "current": "1\n", "new": "2", "pos": 3, "emulator": {"seed": 1}}},
          {"name": "e", "type": "cgroup_device", "ctx": {"kind": "char", "major": 1, "minor": 5, "access": ["mknod", "write"]}},
          {"name": "f", "type": "cgroup_sock", "ctx": {}}]"#;
        let file = CtxFile::read(text).expect("it is good");
        let written = file.write();
        for (at, given) in
            serde_json::from_str::<Value>(text).expect("JSON").as_array().into_iter().flatten().enumerate()
        {
            for (key, value) in given["ctx"].as_object().into_iter().flatten() {
                assert_eq!(&written[at]["ctx"][key], value, "{key}");
            }
        }
        assert_eq!(CtxFile::read(&written.to_string()).map(|file| file.write()), Ok(written.clone()));
        for (at, ctx) in file.contexts.iter().enumerate() {
            let after = ctx.after(&*ctx.context()).expect("it is an answer");
            if at != 2 {
                assert_eq!(after, written[at]["ctx"], "no run, no change");
            }
        }
    }

    #[test]
    fn contexts_about_sockets_round_trip_and_answer() {
        let sock = r#"{"boundDevIF": 0, "family": 2, "sockType": 1, "protocol": 6, "mark": 0, "priority": 0, "srcPort": 80,
          "dstPort": 81, "state": 1, "srcIP4": "10.0.0.1", "dstIP4": "10.0.0.2", "srcIP6": "::", "dstIP6": "::",
          "rxQueueMapping": -1, "cookie": 7}"#;
        let text = format!(
            r#"[{{"name": "m", "type": "sk_msg", "ctx": {{"data": "AQID", "pieces": [1, 2], "shared": true, "sock": {sock}}}}},
            {{"name": "r", "type": "sk_reuseport", "ctx": {{"packet": "AQID", "link_len": 0, "migrating": 3, "hash": 9, "later": 1}}}},
            {{"name": "o", "type": "sock_ops", "ctx": {{"op": "BPF_SOCK_OPS_STATE_CB", "args": [1, 2], "sock": {sock},
              "header": "AQID", "payload_len": 4, "tcp_flags": 2, "hwtstamp": 5, "syn": "AQI=", "option_room": 8,
              "emulator": {{"seed": 3}}}}}},
            {{"name": "l", "type": "sk_lookup", "ctx": {{"protocol": 17, "remote": "[2001:db8::1]:5", "local": "[2001:db8::2]:6",
              "ingress_ifindex": 4}}}}]"#
        );
        let file = CtxFile::read(&text).expect("it is good");
        assert_eq!(file.write(), serde_json::from_str::<Value>(&text).expect("it is JSON"));
        let seed = file.contexts[2].world().map(|world| world.seed);
        assert_eq!(seed, Some(3));
        let lookup = &file.contexts[3];
        assert_eq!(lookup.after(&*lookup.context()), Some(json!({ "verdict": "go_on" })));
    }

    #[test]
    fn bad_input_is_named_with_its_path() {
        for (text, expected) in [
            ("{", "not JSON"),
            ("3", "expected an object, not 3"),
            (r#"{"type": "x", "ctx": {}}"#, "type: expected generic"),
            (r#"[{"type": "generic"}]"#, "[0]: there is no \"ctx\""),
            (r#"{"type": "xdp_md", "ctx": {"packet": "AAE"}}"#, "ctx.packet: 3 characters"),
            (
                r#"{"type": "xdp_md", "ctx": {"packet": "", "headroom": -1}}"#,
                "ctx.headroom: expected a whole number from 0",
            ),
            (
                r#"{"type": "generic", "ctx": {"registers": {"r1": "x"}}}"#,
                "ctx.registers.r1: there is no memory",
            ),
            (
                r#"{"type": "generic", "ctx": {"registers": {"r6": "x"}}}"#,
                "ctx.registers.r6: there are the registers",
            ),
            (
                r#"{"type": "generic", "ctx": {"memory": [{"name": "i", "type": "int", "value": {"value": 1, "size": 7}}]}}"#,
                "ctx.memory[0].value.size: expected a size of 8, 16, 32, 64",
            ),
            (
                r#"{"type": "generic", "ctx": {"memory": [{"name": "s", "type": "struct", "value": [{"memory": "s"}]}]}}"#,
                "ctx.memory[0]: structures nest at most",
            ),
            (
                r#"{"type": "generic", "ctx": {"memory": [{"name": "p", "type": "ptr", "value": {"memory": "p"}}]}}"#,
                "ctx.memory[0]: a pointer points at a block or struct",
            ),
            (
                r#"{"type": "generic", "ctx": {"emulator": {"tasks": [{"pid": "x"}]}}}"#,
                "tasks[0].pid: expected a whole",
            ),
            (r#"{"type": "sock_ops", "ctx": {"op": "X"}}"#, "ctx.op: expected the name or number"),
            (
                r#"{"type": "sk_lookup", "ctx": {"remote": "1.2.3.4:5", "local": "[::1]:6"}}"#,
                "ctx.local: expected an address of the same family",
            ),
            (r#"{"type": "captured", "ctx": {"subContext": null}}"#, "ctx: there is no \"subContext\""),
            (
                r#"{"type": "sk_buff", "ctx": {"packet": "", "sock": {"srcIP4": "1.2"}}}"#,
                "ctx.sock.srcIP4: \"1.2\"",
            ),
        ] {
            let error = CtxFile::read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error} ({text})");
        }
    }
}
