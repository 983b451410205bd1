//! The contexts of probes: `kprobe` (registers), `tracepoint` (a record in the format of tracefs), `raw_tracepoint` (arguments).

use super::base64;
use super::reader::{At, CtxError};
use mimic_abi::ByteOrder;
use mimic_linux::progs::{Arch, KprobeContext, RawTracepointContext, TracepointContext, TracepointFormat};
use mimic_vm::Context;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A context of a probe.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeCtx {
    /// What the program gets.
    pub event: ProbeEvent,
    /// The world, as it was given; unknown keys are kept.
    pub emulator: Map<String, Value>,
    others: Map<String, Value>,
}

/// What a probe's program gets.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeEvent {
    /// Registers of a kprobe or uprobe: where a function begins, or has returned.
    Kprobe {
        /// Whose registers.
        arch: Arch,
        /// The function's arguments.
        args: Vec<u64>,
        /// What the function returned: the probe is at its end.
        ret: Option<u64>,
        /// Where the probe is.
        ip: Option<u64>,
        /// Other registers, by their names in `struct pt_regs`.
        regs: BTreeMap<String, u64>,
        /// In a session: whether the function has returned.
        session: Option<bool>,
    },
    /// A record of a tracepoint.
    Tracepoint {
        /// The tracepoint's `format` file.
        format: String,
        /// Members of the record; the others are zero.
        fields: BTreeMap<String, FieldValue>,
        /// The guest's byte order.
        order: ByteOrder,
    },
    /// The arguments of a raw tracepoint.
    RawTracepoint {
        /// One 64-bit number each.
        args: Vec<u64>,
    },
}

/// A value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A number.
    Number(u64),
    /// Bytes: of an array, or behind a `__data_loc`.
    Bytes(Vec<u8>),
}

/// The names of the types.
pub(super) const TYPES: [&str; 3] = ["kprobe", "tracepoint", "raw_tracepoint"];

const ARCHS: [(&str, Arch); 2] = [("x86_64", Arch::X86_64), ("arm64", Arch::Arm64)];

impl ProbeCtx {
    pub(super) fn read(kind: &str, ctx: &At<'_>) -> Result<ProbeCtx, CtxError> {
        ctx.object()?;
        let (event, known): (_, &[&str]) = match kind {
            "kprobe" => (read_kprobe(ctx)?, &["arch", "args", "ret", "ip", "regs", "session", "emulator"]),
            "tracepoint" => (read_tracepoint(ctx)?, &["format", "fields", "byteorder", "emulator"]),
            _ => (read_raw(ctx)?, &["args", "emulator"]),
        };
        let emulator = ctx.get("emulator").map_or(Ok(Map::new()), |at| at.object().cloned())?;
        Ok(ProbeCtx { event, emulator, others: ctx.others(known) })
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self.event {
            ProbeEvent::Kprobe { .. } => TYPES[0],
            ProbeEvent::Tracepoint { .. } => TYPES[1],
            ProbeEvent::RawTracepoint { .. } => TYPES[2],
        }
    }

    pub(super) fn write(&self) -> Value {
        let mut ctx = match &self.event {
            ProbeEvent::Kprobe { arch, args, ret, ip, regs, session } => {
                let arch = ARCHS.iter().find(|(_, known)| known == arch).map_or("x86_64", |(name, _)| name);
                let mut ctx = json!({ "arch": arch, "args": args });
                for (key, value) in [("ret", ret), ("ip", ip)] {
                    value.iter().for_each(|value| ctx[key] = json!(value));
                }
                if !regs.is_empty() {
                    ctx["regs"] = json!(regs);
                }
                session
                    .iter()
                    .for_each(|returned| ctx["session"] = if *returned { "return" } else { "entry" }.into());
                ctx
            }
            ProbeEvent::Tracepoint { format, fields, order } => {
                let value = |value: &FieldValue| match value {
                    FieldValue::Number(number) => json!(number),
                    FieldValue::Bytes(bytes) => json!(base64::encode(bytes)),
                };
                let fields: Map<String, Value> =
                    fields.iter().map(|(name, field)| (name.clone(), value(field))).collect();
                let order = if *order == ByteOrder::Big { "be" } else { "le" };
                json!({ "format": format, "fields": fields, "byteorder": order })
            }
            ProbeEvent::RawTracepoint { args } => json!({ "args": args }),
        };
        if let Some(ctx) = ctx.as_object_mut() {
            ctx.insert("emulator".into(), Value::Object(self.emulator.clone()));
            ctx.extend(self.others.clone());
        }
        ctx
    }

    /// What the program gets.
    pub(super) fn context(&self) -> Box<dyn Context> {
        match &self.event {
            ProbeEvent::Kprobe { arch, args, ret, ip, regs, session } => {
                let mut context = KprobeContext::call(*arch, args);
                if let Some(ret) = ret {
                    context = KprobeContext::ret(*arch, *ret);
                }
                for (name, value) in regs {
                    context.set(name, *value);
                }
                context = ip.map_or(context.clone(), |ip| context.at(ip));
                Box::new(session.map_or(context.clone(), |returned| context.in_session(returned)))
            }
            ProbeEvent::Tracepoint { format, fields, order } => {
                // The text was read before.
                let format = TracepointFormat::parse(format).unwrap_or_default();
                Box::new(record(&format, fields, *order).unwrap_or_default())
            }
            ProbeEvent::RawTracepoint { args } => Box::new(RawTracepointContext::new(args.clone())),
        }
    }
}

fn numbers(at: Option<At<'_>>) -> Result<Vec<u64>, CtxError> {
    at.map_or(Ok(Vec::new()), |at| at.list()?.iter().map(word).collect())
}

/// A number of 64 bits; negative ones as they lie in a register.
fn word(at: &At<'_>) -> Result<u64, CtxError> {
    Ok(at.int::<i128>()? as u64)
}

fn read_kprobe(ctx: &At<'_>) -> Result<ProbeEvent, CtxError> {
    let arch = match ctx.get("arch") {
        None => Arch::X86_64,
        Some(at) => {
            let found = ARCHS.iter().find(|(name, _)| at.text() == Ok(*name));
            found.ok_or_else(|| at.error("expected x86_64 or arm64"))?.1
        }
    };
    let mut regs = BTreeMap::new();
    if let Some(at) = ctx.get("regs") {
        for (name, at) in at.members()? {
            if !KprobeContext::call(arch, &[]).set(name, 0) {
                let names: Vec<&str> = arch.layout().fields.iter().map(|field| field.name).collect();
                return Err(at.error(format!("there is no such register; there are {}", names.join(", "))));
            }
            regs.insert(name.to_owned(), word(&at)?);
        }
    }
    let session = match ctx.get("session") {
        None => None,
        Some(at) => match at.text()? {
            "entry" => Some(false),
            "return" => Some(true),
            other => return Err(at.error(format!("expected entry or return, not {other:?}"))),
        },
    };
    Ok(ProbeEvent::Kprobe {
        arch,
        args: numbers(ctx.get("args"))?,
        ret: ctx.get("ret").map(|at| word(&at)).transpose()?,
        ip: ctx.get("ip").map(|at| word(&at)).transpose()?,
        regs,
        session,
    })
}

fn read_tracepoint(ctx: &At<'_>) -> Result<ProbeEvent, CtxError> {
    let at = ctx.need("format")?;
    let format = at.text()?.to_owned();
    let parsed = TracepointFormat::parse(&format)
        .map_err(|line| at.error(format!("this line is none of a tracepoint's format file: {line}")))?;
    let order = match ctx.get("byteorder") {
        None => ByteOrder::Little,
        Some(at) => match at.text()? {
            "le" => ByteOrder::Little,
            "be" => ByteOrder::Big,
            other => return Err(at.error(format!("expected le or be, not {other:?}"))),
        },
    };
    let mut fields = BTreeMap::new();
    for (name, at) in ctx.get("fields").map_or(Ok(Vec::new()), |at| at.members())? {
        let value = match at.value.is_number() {
            true => FieldValue::Number(word(&at)?),
            false => FieldValue::Bytes(at.base64()?),
        };
        let one = [(name.to_owned(), value.clone())].into_iter().collect();
        if record(&parsed, &one, order).is_none() {
            return Err(at.error("the format has no such field, or it is shorter"));
        }
        fields.insert(name.to_owned(), value);
    }
    Ok(ProbeEvent::Tracepoint { format, fields, order })
}

fn read_raw(ctx: &At<'_>) -> Result<ProbeEvent, CtxError> {
    let args = numbers(ctx.get("args"))?;
    if args.len() > RawTracepointContext::ARGS_MAX {
        return Err(ctx.error(format!("args: at most {}", RawTracepointContext::ARGS_MAX)));
    }
    Ok(ProbeEvent::RawTracepoint { args })
}

/// A record with these members; none if the format does not have one.
fn record(
    format: &TracepointFormat,
    fields: &BTreeMap<String, FieldValue>,
    order: ByteOrder,
) -> Option<TracepointContext> {
    let mut record = format.record();
    for (name, value) in fields {
        let is_set = match value {
            FieldValue::Number(number) => record.set(format, name, *number, order),
            FieldValue::Bytes(bytes) => record.set_bytes(format, name, bytes, order),
        };
        if !is_set {
            return None;
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::super::CtxFile;

    const FORMAT: &str = "name: x\\nformat:\\n\\tfield:unsigned short common_type;\\toffset:0;\\tsize:2;\\tsigned:0;\\n\
        \\tfield:int id;\\toffset:8;\\tsize:4;\\tsigned:1;\\n\\tfield:char comm[8];\\toffset:12;\\tsize:8;\\tsigned:0;\\n";

    fn file(kind: &str, ctx: &str) -> String {
        format!(r#"{{"name": "p", "type": "{kind}", "ctx": {ctx}}}"#)
    }

    #[test]
    fn probes_round_trip() {
        let tracepoint = format!(
            r#"{{"format": "{FORMAT}", "fields": {{"id": 7, "comm": "YWI="}}, "byteorder": "be", "emulator": {{"seed": 3}}}}"#
        );
        for (kind, ctx) in [
            (
                "kprobe",
                r#"{"arch": "arm64", "args": [1, 2], "ret": 3, "ip": 4, "regs": {"sp": 5}, "session": "return", "emulator": {}, "x": 1}"#,
            ),
            ("tracepoint", &tracepoint),
            ("raw_tracepoint", r#"{"args": [18446744073709551615], "emulator": {}}"#),
        ] {
            let text = file(kind, ctx);
            let read = CtxFile::read(&text).expect(kind);
            assert_eq!(read.write(), serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON"));
            let _ = read.contexts[0].context();
        }
    }

    #[test]
    fn mistakes_are_named() {
        let bad_field = format!(r#"{{"format": "{FORMAT}", "fields": {{"nope": 7}}}}"#);
        for (kind, ctx, expected) in [
            ("kprobe", r#"{"regs": {"zz": 1}}"#, "ctx.regs.zz: there is no such register; there are r15"),
            ("kprobe", r#"{"arch": "vax"}"#, "ctx.arch: expected x86_64 or arm64"),
            ("tracepoint", r#"{"format": "field:x"}"#, "ctx.format: this line is none"),
            ("tracepoint", &bad_field, "ctx.fields.nope: the format has no such field"),
            ("raw_tracepoint", r#"{"args": [1,1,1,1,1,1,1,1,1,1,1,1,1]}"#, "at most 12"),
        ] {
            let error = CtxFile::read(&file(kind, ctx)).expect_err(ctx).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
