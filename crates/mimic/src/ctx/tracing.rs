//! The `tracing` context: the arguments of a traced function, hook or operation, for programs that get them with their types.

use super::base64;
use super::reader::{At, CtxError};
use mimic_linux::ObjectKey;
use mimic_linux::progs::{Arg, TracePoint, TracingContext};
use serde_json::{Map, Value, json};

/// A tracing context.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracingCtx {
    /// The arguments.
    pub args: Vec<Arg>,
    /// Where the function is.
    pub point: TracePoint,
    /// The return value, where there is one.
    pub ret: u64,
    /// The world, as it was given; unknown keys are kept.
    pub emulator: Map<String, Value>,
    others: Map<String, Value>,
}

const POINTS: [(&str, TracePoint); 3] =
    [("entry", TracePoint::Entry), ("exit", TracePoint::Exit), ("modify_return", TracePoint::ModifyReturn)];

impl TracingCtx {
    pub(super) fn read(ctx: &At<'_>) -> Result<TracingCtx, CtxError> {
        ctx.object()?;
        let mut tracing =
            TracingCtx { others: ctx.others(&["args", "point", "ret", "emulator"]), ..TracingCtx::default() };
        if let Some(args) = ctx.get("args") {
            tracing.args = args.list()?.iter().map(read_arg).collect::<Result<_, _>>()?;
            if tracing.args.len() > TracingContext::ARGS_MAX {
                return Err(args.error(format!("at most {} arguments", TracingContext::ARGS_MAX)));
            }
        }
        if let Some(point) = ctx.get("point") {
            let known = POINTS.iter().find(|(name, _)| Ok(*name) == point.text().map_err(|_| ()));
            tracing.point = known.ok_or_else(|| point.error("expected entry, exit or modify_return"))?.1;
        }
        if let Some(ret) = ctx.get("ret") {
            tracing.ret = ret.int::<i128>()? as u64;
        }
        if let Some(emulator) = ctx.get("emulator") {
            tracing.emulator = emulator.object()?.clone();
        }
        Ok(tracing)
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = Map::new();
        ctx.insert("args".into(), self.args.iter().map(write_arg).collect());
        let point = POINTS.iter().find(|(_, point)| *point == self.point).map_or("entry", |(name, _)| name);
        ctx.insert("point".into(), point.into());
        if self.point != TracePoint::Entry {
            ctx.insert("ret".into(), self.ret.into());
        }
        ctx.insert("emulator".into(), Value::Object(self.emulator.clone()));
        ctx.extend(self.others.clone());
        Value::Object(ctx)
    }

    /// What the program gets.
    pub fn context(&self) -> TracingContext {
        let args = self.args.clone();
        match self.point {
            TracePoint::Entry => TracingContext::entry(args),
            TracePoint::Exit => TracingContext::exit(args, self.ret),
            TracePoint::ModifyReturn => TracingContext::modify_return(args, self.ret),
        }
    }
}

fn read_arg(at: &At<'_>) -> Result<Arg, CtxError> {
    if at.value.is_number() {
        return Ok(Arg::Number(at.int::<i128>()? as u64));
    }
    at.object()?;
    if let Some(bytes) = at.get("bytes") {
        let writable = match at.get("writable") {
            None => false,
            Some(at) => at.value.as_bool().ok_or_else(|| at.error("expected true or false"))?,
        };
        return Ok(Arg::Bytes { bytes: bytes.base64()?, writable });
    }
    let found = OBJECTS.iter().find_map(|(name, _, make)| at.get(name).map(|at| (at, make)));
    let (at, make) = found.ok_or_else(|| {
        let names = OBJECTS.map(|(name, _, _)| name).join(", ");
        at.error(format!("expected a number, \"bytes\", or an object's number as one of {names}"))
    })?;
    Ok(Arg::Object(make(at.int()?)))
}

fn write_arg(arg: &Arg) -> Value {
    match arg {
        Arg::Number(number) => (*number).into(),
        Arg::Word(number) => (*number).into(),
        Arg::Bytes { bytes, writable: false } => json!({ "bytes": base64::encode(bytes) }),
        Arg::Bytes { bytes, writable: true } => json!({ "bytes": base64::encode(bytes), "writable": true }),
        Arg::Object(key) => {
            let known = OBJECTS.iter().find_map(|(name, number, _)| Some((*name, number(key)?)));
            let (name, number) = known.unwrap_or(("task", 0));
            Value::Object([(name.to_owned(), number.into())].into_iter().collect())
        }
    }
}

type ObjectName = (&'static str, fn(&ObjectKey) -> Option<u64>, fn(u64) -> ObjectKey);

/// Objects by the names of their numbers.
const OBJECTS: [ObjectName; 9] = [
    (
        "bprm",
        |key| if let ObjectKey::Bprm(pid) = key { Some((*pid).into()) } else { None },
        |pid| ObjectKey::Bprm(pid as u32),
    ),
    (
        "task",
        |key| if let ObjectKey::Task(pid) = key { Some((*pid).into()) } else { None },
        |pid| ObjectKey::Task(pid as u32),
    ),
    (
        "cred",
        |key| if let ObjectKey::Cred(pid) = key { Some((*pid).into()) } else { None },
        |pid| ObjectKey::Cred(pid as u32),
    ),
    (
        "pt_regs",
        |key| if let ObjectKey::PtRegs(pid) = key { Some((*pid).into()) } else { None },
        |pid| ObjectKey::PtRegs(pid as u32),
    ),
    ("cgroup", |key| if let ObjectKey::Cgroup(id) = key { Some(*id) } else { None }, ObjectKey::Cgroup),
    ("socket", |key| if let ObjectKey::Socket(id) = key { Some(*id) } else { None }, ObjectKey::Socket),
    (
        "device",
        |key| if let ObjectKey::Device(id) = key { Some((*id).into()) } else { None },
        |id| ObjectKey::Device(id as u32),
    ),
    (
        "file",
        |key| if let ObjectKey::File(id) = key { Some((*id).into()) } else { None },
        |id| ObjectKey::File(id as u32),
    ),
    ("inode", |key| if let ObjectKey::Inode(id) = key { Some(*id) } else { None }, ObjectKey::Inode),
];
