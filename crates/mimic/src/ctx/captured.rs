//! The `captured` context: another context, and what helpers answered when it was captured, to be answered again.

use super::base64;
use super::reader::{At, CtxError};
use super::{Ctx, CtxKind};
use mimic_abi::ArgType;
use mimic_vm::{Before, Call, FaultKind, Hook, Trap};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A captured context.
#[derive(Clone, Debug, PartialEq)]
pub struct CapturedCtx {
    /// What the program got.
    pub sub: Box<Ctx>,
    /// Calls by helper number, each helper's in order.
    pub calls: BTreeMap<u32, Vec<CapturedCall>>,
    others: Map<String, Value>,
}

/// A call that was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedCall {
    /// What it got: register and value.
    pub params: Vec<(u8, CapturedValue)>,
    /// What it answered: r0, and bytes behind other registers.
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
                calls.insert(id, at.list()?.iter().map(|at| read_call(at, id)).collect::<Result<_, _>>()?);
            }
        }
        Ok(CapturedCtx { sub, calls, others: ctx.others(&["subContext", "helperCalls"]) })
    }

    pub(super) fn write(&self) -> Value {
        let value = |value: &(u8, CapturedValue)| match &value.1 {
            CapturedValue::Number(number) => json!({ "reg": value.0, "value": number }),
            CapturedValue::Bytes(bytes) => json!({ "reg": value.0, "value": base64::encode(bytes) }),
        };
        let call = |id: u32, call: &CapturedCall| {
            let (params, results) = (call.params.iter().map(value), call.results.iter().map(value));
            json!({ "helperFn": id, "params": params.collect::<Vec<_>>(), "results": results.collect::<Vec<_>>() })
        };
        let calls = self.calls.iter().map(|(id, calls)| {
            (id.to_string(), calls.iter().map(|known| call(*id, known)).collect::<Value>())
        });
        let mut ctx =
            json!({ "subContext": self.sub.write(), "helperCalls": Value::Object(calls.collect()) });
        if let Some(ctx) = ctx.as_object_mut() {
            ctx.extend(self.others.clone());
        }
        ctx
    }

    /// A hook that answers the captured calls.
    pub fn replay(&self, mismatch: Mismatch) -> Replay {
        let at = self.calls.keys().map(|id| (*id, 0)).collect();
        Replay { calls: self.calls.clone(), at, mismatch, warnings: Arc::default() }
    }

    /// The context that the program gets, behind all captures.
    pub(super) fn innermost(&self) -> &Ctx {
        match &self.sub.kind {
            CtxKind::Captured(inner) => inner.innermost(),
            CtxKind::Generic(_) | CtxKind::XdpMd(_) | CtxKind::SkBuff(_) => &self.sub,
        }
    }
}

fn read_call(at: &At<'_>, id: u32) -> Result<CapturedCall, CtxError> {
    if let Some(known) = at.get("helperFn") {
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
    if number == 0 && matches!(value, CapturedValue::Bytes(_)) {
        return Err(
            at.error("r0 with bytes cannot be answered again: there is no memory that it could point at")
        );
    }
    Ok((number, value))
}

/// What happens when a program calls a helper with other arguments than when it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// The captured answer is given, and the difference noted.
    #[default]
    Warn,
    /// The program is stopped.
    Fail,
}

/// Answers helper calls from a capture: the n-th call of a helper gets its n-th answer. Calls beyond those are the emulator's.
pub struct Replay {
    calls: BTreeMap<u32, Vec<CapturedCall>>,
    at: BTreeMap<u32, usize>,
    mismatch: Mismatch,
    warnings: Arc<Mutex<Vec<String>>>,
}

/// The most differences that are noted.
const WARNINGS_MAX: usize = 64;

impl Replay {
    /// Where differences are noted.
    pub fn warnings(&self) -> Arc<Mutex<Vec<String>>> {
        self.warnings.clone()
    }
}

impl Hook for Replay {
    fn before(&mut self, call: &mut Call<'_>, args: [u64; 5]) -> Result<Before, Trap> {
        let Some(id) = call.spec().map(|spec| spec.id) else { return Ok(Before::Run) };
        let Some(at) = self.at.get_mut(&id) else { return Ok(Before::Run) };
        let Some(captured) = self.calls.get(&id).and_then(|calls| calls.get(*at)) else {
            return Ok(Before::Run);
        };
        *at += 1;
        let number = *at;
        for (reg, value) in &captured.params {
            let Some(what) = difference(call, args, *reg, value)? else { continue };
            let what = format!("call {number} was captured with other arguments: {what}");
            match self.mismatch {
                Mismatch::Fail => {
                    return Err(FaultKind::Argument { helper: call.name().clone(), what }.into());
                }
                Mismatch::Warn => {
                    let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                    if warnings.len() < WARNINGS_MAX {
                        warnings.push(format!("{}: {what}", call.name()));
                    }
                }
            }
        }
        let mut r0 = 0;
        for (reg, value) in &captured.results {
            match value {
                CapturedValue::Number(number) if *reg == 0 => r0 = *number,
                CapturedValue::Number(_) => {}
                CapturedValue::Bytes(bytes) => call.write(arg(args, *reg), bytes)?,
            }
        }
        Ok(Before::Return(r0))
    }
}

fn arg(args: [u64; 5], reg: u8) -> u64 {
    args.get(usize::from(reg).wrapping_sub(1)).copied().unwrap_or(0)
}

/// How an argument differs from a captured one. Pointers of the captured machine mean nothing here; what they point at does.
fn difference(
    call: &Call<'_>,
    args: [u64; 5],
    reg: u8,
    value: &CapturedValue,
) -> Result<Option<String>, Trap> {
    let now = arg(args, reg);
    match value {
        CapturedValue::Bytes(bytes) => {
            let found = call.read_vec(now, bytes.len() as u64)?;
            Ok((found != *bytes).then(|| format!("other bytes behind r{reg}")))
        }
        CapturedValue::Number(then) => {
            let ty = call
                .spec()
                .and_then(|spec| spec.args.get(usize::from(reg).wrapping_sub(1)))
                .map(|arg| arg.ty);
            // Numbers, as far as the row tells: anything can be passed where anything is taken.
            let is_number = matches!(ty, Some(ArgType::Size | ArgType::SizeOrZero | ArgType::AllocSize))
                || ty == Some(ArgType::Anything) && *then < 1 << 47 && now < 1 << 32;
            Ok((is_number && now != *then).then(|| format!("r{reg} is {now}, it was {then}")))
        }
    }
}
