//! The `captured` context: another context, and what helpers answered when it was captured, to be answered again.

use super::base64;
use super::reader::{At, CtxError};
use super::{Ctx, CtxKind, Mismatch, Replay, ReplayMode};
use mimic_abi::HelperSpec;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A captured context.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedCtx {
    /// What the program got.
    pub sub: Box<Ctx>,
    /// Calls by function, each one's in order.
    pub calls: Calls,
    /// When the program ran, in nanoseconds: drives the virtual clock as the time of a captured packet does.
    pub time_ns: Option<u64>,
    /// What the program returned, the low half of r0; none if it did not say, or was stopped.
    pub returned: Option<u32>,
    /// What maps held before the run, in the form of presets. Contexts of one file run one after the other: only the first needs it.
    pub maps: Option<Value>,
    others: Map<String, Value>,
}

/// Captured calls by function.
pub type Calls = BTreeMap<CallKey, Vec<CapturedCall>>;

/// Whom a captured call called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKey {
    /// A helper, by number.
    Helper(u32),
    /// A kernel function, by name.
    Kfunc(String),
}

impl CallKey {
    /// The key of a row.
    pub fn of(spec: &HelperSpec) -> CallKey {
        match spec.id {
            0 => CallKey::Kfunc(spec.name.to_owned()),
            id => CallKey::Helper(id),
        }
    }
}

/// A call that was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedCall {
    /// What it got: register and value.
    pub params: Vec<(u8, CapturedValue)>,
    /// What it answered: r0 (a number, or the bytes of the object that it points at), and bytes behind other registers.
    pub results: Vec<(u8, CapturedValue)>,
}

/// A register's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapturedValue {
    /// The number in it.
    Number(u64),
    /// The bytes that it points at.
    Bytes(Vec<u8>),
}

/// The deepest that captured contexts nest.
const DEPTH_MAX: u32 = 8;

impl CapturedCtx {
    pub(super) fn read(ctx: &At<'_>, depth: u32) -> Result<CapturedCtx, CtxError> {
        if depth > DEPTH_MAX {
            return Err(ctx.error(format!("captured contexts nest at most {DEPTH_MAX} deep")));
        }
        let sub = Box::new(Ctx::read(&ctx.need("subContext")?, depth + 1)?);
        let mut calls = BTreeMap::new();
        if let Some(helpers) = ctx.get("helperCalls") {
            for (number, at) in helpers.members()? {
                let id: u32 =
                    number.parse().map_err(|_| at.error("expected a helper's decimal number as key"))?;
                let list = at.list()?.iter().map(|at| read_call(at, Some(id))).collect::<Result<_, _>>()?;
                calls.insert(CallKey::Helper(id), list);
            }
        }
        if let Some(kfuncs) = ctx.get("kfuncCalls") {
            for (name, at) in kfuncs.members()? {
                let list = at.list()?.iter().map(|at| read_call(at, None)).collect::<Result<_, _>>()?;
                calls.insert(CallKey::Kfunc(name.to_owned()), list);
            }
        }
        Ok(CapturedCtx {
            sub,
            calls,
            time_ns: ctx.get("timeNs").map(|at| at.int()).transpose()?,
            returned: ctx.get("returned").map(|at| at.int()).transpose()?,
            maps: ctx.get("maps").map(|at| at.value.clone()),
            others: ctx.others(&["subContext", "helperCalls", "kfuncCalls", "timeNs", "returned", "maps"]),
        })
    }

    /// A capture of calls of a program that got `sub`.
    pub fn new(sub: Ctx, calls: Calls) -> CapturedCtx {
        let (sub, others) = (Box::new(sub), Map::new());
        CapturedCtx { sub, calls, time_ns: None, returned: None, maps: None, others }
    }

    pub(super) fn write(&self) -> Value {
        let (mut helpers, mut kfuncs) = (Map::new(), Map::new());
        for (key, calls) in &self.calls {
            match key {
                CallKey::Helper(id) => helpers
                    .insert(id.to_string(), calls.iter().map(|call| write_call(call, Some(*id))).collect()),
                CallKey::Kfunc(name) => {
                    kfuncs.insert(name.clone(), calls.iter().map(|call| write_call(call, None)).collect())
                }
            };
        }
        let mut ctx = Map::new();
        ctx.insert("subContext".into(), self.sub.to_json());
        if let Some(time_ns) = self.time_ns {
            ctx.insert("timeNs".into(), time_ns.into());
        }
        if let Some(maps) = &self.maps {
            ctx.insert("maps".into(), maps.clone());
        }
        ctx.insert("helperCalls".into(), Value::Object(helpers));
        if !kfuncs.is_empty() {
            ctx.insert("kfuncCalls".into(), Value::Object(kfuncs));
        }
        if let Some(returned) = self.returned {
            ctx.insert("returned".into(), returned.into());
        }
        ctx.extend(self.others.clone());
        Value::Object(ctx)
    }

    /// A hook that answers the captured calls.
    pub fn replay(&self, mode: ReplayMode, mismatch: Mismatch) -> Replay {
        Replay::new(self.calls.clone(), mode, mismatch)
    }

    /// The context that the program gets, behind all captures.
    pub(super) fn innermost(&self) -> &Ctx {
        match &self.sub.kind {
            CtxKind::Captured(inner) => inner.innermost(),
            CtxKind::Generic(_)
            | CtxKind::XdpMd(_)
            | CtxKind::SkBuff(_)
            | CtxKind::Tracing(_)
            | CtxKind::Cgroup(_)
            | CtxKind::Socket(_)
            | CtxKind::Probe(_) => &self.sub,
        }
    }
}

fn write_call(call: &CapturedCall, id: Option<u32>) -> Value {
    let value = |value: &(u8, CapturedValue)| match &value.1 {
        CapturedValue::Number(number) => json!({ "reg": value.0, "value": number }),
        CapturedValue::Bytes(bytes) => json!({ "reg": value.0, "value": base64::encode(bytes) }),
    };
    let mut written = Map::new();
    if let Some(id) = id {
        written.insert("helperFn".into(), id.into());
    }
    written.insert("params".into(), call.params.iter().map(value).collect());
    written.insert("results".into(), call.results.iter().map(value).collect());
    Value::Object(written)
}

fn read_call(at: &At<'_>, id: Option<u32>) -> Result<CapturedCall, CtxError> {
    if let (Some(known), Some(id)) = (at.get("helperFn"), id) {
        let number: u32 = known.int()?;
        if number != id {
            return Err(known.error(format!("the call is listed under helper {id}, not {number}")));
        }
    }
    let values = |key: &str, lowest: u8| -> Result<Vec<(u8, CapturedValue)>, CtxError> {
        let Some(list) = at.get(key) else { return Ok(Vec::new()) };
        list.list()?.iter().map(|at| read_value(at, lowest)).collect()
    };
    Ok(CapturedCall { params: values("params", 1)?, results: values("results", 0)? })
}

fn read_value(at: &At<'_>, lowest: u8) -> Result<(u8, CapturedValue), CtxError> {
    let reg = at.need("reg")?;
    let number: u8 = reg.int()?;
    if !(lowest..=5).contains(&number) {
        return Err(reg.error(format!("expected a register from {lowest} to 5, not {number}")));
    }
    let value = at.need("value")?;
    let value = match value.value {
        Value::String(_) => CapturedValue::Bytes(value.base64()?),
        _ => CapturedValue::Number(value.int()?),
    };
    Ok((number, value))
}
